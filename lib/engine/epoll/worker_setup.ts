/** The messages between main and the workers of the epoll engine, sent by postMessage. Plain data; types only. */

import type { Address } from "../../values/address.ts";
import type { SharedCounters } from "../../observe/counters.ts";
import type { CarriedIndexes, EngineConfig, ServiceEngineConfig } from "../engine.ts";
import type { ClientLists } from "../../routing/client_limits.ts";
import type { HoldRules } from "../../routing/hold.ts";
import type { NameRoutes } from "../../routing/name_routes.ts";
import type { SharedTable } from "./shared_table.ts";

/** The setup of a worker. Main opens the descriptors and closes them after the worker has died. */
export interface WorkerSetup {
  readonly kind: "setup";
  /** The index of the worker, from 0. A replacement keeps it. */
  readonly index: number;
  /** A number from 1 that no other worker and no predecessor has had. */
  readonly epoch: number;
  /** Main's performance.timeOrigin, because times in shared memory are by main's clock. */
  readonly timeOrigin: number;
  readonly epoll: number;
  readonly mailbox: number;
  /** The write ends of all workers' mailboxes. */
  readonly mailboxes: readonly number[];
  /** The memory of the WorkerTable. */
  readonly workerTable: SharedArrayBuffer;
  readonly descriptors: SharedArrayBuffer;
  /** The memory of the LogColumns. */
  readonly logColumns: SharedArrayBuffer;
  readonly reports: SharedArrayBuffer;
  readonly counters: SharedCounters;
  readonly availabilities: SharedArrayBuffer;
  /** The settings of the daemon at first. */
  readonly config: EngineConfig;
  /** The start id of the daemon, for `formatConnectionId`. */
  readonly startId: string;
  readonly pipesMax: number;
  /** The memory in which clients are counted. */
  readonly clients: SharedArrayBuffer;
  /** Everything that it serves by at first. */
  readonly publication: WorkerPublication;
  /** Whether it accepts nobody before it is told to. */
  readonly isWaiting: boolean;
}

/** A listener as workers see it. */
export interface WorkerListener {
  /** Its index in the publication. */
  readonly index: number;
  readonly descriptor: number;
  /** The service whose clients it accepts; NO_SERVICE: the routes say which. */
  readonly service: number;
  /** The service whose settings hold until the client's is known. */
  readonly first: number;
  /** Undefined: it has one service. */
  readonly routes: NameRoutes | undefined;
  readonly portOffset: number;
}

/** A service as workers see it, in shared memory where it is large. */
export interface WorkerService {
  readonly table: SharedTable;
  /** Undefined: as it was. */
  readonly config: ServiceEngineConfig | undefined;
  readonly lists: ClientLists | undefined;
  readonly waiting: HoldRules["waiting"];
}

/** What differs in a publication from the one before, by index; undefined: it has gone. */
export interface WorkerPublication {
  readonly services: readonly (readonly [index: number, service: WorkerService | undefined])[];
  readonly listeners: readonly (readonly [index: number, listener: WorkerListener | undefined])[];
  /** Listeners that main is about to close: whoever waits in their queues must be accepted. */
  readonly leaving: readonly WorkerListener[];
  /** The settings of the daemon; undefined: as they were. */
  readonly config: EngineConfig | undefined;
  readonly generation: number;
}

/** The result of a look-up: addresses of `ADDRESS_STRIDE` bytes each, none if it failed. */
interface FoundName {
  readonly kind: "found";
  /** `name:port`. */
  readonly server: string;
  readonly addresses: Uint8Array;
}

/**
 * A step of a hand-over to another process. Giving: `give` all connections over this socket, having stopped accepting; `giveRest`:
 * no other worker accepts any more, so say when nothing is left; `takeBack`: the other process is gone. Taking: `take` connections
 * that come over this socket; `listen`: begin to accept; `alone`: the process that gave has gone.
 */
export type HandoverMessage =
  | { readonly kind: "give"; readonly socket: number }
  | { readonly kind: "giveRest" }
  | { readonly kind: "takeBack" }
  | { readonly kind: "take"; readonly socket: number; readonly indexes: CarriedIndexes }
  | { readonly kind: "listen" }
  | { readonly kind: "alone" };

/** A publication. */
interface PublicationMessage {
  readonly kind: "publication";
  readonly publication: WorkerPublication;
}

/** Messages from main to a worker. */
export type ToWorker = WorkerSetup | FoundName | PublicationMessage | HandoverMessage;

/**
 * Messages from a worker to main. `here`: it can receive messages. `ready`: its loop runs. `news`: there are reports. `find`: look
 * up the name of a server. `acceptFailed`: accepting is paused. `noLocalPort`: no local port is free for connections to the server
 * of this slot; not sent every time. `malformedHeader`: what is wrong with the PROXY header of the client with this address; not
 * sent for every client. `gone`: it has closed everything. `giving`: it has stopped accepting and gives its connections to another
 * process; `given`: none is left; `giveFailed`: the other process does not take them. `taken`: so many connections of another
 * process are this worker's, `pauseMs` after the first of them was stopped there. `takeFailed`: it cannot take what it is given.
 * `alone`: it has taken what there was of a process that has gone.
 */
export type FromWorker =
  | { readonly kind: "here" }
  | { readonly kind: "ready" }
  | { readonly kind: "news" }
  | { readonly kind: "find"; readonly address: Address }
  | { readonly kind: "acceptFailed"; readonly errno: number }
  | { readonly kind: "noLocalPort"; readonly slot: number }
  | { readonly kind: "malformedHeader"; readonly ip: Uint8Array; readonly port: number; readonly reason: string }
  | { readonly kind: "giving" }
  | { readonly kind: "given"; readonly connections: number }
  | { readonly kind: "giveFailed"; readonly reason: string }
  | { readonly kind: "taken"; readonly count: number; readonly pauseMs: number }
  | { readonly kind: "takeFailed"; readonly reason: string }
  | { readonly kind: "alone" }
  | { readonly kind: "gone" };
