/**
 * What main waits for of single connections: it has told a worker to close or to move one, and a report says what became of it.
 * The report may have been dropped, or the worker may hang, so each wait has an end.
 */

import type { CloseOutcome, MoveOutcome } from "../engine.ts";

/** What can become of a connection that a worker was told to close or to move. */
type Outcome = CloseOutcome | MoveOutcome;

/** A request that waits, until its timer fires. */
interface Waiting {
  readonly isMove: boolean;
  readonly settle: (outcome: Outcome | undefined) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** The requests of one engine, by the id of their connection: any number of closes, and one move at a time. */
export class Requests {
  readonly #waiting = new Map<number, Waiting[]>();

  /** Resolves once this connection, which was told to close, has ended; with undefined after `maxMs`, or when the engine ends. */
  awaitEnd(id: number, maxMs: number): Promise<Outcome | undefined> {
    return this.#wait(id, false, maxMs);
  }

  /** The same for one that was told to move, and also once it has moved or is known to stay. */
  awaitMove(id: number, maxMs: number): Promise<Outcome | undefined> {
    return this.#wait(id, true, maxMs);
  }

  /** Whether a move of this connection is awaited. */
  isMoving(id: number): boolean {
    return this.#waiting.get(id)?.some(({ isMove }) => isMove) === true;
  }

  /** This became of a connection. Costs nothing while nobody waits. */
  settle(id: number, outcome: Outcome): void {
    if (this.#waiting.size > 0) this.#end(id, outcome, ({ isMove }) => isMove || outcome.kind === "ended");
  }

  /** No more outcomes will come. */
  end(): void {
    for (const id of [...this.#waiting.keys()]) this.#end(id, undefined, () => true);
  }

  #wait(id: number, isMove: boolean, maxMs: number): Promise<Outcome | undefined> {
    const { promise, resolve } = Promise.withResolvers<Outcome | undefined>();
    const timer = setTimeout(() => this.#end(id, undefined, (one) => one === waiting), maxMs);
    const waiting: Waiting = { isMove, settle: resolve, timer };
    this.#waiting.set(id, [...this.#waiting.get(id) ?? [], waiting]);
    return promise;
  }

  #end(id: number, outcome: Outcome | undefined, isMeant: (waiting: Waiting) => boolean): void {
    const waiting = this.#waiting.get(id) ?? [];
    const others = waiting.filter((one) => !isMeant(one));
    if (others.length === 0) this.#waiting.delete(id);
    else this.#waiting.set(id, others);
    for (const { settle, timer } of waiting.filter(isMeant)) {
      clearTimeout(timer);
      settle(outcome);
    }
  }
}
