import fc from "fast-check";
import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { formatConnectionId, newStartId } from "../../lib/values/connection_id.ts";

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
