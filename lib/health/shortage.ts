/** Errors of connecting by which this machine has too little of something. They say nothing of the server that was dialled. */

/** As errno(3) names them: no descriptors, no memory, no free port, no room for a route (connect(2)). */
export const OWN_SHORTAGES = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL", "EAGAIN"] as const;

/** Whether an error of Deno's is one of them. */
export function isOwnShortage(error: unknown): boolean {
  const { code } = error as { code?: string };
  return OWN_SHORTAGES.some((name) => name === code);
}
