/**
 * The routing decision, the same in every engine: which servers to try for a client, and in which order. Pure: the load is an
 * argument.
 */

import { hash64 } from "./hash.ts";
import { firstOnRing, walkRing } from "./ring.ts";
import type { RoutingColumns } from "./routing_table.ts";
import { AVAILABILITY, isClosed, isLastResort } from "./availability.ts";

/** The load at the moment of the decision. */
export interface Load {
  /** Open connections of all clients of the service, including this one. */
  readonly open: number;
  /** The total weight of servers in the table that get no clients. */
  readonly unavailableWeight: number;
  /** Open connections of the server with this slot, including those being dialled. */
  openOf(slot: number): number;
  /** The availability of the server with this slot: a value of AVAILABILITY, or a value on its ramp scale. */
  availabilityOf(slot: number): number;
}

/**
 * With fewer connections per unit of weight a server is never over the load bound. Without this floor the bound would split the few
 * connections of a small pool: with three servers, a browser that opens six connections would find its server full after three.
 */
export const LOAD_BOUND_FLOOR = 8;

/** 2³² divided by the golden ratio: multiplying by it mixes a number's bits into the upper ones (Knuth, TAOCP 3, 6.4). */
const GOLDEN = 0x9e3779b1;

/**
 * The servers to try for the client with this key (indexes in the table), each once and in ring order within each rank: servers
 * under the load bound, then servers over it, then ramping servers that do not take this client yet, then servers whose checks ask
 * to be drained, and last servers that are down or resting, so that clients are not refused while all are. The bound only changes
 * the order, since it counts servers that may be dead. A server at its own limit (`connectionsMax`) and a server that the operator
 * drains or removes are never tried.
 *
 * Consistent hashing with bounded loads: Mirrokni, Thorup, Zadimoghaddam, 2016 (arXiv 1608.01350).
 */
export function* route(table: RoutingColumns, load: Load, key: Uint8Array): Generator<number, void, undefined> {
  const overBound: number[] = [];
  const ramping: number[] = [];
  const asking: number[] = [];
  const fallback: number[] = [];
  for (const index of walkRing(table.circle, key)) {
    const slot = table.slots[index];
    const open = load.openOf(slot);
    const availability = load.availabilityOf(slot);
    if (open >= table.connectionsMax[index] || isClosed(availability)) continue;
    if (availability === AVAILABILITY.fallback) fallback.push(index);
    else if (availability === AVAILABILITY.asking) asking.push(index);
    else if (isBeyondRamp(availability, key)) ramping.push(index);
    else if (open < boundOf(table, index, load)) yield index;
    else overBound.push(index);
  }
  yield* overBound;
  yield* ramping;
  yield* asking;
  yield* fallback;
}

/** The first server of `route()`, or -1 if there is none. Faster, and enough for most clients. */
export function routeFirst(table: RoutingColumns, load: Load, key: Uint8Array): number {
  if (table.circle.serverCount === 0) return -1;
  const index = firstOnRing(table.circle, key);
  const slot = table.slots[index];
  const open = load.openOf(slot);
  const isPlain = load.availabilityOf(slot) === AVAILABILITY.full;
  if (isPlain && open < table.connectionsMax[index] && open < boundOf(table, index, load)) return index;
  return route(table, load, key).next().value ?? -1;
}

/**
 * Which servers qualify: any server; servers that are no last resort; only the owner, if it is none. An open connection never moves
 * to a server that is down, resting or asks to be drained.
 */
export type Choice = "any" | "serving" | "owner";

/**
 * The server to try next for the client with this key, as an index in the table: the first in the order of `route()` that qualifies
 * and for which `takes` returns true; -1 if there is none. Engines dial it, and a plan predicts with it.
 */
export function nextServer(
  table: RoutingColumns,
  load: Load,
  key: Uint8Array,
  choice: Choice,
  takes: (index: number) => boolean,
): number {
  for (const index of choice === "owner" ? [routeFirst(table, load, key)] : route(table, load, key)) {
    if (index < 0 || (choice !== "any" && isLastResort(load.availabilityOf(table.slots[index])))) return -1;
    if (takes(index)) return index;
  }
  return -1;
}

/** How many connections the server may have before it is passed over for others that have fewer. */
export function boundOf(
  { weights, weightTotal, loadBound }: RoutingColumns,
  index: number,
  { open, unavailableWeight }: Load,
): number {
  const weightHere = Math.max(weights[index], weightTotal - unavailableWeight);
  const fairShare = Math.max(1, open) * weights[index] / weightHere; // from 1: there may be no bound, and ∞ × 0 is no number
  return Math.max(LOAD_BOUND_FLOOR * weights[index], Math.ceil(loadBound * fairShare));
}

/**
 * Whether a ramping server does not take this client yet. A server that has taken a client once takes it for the rest of the ramp:
 * the decision depends on the key and the availability alone, not on the position of the key on the ring.
 */
export function isBeyondRamp(availability: number, key: Uint8Array): boolean {
  if (availability <= 0) return false;
  const { high, low } = hash64(key);
  return Math.imul(high ^ low, GOLDEN) >>> 16 < availability;
}
