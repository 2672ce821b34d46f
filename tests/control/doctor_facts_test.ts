// Every verdict of the doctor, from made-up readings.

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  type Finding,
  judgeChecks,
  judgeClock,
  judgeConntrack,
  judgeDaemon,
  judgeDescriptors,
  judgeEngine,
  judgeLoops,
  judgeMemory,
  judgeNames,
  judgePorts,
  judgeQueue,
  judgeState,
  judgeVersions,
  type Verdict,
} from "../../lib/control/doctor_facts.ts";

/** What is judged, the findings, the verdict of each with what it says, and what is to be typed. */
type Case = readonly [what: string, findings: Finding[], ...expected: readonly [Verdict, says: RegExp, type?: RegExp][]];

const SERVICE = {
  service: "web",
  listeners: [{ listener: "0.0.0.0:80", fault: null }],
  settings: {},
  servers: { up: 1, resting: 0, down: 0, draining: 0, removing: 0 },
  open: 0,
  accepted: 0,
  hold: { waiting: 0, timeMs: 0, pause: null },
  fingerprint: "1",
  removing: false,
  warnings: [],
};
const STATUS = { pid: 7, startedAt: "2026-11-29T00:00:00.000Z", stopping: false, services: [SERVICE], warnings: [] };
const CLOSED = { ...SERVICE, listeners: [{ listener: "0.0.0.0:80", fault: "Address 0.0.0.0:80 is in use" }] };
const NO_EPOLL = 'Engine "epoll" cannot run here: it needs Linux, and this is darwin';
const HOUR = 3_600_000;
const GIB = 1024 ** 3;
const ROOM = { limitBytes: GIB, isGroup: true, usedBytes: GIB / 10, engine: "epoll", connections: { open: 0, max: 1000 } };
const PORTS = { service: "web", server: "10.0.0.1:80", open: 0, sources: 1 };
const CHECK = { service: "web", server: "[::1]:80", verdict: "passed", reason: null } as const;

