// The flows between two rings are where the clients go: every sum exactly, every flow as closely as can be counted.

import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import fc from "fast-check";
import { type Flows, rekeyedFlows, ringFlows } from "../../lib/routing/flows.ts";
import { buildRing, firstOnRing, type Ring, ringShares } from "../../lib/routing/ring.ts";

/** A ring of servers with these weights, named from number `first` on; weight 0 leaves a name out. */
function ringOf(weights: readonly number[], first = 0): Ring {
  const servers = weights.map((weight, i) => ({ name: `10.0.${(first + i) >> 8}.${(first + i) & 255}:80`, weight }));
  return buildRing(servers.filter(({ weight }) => weight > 0));
}

function equal(count: number): number[] {
  return new Array<number>(count).fill(1);
}

/** The key of the client with this number; numbers that follow each other are spread over all addresses. */
function keyOf(client: number): Uint8Array {
  const mixed = Math.imul(client, 0x9e3779b1);
  return Uint8Array.of(mixed >>> 24, mixed >>> 16, mixed >>> 8, mixed);
}

function ownerName(ring: Ring, key: Uint8Array): string | null {
  return ring.serverCount === 0 ? null : ring.servers[firstOnRing(ring, key)].name;
}

/** Counts, client by client, who goes from where to where. */
function countFlows(before: Ring, after: Ring, clients: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let client = 0; client < clients; client++) {
    const [from, to] = [ownerName(before, keyOf(client)), ownerName(after, keyOf(client))];
    if (from !== to) counts.set(`${from} ${to}`, (counts.get(`${from} ${to}`) ?? 0) + 1);
  }
  return counts;
}

function sum(numbers: Iterable<number>): number {
  return [...numbers].reduce((sum, number) => sum + number, 0);
}

const CLIENTS = 100_000;

const RINGS: [what: string, before: Ring, after: Ring][] = [
  ["two of five are replaced", ringOf(equal(5)), ringOf([1, 1, 0, 0, 1, 1, 1])],
  ["every weight differs", ringOf([1, 2, 3, 1, 2]), ringOf([3, 1, 1, 2, 5])],
  ["two weights are swapped", ringOf([1, 2]), ringOf([2, 1])],
  ["servers come, go and change", ringOf([5, 1, 1, 1, 4]), ringOf([1, 0, 2, 9, 0, 3])],
  ["all are replaced", ringOf(equal(3)), ringOf(equal(3), 10)],
  ["one of ten stays", ringOf(equal(10)), ringOf([1])],
  ["one becomes ten", ringOf([1]), ringOf(equal(10))],
  ["many become two", ringOf(equal(40)), ringOf([1, ...new Array<number>(49).fill(0), 1])],
];

for (const [what, before, after] of RINGS) {
  Deno.test(`ringFlows() where ${what} are those of 100,000 clients`, () => {
    const { movedShare, flows, rest } = ringFlows(before, after);
    const counts = countFlows(before, after, CLIENTS);
    // Five standard deviations of what is counted, and the 1 in 1,000 by which the computed shares may be off.
    const within = (share: number) => 5 * Math.sqrt(share * (1 - share) / CLIENTS) + 0.001;
    assertLess(Math.abs(movedShare - sum(counts.values()) / CLIENTS), within(movedShare));
    for (const { from, to, share } of flows) {
      assertLess(Math.abs(share - (counts.get(`${from} ${to}`) ?? 0) / CLIENTS), within(share), `${from} to ${to}`);
    }
    const named = new Set(flows.map(({ from, to }) => `${from} ${to}`));
    for (const pair of counts.keys()) assert(named.has(pair), `${pair} is not listed`);
    assertEquals(rest, { count: 0, share: 0 });
  });
}

Deno.test("ringFlows() of single pairs of servers are right on the whole: no pair is off by more than chance", () => {
  const [before, after] = [ringOf(equal(30)), ringOf([...equal(15), ...new Array<number>(15).fill(0), ...equal(15)])];
  const counts = countFlows(before, after, CLIENTS);
  const { flows } = ringFlows(before, after);
  const deviations = flows.map(({ from, to, share }) =>
    ((counts.get(`${from} ${to}`) ?? 0) - share * CLIENTS) ** 2 / (share * CLIENTS)
  );
  assertAlmostEquals(sum(deviations) / flows.length, 1, 0.25); // chi-squared of 675 pairs: 1 ± 0.055
});

