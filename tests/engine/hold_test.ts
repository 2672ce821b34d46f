// Clients who wait for a server, in every engine: one suite over every row of ENGINES.

import { assert, assertEquals, assertGreaterOrEqual, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { AVAILABILITY } from "../../lib/routing/availability.ts";
import { DOUBLING_MS, RETRY_MIN_MS, START_PER_S } from "../../lib/routing/hold.ts";
import {
  close,
  connect,
  connectNode,
  echo,
  type Handler,
  hold,
  readBytes,
  readChunks,
  readText,
  soon,
  startEngine,
  startServer,
  tableServer,
  type TestEngine,
  type TestEngineOptions,
  type TestServer,
  unusedAddress,
  writeText,
} from "../helpers.ts";
import { until } from "../raw_socket.ts";
import { answer, IDLE, NEVER_QUIET_MS, quiet, Server, UNANSWERED } from "./played.ts";

type Case = (kind: EngineKind) => Promise<void>;

/** Longer than the test. */
const HOLD = { holdMs: 60_000 };

function waiting({ counters }: TestEngine): number {
  return counters.getOfService(0, "serviceWaiting");
}

async function untilWaiting(test: TestEngine, count: number): Promise<void> {
  await until(() => waiting(test) === count, `${count} clients who wait`);
}

/** An engine at whose end nobody waits and no server has a connection left. */
function start(kind: EngineKind, servers: Parameters<typeof startEngine>[1], options: TestEngineOptions): TestEngine {
  const test = startEngine(kind, servers, options);
  return {
    ...test,
    async [Symbol.asyncDispose]() {
      await test[Symbol.asyncDispose]();
      assertEquals(waiting(test), 0, "nobody waits");
      for (let slot = 0; slot < 5; slot++) assertEquals(test.counters.getOf(slot, "serverOpen"), 0, `open on server ${slot}`);
    },
  };
}

/** So many clients who have said this, one after another. */
async function clientsOf({ address }: TestEngine, count: number, say = (i: number) => `${i}.`): Promise<Deno.TcpConn[]> {
  const clients: Deno.TcpConn[] = [];
  for (let i = 0; i < count; i++) {
    const client = await connect(address);
    await writeText(client, say(i));
    clients.push(client);
  }
  return clients;
}

/** What the client hears next, of this length. */
async function hear(client: Deno.TcpConn, length: number): Promise<string> {
  return new TextDecoder().decode(await soon(readBytes(client, length), "an answer"));
}

/** Starts a server where one has been. */
async function restart(address: TestServer["address"], handle: Handler): Promise<TestServer> {
  for (;;) {
    try {
      return startServer(handle, address);
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error; // the system has not closed the old one yet
      await quiet();
    }
  }
}

const CASES: Record<string, Case> = {
  async "a client of an empty pool waits and is served when a server is added"(kind) {
    await using server = startServer(echo);
    await using test = start(kind, [], HOLD);
    const [client] = await clientsOf(test, 1, () => "hello");
    await untilWaiting(test, 1);
    assertEquals([test.counters.get("open"), test.counters.getOfService(0, "serviceHeld")], [1, 1]);
    await test.publish([tableServer(server.address, 0)]);
    assertEquals(await hear(client, 5), "hello");
    assertEquals(waiting(test), 0);
    close(client);
    const { fate, attempts, moves, sentBytes } = await test.ended.take();
    assertEquals({ fate, attempts, moves, sentBytes }, { fate: "done", attempts: 1, moves: 0, sentBytes: 5 });
  },

  async "whoever comes while the only server is down is served when it is up again"(kind) {
    const address = unusedAddress();
    await using test = start(kind, [tableServer(address, 0)], HOLD);
    test.availabilities.set(0, AVAILABILITY.fallback);
    const clients = await clientsOf(test, 8);
    await untilWaiting(test, 8);
    const failures = test.counters.getOf(0, "connectFailures");
    await using server = startServer(echo, address);
    await quiet(); // it is not asked before it has passed its checks
    assertEquals([server.accepted, test.counters.getOf(0, "connectFailures")], [0, failures]);
    test.availabilities.set(0, AVAILABILITY.full);
    for (const [i, client] of clients.entries()) assertEquals(await hear(client, 2), `${i}.`);
    clients.forEach(close);
    for (const _ of clients) assertEquals((await test.ended.take()).fate, "done");
  },

  async "without checks a server is tried again and again, at longer and longer pauses"(kind) {
    const address = unusedAddress();
    await using test = start(kind, [tableServer(address, 0)], { ...HOLD, workers: 1 });
    const startMs = performance.now();
    const clients = await clientsOf(test, 1);
    await untilWaiting(test, 1);
    clients.push(...await clientsOf(test, 29, (i) => `${i + 1}.`));
    await until(() => test.counters.getOf(0, "connectFailures") >= 3, "three attempts");
    await untilWaiting(test, 30);
    const failures = test.counters.getOf(0, "connectFailures");
    const doublings = Math.log2(1 + (performance.now() - startMs) / RETRY_MIN_MS);
    assertLessOrEqual(failures, 2 + doublings, "one client at a time, and not each");
    await using _ = startServer(echo, address);
    for (const [i, client] of clients.entries()) assertEquals(await hear(client, `${i}.`.length), `${i}.`);
    clients.forEach(close);
  },

  async "a client that no server takes within the time is ended"(kind) {
    await using test = start(kind, [tableServer(unusedAddress(), 0)], { holdMs: 150 });
    using client = await connect(test.address);
    assertEquals(await soon(readText(client), "the end"), "");
    const { fate, durationMs, attempts, server } = await test.ended.take();
    assertEquals([fate, server], ["hold_timeout", undefined]);
    assertGreaterOrEqual(durationMs, 150);
    assertGreaterOrEqual(attempts, 1);
  },

  async "they are dialled in the order in which they came"(kind) {
    const order: string[] = [];
    await using server = startServer(async (socket) => {
      order.push(new TextDecoder().decode((await readChunks(socket).next()).value!));
      await quiet();
    });
    await using test = start(kind, [], { ...HOLD, workers: 1 });
    const clients: Deno.TcpConn[] = [];
    for (let i = 0; i < 12; i++) {
      clients.push(...await clientsOf(test, 1, () => `${i}`));
      await untilWaiting(test, i + 1);
    }
    await test.publish([tableServer(server.address, 0, { connectionsMax: 1 })]); // one after another
    for (const client of clients) {
      await soon(readText(client), "the end");
      close(client);
    }
    assertEquals(order, Array.from(clients, (_, i) => `${i}`));
    await until(() => test.counters.get("done") === 12, "the ends");
  },

  async "they are dialled no faster than the pace"(kind) {
    await using server = startServer(hold, { backlog: 1024 });
    await using test = start(kind, [], HOLD);
    const clients = await clientsOf(test, 150);
    await untilWaiting(test, 150);
    const startMs = performance.now();
    const published = test.publish([tableServer(server.address, 0)]);
    for (let began = 0; began < 150;) {
      began = 150 - waiting(test); // read before the time: the bound can only grow
      const ms = performance.now() - startMs;
      const most = START_PER_S / 1000 * DOUBLING_MS / Math.LN2 * (2 ** (ms / DOUBLING_MS) - 1);
      assertLessOrEqual(began, 2 + Math.ceil(most), `after ${ms} ms`); // each of two workers begins with one
      await quiet();
    }
    await published;
    await until(() => server.accepted === 150, "all clients");
    clients.forEach(close);
  },

  async "whoever comes while others wait comes after them, and a server with room takes nobody out of turn"(kind) {
    const said: string[] = [];
    await using server = startServer(async (socket) => {
      for await (const chunk of readChunks(socket)) said.push(new TextDecoder().decode(chunk));
    });
    const limited = tableServer(server.address, 0, { connectionsMax: 1 });
    await using test = start(kind, [limited], { ...HOLD, workers: 1 });
    const [first] = await clientsOf(test, 1, () => "first");
    await until(() => said.length === 1, "the first");
    const [second] = await clientsOf(test, 1, () => "second");
    await untilWaiting(test, 1);
    const [third] = await clientsOf(test, 1, () => "third");
    await untilWaiting(test, 2);
    close(first);
    await until(() => said.length === 2, "the second");
    assertEquals([said, waiting(test)], [["first", "second"], 1]);
    await test.publish([tableServer(server.address, 0)]); // without a limit
    await until(() => said.length === 3, "the third");
    assertEquals(said, ["first", "second", "third"]);
    [second, third].forEach(close);
    assertEquals(test.counters.get("refused_limit"), 0);
  },

  async "a client that leaves while it waits is noticed, by an end and by a reset, also after it has sent something"(kind) {
    await using test = start(kind, [], HOLD);
    const clients = await clientsOf(test, 2, (i) => i === 0 ? "" : "hello");
    const others = [await connectNode(test.address), await connectNode(test.address)];
    await new Promise<void>((resolve) => others[1].write("hello", () => resolve()));
    await untilWaiting(test, 4);
    clients.forEach(close);
    await untilWaiting(test, 2);
    for (const other of others) other.resetAndDestroy();
    await until(() => test.counters.get("client_gone") === 4, "the ends");
    assertEquals([waiting(test), test.counters.get("open")], [0, 0]);
  },

  async "200 connections whose only server is restarted wait, and go on with it"(kind) {
    const servers = [startServer(echo)];
    const { address } = servers[0];
    await using test = start(kind, [tableServer(address, 0)], { ...HOLD, ...IDLE });
    const clients = await clientsOf(test, 200);
    for (const [i, client] of clients.entries()) assertEquals(await hear(client, `${i}.`.length), `${i}.`);
    for (let round = 1; round <= 2; round++) {
      await quiet();
      await servers.pop()![Symbol.asyncDispose]();
      test.availabilities.set(0, AVAILABILITY.fallback);
      await untilWaiting(test, 200);
      assertEquals(test.counters.getOf(0, "serverOpen"), 0, "the lost server counts nobody");
      for (const client of clients.slice(0, 100)) await writeText(client, "while it waits.");
      servers.push(await restart(address, echo));
      test.availabilities.set(0, AVAILABILITY.full);
      for (const client of clients.slice(0, 100)) assertEquals(await hear(client, 15), "while it waits.");
      await untilWaiting(test, 0);
      for (const [i, client] of clients.entries()) {
        await writeText(client, `${i},`);
        assertEquals(await hear(client, `${i},`.length), `${i},`);
      }
    }
    assertEquals([test.counters.get("movedIdle"), test.counters.getOf(0, "movedAway")], [400, 0]);
    const { from, to, loss, state } = await test.moved.take();
    assertEquals([from, to, loss, state], [servers[0].name, servers[0].name, "reset", "idle"]);
    clients.forEach(close);
    for (const _ of clients) {
      const { fate, moves } = await test.ended.take();
      assertEquals([fate, moves], ["done", 2]);
    }
    await servers[0][Symbol.asyncDispose]();
  },

  async "an unanswered request waits, too, and is sent again"(kind) {
    const silent = await Server.start();
    await using test = start(kind, [silent.at(0)], { ...HOLD, ...UNANSWERED });
    const [client] = await clientsOf(test, 1, () => "question");
    const served = await silent.clients.take();
    await served.heard("question");
    await silent.stopListening();
    served.reset();
    await untilWaiting(test, 1);
    await silent[Symbol.asyncDispose]();
    const other = await Server.start(answer("b"));
    await test.publish([other.at(1)]);
    assertEquals(await hear(client, 10), "b:question");
    const { from, to, replayedBytes, state } = await test.moved.take();
    assertEquals([from, to, replayedBytes, state], [silent.name, other.name, 8, "unanswered"]);
    close(client);
    assertEquals((await test.ended.take()).fate, "done");
    await other[Symbol.asyncDispose]();
  },

  async "a removed server's connections wait for the next one once its drain time is over"(kind) {
    await using server = startServer(echo);
    await using other = startServer(echo);
    await using test = start(kind, [tableServer(server.address, 0)], { ...HOLD, ...IDLE });
    const clients = await clientsOf(test, 3, () => "one");
    for (const client of clients) assertEquals(await hear(client, 3), "one");
    await quiet();
    await test.publish([]);
    test.leave(0, "draining");
    await quiet();
    assertEquals([waiting(test), test.counters.getOf(0, "serverOpen")], [0, 3], "they have a server that serves");
    test.leave(0, "expired");
    await untilWaiting(test, 3);
    assertEquals(await test.emptied.take(), 0, "the removed server is free while they wait");
    await test.publish([tableServer(other.address, 1)]);
    for (const client of clients) {
      await writeText(client, "two");
      assertEquals(await hear(client, 3), "two");
    }
    clients.forEach(close);
    assertEquals(test.counters.get("removed"), 0);
  },

  async "a connection that had a server and gets none in time is cut"(kind) {
    const server = await Server.start(answer("a"));
    await using test = start(kind, [server.at(0)], { holdMs: 150, ...IDLE });
    const [client] = await clientsOf(test, 1, () => "x");
    assertEquals(await hear(client, 3), "a:x");
    await quiet();
    await server.stopListening();
    (await server.clients.take()).reset();
    const cut = soon(readText(client).then((text) => text, ({ name }) => name), "the cut");
    assertEquals(await cut, kind.cannot.includes("cut") ? "" : "ConnectionReset");
    assertEquals((await test.ended.take()).fate, "hold_timeout");
    await server[Symbol.asyncDispose]();
  },

  async "a busy connection is lost as ever"(kind) {
    const server = await Server.start();
    await using test = start(kind, [server.at(0)], { ...HOLD, ...IDLE, quietMs: NEVER_QUIET_MS });
    const [client] = await clientsOf(test, 1, () => "x");
    const served = await server.clients.take();
    await served.heard("x");
    served.say("half an ans");
    assertEquals(await hear(client, 11), "half an ans");
    await server.stopListening();
    served.reset();
    assert(["server_lost", "redistribute_refused"].includes((await test.ended.take()).fate));
    close(client);
    await server[Symbol.asyncDispose]();
  },

  async "in a pause new clients wait, open connections go on, and afterwards everybody is served"(kind) {
    await using server = startServer(echo);
    await using test = start(kind, [tableServer(server.address, 0)], {});
    const [before] = await clientsOf(test, 1, () => "before");
    assertEquals(await hear(before, 6), "before");
    await test.setWaiting("paused");
    const clients = await clientsOf(test, 5);
    await untilWaiting(test, 5);
    await writeText(before, "during");
    assertEquals(await hear(before, 6), "during");
    assertEquals(server.accepted, 1);
    await test.setWaiting(undefined);
    for (const [i, client] of clients.entries()) assertEquals(await hear(client, 2), `${i}.`);
    [before, ...clients].forEach(close);
    for (let i = 0; i < 6; i++) assertEquals((await test.ended.take()).fate, "done");
  },

  async "in a pause connections that lose their server wait, and none is dialled"(kind) {
    const server = startServer(echo);
    await using other = startServer(echo);
    await using test = start(kind, [tableServer(server.address, 0)], { ...IDLE });
    const clients = await clientsOf(test, 3, () => "a");
    for (const client of clients) assertEquals(await hear(client, 1), "a");
    await quiet();
    await test.setWaiting("paused");
    await test.publish([tableServer(server.address, 0), tableServer(other.address, 1)]);
    await server[Symbol.asyncDispose]();
    await untilWaiting(test, 3);
    await quiet();
    assertEquals(other.accepted, 0);
    await test.setWaiting(undefined);
    for (const client of clients) {
      await writeText(client, "b");
      assertEquals(await hear(client, 1), "b");
    }
    clients.forEach(close);
  },

  async "connections that are to wait, too, leave their server as soon as they are quiet, and get it back"(kind) {
    const server = await Server.start(answer("a"));
    await using test = start(kind, [server.at(0)], { ...IDLE });
    const [quietOne, busy] = await clientsOf(test, 2, () => "1");
    for (const client of [quietOne, busy]) assertEquals(await hear(client, 3), "a:1");
    await quiet();
    const [served] = [await server.clients.take(), await server.clients.take()].slice(1);
    served.onText = () => served.say("half");
    const other = await Promise.all([writeText(busy, "2"), hear(busy, 4)]);
    assertEquals(other[1], "half");
    await test.change({ quietMs: NEVER_QUIET_MS });
    await test.setWaiting("parked");
    assertEquals([waiting(test), test.counters.getOf(0, "serverOpen")], [0, 2], "nobody is quiet");
    await test.change({ quietMs: 1 });
    await untilWaiting(test, 2);
    assertEquals(test.counters.getOf(0, "serverOpen"), 0);
    await writeText(quietOne, "3");
    await quiet();
    assertEquals(waiting(test), 2);
    await test.setWaiting(undefined);
    assertEquals(await hear(quietOne, 3), "a:3");
    [quietOne, busy].forEach(close);
    await server[Symbol.asyncDispose]();
  },

  async "after a pause whoever finds no server is told as ever"(kind) {
    await using test = start(kind, [tableServer(unusedAddress(), 0)], {});
    await test.setWaiting("paused");
    const clients = await clientsOf(test, 12);
    await untilWaiting(test, 12);
    await test.setWaiting(undefined);
    for (const client of clients) await soon(readText(client).catch(() => ""), "the end");
    for (const client of clients) {
      assertEquals((await test.ended.take()).fate, "connect_failed");
      close(client);
    }
  },

  async "the time of a pause does not count"(kind) {
    await using test = start(kind, [], { holdMs: 100 });
    await test.setWaiting("paused");
    const [client] = await clientsOf(test, 1);
    await untilWaiting(test, 1);
    await new Promise((resolve) => setTimeout(resolve, 250));
    assertEquals(waiting(test), 1);
    await test.setWaiting(undefined);
    const { fate, durationMs } = await test.ended.take();
    assertEquals(fate, "hold_timeout");
    assertGreaterOrEqual(durationMs, 350);
    close(client);
  },

  async "a changed time holds for those who wait"(kind) {
    await using test = start(kind, [tableServer(unusedAddress(), 0)], HOLD);
    const clients = await clientsOf(test, 2);
    await untilWaiting(test, 2);
    await test.change({ holdMs: 10 });
    for (const _ of clients) assertEquals((await test.ended.take()).fate, "hold_timeout");
    await test.change(HOLD);
    const [late] = await clientsOf(test, 1);
    await untilWaiting(test, 1);
    await test.change({ holdMs: 0 });
    assertEquals((await test.ended.take()).fate, "connect_failed");
    const [off] = await clientsOf(test, 1);
    assertEquals((await test.ended.take()).fate, "connect_failed");
    [...clients, late, off].forEach(close);
  },

  async "those who wait are ended when the engine stops, and when their service goes"(kind) {
    const test = start(kind, [], HOLD);
    const clients = await clientsOf(test, 3);
    await untilWaiting(test, 3);
    await test.setWaiting("ended");
    for (const _ of clients) assertEquals((await test.ended.take()).fate, "no_server");
    const [refused] = await clientsOf(test, 1);
    assertEquals((await test.ended.take()).fate, "no_server", "nobody waits any more");
    await test.setWaiting(undefined);
    const others = await clientsOf(test, 3);
    await untilWaiting(test, 3);
    const stopped = test.engine.stop(60_000);
    for (const _ of others) assertEquals((await test.ended.take()).fate, "stopped");
    await soon(stopped, "the end");
    [...clients, refused, ...others].forEach(close);
    await test[Symbol.asyncDispose]();
  },

  async "whatever happens at once, everybody has one fate and no place is lost"(kind) {
    const act = fc.constantFrom("come", "come", "come", "leave", "reset", "up", "down", "limit", "none", "pause", "park", "resume");
    await fc.assert(
      fc.asyncProperty(fc.array(act, { minLength: 20, maxLength: 60 }), async (acts) => {
        await using server = startServer(echo);
        await using test = start(kind, [], { ...HOLD, ...IDLE });
        const clients = new Set<Deno.TcpConn>();
        const kill = async () => {
          const reset = await connectNode(test.address);
          reset.write("x");
          reset.resetAndDestroy();
        };
        const ACTS = {
          come: async () => void (await clientsOf(test, 1)).forEach((client) => clients.add(client)),
          leave: () => {
            const [client] = clients;
            if (client !== undefined) close(client);
            clients.delete(client);
          },
          reset: kill,
          up: () => test.publish([tableServer(server.address, 0)]),
          limit: () => test.publish([tableServer(server.address, 0, { connectionsMax: 2 })]),
          none: async () => {
            await test.publish([]);
            test.leave(0, "expired");
            await test.publish([]);
          },
          down: () => test.availabilities.set(0, AVAILABILITY.fallback),
          pause: () => test.setWaiting("paused"),
          park: () => test.setWaiting("parked"),
          resume: () => test.setWaiting(undefined),
        };
        for (const name of acts) {
          if (name === "up" || name === "limit") test.availabilities.set(0, AVAILABILITY.full);
          await ACTS[name]();
        }
        await test.setWaiting(undefined);
        test.availabilities.set(0, AVAILABILITY.full);
        await test.publish([tableServer(server.address, 0)]);
        await untilWaiting(test, 0);
        for (const client of clients) close(client);
        await until(() => test.counters.get("open") === 0, "all ends");
      }),
      { numRuns: 8 },
    );
  },
};

for (const [name, kind] of Object.entries(ENGINES)) {
  for (const [what, run] of Object.entries(CASES)) {
    Deno.test({ name: `[${name}] ${what}`, ignore: kind.unsupported() !== undefined, fn: () => run(kind) });
  }
}
