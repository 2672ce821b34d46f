/**
 * The time in which seconds are numbered: since 1970 as the wall clock says, and even as a monotonic clock ticks. Small corrections
 * of the wall clock are followed slowly, so that no second is told of twice; a jump is reported. Clocks are handed in.
 */

/** The clocks, in ms. */
export interface Clocks {
  /** Never goes back. */
  monotonicMs(): number;
  /** Since 1970; may jump. */
  wallMs(): number;
}

/** The clocks of the runtime. */
export const SYSTEM_CLOCKS: Clocks = { monotonicMs: () => performance.now(), wallMs: () => Date.now() };

/** A reading: the time in ms since 1970, and by how much the wall clock has jumped since the last reading; usually 0. */
export interface SecondReading {
  readonly nowMs: number;
  readonly jumpMs: number;
}

/** How far the wall clock may be off before that is a jump. */
const JUMP_MIN_MS = 1000;
/** The greatest part of the time that passes by which a correction makes it longer or shorter. */
const SLEW = 0.1;

/** Numbers seconds. */
export class SecondClock {
  readonly #clocks: Clocks;
  /** What the monotonic clock lacks to be the time. */
  #offsetMs: number;
  #lastMs: number;

  constructor(clocks: Clocks = SYSTEM_CLOCKS) {
    this.#clocks = clocks;
    this.#lastMs = clocks.monotonicMs();
    this.#offsetMs = clocks.wallMs() - this.#lastMs;
  }

  /** Reads the clocks. Without a jump, the time of a later reading is never earlier. */
  read(): SecondReading {
    const monotonicMs = this.#clocks.monotonicMs();
    const slewMaxMs = SLEW * (monotonicMs - this.#lastMs);
    const offMs = this.#clocks.wallMs() - monotonicMs - this.#offsetMs;
    const isJump = Math.abs(offMs) >= JUMP_MIN_MS;
    this.#lastMs = monotonicMs;
    this.#offsetMs += isJump ? offMs : Math.max(-slewMaxMs, Math.min(slewMaxMs, offMs));
    return { nowMs: monotonicMs + this.#offsetMs, jumpMs: isJump ? offMs : 0 };
  }
}
