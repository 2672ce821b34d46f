// The dashboard's server: who gets in, what others get, and that a request changes something only where everything says so.

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { Bridge } from "../../lib/dashboard/bridge.ts";
import { ALLOWED } from "../../lib/dashboard/allowed.ts";
import { deedOf } from "../../lib/page/model/deeds.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { connect, readText, soon, writeText } from "../helpers.ts";
import { exchange, openDashboard, type TestDashboard } from "./dashboards.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const FORM = "content-type: application/x-www-form-urlencoded";
const JSON_TYPE = "content-type: application/json";

/** Headers that every answer has. */
const GUARDS = [
  /^content-security-policy: default-src 'none'.*frame-ancestors 'none'/m,
  /^x-content-type-options: nosniff$/m,
  /^x-frame-options: DENY$/m,
  /^referrer-policy: (no-referrer|same-origin)$/m,
  /^cache-control: no-store$/m,
  /^cross-origin-resource-policy: same-origin$/m,
  /^cross-origin-opener-policy: same-origin$/m,
];

function assertGuarded(head: string): void {
  const lines = head.replaceAll("\r", "");
  for (const guard of GUARDS) assertMatch(lines, guard);
  assert(!/access-control/i.test(lines), lines);
}

async function pathOfLink({ bridge }: TestDashboard): Promise<string> {
  const { pathname, search } = new URL(await bridge.link());
  return pathname + search;
}

