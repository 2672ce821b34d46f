// Every engine holds up: resets, urgent data, storms, slow readers, many connections; one table of cases over every row of ENGINES.
//
// Each case runs in a process of its own (this file, run with the names of the engine and of the case): memory and descriptors are
// the process's, and tests that run in parallel share one. After each, as many descriptors are open as were before.
//
// BALANCER_TEST_LONG=1 makes the large cases four times as large, and the storm longer; BALANCER_TEST_SEED repeats a run.

import { assert, assertEquals } from "@std/assert";
import type { Address } from "../../lib/values/address.ts";
import { type Fate, FATES } from "../../lib/values/fates.ts";
import { readSystemLimits } from "../../lib/balancer/descriptors.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { messageOf } from "../../lib/values/errors.ts";
import type { TableServer } from "../../lib/routing/routing_table.ts";
import {
  assertFatesAddUp,
  close,
  connect,
  echo,
  readBytes,
  readChunks,
  someBytes,
  soon,
  startEngine,
  startServer,
  tableServer,
  type TestEngine,
  WAIT_MAX_MS,
  writeAll,
} from "../helpers.ts";
import { Arrivals, type Errno, HAS_RAW_SOCKETS, MSG_MORE, MSG_OOB, RawSocket, startRawServer, turn, until } from "../raw_socket.ts";

const KIB = 1024;
const MIB = 1024 ** 2;

/** What differs between the engines, and is no fault. */
interface Ability {
  /** A reset of one side is a reset for the other; if not, it is an end or an error. */
  readonly passesResetsOn: boolean;
  /** Urgent data arrives in its place among the other bytes; if not, it is lost. */
  readonly keepsUrgentData: boolean;
  /** What a connection holds that nobody reads from: both of its directions together. */
  readonly connectionBytesMax: number;
}

function abilityOf(kind: EngineKind): Ability {
  return {
    passesResetsOn: !kind.cannot.includes("reset"),
    keepsUrgentData: !kind.cannot.includes("urgentData"),
    connectionBytesMax: kind === ENGINES.epoll ? 64 * KIB : 256 * KIB,
  };
}

/** What memory grows by besides, for code, garbage and the test's own ends. */
const SLACK_BYTES = 60 * MIB;
/** Longer than any case takes on a busy machine. */
const CASE_MAX_MS = 120_000;
/** How long the system may take to close what was closed. */
const SETTLE_MAX_MS = 2000;

const IS_LONG = Deno.env.get("BALANCER_TEST_LONG") !== undefined;
const STORM_MS = IS_LONG ? 20_000 : 1500;

/** How many there are of something: a quarter of this, or all in the long tests. */
function many(all: number): number {
  return IS_LONG ? all : all / 4;
}

