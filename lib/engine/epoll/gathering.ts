/**
 * Decides when a worker gathers events: a saturated worker pauses for a moment before it asks epoll again, so that one turn serves
 * more sockets and the worker is woken less often. The model is adaptive interrupt coalescing: Linux NAPI, and `adaptive-rx` of
 * ethtool(8). Pure: the worker reports its turns and makes the pauses.
 */

/** The worker is judged by what it did in a window of this length. */
const WINDOW_MS = 2;
/** Saturated: it waits for less than this part of the time, turns so often in a window, and finds so many events in a turn. */
const WAITING_MAX = 0.3;
const TURNS_MIN = 40;
/** With fewer events a lone client sends one request after another, and would wait for nothing. */
const EVENTS_MIN = 1.5;
/** With more, a turn serves many sockets already. */
const EVENTS_MAX = 16;
/** Saturated windows in a row before gathering begins. */
const SATURATED_MIN = 2;
/** Gathering pays as long as a turn finds this many events. */
const GATHERED_MIN = 3;
/** Windows without gathering after it did not pay. The number doubles each time, unless gathering had lasted for LASTED_MIN. */
const REST_MIN = 50;
const REST_MAX = 3200;
const LASTED_MIN = 20;

/** The controller of one worker. */
export class Gathering {
  #isOn = false;
  #windowMs: number;
  #waitedMs = 0;
  #turns = 0;
  #events = 0;
  /** Saturated windows in a row. */
  #saturated = 0;
  /** Windows that gathering has lasted. */
  #lasted = 0;
  /** Windows until gathering may begin again, and how many there will be the next time. */
  #rest = 0;
  #nextRest = REST_MIN;

  /** Times are in ms, by any monotonic clock. */
  constructor(nowMs: number) {
    this.#windowMs = nowMs;
  }

  /** The worker waited for `waitedMs` and found so many events for its next turn. Whether to pause before it waits again. */
  next(nowMs: number, waitedMs: number, events: number): boolean {
    this.#waitedMs += waitedMs;
    this.#turns++;
    this.#events += events;
    const spanMs = nowMs - this.#windowMs;
    if (spanMs >= WINDOW_MS) this.#judge(spanMs, nowMs);
    return this.#isOn && events < EVENTS_MAX;
  }

  #judge(spanMs: number, nowMs: number): void {
    const waiting = this.#waitedMs / spanMs;
    const perTurn = this.#events / this.#turns;
    if (this.#isOn) this.#continue(waiting <= WAITING_MAX && perTurn >= GATHERED_MIN);
    else {
      const isTimely = spanMs < 2 * WINDOW_MS; // a worker that was held up for long says nothing about its clients
      const isSaturated = waiting < WAITING_MAX && this.#turns >= TURNS_MIN && perTurn >= EVENTS_MIN && perTurn < EVENTS_MAX;
      this.#begin(isTimely && isSaturated);
    }
    this.#windowMs = nowMs;
    this.#waitedMs = this.#turns = this.#events = 0;
  }

  #begin(isSaturated: boolean): void {
    if (this.#rest > 0) {
      this.#rest--;
      return;
    }
    this.#saturated = isSaturated ? this.#saturated + 1 : 0;
    if (this.#saturated < SATURATED_MIN) return;
    this.#isOn = true;
    this.#saturated = this.#lasted = 0;
  }

  #continue(pays: boolean): void {
    if (pays) {
      this.#lasted++;
      return;
    }
    this.#isOn = false;
    if (this.#lasted >= LASTED_MIN) this.#nextRest = REST_MIN;
    this.#rest = this.#nextRest;
    this.#nextRest = Math.min(2 * this.#nextRest, REST_MAX);
  }
}
