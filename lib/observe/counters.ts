/**
 * The counters of the engines: one row per counter, the fates and the histograms, for the process, for every service, listener and
 * server, in SharedArrayBuffers. Engines write and everyone else reads, without locks. Each writing thread has its own cells for
 * counters, so that an increment is one plain store; a reader adds the cells up. Gauges, which admission of connections depends on,
 * have one atomic cell for all threads. The cells of a server are found by its slot, a small number that it keeps while it has
 * connections. Knows neither the names of servers nor how the numbers are shown.
 */

import { type MovableState, MOVED_COUNTERS } from "../routing/departure.ts";
import { NO_SERVICE } from "../routing/name_routes.ts";
import { LIMITS } from "../values/config.ts";
import { assert } from "../values/errors.ts";
import { type Fate, FATE_NAMES } from "../values/fates.ts";
import { CONNECT_BUCKETS, connectBucketOf } from "./connect_times.ts";

/**
 * What a row is counted for: the process, each service, each listener or each server. Fates are counted for the process, and for
 * each service and server.
 */
type Scope = "process" | "service" | "listener" | "server";

interface CounterRow {
  readonly scope: Scope;
  readonly kind: "counter" | "gauge";
  readonly metric: string;
  /** Rows of one metric differ in these labels and have the same help. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly help: string;
}

const LIMIT_HITS = {
  scope: "process",
  kind: "counter",
  metric: "balancer_limit_hits_total",
  help: "Clients refused because the balancer, or every server, was at its limit of connections",
} as const;
const CHECKS = {
  scope: "server",
  kind: "counter",
  metric: "balancer_server_checks_total",
  help: "Health checks of the server, by outcome",
} as const;

/** All counters and gauges besides fates and histograms. Metric names follow Prometheus: a unit, and `_total` for counters. */
export const COUNTERS = {
  accepted: {
    scope: "process",
    kind: "counter",
    metric: "balancer_accepted_connections_total",
    help: "Connections accepted from clients, including those refused at once",
  },
  open: { scope: "process", kind: "gauge", metric: "balancer_open_connections", help: "Open connections of clients" },
  queued: {
    scope: "process",
    kind: "gauge",
    metric: "balancer_queued_connections",
    help: "Open connections of clients that wait for a place (--queue); they are beyond --max-connections",
  },
  gone: {
    scope: "process",
    kind: "counter",
    metric: "balancer_gone_connections_total",
    help: "Connections of clients that were reset before they could be accepted",
  },
  acceptErrors: {
    scope: "process",
    kind: "counter",
    metric: "balancer_accept_errors_total",
    help: "Times that accepting a connection failed because no descriptors were left",
  },
  movedUnsent: {
    scope: "process",
    kind: "counter",
    metric: "balancer_moved_unsent_connections_total",
    help: "Moves of connections to another server before anything was sent",
  },
  movedUnanswered: {
    scope: "process",
    kind: "counter",
    metric: "balancer_moved_unanswered_connections_total",
    help: "Moves of connections to another server with a replay of the unanswered request",
  },
  movedIdle: {
    scope: "process",
    kind: "counter",
    metric: "balancer_moved_idle_connections_total",
    help: "Moves of connections to another server between two exchanges",
  },
  replayOverflows: {
    scope: "process",
    kind: "counter",
    metric: "balancer_replay_overflows_total",
    help: "Times that an unanswered request was larger than --replay-buffer",
  },
  /** --max-connections. */
  limitBalancer: { ...LIMIT_HITS, labels: { limit: "balancer_connections" } },
  /** Every server that the client could have was at its limit of connections or above the load bound. */
  limitServers: { ...LIMIT_HITS, labels: { limit: "server_connections" } },
  serviceAccepted: {
    scope: "service",
    kind: "counter",
    metric: "balancer_service_accepted_connections_total",
    help: "Connections accepted from clients of the service, including those refused at once",
  },
  /** The load bound of a service counts by it, and an index of a service is free once it is 0. */
  serviceOpen: {
    scope: "service",
    kind: "gauge",
    metric: "balancer_service_open_connections",
    help: "Open connections of clients of the service",
  },
  serviceHeld: {
    scope: "service",
    kind: "counter",
    metric: "balancer_service_held_connections_total",
    help: "Connections of clients of the service that began to wait for a server (--hold, balancerctl pause)",
  },
  serviceWaiting: {
    scope: "service",
    kind: "gauge",
    metric: "balancer_service_waiting_connections",
    help: "Open connections of clients of the service that wait for a server",
  },
  listenerAccepted: {
    scope: "listener",
    kind: "counter",
    metric: "balancer_listener_accepted_connections_total",
    help: "Connections accepted from clients of the listener, including those refused at once",
  },
  /** An index of a listener is free once it is 0. */
  listenerOpen: {
    scope: "listener",
    kind: "gauge",
    metric: "balancer_listener_open_connections",
    help: "Open connections of clients of the listener",
  },
  /** Clients who are no service's yet. The index of a service that they may get is not free before it is 0. */
  listenerAwaiting: {
    scope: "listener",
    kind: "gauge",
    metric: "balancer_listener_awaiting_connections",
    help: "Open connections of clients of the listener whose service is not known before they have sent their name (SNI)",
  },
  listenerReceivedBytes: {
    scope: "listener",
    kind: "counter",
    metric: "balancer_listener_received_bytes_total",
    help: "Bytes received from clients of the listener and passed on to servers",
  },
  listenerSentBytes: {
    scope: "listener",
    kind: "counter",
    metric: "balancer_listener_sent_bytes_total",
    help: "Bytes sent to clients of the listener",
  },
  wouldBeRefused: {
    scope: "process",
    kind: "counter",
    metric: "balancer_would_be_refused_connections_total",
    help: "Connections of clients that a list or limit would have refused without --limits-dry-run",
  },
  untrackedClients: {
    scope: "process",
    kind: "counter",
    metric: "balancer_untracked_connections_total",
    help: "Connections that no limit of clients counted, because the table of clients was full",
  },
  accessLogDropped: {
    scope: "process",
    kind: "counter",
    metric: "balancer_access_log_dropped_total",
    help: "Lines of the access log that were dropped, because they came too fast or could not be written",
  },
  eventStreamsDropped: {
    scope: "process",
    kind: "counter",
    metric: "balancer_event_streams_dropped_total",
    help: "Streams of events that were ended because their reader did not read",
  },
  serverOpen: {
    scope: "server",
    kind: "gauge",
    metric: "balancer_server_open_connections",
    help: "Open connections of the server, including those being dialled",
  },
  connects: {
    scope: "server",
    kind: "counter",
    metric: "balancer_server_connects_total",
    help: "Connections that the server accepted",
  },
  connectFailures: {
    scope: "server",
    kind: "counter",
    metric: "balancer_server_connect_failures_total",
    help: "Connections that the server refused or did not accept within the timeout",
  },
  movedAway: {
    scope: "server",
    kind: "counter",
    metric: "balancer_server_moved_away_connections_total",
    help: "Connections that moved from the server to another one",
  },
  sentBytes: { scope: "server", kind: "counter", metric: "balancer_server_sent_bytes_total", help: "Bytes sent to the server" },
  receivedBytes: {
    scope: "server",
    kind: "counter",
    metric: "balancer_server_received_bytes_total",
    help: "Bytes received from the server and passed on to clients",
  },
  checksPassed: { ...CHECKS, labels: { outcome: "passed" } },
  checksDrain: { ...CHECKS, labels: { outcome: "asks_to_drain" } },
  /** No connection, or not a single byte of an answer. */
  checksUnanswered: { ...CHECKS, labels: { outcome: "no_answer" } },
  checksWrong: { ...CHECKS, labels: { outcome: "wrong_answer" } },
  /** This machine lacked something, such as a descriptor: it says nothing of the server. */
  checksNotMade: { ...CHECKS, labels: { outcome: "not_made" } },
} as const satisfies Record<string, CounterRow>;

type RowsOf<S extends Scope, K extends CounterRow["kind"]> = {
  [Name in keyof typeof COUNTERS]: (typeof COUNTERS)[Name] extends { readonly scope: S; readonly kind: K } ? Name : never;
}[keyof typeof COUNTERS];
/** Counters of the process as a whole. */
export type ProcessCounter = RowsOf<"process", "counter">;
/** Gauges of the process as a whole. */
export type ProcessGauge = RowsOf<"process", "gauge">;
/** Counters that every server has. */
export type ServerCounter = RowsOf<"server", "counter">;
/** Gauges that every server has. */
export type ServerGauge = RowsOf<"server", "gauge">;

/** Counters that every service has. */
export type ServiceCounter = RowsOf<"service", "counter">;
/** Gauges that every service has. */
export type ServiceGauge = RowsOf<"service", "gauge">;
/** Counters that every listener has. */
export type ListenerCounter = RowsOf<"listener", "counter">;
/** Gauges that every listener has. */
export type ListenerGauge = RowsOf<"listener", "gauge">;

interface HistogramRow {
  readonly scope: "process" | "server";
  readonly metric: string;
  readonly help: string;
  /** Upper bounds of the buckets, in seconds, ascending. */
  readonly bounds: readonly number[];
}

/**
 * All histograms. That of each server is coarse, since every bucket is a series per server: it tells a server of this room from one
 * far away, and both from one that is slow or whose first SYN was lost (1 s, then 3 s).
 */
export const HISTOGRAMS = {
  connectSeconds: {
    scope: "process",
    metric: "balancer_connect_seconds",
    help: "Time that servers took to accept a connection",
    bounds: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  },
  connectionSeconds: {
    scope: "process",
    metric: "balancer_connection_seconds",
    help: "Time from accept to end of connections that had a server",
    bounds: [0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400],
  },
  serverConnectSeconds: {
    scope: "server",
    metric: "balancer_server_connect_seconds",
    help: "Time that the server took to accept a connection",
    bounds: [0.001, 0.005, 0.025, 0.1, 0.5, 1, 3],
  },
} as const satisfies Record<string, HistogramRow>;

/** A row of HISTOGRAMS. */
export type HistogramName = keyof typeof HISTOGRAMS;

const SERVER_ROWS = [...rowsOf("server", "counter"), ...FATE_NAMES];
const PROCESS_ROWS = [...rowsOf("process", "counter"), ...FATE_NAMES];
const SERVICE_ROWS = [...rowsOf("service", "counter"), ...FATE_NAMES];
const LISTENER_ROWS = rowsOf("listener", "counter");
const [PROCESS_HISTOGRAM, SERVICES_START] = histogramCells("process", PROCESS_ROWS.length);
const LISTENERS_START = SERVICES_START + LIMITS.servicesMax * SERVICE_ROWS.length;
const SERVERS_START = LISTENERS_START + LIMITS.listenersMax * LISTENER_ROWS.length;
const [SERVER_HISTOGRAM, FIRST_SERVER_END] = histogramCells("server", SERVERS_START + SERVER_ROWS.length);
const HISTOGRAM_CELL: Readonly<Record<string, number>> = { ...PROCESS_HISTOGRAM, ...SERVER_HISTOGRAM };

/** Cells per service, listener and server, of a writer. */
const SERVICE_CELLS = SERVICE_ROWS.length;
const LISTENER_CELLS = LISTENER_ROWS.length;
const SERVER_CELLS = FIRST_SERVER_END - SERVERS_START;

const PROCESS_CELL = indexesOf(PROCESS_ROWS, 0);
const SERVICE_CELL = indexesOf(SERVICE_ROWS, SERVICES_START);
const LISTENER_CELL = indexesOf(LISTENER_ROWS, LISTENERS_START);
const SERVER_CELL = indexesOf(SERVER_ROWS, SERVERS_START);

const PROCESS_GAUGES = rowsOf("process", "gauge");
const SERVICE_GAUGES = rowsOf("service", "gauge");
const LISTENER_GAUGES = rowsOf("listener", "gauge");
const SERVER_GAUGES = rowsOf("server", "gauge");
const SERVICE_GAUGES_START = PROCESS_GAUGES.length;
const LISTENER_GAUGES_START = SERVICE_GAUGES_START + LIMITS.servicesMax * SERVICE_GAUGES.length;
const SERVER_GAUGES_START = LISTENER_GAUGES_START + LIMITS.listenersMax * LISTENER_GAUGES.length;
const PROCESS_GAUGE = indexesOf(PROCESS_GAUGES, 0);
const SERVICE_GAUGE = indexesOf(SERVICE_GAUGES, SERVICE_GAUGES_START);
const LISTENER_GAUGE = indexesOf(LISTENER_GAUGES, LISTENER_GAUGES_START);
const SERVER_GAUGE = indexesOf(SERVER_GAUGES, SERVER_GAUGES_START);

/** Where the rows of a scope are. */
interface ScopeLayout {
  readonly rows: readonly string[];
  readonly cellOf: (row: string) => number;
  readonly gauges: readonly string[];
  readonly gaugeOf: (gauge: string) => number;
}

function histogramsOf(scope: Scope): HistogramName[] {
  return (Object.keys(HISTOGRAMS) as HistogramName[]).filter((name) => HISTOGRAMS[name].scope === scope);
}

function rowsOf(scope: Scope, kind: CounterRow["kind"]): string[] {
  return Object.entries(COUNTERS).filter(([, row]) => row.scope === scope && row.kind === kind).map(([name]) => name);
}

function indexesOf(rows: readonly string[], start: number): Readonly<Record<string, number>> {
  return Object.fromEntries(rows.map((row, index) => [row, start + index]));
}

/** The first cell of each histogram of this scope, from cell `start` on, and the cell behind the last of them. */
function histogramCells(scope: Scope, start: number): [first: Record<string, number>, end: number] {
  const first: Record<string, number> = {};
  let next = start;
  for (const [name, row] of Object.entries(HISTOGRAMS).filter(([, row]) => row.scope === scope)) {
    first[name] = next;
    next += row.bounds.length + 2; // one for values beyond the last bound, and one for the sum
  }
  return [first, next];
}

/**
 * The details of a server, which are no metrics: the connect times of `connect_times.ts`, then its moves. They wrap at 2³²: only
 * what is added between two readings is of use.
 */
export const DETAIL = {
  connectTimes: 0,
  movedIn: CONNECT_BUCKETS,
  movedAway: CONNECT_BUCKETS + 3,
  cells: CONNECT_BUCKETS + 6,
} as const;

/** The states in which connections move, in the order of the cells of `DETAIL.movedIn` and `DETAIL.movedAway`. */
export const MOVABLE_STATES = Object.keys(MOVED_COUNTERS) as readonly MovableState[];

/** A histogram: the count per bucket (not cumulative), with one beyond the last bound, and the sum in seconds. */
export interface Histogram {
  readonly counts: readonly number[];
  readonly sum: number;
}

/** What was counted for the process or for one of its parts, by name; what is 0 is left out. */
export interface Counted {
  readonly counters: Readonly<Record<string, number>>;
  readonly gauges: Readonly<Record<string, number>>;
  readonly histograms: Readonly<Record<string, Histogram>>;
}

/** The memory of the counters, as plain data that can be sent to other threads. */
export interface SharedCounters {
  /** Limit on servers, including those being removed. */
  readonly slots: number;
  /** The number of writing threads. */
  readonly writers: number;
  readonly cells: SharedArrayBuffer;
  readonly gauges: SharedArrayBuffer;
  /** The details of every server. Memory that no server has used yet takes none of the machine's. */
  readonly details: SharedArrayBuffer;
}

/** Memory for the counters of `slots` servers, written by the main thread (writer 0) and `threads` others. */
export function allocateCounters(threads = 0, slots: number = 2 * LIMITS.serversMax): SharedCounters {
  const writers = 1 + threads;
  const cells = writers * (SERVERS_START + slots * SERVER_CELLS);
  const gauges = SERVER_GAUGES_START + slots * SERVER_GAUGES.length;
  return {
    slots,
    writers,
    cells: new SharedArrayBuffer(cells * Float64Array.BYTES_PER_ELEMENT),
    gauges: new SharedArrayBuffer(gauges * Int32Array.BYTES_PER_ELEMENT),
    details: new SharedArrayBuffer(writers * slots * DETAIL.cells * Uint32Array.BYTES_PER_ELEMENT),
  };
}

/** Access to the counters from one thread: it reads all cells and writes only those of `writer`. Exact up to 2⁵³. */
export class Counters {
  readonly slots: number;
  readonly #cells: Float64Array;
  readonly #gauges: Int32Array;
  readonly #details: Uint32Array;
  readonly #writerCells: number;
  readonly #start: number;
  readonly #detailStart: number;

