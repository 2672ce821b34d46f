/**
 * The open connections as their operator sees them: lists some of very many, ends one, moves one. Decides nothing about whether a
 * connection may leave its server; says in sentences what the engine has found.
 */

import { delay } from "@std/async";
import { clientKey, formatAddress, formatIp } from "../values/address.ts";
import { type CidrList, includesIp } from "../values/cidr_list.ts";
import { type ConnectionId, formatConnectionId } from "../values/connection_id.ts";
import type { ConnectionOrder } from "../values/connection_order.ts";
import { didYouMean } from "../values/did_you_mean.ts";
import { OperatorError } from "../values/errors.ts";
import type { Fate } from "../values/fates.ts";
import { Top } from "../values/top.ts";
import { logger } from "../observe/log.ts";
import type { PlannedState } from "../routing/redistribution.ts";
import { stateOf } from "../routing/redistribution.ts";
import { nextServer } from "../routing/route.ts";
import { unknownService } from "./state_changes.ts";
import { explainStay, yieldsToForce } from "../routing/stays.ts";
import type { Engine, OpenConnection } from "../engine/engine.ts";
import type { Service } from "./service.ts";

/** An open connection. */
export interface ConnectionView {
  readonly id: string;
  /** Null while it is not known: the client is to say by its first bytes which one it wants. */
  readonly service: string | null;
  /** Where its client connected: `address:port`. */
  readonly listener: string;
  /** `ip:port`. */
  readonly client: string;
  /** The server that it has, or that is being dialled; null: none. */
  readonly server: string | null;
  readonly state: PlannedState;
  readonly ageMs: number;
  /** How long no byte has passed. */
  readonly idleMs: number;
  /** Bytes passed on to servers, and to the client. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly moves: number;
}

/** Which connections to list; what is undefined does not matter. */
export interface ConnectionFilter {
  readonly service?: string;
  /** `address:port`. */
  readonly server?: string;
  readonly client?: CidrList;
  readonly state?: PlannedState;
  readonly sort: ConnectionOrder;
  /** The most to list. */
  readonly limit: number;
}

/** The first of the connections that match, and how many match. */
export interface ConnectionList {
  readonly total: number;
  readonly connections: readonly ConnectionView[];
}

/** A connection that was ended. */
export interface Closed {
  readonly id: string;
  readonly service: string | null;
  readonly client: string;
  readonly server: string | null;
}

/** A connection that has moved, or was reset because it could not. */
export interface Moved extends Closed {
  readonly outcome: "moved" | "reset";
  /** Null: it had none. */
  readonly from: string | null;
  /** Null: it was reset. */
  readonly to: string | null;
  /** Where it was in its exchange. */
  readonly state: PlannedState;
  /** Bytes of the client that were sent again to the new server. */
  readonly replayedBytes: number;
  /** Why it could not move, as a clause; null: it has moved. */
  readonly reason: string | null;
  /** The server that a new connection of a client that was reset gets now; null: nobody knows, or it was not reset. */
  readonly next: string | null;
}

/** Where a person wants a connection to be. */
export interface MoveRequest {
  /** `address:port`; undefined: any other server. */
  readonly server?: string;
  /** Whether to reset it if it cannot move. */
  readonly force: boolean;
}

/** What the operator's view of connections needs of the balancer. */
interface OpenConnectionsOptions {
  readonly startId: string;
  readonly engine: () => Pick<Engine, "connections" | "connection" | "closeConnection" | "moveConnection">;
  /** Every service, and those that wait for their last connections. */
  readonly services: () => readonly Service[];
  /** The service with this index of the engine. */
  readonly serviceAt: (index: number) => Service | undefined;
  /** The address of the listener with this index, through which a client of this service came. */
  readonly listenerOf: (listener: number, service: number) => string;
  /** The fate of a connection that ended recently. */
  readonly fateOf: (id: string) => Fate | undefined;
}

/** How long a list may keep main busy before others get a turn, in ms, and after how many connections the clock is read. */
const TURN_MS = 2;
const CLOCK_EVERY = 256;

const log = logger("connection");

/** The open connections of one balancer. */
export class OpenConnections {
  readonly #options: OpenConnectionsOptions;
  /** The end of the last list: lists are made one after another, so that many who look take no more turns than one. */
  #lastList: Promise<unknown> = Promise.resolve();

  constructor(options: OpenConnectionsOptions) {
    this.#options = options;
  }

  /**
   * The connections that match, the first `limit` of them in the order wanted. Takes turns with everything else on this thread;
   * what begins or ends meanwhile may be left out. Throws `unknown` for a service or a server that there is not.
   */
  async list(filter: ConnectionFilter): Promise<ConnectionList> {
    const matches = this.#matcher(filter);
    const list = this.#lastList.then(() => this.#find(filter, matches));
    this.#lastList = list.catch(() => {});
    return await list;
  }