const anyWeights = fc.array(fc.nat(3), { maxLength: 6 });

/** Every run makes several rings. */
const RUNS = { numRuns: 40 };

Deno.test("ringFlows() change each server's share by what flows to it less what flows away", () => {
  fc.assert(
    fc.property(anyWeights, anyWeights, (weightsBefore, weightsAfter) => {
      const [before, after] = [ringOf(weightsBefore), ringOf(weightsAfter)];
      const { movedShare, flows } = ringFlows(before, after);
      const gains = new Map<string | null, number>();
      const gain = (name: string | null, share: number) => void gains.set(name, (gains.get(name) ?? 0) + share);
      for (const [index, share] of ringShares(before).entries()) gain(before.servers[index].name, share);
      for (const [index, share] of ringShares(after).entries()) gain(after.servers[index].name, -share);
      for (const { from, to, share } of flows) {
        gain(from, -share);
        gain(to, share);
      }
      for (const [name, left] of gains) if (name !== null) assertAlmostEquals(left, 0, 0.002, name);
      assertAlmostEquals(sum(flows.map(({ share }) => share)), movedShare, 1e-9);
      for (const [i, { from, to, share }] of flows.entries()) {
        assert(from !== to && share > 0 && share <= (flows[i - 1]?.share ?? 1));
      }
    }),
    RUNS,
  );
});

Deno.test("ringFlows() back are the flows there, the other way round", () => {
  fc.assert(
    fc.property(anyWeights, anyWeights, (weightsBefore, weightsAfter) => {
      const [before, after] = [ringOf(weightsBefore), ringOf(weightsAfter)];
      const sharesOf = ({ flows }: Flows, isBack: boolean) =>
        new Map(flows.map(({ from, to, share }) => [isBack ? `${to} ${from}` : `${from} ${to}`, share]));
      const [there, back] = [sharesOf(ringFlows(before, after), false), sharesOf(ringFlows(after, before), true)];
      for (const pair of [...there.keys(), ...back.keys()]) {
        assertAlmostEquals(there.get(pair) ?? 0, back.get(pair) ?? 0, 0.001, pair);
      }
    }),
    RUNS,
  );
});

Deno.test("ringFlows() of equal rings: nobody moves", () => {
  for (const ring of [ringOf([]), ringOf([2]), ringOf([1, 2, 3])]) {
    const nobody = { movedShare: 0, flows: [], rest: { count: 0, share: 0 } };
    assertEquals(ringFlows(ring, ring), nobody);
    assertEquals(ringFlows(ring, buildRing(ring.servers)), nobody);
  }
});

Deno.test("ringFlows() lists the greatest, and sums up the others", () => {
  const [before, after] = [ringOf(equal(60)), ringOf(equal(60), 30)];
  const all = ringFlows(before, after);
  for (const max of [0, 1, 100]) {
    const { movedShare, flows, rest } = ringFlows(before, after, max);
    assertEquals(movedShare, all.movedShare);
    assertEquals(flows, all.flows.slice(0, max));
    assertEquals(rest.count, all.flows.length - max);
    assertAlmostEquals(rest.share, movedShare - sum(flows.map(({ share }) => share)), 1e-9);
  }
});

Deno.test("rekeyedFlows(): the new server does not depend on the old one", () => {
  const ring = ringOf([1, 2]);
  const shares = ringShares(ring);
  const { movedShare, flows } = rekeyedFlows(ring, ring);
  assertAlmostEquals(movedShare, 2 * shares[0] * shares[1], 1e-9);
  assertEquals(flows.length, 2);
  assertEquals(rekeyedFlows(ringOf([1]), ringOf([1])).movedShare, 0);
  assertEquals(rekeyedFlows(ringOf([]), ringOf([1])).flows, [{ from: null, to: "10.0.0.0:80", share: 1 }]);
  assertEquals(rekeyedFlows(ringOf([1]), ringOf([])).flows, [{ from: "10.0.0.0:80", to: null, share: 1 }]);
});
