/**
 * The descriptors of one worker: takes each into the table and into epoll, tells epoll what to report of it, and closes it. Bytes that
 * wait to be sent are given back with it. Knows nothing of connections.
 */

import { assert } from "../../values/errors.ts";
import { EPOLL, EPOLL_EVENT, type Libc } from "../system/libc.ts";
import { type DescriptorTable, FLAG, FLOAT, floatsOf, rowOf, WORD } from "./descriptor_table.ts";
import type { ChunkPool, PipePool } from "./pools.ts";

/** Every event, where nothing is left out. */
const ALL_EVENTS = EPOLL.IN | EPOLL.PRI | EPOLL.OUT | EPOLL.RDHUP | EPOLL.ET;

/** The generation of the listeners and the mailbox in epoll's events. A socket's is never 0. */
const NO_GENERATION = 0;

/** What a worker's descriptors need. */
export interface DescriptorOptions {
  readonly libc: Libc;
  readonly table: DescriptorTable;
  readonly chunks: ChunkPool;
  readonly pipes: PipePool;
  readonly clock: { readonly nowMs: number };
  readonly epoll: number;
  /** The worker's. */
  readonly epoch: number;
}

/** The descriptors of a worker. */
export class Descriptors {
  readonly #options: DescriptorOptions;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  /** A struct epoll_event for epoll_ctl(2). */
  readonly #event = new Int32Array(new ArrayBuffer(EPOLL_EVENT.words * 4));
  readonly #eventAddress: bigint;
  #highest = 0;

  constructor(options: DescriptorOptions) {
    this.#options = options;
    this.#words = options.table.words;
    this.#floats = options.table.floats;
    this.#eventAddress = options.libc.addressOf(this.#event.buffer);
  }

  /** The highest number that was ever adopted. */
  get highest(): number {
    return this.#highest;
  }

  /** Takes a descriptor into the table and into epoll. False, and it is closed, if it cannot. */
  adopt(descriptor: number, role: number, peer: number, flags: number): boolean {
    const { libc, table, epoch, clock } = this.#options;
    const words = this.#words;
    const row = rowOf(descriptor);
    if (descriptor >= table.capacity - 1) {
      libc.call.close(descriptor);
      return false;
    }
    words[row + WORD.owner] = epoch;
    words[row + WORD.generation]++;
    if (words[row + WORD.generation] === NO_GENERATION) words[row + WORD.generation] = 1;
    words[row + WORD.role] = role;
    words[row + WORD.peer] = peer;
    words[row + WORD.flags] = flags;
    words[row + WORD.errno] = 0;
    words[row + WORD.chunk] = 0;
    words[row + WORD.pipe] = 0;
    words[row + WORD.pipeBytes] = 0;
    words[row + WORD.score] = 0;
    words[row + WORD.interest] = ALL_EVENTS;
    this.#floats[floatsOf(descriptor) + FLOAT.bytes] = 0;
    this.#floats[floatsOf(descriptor) + FLOAT.lastActivityMs] = clock.nowMs;
    if (descriptor > this.#highest) this.#highest = descriptor;
    if (this.#control(EPOLL.CTL_ADD, descriptor, ALL_EVENTS, words[row + WORD.generation])) return true;
    this.release(descriptor);
    return false;
  }

  /** Closes a descriptor of this worker. */
  release(descriptor: number): void {
    this.drop(descriptor);
    // Events of it may still be in this batch, and another worker may hand the number back before they come up.
    this.#words[rowOf(descriptor) + WORD.generation]++;
    this.#words[rowOf(descriptor) + WORD.owner] = 0;
    this.#options.libc.call.close(descriptor);
  }

  /** Whether bytes read from this socket wait to be sent. */
  isHolding(socket: number): boolean {
    const row = rowOf(socket);
    return this.#words[row + WORD.chunk] !== 0 || this.#words[row + WORD.pipeBytes] !== 0;
  }

  /** Forgets bytes that were read from this socket and wait to be sent. */
  drop(socket: number): void {
    const words = this.#words;
    const row = rowOf(socket);
    if (words[row + WORD.chunk] !== 0) this.#options.chunks.give(words[row + WORD.chunk] - 1);
    if (words[row + WORD.pipe] !== 0) this.#options.pipes.drop(words[row + WORD.pipe] - 1);
    words[row + WORD.chunk] = words[row + WORD.pipe] = words[row + WORD.pipeBytes] = 0;
  }

  /**
   * Has epoll report only what a bulk direction waits for: no input while its output is blocked, no room while it is not. Each
   * report that is not wanted would wake the worker, and fast streams cause many.
   */
  adjustInterest(socket: number): void {
    const words = this.#words;
    const row = rowOf(socket);
    const peer = words[row + WORD.peer];
    const readsOn = (words[row + WORD.flags] & FLAG.bulk) === 0 || !this.isHolding(socket);
    const writesOn = (words[rowOf(peer) + WORD.flags] & FLAG.bulk) === 0 || this.isHolding(peer);
    const interest = EPOLL.RDHUP | EPOLL.ET | (readsOn ? EPOLL.IN | EPOLL.PRI : 0) | (writesOn ? EPOLL.OUT : 0);
    if (interest === words[row + WORD.interest]) return;
    words[row + WORD.interest] = interest;
    this.#control(EPOLL.CTL_MOD, socket, interest, words[row + WORD.generation]);
  }

  /** Has epoll report events of a descriptor that is no connection's: a listener, the mailbox. */
  watch(descriptor: number, events: number): void {
    assert(this.#control(EPOLL.CTL_ADD, descriptor, events, NO_GENERATION), `cannot watch descriptor ${descriptor}`);
  }

  unwatch(descriptor: number): void {
    this.#control(EPOLL.CTL_DEL, descriptor, 0, NO_GENERATION);
  }

  /** `generation` comes back with each event, and tells a descriptor from its predecessor. */
  #control(operation: number, descriptor: number, events: number, generation: number): boolean {
    this.#event[0] = events;
    this.#event[EPOLL_EVENT.dataLow] = descriptor;
    this.#event[EPOLL_EVENT.dataHigh] = generation;
    return this.#options.libc.call.epoll_ctl(this.#options.epoll, operation, descriptor, this.#eventAddress) === 0;
  }
}
