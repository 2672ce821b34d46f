/**
 * What the engines count: one row per counter and per fate, one cell per row in a SharedArrayBuffer, for the process and for every
 * server. Engines add, everybody else reads; nobody ever waits. A server's cells are found by its slot, a small number it keeps
 * while it has connections. Knows nothing of servers' names or of how the numbers are shown.
 */

import { assert } from "./errors.ts";
import { LIMITS } from "./config.ts";

/** The one cause that ended a connection, and how loudly the log says so. */
export const FATES = {
  done: { level: "debug", help: "both sides had finished" },
  client_gone: { level: "info", help: "the client reset the connection or vanished" },
  server_closed: { level: "info", help: "the server closed before it had taken all that the client sent" },
  server_lost: { level: "info", help: "the server reset the connection or vanished" },
  connect_failed: { level: "warning", help: "no server that was tried accepted the connection" },
  no_server: { level: "warning", help: "there was no server in the pool" },
  refused_limit: { level: "warning", help: "the balancer, or every server, had as many connections as it may have" },
  idle_timeout: { level: "info", help: "nothing moved for the idle timeout" },
  removed: { level: "info", help: "the server was removed and the drain time was over" },
  stopped: { level: "info", help: "the balancer stopped and the grace time was over" },
  failed: { level: "error", help: "a fault of the balancer's own; the log has it" },
} as const;

/** A row of FATES. */
export type Fate = keyof typeof FATES;

/** The names of all fates. */
export const FATE_NAMES = Object.keys(FATES) as Fate[];

/** A number for every fate. */
export function countFates(read: (fate: Fate) => number): Record<Fate, number> {
  return Object.fromEntries(FATE_NAMES.map((fate) => [fate, read(fate)])) as Record<Fate, number>;
}

/** How a row is counted: once for the process, once for each server, or both. Fates are counted as `both`. */
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
  sentBytes: { scope: "server", kind: "counter", metric: "balancer_server_sent_bytes_total", help: "Bytes sent to the server" },
  receivedBytes: {
    scope: "server",
    kind: "counter",
    metric: "balancer_server_received_bytes_total",
    help: "Bytes of the server's passed on to clients",
  },
} as const satisfies Record<string, CounterRow>;

type RowsOf<S extends Scope> = { [Name in keyof typeof COUNTERS]: (typeof COUNTERS)[Name]["scope"] extends S ? Name : never };
/** Counters of the process as a whole. */
export type ProcessCounter = RowsOf<"process">[keyof typeof COUNTERS];
/** Counters that every server has. */
export type ServerCounter = RowsOf<"server">[keyof typeof COUNTERS];

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

const SERVER_ROWS = [...rowsOf("server"), ...FATE_NAMES];
const PROCESS_ROWS = [...rowsOf("process"), ...FATE_NAMES];
const HISTOGRAM_START = PROCESS_ROWS.length;
const SERVERS_START = HISTOGRAM_START + CONNECT_SECONDS_BOUNDS.length + 2; // beyond the last bound, and the sum

const PROCESS_CELL = indexesOf(PROCESS_ROWS, 0);
const SERVER_CELL = indexesOf(SERVER_ROWS, SERVERS_START);

function rowsOf(scope: Scope): string[] {
  return Object.entries(COUNTERS).filter(([, row]) => row.scope === scope).map(([name]) => name);
}

function indexesOf(rows: readonly string[], start: number): Readonly<Record<string, number>> {
  return Object.fromEntries(rows.map((row, index) => [row, start + index]));
}

/** How long connecting took: how many times up to each bound (not cumulative) and beyond the last; and the sum. */
export interface ConnectSeconds {
  readonly counts: readonly number[];
  readonly sum: number;
}

/** The cells. Exact up to 2⁵³. A cell has one writer: one engine, on one thread. */
export class Counters {
  readonly #cells: Float64Array;

  /** `slots`: servers at a time, those that are leaving included. */
  constructor(readonly slots: number = 2 * LIMITS.serversMax) {
    const cells = SERVERS_START + slots * SERVER_ROWS.length;
    this.#cells = new Float64Array(new SharedArrayBuffer(cells * Float64Array.BYTES_PER_ELEMENT));
  }

  add(counter: ProcessCounter, amount = 1): void {
    this.#cells[PROCESS_CELL[counter]] += amount;
  }

  get(counter: ProcessCounter | Fate): number {
    return this.#cells[PROCESS_CELL[counter]];
  }

  addTo(slot: number, counter: ServerCounter, amount = 1): void {
    this.#cells[this.#serverCell(slot, counter)] += amount;
  }

  getOf(slot: number, counter: ServerCounter | Fate): number {
    return this.#cells[this.#serverCell(slot, counter)];
  }

  /** Counts the end of a connection, for the process and, if it had one, for its server. */
  addFate(fate: Fate, slot?: number): void {
    this.#cells[PROCESS_CELL[fate]]++;
    if (slot !== undefined) this.#cells[this.#serverCell(slot, fate)]++;
  }

  addConnectSeconds(seconds: number): void {
    let bucket = 0;
    while (bucket < CONNECT_SECONDS_BOUNDS.length && seconds > CONNECT_SECONDS_BOUNDS[bucket]) bucket++;
    this.#cells[HISTOGRAM_START + bucket]++;
    this.#cells[SERVERS_START - 1] += seconds;
  }

  connectSeconds(): ConnectSeconds {
    return { counts: [...this.#cells.slice(HISTOGRAM_START, SERVERS_START - 1)], sum: this.#cells[SERVERS_START - 1] };
  }

  /** Zeroes a slot for a new server. Its old server's numbers are gone; the process's remain. */
  clearSlot(slot: number): void {
    this.#cells.fill(0, this.#serverCell(slot, SERVER_ROWS[0]), this.#serverCell(slot, SERVER_ROWS[0]) + SERVER_ROWS.length);
  }

  #serverCell(slot: number, row: string): number {
    assert(slot >= 0 && slot < this.slots, `no slot ${slot}`);
    return SERVER_CELL[row] + slot * SERVER_ROWS.length;
  }
}
