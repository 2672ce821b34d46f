/** Buffers that a worker's connections borrow while bytes wait to be sent: chunks of memory, and pipes for splice(2). */

import { type DescriptorTable, ROLE, rowOf, WORD } from "./descriptor_table.ts";
import { FILE, type Libc } from "../system/libc.ts";

/** Bytes of a chunk, which is the most that one call reads. */
export const CHUNK_BYTES = 64 * 1024;
/** Chunks that are allocated together. */
const SEGMENT_CHUNKS = 16;

/** Chunks of memory at fixed addresses. The pool grows with the number of connections whose bytes wait, and never shrinks. */
export class ChunkPool {
  /** The address of every chunk, as BigInts made once; one made for each call would be garbage. */
  readonly addresses: bigint[] = [];
  /** The bytes of every chunk. */
  readonly views: Uint8Array<ArrayBuffer>[] = [];
  readonly #free: number[] = [];

  constructor(readonly libc: Libc) {}

  /** Chunks that are lent now. */
  get used(): number {
    return this.addresses.length - this.#free.length;
  }

  /** Borrows a chunk. Returns its number. */
  take(): number {
    if (this.#free.length === 0) this.#grow();
    return this.#free.pop()!;
  }

  /** Returns a chunk to the pool. */
  give(chunk: number): void {
    this.#free.push(chunk);
  }

  #grow(): void {
    const segment = new Uint8Array(new ArrayBuffer(SEGMENT_CHUNKS * CHUNK_BYTES));
    const start = this.libc.addressOf(segment.buffer);
    for (let i = SEGMENT_CHUNKS - 1; i >= 0; i--) this.#free.push(this.addresses.length + i);
    for (let i = 0; i < SEGMENT_CHUNKS; i++) {
      this.addresses.push(start + BigInt(i * CHUNK_BYTES));
      this.views.push(segment.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES));
    }
  }
}

/** The size of a pipe, and the smallest size with which splicing is worthwhile. Unprivileged users get 64 large pipes (pipe(7)). */
export const PIPE_BYTES = 1024 * 1024;
const PIPE_BYTES_MIN = 256 * 1024;

/** Requests that are refused without a system call after the system has refused a pipe. */
const REFUSALS_IGNORED = 4096;

/** Pipes, at most `max` at a time. */
export class PipePool {
  readonly readers: number[] = [];
  readonly writers: number[] = [];
  readonly #free: number[] = [];
  readonly #unused: number[] = [];
  #open = 0;
  /** Requests still to be refused without a system call. */
  #patience = 0;
  readonly #pair = new Int32Array(new ArrayBuffer(8));
  readonly #pairAddress: bigint;

  constructor(readonly libc: Libc, readonly table: DescriptorTable, readonly owner: number, readonly max: number) {
    this.#pairAddress = libc.addressOf(this.#pair.buffer);
  }

  /** Borrows a pipe. Returns its number; -1: none is left. */
  take(): number {
    return this.#free.pop() ?? this.#make();
  }

  /** Takes over a pipe that another process has made, and that holds bytes. Returns its number. */
  adopt(reader: number, writer: number): number {
    return this.#add(reader, writer);
  }

  /** Returns an empty pipe to the pool. */
  give(pipe: number): void {
    this.#free.push(pipe);
  }

  /** Closes a pipe that still holds bytes. */
  drop(pipe: number): void {
    for (const end of [this.readers[pipe], this.writers[pipe]]) {
      this.table.words[rowOf(end) + WORD.owner] = 0;
      this.libc.call.close(end);
    }
    this.#unused.push(pipe);
    this.#open--;
  }

  /** Closes all unused pipes. */
  clear(): void {
    for (const pipe of this.#free.splice(0)) this.drop(pipe);
  }

  #make(): number {
    if (this.#open >= this.max || --this.#patience > 0) return -1;
    this.#patience = REFUSALS_IGNORED; // a failed system call each time would cost more than splicing saves
    if (!this.#openPair()) return -1;
    this.#patience = 0;
    return this.#add(this.#pair[0], this.#pair[1]);
  }

  #add(reader: number, writer: number): number {
    for (const end of [reader, writer]) {
      this.table.words[rowOf(end) + WORD.role] = ROLE.pipe;
      this.table.words[rowOf(end) + WORD.owner] = this.owner;
    }
    const pipe = this.#unused.pop() ?? this.readers.length;
    this.readers[pipe] = reader;
    this.writers[pipe] = writer;
    this.#open++;
    return pipe;
  }

  /** Opens a pipe. False: the system refused it, or it is too small. */
  #openPair(): boolean {
    const { call } = this.libc;
    if (call.pipe2(this.#pairAddress, FILE.O_NONBLOCK | FILE.O_CLOEXEC) < 0) return false;
    const [reader, writer] = this.#pair;
    const size = call.fcntl(writer, FILE.F_SETPIPE_SZ, PIPE_BYTES);
    if (size >= PIPE_BYTES_MIN && Math.max(reader, writer) < this.table.capacity) return true;
    call.close(reader);
    call.close(writer);
    return false;
  }
}
