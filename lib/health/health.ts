/**
 * Which servers may get clients, by what checks and clients find out about them. Two parts: what follows from what was found out, as
 * pure functions from one record to the next; and `Health`, which makes the checks, evenly spread over time. Knows servers by slot
 * and address alone: what is done with a server that is down, and who is draining, is the balancer's business.
 */

import type { Address } from "../values/address.ts";
import type { Check } from "../values/check_spec.ts";
import { type CheckOptions, type CheckResult, type FailedCheck, runCheck } from "./check.ts";
import { assert } from "../values/errors.ts";

/** `up` may get clients. `resting` did not take clients, and is tried after a while; `down` fails its checks. */
export type HealthState = "up" | "resting" | "down";

/** A server's state, since when it is in it, and why, in a clause: the last failure, null while it is up. */
export interface ServerHealth {
  readonly state: HealthState;
  readonly since: Date;
  readonly reason: string | null;
}

/** What decides over states: checks in a row that change one, and the first rest, 0 for none. */
export interface HealthRules {
  readonly rise: number;
  readonly fall: number;
  readonly restMs: number;
  /** False where servers are checked only to end a rest: no number of such checks makes a server `down`. */
  readonly isChecked: boolean;
}

/** A server's state, and what must be remembered of it to find the next one. Times in ms are of one clock that starts anywhere. */
export interface HealthRecord extends ServerHealth {
  /** Checks in a row, up to the last one. */
  readonly checksPassed: number;
  readonly checksFailed: number;
  /** Clients' failures in a row, and how many connections the server had accepted at the last one. */
  readonly clientsFailed: number;
  readonly connects: number;
  /** How long the last rest was; 0: there was none. */
  readonly restMs: number;
  /** While it rests: when that is over. */
  readonly restEndMs: number;
  /** Since when it is up, or was the last time. */
  readonly upSinceMs: number;
}

/** The present, by a clock for intervals and by the one on the wall. */
export interface Moment {
  readonly nowMs: number;
  readonly date: Date;
}

/** Nobody rests longer at a time. */
export const REST_MAX_MS = 60_000;
/** A server that was up for so many times its last rest begins anew with the shortest one. */
const REST_MEMORY = 10;

/** Checks that are started in a second. With more servers than this allows, each is checked more seldom. */
export const CHECKS_PER_SECOND_MAX = 500;
/** Checks under way at a time, where nothing else is said: the descriptors that they take. */
export const CHECKS_UNDER_WAY_MAX = 256;
/** Checks started at one waking. Unused ones are not saved beyond that. */
const CHECKS_AT_ONCE_MAX = 16;
/** Sleeps are no shorter: at 500 checks a second, being woken for each costs more than the checks. */
const SLEEP_MIN_MS = 10;
/** Checks that are late by more (the machine was busy, or asleep) are left out, not made up for. */
const LATE_MAX_MS = 100;

/** A server of which nothing is known but how many connections it has accepted. */
export function newRecord(connects: number, { nowMs, date }: Moment): HealthRecord {
  return {
    state: "up",
    since: date,
    reason: null,
    checksPassed: 0,
    checksFailed: 0,
    clientsFailed: 0,
    connects,
    restMs: 0,
    restEndMs: 0,
    upSinceMs: nowMs,
  };
}

/**
 * After a check that passed. One that was started (`startedMs`) when a rest was over is the trial that ends it; a rest that is not
 * over goes on.
 */
export function afterPassedCheck(record: HealthRecord, startedMs: number, rules: HealthRules, moment: Moment): HealthRecord {
  const next = { ...record, checksPassed: record.checksPassed + 1, checksFailed: 0 };
  const comesUp = record.state === "down" ? next.checksPassed >= rules.rise : isTrial(record, startedMs);
  return comesUp ? up(next, moment) : next;
}

/** After a check that failed, see `afterPassedCheck`; a trial that fails makes the rest longer. */
export function afterFailedCheck(
  record: HealthRecord,
  reason: string,
  startedMs: number,
  rules: HealthRules,
  moment: Moment,
): HealthRecord {
  const next = { ...record, checksPassed: 0, checksFailed: record.checksFailed + 1 };
  if (record.state === "down") return { ...next, reason };
  if (rules.isChecked && next.checksFailed >= rules.fall) return { ...next, state: "down", reason, since: moment.date };
  return isTrial(record, startedMs) ? resting(next, longerRest(record), reason, moment) : next;
}

/** After a check that could not be made and says nothing: a rest goes on for as long again. */
export function afterVoidCheck(record: HealthRecord, startedMs: number, { nowMs }: Moment): HealthRecord {
  return isTrial(record, startedMs) ? { ...record, restEndMs: nowMs + record.restMs } : record;
}

