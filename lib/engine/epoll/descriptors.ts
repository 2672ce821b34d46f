/**
 * The descriptors of one worker: adds each to the table, registers it with epoll, tells epoll which events to report, and closes
 * it. Closing also frees the chunk or pipe of bytes not yet sent. Knows nothing about connections.
 */

import { EPOLL, EPOLL_EVENT, type Libc, SOCKET } from "../system/libc.ts";
import { type DescriptorTable, FLAG, FLOAT, floatsOf, rowOf, WORD } from "./descriptor_table.ts";
import type { ChunkPool, PipePool } from "./pools.ts";

/** The events that every socket is watched for. */
const INPUT_EVENTS = EPOLL.IN | EPOLL.PRI | EPOLL.RDHUP | EPOLL.ET;
/** What `WORD.interest` is before a socket is registered with epoll. */
const NOT_REGISTERED = 0;

/** The generation of listeners and the mailbox in epoll's events. A socket's generation is never 0. */
const NO_GENERATION = 0;

interface DescriptorOptions {
  readonly libc: Libc;
  readonly sockets: { readonly isShared: boolean };
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

  /** Adds a descriptor to the table. If the table is too small, closes it and returns false. */
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
    words[row + WORD.interest] = NOT_REGISTERED;
    this.#floats[floatsOf(descriptor) + FLOAT.bytes] = 0;
    this.#floats[floatsOf(descriptor) + FLOAT.lastActivityMs] = clock.nowMs;
    if (descriptor > this.#highest) this.#highest = descriptor;
    return true;
  }

  /**
   * Registers an adopted socket with epoll, if it is not registered yet. The later the better: what has been read or written by
   * then causes no event. False if the system cannot.
   */
  register(socket: number): boolean {
    const words = this.#words;
    const row = rowOf(socket);
    if (this.isRegistered(socket)) return true;
    const interest = (words[row + WORD.flags] & FLAG.writable) !== 0 ? INPUT_EVENTS : INPUT_EVENTS | EPOLL.OUT;
    if (!this.#control(EPOLL.CTL_ADD, socket, interest, words[row + WORD.generation])) return false;
    words[row + WORD.interest] = interest;
    return true;
  }

  /** Has epoll report nothing more of a socket. */
  unregister(socket: number): void {
    if (!this.isRegistered(socket)) return;
    this.#control(EPOLL.CTL_DEL, socket, 0, NO_GENERATION);
    this.#words[rowOf(socket) + WORD.interest] = NOT_REGISTERED;
  }

  /** Whether a socket is registered with epoll. */
  isRegistered(socket: number): boolean {
    return this.#words[rowOf(socket) + WORD.interest] !== NOT_REGISTERED;
  }

  /** The socket accepts no more bytes now: epoll is to report when it does. Most sockets never get so far. */
  awaitRoom(socket: number): void {
    const row = rowOf(socket);
    this.#words[row + WORD.flags] &= ~FLAG.writable;
    this.#report(socket, this.#words[row + WORD.interest] | EPOLL.OUT);
  }

  /** Closes a descriptor of this worker. */
  release(descriptor: number): void {
    this.drop(descriptor);
    // This batch may still contain events of this socket, and another worker may hand over a client with the same number before
    // them.
    this.#words[rowOf(descriptor) + WORD.generation]++;
    this.#words[rowOf(descriptor) + WORD.owner] = 0;
    if (this.#options.sockets.isShared) this.#options.libc.call.shutdown(descriptor, SOCKET.SHUT_WR);
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
    const outputs = (words[rowOf(peer) + WORD.flags] & FLAG.bulk) === 0 ? words[row + WORD.interest] & EPOLL.OUT : 0;
    const inputs = readsOn ? EPOLL.IN | EPOLL.PRI : 0;
    this.#report(socket, EPOLL.RDHUP | EPOLL.ET | inputs | (this.isHolding(peer) ? EPOLL.OUT : outputs));
  }

  /** Changes the events that epoll reports of a registered socket. */
  #report(socket: number, interest: number): void {
    const row = rowOf(socket);
    const before = this.#words[row + WORD.interest];
    if (before === NOT_REGISTERED || interest === before) return;
    this.#words[row + WORD.interest] = interest;
    this.#control(EPOLL.CTL_MOD, socket, interest, this.#words[row + WORD.generation]);
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
