/**
 * Explains which server a client gets: its position on the ring, the servers in the order of the policy, and the reason for each
 * server passed over. `route()` makes the choice; this file only describes it. Pure: the load is an argument.
 */

import { hash64 } from "./hash.ts";
import type { Policy } from "../values/config.ts";
import { LEAST_SAMPLE, LEAST_SCAN_MAX, ORDERS } from "./candidates.ts";
import { isInUse } from "./home.ts";
import { locate } from "./ring.ts";
import { boundOf, isBeyondRamp, type Load, routeBy, tierGroups } from "./route.ts";
import { type TierRange, unpackTiers } from "./tiers.ts";
import type { RoutingTable } from "./routing_table.ts";
import { AVAILABILITY, isClosed, type ServerState } from "./availability.ts";

/** The client to explain, and the state of the pool. */
interface ExplainRequest {
  readonly table: RoutingTable;
  /** As for `route()`: the client counts as one of the open connections. */
  readonly load: Load;
  /** The key of the client, from `clientKey`. */
  readonly key: Uint8Array;
  /** The state of the server with this slot, to be shown. */
  readonly stateOf: (slot: number) => ServerState;
  /** How many servers to list after the chosen one. */
  readonly successorsMax: number;
}

/** A server in the order in which the policy offers it to the client. */
export interface OrderedServer {
  /** `address:port`. */
  readonly server: string;
  readonly state: ServerState;
  readonly open: number;
  /** `next`: as eligible as the chosen server, and after it in the order. */
  readonly verdict: "chosen" | "next" | "passed over";
  /** Why it was passed over; null for the other verdicts. */
  readonly why: string | null;
}

/**
 * How a client gets its server. `probe`, `point` and `distance` are those of the lowest tier in use, and null where it has no
 * servers or the policy does not go by the ring.
 */
export interface Explanation {
  readonly policy: Policy;
  /** The tiers that new clients use; null where the table has one tier. */
  readonly tiers: TierRange | null;
  /** The hash of the key: 16 hexadecimal digits. */
  readonly hash: string;
  /** The number, from 0, of the probe that is nearest to a point. */
  readonly probe: number | null;
  /** The position of that point: 8 hexadecimal digits. */
  readonly point: string | null;
  /** The distance from the probe to the point, as a fraction of the circle. */
  readonly distance: number | null;
  /** The first server that `route()` gives; null if it gives none. */
  readonly server: string | null;
  /** By what the policy chose it, as a clause; null with the ring, and if no server was chosen. */
  readonly reason: string | null;
  /** The servers in the order of the policy up to the chosen one and `successorsMax` after it; all if none takes the client. */
  readonly order: readonly OrderedServer[];
}

/** How `route()` ranks a server, and why it is not in the first rank; null if it is. */
interface Judged {
  readonly rank: "room" | "overBound" | "ramping" | "spare" | "asking" | "fallback" | "never";
  readonly why: string | null;
}

const HASH_RANGE = 2 ** 32;

/** Explains which server the client with this key gets now. */
export function explainClient(live: ExplainRequest): Explanation {
  const request = { ...live, load: freeze(live.load) };
  const { table, load, key } = request;
  const offered = offersOf(request);
  const chosen = routeBy((_, tiers) => offered.get(tiers[0].tier)!, table, load, key).next().value ?? -1;
  const { high, low } = hash64(key);
  return {
    policy: table.policy,
    tiers: table.tiers.length === 1 ? null : unpackTiers(load.tiersInUse),
    hash: hex(high) + hex(low),
    ...placeOf(table, load, key),
    server: chosen < 0 ? null : table.servers[chosen].name,
    reason: chosen < 0 ? null : reasonOf(request, chosen),
    order: explainWalk(request, [...offered.values()].flat(), chosen),
  };
}

/** By what a policy chooses, and what another explanation may say. */
function reasonOf({ table, load }: ExplainRequest, chosen: number): string | null {
  const open = load.openOf(table.slots[chosen]);
  const connections = `${open} open connection${open === 1 ? "" : "s"}`;
  const servers = tierGroups(table, load)[0].reduce((sum, { start, end }) => sum + end - start, 0);
  switch (table.policy) {
    case "ring":
      return null;
    case "least-connections":
      if (servers <= LEAST_SCAN_MAX) return `by least connections: ${connections} at weight ${table.weights[chosen]}`;
      return `by least connections of ${LEAST_SAMPLE} servers chosen at random: ${connections} at weight ${table.weights[chosen]}`;
    case "random":
      return `the less loaded of two servers chosen at random, with ${connections}: the client may get another`;
    case "round-robin":
      return "in turn: every thread has its own turns, so the client may get another";
    case "first":
      return `the first with room in the order of addresses: ${connections}`;
  }
}

