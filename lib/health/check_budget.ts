/**
 * The health checks of all services of a process: how many start in a second, how many are under way (each has a descriptor), and
 * which service is next. Fair to services: one with 10,000 servers takes nothing from one with three. Has one timer, and none
 * while nothing is to be checked. Knows no server: a service says how much it has to check, and starts a check when it is told.
 */

import { assert } from "../values/errors.ts";
import { type HealthClock, SYSTEM_CLOCK } from "./clock.ts";

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
/** Of several services, one that has checks under way leaves this part of the places to those that have none. */
const RESERVED_PART = 1 / 8;

/** A service as the budget sees it. Its functions start checks by `begin`, and do not throw. */
export interface CheckUser {
  /** How many servers are checked, and not only at the end of a rest. */
  checkedCount(): number;
  /** The interval between two checks of one of them, as configured. */
  intervalMs(): number;
  /** The end of the first rest that a check is to end; Infinity for none. */
  restEndMs(): number;
  /** Checks the next server, unless its last check still runs. */
  takeTurn(nowMs: number): void;
  /** Checks one server whose rest has ended; false if there is none. */
  tryRested(nowMs: number): boolean;
}

/**
 * What the budget knows of a service. The order of turns is that of EEVDF (Stoica and Abdel-Wahab, 1995), with one turn per tick:
 * of the services whose next turn may begin, the one whose turn should end first.
 */
interface Seat {
  readonly user: CheckUser;
  checkedCount: number;
  intervalMs: number;
  /** Its turns per second. */
  perSecond: number;
  /** When its next turn may begin, on the virtual clock. */
  startMs: number;
  underWay: number;
}

/** The settings of a budget. */
interface BudgetOptions {
  readonly clock?: Pick<HealthClock, "nowMs" | "start">;
  /** Limit on concurrent checks. */
  readonly underWayMax?: number;
}

/** The checks of one process. */
export class CheckBudget {
  readonly #clock: Pick<HealthClock, "nowMs" | "start">;
  readonly #underWayMax: number;
  readonly #seats = new Map<CheckUser, Seat>();
  /** Services with resting servers. Who has had a trial goes to the end. */
  readonly #resting = new Set<CheckUser>();
  /** Servers that are checked, of all services. */
  #checkedCount = 0;
  #underWay = 0;
  /** Whether the shares below are those of services that have changed since. */
  #isStale = false;
  /** No service has more turns per second than this; Infinity where there are enough for all. */
  #levelPerSecond = Infinity;
  #turnLengthMs = Infinity;
  /** Time of the last turn. */
  #turnMs = 0;
  /** Goes on with turns, not with time: turns that are skipped are nobody's. */
  #virtualMs = 0;
  /** Checks that CHECKS_PER_SECOND_MAX allows to start, as of `#allowedMs`. */
  #allowed = CHECKS_AT_ONCE_MAX;
  #allowedMs = -Infinity;
  /** When the timer fires; Infinity for no timer. */
  #wakeMs = Infinity;
  #stopTimer = () => {};

  constructor({ clock = SYSTEM_CLOCK, underWayMax = CHECKS_UNDER_WAY_MAX }: BudgetOptions = {}) {
    this.#clock = clock;
    this.#underWayMax = underWayMax;
  }

  /** Takes in a service that has nothing to check yet. */
  join(user: CheckUser): void {
    this.#seats.set(user, { user, checkedCount: 0, intervalMs: user.intervalMs(), perSecond: 0, startMs: 0, underWay: 0 });
  }

  /** Starts no more checks of the service. */
  leave(user: CheckUser): void {
    const seat = this.#seats.get(user);
    if (seat === undefined) return;
    this.#seats.delete(user);
    this.#resting.delete(user);
    this.#checkedCount -= seat.checkedCount;
    this.#isStale = true;
    this.#clearIdleTimer();
  }

