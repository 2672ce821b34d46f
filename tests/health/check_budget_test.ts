// The checks of many services share what a process may check: each has its part, evenly in time, and idle ones cost nothing.

import { assert, assertEquals, assertGreater, assertGreaterOrEqual, assertLess, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import { CheckBudget, CHECKS_PER_SECOND_MAX, type CheckUser, fairLevel } from "../../lib/health/check_budget.ts";
import { FakeClock, mostWithin, settled } from "./fake_clock.ts";

const LEVELS: readonly (readonly [wants: readonly number[], total: number, level: number])[] = [
  [[], 10, Infinity],
  [[3, 4], 10, Infinity],
  [[5, 5], 10, Infinity],
  [[20], 10, 10],
  [[20, 20], 10, 5],
  [[1, 20], 10, 9],
  [[20, 1, 2], 10, 7],
  [[4, 4, 4], 9, 3],
  [[0, 100], 10, 10],
];

for (const [wants, total, level] of LEVELS) {
  Deno.test(`fairLevel() of ${total} for wants of ${wants.join(", ") || "nobody"} is ${level}`, () => {
    assertEquals(fairLevel(wants, total), level);
  });
}

Deno.test("fairLevel() gives all there is, nobody more than he wants, and everybody who wants it an equal part", () => {
  const wants = fc.array(fc.double({ min: 0, max: 1000, noNaN: true }), { minLength: 1, maxLength: 50 });
  fc.assert(fc.property(wants, fc.integer({ min: 1, max: 5000 }), (wants, total) => {
    const level = fairLevel(wants, total);
    const wanted = wants.reduce((sum, want) => sum + want, 0);
    const given = wants.reduce((sum, want) => sum + Math.min(want, level), 0);
    assert(Math.abs(given - Math.min(wanted, total)) < 1e-6 * total, `${given} of ${total}`);
    assertGreaterOrEqual(level, total / wants.length - 1e-9, "at least an equal part");
  }));
});

/** A service whose checks last as long as it says, 0 for none at all; by default each one ends at once. */
class Service implements CheckUser {
  readonly starts: number[] = [];
  readonly trials: number[] = [];
  underWay = 0;
  rests: number[] = [];
  readonly #ends: PromiseWithResolvers<void>[] = [];

  constructor(readonly house: House, public servers: number, public interval: number, public isSilent = false) {}

  checkedCount = (): number => this.servers;
  intervalMs = (): number => this.interval;
  restEndMs = (): number => Math.min(...this.rests);

  takeTurn = (nowMs: number): void => void this.#run(this.starts, nowMs);

  tryRested = (nowMs: number): boolean => {
    const index = this.rests.findIndex((endMs) => endMs <= nowMs);
    if (index >= 0) this.rests.splice(index, 1);
    if (index >= 0) void this.#run(this.trials, nowMs);
    return index >= 0;
  };

  /** Ends all checks that are under way. */
  answer(): void {
    for (const { resolve } of this.#ends.splice(0)) resolve();
  }

  async #run(list: number[], nowMs: number): Promise<void> {
    const { budget } = this.house;
    budget.begin(this);
    list.push(nowMs);
    this.underWay++;
    const end = Promise.withResolvers<void>();
    if (this.isSilent) this.#ends.push(end);
    else end.resolve();
    await end.promise;
    this.underWay--;
    budget.changed(this);
    budget.end(this);
  }
}

/** Services with one budget. */
class House {
  readonly clock = new FakeClock();
  readonly budget: CheckBudget;
  readonly services: Service[] = [];

  constructor(underWayMax?: number) {
    this.budget = new CheckBudget({ clock: this.clock, underWayMax });
  }

  /** Adds so many services. */
  open(count: number, servers: number, intervalMs: number, isSilent = false): Service[] {
    const opened = Array.from({ length: count }, () => new Service(this, servers, intervalMs, isSilent));
    for (const service of opened) {
      this.budget.join(service);
      this.budget.changed(service);
    }
    this.services.push(...opened);
    return opened;
  }

  change(service: Service, change: Partial<Service>): void {
    Object.assign(service, change);
    this.budget.changed(service);
  }

  /** When checks started, of all services, in order. */
  get starts(): number[] {
    return this.services.flatMap(({ starts }) => starts).sort((a, b) => a - b);
  }
}

/** Times between the starts, the shortest and the longest. */
function gapsOf(starts: readonly number[]): [shortest: number, longest: number] {
  const gaps = starts.slice(1).map((start, i) => start - starts[i]);
  return [Math.min(...gaps), Math.max(...gaps)];
}

Deno.test("a service with ten thousand servers takes nothing from one with three", async () => {
  const house = new House();
  const [[great], [small]] = [house.open(1, 10_000, 2000), house.open(1, 3, 2000)];
  assertEquals(house.budget.intervalMsOf(small), 2000);
  const interval = house.budget.intervalMsOf(great);
  assert(Math.abs(interval - 10_000_000 / 498.5) < 1, `${interval}`);
  await house.clock.goOn(60_000);
  assert(Math.abs(small.starts.length - 90) <= 1, `${small.starts.length} of 90`);
  const [shortest, longest] = gapsOf(small.starts);
  assertGreater(shortest, 640);
  assertLess(longest, 700);
  assertGreater(great.starts.length, 498 * 59);
  assertLessOrEqual(mostWithin(house.starts, 1000), CHECKS_PER_SECOND_MAX + 16);
});

Deno.test("a thousand services that come at once are checked evenly and in their interval, from the first on", async () => {
  const house = new House();
  const services = house.open(1000, 10, 2000);
  assertEquals(house.budget.intervalMsOf(services[0]), 20_000);
  await house.clock.goOn(2020);
  for (const { starts } of services) assert(starts.length > 0);
  await house.clock.goOn(38_000);
  for (const { starts } of services) assert(Math.abs(starts.length - 20) <= 1, `${starts.length} of 20`);
  for (const span of [100, 1000]) assertLessOrEqual(mostWithin(house.starts, span), span / 2 + 16);
  assertLess(house.clock.started, 40_020 / 10 + 1010, "one timer for all");
});

Deno.test("below the limit, too, checks are spread over time, whatever the numbers of servers", async () => {
  const house = new House();
  for (const servers of [1, 2, 3, 5, 8, 13, 21, 34, 55, 89]) house.open(20, servers, 20_000);
  await house.clock.goOn(60_000); // 231 checks a second
  for (const { starts, servers } of house.services) {
    assert(Math.abs(starts.length - 3 * servers) <= 1, `${starts.length} of ${servers}`);
  }
  for (const span of [100, 1000]) assertLessOrEqual(mostWithin(house.starts, span), 0.231 * span + 4);
  for (const { starts, servers } of house.services) {
    if (servers > 1) assertLess(gapsOf(starts)[1], 2 * 20_000 / servers + 20);
  }
});

Deno.test("services with different intervals have their own", async () => {
  const house = new House();
  const [[often], [seldom]] = [house.open(1, 2, 500), house.open(1, 2, 10_000)];
  await house.clock.goOn(20_000);
  assert(Math.abs(often.starts.length - 80) <= 1, `${often.starts.length}`);
  assert(Math.abs(seldom.starts.length - 4) <= 1, `${seldom.starts.length}`);
  assertGreater(gapsOf(often.starts)[0], 200);
});

Deno.test("whatever comes, changes and goes, each service has its checks, one timer is enough and none is left", async () => {
  const step = fc.tuple(
    fc.constantFrom("open", "close", "more", "interval"),
    fc.nat(5),
    fc.integer({ min: 1, max: 40 }),
    fc.nat(3000),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 15 }), async (steps) => {
      const house = new House();
      const open = new Set<Service>();
      for (const [what, at, number, waitMs] of steps) {
        const service = [...open][at];
        if (what === "open") open.add(house.open(1, number, 1000)[0]);
        else if (service === undefined) continue;
        else if (what === "close") house.budget.leave(service), open.delete(service);
        else house.change(service, what === "more" ? { servers: number } : { interval: 100 * number });
        await house.clock.goOn(waitMs);
      }
      await house.clock.goOn(10); // changes are taken up
      for (const { starts } of house.services) starts.length = 0;
      await house.clock.goOn(12_000);
      for (const service of house.services) {
        if (!open.has(service)) assertEquals(service.starts.length, 0);
        else {
          const expected = 12_000 * service.servers / house.budget.intervalMsOf(service);
          assert(Math.abs(service.starts.length - expected) <= 2 + 0.02 * expected, `${service.starts.length} of ${expected}`);
        }
      }
      for (const service of open) house.budget.leave(service);
      assert(house.clock.isIdle);
    }),
    { numRuns: 40 },
  );
});

