// The last ends are kept, floods are thinned out, and no fate pushes out another.

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import { type Fate, FATE_NAMES } from "../../lib/values/fates.ts";
import type { EndedConnection } from "../../lib/observe/connections.ts";
import { LIMITS } from "../../lib/values/config.ts";
import { DONE_PER_SECOND_MAX, FATE_PER_SECOND_MAX, RECENT_PER_FATE_MAX, RecentEnds } from "../../lib/observe/recent.ts";

const SERVER = "10.0.0.1:80";
const NOW_MS = Date.UTC(2026, 10, 22);

function ended(fate: Fate, known: Partial<EndedConnection> = {}): EndedConnection {
  const texts = { client: "192.0.2.1:5000", server: SERVER, reason: undefined };
  const logged = {
    id: 17,
    service: 0,
    listener: 0,
    acceptedAt: undefined,
    endedAt: undefined,
    connectMs: undefined,
    endedBy: "client",
  } as const;
  return { fate, ...logged, ...texts, attempts: 1, moves: 0, sentBytes: 10, receivedBytes: 20, durationMs: 5, ...known };
}

const clientsOf = (recent: RecentEnds, filter: { fate?: Fate; server?: string; limit?: number } = {}) =>
  recent.list({ limit: LIMITS.recentMax, ...filter }).ends.map(({ client }) => client);

Deno.test("list() of nothing is empty", () => {
  assertEquals(new RecentEnds("00000000000000ff").list({ limit: 10 }), { ends: [], leftOut: 0 });
});

Deno.test("list() gives an end as it was told, with null for what there was not", () => {
  const recent = new RecentEnds("00000000000000ff");
  recent.add(ended("connect_failed", { reason: "connection refused", attempts: 3, moves: 2 }), NOW_MS);
  recent.add(ended("no_server", { server: undefined, attempts: 0 }), NOW_MS + 1);
  const same = { id: "00000000000000ff-11", client: "192.0.2.1:5000", sentBytes: 10, receivedBytes: 20, durationMs: 5 };
  assertEquals(recent.list({ limit: 10 }).ends, [
    { at: new Date(NOW_MS + 1), fate: "no_server", server: null, attempts: 0, moves: 0, reason: null, ...same },
    { at: new Date(NOW_MS), fate: "connect_failed", server: SERVER, attempts: 3, moves: 2, reason: "connection refused", ...same },
  ]);
});

Deno.test("list() gives the newest first, over all fates, also when the clock has gone back", () => {
  const recent = new RecentEnds("00000000000000ff");
  const fates: Fate[] = ["done", "failed", "done", "client_gone"];
  for (const [i, fate] of fates.entries()) recent.add(ended(fate, { client: `${i}` }), NOW_MS - i * 1000);
  assertEquals(clientsOf(recent), ["3", "2", "1", "0"]);
});

Deno.test("list() gives those of one server, of one fate, of both, and no more than the limit", () => {
  const recent = new RecentEnds("00000000000000ff");
  const rows: [Fate, string | undefined][] = [["done", SERVER], ["failed", SERVER], ["failed", "b:1"], ["no_server", undefined]];
  for (const [i, [fate, server]] of rows.entries()) recent.add(ended(fate, { server, client: `${i}` }), NOW_MS);
  assertEquals(clientsOf(recent, { server: SERVER }), ["1", "0"]);
  assertEquals(clientsOf(recent, { fate: "failed" }), ["2", "1"]);
  assertEquals(clientsOf(recent, { fate: "failed", server: SERVER }), ["1"]);
  assertEquals(clientsOf(recent, { limit: 3 }), ["3", "2", "1"]);
  assertEquals(clientsOf(recent, { limit: 0 }), []);
});

Deno.test("list() gives no more than LIMITS.recentMax, whatever the limit", () => {
  const recent = new RecentEnds("00000000000000ff");
  for (const fate of FATE_NAMES.filter((fate) => fate !== "done")) {
    for (let i = 0; i < RECENT_PER_FATE_MAX; i++) recent.add(ended(fate), NOW_MS);
  }
  assertEquals(recent.list({ limit: 10 * LIMITS.recentMax }).ends.length, LIMITS.recentMax);
});

