// A plan says what the change then does: to clients by the ring, to open connections by the rules of redistribution.

import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import fc from "fast-check";
import { type KeyRule, parseAddress, parseKeyRule } from "../../lib/values/address.ts";
import { LEVELS } from "../../lib/values/config.ts";
import type { OpenConnection } from "../../lib/engine/engine.ts";
import type { Flow } from "../../lib/routing/flows.ts";
import { type Outcome, OUTCOMES, type PlannedConnection } from "../../lib/routing/forecast.ts";
import { type Plan, planChange, type PoolChange } from "../../lib/routing/plan.ts";
import { decide, FACT, type RedistributionPolicy, stateOf } from "../../lib/routing/redistribution.ts";
import { buildRing, firstOnRing, peakToMean, type Ring, type RingServer, ringShares } from "../../lib/routing/ring.ts";
import type { Load } from "../../lib/routing/route.ts";
import { newTurns } from "../../lib/routing/candidates.ts";
import { emptyTable, nextTable, type RoutingTable } from "../../lib/routing/routing_table.ts";
import { packTiers, type TierRange } from "../../lib/routing/tiers.ts";
import type { Policy } from "../../lib/values/config.ts";
import { AVAILABILITY } from "../../lib/routing/availability.ts";
import { openConnection } from "../helpers.ts";

const POLICY: RedistributionPolicy = { redistribute: "idle", quietMs: 250, replaysMax: 1, replayBytesMax: 65_536 };
/** Nobody has a connection, and all servers are up. */
const FREE: Load = {
  open: 0,
  unavailableWeight: 0,
  tiersInUse: 0,
  turns: newTurns(() => 0.5),
  openOf: () => 0,
  availabilityOf: () => AVAILABILITY.full,
};
const MAY_FINISH = "may finish, and is reset when the drain time ends";
const TRIES_OTHERS = "tries servers that are down when the drain time ends";

/** A table of these servers; a server's slot is its place here. */
function tableOf(servers: readonly RingServer[], key: KeyRule = parseKeyRule("ip")): RoutingTable {
  const rows = servers.map(({ name, weight }, slot) => (
    { name, weight, address: parseAddress(name), connectionsMax: Infinity, slot }
  ));
  return nextTable(emptyTable(key, 1.25), rows);
}

/** `count` servers of weight 1 in one network. */
function pool(count: number): RingServer[] {
  return Array.from({ length: count }, (_, i) => ({ name: `10.0.${i >> 8}.${i & 255}:80`, weight: 1 }));
}

function ipOf(client: number): Uint8Array {
  return Uint8Array.of(client >>> 24, client >>> 16, client >>> 8, client);
}

/** A connection of the client with this number; it was not used yet. */
function connectionOf(slot: number, client: number, known: Partial<PlannedConnection> = {}): PlannedConnection {
  return { slot, facts: 0, quietForMs: 0, replays: 0, ip: ipOf(client), port: 5000, ...known };
}

function plan(servers: readonly RingServer[], change: PoolChange, connections: Iterable<PlannedConnection> = []): Plan {
  return planChange({ table: tableOf(servers), change, policy: POLICY, load: FREE, connections });
}

/** The pool after the change, told in another way than the plan's own. */
function applied(servers: readonly RingServer[], change: PoolChange): RingServer[] {
  switch (change.kind) {
    case "add":
      return [...servers, { name: change.server, weight: change.weight }];
    case "remove":
      return servers.filter(({ name }) => name !== change.server);
    case "weight":
      return servers.map((server) => server.name === change.server ? { ...server, weight: change.weight } : server);
  }
}

function ownerName(ring: Ring, key: Uint8Array): string | null {
  return ring.serverCount === 0 ? null : ring.servers[firstOnRing(ring, key)].name;
}

function nameOf(server: number): string {
  return `10.0.0.${server}:80`;
}

const NEW = nameOf(99);
const anyWeight = fc.integer({ min: 1, max: 3 });
const anyPool = fc.array(anyWeight, { maxLength: 7 }).map((weights) => weights.map((weight, i) => ({ name: nameOf(i), weight })));
const anyKeys = fc.array(fc.nat(2 ** 32 - 1), { minLength: 1, maxLength: 40 });

