// Every engine behaves alike: one suite over every row of ENGINES.

import { until } from "../raw_socket.ts";
import { assert, assertEquals, assertGreater, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { chooseEngine, ENGINES } from "../../lib/engine/mod.ts";
import { parseConfig } from "../../lib/values/config.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import {
  ask,
  close,
  connect,
  connectNode,
  echo,
  type Handler,
  hold,
  poll,
  readBytes,
  readChunks,
  readText,
  sayName,
  sha256,
  silentListener,
  someBytes,
  soon,
  startEngine,
  startResettingServer,
  startServer,
  tableServer,
  unusedAddress,
  writeAll,
  writeText,
} from "../helpers.ts";
import { type Need, needing } from "../tools.ts";

type Case = (kind: EngineKind) => Promise<void>;

const MIB = 1024 ** 2;

const CASES: Record<string, Case> = {
  async "passes bytes to a server and back"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    assertEquals(await ask(test.address, "hello"), "hello");
    const { fate, server: name, sentBytes, receivedBytes, attempts, durationMs } = await test.ended.take();
    assertEquals({ fate, name, sentBytes, receivedBytes, attempts }, {
      fate: "done",
      name: server.name,
      sentBytes: 5,
      receivedBytes: 5,
      attempts: 1,
    });
    assertEquals(test.counters.getOf(0, "connects"), 1);
    assertEquals(test.counters.getOf(0, "sentBytes"), 5);
    assertEquals(test.counters.getOf(0, "receivedBytes"), 5);
    assertEquals(test.counters.getOf(0, "done"), 1);
    for (const name of ["connectSeconds", "connectionSeconds", "serverConnectSeconds"] as const) {
      assertEquals(test.counters.histogram(name, 0).counts.reduce((a, b) => a + b), 1, name);
    }
    assertEquals(test.counters.histogram("connectionSeconds").sum, durationMs / 1000);
    await test.publish([]);
    assertEquals(await test.emptied.take(), 0);
    assert(test.engine.isEmpty(0));
  },

  async "half-close from the client reaches the server, whose answer comes later"(kind) {
    const answer = Promise.withResolvers<void>();
    await using server = startServer(async (socket) => {
      const question = await readText(socket);
      await answer.promise;
      await writeText(socket, `you said ${question}`);
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    using client = await connect(test.address);
    await writeText(client, "all");
    await client.closeWrite();
    answer.resolve();
    assertEquals(await soon(readText(client)), "you said all");
    assertEquals((await test.ended.take()).fate, "done");
  },

  async "half-close from the server leaves the client talking"(kind) {
    const heard = Promise.withResolvers<string>();
    await using server = startServer(async (socket) => {
      await writeText(socket, "go on");
      await socket.closeWrite();
      heard.resolve(await readText(socket));
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    using client = await connect(test.address);
    assertEquals(await soon(readText(client)), "go on");
    await writeText(client, "and on");
    await client.closeWrite();
    assertEquals(await soon(heard.promise), "and on");
    assertEquals((await test.ended.take()).fate, "done");
  },

  async "a server may speak first"(kind) {
    await using server = startServer(async (socket) => {
      await writeText(socket, "220 ready\n");
      await echo(socket, 0);
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    using client = await connect(test.address);
    assertEquals(new TextDecoder().decode(await soon(readBytes(client, 10))), "220 ready\n");
  },

  async "an empty pool closes clients at once"(kind) {
    await using test = startEngine(kind, []);
    assertEquals(await ask(test.address), "");
    assertEquals((await test.ended.take()).fate, "no_server");
    assertEquals(test.counters.get("no_server"), 1);
  },

  async "a server that refuses is passed over, and asked once"(kind) {
    await using server = startServer(sayName);
    const dead = [unusedAddress(), unusedAddress(), unusedAddress()];
    const servers = [...dead, server.address].map((address, slot) => tableServer(address, slot));
    await using test = startEngine(kind, servers);
    for (let i = 0; i < 20; i++) assertEquals(await ask(test.address), server.name);
    for (let i = 0; i < 20; i++) {
      const { fate, attempts } = await test.ended.take();
      assertEquals(fate, "done");
      assert(attempts <= servers.length, `${attempts} attempts on ${servers.length} servers`);
    }
    const failures = dead.map((_, slot) => test.counters.getOf(slot, "connectFailures"));
    assertGreater(Math.max(...failures), 0);
    for (const slot of servers.keys()) assertEquals(test.counters.getOf(slot, "serverOpen"), 0);
  },

  async "a client for whom every server refuses is closed"(kind) {
    const servers = [unusedAddress(), unusedAddress(), unusedAddress()].map((address, slot) => tableServer(address, slot));
    await using test = startEngine(kind, servers);
    assertEquals(await ask(test.address), "");
    const { fate, attempts, server, reason } = await test.ended.take();
    assertEquals({ fate, attempts, server }, { fate: "connect_failed", attempts: 3, server: undefined });
    assertStringIncludes(reason ?? "", "refused");
    for (const slot of servers.keys()) assertEquals(test.counters.getOf(slot, "connectFailures"), 1);
    const failed = [await test.failed.take(), await test.failed.take(), await test.failed.take()];
    assertEquals(failed.map(({ slot }) => slot).toSorted(), [0, 1, 2]);
    for (const { reason } of failed) assertStringIncludes(reason, "refused");
  },

  async "a server that does not answer is passed over after the connect timeout"(kind) {
    using silent = await silentListener();
    await using server = startServer(sayName);
    const servers = [tableServer(silent.address, 0, { weight: 50 }), tableServer(server.address, 1)];
    await using test = startEngine(kind, servers, { connectTimeoutMs: 50 });
    assertEquals(await ask(test.address), server.name);
    assertEquals((await test.ended.take()).fate, "done");
  },

  async "dialling ends at the connect deadline"(kind) {
    using silent = await silentListener();
    await using test = startEngine(kind, [tableServer(silent.address, 0)], { connectTimeoutMs: 60_000, connectDeadlineMs: 50 });
    assertEquals(await ask(test.address), "");
    assertEquals((await test.ended.take()).fate, "connect_failed");
  },

  async "no more servers are dialled than attempts are allowed"(kind) {
    const servers = [1, 2, 3, 4, 5].map((_, slot) => tableServer(unusedAddress(), slot));
    await using test = startEngine(kind, servers, { connectAttemptsMax: 2 });
    assertEquals(await ask(test.address), "");
    assertEquals((await test.ended.take()).attempts, 2);
  },

  async "a client that resets is gone, and its server hears of it"(kind) {
    const heard = Promise.withResolvers<void>();
    await using server = startServer(async (socket) => {
      await writeText(socket, "hello");
      await hold(socket, 0).finally(heard.resolve);
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    const client = await connectNode(test.address);
    await soon(new Promise((resolve) => client.once("data", resolve)));
    client.resetAndDestroy();
    await soon(heard.promise);
    assertEquals((await test.ended.take()).fate, "client_gone");
    assertEquals(test.counters.getOf(0, "client_gone"), 1);
  },

  async "a server that resets is lost, and its client hears of it"(kind) {
    await using server = await startResettingServer();
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    using client = await connect(test.address);
    await writeText(client, "hello");
    await soon(readText(client).catch(() => ""));
    assertEquals((await test.ended.take()).fate, "server_lost");
    assertEquals(test.counters.getOf(0, "server_lost"), 1);
  },

  async "what a server sent before it closed arrives, though the client still sends"(kind) {
    const answered = Promise.withResolvers<void>();
    await using server = startServer(async (socket) => {
      await readBytes(socket, 1);
      await writeText(socket, "413 too large");
      answered.resolve();
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    using client = await connect(test.address);
    await writeText(client, "more than one byte");
    await soon(answered.promise);
    assertEquals(await soon(readText(client)), "413 too large");
    const chunk = someBytes(MIB);
    await soon(
      (async () => {
        while (true) await writeAll(client, chunk);
      })().catch(() => {}),
    );
    assertEquals((await test.ended.take()).fate, "server_closed");
  },

  async "an idle connection is ended, a busy one is not"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)], { idleTimeoutMs: 600 });
    using idle = await connect(test.address);
    using busy = await connect(test.address);
    const talk = (async () => {
      for (let ended = false; !ended;) {
        await writeText(busy, "x");
        await readBytes(busy, 1);
        ended = test.counters.get("idle_timeout") > 0;
      }
    })();
    assertEquals(await soon(readText(idle)), "");
    assertEquals((await test.ended.take()).fate, "idle_timeout");
    await soon(talk);
    assertEquals(test.counters.get("open"), 1);
  },

  async "clients beyond the limit on connections are closed at once"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)], { connectionsMax: 2 });
    const first = [await connect(test.address), await connect(test.address)];
    for (const client of first) {
      await writeText(client, "x");
      await readBytes(client, 1);
    }
    assertEquals(await ask(test.address), "");
    assertEquals((await test.ended.take()).fate, "refused_limit");
    assertEquals([test.counters.get("limitBalancer"), test.counters.get("limitServers")], [1, 0]);
    for (const client of first) close(client);
    await test.ended.take();
    await test.ended.take();
    assertEquals(await ask(test.address, "room"), "room");
  },

  async "a full server's clients go to the next; when all are full clients are closed"(kind) {
    await using one = startServer(echo);
    await using two = startServer(echo);
    const servers = [one, two].map(({ address }, slot) => tableServer(address, slot, { connectionsMax: 2 }));
    await using test = startEngine(kind, servers, { key: "ip" });
    const clients = [];
    for (let i = 0; i < 4; i++) {
      const client = await connect(test.address);
      await writeText(client, "x");
      await readBytes(client, 1);
      clients.push(client);
    }
    assertEquals([one.accepted, two.accepted], [2, 2]);
    assertEquals(await ask(test.address), "");
    assertEquals((await test.ended.take()).fate, "refused_limit");
    assertEquals([test.counters.get("limitBalancer"), test.counters.get("limitServers")], [0, 1]);
    for (const client of clients) close(client);
  },

  async "20 MiB each way at once arrive whole"(kind) {
    const up = someBytes(20 * MIB, 1);
    const down = someBytes(20 * MIB, 2);
    const got = Promise.withResolvers<string>();
    await using server = startServer(async (socket) => {
      const [bytes] = await Promise.all([readBytes(socket, up.length), writeAll(socket, down)]);
      got.resolve(await sha256(bytes as Uint8Array<ArrayBuffer>));
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    using client = await connect(test.address);
    const [bytes] = await Promise.all([readBytes(client, down.length), writeAll(client, up)]);
    assertEquals(await sha256(bytes as Uint8Array<ArrayBuffer>), await sha256(down));
    assertEquals(await soon(got.promise), await sha256(up));
    await client.closeWrite();
    const { sentBytes, receivedBytes } = await test.ended.take();
    assertEquals([sentBytes, receivedBytes], [up.length, down.length]);
  },

  async "a client that does not read holds the server up, not the engine"(kind) {
    const stalled = Promise.withResolvers<number>();
    let written = 0;
    await using server = startServer(async (socket) => {
      const chunk = someBytes(MIB);
      const timer = setInterval(() => written === before ? stalled.resolve(written) : before = written, 200);
      let before = -1;
      try {
        while (written < 200 * MIB) written += await socket.write(chunk);
      } finally {
        clearInterval(timer);
      }
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    using _client = await connect(test.address);
    const buffered = await soon(stalled.promise);
    assert(buffered < 50 * MIB, `${buffered} bytes were taken from the server though nobody read them`);
  },

  async "single bytes arrive one by one"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    using client = await connect(test.address);
    for (let i = 0; i < 200; i++) {
      await writeAll(client, Uint8Array.of(i));
      assertEquals((await soon(readBytes(client, 1)))[0], i);
    }
  },

  async "a new table holds for new clients; connections that are open stay"(kind) {
    const talk: Handler = async (socket, index) => {
      await sayName(socket, index);
      await echo(socket, index);
    };
    await using one = startServer(talk);
    await using two = startServer(talk);
    await using test = startEngine(kind, [tableServer(one.address, 0)]);
    const who = async (client: Deno.TcpConn) => new TextDecoder().decode(await soon(readBytes(client, one.name.length)));
    using old = await connect(test.address);
    assertEquals(await who(old), one.name);
    await test.publish([tableServer(two.address, 1)]);
    using young = await connect(test.address);
    assertEquals(await who(young), two.name);
    await writeText(old, "still here");
    assertEquals(new TextDecoder().decode(await soon(readBytes(old, 10))), "still here");
  },

  async "ending a server ends its connections and nobody else's"(kind) {
    await using one = startServer(echo);
    await using two = startServer(echo);
    await using test = startEngine(kind, [tableServer(one.address, 0)]);
    using doomed = await connect(test.address);
    await writeText(doomed, "x");
    await readBytes(doomed, 1);
    await test.publish([tableServer(two.address, 1)]);
    using safe = await connect(test.address);
    await writeText(safe, "x");
    await readBytes(safe, 1);
    test.leave(0, "expired");
    assertEquals(await soon(readText(doomed).catch(() => "")), "");
    const { fate, server } = await test.ended.take();
    assertEquals({ fate, server }, { fate: "removed", server: one.name });
    assertEquals(await test.emptied.take(), 0);
    await writeText(safe, "y");
    assertEquals((await soon(readBytes(safe, 1)))[0], "y".charCodeAt(0));
  },

  async "a client that waits for a server that is ended goes on to the next"(kind) {
    using silent = await silentListener();
    await using server = startServer(sayName);
    await using test = startEngine(kind, [tableServer(silent.address, 0)]);
    const answer = ask(test.address);
    await until(() => test.counters.getOf(0, "serverOpen") > 0, "the connection");
    await test.publish([tableServer(server.address, 1)]);
    test.leave(0, "expired");
    assertEquals(await answer, server.name);
    assertEquals(await test.emptied.take(), 0);
  },

  async "stop lets connections finish, and takes nobody new"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    using client = await connect(test.address);
    await writeText(client, "a");
    await readBytes(client, 1);
    const stopped = test.engine.stop(60_000);
    const isRefused = () => connect(test.address).then((late) => (close(late), false), () => true);
    while (!await soon(isRefused())); // who was in the listener's queue is served
    await writeText(client, "b");
    assertEquals((await soon(readBytes(client, 1)))[0], "b".charCodeAt(0));
    await client.closeWrite();
    await soon(stopped);
    assertEquals((await test.ended.take()).fate, "done");
  },

  async "stop ends what is open when the grace time is over, or is shortened"(kind) {
    for (const graces of [[20], [60_000, 0]]) {
      await using server = startServer(hold);
      await using test = startEngine(kind, [tableServer(server.address, 0)]);
      using client = await connect(test.address);
      await until(() => test.counters.getOf(0, "connects") > 0, "the connection");
      await soon(Promise.all(graces.map((graceMs) => test.engine.stop(graceMs))));
      assertEquals(await soon(readText(client).catch(() => "")), "");
      assertEquals((await test.ended.take()).fate, "stopped");
    }
  },

  async "clients that reset before they are accepted hold nobody up"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    const rude = await Promise.all(Array.from({ length: 100 }, () => connectNode(test.address)));
    for (const client of rude) client.resetAndDestroy();
    const startedMs = performance.now();
    assertEquals(await ask(test.address, "next"), "next");
    assert(performance.now() - startedMs < 5000, "a client waited for others' resets");
    assertEquals(test.counters.get("acceptErrors"), 0);
  },

  async "a client that resets while both directions are full is let go"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    const client = await connectNode(test.address);
    client.pause();
    let written = -1;
    const chunk = someBytes(MIB);
    const push = setInterval(() => client.writableLength < 4 * MIB && client.write(chunk), 5);
    while (written !== test.counters.getOf(0, "sentBytes") || written === 0) {
      written = test.counters.getOf(0, "sentBytes");
      await new Promise((resolve) => setTimeout(resolve, 300)); // until nothing moves any more
    }
    clearInterval(push);
    client.resetAndDestroy();
    assertEquals((await test.ended.take()).fate, "client_gone");
    await test.publish([]);
    assertEquals(await test.emptied.take(), 0);
  },

  async "what a client sent before it went arrives, though it takes no answers"(kind) {
    const total = MIB / 4; // fits into the system's buffers: what the client's own system has not sent is lost with any server
    const heard = Promise.withResolvers<number>();
    const gone = Promise.withResolvers<void>();
    await using server = startServer(async (socket) => {
      let bytes = (await readBytes(socket, 1)).length;
      await gone.promise;
      await writeText(socket, "an answer that meets nobody");
      for await (const chunk of readChunks(socket)) bytes += chunk.length;
      heard.resolve(bytes);
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    const client = await connect(test.address);
    await writeAll(client, someBytes(total));
    await until(() => test.counters.getOf(0, "sentBytes") >= total, "all bytes");
    client.close();
    gone.resolve();
    assertEquals(await soon(heard.promise), total);
    const { fate } = await test.ended.take();
    assert(fate === "client_gone" || fate === "done", fate);
  },

  async "one client's error never reaches another"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    await Promise.all(Array.from({ length: 100 }, async (_, i) => {
      if (i % 2 === 0) return assertEquals(await ask(test.address, `client ${i}`), `client ${i}`);
      const rude = await connectNode(test.address);
      rude.write("never mind");
      rude.resetAndDestroy();
    }));
    for (let i = 0; i < 100; i++) await test.ended.take();
    assertEquals(test.counters.get("open"), 0);
    assert(test.counters.get("done") >= 50);
  },

  async "random transfers arrive byte for byte"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    const transfer = fc.record({ seed: fc.nat(), sizes: fc.array(fc.nat(60_000), { maxLength: 8 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(transfer, { minLength: 1, maxLength: 10 }), async (transfers) => {
        await Promise.all(transfers.map(async ({ seed, sizes }) => {
          const bytes = someBytes(sizes.reduce((a, b) => a + b, 0), seed);
          using client = await connect(test.address);
          const writing = (async () => {
            let sent = 0;
            for (const size of sizes) await writeAll(client, bytes.subarray(sent, sent += size));
            await client.closeWrite();
          })();
          const got: number[] = [];
          for await (const chunk of readChunks(client)) for (const byte of chunk) got.push(byte);
          await writing;
          assertEquals(await sha256(Uint8Array.from(got)), await sha256(bytes));
        }));
      }),
      { numRuns: 40 },
    );
  },

  async "IPv6 clients and servers"(kind) {
    await using six = startServer(sayName, { host: "::1" });
    await using test = startEngine(kind, [tableServer(six.address, 0)], { host: "::1" });
    assertEquals(await ask(test.address), six.name);
  },

  async "servers by name"(kind) {
    await using named = startServer(echo);
    await using other = startEngine(kind, [tableServer({ host: "localhost", port: named.address.port }, 0)]);
    assertEquals(await ask(other.address, "by name"), "by name");
  },

  async "a server by a name that does not exist is passed over"(kind) {
    await using server = startServer(sayName);
    const servers = [tableServer({ host: "nobody.invalid", port: 80 }, 0, { weight: 50 }), tableServer(server.address, 1)];
    await using test = startEngine(kind, servers);
    assertEquals(await ask(test.address), server.name);
  },

  async "an address that cannot be listened on is told in a sentence"(kind) {
    await using server = startServer(hold);
    const listen = (address: { host: string; port: number }) => () => kind.listen(address, parseConfig())[Symbol.dispose]();
    assertThrows(listen(server.address), OperatorError, "the port is taken");
    assertThrows(listen({ host: "192.0.2.1", port: 0 }), OperatorError, "not one of this machine's"); // TEST-NET-1 (RFC 5737)
    await Promise.resolve();
  },
};

/** What cases need that not every machine has. */
const NEEDS: Readonly<Record<string, readonly Need[]>> = { "IPv6 clients and servers": ["IPv6 on loopback"] };

for (const [engine, kind] of Object.entries(ENGINES)) {
  const unsupported = kind.unsupported();
  Deno.test({
    name: `[${engine}] says that its loops turn, whether they have something to do or not`,
    ignore: unsupported !== undefined,
    async fn() {
      await using server = startServer(echo);
      await using test = startEngine(kind, [tableServer(server.address, 0)]);
      const turns = () => poll(() => Promise.resolve(test.engine.hasTurned()), (hasTurned) => hasTurned, "a turn of every loop");
      await turns();
      assertEquals(await ask(test.address, "hello"), "hello");
      await turns();
      await test.engine.stop(0);
      assertEquals(test.engine.hasTurned(), true, "nobody is left who could hang");
    },
  });
  for (const [title, run] of Object.entries(CASES)) {
    const { name, ignore } = await needing(`[${engine}] ${title}`, ...NEEDS[title] ?? []);
    Deno.test({ name, ignore: ignore || unsupported !== undefined, fn: () => run(kind) });
  }
}

Deno.test("chooseEngine() takes the best that is supported for auto", () => {
  const best = Object.entries(ENGINES).find(([, kind]) => kind.unsupported() === undefined);
  assertEquals(chooseEngine("auto").name, best?.[0]);
});

Deno.test("chooseEngine() names the choices for a name that is none", () => {
  const { kind, message } = assertThrows(() => chooseEngine("nope"), OperatorError);
  assertEquals(kind, "usage");
  for (const name of ["nope", "auto", ...Object.keys(ENGINES)]) assertStringIncludes(message, name);
});
