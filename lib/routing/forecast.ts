/**
 * What becomes of a service's open connections when one routing table follows another: which leave their servers, which go home on
 * request, and which servers they fill. Asks the functions that decide it when it happens: `decide()` whether a connection may
 * leave, `nextServer()` whether another server has room, with the limits, bounds and health of this moment. Pure.
 */

import { clientKey } from "../values/address.ts";
import { LIMITS } from "../values/config.ts";
import { AVAILABILITY, isClosed, isDraining } from "./availability.ts";
import { DEPARTURES } from "./departure.ts";
import { ANSWER } from "./http_answer.ts";
import { decide, FACT, onServerBytes, PLANNED_STATES, type PlannedState, stateOf } from "./redistribution.ts";
import type { RedistributionPolicy, Verdict } from "./redistribution.ts";
import { firstOnRing, type Ring } from "./ring.ts";
import { boundOf, type Choice, type Load, nextServer } from "./route.ts";
import type { RoutingTable, TableServer } from "./routing_table.ts";
import { DEFAULT_TIER_RULES, packTiers, type TierRange, type TierRules, tiersInUse, unpackTiers } from "./tiers.ts";

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

/** One service before and after a change, and the state of this moment. */
export interface Transition {
  readonly before: RoutingTable;
  /** New servers have slots from `newSlot()`. */
  readonly after: RoutingTable;
  /** The slots of `after` that the operator drains. Before, it is those that the load says are closed. */
  readonly drained: ReadonlySet<number>;
  readonly policyBefore: RedistributionPolicy;
  readonly policyAfter: RedistributionPolicy;
  /** The load now. Servers that are no longer drained, and new ones, are taken to be up. */
  readonly load: Load;
  /** The open connections of the service. */
  readonly connections: Iterable<PlannedConnection>;
  /** How tiers are used afterwards; undefined: as without settings. */
  readonly tierRules?: TierRules;
}

/** What can happen to an open connection, in the order in which a plan lists it. */
export const OUTCOMES = [
  "moves",
  "is replayed",
  "moves once it is quiet",
  "is replayed once it is quiet",
  "tries servers that are down when the drain time ends",
  "may finish, and is reset when the drain time ends",
  "may finish, as its server is drained without a time limit",
  "stays, and rebalance moves it to its owner",
  "stays",
  "dials by the new table",
] as const;
export type Outcome = typeof OUTCOMES[number];

/** The number of connections with the same state and the same outcome. */
export interface PlannedConnections {
  readonly state: PlannedState;
  readonly count: number;
  readonly outcome: Outcome;
}

/** A bound or limit that a server has reached with what is foreseen, and that it had not reached or that has become tighter. */
export interface BoundHit {
  /** `address:port`. */
  readonly server: string;
  /** At the load bound, new clients go to other servers while one has room; at the connection limit, always. */
  readonly bound: "load bound" | "connection limit";
  /** How many connections it allows. */
  readonly allowed: number;
  /** Open connections of the server now, and with those that it is foreseen to take over; without what rebalance moves. */
  readonly open: { readonly before: number; readonly after: number };
}

/** What is foreseen of open connections. */
export interface Forecast {
  readonly connections: readonly PlannedConnections[];
  readonly boundsHit: readonly BoundHit[];
}

const MAY_FINISH = "may finish, and is reset when the drain time ends";
const FINISHES_DRAINED = "may finish, as its server is drained without a time limit";
const TRIES_OTHERS = "tries servers that are down when the drain time ends";
const REBALANCE_MOVES = "stays, and rebalance moves it to its owner";

/**
 * What a server does with its connections, from bad to worse. From a drained one those leave that can; a removed one also resets
 * those that are left when the drain time ends.
 */
const STANDINGS = ["serves", "drained", "removed"] as const;
type Standing = typeof STANDINGS[number];

/** The outcome of a connection that stays because it may not leave or no server has room. */
const UNMOVED = { serves: "stays", drained: FINISHES_DRAINED, removed: MAY_FINISH } as const satisfies Record<Standing, Outcome>;

/** What an outcome needs: which servers qualify, and the outcome if none has room, by what the connection's server does. */
interface Need {
  readonly choice: Choice;
  readonly otherwise: Readonly<Record<Standing, Outcome>>;
}

