/**
 * A worker's reports to main: connections that began, moved, ended, or stay although a person wanted to move them, their PROXY
 * headers and hellos, servers that failed, and clients that a dry run let in. A ring of fixed-size records in shared memory with
 * one writer and one reader; writing allocates nothing and never waits. If the ring is full, further reports are dropped and
 * counted. The counters stay exact in any case.
 */

import { type ConnectionState, type Loss, LOSSES, STATES } from "../../routing/redistribution.ts";
import { STAY_REASONS, type StayReason } from "../../routing/stays.ts";
import { type Fate, FATE_NAMES } from "../../values/fates.ts";
import { IP_LENGTH_MASK, LISTENER_SHIFT, MOVES_MASK, PORT_MASK, SERVICE_SHIFT, WORD } from "./descriptor_table.ts";

/** Records in a ring. At 20,000 ends per second, main may be busy for 400 ms before records are dropped. */
const RECORDS = 8192;
const RECORD_WORDS = 28;
/**
 * The header: records written and read since the start (modulo 2³²); records dropped; whether main has been woken; whether an end
 * is being counted whose record is not written yet; and, of the records dropped, the ends and beginnings.
 */
const HEADER_WORDS = 24;
const HEAD = 0;
const TAIL = 1;
const DROPPED = 2;
const AWAKE = 3;
const COUNTING = 4;
const UNREPORTED = 5;

const FATE_NUMBERS = Object.fromEntries(FATE_NAMES.map((fate, number) => [fate, number])) as Record<Fate, number>;

/** The kinds of record. */
const KIND = { end: 1, move: 2, failure: 3, refusal: 4, start: 5, header: 6, reason: 7, hello: 8, stay: 9 } as const;

/** The words of every record; its floats begin at word `floats`, and the first one is the id of the connection. */
const AT = { kind: 0, slot: 2, ip: 5, ipLength: 9, port: 10, floats: 12, id: 0 } as const;
/** Further words of the end of a connection, and the indices of its floats. */
const END_AT = {
  fate: 1,
  attempts: 3,
  errno: 4,
  /** In the lower half the number of moves, and from bit FIRST_SHIFT on who ended first. */
  moves: 11,
  sentBytes: 1,
  receivedBytes: 2,
  durationMs: 3,
  acceptedAt: 4,
  endedAt: 5,
  connectMs: 6,
} as const;
/** Further words of a move, and the indices of its floats. Its `slot` is the new server. */
const MOVE_AT = { loss: 1, from: 3, state: 4, replayedBytes: 1, movedAt: 2 } as const;
/** The index of the float of a beginning. */
const START_AT = { acceptedAt: 1 } as const;
const FAILURE_AT = { errno: 4 } as const;
/** The word of a connection that stays: the index of the reason in STAY_REASONS, or GONE. */
const STAY_AT = { reason: 1 } as const;
/** There is no such connection any more. */
const GONE = -1;
/** The word with the number of bytes, of a PROXY header or a reason, and the first word with bytes. */
const PART_AT = { length: 1, bytes: 14 } as const;
/** The bytes in one record. More take several. */
const PART_BYTES = (RECORD_WORDS - PART_AT.bytes) * 4;

const FIRST_SHIFT = 16;

/** Which side of a connection ended first. */
export const FIRST_END = { none: 0, client: 1, server: 2 } as const;
export type FirstEnd = typeof FIRST_END[keyof typeof FIRST_END];

/** A client's row of the descriptor table, or a copy of it. */
export interface ClientRow {
  readonly words: Int32Array;
  readonly row: number;
}

/**
 * The end of a connection, to be written. `slot` is -1 if it had no server; `errno` is 0 if nothing failed. The last three are NaN
 * if they are not known.
 */
export interface EndRecord {
  id: number;
  fate: Fate;
  slot: number;
  errno: number;
  first: FirstEnd;
  sentBytes: number;
  receivedBytes: number;
  durationMs: number;
  acceptedAt: number;
  endedAt: number;
  connectMs: number;
}

/** A move of a connection from the server with slot `from` to the server with slot `slot`, to be written. */
export interface MoveRecord {
  id: number;
  slot: number;
  from: number;
  loss: Loss;
  state: ConnectionState;
  replayedBytes: number;
  /** NaN if it is not known. */
  movedAt: number;
}

