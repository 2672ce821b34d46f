// Open connections as their operator sees them: which are listed and in what order, how one is ended and moved, and the sentence
// for each way in which that fails.

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { type ConnectionFilter, OpenConnections } from "../../lib/balancer/open_connections.ts";
import type { OpenConnection } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { parseCidrs } from "../../lib/values/cidr_list.ts";
import { parseConnectionId } from "../../lib/values/connection_id.ts";
import { CONNECTION_ORDERS } from "../../lib/values/connection_order.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { connect, echo, hold, openConnection, readBytes, soon, startServer, writeText } from "../helpers.ts";
import { type OneService, startBalancer } from "../one_service.ts";
import { turn, until } from "../raw_socket.ts";

const START_ID = "00000000000000ff";
const BY_AGE: ConnectionFilter = { sort: "age", limit: 100 };
const WHO = "alice";

/** The list of these connections, of an engine that has no services. */
function listOf(connections: readonly OpenConnection[], filter: Partial<ConnectionFilter> = {}) {
  return viewOf(() => connections).list({ ...BY_AGE, ...filter });
}

function viewOf(connections: () => Iterable<OpenConnection>): OpenConnections {
  const refuse = () => Promise.reject(new Error("nobody is told anything"));
  const engine = { connections, connection: () => undefined, closeConnection: refuse, moveConnection: refuse };
  return new OpenConnections({
    startId: START_ID,
    engine: () => engine,
    services: () => [],
    serviceAt: () => undefined,
    listenerOf: (listener, service) => `192.0.2.${listener}:${service}`,
    fateOf: () => undefined,
  });
}

const anyConnection = fc.record({
  id: fc.nat(),
  ageMs: fc.nat(1000),
  quietForMs: fc.nat(1000),
  sentBytes: fc.nat(1000),
  receivedBytes: fc.nat(1000),
  server: fc.constantFrom(undefined, "10.0.0.1:80"),
  lastByte: fc.nat(255),
});

Deno.test("list() has the first of those that match, in every order, and counts all", async () => {
  const ranks = {
    age: ({ ageMs }: OpenConnection) => ageMs,
    idle: ({ quietForMs }: OpenConnection) => quietForMs,
    bytes: ({ sentBytes, receivedBytes }: OpenConnection) => sentBytes + receivedBytes,
  };
  await fc.assert(fc.asyncProperty(
    fc.array(anyConnection),
    fc.constantFrom(...CONNECTION_ORDERS),
    fc.integer({ min: 1, max: 30 }),
    fc.constantFrom(undefined, "192.0.2.0/25"),
    async (rows, sort, limit, prefix) => {
      const all = rows.map(({ lastByte, ...row }) => openConnection({ ...row, ip: Uint8Array.of(192, 0, 2, lastByte) }));
      const client = prefix === undefined ? undefined : parseCidrs(prefix, 1);
      const { total, connections } = await listOf(all, { sort, limit, client });
      const matching = all.filter(({ ip }) => prefix === undefined || ip[3] < 128);
      assertEquals(total, matching.length);
      const greatest = matching.map(ranks[sort]).toSorted((a, b) => b - a).slice(0, limit);
      const shown = connections.map((one) =>
        ({ age: one.ageMs, idle: one.idleMs, bytes: one.sentBytes + one.receivedBytes })[sort]
      );
      assertEquals(shown, greatest);
    },
  ));
});

Deno.test("list() shows what is known of each connection", async () => {
  const one = openConnection({
    id: 31,
    listener: 7,
    service: 3,
    ageMs: 1.6,
    quietForMs: -1,
    sentBytes: 2,
    receivedBytes: 3,
    moves: 4,
  });
  assertEquals(
    await listOf([one, openConnection({ ip: new Uint8Array(), isDialling: true })], { client: parseCidrs("192.0.2.1", 1) }),
    {
      total: 1,
      connections: [{
        id: `${START_ID}-1f`,
        service: null,
        listener: "192.0.2.7:3",
        client: "192.0.2.1:1",
        server: null,
        state: "dialling",
        ageMs: 2,
        idleMs: 0,
        sentBytes: 2,
        receivedBytes: 3,
        moves: 4,
      }],
    },
  );
});

Deno.test("list() of very many connections lets others have turns, and several lists take turns with each other", async () => {
  const count = 300_000;
  let under = 0;
  let most = 0;
  function* many(): Generator<OpenConnection> {
    most = Math.max(most, ++under);
    const one = { ...openConnection(), id: 0, sentBytes: 0 };
    for (one.id = 0; one.id < count; one.id++) {
      one.sentBytes = (one.id * 7919) % count; // a prime: each number once, in no order
      yield one;
    }
    under--;
  }
  const view = viewOf(many);
  let turns = 0;
  const ticking = setInterval(() => turns++, 0);
  const lists = await Promise.all([view.list({ sort: "bytes", limit: 3 }), view.list({ sort: "bytes", limit: 1 })]);
  clearInterval(ticking);
  assertEquals(lists.map(({ total, connections }) => [total, connections.length]), [[count, 3], [count, 1]]);
  assertEquals(lists[0].connections.map(({ sentBytes }) => sentBytes), [count - 1, count - 2, count - 3]);
  assertEquals(most, 1, "one list at a time");
  assert(turns >= 2, `${turns} turns`);
});

