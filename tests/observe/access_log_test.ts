// A line for each connection, whose fields are those of the table; samples that keep every bad end; moves in order, up to limits.

import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { ACCESS_FIELDS } from "../../lib/observe/access_line.ts";
import { AccessLog, MOVED_KEPT_MAX, MOVES_LISTED_MAX, WARN_PAUSE_MS } from "../../lib/observe/access_log.ts";
import type { EndedConnection, MovedConnection, StartedConnection } from "../../lib/observe/connections.ts";
import { Counters } from "../../lib/observe/counters.ts";
import type { LineOutput } from "../../lib/observe/line_buffer.ts";
import { endLogging, setUpLogging } from "../../lib/observe/log.ts";
import { type Fate, FATE_NAMES } from "../../lib/values/fates.ts";
import { isSampled } from "../../lib/values/sampling.ts";

const PLACES = [{ listener: "127.0.0.1:80", service: "default" }, { listener: "[::1]:81", service: "mail" }];

const START_ID = "00000000000000ff";
const NOON = Date.UTC(2026, 10, 28, 12);

const STARTED: StartedConnection = { id: 17, client: "192.0.2.1:5000", service: 0, listener: 1, acceptedAt: NOON + 1.5 };
const ENDED: EndedConnection = {
  id: 17,
  client: "192.0.2.1:5000",
  service: 0,
  listener: 1,
  acceptedAt: NOON + 1.5,
  endedAt: NOON + 61_000,
  connectMs: 0.25,
  endedBy: "server",
  fate: "server_lost",
  server: "10.0.0.1:80",
  attempts: 2,
  moves: 0,
  sentBytes: 5,
  receivedBytes: 2 ** 40,
  durationMs: 60_999.0006,
  reason: 'connection "reset"',
};
const MOVED: MovedConnection = {
  id: 17,
  movedAt: NOON + 30,
  client: "192.0.2.1:5000",
  service: 0,
  from: "10.0.0.1:80",
  to: "10.0.0.2:80",
  loss: "drain",
  state: "unanswered",
  replayedBytes: 7,
};

/** A log in memory; `take` gives what was written since the last time. */
function logInMemory({ sample = 1, output = undefined as AccessLog["flush"] | undefined } = {}) {
  let text = "";
  const counters = new Counters();
  const clock = { nowMs: 0 };
  const log = new AccessLog({
    startId: START_ID,
    placeOf: (listener) => PLACES[listener],
    counters,
    nowMs: () => clock.nowMs,
  });
  const memory: LineOutput = {
    async append(lines) {
      await output?.();
      text += new TextDecoder().decode(lines);
      return { bytes: lines.length, fault: undefined };
    },
  };
  void log.aim({ output: memory, sample }, 0);
  return {
    log,
    counters,
    clock,
    // deno-lint-ignore no-explicit-any -- whatever a line holds
    async take(): Promise<any[]> {
      await log.flush();
      const lines = text.split("\n");
      text = "";
      assertEquals(lines.pop(), "");
      return lines.map((line) => JSON.parse(line));
    },
  };
}

Deno.test("a line about an end has every field of the table, in its order", async () => {
  const { log, take } = logInMemory();
  const hello = { authority: "mail.example", alpn: ["imap", 'x"'] };
  log.ended({ ...ENDED, proxy: { peer: "10.9.9.9:1", tlvs: { authority: 'a"b' } }, hello });
  const [line] = await take();
  assertEquals(Object.keys(line), Object.keys(ACCESS_FIELDS));
  assertEquals(line, {
    event: "end",
    id: "00000000000000ff-11",
    time: "2026-11-28T12:00:00.001Z",
    end: "2026-11-28T12:01:01.000Z",
    client: "192.0.2.1:5000",
    listener: "[::1]:81",
    service: "mail",
    server: "10.0.0.1:80",
    sentBytes: 5,
    receivedBytes: 2 ** 40,
    connectMs: 0.25,
    durationMs: 60_999.001,
    fate: "server_lost",
    endedBy: "server",
    attempts: 2,
    moves: [],
    movesOmitted: 0,
    replayedBytes: 0,
    reason: 'connection "reset"',
    proxy: { peer: "10.9.9.9:1", tlvs: { authority: 'a"b' } },
    hello,
  });
});

Deno.test("what was asked for stands in lines to whose connections nothing happened, and not in the next", async () => {
  const { log, take } = logInMemory();
  const plain = { ...ENDED, attempts: 1, moves: 0, reason: undefined };
  const hello = { authority: null, alpn: ["h2"] };
  for (const end of [plain, { ...plain, hello }, plain]) log.ended(end);
  log.started({ ...STARTED, hello });
  assertEquals((await take()).map(({ hello }) => hello), [null, hello, null, hello]);
});

Deno.test("a line about a beginning has those fields of the table that are marked", async () => {
  const { log, take } = logInMemory();
  log.started(STARTED);
  const [line] = await take();
  assertEquals(Object.keys(line), Object.entries(ACCESS_FIELDS).filter(([, field]) => "atStart" in field).map(([name]) => name));
  assertEquals(line, {
    event: "start",
    id: "00000000000000ff-11",
    time: "2026-11-28T12:00:00.001Z",
    client: "192.0.2.1:5000",
    listener: "[::1]:81",
    service: "mail",
    hello: null,
  });
});

