/**
 * One client's connection in the `streams` engine, from the first dial to its one fate. It has one client and, over time, several
 * servers. Each direction is a pipe that ends by itself; the connection ends when both have, or goes to another server when its own
 * is lost or should be left and `redistribution.ts` says so. Three states: dialling, open, ended; an open one may be searching.
 */

import { type Address, clientKey, formatAddress, ipBytes } from "../../values/address.ts";
import type { Fate } from "../../values/fates.ts";
import { assert, messageOf } from "../../values/errors.ts";
import {
  DEPARTURES,
  fateOfEnds,
  fateOfUnserved,
  fateOfUntaken,
  isCalledOff,
  MOVED_COUNTERS,
  PROBES,
  retryAfterMs,
  sharesBudget,
} from "../../routing/departure.ts";
import { FACT, type Loss } from "../../routing/redistribution.ts";
import type { Choice } from "../../routing/route.ts";
import type { TableServer } from "../../routing/routing_table.ts";
import { AVAILABILITY, type AvailabilityTable, isDraining } from "../../routing/availability.ts";
import { abortSocket, closeSocket, type Receiver, SocketError, Source, writableOf, writeAll } from "./conn_streams.ts";
import type { EndedConnection, MovedConnection } from "../../observe/connections.ts";
import { Conversation, type RecordingRoom } from "./conversation.ts";
import { Leg } from "./leg.ts";
import { type Budget, type DialContext, type Probed, probeServer, releaseServer, Search, type Tally } from "./search.ts";

/** What a connection needs of the engine that it belongs to. */
export interface ConnectionContext extends DialContext {
  readonly availabilities: AvailabilityTable;
  readonly recordingRoom: RecordingRoom;
  readonly onEnded: (connection: StreamsConnection, ended: EndedConnection) => void;
  readonly onMoved: (moved: MovedConnection) => void;
  /** Called when a connection finds itself on a server that it should leave. */
  readonly onLeaving: () => void;
}

/** Why and how an open connection looks for another server. */
interface Departure {
  readonly leg: Leg;
  readonly search: Search;
  readonly loss: Loss;
  readonly state: keyof typeof MOVED_COUNTERS;
  /** Resolves when the connection has left, or stays. */
  readonly over: PromiseWithResolvers<void>;
}

/** The buffer for bytes that nobody wants any more. */
const DISCARD_BYTES = 64 * 1024;

/** Who a connection is of. */
export interface Client {
  /** Of this connection alone for as long as it is open. */
  readonly id: number;
  readonly client: Deno.TcpConn;
  readonly service: number;
}

/** A client's connection. `run` once; everything else at any time. */
export class StreamsConnection {
  #state: "dialling" | "open" | "ended" = "dialling";
  readonly #startedMs = performance.now();
  readonly id: number;
  readonly client: Deno.TcpConn;
  readonly #service: number;
  readonly ip: Uint8Array;
  readonly #address: Address;
  readonly #conversation: Conversation;
  /** What the client says. */
  readonly #source: Source;
  #leg: Leg | undefined;
  #search: Search | undefined;
  /** Why there is a search, if the connection is open. */
  #departure: Departure | undefined;
  /** What may still be spent after servers that were lost one after another without a word. */
  #budget: Budget | undefined;
  readonly #tally: Tally = { attempts: 0, reason: undefined };
  /** The client takes no more. */
  #clientBroken = false;
  #patientUntilMs = 0;
  #moves = 0;
  #sentBytes = 0;
  #receivedBytes = 0;

