/**
 * Those who wait for a server in one thread of an engine, by service: looks from time to time whether a server can take them, has
 * them dialled in their order and at the pace of `routing/hold.ts`, and ends those who have waited too long. Numbers stand for the
 * connections: knows no socket, and reads no clock. Costs nothing while nobody waits.
 */

import type { Counters } from "../observe/counters.ts";
import { type HoldRules, isPaused, mayWait, Pacer, type Place, type Usability, WaitingLine, waitMaxMs } from "../routing/hold.ts";
import type { Loss } from "../routing/redistribution.ts";
import type { Fate } from "../values/fates.ts";

/** How often those who wait are looked at while no server can take them, in ms. */
const LOOK_MS = 50;

/** The clients of one service. */
interface Held {
  rules: HoldRules;
  readonly line: WaitingLine;
  readonly pacer: Pacer;
}

/** What an engine does for those who wait. */
export interface HoldHost {
  /** What the servers of this service can do now. */
  usabilityOf(service: number): Usability;
  /** Dials servers for this client. What comes of it is told by `join`, `served` or `forget`, at once or later. */
  redial(client: number): void;
  /** Ends this client. */
  endHeld(client: number, fate: Fate): void;
}

/** Those who wait in one thread. */
export class Holds {
  readonly #counters: Counters;
  readonly #share: number;
  /** By service; only those whose rules let clients wait, or have let them. */
  readonly #services = new Map<number, Held>();
  #size = 0;
  #dueMs = Infinity;
  #isClosed = false;
  readonly #onSooner: () => void;

  /** `share`: which part of the pace this thread has. `onSooner` is called when `dueMs` is sooner than it was. */
  constructor(counters: Counters, share: number, onSooner: () => void = () => {}) {
    this.#counters = counters;
    this.#share = share;
    this.#onSooner = onSooner;
  }

  /** When to `look` next; Infinity: nobody waits for anything. */
  get dueMs(): number {
    return this.#dueMs;
  }

  /** Whether nobody waits or is dialled after a wait: then there is nothing to tell. */
  get isEmpty(): boolean {
    return this.#size === 0;
  }

  /** The clients of this service wait by these rules from now on. */
  set(service: number, rules: HoldRules, nowMs: number): void {
    const held = this.#services.get(service);
    const isUsed = rules.holdMs > 0 || isPaused(rules);
    if (held === undefined) {
      if (isUsed) this.#add(service, rules);
      return;
    }
    if (isPaused(held.rules) && !isPaused(rules)) {
      held.line.restartClocks(nowMs);
      held.pacer.restart();
    }
    held.rules = rules;
    this.poke(nowMs);
    if (!isUsed) this.#drop(service, held);
  }

