/** Listening: by Deno, and why an engine could not, in a sentence that is the same from every engine. */

import { type Address, formatAddress } from "../values/address.ts";
import { LIMITS } from "../values/config.ts";
import { messageOf, OperatorError } from "../values/errors.ts";

/** Reasons that have a way out; the keys are the names errno(3) gives them. */
const WAYS_OUT = {
  EADDRINUSE: "the port is taken by another program; choose another, or 0 for a free one",
  EADDRNOTAVAIL: "the address is not one of this machine's; choose one that is, or 0.0.0.0 or :: for all",
  EACCES: "this user may not use ports below 1024; choose a higher port, or grant CAP_NET_BIND_SERVICE",
} as const;

/** The reasons that have a way out. */
export const LISTEN_REASONS = Object.keys(WAYS_OUT) as (keyof typeof WAYS_OUT)[];

/** The operator error for a listener that could not be had: a reason of the table, or the system's own words. */
export function listenError(address: Address, reason: keyof typeof WAYS_OUT | { readonly words: string }): OperatorError {
  const why = typeof reason === "string" ? WAYS_OUT[reason] : reason.words;
  return new OperatorError("failed", `Cannot listen on ${formatAddress(address)}: ${why}`);
}

/** A listener of Deno's. Throws `listenError`. */
export function listenByDeno(address: Address): Deno.TcpListener {
  try {
    return Deno.listen({ hostname: address.host, port: address.port, tcpBacklog: LIMITS.acceptBacklog });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) throw listenError(address, "EADDRINUSE");
    if (error instanceof Deno.errors.AddrNotAvailable) throw listenError(address, "EADDRNOTAVAIL");
    if (error instanceof Deno.errors.PermissionDenied) throw listenError(address, "EACCES");
    throw listenError(address, { words: messageOf(error) });
  }
}

/** The IP address that a host name to listen on stands for: the one on which Deno can listen. Throws `listenError`. */
export function findListenIp({ host }: Address): string {
  using listener = listenByDeno({ host, port: 0 });
  return listener.addr.hostname;
}
