/**
 * The counters of the engines: one row per counter, and the fates, for the process and for every server, in SharedArrayBuffers.
 * Engines write and everyone else reads, without locks. Each writing thread has its own cells for counters, so that an increment is
 * one plain store; a reader adds the cells up. Gauges, which admission of connections depends on, have one atomic cell for all
 * threads. The cells of a server are found by its slot, a small number that it keeps while it has connections. Knows neither the
 * names of servers nor how the numbers are shown.
 */

import { LIMITS } from "../values/config.ts";
import { assert } from "../values/errors.ts";
import { type Fate, FATE_NAMES } from "../values/fates.ts";

/** Whether a row is counted for the process or for each server. Fates are counted for both. */
type Scope = "process" | "server";

interface CounterRow {
  readonly scope: Scope;
  readonly kind: "counter" | "gauge";
  readonly metric: string;
  readonly help: string;
}

/** All counters and gauges besides fates and connect times. Metric names follow Prometheus: a unit, and `_total` for counters. */
export const COUNTERS = {
  accepted: {
    scope: "process",
    kind: "counter",
    metric: "balancer_accepted_connections_total",
    help: "Connections accepted from clients, including those refused at once",
  },
  open: { scope: "process", kind: "gauge", metric: "balancer_open_connections", help: "Open connections of clients" },
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

/** Upper bounds, in seconds, of the histogram of connect times. */
export const CONNECT_SECONDS_BOUNDS = [
  0.0001,
  0.00025,
  0.0005,
  0.001,
  0.0025,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
] as const;

const SERVER_ROWS = [...rowsOf("server", "counter"), ...FATE_NAMES];
const PROCESS_ROWS = [...rowsOf("process", "counter"), ...FATE_NAMES];
const HISTOGRAM_START = PROCESS_ROWS.length;
// One for values beyond the last bound, and one for the sum.
const SERVERS_START = HISTOGRAM_START + CONNECT_SECONDS_BOUNDS.length + 2;
const SUM_CELL = SERVERS_START - 1;

/** Cells per server and writer. */
const SERVER_CELLS = SERVER_ROWS.length;

const PROCESS_CELL = indexesOf(PROCESS_ROWS, 0);
const SERVER_CELL = indexesOf(SERVER_ROWS, SERVERS_START);

const PROCESS_GAUGES = rowsOf("process", "gauge");
const SERVER_GAUGES = rowsOf("server", "gauge");
const SERVER_GAUGE_CELLS = SERVER_GAUGES.length;
const PROCESS_GAUGE = indexesOf(PROCESS_GAUGES, 0);
const SERVER_GAUGE = indexesOf(SERVER_GAUGES, PROCESS_GAUGES.length);

function rowsOf(scope: Scope, kind: CounterRow["kind"]): string[] {
  return Object.entries(COUNTERS).filter(([, row]) => row.scope === scope && row.kind === kind).map(([name]) => name);
}

function indexesOf(rows: readonly string[], start: number): Readonly<Record<string, number>> {
  return Object.fromEntries(rows.map((row, index) => [row, start + index]));
}

/**
 * The histogram of connect times: the count per bucket (not cumulative), with one beyond the last bound, and the sum in seconds.
 */
export interface ConnectSeconds {
  readonly counts: readonly number[];
  readonly sum: number;
}

/** The memory of the counters, as plain data that can be sent to other threads. */
export interface SharedCounters {
  /** Limit on servers, including those being removed. */
  readonly slots: number;
  /** The number of writing threads. */
  readonly writers: number;
  readonly cells: SharedArrayBuffer;
  readonly gauges: SharedArrayBuffer;
}

/** Memory for the counters of `slots` servers, written by the main thread (writer 0) and `threads` others. */
export function allocateCounters(threads = 0, slots: number = 2 * LIMITS.serversMax): SharedCounters {
  const writers = 1 + threads;
  const cells = writers * (SERVERS_START + slots * SERVER_CELLS);
  const gauges = PROCESS_GAUGES.length + slots * SERVER_GAUGE_CELLS;
  return {
    slots,
    writers,
    cells: new SharedArrayBuffer(cells * Float64Array.BYTES_PER_ELEMENT),
    gauges: new SharedArrayBuffer(gauges * Int32Array.BYTES_PER_ELEMENT),
  };
}

/** Access to the counters from one thread: it reads all cells and writes only those of `writer`. Exact up to 2⁵³. */
export class Counters {
  readonly slots: number;
  readonly #cells: Float64Array;
  readonly #gauges: Int32Array;
  readonly #writerCells: number;
  readonly #start: number;

  constructor(readonly shared: SharedCounters = allocateCounters(), writer = 0) {
    assert(writer < shared.writers, `writer ${writer} is out of range`);
    this.slots = shared.slots;
    this.#cells = new Float64Array(shared.cells);
    this.#gauges = new Int32Array(shared.gauges);
    this.#writerCells = this.#cells.length / shared.writers;
    this.#start = writer * this.#writerCells;
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

  /** Counts the end of a connection for the process and, if it had a server, for the server. */
  addFate(fate: Fate, slot?: number): void {
    this.#cells[this.#start + PROCESS_CELL[fate]]++;
    if (slot !== undefined) this.#cells[this.#start + this.#serverCell(slot, fate)]++;
  }

  addConnectSeconds(seconds: number): void {
    let bucket = 0;
    while (bucket < CONNECT_SECONDS_BOUNDS.length && seconds > CONNECT_SECONDS_BOUNDS[bucket]) bucket++;
    this.#cells[this.#start + HISTOGRAM_START + bucket]++;
    this.#cells[this.#start + SUM_CELL] += seconds;
  }

  connectSeconds(): ConnectSeconds {
    const counts = Array.from({ length: CONNECT_SECONDS_BOUNDS.length + 1 }, (_, bucket) => this.#sum(HISTOGRAM_START + bucket));
    return { counts, sum: this.#sum(SUM_CELL) };
  }

  /** Zeroes a slot for a new server. No thread may still write to it. The counters of the process keep their values. */
  clearSlot(slot: number): void {
    const first = this.#serverCell(slot, SERVER_ROWS[0]);
    for (let start = 0; start < this.#cells.length; start += this.#writerCells) {
      this.#cells.fill(0, start + first, start + first + SERVER_CELLS);
    }
    for (const gauge of SERVER_GAUGES) Atomics.store(this.#gauges, this.#serverGauge(slot, gauge), 0);
  }

  /** The sum of a cell over all writers. */
  #sum(cell: number): number {
    let sum = 0;
    for (let at = cell; at < this.#cells.length; at += this.#writerCells) sum += this.#cells[at];
    return sum;
  }

  #serverCell(slot: number, row: string): number {
    assert(slot >= 0 && slot < this.slots, "slot out of range"); // a constant text: this runs for every chunk of bytes
    return SERVER_CELL[row] + slot * SERVER_CELLS;
  }

  #serverGauge(slot: number, row: string): number {
    assert(slot >= 0 && slot < this.slots, "slot out of range");
    return SERVER_GAUGE[row] + slot * SERVER_GAUGE_CELLS;
  }
}
