// What the page shows, as text: rows, verdicts, commands, figures.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { CONNECTION_SORTS, CONNECTION_STATES, connectionsQuery } from "../../lib/page/model/connections_query.ts";
import { Desk, type View } from "../../lib/page/model/desk.ts";
import { balanceOf } from "../../lib/page/model/fate_bars.ts";
import {
  formatBytes,
  formatCount,
  formatMs,
  formatPercent,
  formatRate,
  formatShort,
  formatSpan,
} from "../../lib/page/model/format.ts";
import { describeMoment } from "../../lib/page/model/moment.ts";
import { SORTS } from "../../lib/page/model/pool_rows.ts";
import { secondAt, ticksOf, xOf } from "../../lib/page/model/time_axis.ts";
import { tilesOf } from "../../lib/page/model/tiles.ts";
import { placeMarks } from "../../lib/page/model/timeline.ts";
import {
  commandOf,
  connectionFigures,
  faultOf,
  figuresOf,
  queryOf,
  type Question,
  takersOf,
} from "../../lib/page/model/what_if.ts";
import { byName, classOfFate, Colours, FATE_CLASSES } from "../../lib/page/model/words.ts";
import { PLANNED_STATES } from "../../lib/routing/redistribution.ts";
import { CONNECTION_ORDERS } from "../../lib/values/connection_order.ts";
import { COMMANDS } from "../../lib/control/commands.ts";
import { FATE_NAMES } from "../../lib/values/fates.ts";
import { eventfulStory, Story } from "./story.ts";

const NOW = 1_795_336_200;

/** A desk that was opened late: it reads what was, and then hears each second. */
function deskOf(story: Story, step = 1): Desk {
  const desk = new Desk();
  desk.takeSnapshot({
    at: new Date(1000 * story.now).toISOString(),
    writes: false,
    status: story.status(),
    servers: [{ service: story.service, ...story.servers() }],
  });
  desk.takeSeries(story.series({ step }));
  desk.takeEvents(story.events);
  return desk;
}

function viewOf(desk: Desk): View {
  const view = desk.view();
  assert(view !== undefined);
  return view;
}

Deno.test("a desk shows the servers as the API gives them, the one in trouble first", () => {
  const story = new Story({ start: NOW });
  story.pass(100);
  story.kill("10.0.0.3:80", "connection refused");
  story.pass(3);
  const { rows, verdict } = viewOf(deskOf(story));
  const servers = new Map(story.servers().servers.map((server) => [server.server, server]));
  assertEquals(rows.map(({ server }) => server), ["10.0.0.3:80", ...[1, 2, 4, 5, 6].map((i) => `10.0.0.${i}:80`)]);
  for (const row of rows) {
    const { open, share, movedAway, fates } = servers.get(row.server)!;
    assertEquals([row.open, row.share, row.movedAway, row.reset], [open, share, movedAway, fates.server_lost]);
  }
  assertEquals(rows[0].reason, "connection refused");
  assertStringIncludes(rows[0].standing, "down since ");
  assertEquals(verdict.level, "bad");
  const { movedAway, fates } = servers.get("10.0.0.3:80")!;
  assertStringIncludes(verdict.sentence, `of its connections ${movedAway} moved, ${fates.server_lost} were reset`);
});

Deno.test("a desk that was told second by second shows the same as one that is opened late", () => {
  const told = new Story({ start: NOW });
  told.pass(30);
  const desk = deskOf(told);
  const acts: Record<number, () => void> = {
    40: () => told.kill("10.0.0.2:80"),
    90: () => told.revive("10.0.0.2:80"),
    120: () => told.add("10.0.0.9:80"),
  };
  for (let i = 0; i < 160; i++) {
    acts[i]?.();
    const before = told.events.length;
    told.pass(1);
    for (const event of told.events.slice(before)) desk.takeEvent(event);
    desk.takeSecond({
      at: new Date(1000 * told.now).toISOString(),
      status: told.status(),
      servers: [{ service: "default", servers: told.servers().servers, gone: [] }],
      gone: [],
      series: told.series({ seconds: 1 }),
    });
  }
  const [heard, late] = [viewOf(desk), viewOf(deskOf(told))];
  assertEquals(heard.rows, late.rows);
  assertEquals(heard.verdict, late.verdict);
  assertEquals(heard.history.toData(), late.history.toData());
});

