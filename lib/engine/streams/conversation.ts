/**
 * The exchange between a client and its servers in one connection of the `streams` engine: the facts that `redistribution.ts` uses,
 * and a recording of the client's bytes while they may have to be replayed. Knows no sockets.
 */

import { recordingSize } from "../recording.ts";
import type { Counters } from "../../observe/counters.ts";
import type { Fate } from "../../values/fates.ts";
import { ANSWER, classifyAnswer } from "../../routing/http_answer.ts";
import {
  type ConnectionState,
  decide,
  FACT,
  factsNow,
  fateOfCut,
  forgetRecording,
  type Hindrance,
  hindranceOf,
  isCutBySilence,
  looksLikeTls,
  type Loss,
  onClientBytes,
  onServerBytes,
  progressOf,
  type RedistributionPolicy,
  stateOf,
  type Verdict,
} from "../../routing/redistribution.ts";

const NOTHING = new Uint8Array(0);

/** The memory limit that all recordings of an engine share. */
export class RecordingRoom {
  #free: number;

  constructor(bytes: number) {
    this.#free = bytes;
  }

  /** Reserves this many bytes. False: not enough is left. */
  take(bytes: number): boolean {
    if (bytes > this.#free) return false;
    this.#free -= bytes;
    return true;
  }

  give(bytes: number): void {
    this.#free += bytes;
  }
}

/** The exchange of one connection. Times are by performance.now. */
export class Conversation {
  #facts = 0;
  readonly #ends = { hasClientEnded: false, hasServerEnded: false };
  #replays = 0;
  #lastActivityMs = performance.now();
  /** Bytes that were read from the client, or from the server, and not yet written to the other side. */
  #clientUntaken = 0;
  #serverUntaken = 0;
  /** Bytes still to be replayed to the current server. */
  #repeatUntaken = 0;
  #recording: Uint8Array = NOTHING;
  #recordedBytes = 0;

  /** `policyOf` gives the policy that holds now. */
  constructor(readonly policyOf: () => RedistributionPolicy, readonly counters: Counters, readonly room: RecordingRoom) {}

