// Policies, tiers, fail-back and the maximum age, as clients find them, on every engine.

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { assertFatesAddUp, connect, echo, readBytes, startServer, type TestServer, writeText } from "../helpers.ts";
import { type OneService, startBalancer as startOne } from "../one_service.ts";
import { until } from "../raw_socket.ts";

/** A balancer whose connections may go elsewhere between two exchanges. */
function startBalancer(engine: EngineKind, flags: Record<string, string> = {}): Promise<OneService> {
  return startOne({ engine, flags: { key: "ip:port", redistribute: "idle", quiet: "30ms", ...flags } });
}

interface Clients extends Disposable {
  readonly sockets: Deno.TcpConn[];
}

/** So many clients that stay; each has had an answer. */
async function openClients(balancer: OneService, count: number): Promise<Clients> {
  const sockets: Deno.TcpConn[] = [];
  for (let i = 0; i < count; i++) {
    const socket = await connect(balancer.address);
    sockets.push(socket);
    await exchange(socket);
  }
  return { sockets, [Symbol.dispose]: () => sockets.forEach((socket) => socket.close()) };
}

async function exchange(socket: Deno.TcpConn): Promise<void> {
  await writeText(socket, "hello");
  assertEquals(new TextDecoder().decode(await readBytes(socket, 5)), "hello");
}

function openOf(balancer: OneService, servers: readonly TestServer[]): number[] {
  return servers.map(({ name }) => balancer.get(name).open);
}

/** Two servers, of tier 0 and of tier 1. */
async function startTiers(engine: EngineKind, flags: Record<string, string> = {}) {
  const servers = [startServer(echo), startServer(echo)];
  const balancer = await startBalancer(engine, flags);
  for (const [tier, { address }] of servers.entries()) await balancer.add(address, { tier });
  const [first, second] = servers;
  return {
    balancer,
    first,
    second,
    open: () => openOf(balancer, servers),
    setDraining: (draining: boolean) => balancer.change(first.name, { draining }),
    async [Symbol.asyncDispose]() {
      await balancer[Symbol.asyncDispose]();
      assertFatesAddUp(balancer.counters);
      for (const server of servers) await server[Symbol.asyncDispose]();
    },
  };
}

const CASES: Record<string, (engine: EngineKind) => Promise<void>> = {};

for (const [policy, slack] of [["least-connections", 1], ["round-robin", 4], ["random", 9]] as const) {
  CASES[`${policy} spreads clients by weight, at a limit and beside a drained server as well`] = async (engine) => {
    await using one = startServer(echo);
    await using two = startServer(echo);
    await using small = startServer(echo);
    await using drained = startServer(echo);
    await using balancer = await startBalancer(engine, { policy, "load-bound": "off" });
    await balancer.add(one.address, { weight: 1 });
    await balancer.add(two.address, { weight: 2 });
    await balancer.add(small.address, { weight: 2, connectionsMax: 3 });
    await balancer.add(drained.address, { weight: 9 });
    await balancer.change(drained.name, { draining: true });
    using _ = await openClients(balancer, 33);
    const [few, many, limited, none] = openOf(balancer, [one, two, small, drained]);
    assertEquals([limited, none], [3, 0]);
    assertEquals(few + many, 30);
    assertLessOrEqual(Math.abs(few - 10), slack, `${few} and ${many}`);
  };
}

CASES["first fills the servers one after the other"] = async (engine) => {
  const servers = [startServer(echo), startServer(echo), startServer(echo)];
  await using balancer = await startBalancer(engine, { policy: "first" });
  for (const { address } of servers) await balancer.add(address, { connectionsMax: 4 });
  using _ = await openClients(balancer, 6);
  const inOrder = servers.toSorted((a, b) => a.address.port - b.address.port); // all have one address
  assertEquals(openOf(balancer, inOrder), [4, 2, 0]);
  for (const server of servers) await server[Symbol.asyncDispose]();
};

CASES["the next tier gets clients while the first has no usable server, and new ones return to it at once"] = async (engine) => {
  await using pool = await startTiers(engine);
  using before = await openClients(pool.balancer, 3);
  assertEquals(pool.open(), [3, 0]);
  await pool.setDraining(true);
  await until(() => pool.open()[1] === 3, "the move to the next tier");
  using during = await openClients(pool.balancer, 2);
  assertEquals(pool.open(), [0, 5]);
  await pool.setDraining(false);
  using after = await openClients(pool.balancer, 2);
  assertEquals(pool.open(), [2, 5], "open connections stay");
  for (const { sockets } of [before, during, after]) for (const socket of sockets) await exchange(socket);
};

CASES["with fail-back idle open connections return as well, and none is cut"] = async (engine) => {
  await using pool = await startTiers(engine, { "fail-back": "idle" });
  await pool.setDraining(true);
  using clients = await openClients(pool.balancer, 4);
  assertEquals(pool.open(), [0, 4]);
  await pool.setDraining(false);
  await until(() => pool.open().join() === "4,0", "the return"); // a departing connection counts as both servers'
  for (const socket of clients.sockets) await exchange(socket);
  assertEquals([pool.open(), pool.balancer.counters.get("movedIdle")], [[4, 0], 4]);
};

CASES["with fail-back never new clients stay with the higher tier, until the operator moves them"] = async (engine) => {
  await using pool = await startTiers(engine, { "fail-back": "never" });
  await pool.setDraining(true);
  using before = await openClients(pool.balancer, 2);
  await pool.setDraining(false);
  using after = await openClients(pool.balancer, 2);
  assertEquals(pool.open(), [0, 4]);
  await new Promise((resolve) => setTimeout(resolve, 60)); // so that they are quiet
  assertEquals(pool.balancer.rebalancer.start(1000).away, 4);
  await until(() => pool.open().join() === "4,0", "the return"); // a departing connection counts as both servers'
  using last = await openClients(pool.balancer, 1);
  assertEquals(pool.open(), [5, 0]);
  for (const { sockets } of [before, after, last]) for (const socket of sockets) await exchange(socket);
};

CASES["with a minimum of two usable servers the next tier helps the one that is left"] = async (engine) => {
  await using pool = await startTiers(engine, { "tier-min": "2", policy: "least-connections" });
  using _ = await openClients(pool.balancer, 6);
  assertEquals(pool.open(), [3, 3]);
};

CASES["an old connection moves to its owner, a young one stays"] = async (engine) => {
  await using one = startServer(echo);
  await using two = startServer(echo);
  await using balancer = await startBalancer(engine, { "max-age": "1s", "age-jitter": "0%" });
  await balancer.add(one.address, {});
  using clients = await openClients(balancer, 8);
  await balancer.add(two.address, { weight: 200 });
  const away = balancer.plan({ kind: "remove", server: two.name }).movedShare!;
  assert(away > 0.9, `${away}`);
  assertEquals(openOf(balancer, [one, two]), [8, 0]);
  await until(() => balancer.get(two.name).open >= 4, "the old ones' moves"); // fewer than 4 of 8 is 1 in 10⁹
  for (const socket of clients.sockets) await exchange(socket);
};

for (const [engine, kind] of Object.entries(ENGINES)) {
  for (const [name, run] of Object.entries(CASES)) {
    Deno.test({ name: `[${engine}] ${name}`, ignore: kind.unsupported() !== undefined, fn: () => run(kind) });
  }
}
