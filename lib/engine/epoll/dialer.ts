/**
 * Finds a server for each client of a worker: calls `route()` and dials in that order, each server once, until one accepts or the
 * limits on attempts and time are reached. Owns the searches: for a client's first server, for another server when it leaves its
 * own, and the probe of a server that has sent FIN. Returns the outcome of each step; `Connections` decides what follows.
 */

import { clientKeyLength, formatAddress, writeClientKey } from "../../values/address.ts";
import { LIMITS } from "../../values/config.ts";
import { OWN_SHORTAGES } from "../../health/shortage.ts";
import { liveLoad } from "../../observe/live_load.ts";
import { DEPARTURES, type ProbeResult, PROBES } from "../../routing/departure.ts";
import { type Usability, usabilityOf } from "../../routing/hold.ts";
import { type ConnectionState, type Loss, probedUntilMs } from "../../routing/redistribution.ts";
import { takeTurn } from "../../routing/candidates.ts";
import { type Choice, type Load, nextServer, routeFirst } from "../../routing/route.ts";
import type { ServiceEngineConfig } from "../engine.ts";
import { ERRNO } from "../system/errno.ts";
import { EPOLL, type Libc, SOCKADDR, SOCKET } from "../system/libc.ts";
import { ADDRESS_LENGTH_AT, ADDRESS_STRIDE } from "../system/sockaddr.ts";
import type { CarriedSearch } from "./carried.ts";
import {
  FLAG,
  FLOAT,
  floatsOf,
  FROM_SHIFT,
  IP_LENGTH_MASK,
  MOVES_MASK,
  PORT_MASK,
  ROLE,
  rowOf,
  SERVER_FLOAT,
  serviceOf,
  WORD,
} from "./descriptor_table.ts";
import { isPassedOver, REASON } from "./reasons.ts";
import type { SharedTable } from "./shared_table.ts";
import { Sources } from "./sources.ts";
import type { WorkerKit } from "./worker_kit.ts";

/** The outcome of a step of a search. */
export const DIAL = {
  /** A server is being dialled, or its name looked up. */
  pending: 0,
  /** The server has accepted. */
  connected: 1,
  /** Neither this server nor, at the end of the search, any other has accepted. */
  nobody: 2,
  /** The probed server is alive: it meant its FIN. */
  meant: 3,
  /** The probed server is lost. */
  lost: 4,
} as const;
export type Dial = typeof DIAL[keyof typeof DIAL];

/** The lowest local port that Linux chooses for an outgoing connection (the default of ip_local_port_range). */
const EPHEMERAL_PORT_MIN = 32_768;

/** Errors that mean this machine has run out of a resource, and say nothing about the server. */
const SHORTAGES: readonly number[] = OWN_SHORTAGES.map((name) => ERRNO[name]);
/** The shortages that would affect new clients, too. */
const USED_UP: readonly number[] = [ERRNO.EMFILE, ERRNO.ENFILE, ERRNO.ENOBUFS, ERRNO.ENOMEM];

/** Why and how a connection leaves its server. */
export interface Departure {
  readonly loss: Loss;
  /** Where the connection was in its exchange. */
  readonly state: Exclude<ConnectionState, "busy">;
  /** Whether the recorded bytes are replayed to the next server. */
  readonly isReplay: boolean;
  /** The slot of the server that it leaves; -1: another server has had that slot since. */
  readonly from: number;
  /** It has waited, so that the server that it had counts it no more. */
  readonly isHeld?: true;
  /** The socket of that server, while it is kept; -1: it is closed. */
  readonly kept: number;
  /** The slot of the only server that it may go to; -1: any. */
  readonly to: number;
}

/** What a search may spend. Departures from servers that are lost one after another without a byte share one budget. */
interface Budget {
  readonly deadlineMs: number;
  /** The search stops when this many servers have been dialled for the connection in total. */
  readonly attemptsMax: number;
  /** Slots of servers that were tried. */
  readonly tried: number[];
}

