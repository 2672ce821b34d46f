/**
 * A worker's reports to main: connections that ended or moved, servers that failed, and clients that a dry run let in. A ring of
 * fixed-size records in shared memory with one writer and one reader; writing allocates nothing and never waits. If the ring is
 * full, further reports are dropped and counted. The counters stay exact in any case.
 */

import { type ConnectionState, type Loss, LOSSES, STATES } from "../../routing/redistribution.ts";
import { type Fate, FATE_NAMES } from "../../values/fates.ts";
import { PORT_MASK, WORD } from "./descriptor_table.ts";

/** Records in a ring. At 20,000 ends per second, main may be busy for 400 ms before records are dropped. */
const RECORDS = 8192;
const RECORD_WORDS = 24;
/**
 * The header: records written and read since the start (modulo 2³²); records dropped; whether main has been woken; and whether an
 * end is being counted whose record is not written yet.
 */
const HEADER_WORDS = 24;
const HEAD = 0;
const TAIL = 1;
const DROPPED = 2;
const AWAKE = 3;
const COUNTING = 4;

const FATE_NUMBERS = Object.fromEntries(FATE_NAMES.map((fate, number) => [fate, number])) as Record<Fate, number>;

/** The kinds of record. */
const KIND = { end: 1, move: 2, failure: 3, refusal: 4 } as const;

/** The words of every record; its three floats begin at word `floats`. */
const AT = { kind: 0, slot: 2, ip: 5, ipLength: 9, port: 10, floats: 12 } as const;
/** Further words of the end of a connection, and the indices of its floats. */
const END_AT = { fate: 1, attempts: 3, errno: 4, moves: 11, sentBytes: 0, receivedBytes: 1, durationMs: 2 } as const;
/** Further words of a move, and the index of its float. Its `slot` is the new server. */
const MOVE_AT = { loss: 1, from: 3, state: 4, replayedBytes: 0 } as const;
const FAILURE_AT = { errno: 4 } as const;

/** A client's row of the descriptor table, or a copy of it. */
export interface ClientRow {
  readonly words: Int32Array;
  readonly row: number;
}

/** The end of a connection, to be written. `slot` is -1 if it had no server; `errno` is 0 if nothing failed. */
export interface EndRecord {
  fate: Fate;
  slot: number;
  errno: number;
  sentBytes: number;
  receivedBytes: number;
  durationMs: number;
}

/** A move of a connection from the server with slot `from` to the server with slot `slot`, to be written. */
export interface MoveRecord {
  slot: number;
  from: number;
  loss: Loss;
  state: ConnectionState;
  replayedBytes: number;
}

/** The end of a connection, as read. Every report is the same object: its values are valid until the next one is read. */
export interface EndReport {
  readonly fate: Fate;
  /** -1: none. */
  readonly slot: number;
  readonly attempts: number;
  readonly moves: number;
  readonly errno: number;
  readonly ip: Uint8Array;
  readonly port: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly durationMs: number;
}

/** A move of a connection, as read. */
export interface MoveReport {
  readonly slot: number;
  readonly from: number;
  readonly loss: Loss;
  readonly state: ConnectionState;
  readonly ip: Uint8Array;
  readonly port: number;
  readonly replayedBytes: number;
}

/** A client that would have been refused, as read. */
export interface RefusalReport {
  readonly fate: Fate;
  readonly ip: Uint8Array;
  readonly port: number;
}

/** The reader's callbacks, one for each kind of report. */
export interface ReportHandlers {
  readonly onEnd: (report: EndReport) => void;
  readonly onMove: (report: MoveReport) => void;
  /** A server did not accept a connection, or is dead. */
  readonly onFailure: (slot: number, errno: number) => void;
  /** A client was let in because of the dry run alone. */
  readonly onRefusal: (report: RefusalReport) => void;
}

/** Allocates the ring of one worker. */
export function allocateReports(): SharedArrayBuffer {
  return new SharedArrayBuffer((HEADER_WORDS + RECORDS * RECORD_WORDS) * 4);
}