/**
 * After a client's connection was not accepted, or was open and the server was found dead. `connects` are the connections that the
 * server has accepted of clients so far: if there are new ones the failures begin anew.
 */
export function afterFailedClient(
  record: HealthRecord,
  reason: string,
  connects: number,
  rules: HealthRules,
  moment: Moment,
): HealthRecord {
  if (record.state !== "up") return record; // the last clients from before say nothing new
  const clientsFailed = (connects === record.connects ? record.clientsFailed : 0) + 1;
  const next = { ...record, clientsFailed, connects };
  if (rules.restMs === 0 || clientsFailed < rules.fall) return next;
  const isForgotten = moment.nowMs - record.upSinceMs >= REST_MEMORY * record.restMs;
  return resting(next, isForgotten ? Math.min(rules.restMs, REST_MAX_MS) : longerRest(record), reason, moment);
}

/** Whether a check of this start decides over the rest. One that was under way before tells of a time that is past. */
function isTrial(record: HealthRecord, startedMs: number): boolean {
  return record.state === "resting" && startedMs >= record.restEndMs;
}

function longerRest({ restMs }: HealthRecord): number {
  return Math.min(2 * restMs, REST_MAX_MS);
}

function up(record: HealthRecord, { nowMs, date }: Moment): HealthRecord {
  return { ...record, state: "up", since: date, reason: null, clientsFailed: 0, checksFailed: 0, upSinceMs: nowMs };
}

function resting(record: HealthRecord, restMs: number, reason: string, { nowMs, date }: Moment): HealthRecord {
  const since = record.state === "resting" ? record.since : date;
  return { ...record, state: "resting", since, reason, restMs, restEndMs: nowMs + restMs };
}

/** Settings of `Health`. */
export interface HealthConfig extends Omit<HealthRules, "isChecked"> {
  /** Checks that may be under way at a time. */
  readonly checksMax?: number;
  readonly check: Check;
  readonly checkIntervalMs: number;
  readonly checkTimeoutMs: number;
}

/**
 * A check that failed, and for how long they have: since the first of them in a row began, but no longer than `fall` of them take, nor
 * shorter than one interval. What a server has sent within that time it sent while they failed.
 */
export interface CheckFailure {
  readonly reason: string;
  readonly isGone: boolean;
  readonly silentMs: number;
  /** How long ago the last check that passed began, or, if none has, watching. */
  readonly sinceHealthyMs: number;
}

/** Clocks and the timer. */
export interface HealthClock {
  /** Milliseconds from anywhere, never going back. */
  nowMs(): number;
  date(): Date;
  /** Calls `wake` once in `sleepMs`, unless the function that it gives back is called before. */
  start(wake: () => void, sleepMs: number): () => void;
}

/** What `Health` is made with. What it calls back must not throw, and may call it. */
export interface HealthOptions {
  readonly config: HealthConfig;
  /** Makes a check; never rejects. */
  readonly run?: (check: Check, address: Address, timeoutMs: number, options: CheckOptions) => Promise<CheckResult>;
  readonly clock?: HealthClock;
  /** Called on every change of state, after `stateOf` has it. */
  readonly onChange: (slot: number, health: ServerHealth) => void;
  /** Called for every check that failed from the `fall`-th in a row on; not for the trials of servers that are not checked. */
  readonly onCheckFailed: (slot: number, failure: CheckFailure) => void;
  /** How many connections of clients the server has accepted so far. */
  readonly connectsOf: (slot: number) => number;
}

/** A server that is watched. A slot that is watched anew has a new one, so that the answer of an old check finds nobody. */
interface Watched {
  readonly slot: number;
  readonly address: Address;
  record: HealthRecord;
  /** Set while it is being checked; ends that check. */
  checking: AbortController | undefined;
  /** When the first of its failed checks in a row began. */
  failingSinceMs: number;
  /** When the last check that passed began, or, if none has, watching. */
  wellMs: number;
}

const SYSTEM_CLOCK: HealthClock = {
  nowMs: () => performance.now(),
  date: () => new Date(),
  start(wake, sleepMs) {
    const timer = setTimeout(wake, sleepMs);
    return () => clearTimeout(timer);
  },
};

