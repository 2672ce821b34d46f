/**
 * Who may get clients: brings together what health finds out, what the operator says (drain, remove) and how fast a server that comes
 * back may take its clients back, and writes it where routing reads it. Knows no connection and no engine.
 */

import type { Config } from "../values/config.ts";
import { assert } from "../values/errors.ts";
import { type CheckFailure, Health, type ServerHealth } from "./health.ts";
import type { TableServer } from "../routing/routing_table.ts";
import { AVAILABILITY, type AvailabilityTable, type ServerState } from "../routing/availability.ts";

/** A server's state, since when, and why, in a clause; null while it is up. */
export interface ServerCondition {
  readonly state: ServerState;
  readonly since: Date;
  readonly reason: string | null;
}

/** What it is made with. */
export interface AdmissionOptions {
  readonly config: Pick<Config, "check" | "checkIntervalMs" | "checkTimeoutMs" | "rise" | "fall" | "restMs" | "slowStartMs">;
  readonly availabilities: AvailabilityTable;
  /** Checks that may be under way at a time. */
  readonly checksMax: number;
  /** Connections of clients that a server has accepted. */
  readonly connectsOf: (slot: number) => number;
  /** Called when health has changed a server's state. It may not change anything here. */
  readonly onChange: (server: string, condition: ServerCondition) => void;
  /** Called when a server's checks get no answer; again for each further one. */
  readonly onSilent: (slot: number, failure: CheckFailure) => void;
}

/** How a server that the operator has taken out is left. */
interface Leaving {
  readonly since: Date;
  readonly reason: string;
  /** It is not in the table any more. */
  readonly isRemoved: boolean;
  isOver: boolean;
}

interface Admitted {
  server: TableServer;
  leaving: Leaving | undefined;
  /** When it began to take its clients back; undefined: it has all of them. */
  returnedMs: number | undefined;
  /** Its weight as far as it is counted among those that get no clients. */
  unavailableWeight: number;
}

/** A slow start goes on in so many steps, but in none that is shorter. */
const SLOW_START_STEPS = 100;
const SLOW_START_STEP_MIN_MS = 20;

