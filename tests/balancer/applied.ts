/**
 * What tests of declared states share: a balancer with several services whose state is kept in a folder, servers that say who they
 * are, and clients in every state in which a connection can be.
 */

import { Balancer } from "../../lib/balancer/balancer.ts";
import type { Service } from "../../lib/balancer/service.ts";
import { StateStore } from "../../lib/balancer/state_store.ts";
import type { Engine, EngineKind } from "../../lib/engine/engine.ts";
import type { Outcome, PlannedConnections } from "../../lib/routing/forecast.ts";
import type { StatePlan } from "../../lib/routing/state_plan.ts";
import type { Address } from "../../lib/values/address.ts";
import { parseConfig } from "../../lib/values/config.ts";
import type { DeclaredService, DeclaredState } from "../../lib/values/declared_state.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import type { SavedService } from "../../lib/values/saved_state.ts";
import { assertFatesAddUp, connect, readBytes, readChunks, soon, startServer, type TestServer, writeAll } from "../helpers.ts";
import { until } from "../raw_socket.ts";

/** Clients spread by themselves, and may go elsewhere between two exchanges. After so long an exchange is over. */
export const IDLE = { check: "off", key: "ip:port", "load-bound": "off", redistribute: "idle", quiet: "30ms" };

/** A service that listens on a free port of loopback. */
export function service(name: string, settings: SavedService["settings"], servers: readonly string[]): SavedService {
  const saved = servers.toSorted().map((server) => ({ server, weight: 1, connectionsMax: null }));
  return { name, settings, listeners: [{ address: "127.0.0.1", port: 0 }], servers: saved };
}

/** What a file with these services says. */
export function declared(...services: DeclaredService[]): DeclaredState {
  return { services, daemon: {} };
}

/** Everything that is declared is all that there shall be. */
export const PRUNED = { prune: true };

/** A balancer whose state is kept in a folder of its own. Disposing of it checks that its fates add up. */
export class Stand implements AsyncDisposable {
  /** Whether nothing can be saved. */
  isDiskFull = false;
  /** How often the engine was told of something else to serve by. */
  updates = 0;
  readonly #clients: Client[] = [];
  #balancer: Balancer | undefined;

  private constructor(readonly folder: string) {}

  static async start(kind: EngineKind, services: readonly SavedService[]): Promise<Stand> {
    const stand = new Stand(await Deno.makeTempDir({ prefix: "balancer_apply_" }));
    const store = await StateStore.open(`${stand.folder}/default.json`);
    const state = { generation: 1, services: services.toSorted((a, b) => a.name < b.name ? -1 : 1) };
    stand.#balancer = await Balancer.start({
      engine: stand.#watched(kind),
      config: parseConfig({ workers: "1" }),
      connectionsMax: 1000,
      state,
      store: {
        save: (state, note) =>
          stand.isDiskFull ? Promise.reject(new OperatorError("failed", "the disk is full")) : store.save(state, note),
        list: () => store.list(),
        load: (generation) => store.load(generation),
      },
    });
    await store.save(stand.balancer.state, { what: "start" });
    return stand;
  }

  get balancer(): Balancer {
    return this.#balancer!;
  }

  /** A service as it is saved. */
  saved(name: string): SavedService {
    return this.balancer.service(name).saved;
  }

  /** Where a service listens, by the position among its listeners. */
  addressOf(name: string, index = 0): Address {
    const { address, port } = this.saved(name).listeners[index];
    return { host: address, port };
  }

  /** Clients of a service, which have come as far as this. */
  async open(name: string, kind: ClientKind, count = 1): Promise<Client[]> {
    const service = this.balancer.service(name);
    const clients: Client[] = [];
    for (let i = 0; i < count; i++) {
      const dialled = () => service.list().reduce((sum, { open }) => sum + open, 0);
      const before = dialled();
      const client = new Client(await connect(this.addressOf(name)), kind);
      this.#clients.push(client);
      clients.push(client);
      await client.begin();
      await until(() => dialled() === before + 1, "a server to have the client");
    }
    return clients;
  }

  /** Clients of these services, two of each, whose servers are among these. */
  async talkersOf(names: readonly string[], servers: readonly number[]): Promise<Client[]> {
    const talkers: Client[] = [];
    for (const name of names) {
      const service = this.balancer.service(name);
      const found: Client[] = [];
      while (found.length < 2) {
        const [client] = await this.open(name, "idle");
        if (servers.includes(client.server!)) found.push(client);
        else client.close();
        await until(() => service.view().open === found.length, "the end");
      }
      talkers.push(...found);
    }
    return talkers;
  }

  /** Everything that a change would change. */
  async traces() {
    const { balancer, updates } = this;
    return {
      state: balancer.state,
      services: balancer.listServices(),
      // A thread counts bytes a little later than the client has them.
      servers: balancer.services().map((service) => service.list().map(({ sentBytes: _, receivedBytes: __, ...server }) => server)),
      listeners: balancer.measuredListeners(),
      history: await balancer.history(),
      updates,
    };
  }

  /** Resolves when what planned connections are does not depend on time any more. */
  async quiet(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 60)); // twice as long as an exchange takes to be over
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.balancer[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
    assertFatesAddUp(this.balancer.counters);
  }

  #watched(kind: EngineKind): EngineKind {
    const create = (options: Parameters<EngineKind["create"]>[0]): Engine => {
      const engine = kind.create(options);
      const update = engine.update.bind(engine);
      engine.update = (publication) => {
        this.updates++;
        return update(publication);
      };
      return engine;
    };
    return { ...kind, create };
  }
}

