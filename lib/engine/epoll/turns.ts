/**
 * Whether every worker turns its loop. A worker that is asked finds a command in its mailbox, which it reads in its loop like any
 * other, and writes the command's number into the worker table. A worker with nothing to do sleeps until it is asked, so nothing is
 * counted per turn, and a worker that sleeps can be told from one that hangs.
 */

import { COMMAND } from "./mailbox.ts";
import type { WorkerTable } from "./worker_table.ts";

/** What is needed of a worker. */
interface AskedWorker {
  readonly index: number;
  tell(kind: number, a: number): void;
}

/** What a worker was asked last. */
interface Question {
  /** Of which thread: a replaced worker never hears what its predecessor was asked. */
  readonly epoch: number;
  readonly turn: number;
}

/** The turns of the workers with this table. */
export class Turns {
  readonly #table: Pick<WorkerTable, "epoch" | "turn">;
  /** By worker. */
  readonly #asked: (Question | undefined)[] = [];
  #turn = 0;

  constructor(table: Pick<WorkerTable, "epoch" | "turn">) {
    this.#table = table;
  }

  /**
   * Whether each worker has answered what it was asked at the last look. Asks each that has for another turn: one that hangs is
   * asked once, so that its mailbox never fills.
   */
  look(workers: readonly AskedWorker[]): boolean {
    this.#turn = this.#turn + 1 | 0;
    return workers.map((worker) => this.#lookAt(worker)).every((hasTurned) => hasTurned);
  }

  #lookAt(worker: AskedWorker): boolean {
    const epoch = this.#table.epoch(worker.index);
    if (epoch === 0) return false; // it starts, or is about to be replaced
    const asked = this.#asked[worker.index];
    const isSame = asked?.epoch === epoch;
    const hasTurned = isSame && this.#table.turn(worker.index) === asked.turn;
    if (isSame && !hasTurned) return false;
    this.#asked[worker.index] = { epoch, turn: this.#turn };
    worker.tell(COMMAND.turn, this.#turn);
    return hasTurned;
  }
}
