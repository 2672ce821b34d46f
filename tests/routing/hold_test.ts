import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import { AVAILABILITY } from "../../lib/routing/availability.ts";
import {
  DOUBLING_MS,
  earlierPlace,
  mayWait,
  MOST_PER_S,
  Pacer,
  RETRY_MAX_MS,
  RETRY_MIN_MS,
  START_PER_S,
  type Usability,
  usabilityOf,
  WaitingLine,
  waitMaxMs,
} from "../../lib/routing/hold.ts";

const OFF = { holdMs: 0 };
const ON = { holdMs: 1000 };
const PAUSED = { holdMs: 0, waiting: "paused" } as const;
const PARKED = { holdMs: 0, waiting: "parked" } as const;
const ENDED = { holdMs: 1000, waiting: "ended" } as const;

Deno.test("mayWait() keeps who has no server, or must leave his own now, if the rules let anybody wait", () => {
  const rows = [
    [ON, undefined, false, true],
    [ON, "reset", false, true],
    [ON, "end", false, true],
    [ON, "expired", true, true],
    [ON, "drain", true, false],
    [ON, "silent", true, false],
    [ON, "rebalance", true, false],
    [OFF, undefined, false, false],
    [OFF, "expired", true, false],
    [PAUSED, undefined, false, true],
    [PAUSED, "reset", false, true],
    [PAUSED, "drain", true, false],
    [PARKED, "drain", true, true],
    [PARKED, "rebalance", true, false],
    [PARKED, "silent", true, false],
    [ENDED, undefined, false, false],
    [ENDED, "reset", false, false],
  ] as const;
  for (const [rules, loss, hasServer, expected] of rows) {
    assertEquals(mayWait(rules, loss, hasServer), expected, `${JSON.stringify(rules)} ${loss} ${hasServer}`);
  }
});

Deno.test("waitMaxMs() does not count a pause", () => {
  assertEquals(waitMaxMs(ON), 1000);
  assertEquals(waitMaxMs({ ...ON, waiting: "paused" }), Infinity);
  assertEquals(waitMaxMs(OFF), Infinity);
});

Deno.test("usabilityOf() asks servers that may get clients, and tells full ones from none", () => {
  const of = (servers: readonly (readonly [availability: number, open: number, max: number])[]): Usability =>
    usabilityOf(
      { slots: Int32Array.from(servers.keys()), connectionsMax: Float64Array.from(servers, ([, , max]) => max) },
      { availabilityOf: (slot) => servers[slot][0], openOf: (slot) => servers[slot][1] },
    );
  const { full, none, fallback, draining, expired, asking } = AVAILABILITY;
  assertEquals(of([]), "none");
  assertEquals(of([[fallback, 0, 9], [draining, 0, 9], [expired, 0, 9]]), "none");
  assertEquals(of([[fallback, 0, 9], [full, 9, 9]]), "full");
  assertEquals(of([[full, 9, 9], [full, 8, 9]]), "usable");
  assertEquals(of([[none, 0, Infinity]]), "usable"); // the beginning of a ramp: nobody else can take them
  assertEquals(of([[asking, 0, Infinity]]), "usable");
});

/** The most that may have begun after so long: the integral of the rate, and one at once. */
function mostAfter(ms: number, share: number): number {
  const perMs = START_PER_S * share / 1000;
  const capMs = DOUBLING_MS * Math.log2(MOST_PER_S / START_PER_S);
  const grownMs = Math.min(ms, capMs);
  const grown = perMs * DOUBLING_MS / Math.LN2 * (2 ** (grownMs / DOUBLING_MS) - 1);
  return 1 + grown + Math.max(0, ms - capMs) * MOST_PER_S * share / 1000;
}

/** Runs a pacer by its own times for so long, where each dial takes so long. Returns how many began, and the most under way. */
function run(pacer: Pacer, forMs: number, dialMs: number, lateMs: () => number): { began: number; mostDialling: number } {
  const under: number[] = [];
  let began = 0;
  let mostDialling = 0;
  for (let nowMs = 0; nowMs <= forMs; nowMs = Math.max(pacer.nextMs(nowMs), nowMs + 1) + lateMs()) {
    while (under.length > 0 && under[0] <= nowMs) {
      under.shift();
      pacer.ended(true, nowMs);
    }
    while (pacer.allows(nowMs)) {
      pacer.began();
      began++;
      under.push(nowMs + dialMs);
      mostDialling = Math.max(mostDialling, pacer.dialling);
    }
  }
  return { began, mostDialling };
}

Deno.test("Pacer: never faster than a start that doubles, however it is looked at", () => {
  const late = fc.infiniteStream(fc.integer({ min: 0, max: 300 }));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4000 }), fc.integer({ min: 1, max: 500 }), fc.constantFrom(1, 0.5, 0.25), late, (
      forMs,
      dialMs,
      share,
      lates,
    ) => {
      const { began } = run(new Pacer(share), forMs, dialMs, () => lates.next().value!);
      assertLessOrEqual(began, mostAfter(forMs, share));
    }),
    { numRuns: 200 },
  );
});

Deno.test("Pacer: a server that accepts at once has 10,000 clients within 3 s, a slow one is not sent more", () => {
  const { began } = run(new Pacer(), 3000, 1, () => 0);
  assert(began >= 10_000, `${began}`);
  assertLessOrEqual(run(new Pacer(), 1000, 1, () => 0).began, 300);
  const { began: few, mostDialling } = run(new Pacer(), 3000, 10_000, () => 0);
  assertEquals(few, mostDialling);
  assertLessOrEqual(few, 64);
});

