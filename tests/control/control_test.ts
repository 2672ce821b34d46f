// The control API over a real Unix socket.

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { parseAddress } from "../../lib/values/address.ts";
import { LIMITS } from "../../lib/values/config.ts";
import { ROUTES } from "../../lib/control/api.ts";
import type { StopTimes } from "../../lib/balancer/shutdown.ts";
import { ControlClient } from "../../lib/control/client.ts";
import { serveControl } from "../../lib/control/server.ts";
import { claimSocket, isListening } from "../../lib/control/socket.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { ask, connect, echo, readBytes, readText, sayName, soon, startServer, WAIT_MAX_MS, writeText } from "../helpers.ts";
import { type OneService, startBalancer } from "../one_service.ts";
import { turn, until } from "../raw_socket.ts";

const ORDINARY = { weight: 1, connectionsMax: null };

interface Control extends AsyncDisposable {
  readonly balancer: OneService;
  readonly path: string;
  readonly client: ControlClient;
  readonly stops: StopTimes[];
  /** Speaks HTTP to the socket. */
  request(method: string, path: string, body?: BodyInit): Promise<{ status: number; type: string; text: string }>;
}

/** Without checks, which are connections, too. */
async function startControl(requestTimeMaxMs?: number, flags: Record<string, string> = {}): Promise<Control> {
  const stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const path = `${folder}/run/control.sock`;
  const balancer = stack.use(await startBalancer({ flags }));
  const stops: StopTimes[] = [];
  const shutdown = { ask: (times: StopTimes) => void stops.push(times), done: Promise.resolve(7), isLameDuck: false };
  const facts = {
    name: "test",
    version: "1.2.3",
    engine: "streams",
    startedAt: new Date(),
    stateFile: "/nowhere",
    lockFile: "/nowhere",
    logFile: null,
    http: () => null,
    localPorts: null,
    warnOf: () => [],
    carriedOver: null,
    warnings: [],
  };
  await claimSocket(path);
  stack.use(
    await serveControl({ path, balancer: balancer.balancer, facts, shutdown, upgrade: () => "", requestTimeMaxMs }),
  );
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
  assertEquals(await client.remove(server.name, "1s", 1000), { server: server.name, open: 0, moved: 0, ended: 0 });
  assertEquals((await client.list()).servers, []);
});

Deno.test("a server is drained and brought back, and says since when and why", async () => {
  await using control = await startControl();
  await control.client.add({ address: "192.0.2.1", port: 80 });
  const before = new Date().toISOString();
  const { state, reason, since } = await control.client.change("192.0.2.1:80", { draining: true });
  assertEquals([state, reason], ["draining", "balancerctl drain"]);
  assert(since >= before && since <= new Date().toISOString(), since);
  assertEquals((await control.client.server("192.0.2.1:80")).state, "draining");
  assertEquals((await control.client.status()).servers, { up: 0, resting: 0, down: 0, draining: 1, removing: 0 });
  const back = await control.client.change("192.0.2.1:80", { draining: false, weight: 3 });
  assertEquals([back.state, back.reason, back.weight], ["up", null, 3]);
});

Deno.test("a server's check is set, shown, made and taken back; a bad one changes nothing", async () => {
  await using control = await startControl();
  await using server = startServer((socket) => writeText(socket, "HTTP/1.1 204 No Content\r\n\r\n"));
  const { client } = control;
  const { port } = server.address;
  const own = { check: "http:/up", checkHost: "web.example", checkStatus: "204" };
  const added = await client.add({ address: "127.0.0.1", port, ...own });
  assertEquals([added.check, added.checkHost, added.checkStatus, added.checkPort], ["http:/up", "web.example", "204", null]);
  const { verdict, check, steps } = await client.check(server.name);
  assertEquals([verdict, check, steps.at(-1)?.detail], ["passed", "http:/up", "HTTP/1.1 204 No Content"]);
  for (
    const [change, why] of [
      [{ check: "http" }, 'Check "http" is not off'],
      [{ checkHost: "WEB.example" }, 'must be written as "web.example"'],
      [{ checkPort: 0 }, "Cannot use checkPort"],
      [{ checkCa: "ca.pem" }, "give the absolute path"],
      [{ checkCa: "/nowhere/ca.pem" }, "it does not exist"],
      [{ checkStatus: "default" }, "must be written as null"],
    ] as const
  ) {
    assertStringIncludes((await assertRejects(() => client.change(server.name, change), OperatorError)).message, why);
  }
  assertEquals((await client.server(server.name)).checkStatus, "204");
  assertEquals((await client.change(server.name, { check: null, checkStatus: null })).check, null);
  await assertRejects(() => client.check("192.0.2.9:80"), OperatorError, "is not in the pool");
});

