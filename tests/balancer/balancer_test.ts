// The pool and its changes: checked, saved, published, answered. What depends on the engine is tried with each of them.

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertGreaterOrEqual,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { type Address, formatAddress, parseAddress } from "../../lib/values/address.ts";
import type { ServerView } from "../../lib/balancer/views.ts";
import { LIMITS } from "../../lib/values/config.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import type { SavedServer } from "../../lib/values/saved_state.ts";
import {
  ask,
  assertFatesAddUp,
  close,
  connect,
  echo,
  type Handler,
  hold,
  readBytes,
  readText,
  sayName,
  soon,
  startResettingServer,
  startServer,
  unusedAddress,
  writeText,
} from "../helpers.ts";
import { CA } from "../certificates.ts";
import { type OneService, startBalancer } from "../one_service.ts";
import { turn, until } from "../raw_socket.ts";

const ORDINARY = { weight: 1, connectionsMax: null };

/** After so long an exchange is over, where connections may go elsewhere between two of them. */
const QUIET = "30ms";
/** Connections spread by themselves, and may go elsewhere between two exchanges. */
const IDLE = { key: "ip:port", redistribute: "idle", quiet: QUIET };

Deno.test("add() puts a server to work", async () => {
  await using server = startServer(sayName);
  await using balancer = await startBalancer();
  assertEquals(await ask(balancer.address), "");
  const added = await balancer.add(server.address, { weight: 3, connectionsMax: 7 });
  assertEquals([added.server, added.state, added.weight, added.connectionsMax], [server.name, "up", 3, 7]);
  assertAlmostEquals(added.share, 1);
  assertEquals(await ask(balancer.address), server.name);
  assertEquals(balancer.list().map(({ server, connects }) => [server, connects]), [[server.name, 1]]);
  assertFatesAddUp(balancer.counters);
});

Deno.test("add() refuses a server that is in the pool, and the balancer's own address", async () => {
  await using balancer = await startBalancer();
  const server = parseAddress("192.0.2.1:80");
  await balancer.add(server, ORDINARY);
  const before = balancer.generation;
  const twice = await assertRejects(() => balancer.add(server, ORDINARY), OperatorError);
  assertEquals([twice.kind, twice.message], ["conflict", 'Cannot add server "192.0.2.1:80": it is already in the pool']);
  const loop = await assertRejects(
    () => balancer.add(balancer.address, ORDINARY),
    OperatorError,
    "the balancer itself listens on that address",
  );
  assertEquals(loop.kind, "conflict");
  assertEquals(balancer.generation, before);
});

Deno.test("a pool can hold so many servers and so much weight, and no more", async () => {
  const pool = (count: number, weight: number) =>
    Array.from({ length: count }, (_, i) => ({ server: `192.0.2.1:${i + 1}`, weight, connectionsMax: null }));
  await using heavy = await startBalancer({ servers: pool(LIMITS.weightTotalMax / LIMITS.weightMax, LIMITS.weightMax) });
  await assertRejects(() => heavy.add(parseAddress("192.0.2.2:1"), ORDINARY), OperatorError, String(LIMITS.weightTotalMax));
  await using wide = await startBalancer({ servers: pool(LIMITS.serversMax, 1) });
  await assertRejects(() => wide.add(parseAddress("192.0.2.2:1"), ORDINARY), OperatorError, String(LIMITS.serversMax));
});

Deno.test("a change that cannot be saved is not made", async () => {
  const disk = { full: false };
  const save = () => disk.full ? Promise.reject(new OperatorError("failed", "the disk is full")) : Promise.resolve();
  await using server = startServer(sayName);
  await using balancer = await startBalancer({ save });
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
  await using first = await startBalancer({ save });
  await first.add(parseAddress("192.0.2.1:80"), { weight: 2, connectionsMax: null });
  await first.add(parseAddress("[2001:db8::1]:80"), { weight: 1, connectionsMax: 5 });
  await first.add(parseAddress("db.example:80"), ORDINARY);
  await first.remove("db.example:80", 0);
  await using second = await startBalancer({ servers: saved });
  const timeless = (servers: ServerView[]) => servers.map((server) => ({ ...server, since: undefined }));
  assertEquals(timeless(second.list()), timeless(first.list()));
  assertEquals(second.ring(), first.ring());
});

Deno.test("checks are counted by outcome, for each server", async () => {
  await using good = startServer(async (socket) => await writeText(socket, "+PONG"));
  await using wrong = startServer(async (socket) => await writeText(socket, "-ERR"));
  const flags = { check: "expect:+PONG", "check-interval": "300ms", "check-timeout": "300ms" };
  await using balancer = await startBalancer({ flags });
  const absent = unusedAddress();
  for (const address of [good.address, wrong.address, absent]) await balancer.add(address, ORDINARY);
  const slots = new Map(balancer.list().map(({ server, slot }) => [server, slot]));
  const counted = (address: Address) =>
    (["checksPassed", "checksUnanswered", "checksWrong", "checksNotMade"] as const).map((name) =>
      balancer.counters.getOf(slots.get(formatAddress(address))!, name) > 0
    );
  const all = () => [good.address, wrong.address, absent].map(counted);
  await until(() => all().every((outcomes) => outcomes.includes(true)), "a check of each server");
  assertEquals(all(), [[true, false, false, false], [false, false, true, false], [false, true, false, false]]);
});

Deno.test("change() sets what is given and leaves the rest", async () => {
  await using balancer = await startBalancer();
  await balancer.add(parseAddress("192.0.2.1:80"), { weight: 1, connectionsMax: 9 });
  await balancer.add(parseAddress("192.0.2.2:80"), ORDINARY);
  const { weight, connectionsMax, share } = await balancer.change("192.0.2.1:80", { weight: 3 });
  assertEquals([weight, connectionsMax], [3, 9]);
  assertAlmostEquals(share, 0.75, 0.04);
  assertEquals((await balancer.change("192.0.2.1:80", { connectionsMax: null })).connectionsMax, null);
  const { kind } = await assertRejects(() => balancer.change("192.0.2.3:80", { weight: 1 }), OperatorError, '"192.0.2.3:80"');
  assertEquals(kind, "unknown");
});

