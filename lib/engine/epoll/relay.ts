/**
 * Relays bytes from one socket of a connection to the other, one direction at a time: with recv(2) and send(2), and with splice(2)
 * for bulk data. Bytes that cannot be sent wait in a chunk or a pipe, and nothing more is read until they are sent. Keeps the FACT
 * bits and recordings that redistribution needs. Knows sockets and their rows; decides nothing about connections.
 */

import type { Counters } from "../../observe/counters.ts";
import { classifyAnswer } from "../../routing/http_answer.ts";
import { FACT, forgetRecording, looksLikeTls, onClientBytes, onServerBytes, progressOf } from "../../routing/redistribution.ts";
import { FACTS_MASK, FLAG, FLOAT, floatsOf, LISTENER_SHIFT, ROLE, rowOf, SCREENED_MASK, WORD } from "./descriptor_table.ts";
import { ERRNO } from "../system/errno.ts";
import { FILE, type Libc, SOCKET } from "../system/libc.ts";
import { CHUNK_BYTES, type ChunkPool, PIPE_BYTES } from "./pools.ts";
import type { SilenceWatch } from "./silence.ts";
import type { WorkerKit } from "./worker_kit.ts";

/** The outcome of one turn of relaying. */
export const OUTCOME = {
  /** There is nothing to read now. */
  idle: 0,
  /** The receiver accepts no more bytes now. */
  blocked: 1,
  /** The turn is over; there may be more to read. */
  more: 2,
  /** The sender's FIN was passed on. */
  ended: 3,
  /** The sender's socket failed. */
  senderFailed: 4,
  /** The receiver's socket failed. */
  receiverFailed: 5,
  /** The server's FIN was read. The caller decides whether to pass it on. */
  atEnd: 6,
  /** The client has sent a PROXY header, and may not. */
  forbidden: 7,
} as const;
export type Outcome = typeof OUTCOME[keyof typeof OUTCOME];

const { MSG_NOSIGNAL, MSG_MORE, MSG_TRUNC } = SOCKET;
const SPLICE_FLAGS = FILE.SPLICE_F_MOVE | FILE.SPLICE_F_NONBLOCK;

/** The most reads in one turn, so that other connections do not wait too long for theirs. */
const READS_PER_TURN = 8;
/** A direction is spliced after BULK_BYTES in large pieces, until it brings a piece smaller than SMALL_BYTES. */
const BULK_BYTES = 256 * 1024;
const SMALL_BYTES = 8 * 1024;
/** With more chunks in use than this, nothing is read from clients ahead of their server. */
const AHEAD_MAX = 64;
/** After so many clients in a row that had sent nothing yet, only one in so many is asked: servers seem to speak first here. */
const MISSES_MAX = 64;
/** Bytes discarded by one call. */
const DISCARD_BYTES = 1024 * 1024;

const CHUNK_SIZE = BigInt(CHUNK_BYTES);
const PIPE_SIZE = BigInt(PIPE_BYTES);
const DISCARD_SIZE = BigInt(DISCARD_BYTES);
/** Small sizes as BigInt, made once. */
const SIZES: readonly bigint[] = Array.from({ length: 4097 }, (_, size) => BigInt(size));

/** Flags of a client whose server is to be sent something before the client's bytes. */
const LEADING = FLAG.announcing | FLAG.replaying;

/** Stands for spliced bytes, which are not seen. Where an interim answer would matter, nothing is spliced. */
const NOTHING_SEEN = new Uint8Array(1);

function sizeOf(bytes: number): bigint {
  return bytes < SIZES.length ? SIZES[bytes] : BigInt(bytes);
}

/** The parts of the worker that relaying uses. */
type RelayKit = Pick<
  WorkerKit,
  "libc" | "sockets" | "table" | "descriptors" | "counters" | "chunks" | "pipes" | "recorder" | "headers" | "silence" | "services"
>;

/** Relays the bytes of one worker's connections. */
export class Relay {
  readonly #kit: RelayKit;
  readonly #call: Libc["call"];
  readonly #chunks: ChunkPool;
  readonly #counters: Counters;
  readonly #silence: SilenceWatch;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  /** The chunk for the next read. */
  #scratch: number;
  /** Clients in a row that had sent nothing when they were accepted. */
  #misses = 0;

