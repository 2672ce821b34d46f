// The control API over a real Unix socket.

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { parseAddress } from "../lib/address.ts";
import { Balancer } from "../lib/balancer.ts";
import { LIMITS, parseConfig } from "../lib/config.ts";
import { ROUTES } from "../lib/control/api.ts";
import { ControlClient } from "../lib/control/client.ts";
import { serveControl } from "../lib/control/server.ts";
import { claimSocket } from "../lib/control/socket.ts";
import { streams } from "../lib/engine/streams.ts";
import { OperatorError } from "../lib/errors.ts";
import { ask, readText, sayName, soon, startServer, writeText } from "./helpers.ts";

const ORDINARY = { weight: 1, connectionsMax: null };

interface Control extends AsyncDisposable {
  readonly balancer: Balancer;
  readonly path: string;
  readonly client: ControlClient;
  readonly stops: number[];
  /** Speaks HTTP to the socket. */
  request(method: string, path: string, body?: BodyInit): Promise<{ status: number; type: string; text: string }>;
}

async function startControl(requestTimeMaxMs?: number): Promise<Control> {
  const stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const path = `${folder}/run/control.sock`;
  const listen = { host: "127.0.0.1", port: 0 };
  const balancer = stack.use(new Balancer({ engine: streams, listen, config: parseConfig(), connectionsMax: 1000 }));
  const stops: number[] = [];
  const facts = {
    name: "test",
    version: "1.2.3",
    engine: "streams",
    startedAt: new Date(),
    settings: { key: "ip" },
    stateFile: "/nowhere",
    lockFile: "/nowhere",
    logFile: null,
    warnings: [],
  };
  await claimSocket(path);
  stack.use(await serveControl({ path, balancer, facts, stop: (graceMs) => stops.push(graceMs), requestTimeMaxMs }));
  const client = stack.use(new ControlClient("test", path));
  const http = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  stack.defer(() => http.close());
  return {
    balancer,
    path,
    client,
    stops,
    async request(method, path, body) {
      const response = await soon(fetch(`http://balancer${path}`, { method, body, client: http }), "an answer");
      return { status: response.status, type: response.headers.get("content-type") ?? "", text: await response.text() };
    },
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  };
}

function errorOf(text: string): { kind: string; message: string } {
  return JSON.parse(text).error;
}

Deno.test("the socket and its folder are their owner's alone", async () => {
  await using control = await startControl();
  assertEquals((await Deno.stat(control.path)).mode! & 0o777, 0o600);
  assertEquals((await Deno.stat(control.path.slice(0, control.path.lastIndexOf("/")))).mode! & 0o777, 0o700);
});

Deno.test("a server is added, changed, listed and removed", async () => {
  await using control = await startControl();
  await using server = startServer(sayName);
  const { client, balancer } = control;
  const { port } = server.address;
  assertEquals((await client.add({ address: "127.0.0.1", port, weight: 2, connectionsMax: 5 })).server, server.name);
  assertEquals(await ask(balancer.address), server.name);
  const changed = await control.request("PATCH", `/v1/servers/${server.name}`, '{"weight":3}');
  assertEquals([changed.status, JSON.parse(changed.text).weight, JSON.parse(changed.text).connectionsMax], [200, 3, 5]);
  const { servers, ring } = await client.list();
  assertEquals(servers.map(({ server, weight, connects }) => [server, weight, connects]), [[server.name, 3, 1]]);
  assertMatch(ring.fingerprint, /^[0-9a-f]{8}$/);
  assertEquals(await client.remove(server.name, "1s", 1000), { server: server.name, open: 0, ended: 0 });
  assertEquals((await client.list()).servers, []);
});

Deno.test("an IPv6 server is named in a path by its percent-encoded name", async () => {
  await using control = await startControl();
  await control.client.add({ address: "2001:DB8::1", port: 80 });
  assertEquals((await control.client.list()).servers[0].server, "[2001:db8::1]:80");
  assertEquals((await control.client.remove("[2001:db8::1]:80", "0s", 0)).server, "[2001:db8::1]:80");
});

