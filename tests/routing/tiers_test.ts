// Tiers: which are in use, and that a change of one tier moves the clients of no other.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { highTier, lowTier, packTiers, type TierRange, type TierRules, tiersInUse, unpackTiers } from "../../lib/routing/tiers.ts";

const NOW: TierRules = { tierMin: 1, failBack: "now" };
const range = (low: number, high = low): TierRange => ({ low, high });

/** Usable servers by tier, the settings, the tiers in use before, and those in use then. */
const CASES: readonly [usable: number[], rules: Partial<TierRules>, previous: TierRange | undefined, expected: TierRange][] = [
  [[3, 2, 1], {}, undefined, range(0)],
  [[0, 2, 1], {}, range(0), range(1)],
  [[0, 0, 1], {}, range(0), range(2)],
  [[1, 2, 1], {}, range(1), range(0)],
  [[2, 2, 1], { tierMin: 2 }, range(0), range(0)],
  [[1, 2, 1], { tierMin: 2 }, range(0), range(0, 1)],
  [[0, 2, 1], { tierMin: 2 }, range(0), range(1)],
  [[1, 1, 1], { tierMin: 2 }, range(0), range(0, 1)], // together they have two
  [[0, 1, 1], { tierMin: 2 }, range(0), range(1, 2)],
  [[1, 0, 1], { tierMin: 2 }, range(0), range(0, 2)],
  [[1, 1, 1], { tierMin: 9 }, range(0), range(0, 2)],
  [[0, 0, 0], {}, range(0), range(0, 2)],
  [[3, 2, 1], { failBack: "idle" }, range(1), range(0)],
  [[3, 2, 1], { failBack: "never" }, range(1), range(1)],
  [[3, 2, 1], { failBack: "never" }, undefined, range(0)],
  [[3, 0, 1], { failBack: "never" }, range(1), range(0)], // the higher tier serves no longer
  [[0, 0, 1], { failBack: "never" }, range(1), range(2)],
  [[3, 1, 1], { failBack: "never", tierMin: 2 }, range(1), range(0)],
  [[3, 1, 0], { failBack: "never", tierMin: 2 }, range(0, 1), range(0, 1)],
  [[1, 0, 0], { failBack: "never" }, range(0, 2), range(0)], // the first server of an empty pool
  [[0, 2, 0], { failBack: "never" }, range(0, 1), range(1)],
];

for (const [usable, rules, previous, expected] of CASES) {
  const before = previous === undefined ? "at first" : `after tiers ${previous.low} to ${previous.high}`;
  Deno.test(`tiersInUse() of ${usable} usable servers with ${JSON.stringify(rules)} ${before}`, () => {
    assertEquals(tiersInUse(usable, { ...NOW, ...rules }, previous), expected);
  });
}

Deno.test("tiersInUse() has enough usable servers where there are, and no tier more than it needs", () => {
  const anyUsable = fc.array(fc.nat(3), { minLength: 3, maxLength: 3 });
  fc.assert(fc.property(anyUsable, fc.integer({ min: 1, max: 5 }), (usable, tierMin) => {
    const { low, high } = tiersInUse(usable, { tierMin, failBack: "now" });
    const countTo = (tier: number) => usable.slice(0, tier + 1).reduce((sum, count) => sum + count, 0);
    assert(low === 0 || countTo(low - 1) === 0, "nobody below is passed over");
    assert(countTo(high) >= tierMin || high === 2);
    assert(high === low || countTo(high - 1) < tierMin);
  }));
});

Deno.test("packTiers() keeps a range in one number, which is 0 for tier 0", () => {
  for (const [low, high] of [[0, 0], [0, 2], [1, 2], [2, 2]]) {
    const packed = packTiers({ low, high });
    assertEquals([unpackTiers(packed), lowTier(packed), highTier(packed)], [{ low, high }, low, high]);
  }
  assertEquals(packTiers({ low: 0, high: 0 }), 0);
});
