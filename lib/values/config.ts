/**
 * The daemon's settings: one row per flag, from which the help, the README's table, the parsing and the Config type are derived;
 * and the limits that nobody sets.
 */

import { type KeyRule, parseKeyRule } from "./address.ts";
import { formatDuration, parseDuration } from "./duration.ts";
import { type Check, parseCheck } from "./check_spec.ts";
import { parseCount } from "./count.ts";
import { OperatorError } from "./errors.ts";
import { parseSize } from "./size.ts";

/** Limits on what is controlled by people, files and clients. */
export const LIMITS = {
  serversMax: 16_384,
  weightMax: 256,
  /** With 256 points per weight a ring of at most 8 million points, 64 MiB. */
  weightTotalMax: 32_768,
  serverConnectionsMax: 1_000_000,
  connectionsMax: 10_000_000,
  /** Bytes kept of one client, and of all clients of a thread. */
  replayBytesMax: 16 * 1024 ** 2,
  replayBytesTotalMax: 256 * 1024 ** 2,
  restMaxMs: 60_000,
  rebalanceRateMax: 100_000,
  successorsMax: 1000,
  /** Ended connections in one answer. */
  recentMax: 1000,
  requestBytesMax: 64 * 1024,
  requestTimeMaxMs: 10_000,
  /** Connections to the control socket: each command that waits has one, `remove --drain` for as long as it drains. */
  controlConnectionsMax: 1024,
  /** Those of them whose next request has not begun to arrive. */
  controlWaitingMax: 256,
  stateFileBytesMax: 16 * 1024 ** 2,
  workersMax: 64,
  busyPollMaxMicros: 10_000,
  /** The kernel takes keep-alive times up to 32,767 s, a little more (tcp(7)). */
  tcpTimeMaxMs: 9 * 3_600_000,
  /** Connections the kernel holds for the listener before the engine accepts them (capped by net.core.somaxconn). */
  acceptBacklog: 4096,
} as const;

/** Workers when none are asked for, where the machine has as many cores. */
const WORKERS_DEFAULT_MAX = 4;

/** Levels of the log, loudest last. */
export const LOG_LEVELS = ["debug", "info", "warning", "error"] as const;
/** One of LOG_LEVELS. */
export type LogLevel = typeof LOG_LEVELS[number];

/** How far clients of a lost server are redistributed, each level with those before it: see `redistribution.ts`. */
export const LEVELS = ["new", "unanswered", "idle"] as const;
/** One of LEVELS. */
export type Level = typeof LEVELS[number];

/** What the commands use when no time is given. */
export const DEFAULT_GRACE_MS = 10_000;
/** See DEFAULT_GRACE_MS. */
export const DEFAULT_DRAIN_MS = 10_000;
/** Connections a second that a rebalance sends home when no rate is given. */
export const DEFAULT_REBALANCE_RATE = 100;

/** One setting: its flag's value as written in help, the text it has by default, and how a text becomes a value. */
interface Setting<T> {
  readonly flag: string;
  readonly value: string;
  readonly default: string;
  readonly summary: string;
  parse(text: string): T;
}

