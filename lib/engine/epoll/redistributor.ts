/**
 * Carries out what `redistribution.ts` decides about a worker's connections: leaves a server that is lost or should be left, keeps it
 * until another has accepted where it may still be there, tells the next one what the last one was told, or ends the connection.
 * The dialer finds the next server; the loop owns sockets, timers and the end.
 */

import type { Counters } from "../../observe/counters.ts";
import type { Fate } from "../../values/fates.ts";
import {
  type ConnectionState,
  decide,
  fateOfCut,
  isCutBySilence,
  type Loss,
  stateOf,
  type Verdict,
} from "../../routing/redistribution.ts";
import { AVAILABILITY, type AvailabilityTable } from "../../routing/availability.ts";
import {
  type DescriptorTable,
  FLAG,
  FLOAT,
  MOVES_MASK,
  REPLAY_ONE,
  REPLAYS_SHIFT,
  ROW_SHIFT,
  SERVER_FLOAT,
  WORD,
} from "./descriptor_table.ts";
import type { Dialer, Move } from "./dialer.ts";
import type { EngineConfig } from "../engine.ts";
import { type Libc, SOCKET } from "../system/libc.ts";
import type { Relay } from "./relay.ts";
import type { Recorder } from "./recorder.ts";
import { encodeMove, REPORT, type ReportWriter } from "./reports.ts";
import { factsOf } from "./row_facts.ts";
import type { Sockets } from "../system/sockets.ts";
import type { TimerWheel } from "./timer_wheel.ts";

/** Who is told of a connection's end by a reset; the others get an end. */
export type Reset = "nobody" | "client" | "server" | "both";

/** The counter of each state that a connection may leave its server in. */
const MOVED_COUNTERS = { unsent: "movedUnsent", unanswered: "movedUnanswered", idle: "movedIdle", busy: "movedIdle" } as const;

/** What the redistributor asks of the loop it belongs to. */
export interface RedistributorLoop {
  readonly libc: Libc;
  readonly sockets: Sockets;
  readonly table: DescriptorTable;
  readonly counters: Counters;
  readonly wheel: TimerWheel;
  readonly config: EngineConfig;
  readonly availabilities: AvailabilityTable;
  readonly dialer: Dialer;
  readonly relay: Relay;
  readonly recorder: Recorder;
  readonly reports: ReportWriter;
  /** The time of this turn. */
  readonly nowMs: number;
  /** Closes a descriptor of ours. */
  release(descriptor: number): void;
  end(client: number, fate: Fate, reset?: Reset): void;
  /** Gives a socket another turn. */
  queueUp(socket: number): void;
  /** Has epoll tell of everything again, where a bulk direction had asked for less. */
  askForAllEvents(socket: number): void;
  /** A socket of an open connection has failed. */
  onBroken(socket: number, peer: number): void;
  /** One direction has ended. False if the connection has. */
  onEnded(from: number, to: number): boolean;
}

/** The redistributor of one worker. */
export class Redistributor {
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  /** For a look at what a socket has to say. */
  readonly #byte = new ArrayBuffer(1);
  readonly #byteAddress: bigint;

  constructor(readonly loop: RedistributorLoop) {
    this.#words = loop.table.words;
    this.#floats = loop.table.floats;
    this.#byteAddress = loop.libc.addressOf(this.#byte);
  }

