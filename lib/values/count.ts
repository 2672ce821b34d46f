/** Whole numbers as people write them. */

import { OperatorError } from "./errors.ts";

/** A whole number from 1 to `max`. Throws a `usage` error that begins with `what`. */
export function parseCount(text: string, what: string, max: number): number {
  const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : NaN;
  if (count >= 1 && count <= max) return count;
  throw new OperatorError("usage", `${what} ${JSON.stringify(text)} is not a whole number from 1 to ${max}`);
}