/** A snapshot of the load: every number is read once, so that the explanation agrees with the numbers that it shows. */
function freeze(load: Load): Load {
  return {
    open: load.open,
    unavailableWeight: load.unavailableWeight,
    tiersInUse: load.tiersInUse,
    turns: load.turns,
    openOf: readOnce((slot) => load.openOf(slot)),
    availabilityOf: readOnce((slot) => load.availabilityOf(slot)),
  };
}

function readOnce(read: (slot: number) => number): (slot: number) => number {
  const known = new Map<number, number>();
  return (slot) => {
    const number = known.get(slot) ?? read(slot);
    known.set(slot, number);
    return number;
  };
}

/** The place on the ring of the lowest tier in use. */
function placeOf(table: RoutingTable, load: Load, key: Uint8Array): Pick<Explanation, "probe" | "point" | "distance"> {
  const { circle } = tierGroups(table, load)[0][0];
  if (circle.serverCount === 0 || table.policy !== "ring") return { probe: null, point: null, distance: null };
  const { probe, probePlace, point } = locate(circle, key);
  return { probe, point: hex(point), distance: ((point - probePlace) >>> 0) / HASH_RANGE };
}

function hex(number: number): string {
  return number.toString(16).padStart(8, "0");
}

/** The order of the policy in each group of tiers, by the lowest tier of the group. Taken once: it may be random. */
function offersOf({ table, load, key }: ExplainRequest): ReadonlyMap<number, readonly number[]> {
  const order = ORDERS[table.policy];
  return new Map(tierGroups(table, load).map((tiers) => [tiers[0].tier, [...order(table, tiers, load, key)]]));
}

/** The offered servers, each with its verdict; `chosen` is -1 if none takes the client. */
function explainWalk(request: ExplainRequest, offered: readonly number[], chosen: number): OrderedServer[] {
  const { table, load, stateOf, successorsMax } = request;
  const rank = chosen < 0 ? undefined : judge(request, chosen).rank;
  const order: OrderedServer[] = [];
  let left = Infinity;
  for (const index of offered) {
    if (left-- <= 0) break;
    if (index === chosen) left = successorsMax;
    const slot = table.slots[index];
    const judged = judge(request, index);
    // No server before the chosen one has its rank, so one that has it comes after.
    const verdict = index === chosen ? "chosen" : judged.rank === rank ? "next" : "passed over";
    const why = verdict === "passed over" ? judged.why : null;
    order.push({ server: table.servers[index].name, state: stateOf(slot), open: load.openOf(slot), verdict, why });
  }
  return order;
}

/** Applies the tests of `route()` in the same order; a test compares the two. */
function judge({ table, load, key, stateOf }: ExplainRequest, index: number): Judged {
  const slot = table.slots[index];
  const open = load.openOf(slot);
  const availability = load.availabilityOf(slot);
  const connectionsMax = table.connectionsMax[index];
  if (isClosed(availability)) return { rank: "never", why: "it is draining" };
  if (open >= connectionsMax) return { rank: "never", why: `it is at its connection limit (${connectionsMax})` };
  if (availability === AVAILABILITY.fallback) {
    return { rank: "fallback", why: stateOf(slot) === "resting" ? "it is resting after failed connections" : "it is down" };
  }
  if (availability === AVAILABILITY.asking) return { rank: "asking", why: "its check asks to drain it" };
  if (isBeyondRamp(availability, key)) {
    return { rank: "ramping", why: "it is ramping up (slow start) and does not take this client yet" };
  }
  if (!isInUse(table, load, index)) {
    return { rank: "spare", why: `its tier (${table.servers[index].tier ?? 0}) is not in use, unless the others have no room` };
  }
  const bound = boundOf(table, index, load);
  if (open < bound) return { rank: "room", why: null };
  return { rank: "overBound", why: `it has ${open} connections and the load bound allows ${bound}` };
}
