/**
 * Why a dial or a connection ended without an errno. Shared by the parts of a worker, which write the reasons, and the views, which
 * put them into words.
 */

/** Reasons that have no errno. They are negative, so they cannot be mistaken for one. */
export const REASON = {
  nameNotFound: -1,
  removed: -2,
  silent: -3,
  /** The source address is no longer one of this machine's. */
  sourceGone: -4,
  /** The server's address is of another family than the client's, whose address it should see. */
  otherFamily: -5,
  /** The kernel connects the source address to no such server. */
  badSource: -6,
  /** The server's check asks to drain it. */
  asking: -7,
  /** A server has closed or reset an open connection early. */
  closedEarly: -8,
  resetEarly: -9,
} as const;

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
