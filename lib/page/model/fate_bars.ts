/** How connections ended, minute by minute, and the sum that must be zero. Pure. */

import { formatCount } from "./format.ts";
import type { Status } from "./contract.ts";
import type { History } from "./history.ts";
import type { TimeAxis } from "./time_axis.ts";
import { classOfFate, FATE_CLASS_NAMES, type FateClass } from "./words.ts";

/** A minute: what ended in it, by class, in the order of FATE_CLASSES. */
export interface FateBar {
  /** The minute's first second, and the one after its last: of a minute that goes on, the next one. */
  readonly from: number;
  readonly to: number;
  readonly parts: readonly { readonly name: FateClass; readonly count: number }[];
  readonly total: number;
  readonly bad: number;
}

/** Classes that hurt a client. */
const BAD: ReadonlySet<FateClass> = new Set(["reset", "unserved", "fault"]);

/** A bar for each minute of the axis. */
export function fateBars(history: History, { from, to }: Pick<TimeAxis, "from" | "to">): FateBar[] {
  const bars: FateBar[] = [];
  for (let minute = Math.floor(from / 60) * 60; minute <= Math.min(to, history.newest); minute += 60) {
    const end = Math.min(minute + 60, history.newest + 1);
    const counts = new Map<FateClass, number>();
    for (const fate of history.fates) {
      const name = classOfFate(fate);
      counts.set(name, (counts.get(name) ?? 0) + history.ended(fate, end - 1, end - minute));
    }
    const parts = FATE_CLASS_NAMES.flatMap((name) => {
      const count = Math.round(counts.get(name) ?? 0);
      return count > 0 ? [{ name, count }] : [];
    });
    const sum = (some: typeof parts) => some.reduce((sum, { count }) => sum + count, 0);
    bars.push({ from: minute, to: minute + 60, parts, total: sum(parts), bad: sum(parts.filter(({ name }) => BAD.has(name))) });
  }
  return bars;
}

/** Whether every connection is accounted for, in words. */
export interface Balance {
  readonly rest: number;
  readonly text: string;
  /** `zero`, or `moving`: connections ended between two readings; or `wrong`: the rest has stayed. */
  readonly kind: "zero" | "moving" | "wrong";
}

/** So many readings in a row may differ from zero: connections end while the counters are read. */
const READINGS_MAX = 5;

/** Accepted minus open minus ended. `readings` counts the readings in a row, with this one, that were not zero. */
export function balanceOf({ connections, fates }: Pick<Status, "connections" | "fates">, readings: number): Balance {
  const ended = Object.values(fates).reduce((sum, count) => sum + count, 0);
  const rest = connections.accepted - connections.open - ended;
  const figures = [connections.accepted, connections.open, ended].map(formatCount);
  const text = `${figures[0]} accepted − ${figures[1]} open − ${figures[2]} ended = ${formatCount(rest)}`;
  return { rest, text, kind: rest === 0 ? "zero" : readings <= READINGS_MAX ? "moving" : "wrong" };
}
