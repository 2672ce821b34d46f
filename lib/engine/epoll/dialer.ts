/**
 * Finds a server for each client of a worker: asks `route()`, dials in that order, never one server twice, until one accepts or the limits on
 * attempts and time are reached. Owns a connection from its acceptance to the moment its server accepts, and again while it goes from
 * one server to another.
 */

import { clientKey, formatAddress } from "../../values/address.ts";
import type { Counters } from "../../observe/counters.ts";
import type { Fate } from "../../values/fates.ts";
import { CHOICES, type ConnectionState, type Loss, OPTIONAL, probedUntilMs } from "../../routing/redistribution.ts";
import { type Load, nextServer, routeFirst } from "../../routing/route.ts";
import { AVAILABILITY, type AvailabilityTable, isDraining } from "../../routing/availability.ts";
import { type DescriptorTable, FLAG, FLOAT, FROM_SHIFT, MOVES_MASK, ROLE, ROW_SHIFT, WORD } from "./descriptor_table.ts";
import type { EngineConfig } from "../engine.ts";
import { ERRNO } from "../system/errno.ts";
import { EPOLL, type Libc, SOCKADDR, SOCKET } from "../system/libc.ts";
import type { SharedTable } from "./shared_table.ts";
import { ADDRESS_LENGTH_AT, ADDRESS_STRIDE } from "../system/sockaddr.ts";
import type { Sockets } from "../system/sockets.ts";
import type { TimerWheel } from "./timer_wheel.ts";
import type { FromWorker } from "./worker_setup.ts";

/** Reasons that are no errno: below 0, so that they cannot be taken for one. */
export const REASON = { nameNotFound: -1, removed: -2, silent: -3 } as const;

/** How long an answer to a look-up is used again. */
const ANSWER_MS = 5000;

/** A client that nobody else took stays where it is for so long before others are asked again. */
const RETRY_MS = 1000;

/** Where the ports begin that Linux chooses from for our side (ip_local_port_range as it is by default). */
const EPHEMERAL_PORT_MIN = 32_768;

/** Errors of socket(2) that say the machine has no more of something. */
const USED_UP: readonly number[] = [ERRNO.EMFILE, ERRNO.ENFILE, ERRNO.ENOBUFS, ERRNO.ENOMEM];

/** Whether it is our own doing or trouble, and says nothing of the server. */
function isOurs(errno: number): boolean {
  return USED_UP.includes(errno) || errno === ERRNO.EADDRNOTAVAIL || errno === REASON.removed || errno === REASON.silent;
}

/** What the dialer asks of the loop it belongs to. */
export interface DialerLoop {
  readonly libc: Libc;
  readonly sockets: Sockets;
  readonly table: DescriptorTable;
  readonly counters: Counters;
  readonly wheel: TimerWheel;
  readonly config: EngineConfig;
  readonly availabilities: AvailabilityTable;
  /** Takes a descriptor into the table and into epoll. False if it cannot. */
  adopt(descriptor: number, role: number, peer: number, flags: number): boolean;
  /** Closes a descriptor of ours. */
  release(descriptor: number): void;
  end(client: number, fate: Fate, reset?: "client"): void;
  /** Nobody took the client: the server it had is its server again. */
  onStaying(client: number, move: Move): void;
  /** The server, asked whether its end was meant, is not there any more. */
  onAskedInVain(client: number): void;
  /** Accepts nobody for a moment: the system has run out of something. */
  pauseAccepting(errno: number): void;
  reportFailure(slot: number, errno: number): void;
  post(message: FromWorker): void;
}

/** The addresses of a server known by name, while they may be used again, and who waits for them. */
interface NamedServer {
  addresses: Uint8Array;
  expiresMs: number;
  waiting: number[] | undefined;
}

