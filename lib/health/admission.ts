/**
 * Which servers may get clients: combines health, the operator's commands (drain, remove) and slow start into the availability that
 * routing reads. Knows no connection and no engine.
 */

import type { Config } from "../values/config.ts";
import { assert } from "../values/errors.ts";
import type { CheckResult } from "./check.ts";
import { type CheckFailure, Health, type HealthClock, type ServerHealth, SYSTEM_CLOCK } from "./health.ts";
import type { TableServer } from "../routing/routing_table.ts";
import { AVAILABILITY, type AvailabilityTable, type ServerState } from "../routing/availability.ts";

/** The state of a server, when it began, and the reason as a clause; the reason is null while the server is up. */
export interface ServerCondition {
  readonly state: ServerState;
  readonly since: Date;
  readonly reason: string | null;
}

interface AdmissionOptions {
  readonly config: Pick<Config, "check" | "checkIntervalMs" | "checkTimeoutMs" | "rise" | "fall" | "restMs" | "slowStartMs">;
  readonly availabilities: AvailabilityTable;
  /** Limit on concurrent checks. */
  readonly checksMax: number;
  readonly clock?: HealthClock;
  /** The number of connections of clients that a server has accepted. */
  readonly connectsOf: (slot: number) => number;
  /** Called when health has changed the state of a server. It must not change anything here. */
  readonly onChange: (server: string, condition: ServerCondition) => void;
  /** Called for every check that has a result. */
  readonly onChecked?: (slot: number, result: CheckResult) => void;
  /** Called for each check without an answer, from the `fall`-th failure in a row on. */
  readonly onSilent: (slot: number, failure: CheckFailure) => void;
}

/** A server that the operator has taken out: it is draining and stays in the table, or is being removed and has left it. */
interface TakenOut extends ServerCondition {
  readonly state: "draining" | "removing";
  /** Whether the drain time has ended. */
  isExpired: boolean;
}

interface Admitted {
  server: TableServer;
  takenOut: TakenOut | undefined;
  /** When its ramp (slow start) began; undefined while it is not ramping. */
  rampStartMs: number | undefined;
  /** Its part of the total weight of servers that get no clients: its weight or 0. */
  unavailableWeight: number;
}

/** A ramp has this many steps, but no step is shorter than the minimum. */
const SLOW_START_STEPS = 100;
const SLOW_START_STEP_MIN_MS = 20;

