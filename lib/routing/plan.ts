/**
 * Predicts a change of the pool: which clients get another server, how even the ring is afterwards, and what happens to the open
 * connections. Uses the same ring and the same rules as the change itself: `decide()` says which connections move, and
 * `nextServer()` whether another server has room, with the limits, bounds and health of this moment. Pure; knows neither the
 * balancer nor an engine.
 */

import { clientKey, parseAddress } from "../values/address.ts";
import { LIMITS, type Policy } from "../values/config.ts";
import { DEPARTURES } from "./departure.ts";
import { type ConnectionState, decide, FACT, onServerBytes, stateOf, STATES } from "./redistribution.ts";
import type { RedistributionPolicy, Verdict } from "./redistribution.ts";
import { ANSWER } from "./http_answer.ts";
import { firstOnRing, peakToMean, type Ring, ringShares } from "./ring.ts";
import { type Choice, type Load, nextServer } from "./route.ts";
import { nextTable, ringOf, type RoutingTable, type TableServer } from "./routing_table.ts";
import { weightShares } from "./table_figures.ts";
import { DEFAULT_TIER_RULES, packTiers, type TierRange, type TierRules, tiersInUse, unpackTiers } from "./tiers.ts";
import { AVAILABILITY } from "./availability.ts";

/** A change of the pool. `server` is `address:port`, `weight` its new weight. */
export type PoolChange =
  | { readonly kind: "add"; readonly server: string; readonly weight: number }
  | { readonly kind: "remove"; readonly server: string }
  | { readonly kind: "weight"; readonly server: string; readonly weight: number };

/** An open connection: a part of `OpenConnection` in `engine/engine.ts`. Engines reuse the object, so it must not be kept. */
export interface PlannedConnection {
  /** The slot of its server, or of the one that it waits for; -1 for none. */
  readonly slot: number;
  /** FACT bits of `redistribution.ts`. */
  readonly facts: number;
  /** How long no data has passed. */
  readonly quietForMs: number;
  /** How often its unanswered request has been replayed. */
  readonly replays: number;
  /** The client's address. */
  readonly ip: Uint8Array;
  readonly port: number;
}

/** The change to plan, and the state of the pool. The server must be in the table unless it is to be added. */
interface PlanRequest {
  readonly table: RoutingTable;
  readonly change: PoolChange;
  readonly policy: RedistributionPolicy;
  readonly load: Load;
  readonly connections: Iterable<PlannedConnection>;
  readonly tierRules?: TierRules;
}

/** Clients that get another server, as a fraction of all possible clients. A null `from` or `to` means no server. */
export interface Flow {
  readonly from: string | null;
  readonly to: string | null;
  readonly share: number;
}

/** What can happen to an open connection, in the order in which a plan lists it. */
export const OUTCOMES = [
  "moves",
  "is replayed",
  "moves once it is quiet",
  "is replayed once it is quiet",
  "tries servers that are down when the drain time ends",
  "may finish, and is reset when the drain time ends",
  "stays, and rebalance moves it to its owner",
  "stays",
  "dials by the new table",
] as const;
export type Outcome = typeof OUTCOMES[number];

/** States of a connection, in the order in which a plan lists them: it has no server yet, or one of STATES. */
export const PLANNED_STATES = ["dialling", ...STATES] as const;
/** A state of a connection in a plan. */
type PlannedState = "dialling" | ConnectionState;

/** The number of connections with the same state and the same outcome. */
interface PlannedConnections {
  readonly state: PlannedState;
  readonly count: number;
  readonly outcome: Outcome;
}

/** A number before and after the change. */
interface BeforeAfter {
  readonly before: number;
  readonly after: number;
}

/** The effect of the change. */
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

/** The outcome of a connection if every server had room; undefined if the change does not affect it. */
type Forecast = (connection: PlannedConnection) => Outcome | undefined;

const MAY_FINISH = "may finish, and is reset when the drain time ends";
const TRIES_OTHERS = "tries servers that are down when the drain time ends";
const REBALANCE_MOVES = "stays, and rebalance moves it to its owner";