Deno.test("a service that has nothing to check has no timer and no part", async () => {
  const house = new House();
  const [idle] = house.open(500, 0, 50);
  assertEquals([house.clock.isIdle, house.clock.started], [true, 0]);
  const [busy] = house.open(1, 2, 1000);
  await house.clock.goOn(5000);
  assertEquals([idle.starts.length, busy.starts.length], [0, 10]);
  house.change(busy, { servers: 0 });
  assert(house.clock.isIdle);
  house.change(idle, { servers: 1 });
  await house.clock.goOn(100);
  assertEquals(idle.starts.length, 2);
});

Deno.test("servers that do not answer take the places of no other service", async () => {
  const house = new House(256);
  const [[dead], [small]] = [house.open(1, 10_000, 2000, true), house.open(1, 3, 2000)];
  await house.clock.goOn(60_000);
  assertEquals([dead.underWay, dead.starts.length], [224, 224], "an eighth is left to others");
  assert(Math.abs(small.starts.length - 90) <= 1, `${small.starts.length} of 90`);
  dead.answer();
  await settled();
  await house.clock.goOn(1000);
  assertEquals(dead.underWay, 224);
});

Deno.test("the limit on checks under way holds for all services together", async () => {
  const house = new House(64);
  const services = house.open(100, 10, 1000, true);
  await house.clock.goOn(10_000);
  assertEquals(services.reduce((sum, { underWay }) => sum + underWay, 0), 64);
  assert(house.clock.isIdle, "the end of a check sets the timer");
  const busy = services.filter(({ underWay }) => underWay > 0);
  assertGreaterOrEqual(busy.length, 40, "few have two");
  busy[0].answer();
  await settled();
  await house.clock.goOn(200);
  assertEquals(services.reduce((sum, { underWay }) => sum + underWay, 0), 64);
});

