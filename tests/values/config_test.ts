// Every setting has a default that holds, and a bad value is named in a sentence.

import { assert, assertEquals, assertGreaterOrEqual, assertMatch, assertThrows } from "@std/assert";
import {
  checkServiceTexts,
  type Config,
  LIMITS,
  parseConfig,
  parseServerConnections,
  parseWeight,
  SETTINGS,
} from "../../lib/values/config.ts";
import type { OptionSpec } from "../../lib/values/command_line.ts";
import { OperatorError } from "../../lib/values/errors.ts";

function assertUsageError(act: () => unknown, text: string): void {
  assertEquals(assertThrows(act, OperatorError, JSON.stringify(text)).kind, "usage");
}

Deno.test("parseConfig() without flags gives the defaults", () => {
  assertEquals(parseConfig(), {
    key: { ipv4Bits: 32, ipv6Bits: 128, withPort: false },
    loadBound: 1.25,
    policy: "ring",
    tierMin: 1,
    failBack: "now",
    maxAgeMs: 0,
    ageJitter: 0.2,
    serverNames: [],
    protocols: [],
    helloTimeoutMs: 3000,
    connectTimeoutMs: 3000,
    connectAttemptsMax: 10,
    connectDeadlineMs: 15_000,
    idleTimeoutMs: 600_000,
    sources: null,
    redistribute: "new",
    replayBytesMax: 65_536,
    replaysMax: 3,
    quietMs: 250,
    check: { kind: "tcp" },
    checkPort: null,
    checkHost: null,
    checkCa: { kind: "system" },
    checkStatus: [{ from: 200, to: 399 }],
    checkIntervalMs: 2000,
    checkTimeoutMs: 1000,
    rise: 2,
    fall: 3,
    restMs: 1000,
    restShare: 0.5,
    slowStartMs: 0,
    proxy: "off",
    acceptProxy: null,
    proxyTimeoutMs: 3000,
    transparent: false,
    connectionsMax: "auto",
    clientConnections: null,
    clientRate: null,
    allow: null,
    deny: null,
    limitsDryRun: false,
    firstByteTimeoutMs: 0,
    keepAliveMs: 30_000,
    userTimeoutMs: 30_000,
    serverTimeoutMs: 5000,
    engine: "auto",
    workers: Math.min(4, navigator.hardwareConcurrency),
    busyPollMicros: 0,
    batchMicros: 0,
    deferAcceptMs: 0,
    http: null,
    logLevel: "info",
    accessLog: null,
    accessLogStart: false,
    accessLogSample: 1,
    trackFile: null,
    lameDuckMs: 0,
    graceMs: 10_000,
  });
});

for (const [name, setting] of Object.entries(SETTINGS)) {
  Deno.test(`SETTINGS.${name} has a kebab-case flag, a summary, a group, and a default that parses`, () => {
    assertMatch(setting.flag, /^[a-z]+(-[a-z]+)*$/);
    assertMatch(setting.summary, /^[a-z].*[^.]$/);
    assertMatch(setting.group, /^[A-Z][a-z ]+$/);
    setting.parse(setting.default);
  });
}

Deno.test("SETTINGS have flags and aliases all different", () => {
  const rows: readonly OptionSpec[] = Object.values(SETTINGS);
  const flags = rows.flatMap(({ flag, aliases = [] }) => [flag, ...aliases]);
  assertEquals(new Set(flags).size, flags.length);
});

Deno.test("SETTINGS of one group stand together", () => {
  const groups = Object.values(SETTINGS).map(({ group }) => group);
  const starts = groups.filter((group, i) => group !== groups[i - 1]);
  assertEquals(new Set(starts).size, starts.length);
});

