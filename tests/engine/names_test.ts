// Several services share a listener: the name and the protocols in a TLS client's first message say which one it gets, over every
// row of ENGINES. The server gets the bytes as the client sent them.

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Engine, EngineKind, EngineService, Listener, ServiceEngineConfig, ServiceListener } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { allocateClients } from "../../lib/observe/client_table.ts";
import type { EndedConnection, LoggedHello } from "../../lib/observe/connections.ts";
import { allocateCounters, Counters } from "../../lib/observe/counters.ts";
import { allocateAvailabilities, AvailabilityTable } from "../../lib/routing/availability.ts";
import { compileNameRoutes, NO_SERVICE } from "../../lib/routing/name_routes.ts";
import { emptyTable, nextTable, type TableServer } from "../../lib/routing/routing_table.ts";
import { ipBytes, parseKeyRule } from "../../lib/values/address.ts";
import { parseCidrs } from "../../lib/values/cidr_list.ts";
import { parseClientConnections } from "../../lib/values/client_limits.ts";
import { parseConfig, STANDARD_OUTPUT } from "../../lib/values/config.ts";
import { listTlvs, parseProxyHeader, type ProxyVersion, writeProxyHeader } from "../../lib/values/proxy_header.ts";
import type { NameClaim } from "../../lib/values/name_claims.ts";
import { parseProtocols, parseServerNames } from "../../lib/values/server_names.ts";
import { type Extension, inRecords, messageOf, namesExtension, protocolsExtension } from "../../tools/fuzz/hellos.ts";
import {
  assertFatesAddUp,
  connect,
  connectNode,
  echo,
  Queue,
  readBytes,
  readText,
  soon,
  startResettingServer,
  startServer,
  tableServer,
  type TestServer,
  writeAll,
  writeText,
} from "../helpers.ts";
import { turn, until } from "../raw_socket.ts";
import { GOLDEN_HELLOS } from "../values/hello_golden.ts";

const EMPTY = emptyTable(parseKeyRule("ip:port"), Infinity);
const LOOPBACK = parseCidrs("127.0.0.0/8", 10);
/** Never over, in a test. */
const NEVER_MS = 600_000;
const UNRECOGNIZED_NAME = "\x15\x03\x03\x00\x02\x02\x70";
const encoder = new TextEncoder();

/** A service, and what a test says of its settings. */
interface Named extends Partial<ServiceEngineConfig> {
  readonly names?: string;
  readonly alpn?: string;
  readonly servers: readonly TableServer[];
}

function claimOf({ names, alpn }: Named, service: number): NameClaim {
  return {
    service,
    title: `s${service}`,
    names: names === undefined ? [] : parseServerNames(names),
    protocols: alpn === undefined ? [] : parseProtocols(alpn),
  };
}

/** An engine with one listener that all services share. */
class Shared implements AsyncDisposable {
  readonly counters: Counters;
  readonly ended = new Queue<EndedConnection>();
  readonly moved = new Queue<number>();
  /** What was asked for, of each connection that began, if there is an access log. */
  readonly started = new Queue<LoggedHello | undefined>();
  readonly engine: Engine;
  readonly listener: Listener;
  #services: (EngineService | undefined)[] = [];
  #listeners: (ServiceListener | undefined)[] = [];

  constructor(kind: EngineKind, services: readonly Named[], { isLogged = false } = {}) {
    const logs = isLogged ? { "access-log": STANDARD_OUTPUT, "access-log-start": "on" } : {};
    const config = { ...parseConfig({ workers: "1", ...logs }), connectionsMax: 2000 };
    this.counters = new Counters(allocateCounters(kind.threads(config), 100));
    const availabilities = new AvailabilityTable(allocateAvailabilities(this.counters.slots));
    this.listener = kind.listen({ host: "127.0.0.1", port: 0 }, config);
    this.set(services);
    this.engine = kind.create({
      startId: "00000000000000ff",
      publication: this.#publication(),
      config,
      counters: this.counters,
      clients: allocateClients(1, 1024),
      availabilities,
      onEnded: ({ id, client, service, listener, fate, server, reason, hello, sentBytes, receivedBytes, ...rest }) =>
        this.ended.put({ ...rest, id, client, service, listener, fate, server, reason, hello, sentBytes, receivedBytes }),
      onStarted: ({ hello }) => this.started.put(hello),
      onMoved: ({ service }) => this.moved.put(service),
      onServerFailed: () => {},
      onServerEmpty: () => {},
    });
  }

