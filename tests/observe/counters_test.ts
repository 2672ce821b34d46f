// Counters count what they are told, for the process and for every server, and no cell touches another.

import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  allocateCounters,
  COUNTERS,
  Counters,
  DETAIL,
  type HistogramName,
  HISTOGRAMS,
  type ListenerCounter,
  type ListenerGauge,
  type ProcessCounter,
  type ProcessGauge,
  type ServerCounter,
  type ServerGauge,
  type ServiceCounter,
  type ServiceGauge,
} from "../../lib/observe/counters.ts";
import { connectBucketOf } from "../../lib/observe/connect_times.ts";
import { NO_SERVICE } from "../../lib/routing/name_routes.ts";
import { LIMITS } from "../../lib/values/config.ts";
import { type Fate, FATES } from "../../lib/values/fates.ts";

const SLOTS = 3;
const fates = Object.keys(FATES) as Fate[];
const rows = Object.entries(COUNTERS);
const processCounters = namesOf<ProcessCounter>("process", "counter");
const processGauges = namesOf<ProcessGauge>("process", "gauge");
const serverCounters = namesOf<ServerCounter>("server", "counter");
const serverGauges = namesOf<ServerGauge>("server", "gauge");
const listenerCounters = namesOf<ListenerCounter>("listener", "counter");
const listenerGauges = namesOf<ListenerGauge>("listener", "gauge");
const serviceCounters = namesOf<ServiceCounter>("service", "counter");
const serviceGauges = namesOf<ServiceGauge>("service", "gauge");
const LISTENERS = [0, 1, LIMITS.listenersMax - 1];
const SERVICES = [0, 1, LIMITS.servicesMax - 1];
const histograms = Object.keys(HISTOGRAMS) as HistogramName[];

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
  for (const listener of LISTENERS) {
    for (const name of [...listenerCounters, ...listenerGauges]) {
      all[`listener ${listener} ${name}`] = counters.getOfListener(listener, name);
    }
  }
  for (const service of SERVICES) {
    for (const name of [...serviceCounters, ...serviceGauges, ...fates]) {
      all[`service ${service} ${name}`] = counters.getOfService(service, name);
    }
  }
  for (const name of histograms) {
    const slots = HISTOGRAMS[name].scope === "server" ? Array.from({ length: counters.slots }, (_, slot) => slot) : [undefined];
    for (const slot of slots) {
      const { counts, sum } = counters.histogram(name, slot);
      const before = slot === undefined ? name : `${slot} ${name}`;
      for (const [bucket, count] of counts.entries()) all[`${before} ${bucket}`] = count;
      all[`${before} sum`] = sum;
    }
  }
  return all;
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
      for (let times = 0; times <= i + slot; times++) counters.addFate(fate, 1, slot, i * times);
    }
    for (const [i, bound] of HISTOGRAMS.serverConnectSeconds.bounds.entries()) {
      for (let times = 0; times <= i + slot; times++) counters.addConnect(slot, bound);
    }
  }
  for (const listener of LISTENERS) {
    for (const name of listenerCounters) counters.addToListener(listener, name, next++);
    counters.addAccepted(0, listener);
  }
  for (const service of SERVICES) {
    for (const name of serviceCounters) counters.addToService(service, name, next++);
    counters.addAccepted(service, 0);
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
  Deno.test(`addFate() of ${fate} counts for the process, the service, and for a server where there was one`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    counters.addFate(fate, 1, SLOTS - 1);
    counters.addFate(fate, LIMITS.servicesMax - 1);
    const lasted = { "connectionSeconds 0": 1 };
    assertEquals(readChanged(counters), {
      [fate]: 2,
      [`service 1 ${fate}`]: 1,
      [`service ${LIMITS.servicesMax - 1} ${fate}`]: 1,
      [`${SLOTS - 1} ${fate}`]: 1,
      ...lasted,
    });
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
    const all = readAll(counters);
    for (const [name, expected] of Object.entries(readAll(alone))) {
      assertAlmostEquals(all[name], expected, 1e-9, name); // sums of fractions, in another order
    }
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

for (const name of listenerCounters) {
  Deno.test(`addToListener() of ${name} changes this counter of one listener only`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    counters.addToListener(1, name);
    counters.addToListener(1, name, 4);
    assertEquals(readChanged(counters), { [`listener 1 ${name}`]: 5 });
  });
}

Deno.test("addAccepted() and lowerOpen() count a client for the process, its service and its listener", () => {
  const counters = new Counters(allocateCounters(0, SLOTS));
  assertEquals([counters.addAccepted(1, LIMITS.listenersMax - 1), counters.addAccepted(0, 1)], [1, 2]);
  counters.lowerOpen(0, 1);
  assertEquals(readChanged(counters), {
    accepted: 2,
    open: 1,
    "service 0 serviceAccepted": 1,
    "service 1 serviceAccepted": 1,
    "service 1 serviceOpen": 1,
    "listener 1 listenerAccepted": 1,
    [`listener ${LIMITS.listenersMax - 1} listenerAccepted`]: 1,
    [`listener ${LIMITS.listenersMax - 1} listenerOpen`]: 1,
  });
});

for (const [index, service] of SERVICES.entries()) {
  Deno.test(`clearService() and clearListener() of the ${index + 1}. leave the others alone, and what is open`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    fill(counters);
    const before = readAll(counters);
    counters.clearService(service);
    counters.clearListener(LISTENERS[index]);
    const isCleared = (name: string) =>
      (name.startsWith(`service ${service} `) || name.startsWith(`listener ${LISTENERS[index]} `)) && !name.endsWith("Open");
    const expected = Object.entries(before).map(([name, value]) => [name, isCleared(name) ? 0 : value]);
    assertEquals(readAll(counters), Object.fromEntries(expected));
  });
}