/** What every report about a connection says. Each is the same object: its values are valid until the next one is read. */
interface ConnectionReport {
  readonly id: number;
  readonly ip: Uint8Array;
  readonly port: number;
  readonly service: number;
}

/** The beginning of a connection, as read. */
export interface StartReport extends ConnectionReport {
  readonly listener: number;
  readonly acceptedAt: number;
}

/** The end of a connection, as read. */
export interface EndReport extends ConnectionReport {
  readonly fate: Fate;
  readonly listener: number;
  /** -1: none. */
  readonly slot: number;
  readonly attempts: number;
  readonly moves: number;
  readonly errno: number;
  readonly first: FirstEnd;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly durationMs: number;
  readonly acceptedAt: number;
  readonly endedAt: number;
  readonly connectMs: number;
}

/** A move of a connection, as read. */
export interface MoveReport extends ConnectionReport {
  readonly slot: number;
  readonly from: number;
  readonly loss: Loss;
  readonly state: ConnectionState;
  readonly replayedBytes: number;
  readonly movedAt: number;
}

/** A connection that a person wanted to move, as read: why it stays; undefined: it has ended already. */
export interface StayReport {
  readonly id: number;
  readonly reason: StayReason | undefined;
}

/** A PROXY header, or a part of it, as read: the address of the peer that sent it, and TLVs. */
export interface HeaderReport extends ConnectionReport {
  readonly tlvs: Uint8Array;
}

/** Why a connection is about to end, or what its hello said, or a part of it, as read: a character for each byte. */
export interface TextReport extends ConnectionReport {
  readonly text: string;
}

/** A client that would have been refused, as read. */
export interface RefusalReport {
  readonly fate: Fate;
  readonly ip: Uint8Array;
  readonly port: number;
  readonly service: number;
}

/** The reader's callbacks, one for each kind of report. */
export interface ReportHandlers {
  readonly onStart: (report: StartReport) => void;
  readonly onEnd: (report: EndReport) => void;
  readonly onMove: (report: MoveReport) => void;
  readonly onStay: (report: StayReport) => void;
  /** Called for each part of a header. */
  readonly onHeader: (report: HeaderReport) => void;
  /** Called for each part of the TLVs that say what a hello asked for. */
  readonly onHello: (report: TextReport) => void;
  /** Called for each part of a reason, and then for the end of its connection, unless that was dropped. */
  readonly onReason: (report: TextReport) => void;
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
  readonly #bytes: Uint8Array;

  /** `wake` wakes main. It is not called again until main has called `sleep`. */
  constructor(shared: SharedArrayBuffer, readonly wake: () => void) {
    this.#words = new Int32Array(shared);
    this.#floats = new Float64Array(shared);
    this.#bytes = new Uint8Array(shared);
  }