/** Enough, as every run makes several rings. */
const RUNS = { numRuns: 40 };

/** A pool and a change that is possible there. */
const anyChange = anyPool.chain((servers) => {
  const add = fc.record({ kind: fc.constant("add" as const), server: fc.constant(NEW), weight: anyWeight });
  const change: fc.Arbitrary<PoolChange> = servers.length === 0 ? add : fc.constantFrom(...servers).chain(({ name }) =>
    fc.oneof(
      add,
      fc.constant({ kind: "remove" as const, server: name }),
      anyWeight.map((weight) => ({ kind: "weight" as const, server: name, weight })),
    )
  );
  return fc.record({ servers: fc.constant(servers), change });
});

Deno.test("planChange() names only flows to or from the changed server, and every client that moves is in one of them", () => {
  fc.assert(
    fc.property(anyChange, anyKeys, ({ servers, change }, clients) => {
      const { flows } = plan(servers, change);
      for (const { from, to } of flows) assert(from !== to && (from === change.server) !== (to === change.server));
      const before = buildRing(servers);
      const after = buildRing(applied(servers, change));
      for (const client of clients) {
        const from = ownerName(before, ipOf(client));
        const to = ownerName(after, ipOf(client));
        assert(from === to || flows.some((flow) => flow.from === from && flow.to === to), `${from} to ${to} is not in the plan`);
      }
    }),
    RUNS,
  );
});

Deno.test("planChange() moves as much as the changed server's share changes by, in flows of which the greatest is first", () => {
  fc.assert(
    fc.property(anyChange, ({ servers, change }) => {
      const { movedShare, flows } = plan(servers, change);
      const shareIn = (servers: RingServer[]) => {
        const ring = buildRing(servers);
        return ringShares(ring)[ring.servers.findIndex(({ name }) => name === change.server)] ?? 0;
      };
      assertAlmostEquals(movedShare!, Math.abs(shareIn(applied(servers, change)) - shareIn(servers)), 1e-6);
      assertAlmostEquals(movedShare!, flows.reduce((sum, { share }) => sum + share, 0), 1e-9);
      for (const [i, { share }] of flows.entries()) assert(share > 0 && share <= (flows[i - 1]?.share ?? 1));
    }),
    RUNS,
  );
});

Deno.test("planChange() gives the servers and the evenness that the pool then has", () => {
  const peakOf = (servers: RingServer[]) => {
    const ring = buildRing(servers);
    return peakToMean(ring, ringShares(ring));
  };
  fc.assert(
    fc.property(anyChange, ({ servers, change }) => {
      const next = applied(servers, change);
      const planned = plan(servers, change);
      assertEquals(planned.change, change);
      assertEquals(planned.servers, { before: servers.length, after: next.length });
      assertEquals(planned.peakToMean, { before: peakOf(servers), after: peakOf(next) });
    }),
    RUNS,
  );
});

const CHANGES: [string, PoolChange][] = [
  ["adding a server", { kind: "add", server: NEW, weight: 2 }],
  ["removing a server", { kind: "remove", server: nameOf(1) }],
  ["raising a weight", { kind: "weight", server: nameOf(2), weight: 3 }],
  ["lowering a weight", { kind: "weight", server: nameOf(4), weight: 1 }],
];

for (const [what, change] of CHANGES) {
  Deno.test(`planChange() of ${what} foretells where 50,000 clients go`, () => {
    const servers = pool(5).map((server, i) => i === 4 ? { ...server, weight: 3 } : server);
    const before = buildRing(servers);
    const after = buildRing(applied(servers, change));
    const moved = new Map<string, number>();
    for (let client = 0; client < 50_000; client++) {
      const [from, to] = [ownerName(before, ipOf(client)), ownerName(after, ipOf(client))];
      if (from !== to) moved.set(`${from} ${to}`, (moved.get(`${from} ${to}`) ?? 0) + 1);
    }
    const { flows } = plan(servers, change);
    assertEquals(new Set(flows.map(({ from, to }) => `${from} ${to}`)), new Set(moved.keys()));
    for (const { from, to, share } of flows) assertAlmostEquals(moved.get(`${from} ${to}`)! / 50_000, share, 0.004);
  });
}

