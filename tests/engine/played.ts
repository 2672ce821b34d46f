// Servers that are played by a test, the client of one of them, and what is asserted of connections that move.

import { assert, assertEquals } from "@std/assert";
import { type AddressInfo, createServer, type Server as NodeServer, type Socket } from "node:net";
import { type Address, clientKey, formatAddress, ipBytes, parseKeyRule } from "../../lib/values/address.ts";
import type { Fate } from "../../lib/values/fates.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import type { EndedConnection } from "../../lib/observe/connections.ts";
import type { ConnectionState, Loss } from "../../lib/routing/redistribution.ts";
import type { MovableState } from "../../lib/routing/departure.ts";
import { firstOnRing } from "../../lib/routing/ring.ts";
import { emptyTable, nextTable, type TableServer } from "../../lib/routing/routing_table.ts";
import {
  close,
  connect,
  Queue,
  readBytes,
  readText,
  silentListener,
  soon,
  startEngine,
  tableServer,
  type TestEngine,
  type TestEngineOptions,
  writeText,
} from "../helpers.ts";
import { turn, until } from "../raw_socket.ts";

/** What differs between the engines, and is no fault. */
export interface Ability {
  /** Who is cut off is told so by a reset; if not, perhaps by an end. */
  readonly cutsByReset: boolean;
}

export function abilityOf({ cannot }: EngineKind): Ability {
  return { cutsByReset: !cannot.includes("cut") };
}

/** After so long an exchange is over. */
export const QUIET_MS = 30;
/** Never over, in a test. */
export const NEVER_QUIET_MS = 60_000;
/** More slots than any case has servers. */
export const SLOTS = 10;
/** So heavy that the ring gives it almost every client; `ownerOf` says which one has the test's. */
export const HEAVY = 200;
/** The beginning of a TLS handshake. */
export const HELLO = "\x16\x03\x01\x00\x05hello";

export const UNANSWERED = { redistribute: "unanswered", quietMs: QUIET_MS } as const;
export const IDLE = { redistribute: "idle", quietMs: QUIET_MS } as const;

/** One connection as its server has it. */
export class Served {
  onText: (text: string) => void = () => {};
  /** Whether it ends its half when the other side has. */
  endsToo = true;
  #text = "";
  #ended = false;
  #isClosed = false;
  #changed = Promise.withResolvers<void>();

