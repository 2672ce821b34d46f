/**
 * What an engine is: it accepts clients, calls `route()`, dials the servers in that order, relays bytes, counts, and ends each
 * connection with exactly one fate. It reports what happened and decides no policy. Types only.
 */

import type { Address } from "../values/address.ts";
import type { DaemonConfig, ServiceConfig } from "../values/config.ts";
import type { Fate } from "../values/fates.ts";
import type { EndedConnection, MovedConnection, StartedConnection } from "../observe/connections.ts";
import type { Counters } from "../observe/counters.ts";
import type { TrafficFailure } from "../routing/early_loss.ts";
import type { ConnectionState, RedistributionPolicy } from "../routing/redistribution.ts";
import type { StayReason } from "../routing/stays.ts";
import type { ClientLists, Refusal } from "../routing/client_limits.ts";
import type { HoldRules } from "../routing/hold.ts";
import type { NameRoutes } from "../routing/name_routes.ts";
import type { RoutingTable } from "../routing/routing_table.ts";
import type { AvailabilityTable } from "../routing/availability.ts";
import type { Ability } from "./abilities.ts";

/** A row of ENGINES. */
export interface EngineKind {
  /** Abilities that this engine does not have. */
  readonly cannot: readonly Ability[];
  /** Why the engine cannot run on this machine, as a clause; undefined if it can. */
  unsupported(): string | undefined;
  /** Number of threads that the engine starts beside the main thread. */
  threads(config: Pick<EngineConfig, "workers">): number;
  /** Throws an operator error if this machine does not allow what the settings ask of the engine. */
  checkConfig(config: Pick<ServiceEngineConfig, "sources" | "transparent">): void;
  /** Opens a listener for this engine; port 0 takes any free port. Throws `listenError` on failure. */
  listen(address: Address, config: ListenerConfig): Listener;
  /** Takes over a listening socket that another program has opened for this address. Undefined: this engine cannot. */
  adopt?(address: Address, descriptor: number, config: ListenerConfig): Listener;
  /** Starts an engine on these listeners. The engine closes them when it stops accepting. */
  create(options: EngineOptions): Engine;
}

/** A listening socket, made by `listen` of an engine's row for that engine. Dispose it to close it. */
export interface Listener extends Disposable {
  /** The bound address, with the real port in place of 0. */
  readonly address: Address;
  /** Its descriptor, where the engine can hand it over. */
  readonly descriptor?: number;
}

/** The settings of a listener. */
export type ListenerConfig = Pick<ServiceEngineConfig, "keepAliveMs" | "userTimeoutMs" | "deferAcceptMs">;

/**
 * The settings of the daemon that concern engines, with `connectionsMax` resolved to a number. Only where there is an access log,
 * engines note and report what it alone wants to know: times by the wall clock, connect times, PROXY headers, and beginnings if
 * `accessLogStart` says so.
 */
export type EngineConfig =
  & Pick<
    DaemonConfig,
    "workers" | "queueMax" | "queueTimeoutMs" | "busyPollMicros" | "batchMicros" | "accessLog" | "accessLogStart"
  >
  & { readonly connectionsMax: number };

/** The settings of a service that concern engines. */
export type ServiceEngineConfig =
  & Pick<
    ServiceConfig,
    | "connectTimeoutMs"
    | "connectAttemptsMax"
    | "connectDeadlineMs"
    | "holdMs"
    | "idleTimeoutMs"
    | "firstByteTimeoutMs"
    | "clientConnections"
    | "clientRate"
    | "limitsDryRun"
    | "keepAliveMs"
    | "deferAcceptMs"
    | "acceptProxy"
    | "proxyTimeoutMs"
    | "helloTimeoutMs"
    | "sources"
    | "transparent"
    | "userTimeoutMs"
    | "serverTimeoutMs"
  >
  & RedistributionPolicy;

/** What an engine knows of one service. Immutable: a change is a new object. */
export interface EngineService {
  readonly table: RoutingTable;
  readonly config: ServiceEngineConfig;
  /** Who may connect; undefined: everybody. */
  readonly lists?: ClientLists;
  /** Whether its clients wait; see HoldRules. */
  readonly waiting?: HoldRules["waiting"];
}

/** A listener and the service, or the services, whose clients it accepts. Immutable. */
export interface ServiceListener {
  readonly listener: Listener;
  /** The index of the service. With routes: of the one whose settings hold for clients whose service is not known yet. */
  readonly service: number;
  /**
   * Which service a client gets, by its name and protocols (SNI, ALPN). The client's first bytes are then read until they say so;
   * the server gets them as they came. A client that does not speak TLS, or sends nothing in time, asks for no name.
   */
  readonly routes?: NameRoutes;
  /** What is added to the port of a server for clients of this listener: their place in a range of ports. Usually 0. */
  readonly portOffset: number;
}

/**
 * Everything that new connections are served by. An index names a service, or a listener, for as long as it is there; a hole is a
 * free index. What stays the same is the same object from one publication to the next: engines take over only what differs.
 */
