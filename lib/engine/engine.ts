/**
 * What an engine is: it accepts clients, asks `route()` for servers, dials them in that order, moves bytes, counts, and ends each
 * connection with exactly one fate. It reports and does not decide. Types only.
 */

import type { Address } from "../values/address.ts";
import type { Config } from "../values/config.ts";
import type { EndedConnection, MovedConnection } from "../observe/connections.ts";
import type { Counters } from "../observe/counters.ts";
import type { RedistributionPolicy } from "../routing/redistribution.ts";
import type { RoutingTable } from "../routing/routing_table.ts";
import type { AvailabilityTable } from "../routing/availability.ts";
import type { Ability } from "./abilities.ts";

/** One way to move bytes, as listed in ENGINES. */
export interface EngineKind {
  /** What it cannot do that another can. */
  readonly cannot: readonly Ability[];
  /** Why it cannot run on this machine, in a clause; undefined if it can. */
  unsupported(): string | undefined;
  /** How many threads it has with this config, beside the one it is made on. */
  threads(config: Pick<EngineConfig, "workers">): number;
  /** A listener for this engine; port 0 takes any free one. Throws `listenError` where it cannot listen. */
  listen(address: Address, config: Pick<EngineConfig, "keepAliveMs" | "userTimeoutMs">): Listener;
  /** Serves the clients of its listeners, and closes these when it accepts no more. */
  create(options: EngineOptions): Engine;
}

/** A socket that accepts clients. `listen` of an engine's row makes it, for that engine. Dispose of it to close it. */
export interface Listener extends Disposable {
  /** Where it listens, the real port in place of 0. */
  readonly address: Address;
}

/** A listener and the service whose clients it accepts. */
export interface ServiceListener {
  readonly listener: Listener;
  /** The index of the service's table. */
  readonly service: number;
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
    | "serverTimeoutMs"
    | "workers"
    | "busyPollMicros"
  >
  & RedistributionPolicy
  & { readonly connectionsMax: number };

/** What an engine is made with. What it calls back must not throw, and must not call the engine. */
export interface EngineOptions {
  readonly listeners: readonly ServiceListener[];
  /** One for each service. */
  readonly tables: readonly RoutingTable[];
  readonly config: EngineConfig;
  readonly counters: Counters;
  /** Which servers may get clients; whoever made it writes there. */
  readonly availabilities: AvailabilityTable;
  /**
   * Called once for each accepted connection, after it was counted. The object may be used again for the next one:
   * what is to be kept is copied.
   */
  readonly onEnded: (ended: EndedConnection) => void;
  /** Called when a server did not take a connection, or was found dead in the middle of one. */
  readonly onServerFailed: (slot: number, reason: string) => void;
  /** Called when an open connection has left its server and another has taken it. The object may be used again. */
  readonly onMoved: (moved: MovedConnection) => void;
  /** Called when a server that has left the table is empty, as `isEmpty` says; this one may ask that. */
  readonly onServerEmpty: (slot: number) => void;
}

/** A running engine. */
export interface Engine extends AsyncDisposable {
  /**
   * Routes new connections by these tables, one for each service, all of them from the moment it resolves. Those that are open stay where
   * they are.
   */
  update(tables: readonly RoutingTable[]): Promise<void>;
  /** Whether the server with this slot, which the last tables have no more, has no connection and will get none. */
  isEmpty(slot: number): boolean;
  /**
   * Has the connections of the server with this slot leave it as its availability says, now and as they come to where they may: those
   * of one that is `draining` while they have time, those of one that is `expired` at once, or they are cut. A client still waiting
   * for that server goes on to the next. Asked for again whenever that availability changes.
   */
  vacate(slot: number): void;
  /**
   * The server with this slot is silent: its checks have failed for `silentMs`, and it was last known to be well `sinceHealthyMs` ago. Its
   * connections go to others as far as they may, if there are others; those that may not are cut if it has been as silent to them.
   * Asked for again while it is silent.
   */
  lose(slot: number, silentMs: number, sinceHealthyMs: number): void;
  /** Every open connection at this moment. The object is used again for the next one; what it says may be out of date at once. */
  connections(): Iterable<OpenConnection>;
  /** The connection with this id goes to the server that the ring gives it to, if it may and is not there. */
  sendToOwner(id: number): void;
  /**
   * Accepts no more clients; resolves when the last connection has ended: by itself within `graceMs`, by force afterwards. Called
   * again it may shorten the grace time.
   */
  stop(graceMs: number): Promise<void>;
}

/** An open connection, for whoever plans. */
export interface OpenConnection {
  /** Of this connection alone for as long as it is open. */
  readonly id: number;
  /** The slot of its server, or of the one it waits for; -1: none. */
  readonly slot: number;
  /** FACT bits of `redistribution.ts`. */
  readonly facts: number;
  /** How long nothing has moved. */
  readonly quietForMs: number;
  /** How often what its client asks has been sent again. */
  readonly replays: number;
  /** The client's address. */
  readonly ip: Uint8Array;
  readonly port: number;
}
