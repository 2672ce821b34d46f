/** What several tests share: small servers, clients, an engine on its own, and waiting for events. */

import { type AddressInfo, createConnection, createServer, type Socket } from "node:net";
import { type Address, formatAddress, parseKeyRule } from "../lib/values/address.ts";
import { LIMITS, parseConfig, STANDARD_OUTPUT } from "../lib/values/config.ts";
import type { AccessLog } from "../lib/observe/access_log.ts";
import { allocateCounters, Counters } from "../lib/observe/counters.ts";
import { type Fate, FATES } from "../lib/values/fates.ts";
import type {
  Engine,
  EngineConfig,
  EngineKind,
  OpenConnection,
  Publication,
  ServiceEngineConfig,
  WorkerEvent,
} from "../lib/engine/engine.ts";
import type { EndedConnection, MovedConnection } from "../lib/observe/connections.ts";
import type { TrafficFailure } from "../lib/routing/early_loss.ts";
import { allocateClients, ClientTable } from "../lib/observe/client_table.ts";
import type { ClientLists, Refusal } from "../lib/routing/client_limits.ts";
import { allocateAvailabilities, AVAILABILITY, AvailabilityTable } from "../lib/routing/availability.ts";
import { emptyTable, nextTable, type RoutingTable, type TableServer } from "../lib/routing/routing_table.ts";
import { assert, assertEquals } from "@std/assert";

/** No wait in a test is longer. */
export const WAIT_MAX_MS = 20_000;

/** Rejects if the promise takes longer than a test may wait. */
export async function soon<T>(promise: PromiseLike<T>, what = "the event", maxMs = WAIT_MAX_MS): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`Waited ${maxMs} ms for ${what}`)), maxMs);
  return await Promise.race([promise, late.promise]).finally(() => clearTimeout(timer));
}

/** Values that are produced by events and taken by tests, in order. */
export class Queue<T> {
  readonly #values: T[] = [];
  readonly #takers: ((value: T) => void)[] = [];

  /** Values that nobody has taken yet. */
  get size(): number {
    return this.#values.length;
  }

  put(value: T): void {
    const taker = this.#takers.shift();
    if (taker === undefined) this.#values.push(value);
    else taker(value);
  }

  take(): Promise<T> {
    if (this.#values.length > 0) return Promise.resolve(this.#values.shift()!);
    return soon(new Promise<T>((resolve) => this.#takers.push(resolve)), "a value of the queue");
  }
}

/** What a test server does with a connection. Errors of the network are no failure of the test. */
export type Handler = (socket: Deno.TcpConn, index: number) => Promise<void>;

/** A server on a free port of loopback. */
export interface TestServer extends AsyncDisposable {
  readonly name: string;
  readonly address: Address;
  /** Connections accepted so far. */
  readonly accepted: number;
}

/** Serves every connection by `handle`, and closes it afterwards. */
export function startServer(handle: Handler, { host = "127.0.0.1", port = 0, backlog = 511 } = {}): TestServer {
  const listener = Deno.listen({ hostname: host, port, tcpBacklog: backlog });
  const address = { host, port: listener.addr.port };
  const sockets = new Set<Deno.TcpConn>();
  let accepted = 0;
  const accepting = (async () => {
    for await (const socket of acceptedBy(listener)) {
      sockets.add(socket);
      handle(socket, accepted++).catch(() => {}).finally(() => {
        sockets.delete(socket);
        close(socket);
      });
    }
  })();
  return {
    name: formatAddress(address),
    address,
    get accepted() {
      return accepted;
    },
    async [Symbol.asyncDispose]() {
      close(listener);
      for (const socket of sockets) close(socket);
      await accepting.catch(() => {});
    },
  };
}

/** Every client, but those who were gone before they were accepted. */
async function* acceptedBy(listener: Deno.TcpListener): AsyncGenerator<Deno.TcpConn> {
  while (true) {
    try {
      yield await listener.accept();
    } catch (error) {
      const isClients = error instanceof Deno.errors.NotConnected || error instanceof Deno.errors.ConnectionReset;
      if (!isClients) return;
    }
  }
}

/** Answers what it is sent, and its end with an end. */
export const echo: Handler = async (socket) => {
  for await (const chunk of readChunks(socket)) await writeAll(socket, chunk);
};

/** Says its own address and is done. */
export const sayName: Handler = async (socket) => {
  await writeText(socket, formatAddress({ host: socket.localAddr.hostname, port: socket.localAddr.port }));
};

/** Keeps the connection until the other side ends it. */
export const hold: Handler = async (socket) => {
  for await (const _ of readChunks(socket));
};

/** Chunks until the end; the memory of a chunk is used again for the next one. */
export async function* readChunks(socket: Deno.Conn, bufferBytes = 65536): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(bufferBytes);
  for (let count = await socket.read(buffer); count !== null; count = await socket.read(buffer)) yield buffer.subarray(0, count);
}

export async function writeAll(socket: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await socket.write(bytes.subarray(sent));
}

export async function writeText(socket: Deno.Conn, text: string): Promise<void> {
  await writeAll(socket, new TextEncoder().encode(text));
}

/** Everything until the end. */
export async function readText(socket: Deno.Conn): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of readChunks(socket)) text += decoder.decode(chunk, { stream: true });
  return text;
}

