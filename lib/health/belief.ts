/**
 * Whether what was known of servers before a restart still holds. Pure: a server that was down two seconds ago is not sent clients,
 * and one of which nobody has heard for long begins anew.
 */

import type { Config } from "../values/config.ts";

/** What is known is believed for as long as this many times `fall` checks take, and for at least BELIEF_MIN_MS. */
const BELIEF_ROUNDS = 3;
/** The daemon writes what it knows every few seconds, and needs a second to start. */
const BELIEF_MIN_MS = 15_000;

/** How long what was known at one time holds, in ms. */
export function beliefMs({ checkIntervalMs, fall }: Pick<Config, "checkIntervalMs" | "fall">): number {
  return Math.max(BELIEF_MIN_MS, BELIEF_ROUNDS * fall * checkIntervalMs);
}

/** Whether what was known at `knownAt` holds now. A time in the future is that of a clock which was wrong. */
export function isBelieved(knownAt: Date, now: Date, maxMs: number): boolean {
  const ageMs = now.getTime() - knownAt.getTime();
  return ageMs >= 0 && ageMs <= maxMs;
}
