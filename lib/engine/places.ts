/**
 * Clients who wait for a place in one thread of an engine (`--queue`): the balancer has as many open connections as
 * `--max-connections` allows. They are accepted and not read; whoever is beyond the queue is refused as without it. The kernel's
 * own queue is for bursts that no thread has accepted yet: nobody in it can be counted, told or let go. Numbers stand for the
 * connections: knows no socket, and reads no clock. Costs nothing while nobody waits.
 */

import type { Counters } from "../observe/counters.ts";
import { type Place, WaitingLine } from "../routing/hold.ts";
import type { Fate } from "../values/fates.ts";
import type { EngineConfig } from "./engine.ts";

/** How often those who wait are looked at, in ms: another thread may have a place to give. */
const LOOK_MS = 50;

/** What an engine does for those who wait for a place. */
export interface PlaceHost {
  /** This client has a place: its connection begins. */
  admit(client: number): void;
  /** Ends this client. */
  endQueued(client: number, fate: Fate): void;
}

/** The settings of the queue. */
type QueueConfig = Pick<EngineConfig, "connectionsMax" | "queueTimeoutMs">;

/** Those who wait in one thread. */
export class Places {
  readonly #counters: Counters;
  readonly #onSooner: () => void;
  readonly #line = new WaitingLine();
  #dueMs = Infinity;

  /** `onSooner` is called when `dueMs` is sooner than it was. */
  constructor(counters: Counters, onSooner: () => void = () => {}) {
    this.#counters = counters;
    this.#onSooner = onSooner;
  }

  /** When to `look` next; Infinity: nobody waits. */
  get dueMs(): number {
    return this.#dueMs;
  }

  get isEmpty(): boolean {
    return this.#line.size === 0;
  }

  /** A client waits, who is counted as such (`enqueue`). */
  join(client: number, nowMs: number): void {
    this.#line.join(client, nowMs);
    this.poke(nowMs);
  }

  /** A client ends who may have waited. */
  forget(client: number): void {
    if (this.isEmpty || this.#line.forget(client) === undefined) return;
    this.#counters.raise("queued", -1);
  }

  /** A client that waits is served by another process from now on. Returns where it stood. */
  leave(client: number): Place {
    const place = this.#line.placeOf(client);
    this.forget(client);
    return place;
  }

  /** A client stands there, in another process or here before. */
  restore(client: number, place: Place, nowMs: number): void {
    this.#line.restore(client, place);
    this.#counters.raise("queued");
    this.poke(nowMs);
  }

  /** There may be a place. */
  poke(nowMs: number): void {
    if (this.isEmpty || this.#dueMs <= nowMs) return;
    this.#dueMs = nowMs;
    this.#onSooner();
  }

  /** Lets in as many as there are places for, in the order in which they came, and ends those who have waited too long. */
  look(nowMs: number, { connectionsMax, queueTimeoutMs }: QueueConfig, host: PlaceHost): void {
    let first = this.#line.first();
    for (; first !== undefined; first = this.#line.first()) {
      if (nowMs - first.sinceMs >= queueTimeoutMs) host.endQueued(first.id, "queue_timeout");
      else if (takePlace(this.#counters, connectionsMax)) this.#admit(first.id, host);
      else break;
    }
    this.#dueMs = first === undefined ? Infinity : nowMs + Math.min(LOOK_MS, first.sinceMs + queueTimeoutMs - nowMs);
  }

  /** Ends whoever waits. */
  close(fate: Fate, host: PlaceHost): void {
    for (let first = this.#line.first(); first !== undefined; first = this.#line.first()) host.endQueued(first.id, fate);
    this.#dueMs = Infinity;
  }

  #admit(client: number, host: PlaceHost): void {
    this.#line.forget(client);
    host.admit(client);
  }
}

/**
 * Whether a client that was accepted, and counted as one of `open`, has no place: there are too many, or others wait for one. Reads
 * what threads change meanwhile, and errs towards waiting: whoever takes a place from the queue must see that nobody has joined it.
 */
export function lacksPlace(counters: Counters, open: number, { connectionsMax, queueMax }: EngineConfig): boolean {
  return open > connectionsMax || (queueMax > 0 && counters.get("queued") > 0);
}

/** Counts a client that lacks a place as one who waits. False: the queue is full. */
export function enqueue(counters: Counters, { queueMax }: EngineConfig): boolean {
  if (queueMax > 0 && counters.raise("queued") <= queueMax) return true;
  if (queueMax > 0) counters.raise("queued", -1);
  return false;
}

/** Gives a place to one of those who wait, if there is one, and counts him no more. */
function takePlace(counters: Counters, connectionsMax: number): boolean {
  for (;;) {
    const queued = counters.get("queued");
    if (counters.get("open") - (queued - 1) > connectionsMax) return false;
    if (counters.exchange("queued", queued, queued - 1)) return true;
  }
}
