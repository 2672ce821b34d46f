/**
 * One worker's loop: waits for events of its connections, and gives each its turn. Accepting, dialling, moving bytes, timers and commands all happen
 * here, one after another, on one thread; nothing in it waits but epoll_wait(2). A connection is a client's row and, once dialled, a
 * server's; it ends in `end`, once, with one fate.
 */

import { LIMITS } from "../../values/config.ts";
import { assert } from "../../values/errors.ts";
import { Counters } from "../../observe/counters.ts";
import { type Fate, FATE_NAMES } from "../../values/fates.ts";
import { AVAILABILITY, AvailabilityTable, isDraining } from "../../routing/availability.ts";
import { DescriptorTable, FLAG, FLOAT, ROLE, ROW_SHIFT, WORD } from "./descriptor_table.ts";
import { Dialer, type DialerLoop, type Move, REASON } from "./dialer.ts";
import { Redistributor, type RedistributorLoop, type Reset } from "./redistributor.ts";
import type { EngineConfig } from "../engine.ts";
import { ERRNO } from "../system/errno.ts";
import { EPOLL, EPOLL_EVENT, type Libc, SOCKADDR, SOCKET } from "../system/libc.ts";
import { COMMAND, COMMAND_BYTES, COMMAND_WORDS } from "./mailbox.ts";
import { ChunkPool, PipePool } from "./pools.ts";
import { ALL_EVENTS, type EventRecord, OUTCOME, type Outcome, Relay } from "./relay.ts";
import { Recorder } from "./recorder.ts";
import { REPORT, ReportWriter } from "./reports.ts";
import { WorkerTable } from "./worker_table.ts";
import { SilenceWatch, SILENT } from "./silence.ts";
import type { SharedTable } from "./shared_table.ts";
import { Sockets } from "../system/sockets.ts";
import { ipLength, ipStart, portOf } from "../system/sockaddr.ts";
import { TimerWheel } from "./timer_wheel.ts";
import type { FromWorker, WorkerSetup } from "./worker_setup.ts";

/** Events taken at a time. */
const EVENTS_MAX = 256;
/** Clients accepted in one turn, while they keep coming. */
const ACCEPTS_MAX = 64;
/** Letters read at a time. */
const COMMANDS_MAX = 64;
/** How long accepting pauses when no descriptor is left: doubled from the first to the last. */
const ACCEPT_PAUSE_MIN_MS = 50;
const ACCEPT_PAUSE_MAX_MS = 1000;
/** Trouble that comes again within this time is the same: it is told once, and pauses grow. */
const ACCEPT_TROUBLE_MS = 10_000;
/** A connection that lives so long gets what a short one does without: four calls that set its server's keep-alive. */
const KEEP_ALIVE_AFTER_MS = 1000;

/** Errors of accept(2) that are one client's, who was gone before its turn (accept(2), "Error handling"). */
const CLIENT_ERRORS: readonly number[] = [
  ERRNO.ECONNABORTED,
  ERRNO.EPROTO,
  ERRNO.EPERM,
  ERRNO.ENETDOWN,
  ERRNO.EHOSTDOWN,
  ERRNO.EHOSTUNREACH,
  ERRNO.ENETUNREACH,
];

const COMMAND_SIZE = BigInt(COMMAND_BYTES);
const COMMANDS_SIZE = BigInt(COMMANDS_MAX * COMMAND_BYTES);
/** Unread bytes taken away from a client's socket before it is closed, at the most. */
const DISCARDED_AT_END = BigInt(16 * 1024 * 1024);

/** What is told of a client, beside the numbers that are worked out. */
const REPORTED_WORDS = [WORD.attempts, WORD.moves, WORD.ip, WORD.ip + 1, WORD.ip + 2, WORD.ip + 3, WORD.ipLength, WORD.port];

const FATE_NUMBER = Object.fromEntries(FATE_NAMES.map((fate, number) => [fate, number])) as Record<Fate, number>;

const FAILED_EVENTS = EPOLL.ERR | EPOLL.HUP;
const INPUT_EVENTS = EPOLL.IN | EPOLL.RDHUP | EPOLL.PRI | FAILED_EVENTS;

/** Errors by which a server is known to be dead, and not only done with this connection. */
const DEAD_ERRORS: readonly number[] = [ERRNO.ETIMEDOUT, ERRNO.EHOSTUNREACH, ERRNO.ENETUNREACH];

/** Why `run` came back. */
export type Pause = "message" | "exit";

/** A worker's loop. Throws where its own books are wrong: the worker must die then, loudly. */
export class EpollLoop implements DialerLoop, RedistributorLoop {
  readonly sockets: Sockets;
  readonly table: DescriptorTable;
  readonly counters: Counters;
  readonly wheel: TimerWheel;
  readonly config: EngineConfig;
  readonly availabilities: AvailabilityTable;
  readonly #setup: WorkerSetup;
  readonly #clockOffsetMs: number;
  readonly #workerTable: WorkerTable;
  readonly reports: ReportWriter;
  readonly #pipes: PipePool;
  readonly recorder: Recorder;
  readonly #silence: SilenceWatch;
  readonly relay: Relay;
  readonly dialer: Dialer;
  readonly #redistributor: Redistributor;
  readonly #words: Int32Array;
  /** A row with the REPORTED_WORDS of the client that ended last. */
  readonly #ended = new Int32Array(1 << ROW_SHIFT);
  readonly #floats: Float64Array;

