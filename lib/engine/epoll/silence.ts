/**
 * Tells a peer whose host is gone from one that is slow. The system retransmits what is not acknowledged and, while the peer has no
 * room, probes its window; a host that is there answers both, however long its program reads nothing. TCP_USER_TIMEOUT cannot tell
 * them apart: Linux counts the time without room, too (tcp_probe_timer). So the system is asked what it knows (TCP_INFO), and only of
 * a socket that was sent something lately. Knows sockets and their rows; what becomes of a connection is for others to decide.
 */

import { type DescriptorTable, FLAG, floatsOf, ROLE, rowOf, SERVER_FLOAT, WORD } from "./descriptor_table.ts";
import type { PeerFacts, Sockets } from "../system/sockets.ts";
import type { TimerWheel } from "./timer_wheel.ts";

/** How long a peer may be silent, in ms; 0: for ever. */
export interface SilenceLimits {
  readonly userTimeoutMs: number;
  readonly serverTimeoutMs: number;
}

/** What `judge` and `check` give for a peer whose host is gone. */
export const SILENT = -1;
/** What they give for a peer that owes nothing: it need not be watched until it is sent something. */
export const AT_REST: number = Infinity;

/** As many must be unanswered: the last may be on its way, and a peer that is well answers but one in 500 ms (tcp_invalid_ratelimit). */
const UNANSWERED_MIN = 3;
/** A peer that is silent, but was hardly asked for lack of probes, is looked at again after so much of the limit. */
const LOOKS_PER_LIMIT = 4;

/** When to look again, by the clock of `nowMs`; SILENT or AT_REST. The peer was heard of last at `heardMs`, or was owed nothing then. */
export function judge({ isOwing, unanswered }: PeerFacts, heardMs: number, nowMs: number, limitMs: number): number {
  if (!isOwing) return AT_REST;
  if (nowMs - heardMs < limitMs) return heardMs + limitMs;
  return unanswered >= UNANSWERED_MIN ? SILENT : nowMs + limitMs / LOOKS_PER_LIMIT;
}

/** The watch over the sockets of one worker. */
export class SilenceWatch {
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  readonly #facts: PeerFacts = { isOwing: false, unanswered: 0, heardAgoMs: 0 };

  constructor(readonly sockets: Sockets, table: DescriptorTable, readonly wheel: TimerWheel, readonly limits: SilenceLimits) {
    this.#words = table.words;
    this.#floats = table.floats;
  }

  /** Something was sent to a socket of an open connection that is not watched. */
  begin(socket: number, nowMs: number): void {
    const words = this.#words;
    const row = rowOf(socket);
    words[row + WORD.flags] |= FLAG.watched;
    const limitMs = this.#limitOf(row);
    if (limitMs === 0) return;
    this.#floats[this.#heardAt(socket, row)] = nowMs;
    this.wheel.sooner(words[row + WORD.role] === ROLE.client ? socket : words[row + WORD.peer], nowMs + limitMs);
  }

  /** When the socket is to be looked at again; SILENT if its host is gone, Infinity if there is nothing to watch. */
  check(socket: number, nowMs: number): number {
    const words = this.#words;
    const row = rowOf(socket);
    const limitMs = this.#limitOf(row);
    if ((words[row + WORD.flags] & (FLAG.watched | FLAG.broken)) !== FLAG.watched || limitMs === 0) return Infinity;
    const at = this.#heardAt(socket, row);
    if (nowMs - this.#floats[at] < limitMs) return this.#floats[at] + limitMs;
    this.sockets.readPeerFacts(socket, this.#facts);
    this.#floats[at] = Math.max(this.#floats[at], nowMs - this.#facts.heardAgoMs);
    const verdict = judge(this.#facts, this.#floats[at], nowMs, limitMs);
    if (verdict === AT_REST) words[row + WORD.flags] &= ~FLAG.watched;
    return verdict;
  }

  #limitOf(row: number): number {
    return this.#words[row + WORD.role] === ROLE.client ? this.limits.userTimeoutMs : this.limits.serverTimeoutMs;
  }

  /** Both sides' times are in the server's row. */
  #heardAt(socket: number, row: number): number {
    const isClient = this.#words[row + WORD.role] === ROLE.client;
    const server = isClient ? this.#words[row + WORD.peer] : socket;
    return floatsOf(server) + (isClient ? SERVER_FLOAT.clientHeardMs : SERVER_FLOAT.serverHeardMs);
  }
}
