// When an open connection should go home, and when it is at home.

import { assert, assertEquals } from "@std/assert";
import { newTurns } from "../../lib/routing/candidates.ts";
import { AVAILABILITY } from "../../lib/routing/availability.ts";
import { type HomeRules, isAway, isDue, sendsHome } from "../../lib/routing/home.ts";
import { type Load, routeFirst } from "../../lib/routing/route.ts";
import { emptyTable, nextTable, type RoutingTable } from "../../lib/routing/routing_table.ts";
import { packTiers } from "../../lib/routing/tiers.ts";
import { parseKeyRule } from "../../lib/values/address.ts";
import type { Policy } from "../../lib/values/config.ts";

const OFF: HomeRules = { failBack: "now", maxAgeMs: 0, ageJitter: 0.2 };
const HOUR = 3_600_000;
const KEY = Uint8Array.of(192, 0, 2, 1);

/** Servers with these tiers; the index is the place here, since the tiers ascend. */
function tableOf(policy: Policy, tiers: readonly number[]): RoutingTable {
  const servers = tiers.map((tier, slot) => {
    const address = { host: `10.0.0.${slot}`, port: 80 };
    return { name: `${address.host}:80`, address, weight: 1, tier, connectionsMax: 100, slot };
  });
  return nextTable(emptyTable(parseKeyRule("ip"), Infinity, policy), servers);
}

function loadOf(open: readonly number[], [low, high]: readonly [number, number] = [0, 0], down: readonly number[] = []): Load {
  return {
    open: open.reduce((sum, count) => sum + count, 0),
    unavailableWeight: 0,
    tiersInUse: packTiers({ low, high }),
    turns: newTurns(() => 0.5),
    openOf: (slot) => open[slot],
    availabilityOf: (slot) => down.includes(slot) ? AVAILABILITY.fallback : AVAILABILITY.full,
  };
}

Deno.test("only fail-back idle and a maximum age send connections home", () => {
  assertEquals([OFF, { ...OFF, failBack: "never" as const }].map(sendsHome), [false, false]);
  assertEquals([{ ...OFF, failBack: "idle" as const }, { ...OFF, maxAgeMs: 1 }].map(sendsHome), [true, true]);
});

Deno.test("isDue() of an age: from the maximum to that and the jitter, always the same for a connection", () => {
  const [table, load] = [tableOf("ring", [0]), loadOf([1])];
  const rules = { ...OFF, maxAgeMs: HOUR };
  const dueAt = (id: number) => {
    let ageMs = 0;
    while (!isDue(table, load, rules, { index: 0, id, ageMs })) ageMs += HOUR / 100;
    return ageMs / HOUR;
  };
  const ages = Array.from({ length: 200 }, (_, id) => dueAt(id * 2 ** 21 + 7));
  assert(ages.every((age) => age >= 0.999 && age <= 1.21), `${Math.min(...ages)} to ${Math.max(...ages)}`);
  assert(new Set(ages).size > 15, "they are spread");
  assertEquals(ages, Array.from({ length: 200 }, (_, id) => dueAt(id * 2 ** 21 + 7)));
  assert(!isDue(table, load, OFF, { index: 0, id: 1, ageMs: 99 * HOUR }));
  assert(isDue(table, load, { ...rules, ageJitter: 0 }, { index: 0, id: 1, ageMs: HOUR }));
});

Deno.test("isDue() of a tier that is not in use, with fail-back idle alone", () => {
  const table = tableOf("ring", [0, 1]);
  const young = { index: 1, id: 1, ageMs: 0 };
  const idle = { ...OFF, failBack: "idle" as const };
  assertEquals([isDue(table, loadOf([0, 5]), idle, young), isDue(table, loadOf([0, 5]), OFF, young)], [true, false]);
  assert(!isDue(table, loadOf([0, 5], [1, 1]), idle, young));
  assert(!isDue(table, loadOf([0, 5]), idle, { ...young, index: 0 }));
});

Deno.test("isAway() with the ring: on any other server than the owner, unless the owner cannot serve", () => {
  const table = tableOf("ring", [0, 0, 0]);
  const owner = routeFirst(table, loadOf([0, 0, 0]), KEY);
  const other = (owner + 1) % 3;
  assertEquals([owner, other].map((index) => isAway(table, loadOf([1, 1, 1]), KEY, index)), [false, true]);
  assert(!isAway(table, loadOf([1, 1, 1], [0, 0], [0, 1, 2]), KEY, other));
});

Deno.test("isAway() without owners: where a tier in use is, or clearly fewer connections", () => {
  for (const policy of ["least-connections", "random", "round-robin"] as const) {
    const table = tableOf(policy, [0, 0, 1]);
    const away = (open: number[], index: number) => isAway(table, loadOf(open), KEY, index);
    assertEquals([away([5, 5, 0], 0), away([5, 4, 0], 0), away([6, 4, 0], 0)], [false, false, true], policy);
    assertEquals([away([50, 50, 1], 2), away([0, 0, 1], 2)], [true, true], policy);
    assert(!isAway(table, loadOf([9, 9, 3], [0, 0], [0, 1]), KEY, 2), "nobody goes home to a server that is down");
  }
});

Deno.test("isAway() with first: only a tier that is not in use is left; a full server is not evened out", () => {
  const table = tableOf("first", [0, 0, 1]);
  assertEquals([0, 1, 2].map((index) => isAway(table, loadOf([90, 1, 5]), KEY, index)), [false, false, true]);
});
