// The verdict: one sentence that is always true.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { judge, type JudgedFacts, type JudgedSeries, type JudgedServer } from "../../lib/observe/verdict.ts";

const NOW_S = 1_795_528_961;
const clock = (ms: number) => `t${Math.round(ms / 1000) - NOW_S}`;

function at(s: number): string {
  return new Date((NOW_S + s) * 1000).toISOString();
}

function server(name: string, state = "up", rest: Partial<JudgedServer> = {}): JudgedServer {
  return {
    service: "web",
    server: name,
    state,
    since: at(-20),
    reason: state === "up" ? null : "refused",
    open: 0,
    ...rest,
  };
}

/** The last minutes, with what happened at seconds before now. Without `cutOf` nobody knows whose connections were cut. */
function series(
  { cut = {}, cutOf, flows = [], states = {}, seconds = 900, service = "web" }: {
    readonly cut?: Readonly<Record<string, readonly [s: number, count: number][]>>;
    readonly cutOf?: Readonly<Record<string, readonly [s: number, count: number][]>>;
    readonly flows?: readonly [s: number, from: string, to: string, count: number][];
    readonly states?: Readonly<Record<string, readonly [s: number, state: string][]>>;
    readonly seconds?: number;
    readonly service?: string;
  } = {},
): JudgedSeries {
  const step = (s: number) => seconds + s;
  const fates = Object.fromEntries(
    Object.entries(cut).map(([fate, counts]) => {
      const steps = new Array<number>(seconds).fill(0);
      for (const [s, count] of counts) steps[step(s)] += count;
      return [fate, steps];
    }),
  );
  return {
    from: NOW_S - seconds,
    step: 1,
    steps: seconds,
    services: [{ service, fates }],
    flows: flows.map(([s, from, to, count]) => ({ at: step(s), service, from, to, count })),
    pastOf: (_, name) =>
      cutOf === undefined ? null : {
        states: (states[name] ?? []).map(([s, state]) => ({ at: NOW_S + s, state })),
        cut: (cutOf[name] ?? []).map(([s, count]) => ({ at: NOW_S + s, count })),
      },
  };
}

function facts(
  servers: readonly JudgedServer[],
  given: Partial<JudgedFacts["status"]> & { series?: JudgedSeries | null } = {},
): JudgedFacts {
  const { series: last = series(), ...status } = given;
  const names = [...new Set(servers.map(({ service }) => service))];
  const services = names.map((service) => {
    const counts: Record<string, number> = {};
    for (const { state } of servers.filter((one) => one.service === service)) counts[state] = (counts[state] ?? 0) + 1;
    return { service, listeners: [{ listener: "0.0.0.0:80", fault: null }], servers: counts, removing: false };
  });
  return {
    status: { stopping: false, services, connections: { open: 10, max: 1000 }, ...status },
    servers,
    series: last,
  };
}

const ups = [server("a"), server("b"), server("c")];

const WELL = "in the last 15 minutes no connection was reset or turned away";
const UNTOUCHED = "none of its connections moved or was reset; nobody else was touched";

