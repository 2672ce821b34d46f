/**
 * The services of one worker: the settings that a client's connection is served by, found by its row, and what the listener that it
 * came through adds to the ports of servers. Settings are read where they are used, so that a change holds from then on.
 */

import { LIMITS } from "../../values/config.ts";
import { assert } from "../../values/errors.ts";
import type { ServiceEngineConfig } from "../engine.ts";
import { type DescriptorTable, listenerOf, serviceOf } from "./descriptor_table.ts";
import type { WorkerListener } from "./worker_setup.ts";

/** The services of a worker. */
export class Services {
  readonly #words: Int32Array;
  /** By service. A service that has a client is there. */
  readonly #configs: ServiceEngineConfig[] = [];
  /** By listener. Those of a closed listener stay: it may have connections. */
  readonly #portOffsets = new Uint16Array(LIMITS.listenersMax);

  constructor({ words }: DescriptorTable) {
    this.#words = words;
  }

  /** The settings of the client's service. */
  configOf(client: number): ServiceEngineConfig {
    return this.#configs[serviceOf(this.#words, client)];
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
    return this.#portOffsets[listenerOf(this.#words, client)];
  }

  setPortOffset({ index, portOffset }: WorkerListener): void {
    assert(index < LIMITS.listenersMax, "listener out of range");
    this.#portOffsets[index] = portOffset;
  }
}
