/** The time axis that all charts share: which seconds are shown, and where. Pure. */

/** Seconds from `from` to `to`, drawn from x `left` to `right`. */
export interface TimeAxis {
  readonly from: number;
  readonly to: number;
  readonly left: number;
  readonly right: number;
}

/** The lengths of time that can be shown. */
export const WINDOWS: readonly { readonly seconds: number; readonly word: string }[] = [
  { seconds: 120, word: "2 min" },
  { seconds: 300, word: "5 min" },
  { seconds: 900, word: "15 min" },
];

/** Where a second is; a fraction of one too. */
export function xOf({ from, to, left, right }: TimeAxis, second: number): number {
  return left + (right - left) * (second - from) / (to - from);
}

/** The whole second at this place, within the axis. */
export function secondAt({ from, to, left, right }: TimeAxis, x: number): number {
  const second = Math.round(from + (to - from) * (x - left) / Math.max(1, right - left));
  return Math.min(to, Math.max(from, second));
}

/** The width of a second. */
export function secondWidth({ from, to, left, right }: TimeAxis): number {
  return (right - left) / (to - from);
}

const TICK_STEPS = [10, 30, 60, 120, 300];
const TICK_MIN_PX = 64;

/** Round times within the axis, with room for their labels. */
export function ticksOf(axis: TimeAxis): number[] {
  const step = TICK_STEPS.find((step) => step * secondWidth(axis) >= TICK_MIN_PX) ?? 600;
  const ticks: number[] = [];
  for (let tick = Math.ceil(axis.from / step) * step; tick <= axis.to; tick += step) ticks.push(tick);
  return ticks;
}