const SEED = Number(Deno.env.get("BALANCER_TEST_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);

/** What all sides send is a part of this. */
const POOL = someBytes(8 * MIB, 0xba1a4ce);
/** Asks a server to echo, or to send as much as goes. */
const [ECHO, PUSH] = [Uint8Array.of(1), Uint8Array.of(2)];
/** Segments as on an Ethernet, for connections that nobody reads from: see RawOptions. */
const ETHERNET = { segmentBytesMax: 1460 } as const;
/** Sockets of which there may be thousands that nobody reads from: together they must not take the system's memory. */
const SMALL = { ...ETHERNET, receiveBufferBytes: 16 * KIB, sendBufferBytes: 16 * KIB } as const;
/** An engine that gives nobody up because the machine is busy, nor because there are many. */
const PATIENT = { connectTimeoutMs: WAIT_MAX_MS, connectDeadlineMs: 2 * WAIT_MAX_MS, connectionsMax: 100_000, workers: 2 } as const;

type Case = (kind: EngineKind, can: Ability) => Promise<void>;

const CASES: Record<string, Case> = {
  async "a server that resets in the middle of its answer is lost, and its client is not told of an end"(kind, can) {
    for (const isReading of [true, false]) {
      const reset = Promise.withResolvers<void>();
      await using server = startRawServer(async (socket) => {
        await Promise.race([isReading ? socket.sendAll(POOL.subarray(0, 100_000)) : socket.sendAll(POOL), reset.promise]);
        await reset.promise;
        socket.reset();
      }, ETHERNET);
      await using test = startEngine(kind, [tableServer(server.address, 0)], PATIENT);
      using client = await RawSocket.connect(test.address, ETHERNET);
      const arrived = new Arrivals(POOL);
      const outcome = isReading ? client.drain((chunk) => arrived.take(chunk)) : undefined;
      if (isReading) await until(() => arrived.count === 100_000, "the first part");
      else await standstill(() => test.counters.getOf(0, "receivedBytes"));
      reset.resolve();
      assertWasReset(await soon(outcome ?? client.drain((chunk) => arrived.take(chunk)), "the client's end"), can);
      assertEquals((await test.ended.take()).fate, "server_lost");
      assertEquals(test.counters.getOf(0, "server_lost"), 1);
    }
  },

  async "a client that resets in the middle of its upload is gone, and its server is not told of an end"(kind, can) {
    for (const isReading of [true, false]) {
      const arrived = new Arrivals(POOL);
      const reset = Promise.withResolvers<void>();
      const outcome = Promise.withResolvers<"end" | Errno>();
      await using server = startRawServer(async (socket) => {
        if (!isReading) await reset.promise;
        outcome.resolve(await socket.drain((chunk) => arrived.take(chunk)));
      }, ETHERNET);
      await using test = startEngine(kind, [tableServer(server.address, 0)], PATIENT);
      const client = await RawSocket.connect(test.address, ETHERNET);
      const sending = client.sendAll(isReading ? POOL.subarray(0, 100_000) : POOL);
      if (isReading) await until(() => arrived.count === 100_000, "the first part");
      else await standstill(() => test.counters.getOf(0, "sentBytes"));
      client.reset();
      reset.resolve();
      await soon(sending, "the client");
      assertWasReset(await soon(outcome.promise, "the server's end"), can);
      assertEquals((await test.ended.take()).fate, "client_gone");
      assertEquals(test.counters.getOf(0, "client_gone"), 1);
    }
  },

  async "servers that send and reset at once leave nobody hanging"(kind, can) {
    const rounds = many(400);
    let accepted = 0;
    await using server = startRawServer(async (socket) => {
      // Half of them reset while they are being dialled.
      if (accepted++ % 2 === 0) await until(() => socket.recv() !== "empty", "a client's bytes");
      socket.send(POOL.subarray(0, 1000));
      socket.reset();
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)], PATIENT);
    await atATime(20, rounds, async () => {
      using client = await RawSocket.connect(test.address);
      client.send(POOL.subarray(0, 10));
      const arrived = new Arrivals(POOL.subarray(0, 1000));
      const outcome = await soon(client.drain((chunk) => arrived.take(chunk)), "the client's end");
      if (arrived.count > 0) assertWasReset(outcome, can);
    });
    const { server_lost = 0, server_closed = 0, connect_failed = 0, ...others } = await settled(test, rounds);
    assertEquals(others, {});
    assert(server_lost > 0, `${server_lost} lost, ${server_closed} closed, ${connect_failed} never connected to`);
    if (can.passesResetsOn) assertEquals(server_closed, 0); // others may learn of a reset by writing, and not tell it from a close
  },

  async "urgent data is not mistaken for an end"(kind, can) {
    const heard = new Map<number, (got: Received) => void>();
    const question = new TextEncoder().encode("?");
    const trials = [0, 10, 2 * MIB].flatMap((before) =>
      [0, 10, 2 * MIB].flatMap((after) =>
        [true, false].flatMap((isAlone) => [true, false].map((fromClient) => ({ before, after, isAlone, fromClient })))
      )
    );
    let current = trials[0];
    await using server = startRawServer(async (socket) => {
      if (current.fromClient) heard.get(0)!(await receiveAll(socket));
      else await socket.drain();
      if (current.fromClient) await socket.sendAll(question);
      else await sendWithUrgent(socket, current);
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)], PATIENT);
    for (const trial of trials) {
      current = trial;
      const arrived = Promise.withResolvers<Received>();
      heard.set(0, arrived.resolve);
      using client = await RawSocket.connect(test.address);
      await (trial.fromClient ? sendWithUrgent(client, trial) : client.sendAll(question));
      client.closeWrite();
      const answer = await soon(receiveAll(client), `the client's end of ${JSON.stringify(trial)}`);
      assertUrgent(trial.fromClient ? await soon(arrived.promise, "the server's end") : answer, trial, can);
      if (trial.fromClient) assertEquals(answer, { bytes: question, outcome: "end" }, JSON.stringify(trial));
      assertEquals((await test.ended.take()).fate, "done", JSON.stringify(trial));
    }
  },

  async "single bytes each way at once arrive in order"(kind) {
    const count = many(2000);
    const talk = async (socket: RawSocket, from: number) => {
      socket.setNoDelay();
      for (let i = 0; i < count; i++) {
        assertEquals(await socket.sendAll(POOL.subarray(from + i, from + i + 1)), undefined);
        if (i % 8 === 7) await turn(0);
      }
      socket.closeWrite();
    };
    const hear = async (socket: RawSocket, from: number) => {
      const arrived = new Arrivals(POOL.subarray(from, from + count));
      assertEquals(await socket.drain((chunk) => arrived.take(chunk)), "end");
      arrived.assertWhole();
    };
    const served = Promise.withResolvers<void>();
    await using server = startRawServer(async (socket) => {
      await Promise.all([talk(socket, count), hear(socket, 0)]).then(() => served.resolve(), served.reject);
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)], PATIENT);
    using client = await RawSocket.connect(test.address);
    await soon(Promise.all([talk(client, 0), hear(client, count), served.promise]), "all bytes");
    const { fate, sentBytes, receivedBytes } = await test.ended.take();
    assertEquals({ fate, sentBytes, receivedBytes }, { fate: "done", sentBytes: count, receivedBytes: count });
  },

  async "a slow reader on either side gets all"(kind) {
    const readSlowly = async (socket: RawSocket) => {
      const arrived = new Arrivals(POOL);
      while (true) {
        const got = socket.recv(64 * KIB);
        if (typeof got !== "string") arrived.take(got);
        else if (got !== "empty") return assertEquals({ got, count: arrived.count }, { got: "end", count: POOL.length });
        await turn();
      }
    };
    const uploaded = Promise.withResolvers<void>();
    const question = Uint8Array.of(0);
    await using server = startRawServer(async (socket) => {
      let first = socket.recv(1);
      for (; first === "empty"; first = socket.recv(1)) await turn();
      if (first === "end") await socket.sendAll(POOL);
      else await readSlowly(socket).then(uploaded.resolve, uploaded.reject);
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)], PATIENT);
    const download = async () => {
      using client = await RawSocket.connect(test.address, { receiveBufferBytes: 64 * KIB });
      client.closeWrite();
      await readSlowly(client);
    };
    const upload = async () => {
      using client = await RawSocket.connect(test.address);
      await client.sendAll(question);
      assertEquals(await client.sendAll(POOL), undefined);
      client.closeWrite();
      assertEquals(await client.drain(), "end");
    };
    await soon(Promise.all([download(), upload(), uploaded.promise]), "slow readers");
    assertEquals(await settled(test, 2), { done: 2 });
    assertEquals([test.counters.getOf(0, "sentBytes"), test.counters.getOf(0, "receivedBytes")], [POOL.length + 1, POOL.length]);
  },

  async "50 senders without end whom nobody reads from cost no memory"(kind) {
    const sides = 25;
    let over = false;
    const push = async (socket: RawSocket) => {
      while (!over && await Promise.race([socket.sendAll(POOL), until(() => over, "the end", CASE_MAX_MS)]) === undefined);
    };
    let accepted = 0;
    await using server = startRawServer(async (socket) => {
      if (accepted++ % 2 === 0) await push(socket);
      else await until(() => over, "the end", CASE_MAX_MS);
    }, ETHERNET);
    await using test = startEngine(kind, [tableServer(server.address, 0)], PATIENT);
    const before = residentBytes();
    const clients: RawSocket[] = [];
    const pushing: Promise<void>[] = [];
    for (let i = 0; i < 2 * sides; i++) {
      const client = await RawSocket.connect(test.address, ETHERNET);
      clients.push(client);
      await until(() => accepted > i, "the server to be reached");
      if (i % 2 === 1) pushing.push(push(client));
    }
    await standstill(() => test.counters.getOf(0, "sentBytes") + test.counters.getOf(0, "receivedBytes"));
    const growth = await mostGrowth(before, 1000);
    over = true;
    for (const client of clients) client.reset();
    await soon(Promise.all(pushing), "the senders");
    assert(growth < SLACK_BYTES, `${mib(growth)} more while ${2 * sides} senders stood still`);
    assertEquals(sum(await settled(test, 2 * sides)), 2 * sides);
  },

  async "clients who read nothing hold up nobody, nor much memory"(kind, can) {
    const count = many(400);
    const pushing = new Set<RawSocket>();
    const over = Promise.withResolvers<void>();
    let pushedBytes = 0;
    await using server = startRawServer(async (socket) => {
      let first = socket.recv(1);
      for (; first === "empty"; first = socket.recv(1)) await turn();
      if (typeof first === "string") return;
      if (first[0] === ECHO[0]) return void await socket.drain((chunk) => socket.send(chunk));
      pushing.add(socket);
      await over.promise;
    }, SMALL);
    await using test = startEngine(kind, [tableServer(server.address, 0)], PATIENT);
    const before = residentBytes();
    const clients = [];
    for (let i = 0; i < count; i++) {
      const client = await RawSocket.connect(test.address, SMALL);
      client.send(PUSH);
      clients.push(client);
    }
    await until(() => pushing.size === count, "the server to have all clients");
    const push = setInterval(() => {
      for (const socket of pushing) {
        const sent = socket.send(POOL.subarray(0, 16 * KIB));
        if (typeof sent === "number") pushedBytes += sent;
      }
    }, 10);
    await standstill(() => pushedBytes);
    for (let i = 0; i < 20; i++) {
      using client = await soon(connect(test.address), "another client's connection");
      const bytes = POOL.subarray(i * 1000, i * 1000 + 999);
      await writeAll(client, ECHO);
      await writeAll(client, bytes);
      new Arrivals(bytes).take(await soon(readBytes(client, bytes.length), "another client's answer"));
      await client.closeWrite();
      assertEquals(await soon(client.read(new Uint8Array(1)), "another client's end"), null);
    }
    const growth = await mostGrowth(before, 200);
    for (const [i, client] of clients.entries()) i % 2 === 0 ? client.close() : client.reset();
    const fates = await settled(test, count + 20);
    clearInterval(push);
    over.resolve();
    const most = count * can.connectionBytesMax + SLACK_BYTES;
    assert(growth < most, `${mib(growth)} more for ${count} clients who read nothing`);
    assertEquals({ done: fates.done, failed: fates.failed }, { done: 20, failed: undefined }, JSON.stringify(fates));
  },

  async "3 MiB arrive after the other side's end, whichever side ends first"(kind) {
    const [first, second] = [POOL.subarray(0, MIB), POOL.subarray(MIB, 4 * MIB)];
    const hear = async (socket: RawSocket, sent: Uint8Array) => {
      const arrived = new Arrivals(sent);
      assertEquals(await socket.drain((chunk) => arrived.take(chunk)), "end");
      arrived.assertWhole();
    };
    const beginner = async (socket: RawSocket) => {
      assertEquals(await socket.sendAll(first), undefined);
      socket.closeWrite();
      await hear(socket, second);
    };
    const follower = async (socket: RawSocket) => {
      await hear(socket, first);
      assertEquals(await socket.sendAll(second), undefined);
      socket.closeWrite();
    };
    for (const [client, server] of [[beginner, follower], [follower, beginner]]) {
      const served = Promise.withResolvers<void>();
      await using serving = startRawServer((socket) => server(socket).then(served.resolve, served.reject));
      await using test = startEngine(kind, [tableServer(serving.address, 0)], PATIENT);
      using socket = await RawSocket.connect(test.address);
      await soon(Promise.all([client(socket), served.promise]), "both sides");
      assertEquals((await test.ended.take()).fate, "done");
    }
  },

  async "idle connections are there when they are needed"(kind) {
    // Here as in the peer: two for each.
    const count = Math.min(many(4000), Math.floor(((await readSystemLimits()).descriptors - 500) / 2));
    const script = new URL("../idle_peer.ts", import.meta.url).pathname;
    const args = ["run", "-q", "--no-prompt", "-A", script];
    const peer = new Deno.Command(Deno.execPath(), { args, stdin: "piped", stdout: "piped" }).spawn();
    const said = peer.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const orders = peer.stdin.getWriter();
    const hears = async () => (await soon(said.read(), "the peer", 2 * WAIT_MAX_MS)).value?.trim();
    const tell = (order: string) => orders.write(new TextEncoder().encode(`${order}\n`));
    try {
      const address = { host: "127.0.0.1", port: Number(await hears()) };
      await using test = startEngine(kind, [tableServer(address, 0)], PATIENT);
      await tell(`${test.address.port} ${count}`);
      assertEquals(await hears(), "open");
      assertEquals(test.counters.get("open"), count);
      await tell("echo");
      assertEquals(await hears(), "echoed");
      assertEquals([test.counters.getOf(0, "sentBytes"), test.counters.getOf(0, "receivedBytes")], [count, count]);
      await tell("close");
      assertEquals(await settled(test, count), { done: count });
    } finally {
      await orders.close().catch(() => {}); // it ends then
      await said.cancel();
      await soon(peer.status, "the peer's end");
    }
  },

  async "a storm of resets touches nobody else"(kind) {
    const servers = await Promise.all([0, 1, 2, 3].map(() => startServer(echo)));
    await using _servers = disposeAll(servers);
    await using test = startEngine(kind, servers.map(({ address }, slot) => tableServer(address, slot)), PATIENT);
    const endMs = performance.now() + STORM_MS;
    let [made, served] = [0, 0];
    const lag = () => made + served - test.counters.get("accepted") - test.counters.get("gone");
    const rage = async (random: Random) => {
      while (performance.now() < endMs) {
        // A full queue of the listener's would drop good clients too.
        for (let turns = 0; lag() > 500 && turns < 50; turns++) await turn();
        const sockets = Array.from({ length: 1 + random.below(16) }, () => RawSocket.begin(test.address));
        made += sockets.length;
        for (const socket of sockets) if (random.below(3) > 0) socket.send(POOL.subarray(0, 1 + random.below(3000)));
        if (random.below(2) === 0) await turn(random.below(4));
        for (const socket of sockets) {
          if (random.below(4) === 0) socket.closeWrite();
          if (random.below(8) === 0) socket.close();
          else socket.reset();
        }
        await turn(0);
      }
    };
    const behave = async (random: Random) => {
      while (performance.now() < endMs) {
        served++;
        await echoOnce(test.address, random.slice(1 + random.below(8000)), 1 + random.below(3));
      }
    };
    await withSeed(() =>
      Promise.all([
        ...Array.from({ length: 6 }, (_, i) => rage(new Random(SEED + i))),
        ...Array.from({ length: 16 }, (_, i) => behave(new Random(SEED + 100 + i))),
      ])
    );
    await until(() => test.counters.get("open") === 0, "all connections to end");
    assertFatesAddUp(test.counters);
    assertEquals(test.counters.get("failed"), 0);
    assert(test.counters.get("done") >= served, `${test.counters.get("done")} done of ${served} that were served`);
    assert(test.counters.get("accepted") + test.counters.get("gone") <= made + served);
  },

  async "tables are published, and no client notices"(kind) {
    const tables = many(80);
    const servers = await Promise.all([0, 1, 2, 3, 4, 5].map(() => startServer(echo)));
    await using _servers = disposeAll(servers);
    await using test = startEngine(kind, [tableServer(servers[0].address, 0)], PATIENT);
    let over = false;
    const talk = async (random: Random) => {
      while (!over) await echoOnce(test.address, random.slice(1 + random.below(8000)), 1 + random.below(5));
    };
    const publish = async (random: Random) => {
      for (let i = 0; i < tables; i++) {
        const always = random.below(servers.length);
        const chosen = servers.map(({ address }, slot) => tableServer(address, slot, { weight: 1 + random.below(9) }));
        const small = chosen.filter((_, slot) => slot === always || random.below(2) === 0);
        await test.publish(i % 18 === 9 ? crowdOf(small.slice(0, 2), test.counters.slots) : small);
        const before = test.counters.get("accepted");
        await until(() => test.counters.get("accepted") > before, "a client under the new table");
      }
      over = true;
    };
    await withSeed(() =>
      Promise.all([
        publish(new Random(SEED)).finally(() => over = true),
        ...Array.from({ length: 50 }, (_, i) => talk(new Random(SEED + i + 1))),
      ])
    );
    const { done, ...others } = await settled(test, test.counters.get("accepted"));
    assert(done! >= tables);
    assertEquals(others, {});
  },

  async "stop in the middle of transfers lets them finish whole, and takes nobody new"(kind) {
    const count = 20;
    await using server = startServer(echo);
    const stopping = Promise.withResolvers<void>();
    await using test = startEngine(kind, [tableServer(server.address, 0)], PATIENT);
    let halfway = 0;
    const transfers = Array.from({ length: count }, async (_, i) => {
      using client = await connect(test.address);
      const sent = POOL.subarray(i * 100, i * 100 + 2 * MIB);
      const arrived = new Arrivals(sent);
      const sending = (async () => {
        await writeAll(client, sent.subarray(0, MIB));
        halfway++;
        await stopping.promise;
        await writeAll(client, sent.subarray(MIB));
        await client.closeWrite();
      })();
      for await (const chunk of readChunks(client)) arrived.take(chunk);
      await sending;
      arrived.assertWhole();
    });
    await until(() => halfway === count, "the first halves");
    const stopped = test.engine.stop(60_000);
    for (let refused = false; !refused; await turn()) {
      refused = await soon(connect(test.address).then((late) => (close(late), false), () => true), "a late client");
    }
    assert(test.counters.get("open") >= count);
    stopping.resolve();
    await soon(Promise.all(transfers), "the transfers");
    await soon(stopped, "the engine to stop");
    assertEquals(test.counters.get("open"), 0);
    assertFatesAddUp(test.counters);
    assertEquals(test.counters.get("done") + test.counters.get("client_gone"), test.counters.get("accepted"));
    assert(test.counters.get("done") >= count);
  },

  async "random transfers arrive byte for byte"(kind, can) {
    const count = many(800);
    const plans = Array.from({ length: count }, (_, index) => new Plan(index));
    const served = plans.map(() => Promise.withResolvers<void>());
    let playing = 0;
    await using server = startRawServer(async (socket) => {
      const header: number[] = [];
      while (header.length < HEADER_BYTES) {
        const got = socket.recv(HEADER_BYTES - header.length);
        if (got === "empty") await turn();
        else if (typeof got === "string") return; // reset before it had said who it is
        else header.push(...got);
      }
      const index = header[0] | header[1] << 8;
      playing++;
      await plans[index].play(socket, "server", can).then(served[index].resolve, served[index].reject);
      playing--;
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)], PATIENT);
    await withSeed(() =>
      atATime(40, count, async (index) => {
        const plan = plans[index];
        using socket = await RawSocket.connect(test.address);
        await socket.sendAll(Uint8Array.of(index, index >> 8));
        const client: Promise<unknown> = plan.play(socket, "client", can);
        // The server may never have heard.
        const both = plan.reset?.side === "client" ? client : Promise.all([client, served[index].promise]);
        await soon(both, `both sides of ${plan}`, 2 * WAIT_MAX_MS);
      })
    );
    await until(() => sum(fatesOf(test)) + test.counters.get("gone") === count, `${count} fates`);
    await until(() => playing === 0, "the servers of clients who reset to be told");
    assertEquals(test.counters.get("open"), 0);
    const { done = 0, client_gone = 0, server_lost = 0, server_closed = 0, ...others } = fatesOf(test);
    assertEquals(others, {});
    const whole = plans.filter(({ reset }) => reset === undefined).length;
    assert(
      done >= whole,
      `${done} done of ${whole}; ${client_gone} clients gone, ${server_lost} servers lost, ${server_closed} closed`,
    );
  },
};

