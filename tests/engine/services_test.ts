// An engine serves several services: each has listeners, a table, settings, limits and lists of its own. All of it changes while
// the engine runs, without a client being lost.

import { assert, assertEquals } from "@std/assert";
import type { Engine, EngineKind, EngineService, Listener, ServiceEngineConfig, ServiceListener } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { allocateClients } from "../../lib/observe/client_table.ts";
import type { EndedConnection } from "../../lib/observe/connections.ts";
import { allocateCounters, Counters } from "../../lib/observe/counters.ts";
import type { Refusal } from "../../lib/routing/client_limits.ts";
import { allocateAvailabilities, AVAILABILITY, AvailabilityTable } from "../../lib/routing/availability.ts";
import { emptyTable, nextTable, type TableServer } from "../../lib/routing/routing_table.ts";
import { type Address, ipBytes, parseKeyRule } from "../../lib/values/address.ts";
import { parseCidrs } from "../../lib/values/cidr_list.ts";
import { parseClientConnections, parseClientRate } from "../../lib/values/client_limits.ts";
import { LIMITS, parseConfig } from "../../lib/values/config.ts";
import { writeProxyHeader } from "../../lib/values/proxy_header.ts";
import { turn, until } from "../raw_socket.ts";
import {
  ask,
  assertFatesAddUp,
  connect,
  echo,
  hold,
  Queue,
  readBytes,
  readText,
  soon,
  startServer,
  tableServer,
  type TestServer,
  writeAll,
  writeText,
} from "../helpers.ts";

const EMPTY = emptyTable(parseKeyRule("ip:port"), Infinity);
const ONCE = { clientConnections: parseClientConnections("1", 1000) };

/** What a test says of a service; everything else is as in production. */
interface Settings extends Partial<ServiceEngineConfig> {
  readonly servers?: readonly TableServer[];
  readonly lists?: EngineService["lists"];
}

/** An engine, and what it serves by: changes are published by `publish`. */
class Services implements AsyncDisposable {
  readonly counters: Counters;
  readonly availabilities: AvailabilityTable;
  readonly ended = new Queue<Pick<EndedConnection, "service" | "listener" | "fate">>();
  readonly moved = new Queue<number>();
  readonly emptied: number[] = [];
  readonly wouldBeRefused = new Queue<[Refusal, service: number]>();
  readonly engine: Engine;
  readonly services: (EngineService | undefined)[] = [];
  readonly listeners: (ServiceListener | undefined)[] = [];

  /** One listener for each service. */
  constructor(readonly kind: EngineKind, services: readonly Settings[], workers = "2") {
    const config = { ...parseConfig({ workers }), connectionsMax: 1000 };
    this.counters = new Counters(allocateCounters(kind.threads(config), 4000));
    this.availabilities = new AvailabilityTable(allocateAvailabilities(this.counters.slots));
    for (const [index, settings] of services.entries()) this.set(index, settings).listen(index);
    this.engine = kind.create({
      startId: "00000000000000ff",
      publication: { services: [...this.services], listeners: [...this.listeners] },
      config,
      counters: this.counters,
      clients: allocateClients(1, 1024),
      availabilities: this.availabilities,
      onEnded: ({ service, listener, fate }) => this.ended.put({ service, listener, fate }),
      onMoved: ({ service }) => this.moved.put(service),
      onServerFailed: () => {},
      onServerEmpty: (slot) => this.emptied.push(slot),
      onWouldBeRefused: (_, refusal, service) => this.wouldBeRefused.put([refusal, service]),
    });
  }

  /** Changes a service, or makes one. */
  set(index: number, { servers, lists, ...config }: Settings): this {
    const before = this.services[index];
    const table = before?.table ?? EMPTY;
    this.services[index] = {
      table: servers === undefined ? table : nextTable(table, servers),
      config: { ...before?.config ?? parseConfig(), ...config },
      lists: lists ?? before?.lists,
    };
    return this;
  }

