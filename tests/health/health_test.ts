// Who may get clients follows from what checks and clients find out; and checks are made evenly, few at a time, of those watched
// now.

import { assert, assertEquals, assertGreater, assertLess, assertLessOrEqual, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Address } from "../../lib/values/address.ts";
import type { CheckResult } from "../../lib/health/check.ts";
import { LIMITS } from "../../lib/values/config.ts";
import { type Check, plainCheck, type ServerCheck } from "../../lib/values/check_spec.ts";
import {
  afterFailedCheck,
  afterFailedClient,
  afterPassedCheck,
  afterVoidCheck,
  type CheckFailure,
  Health,
  type HealthConfig,
  type HealthRecord,
  type HealthRules,
  type HealthState,
  newRecord,
  roomToRest,
  type ServerHealth,
  withNewQuestion,
  withNewRest,
} from "../../lib/health/health.ts";
import { CheckBudget, CHECKS_PER_SECOND_MAX, CHECKS_UNDER_WAY_MAX } from "../../lib/health/check_budget.ts";
import { FakeClock, mostWithin, settled } from "./fake_clock.ts";
import { Queue, startServer, unusedAddress } from "../helpers.ts";

/** A test that leaves no descriptor, timer or call behind: Deno looks for them only where it is told to. */
function testWithoutLeaks(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, fn, sanitizeOps: true, sanitizeResources: true });
}

const RULES: HealthRules = { rise: 2, fall: 3, restMs: 1000, isChecked: true };
const UNCHECKED: HealthRules = { ...RULES, isChecked: false };
const PASSED: CheckResult = { passed: true };
const REFUSED: CheckResult = { passed: false, reason: "connection refused", isGone: true };
const NO_DESCRIPTOR: CheckResult = { passed: false, reason: "too many open files", isGone: false, isOwnFault: true };

/** What happens to a server: a check that passes (and asks to be drained), fails or cannot be made, a client that fails or not. */
type Event = "pass" | "ask" | "fail" | "void" | "client fails" | "client accepted";

const EVENTS: readonly Event[] = ["pass", "ask", "fail", "void", "client fails", "client accepted"];

/** A server's record and the clock; checks take no time unless said. */
class Story {
  nowMs = 5000;
  connects = 7;
  receivedBytes = 0;
  record: HealthRecord = newRecord(this.#service, this.#moment);

  constructor(readonly rules: HealthRules = RULES) {}

  get #moment() {
    return { nowMs: this.nowMs, date: new Date(this.nowMs) };
  }