  /** Announces that an end is being counted; until its record is written, main does not take the counters as final. */
  begin(): void {
    Atomics.store(this.#words, COUNTING, 1);
  }

  /** Writes the end of a client's connection. Does not wake main; `publish` does. */
  writeEnd(client: ClientRow, end: EndRecord): void {
    const at = this.#next(KIND.end, end.slot);
    if (at >= 0) {
      const words = this.#words;
      const floats = this.#floats;
      words[at + END_AT.fate] = FATE_NUMBERS[end.fate];
      words[at + END_AT.attempts] = client.words[client.row + WORD.attempts];
      words[at + END_AT.moves] = client.words[client.row + WORD.moves] & MOVES_MASK | end.first << FIRST_SHIFT;
      words[at + END_AT.errno] = end.errno;
      const float = (at + AT.floats) >> 1;
      floats[float + END_AT.sentBytes] = end.sentBytes;
      floats[float + END_AT.receivedBytes] = end.receivedBytes;
      floats[float + END_AT.durationMs] = end.durationMs;
      floats[float + END_AT.acceptedAt] = end.acceptedAt;
      floats[float + END_AT.endedAt] = end.endedAt;
      floats[float + END_AT.connectMs] = end.connectMs;
      this.#putClient(at, client, end.id);
    }
    this.#finish(at);
  }

  /** Writes the beginning of a client's connection. Does not wake main. */
  writeStart(client: ClientRow, id: number, acceptedAt: number): void {
    const at = this.#next(KIND.start, -1);
    if (at >= 0) {
      this.#floats[((at + AT.floats) >> 1) + START_AT.acceptedAt] = acceptedAt;
      this.#putClient(at, client, id);
    }
    this.#finish(at);
  }

  /** Writes a move of a client's connection. Does not wake main. */
  writeMove(client: ClientRow, { id, slot, from, loss, state, replayedBytes, movedAt }: MoveRecord): void {
    const at = this.#next(KIND.move, slot);
    if (at >= 0) {
      this.#words[at + MOVE_AT.from] = from;
      this.#words[at + MOVE_AT.loss] = LOSSES.indexOf(loss);
      this.#words[at + MOVE_AT.state] = STATES.indexOf(state);
      this.#floats[((at + AT.floats) >> 1) + MOVE_AT.replayedBytes] = replayedBytes;
      this.#floats[((at + AT.floats) >> 1) + MOVE_AT.movedAt] = movedAt;
      this.#putClient(at, client, id);
    }
    this.#finish(at);
  }

  /** Writes why a connection that was to move stays, and wakes main; without a reason, that it has ended already. */
  writeStay(id: number, reason: StayReason | undefined): void {
    const at = this.#next(KIND.stay, -1);
    if (at >= 0) {
      this.#words[at + STAY_AT.reason] = reason === undefined ? GONE : STAY_REASONS.indexOf(reason);
      this.#floats[((at + AT.floats) >> 1) + AT.id] = id;
    }
    this.#finish(at);
    this.publish();
  }

  /** Writes the TLVs of a PROXY header, which came from the address in the client's row. Does not wake main. */
  writeHeader(client: ClientRow, id: number, tlvs: Uint8Array): void {
    this.#writeParts(KIND.header, client, id, tlvs);
  }

  /** Writes the TLVs that say what a client's hello asked for. Does not wake main. */
  writeHello(client: ClientRow, id: number, tlvs: Uint8Array): void {
    this.#writeParts(KIND.hello, client, id, tlvs);
  }

  /** Writes why a connection is about to end, where no errno says it. Does not wake main. */
  writeReason(client: ClientRow, id: number, reason: string): void {
    this.#writeParts(KIND.reason, client, id, Uint8Array.from(reason, (character) => character.charCodeAt(0)));
  }

  #writeParts(kind: number, client: ClientRow, id: number, bytes: Uint8Array): void {
    let from = 0;
    do {
      const part = bytes.subarray(from, from + PART_BYTES);
      const at = this.#next(kind, -1);
      if (at >= 0) {
        this.#words[at + PART_AT.length] = part.length;
        this.#bytes.set(part, (at + PART_AT.bytes) * 4);
        this.#putClient(at, client, id);
      }
      this.#finish(at);
      from += PART_BYTES;
    } while (from < bytes.length);
  }

  /** Writes that a server did not accept or is dead, and wakes main. */
  writeFailure(slot: number, errno: number): void {
    const at = this.#next(KIND.failure, slot);
    if (at >= 0) this.#words[at + FAILURE_AT.errno] = errno;
    this.#finish(at);
    this.publish();
  }

  /** Writes that a client would have been refused with this fate, and wakes main. */
  writeRefusal(client: ClientRow, id: number, fate: Fate): void {
    const at = this.#next(KIND.refusal, -1);
    if (at >= 0) {
      this.#words[at + END_AT.fate] = FATE_NUMBERS[fate];
      this.#putClient(at, client, id);
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
      if (kind === KIND.end || kind === KIND.start) Atomics.add(words, UNREPORTED, 1);
      return -1;
    }
    const at = HEADER_WORDS + (head & (RECORDS - 1)) * RECORD_WORDS;
    words[at + AT.kind] = kind;
    words[at + AT.slot] = slot;
    return at;
  }

  #putClient(at: number, { words: from, row }: ClientRow, id: number): void {
    const words = this.#words;
    this.#floats[((at + AT.floats) >> 1) + AT.id] = id;
    for (let i = 0; i < 4; i++) words[at + AT.ip + i] = from[row + WORD.ip + i];
    words[at + AT.ipLength] = from[row + WORD.ipLength];
    words[at + AT.port] = from[row + WORD.port];
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
  readonly #start: CurrentStart;
  readonly #header: CurrentHeader;
  readonly #text: CurrentText;
  readonly #end: CurrentEnd;
  readonly #move: CurrentMove;
  readonly #stay: CurrentStay;

