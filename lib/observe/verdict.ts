/**
 * The verdict: one sentence that says whether anything is wrong, since when, why, and what became of clients. `balancerctl top` and
 * the dashboard show the same one. Pure, and imports only what is as pure as it is, so that a browser can load it. Its input is
 * what the API answers, so it claims no more than those answers show: each figure is of a time that the sentence names.
 */

import type { Fate } from "../values/fates.ts";
import { type Outage, outagesOf, type ServerPast } from "./outages.ts";

/** How bad it is: nothing to do, look at it, clients are hurt or about to be. */
export type VerdictLevel = "good" | "warning" | "bad";

/** The sentence, without a full stop, and how bad it is. */
export interface Verdict {
  readonly level: VerdictLevel;
  readonly sentence: string;
}

/** What the verdict reads of a service: a part of `GET /v1/status`. */
export interface JudgedService {
  readonly service: string;
  readonly listeners: readonly { readonly listener: string; readonly fault: string | null }[];
  /** How many servers are in each state. */
  readonly servers: Readonly<Record<string, number>>;
  readonly removing: boolean;
}

/** What the verdict reads of a server: a part of `GET /v1/servers`, and its service. */
export interface JudgedServer {
  readonly service: string;
  readonly server: string;
  readonly state: string;
  /** ISO 8601. */
  readonly since: string;
  readonly reason: string | null;
  readonly open: number;
}

/** What the verdict reads of the last minutes: a part of `GET /v1/series`. */
export interface JudgedSeries {
  /** Unix time of the first step, in seconds. */
  readonly from: number;
  /** Seconds per step. */
  readonly step: number;
  readonly steps: number;
  readonly services: readonly { readonly service: string; readonly fates: Readonly<Record<string, readonly number[]>> }[];
  readonly flows: readonly {
    /** The step, from 0. */
    readonly at: number;
    readonly service: string;
    readonly from: string | null;
    readonly to: string | null;
    readonly count: number;
  }[];
  /** What is known of a server apart from the flows; null if nothing is. */
  pastOf(service: string, server: string): Pick<ServerPast, "states" | "cut"> | null;
}

/** All that the verdict is made of. */
export interface JudgedFacts {
  readonly status: {
    readonly stopping: boolean;
    /** Whether it was told to stop, and still takes clients. */
    readonly lameDuck?: boolean;
    readonly services: readonly JudgedService[];
    readonly connections: { readonly open: number; readonly max: number };
  };
  readonly servers: readonly JudgedServer[];
  /** Null while nobody knows. */
  readonly series: JudgedSeries | null;
}

/** Writes a time of day, given in milliseconds: the reader's place decides how. */
export type Clock = (ms: number) => string;

/** Open connections that were cut because their server, or a worker, was lost. */
export const CUT_FATES: readonly Fate[] = ["server_lost", "redistribute_refused", "removed", "worker_lost", "failed"];
/** Clients that got no server though they were welcome. */
export const TURNED_AWAY_FATES: readonly Fate[] = ["connect_failed", "no_server", "refused_limit", "hold_timeout", "queue_timeout"];

/** States other than up, the one that is looked at first before the others. */
const TROUBLES = ["down", "resting", "removing", "draining"] as const;
/** States that nobody has asked for. */
const UNWANTED: readonly string[] = ["down", "resting"];

/** Clients that were hurt this long ago are news. */
const NEWS_S = 60;
/** From this part of the limit on connections on, it is near. */
const NEAR_LIMIT = 0.9;

/** Judges. The first clause says what matters most. */
export function judge(facts: JudgedFacts, clock: Clock): Verdict {
  const services = facts.status.services.filter(({ removing }) => !removing);
  const findings = [
    ...listenerFindings(services),
    ...emptyFindings(services),
    ...limitFindings(facts.status.connections),
    ...stoppingFindings(facts.status),
    poolFinding(facts, services, clock),
  ];
  const level = findings.some(({ level }) => level === "bad")
    ? "bad"
    : findings.some(({ level }) => level === "warning")
    ? "warning"
    : "good";
  return { level, sentence: capital(findings.map(({ sentence }) => sentence).join("; ")) };
}