Deno.test("Pacer: a dial that fails makes all wait, each time for longer, and the pace begins anew", () => {
  const pacer = new Pacer();
  const pauses: number[] = [];
  let nowMs = 0;
  for (let i = 0; i < 8; i++) {
    assert(pacer.allows(nowMs));
    pacer.began();
    pacer.ended(false, nowMs);
    assert(!pacer.allows(nowMs + RETRY_MIN_MS - 1));
    pauses.push(pacer.nextMs(nowMs) - nowMs);
    nowMs = pacer.nextMs(nowMs);
    assert(pacer.allows(nowMs));
    pacer.began();
    assert(!pacer.allows(nowMs), "one at a time");
    pacer.ended(undefined, nowMs);
    nowMs += 20;
  }
  assertEquals(pauses, [100, 200, 400, 800, 1600, 3200, 3200, 3200]);
  assertEquals(pauses.at(-1), RETRY_MAX_MS);
  assert(pacer.allows(nowMs));
  pacer.began();
  pacer.ended(true, nowMs);
  assert(pacer.allows(nowMs + 20));
  pacer.began();
  pacer.ended(false, nowMs + 20);
  assertEquals(pacer.nextMs(nowMs + 20) - nowMs - 20, RETRY_MIN_MS, "after a success the pauses begin anew");
});

Deno.test("Pacer: tries servers by one dial after another, until one is accepted", () => {
  const pacer = new Pacer();
  assertEquals(pacer.isTrying, false);
  for (const isAccepted of [false, undefined, true]) {
    pacer.began();
    assertEquals(pacer.isTrying, true);
    pacer.ended(isAccepted, 0);
    assertEquals(pacer.isTrying, false);
  }
  pacer.began();
  assertEquals(pacer.isTrying, false, "a server has accepted somebody");
  pacer.restart();
  assertEquals(pacer.isTrying, true);
});

Deno.test("Pacer: dials that fail together count once, and an end says nothing", () => {
  const pacer = new Pacer();
  run(pacer, 1000, 1, () => 0);
  pacer.restart();
  const count = 5;
  for (let i = 0; i < count; i++) pacer.began();
  for (let i = 0; i < count; i++) pacer.ended(false, 1000);
  assertEquals(pacer.nextMs(1000), 1100);
  assertEquals(new Pacer().nextMs(0), 5);
  const other = new Pacer();
  assert(other.allows(0));
  other.began();
  other.ended(undefined, 0);
  assert(other.allows(25));
});

Deno.test("WaitingLine: like a sorted list, whoever comes, is dialled, returns and leaves", () => {
  type Act = { kind: "join" | "take" | "return" | "leave"; pick: number };
  const act: fc.Arbitrary<Act> = fc.record({
    kind: fc.constantFrom("join", "join", "take", "take", "return", "leave"),
    pick: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(act, { maxLength: 400 }), (acts) => {
      const line = new WaitingLine();
      let next = 0;
      let waits: number[] = [];
      let dialled: number[] = [];
      const of = (list: readonly number[], pick: number) => list[pick % list.length];
      for (const { kind, pick } of acts) {
        if (kind === "join") {
          assertEquals(line.join(next, next), false);
          waits.push(next++);
        } else if (kind === "take" && waits.length > 0) {
          line.take();
          dialled.push(waits.shift()!);
        } else if (kind === "return" && dialled.length > 0) {
          const id = of(dialled, pick);
          assertEquals(line.join(id, 1e9), true);
          dialled = dialled.filter((other) => other !== id);
          waits = [...waits, id].toSorted((a, b) => a - b);
        } else if (kind === "leave" && waits.length + dialled.length > 0) {
          const id = of([...waits, ...dialled], pick);
          assertEquals(line.forget(id), dialled.includes(id));
          waits = waits.filter((other) => other !== id);
          dialled = dialled.filter((other) => other !== id);
        }
        assertEquals([line.size, line.first()?.id, line.first()?.sinceMs], [waits.length, waits[0], waits[0]]);
      }
      assertEquals(line.forget(next), undefined);
    }),
    { numRuns: 300 },
  );
});

Deno.test("WaitingLine: who comes from another process is before all who are here, in order, with the time that it had", () => {
  const [there, here] = [new WaitingLine(), new WaitingLine()];
  for (const id of [5, 9, 2]) there.join(id, 100 + id);
  here.join(1, 300);
  for (const id of [2, 5, 9]) here.restore(id, earlierPlace(there.placeOf(id))); // in the order of their descriptors
  const order = () => {
    const { id, sinceMs } = here.first()!;
    here.take();
    return [id, sinceMs];
  };
  assertEquals([order(), order(), order(), order()], [[5, 105], [9, 109], [2, 102], [1, 300]]);
  here.join(9, 400);
  here.forget(5);
  there.forget(9);
  there.restore(9, { number: 1, sinceMs: 109 }); // the other process has gone
  there.take();
  assertEquals([here.first()?.id, there.first()?.id, there.has(5), there.has(7)], [9, 9, true, false]);
});

Deno.test("WaitingLine: 100,000 who come and go cost no more than those who wait", () => {
  const line = new WaitingLine();
  for (let id = 0; id < 100_000; id++) {
    line.join(id, id);
    if (id >= 100) line.forget(id - 50); // from the middle of the line: the first 50 wait all the time
  }
  assertEquals([line.size, line.first()?.id], [100, 0]);
  line.restartClocks(7);
  assertEquals(line.first()?.sinceMs, 7);
});
