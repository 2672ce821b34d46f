/**
 * The connections of one worker. A connection is a client's row and, once dialled, a server's; this is its one owner: it alone changes
 * the state of a connection (`#become`) and ends it (`#end`, once, with one fate). The dialer, the relay and the redistributor do their
 * part and say what came of it; what follows is decided here.
 */

import { fateOfEnds, fateOfUnserved, fateOfUntaken, isCalledOff, retryAfterMs } from "../../routing/departure.ts";
import type { Loss } from "../../routing/redistribution.ts";
import { AVAILABILITY, isDraining } from "../../routing/availability.ts";
import { assert } from "../../values/errors.ts";
import type { Fate } from "../../values/fates.ts";
import { ERRNO } from "../system/errno.ts";
import { EPOLL, SOCKET } from "../system/libc.ts";
import { FLAG, FLOAT, floatsOf, ROLE, ROW_SHIFT, rowOf, STATE, type State, WORD } from "./descriptor_table.ts";
import { DIAL, type Dial, Dialer, type Search } from "./dialer.ts";
import { REASON } from "./reasons.ts";
import { Redistributor } from "./redistributor.ts";
import { OUTCOME, type Outcome, Relay } from "./relay.ts";
import type { EndRecord } from "./reports.ts";
import type { SharedTable } from "./shared_table.ts";
import { SILENT } from "./silence.ts";
import type { WorkerKit } from "./worker_kit.ts";

/** A connection that lives so long gets what a short one does without: four calls that set its server's keep-alive. */
const KEEP_ALIVE_AFTER_MS = 1000;

/** Unread bytes taken away from a client's socket before it is closed, at the most. */
const DISCARDED_AT_END = BigInt(16 * 1024 * 1024);

/** What is told of a client that has ended, beside the numbers that are worked out. */
const REPORTED_WORDS = [WORD.attempts, WORD.moves, WORD.ip, WORD.ip + 1, WORD.ip + 2, WORD.ip + 3, WORD.ipLength, WORD.port];

const FAILED_EVENTS = EPOLL.ERR | EPOLL.HUP;
const INPUT_EVENTS = EPOLL.IN | EPOLL.RDHUP | EPOLL.PRI | FAILED_EVENTS;

/** Errors by which a server is known to be dead, and not only done with this connection. */
const DEAD_ERRORS: readonly number[] = [ERRNO.ETIMEDOUT, ERRNO.EHOSTUNREACH, ERRNO.ENETUNREACH];

/** Who is told of a connection's end by a reset; the others get an end. */
type Reset = "nobody" | "client" | "server" | "both";

/** The states that may follow one another; 0 is that of a client whose connection has not begun. */
const NEXT_STATES: Readonly<Record<State | 0, readonly State[]>> = {
  0: [STATE.dialling],
  [STATE.dialling]: [STATE.open],
  [STATE.open]: [STATE.dialling, STATE.departing, STATE.probing],
  [STATE.departing]: [STATE.open],
  [STATE.probing]: [STATE.open],
};

/** The connections of one worker. */
export class Connections {
  readonly #kit: WorkerKit;
  readonly #relay: Relay;
  readonly #dialer: Dialer;
  readonly #redistributor: Redistributor;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  readonly #epoch: number;
  /** Sockets whose turn was over before they were done, each with its generation; they get another turn before the next wait. */
  #queue: number[] = [];
  #nextQueue: number[] = [];
  /** A row with the REPORTED_WORDS of the client that ended last, and what is told of its end: one object for all. */
  readonly #ended = { words: new Int32Array(1 << ROW_SHIFT), row: 0 };
  readonly #end: EndRecord = { fate: "done", slot: -1, errno: 0, sentBytes: 0, receivedBytes: 0, durationMs: 0 };

  constructor(kit: WorkerKit) {
    this.#kit = kit;
    this.#words = kit.table.words;
    this.#floats = kit.table.floats;
    this.#epoch = kit.setup.epoch;
    this.#relay = new Relay(kit);
    this.#dialer = new Dialer(kit);
    this.#redistributor = new Redistributor(kit, this.#dialer);
  }

