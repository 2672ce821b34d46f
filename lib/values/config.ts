/**
 * The daemon's settings: one row per flag, from which the help, the table of settings, the parsing and the Config type are derived;
 * and the fixed limits.
 */

import { type Address, type KeyRule, parseAddress, parseKeyRule } from "./address.ts";
import {
  type Check,
  type CheckCa,
  parseCheck,
  parseCheckCa,
  parseCheckHost,
  parseCheckPort,
  parseStatuses,
  type StatusRange,
} from "./check_spec.ts";
import { type CidrList, parseCidrs } from "./cidr_list.ts";
import { parseChoice } from "./choice.ts";
import {
  type ClientConnections,
  type ClientRate,
  type ListSource,
  parseClientConnections,
  parseClientRate,
  parseListSource,
} from "./client_limits.ts";
import { parseCount } from "./count.ts";
import { formatDuration, parseDuration } from "./duration.ts";
import { OperatorError } from "./errors.ts";
import { parseShare } from "./sampling.ts";
import { parseProtocols, parseServerNames } from "./server_names.ts";
import { parseSize } from "./size.ts";
import { parseSources, type SourceAddresses } from "./source_addresses.ts";

/** Limits on what people, files and clients can ask for. */
export const LIMITS = {
  /** Servers of all services. */
  serversMax: 16_384,
  servicesMax: 1024,
  /** Listeners of all services; a range of ports is one for each port. */
  listenersMax: 4096,
  portRangeMax: 1024,
  declaredFileBytesMax: 16 * 1024 ** 2,
  weightMax: 256,
  /** Tiers are numbered from 0 to this. */
  tierMax: 2,
  /** With 256 points per unit of weight, the ring has at most 8 million points, 64 MiB. */
  weightTotalMax: 32_768,
  serverConnectionsMax: 1_000_000,
  connectionsMax: 10_000_000,
  /** `--client-connections` and the number of `--client-rate`: 20 bits of the table of clients. */
  clientConnectionsMax: 1_000_000,
  /** Addresses or prefixes that are counted at a time: a power of two. */
  clientsTrackedMax: 2 ** 20,
  listPrefixesMax: 1_000_000,
  listFileBytesMax: 64 * 1024 ** 2,
  clientsShownMax: 1000,
  /** Open connections in one answer. */
  connectionsShownMax: 1000,
  /** Bytes kept for one client, and for all clients of a thread. */
  replayBytesMax: 16 * 1024 ** 2,
  replayBytesTotalMax: 256 * 1024 ** 2,
  restMaxMs: 60_000,
  pauseMaxMs: 3_600_000,
  lameDuckMaxMs: 3_600_000,
  /** How long engines cache the addresses of a name: shorter than the TTLs of name servers, longer than a burst of clients. */
  namesCachedMs: 5000,
  rebalanceRateMax: 100_000,
  /** Parts in which the ring is drawn. */
  ringBinsMax: 3600,
  successorsMax: 1000,
  /** Recently ended connections in one answer. */
  recentMax: 1000,
  /** Events kept. With texts of 500 characters they have 10 MB, usually 3 MB. */
  eventsMax: 10_000,
  /** Streams of events at once: a dashboard asks for one, however many look at it. */
  eventStreamsMax: 64,
  /** How far the reader of a stream may fall behind. */
  eventStreamBytesMax: 1024 ** 2,
  /** How far back the series goes. */
  seriesSeconds: 900,
  /** A PROXY header. The specification's own parts take under 1 KiB; a client's certificate (a TLV) takes some KiB more. */
  proxyHeaderBytesMax: 16 * 1024,
  /** A ClientHello with the heads of its records. With a post-quantum key share it takes 2 KiB, rarely more than 4 KiB. */
  helloBytesMax: 16 * 1024,
  requestBytesMax: 64 * 1024,
  /** A request to apply a declared state: about as large as the largest state. */
  applyBytesMax: 32 * 1024 ** 2,
  requestTimeMaxMs: 10_000,
  /** Connections to the control socket. Each running command has one, `remove --drain` for as long as the server drains. */
  controlConnectionsMax: 1024,
  /** Connections to the control socket whose next request has not begun to arrive. */
  controlWaitingMax: 256,
  /** Connections to the address of --http. A scraper or a probe has one. */
  httpConnectionsMax: 64,
  /** Names of --dashboard-host. */
  dashboardHostsMax: 100,
  /** Lines in the head of a request, on the control socket, on --http and of the dashboard. */
  requestHeadersMax: 100,
  stateFileBytesMax: 16 * 1024 ** 2,
  caFileBytesMax: 1024 ** 2,
  /** Prefixes of --accept-proxy. */
  acceptProxyMax: 1000,
  /** Addresses of --source. */
  sourcesMax: 256,
  workersMax: 64,
  busyPollMaxMicros: 10_000,
  batchMaxMicros: 1000,
  /** The kernel counts this time in retransmissions of its SYN-ACK: 1, 3, 7, 15, 31 or 63 s (tcp(7), TCP_DEFER_ACCEPT). */
  deferAcceptMaxMs: 63_000,
  /** The kernel accepts keep-alive times up to 32,767 s, slightly more than this (tcp(7)). */
  tcpTimeMaxMs: 9 * 3_600_000,
  /** Connections that wait in the kernel until the engine accepts them (capped by net.core.somaxconn). */
  acceptBacklog: 4096,
} as const;

