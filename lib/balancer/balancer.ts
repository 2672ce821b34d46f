/**
 * The balancer: the pool, and every change of it. The only owner of mutable state. A change is checked, saved, published to the
 * engine, and only then answered. Knows an engine by its interface alone, and nothing of HTTP, sockets or flags.
 */

import { type Address, clientKey, formatAddress, parseAddress, reaches } from "../values/address.ts";
import { Admission, type ServerCondition } from "../health/admission.ts";
import { type Config, LIMITS } from "../values/config.ts";
import { allocateCounters, Counters } from "../observe/counters.ts";
import { countFates, type Fate, FATE_NAMES, FATES } from "../values/fates.ts";
import type { Engine, EngineKind, Listener } from "../engine/engine.ts";
import type { EndedConnection, MovedConnection } from "../observe/connections.ts";
import { formatDuration } from "../values/duration.ts";
import { OperatorError } from "../values/errors.ts";
import { CHECKS_UNDER_WAY_MAX } from "../health/health.ts";
import { explainClient, type Explanation } from "../routing/explain.ts";
import { parseClient } from "../values/client_name.ts";
import { liveLoad } from "../observe/live_load.ts";
import { logger } from "../observe/log.ts";
import { type Plan, planChange, type PoolChange } from "../routing/plan.ts";
import { Rebalancer } from "./rebalance.ts";
import { RecentEnds, type RecentFilter, type RecentList } from "../observe/recent.ts";
import { peakToMean, ringFingerprint, ringShares } from "../routing/ring.ts";
import { type Load, routeFirst } from "../routing/route.ts";
import { emptyTable, nextTable, type RoutingTable, type TableServer } from "../routing/routing_table.ts";
import { allocateAvailabilities, AvailabilityTable, type ServerState } from "../routing/availability.ts";
import type { SavedServer } from "./state_file.ts";

/** What an operator says of a server beside its address. `connectionsMax` is null for no limit. */
export interface ServerSettings {
  readonly weight: number;
  readonly connectionsMax: number | null;
}

/** A connection that a server did not take. */
export interface ConnectFailure {
  readonly at: Date;
  readonly reason: string;
}

/** A server as it is shown. */
export interface ServerView extends ServerSettings {
  /** `address:port`. */
  readonly server: string;
  readonly slot: number;
  readonly state: ServerState;
  /** Since when it is in this state. */
  readonly since: Date;
  /** Why, in a clause; null while it is up. */
  readonly reason: string | null;
  readonly open: number;
  /** Connections that left it for another server. */
  readonly movedAway: number;
  readonly connects: number;
  readonly connectFailures: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** When it last did not take a connection, and why; null: never. */
  readonly lastFailure: ConnectFailure | null;
  /** Its part of all keys, 0 to 1. */
  readonly share: number;
  readonly fates: Readonly<Record<Fate, number>>;
}

/** The ring as it is shown. */
export interface RingView {
  readonly fingerprint: string;
  readonly points: number;
  readonly peakToMean: number;
}

/** How a removal went: connections that were open when it began; those that went to other servers, and those that were cut. */
export interface Removal {
  readonly server: string;
  readonly open: number;
  readonly moved: number;
  readonly ended: number;
}

/** Fates that a connection does not choose. */
const FORCED: readonly Fate[] = ["removed", "stopped"];

/** What a balancer is made with. */
export interface BalancerOptions {
  readonly engine: EngineKind;
  /** Where clients connect: a listener of this engine, which closes it. */
  readonly listener: Listener;
  readonly config: Config;
  readonly connectionsMax: number;
  /** Health checks that may be under way at a time. */
  readonly checksMax?: number;
  readonly servers?: readonly SavedServer[];
  /** The machine's own IP addresses, so that it is not balanced to itself. */
  readonly ownIps?: () => readonly string[];
  /** Keeps the pool; a change that it rejects is not made. */
  readonly save?: (servers: readonly SavedServer[]) => Promise<void>;
}