  /** Whether sockets wait for another turn. */
  get isBusy(): boolean {
    return this.#queue.length > 0;
  }

  /** The errno of what the system has run out of while servers were dialled; 0: of nothing. It is given once. */
  takeShortage(): number {
    return this.#dialer.takeShortage();
  }

  /** Routes new connections by these tables, one for each service. */
  setTables(tables: readonly SharedTable[]): void {
    this.#dialer.setTables(tables);
  }

  /** The addresses of a server known by name are there. */
  setAddresses(server: string, addresses: Uint8Array): void {
    for (const client of this.#dialer.onFound(server, addresses)) {
      this.#onDial(client, this.#dialer.resume(client, server, addresses));
    }
  }

  /** The connection of a client that was accepted and counted begins. */
  begin(client: number): void {
    if (!this.#kit.descriptors.adopt(client, ROLE.client, -1, FLAG.writable)) {
      this.#kit.workerTable.addOpen(this.#kit.setup.index, -1);
      return this.#tellUnbegun(client, "failed", ERRNO.ENOMEM); // the system would not watch the socket, which is closed already
    }
    this.#words[rowOf(client) + WORD.state] = 0;
    this.#become(client, STATE.dialling);
    this.#onDial(client, this.#dialer.dial(client));
  }

  /** Ends a client that was accepted and counted, and is one too many. Who it is stands in the row of `noted`. */
  refuse(client: number, noted: number): void {
    this.#sayEnd(client);
    this.#tellUnbegun(noted, "refused_limit");
    this.#kit.libc.call.close(client);
  }

  /** Ends a client that was handed to a worker which has died. */
  loseUnbegun(client: number): void {
    this.#tellUnbegun(client, "worker_lost");
    this.#kit.libc.call.close(client);
  }