  /** Ends a connection, and resets both sides. Throws `unknown` if it is not open, for whatever cause. */
  async close(id: ConnectionId, who: string): Promise<Closed> {
    const { shown } = this.#require(id, "close");
    await this.#reset(id, shown, "close");
    log.info("{who} closed connection {id} of {client}", { who, ...shown });
    return shown;
  }

  /**
   * Moves a connection to another server as far as its state permits; what cannot move is reset only with `force`. Throws `unknown`
   * if it is not open or there is no such server, and `conflict` with the reason if it stays.
   */
  async move(id: ConnectionId, request: MoveRequest, who: string): Promise<Moved> {
    const found = this.#require(id, "move");
    const { shown, slot } = found;
    const service = requireService(found);
    const to = request.server === undefined ? -1 : requireTarget(found, service, request.server);
    const outcome = await this.#options.engine().moveConnection(id.number, { from: slot, to });
    if (outcome.kind === "ended") throw this.#ended(shown.id, "move", outcome.fate);
    if (outcome.kind === "stays") {
      const [why, wayOut] = explainStay(outcome.reason, { policy: service.config, service: service.name, to: request.server });
      if (!request.force || !yieldsToForce(outcome.reason)) {
        throw new OperatorError("conflict", `${cannotMove(found)}: ${why}; ${wayOut}`);
      }
      return await this.#forceAway(id, found, why, who);
    }
    const { from = null, to: arrived = null, state, replayedBytes } = outcome;
    log.info("{who} moved connection {id} of {client} from {from} to {to}", { who, ...shown, from, to: arrived });
    return { ...shown, outcome: "moved", from, to: arrived, state, replayedBytes, reason: null, next: null };
  }

  /** Resets a connection that could not move. */
  async #forceAway(id: ConnectionId, found: Found, reason: string, who: string): Promise<Moved> {
    const { shown, state } = found;
    await this.#reset(id, shown, "move");
    log.info("{who} reset connection {id} of {client}, which could not move: {reason}", { who, ...shown, reason });
    return { ...shown, outcome: "reset", from: shown.server, to: null, state, replayedBytes: 0, reason, next: nextOf(found) };
  }

  async #reset({ number }: ConnectionId, { id }: Closed, verb: string): Promise<void> {
    const outcome = await this.#options.engine().closeConnection(number);
    if (outcome.kind === "ended" && outcome.fate === "closed") return;
    if (outcome.kind === "ended") throw this.#ended(id, verb, outcome.fate);
    const why = "the thread that serves it does not answer; balancerctl connections shows whether it is still there";
    throw new OperatorError("failed", `Cannot ${verb} connection ${JSON.stringify(id)}: ${why}`);
  }

  /** An open connection. Throws `unknown` if it is not open. */
  #require({ startId, number }: ConnectionId, verb: string): Found {
    const id = formatConnectionId(startId, number);
    const { startId: own, engine, serviceAt } = this.#options;
    if (startId !== own) {
      const why = `it is of another run of the balancer; ids of this one begin with ${own}`;
      throw new OperatorError("unknown", `Cannot ${verb} connection ${JSON.stringify(id)}: ${why}`);
    }
    const open = engine().connection(number);
    if (open === undefined) throw this.#ended(id, verb, undefined);
    const { slot, ip, port } = open;
    const service = serviceAt(open.service);
    const { client, server, ...view } = this.#view(open);
    return { shown: { id, service: view.service, client, server }, service, slot, ip: ip.slice(), port, state: view.state };
  }

  /** The error for a connection that is not open any more. Without a fate, that is looked up. */
  #ended(id: string, verb: string, fate: Fate | undefined): OperatorError {
    const known = fate ?? this.#options.fateOf(id);
    const why = known === undefined ? "it is not open; balancerctl connections shows those that are" : `it has ended: ${known}`;
    return new OperatorError("unknown", `Cannot ${verb} connection ${JSON.stringify(id)}: ${why}`);
  }

  async #find({ sort, limit }: ConnectionFilter, matches: (open: OpenConnection) => boolean): Promise<ConnectionList> {
    const top = new Top<ConnectionView>(limit);
    let total = 0;
    let seen = 0;
    let nowMs = performance.now();
    let turnEndsMs = nowMs + TURN_MS;
    for (const open of this.#options.engine().connections()) {
      if (++seen % CLOCK_EVERY === 0) {
        nowMs = performance.now();
        if (nowMs > turnEndsMs) {
          await delay(0);
          nowMs = performance.now();
          turnEndsMs = nowMs + TURN_MS;
        }
      }
      if (!matches(open)) continue;
      total++;
      const rank = RANKS[sort](open, nowMs);
      if (top.takes(rank)) top.add(rank, this.#view(open));
    }
    return { total, connections: top.sorted() };
  }

  /** Whether a connection matches, cheapest question first. Throws `unknown` for a service or a server that there is not. */
  #matcher({ service, server, client, state }: ConnectionFilter): (open: OpenConnection) => boolean {
    const services = this.#options.services();
    const meant = service === undefined ? services : services.filter(({ name }) => name === service);
    if (service !== undefined && meant.length === 0) throw unknownService(service, services.map(({ name }) => name));
    if (server !== undefined) requireServer(server, meant);
    const indexes = new Set(meant.map(({ index }) => index));
    return (open) =>
      (service === undefined || indexes.has(open.service)) &&
      (server === undefined || open.server === server) &&
      (client === undefined || isIn(client, open.ip)) &&
      (state === undefined || this.#stateOf(open) === state);
  }

  #stateOf({ isDialling, service, facts, quietForMs }: OpenConnection): PlannedState {
    const config = isDialling ? undefined : this.#options.serviceAt(service)?.config;
    return config === undefined ? "dialling" : stateOf(config.quietMs, facts, quietForMs);
  }

  /** A copy of what is shown. */
  #view(open: OpenConnection): ConnectionView {
    const { startId, serviceAt, listenerOf } = this.#options;
    return {
      id: formatConnectionId(startId, open.id),
      service: serviceAt(open.service)?.name ?? null,
      listener: listenerOf(open.listener, open.service),
      client: open.ip.length === 0 ? "unknown" : formatAddress({ host: formatIp(open.ip), port: open.port }),
      server: open.server ?? null,
      state: this.#stateOf(open),
      ageMs: Math.max(0, Math.round(open.ageMs)),
      idleMs: Math.max(0, Math.round(open.quietForMs)),
      sentBytes: open.sentBytes,
      receivedBytes: open.receivedBytes,
      moves: open.moves,
    };
  }
}

