// The two programs as processes, with real servers and real traffic.

import {
  assert,
  assertEquals,
  assertGreater,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { createHash } from "node:crypto";
import { type Address, parseAddress } from "../../lib/values/address.ts";
import type { Fate } from "../../lib/values/fates.ts";
import { ControlClient } from "../../lib/control/client.ts";
import {
  ask,
  askFrom,
  close,
  connect,
  echo,
  hold,
  poll,
  readBytes,
  readChunks,
  readText,
  sayName,
  silentListener,
  someBytes,
  soon,
  startResettingServer,
  startServer,
  type TestServer,
  unusedAddress,
  writeAll,
  writeText,
} from "../helpers.ts";
import { makePlace, outcomeOf, type Place, runForeground } from "../programs.ts";
import { needing } from "../tools.ts";

const MIB = 1024 ** 2;

/** The part of the status that tests here look at. */
interface Status {
  readonly connections: { readonly accepted: number; readonly open: number };
  readonly fates: Readonly<Record<Fate, number>>;
}

async function addAll(place: Place, servers: readonly { address: Address }[]): Promise<void> {
  for (const { address } of servers) await place.do("add", address.host, String(address.port));
}

async function removeServer(place: Place, { address }: { address: Address }, ...options: string[]): Promise<string> {
  return await place.do("remove", address.host, String(address.port), ...options);
}

/** What the status says once it says this: a connection is counted a moment after its client has seen its end. */
async function statusOnce(place: Place, isSo: (status: Status) => boolean): Promise<Status> {
  return await poll(async () => JSON.parse(await place.do("status", "--json")), isSo, "the count");
}

function startServers(stack: AsyncDisposableStack, count: number, ...how: Parameters<typeof startServer>): TestServer[] {
  return Array.from({ length: count }, () => stack.use(startServer(...how)));
}

Deno.test({
  name: "clients stick to their servers; removing one moves its clients alone, and they come back with it",
  ignore: Deno.build.os !== "linux", // only there is all of 127/8 loopback without setting it up
  async fn() {
    await using place = await makePlace();
    await using stack = new AsyncDisposableStack();
    const servers = startServers(stack, 5, sayName);
    const address = await place.start();
    await addAll(place, servers);
    const clients = Array.from({ length: 200 }, (_, i) => `127.0.1.${i + 1}`);
    const whoServes = async () => { // one at a time: a crowd would run into the load bound, which moves clients
      const servers = new Map<string, string>();
      for (const ip of clients) servers.set(ip, await askFrom(ip, address));
      return servers;
    };
    const before = await whoServes();
    assertEquals(await whoServes(), before, "a client comes back to its server");
    assertEquals(new Set(before.values()).size, 5, "every server has clients");
    const [removed] = servers;
    await removeServer(place, removed);
    const during = await whoServes();
    for (const [ip, server] of before) {
      if (server === removed.name) assertNotEquals(during.get(ip), removed.name);
      else assertEquals(during.get(ip), server, `${ip} must not move`);
    }
    await addAll(place, [removed]);
    assertEquals(await whoServes(), before);
  },
});

Deno.test("a half-closed question gets its answer", async () => {
  await using place = await makePlace();
  await using server = startServer(async (socket) => await writeText(socket, `heard ${(await readText(socket)).length} bytes`));
  const address = await place.start();
  await addAll(place, [server]);
  assertEquals(await ask(address, "x".repeat(100_000)), "heard 100000 bytes");
});

Deno.test("200 MB each way arrive whole", async () => {
  await using place = await makePlace();
  const total = 200 * MIB;
  const block = someBytes(8 * MIB);
  const expected = hashOf(repeat(block, total));
  const heard = Promise.withResolvers<string>();
  await using server = startServer(async (socket) => {
    const [hash] = await Promise.all([hashOf(readChunks(socket)), send(socket, block, total)]);
    heard.resolve(hash);
  });
  const address = await place.start();
  await addAll(place, [server]);
  using client = await connect(address);
  const [hash] = await Promise.all([hashOf(readChunks(client)), send(client, block, total)]);
  assertEquals([hash, await soon(heard.promise)], [await expected, await expected]);
  await statusOnce(place, ({ connections }) => connections.open === 0);
  const { servers: [{ sentBytes, receivedBytes }] } = JSON.parse(await place.do("list", "--json"));
  assertEquals([sentBytes, receivedBytes], [total, total]);
});

Deno.test(await needing("2,000 connections at once, and none left over", "5,000 descriptors"), async () => {
  await using place = await makePlace();
  await using stack = new AsyncDisposableStack();
  const servers = startServers(stack, 4, echo, { backlog: 4096 });
  const address = await place.start("--key", "ip:port");
  await addAll(place, servers);
  const clients = await Promise.all(Array.from({ length: 2000 }, () => connect(address)));
  await soon(Promise.all(clients.map(async (client, i) => {
    await writeText(client, String(i).padStart(6));
    assertEquals(new TextDecoder().decode(await readBytes(client, 6)), String(i).padStart(6));
  })));
  const busy = JSON.parse(await place.do("list", "--json")).servers as { open: number }[];
  assertEquals(busy.reduce((sum, { open }) => sum + open, 0), 2000);
  for (const { open } of busy) assert(open <= Math.ceil(1.25 * 2000 / 4), `${open} of 2,000 connections on one of 4 servers`);
  await Promise.all(clients.map(async (client) => {
    await client.closeWrite();
    assertEquals(await soon(readText(client)), "");
    close(client);
  }));
  const { connections, fates } = await statusOnce(place, ({ connections }) => connections.open === 0);
  assertEquals([connections.accepted, fates.done], [2000, 2000]);
});

Deno.test("a server that dies, or does not answer, costs its clients a moment and no more", async () => {
  await using place = await makePlace();
  using silent = await silentListener();
  await using alive = startServer(sayName);
  await using dying = startServer(sayName);
  const address = await place.start("--key", "ip:port", "--connect-timeout", "100ms");
  await addAll(place, [alive, dying, silent]);
  await Promise.all(Array.from({ length: 30 }, () => ask(address)));
  await dying[Symbol.asyncDispose]();
  const answers = await Promise.all(Array.from({ length: 30 }, () => ask(address)));
  assertEquals(new Set(answers), new Set([alive.name]));
  const { servers } = JSON.parse(await place.do("list", "--json"));
  const failures = Object.fromEntries(
    servers.map((s: { server: string; connectFailures: number }) => [s.server, s.connectFailures]),
  );
  assertGreater(failures[dying.name], 0);
  assertEquals(failures[alive.name], 0);
  const { fates } = await statusOnce(place, ({ connections }) => connections.open === 0);
  assertEquals(fates.done, 60);
});

Deno.test("with no server a client is closed at once and counted", async () => {
  await using place = await makePlace();
  assertEquals(await ask(await place.start(), "anybody there?"), "");
  const { fates } = await statusOnce(place, ({ connections }) => connections.accepted === 1 && connections.open === 0);
  assertEquals(fates.no_server, 1);
});

Deno.test("remove gives open connections their time, then ends them", async () => {
  await using place = await makePlace();
  await using server = startServer(echo);
  const address = await place.start();
  await addAll(place, [server]);
  using quick = await openVia(address);
  using slow = await openVia(address);
  const removal = removeServer(place, server, "--drain", "2s");
  using control = new ControlClient("default", place.socket());
  await poll(() => control.list(), ({ servers }) => servers.some(({ state }) => state === "removing"), "the removal");
  assertEquals(await ask(address), "", "nobody new comes to it");
  await quick.closeWrite();
  assertEquals(await soon(readText(quick)), "");
  await soon(readText(slow).catch(() => "")); // reset, so that nothing cut is taken for whole
  assertStringIncludes(await removal, "of 2 open connections 0 moved, 1 finished and 1 was reset");
});

Deno.test("stop and start again, and the pool is there", async () => {
  await using place = await makePlace();
  await place.start();
  await place.do("add", "192.0.2.1", "80", "--weight", "3");
  await place.do("add", "2001:db8::1", "80", "--max-connections", "7");
  const read = async () => {
    const { servers, ring } = JSON.parse(await place.do("list", "--json"));
    return { servers: servers.map((server: object) => ({ ...server, since: "", nextCheckAt: "" })), ring };
  };
  const before = await read();
  await place.do("stop");
  await place.start();
  assertEquals(await read(), before);
});

Deno.test("kill -9 in the middle of a hundred adds loses none that answered", async () => {
  await using place = await makePlace();
  await place.start();
  const pid = await place.pid();
  using client = new ControlClient("default", place.socket());
  const answered: string[] = [];
  const lanes = 5;
  await Promise.allSettled(Array.from({ length: lanes }, async (_, lane) => {
    for (let port = lane + 1; port <= 100; port += lanes) {
      answered.push((await client.add({ address: "192.0.2.1", port })).server);
      if (answered.length === 40) Deno.kill(pid, "SIGKILL");
    }
  }));
  assert(answered.length >= 40 && answered.length < 100, `${answered.length} adds answered`);
  await place.start();
  const { servers } = JSON.parse(await place.do("list", "--json"));
  const kept = new Set(servers.map(({ server }: { server: string }) => server));
  for (const server of answered) assert(kept.has(server), `${server} was answered and is lost`);
});

Deno.test("a state file that is torn, empty or another program's is kept aside and told", async () => {
  for (const content of ['{"format":"balancer-state","version":1,"sha', "", '{"version":3,"packages":{}}']) {
    await using place = await makePlace();
    await Deno.mkdir(`${place.folder}/state/balancer`, { mode: 0o700 });
    await Deno.writeTextFile(place.state(), content);
    const { code, stdout } = await place.ctl("start", "127.0.0.1", "0");
    assertEquals(code, 0);
    const [, aside] = stdout.match(/cannot be used: [^\n]*; it was renamed to "([^"]+)", and the pool is empty/) ?? [];
    assertEquals(await Deno.readTextFile(aside), content);
    assertStringIncludes(await place.do("status"), aside);
  }
});

