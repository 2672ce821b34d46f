/**
 * The fast engine: Linux's epoll through libc, on threads of its own. This file is its part on the main thread: it owns the
 * listeners, starts and replaces workers, sends them tables and commands, and turns their reports into events. It never touches a
 * byte of a connection, and no worker waits for it.
 */

import { type Address, formatAddress } from "../../values/address.ts";
import { FATE_NAMES } from "../../values/fates.ts";
import { messageOf } from "../../values/errors.ts";
import { findIps } from "../../health/find_ips.ts";
import { noLocalPort } from "../../health/shortage.ts";
import { logger } from "../../observe/log.ts";
import type { ClientAddress, Refusal } from "../../routing/client_limits.ts";
import type {
  CloseOutcome,
  Engine,
  EngineKind,
  EngineOptions,
  EngineService,
  MoveOutcome,
  MoveWish,
  OpenConnection,
  Publication,
} from "../engine.ts";
import { Gate } from "../gate.ts";
import { errnoText, type Libc, openLibc } from "../system/libc.ts";
import { ADDRESS_STRIDE, encodeSockaddr } from "../system/sockaddr.ts";
import { descriptorLimit, Sockets } from "../system/sockets.ts";
import {
  allocateDescriptorTable,
  COUNTED_MASK,
  COUNTED_SHIFT,
  DescriptorTable,
  FLOAT,
  floatsOf,
  FROM_SHIFT,
  listenerOf,
  MOVES_MASK,
  NO_PLACE,
  parseId,
  PORT_MASK,
  ROLE,
  rowOf,
  serviceOf,
  STATE,
  WORD,
} from "./descriptor_table.ts";
import { EpollHandover } from "./handover.ts";
import { EpollListener } from "./listener.ts";
import { COMMAND } from "./mailbox.ts";
import { allocateLogColumns, LogColumns } from "./log_columns.ts";
import { ReceivedHeaders } from "./received_headers.ts";
import { ReceivedHellos } from "./received_hellos.ts";
import type { ReportHandlers } from "./reports.ts";
import { Publisher } from "./publisher.ts";
import { isEarlyReason } from "./reasons.ts";
import { Requests } from "./requests.ts";
import { checkSources } from "./sources.ts";
import { EndReasons, formatClient, knownOf, OpenRow, reasonOf, ReportedEnd, ReportedMove, ReportedStart } from "./views.ts";
import { Turns } from "./turns.ts";
import { type CommonSetup, WorkerHandle } from "./worker_handle.ts";
import { allocateWorkerTable, WorkerTable } from "./worker_table.ts";

/** The most rows of the descriptor table, unless three per connection are more. */
const DESCRIPTORS_MAX = 65_536;
/** Pipes for splice(2), over all workers; fewer if there are few descriptors. */
const PIPES_MAX = 64;
const CONNECTIONS_PER_PIPE = 16;
/** A dead worker is replaced at once; the delay grows while no replacement gets ready. After DEATHS_MAX deaths the daemon exits. */
const RESPAWN_MIN_MS = 50;
const RESPAWN_MAX_MS = 2000;
const DEATHS_MAX = 8;

/** How long reports are gathered before main is woken again; LONG_PAUSE_MS if the last batch had MANY_REPORTS. */
const PAUSE_MS = 10;
const LONG_PAUSE_MS = 100;
const MANY_REPORTS = 10;

/** How long a worker may take to hear a command about one connection and to report what became of it. */
const HEARD_MAX_MS = 3000;

/** The longest time that fits into a word of a command. */
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
  checkConfig(config) {
    if (config.sources === null && !config.transparent) return; // to load libc takes long, and there may be many services
    using libc = openLibc();
    checkSources(new Sockets(libc), config);
  },
  listen: (address, config) => new EpollListener(address, config),
  adopt: (address, descriptor, config) => EpollListener.adopt(address, descriptor, config),
  create: (options) => new EpollEngine(options),
};