const GOOD: readonly [flag: string, text: string, name: keyof Config, value: unknown, others?: Record<string, string>][] = [
  ["key", "ip/24,64", "key", { ipv4Bits: 24, ipv6Bits: 64, withPort: false }],
  ["load-bound", "off", "loadBound", Infinity],
  ["load-bound", "1.01", "loadBound", 1.01],
  ["load-bound", "2", "loadBound", 2],
  ["load-bound", "1000", "loadBound", 1000],
  ["sni", "API.example.com,*.example.com", "serverNames", ["api.example.com", "*.example.com"]],
  ["sni", "off", "serverNames", []],
  ["alpn", "h2,http/1.1", "protocols", ["h2", "http/1.1"]],
  ["alpn", "off", "protocols", []],
  ["hello-timeout", "10ms", "helloTimeoutMs", 10],
  ["connect-timeout", "1ms", "connectTimeoutMs", 1],
  ["connect-attempts", "1", "connectAttemptsMax", 1],
  ["connect-attempts", "1000", "connectAttemptsMax", 1000],
  ["connect-deadline", "1h", "connectDeadlineMs", 3_600_000],
  ["idle-timeout", "10ms", "idleTimeoutMs", 10],
  ["redistribute", "new", "redistribute", "new"],
  ["redistribute", "unanswered", "redistribute", "unanswered"],
  ["redistribute", "idle", "redistribute", "idle"],
  ["replay-buffer", "0", "replayBytesMax", 0],
  ["replay-buffer", "4096", "replayBytesMax", 4096],
  ["replay-buffer", "16MiB", "replayBytesMax", 16 * 1024 ** 2],
  ["replays", "1", "replaysMax", 1],
  ["replays", "1000", "replaysMax", 1000],
  ["quiet", "1ms", "quietMs", 1],
  ["check", "off", "check", { kind: "off" }],
  ["check", "http:/health?deep=1", "check", { kind: "http", path: "/health?deep=1" }],
  ["check", "expect:220", "check", { kind: "text", send: new Uint8Array(), expect: Uint8Array.of(50, 50, 48) }],
  ["check-interval", "50ms", "checkIntervalMs", 50, { "check-timeout": "50ms" }],
  ["check-timeout", "10ms", "checkTimeoutMs", 10],
  ["check-timeout", "2s", "checkTimeoutMs", 2000],
  ["rise", "1", "rise", 1],
  ["fall", "1000", "fall", 1000],
  ["rest", "off", "restMs", 0],
  ["rest", "10ms", "restMs", 10],
  ["rest", "1m", "restMs", 60_000],
  ["slow-start", "off", "slowStartMs", 0],
  ["slow-start", "10ms", "slowStartMs", 10],
  ["slow-start", "24h", "slowStartMs", 86_400_000],
  ["server-timeout", "off", "serverTimeoutMs", 0],
  ["server-timeout", "100ms", "serverTimeoutMs", 100],
  ["max-connections", "auto", "connectionsMax", "auto"],
  ["max-connections", "1", "connectionsMax", 1],
  ["max-connections", "10000000", "connectionsMax", 10_000_000],
  ["keep-alive", "1s", "keepAliveMs", 1000],
  ["keep-alive", "off", "keepAliveMs", 0],
  ["keep-alive", "9h", "keepAliveMs", 9 * 3_600_000],
  ["user-timeout", "100ms", "userTimeoutMs", 100],
  ["user-timeout", "off", "userTimeoutMs", 0],
  ["engine", "streams", "engine", "streams"],
  ["workers", "1", "workers", 1],
  ["workers", "64", "workers", 64],
  ["busy-poll", "50", "busyPollMicros", 50],
  ["busy-poll", "off", "busyPollMicros", 0],
  ["batch", "off", "batchMicros", 0],
  ["batch", "auto", "batchMicros", 50],
  ["batch", "1000", "batchMicros", 1000],
  ["defer-accept", "off", "deferAcceptMs", 0],
  ["defer-accept", "1s", "deferAcceptMs", 1000],
  ["defer-accept", "63s", "deferAcceptMs", 63_000],
  ["http", "off", "http", null],
  ["http", "127.0.0.1:9190", "http", { host: "127.0.0.1", port: 9190 }],
  ["http", "[::1]:0", "http", { host: "::1", port: 0 }],
  ["log-level", "error", "logLevel", "error"],
];

