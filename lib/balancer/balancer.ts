/**
 * The balancer: its services and every change of them. The only owner of mutable state. A change is a step from one saved state to
 * the next: it is validated, prepared, saved, published to the engine and only then answered, whole or not at all. Knows engines
 * only by their interface, and nothing of HTTP, sockets or flags.
 */

import { AccessLog } from "../observe/access_log.ts";
import type { LineOutput } from "../observe/line_buffer.ts";
import { type Address, formatAddress } from "../values/address.ts";
import { parseCheckCa } from "../values/check_spec.ts";
import { type DaemonConfig, DEFAULT_DRAIN_MS, DEFAULT_TEXT, LIMITS, type SettingTexts } from "../values/config.ts";
import { newStartId } from "../values/connection_id.ts";
import { plural } from "../values/count.ts";
import { formatDuration } from "../values/duration.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { formatListener } from "../values/listener_text.ts";
import type { SavedListener, SavedService, SavedState } from "../values/saved_state.ts";
import { SERVER_SETTINGS, type ServerSettingName, type ServerSettings } from "../values/server_settings.ts";
import { FATE_NAMES } from "../values/fates.ts";
import { isRefusal } from "../routing/client_limits.ts";
import { NO_SERVICE } from "../routing/name_routes.ts";
import { allocateAvailabilities, AvailabilityTable, SERVER_STATES, type ServerState } from "../routing/availability.ts";
import { Authorities } from "../health/authorities.ts";
import type { KnownCondition } from "../health/admission.ts";
import { CheckBudget } from "../health/check_budget.ts";
import { allocateCounters, type Counted, Counters } from "../observe/counters.ts";
import { logger } from "../observe/log.ts";
import { Events } from "../observe/events.ts";
import { type SampledService, Series } from "../observe/series.ts";
import { RecentEnds, type RecentFilter, type RecentList } from "../observe/recent.ts";
import type { Engine, EngineKind, Handover, Listener, ListenerConfig, Publication } from "../engine/engine.ts";
import type { Outcome } from "../routing/forecast.ts";
import { planState, type ServiceTransition, type StatePlan } from "../routing/state_plan.ts";
import type { DeclaredState } from "../values/declared_state.ts";
import { daemonLines, formatDifference, isSame, type ServiceDifference, type StateDifference } from "../values/state_difference.ts";
import { type DeclaredChange, type DeclaredOptions, withDeclared, withEarlier } from "./declared_change.ts";
import { type CarriedPause, type Figures, joinPlaces, type LastWords, type Leftover, type Places } from "./carried_state.ts";
import type { Generation } from "./history.ts";
import { Clients, type ClientsView } from "./clients.ts";
import type { Reloaded } from "./list_files.ts";
import type { DaemonParts } from "./daemon_parts.ts";
import { DaemonSettings } from "./daemon_settings.ts";
import { DrainWatch } from "./drain_watch.ts";
import type { StopTimes } from "./shutdown.ts";
import { Homing } from "./homing.ts";
import { Listeners } from "./listeners.ts";
import { OpenConnections } from "./open_connections.ts";
import type { PauseOptions } from "./pause.ts";
import type { Removal, Removing } from "./removals.ts";
import { type PrepareOptions, Service, type ServiceHost, type Step } from "./service.ts";
import type { MovedConnection } from "../observe/connections.ts";
import { commandEvent, refusedEvent, type Told, workerEvent } from "./pool_events.ts";
import { endLogger, moveLogger } from "./pool_log.ts";
import { Slots } from "./slots.ts";
import type { ChangeNote, StateStore } from "./state_store.ts";
import { transitionOfNew } from "./transitions.ts";
import type { ServerView, ServiceView } from "./views.ts";
import { Watch } from "./watch.ts";
import {
  requireNames,
  type ServerChange,
  unknownService,
  withChangedServer,
  withDaemon,
  withListener,
  withNewService,
  withoutListener,
  withoutServer,
  withoutService,
  withServer,
  withService,
  withSettings,
} from "./state_changes.ts";

/** Options of `Balancer.start`. */
export interface BalancerOptions {
  readonly engine: EngineKind;
  /** The settings of the daemon at first. */
  readonly config: DaemonConfig;
  /** What `--max-connections auto` means: how many the limit on open files allows. */
  readonly connectionsMax: number;
  /** What it begins with. */
  readonly state: SavedState;
  /** A service that must be able to listen. A listener of another one that cannot be opened is kept with its fault. */
  readonly required?: string;
  /** Limit on concurrent health checks. */
  readonly checksMax?: number;
  /** Listening sockets of another program, or of a process whose place this one takes; undefined: none for this address. */
  readonly inherited?: (address: Address, config: ListenerConfig) => Listener | undefined;
  /** Whether nobody is accepted before the engine is told to. */
  readonly isWaiting?: boolean;
  /** Pauses that have begun in another process. */
  readonly pauses?: readonly CarriedPause[];
  /** What is known of the servers of a service from before a restart, by name. */
  readonly known?: (service: string) => ReadonlyMap<string, KnownCondition>;
  /** The authorities that the HTTPS checks of this state trust. */
  readonly authorities?: Authorities;
  /** The IP addresses of this machine, to refuse servers that are the balancer itself. */
  readonly ownIps?: () => readonly string[];
  /** Where lines of the access log go at first; undefined: nowhere. */
  readonly accessOutput?: LineOutput;
  /** What else follows the settings of the daemon. */
  readonly parts?: DaemonParts;
  /** Where states are saved; undefined: nowhere. A change is not made if it cannot be saved. */
  readonly store?: Pick<StateStore, "save" | "list" | "load">;
}

/** A change of the state. */
interface Change extends ChangeNote, Told {
  /** What error messages begin with. */
  readonly cannot: string;
  readonly drainMs?: number;
  /** Whether it has been saved already, by another process: it is no new generation. */
  readonly isSaved?: boolean;
  /** Called when it is saved, before the engine has it. */
  readonly onAdopted?: () => void;
  /** What came of it, as clauses, once it is made; for the events. */
  readonly effect?: () => string[];
  /** The state after it. May throw an operator error. */
  readonly make: (state: SavedState) => SavedState;
}

