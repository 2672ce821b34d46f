import fc from "fast-check";
import { assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import { ConnectionIdWriter, formatConnectionId, newStartId, parseConnectionId } from "../../lib/values/connection_id.ts";
import { OperatorError } from "../../lib/values/errors.ts";

Deno.test("newStartId() is 16 hexadecimal digits, and another one each time", () => {
  assertMatch(newStartId(), /^[0-9a-f]{16}$/);
  assertNotEquals(newStartId(), newStartId());
});

Deno.test("formatConnectionId() writes the start and the number, however large", () => {
  assertEquals(formatConnectionId("00000000000000ff", 0), "00000000000000ff-0");
  assertEquals(formatConnectionId("00000000000000ff", 2 ** 21 + 12), "00000000000000ff-20000c");
  assertEquals(formatConnectionId("0123456789abcdef", 2 ** 53 - 1), "0123456789abcdef-1fffffffffffff");
});

Deno.test("formatConnectionId() writes every number in hexadecimal", () => {
  fc.assert(fc.property(fc.maxSafeNat(), (number) => assertEquals(formatConnectionId("", number), `-${number.toString(16)}`)));
});

Deno.test("ConnectionIdWriter writes the same ids as bytes, and keeps none from the one before", () => {
  const ids = new ConnectionIdWriter("00000000000000ff");
  const numbers = [
    2 ** 53 - 1,
    0,
    9,
    10,
    15,
    16,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    2 ** 32 + 1,
    2 ** 40 + 37,
    2 ** 52,
    255,
  ];
  for (const number of numbers) {
    assertEquals(new TextDecoder().decode(ids.bytesOf(number)), formatConnectionId("00000000000000ff", number));
  }
});

Deno.test("parseConnectionId() reads what formatConnectionId() writes, whatever the number, in capitals too", () => {
  const startId = "0123456789abcdef";
  fc.assert(fc.property(fc.maxSafeNat(), (number) => {
    const id = formatConnectionId(startId, number);
    assertEquals(parseConnectionId(id), { startId, number });
    assertEquals(parseConnectionId(id.toUpperCase()), { startId, number });
  }));
});

Deno.test("parseConnectionId() refuses everything else with a sentence that shows the form", () => {
  const bad = [
    "",
    "1f",
    "-1f",
    "0123456789abcdef",
    "0123456789abcdef-",
    "0123456789abcde-1f",
    "0123456789abcdefa-1f",
    "0123456789abcdef-1g",
    "0123456789abcdef-1f ",
    "0123456789abcdef-ffffffffffffff",
    "0123456789abcdef-123456789012345",
    "0123456789abcdef--1",
    "\x1b[31m",
  ];
  for (const text of bad) {
    const error = assertThrows(() => parseConnectionId(text), OperatorError, "as 0123456789abcdef-1f; balancerctl connections");
    assertEquals(error.kind, "usage", text);
  }
});
