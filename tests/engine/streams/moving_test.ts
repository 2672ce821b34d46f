// What the streams engine must not do when a server is lost or should be left: what a hostile reader of it would try.

import { until } from "../../raw_socket.ts";
import { assertEquals, assertLess } from "@std/assert";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { formatAddress } from "../../../lib/values/address.ts";
import type { EngineKind } from "../../../lib/engine/engine.ts";
import { streams } from "../../../lib/engine/streams/engine.ts";
import { AVAILABILITY } from "../../../lib/routing/availability.ts";
import {
  close,
  connect,
  Queue,
  readBytes,
  readText,
  silentListener,
  soon,
  startEngine,
  tableServer,
  type TestEngine,
  type TestEngineOptions,
  writeText,
} from "../../helpers.ts";

const QUIET_MS = 30;
/** More than the system keeps for a socket that nobody reads from. */
const LARGE_BYTES = 12 * 1024 ** 2;
const IDLE = { redistribute: "idle", quietMs: QUIET_MS } as const;
const UNANSWERED = { redistribute: "unanswered", quietMs: QUIET_MS } as const;

/** One connection as its server has it. */
class Served {
  text = "";
  readonly closed = Promise.withResolvers<void>();
  #changed = Promise.withResolvers<void>();

  constructor(readonly socket: Socket) {
    socket.setEncoding("latin1");
    socket.on("error", () => {});
    socket.on("close", () => this.closed.resolve());
    socket.on("end", () => socket.end());
    socket.on("data", (text) => {
      this.text += text;
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    });
  }

