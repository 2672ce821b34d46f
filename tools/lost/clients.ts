/** All clients of a run: they are opened, some of them anew for every round, and watched while a server is lost. */

import type { Address } from "../../lib/values/address.ts";
import { pause, within } from "./bounds.ts";
import { Client, type Ending, type Manner, type State } from "./client.ts";
import { Random } from "../random.ts";

/** What a loss was to a client. */
export const OUTCOMES = {
  kept: "its server went on answering",
  moved: "another server answered on the same connection",
  reset: "its connection was reset",
  ended: "its connection ended",
  wrong: "what came was not the answer to what it had asked",
  missing: "no answer came",
} as const;

/** A row of OUTCOMES. */
export type Outcome = keyof typeof OUTCOMES;

/** One client while a server is lost. */
export interface Sighting {
  /** The server that it had, as far as it can know. */
  readonly server: string;
  state: State;
  outcome?: Outcome;
  /** From its request, or the loss if that was later, to the answer that told what had become of it. */
  waitedMs?: number;
}

/** Tries at connecting, and the time between them. While a server is away the balancer may have none for a client. */
const TRIES_MAX = 40;
/** See TRIES_MAX. */
const RETRY_MS = 50;
/** Connections that are opened at a time: fewer than any listener's queue. */
const OPENING_MAX = 100;
/** What a wait may take beyond what its clients may. */
const SLACK_MS = 5000;

/** The clients. Disposing of them ends their connections. */
export class Clients implements Disposable {
  readonly list: readonly Client[];
  readonly #close = () => this.list.forEach((client) => client.close());
  #watch?: Watch;
  #strays = 0;

  constructor(count: number, balancer: Address, readonly manner: Manner, seed: number, readonly signal: AbortSignal) {
    const listener = {
      onAnswer: (client: Client, server: string, sentAtMs: number) => this.#watch?.onAnswer(client, server, sentAtMs),
      onEnd: (client: Client, ending: Ending, state: State) => {
        if (!this.#watch?.onEnd(client, ending, state)) this.#strays++;
      },
    };
    this.list = Array.from({ length: count }, (_, id) => new Client(id, balancer, manner, new Random(seed + id), listener));
    signal.addEventListener("abort", this.#close); // whoever waits for a client need not go on
  }

  /** Connections that ended by no wish of the client's while no server was lost, since this was asked last. */
  takeStrays(): number {
    const strays = this.#strays;
    this.#strays = 0;
    return strays;
  }

  /** Connects everybody who has no connection; resolves with their number when each has had an answer. */
  async ready(): Promise<number> {
    const closed = this.list.filter((client) => !client.isOpen);
    await this.#openAll(closed, { holds: false });
    return closed.length;
  }

  /** Gives these clients new connections, on which they say nothing before there is a watch. */
  async renew(clients: readonly Client[]): Promise<void> {
    await this.#openAll(clients, { holds: true });
  }

  /** Looks at everybody now, and from now on at what becomes of them. */
  watch(): Watch {
    const watch = this.#watch = new Watch(this.list.filter((client) => client.isOpen));
    for (const client of this.list) client.speak();
    return watch;
  }

  /** Resolves when the watch knows everybody's outcome. */
  async settled(watch: Watch): Promise<void> {
    const { thinkMs: [, thinkMaxMs], patienceMs } = this.manner;
    await within(watch.settled, 2 * (thinkMaxMs + patienceMs) + SLACK_MS, "every client's outcome", this.signal);
    this.#watch = undefined;
  }

  /**
   * Connects these clients, one after another and over again, until that server answers one: it takes clients. Not each of those
   * that it had is its own: some were moved to it from another.
   */
  async untilServedBy(clients: readonly Client[], server: string, maxMs: number): Promise<void> {
    const deadlineMs = performance.now() + maxMs;
    for (let tries = 0;; tries++) {
      const client = clients[tries % clients.length];
      await client.open().catch(() => {});
      if (client.isOpen && client.server === server) return;
      this.signal.throwIfAborted();
      if (performance.now() > deadlineMs) throw new Error(`Server ${server} takes no clients ${maxMs} ms after it has come back`);
      await pause(RETRY_MS, this.signal);
    }
  }

  [Symbol.dispose](): void {
    this.signal.removeEventListener("abort", this.#close);
    this.#close();
  }

  async #openAll(clients: readonly Client[], how: { holds: boolean }): Promise<void> {
    const left = clients.values();
    const opener = async () => {
      for (const client of left) await this.#open(client, how);
    };
    await Promise.all(Array.from({ length: Math.min(OPENING_MAX, clients.length) }, opener));
  }

  async #open(client: Client, how: { holds: boolean }): Promise<void> {
    for (let tries = 1;; tries++) {
      this.signal.throwIfAborted();
      const isOpen = await client.open(how).then(() => true, () => false);
      if (isOpen) return;
      if (tries >= TRIES_MAX) throw new Error(`Client ${client.ip} was not served in ${TRIES_MAX} tries`);
      await pause(RETRY_MS, this.signal);
    }
  }
}

/** What becomes of everybody from a moment on. A client is settled by the first event that tells. */
export class Watch {
  readonly sightings: ReadonlyMap<Client, Sighting>;
  readonly #settled = Promise.withResolvers<void>();
  readonly #sinceMs = performance.now();
  #lostAtMs = Infinity;
  #open: number;

  constructor(clients: readonly Client[]) {
    this.sightings = new Map(clients.map((client) => [client, { server: client.server!, state: client.state }]));
    this.#open = this.sightings.size;
    if (this.#open === 0) this.#settled.resolve();
  }

  /** Resolves when everybody has an outcome. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** The loss is complete: whom the same server answers a request sent from now on, that one is kept. */
  completeLoss(): void {
    this.#lostAtMs = performance.now();
  }

  /** An answer of the same server tells nothing if it may have been under way when the server was lost. */
  onAnswer(client: Client, server: string, sentAtMs: number): void {
    const sighting = this.sightings.get(client);
    if (sighting === undefined) return;
    if (server !== sighting.server) this.#settle(sighting, "moved", sentAtMs);
    else if (sentAtMs >= this.#lostAtMs) this.#settle(sighting, "kept", sentAtMs);
  }

  /** False if it is another matter: the client's outcome is known already. */
  onEnd(client: Client, ending: Ending, state: State): boolean {
    const sighting = this.sightings.get(client);
    if (sighting === undefined || !this.#settle(sighting, ending)) return false;
    // Some of the answer was under way already when it was looked at, and came before the end; how long before is the machine's
    // doing.
    if (sighting.state === "waiting" && state !== "waiting") sighting.state = state === "partial" ? state : "answered";
    return true;
  }

  #settle(sighting: Sighting, outcome: Outcome, sentAtMs?: number): boolean {
    if (sighting.outcome !== undefined) return false;
    sighting.outcome = outcome;
    if (sentAtMs !== undefined) sighting.waitedMs = performance.now() - Math.max(sentAtMs, this.#sinceMs);
    if (--this.#open === 0) this.#settled.resolve();
    return true;
  }
}
