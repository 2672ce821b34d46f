/** What a worker's connections borrow while bytes wait: chunks of memory, and pipes for splice(2). */

import { type DescriptorTable, ROLE, rowOf, WORD } from "./descriptor_table.ts";
import { FILE, type Libc } from "../system/libc.ts";

/** Bytes of a chunk: as many as are read at a time. */
export const CHUNK_BYTES = 64 * 1024;
/** Chunks that are allocated together. */
const SEGMENT_CHUNKS = 16;

/** Chunks of memory at addresses that do not change. Grows with the number of connections whose bytes wait, and gives nothing back. */
export class ChunkPool {
  /** The address of every chunk, made once: a BigInt made for each call would be garbage. */
  readonly addresses: bigint[] = [];
  /** Every chunk's bytes. */
  readonly views: Uint8Array<ArrayBuffer>[] = [];
  readonly #free: number[] = [];

  constructor(readonly libc: Libc) {}

  /** A chunk's number. */
  take(): number {
    if (this.#free.length === 0) this.#grow();
    return this.#free.pop()!;
  }

  /** The chunk may be used again. */
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

/** What a pipe should hold, and the least with which splicing is worth it. Unprivileged users get 64 large ones (pipe(7)). */
export const PIPE_BYTES = 1024 * 1024;
const PIPE_BYTES_MIN = 256 * 1024;

/** Pieces that are copied before a pipe is asked for again. */
const REFUSALS_IGNORED = 4096;

/** Pipes, at most `max` at a time. */
export class PipePool {
  readonly readers: number[] = [];
  readonly writers: number[] = [];
  readonly #free: number[] = [];
  readonly #unused: number[] = [];
  #open = 0;
  /** How many times more no pipe is asked for, after the system refused one. */
  #patience = 0;
  readonly #pair = new Int32Array(new ArrayBuffer(8));
  readonly #pairAddress: bigint;

  constructor(readonly libc: Libc, readonly table: DescriptorTable, readonly owner: number, readonly max: number) {
    this.#pairAddress = libc.addressOf(this.#pair.buffer);
  }

  /** A pipe's number, -1 if there is none left. */
  take(): number {
    return this.#free.pop() ?? this.#make();
  }

  /** The pipe is empty and may be used again. */
  give(pipe: number): void {
    this.#free.push(pipe);
  }

  /** Closes a pipe that has something in it. */
  drop(pipe: number): void {
    for (const end of [this.readers[pipe], this.writers[pipe]]) {
      this.table.words[rowOf(end) + WORD.owner] = 0;
      this.libc.call.close(end);
    }
    this.#unused.push(pipe);
    this.#open--;
  }

  /** Closes all pipes that nobody uses. */
  clear(): void {
    for (const pipe of this.#free.splice(0)) this.drop(pipe);
  }

  #make(): number {
    if (this.#open >= this.max || --this.#patience > 0) return -1;
    this.#patience = REFUSALS_IGNORED; // asking each time would cost more than splicing saves
    if (!this.#openPair()) return -1;
    this.#patience = 0;
    const [reader, writer] = this.#pair;
    for (const end of this.#pair) {
      this.table.words[rowOf(end) + WORD.role] = ROLE.pipe;
      this.table.words[rowOf(end) + WORD.owner] = this.owner;
    }
    const pipe = this.#unused.pop() ?? this.readers.length;
    this.readers[pipe] = reader;
    this.writers[pipe] = writer;
    this.#open++;
    return pipe;
  }

  /** Opens a pipe that is large enough. */
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
