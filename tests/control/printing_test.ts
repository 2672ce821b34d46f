// What people read: tables that line up, sentences with the right number, and nothing of what there is none of.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Answers } from "../../lib/control/api.ts";
import {
  percent,
  plural,
  printExplanation,
  printList,
  printPlan,
  printRebalance,
  printRecent,
  printStatePlan,
  printStatus,
} from "../../lib/control/printing.ts";
import type { StatePlan } from "../../lib/routing/state_plan.ts";
import { countFates } from "../../lib/values/fates.ts";
import { COLOURED } from "../../lib/values/terminal.ts";
import { widthOf } from "../../lib/values/text_layout.ts";

type Server = Answers["server"];
type End = Answers["recent"]["ends"][number];

const RING = { fingerprint: "0a1b2c3d", points: 512, peakToMean: 1.0149 };

function server(settings: Partial<Server> = {}): Server {
  return {
    server: "10.0.0.1:80",
    state: "up",
    since: "2026-11-22T08:30:00.125Z",
    reason: null,
    weight: 1,
    tier: 0,
    connectionsMax: null,
    proxy: null,
    check: null,
    checkPort: null,
    checkHost: null,
    checkCa: null,
    checkStatus: null,
    open: 0,
    movedAway: 0,
    connects: 0,
    connectFailures: 0,
    sentBytes: 0,
    receivedBytes: 0,
    lastFailure: null,
    share: 0.5,
    fates: countFates(() => 0),
    ...settings,
  };
}

function end(settings: Partial<End> = {}): End {
  return {
    id: "00000000000000ff-1",
    at: "2026-11-22T08:30:00.125Z",
    fate: "done",
    client: "192.0.2.7:5000",
    server: "10.0.0.1:80",
    attempts: 1,
    moves: 0,
    sentBytes: 10,
    receivedBytes: 2000,
    durationMs: 1500,
    reason: null,
    ...settings,
  };
}

Deno.test("printList() has a row for each server, and the ring", () => {
  const servers = [
    server({ open: 3, connects: 17, sentBytes: 156, receivedBytes: 2048 }),
    server({ server: "[2001:db8::1]:443", weight: 12, connectionsMax: 9, open: 2, share: 0.504 }),
  ];
  assertEquals(printList({ servers, ring: RING }).split("\n"), [
    "SERVER             STATE  WEIGHT  OPEN  TOTAL   SENT  RECEIVED   SHARE",
    "10.0.0.1:80        up          1     3     17  156 B   2.05 kB  50.0 %",
    "[2001:db8::1]:443  up         12   2/9      0    0 B       0 B  50.4 %",
    "Ring 0a1b2c3d: 2 servers, 512 points, largest share 1.01 times the fair share",
  ]);
});

Deno.test("printList() says below the table why servers are not up, and since when", () => {
  const servers = [
    server({ state: "down", reason: "it answered HTTP 503" }),
    server({ server: "10.0.0.2:80", state: "resting", reason: "connection refused", since: "2026-11-22T09:00:00Z" }),
    server({ server: "10.0.0.3:80" }),
    server({ server: "10.0.0.4:80", state: "removing", reason: "balancerctl remove", share: 0 }),
  ];
  const lines = printList({ servers, ring: RING }).split("\n");
  assertMatch(lines[4], /^10\.0\.0\.4:80 +removing .* -$/);
  assertEquals(lines.slice(5), [
    "Ring 0a1b2c3d: 3 servers, 512 points, largest share 1.01 times the fair share",
    "10.0.0.1:80: down since 2026-11-22T08:30:00Z: it answered HTTP 503",
    "10.0.0.2:80: resting since 2026-11-22T09:00:00Z: connection refused",
    "10.0.0.4:80: removing since 2026-11-22T08:30:00Z: balancerctl remove",
  ]);
});

