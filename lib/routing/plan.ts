/**
 * What a change of the pool would do, before it is done: whose clients get another server, how even the ring is afterwards, and
 * what becomes of the open connections. Works it out with the same ring and the same rules as the change itself, so that the two
 * cannot differ: who leaves by `decide()`, and whether anybody has room for it by `nextServer()`, limits, bounds and health counted as
 * they are now. Changes nothing and reads no clock; knows neither the balancer nor an engine.
 */

import { clientKey, parseAddress } from "../values/address.ts";
import { DEPARTURES } from "./departure.ts";
import { type ConnectionState, decide, FACT, onServerBytes, stateOf, STATES } from "./redistribution.ts";
import type { RedistributionPolicy, Verdict } from "./redistribution.ts";
import { ANSWER } from "./http_answer.ts";
import { firstOnRing, peakToMean, type Ring, ringShares } from "./ring.ts";
import { type Choice, type Load, nextServer } from "./route.ts";
import { nextTable, type RoutingTable, type TableServer } from "./routing_table.ts";
import { AVAILABILITY } from "./availability.ts";

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
  readonly load: Load;
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
  "tries servers that are down when the drain time is over",
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

/** What would become of a connection if there were room everywhere; undefined: the change does not concern it. */
type Forecast = (connection: PlannedConnection) => Outcome | undefined;

const MAY_FINISH = "may finish, and is reset when the drain time is over";
const TRIES_OTHERS = "tries servers that are down when the drain time is over";

/**
 * Outcomes for which another server must have room: which ones come into question, and what becomes of the connection if none has, which is
 * an outcome further down in OUTCOMES. Who comes first there is given room first.
 */
const NEEDS: Readonly<Partial<Record<Outcome, { readonly choice: Choice; readonly otherwise: Outcome }>>> = {
  "moves": { choice: DEPARTURES.drain.choice, otherwise: TRIES_OTHERS },
  "is replayed": { choice: DEPARTURES.drain.choice, otherwise: TRIES_OTHERS },
  "moves when it is quiet": { choice: DEPARTURES.drain.choice, otherwise: TRIES_OTHERS },
  "is replayed when it is quiet": { choice: DEPARTURES.drain.choice, otherwise: TRIES_OTHERS },
  [TRIES_OTHERS]: { choice: DEPARTURES.expired.choice, otherwise: MAY_FINISH },
  "stays, and goes home by rebalance": { choice: DEPARTURES.rebalance.choice, otherwise: "stays" },
};

/** The slot of a server that is not there yet. */
const NEW_SLOT = -2;

/** What to call a verdict by which a connection goes: at once, or when it is quiet. */
const GOING: Readonly<Partial<Record<Verdict, { readonly now: Outcome; readonly later: Outcome }>>> = {
  move: { now: "moves", later: "moves when it is quiet" },
  replay: { now: "is replayed", later: "is replayed when it is quiet" },
};

/** Works out what the change would do. */
export function planChange({ table, change, policy, load, connections }: PlanRequest): Plan {
  const tableAfter = nextTable(table, changedServers(table.servers, change));
  const [before, after] = [table.ring, tableAfter.ring];
  const shares = { before: ringShares(before), after: ringShares(after) };
  const flows = flowsBetween(change.server, namedShares(before, shares.before), namedShares(after, shares.after));
  const forecast = change.kind === "remove" ? forecastRemoval(table, change.server, policy) : forecastStay(table, after, policy);
  return {
    change,
    movedShare: Math.min(1, flows.reduce((sum, { share }) => sum + share, 0)),
    flows,
    peakToMean: { before: peakToMean(before, shares.before), after: peakToMean(after, shares.after) },
    servers: { before: before.serverCount, after: after.serverCount },
    connections: groupConnections(
      connections,
      forecast,
      new Room(tableAfter, load, weightAwayAfter(table, load, change)),
      policy.quietMs,
    ),
  };
}

