/**
 * Predicts a change of a service from one routing table to another: which clients get another server, how even the ring is
 * afterwards, and what happens to the open connections. Puts together `flows.ts` (clients, by the rings) and `forecast.ts`
 * (connections, by the rules of redistribution). Pure; knows neither the balancer nor an engine.
 */

import { type KeyRule, parseAddress } from "../values/address.ts";
import { isClosed } from "./availability.ts";
import { type Flow, type Flows, rekeyedFlows, ringFlows } from "./flows.ts";
import { type BoundHit, forecast, newSlot, type PlannedConnection, type PlannedConnections, type Transition } from "./forecast.ts";
import type { RedistributionPolicy } from "./redistribution.ts";
import { buildRing, peakToMean, type Ring, ringShares } from "./ring.ts";
import type { Load } from "./route.ts";
import { nextTable, type RoutingTable, type TableServer } from "./routing_table.ts";

/** A change of the pool. `server` is `address:port`, `weight` its new weight. */
export type PoolChange =
  | { readonly kind: "add"; readonly server: string; readonly weight: number }
  | { readonly kind: "remove"; readonly server: string }
  | { readonly kind: "weight"; readonly server: string; readonly weight: number };

/** The change to plan, and the state of the pool. The server must be in the table unless it is to be added. */
interface PlanRequest {
  readonly table: RoutingTable;
  readonly change: PoolChange;
  readonly policy: RedistributionPolicy;
  readonly load: Load;
  readonly connections: Iterable<PlannedConnection>;
}

/** A number before and after the change. */
export interface BeforeAfter {
  readonly before: number;
  readonly after: number;
}

/** The effect of a change of the pool. */
export interface Plan {
  readonly change: PoolChange;
  /** The fraction of all possible clients that get another server, from 0 to 1. */
  readonly movedShare: number;
  /** Those clients by their servers, largest share first. */
  readonly flows: readonly Flow[];
  /** `peakToMean` of `ring.ts`. */
  readonly peakToMean: BeforeAfter;
  /** The number of servers. */
  readonly servers: BeforeAfter;
  /**
   * Open connections. For a removal: those of the server. Otherwise: those whose clients would get another server. Connections that
   * are still dialling are always included.
   */
  readonly connections: readonly PlannedConnections[];
}

/** A transition to plan. */
export interface TransitionRequest extends Transition {
  /** Why nobody can say which server a client gets, as a clause; undefined where both tables give every client a server. */
  readonly unforeseen?: string;
  /** How many flows are listed. */
  readonly flowsMax?: number;
}

/** What a transition would do to clients, as fractions of all possible clients. */
interface ClientsPlan {
  /** The fraction that gets another server, from 0 to 1. */
  readonly movedShare: number;
  /** Those clients by their servers, largest share first. */
  readonly flows: readonly Flow[];
  /** The flows that are not listed. */
  readonly flowsLeftOut: Flows["rest"];
  /** `peakToMean` of `ring.ts`. */
  readonly peakToMean: BeforeAfter;
  /** The greatest share of a server. */
  readonly greatestShare: BeforeAfter;
}

/** What cannot be said of clients without an owner. */
interface UnforeseenClients {
  readonly movedShare: null;
  /** The reason, as a clause. */
  readonly why: string;
}

/** The servers of a service: how many, and the names of those that differ. */
interface ServersPlan extends BeforeAfter {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** With another weight, limit or other setting, or drained, or no longer drained. */
  readonly changed: readonly string[];
}

/** The effect of a transition. */
export interface TransitionPlan {
  readonly clients: ClientsPlan | UnforeseenClients;
  readonly servers: ServersPlan;
  /** The open connections for which something changes, as `forecast()` lists them. */
  readonly connections: readonly PlannedConnections[];
  readonly boundsHit: readonly BoundHit[];
}

/** How many flows of a transition are listed unless the request says otherwise. */
const FLOWS_MAX = 100;

/** The rings by which clients have their owners. */
interface Rings {
  readonly before: Ring;
  readonly after: Ring;
}

