/**
 * Explains which server a client gets: its position on the ring, the servers in ring order, and the reason for each server passed
 * over. `route()` makes the choice; this file only describes it. Pure: the load is an argument.
 */

import { hash64 } from "./hash.ts";
import { locate, walkRing } from "./ring.ts";
import { boundOf, isBeyondRamp, type Load, route } from "./route.ts";
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

/** A server in the order in which the ring offers it to the client. */
export interface OrderedServer {
  /** `address:port`. */
  readonly server: string;
  readonly state: ServerState;
  readonly open: number;
  /** `next`: as eligible as the chosen server, and after it in ring order. */
  readonly verdict: "chosen" | "next" | "passed over";
  /** Why it was passed over; null for the other verdicts. */
  readonly why: string | null;
}

/** How a client gets its server. `probe`, `point` and `distance` are null where the table has no servers. */
export interface Explanation {
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
  /** The servers in ring order up to the chosen one and `successorsMax` after it; all servers if none takes the client. */
  readonly order: readonly OrderedServer[];
}

/** How `route()` ranks a server, and why it is not in the first rank; null if it is. */
interface Judged {
  readonly rank: "room" | "overBound" | "ramping" | "asking" | "fallback" | "never";
  readonly why: string | null;
}

const HASH_RANGE = 2 ** 32;

/** Explains which server the client with this key gets now. */
export function explainClient(live: ExplainRequest): Explanation {
  const request = { ...live, load: freeze(live.load) };
  const { table, load, key } = request;
  const chosen = route(table, load, key).next().value ?? -1;
  const { high, low } = hash64(key);
  return {
    hash: hex(high) + hex(low),
    ...placeOf(table, key),
    server: chosen < 0 ? null : table.servers[chosen].name,
    order: explainWalk(request, chosen),
  };
}

/** A snapshot of the load: every number is read once, so that the explanation agrees with the numbers that it shows. */
function freeze(load: Load): Load {
  return {
    open: load.open,
    unavailableWeight: load.unavailableWeight,
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

function placeOf({ circle }: RoutingTable, key: Uint8Array): Pick<Explanation, "probe" | "point" | "distance"> {
  if (circle.serverCount === 0) return { probe: null, point: null, distance: null };
  const { probe, probePlace, point } = locate(circle, key);
  return { probe, point: hex(point), distance: ((point - probePlace) >>> 0) / HASH_RANGE };
}

function hex(number: number): string {
  return number.toString(16).padStart(8, "0");
}

/** The servers in ring order, each with its verdict; `chosen` is -1 if none takes the client. */
function explainWalk(request: ExplainRequest, chosen: number): OrderedServer[] {
  const { table, load, key, stateOf, successorsMax } = request;
  const rank = chosen < 0 ? undefined : judge(request, chosen).rank;
  const order: OrderedServer[] = [];
  let left = Infinity;
  for (const index of walkRing(table.circle, key)) {
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
  const bound = boundOf(table, index, load);
  if (open < bound) return { rank: "room", why: null };
  return { rank: "overBound", why: `it has ${open} connections and the load bound allows ${bound}` };
}
