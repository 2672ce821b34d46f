/** What engines report about connections: types only. */

import type { ConnectionState, Loss } from "../routing/redistribution.ts";
import type { Fate } from "../values/fates.ts";

/** The end of a connection, as it is logged. */
export interface EndedConnection {
  readonly fate: Fate;
  /** `ip:port`. */
  readonly client: string;
  /** The server that it had or was dialling; undefined for none. */
  readonly server: string | undefined;
  /** The number of servers dialled. */
  readonly attempts: number;
  /** How often it moved to another server. */
  readonly moves: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly durationMs: number;
  /** The last error, as the system words it. */
  readonly reason: string | undefined;
}

/** A connection that moved to another server. */
export interface MovedConnection {
  /** `ip:port`. */
  readonly client: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
  /** Why it left its server. */
  readonly loss: Loss;
  /** What it was doing. */
  readonly state: ConnectionState;
  /** Bytes that are replayed to the new server. */
  readonly replayedBytes: number;
}
