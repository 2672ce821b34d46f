// The series over real counters, with clocks of its own.

import { LIMITS } from "../../lib/values/config.ts";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { ServerState } from "../../lib/routing/availability.ts";
import { allocateCounters, Counters, MOVABLE_STATES } from "../../lib/observe/counters.ts";
import { SecondClock } from "../../lib/observe/second_clock.ts";
import { type SampledServer, Series, SERIES_BYTES_MAX } from "../../lib/observe/series.ts";
import type { SeriesAnswer, SeriesQuery, Steps } from "../../lib/observe/series_answer.ts";
import { FLOWS_MAX } from "../../lib/observe/series_flows.ts";
import { CUT_FATES } from "../../lib/observe/verdict.ts";
import { BEGIN, FakeClocks } from "./fake_clocks.ts";

const SLOTS = 8;
const ALL: SeriesQuery = { seconds: LIMITS.seriesSeconds, step: 1 };

/** A service with servers, and a series of it. */
class World {
  readonly clocks = new FakeClocks();
  readonly counters: Counters;
  readonly series: Series;
  /** By slot. */
  readonly servers = new Map<number, SampledServer>();
  isThere = true;

  constructor(options: { readonly slots?: number; readonly bytesMax?: number; readonly valuesMax?: number } = {}) {
    this.counters = new Counters(allocateCounters(1, options.slots ?? SLOTS), 1);
    this.series = new Series({ startId: "start", counters: this.counters, clock: new SecondClock(this.clocks), ...options });
  }

  enter(slot: number, server = `server${slot}`, state: ServerState = "up"): void {
    this.servers.set(slot, { server, slot, state });
    this.counters.clearSlot(slot);
  }

  leave(slot: number): void {
    this.series.serverLeft("web", this.servers.get(slot)!.server, slot);
    this.servers.delete(slot);
  }

  sample(): void {
    this.series.sample(this.isThere ? [{ service: "web", index: 0, servers: [...this.servers.values()] }] : []);
  }

  /** Time passes, and then a sample is taken. */
  tick(ms = 1000): void {
    this.clocks.pass(ms);
    this.sample();
  }

  read(query: Partial<SeriesQuery> = {}): SeriesAnswer {
    return this.series.read({ ...ALL, ...query });
  }
}

function sum(steps: Steps | undefined): number {
  return steps!.reduce<number>((total, count) => total + (count ?? 0), 0);
}

Deno.test("the series has what the counters counted in each second", () => {
  const world = new World();
  world.enter(0);
  world.tick();
  world.counters.addAccepted(0, 0);
  world.counters.addConnect(0, 0.001);
  world.counters.raiseOf(0, "serverOpen");
  world.counters.addTo(0, "sentBytes", 10);
  world.tick();
  world.counters.addTo(0, "receivedBytes", 20);
  world.counters.addTo(0, "connectFailures");
  world.counters.addFate("server_lost", 0, 0);
  world.counters.lowerOpen(0, 0);
  world.counters.raiseOf(0, "serverOpen", -1);
  world.servers.set(0, { server: "server0", slot: 0, state: "down" });
  world.tick();
  const none = { unsent: [0, 0, 0], unanswered: [0, 0, 0], idle: [0, 0, 0] };
  assertEquals(world.read(), {
    startId: "start",
    from: BEGIN,
    step: 1,
    steps: 3,
    services: [{ service: "web", accepted: [0, 1, 0], open: [0, 1, 0], fates: { server_lost: [0, 0, 1] } }],
    servers: [{
      service: "web",
      server: "server0",
      states: [[0, "up"], [2, "down"]],
      open: [0, 1, 0],
      opened: [0, 1, 0],
      sentBytes: [0, 10, 0],
      receivedBytes: [0, 0, 20],
      failures: [0, 0, 1],
      connectP50Ms: [null, 0.987, null],
      connectP99Ms: [null, 0.987, null],
      movedIn: none,
      movedAway: none,
      cut: [[2, 1]],
    }],
    flows: [],
  });
});