/** Numbers that are the same for the same seed. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed + 1, 0x9e3779b1) >>> 0 || 1;
  }

  /** From 0 to limit - 1. */
  below(limit: number): number {
    this.#state ^= this.#state << 13; // xorshift32 (Marsaglia, 2003)
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }

  /** A part of the pool. */
  slice(size: number): Uint8Array {
    const start = this.below(POOL.length - size);
    return POOL.subarray(start, start + size);
  }
}

type Side = "client" | "server";

const HEADER_BYTES = 2;

/** Sizes of random transfers: how many in a hundred are below what. */
const SIZES: readonly [percent: number, below: number][] = [[10, 1], [55, 2 * KIB], [26, 64 * KIB], [6, 500 * KIB], [3, 3_000_000]];
/** A transfer sends in pieces of random sizes below one of these, so that it takes no more than some hundred. */
const PIECE_SIZES = [10, 500, 5 * KIB, 64 * KIB, 300 * KIB] as const;
const PIECES_MAX = 500;

/** One random transfer: what each side sends, when it ends its half, and whether one resets. The same for the same seed. */
class Plan {
  readonly sent: Readonly<Record<Side, Uint8Array>>;
  /** The side that ends its half first, while the other waits for that end; undefined: both send at once. */
  readonly first: Side | undefined;
  /** The side that resets, once it has sent or received so many bytes. */
  readonly reset: { readonly side: Side; readonly afterBytes: number } | undefined;

