// What a balancer records as events: commands, what follows from them, and what happens by itself.

import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Event } from "../../lib/observe/events.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { streams } from "../../lib/engine/streams/engine.ts";
import { connect, echo, poll, readBytes, startServer, unusedAddress, writeText } from "../helpers.ts";
import { type OneService, startBalancer } from "../one_service.ts";

const ORDINARY = { weight: 1, connectionsMax: null };
/** How far open connections move. */
const IDLE = { redistribute: "idle", quiet: "20ms" };

function eventsOf({ balancer }: OneService): readonly Event[] {
  return balancer.events.list({ limit: 1000 }).events;
}

/** What has happened, each as kind, who and text. */
function toldBy(balancer: OneService): string[] {
  return eventsOf(balancer).map(({ kind, who, text }) => [kind, ...(who === null ? [] : [who]), text].join(" "));
}

/** Waits for an event of this kind, and returns its text. */
async function awaitEvent(balancer: OneService, kind: string, part: string): Promise<string> {
  const find = () => Promise.resolve(eventsOf(balancer).findLast((event) => event.kind === kind && event.text.includes(part)));
  return (await poll(find, (event) => event !== undefined, `an event with ${part}`))!.text;
}

Deno.test("a command is told with who gave it and its result, before what follows from it", async () => {
  await using balancer = await startBalancer();
  const { service } = balancer;
  const address = { host: "192.0.2.1", port: 80 };
  const name = "192.0.2.1:80";
  await balancer.balancer.addServer(service, address, {}, "alice");
  await balancer.balancer.changeServer(service, name, { weight: 3, connectionsMax: 5 }, "alice");
  await balancer.balancer.changeServer(service, name, { draining: true }, "bob");
  await balancer.balancer.changeServer(service, name, { draining: false }, "bob");
  await balancer.balancer.setService("default", { redistribute: "idle" }, "bob");
  await balancer.balancer.removeServer(service, name, 1000, "carol");
  assertEquals(toldBy(balancer), [
    `command alice Add server ${name} to default: generation 1`,
    `server Server ${name} is in the pool`,
    `command alice Change server ${name} of default: generation 2; weight 3; max-connections 5`,
    `command bob Drain server ${name} of default: generation 3; it has 0 open connections`,
    `server Server ${name} is draining: balancerctl drain; it has 0 open connections`,
    `command bob Undrain server ${name} of default: generation 4`,
    `server Server ${name} is up`,
    "command bob Set --redistribute idle of service default: generation 5",
    `command carol Remove server ${name} from default: generation 6; it has 0 open connections`,
    `drain Server ${name} is removed: it had no open connections`,
  ]);
  const [added] = eventsOf(balancer);
  assertEquals([added.service, added.server, added.level], ["default", name, "info"]);
});

Deno.test("a command that is refused is told with why, and one that cannot be saved", async () => {
  const failing = { isFailing: false };
  await using balancer = await startBalancer({
    save: () =>
      failing.isFailing ? Promise.reject(new OperatorError("failed", "Cannot save: the disk is full")) : Promise.resolve(),
  });
  await assertRejects(() => balancer.remove("192.0.2.9:80", 0), OperatorError);
  failing.isFailing = true;
  await assertRejects(() => balancer.add({ host: "192.0.2.1", port: 80 }, ORDINARY), OperatorError);
  const told = eventsOf(balancer).map(({ kind, level, text }) => `${kind} ${level} ${text}`);
  assertEquals(told.length, 2);
  assert(told[0].startsWith("command warning Remove server 192.0.2.9:80 from default: not done: Server"), told[0]);
  assert(told[1].startsWith("command warning Add server 192.0.2.1:80 to default: not done: Cannot save"), told[1]);
});