Deno.test("only whole seconds are given, and whoever asks for what comes after a second gets the next one once it is over", () => {
  const world = new World();
  world.enter(0);
  assertEquals(world.read(), { startId: "start", from: BEGIN, step: 1, steps: 0, services: [], servers: [], flows: [] });
  world.tick(999);
  assertEquals(world.read().steps, 0);
  world.tick(1);
  assertEquals([world.read().from, world.read().steps], [BEGIN, 1]);
  assertEquals(world.read({ after: BEGIN }).steps, 0);
  world.tick();
  const next = world.read({ after: BEGIN });
  assertEquals([next.from, next.steps], [BEGIN + 1, 1]);
});

Deno.test("moves are counted at both servers by their state, and as flows", () => {
  const world = new World();
  for (const slot of [0, 1, 2]) world.enter(slot);
  world.tick();
  for (const [from, to, state] of [[0, 1, "idle"], [0, 1, "idle"], [0, 2, "unanswered"]] as const) {
    world.counters.addMove(from, to, state);
    world.series.moved({ service: "web", from: `server${from}`, to: `server${to}`, state });
  }
  world.tick();
  const { servers, flows } = world.read();
  assertEquals(servers[0].movedAway, { unsent: [0, 0], unanswered: [0, 1], idle: [0, 2] });
  assertEquals(servers[1].movedIn, { unsent: [0, 0], unanswered: [0, 0], idle: [0, 2] });
  assertEquals(flows, [
    { at: 1, service: "web", from: "server0", to: "server1", state: "idle", count: 2 },
    { at: 1, service: "web", from: "server0", to: "server2", state: "unanswered", count: 1 },
  ]);
  assertEquals(world.read({ servers: ["server2"] }).flows.length, 1);
  assertEquals(world.read({ service: "db" }).flows, []);
});

Deno.test("connections that were cut are those of their server, in the steps in which they were", () => {
  const world = new World();
  for (const slot of [0, 1]) world.enter(slot);
  world.tick();
  for (const fate of [...CUT_FATES, ...CUT_FATES]) world.counters.addFate(fate, 0, 0);
  world.counters.addFate("done", 0, 1);
  world.tick();
  world.counters.addFate("server_lost", 0, 0);
  world.leave(0);
  world.tick();
  const cuts = (step: number) => world.read({ step, fields: ["cut"] }).servers.map(({ cut }) => cut);
  assertEquals(cuts(1), [[[1, 2 * CUT_FATES.length], [2, 1]], []]);
  assertEquals(sum(cuts(3)[0]!.map(([, count]) => count)), 2 * CUT_FATES.length + 1);
});

Deno.test("a step of several seconds begins at a multiple of its length: counts add up, and the last state and open count", () => {
  const world = new World();
  world.enter(0);
  for (let second = 0; second < 10; second++) {
    world.counters.addConnect(0, second === 5 ? 1 : 0.001);
    world.counters.raiseOf(0, "serverOpen");
    if (second === 7) world.servers.set(0, { server: "server0", slot: 0, state: "draining" });
    world.tick();
  }
  const { from, step, steps, servers: [server] } = world.read({ step: 5, fields: ["opened", "open", "states", "connectP99Ms"] });
  assertEquals({ from, step, steps }, { from: BEGIN, step: 5, steps: 2 });
  assertEquals(server, {
    service: "web",
    server: "server0",
    opened: [5, 5],
    open: [5, 10],
    states: [[0, "up"], [1, "draining"]],
    connectP99Ms: [0.987, server.connectP99Ms![1]],
  });
  assert(Math.abs(server.connectP99Ms![1]! / 1000 - 1) < 0.1);
  world.tick();
  assertEquals(world.read({ step: 5 }).steps, 2);
  assertEquals(world.read({ step: 4, seconds: 9 }).from % 4, 0);
});

