// The nearest words, and the question about them.

import { assertEquals, assertLess } from "@std/assert";
import { didYouMean, nearest } from "../../lib/values/did_you_mean.ts";

const POOL = ["10.0.0.1:8001", "10.0.0.1:8002", "10.0.0.1:8003", "10.0.0.1:8004", "192.0.2.7:80", "[2001:db8::1]:443"];

const CASES: readonly [word: string, expected: readonly string[]][] = [
  ["10.0.0.1:8010", ["10.0.0.1:8001", "10.0.0.1:8002", "10.0.0.1:8003"]],
  ["10.0.0.1:800", ["10.0.0.1:8001", "10.0.0.1:8002", "10.0.0.1:8003"]],
  ["192.0.2.8:80", ["192.0.2.7:80"]],
  ["[2001:db8::2]:443", ["[2001:db8::1]:443"]],
  ["203.0.113.200:9999", []],
  ["", []],
];

for (const [word, expected] of CASES) {
  Deno.test(`nearest() to ${JSON.stringify(word)}`, () => assertEquals(nearest(word, POOL), expected));
}

Deno.test("nearest() puts the fewest edits first and equals in the order they came in", () => {
  assertEquals(nearest("stats", ["state", "status", "stat", "stats2", "remove"], 2), ["state", "status"]);
  assertEquals(nearest("stauts", ["list", "status", "statuts"]), ["statuts", "status"]);
});

Deno.test("nearest() lets a short word differ in one character", () => {
  assertEquals(nearest("ad", ["add", "and", "remove"]), ["add", "and"]);
  assertEquals(nearest("x", ["add"]), []);
});

Deno.test("nearest() names a candidate once", () => assertEquals(nearest("lst", ["list", "list"]), ["list"]));

Deno.test("nearest() is quick in the largest pool", () => {
  const names = Array.from({ length: 16_384 }, (_, i) => `10.${i >> 8}.${i & 255}.1:8080`);
  const startMs = performance.now();
  assertEquals(nearest("10.7.300.1:8080", names).length, 3);
  assertLess(performance.now() - startMs, 2000);
});

Deno.test("didYouMean() asks about one, two or three, or does not ask", () => {
  assertEquals(didYouMean("lst", ["list", "stop"]), 'did you mean "list"?');
  assertEquals(didYouMean("10.0.0.1:801", ["10.0.0.1:80", "10.0.0.1:81"]), 'did you mean "10.0.0.1:80" or "10.0.0.1:81"?');
  assertEquals(
    didYouMean("10.0.0.1:8010", POOL),
    'did you mean "10.0.0.1:8001", "10.0.0.1:8002" or "10.0.0.1:8003"?',
  );
  assertEquals(didYouMean("10.0.0.1:8010", []), undefined);
});

const WORDS = ["start", "stop", "status", "list", "add", "remove", "recent", "drain", "undrain", "max-connections"];

const TYPED: readonly [word: string, expected: readonly string[]][] = [
  ["lsit", ["list"]],
  ["drian", ["drain"]],
  ["stauts", ["start", "status"]],
  ["Start", ["start"]],
  ["ADD", ["add"]],
  ["remov", ["remove"]],
  ["connections", ["max-connections"]],
  ["stat", ["start", "status"]],
  ["rain", ["drain", "undrain"]],
  ["un", []],
  ["delete", []],
];

for (const [word, expected] of TYPED) {
  Deno.test(`nearest() command to ${word}`, () => assertEquals(nearest(word, WORDS), expected));
}
