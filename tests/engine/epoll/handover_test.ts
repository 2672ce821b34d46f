// Open connections go from one engine to another. Here both are in this process; tests/programs/upgrade_test.ts has two.

import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async";
import { epoll } from "../../../lib/engine/epoll/engine.ts";
import type { CarriedIndexes } from "../../../lib/engine/engine.ts";
import { AVAILABILITY } from "../../../lib/routing/availability.ts";
import { openLibc } from "../../../lib/engine/system/libc.ts";
import { makePair } from "../../../lib/engine/system/passing.ts";
import {
  connect,
  echo,
  readBytes,
  readChunks,
  readText,
  sha256,
  someBytes,
  soon,
  startEngine,
  startServer,
  tableServer,
  type TestEngine,
  type TestEngineOptions,
  writeAll,
  writeText,
} from "../../helpers.ts";
import { until } from "../../raw_socket.ts";
import { kill, workersOf } from "./seen_workers.ts";

const unsupported = epoll.unsupported();

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `[epoll] ${name}`, ignore: unsupported !== undefined, fn });
}

const SAME: CarriedIndexes = {
  services: Int32Array.of(0),
  listeners: Int32Array.of(0),
  slots: Int32Array.from({ length: 16 }, (_, slot) => slot),
};

/** Hands everything over from one engine to the other. */
async function handOver(from: TestEngine, to: TestEngine): Promise<void> {
  using libc = openLibc();
  const [giver, taker] = [from.engine.handover!, to.engine.handover!];
  await Promise.all([giver.ready, taker.ready]);
  const pairs = Array.from({ length: giver.sockets }, () => makePair(libc)!);
  taker.take(pairs.map(([, there]) => there), SAME);
  const given = await soon(giver.give(pairs.map(([here]) => here)), "the hand-over");
  await soon(taker.hasTaken(given), "the reports");
  assertEquals(taker.taken.reduce((sum, { count }) => sum + count, 0), given);
  to.counters.add("accepted", given);
  to.counters.addToService(0, "serviceAccepted", given);
  for (const [here] of pairs) libc.call.close(here);
}

/** Ends what is left, so that the first engine can account for it. */
function settle(from: TestEngine): void {
  from.engine.handover!.takeBack();
}

async function withEngines(
  servers: Parameters<typeof startEngine>[1],
  use: (from: TestEngine, to: TestEngine) => Promise<void>,
  options: TestEngineOptions = {},
): Promise<void> {
  const from = startEngine(epoll, servers, options);
  {
    await using to = startEngine(epoll, servers, options);
    await use(from, to);
  }
  settle(from);
  await from[Symbol.asyncDispose]();
}

test("a connection that echoes goes on, and so does an idle one", async () => {
  await using server = startServer(echo);
  await withEngines([tableServer(server.address, 0)], async (from, to) => {
    using client = await connect(from.address);
    using idle = await connect(from.address);
    await writeText(client, "one");
    assertEquals(new TextDecoder().decode(await readBytes(client, 3)), "one");
    await until(() => from.counters.get("open") === 2, "two connections");
    await handOver(from, to);
    assertEquals([to.counters.get("open"), to.counters.getOf(0, "serverOpen")], [2, 2]);
    await writeText(client, "two");
    assertEquals(new TextDecoder().decode(await readBytes(client, 3)), "two");
    await writeText(idle, "three");
    await idle.closeWrite();
    assertEquals(await soon(readText(idle), "the rest"), "three");
    assertEquals(server.accepted, 2);
    await until(() => to.counters.get("done") === 1, "the end of the idle one");
    const ended = await to.ended.take();
    assertEquals([ended.fate, ended.sentBytes, ended.receivedBytes], ["done", 5, 5]);
  });
});

test("halves that are closed stay closed, and the others open", async () => {
  await using server = startServer(async (socket) => {
    let text = "";
    for await (const chunk of readChunks(socket)) text += new TextDecoder().decode(chunk);
    await writeText(socket, `got ${text}`);
  });
  await using farewell = startServer(async (socket) => {
    await writeText(socket, "bye");
    await socket.closeWrite();
    for await (const _ of readChunks(socket));
  });
  const servers = [tableServer(server.address, 0)];
  await withEngines(servers, async (from, to) => {
    using client = await connect(from.address);
    await writeText(client, "a");
    await until(() => from.counters.getOf(0, "sentBytes") === 1, "the first byte");
    await handOver(from, to);
    await writeText(client, "b");
    await client.closeWrite();
    assertEquals(await soon(readText(client), "the answer"), "got ab");
  });
  await withEngines([tableServer(farewell.address, 0)], async (from, to) => {
    using client = await connect(from.address);
    assertEquals(await soon(readText(client), "the end"), "bye");
    await handOver(from, to);
    await writeText(client, "late");
    await client.closeWrite();
    await until(() => to.counters.get("done") === 1, "the end");
    assertEquals(to.counters.getOf(0, "sentBytes"), 4);
  });
});