/** Watches servers. Dispose of it to end all checks. */
export class Health implements Disposable {
  readonly #options: Required<HealthOptions>;
  readonly #rules: HealthRules;
  /** What is asked of a server at the end of its rest, and of all servers in turn unless checks are off. */
  readonly #check: Check;
  readonly #watched = new Map<number, Watched>();
  /** Goes round `#watched`. A Map's iterator minds what is added and deleted meanwhile, and what is added comes last. */
  #round: Iterator<Watched>;
  /** When a server's turn was last. */
  #turnMs = 0;
  readonly #resting = new Set<Watched>();
  /** No rest ends before. */
  #restEndMs = Infinity;
  readonly #underWayMax: number;
  #underWay = 0;
  #isOver = false;
  /** Checks that may be started now, by CHECKS_PER_SECOND_MAX; as of `#allowedMs`. */
  #allowed = CHECKS_AT_ONCE_MAX;
  #allowedMs = -Infinity;
  /** When the timer ends; Infinity: there is none. */
  #wakeMs = Infinity;
  #stopTimer = () => {};

  constructor(options: HealthOptions) {
    const { check, rise, fall, restMs } = options.config;
    this.#options = { run: runCheck, clock: SYSTEM_CLOCK, ...options };
    this.#underWayMax = options.config.checksMax ?? CHECKS_UNDER_WAY_MAX;
    this.#rules = { rise, fall, restMs, isChecked: check.kind !== "off" };
    this.#check = check.kind === "off" ? { kind: "tcp" } : check;
    this.#round = this.#watched.values();
  }

