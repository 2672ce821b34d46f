/**
 * The last 15 minutes of one service, second by second: what each server had and did, how connections ended, and who took whose
 * connections. Fed by `GET /v1/series` and by the seconds of `/live`, in any step and order. Bounded: a column of a server takes
 * memory only once it has held something else than nothing.
 */

import type { Count } from "../../observe/outages.ts";
import type { Column, MovedState, Series, SeriesFlow, ServerSeries, ServerState } from "./contract.ts";

/** How far back it goes. */
export const SECONDS = 900;

/** The states in which connections move, in the order in which they are shown. */
export const MOVED_STATES: readonly MovedState[] = ["unsent", "unanswered", "idle"];

/** The most flows that are kept; the oldest go first. */
const FLOWS_MAX = 50_000;

const NO_COUNTS: readonly Count[] = [];

/** Columns whose steps hold a value that lasts, and columns that count what happened within a step. */
const GAUGES = ["open", "connectP50Ms", "connectP99Ms"] as const;
const COUNTS = ["opened", "sentBytes", "receivedBytes", "failures"] as const;
type Plain = typeof GAUGES[number] | typeof COUNTS[number];
/** A column of a server, as `valueAt` and `sumOf` name it. */
export type ServerColumn = Plain | `in:${MovedState}` | `away:${MovedState}`;

/** Connections that moved in one second. */
export interface Flow {
  /** Seconds since 1970. */
  readonly at: number;
  readonly from: string;
  readonly to: string;
  readonly state: MovedState;
  readonly count: number;
}

/** A state and the second from which on a server had it. */
export interface StateSince {
  readonly at: number;
  /** Null: it was not there. */
  readonly state: ServerState | null;
}

/** One value per second of the last 15 minutes; NaN where nothing is known. */
class Ring {
  readonly #cells = new Float32Array(SECONDS).fill(NaN);

  get(second: number): number {
    return this.#cells[second % SECONDS];
  }

  set(second: number, value: number): void {
    this.#cells[second % SECONDS] = value;
  }
}

/** What is known of one server. */
class Track {
  readonly columns = new Map<ServerColumn, Ring>();
  states: StateSince[] = [];
  /** Connections that were cut, in the order of time. */
  cuts: Count[] = [];
}

/** The last 15 minutes of one service. */
export class History {
  #newest = 0;
  #startId = "";
  readonly #tracks = new Map<string, Track>();
  readonly #accepted = new Ring();
  readonly #open = new Ring();
  readonly #fates = new Map<string, Ring>();
  #flows: Flow[] = [];

  constructor(readonly service: string) {}

  /** The newest second that is known; 0 if none is. */
  get newest(): number {
    return this.#newest;
  }

