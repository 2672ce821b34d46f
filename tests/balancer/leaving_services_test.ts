// Services that were removed and wait for their last connections.

import { assertEquals, assertRejects } from "@std/assert";
import { Balancer } from "../../lib/balancer/balancer.ts";
import { Listeners } from "../../lib/balancer/listeners.ts";
import { streams } from "../../lib/engine/streams/engine.ts";
import type { Address } from "../../lib/values/address.ts";
import { LIMITS, parseConfig } from "../../lib/values/config.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import type { SavedService } from "../../lib/values/saved_state.ts";
import { connect, echo, readBytes, readText, soon, startServer, type TestServer, writeText } from "../helpers.ts";
import { until } from "../raw_socket.ts";

/** A balancer of these services, and of one more with a server and a listener. */
async function start(server: TestServer, others: readonly SavedService[]): Promise<Balancer> {
  const settings = { check: "off" };
  const web: SavedService = {
    name: "web",
    listeners: [{ address: "127.0.0.1", port: 0 }],
    settings,
    servers: [{ server: server.name, weight: 1, connectionsMax: null }],
  };
  const state = { generation: 0, services: [...others, web] };
  return await Balancer.start({ engine: streams, config: parseConfig(), connectionsMax: 100, state });
}

function quiet(name: string): SavedService {
  return { name, listeners: [], settings: { check: "off" }, servers: [] };
}

async function openVia(balancer: Balancer): Promise<Deno.TcpConn> {
  const socket = await connect(balancer.addressOf(balancer.service("web"))!);
  await writeText(socket, "?");
  await readBytes(socket, 1);
  return socket;
}

Deno.test("a service that is removed again while it waits for its connections has another drain time", async () => {
  await using server = startServer(echo);
  await using balancer = await start(server, [quiet("other")]);
  using early = await openVia(balancer);
  void balancer.removeServer(balancer.service("web"), server.name, 60_000).catch(() => {});
  assertEquals(await balancer.removeService("web", 60_000), 1);
  assertEquals(balancer.listServices().map(({ service, removing, open }) => [service, removing, open]), [
    ["other", false, 0],
    ["web", true, 1],
  ]);
  assertEquals(await balancer.removeService("web", 0), 1);
  assertEquals(await soon(readText(early)), "");
  await until(() => balancer.listServices().length === 1, "the end of the service");
  await assertRejects(() => balancer.removeService("web", 0), OperatorError, "there is none with this name");
});

Deno.test("services that wait for their connections count up to the limit of services", async () => {
  await using server = startServer(echo);
  await using balancer = await start(server, Array.from({ length: LIMITS.servicesMax - 1 }, (_, i) => quiet(`s${i}`)));
  using client = await openVia(balancer);
  await balancer.removeService("web", 60_000);
  const { kind } = await assertRejects(() => balancer.addService(quiet("new")), OperatorError, "still have connections");
  assertEquals(kind, "conflict");
  client.close();
  await until(() => balancer.listServices().length === LIMITS.servicesMax - 1, "the end of the service");
  assertEquals((await balancer.addService(quiet("new"))).service, "new");
});

Deno.test("closed ports of a range are known as long as they have connections", () => {
  const busy = new Set<number>();
  const listen = (address: Address) => ({ address, [Symbol.dispose]() {} });
  const listeners = new Listeners({ listen, isFree: (index) => !busy.has(index), onTaken: () => {} });
  const service = { index: 0, name: "web", config: parseConfig() };
  const range = listeners.open({ address: "::", port: 80, lastPort: 82 }, service);
  listeners.adopt(range, service);
  listeners.publish();
  for (const index of [0, 1, 2]) busy.add(index);
  assertEquals(listeners.leavingOfRanges(), []);
  listeners.withdraw(range.indexes, 0);
  listeners.publish();
  assertEquals(listeners.leavingOfRanges(), ["[::]:81", "[::]:82"]); // those of the first go to the port of the server itself
  busy.delete(1);
  assertEquals(listeners.leavingOfRanges(), ["[::]:82"]);
  busy.clear();
  listeners.open({ address: "::", port: 90 }, service);
  assertEquals(listeners.leavingOfRanges(), []);
});
