/** The few figures beside the verdict: are clients hurt, and how much is going on. Pure. */

import { formatBytes, formatCount, formatMs, formatRate } from "./format.ts";
import type { History } from "./history.ts";
import { type PoolRow, RATE_S, RECENT_S } from "./pool_rows.ts";
import { classOfFate, type Tone } from "./words.ts";

/** A figure and what it was in the time before. */
export interface Tile {
  readonly label: string;
  readonly value: string;
  readonly tone: Tone;
  /** Values of equal spans of time up to the moment, the oldest first; NaN where nothing is known. */
  readonly trend: readonly number[];
}

const TREND_POINTS = 60;

/** The tiles at a second, with the trend of the seconds from `from` on. `waiting`: clients without a server; they are open, too. */
export function tilesOf(history: History, rows: readonly PoolRow[], from: number, at: number, waiting: number): Tile[] {
  const step = Math.max(1, Math.floor((at - from) / TREND_POINTS));
  const trend = (read: (second: number) => number) =>
    Array.from({ length: Math.floor((at - from) / step) + 1 }, (_, i) => read(at - (Math.floor((at - from) / step) - i) * step));
  const accepted = (second: number) => meanAccepted(history, second, step);
  const fates = history.fates.filter((fate) => isHurt(fate));
  const hurt = (end: number, seconds: number) => fates.reduce((sum, fate) => sum + history.ended(fate, end, seconds), 0);
  const moved = sum(rows, ({ movedAway }) => movedAway);
  const slowest = rows.reduce((max, { connectP99Ms }) => connectP99Ms > max ? connectP99Ms : max, 0);
  const hurtNow = Math.round(hurt(at, RECENT_S));
  return [
    {
      label: "open connections",
      value: `${formatCount(history.openAt(at))}${waiting === 0 ? "" : ` (${formatCount(waiting)} wait)`}`,
      tone: waiting === 0 ? "plain" : "warn",
      trend: trend((second) => history.openAt(second)),
    },
    { label: "new per s", value: formatRate(meanAccepted(history, at, RATE_S)), tone: "plain", trend: trend(accepted) },
    {
      label: "to clients per s",
      value: formatBytes(sum(rows, ({ fromServerPerS }) => fromServerPerS)),
      tone: "plain",
      trend: [],
    },
    { label: "connect p99", value: slowest === 0 ? "–" : formatMs(slowest), tone: "plain", trend: [] },
    {
      label: "moved in 5 min",
      value: formatCount(moved),
      tone: moved > 0 ? "calm" : "plain",
      trend: trend((second) => movedIn(history, second, step)),
    },
    {
      label: "hurt in 5 min",
      value: formatCount(hurtNow),
      tone: hurtNow > 0 ? "bad" : "good",
      trend: trend((second) => hurt(second, step)),
    },
  ];
}

function isHurt(fate: string): boolean {
  const name = classOfFate(fate);
  return name === "reset" || name === "unserved" || name === "fault";
}

function meanAccepted(history: History, end: number, seconds: number): number {
  let [sum, known] = [0, 0];
  for (let second = end - seconds + 1; second <= end; second++) {
    const accepted = history.acceptedAt(second);
    if (Number.isNaN(accepted)) continue;
    sum += accepted;
    known++;
  }
  return known === 0 ? NaN : sum / known;
}

function movedIn(history: History, end: number, seconds: number): number {
  return history.flows.reduce((sum, { at, count }) => at > end - seconds && at <= end ? sum + count : sum, 0);
}

function sum(rows: readonly PoolRow[], read: (row: PoolRow) => number): number {
  return rows.reduce((sum, row) => sum + (read(row) || 0), 0);
}