Deno.test("printList() in colours: states by what they mean, and columns that still line up", () => {
  const servers = (["up", "down", "resting", "draining"] as const).map((state) => server({ state }));
  const lines = printList({ servers, ring: RING }, COLOURED).split("\n");
  for (
    const [i, cell] of ["\x1b[32mup\x1b[0m", "\x1b[31mdown\x1b[0m", "\x1b[33mresting\x1b[0m", "\x1b[33mdraining\x1b[0m"].entries()
  ) {
    assertStringIncludes(lines[i + 1], `  ${cell}  `);
  }
  assertEquals(new Set(lines.slice(0, 5).map(widthOf)).size, 1);
  assert(!printList({ servers, ring: RING }).includes("\x1b"));
});

Deno.test("printList() of a thousand servers that are down gives a few reasons, not a thousand", () => {
  const servers = Array.from({ length: 1000 }, (_, i) => server({ server: `10.0.0.1:${i + 1}`, state: "down", reason: "gone" }));
  const lines = printList({ servers, ring: RING }).split("\n");
  assertEquals(lines.filter((line) => line.endsWith(": gone")).length, 20);
  assertEquals(lines.length, 1 + 1000 + 1 + 20);
});

Deno.test("printList() without servers says what to do", () => {
  const text = printList({ servers: [], ring: { fingerprint: "00000000", points: 0, peakToMean: 0 } });
  assertEquals(text.split("\n"), [
    "No servers: clients are turned away. Add one with balancerctl add <inet_address> <inet_port>",
    "Ring 00000000: empty",
  ]);
});

const PLAN: Answers["plan"] = {
  change: { kind: "remove", server: "10.0.0.2:80" },
  policy: "ring",
  tiers: { before: { low: 0, high: 0 }, after: { low: 0, high: 0 } },
  share: { before: 0.251, after: 0 },
  movedShare: 0.251,
  flows: [
    { from: "10.0.0.2:80", to: "10.0.0.10:80", share: 0.15 },
    { from: "10.0.0.2:80", to: "10.0.0.3:80", share: 0.101 },
  ],
  peakToMean: { before: 1.031, after: 1.024 },
  servers: { before: 3, after: 2 },
  connections: [
    { state: "idle", count: 12, outcome: "moves" },
    { state: "busy", count: 3, outcome: "may finish, and is reset when the drain time is over" },
  ],
};

Deno.test("printPlan() says who gets whose clients, and what becomes of open connections", () => {
  assertEquals(printPlan(PLAN).split("\n"), [
    "Removing 10.0.0.2:80 moves 25.1 % of all clients:",
    "  15.0 %  10.0.0.2:80  to  10.0.0.10:80",
    "  10.1 %  10.0.0.2:80  to  10.0.0.3:80",
    "Largest share: 1.03 times the fair share now, 1.02 afterwards (3 servers now, 2 afterwards)",
    "Affected open connections:",
    "  12  idle  moves",
    "  3   busy  may finish, and is reset when the drain time is over",
  ]);
});

Deno.test("printPlan() of the first server, of the last one, and of another weight", () => {
  const quiet = { ...PLAN, connections: [] };
  const first = printPlan({
    ...quiet,
    change: { kind: "add", server: "a:1", weight: 2 },
    movedShare: 1,
    flows: [{ from: null, to: "a:1", share: 1 }],
  });
  assertStringIncludes(first, "Adding a:1 (weight 2) moves 100.0 % of all clients:\n  100.0 %  (no server)  to  a:1\n");
  const last = printPlan({ ...quiet, movedShare: 1, flows: [{ from: "a:1", to: null, share: 1 }] });
  assertStringIncludes(last, "  100.0 %  a:1  to  (no server)\n");
  const weight = printPlan({ ...quiet, change: { kind: "weight", server: "a:1", weight: 1 }, movedShare: 0, flows: [] });
  assertMatch(weight, /^Changing the weight of a:1 \(weight 1\) moves 0\.0 % of all clients/);
  for (const text of [first, last, weight]) assert(text.endsWith("\nNo open connection is affected"), text);
});

