// What --http serves: three pages to read, and nothing else, whatever is sent to it.

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { Monitor } from "../../lib/control/monitor.ts";
import { type Address, formatAddress } from "../../lib/values/address.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { connect, readText, soon, writeText } from "../helpers.ts";
import { needing } from "../tools.ts";

const LOOPBACK: Address = { host: "127.0.0.1", port: 0 };

interface Reply {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

/** Sends the text and reads everything until the end. */
async function send(address: Address, text: string): Promise<Reply> {
  using socket = await connect(address);
  await writeText(socket, text);
  const [head, body = ""] = (await soon(readText(socket), "the answer")).split("\r\n\r\n");
  return { status: Number(head.match(/^HTTP\/1\.1 ([0-9]+) /)?.[1]), head: head.toLowerCase(), body };
}

function get(address: Address, target: string, { method = "GET", headers = "" } = {}): Promise<Reply> {
  return send(address, `${method} ${target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${headers}\r\n`);
}

/** A monitor that tells of a balancer whose readiness the test sets. */
async function startMonitor(options: Parameters<typeof Monitor.open>[1] = {}) {
  const monitor = await Monitor.open(LOOPBACK, options);
  let why: string | undefined;
  monitor.show({
    metrics: (format) => Promise.resolve(new Response(`${format}\n`, { headers: { "content-type": "text/x-test" } })),
    whyNotReady: () => why,
  });
  return {
    address: monitor.address,
    become: (reason: string | undefined) => void (why = reason),
    [Symbol.asyncDispose]: () => monitor[Symbol.asyncDispose](),
  };
}

Deno.test("--http on port 0 says the real port", async () => {
  await using monitor = await startMonitor();
  assertEquals(monitor.address.host, "127.0.0.1");
  assert(monitor.address.port > 0);
});

Deno.test(await needing("--http on an IPv6 address", "IPv6 on loopback"), async () => {
  await using monitor = await Monitor.open({ host: "::1", port: 0 });
  assertEquals((await get(monitor.address, "/live")).status, 200);
});

Deno.test("/live is 200, whatever readiness says", async () => {
  await using monitor = await startMonitor();
  monitor.become("It is stopping");
  const { status, body } = await get(monitor.address, "/live");
  assertEquals([status, body], [200, "The balancer is running\n"]);
});

Deno.test("/ready is 200 or 503, with one sentence", async () => {
  await using monitor = await startMonitor();
  const ready = await get(monitor.address, "/ready");
  assertEquals([ready.status, ready.body], [200, "The balancer is ready\n"]);
  assertStringIncludes(ready.head, "cache-control: no-store");
  monitor.become("No server is up");
  const unready = await get(monitor.address, "/ready?verbose");
  assertEquals([unready.status, unready.body], [503, "No server is up\n"]);
});

Deno.test("until the balancer runs it is alive and not ready", async () => {
  await using monitor = await Monitor.open(LOOPBACK);
  const statuses = await Promise.all(
    ["/live", "/ready", "/metrics"].map(async (page) => (await get(monitor.address, page)).status),
  );
  assertEquals(statuses, [200, 503, 503]);
});

Deno.test("/metrics are in the format that is asked for", async () => {
  await using monitor = await startMonitor();
  assertEquals((await get(monitor.address, "/metrics")).body, "prometheus\n");
  const openMetrics = await get(monitor.address, "http://x/metrics", { headers: "accept: application/openmetrics-text\r\n" });
  assertEquals(openMetrics.body, "openMetrics\n");
  assertStringIncludes(openMetrics.head, "content-type: text/x-test");
});

Deno.test("HEAD has the head of GET, and no body", async () => {
  await using monitor = await startMonitor();
  const { status, head, body } = await get(monitor.address, "/metrics", { method: "HEAD" });
  assertEquals([status, body], [200, ""]);
  assertStringIncludes(head, "content-length: 11");
});

for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"]) {
  Deno.test(`${method} is not allowed, and what is allowed is said`, async () => {
    await using monitor = await startMonitor();
    const { status, head, body } = await get(monitor.address, "/metrics", { method });
    assertEquals([status, body], [405, `Method ${method} is not allowed; there are GET and HEAD\n`]);
    assertMatch(head, /^allow: get, head$/m);
  });
}

for (const path of ["/", "/metrics/", "/v1/status", "/openapi.json", "/constructor", "//metrics", "/%6detrics"]) {
  Deno.test(`there is no ${path}`, async () => {
    await using monitor = await startMonitor();
    const { status, body } = await get(monitor.address, path);
    assertEquals(status, 404);
    assertStringIncludes(body, "there are /metrics, /live, /ready");
  });
}

Deno.test("a request with a body, with very many headers or with a large head is refused", async () => {
  await using monitor = await startMonitor();
  const body = await send(monitor.address, "GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi");
  assertEquals(body.status, 413);
  const headers = await get(monitor.address, "/live", { headers: "a: b\r\n".repeat(120) });
  assertEquals([headers.status, headers.body], [413, "The request has more than 100 header lines, which is the limit\n"]);
  const large = await get(monitor.address, "/live", { headers: `a: ${"b".repeat(20_000)}\r\n` });
  assertEquals(large.status, 413);
});

for (
  const [what, text] of [["no HTTP", "\x16\x03\x01\x02\x00\r\n\r\n"], [
    "no path",
    "GET nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
  ]]
) {
  Deno.test(`a request that is ${what} is refused`, async () => {
    await using monitor = await startMonitor();
    assertEquals((await send(monitor.address, text)).status, 400);
    assertEquals((await get(monitor.address, "/live")).status, 200);
  });
}

Deno.test("whoever sends no whole request is told after its time, and others are answered meanwhile", async () => {
  await using monitor = await startMonitor({ requestTimeMaxMs: 200 });
  const slow = send(monitor.address, "GET /live HT");
  assertEquals((await get(monitor.address, "/live")).status, 200);
  assertEquals((await slow).status, 408);
});

Deno.test("so many connections may be open; one more is told so", async () => {
  await using monitor = await startMonitor({ connectionsMax: 2 });
  using first = await connect(monitor.address);
  using _second = await connect(monitor.address);
  const third = await get(monitor.address, "/live");
  assertEquals([third.status, third.body.startsWith("Cannot take the request: 2 connections")], [503, true]);
  await writeText(first, "GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  assertMatch(await soon(readText(first), "the answer"), /^HTTP\/1\.1 200 /);
});

Deno.test("a taken port, and an address of another machine, are told with a way out", async () => {
  await using monitor = await startMonitor();
  const taken = await assertRejects(() => Monitor.open(monitor.address), OperatorError);
  const where = formatAddress(monitor.address);
  const wayOut = "the port is taken by another program; choose another, or 0 for a free one";
  assertEquals([taken.kind, taken.message], ["failed", `Cannot serve --http on ${where}: ${wayOut}`]);
  await assertRejects(() => Monitor.open({ host: "192.0.2.1", port: 0 }), OperatorError, "not one of this machine's");
});

Deno.test("once it is disposed of, nobody is answered", async () => {
  const monitor = await startMonitor();
  await monitor[Symbol.asyncDispose]();
  await assertRejects(() => connect(monitor.address), Deno.errors.ConnectionRefused);
});
