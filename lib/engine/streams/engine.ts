/**
 * The portable engine: Deno.listen, Deno.connect and readable.pipeTo, on any system that runs Deno. Owns the listeners and the set
 * of open connections; `connection.ts` handles a single connection.
 */

import { LIMITS } from "../../values/config.ts";
import type { Fate } from "../../values/fates.ts";
import { assert, messageOf } from "../../values/errors.ts";
import { logger } from "../../observe/log.ts";
import { liveLoad } from "../../observe/live_load.ts";
import { NO_SERVICE } from "../../routing/name_routes.ts";
import type { Load } from "../../routing/route.ts";
import { isDraining } from "../../routing/availability.ts";
import type {
  CloseOutcome,
  Engine,
  EngineConfig,
  EngineKind,
  EngineOptions,
  EngineService,
  Listener,
  MoveOutcome,
  MoveWish,
  OpenConnection,
  Publication,
  ServiceEngineConfig,
  ServiceListener,
} from "../engine.ts";
import { Gate } from "../gate.ts";
import { type Change, type Changes, changesOf, GoneRoutes, leadsTo, leavingBy, NOTHING_PUBLISHED } from "../publications.ts";
import { AcceptBackoff } from "../accept_backoff.ts";
import { type HoldHost, Holds } from "../holds.ts";
import { enqueue, lacksPlace, type PlaceHost, Places } from "../places.ts";
import { usabilityOf } from "../../routing/hold.ts";
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

/** A listener that goes is closed once nobody was accepted from it for so long: Deno cannot ask whether its queue is empty. */
const QUEUE_EMPTY_MS = 10;

/** The longest interval of a timer. */
const TIMER_MAX_MS = 2 ** 31 - 1;

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
    "waitingEnd",
    "urgentData",
    "sources",
    "transparent",
    "handover",
  ],
  unsupported: () => undefined,
  threads: () => 0,
  checkConfig: () => {},
  listen: (address) => new StreamsListener(address),
  create: (options) => new StreamsEngine(options),
};

/** A listener that is accepted from. */
interface Accepting {
  /** What it is in the publication now, and where. */
  place: ServiceListener & { readonly index: number };
  /** Clients so far. */
  accepted: number;
  isClosed: boolean;
  over: Promise<void>;
}

