/** A server of a pool: what the operator said of it, and what engines and checks make of that. */

import { type Address, parseAddress } from "../values/address.ts";
import type { ServerCheck } from "../values/check_spec.ts";
import type { ServiceConfig } from "../values/config.ts";
import type { SavedServer } from "../values/saved_state.ts";
import { checkOf } from "../values/server_check.ts";
import type { ServerSettings } from "../values/server_settings.ts";
import type { TableServer } from "../routing/routing_table.ts";
import { settingsOf } from "./state_changes.ts";

/** A server of a pool. */
export interface PoolServer extends TableServer {
  readonly settings: ServerSettings;
  readonly draining: boolean;
  readonly check: ServerCheck;
}

/** A saved server as the service with these settings has it. */
export function makePoolServer(saved: SavedServer, config: ServiceConfig, slot: number): PoolServer {
  const settings = settingsOf(saved);
  const address: Address = parseAddress(saved.server);
  const version = settings.proxy ?? config.proxy;
  const proxy = version === "off" ? undefined : version;
  return {
    name: saved.server,
    address,
    weight: settings.weight,
    tier: settings.tier,
    connectionsMax: settings.connectionsMax ?? Infinity,
    slot,
    proxy,
    settings,
    draining: saved.draining ?? false,
    check: checkOf(settings, config, { address, proxy }),
  };
}