/** A connection of a removed server that finds no room tries again when the drain time ends. */
const LEAVES: Need = { choice: DEPARTURES.drain.choice, otherwise: { ...UNMOVED, removed: TRIES_OTHERS } };

/**
 * Outcomes for which another server must have room. The outcome if none has room must be further down in OUTCOMES: room is given in
 * that order.
 */
const NEEDS: Readonly<Partial<Record<Outcome, Need>>> = {
  "moves": LEAVES,
  "is replayed": LEAVES,
  "moves once it is quiet": LEAVES,
  "is replayed once it is quiet": LEAVES,
  [TRIES_OTHERS]: { choice: DEPARTURES.expired.choice, otherwise: UNMOVED },
  [REBALANCE_MOVES]: { choice: DEPARTURES.rebalance.choice, otherwise: UNMOVED },
};

/** The outcomes of a verdict by which a connection leaves its server: at once, or once it is quiet. */
const GOING: Readonly<Partial<Record<Verdict, { readonly now: Outcome; readonly later: Outcome }>>> = {
  move: { now: "moves", later: "moves once it is quiet" },
  replay: { now: "is replayed", later: "is replayed once it is quiet" },
};

/** The slot of the new server with this number, from 0, in a table that is only planned. */
export function newSlot(number: number): number {
  return -2 - number;
}

function isNew(slot: number): boolean {
  return slot < -1;
}

/**
 * Foresees what becomes of the open connections. `ringBefore` and `ringAfter` are those by which clients have owners; undefined
 * where they have none. Listed are the connections
 * - of servers that are removed or drained, or no longer drained;
 * - of servers that are on their way out already and that the new policy treats in another way;
 * - that stay while their client gets another owner, unless the old owner leaves: then they were with another server already;
 * - that are still dialling.
 */
export function forecast(transition: Transition, ringBefore: Ring | undefined, ringAfter: Ring | undefined): Forecast {
  const room = new Room(transition);
  const counts = new Counts();
  const haveOwners = ringBefore !== undefined && ringAfter !== undefined;
  const wishes = makeWishes(transition, haveOwners ? compareOwners(transition, ringBefore, ringAfter) : undefined, counts);
  for (const [outcome, wished] of wishes) {
    for (const wish of wished) {
      const { choice, otherwise } = NEEDS[outcome]!;
      const unmet = otherwise[wish.standing];
      if (room.give(choice, wish)) counts.add(wish.state, outcome);
      else if (NEEDS[unmet] === undefined) counts.add(wish.state, unmet);
      else wishes.get(unmet)!.push(wish);
    }
  }
  return { connections: counts.list(), boundsHit: room.findBoundsHit(transition) };
}

/** What servers do with their connections before and after. */
function standingsOf({ before, after, drained, load }: Transition) {
  const [slotsBefore, slotsAfter] = [new Set(before.slots), new Set(after.slots)];
  const isAsking = (slot: number) => load.availabilityOf(slot) === AVAILABILITY.asking;
  return {
    before: (slot: number): Standing =>
      !slotsBefore.has(slot) ? "removed" : isDraining(load.availabilityOf(slot)) ? "drained" : "serves",
    after: (slot: number): Standing =>
      !slotsAfter.has(slot) ? "removed" : drained.has(slot) || isAsking(slot) ? "drained" : "serves",
  };
}

/** Whether another server becomes the owner of a client while the old one goes on serving. */
type HasNewOwner = (ip: Uint8Array, port: number) => boolean;

function compareOwners({ before, after, drained }: Transition, ringBefore: Ring, ringAfter: Ring): HasNewOwner {
  if (ringBefore === ringAfter && before.key === after.key) return () => false;
  if (ringBefore.serverCount === 0 || ringAfter.serverCount === 0) return () => false;
  const serving = new Set(after.servers.filter(({ slot }) => !drained.has(slot)).map(({ name }) => name));
  const isServing = ringBefore.servers.map(({ name }) => serving.has(name));
  return (ip, port) => {
    const keyBefore = clientKey(before.key, ip, port);
    const keyAfter = before.key === after.key ? keyBefore : clientKey(after.key, ip, port);
    const owner = firstOnRing(ringBefore, keyBefore);
    return isServing[owner] && ringBefore.servers[owner].name !== ringAfter.servers[firstOnRing(ringAfter, keyAfter)].name;
  };
}