class StreamsEngine implements Engine {
  readonly #options: EngineOptions;
  readonly #connections = new Map<number, StreamsConnection>();
  readonly #context: ConnectionContext;
  #sweep: ReturnType<typeof setInterval> | undefined;
  #sweepMs = 0;
  readonly #stopped = Promise.withResolvers<void>();
  readonly #emptied = Promise.withResolvers<void>();
  readonly #accepting = new Map<Listener, Accepting>();
  readonly #retired = new RetiredSlots();
  readonly #gone = new GoneRoutes();
  readonly #loads: Load[];
  readonly #holds: Holds;
  readonly #holdHost: HoldHost = {
    usabilityOf: (service) => usabilityOf(this.#publication.services[service]!.table, this.#loads[service]),
    redial: (id) => this.#connections.get(id)!.redial(),
    endHeld: (id, fate) => this.#connections.get(id)!.endHeld(fate),
  };
  readonly #places: Places;
  readonly #placeHost: PlaceHost = {
    admit: (id) => void this.#connections.get(id)!.run(),
    endQueued: (id, fate) => this.#connections.get(id)!.end(fate),
  };
  #waitingTimer: ReturnType<typeof setTimeout> | undefined;
  /** When it fires. */
  #waitingTimerMs = Infinity;
  #publication = NOTHING_PUBLISHED;
  #config: EngineConfig;
  #lastId = 0;
  /** Set while there is a connection that should leave its server. */
  #look: ReturnType<typeof setTimeout> | undefined;
  #stopping = false;

  constructor(options: EngineOptions) {
    const { counters, availabilities } = options;
    this.#options = options;
    this.#config = options.config;
    this.#loads = Array.from({ length: LIMITS.servicesMax }, (_, service) => liveLoad(counters, availabilities, service));
    this.#holds = new Holds(counters, 1, () => this.#serveWaitingLater());
    this.#places = new Places(counters, () => this.#serveWaitingLater());
    this.#context = {
      holds: this.#holds,
      startId: options.startId,
      gate: new Gate(counters, options.clients),
      onWouldBeRefused: options.onWouldBeRefused ?? (() => {}),
      counters,
      load: (service) => this.#loads[service],
      availabilities,
      recordingRoom: new RecordingRoom(LIMITS.replayBytesTotalMax),
      names: new NameCache(),
      lastEndsMs: new Map(),
      service: (index) => this.#publication.services[index]!,
      routes: (listener) => (this.#publication.listeners[listener] ?? this.#gone.get(listener))?.routes,
      onEnded: (connection, ended) => this.#forget(connection, ended),
      onMoved: options.onMoved,
      startTeller: () => this.#config.accessLog !== null && this.#config.accessLogStart ? options.onStarted : undefined,
      isLogged: () => this.#config.accessLog !== null,
      onLeaving: () => this.#lookLater(),
      onServerFailed: options.onServerFailed,
      onServerLeft: () => this.#declareEmpty(),
    };
    void this.update(options.publication);
  }

  async update(next: Publication): Promise<void> {
    const { services, listeners } = changesOf(this.#publication, next);
    for (const { index, now } of services) this.#requireEmpty(index, now);
    const tables = (which: "before" | "now") => services.flatMap((change) => change[which]?.table ?? []);
    this.#retired.update(tables("before"), tables("now"));
    this.#publication = next;
    this.#config = next.config ?? this.#config;
    this.#gone.update(listeners);
    for (const change of services) this.#setService(change);
    this.#setSweep();
    queueMicrotask(() => this.#declareEmpty()); // not within `update`: its caller must finish publishing first
    await this.#setListeners(listeners);
  }

  isListenerFree(index: number): boolean {
    if (this.#publication.listeners[index] !== undefined) return false;
    const isAccepting = this.#accepting.values().some(({ place }) => place.index === index);
    return !isAccepting && this.#options.counters.getOfListener(index, "listenerOpen") === 0;
  }

  isServiceFree(index: number): boolean {
    const { counters } = this.#options;
    const isAccepting = this.#accepting.values().some(({ place }) => leadsTo(place, index));
    if (isAccepting || this.#gone.leadTo(index, (listener) => counters.getOfListener(listener, "listenerAwaiting"))) return false;
    return counters.getOfService(index, "serviceOpen") === 0;
  }

  hasTurned(): boolean {
    return true; // there is one loop, and whoever asks is called from it
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

  connection(id: number): OpenConnection | undefined {
    return this.#connections.get(id);
  }

  sendToOwner(id: number): void {
    this.#connections.get(id)?.goToOwner();
  }

  closeConnection(id: number): Promise<CloseOutcome> {
    const connection = this.#connections.get(id);
    connection?.end("closed", true);
    return Promise.resolve({ kind: "ended", fate: connection && "closed" });
  }

  async moveConnection(id: number, wish: MoveWish): Promise<MoveOutcome> {
    return await this.#connections.get(id)?.move(wish) ?? { kind: "ended", fate: undefined };
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    for (const listener of this.#accepting.keys()) listener[Symbol.dispose]();
    this.#stopped.resolve();
    await Promise.all(this.#accepting.values().map(({ over }) => over));
    this.#places.close("stopped", this.#placeHost);
    this.#holds.close("stopped", this.#holdHost);
    clearTimeout(this.#waitingTimer);
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

  #requireEmpty(index: number, now: EngineService | undefined): void {
    const isUsed = now === undefined && this.#options.counters.getOfService(index, "serviceOpen") > 0;
    assert(!isUsed, "a service with connections cannot go");
  }

  /** A service has changed: its open connections are counted by its new limits, and have its new keep-alive. */
  #setService({ index, before, now }: Change<EngineService>): void {
    const { gate } = this.#context;
    const keepsKeys = gate.keepsKeys(index, now?.config);
    const isOtherKeepAlive = before !== undefined && now !== undefined && before.config.keepAliveMs !== now.config.keepAliveMs;
    const own = keepsKeys && !isOtherKeepAlive ? [] : this.#all().filter(({ service }) => service === index);
    if (!keepsKeys) { for (const connection of own) connection.uncount(); }
    gate.set(index, now?.config, now?.lists);
    this.#holds.set(index, { holdMs: now?.config.holdMs ?? 0, waiting: now?.waiting }, performance.now());
    if (now?.waiting === "parked") this.#leaveAll(({ service }) => service === index);
    if (!keepsKeys) { for (const connection of own) connection.count(); }
    if (isOtherKeepAlive) { for (const connection of own) connection.changeKeepAlive(); }
  }

  /** Looks for idle connections as often as the shortest timeout of a service asks for. */
  #setSweep(): void {
    let timeoutMs = Infinity;
    for (const { idleTimeoutMs, firstByteTimeoutMs } of this.#configs()) {
      timeoutMs = Math.min(timeoutMs, idleTimeoutMs, firstByteTimeoutMs || Infinity);
    }
    const sweepMs = Math.min(Math.max(IDLE_SWEEP_MIN_MS, timeoutMs / IDLE_SWEEPS_PER_TIMEOUT), TIMER_MAX_MS);
    if (sweepMs === this.#sweepMs || this.#stopping) return;
    this.#sweepMs = sweepMs;
    clearInterval(this.#sweep);
    this.#sweep = setInterval(() => this.#endIdle(), sweepMs);
  }

  *#configs(): Generator<ServiceEngineConfig, void, undefined> {
    for (const service of this.#publication.services) if (service !== undefined) yield service.config;
  }

  async #setListeners(changes: Changes["listeners"]): Promise<void> {
    const leaving = leavingBy(changes);
    for (const { index, now } of changes) {
      if (now === undefined) continue;
      const { listener } = now;
      const place = { index, ...now };
      const accepting = this.#accepting.get(listener);
      if (accepting !== undefined) accepting.place = place;
      else if (this.#stopping) listener[Symbol.dispose]();
      else this.#accept(listener, place);
    }
    await Promise.all(leaving.map(({ listener }) => this.#close(listener)));
  }

  #accept(listener: Listener, place: Accepting["place"]): void {
    const accepting: Accepting = { place, accepted: 0, isClosed: false, over: Promise.resolve() };
    this.#accepting.set(listener, accepting);
    accepting.over = this.#acceptAll(listener, accepting);
  }

  /** Closes a listener once nobody comes any more: those who wait in its queue come at once. */
  async #close(listener: Listener): Promise<void> {
    const accepting = this.#accepting.get(listener);
    if (accepting === undefined) return;
    for (let before = -1; accepting.accepted !== before;) {
      before = accepting.accepted;
      await this.#pause(QUEUE_EMPTY_MS);
    }
    accepting.isClosed = true;
    listener[Symbol.dispose]();
    await accepting.over;
    this.#accepting.delete(listener);
  }

  async #acceptAll(listener: Listener, accepting: Accepting): Promise<void> {
    assert(listener instanceof StreamsListener, "a listener of another engine");
    const backoff = new AcceptBackoff();
    while (!this.#stopping && !accepting.isClosed) {
      try {
        const client = await listener.socket.accept();
        accepting.accepted++;
        this.#serve(client, accepting.place);
      } catch (error) {
        if (this.#stopping || accepting.isClosed) return;
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

  #serve(socket: Deno.TcpConn, { index: listener, service: first, routes, portOffset }: Accepting["place"]): void {
    const { counters } = this.#options;
    const service = routes === undefined ? first : NO_SERVICE;
    const client: Client = { id: ++this.#lastId, client: socket, listener, service, first, portOffset };
    const open = counters.addAccepted(client.service, client.listener);
    const connection = new StreamsConnection(client, this.#context);
    this.#connections.set(connection.id, connection);
    if (!lacksPlace(counters, open, this.#config)) return void connection.run();
    if (enqueue(counters, this.#config)) return this.#places.join(connection.id, performance.now());
    counters.add("limitBalancer");
    connection.end("refused_limit");
  }

  #forget(connection: StreamsConnection, ended: EndedConnection): void {
    this.#places.forget(connection.id);
    this.#options.counters.lowerOpen(ended.service, ended.listener);
    this.#places.poke(performance.now());
    this.#connections.delete(connection.id);
    this.#options.onEnded(ended);
    if (this.#stopping && this.#connections.size === 0) this.#emptied.resolve();
  }

  /** Has those who wait looked at when that is due. */
  #serveWaitingLater(): void {
    const dueMs = Math.min(this.#holds.dueMs, this.#places.dueMs);
    if (dueMs >= this.#waitingTimerMs || this.#stopping) return;
    clearTimeout(this.#waitingTimer);
    this.#waitingTimerMs = dueMs;
    this.#waitingTimer = setTimeout(() => {
      this.#waitingTimerMs = Infinity;
      this.#places.look(performance.now(), this.#config, this.#placeHost);
      this.#holds.look(performance.now(), this.#holdHost);
      this.#serveWaitingLater();
    }, Math.max(0, dueMs - performance.now()));
  }

  #declareEmpty(): void {
    for (const slot of this.#retired.takeEmpty((slot) => this.isEmpty(slot))) this.#options.onServerEmpty(slot);
  }

  #endIdle(): void {
    const nowMs = performance.now();
    for (const connection of this.#all()) {
      const { idleTimeoutMs, firstByteTimeoutMs } = connection.config;
      if (connection.isIdle(nowMs - idleTimeoutMs)) connection.end("idle_timeout");
      else if (connection.isSilent(nowMs - (firstByteTimeoutMs || Infinity))) connection.end("first_byte_timeout");
    }
  }

  /** Has these connections leave their servers where they may, now or later. */
  #leaveAll(isMeant: (connection: StreamsConnection) => boolean): void {
    for (const connection of this.#all()) if (isMeant(connection)) connection.vacate(connection.slot);
    this.#lookLater();
  }

  /** Sets a timer to try again to move connections that should leave their servers, if there are any. */
  #lookLater(): void {
    if (this.#look !== undefined || !this.#all().some(({ isDraining }) => isDraining)) return;
    let quietMs = Infinity;
    for (const config of this.#configs()) quietMs = Math.min(quietMs, config.quietMs);
    const ms = Math.min(Math.max(LOOK_MIN_MS, quietMs * LOOK_PER_QUIET), LOOK_MAX_MS);
    this.#look = setTimeout(() => {
      this.#look = undefined;
      this.#leaveAll(({ isDraining }) => isDraining);
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
