// Events and the series over a real Unix socket: as JSON, as streams, and as `balancerctl events --follow` reads them.

import { LIMITS } from "../../lib/values/config.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { connect as connectSocket, type Socket } from "node:net";
import { ControlClient } from "../../lib/control/client.ts";
import { type CommandContext, COMMANDS } from "../../lib/control/commands.ts";
import { EventReader, type ServerSentEvent } from "../../lib/control/event_source.ts";
import { followEvents } from "../../lib/control/follow.ts";
import { serveControl } from "../../lib/control/server.ts";
import { claimSocket } from "../../lib/control/socket.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { ask, echo, poll, Queue, soon, startServer } from "../helpers.ts";
import { type OneService, startBalancer } from "../one_service.ts";
import { until } from "../raw_socket.ts";

interface Daemon extends AsyncDisposable {
  readonly balancer: OneService;
  readonly path: string;
  readonly client: ControlClient;
  /** Asks for a stream, and reads its messages. */
  follow(
    query?: string,
    headers?: Record<string, string>,
  ): Promise<{ readonly status: number; readonly read: Reader } & Disposable>;
  get(path: string, headers?: Record<string, string>, method?: string): Promise<{ status: number; type: string; text: string }>;
}

type Reader = () => Promise<ServerSentEvent>;

async function startDaemon(folder?: string): Promise<Daemon> {
  const stack = new AsyncDisposableStack();
  if (folder === undefined) {
    const made = await Deno.makeTempDir({ prefix: "balancer_test_" });
    stack.defer(() => Deno.remove(made, { recursive: true }));
    folder = made;
  }
  const path = `${folder}/run/control.sock`;
  const balancer = stack.use(await startBalancer());
  const files = { stateFile: null, lockFile: "/nowhere", logFile: null, http: () => null, localPorts: null, warnOf: () => [] };
  const about = { name: "test", version: "1", engine: "streams", startedAt: new Date() };
  const facts = { ...about, warnings: [], carriedOver: null, ...files };
  await claimSocket(path);
  stack.use(
    await serveControl({
      path,
      balancer: balancer.balancer,
      facts,
      shutdown: { ask: () => {}, done: Promise.resolve(0), isLameDuck: false },
      upgrade: () => "",
    }),
  );
  const http = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  stack.defer(() => http.close());
  return {
    balancer,
    path,
    client: stack.use(new ControlClient("test", path)),
    async follow(query = "", headers = {}) {
      const accept = "text/event-stream";
      const gone = new AbortController();
      const init = { client: http, headers: { accept, ...headers }, signal: gone.signal };
      const response = await soon(fetch(`http://balancer/v1/events${query}`, init), "the stream");
      return {
        status: response.status,
        read: messagesOf(response),
        [Symbol.dispose]: () => gone.abort(),
      };
    },
    async get(path, headers = {}, method = "GET") {
      const response = await soon(fetch(`http://balancer${path}`, { method, headers, client: http }), "an answer");
      return { status: response.status, type: response.headers.get("content-type") ?? "", text: await response.text() };
    },
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  };
}

/** Messages with data; others only say an id. */
function messagesOf({ body }: Response): Reader {
  const queue = new Queue<ServerSentEvent>();
  void (async () => {
    const reader = new EventReader();
    for await (const text of body!.pipeThrough(new TextDecoderStream())) {
      for (const message of reader.push(text)) if (message.data !== "") queue.put(message);
    }
  })().catch(() => {}); // aborted
  return () => queue.take();
}

async function textOf(read: Reader): Promise<string> {
  const { event, data } = await read();
  return event === "gap" ? "gap" : JSON.parse(data).text;
}

Deno.test("events are listed: those after a number, of kinds, at most so many; a bad query gets a sentence", async () => {
  await using daemon = await startDaemon();
  const { events } = daemon.balancer.balancer;
  for (const text of ["one", "two", "three"]) events.add({ kind: text === "two" ? "limit" : "daemon", text });
  const list = await daemon.client.events({ after: "1", kind: "limit,daemon", since: "5m" });
  assertEquals([list.startId, list.first, list.last], [events.startId, 1, 3]);
  assertEquals(list.events.map(({ text }) => text), ["two", "three"]);
  assertEquals((await daemon.client.events({ limit: "1" })).events.map(({ number }) => number), [3]);
  const { text } = await daemon.get("/v1/events?kind=limit&kind=command");
  assertEquals(JSON.parse(text).events.map(({ number }: { number: number }) => number), [2]);
  for (const query of ["kind=wrong", "after=-1", "after=x", "limit=0", "limit=10001", "since=never", "server=x", "other=1"]) {
    const { status, text } = await daemon.get(`/v1/events?${query}`);
    assertEquals([status, JSON.parse(text).error.kind], [400, "usage"], query);
  }
});

