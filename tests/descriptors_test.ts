// The limit on open files says how many connections there may be.

import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { LIMITS } from "../lib/config.ts";
import { connectionsUnder, readDescriptorLimit } from "../lib/descriptors.ts";
import { OperatorError } from "../lib/errors.ts";

for (
  const [descriptors, connections] of [
    [50, 1],
    [51, 1],
    [52, 2],
    [1024, 488],
    [10_240, 5096],
    [1_048_576, 524_264],
    [2 ** 40, LIMITS.connectionsMax],
    [Infinity, LIMITS.connectionsMax],
  ]
) {
  Deno.test(`connectionsUnder() a limit of ${descriptors} are ${connections}`, () => {
    assertEquals(connectionsUnder(descriptors), connections);
  });
}

for (const descriptors of [0, 1, 48, 49]) {
  Deno.test(`connectionsUnder() a limit of ${descriptors} fails and says how to raise it`, () => {
    const error = assertThrows(() => connectionsUnder(descriptors), OperatorError, `${descriptors} open files`);
    assertEquals([error.kind, error.message.includes("(ulimit -n) to 50")], ["failed", true]);
  });
}

Deno.test("readDescriptorLimit() gives a number under which connections fit", async () => {
  const limit = await readDescriptorLimit();
  assert(limit === Infinity || Number.isInteger(limit));
  assert(connectionsUnder(limit) >= 1);
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
