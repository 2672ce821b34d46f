// The epoll engine as a whole: workers that die, are replaced and share the work. What all engines do alike is in engine_test.ts.

import { assert, assertEquals, assertGreater, assertLess, assertStringIncludes, assertThrows } from "@std/assert";
import { parseClientConnections, parseClientRate } from "../../../lib/values/client_limits.ts";
import { epoll } from "../../../lib/engine/epoll/engine.ts";
import type { EndedConnection } from "../../../lib/observe/connections.ts";
import { SOCKET } from "../../../lib/engine/system/libc.ts";
import { OperatorError } from "../../../lib/values/errors.ts";
import {
  ask,
  close,
  connect,
  echo,
  hold,
  readBytes,
  readText,
  silentListener,
  someBytes,
  soon,
  startEngine,
  startServer,
  tableServer,
  type TestEngine,
  WAIT_MAX_MS,
  writeAll,
  writeText,
} from "../../helpers.ts";
import { RawSocket, startRawServer, until } from "../../raw_socket.ts";
import { getOption, kill, look, readLinks, workersOf } from "./seen_workers.ts";

/** In which window clients have arrived does not matter here. */
const WINDOW = { nowMs: 0, number: 0, lengthMs: 1000 };

const unsupported = epoll.unsupported();
const { SOL_SOCKET, IPPROTO_TCP } = SOCKET;

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `[epoll] ${name}`, ignore: unsupported !== undefined, fn });
}

/** Clients whose connections are open to the server. */
async function holdClients({ address }: TestEngine, count: number): Promise<Deno.TcpConn[]> {
  return await Promise.all(Array.from({ length: count }, async () => {
    const client = await connect(address);
    await writeText(client, "x");
    await readBytes(client, 1);
    return client;
  }));
}

async function isAlive(client: Deno.TcpConn): Promise<boolean> {
  return await writeText(client, "y").then(() => readBytes(client, 1)).then(() => true, () => false);
}

async function takeEnds({ ended }: TestEngine, count: number): Promise<EndedConnection[]> {
  const ends: EndedConnection[] = [];
  while (ends.length < count) ends.push(await ended.take());
  return ends;
}

test("a worker that dies loses its connections, is replaced, and nobody who waits is turned away", async () => {
  await using server = startServer(echo);
  await using engine = startEngine(epoll, [tableServer(server.address, 0)], { workers: 1 });
  for (let death = 1; death <= 4; death++) {
    using client = await connect(engine.address);
    await writeText(client, "hello");
    await readBytes(client, 5);
    const [worker] = await workersOf(engine, 1);
    const inodes = worker.sockets.map((socket) => Deno.readLinkSync(`/proc/self/fd/${socket}`));
    kill(worker);
    const { reason, ...died } = await engine.workerEvents.take();
    assertEquals([died, typeof reason], [{ worker: 1, lost: 1 }, "string"]);
    assertEquals(await engine.workerEvents.take(), { worker: 1, lost: 0, reason: undefined });
    const { durationMs: _, id: __, ...lost } = await engine.ended.take();
    const waiting = Array.from({ length: 5 }, (_, i) => ask(engine.address, `${i}`));
    assertEquals(lost, {
      service: 0,
      listener: 0,
      acceptedAt: undefined,
      endedAt: undefined,
      connectMs: undefined,
      endedBy: "balancer",
      fate: "worker_lost",
      client: `127.0.0.1:${client.localAddr.port}`,
      server: server.name,
      attempts: 1,
      moves: 0,
      sentBytes: 5,
      receivedBytes: 5,
      reason: undefined,
    });
    const open = [...readLinks().values()];
    assert(inodes.every((inode) => !open.includes(inode)), "a socket of the dead is open");
    assertEquals(await client.read(new Uint8Array(1)).then(() => "an end", ({ name }) => name), "ConnectionReset");
    assertEquals(await Promise.all(waiting), ["0", "1", "2", "3", "4"]);
    for (const { fate } of await takeEnds(engine, 5)) assertEquals(fate, "done");
    assertEquals(engine.counters.get("worker_lost"), death);
    assertEquals(engine.counters.getOf(0, "worker_lost"), death);
  }
});

