/**
 * Which servers may get clients: combines health, the operator's commands (drain, remove) and slow start into the availability that
 * routing reads. Knows no connection and no engine.
 */

import type { Config } from "../values/config.ts";
import { assert } from "../values/errors.ts";
import { type CheckFailure, Health, type KnownState, type ServerHealth, type Service } from "./health.ts";
import type { CheckBudget } from "./check_budget.ts";
import { type HealthClock, SYSTEM_CLOCK } from "./clock.ts";
import type { CheckOptions, CheckResult } from "./check.ts";
import type { ServerCheck } from "../values/check_spec.ts";
import type { TrafficFailure } from "../routing/early_loss.ts";
import type { TableServer } from "../routing/routing_table.ts";
import type { TierRange, TierRules } from "../routing/tiers.ts";
import { type CountedServer, TierUse } from "./tier_use.ts";
import { AVAILABILITY, type AvailabilityTable, type ServerState } from "../routing/availability.ts";

/** The state of a server, when it began, and the reason as a clause; the reason is null while the server is up. */
export interface ServerCondition {
  readonly state: ServerState;
  readonly since: Date;
  readonly reason: string | null;
}

/** The settings of a service that an admission uses. */
export type AdmissionConfig =
  & Pick<Config, "checkIntervalMs" | "checkTimeoutMs" | "rise" | "fall" | "restMs" | "restShare" | "slowStartMs">
  & TierRules;

interface AdmissionOptions {
  readonly config: AdmissionConfig;
  readonly availabilities: AvailabilityTable;
  /** The index of the service whose servers these are. */
  readonly service?: number;
  /** The checks of all services of the process. */
  readonly budget: CheckBudget;
  readonly clock?: HealthClock;
  /** What a server has done for clients so far. */
  readonly serviceOf: (slot: number) => Service;
  /** Whom HTTPS checks trust. */
  readonly trustOf?: CheckOptions["trustOf"];
  /** Called when checks or traffic have changed the state of a server. It must not change anything here. */
  readonly onChange: (server: TableServer, condition: ServerCondition) => void;
  /** Called for every check that has a result. */
  readonly onChecked?: (slot: number, result: CheckResult) => void;
  /** Called when other tiers are in use than before. It must not change anything here. */
  readonly onTiers?: (range: TierRange, usable: readonly number[]) => void;
  /** Called for each check without an answer, from the `fall`-th failure in a row on. */
  readonly onSilent: (slot: number, failure: CheckFailure) => void;
}

/** What a server's own check asks for. */
const ASKING = "its check asks for it";

/** What is known of a server from before a restart. */
export type KnownCondition = KnownState | { readonly state: "draining"; readonly since: Date };

/** How a server enters. */
interface EntryOptions {
  /** Whether the operator has drained it. */
  readonly draining?: boolean;
  readonly known?: KnownCondition;
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
  /** Since when its check has asked to drain it. */
  askingSince: Date | undefined;
  /** When its ramp (slow start) began; undefined while it is not ramping. */
  rampStartMs: number | undefined;
  /** As what it counts in its tier; undefined if it has left the table. */
  counted: CountedServer | undefined;
}

/** A ramp has this many steps, but no step is shorter than the minimum. */
const SLOW_START_STEPS = 100;
const SLOW_START_STEP_MIN_MS = 20;

