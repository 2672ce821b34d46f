import { assertEquals } from "@std/assert";
import { LimitWatch } from "../../lib/balancer/limit_watch.ts";

Deno.test("a limit is told of at once, and then once a minute with how often it was reached since", () => {
  const watch = new LimitWatch();
  let count = 0;
  const look = (nowMs: number) => watch.look((limit) => limit === "limitBalancer" ? count : 0, nowMs).map(({ text }) => text);
  const why = "refused: the balancer has all connections that it may have (--max-connections)";
  assertEquals(look(0), []);
  count = 1;
  assertEquals(look(1000), [`1 client was ${why}`]);
  count = 500;
  assertEquals(look(60_999), []);
  assertEquals(look(61_000), [`499 clients were ${why}`]);
  assertEquals(look(500_000), []);
  count = 502;
  assertEquals(look(501_000), [`2 clients were ${why}`]);
});

Deno.test("each limit is told of by itself, as a warning", () => {
  const watch = new LimitWatch();
  const events = watch.look(() => 1, 0);
  assertEquals(new Set(events.map(({ kind, level }) => `${kind} ${level}`)), new Set(["limit warning"]));
  assertEquals(new Set(events.map(({ text }) => text)).size, events.length);
});