const CASES: readonly Case[] = [
  ["a balancer that runs", judgeDaemon({ name: "edge", status: STATUS }), ["good", /"edge" has run since .* with 1 service$/]],
  [
    "a balancer that has stopped",
    judgeDaemon({ name: "edge", absence: { isStopped: true, sentence: "No" } }),
    ["warning", /No balancer "edge" is running/, /^balancerctl start/],
  ],
  [
    "a balancer that does not answer",
    judgeDaemon({ name: "edge", absence: { isStopped: false, sentence: "It does not answer" } }),
    ["bad", /^It does not answer$/],
  ],
  ["a balancer that stops", judgeDaemon({ name: "edge", status: { ...STATUS, stopping: true } }), ["warning", /is stopping/]],
  [
    "a listener that is closed, and a warning of the start; that of the engine has a line of its own",
    judgeDaemon({ name: "edge", status: { ...STATUS, services: [CLOSED], warnings: ["Mind this", NO_EPOLL] } }),
    ["good", /has run/],
    ["bad", /0\.0\.0\.0:80 is in use/],
    ["warning", /^Mind this$/],
  ],

  ["one version", judgeVersions({ balancerctl: "1.0", balancer: "1.0", daemon: "1.0" }), ["good", /and the daemon 1\.0$/]],
  ["programs without a daemon", judgeVersions({ balancerctl: "1.0", balancer: "1.0" }), [
    "good",
    /^balancer and balancerctl 1\.0$/,
  ]],
  ["no daemon program", judgeVersions({ balancerctl: "1.0" }), ["bad", /not beside balancerctl/, /install/]],
  ["two programs", judgeVersions({ balancerctl: "1.0", balancer: "1.1", daemon: "1.1" }), [
    "bad",
    /balancerctl is 1\.0/,
    /install/,
  ]],
  [
    "an older daemon",
    judgeVersions({ balancerctl: "1.1", balancer: "1.1", daemon: "1.0" }),
    ["warning", /The daemon is 1\.0 and 1\.1 is installed/, /stop && balancerctl start/],
  ],

  ["epoll", judgeEngine({ os: "linux", engine: "epoll", wanted: "auto", warnings: [] }), ["good", /^epoll relays/]],
  [
    "streams by choice",
    judgeEngine({ os: "linux", engine: "streams", wanted: "streams", warnings: [] }),
    ["warning", /because --engine streams was given/, /--engine auto/],
  ],
  [
    "streams by necessity",
    judgeEngine({ os: "darwin", engine: "streams", wanted: "auto", warnings: ["x", NO_EPOLL] }),
    ["warning", /^streams relays the connections: Engine "epoll" cannot run here: it needs Linux/],
  ],
  ["what could run", judgeEngine({ os: "linux", libc: "/lib/libc.so.6", warnings: [] }), ["good", /epoll can run: \/lib/]],
  ["what could not run elsewhere", judgeEngine({ os: "darwin", warnings: [] }), ["warning", /this is darwin/]],
  ["what could not run without libc", judgeEngine({ os: "linux", warnings: [] }), ["warning", /no libc/]],

  ["enough descriptors", judgeDescriptors({ limit: 20_000 }), ["good", /^20,000 open files allow about 9,950 connections$/]],
  ["few descriptors", judgeDescriptors({ limit: 1024 }), ["warning", /1,024 open files/, /ulimit -n/]],
  [
    "many open connections",
    judgeDescriptors({ limit: 20_000, connections: { open: 8000, max: 9000 } }),
    ["warning", /^8,000 of 9,000 connections are open$/, /ulimit -n/],
  ],
  [
    "as many as there can be, by a setting",
    judgeDescriptors({ limit: 20_000, connections: { open: 50, max: 50 }, wanted: 50 }),
    ["bad", /clients are refused/, /daemon set --max-connections auto/],
  ],
  [
    "more wanted than the limit allows",
    judgeDescriptors({ limit: 20_000, connections: { open: 0, max: 9000 }, wanted: 50_000 }),
    ["warning", /--max-connections is 50,000/, /ulimit -n/],
  ],
  [
    "a low limit that is wanted",
    judgeDescriptors({ limit: 20_000, connections: { open: 0, max: 50 }, wanted: 50 }),
    ["good", /50 connections/],
  ],

  ["room to wait", judgeQueue(4096), ["good", /4,096 clients/]],
  ["little room to wait", judgeQueue(128), ["warning", /listeners ask for 4,096/, /sysctl -w net\.core\.somaxconn=4096/]],
  ["a system that does not say", judgeQueue(undefined)],

  ["free ports", judgePorts({ perSource: 28_232, servers: [PORTS] }), ["good", /28,232 local ports/]],
  [
    "few free ports",
    judgePorts({ perSource: 1000, servers: [{ ...PORTS, open: 1700, sources: 2 }] }),
    ["warning", /85\.0 % of its 2,000/, /ip_local_port_range/],
  ],
  ["no free ports", judgePorts({ perSource: 1000, servers: [{ ...PORTS, open: 1000 }] }), ["bad", /100\.0 %/, /--source/]],
  [
    "more connections wanted than there are ports",
    judgePorts({ perSource: 1000, servers: [PORTS], wanted: 5000 }),
    ["warning", /1,000 local ports towards 1 server are fewer than the 5,000/, /sysctl/],
  ],
  ["no ports known", judgePorts({ servers: [PORTS] })],

  ["no table", judgeConntrack({}), ["good", /No table/]],
  ["an empty table", judgeConntrack({ table: { used: 1, max: 1000 }, wanted: 500 }), ["good", /1 of 1,000 entries/]],
  ["a table that fills", judgeConntrack({ table: { used: 800, max: 1000 } }), ["warning", /800/, /nf_conntrack_max=2000$/]],
  ["a full table", judgeConntrack({ table: { used: 950, max: 1000 } }), ["bad", /dropped/, /sysctl/]],
  [
    "a table that is too small",
    judgeConntrack({ table: { used: 1, max: 1000 }, wanted: 3000 }),
    ["warning", /3,000 connections take two each/, /nf_conntrack_max=6000$/],
  ],

  ["memory for all", judgeMemory(ROOM), ["good", /1,000 idle connections fit \(9 KiB each\)/]],
  [
    "memory for some",
    judgeMemory({ ...ROOM, connections: { open: 0, max: 1_000_000 } }),
    ["warning", /of the 1,000,000 connections that are allowed, about 81,555 fit/, /--max-connections 81555$/],
  ],
  [
    "streams, which takes more",
    judgeMemory({ ...ROOM, engine: "streams", isGroup: false, connections: { open: 0, max: 50_000 } }),
    ["warning", /of the machine .* \(48 KiB each, idle\)/, /--max-connections/],
  ],
  ["memory that is used up", judgeMemory({ ...ROOM, usedBytes: GIB }), ["bad", /the kernel may end the daemon/]],
  ["no memory known", judgeMemory(undefined)],

  ["no loop", judgeLoops({ loops: [], servers: 2 }), ["good", /No server/]],
  ["no servers", judgeLoops({ loops: [], servers: 0 })],
  [
    "a loop",
    judgeLoops({ loops: [{ service: "web", server: "[::1]:80", listener: "[::]:80", of: "api" }], servers: 1 }),
    ["bad", /where api listens \(\[::\]:80\)/, /^balancerctl remove ::1 80 --service web$/],
  ],

  ["a name", judgeNames([{ service: "web", server: "a:80", ips: ["10.0.0.1"] }]), ["good", /1 server given by name/]],
  ["a name of several", judgeNames([{ service: "web", server: "a:80", ips: ["10.0.0.1", "::1"] }]), ["warning", /has 2 addresses/]],
  ["a name of none", judgeNames([{ service: "web", server: "a:80", ips: [] }]), ["bad", /has no address/]],
  ["no names", judgeNames([])],

  ["checks that pass", judgeChecks({ checks: [CHECK, CHECK], leftOut: 0 }), ["good", /^2 of 2 servers pass their check$/]],
  ["more servers than are checked", judgeChecks({ checks: [CHECK], leftOut: 3 }), ["good", /3 servers more were not asked/]],
  [
    "checks that do not pass",
    judgeChecks({
      checks: [{ ...CHECK, verdict: "failed", reason: "refused" }, { ...CHECK, verdict: "asks to be drained" }, CHECK],
      leftOut: 0,
    }),
    ["bad", /fails its check: refused/, /^balancerctl check ::1 80 --service web$/],
    ["warning", /asks to be drained/, /balancerctl check/],
  ],
  ["no servers to check", judgeChecks({ checks: [], leftOut: 0 })],

  ["a good clock", judgeClock({ nowMs: 2 * HOUR, daemon: { ageMs: HOUR, startedMs: HOUR }, newestFileMs: HOUR }), ["good", /says/]],
  ["a clock alone", judgeClock({ nowMs: 0 }), ["good", /1970-01-01/]],
  [
    "a clock that was set forward",
    judgeClock({ nowMs: 3 * HOUR, daemon: { ageMs: HOUR, startedMs: HOUR } }),
    ["warning", /set 1h forward while the daemon ran/, /timedatectl/],
  ],
  [
    "a clock that was set back, behind its own files",
    judgeClock({ nowMs: HOUR, daemon: { ageMs: HOUR, startedMs: HOUR }, newestFileMs: 2 * HOUR }),
    ["warning", /is 1h behind/, /timedatectl/],
    ["warning", /set 1h back/, /timedatectl/],
  ],

  ["a state on a disk", judgeState({ folder: "/var/lib/balancer", fileSystem: "ext4" }), ["good", /\/var\/lib\/balancer \(ext4\)/]],
  ["a state somewhere", judgeState({ folder: "/var/lib/balancer" }), ["good", /\/var\/lib\/balancer$/]],
  ["a state in memory", judgeState({ folder: "/x", fileSystem: "tmpfs" }), ["warning", /in memory/, /XDG_STATE_HOME/]],
  ["a state in a container", judgeState({ folder: "/x", fileSystem: "overlay" }), ["warning", /container/, /XDG_STATE_HOME/]],
  ["a state that cannot be written", judgeState({ folder: "/x", fault: "read-only" }), ["bad", /Cannot write .*"\/x": read-only/]],
  ["no state", judgeState({}), ["good", /--no-state/]],
];

for (const [what, findings, ...expected] of CASES) {
  Deno.test(`the doctor judges ${what}`, () => {
    assertEquals(findings.map(({ verdict }) => verdict), expected.map(([verdict]) => verdict), JSON.stringify(findings));
    for (const [i, [, says, type]] of expected.entries()) {
      assertMatch(findings[i].says, says);
      if (type === undefined) assertEquals(findings[i].type, undefined);
      else assertMatch(findings[i].type ?? "", type);
    }
  });
}

Deno.test("of many findings the first are told, and how many more there are, as bad as the worst of them", () => {
  const checks = Array.from(
    { length: 12 },
    (_, i) => ({ ...CHECK, server: `a:${i + 1}`, verdict: "failed" as const, reason: "refused" }),
  );
  const findings = judgeChecks({ checks, leftOut: 0 });
  assertEquals(findings.length, 11);
  assertEquals(findings.at(-1), { verdict: "bad", says: "2 more servers do not pass" });
  assert(findings.every(({ says }) => !says.includes("\n")));
});