const ENDS: [string, RingServer[], PoolChange, Flow[]][] = [
  ["the first server", [], { kind: "add", server: NEW, weight: 1 }, [{ from: null, to: NEW, share: 1 }]],
  ["the last server's removal", pool(1), { kind: "remove", server: nameOf(0) }, [{ from: nameOf(0), to: null, share: 1 }]],
  ["the only server's weight", pool(1), { kind: "weight", server: nameOf(0), weight: 7 }, []],
  ["a weight that stays", pool(3), { kind: "weight", server: nameOf(0), weight: 1 }, []],
];

for (const [what, servers, change, flows] of ENDS) {
  Deno.test(`planChange() of ${what} moves ${flows.length === 0 ? "nobody" : "everybody"}`, () => {
    assertEquals(plan(servers, change).flows, flows);
    assertEquals(plan(servers, change).movedShare, flows.length);
  });
}

const { sent, answered, awaitingAnswer, recorded, tls, pinned, moving, clientEnded } = FACT;
const ASKS = sent | awaitingAnswer | recorded;
const HEARD = sent | answered;

type Row = [
  what: string,
  level: RedistributionPolicy["redistribute"],
  facts: number,
  quietForMs: number,
  state: string,
  outcome: string,
];

const LEAVING: Row[] = [
  ["that has sent nothing", "new", 0, 0, "unsent", "moves"],
  ["that waits for its first answer", "unanswered", ASKS, 250, "unanswered", "is replayed"],
  ["that has just asked", "unanswered", ASKS, 249, "unanswered", "is replayed once it is quiet"],
  ["that waits for an answer, at level new", "new", sent | awaitingAnswer, 1000, "unanswered", MAY_FINISH],
  ["that said too much to be kept", "unanswered", sent | awaitingAnswer, 1000, "unanswered", MAY_FINISH],
  ["that said too much, and may move afterwards", "idle", sent | awaitingAnswer, 1000, "unanswered", "moves once it is quiet"],
  ["between two exchanges", "idle", HEARD, 250, "idle", "moves"],
  ["between two exchanges, at level unanswered", "unanswered", HEARD, 250, "idle", MAY_FINISH],
  ["that was just answered", "idle", HEARD, 249, "busy", "moves once it is quiet"],
  ["in the middle of an answer", "idle", HEARD | moving, 0, "busy", "moves once it is quiet"],
  ["that asks again without a pause", "idle", HEARD | awaitingAnswer, 1000, "busy", "moves once it is quiet"],
  ["in the middle of an answer, at level unanswered", "unanswered", HEARD | moving, 0, "busy", MAY_FINISH],
  ["whose client has ended", "idle", HEARD | clientEnded, 1000, "busy", MAY_FINISH],
  ["whose server spoke first", "idle", answered | pinned, 1000, "idle", MAY_FINISH],
  ["in TLS before its first answer", "idle", ASKS | tls, 1000, "unanswered", "is replayed"],
  ["in TLS that cannot be said again", "idle", sent | awaitingAnswer | tls, 1000, "unanswered", MAY_FINISH],
];

for (const [what, level, facts, quietForMs, state, outcome] of LEAVING) {
  Deno.test(`planChange() of a removal: a connection ${what} ${outcome}`, () => {
    const connections = [connectionOf(1, 7, { facts, quietForMs }), connectionOf(0, 8, { facts, quietForMs })];
    const change: PoolChange = { kind: "remove", server: nameOf(1) };
    const planned = planChange({
      table: tableOf(pool(2)),
      change,
      policy: { ...POLICY, redistribute: level },
      load: FREE,
      connections,
    });
    assertEquals<unknown>(planned.connections, [{ state, count: 1, outcome }]);
  });
}

Deno.test("planChange() of a removal: what was replayed as often as it may be is not replayed again", () => {
  const connections = [connectionOf(0, 7, { facts: ASKS | tls, quietForMs: 1000, replays: 1 })];
  const planned = plan(pool(2), { kind: "remove", server: nameOf(0) }, connections);
  assertEquals(planned.connections, [{ state: "unanswered", count: 1, outcome: MAY_FINISH }]);
});

