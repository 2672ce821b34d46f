// How a balancer is stopped: a lame duck first, then the grace time; asked again it stops sooner.

import { assertEquals, assertRejects } from "@std/assert";
import { Shutdown } from "../../lib/balancer/shutdown.ts";
import { soon } from "../helpers.ts";

/** A shutdown of a balancer whose connections end when the test says so. */
function makeShutdown() {
  const stops: number[] = [];
  const ended = Promise.withResolvers<void>();
  let cut = 0;
  const shutdown = new Shutdown({
    stop: (graceMs) => {
      stops.push(graceMs);
      return ended.promise;
    },
    cut: () => cut,
  });
  return {
    shutdown,
    stops,
    end: (count: number) => {
      cut = count;
      ended.resolve();
    },
    fail: (error: Error) => ended.reject(error),
  };
}

const LONG_MS = 3_600_000;

Deno.test("without a lame duck the grace time begins at once, and the end says how many were cut", async () => {
  const { shutdown, stops, end } = makeShutdown();
  assertEquals([shutdown.isAsked, shutdown.isLameDuck], [false, false]);
  shutdown.ask({ lameDuckMs: 0, graceMs: 5 });
  assertEquals([stops, shutdown.isAsked, shutdown.isLameDuck], [[5], true, false]);
  end(3);
  assertEquals(await soon(shutdown.done, "the end"), 3);
});

Deno.test("a lame duck serves for its time", async () => {
  const { shutdown, stops, end } = makeShutdown();
  shutdown.ask({ lameDuckMs: 20, graceMs: 5 });
  assertEquals([stops, shutdown.isAsked, shutdown.isLameDuck], [[], true, true]);
  while (stops.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  assertEquals([stops, shutdown.isLameDuck], [[5], false]);
  end(0);
  assertEquals(await soon(shutdown.done, "the end"), 0);
});

Deno.test("a lame duck that is asked again takes the new times", () => {
  const { shutdown, stops } = makeShutdown();
  shutdown.ask({ lameDuckMs: LONG_MS, graceMs: 5 });
  shutdown.ask({ lameDuckMs: LONG_MS, graceMs: 7 });
  assertEquals([stops, shutdown.isLameDuck], [[], true]);
  shutdown.ask({ lameDuckMs: 0, graceMs: 0 });
  assertEquals([stops, shutdown.isLameDuck], [[0], false]);
});

Deno.test("one that no longer takes clients does not become a lame duck again", () => {
  const { shutdown, stops } = makeShutdown();
  shutdown.ask({ lameDuckMs: 0, graceMs: 9 });
  shutdown.ask({ lameDuckMs: LONG_MS, graceMs: 1 });
  assertEquals([stops, shutdown.isLameDuck], [[9, 1], false]);
});

Deno.test("who waits for the end is told that stopping failed", async () => {
  const { shutdown, fail } = makeShutdown();
  shutdown.ask({ lameDuckMs: 0, graceMs: 0 });
  fail(new Error("the disk is full"));
  await assertRejects(() => shutdown.done, Error, "the disk is full");
});