/** The most workers that `auto` starts, however many cores the machine has. */
const WORKERS_DEFAULT_MAX = 4;
/** How long a worker gathers events with `--batch auto`. A shorter sleep saved nothing, and a longer one costs more latency. */
const BATCH_MICROS = 50;

/** Levels of the log, the most severe last. */
const LOG_LEVELS = ["debug", "info", "warning", "error"] as const;
/** One of LOG_LEVELS. */
export type LogLevel = typeof LOG_LEVELS[number];

/** Levels of redistribution: which connections of a lost server move. Each includes those before it (`redistribution.ts`). */
export const LEVELS = ["new", "unanswered", "idle"] as const;
/** One of LEVELS. */
export type Level = typeof LEVELS[number];

/** Whether servers are told the client's address by the PROXY protocol, and in which version. */
export const PROXY_CHOICES = ["v1", "v2", "off"] as const;
/** One of PROXY_CHOICES. */
export type ProxyChoice = typeof PROXY_CHOICES[number];

/** How a new client's server is chosen (`routing/candidates.ts`). */
export const POLICIES = ["ring", "least-connections", "random", "round-robin", "first"] as const;
/** One of POLICIES. */
export type Policy = typeof POLICIES[number];

/** When clients return to a lower tier that has recovered: new ones at once, open connections as well, or neither. */
export const FAIL_BACKS = ["now", "idle", "never"] as const;
/** One of FAIL_BACKS. */
export type FailBack = typeof FAIL_BACKS[number];

const SWITCH = ["on", "off"] as const;

/** Names of engines, and `auto`. `engine/mod.ts` has the engines; a test compares the two. */
const ENGINE_NAMES = ["auto", "epoll", "streams"] as const;

/** The command whose help lists what an option can be. */
const HELPER = "balancerctl start";

/** How long open connections have to finish when their server is removed, in milliseconds. */
export const DEFAULT_DRAIN_MS = 10_000;
/** How long a pause lasts that nobody ends, in milliseconds. */
export const DEFAULT_PAUSE_MS = 60_000;
/** The shortest pause, in milliseconds. */
export const PAUSE_MIN_MS = 100;
/** Connections a second that a rebalance moves. */
export const DEFAULT_REBALANCE_RATE = 100;

/** One setting: how the help shows it, and how its text becomes a value. */
interface Setting<T> {
  readonly flag: string;
  readonly aliases?: readonly string[];
  /** Undefined: the flag is a switch, whose text is "" where it is given. */
  readonly value?: string;
  readonly default: string;
  readonly summary: string;
  /** The heading it stands under in the help. */
  readonly group: string;
  /** Which words it can be, where `value` does not say that. */
  readonly completes?: readonly string[];
  /** `daemon`: one value for all services. Otherwise each service has its own. */
  readonly scope?: "daemon";
  parse(text: string): T;
}

