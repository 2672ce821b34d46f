// The routing decision follows the ring, spares the loaded, and never passes a server's own limit.

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import { parseKeyRule } from "../../lib/values/address.ts";
import { walkRing } from "../../lib/routing/ring.ts";
import { LOAD_BOUND_FLOOR } from "../../lib/routing/load_bound.ts";
import { type Load, route, routeFirst } from "../../lib/routing/route.ts";
import { newTurns } from "../../lib/routing/candidates.ts";
import { emptyTable, nextTable, type RoutingTable } from "../../lib/routing/routing_table.ts";
import { AVAILABILITY } from "../../lib/routing/availability.ts";

interface Spec {
  readonly weight?: number;
  readonly connectionsMax?: number;
}

/** A table of these servers, called 10.0.0.0:80, 10.0.0.1:80 and so on; the slot is the number. */
function tableOf(specs: readonly Spec[], loadBound = 1.25): RoutingTable {
  const servers = specs.map(({ weight = 1, connectionsMax = Infinity }, slot) => {
    const address = { host: `10.0.0.${slot}`, port: 80 };
    return { name: `${address.host}:80`, address, weight, connectionsMax, slot };
  });
  return nextTable(emptyTable(parseKeyRule("ip"), loadBound), servers);
}

/** Every server may get clients. */
const AWAY = { unavailableWeight: 0, tiersInUse: 0, turns: newTurns(() => 0.5), availabilityOf: () => AVAILABILITY.full };

/** A load of so many connections by slot, and one more client that waits for its server. */
function loadOf(counts: readonly number[]): Load {
  return { open: counts.reduce((sum, count) => sum + count, 0) + 1, ...AWAY, openOf: (slot) => counts[slot] };
}

function keyOf(client: number): Uint8Array {
  return Uint8Array.of(client >>> 24, client >>> 16, client >>> 8, client);
}

const slotsOf = (table: RoutingTable, load: Load, key: Uint8Array) =>
  [...route(table, load, key)].map((index) => table.slots[index]);
const walkSlots = (table: RoutingTable, key: Uint8Array) =>
  [...walkRing(table.tiers[0].ring, key)].map((index) => table.servers[index].slot);

const anyClient = fc.nat(2 ** 32 - 1);
const anySpecs = fc.array(fc.record({ weight: fc.integer({ min: 1, max: 3 }) }), { minLength: 1, maxLength: 6 });
const anyBound = fc.constantFrom(1.01, 1.25, 2);

/** How many connections a server may have while others have room. */
function boundOf(weight: number, weightTotal: number, open: number, loadBound: number): number {
  return Math.max(LOAD_BOUND_FLOOR * weight, Math.ceil(loadBound * open * weight / weightTotal));
}

Deno.test("route() of an empty table gives nothing", () => {
  assertEquals(slotsOf(tableOf([]), loadOf([]), keyOf(1)), []);
});

Deno.test("route() without load follows the ring", () => {
  fc.assert(fc.property(anySpecs, anyBound, anyClient, (specs, loadBound, client) => {
    const table = tableOf(specs, loadBound);
    assertEquals(slotsOf(table, loadOf(specs.map(() => 0)), keyOf(client)), walkSlots(table, keyOf(client)));
  }));
});

Deno.test("route() with the load bound off follows the ring whatever the load", () => {
  const counts = fc.array(fc.nat(1_000_000), { minLength: 6, maxLength: 6 });
  fc.assert(fc.property(anySpecs, counts, anyClient, (specs, counts, client) => {
    const table = tableOf(specs, Infinity);
    assertEquals(slotsOf(table, loadOf(counts.slice(0, specs.length)), keyOf(client)), walkSlots(table, keyOf(client)));
  }));
});

Deno.test("route() gives each server that has room once, those under the bound first, both in the order of the ring", () => {
  const counts = fc.array(fc.nat(60), { minLength: 6, maxLength: 6 });
  fc.assert(fc.property(anySpecs, counts, anyBound, anyClient, (specs, counts, loadBound, client) => {
    const table = tableOf(specs, loadBound);
    const load = loadOf(counts.slice(0, specs.length));
    const isUnder = (slot: number) => counts[slot] < boundOf(specs[slot].weight, table.weightTotal, load.open, loadBound);
    const walk = walkSlots(table, keyOf(client));
    const expected = [...walk.filter(isUnder), ...walk.filter((slot) => !isUnder(slot))];
    assertEquals(slotsOf(table, load, keyOf(client)), expected);
  }));
});

