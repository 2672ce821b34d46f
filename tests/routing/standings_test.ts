// Standings are one cell per server, the same in every thread, and beside them the weight of the servers that get no clients.

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { allocateStandings, isLeaving, SERVER_STATES, STANDING, Standings } from "../../lib/routing/standings.ts";

const SLOTS = 5;

Deno.test("Standings: every server takes all its clients at first", () => {
  const standings = new Standings(allocateStandings(SLOTS));
  for (let slot = 0; slot < SLOTS; slot++) assertEquals(standings.get(slot), STANDING.full);
  assertEquals(standings.weightAway, 0);
});

Deno.test("Standings: whoever has the same memory sees what was written", () => {
  const [writer, memory] = [new Standings(allocateStandings(SLOTS)), allocateStandings(SLOTS)];
  const [one, other] = [new Standings(memory), new Standings(memory)];
  one.set(3, STANDING.lastResort);
  one.weightAway = 7;
  assertEquals([other.get(3), other.weightAway], [STANDING.lastResort, 7]);
  assertEquals([writer.get(3), writer.weightAway], [STANDING.full, 0]);
});

Deno.test("Standings: cells and the weight stand in nobody else's way", () => {
  const change = fc.record({ slot: fc.nat(SLOTS - 1), standing: fc.integer({ min: STANDING.over, max: STANDING.none }) });
  const weight = fc.nat(2 ** 31 - 1);
  fc.assert(fc.property(fc.array(fc.oneof(change, weight)), (changes) => {
    const standings = new Standings(allocateStandings(SLOTS));
    const expected = { cells: Array<number>(SLOTS).fill(STANDING.full), weightAway: 0 };
    for (const change of changes) {
      if (typeof change === "number") standings.weightAway = expected.weightAway = change;
      else standings.set(change.slot, expected.cells[change.slot] = change.standing);
    }
    assertEquals(expected.cells.map((_, slot) => standings.get(slot)), expected.cells);
    assertEquals(standings.weightAway, expected.weightAway);
  }));
});

Deno.test("Standings: there are cells for all slots and no more", () => {
  const memory = allocateStandings(SLOTS);
  const standings = new Standings(memory);
  standings.set(SLOTS - 1, STANDING.over);
  assertEquals(standings.get(SLOTS - 1), STANDING.over);
  assertEquals(memory.byteLength, (1 + SLOTS) * Int32Array.BYTES_PER_ELEMENT);
});

Deno.test("isLeaving() is so for servers that are draining or have no time left, and for nobody else", () => {
  const leaving = Object.entries(STANDING).filter(([, standing]) => isLeaving(standing)).map(([name]) => name);
  assertEquals(leaving, ["leaving", "over"]);
  assertEquals(isLeaving(STANDING.none / 2), false);
});

Deno.test("STANDING: what is below 0 gets no clients, and all values differ", () => {
  const values = Object.values(STANDING);
  assertEquals(new Set(values).size, values.length);
  assertEquals(Object.entries(STANDING).filter(([, value]) => value >= 0).map(([name]) => name), ["full", "none"]);
});

Deno.test("SERVER_STATES are those that people read", () => {
  assertEquals([...SERVER_STATES], ["up", "resting", "down", "draining"]);
});
