/** Why a dial ended, where it is no errno: numbers below 0, so that they cannot be taken for one. */

export const REASON = { nameNotFound: -1, removed: -2, silent: -3 } as const;
