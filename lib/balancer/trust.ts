/** The authorities that the checks of all services trust, as they are needed when the daemon starts. */

import { Authorities } from "../health/authorities.ts";
import { parseAddress } from "../values/address.ts";
import { type CheckCa, formatCheckCa } from "../values/check_spec.ts";
import { checkOf, type DaemonCheck } from "../values/server_check.ts";
import type { SavedServer } from "../values/saved_state.ts";
import { DEFAULT_SERVER_SETTINGS } from "../values/server_settings.ts";

/** A service whose checks need authorities. */
interface TrustingService {
  readonly name: string;
  readonly config: DaemonCheck;
  readonly servers: readonly SavedServer[];
  /** Whether somebody gives its settings now, who is told at once what is wrong; else they are those of before a restart. */
  readonly isGiven: boolean;
}

/**
 * Reads the authorities of the services' settings and of the servers. Throws an operator error if those of given settings cannot be
 * used. If others cannot, the checks that need them fail, and a warning says so. What many name is read once.
 */
export async function loadAuthorities(
  services: readonly TrustingService[],
): Promise<{ readonly authorities: Authorities; readonly warnings: readonly string[] }> {
  const authorities = new Authorities();
  const faults = new Map<string, string | undefined>(); // by name
  for (const { config, isGiven } of services) {
    if (!isGiven || !needsAuthorities(config)) continue;
    await authorities.load(config.checkCa);
    faults.set(formatCheckCa(config.checkCa), undefined);
  }
  const warnings: string[] = [];
  const need = async (whose: string, ca: CheckCa) => {
    const name = formatCheckCa(ca);
    if (!faults.has(name)) faults.set(name, await authorities.restore(ca));
    const fault = faults.get(name);
    if (fault !== undefined) warnings.push(`The checks of ${whose} fail: ${fault}`);
  };
  for (const { name, config, servers, isGiven } of services) {
    const service = `service ${JSON.stringify(name)}`;
    if (!isGiven && needsAuthorities(config)) await need(service, config.checkCa);
    for (const { server, ...own } of servers) {
      const { question, ca } = checkOf({ ...DEFAULT_SERVER_SETTINGS, ...own }, config, { address: parseAddress(server) });
      const isKnown = needsAuthorities(config) && formatCheckCa(ca) === formatCheckCa(config.checkCa);
      if (question.kind !== "https" || isKnown) continue;
      await need(services.length > 1 ? `server ${server} of ${service}` : `server ${server}`, ca);
    }
  }
  return { authorities, warnings };
}

/** Whether the checks of servers that name no authorities of their own need the setting, now or once they are https. */
function needsAuthorities({ check, checkCa }: DaemonCheck): boolean {
  return checkCa.kind === "file" || check.kind === "https";
}
