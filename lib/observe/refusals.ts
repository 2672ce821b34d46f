/**
 * Tells the operator of refused clients without a line for each: the first is told at once, and those of the pause after it
 * together, by their number. Knows no log.
 */

/** How long refusals are gathered. */
const PAUSE_MS = 10_000;

/** What is told: one client by its address, or how many there were by cause. */
export interface RefusalTeller {
  readonly tellOne: (client: string, cause: string) => void;
  readonly tellMany: (counts: ReadonlyMap<string, number>, withinMs: number) => void;
}

/** Gathers refusals. Disposing of it tells those that are left. */
export class Refusals implements Disposable {
  readonly #counts = new Map<string, number>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly teller: RefusalTeller, readonly pauseMs: number = PAUSE_MS) {}

  /** A client was refused. Its address is a function, because it is rarely needed. */
  add(client: () => string, cause: string): void {
    if (this.#timer !== undefined) {
      this.#counts.set(cause, (this.#counts.get(cause) ?? 0) + 1);
      return;
    }
    this.teller.tellOne(client(), cause);
    this.#timer = setTimeout(() => this.#onPause(), this.pauseMs);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#tell();
  }

  /** The pause is over; the next one begins at once if there was something to tell. */
  #onPause(): void {
    this.#timer = this.#counts.size === 0 ? undefined : setTimeout(() => this.#onPause(), this.pauseMs);
    this.#tell();
  }

  #tell(): void {
    if (this.#counts.size > 0) this.teller.tellMany(new Map(this.#counts), this.pauseMs);
    this.#counts.clear();
  }
}
