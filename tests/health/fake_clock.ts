// A clock for tests: time goes on when the test says so.

import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import type { HealthClock } from "../../lib/health/clock.ts";

/** A clock that stands still until it is told to go on, with the timer of one who asks for one at a time. */
export class FakeClock implements HealthClock {
  now = 1000;
  started = 0;
  #timer: { readonly wake: () => void; readonly atMs: number } | undefined;

  nowMs = (): number => this.now;
  date = (): Date => new Date(this.now);

  start(wake: () => void, sleepMs: number): () => void {
    assertEquals(this.#timer, undefined, "there is one timer at the most");
    assertGreaterOrEqual(sleepMs, 1);
    const timer = this.#timer = { wake, atMs: this.now + sleepMs };
    this.started++;
    return () => {
      if (this.#timer === timer) this.#timer = undefined;
    };
  }

  get isIdle(): boolean {
    return this.#timer === undefined;
  }

  /** Goes on by so much, from timer to timer; what has come of it is settled in between. */
  async goOn(ms: number): Promise<void> {
    const endMs = this.now + ms;
    while (this.#timer !== undefined && this.#timer.atMs <= endMs) {
      const { wake, atMs } = this.#timer;
      this.#timer = undefined;
      this.now = Math.max(this.now, atMs);
      wake();
      await settled();
    }
    this.now = endMs;
  }
}

/** Promises that are kept have been minded. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 8; i++) await Promise.resolve();
}

/** The most that fall into any span of so many milliseconds. */
export function mostWithin(times: readonly number[], spanMs: number): number {
  let most = 0;
  for (let first = 0, last = 0; last < times.length; last++) {
    while (times[last] - times[first] >= spanMs) first++;
    most = Math.max(most, last - first + 1);
  }
  return most;
}