/** Five connections of server 0, which is removed: what the other two have room for, how they fare otherwise, and the outcomes. */
const FULL: [
  name: string,
  limits: [number, number],
  open: [number, number],
  availabilities: [number, number],
  outcomes: [number, Outcome][],
][] = [
  ["with room for all", [9, 9], [5, 5], [0, 0], [[5, "moves"]]],
  ["with room for three", [9, 9], [8, 7], [0, 0], [[3, "moves"], [2, MAY_FINISH]]],
  ["that are full", [9, 9], [9, 9], [0, 0], [[5, MAY_FINISH]]],
  ["of which the one with room is draining", [9, 9], [9, 0], [0, AVAILABILITY.draining], [[5, MAY_FINISH]]],
  ["of which the one with room for four is down", [9, 9], [9, 5], [0, AVAILABILITY.fallback], [[4, TRIES_OTHERS], [1, MAY_FINISH]]],
  ["that are down", [9, 9], [0, 0], [AVAILABILITY.fallback, AVAILABILITY.fallback], [[5, TRIES_OTHERS]]],
  ["beyond their load bound", [999, 999], [500, 500], [0, 0], [[5, "moves"]]],
  ["that are still ramping up", [9, 9], [0, 0], [AVAILABILITY.none, AVAILABILITY.none], [[5, "moves"]]],
];

for (const [name, limits, open, availabilities, outcomes] of FULL) {
  Deno.test(`planChange() of a removal gives connections to servers ${name} as the move will`, () => {
    const rows = pool(3).map(({ name, weight }, slot) => ({
      name,
      weight,
      address: parseAddress(name),
      connectionsMax: slot === 0 ? Infinity : limits[slot - 1],
      slot,
    }));
    const table = nextTable(emptyTable(parseKeyRule("ip"), 1.25), rows);
    const connections = Array.from({ length: 5 }, (_, client) => connectionOf(0, client * 77));
    const load: Load = {
      ...FREE,
      open: 5 + open[0] + open[1],
      openOf: (slot) => [5, ...open][slot],
      availabilityOf: (slot) => [AVAILABILITY.full, ...availabilities][slot],
    };
    const change: PoolChange = { kind: "remove", server: nameOf(0) };
    const planned = planChange({ table, change, policy: POLICY, load, connections }).connections;
    assertEquals(planned.map(({ count, outcome }) => [count, outcome]), outcomes);
  });
}

Deno.test("planChange() of a weight: nobody goes home to a server that is full", () => {
  const [server, ...others] = pool(2).map(({ name }, slot) => ({
    name,
    weight: 1,
    address: parseAddress(name),
    connectionsMax: 4,
    slot,
  }));
  const table = nextTable(emptyTable(parseKeyRule("ip"), Infinity), [server, ...others]);
  const connections = Array.from({ length: 300 }, (_, client) => connectionOf(1, client));
  const load: Load = { ...FREE, open: 302, openOf: (slot) => [2, 300][slot] };
  const change: PoolChange = { kind: "weight", server: server.name, weight: 200 };
  const planned = planChange({ table, change, policy: POLICY, load, connections }).connections;
  assertEquals(planned.find(({ outcome }) => outcome === "stays, and rebalance moves it to its owner")?.count, 2);
});

Deno.test("planChange() of the last server's removal: its connections have nowhere to go", () => {
  const connections = [connectionOf(0, 1), connectionOf(0, 2, { facts: HEARD, quietForMs: 1000 }), connectionOf(-1, 3)];
  assertEquals(plan(pool(1), { kind: "remove", server: nameOf(0) }, connections).connections, [
    { state: "dialling", count: 1, outcome: "dials by the new table" },
    { state: "unsent", count: 1, outcome: MAY_FINISH },
    { state: "idle", count: 1, outcome: MAY_FINISH },
  ]);
});

const anyConnection = fc.record({
  slot: fc.integer({ min: -1, max: 3 }),
  facts: fc.nat(255),
  quietForMs: fc.constantFrom(0, 249, 250, 1000),
  replays: fc.nat(2),
  ip: fc.nat(2 ** 32 - 1).map(ipOf),
  port: fc.constant(5000),
});
const anyConnections = fc.array(anyConnection, { maxLength: 30 });
const anyLevel = fc.constantFrom(...LEVELS);