function warning(sentence: string): Verdict {
  return { level: "warning", sentence };
}

function bad(sentence: string): Verdict {
  return { level: "bad", sentence };
}

function listenerFindings(services: readonly JudgedService[]): Verdict[] {
  return services.flatMap(({ service, listeners }) =>
    listeners.flatMap(({ listener, fault }) =>
      fault === null
        ? []
        : [bad(`${ofSeveral(services, `service ${service}`, "the balancer")} does not listen on ${listener}: ${fault}`)]
    )
  ).slice(0, 1);
}

/** Services whose clients have nowhere to go, or only servers that are not well. */
function emptyFindings(services: readonly JudgedService[]): Verdict[] {
  const empty = services.filter(({ servers }) => poolSize(servers) === 0);
  const hurt = services.filter(({ servers }) => poolSize(servers) > 0 && countOf(servers, "up") === 0);
  const name = ({ service }: JudgedService) => ofSeveral(services, ` of service ${service}`, "");
  const findings = [
    ...empty.map((service) => bad(`the pool${name(service)} is empty: clients are turned away`)),
    ...hurt.map((service) => bad(`no server${name(service)} is up`)),
  ];
  const more = findings.length - 2;
  return more <= 0 ? findings : [...findings.slice(0, 2), bad(`${more} more services are without a server that is up`)];
}

function limitFindings({ open, max }: JudgedFacts["status"]["connections"]): Verdict[] {
  if (open < NEAR_LIMIT * max) return [];
  const figures = `${grouped(open)} of at most ${grouped(max)} connections are open`;
  return [open >= max ? bad(`${figures}: more clients are refused`) : warning(figures)];
}

function stoppingFindings({ stopping, lameDuck = false, connections: { open } }: JudgedFacts["status"]): Verdict[] {
  if (lameDuck) return [warning("the balancer is about to stop, and still takes clients")];
  return stopping ? [warning(`the balancer is stopping with ${connections(open)} open`)] : [];
}

/** How many servers are up, the one in trouble, and what became of clients. */
function poolFinding(facts: JudgedFacts, services: readonly JudgedService[], clock: Clock): Verdict {
  const counts = sumOf(services.map(({ servers }) => servers));
  const up = countOf(counts, "up");
  const all = poolSize(counts);
  const troubled = facts.servers.filter(({ state }) => state !== "up").sort(byTrouble);
  const worst = troubled.at(0);
  if (worst === undefined) return steadyFinding(facts, up, all);
  const others = describeOthers(counts, worst);
  const what = `${qualified(worst, services)} is ${worst.state} since ${clock(Date.parse(worst.since))}${reasonOf(worst)}`;
  const told = toldOf(facts, worst);
  const isBad = UNWANTED.includes(worst.state) || told.level === "bad";
  const count = up === 0 ? [] : [`${up} of ${servers(all)} up`]; // that no server is up is said already
  const sentence = [...count, what, ...told.clauses, ...others].join("; ");
  return { level: isBad ? "bad" : "warning", sentence };
}

/** Whether clients are hurt though no server is in trouble. */
function steadyFinding({ series, servers: known }: JudgedFacts, up: number, all: number): Verdict {
  const pool = all === 0
    ? "no servers"
    : up < all
    ? `${up} of ${servers(all)} up`
    : all === 1
    ? "the only server is up"
    : `all ${servers(all)} up`;
  const level = up < all ? "warning" : "good";
  if (series === null || known.length === 0 && all > 0) return { level, sentence: pool };
  const recent = harmSince(series, endOf(series) - NEWS_S);
  if (recent.cut + recent.turnedAway > 0) {
    return warning(`${pool}; in the last minute ${harmText(recent)}`);
  }
  const whole = harmSince(series, series.from);
  const harm = whole.cut + whole.turnedAway > 0 ? harmText(whole) : "no connection was reset or turned away";
  return { level, sentence: `${pool}; in the last ${lengthText(series)} ${harm}` };
}

