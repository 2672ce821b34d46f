/**
 * Samples of connections: which share of them is taken, and whether one of them is. The decision depends on the connection's number
 * alone, so it is the same at its beginning and at its end.
 */

import { OperatorError } from "./errors.ts";

/** The share, from 0 to 1, that `0%`, `0.5%` or `100%` stands for. Throws a `usage` error that begins with `what`. */
export function parseShare(text: string, what: string): number {
  const [, percent] = text.match(/^([0-9]{1,3}(?:\.[0-9]{1,4})?)%$/) ?? [];
  const share = Number(percent) / 100;
  if (share <= 1) return share;
  throw new OperatorError("usage", `${what} ${JSON.stringify(text)} is not a percentage such as 1% or 0.5%, from 0% to 100%`);
}

/** Whether the connection with this number belongs to a sample of this share. */
export function isSampled(number: number, share: number): boolean {
  return mix(number) < share * 2 ** 32;
}

/** A hash from 0 to 2³² - 1: the finalizer of MurmurHash3 over both halves of the number. */
function mix(number: number): number {
  let hash = (number | 0) ^ Math.imul(Math.floor(number / 2 ** 32), 0x9e3779b1);
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  return (hash ^ hash >>> 16) >>> 0;
}