  /** Sets what is published next. */
  set(services: readonly Named[]): this {
    this.#services = services.map(({ servers, names: _, alpn: __, ...settings }) => ({
      table: nextTable(EMPTY, servers),
      config: { ...parseConfig(), helloTimeoutMs: NEVER_MS, ...settings },
    }));
    const routes = compileNameRoutes(services.map(claimOf), "the address") ?? undefined;
    this.#listeners = [{ listener: this.listener, service: 0, routes, portOffset: 0 }];
    return this;
  }

  /** Leaves the listener out of what is published next. */
  unlisten(): this {
    this.#listeners = [];
    return this;
  }

  publish(): Promise<void> {
    return soon(this.engine.update(this.#publication()), "the publication");
  }

  connect(): Promise<Deno.TcpConn> {
    return connect(this.listener.address);
  }

  /** What a client is answered that sends these bytes and then its FIN. */
  async ask(bytes: Uint8Array): Promise<string> {
    using client = await this.connect();
    await writeAll(client, bytes);
    await client.closeWrite().catch(() => {});
    return await soon(readLatin1(client), "the answer");
  }

  get awaiting(): number {
    return this.counters.getOfListener(0, "listenerAwaiting");
  }

  /** Which service a connection had, and how it ended. */
  async end(): Promise<readonly [service: number, fate: string, reason: string | undefined]> {
    const { service, fate, reason } = await this.ended.take();
    return [service, fate, reason];
  }

  #publication() {
    return { services: [...this.#services], listeners: [...this.#listeners] };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine[Symbol.asyncDispose]();
    assertFatesAddUp(this.counters);
    assertEquals(this.awaiting, 0);
  }
}

async function readLatin1(client: Deno.TcpConn): Promise<string> {
  const parts: string[] = [];
  const buffer = new Uint8Array(4096);
  for (
    let count = await client.read(buffer).catch(() => null);
    count !== null;
    count = await client.read(buffer).catch(() => null)
  ) {
    parts.push(String.fromCharCode(...buffer.subarray(0, count)));
  }
  return parts.join("");
}

/** A server that answers each client at its FIN, with its name and all bytes that it was sent. */
function named(name: string): TestServer {
  return startServer(async (socket) => {
    const got = await readLatin1(socket);
    await writeAll(socket, latin1(`${name}:${got}`));
  });
}

function latin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function textOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

/** A hello with this name and these protocols, in records of these sizes. */
function helloOf(name: string | undefined, alpn: readonly string[] = [], sizes: readonly number[] = []): Uint8Array<ArrayBuffer> {
  const extensions: Extension[] = [[43, [2, 3, 4]]];
  if (name !== undefined) extensions.push(namesExtension([0, name]));
  if (alpn.length > 0) extensions.push(protocolsExtension(...alpn));
  return Uint8Array.from(inRecords(messageOf({ sessionId: [], suites: [0x13, 1], extensions }), sizes));
}

function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Two servers and an engine that has a service for each: one with names, and one for everybody else. */
async function withTwo(kind: EngineKind, settings: Partial<Named>, test: (shared: Shared) => Promise<void>): Promise<void> {
  await using api = named("api");
  await using web = named("web");
  await using shared = new Shared(kind, [
    { servers: [tableServer(web.address, 0)], ...settings },
    { names: "api.example.com,*.api.example.com", servers: [tableServer(api.address, 1)] },
  ]);
  await test(shared);
}

type Case = (kind: EngineKind) => Promise<void>;

const CASES: Record<string, Case> = {
  async "hellos of real clients reach the service that they name, as they were"(kind) {
    await using api = named("api");
    await using www = named("www");
    await using other = named("other");
    await using shared = new Shared(kind, [
      { names: "api.example.com,*.bücher.example".replace("bücher", "xn--bcher-kva"), servers: [tableServer(api.address, 0)] },
      { names: "*.example.com", servers: [tableServer(www.address, 1)] },
      { servers: [tableServer(other.address, 2)] },
    ]);
    for (const { client, bytes, name } of GOLDEN_HELLOS) {
      const owner = name === "api.example.com" ? "api" : name?.endsWith(".example.com") ? "www" : "other";
      const all = join(bytes, Uint8Array.of(0x17, 3, 3, 0, 1, 0xff));
      assertEquals(await shared.ask(all), `${owner}:${textOf(all)}`, client);
      const { service, fate, sentBytes } = await shared.ended.take();
      assertEquals([service, fate, sentBytes], [["api", "www", "other"].indexOf(owner), "done", all.length]);
    }
  },

  async "an exact name comes before a wildcard, a protocol before any, and an unknown name goes to who has no names"(kind) {
    await using servers = new AsyncDisposableStack();
    const [any, h2, wild, rest] = ["any", "h2", "wild", "rest"].map((name, slot) =>
      tableServer(servers.use(named(name)).address, slot)
    );
    await using shared = new Shared(kind, [
      { names: "a.example", servers: [any] },
      { names: "a.example", alpn: "h2", servers: [h2] },
      { names: "*.example", servers: [wild] },
      { servers: [rest] },
    ]);
    const answered = async (...asked: Parameters<typeof helloOf>) => (await shared.ask(helloOf(...asked))).split(":")[0];
    assertEquals(await answered("a.example"), "any");
    assertEquals(await answered("A.Example", ["http/1.1", "h2"]), "h2");
    assertEquals(await answered("a.example", ["http/1.1"]), "any");
    assertEquals(await answered("b.example", ["h2"]), "wild");
    assertEquals(await answered("a.b.example"), "rest");
    assertEquals(await answered("example"), "rest");
    assertEquals(await answered(undefined), "rest");
    assertEquals(await answered("192.0.2.1"), "rest");
    const accepted = [0, 1, 2, 3].map((service) => shared.counters.getOfService(service, "serviceAccepted"));
    assertEquals([accepted, shared.counters.getOfListener(0, "listenerAccepted")], [[2, 1, 1, 4], 8]);
  },

  async "a hello in any records and pieces is waited for, and nothing of it is lost"(kind) {
    await withTwo(kind, {}, async (shared) => {
      for (const sizes of [[], [1, 1, 1, 1, 1, 1], [60, 40]]) {
        const hello = helloOf("x.api.example.com", [], sizes);
        for (const cuts of [[1], [5], [4, 9, 20], [hello.length - 1], [hello.length], [60, hello.length + 2]]) {
          const all = join(hello, encoder.encode("early data"));
          using client = await shared.connect();
          client.setNoDelay();
          let at = 0;
          for (const cut of [...cuts, all.length]) {
            await writeAll(client, all.subarray(at, cut));
            at = cut;
            await turn(2);
          }
          await client.closeWrite();
          assertEquals(await soon(readLatin1(client)), `api:${textOf(all)}`, `records ${sizes}, cut at ${cuts}`);
        }
      }
    });
  },

  async "a hello byte by byte"(kind) {
    await withTwo(kind, {}, async (shared) => {
      const hello = helloOf("api.example.com", ["h2"], Array(300).fill(1));
      using client = await shared.connect();
      client.setNoDelay();
      for (let at = 0; at < hello.length; at++) await writeAll(client, hello.subarray(at, at + 1));
      await client.closeWrite();
      assertEquals(await soon(readLatin1(client)), `api:${textOf(hello)}`);
    });
  },

  async "the longest hello"(kind) {
    await withTwo(kind, {}, async (shared) => {
      const bare = messageOf({ sessionId: [], suites: [1, 1], extensions: [namesExtension([0, "api.example.com"]), [21, []]] });
      const padding: Extension = [21, Array(16 * 1024 - 5 - bare.length).fill(0)];
      const message = messageOf({ sessionId: [], suites: [1, 1], extensions: [namesExtension([0, "api.example.com"]), padding] });
      const hello = Uint8Array.from(inRecords(message));
      assertEquals(hello.length, 16 * 1024);
      const all = join(hello, new Uint8Array(100_000).fill(7));
      assertEquals((await shared.ask(all)).length, "api:".length + all.length);
    });
  },

  async "where no service is for a name, the client gets the alert that its server would send, and the reason is told"(kind) {
    await using api = named("api");
    await using shared = new Shared(kind, [{ names: "api.example.com", alpn: "h2", servers: [tableServer(api.address, 0)] }]);
    const rows: [Parameters<typeof helloOf>, string][] = [
      [["www.example.com"], "it asked for www.example.com"],
      [["api.example.com", ["http/1.1"]], "it asked for api.example.com, with the protocol http/1.1"],
      [["x".repeat(60) + ".example", ["a\n", "b"]], `it asked for ${"x".repeat(60)}.example, with the protocols a\\x0a, b`],
      [[undefined], "it asked for no name"],
    ];
    for (const [asked, reason] of rows) {
      assertEquals(await shared.ask(helloOf(...asked)), UNRECOGNIZED_NAME);
      const { service, fate, server, reason: told, receivedBytes } = await shared.ended.take();
      assertEquals([service, fate, server, told, receivedBytes], [NO_SERVICE, "no_service", undefined, reason, 0]);
    }
    assertEquals(await shared.ask(helloOf("api.example.com", ["h2"])), `api:${textOf(helloOf("api.example.com", ["h2"]))}`);
    assertEquals([shared.counters.get("no_service"), shared.counters.getOfService(0, "serviceAccepted")], [4, 1]);
    assertEquals(api.accepted, 1);
  },

  async "who speaks no TLS, or a malformed hello, goes to the service without names"(kind) {
    await withTwo(kind, {}, async (shared) => {
      const malformed = helloOf("a..b");
      const half = helloOf("api.example.com").subarray(0, 30);
      for (const bytes of [encoder.encode("GET / HTTP/1.1\r\n\r\n"), Uint8Array.of(0x80, 0x2e, 1), malformed, half]) {
        assertEquals(await shared.ask(bytes), `web:${textOf(bytes)}`);
        assertEquals(await shared.end(), [0, "done", undefined]);
      }
    });
  },

  async "or is ended where there is none, with the reason"(kind) {
    await using api = named("api");
    await using shared = new Shared(kind, [{ names: "api.example.com", servers: [tableServer(api.address, 0)] }]);
    const rows: [Uint8Array, string][] = [
      [encoder.encode("GET / HTTP/1.1\r\n\r\n"), "it does not speak TLS"],
      [helloOf("api.example.com."), "its ClientHello is malformed: its host name ends with a dot"],
      [Uint8Array.of(22, 3, 1, 0, 0), "its ClientHello is malformed: a record of it is empty"],
      [helloOf("api.example.com").subarray(0, 30), "its ClientHello is malformed: the client closed the connection before its end"],
    ];
    for (const [bytes, reason] of rows) {
      assertEquals(await shared.ask(bytes), "");
      assertEquals(await shared.end(), [NO_SERVICE, "no_service", reason]);
    }
    assertEquals(await shared.ask(new Uint8Array(0)), "");
    assertEquals((await shared.end())[1], "client_gone");
    assertEquals(api.accepted, 0);
  },

  async "a client that resets during its hello is gone"(kind) {
    await withTwo(kind, {}, async (shared) => {
      const client = await connectNode(shared.listener.address);
      client.write(helloOf("api.example.com").subarray(0, 30));
      await until(() => shared.awaiting === 1, "the client");
      client.resetAndDestroy();
      const [service, fate] = await shared.end();
      assertEquals([service, fate], [NO_SERVICE, "client_gone"]);
    });
  },

  async "who does not finish its hello in time is ended, hundreds of them, and nobody else waits"(kind) {
    await withTwo(kind, { helloTimeoutMs: 1000 }, async (shared) => {
      const half = helloOf("api.example.com").subarray(0, 30);
      const clients = await Promise.all(Array.from({ length: 300 }, () => shared.connect()));
      await Promise.all(clients.map((client) => writeAll(client, half)));
      assertMatch(await shared.ask(helloOf("api.example.com")), /^api:/);
      await until(() => shared.counters.get("hello_timeout") === 300, "the ends");
      for (const client of clients) client.close();
    });
  },

  async "a client that waits for its server to speak first gets the service without names, once its time is over"(kind) {
    await using api = named("api");
    await using banner = startServer(async (socket) => {
      await writeText(socket, "banner");
      await echo(socket, 0);
    });
    await using shared = new Shared(kind, [
      { servers: [tableServer(banner.address, 0)], helloTimeoutMs: 50 },
      { names: "api.example.com", servers: [tableServer(api.address, 1)] },
    ]);
    using client = await shared.connect();
    assertEquals(textOf(await soon(readBytes(client, 6))), "banner");
    await writeText(client, "answer");
    assertEquals(textOf(await soon(readBytes(client, 6))), "answer");
    await client.closeWrite();
    assertEquals(await soon(readText(client)), "");
    assertEquals((await shared.end()).slice(0, 2), [0, "done"]);
  },

  async "and is ended where there is none"(kind) {
    await using api = named("api");
    await using shared = new Shared(kind, [{ names: "a.example", servers: [tableServer(api.address, 0)], helloTimeoutMs: 50 }]);
    using client = await shared.connect();
    assertEquals(await soon(readLatin1(client)), "");
    assertEquals((await shared.end()).slice(0, 2), [NO_SERVICE, "hello_timeout"]);
  },

  async "a PROXY header tells the server the name and the protocol, but for what the client's own header said"(kind) {
    const got = new Queue<string[]>();
    await using server = startServer(async (socket) => {
      const parsed = parseProxyHeader(latin1(await readLatin1(socket)));
      assert(parsed.kind === "complete");
      got.put(listTlvs(parsed.header.tlvs).map(({ type, value }) => `${type} ${textOf(value)}`));
      await writeText(socket, "x");
    });
    const servers = [tableServer(server.address, 0, { proxy: "v2" })];
    await using plain = new Shared(kind, [{ names: "*.example", alpn: "h2", servers }, { servers }]);
    await plain.ask(helloOf("a.example", ["http/1.1", "h2"]));
    assertEquals(await got.take(), ["2 a.example", "1 h2"]);
    await plain.ask(helloOf("b.c.example", ["imap"]));
    assertEquals(await got.take(), ["2 b.c.example", "1 imap"]);
    await plain.ask(helloOf("b.c.example", ["http/1.1", "imap"]));
    assertEquals(await got.take(), ["2 b.c.example"]);
    await plain.ask(encoder.encode("no TLS"));
    assertEquals(await got.take(), []);
    const header = (tlvs: Uint8Array, version: ProxyVersion = "v2") =>
      writeProxyHeader(version, {
        source: { ip: ipBytes("192.0.2.1"), port: 1 },
        destination: { ip: ipBytes("192.0.2.2"), port: 2 },
        tlvs,
        uniqueId: new Uint8Array(0),
      });
    await using behind = new Shared(kind, [{ servers, acceptProxy: LOOPBACK }, { names: "a.example", servers }]);
    await behind.ask(join(header(latin1("\x02\x00\x05other\xe0\x00\x01z")), helloOf("a.example", ["h2"])));
    assertEquals(await got.take(), ["2 other", "224 z", "1 h2"]);
    await behind.ask(join(header(new Uint8Array(0), "v1"), helloOf("a.example")));
    assertEquals(await got.take(), ["2 a.example"]);
    const { client, service } = await behind.ended.take();
    assertEquals([client, service], ["192.0.2.1:1", 1]);
  },

  async "an access log is told what a client asked for, at its beginning and its end, also where no service is for it"(kind) {
    await using api = named("api");
    await using shared = new Shared(kind, [{ names: "*.example", servers: [tableServer(api.address, 0)] }], { isLogged: true });
    const loggedOf = async (asked: Uint8Array) => {
      await shared.ask(asked);
      const { fate, hello } = await shared.ended.take();
      if (fate === "done") assertEquals(await shared.started.take(), hello);
      return [fate, hello];
    };
    const long = `${"x".repeat(60)}.example`; // more than fits into one record of a worker
    assertEquals(await loggedOf(helloOf(long, ["h2", "http/1.1"])), ["done", { authority: long, alpn: ["h2", "http/1.1"] }]);
    assertEquals(await loggedOf(helloOf("A.example")), ["done", { authority: "a.example", alpn: [] }]);
    assertEquals(await loggedOf(helloOf("other.test", ["\x00\xff"])), ["no_service", {
      authority: "other.test",
      alpn: ["0x00ff"],
    }]);
    assertEquals(await loggedOf(helloOf(undefined)), ["no_service", { authority: null, alpn: [] }]);
    assertEquals(await loggedOf(encoder.encode("no TLS")), ["no_service", undefined]);
    const many = Array.from({ length: 400 }, (_, i) => `p${i}`);
    const [, cut] = await loggedOf(helloOf("b.example", many)) as [string, LoggedHello];
    assertEquals([cut.authority, cut.alpn], ["b.example", many.slice(0, cut.alpn.length)]);
    assert(cut.alpn.length > 10 && cut.alpn.length < 400, "as much of it as fits");
  },

  async "without an access log, and where there is nothing to choose, nobody is told of a hello"(kind) {
    await using api = named("api");
    const servers = [tableServer(api.address, 0)];
    await using quiet = new Shared(kind, [{ names: "a.example", servers }]);
    await quiet.ask(helloOf("a.example"));
    assertEquals((await quiet.ended.take()).hello, undefined);
    await using single = new Shared(kind, [{ servers }], { isLogged: true });
    await single.ask(helloOf("a.example"));
    assertEquals([(await single.ended.take()).hello, await single.started.take()], [undefined, undefined]);
  },

  async "a hello is replayed to another server of the service, and its header says the name again"(kind) {
    await using dead = await startResettingServer();
    await using alive = named("alive");
    await using other = named("other");
    const servers = [dead.address, alive.address].map((address, slot) =>
      tableServer(address, slot, { weight: slot === 0 ? 200 : 1 })
    );
    await using shared = new Shared(kind, [
      { servers: [tableServer(other.address, 2)] },
      { names: "a.example", servers: [servers[0], { ...servers[1], proxy: "v2" }], redistribute: "unanswered", quietMs: 30 },
    ]);
    const hello = helloOf("a.example");
    for (let tries = 0; tries < 20; tries++) {
      using client = await shared.connect();
      await writeAll(client, hello);
      await until(() => shared.counters.getOf(1, "connects") > tries, "the server that is alive");
      await client.closeWrite();
      const answer = await soon(readLatin1(client), "the answer");
      assert(answer.startsWith("alive:") && answer.endsWith(textOf(hello)) && answer.includes("\x02\x00\x09a.example"));
      assertEquals((await shared.end()).slice(0, 2), [1, "done"]);
      if (shared.counters.get("movedUnanswered") > 0) return assertEquals(await shared.moved.take(), 1);
    }
    assert(false, "no client had the server that resets");
  },

  async "each service has its own limits of clients, which hold once it is known"(kind) {
    await using api = startServer(echo);
    await using web = named("web");
    await using shared = new Shared(kind, [
      { servers: [tableServer(web.address, 0)] },
      { names: "a.example", servers: [tableServer(api.address, 1)], clientConnections: parseClientConnections("1", 1000) },
    ]);
    const hello = helloOf("a.example");
    using first = await shared.connect();
    await writeAll(first, hello);
    assertEquals(textOf(await soon(readBytes(first, hello.length))), textOf(hello));
    assertEquals(await shared.ask(hello), "");
    assertEquals((await shared.end()).slice(0, 2), [1, "client_limit"]);
    assertEquals(await shared.ask(helloOf("b.example")), `web:${textOf(helloOf("b.example"))}`);
  },

  async "other names hold for clients who wait, and a listener may come to have one service"(kind) {
    await withTwo(kind, {}, async (shared) => {
      await using next = named("next");
      const hello = helloOf("api.example.com");
      const waiting = await Promise.all([0, 1].map(async () => {
        const client = await shared.connect();
        await writeAll(client, hello.subarray(0, 30));
        return client;
      }));
      await until(() => shared.awaiting === 2, "the clients");
      const everybody: Named = { servers: [tableServer(next.address, 2)] };
      await shared.set([{ names: "b.example", servers: [tableServer(next.address, 2)] }, everybody]).publish();
      await writeAll(waiting[0], hello.subarray(30));
      await waiting[0].closeWrite();
      assertEquals(await soon(readLatin1(waiting[0])), `next:${textOf(hello)}`);
      assertEquals((await shared.end())[0], 1);
      await shared.set([everybody]).publish();
      await writeAll(waiting[1], hello.subarray(30));
      await waiting[1].closeWrite();
      assertEquals(await soon(readLatin1(waiting[1])), `next:${textOf(hello)}`);
      assertEquals((await shared.end())[0], 0);
      for (const client of waiting) client.close();
    });
  },

  async "a service is not free while a client may still be told to be its, whose listener has gone"(kind) {
    await withTwo(kind, {}, async (shared) => {
      const hello = helloOf("api.example.com");
      using client = await shared.connect();
      await writeAll(client, hello.subarray(0, 30));
      await until(() => shared.awaiting === 1, "the client");
      assert(!shared.engine.isServiceFree(1));
      await shared.unlisten().publish();
      assert(!shared.engine.isServiceFree(0) && !shared.engine.isServiceFree(1) && !shared.engine.isListenerFree(0));
      await writeAll(client, hello.subarray(30));
      await client.closeWrite();
      assertEquals(await soon(readLatin1(client)), `api:${textOf(hello)}`);
      await until(() => shared.engine.isServiceFree(1) && shared.engine.isServiceFree(0), "the services to be free");
      assertEquals((await shared.end()).slice(0, 2), [1, "done"]);
    });
  },

  async "an engine that stops ends those who wait"(kind) {
    await withTwo(kind, {}, async (shared) => {
      using client = await shared.connect();
      await writeAll(client, helloOf("api.example.com").subarray(0, 30));
      await until(() => shared.awaiting === 1, "the client");
      await soon(shared.engine.stop(20), "the engine's end");
      const [service, fate] = await shared.end();
      assertEquals([service, fate], [NO_SERVICE, "stopped"]);
    });
  },
};

for (const [name, kind] of Object.entries(ENGINES)) {
  for (const [title, test] of Object.entries(CASES)) {
    Deno.test({ name: `[${name}] ${title}`, ignore: kind.unsupported() !== undefined, fn: () => test(kind) });
  }
}
