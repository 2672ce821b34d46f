// The ring as it is drawn says what the ring itself says.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseAddress, parseKeyRule } from "../../lib/values/address.ts";
import { AVAILABILITY } from "../../lib/routing/availability.ts";
import { newTurns } from "../../lib/routing/candidates.ts";
import { planChange, type PoolChange } from "../../lib/routing/plan.ts";
import { binCircle, pictureRing } from "../../lib/routing/ring_picture.ts";
import { buildRing } from "../../lib/routing/ring.ts";
import type { Load } from "../../lib/routing/route.ts";
import { emptyTable, nextTable, type RoutingTable } from "../../lib/routing/routing_table.ts";

const SERVERS = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"];

function tableOf(policy: "ring" | "random" = "ring"): RoutingTable {
  const rows = SERVERS.map((name, slot) => ({ name, weight: 1, address: parseAddress(name), connectionsMax: Infinity, slot }));
  return nextTable(emptyTable(parseKeyRule("ip"), 1.25, policy), rows);
}

function loadOf(out: readonly number[] = [], availability: number = AVAILABILITY.fallback): Load {
  return {
    open: 0,
    unavailableWeight: out.length,
    tiersInUse: 0,
    turns: newTurns(() => 0.5),
    openOf: () => 0,
    availabilityOf: (slot) => out.includes(slot) ? availability : AVAILABILITY.full,
  };
}

/** The owner of a place on the circle, by looking at every point. */
function ownerAt({ points, owners }: ReturnType<typeof buildRing>, place: number): number {
  const next = points.findIndex((point) => point >= place);
  return owners[next < 0 ? 0 : next];
}

Deno.test("binCircle() gives each bin to the server that owns most of it", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 40 }), (count, bins) => {
      const ring = buildRing(SERVERS.concat("10.0.1.1:80", "10.0.1.2:80").slice(0, count).map((name) => ({ name, weight: 1 })));
      const { owners, servers } = binCircle(ring, bins);
      assertEquals(servers, ring.servers.map(({ name }) => name));
      assertEquals(owners.length, bins);
      const samples = 400;
      for (let bin = 0; bin < bins; bin++) {
        const seen = new Map<number, number>();
        for (let i = 0; i < samples; i++) {
          const owner = ownerAt(ring, 2 ** 32 * (bin + (i + 0.5) / samples) / bins);
          seen.set(owner, (seen.get(owner) ?? 0) + 1);
        }
        const most = Math.max(...seen.values());
        assert((seen.get(owners[bin]) ?? 0) >= 0.8 * most - 8, `bin ${bin} of ${bins}: ${owners[bin]} of ${[...seen]}`);
      }
    }),
    { numRuns: 20 },
  );
});

Deno.test("binCircle() of an empty ring has no owners", () => {
  assertEquals(binCircle(buildRing([]), 3), { servers: [], owners: [-1, -1, -1] });
});

Deno.test("pictureRing() says who takes over from a server that is down, as its removal would", () => {
  for (const availability of [AVAILABILITY.fallback, AVAILABILITY.draining]) {
    const { takenOver, after } = pictureRing({ table: tableOf(), load: loadOf([2], availability), bins: 72 });
    assertEquals(after, null);
    const planned = planChange({
      table: tableOf(),
      change: { kind: "remove", server: SERVERS[2] },
      policy: { redistribute: "idle", quietMs: 250, replaysMax: 1, replayBytesMax: 65_536 },
      load: loadOf(),
      connections: [],
    });
    assertEquals(takenOver.map(({ from, to }) => [from, to]).sort(), planned.flows.map(({ from, to }) => [from, to]).sort());
    const sum = takenOver.reduce((sum, { share }) => sum + share, 0);
    assertAlmostEquals(sum, planned.movedShare!, 1e-9);
  }
});

Deno.test("pictureRing() says nothing of take-overs while all servers are up, or none is", () => {
  for (const out of [[], [0, 1, 2, 3]]) assertEquals(pictureRing({ table: tableOf(), load: loadOf(out), bins: 8 }).takenOver, []);
});

Deno.test("pictureRing() draws the ring after a change", () => {
  const changes: [PoolChange, string[]][] = [
    [{ kind: "remove", server: SERVERS[0] }, SERVERS.slice(1)],
    [{ kind: "add", server: "10.0.0.9:80", weight: 1 }, [...SERVERS, "10.0.0.9:80"]],
    [{ kind: "weight", server: SERVERS[0], weight: 2 }, SERVERS],
  ];
  for (const [change, servers] of changes) {
    const { circle, after } = pictureRing({ table: tableOf(), load: loadOf(), bins: 360, change });
    assertEquals(after?.servers, servers);
    const differ = after!.owners.filter((owner, bin) => after!.servers[owner] !== circle.servers[circle.owners[bin]]).length;
    assert(differ > 20 && differ < 180, `${change.kind}: ${differ}`);
  }
});

Deno.test("pictureRing() draws no circle for a policy without owners", () => {
  const { policy, circle, takenOver } = pictureRing({ table: tableOf("random"), load: loadOf([1]), bins: 8 });
  assertEquals([policy, circle, takenOver], ["random", { servers: [], owners: [] }, []]);
});