Deno.test("add() keeps the last of a fate, and a flood of one pushes out no other", () => {
  const recent = new RecentEnds("00000000000000ff");
  recent.add(ended("failed", { client: "alone" }), NOW_MS);
  for (let i = 0; i < 3 * RECENT_PER_FATE_MAX; i++) recent.add(ended("client_gone", { client: `${i}` }), NOW_MS + i * 10);
  const expected = Array.from({ length: RECENT_PER_FATE_MAX }, (_, i) => `${3 * RECENT_PER_FATE_MAX - 1 - i}`);
  assertEquals(clientsOf(recent), [...expected, "alone"]);
  assertEquals(recent.list({ limit: 1 }).leftOut, 0);
});

for (const [fate, perSecondMax] of [["done", DONE_PER_SECOND_MAX], ["server_lost", FATE_PER_SECOND_MAX]] as const) {
  Deno.test(`add() keeps ${perSecondMax} of the fate ${fate} in a second and counts the others`, () => {
    const recent = new RecentEnds("00000000000000ff");
    for (let i = 0; i < 1000; i++) recent.add(ended(fate, { client: `${i}` }), NOW_MS + i * 0.999);
    assertEquals(clientsOf(recent), Array.from({ length: perSecondMax }, (_, i) => `${perSecondMax - 1 - i}`));
    assertEquals(recent.list({ limit: 1 }).leftOut, 1000 - perSecondMax);
    recent.add(ended(fate, { client: "later" }), NOW_MS + 1000);
    assertEquals(clientsOf(recent, { limit: 1 }), ["later"]);
  });
}

Deno.test("add() begins a second anew when the clock has gone back", () => {
  const recent = new RecentEnds("00000000000000ff");
  for (let i = 0; i < DONE_PER_SECOND_MAX; i++) recent.add(ended("done"), NOW_MS);
  recent.add(ended("done", { client: "earlier" }), NOW_MS - 3_600_000);
  assertEquals(clientsOf(recent, { limit: 1 }), ["earlier"]);
});

Deno.test("list() counts what was left out of the fates that were asked for", () => {
  const recent = new RecentEnds("00000000000000ff");
  for (let i = 0; i < DONE_PER_SECOND_MAX + 7; i++) recent.add(ended("done"), NOW_MS);
  for (let i = 0; i < FATE_PER_SECOND_MAX + 5; i++) recent.add(ended("removed"), NOW_MS);
  const leftOut = (fate?: Fate) => recent.list({ fate, limit: 1 }).leftOut;
  assertEquals([leftOut(), leftOut("done"), leftOut("removed"), leftOut("failed")], [12, 7, 5, 0]);
});

Deno.test("add() copies what it keeps, for the object is used again", () => {
  const recent = new RecentEnds("00000000000000ff");
  const one = { ...ended("failed") };
  for (const client of ["a", "b"]) recent.add(Object.assign(one, { client }), NOW_MS);
  assertEquals(clientsOf(recent), ["b", "a"]);
});

Deno.test("add() makes no text of an end that it leaves out", () => {
  let texts = 0;
  const lazy = Object.defineProperty({ ...ended("done") }, "client", { get: () => `${++texts}` });
  const recent = new RecentEnds("00000000000000ff");
  for (let i = 0; i < 12_000; i++) recent.add(lazy, NOW_MS);
  assertEquals(texts, DONE_PER_SECOND_MAX);
  assertEquals(recent.list({ limit: 1 }).leftOut, 12_000 - DONE_PER_SECOND_MAX);
});

Deno.test("RecentEnds keeps or counts every end, within its limits, in the order of their coming", () => {
  const anyEnd = fc.record({ fate: fc.constantFrom(...FATE_NAMES.slice(0, 3)), count: fc.nat(150), laterMs: fc.nat(1500) });
  fc.assert(fc.property(fc.array(anyEnd, { maxLength: 12 }), (steps) => {
    const recent = new RecentEnds("00000000000000ff");
    const added = new Map<Fate, number>();
    let nowMs = NOW_MS;
    let number = 0;
    for (const { fate, count, laterMs } of steps) {
      nowMs += laterMs;
      added.set(fate, (added.get(fate) ?? 0) + count);
      for (let i = 0; i < count; i++) recent.add(ended(fate, { attempts: number++ }), nowMs);
    }
    for (const [fate, count] of added) {
      const { ends, leftOut } = recent.list({ fate, limit: LIMITS.recentMax });
      assertLessOrEqual(ends.length, RECENT_PER_FATE_MAX);
      assertEquals(ends.length, Math.min(RECENT_PER_FATE_MAX, count - leftOut));
    }
    const numbers = recent.list({ limit: LIMITS.recentMax }).ends.map(({ attempts }) => attempts);
    for (const [i, number] of numbers.entries()) assert(i === 0 || number < numbers[i - 1]);
  }));
});
