/**
 * The messages of `GET /live`, the one stream of server-sent events that a page opens: the name of each, and its data in JSON.
 * Types only, so that the page may read them as well.
 */

import type { Answers } from "../control/api.ts";

/** The servers of one service, as `GET /v1/servers` gives them; who waits for them is in the status. */
export type ServiceServers = Pick<Answers["servers"], "servers" | "ring"> & { readonly service: string };

/** What differs in one server. */
export type ServerChange = Partial<Omit<Answers["server"], "fates">> & {
  readonly server: string;
  readonly fates?: Partial<Answers["server"]["fates"]>;
};

/** What differs in the servers of one service. */
export interface ServerChanges {
  readonly service: string;
  /** Those that are new, whole; of those that differ from what was sent before, the fields and the fates that differ. */
  readonly servers: readonly ServerChange[];
  /** The names of those that are no longer there. */
  readonly gone: readonly string[];
  /** Undefined: as before. */
  readonly ring?: Answers["servers"]["ring"];
}

/** The data of each message of `/live`, by its name. */
export interface LiveMessages {
  /** Everything, at the beginning of a stream and whenever the daemon is there again. What the page knew before is void. */
  readonly snapshot: {
    /** When, by the clock of the bridge; ISO 8601. */
    readonly at: string;
    /** Whether the dashboard may change something (`--write`). */
    readonly writes: boolean;
    /** With its services in `status.services`. */
    readonly status: Answers["status"];
    readonly servers: readonly ServiceServers[];
  };
  /** About once a second: what has changed since the message before. With very many servers less often. */
  readonly second: {
    readonly at: string;
    /** Undefined: as before. */
    readonly status?: Answers["status"];
    /** Only services that differ. */
    readonly servers: readonly ServerChanges[];
    /** The names of services that are no longer there. */
    readonly gone: readonly string[];
    /** The steps of one second that have ended since the message before; undefined: none has. */
    readonly series?: Answers["series"];
  };
  /** An event as it happens; its id is that of `GET /v1/events`. Those of before the stream are there. */
  readonly event: Answers["events"]["events"][number];
  /** Events lack before the next one: read `GET /v1/events` again. */
  readonly gap: { readonly startId: string; readonly first: number; readonly last: number };
  /** Whether the daemon can be asked, at the beginning and whenever that changes. */
  readonly daemon: {
    readonly connected: boolean;
    /** Why not, in one sentence; null while it can. */
    readonly why: string | null;
  };
}