Deno.test("a server whose file of authorities has gone can be drained, weighed and checked in another way", async () => {
  const path = await Deno.makeTempFile({ prefix: "balancer_ca_" });
  await Deno.writeTextFile(path, CA);
  await using balancer = await startBalancer();
  const { server } = await balancer.add(await unusedAddress(), { check: "https:/up", checkCa: path });
  await Deno.remove(path);
  assertEquals((await balancer.change(server, { draining: true })).state, "draining");
  assertEquals((await balancer.change(server, { weight: 2, draining: false })).weight, 2);
  assertEquals((await balancer.change(server, { check: "tcp" })).check, "tcp");
  await assertRejects(() => balancer.change(server, { check: "https:/up" }), OperatorError, "it does not exist");
  await assertRejects(() => balancer.change(server, { checkCa: path }), OperatorError, "it does not exist");
});

Deno.test("remove() of a server without connections is done at once", async () => {
  await using balancer = await startBalancer();
  await balancer.add(parseAddress("192.0.2.1:80"), ORDINARY);
  assertEquals(await balancer.remove("192.0.2.1:80", 60_000), { server: "192.0.2.1:80", open: 0, moved: 0, ended: 0 });
  assertEquals(balancer.list(), []);
  const { kind } = await assertRejects(() => balancer.remove("192.0.2.1:80", 0), OperatorError, "is not in the pool");
  assertEquals(kind, "unknown");
});

Deno.test("remove() lets connections finish, and ends those that do not", async () => {
  await using server = startServer(echo);
  await using balancer = await startBalancer();
  await balancer.add(server.address, ORDINARY);
  using quick = await openVia(balancer);
  using slow = await openVia(balancer);
  const removal = balancer.remove(server.name, 60_000);
  while (balancer.list()[0]?.state !== "removing") await Promise.resolve();
  assertEquals(await ask(balancer.address), "", "a removed server takes nobody new");
  await quick.closeWrite();
  assertEquals(await soon(readText(quick)), "");
  assertEquals(balancer.list().map(({ state, open }) => [state, open]), [["removing", 1]]);
  const shortened = balancer.remove(server.name, 0);
  assertEquals(await soon(readText(slow)), "");
  const expected = { server: server.name, open: 2, moved: 0, ended: 1 };
  assertEquals(await soon(Promise.all([removal, shortened])), [expected, expected]);
  assertEquals(balancer.list(), []);
  assertEquals([balancer.counters.get("removed"), balancer.counters.get("done")], [1, 1]);
  assertFatesAddUp(balancer.counters);
});

Deno.test("a server added again while it drains keeps its connections, and its removal is cancelled", async () => {
  await using server = startServer(echo);
  await using balancer = await startBalancer();
  await balancer.add(server.address, ORDINARY);
  using client = await openVia(balancer);
  const removal = assertRejects(() => balancer.remove(server.name, 60_000), OperatorError, "was cancelled");
  const added = await balancer.add(server.address, { weight: 2, connectionsMax: null });
  assertEquals([added.state, added.open, added.weight], ["up", 1, 2]);
  await soon(removal);
  await writeText(client, "y");
  assertEquals((await soon(readBytes(client, 1)))[0], "y".charCodeAt(0));
});

Deno.test("a new server never inherits the numbers of one that was removed", async () => {
  await using server = startServer(sayName);
  await using balancer = await startBalancer();
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
  await using balancer = await startBalancer({ save });
  const names = Array.from({ length: 20 }, (_, i) => `192.0.2.1:${i + 1}`);
  await Promise.all(names.map((name) => balancer.add(parseAddress(name), ORDINARY)));
  assertEquals(running.most, 1);
  assertEquals(balancer.list().map(({ server }) => server).toSorted(), names.toSorted());
});

Deno.test("a client of a removed server comes back to it when it is added again", async () => {
  await using one = startServer(sayName);
  await using two = startServer(sayName);
  await using balancer = await startBalancer();
  await balancer.add(one.address, ORDINARY);
  await balancer.add(two.address, ORDINARY);
  const home = await ask(balancer.address);
  await balancer.remove(home, 1000);
  assertNotEquals(await ask(balancer.address), home);
  await balancer.add(parseAddress(home), ORDINARY);
  assertEquals(await ask(balancer.address), home);
});

Deno.test("a stopping balancer changes nothing more", async () => {
  await using balancer = await startBalancer();
  await balancer.stop(0);
  await assertRejects(() => balancer.add(parseAddress("192.0.2.1:80"), ORDINARY), OperatorError, "the balancer is stopping");
});

Deno.test("stop() ends drains as well", async () => {
  await using server = startServer(hold);
  await using balancer = await startBalancer();
  await balancer.add(server.address, ORDINARY);
  using client = await connect(balancer.address);
  while (balancer.list()[0].connects === 0) await new Promise((resolve) => setTimeout(resolve));
  const removal = balancer.remove(server.name, 60_000);
  while (balancer.list()[0]?.state !== "removing") await Promise.resolve();
  await soon(balancer.stop(0));
  assertEquals(await soon(removal), { server: server.name, open: 1, moved: 0, ended: 1 });
  assertEquals(await soon(readText(client)), "");
  assertEquals(balancer.counters.get("stopped"), 1);
});

Deno.test("a pool that contains the listening address is refused", async () => {
  const { host, port } = unusedAddress();
  const servers = [{ server: formatAddress({ host, port }), ...ORDINARY }];
  const started = startBalancer({ listener: { address: host, port }, servers });
  await assertRejects(() => started, OperatorError, "the balancer itself listens on that address");
});

