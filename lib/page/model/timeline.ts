/** Events on the time axis: those that are near to each other are one mark. Pure. */

import type { BalancerEvent } from "./contract.ts";
import { type TimeAxis, xOf } from "./time_axis.ts";
import { EVENT_KINDS, type Tone, toneOfEvent } from "./words.ts";

/** One or more events at a place. */
export interface Mark {
  readonly x: number;
  readonly row: number;
  readonly sign: string;
  readonly tone: Tone;
  readonly events: readonly BalancerEvent[];
}

const NEAR_PX = 11;
const TONES: readonly Tone[] = ["plain", "calm", "good", "warn", "bad"];

/** The second of an event, with its fraction. */
export function secondOf({ at }: Pick<BalancerEvent, "at">): number {
  return Date.parse(at) / 1000;
}

/** The marks of the events, which are in the order of time. A mark has the sign of its worst event. */
export function placeMarks(events: readonly BalancerEvent[], axis: TimeAxis): Mark[] {
  const marks: { x: number; row: number; events: BalancerEvent[] }[] = [];
  for (const event of events) {
    const second = secondOf(event);
    if (second < axis.from || second > axis.to + 1) continue;
    const x = Math.min(axis.right, xOf(axis, second));
    const { row } = EVENT_KINDS[event.kind] ?? EVENT_KINDS.daemon;
    const near = marks.findLast((mark) => mark.row === row);
    if (near !== undefined && x - near.x < NEAR_PX) near.events.push(event);
    else marks.push({ x, row, events: [event] });
  }
  return marks.map(({ x, row, events }) => {
    const worst = events.reduce((worst, event) => rank(event) > rank(worst) ? event : worst);
    return { x, row, events, tone: toneOfEvent(worst), sign: signOf(worst) };
  });
}

function rank(event: BalancerEvent): number {
  return TONES.indexOf(toneOfEvent(event));
}

/** The sign of an event. Signs differ where colours do. */
export function signOf(event: BalancerEvent): string {
  const tone = toneOfEvent(event);
  if (event.kind !== "server") return (EVENT_KINDS[event.kind] ?? EVENT_KINDS.daemon).sign;
  return tone === "bad" ? "✖" : tone === "warn" ? "◐" : EVENT_KINDS.server.sign;
}
