/**
 * Labels in the flow lanes: how many connections left a server at a time, and how many of them were reset. An outage has one label,
 * with the figures of the verdict; of what leaves a server that is up, that which is near to each other has one together. Pure.
 */

import { type Count, outagesOf } from "../../observe/outages.ts";
import type { MovedState } from "./contract.ts";
import { type Flow, type History, MOVED_STATES } from "./history.ts";
import { secondWidth, type TimeAxis, xOf } from "./time_axis.ts";

/** A label at a place where much happened at once: how many moved, and how many were reset. */
export interface Burst {
  /** The index of the lane. */
  readonly lane: number;
  /** When it began, in seconds since 1970. */
  readonly at: number;
  readonly x: number;
  readonly moved: number;
  /** Of those that moved. */
  readonly states: Readonly<Record<MovedState, number>>;
  readonly reset: number;
}

/** What left a lane, each in the order of time. */
interface Leaving {
  readonly flows: readonly Flow[];
  readonly cuts: readonly Count[];
}

type Unplaced = Omit<Burst, "lane" | "x">;

/** So many connections that moved at once deserve a label. */
const BURST_MIN = 5;
/** Labels of one lane are so far from each other. */
const BURST_PX = 70;

/** The labels of lanes of these servers; null is the lane of all others. */
export function placeBursts(history: History, servers: readonly (string | null)[], axis: TimeAxis): Burst[] {
  const flows = Map.groupBy(history.flows, ({ from }) => servers.includes(from) ? from : null);
  return servers.flatMap((server, lane) => {
    const bursts = server === null
      ? clustersOf(othersOf(history, servers, flows.get(null) ?? []), axis)
      : burstsOf(history, server, flows.get(server) ?? [], axis);
    return bursts.filter(({ moved, reset }) => moved + reset >= BURST_MIN || reset >= 1)
      .map((burst) => ({ ...burst, lane, x: xOf(axis, burst.at - 1) }));
  });
}

function burstsOf(history: History, server: string, flows: readonly Flow[], axis: TimeAxis): Unplaced[] {
  const cuts = history.cutsOf(server);
  const outages = outagesOf({ states: history.statesOf(server), moved: flows, cut: cuts })
    .filter(({ from }) => from >= axis.from && from <= axis.to);
  const isOutside = ({ at }: { at: number }) => !outages.some(({ from, to }) => at >= from && at < to);
  const rest = { flows: flows.filter(isOutside), cuts: cuts.filter(isOutside) };
  return [
    ...outages.map(({ from, to, moved, cut }) => {
      const own = flows.filter(({ at }) => at >= from && at < to);
      return { at: from, moved, reset: cut, states: sumStates(own) };
    }),
    ...clustersOf(rest, axis),
  ];
}

/** What left the servers without a lane of their own for one that has one, and what was cut there. */
function othersOf(history: History, servers: readonly (string | null)[], flows: readonly Flow[]): Leaving {
  const cuts = history.servers.filter((server) => !servers.includes(server)).flatMap((server) => history.cutsOf(server));
  return { flows: flows.filter(({ to }) => servers.includes(to)), cuts: cuts.sort((a, b) => a.at - b.at) };
}

/** What left within a short time of each other is one. */
function clustersOf({ flows, cuts }: Leaving, axis: TimeAxis): Unplaced[] {
  const shortS = BURST_PX / secondWidth(axis);
  const isShown = ({ at }: { at: number }) => at >= axis.from && at <= axis.to;
  const bursts: Unplaced[] = [];
  const seconds = [...flows, ...cuts].filter(isShown).map(({ at }) => at).sort((a, b) => a - b);
  for (const at of seconds) {
    if (at - (bursts.at(-1)?.at ?? -Infinity) < shortS) continue;
    const isNear = (one: { at: number }) => one.at >= at && one.at < at + shortS && isShown(one);
    const own = flows.filter(isNear);
    bursts.push({ at, moved: sum(own), reset: sum(cuts.filter(isNear)), states: sumStates(own) });
  }
  return bursts;
}

function sumStates(flows: readonly Flow[]): Record<MovedState, number> {
  const states = { unsent: 0, unanswered: 0, idle: 0 } satisfies Record<typeof MOVED_STATES[number], number>;
  for (const { state, count } of flows) states[state] += count;
  return states;
}

function sum(counts: readonly Count[]): number {
  return counts.reduce((sum, { count }) => sum + count, 0);
}
