/** What `top` is told by the daemon. Types only. */

import type { Answers } from "../control/api.ts";

/** `GET /v1/series`. */
export interface Series {
  readonly startId: string;
  readonly from: number;
  readonly step: number;
  readonly steps: number;
  readonly services: readonly {
    readonly service: string;
    readonly accepted: readonly (number | null)[];
    readonly open: readonly (number | null)[];
    readonly fates: Readonly<Record<string, readonly (number | null)[]>>;
  }[];
  readonly servers: readonly {
    readonly service: string;
    readonly server: string;
    readonly open?: readonly (number | null)[];
    readonly opened?: readonly (number | null)[];
    readonly sentBytes?: readonly (number | null)[];
    readonly receivedBytes?: readonly (number | null)[];
    readonly failures?: readonly (number | null)[];
    readonly connectP99Ms?: readonly (number | null)[];
  }[];
  readonly flows: readonly {
    readonly at: number;
    readonly service: string;
    readonly from: string;
    readonly to: string;
    readonly state: string;
    readonly count: number;
  }[];
}

/** `GET /v1/events`. */
export interface Events {
  readonly startId: string;
  readonly first: number;
  readonly last: number;
  readonly events: readonly {
    readonly number: number;
    readonly at: string;
    readonly kind: string;
    readonly level: string;
    readonly service: string | null;
    readonly server: string | null;
    readonly who: string | null;
    readonly text: string;
  }[];
}

/** `GET /v1/connections`. */
export interface Connections {
  readonly total: number;
  readonly connections: readonly {
    readonly id: string;
    readonly service: string;
    readonly client: string;
    readonly server: string | null;
    readonly state: string;
    readonly ageMs: number;
    readonly idleMs: number;
    readonly sentBytes: number;
    readonly receivedBytes: number;
    readonly moves: number;
  }[];
}

export type { Answers };
