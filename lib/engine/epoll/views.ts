/** The workers' reports and rows as main shows them: slots as server names, bytes as texts. */

import { formatAddress, formatIp } from "../../values/address.ts";
import { EARLY_LOSSES } from "../../routing/early_loss.ts";
import { type Ender, enderOf, type Fate } from "../../values/fates.ts";
import type { EndedConnection, LoggedHello, MovedConnection, ReceivedProxy, StartedConnection } from "../../observe/connections.ts";
import type { ConnectionState, Loss } from "../../routing/redistribution.ts";
import type { OpenConnection } from "../engine.ts";
import { NO_LOCAL_PORT } from "../../health/shortage.ts";
import { ERRNO } from "../system/errno.ts";
import { errnoText } from "../system/libc.ts";
import {
  type DescriptorTable,
  FLOAT,
  floatsOf,
  IP_LENGTH_MASK,
  listenerOf,
  MOVES_MASK,
  PORT_MASK,
  REPLAYS_SHIFT,
  rowOf,
  serviceOf,
  STATE,
  WORD,
} from "./descriptor_table.ts";
import { REASON } from "./reasons.ts";
import { type EndReport, FIRST_END, type FirstEnd, type MoveReport, type StartReport, type TextReport } from "./reports.ts";
import { factsOf } from "./row_facts.ts";

/** The beginning of a connection, as a worker reported it. */
export class ReportedStart implements StartedConnection {
  #report!: StartReport;
  #hello: LoggedHello | undefined;

  /** Points this view to a report of a connection that began with this hello. */
  of(report: StartReport, hello: LoggedHello | undefined): this {
    this.#report = report;
    this.#hello = hello;
    return this;
  }

  get hello(): LoggedHello | undefined {
    return this.#hello;
  }

  get id(): number {
    return this.#report.id;
  }
  get client(): string {
    return formatClient(this.#report.ip, this.#report.port);
  }
  get service(): number {
    return this.#report.service;
  }
  get listener(): number {
    return this.#report.listener;
  }
  get acceptedAt(): number {
    return this.#report.acceptedAt;
  }
}

/** The end of a connection, as a worker reported it. Its texts are made only when they are read; most never are. */
export class ReportedEnd implements EndedConnection {
  #report!: EndReport;
  #serverNames: readonly string[];
  #proxy: ReceivedProxy | undefined;
  #hello: LoggedHello | undefined;
  #reason: string | undefined;

  constructor(serverNames: readonly string[]) {
    this.#serverNames = serverNames;
  }

  /** Points this view to a report; what else was reported of the connection: a reason says why it ended if no errno does. */
  of(report: EndReport, { proxy, hello, reason }: Pick<EndedConnection, "proxy" | "hello"> & { readonly reason?: string }): this {
    this.#report = report;
    this.#proxy = proxy;
    this.#hello = hello;
    this.#reason = reason;
    return this;
  }

  get hello(): LoggedHello | undefined {
    return this.#hello;
  }

  get proxy(): ReceivedProxy | undefined {
    return this.#proxy;
  }

