/**
 * Which servers may get clients now: one cell per server in memory that all threads share. The control plane writes and routing
 * reads, so a server that goes down gets no more clients from the next look-up on, whatever the size of the pool. Does not know
 * why.
 */

import { LIMITS } from "../values/config.ts";
import { assert } from "../values/errors.ts";

/**
 * `up` gets its clients. `resting` (after failed connections) and `down` (by health checks) get none while another server is up.
 * `draining` is out for maintenance, `removing` on its way out of the pool: neither gets clients, and open connections move away.
 */
export const SERVER_STATES = ["up", "resting", "down", "draining", "removing"] as const;
export type ServerState = typeof SERVER_STATES[number];

/**
 * The values of a cell. Every value from `draining` down makes open connections leave. From `full` to `none` it is the part of its
 * clients that a ramping server does not take yet.
 */
export const AVAILABILITY = {
  /** It takes all its clients. The value of fresh memory. */
  full: 0,
  /** It takes none of its clients yet: the end of the ramp scale. */
  none: 65_536,
  /** No clients while another server can take them: it is down or resting. */
  fallback: -1,
  /** No new clients, and open connections move away: it is draining or being removed. */
  draining: -2,
  /** No new clients, and open connections are cut: the drain time has ended. */
  expired: -3,
  /** No clients while another server can take them, and open connections move away: its check asks for it. */
  asking: -4,
} as const;

/** The cells before those of the servers, two per service: the weight of its servers that get no clients; its tiers in use. */
const SERVICE_CELLS = 2;
const UNAVAILABLE_WEIGHT = 0;
const TIERS_IN_USE = 1;
const HEADER_CELLS = LIMITS.servicesMax * SERVICE_CELLS;

/** Memory for `slots` servers. */
export function allocateAvailabilities(slots: number): SharedArrayBuffer {
  return new SharedArrayBuffer((HEADER_CELLS + slots) * Int32Array.BYTES_PER_ELEMENT);
}

/** Access to the cells from one thread. */
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

  /**
   * The total weight of servers in the table of this service that get no clients: they may not, or their tier is not in use. The
   * other servers share the clients.
   */
  unavailableWeightOf(service: number): number {
    return Atomics.load(this.#cells, cellOf(service, UNAVAILABLE_WEIGHT));
  }

  setUnavailableWeight(service: number, weight: number): void {
    Atomics.store(this.#cells, cellOf(service, UNAVAILABLE_WEIGHT), weight);
  }

  /** The tiers in use of a service, as `packTiers` makes it. Fresh memory says tier 0. */
  tiersInUseOf(service: number): number {
    return Atomics.load(this.#cells, cellOf(service, TIERS_IN_USE));
  }

  setTiersInUse(service: number, packed: number): void {
    Atomics.store(this.#cells, cellOf(service, TIERS_IN_USE), packed);
  }
}

function cellOf(service: number, cell: number): number {
  assert(service >= 0 && service < LIMITS.servicesMax, "service out of range");
  return service * SERVICE_CELLS + cell;
}

/** Whether open connections should leave a server with this availability. */
export function isDraining(availability: number): boolean {
  return availability <= AVAILABILITY.draining;
}

/** Whether a server with this availability never gets a new client. */
export function isClosed(availability: number): boolean {
  return availability === AVAILABILITY.draining || availability === AVAILABILITY.expired;
}

/** Whether a server with this availability gets a new client only if no other server can take it. */
export function isLastResort(availability: number): boolean {
  return availability === AVAILABILITY.fallback || availability === AVAILABILITY.asking;
}
