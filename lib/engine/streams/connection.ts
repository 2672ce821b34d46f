/**
 * One client's connection in the `streams` engine, from the first dial to its one fate. It has one client and, over time, several
 * servers. Each direction is a pipe that ends by itself. The connection ends when both have ended, or moves to another server when
 * its own is lost or should be left and `redistribution.ts` allows it. Its state is dialling, open or ended; an open connection may
 * also be searching for another server.
 */

import { type Address, clientKey, formatAddress, formatIp, ipBytes } from "../../values/address.ts";
import { includesIp } from "../../values/cidr_list.ts";
import { formatConnectionId } from "../../values/connection_id.ts";
import { addMissing, writeProxyHeader } from "../../values/proxy_header.ts";
import { screen, SCREENED } from "../../values/proxy_screening.ts";
import { enderOf, type Fate } from "../../values/fates.ts";
import { assert, messageOf } from "../../values/errors.ts";
import {
  DEPARTURES,
  fateOfEnds,
  fateOfUnserved,
  fateOfUntaken,
  isCalledOff,
  isPausing,
  type MovableState,
  PROBES,
  retryAfterMs,
  sharesBudget,
} from "../../routing/departure.ts";
import type { ClientAddress, Refusal } from "../../routing/client_limits.ts";
import { EARLY_LOSSES, isEarlyLoss } from "../../routing/early_loss.ts";
import { FACT, hasBegun, type Loss } from "../../routing/redistribution.ts";
import { type NameRoutes, NO_SERVICE } from "../../routing/name_routes.ts";
import type { StayReason } from "../../routing/stays.ts";
import type { Choice } from "../../routing/route.ts";
import type { TableServer } from "../../routing/routing_table.ts";
import { AVAILABILITY, type AvailabilityTable, isDraining } from "../../routing/availability.ts";
import { abortSocket, closeSocket, type Receiver, SocketError, Source, writableOf, writeAll } from "./conn_streams.ts";
import type { EndedConnection, LoggedHello, MovedConnection, StartedConnection } from "../../observe/connections.ts";
import { describeHello } from "../../observe/received_hello.ts";
import { describeProxy } from "../../observe/received_proxy.ts";
import { Conversation, type RecordingRoom } from "./conversation.ts";
import type { MoveOutcome, MoveWish, ServiceEngineConfig } from "../engine.ts";
import type { Gate } from "../gate.ts";
import { alertOf, type FinalVerdict, loggedTlvs, nameClient, reasonOfNobody, SAID_NOTHING } from "../names.ts";
import { type FirstBytes, type ReceivedHello, receiveHello } from "./hello.ts";
import type { Holds } from "../holds.ts";
import { Leg } from "./leg.ts";
import { type ReceivedHeader, receiveHeader } from "./proxy_header.ts";
import { type Budget, type DialContext, type Probed, probeServer, releaseServer, Search, type Tally } from "./search.ts";

/** The parts of the engine that a connection uses. */
export interface ConnectionContext extends DialContext {
  readonly startId: string;
  readonly gate: Gate;
  /** Those who wait for a server, by the ids of their connections. */
  readonly holds: Holds;
  /** How the service of this listener's clients is chosen; undefined: it has but one. */
  readonly routes: (listener: number) => NameRoutes | undefined;
  readonly onWouldBeRefused: (client: string, refusal: Refusal, service: number) => void;
  readonly availabilities: AvailabilityTable;
  readonly recordingRoom: RecordingRoom;
  readonly onEnded: (connection: StreamsConnection, ended: EndedConnection) => void;
  readonly onMoved: (moved: MovedConnection) => void;
  /** Whom beginnings are told now; undefined: no access log wants to know. */
  readonly startTeller: () => ((started: StartedConnection) => void) | undefined;
  /** Whether there is an access log now. */
  readonly isLogged: () => boolean;
  /** Called when a connection has a server that it should leave. */
  readonly onLeaving: () => void;
}

/** Why and how an open connection searches for another server. */
interface Departure {
  readonly leg: Leg;
  readonly search: Search;
  readonly loss: Loss;
  readonly state: MovableState;
  /** Resolves when the connection has moved, stays, or has ended. */
  readonly over: PromiseWithResolvers<MoveOutcome>;
}

/** Which servers a search tries. */
interface Wanted {
  readonly choice: Choice;
  readonly except: readonly string[];
  readonly only?: number;
}

/** The most bytes that are read of a client who waits for a server: his end is noticed if he has sent less. */
const HELD_BYTES_MAX = 16 * 1024;

/** Size of the buffer for discarded bytes. */
const DISCARD_BYTES = 64 * 1024;

const NOTHING = new Uint8Array(0);

/** An accepted client. */
export interface Client {
  /** The id of its connection, unique in the engine. */
  readonly id: number;
  readonly client: Deno.TcpConn;
  /** The index of the listener that accepted it. */
  readonly listener: number;
  /** The listener's service; NO_SERVICE: its routes say which. */
  readonly service: number;
  /** The service whose settings hold until the client's is known. */
  readonly first: number;
  /** What the listener adds to the ports of servers. */
  readonly portOffset: number;
}