Deno.test("planChange() of a removal counts each connection of the server once, and those that go at once as decide() says", () => {
  fc.assert(fc.property(anyConnections, anyLevel, (connections, level) => {
    const policy = { ...POLICY, redistribute: level };
    const change: PoolChange = { kind: "remove", server: nameOf(2) };
    const planned = planChange({ table: tableOf(pool(3)), change, policy, load: FREE, connections }).connections;
    const countOf = (outcome: string) => planned.reduce((sum, group) => sum + (group.outcome === outcome ? group.count : 0), 0);
    const own = connections.filter(({ slot }) => slot === 2);
    const verdicts = own.map(({ facts, quietForMs, replays }) => decide(policy, "drain", facts, quietForMs, replays));
    assertEquals(countOf("moves"), verdicts.filter((verdict) => verdict === "move").length);
    assertEquals(countOf("is replayed"), verdicts.filter((verdict) => verdict === "replay").length);
    assertEquals(countOf("dials by the new table"), connections.filter(({ slot }) => slot === -1).length);
    assertEquals(OUTCOMES.reduce((sum, outcome) => sum + countOf(outcome), 0), own.length + countOf("dials by the new table"));
    assertEquals(countOf("stays"), 0);
  }));
});

Deno.test("planChange() of what is no removal counts connections whose client gets another server, and who may go home", () => {
  const changes = fc.constantFrom<PoolChange>(
    { kind: "add", server: NEW, weight: 2 },
    { kind: "weight", server: nameOf(0), weight: 3 },
  );
  fc.assert(fc.property(anyConnections, anyLevel, changes, (connections, level, change) => {
    const policy = { ...POLICY, redistribute: level };
    const planned = planChange({ table: tableOf(pool(3)), change, policy, load: FREE, connections }).connections;
    const before = buildRing(pool(3));
    const after = buildRing(applied(pool(3), change));
    const hasServer = connections.filter(({ slot }) => slot >= 0 && slot < 3); // 3 is that of a server that was removed before
    const others = hasServer.filter(({ ip }) => ownerName(before, ip) !== ownerName(after, ip));
    for (const state of ["unsent", "unanswered", "idle", "busy"] as const) {
      const alike = others.filter(({ facts, quietForMs }) => stateOf(policy.quietMs, facts, quietForMs) === state);
      const goToOwner = alike.filter(({ slot, facts, quietForMs, replays, ip }) =>
        decide(policy, "rebalance", facts, quietForMs, replays) === "move" && ownerName(after, ip) !== nameOf(slot)
      );
      const count = (outcome: string) => planned.find((group) => group.state === state && group.outcome === outcome)?.count ?? 0;
      assertEquals(count("stays, and rebalance moves it to its owner"), goToOwner.length);
      assertEquals(count("stays"), alike.length - goToOwner.length);
    }
  }));
});

Deno.test("planChange() finds clients by the table's key rule", () => {
  const table = tableOf(pool(2), parseKeyRule("ip:port"));
  const connections = Array.from({ length: 300 }, (_, port) => connectionOf(0, 1, { port }));
  const change: PoolChange = { kind: "add", server: NEW, weight: 1 };
  const load = { ...FREE, open: 1000 }; // so that no load bound is near
  const counts = planChange({ table, change, policy: POLICY, load, connections }).connections.map(({ count }) => count);
  assert(counts.length === 1 && counts[0] > 50 && counts[0] < 150, `${counts}`); // one IP address alone moves with all or none
});

Deno.test("planChange() reads a connection before it asks for the next: engines use one object for all", () => {
  function* connections(): Generator<OpenConnection> {
    const one = openConnection({ ip: ipOf(1) });
    for (const facts of [0, ASKS, 0]) yield Object.assign(one, { facts, quietForMs: 1000, id: one.id + 1 });
    Object.assign(one, { slot: -1 });
  }
  assertEquals(plan(pool(2), { kind: "remove", server: nameOf(0) }, connections()).connections, [
    { state: "unsent", count: 2, outcome: "moves" },
    { state: "unanswered", count: 1, outcome: "is replayed" },
  ]);
});

