/**
 * The local addresses that server connections come from, as an operator lists them, and how many ports they have. Whether an
 * address is this machine's is not asked here: the engine tries it.
 */

import ipaddr from "ipaddr.js";
import { isIp, parseHost } from "./address.ts";
import { OperatorError } from "./errors.ts";

/** The addresses by family, in the order of the list. Of at least one family there is one. */
export interface SourceAddresses {
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
}

/** Kinds of addresses that no connection can come from, or none without the name of an interface. */
const NO_SOURCES: readonly string[] = ["unspecified", "multicast", "broadcast", "link-local"];

/** Reads `10.0.0.5,10.0.0.6,2001:db8::5`, at most so many. Throws a `usage` error. */
export function parseSources(text: string, max: number): SourceAddresses {
  const ips = text.split(",").map((part) => parseSource(part.trim()));
  const twice = ips.find((ip, i) => ips.indexOf(ip) < i);
  if (twice !== undefined) throw new OperatorError("usage", `Source address ${JSON.stringify(twice)} is listed twice`);
  if (ips.length > max) throw new OperatorError("usage", `There are ${ips.length} source addresses; at most ${max} are possible`);
  return { ipv4: ips.filter((ip) => !ip.includes(":")), ipv6: ips.filter((ip) => ip.includes(":")) };
}

function parseSource(text: string): string {
  const ip = ipOrUndefined(text);
  if (ip === undefined) {
    throw new OperatorError("usage", `Source address ${JSON.stringify(text)} is not an IP address such as 10.0.0.5`);
  }
  const range = ipaddr.parse(ip).range();
  const kind = range === "linkLocal" && ip.includes(":") ? "link-local" : range;
  if (!NO_SOURCES.includes(kind)) return ip;
  throw new OperatorError("usage", `Source address ${JSON.stringify(text)} is ${kind}: give another address of this machine`);
}

function ipOrUndefined(text: string): string | undefined {
  try {
    const host = parseHost(text);
    return isIp(host) ? host : undefined;
  } catch {
    return undefined;
  }
}

/**
 * From how many local addresses the server with this host can be dialled: 1 where the kernel chooses. The addresses of a name may
 * be of either family: the family with fewer addresses counts.
 */
export function countSources(sources: SourceAddresses | null, host: string): number {
  if (sources === null) return 1;
  const [ipv4, ipv6] = [sources.ipv4, sources.ipv6].map(({ length }) => Math.max(1, length));
  if (!isIp(host)) return Math.min(ipv4, ipv6);
  return host.includes(":") ? ipv6 : ipv4;
}

/** How much of the local ports towards a server is in use, 0 to 1: one port per connection and local address. */
export function localPortsRatio(open: number, portsPerSource: number, sources: number): number {
  return Math.min(1, open / (portsPerSource * sources));
}