  constructor(readonly shared: SharedCounters = allocateCounters(), writer = 0) {
    assert(writer < shared.writers, `writer ${writer} is out of range`);
    this.slots = shared.slots;
    this.#cells = new Float64Array(shared.cells);
    this.#gauges = new Int32Array(shared.gauges);
    this.#writerCells = this.#cells.length / shared.writers;
    this.#start = writer * this.#writerCells;
    this.#details = new Uint32Array(shared.details);
    this.#detailStart = writer * shared.slots * DETAIL.cells;
  }

  add(counter: ProcessCounter, amount = 1): void {
    this.#cells[this.#start + PROCESS_CELL[counter]] += amount;
  }

  addTo(slot: number, counter: ServerCounter, amount = 1): void {
    this.#cells[this.#start + this.#serverCell(slot, counter)] += amount;
  }

  /** Adds to a gauge atomically; returns its new value. */
  raise(gauge: ProcessGauge, by = 1): number {
    return Atomics.add(this.#gauges, PROCESS_GAUGE[gauge], by) + by;
  }

  /** Sets a gauge to `to` if it is at `from`. Returns whether it was. */
  exchange(gauge: ProcessGauge, from: number, to: number): boolean {
    return Atomics.compareExchange(this.#gauges, PROCESS_GAUGE[gauge], from, to) === from;
  }

  /** Like `raise`, for a gauge of a server. */
  raiseOf(slot: number, gauge: ServerGauge, by = 1): number {
    return Atomics.add(this.#gauges, this.#serverGauge(slot, gauge), by) + by;
  }

  get(counter: ProcessCounter | ProcessGauge | Fate): number {
    const gauge = PROCESS_GAUGE[counter];
    return gauge === undefined ? this.#sum(PROCESS_CELL[counter]) : Atomics.load(this.#gauges, gauge);
  }

  getOf(slot: number, counter: ServerCounter | ServerGauge | Fate): number {
    if (SERVER_GAUGE[counter] === undefined) return this.#sum(this.#serverCell(slot, counter));
    return Atomics.load(this.#gauges, this.#serverGauge(slot, counter));
  }

  addToListener(listener: number, counter: ListenerCounter, amount = 1): void {
    this.#cells[this.#start + this.#listenerCell(listener, counter)] += amount;
  }

  /** What was counted for the listener with this index. */
  getOfListener(listener: number, counter: ListenerCounter | ListenerGauge): number {
    if (LISTENER_GAUGE[counter] === undefined) return this.#sum(this.#listenerCell(listener, counter));
    return Atomics.load(this.#gauges, this.#listenerGauge(listener, counter));
  }

  addToService(service: number, counter: ServiceCounter, amount = 1): void {
    this.#cells[this.#start + this.#serviceCell(service, counter)] += amount;
  }

  /** Like `raise`, for a gauge of a service. */
  raiseOfService(service: number, gauge: ServiceGauge, by = 1): number {
    return Atomics.add(this.#gauges, this.#serviceGauge(service, gauge), by) + by;
  }

  /** What was counted for the service with this index. */
  getOfService(service: number, counter: ServiceCounter | ServiceGauge | Fate): number {
    if (SERVICE_GAUGE[counter] === undefined) return this.#sum(this.#serviceCell(service, counter));
    return Atomics.load(this.#gauges, this.#serviceGauge(service, counter));
  }

  /**
   * Counts a client that was accepted: for the process, its listener and, unless that is NO_SERVICE, its service. Returns all
   * connections open now.
   */
  addAccepted(service: number, listener: number): number {
    this.add("accepted");
    if (service !== NO_SERVICE) this.addToService(service, "serviceAccepted");
    this.addToListener(listener, "listenerAccepted");
    return this.#raiseOpen(service, listener, 1);
  }

  /** A client is open here that another process has accepted and counted. */
  addCarried(service: number, listener: number): void {
    this.#raiseOpen(service, listener, 1);
  }

  /** The service of a client that was accepted for none is known. */
  addNamed(service: number, listener: number): void {
    this.addToService(service, "serviceAccepted");
    Atomics.add(this.#gauges, this.#serviceGauge(service, "serviceOpen"), 1);
    Atomics.add(this.#gauges, this.#listenerGauge(listener, "listenerAwaiting"), -1);
  }

  /** A client that was accepted has ended, and its end is counted. */
  lowerOpen(service: number, listener: number): void {
    this.#raiseOpen(service, listener, -1);
  }

  /**
   * Counts the end of a connection for the process, its service, unless that is NO_SERVICE, and, if it had a server, for the
   * server, with how long it lasted. A client that was refused lasted no time, and would hide how long the others did.
   */
  addFate(fate: Fate, service: number, slot?: number, seconds = 0): void {
    this.#cells[this.#start + PROCESS_CELL[fate]]++;
    if (service !== NO_SERVICE) this.#cells[this.#start + this.#serviceCell(service, fate)]++;
    if (slot === undefined) return;
    this.#cells[this.#start + this.#serverCell(slot, fate)]++;
    this.#observe("connectionSeconds", seconds);
  }

  /** Counts that a server has accepted a connection, after so many seconds. */
  addConnect(slot: number, seconds: number): void {
    this.addTo(slot, "connects");
    this.#observe("connectSeconds", seconds);
    this.#observe("serverConnectSeconds", seconds, slot * SERVER_CELLS);
    this.#details[this.#detailStart + slot * DETAIL.cells + DETAIL.connectTimes + connectBucketOf(seconds)]++;
  }

  /** Counts that a connection has moved to a server with slot `to`, from another one unless that one's slot is free already. */
  addMove(from: number | undefined, to: number, state: MovableState): void {
    const number = MOVABLE_STATES.indexOf(state);
    this.add(MOVED_COUNTERS[state]);
    this.#details[this.#detailStart + to * DETAIL.cells + DETAIL.movedIn + number]++;
    if (from === undefined) return;
    this.addTo(from, "movedAway");
    this.#details[this.#detailStart + from * DETAIL.cells + DETAIL.movedAway + number]++;
  }

  /** Reads the details of a server, from cell `first` on, into `DETAIL.cells` cells, which wrap at 2³². */
  readDetails(slot: number, into: Uint32Array, first = 0): void {
    assert(slot >= 0 && slot < this.slots, "slot out of range");
    const details = this.#details;
    const writerCells = this.slots * DETAIL.cells;
    into.fill(0, first);
    for (let start = slot * DETAIL.cells; start < details.length; start += writerCells) {
      for (let cell = first; cell < DETAIL.cells; cell++) into[cell] += details[start + cell];
    }
  }

  /** A histogram of the process, or that of the server with this slot. */
  histogram(name: HistogramName, slot = 0): Histogram {
    assert(slot === 0 || HISTOGRAMS[name].scope === "server", "the histogram is not a server's");
    const first = HISTOGRAM_CELL[name] + slot * SERVER_CELLS;
    const counts = Array.from({ length: HISTOGRAMS[name].bounds.length + 1 }, (_, bucket) => this.#sum(first + bucket));
    return { counts, sum: this.#sum(first + counts.length) };
  }

  /** Everything that was counted for the process (index 0), or for the service, listener or server with this index. */
  counted(scope: Scope, index = 0): Counted {
    const { rows, cellOf, gauges, gaugeOf } = this.#layoutOf(scope, index);
    const present = (entries: [string, number][]) => Object.fromEntries(entries.filter(([, value]) => value !== 0));
    const histograms = histogramsOf(scope).map((name) => [name, this.histogram(name, index)] as const);
    return {
      counters: present(rows.map((row) => [row, this.#sum(cellOf(row))])),
      gauges: present(gauges.map((gauge) => [gauge, Atomics.load(this.#gauges, gaugeOf(gauge))])),
      histograms: Object.fromEntries(histograms.filter(([, { counts }]) => counts.some((count) => count > 0))),
    };
  }

  /** Adds what another process has counted. Gauges are not added; nor is what this version does not count, or counts otherwise. */
  addCounted(scope: Scope, index: number, { counters, histograms }: Counted): void {
    const { rows, cellOf } = this.#layoutOf(scope, index);
    for (const row of rows) this.#cells[this.#start + cellOf(row)] += counters[row] ?? 0;
    for (const name of histogramsOf(scope)) {
      const { counts = [], sum = 0 } = histograms[name] ?? {};
      if (counts.length !== HISTOGRAMS[name].bounds.length + 1) continue;
      const first = this.#start + HISTOGRAM_CELL[name] + index * (scope === "server" ? SERVER_CELLS : 0);
      for (const [bucket, count] of [...counts, sum].entries()) this.#cells[first + bucket] += count;
    }
  }

  #layoutOf(scope: Scope, index: number): ScopeLayout {
    switch (scope) {
      case "process":
        return {
          rows: PROCESS_ROWS,
          cellOf: (row) => PROCESS_CELL[row],
          gauges: PROCESS_GAUGES,
          gaugeOf: (gauge) => PROCESS_GAUGE[gauge],
        };
      case "service":
        return {
          rows: SERVICE_ROWS,
          cellOf: (row) => this.#serviceCell(index, row),
          gauges: SERVICE_GAUGES,
          gaugeOf: (gauge) => this.#serviceGauge(index, gauge),
        };
      case "listener":
        return {
          rows: LISTENER_ROWS,
          cellOf: (row) => this.#listenerCell(index, row),
          gauges: LISTENER_GAUGES,
          gaugeOf: (gauge) => this.#listenerGauge(index, gauge),
        };
      case "server":
        return {
          rows: SERVER_ROWS,
          cellOf: (row) => this.#serverCell(index, row),
          gauges: SERVER_GAUGES,
          gaugeOf: (gauge) => this.#serverGauge(index, gauge),
        };
    }
  }

  /** Zeroes a slot for a new server. No thread may still write to it. The counters of the process keep their values. */
  clearSlot(slot: number): void {
    this.#clear(this.#serverCell(slot, SERVER_ROWS[0]), SERVER_CELLS);
    for (const gauge of SERVER_GAUGES) Atomics.store(this.#gauges, this.#serverGauge(slot, gauge), 0);
    for (let start = slot * DETAIL.cells; start < this.#details.length; start += this.slots * DETAIL.cells) {
      this.#details.fill(0, start, start + DETAIL.cells);
    }
  }

  /** Zeroes the cells of a service that has no connection, for a new one with this index. No thread may still write to them. */
  clearService(service: number): void {
    this.#clear(this.#serviceCell(service, SERVICE_ROWS[0]), SERVICE_CELLS);
  }

  /** Zeroes the cells of a listener that has no connection, for a new one with this index. No thread may still write to them. */
  clearListener(listener: number): void {
    this.#clear(this.#listenerCell(listener, LISTENER_ROWS[0]), LISTENER_CELLS);
  }

  #clear(first: number, cells: number): void {
    for (let start = 0; start < this.#cells.length; start += this.#writerCells) {
      this.#cells.fill(0, start + first, start + first + cells);
    }
  }

  /** The gauges of the connections of clients. Returns the value of the process's. */
  #raiseOpen(service: number, listener: number, by: number): number {
    if (service === NO_SERVICE) Atomics.add(this.#gauges, this.#listenerGauge(listener, "listenerAwaiting"), by);
    else Atomics.add(this.#gauges, this.#serviceGauge(service, "serviceOpen"), by);
    Atomics.add(this.#gauges, this.#listenerGauge(listener, "listenerOpen"), by);
    return this.raise("open", by);
  }

  /** Adds to a histogram, which starts `offset` cells behind that of the first server. */
  #observe(name: HistogramName, seconds: number, offset = 0): void {
    const { bounds } = HISTOGRAMS[name];
    const first = this.#start + HISTOGRAM_CELL[name] + offset;
    let bucket = 0;
    while (bucket < bounds.length && seconds > bounds[bucket]) bucket++;
    this.#cells[first + bucket]++;
    this.#cells[first + bounds.length + 1] += seconds;
  }

  /** The sum of a cell over all writers. */
  #sum(cell: number): number {
    let sum = 0;
    for (let at = cell; at < this.#cells.length; at += this.#writerCells) sum += this.#cells[at];
    return sum;
  }

  #listenerCell(listener: number, row: string): number {
    assert(listener >= 0 && listener < LIMITS.listenersMax, "listener out of range");
    return LISTENER_CELL[row] + listener * LISTENER_CELLS;
  }

  #listenerGauge(listener: number, row: string): number {
    assert(listener >= 0 && listener < LIMITS.listenersMax, "listener out of range");
    return LISTENER_GAUGE[row] + listener * LISTENER_GAUGES.length;
  }

  #serviceCell(service: number, row: string): number {
    assert(service >= 0 && service < LIMITS.servicesMax, "service out of range");
    return SERVICE_CELL[row] + service * SERVICE_CELLS;
  }

  #serviceGauge(service: number, row: string): number {
    assert(service >= 0 && service < LIMITS.servicesMax, "service out of range");
    return SERVICE_GAUGE[row] + service * SERVICE_GAUGES.length;
  }

  #serverCell(slot: number, row: string): number {
    assert(slot >= 0 && slot < this.slots, "slot out of range"); // a constant text: this runs for every chunk of bytes
    return SERVER_CELL[row] + slot * SERVER_CELLS;
  }

  #serverGauge(slot: number, row: string): number {
    assert(slot >= 0 && slot < this.slots, "slot out of range");
    return SERVER_GAUGE[row] + slot * SERVER_GAUGES.length;
  }
}
