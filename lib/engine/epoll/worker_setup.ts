/** What main and a worker of the epoll engine say to each other by postMessage. Plain data; types only. */

import type { Address } from "../../values/address.ts";
import type { SharedCounters } from "../../observe/counters.ts";
import type { EngineConfig } from "../engine.ts";
import type { SharedTable } from "./shared_table.ts";

/** All that a worker needs to begin. Descriptors are made by main, which closes them when the worker has died. */
export interface WorkerSetup {
  readonly kind: "setup";
  /** Which of the engine's workers it is, from 0. */
  readonly index: number;
  /** Told from the others and from its predecessors by this number, from 1. */
  readonly epoch: number;
  /** Main's performance.timeOrigin: times in shared memory are by main's clock. */
  readonly timeOrigin: number;
  readonly epoll: number;
  readonly listeners: readonly WorkerListener[];
  readonly mailbox: number;
  /** The writing ends of all workers' mailboxes. */
  readonly mailboxes: readonly number[];
  /** The workers' epochs, open connections and the generation of the table each has. */
  readonly workerTable: SharedArrayBuffer;
  readonly descriptors: SharedArrayBuffer;
  readonly reports: SharedArrayBuffer;
  readonly counters: SharedCounters;
  readonly availabilities: SharedArrayBuffer;
  readonly config: EngineConfig;
  readonly pipesMax: number;
  /** By service. */
  readonly tables: readonly SharedTable[];
  /** Of their publication. */
  readonly generation: number;
}

/** A listener as workers have it: its descriptor, and the number of the service whose clients it accepts. */
export interface WorkerListener {
  readonly descriptor: number;
  readonly service: number;
}

/** The answer to a look-up: addresses as `ADDRESS_STRIDE` bytes each, none if it failed. */
export interface FoundName {
  readonly kind: "found";
  /** `name:port`. */
  readonly server: string;
  readonly addresses: Uint8Array;
}

/** New tables, one for each service. */
export interface TablesMessage {
  readonly kind: "tables";
  readonly tables: readonly SharedTable[];
  readonly generation: number;
}

/** From main. */
export type ToWorker = WorkerSetup | FoundName | TablesMessage;

/** To main: it listens to messages; it runs; there are reports; a server's name is wanted; accepting fails; it has closed everything. */
export type FromWorker =
  | { readonly kind: "here" }
  | { readonly kind: "ready" }
  | { readonly kind: "news" }
  | { readonly kind: "find"; readonly address: Address }
  | { readonly kind: "acceptFailed"; readonly errno: number }
  | { readonly kind: "gone" };