/** What a client says that is to be answered later, and what one of TLS begins with. */
const LATER = "w".charCodeAt(0);
const TLS = Uint8Array.of(22, 3);
const QUESTION = Uint8Array.of("?".charCodeAt(0));

/** How far a client has come: it has said nothing, waits for an answer, has had one, or had one in TLS and can never leave. */
export const CLIENT_KINDS = ["unsent", "unanswered", "idle", "busy"] as const;
export type ClientKind = typeof CLIENT_KINDS[number];

/** A client. */
export class Client {
  /** The server that answered last. */
  server: number | undefined;

  constructor(readonly socket: Deno.TcpConn, readonly kind: ClientKind) {}

  async begin(): Promise<void> {
    if (this.kind === "unanswered") await writeAll(this.socket, Uint8Array.of(LATER));
    if (this.kind === "idle") await this.ask();
    if (this.kind === "busy") {
      await writeAll(this.socket, TLS);
      this.server = (await soon(readBytes(this.socket, TLS.length), "the answer"))[0];
    }
  }

  /** The number of the server that answers. Rejects if the connection has ended. */
  async ask(): Promise<number> {
    await writeAll(this.socket, QUESTION);
    return this.server = (await soon(readBytes(this.socket, 1), "the answer"))[0];
  }

  /** What has become of it: it has the server that it had, another one, or none; what it had is not known before an answer. */
  async look(): Promise<"same" | "other" | "served" | "gone"> {
    const before = this.server;
    const now = await this.ask().catch(() => undefined);
    if (now === undefined) return "gone";
    return before === undefined ? "served" : before === now ? "same" : "other";
  }

  close(): void {
    try {
      this.socket.close();
    } catch { /* it has gone already */ }
  }
}

/** Servers that answer every byte with their number, but the one that is to be answered later. */
export class Servers implements AsyncDisposable {
  readonly #servers: readonly TestServer[];

  constructor(count: number) {
    this.#servers = Array.from({ length: count }, (_, number) =>
      startServer(async (socket) => {
        for await (const chunk of readChunks(socket)) {
          const asked = chunk.filter((byte) => byte !== LATER).length;
          if (asked > 0) await writeAll(socket, new Uint8Array(asked).fill(number));
        }
      }));
  }

  /** `address:port` by number. */
  get names(): string[] {
    return this.#servers.map(({ name }) => name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) await server[Symbol.asyncDispose]();
  }
}