/** A server that was removed and still has connections. */
interface Leaving {
  readonly server: TableServer;
  readonly openBefore: number;
  readonly movedBefore: number;
  readonly fatesBefore: Readonly<Record<Fate, number>>;
  readonly gone: PromiseWithResolvers<Removal>;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** What is worked out of a routing table when somebody looks. */
interface Shown {
  readonly generation: number;
  readonly shares: ReadonlyMap<string, number>;
  readonly ring: RingView;
}

type Pool = ReadonlyMap<string, TableServer>;

const log = logger("pool");
const connectionLog = logger("connection");

/** A running balancer. Dispose of it to end it at once. */
export class Balancer implements AsyncDisposable {
  readonly counters: Counters;
  readonly connectionsMax: number;
  readonly #engine: Engine;
  readonly #listener: Listener;
  readonly #save: (servers: readonly SavedServer[]) => Promise<void>;
  readonly #ownIps: () => readonly string[];
  readonly #leaving = new Map<string, Leaving>();
  readonly #freeSlots: number[] = [];
  #slotsUsed = 0;
  /** By slot. */
  readonly #failures = new Map<number, ConnectFailure>();
  readonly #config: Config;
  readonly #availabilities: AvailabilityTable;
  readonly #admission: Admission;
  readonly #recent = new RecentEnds();
  readonly #rebalancer: Rebalancer;
  #pool: Pool = new Map();
  #table: RoutingTable;
  #stopping = false;
  /** Changes are made one after another. */
  #lastChange: Promise<unknown> = Promise.resolve();
  #shown: Shown | undefined;