  /** An event of a socket; one of a predecessor of it is ignored. */
  onEvent(socket: number, generation: number, events: number): void {
    const words = this.#words;
    const row = rowOf(socket);
    if (words[row + WORD.generation] !== generation || words[row + WORD.owner] !== this.#epoch) return;
    const client = this.#clientOf(socket);
    if (words[rowOf(client) + WORD.state] !== STATE.open && !this.#onEventWhileDialling(socket, client, events)) return;
    const hasRoom = this.#noteEvents(row, events);
    const peer = words[row + WORD.peer];
    if ((words[row + WORD.flags] & FLAG.broken) !== 0) this.#onBroken(socket, peer);
    else if ((events & INPUT_EVENTS) === 0 || this.#transfer(socket, peer)) {
      if (hasRoom) this.#transfer(peer, socket);
    }
  }

  /** Gives another turn to those that wait for one. */
  serveQueue(): void {
    const words = this.#words;
    const turn = this.#queue;
    this.#queue = this.#nextQueue;
    this.#nextQueue = turn;
    for (let i = 0; i < turn.length; i += 2) {
      const row = rowOf(turn[i]);
      if (words[row + WORD.generation] !== turn[i + 1] || words[row + WORD.owner] !== this.#epoch) continue;
      words[row + WORD.flags] &= ~FLAG.queued;
      // One on its way to another server is queued again when it has arrived, or stays.
      if (words[rowOf(this.#clientOf(turn[i])) + WORD.state] === STATE.open) this.#transfer(turn[i], words[row + WORD.peer]);
    }
    turn.length = 0;
  }

  /** A client's timer is due. */
  readonly onTimer = (client: number): void => {
    const words = this.#words;
    const row = rowOf(client);
    if (words[row + WORD.state] !== STATE.open) return this.#onDial(client, this.#dialer.onTimeout(client));
    const { config, wheel, sockets, clock, availabilities } = this.#kit;
    const server = words[row + WORD.peer];
    const quietForMs = this.#redistributor.quietForMs(client);
    if (quietForMs >= config.idleTimeoutMs) return this.#close(client, "idle_timeout");
    if ((words[row + WORD.flags] & FLAG.keepAliveSet) === 0) {
      words[row + WORD.flags] |= FLAG.keepAliveSet;
      sockets.setLiveness(server, { keepAliveMs: config.keepAliveMs, userTimeoutMs: config.serverTimeoutMs });
    }
    wheel.set(client, clock.nowMs + config.idleTimeoutMs - quietForMs);
    if (this.#isSilent(server, client) || this.#isSilent(client, server)) return;
    if (isDraining(availabilities.get(words[row + WORD.slot]))) this.#leaveServer(client);
  };

  /** The connections of the server with this slot are to leave it, as its availability says. */
  vacate(slot: number): void {
    const availability = this.#kit.availabilities.get(slot);
    if (isDraining(availability)) this.#visitServer(slot, REASON.removed, (client) => this.#leaveServer(client));
    if (availability === AVAILABILITY.expired) this.#hurrySearches(slot);
  }

  /** The server with this slot is silent: its checks have failed for `silentMs`, and it was last known to be well `sinceHealthyMs` ago. */
  loseSilent(slot: number, silentMs: number, sinceHealthyMs: number): void {
    this.#visitServer(slot, REASON.silent, (client) => this.#leaveSilent(client, silentMs, sinceHealthyMs));
  }

  /** The connection with this client and this generation goes to the client's owner, if it may and is not there. */
  sendToOwner(client: number, generation: number): void {
    const row = rowOf(client);
    if (this.#words[row + WORD.generation] !== generation || this.#words[row + WORD.owner] !== this.#epoch) return;
    if (this.#words[row + WORD.state] !== STATE.open) return;
    const verdict = this.#redistributor.decide(client, "rebalance");
    if (verdict !== "move" || this.#redistributor.hasUnread(client) || !this.#dialer.hasOtherOwner(client)) return;
    this.#depart(client, "rebalance", verdict);
  }

  /** Ends every connection by a reset, with this fate. */
  endAll(fate: Fate): void {
    this.#forEachClient((client) => this.#close(client, fate, "both"));
  }

  /** The one place where the state of a connection changes. */
  #become(client: number, state: State): void {
    const at = rowOf(client) + WORD.state;
    assert(NEXT_STATES[this.#words[at] as State | 0].includes(state), "a connection takes no such step");
    this.#words[at] = state;
  }

  /** The one place where a connection ends. `reset` says who is told by a reset. */
  #close(client: number, fate: Fate, reset: Reset = "nobody"): void {
    const { descriptors, sockets, wheel, recorder, workerTable, setup, clock } = this.#kit;
    const words = this.#words;
    const floats = this.#floats;
    const row = rowOf(client);
    this.#redistributor.abandon(client);
    const server = words[row + WORD.peer];
    const slot = words[row + WORD.slot];
    const end = this.#end;
    end.fate = fate;
    end.slot = slot;
    end.errno = words[row + WORD.errno] !== 0 || server < 0 ? words[row + WORD.errno] : words[rowOf(server) + WORD.errno];
    end.sentBytes = floats[floatsOf(client) + FLOAT.bytes];
    end.receivedBytes = floats[floatsOf(client) + FLOAT.earlierBytes] + (server < 0 ? 0 : floats[floatsOf(server) + FLOAT.bytes]);
    end.durationMs = Math.max(0, clock.nowMs - floats[floatsOf(client) + FLOAT.startedMs]); // another worker may have begun it by a later clock
    this.#noteClient(client);
    wheel.clear(client);
    this.#dialer.forget(client);
    if (server >= 0 && (reset === "both" || reset === "server" || this.#isCut(client))) sockets.resetOnClose(server);
    if (reset === "both" || reset === "client" || (server >= 0 && this.#isCut(server))) sockets.resetOnClose(client);
    else if (fate !== "done") this.#sayEnd(client);
    if (server >= 0) descriptors.release(server);
    descriptors.release(client);
    recorder.forget(client); // after all that asks whether something is still to be sent again
    workerTable.addOpen(setup.index, -1);
    this.#tellEnd();
  }

  /** Counts the end that was noted, and tells main of it. */
  #tellEnd(): void {
    const { counters, reports } = this.#kit;
    const { fate, slot } = this.#end;
    reports.begin();
    counters.addFate(fate, slot < 0 ? undefined : slot);
    if (slot >= 0) counters.raiseOf(slot, "serverOpen", -1);
    counters.raise("open", -1);
    reports.writeEnd(this.#ended, this.#end);
    reports.publish();
  }

  /** Counts and tells of the end of a client that was accepted and counted, and whose connection did not begin. */
  #tellUnbegun(client: number, fate: Fate, errno = 0): void {
    this.#noteClient(client);
    Object.assign(this.#end, { fate, slot: -1, errno, sentBytes: 0, receivedBytes: 0, durationMs: 0 });
    this.#tellEnd();
  }

  /** What is unread when a socket is closed makes a reset of its end, which could overtake what was sent: the end goes first. */
  #sayEnd(client: number): void {
    this.#kit.libc.call.recv(client, 0n, DISCARDED_AT_END, SOCKET.MSG_TRUNC);
    this.#kit.libc.call.shutdown(client, SOCKET.SHUT_WR);
  }

  /** Copies what is told of a client's end: the row is another worker's as soon as the socket is closed. */
  #noteClient(client: number): void {
    const row = rowOf(client);
    for (let i = 0; i < REPORTED_WORDS.length; i++) this.#ended.words[REPORTED_WORDS[i]] = this.#words[row + REPORTED_WORDS[i]];
  }

  /** Whether something that this socket sent was not passed on: the other must not take what it got for whole. */
  #isCut(socket: number): boolean {
    const flags = this.#words[rowOf(socket) + WORD.flags];
    if ((flags & FLAG.done) !== 0) return false;
    return this.#kit.descriptors.isHolding(socket) || (flags & FLAG.readable) !== 0 || this.#kit.recorder.pending(socket) > 0;
  }

  /** The event's flags are set in the row. Whether there is room to write again. */
  #noteEvents(row: number, events: number): boolean {
    const words = this.#words;
    let flags = words[row + WORD.flags];
    if ((events & INPUT_EVENTS) !== 0) flags |= FLAG.readable;
    if ((events & EPOLL.PRI) !== 0) flags |= FLAG.urgent;
    flags |= this.#endFlags(row, events, flags);
    const hasRoom = (events & EPOLL.OUT) !== 0 && (flags & FLAG.writable) === 0;
    if (hasRoom) flags |= FLAG.writable;
    words[row + WORD.flags] = flags;
    return hasRoom;
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
    const hasOurEnd = peer >= 0 && (words[rowOf(peer) + WORD.flags] & FLAG.done) !== 0;
    if ((events & EPOLL.HUP) !== 0 && !hasOurEnd) return (flags & FLAG.fin) !== 0 ? FLAG.broken : FLAG.broken | FLAG.reset;
    if ((events & EPOLL.RDHUP) === 0) return 0;
    return (words[row + WORD.interest] & EPOLL.PRI) !== 0 ? FLAG.fin | FLAG.hangup : FLAG.fin;
  }

  /**
   * An event while a server is dialled: of that server's socket, of the one that is kept, or of the client's. True if the connection is
   * open now, and the event is still to be served.
   */
  #onEventWhileDialling(socket: number, client: number, events: number): boolean {
    const words = this.#words;
    if (socket !== client && words[rowOf(client) + WORD.peer] === socket) {
      const outcome = this.#dialer.onEvent(socket, events);
      if (outcome === DIAL.connected) return this.#arrive(client);
      this.#onDial(client, outcome);
      return false;
    }
    this.#noteEvents(rowOf(socket), events);
    if (socket !== client) {
      const search = this.#dialer.searchOf(client)!;
      if (!search.isProbe && isCalledOff(search.departure!.loss, "server") && this.#redistributor.hasSpoken(socket)) {
        this.#callOff(client);
      }
    } else if ((events & FAILED_EVENTS) !== 0) {
      words[rowOf(client) + WORD.errno] = this.#kit.sockets.takeError(client);
      this.#close(client, "client_gone", "both");
    } else if ((events & INPUT_EVENTS) !== 0 && this.#redistributor.isCalledOffByClient(client)) this.#callOff(client);
    return false;
  }

  /** What follows from a step of the client's search. */
  #onDial(client: number, outcome: Dial): void {
    if (outcome === DIAL.nobody) this.#findNobody(client);
    else if (outcome === DIAL.meant || outcome === DIAL.lost) this.#onProbed(client, outcome);
  }

  /** A server has accepted: what the client has sent meanwhile goes there. False if the client stays with the server it had. */
  #arrive(client: number): boolean {
    const { clock, wheel, config } = this.#kit;
    const words = this.#words;
    const row = rowOf(client);
    if (this.#isToStay(this.#dialer.searchOf(client))) {
      this.#callOff(client);
      return false;
    }
    const departure = this.#dialer.settle(client);
    if (departure === undefined) this.#floats[floatsOf(client) + FLOAT.lastActivityMs] = clock.nowMs;
    else this.#redistributor.arrive(client, departure);
    this.#become(client, STATE.open);
    wheel.set(client, clock.nowMs + Math.min(KEEP_ALIVE_AFTER_MS, config.idleTimeoutMs));
    if ((words[row + WORD.flags] & (FLAG.readable | FLAG.replaying)) !== 0) this.#queueUp(client);
    return true;
  }

  /** Whether the server that is kept is not to be left any more: it has spoken, or its drain was cancelled. */
  #isToStay(search: Search | undefined): boolean {
    if (search?.departure === undefined || search.departure.kept < 0) return false;
    const { loss, from, kept } = search.departure;
    if (isCalledOff(loss, "undrain") && !isDraining(this.#kit.availabilities.get(from))) return true;
    return isCalledOff(loss, "server") && this.#redistributor.hasSpoken(kept);
  }

  /** No server took the client. */
  #findNobody(client: number): void {
    const words = this.#words;
    const row = rowOf(client);
    const departure = this.#dialer.searchOf(client)?.departure;
    if (departure === undefined) {
      return this.#close(client, fateOfUnserved(words[row + WORD.attempts], this.#dialer.serverCount(client)));
    }
    const { loss, state, kept } = departure;
    const fate = fateOfUntaken(loss, state, kept >= 0);
    if (kept >= 0) this.#stay(client, retryAfterMs("nobodyTookIt", this.#kit.config.quietMs), fate);
    else {
      this.#dialer.cancel(client); // the end is that server's
      this.#close(client, fate!, "client");
    }
  }

  /** The client or the server that it has speaks, or the drain was cancelled: the connection stays. */
  #callOff(client: number): void {
    const { from } = this.#dialer.searchOf(client)!.departure!;
    const hasNoTime = this.#kit.availabilities.get(from) === AVAILABILITY.expired; // which nobody told this client while it searched
    this.#stay(client, hasNoTime ? 0 : retryAfterMs("calledOff", this.#kit.config.quietMs), undefined);
  }

  /** The server that was kept is the client's again; if it has a fate it ends with that. Another look at it follows after `againMs`. */
  #stay(client: number, againMs: number, fate: Fate | undefined): void {
    const { wheel, clock } = this.#kit;
    this.#dialer.cancel(client);
    this.#become(client, STATE.open);
    wheel.set(client, clock.nowMs + againMs);
    const server = this.#words[rowOf(client) + WORD.peer];
    if ((this.#words[rowOf(server) + WORD.flags] & FLAG.broken) !== 0) return this.#onBroken(server, client);
    if (fate !== undefined) return this.#close(client, fate, "both");
    this.#queueUp(client);
    this.#queueUp(server);
  }

  /** The server that was probed is its client's again: its end was meant, or it is lost. */
  #onProbed(client: number, outcome: Dial): void {
    const { wheel, clock } = this.#kit;
    const server = this.#words[rowOf(client) + WORD.peer];
    if (this.#words[rowOf(client) + WORD.state] === STATE.probing) this.#become(client, STATE.open);
    if (outcome === DIAL.lost) return this.#loseServer(client, "reset");
    wheel.set(client, clock.nowMs); // all that the timer is for is looked at anew
    if ((this.#words[rowOf(server) + WORD.flags] & FLAG.broken) !== 0) return this.#onBroken(server, client);
    this.#queueUp(client);
    this.#relay.passEnd(server);
    this.#onHalfClosed(server, client);
  }

  /** Relays from one socket to the other and draws the consequences. False if the connection is not open any more. */
  #transfer(from: number, to: number): boolean {
    const outcome = this.#relay.transfer(from, this.#kit.clock.nowMs);
    return outcome === OUTCOME.idle ? this.#goOn(from, to) : this.#settle(from, to, outcome);
  }

  #settle(from: number, to: number, outcome: Outcome): boolean {
    const words = this.#words;
    switch (outcome) {
      case OUTCOME.more:
        this.#queueUp(from);
        break;
      case OUTCOME.ended:
        return this.#onHalfClosed(from, to);
      case OUTCOME.atEnd:
        return this.#onServerEnd(from, to);
      case OUTCOME.senderFailed:
        this.#endReset(from, to);
        return false;
      case OUTCOME.receiverFailed:
        // Both are to be read on: the one for what it sent before it failed, the other because its end may have come with these bytes.
        words[rowOf(to) + WORD.flags] |= FLAG.readable;
        words[rowOf(from) + WORD.flags] |= FLAG.readable;
        this.#onBroken(to, from);
        return false;
    }
    return this.#goOn(from, to);
  }

  /** The connection goes on. Where much is relayed, or was until now, epoll is told what to wait for. */
  #goOn(from: number, to: number): true {
    const flags = rowOf(from) + WORD.flags;
    const isBulk = this.#relay.isBulk(from);
    if (!isBulk && (this.#words[flags] & FLAG.bulk) === 0) return true;
    this.#words[flags] = isBulk ? this.#words[flags] | FLAG.bulk : this.#words[flags] & ~FLAG.bulk;
    this.#kit.descriptors.adjustInterest(from);
    this.#kit.descriptors.adjustInterest(to);
    return true;
  }

  /** One direction has ended: both have, or the other goes on. False if the connection is not open any more. */
  #onHalfClosed(from: number, to: number): boolean {
    const client = this.#clientOf(from);
    const fromFlags = this.#words[rowOf(from) + WORD.flags];
    const toFlags = this.#words[rowOf(to) + WORD.flags];
    if ((toFlags & FLAG.broken) !== 0) {
      if (to !== client && (toFlags & FLAG.done) === 0) return true; // what the server sent before it failed still goes to the client
      this.#close(client, fateOfEnds({ clientFailed: to === client, serverFailed: to !== client }));
      return false;
    }
    if ((toFlags & FLAG.done) !== 0) {
      this.#close(client, fateOfEnds({ clientFailed: false, serverFailed: from !== client && (fromFlags & FLAG.broken) !== 0 }));
      return false;
    }
    if ((fromFlags & FLAG.broken) !== 0) {
      this.#onBroken(from, to);
      return false;
    }
    if ((toFlags & FLAG.watched) === 0) this.#kit.silence.begin(to, this.#kit.clock.nowMs); // an end has to be acknowledged, too
    return true;
  }

  /**
   * The socket failed. What it sent before is passed on as far as the other takes it; then the other is told. A client's bytes do not
   * wait for a server that takes none: it may never do so, and the client is gone.
   */
  #onBroken(socket: number, peer: number): void {
    const row = rowOf(socket);
    if ((this.#words[row + WORD.flags] & FLAG.done) !== 0) return this.#loseFinished(socket, peer);
    let outcome = this.#relay.transfer(socket, this.#kit.clock.nowMs);
    while (outcome === OUTCOME.more) outcome = this.#relay.transfer(socket, this.#kit.clock.nowMs);
    if (outcome === OUTCOME.ended) this.#onHalfClosed(socket, peer);
    else if (outcome === OUTCOME.atEnd) this.#onServerEnd(socket, peer);
    else if (outcome === OUTCOME.blocked && this.#words[row + WORD.role] === ROLE.server) {
      this.#settle(socket, peer, outcome);
      this.#queueUp(peer); // it may have to send all before it reads: nobody takes that but we
    } else this.#endReset(socket, peer);
  }

  /** A socket whose end was passed on has failed: it takes no more of what the other sends. */
  #loseFinished(socket: number, peer: number): void {
    const client = this.#clientOf(socket);
    if (socket !== client) return this.#close(client, fateOfEnds({ clientFailed: false, serverFailed: true }));
    // Closing the server's socket now could take away what the client sent before it went.
    const outcome = this.#relay.transfer(peer, this.#kit.clock.nowMs);
    if (outcome === OUTCOME.ended || outcome === OUTCOME.senderFailed) this.#close(client, "client_gone");
    else {
      if (outcome === OUTCOME.more) this.#queueUp(peer);
      this.#goOn(peer, socket);
    }
  }

  /** A socket was reset, or its system is gone: the other is reset, too, so that nothing cut is taken for whole. */
  #endReset(socket: number, peer: number): void {
    const words = this.#words;
    const client = this.#clientOf(socket);
    const isClients = socket === client || (words[rowOf(client) + WORD.flags] & FLAG.broken) !== 0;
    const errnoAt = rowOf(socket) + WORD.errno;
    if (words[errnoAt] === 0) words[errnoAt] = this.#kit.sockets.takeError(socket) || ERRNO.ECONNRESET;
    if (isClients) return this.#close(client, "client_gone", peer === client ? "client" : "server");
    const errno = words[errnoAt];
    if (DEAD_ERRORS.includes(errno)) this.#kit.reports.writeFailure(words[rowOf(client) + WORD.slot], errno);
    this.#loseServer(client, "reset");
  }

  /** The server's end was read, and nothing of its bytes waits. False if the connection is not open any more. */
  #onServerEnd(server: number, client: number): boolean {
    if (!this.#redistributor.isBusy(client)) this.#dialer.noteEnd(this.#words[rowOf(client) + WORD.slot]);
    if (this.#redistributor.decide(client, "end") === "probe") {
      const outcome = this.#dialer.probe(client);
      if (outcome === DIAL.pending) this.#become(client, STATE.probing);
      else this.#onProbed(client, outcome);
      return false;
    }
    this.#relay.passEnd(server);
    return this.#onHalfClosed(server, client);
  }

  /** The server is lost for certain: the client has another one if it may, or is told by a reset: nothing cut is to look whole. */
  #loseServer(client: number, loss: Loss): void {
    const verdict = this.#redistributor.decide(client, loss);
    if (verdict !== "move" && verdict !== "replay") {
      return this.#close(client, this.#redistributor.fateOfCut(client, loss), "client");
    }
    this.#become(client, STATE.dialling);
    this.#onDial(client, this.#redistributor.departLost(client, loss, verdict));
  }

  /** The connection leaves a server that may be alive, which is kept until another one has accepted. */
  #depart(client: number, loss: Loss, verdict: "move" | "replay"): void {
    this.#become(client, STATE.departing);
    this.#onDial(client, this.#redistributor.depart(client, loss, verdict));
  }

  /** The connection's server drains: it is left now, if the connection may go, or when it may have come to that. */
  #leaveServer(client: number): void {
    const { config, wheel, clock, availabilities } = this.#kit;
    const hasNoTime = availabilities.get(this.#words[rowOf(client) + WORD.slot]) === AVAILABILITY.expired;
    const loss = hasNoTime ? "expired" : "drain";
    const verdict = this.#redistributor.decide(client, loss);
    if (verdict === "cut") return this.#close(client, this.#redistributor.fateOfCut(client, loss), "both");
    if ((verdict === "move" || verdict === "replay") && (hasNoTime || !this.#redistributor.hasUnread(client))) {
      return this.#depart(client, loss, verdict);
    }
    const quietForMs = this.#redistributor.quietForMs(client);
    const againMs = quietForMs < config.quietMs ? config.quietMs - quietForMs : config.quietMs;
    wheel.sooner(client, clock.nowMs + Math.min(againMs, config.idleTimeoutMs - quietForMs));
  }

  /** The checks of the connection's server get no answer. Where there is no other server, they say more of us than of it. */
  #leaveSilent(client: number, silentMs: number, sinceHealthyMs: number): void {
    if (!this.#dialer.hasElsewhere(client)) return;
    const verdict = this.#redistributor.decide(client, "silent", sinceHealthyMs);
    if (verdict === "move" || verdict === "replay") return this.#depart(client, "silent", verdict);
    if (!this.#redistributor.isCutBySilence(client, silentMs)) return;
    this.#close(client, this.#redistributor.fateOfCut(client, "silent"), "both");
  }

  /** Whether the socket's host turns out to be gone, which is then dealt with; if not, sees to it that it is looked at again. */
  #isSilent(socket: number, peer: number): boolean {
    const { silence, wheel, clock } = this.#kit;
    const againMs = silence.check(socket, clock.nowMs);
    if (againMs !== SILENT) wheel.sooner(this.#clientOf(socket), againMs);
    else this.#loseHost(socket, peer);
    return againMs === SILENT;
  }

  /** It is as if the socket had been reset: what had come of it is passed on; what it has not taken it is never to be sent. */
  #loseHost(socket: number, peer: number): void {
    const row = rowOf(socket);
    this.#words[row + WORD.errno] = ERRNO.ETIMEDOUT;
    this.#words[row + WORD.flags] |= FLAG.broken | FLAG.reset | FLAG.readable;
    this.#kit.sockets.resetOnClose(socket);
    this.#kit.libc.call.shutdown(socket, SOCKET.SHUT_RD); // after what had come reading gives an end, and not nothing for now
    this.#onBroken(socket, peer);
  }

  /** Visits the open connections of the server with this slot; clients that wait for it go on to the next. */
  #visitServer(slot: number, reason: number, visit: (client: number) => void): void {
    this.#forEachClient((client) => {
      if (this.#words[rowOf(client) + WORD.slot] !== slot) return;
      if (this.#words[rowOf(client) + WORD.state] === STATE.open) visit(client);
      else if (reason !== REASON.silent || this.#dialer.hasElsewhere(client)) {
        this.#onDial(client, this.#dialer.fail(client, reason));
      }
    });
  }

  /** Clients that look for another server while theirs keeps them, and has no time left now, are to find one at once or be cut. */
  #hurrySearches(slot: number): void {
    this.#forEachClient((client) => {
      if (this.#words[rowOf(client) + WORD.state] !== STATE.departing) return;
      const { loss, from } = this.#dialer.searchOf(client)!.departure!;
      if (from === slot && loss !== "expired") this.#callOff(client);
    });
  }

  #forEachClient(visit: (client: number) => void): void {
    const words = this.#words;
    for (let descriptor = 0; descriptor <= this.#kit.descriptors.highest; descriptor++) {
      const row = rowOf(descriptor);
      if (words[row + WORD.owner] === this.#epoch && words[row + WORD.role] === ROLE.client) visit(descriptor);
    }
  }

  #clientOf(socket: number): number {
    const row = rowOf(socket);
    return this.#words[row + WORD.role] === ROLE.client ? socket : this.#words[row + WORD.peer];
  }

  #queueUp(socket: number): void {
    const row = rowOf(socket);
    if ((this.#words[row + WORD.flags] & FLAG.queued) !== 0) return;
    this.#words[row + WORD.flags] |= FLAG.queued;
    this.#queue.push(socket, this.#words[row + WORD.generation]);
  }
}
