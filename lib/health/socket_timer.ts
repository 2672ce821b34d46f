/** A timeout that does not overtake sockets. Knows no server and no client. */

/** Long enough for the runtime to look at its sockets. */
const SOCKETS_TURN_MS = 5;

/**
 * Calls `act` when the time is over and sockets have had a turn since. The runtime serves timers before sockets: where it was held up, what
 * came in time may be there and still to be told. Gives what cancels it.
 */
export function afterSockets(ms: number, act: () => void): () => void {
  let timer = setTimeout(() => timer = setTimeout(act, SOCKETS_TURN_MS), ms);
  return () => clearTimeout(timer);
}
