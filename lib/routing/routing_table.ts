/**
 * The routing table: everything an engine needs to choose servers, as immutable plain data. The control plane publishes a new table
 * for every change of the pool.
 */

import type { Address, KeyRule } from "../values/address.ts";
import type { ProxyVersion } from "../values/proxy_header.ts";
import { buildRing, type Circle, EMPTY_RING, type Ring } from "./ring.ts";

/** A server as the engines see it. */
export interface TableServer {
  /** `address:port`, its identity. */
  readonly name: string;
  readonly address: Address;
  /** From 1. */
  readonly weight: number;
  /** The limit on its open connections; Infinity for no limit. */
  readonly connectionsMax: number;
  /** The index of its counters. */
  readonly slot: number;
  /** The version of the PROXY header that each connection to it begins with; undefined: none. */
  readonly proxy?: ProxyVersion;
}

/**
 * The columns that `route()` reads: numbers only, one array per property of a server, in the order of the ring's servers. So a pool
 * of any size can be shared with other threads without copying.
 */
export interface RoutingColumns {
  readonly circle: Circle;
  readonly slots: Int32Array;
  readonly weights: Uint32Array;
  /** Infinity for no limit. */
  readonly connectionsMax: Float64Array;
  readonly weightTotal: number;
  /** A multiple of the mean; Infinity for off. */
  readonly loadBound: number;
}

/** A routing table of the control plane. `servers` is in the order of `ring.servers` and of the columns. */
export interface RoutingTable extends RoutingColumns {
  /** The number of the published table, from 0. */
  readonly generation: number;
  readonly servers: readonly TableServer[];
  readonly ring: Ring;
  readonly key: KeyRule;
}

/** The table of an empty pool. */
export function emptyTable(key: KeyRule, loadBound: number): RoutingTable {
  return { generation: 0, key, loadBound, ...columnsOf([], EMPTY_RING) };
}

/** The table that follows `previous`, with these servers in any order. */
export function nextTable(previous: RoutingTable, servers: readonly TableServer[]): RoutingTable {
  const byName = new Map(servers.map((server) => [server.name, server]));
  const ring = buildRing(servers.map(({ name, weight }) => ({ name, weight })), previous.ring);
  const sorted = ring.servers.map(({ name }) => byName.get(name)!);
  return { ...previous, generation: previous.generation + 1, ...columnsOf(sorted, ring) };
}

function columnsOf(servers: readonly TableServer[], ring: Ring): Omit<RoutingTable, "generation" | "key" | "loadBound"> {
  return {
    servers,
    ring,
    circle: ring,
    slots: Int32Array.from(servers, ({ slot }) => slot),
    weights: Uint32Array.from(servers, ({ weight }) => weight),
    connectionsMax: Float64Array.from(servers, ({ connectionsMax }) => connectionsMax),
    weightTotal: servers.reduce((sum, { weight }) => sum + weight, 0),
  };
}
