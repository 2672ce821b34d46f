/**
 * What a worker reports to main: connections that ended, servers that did not take one. A ring of fixed records in shared memory with
 * one writer and one reader: writing allocates nothing and never waits. If main does not come to read for so long that the ring is
 * full, further reports are dropped and counted; the counters are exact all the same.
 */

import { type ConnectionState, type Loss, LOSSES, STATES } from "../../routing/redistribution.ts";

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

/** What a report is of. */
export const REPORT = {
  ended: 1,
  /** A server did not take a connection, or was found dead. */
  serverFailed: 2,
  /** A connection went to the server `slot`: `attempts` is the slot it left, `moves` how (see `encodeMove`), `sentBytes` what was replayed. */
  moved: 3,
} as const;

/** Where a record's words are; the three floats begin at word `floats`. */
const AT = { kind: 0, fate: 1, slot: 2, attempts: 3, errno: 4, ip: 5, ipLength: 9, port: 10, moves: 11, floats: 12 } as const;

/** A report as it is read. It is one object for all reports: what it says holds until the next one is taken. */
export interface Report {
  readonly kind: number;
  /** The number of the fate in FATE_NAMES. */
  readonly fate: number;
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

/** Memory for one worker's reports. */
export function allocateReports(): SharedArrayBuffer {
  return new SharedArrayBuffer((HEADER_WORDS + RECORDS * RECORD_WORDS) * 4);
}

const LOSS_SHIFT = 8;

/** How a connection moved, as a number. */
export function encodeMove(loss: Loss, state: ConnectionState): number {
  return LOSSES.indexOf(loss) << LOSS_SHIFT | STATES.indexOf(state);
}

/** The opposite of `encodeMove`. */
export function decodeMove(code: number): { loss: Loss; state: ConnectionState } {
  return { loss: LOSSES[code >> LOSS_SHIFT], state: STATES[code & (1 << LOSS_SHIFT) - 1] };
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

  /**
   * Writes a record; the IP address is `ipLength` bytes in the words of `row` from `ipWord` on. Not seen as news before `publish`.
   */
  write(
    kind: number,
    fate: number,
    slot: number,
    attempts: number,
    moves: number,
    errno: number,
    row: Int32Array,
    ipWord: number,
    ipLength: number,
    port: number,
    sentBytes: number,
    receivedBytes: number,
    durationMs: number,
  ): void {
    const words = this.#words;
    const head = Atomics.load(words, HEAD);
    if ((head - Atomics.load(words, TAIL) | 0) >= RECORDS) {
      Atomics.add(words, DROPPED, 1);
      Atomics.store(words, COUNTING, 0);
      return;
    }
    const at = HEADER_WORDS + (head & (RECORDS - 1)) * RECORD_WORDS;
    words[at + AT.kind] = kind;
    words[at + AT.fate] = fate;
    words[at + AT.slot] = slot;
    words[at + AT.attempts] = attempts;
    words[at + AT.moves] = moves;
    words[at + AT.errno] = errno;
    for (let i = 0; i < 4; i++) words[at + AT.ip + i] = row[ipWord + i];
    words[at + AT.ipLength] = ipLength;
    words[at + AT.port] = port;
    const float = (at + AT.floats) >> 1;
    this.#floats[float] = sentBytes;
    this.#floats[float + 1] = receivedBytes;
    this.#floats[float + 2] = durationMs;
    Atomics.store(words, HEAD, head + 1 | 0);
    Atomics.store(words, COUNTING, 0);
  }

  /** Wakes main, if it is not awake, for what was written or changed elsewhere in shared memory. */
  publish(): void {
    if (Atomics.exchange(this.#words, AWAKE, 1) === 0) this.wake();
  }
}

/** The reading end. */
export class ReportReader {
  readonly #words: Int32Array;
  readonly #report: CurrentReport;

  constructor(shared: SharedArrayBuffer) {
    this.#words = new Int32Array(shared);
    this.#report = new CurrentReport(this.#words, new Float64Array(shared), new Uint8Array(shared));
  }

  /** Takes every report there is, and gives their number. */
  drain(take: (report: Report) => void): number {
    const words = this.#words;
    const tail = Atomics.load(words, TAIL);
    const count = Atomics.load(words, HEAD) - tail | 0;
    for (let i = 0; i < count; i++) {
      this.#report.at = HEADER_WORDS + ((tail + i) & (RECORDS - 1)) * RECORD_WORDS;
      take(this.#report);
      Atomics.store(words, TAIL, tail + i + 1 | 0);
    }
    return count;
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

class CurrentReport implements Report {
  /** The record's first word. */
  at = 0;

  constructor(readonly words: Int32Array, readonly floats: Float64Array, readonly bytes: Uint8Array) {}

  get kind() {
    return this.words[this.at + AT.kind];
  }
  get fate() {
    return this.words[this.at + AT.fate];
  }
  get slot() {
    return this.words[this.at + AT.slot];
  }
  get attempts() {
    return this.words[this.at + AT.attempts];
  }
  get moves() {
    return this.words[this.at + AT.moves];
  }
  get errno() {
    return this.words[this.at + AT.errno];
  }
  get ip() {
    const start = (this.at + AT.ip) * 4;
    return this.bytes.slice(start, start + this.words[this.at + AT.ipLength]);
  }
  get port() {
    return this.words[this.at + AT.port];
  }
  get sentBytes() {
    return this.floats[(this.at + AT.floats) >> 1];
  }
  get receivedBytes() {
    return this.floats[((this.at + AT.floats) >> 1) + 1];
  }
  get durationMs() {
    return this.floats[((this.at + AT.floats) >> 1) + 2];
  }
}
