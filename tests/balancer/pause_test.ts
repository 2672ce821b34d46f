// A pause of a service, and those who wait for a server, as the balancer shows them.

import { assert, assertEquals, assertGreaterOrEqual, assertRejects } from "@std/assert";
import { Balancer } from "../../lib/balancer/balancer.ts";
import { Pause } from "../../lib/balancer/pause.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { streams } from "../../lib/engine/streams/engine.ts";
import { parseConfig } from "../../lib/values/config.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { ask, close, connect, echo, readBytes, readText, soon, startServer, unusedAddress, writeText } from "../helpers.ts";
import { startBalancer } from "../one_service.ts";
import { until } from "../raw_socket.ts";

const ALICE = { forMs: 60_000, idle: false, who: "alice" };

async function comeTo(address: Parameters<typeof connect>[0], say: string): Promise<Deno.TcpConn> {
  const client = await connect(address);
  await writeText(client, say);
  return client;
}

async function hear(client: Deno.TcpConn, length: number): Promise<string> {
  return new TextDecoder().decode(await soon(readBytes(client, length), "an answer"));
}

Deno.test("a pause ends by itself, can be given another end, and be ended", async () => {
  const over = Promise.withResolvers<void>();
  using pause = new Pause(() => over.resolve());
  assertEquals([pause.view, pause.end()], [undefined, false]);
  const first = pause.begin(ALICE);
  const second = pause.begin({ forMs: 20, idle: true, who: "bob" });
  assertEquals([second.since, second.who, second.until < first.until], [first.since, "bob", true]);
  await soon(over.promise, "its end");
  assertEquals([pause.view, pause.end()], [undefined, false]);
  pause.begin(ALICE);
  assertEquals([pause.end(), pause.view], [true, undefined]);
});

Deno.test("new clients wait in a pause, which shows who began it, and are served when it is over", async () => {
  await using server = startServer(echo);
  await using one = await startBalancer();
  await one.add(server.address);
  await one.balancer.pauseService(one.service, ALICE);
  const client = await comeTo(one.address, "hello");
  await until(() => one.service.hold.waiting === 1, "a client who waits");
  const { hold, open } = one.service.view();
  assertEquals([hold.waiting, hold.timeMs, hold.pause?.who, open, one.balancer.waiting], [1, 0, "alice", 1, 1]);
  assert(hold.pause!.until.getTime() - hold.pause!.since.getTime() >= 60_000);
  assertEquals(server.accepted, 0);
  assertEquals(await one.balancer.resumeService(one.service, "bob"), true);
  assertEquals(await hear(client, 5), "hello");
  assertEquals([one.service.hold.pause, one.service.hold.waiting], [null, 0]);
  assertEquals(await one.balancer.resumeService(one.service, "bob"), false);
  close(client);
});

Deno.test("a pause that nobody ends is over in time", async () => {
  await using server = startServer(echo);
  await using one = await startBalancer();
  await one.add(server.address);
  const startMs = performance.now();
  await one.balancer.pauseService(one.service, { ...ALICE, forMs: 200 });
  const client = await comeTo(one.address, "hello");
  assertEquals(await hear(client, 5), "hello");
  assertGreaterOrEqual(performance.now() - startMs, 199);
  assertEquals(one.service.hold.pause, null);
  close(client);
});

Deno.test("a pause outlasts changes of the pool and of settings, and is no change of the state", async () => {
  await using server = startServer(echo);
  await using one = await startBalancer();
  const { generation } = one;
  await one.balancer.pauseService(one.service, ALICE);
  assertEquals(one.generation, generation);
  await one.add(server.address);
  await one.balancer.setService("default", { redistribute: "idle" });
  const client = await comeTo(one.address, "hello");
  await until(() => one.service.hold.waiting === 1, "a client who waits");
  assertEquals(server.accepted, 0);
  await one.balancer.resumeService(one.service, "alice");
  assertEquals(await hear(client, 5), "hello");
  close(client);
});

Deno.test("a pause of a balancer that stops is no reason to wait", async () => {
  const one = await startBalancer();
  await one.balancer.pauseService(one.service, ALICE);
  const client = await comeTo(one.address, "hello");
  await until(() => one.service.hold.waiting === 1, "a client who waits");
  await soon(one.stop(60_000), "the end");
  assertEquals(one.counters.get("stopped"), 1);
  await assertRejects(() => one.balancer.pauseService(one.service, ALICE), OperatorError, "the balancer is stopping");
  close(client);
  await one[Symbol.asyncDispose]();
});

for (const [name, engine] of Object.entries(ENGINES)) {
  Deno.test({
    name: `[${name}] the only server is restarted under 200 clients who go on asking, and none is reset or refused`,
    ignore: engine.unsupported() !== undefined,
    fn: () => restartUnderClients(engine),
  });
}