/** Exactly so many bytes. */
export async function readBytes(socket: Deno.Conn, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  for (let read = 0; read < count;) {
    const more = await socket.read(bytes.subarray(read));
    assert(more !== null, `the connection ended after ${read} of ${count} bytes`);
    read += more;
  }
  return bytes;
}

/** A TCP connection to the address. */
export function connect({ host, port }: Address): Promise<Deno.TcpConn> {
  return Deno.connect({ hostname: host, port });
}

/** Connects, sends the text, ends its half, and gives what comes back until the end. */
export async function ask(address: Address, text = ""): Promise<string> {
  using socket = await connect(address);
  await writeText(socket, text);
  await socket.closeWrite();
  return await soon(readText(socket), "the answer");
}

/** Like `ask` from an address of one's own choosing, which `Deno.connect` cannot do. */
export function askFrom(localAddress: string, { host, port }: Address, text = ""): Promise<string> {
  return soon(
    new Promise((resolve, reject) => {
      let answer = "";
      const socket = createConnection({ host, port, localAddress });
      socket.setEncoding("utf8").on("data", (chunk) => answer += chunk).on("end", () => resolve(answer)).on("error", reject);
      socket.end(text);
    }),
    "the answer",
  );
}

/** A connection that can be reset: `Deno.Conn` has no SO_LINGER. */
export async function connectNode({ host, port }: Address): Promise<Socket> {
  const socket = createConnection({ host, port });
  socket.on("error", () => {});
  await soon(new Promise<void>((resolve) => socket.once("connect", () => resolve())), "the connection");
  return socket;
}

/** A server that resets every connection at its first byte. */
export async function startResettingServer(): Promise<{ address: Address } & AsyncDisposable> {
  const server = createServer((socket) => socket.on("error", () => {}).once("data", () => socket.resetAndDestroy()));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: { host: "127.0.0.1", port: (server.address() as AddressInfo).port },
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

/** An address on which nobody listens: it was free a moment ago. */
export function unusedAddress(): Address {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return { host: "127.0.0.1", port: listener.addr.port };
}

/** A listener that does not answer: its queue is full, and the system drops what comes until it accepts. */
export interface SilentListener extends Disposable {
  readonly address: Address;
  /** Accepts everybody from now on, those who wait first. */
  accept(): void;
}

const SILENT_BACKLOG = 1;

/** Makes one. */
export async function silentListener(): Promise<SilentListener> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: SILENT_BACKLOG });
  const address = { host: "127.0.0.1", port: listener.addr.port };
  const waiting: Deno.TcpConn[] = [];
  for (let full = false; !full;) {
    const signal = AbortSignal.timeout(200);
    await Deno.connect({ hostname: address.host, port: address.port, signal }).then(
      (socket) => void waiting.push(socket),
      async () => full = await isQueueFull(address.port), // on a busy machine this process may be late, and not the system
    );
  }
  return {
    address,
    async accept() {
      for await (const socket of acceptedBy(listener)) waiting.push(socket);
    },
    [Symbol.dispose]() {
      for (const socket of waiting) close(socket);
      close(listener);
    },
  };
}

/** Whether as many wait for the silent listener on this port as Linux lets wait: one more than its backlog. */
async function isQueueFull(port: number): Promise<boolean> {
  if (Deno.build.os !== "linux") return true;
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const tcp = await Deno.readTextFile("/proc/net/tcp");
  const [, waiting] = tcp.match(new RegExp(`:${hex} 00000000:0000 0A [0-9A-F]{8}:([0-9A-F]{8})`)) ?? []; // proc(5): rx_queue
  assert(waiting !== undefined, `/proc/net/tcp does not name the listener on port ${port}`);
  return parseInt(waiting, 16) > SILENT_BACKLOG;
}