class EpollEngine implements Engine {
  readonly #options: EngineOptions;
  readonly #libc: Libc = openLibc();
  readonly #sockets = new Sockets(this.#libc);
  readonly #descriptors: DescriptorTable;
  readonly #logColumns: LogColumns;
  readonly #workerTable: WorkerTable;
  readonly #workers: readonly WorkerHandle[];
  readonly handover: EpollHandover;
  /** Whether workers accept nobody yet. */
  #isWaiting: boolean;
  readonly #turns: Turns;
  readonly #common: Omit<CommonSetup, "config" | "publication" | "isWaiting">;
  /** By slot: the name of the last server in any table that had this slot. */
  readonly #serverNames: string[] = [];
  readonly #handlers: ReportHandlers;
  readonly #publisher: Publisher;
  /** For the clients of workers that have died. */
  readonly #gate: Gate;
  readonly #address: ClientAddress = { bytes: new Uint8Array(), at: 0, length: 0 };
  readonly #requests = new Requests();
  /** Publications that not every worker has adopted yet, the oldest first. */
  readonly #updates: { readonly generation: number; readonly known: PromiseWithResolvers<void> }[] = [];
  #deaths = 0;
  #epochs = 0;
  /** Epochs of workers that have died. */
  readonly #dead: number[] = [];
  #stopping = false;
  #isListening = true;
  #graceIsOver = false;
  #isStopped = false;
  readonly #emptied = Promise.withResolvers<void>();
  #closed: Promise<void> | undefined;
  readonly #respawns = new Set<ReturnType<typeof setTimeout>>();

  constructor(options: EngineOptions) {
    const { config, connectionsLimit = config.connectionsMax, counters, availabilities } = options;
    this.#options = options;
    this.#descriptors = new DescriptorTable(allocateDescriptorTable(tableSize(this.#libc, connectionsLimit)));
    this.#logColumns = new LogColumns(allocateLogColumns(this.#descriptors.capacity), this.#descriptors);
    this.#handlers = this.#handlersOf(options);
    this.#gate = new Gate(counters, options.clients);
    this.#publisher = new Publisher({ counters, sockets: this.#sockets, gate: this.#gate, config });
    this.#noteNames(this.#publisher.update(options.publication).replaced);
    const workerTable = allocateWorkerTable(config.workers);
    this.#workerTable = new WorkerTable(workerTable);
    this.#turns = new Turns(this.#workerTable);
    this.#workers = this.#makeWorkers(config.workers);
    this.#isWaiting = options.isWaiting === true;
    this.handover = new EpollHandover({
      workers: this.#workers,
      restart: (index) => this.#spawn(this.#workers[index]),
      onListen: () => this.#isWaiting = false,
      onGiven: () => this.#workers.forEach((worker) => this.#drain(worker)),
    });
    const pipes = Math.min(PIPES_MAX, Math.floor(connectionsLimit / CONNECTIONS_PER_PIPE));
    this.#common = {
      kind: "setup",
      mailboxes: this.#workers.map(({ mailbox }) => mailbox.writer),
      workerTable,
      descriptors: this.#descriptors.shared,
      logColumns: this.#logColumns.shared,
      counters: counters.shared,
      availabilities: availabilities.shared,
      clients: options.clients,
      startId: options.startId,
      pipesMax: Math.floor(pipes / config.workers),
    };
    for (const worker of this.#workers) this.#spawn(worker);
  }

