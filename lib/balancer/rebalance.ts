/**
 * Rebalances after a server was added or has recovered: finds connections that are not with their owner, the server that the ring
 * assigns to the client (with other policies: that have a better place, as `routing/home.ts` says), and has the engine move them
 * there at a steady rate.
 */

import { clientKey } from "../values/address.ts";
import { isAway } from "../routing/home.ts";
import { type HomingService, placesOf } from "./homing.ts";
import type { Engine } from "../engine/engine.ts";
import { OperatorError } from "../values/errors.ts";
import { logger } from "../observe/log.ts";
import { decide, type RedistributionPolicy } from "../routing/redistribution.ts";

/** The progress of a rebalance. */
interface Rebalance {
  readonly running: boolean;
  /** Connections that were not with their owner and could move there. */
  readonly away: number;
  /** Connections that were not with their owner and could not move, in the middle of an exchange. */
  readonly busy: number;
  readonly moved: number;
  /** Connections per second. */
  readonly rate: number;
}

interface RebalancerOptions {
  readonly policy: RedistributionPolicy;
  readonly engine: Pick<Engine, "connections" | "sendToOwner">;
  /** The service whose connections are moved, at this moment. */
  readonly service: () => HomingService;
  /** Called when a rebalance is over, or was stopped. */
  readonly onEnd?: (rebalance: Rebalance) => void;
  /** Called when a rebalance starts, before it looks for connections: new clients return to the lowest tier, too. */
  readonly onStart: () => void;
}

/** How often a batch of connections is moved. */
const TICK_MS = 100;

const log = logger("pool");

/** Runs one rebalance at a time. Disposing of it stops the current one. */
export class Rebalancer implements Disposable {
  readonly #options: RebalancerOptions;
  #state: Rebalance = { running: false, away: 0, busy: 0, moved: 0, rate: 0 };
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: RebalancerOptions) {
    this.#options = options;
  }

  /** The progress of the current or last rebalance. */
  get state(): Rebalance {
    return this.#state;
  }

  /** Counts a connection that has moved to its owner, while a rebalance is running: others go home by themselves. */
  countMove(): void {
    if (this.#state.running) this.#state = { ...this.#state, moved: this.#state.moved + 1 };
  }

  /**
   * Starts moving connections that are between two exchanges to their owners, `rate` per second. Throws `conflict` if the level of
   * redistribution does not allow it or a rebalance is running.
   */
  start(rate: number): Rebalance {
    const { policy, engine } = this.#options;
    if (policy.redistribute !== "idle") {
      const why = `open connections move only at level idle, and --redistribute is ${policy.redistribute}`;
      throw new OperatorError(
        "conflict",
        `Cannot rebalance: ${why}; change it with balancerctl service set NAME --redistribute idle`,
      );
    }
    if (this.#state.running) throw new OperatorError("conflict", "Cannot rebalance: a rebalance is already running; stop it first");
    this.#options.onStart();
    const { ids, busy } = this.#findAway();
    this.#state = { running: ids.length > 0, away: ids.length, busy, moved: 0, rate };
    log.info("Rebalancing: moving {away} connections to their owners, {rate} per second; {busy} more are busy", { ...this.#state });
    let due = 0;
    let sent = 0;
    const send = () => {
      due += rate * TICK_MS / 1000;
      for (; sent < Math.min(due, ids.length); sent++) engine.sendToOwner(ids[sent]);
      if (sent === ids.length && due > ids.length + rate) this.stop(); // one more second for the last connections to arrive
    };
    if (ids.length > 0) this.#timer = setInterval(send, TICK_MS);
    return this.#state;
  }

  /** Stops the rebalance. */
  stop(): Rebalance {
    clearInterval(this.#timer);
    const { running: wasRunning } = this.#state;
    this.#state = { ...this.#state, running: false };
    if (wasRunning) {
      log.info("Rebalanced: {moved} of {away} connections moved to their owners", { ...this.#state });
      this.#options.onEnd?.(this.#state);
    }
    return this.#state;
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  /** The ids of connections that can move to their owner, and the number of those that cannot. */
  #findAway(): { ids: number[]; busy: number } {
    const { engine, policy, service } = this.#options;
    const { table, load } = service();
    const places = placesOf([service()]);
    const ids: number[] = [];
    let busy = 0;
    for (const { id, slot, facts, quietForMs, replays, ip, port } of engine.connections()) {
      const place = places.get(slot);
      if (place === undefined || !isAway(table, load, clientKey(table.key, ip, port), place.index)) continue;
      if (decide(policy, "rebalance", facts, quietForMs, replays) === "move") ids.push(id);
      else busy++;
    }
    return { ids, busy };
  }
}
