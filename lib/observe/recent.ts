/**
 * The connections that ended last, for whoever asks what happened just now. Owns some entries of every fate, so that a flood of one
 * fate pushes out none of another; of fates that come by the thousand it keeps some a second, and counts those it leaves out. It is
 * told of every end, so what it leaves out must cost next to nothing. Reads no clock, and knows neither pool nor log.
 */

import { type Fate, FATE_NAMES } from "../values/fates.ts";
import type { EndedConnection } from "./connections.ts";

/** The most that one answer has. */
export const RECENT_MAX = 1_000;
/** Entries kept of each fate. */
export const RECENT_PER_FATE_MAX = 200;
/** Entries kept in a second of connections that ended as they should. */
export const DONE_PER_SECOND_MAX = 20;
/** Entries kept in a second of every other fate. */
export const FATE_PER_SECOND_MAX = 200;

const SECOND_MS = 1_000;

/** How a connection ended, and when. */
export interface RecentEnd {
  readonly at: Date;
  readonly fate: Fate;
  /** `ip:port`. */
  readonly client: string;
  /** The server it had, or was waiting for; null if none. */
  readonly server: string | null;
  /** Servers dialled for it. */
  readonly attempts: number;
  /** How often it went from one server to another. */
  readonly moves: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly durationMs: number;
  /** The last error met, in the system's words; null if none. */
  readonly reason: string | null;
}

/** Which ends to list; of all servers and fates if none is named. */
export interface RecentFilter {
  readonly server?: string;
  readonly fate?: Fate;
  readonly limit: number;
}

/** What there is to tell. */
export interface RecentList {
  /** The newest first. */
  readonly ends: readonly RecentEnd[];
  /** Ends with that fate, of all servers and since the start, that were not kept because there were too many in a second. */
  readonly leftOut: number;
}

/** An entry with its number, by which entries of all fates are put in order: a clock may go back. */
interface Kept {
  readonly number: number;
  readonly end: RecentEnd;
}

/** The last ends, of every fate. */
export class RecentEnds {
  readonly #fates = Object.fromEntries(FATE_NAMES.map((fate) => [fate, new FateEnds(fate)])) as Record<Fate, FateEnds>;
  #added = 0;

  /** Takes down an end, or leaves it out. What is kept is copied: the object may be used again. `nowMs` counts from 1970. */
  add(ended: EndedConnection, nowMs: number): void {
    const ends = this.#fates[ended.fate];
    if (ends.admit(nowMs)) ends.put({ number: this.#added++, end: copyEnd(ended, nowMs) });
  }

  /** The last ends that match, RECENT_MAX at the most. */
  list({ server, fate, limit }: RecentFilter): RecentList {
    const asked = fate === undefined ? Object.values(this.#fates) : [this.#fates[fate]];
    const kept = asked.flatMap(({ kept }) => server === undefined ? kept : kept.filter(({ end }) => end.server === server));
    kept.sort((a, b) => b.number - a.number);
    return {
      ends: kept.slice(0, Math.min(limit, RECENT_MAX)).map(({ end }) => end),
      leftOut: asked.reduce((sum, { leftOut }) => sum + leftOut, 0),
    };
  }
}

/** The last ends with one fate, in a ring. */
class FateEnds {
  readonly kept: Kept[] = [];
  leftOut = 0;
  #next = 0;
  readonly #perSecondMax: number;
  #secondMs = -Infinity;
  #inSecond = 0;

  constructor(fate: Fate) {
    this.#perSecondMax = fate === "done" ? DONE_PER_SECOND_MAX : FATE_PER_SECOND_MAX;
  }

  /** Whether one more may be kept in this second; it is counted either way. A clock that has gone back begins a second anew. */
  admit(nowMs: number): boolean {
    if (nowMs - this.#secondMs >= SECOND_MS || nowMs < this.#secondMs) {
      this.#secondMs = nowMs;
      this.#inSecond = 0;
    }
    const isAdmitted = this.#inSecond < this.#perSecondMax;
    if (isAdmitted) this.#inSecond++;
    else this.leftOut++;
    return isAdmitted;
  }

  /** Keeps an entry, in place of the oldest if there are as many as may be. */
  put(kept: Kept): void {
    this.kept[this.#next] = kept;
    this.#next = (this.#next + 1) % RECENT_PER_FATE_MAX;
  }
}

/** Reads all there is; the texts are made by reading them. */
function copyEnd(ended: EndedConnection, nowMs: number): RecentEnd {
  const { fate, client, server, attempts, moves, sentBytes, receivedBytes, durationMs, reason } = ended;
  const texts = { fate, client, server: server ?? null, reason: reason ?? null };
  return { at: new Date(nowMs), ...texts, attempts, moves, sentBytes, receivedBytes, durationMs };
}
