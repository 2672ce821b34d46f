/**
 * Whether an open connection should go home: to its owner, where the policy has owners, and otherwise to a tier in use or a server
 * with clearly fewer connections. Which connections are asked about, and when, is for `balancer/homing.ts`. Pure.
 */

import type { FailBack } from "../values/config.ts";
import { isLastResort } from "./availability.ts";
import { homeOf, type Load } from "./route.ts";
import type { RoutingColumns } from "./routing_table.ts";
import { highTier, lowTier } from "./tiers.ts";

/** The settings of a service by which its open connections go home. */
export interface HomeRules {
  readonly failBack: FailBack;
  /** 0: no limit. */
  readonly maxAgeMs: number;
  /** By which part of itself the maximum age is longer at most. */
  readonly ageJitter: number;
}

/** Whether these rules ever send a connection home. */
export function sendsHome({ failBack, maxAgeMs }: HomeRules): boolean {
  return failBack === "idle" || maxAgeMs > 0;
}

/** Whether it is time to ask where a connection belongs: its tier is no longer in use, or it is old. `index`: its server. */
export function isDue(
  table: RoutingColumns,
  load: Load,
  { failBack, maxAgeMs, ageJitter }: HomeRules,
  { index, id, ageMs }: { readonly index: number; readonly id: number; readonly ageMs: number },
): boolean {
  if (maxAgeMs > 0 && ageMs >= maxAgeMs * (1 + ageJitter * partOf(id))) return true;
  return failBack === "idle" && !isInUse(table, load, index);
}

/**
 * Whether a connection with this key on the server at `index` has a better place. With `ring`: any other server that is its owner
 * now. Other policies have no owners, so that only two things count: its tier is not in use and another one is, or (not with
 * `first`, which wants servers full) its server has more connections for its weight than the other would have with it.
 */
export function isAway(table: RoutingColumns, load: Load, key: Uint8Array, index: number): boolean {
  const home = homeOf(table, load, key);
  if (home < 0 || home === index || isLastResort(load.availabilityOf(table.slots[home]))) return false;
  if (table.policy === "ring") return true;
  if (isInUse(table, load, home) && !isInUse(table, load, index)) return true;
  const openOf = (index: number) => load.openOf(table.slots[index]);
  return table.policy !== "first" && (openOf(home) + 1) / table.weights[home] < openOf(index) / table.weights[index];
}

/** Whether the tier of the server at `index` is in use. */
export function isInUse({ tiers }: RoutingColumns, { tiersInUse }: Load, index: number): boolean {
  if (tiers.length === 1) return true;
  const { tier } = tiers.find(({ end }) => index < end)!;
  return tier >= lowTier(tiersInUse) && tier <= highTier(tiersInUse);
}

/** 2³² divided by the golden ratio (Knuth, TAOCP 3, 6.4): spreads ids that follow each other. */
const GOLDEN = 0x9e3779b1;

/** A number from 0 to 1 that is always the same for a connection. */
function partOf(id: number): number {
  const mixed = Math.imul((id % 2 ** 32) ^ Math.floor(id / 2 ** 32), GOLDEN);
  return (mixed >>> 0) / 2 ** 32;
}
