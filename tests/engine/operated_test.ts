// Every engine lets a person end and move single connections alike: over every row of ENGINES.

import { assert, assertEquals, assertGreater } from "@std/assert";
import type { EngineKind, MoveOutcome, OpenConnection } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import type { StayReason } from "../../lib/routing/stays.ts";
import { AVAILABILITY } from "../../lib/routing/availability.ts";
import { ask, assertFatesAddUp, connect, soon, tableServer, type TestEngine, unusedAddress, writeText } from "../helpers.ts";
import { turn, until } from "../raw_socket.ts";
import {
  type Ability,
  abilityOf,
  answer,
  assertCut,
  assertEnded,
  assertServedBy,
  beforeSilentOwner,
  counted,
  dialled,
  echo,
  exchange,
  hear,
  HELLO,
  IDLE,
  INTO,
  movedFrom,
  NEVER_QUIET_MS,
  open,
  question,
  quiet,
  Server,
  silentOwner,
  start,
  startPair,
  UNANSWERED,
} from "./played.ts";

type Case = (kind: EngineKind, can: Ability) => Promise<void>;

const PATIENT = { ...IDLE, connectTimeoutMs: 60_000, connectDeadlineMs: 60_000 };
const ANYWHERE = -1;

/** The ids of all open connections. */
function idsOf({ engine }: TestEngine): number[] {
  return Array.from(engine.connections(), ({ id }) => id);
}

function move(test: TestEngine, id: number, to = ANYWHERE, from = 0): Promise<MoveOutcome> {
  return soon(test.engine.moveConnection(id, { from, to }), "the outcome");
}

/** What is shown of a connection and does not depend on the clock. */
function shownOf({ slot, server, isDialling, moves, sentBytes, receivedBytes, listener, service, port }: OpenConnection) {
  return { slot, server, isDialling, moves, sentBytes, receivedBytes, listener, service, port };
}

