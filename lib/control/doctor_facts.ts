/**
 * What follows from each fact that `balancerctl doctor` reads: a function per fact, from a reading to findings. Pure: nothing is
 * read here, so every verdict can be tested on any machine.
 */

import type { Answers } from "./api.ts";
import { LIMITS, SETTINGS } from "../values/config.ts";
import { formatDuration } from "../values/duration.ts";
import { localPortsRatio } from "../values/source_addresses.ts";
import { listenerFaults, percent } from "./printing.ts";

/** `bad`: clients are hurt, or will be as soon as this matters. `warning`: worth a look. */
export type Verdict = "good" | "warning" | "bad";

/** What a fact comes to. */
export interface Finding {
  readonly verdict: Verdict;
  readonly says: string;
  /** What to type, if there is something. */
  readonly type?: string;
}

/** How many servers, names or loops are told one by one. */
const TOLD_MAX = 10;
/** From this share of a limit on, there is a warning; from the second on, there is too little left. */
const HIGH = 0.8;
const FULL = 0.95;
/** Fewer connections than that are too few for a balancer that serves the public. */
const CONNECTIONS_FEW = 1000;
/** Descriptors of one connection, and roughly those that are for something else (`balancer/descriptors.ts` has it exactly). */
const DESCRIPTORS_PER_CONNECTION = 2;
const DESCRIPTORS_OTHERS = 100;
/**
 * Memory of an idle connection: that of the engine (docs/performance.md), and in the kernel two sockets of about 4 KiB each (TCP
 * 2.4, inode 0.8, file, dentry and its place in epoll 0.7: /proc/slabinfo of Linux 6). Data that waits takes more.
 */
const CONNECTION_BYTES: Readonly<Record<string, number>> = { epoll: 9 * 1024, streams: 48 * 1024 };
/** A clock that was set by less than this is of no consequence to a balancer; its start on a busy machine takes some of it. */
const JUMP_MS = 30_000;
/** File systems that are gone with the machine's power, or with the container. */
const FLEETING: Readonly<Record<string, string>> = {
  tmpfs: "in memory: it is gone after a restart of the machine",
  ramfs: "in memory: it is gone after a restart of the machine",
  overlay: "a container's own layer: it is gone with the container",
};
const MIB = 1024 ** 2;

const good = (says: string): Finding[] => [{ verdict: "good", says }];
const warning = (says: string, type?: string): Finding => ({ verdict: "warning", says, type });
const bad = (says: string, type?: string): Finding => ({ verdict: "bad", says, type });

/** The balancer that is examined. */
export interface DaemonReading {
  readonly name: string;
  readonly status?: Pick<Answers["status"], "pid" | "startedAt" | "stopping" | "services" | "warnings">;
  /** Why there is no status. */
  readonly absence?: { readonly isStopped: boolean; readonly sentence: string };
}

/** Whether a balancer runs, what it warned of when it started, and whether all listeners are open. */
export function judgeDaemon({ name, status, absence }: DaemonReading): Finding[] {
  if (status === undefined) {
    if (absence?.isStopped === false) return [bad(absence.sentence)];
    const start = "balancerctl start <inet_address> <inet_port>";
    return [warning(`No balancer ${JSON.stringify(name)} is running: only the machine is examined`, start)];
  }
  const { pid, startedAt, stopping, services, warnings } = status;
  const runs = `${JSON.stringify(name)} has run since ${startedAt} (pid ${pid}) with ${many(services.length, "service")}`;
  const closed = services.flatMap((service) => listenerFaults(service)).map((sentence) => bad(sentence));
  return [
    ...(stopping ? [warning(`${JSON.stringify(name)} is stopping: it takes no more clients`)] : good(runs)),
    ...closed,
    ...warnings.filter((sentence) => !isOfEngine(sentence)).map((sentence) => warning(sentence)),
  ];
}

/** Versions of both programs and of the daemon; undefined where there is none. */
export interface VersionsReading {
  readonly balancerctl: string;
  readonly balancer?: string;
  readonly daemon?: string;
}

/** Whether both programs and the daemon are of one version. */
export function judgeVersions({ balancerctl, balancer, daemon }: VersionsReading): Finding[] {
  if (balancer === undefined) return [bad("The program balancer is not beside balancerctl, or does not run", "./install.sh")];
  if (balancer !== balancerctl) {
    return [bad(`balancerctl is ${balancerctl} and balancer ${balancer}: install one version of both`, "./install.sh")];
  }
  if (daemon === undefined) return good(`balancer and balancerctl ${balancer}`);
  if (daemon === balancer) return good(`balancer, balancerctl and the daemon ${balancer}`);
  const says = `The daemon is ${daemon} and ${balancer} is installed: it takes a restart`;
  return [warning(says, "balancerctl stop && balancerctl start")];
}

