// What a declared state may lead to, and what an earlier one.

import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { withDeclaration, withDeclared, withEarlier } from "../../lib/balancer/declared_change.ts";
import type { SettingTexts } from "../../lib/values/config.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import type { SavedService, SavedState } from "../../lib/values/saved_state.ts";
import { daemonLines } from "../../lib/values/state_difference.ts";

const WEB: SavedService = { name: "web", listeners: [{ address: "127.0.0.1", port: 80 }], settings: {}, servers: [] };
const STATE: SavedState = { generation: 7, services: [WEB] };

Deno.test("a state without services is refused, declared or earlier", () => {
  const changes = [
    () => withDeclared(STATE, { services: [], daemon: {} }, { prune: true }),
    () => withEarlier(STATE, { services: [] }),
  ];
  for (const change of changes) {
    const { kind, message } = assertThrows(change, OperatorError);
    assertEquals([kind, message], ["conflict", "Cannot remove every service: stop the balancer with balancerctl stop instead"]);
  }
});

Deno.test("what does not change stays the same object", () => {
  const declared = { services: [{ ...WEB, settings: { "idle-timeout": "10m" } }], daemon: {} };
  const { difference, state } = withDeclared(STATE, declared, { prune: true });
  assertEquals(difference.services, []); // 10 minutes are the default
  assertStrictEquals(state.services[0], WEB);
  assertStrictEquals(withEarlier(STATE, { services: [{ ...WEB }] }).state.services[0], WEB);
});

const DAEMON = { ...STATE, daemon: { "log-level": "debug", workers: "7" } };

Deno.test("settings of the daemon change with the services; the engine and its workers are refused", () => {
  const declared = (daemon: SettingTexts) => ({ services: [WEB], daemon });
  const { difference, state } = withDeclared(DAEMON, declared({ http: "127.0.0.1:9", workers: "7" }), { prune: false });
  assertEquals(daemonLines(difference), ["http off → 127.0.0.1:9"]);
  assertEquals(state.daemon, { "log-level": "debug", workers: "7", http: "127.0.0.1:9" });
  assertStrictEquals(withDeclared(DAEMON, declared({ "log-level": "debug" }), { prune: false }).state.daemon, DAEMON.daemon);

  const { message, kind } = assertThrows(() => withDeclared(DAEMON, declared({ workers: "9" }), { prune: false }), OperatorError);
  const wayOut = "that takes a restart: balancerctl stop, then balancerctl start --workers 9";
  assertEquals([kind, message], ["conflict", `Cannot change --workers from 7 to 9 while the balancer runs; ${wayOut}`]);
  assertThrows(() => withDeclared(STATE, declared({ engine: "streams" }), { prune: true }), OperatorError, "--engine from auto");
  const start = () => withDeclared(STATE, declared({ "access-log-start": "on" }), { prune: true });
  assertThrows(start, OperatorError, "--access-log-start needs an access log");
});

Deno.test("a file that is everything resets the settings of the daemon, but for those that the start has given for good", () => {
  const { difference, state } = withDeclared(DAEMON, { services: [WEB], daemon: {} }, { prune: true });
  assertEquals([daemonLines(difference), state.daemon], [["log-level debug → info"], { workers: "7" }]);
  const begun = withDeclaration(DAEMON, { services: [WEB], daemon: { engine: "streams" } }, "/f");
  assertEquals([begun.daemon, begun.generation], [{ engine: "streams" }, 8]);
  assertStrictEquals(withDeclaration(begun, { services: [WEB], daemon: { engine: "streams" } }, "/f"), begun);
});

Deno.test("an earlier state brings back settings of the daemon, but for the engine and its workers", () => {
  const { difference, state } = withEarlier(DAEMON, { services: [WEB], daemon: { http: "[::1]:9", workers: "9" } });
  assertEquals(daemonLines(difference), ["http off → [::1]:9", "log-level debug → info"]);
  assertEquals(state.daemon, { http: "[::1]:9", workers: "7" });
  assertEquals(withEarlier(DAEMON, STATE).state.daemon, { workers: "7" });
});