Deno.test("SIGTERM and SIGINT let connections finish; a second signal ends them", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    await using place = await makePlace();
    await using server = startServer(echo);
    const { process, address, ended } = await runForeground(place);
    const log = new Response(process.stderr).text();
    await addAll(place, [server]);
    using finishing = await openVia(address);
    using staying = await openVia(address);
    process.kill(signal);
    await poll(() => place.do("status", "--json"), (status) => JSON.parse(status).stopping, "the stop");
    await writeText(finishing, "still served");
    assertEquals((await soon(readBytes(finishing, 12))).length, 12);
    await finishing.closeWrite();
    assertEquals(await soon(readText(finishing)), "");
    process.kill(signal);
    assertEquals(await soon(readText(staying).catch(() => "")), "");
    assertEquals(await ended(), 0);
    for (const line of (await log).trim().split("\n")) assertMatch(line, /^\{"@timestamp":.*\}$/);
    assertEquals((await place.ctl("list")).code, 3);
  }
});

Deno.test("a daemon whose standard error nobody reads, or is gone, serves on and stops", async () => {
  for (const isGone of [false, true]) {
    await using place = await makePlace();
    const { process, address, ended } = await runForeground(place);
    if (isGone) await process.stderr.cancel();
    for (let i = 0; i < 2000; i += 50) await Promise.all(Array.from({ length: 50 }, () => ask(address))); // a line each
    await statusOnce(place, ({ fates }) => fates.no_server === 2000);
    process.kill("SIGTERM");
    assertEquals(await ended(), 0);
    if (!isGone) await process.stderr.cancel();
  }
});

