// The ring as it is drawn: slices as long as shares, and a needle where the API says.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  changedArcs,
  needleOf,
  outlinesOf,
  ownedArcs,
  PROBES,
  sliceAt,
  slicesOf,
  takeoversOf,
} from "../../lib/page/model/ring_places.ts";
import type { PoolRow } from "../../lib/page/model/pool_rows.ts";
import { PROBES as RING_PROBES } from "../../lib/routing/ring.ts";
import { Story } from "./story.ts";

const START = 1_795_336_200;

function rowOf(server: string, share: number, parts: Partial<PoolRow> = {}): PoolRow {
  return {
    server,
    state: "up",
    since: START,
    standing: "up",
    reason: null,
    check: null,
    tier: 0,
    weight: 1,
    share,
    open: 100,
    fair: 100,
    bound: 125,
    limit: null,
    newPerS: 1,
    toServerPerS: 1,
    fromServerPerS: 1,
    connectP99Ms: 1,
    movedIn: 0,
    movedAway: 0,
    reset: 0,
    failed: 0,
    badSpark: [],
    ...parts,
  };
}

Deno.test("needleOf() shows the probes of the ring, and the one and the point that explain names", () => {
  assertEquals(PROBES, RING_PROBES);
  const story = new Story({ start: START });
  fc.assert(fc.property(fc.ipV4(), (client) => {
    const explanation = story.explain(client);
    const { probes, best, server } = needleOf(explanation);
    assertEquals([probes.length, server], [RING_PROBES, explanation.server]);
    assertEquals(best!.probe, probes[explanation.probe!]);
    assertEquals(Math.round(best!.point * 2 ** 32).toString(16).padStart(8, "0"), explanation.point);
    assertAlmostEquals((best!.point - best!.probe + 1) % 1, explanation.distance!, 1e-9);
  }));
});

Deno.test("needleOf() has no hand where no ring decides", () => {
  assertEquals(needleOf({ hash: "0".repeat(16), probe: null, point: null, server: "a:1" }), {
    probes: [],
    best: null,
    server: "a:1",
  });
});

Deno.test("slicesOf() cuts the circle by shares, in the order of names", () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 80 }), (weights) => {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const rows = weights.map((weight, i) => rowOf(`10.0.0.${i}:80`, weight / total));
    const slices = slicesOf(rows.toReversed());
    assertEquals(slices.map(({ server }) => server), rows.map(({ server }) => server));
    let before = 0;
    for (const { from, to } of slices) {
      assert(from >= before - 1e-9 && to <= 1 + 1e-9);
      before = to;
    }
    const gaps = slices[0].from * 2;
    for (const [i, { from, to, share }] of slices.entries()) {
      assertAlmostEquals(to - from, share - gaps, 1e-9);
      if (to > from) assertEquals(sliceAt(slices, (from + to) / 2), slices[i]);
    }
  }));
});

Deno.test("slicesOf() writes on a slice what tells its server from the others", () => {
  const names = (...servers: string[]) =>
    slicesOf(servers.map((server) => rowOf(server, 1 / servers.length))).map(({ name }) => name);
  assertEquals(names("10.0.0.1:80", "10.0.0.12:80"), [".1", ".12"]);
  assertEquals(names("10.0.0.1:80", "10.0.1.1:80"), [".0.1", ".1.1"]);
  assertEquals(names("10.0.0.1:80", "10.0.0.1:81"), [":80", ":81"]);
  assertEquals(names("[::1]:80"), ["[::1]"]);
});

Deno.test("slicesOf() leaves out servers without a share, and is empty without servers", () => {
  assertEquals(slicesOf([]), []);
  assertEquals(slicesOf([rowOf("a:1", NaN), rowOf("b:1", 0.5, { state: "removing" })]), []);
});

Deno.test("takeoversOf() divides the slice of a server that is down among those who take over", () => {
  const story = new Story({ start: START });
  story.kill("10.0.0.3:80");
  const slices = slicesOf(story.servers().servers.map(({ server, share, state }) => rowOf(server, share, { state })));
  const { takenOver } = story.ring();
  const takeovers = takeoversOf(takenOver, slices);
  assertEquals(takeovers.map(({ to, share }) => ({ from: "10.0.0.3:80", to, share })), takenOver as unknown[]);
  const slice = slices.find(({ server }) => server === "10.0.0.3:80")!;
  let begin = slice.from;
  for (const { start, end, to } of takeovers) {
    assertAlmostEquals(start.from, begin, 1e-9);
    begin = start.to;
    const taker = slices.find(({ server }) => server === to)!;
    assert(end.from >= taker.from && end.to <= taker.to);
  }
  assertAlmostEquals(begin, slice.to, 1e-9);
});

Deno.test("outlinesOf() and changedArcs() show what the plan gives away", () => {
  const story = new Story({ start: START });
  const change = { kind: "remove", server: "10.0.0.2:80" } as const;
  const plan = story.plan(change);
  const slices = slicesOf(story.servers().servers.map(({ server, share }) => rowOf(server, share)));
  const { gives, takes } = outlinesOf(plan, slices);
  const slice = slices.find(({ server }) => server === change.server)!;
  assertEquals(gives.length, 1);
  assertAlmostEquals(gives[0].from, slice.from, 1e-3);
  assertEquals(takes.length, 5);
  const ring = story.ring(720, change);
  const changed = changedArcs(ring).reduce((sum, { from, to }) => sum + to - from, 0);
  const owned = ownedArcs(ring.circle).filter(({ server }) => server === change.server).reduce(
    (sum, { from, to }) => sum + to - from,
    0,
  );
  assert(changed >= owned - 1e-9 && changed < owned + 0.1, `${changed} ${owned}`);
});

Deno.test("ownedArcs() covers the circle", () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: -1, max: 3 }), { maxLength: 60 }), (owners) => {
    const arcs = ownedArcs({ servers: ["a", "b", "c", "d"], owners });
    assertAlmostEquals(arcs.reduce((sum, { from, to }) => sum + to - from, 0), owners.length === 0 ? 0 : 1, 1e-9);
    for (const [i, arc] of arcs.entries()) assert(i === 0 || arc.server !== arcs[i - 1].server);
  }));
});