  /** FACT bits. */
  get facts(): number {
    const { hasClientEnded, hasServerEnded } = this.#ends;
    return factsNow(this.#facts, { isInTransit: this.#isMoving, hasClientEnded, hasServerEnded });
  }

  /** Whether the whole request is recorded. During a search the client may send more than fits into the recording. */
  get isRecorded(): boolean {
    return (this.#facts & FACT.recorded) !== 0;
  }

  /** How often the request has been replayed. */
  get replays(): number {
    return this.#replays;
  }

  /** When bytes were last relayed. */
  get lastActivityMs(): number {
    return this.#lastActivityMs;
  }

  get quietForMs(): number {
    return performance.now() - this.#lastActivityMs;
  }

  /** The connection has its first server. The time until now was waiting, not quiet. */
  begin(): void {
    this.#lastActivityMs = performance.now();
  }

  clientSaid(chunk: Uint8Array): void {
    if ((this.#facts & FACT.awaitingAnswer) === 0) {
      const quietForMs = this.#isMoving ? 0 : this.quietForMs; // a side that has not received everything yet is not quiet
      this.#facts = onClientBytes(this.policyOf(), this.#facts, quietForMs, looksLikeTls(chunk[0], chunk[1]));
    }
    if ((this.#facts & FACT.recorded) !== 0) this.#record(chunk);
    this.#clientUntaken += chunk.length;
    this.#lastActivityMs = performance.now();
  }

  clientEnded(): void {
    this.#ends.hasClientEnded = true;
    this.#lastActivityMs = performance.now();
  }

  /** Bytes of the server were read. `isWriting`: bytes of the client are being written to it. */
  serverSaid(chunk: Uint8Array, isWriting: boolean): void {
    this.forget();
    this.#facts = onServerBytes(isWriting ? this.#facts | FACT.sent : this.#facts, this.#classify(chunk));
    this.#replays = 0;
    this.#serverUntaken += chunk.length;
    this.#lastActivityMs = performance.now();
  }

  /** The server's FIN was passed on. */
  serverEnded(): void {
    this.#ends.hasServerEnded = true;
  }

  /** This many of the client's bytes were written to the server. */
  serverTook(bytes: number): void {
    this.#facts |= FACT.sent;
    this.#clientUntaken -= bytes;
    this.#lastActivityMs = performance.now();
  }

  /** This many bytes are to be replayed to another server. */
  serverMustTakeAgain(bytes: number): void {
    this.#repeatUntaken = bytes;
  }

  /** This many replayed bytes were written. */
  serverTookAgain(bytes: number): void {
    this.#repeatUntaken -= bytes;
    this.#lastActivityMs = performance.now();
  }

  clientTook(bytes: number): void {
    this.#serverUntaken -= bytes;
    this.#lastActivityMs = performance.now();
  }

  /** The state of the exchange. `isWriting`: a write is under way, and the server may have received part of it. */
  state(isWriting: boolean): ConnectionState {
    return stateOf(this.policyOf().quietMs, this.#factsIf(isWriting), this.quietForMs);
  }

  /** The verdict after this loss, based on how long the connection had been quiet `agoMs` ago. `isWriting` as for `state`. */
  decide(loss: Loss, isWriting: boolean, agoMs = 0): Verdict {
    return decide(this.policyOf(), loss, this.#factsIf(isWriting), this.quietForMs - agoMs, this.#replays);
  }

  /** Why the connection may not leave a server that serves; undefined: it may. `isWriting` as for `state`. */
  hindrance(isWriting: boolean): Hindrance | undefined {
    return hindranceOf(this.policyOf(), this.#factsIf(isWriting), this.quietForMs, this.#replays);
  }

  /**
   * Whether to cut the connection: its server has sent nothing for `heardForMs`, and the server's checks have failed for
   * `silentMs`.
   */
  isCutBySilence(heardForMs: number, silentMs: number): boolean {
    return isCutBySilence(this.policyOf(), this.facts, heardForMs, silentMs);
  }

  fateOfCut(loss: Loss): Fate {
    return fateOfCut(this.policyOf(), loss, this.facts, this.quietForMs);
  }

  /** The bytes to replay to the next server before anything else: the recorded bytes that were written to the previous one. */
  repeat(): Uint8Array {
    if ((this.#facts & FACT.recorded) === 0) return NOTHING;
    const bytes = this.#recording.subarray(0, this.#recordedBytes - this.#clientUntaken);
    if (bytes.length > 0) this.#replays++;
    return bytes;
  }

  /** Drops the recording. A write still under way keeps its own reference to the bytes. */
  forget(): void {
    if (this.#recording.length === 0) return;
    this.room.give(this.#recording.length);
    this.#recording = NOTHING;
    this.#recordedBytes = 0;
  }

  /** Classifies bytes of the server. Only the answer to a request can be an interim answer. */
  #classify(chunk: Uint8Array): number {
    return (this.#facts & FACT.awaitingAnswer) === 0 ? ANSWER : classifyAnswer(chunk, chunk.length, progressOf(this.#facts));
  }

  get #isMoving(): boolean {
    return this.#clientUntaken + this.#serverUntaken + this.#repeatUntaken > 0;
  }

  #factsIf(isWriting: boolean): number {
    return isWriting ? this.facts | FACT.sent : this.facts;
  }

  #record(chunk: Uint8Array): void {
    if (this.#makeRoom(this.#recordedBytes + chunk.length)) {
      this.#recording.set(chunk, this.#recordedBytes);
      this.#recordedBytes += chunk.length;
      return;
    }
    this.forget();
    this.#facts = forgetRecording(this.#facts);
    this.counters.add("replayOverflows");
  }

  /** Makes room for `bytes`. False: a limit would be exceeded. */
  #makeRoom(bytes: number): boolean {
    const before = this.#recording;
    if (bytes <= before.length) return true;
    const { replayBytesMax } = this.policyOf();
    const size = Math.min(recordingSize(bytes, before.length, replayBytesMax) ?? 0, replayBytesMax);
    if (size === 0 || !this.room.take(size - before.length)) return false;
    this.#recording = new Uint8Array(size); // a write of the old one may still be under way
    this.#recording.set(before.subarray(0, this.#recordedBytes));
    return true;
  }
}
