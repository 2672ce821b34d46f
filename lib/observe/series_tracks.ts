/**
 * A service or a server as the series follows it: its columns, and what its counters said when they were last read. What is added
 * to a row is the difference between two readings, so the rows of a counter add up to the counter.
 */

import type { ServerState } from "../routing/availability.ts";
import { FATE_NAMES } from "../values/fates.ts";
import { quantileBucket } from "./connect_times.ts";
import { type Counters, DETAIL } from "./counters.ts";
import { MOVE_CELLS, numberOfState, type Place, ServerColumns, ServiceColumns } from "./series_columns.ts";
import { CUT_FATES } from "./verdict.ts";

/** The part of a whole number that falls to one of several rows. All parts add up to it. */
function partOf(count: number, row: number, rows: number): number {
  return Math.floor(count * (row + 1) / rows) - Math.floor(count * row / rows);
}

/** The counters of a server, as they were read. */
class ServerReading {
  opened = 0;
  sentBytes = 0;
  receivedBytes = 0;
  failures = 0;
  cut = 0;
  /** They wrap at 2³². */
  readonly details = new Uint32Array(DETAIL.cells);

  /** Reads the counters of a slot. Connect times are read only where the server has accepted a connection since `before`. */
  read(counters: Counters, slot: number, before: ServerReading): void {
    this.opened = counters.getOf(slot, "connects");
    this.sentBytes = counters.getOf(slot, "sentBytes");
    this.receivedBytes = counters.getOf(slot, "receivedBytes");
    this.failures = counters.getOf(slot, "connectFailures");
    this.cut = 0;
    for (const fate of CUT_FATES) this.cut += counters.getOf(slot, fate);
    const isQuiet = this.opened === before.opened;
    if (isQuiet) this.details.set(before.details);
    counters.readDetails(slot, this.details, isQuiet ? DETAIL.movedIn : 0);
  }

  /** Takes over what another reading says. */
  set(other: ServerReading): void {
    this.opened = other.opened;
    this.sentBytes = other.sentBytes;
    this.receivedBytes = other.receivedBytes;
    this.failures = other.failures;
    this.cut = other.cut;
    this.details.set(other.details);
  }
}

/** Where the reading of all servers is kept while it is compared. */
const NOW = new ServerReading();
const MORE_DETAILS = new Uint32Array(DETAIL.cells);
const MOVES_AT = DETAIL.movedIn;

/** A server. */
export class ServerTrack {
  columns: ServerColumns;
  /** The number of the last row in which it was there. */
  lastRow = -1;
  readonly #before = new ServerReading();
  /** The last reading of a server that has left, until it is in a row. */
  #last: ServerReading | undefined;
  #open = 0;
  #state: ServerState = "removing";

  constructor(readonly service: string, readonly server: string, rows: number) {
    this.columns = new ServerColumns(rows);
  }

  /** Rows become longer, and each goes where it is told. */
  lengthen(rows: number, places: readonly Place[]): void {
    const columns = new ServerColumns(rows);
    for (const { from, to } of places) columns.add(to, this.columns, from);
    this.columns = columns;
  }

  /** It is gone: reads its counters for the last time, before its slot is another's. */
  leave(counters: Counters, slot: number): void {
    this.#last = new ServerReading();
    this.#last.read(counters, slot, this.#before);
  }

  /** What was counted until now goes into no row. */
  begin(counters: Counters, slot: number): void {
    const nothing = new ServerReading();
    nothing.opened = -1; // so that everything is read
    this.#before.read(counters, slot, nothing);
  }

  /** It is back, with a slot whose counters begin at 0. */
  comeBack(): void {
    this.#before.set(new ServerReading());
  }