Deno.test("the figures can be asked for while the balancer stops", async () => {
  await using server = startServer(echo);
  await using balancer = await startBalancer();
  await balancer.add(server.address, ORDINARY);
  await balancer.add(parseAddress("192.0.2.1:80"), ORDINARY);
  using _client = await openVia(balancer);
  const stopped = balancer.stop(60_000);
  assertEquals(balancer.list().map(({ state }) => state), ["up", "up"]);
  assertEquals(balancer.get(server.name).open, 1);
  assertEquals(balancer.countServers(), { up: 2, resting: 0, down: 0, draining: 0, removing: 0 });
  assertEquals(balancer.explain("192.0.2.7", 3).order.length, 2);
  await balancer.stop(0);
  await soon(stopped);
});

Deno.test("what cannot be saved changes nobody's draining", async () => {
  const disk = { full: false };
  const save = () => disk.full ? Promise.reject(new OperatorError("failed", "the disk is full")) : Promise.resolve();
  await using balancer = await startBalancer({ save });
  await balancer.add(parseAddress("192.0.2.1:80"), ORDINARY);
  disk.full = true;
  await assertRejects(() => balancer.change("192.0.2.1:80", { draining: true }), OperatorError, "the disk is full");
  assertEquals(balancer.get("192.0.2.1:80").state, "up");
  disk.full = false;
  await balancer.change("192.0.2.1:80", { draining: true });
  disk.full = true;
  await assertRejects(() => balancer.change("192.0.2.1:80", { draining: false }), OperatorError, "the disk is full");
  assertEquals(balancer.get("192.0.2.1:80").state, "draining");
});

Deno.test("a drain is saved with the pool, stays when others change, and starts again with it", async () => {
  let saved: readonly SavedServer[] = [];
  const save = (servers: readonly SavedServer[]) => Promise.resolve(void (saved = servers));
  await using first = await startBalancer({ save });
  for (const name of ["192.0.2.1:80", "192.0.2.2:80"]) await first.add(parseAddress(name), ORDINARY);
  await first.change("192.0.2.1:80", { draining: true });
  await first.change("192.0.2.1:80", { weight: 2 });
  await first.add(parseAddress("192.0.2.3:80"), ORDINARY);
  await first.remove("192.0.2.2:80", 0);
  assertEquals(saved, [
    { server: "192.0.2.1:80", weight: 2, connectionsMax: null, draining: true },
    { server: "192.0.2.3:80", weight: 1, connectionsMax: null },
  ]);
  await using second = await startBalancer({ servers: saved });
  assertEquals(second.list().map(({ state, reason }) => [state, reason]), [["draining", "balancerctl drain"], ["up", null]]);
  assertEquals(second.countServers(), { up: 1, resting: 0, down: 0, draining: 1, removing: 0 });
  assertEquals(second.ring(), first.ring(), "a drain leaves the ring alone");
  await first.change("192.0.2.1:80", { draining: false });
  assertEquals(saved[0], { server: "192.0.2.1:80", weight: 2, connectionsMax: null });
});

Deno.test("a server that was drained, removed and added again is not draining", async () => {
  let saved: readonly SavedServer[] = [];
  await using balancer = await startBalancer({ save: (servers) => Promise.resolve(void (saved = servers)) });
  await balancer.add(parseAddress("192.0.2.1:80"), ORDINARY);
  await balancer.change("192.0.2.1:80", { draining: true });
  await balancer.remove("192.0.2.1:80", 0);
  assertEquals((await balancer.add(parseAddress("192.0.2.1:80"), ORDINARY)).state, "up");
  assertEquals(saved, [{ server: "192.0.2.1:80", ...ORDINARY }]);
});

Deno.test("drains, undrains and other changes asked for at once: the last word counts, and none is lost", async () => {
  await using balancer = await startBalancer();
  const name = "192.0.2.1:80";
  await balancer.add(parseAddress(name), ORDINARY);
  const changes = [{ draining: true }, { weight: 5 }, { draining: false }, { connectionsMax: 9 }, { draining: true }, {
    weight: 7,
  }];
  const views = await Promise.all(changes.map((change) => balancer.change(name, change)));
  assertEquals(views.map(({ state }) => state), ["draining", "draining", "up", "up", "draining", "draining"]);
  const { weight, connectionsMax, state } = balancer.get(name);
  assertEquals([weight, connectionsMax, state], [7, 9, "draining"]);
});

Deno.test("a drain asked for again keeps its time", async () => {
  await using balancer = await startBalancer();
  await balancer.add(parseAddress("192.0.2.1:80"), ORDINARY);
  const { since } = await balancer.change("192.0.2.1:80", { draining: true });
  const again = await balancer.change("192.0.2.1:80", { draining: true });
  assertEquals([again.state, again.since], ["draining", since]);
});

Deno.test("a server that is being removed is not changed", async () => {
  await using server = startServer(hold);
  await using balancer = await startBalancer();
  await balancer.add(server.address, ORDINARY);
  using _client = await connect(balancer.address);
  await until(() => balancer.list()[0].connects === 1, "the connection");
  const removal = balancer.remove(server.name, 60_000);
  await leaving(balancer, server.name);
  const { kind } = await assertRejects(
    () => balancer.change(server.name, { draining: false }),
    OperatorError,
    "it is being removed",
  );
  assertEquals(kind, "unknown");
  assertThrows(() => balancer.plan({ kind: "remove", server: server.name }), OperatorError, "it is being removed");
  await balancer.remove(server.name, 0);
  await soon(removal);
});

Deno.test("a drained server is draining, a removed one with connections is removing", async () => {
  await using server = startServer(hold);
  await using balancer = await startBalancer();
  await balancer.add(server.address, ORDINARY);
  await balancer.add(parseAddress("192.0.2.1:80"), ORDINARY);
  await balancer.change("192.0.2.1:80", { draining: true });
  using _client = await connect(balancer.address);
  await until(() => balancer.get(server.name).connects === 1, "the connection");
  const removal = balancer.remove(server.name, 60_000);
  await leaving(balancer, server.name);
  const { state, reason } = balancer.get(server.name);
  assertEquals([state, reason], ["removing", "balancerctl remove"]);
  assertEquals(balancer.get("192.0.2.1:80").state, "draining");
  assertEquals(balancer.countServers(), { up: 0, resting: 0, down: 0, draining: 1, removing: 1 });
  await balancer.remove(server.name, 0);
  await soon(removal);
  assertEquals(balancer.countServers(), { up: 0, resting: 0, down: 0, draining: 1, removing: 0 });
});

