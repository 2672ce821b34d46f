/**
 * Follows servers that drain or are being removed: says how they go on, more and more seldom, and what became of their connections.
 * Pure: the time and what is known of the servers come in.
 */

import type { ServerState } from "../routing/availability.ts";
import type { Counters } from "../observe/counters.ts";
import type { NewEvent } from "../observe/events.ts";
import { plural } from "../values/count.ts";
import { formatDuration } from "../values/duration.ts";
import { FATE_NAMES } from "../values/fates.ts";

/** A server at this moment; connections that moved away or ended since it was added. */
export interface WatchedServer {
  readonly service: string;
  readonly server: string;
  readonly slot: number;
  readonly state: ServerState;
  readonly open: number;
  readonly movedAway: number;
  readonly ended: number;
}

/** What is known of a server now. */
export function watchedServer(counters: Counters, named: Omit<WatchedServer, "open" | "movedAway" | "ended">): WatchedServer {
  const { slot } = named;
  const ended = FATE_NAMES.reduce((sum, fate) => sum + counters.getOf(slot, fate), 0);
  return { ...named, open: counters.getOf(slot, "serverOpen"), movedAway: counters.getOf(slot, "movedAway"), ended };
}

/** A drain under way. */
interface Drain {
  readonly server: string;
  readonly startedMs: number;
  readonly before: WatchedServer;
  /** When it was last told of, and how long it is then silent. */
  toldMs: number;
  pauseMs: number;
}

/** The pauses between two tellings: each is twice the one before. */
const PAUSE_MIN_MS = 10_000;
const PAUSE_MAX_MS = 300_000;

/** The drains of all services. */
export class DrainWatch {
  /** By slot. */
  readonly #drains = new Map<number, Drain>();

  /** A server begins to drain: none of its connections has left yet. Again: with what it has now. */
  begin(before: WatchedServer, nowMs: number): void {
    this.#drains.set(before.slot, { server: before.server, startedMs: nowMs, before, toldMs: nowMs, pauseMs: PAUSE_MIN_MS });
  }

  /** What is to be told of these servers: all those that drain, and maybe others. `nowMs` never goes back. */
  look(servers: Iterable<WatchedServer>, nowMs: number): NewEvent[] {
    const events: NewEvent[] = [];
    const seen = new Set<number>();
    for (const now of servers) {
      if (now.state !== "draining" && now.state !== "removing") continue;
      seen.add(now.slot);
      const event = this.#lookAt(now, nowMs);
      if (event !== undefined) events.push(event);
    }
    for (const slot of this.#drains.keys()) if (!seen.has(slot)) this.#drains.delete(slot);
    return events;
  }

  #lookAt(now: WatchedServer, nowMs: number): NewEvent | undefined {
    const drain = this.#drains.get(now.slot);
    if (drain === undefined || drain.server !== now.server) return void this.begin(now, nowMs); // since before a restart
    if (now.open === 0) return this.#tellEnd(drain, now, nowMs);
    if (nowMs - drain.toldMs < drain.pauseMs) return undefined;
    drain.toldMs = nowMs;
    drain.pauseMs = Math.min(2 * drain.pauseMs, PAUSE_MAX_MS);
    const became = describe(drain.before, now);
    const text = `Server ${now.server} is ${now.state}: ${plural(now.open, "connection")} left; ${became}`;
    return { kind: "drain", service: now.service, server: now.server, text };
  }

  /** A drain whose end is told stays known, with nothing left to tell. A removal's end is told by whoever ends it. */
  #tellEnd(drain: Drain, now: WatchedServer, nowMs: number): NewEvent | undefined {
    const { before } = drain;
    if (before.open === 0 || now.state === "removing") return undefined;
    this.#drains.set(now.slot, { ...drain, before: now });
    const seconds = Math.max(1, Math.round((nowMs - drain.startedMs) / 1000));
    const text = `Server ${now.server} is drained after ${formatDuration(seconds * 1000)}: ${describe(before, now)}`;
    return { kind: "drain", service: now.service, server: now.server, text };
  }
}

/** What became of the connections since then. New ones may have come: a server that asks to drain may be the last that there is. */
function describe(before: WatchedServer, now: WatchedServer): string {
  const [moved, finished] = [now.movedAway - before.movedAway, now.ended - before.ended];
  return `of ${plural(now.open + moved + finished, "connection")} ${moved} moved and ${finished} ended`;
}