/** The daemon's settings, in the order of the help. */
export const SETTINGS = {
  key: {
    group: "Routing",
    flag: "key",
    value: "ip|ip:port|ip/24|ip/24,64",
    default: "ip",
    summary: "part of a client's address that selects its server",
    parse: (text): KeyRule => parseKeyRule(text),
  },
  loadBound: {
    group: "Routing",
    flag: "load-bound",
    value: "FACTOR|off",
    default: "1.25",
    summary: "highest load of a server, as a multiple of the mean; above it, new clients go to the next server",
    parse: parseLoadBound,
  },
  policy: {
    group: "Routing",
    flag: "policy",
    value: "POLICY",
    default: "ring",
    summary: `how a new client's server is chosen: ${POLICIES.join(", ")}; only ring keeps a client with its server`,
    completes: POLICIES,
    parse: (text): Policy => parseChoice(text, { what: "policy", choices: POLICIES, help: HELPER }),
  },
  tierMin: {
    group: "Routing",
    flag: "tier-min",
    value: "N",
    default: "1",
    summary: "usable servers that the tiers in use must have; with fewer, the next tier is used as well",
    parse: (text): number => parseCount(text, "Number of usable servers", LIMITS.serversMax),
  },
  failBack: {
    group: "Routing",
    flag: "fail-back",
    value: FAIL_BACKS.join("|"),
    default: "now",
    summary: "when a lower tier has recovered: now (new clients use it), idle (open connections return to it as well, " +
      "between two requests), never (while the higher tier serves)",
    parse: (text): FailBack => parseChoice(text, { what: "way to fail back", choices: FAIL_BACKS, help: HELPER }),
  },
  maxAgeMs: {
    group: "Routing",
    flag: "max-age",
    value: "TIME|off",
    default: "off",
    summary: "age from which a connection is moved to its owner, between two requests; it is never cut",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "Maximum age", 1000),
  },
  ageJitter: {
    group: "Routing",
    flag: "age-jitter",
    value: "PERCENT",
    default: "20%",
    summary: "by how much the maximum age of a connection is longer at most; each has its own part of it",
    parse: (text): number => text === "0%" ? 0 : parsePercent(text),
  },
  serverNames: {
    group: "Routing",
    flag: "sni",
    value: "NAME,...|off",
    default: "off",
    summary: "names of TLS clients (SNI) that the service is for, such as api.example.com,*.example.com; TLS is not ended",
    parse: (text): readonly string[] => text === "off" ? [] : parseServerNames(text),
  },
  protocols: {
    group: "Routing",
    flag: "alpn",
    value: "PROTOCOL,...|off",
    default: "off",
    summary: "protocols of TLS clients (ALPN) that the service is for, such as h2,http/1.1",
    parse: (text): readonly string[] => text === "off" ? [] : parseProtocols(text),
  },
  helloTimeoutMs: {
    group: "Routing",
    flag: "hello-timeout",
    value: "TIME",
    default: "3s",
    summary: "maximum time for the first message of a TLS client to arrive, where it is read for its name",
    parse: (text): number => parseDuration(text, "Hello timeout", 10),
  },
  connectTimeoutMs: {
    group: "Connecting",
    flag: "connect-timeout",
    value: "TIME",
    default: "3s",
    summary: "maximum time for one server to accept a connection",
    parse: (text): number => parseDuration(text, "Connect timeout", 1),
  },
  connectAttemptsMax: {
    group: "Connecting",
    flag: "connect-attempts",
    value: "N",
    default: "10",
    summary: "maximum number of servers tried for one client",
    parse: (text): number => parseCount(text, "Number of connect attempts", 1000),
  },
  connectDeadlineMs: {
    group: "Connecting",
    flag: "connect-deadline",
    value: "TIME",
    default: "15s",
    summary: "maximum time to find a server for a client",
    parse: (text): number => parseDuration(text, "Connect deadline", 1),
  },
  holdMs: {
    group: "Connecting",
    flag: "hold",
    value: "TIME|off",
    default: "off",
    summary: "how long clients wait while no server can take them; they are dialled in their order when one can",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "Hold time", 10),
  },
  sources: {
    group: "Connecting",
    flag: "source",
    value: "IP,...|off",
    default: "off",
    summary: "local addresses that server connections come from, in turn; more of them give more local ports (epoll engine only)",
    parse: (text): SourceAddresses | null => text === "off" ? null : parseSources(text, LIMITS.sourcesMax),
  },
  redistribute: {
    group: "Redistribution",
    flag: "redistribute",
    value: LEVELS.join("|"),
    default: "new",
    summary: "connections that move when their server is lost: new (client has sent nothing), unanswered (no answer yet), " +
      "idle (between two requests); each level includes those before it",
    parse: (text): Level => parseChoice(text, { what: "redistribution level", choices: LEVELS, help: HELPER }),
  },
  replayBytesMax: {
    group: "Redistribution",
    flag: "replay-buffer",
    value: "SIZE",
    default: "64KiB",
    summary: "unanswered data kept per connection, to send it to another server",
    parse: (text): number => parseSize(text, "Replay buffer", LIMITS.replayBytesMax),
  },
  replaysMax: {
    group: "Redistribution",
    flag: "replays",
    value: "N",
    default: "3",
    summary: "how often the same data is sent again, at most",
    parse: (text): number => parseCount(text, "Number of replays", 1000),
  },
  quietMs: {
    group: "Redistribution",
    flag: "quiet",
    value: "TIME",
    default: "250ms",
    summary: "time without traffic after which a connection counts as idle",
    parse: (text): number => parseDuration(text, "Quiet time", 1),
  },
  check: {
    group: "Health checks",
    flag: "check",
    value: "tcp|http:/PATH|https:/PATH|[send:TEXT ]expect:TEXT|off",
    default: "tcp",
    summary: "how servers are checked: by a connection, an HTTP or HTTPS request or an expected answer",
    parse: (text): Check => parseCheck(text),
  },
  checkPort: {
    group: "Health checks",
    flag: "check-port",
    value: "PORT|same",
    default: "same",
    summary: "port that checks connect to; same: each server's own",
    parse: (text): number | null => parseCheckPort(text),
  },
  checkHost: {
    group: "Health checks",
    flag: "check-host",
    value: "NAME|same",
    default: "same",
    summary: "name in an HTTP check's Host header, in SNI and in the certificate; same: each server's own",
    parse: (text): string | null => parseCheckHost(text),
  },
  checkCa: {
    group: "Health checks",
    flag: "check-ca",
    value: "FILE|system|none",
    default: "system",
    summary: "authorities that HTTPS checks trust, a file in PEM format; none: certificates are not verified",
    parse: (text): CheckCa => parseCheckCa(text),
  },
  checkStatus: {
    group: "Health checks",
    flag: "check-status",
    value: "RANGE[,RANGE…]",
    default: "200-399",
    summary: "statuses that pass an HTTP check; 404 drains the server, unless it is one of them",
    parse: (text): readonly StatusRange[] => parseStatuses(text),
  },
  checkIntervalMs: {
    group: "Health checks",
    flag: "check-interval",
    value: "TIME",
    default: "2s",
    summary: "time between two checks of a server",
    parse: (text): number => parseDuration(text, "Check interval", 50),
  },
  checkTimeoutMs: {
    group: "Health checks",
    flag: "check-timeout",
    value: "TIME",
    default: "1s",
    summary: "maximum time for one check",
    parse: (text): number => parseDuration(text, "Check timeout", 10),
  },
  rise: {
    group: "Health checks",
    flag: "rise",
    value: "N",
    default: "2",
    summary: "consecutive checks that a down server must pass to be up",
    parse: (text): number => parseCount(text, "Rise", 1000),
  },
  fall: {
    group: "Health checks",
    flag: "fall",
    value: "N",
    default: "3",
    summary: "consecutive failures, of checks or of client connections, before a server gets no more clients",
    parse: (text): number => parseCount(text, "Fall", 1000),
  },
  restMs: {
    group: "Health checks",
    flag: "rest",
    value: "TIME|off",
    default: "1s",
    summary: "how long a server rests after failed client connections; doubles each time, up to 1 minute",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "Rest time", 10, LIMITS.restMaxMs),
  },
  restShare: {
    group: "Health checks",
    flag: "rest-max",
    value: "PERCENT",
    default: "50%",
    summary: "how many servers may rest at a time, at least one, but never the last; the others stay up",
    parse: parsePercent,
  },
  slowStartMs: {
    group: "Health checks",
    flag: "slow-start",
    value: "TIME|off",
    default: "off",
    summary: "how long a recovered server takes to ramp up to its full share",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "Slow start", 10),
  },
  proxy: {
    group: "Client addresses",
    flag: "proxy",
    value: PROXY_CHOICES.join("|"),
    default: "off",
    summary: "header that tells servers the client's address; a server can have its own choice",
    parse: (text): ProxyChoice => parseChoice(text, { what: "PROXY protocol version", choices: PROXY_CHOICES, help: HELPER }),
  },
  acceptProxy: {
    group: "Client addresses",
    flag: "accept-proxy",
    value: "PREFIX,...|off",
    default: "off",
    summary: "clients from these addresses must begin with a PROXY header, which names the client; others may not send one",
    parse: (text): CidrList | null => text === "off" ? null : parseCidrs(text, LIMITS.acceptProxyMax),
  },
  proxyTimeoutMs: {
    group: "Client addresses",
    flag: "proxy-timeout",
    value: "TIME",
    default: "3s",
    summary: "maximum time for a client's PROXY header to arrive",
    parse: (text): number => parseDuration(text, "PROXY timeout", 10),
  },
  transparent: {
    group: "Client addresses",
    flag: "transparent",
    value: SWITCH.join("|"),
    default: "off",
    summary: "servers see the client's own address as the source; needs routing and CAP_NET_ADMIN (epoll engine only)",
    parse: (text): boolean => parseChoice(text, { what: "transparent mode", choices: SWITCH, help: HELPER }) === "on",
  },
  connectionsMax: {
    group: "Limits and timeouts",
    scope: "daemon",
    flag: "max-connections",
    aliases: ["connections"],
    value: "N|auto",
    default: "auto",
    summary: "maximum number of open connections; auto: what the limit on open files allows",
    parse: (text): number | "auto" => text === "auto" ? text : parseCount(text, "Number of connections", LIMITS.connectionsMax),
  },
  queueMax: {
    group: "Limits and timeouts",
    scope: "daemon",
    flag: "queue",
    value: "N|off",
    default: "off",
    summary: "clients beyond --max-connections that wait for a place, and are not refused",
    parse: (text): number => text === "off" ? 0 : parseCount(text, "Length of the queue", LIMITS.connectionsMax),
  },
  queueTimeoutMs: {
    group: "Limits and timeouts",
    scope: "daemon",
    flag: "queue-timeout",
    value: "TIME",
    default: "10s",
    summary: "maximum time that a client waits for a place",
    parse: (text): number => parseDuration(text, "Queue timeout", 10),
  },
  clientConnections: {
    group: "Limits and timeouts",
    flag: "client-connections",
    value: "N[/24,64]|off",
    default: "off",
    summary: "maximum number of open connections of one client: an IPv4 address, an IPv6 /64, or the prefixes given",
    parse: (text): ClientConnections | null => parseClientConnections(text, LIMITS.clientConnectionsMax),
  },
  clientRate: {
    group: "Limits and timeouts",
    flag: "client-rate",
    value: "N/TIME[/24,64]|off",
    default: "off",
    summary: "maximum number of new connections of one client within a time, such as 100/10s",
    parse: (text): ClientRate | null => parseClientRate(text, LIMITS.clientConnectionsMax),
  },
  allow: {
    group: "Limits and timeouts",
    flag: "allow",
    value: "PREFIX,…|@FILE|off",
    default: "off",
    summary: "accept only clients with these addresses; @FILE: one per line, read again at SIGHUP",
    parse: (text): ListSource | null => parseListSource(text, "allow", LIMITS.listPrefixesMax),
  },
  deny: {
    group: "Limits and timeouts",
    flag: "deny",
    value: "PREFIX,…|@FILE|off",
    default: "off",
    summary: "refuse clients with these addresses, also if they are allowed",
    parse: (text): ListSource | null => parseListSource(text, "deny", LIMITS.listPrefixesMax),
  },
  limitsDryRun: {
    group: "Limits and timeouts",
    flag: "limits-dry-run",
    default: "off",
    summary: "count and log the clients that these lists and limits would refuse, and refuse none",
    parse: (text): boolean => text !== "off",
  },
  firstByteTimeoutMs: {
    group: "Limits and timeouts",
    flag: "first-byte-timeout",
    value: "TIME|off",
    default: "off",
    summary: "maximum time after accepting a client until it or its server has sent something",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "First-byte timeout", 10),
  },
  idleTimeoutMs: {
    group: "Limits and timeouts",
    flag: "idle-timeout",
    value: "TIME",
    default: "10m",
    summary: "time without traffic after which a connection is closed",
    parse: (text): number => parseDuration(text, "Idle timeout", 10),
  },
  keepAliveMs: {
    group: "Limits and timeouts",
    flag: "keep-alive",
    value: "TIME|off",
    default: "30s",
    summary: "idle time before TCP keep-alive probes start; the peer is declared dead after the same time again",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "Keep-alive time", 1000, LIMITS.tcpTimeMaxMs),
  },
  userTimeoutMs: {
    group: "Limits and timeouts",
    flag: "user-timeout",
    value: "TIME|off",
    default: "30s",
    summary: "maximum time that a client leaves data or window probes unacknowledged (epoll engine only)",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "User timeout", 100, LIMITS.tcpTimeMaxMs),
  },
  serverTimeoutMs: {
    group: "Limits and timeouts",
    flag: "server-timeout",
    value: "TIME|off",
    default: "5s",
    summary: "maximum time that a server leaves data or window probes unacknowledged (epoll engine only)",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "Server timeout", 100, LIMITS.tcpTimeMaxMs),
  },
  engine: {
    group: "Engine",
    scope: "daemon",
    flag: "engine",
    value: ENGINE_NAMES.join("|"),
    default: "auto",
    summary: "engine that relays the connections; auto: the fastest that runs here",
    parse: (text): string => parseChoice(text, { what: "engine", choices: ENGINE_NAMES, help: HELPER }),
  },
  workers: {
    group: "Engine",
    scope: "daemon",
    flag: "workers",
    value: "N|auto",
    default: "auto",
    summary: `number of threads; auto: one per core, at most ${WORKERS_DEFAULT_MAX} (epoll engine only)`,
    parse: (text): number => text === "auto" ? defaultWorkers() : parseCount(text, "Number of workers", LIMITS.workersMax),
  },
  busyPollMicros: {
    group: "Engine",
    scope: "daemon",
    flag: "busy-poll",
    value: "MICROSECONDS|off",
    default: "off",
    summary: "how long a worker polls before it sleeps; lowers latency and keeps a core busy (epoll engine only)",
    parse: (text): number => text === "off" ? 0 : parseCount(text, "Busy-poll time", LIMITS.busyPollMaxMicros),
  },
  batchMicros: {
    group: "Engine",
    scope: "daemon",
    flag: "batch",
    value: "auto|off|MICROSECONDS",
    default: "off",
    summary: "how long a saturated worker gathers events; saves CPU, adds latency; auto: 50 µs (epoll engine only)",
    parse: (text): number => {
      if (text === "auto") return BATCH_MICROS;
      return text === "off" ? 0 : parseCount(text, "Time to gather events", LIMITS.batchMaxMicros);
    },
  },
  deferAcceptMs: {
    group: "Engine",
    flag: "defer-accept",
    value: "TIME|off",
    default: "off",
    summary: "accept a client when its first bytes arrive, or after this time; delays servers that speak first (epoll engine only)",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "Time to defer accepting", 1000, LIMITS.deferAcceptMaxMs),
  },
  http: {
    group: "Monitoring",
    scope: "daemon",
    flag: "http",
    value: "ADDRESS:PORT|off",
    default: "off",
    summary: "serve /metrics, /live and /ready over HTTP on this address, to everybody who can reach it",
    parse: (text): Address | null => text === "off" ? null : parseAddress(text, "HTTP address", 0),
  },
  dashboard: {
    group: "Monitoring",
    scope: "daemon",
    flag: "dashboard",
    value: "ADDRESS:PORT|off",
    default: "off",
    summary: "serve the dashboard, read-only, on this address to who has the token; beyond loopback put TLS in front of it",
    parse: (text): Address | null => text === "off" ? null : parseAddress(text, "Dashboard address", 0),
  },
  dashboardToken: {
    group: "Monitoring",
    scope: "daemon",
    flag: "dashboard-token",
    value: "FILE|off",
    default: "off",
    summary: "file with the token that opens the dashboard: 32 characters or more, readable by its owner alone",
    parse: (text): string | null => text === "off" ? null : text,
  },
  dashboardHosts: {
    group: "Monitoring",
    scope: "daemon",
    flag: "dashboard-host",
    value: "NAME,...|off",
    default: "off",
    summary: "names by which browsers ask for the dashboard beside its address, such as balancer.example.com or [::1]:8443",
    parse: (text): readonly string[] => text === "off" ? [] : parseHostNames(text),
  },
  trackFile: {
    group: "Monitoring",
    scope: "daemon",
    flag: "track-file",
    value: "PATH|off",
    default: "off",
    summary: "write 0 to this file while the balancer is ready, and 1 while it is not, for keepalived",
    // a path, or null
    parse: (text): string | null => text === "off" ? null : text,
  },
  lameDuckMs: {
    group: "Stopping",
    scope: "daemon",
    flag: "lame-duck",
    value: "TIME|off",
    default: "off",
    summary: "how long a balancer that is told to stop still takes clients, while /ready and the track file say no",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "Lame-duck time", 0, LIMITS.lameDuckMaxMs),
  },
  graceMs: {
    group: "Stopping",
    scope: "daemon",
    flag: "grace",
    value: "TIME",
    default: "10s",
    summary: "how long open connections have to finish when the balancer stops",
    parse: (text): number => parseDuration(text, "Grace time", 0),
  },
  logLevel: {
    group: "Logging",
    scope: "daemon",
    flag: "log-level",
    value: LOG_LEVELS.join("|"),
    default: "info",
    summary: "lowest level that is logged",
    parse: (text): LogLevel => parseChoice(text, { what: "log level", choices: LOG_LEVELS, help: HELPER }),
  },
  accessLog: {
    group: "Logging",
    scope: "daemon",
    flag: "access-log",
    value: "PATH|-|off",
    default: "off",
    summary: "write a JSON line for every connection at its end, to this file or (-) to standard output",
    // a path, STANDARD_OUTPUT, or null
    parse: (text): string | null => text === "off" ? null : text,
  },
  accessLogStart: {
    group: "Logging",
    scope: "daemon",
    flag: "access-log-start",
    default: "off",
    summary: "write a line to the access log at the beginning of a connection, too",
    parse: (text): boolean => text !== "off",
  },
  accessLogSample: {
    group: "Logging",
    scope: "daemon",
    flag: "access-log-sample",
    value: "PERCENT",
    default: "100%",
    summary: "share of the connections in the access log; those that end with another fate than done are always there",
    parse: (text): number => parseShare(text, "Share of the access log"),
  },
} as const satisfies Record<string, Setting<unknown>>;