/** A connection that needs a server with room. */
interface Wish {
  readonly state: PlannedState;
  readonly standing: Standing;
  /** The slot of its server. */
  readonly slot: number;
  readonly key: Uint8Array;
}

/** Counts the connections whose outcome is certain; the others wish for it, in the order in which they come. */
function makeWishes(transition: Transition, hasNewOwner: HasNewOwner | undefined, counts: Counts): Map<Outcome, Wish[]> {
  const { after, policyAfter: policy } = transition;
  const standings = standingsOf(transition);
  const wishes = new Map<Outcome, Wish[]>(OUTCOMES.map((outcome) => [outcome, []]));
  for (const connection of transition.connections) {
    const { slot, facts, quietForMs, ip, port } = connection;
    if (slot < 0) {
      counts.add("dialling", "dials by the new table");
      continue;
    }
    const standing = standings.after(slot);
    const outcome = standing === "serves"
      ? outcomeOfStay(standings.before(slot) === "serves", policy, connection, hasNewOwner)
      : outcomeOfLeave(standings.before(slot), standing, transition, connection);
    if (outcome === undefined) continue;
    const state = stateOf(policy.quietMs, facts, quietForMs);
    if (NEEDS[outcome] === undefined) counts.add(state, outcome);
    else wishes.get(outcome)!.push({ state, standing, slot, key: clientKey(after.key, ip, port) });
  }
  return wishes;
}

/** Of a connection whose server serves afterwards; undefined if nothing changes for it. */
function outcomeOfStay(
  hasServed: boolean,
  policy: RedistributionPolicy,
  { facts, quietForMs, replays, ip, port }: PlannedConnection,
  hasNewOwner: HasNewOwner | undefined,
): Outcome | undefined {
  if (hasNewOwner === undefined) return hasServed ? undefined : "stays";
  if (hasServed && !hasNewOwner(ip, port)) return undefined;
  return decide(policy, "rebalance", facts, quietForMs, replays) === "move" ? REBALANCE_MOVES : "stays";
}

