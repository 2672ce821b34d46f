/**
 * Run by sources_test.ts in a network namespace of its own: leaves it four local ports, opens clients of an engine until no port
 * towards their server is free, and says as JSON what became of them.
 */

import { createConnection, type Socket } from "node:net";
import { setUpLogging } from "../../lib/observe/log.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import type { Address } from "../../lib/values/address.ts";
import { type Handler, soon, startEngine, startServer, tableServer, type TestEngine, writeText } from "../helpers.ts";

/** The namespace's local ports. */
const PORTS = 4;
/** Of the clients, which must not take the balancer's. */
const CLIENT_PORT_MIN = 50_000;

/** What became of the clients. */
export interface Exhausted {
  /** Clients that had a server when no port was left. */
  readonly served: number;
  /** Of the client after them. */
  readonly fate: string;
  readonly reason: string;
  readonly connectFailures: number;
  readonly failures: number;
  /** Of as many clients as there are ports: those that another server took when the first one could not be dialled. */
  readonly servedByOther: number;
  /** Clients that a server took from two source addresses; 0 if the engine has none. */
  readonly servedFromTwo: number;
}

/** Greets and holds on. */
const greet: Handler = async (socket) => {
  await writeText(socket, "!");
  await socket.read(new Uint8Array(1));
};

let clients = 0;
const held: Socket[] = [];

/** Whether a new client gets a server, which greets it; it stays connected then. */
function isServed({ host, port }: Address): Promise<boolean> {
  const socket = createConnection({ host, port, localAddress: "127.0.0.9", localPort: CLIENT_PORT_MIN + clients++ });
  held.push(socket);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  socket.once("data", () => resolve(true)).once("error", () => resolve(false)).once("close", () => resolve(false));
  return soon(promise, "an answer");
}

/** Opens clients until one gets no server, or there are `max`. Returns how many got one. */
async function open({ address }: TestEngine, max: number): Promise<number> {
  let served = 0;
  while (served < max && await isServed(address)) served++;
  return served;
}

async function exhaust(name: keyof typeof ENGINES): Promise<Exhausted> {
  const kind = ENGINES[name];
  await using full = startServer(greet);
  await using other = startServer(greet);
  await using again = startServer(greet);
  await using engine = startEngine(kind, [tableServer(full.address, 0)], { workers: 1 });
  const sources = { ipv4: ["127.0.0.1", "127.0.0.2"], ipv6: [] };
  await using fromTwo = startEngine(kind, [tableServer(again.address, 0)], { workers: 1, sources });
  // Listeners come before: they would take ports of so small a range.
  await Deno.writeTextFile("/proc/sys/net/ipv4/ip_local_port_range", `40000 ${40_000 + PORTS - 1}`);
  const served = await open(engine, 2 * PORTS);
  const { fate, reason = "" } = await engine.ended.take();
  const connectFailures = engine.counters.getOf(0, "connectFailures");
  let failures = 0;
  void engine.failed.take().then(() => failures++, () => {});
  await engine.publish([tableServer(full.address, 0), tableServer(other.address, 1)]);
  await open(engine, PORTS); // those whose owner is the full server have to go on to the other one
  const servedByOther = other.accepted;
  const servedFromTwo = name === "epoll" ? await open(fromTwo, 2 * PORTS) : 0;
  for (const socket of held) socket.destroy();
  return { served, fate, reason, connectFailures, failures, servedByOther, servedFromTwo };
}

if (import.meta.main) {
  await setUpLogging("info"); // to standard error
  // deno-lint-ignore no-console -- its output is its result
  console.log(JSON.stringify(await exhaust(Deno.args[0] as keyof typeof ENGINES)));
  Deno.exit();
}
