/**
 * Copies a connection of this worker out of the rows, pools and maps, and into those of another process. Knows nothing of when, of
 * epoll and timers, nor of the way between the processes: `giver.ts`, `taker.ts` and `Connections` have that.
 */

import { NO_SERVICE } from "../../routing/name_routes.ts";
import type { Place } from "../../routing/hold.ts";
import type { CarriedIndexes } from "../engine.ts";
import type { CarriedConnection, CarriedSearch, CarriedServer, CarriedSocket, CarriedWaiting } from "./carried.ts";
import {
  COUNTED_MASK,
  FLAG,
  FLOAT,
  floatsOf,
  FROM_SHIFT,
  IP_LENGTH_MASK,
  LISTENER_SHIFT,
  listenerOf,
  MOVES_MASK,
  PORT_MASK,
  ROLE,
  rowOf,
  SERVER_FLOAT,
  SERVICE_SHIFT,
  serviceOf,
  type State,
  WORD,
} from "./descriptor_table.ts";
import type { Departure, Dialer } from "./dialer.ts";
import type { Kept } from "./waiting_room.ts";
import type { WorkerKit } from "./worker_kit.ts";

/** Flags that mean nothing to another process. */
const OWN_FLAGS = FLAG.queued | FLAG.bulk | COUNTED_MASK;

const NO_BYTES = new Uint8Array(new ArrayBuffer(0));

/** A connection that was stopped to be handed over. */
export interface Detached {
  /** Its state before. */
  readonly state: State;
  /** When its timer is due; Infinity: never. */
  readonly dueMs: number;
  /** Where a client stands that waits for a place or a server. */
  readonly place?: Place;
  /** What is kept, beside its row, of one that waits for a server. */
  readonly kept?: Kept;
}

/** The parts of the worker that carrying uses. */
type CarrierKit = Pick<
  WorkerKit,
  | "table"
  | "descriptors"
  | "chunks"
  | "pipes"
  | "recorder"
  | "headers"
  | "counters"
  | "logColumns"
  | "services"
  | "clock"
  | "setup"
  | "workerTable"
>;

/** Carries the connections of one worker. */
export class Carrier {
  readonly #kit: CarrierKit;
  readonly #dialer: Dialer;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;

  constructor(kit: CarrierKit, dialer: Dialer) {
    this.#kit = kit;
    this.#dialer = dialer;
    this.#words = kit.table.words;
    this.#floats = kit.table.floats;
  }

  /**
   * What is to be handed over of this client, which was stopped. Adds its descriptors to `descriptors`, in the order of
   * `descriptorsOf`. Changes nothing.
   */
  pack(client: number, detached: Detached, descriptors: number[]): CarriedConnection {
    const { state, dueMs, kept } = detached;
    const { table, clock, recorder, headers, services, logColumns } = this.#kit;
    const words = this.#words;
    const row = rowOf(client);
    const server = words[row + WORD.peer];
    descriptors.push(client);
    if (server >= 0) descriptors.push(server);
    this.#addPipe(client, descriptors);
    if (server >= 0) this.#addPipe(server, descriptors);
    return {
      state,
      service: serviceOf(words, client),
      listener: listenerOf(words, client),
      slot: words[row + WORD.slot],
      attempts: words[row + WORD.attempts],
      moves: words[row + WORD.moves] & MOVES_MASK,
      facts: words[row + WORD.facts],
      earlierBytes: this.#floats[floatsOf(client) + FLOAT.earlierBytes],
      ip: Uint8Array.from(table.ipOf(client)),
      port: words[row + WORD.port] & PORT_MASK,
      dueInMs: dueMs - clock.nowMs,
      acceptedAt: services.isLogging ? logColumns.acceptedAt(client, clock.wallMs(), clock.nowMs) : NaN,
      connectMs: services.isLogging ? logColumns.connectMs(client) : NaN,
      client: kept?.bytes === undefined ? this.#packSocket(client) : { ...this.#packSocket(client), waiting: kept.bytes },
      server: server < 0 ? undefined : this.#packServer(server),
      recording: recorder.get(client),
      received: this.#packReceived(client),
      outgoing: headers.outgoingOf(client),
      search: this.#dialer.carriedSearch(client),
      waiting: this.#packWaiting(detached),
    };
  }