/** A client's connection. Call `run` once; the other methods may be called at any time. */
export class StreamsConnection {
  #state: "dialling" | "open" | "ended" = "dialling";
  readonly #startedMs = performance.now();
  readonly #acceptedAt = Date.now();
  readonly id: number;
  readonly client: Deno.TcpConn;
  readonly #listener: number;
  #service: number;
  readonly #first: number;
  readonly #portOffset: number;
  #ip: Uint8Array;
  #address: Address;
  /** What the client's PROXY header said beside its address. */
  #header: Pick<ReceivedHeader, "destination" | "tlvs"> | undefined;
  /** The TLVs of that header, and what the client said by itself; undefined: that was nothing. */
  #said: Uint8Array | undefined;
  /** What its hello asked for, for the access log; undefined: none was read, or there is no access log. */
  #hello: LoggedHello | undefined;
  /** What its first bytes may be, if it may not send a PROXY header (`screen`), and how many there were. */
  #screened: number;
  #screenedBytes = 0;
  readonly #conversation: Conversation;
  /** The client's bytes. */
  readonly #source: Source;
  #leg: Leg | undefined;
  #search: Search | undefined;
  /** What the client has sent before any server; undefined: the source has it. */
  #firstBytes: FirstBytes | undefined;
  /** It waits for a server: nobody can take it now, or others came before. */
  #isHeld = false;
  #isWatched = false;
  /** Why there is a search, or a wait, if the connection is open. */
  #departure: Departure | undefined;
  /** The shared budget of servers that are lost one after another without sending a byte. */
  #budget: Budget | undefined;
  readonly #tally: Tally = { attempts: 0, reason: undefined };
  /** The client accepts no more bytes. */
  #clientBroken = false;
  /** Nobody took the connection: the end of the pause before other servers are tried again. */
  #retryAtMs = 0;
  #moves = 0;
  /** The rules by which the gate counts it. */
  #counted = 0;
  /** Whether its client's address is known and was let in. */
  #isIn = false;
  /** How long it took until a first server had accepted. */
  #connectMs: number | undefined;
  /** Whose FIN was passed on before the other side had ended. */
  #firstEnd: "client" | "server" | undefined;
  #sentBytes = 0;
  #receivedBytes = 0;

