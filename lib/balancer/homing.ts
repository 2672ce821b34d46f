/**
 * Sends open connections home at a steady, low rate: those of a tier that is no longer in use (`--fail-back idle`), and those that
 * are older than `--max-age`. Looks through all connections again and again; a connection in the middle of an exchange, or whose
 * home is full, is found again later. None is cut. What home is says `routing/home.ts`.
 */

import type { Engine, OpenConnection } from "../engine/engine.ts";
import { type HomeRules, isAway, isDue, sendsHome } from "../routing/home.ts";
import { decide, type RedistributionPolicy } from "../routing/redistribution.ts";
import type { Load } from "../routing/route.ts";
import type { RoutingTable } from "../routing/routing_table.ts";
import { clientKey } from "../values/address.ts";
import { DEFAULT_REBALANCE_RATE } from "../values/config.ts";

/** A service as homing sees it. */
export interface HomingService {
  readonly table: RoutingTable;
  readonly load: Load;
  readonly rules: HomeRules & RedistributionPolicy;
}

interface HomingOptions {
  readonly engine: Pick<Engine, "connections" | "sendToOwner">;
  /** The services at this moment. */
  readonly services: () => Iterable<HomingService>;
  /** The shortest time between two looks; another one for tests. */
  readonly lookMs?: number;
}

/** The shortest time between two looks. */
const LOOK_MS = 1000;
/** A look takes at most one part in so many of the time: with many connections there are fewer looks. */
const LOOK_PARTS = 20;

/** A server of a service. `index`: in its table. */
interface Place {
  readonly service: HomingService;
  readonly index: number;
}

/** Runs until it is disposed of. */
export class Homing implements Disposable {
  readonly #options: HomingOptions;
  readonly #lookMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** How many connections have been sent: the next look begins with others, should some of them never arrive. */
  #sent = 0;

  constructor(options: HomingOptions) {
    this.#options = options;
    this.#lookMs = options.lookMs ?? LOOK_MS;
    this.#lookIn(this.#lookMs);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #lookIn(ms: number): void {
    this.#timer = setTimeout(() => {
      const startedMs = performance.now();
      this.#look(ms / 1000 * DEFAULT_REBALANCE_RATE);
      this.#lookIn(Math.max(this.#lookMs, (performance.now() - startedMs) * LOOK_PARTS));
    }, ms);
  }

  /** Sends at most `most` connections home. */
  #look(most: number): void {
    const places = placesOf([...this.#options.services()].filter(({ rules }) => sendsHome(rules)));
    if (places.size === 0) return;
    const ids: number[] = [];
    for (const connection of this.#options.engine.connections()) {
      const place = places.get(connection.slot);
      if (place !== undefined && shouldGo(place, connection)) ids.push(connection.id);
    }
    const count = Math.min(ids.length, most);
    for (let i = 0; i < count; i++) this.#options.engine.sendToOwner(ids[this.#sent++ % ids.length]);
  }
}

/** The servers of these services by slot. */
export function placesOf(services: readonly HomingService[]): Map<number, Place> {
  const places = new Map<number, Place>();
  for (const service of services) service.table.slots.forEach((slot, index) => places.set(slot, { service, index }));
  return places;
}

function shouldGo({ service: { table, load, rules }, index }: Place, connection: OpenConnection): boolean {
  const { id, ageMs, facts, quietForMs, replays, ip, port } = connection;
  if (!isDue(table, load, rules, { index, id, ageMs })) return false;
  if (decide(rules, "rebalance", facts, quietForMs, replays) !== "move") return false;
  return isAway(table, load, clientKey(table.key, ip, port), index);
}