for (const [flag, text, name, value, others] of GOOD) {
  Deno.test(`parseConfig() takes --${flag} ${text}`, () => assertEquals(parseConfig({ ...others, [flag]: text })[name], value));
}

const BAD = [
  ["sni", ""],
  ["sni", "*"],
  ["hello-timeout", "9ms"],
  ["hello-timeout", "off"],
  ["alpn", ""],
  ["keep-alive", "999ms"],
  ["keep-alive", "10h"],
  ["keep-alive", "0"],
  ["user-timeout", "99ms"],
  ["user-timeout", "on"],
  ["workers", "0"],
  ["workers", "65"],
  ["workers", "1000"],
  ["workers", "x"],
  ["workers", "-1"],
  ["workers", "1.5"],
  ["busy-poll", "0"],
  ["busy-poll", "10001"],
  ["busy-poll", "50us"],
  ["key", "port"],
  ["load-bound", "1"],
  ["load-bound", "1.00"],
  ["load-bound", "0.5"],
  ["load-bound", "-2"],
  ["load-bound", "1000.1"],
  ["load-bound", "Infinity"],
  ["load-bound", "NaN"],
  ["load-bound", "OFF"],
  ["load-bound", ""],
  ["connect-timeout", "0"],
  ["connect-timeout", "3"],
  ["connect-timeout", "25h"],
  ["connect-attempts", "0"],
  ["connect-attempts", "1001"],
  ["connect-attempts", "1.5"],
  ["connect-attempts", "-1"],
  ["connect-deadline", "never"],
  ["idle-timeout", "9ms"],
  ["idle-timeout", "0"],
  ["redistribute", "all"],
  ["redistribute", ""],
  ["redistribute", "Idle"],
  ["redistribute", "constructor"],
  ["replay-buffer", "5TB"],
  ["replay-buffer", "1GiB"],
  ["replay-buffer", "16777217"],
  ["replay-buffer", "-1"],
  ["replays", "0"],
  ["replays", "1001"],
  ["quiet", "0"],
  ["quiet", "0ms"],
  ["quiet", "off"],
  ["check", "nope"],
  ["check", "http"],
  ["check", "send:PING"],
  ["check", ""],
  ["check-interval", "49ms"],
  ["check-interval", "0"],
  ["check-timeout", "9ms"],
  ["rise", "0"],
  ["rise", "1001"],
  ["fall", "0"],
  ["fall", "-3"],
  ["rest", "9ms"],
  ["rest", "61s"],
  ["rest", "0"],
  ["slow-start", "9ms"],
  ["slow-start", "on"],
  ["server-timeout", "99ms"],
  ["server-timeout", "10h"],
  ["max-connections", "0"],
  ["max-connections", "10000001"],
  ["max-connections", "many"],
  ["engine", "poll"],
  ["engine", "Epoll"],
  ["engine", ""],
  ["log-level", "warn"],
  ["log-level", "constructor"],
] as const;

for (const [flag, text] of BAD) {
  Deno.test(`parseConfig() refuses --${flag} ${JSON.stringify(text)}`, () =>
    assertUsageError(() => parseConfig({ [flag]: text }), text));
}

Deno.test("parseConfig() names the setting that is bad", () => {
  assertThrows(() => parseConfig({ "idle-timeout": "soon" }), OperatorError, "Idle timeout");
  assertThrows(() => parseConfig({ "connect-attempts": "x" }), OperatorError, "Number of connect attempts");
  assertThrows(() => parseConfig({ "log-level": "x" }), OperatorError, "log level");
  assertThrows(() => parseConfig({ redistribute: "x" }), OperatorError, "redistribution level");
  assertThrows(() => parseConfig({ "replay-buffer": "x" }), OperatorError, "Replay buffer");
  assertThrows(() => parseConfig({ quiet: "x" }), OperatorError, "Quiet time");
  assertThrows(() => parseConfig({ rest: "x" }), OperatorError, "Rest time");
});