/** The engine that runs, or what one would need. */
export interface EngineReading {
  readonly os: string;
  /** The file of libc that was found. */
  readonly libc?: string;
  /** The engine that runs. */
  readonly engine?: string;
  /** What `--engine` says. */
  readonly wanted?: string;
  /** What the daemon said at its start. */
  readonly warnings: readonly string[];
}

/** Which engine relays, and why not the fastest. */
export function judgeEngine({ os, libc, engine, wanted, warnings }: EngineReading): Finding[] {
  if (engine === undefined) {
    if (os !== "linux") return [warning(`streams would run: epoll needs Linux, and this is ${os}`)];
    return libc === undefined ? [warning("streams would run: epoll found no libc that it knows")] : good(`epoll can run: ${libc}`);
  }
  if (engine !== "streams") return good(`${engine} relays the connections`);
  const auto = "balancerctl stop && balancerctl start --engine auto";
  if (wanted === engine) {
    return [warning("streams relays the connections because --engine streams was given; epoll is faster", auto)];
  }
  return [warning(`streams relays the connections: ${warnings.find(isOfEngine) ?? "no faster engine runs here"}`)];
}

/** The sentence of the daemon that says why it has not the best engine. */
function isOfEngine(sentence: string): boolean {
  return /^Engine "[a-z]+" cannot run here/.test(sentence);
}

/** The limit on open files: of the daemon, or of this process, as long as none runs. */
export interface DescriptorsReading {
  readonly limit: number;
  readonly connections?: { readonly open: number; readonly max: number };
  /** `--max-connections`, if it is set. */
  readonly wanted?: number;
}

/** Whether connections are limited too much, by the system or by a setting. */
export function judgeDescriptors({ limit, connections, wanted }: DescriptorsReading): Finding[] {
  const max = connections?.max ?? Math.max(0, Math.floor((limit - DESCRIPTORS_OTHERS) / DESCRIPTORS_PER_CONNECTION));
  const allows = `${count(limit)} open files allow ${connections === undefined ? "about " : ""}${many(max, "connection")}`;
  const raise = "ulimit -n 1048576 (before start; under systemd: LimitNOFILE=1048576)";
  const isSet = wanted !== undefined && wanted <= max;
  const wayOut = isSet ? `balancerctl daemon set --${SETTINGS.connectionsMax.flag} auto` : raise;
  const open = connections?.open ?? 0;
  if (connections !== undefined && open >= max) {
    return [bad(`All ${many(max, "connection")} are open: clients are refused`, wayOut)];
  }
  if (open >= HIGH * max) return [warning(`${count(open)} of ${many(max, "connection")} are open`, wayOut)];
  if (wanted !== undefined && wanted > max) {
    return [warning(`${allows}, and --${SETTINGS.connectionsMax.flag} is ${count(wanted)}`, raise)];
  }
  return max < CONNECTIONS_FEW && !isSet ? [warning(allows, raise)] : good(allows);
}

/** Whether as many clients can wait to be accepted as the listeners ask for. */
export function judgeQueue(somaxconn: number | undefined): Finding[] {
  if (somaxconn === undefined) return [];
  const says = `net.core.somaxconn lets ${many(somaxconn, "client")} wait to be accepted`;
  const wanted = LIMITS.acceptBacklog;
  if (somaxconn >= wanted) return good(says);
  return [warning(`${says}; listeners ask for ${count(wanted)}`, `sysctl -w net.core.somaxconn=${wanted}`)];
}

/** Local ports, and the servers that take them. */
export interface PortsReading {
  /** Ports that the system gives to connections from one address to one server. */
  readonly perSource?: number;
  readonly servers: readonly ServerPorts[];
  readonly wanted?: number;
}

/** What a server takes of them; `sources`: the addresses that it is dialled from. */
export interface ServerPorts {
  readonly service: string;
  readonly server: string;
  readonly open: number;
  readonly sources: number;
}

/** Whether each server can have as many connections as it may get. */
export function judgePorts({ perSource, servers, wanted }: PortsReading): Finding[] {
  if (perSource === undefined) return [];
  const wayOut = 'sysctl -w net.ipv4.ip_local_port_range="1024 65535" (or more addresses: --source)';
  const short = servers.flatMap(({ service, server, open, sources }) => {
    const ratio = localPortsRatio(open, perSource, sources);
    if (ratio < HIGH) return [];
    const says = `Server ${server} of ${service} has ${percent(ratio)} of its ${count(perSource * sources)} local ports in use`;
    return [ratio >= FULL ? bad(says, wayOut) : warning(says, wayOut)];
  });
  if (short.length > 0) return told(short, "servers are short of local ports");
  const all = servers.reduce((sum, { sources }) => sum + perSource * sources, 0);
  if (wanted !== undefined && servers.length > 0 && wanted > all) {
    const says = `${count(all)} local ports towards ${many(servers.length, "server")} are fewer than the ` +
      `${count(wanted)} connections of --${SETTINGS.connectionsMax.flag}`;
    return [warning(says, wayOut)];
  }
  return good(`${count(perSource)} local ports for each server and source address`);
}

