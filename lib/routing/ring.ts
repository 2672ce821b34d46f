/**
 * The ring: consistent hashing with several probes per key (Appleton & O'Reilly, "Multi-probe consistent hashing", 2015). A server
 * owns points in a sorted array; a key is hashed PROBES times and belongs to the server whose point follows one of the probes most
 * closely. A server's points depend only on its name and weight, so a change of the pool moves as few clients as possible. Knows
 * names and weights, but not addresses, health or load.
 */

import { hash64 } from "./hash.ts";

/**
 * Points per unit of weight; PROBES, below, is the number of probes per key. Measured with exact shares, the worst of 40, 10 and 3
 * pools of 10, 100 and 1,000 equal servers (greatest share/fair share, least share/fair share):
 *
 * | points × probes | 10 servers    | 100 servers   | 1,000 servers |
 * | --------------- | ------------- | ------------- | ------------- |
 * | 160 × 1         | 1.237 / 0.778 | 1.280 / 0.764 | 1.298 / 0.718 |
 * | 1,024 × 1       | 1.086 / 0.916 | 1.150 / 0.914 | 1.108 / 0.895 |
 * | 256 × 11        | 1.041 / 0.956 | 1.041 / 0.961 | 1.044 / 0.948 |
 * | 100 × 21        | 1.051 / 0.956 | 1.040 / 0.942 | 1.040 / 0.935 |
 * | 160 × 16        | 1.043 / 0.955 | 1.037 / 0.953 | 1.043 / 0.947 |
 * | **256 × 16**    | 1.032 / 0.965 | 1.032 / 0.965 | 1.036 / 0.954 |
 * | 256 × 21        | 1.027 / 0.971 | 1.026 / 0.967 | 1.030 / 0.958 |
 *
 * 256 × 16 is the cheapest of these that keeps every server within 5 % of its share. Changing either number moves clients.
 */
export const POINTS_PER_WEIGHT = 256;
/** Probes per key: how often a key is hashed. Chosen together with POINTS_PER_WEIGHT. */
export const PROBES = 16;

/** How many servers a walk orders by distance; the rest follow in name order, so a walk over a full pool stays cheap. */
const RANKED_MAX = 64;

/** Points between two entries of the index of arcs, at most twice as many: small enough to stay in the processor's cache. */
const POINTS_PER_ARC = 8;

/** Lengths of gaps are rounded to this many bins in `ringShares`. */
const GAP_BINS = 2 ** 16;

const HASH_RANGE = 2 ** 32;

/** A server on the ring: `name` is its identity, `weight` (an integer from 1) its size. */
export interface RingServer {
  readonly name: string;
  readonly weight: number;
}

/** Points in ascending order; `owners[i]` is the index of the server that point i belongs to. */
interface Points {
  readonly points: Uint32Array<ArrayBuffer>;
  readonly owners: Uint32Array<ArrayBuffer>;
}

/**
 * The part of a ring that a look-up reads: numbers only, so that it can be in memory that threads share. The circle is divided into
 * equal arcs, numbered by the upper bits of a hash (all but the lower `arcShift`); `starts` has the first point of each arc, so
 * that the binary search takes only a few steps.
 */
export interface Circle {
  readonly serverCount: number;
  readonly points: Uint32Array;
  readonly owners: Uint32Array;
  readonly starts: Uint32Array;
  readonly arcShift: number;
}

/** Plain data, never changed once built. `servers` is in the order of their names. */
export interface Ring extends Circle {
  readonly servers: readonly RingServer[];
  readonly points: Uint32Array<ArrayBuffer>;
  readonly owners: Uint32Array<ArrayBuffer>;
}

/** A ring without servers. */
export const EMPTY_RING: Ring = {
  servers: [],
  serverCount: 0,
  points: new Uint32Array(),
  owners: new Uint32Array(),
  starts: new Uint32Array(3),
  arcShift: 31,
};

const encoder = new TextEncoder();

