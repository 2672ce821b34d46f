/** What the series answers: a query, and the shape of its answer. */

import type { ServerState } from "../routing/availability.ts";
import type { MovableState } from "../routing/departure.ts";
import type { Fate } from "../values/fates.ts";

/** The columns of a server that an answer may have. */
export const SERIES_FIELDS = [
  "states",
  "open",
  "opened",
  "sentBytes",
  "receivedBytes",
  "failures",
  "connectP50Ms",
  "connectP99Ms",
  "movedIn",
  "movedAway",
  "cut",
] as const;
/** The longest step that may be asked for, in seconds. */
export const SERIES_STEP_MAX = 60;

/** One of SERIES_FIELDS. */
export type SeriesField = typeof SERIES_FIELDS[number];

/** What is asked. */
export interface SeriesQuery {
  /** Only what came after this second, the first of the last step that the asker has. */
  readonly after?: number;
  /** Seconds, up to now. */
  readonly seconds: number;
  /** Seconds per step; the answer's may be more. */
  readonly step: number;
  /** Default: all. */
  readonly service?: string;
  /** By name; undefined: all. */
  readonly servers?: readonly string[];
  /** Undefined: all. */
  readonly fields?: readonly SeriesField[];
}

/** Numbers by step; null where the server was not there. */
export type Steps = (number | null)[];

/** A service. */
export interface ServiceSeries {
  service: string;
  accepted: number[];
  /** At the end of the step. */
  open: number[];
  /** Those that occur. */
  fates: Partial<Record<Fate, number[]>>;
}

/** A server: the fields that were asked for. */
export interface ServerSeries {
  service: string;
  server: string;
  /** Each change: the number of the step, and the state from then on; null: it was not there. */
  states?: [step: number, state: ServerState | null][];
  open?: Steps;
  opened?: Steps;
  sentBytes?: Steps;
  receivedBytes?: Steps;
  failures?: Steps;
  /** Null where it accepted no connection. */
  connectP50Ms?: Steps;
  connectP99Ms?: Steps;
  movedIn?: Record<MovableState, Steps>;
  movedAway?: Record<MovableState, Steps>;
  /** Each step in which connections of it were cut: its number, and how many. */
  cut?: [step: number, count: number][];
}

/** Connections that moved from one server to another in a step. */
export interface MovedFlow {
  /** The number of the step. */
  at: number;
  service: string;
  from: string;
  to: string;
  state: MovableState;
  count: number;
}

/** The answer. */
export interface SeriesAnswer {
  startId: string;
  /** The first second of the first step, since 1970. */
  from: number;
  /** Seconds per step. */
  step: number;
  steps: number;
  services: ServiceSeries[];
  servers: ServerSeries[];
  flows: MovedFlow[];
}
