/**
 * The health of servers, from active checks and from the connections of clients. Two parts: the state transitions, as pure
 * functions from one record to the next; and `Health`, which runs the checks of one service, when the budget of all services says
 * so. Knows servers only by slot and address; what follows for a server that is down, and which server is draining, is decided
 * elsewhere.
 */

import type { Address } from "../values/address.ts";
import { isSameCheck, type ServerCheck } from "../values/check_spec.ts";
import type { CheckBudget, CheckUser } from "./check_budget.ts";
import { type HealthClock, SYSTEM_CLOCK } from "./clock.ts";
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
  /** Successive checks that passed and in which the server did not ask to be drained. */
  readonly checksWilling: number;
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

const NONE_FAILED: Readonly<Record<TrafficFailure, number>> = { connect: 0, answer: 0 };

/** The record of a server that is up and of which nothing is known yet. */
export function newRecord(service: Service, { nowMs, date }: Moment): HealthRecord {
  return {
    state: "up",
    since: date,
    reason: null,
    checksPassed: 0,
    checksFailed: 0,
    checksWilling: 0,
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

/** A check that passed. */
interface CheckAnswer {
  readonly startedMs: number;
  readonly asksToDrain: boolean;
}

/**
 * The record after a check that passed. A check that was started (`startedMs`) after the end of a rest is the trial that ends the
 * state `resting`; before that the rest continues.
 */
export function afterPassedCheck(record: HealthRecord, answer: CheckAnswer, rules: HealthRules, moment: Moment): HealthRecord {
  const { startedMs, asksToDrain } = answer;
  const checksWilling = asksToDrain ? 0 : record.checksWilling + 1;
  const next = { ...record, checksPassed: record.checksPassed + 1, checksFailed: 0, checksWilling };
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
  const next = { ...record, checksPassed: 0, checksFailed: record.checksFailed + 1, checksWilling: 0 };
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

/** The servers of a service as they matter for one that should rest. */
interface RestingPool {
  readonly servers: number;
  readonly resting: number;
  /** How many others get clients: they are up, and nobody has drained them. */
  readonly othersAvailable: number;
}

/**
 * How many more servers may begin to rest, at most `share` of them and at least one; but never the last one that gets clients: if
 * it has failed some of them, no other server does better.
 */
export function roomToRest({ servers, resting, othersAvailable }: RestingPool, share: number): number {
  return Math.min(Math.max(1, Math.floor(servers * share)) - resting, othersAvailable);
}

/**
 * The record of a server that is asked another question from now on. What it has answered to the old one does not count: it starts
 * anew towards `rise` and `fall`, in the state that it has. A server that is down has to pass the new check `rise` times.
 */
export function withNewQuestion(record: HealthRecord): HealthRecord {
  return { ...record, checksPassed: 0, checksFailed: 0, checksWilling: 0 };
}

/**
 * The record under another setting for the first rest, `restMs`. A rest that is under way ends when it was to end, and the next one
 * is doubled from the new setting. Where no server rests any more (0), no rest goes on either: the server is up.
 */
export function withNewRest(record: HealthRecord, restMs: number, moment: Moment): HealthRecord {
  if (record.state !== "resting") return { ...record, restMs: 0 };
  return restMs === 0 ? up({ ...record, restMs: 0 }, moment) : { ...record, restMs };
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

/** Options of `Health`. The callbacks must not throw, and may call `Health`. */
interface HealthOptions {
  readonly config: HealthConfig;
  /** Runs a check; never rejects. */
  readonly run?: (check: ServerCheck, address: Address, timeoutMs: number, options: CheckOptions) => Promise<CheckResult>;
  readonly clock?: HealthClock;
  /** Shared by the services of a process. */
  readonly budget: CheckBudget;
  /** Called after every change of state. */
  readonly onChange: (slot: number, health: ServerHealth) => void;
  /** Called for every failed check from the `fall`-th in a row on, except for trials where checks are off. */
  readonly onCheckFailed: (slot: number, failure: CheckFailure) => void;
  /**
   * Called for every check that passed, before the state changes, if the server asks to be drained or has not done so for `rise`
   * checks in a row.
   */
  readonly onAnswer?: (slot: number, asksToDrain: boolean) => void;
  /** Called for every check that has a result. */
  readonly onChecked?: (slot: number, result: CheckResult) => void;
  /** What the server has done for clients so far. */
  readonly serviceOf: (slot: number) => Service;
  /** How many servers get clients beside this one. */
  readonly othersAvailable: (slot: number) => number;
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
  /** When it last had its turn or, if it has had none, when watching began; by the calendar. */
  turnAt: Date;
}

/** Watches the servers of one service. Disposing of it ends all checks. */
export class Health implements Disposable {
  readonly #options: HealthOptions & Required<Pick<HealthOptions, "run" | "clock">>;
  #config: HealthConfig;
  /** The rules of servers that are checked, and of servers that are not. */
  #rules: { readonly checked: HealthRules; readonly unchecked: HealthRules };
  readonly #watched = new Map<number, Watched>();
  /** Those that are checked, and not only at the end of a rest. */
  readonly #checked = new Set<Watched>();
  /** Goes round `#checked`. The iterator of a Set skips deleted entries and visits added ones last. */
  #round: Iterator<Watched>;
  readonly #resting = new Set<Watched>();
  /** No rest ends earlier. */
  #restEndMs = Infinity;
  readonly #user: CheckUser;
  #isDisposed = false;

  constructor(options: HealthOptions) {
    this.#options = { run: runCheck, clock: SYSTEM_CLOCK, ...options };
    this.#config = options.config;
    this.#rules = rulesOf(options.config);
    this.#round = this.#checked.values();
    this.#user = this.#asUser();
    options.budget.join(this.#user);
  }

  /** The interval between two checks of a server: as configured, or longer where there are too many servers. */
  get checkIntervalMs(): number {
    return this.#options.budget.intervalMsOf(this.#user);
  }

  /**
   * Takes over other settings. The interval holds from the next turn on, the time limit from the next check on. Results that are
   * counted go on counting and are compared with `rise` and `fall` at the next result, so each change of state still has a cause.
   * The share of servers that may rest holds for the next one that should: no rest is ended for it. For the length of rests see
   * `withNewRest`.
   */
  configure(config: HealthConfig): void {
    const isNewRest = config.restMs !== this.#config.restMs;
    this.#config = config;
    this.#rules = rulesOf(config);
    const moment = this.#moment();
    if (isNewRest) { for (const one of this.#watched.values()) this.#become(one, withNewRest(one.record, config.restMs, moment)); }
    this.#options.budget.changed(this.#user);
  }

  /** The state of a watched server. */
  stateOf(slot: number): ServerHealth {
    return healthOf(this.#recordOf(slot));
  }

  /** Starts watching a server, in state `up` or as it is known, in place of the one that had the slot, if any. */
  watch(slot: number, address: Address, check: ServerCheck, known?: KnownState): void {
    this.forget(slot);
    const moment = this.#moment();
    const service = this.#options.serviceOf(slot);
    const record = known === undefined ? newRecord(service, moment) : resumedRecord(known, service, moment);
    const [failingSinceMs, wellMs, turnAt] = [Infinity, moment.nowMs, moment.date];
    const watched: Watched = { slot, address, check, record, checking: undefined, failingSinceMs, wellMs, turnAt };
    this.#watched.set(slot, watched);
    if (isChecked(watched)) this.#checked.add(watched);
    this.#noteRest(watched);
    this.#options.budget.changed(this.#user);
  }

  /**
   * Checks the server in another way from now on, see `withNewQuestion`; the result of a check that runs is dropped. A server that
   * is down comes up if it is not checked any more. A check that is the same changes nothing.
   */
  change(slot: number, check: ServerCheck): void {
    const watched = this.#watched.get(slot);
    if (watched === undefined || isSameCheck(check, watched.check)) return;
    watched.checking?.abort();
    watched.check = check;
    watched.failingSinceMs = Infinity;
    if (!isChecked(watched)) this.#checked.delete(watched);
    else this.#checked.add(watched); // where it was, if it was checked before
    const record = withNewQuestion(watched.record);
    const comesUp = !isChecked(watched) && record.state === "down";
    this.#become(watched, comesUp ? up(record, this.#moment()) : record);
    this.#options.budget.changed(this.#user);
  }

  /** What is known of a server that is not up; undefined for one that is. */
  knownOf(slot: number): KnownState | undefined {
    const { state, since, reason, restMs, restEndMs } = this.#recordOf(slot);
    if (state === "up") return undefined;
    const restLeftMs = state === "resting" ? Math.max(0, restEndMs - this.#options.clock.nowMs()) : 0;
    return { state, since, reason: reason ?? "", restMs, restLeftMs };
  }

  /**
   * When the server is checked next: an interval after its last turn, or at the end of its rest; null if it is not checked, or not
   * watched. The first check of a server may come earlier; on a busy machine a check comes later, and the time may have passed.
   */
  nextCheckOf(slot: number): Date | null {
    const { clock } = this.#options;
    const watched = this.#watched.get(slot);
    if (watched === undefined || this.#isDisposed) return null;
    const { state, restEndMs } = watched.record;
    const turnMs = isChecked(watched) ? watched.turnAt.getTime() + this.checkIntervalMs : Infinity;
    const trialMs = state === "resting" ? clock.date().getTime() + restEndMs - clock.nowMs() : Infinity;
    const nextMs = Math.min(turnMs, trialMs);
    return nextMs === Infinity ? null : new Date(nextMs);
  }

  /** Stops watching the server, if it is watched. */
  forget(slot: number): void {
    const watched = this.#watched.get(slot);
    if (watched === undefined) return;
    this.#watched.delete(slot);
    this.#checked.delete(watched);
    this.#resting.delete(watched);
    watched.checking?.abort();
    this.#options.budget.changed(this.#user);
  }

  /** Reports that a client's connection failed. Ignores unwatched servers. */
  trafficFailed(slot: number, reason: string, kind: TrafficFailure = "connect"): void {
    const watched = this.#watched.get(slot);
    if (watched === undefined) return;
    const moment = this.#moment();
    const { serviceOf, othersAvailable, budget } = this.#options;
    const pool = { servers: this.#watched.size, resting: this.#resting.size, othersAvailable: othersAvailable(slot) };
    const fault = { reason, kind, service: serviceOf(slot), roomToRest: roomToRest(pool, this.#config.restShare) };
    this.#become(watched, afterFailedClient(watched.record, fault, this.#rulesOf(watched), moment));
    budget.changed(this.#user);
  }

  /** Ends all checks. `stateOf` still works. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    for (const { checking } of this.#watched.values()) checking?.abort();
    this.#options.budget.leave(this.#user);
  }

  #asUser(): CheckUser {
    return {
      checkedCount: () => this.#checked.size,
      intervalMs: () => this.#config.checkIntervalMs,
      restEndMs: () => this.#resting.size > 0 ? this.#restEndMs : Infinity,
      takeTurn: (nowMs) => this.#takeTurn(nowMs),
      tryRested: (nowMs) => this.#tryRested(nowMs),
    };
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

  #takeTurn(nowMs: number): void {
    const watched = this.#next();
    watched.turnAt = this.#options.clock.date();
    if (watched.checking === undefined) void this.#start(watched, nowMs);
  }

  #next(): Watched {
    const { value, done } = this.#round.next();
    if (!done) return value;
    this.#round = this.#checked.values();
    return this.#round.next().value;
  }

  #tryRested(nowMs: number): boolean {
    let rested: Watched | undefined;
    this.#restEndMs = Infinity;
    for (const watched of this.#resting) {
      if (watched.checking !== undefined) continue; // a check that started too early notes the end of the rest when it ends
      if (rested === undefined && watched.record.restEndMs <= nowMs) rested = watched;
      else this.#restEndMs = Math.min(this.#restEndMs, watched.record.restEndMs);
      if (this.#restEndMs <= nowMs) break; // the next one is known
    }
    if (rested !== undefined) void this.#start(rested, nowMs);
    return rested !== undefined;
  }

  async #start(watched: Watched, startedMs: number): Promise<void> {
    const { run, trustOf, budget } = this.#options;
    budget.begin(this.#user);
    watched.checking = new AbortController();
    const { check, checking: { signal } } = watched;
    const result = await run(runnable(check), watched.address, this.#config.checkTimeoutMs, { signal, trustOf });
    watched.checking = undefined;
    const moment = this.#moment();
    const isMeant = watched.check === check && this.#isCurrent(watched);
    if (isMeant && !this.#isDisposed) this.#learn(watched, result, startedMs, moment);
    else if (this.#isCurrent(watched)) this.#noteRest(watched); // this may have been the trial, which is made again
    budget.changed(this.#user);
    budget.end(this.#user);
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
      const asksToDrain = result.asksToDrain === true;
      const next = afterPassedCheck(record, { startedMs, asksToDrain }, this.#rulesOf(watched), moment);
      if (asksToDrain || next.checksWilling >= this.#config.rise) this.#options.onAnswer?.(watched.slot, asksToDrain);
      this.#become(watched, next);
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
}

function rulesOf({ rise, fall, restMs }: HealthConfig): { readonly checked: HealthRules; readonly unchecked: HealthRules } {
  const checked = { rise, fall, restMs, isChecked: true };
  return { checked, unchecked: { ...checked, isChecked: false } };
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