/** The table of connections of the firewall; undefined where there is none. */
export interface ConntrackReading {
  readonly table?: { readonly used: number; readonly max: number };
  readonly wanted?: number;
}

/** Whether the firewall has room: each connection takes two entries, the client's and the server's. */
export function judgeConntrack({ table, wanted = 0 }: ConntrackReading): Finding[] {
  if (table === undefined) return good("No table of connections (nf_conntrack) that could be full");
  const { used, max } = table;
  const uses = `nf_conntrack has ${count(used)} of ${count(max)} entries in use`;
  const wayOut = `sysctl -w net.netfilter.nf_conntrack_max=${Math.max(2 * max, 2 * wanted)}`;
  if (used >= FULL * max) return [bad(`${uses}: new connections are dropped when it is full`, wayOut)];
  if (used >= HIGH * max) return [warning(uses, wayOut)];
  if (2 * wanted <= max) return good(uses);
  return [warning(`${uses}; ${count(wanted)} connections take two each`, wayOut)];
}

/** Memory of the daemon, and what limits it. */
export interface MemoryReading {
  readonly limitBytes: number;
  /** Whether the limit is of a control group; otherwise it is the machine's memory. */
  readonly isGroup: boolean;
  readonly usedBytes: number;
  readonly engine: string;
  readonly connections: { readonly open: number; readonly max: number };
}

/** Whether as many connections as are allowed have room, as long as nothing waits in them. */
export function judgeMemory(reading: MemoryReading | undefined): Finding[] {
  if (reading === undefined) return [];
  const { limitBytes, isGroup, usedBytes, engine, connections: { open, max } } = reading;
  const where = isGroup ? "its control group" : "the machine";
  const uses = `${mib(usedBytes)} of the ${mib(limitBytes)} of ${where} are in use`;
  if (usedBytes >= FULL * limitBytes) return [bad(`${uses}: the kernel may end the daemon`)];
  const each = CONNECTION_BYTES[engine] ?? CONNECTION_BYTES.streams;
  const fit = open + Math.floor((HIGH * limitBytes - usedBytes) / each);
  if (max <= fit) return good(`${uses}; ${count(max)} idle connections fit (${each / 1024} KiB each)`);
  const says = `${uses}; of the ${count(max)} connections that are allowed, about ${count(Math.max(0, fit))} fit (${
    each / 1024
  } KiB each, idle)`;
  return [warning(says, `balancerctl daemon set --${SETTINGS.connectionsMax.flag} ${Math.max(1, fit)}`)];
}

/** A server that leads to a listener of the same balancer. */
export interface Loop {
  readonly service: string;
  readonly server: string;
  readonly listener: string;
  /** The service of the listener. */
  readonly of: string;
}

/** Whether the balancer sends clients to itself, also by a name. */
export function judgeLoops({ loops, servers }: { readonly loops: readonly Loop[]; readonly servers: number }): Finding[] {
  if (loops.length === 0) return servers === 0 ? [] : good("No server is one of its own listeners");
  return told(
    loops.map(({ service, server, listener, of }) =>
      bad(`Server ${server} of ${service} is where ${of} listens (${listener}): clients go in a circle`, removal(server, service))
    ),
    "servers are own listeners",
  );
}

/** A server that is given by name, and the addresses that the daemon finds. */
export interface NamedServer {
  readonly service: string;
  readonly server: string;
  readonly ips: readonly string[];
}

/** Whether names of servers lead to one address each: the ring knows the name, not the addresses. */
export function judgeNames(named: readonly NamedServer[]): Finding[] {
  const findings = named.flatMap(({ service, server, ips }) => {
    if (ips.length === 1) return [];
    if (ips.length === 0) return [bad(`The name of server ${server} of ${service} has no address`)];
    const says = `Server ${server} of ${service} has ${ips.length} addresses (${ips.slice(0, TOLD_MAX).join(", ")})`;
    return [warning(`${says}: the first that accepts gets all of its clients; add each address as a server`)];
  });
  if (findings.length > 0) return told(findings, "names are not of one address");
  return named.length === 0 ? [] : good(`${many(named.length, "server")} given by name, each of one address`);
}

