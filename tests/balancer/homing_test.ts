// Homing sends home those who should go, a bounded number at a time, and reaches all of them in turn.

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { Homing, type HomingService } from "../../lib/balancer/homing.ts";
import type { OpenConnection } from "../../lib/engine/engine.ts";
import { newTurns } from "../../lib/routing/candidates.ts";
import { FACT } from "../../lib/routing/redistribution.ts";
import { emptyTable, nextTable } from "../../lib/routing/routing_table.ts";
import { parseAddress, parseKeyRule } from "../../lib/values/address.ts";
import { openConnection, tableServer } from "../helpers.ts";
import { until } from "../raw_socket.ts";

/** Tier 0 (slot 0) is in use, tier 1 (slot 1) no longer. */
const TABLE = nextTable(emptyTable(parseKeyRule("ip"), Infinity), [
  tableServer(parseAddress("192.0.2.1:80"), 0),
  tableServer(parseAddress("192.0.2.2:80"), 1, { tier: 1 }),
]);

const SERVICE: HomingService = {
  table: TABLE,
  load: { open: 9, unavailableWeight: 1, tiersInUse: 0, turns: newTurns(), openOf: () => 3, availabilityOf: () => 0 },
  rules: {
    failBack: "idle",
    maxAgeMs: 0,
    ageJitter: 0,
    redistribute: "idle",
    quietMs: 250,
    replaysMax: 3,
    replayBytesMax: 65_536,
  },
};

function connection(id: number, slot: number, options: Partial<OpenConnection> = {}): OpenConnection {
  return openConnection({ id, slot, quietForMs: 1000, ip: Uint8Array.of(192, 0, 2, id), ...options });
}

/** Homing over these connections, which never arrive. `sent`: the ids in the order in which they were sent. */
function startHoming(connections: readonly OpenConnection[], service: Partial<HomingService> = {}, lookMs = 20) {
  const sent: number[] = [];
  let looks = 0;
  const engine = { connections: () => (looks++, connections), sendToOwner: (id: number) => void sent.push(id) };
  const homing = new Homing({ engine, services: () => [{ ...SERVICE, ...service }], lookMs });
  return { sent, looks: () => looks, [Symbol.dispose]: () => homing[Symbol.dispose]() };
}

Deno.test("those of a tier that is not in use go home; who is at home, busy, dialling or of another service does not", async () => {
  const busy = { facts: FACT.sent | FACT.awaitingAnswer | FACT.progress, quietForMs: 0 };
  using homing = startHoming([connection(1, 0), connection(2, 1), connection(3, 1, busy), connection(4, -1), connection(5, 7)]);
  await until(() => homing.sent.length >= 3, "three looks");
  assertEquals([...new Set(homing.sent)], [2]);
});

Deno.test("a look sends no more than its part of the rate, and the next one goes on with others", async () => {
  const startedMs = performance.now();
  using homing = startHoming(Array.from({ length: 5 }, (_, i) => connection(i + 1, 1)));
  await until(() => homing.looks() >= 5, "five looks");
  const most = (performance.now() - startedMs) / 1000 * 100; // 100 a second; a slow look is followed by a longer pause
  assertLessOrEqual(homing.sent.length, most + homing.looks()); // each look rounds up
  assertEquals(new Set(homing.sent).size, 5);
});

Deno.test("without rules that send anybody home, no connection is looked at", async () => {
  using homing = startHoming([connection(1, 1)], { rules: { ...SERVICE.rules, failBack: "now" } }, 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals([homing.looks(), homing.sent], [0, []]);
});

Deno.test("an old connection goes to its owner, and one that is there stays", async () => {
  const rules = { ...SERVICE.rules, failBack: "now" as const, maxAgeMs: 1000 };
  const old = { ageMs: 2000 };
  using homing = startHoming([connection(1, 0, old), connection(2, 1, old), connection(3, 1)], { rules });
  await until(() => homing.sent.length >= 2, "two looks");
  assertEquals([...new Set(homing.sent)], [2]);
  assert(homing.looks() >= 2);
});
