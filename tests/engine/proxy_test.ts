// The PROXY protocol in both directions, over every row of ENGINES: the header that a server gets, and the one that a client must
// or may not send.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { parseCidrs } from "../../lib/values/cidr_list.ts";
import { clientKey, formatAddress, ipBytes, parseKeyRule } from "../../lib/values/address.ts";
import {
  listTlvs,
  parseProxyHeader,
  type ProxyHeader,
  type ProxyVersion,
  writeLocalHeader,
  writeProxyHeader,
} from "../../lib/values/proxy_header.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import type { Fate } from "../../lib/values/fates.ts";
import { firstOnRing } from "../../lib/routing/ring.ts";
import { emptyTable, nextTable } from "../../lib/routing/routing_table.ts";
import { ask, close, connect, readText, soon, type TestEngine, writeAll, writeText } from "../helpers.ts";
import { turn, until } from "../raw_socket.ts";
import { answer, assertEnded, hear, IDLE, QUIET_MS, Server, start, UNANSWERED } from "./played.ts";

type Case = (kind: EngineKind) => Promise<void>;

const NOBODY = parseCidrs("192.0.2.0/24", 10);
const LOOPBACK = parseCidrs("127.0.0.0/8", 10);
const CLIENT = { ip: ipBytes("198.51.100.7"), port: 4711 };
const DESTINATION = { ip: ipBytes("203.0.113.1"), port: 443 };
/** The authority (SNI) and an empty TLV of a type that is free for everybody's use. */
const TLVS = Uint8Array.of(0x02, 0, 4, 0x68, 0x6f, 0x73, 0x74, 0xe0, 0, 0);
const encoder = new TextEncoder();