/** Outcomes by which a connection leaves its server at once. */
export const LEAVING_NOW: readonly Outcome[] = ["moves", "is replayed"];
/** Those and the ones by which it leaves once its exchange is over. */
export const LEAVING: readonly Outcome[] = [...LEAVING_NOW, "moves once it is quiet", "is replayed once it is quiet"];
/** The outcome by which a connection is reset in the end. */
const ENDING: readonly Outcome[] = ["may finish, and is reset when the drain time ends"];

/** How many connections leave their servers and how many are reset, by a plan or by what has happened. */
export interface Fortunes {
  readonly moved: number;
  readonly ended: number;
}

/** What a plan says of that, for each service in which anything happens to a connection. */
export function fortunesOf({ services }: StatePlan): Record<string, Fortunes> {
  const found = services.map(({ service, plan }) => {
    const connections = plan?.connections ?? [];
    return [service, { moved: countOf(connections, LEAVING), ended: countOf(connections, ENDING) }] as const;
  });
  return Object.fromEntries(found.filter(([, { moved, ended }]) => moved + ended > 0));
}

/** How many of these connections have one of these outcomes. */
export function countOf(connections: readonly PlannedConnections[], outcomes: readonly Outcome[]): number {
  return connections.reduce((sum, { count, outcome }) => outcomes.includes(outcome) ? sum + count : sum, 0);
}

/** Watches what happens to the connections of these services from now on, also of those that leave. */
export class Watch {
  readonly #balancer: Balancer;
  readonly #services: readonly { readonly service: Service; readonly slots: readonly number[]; readonly before: Fortunes }[];
  readonly #moves: ReturnType<typeof movesOf>;

  constructor(balancer: Balancer) {
    this.#balancer = balancer;
    this.#moves = movesOf(balancer);
    this.#services = balancer.services().map((service) => {
      const slots = service.list().map(({ slot }) => slot);
      return { service, slots, before: this.#fortunesOf(service, slots) };
    });
  }

  /** How many connections have left their servers. */
  get moved(): number {
    return Object.values(this.fortunes).reduce((sum, { moved }) => sum + moved, 0);
  }

  /** The same by what the connections were. */
  get movesByState(): Record<"unsent" | "unanswered" | "idle", number> {
    const now = movesOf(this.#balancer);
    return {
      unsent: now.unsent - this.#moves.unsent,
      unanswered: now.unanswered - this.#moves.unanswered,
      idle: now.idle - this.#moves.idle,
    };
  }

  /** What has happened, for each service in which anything did. */
  get fortunes(): Record<string, Fortunes> {
    const changes = this.#services.map(({ service, slots, before }) => {
      const { moved, ended } = this.#fortunesOf(service, slots);
      return [service.name, { moved: moved - before.moved, ended: ended - before.ended }] as const;
    });
    return Object.fromEntries(changes.filter(([, { moved, ended }]) => moved + ended > 0));
  }

  /** Ends the drain time of every server that is being removed; resolves when they have gone. */
  async endDrains(): Promise<void> {
    for (const { service } of this.#services) {
      const removing = service.list().filter(({ state }) => state === "removing");
      await soon(Promise.all(removing.map(({ server }) => this.#balancer.removeServer(service, server, 0))), "the removals");
    }
  }

  #fortunesOf({ index }: Service, slots: readonly number[]): Fortunes {
    const { counters } = this.#balancer;
    const moved = slots.reduce((sum, slot) => sum + counters.getOf(slot, "movedAway"), 0);
    return { moved, ended: counters.getOfService(index, "removed") };
  }
}

function movesOf({ counters }: Balancer) {
  return { unsent: counters.get("movedUnsent"), unanswered: counters.get("movedUnanswered"), idle: counters.get("movedIdle") };
}
