/** Why a dial ended without an errno. Shared by the dialer, which writes the reasons, and the views, which put them into words. */

/** Reasons that have no errno. They are negative, so they cannot be mistaken for one. */
export const REASON = { nameNotFound: -1, removed: -2, silent: -3 } as const;