  constructor(readonly index: number) {
    const random = new Random(SEED + index * 7919);
    this.sent = { client: random.slice(someSize(random)), server: random.slice(someSize(random)) };
    this.first = ([undefined, "client", "server"] as const)[random.below(3)];
    const side = random.below(2) === 0 ? "client" : "server";
    const afterBytes = random.below(this.sent.client.length + this.sent.server.length + 1);
    this.reset = random.below(8) === 0 ? { side, afterBytes } : undefined;
  }

  /** Plays one side on its socket, to the end. */
  async play(socket: RawSocket, side: Side, can: Ability): Promise<void> {
    const other = side === "client" ? "server" : "client";
    const random = new Random(SEED + this.index * 2 + (side === "client" ? 0 : 1));
    const resetAt = this.reset?.side === side ? this.reset.afterBytes : Infinity;
    const otherEnded = Promise.withResolvers<void>();
    const arrived = new Arrivals(this.sent[other]);
    const progress = { sent: 0, over: false };
    const resetIfDue = () => {
      if (progress.over || progress.sent + arrived.count < resetAt) return;
      progress.over = true;
      socket.reset();
    };
    const hearing = (async () => {
      let outcome: "end" | Errno | undefined;
      while (outcome === undefined && !progress.over) {
        const got = socket.recv(1 + random.below(64 * KIB));
        if (got === "empty") await turn(0);
        else if (typeof got === "string") outcome = got;
        else arrived.take(got);
        resetIfDue();
      }
      otherEnded.resolve();
      return outcome ?? "reset";
    })();
    const speaking = (async () => {
      if (this.first === other) await otherEnded.promise;
      for await (const piece of piecesOf(this.sent[side], random)) {
        if (progress.over) return;
        const isLast = progress.sent + piece.length === this.sent[side].length;
        const failed = await this.#send(socket, piece, !isLast && random.below(20) === 0 ? MSG_MORE : 0, progress);
        if (failed !== undefined) return failed;
        resetIfDue();
      }
      if (!progress.over) socket.closeWrite();
    })();
    const [outcome, failed] = await Promise.all([hearing, speaking]);
    const expected = ["end", undefined, this.sent[other].length];
    if (this.reset === undefined) assertEquals([outcome, failed, arrived.count], expected, `${side} of ${this}`);
    else if (outcome === "end" && can.passesResetsOn) arrived.assertWhole(`${other}'s part of ${this}`);
    if (this.reset?.side === side) socket.reset();
  }