/** A search for a server. Most clients need none: their first server accepts. */
export interface Search {
  /** Undefined: the client has not had a server yet. */
  readonly departure: Departure | undefined;
  /** Whether this is a probe: the client's own server is dialled, to learn whether it meant its FIN. */
  readonly isProbe: boolean;
  /** Probe: when the server accepted. The probe watches it for a moment longer. */
  acceptedMs: number | undefined;
  readonly budget: Budget;
  /** A server has been found. The search is kept for its budget. */
  isOver: boolean;
  /** The server whose name is being looked up. */
  awaitedName: string | undefined;
  /** Probe: the finished search before it, whose budget the next departure may share. */
  readonly previous: Search | undefined;
  /** The addresses of the server being dialled, if it is known by name, the index of the current one, and its PROXY_FLAGS. */
  addresses: Uint8Array | undefined;
  addressIndex: number;
  proxy: number;
}

/** The cached addresses of a server known by name, or the clients that wait for the look-up. */
interface NamedServer {
  addresses: Uint8Array;
  expiresMs: number;
  waiting: number[] | undefined;
}

/** The routing table of one service, and the memory of its addresses. */
interface Routing {
  readonly table: SharedTable;
  readonly bytes: Uint8Array;
  readonly address: bigint;
  /** The address of each server's sockaddr, by index. Filled when it is first needed, because every BigInt is garbage later. */
  readonly addresses: (bigint | undefined)[];
}

/** The parts of the worker that dialling uses. */
type DialerKit = Pick<
  WorkerKit,
  | "setup"
  | "libc"
  | "sockets"
  | "table"
  | "logColumns"
  | "descriptors"
  | "counters"
  | "wheel"
  | "services"
  | "availabilities"
  | "reports"
  | "clock"
  | "post"
>;

/** The searches of one worker. */
export class Dialer {
  readonly #kit: DialerKit;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  /** By service. */
  readonly #loads: Load[] = [];
  readonly #names = new Map<string, NamedServer>();
  /** By client. */
  readonly #searches = new Map<number, Search>();
  /** By slot: when the server last ended a connection that was waiting or quiet. */
  readonly #lastEndsMs: Float64Array;
  readonly #ip4 = new Uint8Array(4);
  readonly #ip6 = new Uint8Array(16);
  /** Memory for a client's key, by its length. */
  readonly #keys = Array.from({ length: 19 }, (_, length) => new Uint8Array(length));
  readonly #sockaddr = new Uint8Array(new ArrayBuffer(ADDRESS_STRIDE));
  readonly #sockaddrAddress: bigint;
  /** A server's sockaddr with another port. */
  readonly #shifted = new Uint8Array(new ArrayBuffer(ADDRESS_STRIDE));
  readonly #shiftedAddress: bigint;
  /** By service. */
  readonly #routings: Routing[] = [];
  readonly #sources: Sources;
  #shortage = 0;

  constructor(kit: DialerKit) {
    this.#kit = kit;
    this.#words = kit.table.words;
    this.#floats = kit.table.floats;
    this.#lastEndsMs = new Float64Array(kit.counters.slots).fill(-Infinity);
    this.#sources = new Sources(kit);
    this.#sockaddrAddress = kit.libc.addressOf(this.#sockaddr.buffer);
    this.#shiftedAddress = kit.libc.addressOf(this.#shifted.buffer);
  }

