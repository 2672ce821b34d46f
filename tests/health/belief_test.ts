// What was known before a restart holds for a while, and not longer.

import { assertEquals } from "@std/assert";
import { beliefMs, isBelieved } from "../../lib/health/belief.ts";

Deno.test("what is known is believed for three times the checks that make a server down, and for 15 s at least", () => {
  assertEquals(beliefMs({ checkIntervalMs: 2000, fall: 3 }), 18_000);
  assertEquals(beliefMs({ checkIntervalMs: 50, fall: 1 }), 15_000);
});

for (const [agoMs, isSo] of [[0, true], [2000, true], [10_000, true], [10_001, false], [-1, false]] as const) {
  Deno.test(`what was known ${agoMs} ms ago is ${isSo ? "" : "not "}believed for 10 s`, () => {
    assertEquals(isBelieved(new Date(100_000 - agoMs), new Date(100_000), 10_000), isSo);
  });
}
