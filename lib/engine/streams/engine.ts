/**
 * The portable engine: Deno.listen, Deno.connect and readable.pipeTo, on any system that runs Deno. Owns the listeners and the set
 * of open connections; `connection.ts` handles a single connection.
 */

import { LIMITS } from "../../values/config.ts";
import type { Fate } from "../../values/fates.ts";
import { assert, messageOf } from "../../values/errors.ts";
import { logger } from "../../observe/log.ts";
import { liveLoad } from "../../observe/live_load.ts";
import type { RoutingTable } from "../../routing/routing_table.ts";
import { isDraining } from "../../routing/availability.ts";
import type { Engine, EngineKind, EngineOptions, OpenConnection, Publication, ServiceListener } from "../engine.ts";
import { partsOf } from "../parts.ts";
import { makeGate } from "../gate.ts";
import { AcceptBackoff } from "../accept_backoff.ts";
import type { EndedConnection } from "../../observe/connections.ts";
import { StreamsListener } from "./listener.ts";
import { NameCache } from "./name_cache.ts";
import { RetiredSlots } from "../retired_slots.ts";
import { type Client, type ConnectionContext, StreamsConnection } from "./connection.ts";
import { RecordingRoom } from "./conversation.ts";

/**
 * Errors of accept that concern one client, which reset the connection before it was accepted. The next one is accepted at once.
 */
const CLIENT_ERRORS = [Deno.errors.NotConnected, Deno.errors.ConnectionAborted, Deno.errors.ConnectionReset];

/** Idle connections are looked for this many times per timeout, with at least IDLE_SWEEP_MIN_MS between two checks. */
const IDLE_SWEEPS_PER_TIMEOUT = 8;
const IDLE_SWEEP_MIN_MS = 5;

/** Time between two attempts to move connections off draining servers: a fraction of the quiet time, within these bounds. */
const LOOK_PER_QUIET = 0.5;
const LOOK_MIN_MS = 5;
const LOOK_MAX_MS = 250;

const log = logger("engine");

/** The row of ENGINES. */
export const streams: EngineKind = {
  cannot: [
    "reset",
    "cut",
    "lateReset",
    "stalledReset",
    "silence",
    "keepAliveTime",
    "deferAccept",
    "threads",
    "refusal",
    "urgentData",
    "sources",
    "transparent",
  ],
  unsupported: () => undefined,
  threads: () => 0,
  checkConfig: () => {},
  listen: (address) => new StreamsListener(address),
  create: (options) => new StreamsEngine(options),
};

class StreamsEngine implements Engine {
  readonly #options: EngineOptions;
  readonly #connections = new Map<number, StreamsConnection>();
  readonly #context: ConnectionContext;
  readonly #sweep: ReturnType<typeof setInterval>;
  readonly #stopped = Promise.withResolvers<void>();
  readonly #emptied = Promise.withResolvers<void>();
  readonly #accepting: Promise<unknown>;
  readonly #retired = new RetiredSlots();
  /** By service. */
  #tables: readonly RoutingTable[];
  readonly #listeners: readonly ServiceListener[];
  #lastId = 0;
  /** Set while there is a connection that should leave its server. */
  #look: ReturnType<typeof setTimeout> | undefined;
  #stopping = false;