test("bulk both ways arrives byte for byte, whatever waits in chunks and pipes", async () => {
  const bytes = someBytes(24 * 1024 ** 2, 7);
  const digest = await sha256(bytes);
  await using server = startServer(echo);
  await withEngines([tableServer(server.address, 0)], async (from, to) => {
    const streams = await Promise.all(Array.from({ length: 6 }, () => connect(from.address)));
    const received = Array.from(streams, () => 0);
    const reading = streams.map(async (socket, i) => {
      const all = new Uint8Array(bytes.length);
      for (let at = 0; at < all.length; received[i] = at) {
        const count = await socket.read(all.subarray(at, at + 32_768));
        assert(count !== null, `the stream ended after ${at} bytes`);
        at += count;
      }
      return await sha256(all);
    });
    const writing = streams.map((socket) => writeAll(socket, bytes));
    await until(() => received.every((count) => count > 1024 ** 2), "some of each stream");
    await handOver(from, to);
    await soon(Promise.all(writing), "the writers");
    assertEquals(await soon(Promise.all(reading), "the readers"), streams.map(() => digest));
    for (const socket of streams) socket.close();
    assertEquals(server.accepted, 6);
  });
});

test("a receiver that stands still keeps what waits for it", async () => {
  const bytes = someBytes(8 * 1024 ** 2, 11);
  await using server = startServer(async (socket) => await writeAll(socket, bytes));
  await withEngines([tableServer(server.address, 0)], async (from, to) => {
    using client = await connect(from.address);
    const first = await readBytes(client, 1024 ** 2); // by now the direction is spliced
    let before = -1;
    await until(() => before === (before = from.counters.getOf(0, "receivedBytes")), "the stream to stand still");
    await handOver(from, to);
    const rest = await soon(readBytes(client, bytes.length - first.length), "the rest");
    assertEquals(await sha256(Uint8Array.of(...[])), await sha256(new Uint8Array()));
    assertEquals(await sha256(concat(first, rest)), await sha256(bytes));
  });
});

/** A client who waits for a server: the bytes that it has sent are in the kernel. */
async function waitAt(test: TestEngine, say: string): Promise<Deno.TcpConn> {
  const before = waiting(test);
  const client = await connect(test.address);
  await writeText(client, say);
  await until(() => waiting(test) === before + 1, "one more who waits");
  return client;
}

function waiting({ counters }: TestEngine): number {
  return counters.getOfService(0, "serviceWaiting");
}

/** A server that notes the first byte of each client, in the order in which they come. */
function startNoting(): { readonly server: ReturnType<typeof startServer>; readonly said: string[] } {
  const said: string[] = [];
  const server = startServer(async (socket) => {
    const [first] = await readBytes(socket, 1);
    said.push(String.fromCharCode(first));
    await writeAll(socket, Uint8Array.of(first));
    for await (const _ of readChunks(socket));
  });
  return { server, said };
}

/** Clients who say these letters, and wait in this order, which is not that of their descriptors. */
async function waitInOrder(test: TestEngine, letters: string): Promise<Deno.TcpConn[]> {
  const gone = await waitAt(test, "x");
  const clients = [await waitAt(test, letters[0])];
  gone.close();
  await until(() => waiting(test) === 1, "the end of the one before");
  for (const letter of letters.slice(1)) clients.push(await waitAt(test, letter)); // the first of them has its descriptor
  return clients;
}

test("clients who wait for a server wait in the other engine, in their order, and are served there", async () => {
  const { server, said } = startNoting();
  await using _ = server;
  await withEngines([], async (from, to) => {
    const clients = await waitInOrder(from, "abcde");
    await handOver(from, to);
    assertEquals([waiting(from), waiting(to), to.counters.get("open")], [0, 5, 5]);
    clients.push(await waitAt(to, "f"));
    await to.publish([tableServer(server.address, 0)]);
    for (const [i, client] of clients.entries()) assertEquals((await soon(readBytes(client, 1), "an answer"))[0], 97 + i);
    assertEquals([said.join(""), waiting(to)], ["abcdef", 0]);
    for (const client of clients) client.close();
    await until(() => to.counters.get("done") === 6, "the ends");
  }, { holdMs: 60_000 });
});

test("clients who waited are served by the first engine again if the other one goes", async () => {
  const { server, said } = startNoting();
  await using _ = server;
  const from = startEngine(epoll, [], { holdMs: 60_000 });
  await using to = startEngine(epoll, [], { holdMs: 60_000 });
  const clients = await waitInOrder(from, "abc");
  await handOver(from, to);
  from.engine.handover!.takeBack();
  await until(() => waiting(from) === 3, "those who wait again");
  clients.push(await waitAt(from, "d"));
  await from.publish([tableServer(server.address, 0)]);
  for (const [i, client] of clients.entries()) assertEquals((await soon(readBytes(client, 1), "an answer"))[0], 97 + i);
  assertEquals(said.join(""), "abcd");
  for (const client of clients) client.close();
  await until(() => from.counters.get("open") === 0, "the ends");
  await from[Symbol.asyncDispose]();
});