/** A connection's way from one server to another. */
export interface Move {
  readonly loss: Loss;
  /** What the connection was doing. */
  readonly state: ConnectionState;
  /** Whether what the client said is to be said again. */
  readonly isReplay: boolean;
  /** The slot of the server that it leaves. */
  readonly from: number;
  /** The socket of that server while it is kept, until another one has accepted; -1: it is closed. */
  readonly kept: number;
  /** Whether that server itself is dialled, to learn whether its end was meant. */
  readonly isProbing: boolean;
  /** Asking: when it accepted; it is watched for a moment. */
  acceptedMs: number | undefined;
  readonly budget: Budget;
}

/** What the search for a server may spend. Servers that are lost one after another without a word share it. */
interface Budget {
  readonly deadlineMs: number;
  /** Servers dialled for this connection, over all, when it is to be given up. */
  readonly attemptsMax: number;
  /** Slots of servers that were tried. */
  readonly tried: number[];
}

/** The dialer of one worker. */
export class Dialer {
  readonly #load: Load;
  readonly #names = new Map<string, NamedServer>();
  /** By client: slots of the servers that did not take it. */
  readonly #tried = new Map<number, number[]>();
  /** By client: the server whose name is being looked up for it. */
  readonly #awaited = new Map<number, string>();
  /** By client: the addresses of the server being dialled, if it is known by name. */
  readonly #addresses = new Map<number, Uint8Array>();
  /** By client: those that had a server before. */
  readonly #moves = new Map<number, Move>();
  /** By client: what its last search has left, while the server that was found has not said anything. */
  readonly #budgets = new Map<number, Budget>();
  /** By slot: when the server last ended a connection that was waiting or quiet. */
  readonly #lastEndsMs: Float64Array;
  readonly #ip4 = new Uint8Array(4);
  readonly #ip6 = new Uint8Array(16);
  readonly #sockaddr = new Uint8Array(new ArrayBuffer(ADDRESS_STRIDE));
  readonly #sockaddrAddress: bigint;
  #routing: SharedTable;
  #addressBytes: Uint8Array;
  #addressesAt: bigint;

