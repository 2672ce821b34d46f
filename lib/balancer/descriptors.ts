/** How many connections the limit on open files leaves room for. */

import { LIMITS } from "../values/config.ts";
import { OperatorError } from "../values/errors.ts";

/** Descriptors of one connection: the client's socket and the server's. */
const DESCRIPTORS_PER_CONNECTION = 2;
/** Kept for the listener, the control socket and its clients, the log, the state file and the runtime itself: 28 when idle. */
const DESCRIPTORS_RESERVED = 48;
/** Of a thread of an engine: six of the runtime's, its epoll set and its mailbox. */
const DESCRIPTORS_PER_THREAD = 9;
/** One in so many is kept for the epoll engine's pipes, which 64 connections at a time may use; see its CONNECTIONS_PER_PIPE. */
const DESCRIPTORS_PER_PIPES = 17;
const PIPE_DESCRIPTORS_MAX = 128;
/** One in so many is kept for health checks, of which as many may be under way at a time. */
const DESCRIPTORS_PER_CHECKS = 33;
const CHECKS_MAX = 256;
/** Taken where the limit cannot be learnt (Deno raises the soft limit to the hard one at its start; macOS's is this or more). */
const DESCRIPTORS_ASSUMED = 10_240;

/**
 * The limit on open descriptors that the process and its children have, asked of the shell: Deno has no call for getrlimit(2) and
 * keeps /proc/self/limits from programs that may not do everything. The permission to run the shell is given back. Throws an
 * operator error where the limit leaves no descriptor for that.
 */
export async function readDescriptorLimit(): Promise<number> {
  try {
    const { stdout } = await new Deno.Command("sh", { args: ["-c", "ulimit -n"], stdin: "null", stderr: "null" }).output();
    const limit = new TextDecoder().decode(stdout).trim();
    if (limit === "unlimited") return Infinity;
    return /^[0-9]+$/.test(limit) ? Number(limit) : DESCRIPTORS_ASSUMED;
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EMFILE")) return DESCRIPTORS_ASSUMED;
    throw new OperatorError("failed", "Cannot serve under so low a limit on open files: raise it (ulimit -n) to 256 or more");
  } finally {
    await Deno.permissions.revoke({ name: "run", command: "sh" });
  }
}

/** Connections that fit under a limit on descriptors with so many threads beside the main one. Throws an operator error if none does. */
export function connectionsUnder(descriptors: number, threads: number): number {
  const reserved = DESCRIPTORS_RESERVED + threads * DESCRIPTORS_PER_THREAD;
  const pipes = Math.min(PIPE_DESCRIPTORS_MAX, Math.floor(descriptors / DESCRIPTORS_PER_PIPES));
  const connections = Math.floor((descriptors - reserved - pipes - checksUnder(descriptors)) / DESCRIPTORS_PER_CONNECTION);
  if (connections >= 1) return Math.min(connections, LIMITS.connectionsMax);
  const share = 1 - 1 / DESCRIPTORS_PER_PIPES - 1 / DESCRIPTORS_PER_CHECKS;
  const needed = Math.ceil((reserved + DESCRIPTORS_PER_CONNECTION) / share);
  throw new OperatorError(
    "failed",
    `Cannot serve under a limit of ${descriptors} open files: raise it (ulimit -n) to ${needed} or more`,
  );
}

/** Health checks that may be under way at a time under a limit on descriptors. */
export function checksUnder(descriptors: number): number {
  return Math.max(1, Math.min(CHECKS_MAX, Math.floor(descriptors / DESCRIPTORS_PER_CHECKS)));
}
