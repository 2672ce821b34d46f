/**
 * The balancer: the pool and every change of it. The only owner of mutable state. A change is validated, saved, published to the
 * engine and only then answered. Knows engines only by their interface, and nothing of HTTP, sockets or flags.
 */

import { AccessLog, type AccessLogTarget } from "../observe/access_log.ts";
import { type Address, clientKey, formatAddress, parseAddress, reaches } from "../values/address.ts";
import { Admission, type KnownCondition, type ServerCondition } from "../health/admission.ts";
import { Authorities } from "../health/authorities.ts";
import { type Config, LIMITS } from "../values/config.ts";
import { formatConnectionId, newStartId } from "../values/connection_id.ts";
import { allocateCounters, Counters } from "../observe/counters.ts";
import { countFates, type Fate, FATE_NAMES, FATES } from "../values/fates.ts";
import type { Engine, EngineKind, Listener, Publication, ServiceListener } from "../engine/engine.ts";
import type { EndedConnection, MovedConnection } from "../observe/connections.ts";
import { didYouMean } from "../values/did_you_mean.ts";
import { formatDuration } from "../values/duration.ts";
import { OperatorError } from "../values/errors.ts";
import { CHECKS_UNDER_WAY_MAX, runnable } from "../health/health.ts";
import { counterOf, runCheck } from "../health/check.ts";
import type { CheckStep } from "../health/check_steps.ts";
import { type ClientLists, isRefusal } from "../routing/client_limits.ts";
import { explainClient, type Explanation } from "../routing/explain.ts";
import { parseClient } from "../values/client_name.ts";
import { compileNameRoutes, type NameRoutes } from "../routing/name_routes.ts";
import { liveLoad } from "../observe/live_load.ts";
import { logger } from "../observe/log.ts";
import { type Plan, planChange, type PoolChange } from "../routing/plan.ts";
import { Rebalancer } from "./rebalance.ts";
import { RecentEnds, type RecentFilter, type RecentList } from "../observe/recent.ts";
import { peakToMean, ringFingerprint, ringShares } from "../routing/ring.ts";
import { type Load, routeFirst } from "../routing/route.ts";
import { emptyTable, nextTable, type RoutingTable, type TableServer } from "../routing/routing_table.ts";
import { allocateAvailabilities, AvailabilityTable, type ServerState } from "../routing/availability.ts";
import { formatCheck, type ServerCheck } from "../values/check_spec.ts";
import { checkOf } from "../values/server_check.ts";
import { DEFAULT_SERVER_SETTINGS, type ServerSettings } from "../values/server_settings.ts";
import { Clients, type ClientsView } from "./clients.ts";
import { type SavedServer, toSaved } from "./state_file.ts";

/** A connection that a server did not accept, or lost before it answered. */
interface ConnectFailure {
  readonly at: Date;
  readonly reason: string;
}

/** A server as the API shows it. */
export interface ServerView extends ServerSettings {
  /** `address:port`. */
  readonly server: string;
  readonly slot: number;
  readonly state: ServerState;
  /** When this state began. */
  readonly since: Date;
  /** The reason of the state, as a clause; null while the server is up. */
  readonly reason: string | null;
  readonly open: number;
  /** Connections that moved to another server. */
  readonly movedAway: number;
  readonly connects: number;
  readonly connectFailures: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** The last connection that it did not accept, or lost before it answered; null for none. */
  readonly lastFailure: ConnectFailure | null;
  /** Its share of all keys, from 0 to 1. */
  readonly share: number;
  readonly fates: Readonly<Record<Fate, number>>;
}

/** The ring as the API shows it. */
interface RingView {
  readonly fingerprint: string;
  readonly points: number;
  readonly peakToMean: number;
}

/** The result of a removal: connections open at its start, and how many of them moved to other servers or were cut. */
interface Removal {
  readonly server: string;
  readonly open: number;
  readonly moved: number;
  readonly ended: number;
}

