/** The clocks and the timer of this room, handed in so that tests have their own. */

/** Clocks and a timer. */
export interface HealthClock {
  /** Milliseconds of a monotonic clock. */
  nowMs(): number;
  date(): Date;
  /** Calls `wake` once after `sleepMs`. Returns the function that cancels it. */
  start(wake: () => void, sleepMs: number): () => void;
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
