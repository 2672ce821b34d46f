/** Chance that can be had again: the same seed, the same choices. What happens between processes is chance of another kind. */

/** A stream of choices. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed, 0x9e3779b1) ^ 0x6d2b79f5) >>> 0 || 1; // neighbouring seeds begin far from each other
    for (let i = 0; i < 8; i++) this.#next();
  }

  /** A whole number from 0 up to, and without, `end`. */
  below(end: number): number {
    return Math.floor(this.#next() / 2 ** 32 * end);
  }

  /** A whole number from `low` to `high`. */
  between([low, high]: readonly [low: number, high: number]): number {
    return low + this.below(high - low + 1);
  }

  /** One of the list, which must not be empty. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }

  /** Those of the list whom a chance of so much meets. */
  some<T>(list: readonly T[], chance: number): T[] {
    return list.filter(() => this.#next() < chance * 2 ** 32);
  }

  /** The list in another order, each being as likely (Fisher and Yates). */
  shuffled<T>(list: readonly T[]): T[] {
    const order = [...list];
    for (let left = order.length; left > 1; left--) {
      const chosen = this.below(left);
      [order[left - 1], order[chosen]] = [order[chosen], order[left - 1]];
    }
    return order;
  }

  /** xorshift32 (Marsaglia, 2003). */
  #next(): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return this.#state = state >>> 0;
  }
}