/** What became of the clients of a server in trouble, as clauses. */
function toldOf(facts: JudgedFacts, worst: JudgedServer): { level: VerdictLevel; clauses: string[] } {
  const { series } = facts;
  if (series === null) return { level: "good", clauses: [] };
  const outage = outageOf(series, worst);
  if (outage.from <= series.from) { // it began before what is known
    const { cut, turnedAway } = harmSince(series, series.from);
    const harm = cut + turnedAway > 0 ? harmText({ cut, turnedAway }) : "no connection was reset or turned away";
    return { level: "good", clauses: [`in the last ${lengthText(series)} ${harm}`] };
  }
  const harm = harmSince(series, outage.from);
  const movedElsewhere = movedSince(series, outage.from) - outage.moved;
  const cutElsewhere = Math.max(0, harm.cut - (outage.cut ?? 0));
  const isUnknown = outage.cut === undefined && harm.cut > 0; // whose they were
  const own = [
    ...(outage.moved === 0 ? [] : [`${grouped(outage.moved)} moved`]),
    ...(outage.cut === undefined || outage.cut === 0 ? [] : [`${grouped(outage.cut)} ${were(outage.cut)} reset`]),
  ];
  const others = [
    ...(movedElsewhere > 0 ? [`${connections(movedElsewhere)} of other servers moved`] : []),
    ...(cutElsewhere > 0
      ? [`${grouped(cutElsewhere)} ${isUnknown ? "connections in all" : "others"} ${were(cutElsewhere)} reset`]
      : []),
    ...(harm.turnedAway > 0 ? [`${clients(harm.turnedAway)} ${were(harm.turnedAway)} turned away`] : []),
  ];
  return {
    level: harm.cut + (outage.cut ?? 0) + harm.turnedAway > 0 ? "bad" : "good",
    clauses: [
      ...(isUnknown && own.length === 0 ? [] : [ofIts(own)]),
      ...(worst.open > 0 ? [`${connections(worst.open)} still open there`] : []),
      ...(others.length > 0 ? others : ["nobody else was touched"]),
    ],
  };
}

function ofIts(parts: readonly string[]): string {
  return parts.length === 0 ? "none of its connections moved or was reset" : `of its connections ${parts.join(", ")}`;
}

/** The outage that the server has now, in whole steps. `cut` is undefined where nobody knows. */
function outageOf(series: JudgedSeries, { service, server, state, since }: JudgedServer): Omit<Outage, "cut"> & { cut?: number } {
  const sinceS = timeOf(series, Math.floor((Date.parse(since) / 1000 - series.from) / series.step));
  const moved = series.flows.filter((flow) => flow.service === service && flow.from === server)
    .map(({ at, count }) => ({ at: timeOf(series, at), count }));
  const past = series.pastOf(service, server);
  const known = past === null ? undefined : outagesOf({ ...past, moved }).at(-1);
  if (known?.to === Infinity && sinceS >= series.from) return known;
  // The series has not seen it yet, or not its beginning.
  const [outage] = outagesOf({ states: [{ at: sinceS, state }], moved, cut: past?.cut ?? [] });
  return past === null ? { ...outage, cut: undefined } : outage;
}

function movedSince(series: JudgedSeries, fromS: number): number {
  return series.flows.reduce((sum, { at, count }) => timeOf(series, at) + series.step > fromS ? sum + count : sum, 0);
}

/** Connections that were cut, and clients that were turned away. */
interface Harm {
  readonly cut: number;
  readonly turnedAway: number;
}