/** What is so, how bad it is, and what is said of it. */
const CASES: readonly [what: string, facts: JudgedFacts, level: string, sentence: string][] = [
  ["all is well", facts(ups), "good", `All 3 servers up; ${WELL}`],
  [
    "a young daemon",
    facts(ups, { series: series({ seconds: 42 }) }),
    "good",
    "All 3 servers up; in the last 42 seconds no connection was reset or turned away",
  ],
  ["nobody knows the past", facts(ups, { series: null }), "good", "All 3 servers up"],
  [
    "one server",
    facts([server("a")]),
    "good",
    `The only server is up; ${WELL}`,
  ],
  [
    "resets a while ago",
    facts(ups, { series: series({ cut: { server_lost: [[-300, 2]] } }) }),
    "good",
    "All 3 servers up; in the last 15 minutes 2 connections were reset",
  ],
  [
    "resets just now",
    facts(ups, { series: series({ cut: { server_lost: [[-30, 1]], connect_failed: [[-5, 3]] } }) }),
    "warning",
    "All 3 servers up; in the last minute 1 connection was reset and 3 clients were turned away",
  ],
  [
    "a server is down, and all of its connections are known",
    facts([server("a", "down"), ...ups.slice(1)], {
      series: series({
        cut: { server_lost: [[-22, 14]] },
        cutOf: { a: [[-22, 14]] },
        flows: [[-22, "a", "b", 300], [-21, "a", "c", 98]],
      }),
    }),
    "bad",
    "2 of 3 servers up; a is down since t-20: refused; of its connections 398 moved, 14 were reset; nobody else was touched",
  ],
  [
    "others lost some at the same time",
    facts([server("a", "down"), ...ups.slice(1)], {
      series: series({
        cut: { server_lost: [[-22, 14]], removed: [[-21, 2]] },
        cutOf: { a: [[-22, 13]], b: [[-22, 1], [-21, 2]] },
        flows: [[-22, "a", "b", 300]],
      }),
    }),
    "bad",
    "2 of 3 servers up; a is down since t-20: refused; of its connections 300 moved, 13 were reset; 3 others were reset",
  ],
  [
    "it rested before it was down, and rebalanced a while before that",
    facts([server("a", "down"), ...ups.slice(1)], {
      series: series({
        cutOf: { a: [[-41, 2], [-5, 1]] },
        cut: { server_lost: [[-41, 2], [-5, 1]] },
        states: { a: [[-900, "up"], [-38, "resting"], [-20, "down"]] },
        flows: [[-70, "a", "b", 6], [-43, "a", "b", 31], [-30, "a", "c", 4]],
      }),
    }),
    "bad",
    "2 of 3 servers up; a is down since t-20: refused; of its connections 35 moved, 3 were reset; nobody else was touched",
  ],
  [
    "the series has not seen it yet",
    facts([server("a", "down", { since: at(0) }), ...ups.slice(1)], {
      series: series({ cutOf: { a: [[-1, 2]] }, cut: { failed: [[-1, 2]] }, states: { a: [[-900, "up"]] } }),
    }),
    "bad",
    "2 of 3 servers up; a is down since t0: refused; of its connections 2 were reset; nobody else was touched",
  ],
  [
    "nobody knows whose they were",
    facts([server("a", "down"), ...ups.slice(1)], {
      series: series({ cut: { server_lost: [[-22, 14]] }, flows: [[-22, "a", "b", 300]] }),
    }),
    "bad",
    "2 of 3 servers up; a is down since t-20: refused; of its connections 300 moved; 14 connections in all were reset",
  ],
  [
    "others moved, too",
    facts([server("a", "down"), ...ups.slice(1)], { series: series({ flows: [[-10, "a", "b", 5], [-9, "b", "c", 1]] }) }),
    "bad",
    "2 of 3 servers up; a is down since t-20: refused; of its connections 5 moved; 1 connection of other servers moved",
  ],
  [
    "what moved before is another story",
    facts([server("a", "down"), ...ups.slice(1)], { series: series({ flows: [[-200, "b", "c", 7]] }) }),
    "bad",
    `2 of 3 servers up; a is down since t-20: refused; ${UNTOUCHED}`,
  ],
  [
    "a drain, with connections that stay",
    facts([server("a", "draining", { open: 3, reason: "drained by hand" }), ...ups.slice(1)], {
      series: series({ flows: [[-20, "a", "b", 9]] }),
    }),
    "warning",
    "2 of 3 servers up; a is draining since t-20: drained by hand; of its connections 9 moved; 3 connections still open there; " +
    "nobody else was touched",
  ],
  [
    "longer ago than anybody remembers",
    facts([server("a", "down", { since: at(-5000) }), ...ups.slice(1)], { series: series({ cut: { server_lost: [[-30, 1]] } }) }),
    "bad",
    "2 of 3 servers up; a is down since t-5000: refused; in the last 15 minutes 1 connection was reset",
  ],
  [
    "several in trouble",
    facts([server("a", "resting"), server("b", "down"), server("c", "down", { since: at(-5) }), server("d")]),
    "bad",
    `1 of 4 servers up; c is down since t-5: refused; ${UNTOUCHED}; 1 more server is down, 1 other server is resting`,
  ],
  [
    "on the way out of the pool",
    facts([...ups, server("d", "removing", { reason: null, open: 1 })]),
    "warning",
    "3 of 3 servers up; d is removing since t-20; none of its connections moved or was reset; 1 connection still open there; " +
    "nobody else was touched",
  ],
  [
    "no server is up",
    facts([server("a", "down")]),
    "bad",
    `No server is up; a is down since t-20: refused; ${UNTOUCHED}`,
  ],
  [
    "an empty pool",
    facts([], {
      services: [{ service: "web", listeners: [], servers: {}, removing: false }],
    }),
    "bad",
    `The pool is empty: clients are turned away; no servers; ${WELL}`,
  ],
  [
    "at the limit",
    facts(ups, { connections: { open: 1000, max: 1000 } }),
    "bad",
    `1,000 of at most 1,000 connections are open: more clients are refused; all 3 servers up; ${WELL}`,
  ],
  [
    "near the limit",
    facts(ups, { connections: { open: 950, max: 1000 } }),
    "warning",
    `950 of at most 1,000 connections are open; all 3 servers up; ${WELL}`,
  ],
  [
    "stopping",
    facts(ups, { stopping: true }),
    "warning",
    `The balancer is stopping with 10 connections open; all 3 servers up; ${WELL}`,
  ],
  [
    "it is a lame duck",
    facts(ups, { lameDuck: true }),
    "warning",
    `The balancer is about to stop, and still takes clients; all 3 servers up; ${WELL}`,
  ],
  [
    "a listener has failed",
    facts(ups, {
      services: [{
        service: "web",
        listeners: [{ listener: "0.0.0.0:80", fault: "address in use" }],
        servers: { up: 3 },
        removing: false,
      }],
    }),
    "bad",
    `The balancer does not listen on 0.0.0.0:80: address in use; all 3 servers up; ${WELL}`,
  ],
  [
    "several services are named",
    facts([server("a", "down"), server("a", "up", { service: "db" })]),
    "bad",
    `No server of service web is up; 1 of 2 servers up; a (web) is down since t-20: refused; ${UNTOUCHED}`,
  ],
  [
    "servers that are not listed still count",
    facts([], {
      services: [{ service: "web", listeners: [], servers: { up: 2, down: 1 }, removing: false }],
    }),
    "warning",
    "2 of 3 servers up",
  ],
];

