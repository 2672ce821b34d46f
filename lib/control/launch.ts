/**
 * The daemon as a process: how `balancerctl` starts it in the background, learns that it serves or why it does not, and waits for
 * its end.
 */

import { EXIT, failWith, messageOf, OperatorError } from "../values/errors.ts";
import { programStart } from "../values/packaging.ts";
import { openPlain } from "../values/plain_file.ts";

/** How long a daemon may take until it serves. With 10,000 servers it takes one second. */
const START_MAX_MS = 30_000;

/** How long a program may take to say its version: a self-extracting one unpacks itself first. */
const VERSION_MAX_MS = 60_000;

/** How a daemon is started. */
interface LaunchOptions {
  /** Whether it runs in its own session and outlives this program. */
  readonly detached: boolean;
  /** Sends SIGTERM to the daemon when aborted, at any time. */
  readonly signal?: AbortSignal;
  /** Additional environment variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** The program; default: the one that belongs to this program. */
  readonly program?: string;
  /** How long it may take until it says something, in ms. */
  readonly maxMs?: number;
}

/** A daemon that serves, and its address. */
interface Launched {
  readonly daemon: Deno.ChildProcess;
  readonly address: string;
}

/**
 * Starts `balancer` with these arguments, and resolves when it reports on its standard output that it serves. Otherwise throws an
 * operator error with the daemon's own reason; no process is left then.
 */
export async function launchDaemon(args: readonly string[], options: LaunchOptions): Promise<Launched> {
  const daemon = spawnDaemon(args, options);
  if (options.detached) daemon.unref();
  const timer = setTimeout(() => daemon.kill("SIGKILL"), options.maxMs ?? START_MAX_MS);
  const complaint = new Response(daemon.stderr).text(); // ends when the daemon does
  const { value } = await daemon.stdout.getReader().read();
  clearTimeout(timer);
  if (value !== undefined) return { daemon, address: new TextDecoder().decode(value).trim() };
  const { code } = await daemon.status;
  const reason = reasonIn(await complaint);
  throw new OperatorError(
    code === EXIT.usage ? "usage" : "failed",
    reason || `The daemon ended with exit code ${code} before it served`,
  );
}

/** The sentence of the daemon, or one for a panic of its runtime. */
function reasonIn(complaint: string): string {
  if (!/Deno has panicked/.test(complaint)) return complaint.trim().replace(/^balancer: /, "");
  const panic = complaint.match(/panicked at [^\n]*\n?([^\n]*)/)?.[1].trim() || "no reason given";
  const wayOut = "if the limit on open files (ulimit -n) is below 256, raise it";
  return `The runtime of the daemon could not start: ${panic}; ${wayOut}`;
}

function spawnDaemon(args: readonly string[], { detached, env, signal, program }: LaunchOptions) {
  const { path, args: first } = program === undefined ? programStart("balancer") : { path: program, args: [] };
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
    const why = error instanceof Deno.errors.NotFound ? "it does not exist; install both programs in one folder" : messageOf(error);
    throw new OperatorError("failed", `Cannot run the daemon ${JSON.stringify(path)}: ${why}`);
  }
}

/**
 * The version of the program `balancer` at this path, as it says itself. Throws an operator error if it is not there or another
 * program.
 */
export async function versionOf(program: string): Promise<string> {
  const cannot = `Cannot use the program ${JSON.stringify(program)}`;
  const signal = AbortSignal.timeout(VERSION_MAX_MS);
  const command = new Deno.Command(program, { args: ["--version"], stdin: "null", stdout: "piped", stderr: "null", signal });
  try {
    const { code, stdout } = await command.output();
    const [, version] = new TextDecoder().decode(stdout).match(/^balancer ([0-9]\S*)/) ?? [];
    if (code === 0 && version !== undefined) return version;
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound ? "it does not exist" : messageOf(error);
    throw new OperatorError("failed", `${cannot}: ${why}; give the path of a program called balancer`);
  }
  throw new OperatorError("failed", `${cannot}: it is not balancer; give the path of a program called balancer`);
}

/**
 * Resolves when the daemon that holds the lock has ended, since the system then releases the lock (flock(2)). The file is only
 * read, because it may be a link of another user's making.
 */
export async function awaitEnd(lockPath: string): Promise<void> {
  const cannot = `Cannot wait for the end of the daemon at lock file ${JSON.stringify(lockPath)}`;
  using file = await openPlain(lockPath, { read: true }, cannot).catch(failWith(cannot));
  await file.lock(false);
}