Deno.test("a client whose service is not known is counted for its listener, and for a service once it is known", () => {
  const counters = new Counters(allocateCounters(0, SLOTS));
  for (let open = 1; open <= 3; open++) assertEquals(counters.addAccepted(NO_SERVICE, 1), open);
  counters.addNamed(1, 1);
  assertEquals(readChanged(counters), {
    accepted: 3,
    open: 3,
    "listener 1 listenerAccepted": 3,
    "listener 1 listenerOpen": 3,
    "listener 1 listenerAwaiting": 2,
    "service 1 serviceAccepted": 1,
    "service 1 serviceOpen": 1,
  });
  counters.addFate("no_service", NO_SERVICE);
  counters.lowerOpen(NO_SERVICE, 1);
  counters.lowerOpen(1, 1);
  const { open, no_service, ...rest } = readChanged(counters);
  assertEquals([open, no_service], [1, 1]);
  assertEquals([rest["listener 1 listenerOpen"], rest["listener 1 listenerAwaiting"], rest["service 1 serviceOpen"]], [
    1,
    1,
    undefined,
  ]);
});

for (const service of [-2, LIMITS.servicesMax, NaN]) {
  Deno.test(`Counters know no service ${service}`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    assertThrows(() => counters.addFate("done", service), Error, "service out of range");
    assertThrows(() => counters.getOfService(service, "serviceOpen"), Error, "service out of range");
  });
}

for (const listener of [-1, LIMITS.listenersMax, NaN]) {
  Deno.test(`Counters know no listener ${listener}`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    assertThrows(() => counters.addToListener(listener, "listenerAccepted"), Error, "listener out of range");
  });
}

for (const [bucket, bound] of HISTOGRAMS.connectSeconds.bounds.entries()) {
  Deno.test(`addConnect() of ${bound} falls into bucket ${bucket}, and of more into the next`, () => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    counters.addConnect(1, bound);
    counters.addConnect(1, bound * (1 + Number.EPSILON));
    const { counts, sum } = counters.histogram("connectSeconds");
    assertEquals(counts.map((count, i) => [i, count]).filter(([, count]) => count > 0), [[bucket, 1], [bucket + 1, 1]]);
    assertAlmostEquals(sum, 2 * bound, 1e-9);
  });
}

