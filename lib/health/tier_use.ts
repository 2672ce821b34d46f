/**
 * Which tiers of a service are in use: counts the usable servers of each tier, chooses by `routing/tiers.ts`, and publishes the
 * choice beside the availabilities, with the weight of all servers that get no clients. Knows no server's state, only whether it is
 * usable.
 */

import type { AvailabilityTable } from "../routing/availability.ts";
import { packTiers, type TierRange, type TierRules, tiersInUse } from "../routing/tiers.ts";
import { LIMITS } from "../values/config.ts";

/** A server of the table, as what it counts in its tier. Usable: it may get new clients; it is up, or ramping up. */
export interface CountedServer {
  readonly tier: number;
  readonly weight: number;
  readonly isUsable: boolean;
}

interface TierUseOptions {
  /** Read at each choice. */
  readonly rules: () => TierRules;
  readonly availabilities: AvailabilityTable;
  /** The index of the service. */
  readonly service: number;
  /** Called with the tiers in use and the usable servers of each tier, when other tiers are in use than before. */
  readonly onChange?: (range: TierRange, usable: readonly number[]) => void;
}

/** The tiers of one service. */
export class TierUse {
  readonly #options: TierUseOptions;
  /** By tier. */
  readonly #usable = new Array<number>(LIMITS.tierMax + 1).fill(0);
  readonly #usableWeights = new Array<number>(LIMITS.tierMax + 1).fill(0);
  #weightTotal = 0;
  #range: TierRange = { low: 0, high: 0 };

  constructor(options: TierUseOptions) {
    this.#options = options;
  }

  /** The tiers in use. */
  get range(): TierRange {
    return this.#range;
  }

  /** The usable servers of all tiers. */
  get usableCount(): number {
    return this.#usable.reduce((sum, count) => sum + count, 0);
  }

  /** Chooses by rules that may have changed. */
  chooseAgain(): void {
    this.#choose(this.#range);
  }

  /** A server counts differently than before; undefined: not at all. */
  replace(old: CountedServer | undefined, next: CountedServer | undefined): void {
    this.#add(old, -1);
    this.#add(next, 1);
    this.#choose(this.#range);
  }

  /** Chooses as if no tier had been in use. */
  chooseAnew(): void {
    this.#choose(undefined);
  }

  #add(server: CountedServer | undefined, sign: 1 | -1): void {
    if (server === undefined) return;
    this.#weightTotal += sign * server.weight;
    if (!server.isUsable) return;
    this.#usable[server.tier] += sign;
    this.#usableWeights[server.tier] += sign * server.weight;
  }

  #choose(previous: TierRange | undefined): void {
    const { rules, availabilities, service, onChange } = this.#options;
    const { low, high } = tiersInUse(this.#usable, rules(), previous);
    const usableWeight = this.#usableWeights.slice(low, high + 1).reduce((sum, weight) => sum + weight, 0);
    availabilities.setUnavailableWeight(service, this.#weightTotal - usableWeight);
    if (low === this.#range.low && high === this.#range.high) return;
    this.#range = { low, high };
    availabilities.setTiersInUse(service, packTiers(this.#range));
    onChange?.(this.#range, this.#usable);
  }
}