Deno.test("a plan is asked for, with an IPv6 server, too", async () => {
  await using control = await startControl();
  const { client } = control;
  const empty = await client.plan({ change: "add", server: "[2001:db8::1]:80", weight: "2" });
  assertEquals(empty.change, { kind: "add", server: "[2001:db8::1]:80", weight: 2 });
  assertEquals([empty.movedShare, empty.flows], [1, [{ from: null, to: "[2001:db8::1]:80", share: 1 }]]);
  await client.add({ address: "192.0.2.1", port: 80 });
  assertEquals((await client.plan({ change: "add", server: "192.0.2.2:80" })).change, {
    kind: "add",
    server: "192.0.2.2:80",
    weight: 1,
  });
  const last = await client.plan({ change: "remove", server: "192.0.2.1:80" });
  assertEquals([last.movedShare, last.flows, last.servers], [1, [{ from: "192.0.2.1:80", to: null, share: 1 }], {
    before: 1,
    after: 0,
  }]);
  assertEquals(last.change, { kind: "remove", server: "192.0.2.1:80" });
  const heavier = await client.plan({ change: "weight", server: "192.0.2.1:80", weight: "7" });
  assertEquals([heavier.movedShare, heavier.connections], [0, []]);
});

Deno.test("a client is explained, with as many successors as are asked for", async () => {
  await using control = await startControl();
  const { client } = control;
  const nobody = await client.explain({ client: "192.0.2.7" });
  assertEquals([nobody.client, nobody.server, nobody.order], ["192.0.2.7", null, []]);
  for (let i = 1; i <= 6; i++) await client.add({ address: "192.0.2.1", port: i });
  const explained = await client.explain({ client: "2001:DB8::7" });
  assertEquals([explained.client, explained.order.length], ["2001:db8::7", 4]);
  assertEquals(explained.order[0].server, explained.server);
  assertMatch(explained.hash, /^[0-9a-f]{16}$/);
  assertMatch(explained.point ?? "", /^[0-9a-f]{8}$/);
  assertEquals((await client.explain({ client: "192.0.2.7", successors: "1" })).order.length, 2);
  assertEquals((await client.explain({ client: "192.0.2.7", successors: "1000" })).order.length, 6);
});

Deno.test("connections that ended are listed, by server, fate and number", async () => {
  await using control = await startControl();
  await using server = startServer(sayName);
  const { client, balancer } = control;
  const before = new Date(Date.now() - 1).toISOString();
  await ask(balancer.address);
  await client.add({ address: server.address.host, port: server.address.port });
  await ask(balancer.address);
  await ask(balancer.address);
  const all = await client.recent({});
  assertEquals([all.ends.map(({ fate }) => fate), all.leftOut], [["done", "done", "no_server"], 0]);
  const [{ at, server: name, receivedBytes, moves }] = all.ends;
  assert(at >= before && at <= new Date(Date.now() + 1).toISOString(), at);
  assertEquals([name, receivedBytes, moves], [server.name, server.name.length, 0]);
  assertEquals((await client.recent({ fate: "no_server" })).ends.map(({ server }) => server), [null]);
  assertEquals((await client.recent({ server: server.name, limit: "1" })).ends, [all.ends[0]]);
  assertEquals((await client.recent({ server: "192.0.2.1:80" })).ends, []);
  for (const query of ["", "?limit=1", "?fate=no_server"]) {
    const [recent, old] = await Promise.all(["recent", "ends"].map((path) => control.request("GET", `/v1/${path}${query}`)));
    assertEquals([old.status, old.text], [recent.status, recent.text], "the deprecated path answers the same");
  }
});

