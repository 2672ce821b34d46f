/**
 * What the epoll engine serves by, on the main thread: takes in publications, gives workers what differs in shared memory, and does
 * what must wait until every worker has adopted one: closing listeners, and using memory again.
 */

import type { ServiceConfig } from "../../values/config.ts";
import { assert } from "../../values/errors.ts";
import type { Counters } from "../../observe/counters.ts";
import type { EngineConfig, EngineService, Listener, Publication, ServiceEngineConfig, ServiceListener } from "../engine.ts";
import type { Gate } from "../gate.ts";
import { type Change, changesOf, GoneRoutes, leadsTo, type Leaving, leavingBy, NOTHING_PUBLISHED } from "../publications.ts";
import { NO_SERVICE } from "../../routing/name_routes.ts";
import { RetiredSlots } from "../retired_slots.ts";
import type { Sockets } from "../system/sockets.ts";
import { EpollListener } from "./listener.ts";
import { SharedTables } from "./shared_table.ts";
import type { WorkerListener, WorkerPublication, WorkerService } from "./worker_setup.ts";

/** The settings that workers need: what a service has beside them would be copied for each worker. */
const WORKER_SETTINGS = [
  "connectTimeoutMs",
  "connectAttemptsMax",
  "connectDeadlineMs",
  "holdMs",
  "idleTimeoutMs",
  "firstByteTimeoutMs",
  "clientConnections",
  "clientRate",
  "limitsDryRun",
  "keepAliveMs",
  "deferAcceptMs",
  "acceptProxy",
  "proxyTimeoutMs",
  "helloTimeoutMs",
  "sources",
  "transparent",
  "userTimeoutMs",
  "serverTimeoutMs",
  "redistribute",
  "quietMs",
  "replaysMax",
  "replayBytesMax",
] as const satisfies readonly (keyof ServiceConfig)[];

/** The settings of a listening socket. */
const LISTENING_SETTINGS = ["keepAliveMs", "userTimeoutMs", "deferAcceptMs"] as const;

/** What is done once every worker has adopted a publication. */
interface Pending {
  readonly generation: number;
  readonly leaving: readonly Leaving[];
  readonly services: readonly Change<EngineService>[];
}

/** The parts of the engine that publishing uses. */
interface PublisherOptions {
  readonly counters: Counters;
  readonly sockets: Sockets;
  /** Main's gate, for the clients of workers that have died: it follows the workers. */
  readonly gate: Gate;
  /** The settings of the daemon at the beginning. */
  readonly config: EngineConfig;
}