/** Closes what may be closed already. */
export function close(closable: { close(): void }): void {
  try {
    closable.close();
  } catch { /* closed already */ }
}

/** A server of a table, its slot being its position. */
export function tableServer(address: Address, slot: number, settings: Partial<TableServer> = {}): TableServer {
  return { name: formatAddress(address), address, weight: 1, connectionsMax: Infinity, slot, ...settings };
}

/** An open connection of which nothing is known but this. */
export function openConnection(known: Partial<OpenConnection> = {}): OpenConnection {
  const counts = { moves: 0, sentBytes: 0, receivedBytes: 0, replays: 0, facts: 0, quietForMs: 0, ageMs: 0 };
  const where = { service: 0, listener: 0, slot: 0, server: undefined, isDialling: false };
  return { id: 0, ...where, ...counts, ip: Uint8Array.of(192, 0, 2, 1), port: 1, ...known };
}

/** A move, without what only logs show of it. */
export type Move = Omit<MovedConnection, "id" | "movedAt" | "service">;

/** An engine without a balancer. Disposing of it checks that its fates add up. */
export interface TestEngine extends AsyncDisposable {
  readonly engine: Engine;
  readonly address: Address;
  readonly counters: Counters;
  readonly ended: Queue<EndedConnection>;
  readonly emptied: Queue<number>;
  readonly failed: Queue<ServerFailure>;
  readonly moved: Queue<Move>;
  readonly workerEvents: Queue<WorkerEvent>;
  /** Clients that a dry run let in, and what would have refused them. */
  readonly wouldBeRefused: Queue<{ client: string; refusal: Refusal }>;
  /** What clients have. */
  readonly clients: ClientTable;
  readonly availabilities: AvailabilityTable;
  /** Lets clients in by these lists; resolves when they hold for every new client. */
  setLists(lists: ClientLists): Promise<void>;
  /** Has the connections of a server leave it: `leaving` as they may, `expired` at once or be cut. */
  leave(slot: number, availability: "draining" | "expired"): void;
  /** Changes settings of the service; resolves when they hold for every new client. */
  change(config: Partial<ServiceEngineConfig>): Promise<void>;
  /** Changes settings of the daemon; resolves when they hold. */
  changeDaemon(config: Partial<EngineConfig>): Promise<void>;
  /** Publishes a table of these servers; resolves when it holds for every new client. */
  publish(servers: readonly TableServer[]): Promise<void>;
}

/** What a test may choose; everything else is as in production. */
export interface TestEngineOptions extends Partial<Omit<EngineConfig, "accessLog" | "accessLogStart"> & ServiceEngineConfig> {
  readonly key?: string;
  readonly loadBound?: number;
  readonly host?: string;
  readonly lists?: ClientLists;
  /** The most that `connectionsMax` will be. */
  readonly connectionsLimit?: number;
  /** Is told of everything; of beginnings only if it has `starts`. */
  readonly accessLog?: { readonly log: AccessLog; readonly starts: boolean };
}

/** A failure of a server, as an engine reports it. */
export interface ServerFailure {
  readonly slot: number;
  readonly reason: string;
  readonly kind: TrafficFailure;
}