Deno.test("a command about an unknown server names the nearest three of the pool, or says how to list them", async () => {
  await using balancer = await startBalancer();
  for (const port of [8001, 8002, 8003, 8004]) await balancer.add(parseAddress(`192.0.2.1:${port}`), ORDINARY);
  const nearest = 'did you mean "192.0.2.1:8001", "192.0.2.1:8002" or "192.0.2.1:8003"?';
  const message = `Server "192.0.2.1:8010" is not in the pool: ${nearest}`;
  for (
    const act of [
      () => balancer.remove("192.0.2.1:8010", 0),
      () => balancer.change("192.0.2.1:8010", { weight: 2 }),
      () => balancer.change("192.0.2.1:8010", { draining: true }),
    ]
  ) assertEquals((await assertRejects(act, OperatorError)).message, message);
  assertEquals(assertThrows(() => balancer.get("192.0.2.1:8010"), OperatorError).message, message);
  const far = assertThrows(() => balancer.get("[2001:db8::1]:443"), OperatorError).message;
  assertEquals(far, 'Server "[2001:db8::1]:443" is not in the pool: balancerctl list shows the servers');
});

for (const level of ["new", "unanswered"]) {
  Deno.test(`startRebalance() at level ${level} is refused, and says which level it takes`, async () => {
    await using balancer = await startBalancer({ flags: { redistribute: level } });
    const { kind, message } = assertThrows(() => balancer.rebalancer.start(100), OperatorError);
    assertEquals(kind, "conflict");
    assertStringIncludes(message, `--redistribute is ${level}`);
    assertStringIncludes(message, "--redistribute idle");
    assertEquals(balancer.rebalancer.state.running, false);
  });
}

Deno.test("plan() of a server that is not there, or is there already, is refused", async () => {
  await using balancer = await startBalancer();
  await balancer.add(parseAddress("192.0.2.1:80"), ORDINARY);
  const server = "192.0.2.2:80";
  for (const change of [{ kind: "remove", server }, { kind: "weight", server, weight: 2 }] as const) {
    const { kind, message } = assertThrows(() => balancer.plan(change), OperatorError);
    assertEquals(kind, "unknown");
    assertMatch(message, /^Server "192\.0\.2\.2:80" is not in the pool: did you mean "192\.0\.2\.1:80"\?$/);
  }
  const { kind, message } = assertThrows(() => balancer.plan({ kind: "add", server: "192.0.2.1:80", weight: 1 }), OperatorError);
  assertEquals([kind, message], [
    "conflict",
    'Cannot plan for server "192.0.2.1:80": it is already in the pool; plan a weight or a removal',
  ]);
});

Deno.test("plan() says what the change then does to the shares, and changes nothing", async () => {
  await using balancer = await startBalancer();
  for (let i = 1; i <= 3; i++) await balancer.add(parseAddress(`192.0.2.${i}:80`), ORDINARY);
  const before = { list: balancer.list(), generation: balancer.generation };
  const { movedShare, flows, servers } = balancer.plan({ kind: "remove", server: "192.0.2.2:80" });
  assertEquals({ list: balancer.list(), generation: balancer.generation }, before);
  assertEquals(servers, { before: 3, after: 2 });
  assertAlmostEquals(movedShare!, before.list[1].share, 1e-6);
  await balancer.remove("192.0.2.2:80", 0);
  for (const { from, to, share } of flows) {
    assertEquals(from, "192.0.2.2:80");
    const had = before.list.find(({ server }) => server === to)!.share;
    assertAlmostEquals(balancer.get(to!).share, had + share, 1e-6);
  }
});

Deno.test("explain() without a server, and of what is no client", async () => {
  await using balancer = await startBalancer({ flags: { key: "ip:port" } });
  const { client, server, order } = balancer.explain("192.0.2.7:5000", 3);
  assertEquals([client, server, order], ["192.0.2.7:5000", null, []]);
  for (const text of ["foo", "", "192.0.2.7", "192.0.2.300:80"]) {
    assertEquals(assertThrows(() => balancer.explain(text, 3), OperatorError, JSON.stringify(text)).kind, "usage");
  }
});

type Case = (kind: EngineKind) => Promise<void>;

/** Asks, and waits until the connection ends, without ending it. */
async function askAndWait(address: Address): Promise<void> {
  using client = await connect(address);
  await writeText(client, "question").catch(() => {});
  await soon(readText(client), "the end").catch(() => {});
}