/**
 * Outcomes for which another server must have room: which servers qualify, and the outcome if none has room, which must be further
 * down in OUTCOMES. Room is given in the order of OUTCOMES.
 */
const NEEDS: Readonly<Partial<Record<Outcome, { readonly choice: Choice; readonly otherwise: Outcome }>>> = {
  "moves": { choice: DEPARTURES.drain.choice, otherwise: TRIES_OTHERS },
  "is replayed": { choice: DEPARTURES.drain.choice, otherwise: TRIES_OTHERS },
  "moves once it is quiet": { choice: DEPARTURES.drain.choice, otherwise: TRIES_OTHERS },
  "is replayed once it is quiet": { choice: DEPARTURES.drain.choice, otherwise: TRIES_OTHERS },
  [TRIES_OTHERS]: { choice: DEPARTURES.expired.choice, otherwise: MAY_FINISH },
  [REBALANCE_MOVES]: { choice: DEPARTURES.rebalance.choice, otherwise: "stays" },
};

/** The slot of the server to be added. */
const NEW_SLOT = -2;

/** The outcomes of a verdict by which a connection leaves its server: at once, or once it is quiet. */
const GOING: Readonly<Partial<Record<Verdict, { readonly now: Outcome; readonly later: Outcome }>>> = {
  move: { now: "moves", later: "moves once it is quiet" },
  replay: { now: "is replayed", later: "is replayed once it is quiet" },
};

/** Predicts the effect of the change. */
export function planChange(request: PlanRequest): Plan {
  const { table, change, policy, load, connections } = request;
  const tableAfter = nextTable(table, changedServers(table.servers, change));
  const tiers = { before: rangeOf(table, load), after: rangeAfter(request, tableAfter) };
  const [before, after] = [ringOf(table, tiers.before), ringOf(tableAfter, tiers.after)];
  const isRing = table.policy === "ring";
  const [sharesBefore, sharesAfter] = [before, after].map((ring) => isRing ? ringShares(ring) : weightShares(ring));
  const [namedBefore, namedAfter] = [namedShares(before, sharesBefore), namedShares(after, sharesAfter)];
  const isSameRange = tiers.before.low === tiers.after.low && tiers.before.high === tiers.after.high;
  const flows = !isRing
    ? []
    : isSameRange
    ? flowsBetween(change.server, namedBefore, namedAfter)
    : tierFlows(namedBefore, namedAfter);
  const forecast = change.kind === "remove"
    ? forecastRemoval(table, change.server, policy)
    : forecastStay(table, before, after, policy);
  const share = { before: namedBefore.get(change.server) ?? 0, after: namedAfter.get(change.server) ?? 0 };
  return {
    change,
    policy: table.policy,
    tiers,
    movedShare: isRing ? Math.min(1, flows.reduce((sum, { share }) => sum + share, 0)) : null,
    flows,
    share: table.policy === "first" ? null : share,
    peakToMean: { before: peakToMean(before, sharesBefore), after: peakToMean(after, sharesAfter) },
    servers: { before: table.servers.length, after: tableAfter.servers.length },
    connections: groupConnections(
      connections,
      forecast,
      new Room(tableAfter, load, unavailableWeightAfter(table, load, change), packTiers(tiers.after)),
      policy.quietMs,
    ),
  };
}

/** The tiers in use; the only one of a table that has one. */
function rangeOf({ tiers }: RoutingTable, { tiersInUse }: Load): TierRange {
  return tiers.length === 1 ? { low: tiers[0].tier, high: tiers[0].tier } : unpackTiers(tiersInUse);
}

/** The tiers in use after the change, if the servers stay as well as they are; a new server counts as usable. */
function rangeAfter({ table, load, tierRules = DEFAULT_TIER_RULES }: PlanRequest, tableAfter: RoutingTable): TierRange {
  if (tableAfter.tiers.length === 1) return rangeOf(tableAfter, load);
  const usable = new Array<number>(LIMITS.tierMax + 1).fill(0);
  for (const { tier = 0, slot } of tableAfter.servers) if (slot === NEW_SLOT || load.availabilityOf(slot) >= 0) usable[tier]++;
  return tiersInUse(usable, tierRules, rangeOf(table, load));
}

