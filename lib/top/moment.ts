/** What `top` knows at one moment, and what follows from it for each server: its load, its bound, its last minute. Pure. */

import { LOAD_BOUND_FLOOR, loadBoundOf } from "../routing/load_bound.ts";
import { DEFAULT_TEXT, SETTINGS } from "../values/config.ts";
import { rankOf, type Verdict } from "../observe/verdict.ts";
import type { Answers } from "../control/api.ts";
import type { ServerColumns, Window } from "./window.ts";

/** The servers of a service, as the API lists them. */
export interface Pool {
  readonly service: string;
  readonly servers: Answers["servers"]["servers"];
}

/** All that is shown at one moment. */
export interface Moment {
  readonly atMs: number;
  readonly status: Answers["status"];
  /** The service that was asked for with `--service`. */
  readonly only: string | undefined;
  readonly pools: readonly Pool[];
  /** Services whose servers are not listed: there are too many. */
  readonly servicesLeftOut: number;
  /** Whether the servers' numbers of open connections are those of this moment; otherwise the window's are newer. */
  readonly isListFresh: boolean;
  readonly window: Window;
  /** The newest last. */
  readonly events: Answers["events"]["events"];
  /** Null where nobody has asked for them. */
  readonly connections: Answers["connections"] | null;
  readonly verdict: Verdict;
}

/** A server as a row of the table. Rates are per second; `null`: unknown. */
export interface PoolRow {
  readonly key: string;
  readonly service: string;
  readonly server: Answers["server"];
  readonly open: number;
  readonly newRate: number | null;
  readonly sentRate: number | null;
  readonly receivedRate: number | null;
  readonly connectP99Ms: number | null;
  /** Of the last minute. */
  readonly failures: number;
  readonly movedIn: number;
  readonly movedAway: number;
  /** The open connections that its weight would give it, if it is up; the mean of the pool. */
  readonly fair: number;
  /** The open connections from which on it is passed over; undefined: there is no such bound. */
  readonly bound: number | undefined;
  readonly columns: ServerColumns | undefined;
}

/** How rows are sorted, by name in the order in which a key goes through them. */
export const SORTS = ["trouble", "name", "open", "new", "bytes", "p99"] as const;
export type Sort = typeof SORTS[number];

/** How many steps back a figure still says how it is now. */
const RECENT_STEPS = 10;

/** A row's name among all services. */
export function rowKey(service: string, server: string): string {
  return `${service} ${server}`;
}

/** The rows that a filter leaves, sorted. */
export function poolRows(moment: Moment, sort: Sort, filter: string): PoolRow[] {
  const rows = moment.pools.flatMap((pool) => rowsOf(pool, moment));
  return rows.filter((row) => matches(filter, row.server.server, row.service, row.server.state, row.server.reason))
    .sort((one, other) => ORDERS[sort](one, other) || byName(one, other));
}

/** Whether one of the texts contains the filter, in capitals or not. */
export function matches(filter: string, ...texts: readonly (string | null)[]): boolean {
  const wanted = filter.toLowerCase();
  return wanted === "" || texts.some((text) => text !== null && text.toLowerCase().includes(wanted));
}

type Order = (one: PoolRow, other: PoolRow) => number;

const byName: Order = (one, other) => compare(one.server.server, other.server.server) || compare(one.service, other.service);

const ORDERS: Readonly<Record<Sort, Order>> = {
  trouble: (one, other) => troubleOf(one) - troubleOf(other) || other.failures - one.failures,
  name: () => 0,
  open: (one, other) => other.open - one.open,
  new: (one, other) => (other.newRate ?? 0) - (one.newRate ?? 0),
  bytes: (one, other) => bytesOf(other) - bytesOf(one),
  p99: (one, other) => (other.connectP99Ms ?? 0) - (one.connectP99Ms ?? 0),
};

/** The state first; then those that fail, are full or are at their bound. */
function troubleOf({ server, open, failures, bound }: PoolRow): number {
  const isFull = server.connectionsMax !== null && open >= server.connectionsMax;
  const isOver = bound !== undefined && open >= bound;
  return rankOf(server.state) * 4 + (failures > 0 ? 0 : isFull ? 1 : isOver ? 2 : 3);
}

function bytesOf({ sentRate, receivedRate }: PoolRow): number {
  return (sentRate ?? 0) + (receivedRate ?? 0);
}

/** So that 10.0.0.2 comes before 10.0.0.10. */
const NAMES = new Intl.Collator("en", { numeric: true });

function compare(one: string, other: string): number {
  return one === other ? 0 : NAMES.compare(one, other);
}

function rowsOf({ service, servers }: Pool, moment: Moment): PoolRow[] {
  const { window } = moment;
  const settings = moment.status.services.find((row) => row.service === service)?.settings ?? {};
  const policy = settings[SETTINGS.policy.flag];
  const factor = loadBoundIn(settings);
  const rows = servers.map((server) => {
    const columns = window.server(service, server.server);
    return { server, columns, open: moment.isListFresh ? server.open : columns?.open.at(-1) ?? server.open };
  });
  const up = rows.filter(({ server }) => server.state === "up" && server.share > 0);
  const weightUp = up.reduce((sum, { server }) => sum + server.weight, 0);
  const openUp = up.reduce((sum, { open }) => sum + open, 0);
  const openAll = rows.reduce((sum, { open }) => sum + open, 0);
  const moved = window.movedInMinute(service);
  return rows.map(({ server, columns, open }) => ({
    key: rowKey(service, server.server),
    service,
    server,
    open,
    columns,
    newRate: window.rate(columns?.opened),
    sentRate: window.rate(columns?.sentBytes),
    receivedRate: window.rate(columns?.receivedBytes),
    connectP99Ms: lastKnown(columns?.connectP99Ms),
    failures: (columns?.failures ?? []).reduce<number>((sum, count) => sum + (count ?? 0), 0),
    movedIn: moved.in.get(server.server) ?? 0,
    movedAway: moved.away.get(server.server) ?? 0,
    fair: weightUp === 0 ? 0 : openUp * server.weight / Math.max(weightUp, server.weight),
    bound: policy === "first" || factor === undefined || server.state !== "up"
      ? undefined
      : loadBoundOf(factor, server.weight, Math.max(weightUp, server.weight), openAll),
  }));
}

/** The factor of the load bound; undefined: off. */
function loadBoundIn(settings: Readonly<Record<string, string>>): number | undefined {
  const { flag, default: preset } = SETTINGS.loadBound;
  const text = settings[flag] === undefined || settings[flag] === DEFAULT_TEXT ? preset : settings[flag];
  const factor = Number(text);
  return Number.isFinite(factor) && factor >= 1 ? factor : undefined;
}

/** The bar of a load: its scale is the fair share twice, or what a small pool may have without a bound. */
export function scaleOf({ fair, server }: PoolRow): number {
  return Math.max(2 * fair, LOAD_BOUND_FLOOR * server.weight * 1.25);
}

/** A server accepts no connection in many a second, but what is older says nothing of now. */
function lastKnown(values: readonly (number | null)[] | undefined): number | null {
  return values?.slice(-RECENT_STEPS).findLast((value) => value !== null) ?? null;
}
