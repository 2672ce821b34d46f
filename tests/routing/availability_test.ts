// AvailabilityTable are one cell per server, the same in every thread, and beside them, per service, the weight of the
// servers that get no clients.

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  allocateAvailabilities,
  AVAILABILITY,
  AvailabilityTable,
  isClosed,
  isDraining,
  isLastResort,
  SERVER_STATES,
} from "../../lib/routing/availability.ts";
import { LIMITS } from "../../lib/values/config.ts";

const SLOTS = 5;
const SERVICES = [0, 1, LIMITS.servicesMax - 1];

Deno.test("AvailabilityTable: every server takes all its clients at first", () => {
  const availabilities = new AvailabilityTable(allocateAvailabilities(SLOTS));
  for (let slot = 0; slot < SLOTS; slot++) assertEquals(availabilities.get(slot), AVAILABILITY.full);
  for (const service of SERVICES) assertEquals(availabilities.unavailableWeightOf(service), 0);
});

Deno.test("AvailabilityTable: whoever has the same memory sees what was written", () => {
  const [writer, memory] = [new AvailabilityTable(allocateAvailabilities(SLOTS)), allocateAvailabilities(SLOTS)];
  const [one, other] = [new AvailabilityTable(memory), new AvailabilityTable(memory)];
  one.set(3, AVAILABILITY.fallback);
  one.setUnavailableWeight(4, 7);
  assertEquals([other.get(3), other.unavailableWeightOf(4)], [AVAILABILITY.fallback, 7]);
  assertEquals([writer.get(3), writer.unavailableWeightOf(4)], [AVAILABILITY.full, 0]);
});

Deno.test("AvailabilityTable: cells and the weights stand in nobody else's way", () => {
  const change = fc.record({
    slot: fc.nat(SLOTS - 1),
    availability: fc.integer({ min: AVAILABILITY.asking, max: AVAILABILITY.none }),
  });
  const weighing = fc.record({ service: fc.nat(SERVICES.length - 1), weight: fc.nat(2 ** 31 - 1) });
  fc.assert(fc.property(fc.array(fc.oneof(change, weighing)), (changes) => {
    const availabilities = new AvailabilityTable(allocateAvailabilities(SLOTS));
    const expected = { cells: Array<number>(SLOTS).fill(AVAILABILITY.full), weights: SERVICES.map(() => 0) };
    for (const change of changes) {
      if ("weight" in change) {
        availabilities.setUnavailableWeight(SERVICES[change.service], expected.weights[change.service] = change.weight);
      } else availabilities.set(change.slot, expected.cells[change.slot] = change.availability);
    }
    assertEquals(expected.cells.map((_, slot) => availabilities.get(slot)), expected.cells);
    assertEquals(SERVICES.map((service) => availabilities.unavailableWeightOf(service)), expected.weights);
  }));
});

Deno.test("AvailabilityTable: there are cells for all slots and no more", () => {
  const memory = allocateAvailabilities(SLOTS);
  const availabilities = new AvailabilityTable(memory);
  availabilities.set(SLOTS - 1, AVAILABILITY.expired);
  assertEquals(availabilities.get(SLOTS - 1), AVAILABILITY.expired);
  assertEquals(memory.byteLength, (LIMITS.servicesMax + SLOTS) * Int32Array.BYTES_PER_ELEMENT);
});

Deno.test("what an availability means for open connections and for new clients", () => {
  const those = (means: (availability: number) => boolean) =>
    Object.entries(AVAILABILITY).filter(([, availability]) => means(availability)).map(([name]) => name);
  assertEquals(those(isDraining), ["draining", "expired", "asking"]);
  assertEquals(those(isClosed), ["draining", "expired"]);
  assertEquals(those(isLastResort), ["fallback", "asking"]);
  assertEquals(isDraining(AVAILABILITY.none / 2), false);
});

Deno.test("AVAILABILITY: what is below 0 gets no clients, and all values differ", () => {
  const values = Object.values(AVAILABILITY);
  assertEquals(new Set(values).size, values.length);
  assertEquals(Object.entries(AVAILABILITY).filter(([, value]) => value >= 0).map(([name]) => name), ["full", "none"]);
});

Deno.test("SERVER_STATES are those that people read", () => {
  assertEquals([...SERVER_STATES], ["up", "resting", "down", "draining", "removing"]);
});
