// Every engine redistributes alike: what becomes of connections whose server is lost or should be left, over every row of ENGINES.
//
// A client gets its first server by being alone with it in the table; then the others are added.

import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { AVAILABILITY } from "../../lib/routing/availability.ts";
import {
  ask,
  close,
  connect,
  readBytes,
  readText,
  silentListener,
  someBytes,
  soon,
  tableServer,
  unusedAddress,
  writeAll,
  writeText,
} from "../helpers.ts";
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
  HEAVY,
  HELLO,
  IDLE,
  INTO,
  movedFrom,
  NEVER_QUIET_MS,
  open,
  question,
  quiet,
  QUIET_MS,
  type Served,
  Server,
  start,
  startOther,
  startPair,
  UNANSWERED,
} from "./played.ts";

type Case = (kind: EngineKind, can: Ability) => Promise<void>;

const CASES: Record<string, Case> = {
  async "a new client goes on to the next server when one refuses, or does not answer"(kind) {
    using silent = await silentListener();
    for (const address of [unusedAddress(), silent.address]) {
      await using server = await startOther(address);
      await using test = start(kind, [tableServer(address, 0, { weight: HEAVY }), server.at(1)], { connectTimeoutMs: 100 });
      const answers = await Promise.all(Array.from({ length: 6 }, () => ask(test.address, "ping")));
      assertEquals(new Set(answers), new Set(["a:ping"]));
      for (let i = 0; i < 6; i++) assertEquals((await test.ended.take()).moves, 0);
      assertGreaterOrEqual(test.counters.getOf(0, "connectFailures"), 1);
      assertEquals(test.counters.getOf(0, "movedAway"), 0);
    }
  },

  async "a reset before anything was sent: it goes on, at any level"(kind) {
    for (const options of [{}, UNANSWERED, IDLE]) {
      await using both = await startPair(kind, options);
      const { test, client, first, a, b } = both;
      first.reset();
      assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "reset", state: "unsent", replayedBytes: 0 }));
      await assertServedBy(client, "b");
      assertEquals(counted(test), { movedUnsent: 1, movedUnanswered: 0, movedIdle: 0, replayOverflows: 0 });
      assertEquals([test.counters.getOf(0, "movedAway"), test.counters.getOf(1, "movedAway")], [1, 0]);
      await test.publish([b.at(1)]);
      assertEquals(await test.emptied.take(), 0);
      client.close();
      assertEnded(await test.ended.take(), { fate: "done", server: b.name, moves: 1, attempts: 2 });
    }
  },

  async "a reset after the request: it is sent again from level unanswered on, and cut below"(kind, can) {
    for (const options of [{}, UNANSWERED, IDLE]) {
      await using both = await startPair(kind, options);
      const { test, client, first, a, b } = both;
      await question(client, first);
      first.reset();
      if (!("redistribute" in options)) {
        await assertCut(client, can);
        assertEnded(await test.ended.take(), { fate: "server_lost", server: a.name, moves: 0 });
        assertEquals(b.accepted, 0);
        continue;
      }
      assertEquals(await hear(client, 6), "b:ping");
      assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "reset", state: "unanswered", replayedBytes: 4 }));
      assertEquals(counted(test), { movedUnsent: 0, movedUnanswered: 1, movedIdle: 0, replayOverflows: 0 });
      client.close();
      assertEnded(await test.ended.take(), { fate: "done", server: b.name, moves: 1, sentBytes: 4, receivedBytes: 6 });
      assertEquals([test.counters.getOf(0, "sentBytes"), test.counters.getOf(1, "sentBytes")], [4, 4]);
    }
  },

  async "an end before the answer from a server that is gone: the request is sent again"(kind) {
    await using both = await startPair(kind, UNANSWERED);
    const { test, client, first, a, b } = both;
    await question(client, first);
    await a.stopListening();
    first.end();
    assertEquals(await hear(client, 6), "b:ping");
    assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "reset", state: "unanswered", replayedBytes: 4 }));
    assertEquals((await test.failed.take()).slot, 0);
    assertEquals(test.counters.getOf(0, "connectFailures"), 0);
  },

  async "an end before the answer from a server that is still there: it is passed on"(kind) {
    for (const request of ["", "ping"]) {
      await using both = await startPair(kind, UNANSWERED);
      const { test, client, first, a, b } = both;
      await writeText(client, request);
      await first.heard(request);
      first.end();
      assertEquals(await soon(readText(client)), "");
      client.close();
      assertEnded(await test.ended.take(), { fate: "done", server: a.name, moves: 0, sentBytes: request.length });
      const asked = await a.clients.take();
      await asked.ended();
      assertEquals([a.accepted, b.accepted], [2, 0]);
    }
  },

  async "a client that still talks after the server's end was asked about, and meant, is heard"(kind) {
    await using both = await startPair(kind, IDLE);
    const { client, first } = both;
    first.end();
    assertEquals(await soon(readText(client)), "");
    await writeText(client, "and another thing");
    await first.heard("and another thing");
  },

  async "an end between two exchanges from a server that is gone: the next one is with another, at level idle"(kind) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a, b } = both;
    await exchange(client, first);
    await a.stopListening();
    first.end();
    assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "reset", state: "idle", replayedBytes: 0 }));
    await assertServedBy(client, "b");
    assertEquals(counted(test), { movedUnsent: 0, movedUnanswered: 0, movedIdle: 1, replayOverflows: 0 });
  },

  async "a server that dies slowly loses nobody: its connections end one after another, its listener last"(kind) {
    await using both = await startPair(kind, { ...IDLE, workers: 1 });
    const { test, client, first, a, b } = both;
    await test.publish([a.at(0)]);
    await using stack = new AsyncDisposableStack();
    const served = [first];
    const clients = [client];
    for (let i = 0; i < 5; i++) {
      clients.push(stack.adopt(await connect(test.address), close));
      served.push(await a.clients.take());
    }
    await Promise.all(clients.map((client, i) => exchange(client, served[i])));
    await test.publish([a.at(0), b.at(1)]);
    for (const { socket } of served) {
      socket.end();
      await turn(100);
    }
    await a.stopListening();
    for (let i = 0; i < served.length; i++) (await a.clients.take()).reset(); // those who asked, and whom it accepted
    for (const _ of served) assertEquals((await test.moved.take()).state, "idle");
    for (const client of clients) {
      await assertServedBy(client, "b");
    }
  },

  async "an end between two exchanges from a server that is still there, or below level idle: it is passed on"(kind) {
    for (const options of [IDLE, UNANSWERED]) {
      await using both = await startPair(kind, options);
      const { test, client, first, a, b } = both;
      await exchange(client, first);
      if (options === UNANSWERED) await a.stopListening();
      first.end();
      assertEquals(await soon(readText(client)), "");
      client.close();
      assertEnded(await test.ended.take(), { fate: "done", server: a.name, moves: 0 });
      assertEquals(b.accepted, 0);
    }
  },

  async "a reset between two exchanges: the next one is with another, at level idle, and it is cut below"(kind, can) {
    for (const options of [IDLE, UNANSWERED]) {
      await using both = await startPair(kind, options);
      const { test, client, first, a, b } = both;
      await exchange(client, first);
      first.reset();
      if (options === UNANSWERED) {
        await assertCut(client, can);
        assertEnded(await test.ended.take(), { fate: "server_lost", server: a.name, moves: 0 });
        continue;
      }
      assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "reset", state: "idle", replayedBytes: 0 }));
      await assertServedBy(client, "b");
    }
  },

  async "an exchange after others is sent again too, at level idle"(kind) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a, b } = both;
    await exchange(client, first);
    await writeText(client, "second");
    await first.heard("firstsecond");
    first.reset();
    assertEquals(await hear(client, 8), "b:second");
    assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "reset", state: "unanswered", replayedBytes: 6 }));
  },

  async "a reset in the middle of an answer is never anything but a cut"(kind, can) {
    await using both = await startPair(kind, { redistribute: "idle", quietMs: NEVER_QUIET_MS });
    const { test, client, first, a, b } = both;
    await question(client, first);
    first.say("half of the ans");
    assertEquals(await hear(client, 15), "half of the ans");
    first.reset();
    await assertCut(client, can);
    assertEnded(await test.ended.take(), { fate: "server_lost", server: a.name, moves: 0 });
    assertEquals(b.accepted, 0);
  },

  async "what a server said before it was lost arrives"(kind, can) {
    await using both = await startPair(kind, { redistribute: "idle", quietMs: NEVER_QUIET_MS });
    const { test, client, first, b } = both;
    await question(client, first);
    const said = "x".repeat(200_000);
    first.say(said);
    assertEquals(await hear(client, said.length), said);
    first.reset();
    await assertCut(client, can);
    assertEnded(await test.ended.take(), { fate: "server_lost", receivedBytes: said.length });
    assertEquals(b.accepted, 0);
  },

  async "a connection on which the server spoke first is never moved"(kind, can) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, b } = both;
    first.say("220 ready");
    assertEquals(await hear(client, 9), "220 ready");
    await exchange(client, first);
    test.leave(0, "draining");
    await quiet();
    await writeText(client, "more");
    await first.heard("firstmore");
    await quiet();
    first.reset();
    await assertCut(client, can);
    assertEnded(await test.ended.take(), { moves: 0 });
    assertEquals(b.accepted, 0);
  },

  async "a client that pauses after an interim answer is never moved, and may be after the final one"(kind, can) {
    const interim = "HTTP/1.1 100 Continue\r\n\r\n";
    const final = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (const answered of [false, true]) {
      await using both = await startPair(kind, IDLE);
      const { test, client, first, a, b } = both;
      const head = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
      await writeText(client, head);
      await first.heard(head);
      first.say(interim);
      assertEquals(await hear(client, interim.length), interim);
      await quiet();
      test.leave(0, "draining");
      await quiet();
      assertEquals([b.accepted, open(test)], [0, [1, 0]], "the body belongs to the head");
      await writeText(client, "body");
      await first.heard(`${head}body`);
      if (answered) {
        first.say(final);
        assertEquals(await hear(client, final.length), final);
        assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "drain", state: "idle", replayedBytes: 0 }));
      } else {
        await quiet();
        first.reset();
        await assertCut(client, can);
        assertEnded(await test.ended.take(), { moves: 0 });
        assertEquals(b.accepted, 0);
      }
    }
  },

  async "a connection that has changed to another protocol is never moved"(kind, can) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, b } = both;
    const request = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
    await writeText(client, request);
    await first.heard(request);
    const answer = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    first.say(answer);
    await hear(client, answer.length);
    await quiet();
    first.reset();
    await assertCut(client, can);
    assertEnded(await test.ended.take(), { moves: 0 });
    assertEquals(b.accepted, 0);
  },

  async "TLS is sent again before its answer, and never moved after it"(kind, can) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a, b } = both;
    await writeText(client, HELLO);
    await first.heard(HELLO);
    first.reset();
    assertEquals(await hear(client, HELLO.length + 2), `b:${HELLO}`);
    assertEquals(
      await test.moved.take(),
      movedFrom(client, a, b, { loss: "reset", state: "unanswered", replayedBytes: HELLO.length }),
    );
    await quiet();
    (await b.clients.take()).reset();
    await assertCut(client, can);
    assertEnded(await test.ended.take(), { server: b.name, moves: 1 });
  },

  async "requests that were sent one after another are sent again in that order"(kind) {
    await using both = await startPair(kind, UNANSWERED);
    const { test, client, first, b } = both;
    let said = "";
    for (let i = 0; i < 50; i++) {
      const request = `request ${i};`;
      await writeText(client, request);
      await first.heard(said += request);
    }
    first.reset();
    await (await b.clients.take()).heard(said);
    assertEquals((await test.moved.take()).replayedBytes, said.length);
  },

  async "a client that has sent its end is sent again with its end"(kind) {
    await using both = await startPair(kind, UNANSWERED);
    const { test, client, first, b } = both;
    first.endsToo = false;
    await writeText(client, "all");
    await client.closeWrite();
    await first.heard("all");
    await first.ended();
    first.reset();
    const second = await b.clients.take();
    await second.heard("all");
    await second.ended();
    assertEquals(await soon(readText(client)), "b:all");
    assertEnded(await test.ended.take(), { fate: "done", moves: 1, sentBytes: 3 });
  },

  async "a client that has sent its end and nothing else is taken on with its end"(kind) {
    await using both = await startPair(kind, {});
    const { client, first, b } = both;
    first.endsToo = false;
    await client.closeWrite();
    await first.ended();
    first.reset();
    await (await b.clients.take()).ended();
  },

  async "a request larger than the replay buffer is counted, and refused"(kind, can) {
    await using both = await startPair(kind, { ...UNANSWERED, replayBytesMax: 1000 });
    const { test, client, first, b } = both;
    const request = "x".repeat(3000);
    await writeText(client, request);
    await first.heard(request);
    first.reset();
    await assertCut(client, can);
    assertEnded(await test.ended.take(), { fate: "redistribute_refused", moves: 0 });
    assertEquals(counted(test), { movedUnsent: 0, movedUnanswered: 0, movedIdle: 0, replayOverflows: 1 });
    assertEquals(b.accepted, 0);
  },

  async "a request that kills every server is sent again no oftener than allowed"(kind, can) {
    await using both = await startPair(kind, { ...UNANSWERED, replaysMax: 2 });
    const { test, client, first, a, b } = both;
    const kill = (served: Served) => served.onText = () => served.reset();
    await using c = await Server.start(kill);
    await using d = await Server.start(kill);
    a.play = b.play = kill;
    await test.publish([a.at(0), b.at(1), c.at(2), d.at(3)]);
    await writeText(client, "poison");
    await first.heard("poison");
    first.reset();
    await assertCut(client, can);
    assertEnded(await test.ended.take(), { fate: "redistribute_refused", moves: 2, sentBytes: 6 });
    assertEquals(a.accepted + b.accepted + c.accepted + d.accepted, 3);
    assertEquals(test.counters.get("movedUnanswered"), 2);
  },

  async "servers that take a connection and reset it at once do not pass it round for ever"(kind) {
    const reset = (served: Served) => served.reset();
    await using a = await Server.start(reset);
    await using b = await Server.start(reset);
    await using test = start(kind, [a.at(0), b.at(1)], { connectDeadlineMs: 2000 });
    using client = await connect(test.address);
    await soon(readText(client).catch(() => ""));
    assertEnded(await test.ended.take(), { fate: "connect_failed" });
  },

  async "when no server is left, whoever sent nothing could not connect, and others lost theirs"(kind, can) {
    for (const request of ["", "ping"]) {
      await using both = await startPair(kind, UNANSWERED);
      const { test, client, first, a } = both;
      await test.publish([a.at(0), tableServer(unusedAddress(), 2)]);
      await writeText(client, request);
      await first.heard(request);
      first.reset();
      if (request === "") await soon(readText(client).catch(() => ""));
      else await assertCut(client, can);
      assertEnded(await test.ended.take(), { fate: request === "" ? "connect_failed" : "server_lost", moves: 0 });
      assertEquals(test.counters.getOf(2, "connectFailures"), 1);
      // The first one has reset a new connection before it had answered.
      assertEquals([(await test.failed.take()).slot, (await test.failed.take()).slot], [0, 2]);
    }
  },

  async "what the client says while the next server is dialled arrives once and in order"(kind) {
    using silent = await silentListener();
    await using both = await startPair(kind, { ...UNANSWERED, connectTimeoutMs: 1000 }); // b has that time, too, on a busy machine
    const { test, client, first, a, b } = both;
    b.play = () => {};
    await test.publish([a.at(0), b.at(1), tableServer(silent.address, 2, { weight: HEAVY })]);
    await writeText(client, "one,");
    await first.heard("one,");
    first.reset();
    await until(() => test.counters.getOf(2, "serverOpen") === 0 && b.accepted > 0, "the server to be dialled");
    for (const word of ["two,", "three,", "four"]) {
      await writeText(client, word);
      await turn(20);
    }
    await (await b.clients.take()).heard("one,two,three,four");
    client.close();
    assertEnded(await test.ended.take(), { fate: "done", server: b.name, sentBytes: 18 });
  },

  async "a server that is known by its name takes them too"(kind) {
    await using both = await startPair(kind, UNANSWERED);
    const { test, client, first, a, b } = both;
    const named = tableServer({ host: "localhost", port: b.address.port }, 2);
    await test.publish([a.at(0), named]);
    await question(client, first);
    first.reset();
    assertEquals(await hear(client, 6), "b:ping");
    assertEquals((await test.moved.take()).to, named.name);
  },

  async "draining moves what its level allows, and leaves the rest to talk until the time is over"(kind, can) {
    for (const [options, request] of [[{ quietMs: QUIET_MS }, "ping"], [UNANSWERED, "first"]] as const) {
      await using both = await startPair(kind, options);
      const { test, client, first, a, b } = both;
      if (request === "first") await exchange(client, first);
      else await writeText(client, request).then(() => first.heard(request));
      test.leave(0, "draining");
      await quiet();
      first.say("still here");
      assertEquals(await hear(client, 10), "still here");
      await quiet();
      assertEquals([first.isClosed, b.accepted], [false, 0]);
      test.leave(0, "expired");
      await assertCut(client, can);
      assertEnded(await test.ended.take(), { fate: "removed", server: a.name, moves: 0 });
    }
  },

  async "draining moves who has sent nothing, at any level"(kind) {
    await using both = await startPair(kind, {});
    const { test, client, first, a, b } = both;
    await test.publish([b.at(1)]);
    test.leave(0, "draining");
    assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "drain", state: "unsent", replayedBytes: 0 }));
    assertEquals(await test.emptied.take(), 0);
    await first.ended();
    await assertServedBy(client, "b");
  },

  async "draining moves who waits for an answer, and who is between two exchanges"(kind) {
    for (const state of ["unanswered", "idle"] as const) {
      await using both = await startPair(kind, IDLE);
      const { test, client, first, a, b } = both;
      await INTO[state](client, first);
      test.leave(0, "draining");
      assertEquals(
        await test.moved.take(),
        movedFrom(client, a, b, { loss: "drain", state, replayedBytes: state === "idle" ? 0 : 4 }),
      );
      if (state === "idle") await assertServedBy(client, "b");
      assertEquals(test.counters.getOf(0, "serverOpen"), 0);
    }
  },

  async "draining moves who waits for an answer and has ended its half"(kind) {
    for (const pauseMs of [0, QUIET_MS]) { // its end comes with the question, or behind it
      await using pair = await startPair(kind, UNANSWERED);
      const { test, client, first } = pair;
      first.endsToo = false;
      await writeText(client, "question");
      await turn(pauseMs);
      await client.closeWrite();
      await first.ended();
      await quiet();
      test.leave(0, "draining");
      assertEquals(await soon(readText(client), "the answer"), "b:question");
      assertEquals((await test.moved.take()).state, "unanswered");
    }
  },

  async "draining moves a connection when it has come to where it may"(kind) {
    await using both = await startPair(kind, { ...IDLE, replayBytesMax: 4 });
    const { test, client, first, a, b } = both;
    await writeText(client, "longer than is kept");
    await first.heard("longer than is kept");
    test.leave(0, "draining");
    await quiet();
    assertEquals(b.accepted, 0);
    first.say("answer");
    assertEquals(await hear(client, 6), "answer");
    assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "drain", state: "idle", replayedBytes: 0 }));
    await assertServedBy(client, "b");
  },

  async "draining leaves a connection where it is while nobody else takes it"(kind) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a } = both;
    await test.publish([a.at(0), tableServer(unusedAddress(), 2)]);
    test.leave(0, "draining");
    assertEquals((await test.failed.take()).slot, 2);
    await exchange(client, first);
    assertEquals(test.counters.getOf(0, "serverOpen"), 1);
    client.close();
    assertEnded(await test.ended.take(), { fate: "done", server: a.name, moves: 0 });
  },

  async "a connection whose server speaks while another is dialled stays"(kind) {
    using silent = await silentListener();
    await using both = await startPair(kind, { connectTimeoutMs: 10_000 });
    const { test, client, first, a, b } = both;
    await test.publish([a.at(0), tableServer(silent.address, 2)]);
    test.leave(0, "draining");
    await dialled(test);
    first.say("wait!");
    assertEquals(await hear(client, 5), "wait!");
    await question(client, first);
    await until(() => test.counters.getOf(2, "serverOpen") === 0, "the server to be let go");
    assertEquals([test.counters.getOf(0, "serverOpen"), b.accepted], [1, 0]);
    client.close();
    assertEnded(await test.ended.take(), { fate: "done", server: a.name, moves: 0, sentBytes: 4, receivedBytes: 5 });
  },

  async "a client that speaks while it drains to, or goes home to, a server that does not accept is answered by its own at once"(
    kind,
  ) {
    for (const how of ["drain", "rebalance"] as const) {
      await using both = await startPair(kind, { ...IDLE, connectTimeoutMs: 60_000, connectDeadlineMs: 60_000 });
      const { test, client, first, a } = both;
      using _silent = await beforeSilentOwner(both);
      const [{ id }] = [...test.engine.connections()];
      if (how === "drain") test.leave(0, "draining");
      else test.engine.sendToOwner(id);
      await dialled(test);
      first.onText = (text) => first.say(`a:${text}`);
      await writeText(client, "ping");
      assertEquals(await hear(client, 6), "a:ping");
      if (how === "rebalance") assertEquals(open(test), [1, 0]);
      client.close();
      assertEnded(await test.ended.take(), { fate: "done", server: a.name, moves: 0, sentBytes: 9, receivedBytes: 12 });
    }
  },

  async "a drained connection that waits for a server which does not accept goes to another when the time is over"(kind) {
    using silent = await silentListener();
    await using both = await startPair(kind, { ...IDLE, connectTimeoutMs: 60_000, connectDeadlineMs: 60_000 });
    const { test, client, first, a, b } = both;
    await exchange(client, first);
    await test.publish([a.at(0), tableServer(silent.address, 2)]);
    test.leave(0, "draining");
    await dialled(test);
    await test.publish([b.at(1)]);
    test.leave(0, "expired");
    assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "expired", state: "idle", replayedBytes: 0 }));
    await assertServedBy(client, "b");
  },

  async "a connection whose server is to drain no longer stays, though another server accepts it"(kind) {
    using late = await silentListener();
    await using both = await startPair(kind, { ...IDLE, connectTimeoutMs: 60_000, connectDeadlineMs: 60_000 });
    const { test, client, first, a } = both;
    await exchange(client, first);
    await test.publish([a.at(0), tableServer(late.address, 2)]);
    test.leave(0, "draining");
    await dialled(test);
    test.availabilities.set(0, AVAILABILITY.full);
    late.accept();
    await until(() => test.counters.getOf(2, "serverOpen") === 0, "the server to be let go");
    assertEquals([open(test), test.counters.getOf(0, "movedAway")], [[1, 0], 0]);
    first.onText = (text) => first.say(`a:${text}`);
    await writeText(client, "ping");
    assertEquals(await hear(client, 6), "a:ping");
    client.close();
    assertEnded(await test.ended.take(), { fate: "done", server: a.name, moves: 0 });
  },

  async "when the time is over, those who may move do, and others are cut"(kind, can) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a, b } = both;
    await test.publish([a.at(0)]);
    using busy = await connect(test.address);
    const second = await a.clients.take();
    await writeText(busy, HELLO);
    await second.heard(HELLO);
    second.say("server hello");
    assertEquals(await hear(busy, 12), "server hello");
    await exchange(client, first);
    await test.publish([b.at(1)]);
    test.leave(0, "expired");
    assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "expired", state: "idle", replayedBytes: 0 }));
    await assertCut(busy, can);
    assertEnded(await test.ended.take(), { fate: "removed", server: a.name, moves: 0 });
    assertEquals([await test.emptied.take(), await test.emptied.take()], [1, 0]);
    await assertServedBy(client, "b");
  },

  async "when the time is over and nobody takes them, they are cut"(kind, can) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first } = both;
    await exchange(client, first);
    await test.publish([tableServer(unusedAddress(), 2)]);
    test.leave(0, "expired");
    await assertCut(client, can);
    assertEnded(await test.ended.take(), { fate: "removed", moves: 0 });
    assertEquals([await test.emptied.take(), await test.emptied.take()], [1, 0]);
  },

  async "a silent server loses those who may move, and whoever it has not spoken to for as long"(kind, can) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a, b } = both;
    await test.publish([a.at(0)]);
    using waiting = await connect(test.address);
    const second = await a.clients.take();
    await writeText(waiting, HELLO);
    await second.heard(HELLO);
    second.say("server hello");
    assertEquals(await hear(waiting, 12), "server hello");
    await exchange(client, first);
    await test.publish([a.at(0), b.at(1)]);
    test.engine.lose(0, 60_000, 0);
    assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "silent", state: "idle", replayedBytes: 0 }));
    second.say("!");
    assertEquals(await hear(waiting, 1), "!");
    await turn(5);
    test.engine.lose(0, 1, 0);
    await assertCut(waiting, can);
    assertEnded(await test.ended.take(), { server: a.name, moves: 0 });
  },

  async "a client of a silent server whose answer came late moves when it speaks, which shows that the answer was whole"(kind) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a, b } = both;
    await exchange(client, first);
    const lose = () => test.engine.lose(0, 1, 60_000); // the exchange is from after the last check that passed
    lose();
    await quiet();
    lose();
    assertEquals(b.accepted, 0);
    first.onText = () => {};
    await writeText(client, "more");
    await first.heard("firstmore");
    lose();
    assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "silent", state: "unanswered", replayedBytes: 4 }));
    assertEquals(await hear(client, 6), "b:more");
  },

  async "a silent server keeps its clients if there is no other for them"(kind) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a, b } = both;
    await exchange(client, first);
    const pools = [
      () => test.publish([a.at(0)]),
      () => test.publish([a.at(0), b.at(1)]).then(() => test.availabilities.set(1, AVAILABILITY.fallback)),
    ];
    for (const publish of pools) {
      await publish();
      test.engine.lose(0, 1, 0);
      await quiet();
      first.say("still here");
      assertEquals(await hear(client, 10), "still here");
    }
    assertEquals(b.accepted, 0);
    test.availabilities.set(1, AVAILABILITY.full);
    await quiet();
    test.engine.lose(0, 1, 0);
    assertEquals((await test.moved.take()).loss, "silent");
  },

  async "a client that is dialling a server which is silent, or leaves, goes on to the next"(kind) {
    for (const how of ["leaving", "silent"] as const) {
      using silent = await silentListener();
      await using server = await Server.start(answer("a"));
      await using test = start(kind, [tableServer(silent.address, 0)], { connectTimeoutMs: 10_000 });
      using client = await connect(test.address);
      await until(() => test.counters.getOf(0, "serverOpen") > 0, "the server to be dialled");
      await test.publish([tableServer(silent.address, 0), server.at(1)]);
      if (how === "leaving") test.leave(0, "draining");
      else test.engine.lose(0, 1, 0);
      await writeText(client, "ping");
      assertEquals(await hear(client, 6), "a:ping");
      client.close();
      assertEnded(await test.ended.take(), { fate: "done", moves: 0, attempts: 2 });
    }
  },

  async "a client that is not where the ring wants it can be sent home"(kind) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a, b } = both;
    const [connection] = [...test.engine.connections()].map(({ id, slot, port, ip }) => ({ id, slot, port, ip: [...ip] }));
    assertEquals([connection.slot, connection.ip], [0, [127, 0, 0, 1]]);
    assertEquals(connection.port, (client.localAddr as Deno.NetAddr).port);
    test.availabilities.set(1, AVAILABILITY.fallback);
    test.engine.sendToOwner(connection.id);
    await exchange(client, first);
    assertEquals(b.accepted, 0);
    test.availabilities.set(1, AVAILABILITY.full);
    test.availabilities.set(0, AVAILABILITY.none);
    test.engine.sendToOwner(connection.id);
    assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "rebalance", state: "idle", replayedBytes: 0 }));
    await assertServedBy(client, "b");
    assertEquals([...test.engine.connections()].map(({ slot }) => slot), [1]);
    test.engine.sendToOwner(123_456_789);
  },

  async "servers that accept and end at once, one after another, share one budget"(kind) {
    const servers = await Promise.all(Array.from({ length: 6 }, () => Server.start()));
    await using stack = new AsyncDisposableStack();
    for (const server of servers) {
      stack.use(server);
      server.play = (served) => void server.stopListening().then(() => served.end()); // and is not there when it is dialled again
    }
    await using test = start(kind, servers.map((server, slot) => server.at(slot)), { ...IDLE, connectAttemptsMax: 3 });
    using client = await connect(test.address);
    const { fate, attempts } = await test.ended.take();
    assertEquals(fate, "connect_failed");
    assertEquals(attempts, 4, "the first, and three more");
    close(client);
  },

  async "a connection moves as often as it must"(kind) {
    await using both = await startPair(kind, IDLE);
    const { test, client, first, a, b } = both;
    await exchange(client, first);
    first.reset();
    assertEquals(await test.moved.take(), movedFrom(client, a, b, { loss: "reset", state: "idle", replayedBytes: 0 }));
    const second = await b.clients.take();
    second.onText = () => {};
    await exchange(client, second);
    test.leave(1, "draining");
    assertEquals(await test.moved.take(), movedFrom(client, b, a, { loss: "drain", state: "idle", replayedBytes: 0 }));
    test.availabilities.set(1, AVAILABILITY.full);
    const third = await a.clients.take();
    await writeText(client, "again");
    await third.heard("again");
    third.reset();
    assertEquals(await hear(client, 7), "b:again");
    client.close();
    assertEnded(await test.ended.take(), { fate: "done", server: b.name, moves: 3 });
  },

  async "200 connections move at once, and echo byte for byte afterwards"(kind) {
    const count = 200;
    await using a = await Server.start(echo);
    await using b = await Server.start(echo);
    await using test = start(kind, [a.at(0)], IDLE);
    const talk = async (client: Deno.TcpConn, i: number) => {
      const bytes = someBytes(2000 + i, i + 1);
      const [heard] = await Promise.all([readBytes(client, bytes.length), writeAll(client, bytes)]);
      assertEquals(heard, bytes);
    };
    const clients = await Promise.all(Array.from({ length: count }, () => connect(test.address)));
    await soon(Promise.all(clients.map(talk)), "the echo of the first server");
    await test.publish([a.at(0), b.at(1)]);
    await quiet();
    for (let i = 0; i < count; i++) (await a.clients.take()).reset();
    for (let i = 0; i < count; i++) await test.moved.take();
    await soon(Promise.all(clients.map(talk)), "the echo of the second server");
    assertEquals(open(test), [0, count]);
    assertEquals(test.counters.getOf(0, "movedAway"), count);
    assertEquals(test.counters.get("movedIdle"), count);
    for (const client of clients) client.close();
    for (let i = 0; i < count; i++) assertEnded(await test.ended.take(), { fate: "done", moves: 1 });
  },
};
for (const [name, kind] of Object.entries(ENGINES)) {
  const ignore = kind.unsupported() !== undefined;
  for (const [title, run] of Object.entries(CASES)) {
    Deno.test({ name: `[${name}] ${title}`, ignore, fn: () => run(kind, abilityOf(kind)) });
  }
}