Deno.test("a server that has left is null from then on; its last counts are kept, and it is forgotten after 15 minutes", () => {
  const world = new World();
  world.enter(0);
  world.tick();
  world.counters.addTo(0, "sentBytes", 7);
  world.leave(0);
  world.enter(0, "another"); // in the same slot
  world.counters.addTo(0, "sentBytes", 5);
  world.tick();
  world.tick();
  const fields = ["sentBytes", "states"] as const;
  assertEquals(world.read({ fields }).servers, [
    { service: "web", server: "another", sentBytes: [null, 5, 0], states: [[0, null], [1, "up"]] },
    { service: "web", server: "server0", sentBytes: [0, 7, null], states: [[0, "up"], [2, null]] },
  ]);
  for (let second = 0; second < LIMITS.seriesSeconds; second++) world.tick();
  assertEquals(world.read().servers.map(({ server }) => server), ["another"]);
});

Deno.test("a server that comes back has one line", () => {
  const world = new World();
  world.enter(0);
  world.tick();
  world.leave(0);
  world.tick();
  world.tick();
  world.enter(3, "server0");
  world.counters.addTo(3, "sentBytes", 5);
  world.tick();
  assertEquals(world.read({ fields: ["sentBytes"] }).servers, [{ service: "web", server: "server0", sentBytes: [0, 0, null, 5] }]);
});

Deno.test("a service that has left keeps its last counts, and another one with its index begins at zero", () => {
  const world = new World();
  world.counters.addAccepted(0, 0);
  world.tick();
  world.counters.addAccepted(0, 0);
  world.series.serviceLeft("web", 0);
  world.isThere = false;
  world.counters.clearService(0);
  world.tick();
  assertEquals([world.series.hasService("web"), world.series.hasService("db")], [true, false]);
  assertEquals(world.read().services, [{ service: "web", accepted: [1, 1], open: [1, 2], fates: {} }]);
});

Deno.test("what was counted in seconds without a sample is spread over them", () => {
  const world = new World();
  world.enter(0);
  world.tick();
  world.counters.addTo(0, "sentBytes", 10);
  world.counters.addConnect(0, 0.001);
  world.tick(3000);
  const { steps, servers: [server] } = world.read();
  assertEquals([steps, server.sentBytes, server.opened], [4, [0, 3, 3, 4], [0, 0, 0, 1]]);
});

Deno.test("a clock that is set forward leaves a gap; one that is set back moves what was just now along", () => {
  const world = new World();
  world.enter(0);
  const count = (bytes: number) => {
    world.counters.addTo(0, "sentBytes", bytes);
    world.tick();
  };
  count(1);
  world.clocks.set(3000);
  count(2);
  assertEquals(world.read().servers[0].sentBytes, [1, null, null, null, 2]);
  world.clocks.set(-3600_000);
  count(3);
  const { from, steps, servers } = world.read();
  assertEquals([from + steps, servers[0].sentBytes], [BEGIN + 6 - 3600, [1, null, null, null, 2, 3]]);
  // Whoever has a second of before is told everything.
  assertEquals(world.read({ after: BEGIN + 4 }).steps, 6);
});

Deno.test("a clock that is set forward by more than there is to keep leaves nothing but the newest second", () => {
  const world = new World();
  world.enter(0);
  world.counters.addTo(0, "sentBytes", 1);
  world.tick();
  world.clocks.set(86_400_000);
  world.counters.addTo(0, "sentBytes", 2);
  world.tick();
  const { from, steps, servers } = world.read();
  assertEquals([from + steps, sum(servers[0].sentBytes)], [BEGIN + 86_402, 2]);
  assertEquals(steps, LIMITS.seriesSeconds);
});

