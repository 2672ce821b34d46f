/** The workers of one epoll engine at a glance, in shared memory: who is there, how busy each is, which table each routes by. */

const COLUMNS = 4;
const INCARNATION = 0;
const OPEN = 1;
const GENERATION = 2;
const STOPPED = 3;

/** Memory for so many workers. */
export function allocateWorkerTable(workers: number): SharedArrayBuffer {
  return new SharedArrayBuffer(workers * COLUMNS * 4);
}

/** The workerTable as one thread sees it. */
export class WorkerTable {
  readonly #cells: Int32Array;
  readonly size: number;

  constructor(shared: SharedArrayBuffer) {
    this.#cells = new Int32Array(shared);
    this.size = this.#cells.length / COLUMNS;
  }

  /** The epoch of a worker; 0: there is none just now. */
  epoch(worker: number): number {
    return Atomics.load(this.#cells, worker * COLUMNS + INCARNATION);
  }

  setEpoch(worker: number, epoch: number): void {
    Atomics.store(this.#cells, worker * COLUMNS + INCARNATION, epoch);
  }

  /** A worker's open connections, those on their way to it included. */
  open(worker: number): number {
    return Atomics.load(this.#cells, worker * COLUMNS + OPEN);
  }

  addOpen(worker: number, by: number): void {
    Atomics.add(this.#cells, worker * COLUMNS + OPEN, by);
  }

  clearOpen(worker: number): void {
    Atomics.store(this.#cells, worker * COLUMNS + OPEN, 0);
  }

  /** The generation of the table by which a worker routes. */
  generation(worker: number): number {
    return Atomics.load(this.#cells, worker * COLUMNS + GENERATION);
  }

  setGeneration(worker: number, generation: number): void {
    Atomics.store(this.#cells, worker * COLUMNS + GENERATION, generation);
  }

  /** Whether a worker accepts nobody any more. */
  isStopped(worker: number): boolean {
    return Atomics.load(this.#cells, worker * COLUMNS + STOPPED) !== 0;
  }

  setStopped(worker: number): void {
    Atomics.store(this.#cells, worker * COLUMNS + STOPPED, 1);
  }

  /** The worker with the fewest open connections, of those that are there. */
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