  /** Adds a listener. Returns its index. */
  listen(service: number, portOffset = 0): number {
    const free = this.listeners.findIndex((listener) => listener === undefined);
    const index = free < 0 ? this.listeners.length : free;
    const listener = this.kind.listen({ host: "127.0.0.1", port: 0 }, this.services[service]!.config);
    this.listeners[index] = { listener, service, portOffset };
    return index;
  }

  publish(): Promise<void> {
    return soon(this.engine.update({ services: [...this.services], listeners: [...this.listeners] }), "the publication");
  }

  addressOf(index: number): Address {
    return this.#at(index).address;
  }

  /** What a client of this listener is answered. */
  ask(index: number, text = "hi"): Promise<string> {
    return ask(this.addressOf(index), text);
  }

  /** A client of this listener whose server has answered it. */
  async open(index: number): Promise<Deno.TcpConn> {
    const client = await connect(this.addressOf(index));
    await exchange(client);
    return client;
  }

  open0(service: number): number {
    return this.counters.getOfService(service, "serviceOpen");
  }

  #at(index: number): Listener {
    return this.listeners[index]!.listener;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine[Symbol.asyncDispose]();
    assertFatesAddUp(this.counters);
  }
}

/** Says a byte and hears one. */
async function exchange(client: Deno.TcpConn): Promise<void> {
  await writeText(client, "x");
  await soon(readBytes(client, 1), "the answer");
}

/** A server that answers each client with its name and what it was sent. */
function named(name: string, options: Parameters<typeof startServer>[1] = {}): TestServer {
  return startServer(async (socket) => {
    const buffer = new Uint8Array(100);
    const count = await socket.read(buffer);
    if (count !== null) await writeText(socket, `${name}:${new TextDecoder().decode(buffer.subarray(0, count))}`);
  }, options);
}

/** Two servers on ports that follow each other. */
function namedPair(): [TestServer, TestServer] {
  for (;;) {
    const first = named("first");
    try {
      return [first, named("second", { port: first.address.port + 1 })];
    } catch {
      void first[Symbol.asyncDispose]();
    }
  }
}

/** Whether a client that is to be refused hears nothing but its end. */
async function isRefused(address: Address): Promise<boolean> {
  return (await ask(address, "").catch(() => "")) === "";
}

type Case = (kind: EngineKind) => Promise<void>;

