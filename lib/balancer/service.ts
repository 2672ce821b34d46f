/**
 * One service while it runs: its pool, the servers that are being removed, who of them may get clients, its routing table and its
 * listeners. A change comes as the saved service that is to be; it is prepared, and taken over once it is saved.
 */

import { type Address, formatAddress, reaches } from "../values/address.ts";
import { type CheckCa, formatCheck, formatCheckCa } from "../values/check_spec.ts";
import { parseClient } from "../values/client_name.ts";
import { LIMITS, parseServiceConfig, type ServiceConfig } from "../values/config.ts";
import { didYouMean } from "../values/did_you_mean.ts";
import { OperatorError } from "../values/errors.ts";
import { countFates } from "../values/fates.ts";
import { formatListener } from "../values/listener_text.ts";
import type { SavedListener, SavedServer, SavedService } from "../values/saved_state.ts";
import { type AvailabilityTable, SERVER_STATES, type ServerState } from "../routing/availability.ts";
import { explainClient, type Explanation } from "../routing/explain.ts";
import { pictureRing, type RingPicture } from "../routing/ring_picture.ts";
import { type Plan, planChange, type PoolChange } from "../routing/plan.ts";
import type { Load } from "../routing/route.ts";
import type { ServiceTransition } from "../routing/state_plan.ts";
import { tableFigures, tableFingerprint } from "../routing/table_figures.ts";
import type { TierRange } from "../routing/tiers.ts";
import { emptyTable, type RoutingTable, type TableServer } from "../routing/routing_table.ts";
import type { TrafficFailure } from "../routing/early_loss.ts";
import { Admission, type KnownCondition, type ServerCondition } from "../health/admission.ts";
import type { Authorities } from "../health/authorities.ts";
import { counterOf, runCheck } from "../health/check.ts";
import type { CheckStep } from "../health/check_steps.ts";
import type { CheckBudget } from "../health/check_budget.ts";
import { runnable } from "../health/health.ts";
import type { Counters } from "../observe/counters.ts";
import type { Events } from "../observe/events.ts";
import { liveLoad } from "../observe/live_load.ts";
import { logger } from "../observe/log.ts";
import type { Series } from "../observe/series.ts";
import type { Engine, EngineKind, EngineService, OpenConnection } from "../engine/engine.ts";
import type { Leftover } from "./carried_state.ts";
import { ListFiles, type Reloaded } from "./list_files.ts";
import { isSameListener, type Listeners, type Listening } from "./listeners.ts";
import { type DrainWatch, watchedServer } from "./drain_watch.ts";
import type { HomingService } from "./homing.ts";
import { makePoolServer, type PoolServer } from "./pool_server.ts";
import { Pause } from "./pause.ts";
import { Rebalancer } from "./rebalance.ts";
import { Removals, type Removing } from "./removals.ts";
import { addedEvent, conditionEvent, rebalancedEvent, removedEvent, tiersEvent } from "./pool_events.ts";
import { logCondition, logTiers } from "./pool_log.ts";
import type { Slots } from "./slots.ts";
import { toSaved } from "./state_file.ts";
import { tableOf, transitionTo } from "./transitions.ts";
import type { CheckReport, ConnectFailure, HoldView, RingView, ServerView, ServiceView } from "./views.ts";

/** What a service needs of the balancer that it is part of. */
export interface ServiceHost {
  readonly counters: Counters;
  readonly events: Events;
  readonly series: Series;
  readonly drains: DrainWatch;
  readonly availabilities: AvailabilityTable;
  readonly slots: Slots<Service>;
  readonly listeners: Listeners;
  readonly authorities: Authorities;
  readonly budget: CheckBudget;
  readonly ownIps: () => readonly string[];
  /** Addresses that other services listen on. */
  readonly addresses: () => readonly Address[];
  readonly engine: () => Engine;
  /** Throws an operator error if this machine does not allow what the settings ask of the engine. */
  readonly checkConfig: EngineKind["checkConfig"];
  /** Called when the pause of a service has ended by itself: the engine must be told. */
  readonly onPauseOver: (service: Service) => void;
}