  constructor({ id, client, listener, service, first, portOffset }: Client, readonly context: ConnectionContext) {
    this.id = id;
    this.client = client;
    this.#listener = listener;
    this.#service = service;
    this.#first = first;
    this.#portOffset = portOffset;
    this.#address = addressOf(client);
    this.#ip = ipBytes(this.#address.host);
    this.#screened = this.config.acceptProxy === null ? SCREENED.none : SCREENED.any;
    this.#conversation = new Conversation(() => this.config, context.counters, context.recordingRoom);
    this.#source = new Source(client, {
      onRead: (chunk) => this.#onClientBytes(chunk),
      onEnd: () => this.#onClientBytes(undefined),
    });
  }

  /** The index of its service; NO_SERVICE while it is not known. */
  get service(): number {
    return this.#service;
  }

  /** The settings of its service now; while that is not known, those of its listener. */
  get config(): ServiceEngineConfig {
    return this.context.service(this.#service === NO_SERVICE ? this.#first : this.#service).config;
  }

  get ip(): Uint8Array {
    return this.#ip;
  }

  /** The client's port. */
  get port(): number {
    return this.#address.port;
  }

  /** The slot of its server, or of the server being dialled; -1: none. */
  get slot(): number {
    return this.#server?.slot ?? -1;
  }

  get server(): string | undefined {
    return this.#server?.name;
  }

  get facts(): number {
    return this.#conversation.facts;
  }

  get quietForMs(): number {
    return this.#conversation.quietForMs;
  }

  get replays(): number {
    return this.#conversation.replays;
  }

  get ageMs(): number {
    return performance.now() - this.#startedMs;
  }

  get isDialling(): boolean {
    return this.#leg?.isUp !== true;
  }

  get moves(): number {
    return this.#moves;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** The index of the listener that accepted it. */
  get listener(): number {
    return this.#listener;
  }

  /** Whether it should leave its server and has not left yet. */
  get isDraining(): boolean {
    if (this.#leg?.isCounted !== true) return false;
    const { availabilities, holds } = this.context;
    return isDraining(availabilities.get(this.#leg.server.slot)) || holds.parks(this.#service);
  }

  /** Whether no byte has been relayed since `beforeMs` (by performance.now). A connection that is dialling has its own deadline. */
  isIdle(beforeMs: number): boolean {
    return this.#state === "open" && !this.#isHeld && this.#search === undefined && this.#conversation.lastActivityMs < beforeMs;
  }

  /** Whether neither side has sent a byte and the client came before `beforeMs`. One that is dialling has its own deadline. */
  isSilent(beforeMs: number): boolean {
    return this.#state === "open" && !this.#isHeld && this.#search === undefined && this.#startedMs < beforeMs &&
      !hasBegun(this.facts);
  }

  /** Reads the client's PROXY header and its name, if they are needed, dials a first server and begins to relay. Never rejects. */
  async run(): Promise<void> {
    await this.#guard(async () => {
      const { acceptProxy, proxyTimeoutMs } = this.config;
      if (acceptProxy === null || !includesIp(acceptProxy, this.#ip, 0, this.#ip.length)) return await this.#name(NOTHING);
      this.#screened = SCREENED.none;
      const received = await receiveHeader(this.client, proxyTimeoutMs);
      if ("reason" in received) this.#tally.reason = received.reason;
      if ("fate" in received) return this.end(received.fate, received.fate !== "client_gone");
      this.#takeHeader(received);
      await this.#name(received.rest);
    });
  }

  /** The client's address is known: finds out its service by its first bytes, unless its listener has but one. */
  async #name(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.#service !== NO_SERVICE) return await this.#admit({ bytes });
    const received = await receiveHello(this.client, bytes, this.config.helloTimeoutMs);
    if (this.#state === "ended") return;
    if ("fate" in received) {
      this.#tally.reason = received.reason;
      return this.end(received.fate, received.fate !== "client_gone");
    }
    if (await this.#takeService(received)) await this.#admit(received);
  }

  /** The client's first bytes are known. False: no service is for it. */
  async #takeService({ verdict }: ReceivedHello): Promise<boolean> {
    if (this.context.isLogged() && verdict.kind === "hello") this.#hello = describeHello(loggedTlvs(verdict.hello));
    const routes = this.context.routes(this.#listener);
    const { service, tlvs } = routes === undefined ? { service: this.#first, tlvs: [] } : nameClient(routes, verdict);
    if (service === NO_SERVICE) {
      await this.#refuseUnnamed(verdict);
      return false;
    }
    this.#service = service;
    this.context.counters.addNamed(service, this.#listener);
    if (tlvs.length > 0) this.#said = addMissing(this.#header?.tlvs ?? NOTHING, tlvs);
    return true;
  }

  /** No service is for the client. */
  async #refuseUnnamed(verdict: FinalVerdict): Promise<void> {
    if (verdict === SAID_NOTHING) return this.end("hello_timeout", true);
    await this.client.write(alertOf(verdict) ?? NOTHING).catch(() => {});
    this.#tally.reason = reasonOfNobody(verdict);
    this.end("no_service");
  }

  /** The client's address and service are known: dials a server, which is sent `first` and then what the client sends. */
  async #admit(first: FirstBytes): Promise<void> {
    if (this.#state === "ended" || !this.#enter()) return;
    this.#tellStart();
    this.#firstBytes = first;
    if (this.context.holds.mustWait(this.#service)) this.#hold();
    else await this.#dialFirst();
  }

  /** Dials a first server. */
  async #dialFirst(): Promise<void> {
    const search = this.#search = this.#newSearch({ choice: "any", except: [] }, this.#newBudget());
    const isFound = await search.run((server, socket) => {
      this.#open(server, socket);
    });
    if (isFound || this.#state === "ended") return;
    if (this.context.holds.mayWait(this.#service, undefined, false)) return this.#hold();
    const fate = fateOfUnserved(this.#tally.attempts, this.context.service(this.#service).table.servers.length);
    if (fate === "refused_limit") this.context.counters.add("limitServers");
    this.end(fate);
  }

  /** No server can take the client now: it waits. One that has waited before has its place again. */
  #hold(): void {
    this.#search = undefined;
    this.#isHeld = true;
    this.context.holds.join(this.#service, this.id, performance.now());
    this.#beginSource();
    if ((this.#conversation.facts & FACT.clientEnded) !== 0) this.end("client_gone", this.#leg !== undefined);
    else if (!this.#isWatched) void this.#guard(() => this.#watch());
  }

  /** Watches whether a client that waits goes. Its FIN means that it has given up, though it could mean that it has sent all. */
  async #watch(): Promise<void> {
    this.#isWatched = true;
    const outcome = await this.#source.readAhead(HELD_BYTES_MAX, () => this.#isHeld && this.#state !== "ended");
    this.#isWatched = false;
    if (outcome === "failed" && this.#isHeld) this.end("client_gone", this.#leg !== undefined);
  }

  /** It is the turn of a client that waits: servers are dialled for it. */
  redial(): void {
    const departure = this.#departure;
    this.#isHeld = false;
    void this.#guard(() => departure === undefined ? this.#dialFirst() : this.#departAgain(departure));
  }

  /** Ends a client that waits. */
  endHeld(fate: Fate): void {
    this.end(fate, this.#leg !== undefined);
  }

  /** Lets the client in, or ends it. False: it has ended. */
  #enter(): boolean {
    const { gate, onWouldBeRefused } = this.context;
    this.#isIn = true;
    if (gate.isOpen(this.#service)) return true;
    const refusal = gate.enter(this.#service, wholeAddress(this.#ip), performance.now());
    this.#counted = gate.counted;
    if (refusal === undefined) return true;
    const isDryRun = gate.isDryRun(this.#service);
    if (isDryRun) onWouldBeRefused(formatAddress(this.#address), refusal, this.#service);
    else this.end(refusal);
    return isDryRun;
  }

  /** The limits of its service change: whoever is counted leaves, and is counted again by the new ones. */
  uncount(): void {
    if (this.#counted !== 0) this.context.gate.leave(this.#service, wholeAddress(this.#ip), this.#counted, 0, 0);
    this.#counted = 0;
  }

  /** Counts it, if it was let in, by limits that were set later. */
  count(): void {
    const { gate } = this.context;
    if (!this.#isIn || this.#state === "ended" || gate.isOpen(this.#service)) return;
    gate.count(this.#service, wholeAddress(this.#ip), performance.now());
    this.#counted = gate.counted;
  }

  /** Keep-alive of its service has changed. */
  changeKeepAlive(): void {
    if (this.#state !== "open") return;
    this.#prepare(this.client);
    if (this.#leg?.isUp === true) this.#prepare(this.#leg.socket);
  }

  /** The received addresses are the connection's from now on. */
  #takeHeader({ source, destination, tlvs }: ReceivedHeader): void {
    this.#header = { destination, tlvs }; // and not the bytes behind it, which would stay in memory
    if (source === undefined) return;
    this.#address = { host: formatIp(source.ip), port: source.port };
    this.#ip = ipBytes(this.#address.host);
  }

  /**
   * Ends the connection with this fate and closes both sockets. Does nothing if it has ended. `isCut`: the client's data is
   * incomplete.
   */
  end(fate: Fate, isCut = false): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    const server = this.#server;
    this.context.holds.forget(this.#service, this.id, performance.now());
    if (this.#counted !== 0) {
      const client = wholeAddress(this.#ip);
      this.context.gate.leave(this.#service, client, this.#counted, this.#sentBytes, this.#receivedBytes);
    }
    this.#leg?.leave();
    this.#departure?.over.resolve({ kind: "ended", fate });
    this.#departure = undefined; // or `#staysWith` would wait for it again at once, for ever, and nothing else would get its turn
    if (isCut) abortSocket(this.client);
    else closeSocket(this.client);
    const durationMs = performance.now() - this.#startedMs;
    this.context.counters.addFate(fate, this.#service, server?.slot, durationMs / 1000);
    this.#search?.cancel();
    this.#release(this.#leg);
    this.context.holds.poke(performance.now()); // the server has room
    this.#conversation.forget();
    this.context.onEnded(this, {
      id: this.id,
      service: this.#service,
      listener: this.#listener,
      acceptedAt: this.#acceptedAt,
      endedAt: Date.now(),
      connectMs: this.#connectMs,
      endedBy: enderOf(fate, this.#firstEnd),
      proxy: this.#header && describeProxy(addressOf(this.client), this.#header.tlvs),
      hello: this.#hello,
      fate,
      client: formatAddress(this.#address),
      server: server?.name,
      attempts: this.#tally.attempts,
      moves: this.#moves,
      sentBytes: this.#sentBytes,
      receivedBytes: this.#receivedBytes,
      durationMs,
      reason: this.#tally.reason,
    });
  }

  /** Leaves the server with this slot, according to its availability, if the connection has it and may leave now. */
  vacate(slot: number): void {
    const leg = this.#leg;
    this.#skip(slot);
    if (this.#state !== "open" || leg?.server.slot !== slot) return;
    if (this.context.availabilities.get(slot) === AVAILABILITY.expired) return this.#leaveNow(leg);
    if (this.#canLeave(leg) && this.#isMovable("drain", leg)) this.#depart("drain", leg);
  }

  /** If this server is being dialled, goes on to the next one. One that only asks to be left is better than none. */
  #skip(slot: number): void {
    const search = this.#search;
    if (search?.server?.slot !== slot) return;
    if (this.context.availabilities.get(slot) !== AVAILABILITY.asking) search.skip(slot, "it was removed");
    else if (search.next("serving") !== undefined) search.skip(slot, "its check asks to drain it");
  }

  /** The checks of this server have failed for `silentMs`; its last successful check was `sinceHealthyMs` ago. */
  lose(slot: number, silentMs: number, sinceHealthyMs: number): void {
    const leg = this.#leg;
    if (this.#search?.server?.slot === slot && this.#search.next("serving") !== undefined) this.#search.skip(slot, "it is silent");
    if (this.#state !== "open" || leg?.server.slot !== slot || this.#departure !== undefined || !leg.isUp || leg.isProbed) return;
    if (!this.#hasAnother("serving", leg)) return;
    if (this.#canLeave(leg) && this.#isMovable("silent", leg, sinceHealthyMs)) this.#depart("silent", leg);
    else if (!this.#isHeldUp(leg) && this.#conversation.isCutBySilence(performance.now() - leg.heardMs, silentMs)) {
      this.#cut("silent");
    }
  }

  /** Moves the connection to its owner, if it may move and is not there already. */
  goToOwner(): void {
    const leg = this.#leg;
    if (this.#state !== "open" || leg === undefined || !this.#canLeave(leg) || !this.#hasAnother("owner", leg)) return;
    if (this.#isMovable("rebalance", leg)) this.#depart("rebalance", leg);
  }

  /** Moves the connection away from this server, if it has that one and may leave it. Resolves with what became of it. */
  async move({ from, to }: MoveWish): Promise<MoveOutcome> {
    const leg = this.#leg;
    const reason = this.#reasonToStay(leg, from, to);
    if (reason !== undefined) return { kind: "stays", reason };
    this.#depart("command", leg!, to);
    return await this.#departure!.over.promise;
  }

  /** Why the connection cannot leave this server for that one; undefined: it can. */
  #reasonToStay(leg: Leg | undefined, from: number, to: number): StayReason | undefined {
    if (this.#state !== "open" || leg?.isUp !== true) return "dialling";
    if (leg.isProbed || this.#departure !== undefined) return "leaving";
    if (leg.server.slot !== from) return "elsewhere";
    if (this.context.holds.mustWait(this.#service)) return "paused";
    if (leg.endPassed || this.#clientBroken) return "ending";
    return this.#conversation.hindrance(leg.isWriting) ?? (this.#hasAnother("serving", leg, to) ? undefined : "nowhere");
  }

  /** Whether another server, or the one with slot `only`, may get the client. */
  #hasAnother(choice: Choice, leg: Leg, only = -1): boolean {
    return this.#newSearch({ choice, except: [leg.server.name], only }, this.#newBudget()).next() !== undefined;
  }

  #tellStart(): void {
    this.context.startTeller()?.({
      id: this.id,
      client: formatAddress(this.#address),
      service: this.#service,
      listener: this.#listener,
      acceptedAt: this.#acceptedAt,
      hello: this.#hello,
    });
  }

  get #server(): TableServer | undefined {
    return this.#leg?.isCounted ? this.#leg.server : this.#search?.server;
  }

  #newSearch({ choice, except, only = -1 }: Wanted, budget: Budget): Search {
    const key = clientKey(this.context.service(this.#service).table.key, this.ip, this.port);
    const client = { service: this.#service, key, portOffset: this.#portOffset };
    return new Search(this.context, { ...client, choice, except, only, budget, tally: this.#tally });
  }

  #newBudget(): Budget {
    const { connectAttemptsMax, connectDeadlineMs } = this.config;
    return { attempts: connectAttemptsMax, deadlineMs: performance.now() + connectDeadlineMs };
  }

  /** The first server has accepted. */
  #open(server: TableServer, socket: Deno.TcpConn): void {
    this.#state = "open";
    this.#connectMs = performance.now() - this.#startedMs;
    this.#conversation.begin();
    this.#prepare(this.client);
    this.#beginSource();
    this.#begin(server, socket, NOTHING);
  }

  /** The source begins with the client's first bytes, unless it has begun. */
  #beginSource(): void {
    const first = this.#firstBytes;
    this.#firstBytes = undefined;
    if (first !== undefined) this.#source.begin(first.bytes, first.pending);
  }

  /** Sends small pieces at once, and turns keep-alive on or off, so that a vanished peer is noticed eventually. */
  #prepare(socket: Deno.TcpConn): void {
    try {
      socket.setNoDelay();
      socket.setKeepAlive(this.config.keepAliveMs > 0);
    } catch { /* the socket was reset already; the next read reports that */ }
  }

  /** Relays to and from this server from now on, starting with the bytes that are replayed to it. */
  #begin(server: TableServer, socket: Deno.TcpConn, repeated: Uint8Array): void {
    this.#prepare(socket);
    const leg: Leg = new Leg(server, socket, {
      onRead: (chunk) => this.#onServerBytes(leg, chunk),
      onEnd: () => {},
    });
    this.#leg = leg;
    this.#search = undefined;
    this.context.holds.served(this.#service, this.id, performance.now());
    this.#conversation.serverMustTakeAgain(repeated.length);
    void this.#guard(() => this.#send(leg, repeated));
    void this.#guard(() => this.#receive(leg));
    if (this.isDraining) this.context.onLeaving(); // the drain began while it was being dialled
  }

  /** An internal error ends this connection and no other. */
  async #guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#tally.reason = error instanceof Error ? error.stack : messageOf(error);
      this.end("failed");
    }
  }

  /** Whether events of this leg still matter. */
  #isCurrent(leg: Leg): boolean {
    return this.#state === "open" && leg === this.#leg && leg.isUp;
  }

  /** Whether bytes of this server still matter. After its drain time they no longer keep the connection there. */
  #isHeard(leg: Leg): boolean {
    return this.#isCurrent(leg) && this.#departure?.loss !== "expired";
  }

  /** Whether the server cannot send because the client does not read. */
  #isHeldUp(leg: Leg): boolean {
    return leg.source.untakenBytes > 0 && !this.#clientBroken;
  }

  /** Sends the PROXY header, if the server gets one. Those bytes are not the client's: they count for nothing. */
  async #announce({ server, socket }: Leg): Promise<void> {
    if (server.proxy === undefined) return;
    const { hostname, port } = this.client.localAddr as Deno.NetAddr;
    const header = writeProxyHeader(server.proxy, {
      source: { ip: this.#ip, port: this.port },
      destination: this.#header?.destination ?? { ip: ipBytes(hostname), port },
      tlvs: this.#said ?? this.#header?.tlvs ?? NOTHING,
      uniqueId: new TextEncoder().encode(formatConnectionId(this.context.startId, this.id)),
    });
    await writeAll({ socket, write: (bytes) => socket.write(bytes), closeWrite: () => socket.closeWrite() }, header);
  }

  async #send(leg: Leg, repeated: Uint8Array): Promise<void> {
    try {
      await this.#announce(leg);
      await writeAll(this.#receiver(leg, (bytes) => this.#countRepeated(leg, bytes)), repeated);
      const writable = writableOf(this.#receiver(leg, (bytes) => this.#countSent(leg, bytes)));
      await this.#source.stream().pipeTo(writable, { signal: leg.signal, preventCancel: true, preventAbort: true });
      leg.sending = "finished";
      this.#firstEnd ??= "client";
    } catch (error) {
      if (!this.#isCurrent(leg)) return;
      if (!(error instanceof SocketError)) throw error;
      if (error.socket === this.client) return this.#loseClient(error);
      if (!takesNoMore(error)) return await this.#loseReset(leg, error.message);
      this.#tally.reason = error.message; // go on reading: bytes that it sent before, and its FIN, may still arrive
      leg.sending = "failed";
    }
    this.#finish(leg);
  }

  async #receive(leg: Leg): Promise<void> {
    const receiver = {
      socket: this.client,
      write: async (bytes: Uint8Array) => {
        if (!this.#isHeard(leg)) throw new Error("it was left"); // read before the connection left: another server answers now
        const count = await this.client.write(bytes);
        this.#countReceived(leg, count);
        return count;
      },
      closeWrite: () => this.client.closeWrite(),
    };
    try {
      const kept = { preventClose: true, preventAbort: true, preventCancel: true, signal: leg.signal };
      await leg.source.stream().pipeTo(writableOf(receiver), kept);
      if (this.#isHeard(leg)) await this.#hearEnd(leg);
    } catch (error) {
      if (!this.#isHeard(leg)) return;
      if (!(error instanceof SocketError)) throw error;
      if (error.socket !== this.client) return await this.#loseReset(leg, error.message);
      if (error.cause instanceof Deno.errors.ConnectionReset) return this.#loseClient(error);
      this.#tally.reason = error.message;
      this.#breakClient(leg);
    }
    this.#finish(leg);
  }

  #receiver(leg: Leg, onTaken: (bytes: number) => void): Receiver {
    return { socket: leg.socket, write: (bytes) => leg.write(bytes, onTaken), closeWrite: () => leg.closeWrite() };
  }

  /**
   * The client accepts no more bytes. Its earlier bytes still go to the server, whose bytes are discarded so that it does not
   * block.
   */
  #breakClient(leg: Leg): void {
    this.#clientBroken = true;
    this.#callOff();
    void discard(leg.socket);
  }

  /** Ends the connection if both directions have ended. */
  #finish(leg: Leg): void {
    if (!this.#isCurrent(leg) || leg.sending === "under way" || !(leg.endPassed || this.#clientBroken)) return;
    this.end(fateOfEnds({ clientFailed: this.#clientBroken, serverFailed: leg.sending === "failed" }));
  }

  #loseClient(error: SocketError): void {
    this.#tally.reason = error.message;
    this.end("client_gone");
  }

  /** Bytes of the client were read; undefined: its FIN. */
  #onClientBytes(chunk: Uint8Array | undefined): void {
    if (this.#state === "ended" || this.#isForbidden(chunk)) return;
    if (chunk === undefined) this.#conversation.clientEnded();
    else this.#conversation.clientSaid(chunk);
    if (chunk === undefined && this.#isHeld) return this.end("client_gone", this.#leg !== undefined);
    if (this.#departure !== undefined && isCalledOff(this.#departure.loss, "client")) this.#callOff();
  }

  /** Ends the connection if the client has sent a PROXY header and may not. */
  #isForbidden(chunk: Uint8Array | undefined): boolean {
    if (this.#screened === SCREENED.none || chunk === undefined) return false;
    this.#screened = screen(this.#screened, chunk, this.#screenedBytes);
    this.#screenedBytes += chunk.length;
    if (this.#screened !== SCREENED.header) return false;
    this.end("proxy_refused", true);
    return true;
  }

  #onServerBytes(leg: Leg, chunk: Uint8Array): void {
    if (!this.#isHeard(leg)) return;
    leg.heardMs = performance.now();
    leg.hasAnswered = true;
    this.#conversation.serverSaid(chunk, leg.isWriting);
    this.#budget = undefined;
    if (this.#departure !== undefined && isCalledOff(this.#departure.loss, "server")) this.#callOff();
  }

  /** The server has sent FIN. Passes it on, unless the connection may move and a probe finds the server dead. */
  async #hearEnd(leg: Leg): Promise<void> {
    if (!await this.#staysWith(leg)) return; // the FIN matters only if the connection does not leave anyway
    this.#noteEarlyLoss(leg, "end");
    if (this.#conversation.state(leg.isWriting) !== "busy") this.context.lastEndsMs.set(leg.server.slot, performance.now());
    if (this.#conversation.decide("end", leg.isWriting) === "probe") {
      const { result, reason } = await this.#probe(leg);
      if (!await this.#staysWith(leg)) return;
      if (PROBES[result].countsAsFailure) this.context.onServerFailed(leg.server.slot, reason, "connect");
      if (!PROBES[result].endWasMeant) return await this.#loseServer(leg, reason);
      leg.release();
    }
    leg.endPassed = true;
    this.#firstEnd ??= "server";
    this.#conversation.serverEnded();
    await this.client.closeWrite().catch((error) => {
      throw new SocketError(this.client, error);
    });
  }

  /** Waits until the connection is not leaving its server. False if it has left, or ended. */
  async #staysWith(leg: Leg): Promise<boolean> {
    while (this.#departure !== undefined) await this.#departure.over.promise;
    return this.#isCurrent(leg);
  }

  /** Dials the server again, to learn whether it is alive. Nothing is sent to it during the probe. */
  async #probe(leg: Leg): Promise<Probed> {
    const { servers } = this.context.service(this.#service).table;
    if (!servers.some(({ slot }) => slot === leg.server.slot)) return { result: "gone", reason: "it was removed" };
    leg.hold();
    leg.isProbed = true;
    const probed = await probeServer(
      this.context,
      { service: this.#service, slot: leg.server.slot },
      leg.socket.remoteAddr as Deno.NetAddr,
      leg.signal,
    );
    leg.isProbed = false;
    return probed;
  }

  /** Reports the loss of the server's socket if it is the server's failure. */
  #noteEarlyLoss(leg: Leg, how: keyof typeof EARLY_LOSSES): void {
    const connectedForMs = performance.now() - leg.startedMs;
    const hasClientEnded = (this.#conversation.facts & FACT.clientEnded) !== 0;
    if (!leg.isCounted || !isEarlyLoss({ connectedForMs, hasAnswered: leg.hasAnswered, hasClientEnded })) return;
    this.context.onServerFailed(leg.server.slot, EARLY_LOSSES[how], "answer");
  }

  /** The server's socket was reset. */
  async #loseReset(leg: Leg, reason: string): Promise<void> {
    this.#noteEarlyLoss(leg, "reset");
    await this.#loseServer(leg, reason);
  }

  /** The server is certainly lost: the connection moves if it may; otherwise it is cut. */
  async #loseServer(leg: Leg, reason: string): Promise<void> {
    this.#tally.reason = reason;
    this.#callOff();
    leg.fail();
    if (this.#clientBroken) return this.end("client_gone");
    if (leg.endPassed) return this.end("server_lost", true); // the client has the FIN and would not accept another server's bytes
    if ((this.#conversation.facts & FACT.sent) === 0) await leg.written();
    if (this.#state !== "open" || leg !== this.#leg) return;
    if (this.#isMovable("reset", leg)) this.#depart("reset", leg);
    else this.#cut("reset");
  }

  /** Whether the connection can begin to leave a server that is still up. */
  #canLeave(leg: Leg): boolean {
    return leg.isUp && !leg.isProbed && !leg.endPassed && !this.#clientBroken && this.#departure === undefined;
  }

  #isMovable(loss: Loss, leg: Leg, agoMs = 0): boolean {
    const verdict = this.#conversation.decide(loss, leg.isUp && leg.isWriting, agoMs);
    return verdict === "move" || verdict === "replay";
  }

  /** The drain time is over: the connection leaves now or is cut. */
  #leaveNow(leg: Leg): void {
    if (!leg.isUp) return this.#release(leg); // the search goes on; this server no longer counts the connection
    if (this.#departure?.loss === "expired") return;
    this.#callOff(); // the search was limited to certain servers; now any server will do
    if (!leg.endPassed && !this.#clientBroken && this.#isMovable("expired", leg)) this.#depart("expired", leg);
    else this.#cut("expired");
  }

  #cut(loss: Loss): void {
    this.end(this.#conversation.fateOfCut(loss), true);
  }

  /**
   * Searches for another server. A server that is up is kept until another has accepted, and nothing is sent to it during the
   * search. So the verdict stays valid whatever the client sends, as long as this server sends nothing. `only`: the slot of the one
   * server to try; -1: all are.
   */
  #depart(loss: Loss, leg: Leg, only = -1): void {
    const nowMs = performance.now();
    if (isPausing(loss, nowMs, this.#retryAtMs)) return;
    const { holds } = this.context;
    const mustWait = holds.mustWait(this.#service);
    if (mustWait && leg.isUp && !holds.mayWait(this.#service, loss, true)) {
      this.#retryAtMs = nowMs + retryAfterMs("nobodyTookIt", this.config.quietMs);
      return;
    }
    const wanted = { choice: DEPARTURES[loss].choice, except: [leg.server.name], only };
    const search = this.#newSearch(wanted, this.#budgetFor(loss, leg));
    const state = this.#conversation.state(leg.isUp && leg.isWriting);
    assert(state !== "busy", "a busy connection cannot leave its server");
    const departure = { leg, search, loss, state, over: Promise.withResolvers<MoveOutcome>() };
    if (mustWait) return this.#holdDeparting(departure);
    leg.hold();
    void this.#guard(() => this.#find(departure));
  }

  /** Dials servers for a connection that leaves its own. */
  async #find(departure: Departure): Promise<void> {
    const { search } = departure;
    this.#search = search;
    this.#departure = departure;
    if (await search.run((server, socket) => this.#arrive(departure, server, socket))) return;
    if (this.#departure === departure) this.#findNobody(departure);
  }

  /** The same after it has waited: the server that it had is as good as any. */
  #departAgain(departure: Departure): Promise<void> {
    return this.#find({ ...departure, search: this.#newSearch({ choice: "any", except: [] }, this.#newBudget()) });
  }

  /** No server can take a connection that has lost its own, or must leave it now: it waits. */
  #holdDeparting(departure: Departure): void {
    const { leg } = departure;
    this.#departure = departure;
    leg.leave();
    this.#release(leg);
    this.#hold();
  }

  /** What a search for another server may spend. */
  #budgetFor(loss: Loss, { startedMs }: Leg): Budget {
    const { connectDeadlineMs } = this.config;
    const shares = sharesBudget(loss, this.#budget === undefined, performance.now() - startedMs, connectDeadlineMs);
    const budget = shares ? this.#budget! : this.#newBudget();
    if (!DEPARTURES[loss].keepsServer) this.#budget = budget;
    return budget;
  }

  /** Another server has accepted. */
  #arrive({ leg, loss, state, over }: Departure, server: TableServer, socket: Deno.TcpConn): void {
    const { counters, availabilities } = this.context;
    if (leg.isUp && isCalledOff(loss, "undrain") && !isDraining(availabilities.get(leg.server.slot))) {
      closeSocket(socket);
      releaseServer(this.context, server);
      return this.#callOff();
    }
    if (state === "unanswered" && !this.#conversation.isRecorded) {
      closeSocket(socket); // the client has sent more during the search than can be recorded
      releaseServer(this.context, server);
      return leg.isUp ? this.#callOff() : this.end("redistribute_refused", true);
    }
    this.#departure = undefined;
    if (DEPARTURES[loss].keepsServer) this.#budget = undefined;
    leg.leave();
    const repeated = this.#conversation.repeat();
    over.resolve({ kind: "moved", from: leg.server.name, to: server.name, state, replayedBytes: repeated.length });
    this.#begin(server, socket, repeated);
    this.#moves++;
    counters.addMove(leg.isCounted ? leg.server.slot : undefined, server.slot, state);
    this.context.onMoved({
      id: this.id,
      service: this.#service,
      movedAt: Date.now(),
      client: formatAddress(this.#address),
      from: leg.server.name,
      to: server.name,
      loss,
      state,
      replayedBytes: repeated.length,
    });
    this.#release(leg); // last, because its server may be empty now and its slot reused
  }

  /** No other server has accepted. */
  #findNobody(departure: Departure): void {
    const { leg, loss, state } = departure;
    if (this.context.holds.mayWait(this.#service, loss, leg.isUp)) return this.#holdDeparting(departure);
    const fate = fateOfUntaken(loss, state, leg.isUp);
    if (fate !== undefined) return this.end(fate, true);
    this.#stay("nobodyTookIt");
  }

  /** Either side has sent bytes, or the drain was cancelled: the connection stays, unless it has left its server and waits. */
  #callOff(): void {
    if (this.#departure?.leg.isUp === true) this.#stay("calledOff");
  }

  /** Ends the search: the connection stays with its server, and may try again after a pause. */
  #stay(why: Parameters<typeof retryAfterMs>[0]): void {
    if (this.#departure === undefined) return;
    const { search, leg, over } = this.#departure;
    // After a call-off the connection is not quiet, so it cannot leave before it is.
    if (why === "nobodyTookIt") this.#retryAtMs = performance.now() + retryAfterMs(why, this.config.quietMs);
    this.#departure = undefined;
    this.#search = undefined;
    search.cancel();
    leg.release();
    over.resolve({ kind: "stays", reason: why === "calledOff" ? "calledOff" : "refused" });
  }

  #release(leg: Leg | undefined): void {
    if (leg === undefined || !leg.isCounted) return;
    leg.isCounted = false;
    releaseServer(this.context, leg.server);
  }

  #countSent(leg: Leg, bytes: number): void {
    this.#source.take(bytes);
    this.#conversation.serverTook(bytes);
    this.#sentBytes += bytes;
    this.context.counters.addToListener(this.#listener, "listenerReceivedBytes", bytes);
    this.#countOf(leg, "sentBytes", bytes);
  }

  #countRepeated(leg: Leg, bytes: number): void {
    this.#conversation.serverTookAgain(bytes);
    this.#countOf(leg, "sentBytes", bytes);
  }

  #countReceived(leg: Leg, bytes: number): void {
    leg.source.take(bytes);
    leg.heardMs = performance.now(); // it could not send while the client did not read
    this.#conversation.clientTook(bytes);
    this.#receivedBytes += bytes;
    this.context.counters.addToListener(this.#listener, "listenerSentBytes", bytes);
    this.#countOf(leg, "receivedBytes", bytes);
  }

  /** Counts for the leg's server, unless the leg is released: its slot may belong to another server by now. */
  #countOf(leg: Leg, counter: "sentBytes" | "receivedBytes", amount: number): void {
    if (leg.isCounted) this.context.counters.addTo(leg.server.slot, counter, amount);
  }
}

/** Whether the socket cannot be written to because the peer had closed it earlier, and not because it has just failed. */
function takesNoMore({ cause }: SocketError): boolean {
  return cause instanceof Deno.errors.BrokenPipe || cause instanceof Deno.errors.NotConnected;
}

/** Reads and discards everything until the FIN, or until the socket is closed. */
async function discard(socket: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(DISCARD_BYTES);
  try {
    while (await socket.read(buffer) !== null);
  } catch { /* closed or reset: no more bytes */ }
}

function wholeAddress(bytes: Uint8Array): ClientAddress {
  return { bytes, at: 0, length: bytes.length };
}

/** The client's address. An IPv4 client of a listener for both families has an IPv4 address. */
function addressOf(socket: Deno.TcpConn): Address {
  const { hostname, port } = socket.remoteAddr as Deno.NetAddr;
  return { host: formatIp(ipBytes(hostname)), port };
}