/** A check that was made when somebody asked for it. */
export interface CheckReport {
  readonly server: string;
  /** The check in the form of `--check`, and the `address:port` that it asked. */
  readonly check: string;
  readonly asked: string;
  readonly steps: readonly CheckStep[];
  readonly verdict: "passed" | "asks to be drained" | "failed";
  /** Why it failed, as a clause; null if it did not. */
  readonly reason: string | null;
  readonly durationMs: number;
}

/** Fates of connections that the balancer cut. */
const FORCED: readonly Fate[] = ["removed", "stopped"];

/** Options of `Balancer`. */
export interface BalancerOptions {
  readonly engine: EngineKind;
  /** Where clients connect: a listener of this engine, which closes it. */
  readonly listener: Listener;
  readonly config: Config;
  readonly connectionsMax: number;
  /** Limit on concurrent health checks. */
  readonly checksMax?: number;
  readonly servers?: readonly SavedServer[];
  /** What is known of these servers from before a restart, by name. */
  readonly known?: ReadonlyMap<string, KnownCondition>;
  /** The authorities that HTTPS checks of these servers trust. */
  readonly authorities?: Authorities;
  /** The IP addresses of this machine, to refuse servers that are the balancer itself. */
  readonly ownIps?: () => readonly string[];
  /** Who may connect; undefined: everybody, for as long as the balancer runs. */
  readonly lists?: ClientLists;
  /** Undefined for no access log. */
  readonly accessLog?: AccessLogTarget;
  /** Saves the pool; a change is not made if this rejects. */
  readonly save?: (servers: readonly SavedServer[]) => Promise<void>;
}

/** A server that is being removed: it is no longer in the pool and still has connections. */
interface Removing {
  readonly server: PoolServer;
  readonly openBefore: number;
  readonly movedBefore: number;
  readonly fatesBefore: Readonly<Record<Fate, number>>;
  readonly gone: PromiseWithResolvers<Removal>;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** What a change of the pool sets beside the pool: draining by name of the server, and what follows once it is saved. */
interface PublishOptions {
  readonly draining?: ReadonlyMap<string, boolean>;
  readonly onSaved?: () => void;
}

type ServerIdentity = Pick<TableServer, "name" | "address">;

/** A server of the pool, with its settings as the operator gave them. */
interface PoolServer extends TableServer {
  readonly settings: ServerSettings;
}

/** Figures of a routing table, computed when they are first shown. */
interface Shown {
  readonly generation: number;
  readonly shares: ReadonlyMap<string, number>;
  readonly ring: RingView;
}

type Pool = ReadonlyMap<string, PoolServer>;

/** The name of the only service. */
const DEFAULT_SERVICE = "default";

/** How long the last lines of the access log may take to be written. */
const LAST_LINES_MAX_MS = 1000;

const log = logger("pool");
const connectionLog = logger("connection");

/** A running balancer. Disposing of it stops it at once. */
export class Balancer implements AsyncDisposable {
  readonly counters: Counters;
  readonly connectionsMax: number;
  readonly #engine: Engine;
  readonly #listener: Listener;
  readonly #served: ServiceListener;
  readonly #save: (servers: readonly SavedServer[]) => Promise<void>;
  readonly #ownIps: () => readonly string[];
  readonly #removing = new Map<string, Removing>();
  readonly #freeSlots: number[] = [];
  #slotsUsed = 0;
  /** By slot. */
  readonly #failures = new Map<number, ConnectFailure>();
  readonly #config: Config;
  readonly #availabilities: AvailabilityTable;
  readonly #admission: Admission;
  readonly #authorities: Authorities;
  readonly #startId = newStartId();
  readonly #recent = new RecentEnds(this.#startId);
  readonly #accessLog: AccessLog | undefined;
  readonly #clients: Clients;
  readonly #rebalancer: Rebalancer;
  #pool: Pool = new Map();
  #table: RoutingTable;
  #lists: ClientLists | undefined;
  #stopping = false;
  /** The end of the last change: changes are made one after another. */
  #lastChange: Promise<unknown> = Promise.resolve();
  #shown: Shown | undefined;

