/**
 * The moves of the last 15 minutes, from which server to which: counted by row, the oldest dropped where there are too many. Fed
 * from the reports of the engine, of which some may be lost when thousands of connections move at once; the columns of the servers,
 * which come from counters, stay exact.
 */

import type { MovableState } from "../routing/departure.ts";
import type { MovedFlow } from "./series_answer.ts";

/** Flows kept. A flow is the moves of one row between the same servers in the same state. */
export const FLOWS_MAX = 32_768;

interface Flow {
  /** The number of its row. */
  row: number;
  readonly service: string;
  readonly from: string;
  readonly to: string;
  readonly state: MovableState;
  count: number;
}

/** What a move is between. */
export type Move = Pick<Flow, "service" | "from" | "to" | "state">;

/** The flows. */
export class SeriesFlows {
  /** By row, in ascending order. */
  #flows: Flow[] = [];
  /** Those of the row that is being made. */
  #current = new Map<string, Flow>();

  /** Counts a move in the row that is being made. */
  add({ service, from, to, state }: Move): void {
    const key = `${service}\n${from}\n${to}\n${state}`;
    const flow = this.#current.get(key);
    if (flow !== undefined) flow.count++;
    else if (this.#current.size < FLOWS_MAX) this.#current.set(key, { row: -1, service, from, to, state, count: 1 });
  }

  /** The row that was being made is this one; rows before `oldest` are forgotten. */
  finish(row: number, oldest: number): void {
    const due = Math.max(0, this.#flows.length + this.#current.size - FLOWS_MAX);
    let dropped = 0;
    while (dropped < this.#flows.length && (dropped < due || this.#flows[dropped].row < oldest)) dropped++;
    if (dropped > 0) this.#flows.splice(0, dropped);
    for (const flow of this.#current.values()) {
      flow.row = row;
      this.#flows.push(flow);
    }
    this.#current.clear();
  }

  /** Rows have new numbers, in the same order. */
  renumber(numberOf: (row: number) => number): void {
    for (const flow of this.#flows) flow.row = numberOf(flow.row);
  }

  /** The flows of rows from `first` on that have a step, added up by step. */
  read(first: number, stepOf: (row: number) => number | undefined, isAsked: (move: Move) => boolean): MovedFlow[] {
    const sums = new Map<string, MovedFlow>();
    for (const flow of this.#flows.slice(this.#flows.findLastIndex(({ row }) => row < first) + 1)) {
      const at = stepOf(flow.row);
      if (at === undefined || !isAsked(flow)) continue;
      const { service, from, to, state, count } = flow;
      const key = `${at}\n${service}\n${from}\n${to}\n${state}`;
      const sum = sums.get(key);
      if (sum === undefined) sums.set(key, { at, service, from, to, state, count });
      else sum.count += count;
    }
    return [...sums.values()];
  }
}