Deno.test("a moment in the past shows the pool, and judges, as it was then", () => {
  const story = eventfulStory(NOW);
  const desk = deskOf(story);
  const down = story.events.find(({ text }) => text.includes("is down"))!;
  desk.choices = { ...desk.choices, moment: Math.floor(Date.parse(down.at) / 1000) + 5 };
  const { rows, verdict, isNow, at, history } = viewOf(desk);
  assert(!isNow);
  assertEquals(rows.length, 6, "the seventh came later");
  assertEquals([rows[0].server, rows[0].state, rows[0].open], ["10.0.0.3:80", "down", 0]);
  assertStringIncludes(verdict.sentence, "5 of 6 servers up; 10.0.0.3:80 is down since ");
  for (const { server, open } of rows) assertEquals(open, history.valueAt(server, "open", at));
  desk.choices = { ...desk.choices, moment: null };
  assertEquals(viewOf(desk).rows.length, 7);
});

Deno.test("a desk forgets services and servers that are gone", () => {
  const story = new Story({ start: NOW, servers: 3 });
  const desk = deskOf(story);
  const at = new Date(1000 * NOW).toISOString();
  desk.takeSecond({ at, servers: [{ service: "default", servers: [], gone: ["10.0.0.2:80"] }], gone: [] });
  assertEquals(viewOf(desk).rows.map(({ server }) => server), ["10.0.0.1:80", "10.0.0.3:80"]);
  desk.takeSecond({ at, status: { ...story.status(), services: [] }, servers: [], gone: ["default"] });
  assertEquals(desk.view(), undefined);
});

Deno.test("events that are read again are not shown twice", () => {
  const story = eventfulStory(NOW);
  const desk = deskOf(story);
  const before = viewOf(desk).events;
  desk.takeEvents(story.events);
  assertEquals(viewOf(desk).events, before);
  assert(before.length >= 6);
});

for (const sort of Object.keys(SORTS) as (keyof typeof SORTS)[]) {
  Deno.test(`sorting by ${sort} orders all rows, whatever order they come in`, () => {
    const desk = deskOf(eventfulStory(NOW));
    desk.choices = { ...desk.choices, sort };
    const { rows } = viewOf(desk);
    for (let i = 1; i < rows.length; i++) {
      const order = SORTS[sort](rows[i - 1], rows[i]) || byName(rows[i - 1].server, rows[i].server);
      assert(order < 0, `${rows[i - 1].server} before ${rows[i].server}`);
    }
  });
}

Deno.test("the sum of what was accepted, is open and has ended is zero in words, and a rest that stays is wrong", () => {
  const status = new Story({ start: NOW }).status();
  assertEquals(balanceOf(status, 0).kind, "zero");
  const wrong = { ...status, connections: { ...status.connections, accepted: status.connections.accepted + 3 } };
  assertEquals([1, 5, 6].map((readings) => balanceOf(wrong, readings).kind), ["moving", "moving", "wrong"]);
  assertStringIncludes(balanceOf(wrong, 1).text, "= 3");
});

Deno.test("every fate has a class", () => {
  for (const fate of FATE_NAMES) {
    assert(Object.hasOwn(FATE_CLASSES, classOfFate(fate)), fate);
  }
  assertEquals(["done", "server_lost", "no_server", "idle_timeout", "denied"].map(classOfFate), [
    "finished",
    "reset",
    "unserved",
    "timed",
    "refused",
  ]);
});

Deno.test("a server keeps its colour when others come", () => {
  const colours = new Colours();
  colours.name(["b:1", "a:1"]);
  colours.name(["c:1", "0:1", "a:1"]);
  assertEquals(["a:1", "b:1", "0:1", "c:1"].map((server) => colours.of(server)), [0, 1, 2, 3]);
});