  readonly #events = new Int32Array(new ArrayBuffer(EVENTS_MAX * EPOLL_EVENT.words * 4));
  readonly #eventsAddress: bigint;
  readonly #event: EventRecord;
  readonly #commands = new Int32Array(new ArrayBuffer(COMMANDS_MAX * COMMAND_BYTES));
  readonly #commandsAddress: bigint;
  readonly #command = new Int32Array(new ArrayBuffer(COMMAND_BYTES));
  readonly #commandAddress: bigint;
  readonly #clientName = new Uint8Array(new ArrayBuffer(SOCKADDR.length6 + 4));
  readonly #clientNameAddress: bigint;
  readonly #clientNameLength = new Int32Array(new ArrayBuffer(4));
  readonly #clientNameLengthAddress: bigint;

  /** Sockets whose turn was over before they were done; they get another one before the next wait. */
  #queue: number[] = [];
  #nextQueue: number[] = [];
  /** The time of this turn. */
  nowMs: number;
  #acceptBatch = 1;
  #listens = false;
  #isStopping = false;
  #acceptPauseMs = 0;
  #acceptFailedMs = -Infinity;
  #resumeAcceptMs = Infinity;
  #highest = 0;
  #commandCount = 0;
  #commandAt = 0;
  #pause: Pause | undefined;

  constructor(readonly libc: Libc, setup: WorkerSetup, readonly post: (message: FromWorker) => void) {
    this.#setup = setup;
    this.config = setup.config;
    this.#clockOffsetMs = performance.timeOrigin - setup.timeOrigin;
    this.nowMs = this.#clock();
    this.sockets = new Sockets(libc);
    this.table = new DescriptorTable(setup.descriptors);
    this.#words = this.table.words;
    this.#floats = this.table.floats;
    this.counters = new Counters(setup.counters, setup.index + 1);
    this.availabilities = new AvailabilityTable(setup.availabilities);
    this.wheel = new TimerWheel(this.table.capacity, this.nowMs);
    this.#workerTable = new WorkerTable(setup.workerTable);
    this.reports = new ReportWriter(setup.reports, () => post({ kind: "news" }));
    this.#pipes = new PipePool(libc, this.table, setup.epoch, setup.pipesMax);
    this.recorder = new Recorder(libc, this.config.replayBytesMax);
    this.#silence = new SilenceWatch(this.sockets, this.table, this.wheel, this.config);
    this.relay = new Relay({
      libc,
      sockets: this.sockets,
      table: this.table,
      counters: this.counters,
      chunks: new ChunkPool(libc),
      pipes: this.#pipes,
      recorder: this.recorder,
      silence: this.#silence,
      policy: this.config,
    });
    this.dialer = new Dialer(this, setup.table);
    this.#redistributor = new Redistributor(this);
    this.#eventsAddress = libc.addressOf(this.#events.buffer);
    this.#commandsAddress = libc.addressOf(this.#commands.buffer);
    this.#commandAddress = libc.addressOf(this.#command.buffer);
    this.#clientNameAddress = libc.addressOf(this.#clientName.buffer);
    this.#clientNameLengthAddress = libc.addressOf(this.#clientNameLength.buffer);
    this.#event = makeEventRecord(libc);
    this.#watch(setup.mailbox, EPOLL.IN);
    this.#listen();
    this.useTable(setup.table);
    this.#workerTable.setEpoch(setup.index, setup.epoch); // from now on others may hand clients over
  }

  /** Routes new connections by this table. */
  useTable(table: SharedTable): void {
    this.dialer.setRouting(table);
    this.#workerTable.setGeneration(this.#setup.index, table.generation);
    this.reports.publish();
  }

  /** The addresses of a server known by name are there. */
  useName(server: string, addresses: Uint8Array): void {
    this.nowMs = this.#clock();
    this.dialer.onFound(server, addresses, this.nowMs);
  }