Deno.test("a stream has new events alone, those since a time, or those after the last one that was read", async () => {
  await using daemon = await startDaemon();
  const { events } = daemon.balancer.balancer;
  for (const text of ["one", "two"]) events.add({ kind: "daemon", text });
  using fresh = await daemon.follow();
  using since = await daemon.follow("?since=1m");
  using after = await daemon.follow("?after=1");
  using last = await daemon.follow("", { "last-event-id": `${events.startId}-1` });
  events.add({ kind: "daemon", text: "three" });
  const third = await fresh.read();
  assertEquals([third.id, third.event, JSON.parse(third.data).text], [`${events.startId}-3`, "event", "three"]);
  assertEquals([await textOf(since.read), await textOf(since.read), await textOf(since.read)], ["one", "two", "three"]);
  assertEquals([await textOf(after.read), await textOf(after.read)], ["two", "three"]);
  assertEquals([await textOf(last.read), await textOf(last.read)], ["two", "three"]);
});

Deno.test("a stream begins with a gap if the last event that was read is another start's, no longer kept, or none", async () => {
  await using daemon = await startDaemon();
  const { events } = daemon.balancer.balancer;
  events.add({ kind: "daemon", text: "one" });
  for (const id of ["ffffffffffffffff-1", `${events.startId}-99`, `${events.startId}-`, "nonsense", "0"]) {
    using stream = await daemon.follow("", { "last-event-id": id });
    const { event, data } = await stream.read();
    assertEquals([event, JSON.parse(data)], ["gap", { startId: events.startId, first: 1, last: 1 }], id);
    assertEquals(await textOf(stream.read), "one");
  }
  for (let number = 2; number <= LIMITS.eventsMax + 10; number++) events.add({ kind: "daemon", text: String(number) });
  using stream = await daemon.follow("", { "last-event-id": `${events.startId}-1` });
  assertEquals([await textOf(stream.read), await textOf(stream.read)], ["gap", "11"]);
});

Deno.test("a stream has what is asked for, and its text is printable, whatever a reason holds", async () => {
  await using daemon = await startDaemon();
  const { events } = daemon.balancer.balancer;
  using stream = await daemon.follow("?kind=server&service=web&server=10.0.0.1:80");
  events.add({ kind: "daemon", text: "no" });
  events.add({ kind: "server", service: "db", server: "10.0.0.1:80", text: "no" });
  events.add({ kind: "server", service: "web", server: "10.0.0.1:80", text: "down: \x1b]0;x\x07<script>\n\ndata: y" });
  assertEquals(await textOf(stream.read), "down: \\x1b]0;x\\x07<script>\\x0a\\x0adata: y");
});

/** A client that asks for a stream and does not look at what it gets. */
function openStream(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ path });
    socket.on("error", reject).on("connect", () => {
      socket.write("GET /v1/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n");
      socket.once("data", () => resolve(socket.pause()));
    });
  });
}

Deno.test("so many streams may be open; one more is told so, and taken when another has gone", async () => {
  await using daemon = await startDaemon();
  const sockets = await Promise.all(Array.from({ length: LIMITS.eventStreamsMax }, () => openStream(daemon.path)));
  const { status, text } = await daemon.get("/v1/events", { accept: "text/event-stream" });
  assertEquals(status, 503);
  assertStringIncludes(JSON.parse(text).error.message, `${LIMITS.eventStreamsMax} streams are open`);
  assertEquals((await daemon.get("/v1/events")).status, 200);
  sockets[0].destroy();
  const streams: Disposable[] = [];
  await poll(
    async () => {
      const stream = await daemon.follow();
      streams.push(stream);
      return stream.status;
    },
    (status) => status === 200,
    "a stream",
  );
  for (const stream of streams) stream[Symbol.dispose]();
  for (const socket of sockets) socket.destroy();
});

Deno.test("HEAD opens no stream", async () => {
  await using daemon = await startDaemon();
  for (let i = 0; i <= LIMITS.eventStreamsMax; i++) {
    const { status, type } = await daemon.get("/v1/events", { accept: "text/event-stream" }, "HEAD");
    assertEquals([status, type], [200, "application/json"]);
  }
});

Deno.test("a reader that never reads is dropped and counted, and others go on", async () => {
  await using daemon = await startDaemon();
  const { events, counters } = daemon.balancer.balancer;
  const deaf = await openStream(daemon.path);
  using stream = await daemon.follow();
  events.add({ kind: "daemon", text: "first" });
  assertEquals(await textOf(stream.read), "first");
  let sent = 0;
  await poll(
    async () => {
      for (let i = 0; i < 200; i++) events.add({ kind: "daemon", text: `${++sent} ${"x".repeat(480)}` });
      for (let i = 0; i < 200; i++) await stream.read();
      return counters.get("eventStreamsDropped");
    },
    (dropped) => dropped === 1,
    "the deaf reader to be dropped",
  );
  events.add({ kind: "daemon", text: "last" });
  assertEquals(await textOf(stream.read), "last");
  deaf.destroy();
});