/** What may happen between two samples. */
const HAPPENINGS = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("connect" as const), slot: fc.nat(SLOTS - 1), ms: fc.nat(2000) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("bytes" as const), slot: fc.nat(SLOTS - 1), bytes: fc.nat(1e9) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("accept" as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("end" as const), fate: fc.constantFrom("done", "server_lost") }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("move" as const),
      slot: fc.nat(SLOTS - 1),
      to: fc.nat(SLOTS - 1),
      state: fc.constantFrom(...MOVABLE_STATES),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("cut" as const),
      slot: fc.nat(SLOTS - 1),
      fate: fc.constantFrom("server_lost" as const, "removed" as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("leave" as const), slot: fc.nat(SLOTS - 1) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("enter" as const), slot: fc.nat(SLOTS - 1), name: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("set" as const), ms: fc.integer({ min: -50_000, max: 50_000 }) }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("sample" as const), ms: fc.nat(4000) }) },
);
type Happening = typeof HAPPENINGS extends fc.Arbitrary<infer T> ? T : never;

/** What was counted in all. */
class Totals {
  readonly counts = new Map<string, number>();

  add(name: string, count = 1): void {
    if (count > 0) this.counts.set(name, (this.counts.get(name) ?? 0) + count);
  }
}

function happen(world: World, totals: Totals, it: Happening): void {
  const { counters, servers } = world;
  const name = "slot" in it ? servers.get(it.slot)?.server : undefined;
  switch (it.kind) {
    case "accept":
      counters.addAccepted(0, 0);
      return totals.add("accepted");
    case "end":
      counters.addFate(it.fate as "done", 0);
      return totals.add(it.fate);
    case "set":
      return world.clocks.set(it.ms);
    case "sample":
      return world.tick(it.ms);
    case "enter":
      if (name === undefined && ![...servers.values()].some(({ server }) => server === `s${it.name}`)) {
        world.enter(it.slot, `s${it.name}`);
      }
      return;
  }
  if (name === undefined) return;
  switch (it.kind) {
    case "connect":
      counters.addConnect(it.slot, it.ms / 1000);
      return totals.add(`${name} opened`);
    case "cut":
      counters.addFate(it.fate, 0, it.slot);
      totals.add(it.fate);
      return totals.add(`${name} cut`);
    case "bytes":
      counters.addTo(it.slot, "sentBytes", it.bytes);
      return totals.add(`${name} sentBytes`, it.bytes);
    case "leave":
      return world.leave(it.slot);
    case "move": {
      const to = servers.get(it.to)?.server;
      if (to === undefined) return;
      counters.addMove(it.slot, it.to, it.state);
      world.series.moved({ service: "web", from: name, to, state: it.state });
      totals.add(`${name} movedAway ${it.state}`);
      totals.add(`${to} movedIn ${it.state}`);
      return totals.add(`${name} to ${to} ${it.state}`);
    }
  }
}

/** The sums of an answer, by the same names. */
function totalsOf({ services, servers, flows }: SeriesAnswer): Totals {
  const totals = new Totals();
  for (const { accepted, fates } of services) {
    totals.add("accepted", sum(accepted));
    for (const [fate, counts] of Object.entries(fates)) totals.add(fate, sum(counts));
  }
  for (const { server, opened, sentBytes, movedIn, movedAway, cut } of servers) {
    totals.add(`${server} cut`, sum(cut!.map(([, count]) => count)));
    totals.add(`${server} opened`, sum(opened));
    totals.add(`${server} sentBytes`, sum(sentBytes));
    for (const state of MOVABLE_STATES) {
      totals.add(`${server} movedIn ${state}`, sum(movedIn![state]));
      totals.add(`${server} movedAway ${state}`, sum(movedAway![state]));
    }
  }
  for (const { from, to, state, count } of flows) totals.add(`${from} to ${to} ${state}`, count);
  return totals;
}

