/**
 * The connections that ended recently. Keeps entries per fate, so that a flood of one fate does not push out another, and only a
 * limited number per second; the others are counted. It is told of every end, so an end that is not kept must cost almost nothing.
 * Reads no clock, and knows neither pool nor log.
 */

import { LIMITS } from "../values/config.ts";
import { formatConnectionId } from "../values/connection_id.ts";
import { type Fate, FATE_NAMES } from "../values/fates.ts";
import type { EndedConnection } from "./connections.ts";

/** Entries kept per fate. */
export const RECENT_PER_FATE_MAX = 200;
/** Entries with the fate `done` kept per second. */
export const DONE_PER_SECOND_MAX = 20;
/** Entries of each other fate kept per second. */
export const FATE_PER_SECOND_MAX = 200;

const SECOND_MS = 1_000;

/** How a connection ended, and when. */
interface RecentEnd {
  /** As the access log and PROXY headers show it. */
  readonly id: string;
  readonly at: Date;
  readonly fate: Fate;
  /** `ip:port`. */
  readonly client: string;
  /** The server that it had or was dialling; null for none. */
  readonly server: string | null;
  /** The number of servers dialled. */
  readonly attempts: number;
  /** How often it moved to another server. */
  readonly moves: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly durationMs: number;
  /** The last error, as the system words it; null for none. */
  readonly reason: string | null;
}

/** Which ends to list: all, or those of one server or fate, and at most `limit`. */
export interface RecentFilter {
  readonly server?: string;
  readonly fate?: Fate;
  readonly limit: number;
}

/** The answer to a filter. */
export interface RecentList {
  /** Newest first. */
  readonly ends: readonly RecentEnd[];
  /** Ends of that fate, of all servers since the start, that were not kept because of the limit per second. */
  readonly leftOut: number;
}

/** Every entry, oldest first, and how many ends of each fate were left out: plain data for another process. */
export interface CarriedEnds {
  readonly ends: readonly (Omit<RecentEnd, "at"> & { readonly at: string })[];
  readonly leftOut: Readonly<Record<string, number>>;
}

/** An entry with its sequence number, which orders the entries of all fates even if the clock goes back. */
interface Kept {
  readonly number: number;
  readonly end: RecentEnd;
}

/** The recent ends of every fate. */
export class RecentEnds {
  readonly #fates = Object.fromEntries(FATE_NAMES.map((fate) => [fate, new FateEnds(fate)])) as Record<Fate, FateEnds>;
  #added = 0;

  /** `startId` is the daemon's, and begins the ids of its connections. */
  constructor(readonly startId: string) {}

  /** Records an end, or counts it as left out. Copies the object, which the engine may reuse. `nowMs` counts from 1970. */
  add(ended: EndedConnection, nowMs: number): void {
    const ends = this.#fates[ended.fate];
    if (ends.admit(nowMs)) ends.put({ number: this.#added++, end: this.#copy(ended, nowMs) });
  }

  /** Copies every field; the getters of `ended` format their texts now. */
  #copy(ended: EndedConnection, nowMs: number): RecentEnd {
    const { fate, client, server, attempts, moves, sentBytes, receivedBytes, durationMs, reason } = ended;
    const texts = { id: formatConnectionId(this.startId, ended.id), fate, client, server: server ?? null, reason: reason ?? null };
    return { at: new Date(nowMs), ...texts, attempts, moves, sentBytes, receivedBytes, durationMs };
  }

  /** The end of the connection with this id; undefined if it is not known, or not any more. */
  find(id: string): RecentEnd | undefined {
    for (const { kept } of Object.values(this.#fates)) {
      const found = kept.find(({ end }) => end.id === id);
      if (found !== undefined) return found.end;
    }
  }

  /** Everything, for another process. */
  carried(): CarriedEnds {
    const kept = Object.values(this.#fates).flatMap(({ kept }) => kept).toSorted((a, b) => a.number - b.number);
    return {
      ends: kept.map(({ end }) => ({ ...end, at: end.at.toISOString() })),
      leftOut: Object.fromEntries(Object.entries(this.#fates).map(([fate, { leftOut }]) => [fate, leftOut])),
    };
  }

  /** Takes over those of another process, older than all that are here. Fates that this version does not know are lost. */
  takeOver({ ends, leftOut }: CarriedEnds): void {
    const here = Object.values(this.#fates).flatMap((ends) => ends.take()).toSorted((a, b) => a.number - b.number);
    const all = [...ends.map((end) => ({ ...end, at: new Date(end.at) })), ...here.map(({ end }) => end)];
    for (const end of all) this.#fates[end.fate]?.put({ number: this.#added++, end });
    for (const [fate, ends] of Object.entries(this.#fates)) ends.leftOut += leftOut[fate] ?? 0;
  }

  /** The newest matching ends, at most LIMITS.recentMax. */
  list({ server, fate, limit }: RecentFilter): RecentList {
    const asked = fate === undefined ? Object.values(this.#fates) : [this.#fates[fate]];
    const kept = asked.flatMap(({ kept }) => server === undefined ? kept : kept.filter(({ end }) => end.server === server));
    kept.sort((a, b) => b.number - a.number);
    return {
      ends: kept.slice(0, Math.min(limit, LIMITS.recentMax)).map(({ end }) => end),
      leftOut: asked.reduce((sum, { leftOut }) => sum + leftOut, 0),
    };
  }
}

/** The recent ends with one fate, in a ring buffer. */
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

  /** Whether one more entry may be kept in this second; counts it either way. A clock that goes back starts a new second. */
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

  /** Removes and returns every entry. */
  take(): Kept[] {
    this.#next = 0;
    return this.kept.splice(0);
  }

  /** Keeps an entry, in place of the oldest if the buffer is full. */
  put(kept: Kept): void {
    this.kept[this.#next] = kept;
    this.#next = (this.#next + 1) % RECENT_PER_FATE_MAX;
  }
}
