// `/live`: what viewers are told, what becomes of one that does not read, and that the daemon is asked once for all of them.

import { NO_HOLD } from "../answers.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { connect, poll, readBytes, writeText } from "../helpers.ts";
import { openDashboard, shownServer, type TestDashboard } from "./dashboards.ts";

/** A viewer that asks and does not read. */
async function ask({ bridge, host }: TestDashboard, cookie: string): Promise<Deno.TcpConn> {
  const socket = await connect(bridge.address);
  await writeText(socket, `GET /live HTTP/1.1\r\nhost: ${host}\r\n${cookie}\r\n\r\n`);
  return socket;
}

Deno.test("a viewer is told everything, then each second what has changed, and events", async () => {
  await using dashboard = await openDashboard();
  const { daemon } = dashboard;
  using stream = await dashboard.follow(await dashboard.enter());
  assertEquals(await stream.next(), { name: "daemon", id: undefined, data: { connected: true, why: null } });
  const { name, data } = await stream.next();
  assertEquals(name, "snapshot");
  const { writes, status, servers } = data as { writes: boolean; status: { name: string }; servers: unknown };
  const ring = { fingerprint: "f", points: 1, peakToMean: 1 };
  assertEquals([writes, status.name], [false, "test"]);
  assertEquals(servers, [{ service: "default", servers: [shownServer("10.0.0.1:80")], ring, hold: NO_HOLD }]);

  const second = await stream.next();
  assertEquals(second.name, "second");
  const { series, ...changes } = second.data as { at?: string; series: { from: number } };
  delete changes.at;
  assertEquals([changes, series.from], [{ servers: [], gone: [] }, 1001]);

  daemon.pools.set("default", [shownServer("10.0.0.1:80", 7)]);
  daemon.happened.push("<script>alert(1)</script>");
  const seen = [];
  while (seen.at(-1)?.name !== "event") seen.push(await stream.next());
  assertEquals(seen.at(-1)!.id, "a1-2");
  assertEquals((seen.at(-1)!.data as { text: string }).text, "<script>alert(1)</script>");
  const said = seen.filter(({ name }) => name === "second").flatMap(({ data }) => (data as { servers: unknown[] }).servers);
  assertEquals(said, [{ service: "default", servers: [{ server: "10.0.0.1:80", open: 7 }], gone: [] }]);
});

Deno.test("the steps of the series follow each other without a gap", async () => {
  await using dashboard = await openDashboard();
  using stream = await dashboard.follow(await dashboard.enter());
  await stream.next();
  await stream.next();
  const places: number[] = [];
  while (places.length < 5) places.push(((await stream.next()).data as { series: { from: number } }).series.from);
  assertEquals(places, [1001, 1002, 1003, 1004, 1005]);
});

Deno.test("losing the daemon is told once, its return begins anew, and so does another start of it", async () => {
  await using dashboard = await openDashboard();
  const { daemon } = dashboard;
  const cookie = await dashboard.enter();
  using stream = await dashboard.follow(cookie);
  const until = async (wanted: string) => {
    for (;;) {
      const { name, data } = await stream.next();
      if (name === wanted) return data;
      assert(name === "second", name);
    }
  };
  await until("daemon");
  await until("snapshot");
  daemon.why = "No balancer is running";
  assertEquals(await until("daemon"), { connected: false, why: "No balancer is running" });
  const { looks } = daemon;
  await poll(() => Promise.resolve(daemon.looks), (now) => now >= looks + 3, "looks while the daemon is away");
  using late = await dashboard.follow(cookie); // who comes meanwhile is told as well
  assertEquals((await late.next()).data, { connected: false, why: "No balancer is running" });
  daemon.why = undefined;
  assertEquals(await until("daemon"), { connected: true, why: null });
  await until("snapshot");

  daemon.startId = "b2";
  assertEquals(await until("daemon"), { connected: true, why: null });
  await until("snapshot");
});