/** Clients that ask again and again on the connections that they have; between two restarts new ones come. */
async function restartUnderClients(engine: EngineKind): Promise<void> {
  const flags = {
    redistribute: "idle",
    quiet: "20ms",
    hold: "1m",
    check: "tcp",
    "check-interval": "50ms",
    "check-timeout": "50ms",
  };
  await using one = await startBalancer({ engine, flags: { ...flags, rise: "1", fall: "1" } });
  let server = startServer(echo, { backlog: 1024 });
  const { address } = server;
  await one.add(address);
  assertEquals(await ask(one.address, "are you there?"), "are you there?"); // on a busy machine workers take long to start
  let isOver = false;
  let answers = 0;
  const faults: unknown[] = [];
  const askOn = async (i: number) => {
    const client = await connect(one.address);
    for (let n = 0; !isOver; n++) {
      await writeText(client, `${i}:${n};`);
      assertEquals(await hear(client, `${i}:${n};`.length), `${i}:${n};`);
      answers++;
      await new Promise((resolve) => setTimeout(resolve, 50 + i));
    }
    close(client);
  };
  const clients = Array.from({ length: 200 }, (_, i) => askOn(i).catch((fault) => faults.push(fault)));
  await until(() => answers > 300, "answers");
  for (let round = 0; round < 2; round++) {
    await one.balancer.pauseService(one.service, { ...ALICE, idle: true });
    await until(() => one.service.hold.waiting === 200, "all connections to wait");
    assertEquals(one.counters.getOf(0, "serverOpen"), 0);
    await server[Symbol.asyncDispose]();
    server = startServer(echo, { ...address, backlog: 1024 });
    await one.balancer.resumeService(one.service, "alice");
    const before = answers;
    await until(() => answers > before + 400, "answers after the restart");
  }
  isOver = true;
  await Promise.all(clients);
  assertEquals(faults, []);
  await until(() => one.counters.get("open") === 0, "the ends");
  assertEquals([one.counters.get("done"), one.counters.get("accepted")], [201, 201]);
  assertGreaterOrEqual(one.counters.get("movedIdle"), 200);
  await server[Symbol.asyncDispose]();
}

Deno.test("open connections wait only at level idle", async () => {
  await using one = await startBalancer({ flags: { redistribute: "unanswered" } });
  const refused = one.balancer.pauseService(one.service, { ...ALICE, idle: true });
  const { kind } = await assertRejects(() => refused, OperatorError, "--redistribute is unanswered");
  assertEquals([kind, one.service.hold.pause], ["conflict", null]);
});

Deno.test("whoever waits is dialled when checks find that the server is back", async () => {
  const address = unusedAddress();
  const flags = { hold: "1m", check: "tcp", "check-interval": "50ms", "check-timeout": "50ms", fall: "1", rise: "1" };
  await using one = await startBalancer({ flags });
  const { server: name } = await one.add(address);
  await until(() => one.get(name).state === "down", "the checks");
  const clients = [await comeTo(one.address, "a"), await comeTo(one.address, "b")];
  await until(() => one.service.hold.waiting === 2, "clients who wait");
  assertEquals([one.service.hold.timeMs, one.counters.getOfService(0, "serviceHeld")], [60_000, 2]);
  await using _ = startServer(echo, address);
  for (const [i, client] of clients.entries()) assertEquals(await hear(client, 1), "ab"[i]);
  clients.forEach(close);
});

Deno.test("those who wait for a server of a service that is removed are ended, and it is gone", async () => {
  const settings = { check: "off", hold: "1m" };
  const service = (name: string) => ({ name, listeners: [{ address: "127.0.0.1", port: 0 }], settings, servers: [] });
  await using balancer = await Balancer.start({
    engine: streams,
    config: parseConfig(),
    connectionsMax: 100,
    state: { generation: 0, services: [service("one"), service("two")] },
  });
  const client = await connect(balancer.addressOf(balancer.service("one"))!);
  await until(() => balancer.waiting === 1, "a client who waits");
  await balancer.removeService("one", 60_000);
  assertEquals(await soon(readText(client), "the end"), "");
  await until(() => balancer.listServices().length === 1, "the end of the service");
  assertEquals([balancer.counters.get("no_server"), balancer.waiting], [1, 0]);
  close(client);
});

Deno.test("a queue takes its descriptors from those of connections, and must leave some", async () => {
  const flags = { queue: "100" };
  await using one = await startBalancer({ flags });
  assertEquals(one.balancer.connectionsMax, 950);
  await one.balancer.setDaemon({ queue: "off" });
  assertEquals(one.balancer.connectionsMax, 1000);
  const { message } = await assertRejects(
    () => one.balancer.setDaemon({ queue: "2000" }),
    OperatorError,
    "--queue 2000 is too long",
  );
  assert(message.includes("shorten it, or raise ulimit -n"), message);
  assertEquals(one.balancer.connectionsMax, 1000);
});