/**
 * The ring of `servers`, in any order and with unique names. The points of unchanged servers are copied from the `previous` ring in
 * one pass, which makes adding one of 1,000 servers cheap; the result is the same without it.
 */
export function buildRing(servers: readonly RingServer[], previous: Ring = EMPTY_RING): Ring {
  const sorted = servers.toSorted((a, b) => a.name < b.name ? -1 : 1);
  const kept = keptServers(previous, sorted);
  const fresh = sortedPoints(sorted, new Set(kept.filter((index) => index >= 0)));
  const merged = mergePoints(keepPoints(previous, kept), fresh);
  return { servers: sorted, serverCount: sorted.length, ...merged, ...indexArcs(merged.points) };
}

/** For each server of the previous ring its index in `servers`, or -1 if it was removed or its weight has changed. */
function keptServers(previous: Ring, servers: readonly RingServer[]): Int32Array {
  const indexes = new Map(servers.map((server, index) => [server.name, index]));
  return Int32Array.from(previous.servers, ({ name, weight }) => {
    const index = indexes.get(name);
    return index !== undefined && servers[index].weight === weight ? index : -1;
  });
}

/**
 * Packs a 32-bit number and a server's index into one double of 53 bits, which sorts by both; so a ring has at most 2²¹ servers.
 */
const PACK = 2 ** 21;

/** The points of every server not in `kept`. Equal hashes are in the order of their servers' names. */
function sortedPoints(servers: readonly RingServer[], kept: ReadonlySet<number>): Points {
  const weightTotal = servers.reduce((sum, { weight }, index) => kept.has(index) ? sum : sum + weight, 0);
  const packed = new Float64Array(weightTotal * POINTS_PER_WEIGHT);
  let written = 0;
  for (const [index, { name, weight }] of servers.entries()) {
    if (kept.has(index)) continue;
    const numbered = numberedName(name);
    const number = new DataView(numbered.buffer);
    for (let i = 0; i < weight * POINTS_PER_WEIGHT / 2; i++) {
      number.setUint32(0, i, true);
      const { high, low } = hash64(numbered);
      packed[written++] = high * PACK + index;
      packed[written++] = low * PACK + index;
    }
  }
  return unpack(packed.sort());
}

/** A server's name as UTF-8 behind four bytes for a number; the two halves of its hash are two of the server's points. */
function numberedName(name: string): Uint8Array<ArrayBuffer> {
  const bytes = encoder.encode(name);
  const numbered = new Uint8Array(4 + bytes.length);
  numbered.set(bytes, 4);
  return numbered;
}

function unpack(packed: Float64Array): Points {
  const points = new Uint32Array(packed.length);
  const owners = new Uint32Array(packed.length);
  for (let i = 0; i < packed.length; i++) {
    points[i] = packed[i] / PACK; // storing drops the fraction
    owners[i] = packed[i] % PACK;
  }
  return { points, owners };
}

/** The points of the previous ring whose servers are kept, with the new indexes of the servers. Their order by name is the same. */
function keepPoints(previous: Points, kept: Int32Array): Points {
  const points = new Uint32Array(previous.points.length);
  const owners = new Uint32Array(previous.points.length);
  let written = 0;
  for (let i = 0; i < points.length; i++) {
    const owner = kept[previous.owners[i]];
    if (owner < 0) continue;
    points[written] = previous.points[i];
    owners[written++] = owner;
  }
  return { points: points.subarray(0, written), owners: owners.subarray(0, written) };
}

/** Merges two sets of points, copying whole runs of `many` between one of `few` and the next. */
function mergePoints(many: Points, few: Points): Points {
  const points = new Uint32Array(many.points.length + few.points.length);
  const owners = new Uint32Array(points.length);
  let copied = 0;
  for (let i = 0; i <= few.points.length; i++) {
    const end = i < few.points.length ? rankOf(many, few.points[i], few.owners[i]) : many.points.length;
    points.set(many.points.subarray(copied, end), copied + i);
    owners.set(many.owners.subarray(copied, end), copied + i);
    copied = end;
    if (i === few.points.length) break;
    points[copied + i] = few.points[i];
    owners[copied + i] = few.owners[i];
  }
  return { points, owners };
}

