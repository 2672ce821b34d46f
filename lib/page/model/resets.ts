/**
 * Which server's connections were reset, second by second. The series count the fates of a service, not of its servers, so the
 * resets of a second are given to the servers that were in trouble then, in proportion to the connections that ended there. With
 * one server in trouble that is exact. Pure.
 */

import type { ServerState } from "./contract.ts";
import { type History, MOVED_STATES } from "./history.ts";
import { classOfFate } from "./words.ts";

/** Connections that a server's loss has reset. `server` is null where no server was in trouble. */
export interface Reset {
  readonly at: number;
  readonly server: string | null;
  readonly count: number;
}

/** Connections of a lost server are reset before its checks find it down, and afterwards. */
const BEFORE_S = 60;
/** The states of lost servers. A drain begins when it is known. */
const LOST: readonly (ServerState | null)[] = ["resting", "down"];

/** The resets from one second to another, both included, in the order of time. */
export function resetsOf(history: History, from: number, to: number): Reset[] {
  const fates = history.fates.filter((fate) => classOfFate(fate) === "reset");
  const resets: Reset[] = [];
  for (let at = Math.max(from, history.oldest); at <= to; at++) {
    const count = fates.reduce((sum, fate) => sum + history.ended(fate, at, 1), 0);
    if (count > 0) resets.push(...divide(history, at, count));
  }
  return resets;
}

function divide(history: History, at: number, count: number): Reset[] {
  const troubled = history.servers.filter((server) => isTroubled(history, server, at));
  if (troubled.length === 0) return [{ at, server: null, count }];
  const ended = troubled.map((server) => Math.max(0, endedAt(history, server, at)));
  const total = ended.reduce((sum, one) => sum + one, 0);
  return troubled
    .map((server, i) => ({ at, server, count: count * (total > 0 ? ended[i] / total : 1 / troubled.length) }))
    .filter(({ count }) => count > 0);
}

/** Whether a server was in trouble, and had connections to lose. */
function isTroubled(history: History, server: string, at: number): boolean {
  const states = history.statesOf(server);
  const now = states.findLast((state) => state.at <= at);
  const isOut = (now !== undefined && now.state !== "up") ||
    states.some((state) => state.at > at && state.at <= at + BEFORE_S && LOST.includes(state.state));
  return isOut && history.maxOf(server, "open", at, BEFORE_S) > 0;
}

/** Connections of a server that ended in this second: what is missing in its balance. */
function endedAt(history: History, server: string, at: number): number {
  const sum = (way: "in" | "away") =>
    MOVED_STATES.reduce((sum, state) => sum + zeroed(history.valueAt(server, `${way}:${state}`, at)), 0);
  const before = zeroed(history.valueAt(server, "open", at - 1));
  const opened = zeroed(history.valueAt(server, "opened", at));
  return before + opened + sum("in") - sum("away") - zeroed(history.valueAt(server, "open", at));
}

function zeroed(number: number): number {
  return Number.isNaN(number) ? 0 : number;
}
