/** Why an engine could not listen, in a sentence; the same from every engine. */

import { type Address, formatAddress } from "../address.ts";
import { OperatorError } from "../errors.ts";

/** Reasons that have a way out; the keys are the names errno(3) gives them. */
const WAYS_OUT = {
  EADDRINUSE: "the port is taken by another program; choose another, or 0 for a free one",
  EADDRNOTAVAIL: "the address is not one of this machine's; choose one that is, or 0.0.0.0 or :: for all",
  EACCES: "this user may not use ports below 1024; choose a higher port, or grant CAP_NET_BIND_SERVICE",
} as const;

/** The operator error for a listener that could not be had: a reason of the table, or the system's own words. */
export function listenError(address: Address, reason: keyof typeof WAYS_OUT | { readonly words: string }): OperatorError {
  const why = typeof reason === "string" ? WAYS_OUT[reason] : reason.words;
  return new OperatorError("failed", `Cannot listen on ${formatAddress(address)}: ${why}`);
}