const TYPED: readonly [question: Question, command: string][] = [
  [{ change: "drain", server: "10.0.0.1:80", weight: "1" }, "balancerctl drain 10.0.0.1 80"],
  [{ change: "remove", server: "[2001:db8::1]:80", weight: "1" }, "balancerctl remove 2001:db8::1 80"],
  [{ change: "weight", server: "10.0.0.1:80", weight: "3" }, "balancerctl set 10.0.0.1 80 --weight 3"],
  [{ change: "add", server: " 10.0.0.9:80 ", weight: "1" }, "balancerctl add 10.0.0.9 80"],
  [{ change: "add", server: "db.example:5432", weight: "2" }, "balancerctl add db.example 5432 --weight 2"],
];

for (const [question, command] of TYPED) {
  Deno.test(`the command to type is ${command}`, () => {
    assertEquals(faultOf(question), undefined);
    const place = { name: "default", service: "web", hasSeveralServices: false };
    assertEquals(commandOf(question, place), command);
    const [, name] = command.split(" ");
    assert(Object.hasOwn(COMMANDS, name), name);
    const elsewhere = commandOf(question, { name: "edge", service: "web", hasSeveralServices: true });
    assertEquals(elsewhere, `${command} --service web --name edge`);
  });
}

const UNTYPED: readonly Question[] = [
  { change: "drain", server: "", weight: "1" },
  { change: "add", server: "10.0.0.9", weight: "1" },
  { change: "add", server: "10.0.0.9:80; reboot", weight: "1" },
  { change: "weight", server: "10.0.0.1:80", weight: "0" },
  { change: "weight", server: "10.0.0.1:80", weight: "x" },
];

for (const question of UNTYPED) {
  Deno.test(`${JSON.stringify(question)} is no question yet`, () => assert(faultOf(question) !== undefined));
}

Deno.test("a drain is planned as a removal, and a weight only with one", () => {
  assertEquals(queryOf({ change: "drain", server: "a:1", weight: "3" }, "web"), {
    service: "web",
    change: "remove",
    server: "a:1",
  });
  assertEquals(queryOf({ change: "weight", server: "a:1", weight: "3" }, "web")?.weight, "3");
});

Deno.test("the plan's figures are the API's", () => {
  const plan = new Story({ start: NOW }).plan({ kind: "remove", server: "10.0.0.2:80" });
  const figures = new Map(figuresOf(plan).map(({ label, value }) => [label, value]));
  assertEquals(figures.get("clients that get another server"), formatPercent(plan.movedShare!));
  assertEquals(figures.get("servers"), "6 → 5");
  assertEquals(takersOf(plan, 3), plan.flows.slice(0, 3).map(({ to, share }) => ({ text: `to ${to}`, share })));
  const weighed = new Story({ start: NOW }).plan({ kind: "weight", server: "10.0.0.2:80", weight: 2 });
  assertEquals(takersOf(weighed, 1)[0].text, `from ${weighed.flows[0].from}`);
  assertEquals(connectionFigures(plan, "drain").at(-1)!.value, "may finish");
  assertEquals(figuresOf({ ...plan, movedShare: null, share: null })[0].value, "not foreseeable with this policy");
});

Deno.test("the filter of connections asks only for what was filled in", () => {
  assertEquals(connectionsQuery({ server: "", client: " ", state: "", sort: "age" }, "web"), {
    service: "web",
    sort: "age",
    limit: "100",
  });
  const all = connectionsQuery({ server: "a:1", client: "10.0.0.0/8", state: "idle", sort: "bytes" }, "web");
  assertEquals(all, { service: "web", server: "a:1", client: "10.0.0.0/8", state: "idle", sort: "bytes", limit: "100" });
});

Deno.test("connections can be filtered and sorted by all that the API knows", () => {
  assertEquals(CONNECTION_STATES, PLANNED_STATES);
  assertEquals(CONNECTION_SORTS.map(({ sort }) => sort).sort(), [...CONNECTION_ORDERS].sort());
});

