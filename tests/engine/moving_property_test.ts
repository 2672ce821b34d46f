// Whatever becomes of the servers, in whatever order, nobody is told anything wrong: random clients talk to servers that reset,
// end, die, come back, are drained and given up, at every level of redistribution, over every row of ENGINES.
//
// Servers have no state and answer frames: what a request and its answers are follows from the request's number and the server's,
// so each byte that arrives anywhere is known beforehand. All servers and clients are on one thread, and a client that gets the
// first byte of an answer first has every server read all that is there: what a server gets after that was said after that.
//
// BALANCER_TEST_LONG=1 makes it longer; BALANCER_TEST_SEED, which the names tell, repeats what is chosen. What comes of it is a
// matter of time as well, so a failure may need some runs to come again.

import { assert, assertEquals, assertGreater } from "@std/assert";
import type { Address } from "../../lib/values/address.ts";
import { type Level, LEVELS } from "../../lib/values/config.ts";
import { type Fate, FATE_NAMES } from "../../lib/values/fates.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import type { EndedConnection } from "../../lib/observe/connections.ts";
import { openLibc, SOCKADDR, SOCKET } from "../../lib/engine/system/libc.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { messageOf } from "../../lib/values/errors.ts";
import { AVAILABILITY } from "../../lib/routing/availability.ts";
import { type Move, type Queue, someBytes, soon, startEngine, tableServer, type TestEngine, WAIT_MAX_MS } from "../helpers.ts";
import { Arrivals, type Errno, HAS_RAW_SOCKETS, RawSocket, turn, until } from "../raw_socket.ts";

/** What differs between the engines, and is no fault. */
interface Ability {
  /** Who is cut off is told so by a reset; if not, perhaps by an end. */
  readonly cutsByReset: boolean;
}

function abilityOf({ cannot }: EngineKind): Ability {
  return { cutsByReset: !cannot.includes("cut") };
}