Deno.test("status tells what runs", async () => {
  await using control = await startControl();
  const status = await control.client.status();
  assertEquals([status.name, status.version, status.engine, status.pid], ["test", "1.2.3", "streams", Deno.pid]);
  assertEquals(parseAddress(status.address), control.balancer.address);
  assertEquals(status.connections, { accepted: 0, open: 0, max: 1000 });
});

Deno.test("stop hands on the grace time, and has a default", async () => {
  await using control = await startControl();
  assertEquals((await control.client.stop("250ms")).graceMs, 250);
  assertEquals((await control.request("POST", "/v1/stop")).status, 202);
  assertEquals(control.stops, [250, 10_000]);
});

Deno.test("metrics are Prometheus text", async () => {
  await using control = await startControl();
  await control.balancer.add(parseAddress("192.0.2.1:80"), ORDINARY);
  const { status, type, text } = await control.request("GET", "/metrics");
  assertEquals([status, type], [200, "text/plain; version=0.0.4; charset=utf-8"]);
  assertStringIncludes(text, 'balancer_server_open_connections{server="192.0.2.1:80"} 0\n');
  for (const line of text.trim().split("\n")) assertMatch(line, /^(#.*|[a-z_]+(\{[^}]*\})? [0-9.e+-]+|)$/);
});

Deno.test("the OpenAPI document describes every route", async () => {
  await using control = await startControl();
  const { status, text } = await control.request("GET", "/openapi.json");
  const { openapi, paths } = JSON.parse(text);
  assertEquals([status, openapi], [200, "3.1.0"]);
  for (const { method, path } of Object.values(ROUTES)) assert(paths[path]?.[method] !== undefined, `${method} ${path}`);
});

const BAD_REQUESTS: readonly [method: string, path: string, body: string | undefined, status: number, says: string][] = [
  ["POST", "/v1/servers", "weight=1", 400, "not JSON"],
  ["POST", "/v1/servers", "", 400, "address"],
  ["POST", "/v1/servers", "[]", 400, "expected object"],
  ["POST", "/v1/servers", "null", 400, "expected object"],
  ["POST", "/v1/servers", '{"address":"300.1.1.1","port":80}', 400, 'Address "300.1.1.1"'],
  ["POST", "/v1/servers", '{"address":"","port":80}', 400, 'Address ""'],
  ["POST", "/v1/servers", '{"address":7,"port":80}', 400, "address"],
  ["POST", "/v1/servers", '{"address":"10.0.0.1","port":0}', 400, "port"],
  ["POST", "/v1/servers", '{"address":"10.0.0.1","port":65536}', 400, "port"],
  ["POST", "/v1/servers", '{"address":"10.0.0.1","port":"80"}', 400, "port"],
  ["POST", "/v1/servers", '{"address":"10.0.0.1","port":80,"weight":0}', 400, "weight"],
  ["POST", "/v1/servers", '{"address":"10.0.0.1","port":80,"weight":1e9}', 400, "weight"],
  ["POST", "/v1/servers", '{"address":"10.0.0.1","port":80,"connectionsMax":0}', 400, "connectionsMax"],
  ["POST", "/v1/servers", '{"address":"10.0.0.1","port":80,"colour":"red"}', 400, "colour"],
  ["PATCH", "/v1/servers/10.0.0.9:80", '{"weight":2}', 404, '"10.0.0.9:80"'],
  ["PATCH", "/v1/servers/10.0.0.9:80", "{}", 400, "Nothing to change"],
  ["PATCH", "/v1/servers/nonsense", '{"weight":2}', 400, '"nonsense"'],
  ["DELETE", "/v1/servers/10.0.0.9:80", undefined, 404, "it is not in the pool"],
  ["DELETE", "/v1/servers/10.0.0.9:80?drain=soon", undefined, 400, '"soon"'],
  ["DELETE", "/v1/servers/10.0.0.9:80?drian=1s", undefined, 400, "drian"],
  ["POST", "/v1/stop", '{"grace":"-1s"}', 400, '"-1s"'],
  ["GET", "/v1/nothing", undefined, 404, "/openapi.json"],
  ["PUT", "/v1/status", "{}", 404, "PUT /v1/status"],
];

Deno.test("a bad request is answered with a sentence, and changes nothing", async () => {
  await using control = await startControl();
  for (const [method, path, body, status, says] of BAD_REQUESTS) {
    const answer = await control.request(method, path, body);
    assertEquals(answer.status, status, `${method} ${path} ${body}: ${answer.text}`);
    assertStringIncludes(errorOf(answer.text).message, says, `${method} ${path} ${body}`);
    assert(!errorOf(answer.text).message.includes("\n"));
  }
  assertEquals([control.balancer.generation, control.stops], [0, []]);
});

Deno.test("a request of 10 MB is refused", async () => {
  await using control = await startControl();
  const { status, text } = await control.request("POST", "/v1/servers", " ".repeat(10_000_000));
  assertEquals([status, errorOf(text).kind], [413, "tooLarge"]);
  assertStringIncludes(errorOf(text).message, String(LIMITS.requestBytesMax));
  assertEquals((await control.client.list()).servers, []);
});

Deno.test("a request that never ends is refused after its time, and others are answered meanwhile", async () => {
  await using control = await startControl(300);
  using socket = await Deno.connect({ transport: "unix", path: control.path });
  await writeText(socket, "POST /v1/servers HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
  const answered = soon(readSome(socket), "the refusal");
  await control.client.status();
  assertStringIncludes(await answered, "408 Request Timeout");
});

Deno.test("whoever connects to the control socket and says nothing is in nobody's way", async () => {
  const control = await startControl();
  using silent = await Deno.connect({ transport: "unix", path: control.path });
  await control.client.status();
  await soon(control[Symbol.asyncDispose](), "the end of the control server");
  assertEquals(await soon(readText(silent).catch(() => "")), "");
});

Deno.test("bytes that are no HTTP are refused", async () => {
  await using control = await startControl();
  using socket = await Deno.connect({ transport: "unix", path: control.path });
  await writeText(socket, "\x16\x03\x01 not HTTP at all\r\n\r\n");
  assertMatch(await soon(readText(socket).catch(() => "")), /^$|^HTTP\/1\.[01] 400/);
  await control.client.status();
});

Deno.test("claimSocket() takes over a socket that nobody listens on, and nothing else", async () => {
  const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
  try {
    await Deno.chmod(folder, 0o700);
    const stale = `${folder}/stale.sock`;
    await leaveSocket(stale);
    await claimSocket(stale);
    await assertRejects(() => Deno.lstat(stale), Deno.errors.NotFound);
    const file = `${folder}/file.sock`;
    await Deno.writeTextFile(file, "precious");
    await assertRejects(() => claimSocket(file), OperatorError, "it exists and is no socket");
    assertEquals(await Deno.readTextFile(file), "precious");
    using _listener = Deno.listen({ transport: "unix", path: `${folder}/busy.sock` });
    await assertRejects(() => claimSocket(`${folder}/busy.sock`), OperatorError, "another program listens on it");
    await Deno.chmod(folder, 0o777);
    await assertRejects(() => claimSocket(`${folder}/new.sock`), OperatorError, "other users can write to it");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the client tells a balancer that is not there from what is no balancer", async () => {
  const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
  try {
    using absent = new ControlClient("absent", `${folder}/absent.sock`);
    assertEquals((await assertRejects(() => absent.list(), OperatorError, '"absent"')).kind, "notRunning");
    await leaveSocket(`${folder}/stale.sock`);
    using stale = new ControlClient("stale", `${folder}/stale.sock`);
    assertEquals((await assertRejects(() => stale.list(), OperatorError)).kind, "notRunning");
    await using _other = Deno.serve({ path: `${folder}/other.sock`, onListen: () => {} }, () => new Response("hello"));
    using other = new ControlClient("other", `${folder}/other.sock`);
    assertEquals((await assertRejects(() => other.list(), OperatorError, "is no balancer")).kind, "failed");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** A socket file whose listener is gone, as a killed daemon leaves it. A second name, for the runtime removes the first. */
async function leaveSocket(path: string): Promise<void> {
  using _listener = Deno.listen({ transport: "unix", path: `${path}.first` });
  await Deno.link(`${path}.first`, path);
}

async function readSome(socket: Deno.Conn): Promise<string> {
  const buffer = new Uint8Array(1000);
  return new TextDecoder().decode(buffer.subarray(0, await socket.read(buffer) ?? 0));
}
