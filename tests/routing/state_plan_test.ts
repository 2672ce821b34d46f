// The plan of several services is the plan of each, with totals that add up.

import { assertEquals } from "@std/assert";
import { parseAddress, parseKeyRule } from "../../lib/values/address.ts";
import { AVAILABILITY } from "../../lib/routing/availability.ts";
import { newSlot, type PlannedConnection } from "../../lib/routing/forecast.ts";
import { planTransition, type TransitionRequest } from "../../lib/routing/plan.ts";
import { FACT, type RedistributionPolicy } from "../../lib/routing/redistribution.ts";
import { emptyTable, nextTable, type RoutingTable } from "../../lib/routing/routing_table.ts";
import { planState, type ServiceTransition } from "../../lib/routing/state_plan.ts";
import { newTurns } from "../../lib/routing/candidates.ts";

const IDLE = { unavailableWeight: 0, tiersInUse: 0, turns: newTurns(), openOf: () => 2, availabilityOf: () => AVAILABILITY.full };

const POLICY: RedistributionPolicy = { redistribute: "idle", quietMs: 250, replaysMax: 1, replayBytesMax: 65_536 };

/** A table of these servers by their slots; a new one has a negative slot. */
function tableOf(slots: readonly number[]): RoutingTable {
  const servers = slots.map((slot) => {
    const name = slot < 0 ? `10.0.1.${-slot}:80` : `10.0.0.${slot}:80`;
    return { name, address: parseAddress(name), weight: 1, connectionsMax: Infinity, slot };
  });
  return nextTable(emptyTable(parseKeyRule("ip"), 1.25), servers);
}

/** A transition in which every server of `before` has two idle connections. */
function transitionOf(before: readonly number[], after: readonly number[]): TransitionRequest {
  const connections = before.flatMap((slot) =>
    [1, 2].map((client): PlannedConnection => (
      { slot, facts: FACT.sent | FACT.answered, quietForMs: 1000, replays: 0, ip: Uint8Array.of(10, 9, slot, client), port: 5000 }
    ))
  );
  return {
    before: tableOf(before),
    after: tableOf(after),
    drained: new Set(),
    policyBefore: POLICY,
    policyAfter: POLICY,
    load: { ...IDLE, open: connections.length },
    connections,
  };
}

const SERVICES: ServiceTransition[] = [
  { service: "new", change: "added", lines: ["+ listen 0.0.0.0:80"], transition: transitionOf([], [newSlot(0), newSlot(1)]) },
  { service: "old", change: "removed", lines: [], transition: transitionOf([1, 2], []) },
  { service: "web", change: "changed", lines: ["- server 10.0.0.3:80"], transition: transitionOf([3, 4, 5], [4, 5, newSlot(0)]) },
  { service: "quiet", change: "changed", lines: ["~ log-level: debug"] },
  { service: "same", change: "unchanged", lines: [] },
];

Deno.test("planState() plans every service by itself, in the order in which they come", () => {
  const { services } = planState(SERVICES);
  assertEquals(
    services,
    SERVICES.map(({ transition, ...service }) => (
      { ...service, plan: transition === undefined ? null : planTransition(transition) }
    )),
  );
});

Deno.test("planState() counts services and servers, and adds up connections of one state and outcome", () => {
  const { services, totals } = planState(SERVICES);
  assertEquals(totals.services, { added: 1, removed: 1, changed: 2, unchanged: 1 });
  assertEquals(totals.servers, { added: 3, removed: 3, changed: 0 });
  const countIn = (plan: { connections: readonly { count: number }[] } | null) =>
    (plan?.connections ?? []).reduce((sum, { count }) => sum + count, 0);
  assertEquals(countIn(totals), services.reduce((sum, { plan }) => sum + countIn(plan), 0));
  assertEquals(totals.connections.find(({ outcome }) => outcome === "moves"), { state: "idle", count: 2, outcome: "moves" });
  assertEquals(totals.connections.find(({ outcome }) => outcome.startsWith("may finish"))?.count, 4);
});

Deno.test("planState() of nothing", () => {
  const services = { added: 0, removed: 0, changed: 0, unchanged: 0 };
  assertEquals(planState([]), {
    services: [],
    daemon: [],
    totals: { services, servers: { added: 0, removed: 0, changed: 0 }, connections: [] },
  });
});
