/**
 * What a balancer hands over beside its connections and its state: the names of its indexes and slots, what it has counted, the
 * servers that it is removing, the pauses of its services, what ended lately. Plain data by names, so that a later version, with
 * other counters or another order, can use it. Pure.
 */

import type { CarriedIndexes } from "../engine/engine.ts";
import type { Counted } from "../observe/counters.ts";
import type { CarriedEnds } from "../observe/recent.ts";
import { LIMITS } from "../values/config.ts";
import type { SavedServer, SavedState } from "../values/saved_state.ts";

/** The names of everything that connections and counters know by a number. */
export interface Places {
  readonly services: readonly (readonly [index: number, service: string])[];
  readonly listeners: readonly (readonly [index: number, address: string])[];
  readonly servers: readonly (readonly [slot: number, service: string, server: string])[];
}

/** What was counted, by the names of what it was counted for. */
export interface Figures {
  readonly process: Counted;
  readonly services: readonly { readonly service: string; readonly counted: Counted }[];
  readonly listeners: readonly { readonly listener: string; readonly counted: Counted }[];
  readonly servers: readonly { readonly service: string; readonly server: string; readonly counted: Counted }[];
}

/** A server that has left its pool and still has connections. */
export interface Leftover {
  readonly service: string;
  readonly server: SavedServer;
  /** How long its connections still have. */
  readonly drainMs: number;
}

/** The pause of a service; times as ISO 8601. */
export interface CarriedPause {
  readonly service: string;
  readonly since: string;
  readonly until: string;
  readonly idle: boolean;
  readonly who: string;
}

/** What is handed over at the end, when no connection is left. */
export interface LastWords {
  readonly figures: Figures;
  readonly ends: CarriedEnds;
  readonly rebalances: readonly { readonly service: string; readonly rate: number }[];
}

/**
 * What the numbers of a process that gives are in one that takes. A listener that has closed has no number there: its connections
 * become those of the first listener.
 */
export function joinPlaces(given: Places, own: Places): CarriedIndexes {
  const services = new Map(own.services.map(([index, name]) => [name, index]));
  const listeners = new Map(own.listeners.map(([index, address]) => [address, index]));
  const slots = new Map(own.servers.map(([slot, ...names]) => [keyOf(names), slot]));
  return {
    services: indexed(given.services.map(([index, name]) => [index, services.get(name) ?? -1])),
    listeners: indexed(given.listeners.map(([index, address]) => [index, listeners.get(address) ?? 0]), LIMITS.listenersMax, 0),
    slots: indexed(given.servers.map(([slot, ...names]) => [slot, slots.get(keyOf(names)) ?? -1])),
  };
}

/** The state with the servers that are being removed, as drained ones: they must be there while connections arrive. */
export function withLeftovers(state: SavedState, leftovers: readonly Leftover[]): SavedState {
  if (leftovers.length === 0) return state;
  const of = Map.groupBy(leftovers, ({ service }) => service);
  return {
    ...state,
    services: state.services.map((service) => {
      const drained = (of.get(service.name) ?? []).map(({ server }) => ({ ...server, draining: true }));
      const servers = [...service.servers, ...drained].toSorted((a, b) => a.server < b.server ? -1 : 1);
      return drained.length === 0 ? service : { ...service, servers };
    }),
  };
}

function keyOf(names: readonly string[]): string {
  return names.join("\n");
}

function indexed(pairs: readonly (readonly [number, number])[], size = 0, fallback = -1): Int32Array {
  const length = pairs.reduce((most, [index]) => Math.max(most, index + 1), size);
  const indexes = new Int32Array(length).fill(fallback);
  for (const [index, value] of pairs) indexes[index] = value;
  return indexes;
}
