// Clocks that a test sets.

import type { Clocks } from "../../lib/observe/second_clock.ts";

/** A second since 1970, at which tests begin. */
export const BEGIN = 1_800_000_000;

/** Both clocks, at BEGIN. */
export class FakeClocks implements Clocks {
  #monotonicMs = 5000;
  #wallMs = BEGIN * 1000;

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  /** Time passes. */
  pass(ms: number): void {
    this.#monotonicMs += ms;
    this.#wallMs += ms;
  }

  /** Somebody sets the wall clock. */
  set(byMs: number): void {
    this.#wallMs += byMs;
  }
}
