/**
 * The columns of the series: what is kept of a service or a server for each step of time, in typed arrays of a fixed number of
 * rows. A row is made of what is added to it, so that several steps become one by the same rule, in memory and in answers. Knows
 * neither times nor counters.
 */

import { SERVER_STATES } from "../routing/availability.ts";
import type { Fate } from "../values/fates.ts";
import { MOVABLE_STATES } from "./counters.ts";
import { NO_BUCKET } from "./connect_times.ts";

/** The state of a row in which there was no such server. Other states are their place in SERVER_STATES, from 1 on. */
export const ABSENT = 0;

/** The cells of moves in a row: in, then away, by state. */
export const MOVE_CELLS = 2 * MOVABLE_STATES.length;

/** Bytes of a row of a server, once its connections have moved and been cut; of a service; and of one fate of it. */
export const SERVER_ROW_BYTES = 35 + 4 * MOVE_CELLS;
/** See SERVER_ROW_BYTES. */
export const SERVICE_ROW_BYTES = 8;
/** See SERVER_ROW_BYTES. */
export const FATE_ROW_BYTES = 4;

/** Where a row goes when rows become longer. */
export interface Place {
  readonly from: number;
  readonly to: number;
}

/** The number of a state in a row. */
export function numberOfState(state: typeof SERVER_STATES[number]): number {
  return SERVER_STATES.indexOf(state) + 1;
}

/** The rows of a server. */
export class ServerColumns {
  readonly states: Uint8Array;
  readonly open: Uint32Array;
  /** Connections that it accepted. */
  readonly opened: Uint32Array;
  readonly sentBytes: Float64Array;
  readonly receivedBytes: Float64Array;
  /** Connections that it did not accept. */
  readonly failures: Uint32Array;
  /** Buckets of `connect_times.ts`. */
  readonly p50: Uint8Array;
  readonly p99: Uint8Array;
  /** MOVE_CELLS per row; made at the first move, which most servers never see. */
  moves: Uint32Array | undefined;
  /** Connections that ended with one of CUT_FATES; made at the first one. */
  cuts: Uint32Array | undefined;

  constructor(readonly rows: number) {
    this.states = new Uint8Array(rows);
    this.open = new Uint32Array(rows);
    this.opened = new Uint32Array(rows);
    this.sentBytes = new Float64Array(rows);
    this.receivedBytes = new Float64Array(rows);
    this.failures = new Uint32Array(rows);
    this.p50 = new Uint8Array(rows).fill(NO_BUCKET);
    this.p99 = new Uint8Array(rows).fill(NO_BUCKET);
  }

  /** The columns for moves. */
  needMoves(): Uint32Array {
    return this.moves ??= new Uint32Array(this.rows * MOVE_CELLS);
  }

  /** The column for connections that were cut. */
  needCuts(): Uint32Array {
    return this.cuts ??= new Uint32Array(this.rows);
  }

  /** Empties a row: the server was not there. */
  clear(row: number): void {
    if (this.states[row] === ABSENT) return;
    this.states[row] = ABSENT;
    this.open[row] =
      this.opened[row] =
      this.sentBytes[row] =
      this.receivedBytes[row] =
      this.failures[row] =
        0;
    this.p50[row] = this.p99[row] = NO_BUCKET;
    this.moves?.fill(0, row * MOVE_CELLS, (row + 1) * MOVE_CELLS);
    if (this.cuts !== undefined) this.cuts[row] = 0;
  }

  /**
   * Adds a later row of `other` to a row. Counts add up, and state and open connections are the later ones. The greatest p99
   * counts; the p50 is the geometric mean of both, by the number of connections.
   */
  add(row: number, other: ServerColumns, from: number): void {
    if (other.states[from] === ABSENT) return;
    this.#addTimes(row, other, from);
    this.states[row] = other.states[from];
    this.open[row] = other.open[from];
    this.opened[row] += other.opened[from];
    this.sentBytes[row] += other.sentBytes[from];
    this.receivedBytes[row] += other.receivedBytes[from];
    this.failures[row] += other.failures[from];
    if (other.cuts !== undefined && other.cuts[from] > 0) this.needCuts()[row] += other.cuts[from];
    if (other.moves === undefined) return;
    const moves = this.needMoves();
    for (let cell = 0; cell < MOVE_CELLS; cell++) moves[row * MOVE_CELLS + cell] += other.moves[from * MOVE_CELLS + cell];
  }

  #addTimes(row: number, other: ServerColumns, from: number): void {
    if (other.p99[from] === NO_BUCKET) return;
    if (this.p99[row] === NO_BUCKET) {
      this.p50[row] = other.p50[from];
      this.p99[row] = other.p99[from];
      return;
    }
    const [had, more] = [Math.max(1, this.opened[row]), Math.max(1, other.opened[from])];
    this.p50[row] = Math.round((this.p50[row] * had + other.p50[from] * more) / (had + more));
    this.p99[row] = Math.max(this.p99[row], other.p99[from]);
  }
}

/** The rows of a service. */
export class ServiceColumns {
  readonly accepted: Uint32Array;
  readonly open: Uint32Array;
  /** Those that have occurred. */
  readonly fates = new Map<Fate, Uint32Array>();

  constructor(readonly rows: number) {
    this.accepted = new Uint32Array(rows);
    this.open = new Uint32Array(rows);
  }

  /** Empties a row. */
  clear(row: number): void {
    this.accepted[row] = this.open[row] = 0;
    for (const counts of this.fates.values()) counts[row] = 0;
  }

  /** Adds a later row of `other` to a row. */
  add(row: number, other: ServiceColumns, from: number): void {
    this.accepted[row] += other.accepted[from];
    this.open[row] = other.open[from];
    for (const [fate, counts] of other.fates) if (counts[from] > 0) this.addFate(row, fate, counts[from]);
  }

  /** Counts ends with this fate; its column is made for the first. */
  addFate(row: number, fate: Fate, count: number): void {
    let counts = this.fates.get(fate);
    if (counts === undefined) this.fates.set(fate, counts = new Uint32Array(this.rows));
    counts[row] += count;
  }

  /** Forgets fates that no row has any more. */
  dropUnusedFates(): void {
    for (const [fate, counts] of this.fates) if (counts.every((count) => count === 0)) this.fates.delete(fate);
  }
}
