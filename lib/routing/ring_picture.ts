/**
 * The ring as it can be drawn: the circle in equal bins, each with the server that owns most of it; who takes over from servers
 * that get no clients now; and the bins after a change of the pool. Pure; knows tables and rings only.
 */

import type { Policy } from "../values/config.ts";
import { AVAILABILITY } from "./availability.ts";
import { type Flow, ringFlows } from "./flows.ts";
import { changedServers, type PoolChange } from "./plan.ts";
import { buildRing, type Ring } from "./ring.ts";
import type { Load } from "./route.ts";
import { nextTable, ringOf, type RoutingTable } from "./routing_table.ts";
import { unpackTiers } from "./tiers.ts";

/** A circle in equal bins. */
export interface BinnedCircle {
  /** Names, in the order of the ring. */
  readonly servers: readonly string[];
  /** For each bin the index in `servers` of the owner of most of it; -1 where there is no server. */
  readonly owners: readonly number[];
}

/** The ring of a service. */
export interface RingPicture {
  readonly policy: Policy;
  readonly points: number;
  /** Without bins unless the policy is `ring`: the others have no owners. */
  readonly circle: BinnedCircle;
  /** Clients whose owner gets no clients now, as fractions of all clients: who takes them. The greatest first. */
  readonly takenOver: readonly Flow[];
  /** The circle after the change that was asked for; null if none was. */
  readonly after: BinnedCircle | null;
}

/** What to draw. `bins` is their number. */
export interface RingRequest {
  readonly table: RoutingTable;
  readonly load: Load;
  readonly bins: number;
  readonly change?: PoolChange;
}

/** The most flows that are listed. */
const FLOWS_MAX = 200;
const HASH_RANGE = 2 ** 32;

/** Draws the ring of the tiers in use. */
export function pictureRing({ table, load, bins, change }: RingRequest): RingPicture {
  const tiers = table.tiers.length === 1 ? { low: table.tiers[0].tier, high: table.tiers[0].tier } : unpackTiers(load.tiersInUse);
  const ring = ringOf(table, tiers);
  const { policy } = table;
  const points = ring.points.length;
  if (policy !== "ring") return { policy, points, circle: { servers: [], owners: [] }, takenOver: [], after: null };
  const changed = change && ringOf(nextTable(table, changedServers(table.servers, change)), tiers);
  return {
    policy,
    points,
    circle: binCircle(ring, bins),
    takenOver: takenOver(table, ring, load),
    after: changed === undefined ? null : binCircle(changed, bins),
  };
}

/** The circle in equal bins. A server owns what is between a point of its own and the point before. */
export function binCircle({ servers, points, owners }: Ring, bins: number): BinnedCircle {
  const lengths = new Map<number, number>();
  const binned: number[] = [];
  let next = 0;
  for (let bin = 0; bin < bins; bin++) {
    const end = HASH_RANGE * (bin + 1) / bins;
    let at = HASH_RANGE * bin / bins;
    lengths.clear();
    while (at < end && points.length > 0) {
      const owner = owners[next % points.length]; // after the last point the circle starts again
      const to = next < points.length ? Math.min(points[next], end) : end;
      lengths.set(owner, (lengths.get(owner) ?? 0) + to - at);
      at = to;
      if (at < end) next++;
    }
    binned.push(longestOf(lengths));
  }
  return { servers: servers.map(({ name }) => name), owners: binned };
}

function longestOf(lengths: ReadonlyMap<number, number>): number {
  let longest = -1;
  for (const [owner, length] of lengths) if (longest < 0 || length > lengths.get(longest)!) longest = owner;
  return longest;
}

/** Who takes the clients of servers that get none now. */
function takenOver(table: RoutingTable, ring: Ring, load: Load): readonly Flow[] {
  const out = new Set(table.servers.filter(({ slot }) => load.availabilityOf(slot) < AVAILABILITY.full).map(({ name }) => name));
  const left = ring.servers.filter(({ name }) => !out.has(name));
  if (left.length === ring.servers.length || left.length === 0) return [];
  return ringFlows(ring, buildRing(left, ring), FLOWS_MAX).flows;
}
