// What a declared state may lead to, and what an earlier one.

import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { withDeclared, withEarlier } from "../../lib/balancer/declared_change.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import type { SavedService, SavedState } from "../../lib/values/saved_state.ts";

const WEB: SavedService = { name: "web", listeners: [{ address: "127.0.0.1", port: 80 }], settings: {}, servers: [] };
const STATE: SavedState = { generation: 7, services: [WEB] };

Deno.test("a state without services is refused, declared or earlier", () => {
  const changes = [
    () => withDeclared(STATE, { services: [], daemon: {} }, { prune: true, daemon: {} }),
    () => withEarlier(STATE, []),
  ];
  for (const change of changes) {
    const { kind, message } = assertThrows(change, OperatorError);
    assertEquals([kind, message], ["conflict", "Cannot remove every service: stop the balancer with balancerctl stop instead"]);
  }
});

Deno.test("what does not change stays the same object", () => {
  const declared = { services: [{ ...WEB, settings: { "idle-timeout": "10m" } }], daemon: {} };
  const { difference, state } = withDeclared(STATE, declared, { prune: true, daemon: {} });
  assertEquals(difference.services, []); // 10 minutes are the default
  assertStrictEquals(state.services[0], WEB);
  assertStrictEquals(withEarlier(STATE, [{ ...WEB }]).state.services[0], WEB);
});

Deno.test("a setting of the daemon cannot change", () => {
  const declared = { services: [WEB], daemon: { workers: "7" } };
  const { message } = assertThrows(() => withDeclared(STATE, declared, { prune: false, daemon: { workers: "2" } }), OperatorError);
  assertEquals(message.slice(0, 61), "Cannot change --workers from 2 to 7 while the balancer runs: ");
});