test("a person who closes or moves a connection is told that its worker has died with it", async () => {
  await using server = startServer(echo);
  await using engine = startEngine(epoll, [tableServer(server.address, 0)], { workers: 1 });
  const clients = await holdClients(engine, 2);
  const [one, other] = Array.from(engine.engine.connections(), ({ id }) => id);
  kill((await workersOf(engine, 1))[0]); // which comes first
  const told = [engine.engine.closeConnection(one), engine.engine.moveConnection(other, { from: 0, to: -1 })];
  const lost = { kind: "ended", fate: "worker_lost" } as const;
  assertEquals(await soon(Promise.all(told)), [lost, lost]);
  assertEquals(await soon(engine.engine.closeConnection(one)), { kind: "ended", fate: undefined });
  await takeEnds(engine, 2);
  assertEquals(engine.counters.get("closed"), 0);
  for (const client of clients) close(client);
});

test("connections are spread over the workers, and a worker's death ends its own alone", async () => {
  await using server = startServer(echo);
  await using engine = startEngine(epoll, [tableServer(server.address, 0)], { workers: 2 });
  await workersOf(engine, 2);
  const clients = await holdClients(engine, 40);
  const [one, two] = look(engine).map(({ sockets }) => sockets.length / 2);
  assertEquals(one + two, clients.length);
  assert(Math.min(one, two) >= 12, `${one} and ${two} connections`);
  kill(look(engine)[0]);
  const ends = await takeEnds(engine, one);
  assert(ends.every(({ fate }) => fate === "worker_lost"));
  const alive = await Promise.all(clients.map(isAlive));
  assertEquals(alive.filter((is) => is).length, two);
  await workersOf(engine, 2);
  const more = await holdClients(engine, 10); // the new one takes them, having none
  assertGreater(Math.min(...look(engine).map(({ sockets }) => sockets.length)), 0);
  for (const client of [...clients, ...more]) close(client);
});

test("a worker that is replaced serves by all that has changed meanwhile, and counts those who are open by it", async () => {
  await using first = startServer(echo);
  await using second = startServer(hold);
  await using engine = startEngine(epoll, [tableServer(first.address, 0)], { workers: 1 });
  await workersOf(engine, 1);
  await engine.publish([tableServer(second.address, 1)]);
  await engine.change({ firstByteTimeoutMs: 100 });
  kill(look(engine)[0]);
  await engine.workerEvents.take(); // until then the dying worker may accept a client
  using silent = await connect(engine.address);
  assertEquals(await soon(readText(silent), "the end"), "");
  const { server, fate } = await engine.ended.take();
  assertEquals({ server, fate }, { server: second.name, fate: "first_byte_timeout" });
});

test("what a worker that dies has counted of its clients is counted back, with their bytes", async () => {
  await using server = startServer(echo);
  const limits = { clientConnections: parseClientConnections("20", 1000), clientRate: parseClientRate("1000/1h/24", 1000) };
  await using engine = startEngine(epoll, [tableServer(server.address, 0)], { ...limits, workers: 2 });
  await workersOf(engine, 2);
  const openOf = () => engine.clients.top(9, () => WINDOW).map(({ open }) => open);
  const clients = await holdClients(engine, 20);
  assertEquals(openOf(), [20, 20]); // by the address, and by the network
  const [{ sockets }] = look(engine);
  kill(look(engine)[0]);
  const lost = sockets.length / 2;
  await takeEnds(engine, lost);
  assertEquals(openOf(), [20 - lost, 20 - lost]);
  assertEquals(engine.clients.top(9, () => WINDOW).map(({ sentBytes, receivedBytes }) => [sentBytes, receivedBytes]), [
    [lost, lost],
    [lost, lost],
  ]);
  await workersOf(engine, 2);
  const more = await holdClients(engine, lost);
  assertEquals(openOf(), [20, 20]);
  for (const client of [...clients, ...more]) close(client);
  await until(() => engine.counters.get("open") === 0, "the ends");
  assertEquals(openOf(), [0, 0]);
});

