/**
 * What only an access log wants to know of a client's connection: two floats for every row of the descriptor table, in memory that
 * all threads share. It exists only while there is an access log, so that the rows stay small.
 */

const FLOATS = 2;
const ACCEPTED_AT = 0;
const CONNECT_MS = 1;

/** One thread's view of the columns. */
export class LogColumns {
  readonly #floats: Float64Array;

  constructor(readonly shared: SharedArrayBuffer) {
    this.#floats = new Float64Array(shared);
  }

  /** The client was accepted at this time, in ms since 1970. */
  begin(client: number, acceptedAt: number): void {
    this.#floats[client * FLOATS + ACCEPTED_AT] = acceptedAt;
    this.#floats[client * FLOATS + CONNECT_MS] = NaN;
  }

  /** A server has accepted so many ms after the client. Only the first one counts. */
  connected(client: number, afterMs: number): void {
    const at = client * FLOATS + CONNECT_MS;
    if (Number.isNaN(this.#floats[at])) this.#floats[at] = Math.max(0, afterMs); // another worker may have read a later clock
  }

  /** When the client was accepted, in ms since 1970. */
  acceptedAt(client: number): number {
    return this.#floats[client * FLOATS + ACCEPTED_AT];
  }

  /** How long it took until a first server had accepted, in ms; NaN: none has. */
  connectMs(client: number): number {
    return this.#floats[client * FLOATS + CONNECT_MS];
  }
}

/** Allocates columns for this many rows. The kernel backs pages only when they are first written. */
export function allocateLogColumns(capacity: number): SharedArrayBuffer {
  return new SharedArrayBuffer(capacity * FLOATS * Float64Array.BYTES_PER_ELEMENT);
}
