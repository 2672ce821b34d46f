/** What engines report about connections. Types only. */

import type { ConnectionState, Loss } from "../routing/redistribution.ts";
import type { Ender, Fate } from "../values/fates.ts";

/** What all reports about a connection say of it. */
interface ReportedConnection {
  /** The engine's number of the connection, as `id` of an OpenConnection. `formatConnectionId` makes a text of it. */
  readonly id: number;
  /** `ip:port`. */
  readonly client: string;
  /** The index of its service; NO_SERVICE, if it ended before it was known or because none was for it. */
  readonly service: number;
}

/** What a client's ClientHello asked for. */
export interface LoggedHello {
  /** The name of the server (SNI). */
  readonly authority: string | null;
  /** The protocols that the client offers, as text where they are text. */
  readonly alpn: readonly string[];
}

/** A connection that has begun. */
export interface StartedConnection extends ReportedConnection {
  /** Undefined if none was read. */
  readonly hello?: LoggedHello;
  /** The index of the listener that accepted it, in the publication. */
  readonly listener: number;
  /** When it was accepted, in ms since 1970. */
  readonly acceptedAt: number;
}

/** The header of the PROXY protocol that a client's connection began with. */
export interface ReceivedProxy {
  /** Who sent it, `ip:port`. */
  readonly peer: string;
  /** The fields that followed the addresses, by name or number. */
  readonly tlvs: Readonly<Record<string, string>>;
}

/** A connection that has ended, as the log shows it. Times by the wall clock are known only while there is an access log. */
export interface EndedConnection extends ReportedConnection {
  readonly fate: Fate;
  /** The index of the listener that accepted it, in the publication. */
  readonly listener: number;
  /** When it was accepted and when it ended, in ms since 1970; undefined without an access log. */
  readonly acceptedAt: number | undefined;
  readonly endedAt: number | undefined;
  /** From its acceptance until a first server had accepted it, in ms; undefined if none did, or without an access log. */
  readonly connectMs: number | undefined;
  /** Whose FIN or reset came first; the balancer, if it refused or cut the connection. */
  readonly endedBy: Ender;
  /** Undefined if it began without one. */
  readonly proxy?: ReceivedProxy;
  /** Undefined if none was read, or without an access log. */
  readonly hello?: LoggedHello;
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
export interface MovedConnection extends ReportedConnection {
  /** When it moved, in ms since 1970; undefined without an access log. */
  readonly movedAt: number | undefined;
  readonly from: string | undefined;
  readonly to: string | undefined;
  /** Why it left its server. */
  readonly loss: Loss;
  /** Where it was in its exchange. */
  readonly state: ConnectionState;
  /** Bytes replayed to the new server. */
  readonly replayedBytes: number;
}