  /** When it has been told this in all, and nothing else. */
  async heard(text: string): Promise<void> {
    while (this.text.length < text.length) await soon(this.#changed.promise, `${text.length - this.text.length} bytes more`);
    assertEquals(this.text === text, true, "it was told what it was to be told");
  }

  say(text: string): void {
    this.socket.write(text, "latin1");
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }
}

async function startServer(play: (served: Served) => void = () => {}) {
  const clients = new Queue<Served>();
  const sockets: Socket[] = [];
  const listener = createServer({ allowHalfOpen: true }, (socket) => {
    const served = new Served(socket);
    sockets.push(socket);
    play(served);
    clients.put(served);
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", 1024, resolve));
  const address = { host: "127.0.0.1", port: (listener.address() as AddressInfo).port };
  return {
    clients,
    address,
    name: formatAddress(address),
    get accepted() {
      return sockets.length;
    },
    at: (slot: number, weight = 1) => tableServer(address, slot, { weight }),
    [Symbol.asyncDispose]: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise<void>((resolve) => listener.close(() => resolve()));
    },
  };
}

/** A client connected to `a`, which has slot 0 and does as it is told; `b` has slot 1, answers, and has no client yet. */
async function startPair(options: TestEngineOptions, kind: EngineKind = streams) {
  const a = await startServer();
  const b = await startServer((served) => served.socket.on("data", (text) => served.say(`b:${text}`)));
  const test = startEngine(kind, [a.at(0)], options);
  const client = await connect(test.address);
  const first = await a.clients.take();
  await until(() => test.counters.getOf(0, "connects") > 0, "the connection");
  await test.publish([a.at(0), b.at(1)]);
  return {
    a,
    b,
    test,
    client,
    first,
    async [Symbol.asyncDispose]() {
      close(client);
      await test[Symbol.asyncDispose]();
      for (let slot = 0; slot < 4; slot++) assertEquals(test.counters.getOf(slot, "serverOpen"), 0, `open on server ${slot}`);
      await a[Symbol.asyncDispose]();
      await b[Symbol.asyncDispose]();
    },
  };
}

function turn(ms = 1): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function quiet(): Promise<void> {
  return turn(3 * QUIET_MS);
}

async function hear(client: Deno.TcpConn, bytes: number): Promise<string> {
  return new TextDecoder().decode(await soon(readBytes(client, bytes), `${bytes} bytes`));
}

async function exchange(client: Deno.TcpConn, served: Served): Promise<void> {
  await writeText(client, "first");
  await served.heard("first");
  served.say("answer");
  assertEquals(await hear(client, 6), "answer");
  await quiet();
}

/** Has the client's connection dial a server that does not answer, to leave the one that it has. */
async function startLeaving(test: TestEngine, silentSlot: number): Promise<void> {
  test.leave(0, "draining");
  await until(() => test.counters.getOf(silentSlot, "serverOpen") > 0, "the connection");
}

Deno.test("[streams] a server that answers before a replay to it was complete is not left in the middle of it", async () => {
  await using both = await startPair({ ...IDLE, replayBytesMax: 2 * LARGE_BYTES });
  const { a, test, client, first } = both;
  await using slow = await startServer((served) => {
    served.socket.pause();
    served.say("early");
  });
  await using other = await startServer();
  const request = "x".repeat(LARGE_BYTES);
  await writeText(client, request);
  await first.heard(request);
  await test.publish([a.at(0), slow.at(2)]);
  first.reset();
  assertEquals(await hear(client, 5), "early");
  await test.publish([slow.at(2), other.at(3)]);
  await quiet();
  test.leave(2, "draining");
  for (const { id } of test.engine.connections()) test.engine.sendToOwner(id);
  await quiet();
  assertEquals(other.accepted, 0);
  await writeText(client, "more"); // part of what the server is still being told: nothing that stands alone
  const served = await slow.clients.take();
  served.socket.resume();
  await served.heard(request + "more");
});

Deno.test("[streams] what a client says while it has not read the answer is no exchange that stands alone", async () => {
  await using both = await startPair(IDLE);
  const { test, client, first, b } = both;
  await writeText(client, "first");
  await first.heard("first");
  first.say("x".repeat(LARGE_BYTES));
  await until(() => [...test.engine.connections()].some(({ quietForMs }) => quietForMs > 3 * QUIET_MS), "quiet");
  await writeText(client, "second");
  await first.heard("firstsecond");
  await quiet();
  test.leave(0, "draining");
  await quiet();
  assertEquals(b.accepted, 0);
  assertEquals((await hear(client, LARGE_BYTES)).length, LARGE_BYTES);
});

Deno.test("[streams] after the server's end was passed on nothing is moved", async () => {
  await using both = await startPair(IDLE);
  const { test, client, first, b } = both;
  await exchange(client, first);
  first.socket.end();
  assertEquals(await soon(readText(client)), "");
  await quiet();
  test.leave(0, "draining");
  test.engine.lose(0, 60_000, 0);
  test.availabilities.set(0, AVAILABILITY.none);
  for (const { id } of test.engine.connections()) test.engine.sendToOwner(id);
  await quiet();
  await writeText(client, "still");
  await first.heard("firststill");
  await quiet();
  test.leave(0, "expired");
  const { fate, moves } = await test.ended.take();
  assertEquals([fate, moves, b.accepted], ["removed", 0, 0]);
});

Deno.test("[streams] a server that is kept, speaks and ends calls the search off", async () => {
  using silent = await silentListener();
  await using both = await startPair({ ...IDLE, connectTimeoutMs: 10_000 });
  const { a, b, test, client, first } = both;
  await exchange(client, first);
  await test.publish([a.at(0), tableServer(silent.address, 2)]);
  await startLeaving(test, 2);
  first.say("bye");
  first.socket.end();
  assertEquals(await soon(readText(client)), "bye");
  client.close();
  const { fate, moves, server } = await test.ended.take();
  assertEquals([fate, moves, server, b.accepted], ["done", 0, a.name, 0]);
});

Deno.test("[streams] when the time is over, nothing that the server says calls the search off", async () => {
  for (const last of ["late", "late and the end"]) {
    using silent = await silentListener();
    await using both = await startPair({ ...IDLE, connectTimeoutMs: 400 });
    const { a, b, test, client, first } = both;
    await exchange(client, first);
    test.availabilities.set(1, AVAILABILITY.fallback); // dialled after the silent one, wherever the ring has them
    await test.publish([a.at(0), tableServer(silent.address, 2), b.at(1)]);
    test.leave(0, "expired");
    assertEquals(test.counters.getOf(2, "serverOpen"), 1);
    first.say(last);
    if (last !== "late") first.socket.end();
    assertEquals((await test.moved.take()).loss, "expired");
    await writeText(client, "ping");
    assertEquals(await hear(client, 6), "b:ping");
    await test.publish([b.at(1)]);
    assertEquals(test.counters.getOf(0, "serverOpen"), 0);
  }
});

// What goes wrong here is a loop of promises in which no timer has its turn, this test's included: the test then hangs.
Deno.test("[streams] a connection that ends while it leaves a server whose end it has read stops nobody else", async () => {
  for (const how of ["it leaves when the end comes", "the end is being asked about"]) {
    using silent = await silentListener();
    await using both = await startPair({ ...IDLE, connectTimeoutMs: 60_000, connectDeadlineMs: 60_000 });
    const { a, test, client, first } = both;
    await exchange(client, first);
    await test.publish([a.at(0), tableServer(silent.address, 2)]);
    if (how === "it leaves when the end comes") await startLeaving(test, 2);
    first.socket.end();
    if (how === "the end is being asked about") await a.clients.take();
    else await turn(QUIET_MS); // the engine tells nobody that it has read the end
    test.leave(0, "expired");
    assertEquals(test.counters.getOf(2, "serverOpen"), 1);
    await soon(test.engine.stop(0), "the end of the engine");
    await turn();
    const { fate, moves, server } = await test.ended.take();
    assertEquals([fate, moves, server], ["stopped", 0, a.name]);
  }
});

Deno.test("[streams] at the end of the drain time a connection without a server tries those that are down, or is cut", async () => {
  for (const isLastResortThere of [true, false]) {
    using silent = await silentListener();
    await using both = await startPair({ ...IDLE, connectTimeoutMs: 400 });
    const { a, b, test, client, first } = both;
    await exchange(client, first);
    test.availabilities.set(1, AVAILABILITY.fallback);
    await test.publish([a.at(0), tableServer(silent.address, 2), ...isLastResortThere ? [b.at(1)] : []]);
    await startLeaving(test, 2);
    test.leave(0, "expired");
    if (isLastResortThere) assertEquals((await test.moved.take()).to, b.name);
    else {
      const { fate, server } = await test.ended.take();
      assertEquals([fate, server], ["removed", a.name]);
    }
  }
});

Deno.test("[streams] servers that lose a connection a moment after they took it do not pass it round for ever", async () => {
  const loseSoon = (served: Served) => void setTimeout(() => served.reset(), 60);
  await using a = await startServer(loseSoon);
  await using b = await startServer(loseSoon);
  await using test = startEngine(streams, [a.at(0), b.at(1)], { connectDeadlineMs: 200, connectAttemptsMax: 10 });
  using _client = await connect(test.address);
  assertEquals((await test.ended.take()).fate, "connect_failed");
  assertLess(a.accepted + b.accepted, 10);
});

Deno.test("[streams] what an earlier search has spent does not count for a connection that was moved since", async () => {
  await using both = await startPair({ connectDeadlineMs: 200 });
  const { a, b, test, first } = both;
  first.reset();
  assertEquals((await test.moved.take()).to, b.name);
  await turn(300);
  test.leave(1, "draining");
  assertEquals((await test.moved.take()).to, a.name);
  await using other = await startServer();
  await test.publish([a.at(0), other.at(2)]);
  (await a.clients.take()).reset();
  assertEquals((await test.moved.take()).to, other.name);
});

Deno.test("[streams] a client that closes without a word is let go at once, nobody being asked", async () => {
  await using both = await startPair(IDLE);
  const { a, b, test, client } = both;
  client.close();
  const { fate, moves } = await test.ended.take();
  assertEquals([fate, moves, a.accepted, b.accepted], ["done", 0, 1, 0]);
});

Deno.test("[streams] a server is not silent because the client is slow", async () => {
  await using both = await startPair(IDLE);
  const { test, client, first } = both;
  await writeText(client, "first");
  await first.heard("first");
  first.say("x".repeat(LARGE_BYTES));
  await until(() => [...test.engine.connections()].some(({ quietForMs }) => quietForMs > 3 * QUIET_MS), "quiet");
  test.engine.lose(0, QUIET_MS, 0);
  assertEquals((await hear(client, LARGE_BYTES)).length, LARGE_BYTES);
});

Deno.test("[streams] a server is not silent because its connection was quiet with the last one", async () => {
  await using both = await startPair({ ...UNANSWERED, replaysMax: 1 });
  const { a, test, client, first } = both;
  await using other = await startServer();
  await writeText(client, "first");
  await first.heard("first");
  await test.publish([a.at(0), other.at(2)]);
  await turn(600);
  first.reset();
  const served = await other.clients.take();
  await served.heard("first");
  test.engine.lose(2, 500, 0); // its request was sent again as often as may be: it stays
  served.say("answer");
  assertEquals(await hear(client, 6), "answer");
});

Deno.test("[streams] a client that dials the only server waits for it, silent or not", async () => {
  using silent = await silentListener();
  await using b = await startServer();
  for (const isLastResortThere of [false, true]) {
    await using test = startEngine(streams, [tableServer(silent.address, 0)], { connectTimeoutMs: 10_000 });
    test.availabilities.set(1, AVAILABILITY.fallback);
    using _client = await connect(test.address);
    await until(() => test.counters.getOf(0, "serverOpen") > 0, "the connection");
    if (isLastResortThere) await test.publish([tableServer(silent.address, 0), b.at(1)]);
    test.engine.lose(0, 1, 0);
    await quiet();
    assertEquals([test.counters.getOf(0, "serverOpen"), test.counters.get("open"), b.accepted], [1, 1, 0]);
  }
});

Deno.test("[streams] a server that is not to be left, or not any more, is not left", async () => {
  await using both = await startPair(IDLE);
  const { b, test, client, first } = both;
  await exchange(client, first);
  test.engine.vacate(0);
  await quiet();
  assertEquals(b.accepted, 0);
  test.leave(0, "draining");
  test.availabilities.set(0, AVAILABILITY.full);
  test.engine.vacate(0);
  await quiet();
  await writeText(client, "again");
  await first.heard("firstagain");
  assertEquals(test.counters.getOf(0, "movedAway"), 0);
});

Deno.test("[streams] a client that is taken from a server which it dials says nothing of that server", async () => {
  for (const how of ["leaving", "silent"] as const) {
    using silent = await silentListener();
    await using b = await startServer();
    await using test = startEngine(streams, [tableServer(silent.address, 0)], { connectTimeoutMs: 10_000 });
    using _client = await connect(test.address);
    await until(() => test.counters.getOf(0, "serverOpen") > 0, "the connection");
    await test.publish([tableServer(silent.address, 0), b.at(1)]);
    if (how === "leaving") test.leave(0, "draining");
    else test.engine.lose(0, 1, 0);
    await b.clients.take();
    await until(() => test.counters.getOf(1, "connects") > 0, "the connection");
    assertEquals(test.counters.getOf(0, "connectFailures"), 0);
  }
});

Deno.test("[streams] when a server is empty, those who left it were counted and told of", async () => {
  const events: string[] = [];
  let movedAway = 0;
  const kind: EngineKind = {
    ...streams,
    create: (options) =>
      streams.create({
        ...options,
        onMoved: (moved) => {
          events.push("moved");
          options.onMoved(moved);
        },
        onServerEmpty: (slot) => {
          events.push("empty");
          movedAway = options.counters.getOf(slot, "movedAway");
          options.onServerEmpty(slot);
        },
      }),
  };
  await using both = await startPair(IDLE, kind);
  const { b, test } = both;
  await test.publish([b.at(1)]);
  test.leave(0, "draining");
  assertEquals([await test.emptied.take(), movedAway], [0, 1]);
  assertEquals(events, ["moved", "empty"]);
});
