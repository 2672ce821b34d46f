/** What a routing table says of itself: the shares of its servers, how even they are, and its fingerprint. */

import { hash64 } from "./hash.ts";
import { peakToMean, type Ring, ringFingerprint, ringShares } from "./ring.ts";
import type { RoutingTable } from "./routing_table.ts";

/** Figures of a table. */
export interface TableFigures {
  /** In the order of `servers`: the part of the clients of its tier that each gets; exact with `ring`, else by weight. */
  readonly shares: readonly number[];
  readonly points: number;
  /** `peakToMean` of the tier where it is greatest; 1 where the shares are by weight. */
  readonly peakToMean: number;
  /** `ringFingerprint`; with several tiers, of all of them. Equal pools have the same one whatever the policy. */
  readonly fingerprint: string;
}

/** Computes the figures. Takes some ms, for a large table more. */
export function tableFigures({ tiers, policy }: RoutingTable): TableFigures {
  const figures = tiers.map(({ ring }) => ({ ring, shares: policy === "ring" ? ringShares(ring) : weightShares(ring) }));
  return {
    shares: figures.flatMap(({ shares }) => [...shares]),
    points: figures.reduce((sum, { ring }) => sum + ring.points.length, 0),
    peakToMean: Math.max(...figures.map(({ ring, shares }) => peakToMean(ring, shares))),
    fingerprint: tableFingerprint({ tiers }),
  };
}

/** Each server's part of the weight, in the order of `ring.servers`. */
export function weightShares({ servers }: Ring): Float64Array {
  const weightTotal = servers.reduce((sum, { weight }) => sum + weight, 0);
  return Float64Array.from(servers, ({ weight }) => weight / weightTotal);
}

/** The fingerprint by itself, which takes much less time. A pool whose only tier is 0 has the fingerprint of its ring. */
export function tableFingerprint({ tiers }: Pick<RoutingTable, "tiers">): string {
  if (tiers.length === 1 && tiers[0].tier === 0) return ringFingerprint(tiers[0].ring);
  const text = tiers.map(({ tier, ring }) => `${tier} ${ringFingerprint(ring)}\n`).join("");
  return hash64(new TextEncoder().encode(text)).high.toString(16).padStart(8, "0");
}