Deno.test("planChange() copes with 1,000 servers and 10,000 connections", () => {
  const table = tableOf(pool(1000));
  const connections = Array.from({ length: 10_000 }, (_, client) => connectionOf(client % 1000, client));
  const change: PoolChange = { kind: "add", server: "10.9.9.9:80", weight: 200 };
  const { flows, movedShare, connections: planned } = planChange({ table, change, policy: POLICY, load: FREE, connections });
  assertEquals(flows.length, 1000);
  const moved = planned.reduce((sum, { count }) => sum + count, 0);
  assertLess(Math.abs(moved / 10_000 - movedShare!), 0.02);
  assertAlmostEquals(movedShare!, 200 / 1200, 0.01);
});

/** A table of servers with these tiers, called `nameOf(0)` and so on, and the load of all being usable but those named. */
function tieredOf(tiers: readonly number[], range: TierRange, down: readonly number[] = [], policy: Policy = "ring") {
  const rows = tiers.map((tier, slot) => (
    { name: nameOf(slot), weight: 1, tier, address: parseAddress(nameOf(slot)), connectionsMax: Infinity, slot }
  ));
  const load: Load = {
    ...FREE,
    tiersInUse: packTiers(range),
    availabilityOf: (slot) => down.includes(slot) ? AVAILABILITY.fallback : AVAILABILITY.full,
  };
  return { table: nextTable(emptyTable(parseKeyRule("ip"), 1.25, policy), rows), load, policy: POLICY, connections: [] };
}

Deno.test("planChange() of a tier that is not in use moves nobody", () => {
  const given = tieredOf([0, 0, 1, 1], { low: 0, high: 0 });
  const { movedShare, flows, tiers, share } = planChange({ ...given, change: { kind: "remove", server: nameOf(2) } });
  assertEquals([movedShare, flows, share], [0, [], { before: 0, after: 0 }]);
  assertEquals(tiers, { before: { low: 0, high: 0 }, after: { low: 0, high: 0 } });
});

Deno.test("planChange() of the last server of a tier moves everybody to the next", () => {
  const given = tieredOf([0, 1, 1], { low: 0, high: 0 });
  const { movedShare, flows, tiers } = planChange({ ...given, change: { kind: "remove", server: nameOf(0) } });
  assertAlmostEquals(movedShare!, 1, 1e-6);
  assertEquals(flows.map(({ from, to }) => [from, to]).sort(), [[nameOf(0), nameOf(1)], [nameOf(0), nameOf(2)]]);
  assertEquals(tiers, { before: { low: 0, high: 0 }, after: { low: 1, high: 1 } });
});

Deno.test("planChange() of a first server for a lower tier brings everybody back, unless clients never fail back", () => {
  const given = tieredOf([1, 1], { low: 1, high: 1 });
  const change: PoolChange = { kind: "add", server: NEW, weight: 1 };
  assertAlmostEquals(planChange({ ...given, change }).movedShare!, 1, 1e-6);
  const never = planChange({ ...given, change, tierRules: { tierMin: 1, failBack: "never" } });
  assertEquals([never.movedShare, never.tiers.after], [0, { low: 1, high: 1 }]);
});

Deno.test("planChange() knows no client beforehand with other policies, only shares by weight", () => {
  for (const policy of ["least-connections", "random", "round-robin", "first"] as const) {
    const given = tieredOf([0, 0, 0], { low: 0, high: 0 }, [], policy);
    const connections = [connectionOf(0, 1)];
    const { movedShare, flows, share, peakToMean, ...rest } = planChange({
      ...given,
      connections,
      change: { kind: "add", server: NEW, weight: 2 },
    });
    assertEquals([movedShare, flows, rest.policy, rest.connections], [null, [], policy, []]);
    assertEquals(share, policy === "first" ? null : { before: 0, after: 0.4 });
    assertAlmostEquals(peakToMean.after, 1);
    const removal = planChange({ ...given, connections, change: { kind: "remove", server: nameOf(0) } });
    assertEquals(removal.connections, [{ state: "unsent", count: 1, outcome: "moves" }]);
  }
});