/** What depends on the engine. */
const CASES: Record<string, Case> = {
  async "a drained server gets no clients and keeps its connections; undrained it gets its clients again"(engine) {
    await using one = startServer(echo);
    await using balancer = await startBalancer({ engine });
    await balancer.add(one.address, ORDINARY);
    using client = await openVia(balancer);
    await using two = startServer(sayName);
    await balancer.add(two.address, ORDINARY);
    const before = Date.now();
    const drained = await balancer.change(one.name, { draining: true });
    assertEquals([drained.state, drained.reason, drained.open], ["draining", "balancerctl drain", 1]);
    assert(drained.since.getTime() >= before && drained.since.getTime() <= Date.now());
    for (let i = 0; i < 8; i++) assertEquals(await ask(balancer.address), two.name);
    assertEquals(await exchange(client, "still here"), "still here");
    await balancer.change(two.name, { draining: true });
    assertEquals(await ask(balancer.address), "", "nobody is left");
    await until(() => balancer.counters.get("refused_limit") + balancer.counters.get("no_server") === 1, "the refusal");
    const up = await balancer.change(one.name, { draining: false });
    assertEquals([up.state, up.reason], ["up", null]);
    assertEquals(await ask(balancer.address, "hello"), "hello");
    await until(() => balancer.counters.get("done") === 9, "the ends");
  },

  async "at level idle a drained server's connections go elsewhere between two exchanges"(engine) {
    await using pool = await startPair(engine);
    const { balancer, clients: [client], one, two } = pool;
    await balancer.change(one.name, { draining: true });
    await until(() => balancer.get(one.name).movedAway === 1, "the move");
    assertEquals(await exchange(client, "hello"), "hello");
    assertEquals([balancer.get(one.name).open, balancer.get(two.name).open], [0, 1]);
    assertEquals(balancer.counters.get("movedIdle"), 1);
    assertEquals([one.accepted, two.accepted], [1, 1]);
  },

  async "a drain and another weight in one change"(engine) {
    let saves = 0;
    await using server = startServer(sayName);
    await using balancer = await startBalancer({ engine, save: () => Promise.resolve(void saves++) });
    await balancer.add(server.address, ORDINARY);
    await balancer.add(parseAddress("192.0.2.1:80"), ORDINARY);
    const { generation } = balancer;
    const { state, weight, share } = await balancer.change(server.name, { draining: true, weight: 3 });
    assertEquals([state, weight, saves, balancer.generation], ["draining", 3, 3, generation + 1]);
    assertAlmostEquals(share, 0.75, 0.04);
    const back = await balancer.change(server.name, { draining: false, weight: 1, connectionsMax: 4 });
    assertEquals([back.state, back.weight, back.connectionsMax], ["up", 1, 4]);
  },

  async "remove() tells connections that moved, that finished and that were cut apart"(engine) {
    await using pool = await startPair(engine, 3, greetAllButTheFirst);
    const { balancer, clients: [moving, finishing, staying], one } = pool;
    const removal = balancer.remove(one.name, 60_000);
    await until(() => balancer.list().some(({ server, movedAway }) => server === one.name && movedAway === 1), "the move");
    await finishing.closeWrite();
    assertEquals(await soon(readText(finishing)), "");
    await until(() => balancer.get(one.name).open === 1, "the end");
    const shortened = balancer.remove(one.name, 0);
    assertEquals(await soon(readText(staying).catch(() => "")), "");
    const expected = { server: one.name, open: 3, moved: 1, ended: 1 };
    assertEquals(await soon(Promise.all([removal, shortened])), [expected, expected]);
    assertEquals(await exchange(moving, "hello"), "hello");
    assertEquals(balancer.counters.get("removed"), 1);
    assertThrows(() => balancer.get(one.name), OperatorError, "is not in the pool");
  },

  async "a server that is being removed is shown at every moment"(engine) {
    await using server = startServer(echo);
    await using balancer = await startBalancer({ engine });
    await balancer.add(server.address, ORDINARY);
    using _client = await openVia(balancer);
    const removal = balancer.remove(server.name, 60_000);
    const states = new Set<string>();
    for (let i = 1; !states.has("removing") && i < 10_000; i++) {
      states.add(balancer.list().find(({ server: name }) => name === server.name)?.state ?? "not shown");
      await (i % 20 === 0 ? turn() : undefined);
    }
    assertEquals([...states], ["up", "removing"]);
    await balancer.remove(server.name, 0);
    await soon(removal);
  },

  async "remove() without time moves what may move and cuts the rest at once"(engine) {
    await using pool = await startPair(engine, 2, greetAllButTheFirst);
    const { balancer, clients: [moving, cut], one } = pool;
    assertEquals(await soon(balancer.remove(one.name, 0)), { server: one.name, open: 2, moved: 1, ended: 1 });
    assertEquals(await soon(readText(cut).catch(() => "")), "");
    assertEquals(await exchange(moving, "hello"), "hello");
  },

  async "remove() at the end of its time cuts what is left"(engine) {
    await using server = startServer(echo);
    await using balancer = await startBalancer({ engine });
    await balancer.add(server.address, ORDINARY);
    using client = await openVia(balancer);
    assertEquals(await soon(balancer.remove(server.name, 50)), { server: server.name, open: 1, moved: 0, ended: 1 });
    assertEquals(await soon(readText(client).catch(() => "")), "");
    assertEquals(balancer.counters.get("removed"), 1);
  },

  async "remove() of the only server cuts clients that have said nothing, too, and counts them"(engine) {
    await using server = startServer(hold);
    await using balancer = await startBalancer({ engine });
    await balancer.add(server.address, ORDINARY);
    using client = await connect(balancer.address);
    await until(() => balancer.get(server.name).connects === 1, "the connection");
    assertEquals(await soon(balancer.remove(server.name, 50)), { server: server.name, open: 1, moved: 0, ended: 1 });
    assertEquals(await soon(readText(client).catch(() => "")), "");
    assertEquals(balancer.counters.get("removed"), 1);
  },

  async "a server added again while it is being removed keeps its connections, and whoever waits hears of it"(engine) {
    await using server = startServer(echo);
    await using balancer = await startBalancer({ engine });
    await balancer.add(server.address, ORDINARY);
    using client = await openVia(balancer);
    const waiting = [balancer.remove(server.name, 100), balancer.remove(server.name, 60_000)];
    const heard = Promise.all(waiting.map((removal) => assertRejects(() => removal, OperatorError, "the server was added again")));
    heard.catch(() => {}); // it is awaited below, unless something fails before
    await leaving(balancer, server.name);
    const added = await balancer.add(server.address, { weight: 2, connectionsMax: null });
    assertEquals([added.state, added.reason, added.open, added.weight], ["up", null, 1, 2]);
    for (const { kind } of await soon(heard)) assertEquals(kind, "conflict");
    assertEquals(await exchange(client, "still here"), "still here");
    assertEquals(await ask(balancer.address, "new"), "new");
    await until(() => balancer.get(server.name).open === 1 && balancer.counters.get("done") === 1, "the end of the new one");
    const again = balancer.remove(server.name, 60_000);
    await leaving(balancer, server.name);
    client.close();
    assertEquals(await soon(again), { server: server.name, open: 1, moved: 0, ended: 0 }, "what was before is not counted");
  },

  async "a rebalance sends those home whom the ring gives to another, and nobody else"(engine) {
    await using pool = await startPair(engine, 8);
    const { balancer, clients, one, two } = pool;
    const due = clients.filter((client) => ownerOf(balancer, client) === two.name).length;
    const started = balancer.rebalancer.start(1000);
    assertEquals([started.running, started.away, started.busy, started.rate], [due > 0, due, 0, 1000]);
    await until(() => !balancer.rebalancer.state.running, "the end of the rebalance");
    assertEquals(balancer.rebalancer.state, { running: false, away: due, busy: 0, moved: due, rate: 1000 });
    assertEquals([balancer.get(one.name).open, balancer.get(two.name).open], [8 - due, due]);
    for (const client of clients) assertEquals(await exchange(client, "hello"), "hello");
    assertEquals(balancer.get(one.name).movedAway, due);
    await quiet(balancer);
    assertEquals(balancer.rebalancer.start(1000), { running: false, away: 0, busy: 0, moved: 0, rate: 1000 });
  },

  async "a rebalance is one at a time, and can be stopped"(engine) {
    await using pool = await startPair(engine, 8, echo, 200);
    const { balancer, clients } = pool;
    const { away, running } = balancer.rebalancer.start(1);
    assert(running && away >= 4, `${away} of 8 are away from a server of 200 times the weight`);
    const { kind } = assertThrows(
      () => balancer.rebalancer.start(1),
      OperatorError,
      "a rebalance is already running; stop it first",
    );
    assertEquals(kind, "conflict");
    assertEquals(balancer.rebalancer.state.running, true);
    const stopped = balancer.rebalancer.stop();
    assertEquals([stopped.running, stopped.away], [false, away]);
    assertLess(stopped.moved, away);
    assertEquals(balancer.rebalancer.stop(), stopped, "to stop it again does nothing");
    for (const client of clients) assertEquals(await exchange(client, "hello"), "hello");
  },

  async "a rebalance leaves alone who is in the middle of something, and says how many"(engine) {
    await using pool = await startPair(engine, 4, greetAllButTheFirst, 200);
    const { balancer, clients, two } = pool;
    const away = clients.filter((client) => ownerOf(balancer, client) === two.name).length;
    const isFirstAway = ownerOf(balancer, clients[0]) === two.name;
    const started = balancer.rebalancer.start(1000);
    assertEquals([started.away, started.busy], isFirstAway ? [1, away - 1] : [0, away]);
  },

  async "plan() counts the open connections, and what becomes of them"(engine) {
    await using pool = await startPair(engine, 3, greetAllButTheFirst);
    const { balancer, one, two } = pool;
    const { connections } = balancer.plan({ kind: "remove", server: one.name });
    const counts = connections.map(({ count, outcome }) => [outcome, count]);
    assertEquals(counts, [["moves", 1], ["may finish, and is reset when the drain time ends", 2]]);
    assertEquals(balancer.plan({ kind: "remove", server: two.name }).connections, []);
    assertEquals(await balancer.remove(one.name, 0), { server: one.name, open: 3, moved: 1, ended: 2 });
  },

  async "plan() and remove() agree on how many connections a server with a limit takes"(engine) {
    await using pool = await startPair(engine, 8);
    const { balancer, one, two } = pool;
    await balancer.change(two.name, { connectionsMax: 3 });
    const { connections } = balancer.plan({ kind: "remove", server: one.name });
    const counts = connections.map(({ count, outcome }) => [outcome, count]);
    assertEquals(counts, [["moves", 3], ["may finish, and is reset when the drain time ends", 5]]);
    assertEquals(await balancer.remove(one.name, 300), { server: one.name, open: 8, moved: 3, ended: 5 });
  },

  async "explain() names the server that a client then gets, and why no other"(engine) {
    await using balancer = await startBalancer({ engine });
    await using stack = new AsyncDisposableStack();
    const servers = Array.from({ length: 3 }, () => stack.use(startServer(sayName)));
    for (const { address } of servers) await balancer.add(address, ORDINARY);
    const first = balancer.explain("127.0.0.1", 10);
    assertEquals(await ask(balancer.address), first.server);
    assertEquals(first.order.map(({ verdict }) => verdict), ["chosen", "next", "next"]);
    assertEquals(balancer.explain("127.0.0.1", 1).order.length, 2);
    await balancer.change(first.server!, { draining: true });
    const second = balancer.explain("127.0.0.1", 10);
    assertEquals(await ask(balancer.address), second.server);
    const { server, state, verdict, why } = second.order[0];
    assertEquals([server, state, verdict, why], [first.server, "draining", "passed over", "it is draining"]);
    assertEquals(second.order[1].server, second.server);
  },

  async "last() tells how connections ended, when and at which server"(engine) {
    const before = Date.now();
    await using server = startServer(sayName);
    await using balancer = await startBalancer({ engine });
    await ask(balancer.address);
    await balancer.add(server.address, ORDINARY);
    await ask(balancer.address); // a text that sayName does not read would be answered with a reset
    await until(() => balancer.counters.get("done") === 1 && balancer.recent({ limit: 10 }).ends.length === 2, "both ends");
    const { ends: [done, turnedAway], leftOut } = balancer.recent({ limit: 10 });
    assertEquals([done.fate, done.server, done.receivedBytes, leftOut], ["done", server.name, server.name.length, 0]);
    assertEquals([turnedAway.fate, turnedAway.server], ["no_server", null]);
    assertMatch(done.client, /^127\.0\.0\.1:[0-9]+$/);
    for (const { at } of [done, turnedAway]) {
      assertGreaterOrEqual(at.getTime(), before - 1);
      assertLessOrEqual(at.getTime(), Date.now() + 1);
    }
    assertEquals(balancer.recent({ limit: 10, fate: "no_server" }).ends, [turnedAway]);
    assertEquals(balancer.recent({ limit: 10, server: server.name }).ends, [done]);
    assertEquals(balancer.recent({ limit: 1 }).ends, [done]);
  },

  async "a server that takes no clients rests, with the reason, and is up again when it accepts"(engine) {
    const address = unusedAddress();
    await using other = startServer(sayName);
    const flags = { key: "ip:port", fall: "1", rest: "50ms" };
    await using balancer = await startBalancer({ engine, flags });
    const { server: name } = await balancer.add(address, { weight: 200, connectionsMax: null });
    await balancer.add(other.address, ORDINARY);
    while (balancer.get(name).state === "up") assertEquals(await ask(balancer.address), other.name);
    const { state, reason, lastFailure } = balancer.get(name);
    assertEquals(state, "resting");
    assertMatch(reason ?? "", /refused/);
    assertEquals(lastFailure?.reason, reason);
    assertEquals(balancer.countServers(), { up: 1, resting: 1, down: 0, draining: 0, removing: 0 });
    await using _back = startServer(sayName, address);
    await until(() => balancer.get(name).state === "up", "the server to be up again");
    assertEquals(balancer.get(name).reason, null);
    const answers = new Set<string>();
    while (!answers.has(name)) answers.add(await ask(balancer.address));
  },

  async "a server that fails its checks is down, is tried if there is no other, and is up again when it passes"(engine) {
    const flags = { check: "expect:hi", "check-interval": "300ms", "check-timeout": "300ms", fall: "1", rise: "1" };
    let isWell = true;
    const handle: Handler = async (socket) => {
      if (isWell) await writeText(socket, "hi");
      await echo(socket, 0);
    };
    await using server = startServer(handle);
    await using balancer = await startBalancer({ engine, flags });
    await balancer.add(server.address, ORDINARY);
    await until(() => server.accepted > 1 && balancer.get(server.name).state === "up", "checks that pass");
    isWell = false;
    await until(() => balancer.get(server.name).state === "down", "the server to be down");
    assertMatch(balancer.get(server.name).reason ?? "", /^it did not (answer|accept) within 300ms$/);
    assertEquals(balancer.get(server.name).connects, 0, "checks are no clients");
    let answer = ""; // a check that fails meanwhile may cost a client its connection
    for (let i = 0; answer === "" && i < 20; i++) answer = await ask(balancer.address, "tried").catch(() => "");
    assertEquals(answer, "tried", "it is tried all the same");
    isWell = true;
    await until(() => balancer.get(server.name).state === "up", "the server to be up again");
  },

  async "a server that accepts and resets at once passes its checks, and rests"(engine) {
    await using bad = await startResettingServer();
    await using other = startServer(sayName);
    const flags = { check: "tcp", "check-interval": "300ms", "check-timeout": "300ms", key: "ip:port", fall: "2", rest: "1m" };
    await using balancer = await startBalancer({ engine, flags });
    const { server: name } = await balancer.add(bad.address, { weight: 200 });
    await balancer.add(other.address);
    while (balancer.get(name).state === "up") await askAndWait(balancer.address);
    const { state, reason, lastFailure } = balancer.get(name);
    assertEquals([state, reason], ["resting", "it reset the connection before it answered"]);
    assertEquals(lastFailure?.reason, reason);
    for (let i = 0; i < 10; i++) assertEquals(await ask(balancer.address), other.name);
  },

  async "of two servers that reset every client one rests, and the other stays up"(engine) {
    await using one = await startResettingServer();
    await using two = await startResettingServer();
    await using balancer = await startBalancer({ engine, flags: { key: "ip:port", fall: "1", rest: "1m" } });
    for (const { address } of [one, two]) await balancer.add(address);
    const failures = () => balancer.list().filter(({ lastFailure }) => lastFailure !== null).length;
    while (failures() < 2 || balancer.countServers().resting === 0) await askAndWait(balancer.address);
    for (let i = 0; i < 10; i++) await askAndWait(balancer.address);
    assertEquals(balancer.countServers(), { up: 1, resting: 1, down: 0, draining: 0, removing: 0 });
  },

  async "a primary and its replica change places, by what each says on another port"(engine) {
    await using one = startServer(sayName);
    await using two = startServer(sayName);
    let primary = one.name;
    /** As Patroni does it: the status server of the primary answers 200, that of the replica 503. */
    const startStatus = (name: string) =>
      startServer(async (socket) => {
        await socket.read(new Uint8Array(4096));
        await writeText(socket, `HTTP/1.1 ${primary === name ? "200 OK" : "503 Service Unavailable"}\r\n\r\n`);
      });
    await using statusOfOne = startStatus(one.name);
    await using statusOfTwo = startStatus(two.name);
    const flags = {
      check: "http:/primary",
      "check-interval": "300ms",
      "check-timeout": "300ms",
      fall: "1",
      rise: "1",
      key: "ip:port",
    };
    await using balancer = await startBalancer({ engine, flags });
    await balancer.add(one.address, { checkPort: statusOfOne.address.port });
    await balancer.add(two.address, { checkPort: statusOfTwo.address.port });
    for (const name of [one.name, two.name, one.name]) {
      primary = name;
      const isSo = () => balancer.list().every(({ server, state }) => state === (server === name ? "up" : "down"));
      await until(isSo, `${name} to be the only one that is up`);
      for (let i = 0; i < 5; i++) assertEquals(await ask(balancer.address), name);
    }
    const replica = balancer.get(two.name);
    assertEquals(replica.reason, "it answered HTTP 503");
  },

  async "a server whose check asks to drain it gets no clients and its connections move, until it asks no more"(engine) {
    let status = "200 OK";
    await using statuses = startServer(async (socket) => {
      await socket.read(new Uint8Array(4096));
      await writeText(socket, `HTTP/1.1 ${status}\r\n\r\n`);
    });
    await using one = startServer(echo);
    await using two = startServer(echo);
    const flags = { ...IDLE, check: "http:/", "check-interval": "300ms", "check-timeout": "300ms" };
    await using balancer = await startBalancer({ engine, flags });
    await balancer.add(one.address, { checkPort: statuses.address.port, weight: 200 });
    await balancer.add(two.address, { check: "off" });
    const opened: Deno.TcpConn[] = [];
    while (balancer.get(one.name).open === 0) {
      const client = await connect(balancer.address);
      opened.push(client);
      assertEquals(await exchange(client, "x"), "x");
    }
    const client = opened.at(-1)!;
    status = "404 Not Found";
    await until(() => balancer.get(one.name).open === 0, "the connection to move");
    const { state, reason, movedAway } = balancer.get(one.name);
    assertEquals([state, reason, movedAway], ["draining", "its check asks for it", balancer.get(one.name).connects]);
    assertEquals(await exchange(client, "y"), "y");
    assertEquals((await balancer.change(one.name, { draining: false })).state, "draining", "undrain does not end it");
    status = "200 OK";
    await until(() => balancer.get(one.name).state === "up", "the server to be up again");
    for (const client of opened) close(client);
  },

  async "a server that asks to be drained serves all the same where there is no other"(engine) {
    await using server = startServer(async (socket) => {
      await writeText(socket, "HTTP/1.1 404 no\r\n\r\n");
      await echo(socket, 0);
    });
    const flags = { check: "http:/", "check-interval": "300ms", "check-timeout": "300ms" };
    await using balancer = await startBalancer({ engine, flags });
    await balancer.add(server.address);
    await until(() => balancer.get(server.name).state === "draining", "the server to be draining");
    assertMatch(await ask(balancer.address, "hello"), /hello$/);
  },

  async "check() makes the check of a server now, and says each step"(engine) {
    await using server = startServer((socket) => writeText(socket, "HTTP/1.1 503 busy\r\n\r\n"));
    await using balancer = await startBalancer({ engine });
    await balancer.add(server.address, { checkPort: 1 });
    const off = await balancer.check(server.name);
    assertEquals([off.check, off.asked, off.verdict, off.reason], ["tcp", server.name, "passed", null]);
    await balancer.change(server.name, { check: "http:/up", checkPort: null });
    const { steps, durationMs, ...report } = await balancer.check(server.name);
    assertEquals(report, {
      server: server.name,
      check: "http:/up",
      asked: server.name,
      verdict: "failed",
      reason: "it answered HTTP 503",
    });
    assertEquals(steps.map(({ step }) => step), ["resolved", "connected", "answered"]);
    assertGreaterOrEqual(durationMs, steps[2].atMs);
    await assertRejects(() => balancer.check("192.0.2.1:80"), OperatorError, "is not in the pool");
  },

  async "what is known of a server goes on in the next balancer"(engine) {
    const address = unusedAddress();
    const flags = { check: "tcp", "check-interval": "300ms", "check-timeout": "300ms", fall: "1", rise: "1" };
    let saved: readonly SavedServer[] = [];
    const first = await startBalancer({ engine, flags, save: (servers) => Promise.resolve(void (saved = servers)) });
    const { server: name } = await first.add(address);
    await until(() => first.get(name).state === "down", "the server to be down");
    const { since, reason } = first.get(name);
    await first.stop(0);
    const known = first.known();
    await using second = await startBalancer({ engine, flags, servers: saved, known: () => known });
    assertEquals([second.get(name).state, second.get(name).since, second.get(name).reason], ["down", since, reason]);
    await using _back = startServer(sayName, address);
    await until(() => second.get(name).state === "up", "the server to be up");
    assertEquals(second.known(), new Map());
  },
};

