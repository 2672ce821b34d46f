/** What this machine limits: how many connections fit under the limit on open files, and how many local ports there are. */

import { CHECKS_UNDER_WAY_MAX } from "../health/check_budget.ts";
import { LIMITS } from "../values/config.ts";
import { OperatorError } from "../values/errors.ts";

/** Descriptors per connection: one socket for the client and one for the server. */
const DESCRIPTORS_PER_CONNECTION = 2;
/** Reserved for the listener, the control socket and its clients, the log, the state file and the runtime: 28 when idle. */
const DESCRIPTORS_RESERVED = 48;
/** Per thread of an engine: six of the runtime, its epoll set and its mailbox. */
const DESCRIPTORS_PER_THREAD = 9;
/**
 * One in this many is reserved for the pipes of the epoll engine, which 64 connections can use at a time; see CONNECTIONS_PER_PIPE.
 */
const DESCRIPTORS_PER_PIPES = 17;
const PIPE_DESCRIPTORS_MAX = 128;
/** One in this many is reserved for concurrent health checks. */
const DESCRIPTORS_PER_CHECKS = 33;
/** Assumed if the limit is unknown (Deno raises the soft limit to the hard limit when it starts; macOS has at least this). */
const DESCRIPTORS_ASSUMED = 10_240;

/**
 * Prints the limit on open files and, on Linux, the lowest and the highest local port. The shell's `read` takes one byte at a time,
 * and such a file gives no more than the first.
 */
const LOOK = "ulimit -n; cat /proc/sys/net/ipv4/ip_local_port_range";

/** What the system allows the process. */
interface SystemLimits {
  /** Open files. */
  readonly descriptors: number;
  /** Ports that the system can give to connections from one address to one server (ip(7), ip_local_port_range); null: unknown. */
  readonly localPorts: number | null;
}

const ASSUMED: SystemLimits = { descriptors: DESCRIPTORS_ASSUMED, localPorts: null };

/**
 * The limits of the system, read with the shell: Deno has no call for getrlimit(2), and files in /proc need all permissions. Gives
 * up the permission to run the shell afterwards. Throws an operator error if the limit on open files is too low to run it.
 */
export async function readSystemLimits(): Promise<SystemLimits> {
  try {
    const { stdout } = await new Deno.Command("sh", { args: ["-c", LOOK], stdin: "null", stderr: "null" }).output();
    const [limit, range = ""] = new TextDecoder().decode(stdout).trim().split("\n");
    const [, low, high] = range.match(/^([0-9]+)\s+([0-9]+)$/) ?? [];
    return {
      descriptors: limit === "unlimited" ? Infinity : /^[0-9]+$/.test(limit) ? Number(limit) : DESCRIPTORS_ASSUMED,
      localPorts: high === undefined ? null : Number(high) - Number(low) + 1,
    };
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EMFILE")) return ASSUMED;
    throw new OperatorError("failed", "The limit on open files is too low to start: raise it (ulimit -n) to 256 or more");
  } finally {
    await Deno.permissions.revoke({ name: "run", command: "sh" });
  }
}

/** Connections under a limit on descriptors, with `threads` beside the main thread. Throws an operator error if none fits. */
export function connectionsUnder(descriptors: number, threads: number): number {
  const reserved = DESCRIPTORS_RESERVED + threads * DESCRIPTORS_PER_THREAD;
  const pipes = Math.min(PIPE_DESCRIPTORS_MAX, Math.floor(descriptors / DESCRIPTORS_PER_PIPES));
  const connections = Math.floor((descriptors - reserved - pipes - checksUnder(descriptors)) / DESCRIPTORS_PER_CONNECTION);
  if (connections >= 1) return Math.min(connections, LIMITS.connectionsMax);
  const share = 1 - 1 / DESCRIPTORS_PER_PIPES - 1 / DESCRIPTORS_PER_CHECKS;
  const needed = Math.ceil((reserved + DESCRIPTORS_PER_CONNECTION) / share);
  throw new OperatorError(
    "failed",
    `The limit of ${descriptors} open files is too low for a connection: raise it (ulimit -n) to ${needed} or more`,
  );
}

/** Concurrent health checks under a limit on descriptors. */
export function checksUnder(descriptors: number): number {
  return Math.max(1, Math.min(CHECKS_UNDER_WAY_MAX, Math.floor(descriptors / DESCRIPTORS_PER_CHECKS)));
}
