/**
 * The one routing decision, the same in every engine: which servers to try for a client, in which order. Pure: the load comes in
 * as an argument.
 */

import { firstOnRing, walkRing } from "./ring.ts";
import type { RoutingColumns } from "./routing_table.ts";

/** What the decision must know of the moment. */
export interface Load {
  /** Open connections of all clients, this one included. */
  readonly open: number;
  /** Open connections of the server with this slot, those being made included. */
  openOf(slot: number): number;
}

/**
 * Below this many connections per unit of weight no server is called loaded. Without it the bound would tear apart the few
 * connections of a small pool: with three servers, a browser that opens six connections would find its own server full at three.
 */
export const LOAD_BOUND_FLOOR = 8;

/**
 * The servers to try for the client with this key (indexes in the table), each once: those on its way round the ring that have
 * room under the load bound, then those that have none. The bound decides the order only, for it counts servers that may be dead:
 * with one of two down, the other must take everybody. A server's own limit (`connectionsMax`) is never passed.
 *
 * Consistent hashing with bounded loads: Mirrokni, Thorup, Zadimoghaddam, 2016 (arXiv 1608.01350).
 */
export function* route(table: RoutingColumns, load: Load, key: Uint8Array): Generator<number, void, undefined> {
  const overBound: number[] = [];
  for (const index of walkRing(table.circle, key)) {
    const open = load.openOf(table.slots[index]);
    if (open >= table.connectionsMax[index]) continue;
    if (open < boundOf(table, index, load.open)) yield index;
    else overBound.push(index);
  }
  yield* overBound;
}

/** The first of `route()`, or -1 if there is none: all that most clients need, in less time. */
export function routeFirst(table: RoutingColumns, load: Load, key: Uint8Array): number {
  if (table.circle.serverCount === 0) return -1;
  const index = firstOnRing(table.circle, key);
  const open = load.openOf(table.slots[index]);
  if (open < table.connectionsMax[index] && open < boundOf(table, index, load.open)) return index;
  return route(table, load, key).next().value ?? -1;
}

/** How many connections the server may have while others have room. */
function boundOf({ weights, weightTotal, loadBound }: RoutingColumns, index: number, open: number): number {
  const fairShare = open * weights[index] / weightTotal;
  return Math.max(LOAD_BOUND_FLOOR * weights[index], Math.ceil(loadBound * fairShare));
}