  constructor(kit: RelayKit) {
    this.#kit = kit;
    this.#call = kit.libc.call;
    this.#chunks = kit.chunks;
    this.#counters = kit.counters;
    this.#silence = kit.silence;
    this.#words = kit.table.words;
    this.#floats = kit.table.floats;
    this.#scratch = kit.chunks.take();
  }

  /** Relays the bytes that can be relayed now from this socket to its peer. */
  transfer(from: number, nowMs: number): Outcome {
    const words = this.#words;
    const row = rowOf(from);
    const to = words[row + WORD.peer];
    const toFlags = rowOf(to) + WORD.flags;
    if ((words[toFlags] & FLAG.broken) !== 0) return this.#discard(from, row);
    if ((words[row + WORD.flags] & LEADING) !== 0) {
      const outcome = this.#lead(row, from, to, nowMs);
      if (outcome !== OUTCOME.more) return outcome;
    }
    if (words[row + WORD.chunk] !== 0 || words[row + WORD.pipeBytes] !== 0) {
      if ((words[toFlags] & FLAG.writable) === 0) return OUTCOME.blocked;
      const outcome = words[row + WORD.chunk] !== 0
        ? this.#flushChunk(row, from, to, nowMs)
        : this.#flushPipe(row, from, to, nowMs);
      if (outcome !== OUTCOME.more) return outcome;
    }
    if ((words[row + WORD.flags] & (FLAG.atEnd | FLAG.done)) === FLAG.atEnd) return this.#finish(row, to);
    for (let reads = 0; reads < READS_PER_TURN; reads++) {
      const flags = words[row + WORD.flags];
      if ((flags & FLAG.readable) === 0 || (flags & FLAG.done) !== 0) return OUTCOME.idle;
      const outcome = words[row + WORD.score] >= BULK_BYTES && (flags & (FLAG.urgent | FLAG.broken)) === 0 && this.#maySplice(row)
        ? this.#splice(row, from, to, nowMs)
        : this.#copy(row, from, to, nowMs);
      if (outcome !== OUTCOME.more) return outcome;
    }
    return OUTCOME.more;
  }

  /**
   * Reads what a client has sent before a server is dialled for it, and keeps it for that server. Not if many chunks are in use:
   * clients of a server that does not answer must not use up the memory. What stays unread is read once a server has accepted.
   * False: the client has sent a PROXY header, and may not.
   */
  readAhead(client: number, nowMs: number): boolean {
    if (this.#chunks.used > AHEAD_MAX || (this.#misses >= MISSES_MAX && this.#misses++ % MISSES_MAX !== 0)) return true;
    const row = rowOf(client);
    const got = this.#call.recv(client, this.#chunks.addresses[this.#scratch], CHUNK_SIZE, 0);
    this.#misses = got > 0 ? 0 : this.#misses + 1;
    if (got <= 0) return true; // nothing yet, or an end or a reset, which epoll will report, though a reset without its errno
    if ((this.#words[row + WORD.flags] & SCREENED_MASK) !== 0 && this.#isForbidden(client, got)) return false;
    this.#hear(row, client, got, nowMs);
    this.#keepScore(row, got);
    this.#hold(row, 0, got);
    return true;
  }

  /** Whether this socket sends bulk data, which is spliced. */
  isBulk(socket: number): boolean {
    return this.#words[rowOf(socket) + WORD.score] >= BULK_BYTES;
  }

  /** Passes the server's FIN on to the client. */
  passEnd(server: number): void {
    const row = rowOf(server);
    this.#finish(row, this.#words[row + WORD.peer]);
  }

  #copy(row: number, from: number, to: number, nowMs: number): Outcome {
    const words = this.#words;
    const got = this.#call.recv(from, this.#chunks.addresses[this.#scratch], CHUNK_SIZE, 0);
    if (got <= 0) return this.#stopReading(row, to, got);
    if ((words[row + WORD.flags] & SCREENED_MASK) !== 0 && this.#isForbidden(from, got)) return OUTCOME.forbidden;
    this.#hear(row, from, got, nowMs);
    const flags = words[row + WORD.flags];
    const isDrained = got < CHUNK_BYTES && (flags & (FLAG.urgent | FLAG.broken)) === 0;
    if (isDrained) words[row + WORD.flags] &= ~FLAG.readable;
    const isLast = isDrained && (flags & FLAG.hangup) !== 0;
    this.#keepScore(row, got);
    const sent = this.#send(
      to,
      this.#chunks.addresses[this.#scratch],
      got,
      isLast ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL,
      words[row + WORD.role],
    );
    if (sent > 0) this.#count(row, from, sent, nowMs);
    if ((words[row + WORD.flags] & FLAG.ackDelayed) !== 0) this.#acknowledge(row, from, isLast);
    if (isLast) words[row + WORD.flags] |= FLAG.atEnd;
    if (sent === got) return isLast ? this.#finish(row, to) : isDrained ? OUTCOME.idle : OUTCOME.more;
    this.#hold(row, Math.max(0, sent), got);
    return sent < 0 ? OUTCOME.receiverFailed : OUTCOME.blocked; // kept in both cases: another server may take it
  }

  /**
   * Acknowledges a server's first bytes. A server that writes its answer in two pieces and has not turned off Nagle's algorithm
   * sends the second piece only then; the kernel alone would wait 40 ms. If the end came with the bytes, nothing will follow.
   */
  #acknowledge(row: number, server: number, isLast: boolean): void {
    this.#words[row + WORD.flags] &= ~FLAG.ackDelayed;
    if (!isLast) this.#kit.sockets.set(server, SOCKET.IPPROTO_TCP, SOCKET.TCP_QUICKACK, 1);
  }

  /** Keeps the bytes in the scratch chunk from `start` to `end` until they can be sent. */
  #hold(row: number, start: number, end: number): void {
    this.#words[row + WORD.chunk] = this.#scratch + 1;
    this.#words[row + WORD.chunkStart] = start;
    this.#words[row + WORD.chunkEnd] = end;
    this.#scratch = this.#chunks.take();
  }

