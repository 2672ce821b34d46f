// What the access log says of connections, over every row of ENGINES: each one once, with what its client and its server saw.

import { assert, assertEquals, assertGreaterOrEqual, assertLessOrEqual } from "@std/assert";
import { formatAddress, ipBytes } from "../../lib/values/address.ts";
import { parseCidrs } from "../../lib/values/cidr_list.ts";
import { writeProxyHeader } from "../../lib/values/proxy_header.ts";
import { AccessLog } from "../../lib/observe/access_log.ts";
import type { LineOutput } from "../../lib/observe/line_buffer.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import {
  ask,
  close,
  connect,
  connectNode,
  echo,
  hold,
  readText,
  sayName,
  someBytes,
  soon,
  startEngine,
  startResettingServer,
  startServer,
  tableServer,
  type TestEngine,
  type TestEngineOptions,
  unusedAddress,
  writeAll,
  writeText,
} from "../helpers.ts";
import { exchange, hear, IDLE, Server } from "./played.ts";
import { type Need, needing } from "../tools.ts";

/** Where every client connects. */
const PLACE = { listener: "the listener", service: "default" };

type Case = (kind: EngineKind) => Promise<void>;

/** A line, as far as these cases look at it. */
interface Line {
  readonly event: "start" | "end";
  readonly id: string;
  readonly time: string;
  readonly end: string;
  readonly client: string;
  readonly listener: string;
  readonly server: string | null;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly connectMs: number | null;
  readonly durationMs: number;
  readonly fate: string;
  readonly endedBy: string;
  readonly moves: readonly { from: string; to: string; state: string; loss: string; at: string }[];
  readonly replayedBytes: number;
  readonly reason: string | null;
  readonly proxy: { readonly peer: string; readonly tlvs: Readonly<Record<string, string>> } | null;
}

interface Logged extends AsyncDisposable {
  readonly test: TestEngine;
  /** The lines, once so many connections have ended. */
  lines(ends: number): Promise<Line[]>;
}

/** An engine with an access log in memory. */
function startLogged(kind: EngineKind, servers: Parameters<typeof startEngine>[1], options: TestEngineOptions = {}): Logged {
  let text = "";
  let dropped = 0;
  const log = new AccessLog({
    startId: "00000000000000ff",
    placeOf: () => PLACE,
    counters: { add: (_, count = 1) => void (dropped += count) },
  });
  const output: LineOutput = {
    append(lines) {
      text += new TextDecoder().decode(lines);
      return Promise.resolve({ bytes: lines.length, fault: undefined });
    },
  };
  void log.aim({ output, sample: 1 }, 0);
  const test = startEngine(kind, servers, { ...options, accessLog: { log, starts: true } });
  return {
    test,
    async lines(ends) {
      for (let taken = 0; taken < ends; taken++) await test.ended.take();
      await log.flush();
      assertEquals(dropped, 0);
      return text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
    },
    [Symbol.asyncDispose]: () => test[Symbol.asyncDispose](),
  };
}

const endsOf = (lines: readonly Line[]) => lines.filter(({ event }) => event === "end");

function nameOf(client: Deno.TcpConn): string {
  const { hostname: host, port } = client.localAddr;
  return formatAddress({ host, port });
}