test("a connection that waits for its only server goes on with it in the other engine", async () => {
  const first = startServer(echo);
  const { address } = first;
  const servers = [tableServer(address, 0)];
  await withEngines(servers, async (from, to) => {
    using client = await connect(from.address);
    await writeText(client, "one");
    await readBytes(client, 3);
    // Before the server is gone: a client who finds it so and still believed in would not wait, but be refused.
    for (const engine of [from, to]) engine.availabilities.set(0, AVAILABILITY.fallback);
    await delay(20); // it is quiet by then
    await first[Symbol.asyncDispose]();
    await until(() => waiting(from) === 1, "it waits");
    await handOver(from, to);
    await writeText(client, "two");
    await using _ = startServer(echo, address);
    to.availabilities.set(0, AVAILABILITY.full);
    assertEquals(new TextDecoder().decode(await soon(readBytes(client, 3), "the answer")), "two");
    const { from: left, to: now, loss, state } = await to.moved.take();
    assertEquals([left, now, loss, state], [servers[0].name, servers[0].name, "reset", "idle"]);
    assertEquals([waiting(to), to.counters.getOf(0, "serverOpen"), to.counters.get("movedIdle")], [0, 1, 1]);
  }, { holdMs: 60_000, redistribute: "idle", quietMs: 1 });
});

test("clients who wait for a place get it in the other engine, and none before all connections have come", async () => {
  await using server = startServer(echo);
  const options = { connectionsMax: 1, queueMax: 5, queueTimeoutMs: 60_000 };
  await withEngines([tableServer(server.address, 0)], async (from, to) => {
    const clients = [await connect(from.address)];
    for (let queued = 1; queued <= 3; queued++) {
      clients.push(await connect(from.address));
      await until(() => from.counters.get("queued") === queued, "one more in the queue");
    }
    for (const [i, client] of clients.entries()) await writeText(client, `${i}`);
    await readBytes(clients[0], 1);
    await handOver(from, to);
    assertEquals([to.counters.get("open"), to.counters.get("queued"), server.accepted], [4, 3, 1]);
    to.engine.handover!.alone();
    for (const [i, client] of clients.entries()) {
      if (i > 0) assertEquals((await soon(readBytes(client, 1), "an answer"))[0], 48 + i);
      assertEquals(server.accepted, i + 1);
      client.close();
    }
    await until(() => to.counters.get("done") === 4, "the ends");
    assertEquals(to.counters.get("queued"), 0);
  }, options);
});

function concat(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

test("a worker that dies while its connections are given loses its own, and the others go over", async () => {
  await using server = startServer(echo);
  const from = startEngine(epoll, [tableServer(server.address, 0)], { workers: 2 });
  await using to = startEngine(epoll, [tableServer(server.address, 0)], { workers: 2 });
  const [worker] = await workersOf(from, 2);
  const clients = await Promise.all(Array.from({ length: 60 }, () => connect(from.address)));
  for (const client of clients) {
    await writeText(client, "x");
    await readBytes(client, 1);
  }
  const handing = handOver(from, to);
  kill(worker);
  await handing;
  const [lost, taken] = [from.counters.get("worker_lost"), to.counters.get("open")];
  assertEquals(lost + taken, 60);
  assert(lost > 0 && taken > 0, `${lost} and ${taken}`);
  let gone = 0;
  for (const client of clients) {
    await writeText(client, "y").catch(() => {});
    const answer = await readBytes(client, 1).catch(() => undefined);
    if (answer === undefined) gone++;
    client.close();
  }
  assertEquals(gone, lost);
  await until(() => to.counters.get("open") === 0, "the ends");
  settle(from);
  await from[Symbol.asyncDispose]();
});

test("many connections go over in batches, and the pause of each is short", async () => {
  await using server = startServer(echo);
  await withEngines([tableServer(server.address, 0)], async (from, to) => {
    const clients = await Promise.all(Array.from({ length: 300 }, () => connect(from.address)));
    await Promise.all(clients.map((client) => writeText(client, "x")));
    await Promise.all(clients.map((client) => readBytes(client, 1)));
    await handOver(from, to);
    assertEquals(to.counters.get("open"), 300);
    assert(to.engine.handover!.taken.length >= 10);
    await Promise.all(clients.map((client) => writeText(client, "y")));
    for (const client of clients) assertEquals((await readBytes(client, 1))[0], 121);
    for (const client of clients) client.close();
    await until(() => to.counters.get("open") === 0, "the ends");
    assertEquals(to.counters.get("done"), 300);
  });
});

test("what the other process never touched goes on after it has gone; the rest is reset", async () => {
  await using server = startServer(echo);
  const from = startEngine(epoll, [tableServer(server.address, 0)]);
  await using to = startEngine(epoll, [tableServer(server.address, 0)]);
  using quiet = await connect(from.address);
  using busy = await connect(from.address);
  for (const client of [quiet, busy]) {
    await writeText(client, "x");
    await readBytes(client, 1);
  }
  await handOver(from, to);
  await writeText(busy, "y");
  await readBytes(busy, 1);
  // As if the other process had been killed: nothing of it runs any more, but here it would take its sockets with it.
  from.engine.handover!.takeBack();
  await until(() => from.counters.get("open") === 1, "the busy one to be reset");
  assertEquals(from.counters.get("upgrade_lost"), 1);
  await from[Symbol.asyncDispose]();
});