/** How a change is prepared. */
export interface PrepareOptions {
  /** What error messages begin with. */
  readonly cannot: string;
  /** How long connections of removed servers have. */
  readonly drainMs: number;
  /**
   * Present at the start: a listener that cannot be opened is kept with its fault, and authorities are loaded already. What is
   * known of servers, by name.
   */
  readonly start?: { readonly known: ReadonlyMap<string, KnownCondition> };
}

/** A prepared change. */
export interface Step {
  /** What is to be saved: listeners have their real ports. */
  readonly saved: SavedService;
  /** Undoes the preparation. */
  abandon(): void;
  /** Takes the change over: it is saved, and the engine does not have it yet. */
  adopt(): void;
  /** What follows once the engine has it. */
  finish(): void;
}

/** Figures of a routing table, computed when they are first shown. */
interface Shown {
  readonly table: RoutingTable;
  readonly shares: ReadonlyMap<string, number>;
  readonly ring: RingView;
}

/** The most servers that one change adds and that are told of one by one. */
const ADDED_TOLD_MAX = 20;

type Pool = ReadonlyMap<string, PoolServer>;

/** What a service is at a moment. Immutable. */
interface Present {
  readonly saved: SavedService;
  readonly config: ServiceConfig;
  readonly lists: ListFiles;
  readonly pool: Pool;
  readonly table: RoutingTable;
  readonly listening: readonly Listening[];
  readonly published: EngineService;
}

const log = logger("pool");

/** A service. */
export class Service implements Disposable {
  readonly name: string;
  /** The engine's number of it. */
  readonly index: number;
  readonly #host: ServiceHost;
  readonly #admission: Admission;
  readonly #removals: Removals;
  readonly #rebalancer: Rebalancer;
  readonly #pause: Pause;
  /** By slot. */
  readonly #failures = new Map<number, ConnectFailure>();
  #now: Present;
  #isLeaving = false;
  #shown: Shown | undefined;
  /** What the engine is to have while the service is paused or leaves, and of what that was made. */
  #waiting: { readonly of: EngineService; readonly published: EngineService } | undefined;