  /** Sends bytes. Returns how many the socket accepted, possibly 0; -1 if it has failed. */
  #send(to: number, address: bigint, size: number, flags: number, fromRole: number): number {
    const words = this.#words;
    const toRow = rowOf(to);
    if ((words[toRow + WORD.flags] & FLAG.writable) === 0) return 0;
    const sent = this.#call.send(to, address, sizeOf(size), flags);
    if (sent < size) {
      const errno = sent < 0 ? this.#kit.libc.errno() : ERRNO.EAGAIN;
      this.#kit.descriptors.awaitRoom(to);
      if (errno !== ERRNO.EAGAIN) {
        this.#failWriting(toRow, errno, false);
        return -1;
      }
      if (sent < 0) return 0;
    }
    if (fromRole === ROLE.client && (words[toRow + WORD.flags] & FLAG.noDelay) === 0) this.#setNoDelay(toRow, to);
    return sent;
  }

  /**
   * EPIPE means that the socket had received a FIN before it failed. Any other error replaces the FIN, and the kernel returns it
   * only to the first call. If that was a splice(2) that had already sent some bytes, it returned their count instead of the error,
   * and the next call gets EPIPE as well; then only FLAG.fin tells the two cases apart.
   */
  #failWriting(toRow: number, errno: number, isSpliced: boolean): void {
    const hadEnded = errno === ERRNO.EPIPE && (!isSpliced || (this.#words[toRow + WORD.flags] & FLAG.fin) !== 0);
    this.#words[toRow + WORD.errno] = errno === ERRNO.EPIPE && !hadEnded ? ERRNO.ECONNRESET : errno;
    this.#words[toRow + WORD.flags] |= hadEnded ? FLAG.broken : FLAG.broken | FLAG.reset;
  }

  /**
   * Turns off Nagle's algorithm at the client's second piece. The first piece is sent at once anyway, and many connections have
   * one.
   */
  #setNoDelay(toRow: number, to: number): void {
    const client = this.#words[toRow + WORD.peer];
    if (this.#floats[floatsOf(client) + FLOAT.bytes] === 0) return;
    this.#words[toRow + WORD.flags] |= FLAG.noDelay;
    this.#kit.sockets.set(to, SOCKET.IPPROTO_TCP, SOCKET.TCP_NODELAY, 1);
  }

  #flushChunk(row: number, from: number, to: number, nowMs: number): Outcome {
    const words = this.#words;
    const start = words[row + WORD.chunkStart];
    const end = words[row + WORD.chunkEnd];
    const chunk = words[row + WORD.chunk] - 1;
    const isLast = (words[row + WORD.flags] & FLAG.atEnd) !== 0;
    const address = this.#chunks.addresses[chunk] + BigInt(start);
    const sent = this.#send(to, address, end - start, isLast ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL, words[row + WORD.role]);
    if (sent < 0) return OUTCOME.receiverFailed;
    if (sent > 0) this.#count(row, from, sent, nowMs);
    words[row + WORD.chunkStart] = start + sent;
    if (start + sent < end) return OUTCOME.blocked;
    this.#chunks.give(chunk);
    words[row + WORD.chunk] = 0;
    return OUTCOME.more;
  }

  #splice(row: number, from: number, to: number, nowMs: number): Outcome {
    const words = this.#words;
    const pipe = this.#kit.pipes.take();
    if (pipe < 0) return this.#copy(row, from, to, nowMs);
    const got = this.#call.splice(from, 0n, this.#kit.pipes.writers[pipe], 0n, PIPE_SIZE, SPLICE_FLAGS);
    if (got <= 0) {
      // splice(2) returns 0 for a FIN and for urgent data; recv(2) tells them apart.
      const outcome = got < 0 ? this.#stopReading(row, to, got) : this.#copy(row, from, to, nowMs);
      this.#kit.pipes.give(pipe);
      return outcome;
    }
    if (words[row + WORD.role] === ROLE.server) this.#onServerBytes(words[row + WORD.peer], NOTHING_SEEN, NOTHING_SEEN.length);
    this.#keepScore(row, got);
    words[row + WORD.pipe] = pipe + 1;
    words[row + WORD.pipeBytes] = got;
    if ((words[rowOf(to) + WORD.flags] & FLAG.writable) === 0) return OUTCOME.blocked;
    return this.#flushPipe(row, from, to, nowMs);
  }

  #flushPipe(row: number, from: number, to: number, nowMs: number): Outcome {
    const words = this.#words;
    const pipe = words[row + WORD.pipe] - 1;
    const bytes = words[row + WORD.pipeBytes];
    const sent = this.#call.splice(this.#kit.pipes.readers[pipe], 0n, to, 0n, sizeOf(bytes), SPLICE_FLAGS);
    if (sent < 0) {
      const errno = this.#kit.libc.errno();
      this.#kit.descriptors.awaitRoom(to);
      if (errno === ERRNO.EAGAIN) return OUTCOME.blocked;
      this.#failWriting(rowOf(to), errno, true);
      return OUTCOME.receiverFailed;
    }
    this.#count(row, from, sent, nowMs);
    words[row + WORD.pipeBytes] = bytes - sent;
    if (sent < bytes) {
      this.#kit.descriptors.awaitRoom(to);
      return OUTCOME.blocked;
    }
    words[row + WORD.pipe] = 0;
    this.#kit.pipes.give(pipe);
    return OUTCOME.more;
  }

  /** Handles a read without bytes: a FIN, a failure, or an empty receive buffer. */
  #stopReading(row: number, to: number, got: number): Outcome {
    const words = this.#words;
    if (got === 0) {
      if ((words[row + WORD.flags] & (FLAG.hangup | FLAG.broken)) === 0) {
        // This may be a FIN, or a reset whose error another call has consumed. The event that is still due says which.
        words[row + WORD.flags] &= ~FLAG.readable;
        return OUTCOME.idle;
      }
      if ((words[row + WORD.flags] & FLAG.reset) !== 0) return OUTCOME.senderFailed;
      words[row + WORD.flags] |= FLAG.atEnd;
      return words[row + WORD.role] === ROLE.server ? OUTCOME.atEnd : this.#finish(row, to);
    }
    const errno = this.#kit.libc.errno();
    words[row + WORD.flags] &= ~FLAG.readable;
    if (errno === ERRNO.EAGAIN) return OUTCOME.idle;
    words[row + WORD.errno] = errno;
    return OUTCOME.senderFailed;
  }

  /** Passes the FIN on. If it is the second one of the connection, closing both sockets sends it. */
  #finish(row: number, to: number): Outcome {
    const words = this.#words;
    const isSecond = (words[rowOf(to) + WORD.flags] & FLAG.done) !== 0;
    words[row + WORD.flags] |= isSecond ? FLAG.done : FLAG.done | FLAG.endedFirst;
    if (!isSecond) this.#call.shutdown(to, SOCKET.SHUT_WR);
    return OUTCOME.ended;
  }

  /** Discards the bytes for a receiver that has failed; otherwise the sender might block and never read what it was sent. */
  #discard(from: number, row: number): Outcome {
    const words = this.#words;
    this.#kit.descriptors.drop(from);
    if ((words[row + WORD.flags] & (FLAG.atEnd | FLAG.done)) === FLAG.atEnd) {
      words[row + WORD.flags] |= FLAG.done; // the FIN was read with the dropped bytes; no event will report it again
      return OUTCOME.ended;
    }
    for (let reads = 0; reads < READS_PER_TURN; reads++) {
      if ((words[row + WORD.flags] & (FLAG.readable | FLAG.done)) !== FLAG.readable) return OUTCOME.idle;
      const got = this.#call.recv(from, 0n, DISCARD_SIZE, MSG_TRUNC); // on a TCP socket, discards bytes without copying (tcp(7))
      if (got > 0) continue;
      if (got === 0) {
        words[row + WORD.flags] |= FLAG.atEnd | FLAG.done;
        return OUTCOME.ended;
      }
      const errno = this.#kit.libc.errno();
      words[row + WORD.flags] &= ~FLAG.readable;
      if (errno === ERRNO.EAGAIN) return OUTCOME.idle;
      return OUTCOME.senderFailed;
    }
    return OUTCOME.more;
  }

  /** Updates the facts and the recording for bytes that were read from this socket into the scratch chunk. */
  #hear(row: number, from: number, got: number, nowMs: number): void {
    const words = this.#words;
    const bytes = this.#chunks.views[this.#scratch];
    if (words[row + WORD.role] === ROLE.server) return this.#onServerBytes(words[row + WORD.peer], bytes, got);
    const before = words[row + WORD.facts];
    const config = this.#kit.services.configOf(from);
    let facts = before;
    if ((facts & FACT.awaitingAnswer) === 0) {
      const isTls = looksLikeTls(bytes[0], got > 1 ? bytes[1] : undefined);
      const server = words[row + WORD.peer];
      // While the client has not received the whole answer, the next exchange cannot have begun.
      const isAnswering = server >= 0 &&
        (this.#kit.descriptors.isHolding(server) || (words[rowOf(server) + WORD.flags] & FLAG.readable) !== 0);
      facts = onClientBytes(config, facts, isAnswering ? 0 : nowMs - this.#kit.table.lastActivityMs(from), isTls);
    }
    if ((facts & FACT.recorded) !== 0 && !this.#record(from, got, config.replayBytesMax)) {
      facts = forgetRecording(facts);
      this.#counters.add("replayOverflows");
    }
    if (facts !== before) words[row + WORD.facts] = facts;
  }

  #record(client: number, got: number, bytesMax: number): boolean {
    return this.#kit.recorder.append(client, this.#chunks.addresses[this.#scratch], got, bytesMax);
  }

  #onServerBytes(client: number, bytes: Uint8Array, got: number): void {
    const at = rowOf(client) + WORD.facts;
    const facts = this.#words[at];
    if ((facts & (FACT.awaitingAnswer | FACT.answered)) === FACT.answered) return;
    // A server may answer before the replay is complete; it still gets the rest.
    if ((facts & FACT.recorded) !== 0 && this.#kit.recorder.pending(client) === 0) this.#kit.recorder.forget(client);
    this.#words[at] = onServerBytes(facts & FACTS_MASK, classifyAnswer(bytes, got, progressOf(facts)));
  }

  /**
   * Whether this direction may be spliced now. Spliced bytes are not seen, so they must not need recording or begin an exchange.
   */
  #maySplice(row: number): boolean {
    const words = this.#words;
    if (words[row + WORD.role] === ROLE.server) {
      const client = words[row + WORD.peer];
      return this.#kit.services.configOf(client).redistribute !== "idle" ||
        (words[rowOf(client) + WORD.facts] & FACT.awaitingAnswer) === 0;
    }
    return (words[row + WORD.facts] & (FACT.awaitingAnswer | FACT.recorded)) === FACT.awaitingAnswer;
  }

  /** Whether the bytes just read complete a PROXY header's signature, of a client that may not send one. */
  #isForbidden(client: number, got: number): boolean {
    return this.#kit.headers.isForbidden(client, this.#scratch, got, this.#floats[floatsOf(client) + FLOAT.bytes]);
  }

  /** Sends what comes before the client's bytes: a PROXY header, then the recorded bytes. */
  #lead(row: number, client: number, to: number, nowMs: number): Outcome {
    const words = this.#words;
    if ((words[row + WORD.flags] & FLAG.announcing) !== 0) {
      const outcome = this.#announce(row, client, to, nowMs);
      if (outcome !== OUTCOME.more) return outcome;
    }
    return (words[row + WORD.flags] & FLAG.replaying) === 0 ? OUTCOME.more : this.#repeat(row, client, to, nowMs);
  }

  /** Sends the PROXY header to a new server, in one segment with the bytes that follow, if they are there. */
  #announce(row: number, client: number, to: number, nowMs: number): Outcome {
    const { headers, recorder, descriptors, sockets } = this.#kit;
    const toFlags = rowOf(to) + WORD.flags;
    if ((this.#words[toFlags] & FLAG.writable) === 0) return OUTCOME.blocked;
    const isReplaying = (this.#words[row + WORD.flags] & FLAG.replaying) !== 0 && recorder.pending(client) > 0;
    const isAlone = !isReplaying && !descriptors.isHolding(client);
    if (isAlone && (this.#words[toFlags] & FLAG.noDelay) === 0) {
      // Otherwise the client's first bytes would wait until the header is acknowledged.
      this.#words[toFlags] |= FLAG.noDelay;
      sockets.set(to, SOCKET.IPPROTO_TCP, SOCKET.TCP_NODELAY, 1);
    }
    const bytes = headers.pending(client);
    const sent = this.#send(
      to,
      headers.pendingAddress(client),
      bytes,
      isAlone ? MSG_NOSIGNAL : MSG_NOSIGNAL | MSG_MORE,
      ROLE.server,
    );
    if (sent < 0) return OUTCOME.receiverFailed;
    if (sent > 0) headers.advance(client, sent);
    if ((this.#words[toFlags] & FLAG.watched) === 0) this.#silence.begin(to, nowMs);
    return sent < bytes ? OUTCOME.blocked : OUTCOME.more;
  }

  /** Replays the recorded bytes to a new server. */
  #repeat(row: number, client: number, to: number, nowMs: number): Outcome {
    const words = this.#words;
    const bytes = this.#kit.recorder.pending(client);
    if (bytes > 0) {
      const toRow = rowOf(to);
      if ((words[toRow + WORD.flags] & FLAG.writable) === 0) return OUTCOME.blocked;
      const sent = this.#send(to, this.#kit.recorder.pendingAddress(client), bytes, MSG_NOSIGNAL, ROLE.client);
      if (sent < 0) return OUTCOME.receiverFailed;
      this.#kit.recorder.advance(client, sent);
      this.#counters.addTo(words[row + WORD.slot], "sentBytes", sent);
      if ((words[toRow + WORD.flags] & FLAG.watched) === 0) this.#silence.begin(to, nowMs);
      if (sent < bytes) return OUTCOME.blocked;
    }
    if ((words[row + WORD.facts] & FACT.recorded) === 0) this.#kit.recorder.forget(client);
    words[row + WORD.flags] &= ~FLAG.replaying;
    return OUTCOME.more;
  }

  #keepScore(row: number, got: number): void {
    const words = this.#words;
    if (got >= SMALL_BYTES) {
      if (words[row + WORD.score] < BULK_BYTES) words[row + WORD.score] += got;
      return;
    }
    words[row + WORD.score] = 0;
  }

  #count(row: number, from: number, sent: number, nowMs: number): void {
    const words = this.#words;
    const float = floatsOf(from);
    const to = words[row + WORD.peer];
    this.#floats[float + FLOAT.bytes] += sent;
    this.#floats[float + FLOAT.lastActivityMs] = nowMs;
    if ((words[rowOf(to) + WORD.flags] & FLAG.watched) === 0) this.#silence.begin(to, nowMs);
    if (words[row + WORD.role] === ROLE.client) {
      words[row + WORD.facts] |= FACT.sent;
      this.#counters.addTo(words[row + WORD.slot], "sentBytes", sent);
      this.#counters.addToListener(words[row + WORD.port] >>> LISTENER_SHIFT, "listenerReceivedBytes", sent);
    } else {
      this.#counters.addTo(words[rowOf(to) + WORD.slot], "receivedBytes", sent);
      this.#counters.addToListener(words[rowOf(to) + WORD.port] >>> LISTENER_SHIFT, "listenerSentBytes", sent);
    }
  }
}
