/**
 * Which clients get another server when one ring follows another: how many, and between whom. Computed over all keys, not sampled,
 * like the shares of `ring.ts`. Pure; knows rings only.
 *
 * Of each key the nearest point of both rings together decides. If both rings have that point, the client stays. If only one of
 * them has it, its server wins the client in that ring, and the other ring's winner is the next point behind the same probe (found
 * by geometry, point by point) or is found by another probe of the key (by chance: in proportion to what each server wins so).
 */

import { pointShares, PROBES, type Ring, ringShares } from "./ring.ts";

/** Clients that get another server, as a fraction of all possible clients. A null `from` or `to` means no server. */
export interface Flow {
  readonly from: string | null;
  readonly to: string | null;
  readonly share: number;
}

/** All flows from one ring to another. */
export interface Flows {
  /** The fraction of all possible clients that get another server, from 0 to 1. */
  readonly movedShare: number;
  /** The greatest flows, the greatest first; equal ones in the order of their names. */
  readonly flows: readonly Flow[];
  /** The flows that are not listed. */
  readonly rest: { readonly count: number; readonly share: number };
}

/**
 * Points of one ring that the other lacks, and the clients for whom such a point is the nearest of both rings: `rows` are the
 * servers that have them in that ring, `columns` those that have them in the other. Indexes of servers are those of the union.
 */
interface Side {
  /** For pairs of servers, a part of what they exchange: found behind the same probe. A pair can be here several times. */
  readonly pairs: { readonly rows: Uint32Array; readonly columns: Uint32Array; readonly shares: Float64Array };
  /** What each server exchanges beyond `pairs`. Both sum up to the same, except for rounding. */
  readonly rows: Float64Array;
  readonly columns: Float64Array;
}

/** The points of two rings together, in ascending order: their servers, and 1 for each point that a ring has. */
interface Union {
  readonly serverCount: number;
  readonly points: Uint32Array;
  readonly owners: Uint32Array;
  readonly isBefore: Uint8Array;
  readonly isAfter: Uint8Array;
}

const HASH_RANGE = 2 ** 32;

/** Steps of the distance to a point of either ring, and of the distance from there to the next point of the other ring. */
const NEAR_STEPS = 64;
const AHEAD_STEPS = 64;
/** How far the steps reach, in mean gaps. No probe of a key comes nearer than this for 1 key in e^24. */
const REACH = 1.5;

/**
 * The flows from one ring to another; at most `flowsMax` are listed. `movedShare` and each server's sums are as exact as
 * `ringShares`. A single flow is exact where only one server's points differ; otherwise to about 1 in 100 of it, since what other
 * probes decide is divided in proportion.
 */
export function ringFlows(before: Ring, after: Ring, flowsMax = Infinity): Flows {
  if (before === after) return new Top(flowsMax).finish(0);
  if (before.serverCount === 0 || after.serverCount === 0) return flowsOfAll(before, after, flowsMax);
  const names = namesOf(before, after);
  const union = unite(names, before, after);
  const shares = pointShares(union.points);
  const leaving = makeSide(union, shares, union.isAfter, sharesIn(names, after));
  const joining = makeSide(union, shares, union.isBefore, sharesIn(names, before));
  return listFlows(names, [leaving, transpose(joining)], flowsMax);
}

/**
 * The flows if keys are made by another rule: each client's new server is independent of the old one, so that even an equal ring
 * gives most clients another server.
 */
export function rekeyedFlows(before: Ring, after: Ring, flowsMax = Infinity): Flows {
  if (before.serverCount === 0 || after.serverCount === 0) return flowsOfAll(before, after, flowsMax);
  const names = namesOf(before, after);
  return listFlows(names, [{ pairs: NO_PAIRS, rows: sharesIn(names, before), columns: sharesIn(names, after) }], flowsMax);
}

const NO_PAIRS: Side["pairs"] = { rows: new Uint32Array(), columns: new Uint32Array(), shares: new Float64Array() };

/** From or to an empty ring: everybody gets a server or loses it. */
function flowsOfAll(before: Ring, after: Ring, flowsMax: number): Flows {
  const isFirst = before.serverCount === 0;
  const ring = isFirst ? after : before;
  const shares = ringShares(ring);
  const total = shares.reduce((sum, share) => sum + share, 0); // 1 except for rounding
  const top = new Top(flowsMax);
  for (const [index, { name }] of ring.servers.entries()) {
    top.add(isFirst ? null : name, isFirst ? name : null, shares[index] / total);
  }
  return top.finish(ring.serverCount === 0 ? 0 : 1);
}

/** The names of the servers of both rings, in order. Indexes in it are those of the union's servers. */
function namesOf(before: Ring, after: Ring): string[] {
  return [...new Set([...before.servers, ...after.servers].map(({ name }) => name))].sort((a, b) => a < b ? -1 : 1);
}

