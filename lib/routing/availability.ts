/**
 * Which servers may get clients just now: one cell per server in memory that all threads share. The control plane writes, routing
 * reads; so a server that goes down gets no more clients from the next look-up on, whatever the size of the pool. Knows nothing of why.
 */

/** `up` gets its clients; `resting` and `down` get none while there are others; `draining` is to be left, by the operator's word. */
export const SERVER_STATES = ["up", "resting", "down", "draining"] as const;
/** One of SERVER_STATES. */
export type ServerState = typeof SERVER_STATES[number];

/** What a cell says. From 0 to `none` it is how much of its clients the server holds back. */
export const AVAILABILITY = {
  /** It takes all its clients. What memory is at first. */
  full: 0,
  /** It holds all back: the end of that scale. */
  none: 65_536,
  /** No clients, unless there is no other server: it is down, or rests. */
  fallback: -1,
  /** No clients, and those it has are to leave: it is draining. */
  draining: -2,
  /** No clients, and those it still has are to be cut. */
  expired: -3,
} as const;

/** The cell before those of the servers: the weight of the servers in the table that get no clients. */
const UNAVAILABLE_WEIGHT = 0;
const HEADER_CELLS = 1;

/** Memory for so many servers. */
export function allocateAvailabilities(slots: number): SharedArrayBuffer {
  return new SharedArrayBuffer((HEADER_CELLS + slots) * Int32Array.BYTES_PER_ELEMENT);
}

/** The cells as one thread sees them. */
export class AvailabilityTable {
  readonly #cells: Int32Array;

  constructor(readonly shared: SharedArrayBuffer) {
    this.#cells = new Int32Array(shared);
  }

  get(slot: number): number {
    return Atomics.load(this.#cells, HEADER_CELLS + slot);
  }

  set(slot: number, availability: number): void {
    Atomics.store(this.#cells, HEADER_CELLS + slot, availability);
  }

  /** The weight of servers in the table that get no clients: the others share what there is. */
  get unavailableWeight(): number {
    return Atomics.load(this.#cells, UNAVAILABLE_WEIGHT);
  }

  set unavailableWeight(weight: number) {
    Atomics.store(this.#cells, UNAVAILABLE_WEIGHT, weight);
  }
}

/** Whether the availability is that of a server whose connections are to leave. */
export function isDraining(availability: number): boolean {
  return availability <= AVAILABILITY.draining;
}
