import fc from "fast-check";
import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { ConnectionIdWriter, formatConnectionId, newStartId } from "../../lib/values/connection_id.ts";

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
