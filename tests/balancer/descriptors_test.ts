// The limit on open files says how many connections there may be.

import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { LIMITS } from "../../lib/values/config.ts";
import { checksUnder, connectionsUnder, readSystemLimits } from "../../lib/balancer/descriptors.ts";
import { OperatorError } from "../../lib/values/errors.ts";

for (
  const [descriptors, threads, connections] of [
    [54, 0, 1],
    [57, 0, 2],
    [64, 0, 6],
    [75, 2, 1],
    [1024, 0, 442],
    [1024, 4, 424],
    [10_240, 4, 4886],
    [20_000, 2, 9775],
    [1_048_576, 4, 524_054],
    [2 ** 40, 4, LIMITS.connectionsMax],
    [Infinity, 4, LIMITS.connectionsMax],
  ]
) {
  Deno.test(`connectionsUnder() a limit of ${descriptors} with ${threads} threads are ${connections}`, () => {
    assertEquals(connectionsUnder(descriptors, threads), connections);
  });
}

for (const [descriptors, threads, needed] of [[0, 0, 55], [1, 0, 55], [52, 0, 55], [64, 4, 95]]) {
  Deno.test(`connectionsUnder() a limit of ${descriptors} with ${threads} threads fails and says how to raise it`, () => {
    const error = assertThrows(() => connectionsUnder(descriptors, threads), OperatorError, `${descriptors} open files`);
    assertEquals([error.kind, error.message.includes(`(ulimit -n) to ${needed} `)], ["failed", true]);
    assert(connectionsUnder(needed, threads) >= 1);
  });
}

for (const [descriptors, checks] of [[0, 1], [64, 1], [1024, 31], [10_240, 256], [Infinity, 256]]) {
  Deno.test(`checksUnder() a limit of ${descriptors} are ${checks}`, () => assertEquals(checksUnder(descriptors), checks));
}

Deno.test("readSystemLimits() gives a number under which connections fit", async () => {
  const { descriptors: limit, localPorts } = await readSystemLimits();
  assertEquals(localPorts !== null, Deno.build.os === "linux");
  assert(localPorts === null || localPorts > 0 && localPorts < 65_536);
  assert(limit === Infinity || Number.isInteger(limit));
  assert(connectionsUnder(limit, 0) >= 1);
});

Deno.test({
  name: "readSystemLimits() gives back the permission to run the shell, and then assumes limits",
  permissions: { run: ["sh"] },
  async fn() {
    await readSystemLimits();
    assertNotEquals((await Deno.permissions.query({ name: "run", command: "sh" })).state, "granted");
    assertEquals(await readSystemLimits(), { descriptors: 10_240, localPorts: null });
  },
});
