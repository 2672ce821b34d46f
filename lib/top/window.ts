/**
 * The last minutes as `top` holds them: per server for a minute, per service and between servers for a quarter of an hour. Takes
 * the answers of `GET /v1/series` as they come, each with the seconds that are new, and begins anew with each start of the daemon.
 */

import type { Answers } from "../control/api.ts";
import type { Count } from "../observe/outages.ts";
import type { JudgedSeries } from "../observe/verdict.ts";

type Series = Answers["series"];
type Values = (number | null)[];

/** The columns of a server that are asked for. */
export const SERVER_FIELDS = ["open", "opened", "sentBytes", "receivedBytes", "failures", "connectP99Ms"] as const;

/** What is asked of servers: their columns, and when their states changed and their connections were cut. */
export const ASKED_FIELDS = [...SERVER_FIELDS, "states", "cut"] as const;
/** What is asked of servers for all the time that is kept. */
export const LONG_FIELDS = ["states", "cut"] as const;

/** A server's last minute, a value per step, the newest last. `null`: it did not exist. */
export type ServerColumns = Readonly<Record<typeof SERVER_FIELDS[number], readonly (number | null)[]>>;

/** A service's last quarter of an hour. */
interface ServiceColumns {
  accepted: number[];
  open: number[];
  fates: Record<string, number[]>;
}

/** A server's states and cuts of the last quarter of an hour. */
interface Past {
  states: { at: number; state: string | null }[];
  cut: Count[];
}

/** Connections that moved in a step, in Unix seconds. */
export interface TimedFlow extends Omit<Series["flows"][number], "at"> {
  readonly atS: number;
}

/** How much is kept of servers, in seconds. */
export const MINUTE_S = 60;
/** How much is kept of services, and of moves. */
export const SERIES_S = 900;
/** The most flows that are kept: the oldest go. */
const FLOWS_MAX = 100_000;

/** Connections that moved to and from servers, by the name of the server. */
interface Moved {
  readonly in: ReadonlyMap<string, number>;
  readonly away: ReadonlyMap<string, number>;
}

/** The last minutes. */
export class Window {
  #servers = new Map<string, { columns: Record<typeof SERVER_FIELDS[number], Values>; endS: number }>();
  readonly #pasts = new Map<string, Past>();
  #services = new Map<string, ServiceColumns>();
  #flows: TimedFlow[] = [];

  /** The daemon's start that this is of; undefined before the first answer. */
  startId: string | undefined;
  /** Seconds per step. */
  step = 1;
  /** The first second after the last step, in Unix time; 0 before the first answer. */
  endS = 0;
  /** Steps that are known of the services. */
  #steps = 0;

  /**
   * Takes an answer. False where it does not go on from what is here: another start of the daemon, another step, seconds in between
   * that are missing. Then nothing is taken: begin with a new window.
   */
  add(series: Series): boolean {
    if (this.startId === undefined) {
      this.startId = series.startId;
      this.step = series.step;
      this.endS = series.from;
    }
    if (series.startId === this.startId && series.steps === 0) return true; // nothing is new
    if (series.startId !== this.startId || series.step !== this.step || series.from !== this.endS) return false;
    this.endS = series.from + series.steps * series.step;
    this.#steps = Math.min(this.#steps + series.steps, SERIES_S / this.step);
    this.#addServers(series);
    this.addPasts(series);
    this.#addServices(series);
    const flows = series.flows.map(({ at, ...flow }) => ({ ...flow, atS: series.from + at * series.step }));
    this.#flows.push(...flows);
    const first = this.#flows.findIndex(({ atS }) => atS >= this.endS - SERIES_S);
    this.#flows.splice(0, Math.max(first < 0 ? this.#flows.length : first, this.#flows.length - FLOWS_MAX));
    return true;
  }

