// A balancer is ready while it accepts clients and has a server for them, and says in a sentence why it is not.

import { assertEquals } from "@std/assert";
import { whyNotReady } from "../../lib/balancer/readiness.ts";

const SERVING = { stopping: false, isLameDuck: false };
const NONE = { up: 0, resting: 0, down: 0, draining: 0, removing: 0 };

for (
  const [what, conditions, why] of [
    ["with a server that is up", { ...SERVING, servers: { ...NONE, up: 1, down: 3 } }, undefined],
    ["whose last server rests", { ...SERVING, servers: { ...NONE, resting: 1, down: 3 } }, undefined],
    ["that is stopping", { ...SERVING, stopping: true, servers: { ...NONE, up: 1 } }, "The balancer is stopping"],
    ["that is a lame duck", { ...SERVING, isLameDuck: true, servers: { ...NONE, up: 1 } }, "The balancer is about to stop"],
    ["with an empty pool", { ...SERVING, servers: NONE }, "The pool is empty; balancerctl add adds a server"],
    [
      "whose servers are all down or taken out",
      { ...SERVING, servers: { ...NONE, down: 2, draining: 1, removing: 1 } },
      "No server is up: 2 down, 1 draining, 1 removing; balancerctl list says why",
    ],
    ["that is stopping and has no server", { ...SERVING, stopping: true, servers: NONE }, "The balancer is stopping"],
  ] as const
) {
  Deno.test(`a balancer ${what} is ${why === undefined ? "" : "not "}ready`, () => assertEquals(whyNotReady(conditions), why));
}
