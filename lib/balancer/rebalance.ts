/**
 * Brings connections home after a server has joined or come back: finds those that are not with the server the ring gives their
 * clients to, and sends them there at a steady rate. Asks an engine; moves nothing itself.
 */

import type { Engine } from "../engine/engine.ts";
import { OperatorError } from "../values/errors.ts";
import { logger } from "../observe/log.ts";
import { decide, type RedistributionPolicy } from "../routing/redistribution.ts";

/** How bringing connections home goes. */
export interface Rebalance {
  readonly running: boolean;
  /** Connections that were not with the server the ring gives them to, and could go there. */
  readonly away: number;
  /** Those that could not: they were in the middle of something. */
  readonly busy: number;
  readonly moved: number;
  /** Connections a second. */
  readonly rate: number;
}

/** What it is made with. */
export interface RebalancerOptions {
  readonly policy: RedistributionPolicy;
  readonly engine: Pick<Engine, "connections" | "sendToOwner">;
  /** The slot of the server that the ring gives this client to just now; undefined if there is none. */
  readonly ownerOf: (ip: Uint8Array, port: number) => number | undefined;
}

/** How often connections are sent home. */
const TICK_MS = 100;

const log = logger("pool");

/** One rebalance after another. Dispose of it to end the one that goes on. */
export class Rebalancer implements Disposable {
  readonly #options: RebalancerOptions;
  #state: Rebalance = { running: false, away: 0, busy: 0, moved: 0, rate: 0 };
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: RebalancerOptions) {
    this.#options = options;
  }

  /** How the last one goes, or went. */
  get state(): Rebalance {
    return this.#state;
  }

  /** A connection has gone home. */
  countMove(): void {
    this.#state = { ...this.#state, moved: this.#state.moved + 1 };
  }

  /**
   * Sends connections that are between two exchanges home, `rate` of them a second. Throws `conflict` if the level of redistribution does
   * not allow it, or one goes on.
   */
  start(rate: number): Rebalance {
    const { policy, engine } = this.#options;
    if (policy.redistribute !== "idle") {
      const why = `only level idle lets open connections go, and --redistribute is ${policy.redistribute}`;
      throw new OperatorError("conflict", `Cannot rebalance: ${why}; restart the balancer with --redistribute idle`);
    }
    if (this.#state.running) throw new OperatorError("conflict", "Cannot rebalance: a rebalance is going on; stop it first");
    const { ids, busy } = this.#findAway();
    this.#state = { running: ids.length > 0, away: ids.length, busy, moved: 0, rate };
    log.info("Rebalancing: {away} connections go home, {rate} a second; {busy} are in the middle of something", { ...this.#state });
    let due = 0;
    let sent = 0;
    const send = () => {
      due += rate * TICK_MS / 1000;
      for (; sent < Math.min(due, ids.length); sent++) engine.sendToOwner(ids[sent]);
      if (sent === ids.length && due > ids.length + rate) this.stop(); // a second more for the last to arrive
    };
    if (ids.length > 0) this.#timer = setInterval(send, TICK_MS);
    return this.#state;
  }

  /** Sends nobody home any more. */
  stop(): Rebalance {
    clearInterval(this.#timer);
    if (this.#state.running) log.info("Rebalanced: {moved} of {away} connections went home", { ...this.#state });
    return this.#state = { ...this.#state, running: false };
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  /** Connections that could go home, by their ids, and the number of those that are away and cannot. */
  #findAway(): { ids: number[]; busy: number } {
    const { engine, ownerOf, policy } = this.#options;
    const ids: number[] = [];
    let busy = 0;
    for (const { id, slot, facts, quietForMs, replays, ip, port } of engine.connections()) {
      const home = slot < 0 ? undefined : ownerOf(ip, port);
      if (home === undefined || home === slot) continue;
      if (decide(policy, "rebalance", facts, quietForMs, replays) === "move") ids.push(id);
      else busy++;
    }
    return { ids, busy };
  }
}
