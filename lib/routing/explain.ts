/**
 * Why a client has the server it has: its place on the ring, the servers on its way round, and for each that was passed over the
 * reason, in the words of a person. The choice itself is `route()`'s; here it is only told. Reads no clock and asks nobody: the
 * load comes in as an argument.
 */

import { hash64 } from "./hash.ts";
import { locate, walkRing } from "./ring.ts";
import { boundOf, isBeyondRamp, type Load, route } from "./route.ts";
import type { RoutingTable } from "./routing_table.ts";
import { AVAILABILITY, isDraining, type ServerState } from "./availability.ts";

/** What is to be explained. */
export interface ExplainRequest {
  readonly table: RoutingTable;
  /** As `route()` takes it: this client counts as one of the open connections. */
  readonly load: Load;
  /** The client's, see `clientKey`. */
  readonly key: Uint8Array;
  /** The state of the server with this slot, in a word, to be shown. Of a server that rests it is "resting". */
  readonly stateOf: (slot: number) => ServerState;
  /** How many servers to tell of beyond the one that is chosen. */
  readonly successorsMax: number;
}

/** A server on the client's way round the ring. */
export interface OrderedServer {
  /** `address:port`. */
  readonly server: string;
  readonly state: ServerState;
  readonly open: number;
  /** `next`: it would do as well as the chosen one, and follows it. */
  readonly verdict: "chosen" | "next" | "passed over";
  /** Why it was passed over; null if it was not. */
  readonly why: string | null;
}

/** How a client came to its server. Without a server in the table there is no place on the ring: null. */
export interface Explanation {
  /** Of the key: 16 hexadecimal digits. */
  readonly hash: string;
  /** Which of the key's probes won, from 0. */
  readonly probe: number | null;
  /** Where the point is that it found: 8 hexadecimal digits. */
  readonly point: string | null;
  /** From the probe to the point, as a part of the whole circle. */
  readonly distance: number | null;
  /** The first that `route()` gives; null if it gives none. */
  readonly server: string | null;
  /** The walk round the ring up to that server, and some way on. All of it if no server takes the client. */
  readonly order: readonly OrderedServer[];
}

/** How `route()` sees a server, and why it does not come first; null if nothing is against it. */
interface Judged {
  readonly rank: "room" | "overBound" | "ramping" | "fallback" | "never";
  readonly why: string | null;
}

const HASH_RANGE = 2 ** 32;

/** Explains which server the client with this key gets just now. */
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

/** The load as it is at one moment: every number is read once, or what is told of a server might not be what it was judged by. */
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

/** The walk with a verdict on each server; `chosen` is -1 if none takes the client. */
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
    // None before the chosen one has its rank, so whoever has it comes after.
    const verdict = index === chosen ? "chosen" : judged.rank === rank ? "next" : "passed over";
    const why = verdict === "passed over" ? judged.why : null;
    order.push({ server: table.servers[index].name, state: stateOf(slot), open: load.openOf(slot), verdict, why });
  }
  return order;
}

/** Asks what `route()` asks, in the same order: a test compares the two. */
function judge({ table, load, key, stateOf }: ExplainRequest, index: number): Judged {
  const slot = table.slots[index];
  const open = load.openOf(slot);
  const availability = load.availabilityOf(slot);
  const connectionsMax = table.connectionsMax[index];
  if (isDraining(availability)) return { rank: "never", why: "it is draining" };
  if (open >= connectionsMax) return { rank: "never", why: `it has as many connections as it may have (${connectionsMax})` };
  if (availability === AVAILABILITY.fallback) {
    return { rank: "fallback", why: stateOf(slot) === "resting" ? "it rests" : "it is down" };
  }
  if (isBeyondRamp(availability, key)) {
    return { rank: "ramping", why: "it comes back by and by and does not take this client yet" };
  }
  const bound = boundOf(table, index, load);
  if (open < bound) return { rank: "room", why: null };
  return { rank: "overBound", why: `it has ${open} connections and the load bound lets it have ${bound}` };
}
