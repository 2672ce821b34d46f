/**
 * What a worker reports to main: connections that ended, servers that did not take one. A ring of fixed records in shared memory with
 * one writer and one reader: writing allocates nothing and never waits. If main does not come to read for so long that the ring is
 * full, further reports are dropped and counted; the counters are exact all the same.
 */

import { type ConnectionState, type Loss, LOSSES, STATES } from "../../routing/redistribution.ts";
import { type Fate, FATE_NAMES } from "../../values/fates.ts";
import { PORT_MASK, WORD } from "./descriptor_table.ts";

/** Records of a ring: at 20,000 ends a second main may be busy for 400 ms. */
const RECORDS = 8192;
const RECORD_WORDS = 24;
/**
 * Before the first record: how many were written, read and dropped since the beginning (modulo 2³²); whether main was woken; and whether
 * something has been counted, or is being, whose record is still to come.
 */
const HEADER_WORDS = 24;
const HEAD = 0;
const TAIL = 1;
const DROPPED = 2;
const AWAKE = 3;
const COUNTING = 4;

const FATE_NUMBERS = Object.fromEntries(FATE_NAMES.map((fate, number) => [fate, number])) as Record<Fate, number>;

/** What a record tells of. */
const KIND = { end: 1, move: 2, failure: 3 } as const;

/** Where the words of every record are; the three floats begin at word `floats`. */
const AT = { kind: 0, slot: 2, ip: 5, ipLength: 9, port: 10, floats: 12 } as const;
/** Where a connection's end has more, and which float is which. */
const END_AT = { fate: 1, attempts: 3, errno: 4, moves: 11, sentBytes: 0, receivedBytes: 1, durationMs: 2 } as const;
/** The same of a move: `slot` is the server it went to. */
const MOVE_AT = { loss: 1, from: 3, state: 4, replayedBytes: 0 } as const;
const FAILURE_AT = { errno: 4 } as const;

/** Who a client is, as words of a row of the descriptor table. */
export interface ClientRow {
  readonly words: Int32Array;
  readonly row: number;
}

/** The end of a connection, to be written. `slot` is -1 where it had no server; `errno` 0 where nothing failed. */
export interface EndRecord {
  fate: Fate;
  slot: number;
  errno: number;
  sentBytes: number;
  receivedBytes: number;
  durationMs: number;
}

/** A connection that went from the server with slot `from` to the one with slot `slot`, to be written. */
export interface MoveRecord {
  slot: number;
  from: number;
  loss: Loss;
  state: ConnectionState;
  replayedBytes: number;
}

/** The end of a connection, as it is read. Like the others it is one object for all: what it says holds until the next is taken. */
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

/** A move, as it is read. */
export interface MoveReport {
  readonly slot: number;
  readonly from: number;
  readonly loss: Loss;
  readonly state: ConnectionState;
  readonly ip: Uint8Array;
  readonly port: number;
  readonly replayedBytes: number;
}

/** What the reader does with each kind of report. */
export interface ReportHandlers {
  readonly onEnd: (report: EndReport) => void;
  readonly onMove: (report: MoveReport) => void;
  /** A server did not accept a connection, or was found dead. */
  readonly onFailure: (slot: number, errno: number) => void;
}

/** Memory for one worker's reports. */
export function allocateReports(): SharedArrayBuffer {
  return new SharedArrayBuffer((HEADER_WORDS + RECORDS * RECORD_WORDS) * 4);
}

/** The writing end. */
export class ReportWriter {
  readonly #words: Int32Array;
  readonly #floats: Float64Array;

  /** `wake` tells main that there is something to read; it is called once until main has read. */
  constructor(shared: SharedArrayBuffer, readonly wake: () => void) {
    this.#words = new Int32Array(shared);
    this.#floats = new Float64Array(shared);
  }

  /** What is counted from now on has its record to come: until then nobody takes the counts for the whole truth. */
  begin(): void {
    Atomics.store(this.#words, COUNTING, 1);
  }

  /** Writes the end of a client's connection. Not seen as news before `publish`. */
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

  /** Writes that a client's connection has moved. */
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

  /** Writes that a server did not accept, or was found dead, and wakes main. */
  writeFailure(slot: number, errno: number): void {
    const at = this.#next(KIND.failure, slot);
    if (at >= 0) this.#words[at + FAILURE_AT.errno] = errno;
    this.#finish(at);
    this.publish();
  }

  /** Where the next record begins; -1, and it is counted as dropped, if the ring is full. */
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

  /** The record is whole. */
  #finish(at: number): void {
    if (at >= 0) Atomics.add(this.#words, HEAD, 1);
    Atomics.store(this.#words, COUNTING, 0);
  }

  /** Wakes main, if it is not awake, for what was written or changed elsewhere in shared memory. */
  publish(): void {
    if (Atomics.exchange(this.#words, AWAKE, 1) === 0) this.wake();
  }
}

/** The reading end. */
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

  /** Hands over every report there is, and gives their number. */
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

  #handOver(at: number, { onEnd, onMove, onFailure }: ReportHandlers): void {
    const kind = this.#words[at + AT.kind];
    if (kind === KIND.end) onEnd(this.#end.of(at));
    else if (kind === KIND.move) onMove(this.#move.of(at));
    else onFailure(this.#words[at + AT.slot], this.#words[at + FAILURE_AT.errno]);
  }

  /** Whether something is counted of which there is no record yet. */
  get isCounting(): boolean {
    return Atomics.load(this.#words, COUNTING) !== 0;
  }

  /** Reports that were dropped since this was last asked. */
  takeDropped(): number {
    return Atomics.exchange(this.#words, DROPPED, 0);
  }

  /** From now on the worker wakes main again. Whoever calls it drains once more afterwards. */
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

/** What records of both kinds of connections say. */
class CurrentRecord {
  #at = 0;

  constructor(readonly views: Views) {}

  /** Tells of the record that begins there from now on. */
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
