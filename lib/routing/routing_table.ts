/**
 * The routing table: all that an engine needs in order to choose servers, as plain data, published whole and never changed. The
 * control plane makes a new one for every change of the pool.
 */

import type { Address, KeyRule } from "../values/address.ts";
import { buildRing, type Circle, EMPTY_RING, type Ring } from "./ring.ts";

/** A server as the engines see it. */
export interface TableServer {
  /** `address:port`, its identity. */
  readonly name: string;
  readonly address: Address;
  /** From 1. */
  readonly weight: number;
  /** Open connections it may have; Infinity if it was given no limit. */
  readonly connectionsMax: number;
  /** Where its counters are. */
  readonly slot: number;
}

/**
 * What `route()` reads: numbers alone, a column for each fact of a server, in the order of the ring's servers; so a pool of any size
 * crosses to other threads without being copied.
 */
export interface RoutingColumns {
  readonly circle: Circle;
  readonly slots: Int32Array;
  readonly weights: Uint32Array;
  /** Infinity where there is no limit. */
  readonly connectionsMax: Float64Array;
  readonly weightTotal: number;
  /** Times the mean; Infinity if off. */
  readonly loadBound: number;
}

/** `servers` is in the order of `ring.servers`, and of the columns. */
export interface RoutingTable extends RoutingColumns {
  /** Counts the tables that one balancer has published, from 0. */
  readonly generation: number;
  readonly servers: readonly TableServer[];
  readonly ring: Ring;
  readonly key: KeyRule;
}

/** The table before the first server. */
export function emptyTable(key: KeyRule, loadBound: number): RoutingTable {
  return { generation: 0, key, loadBound, ...columnsOf([], EMPTY_RING) };
}

/** The table that follows `previous` when these are the servers, in any order. */
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
