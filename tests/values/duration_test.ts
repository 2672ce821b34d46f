// Durations are read as people write them, and nothing that could be meant otherwise is.

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { DURATION_MAX_MS, formatDuration, parseDuration } from "../../lib/values/duration.ts";
import { OperatorError } from "../../lib/values/errors.ts";

const GOOD = [
  ["0", 0],
  ["0s", 0],
  ["0ms", 0],
  ["1ms", 1],
  ["250ms", 250],
  ["30s", 30_000],
  ["1.5s", 1500],
  ["0.001s", 1],
  ["1.234s", 1234],
  ["5m", 300_000],
  ["0.5m", 30_000],
  ["1h", 3_600_000],
  ["1.5h", 5_400_000],
  ["24h", 86_400_000],
  ["1440m", 86_400_000],
  ["86400000ms", 86_400_000],
  ["007s", 7000],
] as const;

for (const [text, ms] of GOOD) {
  Deno.test(`parseDuration() takes ${text}`, () => assertEquals(parseDuration(text), ms));
}

const BAD = [
  "",
  " ",
  "1",
  "30",
  "-1s",
  "-0s",
  "+1s",
  "1 s",
  " 1s",
  "1s ",
  "1s\n",
  "1S",
  "1sec",
  "1d",
  "1y",
  ".5s",
  "5.s",
  "1.2345s",
  "1e3ms",
  "0x1s",
];
const TOO_LONG = [
  "24.001h",
  "25h",
  "86400001ms",
  "999999999h",
  "1000000000ms",
  "Infinity",
  "NaN",
  "Infinityms",
  "1s1s",
  "1h30m",
  "constructor",
];

for (const text of [...BAD, ...TOO_LONG]) {
  Deno.test(`parseDuration() refuses ${JSON.stringify(text)}`, () => {
    assertEquals(assertThrows(() => parseDuration(text), OperatorError, JSON.stringify(text)).kind, "usage");
  });
}

Deno.test("parseDuration() keeps to the range it is given, ends included", () => {
  assertEquals(parseDuration("10ms", "Idle timeout", 10, 1000), 10);
  assertEquals(parseDuration("1s", "Idle timeout", 10, 1000), 1000);
  for (const text of ["0", "9ms", "1001ms"]) {
    assertThrows(() => parseDuration(text, "Idle timeout", 10, 1000), OperatorError, "from 10ms to 1s");
  }
});

Deno.test("parseDuration() says what the time is for", () => {
  assertThrows(() => parseDuration("soon", "Idle timeout"), OperatorError, 'Idle timeout "soon"');
});

for (
  const [ms, text] of [[0, "0s"], [1, "1ms"], [1500, "1500ms"], [2000, "2s"], [90_000, "90s"], [300_000, "5m"], [
    7_200_000,
    "2h",
  ]] as const
) {
  Deno.test(`formatDuration() of ${ms} milliseconds is ${text}`, () => assertEquals(formatDuration(ms), text));
}

Deno.test("parseDuration() reads back what formatDuration() writes", () => {
  fc.assert(fc.property(fc.nat(DURATION_MAX_MS), (ms) => assertEquals(parseDuration(formatDuration(ms)), ms)));
});
