/**
 * The event loop of one worker: waits for events and dispatches them. Waiting clients go to the acceptor; events of sockets, timers
 * and main's commands go to the connections. Everything runs on one thread, one event after another; only epoll_wait(2) blocks.
 */

import { LIMITS } from "../../values/config.ts";
import { assert } from "../../values/errors.ts";
import { FATE_NAMES } from "../../values/fates.ts";
import { EPOLL, EPOLL_EVENT, type Libc } from "../system/libc.ts";
import { ACCEPT, type Accept, Acceptor } from "./acceptor.ts";
import { Connections } from "./connections.ts";
import { Gathering } from "./gathering.ts";
import { Giver } from "./giver.ts";
import { COMMAND, COMMAND_BYTES, COMMAND_WORDS } from "./mailbox.ts";
import { makeWorkerKit, type WorkerKit } from "./worker_kit.ts";
import { Taker } from "./taker.ts";
import type { FromWorker, HandoverMessage, WorkerListener, WorkerPublication, WorkerSetup } from "./worker_setup.ts";

/** Events read by one call of epoll_wait(2). */
const EVENTS_MAX = 256;
/** The most clients accepted from one listener in one turn. */
const ACCEPTS_MAX = 64;
/** Commands read by one call. */
const COMMANDS_MAX = 64;
const COMMANDS_SIZE = BigInt(COMMANDS_MAX * COMMAND_BYTES);

/** Why `run` returned. */
type Pause = "message" | "exit";

/** A worker's loop. Throws if its own state is inconsistent; the worker must then die loudly. */
export class EpollLoop {
  readonly #kit: WorkerKit;
  readonly #acceptor: Acceptor;
  readonly #connections: Connections;
  readonly #events = new Int32Array(new ArrayBuffer(EVENTS_MAX * EPOLL_EVENT.words * 4));
  readonly #eventsAddress: bigint;
  readonly #commands = new Int32Array(new ArrayBuffer(COMMANDS_MAX * COMMAND_BYTES));
  readonly #commandsAddress: bigint;
  #commandCount = 0;
  #commandAt = 0;
  #acceptBatch = 1;
  #pause: Pause | undefined;
  /** Undefined: no connection is given to another process. */
  #giver: Giver | undefined;
  /** Connections of another process are taken from these. */
  #takers: Taker[] = [];
  /** Undefined: the worker does not gather. */
  #gathering: Gathering | undefined;
  #isGathering = false;

