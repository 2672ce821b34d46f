/**
 * The one model of now and of the last 15 minutes: of each service and each server, step by step, what the counters said; and which
 * connections moved from where to where. The main thread samples it once a second from the counters, so it costs the data plane
 * nothing. A step is one second, or longer where there are so many servers that it would not fit into its memory. Clocks are handed
 * in; knows no timer.
 */

import { SERVER_STATES, type ServerState } from "../routing/availability.ts";
import { LIMITS } from "../values/config.ts";
import type { MovableState } from "../routing/departure.ts";
import { CONNECT_BUCKETS, connectMsOf, NO_BUCKET } from "./connect_times.ts";
import { type Counters, MOVABLE_STATES } from "./counters.ts";
import { SecondClock } from "./second_clock.ts";
import {
  SERIES_FIELDS,
  type SeriesAnswer,
  type SeriesField,
  type SeriesQuery,
  type ServerSeries,
  type ServiceSeries,
  type Steps,
} from "./series_answer.ts";
import {
  ABSENT,
  FATE_ROW_BYTES,
  MOVE_CELLS,
  type Place,
  SERVER_ROW_BYTES,
  ServerColumns,
  SERVICE_ROW_BYTES,
  ServiceColumns,
} from "./series_columns.ts";
import { type Move, SeriesFlows } from "./series_flows.ts";
import { ServerTrack, ServiceTrack } from "./series_tracks.ts";

/**
 * The most bytes of all rows: enough for 1,000 servers at one second per step. With the flows and what there is once for each
 * server, the series has at most 64 MB, whatever happens.
 */
export const SERIES_BYTES_MAX = 53.3e6;
/** The most numbers of servers in an answer, about 4 MB of JSON. Where there would be more, its steps are longer. */
export const SERIES_VALUES_MAX = 1_000_000;

/** A service with its servers, as it is now. */
export interface SampledService {
  readonly service: string;
  /** The engine's number of it. */
  readonly index: number;
  readonly servers: readonly SampledServer[];
}

/** A server as it is now. */
export interface SampledServer {
  readonly server: string;
  readonly slot: number;
  readonly state: ServerState;
}

interface SeriesOptions {
  readonly startId: string;
  readonly counters: Counters;
  readonly clock?: SecondClock;
  readonly bytesMax?: number;
  readonly valuesMax?: number;
}

/** Which rows an answer is made of: `steps` steps of `perStep` rows each, from row `first` on. */
interface Span {
  readonly first: number;
  readonly perStep: number;
  readonly steps: number;
}

/** The series. */
export class Series {
  readonly #options: SeriesOptions;
  readonly #clock: SecondClock;
  readonly #flows = new SeriesFlows();
  /** By slot. */
  readonly #servers = new Map<number, ServerTrack>();
  /** By index. */
  readonly #services = new Map<number, ServiceTrack>();
  /** They have left, and their last counts are in no row yet. */
  #leaving: (ServerTrack | ServiceTrack)[] = [];
  /** They have left; the one that left first is first. */
  #goneServers: ServerTrack[] = [];
  #goneServices: ServiceTrack[] = [];
  /** Seconds per row. */
  #step = 1;
  /** Rows in memory: row n is at n modulo this. */
  #rows: number = LIMITS.seriesSeconds;
  /** The newest row, and the first that there has been. A row is the number of its step since 1970, less `#shift`. */
  #newest: number;
  #begin: number;
  /** By how many rows the wall clock has gone back: what was just now stays just now. */
  #shift = 0;
  /** The step of the newest row is not over: its first half was a row when rows became longer. */
  #isPartial = false;

  constructor(options: SeriesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? new SecondClock();
    this.#begin = Math.floor(this.#clock.read().nowMs / 1000);
    this.#newest = this.#begin - 1;
  }

