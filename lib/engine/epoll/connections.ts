/**
 * The connections of one worker. A connection is the row of a client and, once dialled, the row of a server. This class owns it: it
 * alone changes the state of a connection (`#become`) and ends it (`#close`, once, with one fate). The dialer, the relay and the
 * redistributor do their part and return the outcome; this class decides what follows.
 */

import { fateOfEnds, fateOfUnserved, fateOfUntaken, isCalledOff, isPausing, retryAfterMs } from "../../routing/departure.ts";
import type { ClientAddress, ClientLists } from "../../routing/client_limits.ts";
import { NO_SERVICE } from "../../routing/name_routes.ts";
import { hasBegun, type Loss } from "../../routing/redistribution.ts";
import type { StayReason } from "../../routing/stays.ts";
import { AVAILABILITY, isDraining } from "../../routing/availability.ts";
import type { ClientHello } from "../../values/client_hello.ts";
import { assert } from "../../values/errors.ts";
import type { Fate } from "../../values/fates.ts";
import type { CarriedIndexes, MoveWish, ServiceEngineConfig } from "../engine.ts";
import type { GateConfig } from "../gate.ts";
import { earlierPlace } from "../../routing/hold.ts";
import { type HoldHost, Holds } from "../holds.ts";
import { type PlaceHost, Places } from "../places.ts";
import { type FinalVerdict, loggedTlvs, nameClient, reasonOfNobody, SAID_NOTHING } from "../names.ts";
import { ERRNO } from "../system/errno.ts";
import { EPOLL, SOCKET } from "../system/libc.ts";
import {
  COUNTED_MASK,
  COUNTED_SHIFT,
  FLAG,
  FLOAT,
  floatsOf,
  listenerOf,
  makeId,
  NO_PLACE,
  ROLE,
  ROW_SHIFT,
  rowOf,
  SCREENED_MASK,
  SERVER_FLOAT,
  serviceOf,
  setService,
  STATE,
  type State,
  WORD,
} from "./descriptor_table.ts";
import { DIAL, type Dial, Dialer, type Search } from "./dialer.ts";
import { REASON } from "./reasons.ts";
import { Redistributor } from "./redistributor.ts";
import { HEADER, type Header } from "./proxy_headers.ts";
import type { CarriedConnection } from "./carried.ts";
import { Carrier, type Detached, heldDeparture } from "./carrier.ts";
import type { Hellos } from "./hellos.ts";
import { OUTCOME, type Outcome, Relay } from "./relay.ts";
import { type EndRecord, FIRST_END, type FirstEnd } from "./reports.ts";
import { factsOf } from "./row_facts.ts";
import { SILENT } from "./silence.ts";
import { WaitingRoom } from "./waiting_room.ts";
import type { WorkerKit } from "./worker_kit.ts";
import type { WorkerListener, WorkerService } from "./worker_setup.ts";

/** Age at which keep-alive is set on the server's socket. It takes four system calls, and short connections do not need it. */
const KEEP_ALIVE_AFTER_MS = 1000;

/** Within this time changed settings of keep-alive and of silent hosts hold for every open connection. */
const LIVENESS_WITHIN_MS = 1000;
const LIVENESS_SETTINGS = ["keepAliveMs", "userTimeoutMs", "serverTimeoutMs"] as const;

/** The most unread bytes that are discarded from a client's socket before it is closed. */
const DISCARDED_AT_END = BigInt(16 * 1024 * 1024);

/** Words of a client's row that the report of its end contains. */
const REPORTED_WORDS = [WORD.attempts, WORD.moves, WORD.ip, WORD.ip + 1, WORD.ip + 2, WORD.ip + 3, WORD.ipLength, WORD.port];

const FAILED_EVENTS = EPOLL.ERR | EPOLL.HUP;
/** Flags of a client that has sent FIN or failed. */
const END_FLAGS = FLAG.fin | FLAG.hangup | FLAG.atEnd | FLAG.broken;
const INPUT_EVENTS = EPOLL.IN | EPOLL.RDHUP | EPOLL.PRI | FAILED_EVENTS;

/** Errors that mean the server is dead, and has not only ended this connection. */
const DEAD_ERRORS: readonly number[] = [ERRNO.ETIMEDOUT, ERRNO.EHOSTUNREACH, ERRNO.ENETUNREACH];

/** Which sides get a reset when a connection ends; the others get a FIN. */
type Reset = "nobody" | "client" | "server" | "both";

/** The states of clients of whom it is not known yet who they are, and whether they may connect. */
const UNROUTED: readonly number[] = [STATE.queued, STATE.awaitingHeader, STATE.awaitingHello];

/** The rules of a service that has gone. */
const NO_HOLD = { holdMs: 0 };

/** The states in which a connection can be handed over; one that is probing returns to `open` first. */
const CARRIED_STATES: readonly State[] = [
  STATE.dialling,
  STATE.open,
  STATE.awaitingHeader,
  STATE.awaitingHello,
  STATE.queued,
  STATE.held,
];

/** The legal transitions; 0 is a client whose connection has not begun here. */
const NEXT_STATES: Readonly<Record<State | 0, readonly State[]>> = {
  0: CARRIED_STATES,
  [STATE.queued]: [STATE.dialling, STATE.awaitingHeader, STATE.awaitingHello, STATE.handing],
  [STATE.awaitingHeader]: [STATE.dialling, STATE.awaitingHello, STATE.handing],
  [STATE.awaitingHello]: [STATE.dialling, STATE.handing],
  [STATE.dialling]: [STATE.open, STATE.held, STATE.handing],
  [STATE.open]: [STATE.dialling, STATE.departing, STATE.probing, STATE.handing],
  [STATE.departing]: [STATE.open, STATE.held],
  [STATE.probing]: [STATE.open],
  [STATE.held]: [STATE.dialling, STATE.handing],
  [STATE.handing]: [STATE.handed, ...CARRIED_STATES],
  [STATE.handed]: CARRIED_STATES,
};