  get id(): number {
    return this.#report.id;
  }
  get listener(): number {
    return this.#report.listener;
  }
  get acceptedAt(): number | undefined {
    return knownOf(this.#report.acceptedAt);
  }
  get endedAt(): number | undefined {
    return knownOf(this.#report.endedAt);
  }
  get connectMs(): number | undefined {
    return knownOf(this.#report.connectMs);
  }
  get endedBy(): Ender {
    return enderOf(this.#report.fate, sideOf(this.#report.first));
  }
  get server(): string | undefined {
    return this.#serverNames[this.#report.slot];
  }
  get fate(): Fate {
    return this.#report.fate;
  }
  get client(): string {
    return formatClient(this.#report.ip, this.#report.port);
  }
  get service(): number {
    return this.#report.service;
  }
  get attempts(): number {
    return this.#report.attempts;
  }
  get moves(): number {
    return this.#report.moves;
  }
  get sentBytes(): number {
    return this.#report.sentBytes;
  }
  get receivedBytes(): number {
    return this.#report.receivedBytes;
  }
  get durationMs(): number {
    return this.#report.durationMs;
  }
  get reason(): string | undefined {
    return this.#reason ?? reasonOf(this.#report.errno);
  }
}

/** Reasons that come in parts, just before the end of their connection is reported: of one connection at a time. */
export class EndReasons {
  #id = -1;
  #text = "";

  /** Adds a part. */
  add({ id, text }: TextReport): void {
    this.#text = this.#id === id ? this.#text + text : text;
    this.#id = id;
  }

  /** Returns and forgets the reason of a connection that has ended; undefined if it had none. */
  take(id: number): string | undefined {
    if (this.#id !== id) return undefined;
    this.#id = -1;
    return this.#text;
  }
}

/** A move of a connection, as a worker reported it. */
export class ReportedMove implements MovedConnection {
  #report!: MoveReport;
  #serverNames: readonly string[];

  constructor(serverNames: readonly string[]) {
    this.#serverNames = serverNames;
  }

  /** Points this view to a report. */
  of(report: MoveReport): this {
    this.#report = report;
    return this;
  }

  get client(): string {
    return formatClient(this.#report.ip, this.#report.port);
  }
  get service(): number {
    return this.#report.service;
  }
  get id(): number {
    return this.#report.id;
  }
  get movedAt(): number | undefined {
    return knownOf(this.#report.movedAt);
  }
  get from(): string | undefined {
    return this.#serverNames[this.#report.from];
  }
  get to(): string | undefined {
    return this.#serverNames[this.#report.slot];
  }
  get loss(): Loss {
    return this.#report.loss;
  }
  get state(): ConnectionState {
    return this.#report.state;
  }
  get replayedBytes(): number {
    return this.#report.replayedBytes;
  }
}

/** States in which a connection has a server. */
const HAVING_SERVER: readonly number[] = [STATE.open, STATE.departing, STATE.probing];

const NO_IP = new Uint8Array(0);

/** An open connection, read from its rows. */
export class OpenRow implements OpenConnection {
  #client = 0;
  /** Memory for the client's address: with hundreds of thousands of connections, copies take most of the time. */
  readonly #ip4 = new Uint8Array(4);
  readonly #ip6 = new Uint8Array(16);
  quietForMs = 0;
  ageMs = 0;

  constructor(readonly descriptors: DescriptorTable, readonly serverNames: readonly string[]) {}

  /** Points this view to the connection of this client. */
  of(client: number, nowMs: number): this {
    this.#client = client;
    this.quietForMs = nowMs - this.descriptors.lastActivityMs(client);
    this.ageMs = nowMs - this.descriptors.floats[floatsOf(client) + FLOAT.startedMs];
    return this;
  }

  get id(): number {
    return this.descriptors.idOf(this.#client);
  }
  get service(): number {
    return serviceOf(this.descriptors.words, this.#client);
  }
  get slot(): number {
    return this.#word(WORD.slot);
  }
  get facts(): number {
    return factsOf(this.descriptors.words, this.#client);
  }
  get replays(): number {
    return this.#word(WORD.facts) >>> REPLAYS_SHIFT;
  }
  get ip(): Uint8Array {
    const { bytes } = this.descriptors;
    const start = (rowOf(this.#client) + WORD.ip) * 4;
    const length = this.#word(WORD.ipLength) & IP_LENGTH_MASK;
    const ip = length === 4 ? this.#ip4 : length === 16 ? this.#ip6 : NO_IP;
    for (let i = 0; i < ip.length; i++) ip[i] = bytes[start + i];
    return ip;
  }
  get port(): number {
    return this.#word(WORD.port) & PORT_MASK;
  }
  get server(): string | undefined {
    return this.serverNames[this.slot];
  }
  get isDialling(): boolean {
    return !HAVING_SERVER.includes(this.#word(WORD.state));
  }
  get moves(): number {
    return this.#word(WORD.moves) & MOVES_MASK;
  }
  get sentBytes(): number {
    return this.descriptors.floats[floatsOf(this.#client) + FLOAT.bytes];
  }
  get receivedBytes(): number {
    const { floats } = this.descriptors;
    const server = this.#word(WORD.peer);
    const here = server < 0 ? 0 : floats[floatsOf(server) + FLOAT.bytes];
    return floats[floatsOf(this.#client) + FLOAT.earlierBytes] + here;
  }
  get listener(): number {
    return listenerOf(this.descriptors.words, this.#client);
  }

  #word(word: number): number {
    return this.descriptors.words[rowOf(this.#client) + word];
  }
}

/** A float of a report; undefined for NaN. */
export function knownOf(float: number): number | undefined {
  return Number.isNaN(float) ? undefined : float;
}

/** The side that ended first, in words. */
export function sideOf(first: FirstEnd): "client" | "server" | undefined {
  if (first === FIRST_END.none) return undefined;
  return first === FIRST_END.client ? "client" : "server";
}

/** A client as logs show it: `ip:port`. */
export function formatClient(ip: Uint8Array, port: number): string {
  return ip.length === 0 ? "unknown" : formatAddress({ host: formatIp(ip), port });
}

/** An errno or REASON in words; undefined for 0. */
export function reasonOf(errno: number): string | undefined {
  if (errno === 0) return undefined;
  if (errno === REASON.nameNotFound) return "its name was not found";
  if (errno === REASON.removed) return "it was removed";
  if (errno === REASON.silent) return "its checks get no answer";
  if (errno === REASON.asking) return "its check asks to drain it";
  if (errno === REASON.closedEarly) return EARLY_LOSSES.end;
  if (errno === REASON.resetEarly) return EARLY_LOSSES.reset;
  if (errno === REASON.sourceGone) return "its --source address is no longer an address of this machine";
  if (errno === REASON.otherFamily) return "it has no address of the client's family, which --transparent needs";
  if (errno === REASON.badSource) return "it cannot be reached from the source address";
  if (errno === ERRNO.EADDRNOTAVAIL) return NO_LOCAL_PORT;
  return errnoText(errno);
}