/** The switch of a daemon that keeps no state file. */
export const NO_STATE = {
  flag: "no-state",
  summary: "keep no state file: the pool is empty after a restart",
};

/** The switch of a daemon whose standard output nobody reads beyond its address. */
export const DETACHED = {
  flag: "detached",
  summary: "nobody reads standard output beyond the address, as after balancerctl start",
};

/** The access log that goes to standard output. */
export const STANDARD_OUTPUT = "-";

type SettingName = keyof typeof SETTINGS;
type DaemonSettingName = {
  [Name in SettingName]: (typeof SETTINGS)[Name] extends { readonly scope: "daemon" } ? Name : never;
}[SettingName];
type ValuesOf<Name extends SettingName> = { readonly [N in Name]: ReturnType<(typeof SETTINGS)[N]["parse"]> };

/** The settings of the daemon as values. */
export type DaemonConfig = ValuesOf<DaemonSettingName>;
/** The settings of a service as values. */
export type ServiceConfig = ValuesOf<Exclude<SettingName, DaemonSettingName>>;
/** All settings as values. */
export type Config = DaemonConfig & ServiceConfig;

/** Settings as people give them: flag to text; "" for a switch. What is not given has its default. */
export type SettingTexts = Readonly<Record<string, string | undefined>>;

/** The text by which `service set` and `daemon set` take a setting back to its default. */
export const DEFAULT_TEXT = "default";

