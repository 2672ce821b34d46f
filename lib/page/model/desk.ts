/**
 * All that the page knows and all that the person has chosen, and what follows from both: the view that every part of the page
 * draws. Fed by the messages of `/live` and by answers of the API. No DOM, no clock.
 */

import type { Verdict } from "../../observe/verdict.ts";
import type { BalancerEvent, Explanation, LiveMessages, Plan, Series, Server, ServerChange, Service, Status } from "./contract.ts";
import { type Balance, balanceOf } from "./fate_bars.ts";
import { History, SECONDS } from "./history.ts";
import { judgeNow, judgeThen } from "./judged.ts";
import { type PoolRow, poolRows, type Sort } from "./pool_rows.ts";
import type { RingPicture } from "./ring_places.ts";
import { Colours } from "./words.ts";
import type { Question } from "./what_if.ts";

/** What the person has chosen. */
export interface Choices {
  /** The service that is shown; the first one if there is none of this name. */
  readonly service: string;
  /** The second that is shown everywhere; null for now. */
  readonly moment: number | null;
  /** Seconds that the charts show. */
  readonly window: number;
  readonly sort: Sort;
  /** Part of the names of the servers that the table shows. */
  readonly filter: string;
  /** The server that is pointed at. */
  readonly lit: string | null;
}

/** An answer to the question what would happen. */
export interface Foresight {
  readonly question: Question;
  readonly plan: Plan;
  /** The ring with the change; null where there is none to draw. */
  readonly ring: RingPicture | null;
}

/** What is drawn. */
export interface View {
  readonly choices: Choices;
  /** Whether the page may change the pool. */
  readonly writes: boolean;
  readonly status: Status;
  readonly services: readonly Service[];
  readonly service: Service;
  readonly servers: readonly Server[];
  readonly history: History;
  /** The second that is shown, and whether that is now. */
  readonly at: number;
  readonly isNow: boolean;
  /** The seconds that the charts show. */
  readonly from: number;
  readonly to: number;
  readonly rows: readonly PoolRow[];
  readonly verdict: Verdict;
  readonly balance: Balance;
  /** Of the service and of the whole daemon, in the order of time. */
  readonly events: readonly BalancerEvent[];
  readonly ring: RingPicture | null;
  readonly explanation: Explanation | null;
  readonly foresight: Foresight | null;
  readonly colours: Colours;
}

/** Events are kept for as long as the charts go back, and not more than this. */
const EVENTS_MAX = 2000;

interface Kept {
  servers: readonly Server[];
  readonly history: History;
}

/** The page's knowledge. */
export class Desk {
  choices: Choices = { service: "", moment: null, window: 300, sort: "trouble", filter: "", lit: null };
  /** Whether the bridge and the daemon can be asked; why not, as a sentence. */
  trouble: string | null = "Connecting";
  ring: RingPicture | null = null;
  explanation: Explanation | null = null;
  foresight: Foresight | null = null;
  readonly #colours = new Colours();
  readonly #kept = new Map<string, Kept>();
  #status: Status | undefined;
  #events: BalancerEvent[] = [];
  #unbalanced = 0;
  #writes = false;
  #nowMs = 0;