/** The admission of one balancer. Disposing of it ends all checks and ramps; `conditionOf` still works. */
export class Admission implements Disposable {
  readonly #options: AdmissionOptions;
  readonly #health: Health;
  /** By slot. */
  readonly #servers = new Map<number, Admitted>();
  readonly #clock: HealthClock;
  #rampTimer: ReturnType<typeof setInterval> | undefined;
  #isDisposed = false;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#health = new Health({
      config: { ...options.config, checksMax: options.checksMax },
      clock: this.#clock,
      connectsOf: options.connectsOf,
      onChecked: options.onChecked,
      onChange: (slot, health) => this.#onHealth(slot, health),
      onCheckFailed: (slot, failure) => this.#onCheckFailed(slot, failure),
    });
  }

  /** The interval between two checks of a server; longer than configured where there are too many servers. */
  get checkIntervalMs(): number {
    return this.#health.checkIntervalMs;
  }

  /** Admits a server that has entered the table. */
  enter(server: TableServer, { draining = false } = {}): void {
    if (this.#servers.has(server.slot)) this.forget(server.slot);
    this.#servers.set(server.slot, { server, takenOut: undefined, rampStartMs: undefined, unavailableWeight: 0 });
    this.#health.watch(server.slot, server.address);
    if (draining) this.drain(server.slot);
    else this.#write(server.slot);
  }

  /** Takes over changed settings of a server. */
  change(server: TableServer): void {
    this.#of(server.slot).server = server;
    this.#write(server.slot);
  }

  /** Whether the operator has taken the server out: it is draining or being removed. */
  isDraining(slot: number): boolean {
    return this.#of(slot).takenOut !== undefined;
  }

  /** Stops new clients for a server that stays in the table. */
  drain(slot: number): void {
    this.#takeOut(slot, "draining", "balancerctl drain");
  }

  /** Lets the server get clients again, with a ramp if --slow-start is set. */
  undrain(slot: number): void {
    const admitted = this.#of(slot);
    admitted.takenOut = undefined;
    this.#bringBack(admitted);
  }

  /** Stops new clients and checks for a server that has left the table. */
  remove(slot: number): void {
    this.#takeOut(slot, "removing", "balancerctl remove");
    this.#health.forget(slot);
  }

  /** Ends the drain time of a server that is being removed. */
  expire(slot: number): void {
    const { takenOut } = this.#of(slot);
    assert(takenOut?.state === "removing", "the server is not being removed");
    takenOut.isExpired = true;
    this.#write(slot);
  }

  /** Forgets a server without connections; its slot is free. */
  forget(slot: number): void {
    this.#countUnavailable(this.#of(slot), 0);
    this.#health.forget(slot);
    this.#servers.delete(slot);
    this.#options.availabilities.set(slot, AVAILABILITY.full);
  }

  /** Reports that a client's connection to the server failed. */
  trafficFailed(slot: number, reason: string): void {
    this.#health.trafficFailed(slot, reason);
  }

  /** The state of a server, when it began and why. */
  conditionOf(slot: number): ServerCondition {
    const { takenOut } = this.#of(slot);
    if (takenOut === undefined) return this.#health.stateOf(slot);
    return { state: takenOut.state, since: takenOut.since, reason: takenOut.reason };
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    clearInterval(this.#rampTimer);
    this.#health[Symbol.dispose]();
  }

  #of(slot: number): Admitted {
    const admitted = this.#servers.get(slot);
    assert(admitted !== undefined, "no server has this slot");
    return admitted;
  }

  #takeOut(slot: number, state: TakenOut["state"], reason: string): void {
    const admitted = this.#of(slot);
    admitted.takenOut = { state, since: this.#clock.date(), reason, isExpired: false };
    admitted.rampStartMs = undefined;
    this.#write(slot);
  }

  #onHealth(slot: number, { state, since, reason }: ServerHealth): void {
    const admitted = this.#of(slot);
    if (state === "up") this.#bringBack(admitted);
    else admitted.rampStartMs = undefined;
    this.#write(slot);
    this.#options.onChange(admitted.server.name, { state, since, reason });
  }

  #onCheckFailed(slot: number, failure: CheckFailure): void {
    if (failure.isGone) this.#options.onSilent(slot, failure);
  }

  /** Gives a server its clients back: at once, or with a ramp if --slow-start is set. */
  #bringBack(admitted: Admitted): void {
    const { slowStartMs } = this.#options.config;
    admitted.rampStartMs = slowStartMs > 0 ? this.#clock.nowMs() : undefined;
    this.#write(admitted.server.slot);
    const stepMs = Math.max(SLOW_START_STEP_MIN_MS, slowStartMs / SLOW_START_STEPS);
    if (slowStartMs > 0 && !this.#isDisposed) this.#rampTimer ??= setInterval(() => this.#step(), stepMs);
  }

  /** One step of every ramp. */
  #step(): void {
    let isAnyLeft = false;
    for (const [slot, admitted] of this.#servers) {
      if (admitted.rampStartMs === undefined) continue;
      if (this.#clock.nowMs() - admitted.rampStartMs >= this.#options.config.slowStartMs) admitted.rampStartMs = undefined;
      else isAnyLeft = true;
      this.#write(slot);
    }
    if (isAnyLeft) return;
    clearInterval(this.#rampTimer);
    this.#rampTimer = undefined;
  }

  #write(slot: number): void {
    const admitted = this.#of(slot);
    const availability = this.#availabilityOf(admitted);
    this.#options.availabilities.set(slot, availability);
    this.#countUnavailable(admitted, availability < 0 && admitted.takenOut?.state !== "removing" ? admitted.server.weight : 0);
  }

  #countUnavailable(admitted: Admitted, weight: number): void {
    this.#options.availabilities.unavailableWeight += weight - admitted.unavailableWeight;
    admitted.unavailableWeight = weight;
  }

  #availabilityOf({ server, takenOut, rampStartMs }: Admitted): number {
    if (takenOut !== undefined) return takenOut.isExpired ? AVAILABILITY.expired : AVAILABILITY.draining;
    if (this.#health.stateOf(server.slot).state !== "up") return AVAILABILITY.fallback;
    if (rampStartMs === undefined) return AVAILABILITY.full;
    const part = (this.#clock.nowMs() - rampStartMs) / this.#options.config.slowStartMs;
    return Math.round(AVAILABILITY.none * Math.max(0, 1 - part));
  }
}
