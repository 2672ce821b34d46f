/** The servers of a service that are being removed: they have left the pool and still have connections. */

import type { Counters } from "../observe/counters.ts";
import { countFates, type Fate, FATE_NAMES } from "../values/fates.ts";
import { OperatorError } from "../values/errors.ts";
import type { PoolServer } from "./pool_server.ts";

/** The result of a removal: connections open at its start, and how many of them moved to other servers or were cut. */
export interface Removal {
  readonly server: string;
  readonly open: number;
  readonly moved: number;
  readonly ended: number;
}

/** A server that is being removed. */
export interface Removing {
  readonly server: PoolServer;
  readonly openBefore: number;
  readonly movedBefore: number;
  readonly fatesBefore: Readonly<Record<Fate, number>>;
  readonly gone: PromiseWithResolvers<Removal>;
  /** When the drain time ends, by performance.now(). */
  endsAtMs: number;
  /** Ends the drain time. */
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** Fates of connections that the balancer cut. */
const FORCED: readonly Fate[] = ["removed", "stopped"];

/** The removals of one service. Starts and ends them; what they mean for the engine is the caller's. */
export class Removals {
  readonly #byName = new Map<string, Removing>();
  readonly #held = new Map<string, Removing>();
  readonly #counters: Counters;

  constructor(counters: Counters) {
    this.#counters = counters;
  }

  get size(): number {
    return this.#byName.size;
  }

  /** The servers, in the order of their removal. */
  servers(): PoolServer[] {
    return [...this.#byName.values().map(({ server }) => server)];
  }

  /** All of them. */
  all(): Removing[] {
    return [...this.#byName.values()];
  }

  get(name: string): Removing | undefined {
    return this.#byName.get(name);
  }

  /** The removal of the server with this slot. */
  ofSlot(slot: number): Removing | undefined {
    return this.#byName.values().find(({ server }) => server.slot === slot);
  }

  begin(server: PoolServer): void {
    const removing: Removing = {
      server,
      openBefore: this.#counters.getOf(server.slot, "serverOpen"),
      movedBefore: this.#counters.getOf(server.slot, "movedAway"),
      fatesBefore: this.#fatesOf(server.slot),
      gone: Promise.withResolvers(),
      endsAtMs: performance.now(),
      timer: undefined,
    };
    removing.gone.promise.catch(() => {}); // whoever waits for it handles the rejection; there may be nobody
    this.#byName.set(server.name, removing);
  }

  /** Takes a removal out of the list while the server may be added again: its last connection must not end it meanwhile. */
  hold(name: string): Removing | undefined {
    const removing = this.#byName.get(name);
    if (removing !== undefined) this.#held.set(name, removing);
    this.#byName.delete(name);
    return removing;
  }

  /** The held removal goes on. */
  goOn(removing: Removing): void {
    this.#held.delete(removing.server.name);
    this.#byName.set(removing.server.name, removing);
  }

  /** The server is in the pool again: a held removal of it is over. */
  cancelHeld(name: string): void {
    const removing = this.#held.get(name);
    if (removing === undefined) return;
    this.#held.delete(name);
    clearTimeout(removing.timer);
    const sentence = `Removal of server ${JSON.stringify(name)} was cancelled: the server was added again`;
    removing.gone.reject(new OperatorError("conflict", sentence));
  }

  /** The last connection of the server has ended. Returns what became of all of them. */
  finish({ server, timer, gone, movedBefore, fatesBefore }: Removing): Removal {
    clearTimeout(timer);
    this.#byName.delete(server.name);
    const now = this.#fatesOf(server.slot);
    const met = (fates: readonly Fate[]) => fates.reduce((sum, fate) => sum + now[fate] - fatesBefore[fate], 0);
    const moved = this.#counters.getOf(server.slot, "movedAway") - movedBefore;
    const removal = { server: server.name, open: met(FATE_NAMES) + moved, moved, ended: met(FORCED) };
    gone.resolve(removal);
    return removal;
  }

  #fatesOf(slot: number): Record<Fate, number> {
    return countFates((fate) => this.#counters.getOf(slot, fate));
  }
}