/** Of a connection whose server it should leave afterwards; undefined if it should before, and nothing changes for it. */
function outcomeOfLeave(
  standingBefore: Standing,
  standing: Exclude<Standing, "serves">,
  { policyBefore, policyAfter }: Transition,
  connection: PlannedConnection,
): Outcome | undefined {
  const outcome = drainOutcome(policyAfter, connection);
  if (standingBefore === standing && (policyBefore === policyAfter || drainOutcome(policyBefore, connection) === outcome)) {
    return undefined;
  }
  return outcome ?? UNMOVED[standing];
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

/** The room of the servers after the change, less what has been given to connections. */
class Room {
  /** Connections that servers have won and lost, by slot; `#taken` leaves those out that rebalance moves. */
  readonly #won = new Map<number, number>();
  readonly #taken = new Map<number, number>();
  /** Choices for which no server has room for any key: the servers that connections leave gain none by it. */
  readonly #exhausted = new Set<Choice>();
  readonly #table: RoutingTable;
  readonly #load: Load;

  constructor(transition: Transition) {
    const { after, drained, load } = transition;
    const range = tiersOf(transition).after;
    this.#table = after;
    const availabilityOf = (slot: number) => availabilityAfter(load, drained, slot);
    this.#load = {
      open: load.open,
      unavailableWeight: weightWithout(after, range, availabilityOf),
      tiersInUse: packTiers(range),
      turns: load.turns,
      openOf: (slot) => openNow(load, slot) + (this.#won.get(slot) ?? 0),
      availabilityOf,
    };
  }

  /** Gives a connection room on another server than its own. False if there is none. */
  give(choice: Choice, { key, slot: own }: Wish): boolean {
    if (this.#exhausted.has(choice)) return false;
    const index = nextServer(this.#table, this.#load, key, choice, (index) => this.#table.slots[index] !== own);
    if (index < 0) {
      if (choice !== "owner") this.#exhausted.add(choice); // `own` takes no clients where these are the choices
      return false;
    }
    const slot = this.#table.slots[index];
    this.#won.set(slot, (this.#won.get(slot) ?? 0) + 1);
    this.#won.set(own, (this.#won.get(own) ?? 0) - 1);
    if (choice !== "owner") this.#taken.set(slot, (this.#taken.get(slot) ?? 0) + 1);
    return true;
  }

  findBoundsHit({ before, load }: Transition): BoundHit[] {
    const indexes = new Map(before.servers.map(({ name }, index) => [name, index]));
    return this.#table.servers.flatMap(({ name, slot }, index) => {
      if (isClosed(this.#load.availabilityOf(slot))) return [];
      const now = openNow(load, slot);
      const open = { before: now, after: now + (this.#taken.get(slot) ?? 0) };
      const limits = limitsOf(this.#table, index, this.#load);
      const old = indexes.get(name);
      const limitsBefore = old === undefined ? undefined : limitsOf(before, old, load);
      return BOUNDS.flatMap((bound) => {
        const allowed = limits[bound];
        const allowedBefore = limitsBefore?.[bound] ?? Infinity;
        const isTighter = open.after > open.before || allowed < allowedBefore;
        return open.after >= allowed && isTighter ? [{ server: name, bound, allowed, open }] : [];
      });
    });
  }
}

/** Kinds of bounds. */
export const BOUNDS = ["connection limit", "load bound"] as const satisfies readonly BoundHit["bound"][];

/** What a server allows. The load bound orders only servers that get all their clients. */
function limitsOf(table: RoutingTable, index: number, load: Load): Readonly<Record<BoundHit["bound"], number>> {
  const isPlain = load.availabilityOf(table.slots[index]) === AVAILABILITY.full;
  return { "connection limit": table.connectionsMax[index], "load bound": isPlain ? boundOf(table, index, load) : Infinity };
}

function openNow(load: Load, slot: number): number {
  return isNew(slot) ? 0 : load.openOf(slot);
}

function availabilityAfter(load: Load, drained: ReadonlySet<number>, slot: number): number {
  if (drained.has(slot)) return AVAILABILITY.draining;
  const availability = isNew(slot) ? AVAILABILITY.full : load.availabilityOf(slot);
  return isClosed(availability) ? AVAILABILITY.full : availability;
}

/** The total weight of servers that get no clients: they may not, or their tier is not in use. */
function weightWithout({ servers }: RoutingTable, { low, high }: TierRange, availabilityOf: (slot: number) => number): number {
  const isOut = ({ slot, tier = 0 }: TableServer) => availabilityOf(slot) < 0 || tier < low || tier > high;
  return servers.reduce((sum, server) => isOut(server) ? sum + server.weight : sum, 0);
}

/** The tiers in use before and after, if the servers stay as well as they are; a new server counts as usable. */
export function tiersOf({ before, after, drained, load, tierRules = DEFAULT_TIER_RULES }: Transition): {
  readonly before: TierRange;
  readonly after: TierRange;
} {
  const [only] = after.tiers;
  const range = before.tiers.length === 1 ? onlyTier(before) : unpackTiers(load.tiersInUse);
  if (after.tiers.length === 1) return { before: range, after: { low: only.tier, high: only.tier } };
  const usable = new Array<number>(LIMITS.tierMax + 1).fill(0);
  for (const { tier = 0, slot } of after.servers) if (availabilityAfter(load, drained, slot) >= 0) usable[tier]++;
  return { before: range, after: tiersInUse(usable, tierRules, range) };
}

function onlyTier({ tiers: [{ tier }] }: RoutingTable): TierRange {
  return { low: tier, high: tier };
}

/** Counts connections by state and outcome. */
class Counts {
  readonly #counts = new Map<string, number>();

  add(state: PlannedState, outcome: Outcome, count = 1): void {
    const group = groupOf(state, outcome);
    this.#counts.set(group, (this.#counts.get(group) ?? 0) + count);
  }

  /** In the order of PLANNED_STATES and OUTCOMES. */
  list(): PlannedConnections[] {
    return PLANNED_STATES.flatMap((state) =>
      OUTCOMES.flatMap((outcome) => {
        const count = this.#counts.get(groupOf(state, outcome));
        return count === undefined ? [] : [{ state, count, outcome }];
      })
    );
  }
}

/** The groups with those of the same state and outcome put together. */
export function sumConnections(groups: readonly PlannedConnections[]): PlannedConnections[] {
  const counts = new Counts();
  for (const { state, outcome, count } of groups) counts.add(state, outcome, count);
  return counts.list();
}

function groupOf(state: PlannedState, outcome: Outcome): string {
  return `${state} ${outcome}`;
}
