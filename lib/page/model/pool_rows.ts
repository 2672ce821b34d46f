/** The rows of the pool: what is shown of each server now or at a moment in the past, and in which order. Pure. */

import { loadBoundOf } from "../../routing/load_bound.ts";
import type { Server, ServerState, Service } from "./contract.ts";
import { formatMinute, formatSpan } from "./format.ts";
import { type History, MOVED_STATES } from "./history.ts";
import { type Reset, resetsOf } from "./resets.ts";
import { byName, STATES } from "./words.ts";

/** What a row is made of. */
export interface PoolFacts {
  readonly service: Service | undefined;
  /** The servers as they are now. */
  readonly servers: readonly Server[];
  readonly history: History;
  /** The second that is shown. */
  readonly at: number;
  /** Whether that is now. */
  readonly isNow: boolean;
  /** The time of the last news, in milliseconds since 1970. */
  readonly nowMs: number;
}

/** A server's row. */
export interface PoolRow {
  readonly server: string;
  readonly state: ServerState;
  /** Second from which on it has the state; NaN if it is not known. */
  readonly since: number;
  /** "up for 3 h", "down since 14:02". */
  readonly standing: string;
  /** Why it has the state; null where nothing is to be said. */
  readonly reason: string | null;
  /** "next check in 2 s"; null where it is not checked, and in the past. */
  readonly check: string | null;
  readonly tier: number;
  readonly weight: number;
  /** Of the clients of its tier; NaN for a server that has left the pool. */
  readonly share: number;
  readonly open: number;
  /** Open connections that its share would give it. */
  readonly fair: number;
  /** The load bound; Infinity if there is none for it now. */
  readonly bound: number;
  readonly limit: number | null;
  readonly newPerS: number;
  readonly toServerPerS: number;
  readonly fromServerPerS: number;
  readonly connectP99Ms: number;
  /** Of 5 minutes. */
  readonly movedIn: number;
  /** Of 5 minutes. */
  readonly movedAway: number;
  /** Connections that its loss has reset, of 5 minutes. */
  readonly reset: number;
  /** Connections that it did not accept, of 5 minutes. */
  readonly failed: number;
  /** Both together in each half minute, the oldest first. */
  readonly badSpark: readonly number[];
}

/** How long counts are taken together. */
export const RECENT_S = 300;
/** Rates are means of this many seconds: one second is too nervous to read. */
export const RATE_S = 10;
const SPARK_S = 30;

/** By what the rows can be sorted. */
export const SORTS = {
  trouble: (one: PoolRow, other: PoolRow) => troubleOf(one) - troubleOf(other),
  name: () => 0,
  load: (one: PoolRow, other: PoolRow) => loadOf(other) - loadOf(one),
  open: (one: PoolRow, other: PoolRow) => other.open - one.open,
  new: (one: PoolRow, other: PoolRow) => other.newPerS - one.newPerS,
  bytes: (one: PoolRow, other: PoolRow) => other.toServerPerS + other.fromServerPerS - one.toServerPerS - one.fromServerPerS,
  connect: (one: PoolRow, other: PoolRow) => zeroed(other.connectP99Ms) - zeroed(one.connectP99Ms),
  moved: (one: PoolRow, other: PoolRow) => other.movedIn + other.movedAway - one.movedIn - one.movedAway,
  bad: (one: PoolRow, other: PoolRow) => badOf(other) - badOf(one),
} as const satisfies Record<string, (one: PoolRow, other: PoolRow) => number>;
/** The name of an order. */
export type Sort = keyof typeof SORTS;

/** The rows, in the order of `sort` and then of names. */
export function poolRows(facts: PoolFacts, sort: Sort): PoolRow[] {
  const known = new Map(facts.servers.map((server) => [server.server, server]));
  const names = facts.isNow ? [...known.keys()] : facts.history.servers.filter((name) => facts.history.existsAt(name, facts.at));
  const states = new Map(names.map((name) => [name, stateOf(facts, name, known.get(name))]));
  const open = facts.isNow && facts.service !== undefined && Number.isNaN(facts.history.openAt(facts.at))
    ? facts.service.open
    : facts.history.openAt(facts.at);
  const weightHere = names.reduce((sum, name) => {
    const server = known.get(name);
    return server !== undefined && states.get(name)!.state === "up" ? sum + server.weight : sum;
  }, 0);
  const resets = Map.groupBy(resetsOf(facts.history, facts.at - RECENT_S + 1, facts.at), ({ server }) => server);
  const rows = names.map((name) =>
    rowOf(facts, name, known.get(name), states.get(name)!, resets.get(name) ?? [], open, weightHere)
  );
  return rows.sort((one, other) => SORTS[sort](one, other) || byName(one.server, other.server));
}

