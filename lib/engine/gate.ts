/**
 * The gate of an engine: whether a client may connect, by the operator's lists and limits. Counts every client that it lets in
 * until it leaves. One per thread; what clients have is counted over all threads. Allocates nothing for a client. Reads no clock
 * and knows no socket. Engines without lists and limits have none.
 */

import { assert } from "../values/errors.ts";
import { ClientTable, UNTRACKED } from "../observe/client_table.ts";
import type { Counters } from "../observe/counters.ts";
import {
  type ClientAddress,
  type ClientLimits,
  type ClientLists,
  COUNT_KEY_WORDS,
  type CountRule,
  countRulesOf,
  isPermitted,
  NO_LISTS,
  recentArrivals,
  type Refusal,
  refusalBy,
  windowMsOf,
  writeCountKey,
} from "../routing/client_limits.ts";

/** What a gate needs. */
interface GateOptions {
  readonly config: ClientLimits & { readonly limitsDryRun: boolean };
  readonly counters: Counters;
  /** The memory in which clients are counted; undefined: there is no limit. */
  readonly clients: SharedArrayBuffer | undefined;
  /** Undefined: the operator has named no list. */
  readonly lists: ClientLists | undefined;
}

/** A gate for these limits and lists; undefined if there are none. */
export function makeGate(options: GateOptions): Gate | undefined {
  return options.clients === undefined && options.lists === undefined ? undefined : new Gate(options);
}

/** A gate. */
export class Gate {
  readonly #rules: readonly CountRule[];
  readonly #windowMs: number;
  readonly #counters: Counters;
  /** There is one if there is a rule. */
  readonly #table: ClientTable | undefined;
  readonly #key = new Int32Array(COUNT_KEY_WORDS);
  #lists: ClientLists;
  /** Whether refusals are only counted and told. */
  readonly isDryRun: boolean;
  /** The rules by which the last client was counted, as bits. The engine keeps them for `leave`. */
  counted = 0;

  constructor({ config, counters, clients, lists = NO_LISTS }: GateOptions) {
    this.#rules = clients === undefined ? [] : countRulesOf(config);
    this.#windowMs = windowMsOf(config);
    this.#counters = counters;
    this.#table = clients === undefined ? undefined : new ClientTable(clients);
    this.#lists = lists;
    this.isDryRun = config.limitsDryRun;
  }

  /** Lets clients in by these lists from now on. */
  setLists(lists: ClientLists): void {
    this.#lists = lists;
  }

  /**
   * Why this client must be refused; undefined: it is let in. It is then counted, by the rules in `counted`. In a dry run it is
   * counted in any case.
   */
  enter(client: ClientAddress, nowMs: number): Refusal | undefined {
    this.counted = 0;
    const denied = isPermitted(this.#lists, client) ? undefined : "denied";
    if (denied !== undefined && !this.isDryRun) return denied;
    const limited = this.#count(client, nowMs);
    const refusal = denied ?? limited;
    if (refusal !== undefined && this.isDryRun) this.#counters.add("wouldBeRefused");
    return refusal;
  }

  /** A client that was counted by these rules has left, after so many bytes. */
  leave(client: ClientAddress, counted: number, sentBytes: number, receivedBytes: number): void {
    const table = this.#table!;
    for (let rule = 0; rule < this.#rules.length; rule++) {
      if ((counted & 1 << rule) === 0) continue;
      const entry = this.#entryOf(rule, client);
      table.addBytes(entry, sentBytes, receivedBytes);
      table.release(entry);
    }
  }

  #count(client: ClientAddress, nowMs: number): Refusal | undefined {
    const table = this.#table!;
    const window = Math.floor(nowMs / this.#windowMs);
    let refusal: Refusal | undefined;
    for (let rule = 0; rule < this.#rules.length; rule++) {
      const entry = table.acquire(this.#keyOf(rule, client), window);
      if (entry === UNTRACKED) {
        this.#counters.add("untrackedClients");
        continue;
      }
      const verdict = this.#judge(rule, entry, window, nowMs / this.#windowMs - window);
      this.counted |= 1 << rule;
      if (verdict === undefined) continue;
      table.refuse(entry, window);
      refusal ??= verdict;
      if (this.isDryRun) continue;
      table.release(entry);
      this.counted &= ~(1 << rule);
      this.#takeBack(client, window);
      return refusal;
    }
    return refusal;
  }

  /**
   * Counts an arrival for a client that is counted already, and judges both. A refused one is no arrival, so that others may come.
   */
  #judge(rule: number, entry: number, window: number, share: number): Refusal | undefined {
    const table = this.#table!;
    const limits = this.#rules[rule];
    const open = table.open;
    const refusal = refusalBy(limits, open, 0);
    if (refusal !== undefined) return refusal;
    const arrivals = recentArrivals(table.arrive(entry, window), table.arrivalsBefore(entry, window), share);
    const verdict = refusalBy(limits, open, arrivals);
    if (verdict !== undefined) table.withdraw(entry, window);
    return verdict;
  }

  /** A later rule has refused the client: takes back what the others have counted. */
  #takeBack(client: ClientAddress, window: number): void {
    const table = this.#table!;
    for (let rule = 0; rule < this.#rules.length; rule++) {
      if ((this.counted & 1 << rule) === 0) continue;
      const entry = this.#entryOf(rule, client);
      table.withdraw(entry, window);
      table.release(entry);
    }
    this.counted = 0;
  }

  #entryOf(rule: number, client: ClientAddress): number {
    const entry = this.#table!.find(this.#keyOf(rule, client));
    assert(entry !== UNTRACKED, "a client that is counted has an entry");
    return entry;
  }

  /** The key by which a rule counts this client, valid until the next call. */
  #keyOf(rule: number, client: ClientAddress): Int32Array {
    writeCountKey(this.#rules, rule, client, this.#key);
    return this.#key;
  }
}
