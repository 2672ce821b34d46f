/** Whole numbers as people write them. */

import { OperatorError } from "./errors.ts";

export { plural } from "./plural.ts";

/** A number of something that is counted up without end, or a second since 1970: from 0, of at most 15 digits. See `parseCount`. */
export function parseNumber(text: string, what: string): number {
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  throw new OperatorError("usage", `${what} ${JSON.stringify(text)} is not a whole number from 0 on, of at most 15 digits`);
}

/** A whole number from `min` to `max`, of at most 9 digits. Throws a `usage` error that begins with `what`. */
export function parseCount(text: string, what: string, max: number, min = 1): number {
  const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : NaN;
  if (count >= min && count <= max) return count;
  throw new OperatorError("usage", `${what} ${JSON.stringify(text)} is not a whole number from ${min} to ${max}`);
}
