/**
 * Clients who wait because no server can take them now (`--hold`, a pause): who waits, in which order, for how long, and how fast
 * they are dialled once a server can take them again. Pure: times are arguments. `engine/holds.ts` keeps them, and the engines
 * carry out what it says.
 */

import { AVAILABILITY, isClosed } from "./availability.ts";
import type { Loss } from "./redistribution.ts";
import type { Load } from "./route.ts";
import type { RoutingColumns } from "./routing_table.ts";

/** What the clients of a service may do who find no server. */
export interface HoldRules {
  /** How long a client waits, in ms; 0: not at all. The time of a pause does not count. */
  readonly holdMs: number;
  /**
   * `paused`: all new clients wait, and nobody is dialled. `parked`: open connections leave their servers and wait as well, as soon
   * as they may move. `ended`: the service goes, and nobody waits.
   */
  readonly waiting?: "paused" | "parked" | "ended";
}

/** Whether new clients wait, whatever the servers can do. */
export function isPaused({ waiting }: HoldRules): boolean {
  return waiting === "paused" || waiting === "parked";
}

/**
 * Whether a client whom no server has taken waits. `loss`: why it has left its server, undefined if it never had one. Where it
 * still has one that serves, it stays there.
 */
export function mayWait({ holdMs, waiting }: HoldRules, loss: Loss | undefined, hasServer: boolean): boolean {
  if (waiting === "ended" || (holdMs === 0 && waiting === undefined)) return false;
  return !hasServer || loss === "expired" || (loss === "drain" && waiting === "parked");
}

/** How long a client may wait, in ms. Without `--hold` those whom a pause has kept are dialled in their turn, with any result. */
export function waitMaxMs(rules: HoldRules): number {
  return isPaused(rules) || rules.holdMs === 0 ? Infinity : rules.holdMs;
}

/** What the servers of a table can do for those who wait. `full`: those that could take them are at their limits of connections. */
export type Usability = "usable" | "full" | "none";

/** What these servers can do. One that is down or resting is not asked: new clients who find nobody waiting try it. */
export function usabilityOf(
  { slots, connectionsMax }: Pick<RoutingColumns, "slots" | "connectionsMax">,
  load: Pick<Load, "openOf" | "availabilityOf">,
): Usability {
  let found: Usability = "none";
  for (let index = 0; index < slots.length; index++) {
    const availability = load.availabilityOf(slots[index]);
    if (isClosed(availability) || availability === AVAILABILITY.fallback) continue;
    if (load.openOf(slots[index]) < connectionsMax[index]) return "usable";
    found = "full";
  }
  return found;
}

/** The clients a second that a service dials at first after a time without a usable server. */
export const START_PER_S = 50;
/** The time in which that doubles, in ms, as long as servers accept. 10,000 clients take 2.3 s, and 100,000 take 5.5 s. */
export const DOUBLING_MS = 250;
/** The most clients a second. */
export const MOST_PER_S = 20_000;
/** The pause after a dial that no server has accepted, in ms. It doubles up to the second one. */
export const RETRY_MIN_MS = 100;
/** See RETRY_MIN_MS. */
export const RETRY_MAX_MS = 3200;
/** The longest time that counts between two looks, in ms: whoever looks late may not catch up. */
const LOOK_COUNTED_MS = 100;
/** The time of which a rate may be saved up, in ms. */
const SAVED_MS = 50;
/** The shortest time between two looks, in ms. */
const LOOK_MIN_MS = 5;

/**
 * How fast those who wait are dialled: like TCP's slow start (RFC 5681, 3.1), but by time and not by round trips, of which there
 * are thousands a second between two machines of one room. A server that has just started and is sent everybody at once is down
 * again. One for each thread, for each service; `share` is its part of the rates above.
 */
export class Pacer {
  readonly #startPerMs: number;
  readonly #mostPerMs: number;
  #perMs: number;
  /** How many may be dialled now; a fraction is saved up. */
  #saved = 1;
  /** When it was last looked at; undefined: it begins with the next look. */
  #atMs: number | undefined;
  #dialling = 0;
  #pauseMs = RETRY_MIN_MS;
  #pausedUntilMs = -Infinity;
  /** A server has accepted somebody since the pace began. */
  #isProven = false;

  constructor(share = 1) {
    this.#perMs = this.#startPerMs = START_PER_S * share / 1000;
    this.#mostPerMs = MOST_PER_S * share / 1000;
  }

  /** Those who are being dialled. */
  get dialling(): number {
    return this.#dialling;
  }

  /** Whether it is not known yet whether the servers accept anybody: somebody is being dialled to learn it. */
  get isTrying(): boolean {
    return this.#dialling > 0 && !this.#isProven;
  }

  /** No server was usable: the next one that is begins as if it had just started. */
  restart(): void {
    this.#slowDown();
    this.#pauseMs = RETRY_MIN_MS;
  }

  /** Whether one more may be dialled. */
  allows(nowMs: number): boolean {
    this.#look(nowMs);
    return nowMs >= this.#pausedUntilMs && this.#saved >= 1 && this.#hasRoom();
  }

  /** One of them is dialled. */
  began(): void {
    this.#saved--;
    this.#dialling++;
  }

