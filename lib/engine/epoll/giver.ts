/**
 * Gives the connections of one worker to another process, in batches over one socket, each acknowledged before the next. A
 * connection stands still only while it is in a batch. Its sockets stay open here until this process ends, so that they can be
 * taken back if the other one ends first. Owns the way; what a connection is and does is `Carrier`'s and `Connections`'.
 */

import { ByteWriter } from "../../values/binary_codec.ts";
import { ERRNO } from "../system/errno.ts";
import { EPOLL, errnoText } from "../system/libc.ts";
import { MonotonicClock } from "../system/monotonic.ts";
import { PASSED_MAX, Passing } from "../system/passing.ts";
import { ANSWER_BYTES, BATCH_BYTES, BATCH_MAX, beginBatch, CARRIED, DESCRIPTORS_MAX, endBatch, isTakenBy } from "./carried.ts";
import type { Detached } from "./carrier.ts";
import type { Connections } from "./connections.ts";
import type { WorkerKit } from "./worker_kit.ts";

/**
 * How many connections are stopped together at first and at least; twice as many after less than SHORT_MS, half as many after more
 * than LONG_MS: a process that has just started is slow at first, and so is a machine that is busy.
 */
const BATCH_MIN = 2;
const SHORT_MS = 0.5;
const LONG_MS = 1;
/** How long a batch may remain unacknowledged. */
const ANSWER_MAX_MS = 5000;
/** How long connections that are looking for a server are left alone before their dial is broken off and begins again there. */
const PATIENCE_MS = 300;
/** How often those are looked at. */
const AGAIN_MS = 10;

/** A batch on its way. */
interface Batch {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly address: bigint;
  readonly descriptors: readonly number[];
  readonly clients: readonly number[];
  readonly number: number;
  readonly stoppedMicros: number;
  readonly dueMs: number;
  sent: number;
}

/** The parts of the worker that giving uses. */
type GiverKit = Pick<WorkerKit, "libc" | "sockets" | "descriptors" | "clock" | "post">;

/** Gives the connections of a worker. */
export class Giver {
  readonly #kit: GiverKit;
  readonly #connections: Connections;
  readonly #passing: Passing;
  readonly #monotonic: MonotonicClock;
  readonly #writer = new ByteWriter();
  readonly #answer = new Int32Array(new ArrayBuffer(ANSWER_BYTES));
  readonly #answerAddress: bigint;
  /** The clients that were given or are on their way, what they were before, and what had passed through their sockets. */
  readonly #given = new Map<number, Detached & { readonly passed: number }>();
  readonly #impatientMs: number;
  #batch: Batch | undefined;
  #batches = 0;
  /** The first one alone: what it runs has never run before, in either process. */
  #batchMax = 1;
  #againMs = 0;
  /** Where the next look at the rows begins. */
  #next = 0;
  #isLast = false;
  #isOver = false;

  constructor(kit: GiverKit, connections: Connections, readonly socket: number) {
    this.#kit = kit;
    this.#connections = connections;
    this.#passing = new Passing(kit.libc);
    this.#monotonic = new MonotonicClock(kit.libc);
    this.#answerAddress = kit.libc.addressOf(this.#answer.buffer);
    this.#impatientMs = kit.clock.nowMs + PATIENCE_MS;
    kit.descriptors.watch(socket, EPOLL.IN | EPOLL.OUT | EPOLL.ET);
  }

  /** No other worker hands clients over any more: says `given` once nothing is left. */
  giveRest(): void {
    this.#isLast = true;
    this.#isOver = false;
  }

