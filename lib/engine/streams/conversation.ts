/**
 * What a client and its servers have said to each other in one connection of the `streams` engine: the facts that
 * `redistribution.ts` decides by, and a copy of what the client said while it may have to be said again. Knows no sockets.
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

/** Memory that all recordings of an engine share. */
export class RecordingRoom {
  #free: number;

  constructor(bytes: number) {
    this.#free = bytes;
  }

  /** False if there is not so much left. */
  take(bytes: number): boolean {
    if (bytes > this.#free) return false;
    this.#free -= bytes;
    return true;
  }

  give(bytes: number): void {
    this.#free += bytes;
  }
}

/** One connection's conversation. Times are of performance.now. */
export class Conversation {
  #facts = 0;
  readonly #ends = { hasClientEnded: false, hasServerEnded: false };
  #replays = 0;
  #lastActivityMs = performance.now();
  /** Bytes that were read from one side and not taken by the other. */
  #clientUntaken = 0;
  #serverUntaken = 0;
  /** Bytes that an earlier server had, and that the one of now is still to take. */
  #repeatUntaken = 0;
  #recording: Uint8Array = NOTHING;
  #recordedBytes = 0;

  constructor(readonly policy: RedistributionPolicy, readonly counters: Counters, readonly room: RecordingRoom) {}

  /** FACT bits. */
  get facts(): number {
    const { hasClientEnded, hasServerEnded } = this.#ends;
    return factsNow(this.#facts, { isInTransit: this.#isMoving, hasClientEnded, hasServerEnded });
  }

  /** Whether all that the client asks is kept. More than there may be can come while another server is looked for. */
  get isRecorded(): boolean {
    return (this.#facts & FACT.recorded) !== 0;
  }

  /** How often what the client asks has been sent again. */
  get replays(): number {
    return this.#replays;
  }

  /** When something moved last. */
  get lastActivityMs(): number {
    return this.#lastActivityMs;
  }

  get quietForMs(): number {
    return performance.now() - this.#lastActivityMs;
  }

  /** The connection has its first server: it was not quiet until now, it waited. */
  begin(): void {
    this.#lastActivityMs = performance.now();
  }

  clientSaid(chunk: Uint8Array): void {
    if ((this.#facts & FACT.awaitingAnswer) === 0) {
      const quietForMs = this.#isMoving ? 0 : this.quietForMs; // whoever has not taken all yet makes no silence by that
      this.#facts = onClientBytes(this.policy, this.#facts, quietForMs, looksLikeTls(chunk[0], chunk[1]));
    }
    if ((this.#facts & FACT.recorded) !== 0) this.#record(chunk);
    this.#clientUntaken += chunk.length;
    this.#lastActivityMs = performance.now();
  }

  clientEnded(): void {
    this.#ends.hasClientEnded = true;
    this.#lastActivityMs = performance.now();
  }

  serverSaid(chunk: Uint8Array): void {
    this.forget();
    this.#facts = onServerBytes(this.#facts, this.#classify(chunk));
    this.#replays = 0;
    this.#serverUntaken += chunk.length;
    this.#lastActivityMs = performance.now();
  }

  /** The server's end was passed on. */
  serverEnded(): void {
    this.#ends.hasServerEnded = true;
  }

  /** A server took so many bytes of what the client said. */
  serverTook(bytes: number): void {
    this.#facts |= FACT.sent;
    this.#clientUntaken -= bytes;
    this.#lastActivityMs = performance.now();
  }

  /** Another server is to take so many bytes that an earlier one had already. */
  serverMustTakeAgain(bytes: number): void {
    this.#repeatUntaken = bytes;
  }

  /** It took so many of them. */
  serverTookAgain(bytes: number): void {
    this.#repeatUntaken -= bytes;
    this.#lastActivityMs = performance.now();
  }

  clientTook(bytes: number): void {
    this.#serverUntaken -= bytes;
    this.#lastActivityMs = performance.now();
  }

  /** `isWriting`: a write is under way, of which nobody knows what the server has of it. */
  state(isWriting: boolean): ConnectionState {
    return stateOf(this.policy.quietMs, this.#factsIf(isWriting), this.quietForMs);
  }

  /** What is to be done, by how quiet it was so long ago. `isWriting` as for `state`. */
  decide(loss: Loss, isWriting: boolean, agoMs = 0): Verdict {
    return decide(this.policy, loss, this.#factsIf(isWriting), this.quietForMs - agoMs, this.#replays);
  }

  /** Whether a server that has said nothing for `heardForMs`, and whose checks have failed for `silentMs`, has lost the connection. */
  isCutBySilence(heardForMs: number, silentMs: number): boolean {
    return isCutBySilence(this.policy, this.facts, heardForMs, silentMs);
  }

  fateOfCut(loss: Loss): Fate {
    return fateOfCut(this.policy, loss, this.facts, this.quietForMs);
  }

  /** What the next server is to be told before anything else: all that was recorded and that the last one took. */
  repeat(): Uint8Array {
    if ((this.#facts & FACT.recorded) === 0) return NOTHING;
    const bytes = this.#recording.subarray(0, this.#recordedBytes - this.#clientUntaken);
    if (bytes.length > 0) this.#replays++;
    return bytes;
  }

  /** What was recorded is not needed any more. Whoever still writes it has it. */
  forget(): void {
    if (this.#recording.length === 0) return;
    this.room.give(this.#recording.length);
    this.#recording = NOTHING;
    this.#recordedBytes = 0;
  }

  /** Only what answers something can be an interim answer. */
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

  /** False if that is more than there may be. */
  #makeRoom(bytes: number): boolean {
    const before = this.#recording;
    if (bytes <= before.length) return true;
    const { replayBytesMax } = this.policy;
    const size = Math.min(recordingSize(bytes, before.length, replayBytesMax) ?? 0, replayBytesMax);
    if (size === 0 || !this.room.take(size - before.length)) return false;
    this.#recording = new Uint8Array(size); // the old one may be being written
    this.#recording.set(before.subarray(0, this.#recordedBytes));
    return true;
  }
}
