/** The slots of servers: numbers by which engines, counters and availabilities know them. All services share them. */

import { assert } from "../values/errors.ts";

/** Slots from 0 to `count` - 1, and who has them. */
export class Slots<Owner> {
  readonly #free: number[] = [];
  readonly #owners: (Owner | undefined)[] = [];

  constructor(readonly count: number) {}

  /** How many are taken. */
  get taken(): number {
    return this.#owners.length - this.#free.length;
  }

  /** A slot for this owner. Slots are reused as late as possible: a client that is still trying servers identifies them by slot. */
  take(owner: Owner): number {
    const slot = this.#owners.length < this.count ? this.#owners.length : this.#free.shift();
    assert(slot !== undefined, "there is a slot for every server");
    this.#owners[slot] = owner;
    return slot;
  }

  /** Frees a slot. */
  give(slot: number): void {
    this.#owners[slot] = undefined;
    this.#free.push(slot);
  }

  /** Who has this slot; undefined: nobody. */
  ownerOf(slot: number): Owner | undefined {
    return this.#owners[slot];
  }
}