Deno.test("printPlan() of another policy, and of a change of the tiers in use", () => {
  const other: Answers["plan"] = { ...PLAN, policy: "random", movedShare: null, flows: [], share: { before: 0.25, after: 0 } };
  assertStringIncludes(
    printPlan(other),
    "Removing 10.0.0.2:80 moves no client that is known beforehand: the policy random chooses when a client comes: " +
      "25.0 % of the new clients now and 0.0 % afterwards, by weight\n",
  );
  assertStringIncludes(printPlan({ ...other, policy: "first", share: null }), "the policy first chooses when a client comes\n");
  const tiers = { before: { low: 0, high: 0 }, after: { low: 1, high: 2 } };
  assertStringIncludes(printPlan({ ...PLAN, tiers }), "of all clients; new clients use tier 0 now and tiers 1 to 2 afterwards:\n");
});

Deno.test("printExplanation() of another policy, and of a pool with tiers", () => {
  const text = printExplanation({
    client: "192.0.2.7",
    policy: "least-connections",
    tiers: { low: 1, high: 1 },
    hash: "0123456789abcdef",
    probe: null,
    point: null,
    distance: null,
    server: "10.0.0.2:80",
    reason: "by least connections: 3 open connections at weight 1",
    order: [{ server: "10.0.0.2:80", state: "up", open: 3, verdict: "chosen", why: null }],
  });
  assertEquals(text.split("\n"), [
    "Client 192.0.2.7 has the hash 0123456789abcdef; the policy least-connections does not go by it",
    "It would get server 10.0.0.2:80, by least connections: 3 open connections at weight 1; the servers in the order of the " +
    "policy (new clients use tier 1):",
    "  10.0.0.2:80  up  3 open  chosen",
  ]);
});

Deno.test("printList() shows tiers where there are several", () => {
  const lines = printList({ servers: [server(), server({ tier: 2 })], ring: RING }).split("\n");
  assertMatch(lines[0], /^SERVER +STATE +TIER +WEIGHT /);
  assertMatch(lines[2], / 2 +\d+ /);
});

Deno.test("printPlan() of a large pool names the greatest flows and counts the others", () => {
  const flows = Array.from({ length: 100 }, (_, i) => ({ from: `10.0.0.1:${i + 1}`, to: "10.0.0.2:80", share: 0.001 }));
  const lines = printPlan({ ...PLAN, flows }).split("\n");
  assertEquals(lines.filter((line) => line.includes("0.1 %")).length, 12);
  assertEquals(lines[13], "  and 88 more");
});

const SERVICE_PLAN: NonNullable<StatePlan["services"][number]["plan"]> = {
  clients: {
    movedShare: 0.34,
    flows: Array.from({ length: 6 }, (_, i) => ({ from: "10.0.0.1:80", to: `10.0.0.${i + 2}:80`, share: 0.06 - i / 1000 })),
    flowsLeftOut: { count: 3, share: 0.01 },
    peakToMean: { before: 1.03, after: 1.024 },
    greatestShare: { before: 0.343, after: 0.261 },
  },
  servers: { before: 3, after: 4, added: ["10.0.0.4:80"], removed: [], changed: [] },
  connections: [
    { state: "idle", count: 12, outcome: "moves" },
    { state: "busy", count: 3, outcome: "may finish, and is reset when the drain time ends" },
  ],
  boundsHit: [{ server: "10.0.0.2:80", bound: "connection limit", allowed: 100, open: { before: 95, after: 100 } }],
};

