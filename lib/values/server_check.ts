/** How one server is checked: its own settings over the daemon's. */

import type { Address } from "./address.ts";
import { parseCheck, parseCheckCa, parseStatuses, type ServerCheck } from "./check_spec.ts";
import type { Config } from "./config.ts";
import type { ProxyVersion } from "./proxy_header.ts";
import type { ServerSettings } from "./server_settings.ts";

/** The settings that say how a server is checked; null: the daemon's setting holds. */
export type OwnCheck = Pick<ServerSettings, "check" | "checkPort" | "checkHost" | "checkCa" | "checkStatus">;
/** The daemon's settings of the same kind. */
export type DaemonCheck = Pick<Config, "check" | "checkPort" | "checkHost" | "checkCa" | "checkStatus">;

/** Where a server is, and the PROXY header that its connections begin with. */
interface Checked {
  readonly address: Address;
  readonly proxy?: ProxyVersion;
}

/** The check of a server. On another port than the server's own the connection begins with no PROXY header. */
export function checkOf(own: OwnCheck, daemon: DaemonCheck, { address, proxy }: Checked): ServerCheck {
  const port = own.checkPort ?? daemon.checkPort;
  return {
    question: own.check === null ? daemon.check : parseCheck(own.check),
    port,
    host: own.checkHost ?? daemon.checkHost,
    ca: own.checkCa === null ? daemon.checkCa : parseCheckCa(own.checkCa),
    statuses: own.checkStatus === null ? daemon.checkStatus : parseStatuses(own.checkStatus),
    proxy: port === null || port === address.port ? proxy ?? "off" : "off",
  };
}