Deno.test("stop waits for the daemon's own lock, wherever the caller's files are", async () => {
  await using place = await makePlace();
  await place.start();
  const env = { ...place.env, XDG_STATE_HOME: `${place.folder}/elsewhere` };
  const { code, stdout, stderr } = await outcomeOf(new Deno.Command(place.program("balancerctl"), { args: ["stop"], env }));
  assertEquals([code, stdout, stderr], [0, 'Balancer "default" has stopped; no connection was cut\n', ""]);
});

Deno.test("output that cannot be written, a log that cannot be opened: a sentence each", async () => {
  await using place = await makePlace();
  await place.start();
  const shell = (line: string) =>
    outcomeOf(new Deno.Command("sh", { args: ["-c", line, place.program("balancerctl")], env: place.env }));
  assertMatch((await shell('"$0" list --json | head -c 1; :')).stderr, /^$/);
  if (Deno.build.os === "linux") {
    assertMatch((await shell('"$0" list >/dev/full')).stderr, /^balancerctl: [^\n]*No space left[^\n]*\n$/);
  }
  const args = ["run", "127.0.0.1", "0", "--name", "other", "--log-file", place.folder];
  const { code, stderr } = await outcomeOf(new Deno.Command(place.program("balancer"), { args, env: place.env }));
  assertEquals(code, 1);
  assertMatch(stderr, /^balancer: Cannot log to "[^\n]*\n$/);
});

Deno.test("start fails with the daemon's own reason and leaves no process", async () => {
  await using place = await makePlace();
  await using taken = startServer(echo);
  const { code, stderr } = await place.ctl("start", "127.0.0.1", String(taken.address.port));
  assertEquals(code, 1);
  assertMatch(stderr, /^balancerctl: Cannot listen on 127\.0\.0\.1:[0-9]+: the port is taken by another program[^\n]*\n$/);
  assertEquals((await place.ctl("status")).code, 3);
  await place.start(); // the lock is free: the daemon that failed is gone
});

Deno.test("a taken port of --http is told, and nothing is started", async () => {
  await using place = await makePlace();
  await using taken = startServer(echo);
  const free = unusedAddress();
  const args = ["--http", taken.name, "--access-log", `${place.folder}/access.jsonl`];
  const { code, stdout, stderr } = await place.ctl("start", "127.0.0.1", String(free.port), ...args);
  assertEquals([code, stdout], [1, ""]);
  assertMatch(stderr, /^balancerctl: Cannot serve --http on 127\.0\.0\.1:[0-9]+: the port is taken by another program[^\n]*\n$/);
  for (const log of ["access.jsonl", "state/balancer/default.log"]) {
    await assertRejects(() => Deno.stat(`${place.folder}/${log}`), Deno.errors.NotFound);
  }
  await assertRejects(() => connect(free), Deno.errors.ConnectionRefused);
  assertEquals((await place.ctl("status")).code, 3);
});

Deno.test("--http serves what the balancer counts, and is unready while it stops", async () => {
  await using place = await makePlace();
  await using server = startServer(hold);
  const address = await place.start("--http", "127.0.0.1:0", "--check", "off");
  const status = JSON.parse(await place.do("status", "--json"));
  const get = async (path: string) => {
    const response = await fetch(`http://${status.http}${path}`);
    return { status: response.status, text: await response.text() };
  };
  assertMatch(await place.do("status"), new RegExp(`HTTP +http://${status.http}/metrics`));
  assertEquals((await get("/ready")).status, 503);
  await place.do("add", "127.0.0.1", String(server.address.port));
  assertEquals((await get("/ready")).status, 200);
  using client = await connect(address);
  await poll(() => get("/metrics"), ({ text }) => text.includes("\nbalancer_open_connections 1\n"), "the connection to be counted");
  const { text } = await get("/metrics");
  assertStringIncludes(text, `balancer_listener_accepted_connections_total{listener="${status.address}",service="default"} 1`);
  assertStringIncludes(text, `balancer_server_state{service="default",server="${server.name}",state="up"} 1`);
  const { fingerprint } = JSON.parse(await place.do("list", "--json")).ring;
  assertStringIncludes(text, `balancer_ring_info{service="default",fingerprint="${fingerprint}"} 1`);
  const stopping = place.ctl("stop", "--grace", "20s");
  const unready = await poll(() => get("/ready"), ({ status }) => status === 503, "readiness to end");
  assertEquals(unready.text, "The balancer is stopping\n");
  assertEquals((await get("/live")).status, 200);
  client.close();
  assertEquals((await stopping).code, 0);
});

Deno.test("two starts at once make one balancer", async () => {
  await using place = await makePlace();
  const outcomes = await Promise.all([1, 2, 3].map(() => place.ctl("start", "127.0.0.1", "0")));
  assertEquals(outcomes.map(({ code }) => code).toSorted(), [0, 1, 1]);
  for (const { code, stderr } of outcomes) if (code === 1) assertStringIncludes(stderr, "running");
});

Deno.test("a stale socket is taken over after kill -9", async () => {
  await using place = await makePlace();
  await place.start();
  Deno.kill(await place.pid(), "SIGKILL");
  await poll(() => place.ctl("list"), ({ code }) => code === 3, "the end of the daemon");
  assert((await Deno.lstat(place.socket())).isSocket, "the socket file is still there");
  await place.start();
});

Deno.test({
  ...await needing("a daemon out of descriptors pauses accepting, keeps its clients, and recovers", "Linux", "prlimit"),
  async fn() {
    await using place = await makePlace();
    await using server = startServer(echo);
    const { process, address, ended } = await runForeground(place, ["--connections", "1000"]);
    const log = new Response(process.stderr).text();
    await addAll(place, [server]);
    // From the start on, this limit would make the daemon refuse the crowd before it has no descriptors left.
    const args = ["--pid", String(process.pid), "--nofile=80:80"];
    assertEquals((await outcomeOf(new Deno.Command("prlimit", { args }))).code, 0);
    using first = await openVia(address);
    const crowd = await Promise.all(Array.from({ length: 100 }, () => connect(address)));
    await writeText(first, "still here");
    assertEquals((await soon(readBytes(first, 10))).length, 10);
    for (const client of crowd) close(client);
    // Some of the crowd may hold descriptors for a moment.
    await poll(() => ask(address, "and again").catch(() => ""), (answer) => answer === "and again", "an answer");
    process.kill("SIGTERM");
    first.close();
    assertEquals(await ended(), 0);
    assertMatch(await log, /Cannot accept clients for now/);
  },
});

Deno.test("a drain survives the daemon's stop and start, and ends when it is called off", async () => {
  await using place = await makePlace();
  await using stack = new AsyncDisposableStack();
  const [one, two] = startServers(stack, 2, sayName);
  await place.start();
  await addAll(place, [one, two]);
  await place.do("drain", one.address.host, String(one.address.port));
  await place.do("stop");
  const started = await place.ctl("start", "127.0.0.1", "0", "--key", "ip:port");
  assertStringIncludes(started.stdout, "with 2 servers\n");
  using control = new ControlClient("default", place.socket());
  const address = parseAddress((await control.status()).address);
  const { state, reason } = await control.server(one.name);
  assertEquals([state, reason], ["draining", "balancerctl drain"]);
  for (let i = 0; i < 10; i++) assertEquals(await ask(address), two.name);
  await place.do("undrain", one.address.host, String(one.address.port));
  await poll(() => ask(address), (name) => name === one.name, "a client of the server that is back");
  await place.do("stop");
  await place.start();
  assertEquals((await control.server(one.name)).state, "up");
});

Deno.test("a killed server is shown with the reason, its idle client is answered elsewhere, and it comes back", async () => {
  await using place = await makePlace();
  const checks = ["--check", "tcp", "--check-interval", "200ms", "--check-timeout", "200ms", "--rise", "1", "--fall", "1"];
  const address = await place.start("--redistribute", "idle", "--quiet", "20ms", "--rest", "50ms", ...checks);
  using control = new ControlClient("default", place.socket());
  await using other = startServer(echo);
  let name = "";
  let at = 0;
  {
    await using server = await startServerProcess();
    ({ name, port: at } = server);
    await control.add({ address: "127.0.0.1", port: at });
    using client = await connect(address);
    await writeText(client, "ping");
    assertEquals(new TextDecoder().decode(await soon(readBytes(client, 4))), "PING");
    await addAll(place, [other]);
    const read = () => control.plan({ change: "remove", server: name });
    await poll(read, ({ connections }) => connections.every(({ state }) => state === "idle"), "silence");
    await server.kill();
    const { state, reason } = await poll(() => control.server(name), ({ state }) => state !== "up", "the server to be lost");
    assert(state === "down" || state === "resting", state);
    assertMatch(reason ?? "", /refused|reset/);
    assertMatch(await place.do("list"), new RegExp(`^${name}: (down|resting) since 20[^ ]+Z: [^\\n]*(refused|reset)`, "m"));
    await writeText(client, "still there?");
    assertEquals(new TextDecoder().decode(await soon(readBytes(client, 12), "the other's answer")), "still there?");
    const { movedAway, open } = await control.server(name);
    assertEquals([movedAway, open, (await control.server(other.name)).open], [1, 0, 1]);
  }
  await using _back = await startServerProcess(at);
  const { reason } = await poll(() => control.server(name), ({ state }) => state === "up", "the server to be up again");
  assertEquals(reason, null);
  assert(!(await place.do("list")).includes(" since "));
});

Deno.test({
  name: "remove that is interrupted ends with a sentence, and the drain goes on",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using place = await makePlace();
    await using server = startServer(echo);
    const address = await place.start();
    await addAll(place, [server]);
    using client = await openVia(address);
    using control = new ControlClient("default", place.socket());
    const args = ["remove", "127.0.0.1", String(server.address.port), "--drain", "1h"];
    const command = new Deno.Command(place.program("balancerctl"), { args, env: place.env, stdout: "piped", stderr: "piped" });
    const process = command.spawn();
    await poll(() => control.list(), ({ servers }) => servers.some(({ state }) => state === "removing"), "the removal");
    process.kill("SIGINT");
    const { code, stdout, stderr } = await soon(process.output(), "the end of balancerctl");
    assertEquals([code, stdout.length], [1, 0]);
    const why = `Interrupted: server ${server.name} has up to 1h for its open connections; balancerctl list shows it`;
    const sentences = new TextDecoder().decode(stderr).trim().split("\n");
    assertEquals(sentences.filter((sentence) => !sentence.includes("; waiting up to ")), [`balancerctl: ${why}`]);
    await writeText(client, "still here");
    assertEquals((await soon(readBytes(client, 10))).length, 10);
    assertEquals((await control.server(server.name)).state, "removing");
    assertStringIncludes(await removeServer(place, server, "--now"), "of 1 open connection 0 moved, 0 finished and 1 was reset");
  },
});

