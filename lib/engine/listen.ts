/** Listening through Deno, and the error that every engine throws when it cannot listen. */

import { type Address, formatAddress } from "../values/address.ts";
import { LIMITS } from "../values/config.ts";
import { messageOf, OperatorError } from "../values/errors.ts";

/** Errors that the operator can fix, by their errno(3) names. */
const WAYS_OUT = {
  EADDRINUSE: "the port is taken by another program; choose another, or 0 for a free one",
  EADDRNOTAVAIL: "the address is not one of this machine's; choose one that is, or 0.0.0.0 or :: for all",
  EACCES: "this user may not use ports below 1024; choose a higher port, or grant CAP_NET_BIND_SERVICE",
} as const;

/** The errno names that `listenError` has advice for. */
export const LISTEN_REASONS = Object.keys(WAYS_OUT) as (keyof typeof WAYS_OUT)[];

/** A known errno name, or the system's own words. */
type ListenReason = keyof typeof WAYS_OUT | { readonly words: string };

/** The operator error for a listener that could not be opened. `verb` is what it was to do there. */
export function listenError(address: Address, reason: ListenReason, verb = "listen"): OperatorError {
  const why = typeof reason === "string" ? WAYS_OUT[reason] : reason.words;
  return new OperatorError("failed", `Cannot ${verb} on ${formatAddress(address)}: ${why}`);
}

/** Opens a Deno listener, perhaps on another port than the one that is asked for. Throws `listenError`. */
export function listenByDeno(address: Address, port = address.port): Deno.TcpListener {
  try {
    return Deno.listen({ hostname: address.host, port, tcpBacklog: LIMITS.acceptBacklog });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) throw listenError(address, "EADDRINUSE");
    if (error instanceof Deno.errors.AddrNotAvailable) throw listenError(address, "EADDRNOTAVAIL");
    if (error instanceof Deno.errors.PermissionDenied) throw listenError(address, "EACCES");
    throw listenError(address, { words: messageOf(error) });
  }
}

/** The IP address behind a host name to listen on: the one that Deno can bind. Throws `listenError`. */
export function findListenIp(address: Address): string {
  using listener = listenByDeno(address, 0);
  return listener.addr.hostname;
}
