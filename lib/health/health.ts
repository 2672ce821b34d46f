/**
 * The health of servers, from active checks and from the connections of clients. Two parts: the state transitions, as pure
 * functions from one record to the next; and `Health`, which runs the checks, evenly spread over time. Knows servers only by slot
 * and address; what follows for a server that is down, and which server is draining, is decided elsewhere.
 */

import type { Address } from "../values/address.ts";
import type { ServerCheck } from "../values/check_spec.ts";
import { LIMITS } from "../values/config.ts";
import { type CheckOptions, type CheckResult, type FailedCheck, runCheck } from "./check.ts";
import { assert } from "../values/errors.ts";
import type { TrafficFailure } from "../routing/early_loss.ts";

/** `up`: may get clients. `resting`: connections of clients failed, and it is probed after the rest. `down`: its checks fail. */
export type HealthState = "up" | "resting" | "down";

/** The state of a server, when it began, and the last failure as a clause; the reason is null while it is up. */
export interface ServerHealth {
  readonly state: HealthState;
  readonly since: Date;
  readonly reason: string | null;
}

/** The rules of state changes: checks in a row for a change, and the length of the first rest, 0 for no rests. */
export interface HealthRules {
  readonly rise: number;
  readonly fall: number;
  readonly restMs: number;
  /** False if the server is only checked at the end of a rest; such checks never make a server `down`. */
  readonly isChecked: boolean;
}

/** What a server has done for clients so far: connections it has accepted, and bytes of answers that were passed on. */
export interface Service {
  readonly connects: number;
  readonly receivedBytes: number;
}

/** The state of a server and what the next state depends on. Times in ms are of a monotonic clock. */
export interface HealthRecord extends ServerHealth {
  /** Successive checks with the same result, up to the last check. */
  readonly checksPassed: number;
  readonly checksFailed: number;
  /** Successive failures of clients by kind, and what the server had done by the last one. */
  readonly clientsFailed: Readonly<Record<TrafficFailure, number>>;
  readonly service: Service;
  /** The length of the last rest; 0 for none. */
  readonly restMs: number;
  /** The end of the current rest. */
  readonly restEndMs: number;
  /** When it last came up. */
  readonly upSinceMs: number;
}

/** The present time, by the monotonic clock and by the calendar. */
interface Moment {
  readonly nowMs: number;
  readonly date: Date;
}

/** After having been up for this many times its last rest, a server starts again with the shortest rest. */
const REST_MEMORY = 10;

/** Checks started per second. With more servers than this allows, each is checked less often. */
export const CHECKS_PER_SECOND_MAX = 500;
/** Default limit on concurrent checks; each one uses a descriptor. */
export const CHECKS_UNDER_WAY_MAX = 256;
/** Checks started in one wake-up. An unused allowance does not accumulate beyond this. */
const CHECKS_AT_ONCE_MAX = 16;
/** The shortest sleep: at 500 checks a second, one wake-up per check would cost more than the checks. */
const SLEEP_MIN_MS = 10;
/** Checks that are later than this (the machine was busy or suspended) are skipped, not made up for. */
const LATE_MAX_MS = 100;

const NONE_FAILED: Readonly<Record<TrafficFailure, number>> = { connect: 0, answer: 0 };

/** The record of a server that is up and of which nothing is known yet. */
export function newRecord(service: Service, { nowMs, date }: Moment): HealthRecord {
  return {
    state: "up",
    since: date,
    reason: null,
    checksPassed: 0,
    checksFailed: 0,
    clientsFailed: NONE_FAILED,
    service,
    restMs: 0,
    restEndMs: 0,
    upSinceMs: nowMs,
  };
}

/** What was known of a server that was not up, for a record that goes on from there. `restLeftMs` is 0 unless it rested. */
export interface KnownState {
  readonly state: "resting" | "down";
  readonly since: Date;
  readonly reason: string;
  readonly restMs: number;
  readonly restLeftMs: number;
}

/** The record of a server of which this was known. */
export function resumedRecord(known: KnownState, service: Service, moment: Moment): HealthRecord {
  const { restLeftMs, ...rest } = known;
  return { ...newRecord(service, moment), ...rest, restEndMs: moment.nowMs + restLeftMs };
}

/**
 * The record after a check that passed. A check that was started (`startedMs`) after the end of a rest is the trial that ends the
 * state `resting`; before that the rest continues.
 */