test("clients who wait for a place or a server when their worker dies are ended, and count no more as waiting", async () => {
  const limits = { holdMs: 60_000, connectionsMax: 4, queueMax: 10, queueTimeoutMs: 60_000, workers: 2 };
  await using engine = startEngine(epoll, [], limits);
  const workers = await workersOf(engine, 2);
  const clients = await Promise.all(Array.from({ length: 9 }, () => connect(engine.address)));
  const waiting = () => [engine.counters.getOfService(0, "serviceWaiting"), engine.counters.get("queued")];
  await until(() => waiting().join() === "4,5", "the clients");
  for (const worker of workers) kill(worker);
  for (const { fate } of await takeEnds(engine, 9)) assertEquals(fate, "worker_lost");
  assertEquals(waiting(), [0, 0]);
  await workersOf(engine, 2);
  await using server = startServer(echo);
  await engine.publish([tableServer(server.address, 0)]);
  assertEquals(await ask(engine.address, "hello"), "hello");
  clients.forEach(close);
});

test("clients who wait for a server when their worker dies are ended, and the server is let go", async () => {
  await using server = startServer(hold);
  using silent = await silentListener();
  await using engine = startEngine(epoll, [tableServer(silent.address, 0)], { connectTimeoutMs: 60_000, workers: 2 });
  const workers = await workersOf(engine, 2);
  const clients = await Promise.all(Array.from({ length: 6 }, () => connect(engine.address)));
  await until(() => engine.counters.getOf(0, "serverOpen") === 6, "the clients");
  for (const worker of workers) kill(worker);
  for (const { fate, attempts } of await takeEnds(engine, 6)) assertEquals([fate, attempts], ["worker_lost", 1]);
  assertEquals([engine.counters.get("open"), engine.counters.getOf(0, "serverOpen")], [0, 0]);
  await engine.publish([tableServer(server.address, 1)]);
  assertEquals(await engine.emptied.take(), 0);
  for (const client of clients) close(client);
});

test("update() and a server's emptiness come though workers die meanwhile", async () => {
  await using server = startServer(echo);
  const servers = [tableServer(server.address, 0)];
  await using engine = startEngine(epoll, servers, { workers: 2 });
  for (let round = 0; round < 3; round++) {
    const updates = [engine.publish([])];
    for (const worker of await workersOf(engine, 2)) {
      kill(worker);
      updates.push(engine.publish(servers), engine.publish([]));
    }
    await soon(Promise.all(updates), "the updates");
    assertEquals(await engine.emptied.take(), 0);
    await engine.publish(servers);
    assertEquals(await ask(engine.address, "again").catch(() => "lost"), "again");
  }
});

for (const dead of [1, 2]) {
  test(`stop() comes to an end when ${dead} of 2 workers die meanwhile`, async () => {
    await using server = startServer(echo);
    await using engine = startEngine(epoll, [tableServer(server.address, 0)], { workers: 2 });
    await workersOf(engine, 2);
    const clients = await holdClients(engine, 8);
    const workers = look(engine).slice(0, dead);
    const stopped = engine.engine.stop(60_000);
    for (const worker of workers) kill(worker);
    await takeEnds(engine, workers.reduce((sum, { sockets }) => sum + sockets.length / 2, 0));
    for (const client of clients) close(client);
    await soon(stopped, "the end");
    assertEquals(engine.counters.get("open"), 0);
  });
}

test("stop() comes to an end while workers are started or replaced", async () => {
  for (const workers of [1, 4]) {
    await using starting = startEngine(epoll, [], { workers });
    await soon(starting.engine.stop(0), "the end of what has just begun");
  }
  await using server = startServer(echo);
  await using engine = startEngine(epoll, [tableServer(server.address, 0)], { workers: 1 });
  const [client] = await holdClients(engine, 1);
  for (const worker of await workersOf(engine, 1)) kill(worker);
  await engine.ended.take();
  await soon(engine.engine.stop(60_000), "the end while there is no worker");
  close(client);
});