  toString(): string {
    const { index, sent: { client, server }, first = "nobody", reset } = this;
    const resets = reset === undefined ? "nobody" : `${reset.side} after ${reset.afterBytes}`;
    return `transfer ${index} (${client.length} up, ${server.length} down, ends first: ${first}, resets: ${resets})`;
  }

  async #send(
    socket: RawSocket,
    piece: Uint8Array,
    flags: number,
    progress: { sent: number; over: boolean },
  ): Promise<Errno | undefined> {
    for (let sent = 0; sent < piece.length && !progress.over;) {
      const count = socket.send(piece.subarray(sent), flags);
      if (count === "full") await turn();
      else if (typeof count === "string") return count;
      else {
        sent += count;
        progress.sent += count;
      }
    }
  }
}

/** Many small sizes, few large ones. */
function someSize(random: Random): number {
  let percent = random.below(100);
  for (const [share, below] of SIZES) {
    if (percent < share) return random.below(below);
    percent -= share;
  }
  return 0;
}

/** Pieces of random sizes, with a short pause now and then. */
async function* piecesOf(bytes: Uint8Array, random: Random): AsyncGenerator<Uint8Array> {
  const sizes = PIECE_SIZES.filter((size) => bytes.length / size < PIECES_MAX / 2);
  const size = sizes[random.below(sizes.length)];
  for (let start = 0, end = 0; start < bytes.length; start = end) {
    end = Math.min(bytes.length, start + 1 + random.below(size));
    yield bytes.subarray(start, end);
    if (random.below(20) === 0) await turn(random.below(4));
  }
}

