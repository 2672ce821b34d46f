/**
 * What has happened, as a person would tell it: changes of state, commands, drains, limits, lost workers. The last ones are kept,
 * each with a number and a time, and whoever subscribes is told of new ones. Knows no HTTP and reads no clock.
 */

import { LIMITS } from "../values/config.ts";
import { printableIn } from "../values/printable.ts";

/**
 * What events are about:
 * - `server`: its state changed, or who may get clients;
 * - `command`: a change by a person or a file: who, what, the result, what it did to clients;
 * - `drain`: progress and end of drains, removals and rebalances;
 * - `limit`: a limit was reached, at most once a minute for each limit;
 * - `worker`: a thread of the engine was lost or replaced;
 * - `listener`: an address could not be listened on, or can be again;
 * - `daemon`: started, stopping, read its files again.
 */
export const EVENT_KINDS = ["server", "command", "drain", "limit", "worker", "listener", "daemon"] as const;
export type EventKind = typeof EVENT_KINDS[number];

/** How bad an event is. */
export const EVENT_LEVELS = ["info", "warning", "error"] as const;
export type EventLevel = typeof EVENT_LEVELS[number];

/** The longest text, in characters. */
export const EVENT_TEXT_MAX = 500;

/** An event. */
export interface Event {
  /** From 1, of this start of the daemon. */
  readonly number: number;
  /** ISO 8601, UTC, with ms. */
  readonly at: string;
  readonly kind: EventKind;
  readonly level: EventLevel;
  readonly service: string | null;
  readonly server: string | null;
  /** Who caused it; null: nobody. */
  readonly who: string | null;
  /** One sentence, printable. */
  readonly text: string;
}

/** An event that has happened just now. */
export interface NewEvent extends Pick<Event, "kind" | "text"> {
  /** Default: info. */
  readonly level?: EventLevel;
  readonly service?: string | null;
  readonly server?: string | null;
  readonly who?: string | null;
}

/** Which events are meant; undefined: all. */
export interface EventFilter {
  readonly kinds?: readonly EventKind[];
  readonly service?: string;
  readonly server?: string;
}

/** Which of the kept events to list. */
export interface EventQuery extends EventFilter {
  /** Only those with a greater number. */
  readonly after?: number;
  /** Only those that are not older, in ms since 1970. */
  readonly sinceMs?: number;
  /** At most the last so many. */
  readonly limit: number;
}

/** The answer to a query. */
export interface EventList {
  readonly startId: string;
  /** The number of the oldest event kept, and of the last one; 0: there was none. */
  readonly first: number;
  readonly last: number;
  /** The oldest first. */
  readonly events: readonly Event[];
}

/** Whether an event is meant, and not older than this, in ms since 1970. One that is of no service is of each. */
export function isMeant({ at, kind, service, server }: Event, filter: EventFilter, sinceMs = -Infinity): boolean {
  if (Date.parse(at) < sinceMs) return false;
  if (filter.kinds !== undefined && !filter.kinds.includes(kind)) return false;
  if (filter.service !== undefined && service !== null && service !== filter.service) return false;
  return filter.server === undefined || server === filter.server;
}

/** The last events. */
export class Events {
  readonly #events: Event[] = [];
  readonly #listeners = new Set<(event: Event) => void>();
  #last = 0;

  /** `startId` is the daemon's. */
  constructor(readonly startId: string, readonly nowMs: () => number = Date.now) {}

  /** The number of the last event. */
  get last(): number {
    return this.#last;
  }

  /** The number of the oldest event that is kept. */
  get first(): number {
    return Math.min(this.#last, Math.max(1, this.#last - LIMITS.eventsMax + 1));
  }

  /** Records an event, and tells it to whoever listens. */
  add({ kind, level = "info", service = null, server = null, who = null, text }: NewEvent): void {
    const number = ++this.#last;
    const at = new Date(this.nowMs()).toISOString();
    const event = { number, at, kind, level, service, server, ...printableIn({ who, text: shortened(text) }) };
    this.#events[(number - 1) % LIMITS.eventsMax] = event;
    for (const listener of this.#listeners) listener(event);
  }

  /** The kept events that are meant. Their numbers order them, also where the clock has gone back. */
  list({ after = 0, sinceMs = -Infinity, limit, ...filter }: EventQuery): EventList {
    const { startId, first, last } = this;
    const events: Event[] = [];
    for (let number = last; number >= Math.max(first, after + 1, 1) && events.length < limit; number--) {
      const event = this.#events[(number - 1) % LIMITS.eventsMax];
      if (isMeant(event, filter, sinceMs)) events.push(event);
    }
    return { startId, first, last, events: events.reverse() };
  }

  /** The next events after the one with this number that are kept, at most `max`. */
  *between(after: number, max: number): Generator<Event, void, undefined> {
    const from = Math.max(after + 1, this.first, 1);
    for (let number = from; number <= Math.min(this.#last, from + max - 1); number++) {
      yield this.#events[(number - 1) % LIMITS.eventsMax];
    }
  }

  /** Calls `listener`, which must not throw, for each new event. Returns the function that ends that. */
  subscribe(listener: (event: Event) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}

/** A text in as many characters as there may be. Control characters become escapes of four, so they count as such. */
function shortened(text: string): string {
  const shown = printableIn(text);
  return shown.length <= EVENT_TEXT_MAX ? shown : `${shown.slice(0, EVENT_TEXT_MAX - 1)}…`;
}
