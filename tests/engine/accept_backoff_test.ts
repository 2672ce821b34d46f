import { assertEquals } from "@std/assert";
import { AcceptBackoff } from "../../lib/engine/accept_backoff.ts";

Deno.test("fail() doubles the pause while the trouble lasts, up to a second, and calls it new once", () => {
  const backoff = new AcceptBackoff();
  const told = [0, 100, 300, 700, 1500, 3000, 5000].map((nowMs) => backoff.fail(nowMs));
  assertEquals(told.map(({ pauseMs }) => pauseMs), [50, 100, 200, 400, 800, 1000, 1000]);
  assertEquals(told.map(({ isNew }) => isNew), [true, false, false, false, false, false, false]);
});

Deno.test("fail() begins anew when nothing has failed for more than 10 s", () => {
  const backoff = new AcceptBackoff();
  for (const nowMs of [0, 100]) backoff.fail(nowMs);
  assertEquals(backoff.fail(10_100), { pauseMs: 200, isNew: false });
  assertEquals(backoff.fail(20_101), { pauseMs: 50, isNew: true });
});