/** The admission of one service. Disposing of it ends all checks and ramps; `conditionOf` still works. */
export class Admission implements Disposable {
  readonly #options: AdmissionOptions;
  #config: AdmissionConfig;
  readonly #health: Health;
  /** By slot. */
  readonly #servers = new Map<number, Admitted>();
  readonly #clock: HealthClock;
  readonly #tiers: TierUse;
  #rampTimer: ReturnType<typeof setInterval> | undefined;
  #isDisposed = false;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    const { availabilities, service = 0, onTiers: onChange } = options;
    this.#tiers = new TierUse({ rules: () => this.#config, availabilities, service, onChange });
    this.#health = new Health({
      config: options.config,
      clock: this.#clock,
      budget: options.budget,
      serviceOf: options.serviceOf,
      othersAvailable: (slot) => this.#tiers.usableCount - Number(this.#of(slot).counted?.isUsable ?? false),
      trustOf: options.trustOf,
      onChecked: options.onChecked,
      onChange: (slot, health) => this.#onHealth(slot, health),
      onCheckFailed: (slot, failure) => this.#onCheckFailed(slot, failure),
      onAnswer: (slot, asksToDrain) => this.#onAnswer(slot, asksToDrain),
    });
  }

  /** The tiers that new clients use. */
  get tiersInUse(): TierRange {
    return this.#tiers.range;
  }

  /**
   * Chooses the tiers anew, as if none had been in use: when all servers have entered, when the rules have changed, and when the
   * operator wants clients back in the lowest tier.
   */
  chooseTiers(): void {
    this.#tiers.chooseAnew();
  }

  /** The interval between two checks of a server; longer than configured where there are too many servers. */
  get checkIntervalMs(): number {
    return this.#health.checkIntervalMs;
  }

  /**
   * Takes over other settings of the service; for checks and rests see `Health.configure`. A ramp that is under way goes on as if
   * its length had been the new one from its beginning; without slow start it ends at once. The check of each server is changed by
   * `change`.
   */
  configure(config: AdmissionConfig): void {
    this.#config = config;
    this.#health.configure(config);
    this.#tiers.chooseAgain();
    if (this.#rampTimer === undefined) return;
    clearInterval(this.#rampTimer);
    this.#rampTimer = undefined;
    this.#startSteps();
    this.#step();
  }

  /** Admits a server that has entered the table. */
  enter(server: TableServer, check: ServerCheck, { draining = false, known }: EntryOptions = {}): void {
    if (this.#servers.has(server.slot)) this.forget(server.slot);
    const isEndless = check.question.kind === "off" && known?.state !== "resting"; // only a check could end it
    const meant = isEndless ? undefined : known;
    const askingSince = meant?.state === "draining" ? meant.since : undefined;
    this.#servers.set(server.slot, { server, takenOut: undefined, askingSince, rampStartMs: undefined, counted: undefined });
    this.#health.watch(server.slot, server.address, check, meant?.state === "draining" ? undefined : meant);
    if (draining) this.drain(server.slot);
    else this.#write(server.slot);
  }

  /**
   * Takes over changed settings of a server. With another check, a server that has asked to be drained stays so until it does not
   * ask by the new one; without checks it asks no more.
   */
  change(server: TableServer, check: ServerCheck): void {
    const admitted = this.#of(server.slot);
    admitted.server = server;
    if (check.question.kind === "off") admitted.askingSince = undefined;
    this.#health.change(server.slot, check);
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
    this.#count(this.#of(slot), undefined);
    this.#health.forget(slot);
    this.#servers.delete(slot);
    this.#options.availabilities.set(slot, AVAILABILITY.full);
  }

  /** Reports that a client's connection to the server failed. */
  trafficFailed(slot: number, reason: string, kind?: TrafficFailure): void {
    this.#health.trafficFailed(slot, reason, kind);
  }

  /** The state of a server, when it began and why. The operator's word comes before what checks and traffic say. */
  conditionOf(slot: number): ServerCondition {
    const { takenOut, askingSince } = this.#of(slot);
    if (takenOut !== undefined) {
      const reason = askingSince === undefined ? takenOut.reason : `${takenOut.reason}, and ${ASKING}`;
      return { state: takenOut.state, since: takenOut.since, reason };
    }
    const health = this.#health.stateOf(slot);
    if (health.state !== "up" || askingSince === undefined) return health;
    return askingCondition(askingSince);
  }

  /** When the server is checked next, see `Health.nextCheckOf`. */
  nextCheckOf(slot: number): Date | null {
    return this.#health.nextCheckOf(slot);
  }

  /** What is to be known of a server after a restart, apart from the operator's word; undefined if it is up. */
  knownOf(slot: number): KnownCondition | undefined {
    const { askingSince, takenOut } = this.#of(slot);
    if (takenOut?.state === "removing") return undefined;
    return this.#health.knownOf(slot) ?? (askingSince && { state: "draining", since: askingSince });
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    clearInterval(this.#rampTimer);
    this.#rampTimer = undefined;
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
    if (state === "down") admitted.askingSince = undefined; // what it asked for before it failed
    this.#write(slot);
    const { askingSince } = admitted;
    const isAsking = state === "up" && askingSince !== undefined;
    this.#options.onChange(admitted.server, isAsking ? askingCondition(askingSince) : { state, since, reason });
  }

  /**
   * The server asks to be drained, or has not done so for `rise` checks in a row. It is drained at the first wish, as by HAProxy
   * (`http-check disable-on-404`, agent checks): it may have few seconds to live. Its clients come back only after `rise` answers,
   * so that a server in two minds does not move them each time.
   */
  #onAnswer(slot: number, asksToDrain: boolean): void {
    const admitted = this.#of(slot);
    if (asksToDrain === (admitted.askingSince !== undefined)) return;
    admitted.askingSince = asksToDrain ? this.#clock.date() : undefined;
    if (asksToDrain) admitted.rampStartMs = undefined;
    this.#write(slot);
    if (admitted.takenOut !== undefined || this.#health.stateOf(slot).state !== "up") return;
    if (!asksToDrain) this.#bringBack(admitted);
    this.#options.onChange(admitted.server, this.conditionOf(slot));
  }

  #onCheckFailed(slot: number, failure: CheckFailure): void {
    if (failure.isGone) this.#options.onSilent(slot, failure);
  }

  /** Gives a server its clients back: at once, or with a ramp if --slow-start is set. */
  #bringBack(admitted: Admitted): void {
    const isRamping = this.#config.slowStartMs > 0;
    admitted.rampStartMs = isRamping ? this.#clock.nowMs() : undefined;
    this.#write(admitted.server.slot);
    if (isRamping && !this.#isDisposed) this.#startSteps();
  }

  #startSteps(): void {
    const stepMs = Math.max(SLOW_START_STEP_MIN_MS, this.#config.slowStartMs / SLOW_START_STEPS);
    this.#rampTimer ??= setInterval(() => this.#step(), stepMs);
  }

  /** One step of every ramp. */
  #step(): void {
    let isAnyLeft = false;
    for (const [slot, admitted] of this.#servers) {
      if (admitted.rampStartMs === undefined) continue;
      if (this.#clock.nowMs() - admitted.rampStartMs >= this.#config.slowStartMs) admitted.rampStartMs = undefined;
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
    const { tier = 0, weight } = admitted.server;
    this.#count(admitted, admitted.takenOut?.state === "removing" ? undefined : { tier, weight, isUsable: availability >= 0 });
  }

  #count(admitted: Admitted, counted: CountedServer | undefined): void {
    this.#tiers.replace(admitted.counted, counted);
    admitted.counted = counted;
  }

  #availabilityOf({ server, takenOut, askingSince, rampStartMs }: Admitted): number {
    if (takenOut !== undefined) return takenOut.isExpired ? AVAILABILITY.expired : AVAILABILITY.draining;
    if (this.#health.stateOf(server.slot).state !== "up") return AVAILABILITY.fallback;
    if (askingSince !== undefined) return AVAILABILITY.asking;
    if (rampStartMs === undefined) return AVAILABILITY.full;
    const part = (this.#clock.nowMs() - rampStartMs) / this.#config.slowStartMs;
    return Math.round(AVAILABILITY.none * Math.max(0, 1 - part));
  }
}

function askingCondition(since: Date): ServerCondition {
  return { state: "draining", since, reason: ASKING };
}