/** A check that was made now. */
export interface CheckReading {
  readonly service: string;
  readonly server: string;
  readonly verdict: Answers["check"]["verdict"];
  readonly reason: string | null;
}

/** Whether each server passes its check now. `leftOut`: servers beyond those. */
export function judgeChecks(
  { checks, leftOut }: { readonly checks: readonly CheckReading[]; readonly leftOut: number },
): Finding[] {
  if (checks.length === 0) return [];
  const others = leftOut === 0 ? "" : `; ${many(leftOut, "server")} more were not asked`;
  const findings = checks.flatMap(({ service, server, verdict, reason }) => {
    if (verdict === "passed") return [];
    const type = `balancerctl check ${words(server)} --service ${service}`;
    return verdict === "failed"
      ? [bad(`Server ${server} of ${service} fails its check: ${reason}`, type)]
      : [warning(`Server ${server} of ${service} asks to be drained`, type)];
  });
  const passed = checks.length - findings.length;
  const says = `${passed} of ${many(checks.length, "server")} pass their check${others}`;
  return findings.length === 0 ? good(says) : told(findings, `servers do not pass${others}`);
}

/** What clocks and files say of the time. All in ms since 1970, but the age. */
export interface ClockReading {
  readonly nowMs: number;
  /** How long the daemon has run by a clock that nobody sets, and since when by the one that people read. */
  readonly daemon?: { readonly ageMs: number; readonly startedMs: number };
  /** When the newest of our files was written. */
  readonly newestFileMs?: number;
}

/** Whether the clock was set while the daemon ran, or is behind what was written already. Timers use another one. */
export function judgeClock({ nowMs, daemon, newestFileMs }: ClockReading): Finding[] {
  const says: string[] = [];
  if (newestFileMs !== undefined && newestFileMs - nowMs > JUMP_MS) {
    says.push(`The clock is ${time(newestFileMs - nowMs)} behind: files of this balancer are from the future`);
  }
  const jumpMs = daemon === undefined ? 0 : nowMs - daemon.startedMs - daemon.ageMs;
  if (Math.abs(jumpMs) > JUMP_MS) {
    says.push(
      `The clock was set ${time(Math.abs(jumpMs))} ${jumpMs > 0 ? "forward" : "back"} while the daemon ran: mind the log's times`,
    );
  }
  return says.length === 0
    ? good(`The clock says ${new Date(nowMs).toISOString()}`)
    : says.map((text) => warning(text, "timedatectl"));
}

/** The folder of the state; undefined with --no-state. */
export interface StateReading {
  readonly folder?: string;
  /** Why nothing can be written to it. */
  readonly fault?: string;
  readonly fileSystem?: string;
}

/** Whether the state survives a restart. */
export function judgeState({ folder, fault, fileSystem }: StateReading): Finding[] {
  if (folder === undefined) return good("Nothing is kept (--no-state)");
  if (fault !== undefined) return [bad(`Cannot write to the folder of the state, ${JSON.stringify(folder)}: ${fault}`)];
  const fleeting = fileSystem === undefined ? undefined : FLEETING[fileSystem];
  if (fleeting === undefined) return good(`The state is kept in ${folder}${fileSystem === undefined ? "" : ` (${fileSystem})`}`);
  return [warning(`The folder of the state, ${folder}, is ${fleeting}`, "export XDG_STATE_HOME=<folder on a disk>")];
}

/** The first findings, and how many more there are. */
function told(findings: readonly Finding[], what: string): Finding[] {
  if (findings.length <= TOLD_MAX) return [...findings];
  const more = findings.slice(TOLD_MAX);
  const verdict = more.some(({ verdict }) => verdict === "bad") ? "bad" : "warning";
  return [...findings.slice(0, TOLD_MAX), { verdict, says: `${count(more.length)} more ${what}` }];
}

function removal(server: string, service: string): string {
  return `balancerctl remove ${words(server)} --service ${service}`;
}

/** `[::1]:80` as the two arguments of a command. */
function words(server: string): string {
  const colon = server.lastIndexOf(":");
  return `${server.slice(0, colon).replace(/^\[(.*)\]$/, "$1")} ${server.slice(colon + 1)}`;
}

/** `1 server`, `2,000 servers`. */
function many(number: number, noun: string): string {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

function count(number: number): string {
  return number === Infinity ? "unlimited" : number.toLocaleString("en-US");
}

function mib(bytes: number): string {
  return `${count(Math.round(bytes / MIB))} MiB`;
}

function time(ms: number): string {
  return formatDuration(Math.round(ms / 1000) * 1000);
}