function assertSums(world: World, happenings: readonly Happening[]): void {
  const totals = new Totals();
  world.tick();
  for (const it of happenings) happen(world, totals, it);
  world.tick(1000 * world.series.step);
  world.tick(1000 * world.series.step);
  const step = world.series.step;
  for (const asked of [1, 3, 7]) {
    const answer = world.read({ step: asked });
    assertEquals(answer.from % answer.step, 0);
    if (asked > 1) continue; // a step that is not over is left out
    assertEquals(answer.step, step);
    assertEquals(new Map([...totalsOf(answer).counts].toSorted()), new Map([...totals.counts].toSorted()));
  }
}

Deno.test("the series adds up to the counters and the flows to the moves, whatever clocks, servers and samples do", () => {
  fc.assert(
    fc.property(fc.array(HAPPENINGS, { maxLength: 120 }), (happenings) => {
      // All within the rows that are kept: at most a jump per eight samples of four seconds.
      assertSums(new World(), happenings.filter((it, at) => it.kind !== "set" || at % 12 === 0));
    }),
    { numRuns: 200 },
  );
});

Deno.test("rows that become longer, for want of memory, lose nothing", () => {
  fc.assert(
    fc.property(fc.array(HAPPENINGS, { maxLength: 120 }), fc.integer({ min: 60, max: 400 }), (happenings, rowBytes) => {
      assertSums(new World({ bytesMax: rowBytes * LIMITS.seriesSeconds }), happenings.filter(({ kind }) => kind !== "set"));
    }),
    { numRuns: 200 },
  );
});

Deno.test("the rows of 1,000 servers have a second each and less than 54 MB; those of all that there may be are longer", () => {
  for (const [servers, step] of [[1000, 1], [1100, 2], [16_384, 32]]) {
    const world = new World({ slots: servers });
    for (let slot = 0; slot < servers; slot++) world.servers.set(slot, { server: `server${slot}`, slot, state: "up" });
    world.tick();
    for (let slot = 0; slot < servers; slot++) world.counters.addMove(slot, (slot + 1) % servers, "idle");
    world.tick();
    assertEquals(world.series.step, step);
    assert(world.series.bytes <= SERIES_BYTES_MAX, `${world.series.bytes}`);
  }
});

Deno.test("servers that come and go every second are forgotten before rows become longer", () => {
  const world = new World({ slots: 2, bytesMax: 20 * 59 * LIMITS.seriesSeconds });
  for (let second = 0; second < 200; second++) {
    world.enter(second % 2, `server${second}`);
    world.tick();
    world.leave(second % 2);
  }
  assertEquals(world.series.step, 1);
  const { servers } = world.read();
  assert(servers.length >= 15 && servers.length <= 20, `${servers.length}`);
  assert(servers.some(({ server }) => server === "server199"));
});

Deno.test("an answer has at most so many numbers: with more servers its steps are longer", () => {
  const world = new World({ slots: 100, valuesMax: 1000 });
  for (let slot = 0; slot < 100; slot++) world.enter(slot);
  for (let second = 0; second < 60; second++) world.tick();
  const { step, servers } = world.read({ seconds: 60, fields: ["open"] });
  assertEquals([step, servers.length, servers[0].open!.length <= 10], [6, 100, true]);
  assertEquals(world.read({ seconds: 60, fields: ["open"], servers: ["server7"] }).step, 1);
});

Deno.test("flows beyond their number are dropped, the oldest first", () => {
  const world = new World();
  for (let second = 0; second < 4; second++) {
    for (let flow = 0; flow < FLOWS_MAX / 2; flow++) {
      world.series.moved({ service: "web", from: `from${flow}`, to: `to${second}`, state: "idle" });
    }
    world.tick();
  }
  const { flows } = world.read();
  assertEquals(flows.length, FLOWS_MAX);
  assertEquals(new Set(flows.map(({ to }) => to)), new Set(["to2", "to3"]));
});

Deno.test("the next sample is due when the next second begins", () => {
  const world = new World();
  assertEquals(world.series.dueInMs(), 1000);
  world.clocks.pass(300);
  assertEquals(world.series.dueInMs(), 700);
});
