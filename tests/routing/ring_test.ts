// The ring routes alike for ever, moves only the clients that it must, and shares them out evenly.

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertGreater,
  assertLess,
  assertLessOrEqual,
  assertNotEquals,
} from "@std/assert";
import fc from "fast-check";
import { hash64 } from "../../lib/routing/hash.ts";
import {
  buildRing,
  EMPTY_RING,
  firstOnRing,
  locate,
  peakToMean,
  POINTS_PER_WEIGHT,
  PROBES,
  type Ring,
  ringFingerprint,
  type RingServer,
  ringShares,
  walkRing,
} from "../../lib/routing/ring.ts";

/** `count` servers of equal weight in one network. */
function pool(count: number, weight = 1): RingServer[] {
  return Array.from({ length: count }, (_, i) => ({ name: `10.0.${i >> 8}.${i & 255}:80`, weight }));
}

/** The key of a client with this number as its IPv4 address. */
function keyOf(client: number): Uint8Array {
  return Uint8Array.of(client >>> 24, client >>> 16, client >>> 8, client);
}

function walkNames(ring: Ring, key: Uint8Array): string[] {
  return [...walkRing(ring, key)].map((index) => ring.servers[index].name);
}

function ownerName(ring: Ring, key: Uint8Array): string {
  for (const index of walkRing(ring, key)) return ring.servers[index].name;
  throw new Error("the ring is empty");
}

function assertSameNumbers(actual: Uint32Array, expected: Uint32Array, what: string): void {
  assert(actual.length === expected.length && actual.every((number, i) => number === expected[i]), `${what} differ`);
}

function assertSameRing(actual: Ring, expected: Ring): void {
  assertEquals(actual.servers, expected.servers);
  assertSameNumbers(actual.points, expected.points, "points");
  assertSameNumbers(actual.owners, expected.owners, "owners");
  assertSameNumbers(actual.starts, expected.starts, "starts");
  assertEquals(actual.arcShift, expected.arcShift);
}

const anyName = fc.string({ minLength: 1, maxLength: 12 });
const anyKey = fc.uint8Array({ minLength: 1, maxLength: 18 });
const anyKeys = fc.array(anyKey, { minLength: 1, maxLength: 40 });

function anyPool(minLength: number, maxLength: number) {
  const server = fc.record({ name: anyName, weight: fc.integer({ min: 1, max: 3 }) }, { noNullPrototype: true });
  return fc.uniqueArray(server, { minLength, maxLength, selector: ({ name }) => name });
}

const THREE: RingServer[] = [
  { name: "10.0.0.1:80", weight: 1 },
  { name: "10.0.0.2:80", weight: 1 },
  { name: "10.0.0.3:80", weight: 1 },
];
const WEIGHTED: RingServer[] = [
  { name: "10.0.0.1:80", weight: 1 },
  { name: "[2001:db8::1]:443", weight: 7 },
  { name: "db.example:5432", weight: 3 },
];

// Golden vectors: balancers of different versions that have the same pool must send a client to the same server, so the rows of
// these two tables must never change.

const FINGERPRINTS: [string, RingServer[], string][] = [
  ["no server", [], "194bd99f"],
  ["one server", [{ name: "10.0.0.1:80", weight: 1 }], "f3372f79"],
  ["one server of weight 2", [{ name: "10.0.0.1:80", weight: 2 }], "d8c221ac"],
  ["three servers", THREE, "37cb456a"],
  ["weights up to 256", [...WEIGHTED, { name: "xn--bcher-kva.example:80", weight: 256 }], "53967a6d"],
  ["100 servers", pool(100), "d5bada09"],
  ["1,000 servers", pool(1000), "ec44de71"],
];

for (const [what, servers, fingerprint] of FINGERPRINTS) {
  Deno.test(`ringFingerprint() of ${what} is ${fingerprint}`, () => {
    assertEquals(ringFingerprint(buildRing(servers)), fingerprint);
  });
}