/** For each server of the ring its index among the names. */
function placesIn(names: readonly string[], ring: Ring): Uint32Array {
  const indexes = new Map(names.map((name, index) => [name, index]));
  return Uint32Array.from(ring.servers, ({ name }) => indexes.get(name)!);
}

/** The shares that the servers with these names have in the ring. */
function sharesIn(names: readonly string[], ring: Ring): Float64Array {
  const places = placesIn(names, ring);
  const shares = new Float64Array(names.length);
  for (const [index, share] of ringShares(ring).entries()) shares[places[index]] = share;
  return shares;
}

/**
 * Merges the points of both rings. Equal points are in the order of their servers' names, as in a ring. A server's points for its
 * smaller weight are among those for its greater one.
 */
function unite(names: readonly string[], before: Ring, after: Ring): Union {
  const [beforePlaces, afterPlaces] = [placesIn(names, before), placesIn(names, after)];
  const size = before.points.length + after.points.length;
  const [points, owners] = [new Uint32Array(size), new Uint32Array(size)];
  const [isBefore, isAfter] = [new Uint8Array(size), new Uint8Array(size)];
  let count = 0;
  for (let b = 0, a = 0; b < before.points.length || a < after.points.length; count++) {
    const order = comparePoints(before, beforePlaces, b, after, afterPlaces, a);
    points[count] = order <= 0 ? before.points[b] : after.points[a];
    owners[count] = order <= 0 ? beforePlaces[before.owners[b]] : afterPlaces[after.owners[a]];
    if (order <= 0) isBefore[count] = 1, b++;
    if (order >= 0) isAfter[count] = 1, a++;
  }
  return {
    serverCount: names.length,
    points: points.subarray(0, count),
    owners: owners.subarray(0, count),
    isBefore: isBefore.subarray(0, count),
    isAfter: isAfter.subarray(0, count),
  };
}

/** Negative if point b of the one ring comes before point a of the other, positive if it comes after it, 0 if they are one. */
function comparePoints(
  before: Ring,
  beforePlaces: Uint32Array,
  b: number,
  after: Ring,
  afterPlaces: Uint32Array,
  a: number,
): number {
  if (b === before.points.length) return 1;
  if (a === after.points.length) return -1;
  return before.points[b] - after.points[a] || beforePlaces[before.owners[b]] - afterPlaces[after.owners[a]];
}

/**
 * The side of the points that the other ring lacks. `isOther` marks the points of the other ring, in which the servers have the
 * shares `otherShares`; `shares` are those of the union's points.
 */
function makeSide(union: Union, shares: Float64Array, isOther: Uint8Array, otherShares: Float64Array): Side {
  const rows = new Float64Array(union.serverCount);
  const columns = otherShares.slice();
  for (let i = 0; i < shares.length; i++) {
    if (isOther[i] === 1) columns[union.owners[i]] -= shares[i];
    else rows[union.owners[i]] += shares[i];
  }
  const pairs = pairPoints(union, isOther);
  for (let i = 0; i < pairs.shares.length; i++) {
    rows[pairs.rows[i]] -= pairs.shares[i];
    columns[pairs.columns[i]] -= pairs.shares[i];
  }
  // What is negative is a rounding error.
  return { pairs, rows: rows.map((share) => Math.max(0, share)), columns: columns.map((share) => Math.max(0, share)) };
}

function transpose({ pairs: { rows, columns, shares }, rows: sumsOfRows, columns: sumsOfColumns }: Side): Side {
  return { pairs: { rows: columns, columns: rows, shares }, rows: sumsOfColumns, columns: sumsOfRows };
}

/** Every point that the other ring lacks, with the next point of the other ring, and the keys that win both by the same probe. */
function pairPoints(union: Union, isOther: Uint8Array): Side["pairs"] {
  const lone = isOther.reduce((count, mark) => count - mark, isOther.length);
  if (lone === 0) return NO_PAIRS;
  const { gaps, aheads, indexes, nexts } = measurePoints(union, isOther, lone);
  const wins = winsOfPairs(gaps, aheads, gapsOfMarked(union.points, isOther, isOther.length - lone), union.points.length);
  return {
    rows: indexes.map((index) => union.owners[index]),
    columns: nexts.map((index) => union.owners[index]),
    shares: gaps.map((gap, i) => wins(gap, aheads[i])),
  };
}

