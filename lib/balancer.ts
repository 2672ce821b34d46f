/**
 * The balancer: the pool, and every change of it. The only owner of mutable state. A change is checked, saved, published to the
 * engine, and only then answered. Knows an engine by its interface alone, and nothing of HTTP, sockets or flags.
 */

import { type Address, formatAddress, parseAddress, reaches } from "./address.ts";
import { type Config, LIMITS } from "./config.ts";
import { allocateCounters, Counters, countFates, type Fate, FATE_NAMES, FATES } from "./counters.ts";
import type { EndedConnection, Engine, EngineKind } from "./engine/engine.ts";
import { formatDuration } from "./duration.ts";
import { OperatorError } from "./errors.ts";
import { logger } from "./log.ts";
import { peakToMean, ringFingerprint, ringShares } from "./ring.ts";
import { emptyTable, nextTable, type RoutingTable, type TableServer } from "./routing_table.ts";
import type { SavedServer } from "./state_file.ts";

/** What an operator says of a server beside its address. `connectionsMax` is null for no limit. */
export interface ServerSettings {
  readonly weight: number;
  readonly connectionsMax: number | null;
}

/** `up` takes new clients; `draining` was removed and finishes those it has. */
export type ServerState = "up" | "draining";

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
  readonly open: number;
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

/** How a removal went: connections that were open when it began, and how many of them were ended by force. */
export interface Removal {
  readonly server: string;
  readonly open: number;
  readonly ended: number;
}

/** Fates that a connection does not choose. */
const FORCED: readonly Fate[] = ["removed", "stopped"];

/** What a balancer is made with. */
export interface BalancerOptions {
  readonly engine: EngineKind;
  readonly listen: Address;
  readonly config: Config;
  readonly connectionsMax: number;
  readonly servers?: readonly SavedServer[];
  /** The machine's own IP addresses, so that it is not balanced to itself. */
  readonly ownIps?: () => readonly string[];
  /** Keeps the pool; a change that it rejects is not made. */
  readonly save?: (servers: readonly SavedServer[]) => Promise<void>;
}

/** A server that was removed and still has connections. */
interface Leaving {
  readonly server: TableServer;
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
  readonly #save: (servers: readonly SavedServer[]) => Promise<void>;
  readonly #ownIps: () => readonly string[];
  readonly #leaving = new Map<string, Leaving>();
  readonly #freeSlots: number[] = [];
  #slotsUsed = 0;
  /** By slot. */
  readonly #failures = new Map<number, ConnectFailure>();
  #pool: Pool = new Map();
  #table: RoutingTable;
  #stopping = false;
  /** Changes are made one after another. */
  #lastChange: Promise<unknown> = Promise.resolve();
  #shown: Shown | undefined;