for (const [name, kind] of Object.entries(ENGINES)) {
  const ignore = kind.unsupported() !== undefined;
  for (const [title, run] of Object.entries(CASES)) Deno.test({ name: `[${name}] ${title}`, ignore, fn: () => run(kind) });
}

/** Speaks first but to its first client: who is spoken to first stays where it is. */
const greetAllButTheFirst: Handler = async (socket, index) => {
  if (index > 0) await writeText(socket, "hi");
  await echo(socket, index);
};

/** A balancer at level idle, a server with all clients, each having had an answer, and one that was added then. */
async function startPair(engine: EngineKind, count = 1, handle = echo, weight = 1) {
  const stack = new AsyncDisposableStack();
  const one = stack.use(startServer(handle));
  const two = stack.use(startServer(echo));
  const balancer = stack.use(await startBalancer({ engine, flags: { ...IDLE, "load-bound": "off" } }));
  await balancer.add(one.address, ORDINARY);
  const clients: Deno.TcpConn[] = [];
  for (let i = 0; i < count; i++) {
    const client = stack.adopt(await connect(balancer.address), close);
    if (handle === greetAllButTheFirst && i > 0) await soon(readBytes(client, 2), "a greeting");
    assertEquals(await exchange(client, "x"), "x");
    clients.push(client);
  }
  await balancer.add(two.address, { weight, connectionsMax: null });
  await quiet(balancer);
  return { balancer, one, two, clients, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Resolves when nothing has moved on any connection for as long as an exchange takes to be over. */
async function quiet(balancer: OneService): Promise<void> {
  const states = () =>
    balancer.list().filter(({ state }) => state === "up").flatMap(({ server }) =>
      balancer.plan({ kind: "remove", server }).connections.map(({ state }) => state)
    );
  await until(() => states().every((state) => state === "idle"), "silence");
}

/** Resolves when the removal of the server has begun. */
async function leaving(balancer: OneService, name: string): Promise<void> {
  await until(() => balancer.list().some(({ server, state }) => server === name && state === "removing"), "the removal");
}

/** The server that the ring gives this client to. */
function ownerOf(balancer: OneService, client: Deno.TcpConn): string | null {
  const { hostname, port } = client.localAddr as Deno.NetAddr;
  return balancer.explain(`${hostname}:${port}`, 0).server;
}

async function exchange(client: Deno.TcpConn, text: string): Promise<string> {
  await writeText(client, text);
  return new TextDecoder().decode(await soon(readBytes(client, text.length), "the answer"));
}

async function openVia(balancer: OneService): Promise<Deno.TcpConn> {
  const client = await connect(balancer.address);
  await exchange(client, "x");
  return client;
}
