/**
 * Why a dial or a connection ended without an errno. Shared by the parts of a worker, which write the reasons, and the views, which
 * put them into words.
 */

/** Reasons that have no errno. They are negative, so they cannot be mistaken for one. */
export const REASON = { nameNotFound: -1, removed: -2, silent: -3, asking: -4, closedEarly: -5, resetEarly: -6 } as const;

/** Reasons for which a dial goes on to another server. They say nothing about what the dialled server can do. */
const PASSED_OVER: readonly number[] = [REASON.removed, REASON.silent, REASON.asking];

/** Whether the operator or the checks made a dial go on to another server. */
export function isPassedOver(errno: number): boolean {
  return PASSED_OVER.includes(errno);
}

/** Whether a server has lost an open connection early. */
export function isEarlyReason(errno: number): boolean {
  return errno === REASON.closedEarly || errno === REASON.resetEarly;
}
