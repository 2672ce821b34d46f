/**
 * What the page is told by the bridge that serves it: answers of the API as they are, and the messages of `/live`. Types only, so
 * that nothing of the API's server gets into the page.
 */

import type { Answers } from "../../control/api.ts";
import type { ConnectionState } from "../../routing/redistribution.ts";
import type { ServerState } from "../../routing/availability.ts";

/** `GET /v1/status`. */
export type Status = Answers["status"];
/** A service of `GET /v1/services`. */
export type Service = Answers["service"];
/** A server of `GET /v1/servers`. */
export type Server = Answers["server"];
/** `GET /v1/plan`. */
export type Plan = Answers["plan"];
/** `GET /v1/explain`. */
export type Explanation = Answers["explanation"];
export type { ServerState };

/** The states in which connections move. */
export type MovedState = Exclude<ConnectionState, "busy">;

/** A number for each step; null where the server did not exist, or nothing was measured. */
export type Column = readonly (number | null)[];

/** The columns of a server in `GET /v1/series`. Counts are of a step, the others its last value. */
export interface ServerSeries {
  readonly service: string;
  readonly server: string;
  /** `[step, state]`, where a state begins; null: it was not there. */
  readonly states?: readonly (readonly [step: number, state: ServerState | null])[];
  readonly open?: Column;
  readonly opened?: Column;
  readonly sentBytes?: Column;
  readonly receivedBytes?: Column;
  readonly failures?: Column;
  readonly connectP50Ms?: Column;
  readonly connectP99Ms?: Column;
  readonly movedIn?: Readonly<Record<MovedState, Column>>;
  readonly movedAway?: Readonly<Record<MovedState, Column>>;
}

/** The columns of a service. */
export interface ServiceSeries {
  readonly service: string;
  readonly accepted: Column;
  readonly open: Column;
  /** Only the fates that occur. */
  readonly fates: Readonly<Record<string, Column>>;
}

/** Connections that moved in one step. */
export interface SeriesFlow {
  readonly at: number;
  readonly service: string;
  readonly from: string;
  readonly to: string;
  readonly state: MovedState;
  readonly count: number;
}

/** `GET /v1/series`. Times are seconds since 1970. */
export interface Series {
  readonly startId: string;
  readonly from: number;
  /** Seconds per step. */
  readonly step: number;
  readonly steps: number;
  readonly services: readonly ServiceSeries[];
  readonly servers: readonly ServerSeries[];
  readonly flows: readonly SeriesFlow[];
}

/** An event of `GET /v1/events`. */
export interface BalancerEvent {
  readonly number: number;
  /** ISO 8601. */
  readonly at: string;
  readonly kind: "server" | "command" | "drain" | "limit" | "worker" | "listener" | "daemon";
  readonly level: "info" | "warning" | "error";
  readonly service: string | null;
  readonly server: string | null;
  readonly who: string | null;
  readonly text: string;
}

/** A connection of `GET /v1/connections`. */
export interface OpenConnection {
  readonly id: string;
  readonly service: string;
  readonly listener: string;
  readonly client: string;
  readonly server: string | null;
  readonly state: string;
  readonly ageMs: number;
  readonly idleMs: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly moves: number;
}
