/**
 * The access log: where its lines go, which connections are in it, and what becomes of lines that it loses. It can be off, and all
 * of that can change while it runs. A connection whose fate is `done` is in it if it belongs to the sample; every other one is at
 * its end. Moves come one by one before the end and are kept until then, up to limits. Never delays anybody: lines go to a
 * LineBuffer. Reads no clock but the one that it is given.
 */

import { deadline } from "@std/async";
import { formatConnectionId } from "../values/connection_id.ts";
import { isSampled } from "../values/sampling.ts";
import { AccessLines, type AccessMoves, type AccessPlace } from "./access_line.ts";
import type { EndedConnection, MovedConnection, StartedConnection } from "./connections.ts";
import type { Counters } from "./counters.ts";
import { LineBuffer, type LineOutput } from "./line_buffer.ts";
import { logger } from "./log.ts";

/** Limit on lines that wait to be written, in characters: about two seconds at 10,000 connections a second. */
const WAITING_MAX = 8 * 1024 ** 2;

/** Moves in the line of one connection. Further ones are only counted. */
export const MOVES_LISTED_MAX = 32;
/** Open connections whose moves are kept. */
export const MOVED_KEPT_MAX = 100_000;

/** Time between two messages that lines were dropped. */
export const WARN_PAUSE_MS = 10_000;

const NO_MOVES: AccessMoves = { list: "", listed: 0, replayedBytes: 0 };

const log = logger("access");

/** Where the access log goes, and what is in it. */
export interface AccessLogTarget {
  readonly output: LineOutput;
  /** The share of the connections with the fate `done` that are logged, from 0 to 1. */
  readonly sample: number;
}

/** Options of an AccessLog. */
interface AccessLogOptions {
  /** The daemon's, for `formatConnectionId`. */
  readonly startId: string;
  /** Where a client connected, by the indexes of the listener and of the service; the same object for the same ones. */
  readonly placeOf: (listener: number, service: number) => AccessPlace;
  readonly counters: Pick<Counters, "add">;
  readonly nowMs?: () => number;
}

/** An access log. It is off until it has a target. */
export class AccessLog {
  readonly #options: AccessLogOptions;
  #target: AccessLogTarget | undefined;
  /** Of the target. */
  #buffer: LineBuffer | undefined;
  readonly #lines = new AccessLines();
  /** By the number of the connection. */
  readonly #moves = new Map<number, AccessMoves>();
  /** Dropped lines of which the log does not know yet. */
  #unsaid = { count: 0, why: "" };
  #saidMs = -Infinity;

  constructor(options: AccessLogOptions) {
    this.#options = options;
  }

  /**
   * From now on lines go to this target; undefined: nowhere. Resolves when the lines that were taken before have been written where
   * they were to go, at most `maxMs` later.
   */
  async aim(target: AccessLogTarget | undefined, maxMs: number): Promise<void> {
    const before = this.#target?.output === target?.output ? undefined : this.#buffer;
    if (this.#target?.output !== target?.output) this.#buffer = target && this.#bufferFor(target.output);
    this.#target = target;
    if (target === undefined) this.#moves.clear();
    if (before !== undefined) await this.#empty(before, maxMs, "they were not written before the access log was elsewhere");
  }

  /** A connection has begun. */
  started(started: StartedConnection): void {
    if (this.#target === undefined || !isSampled(started.id, this.#target.sample)) return;
    this.#buffer!.write(this.#lines.start(this.#idOf(started), started, this.#placeOf(started)));
  }

  /** A connection has moved. One that moved while there was no access log only counts. */
  moved(moved: MovedConnection): void {
    if (this.#target === undefined || moved.movedAt === undefined) return;
    const before = this.#moves.get(moved.id) ?? NO_MOVES;
    if (before === NO_MOVES && this.#moves.size >= MOVED_KEPT_MAX) this.#forgetOldest();
    const isListed = before.listed < MOVES_LISTED_MAX;
    this.#moves.set(moved.id, {
      list: isListed ? `${before.list}${before.listed > 0 ? "," : ""}${this.#lines.move(moved)}` : before.list,
      listed: before.listed + (isListed ? 1 : 0),
      replayedBytes: before.replayedBytes + moved.replayedBytes,
    });
  }

  /** A connection has ended. One that ended while there was no access log is not in it. */
  ended(ended: EndedConnection): void {
    if (this.#target === undefined || ended.endedAt === undefined) return;
    const moves = ended.moves === 0 ? NO_MOVES : this.#moves.get(ended.id) ?? NO_MOVES;
    if (moves !== NO_MOVES) this.#moves.delete(ended.id);
    if (ended.fate === "done" && !isSampled(ended.id, this.#target.sample)) return;
    this.#buffer!.write(this.#lines.end(this.#idOf(ended), ended, this.#placeOf(ended), moves));
  }

  /** So many lines were lost, for this reason (a clause). They are counted, and said in the log once in a while. */
  drop(count: number, why: string): void {
    const { counters, nowMs = () => performance.now() } = this.#options;
    counters.add("accessLogDropped", count);
    this.#unsaid = { count: this.#unsaid.count + count, why };
    if (nowMs() - this.#saidMs < WARN_PAUSE_MS) return;
    this.#saidMs = nowMs();
    this.#sayDropped();
  }

  /** Resolves when every line is written or dropped, and the log knows of those that were dropped. */
  async flush(): Promise<void> {
    await this.#buffer?.flush();
    this.#sayDropped();
  }

  /** Like `flush`, but for at most `maxMs`: lines that are not written by then, because the output hangs, count as dropped. */
  async end(maxMs: number): Promise<void> {
    if (this.#buffer !== undefined) await this.#empty(this.#buffer, maxMs, "they were not written before the balancer ended");
    this.#sayDropped();
  }

  #bufferFor(output: LineOutput): LineBuffer {
    return new LineBuffer({ output, keptMax: WAITING_MAX, onDropped: (count, why) => this.drop(count, why) });
  }

  /** Waits until a buffer is empty; what is in it after `maxMs` counts as dropped. */
  async #empty(buffer: LineBuffer, maxMs: number, why: string): Promise<void> {
    await deadline(buffer.flush(), maxMs).catch(() => this.drop(buffer.lines, why));
  }

  #sayDropped(): void {
    const { count, why } = this.#unsaid;
    if (count > 0) log.warn("{dropped} lines of the access log were dropped: {why}", { dropped: count, why });
    this.#unsaid = { count: 0, why: "" };
  }

  #idOf({ id }: { readonly id: number }): string {
    return formatConnectionId(this.#options.startId, id);
  }

  #placeOf({ listener, service }: { readonly listener: number; readonly service: number }): AccessPlace {
    return this.#options.placeOf(listener, service);
  }

  /** Its end was not reported, or it has been open longest since it moved. */
  #forgetOldest(): void {
    for (const id of this.#moves.keys()) return void this.#moves.delete(id);
  }
}
