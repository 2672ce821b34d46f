import { assert, assertEquals, assertThrows } from "@std/assert";
import { OperatorError } from "../../lib/values/errors.ts";
import { isSampled, parseShare } from "../../lib/values/sampling.ts";

Deno.test("parseShare() reads percentages from 0% to 100%", () => {
  assertEquals(["0%", "0.5%", "1%", "33.3333%", "100%"].map((text) => parseShare(text, "Share")), [
    0,
    0.005,
    0.01,
    0.333333,
    1,
  ]);
});

Deno.test("parseShare() refuses anything else in a sentence", () => {
  for (const text of ["", "1", "-1%", "101%", "100.1%", "1 %", "%", "1.%", "1e1%", "0.00001%", "all", "NaN%"]) {
    const sentence = `Share ${JSON.stringify(text)} is not a percentage such as 1% or 0.5%, from 0% to 100%`;
    assertEquals(assertThrows(() => parseShare(text, "Share"), OperatorError).message, sentence);
  }
});

/** Numbers as the epoll engine gives them: few descriptors, and generations that grow by two. */
const NUMBERS = Array.from({ length: 100_000 }, (_, i) => 2 * Math.floor(i / 50) * 2 ** 21 + 20 + i % 50);

Deno.test("isSampled() takes the share of the numbers that it is asked for, all for 1 and none for 0", () => {
  for (const share of [0, 0.001, 0.01, 0.5, 1]) {
    const taken = NUMBERS.filter((number) => isSampled(number, share)).length;
    const deviation = 4 * Math.sqrt(NUMBERS.length * share * (1 - share)); // four times the standard deviation
    assert(Math.abs(taken - share * NUMBERS.length) <= deviation, `${taken} for ${share}`);
  }
});

Deno.test("isSampled() depends on both halves of the number, and a larger share has all that a smaller one has", () => {
  const small = NUMBERS.filter((number) => isSampled(number, 0.1));
  assert(small.every((number) => isSampled(number, 0.2)));
  const halves = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((high) => isSampled(high * 2 ** 32 + 5, 0.5));
  assert(halves.includes(true) && halves.includes(false), "the upper half makes no difference");
});
