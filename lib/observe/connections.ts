/** What engines report about connections. Types only. */

import type { ConnectionState, Loss } from "../routing/redistribution.ts";
import type { Fate } from "../values/fates.ts";

/** A connection that has ended, as the log shows it. */
export interface EndedConnection {
  readonly fate: Fate;
  /** `ip:port`. */
  readonly client: string;
  /** Its server, or the server being dialled; undefined if none. */
  readonly server: string | undefined;
  /** Servers dialled for it. */
  readonly attempts: number;
  /** How often it moved to another server. */
  readonly moves: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly durationMs: number;
  /** The last error, in the system's words. */
  readonly reason: string | undefined;
}

/** A connection that has moved to another server. */
export interface MovedConnection {
  /** `ip:port`. */
  readonly client: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
  /** Why it left its server. */
  readonly loss: Loss;
  /** Where it was in its exchange. */
  readonly state: ConnectionState;
  /** Bytes replayed to the new server. */
  readonly replayedBytes: number;
}