function headerOf(version: ProxyVersion, source = CLIENT, tlvs = TLVS): Uint8Array {
  return writeProxyHeader(version, { source, destination: DESTINATION, tlvs, uniqueId: encoder.encode("from before") });
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** A header that a server got, and what came behind it. */
interface Got {
  readonly header: ProxyHeader;
  readonly rest: string;
}

/** A server whose connections begin with a header, and what each of them got first. */
class Told {
  readonly connections: { text: string; say: (text: string) => void; reset: () => void }[] = [];
  readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  static async start(name = ""): Promise<Told> {
    const told: Told = new Told(
      await Server.start((served) => {
        const one = { text: "", say: (text: string) => served.say(text), reset: () => served.reset() };
        told.connections.push(one);
        served.onText = (text) => {
          one.text += text;
          const got = parseText(one.text);
          if (name !== "" && got !== undefined && got.rest !== "") served.say(`${name}:${got.rest}`);
        };
      }),
    );
    return told;
  }

  /** What connection number `index` got, once `bytes` have followed the header. */
  async got(index: number, bytes = 0): Promise<Got> {
    await until(() => (parseText(this.connections[index]?.text)?.rest.length ?? -1) >= bytes, `a header and ${bytes} bytes`);
    return parseText(this.connections[index].text)!;
  }
}

function parseText(text: string | undefined): Got | undefined {
  if (text === undefined) return undefined;
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  const parsed = parseProxyHeader(bytes);
  assert(parsed.kind !== "malformed", "a server got a malformed header");
  return parsed.kind === "incomplete" ? undefined : { header: parsed.header, rest: text.slice(parsed.length) };
}

function endpointOf(address: Deno.Addr) {
  const { hostname, port } = address as Deno.NetAddr;
  return { ip: ipBytes(hostname), port };
}

function startTold(kind: EngineKind, tolds: readonly Told[], proxy: ProxyVersion, options = {}): TestEngine {
  return start(kind, tolds.map(({ server }, slot) => ({ ...server.at(slot), proxy })), options);
}

/** The fates of clients that each send a row, one after the other, and end their half; headers are required, or refused. */
async function fatesOf(
  kind: EngineKind,
  rows: readonly Uint8Array[],
  acceptProxy = LOOPBACK,
): Promise<[Fate, string | undefined][]> {
  await using server = await Server.start();
  await using test = start(kind, [server.at(0)], { acceptProxy });
  const fates: [Fate, string | undefined][] = [];
  for (const bytes of rows) {
    using client = await connect(test.address);
    await writeAll(client, bytes);
    await client.closeWrite().catch(() => {});
    const { fate, server: name } = await test.ended.take();
    fates.push([fate, name]);
  }
  return fates;
}

const CASES: Record<string, Case> = {
  async "a server gets a line that names the client and where it connected to"(kind) {
    const told = await Told.start("a");
    await using _server = told.server;
    await using test = startTold(kind, [told], "v1");
    using client = await connect(test.address);
    await writeText(client, "hello");
    assertEquals(await hear(client, 7), "a:hello");
    const own = client.localAddr as Deno.NetAddr;
    assertEquals(told.connections[0].text, `PROXY TCP4 127.0.0.1 127.0.0.1 ${own.port} ${test.address.port}\r\nhello`);
  },

  async "a server gets a binary header with both addresses and the connection's id"(kind) {
    const told = await Told.start("a");
    await using _server = told.server;
    await using test = startTold(kind, [told], "v2");
    using client = await connect(test.address);
    await writeText(client, "hello");
    assertEquals(await hear(client, 7), "a:hello");
    const { header, rest } = await told.got(0, 5);
    assertEquals([header.source, header.destination], [endpointOf(client.localAddr), endpointOf(client.remoteAddr)]);
    assertMatch(new TextDecoder().decode(header.uniqueId), /^00000000000000ff-[0-9a-f]+$/);
    assertEquals(rest, "hello");
  },

  async "a server that speaks first gets the header before it speaks, and no id twice"(kind) {
    const told = await Told.start();
    await using _server = told.server;
    await using test = startTold(kind, [told], "v2");
    const ids = new Set<string>();
    for (let i = 0; i < 5; i++) {
      using client = await connect(test.address);
      ids.add(new TextDecoder().decode((await told.got(i)).header.uniqueId));
      told.connections[i].say("banner");
      assertEquals(await hear(client, 6), "banner");
      await writeText(client, "request");
      assertEquals((await told.got(i, 7)).rest, "request");
    }
    assertEquals(ids.size, 5);
  },

  async "the header counts for nothing: bytes of the connection are the client's"(kind) {
    const told = await Told.start("a");
    await using _server = told.server;
    await using test = startTold(kind, [told], "v2");
    const client = await connect(test.address);
    await writeText(client, "hello");
    assertEquals(await hear(client, 7), "a:hello");
    client.close();
    assertEnded(await test.ended.take(), { sentBytes: 5, receivedBytes: 7 });
    assertEquals(test.counters.getOf(0, "sentBytes"), 5);
  },

  async "a server known by name gets a header, too"(kind) {
    const told = await Told.start("a");
    await using _server = told.server;
    const address = { host: "localhost", port: told.server.address.port };
    await using test = start(kind, [{ ...told.server.at(0), name: formatAddress(address), address, proxy: "v1" }]);
    assertEquals(await ask(test.address, "hello"), "a:hello");
    assertMatch(told.connections[0].text, /^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 [0-9]+ [0-9]+\r\nhello$/);
  },

  async "after a replay the new server sees the real client, and the header is no part of what was replayed"(kind) {
    const [a, b] = [await Told.start(), await Told.start("b")];
    await using _a = a.server;
    await using _b = b.server;
    await using test = startTold(kind, [a], "v2", UNANSWERED);
    using client = await connect(test.address);
    await writeText(client, "question");
    const before = await a.got(0, 8);
    await test.publish([a.server.at(0), b.server.at(1)].map((server) => ({ ...server, proxy: "v2" as const })));
    a.connections[0].reset();
    assertEquals(await hear(client, 10), "b:question");
    const after = await b.got(0, 8);
    assertEquals(after, before);
    const { state, replayedBytes } = await test.moved.take();
    assertEquals([state, replayedBytes], ["unanswered", 8]);
  },

  async "a server that dies with nothing but the header was sent nothing: the connection moves at any level"(kind) {
    const a = await Told.start();
    await using _a = a.server;
    await using b = await Server.start(answer("b"));
    await using test = startTold(kind, [a], "v1", { redistribute: "new" });
    using client = await connect(test.address);
    await a.got(0);
    await test.publish([{ ...a.server.at(0), proxy: "v1" }, b.at(1)]);
    a.connections[0].reset();
    const { state, replayedBytes } = await test.moved.take();
    assertEquals([state, replayedBytes], ["unsent", 0]);
    await writeText(client, "hello");
    assertEquals(await hear(client, 7), "b:hello"); // this server wants no header
  },

  async "an idle connection that leaves a draining server announces its client to the next one"(kind) {
    const [a, b] = [await Told.start("a"), await Told.start("b")];
    await using _a = a.server;
    await using _b = b.server;
    await using test = startTold(kind, [a], "v1", IDLE);
    using client = await connect(test.address);
    await writeText(client, "one");
    assertEquals(await hear(client, 5), "a:one");
    await test.publish([{ ...a.server.at(0), proxy: "v1" }, { ...b.server.at(1), proxy: "v2" }]);
    await turn(2 * QUIET_MS);
    test.leave(0, "draining");
    assertEquals((await test.moved.take()).state, "idle");
    assertEquals((await b.got(0)).header.source, endpointOf(client.localAddr));
    await writeText(client, "two");
    assertEquals(await hear(client, 5), "b:two");
  },

  async "a header in any pieces names the client, and the bytes behind it are not lost"(kind) {
    await using server = await Server.start(answer("a"));
    await using test = start(kind, [server.at(0)], { acceptProxy: LOOPBACK });
    for (const header of [headerOf("v1"), headerOf("v2")]) {
      const whole = join(header, encoder.encode("hello"));
      for (const cuts of [[whole.length], [header.length], [1, 5, 12, 16], [header.length - 1], [header.length + 1]]) {
        using client = await connect(test.address);
        client.setNoDelay();
        let at = 0;
        for (const cut of [...cuts, whole.length]) {
          await writeAll(client, whole.subarray(at, cut));
          at = cut;
          await turn(2);
        }
        await client.closeWrite();
        assertEquals((await soon(readText(client))).replaceAll("a:", ""), "hello", `cut at ${cuts}`);
        assertEnded(await test.ended.take(), { fate: "done", client: "198.51.100.7:4711", sentBytes: 5 });
      }
    }
  },

  async "a header byte by byte"(kind) {
    const whole = join(headerOf("v2"), encoder.encode("hello"));
    await using server = await Server.start(answer("a"));
    await using test = start(kind, [server.at(0)], { acceptProxy: LOOPBACK });
    using client = await connect(test.address);
    client.setNoDelay();
    for (let at = 0; at < whole.length; at++) await writeAll(client, whole.subarray(at, at + 1));
    await client.closeWrite();
    assertEquals((await soon(readText(client))).replaceAll("a:", ""), "hello");
    assertEnded(await test.ended.take(), { fate: "done", client: "198.51.100.7:4711" });
  },

  async "a server is told what the client's header said, with its TLVs and an id of our own"(kind) {
    const told = await Told.start("a");
    await using _server = told.server;
    await using test = startTold(kind, [told], "v2", { acceptProxy: LOOPBACK });
    using client = await connect(test.address);
    await writeAll(client, join(headerOf("v2"), encoder.encode("hello")));
    assertEquals(await hear(client, 7), "a:hello");
    const { header } = await told.got(0, 5);
    assertEquals([header.source, header.destination], [CLIENT, DESTINATION]);
    assertEquals(listTlvs(header.tlvs), listTlvs(TLVS));
    assertMatch(new TextDecoder().decode(header.uniqueId), /^00000000000000ff-/);
  },

  async "LOCAL and UNKNOWN leave the socket's addresses as they are"(kind) {
    for (const version of ["v1", "v2"] as const) {
      await using server = await Server.start(answer("a"));
      await using test = start(kind, [server.at(0)], { acceptProxy: LOOPBACK });
      using client = await connect(test.address);
      await writeAll(client, join(writeLocalHeader(version), encoder.encode("hello")));
      assertEquals(await hear(client, 7), "a:hello");
      client.close();
      const { hostname, port } = client.localAddr as Deno.NetAddr;
      assertEnded(await test.ended.take(), { client: `${hostname}:${port}` });
    }
  },

  async "an IPv4 address mapped into IPv6 is an IPv4 address"(kind) {
    await using server = await Server.start(answer("a"));
    await using test = start(kind, [server.at(0)], { acceptProxy: LOOPBACK });
    const mapped = { ip: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...CLIENT.ip), port: 4711 };
    using client = await connect(test.address);
    await writeAll(client, join(headerOf("v2", mapped), encoder.encode("hello")));
    assertEquals(await hear(client, 7), "a:hello");
    client.close();
    assertEnded(await test.ended.take(), { client: "198.51.100.7:4711" });
  },

  async "the ring goes by the received address"(kind) {
    const servers = await Promise.all(["a", "b", "c", "d"].map((name) => Server.start(answer(name))));
    const rule = parseKeyRule("ip");
    const table = nextTable(emptyTable(rule, Infinity), servers.map((server, slot) => server.at(slot)));
    await using test = start(kind, table.servers, { acceptProxy: LOOPBACK, key: "ip" });
    for (let i = 1; i <= 12; i++) {
      const ip = ipBytes(i % 2 === 0 ? `198.51.100.${i}` : `2001:db8::${i}`);
      const slot = table.slots[firstOnRing(table.tiers[0].circle, clientKey(rule, ip, 0))];
      using client = await connect(test.address);
      await writeAll(client, join(headerOf("v2", { ip, port: i }), encoder.encode("x")));
      assertEquals(await hear(client, 3), `${"abcd"[slot]}:x`);
    }
    await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
  },

  async "what is no header, where one is required, ends the connection before any server is dialled"(kind) {
    const v2 = headerOf("v2");
    const wrongSum = v2.slice();
    wrongSum[20] ^= 1;
    const huge = join(v2.subarray(0, 14), Uint8Array.of(0xff, 0xff));
    const rows: [string, Uint8Array][] = [
      ["a request", encoder.encode("GET / HTTP/1.1\r\n\r\n")],
      ["a byte", encoder.encode("x")],
      ["a header that ends early", v2.subarray(0, 20)],
      ["a line that ends early", encoder.encode("PROXY TCP4 1.2.3.4")],
      ["a line that is too long", encoder.encode(`PROXY UNKNOWN ${"x".repeat(200)}\r\n`)],
      ["a wrong checksum", wrongSum],
      ["a length of 65,535", huge],
    ];
    const fates = await fatesOf(kind, [...rows.map(([, bytes]) => bytes), new Uint8Array(0)]);
    assertEquals(fates.pop(), ["client_gone", undefined]);
    for (const [i, [what]] of rows.entries()) assertEquals(fates[i], ["proxy_malformed", undefined], what);
  },

  async "who does not finish its header in time is ended, a thousand of them, and nobody else waits"(kind) {
    await using server = await Server.start(answer("a"));
    await using test = start(kind, [server.at(0)], { acceptProxy: LOOPBACK, proxyTimeoutMs: 1500 });
    const half = headerOf("v2").subarray(0, 20);
    const clients: Deno.TcpConn[] = [];
    for (let i = 0; i < 20; i++) {
      clients.push(...await Promise.all(Array.from({ length: 50 }, () => connect(test.address))));
    }
    await Promise.all(clients.map((client) => writeAll(client, half)));
    using quick = await connect(test.address);
    await writeAll(quick, join(headerOf("v1"), encoder.encode("hello")));
    assertEquals(await hear(quick, 7), "a:hello");
    await until(() => test.counters.get("proxy_timeout") === 1000, "the clients to be ended");
    assertEquals(test.counters.get("open"), 1);
    for (const client of clients) close(client);
  },

  async "the time to find a server begins when the header is there"(kind) {
    await using server = await Server.start(answer("a"));
    await using test = start(kind, [server.at(0)], { acceptProxy: LOOPBACK, connectDeadlineMs: 200 });
    using client = await connect(test.address);
    await turn(400);
    await writeAll(client, headerOf("v2"));
    await turn(50);
    await writeText(client, "hello");
    assertEquals(await hear(client, 7), "a:hello");
    assertEquals(test.counters.getOf(0, "connectFailures"), 0);
  },

  async "an engine that stops while headers become too late ends those clients, each once"(kind) {
    await using server = await Server.start();
    await using test = start(kind, [server.at(0)], { acceptProxy: LOOPBACK, proxyTimeoutMs: 300 });
    const clients: Deno.TcpConn[] = [];
    for (; clients.length < 50; await turn(1)) clients.push(await connect(test.address));
    await until(() => test.counters.get("proxy_timeout") > 0, "the first that is too late");
    await soon(test.engine.stop(15), "the engine to stop");
    assertEquals(test.counters.get("stopped") + test.counters.get("proxy_timeout"), 50);
    for (const client of clients) close(client);
  },

  async "an IPv4 client of a listener for both families is an IPv4 client"(kind) {
    const told = await Told.start("a");
    await using _server = told.server;
    await using test = start(kind, [{ ...told.server.at(0), proxy: "v1" }], { acceptProxy: LOOPBACK, host: "::" });
    using client = await connect({ host: "127.0.0.1", port: test.address.port });
    await writeAll(client, join(writeLocalHeader("v1"), encoder.encode("hello")));
    assertEquals(await hear(client, 7), "a:hello");
    const { port } = client.localAddr as Deno.NetAddr;
    assertEquals(told.connections[0].text, `PROXY TCP4 127.0.0.1 127.0.0.1 ${port} ${test.address.port}\r\nhello`);
    client.close();
    assertEnded(await test.ended.take(), { client: `127.0.0.1:${port}` });
  },

  async "who has sent nothing of its header is ended when the engine stops"(kind) {
    await using server = await Server.start();
    await using test = start(kind, [server.at(0)], { acceptProxy: LOOPBACK });
    using _client = await connect(test.address);
    await until(() => test.counters.get("open") === 1, "the client to be accepted");
    await soon(test.engine.stop(0), "the engine to stop");
    assertEquals(test.counters.get("stopped"), 1);
  },

  async "a header of somebody who may not send one is refused, in any pieces"(kind) {
    const headers = [headerOf("v1"), headerOf("v2")];
    assertEquals((await fatesOf(kind, headers, NOBODY)).map(([fate]) => fate), ["proxy_refused", "proxy_refused"]);
    for (const header of headers) {
      await using server = await Server.start();
      await using test = start(kind, [server.at(0)], { acceptProxy: NOBODY });
      using client = await connect(test.address);
      client.setNoDelay();
      const served = await server.clients.take();
      let heard = "";
      served.onText = (text) => heard += text;
      for (let at = 0; at < 12; at++) {
        await writeAll(client, header.subarray(at, at + 1)).catch(() => {});
        await turn(1);
      }
      assertEnded(await test.ended.take(), { fate: "proxy_refused" });
      assert(heard.length < 12, "the server got a whole signature");
    }
  },

  async "bytes that only begin like a header pass, and a server may speak first"(kind) {
    await using server = await Server.start();
    server.play = (served) => {
      served.say("banner");
      answer("a")(served);
    };
    await using test = start(kind, [server.at(0)], { acceptProxy: NOBODY });
    for (const text of ["PROXIMA", "\r\n\r\n", "\r\n\r\n\0\r\nQUIX\nxxx", "P", "hello"]) {
      using client = await connect(test.address);
      assertEquals(await hear(client, 6), "banner");
      await writeText(client, text);
      assertEquals(await hear(client, text.length + 2), `a:${text}`);
    }
  },
};

for (const [engine, kind] of Object.entries(ENGINES)) {
  for (const [name, run] of Object.entries(CASES)) {
    Deno.test({ name: `[${engine}] ${name}`, ignore: kind.unsupported() !== undefined, fn: () => run(kind) });
  }
}
