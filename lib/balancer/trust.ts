/** The authorities that the checks of a pool trust, as they are needed when the daemon starts. */

import { Authorities } from "../health/authorities.ts";
import { parseAddress } from "../values/address.ts";
import { formatCheckCa } from "../values/check_spec.ts";
import type { Config } from "../values/config.ts";
import { checkOf } from "../values/server_check.ts";
import type { SavedServer } from "../values/saved_state.ts";
import { DEFAULT_SERVER_SETTINGS } from "../values/server_settings.ts";

/**
 * Reads the authorities of the daemon's setting and of the servers. Throws an operator error if the setting's cannot be used. If a
 * server's cannot, its checks fail, and a warning says so.
 */
export async function loadAuthorities(
  config: Config,
  servers: readonly SavedServer[],
): Promise<{ readonly authorities: Authorities; readonly warnings: readonly string[] }> {
  const authorities = new Authorities();
  const faults = new Map<string, string | undefined>(); // by name: what many servers name is read once
  if (config.checkCa.kind === "file" || config.check.kind === "https") {
    await authorities.load(config.checkCa);
    faults.set(formatCheckCa(config.checkCa), undefined);
  }
  const warnings: string[] = [];
  for (const { server, ...own } of servers) {
    const { question, ca } = checkOf({ ...DEFAULT_SERVER_SETTINGS, ...own }, config, { address: parseAddress(server) });
    if (question.kind !== "https") continue;
    const name = formatCheckCa(ca);
    if (!faults.has(name)) faults.set(name, await authorities.restore(ca));
    const fault = faults.get(name);
    if (fault !== undefined) warnings.push(`The checks of server ${server} fail: ${fault}`);
  }
  return { authorities, warnings };
}
