/**
 * What a service manager, as a rule systemd, tells a program in its environment, and what the program tells it: where it wants to
 * be told, how often it wants a sign of life, and which sockets it has opened (sd_notify(3), sd_watchdog_enabled(3),
 * sd_listen_fds(3)). Pure: no environment, no descriptors.
 */

import { OperatorError } from "./errors.ts";
import { printable } from "./printable.ts";

/** A descriptor that was opened for this program. */
export interface GivenDescriptor {
  readonly descriptor: number;
  /** What its socket unit calls it. */
  readonly name: string;
}

/** What a service manager has told. */
export interface Supervision {
  /** A path, or `@` and an abstract name; undefined: it wants to be told nothing. */
  readonly notifySocket: string | undefined;
  /** The longest time between two signs of life, in ms; undefined: it wants none. */
  readonly watchdogMs: number | undefined;
  readonly descriptors: readonly GivenDescriptor[];
  /** Whether this is the process that it has started: as a rule, what it calls the service ends with this process. */
  readonly isStarted: boolean;
}

/** The environment variables, which are not for the programs that this one starts. */
export const SUPERVISION_VARIABLES = [
  "NOTIFY_SOCKET",
  "WATCHDOG_USEC",
  "WATCHDOG_PID",
  "LISTEN_FDS",
  "LISTEN_PID",
  "LISTEN_FDNAMES",
  "SYSTEMD_EXEC_PID",
] as const;

/** A reading of these variables. */
type Environment = Readonly<Partial<Record<typeof SUPERVISION_VARIABLES[number], string>>>;

/** The first descriptor that a service manager gives; those before it are the standard ones. */
const FIRST_DESCRIPTOR = 3;
/** More would be no listeners. */
const DESCRIPTORS_MAX = 4096;
/** What a descriptor without a name is called (sd_listen_fds(3)). */
const NAMELESS = "unknown";

/**
 * Reads the environment of the process with this number. Variables that are meant for another process count as missing. Throws an
 * operator error for what no service manager sets.
 */
export function parseSupervision(environment: Environment, pid: number): Supervision {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: micros, WATCHDOG_PID: watched = String(pid) } = environment;
  return {
    notifySocket: socket === undefined || socket === "" ? undefined : parseNotifySocket(socket),
    watchdogMs: micros === undefined || Number(watched) !== pid ? undefined : parseWatchdog(micros),
    descriptors: parseDescriptors(environment, pid),
    isStarted: Number(environment.SYSTEMD_EXEC_PID) === pid,
  };
}

/** What ends with the process that runs a balancer. */
interface Bonds extends Pick<Supervision, "notifySocket" | "isStarted"> {
  readonly pid: number;
  /** Whether it ends with whoever has started it. */
  readonly stopsAtEof: boolean;
}

/** Why no other process can take the place of this one, as a clause; undefined: one can. */
export function whyIrreplaceable({ pid, stopsAtEof, isStarted, notifySocket }: Bonds): string | undefined {
  if (pid === 1) return "it is process 1, as in a container, which ends with it; start a new container instead";
  if (stopsAtEof) return "it ends with the program that has started it (--stop-at-eof), and a new process would not";
  if (!isStarted || notifySocket !== undefined) return undefined;
  const wayOut = "use Type=notify in its unit, as in balancer@.service";
  return `systemd has started it and is told nothing, so it would end the new process as what is left of the service; ${wayOut}`;
}

function parseNotifySocket(text: string): string {
  if (/^[/@]./.test(text)) return text;
  throw new OperatorError("failed", `NOTIFY_SOCKET is ${quote(text)}, which is neither a path from the root nor "@" and a name`);
}

function parseWatchdog(text: string): number | undefined {
  if (!/^[0-9]{1,15}$/.test(text)) throw new OperatorError("failed", `WATCHDOG_USEC is ${quote(text)}, which is no number of µs`);
  return Number(text) === 0 ? undefined : Number(text) / 1000;
}

function parseDescriptors({ LISTEN_FDS: text, LISTEN_PID: owner, LISTEN_FDNAMES: named }: Environment, pid: number) {
  if (text === undefined || Number(owner) !== pid) return [];
  const count = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || count > DESCRIPTORS_MAX) {
    throw new OperatorError("failed", `LISTEN_FDS is ${quote(text)}, which is no number of sockets up to ${DESCRIPTORS_MAX}`);
  }
  const names = named?.split(":") ?? [];
  return Array.from({ length: count }, (_, i) => ({ descriptor: FIRST_DESCRIPTOR + i, name: names[i] || NAMELESS }));
}

function quote(text: string): string {
  return JSON.stringify(printable(text.slice(0, 100)));
}

/** The name of the service that a socket is for; undefined: its unit does not say, so it has systemd's own name for it. */
export function serviceOfSocket(name: string): string | undefined {
  return name === NAMELESS || name.endsWith(".socket") ? undefined : name;
}

/** What a program tells: its state as a sentence, and what of it the service manager acts on. Texts of datagrams. */
export const NOTICES = {
  /** It serves, or it does so by what it has read anew. */
  ready: (status: string) => `READY=1\n${statusLine(status)}`,
  status: statusLine,
  /** It reads something anew; `monotonicMicros` is the time by CLOCK_MONOTONIC. */
  reloading: (monotonicMicros: bigint) => `RELOADING=1\nMONOTONIC_USEC=${monotonicMicros}`,
  /** It stops, and needs so long at most. */
  stopping: (status: string, maxMs: number) => `STOPPING=1\n${statusLine(status)}\n${extendLine(maxMs)}`,
  /** What it does takes so long at most, from now on. */
  extend: extendLine,
  /** From now on another process is the service. */
  mainPid: (pid: number) => `MAINPID=${pid}`,
  alive: () => "WATCHDOG=1",
} as const;

function statusLine(text: string): string {
  return `STATUS=${text.replaceAll("\n", " ")}`;
}

function extendLine(maxMs: number): string {
  return `EXTEND_TIMEOUT_USEC=${Math.ceil(maxMs) * 1000}`;
}