/** An open connection that a person has named: a copy, as engines reuse their objects. */
interface Found {
  readonly shown: Closed;
  readonly service: Service | undefined;
  readonly slot: number;
  readonly state: PlannedState;
  readonly ip: Uint8Array;
  readonly port: number;
}

/**
 * What lists are sorted by, the greatest first. A list takes a while: times count back from one moment, or a connection would be
 * older because it was looked at later.
 */
const RANKS: Readonly<Record<ConnectionOrder, (open: OpenConnection, nowMs: number) => number>> = {
  age: ({ ageMs }, nowMs) => ageMs - nowMs,
  bytes: ({ sentBytes, receivedBytes }) => sentBytes + receivedBytes,
  idle: ({ quietForMs }, nowMs) => quietForMs - nowMs,
};

function isIn(list: CidrList, ip: Uint8Array): boolean {
  return ip.length > 0 && includesIp(list, ip, 0, ip.length);
}

/** Throws `unknown` unless one of these services has this server, or is removing it. */
function requireServer(name: string, services: readonly Service[]): void {
  if (services.some((service) => service.hasServer(name))) return;
  const names = services.flatMap(({ published: { table } }) => table.servers.map(({ name }) => name));
  const wayOut = didYouMean(name, names) ?? "balancerctl list shows the servers";
  throw new OperatorError("unknown", `Cannot list connections of server ${JSON.stringify(name)}: there is none; ${wayOut}`);
}

function cannotMove({ shown }: Found): string {
  return `Cannot move connection ${JSON.stringify(shown.id)}`;
}

/** Throws `conflict` while the service of a connection is not known. */
function requireService(found: Found): Service {
  if (found.service !== undefined) return found.service;
  throw new OperatorError(
    "conflict",
    `${cannotMove(found)}: its service is not known yet; try again, or end it with balancerctl close`,
  );
}

/** The slot of the server that a connection is to move to. Throws `unknown` if there is none, `conflict` if it has that one. */
function requireTarget(found: Found, service: Service, name: string): number {
  const target = service.inPool(name, "move a connection to");
  if (target.slot !== found.slot) return target.slot;
  throw new OperatorError("conflict", `${cannotMove(found)}: it is with server ${name} already; balancerctl list shows the others`);
}

/** The server that a new connection of the client would get now; null: none, or its next port decides. */
function nextOf({ service, ip, port }: Found): string | null {
  if (service === undefined) return null;
  const { table, load } = service.homing;
  if (table.key.withPort || table.policy !== "ring") return null;
  return table.servers[nextServer(table, load, clientKey(table.key, ip, port), "any", () => true)]?.name ?? null;
}