function harmSince(series: JudgedSeries, fromS: number): Harm {
  const first = Math.max(0, Math.floor((fromS - series.from) / series.step));
  const count = (fates: readonly Fate[]) =>
    series.services.reduce((sum, service) => sum + fates.reduce((sum, fate) => sum + sumFrom(service.fates[fate], first), 0), 0);
  return { cut: count(CUT_FATES), turnedAway: count(TURNED_AWAY_FATES) };
}

function sumFrom(counts: readonly number[] | undefined, first: number): number {
  let sum = 0;
  for (let i = first; i < (counts?.length ?? 0); i++) sum += counts![i];
  return sum;
}

function harmText({ cut, turnedAway }: Harm): string {
  const parts = [
    ...(cut > 0 ? [`${connections(cut)} ${were(cut)} reset`] : []),
    ...(turnedAway > 0 ? [`${clients(turnedAway)} ${were(turnedAway)} turned away`] : []),
  ];
  return parts.join(" and ");
}

function timeOf({ from, step }: JudgedSeries, at: number): number {
  return from + at * step;
}

function endOf(series: JudgedSeries): number {
  return timeOf(series, series.steps);
}

function lengthText({ step, steps }: JudgedSeries): string {
  const seconds = step * steps;
  return seconds >= 60 ? plural(Math.round(seconds / 60), "minute") : plural(seconds, "second");
}

/** First by state, then the newest trouble, then by name. */
function byTrouble(one: JudgedServer, other: JudgedServer): number {
  return rankOf(one.state) - rankOf(other.state) || other.since.localeCompare(one.since) ||
    one.server.localeCompare(other.server) || one.service.localeCompare(other.service);
}

/** The rank of a state among troubles: 0 is looked at first. A state that is not known here comes last, up after all. */
export function rankOf(state: string): number {
  const rank = (TROUBLES as readonly string[]).indexOf(state);
  return rank >= 0 ? rank : state === "up" ? TROUBLES.length + 1 : TROUBLES.length;
}

/** The servers in trouble beside the worst, by state. */
function describeOthers(counts: Readonly<Record<string, number>>, worst: JudgedServer): string[] {
  const parts = TROUBLES.flatMap((state) => {
    const count = countOf(counts, state) - (state === worst.state ? 1 : 0);
    const which = `${state === worst.state ? "more" : "other"} ${count === 1 ? "server is" : "servers are"}`;
    return count > 0 ? [`${count} ${which} ${state}`] : [];
  });
  return parts.length === 0 ? [] : [parts.join(", ")];
}

function reasonOf({ reason }: JudgedServer): string {
  return reason === null || reason === "" ? "" : `: ${reason}`;
}

function qualified({ server, service }: JudgedServer, services: readonly JudgedService[]): string {
  return `${server}${ofSeveral(services, ` (${service})`, "")}`;
}

function ofSeveral(services: readonly JudgedService[], several: string, one: string): string {
  return services.length > 1 ? several : one;
}

/** Servers of the pool: those being removed are no longer. */
function poolSize(counts: Readonly<Record<string, number>>): number {
  return Object.entries(counts).reduce((sum, [state, count]) => state === "removing" ? sum : sum + count, 0);
}

function countOf(counts: Readonly<Record<string, number>>, name: string): number {
  return Object.hasOwn(counts, name) ? counts[name] : 0;
}

function sumOf(records: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const record of records) for (const [name, count] of Object.entries(record)) sum[name] = countOf(sum, name) + count;
  return sum;
}

function servers(count: number): string {
  return plural(count, "server");
}

function connections(count: number): string {
  return plural(count, "connection");
}

function clients(count: number): string {
  return plural(count, "client");
}

function were(count: number): string {
  return count === 1 ? "was" : "were";
}

function plural(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** `12,345`. */
function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

function capital(sentence: string): string {
  return sentence.slice(0, 1).toUpperCase() + sentence.slice(1);
}
