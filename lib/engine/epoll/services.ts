/**
 * What one worker serves by: the settings of the daemon, those that a client's connection is served by, found by its row, and what
 * the listener says that it came through. Settings are read where they are used, so that a change holds from then on.
 */

import { LIMITS } from "../../values/config.ts";
import { assert } from "../../values/errors.ts";
import { type NameRoutes, NO_SERVICE } from "../../routing/name_routes.ts";
import type { EngineConfig, ServiceEngineConfig } from "../engine.ts";
import { type DescriptorTable, listenerOf, serviceOf } from "./descriptor_table.ts";
import type { WorkerListener } from "./worker_setup.ts";

/** The services of a worker. */
export class Services {
  readonly #words: Int32Array;
  /** By service. A service that has a client is there. */
  readonly #configs: ServiceEngineConfig[] = [];
  /** By listener. Those of a closed listener stay: it may have connections. */
  readonly #listeners: WorkerListener[] = [];
  #daemon: EngineConfig;

  constructor({ words }: Pick<DescriptorTable, "words">, daemon: EngineConfig) {
    this.#words = words;
    this.#daemon = daemon;
  }

  /** The settings of the daemon. */
  get daemon(): EngineConfig {
    return this.#daemon;
  }

  setDaemon(config: EngineConfig): void {
    this.#daemon = config;
  }

  /** Whether there is an access log. */
  get isLogging(): boolean {
    return this.#daemon.accessLog !== null;
  }

  /** The settings of the client's service; while that is not known, those of its listener. */
  configOf(client: number): ServiceEngineConfig {
    const service = serviceOf(this.#words, client);
    return this.#configs[service === NO_SERVICE ? this.firstOf(client) : service];
  }

  /** The last settings of a service; undefined: it was never there. */
  configAt(service: number): ServiceEngineConfig | undefined {
    return this.#configs[service];
  }

  setConfig(service: number, config: ServiceEngineConfig | undefined): void {
    if (config !== undefined) this.#configs[service] = config; // that of a service that has gone is used by nobody
  }

  /** What is added to the port of a server for this client. */
  portOffsetOf(client: number): number {
    return this.#listeners[listenerOf(this.#words, client)].portOffset;
  }

  /** How the client's service is chosen; undefined: its listener has one service. */
  routesOf(client: number): NameRoutes | undefined {
    return this.#listeners[listenerOf(this.#words, client)].routes;
  }

  /** The service of the client's listener whose settings hold until the client's own is known. */
  firstOf(client: number): number {
    return this.#listeners[listenerOf(this.#words, client)].first;
  }

  setListener(listener: WorkerListener): void {
    assert(listener.index < LIMITS.listenersMax, "listener out of range");
    this.#listeners[listener.index] = listener;
  }
}
