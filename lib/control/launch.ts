/**
 * The daemon as a process: how `balancerctl` puts it in the background and learns that it serves or why it does not, and how it
 * learns that it is gone.
 */

import { EXIT, failWith, messageOf, OperatorError } from "../values/errors.ts";
import { programStart } from "../values/packaging.ts";
import { openPlain } from "../values/plain_file.ts";

/** How long a daemon may take from its start to its first client. 10,000 servers take one second. */
const START_MAX_MS = 30_000;

/** How a daemon is started: in a session of its own, to outlive this program, or as its child; with more environment variables. */
export interface LaunchOptions {
  readonly detached: boolean;
  /** Sends the daemon SIGTERM when it is aborted, now or later: one that does not serve yet ends, one that does stops. */
  readonly signal?: AbortSignal;
  readonly env?: Readonly<Record<string, string>>;
}

/** A daemon that serves, and the address it said. */
export interface Launched {
  readonly daemon: Deno.ChildProcess;
  readonly address: string;
}

/**
 * Starts `balancer` with these arguments, and resolves when it has said on its standard output that it serves. Throws an operator
 * error with the daemon's own reason, no process being left, if it does not.
 */
export async function launchDaemon(args: readonly string[], options: LaunchOptions): Promise<Launched> {
  const daemon = spawnDaemon(args, options);
  if (options.detached) daemon.unref();
  const timer = setTimeout(() => daemon.kill("SIGKILL"), START_MAX_MS);
  const complaint = new Response(daemon.stderr).text(); // ends when the daemon does
  const { value } = await daemon.stdout.getReader().read();
  clearTimeout(timer);
  if (value !== undefined) return { daemon, address: new TextDecoder().decode(value).trim() };
  const { code } = await daemon.status;
  const reason = reasonIn(await complaint);
  throw new OperatorError(
    code === EXIT.usage ? "usage" : "failed",
    reason || `The daemon ended before it served, with exit code ${code}`,
  );
}

/** The daemon's own sentence; its runtime's backtrace is none. */
function reasonIn(complaint: string): string {
  if (!/Deno has panicked/.test(complaint)) return complaint.trim().replace(/^balancer: /, "");
  const panic = complaint.match(/panicked at [^\n]*\n?([^\n]*)/)?.[1].trim() || "it gave no reason";
  const wayOut = "if the limit on open files is low (ulimit -n), raise it to 256 or more";
  return `The daemon's runtime could not begin: ${panic}; ${wayOut}`;
}

function spawnDaemon(args: readonly string[], { detached, env, signal }: LaunchOptions) {
  const { path, args: first } = programStart("balancer");
  try {
    return new Deno.Command(path, {
      args: [...first, ...args],
      cwd: "/",
      env: { ...env, NO_COLOR: "1" },
      detached,
      signal,
      stdin: detached ? "null" : "piped", // see --stop-at-eof
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound ? "it is not there; install both programs in one folder" : messageOf(error);
    throw new OperatorError("failed", `Cannot run the daemon ${JSON.stringify(path)}: ${why}`);
  }
}

/** Resolves when the daemon that holds the lock has ended: the system releases a lock (flock(2)) with its process. */
export async function awaitEnd(lockPath: string): Promise<void> {
  const cannot = `Cannot wait for the end of the daemon at lock file ${JSON.stringify(lockPath)}`;
  using file = await openPlain(lockPath, { write: true }, cannot).catch(failWith(cannot));
  await file.lock(true);
}
