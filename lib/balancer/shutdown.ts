/**
 * How a balancer is stopped: for a while it is a lame duck, which serves as before and says that it is not ready, so that whatever
 * stands in front of it sends its clients elsewhere; then it accepts no more clients, and open connections have the grace time.
 */

import { logger } from "../observe/log.ts";
import { formatDuration } from "../values/duration.ts";

/** How to stop. */
export interface StopTimes {
  /** How long the balancer still serves, in milliseconds; 0 for not at all. */
  readonly lameDuckMs: number;
  /** How long open connections have to finish after that, in milliseconds. */
  readonly graceMs: number;
}

/** What is stopped. */
interface Stopped {
  /** Accepts no more clients; resolves when the last has gone, at most `graceMs` later. Can be asked again. */
  stop(graceMs: number): Promise<void>;
  /** Called when it begins to be a lame duck, for so long. */
  onLameDuck?(lameDuckMs: number): void;
  /** How many connections were ended because the grace time was over, so far. */
  cut(): number;
  /** Whether somebody else sees to it that this is asked again, or that it is not needed any more. */
  putsOff?(times: StopTimes): boolean;
}

const log = logger("daemon");

/** The end of one balancer. Asking again replaces the times: what is left of them is not waited for. */
export class Shutdown {
  readonly #stopped: Stopped;
  readonly #done = Promise.withResolvers<number>();
  #graceMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #phase: "serving" | "lame duck" | "stopping" = "serving";

  constructor(stopped: Stopped) {
    this.#stopped = stopped;
    this.#done.promise.catch(() => {}); // whoever waits for it is told
  }

  /** Whether it was asked to stop and still serves. */
  get isLameDuck(): boolean {
    return this.#phase === "lame duck";
  }

  /** Whether it was asked to stop. */
  get isAsked(): boolean {
    return this.#phase !== "serving";
  }

  /** The number of connections that were ended because the grace time was over. Rejects if stopping failed. */
  get done(): Promise<number> {
    return this.#done.promise;
  }

  /** Stops, or stops sooner. Returns at once. */
  ask(times: StopTimes): void {
    if (this.#stopped.putsOff?.(times) === true) return;
    const { lameDuckMs, graceMs } = times;
    this.#graceMs = graceMs;
    if (this.#phase === "stopping") return this.#stop();
    clearTimeout(this.#timer);
    if (lameDuckMs === 0) return this.#stop();
    this.#phase = "lame duck";
    log.info("Stopping in {time}: clients are still served, and readiness says no", { time: formatDuration(lameDuckMs) });
    this.#stopped.onLameDuck?.(lameDuckMs);
    this.#timer = setTimeout(() => this.#stop(), lameDuckMs);
  }

  #stop(): void {
    this.#phase = "stopping";
    this.#stopped.stop(this.#graceMs).then(() => this.#done.resolve(this.#stopped.cut()), this.#done.reject);
  }
}