/** The number of points before a point with this hash and owner. */
function rankOf({ points, owners }: Points, hash: number, owner: number): number {
  let low = lowerBound(points, hash, 0, points.length);
  while (low < points.length && points[low] === hash && owners[low] < owner) low++;
  return low;
}

/** The index, from `low` to `high`, of the first point that is not before `hash`; `high` if there is none. Binary search. */
function lowerBound(points: Uint32Array, hash: number, low: number, high: number): number {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (points[middle] < hash) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The arcs of the ring: `starts[a]` is the number of points before arc a, the last entry the number of all points. */
function indexArcs(points: Uint32Array): Pick<Ring, "starts" | "arcShift"> {
  const arcBits = Math.max(1, Math.ceil(Math.log2(points.length / POINTS_PER_ARC)));
  const arcShift = 32 - arcBits;
  const starts = new Uint32Array(2 ** arcBits + 1);
  for (let i = 0; i < points.length; i++) starts[(points[i] >>> arcShift) + 1]++;
  for (let arc = 1; arc < starts.length; arc++) starts[arc] += starts[arc - 1];
  return { starts, arcShift };
}

/**
 * The servers (indexes in the ring's `servers`) in ring order for the client with this key, each once. The second is the server the
 * client would get if the first were not on the ring, and so on: the clients of a lost server go where its removal would send them.
 * After the first RANKED_MAX the order is by name, starting from the last ranked server.
 */
export function* walkRing(ring: Circle, key: Uint8Array): Generator<number, void, undefined> {
  const count = ring.serverCount;
  if (count === 0) return;
  let last = firstOnRing(ring, key);
  yield last;
  const probes = hashProbes(key);
  const cursors = findCursors(ring, probes);
  const seen = new Set([last]);
  while (seen.size < Math.min(count, RANKED_MAX)) {
    passOver(seen, ring.owners, cursors);
    last = nearestOwner(ring, probes, cursors);
    seen.add(last);
    yield last;
  }
  for (let step = 1; count > RANKED_MAX && step < count; step++) {
    const index = (last + step) % count;
    if (!seen.has(index)) yield index;
  }
}

/** A server of a walk, and how far the nearest probe is from its point: HASH_RANGE after the ranked ones. */
interface Step {
  readonly index: number;
  readonly distance: number;
}

/**
 * The servers of several rings in the order of the one ring that they would make together: as they come, by distance. The indexes
 * are those of each ring plus its `start`.
 */
export function* walkRings(
  rings: readonly { readonly circle: Circle; readonly start: number }[],
  key: Uint8Array,
): Generator<number, void, undefined> {
  const walks = rings.map(({ circle, start }) => ({ start, steps: walkSteps(circle, key) }));
  const heads = walks.map(({ steps }) => steps.next().value);
  while (true) {
    let nearest = -1;
    for (let i = 0; i < heads.length; i++) {
      if (heads[i] !== undefined && (nearest < 0 || heads[i]!.distance < heads[nearest]!.distance)) nearest = i;
    }
    if (nearest < 0) return;
    yield walks[nearest].start + heads[nearest]!.index;
    heads[nearest] = walks[nearest].steps.next().value;
  }
}

/** `walkRing` with the distances. */
function* walkSteps(ring: Circle, key: Uint8Array): Generator<Step, undefined, undefined> {
  const probes = hashProbes(key);
  const ranked = ring.serverCount === 0 ? [] : findCursors(ring, probes);
  let left = Math.min(ring.serverCount, RANKED_MAX);
  const seen = new Set<number>();
  for (const index of walkRing(ring, key)) {
    const distance = left-- > 0 ? Math.min(...ranked.map((cursor, i) => (ring.points[cursor] - probes[i]) >>> 0)) : HASH_RANGE;
    yield { index, distance };
    seen.add(index);
    if (left > 0) passOver(seen, ring.owners, ranked);
  }
}

/** The first server of `walkRing`, found faster. The ring must have a server. */
export function firstOnRing({ points, owners, starts, arcShift }: Circle, key: Uint8Array): number {
  const { high: first, low } = hash64(key);
  const step = low | 1;
  let nearest = HASH_RANGE;
  let owner = 0;
  for (let i = 0; i < PROBES; i++) {
    const probe = probeOf(first, step, i);
    const arc = probe >>> arcShift;
    const found = lowerBound(points, probe, starts[arc], starts[arc + 1]);
    const point = found === points.length ? 0 : found; // after the last point the circle starts again
    const distance = (points[point] - probe) >>> 0;
    if (distance >= nearest) continue;
    nearest = distance;
    owner = owners[point];
  }
  return owner;
}

/** The probes of a key: double hashing (Kirsch & Mitzenmacher, 2006), with an odd step so that no two probes are equal. */
function hashProbes(key: Uint8Array): number[] {
  const { high: first, low } = hash64(key);
  const step = low | 1;
  const probes: number[] = []; // not a typed array: making one takes longer than all 16 searches
  for (let i = 0; i < PROBES; i++) probes.push(probeOf(first, step, i));
  return probes;
}

function probeOf(first: number, step: number, i: number): number {
  return (first + Math.imul(i, step)) >>> 0;
}

/** For each probe the index of the first point at or after it. */
function findCursors({ points, starts, arcShift }: Circle, probes: readonly number[]): number[] {
  const cursors: number[] = [];
  for (const probe of probes) {
    const arc = probe >>> arcShift;
    const found = lowerBound(points, probe, starts[arc], starts[arc + 1]);
    cursors.push(found === points.length ? 0 : found); // after the last point the circle starts again
  }
  return cursors;
}

/** Moves every cursor to the next point of a server that is not in `seen`; there must be one. */
function passOver(seen: ReadonlySet<number>, owners: Uint32Array, cursors: number[]): void {
  for (let i = 0; i < cursors.length; i++) {
    while (seen.has(owners[cursors[i]])) cursors[i] = cursors[i] + 1 === owners.length ? 0 : cursors[i] + 1;
  }
}

/** The owner of the point that follows its probe most closely; the first probe wins a tie. */
function nearestOwner(ring: Circle, probes: readonly number[], cursors: readonly number[]): number {
  let nearest = HASH_RANGE;
  let owner = 0;
  for (let i = 0; i < cursors.length; i++) {
    const distance = (ring.points[cursors[i]] - probes[i]) >>> 0;
    if (distance >= nearest) continue;
    nearest = distance;
    owner = ring.owners[cursors[i]];
  }
  return owner;
}

/** How a key finds its first server. */
interface Located {
  /** The number, from 0, of the probe that is nearest to a point. */
  readonly probe: number;
  /** The position of that probe on the circle, from 0 to 2³²−1. */
  readonly probePlace: number;
  /** The position of the point. */
  readonly point: number;
  /** The server of the point, an index in the ring's `servers`: the result of `firstOnRing`. */
  readonly owner: number;
}

/** `firstOnRing` with the numbers that led to its result. The ring must have a server. */
export function locate(ring: Circle, key: Uint8Array): Located {
  const probes = hashProbes(key);
  const cursors = findCursors(ring, probes);
  const distances = cursors.map((cursor, i) => (ring.points[cursor] - probes[i]) >>> 0);
  const probe = distances.indexOf(Math.min(...distances)); // the first of equals, as everywhere
  return { probe, probePlace: probes[probe], point: ring.points[cursors[probe]], owner: ring.owners[cursors[probe]] };
}

/**
 * Each server's share of all keys, in the order of `ring.servers`; the shares add up to 1 except for rounding. Computed, not
 * sampled: a point at the end of a gap of length g wins the probes that fall at most g before it, against all the other probes of
 * the key. With lengths in ascending order, `won[bin]` is what one gap of that length wins. Lengths are rounded to GAP_BINS bins,
 * which changes a share by less than 1 in 10,000 and avoids sorting millions of gaps.
 */
export function ringShares(ring: Ring): Float64Array {
  const shares = new Float64Array(ring.servers.length);
  if (shares.length === 0) return shares;
  const bins = binGaps(ring.points);
  const counts = new Uint32Array(GAP_BINS);
  for (let i = 0; i < bins.length; i++) counts[bins[i]]++;
  const won = gapWinnings(counts, bins.length);
  for (let i = 0; i < bins.length; i++) shares[ring.owners[i]] += won[bins[i]];
  return shares.map((share) => Math.min(1, share)); // rounding may give slightly more than 1
}

/** The share of all keys that each of these points wins, which are all of a ring's, in ascending order: `ringShares` by point. */
export function pointShares(points: Uint32Array): Float64Array {
  const bins = binGaps(points);
  const counts = new Uint32Array(GAP_BINS);
  for (let i = 0; i < bins.length; i++) counts[bins[i]]++;
  const won = gapWinnings(counts, bins.length);
  const shares = new Float64Array(bins.length);
  for (let i = 0; i < bins.length; i++) shares[i] = won[bins[i]];
  return shares;
}

/** What one gap of each bin's length wins. The lengths are scaled so that all gaps together cover the circle exactly. */
function gapWinnings(counts: Uint32Array, gapCount: number): Float64Array {
  const won = new Float64Array(counts.length);
  let total = 0;
  for (let bin = 0; bin < counts.length; bin++) total += counts[bin] * (bin + 0.5);
  let covered = 0; // the chance that one probe falls within `reached` before some point
  let reached = 0;
  let notShorter = gapCount;
  let wins = 0;
  for (let bin = 0; bin < counts.length; bin++) {
    if (counts[bin] === 0) continue;
    const length = (bin + 0.5) / total;
    const next = Math.min(1, covered + notShorter * (length - reached));
    wins += ((1 - covered) ** PROBES - (1 - next) ** PROBES) / notShorter;
    won[bin] = wins;
    covered = next;
    reached = length;
    notShorter -= counts[bin];
  }
  return won;
}

/** The gap before every point, as a fraction of the longest gap in GAP_BINS steps. */
function binGaps(points: Uint32Array): Uint16Array {
  const gaps = new Float64Array(points.length);
  let longest = 0;
  let before = points[points.length - 1] - HASH_RANGE;
  for (let i = 0; i < points.length; before = points[i++]) {
    gaps[i] = points[i] - before;
    if (gaps[i] > longest) longest = gaps[i];
  }
  const bins = new Uint16Array(points.length);
  const binsPerLength = GAP_BINS / (longest + 1);
  for (let i = 0; i < gaps.length; i++) bins[i] = gaps[i] * binsPerLength; // storing drops the fraction
  return bins;
}

/** The greatest ratio of a share to the fair share by weight: 1 is perfect. 0 without servers. */
export function peakToMean(ring: Ring, shares: Float64Array): number {
  const weightTotal = ring.servers.reduce((sum, { weight }) => sum + weight, 0);
  return ring.servers.reduce((peak, { weight }, i) => Math.max(peak, shares[i] * weightTotal / weight), 0);
}

/**
 * Eight hexadecimal digits that are equal for two rings exactly if both send every client to the same server, except for a chance
 * of 1 in 2³². Two balancers can be compared by eye.
 */
export function ringFingerprint(ring: Ring): string {
  const servers = ring.servers.map(({ name, weight }) => `${name} ${weight}\n`).join("");
  const points = new Uint8Array(ring.points.buffer, ring.points.byteOffset, ring.points.byteLength);
  const hashes = [hash64(points), hash64(encoder.encode(`${PROBES}\n${servers}`))].flatMap(({ high, low }) => [high, low]);
  return hash64(new Uint8Array(Uint32Array.from(hashes).buffer)).high.toString(16).padStart(8, "0");
}
