// A timer fires at the first advance at or after its time, whatever else is set, cleared and waited for; and sleeping finds that
// moment.

import {
  assert,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertLess,
  assertLessOrEqual,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { TICK_MS, TimerWheel } from "../../../lib/engine/epoll/timer_wheel.ts";

const CAPACITY = 8;
const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Ends of the four levels, in milliseconds from a start at 0. */
const LEVEL_ENDS_MS = [64, 64 ** 2, 64 ** 3, 64 ** 4].map((ticks) => ticks * TICK_MS);

/** The ids that fire in one advance, in ascending order. */
function firedBy(wheel: TimerWheel, nowMs: number): number[] {
  const fired: number[] = [];
  wheel.advance(nowMs, (id) => fired.push(id));
  return fired.sort((a, b) => a - b);
}

/** Sleeps and advances, as an engine does, until no timer is left. */
function drive(wheel: TimerWheel, startMs: number, onFire: (id: number, nowMs: number) => void = () => {}) {
  let nowMs = startMs;
  let wakeups = 0;
  for (let sleepMs = wheel.sleepMs(nowMs); sleepMs !== -1; sleepMs = wheel.sleepMs(nowMs)) {
    assert(Number.isInteger(sleepMs) && sleepMs >= 0 && sleepMs < 2 ** 31, `epoll_wait(2) takes no ${sleepMs}`);
    nowMs += sleepMs;
    wakeups++;
    assertLess(wakeups, 100_000);
    wheel.advance(nowMs, (id) => onFire(id, nowMs));
  }
  return { wakeups, nowMs };
}

for (const startMs of [0, 1.25, 123_456.789, 2 ** 31 * TICK_MS - 10, 1.8e12 + 0.5, -1000.5]) {
  Deno.test(`advance() from ${startMs} fires a timer not early and within a tick`, () => {
    for (const waitMs of [0.001, 1, 3.9, 4, 4.1, 255, 256, 257, 16_383, 16_385, 70_000.5, 10 * MINUTE_MS, 5 * HOUR_MS]) {
      const wheel = new TimerWheel(CAPACITY, startMs);
      const dueMs = startMs + waitMs;
      wheel.set(3, dueMs);
      assertEquals(firedBy(wheel, dueMs - 0.0005), []);
      assert(wheel.has(3));
      assertEquals(firedBy(wheel, dueMs + TICK_MS), [3]);
      assert(!wheel.has(3));
      assertEquals(firedBy(wheel, dueMs + DAY_MS), []);
    }
  });
}

Deno.test("advance() fires a timer at the tick that its time is rounded up to, around the end of every level", () => {
  for (const endMs of LEVEL_ENDS_MS) {
    for (const startTick of [0, 1, 62, 63, 64, 4095, 4096]) {
      for (let tick = -65; tick <= 65; tick++) {
        const startMs = startTick * TICK_MS;
        const wheel = new TimerWheel(1, startMs);
        const dueMs = startMs + endMs + tick * TICK_MS;
        if (dueMs <= startMs) continue;
        wheel.set(0, dueMs);
        assertEquals(firedBy(wheel, dueMs - 0.01), []);
        assertEquals(firedBy(wheel, dueMs), [0]);
      }
    }
  }
});

Deno.test("advance() by one tick at a time fires each of 5,000 timers at its own", () => {
  const wheel = new TimerWheel(5000, 0);
  for (let id = 0; id < 5000; id++) wheel.set(id, (id + 1) * TICK_MS);
  for (let tick = 1; tick <= 5000; tick++) assertEquals(firedBy(wheel, tick * TICK_MS), [tick - 1]);
});

Deno.test("advance() over a long gap fires everything due and nothing else", () => {
  const wheel = new TimerWheel(100, 0);
  for (let id = 0; id < 100; id++) wheel.set(id, (id + 1) * HOUR_MS);
  assertEquals(firedBy(wheel, 60 * HOUR_MS), Array.from({ length: 60 }, (_, id) => id));
  assertEquals(firedBy(wheel, 1000 * DAY_MS), Array.from({ length: 40 }, (_, i) => 60 + i));
  assertEquals(wheel.sleepMs(1000 * DAY_MS), -1);
});

Deno.test("advance() takes a time before the last as the last", () => {
  const wheel = new TimerWheel(CAPACITY, 1000);
  wheel.set(0, 2000);
  wheel.set(1, 1500);
  assertEquals(firedBy(wheel, 1600), [1]);
  assertEquals(firedBy(wheel, 0), []);
  assertEquals(firedBy(wheel, 1999), []);
  assertEquals(firedBy(wheel, 2000), [0]);
  assertEquals(firedBy(wheel, 0), []);
  wheel.set(0, 1900);
  assertEquals(firedBy(wheel, 0), [0]);
});

Deno.test("clear() takes the timer away, and does nothing where there is none", () => {
  const wheel = new TimerWheel(CAPACITY, 0);
  for (const id of [0, 1, 2]) wheel.set(id, 100); // in one list: its end, its start and its middle go
  wheel.set(7, HOUR_MS);
  for (const id of [2, 0, 1, 7]) {
    wheel.clear(id);
    wheel.clear(id);
    assert(!wheel.has(id));
  }
  for (const id of [-1, 5, CAPACITY, NaN]) wheel.clear(id);
  assertEquals(wheel.sleepMs(0), -1);
  assertEquals(firedBy(wheel, DAY_MS), []);
});

Deno.test("set() moves a timer to an earlier or a later time", () => {
  const wheel = new TimerWheel(CAPACITY, 0);
  wheel.set(0, HOUR_MS);
  wheel.set(0, 20);
  wheel.set(1, 20);
  wheel.set(1, HOUR_MS);
  assertEquals(firedBy(wheel, 20), [0]);
  assertEquals(firedBy(wheel, HOUR_MS - 1), []);
  assertEquals(firedBy(wheel, HOUR_MS), [1]);
});

Deno.test("set() takes an id again once its timer has fired or been cleared", () => {
  const wheel = new TimerWheel(1, 0);
  for (let round = 0; round < 1000; round++) {
    const nowMs = round * 100;
    wheel.set(0, nowMs + 1);
    if (round % 3 === 0) wheel.clear(0);
    assertEquals(firedBy(wheel, nowMs + 50), round % 3 === 0 ? [] : [0]);
  }
});

Deno.test("set() for a time already past fires in the next advance, even at the same time", () => {
  const wheel = new TimerWheel(CAPACITY, 1000);
  for (const dueMs of [1000, 999, -5, -Infinity]) {
    wheel.set(2, dueMs);
    assertEquals(wheel.sleepMs(1000), 0);
    assertEquals(firedBy(wheel, 1000), [2]);
  }
});

Deno.test("set() for Infinity never fires, and wakes nobody more than twice a day", () => {
  const wheel = new TimerWheel(CAPACITY, 0);
  wheel.set(0, Infinity);
  for (let day = 1; day <= 100; day++) {
    assertEquals(firedBy(wheel, day * DAY_MS), []);
    assertGreater(wheel.sleepMs(day * DAY_MS), DAY_MS / 2);
  }
  assert(wheel.has(0));
});

Deno.test("set() refuses an id outside the wheel and a time that is not a number", () => {
  const wheel = new TimerWheel(CAPACITY, 0);
  for (const id of [-1, CAPACITY, NaN]) assertThrows(() => wheel.set(id, 10), Error, "no such id");
  assertThrows(() => wheel.set(0, NaN), Error, "due at no time");
});

Deno.test("advance() lets fire set its own timer anew, and fires it once per advance even if it is past", () => {
  const wheel = new TimerWheel(CAPACITY, 0);
  wheel.set(1, 10);
  let count = 0;
  for (const nowMs of [100, 100, 5000, HOUR_MS, 3 * DAY_MS]) {
    wheel.advance(nowMs, (id) => {
      assert(!wheel.has(id));
      count++;
      wheel.set(id, 0);
    });
    assertEquals(wheel.sleepMs(nowMs), 0);
  }
  assertEquals(count, 5);
});

Deno.test("advance() lets fire clear and move the timers that are due with it", () => {
  const wheel = new TimerWheel(CAPACITY, 0);
  for (let id = 0; id < 4; id++) wheel.set(id, 10);
  const fired: number[] = [];
  wheel.advance(12, (id) => {
    fired.push(id);
    const [next, afterNext] = [(id + 1) % 4, (id + 2) % 4];
    wheel.clear(next);
    wheel.set(afterNext, 50);
    wheel.clear((id + 3) % 4);
  });
  assertEquals(fired.length, 1);
  assertEquals(firedBy(wheel, 49), []);
  assertEquals(firedBy(wheel, 52), [(fired[0] + 2) % 4]);
});

Deno.test("advance() fires in the next what a fire that throws has left over", () => {
  const wheel = new TimerWheel(CAPACITY, 0);
  for (let id = 0; id < 4; id++) wheel.set(id, 10);
  const fired: number[] = [];
  const breakAfterFirst = (id: number) => {
    fired.push(id);
    throw new Error("broken");
  };
  assertThrows(() => wheel.advance(12, breakAfterFirst), Error, "broken");
  assertEquals(fired.length, 1);
  assertEquals(wheel.sleepMs(12), 0);
  assertEquals([...fired, ...firedBy(wheel, 12)].sort(), [0, 1, 2, 3]);
  assertEquals(wheel.sleepMs(12), -1);
});

Deno.test("sleepMs() is -1 without a timer, 0 if one is overdue, and rounded up otherwise", () => {
  const wheel = new TimerWheel(CAPACITY, 0);
  assertEquals(wheel.sleepMs(0), -1);
  wheel.set(0, 10);
  assertEquals(wheel.sleepMs(0), 12);
  assertEquals(wheel.sleepMs(0.5), 12);
  assertEquals(wheel.sleepMs(11.9), 1);
  assertEquals(wheel.sleepMs(12), 0);
  assertEquals(wheel.sleepMs(HOUR_MS), 0);
  wheel.clear(0);
  assertEquals(wheel.sleepMs(HOUR_MS), -1);
});

for (
  const [name, waitMs, wakeupsMax] of [
    ["1 ms", 1, 1],
    ["200 ms", 200, 1],
    ["10 s", 10 * SECOND_MS, 2],
    ["10 minutes", 10 * MINUTE_MS, 3],
    ["18 hours", 18 * HOUR_MS, 4],
    ["10 days", 10 * DAY_MS, 18],
  ] as const
) {
  Deno.test(`sleepMs() wakes at most ${wakeupsMax} times for one timer of ${name}, and fires it in time`, () => {
    for (let step = 0; step < 200; step++) {
      const startMs = step * 98_765.4321;
      const wheel = new TimerWheel(CAPACITY, startMs);
      const dueMs = startMs + waitMs;
      wheel.set(0, dueMs);
      const { wakeups, nowMs } = drive(wheel, startMs);
      assertLessOrEqual(wakeups, wakeupsMax);
      assertGreaterOrEqual(nowMs, dueMs);
      assertLessOrEqual(nowMs, dueMs + 2 * TICK_MS);
    }
  });
}

/** Milliseconds in steps of 2⁻¹⁰, about as fine as a clock, so that no sum of the model is rounded. */
function anyMs(min: number, max: number): fc.Arbitrary<number> {
  return fc.double({ min, max, noNaN: true }).map((ms) => Math.round(ms * 1024) / 1024);
}

const anyStartMs = fc.oneof(fc.constant(0), anyMs(-1e6, 1e6), anyMs(2 ** 31 * TICK_MS - 1e6, 2e12));

/** Spans of every level's length, whole and not. */
const anySpanMs = fc.oneof(
  fc.constant(0),
  ...[10, ...LEVEL_ENDS_MS, 30 * DAY_MS].flatMap((max) => [fc.nat(max), anyMs(0, max)]),
);

const anyId = fc.nat(CAPACITY - 1);
const anySet = fc.record({
  kind: fc.constant("set" as const),
  id: anyId,
  inMs: fc.oneof(anySpanMs, fc.integer({ min: -500, max: 0 })),
});
const anyClear = fc.record({ kind: fc.constant("clear" as const), id: anyId });
const anyChange = fc.oneof({ weight: 3, arbitrary: anySet }, { weight: 1, arbitrary: anyClear });
/** `onFire[n]` is what the n-th timer to fire does. */
const anyAdvance = fc.record({
  kind: fc.constant("advance" as const),
  gapMs: anySpanMs,
  onFire: fc.array(anyChange, { maxLength: 4 }),
});
/** Sleeps as long as it is told to; a little longer, as the kernel may. */
const anySleep = fc.record({ kind: fc.constant("sleep" as const), lateMs: anyMs(0, 3) });
const anyStep = fc.oneof({ weight: 3, arbitrary: anyChange }, anyAdvance, anySleep);

type Change = typeof anyChange extends fc.Arbitrary<infer C> ? C : never;
type Step = typeof anyStep extends fc.Arbitrary<infer S> ? S : never;

/** A wheel beside a map of what it should hold; every step goes to both. */
class Modelled {
  readonly #wheel: TimerWheel;
  /** The tick of each id's timer. */
  readonly #ticks = new Map<number, number>();
  /** What must still fire in the advance that is under way. */
  readonly #due = new Set<number>();
  #nowMs: number;

  constructor(startMs: number) {
    this.#wheel = new TimerWheel(CAPACITY, startMs);
    this.#nowMs = startMs;
  }

  run(step: Step): void {
    if (step.kind === "advance") this.#advance(step.gapMs, step.onFire);
    else if (step.kind === "sleep") this.#advance(Math.max(0, this.#wheel.sleepMs(this.#nowMs)) + step.lateMs, []);
    else this.#change(step);
    this.#compare();
  }

  #change(change: Change): void {
    this.#due.delete(change.id);
    this.#ticks.delete(change.id);
    if (change.kind === "clear") return this.#wheel.clear(change.id);
    const dueMs = this.#nowMs + change.inMs;
    this.#ticks.set(change.id, Math.ceil(dueMs / TICK_MS));
    this.#wheel.set(change.id, dueMs);
  }

  #advance(gapMs: number, onFire: readonly Change[]): void {
    this.#nowMs += gapMs;
    for (const [id, tick] of this.#ticks) if (tick * TICK_MS <= this.#nowMs) this.#due.add(id);
    let count = 0;
    this.#wheel.advance(this.#nowMs, (id) => {
      assert(this.#due.delete(id), `${id} fires early, twice, or after it was cleared`);
      this.#ticks.delete(id);
      const change = onFire[count++];
      if (change) this.#change(change);
    });
    assertEquals([...this.#due], [], "these should have fired");
  }

  #compare(): void {
    for (let id = 0; id < CAPACITY; id++) assertEquals(this.#wheel.has(id), this.#ticks.has(id));
    const sleepMs = this.#wheel.sleepMs(this.#nowMs);
    if (this.#ticks.size === 0) return assertEquals(sleepMs, -1);
    const untilFirstMs = Math.max(0, Math.min(...this.#ticks.values()) * TICK_MS - this.#nowMs);
    assert(
      sleepMs >= 0 && sleepMs <= Math.ceil(untilFirstMs),
      `sleeps ${sleepMs} ms where the first timer is due in ${untilFirstMs}`,
    );
    assertEquals(sleepMs === 0, untilFirstMs === 0, "wakes at once if and only if there is something to fire");
  }
}

Deno.test("TimerWheel agrees with a map, over any sets, clears, advances and sleeps", () => {
  fc.assert(
    fc.property(anyStartMs, fc.array(anyStep, { maxLength: 60, size: "max" }), (startMs, steps) => {
      const modelled = new Modelled(startMs);
      for (const step of steps) modelled.run(step);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("sleepMs() fires any timers within two ticks of their times, and wakes at most once per level and timer", () => {
  const anyWaitMs = anyMs(0, 18 * HOUR_MS);
  fc.assert(fc.property(anyStartMs, fc.array(anyWaitMs, { minLength: 1, maxLength: CAPACITY }), (startMs, waitsMs) => {
    const wheel = new TimerWheel(CAPACITY, startMs);
    const left = new Map(waitsMs.map((waitMs, id) => [id, startMs + waitMs]));
    for (const [id, dueMs] of left) wheel.set(id, dueMs);
    const { wakeups } = drive(wheel, startMs, (id, nowMs) => {
      const dueMs = left.get(id)!;
      assert(left.delete(id) && nowMs >= dueMs && nowMs <= dueMs + 2 * TICK_MS, `${id}, due at ${dueMs}, fires at ${nowMs}`);
    });
    assertEquals(left.size, 0);
    assertLessOrEqual(wakeups, 4 * waitsMs.length);
  }));
});

Deno.test("sooner() moves a timer to an earlier time, never to a later one", () => {
  const wheel = new TimerWheel(CAPACITY, 0);
  wheel.sooner(0, 1000);
  wheel.sooner(0, 2000);
  wheel.sooner(1, 1000);
  wheel.sooner(1, 500);
  assertEquals(firedBy(wheel, 600), [1]);
  assertEquals(firedBy(wheel, 1000), [0]);
});