const STATE_PLAN: StatePlan = {
  services: [
    { service: "web", change: "changed", lines: ["~ redistribute: new -> idle", "+ server 10.0.0.4:80"], plan: SERVICE_PLAN },
    { service: "log", change: "changed", lines: ["~ idle-timeout: 1h -> 2h"], plan: null },
    { service: "same", change: "unchanged", lines: [], plan: null },
  ],
  daemon: [],
  totals: {
    services: { added: 0, removed: 0, changed: 2, unchanged: 1 },
    servers: { added: 1, removed: 0, changed: 0 },
    connections: SERVICE_PLAN.connections,
  },
};

Deno.test("printStatePlan() says of each service what changes, who moves where, and what becomes of connections", () => {
  assertEquals(printStatePlan(STATE_PLAN).split("\n"), [
    "~ service web",
    "    ~ redistribute: new -> idle",
    "    + server 10.0.0.4:80",
    "  Moves 34.0 % of all clients:",
    "    6.0 %  10.0.0.1:80  to  10.0.0.2:80",
    "    5.9 %  10.0.0.1:80  to  10.0.0.3:80",
    "    5.8 %  10.0.0.1:80  to  10.0.0.4:80",
    "    5.7 %  10.0.0.1:80  to  10.0.0.5:80",
    "    5.6 %  10.0.0.1:80  to  10.0.0.6:80",
    "    and 4 more",
    "  Largest share: 34.3 % (1.03 times fair) now, 26.1 % (1.02 times fair) afterwards; 3 servers now, 4 afterwards",
    "  Affected open connections:",
    "    12  idle  moves",
    "    3   busy  may finish, and is reset when the drain time ends",
    "  10.0.0.2:80 would have 100 connections (now 95); its connection limit is 100",
    "",
    "~ service log",
    "    ~ idle-timeout: 1h -> 2h",
    "  No client and no open connection is affected",
    "",
    "Services: 2 changed, 1 unchanged; servers: 1 added; 15 open connections affected",
  ]);
});

Deno.test("printStatePlan() of services that come and go, and of clients without owners", () => {
  const { clients } = SERVICE_PLAN;
  assert(clients.movedShare !== null);
  const none = { before: 0, after: 0 };
  const added = {
    ...SERVICE_PLAN,
    clients: { ...clients, greatestShare: { before: 0, after: 0.5 }, peakToMean: { before: 0, after: 1 } },
  };
  const removed = { ...SERVICE_PLAN, clients: { ...clients, greatestShare: none, peakToMean: none }, boundsHit: [] };
  const unforeseen = {
    ...SERVICE_PLAN,
    clients: { movedShare: null, why: "the policy is random" },
    connections: [],
    boundsHit: [],
  };
  const text = printStatePlan({
    ...STATE_PLAN,
    services: [
      {
        service: "a",
        change: "added",
        lines: [],
        plan: { ...added, servers: { ...added.servers, before: 0, after: 2 }, boundsHit: [] },
      },
      { service: "b", change: "removed", lines: [], plan: removed },
      { service: "c", change: "changed", lines: [], plan: unforeseen },
    ],
  });
  assertEquals(text.split("\n").slice(0, -1), [
    "+ service a",
    "  Largest share: none now, 50.0 % (1.00 times fair) afterwards; 0 servers now, 2 afterwards",
    "",
    "- service b",
    "  Largest share: none now, none afterwards; 3 servers now, 4 afterwards",
    "  Affected open connections:",
    "    12  idle  moves",
    "    3   busy  may finish, and is reset when the drain time ends",
    "",
    "~ service c",
    "  Which clients move cannot be foreseen: the policy is random",
    "  No open connection is affected",
    "",
  ]);
});

