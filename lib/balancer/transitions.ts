/** A change of a service from one saved state to another, as plans take it. Pure. */

import { AVAILABILITY } from "../routing/availability.ts";
import { newTurns } from "../routing/candidates.ts";
import { newSlot, type PlannedConnection } from "../routing/forecast.ts";
import type { Load } from "../routing/route.ts";
import { emptyTable, nextTable, type RoutingTable } from "../routing/routing_table.ts";
import type { ServiceTransition } from "../routing/state_plan.ts";
import { parseServiceConfig, type ServiceConfig } from "../values/config.ts";
import type { SavedService } from "../values/saved_state.ts";
import { makePoolServer, type PoolServer } from "./pool_server.ts";

/** A service as it is now. */
interface PresentService {
  readonly name: string;
  readonly table: RoutingTable;
  readonly config: ServiceConfig;
  /** The slot of a server of its pool; undefined for another server. */
  readonly slotOf: (server: string) => number | undefined;
  readonly load: Load;
  readonly connections: Iterable<PlannedConnection>;
}

/** The load of a service that nobody uses. */
const NO_LOAD: Load = {
  open: 0,
  unavailableWeight: 0,
  tiersInUse: 0,
  turns: newTurns(),
  openOf: () => 0,
  availabilityOf: () => AVAILABILITY.full,
};

/** The table that follows another one, by these settings. */
export function tableOf(
  before: RoutingTable,
  servers: readonly PoolServer[],
  { key, loadBound, policy }: ServiceConfig,
): RoutingTable {
  return nextTable({ ...before, key, loadBound, policy }, servers);
}

/** The change to another saved service; undefined: to none. `lines`: what differs, in words. */
export function transitionTo(
  after: SavedService | undefined,
  lines: readonly string[],
  { name, table, config, slotOf, load, connections }: PresentService,
): ServiceTransition {
  const configAfter = after === undefined ? config : parseServiceConfig(after.settings);
  let fresh = 0;
  const servers = (after?.servers ?? []).map((server) =>
    makePoolServer(server, configAfter, slotOf(server.server) ?? newSlot(fresh++))
  );
  return {
    service: name,
    change: after === undefined ? "removed" : "changed",
    lines,
    transition: {
      before: table,
      after: tableOf(table, servers, configAfter),
      drained: drainedOf(servers),
      policyBefore: config,
      policyAfter: configAfter,
      tierRules: configAfter,
      load,
      connections,
    },
  };
}

/** The same for a service that there is not yet. */
export function transitionOfNew({ name, settings, servers: saved }: SavedService, lines: readonly string[]): ServiceTransition {
  const config = parseServiceConfig(settings);
  const servers = saved.map((server, index) => makePoolServer(server, config, newSlot(index)));
  const before = emptyTable(config.key, config.loadBound, config.policy);
  const rules = { policyBefore: config, policyAfter: config, tierRules: config };
  const after = tableOf(before, servers, config);
  const transition = { before, after, drained: drainedOf(servers), ...rules, load: NO_LOAD, connections: [] };
  return { service: name, change: "added", lines, transition };
}

function drainedOf(servers: readonly PoolServer[]): ReadonlySet<number> {
  return new Set(servers.filter(({ draining }) => draining).map(({ slot }) => slot));
}