/** A change of everything. */
interface Replacement extends UndoOptions {
  readonly make: (state: SavedState) => DeclaredChange;
}

/** Who changes everything, and whether somebody else may have changed something since. */
interface UndoOptions {
  /** Refuses with `conflict` if the balancer is at another generation. */
  readonly ifGeneration?: number;
  readonly who?: string;
}

/** How a declared state is applied. */
interface ApplyOptions extends DeclaredOptions, UndoOptions {
  /** The path of its file; undefined: it has none. */
  readonly file?: string;
}

/** A prepared change of one service. */
interface ServiceStep {
  readonly service: Service;
  readonly step: Step;
}

/** How long the last lines of the access log may take to be written. */
const LAST_LINES_MAX_MS = 1000;
/** How often counters are read that must fit together. */
const READINGS_MAX = 16;
/** How often removed services are looked at, and listeners that could not be opened are tried again. */
const GONE_MS = 100;
const RETRY_LISTEN_MS = 5000;

/** Outcomes of open connections that move. */
const MOVING: readonly Outcome[] = ["moves", "is replayed", "moves once it is quiet", "is replayed once it is quiet"];

const log = logger("pool");

/** A running balancer. Disposing of it stops it at once. */
export class Balancer implements AsyncDisposable {
  readonly counters: Counters;
  /** What has happened. */
  readonly events: Events;
  /** What was counted in each second of the last 15 minutes. */
  readonly series: Series;
  readonly #options: BalancerOptions;
  readonly #host: ServiceHost;
  readonly #slots: Slots<Service>;
  readonly #listeners: Listeners;
  readonly #startId = newStartId();
  readonly #recent = new RecentEnds(this.#startId);
  readonly #clients: Clients;
  /** Lists, ends and moves single connections. */
  readonly connections: OpenConnections;
  #engine: Engine | undefined;
  #homing: Homing | undefined;
  readonly #accessLog: AccessLog;
  readonly #daemon: DaemonSettings;
  #logEnd = endLogger(this.#startId);
  /** By index of the engine; a hole is free. Includes services that wait for their last connections. */
  readonly #services: (Service | undefined)[] = [];
  readonly #byName = new Map<string, Service>();
  #state: SavedState;
  #stopping = false;
  /** Why nothing may be changed now, as a clause. */
  #frozen: string | undefined;
  /** The end of the last change: changes are made one after another. */
  #lastChange: Promise<unknown> = Promise.resolve();
  readonly #drains = new DrainWatch();
  #watch: Watch | undefined;
  #goneTimer: ReturnType<typeof setInterval> | undefined;
  #retryTimer: ReturnType<typeof setInterval> | undefined;