  /** Listens and serves. Throws an operator error for a server it cannot take or an address it cannot listen on. */
  constructor(options: BalancerOptions) {
    const { config, engine, listen, connectionsMax, servers = [], save = () => Promise.resolve(), ownIps = () => [] } = options;
    const engineConfig = { ...config, connectionsMax };
    this.counters = new Counters(allocateCounters(engine.threads(config)));
    this.connectionsMax = connectionsMax;
    this.#save = save;
    this.#ownIps = ownIps;
    this.#pool = new Map(servers.map(({ server, ...settings }) => [server, this.#newServer(server, settings)]));
    const empty = emptyTable(config.key, config.loadBound);
    this.#table = this.#pool.size === 0 ? empty : nextTable(empty, [...this.#pool.values()]);
    for (const { address } of this.#pool.values()) refuseLoop(address, listen, ownIps());
    this.#engine = engine.create({
      listen,
      config: engineConfig,
      table: this.#table,
      counters: this.counters,
      onEnded: endLogger(),
      onConnectFailed: (slot, reason) => this.#failures.set(slot, { at: new Date(), reason }),
      onServerEmpty: (slot) => this.#finishRemoval(slot),
    });
  }

  /** Where clients connect. */
  get address(): Address {
    return this.#engine.address;
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
        await this.#publish(new Map(this.#pool).set(name, server), cannot);
      } catch (error) {
        if (leaving === undefined) this.#freeSlots.push(server.slot);
        else this.#leaving.set(name, leaving);
        this.#finishRemoval(server.slot);
        throw error;
      }
      if (leaving !== undefined) callOff(leaving);
      log.info("Added server {server}", { server: name, ...settings });
      return this.#view(server, "up");
    });
  }

  /** Changes a server's settings; those not given stay. Throws `unknown` if it is not in the pool. */
  change(name: string, settings: Partial<ServerSettings>): Promise<ServerView> {
    return this.#change(async () => {
      const old = this.#inPool(name, "change");
      const { weight = old.weight, connectionsMax = limitOrNull(old.connectionsMax) } = settings;
      const server = this.#newServer(name, { weight, connectionsMax }, old.slot);
      await this.#publish(new Map(this.#pool).set(name, server), `Cannot change server ${JSON.stringify(name)}`);
      log.info("Changed server {server}", { server: name, weight, connectionsMax });
      return this.#view(server, "up");
    });
  }

  /**
   * Takes a server out of the pool: no new clients from the moment this is saved; its open connections have `drainMs` to finish and
   * are then ended. Resolves when the last is gone. Called again for a draining server it sets a new drain time. Throws `unknown`
   * if there is no such server, `conflict` if it was added again meanwhile.
   */
  async remove(name: string, drainMs: number): Promise<Removal> {
    const leaving = await this.#change(async () => {
      const leaving = this.#leaving.get(name) ?? await this.#startRemoval(this.#inPool(name, "remove"));
      clearTimeout(leaving.timer);
      leaving.timer = setTimeout(() => this.#engine.endServer(leaving.server.slot, "removed"), drainMs);
      this.#finishRemoval(leaving.server.slot);
      return leaving;
    });
    return await leaving.gone.promise;
  }

  /** Every server, those of the pool in the order of their names, then those that are leaving. */
  list(): ServerView[] {
    const leaving = [...this.#leaving.values()].map(({ server }) => this.#view(server, "draining"));
    return [...this.#table.servers.map((server) => this.#view(server, "up")), ...leaving];
  }

  /** The ring's figures; worked out when first asked for after a change. */
  ring(): RingView {
    return this.#show().ring;
  }

  /** Servers in the pool, and servers that are leaving it. */
  countServers(): Record<ServerState, number> {
    return { up: this.#pool.size, draining: this.#leaving.size };
  }

  /** Accepts no more clients and resolves when the last has gone, after `graceMs` at the latest. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    log.info("Stopping; {open} connections have {grace} to finish", {
      open: this.counters.get("open"),
      grace: formatDuration(graceMs),
    });
    await this.#engine.stop(graceMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await this.#lastChange;
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

  async #publish(pool: Pool, cannot: string): Promise<void> {
    const servers = [...pool.values()];
    const weightTotal = servers.reduce((sum, { weight }) => sum + weight, 0);
    if (weightTotal > LIMITS.weightTotalMax) {
      const why = `the weights of the pool would add up to ${weightTotal} and may to ${LIMITS.weightTotalMax}; divide all weights`;
      throw new OperatorError("conflict", `${cannot}: ${why}`);
    }
    const saved = servers.map(({ name, weight, connectionsMax }) => (
      { server: name, weight, connectionsMax: limitOrNull(connectionsMax) }
    ));
    await this.#save(saved);
    this.#pool = pool;
    this.#table = nextTable(this.#table, servers);
    await this.#engine.update(this.#table);
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
    await this.#publish(pool, `Cannot remove server ${JSON.stringify(server.name)}`);
    const leaving: Leaving = {
      server,
      fatesBefore: this.#fatesOf(server.slot),
      gone: Promise.withResolvers(),
      timer: undefined,
    };
    leaving.gone.promise.catch(() => {}); // whoever waits for it hears of it; nobody may
    this.#leaving.set(server.name, leaving);
    const open = this.counters.getOf(server.slot, "serverOpen");
    log.info("Removed server {server}; it has {open} open connections", { server: server.name, open });
    return leaving;
  }

  /** Ends the removal of the server with this slot, if it is being removed and has no connection left. */
  #finishRemoval(slot: number): void {
    const leaving = this.#leaving.values().find(({ server }) => server.slot === slot);
    if (leaving === undefined || !this.#engine.isEmpty(slot)) return;
    clearTimeout(leaving.timer);
    this.#leaving.delete(leaving.server.name);
    this.#freeSlots.push(slot);
    const now = this.#fatesOf(slot);
    const met = (fates: readonly Fate[]) => fates.reduce((sum, fate) => sum + now[fate] - leaving.fatesBefore[fate], 0);
    leaving.gone.resolve({ server: leaving.server.name, open: met(FATE_NAMES), ended: met(FORCED) });
  }

  #fatesOf(slot: number): Record<Fate, number> {
    return countFates((fate) => this.counters.getOf(slot, fate));
  }

  #view(server: TableServer, state: ServerState): ServerView {
    const { name, weight, connectionsMax, slot } = server;
    const count = (counter: Parameters<Counters["getOf"]>[1]) => this.counters.getOf(slot, counter);
    return {
      server: name,
      slot,
      state,
      weight,
      connectionsMax: limitOrNull(connectionsMax),
      open: count("serverOpen"),
      connects: count("connects"),
      connectFailures: count("connectFailures"),
      sentBytes: count("sentBytes"),
      receivedBytes: count("receivedBytes"),
      lastFailure: this.#failures.get(slot) ?? null,
      share: state === "up" ? this.#show().shares.get(name) ?? 0 : 0,
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
    const { client, server, attempts, sentBytes, receivedBytes, durationMs, reason } = ended;
    const facts = { fate, client, server, attempts, sentBytes, receivedBytes, durationMs, reason };
    connectionLog[FATES[fate].level]("Connection from {client} ended: {fate}", facts);
  };
}
