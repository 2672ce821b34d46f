// An explanation tells what route() does, and why.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseKeyRule } from "../../lib/values/address.ts";
import { explainClient, type Explanation, type OrderedServer } from "../../lib/routing/explain.ts";
import { hash64 } from "../../lib/routing/hash.ts";
import { firstOnRing, PROBES, walkRing } from "../../lib/routing/ring.ts";
import { boundOf, type Load, route } from "../../lib/routing/route.ts";
import { newTurns } from "../../lib/routing/candidates.ts";
import { emptyTable, nextTable, type RoutingTable } from "../../lib/routing/routing_table.ts";
import type { Policy } from "../../lib/values/config.ts";
import { AVAILABILITY, type ServerState } from "../../lib/routing/availability.ts";

/** What a test says of a server; its slot is its place. */
interface Spec {
  readonly weight?: number;
  readonly connectionsMax?: number;
  readonly open?: number;
  readonly availability?: number;
  readonly state?: ServerState;
}

function tableOf(specs: readonly Spec[], loadBound = 1.25): RoutingTable {
  const servers = specs.map(({ weight = 1, connectionsMax = Infinity }, slot) => {
    const address = { host: `10.0.0.${slot}`, port: 80 };
    return { name: `${address.host}:80`, address, weight, connectionsMax, slot };
  });
  return nextTable(emptyTable(parseKeyRule("ip"), loadBound), servers);
}

/** The load of so many connections, and one more client that waits for its server. */
function loadOf(specs: readonly Spec[]): Load {
  return {
    open: specs.reduce((sum, { open = 0 }) => sum + open, 0) + 1,
    unavailableWeight: 0,
    tiersInUse: 0,
    turns: newTurns(() => 0.5),
    openOf: (slot) => specs[slot].open ?? 0,
    availabilityOf: (slot) => specs[slot].availability ?? AVAILABILITY.full,
  };
}

function keyOf(client: number): Uint8Array {
  return Uint8Array.of(client >>> 24, client >>> 16, client >>> 8, client);
}

function explain(specs: readonly Spec[], key: Uint8Array, successorsMax = Infinity, table = tableOf(specs)): Explanation {
  return explainClient({ table, load: loadOf(specs), key, stateOf: (slot) => specs[slot].state ?? "up", successorsMax });
}

/** The first client whose way round the ring is through these slots. */
function clientOf(table: RoutingTable, ...slots: number[]): Uint8Array {
  for (let client = 0;; client++) {
    const walk = [...walkRing(table.tiers[0].circle, keyOf(client))].map((index) => table.slots[index]);
    if (slots.every((slot, i) => slot === walk[i])) return keyOf(client);
  }
}

const anySpecs = fc.array(
  fc.record({
    weight: fc.integer({ min: 1, max: 2 }),
    connectionsMax: fc.constantFrom(1, 20, Infinity),
    open: fc.oneof(fc.constantFrom(0, 7, 8, 16), fc.nat(60)), // 8 per weight is the least bound
    availability: fc.constantFrom(...Object.values(AVAILABILITY), AVAILABILITY.none / 2),
  }),
  { minLength: 1, maxLength: 7 },
);
const anyClient = fc.nat(2 ** 32 - 1).map(keyOf);

const serversOf = (order: readonly OrderedServer[], verdict: OrderedServer["verdict"]) =>
  order.filter((server) => server.verdict === verdict).map(({ server }) => server);

Deno.test("explainClient() chooses what route() gives first; whoever is passed over comes later there or not at all", () => {
  fc.assert(
    fc.property(anySpecs, anyClient, (specs, key) => {
      const table = tableOf(specs);
      const routed = [...route(table, loadOf(specs), key)].map((index) => table.servers[index].name);
      const { server, order } = explain(specs, key);
      assertEquals(server, routed[0] ?? null);
      assertEquals(serversOf(order, "chosen"), routed.slice(0, 1));
      const next = serversOf(order, "next");
      assertEquals(routed.slice(1, 1 + next.length), next);
      const later = routed.slice(1 + next.length);
      for (const passed of serversOf(order, "passed over")) assert(later.includes(passed) || !routed.includes(passed));
      for (const { verdict, why } of order) assertEquals(why !== null, verdict === "passed over");
    }),
    { numRuns: 300 },
  );
});