Deno.test("printStatePlan() in colours, of nothing, and of more bounds than anyone reads", () => {
  const text = printStatePlan(STATE_PLAN, COLOURED);
  assertStringIncludes(text, "\x1b[33m~ service web\x1b[0m");
  assertStringIncludes(text, "\x1b[33m10.0.0.2:80 would have 100 connections");
  const [, , same] = STATE_PLAN.services;
  const totals = { services: { added: 0, removed: 0, changed: 0, unchanged: 1 }, servers: { added: 0, removed: 0, changed: 0 } };
  const nothing = printStatePlan({ services: [same], daemon: [], totals: { ...totals, connections: [] } });
  assertEquals(nothing, "Nothing changes\nServices: 1 unchanged; servers: none differs");
  const boundsHit = Array.from({ length: 30 }, () => SERVICE_PLAN.boundsHit[0]);
  const [web] = STATE_PLAN.services;
  const lines = printStatePlan({ ...STATE_PLAN, services: [{ ...web, plan: { ...SERVICE_PLAN, boundsHit } }] }).split("\n");
  assertEquals(lines.filter((line) => line.includes("would have")).length, 10);
  assert(lines.includes("  and 20 more bounds hit"));
});

Deno.test("printExplanation() says where the client is, and why which server", () => {
  const text = printExplanation({
    client: "192.0.2.7",
    policy: "ring",
    tiers: null,
    reason: null,
    hash: "0123456789abcdef",
    probe: 11,
    point: "89abcdef",
    distance: 0.000123,
    server: "10.0.0.2:80",
    order: [
      { server: "10.0.0.10:80", state: "draining", open: 12, verdict: "passed over", why: "it is draining" },
      { server: "10.0.0.2:80", state: "up", open: 3, verdict: "chosen", why: null },
      { server: "10.0.0.3:80", state: "up", open: 0, verdict: "next", why: null },
    ],
  });
  assertEquals(text.split("\n"), [
    "Client 192.0.2.7 has the hash 0123456789abcdef; its probe 11 is the nearest to a point of the ring (89abcdef), " +
    "0.012 % of the circle away",
    "It gets server 10.0.0.2:80; the servers in the order of the ring:",
    "  10.0.0.10:80  draining  12 open  passed over: it is draining",
    "  10.0.0.2:80   up        3 open   chosen",
    "  10.0.0.3:80   up        0 open   next",
  ]);
});

Deno.test("printExplanation() without a server in the pool", () => {
  const nowhere = {
    policy: "ring" as const,
    tiers: null,
    reason: null,
    probe: null,
    point: null,
    distance: null,
    server: null,
    order: [],
  };
  const text = printExplanation({ client: "192.0.2.7", hash: "0123456789abcdef", ...nowhere });
  assertEquals(text, "Client 192.0.2.7 has the hash 0123456789abcdef; the ring is empty\nNo server can take it now");
});

Deno.test("printRecent() has a line for each end: when, who, where, how, and why", () => {
  const ends = [
    end({ fate: "server_lost", moves: 2, reason: "connection reset by peer", durationMs: 0.2 }),
    end({ client: "[2001:db8::7]:5000", moves: 1 }),
    end({ fate: "no_server", server: null, receivedBytes: 0 }),
  ];
  assertEquals(printRecent({ ends, leftOut: 0 }).split("\n"), [
    "AT                    CLIENT              SERVER       FATE         LASTED  SENT  RECEIVED  WHY",
    "2026-11-22T08:30:00Z  192.0.2.7:5000      10.0.0.1:80  server_lost  1ms     10 B  2 kB      moved 2 times; " +
    "connection reset by peer",
    "2026-11-22T08:30:00Z  [2001:db8::7]:5000  10.0.0.1:80  done         1500ms  10 B  2 kB      moved 1 time",
    "2026-11-22T08:30:00Z  192.0.2.7:5000      -            no_server    1500ms  10 B  0 B",
  ]);
});

Deno.test("printRecent() says how many were not kept, and if there was none", () => {
  assertMatch(printRecent({ ends: [end()], leftOut: 7 }), /\n7 more were not recorded: too many ended in one second$/);
  assertEquals(printRecent({ ends: [], leftOut: 0 }), "No such connection has ended recently");
});