  private constructor(host: ServiceHost, index: number, present: Present) {
    const { counters, availabilities, authorities } = host;
    this.#host = host;
    this.index = index;
    this.name = present.saved.name;
    this.#now = present;
    this.#removals = new Removals(counters);
    this.#admission = new Admission({
      config: present.config,
      availabilities,
      budget: host.budget,
      service: index,
      serviceOf: (slot) => ({
        connects: counters.getOf(slot, "connects"),
        receivedBytes: counters.getOf(slot, "receivedBytes"),
      }),
      trustOf: (ca) => authorities.trustOf(ca),
      onChange: (server, condition) => this.#onCondition(server, condition),
      onTiers: (range, usable) => this.#onTiers(range, usable),
      onChecked: (slot, result) => counters.addTo(slot, counterOf(result)),
      onSilent: (slot, { silentMs, sinceHealthyMs }) => host.engine().lose(slot, silentMs, sinceHealthyMs),
    });
    const service = this as Service;
    this.#pause = new Pause(() => host.onPauseOver(this));
    this.#rebalancer = new Rebalancer({
      get policy() {
        return service.config;
      },
      engine: {
        connections: () => this.#connections(),
        sendToOwner: (id) => host.engine().sendToOwner(id),
      },
      service: () => this.homing,
      onStart: () => this.#admission.chooseTiers(),
      onEnd: (rebalance) => host.events.add(rebalancedEvent(this.name, rebalance)),
    });
  }

  /** A service that listens nowhere yet, has no servers, and has the default settings: all that it is to be is a change. */
  static async make(host: ServiceHost, index: number, name: string): Promise<Service> {
    const config = parseServiceConfig();
    const lists = await ListFiles.load(config);
    const table = emptyTable(config.key, config.loadBound, config.policy);
    const published = { table, config, lists: lists.lists };
    const saved = { name, settings: {}, listeners: [], servers: [] };
    return new Service(host, index, { saved, config, lists, pool: new Map(), table, listening: [], published });
  }

  get config(): ServiceConfig {
    return this.#now.config;
  }

  /** What the engine is to have; the same object as long as nothing changes. */
  get published(): EngineService {
    const { published } = this.#now;
    const pause = this.#pause.view;
    const waiting = this.#isLeaving ? "ended" : pause === undefined ? undefined : pause.idle ? "parked" : "paused";
    if (waiting === undefined) return published;
    const before = this.#waiting;
    if (before?.of === published && before.published.waiting === waiting) return before.published;
    this.#waiting = { of: published, published: { ...published, waiting } };
    return this.#waiting.published;
  }

  /** Keeps new clients waiting, or no longer. The engine is to be told. */
  get pause(): Pause {
    return this.#pause;
  }

  /** Those of its clients who wait for a server, for how long they may, and why it may last. */
  get hold(): HoldView {
    const waiting = this.#host.counters.getOfService(this.index, "serviceWaiting");
    return { waiting, timeMs: this.config.holdMs, pause: this.#pause.view ?? null };
  }

  /** The service as it is to be saved. */
  get saved(): SavedService {
    return this.#now.saved;
  }

  /** Where it listens, or could not. */
  get listening(): readonly Listening[] {
    return this.#now.listening;
  }

  /** What says where the homes of its connections are, at this moment. */
  get homing(): HomingService {
    return { table: this.#now.table, load: this.#load, rules: this.config };
  }

  /** Moves connections to their owners. */
  get rebalancer(): Rebalancer {
    return this.#rebalancer;
  }

  /** Whether it has left the state. */
  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  /** Whether it has left the state and has no connection any more. */
  get isGone(): boolean {
    return this.#isLeaving && this.#removals.size === 0 && this.#host.engine().isServiceFree(this.index);
  }

  /** The interval between two checks of a server. */
  get checkIntervalMs(): number {
    return this.#admission.checkIntervalMs;
  }

  /**
   * Prepares the change to this saved service. Throws an operator error if it is not allowed; nothing is then changed. Between
   * `prepare` and the step's end nothing else may change the service.
   */
  async prepare(after: SavedService, options: PrepareOptions): Promise<Step> {
    const undo: (() => void)[] = [];
    try {
      return await this.#prepare(after, options, undo);
    } catch (error) {
      for (const step of undo.toReversed()) step();
      throw error;
    }
  }

  /** Prepares the end of the service: no listeners, and its servers are removed. */
  async prepareEnd(options: PrepareOptions): Promise<Step> {
    const step = await this.prepare({ ...this.#now.saved, listeners: [], servers: [] }, options);
    return {
      ...step,
      adopt: () => {
        this.#isLeaving = true;
        step.adopt();
      },
      finish: () => {
        step.finish();
        this.setDrainTimes(options.drainMs); // also of servers that were being removed before
      },
    };
  }

  /** Every server: those of the pool by name, then those that are being removed. */
  list(): ServerView[] {
    return this.#servers().map((server) => this.#view(server));
  }

  /** The same servers for the metrics, without their shares, which take long where there are many services. */
  measured(): Pick<ServerView, "server" | "slot" | "state" | "weight">[] {
    return this.#servers().map(({ name, slot, weight }) => ({
      server: name,
      slot,
      weight,
      state: this.#admission.conditionOf(slot).state,
    }));
  }

  /** Whether a server with this name is in the pool or being removed. */
  hasServer(name: string): boolean {
    return this.#now.pool.has(name) || this.#removals.get(name) !== undefined;
  }

  /** One server, of the pool or being removed. Throws `unknown` if there is none with this name. */
  get(name: string): ServerView {
    return this.#view(this.#now.pool.get(name) ?? this.#removals.get(name)?.server ?? this.inPool(name, "show"));
  }

  /** The service as the API shows it. */
  view(): ServiceView {
    const { counters } = this.#host;
    return {
      service: this.name,
      listeners: this.#now.listening.map(({ saved, fault }) => ({ listener: formatListener(saved), fault })),
      settings: this.#now.saved.settings,
      servers: this.countServers(),
      open: counters.getOfService(this.index, "serviceOpen"),
      accepted: counters.getOfService(this.index, "serviceAccepted"),
      hold: this.hold,
      fingerprint: this.fingerprint,
      removing: this.#isLeaving,
    };
  }

  /** A server of the pool. Throws `unknown` if there is none with this name. */
  inPool(name: string, verb: string): PoolServer {
    const { pool } = this.#now;
    const server = pool.get(name);
    if (server !== undefined) return server;
    const quoted = JSON.stringify(name);
    if (this.#removals.get(name) !== undefined) {
      throw new OperatorError("unknown", `Cannot ${verb} server ${quoted}: it is being removed; add it again to keep it`);
    }
    const wayOut = didYouMean(name, pool.keys()) ?? "balancerctl list shows the servers";
    throw new OperatorError("unknown", `Server ${quoted} is not in the pool: ${wayOut}`);
  }

  /**
   * Checks a server of the pool now. Changes nothing: only the checks at their interval decide its state. Where checks are off, it
   * is a connection. Throws `unknown` if there is no such server.
   */
  async check(name: string): Promise<CheckReport> {
    const server = this.inPool(name, "check");
    const check = runnable(server.check);
    const steps: CheckStep[] = [];
    const startedMs = performance.now();
    const result = await runCheck(check, server.address, this.config.checkTimeoutMs, {
      trustOf: (ca) => this.#host.authorities.trustOf(ca),
      onStep: (step) => steps.push(step),
    });
    return {
      server: name,
      check: formatCheck(check.question),
      asked: formatAddress({ host: server.address.host, port: check.port ?? server.address.port }),
      steps,
      verdict: !result.passed ? "failed" : result.asksToDrain ? "asks to be drained" : "passed",
      reason: result.passed ? null : result.reason,
      durationMs: performance.now() - startedMs,
    };
  }

  /** The fingerprint of the ring. There may be many services: it is had without the other figures. */
  get fingerprint(): string {
    const { table } = this.#now;
    return this.#shown?.table === table ? this.#shown.ring.fingerprint : tableFingerprint(table);
  }

  /** The figures of the ring, computed on the first call after a change. */
  ring(): RingView {
    return this.#show().ring;
  }

  /** The number of servers in each state. */
  countServers(): Record<ServerState, number> {
    const counts = Object.fromEntries(SERVER_STATES.map((state) => [state, 0])) as Record<ServerState, number>;
    counts.removing = this.#removals.size;
    for (const { slot } of this.#now.pool.values()) counts[this.#admission.conditionOf(slot).state]++;
    return counts;
  }

  /** What is to be known of the servers after a restart: of those that are not up, by name. */
  known(): ReadonlyMap<string, KnownCondition> {
    const known = new Map<string, KnownCondition>();
    for (const { name, slot } of this.#now.pool.values()) {
      const one = this.#admission.knownOf(slot);
      if (one !== undefined) known.set(name, one);
    }
    return known;
  }

  /** The ring in `bins` parts; `change` is a change of the pool to draw as well. Throws like `plan`. */
  picture(bins: number, change?: PoolChange): RingPicture {
    if (change !== undefined) this.#requirePlannable(change);
    return pictureRing({ table: this.#now.table, load: this.#load, bins, change });
  }

  /** Predicts a change. Throws `unknown` or `conflict` if the change is impossible. */
  plan(change: PoolChange): Plan {
    this.#requirePlannable(change);
    return planChange({
      table: this.#now.table,
      change,
      policy: this.config,
      load: this.#load,
      connections: this.#connections(),
      tierRules: this.config,
    });
  }

  /**
   * What the change to another saved service would do, as `planState` takes it; undefined: to none. `lines`: what differs, in
   * words.
   */
  transitionTo(after: SavedService | undefined, lines: readonly string[]): ServiceTransition {
    const { table, pool, config } = this.#now;
    return transitionTo(after, lines, {
      name: this.name,
      table,
      config,
      slotOf: (name) => pool.get(name)?.slot,
      load: this.#load,
      connections: this.#connections(),
    });
  }

  /** Explains which server this client would get now. Throws a `usage` error if the text is not the address of a client. */
  explain(client: string, successorsMax: number): Explanation & { readonly client: string } {
    const parsed = parseClient(client, this.config.key);
    const stateOf = (slot: number) => this.#admission.conditionOf(slot).state;
    const { counters, availabilities } = this.#host;
    const load = liveLoad(counters, availabilities, this.index, 1);
    return {
      client: parsed.client,
      ...explainClient({ table: this.#now.table, load, key: parsed.key, stateOf, successorsMax }),
    };
  }

  /** The removal of a server; undefined if the server is not being removed. */
  removalOf(name: string): Removing | undefined {
    return this.#removals.get(name);
  }

  /** The servers that are being removed, as another process has to know them. */
  leftovers(): Leftover[] {
    return this.#removals.all().map(({ server: { name, settings }, endsAtMs }) => ({
      service: this.name,
      server: toSaved(name, settings, true),
      drainMs: Math.max(0, Math.round(endsAtMs - performance.now())),
    }));
  }

  /** The slots of all servers and their names. */
  slots(): (readonly [slot: number, server: string])[] {
    return this.#servers().map(({ slot, name }) => [slot, name]);
  }

  /** Sets the drain time of a server that is being removed, from now on. */
  setDrainTime(removing: Removing, drainMs: number): void {
    const { slot } = removing.server;
    clearTimeout(removing.timer);
    removing.timer = undefined;
    removing.endsAtMs = performance.now() + drainMs;
    if (drainMs === 0) this.#expireRemoval(slot);
    else {
      removing.timer = setTimeout(() => {
        removing.timer = undefined;
        this.#expireRemoval(slot);
      }, drainMs);
    }
    this.#finishRemoval(slot);
  }

  /** Sets the drain time of all servers that are being removed, from now on. */
  setDrainTimes(drainMs: number): void {
    for (const { name } of this.#removals.servers()) this.setDrainTime(this.#removals.get(name)!, drainMs);
  }

  /** A client's connection to the server with this slot has failed. */
  trafficFailed(slot: number, reason: string, kind: TrafficFailure): void {
    this.#failures.set(slot, { at: new Date(), reason });
    this.#admission.trafficFailed(slot, reason, kind);
  }

  /** The engine has found a server that is no longer in any table empty. */
  onServerEmpty(slot: number): void {
    this.#finishRemoval(slot, true);
  }

  /** Opens the listeners that could not be opened before. Returns those that are open now. */
  openFailed(): SavedListener[] {
    const { listeners } = this.#host;
    const service = { index: this.index, name: this.name, config: this.config };
    const opened: SavedListener[] = [];
    const listening = this.#now.listening.map((one) => {
      if (one.fault === null) return one;
      const again = listeners.tryToOpen(one.saved, service);
      listeners.adopt(again, service);
      if (again.fault === null) opened.push(again.saved);
      return again;
    });
    this.#now = { ...this.#now, listening };
    return opened;
  }

  /** Reads the files of its lists again. Returns what became of each, and whether the engine must be told. */
  async reloadLists(): Promise<readonly Reloaded[]> {
    const { lists } = this.#now;
    const reloaded = await lists.reload();
    if (reloaded.length > 0) this.#now = { ...this.#now, published: { ...this.#now.published, lists: lists.lists } };
    return reloaded;
  }

  [Symbol.dispose](): void {
    this.#rebalancer[Symbol.dispose]();
    this.#pause[Symbol.dispose]();
    this.#admission[Symbol.dispose]();
  }

  async #prepare(after: SavedService, options: PrepareOptions, undo: (() => void)[]): Promise<Step> {
    const before = this.#now;
    const config = after.settings === before.saved.settings ? before.config : parseServiceConfig(after.settings);
    if (options.start === undefined && ofEngine(config) !== ofEngine(before.config)) this.#host.checkConfig(config);
    const lists = config === before.config ? before.lists : await ListFiles.load(config);
    const pool = this.#nextPool(after.servers, config, options, undo);
    requireWeights(pool, options.cannot);
    if (options.start === undefined) await this.#loadTrust(pool, config);
    const listening = this.#nextListening(after.listeners, config, options, undo);
    this.#refuseLoops(pool, listening);
    const saved = { ...after, listeners: listening.map(({ saved }) => saved) };
    const table = nextTableOf(before, pool, config);
    const published = table === before.table && config === before.config ? before.published : { table, config, lists: lists.lists };
    const next: Present = { saved, config, lists, pool, table, listening, published };
    return {
      saved,
      abandon: () => undo.toReversed().forEach((step) => step()),
      adopt: () => this.#adopt(before, next, options),
      finish: () => this.#finish(before, next, options),
    };
  }

  #adopt(before: Present, next: Present, { start }: PrepareOptions): void {
    this.#now = next;
    if (next.config !== before.config) this.#admission.configure(next.config);
    for (const [name, server] of next.pool) {
      if (before.pool.has(name)) continue;
      this.#removals.cancelHeld(name);
      this.#failures.delete(server.slot);
      // before the first question about its state
      this.#admission.enter(server, server.check, { draining: server.draining, known: start?.known.get(name) });
    }
    if (start !== undefined) this.#admission.chooseTiers(); // not by the order in which the servers have entered
    // Before the engine has the table: it reports an empty server only once, possibly before every thread has the table.
    for (const server of removedFrom(before.pool, next.pool)) this.#removals.begin(server);
    const { listeners } = this.#host;
    listeners.withdraw(before.listening.flatMap(({ indexes }) => indexes), this.index);
    for (const listening of next.listening) listeners.adopt(listening, { index: this.index, name: this.name, config: next.config });
  }

  #finish(before: Present, next: Present, { drainMs }: PrepareOptions): void {
    const engine = this.#host.engine();
    this.#noteAdded([...next.pool.keys().filter((name) => !before.pool.has(name))]);
    for (const [name, server] of next.pool) {
      const old = before.pool.get(name);
      if (old === undefined || old === server) continue;
      this.#admission.change(server, server.check);
      if (server.draining && !old.draining) this.#admission.drain(server.slot);
      if (!server.draining && old.draining) this.#admission.undrain(server.slot);
      if (server.draining !== old.draining) this.#noteCondition(server);
      if (server.draining) engine.vacate(server.slot);
    }
    for (const { name, slot } of removedFrom(before.pool, next.pool)) {
      const removing = this.#removals.get(name);
      if (removing?.server.slot !== slot) continue; // it had no connections
      log.info("Removed server {server}; it has {open} open connections", { server: name, open: removing.openBefore });
      this.#admission.remove(slot);
      this.#noteCondition(removing.server);
      engine.vacate(slot);
      this.setDrainTime(removing, drainMs);
    }
  }

  /** The servers that are to be; those that stay as they are are the same objects. */
  #nextPool(servers: readonly SavedServer[], config: ServiceConfig, { cannot }: PrepareOptions, undo: (() => void)[]): Pool {
    const { pool: before, config: configBefore, saved } = this.#now;
    const savedBefore = new Map(saved.servers.map((server) => [server.server, server]));
    const pool = new Map<string, PoolServer>();
    for (const server of servers) {
      const old = before.get(server.server);
      const isSame = config === configBefore && isEqual(server, savedBefore.get(server.server));
      if (old !== undefined && isSame) pool.set(old.name, old);
      else pool.set(server.server, makePoolServer(server, config, old?.slot ?? this.#slotFor(server.server, cannot, undo)));
    }
    return pool;
  }

  /** The slot for a server that enters: that of its removal if it is being removed. */
  #slotFor(name: string, cannot: string, undo: (() => void)[]): number {
    const { slots, counters } = this.#host;
    const removing = this.#removals.hold(name);
    if (removing !== undefined) {
      undo.push(() => this.#goOnWith(removing));
      return removing.server.slot;
    }
    if (slots.taken >= LIMITS.serversMax) {
      const why = `the pool is at its limit of ${LIMITS.serversMax} servers; remove one first`;
      throw new OperatorError("conflict", `${cannot}: ${why}`);
    }
    const slot = slots.take(this);
    counters.clearSlot(slot);
    undo.push(() => slots.give(slot));
    return slot;
  }

  /** A server that was to be added again is still being removed; its drain time may have ended meanwhile. */
  #goOnWith(removing: Removing): void {
    this.#removals.goOn(removing);
    if (removing.timer === undefined) this.#expireRemoval(removing.server.slot);
    this.#finishRemoval(removing.server.slot);
  }

  /** Opens what is new, and keeps what stays. */
  #nextListening(
    listeners: readonly SavedListener[],
    config: ServiceConfig,
    { start }: PrepareOptions,
    undo: (() => void)[],
  ): Listening[] {
    const { listeners: all } = this.#host;
    const service = { index: this.index, name: this.name, config };
    return listeners.map((saved) => {
      const old = this.#now.listening.find((listening) => isSameListener(listening.saved, saved));
      if (old?.fault === null) return old;
      // One that had a fault before is no reason to refuse a change of something else.
      const mayFail = start !== undefined || old !== undefined;
      const listening = mayFail ? all.tryToOpen(saved, service) : all.open(saved, service);
      undo.push(() => all.discard(listening));
      return listening;
    });
  }

  /**
   * Reads the authorities that new or changed checks need. Those that did not change must not fail with a file that is gone. Throws
   * an operator error if they cannot be used.
   */
  async #loadTrust(pool: Pool, config: ServiceConfig): Promise<void> {
    const { pool: before, config: configBefore } = this.#now;
    const needed = new Map<string, CheckCa>();
    const need = (ca: CheckCa) => needed.set(formatCheckCa(ca), ca);
    const isOther = formatCheckCa(config.checkCa) !== formatCheckCa(configBefore.checkCa);
    if (isOther && config.checkCa.kind === "file") need(config.checkCa);
    for (const [name, { check, settings }] of pool) {
      const old = before.get(name);
      const isNew = old === undefined || formatCheck(old.check.question) !== formatCheck(check.question) ||
        formatCheckCa(old.check.ca) !== formatCheckCa(check.ca);
      const isNamed = settings.checkCa !== null && settings.checkCa !== old?.settings.checkCa;
      if (isNew && check.question.kind === "https" || isNamed && check.ca.kind === "file") need(check.ca);
    }
    for (const ca of needed.values()) await this.#host.authorities.load(ca);
  }

  /** Throws `conflict` if a server is the balancer itself. */
  #refuseLoops(pool: Pool, listening: readonly Listening[]): void {
    const own = listening.flatMap(({ indexes }) => indexes.map((index) => this.#host.listeners.addressOf(index)));
    const isNewListener = listening.some((one) => !this.#now.listening.includes(one));
    const ownIps = this.#host.ownIps();
    const everywhere = [...own, ...this.#host.addresses()];
    for (const [name, server] of pool) {
      const addresses = this.#now.pool.has(name) ? isNewListener ? own : [] : everywhere;
      for (const address of addresses) refuseLoop(server.address, address, ownIps);
    }
  }

  /** Other tiers are in use. Where there is one tier it is no news, also while none of its servers is usable. */
  #onTiers(range: TierRange, usable: readonly number[]): void {
    if (this.#now.table.tiers.length <= 1) return;
    logTiers(range, usable);
    this.#host.events.add(tiersEvent(this.name, range));
  }

  /** Checks or traffic have changed the condition of a server. */
  #onCondition(server: TableServer, condition: ServerCondition): void {
    logCondition(server.name, condition);
    this.#noteCondition(server, condition);
    if (condition.state === "draining") this.#host.engine().vacate(server.slot);
  }

  #noteAdded(names: readonly string[]): void {
    const { events } = this.#host;
    if (names.length <= ADDED_TOLD_MAX) { for (const name of names) events.add(addedEvent(this.#named(name))); }
    else events.add({ kind: "server", service: this.name, text: `${names.length} more servers are in the pool` });
  }

  #noteCondition({ name, slot }: TableServer, condition = this.#admission.conditionOf(slot)): void {
    const { counters, drains, events } = this.#host;
    const now = watchedServer(counters, { ...this.#named(name), slot, state: condition.state });
    events.add(conditionEvent(this.#named(name), condition, now.open));
    if (condition.state === "draining" || condition.state === "removing") drains.begin(now, performance.now());
  }

  #named(server: string): { readonly service: string; readonly server: string } {
    return { service: this.name, server };
  }

  /** Ends the drain time of the server with this slot, if it is still being removed. */
  #expireRemoval(slot: number): void {
    if (this.#removals.ofSlot(slot) === undefined) return;
    this.#admission.expire(slot);
    this.#host.engine().vacate(slot);
  }

  /** Ends the removal of the server with this slot, if it is being removed and has no connection left. */
  #finishRemoval(slot: number, isEmpty = this.#host.engine().isEmpty(slot)): void {
    const removing = this.#removals.ofSlot(slot);
    if (removing === undefined || !isEmpty) return;
    this.#host.events.add(removedEvent(this.#named(removing.server.name), this.#removals.finish(removing)));
    this.#admission.forget(slot);
    this.#host.series.serverLeft(this.name, removing.server.name, slot);
    this.#host.slots.give(slot);
  }

  /** Those of the pool by name, then those that are being removed. */
  #servers(): PoolServer[] {
    const { table, pool } = this.#now;
    return [...table.servers.map(({ name }) => pool.get(name)!), ...this.#removals.servers()];
  }

  *#connections(): Generator<OpenConnection, void, undefined> {
    for (const connection of this.#host.engine().connections()) if (connection.service === this.index) yield connection;
  }

  #requirePlannable({ kind, server }: PoolChange): void {
    const cannot = `Cannot plan for server ${JSON.stringify(server)}`;
    if (kind !== "add") this.inPool(server, "plan for");
    else if (this.#now.pool.has(server)) {
      throw new OperatorError("conflict", `${cannot}: it is already in the pool; plan a weight or a removal`);
    }
  }

  get #load(): Load {
    const { counters, availabilities } = this.#host;
    return liveLoad(counters, availabilities, this.index);
  }

  #view({ name, slot, settings }: PoolServer): ServerView {
    const { counters } = this.#host;
    const count = (counter: Parameters<Counters["getOf"]>[1]) => counters.getOf(slot, counter);
    return {
      server: name,
      slot,
      ...this.#admission.conditionOf(slot),
      ...settings,
      nextCheckAt: this.#admission.nextCheckOf(slot),
      open: count("serverOpen"),
      movedAway: count("movedAway"),
      connects: count("connects"),
      connectFailures: count("connectFailures"),
      sentBytes: count("sentBytes"),
      receivedBytes: count("receivedBytes"),
      lastFailure: this.#failures.get(slot) ?? null,
      share: this.#show().shares.get(name) ?? 0,
      fates: countFates((fate) => counters.getOf(slot, fate)),
    };
  }

  #show(): Shown {
    const { table } = this.#now;
    if (this.#shown?.table === table) return this.#shown;
    const { shares, ...ring } = tableFigures(table);
    return this.#shown = { table, shares: new Map(table.servers.map(({ name }, index) => [name, shares[index]])), ring };
  }
}

/** The servers that were in the one pool and are not in the other. */
function removedFrom(before: Pool, after: Pool): PoolServer[] {
  return [...before.values().filter(({ name }) => !after.has(name))];
}

/** The table of this pool; the same as before if nothing that it depends on has changed. */
function nextTableOf({ table, pool: before, config: old }: Present, pool: Pool, config: ServiceConfig): RoutingTable {
  const isSamePool = pool.size === before.size && pool.values().every((server) => before.get(server.name) === server);
  if (isSamePool && config === old) return table;
  return tableOf(table, [...pool.values()], config);
}

/** What `checkConfig` checks, to compare: what did not change must not fail with an address that is gone. */
function ofEngine({ sources, transparent }: ServiceConfig): string {
  return JSON.stringify([sources, transparent]);
}

function requireWeights(pool: Pool, cannot: string): void {
  const total = pool.values().reduce((sum, { weight }) => sum + weight, 0);
  if (total <= LIMITS.weightTotalMax) return;
  const why = `the weights of the pool would add up to ${total}, and the limit is ${LIMITS.weightTotalMax}; use smaller weights`;
  throw new OperatorError("conflict", `${cannot}: ${why}`);
}

function refuseLoop(server: Address, listener: Address, ownIps: readonly string[]): void {
  if (!reaches(server, listener, ownIps)) return;
  const name = JSON.stringify(formatAddress(server));
  throw new OperatorError(
    "conflict",
    `Cannot use server ${name}: the balancer itself listens on that address; choose another port for one of them`,
  );
}

/** Whether two saved servers are the same. */
function isEqual(a: SavedServer, b: SavedServer | undefined): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
