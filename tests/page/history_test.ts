// The page's memory of the last 15 minutes: the same whatever pieces it is told in.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Series } from "../../lib/page/model/contract.ts";
import { History, SECONDS } from "../../lib/page/model/history.ts";
import { Story } from "./story.ts";

const START = 1_795_336_200;

function seriesOf(parts: Partial<Series>): Series {
  return { startId: "a", from: START, step: 1, steps: 1, services: [], servers: [], flows: [], ...parts };
}

/** A story of 200 seconds in which a server is lost and comes back. */
function story(): Story {
  const story = new Story({ start: START, servers: 4, open: 800 });
  story.pass(60);
  story.kill("10.0.0.2:80");
  story.pass(70);
  story.revive("10.0.0.2:80");
  story.pass(70);
  return story;
}

/** A part of a series of single seconds. */
function cut(series: Series, from: number, to: number): Series {
  const part = <T>(column: T[]) => column.slice(from, to);
  const moves = (columns: Record<string, (number | null)[]> | undefined) =>
    Object.fromEntries(Object.entries(columns ?? {}).map(([state, column]) => [state, part(column)]));
  return {
    ...series,
    from: series.from + from,
    steps: to - from,
    services: series.services.map((service) => ({
      ...service,
      accepted: part(service.accepted),
      open: part(service.open),
      fates: Object.fromEntries(Object.entries(service.fates).map(([fate, column]) => [fate, part(column!)])),
    })),
    servers: series.servers.map((server) => {
      const states = server.states!.filter(([at]) => at < to);
      const before = states.findLast(([at]) => at <= from);
      const later = states.filter(([at]) => at > from).map(([at, state]) => [at - from, state] as [number, typeof state]);
      return {
        ...server,
        states: [...(before === undefined ? [] : [[0, before[1]] as [number, typeof before[1]]]), ...later],
        open: part(server.open!),
        opened: part(server.opened!),
        sentBytes: part(server.sentBytes!),
        receivedBytes: part(server.receivedBytes!),
        failures: part(server.failures!),
        connectP50Ms: part(server.connectP50Ms!),
        connectP99Ms: part(server.connectP99Ms!),
        movedIn: moves(server.movedIn) as typeof server.movedIn,
        movedAway: moves(server.movedAway) as typeof server.movedAway,
        cut: server.cut!.filter(([at]) => at >= from && at < to).map(([at, count]) => [at - from, count] as [number, number]),
      };
    }),
    flows: series.flows.filter(({ at }) => at >= from && at < to).map((flow) => ({ ...flow, at: flow.at - from })),
  };
}

Deno.test("History.absorb() comes to the same in one piece, in pieces, and in pieces that overlap or come late", () => {
  const whole = story().series();
  const expected = new History("default");
  expected.absorb(whole);
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 199 }), { maxLength: 6 }),
      fc.nat({ max: 20 }),
      fc.boolean(),
      (cuts, overlap, isLate) => {
        const places = [0, ...new Set(cuts.toSorted((a, b) => a - b)), whole.steps];
        const pieces = places.slice(1).map((to, i) => cut(whole, Math.max(0, places[i] - overlap), to));
        const history = new History("default");
        for (const piece of isLate ? [pieces.at(-1)!, ...pieces.slice(0, -1)] : pieces) history.absorb(piece);
        assertEquals(history.toData(), expected.toData());
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("History.absorb() knows what the series says", () => {
  const told = story();
  const series = told.series();
  const history = new History("default");
  history.absorb(series);
  assertEquals(history.newest, told.now);
  for (const { server, open, opened, movedAway } of series.servers) {
    for (let i = 0; i < series.steps; i++) {
      assertEquals(history.valueAt(server, "open", series.from + i), open![i]);
      assertEquals(history.valueAt(server, "away:idle", series.from + i), movedAway!.idle[i]);
    }
    assertEquals(
      history.sumOf(server, "opened", told.now, SECONDS),
      opened!.reduce<number>((sum, number) => sum + (number ?? 0), 0),
    );
  }
  assertEquals(history.stateAt("10.0.0.2:80", START + 61)?.state, "down");
  assertEquals(history.stateAt("10.0.0.2:80", START + 60)?.state, "up");
  assertEquals(history.stateAt("10.0.0.2:80", told.now)?.state, "up");
});

Deno.test("History spreads a count of a long step over its seconds, and holds other values", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60 }),
      fc.array(fc.nat({ max: 10_000 }), { minLength: 1, maxLength: 15 }),
      (step, counts) => {
        const history = new History("s");
        const accepted = counts;
        history.absorb(
          seriesOf({ step, steps: counts.length, services: [{ service: "s", accepted, open: counts, fates: { done: counts } }] }),
        );
        const total = counts.reduce((sum, count) => sum + count, 0);
        assertAlmostEquals(history.ended("done", history.newest, SECONDS), total, 0.01 + total / 1e5);
        assertEquals(history.openAt(START), counts[0]);
        assertEquals(history.openAt(history.newest), counts.at(-1));
      },
    ),
  );
});

