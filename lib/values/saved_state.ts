/**
 * The state of a balancer as it is saved, declared and changed: the services with their listeners, settings and servers, and the
 * settings of the daemon. Plain and immutable: what did not change is the same object as before. Types and names;
 * `balancer/state_file.ts` validates.
 */

import type { SettingTexts } from "./config.ts";
import type { ServerSettings } from "./server_settings.ts";

/** The service that `start` makes. */
export const DEFAULT_SERVICE = "default";

/** Settings that every saved server has. The others were added later, and are saved where a server has them. */
export const ALWAYS_SAVED = ["weight", "connectionsMax"] as const;

/** A server of a pool, and whether it is drained by hand. */
export type SavedServer =
  & Partial<ServerSettings>
  & Pick<ServerSettings, typeof ALWAYS_SAVED[number]>
  & { readonly server: string; readonly draining?: boolean };

/** Where a service listens: a port, or all ports from `port` to `lastPort`. */
export interface SavedListener {
  /** An IP address or a host name. */
  readonly address: string;
  readonly port: number;
  /** Above `port`; undefined for a single port. */
  readonly lastPort?: number;
}

/** A service. Servers are in the order of their names. */
export interface SavedService {
  readonly name: string;
  readonly listeners: readonly SavedListener[];
  /** The settings that were given; the others have their defaults. */
  readonly settings: SettingTexts;
  readonly servers: readonly SavedServer[];
}

/** A state, and the number of the change that led to it. */
export interface SavedState {
  readonly generation: number;
  /** In the order of their names. */
  readonly services: readonly SavedService[];
  /** The settings of the daemon that were given; undefined: none was. */
  readonly daemon?: SettingTexts;
  /** The file that was applied last, and the generation that this made; undefined: none was. */
  readonly declaredIn?: { readonly path: string; readonly generation: number };
}

/** The state before the first change. */
export const EMPTY_STATE: SavedState = { generation: 0, services: [] };