function changedServers(servers: readonly TableServer[], change: PoolChange): TableServer[] {
  const others = servers.filter(({ name }) => name !== change.server);
  if (change.kind === "remove") return others;
  const { server: name, weight } = change;
  const old = servers.find((server) => server.name === name);
  return [...others, { connectionsMax: Infinity, tier: 0, slot: NEW_SLOT, ...old, name, address: parseAddress(name), weight }];
}

/** The total weight of servers without clients after the change: a removed server no longer counts. */
function unavailableWeightAfter(
  { servers }: RoutingTable,
  { unavailableWeight, availabilityOf }: Load,
  { kind, server }: PoolChange,
): number {
  const removed = kind === "remove" ? servers.find(({ name }) => name === server) : undefined;
  return unavailableWeight - (removed !== undefined && availabilityOf(removed.slot) < 0 ? removed.weight : 0);
}

/** A connection that needs a server with room. */
interface Wish {
  readonly state: PlannedState;
  /** The slot of its server. */
  readonly slot: number;
  readonly key: Uint8Array;
}

/** The room of the servers after the change, less what has been given to other connections. */
class Room {
  readonly #given = new Map<number, number>();
  /** Choices for which no server has room for any key. Room only decreases. */
  readonly #exhausted = new Set<Choice>();
  readonly #load: Load;

  constructor(readonly table: RoutingTable, load: Load, unavailableWeight: number, tiersInUse: number) {
    this.#load = {
      open: load.open,
      unavailableWeight,
      tiersInUse,
      turns: load.turns,
      openOf: (slot) => (slot === NEW_SLOT ? 0 : load.openOf(slot)) + (this.#given.get(slot) ?? 0),
      availabilityOf: (slot) => slot === NEW_SLOT ? AVAILABILITY.full : load.availabilityOf(slot),
    };
  }

