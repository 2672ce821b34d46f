/**
 * The one routing decision, the same in every engine: which servers to try for a client, in which order. Pure: the load comes in
 * as an argument.
 */

import { hash64 } from "./hash.ts";
import { firstOnRing, walkRing } from "./ring.ts";
import type { RoutingColumns } from "./routing_table.ts";
import { AVAILABILITY, isDraining } from "./availability.ts";

/** What the decision must know of the moment. */
export interface Load {
  /** Open connections of all clients, this one included. */
  readonly open: number;
  /** The weight of servers in the table that get no clients. */
  readonly unavailableWeight: number;
  /** Open connections of the server with this slot, those being made included. */
  openOf(slot: number): number;
  /** Whether the server with this slot may get clients: a AVAILABILITY, or the part of them that it holds back. */
  availabilityOf(slot: number): number;
}

/**
 * Below this many connections per unit of weight no server is called loaded. Without it the bound would tear apart the few
 * connections of a small pool: with three servers, a browser that opens six connections would find its own server full at three.
 */
export const LOAD_BOUND_FLOOR = 8;

/** 2³² divided by the golden ratio: multiplying by it mixes a number's bits into the upper ones (Knuth, TAOCP 3, 6.4). */
const GOLDEN = 0x9e3779b1;

/**
 * The servers to try for the client with this key (indexes in the table), each once: those on its way round the ring that have
 * room under the load bound, then those that have none, then those that hold this client back, and last those that are down or rest:
 * if all are, each is tried rather than everybody refused. The bound decides the order only, for it counts servers that may be dead.
 * A server's own limit (`connectionsMax`) is never passed, and a server that is draining gets nobody.
 *
 * Consistent hashing with bounded loads: Mirrokni, Thorup, Zadimoghaddam, 2016 (arXiv 1608.01350).
 */
export function* route(table: RoutingColumns, load: Load, key: Uint8Array): Generator<number, void, undefined> {
  const overBound: number[] = [];
  const ramping: number[] = [];
  const fallback: number[] = [];
  for (const index of walkRing(table.circle, key)) {
    const slot = table.slots[index];
    const open = load.openOf(slot);
    const availability = load.availabilityOf(slot);
    if (open >= table.connectionsMax[index] || isDraining(availability)) continue;
    if (availability === AVAILABILITY.fallback) fallback.push(index);
    else if (isBeyondRamp(availability, key)) ramping.push(index);
    else if (open < boundOf(table, index, load)) yield index;
    else overBound.push(index);
  }
  yield* overBound;
  yield* ramping;
  yield* fallback;
}

/** The first of `route()`, or -1 if there is none: all that most clients need, in less time. */
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
 * The servers that come into question: every one; those that are up; the one alone that the ring gives the client to, if it is up. A
 * client that has a server goes to none that is down or rests.
 */
export type Choice = "any" | "serving" | "owner";

/**
 * The server to try next for the client with this key, as an index in the table: the first in the order of `route()` that comes into
 * question and that `takes` says yes to; -1: there is none. Engines dial what it gives, and a plan foretells by it.
 */
export function nextServer(
  table: RoutingColumns,
  load: Load,
  key: Uint8Array,
  choice: Choice,
  takes: (index: number) => boolean,
): number {
  for (const index of choice === "owner" ? [routeFirst(table, load, key)] : route(table, load, key)) {
    if (index < 0 || (choice !== "any" && load.availabilityOf(table.slots[index]) === AVAILABILITY.fallback)) return -1;
    if (takes(index)) return index;
  }
  return -1;
}

/** How many connections the server may have while others have room. */
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
 * Whether a server that comes back by and by does not take this client yet. A client that it has once taken it keeps: which part of
 * all clients one belongs to is its key's alone, and has nothing to do with its place on the ring.
 */
export function isBeyondRamp(availability: number, key: Uint8Array): boolean {
  if (availability <= 0) return false;
  const { high, low } = hash64(key);
  return Math.imul(high ^ low, GOLDEN) >>> 16 < availability;
}
