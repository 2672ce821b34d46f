/**
 * Records clients' unanswered bytes, so that they can be replayed to another server. Memory comes in slabs that are reused. The
 * limit is that of the client's service per client and `LIMITS.replayBytesTotalMax` per worker. Knows nothing about connections.
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
  /** How many of them the current server has been sent; less than `bytes` during a replay. */
  said: number;
}

/** The recordings of one worker, by client. */
export class Recorder {
  readonly #recordings = new Map<number, Recording>();
  /** Unused slabs, by size. */
  readonly #free = new Map<number, Slab[]>();
  #slabBytes = 0;

  constructor(readonly libc: Libc, readonly totalMax: number = LIMITS.replayBytesTotalMax) {}

  /**
   * Records bytes of the client, read from this address. If there is no room, or there would be more than `bytesMax`, drops the
   * whole recording and returns false.
   */
  append(client: number, address: bigint, bytes: number, bytesMax: number): boolean {
    const recording = this.#recordings.get(client) ?? this.#begin(client);
    if (recording === undefined || !this.#makeRoom(recording, recording.bytes + bytes, bytesMax)) {
      this.forget(client);
      return false;
    }
    this.libc.call.memmove(recording.slab.address + BigInt(recording.bytes), address, BigInt(bytes));
    recording.bytes += bytes;
    recording.said = recording.bytes;
    return true;
  }

  /** The recording of this client as it is in memory, and how much of it the current server has been sent. */
  get(client: number): { readonly bytes: Uint8Array<ArrayBuffer>; readonly said: number } | undefined {
    const recording = this.#recordings.get(client);
    return recording && { bytes: new Uint8Array(recording.slab.buffer, 0, recording.bytes), said: recording.said };
  }

  /** Takes over the recording of another process. It may be more than this one would keep. */
  restore(client: number, { bytes, said }: { readonly bytes: Uint8Array<ArrayBuffer>; readonly said: number }): void {
    const buffer = new ArrayBuffer(recordingSize(bytes.length, RECORDING_BYTES_MIN, Infinity)!);
    new Uint8Array(buffer).set(bytes);
    this.#slabBytes += buffer.byteLength;
    this.#recordings.set(client, { slab: { buffer, address: this.libc.addressOf(buffer) }, bytes: bytes.length, said });
  }

  /** Drops the recording of this client, if there is one. */
  forget(client: number): void {
    const recording = this.#recordings.get(client);
    if (recording === undefined) return;
    this.#recordings.delete(client);
    this.#give(recording.slab);
  }

  /** Begins a replay of the whole recording. Returns its number of bytes. */
  rewind(client: number): number {
    const recording = this.#recordings.get(client);
    if (recording === undefined) return 0;
    recording.said = 0;
    return recording.bytes;
  }

  /** Bytes still to be replayed. */
  pending(client: number): number {
    const recording = this.#recordings.get(client);
    return recording === undefined ? 0 : recording.bytes - recording.said;
  }

  /** The address of the first of these. There must be at least one. */
  pendingAddress(client: number): bigint {
    const { slab, said } = this.#recordings.get(client)!;
    return slab.address + BigInt(said);
  }

  /** Notes that this many of them have been sent. */
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

  /** Makes room for `bytes`. False: a limit would be exceeded. */
  #makeRoom(recording: Recording, bytes: number, bytesMax: number): boolean {
    const current = recording.slab.buffer.byteLength;
    const size = recordingSize(bytes, current, bytesMax);
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

  /** Releases the unused slabs, to make room for slabs of another size. */
  #dropFree(): void {
    for (const [size, slabs] of this.#free) this.#slabBytes -= size * slabs.length;
    this.#free.clear();
  }
}
