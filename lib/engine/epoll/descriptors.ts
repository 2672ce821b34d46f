/**
 * The descriptors of one worker: adds each to the table and to epoll, tells epoll which events to report, and closes it. Closing
 * also frees the chunk or pipe of bytes not yet sent. Knows nothing about connections.
 */

import { EPOLL, EPOLL_EVENT, type Libc } from "../system/libc.ts";
import { type DescriptorTable, FLAG, FLOAT, floatsOf, rowOf, WORD } from "./descriptor_table.ts";
import type { ChunkPool, PipePool } from "./pools.ts";

/** Every event that a socket can be watched for. */
const ALL_EVENTS = EPOLL.IN | EPOLL.PRI | EPOLL.OUT | EPOLL.RDHUP | EPOLL.ET;

/** The generation of listeners and the mailbox in epoll's events. A socket's generation is never 0. */
const NO_GENERATION = 0;

interface DescriptorOptions {
  readonly libc: Libc;
  readonly table: DescriptorTable;
  readonly chunks: ChunkPool;
  readonly pipes: PipePool;
  readonly clock: { readonly nowMs: number };
  readonly epoll: number;
  /** The worker's epoch. */
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

  /** The highest descriptor that was ever adopted. */
  get highest(): number {
    return this.#highest;
  }

  /** Adds a descriptor to the table and to epoll. On failure, closes it and returns false. */
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
    // This batch may still contain events of this socket, and another worker may hand over a client with the same number before
    // them.
    this.#words[rowOf(descriptor) + WORD.generation]++;
    this.#words[rowOf(descriptor) + WORD.owner] = 0;
    this.#options.libc.call.close(descriptor);
  }

  /** Whether bytes read from this socket wait to be sent. */
  isHolding(socket: number): boolean {
    const row = rowOf(socket);
    return this.#words[row + WORD.chunk] !== 0 || this.#words[row + WORD.pipeBytes] !== 0;
  }

  /** Drops bytes that were read from this socket and wait to be sent. */
  drop(socket: number): void {
    const words = this.#words;
    const row = rowOf(socket);
    if (words[row + WORD.chunk] !== 0) this.#options.chunks.give(words[row + WORD.chunk] - 1);
    if (words[row + WORD.pipe] !== 0) this.#options.pipes.drop(words[row + WORD.pipe] - 1);
    words[row + WORD.chunk] = words[row + WORD.pipe] = words[row + WORD.pipeBytes] = 0;
  }

  /**
   * Limits what epoll reports of a bulk direction to the events that it waits for: no input while its output is blocked, no output
   * space while it is not. Every other event would wake the worker for nothing, and fast streams cause many.
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

  /** Adds a listener or the mailbox to epoll. False if the system cannot. */
  watch(descriptor: number, events: number): boolean {
    return this.#control(EPOLL.CTL_ADD, descriptor, events, NO_GENERATION);
  }

  unwatch(descriptor: number): void {
    this.#control(EPOLL.CTL_DEL, descriptor, 0, NO_GENERATION);
  }

  /** `generation` comes back with each event and tells this socket from earlier ones with the same number. */
  #control(operation: number, descriptor: number, events: number, generation: number): boolean {
    this.#event[0] = events;
    this.#event[EPOLL_EVENT.dataLow] = descriptor;
    this.#event[EPOLL_EVENT.dataHigh] = generation;
    return this.#options.libc.call.epoll_ctl(this.#options.epoll, operation, descriptor, this.#eventAddress) === 0;
  }
}