/** The flags of the settings that each service has. */
export const SERVICE_FLAGS: readonly string[] = rowsOf(undefined).map(([, { flag }]) => flag);

/** The flags of the settings of the daemon that only a start can change. */
export const START_FLAGS: readonly string[] = [SETTINGS.engine.flag, SETTINGS.workers.flag];

/** The flags of the settings of the daemon. */
export const DAEMON_FLAGS: readonly string[] = rowsOf("daemon").map(([, { flag }]) => flag);

const ARE_DAEMONS = new Map(Object.values<Setting<unknown>>(SETTINGS).map(({ flag, scope }) => [flag, scope === "daemon"]));

/** Whether the setting with this flag is the daemon's, not a service's; undefined if there is no such setting. */
export function isDaemonSetting(flag: string): boolean | undefined {
  return ARE_DAEMONS.get(flag);
}

/** Reads the values of flags; a missing one takes its default. Throws a `usage` error for the first bad one. */
export function parseConfig(texts: SettingTexts = {}): Config {
  return { ...parseServiceConfig(texts), ...parseDaemonConfig(texts) };
}

/** Like `parseConfig`, for the settings of the daemon alone. Others are ignored. */
export function parseDaemonConfig(texts: SettingTexts = {}): DaemonConfig {
  const config = parseRows<DaemonConfig>(texts, "daemon");
  requireAccessLog(config);
  requireToken(config);
  return config;
}

