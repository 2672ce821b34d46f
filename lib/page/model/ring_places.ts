/**
 * The ring as it is drawn: outside the circle itself in bins, each in the colour of its owner; inside a slice for each server, as
 * long as its share, filled by its load. From slices whose server gets no clients, arrows lead to those who take over. A needle
 * shows where a client's probes fall and which point wins; a plan outlines what would change hands. Computes angles only.
 */

import type { Answers } from "../../control/api.ts";
import type { Explanation, Plan, ServerState } from "./contract.ts";
import type { PoolRow } from "./pool_rows.ts";
import { byName } from "./words.ts";

/** `GET /v1/ring`. */
export type RingPicture = Answers["ring"];

/** A part of the circle, in turns from the top, clockwise. */
export interface Arc {
  readonly from: number;
  readonly to: number;
}

/** Neighbouring bins of one owner. */
export interface OwnedArc extends Arc {
  /** Null where there is no server. */
  readonly server: string | null;
}

/** A server's slice. */
export interface Slice extends Arc {
  readonly server: string;
  /** What tells it from the others, to be written on it. */
  readonly name: string;
  readonly state: ServerState;
  readonly share: number;
  /** Its load: of its bound, or of twice its fair part where there is none; from 0 to 1.25. */
  readonly load: number;
  /** Where the bound is on the same scale; NaN where there is none. */
  readonly bound: number;
}

/** Clients that one server takes over from another: from a place in one slice to a place in the other. */
export interface Takeover {
  readonly from: string;
  readonly to: string;
  readonly share: number;
  readonly start: Arc;
  readonly end: Arc;
}

/** A client on the ring. */
export interface Needle {
  /** Turns of all its probes. */
  readonly probes: readonly number[];
  /** Turn of the probe that is nearest to a point, and of the point; null where no ring decides. */
  readonly best: { readonly probe: number; readonly point: number } | null;
  readonly server: string | null;
}

/** The most arrows, of the greatest take-overs: more would be a grey disc. */
const TAKEOVERS_MAX = 60;
/** Gaps between slices, in turns; fewer servers have room for more. */
const GAP_MAX = 0.004;
/** More slices than this are drawn in one colour and without gaps: they would be a grey of all colours. */
export const SLICES_APART_MAX = 60;
/** Probes of a key: see PROBES in ring.ts, which a page cannot load. */
export const PROBES = 16;
const HASH_RANGE = 2 ** 32;
/** Full slices are drawn to this much of their bound. */
const LOAD_MAX = 1.25;

/** Runs of bins with one owner. */
export function ownedArcs({ servers, owners }: RingPicture["circle"]): OwnedArc[] {
  const arcs: OwnedArc[] = [];
  for (let from = 0; from < owners.length;) {
    let to = from + 1;
    while (to < owners.length && owners[to] === owners[from]) to++;
    arcs.push({ from: from / owners.length, to: to / owners.length, server: servers[owners[from]] ?? null });
    from = to;
  }
  return arcs;
}

/** The bins whose owner would be another one, in runs. */
export function changedArcs({ circle, after }: Pick<RingPicture, "circle" | "after">): Arc[] {
  if (after === null) return [];
  const isOther = (bin: number) => circle.servers[circle.owners[bin]] !== after.servers[after.owners[bin]];
  const arcs: Arc[] = [];
  const bins = Math.min(circle.owners.length, after.owners.length);
  for (let from = 0; from < bins; from++) {
    if (!isOther(from)) continue;
    let to = from + 1;
    while (to < bins && isOther(to)) to++;
    arcs.push({ from: from / bins, to: to / bins });
    from = to;
  }
  return arcs;
}

/** A slice for each server with a share, in the order of names. The tier with the most of them makes the circle. */
export function slicesOf(rows: readonly PoolRow[]): Slice[] {
  const shown = rows.filter(({ share, state }) => share > 0 && state !== "removing").toSorted((a, b) => byName(a.server, b.server));
  const total = shown.reduce((sum, { share }) => sum + share, 0);
  if (total === 0) return [];
  const gap = shown.length === 1 || shown.length > SLICES_APART_MAX ? 0 : Math.min(GAP_MAX, 0.2 / shown.length);
  let from = 0;
  const nameOf = shortNames(shown.map(({ server }) => server));
  return shown.map(({ server, state, share, open, bound, fair }) => {
    const to = from + share / total;
    const full = Number.isFinite(bound) ? bound : 2 * Math.max(1, fair);
    const load = Number.isNaN(open) ? 0 : Math.min(LOAD_MAX, open / full);
    const slice = {
      server,
      name: nameOf(server),
      state,
      share,
      load,
      bound: Number.isFinite(bound) ? 1 : NaN,
      from: from + gap / 2,
      to: to - gap / 2,
    };
    from = to;
    return slice;
  });
}

