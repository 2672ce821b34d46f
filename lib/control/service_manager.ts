/**
 * What the daemon tells the service manager that has started it, as a rule systemd: that it serves, how it is, that it reads
 * something anew or stops, and that all its threads are alive (sd_notify(3)). Where there is none, it tells nobody.
 */

import { delay } from "@std/async";
import { ERRNO } from "../engine/system/errno.ts";
import { Datagrams } from "../engine/system/datagrams.ts";
import { errnoText, type Libc, openLibc } from "../engine/system/libc.ts";
import { MonotonicClock } from "../engine/system/monotonic.ts";
import { logger } from "../observe/log.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { NOTICES, type Supervision } from "../values/supervision.ts";

/** How often the status is looked at; it is told when it has changed. */
const STATUS_MS = 1000;
/** Signs of life in the time that is allowed between two: one may come late, and the first needs two looks. */
const SIGNS_PER_WATCHDOG = 4;
/** How soon a notice is sent again for which there was no room. */
const RETRY_MS = 50;
/** More notices do not wait: something is wrong with the receiver. */
const WAITING_MAX = 16;
/** How long the last one may wait, in ms. */
const LAST_WORD_MAX_MS = 30_000;

/** What is told of a daemon. */
export interface Supervised {
  /** How it is, in a sentence. */
  status(): string;
  /** Whether every thread has turned its loop, as `Engine.hasTurned` says it. */
  hasTurned(): boolean;
}

const log = logger("daemon");

/** The service manager of this process. Disposing of it ends the telling. */
export class ServiceManager implements Disposable {
  readonly #watchdogMs: number | undefined;
  readonly #libc: Libc | undefined;
  readonly #datagrams: Datagrams | undefined;
  readonly #waiting: string[] = [];
  #retry: ReturnType<typeof setTimeout> | undefined;
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  #supervised: Supervised | undefined;
  #status = "";
  /** When the stop is over at the latest, by performance.now(); undefined: the daemon does not stop. */
  #stoppedByMs: number | undefined;
  #signsMissed = 0;

  private constructor({ notifySocket, watchdogMs }: Supervision) {
    this.#watchdogMs = watchdogMs;
    if (notifySocket === undefined) return;
    this.#libc = openLibc();
    this.#datagrams = new Datagrams(this.#libc, notifySocket);
  }

  /** Throws an operator error if what is asked for cannot be told, as the service manager would wait for it. */
  static open(supervision: Supervision): ServiceManager {
    try {
      return new ServiceManager(supervision);
    } catch (error) {
      const why = `${messageOf(error)}; with Type=exec it is not needed`;
      throw new OperatorError("failed", `Cannot tell the service manager on ${supervision.notifySocket} anything: ${why}`);
    }
  }

  /**
   * Tells that the daemon serves, or that it stops if it was told to before, when nobody believed it yet; and from now on how it is
   * and that it is alive.
   */
  serve(supervised: Supervised): void {
    this.#supervised = supervised;
    if (this.#datagrams === undefined) return;
    if (this.#stoppedByMs === undefined) this.#sayReady();
    else this.stopping(Math.max(0, this.#stoppedByMs - performance.now()));
    this.#timers.push(setInterval(() => this.#lookAtStatus(), STATUS_MS));
    if (this.#watchdogMs === undefined) return;
    this.#timers.push(setInterval(() => this.#lookForLife(), this.#watchdogMs / SIGNS_PER_WATCHDOG));
  }

  /** Tells that something is read anew, and when that is done. */
  async reload(read: () => Promise<unknown>): Promise<void> {
    if (this.#stoppedByMs === undefined) this.#tell(() => NOTICES.reloading(new MonotonicClock(this.#libc!).totalMicros()));
    try {
      await read();
    } finally {
      if (this.#stoppedByMs === undefined) this.#sayReady();
    }
  }

  /** Tells that the daemon stops, and how long that takes at most from now on. */
  stopping(maxMs: number): void {
    this.#stoppedByMs = performance.now() + maxMs;
    this.#status = this.#supervised?.status() ?? "";
    this.#tell(() => NOTICES.stopping(this.#status, maxMs));
  }

  /**
   * Tells that the process with this number is the service from now on: the last that this process tells. systemd believes it of a
   * process in the unit's own control group alone, unless root says so. Resolves when it is told: if this process ended before, the
   * service manager would end the other one, as what is left of the service.
   */
  async handOver(pid: number): Promise<void> {
    this.#endTimers();
    this.#waiting.length = 0; // what is older is of no interest any more, and there must be room
    this.#tell(() => NOTICES.mainPid(pid));
    const untilMs = performance.now() + LAST_WORD_MAX_MS;
    while (this.#waiting.length > 0 && performance.now() < untilMs) await delay(RETRY_MS);
    if (this.#waiting.length > 0) log.error("Cannot tell the service manager that process {pid} is the service now", { pid });
  }

  [Symbol.dispose](): void {
    this.#endTimers();
    clearTimeout(this.#retry);
    this.#datagrams?.[Symbol.dispose]();
    this.#libc?.[Symbol.dispose]();
  }

  #endTimers(): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
  }

  #sayReady(): void {
    this.#status = this.#supervised?.status() ?? "";
    this.#tell(() => NOTICES.ready(this.#status));
  }

  #lookAtStatus(): void {
    const status = this.#supervised!.status();
    if (status === this.#status) return;
    this.#status = status;
    this.#tell(() => NOTICES.status(status));
  }

  #lookForLife(): void {
    if (this.#supervised!.hasTurned()) {
      this.#signsMissed = 0;
      return this.#tell(NOTICES.alive);
    }
    if (++this.#signsMissed !== SIGNS_PER_WATCHDOG - 1) return; // the first look, and a busy machine
    log.error("A worker has not turned its loop for {ms} ms; unless it does, the service manager ends this process", {
      ms: Math.round((SIGNS_PER_WATCHDOG - 1) * this.#watchdogMs! / SIGNS_PER_WATCHDOG),
    });
  }

  #tell(notice: () => string): void {
    if (this.#datagrams === undefined || this.#waiting.length >= WAITING_MAX) return;
    this.#waiting.push(notice());
    if (this.#retry === undefined) this.#send();
  }

  /** Sends what waits, in order. */
  #send(): void {
    this.#retry = undefined;
    while (this.#waiting.length > 0) {
      const errno = this.#datagrams!.send(this.#waiting[0]);
      if (errno === ERRNO.EAGAIN) {
        this.#retry = setTimeout(() => this.#send(), RETRY_MS);
        return;
      }
      const notice = this.#waiting.shift()!.split("\n")[0];
      if (errno !== 0) log.warn("Cannot tell the service manager {notice}: {why}", { notice, why: errnoText(errno) });
    }
  }
}
