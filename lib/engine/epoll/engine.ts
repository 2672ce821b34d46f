/**
 * The fast engine: Linux's epoll through libc, in threads of its own. Here, on the main thread, is what holds the workers together:
 * it owns the listener, starts and replaces workers, hands them tables and orders, and turns their reports into events. It
 * never touches a byte of a connection, and no worker waits for it.
 */

import { type Address, formatAddress, formatIp, isIp } from "../../values/address.ts";
import { LIMITS } from "../../values/config.ts";
import { type Fate, FATE_NAMES } from "../../values/fates.ts";
import { messageOf } from "../../values/errors.ts";
import { logger } from "../../observe/log.ts";
import type { RoutingTable } from "../../routing/routing_table.ts";
import type { ConnectionState, Loss } from "../../routing/redistribution.ts";
import {
  allocateDescriptorTable,
  DescriptorTable,
  FLOAT,
  FROM_SHIFT,
  MOVES_MASK,
  REPLAYS_SHIFT,
  ROLE,
  ROW_SHIFT,
  WORD,
} from "./descriptor_table.ts";
import { REASON } from "./dialer.ts";
import type { Engine, EngineConfig, EngineKind, EngineOptions, OpenConnection } from "../engine.ts";
import type { EndedConnection, MovedConnection } from "../../observe/connections.ts";
import { ERRNO } from "../system/errno.ts";
import { errnoText, type Libc, openLibc } from "../system/libc.ts";
import { findListenIp, LISTEN_REASONS, listenError } from "../listen.ts";
import { COMMAND } from "./mailbox.ts";
import { NameLookup } from "../name_lookup.ts";
import { decodeMove, REPORT, type Report } from "./reports.ts";
import { RetiredSlots } from "../retired_slots.ts";
import { allocateWorkerTable, WorkerTable } from "./worker_table.ts";
import { factsOf } from "./row_facts.ts";
import { type SharedTable, SharedTables } from "./shared_table.ts";
import { ADDRESS_STRIDE, encodeSockaddr } from "../system/sockaddr.ts";
import { descriptorLimit, Sockets } from "../system/sockets.ts";
import { WorkerHandle } from "./worker_handle.ts";

/** The table has rows for as many descriptors as there may be, but no more than this or, if that is more, three for each connection. */
const DESCRIPTORS_MAX = 65_536;
/** Pipes for splicing, over all workers; few where descriptors are few. */
const PIPES_MAX = 64;
const CONNECTIONS_PER_PIPE = 16;
/** A worker is replaced at once, but later each time while none comes to work; after so many deaths the daemon ends. */
const RESPAWN_MIN_MS = 50;
const RESPAWN_MAX_MS = 2000;
const DEATHS_MAX = 8;

/** How long reports are gathered before main is woken for them again; the second where many were. */
const PAUSE_MS = 10;
const LONG_PAUSE_MS = 100;
const MANY_REPORTS = 10;

/** A connection's id is its descriptor, below this number, and its row's generation times this number. */
const ID_DESCRIPTORS = 2 ** 21;
/** The longest time that a command tells. */
const SILENT_MAX_MS = 2 ** 31 - 1;

const log = logger("engine");

/** The row of ENGINES. */
export const epoll: EngineKind = {
  cannot: [],
  unsupported() {
    if (Deno.build.os !== "linux") return `it needs Linux, and this is ${Deno.build.os}`;
    try {
      openLibc()[Symbol.dispose]();
      return undefined;
    } catch (error) {
      return messageOf(error).replaceAll("\n", " ");
    }
  },
  threads: ({ workers }) => workers,
  create: (options) => new EpollEngine(options),
};

class EpollEngine implements Engine {
  readonly address: Address;
  readonly #options: EngineOptions;
  readonly #libc: Libc = openLibc();
  readonly #sockets = new Sockets(this.#libc);
  readonly #listener: number;
  readonly #descriptors: DescriptorTable;
  readonly #workerTable: WorkerTable;
  readonly #workers: WorkerHandle[];
  readonly #names = new NameLookup();
  /** By slot, the names of all servers that were ever in a table. */
  readonly #serverNames: string[] = [];
  readonly #ended = new ReportedEnd(this.#serverNames);
  readonly #moved = new ReportedMove(this.#serverNames);
  readonly #retired = new RetiredSlots();
  /** Tables that not every worker has yet, the oldest first. */
  readonly #updates: { readonly generation: number; readonly known: PromiseWithResolvers<void> }[] = [];
  #table: RoutingTable;
  readonly #tables = new SharedTables();
  #shared: SharedTable;
  #deaths = 0;
  #epochs = 0;
  /** Incarnations that have died. */
  readonly #dead: number[] = [];
  #stopping = false;
  #listenerIsOpen = true;
  #graceIsOver = false;
  #isOver = false;
  readonly #emptied = Promise.withResolvers<void>();
  #closed: Promise<void> | undefined;
  #respawns = new Set<ReturnType<typeof setTimeout>>();

