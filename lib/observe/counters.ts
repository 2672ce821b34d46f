/**
 * What the engines count: one row per counter, and the fates, for the process and for every server, in SharedArrayBuffers. Engines
 * add, everybody else reads; nobody ever waits. Every thread that counts has cells of its own for what only grows, so that adding is
 * one plain store; a reader adds them up. Gauges, by which connections are admitted, are one cell for all threads, changed
 * atomically. A server's cells are found by its slot, a small number it keeps while it has connections. Knows nothing of servers'
 * names or of how the numbers are shown.
 */

import { LIMITS } from "../values/config.ts";
import { assert } from "../values/errors.ts";
import { type Fate, FATE_NAMES } from "../values/fates.ts";

/** How a row is counted: once for the process or once for each server. Fates are counted as both. */
type Scope = "process" | "server";

interface CounterRow {
  readonly scope: Scope;
  readonly kind: "counter" | "gauge";
  readonly metric: string;
  readonly help: string;
}

/** Everything that is counted besides fates and connect times. Metric names are Prometheus's: a unit, `_total` for counters. */
export const COUNTERS = {
  accepted: {
    scope: "process",
    kind: "counter",
    metric: "balancer_accepted_connections_total",
    help: "Clients' connections accepted, with those refused at once",
  },
  open: { scope: "process", kind: "gauge", metric: "balancer_open_connections", help: "Clients' connections open now" },
  gone: {
    scope: "process",
    kind: "counter",
    metric: "balancer_gone_connections_total",
    help: "Clients' connections that were reset before they could be accepted",
  },
  acceptErrors: {
    scope: "process",
    kind: "counter",
    metric: "balancer_accept_errors_total",
    help: "Times the system could not hand over a client's connection (descriptors used up)",
  },
  movedUnsent: {
    scope: "process",
    kind: "counter",
    metric: "balancer_moved_unsent_connections_total",
    help: "Times a connection left its server for another with nothing sent to the first",
  },
  movedUnanswered: {
    scope: "process",
    kind: "counter",
    metric: "balancer_moved_unanswered_connections_total",
    help: "Times a connection left its server for another, which was sent again what the first had not answered",
  },
  movedIdle: {
    scope: "process",
    kind: "counter",
    metric: "balancer_moved_idle_connections_total",
    help: "Times a connection left its server for another between two exchanges",
  },
  replayOverflows: {
    scope: "process",
    kind: "counter",
    metric: "balancer_replay_overflows_total",
    help: "Times a client said more than --replay-buffer keeps before it was answered",
  },
  serverOpen: {
    scope: "server",
    kind: "gauge",
    metric: "balancer_server_open_connections",
    help: "Connections the server has now, with those being made",
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
    help: "Connections that the server refused or did not accept in time",
  },
  movedAway: {
    scope: "server",
    kind: "counter",
    metric: "balancer_server_moved_away_connections_total",
    help: "Connections that left the server for another one",
  },
  sentBytes: { scope: "server", kind: "counter", metric: "balancer_server_sent_bytes_total", help: "Bytes sent to the server" },
  receivedBytes: {
    scope: "server",
    kind: "counter",
    metric: "balancer_server_received_bytes_total",
    help: "Bytes of the server's passed on to clients",
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

/** Upper bounds, in seconds, of the histogram of how long servers took to accept a connection. */
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
const SERVERS_START = HISTOGRAM_START + CONNECT_SECONDS_BOUNDS.length + 2; // beyond the last bound, and the sum
const SUM_CELL = SERVERS_START - 1;

/** Cells of one server. */
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

/** How long connecting took: how many times up to each bound (not cumulative) and beyond the last; and the sum. */
export interface ConnectSeconds {
  readonly counts: readonly number[];
  readonly sum: number;
}

/** The memory behind the counters, as plain data that crosses to other threads. */
export interface SharedCounters {
  /** Servers at a time, those that are leaving included. */
  readonly slots: number;
  /** Threads that count. */
  readonly writers: number;
  readonly cells: SharedArrayBuffer;
  readonly gauges: SharedArrayBuffer;
}

/** Memory for the counters of so many servers, written by the main thread (writer 0) and so many others. */
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

/** The cells as one thread sees them: it reads all, and counts in those of `writer`, which are no other thread's. Exact up to 2⁵³. */
export class Counters {
  readonly slots: number;
  readonly #cells: Float64Array;
  readonly #gauges: Int32Array;
  readonly #writerCells: number;
  readonly #start: number;

  constructor(readonly shared: SharedCounters = allocateCounters(), writer = 0) {
    assert(writer < shared.writers, `no writer ${writer}`);
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

  /** Changes a gauge for all threads at once and gives what it is then. */
  raise(gauge: ProcessGauge, by = 1): number {
    return Atomics.add(this.#gauges, PROCESS_GAUGE[gauge], by) + by;
  }

  /** Like `raise`, of a server's gauge. */
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

  /** Counts the end of a connection, for the process and, if it had one, for its server. */
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

  /** Zeroes a slot for a new server, once nobody counts there any more. Its old server's numbers are gone; the process's remain. */
  clearSlot(slot: number): void {
    const first = this.#serverCell(slot, SERVER_ROWS[0]);
    for (let start = 0; start < this.#cells.length; start += this.#writerCells) {
      this.#cells.fill(0, start + first, start + first + SERVER_CELLS);
    }
    for (const gauge of SERVER_GAUGES) Atomics.store(this.#gauges, this.#serverGauge(slot, gauge), 0);
  }

  /** A cell of all writers together. */
  #sum(cell: number): number {
    let sum = 0;
    for (let at = cell; at < this.#cells.length; at += this.#writerCells) sum += this.#cells[at];
    return sum;
  }

  #serverCell(slot: number, row: string): number {
    assert(slot >= 0 && slot < this.slots, "no slot of that number"); // a constant: this is asked for every chunk of bytes
    return SERVER_CELL[row] + slot * SERVER_CELLS;
  }

  #serverGauge(slot: number, row: string): number {
    assert(slot >= 0 && slot < this.slots, "no slot of that number");
    return SERVER_GAUGE[row] + slot * SERVER_GAUGE_CELLS;
  }
}