  /** Reads the counters, and adds what is new to these rows, as evenly as whole numbers can be. */
  take(counters: Counters, slot: number, state: ServerState, rows: readonly number[]): void {
    NOW.read(counters, slot, this.#before);
    this.#open = counters.getOf(slot, "serverOpen");
    this.#state = state;
    this.#write(NOW, rows);
  }

  /** Adds the last reading of a server that has left to these rows. */
  takeLast(rows: readonly number[]): void {
    this.#open = 0;
    this.#write(this.#last!, rows);
    this.#last = undefined;
  }

  #write(now: ServerReading, rows: readonly number[]): void {
    const { columns } = this;
    const before = this.#before;
    for (let cell = 0; cell < DETAIL.cells; cell++) MORE_DETAILS[cell] = now.details[cell] - before.details[cell]; // modulo 2³²
    for (const [i, row] of rows.entries()) {
      columns.states[row] = numberOfState(this.#state);
      columns.open[row] = this.#open;
      columns.opened[row] += partOf(now.opened - before.opened, i, rows.length);
      columns.sentBytes[row] += partOf(now.sentBytes - before.sentBytes, i, rows.length);
      columns.receivedBytes[row] += partOf(now.receivedBytes - before.receivedBytes, i, rows.length);
      columns.failures[row] += partOf(now.failures - before.failures, i, rows.length);
    }
    if (now.opened !== before.opened) this.#writeTimes(rows);
    this.#writeMoves(rows);
    if (now.cut !== before.cut) this.#writeCuts(now.cut - before.cut, rows);
    before.set(now);
  }

  #writeTimes(rows: readonly number[]): void {
    const { columns } = this;
    let total = 0;
    for (let cell = DETAIL.connectTimes; cell < MOVES_AT; cell++) total += MORE_DETAILS[cell];
    for (const row of rows) {
      columns.p50[row] = quantileBucket(MORE_DETAILS, total, 0.5);
      columns.p99[row] = quantileBucket(MORE_DETAILS, total, 0.99);
    }
  }

  #writeCuts(count: number, rows: readonly number[]): void {
    const cuts = this.columns.needCuts();
    for (const [i, row] of rows.entries()) cuts[row] += partOf(count, i, rows.length);
  }

  #writeMoves(rows: readonly number[]): void {
    for (let cell = 0; cell < MOVE_CELLS; cell++) {
      const count = MORE_DETAILS[MOVES_AT + cell];
      if (count === 0) continue;
      const moves = this.columns.needMoves();
      for (const [i, row] of rows.entries()) moves[row * MOVE_CELLS + cell] += partOf(count, i, rows.length);
    }
  }
}

/** The counters of a service, as they were read; fates in the order of FATE_NAMES. */
interface ServiceReading {
  readonly accepted: number;
  readonly open: number;
  readonly fates: readonly number[];
}

function readService(counters: Counters, index: number): ServiceReading {
  return {
    accepted: counters.getOfService(index, "serviceAccepted"),
    open: counters.getOfService(index, "serviceOpen"),
    fates: FATE_NAMES.map((fate) => counters.getOfService(index, fate)),
  };
}

/** A service. */
export class ServiceTrack {
  columns: ServiceColumns;
  /** The number of the last row in which it was there. */
  lastRow = -1;
  #before: ServiceReading = { accepted: 0, open: 0, fates: FATE_NAMES.map(() => 0) };
  /** The last reading of a service that has left, until it is in a row. */
  #last: ServiceReading | undefined;

  constructor(readonly service: string, rows: number) {
    this.columns = new ServiceColumns(rows);
  }

  /** Rows become longer, and each goes where it is told. */
  lengthen(rows: number, places: readonly Place[]): void {
    const columns = new ServiceColumns(rows);
    for (const { from, to } of places) columns.add(to, this.columns, from);
    this.columns = columns;
  }

  /** What was counted until now goes into no row. */
  begin(counters: Counters, index: number): void {
    this.#before = readService(counters, index);
  }

  /** It is gone: reads its counters for the last time, before its index is another's. */
  leave(counters: Counters, index: number): void {
    this.#last = readService(counters, index);
  }

  /** Reads the counters, and adds what is new to these rows, as evenly as whole numbers can be. */
  take(counters: Counters, index: number, rows: readonly number[]): void {
    this.#write(readService(counters, index), rows);
  }

  /** Adds the last reading of a service that has left to these rows. */
  takeLast(rows: readonly number[]): void {
    this.#write(this.#last!, rows);
    this.#last = undefined;
  }

  #write(now: ServiceReading, rows: readonly number[]): void {
    const { columns } = this;
    const before = this.#before;
    for (const [i, row] of rows.entries()) {
      columns.accepted[row] += partOf(now.accepted - before.accepted, i, rows.length);
      columns.open[row] = now.open;
      for (const [number, fate] of FATE_NAMES.entries()) {
        const more = now.fates[number] - before.fates[number];
        if (more !== 0) columns.addFate(row, fate, partOf(more, i, rows.length));
      }
    }
    this.#before = now;
  }
}