const WALKS: [string, RingServer[], string, string[]][] = [
  ["three servers", THREE, "c0000201", ["10.0.0.1:80", "10.0.0.3:80", "10.0.0.2:80"]],
  ["three servers", THREE, "c0000202", ["10.0.0.3:80", "10.0.0.2:80", "10.0.0.1:80"]],
  ["three servers", THREE, "c00002010050", ["10.0.0.1:80", "10.0.0.3:80", "10.0.0.2:80"]],
  ["three servers", THREE, "20010db8000000000000000000000001", ["10.0.0.3:80", "10.0.0.1:80", "10.0.0.2:80"]],
  ["three servers", THREE, "20010db80000000000000000000000010050", ["10.0.0.3:80", "10.0.0.1:80", "10.0.0.2:80"]],
  ["weights", WEIGHTED, "c0000201", ["[2001:db8::1]:443", "db.example:5432", "10.0.0.1:80"]],
  ["weights", WEIGHTED, "c0000202", ["db.example:5432", "[2001:db8::1]:443", "10.0.0.1:80"]],
  ["weights", WEIGHTED, "c00002010050", ["db.example:5432", "[2001:db8::1]:443", "10.0.0.1:80"]],
  ["weights", WEIGHTED, "20010db8000000000000000000000001", ["[2001:db8::1]:443", "10.0.0.1:80", "db.example:5432"]],
  ["weights", WEIGHTED, "20010db80000000000000000000000010050", ["[2001:db8::1]:443", "10.0.0.1:80", "db.example:5432"]],
  ["100 servers", pool(100), "c0000201", ["10.0.0.32:80", "10.0.0.43:80", "10.0.0.60:80"]],
  ["100 servers", pool(100), "c0000202", ["10.0.0.72:80", "10.0.0.69:80", "10.0.0.16:80"]],
  ["100 servers", pool(100), "c00002010050", ["10.0.0.50:80", "10.0.0.42:80", "10.0.0.29:80"]],
  ["100 servers", pool(100), "20010db8000000000000000000000001", ["10.0.0.70:80", "10.0.0.37:80", "10.0.0.3:80"]],
  ["100 servers", pool(100), "20010db80000000000000000000000010050", ["10.0.0.96:80", "10.0.0.81:80", "10.0.0.64:80"]],
];

for (const [what, servers, key, names] of WALKS) {
  Deno.test(`walkRing() of ${what} begins with ${names[0]} for the client ${key}`, () => {
    assertEquals(walkNames(buildRing(servers), Uint8Array.fromHex(key)).slice(0, names.length), names);
  });
}

Deno.test("buildRing() gives the same ring for any order of the servers", () => {
  const shuffled = anyPool(0, 8).chain((servers) =>
    fc.record({ servers: fc.constant(servers), shuffled: fc.shuffledSubarray(servers, { minLength: servers.length }) })
  );
  fc.assert(fc.property(shuffled, ({ servers, shuffled }) => assertSameRing(buildRing(shuffled), buildRing(servers))));
});

Deno.test("buildRing() leaves its input as it was", () => {
  const servers = pool(3).reverse();
  buildRing(servers);
  assertEquals(servers, pool(3).reverse());
});

Deno.test("buildRing() with no servers is EMPTY_RING, also when there were some before", () => {
  assertSameRing(buildRing([]), EMPTY_RING);
  assertSameRing(buildRing([], buildRing(pool(3))), EMPTY_RING);
});

Deno.test("buildRing() from a previous ring equals building from scratch, over any adds, removals and new weights", () => {
  const change = fc.record({ name: fc.constantFrom("a", "b", "c", "d", "e", "f"), weight: fc.integer({ min: 0, max: 3 }) });
  const changes = fc.array(fc.array(change, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 8 });
  fc.assert(fc.property(changes, (changes) => {
    const weights = new Map<string, number>();
    let ring = EMPTY_RING;
    for (const step of changes) {
      for (const { name, weight } of step) weights.set(name, weight);
      const servers = [...weights].map(([name, weight]) => ({ name, weight })).filter(({ weight }) => weight > 0);
      ring = buildRing(servers, ring);
      assertSameRing(ring, buildRing(servers));
    }
  }));
});

