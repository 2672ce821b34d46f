/**
 * The routing decision, the same in every engine: which servers to try for a client, and in which order. Pure: the load is an
 * argument.
 */

import { hash64 } from "./hash.ts";
import { type Order, ORDERS, type Turns } from "./candidates.ts";
import { firstOnRing } from "./ring.ts";
import type { RoutingColumns, TierColumns } from "./routing_table.ts";
import { loadBoundOf } from "./load_bound.ts";
import { AVAILABILITY, isClosed, isLastResort } from "./availability.ts";
import { highTier, lowTier } from "./tiers.ts";

/** The load at the moment of the decision. */
export interface Load {
  /** Open connections of all clients of the service, including this one. */
  readonly open: number;
  /** The total weight of servers in the table that get no clients; those of tiers that are not in use are among them. */
  readonly unavailableWeight: number;
  /** The tiers in use, as `packTiers` makes it. Read only where the table has several tiers. */
  readonly tiersInUse: number;
  /** What policies other than the ring choose by as well. */
  readonly turns: Turns;
  /** Open connections of the server with this slot, including those being dialled. */
  openOf(slot: number): number;
  /** The availability of the server with this slot: a value of AVAILABILITY, or a value on its ramp scale. */
  availabilityOf(slot: number): number;
}

/** 2³² divided by the golden ratio: multiplying by it mixes a number's bits into the upper ones (Knuth, TAOCP 3, 6.4). */
const GOLDEN = 0x9e3779b1;

/**
 * The servers to try for the client with this key (indexes in the table), each once and in the order of the policy within each
 * rank: servers under the load bound, then servers over it, then ramping servers that do not take this client yet. So first those
 * of the tiers in use, and then those of each other tier, the lowest first: a client that the tiers in use have no room for is not
 * refused. After them come servers whose checks ask to be drained, and last servers that are down or resting, so that clients are
 * not refused while all are. The bound only changes the order, since it counts servers that may be dead. A server at its own limit
 * (`connectionsMax`) and a server that the operator drains or removes are never tried.
 *
 * Consistent hashing with bounded loads: Mirrokni, Thorup, Zadimoghaddam, 2016 (arXiv 1608.01350).
 */
export function route(table: RoutingColumns, load: Load, key: Uint8Array): Generator<number, void, undefined> {
  return routeBy(ORDERS[table.policy], table, load, key);
}

/** `route()` with the servers of each rank in another order than that of the table's policy. */
export function* routeBy(
  order: Order,
  table: RoutingColumns,
  load: Load,
  key: Uint8Array,
): Generator<number, void, undefined> {
  const asking: number[] = [];
  const fallback: number[] = [];
  for (const tiers of tierGroups(table, load)) {
    const overBound: number[] = [];
    const ramping: number[] = [];
    for (const index of order(table, tiers, load, key)) {
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
  }
  yield* asking;
  yield* fallback;
}

/** The tiers in use together, and then each of the others. */
export function tierGroups({ tiers }: RoutingColumns, load: Load): readonly (readonly TierColumns[])[] {
  if (tiers.length === 1) return [tiers];
  const packed = load.tiersInUse;
  const isUsed = ({ tier }: TierColumns) => tier >= lowTier(packed) && tier <= highTier(packed);
  const used = tiers.filter(isUsed);
  return [...(used.length > 0 ? [used] : []), ...tiers.filter((tier) => !isUsed(tier)).map((tier) => [tier])];
}

/** The first server of `route()`, or -1 if there is none. Faster, and enough for most clients. */
export function routeFirst(table: RoutingColumns, load: Load, key: Uint8Array): number {
  const tier = onlyRing(table, load);
  if (tier !== undefined && tier.circle.serverCount > 0) {
    const index = tier.start + firstOnRing(tier.circle, key);
    const slot = table.slots[index];
    const open = load.openOf(slot);
    const isPlain = load.availabilityOf(slot) === AVAILABILITY.full;
    if (isPlain && open < table.connectionsMax[index] && open < boundOf(table, index, load)) return index;
  }
  return route(table, load, key).next().value ?? -1;
}

/** The tier whose ring alone has the client's owner; undefined if there is no such ring. */
function onlyRing({ policy, tiers }: RoutingColumns, load: Load): TierColumns | undefined {
  if (policy !== "ring") return undefined;
  if (tiers.length === 1) return tiers[0];
  const packed = load.tiersInUse;
  return lowTier(packed) === highTier(packed) ? tiers.find(({ tier }) => tier === lowTier(packed)) : undefined;
}

/**
 * Where an open connection belongs, as an index in the table; -1: nowhere. With the ring that is the client's owner. Other policies
 * have none: there it is the server that would get the client if the pool were balanced by connections, or with `first` the first
 * with room.
 */
export function homeOf(table: RoutingColumns, load: Load, key: Uint8Array): number {
  if (table.policy === "ring" || table.policy === "first") return routeFirst(table, load, key);
  return routeBy(ORDERS["least-connections"], table, load, key).next().value ?? -1;
}

/**
 * Which servers qualify: any server; servers that are no last resort; only the owner (`homeOf`), if it is none. An open connection
 * never moves to a server that is down, resting or asks to be drained.
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
  for (const index of choice === "owner" ? [homeOf(table, load, key)] : route(table, load, key)) {
    if (index < 0 || (choice !== "any" && isLastResort(load.availabilityOf(table.slots[index])))) return -1;
    if (takes(index)) return index;
  }
  return -1;
}

/** How many connections the server may have before it is passed over for others that have fewer. */
export function boundOf(
  { policy, weights, weightTotal, loadBound }: RoutingColumns,
  index: number,
  { open, unavailableWeight }: Load,
): number {
  if (policy === "first") return Infinity; // it fills a server before the next one: that is no overload
  const weightHere = Math.max(weights[index], weightTotal - unavailableWeight);
  return loadBoundOf(loadBound, weights[index], weightHere, open);
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