test("update() resolves after stop(), too", async () => {
  await using engine = startEngine(epoll, []);
  await engine.engine.stop(0);
  await soon(engine.publish([]), "the update", 2000);
});

test("clients given to a worker that has died are told of by their own addresses", async () => {
  const startedMs = performance.now();
  await using server = startServer(echo);
  await using engine = startEngine(epoll, [tableServer(server.address, 0)], { workers: 2 });
  await workersOf(engine, 2);
  const clients = await holdClients(engine, 10);
  const [worker] = look(engine);
  kill(worker);
  const late = Array.from({ length: 20 }, () => RawSocket.begin(engine.address));
  // Main is busy, and knows of no death.
  while (engine.counters.get("accepted") < 30 && performance.now() < startedMs + WAIT_MAX_MS);
  const ends = [await engine.ended.take()];
  ends.push(...await takeEnds(engine, engine.counters.get("worker_lost") - 1));
  for (const { client, durationMs } of ends) {
    assertStringIncludes(client, "127.0.0.1:");
    assertLess(durationMs, performance.now() - startedMs);
  }
  assertEquals(new Set(ends.map(({ client }) => client)).size, ends.length);
  for (const socket of [...clients, ...late]) close(socket);
});

test("the limits on connections, of a server and of all, hold over 4 workers", async () => {
  const SERVER_MAX = 15;
  const ALL_MAX = 40;
  let now = 0;
  let most = 0;
  await using server = startServer(async (socket, index) => {
    most = Math.max(most, ++now);
    await hold(socket, index).finally(() => now--);
  });
  const limits = [{ server: SERVER_MAX, all: 10_000 }, { server: Infinity, all: ALL_MAX }];
  for (const limit of limits) {
    most = now = 0;
    const settings = { connectionsMax: limit.server };
    await using engine = startEngine(epoll, [tableServer(server.address, 0, settings)], { workers: 4, connectionsMax: limit.all });
    const clients = await Promise.all(Array.from({ length: 200 }, () => connect(engine.address)));
    const max = Math.min(limit.server, limit.all);
    const ends = await takeEnds(engine, 200 - max);
    assert(ends.every(({ fate }) => fate === "refused_limit"));
    await until(() => engine.counters.getOf(0, "connects") === max && engine.counters.get("open") === max, "the others");
    assertEquals(engine.counters.getOf(0, "serverOpen"), max);
    assertLess(most, max + 1);
    for (const client of clients) close(client);
  }
});

test("bytes and fates are exact over 4 workers", async () => {
  const CLIENTS = 200;
  await using server = startServer(echo);
  await using engine = startEngine(epoll, [tableServer(server.address, 0)], { workers: 4 });
  let bytes = 0;
  await Promise.all(Array.from({ length: CLIENTS }, async (_, i) => {
    const question = "0123456789".repeat(i * 13);
    bytes += question.length;
    assertEquals(await ask(engine.address, question), question);
  }));
  const ends = await takeEnds(engine, CLIENTS);
  assert(ends.every(({ fate, sentBytes, receivedBytes }) => fate === "done" && sentBytes === receivedBytes));
  assertEquals(ends.reduce((sum, { sentBytes }) => sum + sentBytes, 0), bytes);
  await until(() => engine.counters.get("open") === 0, "the last to be counted");
  const counts = (["connects", "done", "sentBytes", "receivedBytes", "serverOpen"] as const).map((of) =>
    engine.counters.getOf(0, of)
  );
  assertEquals(counts, [CLIENTS, CLIENTS, bytes, bytes, 0]);
  assertEquals(engine.counters.get("accepted"), CLIENTS);
});

test("a pool of 10,000 servers is published while bytes move", async () => {
  const SERVERS = 10_000;
  await using server = startServer(echo);
  const only = tableServer(server.address, 0);
  await using engine = startEngine(epoll, [only], { workers: 2 });
  const others = Array.from({ length: SERVERS - 1 }, (_, i) => (
    tableServer({ host: `127.1.${i >> 8}.${i & 255}`, port: 9 }, i + 1, { connectionsMax: 0 })
  ));
  using client = await connect(engine.address);
  const bytes = someBytes(8 * 1024 ** 2);
  const sent = writeAll(client, bytes).then(() => client.closeWrite());
  const got = readBytes(client, bytes.length);
  await engine.publish([only, ...others]);
  assertEquals(await ask(engine.address, "the one that has room"), "the one that has room");
  await sent;
  assertEquals(await soon(got), bytes);
  await engine.publish([only]);
  const emptied = new Set<number>();
  while (emptied.size < SERVERS - 1) emptied.add(await engine.emptied.take());
  assert(!emptied.has(0));
});