  /**
   * Whether a client of this service must not be dialled now: there is a pause, others came before, or one of them is being dialled
   * to learn whether the servers accept anybody.
   */
  mustWait(service: number): boolean {
    if (this.#services.size === 0 || this.#isClosed) return false; // as nearly always
    const held = this.#services.get(service);
    if (held === undefined || held.rules.waiting === "ended") return false;
    return isPaused(held.rules) || held.line.size > 0 || held.pacer.isTrying;
  }

  /** Whether a client of this service whom no server has taken waits; see `routing/hold.ts`. */
  mayWait(service: number, loss: Loss | undefined, hasServer: boolean): boolean {
    if (this.#services.size === 0 || this.#isClosed) return false;
    const held = this.#services.get(service);
    return held !== undefined && mayWait(held.rules, loss, hasServer);
  }

  /** Whether open connections of this service leave their servers and wait. */
  parks(service: number): boolean {
    return this.#services.size > 0 && this.#services.get(service)?.rules.waiting === "parked";
  }

  /** A client of this service waits. One that was dialled after a wait has its place again, and the others wait for longer. */
  join(service: number, client: number, nowMs: number): void {
    const { line, pacer } = this.#services.get(service)!;
    if (line.join(client, nowMs)) pacer.ended(false, nowMs);
    else {
      this.#size++;
      this.#counters.addToService(service, "serviceHeld");
    }
    this.#counters.raiseOfService(service, "serviceWaiting", 1);
    this.poke(nowMs);
  }

  /** Whether this client waits, or is dialled after a wait. */
  has(service: number, client: number): boolean {
    return this.#size > 0 && this.#services.get(service)?.line.has(client) === true;
  }

  /** A client that waits is served by another process from now on. Returns the place that it had. */
  leave(service: number, client: number, nowMs: number): Place {
    const place = this.#services.get(service)!.line.placeOf(client);
    this.forget(service, client, nowMs);
    return place;
  }

  /** A client has this place, in another process or here before. `holdMs` is the rule where nobody else waits. */
  restore(service: number, client: number, place: Place, { holdMs, nowMs }: { holdMs: number; nowMs: number }): void {
    const { line } = this.#services.get(service) ?? this.#add(service, { holdMs });
    line.restore(client, place);
    this.#size++;
    this.#counters.raiseOfService(service, "serviceWaiting", 1);
    this.poke(nowMs);
  }

  /** A server has accepted this client. */
  served(service: number, client: number, nowMs: number): void {
    this.#leave(service, client, true, nowMs);
  }

  /** This client ends. */
  forget(service: number, client: number, nowMs: number): void {
    this.#leave(service, client, undefined, nowMs);
  }

  /** Something has changed for those who wait: a server has room, or the rules are others. */
  poke(nowMs: number): void {
    if (this.#size === 0 || this.#dueMs <= nowMs) return;
    this.#dueMs = nowMs;
    this.#onSooner();
  }

  /** Ends whoever waits, and lets nobody wait any more. */
  close(fate: Fate, host: HoldHost): void {
    this.#isClosed = true;
    for (const { line } of this.#services.values()) this.#endAll(line, fate, host);
    this.#dueMs = Infinity;
  }

  /** Has those dialled whose turn it is, and ends those who have waited too long. */
  look(nowMs: number, host: HoldHost): void {
    let nextMs = Infinity;
    for (const [service, held] of this.#services) {
      if (held.line.size > 0) nextMs = Math.min(nextMs, this.#lookAt(service, held, nowMs, host));
      this.#drop(service, held);
    }
    this.#dueMs = nextMs;
  }

  #add(service: number, rules: HoldRules): Held {
    const held = { rules, line: new WaitingLine(), pacer: new Pacer(this.#share) };
    this.#services.set(service, held);
    return held;
  }

  /** Looks at one service. Returns when to look again. */
  #lookAt(service: number, held: Held, nowMs: number, host: HoldHost): number {
    const { line, pacer, rules } = held;
    if (rules.waiting === "ended") this.#endAll(line, "no_server", host);
    if (isPaused(rules)) return Infinity;
    const sinceMs = this.#endLate(line, nowMs - waitMaxMs(rules), host);
    if (sinceMs === undefined) return Infinity;
    const usability = this.#dialAll(service, held, nowMs, host);
    if (usability === "none") pacer.restart();
    const nextMs = usability === "usable" ? pacer.nextMs(nowMs) : nowMs + LOOK_MS;
    return Math.min(nextMs, sinceMs + waitMaxMs(rules));
  }

  /** Has as many dialled as may be. Returns what the servers can do for the others. */
  #dialAll(service: number, { line, pacer, rules }: Held, nowMs: number, host: HoldHost): Usability {
    for (;;) {
      // Those whom a pause has kept, and who may not wait any longer, learn what they would have learned without it.
      const usability = rules.holdMs === 0 ? "usable" : host.usabilityOf(service);
      const first = line.first();
      if (usability !== "usable" || first === undefined || !pacer.allows(nowMs)) return usability;
      line.take();
      pacer.began();
      this.#counters.raiseOfService(service, "serviceWaiting", -1);
      host.redial(first.id);
    }
  }

  /** Ends those who wait since before `beforeMs`. Returns since when the first of the others waits; undefined: there is none. */
  #endLate(line: WaitingLine, beforeMs: number, host: HoldHost): number | undefined {
    for (let first = line.first(); first !== undefined; first = line.first()) {
      if (first.sinceMs > beforeMs) return first.sinceMs;
      host.endHeld(first.id, "hold_timeout");
    }
  }

  #endAll(line: WaitingLine, fate: Fate, host: HoldHost): void {
    for (let first = line.first(); first !== undefined; first = line.first()) host.endHeld(first.id, fate);
  }

  #leave(service: number, client: number, isAccepted: boolean | undefined, nowMs: number): void {
    if (this.#size === 0) return;
    const held = this.#services.get(service);
    const wasDialled = held?.line.forget(client);
    if (held === undefined || wasDialled === undefined) return;
    this.#size--;
    if (wasDialled) held.pacer.ended(isAccepted, nowMs);
    else this.#counters.raiseOfService(service, "serviceWaiting", -1);
  }

  /** Forgets a service whose rules let nobody wait once nobody does. */
  #drop(service: number, { rules, line, pacer }: Held): void {
    if (rules.holdMs > 0 || isPaused(rules) || line.size + pacer.dialling > 0) return;
    this.#services.delete(service);
  }
}