Deno.test("a rebalance is started, shown and stopped; at another level it is a conflict", async () => {
  await using control = await startControl(undefined, { redistribute: "idle" });
  const nothing = { running: false, away: 0, busy: 0, moved: 0, rate: 0 };
  assertEquals(await control.client.showRebalance(), nothing);
  const started = await control.request("POST", "/v1/rebalance", '{"rate":7}');
  assertEquals([started.status, JSON.parse(started.text)], [202, { ...nothing, rate: 7 }]);
  assertEquals((await control.client.startRebalance(undefined)).rate, 100);
  assertEquals((await control.client.stopRebalance()).running, false);
  await using other = await startControl();
  const { status, text } = await other.request("POST", "/v1/rebalance");
  assertEquals([status, errorOf(text).kind], [409, "conflict"]);
  assertStringIncludes(errorOf(text).message, "--redistribute is new");
  assertEquals(await other.client.stopRebalance(), nothing);
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
  assertEquals(status.connections, { accepted: 0, open: 0, waiting: 0, max: 1000 });
  assertEquals([status.servers, status.checkIntervalMs], [{ up: 0, resting: 0, down: 0, draining: 0, removing: 0 }, 2000]);
});

Deno.test("stop hands on its times; those that are left out are the daemon's, as they are then", async () => {
  await using control = await startControl();
  const { graceMs, cut } = await control.client.stop({ grace: "250ms", lameDuck: "off" }, 1000);
  assertEquals([graceMs, cut], [250, 7]);
  const { status, text } = await control.request("POST", "/v1/stop");
  assertEquals([status, JSON.parse(text).cut], [202, null]);
  await control.client.setDaemon({ grace: "1m", "lame-duck": "2s" });
  await control.request("POST", "/v1/stop");
  await control.request("POST", "/v1/stop", JSON.stringify({ lameDuck: "off" }));
  assertEquals(control.stops, [
    { lameDuckMs: 0, graceMs: 250 },
    { lameDuckMs: 0, graceMs: 10_000 },
    { lameDuckMs: 2000, graceMs: 60_000 },
    { lameDuckMs: 0, graceMs: 60_000 },
  ]);
});