  /** How often each server is checked: as configured, or more seldom where there are too many. */
  get checkIntervalMs(): number {
    return Math.max(this.#options.config.checkIntervalMs, this.#watched.size * 1000 / CHECKS_PER_SECOND_MAX);
  }

  /** Servers by state. */
  summary(): Record<HealthState, number> {
    const counts = { up: 0, resting: 0, down: 0 };
    for (const { record } of this.#watched.values()) counts[record.state]++;
    return counts;
  }

  /** The state of a server that is watched. */
  stateOf(slot: number): ServerHealth {
    const watched = this.#watched.get(slot);
    assert(watched !== undefined, `nobody watches slot ${slot}`);
    return healthOf(watched.record);
  }

  /** Watches a server from now on, as one that is up; in the place of the one that had the slot, if any. */
  watch(slot: number, address: Address): void {
    this.forget(slot);
    const moment = this.#moment();
    if (this.#watched.size === 0) this.#turnMs = moment.nowMs;
    const record = newRecord(this.#options.connectsOf(slot), moment);
    this.#watched.set(slot, { slot, address, record, checking: undefined, failingSinceMs: Infinity, wellMs: moment.nowMs });
    this.#setTimer(moment.nowMs);
  }

  /** Watches a server no longer, if it was watched. */
  forget(slot: number): void {
    const watched = this.#watched.get(slot);
    if (watched === undefined) return;
    this.#watched.delete(slot);
    this.#resting.delete(watched);
    watched.checking?.abort();
    if (this.#watched.size === 0) this.#clearTimer();
  }

  /** A client's connection was not accepted, or was open and the server was found dead. Servers that nobody watches are ignored. */
  trafficFailed(slot: number, reason: string): void {
    const watched = this.#watched.get(slot);
    if (watched === undefined) return;
    const moment = this.#moment();
    this.#become(watched, afterFailedClient(watched.record, reason, this.#options.connectsOf(slot), this.#rules, moment));
    this.#setTimer(moment.nowMs);
  }

  /** Ends all checks, now and for ever. What is known of servers can still be asked for. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    for (const { checking } of this.#watched.values()) checking?.abort();
    this.#clearTimer();
  }

  #moment(): Moment {
    return { nowMs: this.#options.clock.nowMs(), date: this.#options.clock.date() };
  }

  /** The one place where a record changes. */
  #become(watched: Watched, record: HealthRecord): void {
    const before = watched.record.state;
    watched.record = record;
    if (record.state === "resting") {
      this.#resting.add(watched);
      this.#restEndMs = Math.min(this.#restEndMs, record.restEndMs);
    } else this.#resting.delete(watched);
    if (record.state !== before) this.#options.onChange(watched.slot, healthOf(record));
  }

  #wake(): void {
    this.#wakeMs = Infinity;
    const nowMs = this.#options.clock.nowMs();
    const earned = (nowMs - this.#allowedMs) * CHECKS_PER_SECOND_MAX / 1000;
    this.#allowed = Math.min(CHECKS_AT_ONCE_MAX, this.#allowed + earned);
    this.#allowedMs = nowMs;
    this.#takeTurns(nowMs);
    this.#tryRested(nowMs);
    this.#setTimer(nowMs);
  }

  get #turnLengthMs(): number {
    return this.checkIntervalMs / this.#watched.size;
  }

  /** Starts the checks of the servers whose turn it is. One that is still being checked loses its turn. */
  #takeTurns(nowMs: number): void {
    if (!this.#rules.isChecked || this.#watched.size === 0) return;
    const lengthMs = this.#turnLengthMs;
    this.#turnMs = Math.max(this.#turnMs, nowMs - LATE_MAX_MS - lengthMs);
    while (this.#mayStart && this.#turnMs + lengthMs <= nowMs) {
      this.#turnMs += lengthMs;
      const watched = this.#next();
      if (watched.checking === undefined) void this.#start(watched, nowMs);
    }
  }

  #next(): Watched {
    const { value, done } = this.#round.next();
    if (!done) return value;
    this.#round = this.#watched.values();
    return this.#round.next().value;
  }

  /** Starts the trials of the servers whose rest is over. */
  #tryRested(nowMs: number): void {
    if (nowMs < this.#restEndMs) return;
    this.#restEndMs = Infinity;
    for (const watched of this.#resting) {
      if (watched.checking !== undefined) continue; // if that check was started too early, the end of the rest is noted when it has ended
      if (watched.record.restEndMs <= nowMs && this.#mayStart) void this.#start(watched, nowMs);
      else this.#restEndMs = Math.min(this.#restEndMs, watched.record.restEndMs);
    }
  }

  get #mayStart(): boolean {
    return this.#underWay < this.#underWayMax && this.#allowed >= 1;
  }

  async #start(watched: Watched, startedMs: number): Promise<void> {
    this.#allowed--;
    this.#underWay++;
    watched.checking = new AbortController();
    const { run, config } = this.#options;
    const result = await run(this.#check, watched.address, config.checkTimeoutMs, { signal: watched.checking.signal });
    this.#underWay--;
    watched.checking = undefined;
    const moment = this.#moment();
    if (this.#isCurrent(watched) && !this.#isOver) this.#learn(watched, result, startedMs, moment);
    this.#setTimer(moment.nowMs);
  }

  #isCurrent(watched: Watched): boolean {
    return this.#watched.get(watched.slot) === watched;
  }

  #learn(watched: Watched, result: CheckResult, startedMs: number, moment: Moment): void {
    const { record } = watched;
    if (result.passed) {
      watched.failingSinceMs = Infinity;
      watched.wellMs = startedMs;
      this.#become(watched, afterPassedCheck(record, startedMs, this.#rules, moment));
    } else if (result.isOwnFault) {
      this.#become(watched, afterVoidCheck(record, startedMs, moment));
    } else {
      watched.failingSinceMs = Math.min(watched.failingSinceMs, startedMs);
      this.#become(watched, afterFailedCheck(record, result.reason, startedMs, this.#rules, moment));
      this.#tellFailure(watched, result, moment.nowMs);
    }
  }

  /** Unless `onChange` has just had the server forgotten. */
  #tellFailure(watched: Watched, { reason, isGone }: FailedCheck, nowMs: number): void {
    const { isChecked, fall } = this.#rules;
    if (!isChecked || watched.record.checksFailed < fall || !this.#isCurrent(watched)) return;
    const failingMs = Math.min(nowMs - watched.failingSinceMs, fall * this.checkIntervalMs);
    const silentMs = Math.max(failingMs, this.checkIntervalMs); // one refused check is no long silence
    this.#options.onCheckFailed(watched.slot, { reason, isGone, silentMs, sinceHealthyMs: nowMs - watched.wellMs });
  }

  /** Sees to it that the timer ends in time for what is next. One that ends before, as something was put off, is left alone. */
  #setTimer(nowMs: number): void {
    const wakeMs = Math.max(this.#nextMs(), nowMs + SLEEP_MIN_MS);
    if (this.#isOver || this.#wakeMs <= wakeMs || wakeMs === Infinity) return;
    this.#clearTimer();
    this.#wakeMs = wakeMs;
    this.#stopTimer = this.#options.clock.start(() => this.#wake(), wakeMs - nowMs);
  }

  /** When a check is due. Infinity if none is, or as many as may be are under way: the end of one sets the timer. */
  #nextMs(): number {
    if (this.#underWay >= this.#underWayMax) return Infinity;
    const turnMs = this.#rules.isChecked && this.#watched.size > 0 ? this.#turnMs + this.#turnLengthMs : Infinity;
    return Math.min(turnMs, this.#resting.size > 0 ? this.#restEndMs : Infinity);
  }

  #clearTimer(): void {
    this.#stopTimer();
    this.#wakeMs = Infinity;
  }
}

function healthOf({ state, since, reason }: HealthRecord): ServerHealth {
  return { state, since, reason };
}
