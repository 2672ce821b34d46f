/** Listening through Deno. */

import type { Address } from "../values/address.ts";
import { LIMITS } from "../values/config.ts";
import { messageOf } from "../values/errors.ts";
import { listenError } from "../values/listen_error.ts";

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