export interface Publication {
  readonly services: readonly (EngineService | undefined)[];
  readonly listeners: readonly (ServiceListener | undefined)[];
  /** The settings of the daemon; the number of workers stays that of the beginning. Undefined: all are as at the beginning. */
  readonly config?: EngineConfig;
}

/**
 * Options of a new engine. Callbacks must not throw. They must not call the engine, except that `onServerEmpty` may call `isEmpty`.
 */
export interface EngineOptions {
  /** The random id of this run of the daemon, which begins the ids of its connections (`formatConnectionId`). */
  readonly startId: string;
  /** What it begins with. */
  readonly publication: Publication;
  readonly config: EngineConfig;
  /** The most that `connectionsMax` will ever be; default: what it is at the beginning. */
  readonly connectionsLimit?: number;
  readonly counters: Counters;
  /** Which servers may get clients. The engine only reads it; its owner keeps it up to date. */
  readonly availabilities: AvailabilityTable;
  /** The memory in which clients are counted (`client_table.ts`). */
  readonly clients: SharedArrayBuffer;
  /** Called for each client that is let in because of `limitsDryRun` alone. */
  readonly onWouldBeRefused?: (client: string, refusal: Refusal, service: number) => void;
  /** Called once for each accepted connection, after it is counted. The engine may reuse the object: copy what you keep. */
  readonly onEnded: (ended: EndedConnection) => void;
  /**
   * Called when a server did not accept a connection, was found dead during one, or lost one early (see `early_loss.ts`). The
   * reason is a clause.
   */
  readonly onServerFailed: (slot: number, reason: string, kind: TrafficFailure) => void;
  /** Called when an open connection has moved to another server. The engine may reuse the object. */
  readonly onMoved: (moved: MovedConnection) => void;
  /** Called when a server that is no longer in any table has become empty (see `isEmpty`). */
  readonly onServerEmpty: (slot: number) => void;
  /** Called when a connection begins, if there is an access log that has beginnings. The engine may reuse the object. */
  readonly onStarted?: (started: StartedConnection) => void;
  /** Called when a worker thread was lost, and when another one is there in its place. */
  readonly onWorker?: (event: WorkerEvent) => void;
  /** Whether nobody is accepted before `handover.listen()`. */
  readonly isWaiting?: boolean;
  /** Called with a number of beginnings and ends that could not be reported, because too many came at once. */
  readonly onUnreported?: (count: number) => void;
}

/** A worker thread was lost, or another one is there in its place. */
export interface WorkerEvent {
  /** From 1. */
  readonly worker: number;
  /** Connections that were lost with it. */
  readonly lost: number;
  /** Why it was lost, as a clause; undefined: it is replaced. */
  readonly reason: string | undefined;
}

/** What indexes and slots of a process that gives connections are in the one that takes them; -1, or beyond the end: nothing. */
export interface CarriedIndexes {
  readonly services: Int32Array;
  readonly listeners: Int32Array;
  readonly slots: Int32Array;
}

/** Connections that were taken together, and how long after the first of them had been stopped. */
export interface TakenBatch {
  readonly count: number;
  readonly pauseMs: number;
}

/** How an engine hands its open connections over to the engine of another process. */
export interface Handover {
  /** How many sockets to the other process `give` needs. */
  readonly sockets: number;
  /** Resolves when the engine runs: before that it cannot take anything. */
  readonly ready: Promise<void>;
  /** Rejects when the engine cannot take what it is given: this process must then end, so that the other one takes it back. */
  readonly failed: Promise<never>;
  /** What was taken. */
  readonly taken: readonly TakenBatch[];
  /** Resolves when so many connections are in `taken`: workers say it after they have acknowledged a batch. */
  hasTaken(connections: number): Promise<void>;
  /**
   * Stops accepting, and gives every connection over these sockets. A connection is the other process's once that acknowledges it.
   * Resolves when none is left, with how many were given. Rejects if the other process does not take one: it must then end, and
   * `takeBack` must follow.
   */
  give(sockets: readonly number[]): Promise<number>;
  /**
   * The other process has ended. What it had not acknowledged goes on here, and what it had not touched; the rest of what it had is
   * reset, with the fate `upgrade_lost`. The engine accepts again.
   */
  takeBack(): void;
  /** Takes connections that come over these sockets. */
  take(sockets: readonly number[], indexes: CarriedIndexes): void;
  /** Begins to accept clients. */
  listen(): void;
  /** The process that gave has ended: resolves when all that it has sent is taken. Nobody else has these sockets open any more. */
  alone(): Promise<void>;
}

