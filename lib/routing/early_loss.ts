/**
 * When the loss of an open connection is the server's failure. A server that accepts and then closes or resets at once passes every
 * check by TCP, and the next client of the ring would get it again. Pure: engines say what they see, health counts.
 */

/**
 * How a client's connection fails: the server does not accept it or is dead (`connect`), or it accepts and soon loses the
 * connection without an answer (`answer`).
 */
export type TrafficFailure = "connect" | "answer";

/** A server that has kept a connection for longer had time to answer, and may have had a reason to end it. */
const EARLY_MS = 1000;

/** The reasons of early losses, as clauses: by a FIN and by a reset. */
export const EARLY_LOSSES = {
  end: "it closed the connection before it answered",
  reset: "it reset the connection before it answered",
} as const;

/** What is known of a connection that its server has ended or reset. */
interface LostConnection {
  /** Time since the server was dialled. */
  readonly connectedForMs: number;
  /** This server has sent bytes on the connection: an answer or a greeting. */
  readonly hasAnswered: boolean;
  /** The client has sent FIN: the server may only have followed it. */
  readonly hasClientEnded: boolean;
}

/** Whether the loss counts as a failure of the server. */
export function isEarlyLoss({ connectedForMs, hasAnswered, hasClientEnded }: LostConnection): boolean {
  return !hasAnswered && !hasClientEnded && connectedForMs <= EARLY_MS;
}
