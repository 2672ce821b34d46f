/**
 * Processes that the benchmark starts: services, which run until they are disposed of, and tools, which run to their end. Each wait
 * has a limit, each process is ended by its number, and what it said when it failed becomes one sentence.
 */

import { processTree } from "./measure.ts";

/** A service may take so long to listen: a self-extracting program unpacks itself first. */
const START_MAX_MS = 20_000;
/** A service that was asked to end is killed after this. */
const STOP_MAX_MS = 2000;
/** Between two looks at whether a service is ready. */
const LOOK_EVERY_MS = 20;
/** What is kept of a service's output, in characters: enough for a complaint. */
const OUTPUT_KEPT = 8000;

/** A command line with its surroundings. */
export interface Command {
  readonly words: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** How long a tool may run, and what stops it before. */
export interface ToolOptions {
  readonly maxMs: number;
  readonly signal: AbortSignal;
  /** Interrupt it (SIGINT) after so long, which is no failure. */
  readonly interruptAfterMs?: number;
  /** Its standard output says what went wrong, for the caller to read; its exit code does not count. */
  readonly tellsFailure?: boolean;
}

/** A process that runs until it is disposed of. */
export class Service implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #name: string;
  readonly #drained: Promise<unknown>;
  readonly #output = { stdout: "", stderr: "" };
  #ended = false;

  /** Starts it. Its standard input stays open as long as this process lives. */
  constructor({ words: [program, ...args], env, cwd }: Command) {
    this.#name = program.replace(/^.*\//, "");
    this.#process = new Deno.Command(program, { args, env, cwd, stdin: "piped", stdout: "piped", stderr: "piped" }).spawn();
    const ended = this.#process.status.then(() => this.#ended = true);
    this.#drained = Promise.all([ended, this.#drain("stdout"), this.#drain("stderr")]);
  }

  /** Its process number. */
  get pid(): number {
    return this.#process.pid;
  }

  /** A line of its standard output, the first being 1. */
  async line(number: number, signal: AbortSignal, maxMs: number = START_MAX_MS): Promise<string> {
    const lines = () => this.#output.stdout.split("\n");
    await this.until(() => Promise.resolve(lines().length > number), signal, maxMs);
    return lines()[number - 1];
  }

  /** Writes to its standard input. */
  async tell(text: string): Promise<void> {
    const writer = this.#process.stdin.getWriter();
    await writer.write(new TextEncoder().encode(text));
    writer.releaseLock();
  }

  /** Waits until it is ready. Throws what it complained of if it ends before. */
  async until(isReady: () => Promise<boolean>, signal: AbortSignal, maxMs: number = START_MAX_MS): Promise<void> {
    for (let waitedMs = 0; !await isReady(); waitedMs += LOOK_EVERY_MS) {
      signal.throwIfAborted();
      if (this.#ended) throw new Error(await this.#complaint());
      if (waitedMs >= maxMs) throw new Error(`${this.#name} is not ready after ${maxMs / 1000} s`);
      await delay(LOOK_EVERY_MS);
    }
  }

  /** Asks it to end, and kills it and its children if it does not. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) {
      const tree = await processTree(this.pid);
      signalIfThere(this.pid, "SIGTERM");
      const isGone = await isWithin(this.#drained, STOP_MAX_MS); // its output ends with the last of its children
      for (const pid of isGone ? [] : tree) signalIfThere(pid, "SIGKILL");
    }
    await this.#process.stdin.close().catch(() => {});
    await isWithin(this.#drained, STOP_MAX_MS);
  }

  async #drain(stream: "stdout" | "stderr"): Promise<void> {
    for await (const text of this.#process[stream].pipeThrough(new TextDecoderStream())) {
      if (this.#output[stream].length < OUTPUT_KEPT) this.#output[stream] += text;
    }
  }

  async #complaint(): Promise<string> {
    await isWithin(this.#drained, STOP_MAX_MS);
    return complaintOf(this.#output.stderr) ?? `${this.#name} ended at once and did not say why`;
  }
}

/** Runs a tool to its end and gives its standard output. Throws a sentence if it fails or takes too long. */
export async function runTool(command: Command, { maxMs, signal, interruptAfterMs, tellsFailure }: ToolOptions): Promise<string> {
  const { words: [program, ...args], env, cwd } = command;
  signal.throwIfAborted();
  const process = new Deno.Command(program, { args, env, cwd, stdin: "null", stdout: "piped", stderr: "piped" }).spawn();
  const late = AbortSignal.timeout(maxMs);
  // Killed, not asked to end: there is nothing that it should put away, and no second wait that needs a limit.
  const kill = () => signalIfThere(process.pid, "SIGKILL");
  const either = AbortSignal.any([signal, late]);
  either.addEventListener("abort", kill);
  const interrupt = () => signalIfThere(process.pid, "SIGINT");
  const timer = interruptAfterMs === undefined ? undefined : setTimeout(interrupt, interruptAfterMs);
  const { success, stdout, stderr } = await process.output();
  clearTimeout(timer);
  either.removeEventListener("abort", kill); // the number may be another's from now on
  signal.throwIfAborted();
  const name = program.replace(/^.*\//, "");
  if (late.aborted) throw new Error(`${name} did not end within ${maxMs / 1000} s`);
  const [said, complained] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  if (success || interruptAfterMs !== undefined || tellsFailure) return said;
  throw new Error(complaintOf(complained) ?? complaintOf(said) ?? `${name} failed and did not say why`);
}

/** The line of a program's output that says what is wrong; undefined if it said nothing. */
export function complaintOf(output: string): string | undefined {
  const lines = output.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  return lines.find((line) => /alert|emerg|error/i.test(line)) ?? lines.at(-1);
}

/** Resolves after so long. */
export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A port of loopback on which nobody listens: it was free a moment ago. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function signalIfThere(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch { /* it has ended by itself */ }
}

async function isWithin(promise: Promise<unknown>, maxMs: number): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), maxMs);
  return await Promise.race([promise.then(() => true), late.promise]).finally(() => clearTimeout(timer));
}
