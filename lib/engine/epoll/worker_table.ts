/** The state of an epoll engine's workers, in shared memory: their epochs, open connections, adopted tables and turns. */

const COLUMNS = 5;
const EPOCH = 0;
const OPEN = 1;
const GENERATION = 2;
const STOPPED = 3;
const TURN = 4;

/** Allocates the table for this many workers. */
export function allocateWorkerTable(workers: number): SharedArrayBuffer {
  return new SharedArrayBuffer(workers * COLUMNS * 4);
}

/** One thread's view of the table. */
export class WorkerTable {
  readonly #cells: Int32Array;
  readonly size: number;

  constructor(shared: SharedArrayBuffer) {
    this.#cells = new Int32Array(shared);
    this.size = this.#cells.length / COLUMNS;
  }

  /** The epoch of a worker; 0: the worker is not running. */
  epoch(worker: number): number {
    return Atomics.load(this.#cells, worker * COLUMNS + EPOCH);
  }

  setEpoch(worker: number, epoch: number): void {
    Atomics.store(this.#cells, worker * COLUMNS + EPOCH, epoch);
  }

  /** A worker's open connections, including clients on their way to it. */
  open(worker: number): number {
    return Atomics.load(this.#cells, worker * COLUMNS + OPEN);
  }

  addOpen(worker: number, by: number): void {
    Atomics.add(this.#cells, worker * COLUMNS + OPEN, by);
  }

  clearOpen(worker: number): void {
    Atomics.store(this.#cells, worker * COLUMNS + OPEN, 0);
  }

  /** The generation of the tables that a worker routes by. */
  generation(worker: number): number {
    return Atomics.load(this.#cells, worker * COLUMNS + GENERATION);
  }

  setGeneration(worker: number, generation: number): void {
    Atomics.store(this.#cells, worker * COLUMNS + GENERATION, generation);
  }

  /** Whether a worker has stopped accepting. */
  isStopped(worker: number): boolean {
    return Atomics.load(this.#cells, worker * COLUMNS + STOPPED) !== 0;
  }

  setStopped(worker: number): void {
    Atomics.store(this.#cells, worker * COLUMNS + STOPPED, 1);
  }

  /** The number that a worker has read last from its mailbox, of those that it is sent to see whether its loop turns. */
  turn(worker: number): number {
    return Atomics.load(this.#cells, worker * COLUMNS + TURN);
  }

  setTurn(worker: number, turn: number): void {
    Atomics.store(this.#cells, worker * COLUMNS + TURN, turn);
  }

  /** The running worker with the fewest open connections. */
  leastBusy(): number {
    let least = 0;
    let fewest = Infinity;
    for (let worker = 0; worker < this.size; worker++) {
      if (this.epoch(worker) === 0 || this.open(worker) >= fewest) continue;
      fewest = this.open(worker);
      least = worker;
    }
    return least;
  }
}