const CASES: Record<string, Case> = {
  async "each listener's clients are routed by the table of its service"(kind) {
    await using web = named("web");
    await using mail = named("mail");
    await using services = new Services(kind, [
      { servers: [tableServer(web.address, 0)] },
      { servers: [tableServer(mail.address, 1)] },
    ]);
    const second = services.listen(0);
    await services.publish();
    for (let i = 0; i < 20; i++) {
      assertEquals([await services.ask(0), await services.ask(1), await services.ask(second)], ["web:hi", "mail:hi", "web:hi"]);
    }
    assertEquals([0, 1].map((index) => services.counters.getOfService(index, "serviceAccepted")), [40, 20]);
    await until(() => services.counters.getOfService(0, "done") === 40, "the ends to be counted");
  },

  async "each listener's clients and bytes are counted for it, and those of open connections, too"(kind) {
    await using web = startServer(echo);
    await using services = new Services(kind, [{ servers: [tableServer(web.address, 0)] }]);
    const { counters } = services;
    const second = services.listen(0);
    await services.publish();
    assertEquals(await services.ask(second), "hi");
    using open = await connect(services.addressOf(0));
    await writeText(open, "hello");
    await readBytes(open, 5);
    const read = (listener: number) =>
      (["listenerAccepted", "listenerOpen", "listenerReceivedBytes", "listenerSentBytes"] as const).map((name) =>
        counters.getOfListener(listener, name)
      );
    await until(() => read(0)[3] === 5 && read(second)[1] === 0, "the bytes and the end to be counted");
    assertEquals([read(0), read(1)], [[1, 1, 5, 5], [1, 0, 2, 2]]);
    assertEquals(counters.getOf(0, "sentBytes"), 7);
    const { service, listener } = await services.ended.take();
    assertEquals({ service, listener }, { service: 0, listener: second });
  },

  async "a change of one service's pool leaves the others alone"(kind) {
    await using web = named("web");
    await using other = named("other");
    await using mail = named("mail");
    await using services = new Services(kind, [
      { servers: [tableServer(web.address, 0)] },
      { servers: [tableServer(mail.address, 1)] },
    ]);
    await services.set(0, { servers: [tableServer(other.address, 2)] }).publish();
    assertEquals([await services.ask(0), await services.ask(1)], ["other:hi", "mail:hi"]);
    await until(() => services.emptied.length > 0, "the server that has left to be empty");
    assertEquals(services.emptied, [0]);
    await services.set(0, { servers: [] }).publish();
    assertEquals([await services.ask(0), await services.ask(1)], ["", "mail:hi"]);
    await until(() => services.counters.getOfService(0, "no_server") === 1, "the end to be counted");
  },

  async "each service has its own idle timeout, and a shorter one holds for connections that are open"(kind) {
    await using server = startServer(echo);
    const servers = [tableServer(server.address, 0)];
    await using services = new Services(kind, [{ servers, idleTimeoutMs: 100 }, { servers, idleTimeoutMs: 60_000 }]);
    using short = await connect(services.addressOf(0));
    using long = await services.open(1);
    assertEquals(await soon(readText(short), "the end of the first"), "");
    assertEquals(await services.ended.take(), { service: 0, listener: 0, fate: "idle_timeout" });
    await exchange(long);
    await services.set(1, { idleTimeoutMs: 50 }).publish();
    assertEquals(await soon(readText(long), "the end of the second"), "");
    assertEquals(await services.ended.take(), { service: 1, listener: 1, fate: "idle_timeout" });
    await services.set(1, { idleTimeoutMs: 60_000 }).publish();
    using again = await services.open(1);
    await turn(150);
    await exchange(again);
  },

  async "a first byte timeout that is set holds for connections that are open and have said nothing"(kind) {
    await using server = startServer(hold);
    await using services = new Services(kind, [{ servers: [tableServer(server.address, 0)] }]);
    using silent = await connect(services.addressOf(0));
    await until(() => services.counters.getOf(0, "serverOpen") === 1 && server.accepted === 1, "the connection");
    await services.set(0, { firstByteTimeoutMs: 50 }).publish();
    assertEquals(await soon(readText(silent), "the end"), "");
    assertEquals((await services.ended.take()).fate, "first_byte_timeout");
  },

  async "each service has its own level of redistribution, and another one holds from then on"(kind) {
    await using old = startServer(echo);
    await using next = startServer(echo);
    const pool = (slot: number) => [tableServer(old.address, slot), tableServer(next.address, slot + 1, { weight: 1 })];
    const idle = { redistribute: "idle", quietMs: 20 } as const;
    await using services = new Services(kind, [
      { servers: pool(0).slice(0, 1), ...idle },
      { servers: pool(2).slice(0, 1), ...idle, redistribute: "new" },
    ]);
    using first = await services.open(0);
    using second = await services.open(1);
    await services.set(0, { servers: pool(0) }).set(1, { servers: pool(2) }).publish();
    for (const slot of [0, 2]) {
      services.availabilities.set(slot, AVAILABILITY.draining);
      services.engine.vacate(slot);
    }
    assertEquals(await services.moved.take(), 0);
    await turn(100);
    assertEquals(services.counters.getOf(2, "movedAway"), 0);
    await services.set(1, { redistribute: "idle" }).publish();
    services.engine.vacate(2);
    assertEquals(await services.moved.take(), 1);
    await exchange(first);
    await exchange(second);
    assertEquals([1, 3].map((slot) => services.counters.getOf(slot, "serverOpen")), [1, 1]);
  },

  async "each service says which clients must begin with a PROXY header, and another word holds for new ones"(kind) {
    await using server = named("web");
    const servers = [tableServer(server.address, 0)];
    const acceptProxy = parseCidrs("127.0.0.0/8", 10);
    await using services = new Services(kind, [{ servers }, { servers, acceptProxy, proxyTimeoutMs: 5000 }]);
    const askWithHeader = async (index: number) => {
      using client = await connect(services.addressOf(index));
      const source = { ip: ipBytes("198.51.100.7"), port: 4711 };
      const destination = { ip: ipBytes("203.0.113.1"), port: 443 };
      const header = writeProxyHeader("v2", { source, destination, tlvs: new Uint8Array(), uniqueId: new Uint8Array() });
      await writeAll(client, Uint8Array.of(...header, 104, 105));
      return await soon(readText(client), "the answer");
    };
    assertEquals([await services.ask(0), await askWithHeader(1)], ["web:hi", "web:hi"]);
    await services.set(0, { acceptProxy, proxyTimeoutMs: 5000 }).set(1, { acceptProxy: null }).publish();
    assertEquals([await askWithHeader(0), await services.ask(1)], ["web:hi", "web:hi"]);
  },

  async "clients of one service do not count for the limits of another"(kind) {
    await using server = startServer(echo);
    const servers = [tableServer(server.address, 0)];
    await using services = new Services(kind, [{ servers, ...ONCE }, { servers, ...ONCE }, { servers }]);
    using _one = await services.open(0);
    using _other = await services.open(1);
    using _third = await services.open(2);
    using _fourth = await services.open(2);
    assertEquals([await isRefused(services.addressOf(0)), await isRefused(services.addressOf(1))], [true, true]);
    await until(() => services.counters.get("client_limit") === 2, "the refusals to be counted");
    assertEquals([0, 1, 2].map((index) => services.counters.getOfService(index, "client_limit")), [1, 1, 0]);
  },

  async "a limit that is set, changed and lifted counts the connections that are open"(kind) {
    await using server = startServer(echo);
    await using services = new Services(kind, [{ servers: [tableServer(server.address, 0)] }]);
    const address = services.addressOf(0);
    const first = await services.open(0);
    await services.set(0, ONCE).publish();
    assertEquals(await isRefused(address), true);
    await services.set(0, { clientConnections: parseClientConnections("2/24", 1000) }).publish();
    const second = await services.open(0);
    assertEquals(await isRefused(address), true);
    first.close();
    await until(() => services.open0(0) === 1, "its end");
    const third = await services.open(0);
    await services.set(0, { clientConnections: null }).publish();
    const fourth = await services.open(0);
    for (const client of [second, third, fourth]) client.close();
    await until(() => services.open0(0) === 0, "their end");
    await services.set(0, ONCE).publish();
    using _last = await services.open(0);
  },

  async "a rate that is set and lifted holds for new clients of this service"(kind) {
    await using server = named("web");
    const servers = [tableServer(server.address, 0)];
    await using services = new Services(kind, [{ servers }, { servers }]);
    await services.set(0, { clientRate: parseClientRate("2/1h", 1000) }).publish();
    const asked = [await services.ask(0), await services.ask(0), await isRefused(services.addressOf(0)), await services.ask(1)];
    assertEquals(asked, ["web:hi", "web:hi", true, "web:hi"]);
    await services.set(0, { clientRate: null }).publish();
    assertEquals(await services.ask(0), "web:hi");
  },

  async "lists and the dry run of a service can be changed"(kind) {
    await using server = named("web");
    const servers = [tableServer(server.address, 0)];
    await using services = new Services(kind, [{ servers }, { servers }]);
    const deny = { allow: undefined, deny: parseCidrs("127.0.0.0/8", 10) };
    await services.set(0, { lists: deny }).publish();
    assertEquals([await isRefused(services.addressOf(0)), await services.ask(1)], [true, "web:hi"]);
    await services.set(0, { limitsDryRun: true }).publish();
    assertEquals(await services.ask(0), "web:hi");
    assertEquals(await services.wouldBeRefused.take(), ["denied", 0]);
    await services.set(0, { lists: { allow: undefined, deny: undefined } }).publish();
    assertEquals(await services.ask(0), "web:hi");
    assertEquals(services.counters.get("wouldBeRefused"), 1);
  },

  async "the load bound of a service counts its own connections alone"(kind) {
    await using server = startServer(echo);
    await using one = startServer(echo);
    await using other = startServer(echo);
    const table = nextTable(emptyTable(parseKeyRule("ip"), 1), [tableServer(one.address, 1), tableServer(other.address, 2)]);
    await using services = new Services(kind, [{ servers: [tableServer(server.address, 0)] }, {}]);
    services.services[1] = { ...services.services[1]!, table };
    await services.publish();
    const clients = await Promise.all(Array.from({ length: 60 }, () => services.open(0)));
    for (let i = 0; i < 10; i++) clients.push(await services.open(1));
    const open = [1, 2].map((slot) => services.counters.getOf(slot, "serverOpen"));
    assertEquals(open.toSorted((a, b) => a - b), [2, 8], "the floor of the bound is 8"); // 35 would be the bound of all 70
    for (const client of clients) client.close();
  },

  async "a listener adds its offset to the ports of servers"(kind) {
    const [first, second] = namedPair();
    await using _first = first;
    await using _second = second;
    await using services = new Services(kind, [{ servers: [tableServer(first.address, 0)] }]);
    const shifted = services.listen(0, 1);
    await services.publish();
    assertEquals([await services.ask(0), await services.ask(shifted)], ["first:hi", "second:hi"]);
    const address = { host: "localhost", port: first.address.port };
    await services.set(0, { servers: [{ ...tableServer(address, 1), name: "named" }] }).publish();
    assertEquals([await services.ask(0), await services.ask(shifted)], ["first:hi", "second:hi"]);
  },

  async "listeners come and go under traffic, and no client is lost"(kind) {
    await using server = named("web");
    await using services = new Services(kind, [{ servers: [tableServer(server.address, 0)] }]);
    let isOver = false;
    const steady = Array.from({ length: 3 }, async () => {
      let answered = 0;
      for (; !isOver; answered++) assertEquals(await services.ask(0), "web:hi");
      return answered;
    });
    for (const client of steady) client.catch(() => {}); // it is awaited at the end
    for (let round = 0; round < 5; round++) {
      const added = services.listen(0);
      await services.publish();
      const address = services.addressOf(added);
      const clients = await Promise.all(Array.from({ length: 40 }, () => connect(address)));
      services.listeners[added] = undefined;
      const published = services.publish();
      const answers = clients.map(async (client) => {
        await writeText(client, "hi");
        const answer = await soon(readText(client), "the answer");
        client.close();
        return answer;
      });
      assertEquals(new Set(await Promise.all(answers)), new Set(["web:hi"]));
      await published;
      await until(() => services.engine.isListenerFree(added), "the listener to be free");
      const late = await connect(address).then((late) => (late.close(), "accepted"), () => "refused");
      assertEquals(late, "refused");
      assertEquals(services.counters.getOfListener(added, "listenerAccepted"), 40);
      services.counters.clearListener(added);
    }
    isOver = true;
    for (const answered of await Promise.all(steady)) assert(answered > 0);
  },

  async "open connections of a listener that has gone stay, and count for it"(kind) {
    await using server = startServer(echo);
    await using services = new Services(kind, [{ servers: [tableServer(server.address, 0)] }]);
    const added = services.listen(0);
    await services.publish();
    const client = await services.open(added);
    services.listeners[added] = undefined;
    await services.publish();
    await exchange(client);
    assertEquals(services.engine.isListenerFree(added), false);
    await until(() => services.counters.getOfListener(added, "listenerSentBytes") === 2, "the bytes to be counted");
    client.close();
    assertEquals((await services.ended.take()).listener, added);
    await until(() => services.engine.isListenerFree(added), "the listener to be free");
    assertEquals(services.engine.isListenerFree(0), false);
  },

  async "a listener can be given to another service"(kind) {
    await using web = named("web");
    await using mail = named("mail");
    await using services = new Services(kind, [
      { servers: [tableServer(web.address, 0)] },
      { servers: [tableServer(mail.address, 1)] },
    ]);
    const { listener } = services.listeners[0]!;
    services.listeners[0] = { listener, service: 1, portOffset: 0 };
    await services.publish();
    assertEquals([await services.ask(0), await services.ask(1)], ["mail:hi", "mail:hi"]);
  },

  async "a service goes when its last connection has ended, and its index is another's"(kind) {
    await using web = startServer(echo);
    await using mail = named("mail");
    await using services = new Services(kind, [
      { servers: [tableServer(web.address, 0)] },
      { servers: [tableServer(web.address, 1)], ...ONCE },
    ]);
    const client = await services.open(1);
    assertEquals(services.engine.isServiceFree(1), false);
    services.listeners[1] = undefined;
    await services.publish();
    await exchange(client);
    assertEquals(services.engine.isServiceFree(1), false);
    client.close();
    await until(() => services.engine.isServiceFree(1), "the service to be free");
    services.services[1] = undefined;
    await services.publish();
    assertEquals(await services.ask(0), "hi");
    services.counters.clearService(1);
    services.set(1, { servers: [tableServer(mail.address, 2)] });
    const listener = services.listen(1);
    await services.publish();
    assertEquals(await services.ask(listener), "mail:hi");
    assertEquals(services.counters.getOfService(1, "serviceAccepted"), 1);
    using _one = await connect(services.addressOf(listener));
    using _two = await connect(services.addressOf(listener)); // the new service has no limit
    await until(() => services.open0(1) === 2, "both");
  },

  async "a thousand services are served, and a change of one of them reaches its clients"(kind) {
    await using web = named("web");
    await using other = named("other");
    const names = Array.from({ length: LIMITS.servicesMax - 24 }, (_, index) => index);
    await using services = new Services(kind, [{ servers: [tableServer(web.address, 0)] }], "1");
    const table = services.services[0]!.table;
    for (const index of names.slice(1)) services.services[index] = { table, config: services.services[0]!.config };
    const last = names.at(-1)!;
    const [some, end] = [services.listen(500), services.listen(last)];
    await services.publish();
    assertEquals([await services.ask(some), await services.ask(end)], ["web:hi", "web:hi"]);
    await services.set(last, { servers: [tableServer(other.address, 1)] }).publish();
    assertEquals([await services.ask(some), await services.ask(end), await services.ask(0)], ["web:hi", "other:hi", "web:hi"]);
    assertEquals(services.counters.getOfService(last, "serviceAccepted"), 2);
  },

  async "all listeners are closed when the engine stops"(kind) {
    await using web = named("web");
    const servers = [tableServer(web.address, 0)];
    const services = new Services(kind, [{ servers }, { servers }]);
    await services[Symbol.asyncDispose]();
    for (const index of [0, 1]) {
      const late = connect(services.addressOf(index)).then((late) => (late.close(), "accepted"), () => "refused");
      assertEquals(await late, "refused");
    }
  },
};

for (const [name, kind] of Object.entries(ENGINES)) {
  for (const [title, run] of Object.entries(CASES)) {
    Deno.test({ name: `[${name}] ${title}`, ignore: kind.unsupported() !== undefined, fn: () => run(kind) });
  }
}