  constructor(readonly socket: Socket) {
    socket.setEncoding("latin1");
    socket.on("error", () => {});
    socket.on("data", (text) => this.#change(() => this.#text += text, () => this.onText(`${text}`)));
    socket.on("end", () => this.#change(() => this.#ended = true, () => this.endsToo && this.end()));
    socket.on("close", () => this.#change(() => this.#isClosed = true));
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** When it has been told this in all, and nothing else. */
  async heard(text: string): Promise<void> {
    while (this.#text.length < text.length) await soon(this.#changed.promise, `${text.length - this.#text.length} bytes more`);
    assertEquals(this.#text, text);
  }

  /** When the other side has sent its end. */
  async ended(): Promise<void> {
    while (!this.#ended && !this.#isClosed) await soon(this.#changed.promise, "the end");
  }

  say(text: string): void {
    this.socket.write(text, "latin1");
  }

  /** Ends its own half. */
  end(): void {
    this.socket.end();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  #change(...steps: (() => unknown)[]): void {
    for (const step of steps) step();
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** A server that can do all that servers do when they die. */
export class Server implements AsyncDisposable {
  readonly clients = new Queue<Served>();
  readonly address: Address;
  accepted = 0;
  readonly #all: Served[] = [];

  private constructor(readonly listener: NodeServer, public play: (served: Served) => void) {
    this.address = { host: "127.0.0.1", port: (listener.address() as AddressInfo).port };
    listener.on("connection", (socket) => {
      this.accepted++;
      const served = new Served(socket);
      this.#all.push(served);
      this.play(served);
      this.clients.put(served);
    });
  }

  static async start(play: (served: Served) => void = () => {}): Promise<Server> {
    const listener = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", 1024, resolve));
    return new Server(listener, play);
  }

  get name(): string {
    return formatAddress(this.address);
  }

  at(slot: number) {
    return tableServer(this.address, slot);
  }

  /** Accepts nobody from now on; who is there stays. */
  async stopListening(): Promise<void> {
    this.listener.close();
    const isRefused = () => connect(this.address).then((late) => (late.close(), false), () => true);
    while (!await isRefused());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.listener.listening) this.listener.close();
    for (const { socket } of this.#all) socket.destroy();
    await Promise.resolve();
  }
}

/** Answers with a name and what it was told. */
export function answer(name: string): (served: Served) => void {
  return (served) => served.onText = (text) => served.say(`${name}:${text}`);
}

export function echo(served: Served): void {
  served.onText = (text) => served.say(text);
}

export interface Pair extends AsyncDisposable {
  readonly test: TestEngine;
  /** Does as it is told; has slot 0. */
  readonly a: Server;
  /** Answers; has slot 1, and no client yet. */
  readonly b: Server;
  readonly client: Deno.TcpConn;
  /** The client's connection as `a` has it. */
  readonly first: Served;
}

/** What decides a client's server: its address alone, so that `ownerOf` holds for every client, whatever its port. */
const KEY = "ip";

/** The slot of the server that the ring gives this test's clients to, who all come from one address. */
export function ownerOf(servers: readonly TableServer[]): number {
  const rule = parseKeyRule(KEY);
  const table = nextTable(emptyTable(rule, Infinity), servers);
  return table.slots[firstOnRing(table.tiers[0].circle, clientKey(rule, ipBytes("127.0.0.1"), 0))];
}

/** A server in slot 1 that answers, where a heavy one with this address in slot 0 has the clients. */
export async function startOther(address: Address): Promise<Server> {
  for (;;) {
    const server = await Server.start(answer("a"));
    if (ownerOf([tableServer(address, 0, { weight: HEAVY }), server.at(1)]) === 0) return server;
    await server[Symbol.asyncDispose]();
  }
}

/** A listener that accepts nobody and, as a heavy server in slot 2 beside these, has the clients. */
export async function silentOwner(others: readonly TableServer[]): Promise<Awaited<ReturnType<typeof silentListener>>> {
  for (;;) {
    const silent = await silentListener();
    if (ownerOf([...others, tableServer(silent.address, 2, { weight: HEAVY })]) === 2) return silent;
    silent[Symbol.dispose]();
  }
}

/** A client connected to the first of two servers. */
export async function startPair(kind: EngineKind, options: TestEngineOptions): Promise<Pair> {
  const a = await Server.start();
  const b = await Server.start(answer("b"));
  const test = start(kind, [a.at(0)], options);
  const client = await connect(test.address);
  const first = await a.clients.take();
  // The server may know before the engine does.
  await until(() => test.counters.getOf(0, "connects") > 0, "the server to be dialled");
  await test.publish([a.at(0), b.at(1)]);
  return {
    test,
    a,
    b,
    client,
    first,
    async [Symbol.asyncDispose]() {
      close(client);
      await test[Symbol.asyncDispose]();
      await a[Symbol.asyncDispose]();
      await b[Symbol.asyncDispose]();
    },
  };
}

/** An engine, at whose end no server has a connection left. */
export function start(kind: EngineKind, servers: Parameters<typeof startEngine>[1], options: TestEngineOptions = {}): TestEngine {
  const test = startEngine(kind, servers, { key: KEY, ...options });
  return {
    ...test,
    async [Symbol.asyncDispose]() {
      await test[Symbol.asyncDispose]();
      for (let slot = 0; slot < SLOTS; slot++) assertEquals(test.counters.getOf(slot, "serverOpen"), 0, `open on server ${slot}`);
    },
  };
}

/** A question and its answer, and then nothing for so long that it counts as over. */
export async function exchange(client: Deno.TcpConn, served: Served): Promise<void> {
  await writeText(client, "first");
  await served.heard("first");
  served.say("answer");
  assertEquals(await hear(client, 6), "answer");
  await quiet();
}

/** A question that the server has and has not answered. */
export async function question(client: Deno.TcpConn, served: Served): Promise<void> {
  await writeText(client, "ping");
  await served.heard("ping");
}

/** Brings a connection into a state in which it may move. */
export const INTO: Readonly<Record<MovableState, (client: Deno.TcpConn, served: Served) => Promise<void>>> = {
  unsent: () => Promise.resolve(),
  unanswered: question,
  idle: exchange,
};

/** Asserts that the client's next question is answered by the server that says its name. */
export async function assertServedBy(client: Deno.TcpConn, name: string): Promise<void> {
  await writeText(client, "ping");
  assertEquals(await hear(client, name.length + 5), `${name}:ping`);
}

/** An idle connection that would leave for a server which never accepts: in slot 2, dialled once something sends it there. */
export async function beforeSilentOwner({ test, client, first, a }: Pair): Promise<Disposable> {
  const silent = await silentOwner([a.at(0)]);
  await exchange(client, first);
  await test.publish([a.at(0), tableServer(silent.address, 2, { weight: HEAVY })]);
  return silent;
}

/** The server in slot 2 is dialled. */
export async function dialled(test: TestEngine): Promise<void> {
  await until(() => test.counters.getOf(2, "serverOpen") > 0, "the server to be dialled");
}

export function quiet(): Promise<void> {
  return turn(2 * QUIET_MS);
}

export async function hear(client: Deno.TcpConn, bytes: number): Promise<string> {
  return new TextDecoder().decode(await soon(readBytes(client, bytes), `${bytes} bytes`));
}

/** Who is cut off is not to take what it got for whole. */
export async function assertCut(client: Deno.TcpConn, { cutsByReset }: Ability): Promise<void> {
  const wasReset = await soon(
    readText(client).then(() => false, (error) => error instanceof Deno.errors.ConnectionReset),
    "the cut",
  );
  assert(wasReset || !cutsByReset, "the client was told of an end");
}

export function assertEnded(ended: EndedConnection, expected: Partial<EndedConnection> & { fate?: Fate }): void {
  const got = Object.fromEntries(Object.keys(expected).map((name) => [name, ended[name as keyof EndedConnection]]));
  assertEquals(got, { ...expected }, ended.reason);
}

/** Why a connection moved, what it was doing, and what was sent again. */
interface How {
  readonly loss: Loss;
  readonly state: ConnectionState;
  readonly replayedBytes: number;
}

export function movedFrom(client: Deno.TcpConn, from: Server, to: Server, how: How) {
  const { hostname: host, port } = client.localAddr as Deno.NetAddr;
  return { client: formatAddress({ host, port }), from: from.name, to: to.name, ...how };
}

export function counted({ counters }: TestEngine) {
  const names = ["movedUnsent", "movedUnanswered", "movedIdle", "replayOverflows"] as const;
  return Object.fromEntries(names.map((name) => [name, counters.get(name)]));
}

/** Open connections of the first two servers. */
export function open({ counters }: TestEngine): number[] {
  return [0, 1].map((slot) => counters.getOf(slot, "serverOpen"));
}