  constructor(options: EngineOptions) {
    const { counters, availabilities } = options;
    const { config, listeners, tables, lists } = partsOf(options, options.publication);
    this.#options = options;
    this.#tables = tables;
    this.#listeners = listeners;
    this.#context = {
      startId: options.startId,
      config,
      gate: makeGate({ config, counters, clients: options.clients, lists }),
      onWouldBeRefused: options.onWouldBeRefused ?? (() => {}),
      counters,
      load: liveLoad(counters, availabilities),
      availabilities,
      recordingRoom: new RecordingRoom(LIMITS.replayBytesTotalMax),
      names: new NameCache(),
      lastEndsMs: new Map(),
      table: (service) => this.#tables[service],
      onEnded: (connection, ended) => this.#forget(connection, ended),
      onMoved: options.onMoved,
      onStarted: options.accessLog?.onStarted,
      onLeaving: () => this.#lookLater(),
      onServerFailed: options.onServerFailed,
      onServerLeft: () => this.#declareEmpty(),
    };
    const timeoutMs = Math.min(config.idleTimeoutMs, config.firstByteTimeoutMs || Infinity);
    const sweepMs = Math.max(IDLE_SWEEP_MIN_MS, timeoutMs / IDLE_SWEEPS_PER_TIMEOUT);
    this.#sweep = setInterval(() => this.#endIdle(), sweepMs);
    this.#accepting = Promise.all(listeners.map((listener, index) => this.#acceptAll(listener, index)));
  }

  update(publication: Publication): Promise<void> {
    const { tables, lists } = partsOf(this.#options, publication);
    if (lists !== undefined) this.#context.gate?.setLists(lists);
    this.#retired.update(this.#tables, tables);
    this.#tables = tables;
    queueMicrotask(() => this.#declareEmpty()); // not within `update`: its caller must finish publishing first
    return Promise.resolve();
  }

  isEmpty(slot: number): boolean {
    return this.#options.counters.getOf(slot, "serverOpen") === 0;
  }

  vacate(slot: number): void {
    if (!isDraining(this.#options.availabilities.get(slot))) return; // the drain was cancelled
    for (const connection of this.#all()) connection.vacate(slot);
    this.#lookLater();
  }

  lose(slot: number, silentMs: number, sinceHealthyMs: number): void {
    for (const connection of this.#all()) connection.lose(slot, silentMs, sinceHealthyMs);
  }

  connections(): Iterable<OpenConnection> {
    return this.#connections.values();
  }

  sendToOwner(id: number): void {
    this.#connections.get(id)?.goToOwner();
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    for (const { listener } of this.#listeners) listener[Symbol.dispose]();
    this.#stopped.resolve();
    await this.#accepting;
    if (this.#connections.size === 0) this.#emptied.resolve();
    const timer = setTimeout(() => this.#endAll("stopped"), graceMs);
    await this.#emptied.promise;
    clearTimeout(timer);
    clearTimeout(this.#look);
    clearInterval(this.#sweep);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop(0);
  }

  async #acceptAll({ listener, service }: ServiceListener, index: number): Promise<void> {
    assert(listener instanceof StreamsListener, "a listener of another engine");
    const backoff = new AcceptBackoff();
    while (!this.#stopping) {
      try {
        const client = await listener.socket.accept();
        this.#serve({ id: ++this.#lastId, client, listener: index, service });
      } catch (error) {
        if (this.#stopping) return;
        if (CLIENT_ERRORS.some((kind) => error instanceof kind)) {
          this.#options.counters.add("gone");
          continue;
        }
        this.#options.counters.add("acceptErrors");
        const { pauseMs, isNew } = backoff.fail(performance.now());
        if (isNew) log.error("Cannot accept clients for now: {reason}", { reason: messageOf(error) });
        await this.#pause(pauseMs);
      }
    }
  }

  /** Waits for `ms`, or until the engine stops. */
  async #pause(ms: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout>;
    const over = new Promise<void>((resolve) => timer = setTimeout(resolve, ms));
    await Promise.race([over, this.#stopped.promise]).finally(() => clearTimeout(timer));
  }

  #serve(client: Client): void {
    const { counters, config } = this.#options;
    counters.add("accepted");
    counters.addToListener(client.listener, "listenerAccepted");
    const open = counters.raise("open");
    const connection = new StreamsConnection(client, this.#context);
    this.#connections.set(connection.id, connection);
    if (open <= config.connectionsMax) return void connection.run();
    counters.add("limitBalancer");
    connection.end("refused_limit");
  }

  #forget(connection: StreamsConnection, ended: EndedConnection): void {
    this.#options.counters.raise("open", -1);
    this.#connections.delete(connection.id);
    this.#options.onEnded(ended);
    if (this.#stopping && this.#connections.size === 0) this.#emptied.resolve();
  }

  #declareEmpty(): void {
    for (const slot of this.#retired.takeEmpty((slot) => this.isEmpty(slot))) this.#options.onServerEmpty(slot);
  }

  #endIdle(): void {
    const { idleTimeoutMs, firstByteTimeoutMs } = this.#context.config;
    const nowMs = performance.now();
    for (const connection of this.#all()) {
      if (connection.isIdle(nowMs - idleTimeoutMs)) connection.end("idle_timeout");
      else if (connection.isSilent(nowMs - (firstByteTimeoutMs || Infinity))) connection.end("first_byte_timeout");
    }
  }

  /** Sets a timer to try again to move connections that should leave their servers, if there are any. */
  #lookLater(): void {
    if (this.#look !== undefined || !this.#all().some(({ isDraining }) => isDraining)) return;
    const ms = Math.min(Math.max(LOOK_MIN_MS, this.#context.config.quietMs * LOOK_PER_QUIET), LOOK_MAX_MS);
    this.#look = setTimeout(() => {
      this.#look = undefined;
      for (const connection of this.#all()) if (connection.isDraining) connection.vacate(connection.slot);
      this.#lookLater();
    }, ms);
  }

  #endAll(fate: Fate): void {
    for (const connection of this.#all()) connection.end(fate);
  }

  /** A copy of the connections, so that a loop over them may end them. */
  #all(): StreamsConnection[] {
    return [...this.#connections.values()];
  }
}
