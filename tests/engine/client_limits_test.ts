// Limits and lists of clients, over every row of ENGINES: who is refused, that all workers count together, and that whoever was
// counted is counted back, whatever the end.

import { assert, assertEquals, assertLess } from "@std/assert";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import type { ClientLists } from "../../lib/routing/client_limits.ts";
import { ipBytes } from "../../lib/values/address.ts";
import { parseCidrs } from "../../lib/values/cidr_list.ts";
import { parseClientConnections, parseClientRate } from "../../lib/values/client_limits.ts";
import type { Fate } from "../../lib/values/fates.ts";
import { writeProxyHeader } from "../../lib/values/proxy_header.ts";
import {
  ask,
  askFrom,
  close,
  connect,
  connectNode,
  echo,
  hold,
  readBytes,
  readText,
  sayName,
  soon,
  startEngine,
  startResettingServer,
  startServer,
  tableServer,
  type TestEngine,
  type TestEngineOptions,
  type TestServer,
  unusedAddress,
  writeAll,
  writeText,
} from "../helpers.ts";
import { turn, until } from "../raw_socket.ts";

/** In which window clients have arrived does not matter here. */
const WINDOW = { nowMs: 0, number: 0, lengthMs: 1000 };

type Case = (kind: EngineKind) => Promise<void>;

function connections(text: string): TestEngineOptions {
  return { clientConnections: parseClientConnections(text, 1000) };
}

function rate(text: string): TestEngineOptions {
  return { clientRate: parseClientRate(text, 1000) };
}

function lists(allow: string | undefined, deny: string | undefined): ClientLists {
  const parse = (list: string | undefined) => list === undefined ? undefined : parseCidrs(list, 100);
  return { allow: parse(allow), deny: parse(deny) };
}

function start(kind: EngineKind, server: Pick<TestServer, "address">, options: TestEngineOptions): TestEngine {
  return startEngine(kind, [tableServer(server.address, 0)], options);
}

/** A client whose connection is open to a server that echoes; undefined: it was refused. */
async function enter({ address }: TestEngine): Promise<Deno.TcpConn | undefined> {
  const client = await connect(address);
  try {
    await writeText(client, "x");
    if (await soon(client.read(new Uint8Array(1)), "an answer or an end") === 1) return client;
  } catch { /* reset: the engine closed it before it had read the byte */ }
  close(client);
}

/** How many connections the engine counts, of all clients. */
function counted({ clients }: TestEngine): number {
  return clients.top(1000, () => WINDOW).reduce((sum, { open }) => sum + open, 0);
}

async function assertCountedBack(test: TestEngine): Promise<void> {
  await until(() => test.counters.get("open") === 0, "all connections to end");
  assertEquals(counted(test), 0);
}

async function fatesOf({ ended }: TestEngine, count: number): Promise<Fate[]> {
  const fates: Fate[] = [];
  while (fates.length < count) fates.push((await ended.take()).fate);
  return fates.toSorted();
}