/** Like `parseConfig`, for the settings of a service alone. Others are ignored. */
export function parseServiceConfig(texts: SettingTexts = {}): ServiceConfig {
  const config = parseRows<ServiceConfig>(texts, undefined);
  requireSomethingToTry(config);
  requireOneSource(config);
  requireTimeToCheck(config);
  requireIdle(config);
  return config;
}

/**
 * Checks settings of a service each by itself, where they are to be laid over others: whether they fit together is known of the
 * whole alone. Throws a `usage` error for the first bad one.
 */
export function checkServiceTexts(texts: SettingTexts): void {
  parseRows<ServiceConfig>(texts, undefined);
}

/** Like `checkServiceTexts`, for settings of the daemon. */
export function checkDaemonTexts(texts: SettingTexts): void {
  parseRows<DaemonConfig>(texts, "daemon");
}

function rowsOf(scope: "daemon" | undefined): [string, Setting<unknown>][] {
  return Object.entries<Setting<unknown>>(SETTINGS).filter(([, row]) => row.scope === scope);
}

function parseRows<T>(texts: SettingTexts, scope: "daemon" | undefined): T {
  return Object.fromEntries(
    rowsOf(scope).map(([name, { flag, parse, default: usual }]) => [name, parse(texts[flag] ?? usual)]),
  ) as T;
}

