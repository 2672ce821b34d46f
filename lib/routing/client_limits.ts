/**
 * Whether a client may connect: lists of who may, and what clients with a common prefix have already. Both engines decide by this.
 * Pure: what is counted comes in as numbers.
 */

import { ipv4Start, type PrefixLengths, wordAt } from "../values/address.ts";
import { type CidrList, includesIp } from "../values/cidr_list.ts";
import type { Fate } from "../values/fates.ts";
import type { ClientConnections, ClientRate } from "../values/client_limits.ts";

/** The fates of a client that is refused for its address. */
export type Refusal = typeof REFUSALS[number];
const REFUSALS = ["denied", "client_limit", "client_rate"] as const satisfies readonly Fate[];

/** Whether a connection with this fate was refused for its client's address. */
export function isRefusal(fate: Fate): fate is Refusal {
  return (REFUSALS as readonly Fate[]).includes(fate);
}

/** Where a client's address is: `length` bytes (4 or 16) at `bytes[at]`. An object that is used again and again. */
export interface ClientAddress {
  bytes: Uint8Array;
  at: number;
  length: number;
}

/** Who may connect. Undefined: there is no such list. */
export interface ClientLists {
  readonly allow: CidrList | undefined;
  readonly deny: CidrList | undefined;
}

/** Without lists everybody may connect. */
export const NO_LISTS: ClientLists = { allow: undefined, deny: undefined };

/** Whether the lists let this address connect. What is denied stays denied if it is also allowed. */
export function isPermitted({ allow, deny }: ClientLists, { bytes, at, length }: ClientAddress): boolean {
  if (deny !== undefined && includesIp(deny, bytes, at, length)) return false;
  return allow === undefined || includesIp(allow, bytes, at, length);
}

/** What clients with a common prefix may have; Infinity: as much as they like. */
export interface CountRule {
  readonly lengths: PrefixLengths;
  readonly connectionsMax: number;
  /** New connections in a window. */
  readonly arrivalsMax: number;
}

/** The limits of an operator. */
export interface ClientLimits {
  readonly clientConnections: ClientConnections | null;
  readonly clientRate: ClientRate | null;
}

/** Arrivals are counted in windows of this length if no rate says another. */
const DEFAULT_WINDOW_MS = 10_000;

/** The most rules that limits make: one for each of them. */
export const COUNT_RULES_MAX = 2;

/**
 * What is to be counted for these limits: one rule if they have the same prefix lengths, otherwise one each; none without limits.
 */
export function countRulesOf({ clientConnections, clientRate }: ClientLimits): readonly CountRule[] {
  const connections = clientConnections && { lengths: clientConnections.lengths, connectionsMax: clientConnections.max };
  const rate = clientRate && { lengths: clientRate.lengths, arrivalsMax: clientRate.max };
  const unlimited = { connectionsMax: Infinity, arrivalsMax: Infinity };
  if (connections && rate && areEqual(connections.lengths, rate.lengths)) return [{ ...connections, ...rate }];
  return [connections, rate].filter((rule) => rule !== null).map((rule) => ({ ...unlimited, ...rule }));
}

/** Whether clients who are counted by the one have the same keys by the other. */
export function haveSameKeys(rules: readonly CountRule[], others: readonly CountRule[]): boolean {
  return rules.length === others.length && rules.every(({ lengths }, rule) => areEqual(lengths, others[rule].lengths));
}

/**
 * Words of the key by which a client is counted: its address with the bits beyond the rule's prefix cleared, and a word that says
 * what kind of address that is, and for which rule of which service it is counted. That word is never 0.
 */
export const COUNT_KEY_WORDS = 5;
const KIND = COUNT_KEY_WORDS - 1;
const KIND_USED = 1;
const KIND_IPV6 = 2;
const KIND_RULE_SHIFT = 2;
const KIND_RULE = COUNT_RULES_MAX - 1;
const KIND_SERVICE_SHIFT = 3;

/** Writes the key by which a rule, the one with this index of a service's, counts the client into `key`. Allocates nothing. */
export function writeCountKey(
  service: number,
  rules: readonly CountRule[],
  rule: number,
  { bytes, at, length }: ClientAddress,
  key: Int32Array,
): void {
  const { ipv4Bits, ipv6Bits } = rules[rule].lengths;
  const start = ipv4Start(bytes, at, length);
  const isIpv6 = start < 0;
  const bits = isIpv6 ? ipv6Bits : ipv4Bits;
  for (let word = 0; word < KIND; word++) {
    const free = 32 * (word + 1) - bits; // bits of this word beyond the prefix
    const isBeyond = free >= 32 || (!isIpv6 && word > 0);
    key[word] = isBeyond ? 0 : wordAt(bytes, (isIpv6 ? at : start) + 4 * word) & (free > 0 ? -1 << free : -1);
  }
  key[KIND] = KIND_USED | (isIpv6 ? KIND_IPV6 : 0) | rule << KIND_RULE_SHIFT | service << KIND_SERVICE_SHIFT;
}

/** What such a key says: the rule, the first address of the prefix, and the length of the prefix. */
interface CountKey {
  readonly rule: CountRule;
  readonly address: Uint8Array;
  readonly bits: number;
}

/** The service for which the client with this key is counted. `kind` is the last word of the key. */
export function serviceOfKey(kind: number): number {
  return kind >>> KIND_SERVICE_SHIFT;
}

/** Reads a key by the rules of its service; undefined: they have no such rule any more. */
export function readCountKey(rules: readonly CountRule[], key: Int32Array): CountKey | undefined {
  const isIpv6 = (key[KIND] & KIND_IPV6) !== 0;
  const rule = rules.at(key[KIND] >> KIND_RULE_SHIFT & KIND_RULE);
  if (rule === undefined) return undefined;
  const view = new DataView(new ArrayBuffer(isIpv6 ? 16 : 4));
  for (let at = 0; at < view.byteLength; at += 4) view.setInt32(at, key[at / 4]);
  return { rule, address: new Uint8Array(view.buffer), bits: isIpv6 ? rule.lengths.ipv6Bits : rule.lengths.ipv4Bits };
}

/** The length of the windows in which arrivals are counted. */
export function windowMsOf({ clientRate }: ClientLimits): number {
  return clientRate?.windowMs ?? DEFAULT_WINDOW_MS;
}

/**
 * An estimate of the arrivals within one window's length until now, from those of the current window, which began `share` of its
 * length ago, and of the one before: as if the latter had come evenly. Exact at the end of a window, and never far from the truth.
 */
export function recentArrivals(current: number, previous: number, share: number): number {
  return current + previous * (1 - share);
}

/** Whether a rule refuses a client, who is counted in both numbers. */
export function refusalBy(rule: CountRule, open: number, arrivals: number): Refusal | undefined {
  if (open > rule.connectionsMax) return "client_limit";
  return arrivals > rule.arrivalsMax ? "client_rate" : undefined;
}

function areEqual(one: PrefixLengths, other: PrefixLengths): boolean {
  return one.ipv4Bits === other.ipv4Bits && one.ipv6Bits === other.ipv6Bits;
}
