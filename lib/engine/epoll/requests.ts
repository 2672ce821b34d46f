/**
 * What main waits for of single connections: it has told a worker to close or to move one, and a report says what became of it.
 * The report may have been dropped, or the worker may hang, so each wait has an end.
 */

import type { CloseOutcome, MoveOutcome } from "../engine.ts";

/** What can become of a connection that a worker was told to close or to move. */
type Outcome = CloseOutcome | MoveOutcome;

/** A request that waits, until its timer fires. */
interface Waiting {
  readonly settle: (outcome: Outcome | undefined) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** The requests of one engine, by the id of their connection. */
export class Requests {
  readonly #waiting = new Map<number, Waiting[]>();

  /** Resolves with what `settle` says of this connection; with undefined after `maxMs`, or when the engine ends. */
  wait(id: number, maxMs: number): Promise<Outcome | undefined> {
    const { promise, resolve } = Promise.withResolvers<Outcome | undefined>();
    const timer = setTimeout(() => this.#forget(id, waiting), maxMs);
    const waiting: Waiting = { settle: resolve, timer };
    const others = this.#waiting.get(id);
    if (others === undefined) this.#waiting.set(id, [waiting]);
    else others.push(waiting);
    return promise;
  }

  /** This became of a connection. Costs nothing while nobody waits. */
  settle(id: number, outcome: Outcome): void {
    if (this.#waiting.size > 0) this.#end(id, outcome);
  }

  /** No more outcomes will come. */
  end(): void {
    for (const id of [...this.#waiting.keys()]) this.#end(id, undefined);
  }

  #end(id: number, outcome: Outcome | undefined): void {
    const waiting = this.#waiting.get(id) ?? [];
    this.#waiting.delete(id);
    for (const { settle, timer } of waiting) {
      clearTimeout(timer);
      settle(outcome);
    }
  }

  #forget(id: number, late: Waiting): void {
    const others = this.#waiting.get(id)!.filter((waiting) => waiting !== late);
    if (others.length === 0) this.#waiting.delete(id);
    else this.#waiting.set(id, others);
    late.settle(undefined);
  }
}