test("more commands than a mailbox holds arrive, in order", async () => {
  await using server = startServer(echo);
  await using engine = startEngine(epoll, [tableServer(server.address, 0)], { workers: 2 });
  const clients = await holdClients(engine, 4);
  for (let i = 0; i < 10_000; i++) engine.leave(1, "expired");
  const published = engine.publish([]);
  engine.leave(0, "expired");
  await soon(published);
  assert((await takeEnds(engine, 4)).every(({ fate }) => fate === "removed"));
  assertEquals(await engine.emptied.take(), 0);
  for (const client of clients) close(client);
});

test("a reset of either side reaches the other as a reset", async () => {
  for (const by of ["client", "server"] as const) {
    const reached = Promise.withResolvers<RawSocket>();
    const heard = Promise.withResolvers<string>();
    await using server = startRawServer(async (socket) => {
      await until(() => socket.recv() !== "empty", "the first byte");
      reached.resolve(socket);
      if (by === "client") heard.resolve(await socket.drain());
    });
    await using engine = startEngine(epoll, [tableServer(server.address, 0)], { workers: 2 });
    using client = await RawSocket.connect(engine.address);
    client.send(someBytes(1));
    const served = await reached.promise;
    if (by === "client") client.reset();
    else served.reset();
    assertEquals(by === "client" ? await soon(heard.promise) : await soon(client.drain()), "ECONNRESET");
    assertEquals((await engine.ended.take()).fate, by === "client" ? "client_gone" : "server_lost");
  }
});

test("both sides of a connection that stays have keep-alive, and are probed often enough for their time limits", async () => {
  await using server = startServer(echo);
  const liveness = { keepAliveMs: 30_000, userTimeoutMs: 20_000, serverTimeoutMs: 10_000 };
  await using engine = startEngine(epoll, [tableServer(server.address, 0)], { workers: 1, ...liveness });
  const [client] = await holdClients(engine, 1);
  const [{ sockets }] = await workersOf(engine, 1);
  assertEquals(sockets.length, 2);
  const { SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_RTO_MAX_MS } = SOCKET;
  const tcp = (socket: number, options: readonly number[]) => options.map((option) => getOption(socket, IPPROTO_TCP, option));
  await until(() => sockets.every((socket) => getOption(socket, SOL_SOCKET, SO_KEEPALIVE) === 1), "the options");
  const rtoMaxMs = sockets.map((socket) => getOption(socket, IPPROTO_TCP, TCP_RTO_MAX_MS)).sort();
  if (rtoMaxMs[0] !== undefined) assertEquals(rtoMaxMs, [2500, 5000]); // it is since Linux 6.15
  for (const socket of sockets) {
    assertEquals(getOption(socket, SOL_SOCKET, SO_KEEPALIVE), 1);
    assertEquals(tcp(socket, [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT]), [30, 10, 3]);
  }
  close(client);
});

test("an address that cannot be listened on for a rare reason is told in words", async () => {
  const listen = () => startEngine(epoll, [], { host: "fe80::1" }); // link-local, and no link is named
  assertThrows(listen, OperatorError, "Cannot listen on [fe80::1]:0: invalid argument");
  await Promise.resolve();
});

test("clients are served when the first worker is there, and told whole what was said before", async () => {
  await using server = startServer(async (socket) => await writeText(socket, "early"));
  await using engine = startEngine(epoll, [], { workers: 4 });
  const published = engine.publish([tableServer(server.address, 0)]);
  using client = await connect(engine.address);
  assertEquals(await soon(readText(client)), "early");
  await soon(published);
});
