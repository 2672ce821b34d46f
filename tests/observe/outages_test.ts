// Outages: what became of a server's connections from when they began to leave until it was up again.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Count, type Outage, outagesOf, type ServerPast } from "../../lib/observe/outages.ts";

type Pairs<T> = readonly (readonly [at: number, value: T])[];

function past(states: Pairs<string | null>, moved: Pairs<number>, cut: Pairs<number> = []): ServerPast {
  const counts = (pairs: Pairs<number>): Count[] => pairs.map(([at, count]) => ({ at, count }));
  return { states: states.map(([at, state]) => ({ at, state })), moved: counts(moved), cut: counts(cut) };
}

const CASES: readonly [what: string, past: ServerPast, outages: Outage[]][] = [
  ["a server that is up has none, whatever moves", past([[0, "up"]], [[50, 3]], [[50, 1]]), []],
  [
    "connections that leave before the checks notice are part of it",
    past([[0, "up"], [104, "down"]], [[100, 30], [101, 4]], [[100, 7]]),
    [{ from: 100, to: Infinity, moved: 34, cut: 7 }],
  ],
  [
    "those that left a while before for another cause are not",
    past([[0, "up"], [104, "down"]], [[90, 6], [100, 30]]),
    [{ from: 100, to: Infinity, moved: 30, cut: 0 }],
  ],
  [
    "checks that notice late still have their loss, up to a minute",
    past([[0, "up"], [160, "down"]], [[90, 6], [100, 30], [103, 1]]),
    [{ from: 100, to: Infinity, moved: 31, cut: 0 }],
  ],
  [
    "resting and then down is one",
    past([[0, "up"], [101, "resting"], [130, "down"]], [[100, 30], [110, 2], [131, 1]], [[120, 5]]),
    [{ from: 100, to: Infinity, moved: 33, cut: 5 }],
  ],
  [
    "a drain begins when it is known",
    past([[0, "up"], [100, "draining"]], [[98, 9], [100, 4], [140, 1]]),
    [{ from: 100, to: Infinity, moved: 5, cut: 0 }],
  ],
  [
    "it ends when the server is up again, and the next one does not begin before that",
    past([[0, "up"], [100, "down"], [110, "up"], [112, "down"], [120, null]], [[99, 1], [109, 2], [111, 4], [113, 8]], [[115, 1]]),
    [{ from: 99, to: 110, moved: 3, cut: 0 }, { from: 111, to: 120, moved: 12, cut: 1 }],
  ],
  ["nothing that leaves is an outage, too", past([[0, "down"]], []), [{ from: 0, to: Infinity, moved: 0, cut: 0 }]],
];

for (const [what, given, expected] of CASES) Deno.test(`outagesOf(): ${what}`, () => assertEquals(outagesOf(given), expected));

Deno.test("outagesOf(): outages follow each other, and no connection is in two", () => {
  const seconds = fc.integer({ min: 0, max: 300 });
  const state = fc.constantFrom<(string | null)[]>("up", "down", "resting", "draining", "removing", null);
  const counts = fc.array(fc.tuple(seconds, fc.integer({ min: 1, max: 9 })), { maxLength: 20 });
  const inTime = <T>(pairs: [number, T][]) => pairs.toSorted(([a], [b]) => a - b);
  const changes = fc.uniqueArray(fc.tuple(seconds, state), { maxLength: 12, selector: ([at]) => at });
  fc.assert(fc.property(changes, counts, counts, (states, moved, cut) => {
    const outages = outagesOf(past(inTime(states), inTime(moved), inTime(cut)));
    for (const [i, { from, to }] of outages.entries()) {
      assert(from < to && from >= (outages[i - 1]?.to ?? -Infinity));
    }
    const sum = (pairs: [number, number][]) =>
      pairs.reduce((sum, [at, count]) => outages.some(({ from, to }) => at >= from && at < to) ? sum + count : sum, 0);
    assertEquals(outages.reduce((sum, { moved }) => sum + moved, 0), sum(moved));
    assertEquals(outages.reduce((sum, { cut }) => sum + cut, 0), sum(cut));
  }));
});