/** The admission of one balancer. Dispose of it to end all checks; what is known can still be asked for. */
export class Admission implements Disposable {
  readonly #options: AdmissionOptions;
  readonly #health: Health;
  /** By slot. */
  readonly #servers = new Map<number, Admitted>();
  #ramp: ReturnType<typeof setInterval> | undefined;
  #isOver = false;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#health = new Health({
      config: { ...options.config, checksMax: options.checksMax },
      connectsOf: options.connectsOf,
      onChange: (slot, health) => this.#onHealth(slot, health),
      onCheckFailed: (slot, failure) => this.#onCheckFailed(slot, failure),
    });
  }

  /** How often each server is checked; more seldom than asked for where there are very many. */
  get checkIntervalMs(): number {
    return this.#health.checkIntervalMs;
  }

  /** A server is in the table from now on. */
  enter(server: TableServer, isDraining: boolean): void {
    if (this.#servers.has(server.slot)) this.forget(server.slot);
    this.#servers.set(server.slot, { server, leaving: undefined, returnedMs: undefined, unavailableWeight: 0 });
    this.#health.watch(server.slot, server.address);
    if (isDraining) this.drain(server.slot);
    else this.#write(server.slot);
  }

  /** A server's settings have changed. */
  change(server: TableServer): void {
    this.#of(server.slot).server = server;
    this.#write(server.slot);
  }

  /** Whether the operator has taken the server out for a while. */
  isDraining(slot: number): boolean {
    return this.#of(slot).leaving !== undefined;
  }

  /** No more clients for a server that stays in the table. */
  drain(slot: number): void {
    this.#leave(slot, "balancerctl drain", false);
  }

  /** The server gets clients again; those it had come back by and by if that is asked for. */
  undrain(slot: number): void {
    const admitted = this.#of(slot);
    admitted.leaving = undefined;
    this.#return(admitted);
  }

  /** The server has left the table, and its connections are to leave it. */
  remove(slot: number): void {
    this.#leave(slot, "it is being removed", true);
    this.#health.forget(slot);
  }

  /** There is no time left for the connections of a server that was removed. */
  end(slot: number): void {
    const { leaving } = this.#of(slot);
    assert(leaving?.isRemoved === true, "the server was not removed");
    leaving.isOver = true;
    this.#write(slot);
  }

  /** Nothing is left of the server: its slot may be another's. */
  forget(slot: number): void {
    this.#countUnavailable(this.#of(slot), 0);
    this.#health.forget(slot);
    this.#servers.delete(slot);
    this.#options.availabilities.set(slot, AVAILABILITY.full);
  }

  /** A client's connection to the server failed. */
  trafficFailed(slot: number, reason: string): void {
    this.#health.trafficFailed(slot, reason);
  }

  /** A server's state, since when and why. */
  conditionOf(slot: number): ServerCondition {
    const { leaving } = this.#of(slot);
    if (leaving !== undefined) return { state: "draining", since: leaving.since, reason: leaving.reason };
    return this.#health.stateOf(slot);
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    clearInterval(this.#ramp);
    this.#health[Symbol.dispose]();
  }

  #of(slot: number): Admitted {
    const admitted = this.#servers.get(slot);
    assert(admitted !== undefined, "no server has this slot");
    return admitted;
  }

  #leave(slot: number, reason: string, isRemoved: boolean): void {
    const admitted = this.#of(slot);
    admitted.leaving = { since: new Date(), reason, isRemoved, isOver: false };
    admitted.returnedMs = undefined;
    this.#write(slot);
  }

  #onHealth(slot: number, { state, since, reason }: ServerHealth): void {
    const admitted = this.#of(slot);
    if (state === "up") this.#return(admitted);
    else admitted.returnedMs = undefined;
    this.#write(slot);
    this.#options.onChange(admitted.server.name, { state, since, reason });
  }

  #onCheckFailed(slot: number, failure: CheckFailure): void {
    if (failure.isGone) this.#options.onSilent(slot, failure);
  }

  /** A server that was out gets its clients back. */
  #return(admitted: Admitted): void {
    const { slowStartMs } = this.#options.config;
    admitted.returnedMs = slowStartMs > 0 ? performance.now() : undefined;
    this.#write(admitted.server.slot);
    const stepMs = Math.max(SLOW_START_STEP_MIN_MS, slowStartMs / SLOW_START_STEPS);
    if (slowStartMs > 0 && !this.#isOver) this.#ramp ??= setInterval(() => this.#step(), stepMs);
  }

  /** Every server that comes back takes a little more. */
  #step(): void {
    let isAnyLeft = false;
    for (const [slot, admitted] of this.#servers) {
      if (admitted.returnedMs === undefined) continue;
      if (performance.now() - admitted.returnedMs >= this.#options.config.slowStartMs) admitted.returnedMs = undefined;
      else isAnyLeft = true;
      this.#write(slot);
    }
    if (isAnyLeft) return;
    clearInterval(this.#ramp);
    this.#ramp = undefined;
  }

  #write(slot: number): void {
    const admitted = this.#of(slot);
    const availability = this.#availabilityOf(admitted);
    this.#options.availabilities.set(slot, availability);
    this.#countUnavailable(admitted, availability < 0 && admitted.leaving?.isRemoved !== true ? admitted.server.weight : 0);
  }

  #countUnavailable(admitted: Admitted, weight: number): void {
    this.#options.availabilities.unavailableWeight += weight - admitted.unavailableWeight;
    admitted.unavailableWeight = weight;
  }

  #availabilityOf({ server, leaving, returnedMs }: Admitted): number {
    if (leaving !== undefined) return leaving.isOver ? AVAILABILITY.expired : AVAILABILITY.draining;
    if (this.#health.stateOf(server.slot).state !== "up") return AVAILABILITY.fallback;
    if (returnedMs === undefined) return AVAILABILITY.full;
    const part = (performance.now() - returnedMs) / this.#options.config.slowStartMs;
    return Math.round(AVAILABILITY.none * Math.max(0, 1 - part));
  }
}