export function afterPassedCheck(record: HealthRecord, startedMs: number, rules: HealthRules, moment: Moment): HealthRecord {
  const next = { ...record, checksPassed: record.checksPassed + 1, checksFailed: 0 };
  const comesUp = record.state === "down" ? next.checksPassed >= rules.rise : isTrial(record, startedMs);
  return comesUp ? up(next, moment) : next;
}

/** A failure of a check that was started at `startedMs`. */
interface CheckFault {
  readonly reason: string;
  readonly startedMs: number;
}

/** The record after a check that failed. A failed trial (see `afterPassedCheck`) doubles the rest. */
export function afterFailedCheck(record: HealthRecord, fault: CheckFault, rules: HealthRules, moment: Moment): HealthRecord {
  const { reason, startedMs } = fault;
  const next = { ...record, checksPassed: 0, checksFailed: record.checksFailed + 1 };
  if (record.state === "down") return { ...next, reason };
  if (rules.isChecked && next.checksFailed >= rules.fall) return { ...next, state: "down", reason, since: moment.date };
  return isTrial(record, startedMs) ? resting(next, longerRest(record), reason, moment) : next;
}

/** The record after a check that could not be made: a rest that has ended is repeated. */
export function afterVoidCheck(record: HealthRecord, startedMs: number, { nowMs }: Moment): HealthRecord {
  return isTrial(record, startedMs) ? { ...record, restEndMs: nowMs + record.restMs } : record;
}

/** A failure of a client's connection. */
interface ClientFault {
  readonly reason: string;
  readonly kind: TrafficFailure;
  /** What the server has done for clients so far. */
  readonly service: Service;
  /** How many more servers may begin to rest now. */
  readonly roomToRest: number;
}

/**
 * The record after a failure of a client's connection. The count of failures starts again if the server has done better since the
 * last one: accepted a connection where it did not accept, answered where it did not answer. A server that should rest while too
 * many others do stays up, and rests at its next failure when there is room.
 */
export function afterFailedClient(record: HealthRecord, fault: ClientFault, rules: HealthRules, moment: Moment): HealthRecord {
  const { reason, kind, service, roomToRest } = fault;
  if (record.state !== "up") return record; // a late failure of an old connection is not news
  const before = {
    connect: service.connects === record.service.connects ? record.clientsFailed.connect : 0,
    answer: service.receivedBytes === record.service.receivedBytes ? record.clientsFailed.answer : 0,
  };
  const clientsFailed = { ...before, [kind]: before[kind] + 1 };
  const next = { ...record, clientsFailed, service };
  if (rules.restMs === 0 || clientsFailed[kind] < rules.fall || roomToRest < 1) return next;
  const isForgotten = moment.nowMs - record.upSinceMs >= REST_MEMORY * record.restMs;
  return resting(next, isForgotten ? Math.min(rules.restMs, LIMITS.restMaxMs) : longerRest(record), reason, moment);
}

/** How many more of these servers may begin to rest, at most `share` of them and at least one. */
export function roomToRest(servers: number, resting: number, share: number): number {
  return Math.max(1, Math.floor(servers * share)) - resting;
}

/** Whether a check with this start decides how the rest ends. An earlier check says nothing about the present. */
function isTrial(record: HealthRecord, startedMs: number): boolean {
  return record.state === "resting" && startedMs >= record.restEndMs;
}

function longerRest({ restMs }: HealthRecord): number {
  return Math.min(2 * restMs, LIMITS.restMaxMs);
}

function up(record: HealthRecord, { nowMs, date }: Moment): HealthRecord {
  return { ...record, state: "up", since: date, reason: null, clientsFailed: NONE_FAILED, checksFailed: 0, upSinceMs: nowMs };
}

function resting(record: HealthRecord, restMs: number, reason: string, { nowMs, date }: Moment): HealthRecord {
  const since = record.state === "resting" ? record.since : date;
  return { ...record, state: "resting", since, reason, restMs, restEndMs: nowMs + restMs };
}

/** The settings of `Health`. */
export interface HealthConfig extends Omit<HealthRules, "isChecked"> {
  /** Limit on concurrent checks. */
  readonly checksMax?: number;
  /** The share of the servers that may rest at a time, from 0 to 1. */
  readonly restShare: number;
  readonly checkIntervalMs: number;
  readonly checkTimeoutMs: number;
}