  /** A service that has not left has another number of servers to check, another interval, or another end of a rest. */
  changed(user: CheckUser): void {
    const seat = this.#seats.get(user);
    if (seat === undefined) return;
    const nowMs = this.#clock.nowMs();
    const [checkedCount, intervalMs] = [user.checkedCount(), user.intervalMs()];
    if (checkedCount !== seat.checkedCount || intervalMs !== seat.intervalMs) {
      if (this.#checkedCount === 0) this.#turnMs = nowMs;
      this.#checkedCount += checkedCount - seat.checkedCount;
      Object.assign(seat, { checkedCount, intervalMs });
      this.#isStale = true; // the shares follow at the next wake-up: a thousand changes at once are one
    }
    if (user.restEndMs() === Infinity) this.#resting.delete(user);
    else this.#resting.add(user);
    this.#clearIdleTimer();
    this.#setTimer(nowMs);
  }

  /** The interval between two checks of a server of this service: as configured, or longer where there are too many servers. */
  intervalMsOf(user: CheckUser): number {
    this.#share();
    return Math.max(user.intervalMs(), user.checkedCount() * 1000 / this.#levelPerSecond);
  }

  /** Counts a check of this service that starts now. */
  begin(user: CheckUser): void {
    this.#allowed--;
    this.#underWay++;
    const seat = this.#seats.get(user);
    assert(seat !== undefined, "a service that has left starts a check");
    seat.underWay++;
  }

  /** Counts its end, also after the service has left. */
  end(user: CheckUser): void {
    this.#underWay--;
    const seat = this.#seats.get(user);
    if (seat !== undefined) seat.underWay--;
    this.#setTimer(this.#clock.nowMs());
  }

  #wake(): void {
    this.#wakeMs = Infinity;
    const nowMs = this.#clock.nowMs();
    const earned = (nowMs - this.#allowedMs) * CHECKS_PER_SECOND_MAX / 1000;
    this.#allowed = Math.min(CHECKS_AT_ONCE_MAX, this.#allowed + earned);
    this.#allowedMs = nowMs;
    this.#share();
    if (this.#turnLengthMs < Infinity) this.#turnMs = Math.max(this.#turnMs, nowMs - LATE_MAX_MS - this.#turnLengthMs);
    for (let isAnyLeft = true; isAnyLeft;) { // neither rests nor turns wait for the last of the others
      const isTrial = this.#tryRested(nowMs);
      isAnyLeft = this.#takeTurn(nowMs) || isTrial;
    }
    this.#setTimer(nowMs);
  }

  /** Makes the shares those of the services as they are now. */
  #share(): void {
    if (!this.#isStale) return;
    this.#isStale = false;
    const seats = [...this.#seats.values()];
    this.#levelPerSecond = fairLevel(seats.map(wantOf), CHECKS_PER_SECOND_MAX);
    let total = 0;
    let starts = 0;
    for (const seat of seats) {
      const isNew = seat.perSecond === 0;
      seat.perSecond = Math.min(wantOf(seat), this.#levelPerSecond);
      if (seat.perSecond === 0) continue;
      const aheadMs = isNew ? 0 : seat.startMs - this.#virtualMs;
      const lengthMs = 1000 / seat.perSecond;
      seat.startMs = this.#virtualMs + Math.max(-lengthMs, Math.min(aheadMs, lengthMs)); // no more than a turn of the new length
      total += seat.perSecond;
      starts += seat.perSecond * seat.startMs;
    }
    this.#turnLengthMs = 1000 / total;
    if (total > 0) this.#virtualMs = starts / total; // who leaves takes what he was ahead or behind with him
  }

  get #mayStart(): boolean {
    return this.#underWay < this.#underWayMax && this.#allowed >= 1;
  }

  /** Gives the next turn if it is due; returns whether it was. A service that must leave its places to others loses its turn. */
  #takeTurn(nowMs: number): boolean {
    if (!this.#mayStart || this.#turnMs + this.#turnLengthMs > nowMs) return false;
    const seat = this.#next();
    this.#turnMs += this.#turnLengthMs;
    this.#virtualMs += this.#turnLengthMs;
    if (seat === undefined) return true;
    seat.startMs += 1000 / seat.perSecond;
    if (this.#hasRoomFor(seat)) seat.user.takeTurn(nowMs);
    return true;
  }

  /** Whose turn it is. Undefined for nobody's: the shares add up, so rounding alone does that. */
  #next(): Seat | undefined {
    const latestMs = this.#virtualMs + this.#turnLengthMs / 2; // half a turn is more than any rounding
    let next: Seat | undefined;
    let firstEndMs = Infinity;
    for (const seat of this.#seats.values()) {
      if (seat.startMs > latestMs) continue;
      const endMs = seat.startMs + 1000 / seat.perSecond; // Infinity for a service without turns
      if (endMs >= firstEndMs) continue;
      next = seat;
      firstEndMs = endMs;
    }
    return next;
  }

  /** Starts the check of one server whose rest has ended, of the services by turns; returns whether there was one. */
  #tryRested(nowMs: number): boolean {
    if (!this.#mayStart) return false;
    for (const user of this.#resting) {
      if (user.restEndMs() > nowMs || !this.#hasRoomFor(this.#seats.get(user)!) || !user.tryRested(nowMs)) continue;
      this.#resting.delete(user);
      this.#resting.add(user);
      return true;
    }
    return false;
  }

  #hasRoomFor({ underWay }: Seat): boolean {
    const reserved = this.#seats.size === 1 || underWay === 0 ? 0 : Math.floor(this.#underWayMax * RESERVED_PART);
    return this.#underWay < this.#underWayMax - reserved;
  }

  /** Sets the timer for the next check. A timer that fires earlier is left alone. */
  #setTimer(nowMs: number): void {
    if (this.#wakeMs <= nowMs + SLEEP_MIN_MS) return;
    const wakeMs = Math.max(this.#nextMs(nowMs), nowMs + SLEEP_MIN_MS);
    if (this.#wakeMs <= wakeMs || wakeMs === Infinity) return;
    this.#stopTimer();
    this.#wakeMs = wakeMs;
    this.#stopTimer = this.#clock.start(() => this.#wake(), wakeMs - nowMs);
  }

  /** When the next check is due. Infinity if none is, or if the limit on checks is reached: the end of a check sets the timer. */
  #nextMs(nowMs: number): number {
    if (this.#underWay >= this.#underWayMax) return Infinity;
    if (this.#isStale) return this.#isIdle ? Infinity : nowMs;
    let nextMs = this.#turnMs + this.#turnLengthMs;
    for (const user of this.#resting) nextMs = Math.min(nextMs, user.restEndMs());
    return nextMs;
  }

  get #isIdle(): boolean {
    return this.#checkedCount === 0 && this.#resting.size === 0;
  }

  #clearIdleTimer(): void {
    if (!this.#isIdle) return;
    this.#stopTimer();
    this.#wakeMs = Infinity;
  }
}

/** How many checks per second a service wants. */
function wantOf({ checkedCount, intervalMs }: Seat): number {
  return checkedCount * 1000 / intervalMs;
}

/**
 * The most that one may have of `total` where it is too little for all: whoever wants less has what he wants, and all others have
 * this much (max-min fairness). Infinity where there is enough.
 */
export function fairLevel(wants: readonly number[], total: number): number {
  if (wants.reduce((sum, want) => sum + want, 0) <= total) return Infinity;
  let left = total;
  let sharers = wants.length;
  for (const want of wants.toSorted((a, b) => a - b)) {
    if (want * sharers > left) return left / sharers;
    left -= want;
    sharers--;
  }
  return Infinity; // they want more by a rounding error alone
}