  private constructor(options: BalancerOptions) {
    const { config, engine, connectionsMax: connectionsAuto, state, accessOutput, parts } = options;
    this.#options = options;
    this.#state = state;
    this.counters = new Counters(allocateCounters(engine.threads(config)));
    this.events = new Events(this.#startId);
    this.series = new Series({ startId: this.#startId, counters: this.counters });
    this.#clients = new Clients(this.counters);
    this.#slots = new Slots(this.counters.slots);
    this.#listeners = new Listeners({
      listen: (address, config) => options.inherited?.(address, config) ?? engine.listen(address, config),
      isFree: (index) => this.#engine?.isListenerFree(index) ?? true,
      onTaken: (index) => this.counters.clearListener(index),
    });
    this.#accessLog = new AccessLog({
      startId: this.#startId,
      placeOf: (listener, service) => this.#listeners.placeOf(listener, service),
      counters: this.counters,
    });
    this.connections = new OpenConnections({
      startId: this.#startId,
      engine: () => this.#engine!,
      services: () => [...this.services(), ...this.#leaving()],
      serviceAt: (index) => this.#services[index],
      listenerOf: (listener, service) => this.#listeners.placeOf(listener, service).listener,
      fateOf: (id) => this.#recent.find(id)?.fate,
    });
    this.#daemon = new DaemonSettings({
      config,
      connectionsAuto,
      accessLog: this.#accessLog,
      addresses: () => this.#listeners.addresses(),
      accessOutput,
      parts,
    });
    this.#host = {
      counters: this.counters,
      events: this.events,
      series: this.series,
      drains: this.#drains,
      availabilities: new AvailabilityTable(allocateAvailabilities(this.counters.slots)),
      slots: this.#slots,
      listeners: this.#listeners,
      authorities: options.authorities ?? new Authorities(),
      budget: new CheckBudget({ underWayMax: options.checksMax }),
      ownIps: options.ownIps ?? (() => []),
      addresses: () => this.#listeners.addresses(),
      engine: () => this.#engine!,
      checkConfig: (config) => engine.checkConfig(config),
      onPauseOver: (service) => this.#endPause(service),
    };
  }

  /**
   * Listens and serves. Throws an operator error for a state that is not allowed, and for an address of the required service that
   * it cannot listen on.
   */
  static async start(options: BalancerOptions): Promise<Balancer> {
    const balancer = new Balancer(options);
    try {
      await balancer.#begin();
      return balancer;
    } catch (error) {
      balancer.#listeners.closeAll();
      for (const service of balancer.#services) service?.[Symbol.dispose]();
      throw error;
    }
  }

  /** The number of the last change. */
  get generation(): number {
    return this.#state.generation;
  }

  /** The state as it is saved. */
  get state(): SavedState {
    return this.#state;
  }

  /** The most open connections. */
  get connectionsMax(): number {
    return this.#daemon.engineConfig.connectionsMax;
  }

  /** How it stops unless somebody says otherwise. */
  get stopTimes(): StopTimes {
    return this.#daemon.stopTimes;
  }

  /** Whether every thread has turned its loop (`Engine.hasTurned`). */
  hasTurned(): boolean {
    return this.#engine!.hasTurned();
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  /** The services by name, in the order of their names. */
  services(): Service[] {
    return this.#state.services.map(({ name }) => this.#byName.get(name)!);
  }

  /** The clients of all services who wait for a server. */
  get waiting(): number {
    return this.#services.reduce((sum, service) => sum + (service?.hold.waiting ?? 0), 0);
  }

  /** Every service, then those that were removed and wait for their last connections. */
  listServices(): ServiceView[] {
    return [...this.services(), ...this.#leaving()].map((service) => service.view());
  }

  /**
   * The service with this name; the only one where no name is given. Throws `unknown` if there is none with this name, and a
   * `usage` error where a name is needed.
   */
  service(name?: string): Service {
    const names = this.#state.services.map(({ name }) => name);
    if (name === undefined && names.length === 1) return this.#byName.get(names[0])!;
    if (name === undefined) {
      const shown = names.slice(0, 5).join(", ") + (names.length > 5 ? ", …" : "");
      throw new OperatorError("usage", `This balancer has ${names.length} services (${shown}): say which one with --service`);
    }
    const service = this.#byName.get(name);
    if (service === undefined) throw unknownService(name, names);
    return service;
  }

  /** Where the clients of a service connect: the first address that it listens on. */
  addressOf(service: Service): Address | undefined {
    const index = service.listening.flatMap(({ indexes }) => indexes).at(0);
    return index === undefined ? undefined : this.#listeners.addressOf(index);
  }

  /** The listeners that are open. */
  measuredListeners(): ReturnType<Listeners["measured"]> {
    return this.#listeners.measured();
  }

  /**
   * Adds a server to a pool. If the server is being removed, the removal is cancelled and its connections stay. Throws `conflict`
   * if it is already in the pool or not allowed.
   */
  async addServer(service: Service, address: Address, settings: Partial<ServerSettings> = {}, who?: string): Promise<ServerView> {
    const name = formatAddress(address);
    return await this.#change({
      what: `add server ${name} to ${service.name}`,
      who,
      service: service.name,
      server: name,
      cannot: `Cannot add server ${JSON.stringify(name)}`,
      make: (state) => withService(state, service.name, withServer(address, settings)),
    }, () => {
      log.info("Added server {server}", { server: name, service: service.name, ...settings });
      return service.get(name);
    });
  }

  /**
   * Changes the given settings of a server. `draining` takes it out for maintenance (no new clients, and open connections move away
   * where that is safe) or brings it back. Throws `unknown` if it is not in the pool.
   */
  async changeServer(service: Service, name: string, change: ServerChange, who?: string): Promise<ServerView> {
    // Also if it is the same file: its content may have changed.
    if (typeof change.checkCa === "string") await this.#host.authorities.load(parseCheckCa(change.checkCa));
    return await this.#change({
      what: `${describeChange(change)} server ${name} of ${service.name}`,
      who,
      service: service.name,
      server: name,
      effect: () => change.draining === true ? [describeOpen(service.get(name).open)] : describeSettings(change),
      cannot: `Cannot change server ${JSON.stringify(name)}`,
      make: (state) => {
        service.inPool(name, "change");
        return withService(state, service.name, withChangedServer(name, change));
      },
    }, () => {
      log.info("Changed server {server}", { server: name, service: service.name, ...change });
      return service.get(name);
    });
  }

  /**
   * Removes a server from a pool: no new clients once this is saved. Open connections move to other servers where that is safe;
   * the others have `drainMs` to finish or to reach a point where they can move, and are then cut. Resolves when the last
   * connection has gone. A second call for the same server sets a new drain time. Throws `unknown` if there is no such server,
   * `conflict` if it is added again meanwhile.
   */
  async removeServer(service: Service, name: string, drainMs: number, who?: string): Promise<Removal> {
    let removing: Removing | undefined;
    const change: Change = {
      what: `remove server ${name} from ${service.name}`,
      who,
      service: service.name,
      server: name,
      effect: () => [describeOpen(removing!.openBefore, drainMs)],
      cannot: `Cannot remove server ${JSON.stringify(name)}`,
      drainMs,
      onAdopted: () => removing = service.removalOf(name),
      make: (state) => {
        service.inPool(name, "remove");
        return withService(state, service.name, withoutServer(name));
      },
    };
    await this.#queue(async () => {
      removing = service.removalOf(name);
      if (removing === undefined) return await this.#commit(change);
      service.setDrainTime(removing, drainMs);
      this.events.add(commandEvent(change, [`its open connections have ${formatDuration(drainMs)} from now on`]));
    });
    return await removing!.gone.promise;
  }

  /** Adds a service. Throws `conflict` if there is one with this name, or an operator error if it cannot listen. */
  async addService(saved: SavedService, who?: string): Promise<ServiceView> {
    return await this.#change({
      what: `add service ${saved.name}`,
      who,
      service: saved.name,
      cannot: `Cannot add service ${JSON.stringify(saved.name)}`,
      make: (state) => withNewService(state, saved),
    }, () => this.service(saved.name).view());
  }

  /**
   * Removes a service: it takes no new clients once this is saved; open connections have `drainMs` to finish. A second call while
   * they finish sets a new drain time. Returns the number of open connections. Throws `unknown`, and `conflict` for the last one.
   */
  async removeService(name: string, drainMs: number, who?: string): Promise<number> {
    return await this.#queue(async () => {
      const leaving = this.#leaving().filter((service) => service.name === name);
      const present = this.#byName.get(name);
      const services = present === undefined ? leaving : [present];
      const open = services.reduce((sum, service) => sum + service.view().open, 0);
      const told = { what: `remove service ${name}`, who, service: name };
      const effect = () => [describeOpen(open, drainMs)];
      if (present === undefined && leaving.length > 0) {
        for (const service of leaving) service.setDrainTimes(drainMs);
        this.events.add(commandEvent(told, effect()));
        return open;
      }
      await this.#commit({
        ...told,
        effect,
        cannot: `Cannot remove service ${JSON.stringify(name)}`,
        drainMs,
        make: (state) => withoutService(state, name),
      });
      return open;
    });
  }

  /** Changes settings of a service. Throws a `usage` error for a bad one. */
  async setService(name: string, settings: SettingTexts, who?: string): Promise<ServiceView> {
    return await this.#change({
      what: `set ${formatFlags(settings)} of service ${name}`,
      who,
      service: name,
      cannot: `Cannot change service ${JSON.stringify(name)}`,
      make: (state) => withService(state, name, withSettings(settings)),
    }, () => this.service(name).view());
  }

  /** Changes settings of the daemon. Throws a `usage` error for a bad one, and `conflict` for one that only a start can change. */
  async setDaemon(settings: SettingTexts, who?: string): Promise<void> {
    await this.#change({
      what: `set ${formatFlags(settings)} of the daemon`,
      who,
      cannot: "Cannot change the daemon",
      make: (state) => withDaemon(state, settings),
    }, () => log.info("Changed settings of the daemon: {settings}", { settings: formatFlags(settings) }));
  }

  /**
   * Has new clients of a service wait, and nobody dialled for it, for so long; again, it sets another time. Open connections go on,
   * unless `idle` has them wait as well; one that loses its server waits, if it may move. Resolves when it holds for every new
   * client. It is no change of the state. Throws `conflict` for `idle` where the settings let no connection wait.
   */
  async pauseService(service: Service, pause: PauseOptions): Promise<void> {
    const { name } = service;
    await this.#queue(async () => {
      if (pause.idle) requireLevelIdle(service);
      service.pause.begin(pause);
      await this.#engine!.update(this.#publication());
    });
    const [who, time] = [pause.who, formatDuration(pause.forMs)];
    const whom = pause.idle ? "new clients and idle connections wait" : "new clients wait";
    this.events.add(commandEvent({ what: `pause service ${name} for ${time}`, who, service: name }, [whom]));
    log.info("Service {service} is paused for {time} by {who}: {whom}", { service: name, time, who, whom });
  }

  /** Ends the pause of a service. Returns whether there was one. */
  async resumeService(service: Service, who: string): Promise<boolean> {
    const { waiting } = service.hold;
    const wasPaused = await this.#queue(async () => {
      const wasPaused = service.pause.end();
      if (wasPaused) await this.#engine!.update(this.#publication());
      return wasPaused;
    });
    if (wasPaused) {
      const told = { what: `resume service ${service.name}`, who, service: service.name };
      this.events.add(commandEvent(told, [`${plural(waiting, "client")} waited`]));
      log.info("Service {service} is resumed by {who}; {waiting} clients wait", { service: service.name, who, waiting });
    }
    return wasPaused;
  }

  /** Has a service listen on one more address. Throws an operator error if it cannot. */
  async listen(name: string, listener: SavedListener, who?: string): Promise<ServiceView> {
    return await this.#change({
      what: `listen on ${formatListener(listener)} for service ${name}`,
      who,
      service: name,
      cannot: `Cannot listen on ${formatListener(listener)}`,
      make: (state) => withListener(state, name, listener),
    }, () => this.service(name).view());
  }

  /** Closes a listener of a service. Its open connections stay. */
  async unlisten(name: string, listener: SavedListener, who?: string): Promise<ServiceView> {
    return await this.#change({
      what: `stop listening on ${formatListener(listener)} for service ${name}`,
      who,
      service: name,
      cannot: `Cannot stop listening on ${formatListener(listener)}`,
      make: (state) => withoutListener(state, name, listener),
    }, () => this.service(name).view());
  }

  /** Throws `conflict` if the balancer is at another generation than this one; undefined: any will do. */
  requireGeneration(expected: number | undefined): void {
    const { generation } = this.#state;
    if (expected === undefined || expected === generation) return;
    const why = `somebody has changed the balancer: it is at generation ${generation}, not ${expected}; look at the plan again`;
    throw new OperatorError("conflict", `Nothing was changed: ${why}`);
  }

  /** What applying a declared state would do. Throws `conflict` if it is not allowed. */
  planDeclared(declared: DeclaredState, options: DeclaredOptions): StatePlan {
    const { state, difference } = withDeclared(this.#state, declared, options);
    return this.#planTo(state, difference);
  }

  /**
   * Changes to a declared state as one generation, or not at all. Throws an operator error if it is not allowed. Returns undefined
   * if nothing differs.
   */
  async apply(declared: DeclaredState, options: ApplyOptions): Promise<StatePlan | undefined> {
    const { file, ifGeneration, who } = options;
    return await this.#replace({
      what: `apply ${file ?? "standard input"}`,
      who,
      cannot: "Cannot apply this",
      ifGeneration,
      make: (state) => {
        const made = withDeclared(state, declared, options);
        const isDeclared = options.prune && file !== undefined; // then the file says everything
        return isDeclared
          ? { ...made, state: { ...made.state, declaredIn: { path: file, generation: state.generation + 1 } } }
          : made;
      },
    });
  }

  /** What returning to an earlier generation would do; undefined: the one before. */
  async planUndo(to: number | undefined): Promise<StatePlan> {
    const { state, difference } = withEarlier(this.#state, await this.#earlier(to));
    return this.#planTo(state, difference);
  }

  /** Returns to an earlier generation, as a new one. Throws an operator error if it cannot be restored. */
  async undo(to: number | undefined, { ifGeneration, who }: UndoOptions): Promise<StatePlan | undefined> {
    const earlier = await this.#earlier(to);
    const { generation } = earlier;
    return await this.#replace({
      what: `undo: return to generation ${generation}`,
      who,
      cannot: `Cannot return to generation ${generation}`,
      ifGeneration,
      make: (state) => withEarlier(state, earlier),
    });
  }

  /** The last generations, newest first. */
  async history(): Promise<Generation[]> {
    return await this.#options.store?.list() ?? [];
  }

  /** The file that says what everything should be, and in which lines the balancer differs from it; null where nobody knows. */
  async declaration(): Promise<{ file: string; generation: number; differences: readonly string[] | null } | null> {
    const { declaredIn, generation } = this.#state;
    if (declaredIn === undefined) return null;
    const { path: file, generation: declared } = declaredIn;
    if (declared === generation) return { file, generation: declared, differences: [] };
    const then = await this.#options.store?.load(declared).catch(() => undefined);
    const differences = then === undefined ? null : formatDifference(withEarlier(then, this.#state).difference);
    return { file, generation: declared, differences };
  }

  async #earlier(to: number | undefined): Promise<SavedState> {
    const { store } = this.#options;
    if (store === undefined) throw new OperatorError("conflict", "Cannot return to an earlier generation: nothing is kept");
    if (to !== undefined) return await store.load(to);
    const before = (await store.list()).find(({ generation }) => generation < this.#state.generation);
    if (before !== undefined) return await store.load(before.generation);
    throw new OperatorError(
      "conflict",
      "Cannot undo: there is no earlier generation; balancerctl history lists those that there are",
    );
  }

  /** Makes a change of everything, with its plan as it was when the change was made. Undefined: nothing differs. */
  #replace(change: Omit<Change, "make"> & Replacement): Promise<StatePlan | undefined> {
    return this.#queue(async () => {
      const { state, difference } = this.#replacement(change);
      if (isSame(difference)) return void this.events.add(commandEvent(change, ["nothing differs"]));
      const plan = this.#planTo(state, difference);
      const moved = countMoving(plan);
      const effect = () => moved === 0 ? [] : [`${plural(moved, "open connection")} move to another server`];
      await this.#commit({ ...change, moved, effect, make: () => state });
      return plan;
    });
  }

  /** The state that a change of everything leads to. Throws an operator error if it is refused. */
  #replacement(change: Told & Replacement): DeclaredChange {
    try {
      this.requireGeneration(change.ifGeneration);
      return change.make(this.#state);
    } catch (error) {
      this.events.add(refusedEvent(change, messageOf(error)));
      throw error;
    }
  }

  /** What the change to this state would do to clients. */
  #planTo({ services }: SavedState, difference: StateDifference): StatePlan {
    const after = new Map(services.map((service) => [service.name, service]));
    return planState(
      difference.services.map((change): ServiceTransition => {
        const lines = linesOf(change);
        const name = change.kind === "changed" ? change.name : change.service.name;
        if (change.kind === "added") return transitionOfNew(after.get(name)!, lines);
        return this.#byName.get(name)!.transitionTo(after.get(name), lines);
      }),
      daemonLines(difference),
    );
  }

  /** The number of servers in each state, of all services. */
  countServers(): Record<ServerState, number> {
    const counts = this.services().map((service) => service.countServers());
    const sum = (state: ServerState) => counts.reduce((total, count) => total + count[state], 0);
    return Object.fromEntries(SERVER_STATES.map((state) => [state, sum(state)])) as Record<ServerState, number>;
  }

  /** What is to be known of the servers after a restart, by service and server. */
  known(): ReadonlyMap<string, ReadonlyMap<string, KnownCondition>> {
    return new Map(this.services().map((service) => [service.name, service.known()]));
  }

  /** Connections that ended recently. */
  recent(filter: RecentFilter): RecentList {
    return this.#recent.list(filter);
  }

  /** The clients of a service that have most, at most `max`. */
  clients(service: Service, max: number): ClientsView {
    return this.#clients.view(service, max, performance.now());
  }

  /** Reads the files of the lists of all services again. Open connections stay. */
  reloadLists(): Promise<Reloaded[]> {
    return this.#queue(async () => {
      const reloaded: Reloaded[] = [];
      for (const service of this.services()) reloaded.push(...await service.reloadLists());
      if (reloaded.length > 0) await this.#engine!.update(this.#publication());
      return reloaded;
    });
  }

  /** How the engine hands connections over; undefined: it cannot. */
  get handover(): Handover | undefined {
    return this.#engine!.handover;
  }

  /**
   * Once earlier changes are made, refuses every further one for this reason, a clause, until the function that it gives is called.
   * Throws `conflict` if the balancer is stopping or does so already.
   */
  async freeze(why: string): Promise<() => void> {
    await this.#queue(() => Promise.resolve(this.#frozen = why));
    return () => {
      this.#frozen = undefined;
      this.#publishLater(); // a pause may have ended meanwhile
    };
  }

  /** The pauses of all services, for another process. */
  pauses(): CarriedPause[] {
    return this.services().flatMap(({ name, pause: { view } }) =>
      view === undefined ? [] : [{ ...view, service: name, since: view.since.toISOString(), until: view.until.toISOString() }]
    );
  }

  /** The numbers by which connections and counters know services, listeners and servers. */
  places(): Places {
    const services = [...this.services(), ...this.#leaving()];
    return {
      services: services.map(({ index, name }) => [index, name]),
      listeners: this.#listeners.places(),
      servers: services.flatMap((service) => service.slots().map(([slot, server]) => [slot, service.name, server] as const)),
    };
  }

  /** The open listening sockets. */
  listenerDescriptors(): ReturnType<Listeners["descriptors"]> {
    return this.#listeners.descriptors();
  }

  /** The names of services that were removed and still have connections. */
  leavingServices(): string[] {
    return this.#leaving().map(({ name }) => name);
  }

  /** The addresses of closed listeners whose connections only this process can serve: see `Listeners`. */
  leavingListeners(): string[] {
    return this.#listeners.leavingOfRanges();
  }

  /** The servers that are being removed. */
  leftovers(): Leftover[] {
    return this.services().flatMap((service) => service.leftovers());
  }

  /** Removes the servers that another process was removing: they are no longer in the state that it has saved. */
  async dropLeftovers(leftovers: readonly Leftover[]): Promise<void> {
    for (const { service, server: { server: name }, drainMs } of leftovers) {
      await this.#queue(() =>
        this.#commit({
          what: `remove server ${name} from ${service}`,
          cannot: `Cannot go on removing server ${JSON.stringify(name)}`,
          drainMs,
          isSaved: true,
          make: (state) => withService(state, service, withoutServer(name)),
        })
      );
    }
  }

  /** What was counted, by names. */
  figures(): Figures {
    const { services, listeners, servers } = this.places();
    const { counters } = this;
    return {
      process: counters.counted("process"),
      services: services.map(([index, service]) => ({ service, counted: counters.counted("service", index) })),
      listeners: listeners.map(([index, listener]) => ({ listener, counted: counters.counted("listener", index) })),
      servers: servers.map(([slot, service, server]) => ({ service, server, counted: counters.counted("server", slot) })),
    };
  }

  /** Adds what another process has counted, but for its open connections. */
  addFigures({ process, services, listeners, servers }: Figures): void {
    const own = this.places();
    const { counters } = this;
    const serviceAt = new Map(own.services.map(([index, name]) => [name, index]));
    const listenerAt = new Map(own.listeners.map(([index, address]) => [address, index]));
    const serverAt = new Map(own.servers.map(([slot, service, server]) => [`${service}\n${server}`, slot]));
    const add = (scope: "service" | "listener" | "server", index: number | undefined, counted: Counted) => {
      if (index !== undefined) counters.addCounted(scope, index, counted);
    };
    counters.addCounted("process", 0, process);
    for (const { service, counted } of services) add("service", serviceAt.get(service), counted);
    for (const { listener, counted } of listeners) add("listener", listenerAt.get(listener), counted);
    for (const { service, server, counted } of servers) add("server", serverAt.get(`${service}\n${server}`), counted);
  }

  /**
   * The process that gave its connections has died, and had counted this before the first of them; `came` of them are here, or
   * were. Adds that, and counts those that did not come as lost. Returns their number.
   */
  loseRest(before: Figures, came: number): number {
    const { counters } = this;
    const serviceAt = new Map(this.places().services.map(([index, name]) => [name, index]));
    const rest = (before.process.gauges.open ?? 0) - came;
    if (rest < 0) counters.add("accepted", -rest); // that one had accepted them since
    let lost = Math.max(0, rest);
    for (const { service, counted: { gauges } } of before.services) {
      const index = serviceAt.get(service);
      if (index === undefined) continue;
      const missing = (gauges.serviceOpen ?? 0) - this.#cameTo(index);
      if (missing < 0) counters.addToService(index, "serviceAccepted", -missing);
      for (let left = Math.min(lost, missing); left > 0; left--, lost--) counters.addFate("upgrade_lost", index);
    }
    for (; lost > 0; lost--) counters.addFate("upgrade_lost", NO_SERVICE); // their services were not known yet
    this.addFigures(before);
    this.#beginWatch();
    return Math.max(0, rest);
  }

  /**
   * How many clients of this service have come from another process: whoever is or was open here and was not accepted here. Clients
   * may come between two readings of the counters, so these are read until that makes no difference.
   */
  #cameTo(index: number): number {
    const { counters } = this;
    const read = () =>
      FATE_NAMES.reduce((sum, fate) => sum + counters.getOfService(index, fate), counters.getOfService(index, "serviceOpen")) -
      counters.getOfService(index, "serviceAccepted");
    let came = read();
    for (let tries = 0, again = read(); again !== came && tries < READINGS_MAX; tries++) [came, again] = [again, read()];
    return came;
  }

  /** What is to be said at the end of a hand-over, when all reports of the engine have come. */
  lastWords(): LastWords {
    const running = this.services().filter(({ rebalancer }) => rebalancer.state.running);
    return {
      figures: this.figures(),
      ends: this.#recent.carried(),
      rebalances: running.map(({ name, rebalancer }) => ({ service: name, rate: rebalancer.state.rate })),
    };
  }

  /** Takes the last words of another process over. */
  takeLastWords({ figures, ends, rebalances }: LastWords): void {
    this.addFigures(figures);
    this.#beginWatch();
    this.#recent.takeOver(ends);
    for (const { service, rate } of rebalances) this.#byName.get(service)?.rebalancer.start(rate);
  }

  /** The numbers of another process's places in this one. */
  indexesOf(given: Places): ReturnType<typeof joinPlaces> {
    return joinPlaces(given, this.places());
  }

  /** Another process has taken everything over: does nothing more, and closes nothing. */
  async leave(): Promise<void> {
    this.#endServices();
    await this.#accessLog.end(LAST_LINES_MAX_MS);
  }

  /** Stops accepting clients; resolves when the last has gone, at most `graceMs` later. */
  async stop(graceMs: number): Promise<void> {
    this.#endServices();
    const [open, grace] = [this.counters.get("open"), formatDuration(graceMs)];
    log.info("Stopping: {open} open connections have {grace} to finish", { open, grace });
    this.events.add({ kind: "daemon", text: `Stopping: ${plural(open, "open connection")}, with ${grace} to finish` });
    await this.#engine!.stop(graceMs);
    this.#watch?.[Symbol.dispose]();
    this.#clients[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await this.#lastChange;
    this.#endServices();
    await this.#engine!.stop(0);
    this.#watch?.[Symbol.dispose]();
    this.#clients[Symbol.dispose]();
    await this.#accessLog.end(LAST_LINES_MAX_MS);
  }

  #endServices(): void {
    this.#stopping = true;
    clearInterval(this.#goneTimer);
    clearInterval(this.#retryTimer);
    this.#homing?.[Symbol.dispose]();
    for (const service of this.#services) service?.[Symbol.dispose]();
  }

  /** Makes the services of the first state and the engine. */
  async #begin(): Promise<void> {
    const { state, known = () => new Map(), required } = this.#options;
    for (const saved of state.services) {
      const start = { known: known(saved.name) };
      const options = { cannot: `Cannot start service ${JSON.stringify(saved.name)}`, drainMs: 0, start };
      const { service, step } = await this.#prepareNew(saved, options);
      this.#byName.set(saved.name, service);
      step.adopt();
      const isRequired = saved.name === required;
      const fault = service.listening.find(({ fault }) => fault !== null)?.fault;
      if (isRequired && fault != null) throw new OperatorError("failed", fault);
      if (fault != null) this.#noteFault(saved.name, fault);
      this.#checkConfig(service, isRequired);
    }
    this.#state = { ...state, services: state.services.map(({ name }) => this.#byName.get(name)!.saved) };
    for (const { service, since, until, ...pause } of this.#options.pauses ?? []) {
      this.#byName.get(service)?.pause.goOn({ ...pause, since: new Date(since), until: new Date(until) });
    }
    this.#createEngine();
    this.#homing = new Homing({ engine: this.#engine!, services: () => this.services().map(({ homing }) => homing) });
    this.#retryListening();
    if (this.#options.isWaiting !== true) this.#beginWatch();
  }

  /** What there is now has been counted before; what is watched begins with it. */
  #beginWatch(): void {
    if (this.#options.isWaiting) this.series.begin(this.#sampled());
    this.#watch = new Watch({
      counters: this.counters,
      events: this.events,
      series: this.series,
      drains: this.#drains,
      services: () => this.#sampled(),
    });
  }

  #noteFault(service: string, fault: string): void {
    log.error("Service {service}: {fault}; it is tried again", { service, fault });
    this.events.add({ kind: "listener", level: "error", service, text: `${fault}; it is tried again` });
  }

  /** Checks what a service asks of the engine at the start. Throws an operator error if it is required; otherwise logs it. */
  #checkConfig({ name, config }: Service, isRequired: boolean): void {
    try {
      this.#host.checkConfig(config);
    } catch (error) {
      if (isRequired || !(error instanceof OperatorError)) throw error;
      log.error("Service {service}: {fault}", { service: name, fault: messageOf(error) });
    }
  }

  #createEngine(): void {
    const { engine, connectionsMax: connectionsAuto } = this.#options;
    const { engineConfig: config } = this.#daemon;
    const logMove = moveLogger(this.#startId);
    const accessLog = this.#accessLog;
    this.#engine = engine.create({
      startId: this.#startId,
      publication: this.#publication(),
      config,
      connectionsLimit: Math.max(connectionsAuto, config.connectionsMax + config.queueMax),
      counters: this.counters,
      availabilities: this.#host.availabilities,
      clients: this.#clients.shared,
      isWaiting: this.#options.isWaiting,
      onWouldBeRefused: (client, refusal) => this.#clients.noteDryRefusal(() => client, refusal),
      onEnded: (ended) => {
        this.#recent.add(ended, Date.now());
        this.#logEnd(ended);
        if (isRefusal(ended.fate)) this.#clients.noteRefusal(() => ended.client, ended.fate);
        accessLog.ended(ended);
      },
      onMoved: (moved) => {
        if (moved.loss === "rebalance") this.#services[moved.service]?.rebalancer.countMove();
        this.#noteMove(moved);
        logMove(moved);
        accessLog.moved(moved);
      },
      onServerFailed: (slot, reason, kind) => this.#slots.ownerOf(slot)?.trafficFailed(slot, reason, kind),
      onServerEmpty: (slot) => this.#slots.ownerOf(slot)?.onServerEmpty(slot),
      onWorker: (event) => this.events.add(workerEvent(event)),
      onStarted: (started) => accessLog.started(started),
      onUnreported: (count) => accessLog.drop(count, "too many connections began and ended at once"),
    });
  }

  #noteMove({ service, from, to, state }: MovedConnection): void {
    const name = this.#services[service]?.name;
    if (name === undefined || from === undefined || to === undefined || state === "busy") return;
    this.series.moved({ service: name, from, to, state });
  }

  /** Every service with its servers, for the series. */
  #sampled(): SampledService[] {
    return this.#services.filter((service) => service !== undefined)
      .map((service) => ({ service: service.name, index: service.index, servers: service.measured() }));
  }

  /** What the engine serves by. */
  #publication(): Publication {
    this.#listeners.publish();
    return {
      services: this.#services.map((service) => service?.published),
      listeners: this.#listeners.published,
      config: this.#daemon.engineConfig,
    };
  }

  /** The pause of a service has ended by itself. */
  #endPause({ name, hold: { waiting } }: Service): void {
    const text = `The pause of service ${name} has ended by itself; ${plural(waiting, "client")} waited`;
    this.events.add({ kind: "drain", level: "warning", service: name, text });
    log.warn("The pause of service {service} has ended by itself; {waiting} clients wait", { service: name, waiting });
    this.#publishLater();
  }

  /** Publishes after all earlier changes. */
  #publishLater(): void {
    const published = this.#queue(() => this.#engine!.update(this.#publication()));
    published.catch(() => {}); // the balancer is stopping, or an upgrade is under way, after which it is published
  }

  /** Runs something after all earlier changes. */
  #queue<T>(make: () => Promise<T>): Promise<T> {
    const made = this.#lastChange.then(() => {
      if (this.#stopping) {
        throw new OperatorError("conflict", "Cannot change the pool: the balancer is stopping; start it again first");
      }
      if (this.#frozen !== undefined) throw new OperatorError("conflict", `Cannot change the balancer: ${this.#frozen}`);
      return make();
    });
    this.#lastChange = made.catch(() => {});
    return made;
  }

  /** Makes a change, and returns what `result` says once it is made. */
  #change<T>(change: Change, result: () => T): Promise<T> {
    return this.#queue(async () => {
      await this.#commit(change);
      return result();
    });
  }

  async #commit(change: Change): Promise<void> {
    try {
      await this.#carryOut(change);
    } catch (error) {
      this.events.add(refusedEvent(change, messageOf(error)));
      throw error;
    }
  }

  async #carryOut(change: Change): Promise<void> {
    const { make, cannot, drainMs = DEFAULT_DRAIN_MS, what, who, moved, onAdopted, effect = () => [], isSaved = false } = change;
    const wanted = make(this.#state);
    requireNames(wanted);
    const steps: ServiceStep[] = [];
    const daemon = wanted.daemon === this.#state.daemon ? undefined : await this.#daemon.prepare(wanted.daemon ?? {});
    try {
      await this.#prepareAll(wanted, { cannot, drainMs }, steps);
      const state = this.#stateOf(wanted, steps, isSaved ? 0 : 1);
      if (!isSaved) await this.#options.store?.save(state, { what, who, moved });
      this.#state = state;
    } catch (error) {
      for (const { step, service } of steps.toReversed()) this.#abandon(service, step);
      await daemon?.abandon();
      throw error;
    }
    await daemon?.adopt();
    if (daemon !== undefined) this.#logEnd = endLogger(this.#startId); // its levels may be others
    for (const { service, step } of steps) {
      step.adopt();
      if (this.#state.services.some(({ name }) => name === service.name)) this.#byName.set(service.name, service);
      else this.#byName.delete(service.name);
    }
    onAdopted?.();
    this.events.add(commandEvent(change, [`generation ${this.generation}`, ...effect()])); // before what follows from it
    await this.#engine!.update(this.#publication());
    for (const { step } of steps) step.finish();
    await daemon?.finish();
    this.#watchLeaving();
  }

  /** Prepares every service that differs: those that end first, so that others can have their ports. */
  async #prepareAll(wanted: SavedState, options: PrepareOptions, steps: ServiceStep[]): Promise<void> {
    const names = new Set(wanted.services.map(({ name }) => name));
    for (const { name } of this.#state.services) {
      if (names.has(name)) continue;
      const service = this.#byName.get(name)!;
      steps.push({ service, step: await service.prepareEnd(options) });
    }
    for (const saved of wanted.services) {
      const service = this.#byName.get(saved.name);
      if (service === undefined) steps.push(await this.#prepareNew(saved, options));
      else if (service.saved !== saved) steps.push({ service, step: await service.prepare(saved, options) });
    }
  }

  async #prepareNew(saved: SavedService, options: PrepareOptions): Promise<ServiceStep> {
    const index = this.#services.includes(undefined) ? this.#services.indexOf(undefined) : this.#services.length;
    if (index >= LIMITS.servicesMax) {
      const why = "services that were removed still have connections, and count up to the limit of " +
        `${LIMITS.servicesMax} services; end them with balancerctl service remove NAME --drain 0`;
      throw new OperatorError("conflict", `${options.cannot}: ${why}`);
    }
    this.counters.clearService(index);
    const service = await Service.make(this.#host, index, saved.name);
    this.#services[index] = service;
    try {
      return { service, step: await service.prepare(saved, options) };
    } catch (error) {
      this.#forget(service);
      throw error;
    }
  }

  /** The state after these steps: listeners have their real ports. */
  #stateOf(wanted: SavedState, steps: readonly ServiceStep[], generations: number): SavedState {
    const prepared = new Map(steps.map(({ service, step }) => [service.name, step.saved]));
    return {
      ...wanted,
      generation: this.#state.generation + generations,
      services: wanted.services.map((service) => prepared.get(service.name) ?? service),
    };
  }

  #abandon(service: Service, step: Step): void {
    step.abandon();
    if (this.#byName.get(service.name) !== service) this.#forget(service);
  }

  #forget(service: Service): void {
    this.series.serviceLeft(service.name, service.index);
    service[Symbol.dispose]();
    this.#services[service.index] = undefined;
  }

  /** The services that were removed and wait for their last connections. */
  #leaving(): Service[] {
    return this.#services.filter((service) => service !== undefined).filter(({ isLeaving }) => isLeaving);
  }

  /** Forgets services that have left once their last connection has ended. */
  #watchLeaving(): void {
    if (this.#goneTimer !== undefined || this.#leaving().length === 0) return;
    this.#goneTimer = setInterval(() => {
      const gone = this.#leaving().filter(({ isGone }) => isGone);
      if (gone.length > 0) void this.#queue(() => this.#forgetAll(gone)).catch(() => {}); // the balancer is stopping
    }, GONE_MS);
  }

  async #forgetAll(gone: readonly Service[]): Promise<void> {
    for (const service of gone) if (this.#services[service.index] === service) this.#forget(service);
    await this.#engine!.update(this.#publication());
    if (this.#leaving().length > 0) return;
    clearInterval(this.#goneTimer);
    this.#goneTimer = undefined;
  }

  /** Tries again to open listeners that could not be opened, as long as there are any. */
  #retryListening(): void {
    const failed = () => this.services().filter(({ listening }) => listening.some(({ fault }) => fault !== null));
    if (failed().length === 0) return;
    this.#retryTimer = setInterval(() => {
      void this.#queue(() => this.#openFailed(failed())).catch(() => {}); // the balancer is stopping
      if (failed().length === 0) clearInterval(this.#retryTimer);
    }, RETRY_LISTEN_MS);
  }

  async #openFailed(services: readonly Service[]): Promise<void> {
    let isAnyOpen = false;
    for (const service of services) {
      for (const listener of service.openFailed()) {
        isAnyOpen = true;
        const where = formatListener(listener);
        log.info("Service {service} listens on {listener}", { service: service.name, listener: where });
        this.events.add({ kind: "listener", service: service.name, text: `Service ${service.name} listens on ${where} again` });
      }
    }
    if (isAnyOpen) await this.#engine!.update(this.#publication());
  }
}

