/**
 * Durations as people write them: `250ms`, `30s`, `5m`, `1h`. Not the `ms` package: it also accepts bare numbers, negative ones and
 * years, all of which a daemon's timeouts must refuse.
 */

import { OperatorError } from "./errors.ts";

/** Milliseconds of each unit, longest first. */
const UNITS = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const;

/** The longest timeout. Node and Deno timers end at 2³¹−1 ms (24.8 days). */
export const DURATION_MAX_MS: number = 24 * UNITS.h;

/** Milliseconds, a whole number from `minMs` to `maxMs`. Throws a `usage` error that names `what` and the text. */
export function parseDuration(text: string, what = "Duration", minMs = 0, maxMs: number = DURATION_MAX_MS): number {
  const [, amount, unit] = text.match(/^([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)$/) ?? [];
  const ms = text === "0" ? 0 : Math.round(Number(amount) * UNITS[unit as keyof typeof UNITS]);
  if (ms >= minMs && ms <= maxMs) return ms;
  const range = `from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
  throw new OperatorError("usage", `${what} ${JSON.stringify(text)} is not a time such as 250ms, 30s or 5m, ${range}`);
}

/** A text that `parseDuration` reads back as `ms` (a whole number from 0), in the largest unit that leaves no fraction. */
export function formatDuration(ms: number): string {
  const [unit, size] = Object.entries(UNITS).find(([, size]) => ms > 0 && ms % size === 0) ?? ["s", UNITS.s];
  return `${ms / size}${unit}`;
}