interface Received {
  readonly bytes: Uint8Array;
  readonly outcome: "end" | Errno;
}

/** Everything that arrives. */
async function receiveAll(socket: RawSocket): Promise<Received> {
  let bytes = new Uint8Array(5 * MIB);
  let count = 0;
  const outcome = await socket.drain((chunk) => {
    bytes.set(chunk, count);
    count += chunk.length;
  });
  bytes = bytes.subarray(0, count);
  return { bytes, outcome };
}

/** Bytes around one urgent byte, which arrives alone or together with what is around it. */
interface Urgent {
  readonly before: number;
  readonly after: number;
  readonly isAlone: boolean;
}

const URGENT = Uint8Array.of(0x21);

async function sendWithUrgent(socket: RawSocket, { before, after, isAlone }: Urgent): Promise<void> {
  await socket.sendAll(POOL.subarray(0, before));
  if (isAlone) { for (let turns = 0; turns < 5; turns++) await turn(); }
  await socket.sendAll(URGENT, MSG_OOB);
  if (isAlone) { for (let turns = 0; turns < 5; turns++) await turn(); }
  await socket.sendAll(POOL.subarray(before, before + after));
}

function assertUrgent({ bytes, outcome }: Received, trial: Urgent, can: Ability): void {
  const { before, after } = trial;
  const told = JSON.stringify(trial);
  assertEquals(outcome, "end", told);
  const hasUrgent = bytes.length === before + 1 + after;
  assert(hasUrgent || !can.keepsUrgentData && bytes.length === before + after, `${bytes.length} bytes of ${told} arrived`);
  if (hasUrgent) assertEquals(bytes[before], URGENT[0], told);
  new Arrivals(POOL.subarray(0, before)).take(bytes.subarray(0, before));
  new Arrivals(POOL.subarray(before, before + after)).take(bytes.subarray(bytes.length - after));
}

