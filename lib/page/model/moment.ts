/** What happened at a second, in words: for the line below the pointer and for screen readers. Pure. */

import type { BalancerEvent } from "./contract.ts";
import { formatClock, formatCount, plural } from "./format.ts";
import { type History, MOVED_STATES } from "./history.ts";
import { resetsOf } from "./resets.ts";
import { secondOf } from "./timeline.ts";

/** Moves and resets of so many seconds are told together: a loss takes a moment. */
const NEAR_S = 2;

/** The second in words. */
export function describeMoment(history: History, events: readonly BalancerEvent[], second: number): string {
  const open = history.openAt(second);
  const flows = history.flows.filter(({ at }) => Math.abs(at - second) <= NEAR_S);
  const moved = flows.reduce((sum, { count }) => sum + count, 0);
  const states = MOVED_STATES.flatMap((state) => {
    const count = flows.reduce((sum, flow) => flow.state === state ? sum + flow.count : sum, 0);
    return count > 0 ? [`${formatCount(count)} ${state}`] : [];
  });
  const reset = resetsOf(history, second - NEAR_S, Math.min(second + NEAR_S, history.newest)).reduce(
    (sum, { count }) => sum + count,
    0,
  );
  const near = events.filter((event) => Math.abs(secondOf(event) - second) <= NEAR_S + 1).slice(-2);
  return [
    `${formatClock(second)}: ${Number.isNaN(open) ? "nothing known" : `${plural(open, "connection")} open`}`,
    ...(moved > 0 ? [`${formatCount(moved)} moved (${states.join(", ")})`] : []),
    ...(reset > 0 ? [`${formatCount(reset)} reset`] : []),
    ...near.map(({ text }) => text),
  ].join("; ");
}
