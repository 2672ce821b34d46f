import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Top } from "../../lib/values/top.ts";

function topOf(ranks: readonly number[], max: number): number[] {
  const top = new Top<number>(max);
  for (const rank of ranks) if (top.takes(rank)) top.add(rank, rank);
  return top.sorted();
}

Deno.test("Top keeps the greatest, and gives them in descending order", () => {
  assertEquals(topOf([3, 1, 2], 5), [3, 2, 1]);
  assertEquals(topOf([3, 1, 2], 2), [3, 2]);
  assertEquals(topOf([], 1), []);
  fc.assert(fc.property(fc.array(fc.double({ noNaN: true })), fc.integer({ min: 1, max: 20 }), (ranks, max) => {
    assertEquals(topOf(ranks, max), ranks.toSorted((a, b) => b - a).slice(0, max));
  }));
});

Deno.test("Top asks for an item only where it is among the greatest, and keeps the earlier of two alike", () => {
  const top = new Top<string>(1);
  top.add(1, "first");
  assertEquals([top.takes(1), top.takes(0), top.takes(2)], [false, false, true]);
  assertEquals(top.sorted(), ["first"]);
});
