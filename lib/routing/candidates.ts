/**
 * In which order a policy offers servers to a new client. What the policies share (health, limits, the load bound, tiers) is in
 * `route.ts`; they differ in nothing but this order. Pure: load, randomness and turns are arguments.
 */

import type { Policy } from "../values/config.ts";
import { firstOnRing, walkRing, walkRings } from "./ring.ts";
import type { Load } from "./route.ts";
import type { RoutingColumns, TierColumns } from "./routing_table.ts";

/** What the policies need beside the load. Each thread has its own. */
export interface Turns {
  /** Where the next turn is in the table's `sequence`. */
  next: number;
  /** From 0 to 1, exclusive. */
  random(): number;
}

/** Turns that begin anywhere, so that the threads do not all begin with the same server. */
export function newTurns(random: () => number = Math.random): Turns {
  return { next: Math.floor(random() * 2 ** 31), random };
}

/**
 * Up to this many servers are compared for each client by least-connections; of more, LEAST_SAMPLE are, drawn at random. Measured:
 * to compare one takes 75 ns, so 10,000 would take 0.7 ms for each client, several times what all the rest of a connection takes.
 */
export const LEAST_SCAN_MAX = 64;
/** How many of a larger pool are compared. Measured: with a mean of 10 connections no server of 10,000 had more than 11. */
export const LEAST_SAMPLE = 32;
/** With two random choices the most loaded server has far less than with one (Mitzenmacher, 2001). */
const RANDOM_SAMPLE = 2;
/** Draws for each server of a sample: a server that may get no clients, or is in the sample already, is drawn in vain. */
const DRAWS_PER_SERVER = 8;

/** The servers of these adjacent tiers, each once, in the order in which the policy offers them to the client with this key. */
export type Order = (table: RoutingColumns, tiers: readonly TierColumns[], load: Load, key: Uint8Array) => Iterable<number>;

/** The order of each policy. */
export const ORDERS: Readonly<Record<Policy, Order>> = {
  ring: (_, tiers, __, key) => tiers.length === 1 ? walkTier(tiers[0], key) : walkRings(tiers, key),
  "least-connections": leastConnections,
  random: (table, tiers, load) => sampled(table, tiers, load, RANDOM_SAMPLE),
  "round-robin": (table, tiers, load) => inTurn(table, tiers, load.turns.next),
  first: (table, tiers) => inTurn(table, tiers, sequenceStart(tiers)),
};

function* walkTier({ circle, start }: TierColumns, key: Uint8Array): Generator<number> {
  for (const index of walkRing(circle, key)) yield start + index;
}

/**
 * By open connections for each unit of weight. Of equals the client's owner on the ring comes first, and then those after it by
 * name, so that a client of an idle pool keeps its server.
 */
function leastConnections(table: RoutingColumns, tiers: readonly TierColumns[], load: Load, key: Uint8Array): Iterable<number> {
  const count = endOf(tiers) - startOf(tiers);
  if (count === 0) return [];
  if (count > LEAST_SCAN_MAX) return sampled(table, tiers, load, LEAST_SAMPLE);
  const start = tiers[0].start + firstOnRing(tiers[0].circle, key);
  return byLoad(table, load, [...rotated(tiers, start)]);
}

/** The least loaded of so many that are drawn at random by weight, the others of the sample, and then the rest as they come. */
function* sampled(table: RoutingColumns, tiers: readonly TierColumns[], load: Load, size: number): Generator<number> {
  const drawn = draw(table, tiers, load, size);
  yield* byLoad(table, load, drawn);
  const [start, end] = [startOf(tiers), endOf(tiers)];
  for (const index of rotated(tiers, start + Math.floor(load.turns.random() * (end - start)))) {
    if (!drawn.includes(index)) yield index;
  }
}

/** At most `size` servers that may get clients, each once. */
function draw({ sequence, slots }: RoutingColumns, tiers: readonly TierColumns[], load: Load, size: number): number[] {
  const [start, end] = [sequenceStart(tiers), sequenceEnd(tiers)];
  const drawn: number[] = [];
  for (let i = 0; i < size * DRAWS_PER_SERVER && drawn.length < size && drawn.length < endOf(tiers) - startOf(tiers); i++) {
    const index = sequence[start + Math.floor(load.turns.random() * (end - start))];
    if (load.availabilityOf(slots[index]) >= 0 && !drawn.includes(index)) drawn.push(index);
  }
  return drawn;
}

/** The connections that a server would have for each unit of its weight with one more. */
function loadWithOneMore({ slots, weights }: RoutingColumns, load: Load, index: number): number {
  return (load.openOf(slots[index]) + 1) / weights[index];
}

/** The least loaded first; equals stay in their order. Most clients take the first, so the others are sorted only when needed. */
function* byLoad(table: RoutingColumns, load: Load, indexes: readonly number[]): Generator<number> {
  let first = -1;
  let least = Infinity;
  for (const index of indexes) {
    const rate = loadWithOneMore(table, load, index);
    if (rate >= least || load.availabilityOf(table.slots[index]) < 0) continue;
    first = index;
    least = rate;
  }
  if (first >= 0) yield first;
  const others = indexes.filter((index) => index !== first).map((index) => ({ index, rate: loadWithOneMore(table, load, index) }));
  for (const { index } of others.sort((a, b) => a.rate - b.rate)) yield index;
}

/** The sequence from one of its places on and round again, each server where it is found first. */
function* inTurn({ sequence }: RoutingColumns, tiers: readonly TierColumns[], place: number): Generator<number> {
  const [start, end] = [sequenceStart(tiers), sequenceEnd(tiers)];
  const seen = new Set<number>();
  for (let step = 0, at = placeIn(place, start, end); step < end - start; step++, at = at + 1 === end ? start : at + 1) {
    if (seen.size === seen.add(sequence[at]).size) continue;
    yield sequence[at];
  }
}

/** `place` if it is from `start` to `end`, `start` if it is `end`, else any place there. */
function placeIn(place: number, start: number, end: number): number {
  if (place >= start && place < end) return place;
  return place === end ? start : start + place % Math.max(1, end - start);
}

/**
 * Notes that a client goes to this server: with round-robin, the next turn is the one after the server's. Servers that were passed
 * over have lost theirs, so that not the one after a server that is down gets its clients as well.
 */
export function takeTurn({ policy, sequence, tiers }: RoutingColumns, turns: Turns, index: number): void {
  if (policy !== "round-robin") return;
  const tier = tiers.find(({ start, end }) => index >= start && index < end);
  if (tier === undefined) return;
  const { sequenceStart: start, sequenceEnd: end } = tier;
  let at = placeIn(turns.next, start, end);
  for (let step = 0; step < end - start && sequence[at] !== index; step++) at = at + 1 === end ? start : at + 1;
  turns.next = at + 1; // after the last of a tier comes the first of the next one, if that is in use, too
}

/** All servers of the tiers from `first` on and round again. */
function* rotated(tiers: readonly TierColumns[], first: number): Generator<number> {
  const [start, end] = [startOf(tiers), endOf(tiers)];
  for (let index = first; index < end; index++) yield index;
  for (let index = start; index < first; index++) yield index;
}

function startOf(tiers: readonly TierColumns[]): number {
  return tiers[0].start;
}

function endOf(tiers: readonly TierColumns[]): number {
  return tiers.at(-1)!.end;
}

function sequenceStart(tiers: readonly TierColumns[]): number {
  return tiers[0].sequenceStart;
}

function sequenceEnd(tiers: readonly TierColumns[]): number {
  return tiers.at(-1)!.sequenceEnd;
}
