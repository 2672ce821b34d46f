/**
 * What a change of the pool would do, before it is done: whose clients get another server, how even the ring is afterwards, and
 * what becomes of the open connections. Works it out with the same ring and the same rules as the change itself, so that the two
 * cannot differ. Changes nothing and reads no clock; knows neither the balancer nor an engine, and neither health nor load: it
 * speaks of the servers that the ring gives to clients.
 */

import { clientKey } from "./address.ts";
import { type ConnectionState, decide, FACT, hearServer, stateOf, STATES } from "./redistribution.ts";
import type { RedistributionPolicy, Verdict } from "./redistribution.ts";
import { buildRing, firstOnRing, peakToMean, type Ring, type RingServer, ringShares } from "./ring.ts";
import type { RoutingTable } from "./routing_table.ts";

/** A change of the pool. `server` is `address:port`, `weight` what it is to weigh. */
export type PoolChange =
  | { readonly kind: "add"; readonly server: string; readonly weight: number }
  | { readonly kind: "remove"; readonly server: string }
  | { readonly kind: "weight"; readonly server: string; readonly weight: number };

/** What must be known of an open connection: a part of the `OpenConnection` of `engine/engine.ts`, and like it used again. */
export interface PlannedConnection {
  /** The slot of its server, or of the one it waits for; -1: none. */
  readonly slot: number;
  /** FACT bits of `redistribution.ts`. */
  readonly facts: number;
  /** How long nothing has moved. */
  readonly quietForMs: number;
  /** How often what its client asks has been sent again. */
  readonly replays: number;
  /** The client's address. */
  readonly ip: Uint8Array;
  readonly port: number;
}

/** What is to be planned. The server is in the table, or is not if it is to be added. */
export interface PlanRequest {
  readonly table: RoutingTable;
  readonly change: PoolChange;
  readonly policy: RedistributionPolicy;
  readonly connections: Iterable<PlannedConnection>;
}

/** Clients that get another server: their part of all possible ones, 0 to 1. From null: they had none; to null: none is left. */
export interface Flow {
  readonly from: string | null;
  readonly to: string | null;
  readonly share: number;
}

/** What can become of an open connection, in the order in which a plan names it. */
export const OUTCOMES = [
  "moves",
  "is replayed",
  "moves when it is quiet",
  "is replayed when it is quiet",
  "may finish, and is reset when the drain time is over",
  "stays, and goes home by rebalance",
  "stays",
  "dials by the new table",
] as const;
/** One of OUTCOMES. */
export type Outcome = typeof OUTCOMES[number];

/** What a connection is doing, in the order in which a plan names it: it has no server yet, or one of STATES. */
export const PLANNED_STATES = ["dialling", ...STATES] as const;
/** One of PLANNED_STATES. */
export type PlannedState = "dialling" | ConnectionState;

/** So many connections that do the same and fare alike. */
export interface PlannedConnections {
  readonly state: PlannedState;
  readonly count: number;
  readonly outcome: Outcome;
}

/** A number as it is and as it would be. */
export interface BeforeAfter {
  readonly before: number;
  readonly after: number;
}

/** What the change would do. */
export interface Plan {
  readonly change: PoolChange;
  /** The part of all possible clients that get another server, from 0 to 1. */
  readonly movedShare: number;
  /** Who they are, the most first. */
  readonly flows: readonly Flow[];
  /** See `peakToMean` of `ring.ts`. */
  readonly peakToMean: BeforeAfter;
  /** How many there are. */
  readonly servers: BeforeAfter;
  /**
   * Open connections. Where a server is removed: those it has. Otherwise: those whose client's server would be another. Those that
   * have none yet are named in any case.
   */
  readonly connections: readonly PlannedConnections[];
}

/** What would become of a connection; undefined: the change does not concern it. */
type Forecast = (connection: PlannedConnection) => Outcome | undefined;

/** What to call a verdict by which a connection goes: at once, or when it is quiet. */
const GOING: Readonly<Partial<Record<Verdict, { readonly now: Outcome; readonly later: Outcome }>>> = {
  move: { now: "moves", later: "moves when it is quiet" },
  replay: { now: "is replayed", later: "is replayed when it is quiet" },
};

/** Works out what the change would do. */
export function planChange({ table, change, policy, connections }: PlanRequest): Plan {
  const before = table.ring;
  const after = buildRing(changedServers(before.servers, change), before);
  const shares = { before: ringShares(before), after: ringShares(after) };
  const flows = flowsBetween(change.server, namedShares(before, shares.before), namedShares(after, shares.after));
  const forecast = change.kind === "remove" ? forecastRemoval(table, change.server, policy) : forecastStay(table, after, policy);
  return {
    change,
    movedShare: Math.min(1, flows.reduce((sum, { share }) => sum + share, 0)),
    flows,
    peakToMean: { before: peakToMean(before, shares.before), after: peakToMean(after, shares.after) },
    servers: { before: before.serverCount, after: after.serverCount },
    connections: groupConnections(connections, forecast, policy.quietMs),
  };
}