/**
 * A server's weight, 1 to LIMITS.weightMax: its share of the clients is its weight over the sum of weights. Throws a `usage` error.
 */
export function parseWeight(text: string): number {
  return parseCount(text, "Weight", LIMITS.weightMax);
}

/** A server's tier, 0 to LIMITS.tierMax; those of the lowest get the clients. Throws a `usage` error. */
export function parseTier(text: string): number {
  const tier = /^[0-9]$/.test(text) ? Number(text) : NaN;
  if (tier <= LIMITS.tierMax) return tier;
  throw new OperatorError("usage", `Tier ${JSON.stringify(text)} is not a whole number from 0 to ${LIMITS.tierMax}`);
}

/** A server's limit of open connections, from 1. Throws a `usage` error. */
export function parseServerConnections(text: string): number {
  return parseCount(text, "Number of connections", LIMITS.serverConnectionsMax);
}

/** Beginnings without an access log would be written nowhere. */
function requireAccessLog({ accessLog, accessLogStart }: DaemonConfig): void {
  if (accessLog !== null || !accessLogStart) return;
  const [start, log] = [SETTINGS.accessLogStart, SETTINGS.accessLog].map(({ flag }) => `--${flag}`);
  throw new OperatorError("usage", `${start} needs an access log; add ${log} PATH, or turn ${start} off`);
}

