/**
 * Whether a client may connect: lists of who may, and what clients with a common prefix have already. Both engines decide by this.
 * Pure: what is counted comes in as numbers.
 */

import type { PrefixLengths } from "../values/address.ts";
import { type CidrList, includesIp } from "../values/cidr_list.ts";
import type { ClientConnections, ClientRate } from "../values/client_limits.ts";

/** The fates of a client that is refused for its address. */
export type Refusal = "denied" | "client_limit" | "client_rate";

/** Who may connect. Undefined: there is no such list. */
export interface ClientLists {
  readonly allow: CidrList | undefined;
  readonly deny: CidrList | undefined;
}

/** Without lists everybody may connect. */
export const NO_LISTS: ClientLists = { allow: undefined, deny: undefined };

/** Whether the lists let this address connect. What is denied stays denied if it is also allowed. */
export function isPermitted({ allow, deny }: ClientLists, bytes: Uint8Array, at: number, length: number): boolean {
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

/** What is to be counted for these limits: one rule if they have the same prefix lengths, otherwise one each; none without limits. */
export function countRulesOf({ clientConnections, clientRate }: ClientLimits): readonly CountRule[] {
  const connections = clientConnections && { lengths: clientConnections.lengths, connectionsMax: clientConnections.max };
  const rate = clientRate && { lengths: clientRate.lengths, arrivalsMax: clientRate.max };
  const unlimited = { connectionsMax: Infinity, arrivalsMax: Infinity };
  if (connections && rate && areEqual(connections.lengths, rate.lengths)) return [{ ...connections, ...rate }];
  return [connections, rate].filter((rule) => rule !== null).map((rule) => ({ ...unlimited, ...rule }));
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