/** The connections of one worker. */
export class Connections {
  readonly #kit: WorkerKit;
  readonly #relay: Relay;
  readonly #dialer: Dialer;
  readonly #redistributor: Redistributor;
  readonly #holds: Holds;
  readonly #room: WaitingRoom;
  readonly #holdHost: HoldHost;
  readonly #places: Places;
  readonly #placeHost: PlaceHost;
  readonly #carrier: Carrier;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  readonly #epoch: number;
  /** Sockets with unfinished work, each followed by its generation. They get another turn before the next wait. */
  #queue: number[] = [];
  #nextQueue: number[] = [];
  /** The REPORTED_WORDS of the client that ended last, and the record of its end: reused, so that ending allocates nothing. */
  readonly #ended = { words: new Int32Array(1 << ROW_SHIFT), row: 0 };
  /** The address of the client that enters or leaves: reused, too. */
  readonly #address: ClientAddress = { bytes: new Uint8Array(), at: 0, length: 0 };
  readonly #end: EndRecord = {
    id: 0,
    fate: "done",
    slot: -1,
    errno: 0,
    first: FIRST_END.none,
    sentBytes: 0,
    receivedBytes: 0,
    durationMs: 0,
    acceptedAt: NaN,
    endedAt: NaN,
    connectMs: NaN,
  };

  constructor(kit: WorkerKit) {
    this.#kit = kit;
    this.#words = kit.table.words;
    this.#floats = kit.table.floats;
    this.#epoch = kit.setup.epoch;
    this.#relay = new Relay(kit);
    this.#dialer = new Dialer(kit);
    this.#redistributor = new Redistributor(kit, this.#dialer);
    this.#holds = new Holds(kit.counters, 1 / kit.workerTable.size);
    this.#room = new WaitingRoom(kit);
    this.#holdHost = {
      usabilityOf: (service) => this.#dialer.usabilityOf(service),
      redial: (client) => this.#redial(client),
      endHeld: (client, fate) => this.#endHeld(client, fate),
    };
    this.#places = new Places(kit.counters);
    this.#placeHost = {
      admit: (client) => this.#admitQueued(client),
      endQueued: (client, fate) => this.#close(client, fate),
    };
    this.#carrier = new Carrier(kit, this.#dialer);
  }

  /** Whether sockets wait for another turn. */
  get isBusy(): boolean {
    return this.#queue.length > 0;
  }

  /** Returns and clears the errno of a resource that ran out while servers were dialled; 0: none. */
  takeShortage(): number {
    return this.#dialer.takeShortage();
  }

  /** Serves the clients of this service by these tables, settings and lists. */
  setService(index: number, { table, config, lists, waiting }: WorkerService): void {
    const { services, clock } = this.#kit;
    const before = services.configAt(index);
    const now = config ?? before!;
    this.#dialer.setTable(index, table);
    services.setConfig(index, now);
    this.#setGate(index, now, lists);
    this.#room.heedSlots(index, table.slots);
    this.#holds.set(index, { holdMs: now.holdMs, waiting }, clock.nowMs);
    if (waiting === "parked") this.#forEachClientOf(index, (client) => this.#park(client));
    if (before !== undefined && config !== undefined) this.#heedChange(index, before, config);
  }

  /** A service without connections has gone. */
  dropService(index: number): void {
    this.#holds.set(index, NO_HOLD, this.#kit.clock.nowMs);
    this.#kit.gate.set(index, undefined, undefined);
  }

  /** All that has changed is set. */
  endChange(): void {
    this.#dialer.forgetNames();
  }

  /** Lets clients of this service in by these limits and lists. Those who are there are counted by the new limits from now on. */
  #setGate(service: number, config: GateConfig, lists: ClientLists | undefined): void {
    const { gate } = this.#kit;
    const keepsKeys = gate.keepsKeys(service, config);
    if (!keepsKeys) this.#forEachClientOf(service, (client) => this.#leave(client, 0, 0));
    gate.set(service, config, lists);
    if (!keepsKeys && !gate.isOpen(service)) this.#forEachClientOf(service, (client) => this.#countOpen(client));
  }

  /** Counts a client that was let in before there was such a limit. */
  #countOpen(client: number): void {
    const state = this.#words[rowOf(client) + WORD.state] as State | 0;
    if (state !== 0 && !UNROUTED.includes(state)) this.#countAdmitted(client); // others are let in later
  }

  #countAdmitted(client: number): void {
    const { gate, table, clock } = this.#kit;
    const row = rowOf(client);
    table.pointTo(client, this.#address);
    gate.count(serviceOf(this.#words, client), this.#address, clock.nowMs);
    this.#words[row + WORD.flags] |= gate.counted << COUNTED_SHIFT;
  }

  /** The settings of a service have changed: open connections whose timers were set by the old ones are looked at again. */
  #heedChange(service: number, before: ServiceEngineConfig, now: ServiceEngineConfig): void {
    const isSooner = now.idleTimeoutMs < before.idleTimeoutMs || now.firstByteTimeoutMs !== before.firstByteTimeoutMs;
    const hasOtherLiveness = LIVENESS_SETTINGS.some((name) => now[name] !== before[name]);
    if (!isSooner && !hasOtherLiveness) return;
    this.#forEachClientOf(service, (client) => {
      if (hasOtherLiveness) this.#words[rowOf(client) + WORD.flags] |= FLAG.livenessChanged;
      if (this.#words[rowOf(client) + WORD.state] !== STATE.open) return; // its timer is set when it opens or stays
      if (isSooner) this.#wakeInTime(client, now);
      if (hasOtherLiveness) this.#renewLiveness(client);
    });
  }

  /** Sets the timer of an open connection to the earliest end by these settings. */
  #wakeInTime(client: number, { idleTimeoutMs }: ServiceEngineConfig): void {
    const { table, wheel } = this.#kit;
    wheel.sooner(client, Math.min(table.lastActivityMs(client) + idleTimeoutMs, this.#firstByteDueMs(client)));
  }

  /** Has the socket options of an open connection set anew, one after another: there may be very many connections. */
  #renewLiveness(client: number): void {
    const { wheel, clock, silence } = this.#kit;
    silence.restart(client, clock.nowMs);
    silence.restart(this.#words[rowOf(client) + WORD.peer], clock.nowMs);
    wheel.sooner(client, clock.nowMs + client % LIVENESS_WITHIN_MS);
  }

  /** The look-up of a server's name has finished. */
  setAddresses(server: string, addresses: Uint8Array): void {
    for (const client of this.#dialer.onFound(server, addresses)) {
      this.#onDial(client, this.#dialer.resume(client, server, addresses));
    }
  }

  /** Begins the connection of a client that is accepted and counted. */
  begin(client: number): void {
    const { descriptors, headers } = this.#kit;
    const isInTable = descriptors.adopt(client, ROLE.client, -1, FLAG.writable | headers.screeningFlagsOf(client));
    assert(isInTable, "the acceptor refuses clients beyond the table");
    if (this.#words[rowOf(client) + WORD.slot] === NO_PLACE) this.#awaitPlace(client);
    else this.#beginWithPlace(client);
  }

  /** Waits until there is a place for the client. */
  #awaitPlace(client: number): void {
    this.#words[rowOf(client) + WORD.slot] = -1;
    this.#become(client, STATE.queued);
    this.#places.join(client, this.#kit.clock.nowMs);
    this.#register(client);
  }

  /** There is a place for the client: its bytes, which cause no further event, may be read. */
  #admitQueued(client: number): void {
    this.#goOnFrom(client);
    this.#beginWithPlace(client);
  }

  #beginWithPlace(client: number): void {
    const { headers } = this.#kit;
    if (headers.isRequired(client)) this.#awaitHeader(client);
    else this.#name(client);
  }

  /** The client's address is known: finds out its service, unless its listener has but one. */
  #name(client: number): void {
    if (serviceOf(this.#words, client) === NO_SERVICE) this.#awaitHello(client);
    else this.#admit(client);
  }

  /** The client's address and service are known: dials a server, if the client may connect. */
  #admit(client: number): void {
    if (!this.#kit.gate.isOpen(serviceOf(this.#words, client)) && !this.#enter(client)) return;
    this.#become(client, STATE.dialling);
    if (this.#reportsStarts()) this.#tellStart(client);
    if (this.#holds.mustWait(serviceOf(this.#words, client))) return this.#hold(client);
    if (!this.#relay.readAhead(client, this.#kit.clock.nowMs)) return this.#close(client, "proxy_refused", "both");
    const outcome = this.#dialer.dial(client);
    if (outcome === DIAL.nobody) return this.#findNobody(client);
    if (outcome === DIAL.connected) return this.#openAtOnce(client);
    this.#register(client);
  }

  /**
   * Lets a client in, or ends it. False: it has ended. It gets a FIN: a reset looks like a fault of the network, and would be tried
   * again at once.
   */
  #enter(client: number): boolean {
    const { table, clock, reports, gate } = this.#kit;
    const row = rowOf(client);
    const service = serviceOf(this.#words, client);
    table.pointTo(client, this.#address);
    const refusal = gate.enter(service, this.#address, clock.nowMs);
    this.#words[row + WORD.flags] |= gate.counted << COUNTED_SHIFT;
    if (refusal === undefined) return true;
    const isDryRun = gate.isDryRun(service);
    if (isDryRun) reports.writeRefusal({ words: this.#words, row }, table.idOf(client), refusal);
    else this.#close(client, refusal);
    return isDryRun;
  }

  /** A client that was counted by the gate ends, or is to be counted anew, after so many bytes. */
  #leave(client: number, sentBytes: number, receivedBytes: number): void {
    const { gate, table } = this.#kit;
    const flags = rowOf(client) + WORD.flags;
    const counted = (this.#words[flags] & COUNTED_MASK) >>> COUNTED_SHIFT;
    if (counted === 0) return;
    this.#words[flags] &= ~COUNTED_MASK;
    table.pointTo(client, this.#address);
    gate.leave(serviceOf(this.#words, client), this.#address, counted, sentBytes, receivedBytes);
  }

  /** Waits for the PROXY header that the client must begin with. */
  #awaitHeader(client: number): void {
    const { clock, services, wheel } = this.#kit;
    this.#words[rowOf(client) + WORD.flags] &= ~SCREENED_MASK;
    this.#become(client, STATE.awaitingHeader);
    wheel.set(client, clock.nowMs + services.configOf(client).proxyTimeoutMs);
    this.#onHeader(client, this.#kit.headers.receive(client));
  }

  /** Handles an event of a client that is not routed yet. */
  #onEventBefore(client: number, state: State, events: number): void {
    this.#noteEvents(rowOf(client), events);
    if (state === STATE.awaitingHeader) this.#onEventBeforeHeader(client, events);
    else this.#onEventBeforeHello(client, events);
  }

  /** Handles an event of a client whose PROXY header has not arrived. */
  #onEventBeforeHeader(client: number, events: number): void {
    const { headers } = this.#kit;
    if ((events & FAILED_EVENTS) !== 0) this.#onHeader(client, HEADER.gone);
    else this.#onHeader(client, (events & EPOLL.RDHUP) !== 0 ? headers.receiveLast(client) : headers.receive(client));
  }

  /** Acts on the outcome of looking for the PROXY header. */
  #onHeader(client: number, header: Header): void {
    if (header === HEADER.incomplete) return this.#register(client);
    if (header === HEADER.malformed) return this.#close(client, "proxy_malformed", "client");
    if (header === HEADER.gone) return this.#closeGone(client);
    this.#goOnFrom(client);
    this.#name(client);
  }

  /** Waits for the first message of TLS. */
  #awaitHello(client: number): void {
    const { clock, services, wheel, hellos } = this.#kit;
    this.#become(client, STATE.awaitingHello);
    wheel.set(client, clock.nowMs + services.configOf(client).helloTimeoutMs);
    this.#onHello(client, hellos.receive(client));
  }

  /** Handles an event of a client whose first message of TLS has not arrived. */
  #onEventBeforeHello(client: number, events: number): void {
    const { hellos } = this.#kit;
    if ((events & FAILED_EVENTS) !== 0) this.#closeGone(client);
    else this.#onHello(client, (events & EPOLL.RDHUP) !== 0 ? hellos.receiveLast(client) : hellos.receive(client));
  }

  /** Acts on the outcome of looking for the first message of TLS. */
  #onHello(client: number, received: ReturnType<Hellos["receive"]> | ReturnType<Hellos["receiveLate"]>): void {
    if (received.kind === "more") return this.#register(client);
    if (received.kind === "gone") return this.#closeGone(client);
    if (received.kind === "late") return this.#close(client, "hello_timeout", "client");
    const { hellos, services, headers, counters } = this.#kit;
    hellos.forget(client);
    if (received.kind === "hello") this.#tellHello(client, received.hello);
    const routes = services.routesOf(client);
    const { service, tlvs } = routes === undefined ? { service: services.firstOf(client), tlvs: [] } : nameClient(routes, received);
    if (service === NO_SERVICE) return this.#refuseUnnamed(client, received);
    setService(this.#words, client, service);
    counters.addNamed(service, listenerOf(this.#words, client));
    headers.addSaid(client, tlvs);
    this.#goOnFrom(client);
    this.#admit(client);
  }

  /** Tells the access log, if there is one, what a client's hello asks for. */
  #tellHello(client: number, hello: ClientHello): void {
    const { reports, table, services } = this.#kit;
    if (!services.isLogging) return;
    reports.writeHello({ words: this.#words, row: rowOf(client) }, table.idOf(client), loggedTlvs(hello));
    reports.publish(); // connections may last for hours: their hellos would fill the ring
  }

  /** No service is for the client. */
  #refuseUnnamed(client: number, verdict: FinalVerdict): void {
    if (verdict === SAID_NOTHING) return this.#close(client, "hello_timeout", "client");
    const { hellos, reports, table } = this.#kit;
    hellos.refuse(client, verdict);
    reports.writeReason({ words: this.#words, row: rowOf(client) }, table.idOf(client), reasonOfNobody(verdict));
    this.#close(client, "no_service");
  }

  /** What was awaited has arrived: the time to find a server begins now. What is behind it causes no further event. */
  #goOnFrom(client: number): void {
    const { wheel, clock } = this.#kit;
    wheel.clear(client);
    this.#floats[floatsOf(client) + FLOAT.lastActivityMs] = clock.nowMs;
    this.#words[rowOf(client) + WORD.flags] |= FLAG.readable;
  }

  /** The client has gone before it had a server. */
  #closeGone(client: number): void {
    this.#words[rowOf(client) + WORD.errno] = this.#kit.sockets.takeError(client);
    this.#close(client, "client_gone");
  }

  /**
   * Ends a client of this listener that is accepted and counted but exceeds the limit on connections. Its address is in the row of
   * `noted`.
   */
  refuse(client: number, noted: number, { index, service }: WorkerListener): void {
    this.#sayEnd(client);
    this.#kit.counters.add("limitBalancer");
    this.#tellUnbegun(noted, "refused_limit", service, index);
    this.#kit.libc.call.close(client);
  }

  /** Ends a client that was handed to a worker that has died. */
  loseUnbegun(client: number): void {
    if (this.#words[rowOf(client) + WORD.slot] === NO_PLACE) this.#kit.counters.raise("queued", -1);
    this.#tellUnbegun(client, "worker_lost", serviceOf(this.#words, client), listenerOf(this.#words, client));
    this.#kit.libc.call.close(client);
  }

  /** When those who wait for a place or a server are to be looked at; Infinity: nobody waits for anything. */
  get waitingDueMs(): number {
    return Math.min(this.#holds.dueMs, this.#places.dueMs);
  }

  /**
   * Serves those who wait for a place or a server and whose turn it is, and ends those who have waited too long. `isTaking`:
   * whether connections come from another process.
   */
  serveWaiting(isTaking: boolean): void {
    const { clock: { nowMs }, services: { daemon } } = this.#kit;
    // While connections come from another process, the places that seem to be free are theirs.
    const settings = isTaking ? { ...daemon, connectionsMax: 0 } : daemon;
    if (nowMs >= this.#places.dueMs) this.#places.look(nowMs, settings, this.#placeHost);
    if (nowMs >= this.#holds.dueMs) this.#holds.look(nowMs, this.#holdHost);
  }

  /** Ends those who wait, with this fate. From now on nobody waits for a server. */
  endWaiting(fate: Fate): void {
    this.#places.close(fate, this.#placeHost);
    this.#holds.close(fate, this.#holdHost);
  }

  /** No server can take a client now: it waits. One that has waited before has its place again. */
  #hold(client: number): void {
    const { wheel, clock } = this.#kit;
    this.#redistributor.leaveKept(client);
    this.#room.enter(client, this.#dialer.suspend(client));
    this.#become(client, STATE.held);
    wheel.clear(client);
    this.#holds.join(serviceOf(this.#words, client), client, clock.nowMs);
    this.#kit.reports.publish(); // the server that it had may be empty now
    if ((this.#words[rowOf(client) + WORD.flags] & END_FLAGS) !== 0) return this.#leaveHeld(client);
    this.#register(client);
  }

  /** A client's open connection is to wait. */
  #park(client: number): void {
    if (this.#words[rowOf(client) + WORD.state] === STATE.open) this.#leaveServer(client);
  }

  /** It is the turn of a client that waits. */
  #redial(client: number): void {
    const departure = this.#room.leave(client);
    this.#become(client, STATE.dialling);
    this.#onDial(client, this.#dialer.redial(client, departure));
  }

  /** Ends a client that waits: one that has had a server gets a reset, so that it does not take what it has for the whole. */
  #endHeld(client: number, fate: Fate): void {
    this.#close(client, fate, this.#room.hadServer(client) ? "client" : "nobody");
  }

  /**
   * Handles an event of a client that waits for a place or a server. A FIN means that it has given up, though it could also mean
   * that it has sent all: what a client has asked before it went away is the load that keeps a server down that has just come back.
   */
  #onEventWhileWaiting(client: number, events: number): void {
    this.#noteEvents(rowOf(client), events);
    if ((this.#words[rowOf(client) + WORD.flags] & END_FLAGS) !== 0) this.#leaveHeld(client);
  }

  #leaveHeld(client: number): void {
    this.#words[rowOf(client) + WORD.errno] = this.#kit.sockets.takeError(client);
    this.#endHeld(client, "client_gone");
  }

  /**
   * Handles an event of a socket. An event of another generation belongs to an earlier socket with the same number and is ignored.
   */
  onEvent(socket: number, generation: number, events: number): void {
    const words = this.#words;
    const row = rowOf(socket);
    if (words[row + WORD.generation] !== generation || words[row + WORD.owner] !== this.#epoch) return;
    const client = this.#clientOf(socket);
    const state = words[rowOf(client) + WORD.state];
    if (state === STATE.awaitingHeader || state === STATE.awaitingHello) return this.#onEventBefore(client, state, events);
    if (state === STATE.held || state === STATE.queued) return this.#onEventWhileWaiting(client, events);
    if (state !== STATE.open && !this.#onEventWhileDialling(socket, client, events)) return;
    const hasRoom = this.#noteEvents(row, events);
    const peer = words[row + WORD.peer];
    if ((words[row + WORD.flags] & FLAG.broken) !== 0) this.#onBroken(socket, peer);
    else if ((events & INPUT_EVENTS) === 0 || this.#transfer(socket, peer)) {
      if (hasRoom) this.#transfer(peer, socket);
    }
  }

  /** Gives the queued sockets another turn. */
  serveQueue(): void {
    const words = this.#words;
    const turn = this.#queue;
    this.#queue = this.#nextQueue;
    this.#nextQueue = turn;
    for (let i = 0; i < turn.length; i += 2) {
      const row = rowOf(turn[i]);
      if (words[row + WORD.generation] !== turn[i + 1] || words[row + WORD.owner] !== this.#epoch) continue;
      words[row + WORD.flags] &= ~FLAG.queued;
      // A connection that is departing or probing is queued again when it has arrived or stays.
      if (words[rowOf(this.#clientOf(turn[i])) + WORD.state] === STATE.open) this.#transfer(turn[i], words[row + WORD.peer]);
    }
    turn.length = 0;
  }

  /** The timer of a client has fired. */
  readonly onTimer = (client: number): void => {
    const words = this.#words;
    const row = rowOf(client);
    if (words[row + WORD.state] === STATE.awaitingHeader) return this.#close(client, "proxy_timeout", "client");
    if (words[row + WORD.state] === STATE.awaitingHello) return this.#onHello(client, this.#kit.hellos.receiveLate(client));
    if (words[row + WORD.state] !== STATE.open) return this.#onDial(client, this.#dialer.onTimeout(client));
    const { wheel, sockets, clock, availabilities } = this.#kit;
    const config = this.#kit.services.configOf(client);
    const server = words[row + WORD.peer];
    const quietForMs = this.#redistributor.quietForMs(client);
    if (quietForMs >= config.idleTimeoutMs) return this.#close(client, "idle_timeout");
    const firstByteDueMs = this.#firstByteDueMs(client);
    if (clock.nowMs >= firstByteDueMs) return this.#close(client, "first_byte_timeout");
    if ((words[row + WORD.flags] & FLAG.livenessChanged) !== 0) {
      words[row + WORD.flags] &= ~(FLAG.livenessChanged | FLAG.keepAliveSet);
      sockets.resetLiveness(client);
      sockets.resetLiveness(server);
      sockets.setLiveness(client, config);
    }
    if ((words[row + WORD.flags] & FLAG.keepAliveSet) === 0) {
      words[row + WORD.flags] |= FLAG.keepAliveSet;
      sockets.setLiveness(server, { keepAliveMs: config.keepAliveMs, userTimeoutMs: config.serverTimeoutMs });
    }
    wheel.set(client, Math.min(clock.nowMs + config.idleTimeoutMs - quietForMs, firstByteDueMs));
    if (this.#isSilent(server, client) || this.#isSilent(client, server)) return;
    const isLeaving = isDraining(availabilities.get(words[row + WORD.slot])) || this.#holds.parks(serviceOf(words, client));
    if (isLeaving) this.#leaveServer(client);
  };

  /** When the client ends unless somebody has sent something by then; Infinity: somebody has, or there is no such limit. */
  #firstByteDueMs(client: number): number {
    const { firstByteTimeoutMs } = this.#kit.services.configOf(client);
    if (firstByteTimeoutMs === 0 || this.#redistributor.hasUnread(client) || hasBegun(factsOf(this.#words, client))) {
      return Infinity;
    }
    return this.#floats[floatsOf(client) + FLOAT.startedMs] + firstByteTimeoutMs;
  }

  /** Moves the connections of this server away, according to its availability. */
  vacate(slot: number): void {
    const availability = this.#kit.availabilities.get(slot);
    const reason = availability === AVAILABILITY.asking ? REASON.asking : REASON.removed;
    if (isDraining(availability)) this.#visitServer(slot, reason, (client) => this.#leaveServer(client));
    if (availability === AVAILABILITY.expired) this.#hurrySearches(slot);
  }

  /** This server is silent: its checks have failed for `silentMs`, and its last successful check was `sinceHealthyMs` ago. */
  loseSilent(slot: number, silentMs: number, sinceHealthyMs: number): void {
    this.#visitServer(slot, REASON.silent, (client) => this.#leaveSilent(client, silentMs, sinceHealthyMs));
  }

  /** Moves the connection with this client and this generation to its owner, if it may move and is not there already. */
  sendToOwner(client: number, generation: number): void {
    if (!this.#isHere(client, generation) || this.#words[rowOf(client) + WORD.state] !== STATE.open) return;
    const verdict = this.#redistributor.decide(client, "rebalance");
    if (verdict !== "move" || this.#redistributor.hasUnread(client) || !this.#dialer.hasOtherOwner(client)) return;
    this.#depart(client, "rebalance", verdict);
  }

  /** A person ends the connection with this client and this generation. The report of its end is the answer. */
  closeOne(client: number, generation: number): void {
    if (this.#isHere(client, generation)) this.#close(client, "closed", "both");
    else this.#kit.reports.writeStay(makeId(client, generation), undefined);
  }

  /** A person moves the connection with this client and this generation. A report says what becomes of it, or why it stays. */
  moveOne(client: number, generation: number, { from, to }: MoveWish): void {
    const id = makeId(client, generation);
    if (!this.#isHere(client, generation)) return this.#kit.reports.writeStay(id, undefined);
    const reason = this.#reasonToStay(client, from, to);
    if (reason !== undefined) return this.#kit.reports.writeStay(id, reason);
    const verdict = this.#redistributor.decide(client, "command");
    assert(verdict === "move" || verdict === "replay", "nothing hinders it");
    this.#depart(client, "command", verdict, to);
  }

  /** Why the connection cannot leave this server for that one; undefined: it can. */
  #reasonToStay(client: number, from: number, to: number): StayReason | undefined {
    const row = rowOf(client);
    const state = this.#words[row + WORD.state];
    if (state === STATE.departing || state === STATE.probing) return "leaving";
    if (state !== STATE.open) return "dialling";
    if (this.#words[row + WORD.slot] !== from) return "elsewhere";
    if (this.#holds.mustWait(serviceOf(this.#words, client))) return "paused";
    const hindrance = this.#redistributor.hindrance(client);
    if (hindrance !== undefined) return hindrance;
    if (this.#redistributor.hasUnread(client)) return "transit";
    return this.#dialer.hasElsewhere(client, to) ? undefined : "nowhere";
  }

  /** Whether this client's connection is this worker's. */
  #isHere(client: number, generation: number): boolean {
    return this.#words[rowOf(client) + WORD.generation] === generation && this.#isServed(client);
  }

  /** Resets every connection, with this fate. */
  endAll(fate: Fate): void {
    this.#forEachClient((client) => this.#close(client, fate, "both"));
  }

  /** Whether any client is not handed over to another process. */
  hasUngiven(): boolean {
    for (let descriptor = 0; descriptor <= this.#kit.descriptors.highest; descriptor++) {
      if (this.#isServed(descriptor)) return true;
    }
    return false;
  }

  /** Visits the clients that are not handed over, from descriptor `start` on and round, until `visit` says false. Returns where. */
  forEachFrom(start: number, visit: (client: number) => boolean): number {
    const count = this.#kit.descriptors.highest + 1;
    for (let i = 0; i < count; i++) {
      const descriptor = (start + i) % count;
      if (this.#isServed(descriptor) && !visit(descriptor)) return descriptor + 1;
    }
    return start;
  }

  /** The socket of the client's server; -1: it has none. */
  serverOf(client: number): number {
    return this.#words[rowOf(client) + WORD.peer];
  }

  /**
   * Stops a connection to hand it over. One that is looking for a server, or asks whether its own is alive, is stopped only with
   * `mayBreakOff`; whoever goes on with it begins that anew, and who has waited before waits again. Undefined: it is not stopped,
   * or has ended.
   */
  detach(client: number, mayBreakOff: boolean): Detached | undefined {
    const { wheel, descriptors } = this.#kit;
    const words = this.#words;
    const row = rowOf(client);
    const generation = words[row + WORD.generation];
    const before = words[row + WORD.state] as State | 0;
    const isSearching = before === STATE.dialling || before === STATE.departing || before === STATE.probing;
    if (before === 0 || isSearching && !mayBreakOff) return undefined;
    if (isSearching) this.#breakOff(client, before);
    const state = words[row + WORD.state] as State | 0;
    if (words[row + WORD.generation] !== generation || state === 0) return undefined;
    const dueMs = wheel.dueMs(client);
    const server = words[row + WORD.peer];
    const waiting = this.#leaveLine(client, state);
    wheel.clear(client);
    descriptors.unregister(client);
    if (server >= 0) descriptors.unregister(server);
    this.#become(client, STATE.handing);
    return { state: before === STATE.probing ? before : state, dueMs, ...waiting };
  }

  /** Ends what a client does that is looking for a server, or asks whether its own is alive. */
  #breakOff(client: number, state: State): void {
    if (state === STATE.departing) return this.#callOff(client);
    if (state === STATE.probing) {
      this.#dialer.cancel(client);
      return this.#become(client, STATE.open);
    }
    this.#dialer.park(client);
    if (this.#holds.has(serviceOf(this.#words, client), client)) this.#hold(client);
  }

  /** Takes a client that waits out of its line. Returns its place and what was kept of it; undefined: it does not wait. */
  #leaveLine(client: number, state: State): Pick<Detached, "place" | "kept"> | undefined {
    if (state === STATE.queued) return { place: this.#places.leave(client) };
    if (state !== STATE.held) return undefined;
    const place = this.#holds.leave(serviceOf(this.#words, client), client, this.#kit.clock.nowMs);
    return { place, kept: this.#room.take(client) };
  }

  /** Puts a client that waits into its line again. */
  #returnToLine(client: number, { state, place, kept }: Detached): void {
    if (place === undefined) return;
    const { clock: { nowMs }, services } = this.#kit;
    if (state === STATE.queued) return this.#places.restore(client, place, nowMs);
    if (kept !== undefined) this.#room.restore(client, kept);
    const { holdMs } = services.configOf(client);
    this.#holds.restore(serviceOf(this.#words, client), client, place, { holdMs, nowMs });
  }

  /** What is to be handed over of a stopped connection. Adds its descriptors to `descriptors`. */
  pack(client: number, detached: Detached, descriptors: number[]): CarriedConnection {
    return this.#carrier.pack(client, detached, descriptors);
  }

  /** The other process has acknowledged a stopped connection. */
  noteHanded(client: number): void {
    this.#become(client, STATE.handed);
  }

  /** The other process has gone with bytes of this connection. */
  lose(client: number): void {
    this.#close(client, "upgrade_lost", "both");
  }

  /** Takes over a connection of another process. `take` gives its descriptors one after another. */
  takeOver(connection: CarriedConnection, take: () => number, indexes: CarriedIndexes): void {
    const { gate, clock } = this.#kit;
    const client = this.#carrier.unpack(connection, take, indexes);
    const state = connection.state as State;
    const isCounted = !UNROUTED.includes(state) && !gate.isOpen(serviceOf(this.#words, client));
    if (isCounted) this.#countAdmitted(client);
    const { waiting } = connection;
    if (state === STATE.held) this.#room.enter(client, waiting && heldDeparture(waiting, indexes));
    const place = waiting && earlierPlace({ number: waiting.place, sinceMs: clock.nowMs - waiting.forMs });
    this.attach(client, { state, dueMs: clock.nowMs + connection.dueInMs, place });
  }

  /** Goes on with a stopped connection, here or after it was taken over. */
  attach(client: number, detached: Detached): void {
    const { state, dueMs } = detached;
    const { wheel, descriptors } = this.#kit;
    const words = this.#words;
    const row = rowOf(client);
    const server = words[row + WORD.peer];
    words[row + WORD.flags] |= FLAG.readable;
    if (server >= 0) words[rowOf(server) + WORD.flags] |= FLAG.readable;
    this.#become(client, state === STATE.probing ? STATE.open : state);
    wheel.set(client, dueMs);
    const isRegistered = descriptors.register(client) && (server < 0 || descriptors.register(server));
    if (!isRegistered) {
      words[row + WORD.errno] = ERRNO.ENOMEM;
      return this.#close(client, "failed", "both");
    }
    this.#returnToLine(client, detached);
    if (state === STATE.dialling) return this.#onDial(client, this.#dialer.dial(client));
    if (state === STATE.probing) return void this.#onServerEnd(server, client);
    if (state !== STATE.open) return; // registering causes an event if there is something to read
    this.#queueUp(client);
    this.#queueUp(server);
  }

  /** The one place where the state of a connection changes. */
  #become(client: number, state: State): void {
    const at = rowOf(client) + WORD.state;
    assert(NEXT_STATES[this.#words[at] as State | 0].includes(state), "a connection takes no such step");
    this.#words[at] = state;
  }

  /** The one place where a connection ends. `reset` says which sides get a reset. */
  #close(client: number, fate: Fate, reset: Reset = "nobody"): void {
    const { descriptors, sockets, wheel, recorder, headers, hellos, workerTable, setup, clock } = this.#kit;
    const words = this.#words;
    const floats = this.#floats;
    const row = rowOf(client);
    this.#redistributor.abandon(client);
    const server = words[row + WORD.peer];
    const slot = words[row + WORD.slot];
    const end = this.#end;
    end.id = this.#kit.table.idOf(client);
    end.fate = fate;
    end.slot = slot;
    end.errno = words[row + WORD.errno] !== 0 || server < 0 ? words[row + WORD.errno] : words[rowOf(server) + WORD.errno];
    end.sentBytes = floats[floatsOf(client) + FLOAT.bytes];
    end.receivedBytes = floats[floatsOf(client) + FLOAT.earlierBytes] + (server < 0 ? 0 : floats[floatsOf(server) + FLOAT.bytes]);
    end.first = this.#firstEnd(client, server);
    // Another worker may have accepted the client at a later reading of the clock.
    end.durationMs = Math.max(0, clock.nowMs - floats[floatsOf(client) + FLOAT.startedMs]);
    this.#noteClient(client);
    this.#leave(client, end.sentBytes, end.receivedBytes);
    wheel.clear(client);
    if (!this.#holds.isEmpty) this.#forgetHeld(client);
    this.#places.forget(client);
    this.#dialer.forget(client);
    if (server >= 0 && (reset === "both" || reset === "server" || this.#isCut(client))) sockets.resetOnClose(server);
    if (reset === "both" || reset === "client" || (server >= 0 && this.#isCut(server))) sockets.resetOnClose(client);
    else if (fate !== "done") this.#sayEnd(client);
    words[row + WORD.state] = 0; // before the socket is closed: the row may be another worker's afterwards
    if (server >= 0) descriptors.release(server);
    descriptors.release(client);
    headers.forget(client);
    hellos.forget(client);
    recorder.forget(client); // after #isCut, which looks at the bytes still to be replayed
    workerTable.addOpen(setup.index, -1);
    this.#tellEnd(serviceOf(this.#ended.words, 0), listenerOf(this.#ended.words, 0));
  }

  /** A client ends while others wait, and perhaps itself: the server that it had may have room for one of them. */
  #forgetHeld(client: number): void {
    const { clock } = this.#kit;
    this.#holds.forget(serviceOf(this.#words, client), client, clock.nowMs);
    this.#holds.poke(clock.nowMs);
    this.#room.forget(client);
  }

  /** Counts the end in `#end`, of a client of this service and listener, and reports it to main. */
  #tellEnd(service: number, listener: number): void {
    const { counters, reports, services, clock } = this.#kit;
    const { fate, slot, durationMs } = this.#end;
    this.#end.endedAt = services.isLogging ? clock.wallMs() : NaN;
    reports.begin();
    counters.addFate(fate, service, slot < 0 ? undefined : slot, durationMs / 1000);
    if (slot >= 0) counters.raiseOf(slot, "serverOpen", -1);
    counters.lowerOpen(service, listener);
    this.#places.poke(clock.nowMs);
    reports.writeEnd(this.#ended, this.#end);
    reports.publish();
  }

  /**
   * Counts and reports the end of a client that is accepted and counted but whose connection did not begin. `noted` is the row that
   * describes it.
   */
  #tellUnbegun(noted: number, fate: Fate, service: number, listener: number): void {
    this.#noteClient(noted);
    // An id of its own. The last row may be written by several workers at once.
    const generation = Atomics.add(this.#words, rowOf(noted) + WORD.generation, 1) + 1;
    const id = makeId(noted, generation);
    Object.assign(this.#end, {
      id,
      fate,
      slot: -1,
      errno: 0,
      first: FIRST_END.none,
      sentBytes: 0,
      receivedBytes: 0,
      durationMs: 0,
    });
    this.#tellEnd(service, listener);
  }

  #reportsStarts(): boolean {
    const { accessLog, accessLogStart } = this.#kit.services.daemon;
    return accessLogStart && accessLog !== null;
  }

  /** Reports that a connection has begun. */
  #tellStart(client: number): void {
    const { table, reports, logColumns, clock } = this.#kit;
    const { words } = table;
    const acceptedAt = logColumns.acceptedAt(client, clock.wallMs(), clock.nowMs);
    reports.writeStart({ words, row: rowOf(client) }, table.idOf(client), acceptedAt);
    reports.publish();
  }

  /** The side whose FIN was passed on before the other side had ended. */
  #firstEnd(client: number, server: number): FirstEnd {
    if ((this.#words[rowOf(client) + WORD.flags] & FLAG.endedFirst) !== 0) return FIRST_END.client;
    return server >= 0 && (this.#words[rowOf(server) + WORD.flags] & FLAG.endedFirst) !== 0 ? FIRST_END.server : FIRST_END.none;
  }

  /**
   * Sends FIN. Closing a socket with unread bytes sends a reset, which could overtake the bytes sent before; so the FIN goes first.
   */
  #sayEnd(client: number): void {
    this.#kit.libc.call.recv(client, 0n, DISCARDED_AT_END, SOCKET.MSG_TRUNC);
    this.#kit.libc.call.shutdown(client, SOCKET.SHUT_WR);
  }

  /** Copies the REPORTED_WORDS and the columns: the row may belong to another worker as soon as the socket is closed. */
  #noteClient(client: number): void {
    const { logColumns, services, clock } = this.#kit;
    const row = rowOf(client);
    if (services.isLogging) {
      this.#end.acceptedAt = logColumns.acceptedAt(client, clock.wallMs(), clock.nowMs);
      this.#end.connectMs = logColumns.connectMs(client);
    }
    for (let i = 0; i < REPORTED_WORDS.length; i++) this.#ended.words[REPORTED_WORDS[i]] = this.#words[row + REPORTED_WORDS[i]];
  }

  /** Whether bytes of this socket were not passed on, so the other side gets a reset and cannot mistake its data for complete. */
  #isCut(socket: number): boolean {
    const flags = this.#words[rowOf(socket) + WORD.flags];
    if ((flags & FLAG.done) !== 0) return false;
    return this.#kit.descriptors.isHolding(socket) || (flags & FLAG.readable) !== 0 || this.#kit.recorder.pending(socket) > 0;
  }

  /** Sets the flags of the event in the row. Returns whether the socket has become writable. */
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
   * The flags for a FIN or a reset in the event. EPOLLHUP means that both directions are closed. If we have not closed ours, it is
   * a reset whose error was already consumed by another call (splice(2) returns only the count of the bytes before it), unless a
   * FIN was reported earlier. A FIN reported while EPOLLPRI is off says nothing about urgent data; epoll reports it again once
   * EPOLLPRI is on.
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
   * Handles an event while a server is being dialled: of that server's socket, of the kept server's, or of the client's. True: the
   * connection is open now, and the caller must still relay for this event.
   */
  #onEventWhileDialling(socket: number, client: number, events: number): boolean {
    const words = this.#words;
    if (words[rowOf(client) + WORD.state] >= STATE.handing) return false; // read before it was stopped
    if (socket !== client && words[rowOf(client) + WORD.peer] === socket) {
      const generation = words[rowOf(socket) + WORD.generation];
      const outcome = this.#dialer.onEvent(socket, events);
      // If this server has failed and the next one accepted at once, that one may have the same number, but another generation.
      const isThisOne = words[rowOf(socket) + WORD.generation] === generation;
      if (outcome === DIAL.connected && isThisOne) return this.#arrive(client);
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
      // Reading ahead may have taken the errno of a reset.
      words[rowOf(client) + WORD.errno] = this.#kit.sockets.takeError(client) || ERRNO.ECONNRESET;
      this.#close(client, "client_gone", "both");
    } else if ((events & INPUT_EVENTS) !== 0 && this.#redistributor.isCalledOffByClient(client)) this.#callOff(client);
    return false;
  }

  /**
   * A server accepted a new client at once. Both sockets are registered only after the client's first bytes have gone on, so that
   * these cause no event.
   */
  #openAtOnce(client: number): void {
    const { words } = this.#kit.table;
    const row = rowOf(client);
    const generation = words[row + WORD.generation];
    this.#arrive(client);
    const isDue = this.#kit.descriptors.isHolding(client) || (words[row + WORD.flags] & (FLAG.readable | FLAG.announcing)) !== 0;
    if (isDue) this.#transfer(client, words[row + WORD.peer]);
    if (words[row + WORD.generation] === generation) this.#register(client); // otherwise it has ended
  }

  /** Registers a new client's sockets with epoll, as far as they are not registered yet. If the system cannot, the client ends. */
  #register(client: number): void {
    const { descriptors } = this.#kit;
    const server = this.#words[rowOf(client) + WORD.peer];
    if (descriptors.register(client) && (server < 0 || descriptors.register(server))) return;
    this.#words[rowOf(client) + WORD.errno] = ERRNO.ENOMEM;
    this.#close(client, "failed", "both");
  }

  /** Acts on the outcome of a step of the client's search. */
  #onDial(client: number, outcome: Dial): void {
    if (outcome === DIAL.connected) {
      if (this.#arrive(client)) this.#queueUp(client);
    } else if (outcome === DIAL.nobody) this.#findNobody(client);
    else if (outcome === DIAL.meant || outcome === DIAL.lost) this.#onProbed(client, outcome);
  }

  /** A server has accepted: the client's bytes go there from now on. False: the client stays with its previous server. */
  #arrive(client: number): boolean {
    const { clock, wheel, services } = this.#kit;
    if (this.#isToStay(this.#dialer.searchOf(client))) {
      this.#callOff(client);
      return false;
    }
    const departure = this.#dialer.settle(client);
    if (!this.#holds.isEmpty) this.#holds.served(serviceOf(this.#words, client), client, clock.nowMs);
    if (departure === undefined) this.#floats[floatsOf(client) + FLOAT.lastActivityMs] = clock.nowMs;
    else this.#redistributor.arrive(client, departure);
    this.#kit.headers.announce(client);
    this.#become(client, STATE.open);
    const { idleTimeoutMs } = services.configOf(client);
    wheel.set(client, Math.min(clock.nowMs + Math.min(KEEP_ALIVE_AFTER_MS, idleTimeoutMs), this.#firstByteDueMs(client)));
    return true;
  }

  /** Whether the connection stays with the kept server, because that has sent bytes or its drain was cancelled. */
  #isToStay(search: Search | undefined): boolean {
    if (search?.departure === undefined || search.departure.kept < 0) return false;
    const { loss, from, kept } = search.departure;
    if (isCalledOff(loss, "undrain") && !isDraining(this.#kit.availabilities.get(from))) return true;
    return isCalledOff(loss, "server") && this.#redistributor.hasSpoken(kept);
  }

  /** No server has accepted the client. */
  #findNobody(client: number): void {
    const words = this.#words;
    const row = rowOf(client);
    const departure = this.#dialer.searchOf(client)?.departure;
    const hasServer = departure !== undefined && departure.kept >= 0;
    if (this.#holds.mayWait(serviceOf(words, client), departure?.loss, hasServer)) return this.#hold(client);
    if (departure === undefined) {
      const fate = fateOfUnserved(words[row + WORD.attempts], this.#dialer.serverCount(client));
      if (fate === "refused_limit") this.#kit.counters.add("limitServers");
      return this.#close(client, fate);
    }
    const { loss, state, kept } = departure;
    const fate = fateOfUntaken(loss, state, kept >= 0);
    if (kept >= 0) {
      this.#tellStay(client, loss, "refused");
      const pauseMs = retryAfterMs("nobodyTookIt", this.#kit.services.configOf(client).quietMs);
      this.#floats[floatsOf(kept) + SERVER_FLOAT.retryAtMs] = this.#kit.clock.nowMs + pauseMs;
      this.#stay(client, pauseMs, fate);
    } else {
      this.#dialer.cancel(client); // so that the end counts for the server that was lost
      this.#close(client, fate!, "client");
    }
  }

  /** Either side has sent bytes, or the drain was cancelled: the connection stays. */
  #callOff(client: number): void {
    const { from, loss } = this.#dialer.searchOf(client)!.departure!;
    this.#tellStay(client, loss, "calledOff");
    const hasNoTime = this.#kit.availabilities.get(from) === AVAILABILITY.expired; // it may have expired during the search
    this.#stay(client, hasNoTime ? 0 : retryAfterMs("calledOff", this.#kit.services.configOf(client).quietMs), undefined);
  }

  /** Reports that a connection stays, if a person wanted to move it. */
  #tellStay(client: number, loss: Loss, reason: StayReason): void {
    if (loss === "command") this.#kit.reports.writeStay(this.#kit.table.idOf(client), reason);
  }

  /** Returns the client to the kept server. With a fate, the connection ends; without, it is looked at again after `againMs`. */
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

  /** The probe is over: the server's FIN was meant and is passed on, or the server is lost. */
  #onProbed(client: number, outcome: Dial): void {
    const { wheel, clock } = this.#kit;
    const server = this.#words[rowOf(client) + WORD.peer];
    if (this.#words[rowOf(client) + WORD.state] === STATE.probing) this.#become(client, STATE.open);
    if (outcome === DIAL.lost) return this.#loseServer(client, "reset");
    wheel.set(client, clock.nowMs); // the timer was the probe's; let onTimer set it again
    if ((this.#words[rowOf(server) + WORD.flags] & FLAG.broken) !== 0) return this.#onBroken(server, client);
    this.#queueUp(client);
    this.#relay.passEnd(server);
    this.#onHalfClosed(server, client);
  }

  /** Relays from one socket to the other and acts on the outcome. False: the connection is no longer open. */
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
      case OUTCOME.forbidden:
        this.#close(from, "proxy_refused", "both");
        return false;
      case OUTCOME.receiverFailed:
        // Read both again: the receiver for bytes that it sent before it failed, the sender because its FIN may have come with
        // these bytes.
        words[rowOf(to) + WORD.flags] |= FLAG.readable;
        words[rowOf(from) + WORD.flags] |= FLAG.readable;
        this.#onBroken(to, from);
        return false;
    }
    return this.#goOn(from, to);
  }

  /** The connection continues. Adjusts what epoll reports if this direction is bulk, or was until now. */
  #goOn(from: number, to: number): true {
    const flags = rowOf(from) + WORD.flags;
    const isBulk = this.#relay.isBulk(from);
    if (!isBulk && (this.#words[flags] & FLAG.bulk) === 0) return true;
    this.#words[flags] = isBulk ? this.#words[flags] | FLAG.bulk : this.#words[flags] & ~FLAG.bulk;
    this.#kit.descriptors.adjustInterest(from);
    this.#kit.descriptors.adjustInterest(to);
    return true;
  }

  /** One direction has ended. Ends the connection if both have. False: the connection is no longer open. */
  #onHalfClosed(from: number, to: number): boolean {
    const client = this.#clientOf(from);
    const fromFlags = this.#words[rowOf(from) + WORD.flags];
    const toFlags = this.#words[rowOf(to) + WORD.flags];
    if ((toFlags & FLAG.broken) !== 0) {
      if (to !== client && (toFlags & FLAG.done) === 0) return true; // bytes sent before the failure still go to the client
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
    if ((toFlags & FLAG.watched) === 0) this.#kit.silence.begin(to, this.#kit.clock.nowMs); // a FIN must be acknowledged, too
    return true;
  }

  /**
   * The socket has failed. The bytes that it sent before are passed on as far as the other side accepts them; then the other side
   * gets a reset. Bytes of a failed client do not wait for a server without room: it may never have room, and the client is gone.
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
      this.#queueUp(peer); // the client may have to send everything before it reads, so its bytes must be discarded
    } else this.#endReset(socket, peer);
  }

  /** A socket whose FIN was passed on has failed: it accepts no more bytes of the other side. */
  #loseFinished(socket: number, peer: number): void {
    const client = this.#clientOf(socket);
    if (socket !== client) return this.#close(client, fateOfEnds({ clientFailed: false, serverFailed: true }));
    // Closing the server's socket now could destroy bytes that the client sent before it went.
    const outcome = this.#relay.transfer(peer, this.#kit.clock.nowMs);
    if (outcome === OUTCOME.ended || outcome === OUTCOME.senderFailed) this.#close(client, "client_gone");
    else {
      if (outcome === OUTCOME.more) this.#queueUp(peer);
      this.#goOn(peer, socket);
    }
  }

  /** A socket was reset, or its host is gone: the other side is reset, too, so that it cannot mistake its data for complete. */
  #endReset(socket: number, peer: number): void {
    const words = this.#words;
    const client = this.#clientOf(socket);
    const isClients = socket === client || (words[rowOf(client) + WORD.flags] & FLAG.broken) !== 0;
    const errnoAt = rowOf(socket) + WORD.errno;
    if (words[errnoAt] === 0) words[errnoAt] = this.#kit.sockets.takeError(socket) || ERRNO.ECONNRESET;
    if (isClients) return this.#close(client, "client_gone", peer === client ? "client" : "server");
    const errno = words[errnoAt];
    if (DEAD_ERRORS.includes(errno)) this.#kit.reports.writeFailure(words[rowOf(client) + WORD.slot], errno);
    else this.#noteEarlyLoss(client, REASON.resetEarly);
    this.#loseServer(client, "reset");
  }

  /** The server's FIN was read, and all its bytes were passed on. False: the connection is no longer open. */
  #onServerEnd(server: number, client: number): boolean {
    this.#noteEarlyLoss(client, REASON.closedEarly);
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

  /** Reports the end of the server's socket if it is the server's failure. */
  #noteEarlyLoss(client: number, reason: number): void {
    if (this.#redistributor.isEarlyLoss(client)) this.#kit.reports.writeFailure(this.#words[rowOf(client) + WORD.slot], reason);
  }

  /** The server is certainly lost: the connection moves if it may; otherwise the client gets a reset. */
  #loseServer(client: number, loss: Loss): void {
    const verdict = this.#redistributor.decide(client, loss);
    if (verdict !== "move" && verdict !== "replay") {
      return this.#close(client, this.#redistributor.fateOfCut(client, loss), "client");
    }
    this.#become(client, STATE.dialling);
    this.#redistributor.departLost(client, loss, verdict);
    if (this.#holds.mustWait(serviceOf(this.#words, client))) this.#hold(client);
    else this.#onDial(client, this.#dialer.dial(client));
  }

  /**
   * The connection leaves a server that may be alive; that server is kept until another has accepted: the one with slot `to`, or
   * any.
   */
  #depart(client: number, loss: Loss, verdict: "move" | "replay", to = -1): void {
    const { clock, wheel } = this.#kit;
    const retryAtMs = this.#floats[floatsOf(this.#words[rowOf(client) + WORD.peer]) + SERVER_FLOAT.retryAtMs];
    if (isPausing(loss, clock.nowMs, retryAtMs)) return wheel.sooner(client, retryAtMs);
    const service = serviceOf(this.#words, client);
    const mustWait = this.#holds.mustWait(service);
    if (mustWait && !this.#holds.mayWait(service, loss, true)) {
      return wheel.sooner(client, clock.nowMs + retryAfterMs("nobodyTookIt", this.#kit.services.configOf(client).quietMs));
    }
    this.#become(client, STATE.departing);
    this.#redistributor.depart(client, loss, verdict, to);
    if (mustWait) this.#hold(client);
    else this.#onDial(client, this.#dialer.dial(client));
  }

  /** The connection's server drains, or it is to wait: it leaves now if it may, or sets a timer for the next time it might. */
  #leaveServer(client: number): void {
    const { wheel, clock, availabilities } = this.#kit;
    const config = this.#kit.services.configOf(client);
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

  /** The checks of the connection's server get no answer. If no other server is up, the fault is more likely on this side. */
  #leaveSilent(client: number, silentMs: number, sinceHealthyMs: number): void {
    if (!this.#dialer.hasElsewhere(client)) return;
    const verdict = this.#redistributor.decide(client, "silent", sinceHealthyMs);
    if (verdict === "move" || verdict === "replay") return this.#depart(client, "silent", verdict);
    if (!this.#redistributor.isCutBySilence(client, silentMs)) return;
    this.#close(client, this.#redistributor.fateOfCut(client, "silent"), "both");
  }

  /** Whether the socket's host is gone; the loss is then handled here. If not, sets the timer for the next check. */
  #isSilent(socket: number, peer: number): boolean {
    const { silence, wheel, clock } = this.#kit;
    const againMs = silence.check(socket, clock.nowMs);
    if (againMs !== SILENT) wheel.sooner(this.#clientOf(socket), againMs);
    else this.#loseHost(socket, peer);
    return againMs === SILENT;
  }

  /** Treats the socket as reset: bytes that arrived from it are passed on; bytes that it has not acknowledged are dropped. */
  #loseHost(socket: number, peer: number): void {
    const row = rowOf(socket);
    this.#words[row + WORD.errno] = ERRNO.ETIMEDOUT;
    this.#words[row + WORD.flags] |= FLAG.broken | FLAG.reset | FLAG.readable;
    this.#kit.sockets.resetOnClose(socket);
    this.#kit.libc.call.shutdown(socket, SOCKET.SHUT_RD); // so that reading returns 0 after the buffered bytes, and not EAGAIN
    this.#onBroken(socket, peer);
  }

  /**
   * Visits the open connections of this server. Clients for which it is being dialled go on to the next server; one that is silent
   * or asks to be left is better than none.
   */
  #visitServer(slot: number, reason: number, visit: (client: number) => void): void {
    const isExpired = this.#kit.availabilities.get(slot) === AVAILABILITY.expired;
    this.#forEachClient((client) => {
      if (this.#words[rowOf(client) + WORD.slot] !== slot) return;
      const state = this.#words[rowOf(client) + WORD.state];
      if (state === STATE.open) return visit(client);
      if (state === STATE.probing && !isExpired) return; // the probe finds out more
      if (reason === REASON.removed || this.#dialer.hasElsewhere(client)) this.#onDial(client, this.#dialer.fail(client, reason));
    });
  }

  /** The drain time of this server is over: restarts the searches of clients that were leaving it, now as `expired`. */
  #hurrySearches(slot: number): void {
    this.#forEachClient((client) => {
      if (this.#words[rowOf(client) + WORD.state] !== STATE.departing) return;
      const { loss, from } = this.#dialer.searchOf(client)!.departure!;
      if (from === slot && loss !== "expired") this.#callOff(client);
    });
  }

  /** Visits every client, but those that are handed over to another process. */
  #forEachClient(visit: (client: number) => void): void {
    for (let descriptor = 0; descriptor <= this.#kit.descriptors.highest; descriptor++) {
      if (this.#isServed(descriptor)) visit(descriptor);
    }
  }

  /** Whether this is a client of this worker that is not handed over to another process. */
  #isServed(descriptor: number): boolean {
    const words = this.#words;
    const row = rowOf(descriptor);
    return words[row + WORD.owner] === this.#epoch && words[row + WORD.role] === ROLE.client &&
      words[row + WORD.state] < STATE.handing;
  }

  #forEachClientOf(service: number, visit: (client: number) => void): void {
    if (this.#kit.counters.getOfService(service, "serviceOpen") === 0) return; // nobody is to be looked for
    this.#forEachClient((client) => {
      if (serviceOf(this.#words, client) === service) visit(client);
    });
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
