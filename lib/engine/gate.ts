/**
 * The gate of an engine: whether a client may connect, by the operator's lists and limits for its service. Counts every client that
 * it lets in until it leaves. One per thread; what clients have is counted over all threads. Allocates nothing for a client. Reads
 * no clock and knows no socket. A service without lists and limits is open: the gate is not asked.
 */

import { ClientTable, UNTRACKED, type Window } from "../observe/client_table.ts";
import type { Counters } from "../observe/counters.ts";
import {
  type ClientAddress,
  type ClientLimits,
  type ClientLists,
  COUNT_KEY_WORDS,
  type CountRule,
  countRulesOf,
  haveSameKeys,
  isPermitted,
  NO_LISTS,
  recentArrivals,
  type Refusal,
  refusalBy,
  windowMsOf,
  writeCountKey,
} from "../routing/client_limits.ts";

/** What a service asks of its clients. */
interface Guard {
  readonly rules: readonly CountRule[];
  readonly windowMs: number;
  readonly lists: ClientLists;
  /** Whether refusals are only counted and told. */
  readonly isDryRun: boolean;
}

/** The settings of a service that its gate needs. */
export type GateConfig = ClientLimits & { readonly limitsDryRun: boolean };

/** The gate of all services, for one thread. */
export class Gate {
  /** By service; undefined: it is open. */
  readonly #guards: (Guard | undefined)[] = [];
  readonly #counters: Counters;
  readonly #table: ClientTable;
  readonly #key = new Int32Array(COUNT_KEY_WORDS);
  readonly #window: Window = { nowMs: 0, number: 0, lengthMs: 1 };
  /** The rules by which the last client was counted, as bits. The engine keeps them for `leave`. */
  counted = 0;

  /** `clients` is the memory in which clients are counted. */
  constructor(counters: Counters, clients: SharedArrayBuffer) {
    this.#counters = counters;
    this.#table = new ClientTable(clients);
  }

  /** Whether clients of this service are let in without being asked or counted. */
  isOpen(service: number): boolean {
    return this.#guards[service] === undefined;
  }

  /** Whether refusals of this service's clients are only counted and told. */
  isDryRun(service: number): boolean {
    return this.#guards[service]?.isDryRun === true;
  }

  /**
   * Whether clients of this service are counted under the same keys with these limits. If not, whoever is counted must leave before
   * `set`, and be counted again afterwards.
   */
  keepsKeys(service: number, config: GateConfig | undefined): boolean {
    return haveSameKeys(this.#guards[service]?.rules ?? [], config === undefined ? [] : countRulesOf(config));
  }

  /** Lets the clients of a service in by these limits and lists from now on; without lists, everybody. */
  set(service: number, config: GateConfig | undefined, lists: ClientLists | undefined): void {
    const rules = config === undefined ? [] : countRulesOf(config);
    const isOpen = config === undefined || (rules.length === 0 && lists === undefined);
    if (isOpen && this.#guards[service] === undefined) return;
    this.#guards[service] = isOpen
      ? undefined
      : { rules, windowMs: windowMsOf(config), lists: lists ?? NO_LISTS, isDryRun: config.limitsDryRun };
    let longestMs = 0;
    for (const guard of this.#guards) longestMs = Math.max(longestMs, guard?.windowMs ?? 0);
    this.#table.idleMs = 2 * longestMs;
  }

  /**
   * Why this client of a service that is not open must be refused; undefined: it is let in. It is then counted, by the rules in
   * `counted`. In a dry run it is counted in any case.
   */
  enter(service: number, client: ClientAddress, nowMs: number): Refusal | undefined {
    this.counted = 0;
    const guard = this.#guards[service]!;
    const denied = isPermitted(guard.lists, client) ? undefined : "denied";
    if (denied !== undefined && !guard.isDryRun) return denied;
    const limited = this.#count(service, guard, client, nowMs);
    const refusal = denied ?? limited;
    if (refusal !== undefined && guard.isDryRun) this.#counters.add("wouldBeRefused");
    return refusal;
  }

  /** Counts a client whose connection is open already, by the rules in `counted`: limits have been set. It is no arrival. */
  count(service: number, client: ClientAddress, nowMs: number): void {
    this.counted = 0;
    const { rules } = this.#guards[service]!;
    for (let rule = 0; rule < rules.length; rule++) {
      if (this.#table.acquire(this.#keyOf(service, rules, rule, client), nowMs) !== UNTRACKED) this.counted |= 1 << rule;
    }
  }

  /** A client that was counted by these rules has left, after so many bytes. */
  leave(service: number, client: ClientAddress, counted: number, sentBytes: number, receivedBytes: number): void {
    const rules = this.#guards[service]?.rules ?? [];
    for (let rule = 0; rule < rules.length; rule++) {
      if ((counted & 1 << rule) === 0) continue;
      const entry = this.#table.find(this.#keyOf(service, rules, rule, client));
      if (entry === UNTRACKED) continue; // it was a dead worker's, which was about to count it by other rules
      this.#table.addBytes(entry, sentBytes, receivedBytes);
      this.#table.release(entry);
    }
  }

  #count(service: number, { rules, windowMs, isDryRun }: Guard, client: ClientAddress, nowMs: number): Refusal | undefined {
    const table = this.#table;
    const window = this.#window;
    window.nowMs = nowMs;
    window.lengthMs = windowMs;
    window.number = Math.floor(nowMs / windowMs);
    let refusal: Refusal | undefined;
    for (let rule = 0; rule < rules.length; rule++) {
      const entry = table.acquire(this.#keyOf(service, rules, rule, client), nowMs);
      if (entry === UNTRACKED) {
        this.#counters.add("untrackedClients");
        continue;
      }
      const verdict = this.#judge(rules[rule], entry, window);
      this.counted |= 1 << rule;
      if (verdict === undefined) continue;
      table.refuse(entry, window);
      refusal ??= verdict;
      if (isDryRun) continue;
      table.release(entry);
      this.counted &= ~(1 << rule);
      this.#takeBack(service, rules, client, window);
      return refusal;
    }
    return refusal;
  }

  /**
   * Counts an arrival for a client that is counted already, and judges both. A refused one is no arrival, so that others may come.
   */
  #judge(limits: CountRule, entry: number, window: Window): Refusal | undefined {
    const table = this.#table;
    const open = table.open;
    const refusal = refusalBy(limits, open, 0);
    if (refusal !== undefined) return refusal;
    const share = window.nowMs / window.lengthMs - window.number;
    const arrivals = recentArrivals(table.arrive(entry, window), table.arrivalsBefore(entry, window), share);
    const verdict = refusalBy(limits, open, arrivals);
    if (verdict !== undefined) table.withdraw(entry, window);
    return verdict;
  }

  /** A later rule has refused the client: takes back what the others have counted. */
  #takeBack(service: number, rules: readonly CountRule[], client: ClientAddress, window: Window): void {
    for (let rule = 0; rule < rules.length; rule++) {
      if ((this.counted & 1 << rule) === 0) continue;
      const entry = this.#table.find(this.#keyOf(service, rules, rule, client));
      this.#table.withdraw(entry, window);
      this.#table.release(entry);
    }
    this.counted = 0;
  }

  /** The key by which a rule counts this client, valid until the next call. */
  #keyOf(service: number, rules: readonly CountRule[], rule: number, client: ClientAddress): Int32Array {
    writeCountKey(service, rules, rule, client, this.#key);
    return this.#key;
  }
}
