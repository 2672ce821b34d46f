/**
 * Takes connections that another process gives to a worker, batch by batch over one socket, and acknowledges each batch once it is
 * served here. A batch that cannot be taken as a whole is refused as a whole. Owns the way; what a connection is and does is
 * `Carrier`'s and `Connections`'.
 */

import { messageOf } from "../../values/errors.ts";
import type { CarriedIndexes } from "../engine.ts";
import { ERRNO } from "../system/errno.ts";
import { EPOLL, errnoText } from "../system/libc.ts";
import { MonotonicClock } from "../system/monotonic.ts";
import { Passing } from "../system/passing.ts";
import { ANSWER_BYTES, type BatchHead, HEAD_BYTES, readBatch, readHead, requireKnown, writeAnswer } from "./carried.ts";
import type { Connections } from "./connections.ts";
import type { WorkerKit } from "./worker_kit.ts";

/** Memory for a batch at first; it grows for one that needs more. */
const FIRST_BYTES = 64 * 1024;

/** The parts of the worker that taking uses. */
type TakerKit = Pick<WorkerKit, "libc" | "descriptors" | "table" | "post">;

/** Takes connections from one worker of another process. */
export class Taker {
  readonly #kit: TakerKit;
  readonly #connections: Connections;
  readonly #indexes: CarriedIndexes;
  readonly #passing: Passing;
  readonly #monotonic: MonotonicClock;
  readonly #answer = new Int32Array(new ArrayBuffer(ANSWER_BYTES));
  readonly #answerAddress: bigint;
  #bytes = new Uint8Array(new ArrayBuffer(FIRST_BYTES));
  #address: bigint;
  #got = 0;
  #head: BatchHead | undefined;
  #descriptors: number[] = [];
  #isCut = false;
  #isOver = false;

  constructor(kit: TakerKit, connections: Connections, readonly socket: number, indexes: CarriedIndexes) {
    this.#kit = kit;
    this.#connections = connections;
    this.#indexes = indexes;
    this.#passing = new Passing(kit.libc);
    this.#monotonic = new MonotonicClock(kit.libc);
    this.#answerAddress = kit.libc.addressOf(this.#answer.buffer);
    this.#address = kit.libc.addressOf(this.#bytes.buffer);
    kit.descriptors.watch(socket, EPOLL.IN);
  }

  /** The socket has an event: takes what has come. */
  onEvent(): void {
    while (!this.#isOver) {
      const wanted = HEAD_BYTES + (this.#head?.bytes ?? 0) - this.#got;
      const received = this.#passing.receive(this.socket, this.#address + BigInt(this.#got), wanted);
      if (received.bytes === -ERRNO.EAGAIN) return;
      this.#descriptors.push(...received.descriptors);
      if (received.bytes <= 0) return this.#stop(); // main learns of it, too, and says what follows
      this.#isCut ||= received.isCut;
      this.#got += received.bytes;
      if (this.#got === HEAD_BYTES + (this.#head?.bytes ?? 0) && !this.#onWhole()) return;
    }
  }

  /** Takes what has come, and then nothing more. A batch that is not whole is lost with the other process. */
  end(): void {
    this.onEvent();
    this.#stop();
  }

  #stop(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#kit.descriptors.unwatch(this.socket);
    this.#kit.libc.call.close(this.socket);
    this.#drop();
  }

  /** A head or a batch is whole. False: nothing more is taken. */
  #onWhole(): boolean {
    try {
      if (this.#head === undefined) {
        this.#head = readHead(this.#bytes.subarray(0, HEAD_BYTES));
        this.#makeRoom(HEAD_BYTES + this.#head.bytes);
        return true;
      }
      this.#take(this.#head);
      return true;
    } catch (error) {
      this.#refuse(messageOf(error));
      return false;
    }
  }

  #take(head: BatchHead): void {
    const { libc, table, post } = this.#kit;
    const descriptors = this.#descriptors;
    if (this.#isCut || descriptors.length !== head.descriptors) throw new Error(errnoText(ERRNO.EMFILE));
    if (Math.max(...descriptors) >= table.capacity - 1) throw new Error("a descriptor is beyond the table");
    const connections = readBatch(this.#bytes.subarray(HEAD_BYTES, this.#got), head);
    requireKnown(connections, this.#indexes);
    let next = 0;
    for (const connection of connections) this.#connections.takeOver(connection, () => descriptors[next++], this.#indexes);
    writeAnswer(this.#answer, head.number, true);
    libc.call.write(this.socket, this.#answerAddress, BigInt(ANSWER_BYTES));
    post({ kind: "taken", count: connections.length, pauseMs: this.#monotonic.msSince(head.stoppedMicros) });
    this.#head = undefined;
    this.#got = 0;
    this.#descriptors = [];
  }

  #refuse(reason: string): void {
    writeAnswer(this.#answer, this.#head?.number ?? 0, false);
    this.#kit.libc.call.write(this.socket, this.#answerAddress, BigInt(ANSWER_BYTES));
    this.#kit.post({ kind: "takeFailed", reason });
    this.#stop();
  }

  #drop(): void {
    for (const descriptor of this.#descriptors.splice(0)) this.#kit.libc.call.close(descriptor);
  }

  #makeRoom(bytes: number): void {
    if (bytes <= this.#bytes.length) return;
    const larger = new Uint8Array(new ArrayBuffer(2 ** Math.ceil(Math.log2(bytes))));
    larger.set(this.#bytes.subarray(0, this.#got));
    this.#bytes = larger;
    this.#address = this.#kit.libc.addressOf(larger.buffer);
  }
}
