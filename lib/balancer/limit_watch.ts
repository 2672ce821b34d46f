/**
 * Says when a limit is reached, with how often: at once, and then at most once a minute for each limit. Pure: the time and the
 * counters come in.
 */

import type { ProcessCounter } from "../observe/counters.ts";
import type { NewEvent } from "../observe/events.ts";
import type { Fate } from "../values/fates.ts";
import { plural } from "../values/count.ts";

/** Limits that are told of: what counts how often each was reached, and that in words. */
const LIMITS_TOLD = {
  limitBalancer: (count) => `${clients(count)} refused: the balancer has all connections that it may have (--max-connections)`,
  queue_timeout: (count) => `${clients(count)} refused: no place was free in time (--queue-timeout)`,
  hold_timeout: (count) => `${clients(count)} given up: no server was usable in time (--hold)`,
  limitServers: (count) => `${clients(count)} refused: every server is at its limit of connections`,
  client_limit: (count) => `${clients(count)} refused: too many connections from the same address (--client-connections)`,
  client_rate: (count) => `${clients(count)} refused: too many new connections from the same address (--client-rate)`,
  untrackedClients: (count) => `${plural(count, "connection")} not counted against the limits of clients: their table is full`,
  acceptErrors: (count) => `Accepting clients failed ${times(count)}: no descriptors are left (ulimit -n)`,
  replayOverflows: (count) =>
    `${plural(count, "request")} too large to be recorded (--replay-buffer): not moved if the server is lost`,
  accessLogDropped: (count) => `${plural(count, "line")} of the access log dropped: too many, or they could not be written`,
  eventStreamsDropped: (count) => `${plural(count, "stream")} of events ended: nobody read`,
} as const satisfies { readonly [Counter in ProcessCounter | Fate]?: (count: number) => string };

type ToldLimit = keyof typeof LIMITS_TOLD;

/** How long a limit is not told of again. */
const PAUSE_MS = 60_000;

/** All limits. */
export class LimitWatch {
  readonly #told = new Map<ToldLimit, { count: number; atMs: number }>();

  /** What was counted before is not told of. */
  begin(countOf: (limit: ToldLimit) => number): void {
    for (const limit of Object.keys(LIMITS_TOLD) as ToldLimit[]) this.#told.set(limit, { count: countOf(limit), atMs: -Infinity });
  }

  /** What is to be told. `nowMs` never goes back. */
  look(countOf: (limit: ToldLimit) => number, nowMs: number): NewEvent[] {
    const events: NewEvent[] = [];
    for (const limit of Object.keys(LIMITS_TOLD) as ToldLimit[]) {
      const count = countOf(limit);
      const told = this.#told.get(limit) ?? { count: 0, atMs: -Infinity };
      if (count <= told.count || nowMs - told.atMs < PAUSE_MS) continue;
      this.#told.set(limit, { count, atMs: nowMs });
      events.push({ kind: "limit", level: "warning", text: LIMITS_TOLD[limit](count - told.count) });
    }
    return events;
  }
}

function clients(count: number): string {
  return `${plural(count, "client")} ${count === 1 ? "was" : "were"}`;
}

function times(count: number): string {
  return count === 1 ? "once" : `${count} times`;
}