for (
  const [away, busy, moved, text] of [
    [0, 0, 0, "No idle connection is away from its owner"],
    [1, 0, 1, "Moved 1 of 1 connection to its owner"],
    [5, 1, 4, "Moved 4 of 5 connections to their owners; 1 more was busy and stayed: run it again later"],
    [0, 2, 0, "No idle connection is away from its owner; 2 more were busy and stayed: run it again later"],
  ] as const
) {
  Deno.test(`printRebalance() of ${away} away, ${busy} busy and ${moved} moved`, () => {
    assertEquals(printRebalance({ running: false, away, busy, moved, rate: 100 }), text);
  });
}

const STATUS: Answers["status"] = {
  declared: null,
  name: "default",
  version: "1.2.3",
  pid: 7,
  engine: "epoll",
  address: "127.0.0.1:8080",
  startedAt: "2026-11-22T08:30:00.000Z",
  stopping: false,
  lameDuck: false,
  generation: 3,
  services: [{
    service: "default",
    listeners: [{ listener: "127.0.0.1:8080", fault: null }],
    settings: { check: "http:/health" },
    servers: { up: 2, resting: 0, down: 1, draining: 1, removing: 0 },
    open: 3,
    accepted: 100,
    fingerprint: "0a1b2c3d",
    removing: false,
    warnings: [],
  }],
  servers: { up: 2, resting: 0, down: 1, draining: 1, removing: 0 },
  checkIntervalMs: 2000,
  connections: { accepted: 100, open: 3, max: 1000 },
  fates: { ...countFates(() => 0), done: 96, server_lost: 1 },
  settings: { key: "ip", check: "http:/health", "max-connections": "auto", connections: "auto" },
  stateFile: "/state.json",
  lockFile: "/lock",
  logFile: null,
  http: null,
  accessLog: null,
  warnings: [],
  carriedOver: null,
};

Deno.test("printStatus() says what runs, servers by state, fates that there are", () => {
  const text = printStatus(STATUS);
  assertMatch(text, /^ *Balancer +default, version 1\.2\.3, pid 7$/m);
  assertMatch(text, /^ *Servers +2 up, 1 down, 1 draining$/m);
  assertMatch(text, /^ *Connections +3 open of at most 1000, 100 accepted$/m);
  assertMatch(text, /^ *Ended +done 96, server_lost 1$/m);
  assertMatch(text, /^ *Settings +--check http:\/health; the others have their defaults$/m);
  assertMatch(text, /^ *Log +standard error$/m);
  assertMatch(text, /^ *Access log +off$/m);
  assert(!/Warning|HTTP/.test(text));
});

Deno.test("printStatus() of a balancer that stops, has no server up, and something to warn of", () => {
  const text = printStatus({
    ...STATUS,
    stopping: true,
    servers: { up: 0, resting: 1, down: 0, draining: 0, removing: 0 },
    fates: countFates(() => 0),
    warnings: ["Beware", "Of the dog"],
    logFile: "/log",
    http: "[::1]:9190",
    accessLog: "/access",
  });
  assertMatch(text, /^ *Balancer +default \(stopping\), version/m);
  assertMatch(text, /^ *Servers +0 up, 1 resting$/m);
  assertMatch(text, /^ *Ended +none$/m);
  assertMatch(text, /^ *Log +\/log$/m);
  assertMatch(text, /^ *HTTP +http:\/\/\[::1\]:9190\/metrics, \/live and \/ready$/m);
  assertMatch(text, /^ *Access log +\/access$/m);
  assertMatch(printStatus({ ...STATUS, accessLog: "-" }), /^ *Access log +standard output$/m);
  assertMatch(text, /^ *Warning +Beware\n *Warning +Of the dog$/m);
});

Deno.test("plural() and percent()", () => {
  assertEquals([0, 1, 2].map((count) => plural(count, "server")), ["0 servers", "1 server", "2 servers"]);
  assertEquals([0, 0.0004, 0.125, 1].map(percent), ["0.0 %", "0.0 %", "12.5 %", "100.0 %"]);
});