Deno.test("secondAt() finds the second that xOf() has placed, and stays on the axis", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 10, max: 900 }),
      fc.integer({ min: 200, max: 2000 }),
      fc.nat({ max: 900 }),
      (seconds, width, some) => {
        const axis = { from: NOW, to: NOW + seconds, left: 50, right: 50 + width };
        const second = NOW + some % (seconds + 1);
        assertEquals(secondAt(axis, xOf(axis, second)), second);
        assertEquals([secondAt(axis, -1e4), secondAt(axis, 1e4)], [NOW, NOW + seconds]);
        const ticks = ticksOf(axis);
        for (const tick of ticks) assert(tick >= axis.from && tick <= axis.to);
        assert(ticks.length <= width / 60 + 2);
      },
    ),
  );
});

Deno.test("events that are near to each other are one mark, with the sign of the worst", () => {
  const story = new Story({ start: NOW });
  story.pass(10);
  story.say("daemon", "Read its files again");
  story.kill("10.0.0.1:80");
  story.say("server", "Server 10.0.0.9:80 is up", { server: "10.0.0.9:80" });
  const marks = placeMarks(story.events, { from: NOW, to: NOW + 100, left: 0, right: 200 });
  assertEquals(marks.map(({ row, sign, tone, events }) => [row, sign, tone, events.length]), [
    [2, "■", "calm", 1],
    [2, "■", "calm", 1],
    [1, "✖", "bad", 2],
  ]);
});

Deno.test("a moment in words says what moved, by state, and what was reset", () => {
  const story = new Story({ start: NOW });
  story.pass(60);
  story.kill("10.0.0.4:80");
  story.pass(10);
  const { history, events } = viewOf(deskOf(story));
  const { movedAway, fates } = story.servers().servers.find(({ server }) => server === "10.0.0.4:80")!;
  const words = describeMoment(history, events, NOW + 61);
  assertStringIncludes(words, `${movedAway} moved (`);
  assertStringIncludes(words, `${fates.server_lost} reset`);
  assertStringIncludes(words, "Server 10.0.0.4:80 is down");
  assertStringIncludes(describeMoment(history, events, NOW - 500), "nothing known");
});

Deno.test("the tiles count who was hurt", () => {
  const story = new Story({ start: NOW });
  story.pass(60);
  story.kill("10.0.0.4:80");
  story.pass(10);
  const { history, rows, from, at } = viewOf(deskOf(story));
  const tiles = new Map(tilesOf(history, rows, Math.max(from, NOW), at, 0).map((tile) => [tile.label, tile]));
  assertEquals(tiles.get("hurt in 5 min")!.value, formatCount(story.status().fates.server_lost));
  assertEquals(tiles.get("hurt in 5 min")!.tone, "bad");
  assertEquals(tiles.get("open connections")!.value, formatCount(story.status().connections.open));
});

Deno.test("numbers are short, and what is not known is a dash", () => {
  assertEquals([0, 999, 1234, 1234567].map(formatCount), ["0", "999", "1,234", "1,234,567"]);
  assertEquals([99_999, 123_456, 1_234_567].map(formatShort), ["99,999", "123k", "1.2M"]);
  assertEquals([0, 0.44, 8, 84.4, 12_345].map(formatRate), ["0", "0.4", "8", "84", "12.3k"]);
  assertEquals([0, 999, 1500, 2e9].map(formatBytes), ["0 B", "999 B", "1.5 kB", "2 GB"]);
  assertEquals([0.42, 12.3, 1500].map(formatMs), ["0.4 ms", "12 ms", "1.5 s"]);
  assertEquals([0, 0.0004, 0.167, 1].map(formatPercent), ["0 %", "< 0.1 %", "16.7 %", "100 %"]);
  assertEquals([-3, 59, 60, 7300, 200_000].map(formatSpan), ["0 s", "59 s", "1 min", "2 h", "2 d"]);
  assertEquals([formatCount, formatRate, formatBytes, formatMs, formatPercent].map((format) => format(NaN)), Array(5).fill("–"));
});
