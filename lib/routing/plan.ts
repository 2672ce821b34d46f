/**
 * Predicts a change of a service from one routing table to another: which clients get another server, how even the ring is
 * afterwards, and what happens to the open connections. Puts together `flows.ts` (clients, by the rings) and `forecast.ts`
 * (connections, by the rules of redistribution). Pure; knows neither the balancer nor an engine.
 */

import { type KeyRule, parseAddress } from "../values/address.ts";
import type { Policy } from "../values/config.ts";
import { isClosed } from "./availability.ts";
import { type Flow, type Flows, rekeyedFlows, ringFlows } from "./flows.ts";
import {
  type BoundHit,
  forecast,
  newSlot,
  type PlannedConnection,
  type PlannedConnections,
  tiersOf,
  type Transition,
} from "./forecast.ts";
import type { RedistributionPolicy } from "./redistribution.ts";
import { buildRing, peakToMean, type Ring, ringShares } from "./ring.ts";
import type { Load } from "./route.ts";
import { nextTable, ringOf, type RoutingTable, type TableServer } from "./routing_table.ts";
import { weightShares } from "./table_figures.ts";
import type { TierRange, TierRules } from "./tiers.ts";

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
  readonly tierRules?: TierRules;
}

/** A number before and after the change. */
export interface BeforeAfter {
  readonly before: number;
  readonly after: number;
}

/** The effect of a change of the pool. */
export interface Plan {
  readonly change: PoolChange;
  readonly policy: Policy;
  /** The tiers that new clients use. */
  readonly tiers: { readonly before: TierRange; readonly after: TierRange };
  /**
   * The fraction of all possible clients that get another server, from 0 to 1. Null unless the policy is `ring`: other policies
   * have no server for a client before it comes.
   */
  readonly movedShare: number | null;
  /** Those clients by their servers, largest share first; empty unless the policy is `ring`. */
  readonly flows: readonly Flow[];
  /**
   * The part of the new clients that the changed server gets: exact with `ring`, else by weight, as long as connections last
   * equally long everywhere. Null with `first`: it depends on how many connections are open.
   */
  readonly share: BeforeAfter | null;
  /** `peakToMean` of `ring.ts`, of the tiers in use; 1 where shares are by weight. */
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
  const { flowsMax = FLOWS_MAX, before, after } = request;
  const other = [before, after].find(({ policy }) => policy !== "ring");
  const rings = other === undefined ? ringsOf(request) : undefined;
  const why = `with policy ${other?.policy} a client has no server before it comes`;
  return {
    clients: rings === undefined ? { movedShare: null, why } : planClients(request, rings, flowsMax),
    servers: compareServers(request),
    ...forecast(request, rings?.before, rings?.after),
  };
}

/** Predicts the effect of a change of the pool. */
export function planChange({ table, change, policy, load, connections, tierRules }: PlanRequest): Plan {
  const after = nextTable(table, changedServers(table.servers, change));
  const drained = new Set(after.slots.filter((slot) => slot >= 0 && isClosed(load.availabilityOf(slot))));
  const transition = { before: table, after, drained, policyBefore: policy, policyAfter: policy, load, connections, tierRules };
  const rings = ringsOf(transition);
  const isRing = table.policy === "ring";
  const shares = { before: sharesOf(table, rings.before), after: sharesOf(after, rings.after) };
  const shareOf = (ring: Ring, shares: Float64Array) => shares[ring.servers.findIndex(({ name }) => name === change.server)] ?? 0;
  const share = { before: shareOf(rings.before, shares.before), after: shareOf(rings.after, shares.after) };
  const clients = isRing ? planClients(transition, rings, Infinity) : undefined;
  return {
    change,
    policy: table.policy,
    tiers: tiersOf(transition),
    movedShare: clients?.movedShare ?? null,
    flows: clients?.flows ?? [],
    share: table.policy === "first" ? null : share,
    peakToMean: { before: peakToMean(rings.before, shares.before), after: peakToMean(rings.after, shares.after) },
    servers: { before: table.servers.length, after: after.servers.length },
    connections: forecast(transition, isRing ? rings.before : undefined, isRing ? rings.after : undefined).connections,
  };
}

/** Each server's part of the clients, in the order of the ring. */
function sharesOf({ policy }: RoutingTable, ring: Ring): Float64Array {
  return policy === "ring" ? ringShares(ring) : weightShares(ring);
}

/** The servers after a change. */
export function changedServers(servers: readonly TableServer[], change: PoolChange): TableServer[] {
  const others = servers.filter(({ name }) => name !== change.server);
  if (change.kind === "remove") return others;
  const { server: name, weight } = change;
  const old = servers.find((server) => server.name === name);
  return [...others, { connectionsMax: Infinity, slot: newSlot(0), ...old, name, address: parseAddress(name), weight }];
}

/**
 * The rings of the servers that are in use and not drained: the clients of a drained one get the servers that its removal would
 * give them.
 */
function ringsOf(transition: Transition): Rings {
  const { before, after, drained, load } = transition;
  const tiers = tiersOf(transition);
  return {
    before: ringWithout(before, tiers.before, ({ slot }) => isClosed(load.availabilityOf(slot))),
    after: ringWithout(after, tiers.after, ({ slot }) => drained.has(slot)),
  };
}

function ringWithout(table: RoutingTable, range: TierRange, isOut: (server: TableServer) => boolean): Ring {
  const ring = ringOf(table, range);
  const out = new Set(table.servers.filter(isOut).map(({ name }) => name));
  return out.size === 0 ? ring : buildRing(ring.servers.filter(({ name }) => !out.has(name)), ring);
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

/** Whether two servers of one name are routed to alike. The address follows from the name. */
function isSameServer(a: TableServer, b: TableServer): boolean {
  return a.weight === b.weight && (a.tier ?? 0) === (b.tier ?? 0) && a.connectionsMax === b.connectionsMax && a.proxy === b.proxy;
}
