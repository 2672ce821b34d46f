/**
 * Tells a peer whose host is gone from a slow one. The kernel retransmits unacknowledged bytes and, while the peer's window is
 * zero, sends window probes. A live host answers both, even if its program never reads. TCP_USER_TIMEOUT cannot tell the two apart:
 * Linux counts the time with a zero window, too (tcp_probe_timer). So this module reads TCP_INFO, and only for sockets to which
 * bytes were sent recently. Knows sockets and their rows; decides nothing about connections.
 */

import { type DescriptorTable, FLAG, floatsOf, ROLE, rowOf, SERVER_FLOAT, WORD } from "./descriptor_table.ts";
import type { PeerFacts, Sockets } from "../system/sockets.ts";
import type { Services } from "./services.ts";
import type { TimerWheel } from "./timer_wheel.ts";

/** The result of `judge` and `check` for a peer whose host is gone. */
export const SILENT = -1;
/** Their result for a peer that owes no acknowledgement: it need not be watched until bytes are sent to it again. */
export const AT_REST: number = Infinity;

/**
 * The least number of unanswered retransmissions and probes. The answer to the last one may be on its way, and a healthy peer may
 * answer only once in 500 ms (tcp_invalid_ratelimit).
 */
const UNANSWERED_MIN = 3;
/** A silent peer that has been sent too few probes is checked again after this fraction of the limit. */
const LOOKS_PER_LIMIT = 4;

/**
 * When to check the peer again, by the clock of `nowMs`; or SILENT or AT_REST. At `heardMs` the peer last sent a segment, or owed
 * no acknowledgement.
 */
export function judge({ isOwing, unanswered }: PeerFacts, heardMs: number, nowMs: number, limitMs: number): number {
  if (!isOwing) return AT_REST;
  if (nowMs - heardMs < limitMs) return heardMs + limitMs;
  return unanswered >= UNANSWERED_MIN ? SILENT : nowMs + limitMs / LOOKS_PER_LIMIT;
}

/** Watches the sockets of one worker. */
export class SilenceWatch {
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  readonly #facts: PeerFacts = { isOwing: false, unanswered: 0, heardAgoMs: 0 };

  constructor(readonly sockets: Sockets, table: DescriptorTable, readonly wheel: TimerWheel, readonly services: Services) {
    this.#words = table.words;
    this.#floats = table.floats;
  }

  /** Begins to watch a socket of an open connection, because bytes were sent to it. */
  begin(socket: number, nowMs: number): void {
    const words = this.#words;
    const row = rowOf(socket);
    words[row + WORD.flags] |= FLAG.watched;
    const limitMs = this.#limitOf(socket, row);
    if (limitMs === 0) return;
    this.#floats[this.#heardAt(socket, row)] = nowMs;
    this.wheel.sooner(words[row + WORD.role] === ROLE.client ? socket : words[row + WORD.peer], nowMs + limitMs);
  }

  /** The limits have changed: a socket that is being watched is watched anew. */
  restart(socket: number, nowMs: number): void {
    if ((this.#words[rowOf(socket) + WORD.flags] & FLAG.watched) !== 0) this.begin(socket, nowMs);
  }

  /** When to check the socket again; SILENT if its host is gone, Infinity if it need not be watched. */
  check(socket: number, nowMs: number): number {
    const words = this.#words;
    const row = rowOf(socket);
    const limitMs = this.#limitOf(socket, row);
    if ((words[row + WORD.flags] & (FLAG.watched | FLAG.broken)) !== FLAG.watched || limitMs === 0) return Infinity;
    const at = this.#heardAt(socket, row);
    if (nowMs - this.#floats[at] < limitMs) return this.#floats[at] + limitMs;
    this.sockets.readPeerFacts(socket, this.#facts);
    this.#floats[at] = Math.max(this.#floats[at], nowMs - this.#facts.heardAgoMs);
    const verdict = judge(this.#facts, this.#floats[at], nowMs, limitMs);
    if (verdict === AT_REST) words[row + WORD.flags] &= ~FLAG.watched;
    return verdict;
  }

  /** How long the peer may be silent, in ms; 0: for ever. */
  #limitOf(socket: number, row: number): number {
    if (this.#words[row + WORD.role] === ROLE.client) return this.services.configOf(socket).userTimeoutMs;
    return this.services.configOf(this.#words[row + WORD.peer]).serverTimeoutMs;
  }

  /** The index of the time for this side; both sides' times are in the server's row. */
  #heardAt(socket: number, row: number): number {
    const isClient = this.#words[row + WORD.role] === ROLE.client;
    const server = isClient ? this.#words[row + WORD.peer] : socket;
    return floatsOf(server) + (isClient ? SERVER_FLOAT.clientHeardMs : SERVER_FLOAT.serverHeardMs);
  }
}