/** A reset, in engines that pass it on; in others anything that ends the connection. */
function assertWasReset(outcome: "end" | Errno, can: Ability): void {
  if (can.passesResetsOn) assert(outcome === "ECONNRESET" || outcome === "EPIPE", `${outcome} in place of a reset`);
}

/** A client that has its bytes echoed, in so many rounds, and ends; it gets its own and nobody else's, and then an end. */
async function echoOnce(address: Address, bytes: Uint8Array, rounds: number): Promise<void> {
  using client = await soon(connect(address), "a connection");
  for (let round = 0; round < rounds; round++) {
    const [got] = await soon(Promise.all([readBytes(client, bytes.length), writeAll(client, bytes)]), `round ${round} of an echo`);
    new Arrivals(bytes).take(got);
  }
  await client.closeWrite();
  assertEquals(await soon(client.read(new Uint8Array(1)), "the end of an echo"), null);
}

/** Real servers among so many that nobody dials, for they may have no connection, that the table has 10,000. */
function crowdOf(real: readonly TableServer[], slots: number): TableServer[] {
  const heavy = real.map((server) => ({ ...server, weight: 256 }));
  const nobody = Array.from({ length: 10_000 - real.length }, (_, i) => {
    const address = { host: `127.9.${i >> 8}.${i & 255}`, port: 9 };
    return tableServer(address, 10 + i % (slots - 10), { connectionsMax: 0 });
  });
  return [...heavy, ...nobody];
}

/** How often each fate was met, without those that never were. */
function fatesOf({ counters }: TestEngine): Partial<Record<Fate, number>> {
  const names = Object.keys(FATES) as Fate[];
  return Object.fromEntries(names.map((fate) => [fate, counters.get(fate)] as const).filter(([, count]) => count > 0));
}