function changedServers(servers: readonly TableServer[], change: PoolChange): TableServer[] {
  const others = servers.filter(({ name }) => name !== change.server);
  if (change.kind === "remove") return others;
  const { server: name, weight } = change;
  const old = servers.find((server) => server.name === name);
  return [...others, { connectionsMax: Infinity, slot: NEW_SLOT, ...old, name, address: parseAddress(name), weight }];
}

/** A server that is removed is no longer among those that get no clients. */
function weightAwayAfter(
  { servers }: RoutingTable,
  { unavailableWeight, availabilityOf }: Load,
  { kind, server }: PoolChange,
): number {
  const removed = kind === "remove" ? servers.find(({ name }) => name === server) : undefined;
  return unavailableWeight - (removed !== undefined && availabilityOf(removed.slot) < 0 ? removed.weight : 0);
}

/** A connection for which a server must have room. */
interface Wish {
  readonly state: PlannedState;
  /** Its server's. */
  readonly slot: number;
  readonly key: Uint8Array;
}

/** What room the servers have after the change, less what was given away of it. */
class Room {
  readonly #given = new Map<number, number>();
  /** Choices for which there is none any more, whatever the key: room only gets less. */
  readonly #exhausted = new Set<Choice>();
  readonly #load: Load;

  constructor(readonly table: RoutingTable, load: Load, unavailableWeight: number) {
    this.#load = {
      open: load.open,
      unavailableWeight,
      openOf: (slot) => (slot === NEW_SLOT ? 0 : load.openOf(slot)) + (this.#given.get(slot) ?? 0),
      availabilityOf: (slot) => slot === NEW_SLOT ? AVAILABILITY.full : load.availabilityOf(slot),
    };
  }

  /** Gives the client with this key, whose server has slot `own`, room with another. False if there is none. */
  give(choice: Choice, key: Uint8Array, own: number): boolean {
    if (this.#exhausted.has(choice)) return false;
    const index = nextServer(this.table, this.#load, key, choice, (index) => this.table.slots[index] !== own);
    if (index < 0 && choice !== "owner") this.#exhausted.add(choice); // these are asked for where `own` is not in the table any more
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

/** The connections of a server that is removed leave it as the policy allows. */
function forecastRemoval({ servers }: RoutingTable, removed: string, policy: RedistributionPolicy): Forecast {
  const slot = servers.find(({ name }) => name === removed)?.slot;
  return (connection) => connection.slot === slot ? leavingOutcome(policy, connection) ?? MAY_FINISH : undefined;
}

/**
 * How a connection leaves a server that drains; undefined if it cannot. If it has to wait it is asked again what it could do at the
 * end of the drain time: after silence, or when the exchange it is in the middle of is over, too.
 */
function leavingOutcome(policy: RedistributionPolicy, { facts, quietForMs, replays }: PlannedConnection): Outcome | undefined {
  const going = GOING[decide(policy, "drain", facts, quietForMs, replays)];
  if (going !== undefined) return going.now;
  const quiet = GOING[decide(policy, "expired", facts, policy.quietMs, replays)];
  const answered = GOING[decide(policy, "expired", onServerBytes(facts, ANSWER) & ~FACT.moving, policy.quietMs, replays)];
  return (quiet ?? answered)?.later;
}

/** A connection stays where it is when others are added or weigh more or less. */
function forecastStay(table: RoutingTable, after: Ring, policy: RedistributionPolicy): Forecast {
  const slotsHere = new Set(table.slots);
  return ({ slot, facts, quietForMs, replays, ip, port }) => {
    if (!slotsHere.has(slot)) return undefined; // its server was removed: it leaves whatever is changed here
    const key = clientKey(table.key, ip, port);
    if (ownerOf(after, key) === ownerOf(table.ring, key)) return undefined;
    return decide(policy, "rebalance", facts, quietForMs, replays) === "move" ? "stays, and goes home by rebalance" : "stays";
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