Deno.test("recent shows a connection that was lost, and where", async () => {
  await using place = await makePlace();
  await using server = await startResettingServer();
  const address = await place.start("--check", "off");
  await addAll(place, [server]);
  using client = await connect(address);
  await writeText(client, "x");
  await soon(readText(client).catch(() => ""), "the loss");
  const name = `127.0.0.1:${server.address.port}`;
  const text = await poll(() => place.do("recent", "--fate", "server_lost"), (text) => text.includes(name), "the lost connection");
  const row = new RegExp(`^20[^ ]+Z +127\\.0\\.0\\.1:[0-9]+ +${name} +server_lost +[0-9.]+m?s +1 B +0 B( .*)?$`, "m");
  assertMatch(text, row);
  const { ends: [{ client: who, fate, moves }] } = JSON.parse(await place.do("recent", "--json", "--server", name));
  assertEquals([who, fate, moves], [`127.0.0.1:${(client.localAddr as Deno.NetAddr).port}`, "server_lost", 0]);
});

Deno.test({
  name: "servers that answer checks with megabytes, for ever or never, leave no descriptors behind",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using place = await makePlace();
    const block = new Uint8Array(64 * 1024);
    const flood = async (socket: Deno.TcpConn, first: string) => {
      await writeText(socket, first);
      while (true) await writeAll(socket, block);
    };
    await using good = startServer((socket) => flood(socket, "HTTP/1.1 200 OK\r\n\r\n"));
    await using bad = startServer((socket) => flood(socket, "HTTP/1.1 200 "));
    await using silent = startServer(hold);
    const times = ["--check-interval", "300ms", "--check-timeout", "300ms"];
    const checks = ["--check", "http:/health", ...times, "--fall", "1", "--rise", "1"];
    await place.start(...checks);
    using control = new ControlClient("default", place.socket());
    const { pid } = await control.status(); // over the one connection that the client keeps
    const count = async () => (await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`))).length;
    const before = await count();
    const servers = [good, bad, silent];
    for (const { address: { host, port } } of servers) await control.add({ address: host, port });
    const isChecked = () => Promise.resolve(servers.every(({ accepted }) => accepted >= 10));
    await poll(isChecked, (isChecked) => isChecked, "ten checks of each server");
    const isJudged = async () => {
      const [of, ofBad, ofSilent] = await Array.fromAsync(servers, ({ name }) => control.server(name));
      const isLong = ofBad.reason?.endsWith("of its answer have no final status line");
      return of.state === "up" && isLong && ofSilent.reason === "it did not answer within 300ms";
    };
    await poll(isJudged, (isJudged) => isJudged === true, "each to be judged by its answer");
    const during = await count();
    assert(during <= before + 2 * servers.length, `${during} descriptors, ${before} before there were servers`);
    for (const { name } of servers) await control.remove(name, "0s", 0);
    await poll(count, (now) => now <= before, `no more than the ${before} descriptors that there were`);
  },
});

Deno.test(await needing("balances a server of another make", "python3"), async () => {
  await using place = await makePlace();
  await Deno.writeTextFile(`${place.folder}/page.txt`, "hello from a real server");
  const at = unusedAddress();
  const args = ["-m", "http.server", String(at.port), "--bind", at.host, "--directory", place.folder];
  const python = new Deno.Command("python3", { args, stdout: "null", stderr: "null" }).spawn();
  try {
    const address = await place.start();
    await addAll(place, [{ address: at }]);
    let body = "";
    while (body === "") body = await get(address, "/page.txt").catch(() => "");
    assertEquals(body, "hello from a real server");
  } finally {
    python.kill();
    await python.status;
  }
});

/** Serves in capital letters on the port given, 0 for any; says which. */
const SHOUTING_SERVER = `
  const listener = Deno.listen({ hostname: "127.0.0.1", port: Number(Deno.args[0]) });
  console.log(listener.addr.port);
  for await (const socket of listener) {
    const shout = new TransformStream({ transform: (text, out) => out.enqueue(text.toUpperCase()) });
    socket.readable.pipeThrough(new TextDecoderStream()).pipeThrough(shout).pipeThrough(new TextEncoderStream())
      .pipeTo(socket.writable).catch(() => {});
  }
`;

/** A server that is a process, and can be killed. */
async function startServerProcess(port = 0) {
  const args = ["eval", "--quiet", "--no-config", SHOUTING_SERVER, String(port)];
  const process = new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "piped", stderr: "null" }).spawn();
  const lines = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value = "" } = await soon(lines.read(), "the server's port");
  const kill = async () => {
    close({ close: () => process.kill("SIGKILL") });
    await soon(process.status, "the end of the server");
    await lines.cancel();
  };
  return { name: `127.0.0.1:${value.trim()}`, port: Number(value), kill, [Symbol.asyncDispose]: kill };
}

async function get({ host, port }: Address, path: string): Promise<string> {
  const response = await fetch(`http://${host}:${port}${path}`);
  return response.ok ? await response.text() : (await response.body?.cancel(), "");
}

async function openVia(address: Address): Promise<Deno.TcpConn> {
  const client = await connect(address);
  await writeText(client, "x");
  await soon(readBytes(client, 1));
  return client;
}

async function send(socket: Deno.TcpConn, block: Uint8Array, total: number): Promise<void> {
  for (const chunk of repeat(block, total)) await writeAll(socket, chunk);
  await socket.closeWrite();
}

function* repeat(block: Uint8Array, total: number): Generator<Uint8Array> {
  for (let sent = 0; sent < total; sent += block.length) yield block.subarray(0, Math.min(block.length, total - sent));
}

async function hashOf(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}