Deno.test("many servers that come at once are one event", async () => {
  await using balancer = await startBalancer();
  const servers = Array.from({ length: 100 }, (_, i) => ({ server: `192.0.2.${i}:80`, ...ORDINARY }));
  const [{ listeners, settings }] = balancer.balancer.state.services;
  const declared = { services: [{ name: "default", listeners: [...listeners], settings, servers }], daemon: {} };
  await balancer.balancer.apply(declared, { prune: true, file: "/etc/balancer.yaml", who: "alice" });
  assertEquals(toldBy(balancer), [
    "command alice Apply /etc/balancer.yaml: generation 1",
    "server 100 more servers are in the pool",
  ]);
  await balancer.balancer.apply(declared, { prune: true, file: "/etc/balancer.yaml", who: "alice" });
  assertEquals(toldBy(balancer).at(-1), "command alice Apply /etc/balancer.yaml: nothing differs");
});

Deno.test("a drain is told with what became of the connections, and a removal with how many were reset", async () => {
  await using one = startServer(echo);
  await using other = startServer(echo);
  await using balancer = await startBalancer({ flags: IDLE });
  await balancer.add(one.address, ORDINARY);
  using client = await connect(balancer.address);
  await writeText(client, "x");
  await readBytes(client, 1);
  await balancer.add(other.address, ORDINARY);
  await balancer.change(one.name, { draining: true });
  const drained = await awaitEvent(balancer, "drain", "is drained");
  assertEquals(drained, `Server ${one.name} is drained after 1s: of 1 connection 1 moved and 0 ended`);
  await writeText(client, "y");
  await readBytes(client, 1);
  await balancer.balancer.setService("default", { redistribute: "new" });
  await balancer.remove(other.name, 0);
  assertEquals(toldBy(balancer).slice(-3), [
    `command Remove server ${other.name} from default: generation 5; it has 1 open connection, with 0s to finish`,
    `server Server ${other.name} is removing: balancerctl remove; it has 1 open connection`,
    `drain Server ${other.name} is removed: of 1 open connection 0 moved, 0 finished and 1 was reset`,
  ]);
  const { flows, servers } = await poll(
    () => Promise.resolve(balancer.balancer.series.read({ seconds: 60, step: 1 })),
    ({ servers }) => servers.every(({ states }) => states!.at(-1)![1] === "draining" || states!.at(-1)![1] === null),
    "the second after the removal",
  );
  assertEquals(flows.map(({ from, to, state, count }) => ({ from, to, state, count })), [
    { from: one.name, to: other.name, state: "idle", count: 1 },
  ]);
  const movedIn = servers.find(({ server }) => server === other.name)!.movedIn!.idle;
  assertEquals(movedIn.reduce<number>((sum, count) => sum + (count ?? 0), 0), 1);
});

Deno.test("a server that goes down by its check is told as a warning with the reason, and when it is up again", async () => {
  const address = unusedAddress();
  await using balancer = await startBalancer({ flags: { check: "tcp", "check-interval": "50ms", "check-timeout": "50ms" } });
  const { server } = await balancer.add(address, ORDINARY);
  const down = await awaitEvent(balancer, "server", "is down");
  assertEquals(down, `Server ${server} is down: connection refused; it has 0 open connections`);
  assertEquals(eventsOf(balancer).findLast(({ text }) => text === down)!.level, "warning");
  await using _server = startServer(echo, { port: address.port });
  assertEquals(await awaitEvent(balancer, "server", "is up"), `Server ${server} is up`);
});

Deno.test("a limit that is reached is told once, with how many clients were refused", async () => {
  await using server = startServer(echo);
  await using balancer = await startBalancer({ engine: streams, flags: { "max-connections": "1" } });
  await balancer.add(server.address, ORDINARY);
  using client = await connect(balancer.address);
  await writeText(client, "x");
  await readBytes(client, 1);
  using refused = await connect(balancer.address);
  await refused.read(new Uint8Array(1)).catch(() => null);
  const text = await awaitEvent(balancer, "limit", "refused");
  assertEquals(text, "1 client was refused: the balancer has all connections that it may have (--max-connections)");
});

Deno.test("stopping is told with how long connections have", async () => {
  await using balancer = await startBalancer();
  await balancer.balancer.stop(1000);
  assertEquals(toldBy(balancer), ["daemon Stopping: 0 open connections, with 1s to finish"]);
});
