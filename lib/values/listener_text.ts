/** Where a service listens, as text: `0.0.0.0:80`, `[::]:80`, or with a range of ports `0.0.0.0:8000-8009`. */

import { type Address, formatAddress, parseHost, parsePort } from "./address.ts";
import { LIMITS } from "./config.ts";
import { OperatorError } from "./errors.ts";
import type { SavedListener } from "./saved_state.ts";

/**
 * Reads a host and a port or a range of ports. Port 0, any free one, cannot be in a range. Throws a `usage` error; also for
 * port 0 if `portMin` is 1.
 */
export function parseListener(host: string, ports: string, portMin: 0 | 1 = 0): SavedListener {
  const address = parseHost(host);
  const range = ports.match(/^([0-9]+)-([0-9]+)$/);
  if (range === null) return { address, port: parsePort(ports, portMin) };
  const [port, lastPort] = [parsePort(range[1]), parsePort(range[2])];
  const cannot = `Port range ${JSON.stringify(ports)}`;
  if (lastPort < port) throw new OperatorError("usage", `${cannot} ends before it begins; write ${lastPort}-${port}`);
  const count = lastPort - port + 1;
  if (count > LIMITS.portRangeMax) {
    throw new OperatorError("usage", `${cannot} has ${count} ports, and the limit is ${LIMITS.portRangeMax}; use several services`);
  }
  return count === 1 ? { address, port } : { address, port, lastPort };
}

/** Reads the text of a listener, as `formatListener` writes it. Throws a `usage` error. */
export function parseListenerText(text: string, portMin: 0 | 1 = 0): SavedListener {
  const colon = text.lastIndexOf(":");
  if (colon < 1) throw new OperatorError("usage", `Listen address ${JSON.stringify(text)} has no port: write it as 0.0.0.0:80`);
  const host = text.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  return parseListener(host, text.slice(colon + 1), portMin);
}

/** The listener as text. */
export function formatListener({ address, port, lastPort }: SavedListener): string {
  const first = formatAddress({ host: address, port });
  return lastPort === undefined ? first : `${first}-${lastPort}`;
}

/** The addresses of a listener, one for each port. */
export function addressesOf({ address: host, port, lastPort = port }: SavedListener): Address[] {
  return Array.from({ length: lastPort - port + 1 }, (_, i) => ({ host, port: port + i }));
}

/** Whether two listeners have an address and port in common. Port 0 is any free one, which nobody else has. */
export function overlap(a: SavedListener, b: SavedListener): boolean {
  if (a.port === 0 || b.port === 0) return false;
  const isDisjoint = (a.lastPort ?? a.port) < b.port || (b.lastPort ?? b.port) < a.port;
  return !isDisjoint && (a.address === b.address || covers(a.address, b.address) || covers(b.address, a.address));
}

/** Whether listening on `all` includes the other address. `::` includes IPv4, as Linux binds it. */
function covers(all: string, other: string): boolean {
  return all === "::" || (all === "0.0.0.0" && !other.includes(":"));
}