/** A failed check, at least the `fall`-th in a row. */
export interface CheckFailure {
  readonly reason: string;
  readonly isGone: boolean;
  /** For how long checks have failed: from the start of the first in a row, at least one interval, at most `fall` intervals. */
  readonly silentMs: number;
  /** Time since the start of the last check that passed or, if none has, since watching began. */
  readonly sinceHealthyMs: number;
}

/** Clocks and a timer. */
export interface HealthClock {
  /** Milliseconds of a monotonic clock. */
  nowMs(): number;
  date(): Date;
  /** Calls `wake` once after `sleepMs`. Returns the function that cancels it. */
  start(wake: () => void, sleepMs: number): () => void;
}

/** Options of `Health`. The callbacks must not throw, and may call `Health`. */
interface HealthOptions {
  readonly config: HealthConfig;
  /** Runs a check; never rejects. */
  readonly run?: (check: ServerCheck, address: Address, timeoutMs: number, options: CheckOptions) => Promise<CheckResult>;
  readonly clock?: HealthClock;
  /** Called after every change of state. */
  readonly onChange: (slot: number, health: ServerHealth) => void;
  /** Called for every failed check from the `fall`-th in a row on, except for trials where checks are off. */
  readonly onCheckFailed: (slot: number, failure: CheckFailure) => void;
  /** Called for every check that passed, before the state changes, with whether the server asks to be drained. */
  readonly onAnswer?: (slot: number, asksToDrain: boolean) => void;
  /** Called for every check that has a result. */
  readonly onChecked?: (slot: number, result: CheckResult) => void;
  /** What the server has done for clients so far. */
  readonly serviceOf: (slot: number) => Service;
  /** Whom HTTPS checks trust. */
  readonly trustOf?: CheckOptions["trustOf"];
}

/** A watched server. Watching a slot again makes a new object, so that the result of an old check is dropped. */
interface Watched {
  readonly slot: number;
  readonly address: Address;
  /** Also the check at the end of a rest, unless it is off. */
  check: ServerCheck;
  record: HealthRecord;
  /** Set while a check runs; aborts it. */
  checking: AbortController | undefined;
  /** Start of the first failed check in a row. */
  failingSinceMs: number;
  /** Start of the last check that passed or, if none has, of watching. */
  wellMs: number;
}

/** The clocks and timers of the runtime. */
export const SYSTEM_CLOCK: HealthClock = {
  nowMs: () => performance.now(),
  date: () => new Date(),
  start(wake, sleepMs) {
    const timer = setTimeout(wake, sleepMs);
    return () => clearTimeout(timer);
  },
};

/** Watches servers. Disposing of it ends all checks. */
export class Health implements Disposable {
  readonly #options: HealthOptions & Required<Pick<HealthOptions, "run" | "clock">>;
  /** The rules of servers that are checked, and of servers that are not. */
  readonly #rules: { readonly checked: HealthRules; readonly unchecked: HealthRules };
  readonly #watched = new Map<number, Watched>();
  /** Goes round `#watched`. The iterator of a Map skips deleted entries and visits added ones last. */
  #round: Iterator<Watched>;
  /** Time of the last turn of a server. */
  #turnMs = 0;
  /** How many of them are checked, and not only at the end of a rest. */
  #checkedCount = 0;
  readonly #resting = new Set<Watched>();
  /** No rest ends earlier. */
  #restEndMs = Infinity;
  readonly #underWayMax: number;
  #underWay = 0;
  #isDisposed = false;
  /** Checks that CHECKS_PER_SECOND_MAX allows to start, as of `#allowedMs`. */
  #allowed = CHECKS_AT_ONCE_MAX;
  #allowedMs = -Infinity;
  /** When the timer fires; Infinity for no timer. */
  #wakeMs = Infinity;
  #stopTimer = () => {};

  constructor(options: HealthOptions) {
    const { rise, fall, restMs } = options.config;
    this.#options = { run: runCheck, clock: SYSTEM_CLOCK, ...options };
    this.#underWayMax = options.config.checksMax ?? CHECKS_UNDER_WAY_MAX;
    const checked = { rise, fall, restMs, isChecked: true };
    this.#rules = { checked, unchecked: { ...checked, isChecked: false } };
    this.#round = this.#watched.values();
  }