const CASES: Record<string, Case> = {
  async "a client that has its connections gets no more until one of them ends"(kind) {
    await using server = startServer(echo);
    await using test = start(kind, server, connections("2"));
    const clients = [await enter(test), await enter(test)];
    assert(clients.every((client) => client !== undefined));
    assertEquals(await enter(test), undefined);
    assertEquals(await fatesOf(test, 1), ["client_limit"]);
    assertEquals([server.accepted, counted(test)], [2, 2]);
    close(clients[0]!);
    await until(() => counted(test) === 1, "the connection to be counted back");
    const next = await enter(test);
    assert(next !== undefined);
    for (const client of [clients[1]!, next]) close(client);
    await assertCountedBack(test);
    const [{ sentBytes, receivedBytes, refusals }] = test.clients.top(1, () => WINDOW);
    assertEquals([sentBytes, receivedBytes, refusals], [3, 3, 1]);
  },

  async "all workers count together"(kind) {
    await using server = startServer(echo);
    await using test = start(kind, server, { ...connections("10"), workers: 4 });
    const clients = await Promise.all(Array.from({ length: 60 }, () => enter(test)));
    const open = clients.filter((client) => client !== undefined);
    assertEquals([open.length, server.accepted, counted(test)], [10, 10, 10]);
    for (const client of open) close(client);
    await assertCountedBack(test);
    assertEquals(test.counters.get("client_limit"), 50);
  },

  async "a client that comes too often is refused before a server is dialled"(kind) {
    await using server = startServer(sayName);
    await using test = start(kind, server, rate("5/1h"));
    const answers: string[] = [];
    for (let i = 0; i < 8; i++) answers.push(await ask(test.address).catch(() => ""));
    assertEquals(answers, [...Array(5).fill(server.name), "", "", ""]);
    assertEquals(server.accepted, 5);
    assertEquals(await fatesOf(test, 8), [...Array(3).fill("client_rate"), ...Array(5).fill("done")]);
    await assertCountedBack(test);
  },

  async "clients are counted by their prefix"(kind) {
    await using server = startServer(sayName);
    await using one = start(kind, server, rate("1/1h"));
    assertEquals(await askFrom("127.0.0.2", one.address), server.name);
    assertEquals(await askFrom("127.0.0.3", one.address), server.name);
    await using network = start(kind, server, rate("2/1h/24"));
    const from = (ip: string) => askFrom(ip, network.address).catch(() => "");
    assertEquals([await from("127.0.0.2"), await from("127.0.0.3"), await from("127.0.0.4")], [server.name, server.name, ""]);
    assertEquals(await from("127.0.1.2"), server.name);
  },

  async "limits with different prefixes count each for itself, and a refusal by one is none by the other"(kind) {
    await using server = startServer(echo);
    await using test = start(kind, server, { ...connections("3/24"), ...rate("2/1h") });
    const first = [await enter(test), await enter(test)];
    assertEquals(await enter(test), undefined); // by the rate
    assertEquals(await fatesOf(test, 1), ["client_rate"]);
    assertEquals(test.clients.top(9, () => WINDOW).map(({ open }) => open), [2, 2]);
    for (const client of first) close(client!);
    await assertCountedBack(test);
  },

  async "who is denied is refused, also if he is allowed; with --allow everybody else is"(kind) {
    await using server = startServer(sayName);
    await using test = start(kind, server, { lists: lists("127.0.0.0/24", "127.0.0.2,10.0.0.0/8") });
    const from = (ip: string) => askFrom(ip, test.address).catch(() => "");
    assertEquals([await from("127.0.0.1"), await from("127.0.0.2"), await from("127.0.1.1")], [server.name, "", ""]);
    assertEquals(await fatesOf(test, 3), ["denied", "denied", "done"]);
    assertEquals(server.accepted, 1);
  },

  async "new lists hold for new clients; open connections stay"(kind) {
    await using server = startServer(echo);
    await using test = start(kind, server, { lists: lists(undefined, undefined) });
    using before = (await enter(test))!;
    for (let i = 0; i < 3; i++) {
      await test.setLists(lists(undefined, "127.0.0.0/8"));
      assertEquals(await enter(test), undefined);
      await test.setLists(lists("127.0.0.1", undefined));
      close((await enter(test))!);
    }
    await writeText(before, "y");
    assertEquals(await readBytes(before, 1), new TextEncoder().encode("y"));
    await test.publish([tableServer(server.address, 0)]);
    close((await enter(test))!);
  },

  async "in a dry run nobody is refused, and everybody who would be is told of"(kind) {
    await using server = startServer(echo);
    const options = { ...connections("1"), ...rate("2/1h"), limitsDryRun: true, lists: lists(undefined, "127.0.0.9") };
    await using test = start(kind, server, options);
    const clients = [await enter(test), await enter(test)];
    assertEquals((await test.wouldBeRefused.take()).refusal, "client_limit");
    for (const client of clients) close(client!);
    await assertCountedBack(test);
    const refusals: string[] = [];
    for (let i = 0; i < 3; i++) {
      close((await enter(test))!);
      await assertCountedBack(test);
    }
    for (let i = 0; i < 2; i++) refusals.push((await test.wouldBeRefused.take()).refusal);
    assertEquals(refusals, ["client_rate", "client_rate"]);
    assertEquals(await askFrom("127.0.0.9", test.address, "hi"), "hi");
    const { client, refusal } = await test.wouldBeRefused.take();
    assert(client.startsWith("127.0.0.9:"), client);
    assertEquals([refusal, test.counters.get("wouldBeRefused"), server.accepted], ["denied", 4, 6]);
    await assertCountedBack(test);
    assertEquals(await fatesOf(test, 6), Array(6).fill("done"));
  },

  async "whoever was counted is counted back, whatever the end"(kind) {
    await using held = startServer(hold);
    await using resetting = await startResettingServer();
    await using test = start(kind, held, { ...connections("100"), idleTimeoutMs: 1000 });
    const resetter = await connectNode(test.address);
    await until(() => held.accepted === 1, "the connection");
    resetter.resetAndDestroy();
    using idle = await connect(test.address);
    assertEquals(await soon(readText(idle), "the idle timeout"), "");
    await test.publish([tableServer(resetting.address, 1)]);
    using cut = await connect(test.address);
    await writeText(cut, "x");
    await readText(cut).catch(() => "");
    await test.publish([tableServer(unusedAddress(), 2)]);
    assertEquals(await ask(test.address).catch(() => ""), "");
    await test.publish([]);
    assertEquals(await ask(test.address).catch(() => ""), "");
    const fates = await fatesOf(test, 5);
    assertEquals(fates.filter((fate) => fate !== "done").length, 5, fates.join());
    await assertCountedBack(test);
  },

  async "whoever is open when the engine stops is counted back"(kind) {
    await using server = startServer(echo);
    await using test = start(kind, server, connections("5"));
    using _client = (await enter(test))!;
    assertEquals(counted(test), 1);
    await test.engine.stop(0);
    assertEquals(counted(test), 0);
  },

  async "an IPv4 client of an IPv6 listener is an IPv4 client"(kind) {
    await using server = startServer(sayName);
    const host = "::";
    await using listed = start(kind, server, { host, lists: lists(undefined, "127.0.0.1") });
    const address = { host: "127.0.0.1", port: listed.address.port };
    assertEquals(await ask(address).catch(() => ""), "");
    assertEquals(await ask({ ...address, host: "::1" }).catch(() => "none"), server.name);
    await using counting = start(kind, server, { host, ...rate("1/1h/8,128") });
    await askFrom("127.0.0.1", { ...address, port: counting.address.port });
    assertEquals(await askFrom("127.1.0.1", { ...address, port: counting.address.port }).catch(() => ""), "");
  },

  async "behind a PROXY header its client is refused, and not the proxy"(kind) {
    await using server = startServer(echo);
    const options = { ...rate("1/1h"), acceptProxy: parseCidrs("127.0.0.0/8", 1), lists: lists(undefined, "198.51.100.0/24") };
    await using test = start(kind, server, options);
    const askFor = async (ip: string) => {
      using client = await connect(test.address);
      const header = writeProxyHeader("v2", {
        source: { ip: ipBytes(ip), port: 4711 },
        destination: { ip: ipBytes("203.0.113.1"), port: 80 },
        tlvs: new Uint8Array(),
        uniqueId: new Uint8Array(),
      });
      await writeAll(client, header);
      await writeText(client, "hi");
      await client.closeWrite().catch(() => {});
      return await soon(readText(client), "the answer").catch(() => "");
    };
    assertEquals([await askFor("192.0.2.1"), await askFor("192.0.2.2"), await askFor("192.0.2.1")], ["hi", "hi", ""]);
    assertEquals(await askFor("198.51.100.7"), "");
    assertEquals(await fatesOf(test, 4), ["client_rate", "denied", "done", "done"]);
    await assertCountedBack(test);
  },

  async "a client that sends nothing, and whose server sends nothing, is closed after the first-byte timeout"(kind) {
    await using server = startServer(echo);
    await using test = start(kind, server, { firstByteTimeoutMs: 600 });
    using silent = await connect(test.address);
    using speaking = (await enter(test))!;
    const startMs = performance.now();
    assertEquals(await soon(readText(silent), "the end"), "");
    assertLess(performance.now() - startMs, 10_000);
    assertEquals(await fatesOf(test, 1), ["first_byte_timeout"]);
    await turn(700);
    await writeText(speaking, "z");
    assertEquals(await readBytes(speaking, 1), new TextEncoder().encode("z"));
  },

  async "a server that speaks first keeps its client from the first-byte timeout"(kind) {
    await using server = startServer(async (socket) => {
      await writeText(socket, "220 hello");
      await hold(socket, 0);
    });
    await using test = start(kind, server, { firstByteTimeoutMs: 800 });
    using client = await connect(test.address);
    await readBytes(client, 9);
    await turn(1000);
    assertEquals([test.counters.get("open"), test.counters.get("first_byte_timeout")], [1, 0]);
  },
};

for (const [name, kind] of Object.entries(ENGINES)) {
  for (const [title, run] of Object.entries(CASES)) {
    Deno.test({ name: `[${name}] ${title}`, ignore: kind.unsupported() !== undefined, fn: () => run(kind) });
  }
}
