/** The few greatest of very many, met one after another: a binary heap of bounded size whose root is the least of those kept. */

/** A kept item and its rank. */
interface Ranked<T> {
  readonly rank: number;
  readonly item: T;
}

/** The items with the greatest ranks, at most `max` of them. */
export class Top<T> {
  readonly #heap: Ranked<T>[] = [];

  /** `max` is at least 1. */
  constructor(readonly max: number) {}

  /** Whether an item of this rank is among the greatest so far: ask before making one. Of equal ranks the earlier is kept. */
  takes(rank: number): boolean {
    return this.#heap.length < this.max || rank > this.#heap[0].rank;
  }

  /** Keeps an item whose rank it takes, in the place of the least if there are `max` already. */
  add(rank: number, item: T): void {
    const heap = this.#heap;
    if (heap.length < this.max) this.#rise(heap.push({ rank, item }) - 1);
    else {
      heap[0] = { rank, item };
      this.#sink();
    }
  }

  /** The kept items, the greatest first. */
  sorted(): T[] {
    return this.#heap.toSorted((a, b) => b.rank - a.rank).map(({ item }) => item);
  }

  #rise(at: number): void {
    const heap = this.#heap;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent].rank <= heap[at].rank) return;
      [heap[parent], heap[at]] = [heap[at], heap[parent]];
      at = parent;
    }
  }

  #sink(): void {
    const heap = this.#heap;
    for (let at = 0;;) {
      let least = 2 * at + 1;
      if (least >= heap.length) return;
      if (least + 1 < heap.length && heap[least + 1].rank < heap[least].rank) least++;
      if (heap[at].rank <= heap[least].rank) return;
      [heap[at], heap[least]] = [heap[least], heap[at]];
      at = least;
    }
  }
}