  constructor(shared: SharedArrayBuffer) {
    this.#words = new Int32Array(shared);
    const views = { words: this.#words, floats: new Float64Array(shared), bytes: new Uint8Array(shared) };
    this.#start = new CurrentStart(views);
    this.#header = new CurrentHeader(views);
    this.#text = new CurrentText(views);
    this.#end = new CurrentEnd(views);
    this.#move = new CurrentMove(views);
    this.#stay = new CurrentStay(views);
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

  #handOver(at: number, handlers: ReportHandlers): void {
    const { onStart, onEnd, onMove, onStay, onHeader, onHello, onReason, onFailure, onRefusal } = handlers;
    const kind = this.#words[at + AT.kind];
    if (kind === KIND.end) onEnd(this.#end.of(at));
    else if (kind === KIND.move) onMove(this.#move.of(at));
    else if (kind === KIND.start) onStart(this.#start.of(at));
    else if (kind === KIND.header) onHeader(this.#header.of(at));
    else if (kind === KIND.reason) onReason(this.#text.of(at));
    else if (kind === KIND.hello) onHello(this.#text.of(at));
    else if (kind === KIND.refusal) onRefusal(this.#end.of(at));
    else if (kind === KIND.stay) onStay(this.#stay.of(at));
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

  /** Returns and clears the number of ends and beginnings among the dropped reports. */
  takeUnreported(): number {
    return Atomics.exchange(this.#words, UNREPORTED, 0);
  }

  /** Lets the worker wake main again. Call `drain` afterwards, for records that were written just before. */
  sleep(): void {
    Atomics.store(this.#words, AWAKE, 0);
  }
}

const NO_IP = new Uint8Array(0);

/** The ring's memory. */
interface Views {
  readonly words: Int32Array;
  readonly floats: Float64Array;
  readonly bytes: Uint8Array;
}

/** The common part of the reports about connections. */
class CurrentRecord {
  #at = 0;
  /** Memory for the client's address: `slice` would take as long as all else that is done for a line of the access log. */
  readonly #ip4 = new Uint8Array(4);
  readonly #ip6 = new Uint8Array(16);

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
    const length = this.word(AT.ipLength) & IP_LENGTH_MASK;
    const ip = length === 4 ? this.#ip4 : length === 16 ? this.#ip6 : NO_IP;
    for (let i = 0; i < length; i++) ip[i] = this.views.bytes[start + i];
    return ip;
  }
  get port(): number {
    return this.word(AT.port) & PORT_MASK;
  }
  get listener(): number {
    return this.word(AT.port) >>> LISTENER_SHIFT;
  }
  get service(): number {
    return this.word(AT.ipLength) >> SERVICE_SHIFT;
  }
  get id(): number {
    return this.float(AT.id);
  }

  protected word(word: number): number {
    return this.views.words[this.#at + word];
  }

  /** A copy of bytes that begin at this word. */
  protected bytes(word: number, length: number): Uint8Array {
    return this.views.bytes.slice((this.#at + word) * 4, (this.#at + word) * 4 + length);
  }

  protected float(float: number): number {
    return this.views.floats[((this.#at + AT.floats) >> 1) + float];
  }
}

class CurrentStart extends CurrentRecord implements StartReport {
  get acceptedAt(): number {
    return this.float(START_AT.acceptedAt);
  }
}

class CurrentHeader extends CurrentRecord implements HeaderReport {
  get tlvs(): Uint8Array {
    return this.bytes(PART_AT.bytes, this.word(PART_AT.length));
  }
}

class CurrentText extends CurrentRecord implements TextReport {
  get text(): string {
    return String.fromCharCode(...this.bytes(PART_AT.bytes, this.word(PART_AT.length)));
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
    return this.word(END_AT.moves) & MOVES_MASK;
  }
  get first(): FirstEnd {
    return this.word(END_AT.moves) >>> FIRST_SHIFT as FirstEnd;
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
  get acceptedAt(): number {
    return this.float(END_AT.acceptedAt);
  }
  get endedAt(): number {
    return this.float(END_AT.endedAt);
  }
  get connectMs(): number {
    return this.float(END_AT.connectMs);
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
  get movedAt(): number {
    return this.float(MOVE_AT.movedAt);
  }
}

class CurrentStay extends CurrentRecord implements StayReport {
  get reason(): StayReason | undefined {
    return STAY_REASONS[this.word(STAY_AT.reason)]; // undefined for GONE
  }
}