/** What a change of a server is called. */
function describeChange({ draining }: ServerChange): string {
  return draining === undefined ? "change" : draining ? "drain" : "undrain";
}

/** The settings of a server that a change gives. */
function describeSettings(change: ServerChange): string[] {
  const given = Object.entries(change).filter(([name, value]) => name !== "draining" && value !== undefined);
  return given.map(([name, value]) => `${SERVER_SETTINGS[name as ServerSettingName].flag} ${value ?? DEFAULT_TEXT}`);
}

/** The open connections of what leaves, and how long they have to finish. */
function describeOpen(open: number, drainMs?: number): string {
  const time = drainMs === undefined || open === 0 ? "" : `, with ${formatDuration(drainMs)} to finish`;
  return `it has ${plural(open, "open connection")}${time}`;
}

function requireLevelIdle({ name, config: { redistribute } }: Service): void {
  if (redistribute === "idle") return;
  const why = `they leave their servers only at level idle, and --redistribute is ${redistribute}; change it, or leave out --idle`;
  throw new OperatorError("conflict", `Cannot have open connections of service ${JSON.stringify(name)} wait: ${why}`);
}

/** The open connections that are to go to another server by themselves. */
function countMoving({ totals: { connections } }: StatePlan): number {
  return connections.reduce((sum, { count, outcome }) => MOVING.includes(outcome) ? sum + count : sum, 0);
}

/** Settings as a command line gives them. */
function formatFlags(settings: SettingTexts): string {
  return Object.entries(settings).map(([flag, text]) => `--${flag} ${text}`).join(" ");
}

/** What differs in a service, a line for each; the name of the service is not repeated. */
function linesOf(change: ServiceDifference): string[] {
  const [head, ...lines] = formatDifference({ services: [change], daemon: [] });
  const [, detail] = head.match(/^. service [^:]*: (.*)$/) ?? [];
  return [...(detail === undefined ? [] : [detail]), ...lines.map((line) => line.replace(/^ {2}/, ""))];
}