  /**
   * Writes a connection of another process into the rows of this one, and counts it as open. `take` gives its descriptors one after
   * another. Returns the client, which is not registered with epoll and has no timer and no state yet.
   */
  unpack(connection: CarriedConnection, take: () => number, indexes: CarriedIndexes): number {
    const { descriptors, setup, workerTable, recorder, headers } = this.#kit;
    const client = take();
    const server = connection.server === undefined ? -1 : take();
    descriptors.adopt(client, ROLE.client, server, connection.client.flags & ~OWN_FLAGS | FLAG.readable);
    this.#unpackClient(client, connection, indexes);
    this.#unpackSocket(client, connection.client);
    if (connection.server !== undefined) this.#unpackServer(client, server, connection.server);
    this.#takePipe(client, connection.client, take);
    if (connection.server !== undefined) this.#takePipe(server, connection.server, take);
    if (connection.recording !== undefined) recorder.restore(client, connection.recording);
    headers.restore(client, connection);
    if (connection.search !== undefined) this.#unpackSearch(client, connection.search, indexes);
    this.#count(client);
    workerTable.addOpen(setup.index, 1);
    return client;
  }

  #packWaiting({ place, kept }: Detached): CarriedWaiting | undefined {
    if (place === undefined) return undefined;
    const departure = kept?.departure;
    return {
      place: place.number,
      forMs: this.#kit.clock.nowMs - place.sinceMs,
      departure: departure && { ...departure, from: kept?.hasLeft ? -1 : departure.from },
    };
  }

  #packSocket(socket: number): CarriedSocket {
    const { chunks, clock } = this.#kit;
    const words = this.#words;
    const row = rowOf(socket);
    const float = floatsOf(socket);
    const chunk = words[row + WORD.chunk];
    return {
      flags: words[row + WORD.flags] & ~OWN_FLAGS,
      errno: words[row + WORD.errno],
      score: words[row + WORD.score],
      bytes: this.#floats[float + FLOAT.bytes],
      quietForMs: clock.nowMs - this.#floats[float + FLOAT.lastActivityMs],
      ageMs: clock.nowMs - this.#floats[float + FLOAT.startedMs],
      waiting: chunk === 0 ? NO_BYTES : chunks.views[chunk - 1].subarray(words[row + WORD.chunkStart], words[row + WORD.chunkEnd]),
      pipeBytes: words[row + WORD.pipe] === 0 ? 0 : words[row + WORD.pipeBytes],
    };
  }

  #packServer(server: number): CarriedServer {
    const { nowMs } = this.#kit.clock;
    const float = floatsOf(server);
    return {
      ...this.#packSocket(server),
      port: this.#words[rowOf(server) + WORD.port],
      serverHeardAgoMs: nowMs - this.#floats[float + SERVER_FLOAT.serverHeardMs],
      clientHeardAgoMs: nowMs - this.#floats[float + SERVER_FLOAT.clientHeardMs],
      retryInMs: this.#floats[float + SERVER_FLOAT.retryAtMs] - nowMs,
    };
  }

  #packReceived(client: number): CarriedConnection["received"] {
    const received = this.#kit.headers.receivedOf(client);
    if (received === undefined) return undefined;
    const { destination, tlvs } = received;
    return {
      destination: destination && { ip: Uint8Array.from(destination.ip), port: destination.port },
      tlvs: Uint8Array.from(tlvs),
    };
  }

  #addPipe(socket: number, descriptors: number[]): void {
    const { pipes } = this.#kit;
    const row = rowOf(socket);
    const pipe = this.#words[row + WORD.pipe] - 1;
    if (pipe >= 0 && this.#words[row + WORD.pipeBytes] > 0) descriptors.push(pipes.readers[pipe], pipes.writers[pipe]);
  }

  #unpackClient(client: number, connection: CarriedConnection, indexes: CarriedIndexes): void {
    const { table, logColumns, services } = this.#kit;
    const words = this.#words;
    const row = rowOf(client);
    const service = connection.service === NO_SERVICE ? NO_SERVICE : indexes.services[connection.service];
    words[row + WORD.state] = 0;
    words[row + WORD.slot] = connection.slot < 0 ? -1 : indexes.slots[connection.slot];
    words[row + WORD.attempts] = connection.attempts;
    words[row + WORD.facts] = connection.facts;
    words[row + WORD.moves] = connection.moves & MOVES_MASK;
    words[row + WORD.ipLength] = connection.ip.length & IP_LENGTH_MASK | service << SERVICE_SHIFT;
    words[row + WORD.port] = connection.port & PORT_MASK | indexes.listeners[connection.listener] << LISTENER_SHIFT;
    table.bytes.set(connection.ip, (row + WORD.ip) * 4);
    this.#floats[floatsOf(client) + FLOAT.earlierBytes] = connection.earlierBytes;
    this.#floats[floatsOf(client) + FLOAT.startedMs] = this.#kit.clock.nowMs - connection.client.ageMs;
    if (services.isLogging && !Number.isNaN(connection.acceptedAt)) {
      logColumns.begin(client, connection.acceptedAt);
      if (!Number.isNaN(connection.connectMs)) logColumns.connected(client, connection.connectMs);
    }
  }

  #unpackServer(client: number, server: number, carried: CarriedServer): void {
    const { descriptors, clock: { nowMs } } = this.#kit;
    const float = floatsOf(server);
    descriptors.adopt(server, ROLE.server, client, carried.flags & ~OWN_FLAGS | FLAG.readable);
    this.#words[rowOf(server) + WORD.port] = carried.port;
    this.#floats[float + FLOAT.startedMs] = nowMs - carried.ageMs;
    this.#floats[float + SERVER_FLOAT.serverHeardMs] = nowMs - carried.serverHeardAgoMs;
    this.#floats[float + SERVER_FLOAT.clientHeardMs] = nowMs - carried.clientHeardAgoMs;
    this.#floats[float + SERVER_FLOAT.retryAtMs] = nowMs + carried.retryInMs;
    this.#unpackSocket(server, carried);
  }

  #unpackSocket(socket: number, { errno, score, bytes, quietForMs, waiting }: CarriedSocket): void {
    const { chunks, clock } = this.#kit;
    const words = this.#words;
    const row = rowOf(socket);
    words[row + WORD.errno] = errno;
    words[row + WORD.score] = score;
    this.#floats[floatsOf(socket) + FLOAT.bytes] = bytes;
    this.#floats[floatsOf(socket) + FLOAT.lastActivityMs] = clock.nowMs - quietForMs;
    if (waiting.length === 0) return;
    const chunk = chunks.take();
    chunks.views[chunk].set(waiting);
    words[row + WORD.chunk] = chunk + 1;
    words[row + WORD.chunkStart] = 0;
    words[row + WORD.chunkEnd] = waiting.length;
  }

  #takePipe(socket: number, { pipeBytes }: CarriedSocket, take: () => number): void {
    if (pipeBytes === 0) return;
    const row = rowOf(socket);
    this.#words[row + WORD.pipe] = this.#kit.pipes.adopt(take(), take()) + 1;
    this.#words[row + WORD.pipeBytes] = pipeBytes;
  }

  #unpackSearch(client: number, search: CarriedSearch, indexes: CarriedIndexes): void {
    const from = indexes.slots[search.from];
    const tried = search.tried.map((slot) => indexes.slots[slot] ?? -1).filter((slot) => slot >= 0);
    this.#words[rowOf(client) + WORD.moves] |= from + 1 << FROM_SHIFT;
    this.#dialer.restoreSearch(client, { ...search, from, tried });
  }

  /** The server that a departing connection has left counts it until it has arrived. */
  #count(client: number): void {
    const { counters } = this.#kit;
    const words = this.#words;
    const slot = words[rowOf(client) + WORD.slot];
    const from = (words[rowOf(client) + WORD.moves] >>> FROM_SHIFT) - 1;
    counters.addCarried(serviceOf(words, client), listenerOf(words, client));
    for (const counting of [slot, from]) if (counting >= 0) counters.raiseOf(counting, "serverOpen");
  }
}

/** The departure of a client that waited for a server in another process. */
export function heldDeparture({ departure }: CarriedWaiting, { slots }: CarriedIndexes): Departure | undefined {
  return departure && { ...departure, from: slots[departure.from] ?? -1, kept: -1, to: -1, isHeld: true };
}