/** The worker's end of the ring. */
export class ReportWriter {
  readonly #words: Int32Array;
  readonly #floats: Float64Array;

  /** `wake` wakes main. It is not called again until main has called `sleep`. */
  constructor(shared: SharedArrayBuffer, readonly wake: () => void) {
    this.#words = new Int32Array(shared);
    this.#floats = new Float64Array(shared);
  }

  /** Announces that an end is being counted; until its record is written, main does not take the counters as final. */
  begin(): void {
    Atomics.store(this.#words, COUNTING, 1);
  }

  /** Writes the end of a client's connection. Does not wake main; `publish` does. */
  writeEnd(client: ClientRow, { fate, slot, errno, sentBytes, receivedBytes, durationMs }: EndRecord): void {
    const at = this.#next(KIND.end, slot);
    if (at >= 0) {
      const words = this.#words;
      words[at + END_AT.fate] = FATE_NUMBERS[fate];
      words[at + END_AT.attempts] = client.words[client.row + WORD.attempts];
      words[at + END_AT.moves] = client.words[client.row + WORD.moves];
      words[at + END_AT.errno] = errno;
      const float = (at + AT.floats) >> 1;
      this.#floats[float + END_AT.sentBytes] = sentBytes;
      this.#floats[float + END_AT.receivedBytes] = receivedBytes;
      this.#floats[float + END_AT.durationMs] = durationMs;
      this.#putClient(at, client);
    }
    this.#finish(at);
  }

  /** Writes a move of a client's connection. Does not wake main. */
  writeMove(client: ClientRow, { slot, from, loss, state, replayedBytes }: MoveRecord): void {
    const at = this.#next(KIND.move, slot);
    if (at >= 0) {
      this.#words[at + MOVE_AT.from] = from;
      this.#words[at + MOVE_AT.loss] = LOSSES.indexOf(loss);
      this.#words[at + MOVE_AT.state] = STATES.indexOf(state);
      this.#floats[((at + AT.floats) >> 1) + MOVE_AT.replayedBytes] = replayedBytes;
      this.#putClient(at, client);
    }
    this.#finish(at);
  }

  /** Writes that a server did not accept or is dead, and wakes main. */
  writeFailure(slot: number, errno: number): void {
    const at = this.#next(KIND.failure, slot);
    if (at >= 0) this.#words[at + FAILURE_AT.errno] = errno;
    this.#finish(at);
    this.publish();
  }

  /** Writes that a client would have been refused with this fate, and wakes main. */
  writeRefusal(client: ClientRow, fate: Fate): void {
    const at = this.#next(KIND.refusal, -1);
    if (at >= 0) {
      this.#words[at + END_AT.fate] = FATE_NUMBERS[fate];
      this.#putClient(at, client);
    }
    this.#finish(at);
    this.publish();
  }

  /** Begins a record and returns its first word. If the ring is full, counts the record as dropped and returns -1. */
  #next(kind: number, slot: number): number {
    const words = this.#words;
    const head = Atomics.load(words, HEAD);
    if ((head - Atomics.load(words, TAIL) | 0) >= RECORDS) {
      Atomics.add(words, DROPPED, 1);
      return -1;
    }
    const at = HEADER_WORDS + (head & (RECORDS - 1)) * RECORD_WORDS;
    words[at + AT.kind] = kind;
    words[at + AT.slot] = slot;
    return at;
  }