const KIB = 1024;
const IS_LONG = Deno.env.get("BALANCER_TEST_LONG") !== undefined;
const CHAOS_MS = IS_LONG ? 20_000 : 1400;
const SEED = Number(Deno.env.get("BALANCER_TEST_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);

const SERVERS = 4;
const CLIENTS = 80;
/** The number of a server that the operator does not touch. */
const ALWAYS_THERE = 0;
/** The pause between two events, at the most. */
const EVENT_PAUSE_MAX_MS = 50;
/** How long a server is away, at the most. */
const AWAY_MAX_MS = 300;

/** More than the 200 ms after which Linux asks again whether a full peer has room: that is no end of an exchange. */
const QUIET_MS = 300;
/** Who did nothing for so long was kept from it by a busy machine: an engine may have taken that for the end of the exchange. */
const STALL_MS = QUIET_MS / 2;
/** Clients think for less than the one or for more than the other, so that it is clear what their silence means. */
const SHORT_THOUGHT_MS = QUIET_MS / 10;
const LONG_THOUGHT_MS = QUIET_MS * 1.5;

/** Most requests are recorded, but not the longest. */
const POLICY = { quietMs: QUIET_MS, replaysMax: 3, replayBytesMax: 300_000 } as const;
/** An engine that gives nobody up because the machine is busy. */
const PATIENT = { connectTimeoutMs: WAIT_MAX_MS, connectDeadlineMs: 2 * WAIT_MAX_MS, workers: 2 } as const;
/** Bodies are smaller than this; most are much smaller. */
const BODY_MAX_BYTES = 400_000;
const USUAL_BODY_MAX_BYTES = 3000;
/** Sockets that take in little when nobody reads: see RawOptions. */
const NARROW = { segmentBytesMax: 1460, receiveBufferBytes: 16 * KIB } as const;

/** All bodies are parts of this. */
const POOL = someBytes(4 * 1024 * KIB, 0xba1a4ce);

const REQUEST_HEADER_BYTES = 12;
const ANSWER_HEADER_BYTES = 9;
const ID_BYTES = 4;
const BACKLOG = 1024;
const SHUT_RD = 0;

// Opened once and never closed, as in raw_socket.ts.
const libc = HAS_RAW_SOCKETS ? openLibc() : undefined;
const call = libc?.call!;
const argument = new DataView(new ArrayBuffer(32));
const argumentAddress = libc?.addressOf(argument.buffer) ?? 0n;
const LENGTH_AT = 16;

/** Numbers that are the same for the same seed. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed + 1, 0x9e3779b1) >>> 0 || 1;
  }

  /** From 0 to limit - 1. */
  below(limit: number): number {
    this.#state ^= this.#state << 13; // xorshift32 (Marsaglia, 2003)
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }

  /** Once in so many times. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)];
  }

  bodyBytes(): number {
    return this.below(this.once(4) ? BODY_MAX_BYTES : USUAL_BODY_MAX_BYTES);
  }
}

/** What a client asks once. */
interface Question {
  /** The connection on which it is asked, and how many were asked there before. */
  readonly connection: number;
  readonly index: number;
  readonly up: number;
  readonly down: number;
  /** How long a server thinks about it. */
  readonly waitMs: number;
  /** How long it pauses after the first half of its answer. */
  readonly pauseMs: number;
  /** It is answered when it begins, not when all of it is there. */
  readonly isEarly: boolean;
}

/** A question with its number, and what has become of it. */
class Request {
  deliveries = 0;
  /** The client has got the first byte of an answer. */
  hasAnswer = false;
  /** A server has ended its half in the middle of the answer. */
  isBroken = false;
  /** The numbers of the servers that it came to. */
  readonly servers = new Set<number>();

  constructor(readonly id: number, readonly asked: Question) {}

  bytes(): Uint8Array {
    const { up, down } = this.asked;
    const bytes = new Uint8Array(REQUEST_HEADER_BYTES + up);
    const header = new DataView(bytes.buffer);
    [this.id, up, down].forEach((word, i) => header.setUint32(i * 4, word));
    bytes.set(body(this.id, up), REQUEST_HEADER_BYTES);
    return bytes;
  }

  /** What the server with this number answers. */
  answerOf(server: number): Uint8Array {
    const { down } = this.asked;
    const bytes = new Uint8Array(ANSWER_HEADER_BYTES + down);
    const header = new DataView(bytes.buffer);
    header.setUint8(0, server);
    header.setUint32(1, this.id);
    header.setUint32(5, down);
    bytes.set(body(this.id * SERVERS + server + 1_000_003, down), ANSWER_HEADER_BYTES);
    return bytes;
  }

  toString(): string {
    const { connection, index, up, down, isEarly } = this.asked;
    return `request ${this.id} (number ${index} on connection ${connection}, ${up} bytes up, ${down} down${
      isEarly ? ", early" : ""
    })`;
  }
}

/** Bytes that differ from one number to the next. */
function body(number: number, bytes: number): Uint8Array {
  const start = (Math.imul(number, 0x9e3779b1) >>> 0) % (POOL.length - BODY_MAX_BYTES);
  return POOL.subarray(start, start + bytes);
}

/** What is known of everybody, and what was found to be wrong. */
class World {
  readonly servers: Server[] = [];
  readonly wrong: string[] = [];
  /** Clients go on as long as it is false. */
  isOver = false;
  connections = 0;
  answers = 0;
  readonly #requests: Request[] = [];

  constructor(readonly level: Level, readonly can: Ability) {}

  blame(what: string): void {
    this.wrong.push(what);
    this.isOver = true;
  }

  ask(question: Question): Request {
    const request = new Request(this.#requests.length, question);
    this.#requests.push(request);
    return request;
  }

  find(id: number): Request | undefined {
    return this.#requests[id];
  }

  /** The first bytes of the request have come to this server. */
  deliver(request: Request, server: number): void {
    if (request.hasAnswer) this.blame(`${request} came to server ${server} after it had begun to be answered`);
    request.deliveries++;
    request.servers.add(server);
    if (request.deliveries > 1 && !this.#mayBeRepeated(request)) this.blame(`${request} was repeated at level ${this.level}`);
    if (request.deliveries > 1 + POLICY.replaysMax) this.blame(`${request} was repeated ${request.deliveries - 1} times`);
  }

  /** Has all servers read what is there. */
  readAll(): void {
    for (const server of this.servers) server.read();
  }

  /** Has the servers do their work until they are disposed of. */
  async serve(): Promise<void> {
    for (let nowMs = performance.now(); this.servers.length > 0; nowMs = performance.now()) {
      this.readAll();
      for (const server of this.servers) server.answer(nowMs);
      await turn();
    }
  }

  #mayBeRepeated({ asked }: Request): boolean {
    return this.level === "idle" || (this.level === "unanswered" && asked.index === 0);
  }
}

/** An answer on its way. */
interface Answer {
  readonly request: Request;
  readonly bytes: Uint8Array;
  /** When it goes on, by performance.now. */
  atMs: number;
  sentBytes: number;
}

/** One connection as its server has it. */
class Served {
  readonly #id = new DataView(new ArrayBuffer(ID_BYTES));
  #idBytes = 0;
  /** The request that is arriving. */
  #arriving: { readonly request: Request; readonly arrivals: Arrivals } | undefined;
  /** The last one that has arrived. */
  #before: Request | undefined;
  #answers: Answer[] = [];
  #clientEnded = false;
  #hasEnded = false;

  constructor(readonly socket: RawSocket, readonly server: number, readonly world: World) {}

  /** Reads what is there. False if the connection has ended. */
  read(): boolean {
    if (this.#clientEnded) return true;
    for (let got = this.socket.recv(); got !== "empty"; got = this.socket.recv()) {
      if (typeof got === "string") return this.#onEnd(got);
      for (let at = 0; at < got.length;) at += this.#take(got.subarray(at));
    }
    return true;
  }

  /** Says what is to be said by now. False if the connection has ended. */
  answer(nowMs: number): boolean {
    for (let first = this.#answers.at(0); first !== undefined && first.atMs <= nowMs; first = this.#answers.at(0)) {
      const count = this.socket.send(this.#nextPiece(first));
      if (count === "full") return true;
      if (typeof count === "string") return false;
      first.sentBytes += count;
      if (first.sentBytes === count) first.atMs = nowMs + first.request.asked.pauseMs;
      if (first.sentBytes === first.bytes.length) this.#answers.shift();
    }
    return this.#answers.length > 0 || !this.#clientEnded;
  }

  /** Ends its own half, whatever it was saying. */
  end(): void {
    for (const { request, sentBytes } of this.#answers) request.isBroken ||= sentBytes > 0;
    this.#answers = [];
    this.#hasEnded = true;
    this.socket.closeWrite();
  }

  #nextPiece({ bytes, sentBytes }: Answer): Uint8Array {
    return sentBytes === 0 ? bytes.subarray(0, Math.ceil(bytes.length / 2)) : bytes.subarray(sentBytes);
  }

  #onEnd(how: "end" | Errno): boolean {
    const arriving = this.#arriving;
    if (how === "end" && arriving !== undefined && !this.#hasEnded && this.world.can.cutsByReset) {
      this.world.blame(`server ${this.server} was told of an end in the middle of ${arriving.request}`);
    }
    this.#clientEnded = how === "end";
    return this.#clientEnded;
  }

  /** Takes some of what has arrived: how much. */
  #take(bytes: Uint8Array): number {
    if (this.#arriving === undefined) return this.#takeId(bytes[0]);
    const { request, arrivals } = this.#arriving;
    const count = Math.min(bytes.length, arrivals.sent.length - arrivals.count);
    arrivals.take(bytes.subarray(0, count));
    if (arrivals.count === arrivals.sent.length) this.#finish(request);
    return count;
  }

  #takeId(byte: number): 1 {
    this.#id.setUint8(this.#idBytes++, byte);
    if (this.#idBytes === ID_BYTES) this.#begin(this.#id.getUint32(0));
    return 1;
  }

  #begin(id: number): void {
    const request = this.world.find(id);
    const before = this.#before;
    assert(request !== undefined, `${id} is no request`);
    assert(before === undefined || before.id < id, `${request} came after ${before}`);
    assert(
      before === undefined || before.asked.connection === request.asked.connection,
      `${request} is not of the client of ${before}`,
    );
    this.world.deliver(request, this.server);
    const arrivals = new Arrivals(request.bytes());
    arrivals.take(new Uint8Array(this.#id.buffer));
    this.#arriving = { request, arrivals };
    if (request.asked.isEarly) this.#plan(request);
  }

  #finish(request: Request): void {
    this.#arriving = undefined;
    this.#before = request;
    this.#idBytes = 0;
    if (!request.asked.isEarly) this.#plan(request);
  }

  #plan(request: Request): void {
    if (this.#hasEnded) return;
    const atMs = performance.now() + request.asked.waitMs;
    this.#answers.push({ request, bytes: request.answerOf(this.server), atMs, sentBytes: 0 });
  }
}

/** A server to which all may happen that happens to servers. */
class Server implements Disposable {
  readonly address: Address;
  readonly #listener: number;
  #served: Served[] = [];
  #isListening = true;
  #backAtMs = Infinity;

  constructor(readonly number: number, readonly world: World, readonly onBack: () => void) {
    const { listener, port } = listen();
    this.#listener = listener;
    this.address = { host: "127.0.0.1", port };
  }

  get connections(): readonly Served[] {
    return this.#served;
  }

  read(): void {
    for (let socket = this.#accept(); socket !== undefined; socket = this.#accept()) {
      this.#served.push(new Served(socket, this.number, this.world));
    }
    this.#keep((served) => served.read());
  }

  answer(nowMs: number): void {
    this.#keep((served) => served.answer(nowMs));
    if (nowMs >= this.#backAtMs) this.recover();
  }

  /** Resets the connections of which `choose` says so. */
  reset(choose: () => boolean): void {
    this.#served = this.#served.filter((served) => {
      const isChosen = choose();
      if (isChosen) served.socket.reset();
      return !isChosen;
    });
  }

  end(choose: () => boolean): void {
    for (const served of this.#served) if (choose()) served.end();
  }

  /** Closes all connections as a killed process does: with an end, or with a reset where something is unread. */
  closeAll(): void {
    for (const served of this.#served) {
      served.end();
      served.socket.close();
    }
    this.#served = [];
  }

  /** Refuses new connections. It keeps its port, which nobody else is to get meanwhile. */
  stopListening(): void {
    if (this.#isListening) check(call.shutdown(this.#listener, SHUT_RD), "shutdown");
    this.#isListening = false;
  }

  /** Has it recover after so long. */
  comeBackIn(ms: number): void {
    this.#backAtMs = performance.now() + ms;
  }

  recover(): void {
    this.#backAtMs = Infinity;
    if (!this.#isListening) check(call.listen(this.#listener, BACKLOG), "listen");
    this.#isListening = true;
    this.onBack();
  }

  [Symbol.dispose](): void {
    for (const { socket } of this.#served) socket.close();
    call.close(this.#listener);
  }

  #accept(): RawSocket | undefined {
    return this.#isListening ? RawSocket.accept(this.#listener) : undefined;
  }

  /** Closes those of which `isOpen` does not say that they go on. */
  #keep(isOpen: (served: Served) => boolean): void {
    this.#served = this.#served.filter((served) => {
      const isKept = this.#isRight(() => isOpen(served));
      if (!isKept) served.socket.close();
      return isKept;
    });
  }

  #isRight(isOpen: () => boolean): boolean {
    try {
      return isOpen();
    } catch (error) {
      this.world.blame(`at server ${this.number}: ${messageOf(error)}`);
      return false;
    }
  }
}

/** A listener on a port that is its own even while it does not listen: which is so only of one that was asked for by its number. */
function listen(): { listener: number; port: number } {
  const first = bind(0);
  argument.setInt32(LENGTH_AT, SOCKADDR.length4, true);
  check(call.getsockname(first, argumentAddress, argumentAddress + BigInt(LENGTH_AT)), "getsockname");
  const port = argument.getUint16(SOCKADDR.port);
  const listener = bind(port);
  call.close(first);
  check(call.listen(listener, BACKLOG), "listen");
  return { listener, port };
}

/** A socket that has this port of loopback, as others of ours may have that do not listen; 0: any that is free. */
function bind(port: number): number {
  const { AF_INET, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, SOL_SOCKET, SO_REUSEADDR } = SOCKET;
  const descriptor = check(call.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  argument.setInt32(0, 1, true);
  check(call.setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, argumentAddress, 4), "setsockopt");
  argument.setUint16(SOCKADDR.family, AF_INET, true);
  argument.setUint16(SOCKADDR.port, port);
  [127, 0, 0, 1].forEach((byte, i) => argument.setUint8(SOCKADDR.address4 + i, byte));
  check(call.bind(descriptor, argumentAddress, SOCKADDR.length4), "bind");
  return descriptor;
}

function check(result: number, what: string): number {
  assert(result >= 0, `${what}: errno ${libc!.errno()}`);
  return result;
}

/** How an exchange ends: with an answer, with the connection, or because the client does not want it any more. */
type Outcome = "answered" | "end" | Errno | "left";

/** How a client behaves in an exchange. */
interface Manner {
  /** It reads little at a time. */
  readonly isSlow: boolean;
  /** It sends its end after the request. */
  readonly endsAfter: boolean;
  /** It resets when so many bytes were sent and received. */
  readonly leavesAtBytes: number;
  /** It goes on after a stall: nothing happens to the servers. */
  readonly isPatient: boolean;
}

/** A request and its answer as the client has them. */
class Exchange {
  readonly #out: Uint8Array;
  #sentBytes = 0;
  #isSent = false;
  #arrivals: Arrivals | undefined;
  #steppedMs = performance.now();

  constructor(
    readonly world: World,
    readonly socket: RawSocket,
    readonly request: Request,
    readonly manner: Manner,
    readonly random: Random,
  ) {
    this.#out = request.bytes();
  }

  async run(): Promise<Outcome> {
    const endMs = this.#steppedMs + WAIT_MAX_MS;
    while (performance.now() < endMs) {
      const outcome = this.#step();
      if (outcome !== undefined) return this.#finish(outcome);
      await turn(this.random.once(8) ? this.random.below(8) : 1);
    }
    this.world.blame(`${this.request} hangs: ${this.#sentBytes} bytes are sent, ${this.#receivedBytes} received`);
    return this.#finish("left");
  }

  get #receivedBytes(): number {
    return this.#arrivals?.count ?? 0;
  }

  get #isWhole(): boolean {
    return this.#arrivals !== undefined && this.#arrivals.count === this.#arrivals.sent.length;
  }

  /** Does what can be done now; says how it has ended, if it has. */
  #step(): Outcome | undefined {
    if (this.#isStalled()) return "left";
    this.#send();
    const got = this.socket.recv(this.manner.isSlow ? 4 * KIB : undefined);
    if (typeof got !== "string") this.#take(got);
    else if (got !== "empty") return this.#isWhole && this.#isSent ? "answered" : this.#onEnd(got);
    if (this.#isWhole && this.#isSent) return "answered";
    return this.#sentBytes + this.#receivedBytes >= this.manner.leavesAtBytes ? "left" : undefined;
  }

  /** Whether the machine was busy with something else: what looks wrong then may be the engine's right. */
  #isStalled(): boolean {
    const nowMs = performance.now();
    const isLate = nowMs - this.#steppedMs > STALL_MS;
    this.#steppedMs = nowMs;
    return isLate && this.world.level === "idle" && !this.manner.isPatient;
  }

  #send(): void {
    if (this.#isSent) return;
    const size = 1 + this.random.below(this.random.once(4) ? 100 : 64 * KIB);
    const count = this.socket.send(this.#out.subarray(this.#sentBytes, this.#sentBytes + size));
    if (count === "full") return;
    if (typeof count === "number") this.#sentBytes += count; // after an error reading tells what there is to know
    this.#isSent = this.#sentBytes === this.#out.length;
    if (this.#isSent && this.manner.endsAfter) this.socket.closeWrite();
  }

  #take(bytes: Uint8Array): void {
    if (this.#arrivals !== undefined) return this.#arrivals.take(bytes);
    const server = bytes[0];
    assert(this.request.servers.has(server), `${this.request} is answered by server ${server}, which it did not come to`);
    this.#arrivals = new Arrivals(this.request.answerOf(server));
    this.#arrivals.take(bytes); // before anybody else reads: that is into the same memory
    this.world.readAll();
    this.request.hasAnswer = true;
  }

  #onEnd(how: "end" | Errno): Outcome {
    if (how === "end" && this.#receivedBytes > 0 && !this.#isWhole && this.world.can.cutsByReset && !this.request.isBroken) {
      this.world.blame(`${this.request} ended as if it were whole, after ${this.#receivedBytes} bytes of the answer`);
    }
    return how;
  }

  /** A request that was not sent to its end is no whole one for its server. */
  #finish(outcome: Outcome): Outcome {
    if (outcome === "answered") this.world.answers++;
    else if (outcome === "left" || !this.#isSent) this.socket.reset();
    return outcome;
  }
}

/** Talks to servers on one connection after another. */
class Client {
  readonly #random: Random;

  constructor(readonly world: World, readonly address: Address, seed: number) {
    this.#random = new Random(seed);
  }

  async run(): Promise<void> {
    try {
      while (!this.world.isOver) await this.#talk();
      if (this.world.wrong.length === 0) await this.talkInPeace();
    } catch (error) {
      this.world.blame(`at a client: ${messageOf(error)}`);
    }
  }

  /** Some exchanges on one connection. */
  async #talk(): Promise<void> {
    using socket = await RawSocket.connect(this.address, this.#random.once(2) ? NARROW : {});
    const connection = this.world.connections++;
    if (this.#random.once(4)) await this.#think();
    const count = this.#random.below(8);
    for (let index = 0; index < count && !this.world.isOver; index++) {
      const manner = this.#manner();
      const exchange = new Exchange(this.world, socket, this.#ask(connection, index), manner, this.#random);
      const outcome = await exchange.run();
      if (outcome !== "answered") return;
      if (manner.endsAfter) return await this.#awaitEnd(socket);
      await this.#think();
    }
    await this.#leave(socket);
  }

  /** While all servers are well everybody is served. */
  async talkInPeace(): Promise<void> {
    using socket = await RawSocket.connect(this.address);
    const request = this.#ask(this.world.connections++, 0);
    const manner = { isSlow: false, endsAfter: true, leavesAtBytes: Infinity, isPatient: true };
    const outcome = await new Exchange(this.world, socket, request, manner, this.#random).run();
    if (outcome !== "answered") return this.world.blame(`${request} was not answered while all was well: ${outcome}`);
    await this.#awaitEnd(socket);
  }

  #ask(connection: number, index: number): Request {
    const random = this.#random;
    return this.world.ask({
      connection,
      index,
      up: random.bodyBytes(),
      down: random.bodyBytes(),
      waitMs: random.once(16) ? LONG_THOUGHT_MS : random.once(3) ? random.below(60) : 0,
      pauseMs: random.once(3) ? random.below(SHORT_THOUGHT_MS) : 0,
      isEarly: random.once(8),
    });
  }

  #manner(): Manner {
    const random = this.#random;
    return {
      isSlow: random.once(5),
      endsAfter: random.once(6),
      leavesAtBytes: random.once(10) ? random.bodyBytes() : Infinity,
      isPatient: false,
    };
  }

  async #think(): Promise<void> {
    const untilMs = performance.now() + this.#thoughtMs();
    while (performance.now() < untilMs && !this.world.isOver) await turn(SHORT_THOUGHT_MS / 4);
  }

  #thoughtMs(): number {
    const thoughts = [0, 0, this.#random.below(SHORT_THOUGHT_MS), LONG_THOUGHT_MS + this.#random.below(QUIET_MS)];
    return this.#random.pick(thoughts);
  }

  async #leave(socket: RawSocket): Promise<void> {
    const how = this.#random.below(3);
    if (how === 0) return socket.reset();
    if (how === 1) return socket.close();
    socket.closeWrite();
    await this.#awaitEnd(socket);
  }

  /** Nothing is to come but the end. */
  async #awaitEnd(socket: RawSocket): Promise<void> {
    const onBytes = ({ length }: Uint8Array) => this.world.blame(`a client got ${length} bytes after its last answer`);
    await soon(socket.drain(onBytes), "the end after the client's");
  }
}