Deno.test("events that are no longer kept are a gap", async () => {
  await using dashboard = await openDashboard();
  using stream = await dashboard.follow(await dashboard.enter());
  for (const name of ["daemon", "snapshot"]) assertEquals((await stream.next()).name, name);
  dashboard.daemon.firstKept = 4;
  dashboard.daemon.happened.push("two", "three", "four");
  const names: string[] = [];
  while (names.at(-1) !== "event") names.push((await stream.next()).name);
  assertEquals(names.filter((name) => name !== "second"), ["gap", "event"]);
});

Deno.test("a service that goes or comes is told", async () => {
  await using dashboard = await openDashboard();
  using stream = await dashboard.follow(await dashboard.enter());
  for (const name of ["daemon", "snapshot"]) assertEquals((await stream.next()).name, name);
  dashboard.daemon.pools.delete("default");
  dashboard.daemon.pools.set("web", []);
  for (;;) {
    const { gone, servers } = (await stream.next()).data as { gone: string[]; servers: { service: string }[] };
    if (gone.length === 0) continue;
    assertEquals([gone, servers.map(({ service }) => service)], [["default"], ["web"]]);
    break;
  }
});

Deno.test("a viewer that does not read is dropped and counted, and the others read on", async () => {
  await using dashboard = await openDashboard({ behindBytesMax: 64 * 1024, periodMs: 5 });
  const cookie = await dashboard.enter();
  using stream = await dashboard.follow(cookie);
  using _deaf = await ask(dashboard, cookie);
  let open = 0;
  while (dashboard.dropped() === 0) { // until the kernel's buffers are full as well
    dashboard.daemon.pools.set("default", Array.from({ length: 2000 }, (_, i) => shownServer(`10.0.0.${i}:80`, open)));
    open++;
    await stream.next();
  }
  assertEquals(dashboard.dropped(), 1);
  assertEquals((await stream.next()).name, "second");
});

Deno.test("1,000 viewers cost the daemon what one does; one more is told that it is one too many", async () => {
  const VIEWERS = 1000;
  await using dashboard = await openDashboard({ viewersMax: VIEWERS, periodMs: 500 });
  const cookie = await dashboard.enter();
  const startMs = performance.now();
  await using all = new AsyncDisposableStack();
  const sockets = await Promise.all(Array.from({ length: VIEWERS }, async () => {
    const socket = await ask(dashboard, cookie);
    all.defer(() => socket.close());
    return socket;
  }));
  const heads = await Promise.all(sockets.map((socket) => readBytes(socket, 15)));
  for (const head of heads) assertEquals(new TextDecoder().decode(head), "HTTP/1.1 200 OK");
  const { status, body } = await dashboard.send("GET", "/live", [cookie]);
  assertEquals([status, body.includes("1000 viewers do, which is the limit")], [503, true]);
  using _ = await connect(dashboard.bridge.address);
  const { looks } = dashboard.daemon;
  await poll(() => Promise.resolve(dashboard.daemon.looks), (now) => now >= looks + 2, "looks with all viewers");
  assert(dashboard.daemon.looks <= (performance.now() - startMs) / 500 + 1, `${dashboard.daemon.looks}`);
  assertEquals(dashboard.dropped(), 0);
});

Deno.test("while nobody watches the daemon is not asked", async () => {
  await using dashboard = await openDashboard({ periodMs: 5 });
  const cookie = await dashboard.enter();
  {
    using stream = await dashboard.follow(cookie);
    assertEquals((await stream.next()).name, "daemon");
  }
  let before = -1;
  await poll(() => Promise.resolve(dashboard.daemon.looks), (now) => {
    const isQuiet = now === before;
    before = now;
    return isQuiet;
  }, "the end of the looks");
  using stream = await dashboard.follow(cookie); // and again when somebody comes
  assertEquals((await stream.next()).name, "daemon");
  assertEquals((await stream.next()).name, "snapshot");
});

Deno.test("a dashboard that ends ends its streams", async () => {
  const dashboard = await openDashboard();
  const cookie = await dashboard.enter();
  using stream = await dashboard.follow(cookie);
  assertEquals((await stream.next()).name, "daemon");
  await dashboard[Symbol.asyncDispose]();
  await assertRejects(() => dashboard.follow(cookie), TypeError);
});