  constructor(libc: Libc, setup: WorkerSetup, post: (message: FromWorker) => void) {
    this.#kit = makeWorkerKit(libc, setup, post);
    this.#eventsAddress = libc.addressOf(this.#events.buffer);
    this.#commandsAddress = libc.addressOf(this.#commands.buffer);
    this.#connections = new Connections(this.#kit);
    assert(this.#kit.descriptors.watch(setup.mailbox, EPOLL.IN), "cannot watch the mailbox");
    this.#acceptor = new Acceptor(this.#kit);
    this.#setGathering();
    this.adopt(setup.publication);
    this.#kit.workerTable.setEpoch(setup.index, setup.epoch); // from now on other workers may hand clients over
  }

  /** Serves by this publication, and accepts the clients who wait in the queues of listeners that leave. */
  adopt({ services, listeners, leaving, config, generation }: WorkerPublication): void {
    this.#kit.clock.tick();
    if (config !== undefined) {
      this.#kit.services.setDaemon(config);
      this.#setGathering();
    }
    for (const [index, service] of services) {
      if (service === undefined) this.#connections.dropService(index);
      else this.#connections.setService(index, service);
    }
    this.#connections.endChange();
    for (const listener of leaving) this.#kit.services.setListener(listener);
    for (const [, listener] of listeners) if (listener !== undefined) this.#kit.services.setListener(listener);
    for (const listener of leaving) this.#emptyQueue(listener);
    this.#acceptor.setListeners(listeners);
    this.#kit.workerTable.setGeneration(this.#kit.setup.index, generation);
    this.#kit.reports.publish();
  }

  /** Takes a step of a hand-over to another process. */
  carry(step: HandoverMessage): void {
    const { clock, sockets } = this.#kit;
    clock.tick();
    switch (step.kind) {
      case "give":
        this.#acceptor.beginStop();
        this.#acceptor.stop();
        // The other process is not woken for a client for whom this one was, before it stopped.
        for (const listener of this.#acceptor.listeners()) this.#emptyQueue(listener);
        this.#giver = new Giver(this.#kit, this.#connections, step.socket);
        return this.#kit.post({ kind: "giving" });
      case "giveRest":
        return this.#giver?.giveRest();
      case "takeBack":
        if (this.#giver === undefined) return;
        this.#giver.takeBack();
        this.#giver = undefined;
        return this.#acceptor.listen();
      case "take":
        sockets.isShared = true;
        this.#takers.push(new Taker(this.#kit, this.#connections, step.socket, step.indexes));
        return;
      case "listen":
        return this.#acceptor.listen();
      case "alone":
        for (const taker of this.#takers.splice(0)) taker.end();
        sockets.isShared = false;
        this.#kit.post({ kind: "alone" });
    }
  }

  /** Begins to gather events, or ends it, as the settings say. */
  #setGathering(): void {
    const { services, sleep, clock } = this.#kit;
    const isWanted = services.daemon.batchMicros > 0;
    if (isWanted === (this.#gathering !== undefined)) return;
    if (isWanted) sleep.beExact();
    this.#gathering = isWanted ? new Gathering(clock.nowMs) : undefined;
    this.#isGathering = false;
  }

  /** The look-up of a server's name has finished. */
  setAddresses(server: string, addresses: Uint8Array): void {
    this.#kit.clock.tick();
    this.#connections.setAddresses(server, addresses);
    this.#heedShortage();
  }

  /** Serves until a command announces a message or the end. */
  run(): Pause {
    this.#pause = undefined;
    this.#readCommands();
    this.#heedShortage();
    while (this.#pause === undefined) this.#turn();
    if (this.#pause === "exit") this.#kit.pipes.clear();
    return this.#pause;
  }

  /**
   * Waits for events and handles them. New clients come last: one could get the number of a socket that has an event in this batch.
   */
  #turn(): void {
    const { setup, clock, wheel } = this.#kit;
    const count = this.#gathering === undefined ? this.#wait() : this.#gatherAndWait(this.#gathering);
    clock.tick();
    let hasClients = false;
    let hasCommands = false;
    for (let i = 0; i < count; i++) {
      const at = i * EPOLL_EVENT.words;
      const descriptor = this.#events[at + EPOLL_EVENT.dataLow];
      const generation = this.#events[at + EPOLL_EVENT.dataHigh];
      if (generation !== 0) this.#connections.onEvent(descriptor, generation, this.#events[at]);
      else if (descriptor === setup.mailbox) hasCommands = true;
      else if (!this.#isCarrying || !this.#carryOn(descriptor)) hasClients = true;
    }
    if (this.#connections.isBusy) this.#connections.serveQueue();
    wheel.advance(clock.nowMs, this.#connections.onTimer);
    if (clock.nowMs >= this.#connections.waitingDueMs) this.#connections.serveWaiting(this.#takers.length > 0);
    if (hasClients) this.#acceptAll(count);
    else this.#acceptBatch = 1;
    if (clock.nowMs >= this.#acceptor.resumeMs) this.#acceptor.listen();
    if (hasCommands) this.#readCommands();
    this.#giver?.turn();
    this.#heedShortage();
  }

  /** Whether a hand-over is under way. */
  get #isCarrying(): boolean {
    return this.#giver !== undefined || this.#takers.length > 0;
  }

  /** A descriptor has an event that is no client's or server's. False: it is no socket of a hand-over. */
  #carryOn(descriptor: number): boolean {
    const one = this.#giver?.socket === descriptor ? this.#giver : this.#takers.find(({ socket }) => socket === descriptor);
    one?.onEvent();
    return one !== undefined;
  }

  /** Waits for events. Gathers some first if that pays. */
  #gatherAndWait(gathering: Gathering): number {
    const { clock, services, sleep } = this.#kit;
    if (this.#isGathering && !this.#connections.isBusy) sleep.forMicros(services.daemon.batchMicros);
    const startMs = clock.read();
    const count = this.#wait();
    const nowMs = clock.read();
    this.#isGathering = gathering.next(nowMs, nowMs - startMs, count);
    return count;
  }

  /** Waits for events. Polls first if `busyPollMicros` is set: sleeping and waking take longer than a short poll. */
  #wait(): number {
    const { setup, services, clock, libc } = this.#kit;
    const { busyPollMicros } = services.daemon;
    const waitMs = this.#waitMs();
    if (waitMs !== 0 && busyPollMicros > 0) {
      const untilMs = clock.read() + busyPollMicros / 1000;
      do {
        const count = libc.call.epoll_wait(setup.epoll, this.#eventsAddress, EVENTS_MAX, 0);
        if (count !== 0) return count;
      } while (clock.read() < untilMs);
    }
    return libc.call.epoll_wait(setup.epoll, this.#eventsAddress, EVENTS_MAX, waitMs);
  }

  /** The timeout for epoll_wait(2), in ms; -1: none. */
  #waitMs(): number {
    if (this.#connections.isBusy) return 0;
    const { wheel, clock } = this.#kit;
    const wheelMs = wheel.sleepMs(clock.nowMs);
    const sleepMs = this.#giver === undefined ? wheelMs : shorter(wheelMs, this.#giver.waitMs);
    const dueMs = Math.min(this.#acceptor.resumeMs, this.#connections.waitingDueMs);
    if (dueMs === Infinity) return sleepMs;
    const pauseMs = Math.max(0, Math.ceil(dueMs - clock.nowMs));
    return sleepMs < 0 ? pauseMs : Math.min(sleepMs, pauseMs);
  }

  /** Pauses accepting if dialling has found that the system ran out of a resource: more clients could not be served either. */
  #heedShortage(): void {
    const errno = this.#connections.takeShortage();
    if (errno !== 0) this.#acceptor.pause(errno);
  }

  /** Accepts from the listeners that have events. The batch starts at one client and doubles each turn while more are waiting. */
  #acceptAll(count: number): void {
    const batch = this.#acceptBatch;
    this.#acceptBatch = 1;
    for (let i = 0; i < count; i++) {
      const at = i * EPOLL_EVENT.words;
      if (this.#events[at + EPOLL_EVENT.dataHigh] !== 0) continue;
      const listener = this.#acceptor.listenerOf(this.#events[at + EPOLL_EVENT.dataLow]);
      if (listener !== undefined && this.#acceptFrom(listener, batch)) this.#acceptBatch = Math.min(batch * 2, ACCEPTS_MAX);
    }
  }

  /** Accepts up to `max` clients. False: no more are waiting. */
  #acceptFrom(listener: WorkerListener, max: number): boolean {
    for (let accepted = 0; accepted < max && this.#acceptor.isListening; accepted++) {
      if (!this.#acceptOne(listener)) return false;
    }
    return true;
  }

  /** False: nobody is waiting. */
  #acceptOne(listener: WorkerListener): boolean {
    const outcome = this.#acceptor.accept(listener);
    if (outcome === ACCEPT.nobody) return false;
    const { client, noted } = this.#acceptor;
    if (outcome === ACCEPT.refused) this.#connections.refuse(client, noted, listener);
    else this.#onAccepted(outcome);
    this.#heedShortage();
    return true;
  }

  /** A client is this worker's, or is lost. */
  #onAccepted(outcome: Accept): void {
    const { client } = this.#acceptor;
    if (outcome === ACCEPT.kept) this.#connections.begin(client);
    else if (outcome === ACCEPT.lost) this.#connections.loseUnbegun(client);
  }

  /** Accepts every client that waits in the listeners' queues. */
  #emptyQueues(): void {
    for (const listener of this.#acceptor.listeners()) this.#acceptFrom(listener, LIMITS.acceptBacklog);
  }

  /** Accepts every client that waits in the queue of a listener that goes, even if accepting is paused: there is no later. */
  #emptyQueue(listener: WorkerListener): void {
    for (let accepted = 0; accepted < LIMITS.acceptBacklog && this.#acceptOne(listener); accepted++);
  }

  /** Reads commands until there are none left, or one pauses the loop. */
  #readCommands(): void {
    const { libc, setup } = this.#kit;
    while (this.#pause === undefined) {
      if (this.#commandAt === this.#commandCount) {
        const bytes = libc.call.read(setup.mailbox, this.#commandsAddress, COMMANDS_SIZE);
        if (bytes <= 0) return;
        assert(bytes % COMMAND_BYTES === 0, "half a command");
        this.#commandAt = 0;
        this.#commandCount = bytes / COMMAND_BYTES;
      }
      this.#onCommand(this.#commandAt++ * COMMAND_WORDS);
    }
  }

  /** Carries out the command that begins at this word. */
  #onCommand(at: number): void {
    const commands = this.#commands;
    const kind = commands[at];
    const epoch = commands[at + 1];
    const a = commands[at + 2];
    if (kind === COMMAND.client) return this.#onAccepted(this.#acceptor.takeOver(a, epoch));
    if (epoch !== this.#kit.setup.epoch) {
      assert(epoch > 0 && epoch < this.#kit.setup.epoch, `a command for worker ${epoch}`);
      return;
    }
    switch (kind) {
      case COMMAND.message:
        this.#pause = "message";
        return;
      case COMMAND.vacate:
        return this.#connections.vacate(a);
      case COMMAND.lose:
        return this.#connections.loseSilent(a, commands[at + 3], commands[at + 4]);
      case COMMAND.sendToOwner:
        return this.#connections.sendToOwner(a, commands[at + 3]);
      case COMMAND.closeOne:
        return this.#connections.closeOne(a, commands[at + 3]);
      case COMMAND.moveOne:
        return this.#connections.moveOne(a, commands[at + 3], { from: commands[at + 4], to: commands[at + 5] });
      case COMMAND.stopAccepting:
        this.#acceptor.beginStop();
        this.#emptyQueues();
        this.#acceptor.stop();
        this.#connections.endWaiting("stopped");
        this.#kit.workerTable.setStopped(this.#kit.setup.index);
        return this.#kit.reports.publish();
      case COMMAND.accept:
        return this.#emptyQueues();
      case COMMAND.turn:
        return this.#kit.workerTable.setTurn(this.#kit.setup.index, a);
      case COMMAND.endAll:
        return this.#connections.endAll(FATE_NAMES[a]);
      case COMMAND.exit:
        this.#pause = "exit";
        return;
      default:
        assert(false, `a command of kind ${kind}`);
    }
  }
}

/** The shorter of two timeouts, of which the first may be -1 and the second Infinity: none. */
function shorter(oneMs: number, otherMs: number): number {
  if (otherMs === Infinity) return oneMs;
  return oneMs < 0 ? otherMs : Math.min(oneMs, otherMs);
}