Deno.test("route() never gives a server that has as many connections as it may have", () => {
  const specs = fc.array(fc.record({ connectionsMax: fc.integer({ min: 1, max: 4 }) }), { minLength: 1, maxLength: 6 });
  const counts = fc.array(fc.nat(6), { minLength: 6, maxLength: 6 });
  fc.assert(fc.property(specs, counts, anyClient, (specs, counts, client) => {
    const slots = slotsOf(tableOf(specs), loadOf(counts.slice(0, specs.length)), keyOf(client));
    const free = specs.flatMap(({ connectionsMax }, slot) => counts[slot] < connectionsMax ? [slot] : []);
    assertEquals(slots.toSorted((a, b) => a - b), free);
  }));
});

Deno.test("route() gives nothing when every server is full", () => {
  assertEquals(slotsOf(tableOf([{ connectionsMax: 1 }, { connectionsMax: 2 }]), loadOf([1, 2]), keyOf(1)), []);
});

Deno.test("route() gives the only server however loaded it is", () => {
  assertEquals(slotsOf(tableOf([{}], 1.01), loadOf([1_000_000]), keyOf(1)), [0]);
});

Deno.test("route() gives the last server alive to everybody: the bound decides the order only", () => {
  const table = tableOf([{}, {}], 1.25);
  for (let client = 0; client < 100; client++) {
    assertEquals(slotsOf(table, loadOf([0, 5000]), keyOf(client)), [0, 1]); // 0 is dead and will be passed over
  }
});

Deno.test("route() calls no server loaded below the floor", () => {
  const table = tableOf([{}, { weight: 2 }]);
  const client = keyOf([...Array(100).keys()].find((client) => walkSlots(table, keyOf(client))[0] === 0)!);
  assertEquals(slotsOf(table, loadOf([LOAD_BOUND_FLOOR - 1, 0]), client), [0, 1]);
  assertEquals(slotsOf(table, loadOf([LOAD_BOUND_FLOOR, 0]), client), [1, 0]);
});

Deno.test("route() reads the load of a server only when it comes to it", () => {
  const table = tableOf([{}, {}, {}]);
  const asked: number[] = [];
  const load: Load = { open: 1, ...AWAY, openOf: (slot) => asked.push(slot) * 0 };
  for (const first of route(table, load, keyOf(1))) {
    assertEquals(asked, [table.slots[first]]);
    break;
  }
});

Deno.test("route() keeps every server within the bound while clients come one by one and take the first", () => {
  const clients = fc.array(fc.oneof(anyClient, fc.nat(3)), { minLength: 1, maxLength: 300 }); // some clients come very often
  fc.assert(fc.property(anySpecs, anyBound, clients, (specs, loadBound, clients) => {
    const table = tableOf(specs, loadBound);
    const counts = specs.map(() => 0);
    for (const [i, client] of clients.entries()) {
      const [first] = route(table, loadOf(counts), keyOf(client));
      counts[table.slots[first]]++;
      for (const [slot, { weight }] of specs.entries()) {
        assertLessOrEqual(counts[slot], boundOf(weight, table.weightTotal, i + 1, loadBound));
      }
    }
  }));
});

Deno.test("route() keeps one busy client's connections within the bound, with a thousand of them", () => {
  const table = tableOf([{}, {}, { weight: 2 }]);
  const counts = [0, 0, 0];
  for (let i = 0; i < 1000; i++) {
    const [first] = route(table, loadOf(counts), keyOf(1));
    counts[table.slots[first]]++;
  }
  for (const [slot, count] of counts.entries()) assertLessOrEqual(count, Math.ceil(1.25 * 1000 * [1, 1, 2][slot] / 4));
  assert(counts.every((count) => count > 0));
});

Deno.test("routeFirst() gives the first of route(), or -1 where there is none", () => {
  const anyLimits = fc.array(
    fc.record({ weight: fc.integer({ min: 1, max: 3 }), connectionsMax: fc.constantFrom(0, 1, 20, Infinity) }),
    { maxLength: 6 },
  );
  const counts = fc.array(fc.nat(40), { minLength: 6, maxLength: 6 });
  fc.assert(fc.property(anyLimits, anyBound, counts, anyClient, (specs, loadBound, counts, client) => {
    const table = tableOf(specs, loadBound);
    const load = loadOf(counts.slice(0, specs.length));
    assertEquals(routeFirst(table, load, keyOf(client)), [...route(table, load, keyOf(client))][0] ?? -1);
  }));
});
