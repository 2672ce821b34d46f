/** The one clock that processes share: V8's begins anew in each of them, and the time of day may be set. */

import { CLOCK_MONOTONIC, type Libc } from "./libc.ts";

/** After so many µs, 35 minutes, the readings begin at 0 again, so that they fit into 32 bits with a sign. */
const ROUND_MICROS = 2 ** 31;

/** The clock, as one thread reads it. */
export class MonotonicClock {
  /** struct timespec { time_t tv_sec; long tv_nsec; } */
  readonly #time = new BigInt64Array(new ArrayBuffer(16));
  readonly #address: bigint;

  constructor(readonly libc: Libc) {
    this.#address = libc.addressOf(this.#time.buffer);
  }

  /** The time in µs, as the system has it. */
  totalMicros(): bigint {
    this.libc.call.clock_gettime(CLOCK_MONOTONIC, this.#address);
    return this.#time[0] * 1_000_000n + this.#time[1] / 1000n;
  }

  /** The time in µs, below 2³¹. */
  micros(): number {
    return Number(this.totalMicros() % BigInt(ROUND_MICROS));
  }

  /** How long ago an earlier reading was, of this process or another one, in ms. */
  msSince(micros: number): number {
    return (this.micros() - micros + ROUND_MICROS) % ROUND_MICROS / 1000;
  }
}