Deno.test("the series is given over the API as far as it is asked for, and bad queries get a sentence", async () => {
  await using server = startServer(echo);
  await using daemon = await startDaemon();
  await daemon.balancer.add(server.address, { weight: 1, connectionsMax: null });
  await ask(daemon.balancer.address, "x");
  const answer = await poll(
    () => daemon.client.series({ seconds: "900", fields: "opened,states" }),
    ({ servers }) => (servers[0]?.opened ?? []).includes(1),
    "the second in which the client was served",
  );
  const { service, server: name, opened, open, states } = answer.servers[0];
  assertEquals([service, name, open], ["default", server.name, undefined]);
  assertEquals(opened!.length, answer.steps);
  assertEquals(states!.at(-1)![1], "up");
  assert(Math.abs(answer.from + answer.steps - Date.now() / 1000) < 10, `${answer.from}`);
  assertEquals((await daemon.client.series({ server: "192.0.2.1:80" })).servers, []);
  const bad = ["seconds=0", "seconds=901", "step=61", "step=0", "after=x", "fields=wrong", "server=x", "other=1"];
  for (const query of bad) {
    const { status, text } = await daemon.get(`/v1/series?${query}`);
    assertEquals([status, JSON.parse(text).error.kind], [400, "usage"], query);
  }
  assertEquals((await daemon.get("/v1/series?service=none")).status, 404);
});

Deno.test("events are followed over a restart of the daemon, which is said", async () => {
  const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
  await using _folder = { [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
  const texts = new Queue<string>();
  const sentences: string[] = [];
  const stop = new Error("the test is over");
  let following: Promise<unknown>;
  using client = new ControlClient("test", `${folder}/run/control.sock`);
  {
    await using daemon = await startDaemon(folder);
    daemon.balancer.balancer.events.add({ kind: "daemon", text: "before" });
    following = followEvents({
      client,
      query: { since: "1m" },
      say: (sentence) => sentences.push(sentence),
      retryMs: 20,
      onEvent: ({ text }) => {
        texts.put(text);
        if (text === "end") throw stop;
      },
    }).catch((error) => error);
    assertEquals(await texts.take(), "before");
    daemon.balancer.balancer.events.add({ kind: "daemon", text: "live" });
    assertEquals(await texts.take(), "live");
  }
  await until(() => sentences.length > 0, "a sentence");
  assertStringIncludes(sentences[0], "waiting for it to come back");
  await using daemon = await startDaemon(folder);
  daemon.balancer.balancer.events.add({ kind: "daemon", text: "after" });
  assertEquals(await texts.take(), "after");
  assertEquals(sentences.slice(1), ['Balancer "test" was started again']);
  void following;
});

Deno.test("events --follow leaves Ctrl-C to the system, which ends it", async () => {
  const refused = new OperatorError("usage", "refused");
  const context = {
    client: { name: "x", follow: () => ({ [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(refused) }) }) },
    takeInterrupts: () => {
      throw new Error("then nothing would end it");
    },
  } as unknown as CommandContext;
  assertEquals(await COMMANDS.events.run({ arguments: [], options: { follow: "" } }, context).catch((error) => error), refused);
});

Deno.test("following a daemon that does not run, or by a bad query, is an error at once", async () => {
  await using daemon = await startDaemon();
  const follow = (client: ControlClient, query: Record<string, string>) =>
    followEvents({ client, query, say: () => {}, onEvent: () => {} }).catch((error) => error);
  assertEquals((await soon(follow(daemon.client, { kind: "wrong" })) as OperatorError).kind, "usage");
  using nobody = new ControlClient("test", `${daemon.path}.none`);
  assertEquals((await soon(follow(nobody, {})) as OperatorError).kind, "notRunning");
});

Deno.test("a look is what status, servers, events and series say, and what is new since the one before", async () => {
  await using daemon = await startDaemon();
  daemon.balancer.balancer.events.add({ kind: "daemon", text: "first" });
  const read = async (path: string) => JSON.parse((await daemon.get(path)).text);
  const look = await read("/v1/look");
  assertEquals(look.status, await read("/v1/status"));
  assertEquals(look.servers, [{ service: "default", ...await read("/v1/servers") }]);
  assertEquals(look.events, await read("/v1/events?limit=1"));
  assertEquals(Object.keys(look.series), Object.keys(await read("/v1/series")));
  const { last } = look.events;
  assertEquals((await read(`/v1/look?event=${last - 1}`)).events.events.length, 1);
  assertEquals((await read(`/v1/look?event=${last}`)).events.events, []);
  const { from } = look.series;
  assertEquals((await read(`/v1/look?second=${from + 1000}`)).series.steps, 0);
  assertEquals((await daemon.get("/v1/look?event=x")).status, 400);
});