/** An engine on a free port of loopback that serves a table of these servers. */
export function startEngine(kind: EngineKind, servers: readonly TableServer[], options: TestEngineOptions = {}): TestEngine {
  const { key = "ip:port", loadBound = Infinity, host = "127.0.0.1", accessLog, connectionsLimit, lists: _, ...config } = options;
  let { lists } = options;
  const engineConfig = {
    ...parseConfig({ workers: "1" }), // each takes a tenth of a second of CPU to start; who tests more says so
    connectionsMax: 10_000,
    accessLog: accessLog ? STANDARD_OUTPUT : null,
    accessLogStart: accessLog?.starts ?? false,
    ...config,
  };
  let daemon: EngineConfig = engineConfig;
  const counters = new Counters(allocateCounters(kind.threads(engineConfig), 20_000));
  const ended = new Queue<EndedConnection>();
  const emptied = new Queue<number>();
  const failed = new Queue<ServerFailure>();
  const moved = new Queue<Move>();
  const workerEvents = new Queue<WorkerEvent>();
  const availabilities = new AvailabilityTable(allocateAvailabilities(counters.slots));
  let table: RoutingTable = nextTable(emptyTable(parseKeyRule(key), loadBound), servers);
  const wouldBeRefused = new Queue<{ client: string; refusal: Refusal }>();
  const clients = new ClientTable(allocateClients(1, 1024));
  const listener = kind.listen({ host, port: 0 }, engineConfig);
  const served = { listener, service: 0, portOffset: 0 };
  let settings: ServiceEngineConfig = engineConfig;
  const publication = (): Publication => ({ services: [{ table, config: settings, lists }], listeners: [served], config: daemon });
  const engine = kind.create({
    startId: "00000000000000ff",
    publication: publication(),
    config: engineConfig,
    connectionsLimit,
    counters,
    onEnded: (end) => {
      accessLog?.log.ended(end);
      ended.put(copyOf(end));
    },
    availabilities,
    clients: clients.shared,
    onWouldBeRefused: (client, refusal) => wouldBeRefused.put({ client, refusal }),
    onServerFailed: (slot, reason, kind) => failed.put({ slot, reason, kind }),
    onMoved: (move) => {
      accessLog?.log.moved(move);
      const { client, from, to, loss, state, replayedBytes } = move;
      moved.put({ client, from, to, loss, state, replayedBytes });
    },
    onStarted: (started) => accessLog?.log.started(started),
    onUnreported: (count) => accessLog?.log.drop(count, "the ring was full"),
    onServerEmpty: (slot) => emptied.put(slot),
    onWorker: (event) => workerEvents.put(event),
  });
  return {
    engine,
    address: listener.address,
    counters,
    ended,
    emptied,
    failed,
    moved,
    workerEvents,
    wouldBeRefused,
    clients,
    availabilities,
    change(config) {
      settings = { ...settings, ...config };
      return engine.update(publication());
    },
    changeDaemon(config) {
      daemon = { ...daemon, ...config };
      return engine.update(publication());
    },
    setLists(next) {
      lists = next;
      return engine.update(publication());
    },
    leave(slot, availability) {
      availabilities.set(slot, AVAILABILITY[availability]);
      engine.vacate(slot);
    },
    publish(servers) {
      table = nextTable(table, servers);
      return engine.update(publication());
    },
    async [Symbol.asyncDispose]() {
      await engine[Symbol.asyncDispose]();
      assertFatesAddUp(counters);
    },
  };
}

function copyOf(ended: EndedConnection): EndedConnection {
  const { id, service, listener, acceptedAt, endedAt, connectMs, endedBy } = ended;
  const { fate, client, server, attempts, moves, sentBytes, receivedBytes, durationMs, reason } = ended;
  const facts = { fate, client, server, attempts, moves, sentBytes, receivedBytes, durationMs, reason };
  return { id, service, listener, acceptedAt, endedAt, connectMs, endedBy, ...facts };
}

/** The invariant of the fates: their sum is accepted minus open, always. */
export function assertFatesAddUp(counters: Counters): void {
  const fates = Object.keys(FATES).reduce((sum, fate) => sum + counters.get(fate as Fate), 0);
  assertEquals(fates, counters.get("accepted") - counters.get("open"), "the sum of fates is accepted minus open");
  let open = 0;
  for (let service = 0; service < LIMITS.servicesMax; service++) {
    const ofService = (name: Parameters<Counters["getOfService"]>[1]) => counters.getOfService(service, name);
    const ended = Object.keys(FATES).reduce((sum, fate) => sum + ofService(fate as Fate), 0);
    assertEquals(ended, ofService("serviceAccepted") - ofService("serviceOpen"), `and that of service ${service}`);
    open += ofService("serviceOpen");
  }
  for (let listener = 0; listener < LIMITS.listenersMax; listener++) open += counters.getOfListener(listener, "listenerAwaiting");
  assertEquals(open, counters.get("open"), "every open connection is a service's, or awaits to be");
}

/** So many bytes that are not alike from one place to the next, the same for the same seed. */
export function someBytes(count: number, seed = 1): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(count / 4));
  let state = seed >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13; // xorshift32 (Marsaglia, 2003)
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, count);
}

/** SHA-256 in hexadecimal. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** Asks until the answer will do. */
export async function poll<T>(read: () => Promise<T>, isSo: (answer: T) => boolean, what: string): Promise<T> {
  let isLate = false;
  const asking = (async () => {
    while (true) {
      const answer = await read();
      if (isSo(answer) || isLate) return answer;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  return await soon(asking, what).finally(() => isLate = true);
}
