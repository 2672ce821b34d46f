/**
 * What only an access log wants to know of a client's connection: three floats for every row of the descriptor table, in memory
 * that all threads share. They are written only while there is an access log; what was written of an earlier connection is told
 * from what was written of this one by the time at which the connection started.
 */

import { type DescriptorTable, FLOAT, floatsOf } from "./descriptor_table.ts";

const FLOATS = 3;
/** When the connection started that the others are of, by the workers' clock. */
const STARTED_MS = 0;
const ACCEPTED_AT = 1;
const CONNECT_MS = 2;

/** One thread's view of the columns. */
export class LogColumns {
  readonly #floats: Float64Array;
  readonly #rows: Float64Array;

  constructor(readonly shared: SharedArrayBuffer, { floats }: Pick<DescriptorTable, "floats">) {
    this.#floats = new Float64Array(shared);
    this.#rows = floats;
  }

  /** The client was accepted at this time, in ms since 1970. Its row says when it started. */
  begin(client: number, acceptedAt: number): void {
    const at = client * FLOATS;
    this.#floats[at + STARTED_MS] = this.#startedMs(client);
    this.#floats[at + ACCEPTED_AT] = acceptedAt;
    this.#floats[at + CONNECT_MS] = NaN;
  }

  /** A server has accepted so many ms after the client. Only the first one counts. */
  connected(client: number, afterMs: number): void {
    const at = client * FLOATS + CONNECT_MS;
    if (Number.isNaN(this.#floats[at])) this.#floats[at] = Math.max(0, afterMs); // another worker may have read a later clock
  }

  /**
   * When the client was accepted, in ms since 1970. Of a connection that began without an access log it follows from its age:
   * `wallMs` and `nowMs` are the time now, by the clock of the wall and by the workers'.
   */
  acceptedAt(client: number, wallMs: number, nowMs: number): number {
    if (this.#isKnown(client)) return this.#floats[client * FLOATS + ACCEPTED_AT];
    return wallMs - Math.max(0, nowMs - this.#startedMs(client));
  }

  /** How long it took until a first server had accepted, in ms; NaN: none has, or it began without an access log. */
  connectMs(client: number): number {
    return this.#isKnown(client) ? this.#floats[client * FLOATS + CONNECT_MS] : NaN;
  }

  #isKnown(client: number): boolean {
    return this.#floats[client * FLOATS + STARTED_MS] === this.#startedMs(client);
  }

  #startedMs(client: number): number {
    return this.#rows[floatsOf(client) + FLOAT.startedMs];
  }
}

/** Allocates columns for this many rows. The kernel backs pages only when they are first written. */
export function allocateLogColumns(capacity: number): SharedArrayBuffer {
  return new SharedArrayBuffer(capacity * FLOATS * Float64Array.BYTES_PER_ELEMENT);
}