  constructor(readonly loop: DialerLoop, routing: SharedTable) {
    const { counters, libc } = loop;
    this.#load = {
      get open() {
        return counters.get("open");
      },
      get unavailableWeight() {
        return loop.availabilities.unavailableWeight;
      },
      openOf: (slot) => counters.getOf(slot, "serverOpen"),
      availabilityOf: (slot) => loop.availabilities.get(slot),
    };
    this.#lastEndsMs = new Float64Array(counters.slots).fill(-Infinity);
    this.#sockaddrAddress = libc.addressOf(this.#sockaddr.buffer);
    this.#routing = routing;
    this.#addressBytes = new Uint8Array(routing.addresses);
    this.#addressesAt = libc.addressOf(routing.addresses);
  }

  /** Routes by this table from now on. */
  setRouting(routing: SharedTable): void {
    this.#routing = routing;
    this.#addressBytes = new Uint8Array(routing.addresses);
    this.#addressesAt = this.loop.libc.addressOf(routing.addresses);
  }

  /** Dials servers for this client, one after another, until one is being connected to; ends the client if there is none. */
  dial(client: number, nowMs: number): void {
    const { table: { words }, config } = this.loop;
    const row = client << ROW_SHIFT;
    const move = this.#moveOf(client);
    const attemptsMax = move?.budget.attemptsMax ?? config.connectAttemptsMax;
    const deadlineMs = this.#deadlineOf(client);
    while (words[row + WORD.attempts] < attemptsMax && (nowMs < deadlineMs || words[row + WORD.attempts] === 0)) {
      const index = this.#choose(client);
      if (index < 0) break;
      words[row + WORD.attempts]++;
      if (this.#tryServer(client, index, nowMs, deadlineMs)) return;
      this.#giveUpServer(client);
    }
    if (move !== undefined) return this.#stayOrEnd(client, move, nowMs);
    if (words[row + WORD.attempts] > 0) this.loop.end(client, "connect_failed");
    else this.loop.end(client, this.#routing.circle.serverCount === 0 ? "no_server" : "refused_limit");
  }

  /** An event of a server's socket that is connecting. True if it is connected now. */
  onEvent(server: number, events: number, nowMs: number): boolean {
    const { table: { words, floats }, sockets, counters } = this.loop;
    const row = server << ROW_SHIFT;
    const client = words[row + WORD.peer];
    if ((events & (EPOLL.ERR | EPOLL.HUP)) !== 0) {
      this.fail(client, sockets.takeError(server) || ERRNO.ECONNRESET, nowMs);
      return false;
    }
    if ((events & EPOLL.OUT) === 0) return false;
    if (words[row + WORD.port] >= EPHEMERAL_PORT_MIN && sockets.isItsOwnPeer(server)) {
      this.fail(client, ERRNO.ECONNREFUSED, nowMs);
      return false;
    }
    const move = this.#moveOf(client);
    if (move?.isProbing === true) {
      if (move.acceptedMs === undefined) {
        move.acceptedMs = nowMs;
        this.loop.wheel.set(client, this.#probedUntilMs(move.from, nowMs));
      }
      return false;
    }
    words[row + WORD.flags] &= ~FLAG.connecting;
    words[(client << ROW_SHIFT) + WORD.errno] = 0;
    counters.addTo(words[(client << ROW_SHIFT) + WORD.slot], "connects");
    counters.addConnectSeconds((nowMs - floats[(server << (ROW_SHIFT - 1)) + FLOAT.startedMs]) / 1000);
    this.forget(client);
    return true;
  }

  /** The dialled server did not take the client: on to its next address, or to the next server. */
  fail(client: number, errno: number, nowMs: number): void {
    const { table: { words } } = this.loop;
    const row = client << ROW_SHIFT;
    words[row + WORD.errno] = errno;
    const move = this.#moveOf(client);
    // Whoever accepted, being asked, and then reset is not there: another address of its name says nothing of it.
    if (errno >= 0 && move?.acceptedMs === undefined && this.#tryNextAddress(client, nowMs)) return;
    if (move?.isProbing === true) return this.#stopAsking(client);
    this.#giveUpServer(client);
    this.dial(client, nowMs);
  }

  /**
   * Finds another server for a client that had one, which counts it until then. `kept` is that server's socket, if it is kept until
   * another accepts. `isFresh`: that server had said something, or was there for long.
   */
  redial(client: number, how: Pick<Move, "loss" | "state" | "isReplay" | "kept">, isFresh: boolean, nowMs: number): void {
    const { words } = this.loop.table;
    const row = client << ROW_SHIFT;
    const from = words[row + WORD.slot];
    const left = isFresh ? undefined : this.#budgets.get(client);
    const budget = left ?? this.#newBudget(client, how.loss === "rebalance" ? 1 : this.loop.config.connectAttemptsMax, nowMs);
    budget.tried.push(from);
    this.#moves.set(client, { ...how, from, isProbing: false, acceptedMs: undefined, budget });
    if (how.kept < 0) this.#budgets.set(client, budget);
    else this.#budgets.delete(client); // a server that was left may well be asked again
    this.#tried.set(client, budget.tried);
    words[row + WORD.peer] = -1;
    words[row + WORD.slot] = -1;
    words[row + WORD.moves] = words[row + WORD.moves] & MOVES_MASK | from + 1 << FROM_SHIFT;
    if (how.kept >= 0) words[(how.kept << ROW_SHIFT) + WORD.flags] |= FLAG.kept;
    this.dial(client, nowMs);
  }

  #newBudget(client: number, attempts: number, nowMs: number): Budget {
    const { table: { words }, config } = this.loop;
    return {
      deadlineMs: nowMs + config.connectDeadlineMs,
      attemptsMax: words[(client << ROW_SHIFT) + WORD.attempts] + attempts,
      tried: [],
    };
  }

  /**
   * Dials the client's own server once more, to learn whether it is still there; the socket it has is kept. False if it need not be
   * asked: it has left the table. Throws nothing away either way.
   */
  ask(client: number, nowMs: number): boolean {
    const { table: { words }, config } = this.loop;
    const row = client << ROW_SHIFT;
    const from = words[row + WORD.slot];
    const index = this.#routing.slots.indexOf(from);
    if (index < 0) return false;
    const kept = words[row + WORD.peer];
    words[(kept << ROW_SHIFT) + WORD.flags] |= FLAG.kept;
    words[row + WORD.peer] = -1;
    const deadlineMs = nowMs + config.connectTimeoutMs;
    const budget = { ...this.#newBudget(client, 0, nowMs), deadlineMs };
    const how = { loss: "end", state: "busy", isReplay: false } as const;
    this.#moves.set(client, { ...how, from, kept, isProbing: true, acceptedMs: undefined, budget });
    if (!this.#tryServer(client, index, nowMs, deadlineMs)) this.#stopAsking(client);
    return true;
  }

  /** Forgets all of a client: it has ended. */
  forgetEnded(client: number): void {
    this.forget(client);
    if (this.#budgets.size > 0) this.#budgets.delete(client);
  }

  /** Takes the move that has come to its end: the client has a server again. Undefined if it had none before. */
  takeMove(client: number): Move | undefined {
    const move = this.#moveOf(client);
    if (move !== undefined) this.#moves.delete(client);
    return move;
  }

  /** Whether there is a server but this one that may get the client; one that is down or rests is none. */
  hasElsewhere(client: number): boolean {
    const slot = this.loop.table.words[(client << ROW_SHIFT) + WORD.slot];
    const isAnother = (index: number) => this.#routing.slots[index] !== slot;
    return nextServer(this.#routing, this.#load, this.#keyOf(client), "serving", isAnother) >= 0;
  }

  /** Whether the ring gives the client to another server than the one it has. */
  hasOtherOwner(client: number): boolean {
    const slot = this.loop.table.words[(client << ROW_SHIFT) + WORD.slot];
    const isAnother = (index: number) => this.#routing.slots[index] !== slot;
    return nextServer(this.#routing, this.#load, this.#keyOf(client), "owner", isAnother) >= 0;
  }

  /** The socket of a server that is kept while another is dialled, and that may call the search off by speaking; -1: there is none. */
  keptServer(client: number): number {
    const move = this.#moveOf(client);
    return move === undefined || move.isProbing || move.loss === "expired" ? -1 : move.kept;
  }

  /** Whether the client looks for another server though its own serves, so that it stays if anybody speaks. */
  isOptional(client: number): boolean {
    const move = this.#moveOf(client);
    return move !== undefined && OPTIONAL.includes(move.loss);
  }

  /** Whether the client looks for another server while the one with this slot keeps it. */
  isDraining(client: number, slot: number): boolean {
    return this.keptServer(client) >= 0 && this.#moveOf(client)?.from === slot;
  }

  /** Whether the server that the client is leaving is not to be left any more: its drain was cancelled. */
  isNoLongerWanted(client: number): boolean {
    const move = this.#moveOf(client);
    return move?.loss === "drain" && !isDraining(this.loop.availabilities.get(move.from));
  }

  /** The client or the server that it has says something: the search for another is called off. */
  callOff(client: number, nowMs: number): void {
    const { table: { words }, counters } = this.loop;
    const row = client << ROW_SHIFT;
    this.#closeServer(client);
    if (words[row + WORD.slot] >= 0) counters.raiseOf(words[row + WORD.slot], "serverOpen", -1);
    const move = this.#moveOf(client)!;
    const isOver = this.loop.availabilities.get(move.from) === AVAILABILITY.expired; // which nobody told this client while it searched
    this.#stay(client, move, isOver ? nowMs : nowMs + Math.min(this.loop.config.quietMs, RETRY_MS));
  }

  /** What becomes of a client on its way to another server that nobody took. */
  #stayOrEnd(client: number, move: Move, nowMs: number): void {
    if (move.kept >= 0) return this.#stay(client, move, nowMs + RETRY_MS);
    const { words } = this.loop.table;
    this.#moves.delete(client);
    words[(client << ROW_SHIFT) + WORD.slot] = move.from; // the end is that server's
    words[(client << ROW_SHIFT) + WORD.moves] &= MOVES_MASK;
    this.loop.end(client, move.state === "unsent" ? "connect_failed" : "server_lost", "client");
  }

  /** The server that was kept is the client's again. */
  #stay(client: number, move: Move, againMs: number): void {
    const { table: { words }, wheel } = this.loop;
    this.#unpark(client, move);
    words[(client << ROW_SHIFT) + WORD.slot] = move.from;
    words[(client << ROW_SHIFT) + WORD.moves] &= MOVES_MASK;
    wheel.set(client, againMs);
    this.loop.onStaying(client, move);
  }

  /** The server that was asked is there: its end was meant. */
  #stayWithAsked(client: number, move: Move): void {
    this.#closeServer(client);
    this.#unpark(client, move);
    this.loop.onStaying(client, move);
  }

  /** The server that was asked is not there any more, or there was no way to ask it. */
  #stopAsking(client: number): void {
    const { words } = this.loop.table;
    const move = this.#moveOf(client)!;
    const errno = words[(client << ROW_SHIFT) + WORD.errno];
    this.#closeServer(client);
    this.#addresses.delete(client);
    this.#awaited.delete(client);
    this.#unpark(client, move);
    const isKnownToGo = errno === REASON.removed || errno === REASON.silent;
    if (isOurs(errno) && !isKnownToGo) return this.loop.onStaying(client, move); // nobody was asked: its end is taken for meant
    if (!isKnownToGo) this.loop.reportFailure(move.from, errno);
    this.loop.onAskedInVain(client);
  }

  /** The kept socket is the connection's again. */
  #unpark(client: number, { kept }: Move): void {
    const { words } = this.loop.table;
    this.forget(client);
    this.#moves.delete(client);
    words[(kept << ROW_SHIFT) + WORD.flags] &= ~FLAG.kept;
    words[(client << ROW_SHIFT) + WORD.peer] = kept;
  }

  #moveOf(client: number): Move | undefined {
    return this.#moves.size > 0 ? this.#moves.get(client) : undefined;
  }

  /** When the search for a server is over. */
  #deadlineOf(client: number): number {
    const { table: { floats }, config } = this.loop;
    return this.#moveOf(client)?.budget.deadlineMs ??
      floats[(client << (ROW_SHIFT - 1)) + FLOAT.startedMs] + config.connectDeadlineMs;
  }

  /** The time for the dialled server, or for one of its addresses, is over. */
  onTimeout(client: number, nowMs: number): void {
    const move = this.#moveOf(client);
    if (move?.acceptedMs !== undefined) this.#judgeAsked(client, move, move.acceptedMs, nowMs);
    else this.fail(client, ERRNO.ETIMEDOUT, nowMs);
  }

  /** A server ended a connection that was waiting or quiet. */
  noteEnd(slot: number, nowMs: number): void {
    this.#lastEndsMs[slot] = nowMs;
  }

  #probedUntilMs(slot: number, acceptedMs: number): number {
    return probedUntilMs(acceptedMs, this.#lastEndsMs[slot]);
  }

  /** The time of a server that was asked may be over. Its socket is asked for a reset: the event may be among those still to be read. */
  #judgeAsked(client: number, move: Move, acceptedMs: number, nowMs: number): void {
    const { table: { words }, sockets, wheel } = this.loop;
    const errno = sockets.takeError(words[(client << ROW_SHIFT) + WORD.peer]);
    const untilMs = this.#probedUntilMs(move.from, acceptedMs);
    if (errno !== 0) this.fail(client, errno, nowMs);
    else if (nowMs < untilMs) wheel.set(client, untilMs);
    else this.#stayWithAsked(client, move);
  }

  /** The addresses of a server known by name were found; none if they were not. */
  onFound(server: string, addresses: Uint8Array, nowMs: number): void {
    const { words } = this.loop.table;
    const named = this.#names.get(server);
    if (named?.waiting === undefined) return;
    const waiting = named.waiting;
    named.waiting = undefined;
    named.addresses = addresses;
    named.expiresMs = nowMs + ANSWER_MS;
    if (addresses.length === 0) this.#names.delete(server);
    for (const client of waiting) {
      const row = client << ROW_SHIFT;
      if (this.#awaited.get(client) !== server) continue;
      this.#awaited.delete(client);
      this.#addresses.set(client, addresses);
      words[row + WORD.addressIndex] = -1;
      if (!this.#tryNextAddress(client, nowMs)) {
        this.fail(client, addresses.length === 0 ? REASON.nameNotFound : words[row + WORD.errno], nowMs);
      }
    }
  }

  /** Forgets what was kept for dialling, but for where the client comes from: it is connected, or has ended. */
  forget(client: number): void {
    if (this.#tried.size > 0) this.#tried.delete(client);
    if (this.#addresses.size > 0) this.#addresses.delete(client);
    if (this.#awaited.size > 0) this.#awaited.delete(client);
  }

  /** The next server to try, with a connection reserved there. -1: none. */
  #choose(client: number): number {
    const key = this.#keyOf(client);
    if (!this.#tried.has(client)) {
      const index = routeFirst(this.#routing, this.#load, key);
      if (index < 0 || this.#reserve(client, index)) return index;
    }
    const tried = this.#tried.get(client);
    const move = this.#moveOf(client);
    const choice = move === undefined ? "any" : CHOICES[move.loss];
    const takes = (index: number) => !tried?.includes(this.#routing.slots[index]) && this.#reserve(client, index);
    return nextServer(this.#routing, this.#load, key, choice, takes);
  }

  /** Counts first and looks then whether that was too much, so that no two threads pass a server's limit together. */
  #reserve(client: number, index: number): boolean {
    const { table: { words }, counters } = this.loop;
    const slot = this.#routing.slots[index];
    if (counters.raiseOf(slot, "serverOpen") > this.#routing.connectionsMax[index]) {
      counters.raiseOf(slot, "serverOpen", -1);
      return false;
    }
    words[(client << ROW_SHIFT) + WORD.slot] = slot;
    return true;
  }

  #keyOf(client: number): Uint8Array {
    const { words, bytes } = this.loop.table;
    const row = client << ROW_SHIFT;
    const ip = words[row + WORD.ipLength] === 4 ? this.#ip4 : this.#ip6;
    for (let i = 0; i < ip.length; i++) ip[i] = bytes[(row + WORD.ip) * 4 + i];
    return clientKey(this.#routing.key, ip, words[row + WORD.port]);
  }

  /** Begins to connect to a server. False if that failed at once. */
  #tryServer(client: number, index: number, nowMs: number, deadlineMs: number): boolean {
    const { config, wheel } = this.loop;
    wheel.set(client, Math.min(nowMs + config.connectTimeoutMs, deadlineMs));
    const at = index * ADDRESS_STRIDE;
    if (this.#addressBytes[at + ADDRESS_LENGTH_AT] === 0) return this.#tryNamed(client, index, nowMs);
    return this.#connect(client, this.#addressBytes, at, this.#addressesAt + BigInt(at), nowMs);
  }

  #tryNamed(client: number, index: number, nowMs: number): boolean {
    const { words } = this.loop.table;
    const address = this.#routing.names.get(index)!;
    const server = formatAddress(address);
    const named = this.#names.get(server);
    words[(client << ROW_SHIFT) + WORD.addressIndex] = -1;
    if (named !== undefined && named.waiting === undefined && nowMs < named.expiresMs) {
      this.#addresses.set(client, named.addresses);
      return this.#tryNextAddress(client, nowMs);
    }
    this.#awaited.set(client, server);
    if (named?.waiting !== undefined) {
      named.waiting.push(client);
      return true;
    }
    this.#names.set(server, { addresses: new Uint8Array(), expiresMs: 0, waiting: [client] });
    this.loop.post({ kind: "find", address });
    return true;
  }

  /** Begins to connect to the next address of a server known by name; all but the last have their part of the time each. */
  #tryNextAddress(client: number, nowMs: number): boolean {
    const { table: { words }, config, wheel } = this.loop;
    const row = client << ROW_SHIFT;
    const addresses = this.#addresses.get(client);
    if (addresses === undefined) return false;
    const count = addresses.length / ADDRESS_STRIDE;
    const deadlineMs = this.#deadlineOf(client);
    while (words[row + WORD.addressIndex] + 1 < count && nowMs < deadlineMs) {
      this.#closeServer(client);
      const at = ++words[row + WORD.addressIndex] * ADDRESS_STRIDE;
      this.#sockaddr.set(addresses.subarray(at, at + ADDRESS_STRIDE));
      const isLast = words[row + WORD.addressIndex] + 1 === count;
      wheel.set(client, Math.min(nowMs + config.connectTimeoutMs / (isLast ? 1 : count), deadlineMs));
      if (this.#connect(client, this.#sockaddr, 0, this.#sockaddrAddress, nowMs)) return true;
    }
    return false;
  }

  /** Begins to connect to the address that is at `at` in `bytes`, and in memory at `address`. False if that failed at once. */
  #connect(client: number, bytes: Uint8Array, at: number, address: bigint, nowMs: number): boolean {
    const { libc, sockets, table: { words, floats } } = this.loop;
    const row = client << ROW_SHIFT;
    const server = libc.call.socket(
      bytes[at + SOCKADDR.family],
      SOCKET.SOCK_STREAM | SOCKET.SOCK_NONBLOCK | SOCKET.SOCK_CLOEXEC,
      0,
    );
    if (server < 0) {
      const errno = libc.errno();
      words[row + WORD.errno] = errno;
      if (USED_UP.includes(errno)) this.loop.pauseAccepting(errno); // more clients could not be served either
      return false;
    }
    if (libc.call.connect(server, address, bytes[at + ADDRESS_LENGTH_AT]) < 0) {
      const errno = libc.errno();
      if (errno !== ERRNO.EINPROGRESS) {
        words[row + WORD.errno] = errno;
        libc.call.close(server);
        return false;
      }
    }
    sockets.set(server, SOCKET.SOL_SOCKET, SOCKET.SO_OOBINLINE, 1);
    if (!this.loop.adopt(server, ROLE.server, client, FLAG.connecting | FLAG.writable)) {
      words[row + WORD.errno] = ERRNO.EMFILE;
      return false;
    }
    floats[(server << (ROW_SHIFT - 1)) + FLOAT.startedMs] = nowMs;
    words[(server << ROW_SHIFT) + WORD.port] = bytes[at + SOCKADDR.port] << 8 | bytes[at + SOCKADDR.port + 1];
    words[row + WORD.peer] = server;
    return true;
  }

  /** The server is let go: closed, counted as failed, and not tried again for this client. */
  #giveUpServer(client: number): void {
    const { table: { words }, counters } = this.loop;
    const row = client << ROW_SHIFT;
    const slot = words[row + WORD.slot];
    this.#closeServer(client);
    this.#addresses.delete(client);
    this.#awaited.delete(client);
    words[row + WORD.slot] = -1;
    const tried = this.#tried.get(client);
    if (tried === undefined) this.#tried.set(client, [slot]);
    else tried.push(slot);
    counters.raiseOf(slot, "serverOpen", -1);
    const errno = words[row + WORD.errno];
    if (isOurs(errno)) return;
    counters.addTo(slot, "connectFailures");
    this.loop.reportFailure(slot, errno);
  }

  #closeServer(client: number): void {
    const { words } = this.loop.table;
    const row = client << ROW_SHIFT;
    const server = words[row + WORD.peer];
    if (server < 0) return;
    words[row + WORD.peer] = -1;
    this.loop.release(server);
  }
}