  /** A dial is over; `isAccepted`: undefined if the client has ended meanwhile, which says nothing. */
  ended(isAccepted: boolean | undefined, nowMs: number): void {
    this.#dialling--;
    if (isAccepted === true) {
      this.#pauseMs = RETRY_MIN_MS;
      this.#isProven = true;
    }
    if (isAccepted !== false || nowMs < this.#pausedUntilMs) return; // of dials that were under way together the first one counts
    this.#slowDown();
    this.#pausedUntilMs = nowMs + this.#pauseMs;
    this.#pauseMs = Math.min(this.#pauseMs * 2, RETRY_MAX_MS);
  }

  /** When one more may be dialled, if nothing happens before. */
  nextMs(nowMs: number): number {
    if (nowMs < this.#pausedUntilMs) return this.#pausedUntilMs;
    const waitMs = this.#hasRoom() ? (1 - this.#saved) / this.#perMs : LOOK_COUNTED_MS;
    return nowMs + Math.max(LOOK_MIN_MS, Math.min(waitMs, LOOK_COUNTED_MS));
  }

  #slowDown(): void {
    this.#perMs = this.#startPerMs;
    this.#saved = 1;
    this.#atMs = undefined;
    this.#isProven = false;
  }

  /** As many as may begin within one doubling may be under way: a server that accepts slowly is not sent more. */
  #hasRoom(): boolean {
    return this.#dialling < Math.max(1, this.#perMs * DOUBLING_MS);
  }

  #look(nowMs: number): void {
    if (nowMs < this.#pausedUntilMs) return;
    const countedMs = Math.min(nowMs - (this.#atMs ?? nowMs), LOOK_COUNTED_MS);
    this.#atMs = nowMs;
    if (!this.#hasRoom()) return;
    this.#saved = Math.min(this.#saved + this.#perMs * countedMs, Math.max(1, this.#perMs * SAVED_MS));
    this.#perMs = Math.min(this.#perMs * 2 ** (countedMs / DOUBLING_MS), this.#mostPerMs);
  }
}

/** Where somebody stands in a line, and since when he waits. */
export interface Place {
  /** Whoever has a smaller one comes first. */
  readonly number: number;
  readonly sinceMs: number;
}

/** What is taken from the places of another process: those who come from there have come before everybody who is here. */
const EARLIER = 2 ** 40;

/** The place here of somebody who had this one in another process. A number stays whole for 8,000 processes one after another. */
export function earlierPlace({ number, sinceMs }: Place): Place {
  return { number: number - EARLIER, sinceMs };
}

/** Somebody who waits. */
interface Waiting {
  readonly id: number;
  readonly place: number;
  sinceMs: number;
  state: "waits" | "dialled" | "gone";
}

/** Those who have gone are dropped from the line when they are so many, and more than those who wait. */
const GONE_MAX = 64;

/** Those who wait, in the order in which they came. Who is dialled and taken by nobody returns to the place that it had. */
export class WaitingLine {
  readonly #byId = new Map<number, Waiting>();
  /** In the order of their places; those before `#head` have been taken. */
  #line: Waiting[] = [];
  #head = 0;
  /** Those who have returned, in the order of their places. */
  readonly #returned: Waiting[] = [];
  #places = 0;
  #dialled = 0;

  /** Those who wait; those who are being dialled do not. */
  get size(): number {
    return this.#byId.size - this.#dialled;
  }

  /** Adds somebody to the end, or lets him return to his place. True: he has returned. */
  join(id: number, nowMs: number): boolean {
    const waiting = this.#byId.get(id);
    if (waiting === undefined) {
      const last: Waiting = { id, place: this.#places++, sinceMs: nowMs, state: "waits" };
      this.#byId.set(id, last);
      this.#line.push(last);
      return false;
    }
    waiting.state = "waits";
    this.#dialled--;
    this.#return(waiting);
    return true;
  }

  has(id: number): boolean {
    return this.#byId.has(id);
  }

  /** The place of somebody who waits. */
  placeOf(id: number): Place {
    const { place, sinceMs } = this.#byId.get(id)!;
    return { number: place, sinceMs };
  }

  /** Somebody has this place, and not the last one. */
  restore(id: number, { number, sinceMs }: Place): void {
    const waiting: Waiting = { id, place: number, sinceMs, state: "waits" };
    this.#byId.set(id, waiting);
    this.#return(waiting);
  }

  /** Who has waited longest, and since when; undefined: nobody waits. */
  first(): { readonly id: number; readonly sinceMs: number } | undefined {
    while (this.#line[this.#head]?.state === "gone") this.#head++;
    while (this.#returned[0]?.state === "gone") this.#returned.shift();
    const [head, returned] = [this.#line[this.#head], this.#returned[0]];
    return returned !== undefined && (head === undefined || returned.place < head.place) ? returned : head;
  }

  /** The first one is dialled. */
  take(): void {
    const first = this.first() as Waiting;
    if (first === this.#returned[0]) this.#returned.shift();
    else this.#head++;
    first.state = "dialled";
    this.#dialled++;
    this.#compact();
  }

  /** Somebody has a server, or has ended. Returns whether he was being dialled; undefined: he is not here. */
  forget(id: number): boolean | undefined {
    const waiting = this.#byId.get(id);
    if (waiting === undefined) return undefined;
    this.#byId.delete(id);
    const wasDialled = waiting.state === "dialled";
    if (wasDialled) this.#dialled--;
    waiting.state = "gone";
    this.#compact();
    return wasDialled;
  }

  /** The time of everybody begins anew: until now it was a pause that kept them. */
  restartClocks(nowMs: number): void {
    for (const waiting of this.#byId.values()) waiting.sinceMs = nowMs;
  }

  #return(waiting: Waiting): void {
    const at = this.#returned.findLastIndex(({ place }) => place < waiting.place) + 1;
    this.#returned.splice(at, 0, waiting);
  }

  #compact(): void {
    const live = this.size;
    if (this.#line.length + this.#returned.length - live <= GONE_MAX + live) return;
    this.#line = this.#line.slice(this.#head).filter(({ state }) => state === "waits");
    this.#head = 0;
    const returned = this.#returned.filter(({ state }) => state === "waits");
    this.#returned.splice(0, this.#returned.length, ...returned);
  }
}