/** Predicts what becomes of a service if it changes from one table to the other at once. */
export function planTransition(request: TransitionRequest): TransitionPlan {
  const { unforeseen, flowsMax = FLOWS_MAX } = request;
  const rings = unforeseen === undefined ? ringsOf(request) : undefined;
  return {
    clients: rings === undefined ? { movedShare: null, why: unforeseen! } : planClients(request, rings, flowsMax),
    servers: compareServers(request),
    ...forecast(request, rings?.before, rings?.after),
  };
}

/** Predicts the effect of a change of the pool. */
export function planChange({ table, change, policy, load, connections }: PlanRequest): Plan {
  const after = nextTable(table, changedServers(table.servers, change));
  const drained = new Set(after.slots.filter((slot) => slot >= 0 && isClosed(load.availabilityOf(slot))));
  const transition = { before: table, after, drained, policyBefore: policy, policyAfter: policy, load, connections };
  const rings = ringsOf(transition);
  const { movedShare, flows, peakToMean } = planClients(transition, rings, Infinity);
  const servers = { before: table.servers.length, after: after.servers.length };
  return {
    change,
    movedShare,
    flows,
    peakToMean,
    servers,
    connections: forecast(transition, rings.before, rings.after).connections,
  };
}

function changedServers(servers: readonly TableServer[], change: PoolChange): TableServer[] {
  const others = servers.filter(({ name }) => name !== change.server);
  if (change.kind === "remove") return others;
  const { server: name, weight } = change;
  const old = servers.find((server) => server.name === name);
  return [...others, { connectionsMax: Infinity, slot: newSlot(0), ...old, name, address: parseAddress(name), weight }];
}

/** The rings of the servers that are not drained: the clients of a drained one get the servers that its removal would give them. */
function ringsOf({ before, after, drained, load }: Transition): Rings {
  return {
    before: ringWithout(before, ({ slot }) => isClosed(load.availabilityOf(slot))),
    after: ringWithout(after, ({ slot }) => drained.has(slot)),
  };
}

function ringWithout({ ring, servers }: RoutingTable, isOut: (server: TableServer) => boolean): Ring {
  return servers.some(isOut) ? buildRing(servers.filter((server) => !isOut(server)), ring) : ring;
}

function planClients({ before, after }: Transition, rings: Rings, flowsMax: number): ClientsPlan {
  const isRekeyed = !isSameKey(before.key, after.key);
  const { movedShare, flows, rest } = (isRekeyed ? rekeyedFlows : ringFlows)(rings.before, rings.after, flowsMax);
  const shares = { before: ringShares(rings.before), after: ringShares(rings.after) };
  return {
    movedShare,
    flows,
    flowsLeftOut: rest,
    peakToMean: { before: peakToMean(rings.before, shares.before), after: peakToMean(rings.after, shares.after) },
    greatestShare: { before: greatestOf(shares.before), after: greatestOf(shares.after) },
  };
}

function greatestOf(shares: Float64Array): number {
  return shares.reduce((greatest, share) => Math.max(greatest, share), 0);
}

function isSameKey(a: KeyRule, b: KeyRule): boolean {
  return a.withPort === b.withPort && a.ipv4Bits === b.ipv4Bits && a.ipv6Bits === b.ipv6Bits;
}

function compareServers({ before, after, drained, load }: Transition): ServersPlan {
  const old = new Map(before.servers.map((server) => [server.name, server]));
  const kept = after.servers.filter(({ name }) => old.has(name));
  const names = new Set(kept.map(({ name }) => name));
  const isChanged = (server: TableServer) => {
    const was = old.get(server.name)!;
    return !isSameServer(was, server) || isClosed(load.availabilityOf(was.slot)) !== drained.has(server.slot);
  };
  return {
    before: before.servers.length,
    after: after.servers.length,
    added: after.servers.flatMap(({ name }) => names.has(name) ? [] : [name]),
    removed: before.servers.flatMap(({ name }) => names.has(name) ? [] : [name]),
    changed: kept.filter(isChanged).map(({ name }) => name),
  };
}

/** Whether two servers of one name have the same settings. The address follows from the name. */
function isSameServer(
  { address: _, slot: _slot, ...a }: TableServer,
  { address: _address, slot: _other, ...b }: TableServer,
): boolean {
  const settings = { ...a, ...b };
  return (Object.keys(settings) as (keyof typeof settings)[]).every((setting) => a[setting] === b[setting]);
}
