/**
 * What `top` asks of the daemon, and what it makes of the answers: a moment. Asks for what is new only, and less often for what is
 * long. After a restart of the daemon it begins anew.
 */

import { judge } from "../observe/verdict.ts";
import type { Answers } from "../control/api.ts";
import type { ControlClient } from "../control/client.ts";
import { clockText } from "./figures.ts";
import type { Moment, Pool } from "./moment.ts";
import type { ConnectionSort } from "./view.ts";
import { ASKED_FIELDS, LONG_FIELDS, MINUTE_S, SERIES_S, SERVER_FIELDS, Window } from "./window.ts";

/** What is asked of a service, or of all. */
export type Source = Pick<ControlClient, "status" | "list" | "series" | "events" | "connections">;

/** What a reading needs beyond the rest. */
export interface Wants {
  /** The order of the open connections; undefined: they are not shown. */
  readonly connections: ConnectionSort | undefined;
  /** The most open connections of which a list is made: making it reads all of them. */
  readonly connectionsMax: number;
}

/** The most services whose servers are asked for, the most events kept, and connections shown. */
const SERVICES_MAX = 50;
const EVENTS_KEPT = 500;
const CONNECTIONS_SHOWN = 200;
/**
 * A list of servers has a kilobyte for each, and their series a quarter of that: up to this many are asked for every time, more now
 * and then, or at once when an event says that something is new.
 */
const OFTEN_MAX = 200;
const LIST_RARELY_MS = 5000;
const SERIES_RARELY_MS = 3000;
/** Events after which servers have other states or settings. */
const TELLING: readonly string[] = ["server", "command", "drain", "daemon"];
/** How often the two parts of the first series are asked for until they end at the same second. */
const ALIGN_TRIES = 5;

/** Asks the daemon, and remembers what it has answered. */
export class Feed {
  #window = new Window();
  #events: Answers["events"]["events"] = [];
  #lastEvent: { startId: string; number: number } | undefined;
  #pools: Pool[] = [];
  #listedMs = -Infinity;
  #seriesMs = -Infinity;

  /** `sourceOf`: asks of one service; of all if undefined. `only`: the service that is shown; all of them if undefined. */
  constructor(readonly sourceOf: (service: string | undefined) => Source, readonly only: string | undefined) {}

  /** Throws an operator error if the daemon does not answer. */
  async read({ connections: sort, connectionsMax }: Wants, nowMs: number): Promise<Moment> {
    const source = this.sourceOf(this.only);
    const status = only(await source.status(), this.only);
    const isLarge = Object.values(status.servers).reduce((sum, count) => sum + count, 0) > OFTEN_MAX;
    const isTold = await this.#readEvents(source);
    if (!isLarge || isTold || nowMs - this.#seriesMs >= SERIES_RARELY_MS) await this.#readSeries(source, nowMs);
    const isListFresh = await this.#readPools(status, !isLarge || isTold, nowMs);
    const isListed = sort !== undefined && status.connections.open <= connectionsMax;
    const connections = isListed ? await source.connections({ sort, limit: String(CONNECTIONS_SHOWN) }) : null;
    const pools = this.#pools;
    const servers = pools.flatMap(({ service, servers }) => servers.map((server) => ({ ...server, service })));
    return {
      atMs: nowMs,
      status,
      only: this.only,
      pools,
      servicesLeftOut: Math.max(0, shownServices(status).length - SERVICES_MAX),
      isListFresh,
      window: this.#window,
      events: this.#events,
      connections,
      verdict: judge({ status, servers, series: this.#window.judged() }, (ms) => clockText(ms, nowMs)),
    };
  }

  /** Whether something happened that changes the servers. */
  async #readEvents(source: Source): Promise<boolean> {
    const after = this.#lastEvent?.number;
    const query = after === undefined ? { since: `${SERIES_S}s` } : { after: String(after) };
    const answer = await source.events({ ...query, limit: String(EVENTS_KEPT) });
    if (this.#lastEvent !== undefined && answer.startId !== this.#lastEvent.startId) {
      this.#lastEvent = undefined;
      this.#events = [];
      return await this.#readEvents(source);
    }
    this.#lastEvent = { startId: answer.startId, number: answer.last };
    this.#events = [...this.#events, ...answer.events].slice(-EVENTS_KEPT);
    return answer.events.some(({ kind }) => TELLING.includes(kind));
  }

  async #readSeries(source: Source, nowMs: number): Promise<void> {
    this.#seriesMs = nowMs;
    const { endS, step, startId } = this.#window;
    if (startId !== undefined) {
      const fields = ASKED_FIELDS.join(",");
      if (this.#window.add(await source.series({ after: String(endS - step), fields }))) return;
      this.#window = new Window();
    }
    await this.#beginSeries(source);
  }

  /** A quarter of an hour of the services, and a minute of each server: asked for apart, because servers are many. */
  async #beginSeries(source: Source): Promise<void> {
    for (let tries = 1;; tries++) {
      const long = await source.series({ seconds: String(SERIES_S), fields: LONG_FIELDS.join(",") });
      const short = await source.series({ seconds: String(MINUTE_S), fields: SERVER_FIELDS.join(",") });
      const isAligned = long.from + long.steps * long.step === short.from + short.steps * short.step;
      if (!isAligned && tries < ALIGN_TRIES) continue;
      this.#window.add({ ...long, servers: isAligned ? short.servers : [] });
      if (isAligned) this.#window.addPasts(long);
      return;
    }
  }

  /** Whether the servers are listed as they are now. */
  async #readPools(status: Answers["status"], isWanted: boolean, nowMs: number): Promise<boolean> {
    const services = shownServices(status).toSorted((one, other) => troubles(other) - troubles(one) || other.open - one.open)
      .slice(0, SERVICES_MAX);
    const isDue = isWanted || nowMs - this.#listedMs >= LIST_RARELY_MS ||
      services.some(({ service }) => !this.#pools.some((pool) => pool.service === service));
    if (!isDue) return false;
    this.#pools = await Promise.all(
      services.map(async ({ service }) => ({ service, servers: (await this.sourceOf(service).list()).servers })),
    );
    this.#listedMs = nowMs;
    return true;
  }
}

/** The services that are neither removed nor left out by `--service`. */
function shownServices({ services }: Answers["status"]): Answers["status"]["services"] {
  return services.filter(({ removing }) => !removing);
}

/** The status as far as one service is concerned. */
function only(status: Answers["status"], service: string | undefined): Answers["status"] {
  if (service === undefined) return status;
  const services = status.services.filter((one) => one.service === service);
  const open = services.reduce((sum, { open }) => sum + open, 0);
  return { ...status, services, connections: { ...status.connections, open }, servers: services[0]?.servers ?? status.servers };
}

function troubles({ servers }: Answers["service"]): number {
  return Object.entries(servers).reduce((sum, [state, count]) => state === "up" ? sum : sum + count, 0);
}
