/**
 * The clients of a balancer as its operator sees them: who has how many connections, and who is refused. Owns the memory in which
 * engines count clients; there is none without a limit.
 */

import { formatPrefix } from "../values/client_limits.ts";
import type { Config } from "../values/config.ts";
import { formatDuration } from "../values/duration.ts";
import { allocateClients, type ClientCount, ClientTable, type Window } from "../observe/client_table.ts";
import type { Counters } from "../observe/counters.ts";
import { logger } from "../observe/log.ts";
import { Refusals } from "../observe/refusals.ts";
import {
  type CountRule,
  countRulesOf,
  readCountKey,
  recentArrivals,
  type Refusal,
  refusalBy,
  windowMsOf,
} from "../routing/client_limits.ts";

/** What clients with a common prefix have. */
export interface ClientView {
  /** An address, or a prefix as in `192.0.2.0/24`. */
  readonly client: string;
  /** What the prefix is counted for: limits with prefixes of different lengths count a client each for itself. */
  readonly limit: "connections" | "rate" | "both";
  readonly open: number;
  /** New connections, refused ones included, within the time of the rate until now: an estimate. */
  readonly arrivals: number;
  /** Connections that were refused, or would have been without the dry run. */
  readonly refused: number;
  /** Bytes of connections that have ended. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** What would refuse the next connection; null: nothing. */
  readonly next: Refusal | null;
}

/** The clients that have most, and how they are counted. */
export interface ClientsView {
  /** Whether clients are counted at all. */
  readonly counted: boolean;
  readonly dryRun: boolean;
  /** The time that arrivals are counted in. */
  readonly windowMs: number;
  /** Prefixes that the table holds, those that nobody is connected from included. */
  readonly tracked: number;
  /** Connections that were not counted, because the table was full. */
  readonly untracked: number;
  readonly clients: readonly ClientView[];
}

const log = logger("connection");

/** The clients of one balancer. Disposing of it tells the last refusals. */
export class Clients implements Disposable {
  readonly #rules: readonly CountRule[];
  readonly #windowMs: number;
  readonly #isDryRun: boolean;
  readonly #counters: Counters;
  readonly #table: ClientTable;
  readonly #refusals: Refusals;

  constructor(config: Pick<Config, "clientConnections" | "clientRate" | "limitsDryRun">, counters: Counters) {
    this.#rules = countRulesOf(config);
    this.#windowMs = windowMsOf(config);
    this.#isDryRun = config.limitsDryRun;
    this.#counters = counters;
    const [seed] = crypto.getRandomValues(new Int32Array(1));
    this.#table = new ClientTable(allocateClients(seed));
    this.#refusals = new Refusals(config.limitsDryRun ? DRY_RUN : IN_EARNEST);
  }

  /** The memory for the engine. The kernel backs its pages as clients come. */
  get shared(): SharedArrayBuffer {
    return this.#table.shared;
  }

  /** Tells the operator that a client was refused, or would have been. */
  noteRefusal(client: () => string, refusal: Refusal): void {
    this.#refusals.add(client, refusal);
  }

  /** The clients that have most, at most `max`. `nowMs` is by performance.now(). */
  view(max: number, nowMs: number): ClientsView {
    const window = { nowMs, number: Math.floor(nowMs / this.#windowMs), lengthMs: this.#windowMs };
    const counts = this.#table.top(max, () => window);
    return {
      counted: this.#rules.length > 0,
      dryRun: this.#isDryRun,
      windowMs: this.#windowMs,
      tracked: this.#table.used,
      untracked: this.#counters.get("untrackedClients"),
      clients: counts.flatMap((count) => this.#viewOf(count, window) ?? []),
    };
  }

  [Symbol.dispose](): void {
    this.#refusals[Symbol.dispose]();
  }

  #viewOf({ key, open, arrivals, refusedArrivals, refusals, ...bytes }: ClientCount, window: Window): ClientView | undefined {
    const read = readCountKey(this.#rules, key);
    if (read === undefined) return undefined;
    const { rule, address, bits } = read;
    const share = window.nowMs / window.lengthMs - window.number;
    const [current, previous] = arrivals;
    return {
      client: formatPrefix(address, bits),
      limit: rule.connectionsMax === Infinity ? "rate" : rule.arrivalsMax === Infinity ? "connections" : "both",
      open,
      arrivals: Math.round(recentArrivals(current + refusedArrivals[0], previous + refusedArrivals[1], share)),
      refused: refusals,
      ...bytes,
      next: refusalBy(rule, open + 1, recentArrivals(current + 1, previous, share)) ?? null,
    };
  }
}

const IN_EARNEST = tellerOf("was refused", "were refused");
const DRY_RUN = tellerOf("would be refused without --limits-dry-run", "would have been refused without --limits-dry-run");

function tellerOf(one: string, many: string): ConstructorParameters<typeof Refusals>[0] {
  return {
    tellOne: (client, cause) => log.info(`Client {client} ${one}: {cause}`, { client, cause }),
    tellMany(counts, withinMs) {
      const count = counts.values().reduce((sum, count) => sum + count, 0);
      const causes = [...counts].map(([cause, count]) => `${cause} ${count}`).join(", ");
      log.info(`{count} more clients ${many} within {within}: {causes}`, { count, within: formatDuration(withinMs), causes });
    },
  };
}