  constructor({ id, client, service }: Client, readonly context: ConnectionContext) {
    this.id = id;
    this.client = client;
    this.#service = service;
    this.#address = addressOf(client);
    this.ip = ipBytes(this.#address.host);
    this.#conversation = new Conversation(context.config, context.counters, context.recordingRoom);
    this.#source = new Source(client, {
      onRead: (chunk) => this.#onClientBytes(chunk),
      onEnd: () => this.#onClientBytes(undefined),
    });
  }

  /** The client's. */
  get port(): number {
    return this.#address.port;
  }

  /** The slot of its server, or of the one that is dialled; -1: none. */
  get slot(): number {
    return this.#server?.slot ?? -1;
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

  /** Whether it should leave its server, and has not yet. */
  get isDraining(): boolean {
    return this.#leg?.isCounted === true && isDraining(this.context.availabilities.get(this.#leg.server.slot));
  }

  /** Whether nothing has moved since `beforeMs` (by performance.now). A connection that is dialling has its own deadline. */
  isIdle(beforeMs: number): boolean {
    return this.#state === "open" && this.#search === undefined && this.#conversation.lastActivityMs < beforeMs;
  }

  /** Finds a server and moves bytes until the connection has ended. Never rejects. */
  async run(): Promise<void> {
    await this.#guard(async () => {
      const { config, table } = this.context;
      const budget = { attempts: config.connectAttemptsMax, deadlineMs: this.#startedMs + config.connectDeadlineMs };
      const search = this.#search = this.#newSearch("any", [], budget);
      if (await search.run((server, socket) => this.#open(server, socket)) || this.#state === "ended") return;
      this.end(fateOfUnserved(this.#tally.attempts, table(this.#service).servers.length));
    });
  }

  /** Ends the connection with this fate, closing both sockets; does nothing if it has ended. If `isCut` the client is to know. */
  end(fate: Fate, isCut = false): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    const server = this.#server;
    this.#leg?.leave();
    this.#departure?.over.resolve();
    if (isCut) abortSocket(this.client);
    else closeSocket(this.client);
    this.context.counters.addFate(fate, server?.slot);
    this.#search?.cancel();
    this.#release(this.#leg);
    this.#conversation.forget();
    this.context.onEnded(this, {
      fate,
      client: formatAddress(this.#address),
      server: server?.name,
      attempts: this.#tally.attempts,
      moves: this.#moves,
      sentBytes: this.#sentBytes,
      receivedBytes: this.#receivedBytes,
      durationMs: performance.now() - this.#startedMs,
      reason: this.#tally.reason,
    });
  }

  /** The server with this slot is to be left, as its availability says: if it is this connection's, now or when asked again. */
  vacate(slot: number): void {
    const leg = this.#leg;
    this.#search?.skip(slot, "it was removed");
    if (this.#state !== "open" || leg?.server.slot !== slot) return;
    if (this.context.availabilities.get(slot) === AVAILABILITY.expired) return this.#leaveNow(leg);
    if (this.#canLeave(leg) && this.#isMovable("drain", leg)) this.#depart("drain", leg);
  }

  /** The checks of the server with this slot have failed for so long; it was last known to be well so long ago. */
  lose(slot: number, silentMs: number, sinceHealthyMs: number): void {
    const leg = this.#leg;
    if (this.#search?.server?.slot === slot && this.#search.next("serving") !== undefined) this.#search.skip(slot, "it is silent");
    if (this.#state !== "open" || leg?.server.slot !== slot || this.#departure !== undefined || !leg.isUp || leg.isProbed) return;
    if (this.#newSearch("serving", [leg.server.name], this.#newBudget()).next() === undefined) return;
    if (this.#canLeave(leg) && this.#isMovable("silent", leg, sinceHealthyMs)) this.#depart("silent", leg);
    else if (!this.#isHeldUp(leg) && this.#conversation.isCutBySilence(performance.now() - leg.heardMs, silentMs)) {
      this.#cut("silent");
    }
  }

  /** It goes to the server that the ring gives it to, if it may and is not there. */
  goToOwner(): void {
    const leg = this.#leg;
    if (this.#state === "open" && leg !== undefined && this.#canLeave(leg) && this.#isMovable("rebalance", leg)) {
      this.#depart("rebalance", leg);
    }
  }

  get #server(): TableServer | undefined {
    return this.#leg?.isCounted ? this.#leg.server : this.#search?.server;
  }

  #newSearch(choice: Choice, except: readonly string[], budget: Budget): Search {
    const key = clientKey(this.context.table(this.#service).key, this.ip, this.port);
    return new Search(this.context, { service: this.#service, key, choice, except, budget, tally: this.#tally });
  }

  #newBudget(): Budget {
    const { connectAttemptsMax, connectDeadlineMs } = this.context.config;
    return { attempts: connectAttemptsMax, deadlineMs: performance.now() + connectDeadlineMs };
  }

  /** From dialling to open. */
  #open(server: TableServer, socket: Deno.TcpConn): void {
    this.#state = "open";
    this.#conversation.begin();
    this.#prepare(this.client);
    this.#begin(server, socket, new Uint8Array(0));
  }

  /** Small pieces go at once, and a peer that vanishes is noticed some day, unless the operator does not want that. */
  #prepare(socket: Deno.TcpConn): void {
    try {
      socket.setNoDelay();
      socket.setKeepAlive(this.context.config.keepAliveMs > 0);
    } catch { /* the socket was reset already; reading will say so */ }
  }

  /** Bytes go to and from this server from now on, those first that another one had already. */
  #begin(server: TableServer, socket: Deno.TcpConn, repeated: Uint8Array): void {
    this.#prepare(socket);
    const leg: Leg = new Leg(server, socket, {
      onRead: (chunk) => this.#onServerBytes(leg, chunk),
      onEnd: () => {},
    });
    this.#leg = leg;
    this.#search = undefined;
    this.#conversation.serverMustTakeAgain(repeated.length);
    void this.#guard(() => this.#send(leg, repeated));
    void this.#guard(() => this.#receive(leg));
    if (this.isDraining) this.context.onLeaving(); // it was dialled before
  }

  /** A fault of the balancer's own ends this connection and no other. */
  async #guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#tally.reason = error instanceof Error ? error.stack : messageOf(error);
      this.end("failed");
    }
  }

  /** Whether what happens on this leg still concerns anybody. */
  #isCurrent(leg: Leg): boolean {
    return this.#state === "open" && leg === this.#leg && leg.isUp;
  }

  /** Whether what this server says still concerns anybody: once there is no time left it changes nothing any more. */
  #isHeard(leg: Leg): boolean {
    return this.#isCurrent(leg) && this.#departure?.loss !== "expired";
  }

  /** Whether the server says nothing because the client takes nothing. */
  #isHeldUp(leg: Leg): boolean {
    return leg.source.untakenBytes > 0 && !this.#clientBroken;
  }

  async #send(leg: Leg, repeated: Uint8Array): Promise<void> {
    try {
      await writeAll(this.#receiver(leg, (bytes) => this.#countRepeated(leg, bytes)), repeated);
      const writable = writableOf(this.#receiver(leg, (bytes) => this.#countSent(leg, bytes)));
      await this.#source.stream().pipeTo(writable, { signal: leg.signal, preventCancel: true, preventAbort: true });
      leg.sending = "finished";
    } catch (error) {
      if (!this.#isCurrent(leg)) return;
      if (!(error instanceof SocketError)) throw error;
      if (error.socket === this.client) return this.#loseClient(error);
      if (!takesNoMore(error)) return await this.#loseServer(leg, error.message);
      this.#tally.reason = error.message; // what it sent before may still have to be read, and its end is
      leg.sending = "failed";
    }
    this.#finish(leg);
  }

  async #receive(leg: Leg): Promise<void> {
    const receiver = {
      socket: this.client,
      write: async (bytes: Uint8Array) => {
        if (!this.#isHeard(leg)) throw new Error("it was left"); // read while it was left: another server answers now
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
      if (error.socket !== this.client) return await this.#loseServer(leg, error.message);
      if (error.cause instanceof Deno.errors.ConnectionReset) return this.#loseClient(error);
      this.#tally.reason = error.message;
      this.#breakClient(leg);
    }
    this.#finish(leg);
  }

  #receiver(leg: Leg, onTaken: (bytes: number) => void): Receiver {
    return { socket: leg.socket, write: (bytes) => leg.write(bytes, onTaken), closeWrite: () => leg.closeWrite() };
  }

  /** The client takes no more, but what it sent before it went is for the server, which may read that only if it is read from. */
  #breakClient(leg: Leg): void {
    this.#clientBroken = true;
    this.#callOff();
    void discard(leg.socket);
  }

  /** Ends the connection if both directions have. */
  #finish(leg: Leg): void {
    if (!this.#isCurrent(leg) || leg.sending === "under way" || !(leg.endPassed || this.#clientBroken)) return;
    this.end(fateOfEnds({ clientFailed: this.#clientBroken, serverFailed: leg.sending === "failed" }));
  }

  #loseClient(error: SocketError): void {
    this.#tally.reason = error.message;
    this.end("client_gone");
  }

  /** Bytes of the client's were read; undefined: its end. */
  #onClientBytes(chunk: Uint8Array | undefined): void {
    if (this.#state === "ended") return;
    if (chunk === undefined) this.#conversation.clientEnded();
    else this.#conversation.clientSaid(chunk);
    if (this.#departure !== undefined && isCalledOff(this.#departure.loss, "client")) this.#callOff();
  }

  #onServerBytes(leg: Leg, chunk: Uint8Array): void {
    if (!this.#isHeard(leg)) return;
    leg.heardMs = performance.now();
    this.#conversation.serverSaid(chunk);
    this.#budget = undefined;
    if (this.#departure !== undefined && isCalledOff(this.#departure.loss, "server")) this.#callOff();
  }

  /** The server has sent its end: the client is told, unless the server turns out to be dead and the client may have another. */
  async #hearEnd(leg: Leg): Promise<void> {
    if (this.#departure !== undefined) {
      await this.#departure.over.promise; // it leaves the server anyway; only if nobody takes it does the end matter
      if (!this.#isCurrent(leg)) return;
    }
    if (this.#conversation.state(leg.isWriting) !== "busy") this.context.lastEndsMs.set(leg.server.slot, performance.now());
    if (this.#conversation.decide("end", leg.isWriting) === "probe") {
      const { result, reason } = await this.#probe(leg);
      if (!this.#isCurrent(leg) || this.#departure !== undefined) return;
      if (PROBES[result].countsAsFailure) this.context.onServerFailed(leg.server.slot, reason);
      if (!PROBES[result].endWasMeant) return await this.#loseServer(leg, reason);
      leg.release();
    }
    leg.endPassed = true;
    this.#conversation.serverEnded();
    await this.client.closeWrite().catch((error) => {
      throw new SocketError(this.client, error);
    });
  }

  /** Dials the server again, to learn whether it is alive; nothing is sent to it meanwhile. */
  async #probe(leg: Leg): Promise<Probed> {
    leg.hold();
    leg.isProbed = true;
    const probed = await probeServer(this.context, leg.server.slot, leg.socket.remoteAddr as Deno.NetAddr, leg.signal);
    leg.isProbed = false;
    return probed;
  }

  /** The server is lost: the client has another one if it may, or it is cut off. */
  async #loseServer(leg: Leg, reason: string): Promise<void> {
    this.#tally.reason = reason;
    this.#callOff();
    leg.fail();
    if (this.#clientBroken) return this.end("client_gone");
    if (leg.endPassed) return this.end("server_lost", true); // the client has taken it for whole: no other server can go on
    if ((this.#conversation.facts & FACT.sent) === 0) await leg.written();
    if (this.#state !== "open" || leg !== this.#leg) return;
    if (this.#isMovable("reset", leg)) this.#depart("reset", leg);
    else this.#cut("reset");
  }

  /** Whether the connection is in a position to leave a server that is still up. */
  #canLeave(leg: Leg): boolean {
    return leg.isUp && !leg.isProbed && !leg.endPassed && !this.#clientBroken && this.#departure === undefined;
  }

  #isMovable(loss: Loss, leg: Leg, agoMs = 0): boolean {
    const verdict = this.#conversation.decide(loss, leg.isUp && leg.isWriting, agoMs);
    return verdict === "move" || verdict === "replay";
  }

  /** There is no time left. */
  #leaveNow(leg: Leg): void {
    if (!leg.isUp) return this.#release(leg); // it goes on looking for another one, but is not this one's any more
    if (this.#departure?.loss === "expired") return;
    this.#callOff(); // it looked for one that serves, or for its own: now any will do
    if (!leg.endPassed && !this.#clientBroken && this.#isMovable("expired", leg)) this.#depart("expired", leg);
    else this.#cut("expired");
  }

  #cut(loss: Loss): void {
    this.end(this.#conversation.fateOfCut(loss), true);
  }

  /**
   * Looks for another server. One that is up is kept until another has accepted, and told nothing meanwhile; so the verdict holds
   * whatever the client says, for as long as this server says nothing.
   */
  #depart(loss: Loss, leg: Leg): void {
    const { choice } = DEPARTURES[loss];
    const canStay = choice !== "any";
    if (canStay && performance.now() < this.#patientUntilMs) return;
    const search = this.#newSearch(choice, [leg.server.name], this.#budgetFor(loss, leg));
    if (canStay && search.next() === undefined) return;
    const state = this.#conversation.state(leg.isUp && leg.isWriting);
    assert(state !== "busy", "a busy connection cannot leave its server");
    const departure = { leg, search, loss, state, over: Promise.withResolvers<void>() };
    this.#search = search;
    this.#departure = departure;
    leg.hold();
    void this.#guard(async () => {
      if (await search.run((server, socket) => this.#arrive(departure, server, socket))) return;
      if (this.#departure === departure) this.#findNobody(departure);
    });
  }

  /** What a search for another server may spend. */
  #budgetFor(loss: Loss, { startedMs }: Leg): Budget {
    const { connectDeadlineMs } = this.context.config;
    const shares = sharesBudget(loss, this.#budget === undefined, performance.now() - startedMs, connectDeadlineMs);
    const budget = shares ? this.#budget! : this.#newBudget();
    if (!DEPARTURES[loss].keepsServer) this.#budget = budget;
    return budget;
  }

  /** Another server has accepted. */
  #arrive({ leg, loss, state }: Departure, server: TableServer, socket: Deno.TcpConn): void {
    const { counters, availabilities } = this.context;
    if (isCalledOff(loss, "undrain") && !isDraining(availabilities.get(leg.server.slot))) {
      closeSocket(socket);
      releaseServer(this.context, server);
      return this.#callOff();
    }
    if (state === "unanswered" && !this.#conversation.isRecorded) {
      closeSocket(socket); // the client has said more meanwhile than can be said again
      releaseServer(this.context, server);
      return leg.isUp ? this.#callOff() : this.end("redistribute_refused", true);
    }
    this.#departure?.over.resolve();
    this.#departure = undefined;
    if (DEPARTURES[loss].keepsServer) this.#budget = undefined;
    leg.leave();
    const repeated = this.#conversation.repeat();
    this.#begin(server, socket, repeated);
    this.#moves++;
    counters.add(MOVED_COUNTERS[state]);
    this.#countOf(leg, "movedAway");
    this.context.onMoved({
      client: formatAddress(this.#address),
      from: leg.server.name,
      to: server.name,
      loss,
      state,
      replayedBytes: repeated.length,
    });
    this.#release(leg); // when all is counted and told: its server may be empty now
  }

  /** No other server has accepted. */
  #findNobody({ leg, loss, state }: Departure): void {
    const fate = fateOfUntaken(loss, state, leg.isUp);
    if (fate !== undefined) return this.end(fate, true);
    this.#stay("nobodyTookIt");
  }

  /** The client or the server spoke, or the drain was cancelled: the connection stays. */
  #callOff(): void {
    this.#stay("calledOff");
  }

  /** The connection does not leave its server now, and not before it may try again. */
  #stay(why: Parameters<typeof retryAfterMs>[0]): void {
    if (this.#departure === undefined) return;
    const { search, leg, over } = this.#departure;
    this.#patientUntilMs = performance.now() + retryAfterMs(why, this.context.config.quietMs);
    this.#departure = undefined;
    this.#search = undefined;
    search.cancel();
    leg.release();
    over.resolve();
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
    this.#countOf(leg, "sentBytes", bytes);
  }

  #countRepeated(leg: Leg, bytes: number): void {
    this.#conversation.serverTookAgain(bytes);
    this.#countOf(leg, "sentBytes", bytes);
  }

  #countReceived(leg: Leg, bytes: number): void {
    leg.source.take(bytes);
    leg.heardMs = performance.now(); // it was not heard while the client took nothing
    this.#conversation.clientTook(bytes);
    this.#receivedBytes += bytes;
    this.#countOf(leg, "receivedBytes", bytes);
  }

  /** A leg that does not count as its server's any more may find another server in its cells. */
  #countOf(leg: Leg, counter: "sentBytes" | "receivedBytes" | "movedAway", amount = 1): void {
    if (leg.isCounted) this.context.counters.addTo(leg.server.slot, counter, amount);
  }
}

/** Whether the socket cannot be written to because the peer has ended, and not because it has just failed. */
function takesNoMore({ cause }: SocketError): boolean {
  return cause instanceof Deno.errors.BrokenPipe || cause instanceof Deno.errors.NotConnected;
}

/** Reads to the end, or until the socket is closed, and keeps nothing. */
async function discard(socket: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(DISCARD_BYTES);
  try {
    while (await socket.read(buffer) !== null);
  } catch { /* closed or reset: there is no more */ }
}

function addressOf(socket: Deno.TcpConn): Address {
  const { hostname, port } = socket.remoteAddr as Deno.NetAddr;
  return { host: hostname, port };
}