  #putClient(at: number, { words: from, row }: ClientRow): void {
    const words = this.#words;
    for (let i = 0; i < 4; i++) words[at + AT.ip + i] = from[row + WORD.ip + i];
    words[at + AT.ipLength] = from[row + WORD.ipLength];
    words[at + AT.port] = from[row + WORD.port] & PORT_MASK;
  }

  /** Makes the record visible to the reader, if there is one. */
  #finish(at: number): void {
    if (at >= 0) Atomics.add(this.#words, HEAD, 1);
    Atomics.store(this.#words, COUNTING, 0);
  }

  /** Wakes main, unless it is awake already, to read records or other changes in shared memory. */
  publish(): void {
    if (Atomics.exchange(this.#words, AWAKE, 1) === 0) this.wake();
  }
}

/** Main's end of the ring. */
export class ReportReader {
  readonly #words: Int32Array;
  readonly #end: CurrentEnd;
  readonly #move: CurrentMove;

  constructor(shared: SharedArrayBuffer) {
    this.#words = new Int32Array(shared);
    const views = { words: this.#words, floats: new Float64Array(shared), bytes: new Uint8Array(shared) };
    this.#end = new CurrentEnd(views);
    this.#move = new CurrentMove(views);
  }

  /** Passes every report to the handlers. Returns their number. */
  drain(handlers: ReportHandlers): number {
    const words = this.#words;
    const tail = Atomics.load(words, TAIL);
    const count = Atomics.load(words, HEAD) - tail | 0;
    for (let i = 0; i < count; i++) {
      this.#handOver(HEADER_WORDS + ((tail + i) & (RECORDS - 1)) * RECORD_WORDS, handlers);
      Atomics.store(words, TAIL, tail + i + 1 | 0);
    }
    return count;
  }

  #handOver(at: number, { onEnd, onMove, onFailure, onRefusal }: ReportHandlers): void {
    const kind = this.#words[at + AT.kind];
    if (kind === KIND.end) onEnd(this.#end.of(at));
    else if (kind === KIND.move) onMove(this.#move.of(at));
    else if (kind === KIND.refusal) onRefusal(this.#end.of(at));
    else onFailure(this.#words[at + AT.slot], this.#words[at + FAILURE_AT.errno]);
  }

  /** Whether the worker is counting an end whose record is not written yet. */
  get isCounting(): boolean {
    return Atomics.load(this.#words, COUNTING) !== 0;
  }

  /** Returns and clears the number of dropped reports. */
  takeDropped(): number {
    return Atomics.exchange(this.#words, DROPPED, 0);
  }

  /** Lets the worker wake main again. Call `drain` afterwards, for records that were written just before. */
  sleep(): void {
    Atomics.store(this.#words, AWAKE, 0);
  }
}

/** The ring's memory. */
interface Views {
  readonly words: Int32Array;
  readonly floats: Float64Array;
  readonly bytes: Uint8Array;
}

/** The common part of the reports about connections. */
class CurrentRecord {
  #at = 0;

  constructor(readonly views: Views) {}

  /** Points this report to the record at this word. */
  of(at: number): this {
    this.#at = at;
    return this;
  }

  get slot(): number {
    return this.word(AT.slot);
  }
  get ip(): Uint8Array {
    const start = (this.#at + AT.ip) * 4;
    return this.views.bytes.slice(start, start + this.word(AT.ipLength));
  }
  get port(): number {
    return this.word(AT.port);
  }

  protected word(word: number): number {
    return this.views.words[this.#at + word];
  }

  protected float(float: number): number {
    return this.views.floats[((this.#at + AT.floats) >> 1) + float];
  }
}

class CurrentEnd extends CurrentRecord implements EndReport {
  get fate(): Fate {
    return FATE_NAMES[this.word(END_AT.fate)];
  }
  get attempts(): number {
    return this.word(END_AT.attempts);
  }
  get moves(): number {
    return this.word(END_AT.moves);
  }
  get errno(): number {
    return this.word(END_AT.errno);
  }
  get sentBytes(): number {
    return this.float(END_AT.sentBytes);
  }
  get receivedBytes(): number {
    return this.float(END_AT.receivedBytes);
  }
  get durationMs(): number {
    return this.float(END_AT.durationMs);
  }
}

class CurrentMove extends CurrentRecord implements MoveReport {
  get from(): number {
    return this.word(MOVE_AT.from);
  }
  get loss(): Loss {
    return LOSSES[this.word(MOVE_AT.loss)];
  }
  get state(): ConnectionState {
    return STATES[this.word(MOVE_AT.state)];
  }
  get replayedBytes(): number {
    return this.float(MOVE_AT.replayedBytes);
  }
}
