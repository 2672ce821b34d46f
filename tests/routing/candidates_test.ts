// What all policies keep, and what each of them promises. Randomness is seeded.

import { assert, assertEquals, assertGreater, assertLess, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import { LEAST_SCAN_MAX, newTurns, takeTurn, type Turns } from "../../lib/routing/candidates.ts";
import { AVAILABILITY, isClosed, isLastResort } from "../../lib/routing/availability.ts";
import { buildRing, walkRing } from "../../lib/routing/ring.ts";
import { homeOf, isBeyondRamp, type Load, nextServer, route, routeFirst, tierGroups } from "../../lib/routing/route.ts";
import { emptyTable, nextTable, type RoutingTable } from "../../lib/routing/routing_table.ts";
import { packTiers } from "../../lib/routing/tiers.ts";
import { parseKeyRule } from "../../lib/values/address.ts";
import { POLICIES, type Policy } from "../../lib/values/config.ts";

interface Spec {
  readonly weight?: number;
  readonly tier?: number;
  readonly connectionsMax?: number;
  readonly availability?: number;
  readonly open?: number;
}

/** A table of these servers; the slot is the place here. */
function tableOf(specs: readonly Spec[], policy: Policy, loadBound = 1.25): RoutingTable {
  const servers = specs.map(({ weight = 1, tier = 0, connectionsMax = Infinity }, slot) => {
    const address = { host: `10.0.${slot >> 8}.${slot & 255}`, port: 80 };
    return { name: `${address.host}:80`, address, weight, tier, connectionsMax, slot };
  });
  return nextTable(emptyTable(parseKeyRule("ip"), loadBound, policy), servers);
}

/** Numbers from 0 to 1 that are always the same ones (xorshift32). */
function seeded(seed = 1): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

interface Setting {
  readonly turns?: Turns;
  readonly tiers?: readonly [low: number, high: number];
}

function loadOf(specs: readonly Spec[], { turns = newTurns(seeded()), tiers: [low, high] = [0, 0] }: Setting = {}): Load {
  return {
    open: specs.reduce((sum, { open = 0 }) => sum + open, 0) + 1,
    unavailableWeight: 0,
    tiersInUse: packTiers({ low, high }),
    turns,
    openOf: (slot) => specs[slot].open ?? 0,
    availabilityOf: (slot) => specs[slot].availability ?? AVAILABILITY.full,
  };
}

function keyOf(client: number): Uint8Array {
  return Uint8Array.of(client >>> 24, client >>> 16, client >>> 8, client);
}

/** Lets clients come and stay, one by one; each takes the first that it is given. Returns the connections by slot. */
function fill(specs: readonly Spec[], policy: Policy, clients: number, loadBound = Infinity): number[] {
  const table = tableOf(specs, policy, loadBound);
  const open = specs.map(({ open = 0 }) => open);
  const load: Load = {
    ...loadOf(specs),
    get open() {
      return open.reduce((sum, count) => sum + count, 1);
    },
    openOf: (slot) => open[slot],
  };
  for (let client = 0; client < clients; client++) {
    const index = routeFirst(table, load, keyOf(client));
    if (index < 0) continue;
    takeTurn(table, load.turns, index);
    open[table.slots[index]]++;
  }
  return open;
}

const anyPolicy = fc.constantFrom(...POLICIES);
const anyAvailability = fc.constantFrom(
  AVAILABILITY.full,
  AVAILABILITY.full,
  AVAILABILITY.none / 2,
  AVAILABILITY.fallback,
  AVAILABILITY.asking,
  AVAILABILITY.draining,
  AVAILABILITY.expired,
);
const anySpec = fc.record({
  weight: fc.integer({ min: 1, max: 4 }),
  tier: fc.nat(2),
  connectionsMax: fc.constantFrom(Infinity, Infinity, 3),
  availability: anyAvailability,
  open: fc.nat(40),
});
const anySpecs = fc.array(anySpec, { maxLength: 12 });
const anyTiers = fc.constantFrom<readonly [number, number]>([0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]);
const anyClient = fc.nat(2 ** 32 - 1).map(keyOf);

Deno.test("route() gives each server that may get the client once, whatever the policy, and no other", () => {
  fc.assert(fc.property(anyPolicy, anySpecs, anyTiers, anyClient, fc.nat(), (policy, specs, tiers, key, seed) => {
    const load = loadOf(specs, { tiers, turns: newTurns(seeded(seed)) });
    const table = tableOf(specs, policy);
    const slots = [...route(table, load, key)].map((index) => table.slots[index]);
    const may = [...specs.entries()].filter(([, { open, connectionsMax, availability }]) =>
      open < connectionsMax && !isClosed(availability)
    ).map(([slot]) => slot);
    assertEquals(slots.toSorted((a, b) => a - b), may);
  }));
});

Deno.test("route() has the same ranks with every policy: room, load, ramps, other tiers, wishes to be drained, the dead", () => {
  fc.assert(fc.property(anyPolicy, anySpecs, anyTiers, anyClient, fc.nat(), (policy, specs, [low, high], key, seed) => {
    const load = loadOf(specs, { tiers: [low, high], turns: newTurns(seeded(seed)) });
    const table = tableOf(specs, policy, Infinity);
    const ranks = [...route(table, load, key)].map((index) => {
      const { availability = 0, tier = 0 } = specs[table.slots[index]];
      if (availability === AVAILABILITY.fallback) return 1000;
      if (availability === AVAILABILITY.asking) return 999;
      // A table of one tier uses it whatever the range says.
      const group = table.tiers.length === 1 || (tier >= low && tier <= high) ? 0 : 10 + 10 * tier;
      return group + (isBeyondRamp(availability, key) ? 1 : 0);
    });
    assertEquals(ranks, ranks.toSorted((a, b) => a - b));
  }));
});

Deno.test("routeFirst() is the first of route() with the policies that do not draw", () => {
  const drawless = fc.constantFrom<Policy>("ring", "round-robin", "first", "least-connections");
  fc.assert(fc.property(drawless, anySpecs, anyTiers, anyClient, (policy, specs, tiers, key) => {
    const table = tableOf(specs, policy);
    const load = loadOf(specs, { tiers });
    assertEquals(routeFirst(table, load, key), route(table, load, key).next().value ?? -1);
  }));
});

for (const policy of ["least-connections", "random", "round-robin"] as const) {
  Deno.test(`${policy} gives clients by weight`, () => {
    const open = fill([{ weight: 1 }, { weight: 2 }, { weight: 5 }], policy, 800);
    for (const [slot, share] of [100, 200, 500].entries()) {
      assertLessOrEqual(Math.abs(open[slot] - share), policy === "random" ? 25 : 1, `${policy}: ${open}`);
    }
  });

  Deno.test(`${policy} gives clients by weight in a pool of 1,000 servers`, () => {
    const specs = Array.from({ length: 1000 }, (_, i) => ({ weight: 1 + i % 2 }));
    const open = fill(specs, policy, 15_000);
    const worst = Math.max(...open.map((count, slot) => count / specs[slot].weight));
    assertLess(worst, 10 * 1.35, `${policy}: ${worst}`); // 10 for each unit of weight would be even
    assertGreater(Math.min(...open), 0);
  });

  Deno.test(`${policy} shares the clients of servers that get none among all the others`, () => {
    const specs = [{}, { availability: AVAILABILITY.fallback }, {}, { availability: AVAILABILITY.draining }, {}, {}];
    const open = fill(specs, policy, 400);
    assertEquals([open[1], open[3]], [0, 0]);
    for (const slot of [0, 2, 4, 5]) assertLess(Math.abs(open[slot] - 100), policy === "random" ? 12 : 2, `${open}`);
  });
}

Deno.test("least-connections fills up the server with the fewest connections for its weight first", () => {
  const open = fill([{ open: 50 }, { open: 10 }, { open: 0, weight: 2 }], "least-connections", 60);
  assertEquals(open.reduce((sum, count) => sum + count), 120);
  assertEquals(open[0], 50);
  assertLessOrEqual(Math.abs(open[1] - open[2] / 2), 1);
});

Deno.test("least-connections of an idle pool gives a client its owner on the ring", () => {
  const specs = Array.from({ length: 8 }, () => ({}));
  const [least, ring] = (["least-connections", "ring"] as const).map((policy) => tableOf(specs, policy));
  for (let client = 0; client < 100; client++) {
    const key = keyOf(client * 7919);
    assertEquals(routeFirst(least, loadOf(specs), key), routeFirst(ring, loadOf(specs), key));
  }
});

Deno.test("least-connections compares all servers of a pool that is not large, and a sample of a large one", () => {
  for (const size of [LEAST_SCAN_MAX, LEAST_SCAN_MAX + 1, 2000]) {
    const specs = Array.from({ length: size }, () => ({ open: 9 }));
    let reads = 0;
    const load: Load = { ...loadOf(specs), openOf: (slot) => (reads++, specs[slot].open) };
    routeFirst(tableOf(specs, "least-connections"), load, keyOf(1));
    if (size <= LEAST_SCAN_MAX) assertEquals(reads, size + 1); // and once more to see that there is room
    else assertLess(reads, 40);
  }
});

Deno.test("random with two choices keeps the most loaded server near the mean, which one choice does not", () => {
  const specs = Array.from({ length: 100 }, () => ({}));
  const most = Math.max(...fill(specs, "random", 10_000));
  assertLess(most, 110, "one choice would give about 125");
});

Deno.test("round-robin goes round: each turn once, whoever the clients are", () => {
  const table = tableOf([{}, {}, {}], "round-robin");
  const turns = { next: 0, random: seeded() };
  const given = Array.from({ length: 7 }, (_, client) => {
    const index = routeFirst(table, loadOf([{}, {}, {}], { turns }), keyOf(client % 2));
    takeTurn(table, turns, index);
    return table.slots[index];
  });
  assertEquals(given, [0, 1, 2, 0, 1, 2, 0]);
});

Deno.test("round-robin looks without taking a turn", () => {
  const table = tableOf([{}, {}, {}], "round-robin");
  const load = loadOf([{}, {}, {}], { turns: { next: 1, random: seeded() } });
  for (let i = 0; i < 5; i++) assertEquals(table.slots[routeFirst(table, load, keyOf(i))], 1);
});

Deno.test("round-robin goes on through several tiers in use, and through the one that is left", () => {
  const specs = [{ tier: 0 }, { tier: 1 }, { tier: 1 }];
  const table = tableOf(specs, "round-robin");
  const turns = { next: 0, random: seeded() };
  const next = (tiers: [number, number]) => {
    const index = routeFirst(table, loadOf(specs, { turns, tiers }), keyOf(1));
    takeTurn(table, turns, index);
    return table.slots[index];
  };
  assertEquals(Array.from({ length: 6 }, () => next([0, 1])), [0, 1, 2, 0, 1, 2]);
  assertEquals(Array.from({ length: 4 }, () => next([1, 1])), [1, 2, 1, 2]);
});

Deno.test("first fills one server after the other up to its limit, by address, and no load bound keeps it from that", () => {
  const specs = [{ connectionsMax: 30 }, { connectionsMax: 30 }, { connectionsMax: 30 }];
  assertEquals(fill(specs, "first", 20, 1.01), [20, 0, 0]);
  assertEquals(fill(specs, "first", 45, 1.01), [30, 15, 0]);
  assertEquals(fill([{ availability: AVAILABILITY.fallback }, ...specs], "first", 45), [0, 30, 15, 0]);
});

Deno.test("a server at its limit gets no client from any policy, and the others do", () => {
  for (const policy of POLICIES) {
    const open = fill([{ connectionsMax: 5 }, {}, { connectionsMax: 7 }], policy, 60);
    assertLessOrEqual(open[0], 5);
    assertLessOrEqual(open[2], 7);
    assertEquals(open.reduce((sum, count) => sum + count), 60, policy);
  }
});

Deno.test("the load bound passes a server over with random and round-robin as with the ring", () => {
  for (const policy of ["ring", "random", "round-robin"] as const) {
    const specs = [{ open: 100 }, { open: 10 }, { open: 10 }, { open: 10 }];
    for (let client = 0; client < 50; client++) {
      const turns = newTurns(seeded(client + 1));
      const table = tableOf(specs, policy);
      const slots = [...route(table, loadOf(specs, { turns }), keyOf(client))].map((index) => table.slots[index]);
      assertEquals(slots.at(-1), 0, policy);
    }
  }
});

Deno.test("a tier that is not in use gets a client only if the ones in use have no room", () => {
  for (const policy of POLICIES) {
    const specs = [{ tier: 0, connectionsMax: 5 }, { tier: 0, connectionsMax: 5 }, { tier: 1 }];
    assertEquals(fill(specs, policy, 10)[2], 0, policy);
    assertEquals(fill(specs, policy, 14)[2], 4, policy);
  }
});

Deno.test("a client's order on several rings is that of the one ring of all their servers", () => {
  fc.assert(fc.property(
    fc.array(fc.record({ weight: fc.integer({ min: 1, max: 3 }), tier: fc.nat(2) }), {
      minLength: 1,
      maxLength: 10,
    }),
    anyClient,
    (specs, key) => {
      const table = tableOf(specs, "ring", Infinity);
      const ring = buildRing(table.servers.map(({ name, weight }) => ({ name, weight })));
      const names = [...route(table, loadOf(specs, { tiers: [0, 2] }), key)].map((index) => table.servers[index].name);
      assertEquals(names, [...walkRing(ring, key)].map((index) => ring.servers[index].name));
    },
  ));
});

Deno.test("a change of one tier moves no client of another, and as few as possible of its own", () => {
  const before = [{ tier: 0 }, { tier: 0 }, { tier: 0 }, { tier: 1 }, { tier: 1 }];
  const after = [...before, { tier: 1 }];
  const tables = new Map([before, after].map((specs) => [specs, tableOf(specs, "ring")]));
  const owner = (specs: typeof before, tiers: [number, number], client: number) => {
    const table = tables.get(specs)!;
    return table.slots[routeFirst(table, loadOf(specs, { tiers }), keyOf(client * 2654435761))];
  };
  let moved = 0;
  for (let client = 0; client < 300; client++) {
    assertEquals(owner(after, [0, 0], client), owner(before, [0, 0], client));
    const [then, now] = [owner(before, [1, 1], client), owner(after, [1, 1], client)];
    if (then === now) continue;
    assertEquals(now, 5);
    moved++;
  }
  assert(moved > 60 && moved < 140, `${moved} of 300 for a third`);
});

Deno.test("tierGroups() of a table with one tier is that tier, whatever is said to be in use", () => {
  const table = tableOf([{ tier: 2 }], "ring");
  assertEquals(tierGroups(table, loadOf([], { tiers: [0, 0] })).length, 1);
  assertEquals(routeFirst(table, loadOf([{}], { tiers: [0, 0] }), keyOf(1)), 0);
});

Deno.test("nextServer() for an owner gives home: the owner, or without owners the least loaded of a tier in use", () => {
  const specs = [{ open: 9, tier: 1 }, { open: 5 }, { open: 2 }, { open: 7 }];
  for (const policy of ["least-connections", "random", "round-robin"] as const) {
    const table = tableOf(specs, policy);
    const load = loadOf(specs);
    assertEquals(table.slots[homeOf(table, load, keyOf(1))], 2);
    assertEquals(nextServer(table, load, keyOf(1), "owner", (index) => table.slots[index] !== 2), -1);
  }
  const ring = tableOf(specs, "ring", Infinity);
  assertEquals(homeOf(ring, loadOf(specs), keyOf(1)), routeFirst(ring, loadOf(specs), keyOf(1)));
  assert(!isLastResort(AVAILABILITY.full));
});
