// Clients who wait for a place (--queue), in every engine: one suite over every row of ENGINES.

import { assertEquals, assertGreaterOrEqual, assertLessOrEqual } from "@std/assert";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import {
  close,
  connect,
  echo,
  hold,
  readBytes,
  readChunks,
  readText,
  soon,
  startEngine,
  startServer,
  tableServer,
  type TestEngine,
  writeAll,
  writeText,
} from "../helpers.ts";
import { until } from "../raw_socket.ts";

type Case = (kind: EngineKind) => Promise<void>;

const QUEUE = { connectionsMax: 2, queueMax: 3, queueTimeoutMs: 60_000 };

async function untilQueued(test: TestEngine, count: number): Promise<void> {
  await until(() => test.counters.get("queued") === count, `${count} clients who wait`);
}

async function comeTo({ address }: TestEngine, say: string): Promise<Deno.TcpConn> {
  const client = await connect(address);
  await writeText(client, say);
  return client;
}

async function hear(client: Deno.TcpConn, length: number): Promise<string> {
  return new TextDecoder().decode(await soon(readBytes(client, length), "an answer"));
}

const CASES: Record<string, Case> = {
  async "whoever is beyond the limit waits for a place, in order; whoever is beyond the queue is refused"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)], { ...QUEUE, workers: 1 });
    const open = [await comeTo(test, "a"), await comeTo(test, "b")];
    for (const [i, client] of open.entries()) assertEquals(await hear(client, 1), "ab"[i]);
    const queued: Deno.TcpConn[] = [];
    for (const [i, word] of ["one", "two", "six"].entries()) {
      queued.push(await comeTo(test, word));
      await untilQueued(test, i + 1);
    }
    const refused = await comeTo(test, "no");
    assertEquals((await test.ended.take()).fate, "refused_limit");
    assertEquals([test.counters.get("open"), test.counters.get("limitBalancer"), server.accepted], [5, 1, 2]);
    close(open[0]);
    assertEquals(await hear(queued[0], 3), "one");
    assertEquals([test.counters.get("queued"), server.accepted], [2, 3]);
    close(queued[0]);
    close(open[1]);
    assertEquals(await hear(queued[1], 3), "two");
    assertEquals(await hear(queued[2], 3), "six");
    [refused, ...queued].forEach(close);
    await until(() => test.counters.get("open") === 0, "the ends");
    assertEquals([test.counters.get("done"), test.counters.get("queued")], [5, 0]);
  },

  async "whoever gets no place in time is ended"(kind) {
    await using server = startServer(hold);
    await using test = startEngine(kind, [tableServer(server.address, 0)], { ...QUEUE, connectionsMax: 1, queueTimeoutMs: 100 });
    const first = await connect(test.address);
    await until(() => server.accepted === 1, "the first");
    using second = await connect(test.address);
    assertEquals(await soon(readText(second), "the end"), "");
    const { fate, durationMs } = await test.ended.take();
    assertEquals(fate, "queue_timeout");
    assertGreaterOrEqual(durationMs, 100);
    assertEquals(test.counters.get("queued"), 0);
    close(first);
  },

  async "whoever leaves while he waits gives his place in the queue away"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)], { ...QUEUE, connectionsMax: 1, queueMax: 1 });
    const first = await comeTo(test, "a");
    assertEquals(await hear(first, 1), "a");
    const second = await comeTo(test, "b");
    await untilQueued(test, 1);
    close(second);
    if (kind.cannot.includes("waitingEnd")) close(first); // it is noticed at its turn
    await untilQueued(test, 0);
    await until(() => test.counters.get("open") === (kind.cannot.includes("waitingEnd") ? 0 : 1), "the end");
    close(first);
  },

  async "a higher limit lets in who waits, and without a queue all are refused again"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)], { ...QUEUE, connectionsMax: 1 });
    const first = await comeTo(test, "a");
    assertEquals(await hear(first, 1), "a");
    const second = await comeTo(test, "b");
    const third = await comeTo(test, "c");
    await untilQueued(test, 2);
    await test.changeDaemon({ connectionsMax: 2 });
    await untilQueued(test, 1);
    await test.changeDaemon({ queueMax: 0 });
    const refused = await comeTo(test, "d");
    assertEquals((await test.ended.take()).fate, "refused_limit");
    close(first);
    const said = [second, third].map((client) => hear(client, 1));
    assertEquals((await Promise.all(said)).toSorted(), ["b", "c"]);
    [second, third, refused].forEach(close);
  },

  async "those who wait are ended when the engine stops"(kind) {
    await using server = startServer(hold);
    const test = startEngine(kind, [tableServer(server.address, 0)], { ...QUEUE, connectionsMax: 1 });
    const first = await connect(test.address);
    await until(() => server.accepted === 1, "the first");
    const others = [await connect(test.address), await connect(test.address)];
    await untilQueued(test, 2);
    const stopped = test.engine.stop(60_000);
    for (const _ of others) assertEquals((await test.ended.take()).fate, "stopped");
    close(first);
    await soon(stopped, "the end");
    others.forEach(close);
    await test[Symbol.asyncDispose]();
  },

  async "of many who come at once never more than the limit are served, and all of them in the end"(kind) {
    const MOST = 5;
    let now = 0;
    let most = 0;
    await using server = startServer(async (socket) => {
      most = Math.max(most, ++now);
      try {
        for await (const chunk of readChunks(socket)) await writeAll(socket, chunk);
      } finally {
        now--;
      }
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)], { ...QUEUE, connectionsMax: MOST, queueMax: 1000 });
    let left = 200;
    await Promise.all(Array.from({ length: 40 }, async () => {
      while (left-- > 0) {
        const client = await comeTo(test, "hello");
        assertLessOrEqual(test.counters.getOf(0, "serverOpen"), MOST);
        assertEquals(await hear(client, 5), "hello");
        await client.closeWrite();
        assertEquals(await soon(readText(client), "the end"), "");
        close(client);
      }
    }));
    await until(() => test.counters.get("done") === 200, "the ends");
    assertLessOrEqual(most, MOST + 1); // a server may see the next client before the end of the last one
    assertEquals([test.counters.get("queued"), test.counters.get("limitBalancer")], [0, 0]);
  },
};

for (const [name, kind] of Object.entries(ENGINES)) {
  for (const [what, run] of Object.entries(CASES)) {
    Deno.test({ name: `[${name}] ${what}`, ignore: kind.unsupported() !== undefined, fn: () => run(kind) });
  }
}
