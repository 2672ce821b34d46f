/** Why a dial ended without an errno. Shared by the dialer, which writes the reasons, and the views, which put them into words. */

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
} as const;
