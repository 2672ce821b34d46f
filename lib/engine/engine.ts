/**
 * What an engine is: it accepts clients, asks `route()` for servers, dials them in that order, moves bytes, counts, and ends each
 * connection with exactly one fate. It reports and does not decide. Types only.
 */

import type { Address } from "../address.ts";
import type { Config } from "../config.ts";
import type { Counters, Fate } from "../counters.ts";
import type { RoutingTable } from "../routing_table.ts";

/** One way to move bytes, as listed in ENGINES. */
export interface EngineKind {
  /** Why it cannot run on this machine, in a clause; undefined if it can. */
  unsupported(): string | undefined;
  /** How many threads it has with this config, beside the one it is made on. */
  threads(config: Pick<EngineConfig, "workers">): number;
  /** Listens and serves. Throws `listenError` where it cannot listen. */
  create(options: EngineOptions): Engine;
}

/** The part of the Config that concerns engines, with the limit on connections worked out. */
export type EngineConfig =
  & Pick<
    Config,
    | "connectTimeoutMs"
    | "connectAttemptsMax"
    | "connectDeadlineMs"
    | "idleTimeoutMs"
    | "keepAliveMs"
    | "userTimeoutMs"
    | "workers"
    | "busyPollMicros"
  >
  & { readonly connectionsMax: number };

/** What an engine is made with. What it calls back must not throw, and must not call the engine. */
export interface EngineOptions {
  /** Port 0 takes any free one. */
  readonly listen: Address;
  readonly config: EngineConfig;
  readonly table: RoutingTable;
  readonly counters: Counters;
  /**
   * Called once for each accepted connection, after it was counted. The object may be used again for the next one:
   * what is to be kept is copied.
   */
  readonly onEnded: (ended: EndedConnection) => void;
  /** Called when a server did not take a connection. */
  readonly onConnectFailed: (slot: number, reason: string) => void;
  /** Called when a server that has left the table is empty, as `isEmpty` says; this one may ask that. */
  readonly onServerEmpty: (slot: number) => void;
}

/** A running engine. */
export interface Engine extends AsyncDisposable {
  /** Where it listens, the real port in place of 0. */
  readonly address: Address;
  /** Routes new connections by this table, all of them from the moment it resolves. Those that are open stay where they are. */
  update(table: RoutingTable): Promise<void>;
  /** Whether the server with this slot, which the last table has no more, has no connection and will get none. */
  isEmpty(slot: number): boolean;
  /** Ends every connection of the server with this slot; a client still waiting for that server goes on to the next. */
  endServer(slot: number, fate: Fate): void;
  /**
   * Accepts no more clients; resolves when the last connection has ended: by itself within `graceMs`, by force afterwards. Called
   * again it may shorten the grace time.
   */
  stop(graceMs: number): Promise<void>;
}

/** A connection's end, as the log tells it. */
export interface EndedConnection {
  readonly fate: Fate;
  /** `ip:port`. */
  readonly client: string;
  /** The server it had, or was waiting for; undefined if none. */
  readonly server: string | undefined;
  /** Servers dialled for it. */
  readonly attempts: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly durationMs: number;
  /** The last error met, in the system's words. */
  readonly reason: string | undefined;
}