  /** How long the loop may sleep, in ms. */
  get waitMs(): number {
    if (this.#isOver) return Infinity;
    const { nowMs } = this.#kit.clock;
    return Math.max(0, Math.ceil((this.#batch === undefined ? this.#againMs : this.#batch.dueMs) - nowMs));
  }

  /** The socket has an event. */
  onEvent(): void {
    if (this.#batch === undefined) return;
    if (this.#batch.sent < this.#batch.bytes.length) this.#send(this.#batch);
    else this.#receive(this.#batch);
  }

  /** One turn of the loop is over: goes on giving. */
  turn(): void {
    const { nowMs } = this.#kit.clock;
    if (this.#isOver) return;
    if (this.#batch !== undefined) {
      if (nowMs >= this.#batch.dueMs) this.#fail("it does not acknowledge what it is given");
      return;
    }
    if (nowMs < this.#againMs) return;
    this.#batch = this.#pack();
    if (this.#batch !== undefined) return this.#send(this.#batch);
    this.#againMs = nowMs + AGAIN_MS;
    if (!this.#isLast || this.#connections.hasUngiven()) return;
    this.#isOver = true;
    this.#kit.post({ kind: "given", connections: this.#given.size });
  }

  /**
   * The other process has gone. What it has not touched goes on here. It may have bytes of the others, which are lost: also of
   * those that it has not acknowledged, as it may have served them for a moment before it went.
   */
  takeBack(): void {
    const { descriptors } = this.#kit;
    descriptors.unwatch(this.socket);
    this.#isOver = true;
    for (const [client, given] of this.#given) {
      if (given.passed === this.#passedOn(client)) this.#connections.attach(client, given);
      else this.#connections.lose(client);
    }
    this.#given.clear();
  }

  /** Stops clients and writes them down; undefined: there is none that can be stopped now. */
  #pack(): Batch | undefined {
    const { clock, libc } = this.#kit;
    const writer = this.#writer;
    const [clients, descriptors]: [number[], number[]] = [[], []];
    const stoppedMicros = this.#monotonic.micros();
    const mayBreakOff = this.#isLast && clock.nowMs >= this.#impatientMs;
    beginBatch(writer);
    const hasRoom = () =>
      clients.length < this.#batchMax && descriptors.length + DESCRIPTORS_MAX <= PASSED_MAX && writer.length < BATCH_BYTES;
    this.#next = this.#connections.forEachFrom(this.#next, (client) => {
      const detached = this.#connections.detach(client, mayBreakOff);
      if (detached === undefined) return hasRoom();
      this.#given.set(client, { ...detached, passed: this.#passedOn(client) });
      clients.push(client);
      CARRIED.write(writer, this.#connections.pack(client, detached, descriptors));
      return hasRoom();
    });
    if (clients.length === 0) return undefined;
    const number = ++this.#batches;
    endBatch(writer, { number, connections: clients.length, descriptors: descriptors.length, stoppedMicros });
    const { bytes } = writer;
    const dueMs = clock.nowMs + ANSWER_MAX_MS;
    return { bytes, address: libc.addressOf(bytes.buffer), descriptors, clients, number, stoppedMicros, dueMs, sent: 0 };
  }

  #passedOn(client: number): number {
    const { sockets } = this.#kit;
    const server = this.#connections.serverOf(client);
    return sockets.passedBytes(client) + (server < 0 ? 0 : sockets.passedBytes(server));
  }

  #send(batch: Batch): void {
    while (batch.sent < batch.bytes.length) {
      const descriptors = batch.sent === 0 ? batch.descriptors : [];
      const sent = this.#passing.send(
        this.socket,
        batch.address + BigInt(batch.sent),
        batch.bytes.length - batch.sent,
        descriptors,
      );
      if (sent === -ERRNO.EAGAIN) return;
      if (sent < 0) return this.#fail(errnoText(-sent));
      batch.sent += sent;
    }
  }

  #receive(batch: Batch): void {
    const got = this.#kit.libc.call.read(this.socket, this.#answerAddress, BigInt(ANSWER_BYTES));
    if (got < 0 && this.#kit.libc.errno() === ERRNO.EAGAIN) return;
    if (got !== ANSWER_BYTES) return this.#fail("it has gone");
    if (!isTakenBy(this.#answer, batch.number)) return this.#fail("it cannot take a connection; its log says why");
    for (const client of batch.clients) this.#connections.noteHanded(client);
    this.#batch = undefined;
    this.#againMs = 0;
    const tookMs = this.#monotonic.msSince(batch.stoppedMicros);
    if (this.#batchMax < BATCH_MIN) this.#batchMax = BATCH_MIN;
    else if (tookMs < SHORT_MS) this.#batchMax = Math.min(2 * this.#batchMax, BATCH_MAX);
    else if (tookMs > LONG_MS) this.#batchMax = Math.max(BATCH_MIN, this.#batchMax >> 1);
  }

  #fail(reason: string): void {
    this.#isOver = true;
    this.#kit.post({ kind: "giveFailed", reason });
  }
}
