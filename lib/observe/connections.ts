/** What engines report of connections: types only. */

import type { ConnectionState, Loss } from "../routing/redistribution.ts";
import type { Fate } from "../values/fates.ts";

/** A connection's end, as the log tells it. */
export interface EndedConnection {
  readonly fate: Fate;
  /** `ip:port`. */
  readonly client: string;
  /** The server it had, or was waiting for; undefined if none. */
  readonly server: string | undefined;
  /** Servers dialled for it. */
  readonly attempts: number;
  /** How often it went from one server to another. */
  readonly moves: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly durationMs: number;
  /** The last error met, in the system's words. */
  readonly reason: string | undefined;
}

/** A connection that has another server now. */
export interface MovedConnection {
  /** `ip:port`. */
  readonly client: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
  /** Why it left. */
  readonly loss: Loss;
  /** What it was doing. */
  readonly state: ConnectionState;
  /** Bytes that the new server is sent again. */
  readonly replayedBytes: number;
}