/** The points that the other ring lacks: their indexes, the gaps before them, and the other ring's next points, how far ahead. */
function measurePoints({ points }: Union, isOther: Uint8Array, lone: number) {
  const indexes = new Uint32Array(lone);
  const nexts = new Uint32Array(lone);
  const gaps = new Float64Array(lone);
  const aheads = new Float64Array(lone);
  let next = isOther.indexOf(1); // behind the last point the circle starts again
  for (let i = points.length - 1, written = lone; i >= 0; i--) {
    if (isOther[i] === 1) next = i;
    else {
      const before = points[i === 0 ? points.length - 1 : i - 1];
      written--;
      indexes[written] = i;
      nexts[written] = next;
      gaps[written] = ((points[i] - before) >>> 0) / HASH_RANGE;
      aheads[written] = ((points[next] - points[i]) >>> 0) / HASH_RANGE;
    }
  }
  return { indexes, nexts, gaps, aheads };
}

/** The gaps before the marked points, as if there were no others. */
function gapsOfMarked(points: Uint32Array, marks: Uint8Array, count: number): Float64Array {
  const gaps = new Float64Array(count);
  let before = points[marks.lastIndexOf(1)] - HASH_RANGE;
  for (let i = 0, written = 0; i < points.length; i++) {
    if (marks[i] === 0) continue;
    gaps[written++] = (points[i] - before) / HASH_RANGE;
    before = points[i];
  }
  return gaps;
}

/**
 * The share of keys that a point wins in both rings by the same probe, from the gap before it and from how far `ahead` the other
 * ring's next point is: a probe falls `near` before the point, and all others of the key are farther than that from every point,
 * and farther than near + ahead from those of the other ring. `gaps` and `aheads` are those of all such points, `otherGaps` the
 * gaps of the other ring.
 */
function winsOfPairs(
  gaps: Float64Array,
  aheads: Float64Array,
  otherGaps: Float64Array,
  pointCount: number,
): (gap: number, ahead: number) => number {
  const nearStep = REACH / pointCount / NEAR_STEPS;
  const aheadStep = REACH / otherGaps.length / AHEAD_STEPS;
  const farther = fartherThan(otherGaps);
  const counts = countBeyond(gaps, aheads, nearStep, aheadStep);
  const wins = new Float64Array((NEAR_STEPS + 1) * (AHEAD_STEPS + 1));
  let spoilt = new Float64Array(COUNT_COLUMNS);
  for (let near = 0; near < NEAR_STEPS; near++) {
    const here = counts.subarray(near * COUNT_COLUMNS, (near + 1) * COUNT_COLUMNS);
    spoilt = addBack(spoilt, here, nearStep / aheadStep);
    for (let ahead = 0; ahead <= AHEAD_STEPS; ahead++) {
      const distance = (near + 0.5) * nearStep + ahead * aheadStep;
      const chance = Math.max(0, farther(distance) - nearStep * (spoilt[ahead] - here[ahead] / 2));
      wins[(near + 1) * (AHEAD_STEPS + 1) + ahead] = wins[near * (AHEAD_STEPS + 1) + ahead] +
        PROBES * nearStep * chance ** (PROBES - 1);
    }
  }
  return (gap, ahead) => interpolate(wins, Math.min(NEAR_STEPS, gap / nearStep), Math.min(AHEAD_STEPS, ahead / aheadStep));
}

/** The table's value between its steps: linear in both directions. */
function interpolate(table: Float64Array, near: number, ahead: number): number {
  const [row, column] = [Math.min(NEAR_STEPS - 1, Math.trunc(near)), Math.min(AHEAD_STEPS - 1, Math.trunc(ahead))];
  const at = row * (AHEAD_STEPS + 1) + column;
  const here = table[at] + (table[at + 1] - table[at]) * (ahead - column);
  const below = at + AHEAD_STEPS + 1;
  const there = table[below] + (table[below + 1] - table[below]) * (ahead - column);
  return here + (there - here) * (near - row);
}

/** The chance that a probe is farther than a distance from the points with these gaps. */
function fartherThan(gaps: Float64Array): (distance: number) => number {
  const steps = 8 * AHEAD_STEPS;
  const step = 2 * REACH / gaps.length / steps; // near + ahead is at most twice the reach
  const counts = new Float64Array(steps + 1);
  const lengths = new Float64Array(steps + 1);
  for (const gap of gaps) {
    const bin = Math.min(steps, Math.trunc(gap / step));
    counts[bin]++;
    lengths[bin] += gap;
  }
  const chances = new Float64Array(steps + 1);
  for (let bin = steps, count = 0, length = 0; bin >= 0; bin--) {
    count += counts[bin];
    length += lengths[bin];
    chances[bin] = length - count * bin * step;
  }
  return (distance) => {
    const at = Math.min(steps, distance / step);
    const bin = Math.min(steps - 1, Math.trunc(at));
    return chances[bin] + (chances[bin + 1] - chances[bin]) * (at - bin);
  };
}

/** Columns of `countBeyond`: near + ahead may reach twice as far. */
const COUNT_COLUMNS = 2 * AHEAD_STEPS + 1;