  constructor(options: EngineOptions) {
    const { config, listen, table } = options;
    this.#options = options;
    this.#table = table;
    this.#shared = this.#tables.share(table);
    this.#noteNames(table);
    this.#listener = this.#listenOn(listen, config);
    this.address = { host: listen.host, port: this.#sockets.ownPortOf(this.#listener) };
    this.#descriptors = new DescriptorTable(allocateDescriptorTable(tableSize(this.#libc, config)));
    const workerTable = allocateWorkerTable(config.workers);
    this.#workerTable = new WorkerTable(workerTable);
    this.#workers = this.#makeWorkers(config.workers);
    const mailboxes = this.#workers.map(({ mailbox }) => mailbox.writer);
    const pipes = Math.min(PIPES_MAX, Math.floor(config.connectionsMax / CONNECTIONS_PER_PIPE));
    for (const worker of this.#workers) {
      worker.setUp = () => ({
        kind: "setup",
        listener: this.#listener,
        mailboxes,
        workerTable,
        descriptors: this.#descriptors.shared,
        counters: options.counters.shared,
        availabilities: options.availabilities.shared,
        config,
        pipesMax: Math.floor(pipes / config.workers),
        table: this.#shared,
      });
      this.#spawn(worker);
    }
  }

  update(table: RoutingTable): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    this.#retired.update(this.#table, table);
    this.#table = table;
    this.#shared = this.#tables.share(table);
    this.#noteNames(table);
    for (const worker of this.#workers) worker.send({ kind: "table", table: this.#shared });
    const known = Promise.withResolvers<void>();
    this.#updates.push({ generation: table.generation, known });
    queueMicrotask(() => this.#check()); // where no worker is at work nobody will say that it knows
    return known.promise;
  }

  isEmpty(slot: number): boolean {
    if (!this.#isOver && !this.#isKnown(this.#table.generation)) return false;
    if (this.#options.counters.getOf(slot, "serverOpen") > 0 || this.#isCounting()) return false;
    for (const worker of this.#workers) this.#drain(worker); // what is reported of this server must be told before its slot is another's
    return true;
  }

  leave(slot: number): void {
    this.#tellAll(COMMAND.leave, slot);
  }

  lose(slot: number, silentMs: number, sinceHealthyMs: number): void {
    const [silent, wellAgo] = [silentMs, sinceHealthyMs].map((ms) => Math.min(Math.round(ms), SILENT_MAX_MS));
    this.#tellAll(COMMAND.lose, slot, silent, wellAgo);
  }

  *connections(): Generator<OpenConnection, void, undefined> {
    const { words, floats } = this.#descriptors;
    const open = new OpenRow(this.#descriptors);
    for (let descriptor = 0; descriptor < this.#descriptors.capacity; descriptor++) {
      const row = descriptor << ROW_SHIFT;
      if (words[row + WORD.owner] === 0 || words[row + WORD.role] !== ROLE.client) continue;
      const server = words[row + WORD.peer];
      const serverMs = server < 0 ? 0 : floats[(server << (ROW_SHIFT - 1)) + FLOAT.lastActivityMs];
      const lastActivityMs = Math.max(floats[(descriptor << (ROW_SHIFT - 1)) + FLOAT.lastActivityMs], serverMs);
      yield open.of(descriptor, performance.now() - lastActivityMs);
    }
  }

  sendToOwner(id: number): void {
    const client = id % ID_DESCRIPTORS;
    if (client >= this.#descriptors.capacity) return;
    const epoch = Atomics.load(this.#descriptors.words, (client << ROW_SHIFT) + WORD.owner);
    const worker = this.#workers.find(({ index }) => this.#workerTable.epoch(index) === epoch);
    worker?.tell(COMMAND.sendToOwner, client, Math.floor(id / ID_DESCRIPTORS));
  }

  async stop(graceMs: number): Promise<void> {
    if (!this.#stopping) this.#beginStop();
    const timer = setTimeout(() => {
      this.#graceIsOver = true;
      this.#check();
    }, graceMs);
    await this.#emptied.promise;
    clearTimeout(timer);
    this.#closed ??= this.#close();
    await this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop(0);
  }

  /** Whether a worker has counted an end that it has not reported yet. */
  #isCounting(): boolean {
    return this.#workers.some((worker) => worker.exists && worker.reports.isCounting);
  }

  /** Whether every worker routes by this table or a later one; one that is still to begin reads its commands first. */
  #isKnown(generation: number): boolean {
    return this.#workers.every(({ index }) =>
      this.#workerTable.epoch(index) === 0 || this.#workerTable.generation(index) >= generation
    );
  }

  #beginStop(): void {
    this.#stopping = true;
    for (const timer of this.#respawns) clearTimeout(timer);
    this.#tellAll(COMMAND.stopAccepting);
    this.#check();
  }

  /** Everything that was opened is closed. */
  async #close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close()));
    this.#libc[Symbol.dispose]();
  }

  #tellAll(command: number, a = 0, b = 0, c = 0): void {
    for (const worker of this.#workers) worker.tell(command, a, b, c);
  }

  #listenOn(listen: Address, config: EngineConfig): number {
    const address = isIp(listen.host) ? listen : { host: findListenIp(listen), port: listen.port };
    const socket = this.#sockets.listen(address, LIMITS.acceptBacklog, config);
    if (socket >= 0) return socket;
    this.#libc[Symbol.dispose]();
    throw listenError(listen, LISTEN_REASONS.find((name) => ERRNO[name] === -socket) ?? { words: errnoText(-socket) });
  }

  /** Workers that are still to start. Leaves nothing open where it fails. */
  #makeWorkers(count: number): WorkerHandle[] {
    const workers: WorkerHandle[] = [];
    try {
      for (let index = 0; index < count; index++) workers.push(new WorkerHandle(this.#libc, index));
      return workers;
    } catch (error) {
      for (const worker of workers) void worker.close();
      this.#libc.call.close(this.#listener);
      throw error;
    }
  }

  #noteNames({ servers }: RoutingTable): void {
    for (const { slot, name } of servers) this.#serverNames[slot] = name;
  }

  #spawn(worker: WorkerHandle): void {
    const epoch = ++this.#epochs;
    this.#workerTable.setGeneration(worker.index, -1);
    worker.start(epoch, {
      onMessage: (message) => {
        switch (message.kind) {
          case "ready":
            this.#deaths = 0;
            return;
          case "news":
            return this.#onNews(worker);
          case "find":
            return void this.#find(worker, message.address);
          case "acceptFailed":
            return log.error("Cannot accept clients for now: {reason}", { reason: errnoText(message.errno) });
        }
      },
      onDeath: (reason) => this.#onDeath(worker, epoch, reason),
    });
  }

  /**
   * There are reports: now, and for as long as the timer takes without being woken again. Being woken costs main more than reading a hundred of
   * them, so where there are many it sleeps longer.
   */
  #onNews(worker: WorkerHandle): void {
    this.#drain(worker);
    this.#check();
    worker.later(worker.wasBusy ? LONG_PAUSE_MS : PAUSE_MS, () => {
      worker.reports.sleep();
      worker.wasBusy = this.#drain(worker) >= MANY_REPORTS;
      this.#check();
    });
  }

  /** Takes the worker's reports, and gives their number. */
  #drain(worker: WorkerHandle): number {
    const count = worker.reports.drain(this.#onReport);
    const dropped = worker.reports.takeDropped();
    if (dropped > 0) log.warn("{dropped} ended connections are counted but not told: there were too many at a time", { dropped });
    return count;
  }

  readonly #onReport = (report: Report): void => {
    if (report.kind === REPORT.ended) return this.#options.onEnded(this.#ended.of(report));
    if (report.kind === REPORT.moved) return this.#options.onMoved(this.#moved.of(report));
    this.#options.onServerFailed(report.slot, reasonOf(report.errno) ?? "it did not accept");
  };

  /** Whether something that main waits for has come about. */
  #check(): void {
    while (this.#updates.length > 0 && this.#isKnown(this.#updates[0].generation)) this.#updates.shift()!.known.resolve();
    const generations = this.#workers.filter(({ exists }) => exists).map(({ index }) => this.#workerTable.generation(index));
    this.#tables.releaseBefore(Math.min(this.#table.generation, ...generations));
    for (const slot of this.#retired.takeEmpty((slot) => this.isEmpty(slot))) this.#options.onServerEmpty(slot);
    if (!this.#stopping) return;
    if (this.#workers.some((worker) => worker.exists && !this.#workerTable.isStopped(worker.index))) return;
    if (this.#listenerIsOpen) this.#libc.call.close(this.#listener);
    this.#listenerIsOpen = false;
    for (const epoch of this.#dead) this.#endOrphans(epoch); // a client may have been given to one while it died
    if (this.#options.counters.get("open") > 0 || this.#isCounting()) {
      // Not before all have stopped: until then a client may be on its way from one worker to another.
      if (this.#graceIsOver) this.#tellAll(COMMAND.endAll, FATE_NAMES.indexOf("stopped"));
      this.#graceIsOver = false;
      return;
    }
    for (const worker of this.#workers) this.#drain(worker);
    for (const { known } of this.#updates.splice(0)) known.resolve();
    this.#isOver = true;
    this.#emptied.resolve();
  }

  async #find(worker: WorkerHandle, address: Address): Promise<void> {
    const ips = await this.#names.find(address.host).catch(() => []);
    const addresses = new Uint8Array(ips.length * ADDRESS_STRIDE);
    for (const [i, host] of ips.entries()) addresses.set(encodeSockaddr({ host, port: address.port }), i * ADDRESS_STRIDE);
    worker.send({ kind: "found", server: formatAddress(address), addresses });
  }

  /** A worker has died of a fault: its connections end, the others go on, and another takes its place. */
  #onDeath(worker: WorkerHandle, epoch: number, reason: string): void {
    this.#workerTable.setEpoch(worker.index, 0);
    this.#workerTable.clearOpen(worker.index);
    this.#drain(worker);
    this.#dead.push(epoch);
    const lost = this.#endOrphans(epoch);
    log.fatal("Worker {worker} died and {lost} connections with it: {reason}", { worker: worker.index + 1, lost, reason });
    this.#tellAll(COMMAND.accept);
    this.#check();
    if (this.#stopping) return;
    this.#deaths++;
    const isNobodyLeft = this.#workers.every(({ index }) => this.#workerTable.epoch(index) === 0); // at work
    if (this.#deaths >= DEATHS_MAX && isNobodyLeft) {
      reportError(new Error(`No worker can be started: ${reason}`)); // ends the daemon: a listener that nobody serves is worse than none
      return;
    }
    const delayMs = this.#deaths === 1 ? 0 : Math.min(RESPAWN_MIN_MS * 2 ** this.#deaths, RESPAWN_MAX_MS);
    const timer = setTimeout(() => {
      this.#respawns.delete(timer);
      this.#spawn(worker);
    }, delayMs);
    this.#respawns.add(timer);
  }

  /** Closes what a dead worker held. The number of connections among it. */
  #endOrphans(epoch: number): number {
    const { words } = this.#descriptors;
    let connections = 0;
    for (let descriptor = 0; descriptor < this.#descriptors.capacity; descriptor++) {
      const row = descriptor << ROW_SHIFT;
      if (words[row + WORD.owner] !== epoch) continue;
      if (Atomics.compareExchange(words, row + WORD.owner, epoch, 0) !== epoch) continue;
      if (words[row + WORD.role] === ROLE.client) {
        connections++;
        this.#endOrphan(descriptor);
      }
      if (words[row + WORD.role] !== ROLE.pipe) this.#sockets.resetOnClose(descriptor);
      this.#libc.call.close(descriptor);
    }
    return connections;
  }

  #endOrphan(client: number): void {
    const { counters, onEnded } = this.#options;
    const { words, floats } = this.#descriptors;
    const row = client << ROW_SHIFT;
    const slot = words[row + WORD.slot];
    const server = words[row + WORD.peer];
    counters.addFate("worker_lost", slot < 0 ? undefined : slot);
    const from = (words[row + WORD.moves] >>> FROM_SHIFT) - 1;
    for (const counting of [slot, from]) if (counting >= 0) counters.raiseOf(counting, "serverOpen", -1);
    counters.raise("open", -1);
    onEnded({
      fate: "worker_lost",
      client: formatClient(this.#descriptors.ipOf(client), words[row + WORD.port]),
      server: this.#serverNames[slot],
      attempts: words[row + WORD.attempts],
      moves: words[row + WORD.moves] & MOVES_MASK,
      sentBytes: floats[(client << (ROW_SHIFT - 1)) + FLOAT.bytes],
      receivedBytes: floats[(client << (ROW_SHIFT - 1)) + FLOAT.earlierBytes] +
        (server < 0 ? 0 : floats[(server << (ROW_SHIFT - 1)) + FLOAT.bytes]),
      durationMs: Math.max(0, performance.now() - floats[(client << (ROW_SHIFT - 1)) + FLOAT.startedMs]),
      reason: undefined,
    });
  }
}

/** The system gives the lowest number that is free, so the limit on descriptors, where it is beyond all need, is no measure. */
function tableSize(libc: Libc, { connectionsMax }: EngineConfig): number {
  return Math.min(descriptorLimit(libc), Math.max(DESCRIPTORS_MAX, 3 * connectionsMax));
}

/** A connection's end as a worker reported it; its texts are made when they are asked for, since most are not. */
class ReportedEnd implements EndedConnection {
  #report!: Report;
  #serverNames: readonly string[];

  constructor(serverNames: readonly string[]) {
    this.#serverNames = serverNames;
  }

  /** What it tells of from now on. */
  of(report: Report): this {
    this.#report = report;
    return this;
  }

  get server(): string | undefined {
    return this.#serverNames[this.#report.slot];
  }
  get fate(): Fate {
    return FATE_NAMES[this.#report.fate];
  }
  get client(): string {
    return formatClient(this.#report.ip, this.#report.port);
  }
  get attempts(): number {
    return this.#report.attempts;
  }
  get moves(): number {
    return this.#report.moves;
  }
  get sentBytes(): number {
    return this.#report.sentBytes;
  }
  get receivedBytes(): number {
    return this.#report.receivedBytes;
  }
  get durationMs(): number {
    return this.#report.durationMs;
  }
  get reason(): string | undefined {
    return reasonOf(this.#report.errno);
  }
}

/** A move as a worker reported it. */
class ReportedMove implements MovedConnection {
  #report!: Report;
  #serverNames: readonly string[];

  constructor(serverNames: readonly string[]) {
    this.#serverNames = serverNames;
  }

  /** What it tells of from now on. */
  of(report: Report): this {
    this.#report = report;
    return this;
  }

  get client(): string {
    return formatClient(this.#report.ip, this.#report.port);
  }
  get from(): string | undefined {
    return this.#serverNames[this.#report.attempts];
  }
  get to(): string | undefined {
    return this.#serverNames[this.#report.slot];
  }
  get loss(): Loss {
    return decodeMove(this.#report.moves).loss;
  }
  get state(): ConnectionState {
    return decodeMove(this.#report.moves).state;
  }
  get replayedBytes(): number {
    return this.#report.sentBytes;
  }
}

/** An open connection as its rows say it just now. */
class OpenRow implements OpenConnection {
  #client = 0;
  quietForMs = 0;

  constructor(readonly descriptors: DescriptorTable) {}

  /** What it tells of from now on. */
  of(client: number, quietForMs: number): this {
    this.#client = client;
    this.quietForMs = quietForMs;
    return this;
  }

  get id(): number {
    return (this.#word(WORD.generation) >>> 0) * ID_DESCRIPTORS + this.#client;
  }
  get slot(): number {
    return this.#word(WORD.slot);
  }
  get facts(): number {
    return factsOf(this.descriptors.words, this.#client);
  }
  get replays(): number {
    return this.#word(WORD.facts) >>> REPLAYS_SHIFT;
  }
  get ip(): Uint8Array {
    return this.descriptors.ipOf(this.#client);
  }
  get port(): number {
    return this.#word(WORD.port);
  }

  #word(word: number): number {
    return this.descriptors.words[(this.#client << ROW_SHIFT) + word];
  }
}

function formatClient(ip: Uint8Array, port: number): string {
  return ip.length === 0 ? "unknown" : formatAddress({ host: formatIp(ip), port });
}

/** What the worker wrote as an errno, in words. */
function reasonOf(errno: number): string | undefined {
  if (errno === 0) return undefined;
  if (errno === REASON.nameNotFound) return "its name was not found";
  if (errno === REASON.removed) return "it was removed";
  if (errno === REASON.silent) return "its checks get no answer";
  return errnoText(errno);
}