/** Names without what all of them begin and end with: `.2` of `10.0.0.2:80`, `:81` where all are on one host. */
function shortNames(servers: readonly string[]): (server: string) => string {
  const port = servers[0].match(/:[0-9]+$/)?.[0] ?? "";
  const ending = servers.every((server) => server.endsWith(port)) ? port.length : 0;
  const hosts = servers.map((server) => server.slice(0, server.length - ending));
  const lastMark = (before: number) => Math.max(...[".", ":"].map((mark) => before < 0 ? -1 : hosts[0].lastIndexOf(mark, before)));
  let length = hosts.length === 1 ? 0 : lastMark(Infinity);
  while (length > 0 && !hosts.every((host) => host.startsWith(hosts[0].slice(0, length + 1)))) length = lastMark(length - 1);
  return (server) => server.slice(Math.max(0, length), server.length - ending);
}

/** The arrows between slices: each takes its part of the giver's slice, and a place in the middle of the taker's. */
export function takeoversOf(flows: RingPicture["takenOver"], slices: readonly Slice[]): Takeover[] {
  const places = new Map(slices.map((slice) => [slice.server, slice]));
  const totals = new Map<string, number>();
  for (const { from, share } of flows) if (from !== null) totals.set(from, (totals.get(from) ?? 0) + share);
  const used = new Map<string, number>();
  return flows.slice(0, TAKEOVERS_MAX).flatMap(({ from, to, share }) => {
    const giver = from === null ? undefined : places.get(from);
    const taker = to === null ? undefined : places.get(to);
    if (giver === undefined || taker === undefined || share <= 0) return [];
    const part = (giver.to - giver.from) * share / totals.get(giver.server)!;
    const begin = used.get(giver.server) ?? giver.from;
    used.set(giver.server, begin + part);
    const middle = (taker.from + taker.to) / 2;
    const width = Math.min(part, (taker.to - taker.from) * 0.8);
    return [{
      from: giver.server,
      to: taker.server,
      share,
      start: { from: begin, to: begin + part },
      end: { from: middle - width / 2, to: middle + width / 2 },
    }];
  });
}

/** What of each slice a plan would give away, at its end, and who would get more. By server, as parts of all clients. */
export function outlinesOf({ flows }: Pick<Plan, "flows">, slices: readonly Slice[]): { gives: Arc[]; takes: string[] } {
  const given = new Map<string, number>();
  const takes = new Set<string>();
  for (const { from, to, share } of flows) {
    if (from !== null) given.set(from, (given.get(from) ?? 0) + share);
    if (to !== null) takes.add(to);
  }
  const gives = slices.flatMap(({ server, from, to, share }) => {
    const part = Math.min(1, (given.get(server) ?? 0) / share);
    return part > 0 ? [{ from: to - (to - from) * part, to }] : [];
  });
  return { gives, takes: [...takes] };
}

/** Where a client is: its probes follow from its hash as in `ring.ts` (double hashing). */
export function needleOf({ hash, probe, point, server }: Pick<Explanation, "hash" | "probe" | "point" | "server">): Needle {
  const high = Number.parseInt(hash.slice(0, 8), 16);
  const step = Number.parseInt(hash.slice(8), 16) | 1;
  if (probe === null || point === null) return { probes: [], best: null, server };
  const probes = Array.from({ length: PROBES }, (_, i) => ((high + Math.imul(i, step)) >>> 0) / HASH_RANGE);
  return { probes, best: { probe: probes[probe], point: Number.parseInt(point, 16) / HASH_RANGE }, server };
}

/** What is at a turn of the slices; undefined between them. */
export function sliceAt(slices: readonly Slice[], turn: number): Slice | undefined {
  return slices.find(({ from, to }) => turn >= from && turn < to);
}