  /** Listens and serves. Throws an operator error for a server that is not allowed or an address it cannot listen on. */
  constructor(options: BalancerOptions) {
    const { config, engine, listener, connectionsMax, servers = [], save = () => Promise.resolve(), ownIps = () => [] } = options;
    this.counters = new Counters(allocateCounters(engine.threads(config)));
    this.#clients = new Clients(config, this.counters);
    this.connectionsMax = connectionsMax;
    this.#listener = listener;
    this.#served = { listener, service: 0, routes: routesOf(config, listener), portOffset: 0 };
    this.#lists = options.lists;
    this.#save = save;
    this.#ownIps = ownIps;
    this.#config = config;
    this.#authorities = options.authorities ?? new Authorities();
    this.#availabilities = new AvailabilityTable(allocateAvailabilities(this.counters.slots));
    this.#admission = new Admission({
      config,
      availabilities: this.#availabilities,
      checksMax: options.checksMax ?? CHECKS_UNDER_WAY_MAX,
      serviceOf: (slot) => ({
        connects: this.counters.getOf(slot, "connects"),
        receivedBytes: this.counters.getOf(slot, "receivedBytes"),
      }),
      trustOf: (ca) => this.#authorities.trustOf(ca),
      onChange: (server, condition) => this.#onCondition(server, condition),
      onChecked: (slot, result) => this.counters.addTo(slot, counterOf(result)),
      onSilent: (slot, { silentMs, sinceHealthyMs }) => this.#engine.lose(slot, silentMs, sinceHealthyMs),
    });
    this.#pool = new Map(
      servers.map(({ server: name, draining: _, ...settings }) => [
        name,
        this.#newServer({ name, address: parseAddress(name) }, settings),
      ]),
    );
    const empty = emptyTable(config.key, config.loadBound);
    this.#table = this.#pool.size === 0 ? empty : nextTable(empty, [...this.#pool.values()]);
    for (const { address } of this.#pool.values()) refuseLoop(address, listener.address, ownIps());
    const logEnd = endLogger(this.#startId);
    const logMove = moveLogger(this.#startId);
    const accessLog = this.#accessLog = this.#openAccessLog(options.accessLog);
    this.#engine = engine.create({
      startId: this.#startId,
      publication: this.#publication,
      config: { ...config, connectionsMax },
      counters: this.counters,
      availabilities: this.#availabilities,
      clients: this.#clients.shared,
      onWouldBeRefused: (client, refusal) => this.#clients.noteRefusal(() => client, refusal),
      onEnded: (ended) => {
        this.#recent.add(ended, Date.now());
        logEnd(ended);
        if (isRefusal(ended.fate)) this.#clients.noteRefusal(() => ended.client, ended.fate);
        accessLog?.ended(ended);
      },
      onMoved: (moved) => {
        if (moved.loss === "rebalance") this.#rebalancer.countMove();
        logMove(moved);
        accessLog?.moved(moved);
      },
      onServerFailed: (slot, reason, kind) => {
        this.#failures.set(slot, { at: new Date(), reason });
        this.#admission.trafficFailed(slot, reason, kind);
      },
      onServerEmpty: (slot) => this.#finishRemoval(slot, true),
      accessLog: accessLog && {
        onStarted: options.accessLog?.starts === true ? (started) => accessLog.started(started) : undefined,
        onUnreported: (count) => accessLog.drop(count, "too many connections began and ended at once"),
      },
    });
    this.#rebalancer = new Rebalancer({
      policy: config,
      engine: this.#engine,
      ownerOf: (ip, port) => {
        const index = routeFirst(this.#table, this.#load, clientKey(config.key, ip, port));
        return index < 0 ? undefined : this.#table.slots[index];
      },
    });
    for (const { server: name, draining } of servers) {
      const server = this.#pool.get(name)!;
      this.#admission.enter(server, this.#checkOf(server), { draining, known: options.known?.get(name) });
    }
  }

  /** Where clients connect. */
  get address(): Address {
    return this.#listener.address;
  }

  /** The number of the current routing table. */
  get generation(): number {
    return this.#table.generation;
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  /**
   * Adds a server to the pool. If the server is being removed, the removal is cancelled and its connections stay. Throws `conflict`
   * if it is already in the pool or not allowed.
   */
  add(address: Address, settings: Partial<ServerSettings> = {}): Promise<ServerView> {
    const name = formatAddress(address);
    return this.#change(async () => {
      const cannot = `Cannot add server ${JSON.stringify(name)}`;
      if (this.#pool.has(name)) throw new OperatorError("conflict", `${cannot}: it is already in the pool`);
      refuseLoop(address, this.address, this.#ownIps());
      if (this.#pool.size + this.#removing.size >= LIMITS.serversMax) {
        const why = `the pool is at its limit of ${LIMITS.serversMax} servers; remove one first`;
        throw new OperatorError("conflict", `${cannot}: ${why}`);
      }
      await this.#requireTrust(address, settings, DEFAULT_SERVER_SETTINGS);
      const removing = this.#removing.get(name);
      const server = this.#newServer({ name, address }, settings, removing?.server.slot);
      this.#removing.delete(name); // otherwise its last connection could end now and free the slot
      const onSaved = () => {
        if (removing !== undefined) cancelRemoval(removing);
        this.#admission.enter(server, this.#checkOf(server)); // before the first question about its state
      };
      try {
        await this.#publish(new Map(this.#pool).set(name, server), cannot, { onSaved });
      } catch (error) {
        if (removing === undefined) this.#freeSlots.push(server.slot);
        else this.#removing.set(name, removing);
        // The drain time ended meanwhile.
        if (removing !== undefined && removing.timer === undefined) this.#expireRemoval(server.slot);
        this.#finishRemoval(server.slot);
        throw error;
      }
      log.info("Added server {server}", { server: name, ...server.settings });
      return this.#view(server);
    });
  }

  /**
   * Changes the given settings of a server. `draining` takes it out for maintenance (no new clients, and open connections move away
   * where that is safe) or brings it back. Throws `unknown` if it is not in the pool.
   */
  change(name: string, settings: Partial<ServerSettings & { draining: boolean }>): Promise<ServerView> {
    return this.#change(async () => {
      const old = this.#inPool(name, "change");
      const wasDraining = this.#admission.isDraining(old.slot);
      const { draining = wasDraining, ...changed } = settings;
      await this.#requireTrust(old.address, changed, old.settings);
      const server = this.#newServer(old, { ...old.settings, ...changed }, old.slot);
      const pool = new Map(this.#pool).set(name, server);
      await this.#publish(pool, `Cannot change server ${JSON.stringify(name)}`, { draining: new Map([[name, draining]]) });
      this.#admission.change(server, this.#checkOf(server));
      if (draining && !wasDraining) this.#admission.drain(server.slot);
      if (!draining && wasDraining) this.#admission.undrain(server.slot);
      if (draining) this.#engine.vacate(server.slot);
      log.info("Changed server {server}", { server: name, ...server.settings, draining });
      return this.#view(server);
    });
  }

  /**
   * Removes a server from the pool: no new clients once this is saved. Open connections move to other servers where that is safe;
   * the others have `drainMs` to finish or to reach a point where they can move, and are then cut. Resolves when the last
   * connection has gone. A second call for the same server sets a new drain time. Throws `unknown` if there is no such server,
   * `conflict` if it is added again meanwhile.
   */
  async remove(name: string, drainMs: number): Promise<Removal> {
    const removing = await this.#change(async () => {
      const removing = this.#removing.get(name) ?? await this.#startRemoval(this.#inPool(name, "remove"));
      clearTimeout(removing.timer);
      removing.timer = undefined;
      if (drainMs === 0) this.#expireRemoval(removing.server.slot);
      else {
        removing.timer = setTimeout(() => {
          removing.timer = undefined;
          this.#expireRemoval(removing.server.slot);
        }, drainMs);
      }
      this.#finishRemoval(removing.server.slot);
      return removing;
    });
    return await removing.gone.promise;
  }

  /** Every server: those of the pool by name, then those that are being removed. */
  list(): ServerView[] {
    const inPool = this.#table.servers.map(({ name }) => this.#pool.get(name)!);
    return [...inPool, ...this.#removing.values().map(({ server }) => server)].map((server) => this.#view(server));
  }

  /** One server, of the pool or being removed. Throws `unknown` if there is none with this name. */
  get(name: string): ServerView {
    return this.#view(this.#pool.get(name) ?? this.#removing.get(name)?.server ?? this.#inPool(name, "show"));
  }

  /**
   * Checks a server of the pool now. Changes nothing: only the checks at their interval decide its state. Where checks are off, it
   * is a connection. Throws `unknown` if there is no such server.
   */
  async check(name: string): Promise<CheckReport> {
    const server = this.#inPool(name, "check");
    const check = runnable(this.#checkOf(server));
    const steps: CheckStep[] = [];
    const startedMs = performance.now();
    const result = await runCheck(check, server.address, this.#config.checkTimeoutMs, {
      trustOf: (ca) => this.#authorities.trustOf(ca),
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

  /** The figures of the ring, computed on the first call after a change. */
  ring(): RingView {
    return this.#show().ring;
  }

  /** The number of servers in each state. */
  countServers(): Record<ServerState, number> {
    const counts = { up: 0, resting: 0, down: 0, draining: 0, removing: this.#removing.size };
    for (const { slot } of this.#pool.values()) counts[this.#admission.conditionOf(slot).state]++;
    return counts;
  }

  /** What is to be known of the servers after a restart: of those that are not up, by name. */
  known(): ReadonlyMap<string, KnownCondition> {
    const known = new Map<string, KnownCondition>();
    for (const { name, slot } of this.#pool.values()) {
      const one = this.#admission.knownOf(slot);
      if (one !== undefined) known.set(name, one);
    }
    return known;
  }

  /** The interval between two checks of a server. */
  get checkIntervalMs(): number {
    return this.#admission.checkIntervalMs;
  }

  /** Predicts a change. Throws `unknown` or `conflict` if the change is impossible. */
  plan(change: PoolChange): Plan {
    const cannot = `Cannot plan for server ${JSON.stringify(change.server)}`;
    if (change.kind !== "add") this.#inPool(change.server, "plan for");
    else if (this.#pool.has(change.server)) {
      throw new OperatorError("conflict", `${cannot}: it is already in the pool; plan a weight or a removal`);
    }
    return planChange({
      table: this.#table,
      change,
      policy: this.#config,
      load: this.#load,
      connections: this.#engine.connections(),
    });
  }

  /** Explains which server this client would get now. Throws a `usage` error if the text is not the address of a client. */
  explain(client: string, successorsMax: number): Explanation & { readonly client: string } {
    const parsed = parseClient(client, this.#config.key);
    const stateOf = (slot: number) => this.#admission.conditionOf(slot).state;
    return {
      client: parsed.client,
      ...explainClient({ table: this.#table, load: this.#loadWithOneMore, key: parsed.key, stateOf, successorsMax }),
    };
  }

  /** Connections that ended recently. */
  recent(filter: RecentFilter): RecentList {
    return this.#recent.list(filter);
  }

  /** The clients that have most, at most `max`. */
  clients(max: number): ClientsView {
    return this.#clients.view(max, performance.now());
  }

  /** Lets new clients in by these lists. The balancer must have been made with lists. Open connections stay. */
  setLists(lists: ClientLists): Promise<void> {
    return this.#change(() => {
      this.#lists = lists;
      return this.#engine.update(this.#publication);
    });
  }

  /** Moves connections to their owners. */
  get rebalancer(): Rebalancer {
    return this.#rebalancer;
  }

  /** Stops accepting clients; resolves when the last has gone, at most `graceMs` later. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#rebalancer[Symbol.dispose]();
    this.#admission[Symbol.dispose]();
    log.info("Stopping: {open} open connections have {grace} to finish", {
      open: this.counters.get("open"),
      grace: formatDuration(graceMs),
    });
    await this.#engine.stop(graceMs);
    this.#clients[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    this.#rebalancer[Symbol.dispose]();
    await this.#lastChange;
    this.#admission[Symbol.dispose]();
    await this.#engine.stop(0);
    this.#clients[Symbol.dispose]();
    await this.#accessLog?.end(LAST_LINES_MAX_MS);
  }

  #openAccessLog(target: AccessLogTarget | undefined): AccessLog | undefined {
    if (target === undefined) return undefined;
    const place = { listener: formatAddress(this.#listener.address), service: DEFAULT_SERVICE };
    return new AccessLog({ ...target, startId: this.#startId, places: [place], counters: this.counters });
  }

  /** What the engine serves by. */
  get #publication(): Publication {
    return { services: [{ table: this.#table, config: this.#config, lists: this.#lists }], listeners: [this.#served] };
  }

  /** Runs a change after all earlier ones. */
  #change<T>(make: () => Promise<T>): Promise<T> {
    const made = this.#lastChange.then(() => {
      if (this.#stopping) {
        throw new OperatorError("conflict", "Cannot change the pool: the balancer is stopping; start it again first");
      }
      return make();
    });
    this.#lastChange = made.catch(() => {});
    return made;
  }

  #checkOf(server: PoolServer): ServerCheck {
    return checkOf(server.settings, this.#config, server);
  }

  /**
   * Reads the authorities that the checks of a server need if the given settings name them or make the check need them; others must
   * not fail with a file that is gone. Throws an operator error if they cannot be used.
   */
  async #requireTrust(address: Address, given: Partial<ServerSettings>, old: ServerSettings): Promise<void> {
    if (given.check === undefined && given.checkCa === undefined) return;
    const { question, ca } = checkOf({ ...old, ...given }, this.#config, { address });
    if (question.kind === "https" || typeof given.checkCa === "string") await this.#authorities.load(ca);
  }

  /** Checks or traffic have changed the condition of a server. */
  #onCondition(server: TableServer, condition: ServerCondition): void {
    logCondition(server.name, condition);
    if (condition.state === "draining") this.#engine.vacate(server.slot);
  }

  /** Validates, saves and publishes a pool. Its error messages begin with `cannot`. */
  async #publish(
    pool: Pool,
    cannot: string,
    { draining = new Map(), onSaved = () => {} }: PublishOptions = {},
  ): Promise<void> {
    const servers = [...pool.values()];
    const weightTotal = servers.reduce((sum, { weight }) => sum + weight, 0);
    if (weightTotal > LIMITS.weightTotalMax) {
      const why =
        `the weights of the pool would add up to ${weightTotal}, and the limit is ${LIMITS.weightTotalMax}; use smaller weights`;
      throw new OperatorError("conflict", `${cannot}: ${why}`);
    }
    const isDraining = ({ name, slot }: TableServer) =>
      draining.get(name) ?? (this.#pool.has(name) && this.#admission.isDraining(slot));
    const saved = servers.map((server) => toSaved(server.name, server.settings, isDraining(server)));
    await this.#save(saved);
    onSaved();
    this.#pool = pool;
    this.#table = nextTable(this.#table, servers);
    await this.#engine.update(this.#publication);
  }

  #inPool(name: string, verb: string): PoolServer {
    const server = this.#pool.get(name);
    if (server !== undefined) return server;
    const quoted = JSON.stringify(name);
    if (this.#removing.has(name)) {
      throw new OperatorError("unknown", `Cannot ${verb} server ${quoted}: it is being removed; add it again to keep it`);
    }
    const wayOut = didYouMean(name, this.#pool.keys()) ?? "balancerctl list shows the servers";
    throw new OperatorError("unknown", `Server ${quoted} is not in the pool: ${wayOut}`);
  }

  #newServer({ name, address }: ServerIdentity, given: Partial<ServerSettings>, slot = this.#takeSlot()): PoolServer {
    const settings = { ...DEFAULT_SERVER_SETTINGS, ...given };
    const proxy = settings.proxy ?? this.#config.proxy;
    return {
      name,
      address,
      weight: settings.weight,
      connectionsMax: settings.connectionsMax ?? Infinity,
      slot,
      proxy: proxy === "off" ? undefined : proxy,
      settings,
    };
  }

  #takeSlot(): number {
    // Slots are reused as late as possible: a client that is still trying servers identifies them by slot.
    const slot = this.#slotsUsed < this.counters.slots ? this.#slotsUsed++ : this.#freeSlots.shift()!;
    this.counters.clearSlot(slot);
    this.#failures.delete(slot);
    return slot;
  }

  async #startRemoval(server: PoolServer): Promise<Removing> {
    const pool = new Map(this.#pool);
    pool.delete(server.name);
    const removing: Removing = {
      server,
      openBefore: this.counters.getOf(server.slot, "serverOpen"),
      movedBefore: this.counters.getOf(server.slot, "movedAway"),
      fatesBefore: this.#fatesOf(server.slot),
      gone: Promise.withResolvers(),
      timer: undefined,
    };
    removing.gone.promise.catch(() => {}); // callers of remove() handle the rejection; there may be none
    // Before the engine has the table: the engine reports an empty server only once, possibly before every thread has the table.
    const onSaved = () => void this.#removing.set(server.name, removing);
    await this.#publish(pool, `Cannot remove server ${JSON.stringify(server.name)}`, { onSaved });
    if (!this.#removing.values().some((other) => other === removing)) return removing; // it had no connections
    log.info("Removed server {server}; it has {open} open connections", { server: server.name, open: removing.openBefore });
    this.#admission.remove(server.slot);
    this.#engine.vacate(server.slot);
    return removing;
  }

  /** Ends the drain time of the server with this slot, if it is still being removed. */
  #expireRemoval(slot: number): void {
    if (!this.#removing.values().some(({ server }) => server.slot === slot)) return;
    this.#admission.expire(slot);
    this.#engine.vacate(slot);
  }

  /** The load as a new client finds it. */
  get #loadWithOneMore(): Load {
    return liveLoad(this.counters, this.#availabilities, 0, 1);
  }

  get #load(): Load {
    return liveLoad(this.counters, this.#availabilities, 0);
  }

  /** Ends the removal of the server with this slot, if it is being removed and has no connection left. */
  #finishRemoval(slot: number, isEmpty = this.#engine.isEmpty(slot)): void {
    const removing = this.#removing.values().find(({ server }) => server.slot === slot);
    if (removing === undefined || !isEmpty) return;
    clearTimeout(removing.timer);
    this.#removing.delete(removing.server.name);
    this.#admission.forget(slot);
    this.#freeSlots.push(slot);
    const now = this.#fatesOf(slot);
    const met = (fates: readonly Fate[]) => fates.reduce((sum, fate) => sum + now[fate] - removing.fatesBefore[fate], 0);
    const moved = this.counters.getOf(slot, "movedAway") - removing.movedBefore;
    removing.gone.resolve({ server: removing.server.name, open: met(FATE_NAMES) + moved, moved, ended: met(FORCED) });
  }

  #fatesOf(slot: number): Record<Fate, number> {
    return countFates((fate) => this.counters.getOf(slot, fate));
  }

  #view({ name, slot, settings }: PoolServer): ServerView {
    const count = (counter: Parameters<Counters["getOf"]>[1]) => this.counters.getOf(slot, counter);
    return {
      server: name,
      slot,
      ...this.#admission.conditionOf(slot),
      ...settings,
      open: count("serverOpen"),
      movedAway: count("movedAway"),
      connects: count("connects"),
      connectFailures: count("connectFailures"),
      sentBytes: count("sentBytes"),
      receivedBytes: count("receivedBytes"),
      lastFailure: this.#failures.get(slot) ?? null,
      share: this.#show().shares.get(name) ?? 0,
      fates: this.#fatesOf(slot),
    };
  }

  #show(): Shown {
    const { generation, ring } = this.#table;
    if (this.#shown?.generation === generation) return this.#shown;
    const shares = ringShares(ring);
    return this.#shown = {
      generation,
      shares: new Map(ring.servers.map(({ name }, index) => [name, shares[index]])),
      ring: { fingerprint: ringFingerprint(ring), points: ring.points.length, peakToMean: peakToMean(ring, shares) },
    };
  }
}

