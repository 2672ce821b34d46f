/**
 * Carries out what `redistribution.ts` and `departure.ts` decide about a worker's open connections: gets the verdict, lets the
 * dialer find another server, starts the replay to that server, and closes the previous one. Returns the outcome; `Connections`
 * acts on it.
 */

import { isCalledOff, sharesBudget } from "../../routing/departure.ts";
import { isEarlyLoss } from "../../routing/early_loss.ts";
import {
  decide,
  FACT,
  fateOfCut,
  type Hindrance,
  hindranceOf,
  isCutBySilence,
  type Loss,
  stateOf,
  type Verdict,
} from "../../routing/redistribution.ts";
import type { Fate } from "../../values/fates.ts";
import { assert } from "../../values/errors.ts";
import type { ServiceEngineConfig } from "../engine.ts";
import { SOCKET } from "../system/libc.ts";
import { FLAG, FLOAT, floatsOf, MOVES_MASK, REPLAY_ONE, REPLAYS_SHIFT, rowOf, SERVER_FLOAT, WORD } from "./descriptor_table.ts";
import type { Departure, Dialer } from "./dialer.ts";
import type { ClientRow, MoveRecord } from "./reports.ts";
import { factsOf } from "./row_facts.ts";
import type { WorkerKit } from "./worker_kit.ts";

/** The parts of the worker that redistributing uses. */
type RedistributorKit = Pick<
  WorkerKit,
  "libc" | "sockets" | "table" | "descriptors" | "counters" | "services" | "recorder" | "reports" | "clock"
>;

/** Redistributes one worker's connections. */
export class Redistributor {
  readonly #kit: RedistributorKit;
  readonly #dialer: Dialer;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  /** Receives the byte of a peek. */
  readonly #byte = new ArrayBuffer(1);
  readonly #byteAddress: bigint;

  constructor(kit: RedistributorKit, dialer: Dialer) {
    this.#kit = kit;
    this.#dialer = dialer;
    this.#words = kit.table.words;
    this.#floats = kit.table.floats;
    this.#byteAddress = kit.libc.addressOf(this.#byte);
  }