  /** Serves until a command announces a message, or the end. */
  run(): Pause {
    this.#pause = undefined;
    this.#readCommands();
    while (this.#pause === undefined) this.#turn();
    if (this.#pause === "exit") this.#pipes.clear();
    return this.#pause;
  }

  adopt(descriptor: number, role: number, peer: number, flags: number): boolean {
    const words = this.#words;
    const row = descriptor << ROW_SHIFT;
    if (descriptor >= this.table.capacity - 1) {
      this.libc.call.close(descriptor);
      return false;
    }
    words[row + WORD.owner] = this.#setup.epoch;
    words[row + WORD.generation]++;
    if (words[row + WORD.generation] === 0) words[row + WORD.generation] = 1; // 0 is the listener's and the mailbox's
    words[row + WORD.role] = role;
    words[row + WORD.peer] = peer;
    words[row + WORD.flags] = flags;
    words[row + WORD.errno] = 0;
    words[row + WORD.chunk] = 0;
    words[row + WORD.pipe] = 0;
    words[row + WORD.pipeBytes] = 0;
    words[row + WORD.score] = 0;
    words[row + WORD.interest] = ALL_EVENTS;
    const float = descriptor << (ROW_SHIFT - 1);
    this.#floats[float + FLOAT.bytes] = 0;
    this.#floats[float + FLOAT.lastActivityMs] = this.nowMs;
    if (descriptor > this.#highest) this.#highest = descriptor;
    this.#event.set(ALL_EVENTS, descriptor, words[row + WORD.generation]);
    if (this.libc.call.epoll_ctl(this.#setup.epoll, EPOLL.CTL_ADD, descriptor, this.#event.address) === 0) return true;
    this.release(descriptor);
    return false;
  }

  release(descriptor: number): void {
    const row = descriptor << ROW_SHIFT;
    this.relay.drop(descriptor);
    // Events of it may still be in this batch, and another worker may hand the number back before they come up.
    this.#words[row + WORD.generation]++;
    this.#words[row + WORD.owner] = 0;
    this.libc.call.close(descriptor);
  }

  reportFailure(slot: number, errno: number): void {
    this.reports.write(REPORT.serverFailed, 0, slot, 0, 0, errno, this.#words, 0, 0, 0, 0, 0, 0);
    this.reports.publish();
  }

  /** The one place where a connection ends. `reset` says who is told by a reset. */
  end(client: number, fate: Fate, reset: Reset = "nobody"): void {
    const words = this.#words;
    const floats = this.#floats;
    const row = client << ROW_SHIFT;
    this.#redistributor.dropMove(client);
    const server = words[row + WORD.peer];
    const slot = words[row + WORD.slot];
    const float = client << (ROW_SHIFT - 1);
    const serverRow = server << ROW_SHIFT;
    const errno = words[row + WORD.errno] !== 0 || server < 0 ? words[row + WORD.errno] : words[serverRow + WORD.errno];
    const sentBytes = floats[float + FLOAT.bytes];
    const receivedBytes = floats[float + FLOAT.earlierBytes] + (server < 0 ? 0 : floats[(server << (ROW_SHIFT - 1)) + FLOAT.bytes]);
    const durationMs = Math.max(0, this.nowMs - floats[float + FLOAT.startedMs]); // another worker may have begun it by a later clock
    this.#keepRow(client);
    this.wheel.clear(client);
    this.dialer.forgetEnded(client);
    if (server >= 0 && (reset === "both" || reset === "server" || this.#isCut(client))) this.sockets.resetOnClose(server);
    if (reset === "both" || reset === "client" || (server >= 0 && this.#isCut(server))) this.sockets.resetOnClose(client);
    else if (fate !== "done") this.#sayEnd(client);
    if (server >= 0) this.release(server);
    this.release(client);
    this.recorder.forget(client); // after all that asks whether something is still to be said again
    this.reports.begin();
    this.counters.addFate(fate, slot < 0 ? undefined : slot);
    if (slot >= 0) this.counters.raiseOf(slot, "serverOpen", -1);
    this.counters.raise("open", -1);
    this.#workerTable.addOpen(this.#setup.index, -1);
    this.#report(fate, slot, errno, sentBytes, receivedBytes, durationMs);
  }

  /** Copies what is told of a client's end: the row is another worker's as soon as the socket is closed. */
  #keepRow(client: number): void {
    const row = client << ROW_SHIFT;
    for (let i = 0; i < REPORTED_WORDS.length; i++) this.#ended[REPORTED_WORDS[i]] = this.#words[row + REPORTED_WORDS[i]];
  }

  /** Tells main of the end of the connection whose row was kept last. */
  #report(
    fate: Fate,
    slot: number,
    errno: number,
    sentBytes: number,
    receivedBytes: number,
    durationMs: number,
  ): void {
    const words = this.#ended;
    this.reports.write(
      REPORT.ended,
      FATE_NUMBER[fate],
      slot,
      words[WORD.attempts],
      words[WORD.moves],
      errno,
      words,
      WORD.ip,
      words[WORD.ipLength],
      words[WORD.port],
      sentBytes,
      receivedBytes,
      durationMs,
    );
    this.reports.publish();
  }

  /** Counts and tells of the end of a client that was accepted and counted, and whose connection did not begin. */
  #endUnbegun(client: number, fate: Fate, errno = 0): void {
    this.#keepRow(client);
    this.reports.begin();
    this.counters.addFate(fate);
    this.counters.raise("open", -1);
    this.#report(fate, -1, errno, 0, 0, 0);
  }

  /** Whether something that this socket sent was not passed on: the other must not take what it got for whole. */
  #isCut(socket: number): boolean {
    const flags = this.#words[(socket << ROW_SHIFT) + WORD.flags];
    if ((flags & (FLAG.done | FLAG.connecting)) !== 0) return false;
    return this.relay.isHolding(socket) || (flags & FLAG.readable) !== 0 || this.recorder.pending(socket) > 0;
  }

  /** What is unread when a socket is closed makes a reset of its end, which could overtake what was sent: the end goes first. */
  #sayEnd(client: number): void {
    this.libc.call.recv(client, 0n, DISCARDED_AT_END, SOCKET.MSG_TRUNC);
    this.libc.call.shutdown(client, SOCKET.SHUT_WR);
  }

  /** Waits for events and handles them; new clients last, or one could get the number of a socket that has an event yet to come. */
  #turn(): void {
    const count = this.#wait();
    this.nowMs = this.#clock();
    let clients = false;
    let commands = false;
    for (let i = 0; i < count; i++) {
      const at = i * EPOLL_EVENT.words;
      const descriptor = this.#events[at + EPOLL_EVENT.dataLow];
      const generation = this.#events[at + EPOLL_EVENT.dataHigh];
      if (generation !== 0) this.#onEvent(descriptor, generation, this.#events[at]);
      else if (descriptor === this.#setup.listener) clients = true;
      else commands = true;
    }
    if (this.#queue.length > 0) this.#serveQueue();
    this.wheel.advance(this.nowMs, this.#onTimer);
    if (clients) this.#accept();
    else this.#acceptBatch = 1;
    if (this.nowMs >= this.#resumeAcceptMs) this.#listen();
    if (commands) this.#readCommands();
  }

  /** Waits for events, awake at first if that was asked for: being woken takes longer than a short look. */
  #wait(): number {
    const waitMs = this.#waitMs();
    if (waitMs !== 0 && this.config.busyPollMicros > 0) {
      const untilMs = this.nowMs + this.config.busyPollMicros / 1000;
      do {
        const count = this.libc.call.epoll_wait(this.#setup.epoll, this.#eventsAddress, EVENTS_MAX, 0);
        if (count !== 0) return count;
      } while (this.#clock() < untilMs);
    }
    return this.libc.call.epoll_wait(this.#setup.epoll, this.#eventsAddress, EVENTS_MAX, waitMs);
  }

  /** How long epoll may wait, as it takes it. */
  #waitMs(): number {
    if (this.#queue.length > 0) return 0;
    const sleepMs = this.wheel.sleepMs(this.nowMs);
    if (this.#resumeAcceptMs === Infinity) return sleepMs;
    const pauseMs = Math.max(0, Math.ceil(this.#resumeAcceptMs - this.nowMs));
    return sleepMs < 0 ? pauseMs : Math.min(sleepMs, pauseMs);
  }

  #onEvent(socket: number, generation: number, events: number): void {
    const words = this.#words;
    const row = socket << ROW_SHIFT;
    if (words[row + WORD.generation] !== generation || words[row + WORD.owner] !== this.#setup.epoch) return;
    let flags = words[row + WORD.flags];
    if ((flags & FLAG.connecting) !== 0) {
      if (!this.dialer.onEvent(socket, events, this.nowMs)) return;
      if (!this.#onConnected(words[row + WORD.peer])) return;
      flags = words[row + WORD.flags];
    }
    if ((events & INPUT_EVENTS) !== 0) flags |= FLAG.readable;
    if ((events & EPOLL.PRI) !== 0) flags |= FLAG.urgent;
    flags |= this.#endFlags(row, events, flags);
    const hasRoom = (events & EPOLL.OUT) !== 0 && (flags & FLAG.writable) === 0;
    if (hasRoom) flags |= FLAG.writable;
    words[row + WORD.flags] = flags;
    if ((flags & FLAG.kept) !== 0) {
      const client = words[row + WORD.peer];
      if (this.dialer.keptServer(client) === socket && this.#redistributor.hasSpokenUp(socket)) {
        this.dialer.callOff(client, this.nowMs);
      }
      return;
    }
    const peer = words[row + WORD.peer];
    if (peer < 0 || (words[(peer << ROW_SHIFT) + WORD.flags] & FLAG.connecting) !== 0) {
      if ((events & FAILED_EVENTS) !== 0) this.#loseWaitingClient(socket);
      else if ((events & INPUT_EVENTS) !== 0 && this.dialer.isOptional(socket)) this.dialer.callOff(socket, this.nowMs);
      return;
    }
    if ((flags & FLAG.broken) !== 0) {
      this.onBroken(socket, peer);
      return;
    }
    if ((events & INPUT_EVENTS) !== 0 && !this.#move(socket, peer)) return;
    if (hasRoom) this.#move(peer, socket);
  }

  /**
   * What an event says of the socket's end. A hang-up of both directions, of which we have not ended ours, is a reset whose error
   * a call was told in passing (splice(2) gives only the count of what went before); unless the end had come before it. An end that
   * is reported while urgent data is not asked for says nothing of that: it is reported again when it is.
   */
  #endFlags(row: number, events: number, flags: number): number {
    const words = this.#words;
    if ((events & EPOLL.ERR) !== 0) return FLAG.broken;
    const peer = words[row + WORD.peer];
    const hasOurEnd = peer >= 0 && (words[(peer << ROW_SHIFT) + WORD.flags] & FLAG.done) !== 0;
    if ((events & EPOLL.HUP) !== 0 && !hasOurEnd) return (flags & FLAG.fin) !== 0 ? FLAG.broken : FLAG.broken | FLAG.reset;
    if ((events & EPOLL.RDHUP) === 0) return 0;
    return (words[row + WORD.interest] & EPOLL.PRI) !== 0 ? FLAG.fin | FLAG.hangup : FLAG.fin;
  }

  /** A client that waits for its server has gone. */
  #loseWaitingClient(client: number): void {
    this.#words[(client << ROW_SHIFT) + WORD.errno] = this.sockets.takeError(client);
    this.end(client, "client_gone", "both");
  }

  /** A server has accepted: what the client has sent meanwhile goes there. False if the client stays with the server it had. */
  #onConnected(client: number): boolean {
    const words = this.#words;
    const row = client << ROW_SHIFT;
    const kept = this.dialer.keptServer(client);
    if (kept >= 0 && (this.dialer.isNoLongerWanted(client) || this.#redistributor.hasSpokenUp(kept))) {
      this.dialer.callOff(client, this.nowMs);
      return false;
    }
    const move = this.dialer.takeMove(client);
    if (move === undefined) this.#floats[(client << (ROW_SHIFT - 1)) + FLOAT.lastActivityMs] = this.nowMs;
    else this.#redistributor.arrive(client, move);
    this.wheel.set(client, this.nowMs + Math.min(KEEP_ALIVE_AFTER_MS, this.config.idleTimeoutMs));
    if ((words[row + WORD.flags] & (FLAG.readable | FLAG.replaying)) !== 0) this.queueUp(client);
    if ((words[(words[row + WORD.peer] << ROW_SHIFT) + WORD.flags] & FLAG.readable) !== 0) this.queueUp(words[row + WORD.peer]);
    return true;
  }

  onStaying(client: number, move: Move): void {
    this.#redistributor.onStaying(client, move);
  }

  onAskedInVain(client: number): void {
    this.#redistributor.onAskedInVain(client);
  }

  askForAllEvents(socket: number): void {
    this.relay.adjustInterest(this.#setup.epoll, socket, this.#event);
  }

  /** Moves bytes from one socket to the other and draws the consequences. False if the connection has ended. */
  #move(from: number, to: number): boolean {
    const outcome = this.relay.move(from, this.nowMs);
    return outcome === OUTCOME.idle ? this.#stay(from, to) : this.#settle(from, to, outcome);
  }

  #settle(from: number, to: number, outcome: Outcome): boolean {
    const words = this.#words;
    switch (outcome) {
      case OUTCOME.more:
        this.queueUp(from);
        break;
      case OUTCOME.ended:
        return this.onEnded(from, to);
      case OUTCOME.atEnd:
        return this.#redistributor.onServerEnd(from, to);
      case OUTCOME.senderFailed:
        this.#endReset(from, to);
        return false;
      case OUTCOME.receiverFailed:
        // Both are to be read on: the one for what it sent before it failed, the other because its end may have come with these bytes.
        words[(to << ROW_SHIFT) + WORD.flags] |= FLAG.readable;
        words[(from << ROW_SHIFT) + WORD.flags] |= FLAG.readable;
        this.onBroken(to, from);
        return false;
    }
    return this.#stay(from, to);
  }

  /** The connection goes on. Where much is moved, or was until now, epoll is told what to wait for. */
  #stay(from: number, to: number): true {
    const words = this.#words;
    const flags = (from << ROW_SHIFT) + WORD.flags;
    const isBulk = this.relay.isBulk(from);
    if (!isBulk && (words[flags] & FLAG.bulk) === 0) return true;
    words[flags] = isBulk ? words[flags] | FLAG.bulk : words[flags] & ~FLAG.bulk;
    this.relay.adjustInterest(this.#setup.epoll, from, this.#event);
    this.relay.adjustInterest(this.#setup.epoll, to, this.#event);
    return true;
  }

  /** One direction has ended: both have, or the other goes on. */
  onEnded(from: number, to: number): boolean {
    const words = this.#words;
    const client = this.#clientOf(from);
    const fromFlags = words[(from << ROW_SHIFT) + WORD.flags];
    const toFlags = words[(to << ROW_SHIFT) + WORD.flags];
    if ((toFlags & FLAG.broken) !== 0) {
      if (to !== client && (toFlags & FLAG.done) === 0) return true; // what the server sent before it failed still goes to the client
      this.end(client, to === client ? "client_gone" : "server_closed");
    } else if ((toFlags & FLAG.done) !== 0) {
      this.end(client, from !== client && (fromFlags & FLAG.broken) !== 0 ? "server_closed" : "done");
    } else if ((fromFlags & FLAG.broken) !== 0) return this.onBroken(from, to);
    else {
      if ((toFlags & FLAG.watched) === 0) this.#silence.begin(to, this.nowMs); // an end has to be acknowledged, too
      return true;
    }
    return false;
  }

  /**
   * The socket failed. What it sent before is passed on as far as the other takes it; then the other is told. A client's bytes do not
   * wait for a server that takes none: it may never do so, and the client is gone.
   */
  onBroken(socket: number, peer: number): false {
    const words = this.#words;
    const row = socket << ROW_SHIFT;
    if ((words[row + WORD.flags] & FLAG.done) !== 0) {
      this.#loseFinished(socket, peer);
      return false;
    }
    let outcome = this.relay.move(socket, this.nowMs);
    while (outcome === OUTCOME.more) outcome = this.relay.move(socket, this.nowMs);
    if (outcome === OUTCOME.ended) this.onEnded(socket, peer);
    else if (outcome === OUTCOME.atEnd) this.#redistributor.onServerEnd(socket, peer);
    else if (outcome === OUTCOME.blocked && words[row + WORD.role] === ROLE.server) {
      this.#settle(socket, peer, outcome);
      this.queueUp(peer); // it may have to send all before it reads: nobody takes that but we
    } else this.#endReset(socket, peer);
    return false;
  }

  /** A socket whose end was passed on has failed: it takes no more of what the other sends. */
  #loseFinished(socket: number, peer: number): void {
    const client = this.#clientOf(socket);
    if (socket !== client) return this.end(client, "server_closed");
    // Closing the server's socket now could take away what the client sent before it went.
    const outcome = this.relay.move(peer, this.nowMs);
    if (outcome === OUTCOME.ended || outcome === OUTCOME.senderFailed) this.end(client, "client_gone");
    else {
      if (outcome === OUTCOME.more) this.queueUp(peer);
      this.#stay(peer, socket);
    }
  }

  /** A socket was reset, or its system is gone: the other is reset, too, so that nothing cut is taken for whole. */
  #endReset(socket: number, peer: number): void {
    const client = this.#clientOf(socket);
    const isClients = socket === client || (this.#words[(client << ROW_SHIFT) + WORD.flags] & FLAG.broken) !== 0;
    if (this.#words[(socket << ROW_SHIFT) + WORD.errno] === 0) {
      this.#words[(socket << ROW_SHIFT) + WORD.errno] = this.sockets.takeError(socket) || ERRNO.ECONNRESET;
    }
    if (isClients) return this.end(client, "client_gone", peer === client ? "client" : "server");
    const errno = this.#words[(socket << ROW_SHIFT) + WORD.errno];
    if (DEAD_ERRORS.includes(errno)) this.reportFailure(this.#words[(client << ROW_SHIFT) + WORD.slot], errno);
    if (!this.#redistributor.redistribute(client, "reset")) this.#redistributor.cutLost(client, "reset");
  }

  #clientOf(socket: number): number {
    const row = socket << ROW_SHIFT;
    return this.#words[row + WORD.role] === ROLE.client ? socket : this.#words[row + WORD.peer];
  }

  queueUp(socket: number): void {
    const row = socket << ROW_SHIFT;
    if ((this.#words[row + WORD.flags] & FLAG.queued) !== 0) return;
    this.#words[row + WORD.flags] |= FLAG.queued;
    this.#queue.push(socket, this.#words[row + WORD.generation]);
  }

  #serveQueue(): void {
    const words = this.#words;
    const turn = this.#queue;
    this.#queue = this.#nextQueue;
    this.#nextQueue = turn;
    for (let i = 0; i < turn.length; i += 2) {
      const row = turn[i] << ROW_SHIFT;
      if (words[row + WORD.generation] !== turn[i + 1] || words[row + WORD.owner] !== this.#setup.epoch) continue;
      words[row + WORD.flags] &= ~FLAG.queued;
      const peer = words[row + WORD.peer];
      if (peer < 0 || (words[row + WORD.flags] & FLAG.kept) !== 0) continue; // on its way to another server: it is queued again
      if ((words[(peer << ROW_SHIFT) + WORD.flags] & FLAG.connecting) === 0) this.#move(turn[i], peer);
    }
    turn.length = 0;
  }

  /** Main's clock, which all workers share: performance.now() begins anew in each thread. */
  #clock(): number {
    return performance.now() + this.#clockOffsetMs;
  }

  readonly #onTimer = (client: number): void => {
    const words = this.#words;
    const row = client << ROW_SHIFT;
    const server = words[row + WORD.peer];
    if (server < 0 || (words[(server << ROW_SHIFT) + WORD.flags] & FLAG.connecting) !== 0) {
      return this.dialer.onTimeout(client, this.nowMs);
    }
    const quietForMs = this.#redistributor.quietForMs(client);
    if (quietForMs >= this.config.idleTimeoutMs) return this.end(client, "idle_timeout");
    if ((words[row + WORD.flags] & FLAG.keepAliveSet) === 0) {
      words[row + WORD.flags] |= FLAG.keepAliveSet;
      this.sockets.setLiveness(server, { keepAliveMs: this.config.keepAliveMs, userTimeoutMs: this.config.serverTimeoutMs });
    }
    this.wheel.set(client, this.nowMs + this.config.idleTimeoutMs - quietForMs);
    if (this.#isSilent(server, client) || this.#isSilent(client, server)) return;
    if (isDraining(this.availabilities.get(words[row + WORD.slot]))) this.#redistributor.leaveServer(client);
  };

  /** Whether the socket's host turns out to be gone, which is then dealt with; if not, sees to it that it is looked at again. */
  #isSilent(socket: number, peer: number): boolean {
    const againMs = this.#silence.check(socket, this.nowMs);
    if (againMs !== SILENT) this.wheel.sooner(this.#clientOf(socket), againMs);
    else this.#loseSilent(socket, peer);
    return againMs === SILENT;
  }

  /** To the loop it is as if it had been reset: what had come of it is passed on; what it has not taken it is never to be sent. */
  #loseSilent(socket: number, peer: number): void {
    const row = socket << ROW_SHIFT;
    this.#words[row + WORD.errno] = ERRNO.ETIMEDOUT;
    this.#words[row + WORD.flags] |= FLAG.broken | FLAG.reset | FLAG.readable;
    this.sockets.resetOnClose(socket);
    this.libc.call.shutdown(socket, SOCKET.SHUT_RD); // after what had come reading gives an end, and not nothing for now
    this.onBroken(socket, peer);
  }

  #watch(descriptor: number, events: number): void {
    this.#event.set(events, descriptor, 0);
    const failed = this.libc.call.epoll_ctl(this.#setup.epoll, EPOLL.CTL_ADD, descriptor, this.#event.address) < 0;
    assert(!failed, `cannot watch descriptor ${descriptor}`);
  }

  #listen(): void {
    this.#watch(this.#setup.listener, EPOLL.IN | EPOLL.EXCLUSIVE);
    this.#listens = true;
    this.#resumeAcceptMs = Infinity;
  }

  #unlisten(): void {
    if (this.#listens) this.libc.call.epoll_ctl(this.#setup.epoll, EPOLL.CTL_DEL, this.#setup.listener, this.#event.address);
    this.#listens = false;
    this.#resumeAcceptMs = Infinity;
  }

  /** Accepts one client, and twice as many each time there are more: so few calls find nobody. */
  #accept(): void {
    for (let accepted = 0; accepted < this.#acceptBatch && this.#listens; accepted++) if (!this.#acceptOne()) return;
    this.#acceptBatch = Math.min(this.#acceptBatch * 2, ACCEPTS_MAX);
  }

  /** False if nobody is waiting, or accepting fails. */
  #acceptOne(): boolean {
    this.#clientNameLength[0] = this.#clientName.length;
    const client = this.libc.call.accept4(
      this.#setup.listener,
      this.#clientNameAddress,
      this.#clientNameLengthAddress,
      SOCKET.SOCK_NONBLOCK | SOCKET.SOCK_CLOEXEC,
    );
    if (client < 0) return this.#onAcceptError(this.libc.errno());
    this.counters.add("accepted");
    if (this.counters.raise("open") > this.config.connectionsMax || client >= this.table.capacity - 1) this.#refuse(client);
    else if (!this.#handOver(client)) this.#keep(client);
    return true;
  }

  #onAcceptError(errno: number): boolean {
    if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return false;
    if (CLIENT_ERRORS.includes(errno)) {
      this.counters.add("gone");
      return true;
    }
    this.counters.add("acceptErrors");
    this.pauseAccepting(errno);
    return false;
  }

  pauseAccepting(errno: number): void {
    if (!this.#listens) return;
    const isNew = this.nowMs - this.#acceptFailedMs > ACCEPT_TROUBLE_MS;
    this.#acceptFailedMs = this.nowMs;
    if (isNew) this.#acceptPauseMs = 0;
    if (isNew) this.post({ kind: "acceptFailed", errno });
    this.#acceptPauseMs = Math.min(Math.max(ACCEPT_PAUSE_MIN_MS, this.#acceptPauseMs * 2), ACCEPT_PAUSE_MAX_MS);
    this.#unlisten();
    this.#resumeAcceptMs = this.nowMs + this.#acceptPauseMs;
  }

  /** A client that is one too many; the last row, which no descriptor has, is for those that are beyond the table. */
  #refuse(client: number): void {
    const noted = Math.min(client, this.table.capacity - 1);
    this.#note(noted);
    this.#sayEnd(client);
    this.#endUnbegun(noted, "refused_limit");
    this.libc.call.close(client);
  }

  /** Passes the client to the worker that has the fewest, if that has far fewer than this one. False if it stays here. */
  #handOver(client: number): boolean {
    const { index, mailboxes } = this.#setup;
    if (this.#workerTable.size === 1 || this.#isStopping) return false;
    const other = this.#workerTable.leastBusy();
    const own = this.#workerTable.open(index);
    if (other === index || own <= this.#workerTable.open(other) + 1 + (own >> 3)) return false;
    const epoch = this.#workerTable.epoch(other);
    if (epoch === 0) return false;
    this.#note(client);
    Atomics.store(this.#words, (client << ROW_SHIFT) + WORD.owner, epoch);
    this.#workerTable.addOpen(other, 1);
    this.#command[0] = COMMAND.client;
    this.#command[1] = epoch;
    this.#command[2] = client;
    if (this.libc.call.write(mailboxes[other], this.#commandAddress, COMMAND_SIZE) === COMMAND_BYTES) return true;
    this.#workerTable.addOpen(other, -1);
    // The mailbox is full. If the other has died meanwhile, main may have closed the client as one of its own.
    const owner = (client << ROW_SHIFT) + WORD.owner;
    return Atomics.compareExchange(this.#words, owner, epoch, this.#setup.epoch) !== epoch;
  }

  /** Takes a client that another worker has accepted. */
  #takeOver(client: number, epoch: number): void {
    const owner = (client << ROW_SHIFT) + WORD.owner;
    if (epoch !== this.#setup.epoch) {
      // It was meant for this worker's predecessor; if main has not closed it yet, it never will.
      if (Atomics.compareExchange(this.#words, owner, epoch, 0) === epoch) this.#closeLost(client);
      return;
    }
    if (Atomics.load(this.#words, owner) === epoch) this.#begin(client);
  }

  #closeLost(client: number): void {
    this.#endUnbegun(client, "worker_lost");
    this.libc.call.close(client);
  }

  /** The client stays with this worker. */
  #keep(client: number): void {
    this.#note(client);
    this.#workerTable.addOpen(this.#setup.index, 1);
    this.#begin(client);
  }

  /** Writes down who has just been accepted. */
  #note(client: number): void {
    const words = this.#words;
    const row = client << ROW_SHIFT;
    this.#floats[(client << (ROW_SHIFT - 1)) + FLOAT.bytes] = 0;
    this.#floats[(client << (ROW_SHIFT - 1)) + FLOAT.startedMs] = this.nowMs;
    const name = this.#clientName;
    words[row + WORD.role] = ROLE.client;
    words[row + WORD.peer] = -1;
    words[row + WORD.slot] = -1;
    words[row + WORD.attempts] = 0;
    words[row + WORD.facts] = 0;
    words[row + WORD.moves] = 0;
    this.#floats[(client << (ROW_SHIFT - 1)) + FLOAT.earlierBytes] = 0;
    words[row + WORD.ipLength] = ipLength(name);
    words[row + WORD.port] = portOf(name);
    const start = ipStart(name);
    for (let i = 0; i < ipLength(name); i++) this.table.bytes[(row + WORD.ip) * 4 + i] = name[start + i];
  }

  /** The connection of a client that was written down and counted begins. */
  #begin(client: number): void {
    if (this.adopt(client, ROLE.client, -1, FLAG.writable)) this.dialer.dial(client, this.nowMs);
    else {
      this.#workerTable.addOpen(this.#setup.index, -1);
      this.#endUnbegun(client, "failed", ERRNO.ENOMEM); // the system would not watch the socket, which is closed already
    }
  }

  /** Reads commands until there are none, or one makes a pause. */
  #readCommands(): void {
    while (this.#pause === undefined) {
      if (this.#commandAt === this.#commandCount) {
        const bytes = this.libc.call.read(this.#setup.mailbox, this.#commandsAddress, COMMANDS_SIZE);
        if (bytes <= 0) return;
        assert(bytes % COMMAND_BYTES === 0, "half a command");
        this.#commandAt = 0;
        this.#commandCount = bytes / COMMAND_BYTES;
      }
      const at = this.#commandAt++ * COMMAND_WORDS;
      this.#onCommand(
        this.#commands[at],
        this.#commands[at + 1],
        this.#commands[at + 2],
        this.#commands[at + 3],
        this.#commands[at + 4],
      );
    }
  }

  #onCommand(kind: number, epoch: number, a: number, b: number, c: number): void {
    if (kind === COMMAND.client) return this.#takeOver(a, epoch);
    if (epoch !== this.#setup.epoch) {
      assert(epoch > 0 && epoch < this.#setup.epoch, `a command for worker ${epoch}`);
      return;
    }
    switch (kind) {
      case COMMAND.message:
        this.#pause = "message";
        return;
      case COMMAND.leave:
        if (isDraining(this.availabilities.get(a))) {
          this.#forEachClientOf(a, REASON.removed, (client) => this.#redistributor.leaveServer(client));
        }
        if (this.availabilities.get(a) === AVAILABILITY.expired) this.#hurrySearches(a);
        return;
      case COMMAND.lose:
        return this.#forEachClientOf(a, REASON.silent, (client) => this.#redistributor.loseSilent(client, b, c));
      case COMMAND.sendToOwner:
        return this.#sendToOwner(a, b);
      case COMMAND.stopAccepting:
        this.#isStopping = true;
        for (let i = 0; i < LIMITS.acceptBacklog && this.#listens && this.#acceptOne(); i++);
        this.#unlisten();
        this.#acknowledgeStop();
        return;
      case COMMAND.accept:
        for (let i = 0; i < LIMITS.acceptBacklog && this.#listens && this.#acceptOne(); i++);
        return;
      case COMMAND.endAll:
        return this.#forEachClient((client) => this.end(client, FATE_NAMES[a], "both"));
      case COMMAND.exit:
        this.#pause = "exit";
        return;
      default:
        assert(false, `a command of kind ${kind}`);
    }
  }

  #acknowledgeStop(): void {
    this.#workerTable.setStopped(this.#setup.index);
    this.reports.publish();
  }

  /** Visits the open connections of the server with this slot; those who wait for it go on to the next. */
  #forEachClientOf(slot: number, reason: number, visit: (client: number) => void): void {
    this.#forEachClient((client) => {
      if (this.#words[(client << ROW_SHIFT) + WORD.slot] !== slot) return;
      if (this.#isOpen(client)) visit(client);
      else if (reason !== REASON.silent || this.dialer.hasElsewhere(client)) this.dialer.fail(client, reason, this.nowMs);
    });
  }

  /** Clients that look for another server while theirs keeps them, and has no time left now, are to find one at once or be cut. */
  #hurrySearches(slot: number): void {
    this.#forEachClient((client) => {
      if (this.dialer.isDraining(client, slot)) this.dialer.callOff(client, this.nowMs);
    });
  }

  /** Whether the client has a server, one that is connected. */
  #isOpen(client: number): boolean {
    const server = this.#words[(client << ROW_SHIFT) + WORD.peer];
    return server >= 0 && (this.#words[(server << ROW_SHIFT) + WORD.flags] & FLAG.connecting) === 0;
  }

  #sendToOwner(client: number, generation: number): void {
    const row = client << ROW_SHIFT;
    if (this.#words[row + WORD.generation] !== generation || this.#words[row + WORD.owner] !== this.#setup.epoch) return;
    if (this.#isOpen(client)) this.#redistributor.sendToOwner(client);
  }

  #forEachClient(visit: (client: number) => void): void {
    const words = this.#words;
    for (let descriptor = 0; descriptor <= this.#highest; descriptor++) {
      const row = descriptor << ROW_SHIFT;
      if (words[row + WORD.owner] === this.#setup.epoch && words[row + WORD.role] === ROLE.client) visit(descriptor);
    }
  }
}

/** The record that is handed to epoll_ctl(2). */
function makeEventRecord(libc: Libc): EventRecord {
  const words = new Int32Array(new ArrayBuffer(EPOLL_EVENT.words * 4));
  return {
    address: libc.addressOf(words.buffer),
    set(events, descriptor, generation) {
      words[0] = events;
      words[EPOLL_EVENT.dataLow] = descriptor;
      words[EPOLL_EVENT.dataHigh] = generation;
    },
  };
}