function sum(fates: Partial<Record<Fate, number>>): number {
  return Object.values(fates).reduce((a, b) => a + b, 0);
}

/** The fates, once all of so many connections have theirs. */
async function settled(test: TestEngine, count: number): Promise<Partial<Record<Fate, number>>> {
  const isSettled = () => test.counters.get("open") === 0 && sum(fatesOf(test)) >= count;
  await until(isSettled, `${count} fates`).catch((error) => {
    throw new Error(`${messageOf(error)}: ${JSON.stringify(fatesOf(test))}, ${test.counters.get("open")} open`);
  });
  assertFatesAddUp(test.counters);
  assertEquals(sum(fatesOf(test)), count, "one fate for each connection");
  return fatesOf(test);
}

/** Resolves when the number is above 0 and does not change any more. */
async function standstill(read: () => number): Promise<void> {
  let [last, turns] = [0, 0];
  await until(() => {
    const now = read();
    turns = now === last && now > 0 ? turns + 1 : 0;
    last = now;
    return turns > 150;
  }, "nothing to move any more");
}

/** Runs it so many times, some of them at a time. */
async function atATime(some: number, count: number, run: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: some }, async () => {
    while (next < count) await run(next++);
  }));
}

function disposeAll(servers: readonly AsyncDisposable[]): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
    },
  };
}

async function withSeed(run: () => Promise<unknown>): Promise<void> {
  await run().catch((error) => {
    throw new Error(`With BALANCER_TEST_SEED=${SEED}: ${messageOf(error)}`, { cause: error });
  });
}

/** Memory of the process, what is garbage left out. */
function residentBytes(): number {
  (globalThis as { gc?: () => void }).gc?.();
  return Deno.memoryUsage().rss;
}

/** By how much memory has grown at the most, looked at again and again for so long. */
async function mostGrowth(before: number, ms: number): Promise<number> {
  let most = 0;
  for (const endMs = performance.now() + ms; performance.now() < endMs; await turn(50)) {
    most = Math.max(most, residentBytes() - before);
  }
  return most;
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}

/**
 * What this process has open, by number, as the system names it. Unix sockets are left out: no engine has any, and the runtime
 * opens a pair of its own some time after its start.
 */
function openDescriptors(): Map<string, string> {
  const unix = Deno.readTextFileSync("/proc/net/unix");
  const open = new Map<string, string>();
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      const link = Deno.readLinkSync(`/proc/self/fd/${name}`);
      const [, inode] = link.match(/^socket:\[(\d+)\]$/) ?? [];
      if (inode === undefined || !unix.includes(` ${inode}`)) open.set(name, link);
    } catch { /* closed meanwhile: it was the folder's own */ }
  }
  return open;
}

/** Runs a case, and sees that it leaves no descriptor behind. */
async function runCase(name: string, title: string): Promise<void> {
  const kind = (ENGINES as Record<string, EngineKind>)[name];
  await readSystemLimits(); // the first child process makes the runtime open descriptors that it keeps, as does the first worker
  await startEngine(kind, [], { workers: 2 })[Symbol.asyncDispose]();
  const before = openDescriptors();
  await CASES[title](kind, abilityOf(kind));
  let after = openDescriptors();
  for (const endMs = performance.now() + SETTLE_MAX_MS; after.size > before.size && performance.now() < endMs; await turn()) {
    after = openDescriptors();
  }
  const more = [...after].filter(([descriptor, link]) => before.get(descriptor) !== link).map(([, link]) => link);
  assert(after.size <= before.size, `${after.size} descriptors are open, ${before.size} were before; new ones: ${more.join(", ")}`);
}

/** Has a process of its own run a case. */
async function runInProcess(name: string, title: string): Promise<void> {
  const args = ["run", "-q", "--no-prompt", "-A", "--v8-flags=--expose-gc", import.meta.filename!, RUN_CASE, name, title];
  const signal = AbortSignal.timeout(CASE_MAX_MS);
  const command = new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "piped", stderr: "piped", signal });
  const { success, stdout, stderr } = await command.output();
  const told = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("");
  assert(success, signal.aborted ? `It took longer than ${CASE_MAX_MS} ms: ${told}` : told);
}

/** The first argument of a process that runs a case. */
const RUN_CASE = "run-case";

if (Deno.args[0] === RUN_CASE) {
  await runCase(Deno.args[1], Deno.args[2]);
} else {
  for (const [name, kind] of Object.entries(ENGINES)) {
    const ignore = !HAS_RAW_SOCKETS || kind.unsupported() !== undefined;
    for (const title of Object.keys(CASES)) {
      Deno.test({ name: `[${name}] ${title}`, ignore, fn: () => runInProcess(name, title) });
    }
  }
}
