/** The steps of a check, as `balancerctl check` shows them. */

/** The steps in their order. Each address that does not accept is `refused`. */
export const CHECK_STEPS = ["resolved", "refused", "connected", "announced", "encrypted", "answered"] as const;

/** A step that a check has taken. */
export interface CheckStep {
  readonly step: typeof CHECK_STEPS[number];
  /** What came of it: addresses, a TLS version, a status line. */
  readonly detail: string;
  /** When, in ms from the start of the check. */
  readonly atMs: number;
}