/** The daemon's settings, in the order of the help. */
export const SETTINGS = {
  key: {
    flag: "key",
    value: "ip|ip:port|ip/24|ip/24,64",
    default: "ip",
    summary: "what of a client's address decides its server",
    parse: (text): KeyRule => parseKeyRule(text),
  },
  loadBound: {
    flag: "load-bound",
    value: "FACTOR|off",
    default: "1.25",
    summary: "a server with more than FACTOR times the mean of open connections passes new ones on",
    parse: parseLoadBound,
  },
  connectTimeoutMs: {
    flag: "connect-timeout",
    value: "TIME",
    default: "3s",
    summary: "how long one server may take to accept a connection",
    parse: (text): number => parseDuration(text, "Connect timeout", 1),
  },
  connectAttemptsMax: {
    flag: "connect-attempts",
    value: "N",
    default: "10",
    summary: "how many servers are tried for one client",
    parse: (text): number => parseCount(text, "Number of connect attempts", 1000),
  },
  connectDeadlineMs: {
    flag: "connect-deadline",
    value: "TIME",
    default: "15s",
    summary: "how long a client waits for a server over all attempts",
    parse: (text): number => parseDuration(text, "Connect deadline", 1),
  },
  idleTimeoutMs: {
    flag: "idle-timeout",
    value: "TIME",
    default: "10m",
    summary: "a connection on which nothing moves for so long is ended",
    parse: (text): number => parseDuration(text, "Idle timeout", 10),
  },
  redistribute: {
    flag: "redistribute",
    value: LEVELS.join("|"),
    default: "new",
    summary:
      "connections that go to another server when theirs is lost: those with nothing sent, with nothing answered, between two exchanges",
    parse: parseLevel,
  },
  replayBytesMax: {
    flag: "replay-buffer",
    value: "SIZE",
    default: "64KiB",
    summary: "what of a client's unanswered bytes is kept to be sent again",
    parse: (text): number => parseSize(text, "Replay buffer", LIMITS.replayBytesMax),
  },
  replaysMax: {
    flag: "replays",
    value: "N",
    default: "3",
    summary: "how often the same bytes are sent again",
    parse: (text): number => parseCount(text, "Number of replays", 1000),
  },
  quietMs: {
    flag: "quiet",
    value: "TIME",
    default: "250ms",
    summary: "an exchange is over when both sides have said nothing for so long",
    parse: (text): number => parseDuration(text, "Quiet time", 1),
  },
  check: {
    flag: "check",
    value: "tcp|http:/PATH|[send:TEXT ]expect:TEXT|off",
    default: "tcp",
    summary: "how every server is asked whether it is well",
    parse: (text): Check => parseCheck(text),
  },
  checkIntervalMs: {
    flag: "check-interval",
    value: "TIME",
    default: "2s",
    summary: "how often",
    parse: (text): number => parseDuration(text, "Check interval", 50),
  },
  checkTimeoutMs: {
    flag: "check-timeout",
    value: "TIME",
    default: "1s",
    summary: "how long a check may take; no longer than the interval",
    parse: (text): number => parseDuration(text, "Check timeout", 10),
  },
  rise: {
    flag: "rise",
    value: "N",
    default: "2",
    summary: "checks that a server which is down must pass, one after another",
    parse: (text): number => parseCount(text, "Rise", 1000),
  },
  fall: {
    flag: "fall",
    value: "N",
    default: "3",
    summary: "checks, or clients' connections, that must fail one after another before a server gets no more clients",
    parse: (text): number => parseCount(text, "Fall", 1000),
  },
  restMs: {
    flag: "rest",
    value: "TIME|off",
    default: "1s",
    summary: "how long a server is left alone after clients could not connect to it; doubled each time, to a minute at the most",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "Rest time", 10, LIMITS.restMaxMs),
  },
  slowStartMs: {
    flag: "slow-start",
    value: "TIME|off",
    default: "off",
    summary: "a server that comes back takes its clients back by and by, all of them after so long",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "Slow start", 10),
  },
  connectionsMax: {
    flag: "connections",
    value: "N|auto",
    default: "auto",
    summary: "open connections at the most; auto: what the limit on open files allows",
    parse: (text): number | "auto" => text === "auto" ? text : parseCount(text, "Number of connections", LIMITS.connectionsMax),
  },
  keepAliveMs: {
    flag: "keep-alive",
    value: "TIME|off",
    default: "30s",
    summary: "a side that has said nothing for so long is asked whether it is there (TCP keep-alive), and lost after as long again",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "Keep-alive time", 1000, LIMITS.tcpTimeMaxMs),
  },
  userTimeoutMs: {
    flag: "user-timeout",
    value: "TIME|off",
    default: "30s",
    summary: "how long a client may leave data and window probes unacknowledged before it is declared dead (engine epoll)",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "User timeout", 100, LIMITS.tcpTimeMaxMs),
  },
  serverTimeoutMs: {
    flag: "server-timeout",
    value: "TIME|off",
    default: "5s",
    summary: "the same for a server (engine epoll)",
    parse: (text): number => text === "off" ? 0 : parseDuration(text, "Server timeout", 100, LIMITS.tcpTimeMaxMs),
  },
  engine: {
    flag: "engine",
    value: "auto|epoll|streams",
    default: "auto",
    summary: "what moves the bytes; auto: the best that runs here",
    parse: (text): string => text,
  },
  workers: {
    flag: "workers",
    value: "N|auto",
    default: "auto",
    summary: "threads that move bytes; auto: one per core, four at the most (engine epoll)",
    parse: (text): number => text === "auto" ? defaultWorkers() : parseCount(text, "Number of workers", LIMITS.workersMax),
  },
  busyPollMicros: {
    flag: "busy-poll",
    value: "MICROSECONDS|off",
    default: "off",
    summary: "how long a worker looks for more before it sleeps: a lower latency for a busy core (engine epoll)",
    parse: (text): number => text === "off" ? 0 : parseCount(text, "Busy-poll time", LIMITS.busyPollMaxMicros),
  },
  logLevel: {
    flag: "log-level",
    value: LOG_LEVELS.join("|"),
    default: "info",
    summary: "what is logged from",
    parse: parseLogLevel,
  },
} as const satisfies Record<string, Setting<unknown>>;