  /** The oldest second that can be known. */
  get oldest(): number {
    return Math.max(0, this.#newest - SECONDS + 1);
  }

  /** Names of servers of which anything is known, in their natural order. */
  get servers(): readonly string[] {
    return [...this.#tracks.keys()];
  }

  /** Connections that moved, in the order of time. */
  get flows(): readonly Flow[] {
    return this.#flows;
  }

  /** The fates that have occurred. */
  get fates(): readonly string[] {
    return [...this.#fates.keys()];
  }

  /**
   * Takes over what a series says of this service. What it says again replaces what was known; a series of another start of the
   * daemon replaces everything.
   */
  absorb(series: Series): void {
    if (series.steps === 0) return;
    if (series.startId !== this.#startId) this.#clear();
    this.#startId = series.startId;
    const end = series.from + series.steps * series.step;
    this.#advance(end - 1);
    const here = series.services.find(({ service }) => service === this.service);
    if (here !== undefined) {
      this.#spread(series, here.accepted, this.#accepted, true);
      this.#spread(series, here.open, this.#open, false);
      this.#absorbFates(series, here.fates);
    }
    for (const server of series.servers) if (server.service === this.service) this.#absorbServer(series, server);
    this.#absorbFlows(series);
  }

  /** The value of a server in this second; NaN if it is not known. What was not counted while the server was there is 0. */
  valueAt(server: string, column: ServerColumn, second: number): number {
    const columns = this.#isKept(second) ? this.#tracks.get(server)?.columns : undefined;
    if (columns === undefined) return NaN;
    const value = columns.get(column)?.get(second) ?? NaN;
    if (!Number.isNaN(value) || column === "open" || isMeasured(column)) return value;
    return Number.isNaN(columns.get("open")?.get(second) ?? NaN) ? NaN : 0;
  }

  /** The sum of a server's counts over `seconds` seconds that end with this one; unknown ones count nothing. */
  sumOf(server: string, column: ServerColumn, end: number, seconds: number): number {
    const ring = this.#tracks.get(server)?.columns.get(column);
    return ring === undefined ? 0 : this.#sum(ring, end, seconds);
  }

  /** The greatest value of a server's column within `seconds` seconds that end with this one; NaN if none is known. */
  maxOf(server: string, column: ServerColumn, end: number, seconds: number): number {
    const ring = this.#tracks.get(server)?.columns.get(column);
    let max = NaN;
    for (let second = Math.max(this.oldest, end - seconds + 1); ring !== undefined && second <= end; second++) {
      const value = ring.get(second);
      if (!(value <= max) && !Number.isNaN(value)) max = value;
    }
    return max;
  }

  /** Whether anything is known of the server in this second. */
  existsAt(server: string, second: number): boolean {
    return !Number.isNaN(this.valueAt(server, "open", second));
  }

  /** The state that a server had in this second; undefined if it is not known. */
  stateAt(server: string, second: number): StateSince | undefined {
    return this.#tracks.get(server)?.states.findLast(({ at }) => at <= second);
  }

  /** The states of a server, in the order of time. */
  statesOf(server: string): readonly StateSince[] {
    return this.#tracks.get(server)?.states ?? [];
  }

  /** Connections of a server that were cut, in the order of time; of a longer step all in its first second. */
  cutsOf(server: string): readonly Count[] {
    return this.#tracks.get(server)?.cuts ?? NO_COUNTS;
  }

  /** New connections of the service in this second; NaN if unknown. */
  acceptedAt(second: number): number {
    return this.#isKept(second) ? this.#accepted.get(second) : NaN;
  }

  /** Open connections of the service in this second; NaN if unknown. */
  openAt(second: number): number {
    return this.#isKept(second) ? this.#open.get(second) : NaN;
  }

  /** Connections of the service that ended with this fate, over `seconds` seconds that end with this one. */
  ended(fate: string, end: number, seconds: number): number {
    const ring = this.#fates.get(fate);
    return ring === undefined ? 0 : this.#sum(ring, end, seconds);
  }

  /** Every server's columns as plain data, for a file: a list of values per column, from the oldest second on. */
  toData(): Record<string, unknown> {
    const { oldest } = this;
    const list = (read: (second: number) => number) =>
      Array.from({ length: this.#newest - oldest + 1 }, (_, i) => orNull(read(oldest + i)));
    const columns = (server: string, { columns }: Track) =>
      [...columns.keys()].map((name) => [name, list((second) => this.valueAt(server, name, second))]);
    return {
      service: this.service,
      from: oldest,
      step: 1,
      accepted: list((second) => this.acceptedAt(second)),
      open: list((second) => this.openAt(second)),
      fates: Object.fromEntries(this.fates.map((fate) => [fate, list((second) => this.ended(fate, second, 1))])),
      servers: [...this.#tracks].map(([server, track]) => (
        { server, states: track.states, cut: track.cuts, ...Object.fromEntries(columns(server, track)) }
      )),
      flows: this.#flows,
    };
  }

  #clear(): void {
    this.#newest = 0;
    this.#tracks.clear();
    this.#fates.clear();
    this.#flows = [];
    for (let second = 0; second < SECONDS; second++) for (const ring of [this.#accepted, this.#open]) ring.set(second, NaN);
  }

  #isKept(second: number): boolean {
    return second <= this.#newest && second >= this.oldest;
  }

  #sum(ring: Ring, end: number, seconds: number): number {
    let sum = 0;
    for (let second = Math.max(this.oldest, end - seconds + 1); second <= Math.min(end, this.#newest); second++) {
      const value = ring.get(second);
      if (!Number.isNaN(value)) sum += value;
    }
    return Math.round(sum * 1000) / 1000; // single precision, and steps that are divided into seconds
  }

  /** Makes `second` the newest: the cells of the seconds in between held older ones. */
  #advance(second: number): void {
    if (second <= this.#newest) return;
    const rings = [
      this.#accepted,
      this.#open,
      ...this.#fates.values(),
      ...this.#tracks.values().flatMap(({ columns }) => columns.values()),
    ];
    const first = Math.max(this.#newest + 1, second - SECONDS + 1);
    for (const ring of rings) for (let passed = first; passed <= second; passed++) ring.set(passed, NaN);
    this.#newest = second;
    const keptFlows = this.#flows.findIndex(({ at }) => at >= this.oldest);
    if (keptFlows !== 0) this.#flows = keptFlows < 0 ? [] : this.#flows.slice(keptFlows);
    for (const [name, track] of this.#tracks) this.#forget(name, track);
  }

  /** Forgets states that ended and cuts that were before the oldest second, and servers of which nothing is left. */
  #forget(name: string, track: Track): void {
    while (track.cuts.length > 0 && track.cuts[0].at < this.oldest) track.cuts.shift();
    while (track.states.length > 1 && track.states[1].at <= this.oldest) track.states.shift();
    const open = track.columns.get("open");
    if (this.#newest % 60 !== 0 || open === undefined) return; // a look at all cells, once a minute
    for (let second = this.oldest; second < this.#newest; second++) if (!Number.isNaN(open.get(second))) return;
    this.#tracks.delete(name);
  }

  #absorbFates(series: Series, fates: Readonly<Record<string, Column | undefined>>): void {
    for (const [fate, column] of Object.entries(fates)) {
      if (column === undefined) continue;
      let ring = this.#fates.get(fate);
      if (ring === undefined) this.#fates.set(fate, ring = new Ring());
      this.#spread(series, column, ring, true);
    }
  }

  #absorbServer(series: Series, server: ServerSeries): void {
    let track = this.#tracks.get(server.server);
    if (track === undefined) this.#tracks.set(server.server, track = new Track());
    for (const name of GAUGES) this.#absorbColumn(series, track, name, server[name], false);
    for (const name of COUNTS) this.#absorbColumn(series, track, name, server[name], true);
    for (const state of MOVED_STATES) {
      this.#absorbColumn(series, track, `in:${state}`, server.movedIn?.[state], true);
      this.#absorbColumn(series, track, `away:${state}`, server.movedAway?.[state], true);
    }
    if (server.cut !== undefined) absorbCuts(series, track, server.cut);
    for (const [offset, state] of server.states ?? []) addState(track, { at: series.from + offset * series.step, state });
  }

  #absorbColumn(series: Series, track: Track, name: ServerColumn, column: Column | undefined, isCount: boolean): void {
    if (column === undefined) return;
    let ring = track.columns.get(name);
    const isNews = name === "open" || column.some((value) => value !== null && value !== 0);
    if (ring === undefined && !isNews) return;
    if (ring === undefined) track.columns.set(name, ring = new Ring());
    this.#spread(series, column, ring, isCount);
  }

  /** Writes a column second by second: a step's count in equal parts, another value as often as the step is long. */
  #spread({ from, step }: Series, column: Column, ring: Ring, isCount: boolean): void {
    for (let i = 0; i < column.length; i++) {
      const value = column[i];
      const part = value === null ? NaN : isCount ? value / step : value;
      for (let second = from + i * step; second < from + (i + 1) * step; second++) if (this.#isKept(second)) ring.set(second, part);
    }
  }

  #absorbFlows({ from, step, steps, flows }: Series): void {
    const end = from + steps * step;
    const news = flows.filter(({ service }) => service === this.service).map((flow) => flowOf(flow, from, step));
    const others = this.#flows.filter(({ at }) => at < from || at >= end);
    if (others.length === this.#flows.length && news.length === 0) return;
    this.#flows = [...others, ...news].sort((a, b) => a.at - b.at).slice(-FLOWS_MAX);
  }
}

function isMeasured(column: ServerColumn): boolean {
  return column === "connectP50Ms" || column === "connectP99Ms";
}

function flowOf({ at, from, to, state, count }: SeriesFlow, start: number, step: number): Flow {
  return { at: start + at * step, from, to, state, count };
}

/** Replaces the cuts of the time that the series is of. */
function absorbCuts({ from, step, steps }: Series, track: Track, cut: NonNullable<ServerSeries["cut"]>): void {
  const end = from + steps * step;
  const others = track.cuts.filter(({ at }) => at < from || at >= end);
  if (cut.length === 0 && others.length === track.cuts.length) return;
  const news = cut.map(([offset, count]) => ({ at: from + offset * step, count }));
  track.cuts = [...others, ...news].sort((a, b) => a.at - b.at);
}

/** Adds a state in its place in time; one that goes on is no news. */
function addState(track: Track, news: StateSince): void {
  const later = track.states.findIndex(({ at }) => at > news.at);
  const place = later < 0 ? track.states.length : later;
  const before = track.states[place - 1];
  if ((before?.state ?? null) === news.state) return; // before its first state a server was not there
  if (before?.at === news.at) track.states[place - 1] = news;
  else track.states.splice(place, 0, news);
  if (track.states[place + 1]?.state === news.state) track.states.splice(place + 1, 1);
}

function orNull(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}
