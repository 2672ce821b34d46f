/**
 * Clients that connect, ask once, have the answer and leave, over and over again: what a balancer that is being replaced does to
 * those who come just then.
 */

import type { Address } from "../../lib/values/address.ts";
import { pause } from "./bounds.ts";
import { Client, type Manner } from "./client.ts";
import { Random } from "../random.ts";

/** What became of visits. */
export interface Visits {
  /** They had the right answer. */
  readonly served: number;
  /** They were refused, or had no whole and right answer. */
  readonly turnedAway: number;
}

/** Who comes. */
export interface NewcomersOptions {
  readonly count: number;
  /** The number of the first of them, and so its address: unlike that of any other client. */
  readonly firstId: number;
  readonly balancer: Address;
  readonly manner: Manner;
  readonly seed: number;
  readonly signal: AbortSignal;
}

/** Between two visits of a newcomer. */
const AWAY_MS = [0, 20] as const;

/** All newcomers of a run. Disposing of them ends whatever they do. */
export class Newcomers implements Disposable {
  readonly #clients: readonly Client[];
  readonly #signal: AbortSignal;
  readonly #close = () => {
    this.#isOver = true;
    for (const client of this.#clients) client.close(); // whoever waits for a client need not go on
  };
  #coming: Promise<unknown> = Promise.resolve();
  #isOver = true;
  #served = 0;
  #turnedAway = 0;

  constructor({ count, firstId, balancer, manner, seed, signal }: NewcomersOptions) {
    const listener = { onAnswer() {}, onEnd() {} };
    const ids = Array.from({ length: count }, (_, i) => firstId + i);
    this.#clients = ids.map((id) => new Client(id, balancer, manner, new Random(seed + id), listener));
    this.#signal = signal;
    signal.addEventListener("abort", this.#close);
  }

  /** So many of them come and go from now on. */
  begin(count: number): void {
    this.#isOver = false;
    this.#served = this.#turnedAway = 0;
    this.#coming = Promise.allSettled(this.#clients.slice(0, count).map((client) => this.#comeAndGo(client)));
  }

  /** They finish the visits that they have begun, and come no more. */
  async end(): Promise<Visits> {
    this.#isOver = true;
    await this.#coming;
    this.#signal.throwIfAborted();
    return { served: this.#served, turnedAway: this.#turnedAway };
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#close);
    this.#close();
  }

  async #comeAndGo(client: Client): Promise<void> {
    while (!this.#isOver) {
      const isServed = await client.open().then(() => true, () => false);
      client.close();
      if (isServed) this.#served++;
      else this.#turnedAway++;
      await pause(client.random.between(AWAY_MS), this.#signal);
    }
  }
}
