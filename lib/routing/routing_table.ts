/**
 * The routing table: everything an engine needs to choose servers, as immutable plain data. The control plane publishes a new table
 * for every change of the pool.
 */

import type { Address, KeyRule } from "../values/address.ts";
import type { Policy } from "../values/config.ts";
import type { ProxyVersion } from "../values/proxy_header.ts";
import { buildRing, type Circle, EMPTY_RING, type Ring } from "./ring.ts";
import type { TierRange } from "./tiers.ts";
import { sequenceOf } from "./sequence.ts";

/** A server as the engines see it. */
export interface TableServer {
  /** `address:port`, its identity. */
  readonly name: string;
  readonly address: Address;
  /** From 1. */
  readonly weight: number;
  /** Its tier: the lowest with enough usable servers gets the clients. Undefined: 0. */
  readonly tier?: number;
  /** The limit on its open connections; Infinity for no limit. */
  readonly connectionsMax: number;
  /** The index of its counters. */
  readonly slot: number;
  /** The version of the PROXY header that each connection to it begins with; undefined: none. */
  readonly proxy?: ProxyVersion;
}

/** The servers of one tier: those from index `start` to `end` (exclusive) of the table. */
export interface TierColumns {
  readonly tier: number;
  readonly circle: Circle;
  readonly start: number;
  readonly end: number;
  /** Its part of the table's `sequence`. */
  readonly sequenceStart: number;
  readonly sequenceEnd: number;
}

/**
 * The columns that `route()` reads: numbers only, one array per property of a server, tier by tier and in the order of each tier's
 * ring. So a pool of any size can be shared with other threads without copying.
 */
export interface RoutingColumns {
  readonly policy: Policy;
  /** The tiers that have servers, lowest first; one without servers in an empty table. */
  readonly tiers: readonly TierColumns[];
  readonly slots: Int32Array;
  readonly weights: Uint32Array;
  /** Infinity for no limit. */
  readonly connectionsMax: Float64Array;
  readonly weightTotal: number;
  /** A multiple of the mean; Infinity for off. */
  readonly loadBound: number;
  /** Indexes of servers, tier by tier, as the policy goes through them (`sequence.ts`). */
  readonly sequence: Uint32Array;
}

/** A tier of the control plane's table. */
export interface RoutingTier extends TierColumns {
  readonly ring: Ring;
}

/** A routing table of the control plane. `servers` is in the order of the columns. */
export interface RoutingTable extends RoutingColumns {
  /** The number of the published table, from 0. */
  readonly generation: number;
  readonly servers: readonly TableServer[];
  readonly tiers: readonly RoutingTier[];
  readonly key: KeyRule;
}

/** The table of an empty pool. */
export function emptyTable(key: KeyRule, loadBound: number, policy: Policy = "ring"): RoutingTable {
  return { generation: 0, key, loadBound, policy, ...columnsOf([], [tierOf(0, EMPTY_RING, 0)], policy) };
}

/**
 * The table that follows `previous`, with these servers in any order, and with its key, load bound and policy: `previous` may be a
 * copy with other ones.
 */
export function nextTable(previous: RoutingTable, servers: readonly TableServer[]): RoutingTable {
  const byName = new Map(servers.map((server) => [server.name, server]));
  const numbers = [...new Set(servers.map(({ tier = 0 }) => tier))].sort();
  const tiers: RoutingTier[] = [];
  for (const number of numbers.length === 0 ? [0] : numbers) {
    const members = servers.filter(({ tier = 0 }) => tier === number).map(({ name, weight }) => ({ name, weight }));
    const ring = buildRing(members, previous.tiers.find(({ tier }) => tier === number)?.ring);
    tiers.push(tierOf(number, ring, tiers.at(-1)?.end ?? 0));
  }
  const sorted = tiers.flatMap(({ ring }) => ring.servers.map(({ name }) => byName.get(name)!));
  return { ...previous, generation: previous.generation + 1, ...columnsOf(sorted, tiers, previous.policy) };
}

/** The ring of the servers of these tiers: of one tier its own, of several the one that they make together. */
export function ringOf({ tiers }: RoutingTable, { low, high }: TierRange): Ring {
  const rings = tiers.filter(({ tier }) => tier >= low && tier <= high).map(({ ring }) => ring);
  return rings.length === 1 ? rings[0] : buildRing(rings.flatMap(({ servers }) => servers));
}

function tierOf(tier: number, ring: Ring, start: number): RoutingTier {
  return { tier, ring, circle: ring, start, end: start + ring.serverCount, sequenceStart: 0, sequenceEnd: 0 };
}

function columnsOf(
  servers: readonly TableServer[],
  tiers: readonly RoutingTier[],
  policy: Policy,
): Omit<RoutingTable, "generation" | "key" | "loadBound" | "policy"> {
  const parts = tiers.map(({ start, end }) => sequenceOf(servers.slice(start, end), policy).map((index) => start + index));
  let written = 0;
  const placed = tiers.map((tier, i) => ({ ...tier, sequenceStart: written, sequenceEnd: written += parts[i].length }));
  const sequence = new Uint32Array(written);
  for (const [i, { sequenceStart }] of placed.entries()) sequence.set(parts[i], sequenceStart);
  return {
    servers,
    tiers: placed,
    sequence,
    slots: Int32Array.from(servers, ({ slot }) => slot),
    weights: Uint32Array.from(servers, ({ weight }) => weight),
    connectionsMax: Float64Array.from(servers, ({ connectionsMax }) => connectionsMax),
    weightTotal: servers.reduce((sum, { weight }) => sum + weight, 0),
  };
}
