import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { SecondClock } from "../../lib/observe/second_clock.ts";
import { BEGIN, FakeClocks } from "./fake_clocks.ts";

Deno.test("a SecondClock says the time of the wall clock", () => {
  const clocks = new FakeClocks();
  const clock = new SecondClock(clocks);
  clocks.pass(1234);
  assertEquals(clock.read(), { nowMs: BEGIN * 1000 + 1234, jumpMs: 0 });
});

Deno.test("a SecondClock reports a jump of the wall clock once, and is right afterwards", () => {
  for (const jump of [-3_600_000, -1000, 1000, 86_400_000]) {
    const clocks = new FakeClocks();
    const clock = new SecondClock(clocks);
    clocks.pass(500);
    clocks.set(jump);
    assertEquals(clock.read(), { nowMs: clocks.wallMs(), jumpMs: jump });
    clocks.pass(500);
    assertEquals(clock.read(), { nowMs: clocks.wallMs(), jumpMs: 0 });
  }
});

Deno.test("a SecondClock follows small corrections without a jump, never goes back, and is right in the end", () => {
  const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: -40, max: 40 })), { maxLength: 50 });
  fc.assert(fc.property(steps, (steps) => {
    const clocks = new FakeClocks();
    const clock = new SecondClock(clocks);
    let last = clock.read().nowMs;
    for (const [passed, set] of steps) {
      clocks.pass(passed);
      if (passed > 0) clocks.set(set);
      const { nowMs, jumpMs } = clock.read();
      assert(nowMs >= last, `${nowMs} after ${last}`);
      assertEquals(jumpMs, 0);
      last = nowMs;
    }
    clocks.pass(60_000);
    assertEquals(Math.round(clock.read().nowMs), clocks.wallMs());
  }));
});