/** The number of points whose gap is at least (row + ½) near steps long and whose `ahead` is longer than (column) ahead steps. */
function countBeyond(gaps: Float64Array, aheads: Float64Array, nearStep: number, aheadStep: number): Float64Array {
  const counts = new Float64Array(NEAR_STEPS * COUNT_COLUMNS);
  for (let i = 0; i < gaps.length; i++) {
    const row = Math.min(NEAR_STEPS, Math.trunc(gaps[i] / nearStep + 0.5)) - 1;
    const column = Math.min(COUNT_COLUMNS, Math.ceil(aheads[i] / aheadStep)) - 1;
    if (row >= 0 && column >= 0) counts[row * COUNT_COLUMNS + column]++;
  }
  for (let row = NEAR_STEPS - 1; row >= 0; row--) {
    for (let column = COUNT_COLUMNS - 1, right = 0; column >= 0; column--) {
      const at = row * COUNT_COLUMNS + column;
      right += counts[at];
      counts[at] = right + (row + 1 < NEAR_STEPS ? counts[at + COUNT_COLUMNS] : 0);
    }
  }
  return counts;
}

/**
 * The points that spoil a probe which is farther than near + ahead from the other ring's points, by `ahead`, summed up over all
 * smaller distances from such a point: one step nearer, the same probe is `ratio` steps farther ahead.
 */
function addBack(spoilt: Float64Array, here: Float64Array, ratio: number): Float64Array<ArrayBuffer> {
  const sums = new Float64Array(COUNT_COLUMNS);
  for (let column = 0; column < COUNT_COLUMNS; column++) {
    const at = Math.min(COUNT_COLUMNS - 1, column + ratio);
    const left = Math.min(COUNT_COLUMNS - 2, Math.trunc(at));
    sums[column] = here[column] + spoilt[left] + (spoilt[left + 1] - spoilt[left]) * (at - left);
  }
  return sums;
}

/** The flows of all sides together, whose rows are the old servers and whose columns the new ones. */
function listFlows(names: readonly string[], sides: readonly Side[], flowsMax: number): Flows {
  const top = new Top(flowsMax);
  const rowOf = new Float64Array(names.length);
  const readers = sides.map(readRows);
  let moved = 0;
  for (const [from, name] of names.entries()) {
    rowOf.fill(0);
    for (const read of readers) read(from, rowOf);
    for (let to = 0; to < names.length; to++) {
      const share = Math.min(1, rowOf[to]); // rounding may give slightly more
      if (to === from || share <= 0) continue;
      moved += share;
      top.add(name, names[to], share);
    }
  }
  return top.finish(Math.min(1, moved));
}

/** Adds what the side has for one server of its rows to a row. */
function readRows({ pairs, rows, columns }: Side): (row: number, into: Float64Array) => void {
  const { starts, order } = sortByRow(pairs.rows, rows.length);
  const others = Array.from(columns.keys()).filter((column) => columns[column] > 0);
  const total = columns.reduce((sum, share) => sum + share, 0);
  return (row, into) => {
    for (let i = starts[row]; i < starts[row + 1]; i++) into[pairs.columns[order[i]]] += pairs.shares[order[i]];
    if (rows[row] > 0) { for (const column of others) into[column] += rows[row] * columns[column] / total; }
  };
}

/** The numbers of the pairs, row by row, and where each row starts. */
function sortByRow(rows: Uint32Array, rowCount: number): { starts: Uint32Array; order: Uint32Array } {
  const starts = new Uint32Array(rowCount + 1);
  for (const row of rows) starts[row + 1]++;
  for (let row = 0; row < rowCount; row++) starts[row + 1] += starts[row];
  const order = new Uint32Array(rows.length);
  const next = starts.slice();
  for (let i = 0; i < rows.length; i++) order[next[rows[i]]++] = i;
  return { starts, order };
}

/** Keeps the greatest flows and sums up the others. */
class Top {
  readonly #kept: Flow[] = [];
  /** A flow that is no greater is not among the greatest. */
  #least = 0;
  #restCount = 0;
  #restShare = 0;

  constructor(readonly max: number) {}

  add(from: string | null, to: string | null, share: number): void {
    if (share <= this.#least) this.#leaveOut(share);
    else if (this.#kept.push({ from, to, share }) >= 2 * this.max + 1024) this.#cut(); // not at every flow: it sorts
  }

  finish(movedShare: number): Flows {
    this.#cut();
    return { movedShare, flows: this.#kept, rest: { count: this.#restCount, share: this.#restShare } };
  }

  #leaveOut(share: number): void {
    this.#restCount++;
    this.#restShare += share;
  }

  #cut(): void {
    this.#kept.sort((a, b) => b.share - a.share); // a stable sort: equal shares stay in the order of the names
    for (const { share } of this.#kept.splice(this.max)) this.#leaveOut(share);
    if (this.#kept.length === this.max) this.#least = this.#kept.at(-1)?.share ?? Infinity;
  }
}