  /** Listens and serves. Throws an operator error for a server it cannot take or an address it cannot listen on. */
  constructor(options: BalancerOptions) {
    const { config, engine, listener, connectionsMax, servers = [], save = () => Promise.resolve(), ownIps = () => [] } = options;
    const engineConfig = { ...config, connectionsMax };
    this.counters = new Counters(allocateCounters(engine.threads(config)));
    this.connectionsMax = connectionsMax;
    this.#listener = listener;
    this.#save = save;
    this.#ownIps = ownIps;
    this.#config = config;
    this.#availabilities = new AvailabilityTable(allocateAvailabilities(this.counters.slots));
    this.#admission = new Admission({
      config,
      availabilities: this.#availabilities,
      checksMax: options.checksMax ?? CHECKS_UNDER_WAY_MAX,
      connectsOf: (slot) => this.counters.getOf(slot, "connects"),
      onChange: logCondition,
      onSilent: (slot, { silentMs, sinceHealthyMs }) => this.#engine.lose(slot, silentMs, sinceHealthyMs),
    });
    this.#pool = new Map(servers.map(({ server, ...settings }) => [server, this.#newServer(server, settings)]));
    const empty = emptyTable(config.key, config.loadBound);
    this.#table = this.#pool.size === 0 ? empty : nextTable(empty, [...this.#pool.values()]);
    for (const { address } of this.#pool.values()) refuseLoop(address, listener.address, ownIps());
    const logEnd = endLogger();
    this.#engine = engine.create({
      listeners: [{ listener, service: 0 }],
      tables: [this.#table],
      config: engineConfig,
      counters: this.counters,
      availabilities: this.#availabilities,
      onEnded: (ended) => {
        this.#recent.add(ended, Date.now());
        logEnd(ended);
      },
      onMoved: (moved) => {
        if (moved.loss === "rebalance") this.#rebalancer.countMove();
        logMove(moved);
      },
      onServerFailed: (slot, reason) => {
        this.#failures.set(slot, { at: new Date(), reason });
        this.#admission.trafficFailed(slot, reason);
      },
      onServerEmpty: (slot) => this.#finishRemoval(slot, true),
    });
    this.#rebalancer = new Rebalancer({
      policy: config,
      engine: this.#engine,
      ownerOf: (ip, port) => {
        const index = routeFirst(this.#table, this.#load, clientKey(config.key, ip, port));
        return index < 0 ? undefined : this.#table.slots[index];
      },
    });
    for (const { server, draining = false } of servers) this.#admission.enter(this.#pool.get(server)!, draining);
  }

  /** Where clients connect. */
  get address(): Address {
    return this.#listener.address;
  }

  /** Counts the routing tables published. */
  get generation(): number {
    return this.#table.generation;
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  /** Puts a server into the pool. One that is draining stays, with its connections. Throws `conflict` if it is there or cannot be. */
  add(address: Address, settings: ServerSettings): Promise<ServerView> {
    const name = formatAddress(address);
    return this.#change(async () => {
      const cannot = `Cannot add server ${JSON.stringify(name)}`;
      if (this.#pool.has(name)) throw new OperatorError("conflict", `${cannot}: it is already in the pool`);
      refuseLoop(address, this.address, this.#ownIps());
      if (this.#pool.size + this.#leaving.size >= LIMITS.serversMax) {
        throw new OperatorError(
          "conflict",
          `${cannot}: the pool has ${LIMITS.serversMax} servers, as many as it may have; remove one first`,
        );
      }
      const leaving = this.#leaving.get(name);
      const server = this.#newServer(name, settings, leaving?.server.slot);
      this.#leaving.delete(name); // or its last connection could end meanwhile and free the slot
      try {
        await this.#publish(new Map(this.#pool).set(name, server), cannot, undefined, () => {
          if (leaving !== undefined) callOff(leaving);
          this.#admission.enter(server, false); // before anybody can ask what it is doing
        });
      } catch (error) {
        if (leaving === undefined) this.#freeSlots.push(server.slot);
        else this.#leaving.set(name, leaving);
        if (leaving !== undefined && leaving.timer === undefined) this.#endLeaving(server.slot); // its time was over meanwhile
        this.#finishRemoval(server.slot);
        throw error;
      }
      log.info("Added server {server}", { server: name, ...settings });
      return this.#view(server);
    });
  }

  /**
   * Changes a server's settings; those not given stay. `draining` takes it out for a while: no new clients, and those it has leave as
   * they may; or brings it back. Throws `unknown` if it is not in the pool.
   */
  change(name: string, settings: Partial<ServerSettings & { draining: boolean }>): Promise<ServerView> {
    return this.#change(async () => {
      const old = this.#inPool(name, "change");
      const wasDraining = this.#admission.isDraining(old.slot);
      const { weight = old.weight, connectionsMax = limitOrNull(old.connectionsMax), draining = wasDraining } = settings;
      const server = this.#newServer(name, { weight, connectionsMax }, old.slot);
      const pool = new Map(this.#pool).set(name, server);
      await this.#publish(pool, `Cannot change server ${JSON.stringify(name)}`, new Map([[name, draining]]));
      this.#admission.change(server);
      if (draining && !wasDraining) this.#admission.drain(server.slot);
      if (!draining && wasDraining) this.#admission.undrain(server.slot);
      if (draining) this.#engine.vacate(server.slot);
      log.info("Changed server {server}", { server: name, weight, connectionsMax, draining });
      return this.#view(server);
    });
  }

  /**
   * Takes a server out of the pool: no new clients from the moment this is saved; its open connections go to other servers as far as
   * they may, the rest have `drainMs` to finish or to come to where they may go, and are then cut. Resolves when the last is gone. Called again for a draining server it sets a new drain time. Throws `unknown`
   * if there is no such server, `conflict` if it was added again meanwhile.
   */
  async remove(name: string, drainMs: number): Promise<Removal> {
    const leaving = await this.#change(async () => {
      const leaving = this.#leaving.get(name) ?? await this.#startRemoval(this.#inPool(name, "remove"));
      clearTimeout(leaving.timer);
      leaving.timer = undefined;
      if (drainMs === 0) this.#endLeaving(leaving.server.slot);
      else {
        leaving.timer = setTimeout(() => {
          leaving.timer = undefined;
          this.#endLeaving(leaving.server.slot);
        }, drainMs);
      }
      this.#finishRemoval(leaving.server.slot);
      return leaving;
    });
    return await leaving.gone.promise;
  }

  /** Every server, those of the pool in the order of their names, then those that are leaving. */
  list(): ServerView[] {
    return [...this.#table.servers, ...this.#leaving.values().map(({ server }) => server)].map((server) => this.#view(server));
  }

  /** One server. Throws `unknown` if there is none of this name. */
  get(name: string): ServerView {
    return this.#view(this.#pool.get(name) ?? this.#leaving.get(name)?.server ?? this.#inPool(name, "show"));
  }

  /** The ring's figures; worked out when first asked for after a change. */
  ring(): RingView {
    return this.#show().ring;
  }

  /** Servers by state, those that are leaving the pool among the draining. */
  countServers(): Record<ServerState, number> {
    const counts = { up: 0, resting: 0, down: 0, draining: this.#leaving.size };
    for (const { slot } of this.#pool.values()) counts[this.#admission.conditionOf(slot).state]++;
    return counts;
  }

  /** How often each server is checked. */
  get checkIntervalMs(): number {
    return this.#admission.checkIntervalMs;
  }

  /** What a change would do. Throws `unknown` or `conflict` where it cannot be made. */
  plan(change: PoolChange): Plan {
    const cannot = `Cannot plan for server ${JSON.stringify(change.server)}`;
    if (change.kind !== "add") this.#inPool(change.server, "plan for");
    else if (this.#pool.has(change.server)) {
      throw new OperatorError("conflict", `${cannot}: it is in the pool; plan weight or remove`);
    }
    return planChange({
      table: this.#table,
      change,
      policy: this.#config,
      load: this.#load,
      connections: this.#engine.connections(),
    });
  }

  /** Whose this client would be just now, and why. Throws a `usage` error where it is no client's address. */
  explain(client: string, successorsMax: number): Explanation & { readonly client: string } {
    const parsed = parseClient(client, this.#config.key);
    const stateOf = (slot: number) => this.#admission.conditionOf(slot).state;
    return {
      client: parsed.client,
      ...explainClient({ table: this.#table, load: this.#loadWithOneMore, key: parsed.key, stateOf, successorsMax }),
    };
  }

  /** Connections that ended lately. */
  last(filter: RecentFilter): RecentList {
    return this.#recent.list(filter);
  }

  /** Brings connections home that are not with the server the ring gives them to. */
  get rebalancer(): Rebalancer {
    return this.#rebalancer;
  }

  /** Accepts no more clients and resolves when the last has gone, after `graceMs` at the latest. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#rebalancer[Symbol.dispose]();
    this.#admission[Symbol.dispose]();
    log.info("Stopping; {open} connections have {grace} to finish", {
      open: this.counters.get("open"),
      grace: formatDuration(graceMs),
    });
    await this.#engine.stop(graceMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    this.#rebalancer[Symbol.dispose]();
    await this.#lastChange;
    this.#admission[Symbol.dispose]();
    await this.#engine.stop(0);
  }

  /** Runs one change after all that were asked for before. */
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

  /** Saves and publishes a pool; `draining` are servers whose draining this changes. */
  async #publish(
    pool: Pool,
    cannot: string,
    draining: ReadonlyMap<string, boolean> = new Map(),
    onSaved: () => void = () => {},
  ): Promise<void> {
    const servers = [...pool.values()];
    const weightTotal = servers.reduce((sum, { weight }) => sum + weight, 0);
    if (weightTotal > LIMITS.weightTotalMax) {
      const why = `the weights of the pool would add up to ${weightTotal} and may to ${LIMITS.weightTotalMax}; divide all weights`;
      throw new OperatorError("conflict", `${cannot}: ${why}`);
    }
    const isDraining = ({ name, slot }: TableServer) =>
      draining.get(name) ?? (this.#pool.has(name) && this.#admission.isDraining(slot));
    const saved = servers.map((server) => ({
      server: server.name,
      weight: server.weight,
      connectionsMax: limitOrNull(server.connectionsMax),
      ...(isDraining(server) ? { draining: true } : {}),
    }));
    await this.#save(saved);
    onSaved();
    this.#pool = pool;
    this.#table = nextTable(this.#table, servers);
    await this.#engine.update([this.#table]);
  }

  #inPool(name: string, verb: string): TableServer {
    const server = this.#pool.get(name);
    if (server !== undefined) return server;
    const state = this.#leaving.has(name) ? "it is draining" : "it is not in the pool";
    throw new OperatorError("unknown", `Cannot ${verb} server ${JSON.stringify(name)}: ${state}; list shows the servers there are`);
  }

  #newServer(name: string, { weight, connectionsMax }: ServerSettings, slot = this.#takeSlot()): TableServer {
    return { name, address: parseAddress(name), weight, connectionsMax: connectionsMax ?? Infinity, slot };
  }

  #takeSlot(): number {
    // A slot is used again as late as can be: a client that tries servers one by one knows them by their slots.
    const slot = this.#slotsUsed < this.counters.slots ? this.#slotsUsed++ : this.#freeSlots.shift()!;
    this.counters.clearSlot(slot);
    this.#failures.delete(slot);
    return slot;
  }

  async #startRemoval(server: TableServer): Promise<Leaving> {
    const pool = new Map(this.#pool);
    pool.delete(server.name);
    const leaving: Leaving = {
      server,
      openBefore: this.counters.getOf(server.slot, "serverOpen"),
      movedBefore: this.counters.getOf(server.slot, "movedAway"),
      fatesBefore: this.#fatesOf(server.slot),
      gone: Promise.withResolvers(),
      timer: undefined,
    };
    leaving.gone.promise.catch(() => {}); // whoever waits for it hears of it; nobody may
    // Known before the engine has the table: it tells but once that the server is empty, and may do so before the table is everywhere.
    await this.#publish(pool, `Cannot remove server ${JSON.stringify(server.name)}`, undefined, () => {
      this.#leaving.set(server.name, leaving);
    });
    if (!this.#leaving.values().some((other) => other === leaving)) return leaving; // it was empty
    log.info("Removed server {server}; it has {open} open connections", { server: server.name, open: leaving.openBefore });
    this.#admission.remove(server.slot);
    this.#engine.vacate(server.slot);
    return leaving;
  }

  /** The time of a server that was removed is over, if it is still there. */
  #endLeaving(slot: number): void {
    if (!this.#leaving.values().some(({ server }) => server.slot === slot)) return;
    this.#admission.end(slot);
    this.#engine.vacate(slot);
  }

  /** The load as a client finds it that has just come. */
  get #loadWithOneMore(): Load {
    return liveLoad(this.counters, this.#availabilities, 1);
  }

  get #load(): Load {
    return liveLoad(this.counters, this.#availabilities);
  }

  /** Ends the removal of the server with this slot, if it is being removed and has no connection left. */
  #finishRemoval(slot: number, isEmpty = this.#engine.isEmpty(slot)): void {
    const leaving = this.#leaving.values().find(({ server }) => server.slot === slot);
    if (leaving === undefined || !isEmpty) return;
    clearTimeout(leaving.timer);
    this.#leaving.delete(leaving.server.name);
    this.#admission.forget(slot);
    this.#freeSlots.push(slot);
    const now = this.#fatesOf(slot);
    const met = (fates: readonly Fate[]) => fates.reduce((sum, fate) => sum + now[fate] - leaving.fatesBefore[fate], 0);
    const moved = this.counters.getOf(slot, "movedAway") - leaving.movedBefore;
    leaving.gone.resolve({ server: leaving.server.name, open: met(FATE_NAMES) + moved, moved, ended: met(FORCED) });
  }

  #fatesOf(slot: number): Record<Fate, number> {
    return countFates((fate) => this.counters.getOf(slot, fate));
  }

  #view(server: TableServer): ServerView {
    const { name, weight, connectionsMax, slot } = server;
    const count = (counter: Parameters<Counters["getOf"]>[1]) => this.counters.getOf(slot, counter);
    return {
      server: name,
      slot,
      ...this.#admission.conditionOf(slot),
      weight,
      connectionsMax: limitOrNull(connectionsMax),
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

function limitOrNull(connectionsMax: number): number | null {
  return connectionsMax === Infinity ? null : connectionsMax;
}

function refuseLoop(server: Address, listener: Address, ownIps: readonly string[]): void {
  if (!reaches(server, listener, ownIps)) return;
  const name = JSON.stringify(formatAddress(server));
  throw new OperatorError(
    "conflict",
    `Cannot balance to server ${name}: the balancer itself listens there; choose another port for one`,
  );
}

/** The server that was leaving is in the pool again. */
function callOff({ server, timer, gone }: Leaving): void {
  clearTimeout(timer);
  gone.reject(new OperatorError("conflict", `Removal of server ${JSON.stringify(server.name)} was called off: it was added again`));
}

/** What logs an end: asked once whether the log wants it, for most connections end as they should, and thousands a second. */
function endLogger(): (ended: EndedConnection) => void {
  const wanted = new Set(FATE_NAMES.filter((fate) => connectionLog.isEnabledFor(FATES[fate].level)));
  return (ended) => {
    const { fate } = ended;
    if (!wanted.has(fate)) return;
    const { client, server, attempts, moves, sentBytes, receivedBytes, durationMs, reason } = ended;
    const facts = { fate, client, server, attempts, moves, sentBytes, receivedBytes, durationMs, reason };
    connectionLog[FATES[fate].level]("Connection from {client} ended: {fate}", facts);
  };
}

/** Logs that health has changed a server's state. */
function logCondition(server: string, { state, reason }: ServerCondition): void {
  if (state === "up") log.info("Server {server} is up again", { server });
  else log.warn("Server {server} is {state}: {reason}", { server, state, reason });
}

/** Logs a connection that has another server now. */
function logMove({ client, from, to, loss, state, replayedBytes }: MovedConnection): void {
  if (!connectionLog.isEnabledFor("info")) return;
  connectionLog.info("Connection from {client} moved from {from} to {to}", { client, from, to, loss, state, replayedBytes });
}
