// Counters count what they are told, for the process and for every server, and no cell touches another.

import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  allocateCounters,
  CONNECT_SECONDS_BOUNDS,
  COUNTERS,
  Counters,
  type ProcessCounter,
  type ProcessGauge,
  type ServerCounter,
  type ServerGauge,
} from "../../lib/observe/counters.ts";
import { type Fate, FATES } from "../../lib/values/fates.ts";

const SLOTS = 3;
const fates = Object.keys(FATES) as Fate[];
const rows = Object.entries(COUNTERS);
const processCounters = namesOf<ProcessCounter>("process", "counter");
const processGauges = namesOf<ProcessGauge>("process", "gauge");
const serverCounters = namesOf<ServerCounter>("server", "counter");
const serverGauges = namesOf<ServerGauge>("server", "gauge");

function namesOf<T extends string>(scope: string, kind: string): T[] {
  return rows.filter(([, row]) => row.scope === scope && row.kind === kind).map(([name]) => name as T);
}

/** Every number that can be read. */
function readAll(counters: Counters): Record<string, number> {
  const all: Record<string, number> = {};
  for (const name of [...processCounters, ...processGauges, ...fates]) all[name] = counters.get(name);
  for (let slot = 0; slot < counters.slots; slot++) {
    for (const name of [...serverCounters, ...serverGauges, ...fates]) all[`${slot} ${name}`] = counters.getOf(slot, name);
  }
  const { counts, sum } = counters.connectSeconds();
  for (const [bucket, count] of counts.entries()) all[`bucket ${bucket}`] = count;
  return { ...all, sum };
}

/** What is not zero. */
function readChanged(counters: Counters): Record<string, number> {
  return Object.fromEntries(Object.entries(readAll(counters)).filter(([, value]) => value !== 0));
}

/** Another number in every cell. */
function fill(counters: Counters): void {
  let next = 1;
  for (const name of processCounters) counters.add(name, next++);
  for (const name of processGauges) counters.raise(name, next++);
  for (let slot = 0; slot < counters.slots; slot++) {
    for (const name of serverCounters) counters.addTo(slot, name, next++);
    for (const name of serverGauges) counters.raiseOf(slot, name, next++);
    for (const [i, fate] of fates.entries()) {
      for (let times = 0; times <= i + slot; times++) counters.addFate(fate, slot);
    }
  }
  for (const [i, bound] of CONNECT_SECONDS_BOUNDS.entries()) {
    for (let times = 0; times <= i; times++) counters.addConnectSeconds(bound);
  }
}

Deno.test("Counters begin at zero", () => assertEquals(readChanged(new Counters(allocateCounters(0, SLOTS))), {}));

for (const name of processCounters) {
  Deno.test(`add() of ${name} changes this counter only`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    counters.add(name);
    counters.add(name, 4);
    assertEquals(readChanged(counters), { [name]: 5 });
  });
}

for (const name of serverCounters) {
  Deno.test(`addTo() of ${name} changes this counter of one server only`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    counters.addTo(1, name);
    counters.addTo(1, name, 4);
    assertEquals(readChanged(counters), { [`1 ${name}`]: 5 });
  });
}

for (const fate of fates) {
  Deno.test(`addFate() of ${fate} counts for the process, and for a server where there was one`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    counters.addFate(fate, SLOTS - 1);
    counters.addFate(fate);
    assertEquals(readChanged(counters), { [fate]: 2, [`${SLOTS - 1} ${fate}`]: 1 });
  });
}

for (const name of processGauges) {
  Deno.test(`raise() of ${name} changes this gauge only, and gives what it is then`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    assertEquals([counters.raise(name), counters.raise(name, 4), counters.raise(name, -2)], [1, 5, 3]);
    assertEquals(readChanged(counters), { [name]: 3 });
  });
}

for (const name of serverGauges) {
  Deno.test(`raiseOf() of ${name} changes this gauge of one server only, and gives what it is then`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    assertEquals([counters.raiseOf(1, name), counters.raiseOf(1, name, 4), counters.raiseOf(1, name, -2)], [1, 5, 3]);
    assertEquals(readChanged(counters), { [`1 ${name}`]: 3 });
  });
}