/** How clients are told for whom the service is; undefined: it is for everybody. */
function routesOf({ serverNames: names, protocols }: Config, { address }: Listener): NameRoutes | undefined {
  return compileNameRoutes([{ service: 0, title: "default", names, protocols }], formatAddress(address)) ?? undefined;
}

function refuseLoop(server: Address, listener: Address, ownIps: readonly string[]): void {
  if (!reaches(server, listener, ownIps)) return;
  const name = JSON.stringify(formatAddress(server));
  throw new OperatorError(
    "conflict",
    `Cannot use server ${name}: the balancer itself listens on that address; choose another port for one of them`,
  );
}

/** Cancels the removal of a server that is in the pool again. */
function cancelRemoval({ server, timer, gone }: Removing): void {
  clearTimeout(timer);
  const sentence = `Removal of server ${JSON.stringify(server.name)} was cancelled: the server was added again`;
  gone.reject(new OperatorError("conflict", sentence));
}

/** The logger of ended connections. Log levels are looked up once, since thousands of connections may end per second. */
function endLogger(startId: string): (ended: EndedConnection) => void {
  const wanted = new Set(FATE_NAMES.filter((fate) => connectionLog.isEnabledFor(FATES[fate].level)));
  return (ended) => {
    const { fate } = ended;
    if (!wanted.has(fate)) return;
    const { client, server, attempts, moves, sentBytes, receivedBytes, durationMs, reason } = ended;
    const id = formatConnectionId(startId, ended.id);
    const facts = { id, fate, client, server, attempts, moves, sentBytes, receivedBytes, durationMs, reason };
    connectionLog[FATES[fate].level]("Connection from {client} ended: {fate}", facts);
  };
}

/** Logs a change of state by health. */
function logCondition(server: string, { state, reason }: ServerCondition): void {
  if (state === "up") log.info("Server {server} is up again", { server });
  else if (state === "draining") log.info("Server {server} is draining: {reason}", { server, reason });
  else log.warn("Server {server} is {state}: {reason}", { server, state, reason });
}

/** The logger of connections that moved to another server. */
function moveLogger(startId: string): (moved: MovedConnection) => void {
  return (moved) => {
    if (!connectionLog.isEnabledFor("info")) return;
    const { client, from, to, loss, state, replayedBytes } = moved;
    const facts = { id: formatConnectionId(startId, moved.id), client, from, to, loss, state, replayedBytes };
    connectionLog.info("Connection from {client} moved from {from} to {to}", facts);
  };
}