Deno.test("buildRing() does not change the previous ring", () => {
  const previous = buildRing(pool(5));
  const kept = structuredClone(previous);
  buildRing(pool(7).slice(2), previous);
  assertSameRing(previous, kept);
});

Deno.test("buildRing() gives every server its points in ascending order", () => {
  fc.assert(fc.property(anyPool(1, 8), (servers) => {
    const ring = buildRing(servers);
    const counts = new Uint32Array(ring.servers.length);
    for (let i = 0; i < ring.points.length; i++) {
      assert(i === 0 || ring.points[i - 1] <= ring.points[i]);
      counts[ring.owners[i]]++;
    }
    assertEquals([...counts], ring.servers.map(({ weight }) => weight * POINTS_PER_WEIGHT));
  }));
});

Deno.test("buildRing() gives a server the same points whatever else is in the pool", () => {
  fc.assert(fc.property(anyPool(1, 8), (servers) => {
    const ring = buildRing(servers);
    for (const [index, server] of ring.servers.entries()) {
      const own = ring.points.filter((_, i) => ring.owners[i] === index);
      assertSameNumbers(own, buildRing([server]).points, "points");
    }
  }));
});

Deno.test("buildRing() gives names that differ in one digit no points in common, at weight 10", () => {
  const servers = Array.from({ length: 10 }, (_, i) => ({ name: `10.1.0.${i}:80`, weight: 10 }));
  const { points } = buildRing(servers);
  assertEquals(new Set(points).size, points.length);
});

Deno.test("walkRing() of an empty ring yields nothing", () => {
  assertEquals([...walkRing(EMPTY_RING, keyOf(1))], []);
});

Deno.test("walkRing() visits every server once", () => {
  fc.assert(fc.property(anyPool(1, 12), anyKey, (servers, key) => {
    assertEquals(walkNames(buildRing(servers), key).toSorted(), servers.map(({ name }) => name).toSorted());
  }));
});

for (const count of [63, 64, 65, 66, 128, 200, 1000]) {
  Deno.test(`walkRing() visits every one of ${count} servers once`, () => {
    const ring = buildRing(pool(count));
    for (let client = 0; client < 50; client++) {
      const walk = [...walkRing(ring, keyOf(client))];
      assertEquals(walk.length, count);
      assertEquals(new Set(walk).size, count);
    }
  });
}

/**
 * For each server the least distance from a probe to a point of its own, in ascending order: the definition, without any search.
 */
function plainWalk(ring: Ring, key: Uint8Array): { index: number; distance: number }[] {
  const { high, low } = hash64(key);
  const distances = ring.servers.map(() => Infinity);
  for (let i = 0n; i < BigInt(PROBES); i++) {
    const probe = Number((BigInt(high) + i * BigInt(low | 1)) & 0xffff_ffffn);
    for (const [at, point] of ring.points.entries()) {
      const distance = point >= probe ? point - probe : point - probe + 2 ** 32;
      distances[ring.owners[at]] = Math.min(distances[ring.owners[at]], distance);
    }
  }
  return distances.map((distance, index) => ({ index, distance })).sort((a, b) => a.distance - b.distance);
}

Deno.test("walkRing() agrees with comparing every probe with every point", () => {
  fc.assert(
    fc.property(anyPool(1, 6), anyKey, (servers, key) => {
      const ring = buildRing(servers);
      const plain = plainWalk(ring, key);
      const distances = new Map(plain.map(({ index, distance }) => [index, distance]));
      assertEquals([...walkRing(ring, key)].map((index) => distances.get(index)), plain.map(({ distance }) => distance));
    }),
    { numRuns: 50 },
  );
});

Deno.test("walkRing() goes on from the first point behind the last", () => {
  const servers = [{ name: "a", weight: 1 }, { name: "b", weight: 1 }];
  const halves = {
    points: Uint32Array.of(10, 2 ** 31),
    owners: Uint32Array.of(0, 1),
    starts: Uint32Array.of(0, 1, 2),
    arcShift: 31,
  };
  const ring: Ring = { servers, serverCount: servers.length, ...halves };
  for (let client = 0; client < 200; client++) {
    assertEquals([...walkRing(ring, keyOf(client))], plainWalk(ring, keyOf(client)).map(({ index }) => index));
  }
});

