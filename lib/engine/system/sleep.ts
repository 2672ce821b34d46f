/** Short sleeps of a thread. */

import { type Libc, PR_SET_TIMERSLACK } from "./libc.ts";

/** The sleeps of one thread. It must not be the main thread, whose other work would sleep, too. */
export class Sleep {
  /** struct timespec { time_t tv_sec; long tv_nsec; } */
  readonly #duration = new BigInt64Array(new ArrayBuffer(16));
  readonly #address: bigint;

  constructor(readonly libc: Libc) {
    this.#address = libc.addressOf(this.#duration.buffer);
  }

  /** Makes the sleeps of this thread exact; otherwise Linux lets each last up to 50 µs longer (prctl(2), PR_SET_TIMERSLACK). */
  beExact(): void {
    this.libc.call.prctl(PR_SET_TIMERSLACK, 1n, 0n, 0n, 0n);
  }

  /** Sleeps for 1 to 999,999 µs. */
  forMicros(micros: number): void {
    this.#duration[1] = BigInt(micros) * 1000n;
    this.libc.call.nanosleep(this.#address, 0n);
  }
}
