/** Whole numbers as people write them. */

import { OperatorError } from "./errors.ts";

/** A whole number from `min` to `max`, of at most 9 digits. Throws a `usage` error that begins with `what`. */
export function parseCount(text: string, what: string, max: number, min = 1): number {
  const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : NaN;
  if (count >= min && count <= max) return count;
  throw new OperatorError("usage", `${what} ${JSON.stringify(text)} is not a whole number from ${min} to ${max}`);
}
