// The limit on open files says how many connections there may be.

import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { LIMITS } from "../lib/config.ts";
import { connectionsUnder, readDescriptorLimit } from "../lib/descriptors.ts";
import { OperatorError } from "../lib/errors.ts";

for (
  const [descriptors, threads, connections] of [
    [53, 0, 1],
    [56, 0, 2],
    [64, 0, 6],
    [73, 2, 1],
    [1024, 0, 458],
    [1024, 4, 440],
    [10_240, 4, 5014],
    [20_000, 2, 9903],
    [1_048_576, 4, 524_182],
    [2 ** 40, 4, LIMITS.connectionsMax],
    [Infinity, 4, LIMITS.connectionsMax],
  ]
) {
  Deno.test(`connectionsUnder() a limit of ${descriptors} with ${threads} threads are ${connections}`, () => {
    assertEquals(connectionsUnder(descriptors, threads), connections);
  });
}

for (const [descriptors, threads, needed] of [[0, 0, 54], [1, 0, 54], [52, 0, 54], [64, 4, 92]]) {
  Deno.test(`connectionsUnder() a limit of ${descriptors} with ${threads} threads fails and says how to raise it`, () => {
    const error = assertThrows(() => connectionsUnder(descriptors, threads), OperatorError, `${descriptors} open files`);
    assertEquals([error.kind, error.message.includes(`(ulimit -n) to ${needed} `)], ["failed", true]);
    assert(connectionsUnder(needed, threads) >= 1);
  });
}

Deno.test("readDescriptorLimit() gives a number under which connections fit", async () => {
  const limit = await readDescriptorLimit();
  assert(limit === Infinity || Number.isInteger(limit));
  assert(connectionsUnder(limit, 0) >= 1);
});

Deno.test({
  name: "readDescriptorLimit() gives back the permission to run the shell, and then assumes a limit",
  permissions: { run: ["sh"] },
  async fn() {
    await readDescriptorLimit();
    assertNotEquals((await Deno.permissions.query({ name: "run", command: "sh" })).state, "granted");
    assertEquals(await readDescriptorLimit(), 10_240);
  },
});
