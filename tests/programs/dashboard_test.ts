// The dashboard of the real programs: a link that is printed, a page, a daemon that dies and returns; and the fixed place.

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { formatAddress } from "../../lib/values/address.ts";
import { echo, Queue, soon, startServer, unusedAddress } from "../helpers.ts";
import { makePlace, type Place, runForeground } from "../programs.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";

/** A browser in short: keeps the cookie that it is given. */
class Browser {
  #cookie = "";

  constructor(readonly origin: string) {}

  async get(path: string, init: RequestInit = {}): Promise<{ status: number; body: string }> {
    const headers = { ...init.headers, cookie: this.#cookie };
    const response = await fetch(this.origin + path, { redirect: "manual", ...init, headers });
    this.#cookie = response.headers.get("set-cookie")?.split(";")[0] ?? this.#cookie;
    return { status: response.status, body: await response.text() };
  }

  change(method: string, path: string, body: unknown): Promise<{ status: number; body: string }> {
    const headers = { origin: this.origin, "content-type": "application/json" };
    return this.get(path, { method, headers, body: JSON.stringify(body) });
  }

  /** The names of the messages of /live, as they come. */
  async follow(): Promise<{ names: Queue<string> } & Disposable> {
    const end = new AbortController();
    const response = await fetch(`${this.origin}/live`, { headers: { cookie: this.#cookie }, signal: end.signal });
    assertEquals(response.status, 200);
    const names = new Queue<string>();
    const read = async () => {
      for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
        for (const [, name] of text.matchAll(/^event: (\w+)$/gm)) names.put(name);
      }
    };
    read().catch(() => {}); // it was ended
    return { names, [Symbol.dispose]: () => end.abort() };
  }
}

/** `balancerctl dashboard`, with lines of its standard output. */
function startDashboard(place: Place, ...args: string[]) {
  const command = new Deno.Command(place.program("balancerctl"), {
    args: ["dashboard", ...args],
    env: place.env,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  });
  const process = command.spawn();
  const lines = new Queue<string>();
  const errors = new Response(process.stderr).text();
  const reading = (async () => {
    for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
      for (const line of text.trim().split("\n")) lines.put(line);
    }
  })();
  const input = process.stdin.getWriter();
  return {
    lines,
    press: () => input.write(new TextEncoder().encode("\n")),
    async end(): Promise<{ code: number; errors: string }> {
      process.kill("SIGINT");
      const { code } = await soon(process.status, "the end of the dashboard");
      await input.close().catch(() => {}); // nobody reads it any more
      await reading;
      return { code, errors: await errors };
    },
  };
}

async function until(names: Queue<string>, wanted: string): Promise<void> {
  while (await names.take() !== wanted);
}

Deno.test("balancerctl dashboard prints links that work once, and shows a daemon that dies and returns", async () => {
  await using server = startServer(echo);
  await using place = await makePlace();
  await place.start("--check", "off");
  const dashboard = startDashboard(place);
  const link = new URL(await dashboard.lines.take());
  const { origin, pathname, search } = link;
  assertMatch(link.href, /^http:\/\/127\.0\.0\.1:[0-9]+\/\?token=[A-Za-z0-9_-]{43}$/);
  const browser = new Browser(origin);
  assertEquals((await browser.get("/")).status, 401);
  assertEquals((await browser.get(pathname + search)).status, 303);
  const page = await browser.get("/");
  assertEquals(page.status, 200);
  assertStringIncludes(page.body, "<script");
  assertEquals((await new Browser(origin).get(pathname + search)).status, 401);

  await dashboard.press();
  const next = new URL(await dashboard.lines.take());
  assertEquals((await new Browser(origin).get(next.pathname + next.search)).status, 303);

  await place.do("add", server.address.host, String(server.address.port));
  assertEquals(JSON.parse((await browser.get("/v1/servers")).body), JSON.parse(await place.do("list", "--json")));
  const refused = await browser.change("PATCH", `/v1/servers/${formatAddress(server.address)}`, { draining: true });
  assertEquals(refused.status, 403);
  assertStringIncludes(refused.body, "read-only");
  for (const verb of ["close", "move"]) {
    assertEquals((await browser.change("POST", `/v1/connections/0123456789abcdef-1/${verb}`, {})).status, 403);
  }

  using stream = await browser.follow();
  await until(stream.names, "snapshot");
  await place.do("stop", "--grace", "0s");
  await until(stream.names, "daemon");
  await place.start("--check", "off");
  await until(stream.names, "snapshot");

  const { code, errors } = await dashboard.end();
  assertEquals(code, 0, errors);
  assertStringIncludes(errors, 'Serving the dashboard of balancer "default" (read-only)');
});

Deno.test("balancerctl dashboard --write changes the pool, under the name of who runs it, and ends connections", async () => {
  await using server = startServer(echo);
  await using place = await makePlace();
  const balancer = await place.start("--check", "off");
  const dashboard = startDashboard(place, "--write");
  const { origin, pathname, search } = new URL(await dashboard.lines.take());
  const browser = new Browser(origin);
  await browser.get(pathname + search);
  const { host, port } = server.address;
  assertEquals((await browser.change("POST", "/v1/servers", { address: host, port })).status, 201);
  using client = await Deno.connect({ hostname: balancer.host, port: balancer.port });
  await client.write(new Uint8Array(1));
  assertEquals(await client.read(new Uint8Array(1)), 1);
  const { connections: [{ id }] } = JSON.parse((await browser.get("/v1/connections")).body);
  const moved = await browser.change("POST", `/v1/connections/${id}/move`, { force: false });
  assertEquals(moved.status, 409);
  assertStringIncludes(moved.body, "Cannot move connection");
  const closed = await browser.change("POST", `/v1/connections/${id}/close`, {});
  assertEquals([closed.status, JSON.parse(closed.body).id], [200, id]);
  await assertRejects(() => client.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  const drained = await browser.change("PATCH", `/v1/servers/${encodeURIComponent(formatAddress(server.address))}`, {
    draining: true,
  });
  assertEquals([drained.status, JSON.parse(drained.body).state], [200, "draining"]);
  assertEquals((await browser.change("POST", "/v1/stop", {})).status, 404);
  assertStringIncludes(await place.do("history"), `drain server ${formatAddress(server.address)}`);
  assertEquals((await dashboard.end()).code, 0);
});

Deno.test("balancerctl dashboard needs a balancer, and a port that is free", async () => {
  await using place = await makePlace();
  const none = await place.ctl("dashboard");
  assertEquals([none.code, none.stdout], [3, ""]);
  const address = await place.start();
  const taken = await place.ctl("dashboard", "--port", String(address.port));
  assertEquals([taken.code, taken.stdout], [1, ""]);
  assertStringIncludes(taken.stderr, "the port is taken by another program");
  assertEquals((await place.ctl("dashboard", "--port", "65536")).code, 2);
});

async function tokenIn(place: Place, name: string, mode = 0o600): Promise<string> {
  const path = `${place.folder}/${name}`;
  await Deno.writeTextFile(path, `${TOKEN}\n`);
  await Deno.chmod(path, mode);
  return path;
}

async function logIn(browser: Browser): Promise<number> {
  const headers = { origin: browser.origin, "content-type": "application/x-www-form-urlencoded" };
  return (await browser.get("/login", { method: "POST", headers, body: `token=${TOKEN}` })).status;
}

Deno.test("a fixed place changes while the balancer runs, is read-only, and keeps its sessions over a restart", async () => {
  await using place = await makePlace();
  const [one, two] = [unusedAddress(), unusedAddress()].map(formatAddress);
  const token = await tokenIn(place, "token");
  await place.start("--check", "off", "--dashboard", one, "--dashboard-token", token);
  const browser = new Browser(`http://${one}`);
  assertEquals((await browser.get("/")).status, 401);
  assertEquals(await logIn(browser), 303);
  assertEquals((await browser.get("/")).status, 200);
  assertEquals(JSON.parse((await browser.get("/v1/status")).body).name, "default");
  assertEquals((await browser.change("POST", "/v1/servers", { address: "127.0.0.1", port: 9 })).status, 403);
  {
    using stream = await browser.follow();
    await until(stream.names, "snapshot");
    await until(stream.names, "second");
  }

  await place.do("stop", "--grace", "0s");
  const clients = await place.start();
  assertEquals((await browser.get("/")).status, 200);

  const said = await place.do("daemon", "set", "--dashboard", two);
  assertStringIncludes(said, "--dashboard holds at once, and the earlier address is closed");
  assertEquals(await logIn(new Browser(`http://${two}`)), 303);
  assertEquals(await fetch(`http://${one}/`).then(() => true, () => false), false);

  const refusals: readonly [args: readonly string[], says: string][] = [
    [["--dashboard-token", await tokenIn(place, "open", 0o644)], "its mode is 644"],
    [["--dashboard-token", "default"], "--dashboard needs a token"],
    [["--dashboard", formatAddress(clients)], "Cannot serve --dashboard on"],
    [["--dashboard-host", "http://x"], "is no name of a host"],
  ];
  for (const [args, says] of refusals) {
    const { code, stderr } = await place.ctl("daemon", "set", ...args);
    assert(code !== 0, args.join(" "));
    assertStringIncludes(stderr, says);
    assertEquals(await logIn(new Browser(`http://${two}`)), 303); // as it was
  }
  await place.do("daemon", "set", "--dashboard", "off");
  assertEquals(await fetch(`http://${two}/`).then(() => true, () => false), false);
});

Deno.test("balancer run refuses a token that others can read, before clients can connect", async () => {
  await using place = await makePlace();
  const token = await tokenIn(place, "token", 0o640);
  const args = ["run", "127.0.0.1", "0", "--dashboard", "127.0.0.1:0", "--dashboard-token", token];
  const command = new Deno.Command(place.program("balancer"), { args, env: place.env, stdin: "null" });
  const { code, stdout, stderr } = await soon(command.output(), "the refusal");
  assertEquals([code, new TextDecoder().decode(stdout)], [1, ""]);
  assertStringIncludes(new TextDecoder().decode(stderr), "its mode is 640, and others can use it; run chmod 600 on it");
});

Deno.test("balancer run with a relative path of its token serves the dashboard", async () => {
  await using place = await makePlace();
  await tokenIn(place, "token");
  const at = formatAddress(unusedAddress());
  const line = `cd ${place.folder} && exec "$@"`;
  const daemon = await runForeground(place, ["--dashboard", at, "--dashboard-token", "token"], line);
  assertEquals(await logIn(new Browser(`http://${at}`)), 303);
  await place.do("stop", "--grace", "0s");
  assertEquals(await daemon.ended(), 0);
  await daemon.process.stderr.cancel();
});