  /** Takes the states and cuts of an answer that ends where this window does, or before. */
  addPasts({ servers, from, step }: Series): void {
    const oldest = this.endS - SERIES_S;
    for (const { service, server, states = [], cut = [] } of servers) {
      const key = keyOf(service, server);
      let past = this.#pasts.get(key);
      if (past === undefined) this.#pasts.set(key, past = { states: [], cut: [] });
      for (const [at, state] of states) {
        if (past.states.at(-1)?.state !== state) past.states.push({ at: from + at * step, state });
      }
      for (const [at, count] of cut) past.cut.push({ at: from + at * step, count });
      while (past.states.length > 1 && past.states[1].at <= oldest) past.states.shift();
      while (past.cut.length > 0 && past.cut[0].at < oldest) past.cut.shift();
    }
    for (const key of this.#pasts.keys()) if (!this.#servers.has(key)) this.#pasts.delete(key);
  }

  /** A server's last minute. */
  server(service: string, server: string): ServerColumns | undefined {
    return this.#servers.get(keyOf(service, server))?.columns;
  }

  /** The last value of a column per second; null if there is none. */
  rate(values: readonly (number | null)[] | undefined): number | null {
    const last = values?.at(-1) ?? null;
    return last === null ? null : last / this.step;
  }

  /** A sum over the services of the last minute, a value per step. */
  minute(read: (service: ServiceColumns) => readonly number[] | undefined): number[] {
    return this.#sum(read, MINUTE_S / this.step);
  }

  /** A sum over the servers of the last minute, a value per step. */
  serversMinute(field: typeof SERVER_FIELDS[number]): number[] {
    const sums = new Array<number>(Math.ceil(MINUTE_S / this.step)).fill(0);
    for (const { columns } of this.#servers.values()) {
      const values = columns[field];
      const first = sums.length - values.length;
      for (let i = Math.max(0, -first); i < values.length; i++) sums[first + i] += values[i] ?? 0;
    }
    return sums;
  }

  /** The flows from this second on. */
  flowsFrom(atS: number): readonly TimedFlow[] {
    const first = this.#flows.findIndex((flow) => flow.atS >= atS);
    return first < 0 ? [] : this.#flows.slice(first);
  }

  /** How many connections moved to and from each server of a service in the last minute. */
  movedInMinute(service: string): Moved {
    const moved = { in: new Map<string, number>(), away: new Map<string, number>() };
    const count = (counts: Map<string, number>, server: string | null, by: number) => {
      if (server !== null) counts.set(server, (counts.get(server) ?? 0) + by);
    };
    for (const flow of this.flowsFrom(this.endS - MINUTE_S)) {
      if (flow.service !== service) continue;
      count(moved.in, flow.to, flow.count);
      count(moved.away, flow.from, flow.count);
    }
    return moved;
  }

  /** What the verdict is made of. */
  judged(): JudgedSeries {
    const { step } = this;
    const from = this.endS - this.#steps * step;
    const services = this.#services.entries().map(([service, { fates }]) => ({ service, fates: padded(fates, this.#steps) }));
    const flows = this.#flows.map(({ atS, ...flow }) => ({ ...flow, at: (atS - from) / step }));
    const pastOf = (service: string, server: string) => this.#pasts.get(keyOf(service, server)) ?? null;
    return { from, step, steps: this.#steps, services: services.toArray(), flows, pastOf };
  }

  #addServers({ servers, from, steps, step }: Series): void {
    const kept = Math.ceil(MINUTE_S / step);
    for (const answer of servers) {
      const key = keyOf(answer.service, answer.server);
      const known = this.#servers.get(key) ?? { columns: emptyColumns(), endS: from };
      for (const field of SERVER_FIELDS) {
        const column = known.columns[field];
        for (let at = known.endS; at < from; at += step) column.push(null); // it was away
        column.push(...(answer[field] ?? new Array<null>(steps).fill(null)).slice(-kept));
        if (column.length > kept) column.splice(0, column.length - kept);
      }
      known.endS = this.endS;
      this.#servers.set(key, known);
    }
    for (const [key, { endS }] of this.#servers) if (endS < this.endS) this.#servers.delete(key);
  }

  #addServices({ services, steps }: Series): void {
    const kept = SERIES_S / this.step;
    const answered = new Map(services.map((service) => [service.service, service]));
    for (const name of new Set([...this.#services.keys(), ...answered.keys()])) {
      const known = this.#services.get(name) ?? { accepted: [], open: [], fates: {} };
      const answer = answered.get(name);
      extend(known.accepted, answer?.accepted, steps, kept);
      extend(known.open, answer?.open, steps, kept);
      const fates: Readonly<Record<string, number[] | undefined>> = answer?.fates ?? {};
      for (const fate of new Set([...Object.keys(known.fates), ...Object.keys(fates)])) {
        extend(known.fates[fate] ??= [], fates[fate], steps, kept);
      }
      this.#services.set(name, known);
    }
  }

  #sum(read: (service: ServiceColumns) => readonly number[] | undefined, length: number): number[] {
    const sums = new Array<number>(Math.ceil(length)).fill(0);
    for (const service of this.#services.values()) {
      const values = read(service) ?? [];
      const first = sums.length - values.length;
      for (let i = Math.max(0, -first); i < values.length; i++) sums[first + i] += values[i];
    }
    return sums;
  }
}

function keyOf(service: string, server: string): string {
  return `${service} ${server}`;
}

function emptyColumns(): Record<typeof SERVER_FIELDS[number], Values> {
  return { open: [], opened: [], sentBytes: [], receivedBytes: [], failures: [], connectP99Ms: [] };
}

/** Appends values; where there are none, as many zeros. */
function extend(kept: number[], values: readonly (number | null)[] | undefined, steps: number, most: number): void {
  for (let i = 0; i < steps; i++) kept.push(values?.[i] ?? 0);
  if (kept.length > most) kept.splice(0, kept.length - most);
}

/** Each list with zeros before it, so that all have the same length: a fate may have occurred late. */
function padded(fates: Readonly<Record<string, readonly number[]>>, length: number): Record<string, number[]> {
  const pad = (values: readonly number[]) => [...new Array<number>(Math.max(0, length - values.length)).fill(0), ...values];
  return Object.fromEntries(Object.entries(fates).map(([fate, values]) => [fate, pad(values)]));
}
