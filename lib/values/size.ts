/** Amounts of memory as people write them: `4096`, `64KiB`, `1MiB` ↔ bytes. */

import { OperatorError } from "./errors.ts";

const UNITS: Readonly<Record<string, number>> = { "": 1, B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** A number of bytes from 0 to `max`. Throws a `usage` error that begins with `what`. */
export function parseSize(text: string, what: string, max: number): number {
  const [, digits, unit] = /^([0-9]{1,12})(B|KiB|MiB|GiB)?$/.exec(text) ?? [];
  const bytes = digits === undefined ? NaN : Number(digits) * UNITS[unit ?? ""];
  if (bytes <= max) return bytes;
  throw new OperatorError("usage", `${what} ${JSON.stringify(text)} is not a size such as 64KiB, at most ${formatSize(max)}`);
}

/** The size in the largest unit that gives a whole number. */
export function formatSize(bytes: number): string {
  const [unit, size] = Object.entries(UNITS).findLast(([unit, size]) => unit !== "" && bytes >= size && bytes % size === 0) ??
    ["B", 1];
  return `${bytes / size}${unit}`;
}
