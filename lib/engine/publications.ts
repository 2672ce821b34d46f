/** What differs between two publications, by the identity of their objects. */

import { LIMITS } from "../values/config.ts";
import { assert } from "../values/errors.ts";
import type { EngineService, Publication, ServiceListener } from "./engine.ts";

/** What an index meant and means; undefined: nothing. */
export interface Change<T> {
  readonly index: number;
  readonly before: T | undefined;
  readonly now: T | undefined;
}

/** What differs in a publication from the one before it. */
export interface Changes {
  readonly services: readonly Change<EngineService>[];
  readonly listeners: readonly Change<ServiceListener>[];
}

/** The publication without anything, before the first one. */
export const NOTHING_PUBLISHED: Publication = { services: [], listeners: [] };

/** The changes that lead from one publication to the next. */
export function changesOf(before: Publication, now: Publication): Changes {
  assert(now.services.length <= LIMITS.servicesMax, "too many services");
  assert(now.listeners.length <= LIMITS.listenersMax, "too many listeners");
  return { services: differ(before.services, now.services), listeners: differ(before.listeners, now.listeners) };
}

/** A listener that is to be closed, and the index that it had. */
export interface Leaving extends ServiceListener {
  readonly index: number;
}

/** The listeners that a change closes. One that has moved to another index stays open. */
export function leavingBy(listeners: Changes["listeners"]): Leaving[] {
  const kept = new Set(listeners.map(({ now }) => now?.listener));
  return listeners.flatMap(({ index, before }) => before === undefined || kept.has(before.listener) ? [] : [{ index, ...before }]);
}

/** Whether clients of this listener may get the service, or are served by its settings until theirs is known. */
export function leadsTo({ service, routes }: ServiceListener, index: number): boolean {
  return service === index || routes?.services.includes(index) === true;
}

/** The listeners with routes that have gone while clients may still wait to be told their service. */
export class GoneRoutes {
  readonly #gone = new Map<number, ServiceListener>();

  /** Some listeners have changed. */
  update(changes: Changes["listeners"]): void {
    for (const { index, before, now } of changes) {
      this.#gone.delete(index);
      if (now === undefined && before?.routes !== undefined) this.#gone.set(index, before);
    }
  }

  /** What a listener was that has gone; undefined: it had no routes, or is there. */
  get(index: number): ServiceListener | undefined {
    return this.#gone.get(index);
  }

  /** Whether a client may still get this service, or is served by its settings; `awaiting` says how many clients wait. */
  leadTo(service: number, awaiting: (index: number) => number): boolean {
    for (const [index, listener] of this.#gone) if (leadsTo(listener, service) && awaiting(index) > 0) return true;
    return false;
  }
}

function differ<T>(before: readonly (T | undefined)[], now: readonly (T | undefined)[]): Change<T>[] {
  const changes: Change<T>[] = [];
  for (let index = 0; index < Math.max(before.length, now.length); index++) {
    if (before[index] !== now[index]) changes.push({ index, before: before[index], now: now[index] });
  }
  return changes;
}