Deno.test("parseConfig() refuses a check timeout that is longer than the interval, if there are checks", () => {
  const flags = { "check-timeout": "5s", "check-interval": "1s" };
  const { kind, message } = assertThrows(() => parseConfig(flags), OperatorError);
  assertEquals([kind, message], ["usage", "Check timeout 5s is longer than the check interval 1s; lower --check-timeout"]);
  assertThrows(() => parseConfig({ "check-interval": "500ms" }), OperatorError, "Check timeout 1s is longer");
  assertEquals(parseConfig({ ...flags, "check-timeout": "1s" }).checkTimeoutMs, 1000);
  assertEquals(parseConfig({ ...flags, check: "off" }).checkTimeoutMs, 5000);
});

for (const [text, weight] of [["1", 1], ["256", 256], ["007", 7]] as const) {
  Deno.test(`parseWeight() takes ${text}`, () => assertEquals(parseWeight(text), weight));
}

for (const text of ["0", "257", "1000000000", "9999999999", "1e9", "-1", "1.5", "", " 1", "1 ", "one", "Infinity", "0x10"]) {
  Deno.test(`parseWeight() refuses ${JSON.stringify(text)}`, () => assertUsageError(() => parseWeight(text), text));
}

Deno.test("parseServerConnections() takes 1 to a million", () => {
  assertEquals(parseServerConnections("1"), 1);
  assertEquals(parseServerConnections("1000000"), 1_000_000);
  for (const text of ["0", "1000001", "-1", "off"]) assertUsageError(() => parseServerConnections(text), text);
});

Deno.test("LIMITS let a pool be full of servers of weight 1, and a server have the greatest weight", () => {
  assertGreaterOrEqual(LIMITS.weightTotalMax, LIMITS.serversMax);
  assertGreaterOrEqual(LIMITS.weightTotalMax, LIMITS.weightMax);
});

/** A value that does not exist, and the way out that the error names. */
const MISTYPED: readonly [flag: string, text: string, wayOut: string][] = [
  ["engine", "epol", 'did you mean "epoll"?'],
  ["engine", "stream", 'did you mean "streams"?'],
  ["engine", "nope", "use auto, epoll or streams"],
  ["log-level", "warn", 'did you mean "warning"?'],
  ["log-level", "Info", 'did you mean "info"?'],
  ["log-level", "loud", "see balancerctl start --help"],
  ["redistribute", "unanswerd", 'did you mean "unanswered"?'],
  ["redistribute", "all", "use new, unanswered or idle"],
];

for (const [flag, text, wayOut] of MISTYPED) {
  Deno.test(`parseConfig() of --${flag} ${text} names the way out`, () => {
    const { message } = assertThrows(() => parseConfig({ [flag]: text }), OperatorError);
    assertEquals(message.slice(message.indexOf(": ") + 2), wayOut);
  });
}

Deno.test("parseConfig() refuses what would send open connections home at a level that moves none", () => {
  for (const flags of [{ "fail-back": "idle" }, { "max-age": "1h" }, { "max-age": "1h", redistribute: "unanswered" }]) {
    const { kind, message } = assertThrows(() => parseConfig(flags), OperatorError);
    assertEquals(kind, "usage");
    assert(message.endsWith("add --redistribute idle"), message);
  }
  const { failBack, maxAgeMs, ageJitter } = parseConfig({
    "fail-back": "idle",
    "max-age": "1h",
    "age-jitter": "0%",
    redistribute: "idle",
  });
  assertEquals([failBack, maxAgeMs, ageJitter], ["idle", 3_600_000, 0]);
});

Deno.test("checkServiceTexts() refuses what is bad by itself, and not what may fit the settings that it is laid over", () => {
  for (const texts of [{ "fail-back": "idle" }, { "check-interval": "200ms" }, { "limits-dry-run": "on" }]) {
    checkServiceTexts(texts);
  }
  assertThrows(() => checkServiceTexts({ "fail-back": "later" }), OperatorError, '"later"');
});