Deno.test("addConnect() has a place for 0 and for more than the greatest bound, of the process and of the server alone", () => {
  const counters = new Counters(allocateCounters(0, SLOTS));
  counters.addConnect(1, 0);
  counters.addConnect(1, 1000);
  for (const [name, slot] of [["connectSeconds", undefined], ["serverConnectSeconds", 1]] as const) {
    const { counts, sum } = counters.histogram(name, slot);
    assertEquals(counts.length, HISTOGRAMS[name].bounds.length + 1);
    assertEquals([counts[0], counts.at(-1), sum], [1, 1, 1000]);
  }
  assertEquals(counters.getOf(1, "connects"), 2);
  for (const slot of [0, 2]) assertEquals(counters.histogram("serverConnectSeconds", slot).sum, 0);
});

Deno.test("addFate() counts how long connections lasted that had a server, and no others", () => {
  fc.assert(fc.property(fc.array(fc.double({ min: 0, max: 1e6, noNaN: true })), (times) => {
    const counters = new Counters(allocateCounters(0, SLOTS));
    for (const seconds of times) counters.addFate("done", 0, 2, seconds);
    for (const seconds of times) counters.addFate("refused_limit", 0, undefined, seconds);
    const { counts, sum } = counters.histogram("connectionSeconds");
    assertEquals(counts.reduce((sum, count) => sum + count), times.length);
    assertAlmostEquals(sum, times.reduce((sum, seconds) => sum + seconds, 0), 1e-3);
  }));
});

for (const [name, { bounds }] of Object.entries(HISTOGRAMS)) {
  Deno.test(`the bounds of ${name} are ascending`, () => assertEquals([...bounds], bounds.toSorted((a, b) => a - b)));
}

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
    assertThrows(() => counters.addFate("done", 0, slot), Error, "slot out of range");
    assertThrows(() => counters.clearSlot(slot), Error, "slot out of range");
    assertEquals(counters.getOf(0, "connects"), 0);
  });
}

Deno.test("COUNTERS have metric names all different, of Prometheus's form", () => {
  const metrics = rows.map(([, row]) => `${row.metric} ${JSON.stringify("labels" in row ? row.labels : {})}`);
  assertEquals(new Set(metrics).size, metrics.length, "rows of one metric have other labels");
  for (const [, group] of Map.groupBy(rows, ([, { metric }]) => metric)) {
    assertEquals(new Set(group.map(([, { kind, scope, help }]) => `${kind} ${scope} ${help}`)).size, 1, "and nothing else");
  }
  for (const [, { metric, kind }] of rows) {
    assertEquals([/^balancer_[a-z_]+$/.test(metric), metric.endsWith("_total")], [true, kind === "counter"], metric);
  }
});

Deno.test("moves and connect times are counted for their servers, by every thread, until the slot is another's", () => {
  const shared = allocateCounters(1, SLOTS);
  const [main, worker] = [0, 1].map((writer) => new Counters(shared, writer));
  const details = new Uint32Array(DETAIL.cells);
  const movesOf = (slot: number) => {
    main.readDetails(slot, details);
    return [...details.subarray(DETAIL.movedIn)];
  };
  main.addMove(0, 1, "unsent");
  worker.addMove(0, 1, "idle");
  worker.addMove(undefined, 1, "idle");
  assertEquals([main.get("movedUnsent"), main.get("movedIdle"), main.getOf(0, "movedAway")], [1, 2, 2]);
  assertEquals([movesOf(0), movesOf(1), movesOf(2)], [[0, 0, 0, 1, 0, 1], [1, 0, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0]]);
  worker.addConnect(1, 0.5);
  main.addConnect(1, 0.5);
  main.readDetails(1, details);
  assertEquals(details[DETAIL.connectTimes + connectBucketOf(0.5)], 2);
  details.fill(7);
  main.readDetails(1, details, DETAIL.movedIn);
  assertEquals([details[0], details[DETAIL.movedIn]], [7, 1]);
  main.clearSlot(1);
  main.readDetails(1, details);
  assertEquals([...details], Array.from(details, () => 0));
  assertEquals(movesOf(0), [0, 0, 0, 1, 0, 1]);
});