Deno.test("locate() agrees with firstOnRing(), and its probe and point are as near as the nearest of all", () => {
  fc.assert(
    fc.property(anyPool(1, 6), anyKey, (servers, key) => {
      const ring = buildRing(servers);
      const { probe, probePlace, point, owner } = locate(ring, key);
      const { high, low } = hash64(key);
      assertEquals(owner, firstOnRing(ring, key));
      assertEquals(probePlace, Number((BigInt(high) + BigInt(probe) * BigInt(low | 1)) & 0xffff_ffffn));
      assertEquals((point - probePlace) >>> 0, plainWalk(ring, key)[0].distance);
      assert(ring.points.some((place, i) => place === point && ring.owners[i] === owner));
    }),
    { numRuns: 50 },
  );
});

Deno.test("locate() of a probe behind the last point finds the first", () => {
  const ring: Ring = {
    servers: [{ name: "a", weight: 1 }],
    serverCount: 1,
    points: Uint32Array.of(0),
    owners: Uint32Array.of(0),
    starts: Uint32Array.of(0, 1, 1),
    arcShift: 31,
  };
  const { probePlace, point } = locate(ring, keyOf(1));
  assertGreater(probePlace, 0);
  assertEquals(point, 0);
});

Deno.test("walkRing() without a server is the old walk without it: removing a server moves only its own clients", () => {
  const pools = anyPool(2, 12);
  fc.assert(fc.property(pools, fc.nat(), anyKeys, (servers, at, keys) => {
    const removed = servers[at % servers.length];
    const before = buildRing(servers);
    const after = buildRing(servers.filter((server) => server !== removed), before);
    for (const key of keys) {
      const walk = walkNames(before, key);
      assertEquals(walkNames(after, key), walk.filter((name) => name !== removed.name));
    }
  }));
});

Deno.test("walkRing() sends the clients of a removed server to the second on their old way, in a pool of 200", () => {
  const before = buildRing(pool(200));
  let moved = 0;
  for (let at = 0; at < 200; at += 20) {
    const removed = before.servers[at].name;
    const after = buildRing(before.servers.filter(({ name }) => name !== removed), before);
    for (let client = 0; client < 2000; client++) {
      const [first, second] = walkRing(before, keyOf(client));
      const isMoved = before.servers[first].name === removed;
      moved += Number(isMoved);
      assertEquals(ownerName(after, keyOf(client)), before.servers[isMoved ? second : first].name);
    }
  }
  assertGreater(moved, 0);
});

Deno.test("walkRing() sends clients of others to an added server only", () => {
  fc.assert(fc.property(anyPool(2, 12), anyKeys, ([added, ...servers], keys) => {
    const before = buildRing(servers);
    const after = buildRing([...servers, added], before);
    for (const key of keys) {
      const owner = ownerName(after, key);
      if (owner !== added.name) assertEquals(owner, ownerName(before, key));
    }
  }));
});

Deno.test("walkRing() sends clients only to a server whose weight grows, and only away from one whose weight falls", () => {
  fc.assert(fc.property(anyPool(1, 8), anyKeys, ([changed, ...others], keys) => {
    const lighter = buildRing([changed, ...others]);
    const heavier = buildRing([{ ...changed, weight: changed.weight + 2 }, ...others], lighter);
    for (const key of keys) {
      const owner = ownerName(heavier, key);
      if (owner !== changed.name) assertEquals(owner, ownerName(lighter, key));
    }
  }));
});

Deno.test("ringShares() of an empty ring has no shares, and of one server the whole", () => {
  assertEquals(ringShares(EMPTY_RING).length, 0);
  assertAlmostEquals(ringShares(buildRing(pool(1)))[0], 1, 1e-9);
});

