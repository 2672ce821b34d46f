// The pool and its changes: checked, saved, published, answered.

import { assertAlmostEquals, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { parseAddress } from "../lib/address.ts";
import { Balancer, type BalancerOptions } from "../lib/balancer.ts";
import { LIMITS, parseConfig } from "../lib/config.ts";
import { streams } from "../lib/engine/streams.ts";
import { OperatorError } from "../lib/errors.ts";
import type { SavedServer } from "../lib/state_file.ts";
import {
  ask,
  assertFatesAddUp,
  connect,
  echo,
  hold,
  readBytes,
  readText,
  sayName,
  soon,
  startServer,
  unusedAddress,
  writeText,
} from "./helpers.ts";

const ORDINARY = { weight: 1, connectionsMax: null };

function startBalancer(options: Partial<BalancerOptions> & { flags?: Record<string, string> } = {}): Balancer {
  const { flags, ...rest } = options;
  const listen = { host: "127.0.0.1", port: 0 };
  return new Balancer({ engine: streams, listen, config: parseConfig(flags), connectionsMax: 1000, ...rest });
}

Deno.test("add() puts a server to work", async () => {
  await using server = startServer(sayName);
  await using balancer = startBalancer();
  assertEquals(await ask(balancer.address), "");
  const added = await balancer.add(server.address, { weight: 3, connectionsMax: 7 });
  assertEquals([added.server, added.state, added.weight, added.connectionsMax], [server.name, "up", 3, 7]);
  assertAlmostEquals(added.share, 1);
  assertEquals(await ask(balancer.address), server.name);
  assertEquals(balancer.list().map(({ server, connects }) => [server, connects]), [[server.name, 1]]);
  assertFatesAddUp(balancer.counters);
});

Deno.test("add() refuses a server that is in the pool, and the balancer's own address", async () => {
  await using balancer = startBalancer();
  const server = parseAddress("192.0.2.1:80");
  await balancer.add(server, ORDINARY);
  const before = balancer.generation;
  const twice = await assertRejects(() => balancer.add(server, ORDINARY), OperatorError);
  assertEquals([twice.kind, twice.message], ["conflict", 'Cannot add server "192.0.2.1:80": it is already in the pool']);
  const loop = await assertRejects(
    () => balancer.add(balancer.address, ORDINARY),
    OperatorError,
    "the balancer itself listens there",
  );
  assertEquals(loop.kind, "conflict");
  assertEquals(balancer.generation, before);
});

Deno.test("a pool can hold so many servers and so much weight, and no more", async () => {
  const pool = (count: number, weight: number) =>
    Array.from({ length: count }, (_, i) => ({ server: `192.0.2.1:${i + 1}`, weight, connectionsMax: null }));
  await using heavy = startBalancer({ servers: pool(LIMITS.weightTotalMax / LIMITS.weightMax, LIMITS.weightMax) });
  await assertRejects(() => heavy.add(parseAddress("192.0.2.2:1"), ORDINARY), OperatorError, String(LIMITS.weightTotalMax));
  await using wide = startBalancer({ servers: pool(LIMITS.serversMax, 1) });
  await assertRejects(() => wide.add(parseAddress("192.0.2.2:1"), ORDINARY), OperatorError, String(LIMITS.serversMax));
});

Deno.test("a change that cannot be saved is not made", async () => {
  const disk = { full: false };
  const save = () => disk.full ? Promise.reject(new OperatorError("failed", "the disk is full")) : Promise.resolve();
  await using server = startServer(sayName);
  await using balancer = startBalancer({ save });
  await balancer.add(server.address, ORDINARY);
  const before = balancer.ring().fingerprint;
  disk.full = true;
  await assertRejects(() => balancer.add(parseAddress("192.0.2.1:80"), ORDINARY), OperatorError, "the disk is full");
  await assertRejects(() => balancer.change(server.name, { weight: 2 }), OperatorError, "the disk is full");
  await assertRejects(() => balancer.remove(server.name, 0), OperatorError, "the disk is full");
  assertEquals(balancer.ring().fingerprint, before);
  assertEquals(await ask(balancer.address), server.name);
});

Deno.test("what is saved starts the same pool again", async () => {
  let saved: readonly SavedServer[] = [];
  const save = (servers: readonly SavedServer[]) => Promise.resolve(void (saved = servers));
  await using first = startBalancer({ save });
  await first.add(parseAddress("192.0.2.1:80"), { weight: 2, connectionsMax: null });
  await first.add(parseAddress("[2001:db8::1]:80"), { weight: 1, connectionsMax: 5 });
  await first.add(parseAddress("db.example:80"), ORDINARY);
  await first.remove("db.example:80", 0);
  await using second = startBalancer({ servers: saved });
  assertEquals(second.list(), first.list());
  assertEquals(second.ring(), first.ring());
});

Deno.test("change() sets what is given and leaves the rest", async () => {
  await using balancer = startBalancer();
  await balancer.add(parseAddress("192.0.2.1:80"), { weight: 1, connectionsMax: 9 });
  await balancer.add(parseAddress("192.0.2.2:80"), ORDINARY);
  const { weight, connectionsMax, share } = await balancer.change("192.0.2.1:80", { weight: 3 });
  assertEquals([weight, connectionsMax], [3, 9]);
  assertAlmostEquals(share, 0.75, 0.04);
  assertEquals((await balancer.change("192.0.2.1:80", { connectionsMax: null })).connectionsMax, null);
  const { kind } = await assertRejects(() => balancer.change("192.0.2.3:80", { weight: 1 }), OperatorError, '"192.0.2.3:80"');
  assertEquals(kind, "unknown");
});

Deno.test("remove() of a server without connections is done at once", async () => {
  await using balancer = startBalancer();
  await balancer.add(parseAddress("192.0.2.1:80"), ORDINARY);
  assertEquals(await balancer.remove("192.0.2.1:80", 60_000), { server: "192.0.2.1:80", open: 0, ended: 0 });
  assertEquals(balancer.list(), []);
  const { kind } = await assertRejects(() => balancer.remove("192.0.2.1:80", 0), OperatorError, "it is not in the pool");
  assertEquals(kind, "unknown");
});

Deno.test("remove() lets connections finish, and ends those that do not", async () => {
  await using server = startServer(echo);
  await using balancer = startBalancer();
  await balancer.add(server.address, ORDINARY);
  using quick = await openVia(balancer);
  using slow = await openVia(balancer);
  const removal = balancer.remove(server.name, 60_000);
  while (balancer.list()[0]?.state !== "draining") await Promise.resolve();
  assertEquals(await ask(balancer.address), "", "a removed server takes nobody new");
  await quick.closeWrite();
  assertEquals(await soon(readText(quick)), "");
  assertEquals(balancer.list().map(({ state, open }) => [state, open]), [["draining", 1]]);
  const shortened = balancer.remove(server.name, 0);
  assertEquals(await soon(readText(slow)), "");
  const expected = { server: server.name, open: 2, ended: 1 };
  assertEquals(await soon(Promise.all([removal, shortened])), [expected, expected]);
  assertEquals(balancer.list(), []);
  assertEquals([balancer.counters.get("removed"), balancer.counters.get("done")], [1, 1]);
  assertFatesAddUp(balancer.counters);
});

Deno.test("a server added again while it drains keeps its connections, and its removal is called off", async () => {
  await using server = startServer(echo);
  await using balancer = startBalancer();
  await balancer.add(server.address, ORDINARY);
  using client = await openVia(balancer);
  const removal = assertRejects(() => balancer.remove(server.name, 60_000), OperatorError, "called off");
  const added = await balancer.add(server.address, { weight: 2, connectionsMax: null });
  assertEquals([added.state, added.open, added.weight], ["up", 1, 2]);
  await soon(removal);
  await writeText(client, "y");
  assertEquals((await soon(readBytes(client, 1)))[0], "y".charCodeAt(0));
});

Deno.test("a new server never inherits the numbers of one that was removed", async () => {
  await using server = startServer(sayName);
  await using balancer = startBalancer();
  await balancer.add(server.address, ORDINARY);
  await ask(balancer.address);
  await balancer.remove(server.name, 1000);
  await using other = startServer(sayName);
  const added = await balancer.add(other.address, ORDINARY);
  assertEquals([added.connects, added.receivedBytes, added.fates.done], [0, 0, 0]);
  assertEquals(balancer.counters.get("done"), 1);
});

Deno.test("changes asked for at once are made one after another", async () => {
  const running = { now: 0, most: 0 };
  const save = async () => {
    running.most = Math.max(running.most, ++running.now);
    await new Promise((resolve) => setTimeout(resolve));
    running.now--;
  };
  await using balancer = startBalancer({ save });
  const names = Array.from({ length: 20 }, (_, i) => `192.0.2.1:${i + 1}`);
  await Promise.all(names.map((name) => balancer.add(parseAddress(name), ORDINARY)));
  assertEquals(running.most, 1);
  assertEquals(balancer.list().map(({ server }) => server).toSorted(), names.toSorted());
});

Deno.test("a client of a removed server comes back to it when it is added again", async () => {
  await using one = startServer(sayName);
  await using two = startServer(sayName);
  await using balancer = startBalancer();
  await balancer.add(one.address, ORDINARY);
  await balancer.add(two.address, ORDINARY);
  const home = await ask(balancer.address);
  await balancer.remove(home, 1000);
  assertNotEquals(await ask(balancer.address), home);
  await balancer.add(parseAddress(home), ORDINARY);
  assertEquals(await ask(balancer.address), home);
});

Deno.test("a stopping balancer changes nothing more", async () => {
  await using balancer = startBalancer();
  await balancer.stop(0);
  await assertRejects(() => balancer.add(parseAddress("192.0.2.1:80"), ORDINARY), OperatorError, "the balancer is stopping");
});

Deno.test("stop() ends drains as well", async () => {
  await using server = startServer(hold);
  await using balancer = startBalancer();
  await balancer.add(server.address, ORDINARY);
  using client = await connect(balancer.address);
  while (balancer.list()[0].connects === 0) await new Promise((resolve) => setTimeout(resolve));
  const removal = balancer.remove(server.name, 60_000);
  while (balancer.list()[0]?.state !== "draining") await Promise.resolve();
  await soon(balancer.stop(0));
  assertEquals(await soon(removal), { server: server.name, open: 1, ended: 1 });
  assertEquals(await soon(readText(client)), "");
  assertEquals(balancer.counters.get("stopped"), 1);
});

Deno.test("a pool that contains the listening address is refused", () => {
  const address = unusedAddress();
  const servers = [{ server: `127.0.0.1:${address.port}`, ...ORDINARY }];
  assertThrows(() => startBalancer({ listen: address, servers }), OperatorError, "the balancer itself listens there");
});

async function openVia(balancer: Balancer): Promise<Deno.TcpConn> {
  const client = await connect(balancer.address);
  await writeText(client, "x");
  await soon(readBytes(client, 1));
  return client;
}
