/**
 * The main thread's part of handing connections over between two processes: has every worker give or take, and waits until all are
 * done. Knows neither how connections travel (`giver.ts`, `taker.ts`) nor what the processes say to each other beside that.
 */

import type { CarriedIndexes, Handover, TakenBatch } from "../engine.ts";
import type { FromWorker, HandoverMessage } from "./worker_setup.ts";

/** What is needed of a worker. */
interface CarryingWorker {
  readonly index: number;
  readonly exists: boolean;
  send(message: HandoverMessage): void;
}

/** Options of EpollHandover. */
interface HandoverOptions {
  readonly workers: readonly CarryingWorker[];
  /** Starts a worker that has died while connections were given. */
  readonly restart: (worker: number) => void;
  /** Called when nothing is left to be given: reports of what ended before are still to be delivered. */
  readonly onGiven: () => void;
  /** Called when the engine is to accept. */
  readonly onListen: () => void;
}

/** What a worker says of it. */
export type CarryingMessage = Extract<FromWorker, { kind: "giving" | "given" | "giveFailed" | "taken" | "takeFailed" | "alone" }>;

/** The hand-over of one engine. */
export class EpollHandover implements Handover {
  readonly #options: HandoverOptions;
  readonly #ready = Promise.withResolvers<void>();
  /** Workers whose loop does not run yet, or not any more: they hear nothing. */
  readonly #awaited: Set<number>;
  /** What workers are told to give over once their loop runs. */
  readonly #untold = new Map<number, number>();
  readonly #failed = Promise.withResolvers<never>();
  readonly #dead = new Set<number>();
  /** Workers that still accept, or still have connections; undefined: none does, or nothing is given. */
  #accepting: Set<number> | undefined;
  #giving: Set<number> | undefined;
  #given = Promise.withResolvers<number>();
  #givenConnections = 0;
  /** Workers that have not said yet that they have taken everything. */
  #taking = new Set<number>();
  readonly #alone = Promise.withResolvers<void>();
  readonly taken: TakenBatch[] = [];
  #takenConnections = 0;
  #wanted: { readonly connections: number; readonly resolve: () => void } | undefined;

  constructor(options: HandoverOptions) {
    this.#options = options;
    this.#awaited = new Set(options.workers.map(({ index }) => index));
    this.#failed.promise.catch(() => {}); // there may be nobody who takes
  }

  get sockets(): number {
    return this.#options.workers.length;
  }

  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** Whether connections are given, or were: a worker that dies is not replaced then. */
  get isGiving(): boolean {
    return this.#giving !== undefined;
  }

  give(sockets: readonly number[]): Promise<number> {
    this.#given = Promise.withResolvers();
    this.#givenConnections = 0;
    const workers = this.#options.workers.filter(({ exists }) => exists);
    this.#accepting = new Set(workers.map(({ index }) => index));
    this.#giving = new Set(this.#accepting);
    for (const worker of workers) {
      if (this.#awaited.has(worker.index)) this.#untold.set(worker.index, sockets[worker.index]);
      else worker.send({ kind: "give", socket: sockets[worker.index] });
    }
    this.#check();
    return this.#given.promise;
  }

  takeBack(): void {
    this.#giving = this.#accepting = undefined;
    this.#untold.clear();
    this.#given.promise.catch(() => {});
    this.#given.reject(new Error("the other process has gone"));
    this.#sendAll({ kind: "takeBack" });
    for (const worker of this.#dead) this.#options.restart(worker);
    this.#dead.clear();
  }

  take(sockets: readonly number[], indexes: CarriedIndexes): void {
    const workers = this.#options.workers;
    for (const [i, socket] of sockets.entries()) workers[i % workers.length].send({ kind: "take", socket, indexes });
  }

  listen(): void {
    this.#options.onListen();
    this.#sendAll({ kind: "listen" });
  }

  hasTaken(connections: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wanted = { connections, resolve };
    this.#checkTaken();
    return promise;
  }

  alone(): Promise<void> {
    this.#taking = new Set(this.#options.workers.filter(({ exists }) => exists).map(({ index }) => index));
    this.#sendAll({ kind: "alone" });
    if (this.#taking.size === 0) this.#alone.resolve();
    return this.#alone.promise;
  }

  /** A worker's loop runs. */
  onReady(worker: number): void {
    this.#awaited.delete(worker);
    if (this.#awaited.size === 0) this.#ready.resolve();
    const socket = this.#untold.get(worker);
    if (socket === undefined) return;
    this.#untold.delete(worker);
    this.#options.workers[worker].send({ kind: "give", socket });
  }

  /** A worker has died. */
  onDeath(worker: number, reason: string): void {
    this.#failed.reject(new Error(reason));
    this.#awaited.add(worker);
    this.#endTaking(worker); // it takes nothing more
    if (this.#giving === undefined) return;
    this.#dead.add(worker);
    this.#untold.delete(worker);
    this.#accepting?.delete(worker);
    this.#giving.delete(worker);
    this.#check();
  }

  /** A worker that died before is to be replaced. False: not now; it is when the connections are taken back. */
  mayReplace(worker: number): boolean {
    if (this.#giving !== undefined) this.#dead.add(worker);
    return this.#giving === undefined;
  }

  onMessage(worker: number, message: CarryingMessage): void {
    switch (message.kind) {
      case "giving":
        this.#accepting?.delete(worker);
        return this.#check();
      case "given":
        if (this.#giving?.delete(worker)) this.#givenConnections += message.connections;
        return this.#check();
      case "giveFailed":
        return this.#given.reject(new Error(message.reason));
      case "taken":
        this.taken.push({ count: message.count, pauseMs: message.pauseMs });
        this.#takenConnections += message.count;
        return this.#checkTaken();
      case "takeFailed":
        return this.#failed.reject(new Error(message.reason));
      case "alone":
        return this.#endTaking(worker);
    }
  }

  #check(): void {
    if (this.#accepting?.size === 0) {
      this.#accepting = undefined;
      this.#sendAll({ kind: "giveRest" });
    }
    if (this.#giving?.size !== 0) return;
    this.#options.onGiven();
    this.#given.resolve(this.#givenConnections);
  }

  #endTaking(worker: number): void {
    if (this.#taking.delete(worker) && this.#taking.size === 0) this.#alone.resolve();
  }

  #checkTaken(): void {
    if (this.#wanted !== undefined && this.#takenConnections >= this.#wanted.connections) this.#wanted.resolve();
  }

  #sendAll(message: HandoverMessage): void {
    for (const worker of this.#options.workers) if (worker.exists) worker.send(message);
  }
}