  /** What everything was when the stream began; nothing of before holds. */
  takeSnapshot({ at, writes, status, servers }: LiveMessages["snapshot"]): void {
    this.#writes = writes;
    this.#nowMs = Date.parse(at);
    this.#takeStatus(status);
    const names = new Set(status.services.map(({ service }) => service));
    for (const name of this.#kept.keys()) if (!names.has(name)) this.#kept.delete(name);
    for (const { service } of status.services) this.#keep(service).servers = [];
    for (const { service, servers: list } of servers) this.#keep(service).servers = list;
    this.#name();
  }

  /** What has changed. */
  takeSecond({ at, status, servers, gone, series }: LiveMessages["second"]): void {
    this.#nowMs = Date.parse(at);
    if (status !== undefined) this.#takeStatus(status);
    for (const name of gone) this.#kept.delete(name);
    for (const { service, servers: changed, gone: left } of servers) {
      const kept = this.#keep(service);
      const news = new Map(changed.map((server) => [server.server, server]));
      const stay = kept.servers.filter(({ server }) => !left.includes(server)).map((server) =>
        merged(server, news.get(server.server))
      );
      const known = new Set(stay.map(({ server }) => server));
      kept.servers = [...stay, ...changed.filter(({ server }) => !known.has(server)) as Server[]]; // those that are new are whole
    }
    if (series !== undefined) this.takeSeries(series);
    this.#name();
  }

  /** What was counted. */
  takeSeries(series: Series): void {
    const services = new Set([...series.services, ...series.servers].map(({ service }) => service));
    for (const service of services) if (this.#kept.has(service)) this.#keep(service).history.absorb(series);
  }

  /** Something has happened. */
  takeEvent(event: BalancerEvent): void {
    this.#events.push(event);
    if (this.#events.length > EVENTS_MAX) this.#events.splice(0, this.#events.length - EVENTS_MAX);
  }

  /** The events that are kept: what is new among them, and what was known, in the order of time. */
  takeEvents(events: readonly BalancerEvent[]): void {
    const all = new Map([...events, ...this.#events].map((event) => [`${event.at} ${event.number}`, event]));
    this.#events = [...all.values()].sort((a, b) => a.at.localeCompare(b.at) || a.number - b.number).slice(-EVENTS_MAX);
  }

  /** The names of the services. */
  get services(): readonly string[] {
    return this.#status?.services.map(({ service }) => service) ?? [];
  }

  /** The number of servers of a service, for questions that must stay small. */
  countServers(service: string): number {
    return this.#kept.get(service)?.servers.length ?? 0;
  }

  /** The service that is shown; undefined while nothing is known. */
  get service(): string | undefined {
    return this.services.find((name) => name === this.choices.service) ?? this.#worst() ?? this.services[0];
  }

  /** What is drawn; undefined while nothing is known. */
  view(): View | undefined {
    const status = this.#status;
    const service = status?.services.find(({ service }) => service === this.service);
    const kept = service && this.#kept.get(service.service);
    if (status === undefined || service === undefined || kept === undefined) return undefined;
    const { choices } = this;
    const { history, servers } = kept;
    const isNow = choices.moment === null;
    const to = history.newest || Math.floor(this.#nowMs / 1000); // a daemon that has just started has counted nothing yet
    const at = choices.moment ?? to;
    const rows = poolRows({ service, servers, history, at, isNow, nowMs: this.#nowMs }, choices.sort);
    return {
      choices: { ...choices, service: service.service },
      writes: this.#writes,
      status,
      services: status.services,
      service,
      servers,
      history,
      at,
      isNow,
      from: Math.max(to - choices.window, 0),
      to,
      rows,
      verdict: isNow ? judgeNow({ status, services: this.#judged(status) }) : judgeThen(status, service, history, rows, at),
      balance: balanceOf(status, this.#unbalanced),
      events: this.#eventsOf(service.service, to),
      ring: this.ring,
      explanation: this.explanation,
      foresight: this.foresight,
      colours: this.#colours,
    };
  }

  #judged(status: Status) {
    return status.services.flatMap((service) => {
      const kept = this.#kept.get(service.service);
      return kept === undefined ? [] : [{ service, ...kept }];
    });
  }

  /** The service with the most servers in trouble, if there is one: a page that is opened shows it. */
  #worst(): string | undefined {
    if (this.choices.service !== "") return undefined;
    const troubled = ({ servers }: Service) => servers.down * 1000 + servers.resting;
    return this.#status?.services.filter((service) => troubled(service) > 0).sort((a, b) => troubled(b) - troubled(a))[0]?.service;
  }

  #eventsOf(service: string, to: number): BalancerEvent[] {
    const oldest = new Date(1000 * (to - SECONDS)).toISOString();
    return this.#events.filter((event) => event.at >= oldest && (event.service === null || event.service === service));
  }

  #takeStatus(status: Status): void {
    this.#status = status;
    this.#unbalanced = balanceOf(status, 0).rest === 0 ? 0 : this.#unbalanced + 1;
  }

  #keep(service: string): Kept {
    let kept = this.#kept.get(service);
    if (kept === undefined) this.#kept.set(service, kept = { servers: [], history: new History(service) });
    return kept;
  }

  #name(): void {
    for (const { servers } of this.#kept.values()) this.#colours.name(servers.map(({ server }) => server));
  }
}

/** A server with what has changed of it. */
function merged(server: Server, change: ServerChange | undefined): Server {
  return change === undefined ? server : { ...server, ...change, fates: { ...server.fates, ...change.fates } };
}