  /** Reserves room on another server than `own` for the client with this key. False if there is none. */
  give(choice: Choice, key: Uint8Array, own: number): boolean {
    if (this.#exhausted.has(choice)) return false;
    const index = nextServer(this.table, this.#load, key, choice, (index) => this.table.slots[index] !== own);
    if (index < 0 && choice !== "owner") this.#exhausted.add(choice); // `own` is no longer in the table for these choices
    if (index < 0) return false;
    const slot = this.table.slots[index];
    this.#given.set(slot, (this.#given.get(slot) ?? 0) + 1);
    return true;
  }
}

function namedShares({ servers }: Ring, shares: Float64Array): ReadonlyMap<string, number> {
  return new Map(servers.map(({ name }, index) => [name, shares[index]]));
}

/**
 * The flows of clients between servers. All of them leave or join the changed server, so a difference in another server's share is
 * the flow between the two. Differences are exact to 1 in 1,000 at 1,000 servers (see `ringShares`).
 */
function flowsBetween(changed: string, before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): Flow[] {
  if (before.size === 0) return [{ from: null, to: changed, share: 1 }];
  if (after.size === 0) return [{ from: changed, to: null, share: 1 }];
  const isGrowing = (after.get(changed) ?? 0) > (before.get(changed) ?? 0);
  const flows: Flow[] = [];
  for (const [name, share] of before) {
    if (name === changed) continue;
    const gained = after.get(name)! - share;
    // A difference in the wrong direction is a rounding error.
    if (isGrowing && gained < 0) flows.push({ from: name, to: changed, share: -gained });
    if (!isGrowing && gained > 0) flows.push({ from: changed, to: name, share: gained });
  }
  return flows.sort((a, b) => b.share - a.share); // equal shares stay in the order of the names
}

/**
 * The flows of clients where the change puts a tier in use or out of it, so that several servers lose clients and several gain
 * them. Who gains is independent of who loses: their points are those of unrelated hashes.
 */
function tierFlows(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): Flow[] {
  const names = new Set([...before.keys(), ...after.keys()]);
  const changes = [...names].map((name) => ({ name, gained: (after.get(name) ?? 0) - (before.get(name) ?? 0) }));
  const losers = changes.filter(({ gained }) => gained < 0);
  const gainers = changes.filter(({ gained }) => gained > 0);
  const total = gainers.reduce((sum, { gained }) => sum + gained, 0);
  return losers.flatMap(({ name: from, gained: lost }) =>
    gainers.map(({ name: to, gained }) => ({ from, to, share: -lost * gained / total }))
  ).sort((a, b) => b.share - a.share);
}

/** Forecast for a removal: the connections of the removed server leave it as the policy allows. */
function forecastRemoval({ servers }: RoutingTable, removed: string, policy: RedistributionPolicy): Forecast {
  const slot = servers.find(({ name }) => name === removed)?.slot;
  return (connection) => connection.slot === slot ? drainOutcome(policy, connection) ?? MAY_FINISH : undefined;
}

/**
 * How a connection leaves a draining server; undefined if it cannot. If it cannot leave now, the same question is asked for the end
 * of the drain time: once the connection is quiet, and once its current exchange is over as well.
 */
function drainOutcome(policy: RedistributionPolicy, { facts, quietForMs, replays }: PlannedConnection): Outcome | undefined {
  const going = GOING[decide(policy, "drain", facts, quietForMs, replays)];
  if (going !== undefined) return going.now;
  const quiet = GOING[decide(policy, "expired", facts, policy.quietMs, replays)];
  const answered = GOING[decide(policy, "expired", onServerBytes(facts, ANSWER) & ~FACT.moving, policy.quietMs, replays)];
  return (quiet ?? answered)?.later;
}

/** Forecast for an addition or a new weight: open connections stay where they are. */
function forecastStay(table: RoutingTable, before: Ring, after: Ring, policy: RedistributionPolicy): Forecast {
  if (table.policy !== "ring") return () => undefined;
  const slotsHere = new Set(table.slots);
  return ({ slot, facts, quietForMs, replays, ip, port }) => {
    if (!slotsHere.has(slot)) return undefined; // its server is being removed: it leaves in any case
    const key = clientKey(table.key, ip, port);
    if (ownerOf(after, key) === ownerOf(before, key)) return undefined;
    return decide(policy, "rebalance", facts, quietForMs, replays) === "move" ? REBALANCE_MOVES : "stays";
  };
}

function ownerOf(ring: Ring, key: Uint8Array): string {
  return ring.servers[firstOnRing(ring, key)].name;
}

function groupConnections(
  connections: Iterable<PlannedConnection>,
  forecast: Forecast,
  room: Room,
  quietMs: number,
): PlannedConnections[] {
  const counts = new Map<string, number>();
  const count = (state: PlannedState, outcome: Outcome) => {
    counts.set(groupOf(state, outcome), (counts.get(groupOf(state, outcome)) ?? 0) + 1);
  };
  const wishes = new Map<Outcome, Wish[]>(OUTCOMES.map((outcome) => [outcome, []]));
  for (const connection of connections) {
    const { slot, facts, quietForMs, ip, port } = connection;
    const outcome = slot < 0 ? "dials by the new table" : forecast(connection);
    if (outcome === undefined) continue;
    const state = slot < 0 ? "dialling" : stateOf(quietMs, facts, quietForMs);
    if (NEEDS[outcome] === undefined) count(state, outcome);
    else wishes.get(outcome)!.push({ state, slot, key: clientKey(room.table.key, ip, port) });
  }
  for (const [outcome, wished] of wishes) {
    const need = NEEDS[outcome]!;
    for (const wish of wished) {
      if (room.give(need.choice, wish.key, wish.slot)) count(wish.state, outcome);
      else if (NEEDS[need.otherwise] === undefined) count(wish.state, need.otherwise);
      else wishes.get(need.otherwise)!.push(wish);
    }
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