  update(next: Publication): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    const { changes, replaced } = this.#publisher.update(next);
    this.#noteNames(replaced);
    for (const worker of this.#workers) worker.send({ kind: "publication", publication: changes });
    const known = Promise.withResolvers<void>();
    this.#updates.push({ generation: changes.generation, known });
    queueMicrotask(() => this.#check()); // if no worker runs, no report will trigger the check
    return known.promise;
  }

  isListenerFree(index: number): boolean {
    const { publication, leaving } = this.#publisher;
    if (publication.listeners[index] !== undefined || leaving.some((listener) => listener.index === index)) return false;
    return this.#isOver(() => this.#options.counters.getOfListener(index, "listenerOpen"));
  }

  isServiceFree(index: number): boolean {
    if (this.#publisher.mayLeadTo(index)) return false;
    return this.#isOver(() => this.#options.counters.getOfService(index, "serviceOpen"));
  }

  hasTurned(): boolean {
    return this.#isStopped || this.#turns.look(this.#workers);
  }

  isEmpty(slot: number): boolean {
    return this.#isOver(() => this.#options.counters.getOf(slot, "serverOpen"));
  }

  vacate(slot: number): void {
    this.#tellAll(COMMAND.vacate, slot);
  }

  lose(slot: number, silentMs: number, sinceHealthyMs: number): void {
    const [silent, wellAgo] = [silentMs, sinceHealthyMs].map((ms) => Math.min(Math.round(ms), SILENT_MAX_MS));
    this.#tellAll(COMMAND.lose, slot, silent, wellAgo);
  }

  *connections(): Generator<OpenConnection, void, undefined> {
    const { capacity } = this.#descriptors;
    const open = new OpenRow(this.#descriptors, this.#serverNames);
    for (let descriptor = 0; descriptor < capacity; descriptor++) {
      if (this.#isOpen(descriptor)) yield open.of(descriptor, performance.now());
    }
  }

  connection(id: number): OpenConnection | undefined {
    const { client } = parseId(id);
    if (client >= this.#descriptors.capacity || !this.#isOpen(client) || this.#descriptors.idOf(client) !== id) return undefined;
    return new OpenRow(this.#descriptors, this.#serverNames).of(client, performance.now());
  }

  sendToOwner(id: number): void {
    if (this.connection(id) !== undefined) this.#tellWorkerOf(id, COMMAND.sendToOwner);
  }

  async closeConnection(id: number): Promise<CloseOutcome> {
    if (this.connection(id) === undefined) return { kind: "ended", fate: undefined };
    const ended = this.#requests.awaitEnd(id, HEARD_MAX_MS);
    this.#tellWorkerOf(id, COMMAND.closeOne);
    const outcome = await ended;
    return outcome?.kind === "ended" ? outcome : { kind: "unheard" };
  }

  async moveConnection(id: number, { from, to }: MoveWish): Promise<MoveOutcome> {
    const open = this.connection(id);
    if (open === undefined) return { kind: "ended", fate: undefined };
    if (this.#requests.isMoving(id)) return { kind: "stays", reason: "leaving" };
    const dialMaxMs = this.#publisher.publication.services[open.service]?.config.connectDeadlineMs ?? 0;
    const moved = this.#requests.awaitMove(id, dialMaxMs + HEARD_MAX_MS);
    this.#tellWorkerOf(id, COMMAND.moveOne, from, to);
    const outcome = await moved;
    return outcome === undefined || outcome.kind === "unheard" ? { kind: "stays", reason: "unheard" } : outcome;
  }

  /** Whether this descriptor is a client whose connection has begun and has not ended. */
  #isOpen(descriptor: number): boolean {
    const { words } = this.#descriptors;
    const row = rowOf(descriptor);
    return words[row + WORD.owner] !== 0 && words[row + WORD.role] === ROLE.client && words[row + WORD.state] !== 0;
  }

  /** Tells the worker of an open connection something about it. A worker that has just died is told nothing: main ends it. */
  #tellWorkerOf(id: number, command: number, c = 0, d = 0): void {
    const { client, generation } = parseId(id);
    const epoch = Atomics.load(this.#descriptors.words, rowOf(client) + WORD.owner);
    const worker = this.#workers.find(({ index }) => this.#workerTable.epoch(index) === epoch);
    worker?.tell(command, client, generation, c, d);
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

  /**
   * Whether no connection is left of what is no longer published, by this gauge, and none will come. Delivers the reports of those
   * that there were, before their slot or index means something else.
   */
  #isOver(open: () => number): boolean {
    if (!this.#isStopped && !this.#isKnown(this.#publisher.generation)) return false;
    if (open() > 0 || this.#isCounting()) return false;
    for (const worker of this.#workers) this.#drain(worker);
    return true;
  }

  /** Whether any worker has counted an end that it has not reported yet. */
  #isCounting(): boolean {
    return this.#workers.some((worker) => worker.exists && worker.reports.isCounting);
  }

  /**
   * Whether every worker routes by this publication or a later one. A worker that is starting reads its commands before it accepts.
   */
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

  /** Ends the workers and closes libc. */
  async #close(): Promise<void> {
    this.#requests.end();
    await Promise.all(this.#workers.map((worker) => worker.close()));
    this.#libc[Symbol.dispose]();
  }

  #tellAll(command: number, a = 0, b = 0, c = 0): void {
    for (const worker of this.#workers) worker.tell(command, a, b, c);
  }

  /** Makes the workers without starting them. Leaves nothing open if it fails. */
  #makeWorkers(count: number): WorkerHandle[] {
    const workers: WorkerHandle[] = [];
    try {
      for (let index = 0; index < count; index++) workers.push(new WorkerHandle(this.#libc, index));
      return workers;
    } catch (error) {
      for (const worker of workers) void worker.close();
      throw error;
    }
  }

  #noteNames(services: readonly EngineService[]): void {
    for (const { table: { servers } } of services) for (const { slot, name } of servers) this.#serverNames[slot] = name;
  }

  /** Handlers that pass the workers' reports to the engine's callbacks. */
  #handlersOf(
    { onEnded, onMoved, onServerFailed, onWouldBeRefused = () => {}, onStarted }: EngineOptions,
  ): ReportHandlers {
    const headers = new ReceivedHeaders(this.#descriptors.capacity);
    const hellos = new ReceivedHellos(this.#descriptors.capacity);
    const reasons = new EndReasons();
    const started = new ReportedStart();
    const ended = new ReportedEnd(this.#serverNames);
    const moved = new ReportedMove(this.#serverNames);
    return {
      onStart: (report) => onStarted?.(started.of(report, hellos.get(report.id))),
      onEnd: (report) => {
        const { id } = report;
        onEnded(ended.of(report, { proxy: headers.take(id), hello: hellos.take(id), reason: reasons.take(id) }));
        this.#requests.settle(id, { kind: "ended", fate: report.fate });
      },
      onReason: (report) => reasons.add(report),
      onHeader: (report) => headers.add(report),
      onHello: (report) => hellos.add(report),
      onMove: (report) => {
        onMoved(moved.of(report));
        if (report.loss === "command") this.#requests.settle(report.id, movedOutcome(moved));
      },
      onStay: ({ id, reason }) =>
        this.#requests.settle(id, reason === undefined ? { kind: "ended", fate: undefined } : { kind: "stays", reason }),
      onFailure: (slot, errno) =>
        onServerFailed(slot, reasonOf(errno) ?? "it did not accept", isEarlyReason(errno) ? "answer" : "connect"),
      onRefusal: ({ ip, port, fate, service }) => onWouldBeRefused(formatClient(ip, port), fate as Refusal, service),
    };
  }

  #spawn(worker: WorkerHandle): void {
    const epoch = ++this.#epochs;
    this.#workerTable.setGeneration(worker.index, -1);
    worker.start({
      epoch,
      setUp: () => ({
        ...this.#common,
        config: this.#publisher.config,
        publication: this.#publisher.whole(),
        isWaiting: this.#isWaiting,
      }),
      onMessage: (message) => {
        switch (message.kind) {
          case "ready":
            this.#deaths = 0;
            if (epoch > this.#workers.length) this.#options.onWorker?.({ worker: worker.index + 1, lost: 0, reason: undefined });
            this.handover.onReady(worker.index);
            this.#libc.trim(); // starting a thread of JavaScript leaves 3 MB of freed memory behind
            return;
          case "news":
            return this.#onNews(worker);
          case "find":
            return void this.#find(worker, message.address);
          case "acceptFailed":
            return log.error("Cannot accept clients for now: {reason}", { reason: errnoText(message.errno) });
          case "giving":
          case "given":
          case "giveFailed":
          case "taken":
          case "takeFailed":
          case "alone":
            return this.handover.onMessage(worker.index, message);
          case "noLocalPort":
            return this.#sayNoLocalPort(message.slot);
          case "malformedHeader": {
            const facts = { client: formatClient(message.ip, message.port), reason: message.reason };
            return log.warn("The PROXY header of {client} is malformed: {reason}", facts);
          }
        }
      },
      onDeath: (reason) => this.#onDeath(worker, epoch, reason),
    });
  }

  #sayNoLocalPort(slot: number): void {
    const inUse = this.#options.counters.getOf(slot, "serverOpen");
    log.warn("A client could not be connected: {reason}", { reason: noLocalPort(this.#serverNames[slot], inUse) });
  }

  /**
   * A worker has reports. Reads them now and again after a pause, during which the worker does not wake main. Being woken costs
   * main more than reading a hundred reports, so the pause is longer when there are many.
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

  /** Handles the worker's reports. Returns their number. */
  #drain(worker: WorkerHandle): number {
    const count = worker.reports.drain(this.#handlers);
    const dropped = worker.reports.takeDropped();
    if (dropped > 0) log.warn("{dropped} ended connections were counted but not logged: too many ended at once", { dropped });
    const unreported = worker.reports.takeUnreported();
    if (unreported > 0) this.#options.onUnreported?.(unreported);
    return count;
  }

  /** Acts on everything that main waits for and that may have happened: publications, empty servers, the end of the engine. */
  #check(): void {
    this.#endUpdates();
    const generations = this.#workers.filter(({ exists }) => exists).map(({ index }) => this.#workerTable.generation(index));
    // With no worker, one that is still to come accepts whoever waits for a listener that leaves.
    if (generations.length > 0) this.#publisher.onAdopted(Math.min(this.#publisher.generation, ...generations));
    for (const slot of this.#publisher.retired.takeEmpty((slot) => this.isEmpty(slot))) this.#options.onServerEmpty(slot);
    if (!this.#stopping) return;
    if (this.#workers.some((worker) => worker.exists && !this.#workerTable.isStopped(worker.index))) return;
    if (this.#isListening) this.#publisher.close();
    this.#isListening = false;
    for (const epoch of this.#dead) this.#endOrphans(epoch); // a client may have been handed to a worker while it died
    if (this.#options.counters.get("open") > 0 || this.#isCounting()) {
      // Only once all have stopped accepting: until then a client may be on its way from one worker to another.
      if (this.#graceIsOver) this.#tellAll(COMMAND.endAll, FATE_NAMES.indexOf("stopped"));
      this.#graceIsOver = false;
      return;
    }
    for (const worker of this.#workers) this.#drain(worker);
    for (const { known } of this.#updates.splice(0)) known.resolve();
    this.#isStopped = true;
    this.#emptied.resolve();
  }

  /** Resolves the updates that every worker has adopted, once the ends that came before them are reported. */
  #endUpdates(): void {
    const isOver = () => this.#updates.length > 0 && this.#isKnown(this.#updates[0].generation);
    if (!isOver()) return;
    for (const worker of this.#workers) this.#drain(worker);
    while (isOver()) this.#updates.shift()!.known.resolve();
  }

  async #find(worker: WorkerHandle, address: Address): Promise<void> {
    const ips = await findIps(address.host).catch(() => []);
    const addresses = new Uint8Array(ips.length * ADDRESS_STRIDE);
    for (const [i, host] of ips.entries()) addresses.set(encodeSockaddr({ host, port: address.port }), i * ADDRESS_STRIDE);
    worker.send({ kind: "found", server: formatAddress(address), addresses });
  }

  /** A worker has died of an internal error: ends its connections and starts a replacement. The other workers continue. */
  #onDeath(worker: WorkerHandle, epoch: number, reason: string): void {
    this.#workerTable.setEpoch(worker.index, 0);
    this.#workerTable.clearOpen(worker.index);
    this.#drain(worker);
    this.#dead.push(epoch);
    const lost = this.#endOrphans(epoch);
    log.fatal("Worker {worker} died and {lost} connections with it: {reason}", { worker: worker.index + 1, lost, reason });
    this.#options.onWorker?.({ worker: worker.index + 1, lost, reason });
    this.handover.onDeath(worker.index, reason);
    if (this.handover.isGiving) return this.#check(); // it is replaced if the connections are taken back
    this.#tellAll(COMMAND.accept);
    this.#check();
    if (this.#stopping) return;
    this.#deaths++;
    const isNobodyLeft = this.#workers.every(({ index }) => this.#workerTable.epoch(index) === 0);
    if (this.#deaths >= DEATHS_MAX && isNobodyLeft) {
      reportError(new Error(`No worker can be started: ${reason}`)); // ends the daemon: clients would connect and never be served
      return;
    }
    const delayMs = this.#deaths === 1 ? 0 : Math.min(RESPAWN_MIN_MS * 2 ** this.#deaths, RESPAWN_MAX_MS);
    const timer = setTimeout(() => {
      this.#respawns.delete(timer);
      if (this.handover.mayReplace(worker.index)) this.#spawn(worker);
    }, delayMs);
    this.#respawns.add(timer);
  }

  /** Closes every descriptor of a dead worker. Returns the number of its connections. */
  #endOrphans(epoch: number): number {
    const { words } = this.#descriptors;
    let connections = 0;
    for (let descriptor = 0; descriptor < this.#descriptors.capacity; descriptor++) {
      const row = rowOf(descriptor);
      if (words[row + WORD.owner] !== epoch) continue;
      if (Atomics.compareExchange(words, row + WORD.owner, epoch, 0) !== epoch) continue;
      if (this.#isHanded(descriptor)) {
        this.#libc.call.close(descriptor); // the other process has it
        continue;
      }
      if (words[row + WORD.role] === ROLE.client) {
        connections++;
        this.#endOrphan(descriptor);
      }
      if (words[row + WORD.role] !== ROLE.pipe) this.#sockets.resetOnClose(descriptor);
      this.#libc.call.close(descriptor);
    }
    return connections;
  }

  /** Whether a socket is of a connection that another process has acknowledged. */
  #isHanded(descriptor: number): boolean {
    const { words } = this.#descriptors;
    const row = rowOf(descriptor);
    if (words[row + WORD.role] === ROLE.pipe) return false;
    const client = words[row + WORD.role] === ROLE.client ? descriptor : words[row + WORD.peer];
    return client >= 0 && words[rowOf(client) + WORD.state] === STATE.handed;
  }

  #endOrphan(client: number): void {
    const { counters, onEnded } = this.#options;
    const { words, floats } = this.#descriptors;
    const row = rowOf(client);
    if (words[row + WORD.state] === 0) words[row + WORD.generation]++; // it had not begun, and gets an id of its own
    const slot = words[row + WORD.slot];
    const server = words[row + WORD.peer];
    if (words[row + WORD.state] === STATE.queued || slot === NO_PLACE) counters.raise("queued", -1);
    if (words[row + WORD.state] === STATE.held) counters.raiseOfService(serviceOf(words, client), "serviceWaiting", -1);
    const durationMs = Math.max(0, performance.now() - floats[floatsOf(client) + FLOAT.startedMs]);
    const [service, listener] = [serviceOf(words, client), listenerOf(words, client)];
    counters.addFate("worker_lost", service, slot < 0 ? undefined : slot, durationMs / 1000);
    const from = (words[row + WORD.moves] >>> FROM_SHIFT) - 1;
    for (const counting of [slot, from]) if (counting >= 0) counters.raiseOf(counting, "serverOpen", -1);
    counters.lowerOpen(service, listener);
    const sentBytes = floats[floatsOf(client) + FLOAT.bytes];
    const receivedBytes = floats[floatsOf(client) + FLOAT.earlierBytes] +
      (server < 0 ? 0 : floats[floatsOf(server) + FLOAT.bytes]);
    const counted = (words[row + WORD.flags] & COUNTED_MASK) >>> COUNTED_SHIFT;
    words[row + WORD.flags] &= ~COUNTED_MASK;
    this.#descriptors.pointTo(client, this.#address);
    if (counted !== 0) this.#gate.leave(service, this.#address, counted, sentBytes, receivedBytes);
    const isLogged = this.#publisher.config.accessLog !== null;
    const id = this.#descriptors.idOf(client);
    onEnded({
      id,
      service,
      listener,
      acceptedAt: isLogged ? this.#logColumns.acceptedAt(client, Date.now(), performance.now()) : undefined,
      endedAt: isLogged ? Date.now() : undefined,
      connectMs: isLogged ? knownOf(this.#logColumns.connectMs(client)) : undefined,
      endedBy: "balancer",
      fate: "worker_lost",
      client: formatClient(this.#descriptors.ipOf(client), words[row + WORD.port] & PORT_MASK),
      server: this.#serverNames[slot],
      attempts: words[row + WORD.attempts],
      moves: words[row + WORD.moves] & MOVES_MASK,
      sentBytes,
      receivedBytes,
      durationMs,
      reason: undefined,
    });
    this.#requests.settle(id, { kind: "ended", fate: "worker_lost" });
  }
}

/** What became of a connection that has moved as a person wanted. */
function movedOutcome({ from, to, state, replayedBytes }: ReportedMove): MoveOutcome {
  return { kind: "moved", from, to, state, replayedBytes };
}

/**
 * Rows of the descriptor table. The kernel allocates the lowest free number, so a limit on open files far beyond our need is no
 * measure.
 */
function tableSize(libc: Libc, connectionsLimit: number): number {
  return Math.min(descriptorLimit(libc), Math.max(DESCRIPTORS_MAX, 3 * connectionsLimit));
}