Deno.test("a line is JSON of the same values as JSON.stringify would write, whatever the numbers", async () => {
  const { log, take } = logInMemory();
  const numbers = [0, 0.0004, 0.0005, 0.999, 0.9996, 1, 9.5, 12.345678, 999.9999, 86_400_000.123];
  for (const ms of numbers) log.ended({ ...ENDED, durationMs: ms, connectMs: ms, endedAt: NOON + ms });
  for (const [i, line] of (await take()).entries()) {
    const rounded = Math.round(numbers[i] * 1000) / 1000;
    const end = new Date(Math.floor(NOON + numbers[i])).toISOString();
    assertEquals([line.durationMs, line.connectMs, line.end], [rounded, rounded, end]);
  }
});

Deno.test("what there was not is null", async () => {
  const { log, take } = logInMemory();
  log.ended({ ...ENDED, server: undefined, connectMs: undefined, reason: undefined });
  const [{ server, connectMs, reason, proxy, hello }] = await take();
  assertEquals([server, connectMs, reason, proxy, hello], [null, null, null, null, null]);
});

Deno.test("moves are listed in order with times, servers, states and losses, and their replays are added up", async () => {
  const { log, take } = logInMemory();
  log.moved(MOVED);
  log.moved({ ...MOVED, id: 18, from: undefined, to: undefined });
  log.moved({
    ...MOVED,
    movedAt: NOON + 40,
    from: "10.0.0.2:80",
    to: "10.0.0.1:80",
    loss: "reset",
    state: "idle",
    replayedBytes: 0,
  });
  log.ended({ ...ENDED, moves: 2 });
  log.ended({ ...ENDED, id: 18, moves: 1 });
  const [first, second] = await take();
  assertEquals([first.moves, first.movesOmitted, first.replayedBytes], [
    [
      {
        at: "2026-11-28T12:00:00.030Z",
        from: "10.0.0.1:80",
        to: "10.0.0.2:80",
        state: "unanswered",
        loss: "drain",
        replayedBytes: 7,
      },
      { at: "2026-11-28T12:00:00.040Z", from: "10.0.0.2:80", to: "10.0.0.1:80", state: "idle", loss: "reset", replayedBytes: 0 },
    ],
    0,
    7,
  ]);
  assertEquals(second.moves.map(({ from, to }: MovedConnection) => [from, to]), [[null, null]]);
});

Deno.test("of a connection that moved too often, the first moves are listed and the others counted", async () => {
  const { log, take } = logInMemory();
  for (let i = 0; i < MOVES_LISTED_MAX + 3; i++) log.moved({ ...MOVED, movedAt: NOON + i });
  log.ended({ ...ENDED, moves: MOVES_LISTED_MAX + 3 });
  const [{ moves, movesOmitted, replayedBytes }] = await take();
  assertEquals([moves.length, movesOmitted, replayedBytes], [MOVES_LISTED_MAX, 3, 7 * (MOVES_LISTED_MAX + 3)]);
});

Deno.test("moves of too many connections push out the oldest, which are counted as omitted", async () => {
  const { log, take } = logInMemory();
  for (let id = 0; id <= MOVED_KEPT_MAX; id++) log.moved({ ...MOVED, id });
  for (const id of [0, 1, MOVED_KEPT_MAX]) log.ended({ ...ENDED, id, moves: 1 });
  assertEquals((await take()).map(({ moves, movesOmitted }) => [moves.length, movesOmitted]), [[0, 1], [1, 0], [1, 0]]);
});

Deno.test("a sample keeps every end with another fate than done, and both lines of a connection or none", async () => {
  const sample = 0.1;
  const { log, take } = logInMemory({ sample });
  const all = Array.from({ length: 2000 }, (_, i) => ({ id: 2 ** 21 * i + 40, fate: FATE_NAMES[i % FATE_NAMES.length] }));
  for (const { id } of all) log.started({ ...STARTED, id });
  for (const { id, fate } of all) log.ended({ ...ENDED, id, fate });
  const lines = await take();
  const idsOf = (event: string, isWanted: (fate: Fate) => boolean = () => true) =>
    lines.filter((line) => line.event === event && (line.fate === undefined || isWanted(line.fate))).map(({ id }) => id);
  const bad = all.filter(({ fate }) => fate !== "done");
  assertEquals(idsOf("end", (fate) => fate !== "done").length, bad.length);
  const taken = all.filter(({ id }) => isSampled(id, sample)).map(({ id }) => `${START_ID}-${id.toString(16)}`);
  assertEquals(idsOf("start"), taken);
  const done = idsOf("end", (fate) => fate === "done");
  assert(done.every((id) => taken.includes(id)));
  assertLess(done.length, all.length - bad.length);
});

