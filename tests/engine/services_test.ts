// An engine serves several services: each has listeners and a table of its own, and all tables are published together.

import { assertEquals } from "@std/assert";
import type { Engine, EngineKind, Listener } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { allocateClients } from "../../lib/observe/client_table.ts";
import { allocateCounters, Counters } from "../../lib/observe/counters.ts";
import { allocateAvailabilities, AvailabilityTable } from "../../lib/routing/availability.ts";
import { emptyTable, nextTable, type TableServer } from "../../lib/routing/routing_table.ts";
import { parseKeyRule } from "../../lib/values/address.ts";
import { parseConfig } from "../../lib/values/config.ts";
import { until } from "../raw_socket.ts";
import {
  ask,
  assertFatesAddUp,
  connect,
  echo,
  readBytes,
  startServer,
  tableServer,
  type TestServer,
  writeText,
} from "../helpers.ts";

interface Services extends AsyncDisposable {
  readonly engine: Engine;
  readonly counters: Counters;
  readonly listeners: readonly Listener[];
  /** Publishes these pools, by service. */
  publish(...pools: readonly (readonly TableServer[])[]): Promise<void>;
}

/** An engine with a listener for each number, which is that of its service. */
function startServices(kind: EngineKind, services: readonly number[], pools: readonly (readonly TableServer[])[]): Services {
  const config = { ...parseConfig({ workers: "2" }), connectionsMax: 1000 };
  const counters = new Counters(allocateCounters(kind.threads(config), 100));
  const listeners = services.map(() => kind.listen({ host: "127.0.0.1", port: 0 }, config));
  let tables = pools.map((servers) => nextTable(emptyTable(parseKeyRule("ip:port"), Infinity), servers));
  const served = listeners.map((listener, i) => ({ listener, service: services[i], portOffset: 0 }));
  const publication = () => ({ services: tables.map((table) => ({ table, config })), listeners: served });
  const engine = kind.create({
    startId: "00000000000000ff",
    publication: publication(),
    config,
    counters,
    clients: allocateClients(1, 1024),
    availabilities: new AvailabilityTable(allocateAvailabilities(counters.slots)),
    onEnded: () => {},
    onMoved: () => {},
    onServerFailed: () => {},
    onServerEmpty: () => {},
  });
  return {
    engine,
    counters,
    listeners,
    publish(...next) {
      tables = tables.map((table, service) => next[service] === undefined ? table : nextTable(table, next[service]));
      return engine.update(publication());
    },
    async [Symbol.asyncDispose]() {
      await engine[Symbol.asyncDispose]();
      assertFatesAddUp(counters);
    },
  };
}

/** A server that answers each client with its name and what it was sent. */
function named(name: string): TestServer {
  return startServer(async (socket) => {
    const buffer = new Uint8Array(100);
    const count = await socket.read(buffer);
    if (count !== null) await writeText(socket, `${name}:${new TextDecoder().decode(buffer.subarray(0, count))}`);
  });
}

function askAll({ listeners }: Services): Promise<string[]> {
  return Promise.all(listeners.map((listener) => ask(listener.address, "hi")));
}

type Case = (kind: EngineKind) => Promise<void>;

const CASES: Record<string, Case> = {
  async "each listener's clients are routed by the table of its service"(kind) {
    await using web = named("web");
    await using mail = named("mail");
    await using services = startServices(kind, [0, 1, 0], [[tableServer(web.address, 0)], [tableServer(mail.address, 1)]]);
    for (let i = 0; i < 20; i++) assertEquals(await askAll(services), ["web:hi", "mail:hi", "web:hi"]);
  },

  async "each listener's clients and bytes are counted for it, and those of open connections, too"(kind) {
    await using web = startServer(echo);
    await using services = startServices(kind, [0, 0], [[tableServer(web.address, 0)]]);
    const { counters, listeners } = services;
    assertEquals(await ask(listeners[1].address, "hi"), "hi");
    using open = await connect(listeners[0].address);
    await writeText(open, "hello");
    await readBytes(open, 5);
    const read = (listener: number) =>
      (["listenerAccepted", "listenerReceivedBytes", "listenerSentBytes"] as const).map((name) =>
        counters.getOfListener(listener, name)
      );
    await until(() => read(0)[2] === 5, "the bytes to be counted");
    assertEquals([read(0), read(1)], [[1, 5, 5], [1, 2, 2]]);
    assertEquals(counters.getOf(0, "sentBytes"), 7);
  },

  async "a change of one service's pool leaves the others alone"(kind) {
    await using web = named("web");
    await using other = named("other");
    await using mail = named("mail");
    await using services = startServices(kind, [0, 1], [[tableServer(web.address, 0)], [tableServer(mail.address, 1)]]);
    await services.publish([tableServer(other.address, 2)]);
    assertEquals(await askAll(services), ["other:hi", "mail:hi"]);
    await services.publish([], [tableServer(mail.address, 1)]);
    assertEquals(await askAll(services), ["", "mail:hi"]);
    await until(() => services.counters.get("no_server") === 1, "the end to be counted");
  },

  async "all listeners are closed when the engine stops"(kind) {
    await using web = named("web");
    const services = startServices(kind, [0, 1], [[tableServer(web.address, 0)], [tableServer(web.address, 0)]]);
    await services[Symbol.asyncDispose]();
    for (const { address } of services.listeners) {
      assertEquals(await connect(address).then((late) => (late.close(), "accepted"), () => "refused"), "refused");
    }
  },
};

for (const [name, kind] of Object.entries(ENGINES)) {
  for (const [title, run] of Object.entries(CASES)) {
    Deno.test({ name: `[${name}] ${title}`, ignore: kind.unsupported() !== undefined, fn: () => run(kind) });
  }
}