  /** When the next sample is due, in ms from now. */
  dueInMs(): number {
    const { nowMs } = this.#clock.read();
    const stepMs = this.#step * 1000;
    return (Math.floor(nowMs / stepMs) + 1) * stepMs - nowMs;
  }

  /** Seconds per row. */
  get step(): number {
    return this.#step;
  }

  /** Bytes of all rows. */
  get bytes(): number {
    return this.#rows * this.#rowBytes();
  }

  /** What the counters say now is not of the time of this series: another process has counted it. Call it before any sample. */
  begin(services: readonly SampledService[]): void {
    this.#makeRoom(services);
    const { counters } = this.#options;
    for (const { service, index, servers } of services) {
      this.#serviceTrack(service, index).begin(counters, index);
      for (const { server, slot } of servers) this.#serverTrack(service, server, slot).begin(counters, slot);
    }
  }

  /** Adds what has happened since the last sample. Call it when it is due; a call that comes late or early loses nothing. */
  sample(services: readonly SampledService[]): void {
    this.#makeRoom(services);
    const rows = this.#advance().map((row) => row % this.#rows);
    if (rows.length === 0) return; // the first step is not over
    for (const track of this.#leaving) this.#takeLast(track, rows);
    this.#leaving = [];
    for (const { service, index, servers } of services) {
      this.#serviceTrack(service, index).take(this.#options.counters, index, rows);
      for (const { server, slot, state } of servers) {
        this.#serverTrack(service, server, slot).take(this.#options.counters, slot, state, rows);
      }
    }
    for (const track of [...this.#servers.values(), ...this.#services.values()]) track.lastRow = this.#newest;
    this.#flows.finish(this.#newest, this.#oldest);
    this.#forget();
  }

  /** A server has no connection any more, and its slot will be another's. It may have come since the last sample. */
  serverLeft(service: string, server: string, slot: number): void {
    const track = this.#serverTrack(service, server, slot);
    track.leave(this.#options.counters, slot);
    this.#servers.delete(slot);
    this.#leaving.push(track);
  }

  /** A service has no connection any more, and its index will be another's. It may have come since the last sample, or never. */
  serviceLeft(service: string, index: number): void {
    const wasNever = !this.#services.has(index) && this.#options.counters.getOfService(index, "serviceAccepted") === 0;
    if (wasNever) return;
    const track = this.#serviceTrack(service, index);
    track.leave(this.#options.counters, index);
    this.#services.delete(index);
    this.#leaving.push(track);
  }

  /** A connection has moved. */
  moved(move: Move): void {
    this.#flows.add(move);
  }

  /** Whether there is, or was within 15 minutes, a service of this name. */
  hasService(name: string): boolean {
    return this.#tracks().some(({ service }) => service === name);
  }

  /** Answers a query by whole steps, which begin at multiples of their length. */
  read(query: SeriesQuery): SeriesAnswer {
    const { service, servers, fields = SERIES_FIELDS } = query;
    const asked = servers && new Set(servers);
    const isAsked = (track: ServerTrack | ServiceTrack) => service === undefined || track.service === service;
    const tracks = this.#tracks().filter(isAsked);
    const serverTracks = tracks.filter((track) => track instanceof ServerTrack)
      .filter(({ server }) => asked === undefined || asked.has(server));
    const perStep = this.#perStep(query, serverTracks.length * widthOf(fields));
    const span = this.#spanOf(query, perStep);
    const sums = new ServerColumns(span.steps);
    const isIn = ({ lastRow }: ServerTrack | ServiceTrack) => lastRow >= span.first;
    return {
      startId: this.#options.startId,
      from: (span.first + this.#shift) * this.#step,
      step: perStep * this.#step,
      steps: span.steps,
      services: byService(tracks.filter((track) => track instanceof ServiceTrack).filter(isIn))
        .map((track) => this.#readService(track, span)),
      servers: byServer(serverTracks.filter(isIn)).map((track) => this.#readServer(track, span, fields, sums)),
      flows: this.#flows.read(span.first, (row) => stepOf(row, span), (move) => {
        if (service !== undefined && move.service !== service) return false;
        return asked === undefined || asked.has(move.from) || asked.has(move.to);
      }),
    };
  }

  get #oldest(): number {
    return Math.max(this.#begin, this.#newest - this.#rows + 1);
  }

  /** Rows per step of an answer: as asked for, or more where there are so many values. */
  #perStep({ seconds, step }: SeriesQuery, width: number): number {
    const asked = Math.ceil(step / this.#step);
    const stepsMax = Math.max(1, Math.floor((this.#options.valuesMax ?? SERIES_VALUES_MAX) / Math.max(1, width)));
    return Math.max(asked, Math.ceil(seconds / this.#step / stepsMax));
  }

  /** Steps begin at multiples of their length, by the clock. */
  #spanOf({ after, seconds }: SeriesQuery, perStep: number): Span {
    const shift = this.#shift;
    const end = Math.floor((this.#newest + shift + (this.#isPartial ? 0 : 1)) / perStep) * perStep;
    const firsts = [this.#oldest + shift, end - Math.ceil(seconds / this.#step)];
    // Whoever knows a later second has it from before the clock went back.
    if (after !== undefined && after < end * this.#step) firsts.push(Math.floor(after / this.#step) + 1);
    const first = Math.min(end, Math.ceil(Math.max(...firsts) / perStep) * perStep);
    return { first: first - shift, perStep, steps: (end - first) / perStep };
  }

  #readService({ service, columns }: ServiceTrack, span: Span): ServiceSeries {
    const sums = new ServiceColumns(span.steps);
    this.#addUp(span, (step, row) => sums.add(step, columns, row));
    const fates = Object.fromEntries([...sums.fates].map(([fate, counts]) => [fate, [...counts]]));
    return { service, accepted: [...sums.accepted], open: [...sums.open], fates };
  }

  /** `sums` is used for one server after another. */
  #readServer(
    { service, server, columns }: ServerTrack,
    span: Span,
    fields: readonly SeriesField[],
    sums: ServerColumns,
  ): ServerSeries {
    for (let step = 0; step < span.steps; step++) sums.clear(step);
    this.#addUp(span, (step, row) => sums.add(step, columns, row));
    const answer: Record<string, unknown> = { service, server };
    for (const field of fields) answer[field] = READERS[field](sums);
    return answer as unknown as ServerSeries;
  }

  #addUp({ first, perStep, steps }: Span, add: (step: number, row: number) => void): void {
    for (let step = 0; step < steps; step++) {
      for (let row = first + step * perStep; row < first + (step + 1) * perStep; row++) add(step, row % this.#rows);
    }
  }

  /** Goes on to the row of the step that has just ended. Returns the rows for what came since the last sample. */
  #advance(): number[] {
    const { nowMs, jumpMs } = this.#clock.read();
    const stepMs = this.#step * 1000;
    const jump = Math.round(jumpMs / stepMs);
    if (jump > 0) this.#addRows(jump);
    else this.#shift += jump;
    const passed = Math.max(0, Math.floor(nowMs / stepMs) - 1 - this.#shift - this.#newest);
    const from = Math.max(this.#begin, this.#newest + (this.#isPartial || passed === 0 ? 0 : 1));
    this.#addRows(passed);
    if (this.#newest + this.#shift < Math.floor(nowMs / stepMs)) this.#isPartial = false;
    const first = Math.max(from, this.#oldest);
    return Array.from({ length: Math.max(0, this.#newest - first + 1) }, (_, i) => first + i);
  }

  /** Adds empty rows, in place of the oldest. */
  #addRows(count: number): void {
    for (const { columns } of this.#tracks()) {
      for (let i = 1; i <= Math.min(count, this.#rows); i++) columns.clear((this.#newest + i) % this.#rows);
    }
    this.#newest += count;
  }

  #tracks(): (ServerTrack | ServiceTrack)[] {
    const present = [...this.#servers.values(), ...this.#services.values()];
    return [...present, ...this.#leaving, ...this.#goneServers, ...this.#goneServices];
  }

  #takeLast(track: ServerTrack | ServiceTrack, rows: readonly number[]): void {
    track.takeLast(rows);
    track.lastRow = this.#newest;
    if (track instanceof ServerTrack) this.#goneServers.push(track);
    else this.#goneServices.push(track);
  }

  #serverTrack(service: string, server: string, slot: number): ServerTrack {
    let track = this.#servers.get(slot);
    if (track !== undefined) return track;
    const gone = this.#goneServers.findLastIndex((track) => track.server === server && track.service === service);
    if (gone < 0) track = new ServerTrack(service, server, this.#rows);
    else [track] = this.#goneServers.splice(gone, 1);
    track.comeBack();
    this.#servers.set(slot, track);
    return track;
  }

  #serviceTrack(service: string, index: number): ServiceTrack {
    let track = this.#services.get(index);
    if (track === undefined) this.#services.set(index, track = new ServiceTrack(service, this.#rows));
    return track;
  }

  /** Forgets what left more than 15 minutes ago. */
  #forget(): void {
    const isKept = ({ lastRow }: ServerTrack | ServiceTrack) => lastRow >= this.#oldest;
    if (!this.#goneServers.every(isKept)) this.#goneServers = this.#goneServers.filter(isKept);
    if (!this.#goneServices.every(isKept)) this.#goneServices = this.#goneServices.filter(isKept);
  }

  /** Makes the rows fit into their memory, before these have tracks: forgets those that left first, then makes steps longer. */
  #makeRoom(services: readonly SampledService[]): void {
    const bytesMax = this.#options.bytesMax ?? SERIES_BYTES_MAX;
    const isTooMuch = () => this.#rows * this.#rowBytes(services) > bytesMax;
    if (!isTooMuch()) return;
    for (const track of this.#services.values()) track.columns.dropUnusedFates();
    while (isTooMuch() && this.#goneServers.length > 0) this.#goneServers.shift();
    while (isTooMuch() && this.#goneServices.length > 0) this.#goneServices.shift();
    while (isTooMuch() && this.#rows > 1) this.#makeLonger();
  }

  /** Bytes of a row, as if every server's connections had moved; at least of these services. */
  #rowBytes(services: readonly SampledService[] = []): number {
    const now = services.reduce((sum, { servers }) => sum + servers.length, 0);
    const servers = Math.max(now, this.#servers.size) + this.#goneServers.length + this.#leaving.length;
    const tracks = [...this.#services.values(), ...this.#goneServices];
    const fates = tracks.reduce((sum, { columns }) => sum + columns.fates.size, 0);
    return servers * SERVER_ROW_BYTES + Math.max(services.length, tracks.length) * SERVICE_ROW_BYTES + fates * FATE_ROW_BYTES;
  }

  /** Makes one row of two. */
  #makeLonger(): void {
    const [rows, oldest, newest] = [this.#rows, this.#oldest, this.#newest];
    const shift = this.#shift;
    const longer = (row: number) => Math.floor((row + shift) / 2);
    this.#step *= 2;
    this.#rows = Math.ceil(LIMITS.seriesSeconds / this.#step);
    this.#isPartial ||= (newest + shift) % 2 === 0;
    this.#shift = 0;
    this.#begin = longer(this.#begin);
    this.#newest = longer(newest);
    const places: Place[] = [];
    for (let row = oldest; row <= newest; row++) {
      if (longer(row) >= this.#oldest) places.push({ from: row % rows, to: longer(row) % this.#rows });
    }
    for (const track of this.#tracks()) {
      track.lengthen(this.#rows, places);
      track.lastRow = longer(track.lastRow);
    }
    this.#flows.renumber(longer);
  }
}

/** The step of a row in an answer; undefined if it is not in it. */
function stepOf(row: number, { first, perStep, steps }: Span): number | undefined {
  const step = Math.floor((row - first) / perStep);
  return step >= 0 && step < steps ? step : undefined;
}

/** The numbers of a step of a server that fields take, if not one. Of those that list changes few steps have any. */
const WIDTHS: Partial<Record<SeriesField, number>> = {
  states: 0.5,
  cut: 0.5,
  movedIn: MOVABLE_STATES.length,
  movedAway: MOVABLE_STATES.length,
};

/** The numbers of a step of a server that these fields take. */
function widthOf(fields: readonly SeriesField[]): number {
  return fields.reduce((sum, field) => sum + (WIDTHS[field] ?? 1), 0);
}

function byService(tracks: ServiceTrack[]): ServiceTrack[] {
  return tracks.sort((a, b) => a.service < b.service ? -1 : a.service > b.service ? 1 : 0);
}

function byServer(tracks: ServerTrack[]): ServerTrack[] {
  return tracks.sort((a, b) => a.service === b.service ? a.server < b.server ? -1 : 1 : a.service < b.service ? -1 : 1);
}

/** The time that stands for each bucket. */
const BUCKET_MS = Array.from({ length: CONNECT_BUCKETS }, (_, bucket) => connectMsOf(bucket));

/** How each field is read from the rows of an answer. */
const READERS = {
  states: readStates,
  open: (sums) => readSteps(sums, sums.open),
  opened: (sums) => readSteps(sums, sums.opened),
  sentBytes: (sums) => readSteps(sums, sums.sentBytes),
  receivedBytes: (sums) => readSteps(sums, sums.receivedBytes),
  failures: (sums) => readSteps(sums, sums.failures),
  connectP50Ms: (sums) => readTimes(sums.p50),
  connectP99Ms: (sums) => readTimes(sums.p99),
  movedIn: (sums) => readMoves(sums, 0),
  movedAway: (sums) => readMoves(sums, MOVABLE_STATES.length),
  cut: readCuts,
} as const satisfies { [Field in SeriesField]: (sums: ServerColumns) => ServerSeries[Field] };

// Loops, and no functions for each number: an answer may have a million of them.

function readSteps({ states }: ServerColumns, column: ArrayLike<number>): Steps {
  const steps: Steps = new Array(states.length);
  for (let step = 0; step < steps.length; step++) steps[step] = states[step] === ABSENT ? null : column[step];
  return steps;
}

function readTimes(buckets: Uint8Array): Steps {
  const steps: Steps = new Array(buckets.length);
  for (let step = 0; step < steps.length; step++) steps[step] = buckets[step] === NO_BUCKET ? null : BUCKET_MS[buckets[step]];
  return steps;
}

function readStates({ states }: ServerColumns): [number, ServerState | null][] {
  const changes: [number, ServerState | null][] = [];
  for (let step = 0; step < states.length; step++) {
    const state = states[step];
    if (step === 0 || state !== states[step - 1]) changes.push([step, state === ABSENT ? null : SERVER_STATES[state - 1]]);
  }
  return changes;
}

function readCuts({ states, cuts }: ServerColumns): [number, number][] {
  const found: [number, number][] = [];
  for (let step = 0; cuts !== undefined && step < states.length; step++) if (cuts[step] > 0) found.push([step, cuts[step]]);
  return found;
}

function readMoves({ states, moves }: ServerColumns, first: number): Record<MovableState, Steps> {
  const stepsOf = (cell: number) => {
    const steps: Steps = new Array(states.length);
    for (let step = 0; step < steps.length; step++) {
      steps[step] = states[step] === ABSENT ? null : moves === undefined ? 0 : moves[step * MOVE_CELLS + first + cell];
    }
    return steps;
  };
  return { unsent: stepsOf(0), unanswered: stepsOf(1), idle: stepsOf(2) } satisfies Record<MovableState, Steps>;
}