Deno.test("ringShares() add up to 1", () => {
  fc.assert(fc.property(anyPool(1, 12), (servers) => {
    assertAlmostEquals(ringShares(buildRing(servers)).reduce((sum, share) => sum + share), 1, 1e-6);
  }));
});

Deno.test("ringShares() agrees with where 200,000 clients go", () => {
  const ring = buildRing(pool(10));
  const counts = new Uint32Array(10);
  for (let client = 0; client < 200_000; client++) {
    for (const index of walkRing(ring, keyOf(client))) {
      counts[index]++;
      break;
    }
  }
  const shares = ringShares(ring);
  for (const [index, count] of counts.entries()) assertAlmostEquals(count / 200_000 / shares[index], 1, 0.02);
});

for (const count of [10, 100, 1000]) {
  Deno.test(`peakToMean() of ${count} equal servers is at most 1.05`, () => {
    const ring = buildRing(pool(count));
    const peak = peakToMean(ring, ringShares(ring));
    assertLessOrEqual(peak, 1.05);
    assertGreater(peak, 1);
  });
}

Deno.test("peakToMean() of 100 servers of weight 10 whose names differ in one digit is at most 1.05", () => {
  const ring = buildRing(Array.from({ length: 100 }, (_, i) => ({ name: `10.1.0.${i}:80`, weight: 10 })));
  assertLessOrEqual(peakToMean(ring, ringShares(ring)), 1.05);
});

Deno.test("peakToMean() of an empty ring is 0", () => assertEquals(peakToMean(EMPTY_RING, ringShares(EMPTY_RING)), 0));

Deno.test("peakToMean() compares with the fair share by weight", () => {
  const ring = buildRing([{ name: "a", weight: 1 }, { name: "b", weight: 3 }]);
  assertAlmostEquals(peakToMean(ring, Float64Array.of(0.25, 0.75)), 1, 1e-12);
  assertAlmostEquals(peakToMean(ring, Float64Array.of(0.5, 0.5)), 2, 1e-12);
});

Deno.test("ringShares() of 100 servers with weights from 1 to 10 are within 5 % of their fair shares", () => {
  const servers = pool(100).map(({ name }, i) => ({ name, weight: i % 10 + 1 }));
  const ring = buildRing(servers);
  const weightTotal = servers.reduce((sum, { weight }) => sum + weight, 0);
  for (const [index, share] of ringShares(ring).entries()) {
    assertLess(Math.abs(share * weightTotal / ring.servers[index].weight - 1), 0.05, ring.servers[index].name);
  }
});

Deno.test("ringFingerprint() differs when a name, a weight or the number of servers differs", () => {
  const changes: RingServer[][] = [
    THREE.slice(1),
    [...THREE, { name: "10.0.0.4:80", weight: 1 }],
    [{ name: "10.0.0.1:81", weight: 1 }, ...THREE.slice(1)],
    [{ name: "10.0.0.1:80", weight: 2 }, ...THREE.slice(1)],
    [],
  ];
  const fingerprints = [THREE, ...changes].map((servers) => ringFingerprint(buildRing(servers)));
  assertEquals(new Set(fingerprints).size, fingerprints.length);
});

Deno.test("ringFingerprint() is the same for equal pools, however they came about", () => {
  const ring = buildRing(pool(20), buildRing(pool(30).slice(10), buildRing(pool(5, 3))));
  assertEquals(ringFingerprint(ring), ringFingerprint(buildRing(pool(20))));
  assertNotEquals(ringFingerprint(ring), ringFingerprint(buildRing(pool(20, 2))));
});

Deno.test("buildRing() and walkRing() work with 10,000 servers, where some points are equal", () => {
  const servers = pool(10_000);
  const ring = buildRing(servers);
  assertLess(new Set(ring.points).size, ring.points.length);
  for (let client = 0; client < 1000; client++) {
    const [first, second] = walkRing(ring, keyOf(client));
    assert(first !== second && first < 10_000 && second < 10_000);
  }
  assertEquals(new Set(walkRing(ring, keyOf(1))).size, 10_000);
  assertSameRing(buildRing(servers, buildRing(servers.filter((_, i) => i % 1000 !== 0))), ring);
});
