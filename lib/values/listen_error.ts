/** Why a program cannot listen on an address, in a sentence with a way out. */

import { type Address, formatAddress } from "./address.ts";
import { messageOf, OperatorError } from "./errors.ts";

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

/** The reason in an error of node:net. */
export function listenReasonOf(error: unknown): ListenReason {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "EINVAL") return "EADDRNOTAVAIL"; // what Deno's node:net makes of it
  return LISTEN_REASONS.find((reason) => reason === code) ?? { words: messageOf(error) };
}