  /** Whether a server that is kept while another is dialled has said something meanwhile. */
  hasSpokenUp(kept: number): boolean {
    if ((this.#words[(kept << ROW_SHIFT) + WORD.flags] & (FLAG.broken | FLAG.atEnd)) !== 0) return false;
    return this.loop.libc.call.recv(kept, this.#byteAddress, 1n, SOCKET.MSG_PEEK) > 0; // an end is no word; the event may be still to come
  }

  /** The connection has another server: that one is told what the first was told, and the first let go. */
  arrive(client: number, { loss, state, isReplay, from, kept }: Move): void {
    const words = this.#words;
    const row = client << ROW_SHIFT;
    const server = words[row + WORD.peer];
    if (kept >= 0) this.#letGo(client, kept, isReplay);
    // How long the connection has been quiet is what both its ends know of it.
    this.#floats[(server << (ROW_SHIFT - 1)) + FLOAT.lastActivityMs] =
      this.#floats[(client << (ROW_SHIFT - 1)) + FLOAT.lastActivityMs];
    this.#floats[(server << (ROW_SHIFT - 1)) + SERVER_FLOAT.clientHeardMs] = this.loop.nowMs;
    let replayed = 0;
    if (isReplay) {
      if (words[row + WORD.chunk] !== 0) this.loop.relay.drop(client); // it is part of what was recorded
      replayed = this.loop.recorder.rewind(client);
      words[row + WORD.facts] += REPLAY_ONE;
    }
    words[row + WORD.flags] = words[row + WORD.flags] & ~(FLAG.done | FLAG.keepAliveSet | FLAG.bulk) | FLAG.replaying;
    words[row + WORD.score] = 0;
    this.loop.askForAllEvents(client);
    words[row + WORD.moves] = Math.min((words[row + WORD.moves] & MOVES_MASK) + 1, MOVES_MASK);
    this.loop.counters.add(MOVED_COUNTERS[state]);
    this.loop.counters.addTo(from, "movedAway");
    const { ip, ipLength, port, slot } = WORD;
    const code = encodeMove(loss, state);
    const address = [words, row + ip, words[row + ipLength], words[row + port]] as const;
    this.loop.reports.write(REPORT.moved, 0, words[row + slot], from, code, 0, ...address, replayed, 0, 0);
    this.loop.counters.raiseOf(from, "serverOpen", -1); // when all is counted and told: it may be empty now
    this.loop.reports.publish();
  }

  /** Nobody took the client, or its server has spoken, or was found there: it stays where it was. */
  onStaying(client: number, move: Move): void {
    const words = this.#words;
    const server = move.kept;
    if (move.isProbing) this.loop.wheel.set(client, this.loop.nowMs); // all that the timer is for is looked at anew
    if ((words[(server << ROW_SHIFT) + WORD.flags] & FLAG.broken) !== 0) {
      this.loop.onBroken(server, client);
      return;
    }
    this.loop.queueUp(client);
    if (move.loss === "expired") return this.cutLost(client, "expired", "both");
    if (!move.isProbing) return this.loop.queueUp(server);
    this.loop.relay.passEnd(server); // it is there: it meant its end
    this.loop.onEnded(server, client);
  }

  /** The server that was asked whether its end was meant is not there. */
  onAskedInVain(client: number): void {
    if (!this.redistribute(client, "reset")) this.cutLost(client, "reset");
  }

  /** Forgets where the client was going; what is left of the server that it had is closed. */
  dropMove(client: number): void {
    const move = this.loop.dialer.takeMove(client);
    if (move === undefined) return;
    if (move.kept >= 0) this.#letGo(client, move.kept, true);
    if (move.isProbing) return;
    this.#words[(client << ROW_SHIFT) + WORD.moves] &= MOVES_MASK;
    this.loop.counters.raiseOf(move.from, "serverOpen", -1);
  }

  /** Closes the socket of a server that the connection has no more, and keeps what it counted. */
  #letGo(client: number, server: number, isReset: boolean): void {
    const floats = this.#floats;
    const float = client << (ROW_SHIFT - 1);
    const serverFloat = server << (ROW_SHIFT - 1);
    floats[float + FLOAT.earlierBytes] += floats[serverFloat + FLOAT.bytes];
    floats[float + FLOAT.lastActivityMs] = Math.max(
      floats[float + FLOAT.lastActivityMs],
      floats[serverFloat + FLOAT.lastActivityMs],
    );
    if (isReset) this.loop.sockets.resetOnClose(server);
    this.loop.release(server);
  }

  /** What is to be done with an open connection whose server is lost or should be left, by how quiet it was so long ago. */
  #decide(client: number, loss: Loss, agoMs = 0): Verdict {
    const replays = this.#words[(client << ROW_SHIFT) + WORD.facts] >>> REPLAYS_SHIFT;
    return decide(this.loop.config, loss, this.#factsOf(client), this.quietForMs(client) - agoMs, replays);
  }

  #factsOf(client: number): number {
    return factsOf(this.#words, client);
  }

  /** How long nothing has moved on an open connection. */
  quietForMs(client: number): number {
    return this.loop.relay.quietForMs(client, this.#words[(client << ROW_SHIFT) + WORD.peer], this.loop.nowMs);
  }

  /** Sends the connection to another server, if it may go; its own is lost for certain. False if it may not. */
  redistribute(client: number, loss: Loss): boolean {
    const verdict = this.#decide(client, loss);
    if (verdict !== "move" && verdict !== "replay") return false;
    const server = this.#words[(client << ROW_SHIFT) + WORD.peer];
    const state = this.#stateOf(client);
    const isFresh = this.#hasServed(server);
    this.#letGo(client, server, verdict === "replay");
    this.loop.dialer.redial(client, { loss, state, isReplay: verdict === "replay", kept: -1 }, isFresh, this.loop.nowMs);
    return true;
  }

  /** The same where the server may still be there: it is kept until another has accepted. */
  #relocate(client: number, loss: Loss, verdict: Verdict): void {
    const state = this.#stateOf(client);
    const kept = this.#words[(client << ROW_SHIFT) + WORD.peer];
    this.loop.dialer.redial(client, { loss, state, isReplay: verdict === "replay", kept }, true, this.loop.nowMs);
  }

  /** Whether the client may have said something that was not read: no event will tell of it again. */
  #hasUnread(client: number): boolean {
    return (this.#words[(client << ROW_SHIFT) + WORD.flags] & FLAG.readable) !== 0;
  }

  #stateOf(client: number): ConnectionState {
    return stateOf(this.loop.config.quietMs, this.#factsOf(client), this.quietForMs(client));
  }

  /** Whether this server has said something, or was there for so long that its loss has nothing to do with the last one. */
  #hasServed(server: number): boolean {
    const float = server << (ROW_SHIFT - 1);
    return this.#floats[float + FLOAT.bytes] > 0 ||
      this.loop.nowMs - this.#floats[float + FLOAT.startedMs] > this.loop.config.connectDeadlineMs;
  }

  /** Ends a connection that lost its server and may not go to another. The client is told by a reset: nothing cut is to look whole. */
  cutLost(client: number, loss: Loss, reset: Reset = "client"): void {
    this.loop.end(client, fateOfCut(this.loop.config, loss, this.#factsOf(client), this.quietForMs(client)), reset);
  }

  /** The server's end was read, and nothing of its bytes waits. */
  onServerEnd(server: number, client: number): boolean {
    if (this.#stateOf(client) !== "busy") this.loop.dialer.noteEnd(this.#words[(client << ROW_SHIFT) + WORD.slot], this.loop.nowMs);
    if (this.#decide(client, "end") === "probe") {
      if (this.loop.dialer.ask(client, this.loop.nowMs)) return false;
      if (this.redistribute(client, "reset")) return false; // it is not even in the table
    }
    this.loop.relay.passEnd(server);
    return this.loop.onEnded(server, client);
  }

  /** The connection's server is to be left: now, if it may, or it is looked at again when it may have come to that. */
  leaveServer(client: number): void {
    const isOver = this.loop.availabilities.get(this.#words[(client << ROW_SHIFT) + WORD.slot]) === AVAILABILITY.expired;
    const verdict = this.#decide(client, isOver ? "expired" : "drain");
    if (verdict === "cut") return this.cutLost(client, "expired", "both");
    const quietForMs = this.quietForMs(client);
    const { quietMs, idleTimeoutMs } = this.loop.config;
    if (verdict !== "wait" && (isOver || !this.#hasUnread(client))) this.#relocate(client, isOver ? "expired" : "drain", verdict);
    else {
      const againMs = quietForMs < quietMs ? quietMs - quietForMs : quietMs;
      this.loop.wheel.sooner(client, this.loop.nowMs + Math.min(againMs, idleTimeoutMs - quietForMs));
    }
  }

  /** The checks of the connection's server get no answer. Where there is no other server, they say more of us than of it. */
  loseSilent(client: number, silentMs: number, sinceHealthyMs: number): void {
    if (!this.loop.dialer.hasElsewhere(client)) return;
    const verdict = this.#decide(client, "silent", sinceHealthyMs);
    if (verdict !== "cut") return this.#relocate(client, "silent", verdict);
    const server = this.#words[(client << ROW_SHIFT) + WORD.peer];
    if (this.loop.relay.isHolding(server)) return; // the client is slow, the server is not silent
    const float = server << (ROW_SHIFT - 1);
    const heardMs = Math.max(this.#floats[float + FLOAT.lastActivityMs], this.#floats[float + FLOAT.startedMs]);
    if (isCutBySilence(this.loop.config, this.#factsOf(client), this.loop.nowMs - heardMs, silentMs)) {
      this.cutLost(client, "silent", "both");
    }
  }

  /** An open connection that may goes to the server that the ring gives its client to. */
  sendToOwner(client: number): void {
    if (this.#decide(client, "rebalance") !== "move" || this.#hasUnread(client) || !this.loop.dialer.hasOtherOwner(client)) return;
    this.#relocate(client, "rebalance", "move");
  }
}