  /** The interval between two checks of a server: as configured, or longer where there are too many servers. */
  get checkIntervalMs(): number {
    return Math.max(this.#options.config.checkIntervalMs, this.#watched.size * 1000 / CHECKS_PER_SECOND_MAX);
  }

  /** The state of a watched server. */
  stateOf(slot: number): ServerHealth {
    return healthOf(this.#recordOf(slot));
  }

  /** Starts watching a server, in state `up` or as it is known, in place of the one that had the slot, if any. */
  watch(slot: number, address: Address, check: ServerCheck, known?: KnownState): void {
    this.forget(slot);
    const moment = this.#moment();
    if (this.#watched.size === 0) this.#turnMs = moment.nowMs;
    const service = this.#options.serviceOf(slot);
    const record = known === undefined ? newRecord(service, moment) : resumedRecord(known, service, moment);
    const watched = { slot, address, check, record, checking: undefined, failingSinceMs: Infinity, wellMs: moment.nowMs };
    this.#watched.set(slot, watched);
    if (isChecked(watched)) this.#checkedCount++;
    this.#noteRest(watched);
    this.#setTimer(moment.nowMs);
  }

  /** Checks the server in another way from now on. A server that is down comes up if it is not checked any more. */
  change(slot: number, check: ServerCheck): void {
    const watched = this.#watched.get(slot);
    if (watched === undefined) return;
    this.#checkedCount -= Number(isChecked(watched));
    watched.check = check;
    this.#checkedCount += Number(isChecked(watched));
    const moment = this.#moment();
    if (!isChecked(watched) && watched.record.state === "down") this.#become(watched, up(watched.record, moment));
    this.#setTimer(moment.nowMs);
  }

  /** What is known of a server that is not up; undefined for one that is. */
  knownOf(slot: number): KnownState | undefined {
    const { state, since, reason, restMs, restEndMs } = this.#recordOf(slot);
    if (state === "up") return undefined;
    const restLeftMs = state === "resting" ? Math.max(0, restEndMs - this.#options.clock.nowMs()) : 0;
    return { state, since, reason: reason ?? "", restMs, restLeftMs };
  }

  /** Stops watching the server, if it is watched. */
  forget(slot: number): void {
    const watched = this.#watched.get(slot);
    if (watched === undefined) return;
    this.#watched.delete(slot);
    this.#checkedCount -= Number(isChecked(watched));
    this.#resting.delete(watched);
    watched.checking?.abort();
    if (this.#watched.size === 0) this.#clearTimer();
  }

  /** Reports that a client's connection failed. Ignores unwatched servers. */
  trafficFailed(slot: number, reason: string, kind: TrafficFailure = "connect"): void {
    const watched = this.#watched.get(slot);
    if (watched === undefined) return;
    const moment = this.#moment();
    const room = roomToRest(this.#watched.size, this.#resting.size, this.#options.config.restShare);
    const fault = { reason, kind, service: this.#options.serviceOf(slot), roomToRest: room };
    this.#become(watched, afterFailedClient(watched.record, fault, this.#rulesOf(watched), moment));
    this.#setTimer(moment.nowMs);
  }

  /** Ends all checks. `stateOf` still works. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    for (const { checking } of this.#watched.values()) checking?.abort();
    this.#clearTimer();
  }

  #recordOf(slot: number): HealthRecord {
    const watched = this.#watched.get(slot);
    assert(watched !== undefined, `slot ${slot} is not watched`);
    return watched.record;
  }

  #rulesOf(watched: Watched): HealthRules {
    return isChecked(watched) ? this.#rules.checked : this.#rules.unchecked;
  }

  #moment(): Moment {
    return { nowMs: this.#options.clock.nowMs(), date: this.#options.clock.date() };
  }

  /** The only place where a record changes. */
  #become(watched: Watched, record: HealthRecord): void {
    const before = watched.record.state;
    watched.record = record;
    this.#noteRest(watched);
    if (record.state !== before) this.#options.onChange(watched.slot, healthOf(record));
  }

  #noteRest(watched: Watched): void {
    if (watched.record.state === "resting") {
      this.#resting.add(watched);
      this.#restEndMs = Math.min(this.#restEndMs, watched.record.restEndMs);
    } else this.#resting.delete(watched);
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

  /** Starts the checks that are due. A server that is not checked, or whose last check still runs, is skipped. */
  #takeTurns(nowMs: number): void {
    if (this.#checkedCount === 0) return;
    const lengthMs = this.#turnLengthMs;
    this.#turnMs = Math.max(this.#turnMs, nowMs - LATE_MAX_MS - lengthMs);
    while (this.#mayStart && this.#turnMs + lengthMs <= nowMs) {
      this.#turnMs += lengthMs;
      const watched = this.#next();
      if (watched.checking === undefined && isChecked(watched)) void this.#start(watched, nowMs);
    }
  }

  #next(): Watched {
    const { value, done } = this.#round.next();
    if (!done) return value;
    this.#round = this.#watched.values();
    return this.#round.next().value;
  }

  /** Starts the trials of the servers whose rest has ended. */
  #tryRested(nowMs: number): void {
    if (nowMs < this.#restEndMs) return;
    this.#restEndMs = Infinity;
    for (const watched of this.#resting) {
      if (watched.checking !== undefined) continue; // a check that started too early notes the end of the rest when it ends
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
    const { run, config, trustOf } = this.#options;
    const { check, checking: { signal } } = watched;
    const result = await run(runnable(check), watched.address, config.checkTimeoutMs, { signal, trustOf });
    this.#underWay--;
    watched.checking = undefined;
    const moment = this.#moment();
    const isMeant = watched.check === check && this.#isCurrent(watched);
    if (isMeant && !this.#isDisposed) this.#learn(watched, result, startedMs, moment);
    else if (this.#isCurrent(watched)) this.#noteRest(watched); // this may have been the trial, which is made again
    this.#setTimer(moment.nowMs);
  }

  #isCurrent(watched: Watched): boolean {
    return this.#watched.get(watched.slot) === watched;
  }

  #learn(watched: Watched, result: CheckResult, startedMs: number, moment: Moment): void {
    const { record } = watched;
    this.#options.onChecked?.(watched.slot, result);
    if (result.passed) {
      watched.failingSinceMs = Infinity;
      watched.wellMs = startedMs;
      this.#options.onAnswer?.(watched.slot, result.asksToDrain === true);
      this.#become(watched, afterPassedCheck(record, startedMs, this.#rulesOf(watched), moment));
    } else if (result.isOwnFault) {
      this.#become(watched, afterVoidCheck(record, startedMs, moment));
    } else {
      watched.failingSinceMs = Math.min(watched.failingSinceMs, startedMs);
      this.#become(watched, afterFailedCheck(record, { reason: result.reason, startedMs }, this.#rulesOf(watched), moment));
      this.#reportFailure(watched, result, moment.nowMs);
    }
  }

  /** Reports a failed check, unless `onChange` has just stopped watching the server. */
  #reportFailure(watched: Watched, { reason, isGone }: FailedCheck, nowMs: number): void {
    const { fall } = this.#rules.checked;
    if (!isChecked(watched) || watched.record.checksFailed < fall || !this.#isCurrent(watched)) return;
    const failingMs = Math.min(nowMs - watched.failingSinceMs, fall * this.checkIntervalMs);
    const silentMs = Math.max(failingMs, this.checkIntervalMs); // a refused check fails at once
    const failure = { reason, isGone: isGone && asksItself(watched), silentMs, sinceHealthyMs: nowMs - watched.wellMs };
    this.#options.onCheckFailed(watched.slot, failure);
  }

  /** Sets the timer for the next check. A timer that fires earlier is left alone. */
  #setTimer(nowMs: number): void {
    const wakeMs = Math.max(this.#nextMs(), nowMs + SLEEP_MIN_MS);
    if (this.#isDisposed || this.#wakeMs <= wakeMs || wakeMs === Infinity) return;
    this.#clearTimer();
    this.#wakeMs = wakeMs;
    this.#stopTimer = this.#options.clock.start(() => this.#wake(), wakeMs - nowMs);
  }

  /** When the next check is due. Infinity if none is, or if the limit on checks is reached: the end of a check sets the timer. */
  #nextMs(): number {
    if (this.#underWay >= this.#underWayMax) return Infinity;
    const turnMs = this.#checkedCount > 0 ? this.#turnMs + this.#turnLengthMs : Infinity;
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

function isChecked({ check }: Watched): boolean {
  return check.question.kind !== "off";
}

/** Whether the check asks the port that clients are served on. Another port that is silent says nothing about their connections. */
function asksItself({ check, address }: Watched): boolean {
  return check.port === null || check.port === address.port;
}

/** The check to run for a server with this check: a connection where checks are off. */
export function runnable(check: ServerCheck): ServerCheck {
  return check.question.kind === "off" ? { ...check, question: { kind: "tcp" }, port: null } : check;
}