function changedServers(servers: readonly RingServer[], change: PoolChange): RingServer[] {
  const others = servers.filter(({ name }) => name !== change.server);
  return change.kind === "remove" ? others : [...others, { name: change.server, weight: change.weight }];
}

function namedShares({ servers }: Ring, shares: Float64Array): ReadonlyMap<string, number> {
  return new Map(servers.map(({ name }, index) => [name, shares[index]]));
}

/**
 * Who gives clients to whom. All of them leave the changed server or come to it, so that what another one has more or less is what
 * it got or gave. Differences of shares are within 1 in 1,000 of the truth at 1,000 servers (see `ringShares`).
 */
function flowsBetween(changed: string, before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): Flow[] {
  if (before.size === 0) return [{ from: null, to: changed, share: 1 }];
  if (after.size === 0) return [{ from: changed, to: null, share: 1 }];
  const isGrowing = (after.get(changed) ?? 0) > (before.get(changed) ?? 0);
  const flows: Flow[] = [];
  for (const [name, share] of before) {
    if (name === changed) continue;
    const gained = after.get(name)! - share;
    // What is lost in rounding may seem to go the wrong way, and is nothing.
    if (isGrowing && gained < 0) flows.push({ from: name, to: changed, share: -gained });
    if (!isGrowing && gained > 0) flows.push({ from: changed, to: name, share: gained });
  }
  return flows.sort((a, b) => b.share - a.share); // equals stay in the order of their names
}

/** The connections of a server that is removed leave it as the policy allows; where nobody is left they have nowhere to go. */
function forecastRemoval({ servers }: RoutingTable, removed: string, policy: RedistributionPolicy): Forecast {
  const slot = servers.find(({ name }) => name === removed)?.slot;
  const isLast = servers.length === 1;
  return (connection) => {
    if (connection.slot !== slot) return undefined;
    return (isLast ? undefined : leavingOutcome(policy, connection)) ?? "may finish, and is reset when the drain time is over";
  };
}

/**
 * How a connection leaves a server that drains; undefined if it cannot. If it has to wait it is asked again what it could do at the
 * end of the drain time: after silence, or when the exchange it is in the middle of is over, too.
 */
function leavingOutcome(policy: RedistributionPolicy, { facts, quietForMs, replays }: PlannedConnection): Outcome | undefined {
  const going = GOING[decide(policy, "drain", facts, quietForMs, replays)];
  if (going !== undefined) return going.now;
  const quiet = GOING[decide(policy, "over", facts, policy.quietMs, replays)];
  const answered = GOING[decide(policy, "over", hearServer(facts) & ~FACT.moving, policy.quietMs, replays)];
  return (quiet ?? answered)?.later;
}

/** A connection stays where it is when others are added or weigh more or less. */
function forecastStay(table: RoutingTable, after: Ring, policy: RedistributionPolicy): Forecast {
  const slots = new Map(table.servers.map(({ name, slot }) => [name, slot]));
  const slotsHere = new Set(slots.values());
  return ({ slot, facts, quietForMs, replays, ip, port }) => {
    if (!slotsHere.has(slot)) return undefined; // its server was removed: it leaves whatever is changed here
    const key = clientKey(table.key, ip, port);
    const home = ownerOf(after, key);
    if (home === ownerOf(table.ring, key)) return undefined;
    const isAtHome = slots.get(home) === slot; // the load bound had sent it there before
    const mayGo = decide(policy, "home", facts, quietForMs, replays) === "move";
    return mayGo && !isAtHome ? "stays, and goes home by rebalance" : "stays";
  };
}

function ownerOf(ring: Ring, key: Uint8Array): string {
  return ring.servers[firstOnRing(ring, key)].name;
}

function groupConnections(connections: Iterable<PlannedConnection>, forecast: Forecast, quietMs: number): PlannedConnections[] {
  const counts = new Map<string, number>();
  for (const connection of connections) {
    const isDialling = connection.slot < 0;
    const outcome = isDialling ? "dials by the new table" : forecast(connection);
    if (outcome === undefined) continue;
    const group = groupOf(isDialling ? "dialling" : stateOf(quietMs, connection.facts, connection.quietForMs), outcome);
    counts.set(group, (counts.get(group) ?? 0) + 1);
  }
  return PLANNED_STATES.flatMap((state) =>
    OUTCOMES.flatMap((outcome) => {
      const count = counts.get(groupOf(state, outcome));
      return count === undefined ? [] : [{ state, count, outcome }];
    })
  );
}

function groupOf(state: PlannedState, outcome: Outcome): string {
  return `${state} ${outcome}`;
}