  /** The verdict for an open connection after this loss, based on how long it had been quiet `agoMs` ago. */
  decide(client: number, loss: Loss, agoMs = 0): Verdict {
    const replays = this.#words[rowOf(client) + WORD.facts] >>> REPLAYS_SHIFT;
    return decide(this.#configOf(client), loss, this.#factsOf(client), this.quietForMs(client) - agoMs, replays);
  }

  /** Why an open connection may not leave a server that serves; undefined: it may. */
  hindrance(client: number): Hindrance | undefined {
    const replays = this.#words[rowOf(client) + WORD.facts] >>> REPLAYS_SHIFT;
    return hindranceOf(this.#configOf(client), this.#factsOf(client), this.quietForMs(client), replays);
  }

  /** How long no byte has been relayed on an open connection, in ms. */
  quietForMs(client: number): number {
    return this.#kit.clock.nowMs - this.#kit.table.lastActivityMs(client);
  }

  /** Whether the connection is in the middle of an exchange. */
  isBusy(client: number): boolean {
    return stateOf(this.#configOf(client).quietMs, this.#factsOf(client), this.quietForMs(client)) === "busy";
  }

  /** The fate of a connection that lost its server and may not move. */
  fateOfCut(client: number, loss: Loss): Fate {
    return fateOfCut(this.#configOf(client), loss, this.#factsOf(client), this.quietForMs(client));
  }

  /** Whether the client may have sent bytes that are not read yet. The edge-triggered event for them will not come again. */
  hasUnread(client: number): boolean {
    return (this.#words[rowOf(client) + WORD.flags] & (FLAG.readable | FLAG.atEnd)) === FLAG.readable;
  }

  /** Whether the kept server has sent bytes while another was being dialled. A FIN does not count. */
  hasSpoken(kept: number): boolean {
    if ((this.#words[rowOf(kept) + WORD.flags] & (FLAG.broken | FLAG.atEnd)) !== 0) return false;
    return this.#kit.libc.call.recv(kept, this.#byteAddress, 1n, SOCKET.MSG_PEEK) > 0;
  }

  /** Whether to cut a connection that may not leave its silent server, because the server has been silent on it for long enough. */
  isCutBySilence(client: number, silentMs: number): boolean {
    const server = this.#words[rowOf(client) + WORD.peer];
    if (this.#kit.descriptors.isHolding(server)) return false; // the client is slow, the server is not silent
    const heardMs = Math.max(
      this.#floats[floatsOf(server) + FLOAT.lastActivityMs],
      this.#floats[floatsOf(server) + FLOAT.startedMs],
    );
    return isCutBySilence(this.#configOf(client), this.#factsOf(client), this.#kit.clock.nowMs - heardMs, silentMs);
  }

  /** Whether the end of the server's socket, which has just been read, is the server's failure. */
  isEarlyLoss(client: number): boolean {
    const server = this.#words[rowOf(client) + WORD.peer];
    const float = floatsOf(server);
    if (this.#floats[float + FLOAT.bytes] > 0) return false; // as almost every one: allocates nothing
    return isEarlyLoss({
      connectedForMs: this.#kit.clock.nowMs - this.#floats[float + FLOAT.startedMs],
      hasAnswered: this.#kit.descriptors.isHolding(server),
      hasClientEnded: (this.#factsOf(client) & FACT.clientEnded) !== 0,
    });
  }

  /** The connection's server is certainly lost: closes it and begins a search for another. */
  departLost(client: number, loss: Loss, verdict: "move" | "replay"): void {
    const server = this.#words[rowOf(client) + WORD.peer];
    const state = this.#stateOf(client);
    const float = floatsOf(server);
    const connectedForMs = this.#kit.clock.nowMs - this.#floats[float + FLOAT.startedMs];
    const { connectDeadlineMs } = this.#configOf(client);
    const shares = sharesBudget(loss, this.#floats[float + FLOAT.bytes] > 0, connectedForMs, connectDeadlineMs);
    this.#letGo(client, server, verdict === "replay");
    this.#dialer.depart(client, { loss, state, isReplay: verdict === "replay", kept: -1, to: -1 }, shares);
  }

  /** The connection leaves a server that may be alive: keeps it and begins a search for another, or for the one with slot `to`. */
  depart(client: number, loss: Loss, verdict: "move" | "replay", to: number): void {
    const kept = this.#words[rowOf(client) + WORD.peer];
    const how = { loss, state: this.#stateOf(client), isReplay: verdict === "replay", kept, to };
    this.#dialer.depart(client, how, false);
  }

  /** Nobody takes the connection, which leaves the server that it has kept all the same. */
  leaveKept(client: number): void {
    const departure = this.#dialer.searchOf(client)?.departure;
    if (departure !== undefined && departure.kept >= 0) this.#letGo(client, departure.kept, departure.isReplay);
  }

  /** Another server has accepted: closes the previous one, starts the replay, and counts and reports the move. */
  arrive(client: number, departure: Departure): void {
    const { descriptors, counters, reports, clock, table, services } = this.#kit;
    const words = this.#words;
    const row = rowOf(client);
    const server = words[row + WORD.peer];
    if (departure.kept >= 0) this.#letGo(client, departure.kept, departure.isReplay);
    // The new server's row must not make the connection look active: it has been quiet since its last relayed byte.
    this.#floats[floatsOf(server) + FLOAT.lastActivityMs] = this.#floats[floatsOf(client) + FLOAT.lastActivityMs];
    this.#floats[floatsOf(server) + SERVER_FLOAT.clientHeardMs] = clock.nowMs;
    const replayedBytes = departure.isReplay ? this.#rewind(client) : 0;
    words[row + WORD.flags] = words[row + WORD.flags] & ~(FLAG.done | FLAG.keepAliveSet | FLAG.bulk) | FLAG.replaying;
    words[row + WORD.score] = 0;
    descriptors.adjustInterest(client);
    words[row + WORD.moves] = Math.min((words[row + WORD.moves] & MOVES_MASK) + 1, MOVES_MASK);
    const leftServer = departure.from >= 0 && departure.from !== words[row + WORD.slot] ? departure.from : undefined;
    counters.addMove(leftServer, words[row + WORD.slot], departure.state);
    const movedAt = services.isLogging ? clock.wallMs() : NaN;
    const move: MoveRecord = { ...departure, id: table.idOf(client), slot: words[row + WORD.slot], replayedBytes, movedAt };
    reports.writeMove({ words, row } satisfies ClientRow, move);
    // Last, because the server may be empty now and its slot reused.
    if (!departure.isHeld) counters.raiseOf(departure.from, "serverOpen", -1);
    reports.publish();
  }

  /** The connection ends during a search: closes the server that it still had. */
  abandon(client: number): void {
    const search = this.#dialer.searchOf(client);
    if (search?.departure === undefined) return;
    const { from, kept, isHeld } = search.departure;
    if (kept >= 0) this.#letGo(client, kept, true);
    if (search.isProbe || isHeld) return;
    this.#words[rowOf(client) + WORD.moves] &= MOVES_MASK;
    this.#kit.counters.raiseOf(from, "serverOpen", -1);
  }

  /** Whether bytes of the client call its departure off. */
  isCalledOffByClient(client: number): boolean {
    const search = this.#dialer.searchOf(client);
    if (search?.departure === undefined || search.isProbe) return false;
    if (search.departure.kept < 0) return false; // it has no server to stay with
    return isCalledOff(search.departure.loss, "client");
  }

  /** Begins the replay of the recorded bytes. Returns their number. */
  #rewind(client: number): number {
    const row = rowOf(client);
    if (this.#words[row + WORD.chunk] !== 0) {
      // The recording contains these bytes: they are sent with it, and count as bytes of the client that were sent.
      this.#floats[floatsOf(client) + FLOAT.bytes] += this.#words[row + WORD.chunkEnd] - this.#words[row + WORD.chunkStart];
      this.#kit.descriptors.drop(client);
    }
    this.#words[row + WORD.facts] += REPLAY_ONE;
    return this.#kit.recorder.rewind(client);
  }

  /** Closes the socket of a server that the connection has left, and keeps its byte count. */
  #letGo(client: number, server: number, isReset: boolean): void {
    const floats = this.#floats;
    const float = floatsOf(client);
    const serverFloat = floatsOf(server);
    floats[float + FLOAT.earlierBytes] += floats[serverFloat + FLOAT.bytes];
    floats[float + FLOAT.lastActivityMs] = Math.max(
      floats[float + FLOAT.lastActivityMs],
      floats[serverFloat + FLOAT.lastActivityMs],
    );
    if (isReset) this.#kit.sockets.resetOnClose(server);
    this.#kit.descriptors.release(server);
  }

  #configOf(client: number): ServiceEngineConfig {
    return this.#kit.services.configOf(client);
  }

  #factsOf(client: number): number {
    return factsOf(this.#words, client);
  }

  #stateOf(client: number): Departure["state"] {
    const state = stateOf(this.#configOf(client).quietMs, this.#factsOf(client), this.quietForMs(client));
    assert(state !== "busy", "a busy connection cannot leave its server");
    return state;
  }
}
