/** Reasons for the end of a dial that have no errno. They are negative, so they cannot be mistaken for one. */

export const REASON = { nameNotFound: -1, removed: -2, silent: -3 } as const;