/** The publications of one engine. */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #shared = new SharedTables();
  readonly #retired = new RetiredSlots();
  readonly #gone = new GoneRoutes();
  /** By service. */
  readonly #services: (WorkerService & { readonly config: ServiceEngineConfig } | undefined)[] = [];
  /** Oldest first. */
  readonly #pending: Pending[] = [];
  #publication = NOTHING_PUBLISHED;
  #config: EngineConfig;
  #generation = -1;
  #isClosed = false;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#config = options.config;
  }

  /** The settings of the daemon. */
  get config(): EngineConfig {
    return this.#config;
  }

  /** What is served by now. */
  get publication(): Publication {
    return this.#publication;
  }

  /** The number of that publication, from 0. */
  get generation(): number {
    return this.#generation;
  }

  /** Listeners that are to be closed: clients may wait in their queues. */
  get leaving(): readonly Leaving[] {
    return this.#pending.flatMap(({ leaving }) => leaving);
  }

  /** Whether a listener, or one that goes or has gone, may still lead clients to this service. */
  mayLeadTo(service: number): boolean {
    const { counters } = this.#options;
    if (this.#publication.listeners.some((one) => one !== undefined && leadsTo(one, service))) return true;
    if (this.leaving.some((one) => leadsTo(one, service))) return true;
    return this.#gone.leadTo(service, (index) => counters.getOfListener(index, "listenerAwaiting"));
  }

  /** Slots of servers that are in no table any more. */
  get retired(): RetiredSlots {
    return this.#retired;
  }

  /** Takes in a publication. Returns what workers must know of it, and the services whose tables are new. */
  update(next: Publication): { readonly changes: WorkerPublication; readonly replaced: readonly EngineService[] } {
    const { services, listeners } = changesOf(this.#publication, next);
    const generation = ++this.#generation;
    for (const { index, now } of services) this.#requireEmpty(index, now);
    this.#publication = next;
    const isOtherConfig = next.config !== undefined && next.config !== this.#config;
    if (isOtherConfig) this.#config = next.config;
    this.#share(generation, services);
    this.#heedListeners(services, listeners);
    this.#gone.update(listeners);
    const leaving = leavingBy(listeners);
    this.#pending.push({ generation, leaving, services });
    const moved = services.filter(({ before, now }) => before?.table !== now?.table);
    this.#retired.update(tablesOf(moved.map(({ before }) => before)), tablesOf(moved.map(({ now }) => now)));
    if (this.#isClosed) this.#closeAll(listeners.map(({ now }) => now));
    return {
      changes: {
        services: services.map(({ index, before, now }) => [index, this.#changeOf(index, before?.config === now?.config)]),
        listeners: listeners.map(({ index, now }) => [index, now && workerListener(index, now)]),
        leaving: leaving.map((one) => workerListener(one.index, one)),
        config: isOtherConfig ? this.#config : undefined,
        generation,
      },
      replaced: moved.flatMap(({ now }) => now ?? []),
    };
  }

  /** Everything, for a worker that begins. */
  whole(): WorkerPublication {
    const { listeners } = this.#publication;
    return {
      services: [...this.#services.entries()].filter(([, service]) => service !== undefined),
      listeners: [...listeners.entries()].flatMap(([index, one]) =>
        one === undefined ? [] : [[index, workerListener(index, one)]] as const
      ),
      leaving: this.leaving.map((one) => workerListener(one.index, one)),
      config: undefined, // its setup has it
      generation: this.#generation,
    };
  }

  /** Every worker that there is has adopted this publication or a later one. */
  onAdopted(generation: number): void {
    this.#shared.releaseBefore(generation);
    while (this.#pending.length > 0 && this.#pending[0].generation <= generation) {
      const { leaving, services } = this.#pending.shift()!;
      this.#closeAll(leaving);
      for (const { index, now } of services) this.#options.gate.set(index, now?.config, now?.lists);
    }
  }

  /** Closes every listener, those that are added later as well. */
  close(): void {
    this.#isClosed = true;
    this.#closeAll(this.leaving);
    this.#closeAll(this.#publication.listeners);
  }

  #closeAll(listeners: Publication["listeners"]): void {
    for (const one of listeners) one?.listener[Symbol.dispose]();
  }

  #requireEmpty(index: number, now: EngineService | undefined): void {
    const isUsed = now === undefined && this.#options.counters.getOfService(index, "serviceOpen") > 0;
    assert(!isUsed, "a service with connections cannot go");
  }

  /** Puts tables and lists into shared memory; what was there before stays where it is. */
  #share(generation: number, changed: readonly Change<EngineService>[]): void {
    const services = this.#publication.services.filter((service) => service !== undefined);
    const tables = this.#shared.publish(services.map(({ table }) => table), generation);
    const lists = this.#shared.publishLists(services.map(({ lists }) => lists), generation);
    const at = new Map(services.map((service, place) => [service, place]));
    for (const { index, now } of changed) {
      const place = now && at.get(now)!;
      this.#services[index] = place === undefined
        ? undefined
        : { table: tables[place], lists: lists[place], config: workerConfig(now!.config), waiting: now!.waiting };
    }
  }

  #changeOf(index: number, isSameConfig: boolean): WorkerService | undefined {
    const service = this.#services[index];
    return service && isSameConfig ? { ...service, config: undefined } : service;
  }

  /** Sets the options of sockets that listen by other settings than before. */
  #heedListeners(services: readonly Change<EngineService>[], listeners: readonly Change<ServiceListener>[]): void {
    const changed = new Set(services.filter(listenOtherwise).map(({ index }) => index));
    const kept = new Set(listeners.map(({ before }) => before?.listener));
    const isOther = ({ listener, service }: ServiceListener) => kept.has(listener) || changed.has(service);
    if (changed.size === 0 && listeners.length === 0) return;
    for (const one of this.#publication.listeners) {
      if (one === undefined || !isOther(one)) continue;
      this.#options.sockets.changeListening(descriptorOf(one.listener), this.#publication.services[one.service]!.config);
    }
  }
}

function listenOtherwise({ before, now }: Change<EngineService>): boolean {
  if (before === undefined || now === undefined || before.config === now.config) return false;
  return LISTENING_SETTINGS.some((name) => before.config[name] !== now.config[name]);
}

function tablesOf(services: readonly (EngineService | undefined)[]): EngineService["table"][] {
  return services.flatMap((service) => service?.table ?? []);
}

function workerConfig(config: ServiceEngineConfig): ServiceEngineConfig {
  return Object.fromEntries(WORKER_SETTINGS.map((name) => [name, config[name]])) as unknown as ServiceEngineConfig;
}

function workerListener(index: number, { listener, service, routes, portOffset }: ServiceListener): WorkerListener {
  const named = routes === undefined ? service : NO_SERVICE;
  return { index, descriptor: descriptorOf(listener), service: named, first: service, routes, portOffset };
}

function descriptorOf(listener: Listener): number {
  assert(listener instanceof EpollListener, "a listener of another engine");
  return listener.descriptor;
}