Deno.test("list() goes on after one that has failed", async () => {
  let fails = true;
  const view = viewOf(() => {
    if (fails) throw new Error("broken");
    return [];
  });
  const first = view.list(BY_AGE);
  await assertRejects(() => first, Error, "broken");
  fails = false;
  assertEquals(await view.list(BY_AGE), { total: 0, connections: [] });
});

/** A connection that has had an answer. */
async function openVia({ address }: OneService): Promise<Deno.TcpConn> {
  const client = await connect(address);
  await writeText(client, "x");
  await soon(readBytes(client, 1));
  return client;
}

async function only(balancer: OneService, filter: Partial<ConnectionFilter> = {}) {
  const { connections } = await balancer.balancer.connections.list({ ...BY_AGE, ...filter });
  assertEquals(connections.length, 1);
  return connections[0];
}

async function errorOf(promise: Promise<unknown>): Promise<[kind: string, message: string]> {
  const { kind, message } = await assertRejects(() => soon(promise), OperatorError);
  assertMatch(message, /^[A-Z][^\n]*[^.]$/, "one sentence");
  return [kind, message];
}

/** `list()` of both engines looks alike, and so does what follows it. */
for (const [name, engine] of Object.entries(ENGINES)) {
  const ignore = engine.unsupported() !== undefined;
  const test = (title: string, fn: () => Promise<void>) => Deno.test({ name: `[${name}] ${title}`, ignore, fn });

  test("list() filters by server, service, client and state, and refuses what there is not", async () => {
    await using server = startServer(echo);
    await using balancer = await startBalancer({ engine, flags: { quiet: "1ms" } });
    await balancer.add(server.address);
    using client = await openVia(balancer);
    const { hostname: host, port } = client.localAddr as Deno.NetAddr;
    await until(() => balancer.counters.getOf(0, "receivedBytes") > 0, "the answer to be counted");
    await turn(5); // longer than the quiet time
    const one = await only(balancer, {
      server: server.name,
      service: "default",
      client: parseCidrs("127.0.0.0/8", 1),
      state: "idle",
    });
    assertEquals([one.client, one.server, one.service], [`${host}:${port}`, server.name, "default"]);
    assertEquals([one.sentBytes, one.receivedBytes, one.moves, one.state], [1, 1, 0, "idle"]);
    assertEquals(one.listener, `127.0.0.1:${balancer.address.port}`);
    assert(one.ageMs >= one.idleMs, JSON.stringify(one));
    const { connections } = balancer.balancer;
    for (const other of [{ client: parseCidrs("10.0.0.0/8", 1) }, { state: "busy" as const }]) {
      assertEquals(await connections.list({ ...BY_AGE, ...other }), { total: 0, connections: [] });
    }
    const unknown = () => errorOf(connections.list({ ...BY_AGE, service: "defualt" }));
    assertEquals(await unknown(), [
      "unknown",
      'Cannot use service "defualt": there is none with this name; did you mean "default"?',
    ]);
    const [kind, sentence] = await errorOf(connections.list({ ...BY_AGE, server: "10.0.0.9:80" }));
    assertEquals(kind, "unknown");
    assertStringIncludes(sentence, 'Cannot list connections of server "10.0.0.9:80": there is none; ');
  });

  test("close() ends a connection as recent has it, and a second one says that it has ended", async () => {
    await using server = startServer(echo);
    await using balancer = await startBalancer({ engine });
    await balancer.add(server.address);
    using client = await openVia(balancer);
    const { id, client: address } = await only(balancer);
    const { connections } = balancer.balancer;
    const parsed = parseConnectionId(id);
    assertEquals(await connections.close(parsed, WHO), { id, service: "default", client: address, server: server.name });
    await assertRejects(() => soon(readBytes(client, 1)), Error);
    const [{ id: ended, fate }] = balancer.recent({ limit: 1 }).ends;
    assertEquals([ended, fate], [id, "closed"]);
    assertEquals([balancer.get(server.name).state, balancer.get(server.name).connectFailures], ["up", 0]);
    const sentence = `connection ${JSON.stringify(id)}: it has ended: closed`;
    assertEquals(await errorOf(connections.close(parsed, WHO)), ["unknown", `Cannot close ${sentence}`]);
    assertEquals(await errorOf(connections.move(parsed, { force: false }, WHO)), ["unknown", `Cannot move ${sentence}`]);
    const never = { startId: parsed.startId, number: 2 ** 40 };
    assertMatch(
      (await errorOf(connections.close(never, WHO)))[1],
      /: it is not open; balancerctl connections shows those that are$/,
    );
    const [kind, why] = await errorOf(connections.close({ ...parsed, startId: START_ID }, WHO));
    assertEquals(kind, "unknown");
    assertStringIncludes(why, `it is of another run of the balancer; ids of this one begin with ${parsed.startId}`);
  });

  test("move() takes a connection to another server, or the one that is named, and refuses those that there are not", async () => {
    await using a = startServer(echo);
    await using b = startServer(echo);
    await using balancer = await startBalancer({ engine, flags: { redistribute: "idle", quiet: "1ms" } });
    await balancer.add(a.address);
    using client = await openVia(balancer);
    await balancer.add(b.address);
    const { id } = await only(balancer);
    const { connections } = balancer.balancer;
    const parsed = parseConnectionId(id);
    const move = (server?: string) => soon(connections.move(parsed, { server, force: false }, WHO));
    await turn(5); // longer than the quiet time
    const moved = { outcome: "moved", state: "idle", replayedBytes: 0, reason: null, next: null } as const;
    const { client: address, ...first } = await move();
    assertEquals(first, { ...moved, id, service: "default", server: a.name, from: a.name, to: b.name });
    assertEquals(await only(balancer).then(({ moves, server, client }) => [moves, server, client]), [1, b.name, address]);
    const cannot = `Cannot move connection ${JSON.stringify(id)}`;
    const there = ["conflict", `${cannot}: it is with server ${b.name} already; balancerctl list shows the others`] as const;
    assertEquals(await errorOf(move(b.name)), [...there]);
    assertMatch((await errorOf(move("10.0.0.9:80")))[1], /^Server "10\.0\.0\.9:80" is not in the pool: /);
    assertEquals((await move(a.name)).to, a.name);
    await writeText(client, "y");
    assertEquals(new TextDecoder().decode(await soon(readBytes(client, 1))), "y");
    await balancer.change(b.name, { draining: true });
    const [kind, why] = await errorOf(move(b.name));
    assertEquals(kind, "conflict");
    assertStringIncludes(why, `${cannot}: `);
  });

  test("move() says why a connection stays, resets it only by force, and knows where its client gets next", async () => {
    await using a = startServer(echo);
    await using b = startServer(echo);
    await using balancer = await startBalancer({ engine }); // --redistribute new
    await balancer.add(a.address);
    using client = await openVia(balancer);
    await balancer.add(b.address);
    const { id } = await only(balancer);
    const { connections } = balancer.balancer;
    const parsed = parseConnectionId(id);
    const level = "--redistribute new does not let it move after its first byte";
    const wayOut = "change it with balancerctl service set default --redistribute idle, or reset it with --force";
    assertEquals(await errorOf(connections.move(parsed, { force: false }, WHO)), [
      "conflict",
      `Cannot move connection ${JSON.stringify(id)}: ${level}; ${wayOut}`,
    ]);
    await writeText(client, "y"); // it is unharmed
    await soon(readBytes(client, 1));
    const reset = await soon(connections.move(parsed, { server: b.name, force: true }, WHO));
    assertEquals([reset.outcome, reset.from, reset.to, reset.reason], ["reset", a.name, null, level]);
    await assertRejects(() => soon(readBytes(client, 1)), Error);
    assertEquals(balancer.recent({ limit: 1 }).ends[0].fate, "closed");
    assertEquals(reset.next, balancer.explain("127.0.0.1", 0).server);
    using again = await openVia(balancer);
    assertEquals((await only(balancer)).server, reset.next);
    void again;
  });

  test("a connection that waits for its server is shown, can be closed, and says that it has none to leave", async () => {
    await using server = startServer(hold);
    await using balancer = await startBalancer({ engine, flags: { sni: "web.example", "hello-timeout": "1m" } });
    await balancer.add(server.address);
    using client = await connect(balancer.address); // says no name
    await until(() => balancer.counters.get("open") > 0, "the client");
    const found = async () => (await balancer.balancer.connections.list(BY_AGE)).connections;
    let shown = await found();
    while (shown.length === 0) shown = await found();
    const [{ id, service, server: none, state }] = shown;
    assertEquals([service, none, state], [null, null, "dialling"]);
    const parsed = parseConnectionId(id);
    const [kind, why] = await errorOf(balancer.balancer.connections.move(parsed, { force: true }, WHO));
    assertEquals(kind, "conflict");
    assertStringIncludes(why, "its service is not known yet; try again, or end it with balancerctl close");
    assertEquals((await soon(balancer.balancer.connections.close(parsed, WHO))).service, null);
    await assertRejects(() => soon(readBytes(client, 1)), Error);
  });
}