Deno.test("a sample of 0% has bad ends alone", async () => {
  const { log, take } = logInMemory({ sample: 0 });
  log.started(STARTED);
  for (const fate of FATE_NAMES) log.ended({ ...ENDED, fate });
  assertEquals((await take()).map(({ fate }) => fate), FATE_NAMES.filter((fate) => fate !== "done"));
});

Deno.test("lines beyond the limit are dropped and counted while an output hangs, and the others come in order", async () => {
  const hangs = Promise.withResolvers<void>();
  const { log, counters, take } = logInMemory({ output: () => hangs.promise });
  const COUNT = 40_000; // 8 MiB hold about 20,000 lines
  for (let id = 0; id < COUNT; id++) log.ended({ ...ENDED, id });
  const dropped = counters.get("accessLogDropped");
  hangs.resolve();
  const lines = await take();
  assert(dropped > 0 && lines.length > 10_000, `${dropped} dropped`);
  assertEquals(lines.length + dropped, COUNT);
  assertEquals(lines.map(({ id }) => id), lines.map((_, i) => `${START_ID}-${i.toString(16)}`));
});

Deno.test("lines that an output has not taken when the balancer ends are dropped and told of", async () => {
  const folder = await Deno.makeTempDir({ prefix: "balancer_access_" });
  const hangs = Promise.withResolvers<void>();
  try {
    await setUpLogging("info", `${folder}/a.log`);
    const { log, counters } = logInMemory({ output: () => hangs.promise });
    log.ended(ENDED); // it is being written
    await Promise.resolve();
    for (let i = 0; i < 4; i++) log.ended(ENDED);
    await log.end(1);
    await endLogging();
    assertEquals(counters.get("accessLogDropped"), 5);
    const text = await Deno.readTextFile(`${folder}/a.log`);
    assertMatch(text, /"message":"5 lines of the access log were dropped: [^\n]*before the balancer ended/);
  } finally {
    hangs.resolve();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a log that is aimed elsewhere leaves earlier lines where they were to go; without an aim it is off", async () => {
  const slow = Promise.withResolvers<void>();
  const { log, take, counters } = logInMemory({ output: () => slow.promise });
  log.ended({ ...ENDED, id: 1 });
  log.moved({ ...MOVED, id: 3 });
  const other: string[] = [];
  const elsewhere: LineOutput = {
    append(lines) {
      other.push(new TextDecoder().decode(lines));
      return Promise.resolve({ bytes: lines.length, fault: undefined });
    },
  };
  let isWritten = false;
  const aimed = log.aim({ output: elsewhere, sample: 0 }, 20_000).then(() => isWritten = true);
  log.ended({ ...ENDED, id: 2, fate: "server_lost" });
  log.ended({ ...ENDED, id: 3, fate: "server_lost", moves: 1 });
  log.ended({ ...ENDED, id: 4, fate: "done" }); // not in the sample
  await log.flush();
  assertEquals(isWritten, false);
  slow.resolve();
  await aimed;
  const idsOf = (lines: readonly { id: string }[]) => lines.map(({ id }) => id.split("-")[1]);
  assertEquals(idsOf(await take()), ["1"]);
  const lines = other.join("").trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(idsOf(lines), ["2", "3"]);
  assertEquals([lines[1].moves.length, lines[1].movesOmitted], [1, 0], "a move is kept");

  await log.aim(undefined, 20_000);
  log.started(STARTED);
  log.moved({ ...MOVED, id: 6 });
  log.ended({ ...ENDED, id: 5, fate: "server_lost" });
  await log.aim({ output: elsewhere, sample: 1 }, 20_000);
  log.moved({ ...MOVED, id: 6, movedAt: undefined }); // it was on its way to be reported
  log.ended({ ...ENDED, id: 7, endedAt: undefined });
  log.ended({ ...ENDED, id: 6, moves: 2, acceptedAt: NOON, connectMs: undefined });
  await log.flush();
  const [, late, ...more] = other.join("").trimEnd().split("\n").map((line) => JSON.parse(line)).slice(1);
  assertEquals([late.id.split("-")[1], late.moves, late.movesOmitted, late.connectMs, more], ["6", [], 2, null, []]);
  assertEquals(counters.get("accessLogDropped"), 0);
});

Deno.test("the log tells of dropped lines at once, then once in a while, with their number", async () => {
  const folder = await Deno.makeTempDir({ prefix: "balancer_access_" });
  try {
    await setUpLogging("info", `${folder}/a.log`);
    const { log, clock, counters } = logInMemory();
    log.drop(3, "the disk is full");
    log.drop(4, "the disk is full");
    clock.nowMs = WARN_PAUSE_MS;
    log.drop(5, "the disk is full");
    log.drop(6, "it hangs");
    await log.flush();
    await endLogging();
    const messages = [...(await Deno.readTextFile(`${folder}/a.log`)).matchAll(/"message":"([^\n]*?)","logger/g)].map(([, text]) =>
      text
    );
    assertEquals(messages.length, 3);
    for (const [i, count] of [3, 9, 6].entries()) {
      assertMatch(messages[i], new RegExp(`^${count} lines of the access log were dropped: `));
    }
    assertMatch(messages[2], /it hangs/);
    assertEquals(counters.get("accessLogDropped"), 18);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