/** Nobody is let in without one. */
function requireToken({ dashboard, dashboardToken }: DaemonConfig): void {
  if (dashboard === null || dashboardToken !== null) return;
  const [place, token] = [SETTINGS.dashboard, SETTINGS.dashboardToken].map(({ flag }) => `--${flag}`);
  throw new OperatorError("usage", `${place} needs a token; add ${token} FILE, or turn ${place} off`);
}

/** A dry run of nothing is a mistake: the operator would wait for counts that never come. */
function requireSomethingToTry({ limitsDryRun, clientConnections, clientRate, allow, deny }: ServiceConfig): void {
  if (!limitsDryRun || [clientConnections, clientRate, allow, deny].some((limit) => limit !== null)) return;
  const flags = [SETTINGS.clientConnections, SETTINGS.clientRate, SETTINGS.allow, SETTINGS.deny].map(({ flag }) => `--${flag}`);
  throw new OperatorError(
    "usage",
    `--${SETTINGS.limitsDryRun.flag} has nothing to try: give ${flags.join(", ")} or several of them`,
  );
}

/** Open connections go home between two exchanges, which only level idle allows. */
function requireIdle({ redistribute, failBack, maxAgeMs }: ServiceConfig): void {
  if (redistribute === "idle") return;
  const flag = failBack === "idle" ? `${SETTINGS.failBack.flag} idle` : maxAgeMs > 0 ? SETTINGS.maxAgeMs.flag : undefined;
  if (flag === undefined) return;
  const level = `--${SETTINGS.redistribute.flag}`;
  throw new OperatorError("usage", `--${flag} moves open connections, and ${level} ${redistribute} moves none; add ${level} idle`);
}

/** A connection has one source address. */
function requireOneSource({ transparent, sources }: ServiceConfig): void {
  if (!transparent || sources === null) return;
  throw new OperatorError("usage", "--source and --transparent exclude each other: a connection has one source address");
}

function requireTimeToCheck({ check, checkTimeoutMs, checkIntervalMs }: ServiceConfig): void {
  if (check.kind === "off" || checkTimeoutMs <= checkIntervalMs) return;
  const [timeout, interval] = [checkTimeoutMs, checkIntervalMs].map(formatDuration);
  throw new OperatorError("usage", `Check timeout ${timeout} is longer than the check interval ${interval}; lower --check-timeout`);
}

function defaultWorkers(): number {
  return Math.min(navigator.hardwareConcurrency, WORKERS_DEFAULT_MAX);
}

/** Names as they stand in a Host header, in lower case: a name or an address, and perhaps a port. Throws a `usage` error. */
function parseHostNames(text: string): readonly string[] {
  const names = text.split(",").map((name) => name.trim().toLowerCase());
  if (names.length > LIMITS.dashboardHostsMax) {
    throw new OperatorError(
      "usage",
      `There are ${names.length} names of the dashboard, and at most ${LIMITS.dashboardHostsMax} may be`,
    );
  }
  for (const name of names) {
    if (/^([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$/.test(name)) continue;
    const why = `${JSON.stringify(name)} is no name of a host; give one such as lb.example.com or lb.example.com:8443`;
    throw new OperatorError("usage", `Cannot use ${JSON.stringify(text)} as names of the dashboard: ${why}`);
  }
  return names;
}

/** A factor above 1, or Infinity for `off`. With exactly 1, a single connection could find every server full. */
function parseLoadBound(text: string): number {
  if (text === "off") return Infinity;
  const factor = /^[0-9]{1,4}(\.[0-9]{1,4})?$/.test(text) ? Number(text) : NaN;
  if (factor >= 1.01 && factor <= 1000) return factor;
  throw new OperatorError("usage", `Load bound ${JSON.stringify(text)} is not off or a number from 1.01 to 1000`);
}

/** `50%` as 0.5. */
function parsePercent(text: string): number {
  const percent = /^[0-9]{1,3}%$/.test(text) ? Number(text.slice(0, -1)) : 0;
  if (percent >= 1 && percent <= 100) return percent / 100;
  throw new OperatorError("usage", `Share ${JSON.stringify(text)} is not a whole number of percent from 1% to 100%`);
}
