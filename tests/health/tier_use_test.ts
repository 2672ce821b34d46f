// What is published of the tiers: which are in use, and the weight of all servers that get no clients.

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type CountedServer, TierUse } from "../../lib/health/tier_use.ts";
import { allocateAvailabilities, AvailabilityTable } from "../../lib/routing/availability.ts";
import { type TierRules, unpackTiers } from "../../lib/routing/tiers.ts";

function makeTiers(rules: TierRules = { tierMin: 1, failBack: "now" }) {
  const availabilities = new AvailabilityTable(allocateAvailabilities(1));
  const changes: string[] = [];
  const tiers = new TierUse({
    rules: () => rules,
    service: 0,
    availabilities,
    onChange: ({ low, high }, usable) => changes.push(`${low}-${high} ${usable}`),
  });
  return { tiers, availabilities, changes };
}

const one = (tier: number, weight = 1, isUsable = true): CountedServer => ({ tier, weight, isUsable });

Deno.test("the tiers follow their servers, and each change is told of once", () => {
  const { tiers, availabilities, changes } = makeTiers();
  const published = () => [unpackTiers(availabilities.tiersInUseOf(0)), availabilities.unavailableWeightOf(0)];
  tiers.replace(undefined, one(0, 3));
  tiers.replace(undefined, one(1, 5));
  assertEquals(published(), [{ low: 0, high: 0 }, 5]);
  tiers.replace(one(0, 3), one(0, 3, false));
  assertEquals(published(), [{ low: 1, high: 1 }, 3]);
  tiers.replace(one(0, 3, false), one(0, 2));
  assertEquals(published(), [{ low: 0, high: 0 }, 5]);
  tiers.replace(one(0, 2), undefined);
  assertEquals(published(), [{ low: 1, high: 1 }, 0]);
  assertEquals(changes, ["1-1 0,1,0", "0-0 1,1,0", "1-1 0,1,0"]);
});

Deno.test("with fail-back never, clients stay in the higher tier until the tiers are chosen anew", () => {
  const { tiers } = makeTiers({ tierMin: 1, failBack: "never" });
  tiers.replace(undefined, one(1));
  tiers.chooseAnew();
  tiers.replace(undefined, one(0));
  assertEquals(tiers.range, { low: 1, high: 1 });
  tiers.chooseAnew();
  assertEquals(tiers.range, { low: 0, high: 0 });
});

Deno.test("the rules are read at each choice", () => {
  const rules: { tierMin: number; failBack: "now" } = { tierMin: 1, failBack: "now" };
  const { tiers } = makeTiers(rules);
  tiers.replace(undefined, one(0));
  tiers.replace(undefined, one(1));
  rules.tierMin = 2;
  tiers.chooseAnew();
  assertEquals(tiers.range, { low: 0, high: 1 });
});

Deno.test("the weight without clients is that of servers that may not, or whose tier is not in use", () => {
  const anyServer = fc.record({ tier: fc.nat(2), weight: fc.integer({ min: 1, max: 9 }), isUsable: fc.boolean() });
  fc.assert(fc.property(fc.array(fc.tuple(fc.nat(4), fc.option(anyServer, { nil: undefined })), { maxLength: 30 }), (changes) => {
    const { tiers, availabilities } = makeTiers({ tierMin: 2, failBack: "now" });
    const servers: (CountedServer | undefined)[] = Array(5).fill(undefined);
    for (const [place, next] of changes) {
      tiers.replace(servers[place], next);
      servers[place] = next;
      const { low, high } = tiers.range;
      const without = servers.filter((one) => one !== undefined)
        .filter(({ tier, isUsable }) => !isUsable || tier < low || tier > high);
      assertEquals(availabilities.unavailableWeightOf(0), without.reduce((sum, { weight }) => sum + weight, 0));
    }
  }));
});
