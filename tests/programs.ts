/** The two programs as processes, each test with folders of its own, so that tests run side by side and leave nothing behind. */

import { type Address, parseAddress } from "../lib/values/address.ts";
import { messageOf } from "../lib/values/errors.ts";
import { isListening } from "../lib/control/socket.ts";
import type { ProgramName } from "../lib/values/packaging.ts";
import { callCtl } from "./ctl_hosts.ts";
import { soon } from "./helpers.ts";

/** Where `deno task compile` puts the programs; `deno task test` runs it first. */
export const DIST = `${import.meta.dirname}/../dist/`;

/** See `whenNotBusy`. */
const BUSY_TRIES = 50;
const BUSY_PAUSE_MS = 20;

/** How a program ended. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A private place for balancers to run in. Disposing of it ends those that still run. */
export interface Place extends AsyncDisposable {
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  /** Runs `balancerctl`, in a process that runs many (see ctl_host.ts). */
  ctl(...args: string[]): Promise<Outcome>;
  /** Runs `balancerctl`, which must succeed, and gives its standard output. */
  do(...args: string[]): Promise<string>;
  /** Starts a balancer in the background on a free port of loopback. */
  start(...args: string[]): Promise<Address>;
  /** The process number of the balancer that runs. */
  pid(name?: string): Promise<number>;
  /** The path of a program. */
  program(name: ProgramName): string;
  /** The control socket. */
  socket(name?: string): string;
  /** The state file. */
  state(name?: string): string;
}

/** Makes a place. */
export async function makePlace(): Promise<Place> {
  const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
  const [run, state] = [`${folder}/run`, `${folder}/state`];
  for (const path of [run, state]) await Deno.mkdir(path, { mode: 0o700 });
  // All tests share what the programs unpack, and leave it in dist.
  const env = { XDG_RUNTIME_DIR: run, XDG_STATE_HOME: state, XDG_CACHE_HOME: `${DIST}.parts/cache`, NO_COLOR: "1" };
  const program = (name: ProgramName) => DIST + name;
  const asked = { XDG_RUNTIME_DIR: run, XDG_STATE_HOME: state, BALANCER_PROGRAM: program("balancerctl") };
  const ctl = (...args: string[]) => soon(callCtl({ args, cwd: folder, env: asked }, env), "balancerctl's end");
  const succeed = async (...args: string[]) => {
    const { code, stdout, stderr } = await ctl(...args);
    if (code !== 0) throw new Error(`balancerctl ${args.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  };
  const socket = (name = "default") => `${run}/balancer/${name}.sock`;
  const status = async (name = "default") => JSON.parse(await succeed("status", "--json", "--name", name));
  return {
    folder,
    env,
    ctl,
    do: succeed,
    async start(...args) {
      await succeed("start", "127.0.0.1", "0", ...args);
      const at = args.indexOf("--name");
      return parseAddress((await status(at < 0 ? undefined : args[at + 1])).address);
    },
    async pid(name) {
      return (await status(name)).pid;
    },
    program,
    socket,
    state: (name = "default") => `${state}/balancer/${name}.json`,
    async [Symbol.asyncDispose]() {
      for (const name of await socketsIn(`${run}/balancer`)) {
        if (await isListening(socket(name))) await ctl("stop", "--grace", "0s", "--name", name);
      }
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** A daemon in the foreground that clients can connect to. */
export interface Foreground {
  readonly process: Deno.ChildProcess;
  readonly address: Address;
  /** Resolves with its exit code when it has ended. */
  ended(): Promise<number>;
}

/** Starts `balancer run` on a free port of loopback, by a shell line that has it as "$@" if one is given. */
export async function runForeground(place: Place, args: readonly string[] = [], shellLine = 'exec "$@"'): Promise<Foreground> {
  const words = ["-c", shellLine, "sh", place.program("balancer"), "run", "127.0.0.1", "0", ...args];
  const process = new Deno.Command("sh", { args: words, env: place.env, stdin: "null", stdout: "piped", stderr: "piped" }).spawn();
  const lines = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value } = await soon(lines.read(), "the address");
  return {
    process,
    address: parseAddress((value ?? "").trim()),
    async ended() {
      const { code } = await soon(process.status, "the end of the daemon");
      await lines.cancel();
      return code;
    },
  };
}

/**
 * Starts a program that may have been written a moment ago: it is busy (ETXTBSY) for as long as a child of another test, between
 * fork(2) and execve(2), has the descriptor that it was written by.
 */
export async function whenNotBusy<T>(start: () => T | Promise<T>, tries = BUSY_TRIES): Promise<T> {
  try {
    return await start();
  } catch (error) {
    if (tries === 0 || !/text file busy/i.test(messageOf(error))) throw error;
    await new Promise((resolve) => setTimeout(resolve, BUSY_PAUSE_MS));
    return await whenNotBusy(start, tries - 1);
  }
}

/** Runs a command to its end, which must come in time. */
export async function outcomeOf(command: Deno.Command, maxMs?: number): Promise<Outcome> {
  const { code, stdout, stderr } = await soon(whenNotBusy(() => command.output()), "a program's end", maxMs);
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

async function socketsIn(folder: string): Promise<string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(folder));
    return entries.filter(({ name }) => name.endsWith(".sock")).map(({ name }) => name.slice(0, -".sock".length));
  } catch {
    return [];
  }
}