const CASES: Record<string, Case> = {
  async "closing resets both sides, has its own fate, and is no failure of the server"(kind, can) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a } = both;
    await exchange(client, first);
    const [id] = idsOf(test);
    assertEquals(await soon(test.engine.closeConnection(id)), { kind: "ended", fate: "closed" });
    await assertCut(client, can);
    await until(() => first.isClosed, "the server's end");
    const ended = { fate: "closed", server: a.name, endedBy: "balancer", moves: 0, sentBytes: 5, receivedBytes: 6 } as const;
    assertEnded(await test.ended.take(), { id, ...ended });
    assertEquals([test.counters.get("closed"), test.counters.getOf(0, "closed")], [1, 1]);
    assertEquals([test.counters.getOf(0, "connectFailures"), open(test)], [0, [0, 0]]);
    assertFatesAddUp(test.counters);
    assertEquals(test.engine.connection(id), undefined);
    assertEquals(test.failed.size, 0, "nobody has failed");
  },

  async "closing takes a connection in any state: in the middle of an answer, and before there is a server"(kind) {
    await using both = await startPair(kind, PATIENT);
    const { test, client, first } = both;
    await question(client, first);
    first.say("half an ans");
    await hear(client, 11);
    assertEquals(await soon(test.engine.closeConnection(idsOf(test)[0])), { kind: "ended", fate: "closed" });
    await test.ended.take();
    using silent = await silentOwner([]);
    await test.publish([tableServer(silent.address, 2)]);
    using waiting = await connect(test.address);
    await dialled(test);
    const [id] = idsOf(test);
    assertEquals(test.engine.connection(id)?.isDialling, true);
    assertEquals(await move(test, id, ANYWHERE, 2), { kind: "stays", reason: "dialling" });
    assertEquals(await soon(test.engine.closeConnection(id)), { kind: "ended", fate: "closed" });
    await test.ended.take();
    assertEquals([test.counters.get("closed"), test.counters.getOf(2, "serverOpen")], [2, 0]);
    assertEquals(test.failed.size, 0);
    void waiting;
  },

  async "what has ended, never was, or is somebody else's by now is told as ended"(kind) {
    await using both = await startPair(kind, IDLE);
    const { test, client } = both;
    const [id] = idsOf(test);
    client.close();
    await test.ended.take();
    for (const gone of [id, 0, 123_456_789, 2 ** 53 - 1]) {
      assertEquals(await soon(test.engine.closeConnection(gone)), { kind: "ended", fate: undefined });
      assertEquals(await move(test, gone), { kind: "ended", fate: undefined });
    }
    await ask(test.address, "x"); // perhaps by the same descriptor
    assertEquals(await soon(test.engine.closeConnection(id)), { kind: "ended", fate: undefined });
    assertEquals(test.counters.get("closed"), 0);
  },

  async "a connection that ends while it is told to close ends once, whoever was first"(kind) {
    for (let i = 0; i < 5; i++) {
      await using both = await startPair(kind, IDLE);
      const { test, client } = both;
      const [id] = idsOf(test);
      const closing = [test.engine.closeConnection(id), test.engine.closeConnection(id)];
      client.close();
      const { fate } = await test.ended.take();
      for (const outcome of await soon(Promise.all(closing))) {
        assert(outcome.kind === "ended" && [fate, undefined].includes(outcome.fate), JSON.stringify(outcome));
      }
      assertFatesAddUp(test.counters);
    }
  },

  async "a connection moves in every state in which it may, and says where it was"(kind) {
    for (const state of ["unsent", "unanswered", "idle"] as const) {
      await using both = await startPair(kind, IDLE);
      const { test, client, first, a, b } = both;
      await INTO[state](client, first);
      if (state === "unanswered") await quiet();
      const [id] = idsOf(test);
      const replayedBytes = state === "unanswered" ? 4 : 0;
      assertEquals(await move(test, id), { kind: "moved", from: a.name, to: b.name, state, replayedBytes });
      assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "command", state, replayedBytes }));
      if (state === "unanswered") assertEquals(await hear(client, 6), "b:ping");
      else await assertServedBy(client, "b");
      await until(() => first.isClosed, "the first server to be let go");
      assertEquals([open(test), test.counters.getOf(0, "movedAway"), test.failed.size], [[0, 1], 1, 0]);
      client.close();
      assertEnded(await test.ended.take(), { id, fate: "done", server: b.name, moves: 1 });
    }
  },

  async "a connection that may not move stays, unharmed, and its engine says why"(kind) {
    const rows: [reason: StayReason, options: Parameters<typeof startPair>[1], act: typeof exchange][] = [
      ["level", UNANSWERED, exchange],
      ["level", {}, exchange],
      ["recent", { ...IDLE, quietMs: NEVER_QUIET_MS }, exchange],
      ["awaited", { ...IDLE, quietMs: NEVER_QUIET_MS }, question],
      ["pinned", IDLE, async (client, first) => {
        await writeText(client, HELLO);
        await first.heard(HELLO);
        first.say("secret");
        await hear(client, 6);
        await quiet();
      }],
    ];
    for (const [reason, options, act] of rows) {
      await using both = await startPair(kind, options);
      const { test, client, first, a, b } = both;
      await act(client, first);
      const [id] = idsOf(test);
      assertEquals(await move(test, id), { kind: "stays", reason });
      assertEquals([b.accepted, open(test), counted(test).movedIdle], [0, [1, 0], 0]);
      first.say("still");
      assertEquals(await hear(client, 5), "still", reason);
      client.close();
      assertEnded(await test.ended.take(), { fate: "done", server: a.name, moves: 0 });
    }
  },

  async "without another server, with one that is down, drained or full, a connection stays"(kind) {
    await using a = await Server.start(echo);
    await using b = await Server.start(echo);
    await using test = start(kind, [a.at(0)], IDLE);
    using client = await connect(test.address);
    await until(() => test.counters.getOf(0, "connects") > 0, "the server");
    const [id] = idsOf(test);
    assertEquals(await move(test, id), { kind: "stays", reason: "nowhere" });
    assertEquals(await move(test, id, 7), { kind: "stays", reason: "nowhere" });
    await test.publish([a.at(0), { ...b.at(1), connectionsMax: 0 }]);
    assertEquals(await move(test, id, 1), { kind: "stays", reason: "nowhere" });
    await test.publish([a.at(0), b.at(1)]);
    for (const availability of [AVAILABILITY.fallback, AVAILABILITY.asking, AVAILABILITY.draining]) {
      test.availabilities.set(1, availability);
      assertEquals(await move(test, id), { kind: "stays", reason: "nowhere" });
      assertEquals(await move(test, id, 1), { kind: "stays", reason: "nowhere" });
    }
    assertEquals(b.accepted, 0);
    await writeText(client, "ping");
    assertEquals(await hear(client, 4), "ping");
  },

  async "a named server is the only one that is tried, wherever the ring has the client"(kind) {
    await using a = await Server.start();
    await using test = start(kind, [a.at(0)], IDLE);
    await using b = await Server.start(answer("b"));
    await using c = await Server.start(answer("c"));
    using client = await connect(test.address);
    const first = await a.clients.take();
    await until(() => test.counters.getOf(0, "connects") > 0, "the server");
    await test.publish([a.at(0), b.at(1), c.at(2)]);
    await exchange(client, first);
    const [id] = idsOf(test);
    let from = a;
    for (const [to, slot] of [[b, 1], [c, 2], [b, 1]] as const) {
      const fromSlot = [a, b, c].indexOf(from);
      const expected = { kind: "moved", from: from.name, to: to.name, state: "idle", replayedBytes: 0 } as const;
      assertEquals(await move(test, id, slot, fromSlot), expected);
      await assertServedBy(client, to === b ? "b" : "c");
      await quiet();
      from = to;
    }
    assertEquals(test.engine.connection(id)?.moves, 3);
    const dead = tableServer(unusedAddress(), 3);
    await test.publish([a.at(0), b.at(1), c.at(2), dead]);
    assertEquals(await move(test, id, 3, 1), { kind: "stays", reason: "refused" });
    assertEquals((await test.failed.take()).slot, 3, "who did not accept has failed");
    assertEquals(c.accepted, 1, "nobody else was tried");
    await assertServedBy(client, "b");
  },

  async "a person is not kept waiting by the pause after nobody took the connection"(kind) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a, b } = both;
    await exchange(client, first);
    const [id] = idsOf(test);
    await test.publish([a.at(0), tableServer(unusedAddress(), 2)]);
    assertEquals(await move(test, id), { kind: "stays", reason: "refused" });
    await test.publish([a.at(0), b.at(1)]);
    assertEquals((await move(test, id)).kind, "moved");
  },

  async "a connection that speaks while it is moved stays, and is answered by its own server"(kind) {
    await using both = await startPair(kind, PATIENT);
    const { test, client, first } = both;
    using _silent = await beforeSilentOwner(both);
    const [id] = idsOf(test);
    const moving = move(test, id);
    await dialled(test);
    assertEquals(await move(test, id), { kind: "stays", reason: "leaving" });
    first.onText = (text) => first.say(`a:${text}`);
    await writeText(client, "ping");
    assertEquals(await moving, { kind: "stays", reason: "calledOff" });
    assertEquals(await hear(client, 6), "a:ping");
  },

  async "a connection that is closed, or whose client goes, while it moves is told so"(kind) {
    for (const how of ["closed", "client_gone"] as const) {
      await using both = await startPair(kind, PATIENT);
      const { test } = both;
      using _silent = await beforeSilentOwner(both);
      const [id] = idsOf(test);
      const moving = move(test, id);
      await dialled(test);
      if (how === "closed") await soon(test.engine.closeConnection(id));
      else await test.engine.stop(0);
      const { fate } = await test.ended.take();
      assertEquals(await moving, { kind: "ended", fate });
      assertEquals([test.counters.getOf(0, "serverOpen"), test.counters.getOf(2, "serverOpen")], [0, 0]);
    }
  },

  async "a connection that has moved meanwhile is left where it is"(kind) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first } = both;
    await exchange(client, first);
    const [id] = idsOf(test);
    test.leave(0, "draining");
    await test.moved.take();
    assertEquals(await move(test, id), { kind: "stays", reason: "elsewhere" });
    assertEquals(open(test), [0, 1]);
    await assertServedBy(client, "b");
  },

  async "connections() and connection() show servers, bytes, moves and times"(kind) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a, b } = both;
    await exchange(client, first);
    const [id] = idsOf(test);
    const { port } = client.localAddr as Deno.NetAddr;
    const common = { isDialling: false, listener: 0, service: 0, port };
    const before = test.engine.connection(id)!;
    assertEquals(shownOf(before), { ...common, slot: 0, server: a.name, moves: 0, sentBytes: 5, receivedBytes: 6 });
    const { ageMs, quietForMs } = before;
    assert(ageMs >= quietForMs && quietForMs > 0, `${ageMs} ${quietForMs}`);
    await move(test, id);
    await assertServedBy(client, "b");
    await until(() => test.engine.connection(id)!.receivedBytes === 12, "the bytes");
    const [after] = Array.from(test.engine.connections(), shownOf);
    assertEquals(after, { ...common, slot: 1, server: b.name, moves: 1, sentBytes: 9, receivedBytes: 12 });
    await turn(5);
    assertGreater(test.engine.connection(id)!.ageMs, ageMs);
  },

  async "200 connections that are moved and closed at once all say what became of them"(kind) {
    const count = 200;
    await using a = await Server.start(echo);
    await using b = await Server.start(echo);
    await using test = start(kind, [a.at(0)], IDLE);
    const clients = await Promise.all(Array.from({ length: count }, () => connect(test.address)));
    await until(() => test.counters.getOf(0, "connects") === count, "the servers");
    await test.publish([a.at(0), b.at(1)]);
    const ids = idsOf(test);
    assertEquals(ids.length, count);
    const asked = ids.map((id, i) =>
      i % 2 === 0 ? test.engine.closeConnection(id) : test.engine.moveConnection(id, { from: 0, to: 1 })
    );
    const kinds = (await soon(Promise.all(asked))).map(({ kind }) => kind);
    assertEquals(kinds, ids.map((_, i) => i % 2 === 0 ? "ended" : "moved"));
    assertEquals([open(test), test.counters.get("closed"), counted(test).movedUnsent], [[0, count / 2], count / 2, count / 2]);
    for (const client of clients) client.close();
  },
};

for (const [name, kind] of Object.entries(ENGINES)) {
  const ignore = kind.unsupported() !== undefined;
  for (const [title, run] of Object.entries(CASES)) {
    Deno.test({ name: `[${name}] ${title}`, ignore, fn: () => run(kind, abilityOf(kind)) });
  }
}
