// Amounts of memory are read as people write them, and refused in a sentence where they are none or too much.

import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { OperatorError } from "../../lib/values/errors.ts";
import { formatSize, parseSize } from "../../lib/values/size.ts";

const MAX = 16 * 1024 ** 2;

for (
  const [text, bytes] of [
    ["0", 0],
    ["0B", 0],
    ["1", 1],
    ["4096", 4096],
    ["007", 7],
    ["4096B", 4096],
    ["64KiB", 65_536],
    ["0KiB", 0],
    ["16MiB", MAX],
    ["16384KiB", MAX],
    ["16777216", MAX],
  ] as const
) {
  Deno.test(`parseSize() takes ${text}`, () => assertEquals(parseSize(text, "Size", MAX), bytes));
}

const BAD = [
  "",
  " 1",
  "1 ",
  "-1",
  "+1",
  "1.5MiB",
  "1e3",
  "64kib",
  "64KB",
  "64K",
  "64 KiB",
  "KiB",
  "5TB",
  "5TiB",
  "0x10",
  "Infinity",
  "off",
];
const TOO_MUCH = ["16777217", "17MiB", "16385KiB", "1GiB", "999999999999", "1000000000000", "999999999999GiB"];

for (const text of [...BAD, ...TOO_MUCH]) {
  Deno.test(`parseSize() refuses ${JSON.stringify(text)}`, () => {
    const { kind, message } = assertThrows(() => parseSize(text, "Replay buffer", MAX), OperatorError);
    assertEquals(kind, "usage");
    assertEquals(message, `Replay buffer ${JSON.stringify(text)} is not a size such as 64KiB, at most 16MiB`);
  });
}

Deno.test("parseSize() takes GiB where the limit allows them", () => {
  assertEquals(parseSize("2GiB", "Size", 2 ** 32), 2 ** 31);
  assertStringIncludes(assertThrows(() => parseSize("5GiB", "Size", 2 ** 32), OperatorError).message, "at most 4GiB");
});

for (
  const [bytes, text] of [
    [0, "0B"],
    [1, "1B"],
    [1023, "1023B"],
    [1024, "1KiB"],
    [1025, "1025B"],
    [1536, "1536B"],
    [65_536, "64KiB"],
    [MAX, "16MiB"],
    [2 ** 31, "2GiB"],
  ] as const
) {
  Deno.test(`formatSize() writes ${bytes} as ${text}`, () => assertEquals(formatSize(bytes), text));
}

Deno.test("parseSize() reads back what formatSize() writes", () => {
  const unit = fc.constantFrom(1, 1024, 1024 ** 2);
  fc.assert(fc.property(fc.nat(4096), unit, (count, unit) => {
    assertEquals(parseSize(formatSize(count * unit), "Size", 2 ** 32), count * unit);
  }));
});
