/**
 * The server processes as the tool holds them: started, killed, stopped and started again on the same port; and what they have
 * logged.
 */

import type { Address } from "../../lib/values/address.ts";
import { Service } from "../bench/processes.ts";
import type { Random } from "../random.ts";

/** How a server behaves. */
export interface ServerTraits {
  /** The mean of what a request takes. */
  readonly serviceMs: number;
  /** Between the two parts of an answer, for every fourth request of a client; 0: answers are whole. */
  readonly splitMs: number;
}

/** What servers are started with. */
export interface ServersOptions {
  readonly count: number;
  /** Where their logs go; it must exist. */
  readonly folder: string;
  readonly traits: ServerTraits;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** Below this are the ports of services that the machine may have. */
const PORT_MIN = 10_000;
/** Ports that are tried for a server. */
const PORTS_TRIED_MAX = 100;

const SCRIPT = `${import.meta.dirname}/server.ts`;

/** One server. */
export class ServerProcess implements AsyncDisposable {
  #service?: Service;

  constructor(
    readonly name: string,
    readonly address: Address,
    readonly logPath: string,
    readonly traits: ServerTraits,
    readonly signal: AbortSignal,
  ) {}

  /** Starts it; resolves when it listens. */
  async start(): Promise<void> {
    const { name, address: { port }, logPath, traits: { serviceMs, splitMs } } = this;
    const may = ["--allow-net=127.0.0.1", `--allow-read=${logPath}`, `--allow-write=${logPath}`];
    const args = [name, port, logPath, serviceMs, splitMs].map(String);
    this.#service = new Service({
      words: [Deno.execPath(), "run", "-q", "--no-prompt", "--no-config", "--no-lock", ...may, SCRIPT, ...args],
    });
    await this.#service.line(1, this.signal);
  }

  /** SIGKILL, sent before this returns; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#signal("SIGKILL");
    await this[Symbol.asyncDispose]();
  }

  /** SIGSTOP: it says nothing any more, though the system goes on accepting for it. */
  stop(): void {
    this.#signal("SIGSTOP");
  }

  /** SIGCONT: it goes on where it was stopped. */
  goOn(): void {
    this.#signal("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const service = this.#service;
    if (service === undefined) return;
    this.#service = undefined;
    signalIfThere(service.pid, "SIGCONT"); // or it could not take the request to end
    await service[Symbol.asyncDispose]();
  }

  #signal(signal: Deno.Signal): void {
    if (this.#service !== undefined) signalIfThere(this.#service.pid, signal);
  }
}

/** Server processes that listen. Disposing of them ends them. */
export interface Servers extends AsyncDisposable {
  readonly list: readonly ServerProcess[];
}

/** Starts servers, called `a`, `b` and so on. */
export async function startServers({ count, folder, traits, random, signal }: ServersOptions): Promise<Servers> {
  await using stack = new AsyncDisposableStack();
  const names = Array.from({ length: count }, (_, i) => String.fromCharCode(97 + i));
  const ports = await quietPorts(count, random);
  const list = names.map((name, i) => {
    const address = { host: "127.0.0.1", port: ports[i] };
    return stack.use(new ServerProcess(name, address, `${folder}/${name}.log`, traits, signal));
  });
  await Promise.all(list.map((server) => server.start()));
  const kept = stack.move();
  return { list, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/**
 * Free ports of loopback, outside of those that the system gives to outgoing connections. While a server is away, one of those
 * could be taken by a connection of the balancer's, even by one that dials that very port and so meets itself; the server could not
 * come back.
 */
export async function quietPorts(count: number, random: Random): Promise<number[]> {
  const [ephemeralFrom] = (await Deno.readTextFile("/proc/sys/net/ipv4/ip_local_port_range")).split("\t").map(Number);
  const ports = new Set<number>();
  for (let tried = 0; ports.size < count; tried++) {
    if (tried > PORTS_TRIED_MAX) throw new Error(`There are no ${count} free ports from ${PORT_MIN} to ${ephemeralFrom - 1}`);
    const port = random.between([PORT_MIN, ephemeralFrom - 1]);
    if (isFree(port)) ports.add(port);
  }
  return [...ports];
}

function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch {
    return false;
  }
}

function signalIfThere(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch { /* it has ended by itself */ }
}
