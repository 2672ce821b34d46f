/**
 * What a worker keeps of the clients who wait for a server, beside their rows: why each has left the server that it had, and the
 * bytes that were read before it had to wait. In a chunk these would take 64 KiB, however few they are. What clients send while
 * they wait stays in the kernel.
 */

import type { Departure } from "./dialer.ts";
import { rowOf, serviceOf, WORD } from "./descriptor_table.ts";
import type { WorkerKit } from "./worker_kit.ts";

/** What is kept of a client. */
export interface Kept {
  /** Undefined: it has had no server. */
  departure: Departure | undefined;
  /** The server that it had has left the pool. */
  hasLeft: boolean;
  /** Undefined: none were read. */
  readonly bytes: Uint8Array<ArrayBuffer> | undefined;
}

/** The clients of one worker who wait. */
export class WaitingRoom {
  readonly #kit: Pick<WorkerKit, "table" | "chunks" | "descriptors">;
  readonly #words: Int32Array;
  readonly #kept = new Map<number, Kept>();

  constructor(kit: Pick<WorkerKit, "table" | "chunks" | "descriptors">) {
    this.#kit = kit;
    this.#words = kit.table.words;
  }

  /** A client begins to wait. */
  enter(client: number, departure: Departure | undefined): void {
    const row = rowOf(client);
    const chunk = this.#words[row + WORD.chunk] - 1;
    const bytes = chunk < 0
      ? undefined
      : this.#kit.chunks.views[chunk].slice(this.#words[row + WORD.chunkStart], this.#words[row + WORD.chunkEnd]);
    this.#kit.descriptors.drop(client);
    if (departure !== undefined || bytes !== undefined) this.#kept.set(client, { departure, bytes, hasLeft: false });
  }

  /** A client is dialled: its bytes wait for a server as before. Returns its departure. */
  leave(client: number): Departure | undefined {
    const kept = this.#kept.get(client);
    if (kept === undefined) return undefined;
    this.#kept.delete(client);
    if (kept.bytes !== undefined) this.#putBack(rowOf(client), kept.bytes);
    return kept.departure;
  }

  /** A client is served by another process from now on. Returns what was kept of it. */
  take(client: number): Kept | undefined {
    const kept = this.#kept.get(client);
    this.#kept.delete(client);
    return kept;
  }

  /** This was kept of a client that waits again. */
  restore(client: number, kept: Kept): void {
    this.#kept.set(client, kept);
  }

  /** Whether a client that waits has had a server. */
  hadServer(client: number): boolean {
    return this.#kept.get(client)?.departure !== undefined;
  }

  /** Forgets a client that has ended. */
  forget(client: number): void {
    this.#kept.delete(client);
  }

  /** A service has these servers now: the slot of one that has left may be that of another, whose name it is then. */
  heedSlots(service: number, slots: Int32Array): void {
    if (this.#kept.size === 0) return;
    const present = new Set(slots);
    for (const [client, kept] of this.#kept) {
      const { departure } = kept;
      if (departure === undefined) continue;
      const isOwn = serviceOf(this.#words, client) === service;
      if (!present.has(departure.from)) kept.hasLeft ||= isOwn;
      else if (kept.hasLeft || !isOwn) kept.departure = { ...departure, from: -1 };
    }
  }

  #putBack(row: number, bytes: Uint8Array): void {
    const chunk = this.#kit.chunks.take();
    this.#kit.chunks.views[chunk].set(bytes);
    this.#words[row + WORD.chunk] = chunk + 1;
    this.#words[row + WORD.chunkStart] = 0;
    this.#words[row + WORD.chunkEnd] = bytes.length;
  }
}