Deno.test("explainClient() gives reasons by which the walk, put in order, is what route() gives", () => {
  const ranks = ["the load bound", "it is ramping", "its check asks", "it is down", "it is draining", "it is at its"];
  const rankOf = ({ why }: OrderedServer) => why === null ? -1 : ranks.findIndex((words) => why.includes(words));
  fc.assert(
    fc.property(anySpecs, anyClient, (specs, key) => {
      const table = tableOf(specs);
      const routed = [...route(table, loadOf(specs), key)].map((index) => table.servers[index].name);
      const taken = explain(specs, key).order.filter((server) => rankOf(server) < ranks.indexOf("it is draining"));
      assertEquals(taken.toSorted((a, b) => rankOf(a) - rankOf(b)).map(({ server }) => server), routed);
    }),
    { numRuns: 300 },
  );
});

Deno.test("explainClient() lists the walk of the ring up to the chosen server and so many beyond it", () => {
  fc.assert(fc.property(anySpecs, anyClient, fc.nat(3), (specs, key, successorsMax) => {
    const table = tableOf(specs);
    const walk = [...walkRing(table.tiers[0].circle, key)].map((index) => table.servers[index].name);
    const { server, order } = explain(specs, key, successorsMax);
    const length = server === null ? walk.length : walk.indexOf(server) + 1 + successorsMax;
    assertEquals(order.map(({ server }) => server), walk.slice(0, length));
  }));
});

Deno.test("explainClient() shows the place on the ring: hash, probe, point and the way between them", () => {
  fc.assert(fc.property(anySpecs, anyClient, (specs, key) => {
    const { tiers: [{ circle }] } = tableOf(specs);
    const { hash, probe, point, distance } = explain(specs, key);
    const { high, low } = hash64(key);
    assertEquals(BigInt(`0x${hash}`), (BigInt(high) << 32n) | BigInt(low));
    assert(hash.length === 16 && point?.length === 8 && probe !== null && distance !== null && probe < PROBES);
    const owner = circle.owners[circle.points.indexOf(parseInt(point, 16))];
    assertEquals(owner, firstOnRing(circle, key));
    const probePlace = (high + Math.imul(probe, low | 1)) >>> 0;
    assertEquals((probePlace + distance * 2 ** 32) % 2 ** 32, parseInt(point, 16));
  }));
});

Deno.test("explainClient() of an empty table has a hash and nothing else", () => {
  const { high, low } = hash64(keyOf(1));
  const hash = [high, low].map((half) => half.toString(16).padStart(8, "0")).join("");
  const nothing = { probe: null, point: null, distance: null, server: null, reason: null, order: [] };
  assertEquals(explain([], keyOf(1)), { policy: "ring", tiers: null, hash, ...nothing });
});

Deno.test("explainClient() of a pool where all is well gives the first on the ring, and the next that would do", () => {
  const specs = [{}, { open: 3 }, {}];
  const { server, order } = explain(specs, clientOf(tableOf(specs), 1, 2, 0), 1);
  assertEquals(server, "10.0.0.1:80");
  assertEquals(order, [
    { server: "10.0.0.1:80", state: "up", open: 3, verdict: "chosen", why: null },
    { server: "10.0.0.2:80", state: "up", open: 0, verdict: "next", why: null },
  ]);
});

const REASONS: [string, Spec, string][] = [
  ["drains", { availability: AVAILABILITY.draining, state: "draining" }, "it is draining"],
  ["drains and has no time left", { availability: AVAILABILITY.expired, state: "draining" }, "it is draining"],
  ["asks to be drained", { availability: AVAILABILITY.asking, state: "draining" }, "its check asks to drain it"],
  ["is down", { availability: AVAILABILITY.fallback, state: "down" }, "it is down"],
  ["rests", { availability: AVAILABILITY.fallback, state: "resting" }, "it is resting after failed connections"],
  ["is full", { open: 200, connectionsMax: 200 }, "it is at its connection limit (200)"],
  ["comes back", { availability: AVAILABILITY.none }, "it is ramping up (slow start) and does not take this client yet"],
  ["has too much load", { open: 40 }, "it has 40 connections and the load bound allows 26"],
];

for (const [what, spec, why] of REASONS) {
  Deno.test(`explainClient() says of a server that ${what} why it was passed over`, () => {
    const specs = [spec, {}];
    const table = tableOf(specs);
    const { server, order } = explain(specs, clientOf(table, 0), 0);
    assertEquals(server, "10.0.0.1:80");
    assertEquals(order.map(({ verdict, why }) => ({ verdict, why })), [
      { verdict: "passed over", why },
      { verdict: "chosen", why: null },
    ]);
    assertEquals(order[0].state, spec.state ?? "up");
  });
}

