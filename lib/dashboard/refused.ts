/** A request that the dashboard does not answer: its status and why, in a sentence. */

/** Statuses of refusals (RFC 9110, section 15.5). */
export const REFUSALS = { badRequest: 400, noSession: 401, foreign: 403, wrongHost: 421 } as const;

/** Thrown for a request that is refused before the daemon is asked. The message is a sentence for the person. */
export class Refused extends Error {
  /** The status of the answer. */
  readonly status: number;

  constructor(why: keyof typeof REFUSALS, message: string) {
    super(message);
    this.status = REFUSALS[why];
  }
}
