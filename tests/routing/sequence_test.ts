// The sequence of a policy: turns by weight, spread evenly; addresses by their numbers.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { sequenceOf } from "../../lib/routing/sequence.ts";
import { parseAddress } from "../../lib/values/address.ts";

const serversOf = (weights: readonly number[]) => weights.map((weight, i) => ({ weight, address: parseAddress(`10.0.0.${i}:80`) }));
const turnsOf = (...weights: number[]) => [...sequenceOf(serversOf(weights), "round-robin")];

Deno.test("sequenceOf() spreads the turns of a heavy server between those of the others", () => {
  assertEquals(turnsOf(1, 1, 1), [0, 1, 2]);
  assertEquals(turnsOf(3, 1), [0, 0, 1, 0]);
  assertEquals(turnsOf(5, 1, 1), [0, 0, 0, 1, 2, 0, 0]);
  assertEquals(turnsOf(256, 128), [0, 1, 0]); // in lowest terms
  assertEquals(turnsOf(), []);
});

Deno.test("sequenceOf() gives each server turns by its weight, never far behind its share", () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 8 }), (weights) => {
    const turns = turnsOf(...weights);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const had = weights.map(() => 0);
    for (const [i, server] of turns.entries()) {
      had[server]++;
      for (const [j, count] of had.entries()) {
        const due = (i + 1) * weights[j] / total;
        assert(Math.abs(count - due) <= weights.length, `${weights}: server ${j} had ${count} of ${due}`);
      }
    }
    assertEquals(had.map((count) => count * total), weights.map((weight) => weight * turns.length));
  }));
});

Deno.test("sequenceOf() has addresses in the order of their numbers, for the policy first", () => {
  const servers = ["10.0.0.10:80", "10.0.0.2:8080", "10.0.0.2:80", "9.9.9.9:80"].map((text) => ({
    weight: 1,
    address: parseAddress(text),
  }));
  assertEquals([...sequenceOf(servers, "first")], [3, 2, 1, 0]);
});

Deno.test("sequenceOf() is empty for the ring, which needs none", () => {
  assertEquals(sequenceOf(serversOf([1, 2]), "ring").length, 0);
});
