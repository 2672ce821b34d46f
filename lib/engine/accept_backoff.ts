/** How long an engine stops accepting after accept(2) has failed, for example because no descriptor is left. Reads no clock. */

/** The first and the longest pause; each failure doubles it. */
const PAUSE_MIN_MS = 50;
const PAUSE_MAX_MS = 1000;
/** A failure within this time of the previous one continues it: the pause grows, and nothing more is logged. */
const SAME_TROUBLE_MS = 10_000;

/** The pauses of one listener, or of all listeners of one worker. */
export class AcceptBackoff {
  #pauseMs = 0;
  #failedMs = -Infinity;

  /** Accepting has failed. Returns how long to pause, in ms, and whether the failure is new and should be logged. */
  fail(nowMs: number): { readonly pauseMs: number; readonly isNew: boolean } {
    const isNew = nowMs - this.#failedMs > SAME_TROUBLE_MS;
    this.#failedMs = nowMs;
    this.#pauseMs = isNew ? PAUSE_MIN_MS : Math.min(this.#pauseMs * 2, PAUSE_MAX_MS);
    return { pauseMs: this.#pauseMs, isNew };
  }
}
