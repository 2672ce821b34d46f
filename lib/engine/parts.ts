/** A publication as engines take it in: one table for each service, and the settings and lists of the first one. */

import { parseKeyRule } from "../values/address.ts";
import type { ClientLists } from "../routing/client_limits.ts";
import { emptyTable, type RoutingTable } from "../routing/routing_table.ts";
import type { EngineConfig, EngineOptions, Publication, ServiceEngineConfig, ServiceListener } from "./engine.ts";

const NO_TABLE = emptyTable(parseKeyRule("ip"), Infinity);

/** The settings of the daemon and of a service. */
export type WholeConfig = EngineConfig & ServiceEngineConfig;

interface Parts {
  readonly tables: readonly RoutingTable[];
  readonly listeners: readonly ServiceListener[];
  readonly lists: ClientLists | undefined;
  readonly config: WholeConfig;
}

/** The parts of a publication. */
export function partsOf({ config }: Pick<EngineOptions, "config">, { services, listeners }: Publication): Parts {
  return {
    tables: services.map((service) => service?.table ?? NO_TABLE),
    listeners: listeners.filter((listener) => listener !== undefined),
    lists: services[0]?.lists,
    config: { ...config, ...services[0]!.config },
  };
}
