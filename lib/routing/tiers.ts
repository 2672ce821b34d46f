/**
 * Tiers: which of them new clients use. Servers of a higher tier are spares of the lower ones. Pure; who counts the usable servers
 * and publishes the answer is `health/tier_use.ts`.
 */

import type { FailBack } from "../values/config.ts";

/** The tiers that new clients use, from the lowest to the highest. */
export interface TierRange {
  readonly low: number;
  readonly high: number;
}

/** The settings of a service by which its tiers are used. */
export interface TierRules {
  readonly tierMin: number;
  readonly failBack: FailBack;
}

/** The rules of a service without settings of its own. */
export const DEFAULT_TIER_RULES: TierRules = { tierMin: 1, failBack: "now" };

/**
 * The tiers to use. `usable[tier]` is the number of its servers that may get new clients. The lowest tier with such a server is
 * used, and the tiers above it as well until all of them together have `tierMin`; all tiers where no server is usable. With
 * `failBack` never, those of the `previous` tiers that have usable servers stay in use, for as long as they have `tierMin`.
 */
export function tiersInUse(usable: readonly number[], rules: TierRules, previous?: TierRange): TierRange {
  if (rules.failBack === "never" && previous !== undefined && countIn(usable, previous) >= rules.tierMin) {
    return trimmed(usable, previous);
  }
  const low = Math.max(0, usable.findIndex((count) => count > 0));
  let high = low;
  while (high < usable.length - 1 && countIn(usable, { low, high }) < rules.tierMin) high++;
  return { low, high };
}

/** The range without the tiers at its ends that have no usable server; there must be one. */
function trimmed(usable: readonly number[], { low, high }: TierRange): TierRange {
  while (usable[low] === 0) low++;
  while (usable[high] === 0) high--;
  return { low, high };
}

function countIn(usable: readonly number[], { low, high }: TierRange): number {
  return usable.slice(low, high + 1).reduce((sum, count) => sum + count, 0);
}

/** Bits of a packed range below its higher end. */
const HIGH_SHIFT = 8;

/** A range as one number, for memory that threads share: 0 for tier 0 alone. */
export function packTiers({ low, high }: TierRange): number {
  return low | high << HIGH_SHIFT;
}

/** The range of a packed number. */
export function unpackTiers(packed: number): TierRange {
  return { low: lowTier(packed), high: highTier(packed) };
}

/** The lowest tier of a packed range. */
export function lowTier(packed: number): number {
  return packed & (1 << HIGH_SHIFT) - 1;
}

/** The highest tier of a packed range. */
export function highTier(packed: number): number {
  return packed >>> HIGH_SHIFT;
}