/** A running engine. */
export interface Engine extends AsyncDisposable {
  /** Undefined: this engine cannot hand connections over. */
  readonly handover?: Handover;
  /**
   * Serves by this publication. Resolves once every new connection is served by it. Open connections stay, and stay where they are.
   * A listener that is no longer in it is closed, once those who wait in its queue are accepted. A service may leave it only when
   * it is free (`isServiceFree`).
   *
   * Changed settings of a service also hold for its open connections: redistribution, the limits of replays and the idle and first
   * byte timeouts at once; keep-alive and the timeouts of silent hosts within a second. A dial under way, and the time for a PROXY
   * header or a hello, keep the time that they began with. A client whose hello is awaited gets its service by the new routes.
   *
   * Settings of the daemon hold at once; open connections stay, even if they are more than the new limit. The connect time and the
   * PROXY header of a connection that began without an access log are not known. All ends that came before have been reported.
   *
   * Where a connection comes from and what it begins with (sources, PROXY headers), and whether its client may come, are decided
   * once, at its beginning. Changed limits of clients count the connections that are open already.
   */
  update(publication: Publication): Promise<void>;
  /**
   * Whether this listener is not in the publication, and no connection that came through it is left: its index may be given to
   * another one. All ends of its connections have been reported.
   */
  isListenerFree(index: number): boolean;
  /**
   * Whether no listener is this service's or leads to it, and it has no connection left and will get none: it may leave the
   * publication.
   */
  isServiceFree(index: number): boolean;
  /**
   * Whether every thread that serves connections has turned its loop since the call before asked it to; false at first. Asks each
   * that has for another turn, which costs it one wake-up.
   */
  hasTurned(): boolean;
  /** Whether a server that is no longer in any table has no connection left and will get none. */
  isEmpty(slot: number): boolean;
  /**
   * Moves the connections of this server away, according to its availability. `draining`: each connection moves as soon as it
   * reaches a point where moving is safe. `expired`: each connection moves now or is cut. A client that waits for this server goes
   * on to the next. Must be called again whenever that availability changes.
   */
  vacate(slot: number): void;
  /**
   * This server is silent: its checks have failed for `silentMs`, and its last successful check was `sinceHealthyMs` ago. Its
   * connections move to other servers if there are any; one that cannot move is cut once the server has been silent on it as long.
   * Must be called again while the server stays silent.
   */
  lose(slot: number, silentMs: number, sinceHealthyMs: number): void;
  /**
   * Every open connection at this moment. The object is reused for the next one; what it reports may be out of date at once. It may
   * be read on in a later turn: connections that begin or end meanwhile may be left out.
   */
  connections(): Iterable<OpenConnection>;
  /** The open connection with this id; undefined if there is none. The object is valid until the next call. */
  connection(id: number): OpenConnection | undefined;
  /** Moves this connection to its owner, if the connection may move and is not there already. */
  sendToOwner(id: number): void;
  /** Ends this connection with fate `closed` and resets both sides. Resolves with its fate once it has ended. */
  closeConnection(id: number): Promise<CloseOutcome>;
  /**
   * Moves this connection away from the server with slot `from`, if it still has that one and may leave it: to the server with slot
   * `to`, or to the next one that serves. Resolves with what became of it.
   */
  moveConnection(id: number, wish: MoveWish): Promise<MoveOutcome>;
  /**
   * Stops accepting clients. Resolves when the last connection has ended: by itself within `graceMs`, by force afterwards. A second
   * call can shorten the grace time.
   */
  stop(graceMs: number): Promise<void>;
}

/** Where a person wants a connection to be. */
export interface MoveWish {
  /** The slot of the server that it has. */
  readonly from: number;
  /** The slot of the server that it is to have; -1: any other. */
  readonly to: number;
}

/** The end of a connection; without a fate, it is not open any more and nobody knows how it ended. */
interface EndedOutcome {
  readonly kind: "ended";
  readonly fate: Fate | undefined;
}

/** What became of a connection that was to be closed; `unheard`: the thread that serves it does not answer. */
export type CloseOutcome = EndedOutcome | { readonly kind: "unheard" };

/** What became of a connection that was to move. */
export type MoveOutcome =
  | EndedOutcome
  | { readonly kind: "stays"; readonly reason: StayReason }
  | {
    readonly kind: "moved";
    /** The names of the servers. */
    readonly from: string | undefined;
    readonly to: string | undefined;
    /** Where it was in its exchange. */
    readonly state: ConnectionState;
    readonly replayedBytes: number;
  };

/** An open connection, as plans, rebalancing and operators see it. */
export interface OpenConnection {
  /** The engine's number of the connection: an integer below 2⁵³, unique in the life of the daemon. See `formatConnectionId`. */
  readonly id: number;
  /** The index of its service; NO_SERVICE while it is not known. */
  readonly service: number;
  /** The slot and the name of its server, or of the server being dialled; -1 and undefined: none. */
  readonly slot: number;
  readonly server: string | undefined;
  /** FACT bits of `redistribution.ts`. */
  readonly facts: number;
  /** How long no byte has been relayed, in ms. */
  readonly quietForMs: number;
  /** How often its unanswered request has been replayed. */
  readonly replays: number;
  /** How long ago it was accepted, in ms. */
  readonly ageMs: number;
  /** Whether it has no server yet, or has lost its server and not got another. */
  readonly isDialling: boolean;
  /** How often it has moved. */
  readonly moves: number;
  /** Bytes that were passed on to servers, and to the client; while it moves, without those of the server that it leaves. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** The index of the listener that accepted it. */
  readonly listener: number;
  /** The client's address. Engines reuse these bytes for the next connection. */
  readonly ip: Uint8Array;
  readonly port: number;
}
