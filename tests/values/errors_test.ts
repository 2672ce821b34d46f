// Errors for a person carry a sentence, and how they end a program and answer a request.

import { assert, assertEquals } from "@std/assert";
import { ERROR_KINDS, type ErrorKind, EXIT, messageOf, OperatorError } from "../../lib/values/errors.ts";

Deno.test("EXIT is what scripts rely on: 0 done, 1 failed, 2 usage, 3 not running", () => {
  assertEquals(EXIT, { done: 0, failed: 1, usage: 2, notRunning: 3 });
});

const KINDS: [ErrorKind, number, number][] = [
  ["usage", 2, 400],
  ["unknown", 1, 404],
  ["conflict", 1, 409],
  ["tooSlow", 1, 408],
  ["tooLarge", 1, 413],
  ["failed", 1, 500],
  ["notAllowed", 1, 405],
  ["busy", 1, 503],
  ["notRunning", 3, 502],
];

for (const [kind, exit, status] of KINDS) {
  Deno.test(`ERROR_KINDS.${kind} exits with ${exit} and answers ${status}`, () =>
    assertEquals(ERROR_KINDS[kind], { exit, status }));
}

Deno.test("ERROR_KINDS have statuses all different, so a client can tell the kind", () => {
  const statuses = Object.values(ERROR_KINDS).map(({ status }) => status);
  assertEquals(new Set(statuses).size, statuses.length);
});

Deno.test("OperatorError has its kind, message, name and cause", () => {
  const cause = new Error("disk full");
  const error = new OperatorError("conflict", "Cannot add it: it is there", { cause });
  assert(error instanceof Error);
  assertEquals([error.kind, error.message, error.name, error.cause], [
    "conflict",
    "Cannot add it: it is there",
    "OperatorError",
    cause,
  ]);
});

const THROWN: [unknown, string][] = [
  [new Error("disk full"), "disk full"],
  [new OperatorError("failed", "no"), "no"],
  ["text", "text"],
  [undefined, "undefined"],
  [null, "null"],
  [7, "7"],
  [Symbol("s"), "Symbol(s)"],
];

for (const [thrown, message] of THROWN) {
  Deno.test(`messageOf() of ${String(thrown)} is ${message}`, () => assertEquals(messageOf(thrown), message));
}
