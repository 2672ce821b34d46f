// The parts of `deno task lost` that need no balancer: what it reads in /proc, whom it asks to do what, and what its tables say.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CHECKS, haproxyConfiguration, nginxConfiguration } from "../tools/lost/configurations.ts";
import { ALL_OURS, contendersOf, FAMILY_NAMES } from "../tools/lost/contenders.ts";
import { LOSS_NAMES } from "../tools/lost/losses.ts";
import { Newcomers } from "../tools/lost/newcomers.ts";
import { MODES } from "../tools/lost/options.ts";
import { lossTable, notesOf, type Row } from "../tools/lost/report.ts";
import type { Outcomes, Round } from "../tools/lost/rounds.ts";
import { heldBy, parseSockets } from "../tools/lost/sockets.ts";

const NET_TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 411 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0301007F:D431 01 00000000:00000000 02:00000312 00000000  1000        0 412 2 0000000000000000 20 4 30 10 -1
   2: 0301007F:D431 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 413 1 0000000000000000 20 4 30 10 -1
   3: 0100007F:1F90 0401007F:D432 06 00000000:00000000 03:00000ABC 00000000     0        0 0 3 0000000000000000
`;

Deno.test("parseSockets() finds the listener of a port and its clients' connections, not the clients' own sockets", () => {
  assertEquals(parseSockets(NET_TCP, 8080), { listening: new Set(["411"]), established: new Set(["412"]) });
  assertEquals(parseSockets(NET_TCP, 8081), { listening: new Set<string>(), established: new Set<string>() });
});

Deno.test({
  name: "heldBy() counts the connections of a process that has them, and none of one that is gone",
  ignore: Deno.build.os !== "linux",
  async fn() {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    assertEquals(await heldBy([Deno.pid], port), { listens: true, connections: 0 });
    using _client = await Deno.connect({ port });
    using _accepted = await listener.accept();
    assertEquals(await heldBy([Deno.pid], port), { listens: true, connections: 1 });
    assertEquals(await heldBy([2 ** 30], port), { listens: false, connections: 0 });
  },
});

Deno.test({
  name: "newcomers that nobody accepts are turned away, and come only between begin() and end()",
  ignore: Deno.build.os !== "linux", // elsewhere loopback has no 127.0.1.1
  async fn() {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const balancer = { host: "127.0.0.1", port: listener.addr.port };
    listener.close();
    const { signal } = new AbortController();
    using newcomers = new Newcomers({ count: 2, firstId: 0, balancer, manner: MODES.calm.manner, seed: 1, signal });
    assertEquals(await newcomers.end(), { served: 0, turnedAway: 0 });
    newcomers.begin(2);
    const { served, turnedAway } = await newcomers.end();
    assertEquals([served, turnedAway], [0, 2], "each finishes the visit that it has begun");
    newcomers.begin(0);
    assertEquals(await newcomers.end(), { served: 0, turnedAway: 0 });
  },
});

Deno.test("contenders are measured in what they can do, and in what no other does in the same way", () => {
  const losses = contendersOf(FAMILY_NAMES, { ...ALL_OURS, levels: ["idle"] }, new Set(["redistribute"])).map(
    ({ title, losses }) => [title, losses.join(" ")],
  );
  assertEquals(Object.fromEntries(losses), {
    "balancer, epoll": LOSS_NAMES.join(" "),
    "balancer, streams": "kill stop pause remove",
    "HAProxy": "kill stop pause reload",
    "HAProxy, shutdown-sessions": "kill stop pause",
    "HAProxy, hard-stop-after 1s": "reload",
    "nginx": "kill stop pause reload",
    "nginx, worker_shutdown_timeout 1s": "reload",
  });
});

Deno.test("a rival's configuration has what its operator adds, where it belongs", () => {
  const wiring = { port: 8080, servers: [{ host: "127.0.0.1", port: 9001 }], checks: CHECKS };
  assertStringIncludes(haproxyConfiguration(wiring, { program: "hard-stop-after 1s" }), "maxconn 8000\n  hard-stop-after 1s\n");
  const shuts = haproxyConfiguration(wiring, { server: "on-marked-down shutdown-sessions" });
  assertStringIncludes(shuts, "fall 2 rise 1 on-marked-down shutdown-sessions\n  server s0 127.0.0.1:9001\n");
  const bounded = nginxConfiguration(wiring, "", { program: "worker_shutdown_timeout 1s;" });
  assertStringIncludes(bounded, "worker_processes 2;\nworker_shutdown_timeout 1s;\n");
  assert(!nginxConfiguration(wiring, "", {}).includes("timeout 1s;\n\nevents"));
});

const NOBODY: Outcomes = { kept: 0, moved: 0, reset: 0, ended: 0, wrong: 0, missing: 0 };

function roundOf(lost: Partial<Round["lost"]>, rest: Partial<Round> = {}): Round {
  return {
    lost: { unsent: NOBODY, waiting: NOBODY, partial: NOBODY, answered: NOBODY, idle: NOBODY, ...lost },
    others: NOBODY,
    strays: 0,
    repeated: 0,
    reconnected: 0,
    newcomers: { served: 0, turnedAway: 0 },
    withOld: 0,
    slowestMs: 0,
    faults: [],
    ...rest,
  };
}

/** The cells of the only line of a table, by their headings. */
function cellsOf(row: Row): Record<string, string> {
  const [headings, , cells] = lossTable([row]).split("\n").map((line) => line.split("|").map((cell) => cell.trim()));
  return Object.fromEntries(headings.map((heading, i) => [heading, cells[i]]));
}

Deno.test("the row of a reload says what the old process has, and who was turned away; that of a lost server does not", () => {
  const contender = { title: "X", level: "–" } as const;
  const round = roundOf({ idle: { ...NOBODY, kept: 7 } }, { withOld: 7, newcomers: { served: 38, turnedAway: 2 } });
  const reload = cellsOf({ contender, loss: "reload", rounds: [round, round] });
  assertEquals(reload["Clients concerned"], "14");
  assertEquals(reload["With the old process"], "14");
  assertEquals(reload["Newcomers turned away"], "4 of 80");
  const kill = cellsOf({ contender, loss: "kill", rounds: [roundOf({ idle: { ...NOBODY, reset: 3 } })] });
  assertEquals([kill["With the old process"], kill["Newcomers turned away"]], ["–", "–"]);
});

Deno.test("connections that a reload ends are its outcome, and no fault of the measurement", () => {
  const contender = { title: "X", level: "–" } as const;
  const cut = roundOf({ idle: { ...NOBODY, ended: 5 } }, { newcomers: { served: 0, turnedAway: 5 } });
  assertEquals(notesOf([{ contender, loss: "reload", rounds: [cut] }]), []);
});