/** The load bound of the service's settings: a factor, Infinity if it is off or its policy has none. */
export function loadFactorOf(service: Service | undefined): number {
  const { policy = "ring", "load-bound": factor = "1.25" } = service?.settings ?? {};
  return policy === "first" || factor === "off" ? Infinity : Number(factor);
}

interface Standing {
  readonly state: ServerState;
  readonly since: number;
  readonly reason: string | null;
}

function stateOf({ history, at, isNow }: PoolFacts, name: string, server: Server | undefined): Standing {
  if (isNow && server !== undefined) return { state: server.state, since: Date.parse(server.since) / 1000, reason: server.reason };
  const then = history.stateAt(name, at);
  const state = then?.state ?? "up";
  const isSame = server !== undefined && server.state === state && Date.parse(server.since) / 1000 <= at + 1;
  return isSame
    ? { state, since: Date.parse(server.since) / 1000, reason: server.reason }
    : { state, since: then?.at ?? NaN, reason: null };
}

function rowOf(
  { service, history, at, isNow, nowMs }: PoolFacts,
  name: string,
  server: Server | undefined,
  standing: Standing,
  resets: readonly Reset[],
  openOfAll: number,
  weightHere: number,
): PoolRow {
  const known = history.valueAt(name, "open", at);
  const open = Number.isNaN(known) && isNow && server !== undefined ? server.open : known;
  const weight = server?.weight ?? 1;
  const bound = standing.state === "up"
    ? loadBoundOf(loadFactorOf(service), weight, Math.max(weight, weightHere), openOfAll)
    : Infinity;
  const rate = (column: "opened" | "sentBytes" | "receivedBytes") => history.sumOf(name, column, at, RATE_S) / RATE_S;
  const moved = (way: "in" | "away") =>
    MOVED_STATES.reduce((sum, state) => sum + history.sumOf(name, `${way}:${state}`, at, RECENT_S), 0);
  return {
    server: name,
    state: standing.state,
    since: standing.since,
    standing: describe(standing, at),
    reason: standing.reason === "" ? null : standing.reason,
    check: isNow ? describeCheck(server?.nextCheckAt ?? null, nowMs) : null,
    tier: server?.tier ?? 0,
    weight,
    share: server?.share ?? NaN,
    open,
    fair: (server?.share ?? NaN) * openOfAll,
    bound,
    limit: server?.connectionsMax ?? null,
    newPerS: rate("opened"),
    toServerPerS: rate("sentBytes"),
    fromServerPerS: rate("receivedBytes"),
    connectP99Ms: history.maxOf(name, "connectP99Ms", at, RATE_S),
    movedIn: moved("in"),
    movedAway: moved("away"),
    reset: Math.round(resets.reduce((sum, { count }) => sum + count, 0)),
    failed: Math.round(history.sumOf(name, "failures", at, RECENT_S)),
    badSpark: Array.from(
      { length: RECENT_S / SPARK_S },
      (_, i) => badWithin(history, name, resets, at - RECENT_S + (i + 1) * SPARK_S),
    ),
  };
}

/** The state in words, with its time. */
function describe({ state, since }: Standing, at: number): string {
  const { word } = STATES[state];
  if (Number.isNaN(since)) return word;
  const span = formatSpan(at - since);
  if (state === "up") return `up for ${span}`;
  return `${word} ${at - since < 86_400 ? `since ${formatMinute(since)}` : `for ${span}`}`;
}

/** When the next check is, in words. */
function describeCheck(nextCheckAt: string | null, nowMs: number): string | null {
  if (nextCheckAt === null) return null;
  const leftMs = Date.parse(nextCheckAt) - nowMs;
  return leftMs > 0 ? `next check in ${formatSpan(Math.ceil(leftMs / 1000))}` : "next check now";
}

/** The place of a row in the order of trouble. Coarse, so that rows do not dance. */
function troubleOf({ state, open, bound, limit, reset, failed }: PoolRow): number {
  if (state !== "up") return STATES[state].rank;
  return reset + failed > 0 || open >= bound || (limit !== null && open >= limit) ? 4 : STATES.up.rank;
}

function badOf({ reset, failed }: PoolRow): number {
  return reset + failed;
}

/** What went wrong in the half minute that ends with this second. */
function badWithin(history: History, name: string, resets: readonly Reset[], end: number): number {
  const reset = resets.reduce((sum, { at, count }) => at > end - SPARK_S && at <= end ? sum + count : sum, 0);
  return reset + history.sumOf(name, "failures", end, SPARK_S);
}

/** How full a server is: of its bound if it has one, else of its fair part. */
function loadOf({ open, bound, fair }: PoolRow): number {
  const of = Number.isFinite(bound) ? bound : fair;
  return of > 0 ? open / of : 0;
}

function zeroed(number: number): number {
  return Number.isNaN(number) ? 0 : number;
}
