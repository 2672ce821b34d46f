// Every setting has a default that holds, and a bad value is named in a sentence.

import { assertEquals, assertGreaterOrEqual, assertMatch, assertThrows } from "@std/assert";
import { LIMITS, LOG_LEVELS, parseConfig, parseServerConnections, parseWeight, SETTINGS } from "../lib/config.ts";
import { OperatorError } from "../lib/errors.ts";

function assertUsageError(act: () => unknown, text: string): void {
  assertEquals(assertThrows(act, OperatorError, JSON.stringify(text)).kind, "usage");
}

Deno.test("parseConfig() without flags gives the defaults", () => {
  assertEquals(parseConfig(), {
    key: { ipv4Bits: 32, ipv6Bits: 128, withPort: false },
    loadBound: 1.25,
    connectTimeoutMs: 3000,
    connectAttemptsMax: 10,
    connectDeadlineMs: 15_000,
    idleTimeoutMs: 600_000,
    connectionsMax: "auto",
    keepAliveMs: 30_000,
    userTimeoutMs: 30_000,
    engine: "auto",
    workers: Math.min(4, navigator.hardwareConcurrency),
    busyPollMicros: 0,
    logLevel: "info",
  });
});

for (const [name, setting] of Object.entries(SETTINGS)) {
  Deno.test(`SETTINGS.${name} has a kebab-case flag, a summary, and a default that parses`, () => {
    assertMatch(setting.flag, /^[a-z]+(-[a-z]+)*$/);
    assertMatch(setting.summary, /[^.]$/);
    setting.parse(setting.default);
  });
}

Deno.test("SETTINGS have flags all different", () => {
  const flags = Object.values(SETTINGS).map(({ flag }) => flag);
  assertEquals(new Set(flags).size, flags.length);
});

const GOOD = [
  ["key", "ip/24,64", "key", { ipv4Bits: 24, ipv6Bits: 64, withPort: false }],
  ["load-bound", "off", "loadBound", Infinity],
  ["load-bound", "1.01", "loadBound", 1.01],
  ["load-bound", "2", "loadBound", 2],
  ["load-bound", "1000", "loadBound", 1000],
  ["connect-timeout", "1ms", "connectTimeoutMs", 1],
  ["connect-attempts", "1", "connectAttemptsMax", 1],
  ["connect-attempts", "1000", "connectAttemptsMax", 1000],
  ["connect-deadline", "1h", "connectDeadlineMs", 3_600_000],
  ["idle-timeout", "10ms", "idleTimeoutMs", 10],
  ["connections", "auto", "connectionsMax", "auto"],
  ["connections", "1", "connectionsMax", 1],
  ["connections", "10000000", "connectionsMax", 10_000_000],
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
  ["log-level", "error", "logLevel", "error"],
] as const;

for (const [flag, text, name, value] of GOOD) {
  Deno.test(`parseConfig() takes --${flag} ${text}`, () => assertEquals(parseConfig({ [flag]: text })[name], value));
}

const BAD = [
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
  ["connections", "0"],
  ["connections", "10000001"],
  ["connections", "many"],
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
  assertThrows(() => parseConfig({ "log-level": "x" }), OperatorError, LOG_LEVELS.join(", "));
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
