// The target of a request: plain paths alone, in parts.

import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Refused } from "../../lib/dashboard/refused.ts";
import { readTarget, TARGET_BYTES_MAX } from "../../lib/dashboard/target.ts";

const PLAIN: readonly [target: string, parts: readonly string[], query: string][] = [
  ["/", [""], ""],
  ["/?token=a", [""], "token=a"],
  ["/v1/status", ["v1", "status"], ""],
  ["/v1/servers/10.0.0.1%3A80", ["v1", "servers", "10.0.0.1:80"], ""],
  ["/v1/servers/%5B%3A%3A1%5D:80?service=a&x=%2F..", ["v1", "servers", "[::1]:80"], "service=a&x=%2F.."],
  ["/v1/x?a?b", ["v1", "x"], "a?b"],
];

for (const [target, parts, query] of PLAIN) {
  Deno.test(`readTarget() takes ${target} apart`, () => assertEquals(readTarget(target), { parts, query }));
}

const REFUSED: readonly [target: string, why: string][] = [
  ["", "is not a path"],
  ["*", "is not a path"],
  ["http://10.0.0.1/v1/status", "is not a path"],
  ["/a b", "is not a path"],
  ["/ä", "is not a path"],
  ["//v1/status", "empty part"],
  ["/v1//status", "empty part"],
  ["/v1/status/", "empty part"],
  ["/v1/../stop", "leads out"],
  ["/v1/./stop", "leads out"],
  ["/v1/%2e%2e/stop", "leads out"],
  ["/v1/.%2E/stop", "leads out"],
  ["/v1/servers/..%2f..%2fstop", "encoded slash"],
  ["/v1/servers%2Fx", "encoded slash"],
  ["/v1/servers%5cx", "encoded slash"],
  ["/v1/x%00", "control character"],
  ["/v1/x%0d%0aHost:%20x", "control character"],
  ["/v1\\stop", "has a character"],
  ["/v1/status#x", "has a character"],
  ["/v1/%", "UTF-8"],
  ["/v1/%c0%af", "UTF-8"],
  [`/${"a".repeat(TARGET_BYTES_MAX)}`, "longer than 8192"],
];

for (const [target, why] of REFUSED) {
  Deno.test(`readTarget() refuses ${target.slice(0, 40)}`, () => {
    const { status, message } = assertThrows(() => readTarget(target), Refused);
    assertEquals(status, 400);
    assertStringIncludes(message, why);
  });
}

Deno.test("readTarget() gives parts that make no other path, or refuses", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme-ascii", maxLength: 40 }), (text) => {
    let parts: readonly string[];
    try {
      ({ parts } = readTarget(`/${text}`));
    } catch (error) {
      return error instanceof Refused;
    }
    const path = `/${parts.map(encodeURIComponent).join("/")}`;
    return new URL(`http://x${path}`).pathname === path && !parts.includes("..");
  }));
});
