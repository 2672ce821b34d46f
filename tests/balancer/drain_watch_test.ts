import { assertEquals } from "@std/assert";
import { DrainWatch, type WatchedServer } from "../../lib/balancer/drain_watch.ts";

function serverWith(numbers: Partial<WatchedServer>): WatchedServer {
  const named = { service: "web", server: "a:80", slot: 1, state: "draining" as const };
  return { ...named, open: 0, movedAway: 0, ended: 0, ...numbers };
}

function textsOf(watch: DrainWatch, now: WatchedServer, nowMs: number): string[] {
  return watch.look([now], nowMs).map(({ kind, service, server, text }) => {
    assertEquals([kind, service, server], ["drain", "web", "a:80"]);
    return text;
  });
}

Deno.test("a drain is told of more and more seldom, and its end once, with what became of the connections", () => {
  const watch = new DrainWatch();
  watch.begin(serverWith({ open: 10, movedAway: 3, ended: 7 }), 0);
  const now = serverWith({ open: 4, movedAway: 8, ended: 8 });
  const told = "Server a:80 is draining: 4 connections left; of 10 connections 5 moved and 1 ended";
  assertEquals(textsOf(watch, now, 9999), []);
  assertEquals(textsOf(watch, now, 10_000), [told]);
  assertEquals(textsOf(watch, now, 29_999), []);
  assertEquals(textsOf(watch, now, 30_000), [told]);
  const end = serverWith({ movedAway: 12, ended: 8 });
  assertEquals(textsOf(watch, end, 42_000), ["Server a:80 is drained after 42s: of 10 connections 9 moved and 1 ended"]);
  assertEquals(textsOf(watch, end, 300_000), []);
});

Deno.test("a drain that is over within a second is told of, and one of a server without connections is not", () => {
  const watch = new DrainWatch();
  watch.begin(serverWith({ open: 1 }), 0);
  assertEquals(textsOf(watch, serverWith({ movedAway: 1 }), 300), [
    "Server a:80 is drained after 1s: of 1 connection 1 moved and 0 ended",
  ]);
  watch.begin(serverWith({}), 1000);
  assertEquals(textsOf(watch, serverWith({}), 60_000), []);
});

Deno.test("a removal is told of while it lasts, and its end by others", () => {
  const watch = new DrainWatch();
  const before = serverWith({ state: "removing", open: 2 });
  watch.begin(before, 0);
  assertEquals(textsOf(watch, before, 10_000), [
    "Server a:80 is removing: 2 connections left; of 2 connections 0 moved and 0 ended",
  ]);
  assertEquals(textsOf(watch, serverWith({ state: "removing", ended: 2 }), 20_000), []);
});

Deno.test("a server that is up again is forgotten, and a drain from before a restart is followed from when it is seen", () => {
  const watch = new DrainWatch();
  watch.begin(serverWith({ open: 5 }), 0);
  assertEquals(watch.look([serverWith({ state: "up", open: 5 })], 20_000), []);
  assertEquals(textsOf(watch, serverWith({ open: 5 }), 21_000), []);
  assertEquals(textsOf(watch, serverWith({ ended: 5 }), 24_000), [
    "Server a:80 is drained after 3s: of 5 connections 0 moved and 5 ended",
  ]);
});