Deno.test("a service alone may use all places, and one place is enough for many", async () => {
  const alone = new House(256);
  const [service] = alone.open(1, 1000, 1000, true);
  await alone.clock.goOn(10_000);
  assertEquals(service.underWay, 256);
  const narrow = new House(1);
  narrow.open(5, 2, 1000);
  await narrow.clock.goOn(10_000);
  for (const { starts } of narrow.services) assert(Math.abs(starts.length - 20) <= 1, `${starts.length}`);
});

Deno.test("rests that end are tried by turns of the services, beside the checks of all", async () => {
  const house = new House();
  const [[crowd], [few], [checked]] = [house.open(1, 0, 2000), house.open(1, 0, 2000), house.open(1, 10_000, 2000)];
  house.change(crowd, { rests: Array.from({ length: 3000 }, () => 2000) });
  house.change(few, { rests: [2000, 2000, 2000] });
  await house.clock.goOn(1100);
  assertEquals(few.trials.length, 3, "within 100 ms");
  assertLess(crowd.trials.length, 60);
  await house.clock.goOn(10_000);
  assertGreater(crowd.trials.length, 2000, "about half of what there is");
  const all = [...house.starts, ...crowd.trials, ...few.trials].sort((a, b) => a - b);
  assertLessOrEqual(mostWithin(all, 1000), CHECKS_PER_SECOND_MAX + 16);
  assertGreater(checked.starts.length, 2400);
});

Deno.test("a service that leaves while its checks run takes no place with it", async () => {
  const house = new House(4);
  const [one] = house.open(1, 10, 1000, true);
  await house.clock.goOn(2000);
  house.budget.leave(one);
  const [other] = house.open(1, 10, 1000);
  await house.clock.goOn(2000);
  assertEquals(other.starts.length, 0, "all places are taken");
  one.answer();
  await settled();
  await house.clock.goOn(2000);
  assertGreater(other.starts.length, 18);
  assertEquals(one.starts.length, 4);
});