for (const [what, given, level, sentence] of CASES) {
  Deno.test(`the verdict where ${what}`, () => assertEquals(judge(given, clock), { level: level as "good", sentence }));
}

const anyServers = fc.array(
  fc.record({
    state: fc.constantFrom("up", "up", "up", "down", "resting", "draining", "removing"),
    s: fc.integer({ min: -1200, max: 0 }),
  }),
  { minLength: 1, maxLength: 8 },
).map((all) => all.map(({ state, s }, i) => server(`s${i}`, state, { since: at(s) })));
const anyFlows = fc.array(
  fc.tuple(fc.integer({ min: -900, max: -1 }), fc.nat(7), fc.nat(7), fc.integer({ min: 1, max: 50 })),
  { maxLength: 20 },
);

Deno.test("every figure of the verdict is one that the answers hold", () => {
  fc.assert(fc.property(anyServers, anyFlows, fc.integer({ min: 0, max: 5 }), (servers, moves, cut) => {
    const flows = moves.map(([s, from, to, count]) => [s, `s${from}`, `s${to}`, count] as [number, string, string, number]);
    const last = series({ flows, cut: { server_lost: [[-10, cut]] }, cutOf: { s0: [[-10, cut]] } });
    const { sentence, level } = judge(facts(servers, { series: last }), clock);
    const up = servers.filter(({ state }) => state === "up").length;
    const pool = servers.filter(({ state }) => state !== "removing").length;
    if (up > 0 && up < servers.length) assert(sentence.includes(`${up} of ${pool} server`), sentence);
    if (sentence.includes("nobody else was touched")) {
      const [, worst, since] = /(s[0-9]) is \w+ since t(-?[0-9]+)/.exec(sentence)!;
      const touched = flows.filter(([s, from]) => s >= Number(since) && from !== worst);
      assertEquals(touched, [], sentence);
      assertEquals(cut > 0 && Number(since) <= -10 && worst !== "s0", false, sentence);
    }
    assertEquals(level === "good", up === servers.length && cut === 0, sentence);
    assert(!/[.;]$/.test(sentence) && sentence.length < 500, sentence);
  }));
});