  /** Routes the clients of this service by this table. */
  setTable(service: number, table: SharedTable): void {
    this.#loads[service] ??= liveLoad(this.#kit.counters, this.#kit.availabilities, service);
    this.#routings[service] = {
      table,
      bytes: new Uint8Array(table.addresses),
      address: this.#kit.libc.addressOf(table.addresses),
      addresses: new Array(table.slots.length).fill(undefined),
    };
  }

  /** Servers in the pool of the client's service. */
  serverCount(client: number): number {
    return this.#routingOf(client).table.slots.length;
  }

  /** The search under way for this client, if any. */
  searchOf(client: number): Search | undefined {
    if (this.#searches.size === 0) return undefined;
    const search = this.#searches.get(client);
    return search?.isOver === false ? search : undefined;
  }

  /** Returns and clears the errno of a resource that ran out; 0: none. */
  takeShortage(): number {
    const shortage = this.#shortage;
    this.#shortage = 0;
    return shortage;
  }

  /** Dials the next server for a client that has none. Returns `pending`, `connected` or `nobody`. */
  dial(client: number): Dial {
    const row = rowOf(client);
    let search = this.searchOf(client);
    const attemptsMax = search?.budget.attemptsMax ?? this.#configOf(client).connectAttemptsMax;
    const deadlineMs = this.#deadlineOf(client, search);
    while (
      this.#words[row + WORD.attempts] < attemptsMax &&
      (this.#kit.clock.nowMs < deadlineMs || this.#words[row + WORD.attempts] === 0)
    ) {
      const index = this.#choose(client, search);
      if (index < 0) return DIAL.nobody;
      this.#words[row + WORD.attempts]++;
      const outcome = this.#tryServer(client, index, deadlineMs);
      if (outcome !== DIAL.nobody) return outcome;
      search = this.#giveUpServer(client);
    }
    return DIAL.nobody;
  }

  /**
   * Begins a search for another server, for a client that leaves its own, which counts the client until it has arrived. With
   * `sharesBudget`, the search may spend only what the previous one left. `dial` goes on with it.
   */
  depart(client: number, how: Omit<Departure, "from">, sharesBudget: boolean): void {
    const row = rowOf(client);
    const from = this.#words[row + WORD.slot];
    const left = sharesBudget ? this.#searches.get(client)?.budget : undefined;
    const { connectAttemptsMax, connectDeadlineMs } = this.#configOf(client);
    const budget = left ?? this.#newBudget(client, connectAttemptsMax, connectDeadlineMs);
    budget.tried.push(from);
    this.#searches.set(client, newSearch({ ...how, from }, budget));
    this.#words[row + WORD.peer] = -1;
    this.#words[row + WORD.slot] = -1;
    this.#words[row + WORD.moves] = this.#words[row + WORD.moves] & MOVES_MASK | from + 1 << FROM_SHIFT;
  }

  /**
   * Ends the search of a client that waits from now on: the server that it had counts it no more. Returns its departure; undefined:
   * it has had no server.
   */
  suspend(client: number): Departure | undefined {
    const departure = this.searchOf(client)?.departure;
    this.#searches.delete(client);
    if (departure === undefined) return undefined;
    this.#words[rowOf(client) + WORD.moves] &= MOVES_MASK;
    if (departure.isHeld === undefined) this.#kit.counters.raiseOf(departure.from, "serverOpen", -1);
    return { ...departure, kept: -1, to: -1, isHeld: true };
  }

  /** Dials a server for a client that has waited. The one that it had is as good as any. */
  redial(client: number, departure: Departure | undefined): Dial {
    const { connectAttemptsMax, connectDeadlineMs } = this.#configOf(client);
    this.#searches.set(client, newSearch(departure, this.#newBudget(client, connectAttemptsMax, connectDeadlineMs)));
    return this.dial(client);
  }

  /** What the servers of this service can do for those who wait. */
  usabilityOf(service: number): Usability {
    return usabilityOf(this.#routings[service].table, this.#loads[service]);
  }

  /**
   * Dials the client's own server again, to learn whether it is alive, and keeps its socket. Returns `pending`, `meant` or `lost`.
   */
  probe(client: number): Dial {
    const row = rowOf(client);
    const from = this.#words[row + WORD.slot];
    const index = this.#routingOf(client).table.slots.indexOf(from);
    if (index < 0) return DIAL.lost; // it has left the pool
    const budget = this.#newBudget(client, 0, this.#configOf(client).connectTimeoutMs);
    const departure = { loss: "end", state: "idle", isReplay: false, from, kept: this.#words[row + WORD.peer], to: -1 } as const;
    const previous = this.#searches.get(client);
    this.#searches.set(client, { ...newSearch(departure, budget), isProbe: true, previous });
    this.#words[row + WORD.peer] = -1;
    if (this.#tryServer(client, index, budget.deadlineMs) === DIAL.pending) return DIAL.pending;
    return this.#endProbe(client, departure, resultOf(this.#words[row + WORD.errno]));
  }

  /** Handles an event of the socket of a server that is being dialled. */
  onEvent(server: number, events: number): Dial {
    const { sockets, clock, wheel } = this.#kit;
    const client = this.#words[rowOf(server) + WORD.peer];
    if ((events & (EPOLL.ERR | EPOLL.HUP)) !== 0) return this.fail(client, sockets.takeError(server) || ERRNO.ECONNRESET);
    if ((events & EPOLL.OUT) === 0) return DIAL.pending;
    if (this.#isItsOwnPeer(server)) return this.fail(client, ERRNO.ECONNREFUSED);
    const search = this.searchOf(client);
    if (search?.isProbe === true) {
      if (search.acceptedMs !== undefined) return DIAL.pending;
      search.acceptedMs = clock.nowMs;
      wheel.set(client, this.#probedUntilMs(search.departure!.from, clock.nowMs));
      return DIAL.pending;
    }
    return this.#onAccepted(client, server);
  }

  /** The time for the dialled server, for one of its addresses, or for a probe is over. */
  onTimeout(client: number): Dial {
    const search = this.searchOf(client);
    if (search?.acceptedMs === undefined) return this.fail(client, ERRNO.ETIMEDOUT);
    const { sockets, wheel, clock } = this.#kit;
    // The event of a reset may still be unread, so check the socket itself.
    const errno = sockets.takeError(this.#words[rowOf(client) + WORD.peer]);
    if (errno !== 0) return this.fail(client, errno);
    const untilMs = this.#probedUntilMs(search.departure!.from, search.acceptedMs);
    if (clock.nowMs >= untilMs) return this.#endProbe(client, search.departure!, "accepted");
    wheel.set(client, untilMs);
    return DIAL.pending;
  }

  /** The dialled server did not accept, for this errno or REASON: tries its next address, or the next server. */
  fail(client: number, errno: number): Dial {
    this.#words[rowOf(client) + WORD.errno] = errno;
    const search = this.searchOf(client);
    // A probed server that accepted and then reset is lost. Another address of its name would say nothing about it.
    const outcome = errno >= 0 && search?.acceptedMs === undefined ? this.#tryNextAddress(client, search) : DIAL.nobody;
    if (outcome !== DIAL.nobody) return outcome;
    if (search?.isProbe === true) return this.#endProbe(client, search.departure!, resultOf(errno));
    this.#giveUpServer(client);
    return this.dial(client);
  }

  /** A look-up has finished; it found no addresses if it failed. Returns the clients that waited for it, for `resume`. */
  onFound(server: string, addresses: Uint8Array): readonly number[] {
    const named = this.#names.get(server);
    if (named?.waiting === undefined) return [];
    const waiting = named.waiting;
    named.waiting = undefined;
    named.addresses = addresses;
    named.expiresMs = this.#kit.clock.nowMs + LIMITS.namesCachedMs;
    return waiting;
  }

  /** Continues the search of a client that waited for these addresses. */
  resume(client: number, server: string, addresses: Uint8Array): Dial {
    const search = this.searchOf(client);
    if (search?.awaitedName !== server) return DIAL.pending; // it no longer waits for them
    search.awaitedName = undefined;
    search.addresses = addresses;
    search.addressIndex = -1;
    const outcome = this.#tryFound(client, search);
    return outcome === DIAL.nobody ? this.fail(client, this.#words[rowOf(client) + WORD.errno]) : outcome;
  }

  /** The client has the server that accepted: ends the search and returns its departure, if any. */
  settle(client: number): Departure | undefined {
    const search = this.searchOf(client);
    if (search === undefined) return undefined;
    search.isOver = true;
    // Keep the budget only after a loss: if the next server is lost soon, too, this one is not tried again. A kept server may be.
    if (search.departure === undefined || search.departure.kept >= 0) this.#searches.delete(client);
    return search.departure;
  }

  /** Ends a departure's search and returns the client to the server that it was leaving. */
  cancel(client: number): void {
    const search = this.searchOf(client)!;
    const row = rowOf(client);
    this.#closeServer(client);
    if (!search.isProbe && this.#words[row + WORD.slot] >= 0) {
      this.#kit.counters.raiseOf(this.#words[row + WORD.slot], "serverOpen", -1);
    }
    this.#return(client, search.departure!);
  }

  /**
   * Gives up the dial under way for a client without a server, but not the search: `dial` goes on with it, also with the server
   * that was being dialled.
   */
  park(client: number): void {
    const row = rowOf(client);
    this.#closeServer(client);
    const search = this.searchOf(client);
    if (search !== undefined) search.addresses = search.awaitedName = undefined;
    const slot = this.#words[row + WORD.slot];
    if (slot < 0) return;
    this.#words[row + WORD.slot] = -1;
    this.#words[row + WORD.attempts]--;
    this.#kit.counters.raiseOf(slot, "serverOpen", -1);
  }

  /** The parked search of a client that has lost its server, for another process; undefined: there is none. */
  carriedSearch(client: number): CarriedSearch | undefined {
    const search = this.searchOf(client);
    if (search?.departure === undefined || search.departure.kept >= 0) return undefined;
    const { departure: { loss, state, isReplay, from }, budget: { deadlineMs, attemptsMax, tried } } = search;
    return { loss, state, isReplay, from, timeLeftMs: deadlineMs - this.#kit.clock.nowMs, attemptsMax, tried };
  }

  /** Takes over such a search of another process. */
  restoreSearch(client: number, { loss, state, isReplay, from, timeLeftMs, attemptsMax, tried }: CarriedSearch): void {
    const budget = { deadlineMs: this.#kit.clock.nowMs + timeLeftMs, attemptsMax, tried: [...tried] };
    this.#searches.set(client, newSearch({ loss, state, isReplay, from, kept: -1, to: -1 }, budget));
  }

  /** Forgets a client that has ended. */
  forget(client: number): void {
    if (this.#searches.size > 0) this.#searches.delete(client);
  }

  /** Whether another server, or the one with slot `to`, may get the client. A server that is down or resting does not count. */
  hasElsewhere(client: number, to = -1): boolean {
    return this.#hasAnother(client, "serving", to);
  }

  /** Whether the client's owner is another server than the one it has. */
  hasOtherOwner(client: number): boolean {
    return this.#hasAnother(client, "owner", -1);
  }

  /** Notes that a server has ended a connection that was waiting or quiet. */
  noteEnd(slot: number): void {
    this.#lastEndsMs[slot] = this.#kit.clock.nowMs;
  }

  /** Forgets the addresses that are no longer valid. Their servers may have left the pool. */
  forgetNames(): void {
    for (const [server, { waiting, expiresMs }] of this.#names) {
      if (waiting === undefined && this.#kit.clock.nowMs >= expiresMs) this.#names.delete(server);
    }
  }

  #hasAnother(client: number, choice: Choice, to: number): boolean {
    const { table } = this.#routingOf(client);
    const own = this.#words[rowOf(client) + WORD.slot];
    const takes = (index: number) => table.slots[index] !== own && isMeant(table.slots[index], to);
    return nextServer(table, this.#loadOf(client), this.#keyOf(client), choice, takes) >= 0;
  }

  #probedUntilMs(slot: number, acceptedMs: number): number {
    return probedUntilMs(acceptedMs, this.#lastEndsMs[slot]);
  }

  /** Ends a probe: the client has its server's first socket again, whatever the result. */
  #endProbe(client: number, departure: Departure, result: ProbeResult): Dial {
    const { endWasMeant, countsAsFailure } = PROBES[result];
    this.#closeServer(client);
    this.#return(client, departure);
    if (countsAsFailure) this.#kit.reports.writeFailure(departure.from, this.#words[rowOf(client) + WORD.errno]);
    return endWasMeant ? DIAL.meant : DIAL.lost;
  }

  /** Gives the client back the server that it was leaving, and that server's socket if it was kept. */
  #return(client: number, { from, kept }: Departure): void {
    const row = rowOf(client);
    const previous = this.#searches.get(client)?.previous;
    if (previous === undefined) this.#searches.delete(client);
    else this.#searches.set(client, previous);
    this.#words[row + WORD.peer] = kept;
    this.#words[row + WORD.slot] = from;
    this.#words[row + WORD.moves] &= MOVES_MASK;
  }

  #newBudget(client: number, attempts: number, timeMs: number): Budget {
    return {
      deadlineMs: this.#kit.clock.nowMs + timeMs,
      attemptsMax: this.#words[rowOf(client) + WORD.attempts] + attempts,
      tried: [],
    };
  }

  /** The client's search. The search for a first server is created only when it is needed; most clients need none. */
  #searchFor(client: number): Search {
    const search = this.searchOf(client);
    if (search !== undefined) return search;
    const { connectAttemptsMax } = this.#configOf(client);
    const budget = { deadlineMs: this.#deadlineOf(client, undefined), attemptsMax: connectAttemptsMax, tried: [] };
    const first = newSearch(undefined, budget);
    this.#searches.set(client, first);
    return first;
  }

  /** A client's first search has its time from when the client was taken over, or its PROXY header was read. */
  #deadlineOf(client: number, search: Search | undefined): number {
    return search?.budget.deadlineMs ??
      this.#floats[floatsOf(client) + FLOAT.lastActivityMs] + this.#configOf(client).connectDeadlineMs;
  }

  #routingOf(client: number): Routing {
    return this.#routings[serviceOf(this.#words, client)];
  }

  #configOf(client: number): ServiceEngineConfig {
    return this.#kit.services.configOf(client);
  }

  #loadOf(client: number): Load {
    return this.#loads[serviceOf(this.#words, client)];
  }

  /** Chooses the next server to try and reserves a connection there. Returns its index in the table; -1: none. */
  #choose(client: number, search: Search | undefined): number {
    const { table } = this.#routingOf(client);
    const key = this.#keyOf(client);
    if (search === undefined) {
      const index = routeFirst(table, this.#loadOf(client), key);
      if (index < 0 || this.#reserve(client, table, index)) return index;
    }
    return this.#chooseNext(client, search, key);
  }

  /** Apart from `#choose`, because its closure would be garbage of every connection. */
  #chooseNext(client: number, search: Search | undefined, key: Uint8Array): number {
    const { table } = this.#routingOf(client);
    const { loss, isHeld = false, to = -1 } = search?.departure ?? {};
    const choice = loss === undefined || isHeld ? "any" : DEPARTURES[loss].choice;
    const takes = (index: number) =>
      isMeant(table.slots[index], to) && search?.budget.tried.includes(table.slots[index]) !== true &&
      this.#reserve(client, table, index);
    return nextServer(table, this.#loadOf(client), key, choice, takes);
  }

  /** Counts first and checks the limit afterwards, so that two threads cannot exceed a server's limit together. */
  #reserve(client: number, table: SharedTable, index: number): boolean {
    const { counters } = this.#kit;
    const { slots, connectionsMax } = table;
    const slot = slots[index];
    if (counters.raiseOf(slot, "serverOpen") > connectionsMax[index]) {
      counters.raiseOf(slot, "serverOpen", -1);
      return false;
    }
    takeTurn(table, this.#loadOf(client).turns, index);
    this.#words[rowOf(client) + WORD.slot] = slot;
    return true;
  }

  /** The client's key, valid until the next call. */
  #keyOf(client: number): Uint8Array {
    const { bytes } = this.#kit.table;
    const row = rowOf(client);
    const ip = (this.#words[row + WORD.ipLength] & IP_LENGTH_MASK) === 4 ? this.#ip4 : this.#ip6;
    for (let i = 0; i < ip.length; i++) ip[i] = bytes[(row + WORD.ip) * 4 + i];
    const rule = this.#routingOf(client).table.key;
    const key = this.#keys[clientKeyLength(rule, ip)];
    writeClientKey(rule, ip, this.#words[row + WORD.port] & PORT_MASK, key);
    return key;
  }

  /** Dials a server. Returns `pending`, `connected`, or `nobody` if it failed at once. So do the methods that it calls. */
  #tryServer(client: number, index: number, deadlineMs: number): Dial {
    const { wheel, clock } = this.#kit;
    const { table, bytes, address, addresses } = this.#routingOf(client);
    wheel.set(client, Math.min(clock.nowMs + this.#configOf(client).connectTimeoutMs, deadlineMs));
    const at = index * ADDRESS_STRIDE;
    if (bytes[at + ADDRESS_LENGTH_AT] === 0) return this.#tryNamed(client, index);
    return this.#connect(client, bytes, at, addresses[index] ??= address + BigInt(at), table.proxies[index]);
  }

  #tryNamed(client: number, index: number): Dial {
    const address = this.#routingOf(client).table.names.get(index)!;
    const server = formatAddress(address);
    const named = this.#names.get(server);
    const search = this.#searchFor(client);
    search.addressIndex = -1;
    search.proxy = this.#routingOf(client).table.proxies[index];
    if (named !== undefined && named.waiting === undefined && this.#kit.clock.nowMs < named.expiresMs) {
      search.addresses = named.addresses;
      return this.#tryFound(client, search);
    }
    search.awaitedName = server;
    if (named?.waiting !== undefined) {
      named.waiting.push(client);
      return DIAL.pending;
    }
    this.#names.set(server, { addresses: new Uint8Array(), expiresMs: 0, waiting: [client] });
    this.#kit.post({ kind: "find", address });
    return DIAL.pending;
  }

  /** Dials the first of the addresses that a look-up has found, if any. */
  #tryFound(client: number, search: Search): Dial {
    if (search.addresses!.length === 0) this.#words[rowOf(client) + WORD.errno] = REASON.nameNotFound;
    return this.#tryNextAddress(client, search);
  }

  /** Dials the next address of a server known by name. Each but the last gets an equal part of the connect timeout. */
  #tryNextAddress(client: number, search: Search | undefined): Dial {
    const { wheel, clock } = this.#kit;
    if (search?.addresses === undefined) return DIAL.nobody;
    const { connectTimeoutMs } = this.#configOf(client);
    const { addresses } = search;
    const count = addresses.length / ADDRESS_STRIDE;
    const { deadlineMs } = search.budget;
    while (search.addressIndex + 1 < count && clock.nowMs < deadlineMs) {
      this.#closeServer(client);
      const at = ++search.addressIndex * ADDRESS_STRIDE;
      this.#sockaddr.set(addresses.subarray(at, at + ADDRESS_STRIDE));
      const isLast = search.addressIndex + 1 === count;
      wheel.set(client, Math.min(clock.nowMs + connectTimeoutMs / (isLast ? 1 : count), deadlineMs));
      const outcome = this.#connect(client, this.#sockaddr, 0, this.#sockaddrAddress, search.proxy);
      if (outcome !== DIAL.nobody) return outcome;
    }
    return DIAL.nobody;
  }

  /** Connects to the sockaddr at `bytes[at]`, whose memory address is `address`. `proxy`: PROXY_FLAGS of the server. */
  #connect(client: number, bytes: Uint8Array, at: number, address: bigint, proxy: number): Dial {
    const offset = this.#kit.services.portOffsetOf(client);
    if (offset === 0) return this.#connectTo(client, bytes, at, address, proxy);
    const shifted = this.#shifted;
    shifted.set(bytes.subarray(at, at + ADDRESS_STRIDE));
    const port = (shifted[SOCKADDR.port] << 8 | shifted[SOCKADDR.port + 1]) + offset;
    shifted[SOCKADDR.port] = port >>> 8;
    shifted[SOCKADDR.port + 1] = port;
    return this.#connectTo(client, shifted, 0, this.#shiftedAddress, proxy);
  }

  /** The same, with the port of the client's listener. */
  #connectTo(client: number, bytes: Uint8Array, at: number, address: bigint, proxy: number): Dial {
    const { libc, sockets, descriptors, clock } = this.#kit;
    const row = rowOf(client);
    const server = openSocket(libc, bytes[at + SOCKADDR.family]);
    if (server < 0) {
      const errno = libc.errno();
      if (USED_UP.includes(errno)) this.#shortage = errno;
      return this.#failAtOnce(row, errno);
    }
    if (!descriptors.adopt(server, ROLE.server, client, proxy)) return this.#failAtOnce(row, ERRNO.EMFILE);
    this.#floats[floatsOf(server) + FLOAT.startedMs] = clock.nowMs;
    this.#floats[floatsOf(server) + SERVER_FLOAT.retryAtMs] = 0;
    this.#words[rowOf(server) + WORD.port] = bytes[at + SOCKADDR.port] << 8 | bytes[at + SOCKADDR.port + 1];
    const search = this.searchOf(client);
    // Bytes wait for the server: they carry the acknowledgement of its handshake, which is one segment less.
    const hasBytes = search?.isProbe !== true &&
      (proxy !== 0 || descriptors.isHolding(client) || search?.departure?.isReplay === true);
    sockets.set(server, SOCKET.SOL_SOCKET, SOCKET.SO_OOBINLINE, 1);
    if (hasBytes && sockets.set(server, SOCKET.IPPROTO_TCP, SOCKET.TCP_QUICKACK, 0)) {
      this.#words[rowOf(server) + WORD.flags] |= FLAG.ackDelayed;
    }
    const failure = this.#sources.connect(client, server, address, bytes[at + ADDRESS_LENGTH_AT]);
    if (failure !== 0) {
      descriptors.release(server);
      return this.#failAtOnce(row, failure);
    }
    this.#words[row + WORD.peer] = server;
    const isConnected = hasBytes && sockets.isConnected(server) && !this.#isItsOwnPeer(server);
    if (isConnected) this.#words[rowOf(server) + WORD.flags] |= FLAG.writable;
    // The server of a new client is registered after its first bytes have gone out, together with the client.
    if (isConnected && !descriptors.isRegistered(client)) return this.#onAccepted(client, server);
    if (descriptors.register(server)) return isConnected ? this.#onAccepted(client, server) : DIAL.pending;
    this.#closeServer(client);
    this.#shortage = ERRNO.ENOMEM;
    return this.#failAtOnce(row, ERRNO.ENOMEM);
  }

  #failAtOnce(row: number, errno: number): Dial {
    this.#words[row + WORD.errno] = errno;
    return DIAL.nobody;
  }

  /** Counts that a server has accepted. */
  #onAccepted(client: number, server: number): Dial {
    const { counters, clock, logColumns, services } = this.#kit;
    const row = rowOf(client);
    this.#words[row + WORD.errno] = 0;
    if (services.isLogging) logColumns.connected(client, clock.nowMs - this.#floats[floatsOf(client) + FLOAT.startedMs]);
    const seconds = (clock.nowMs - this.#floats[floatsOf(server) + FLOAT.startedMs]) / 1000;
    counters.addConnect(this.#words[row + WORD.slot], seconds);
    return DIAL.connected;
  }

  /** Whether a dialled socket has found itself, which is possible only where the kernel chooses local ports. */
  #isItsOwnPeer(server: number): boolean {
    const { sockets } = this.#kit;
    const port = this.#words[rowOf(server) + WORD.port];
    return port >= EPHEMERAL_PORT_MIN && sockets.ownPortOf(server) === port && sockets.isItsOwnPeer(server);
  }

  /** Closes the dialled server, counts its failure, and does not try it again in this search. */
  #giveUpServer(client: number): Search {
    const { counters, reports } = this.#kit;
    const row = rowOf(client);
    const slot = this.#words[row + WORD.slot];
    const search = this.#searchFor(client);
    this.#closeServer(client);
    search.addresses = undefined;
    search.awaitedName = undefined;
    search.budget.tried.push(slot);
    this.#words[row + WORD.slot] = -1;
    counters.raiseOf(slot, "serverOpen", -1);
    const errno = this.#words[row + WORD.errno];
    if (isOurs(errno)) return search;
    counters.addTo(slot, "connectFailures");
    reports.writeFailure(slot, errno);
    return search;
  }

  #closeServer(client: number): void {
    const row = rowOf(client);
    const server = this.#words[row + WORD.peer];
    if (server < 0) return;
    this.#words[row + WORD.peer] = -1;
    this.#kit.descriptors.release(server);
  }
}

function newSearch(departure: Departure | undefined, budget: Budget): Search {
  const dialled = { awaitedName: undefined, addresses: undefined, addressIndex: -1, proxy: 0 };
  return { departure, isProbe: false, previous: undefined, acceptedMs: undefined, budget, isOver: false, ...dialled };
}

/** Whether this slot is the one that is to be gone to; -1: all are. */
function isMeant(slot: number, to: number): boolean {
  return to < 0 || slot === to;
}

function openSocket(libc: Libc, family: number): number {
  return libc.call.socket(family, SOCKET.SOCK_STREAM | SOCKET.SOCK_NONBLOCK | SOCKET.SOCK_CLOEXEC, 0);
}

/** Whether this machine or the operator caused the failure of a dial, so that it says nothing about the server. */
function isOurs(errno: number): boolean {
  return SHORTAGES.includes(errno) || errno < 0 && errno !== REASON.nameNotFound;
}

/** The result of a probe that ended with this errno or REASON. */
function resultOf(errno: number): ProbeResult {
  if (isPassedOver(errno)) return "gone";
  return isOurs(errno) ? "unasked" : "failed";
}