Deno.test("a link becomes a session, leaves the address bar, and works once", async () => {
  await using dashboard = await openDashboard();
  const link = await pathOfLink(dashboard);
  assertMatch(link, /^\/\?token=[A-Za-z0-9_-]{43}$/);
  const { status, head } = await dashboard.send("GET", link, ["sec-fetch-site: none", "sec-fetch-mode: navigate"]);
  assertEquals(status, 303);
  assertMatch(head, /^location: \/\r$/m);
  assertMatch(
    head,
    new RegExp(`^set-cookie: balancer-${dashboard.bridge.address.port}=[^;]+; Path=/; HttpOnly; SameSite=Strict\r$`, "m"),
  );
  assertGuarded(head);
  const cookie = `cookie: ${head.match(/^set-cookie: ([^;]+)/m)![1]}`;
  const page = await dashboard.send("GET", "/", [cookie]);
  assertEquals([page.status, page.body], [200, "<script>1</script><style>a{}</style>"]);
  assertMatch(page.head, /^content-security-policy: default-src 'none'; script-src 'sha256-/m);
  assertGuarded(page.head);

  const again = await dashboard.send("GET", link);
  assertEquals(again.status, 401);
  assertStringIncludes(again.body, "press Enter where <code>balancerctl dashboard</code> runs");
  assert(!/set-cookie|location/i.test(again.head));
  assertGuarded(again.head);
});

Deno.test("a link that another site shows lets in without a redirection, which would lack the cookie", async () => {
  await using dashboard = await openDashboard();
  const foreign = ["sec-fetch-site: cross-site", "sec-fetch-mode: navigate"];
  const { status, head } = await dashboard.send("GET", await pathOfLink(dashboard), foreign);
  assertEquals(status, 200);
  assertMatch(head, /^refresh: 0;url=\/\r$/m);
  assertMatch(head, /^set-cookie: /m);
  assertGuarded(head);
});

for (const method of ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"]) {
  Deno.test(`${method} uses no link up`, async () => {
    await using dashboard = await openDashboard();
    const link = await pathOfLink(dashboard);
    assert((await dashboard.send(method, link, [`origin: ${dashboard.origin}`])).status >= 400);
    assertEquals((await dashboard.send("GET", link)).status, 303);
  });
}

Deno.test("whoever has no session sees nothing and asks the daemon nothing", async () => {
  await using dashboard = await openDashboard({ writes: true });
  const cookie = await dashboard.enter();
  const wrong = [undefined, "cookie: x=y", cookie.replace("balancer-", "balancer-1"), `${cookie}x`, cookie.replace(/=.*/, "=")];
  for (const line of wrong) {
    for (const target of ["/", "/live", "/v1/status", "/v1/servers", "/nothing", "/login"]) {
      const { status, head, body } = await dashboard.send("GET", target, line === undefined ? [] : [line]);
      assertEquals(status, 401, `${target} ${line}`);
      assert(!body.includes("<script>"));
      assertGuarded(head);
    }
    const lines = [`origin: ${dashboard.origin}`, JSON_TYPE, ...(line === undefined ? [] : [line])];
    assertEquals((await dashboard.send("DELETE", "/v1/servers/10.0.0.1:80", lines)).status, 401);
  }
  assertEquals([dashboard.daemon.asked.length, dashboard.daemon.looks], [0, 0]);
});

/** A session is no help to them: the browser of the person would send it along. */
const FOREIGN: readonly [what: string, status: number, lines: readonly string[]][] = [
  ["another host (DNS rebinding)", 421, ["host: evil.example"]],
  ["two hosts", 421, ["host: HOST", "host: evil.example"]],
  ["another origin", 403, ["origin: http://evil.example"]],
  ["a hidden origin", 403, ["origin: null"]],
  ["another site", 403, ["sec-fetch-site: cross-site"]],
  ["another port", 403, ["sec-fetch-site: same-site"]],
];

for (const [what, status, lines] of FOREIGN) {
  Deno.test(`a request of ${what} is refused, whatever it asks`, async () => {
    await using dashboard = await openDashboard({ writes: true });
    const cookie = await dashboard.enter();
    const own = lines.map((line) => line.replace("HOST", dashboard.host));
    for (const [method, target] of [["GET", "/"], ["GET", "/live"], ["GET", "/v1/status"], ["DELETE", "/v1/servers/10.0.0.1:80"]]) {
      const { head, ...reply } = await dashboard.send(method, target, [cookie, JSON_TYPE, ...own]);
      assertEquals(reply.status, status, `${method} ${target}`);
      assertGuarded(head);
    }
    assertEquals(dashboard.daemon.asked, []);
  });
}

Deno.test("reads are passed on as they are, and nothing of the person's request goes with them but path and query", async () => {
  await using dashboard = await openDashboard();
  const cookie = await dashboard.enter();
  const { status, head, body } = await dashboard.send("GET", "/v1/servers/10.0.0.1:80?service=web", [cookie]);
  assertEquals([status, body], [200, '{"path":"/v1/servers/10.0.0.1%3A80?service=web"}']);
  assertMatch(head, /^content-type: application\/json/m);
  assertGuarded(head);
  assertEquals(dashboard.daemon.asked, [{ method: "GET", path: "/v1/servers/10.0.0.1%3A80?service=web", body: undefined }]);
  assertEquals((await dashboard.send("HEAD", "/v1/status", [cookie])).body, "");
});

Deno.test("no GET and no HEAD changes anything, whatever its path and its body", async () => {
  await using dashboard = await openDashboard({ writes: true });
  const cookie = await dashboard.enter();
  for (const { path } of ALLOWED.filter(({ writes }) => writes)) {
    for (const method of ["GET", "HEAD"]) {
      await dashboard.send(
        method,
        path.replace(/\{\w+\}/, "10.0.0.1:80"),
        [cookie, JSON_TYPE, "x-http-method-override: DELETE"],
        "{}",
      );
    }
  }
  for (const path of ["/v1/stop", "/v1/apply", "/v1/servers/10.0.0.1:80/check?_method=POST"]) {
    assert((await dashboard.send("GET", path, [cookie])).status >= 400, path);
  }
  for (const { method } of dashboard.daemon.asked) assertEquals(method, "GET");
});

/** A change that is whole but for one thing. */
const CHANGES: readonly [what: string, status: number, lines: (own: readonly string[]) => readonly string[], body?: string][] = [
  ["everything", 200, (own) => own],
  ["a character set", 200, ([cookie, origin]) => [cookie, origin, `${JSON_TYPE}; charset=utf-8`]],
  ["no cookie", 401, ([, origin, type]) => [origin, type]],
  ["no origin", 403, ([cookie, , type]) => [cookie, type]],
  ["no type", 400, ([cookie, origin]) => [cookie, origin]],
  ["the type of a form", 400, ([cookie, origin]) => [cookie, origin, FORM]],
  ["the type of a text", 400, ([cookie, origin]) => [cookie, origin, "content-type: text/plain"]],
  ["a type that begins like JSON's", 400, ([cookie, origin]) => [cookie, origin, "content-type: application/jsonx"]],
  ["a body that is no JSON", 400, (own) => own, "draining=true"],
];

for (const [what, status, lines, body = '{"draining":true}'] of CHANGES) {
  Deno.test(`with --write, a change with ${what} is answered ${status}`, async () => {
    await using dashboard = await openDashboard({ writes: true });
    const own = [await dashboard.enter(), `origin: ${dashboard.origin}`, JSON_TYPE];
    assertEquals((await dashboard.send("PATCH", "/v1/servers/10.0.0.1:80", lines(own), body)).status, status);
    const expected = { method: "PATCH", path: "/v1/servers/10.0.0.1%3A80", body: { draining: true } };
    assertEquals(dashboard.daemon.asked, status === 200 ? [expected] : []);
  });
}

Deno.test("what the page asks to be changed reaches the daemon with --write, and is refused without", async () => {
  for (const writes of [true, false]) {
    await using dashboard = await openDashboard({ writes });
    const own = [await dashboard.enter(), `origin: ${dashboard.origin}`, JSON_TYPE];
    for (const change of ["drain", "undrain", "remove"] as const) {
      const { method, path, body } = deedOf({ change, server: "[::1]:80", weight: "1" }, "web");
      const text = body === undefined ? undefined : JSON.stringify(body);
      assertEquals((await dashboard.send(method, `${path}?service=web`, own, text)).status, writes ? 200 : 403, change);
    }
    const target = "/v1/servers/%5B%3A%3A1%5D%3A80?service=web";
    const asked = [{ draining: true }, { draining: false }].map((body) => ({ method: "PATCH", path: target, body }));
    assertEquals(dashboard.daemon.asked, writes ? [...asked, { method: "DELETE", path: target, body: undefined }] : []);
  }
});

Deno.test("without --write nothing is changed, and it is said how", async () => {
  await using dashboard = await openDashboard();
  const own = [await dashboard.enter(), `origin: ${dashboard.origin}`, JSON_TYPE];
  for (const { method, path } of ALLOWED.filter(({ writes }) => writes)) {
    const { status, body } = await dashboard.send(method, path.replace(/\{\w+\}/, "10.0.0.1:80"), own, "{}");
    assertEquals(status, 403);
    assertStringIncludes(JSON.parse(body).error.message, "balancerctl dashboard --write");
  }
  assertEquals(dashboard.daemon.asked, []);
});

const TARGETS: readonly [method: string, target: string, status: number][] = [
  ["GET", "/v1/../stop", 400],
  ["GET", "/v1/%2e%2e/stop", 400],
  ["GET", "/v1/servers/..%2f..%2fv1%2fstop", 400],
  ["GET", "//v1/status", 400],
  ["GET", "http://127.0.0.1/v1/status", 400],
  ["GET", `/v1/status?${"a".repeat(9000)}`, 400],
  ["GET", `/v1/status?${"a".repeat(17_000)}`, 413],
  ["GET", "/favicon.ico", 404],
  ["GET", "/live/x", 404],
  ["GET", "/v1/state", 404],
  ["GET", "/openapi.json", 404],
  ["GET", "/metrics", 404],
  ["POST", "/", 405],
  ["DELETE", "/live", 405],
  ["OPTIONS", "/v1/status", 405],
  ["TRACE", "/v1/status", 405],
  ["POST", "/v1/stop", 404],
  ["POST", "/v1/apply", 404],
  ["PROPFIND", "/v1/status", 405],
];

for (const [method, target, status] of TARGETS) {
  Deno.test(`${method} ${target.slice(0, 40)} is answered ${status}`, async () => {
    await using dashboard = await openDashboard({ writes: true });
    const own = [await dashboard.enter(), `origin: ${dashboard.origin}`, JSON_TYPE];
    const { head, ...reply } = await dashboard.send(method, target, own);
    assertEquals(reply.status, status);
    assertGuarded(head);
    assertEquals(dashboard.daemon.asked, []);
  });
}

Deno.test("a request that is large, slow, no HTTP, or has very many lines is refused, and others are answered", async () => {
  await using dashboard = await openDashboard({ requestTimeMaxMs: 200, writes: true });
  const cookie = await dashboard.enter();
  const own = [cookie, `origin: ${dashboard.origin}`, JSON_TYPE];
  using slow = await connect(dashboard.bridge.address);
  await writeText(slow, `GET / HTTP/1.1\r\nhost: ${dashboard.host}\r\n`);
  assertEquals((await dashboard.send("POST", "/v1/servers", own, `"${"a".repeat(70_000)}"`)).status, 413);
  assertEquals((await dashboard.send("GET", "/", [cookie, ...Array(120).fill("a: b")])).status, 413);
  assertEquals((await dashboard.send("GET", "/", [cookie, `a: ${"b".repeat(20_000)}`])).status, 413);
  const garbage = await exchange(dashboard.host, "\x16\x03\x01\x02\x00\r\n\r\n");
  assertEquals(garbage.status, 400);
  assertGuarded(garbage.head);
  const split = await dashboard.send("GET", "/", [cookie, "a: b\nx-injected: 1"]);
  assertEquals(split.status, 400);
  assertMatch(await soon(readText(slow), "the answer to the slow one"), /^HTTP\/1\.1 408 /);
  assertEquals((await dashboard.send("GET", "/", [cookie])).status, 200);
  assertEquals(dashboard.daemon.asked, []);
});

Deno.test("the page is compressed for browsers that can read it", async () => {
  await using dashboard = await openDashboard();
  const cookie = await dashboard.enter();
  for (const [accepts, isPacked] of [["gzip, br", true], ["br", false], ["gzip;q=0", false], ["gzip;q=0.5", true]] as const) {
    const { head } = await dashboard.send("GET", "/", [cookie, `accept-encoding: ${accepts}`]);
    assertEquals(/^content-encoding: gzip/m.test(head), isPacked, accepts);
    assertMatch(head, /^vary: accept-encoding/m);
  }
});

Deno.test("many who read the same within a second cost the daemon one answer; after a change it is asked again", async () => {
  const answered = Promise.withResolvers<void>();
  await using dashboard = await openDashboard({ writes: true, periodMs: 60_000 });
  dashboard.daemon.wait = answered.promise;
  const cookie = await dashboard.enter();
  const replies = Array.from({ length: 20 }, () => dashboard.send("GET", "/v1/series?seconds=900", [cookie]));
  answered.resolve();
  for (const { status } of await Promise.all(replies)) assertEquals(status, 200);
  assertEquals(dashboard.daemon.asked.length, 1);
  await dashboard.send("POST", "/v1/servers", [cookie, `origin: ${dashboard.origin}`, JSON_TYPE], "{}");
  await dashboard.send("GET", "/v1/series?seconds=900", [cookie]);
  assertEquals(dashboard.daemon.asked.map(({ method }) => method), ["GET", "POST", "GET"]);
});

Deno.test("requests that the daemon does not answer are limited", async () => {
  const answered = Promise.withResolvers<void>();
  await using dashboard = await openDashboard();
  dashboard.daemon.wait = answered.promise;
  const cookie = await dashboard.enter();
  const waiting = Array.from({ length: 64 }, (_, i) => dashboard.send("GET", `/v1/recent?limit=${i}`, [cookie]));
  while (dashboard.daemon.asked.length < 64) await new Promise((resolve) => setTimeout(resolve, 5));
  const { status, body } = await dashboard.send("GET", "/v1/recent?limit=65", [cookie]);
  assertEquals(status, 503);
  assertStringIncludes(body, "64 requests of the dashboard to answer, which is the limit");
  answered.resolve();
  for (const reply of await Promise.all(waiting)) assertEquals(reply.status, 200);
});

Deno.test("while the daemon is away its requests say so", async () => {
  await using dashboard = await openDashboard();
  const cookie = await dashboard.enter();
  dashboard.daemon.why = "No balancer is running";
  const { status, body } = await dashboard.send("GET", "/v1/status", [cookie]);
  assertEquals([status, JSON.parse(body).error], [502, { kind: "notRunning", message: "No balancer is running" }]);
  dashboard.daemon.why = undefined;
  assertEquals((await dashboard.send("GET", "/v1/status", [cookie])).status, 200);
});

Deno.test("a fault of the program is told to it, and to the browser without more than a sentence", async () => {
  const faults: unknown[] = [];
  await using dashboard = await openDashboard({ onFault: (error) => faults.push(error) });
  const cookie = await dashboard.enter();
  dashboard.daemon.forward = () => Promise.reject(new TypeError("a bug"));
  const { status, body } = await dashboard.send("GET", "/v1/status", [cookie]);
  assertEquals([status, body], [500, '{"error":{"kind":"failed","message":"Internal error: a bug"}}']);
  assertEquals(faults.length, 1);
});

Deno.test("where there is a token, a form takes it, again and again; a link works as well", async () => {
  await using dashboard = await openDashboard({ token: TOKEN, hosts: ["lb.example"] });
  const asked = await dashboard.send("GET", "/");
  assertEquals(asked.status, 401);
  assertStringIncludes(asked.body, '<form method="post" action="/login">');
  assertMatch(asked.head, /^referrer-policy: same-origin\r$/m);
  assertGuarded(asked.head);
  for (const _ of [1, 2]) {
    const { status, head } = await dashboard.send("POST", "/login", [FORM, `origin: ${dashboard.origin}`], `token=${TOKEN}`);
    assertEquals(status, 303);
    const cookie = `cookie: ${head.match(/^set-cookie: ([^;]+)/m)![1]}`;
    assertEquals((await dashboard.send("GET", "/", [cookie])).status, 200);
  }
  assertEquals((await dashboard.send("GET", `/?token=${TOKEN}`)).status, 303);
  const secure = await dashboard.send("POST", "/login", [FORM, "host: lb.example", "origin: https://lb.example"], `token=${TOKEN}`);
  assertMatch(secure.head, /^set-cookie: .*; Secure\r$/m);
});

const LOGINS: readonly [what: string, status: number, lines: (origin: string) => readonly string[], body: string][] = [
  ["a wrong token", 401, (origin) => [FORM, origin], `token=${TOKEN.slice(1)}`],
  ["no token", 401, (origin) => [FORM, origin], ""],
  ["another site's form", 403, () => [FORM, "origin: http://evil.example"], `token=${TOKEN}`],
  ["no origin", 403, () => [FORM], `token=${TOKEN}`],
  ["another type", 400, (origin) => ["content-type: text/plain", origin], `token=${TOKEN}`],
];

for (const [what, status, lines, body] of LOGINS) {
  Deno.test(`a form with ${what} is answered ${status}, without a session`, async () => {
    await using dashboard = await openDashboard({ token: TOKEN });
    const { head, ...reply } = await dashboard.send("POST", "/login", lines(`origin: ${dashboard.origin}`), body);
    assertEquals(reply.status, status);
    assert(!/set-cookie/i.test(head));
    assertGuarded(head);
  });
}

Deno.test("a dashboard answers by the name that its address was given by", async () => {
  await using dashboard = await openDashboard({ address: { host: "localhost", port: 0 } });
  const { port } = dashboard.bridge.address;
  assertEquals((await dashboard.send("GET", "/", [`host: LocalHost:${port}`])).status, 401);
  assertEquals((await dashboard.send("GET", "/", [`host: 0.0.0.0:${port}`])).status, 421);
});

Deno.test("two dashboards of one machine have a cookie each", async () => {
  await using one = await openDashboard();
  await using other = await openDashboard();
  const [first, second] = [await one.enter(), await other.enter()];
  const both = `cookie: ${[first, second].map((line) => line.replace("cookie: ", "")).join("; ")}`;
  for (const dashboard of [one, other]) assertEquals((await dashboard.send("GET", "/", [both])).status, 200);
  assertEquals((await other.send("GET", "/", [first])).status, 401);
});

Deno.test("a taken port is told with a way out, and once it is disposed of, nobody is answered", async () => {
  const dashboard = await openDashboard();
  const { address } = dashboard.bridge;
  const options = { address, daemon: dashboard.daemon, page: { html: "", gzip: new Uint8Array(), policy: "" }, writes: false };
  const error = await assertRejects(() => Bridge.open({ ...options, viewersMax: 1 }), OperatorError);
  assertStringIncludes(error.message, `Cannot serve the dashboard on ${dashboard.host}: the port is taken`);
  await dashboard[Symbol.asyncDispose]();
  await assertRejects(() => connect(address), Deno.errors.ConnectionRefused);
});