/** The switch of a daemon that keeps nothing. */
export const NO_STATE = {
  flag: "no-state",
  summary: "keep nothing: no state file is read or written, and the pool is empty after a restart",
};

/** The settings as values. */
export type Config = { readonly [Name in keyof typeof SETTINGS]: ReturnType<(typeof SETTINGS)[Name]["parse"]> };

/** Flag values as a command line gives them; a missing one takes its default. Throws a `usage` error for the first bad one. */
export function parseConfig(flags: Readonly<Record<string, string | undefined>> = {}): Config {
  const values = Object.entries(SETTINGS).map(([name, setting]) => [name, setting.parse(flags[setting.flag] ?? setting.default)]);
  const config = Object.fromEntries(values) as Config;
  if (config.check.kind === "off" || config.checkTimeoutMs <= config.checkIntervalMs) return config;
  const [timeout, interval] = [config.checkTimeoutMs, config.checkIntervalMs].map(formatDuration);
  throw new OperatorError("usage", `Check timeout ${timeout} is longer than the check interval ${interval}; lower --check-timeout`);
}

/**
 * A server's weight, 1 to LIMITS.weightMax: its share of the clients is its weight over the sum of weights. Throws a `usage` error.
 */
export function parseWeight(text: string): number {
  return parseCount(text, "Weight", LIMITS.weightMax);
}

/** The open connections a server may have, from 1. Throws a `usage` error. */
export function parseServerConnections(text: string): number {
  return parseCount(text, "Number of connections", LIMITS.serverConnectionsMax);
}

function defaultWorkers(): number {
  return Math.min(navigator.hardwareConcurrency, WORKERS_DEFAULT_MAX);
}

/** A factor above 1, or Infinity for `off`. At 1 exactly a single connection could find every server full. */
function parseLoadBound(text: string): number {
  if (text === "off") return Infinity;
  const factor = /^[0-9]{1,4}(\.[0-9]{1,4})?$/.test(text) ? Number(text) : NaN;
  if (factor >= 1.01 && factor <= 1000) return factor;
  throw new OperatorError("usage", `Load bound ${JSON.stringify(text)} is not off or a number from 1.01 to 1000`);
}

function parseLevel(text: string): Level {
  const level = LEVELS.find((level) => level === text);
  if (level !== undefined) return level;
  throw new OperatorError("usage", `Redistribution level ${JSON.stringify(text)} is not one of ${LEVELS.join(", ")}`);
}

function parseLogLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((level) => level === text);
  if (level !== undefined) return level;
  throw new OperatorError("usage", `Log level ${JSON.stringify(text)} is not one of ${LOG_LEVELS.join(", ")}`);
}