const CASES: Record<string, Case> = {
  async "every accepted connection has one line with the bytes that its client sent and got"(kind) {
    await using server = startServer(echo);
    await using logged = startLogged(kind, [tableServer(server.address, 0)]);
    const { test } = logged;
    const COUNT = 60;
    const clients = await Promise.all(Array.from({ length: COUNT }, async (_, i) => {
      const client = await connect(test.address);
      const bytes = someBytes(i * 500, i + 1);
      const answer = readText(client);
      await writeAll(client, bytes);
      await client.closeWrite();
      await soon(answer, "the answer");
      const name = nameOf(client);
      client.close();
      return [name, bytes.length] as const;
    }));
    const ends = endsOf(await logged.lines(COUNT));
    assertEquals(ends.length, test.counters.get("accepted"));
    assertEquals(new Set(ends.map(({ id }) => id)).size, COUNT);
    const bytesOf = new Map(ends.map(({ client, sentBytes, receivedBytes }) => [client, [sentBytes, receivedBytes]]));
    for (const [name, bytes] of clients) assertEquals(bytesOf.get(name), [bytes, bytes]);
    for (const { fate, server: name, listener, endedBy } of ends) {
      assertEquals([fate, name, listener, endedBy], ["done", server.name, "the listener", "client"]);
    }
  },

  async "times are those of the wall clock, and the duration and the connect time fit in"(kind) {
    await using server = startServer(echo);
    await using logged = startLogged(kind, [tableServer(server.address, 0)]);
    const before = Date.now();
    assertEquals(await ask(logged.test.address, "hello"), "hello");
    const [end] = endsOf(await logged.lines(1));
    const [time, ended] = [end.time, end.end].map((text) => Date.parse(text));
    const SLACK_MS = 50; // one worker's turn may read the clocks at different times
    assertGreaterOrEqual(time, before - 1);
    assertLessOrEqual(ended, Date.now());
    assertGreaterOrEqual(ended, time);
    assert(Math.abs(ended - time - end.durationMs) <= SLACK_MS, JSON.stringify(end));
    assertLessOrEqual(end.connectMs!, end.durationMs);
  },

  async "a beginning has a line of its own with the same id, before the end"(kind) {
    await using server = startServer(hold);
    await using logged = startLogged(kind, [tableServer(server.address, 0)]);
    using client = await connect(logged.test.address);
    const name = nameOf(client);
    client.close();
    const lines = await logged.lines(1);
    assertEquals(lines.map(({ event, client }) => [event, client]), [["start", name], ["end", name]]);
    assertEquals([lines[0].id, lines[0].time], [lines[1].id, lines[1].time]);
  },

  async "who ended first is the side whose FIN or reset came first"(kind) {
    await using speaker = startServer(sayName);
    await using resetting = await startResettingServer();
    await using holding = startServer(hold);
    const endedBy = async (address: typeof speaker.address, act: (test: TestEngine) => Promise<unknown>, options = {}) => {
      await using logged = startLogged(kind, [tableServer(address, 0)], options);
      await act(logged.test);
      const [{ fate, endedBy }] = endsOf(await logged.lines(1));
      return [fate, endedBy];
    };
    const meetEnd = async ({ address }: TestEngine) => {
      using client = await connect(address);
      await soon(readText(client), "the end");
    };
    assertEquals(await endedBy(speaker.address, meetEnd), ["done", "server"]);
    assertEquals(await endedBy(holding.address, ({ address }) => ask(address, "x")), ["done", "client"]);
    const ask1 = async ({ address }: TestEngine) => {
      using client = await connect(address);
      await writeText(client, "x");
      await soon(readText(client).catch(() => {}), "the reset");
    };
    assertEquals(await endedBy(resetting.address, ask1), ["server_lost", "server"]);
    const reset = async (test: TestEngine) => {
      const client = await connectNode(test.address);
      while (test.counters.getOf(0, "connects") === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      client.resetAndDestroy();
    };
    assertEquals(await endedBy(holding.address, reset), ["client_gone", "client"]);
    assertEquals(await endedBy(holding.address, meetEnd, { idleTimeoutMs: 50 }), ["idle_timeout", "balancer"]);
  },

  async "a connection that no server takes has no connect time, and the reason"(kind) {
    await using logged = startLogged(kind, [tableServer(unusedAddress(), 0)]);
    await ask(logged.test.address).catch(() => {});
    const [{ fate, connectMs, endedBy, reason, moves }] = endsOf(await logged.lines(1));
    assertEquals([fate, connectMs, endedBy, moves], ["connect_failed", null, "balancer", []]);
    assert(reason !== null && /refused/.test(reason), `${reason}`);
  },

  async "connections that are refused at once have a line and an id each, and no beginning"(kind) {
    await using server = startServer(hold);
    await using logged = startLogged(kind, [tableServer(server.address, 0)], { connectionsMax: 1, workers: 2 });
    using first = await connect(logged.test.address);
    while (logged.test.counters.get("open") === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    const REFUSED = 10;
    for (let i = 0; i < REFUSED; i++) await ask(logged.test.address).catch(() => {});
    const refused = endsOf(await logged.lines(REFUSED));
    assertEquals(refused.map(({ fate, endedBy }) => [fate, endedBy]), Array(REFUSED).fill(["refused_limit", "balancer"]));
    first.close();
    const lines = await logged.lines(1);
    assertEquals(new Set(endsOf(lines).map(({ id }) => id)).size, REFUSED + 1);
    assertEquals(lines.filter(({ event }) => event === "start").length, 1);
  },

  async "moves are listed in order, with servers, states, losses and times"(kind) {
    await using a = await Server.start();
    await using b = await Server.start();
    await using logged = startLogged(kind, [a.at(0)], IDLE);
    const { test } = logged;
    const client = await connect(test.address);
    try {
      const first = await a.clients.take();
      await exchange(client, first);
      await test.publish([b.at(1)]);
      test.leave(0, "draining");
      await test.moved.take(); // bytes of the client before would call the departure off
      const second = await b.clients.take();
      await exchange(client, second);
      await test.publish([a.at(2), b.at(1)]);
      second.reset();
      const third = await a.clients.take();
      await test.moved.take();
      await client.closeWrite();
      await third.ended();
      await soon(readText(client), "the end");
    } finally {
      close(client);
    }
    const [{ moves, server, sentBytes, receivedBytes, fate, time, end }] = endsOf(await logged.lines(1));
    assertEquals(moves.map(({ from, to, loss }) => [from, to, loss]), [[a.name, b.name, "drain"], [b.name, a.name, "reset"]]);
    assertEquals(moves.map(({ state }) => state), ["idle", "idle"]);
    const times = [time, ...moves.map(({ at }) => at), end];
    assertEquals(times, times.toSorted());
    assertEquals([server, sentBytes, receivedBytes, fate], [a.name, 10, 12, "done"]);
  },

  async "the PROXY header that a connection began with: who sent it, and its TLVs by name"(kind) {
    await using server = startServer(echo);
    await using logged = startLogged(kind, [tableServer(server.address, 0)], { acceptProxy: parseCidrs("127.0.0.0/8", 1) });
    const source = { ip: ipBytes("198.51.100.7"), port: 4711 };
    // ALPN h2, the authority, and more bytes of a type without a name than one record of a worker holds.
    const tlvs = Uint8Array.of(1, 0, 2, 0x68, 0x32, 2, 0, 4, 0x68, 0x6f, 0x73, 0x74, 0xe0, 0, 80, ...new Uint8Array(80).fill(7));
    const header = writeProxyHeader("v2", { source, destination: source, tlvs, uniqueId: new Uint8Array(0) });
    using client = await connect(logged.test.address);
    await writeAll(client, header);
    await client.closeWrite();
    await soon(readText(client), "the end");
    using plain = await connect(logged.test.address);
    await writeText(plain, "PROXY UNKNOWN\r\n");
    await plain.closeWrite();
    await soon(readText(plain), "the end");
    const peers = [client, plain].map((socket) =>
      formatAddress({ host: "127.0.0.1", port: (socket.localAddr as Deno.NetAddr).port })
    );
    const ends = endsOf(await logged.lines(2));
    assertEquals(ends.map((end) => end.client), ["198.51.100.7:4711", peers[1]]);
    assertEquals(ends.map(({ proxy }) => proxy), [
      { peer: peers[0], tlvs: { alpn: "h2", authority: "host", "0xe0": `0x${"07".repeat(80)}` } },
      { peer: peers[1], tlvs: {} },
    ]);
  },

  async "the bytes of a replay are those that were sent again, and count once as the client's"(kind) {
    await using a = await Server.start();
    await using b = await Server.start((served) => served.onText = (text) => served.say(`b:${text}`));
    await using logged = startLogged(kind, [a.at(0)], { redistribute: "unanswered" });
    using client = await connect(logged.test.address);
    await writeText(client, "question");
    const first = await a.clients.take();
    await first.heard("question");
    await logged.test.publish([b.at(1)]);
    first.reset();
    assertEquals(await hear(client, 10), "b:question");
    await client.closeWrite();
    await soon(readText(client), "the end");
    const [{ moves, replayedBytes, sentBytes, receivedBytes }] = endsOf(await logged.lines(1));
    assertEquals(moves.map(({ state, loss }) => [state, loss]), [["unanswered", "reset"]]);
    assertEquals([replayedBytes, sentBytes, receivedBytes], [8, 8, 10]);
  },
};

for (const [engine, kind] of Object.entries(ENGINES)) {
  if (kind.unsupported() !== undefined) continue;
  for (const [name, run] of Object.entries(CASES)) Deno.test(`[${engine}] access log: ${name}`, () => run(kind));
}

const onLinux: readonly Need[] = ["Linux"];

Deno.test({
  ...await needing("[epoll] without an access log no times by the wall clock are taken", ...onLinux),
  async fn() {
    await using server = startServer(echo);
    await using test = startEngine(ENGINES.epoll, [tableServer(server.address, 0)]);
    assertEquals(await ask(test.address, "hello"), "hello");
    const { acceptedAt, endedAt, connectMs, endedBy, id } = await test.ended.take();
    assertEquals({ acceptedAt, endedAt, connectMs, endedBy }, {
      acceptedAt: undefined,
      endedAt: undefined,
      connectMs: undefined,
      endedBy: "client",
    });
    assert(Number.isSafeInteger(id) && id > 0);
  },
});