Deno.test("metrics are Prometheus text", async () => {
  await using control = await startControl();
  await control.balancer.add(parseAddress("192.0.2.1:80"), ORDINARY);
  const { status, type, text } = await control.request("GET", "/metrics");
  assertEquals([status, type], [200, "text/plain; version=0.0.4; charset=utf-8"]);
  assertStringIncludes(text, 'balancer_server_open_connections{service="default",server="192.0.2.1:80"} 0\n');
  for (const line of text.trim().split("\n")) assertMatch(line, /^(#.*|[a-z_]+(\{[^}]*\})? [0-9.e+-]+|)$/);
});

Deno.test("the OpenAPI document describes every route", async () => {
  await using control = await startControl();
  const { status, text } = await control.request("GET", "/openapi.json");
  const { openapi, paths } = JSON.parse(text);
  assertEquals([status, openapi], [200, "3.1.0"]);
  for (const { method, path, responses } of Object.values(ROUTES)) {
    const described = paths[path]?.[method];
    assert(described !== undefined, `${method} ${path}`);
    assertEquals(Object.keys(described.responses), Object.keys(responses), `${method} ${path}`);
  }
  const routes = Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods as object).map((m) => `${m} ${path}`));
  for (
    const route of [
      "get /v1/plan",
      "get /v1/explain",
      "get /v1/recent",
      "get /v1/ends",
      "get /v1/servers/{server}",
      "patch /v1/servers/{server}",
    ]
  ) {
    assert(routes.includes(route), route);
  }
  for (const method of ["post", "get", "delete"]) assert(routes.includes(`${method} /v1/rebalance`), method);
  assertEquals([paths["/v1/recent"].get.operationId, paths["/v1/recent"].get.deprecated], ["listRecent", undefined]);
  assertEquals([paths["/v1/ends"].get.operationId, paths["/v1/ends"].get.deprecated], ["listEnds", true]);
  const parameters = paths["/v1/recent"].get.parameters.map(({ name, in: where }: { name: string; in: string }) => [where, name]);
  assertEquals(parameters, [["query", "server"], ["query", "fate"], ["query", "limit"]]);
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
  ["PATCH", "/v1/servers/10.0.0.9:80", '{"draining":true}', 404, '"10.0.0.9:80"'],
  ["PATCH", "/v1/servers/10.0.0.9:80", '{"draining":"yes"}', 400, "draining"],
  ["PATCH", "/v1/servers/10.0.0.9:80", '{"draining":null}', 400, "draining"],
  ["PATCH", "/v1/servers/10.0.0.9:80", '{"drained":true}', 400, "drained"],
  ["GET", "/v1/servers/10.0.0.9:80", undefined, 404, "is not in the pool"],
  ["GET", "/v1/servers/10.0.0.9", undefined, 400, '"10.0.0.9"'],
  ["DELETE", "/v1/servers/10.0.0.9:80", undefined, 404, "is not in the pool"],
  ["DELETE", "/v1/servers/10.0.0.9:80?drain=soon", undefined, 400, '"soon"'],
  ["DELETE", "/v1/servers/10.0.0.9:80?drian=1s", undefined, 400, "drian"],
  ["POST", "/v1/services/default/listeners", '{"address":"127.0.0.1","port":9,"lastPort":8}', 400, "ends before it begins"],
  ["POST", "/v1/services/default/listeners", '{"address":"127.0.0.1","port":0,"lastPort":8}', 400, 'Port "0"'],
  ["POST", "/v1/services/default/listeners", '{"address":"127.0.0.1","port":1,"lastPort":9999}', 400, "the limit is"],
  ["GET", "/v1/plan", undefined, 400, "change"],
  ["GET", "/v1/plan?change=remove", undefined, 400, "server"],
  ["GET", "/v1/plan?server=10.0.0.9:80", undefined, 400, "change"],
  ["GET", "/v1/plan?change=swap&server=10.0.0.9:80", undefined, 400, "change"],
  ["GET", "/v1/plan?change=remove&server=10.0.0.9", undefined, 400, '"10.0.0.9"'],
  ["GET", "/v1/plan?change=remove&server=10.0.0.9:80", undefined, 404, "is not in the pool"],
  ["GET", "/v1/plan?change=weight&server=10.0.0.9:80&weight=2", undefined, 404, "is not in the pool"],
  ["GET", "/v1/plan?change=add&server=10.0.0.9:80&weight=0", undefined, 400, 'Weight "0"'],
  ["GET", "/v1/plan?change=add&server=10.0.0.9:80&wieght=2", undefined, 400, "wieght"],
  ["GET", "/v1/explain", undefined, 400, "client"],
  ["GET", "/v1/explain?client=foo", undefined, 400, 'Cannot explain "foo"'],
  ["GET", "/v1/explain?client=", undefined, 400, 'Cannot explain ""'],
  ["GET", `/v1/explain?client=${"1".repeat(301)}`, undefined, 400, "client"],
  ["GET", "/v1/explain?client=10.0.0.9&successors=0", undefined, 400, 'Number of successors "0"'],
  ["GET", "/v1/explain?client=10.0.0.9&successors=1001", undefined, 400, 'Number of successors "1001"'],
  [
    "GET",
    "/v1/recent?fate=lost",
    undefined,
    400,
    'Unknown fate "lost": did you mean "server_lost", "worker_lost" or "upgrade_lost"?',
  ],
  ["GET", "/v1/recent?fate=constructor", undefined, 400, 'Unknown fate "constructor"'],
  ["GET", "/v1/recent?limit=0", undefined, 400, 'Limit "0"'],
  ["GET", "/v1/recent?limit=5000", undefined, 400, 'Limit "5000"'],
  ["GET", "/v1/recent?limit=ten", undefined, 400, 'Limit "ten"'],
  ["GET", "/v1/recent?server=nonsense", undefined, 400, '"nonsense"'],
  ["GET", "/v1/recent?colour=red", undefined, 400, "colour"],
  ["GET", "/v1/recent?limit=1&limit=2", undefined, 400, "limit"],
  ["POST", "/v1/rebalance", '{"rate":0}', 400, "rate"],
  ["POST", "/v1/rebalance", '{"rate":"x"}', 400, "rate"],
  ["POST", "/v1/rebalance", '{"rate":1.5}', 400, "rate"],
  ["POST", "/v1/rebalance", '{"rate":100001}', 400, "rate"],
  ["POST", "/v1/rebalance", '{"speed":1}', 400, "speed"],
  ["POST", "/v1/rebalance", "{}", 409, "--redistribute"],
  ["PATCH", "/v1/rebalance", "{}", 404, "PATCH /v1/rebalance"],
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

/** What a connection is sent until it is closed, when it has sent this and no more. */
async function told(path: string, sent: string): Promise<string> {
  using socket = await Deno.connect({ transport: "unix", path });
  if (sent !== "") await writeText(socket, sent);
  return await soon(readText(socket), "the end of the connection");
}

for (
  const [what, sent] of [
    ["nothing", ""],
    ["half a head", "GET /v1/status HTTP/1.1\r\nHos"],
    ["half a body", "POST /v1/servers HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"],
    ["a chunk that is not the last", "POST /v1/servers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"],
  ]
) {
  Deno.test(`a connection that sends ${what} is told after its time, and closed`, async () => {
    await using control = await startControl(100);
    const text = await told(control.path, sent);
    assertMatch(text, /^HTTP\/1\.1 408 Request Timeout\r\n/);
    assertStringIncludes(text, '{"error":{"kind":"tooSlow","message":"The request did not arrive completely within 100ms"}}');
  });
}

Deno.test("a request whose answer takes longer than a request may is answered", async () => {
  await using control = await startControl(1000);
  await using server = startServer(echo);
  const { client, balancer } = control;
  await client.add({ address: "127.0.0.1", port: server.address.port });
  using open = await connect(balancer.address);
  await writeText(open, "x");
  await soon(readBytes(open, 1));
  const removal = client.remove(server.name, "1h", 3_600_000);
  while ((await client.server(server.name)).state !== "removing");
  await told(control.path, ""); // as long as a request may take
  open.close();
  assertEquals((await soon(removal)).open, 1);
});

Deno.test("removals that last take no place from those who ask", async () => {
  await using server = startServer(echo);
  await using control = await startControl();
  const { client } = control;
  await client.add({ address: server.address.host, port: server.address.port });
  using open = await connect(control.balancer.address);
  await writeText(open, "x");
  await soon(readBytes(open, 1));
  const clients = Array.from({ length: LIMITS.controlWaitingMax + 10 }, () => new ControlClient("default", control.path));
  const removals: ReturnType<ControlClient["remove"]>[] = [];
  for (const another of clients) {
    removals.push(another.remove(server.name, "1h", 3_600_000));
    await client.status(); // not all at the same moment
  }
  await until(() => control.balancer.list()[0].state === "removing", "the removal");
  for (const another of clients.slice(0, 5)) assertEquals((await another.status()).servers.removing, 1);
  open.close();
  for (const removal of removals) assertEquals((await soon(removal)).open, 1);
  for (const client of clients) client[Symbol.dispose]();
});

Deno.test("so many connections may be open; one more is told so, and taken when another has gone", async () => {
  await using control = await startControl();
  const { controlWaitingMax } = LIMITS;
  const connectNow = () => Deno.connect({ transport: "unix", path: control.path });
  const crowd = await Promise.all(Array.from({ length: controlWaitingMax }, connectNow));
  const text = await told(control.path, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
  assertMatch(text, /^HTTP\/1\.1 503 Service Unavailable\r\n/);
  assertStringIncludes(text, `{"kind":"busy","message":"Cannot take the request: ${controlWaitingMax} connections`);
  const error = await assertRejects(() => control.client.status(), OperatorError, "try again later");
  assertEquals(error.kind, "busy");
  for (const socket of crowd) socket.close();
  while (await control.client.status().catch(() => undefined) === undefined);
});

for (const [method, target] of [["TRACE", "/v1/status"], ["CONNECT", "127.0.0.1:80"], ["CONNECT", "/v1/status"]]) {
  Deno.test(`${method} ${target} is not allowed, and what is allowed is said`, async () => {
    await using control = await startControl();
    const text = await told(control.path, `${method} ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assertMatch(text, /^HTTP\/1\.1 405 Method Not Allowed\r\n/);
    assertMatch(text, /^allow: DELETE, GET, HEAD, PATCH, POST\r\n/im);
    assertStringIncludes(text, `{"error":{"kind":"notAllowed","message":"Method ${method} is not allowed; the API has DELETE, `);
  });
}

Deno.test("two hundred requests over one connection are answered without a pause", async () => {
  await using control = await startControl();
  const before = performance.now();
  for (let i = 0; i < 200; i++) assertEquals((await control.request("POST", "/v1/servers", "{")).status, 400);
  assert(performance.now() - before < 5000, "a connection that was closed between two requests costs 5 s");
});

Deno.test("bytes that are no HTTP are refused", async () => {
  await using control = await startControl();
  using socket = await Deno.connect({ transport: "unix", path: control.path });
  await writeText(socket, "\x16\x03\x01 not HTTP at all\r\n\r\n");
  assertMatch(await soon(readText(socket).catch(() => "")), /^$|^HTTP\/1\.[01] 400/);
  await control.client.status();
});

Deno.test({
  name: "claimSocket() removes old sockets with temporary names that nobody listens on, and nothing else",
  ignore: Deno.build.os === "windows",
  async fn() {
    const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
    try {
      const hourAgo = new Date(Date.now() - 3_600_000);
      const leave = async (name: string, mtime: Date) => {
        await leaveSocket(`${folder}/${name}`);
        await Deno.utime(`${folder}/${name}`, mtime, mtime);
      };
      await leave(".old", hourAgo);
      await leave(".new", new Date());
      await leave("named", hourAgo);
      await Deno.writeTextFile(`${folder}/.file`, "");
      await Deno.utime(`${folder}/.file`, hourAgo, hourAgo);
      using _listener = Deno.listen({ transport: "unix", path: `${folder}/.used` });
      await Deno.utime(`${folder}/.used`, hourAgo, hourAgo);
      await claimSocket(`${folder}/default.sock`);
      const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
      assertEquals(names.toSorted(), [".file", ".new", ".used", "named"]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
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
    await assertRejects(() => claimSocket(file), OperatorError, "it exists and is not a socket");
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
    assertEquals((await assertRejects(() => other.list(), OperatorError, "is not a balancer")).kind, "failed");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** A socket file whose listener is gone, as a killed daemon leaves it. A second name, for the runtime removes the first. */
async function leaveSocket(path: string): Promise<void> {
  const listener = Deno.listen({ transport: "unix", path: `${path}.first` });
  await Deno.link(`${path}.first`, path);
  listener.close();
  // A child of another test has the listener, too, between its fork(2) and its execve(2).
  for (const endMs = performance.now() + WAIT_MAX_MS; await isListening(path);) {
    assert(performance.now() < endMs, "it still listens");
  }
}

async function readSome(socket: Deno.Conn): Promise<string> {
  const buffer = new Uint8Array(1000);
  return new TextDecoder().decode(buffer.subarray(0, await socket.read(buffer) ?? 0));
}

Deno.test("open connections are listed, moved and closed; what is no id, or not open, is said with the right status", async () => {
  await using control = await startControl(undefined, { redistribute: "idle", quiet: "1ms" });
  await using a = startServer(echo);
  await using b = startServer(echo);
  const { client, balancer } = control;
  await client.add({ address: "127.0.0.1", port: a.address.port });
  using socket = await connect(balancer.address);
  await writeText(socket, "x");
  await soon(readBytes(socket, 1));
  await client.add({ address: "127.0.0.1", port: b.address.port });
  const { total, connections: [one] } = await client.connections({ server: a.name, sort: "idle", limit: "1" });
  assertEquals([total, one.server, one.service, one.sentBytes], [1, a.name, "default", 1]);
  await until(() => balancer.counters.getOf(0, "receivedBytes") === 1, "the answer to be counted");
  await turn(5); // longer than the quiet time
  const moved = await client.moveConnection(one.id, { server: b.name, force: false });
  assertEquals([moved.outcome, moved.from, moved.to, moved.state, moved.reason], ["moved", a.name, b.name, "idle", null]);
  const post = async (path: string, body = "{}") => {
    const { status, text } = await control.request("POST", `/v1/connections/${path}`, body);
    return [status, errorOf(text).kind];
  };
  assertEquals(await post(`${one.id}/move`, JSON.stringify({ server: b.name })), [409, "conflict"]);
  assertEquals(await post(`${one.id}/move`, JSON.stringify({ server: "192.0.2.1:80" })), [404, "unknown"]);
  for (const body of ['{"server":"x"}', '{"force":1}', '{"to":"192.0.2.1:80"}']) {
    assertEquals(await post(`${one.id}/move`, body), [400, "usage"], body);
  }
  assertEquals(await client.closeConnection(one.id), { id: one.id, service: "default", client: one.client, server: b.name });
  for (const verb of ["close", "move"]) {
    assertEquals(await post(`${one.id}/${verb}`), [404, "unknown"]);
    assertEquals(await post(`${"0".repeat(16)}-1f/${verb}`), [404, "unknown"]);
    for (const id of ["1f", "..%2f", "x".repeat(400)]) assertEquals(await post(`${id}/${verb}`), [400, "usage"], id);
  }
  for (const query of ["sort=name", "limit=0", "limit=1001", "state=up", "client=x", "server=x", "nope=1", "limit=1&limit=2"]) {
    assertEquals((await control.request("GET", `/v1/connections?${query}`)).status, 400, query);
  }
  assertEquals((await control.request("GET", "/v1/connections?service=other")).status, 404);
  assertEquals((await control.request("GET", `/v1/connections/${one.id}/close`)).status, 404, "reading closes nothing");
});
