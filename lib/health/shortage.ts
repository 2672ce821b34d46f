/** Errors of connect(2) that mean this machine has run out of a resource. They say nothing about the server that was dialled. */

/** The errno(3) names: no descriptors, no memory, no free port, no room in the routing cache (connect(2)). */
export const OWN_SHORTAGES = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL", "EAGAIN"] as const;

/** Whether a Deno error is a shortage of this machine. */
export function isOwnShortage(error: unknown): boolean {
  return error instanceof Error && "code" in error && OWN_SHORTAGES.some((name) => name === error.code);
}
