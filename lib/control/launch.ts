/**
 * The daemon as a process: how `balancerctl` puts it in the background and learns that it serves or why it does not, and how it
 * learns that it is gone.
 */

import { OperatorError } from "../errors.ts";

/** How long a daemon may take from its start to its first client. 10,000 servers take one second. */
const START_MAX_MS = 30_000;

/** Flags that `deno run` needs for the daemon; without the prompt, which would wait for nobody. */
const RUN_FLAGS = ["run", "--quiet", "--no-prompt", "--permission-set=balancer", "--config"];

/**
 * Starts `balancer` with these arguments in a session of its own, and resolves when it has said on its standard output that it
 * serves. Throws an operator error with the daemon's own reason, no process being left, if it does not.
 */
export async function launchDaemon(args: readonly string[]): Promise<void> {
  const checkout = new URL("../../", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: [...RUN_FLAGS, `${checkout}deno.json`, `${checkout}main.ts`, ...args],
    cwd: "/",
    detached: true,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  child.unref();
  const timer = setTimeout(() => child.kill("SIGKILL"), START_MAX_MS);
  const complaint = new Response(child.stderr).text(); // ends when the daemon does
  const { value } = await child.stdout.getReader().read();
  clearTimeout(timer);
  if (value !== undefined) return;
  const { code } = await child.status;
  const reason = (await complaint).trim().replace(/^balancer: /, "");
  throw new OperatorError(code === 2 ? "usage" : "failed", reason || `The daemon ended before it served, with exit code ${code}`);
}

/** Resolves when the daemon that holds the lock has ended: the system releases a lock (flock(2)) with its process. */
export async function awaitEnd(lockPath: string): Promise<void> {
  using file = await Deno.open(lockPath, { write: true });
  await file.lock(true);
}