Deno.test("History forgets what is older than 15 minutes, and servers of which nothing is left", () => {
  const history = new History("s");
  const at = (second: number, servers: string[]) =>
    seriesOf({
      from: second,
      services: [{ service: "s", accepted: [1], open: [1], fates: {} }],
      servers: servers.map((server) => ({ service: "s", server, open: [5], states: [[0, "up"]] })),
      flows: [{ at: 0, service: "s", from: "a", to: "b", state: "idle", count: 1 }],
    });
  history.absorb(at(START, ["a", "b"]));
  for (let second = START + 1; second < START + SECONDS + 61; second++) history.absorb(at(second, ["b"]));
  assertEquals(history.servers, ["b"]);
  assertEquals(history.acceptedAt(START), NaN);
  assertEquals(history.valueAt("b", "open", START), NaN);
  assertEquals(history.flows.length, SECONDS);
  assertEquals(history.ended("done", history.newest, SECONDS), 0);
});

Deno.test("History begins anew with another start of the daemon", () => {
  const history = new History("s");
  const services = [{ service: "s", accepted: [7], open: [7], fates: { done: [3] } }];
  history.absorb(seriesOf({ services, servers: [{ service: "s", server: "a", open: [7] }] }));
  history.absorb(seriesOf({ startId: "b", from: START + 5, services: [{ service: "s", accepted: [1], open: [1], fates: {} }] }));
  assertEquals(history.servers, []);
  assertEquals(history.acceptedAt(START), NaN);
  assertEquals(history.acceptedAt(START + 5), 1);
  assertEquals(history.fates, []);
});

Deno.test("History does not take what is of another service, nor an empty series", () => {
  const history = new History("s");
  history.absorb(seriesOf({ steps: 0 }));
  assertEquals(history.newest, 0);
  history.absorb(seriesOf({ servers: [{ service: "other", server: "a", open: [7] }] }));
  assertEquals(history.servers, []);
});

Deno.test("seconds that nobody told of are unknown, and no zero", () => {
  const history = new History("s");
  const server = { service: "s", server: "a", open: [4], opened: [0], connectP99Ms: [null] };
  history.absorb(seriesOf({ servers: [server] }));
  history.absorb(seriesOf({ from: START + 3, servers: [server] }));
  assertEquals([0, 1, 2, 3].map((i) => history.valueAt("a", "open", START + i)), [4, NaN, NaN, 4]);
  assertEquals(history.valueAt("a", "opened", START), 0);
  assertEquals(history.valueAt("a", "opened", START + 1), NaN);
  assertEquals(history.maxOf("a", "connectP99Ms", START + 3, 10), NaN);
  assert(!history.existsAt("a", START + 1));
});
