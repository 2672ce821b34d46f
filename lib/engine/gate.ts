/**
 * The gate of an engine: whether a client may connect, by the operator's lists and limits. Counts every client that it lets in until
 * it leaves. One per thread; what clients have is counted over all threads. Allocates nothing for a client. Reads no clock and knows
 * no socket. Engines without lists and limits have none.
 */

import { ipv4Start, wordAt } from "../values/address.ts";
import { assert } from "../values/errors.ts";
import { ClientTable, KEY_WORDS, UNTRACKED } from "../observe/client_table.ts";
import type { Counters } from "../observe/counters.ts";
import {
  type ClientLimits,
  type ClientLists,
  type CountRule,
  countRulesOf,
  isPermitted,
  NO_LISTS,
  recentArrivals,
  type Refusal,
  refusalBy,
  windowMsOf,
} from "../routing/client_limits.ts";

/** The word of a key that says what kind of address it is, and for which rule it is counted. */
const KIND = KEY_WORDS - 1;
/** Its bits. The first makes it other than 0. */
const KIND_BITS = { used: 1, ipv6: 2, ruleShift: 2 } as const;

/** Where a client's address is: `length` bytes (4 or 16) at `bytes[at]`. */
export interface ClientAddress {
  bytes: Uint8Array;
  at: number;
  length: number;
}

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
  readonly #key = new Int32Array(KEY_WORDS);
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
   * Why this client must be refused; undefined: it is let in. It is then counted, by the rules in `counted`. In a dry run it is counted
   * in any case.
   */
  enter(client: ClientAddress, nowMs: number): Refusal | undefined {
    this.counted = 0;
    const denied = isPermitted(this.#lists, client.bytes, client.at, client.length) ? undefined : "denied";
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

  /** Counts an arrival for a client that is counted already, and judges both. A refused one is no arrival, so that others may come. */
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
  #keyOf(rule: number, { bytes, at, length }: ClientAddress): Int32Array {
    const key = this.#key;
    const { ipv4Bits, ipv6Bits } = this.#rules[rule].lengths;
    const start = ipv4Start(bytes, at, length);
    const isIpv6 = start < 0;
    const bits = isIpv6 ? ipv6Bits : ipv4Bits;
    for (let word = 0; word < KIND; word++) {
      const free = 32 * (word + 1) - bits; // bits of this word beyond the prefix
      const isBeyond = free >= 32 || (!isIpv6 && word > 0);
      key[word] = isBeyond ? 0 : wordAt(bytes, (isIpv6 ? at : start) + 4 * word) & (free > 0 ? -1 << free : -1);
    }
    key[KIND] = KIND_BITS.used | (isIpv6 ? KIND_BITS.ipv6 : 0) | rule << KIND_BITS.ruleShift;
    return key;
  }
}

/** What a key of the table means: the first address of the prefix, its length, and the number of the rule. */
export function readKey(rules: readonly CountRule[], key: Int32Array): { bytes: Uint8Array; bits: number; rule: number } {
  const isIpv6 = (key[KIND] & KIND_BITS.ipv6) !== 0;
  const rule = key[KIND] >> KIND_BITS.ruleShift;
  const view = new DataView(new ArrayBuffer(isIpv6 ? 16 : 4));
  for (let at = 0; at < view.byteLength; at += 4) view.setInt32(at, key[at / 4]);
  const { ipv4Bits, ipv6Bits } = rules[rule].lengths;
  return { bytes: new Uint8Array(view.buffer), bits: isIpv6 ? ipv6Bits : ipv4Bits, rule };
}