/** What may happen, to the whole or to one server. */
class Chaos {
  readonly #random: Random;
  /** What happens oftener is there more than once. */
  readonly #events: readonly ((server: Server) => unknown)[] = [
    (server) => server.reset(() => true),
    (server) => server.reset(() => this.#random.once(3)),
    (server) => server.reset(() => this.#random.once(8)),
    (server) => server.end(() => this.#random.once(4)),
    (server) => this.#away(server, () => server.stopListening()),
    (server) => this.#away(server, () => this.#kill(server)),
    (server) => this.#leave(server, "draining"),
    (server) => this.#leave(server, "draining"),
    (server) => this.#leave(server, "expired"),
    (server) => this.test.engine.lose(server.number, this.#random.pick([50, 5000]), this.#random.pick([0, 50])),
    () => this.#sendAllHome(),
    () => this.#publish(this.world.servers.filter(({ number }) => number === ALWAYS_THERE || !this.#random.once(3))),
  ];

  constructor(readonly world: World, readonly test: TestEngine, seed: number) {
    this.#random = new Random(seed);
  }

  /** Has things happen, and makes all well again. */
  async run(): Promise<void> {
    const endMs = performance.now() + CHAOS_MS;
    while (performance.now() < endMs && !this.world.isOver) {
      const happens = this.#random.pick(this.#events);
      await happens(this.#random.pick(this.world.servers));
      await turn(1 + this.#random.below(EVENT_PAUSE_MAX_MS));
    }
    for (const server of this.world.servers) server.recover();
    await this.#publish(this.world.servers);
    this.world.isOver = true;
  }

  #away(server: Server, happens: () => void): void {
    happens();
    server.comeBackIn(this.#random.below(AWAY_MAX_MS));
  }

  /** One is never left, and in every table: where nobody may go anywhere there is nothing to see. */
  #leave(server: Server, availability: "draining" | "expired"): void {
    if (server.number !== ALWAYS_THERE) this.#away(server, () => this.test.leave(server.number, availability));
  }

  /** A killed process's connections end one by one, its listener before them or after. */
  #kill(server: Server): void {
    if (this.#random.once(2)) server.stopListening();
    server.closeAll();
    server.stopListening();
  }

  #sendAllHome(): void {
    const ids = Array.from(this.test.engine.connections(), ({ id }) => id);
    for (const id of ids) this.test.engine.sendToOwner(id);
  }

  #publish(servers: readonly Server[]): Promise<void> {
    const weights = servers.map(() => 1 + this.#random.below(9));
    return this.test.publish(servers.map(({ address, number }, i) => tableServer(address, number, { weight: weights[i] })));
  }
}

/** All that is ever put into the queue from now on. */
function collect<T>(queue: Queue<T>): readonly T[] {
  const values: T[] = [];
  queue.put = (value) => values.push(value);
  return values;
}

/** What an engine has told of its connections. */
interface Told {
  readonly ended: readonly EndedConnection[];
  readonly moved: readonly Move[];
}

async function runChaos(kind: EngineKind, can: Ability, level: Level): Promise<void> {
  const world = new World(level, can);
  using servers = new DisposableStack();
  await using test = startEngine(kind, [], { ...POLICY, ...PATIENT, redistribute: level });
  const told = { ended: collect(test.ended), moved: collect(test.moved) };
  for (let i = 0; i < SERVERS; i++) {
    world.servers.push(servers.use(new Server(i, world, () => test.availabilities.set(i, AVAILABILITY.full))));
  }
  await test.publish(world.servers.map(({ address }, i) => tableServer(address, i)));
  const serving = world.serve();
  const clients = Array.from({ length: CLIENTS }, (_, i) => new Client(world, test.address, SEED + i + 1));
  await clients[0].talkInPeace(); // workers may take long to start
  await Promise.all([...clients.map((client) => client.run()), new Chaos(world, test, SEED).run()]);
  await settle(world, test, told);
  world.servers.length = 0;
  await serving;
  assertEquals(world.wrong, []);
  assertBooks(world, test, told);
}

/** When no connection is left, or as long as a test may wait. */
async function settle({ connections }: World, { counters }: TestEngine, { ended }: Told): Promise<void> {
  const isSettled = () =>
    counters.get("accepted") + counters.get("gone") === connections && counters.get("open") === 0 &&
    ended.length >= counters.get("accepted");
  await until(isSettled, "all connections to end").catch(() => {}); // the books say what is missing
}

/** Every connection has ended once and is told of as it is counted, and nothing counts as open. */
function assertBooks(world: World, { counters }: TestEngine, { ended, moved }: Told): void {
  assertEquals(counters.get("accepted") + counters.get("gone"), world.connections, "connections");
  assertEquals(ended.length, counters.get("accepted"), "each connection ends once");
  assertEquals(counters.get("open"), 0);
  for (let slot = 0; slot < SERVERS; slot++) assertEquals(counters.getOf(slot, "serverOpen"), 0, `open on server ${slot}`);
  for (const fate of FATE_NAMES) assertEquals(count(ended, fate), counters.get(fate), fate);
  for (const fate of ["failed", "worker_lost", "idle_timeout", "stopped"] as const) assertEquals(counters.get(fate), 0, fate);
  const moves = counters.get("movedUnsent") + counters.get("movedUnanswered") + counters.get("movedIdle");
  assertEquals(moved.length, moves, "moves");
  assertEquals(movesByClient(moved.map(({ client }) => ({ client, moves: 1 }))), movesByClient(ended));
  if (world.level !== "new") assertGreater(moves, 0);
  if (world.level !== "idle") assertEquals(counters.get("movedIdle"), 0);
  if (world.level === "new") assertEquals(counters.get("movedUnanswered"), 0);
}

function count(ended: readonly EndedConnection[], fate: Fate): number {
  return ended.filter((connection) => connection.fate === fate).length;
}

/** How often each client's connections moved; ports may come again. */
function movesByClient(connections: readonly Pick<EndedConnection, "client" | "moves">[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { client, moves } of connections) if (moves > 0) sums[client] = (sums[client] ?? 0) + moves;
  return sums;
}

for (const [name, kind] of Object.entries(ENGINES)) {
  const ignore = !HAS_RAW_SOCKETS || kind.unsupported() !== undefined;
  for (const level of LEVELS) {
    Deno.test({
      name: `[${name}] level ${level}: whatever becomes of the servers, nobody is told anything wrong (BALANCER_TEST_SEED=${SEED})`,
      ignore,
      fn: () => runChaos(kind, abilityOf(kind), level),
    });
  }
}