  get #service() {
    return { connects: this.connects, receivedBytes: this.receivedBytes };
  }

  get state(): string {
    return this.record.state;
  }

  happens(...events: Event[]): this {
    for (const event of events) this.record = this.#after(event, this.nowMs);
    return this;
  }

  /** A check that was started so long ago. */
  late(event: "pass" | "fail" | "void", agoMs: number): this {
    this.record = this.#after(event, this.nowMs - agoMs);
    return this;
  }

  waits(ms: number): this {
    this.nowMs += ms;
    return this;
  }

  #after(event: Event, startedMs: number): HealthRecord {
    const { record, rules } = this;
    if (event === "pass" || event === "ask") {
      return afterPassedCheck(record, { startedMs, asksToDrain: event === "ask" }, rules, this.#moment);
    }
    if (event === "fail") return afterFailedCheck(record, { reason: "connection refused", startedMs }, rules, this.#moment);
    if (event === "void") return afterVoidCheck(record, startedMs, this.#moment);
    if (event === "client fails") {
      const fault = { reason: "no answer", kind: "connect", service: this.#service, roomToRest: 1 } as const;
      return afterFailedClient(record, fault, rules, this.#moment);
    }
    this.connects++;
    return record;
  }
}

/** A story to the first rest, which ends a second later. */
function rested(rules = RULES): Story {
  return new Story(rules).happens("client fails", "client fails", "client fails");
}

const SEQUENCES: readonly (readonly [string, HealthRules, readonly Event[], string])[] = [
  ["nothing", RULES, [], "up"],
  ["fewer failed checks than fall", RULES, ["fail", "fail"], "up"],
  ["fall failed checks", RULES, ["fail", "fail", "fail"], "down"],
  ["failed checks with one between them that passed", RULES, ["fail", "fail", "pass", "fail", "fail"], "up"],
  ["failed checks with one between them that was void", RULES, ["fail", "fail", "void", "fail"], "down"],
  ["void checks", RULES, ["void", "void", "void", "void"], "up"],
  ["fewer passed checks than rise", RULES, ["fail", "fail", "fail", "pass"], "down"],
  ["rise passed checks", RULES, ["fail", "fail", "fail", "pass", "pass"], "up"],
  ["passed checks with one between them that failed", RULES, ["fail", "fail", "fail", "pass", "fail", "pass"], "down"],
  ["passed checks from before it was down", RULES, ["pass", "pass", "fail", "fail", "fail", "pass"], "down"],
  ["fall failed checks when it had come up", RULES, ["fail", "fail", "fail", "pass", "pass", "fail", "fail"], "up"],
  ["one failed check with a fall of 1", { ...RULES, fall: 1 }, ["fail"], "down"],
  ["one passed check with a rise of 1", { ...RULES, rise: 1 }, ["fail", "fail", "fail", "pass"], "up"],
  ["fewer clients' failures than fall", RULES, ["client fails", "client fails"], "up"],
  ["fall clients' failures", RULES, ["client fails", "client fails", "client fails"], "resting"],
  ["clients' failures with one between them that was accepted", RULES, [
    "client fails",
    "client fails",
    "client accepted",
    "client fails",
    "client fails",
  ], "up"],
  ["clients' failures with a check between them that passed", RULES, [
    "client fails",
    "client fails",
    "pass",
    "client fails",
  ], "resting"],
  ["clients' failures where rests are off", { ...RULES, restMs: 0 }, ["client fails", "client fails", "client fails"], "up"],
  ["clients' failures while it is down", RULES, ["fail", "fail", "fail", "client fails", "client fails", "client fails"], "down"],
  ["a passed check while it rests", RULES, ["client fails", "client fails", "client fails", "pass"], "resting"],
  ["fall failed checks while it rests", RULES, ["client fails", "client fails", "client fails", "fail", "fail", "fail"], "down"],
  [
    "failed checks before and while it rests",
    RULES,
    ["fail", "client fails", "client fails", "client fails", "fail", "fail"],
    "down",
  ],
];

for (const [what, rules, events, state] of SEQUENCES) {
  Deno.test(`a server after ${what} is ${state}`, () => assertEquals(new Story(rules).happens(...events).state, state));
}

Deno.test("newRecord() is of a server that is up, for no reason, since now", () => {
  const { state, since, reason } = newRecord({ connects: 0, receivedBytes: 0 }, { nowMs: 12, date: new Date(99) });
  assertEquals({ state, since, reason }, { state: "up", since: new Date(99), reason: null });
});

Deno.test("a state has a time and a reason, until the next", () => {
  const story = new Story().waits(10).happens("fail", "fail").waits(10).happens("fail");
  assertEquals(story.record.since, new Date(5020));
  assertEquals(story.record.reason, "connection refused");
  story.waits(10).happens("fail");
  assertEquals(story.record.since, new Date(5020));
  story.waits(10).happens("pass", "pass");
  assertEquals(story.record.since, new Date(5040));
  assertEquals(story.record.reason, null);
  story.happens("client fails", "client fails", "client fails");
  assertEquals(story.record.reason, "no answer");
});

Deno.test("a rest is ended by the first check after its time that passes", () => {
  assertEquals(rested().waits(999).happens("pass").state, "resting");
  assertEquals(rested().waits(1000).happens("pass").state, "up");
});

Deno.test("a rest is not ended by a check that was started before its time was over", () => {
  assertEquals(rested().waits(1500).late("pass", 501).state, "resting");
  assertEquals(rested().waits(1500).late("pass", 500).state, "up");
  assertEquals(rested().waits(1500).late("fail", 501).record.restMs, 1000);
});

Deno.test("a rest is twice as long after each trial that fails, up to a minute", () => {
  const story = rested(UNCHECKED);
  for (const restMs of [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]) {
    assertEquals(story.record.restMs, restMs);
    assertEquals(story.record.restEndMs, story.nowMs + restMs);
    assertEquals(story.record.since, new Date(5000));
    story.waits(restMs).happens("fail");
  }
  assertEquals(story.record.reason, "connection refused");
  assertEquals(story.waits(LIMITS.restMaxMs).happens("pass").state, "up");
});

Deno.test("a rest goes on for as long again after a trial that could not be made", () => {
  const story = rested().waits(1200).happens("void");
  assertEquals([story.record.restMs, story.record.restEndMs], [1000, story.nowMs + 1000]);
  assertEquals(story.waits(500).happens("void").record.restEndMs, story.nowMs + 500);
});

Deno.test("a trial that fails counts as a failed check where servers are checked, and else never makes a server down", () => {
  const checked = rested().waits(1000).happens("fail").waits(2000).happens("fail").waits(4000).happens("fail");
  assertEquals(checked.state, "down");
  const unchecked = rested(UNCHECKED);
  for (let i = 0; i < 20; i++) assertEquals(unchecked.waits(LIMITS.restMaxMs).happens("fail").state, "resting");
});

Deno.test("a server that rests again soon rests twice as long, one that was up for ten times its rest begins anew", () => {
  for (const [upMs, restMs] of [[0, 2000], [9999, 2000], [10_000, 1000]]) {
    const story = rested().waits(1000).happens("pass").waits(upMs).happens("client fails", "client fails", "client fails");
    assertEquals([story.state, story.record.restMs], ["resting", restMs]);
  }
});

Deno.test("a server that comes up forgets the failures of clients from before", () => {
  assertEquals(rested().waits(1000).happens("pass", "client fails", "client fails").state, "up");
  assertEquals(
    new Story().happens("client fails", "client fails", "fail", "fail", "fail", "pass", "pass", "client fails").state,
    "up",
  );
});

Deno.test("a server that was down begins anew with what it does, not with its rest", () => {
  const story = rested().happens("fail", "fail", "fail").waits(5000).happens("pass");
  assertEquals(story.state, "down");
  assertEquals(story.happens("pass").state, "up");
});

Deno.test("whatever happens, a state changes for its cause alone", () => {
  const step = fc.tuple(fc.constantFrom(...EVENTS), fc.nat(3000));
  const rules = fc.record({
    rise: fc.integer({ min: 1, max: 4 }),
    fall: fc.integer({ min: 1, max: 4 }),
    restMs: fc.constantFrom(0, 1, 1000, 40_000),
    isChecked: fc.boolean(),
  });
  fc.assert(fc.property(rules, fc.array(step, { maxLength: 60 }), (rules, steps) => {
    const story = new Story(rules);
    for (const [event, waitMs] of steps) {
      const before = story.waits(waitMs).record;
      assertLawful(before, event, story.happens(event).record, story);
    }
  }));
});

function assertLawful(before: HealthRecord, event: Event, after: HealthRecord, { rules, nowMs }: Story): void {
  if (after.state === before.state) assertEquals(after.since, before.since);
  else assertEquals(after.since, new Date(nowMs));
  assertEquals(after.reason === null, after.state === "up");
  if (before.state === after.state) return;
  const change = `${before.state} → ${after.state}`;
  const isPass = event === "pass" || event === "ask";
  if (change === "up → resting") {
    assertEquals(event, "client fails");
    assertGreater(rules.restMs, 0);
    assertLessOrEqual(after.restMs, LIMITS.restMaxMs);
  } else if (change === "resting → up") assert(isPass && nowMs >= before.restEndMs);
  else if (change === "down → up") assert(isPass && after.checksPassed >= rules.rise);
  else {
    assertEquals(after.state, "down");
    assert(event === "fail" && rules.isChecked && after.checksFailed >= rules.fall);
  }
}

const CONFIG: HealthConfig = { checkIntervalMs: 1000, checkTimeoutMs: 500, rise: 2, fall: 3, restMs: 1000, restShare: 1 };
const TCP: Check = { kind: "tcp" };
const OFF: Check = { kind: "off" };

/** A Health of servers whose addresses' ports are their slots, and what it did. */
class Ward implements Disposable {
  readonly clock = new FakeClock();
  readonly checks: { readonly slot: number; readonly atMs: number; readonly check: ServerCheck; readonly signal: AbortSignal }[] =
    [];
  readonly changes: (readonly [slot: number, state: string])[] = [];
  readonly failures: (CheckFailure & { readonly slot: number })[] = [];
  readonly results = new Map<number, CheckResult | Promise<CheckResult>>();
  readonly connects = new Map<number, number>();
  readonly receivedBytes = new Map<number, number>();
  readonly check: ServerCheck;
  underWay = 0;
  underWayMax = 0;
  /** How many servers get clients beside the one that fails. */
  othersAvailable = Infinity;
  readonly health: Health;

  constructor({ check = TCP, ...config }: Partial<HealthConfig> & { readonly check?: Check } = {}) {
    this.check = plainCheck(check);
    this.health = new Health({
      config: { ...CONFIG, ...config },
      clock: this.clock,
      budget: new CheckBudget({ clock: this.clock }),
      othersAvailable: () => this.othersAvailable,
      run: async (check, { port: slot }, timeoutMs, { signal }) => {
        assertEquals(timeoutMs, CONFIG.checkTimeoutMs);
        this.checks.push({ slot, atMs: this.clock.now, check, signal: signal! });
        this.underWayMax = Math.max(this.underWayMax, ++this.underWay);
        const result = await (this.results.get(slot) ?? PASSED);
        this.underWay--;
        return result;
      },
      onChange: (slot, health) => {
        assertEquals(this.health.stateOf(slot), health);
        this.changes.push([slot, health.state]);
      },
      onCheckFailed: (slot, failure) => this.failures.push({ slot, ...failure }),
      serviceOf: (slot) => ({ connects: this.connects.get(slot) ?? 0, receivedBytes: this.receivedBytes.get(slot) ?? 0 }),
    });
  }

  watch(first: number, count = 1): this {
    for (let slot = first; slot < first + count; slot++) this.health.watch(slot, address(slot), this.check);
    return this;
  }

  /** So many failures of clients. */
  fail(slot: number, times = 3): this {
    for (let i = 0; i < times; i++) this.health.trafficFailed(slot, "connection refused");
    return this;
  }

  /** Servers by state. */
  statesOf(first: number, count: number): Partial<Record<HealthState, number>> {
    const states = Array.from({ length: count }, (_, i) => this.health.stateOf(first + i).state);
    return Object.fromEntries(Object.entries(Object.groupBy(states, (state) => state)).map(([state, all]) => [state, all.length]));
  }

  get checked(): number[] {
    return this.checks.map(({ slot }) => slot);
  }

  [Symbol.dispose](): void {
    this.health[Symbol.dispose]();
    assert(this.clock.isIdle, "a timer is left");
  }
}

function address(slot: number): Address {
  return { host: "127.0.0.1", port: slot };
}

Deno.test("a server that is watched is up, for no reason, since then", () => {
  using ward = new Ward().watch(4);
  assertEquals(ward.health.stateOf(4), { state: "up", since: new Date(1000), reason: null });
  assertThrows(() => ward.health.stateOf(5), Error, "slot 5");
});

Deno.test("each server is checked once in an interval, always in the same turn", async () => {
  using ward = new Ward().watch(1, 4);
  await ward.clock.goOn(3000);
  assertEquals(ward.checked, [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]);
  assertEquals(ward.checks.map(({ atMs }) => atMs - 1000), [250, 500, 750, 1000, 1250, 1500, 1750, 2000, 2250, 2500, 2750, 3000]);
});

Deno.test("nextCheckOf() is the time of the next check, an interval after the last one", async () => {
  using ward = new Ward().watch(1, 4);
  assertEquals(ward.health.nextCheckOf(1), new Date(2000), "the first check is within an interval");
  await ward.clock.goOn(1100);
  for (const slot of [1, 2, 3, 4]) {
    const before = ward.checks.length;
    const next = ward.health.nextCheckOf(slot)!.getTime();
    await ward.clock.goOn(1000);
    assertEquals(ward.checks.slice(before).find((check) => check.slot === slot)?.atMs, next, `slot ${slot}`);
  }
  assertEquals(ward.health.nextCheckOf(5), null, "nobody watches it");
});

Deno.test("nextCheckOf() is the end of a rest if that comes first, and there is none without checks", async () => {
  using ward = new Ward({ check: OFF, restMs: 4000 }).watch(1, 2).fail(1);
  assertEquals([1, 2].map((slot) => ward.health.nextCheckOf(slot)), [new Date(5000), null]);
  await ward.clock.goOn(4000);
  assertEquals([ward.checked, ward.health.nextCheckOf(1)], [[1], null]);
  using checked = new Ward({ restMs: 600 }).watch(1).fail(1);
  assertEquals(checked.health.nextCheckOf(1), new Date(1600));
  checked.health[Symbol.dispose]();
  assertEquals(checked.health.nextCheckOf(1), null);
});

Deno.test("a thousand servers that come at once are checked evenly, from the first interval on", async () => {
  using ward = new Ward({ checkIntervalMs: 5000 }).watch(1, 1000);
  await ward.clock.goOn(5010);
  assertEquals(new Set(ward.checked).size, 1000);
  for (const span of [100, 1000]) {
    assertLessOrEqual(mostWithin(ward.checks.map(({ atMs }) => atMs), span), span / 5 + 4);
  }
});

Deno.test("servers that come while others are checked have their first turn last, and the others keep theirs", async () => {
  using ward = new Ward().watch(1, 2);
  await ward.clock.goOn(500);
  ward.watch(3, 2);
  await ward.clock.goOn(1250);
  assertEquals(ward.checked, [1, 2, 3, 4, 1, 2]);
});

Deno.test("ten thousand servers are checked as often as the limit on checks allows", async () => {
  using ward = new Ward().watch(1, 10_000);
  assertEquals(ward.health.checkIntervalMs, 10_000 * 1000 / CHECKS_PER_SECOND_MAX);
  await ward.clock.goOn(21_000);
  const times = ward.checks.map(({ atMs }) => atMs);
  assertEquals(new Set(ward.checked).size, 10_000);
  assertLessOrEqual(mostWithin(times, 1000), CHECKS_PER_SECOND_MAX + 16);
  assertLess(ward.clock.started, 21_000 / 10 + 1100, "one timer for many checks");
});

Deno.test("thousands of rests that end at once are ended at the pace of the limit", async () => {
  using ward = new Ward({ check: OFF }).watch(1, 2000);
  for (let slot = 1; slot <= 2000; slot++) ward.fail(slot);
  assertEquals(ward.statesOf(1, 2000), { resting: 2000 });
  await ward.clock.goOn(6000);
  assertEquals(ward.statesOf(1, 2000), { up: 2000 });
  assertEquals(ward.checks.length, 2000);
  assertLessOrEqual(mostWithin(ward.checks.map(({ atMs }) => atMs), 1000), CHECKS_PER_SECOND_MAX + 16);
  assert(ward.clock.isIdle);
});

Deno.test("checks that are late because the machine was busy are not made up for", async () => {
  using ward = new Ward().watch(1, 10);
  ward.clock.now += 60_000;
  await ward.clock.goOn(1000);
  assertLessOrEqual(ward.checks.length, 12);
});

Deno.test("no more checks are under way than the limit, and none of a server that is being checked", async () => {
  using ward = new Ward().watch(1, 400);
  const answers = Promise.withResolvers<CheckResult>();
  for (let slot = 1; slot <= 400; slot++) ward.results.set(slot, answers.promise);
  await ward.clock.goOn(10_000);
  assertEquals(ward.checks.length, CHECKS_UNDER_WAY_MAX);
  assert(ward.clock.isIdle);
  answers.resolve(PASSED);
  await settled();
  await ward.clock.goOn(1100);
  assertEquals(new Set(ward.checked).size, 400);
  assertEquals(ward.underWayMax, CHECKS_UNDER_WAY_MAX);
});

Deno.test("a server that is being checked loses its turn", async () => {
  using ward = new Ward().watch(1, 2);
  const answer = Promise.withResolvers<CheckResult>();
  ward.results.set(1, answer.promise);
  await ward.clock.goOn(3000);
  assertEquals(ward.checked, [1, 2, 2, 2]);
  answer.resolve(PASSED);
  await settled();
  await ward.clock.goOn(1000);
  assertEquals(ward.checked, [1, 2, 2, 2, 1, 2]);
});

Deno.test("servers that are up need no timer where checks are off", async () => {
  using ward = new Ward({ check: OFF }).watch(1, 100);
  await ward.clock.goOn(100_000);
  ward.fail(1, 2);
  assert(ward.clock.isIdle);
  assertEquals([ward.checks.length, ward.clock.started], [0, 0]);
});

Deno.test("no timer is left when nobody is watched, and none is started again", async () => {
  using ward = new Ward().watch(1, 3).fail(2);
  for (const slot of [1, 2, 3, 3, 99]) ward.health.forget(slot);
  assert(ward.clock.isIdle);
  const { started } = ward.clock;
  await ward.clock.goOn(100_000);
  assertEquals([ward.checks.length, ward.clock.started], [0, started]);
  ward.watch(5);
  await ward.clock.goOn(1000);
  assertEquals(ward.checked, [5]);
});

Deno.test("a server whose checks fail goes down, and comes up when they pass", async () => {
  using ward = new Ward().watch(1, 2);
  ward.results.set(1, REFUSED);
  await ward.clock.goOn(2499);
  assertEquals(ward.changes, []);
  await ward.clock.goOn(1);
  assertEquals(ward.changes, [[1, "down"]]);
  assertEquals(ward.health.stateOf(1), { state: "down", since: new Date(3500), reason: "connection refused" });
  assertEquals(ward.statesOf(1, 2), { up: 1, down: 1 });
  ward.results.set(1, PASSED);
  await ward.clock.goOn(2000);
  assertEquals(ward.changes, [[1, "down"], [1, "up"]]);
});

Deno.test("failed checks are told from the fall-th in a row on, with how long they have failed", async () => {
  using ward = new Ward().watch(1);
  await ward.clock.goOn(1000);
  ward.results.set(1, REFUSED);
  await ward.clock.goOn(4000);
  const failure = { slot: 1, reason: "connection refused", isGone: true };
  assertEquals(ward.failures, [
    { ...failure, silentMs: 2000, sinceHealthyMs: 3000 },
    { ...failure, silentMs: 3000, sinceHealthyMs: 4000 },
  ]);
  ward.results.set(1, PASSED);
  await ward.clock.goOn(1000);
  ward.results.set(1, REFUSED);
  await ward.clock.goOn(2000);
  assertEquals(ward.failures.length, 2);
});

Deno.test("a first check that fails at once is a silence of one interval", async () => {
  using ward = new Ward({ fall: 1 }).watch(1);
  ward.results.set(1, { passed: false, reason: "it answered HTTP 503", isGone: false });
  await ward.clock.goOn(1000);
  assertEquals(ward.failures, [{ slot: 1, reason: "it answered HTTP 503", isGone: false, silentMs: 1000, sinceHealthyMs: 1000 }]);
});

Deno.test("checks that could not be made say nothing of a server", async () => {
  using ward = new Ward({ fall: 1 }).watch(1);
  ward.results.set(1, NO_DESCRIPTOR);
  await ward.clock.goOn(5000);
  assertEquals([ward.checks.length, ward.changes.length, ward.failures.length], [5, 0, 0]);
});

Deno.test("a server that clients fail at rests, is tried once by itself, and is up again", async () => {
  using ward = new Ward({ check: OFF }).watch(1, 2).fail(1);
  assertEquals(ward.health.stateOf(1), { state: "resting", since: new Date(1000), reason: "connection refused" });
  await ward.clock.goOn(999);
  assertEquals(ward.checks.length, 0);
  await ward.clock.goOn(1);
  assertEquals(ward.checks.map(({ slot, check }) => ({ slot, check })), [{ slot: 1, check: plainCheck(TCP) }]);
  assertEquals(ward.changes, [[1, "resting"], [1, "up"]]);
  assert(ward.clock.isIdle);
});

Deno.test("a server whose trials fail rests longer and longer, and is not told of where checks are off", async () => {
  using ward = new Ward({ check: OFF }).watch(1);
  ward.results.set(1, REFUSED);
  ward.fail(1);
  await ward.clock.goOn(15_000);
  assertEquals(ward.checks.map(({ atMs }) => atMs - 1000), [1000, 3000, 7000, 15_000]);
  assertEquals(ward.changes, [[1, "resting"]]);
  assertEquals(ward.failures, []);
});

Deno.test("the trial of a server is the check that is configured", async () => {
  const check: Check = { kind: "http", path: "/health" };
  using ward = new Ward({ check, checkIntervalMs: 60_000 }).watch(1).fail(1);
  await ward.clock.goOn(1000);
  assertEquals(ward.checks.map(({ check }) => check.question), [check]);
  assertEquals(ward.health.stateOf(1).state, "up");
});

Deno.test("a check that was under way when the rest ended is followed by the trial", async () => {
  using ward = new Ward().watch(1);
  const answer = Promise.withResolvers<CheckResult>();
  ward.results.set(1, answer.promise);
  await ward.clock.goOn(1000);
  ward.fail(1);
  await ward.clock.goOn(1200);
  assertEquals(ward.checks.length, 1);
  ward.results.delete(1);
  answer.resolve(PASSED);
  await settled();
  assertEquals(ward.health.stateOf(1).state, "resting");
  await ward.clock.goOn(10);
  assertEquals([ward.checks.length, ward.health.stateOf(1).state], [2, "up"]);
});

Deno.test("clients' failures count in a row until a client is accepted", () => {
  using ward = new Ward({ check: OFF }).watch(1).fail(1, 2);
  ward.connects.set(1, 1);
  ward.fail(1, 2);
  assertEquals(ward.changes, []);
  ward.fail(1, 1);
  assertEquals(ward.changes, [[1, "resting"]]);
});

Deno.test("failures at a server that nobody watches are ignored", () => {
  using ward = new Ward().fail(1);
  ward.watch(1).fail(1, 2).health.forget(1);
  ward.fail(1).watch(1).fail(1, 2);
  assertEquals(ward.changes, []);
});

Deno.test("the answer of a check counts for the server that was asked, not for the next of its slot", async () => {
  using ward = new Ward({ fall: 1 }).watch(1);
  const answer = Promise.withResolvers<CheckResult>();
  ward.results.set(1, answer.promise);
  await ward.clock.goOn(1000);
  ward.watch(1);
  assert(ward.checks[0].signal.aborted, "nobody waits for the old check");
  answer.resolve(REFUSED);
  await settled();
  assertEquals([ward.changes.length, ward.failures.length], [0, 0]);
  assertEquals(ward.health.stateOf(1).since, new Date(2000));
  ward.results.delete(1);
  await ward.clock.goOn(1000);
  assertEquals(ward.checked, [1, 1]);
});

Deno.test("a check that ends after its server was forgotten, or everything was, changes nothing", async () => {
  const ward = new Ward({ fall: 1 }).watch(1, 2);
  const answer = Promise.withResolvers<CheckResult>();
  for (const slot of [1, 2]) ward.results.set(slot, answer.promise);
  await ward.clock.goOn(1000);
  ward.health.forget(1);
  ward[Symbol.dispose]();
  assert(ward.checks.every(({ signal }) => signal.aborted));
  answer.resolve(REFUSED);
  await settled();
  assertEquals([ward.changes.length, ward.failures.length], [0, 0]);
  assert(ward.clock.isIdle);
});

Deno.test("a server may be forgotten when it is told that it is down", async () => {
  const told: string[] = [];
  const clock = new FakeClock();
  using health: Health = new Health({
    config: { ...CONFIG, fall: 1 },
    clock,
    budget: new CheckBudget({ clock }),
    othersAvailable: () => 1,
    run: () => Promise.resolve(REFUSED),
    onChange: (slot, { state }) => {
      told.push(state);
      health.forget(slot);
    },
    onCheckFailed: () => told.push("failed"),
    serviceOf: () => ({ connects: 0, receivedBytes: 0 }),
  });
  health.watch(1, address(1), plainCheck(TCP));
  await clock.goOn(5000);
  assertEquals(told, ["down"]);
  assert(clock.isIdle);
});

Deno.test("whatever comes and goes, those watched are checked in every interval and no others, by one timer", async () => {
  const steps = fc.array(fc.tuple(fc.constantFrom("watch", "forget", "fail", "wait"), fc.nat(9), fc.nat(400)), { maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(steps, async (steps) => {
      using ward = new Ward();
      const watched = new Set<number>();
      for (const [act, slot, ms] of steps) {
        if (act === "watch") ward.watch(slot), watched.add(slot);
        else if (act === "forget") ward.health.forget(slot), watched.delete(slot);
        else if (act === "fail") ward.fail(slot);
        else await ward.clock.goOn(ms);
      }
      ward.checks.length = 0;
      await ward.clock.goOn(2100); // the rest of the old turn, a round, and a rest
      assertEquals(new Set(ward.checked), watched);
      assertEquals(ward.clock.isIdle, watched.size === 0);
      for (const slot of watched) assertEquals(ward.health.stateOf(slot).state, "up");
    }),
    { numRuns: 50 },
  );
});

testWithoutLeaks("Health checks real servers by itself", async () => {
  const changes = new Queue<readonly [number, string]>();
  const addresses = { dead: unusedAddress() };
  using health = new Health({
    config: { ...CONFIG, checkIntervalMs: 20, fall: 2, rise: 1 },
    budget: new CheckBudget(),
    othersAvailable: () => 1,
    onChange: (slot: number, { state }: ServerHealth) => changes.put([slot, state]),
    onCheckFailed: () => {},
    serviceOf: () => ({ connects: 0, receivedBytes: 0 }),
  });
  await using server = startServer(() => Promise.resolve());
  health.watch(1, server.address, plainCheck(TCP));
  health.watch(2, addresses.dead, plainCheck(TCP));
  assertEquals(await changes.take(), [2, "down"]);
  await using _late = startServer(() => Promise.resolve(), addresses.dead);
  assertEquals(await changes.take(), [2, "up"]);
  assertEquals(health.stateOf(1).state, "up");
});

/** A server that accepts every client and answers some. */
class Accepting {
  record: HealthRecord;
  service = { connects: 0, receivedBytes: 0 };

  constructor(readonly roomToRest = 1, readonly restMs = 1000) {
    this.record = newRecord(this.service, this.#moment);
  }

  get #moment() {
    return { nowMs: 5000, date: new Date(5000) };
  }

  /** Accepts clients and loses them before it has answered. */
  loses(times: number): this {
    for (let i = 0; i < times; i++) {
      this.service = { ...this.service, connects: this.service.connects + 1 };
      const fault = { reason: "it reset", kind: "answer", service: this.service, roomToRest: this.roomToRest } as const;
      this.record = afterFailedClient(this.record, fault, { ...RULES, restMs: this.restMs }, this.#moment);
    }
    return this;
  }

  answers(): this {
    this.service = { connects: this.service.connects + 1, receivedBytes: this.service.receivedBytes + 10 };
    return this;
  }
}

Deno.test("a server that accepts clients and loses them without an answer rests after fall of them", () => {
  assertEquals(new Accepting().loses(2).record.state, "up");
  const { state, reason, restMs } = new Accepting().loses(3).record;
  assertEquals([state, reason, restMs], ["resting", "it reset", 1000]);
});

Deno.test("an answer between them starts the count again", () => {
  assertEquals(new Accepting().loses(2).answers().loses(2).record.state, "up");
  assertEquals(new Accepting().loses(2).answers().loses(3).record.state, "resting");
});

Deno.test("with rests off no server rests, whatever it loses", () => {
  assertEquals(new Accepting(1, 0).loses(20).record.state, "up");
});

Deno.test("a server for whose rest there is no room stays up, and rests at its next failure when there is", () => {
  const server = new Accepting(0).loses(5);
  assertEquals(server.record.state, "up");
  const room = new Accepting(1);
  room.record = server.record;
  room.service = server.service;
  assertEquals(room.loses(1).record.state, "resting");
});

Deno.test("failures of the two kinds are counted each for itself", () => {
  const service = { connects: 0, receivedBytes: 0 };
  const moment = { nowMs: 5000, date: new Date(5000) };
  let record = newRecord(service, moment);
  for (const kind of ["connect", "answer", "connect", "answer"] as const) {
    record = afterFailedClient(record, { reason: "no", kind, service, roomToRest: 1 }, RULES, moment);
  }
  assertEquals([record.state, record.clientsFailed], ["up", { connect: 2, answer: 2 }]);
});

const ROOMS = [
  [2, 0, 1, 0.5, 1],
  [3, 0, 2, 0.5, 1],
  [4, 1, 2, 0.5, 1],
  [10, 0, 9, 0.01, 1],
  [10, 5, 4, 0.5, 0],
  [10, 7, 2, 0.5, -2],
  [10, 8, 1, 1, 1],
  [1, 0, 0, 1, 0],
  [2, 1, 0, 1, 0],
  [10, 0, 2, 0.5, 2],
  [10, 0, 0, 0.5, 0],
] as const;

for (const [servers, resting, othersAvailable, share, room] of ROOMS) {
  const pool = `${servers} servers of which ${resting} rest and ${othersAvailable} others get clients`;
  Deno.test(`of ${pool}, ${room} more may rest, where ${share * 100} % may at a time`, () => {
    assertEquals(roomToRest({ servers, resting, othersAvailable }, share), room);
  });
}

Deno.test("the last server that gets clients does not rest, and rests at its next failure when another one gets them", () => {
  using ward = new Ward({ check: OFF }).watch(1, 3);
  ward.othersAvailable = 0;
  assertEquals(ward.fail(1, 20).health.stateOf(1).state, "up");
  ward.othersAvailable = 1;
  assertEquals(ward.fail(1, 1).health.stateOf(1).state, "resting");
});

Deno.test("no more servers rest at a time than may, whoever fails", () => {
  using ward = new Ward({ check: OFF, restShare: 0.5 }).watch(1, 4);
  ward.fail(1).fail(2).fail(3).fail(4);
  assertEquals(ward.statesOf(1, 4), { resting: 2, up: 2 });
});

Deno.test("a server whose rest has ended leaves its room to another", async () => {
  using ward = new Ward({ check: OFF, restShare: 0.5 }).watch(1, 2).fail(1).fail(2);
  assertEquals(ward.statesOf(1, 2), { resting: 1, up: 1 });
  await ward.clock.goOn(1000);
  assertEquals(ward.statesOf(1, 2), { up: 2 });
  ward.fail(2, 1);
  assertEquals(ward.health.stateOf(2).state, "resting");
});

Deno.test("a server may have a check of its own, or none, among others that are checked", async () => {
  using ward = new Ward();
  const own = plainCheck({ kind: "http", path: "/primary" });
  ward.health.watch(1, address(1), own);
  ward.health.watch(2, address(2), plainCheck(OFF));
  ward.watch(3);
  await ward.clock.goOn(2000);
  assertEquals(ward.checks.map(({ slot }) => slot), [1, 3, 1, 3]);
  assertEquals(ward.checks[0].check, own);
});

Deno.test("a check that is changed is made from then on, and the old one's result is dropped", async () => {
  using ward = new Ward({ fall: 1 }).watch(1);
  const answer = Promise.withResolvers<CheckResult>();
  ward.results.set(1, answer.promise);
  await ward.clock.goOn(1000);
  ward.health.change(1, plainCheck({ kind: "http", path: "/" }));
  ward.results.set(1, PASSED);
  answer.resolve(REFUSED);
  await settled();
  assertEquals(ward.health.stateOf(1).state, "up");
  await ward.clock.goOn(1000);
  assertEquals(ward.checks[1].check.question, { kind: "http", path: "/" });
});

Deno.test("a trial whose check is changed meanwhile is made again, where checks are off, too", async () => {
  using ward = new Ward({ check: OFF }).watch(1).fail(1);
  const answer = Promise.withResolvers<CheckResult>();
  ward.results.set(1, answer.promise);
  await ward.clock.goOn(1000);
  assertEquals([ward.checked, ward.health.stateOf(1).state], [[1], "resting"]);
  ward.health.change(1, { ...plainCheck(OFF), host: "other" });
  assert(ward.checks[0].signal.aborted);
  ward.results.set(1, PASSED);
  answer.resolve(PASSED);
  await settled();
  await ward.clock.goOn(1000);
  assertEquals([ward.checked, ward.health.stateOf(1).state], [[1, 1], "up"]);
});

Deno.test("a server that is down comes up when it is not checked any more", async () => {
  using ward = new Ward({ fall: 1 }).watch(1, 2);
  ward.results.set(1, REFUSED);
  await ward.clock.goOn(1000);
  assertEquals(ward.health.stateOf(1).state, "down");
  ward.health.change(1, plainCheck(OFF));
  assertEquals(ward.health.stateOf(1).state, "up");
  ward.health.change(2, plainCheck(OFF));
  await ward.clock.goOn(500);
  assert(ward.clock.isIdle, "nobody is checked");
});

Deno.test("a check of another port that is not answered says nothing about the connections of clients", async () => {
  using ward = new Ward({ fall: 1 });
  ward.health.watch(1, address(1), { ...plainCheck(TCP), port: 1 });
  ward.health.watch(2, address(2), { ...plainCheck(TCP), port: 8008 });
  for (const slot of [1, 2]) ward.results.set(slot, REFUSED);
  await ward.clock.goOn(1000);
  assertEquals(ward.statesOf(1, 2), { down: 2 });
  assertEquals(ward.failures.map(({ slot, isGone }) => [slot, isGone]), [[1, true], [2, false]]);
});

Deno.test("what was known of a server before goes on: it is down until it passes, it rests until the rest is over", async () => {
  using ward = new Ward();
  const since = new Date(7);
  ward.health.watch(1, address(1), plainCheck(TCP), { state: "down", since, reason: "it was", restMs: 0, restLeftMs: 0 });
  ward.health.watch(2, address(2), plainCheck(OFF), { state: "resting", since, reason: "it did", restMs: 4000, restLeftMs: 300 });
  assertEquals(ward.health.stateOf(1), { state: "down", since, reason: "it was" });
  assertEquals(ward.health.stateOf(2), { state: "resting", since, reason: "it did" });
  assertEquals(ward.health.knownOf(2), { state: "resting", since, reason: "it did", restMs: 4000, restLeftMs: 300 });
  await ward.clock.goOn(310);
  assertEquals([ward.health.stateOf(2).state, ward.health.knownOf(2)], ["up", undefined]);
  ward.fail(2);
  assertEquals(ward.health.knownOf(2)?.restMs, 8000, "it rests longer the next time");
  await ward.clock.goOn(1000);
  assertEquals(ward.health.stateOf(1).state, "down");
  await ward.clock.goOn(1000);
  assertEquals(ward.health.stateOf(1).state, "up");
});

Deno.test("the same check again, as with a new weight, changes nothing: neither counts nor the check that runs", async () => {
  using ward = new Ward().watch(1);
  ward.results.set(1, REFUSED);
  await ward.clock.goOn(2000);
  const answer = Promise.withResolvers<CheckResult>();
  ward.results.set(1, answer.promise);
  await ward.clock.goOn(1000);
  ward.health.change(1, plainCheck({ ...TCP }));
  answer.resolve(REFUSED);
  await settled();
  assertEquals(ward.changes, [[1, "down"]]);
});

Deno.test("with another question failures are forgotten, and a server that is down must pass it rise times", async () => {
  using ward = new Ward().watch(1, 2);
  ward.results.set(1, REFUSED);
  await ward.clock.goOn(2000);
  ward.health.change(1, plainCheck({ kind: "http", path: "/" }));
  await ward.clock.goOn(2000);
  assertEquals(ward.changes, [], "two failures of each");
  await ward.clock.goOn(1000);
  assertEquals(ward.changes, [[1, "down"]]);
  ward.results.set(1, PASSED);
  await ward.clock.goOn(1000);
  ward.health.change(1, plainCheck(TCP));
  await ward.clock.goOn(1000);
  assertEquals(ward.health.stateOf(1).state, "down", "one pass of each");
  await ward.clock.goOn(1000);
  assertEquals(ward.health.stateOf(1).state, "up");
});

Deno.test("withNewQuestion() forgets answers and leaves state, rest and clients' failures", () => {
  const { record } = new Story().happens("client fails", "client fails", "pass", "ask", "fail");
  assertEquals(withNewQuestion(record), { ...record, checksPassed: 0, checksFailed: 0, checksWilling: 0 });
  assertEquals(record.checksFailed, 1);
  assertEquals(withNewQuestion(rested().record), rested().record);
});

const NEW_REST = { nowMs: 7000, date: new Date(7000) };

Deno.test("withNewRest(): a rest goes on to its end, and is doubled from the new length", () => {
  const { record } = rested().waits(400);
  const changed = withNewRest(record, 300, NEW_REST);
  assertEquals(changed, { ...record, restMs: 300 });
  const story = rested().waits(1000);
  story.record = withNewRest(story.record, 300, NEW_REST);
  assertEquals(story.happens("fail").record.restMs, 600);
});

Deno.test("withNewRest(): a server that has rested before begins with the new length, where it would have doubled the old", () => {
  const story = rested().waits(1000).happens("pass");
  const changed = new Story({ ...RULES, restMs: 300 });
  changed.nowMs = story.nowMs;
  changed.record = withNewRest(story.record, 300, NEW_REST);
  assertEquals(changed.happens("client fails", "client fails", "client fails").record.restMs, 300);
});

Deno.test("withNewRest(): where no server rests any more, one that rests is up", () => {
  const { state, since, reason } = withNewRest(rested().record, 0, NEW_REST);
  assertEquals({ state, since, reason }, { state: "up", since: new Date(7000), reason: null });
});

Deno.test("configure(): fewer failures or passes in a row hold from the next result on, and what is counted counts", async () => {
  using ward = new Ward({ fall: 10, rise: 10 }).watch(1);
  ward.results.set(1, REFUSED);
  await ward.clock.goOn(4000);
  ward.health.configure({ ...CONFIG, fall: 3, rise: 10 });
  assertEquals(ward.changes, [], "no change without a result");
  await ward.clock.goOn(1000);
  assertEquals(ward.changes, [[1, "down"]]);
  ward.results.set(1, PASSED);
  await ward.clock.goOn(4000);
  ward.health.configure({ ...CONFIG, fall: 3, rise: 5 });
  await ward.clock.goOn(1000);
  assertEquals(ward.changes, [[1, "down"], [1, "up"]]);
});

Deno.test("configure(): another interval holds from the next turn on, shorter or longer", async () => {
  using ward = new Ward({ checkIntervalMs: 60_000 }).watch(1, 2);
  await ward.clock.goOn(30_000);
  assertEquals(ward.checked, [1]);
  ward.health.configure({ ...CONFIG, checkIntervalMs: 1000 });
  assertEquals(ward.health.checkIntervalMs, 1000);
  await ward.clock.goOn(2010);
  assertEquals(ward.checked, [1, 2, 1, 2, 1]);
  ward.health.configure({ ...CONFIG, checkIntervalMs: 60_000 });
  await ward.clock.goOn(60_000);
  assertEquals(ward.checks.length, 7);
});

Deno.test("configure(): a check keeps the time limit that it began with", async () => {
  const limits: number[] = [];
  const clock = new FakeClock();
  using health = new Health({
    config: CONFIG,
    clock,
    budget: new CheckBudget({ clock }),
    othersAvailable: () => 1,
    run: (_check, _address, timeoutMs) => {
      limits.push(timeoutMs);
      return Promise.resolve(PASSED);
    },
    onChange: () => {},
    onCheckFailed: () => {},
    serviceOf: () => ({ connects: 0, receivedBytes: 0 }),
  });
  health.watch(1, address(1), plainCheck(TCP));
  await clock.goOn(1000);
  health.configure({ ...CONFIG, checkTimeoutMs: 50 });
  await clock.goOn(1000);
  assertEquals(limits, [500, 50]);
});

Deno.test("configure(): no rests any more ends those under way, and a smaller share ends none", async () => {
  using ward = new Ward({ check: OFF }).watch(1, 4).fail(1).fail(2);
  ward.health.configure({ ...CONFIG, restShare: 0.25 });
  assertEquals(ward.fail(3).statesOf(1, 4), { resting: 2, up: 2 });
  ward.health.configure({ ...CONFIG, restMs: 0 });
  assertEquals(ward.statesOf(1, 4), { up: 4 });
  assertEquals(ward.changes, [[1, "resting"], [2, "resting"], [1, "up"], [2, "up"]]);
  assert(ward.clock.isIdle, "no trial is due");
  await ward.clock.goOn(10_000);
  assertEquals([ward.checks.length, ward.fail(1, 9).statesOf(1, 4)], [0, { up: 4 }]);
});

Deno.test("a wish to be drained is told at once, and that there is none after rise answers in a row without it", async () => {
  const answers: boolean[] = [];
  const clock = new FakeClock();
  let result: CheckResult = PASSED;
  using health = new Health({
    config: CONFIG,
    clock,
    budget: new CheckBudget({ clock }),
    othersAvailable: () => 1,
    run: () => Promise.resolve(result),
    onChange: () => {},
    onCheckFailed: () => {},
    onAnswer: (_slot, asksToDrain) => answers.push(asksToDrain),
    serviceOf: () => ({ connects: 0, receivedBytes: 0 }),
  });
  health.watch(1, address(1), plainCheck(TCP));
  const asking: CheckResult = { passed: true, asksToDrain: true };
  const steps: [CheckResult, boolean[]][] = [
    [asking, [true]],
    [PASSED, []],
    [asking, [true]],
    [PASSED, []],
    [REFUSED, []],
    [PASSED, []],
    [NO_DESCRIPTOR, []],
    [PASSED, [false]],
    [PASSED, [false]],
  ];
  for (const [next, expected] of steps) {
    answers.length = 0;
    result = next;
    await clock.goOn(1000);
    assertEquals(answers, expected);
  }
});
