/** How long an engine stops accepting when the system cannot hand over a client, as when no descriptor is left. Reads no clock. */

/** The pauses grow from the first to the second. */
const PAUSE_MIN_MS = 50;
const PAUSE_MAX_MS = 1000;
/** Trouble within this time after the last belongs to it: the pause grows, and nothing more is logged. */
const SAME_TROUBLE_MS = 10_000;

/** The pauses of one listener. */
export class AcceptBackoff {
  #pauseMs = 0;
  #failedMs = -Infinity;

  /** Accepting has failed. How long to stop accepting, in ms, and whether the trouble is new, so that it is to be logged. */
  fail(nowMs: number): { readonly pauseMs: number; readonly isNew: boolean } {
    const isNew = nowMs - this.#failedMs > SAME_TROUBLE_MS;
    this.#failedMs = nowMs;
    this.#pauseMs = isNew ? PAUSE_MIN_MS : Math.min(this.#pauseMs * 2, PAUSE_MAX_MS);
    return { pauseMs: this.#pauseMs, isNew };
  }
}
