/**
 * The routing table: all that an engine needs in order to choose servers, as plain data, published whole and never changed. The
 * control plane makes a new one for every change of the pool.
 */

import type { Address, KeyRule } from "./address.ts";
import { buildRing, EMPTY_RING, type Ring } from "./ring.ts";

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

/** `servers` is in the order of `ring.servers`. */
export interface RoutingTable {
  /** Counts the tables that one balancer has published, from 0. */
  readonly generation: number;
  readonly servers: readonly TableServer[];
  readonly ring: Ring;
  readonly weightTotal: number;
  readonly key: KeyRule;
  /** Times the mean; Infinity if off. */
  readonly loadBound: number;
}

/** The table before the first server. */
export function emptyTable(key: KeyRule, loadBound: number): RoutingTable {
  return { generation: 0, servers: [], ring: EMPTY_RING, weightTotal: 0, key, loadBound };
}

/** The table that follows `previous` when these are the servers, in any order. */
export function nextTable(previous: RoutingTable, servers: readonly TableServer[]): RoutingTable {
  const byName = new Map(servers.map((server) => [server.name, server]));
  const ring = buildRing(servers.map(({ name, weight }) => ({ name, weight })), previous.ring);
  return {
    ...previous,
    generation: previous.generation + 1,
    servers: ring.servers.map(({ name }) => byName.get(name)!),
    ring,
    weightTotal: servers.reduce((sum, { weight }) => sum + weight, 0),
  };
}