Deno.test("Counters of several writers are added up, and gauges are one", () => {
  const shared = allocateCounters(2, SLOTS);
  const writers = [0, 1, 2].map((writer) => new Counters(shared, writer));
  for (const counters of writers) fill(counters);
  const alone = new Counters(allocateCounters(0, SLOTS));
  for (const _ of writers) fill(alone);
  for (const counters of writers) {
    const { sum, ...counts } = readAll(counters);
    const { sum: expectedSum, ...expected } = readAll(alone);
    assertEquals(counts, expected);
    assertAlmostEquals(sum, expectedSum, 1e-9); // of fractions, in another order
  }
  for (let slot = 0; slot < SLOTS; slot++) writers[0].clearSlot(slot);
  const left = Object.keys(readChanged(writers[1]));
  assertEquals(left.filter((name) => /^[0-9]/.test(name)), [], "a slot is cleared for all writers");
  assertThrows(() => new Counters(shared, 3), Error, "writer 3 is out of range");
});

Deno.test("addTo() is exact up to 2⁵³", () => {
  const counters = new Counters(allocateCounters(0, SLOTS));
  counters.addTo(0, "sentBytes", 2 ** 53 - 1);
  counters.addTo(0, "sentBytes");
  assertEquals(counters.getOf(0, "sentBytes"), 2 ** 53);
});

for (const [bucket, bound] of CONNECT_SECONDS_BOUNDS.entries()) {
  Deno.test(`addConnectSeconds() of ${bound} falls into bucket ${bucket}, and of more into the next`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    counters.addConnectSeconds(bound);
    counters.addConnectSeconds(bound * (1 + Number.EPSILON));
    const { counts, sum } = counters.connectSeconds();
    assertEquals(counts.map((count, i) => [i, count]).filter(([, count]) => count > 0), [[bucket, 1], [bucket + 1, 1]]);
    assertAlmostEquals(sum, 2 * bound, 1e-9);
  });
}

Deno.test("addConnectSeconds() has a place for 0 and for more than the greatest bound", () => {
  const counters = new Counters(allocateCounters(0, SLOTS));
  counters.addConnectSeconds(0);
  counters.addConnectSeconds(1000);
  const { counts, sum } = counters.connectSeconds();
  assertEquals(counts.length, CONNECT_SECONDS_BOUNDS.length + 1);
  assertEquals([counts[0], counts.at(-1), sum], [1, 1, 1000]);
});

Deno.test("connectSeconds() counts every time once", () => {
  fc.assert(fc.property(fc.array(fc.double({ min: 0, max: 20, noNaN: true })), (times) => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    for (const seconds of times) counters.addConnectSeconds(seconds);
    const { counts, sum } = counters.connectSeconds();
    assertEquals(counts.reduce((sum, count) => sum + count), times.length);
    assertAlmostEquals(sum, times.reduce((sum, seconds) => sum + seconds, 0), 1e-6);
  }));
});

Deno.test("CONNECT_SECONDS_BOUNDS are ascending", () => {
  assertEquals([...CONNECT_SECONDS_BOUNDS], CONNECT_SECONDS_BOUNDS.toSorted((a, b) => a - b));
});

for (let slot = 0; slot < SLOTS; slot++) {
  Deno.test(`clearSlot() of slot ${slot} leaves the other slots and the process alone`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    fill(counters);
    const before = readAll(counters);
    counters.clearSlot(slot);
    const expected = Object.entries(before).map(([name, value]) => [name, name.startsWith(`${slot} `) ? 0 : value]);
    assertEquals(readAll(counters), Object.fromEntries(expected));
  });
}

for (const slot of [-1, SLOTS, NaN]) {
  Deno.test(`Counters know no slot ${slot}`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    assertThrows(() => counters.addTo(slot, "connects"), Error, "slot out of range");
    assertThrows(() => counters.getOf(slot, "connects"), Error, "slot out of range");
    assertThrows(() => counters.addFate("done", slot), Error, "slot out of range");
    assertThrows(() => counters.clearSlot(slot), Error, "slot out of range");
    assertEquals(counters.getOf(0, "connects"), 0);
  });
}

Deno.test("COUNTERS have metric names all different, of Prometheus's form", () => {
  const metrics = rows.map(([, { metric }]) => metric);
  assertEquals(new Set(metrics).size, metrics.length);
  for (const [, { metric, kind }] of rows) {
    assertEquals([/^balancer_[a-z_]+$/.test(metric), metric.endsWith("_total")], [true, kind === "counter"], metric);
  }
});