Deno.test("explainClient() names the bound that route() keeps", () => {
  const specs = [{ open: 90, weight: 2 }, { open: 1 }, {}];
  const table = tableOf(specs, 1.5);
  const { order } = explain(specs, clientOf(table, 0), 0, table);
  const index = table.servers.findIndex(({ slot }) => slot === 0);
  assertEquals(order[0].why, `it has 90 connections and the load bound allows ${boundOf(table, index, loadOf(specs))}`);
});

Deno.test("explainClient() tells of every server when none takes the client", () => {
  const specs = [{ availability: AVAILABILITY.draining }, { connectionsMax: 1, open: 1 }, { availability: AVAILABILITY.expired }];
  const { server, order } = explain(specs, keyOf(1), 0);
  assertEquals(server, null);
  assertEquals(order.map(({ verdict }) => verdict), ["passed over", "passed over", "passed over"]);
});

Deno.test("explainClient() of a pool that is down gives the first as the last resort", () => {
  const down = { availability: AVAILABILITY.fallback, state: "down" } as const;
  const specs = [down, { ...down, availability: AVAILABILITY.draining }, down];
  const { server, order } = explain(specs, clientOf(tableOf(specs), 1, 0, 2));
  assertEquals(server, "10.0.0.0:80");
  assertEquals(order.map(({ verdict, why }) => [verdict, why]), [
    ["passed over", "it is draining"],
    ["chosen", null],
    ["next", null],
  ]);
});

Deno.test("explainClient() reads each number once, so that what it tells is of one moment", () => {
  const asked = new Map<number, number>();
  const changing = (slot: number) => {
    asked.set(slot, (asked.get(slot) ?? 0) + 1);
    return asked.get(slot)! % 2 === 1 ? 0 : 1000;
  };
  const table = tableOf([{}, {}, {}]);
  const load: Load = { ...loadOf([]), open: 1001, openOf: changing, availabilityOf: () => AVAILABILITY.full };
  const { server, order } = explainClient({ table, load, key: keyOf(1), stateOf: () => "up", successorsMax: 2 });
  assertEquals(server, order[0].server);
  assertEquals(order.map(({ open, verdict }) => [open, verdict]), [[0, "chosen"], [0, "next"], [0, "next"]]);
  assertEquals([...asked.values()], [1, 1, 1]);
});

Deno.test("explainClient() says by what another policy chose, and lists its order", () => {
  const specs = [{ open: 3 }, { open: 1, weight: 2 }, { open: 0, availability: AVAILABILITY.fallback }];
  const explainBy = (policy: Policy) =>
    explain(specs, keyOf(1), Infinity, nextTable({ ...tableOf(specs), policy }, tableOf(specs).servers));
  const least = explainBy("least-connections");
  assertEquals([least.policy, least.server, least.probe, least.point], ["least-connections", "10.0.0.1:80", null, null]);
  assertEquals(least.reason, "by least connections: 1 open connection at weight 2");
  assertEquals(least.order.at(-1)?.verdict, "next");
  assertEquals(explainBy("first").reason, "the first with room in the order of addresses: 3 open connections");
  assertEquals(explainBy("ring").reason, null);
  for (const policy of ["random", "round-robin"] as const) {
    const { server, order, reason } = explainBy(policy);
    assertEquals(order.filter(({ verdict }) => verdict === "chosen").map(({ server }) => server), [server]);
    assertEquals(new Set(order.map(({ server }) => server)).size, 3);
    assertEquals(reason?.includes("may get another"), true);
  }
});

Deno.test("explainClient() says that a tier is not in use, and lists its servers after the others", () => {
  const specs = [{}, {}, {}];
  const servers = tableOf(specs).servers.map((server) => ({ ...server, tier: server.slot === 0 ? 0 : 1 }));
  const { server, tiers, order } = explain(specs, keyOf(1), Infinity, nextTable(tableOf(specs), servers));
  assertEquals([server, tiers], ["10.0.0.0:80", { low: 0, high: 0 }]);
  const why = "its tier (1) is not in use, unless the others have no room";
  assertEquals(order.map(({ verdict, why }) => [verdict, why]), [["chosen", null], ["passed over", why], ["passed over", why]]);
});
