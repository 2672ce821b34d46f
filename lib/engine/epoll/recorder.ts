/**
 * What clients have said and no server has answered yet, kept so that it can be said again to another server. Memory comes in slabs
 * that are used again; a client has at most `bytesMax`, all clients of a worker `LIMITS.replayBytesTotalMax`. Copies bytes; knows
 * nothing of connections.
 */

import { LIMITS } from "../../values/config.ts";
import { RECORDING_BYTES_MIN, recordingSize } from "../recording.ts";
import type { Libc } from "../system/libc.ts";

interface Slab {
  readonly buffer: ArrayBuffer;
  readonly address: bigint;
}

interface Recording {
  slab: Slab;
  bytes: number;
  /** How many of them the present server has; less than `bytes` while they are being said again. */
  said: number;
}

/** The recordings of one worker, by client. */
export class Recorder {
  readonly #recordings = new Map<number, Recording>();
  /** Slabs that nobody uses, by size. */
  readonly #free = new Map<number, Slab[]>();
  #slabBytes = 0;

  constructor(readonly libc: Libc, readonly bytesMax: number, readonly totalMax: number = LIMITS.replayBytesTotalMax) {}

  /** Keeps what the client said, from this address on. False, and all of it forgotten, if there is no room. */
  append(client: number, address: bigint, bytes: number): boolean {
    const recording = this.#recordings.get(client) ?? this.#begin(client);
    if (recording === undefined || !this.#makeRoom(recording, recording.bytes + bytes)) {
      this.forget(client);
      return false;
    }
    this.libc.call.memmove(recording.slab.address + BigInt(recording.bytes), address, BigInt(bytes));
    recording.bytes += bytes;
    recording.said = recording.bytes;
    return true;
  }

  /** What was kept of this client is not needed any more. */
  forget(client: number): void {
    const recording = this.#recordings.get(client);
    if (recording === undefined) return;
    this.#recordings.delete(client);
    this.#give(recording.slab);
  }

  /** All of it is to be said again. The number of bytes. */
  rewind(client: number): number {
    const recording = this.#recordings.get(client);
    if (recording === undefined) return 0;
    recording.said = 0;
    return recording.bytes;
  }

  /** Bytes still to be said again. */
  pending(client: number): number {
    const recording = this.#recordings.get(client);
    return recording === undefined ? 0 : recording.bytes - recording.said;
  }

  /** Where those begin. There must be some. */
  pendingAddress(client: number): bigint {
    const { slab, said } = this.#recordings.get(client)!;
    return slab.address + BigInt(said);
  }

  /** So many of them were said. */
  advance(client: number, bytes: number): void {
    this.#recordings.get(client)!.said += bytes;
  }

  #begin(client: number): Recording | undefined {
    const slab = this.#take(RECORDING_BYTES_MIN);
    if (slab === undefined) return undefined;
    const recording = { slab, bytes: 0, said: 0 };
    this.#recordings.set(client, recording);
    return recording;
  }

  /** False if that is more than there may be. */
  #makeRoom(recording: Recording, bytes: number): boolean {
    const current = recording.slab.buffer.byteLength;
    const size = recordingSize(bytes, current, this.bytesMax);
    if (size === current) return true;
    const larger = size === undefined ? undefined : this.#take(size);
    if (larger === undefined) return false;
    this.libc.call.memmove(larger.address, recording.slab.address, BigInt(recording.bytes));
    this.#give(recording.slab);
    recording.slab = larger;
    return true;
  }

  #take(size: number): Slab | undefined {
    const free = this.#free.get(size)?.pop();
    if (free !== undefined) return free;
    if (this.#slabBytes + size > this.totalMax) this.#dropFree();
    if (this.#slabBytes + size > this.totalMax) return undefined;
    this.#slabBytes += size;
    const buffer = new ArrayBuffer(size);
    return { buffer, address: this.libc.addressOf(buffer) };
  }

  #give(slab: Slab): void {
    const size = slab.buffer.byteLength;
    const free = this.#free.get(size);
    if (free === undefined) this.#free.set(size, [slab]);
    else free.push(slab);
  }

  /** Slabs of one size that nobody uses make room for those of another. */
  #dropFree(): void {
    for (const [size, slabs] of this.#free) this.#slabBytes -= size * slabs.length;
    this.#free.clear();
  }
}
