/** A timeout that lets sockets go first. Knows no server and no client. */

/** Long enough for the runtime to poll its sockets. */
const SOCKETS_TURN_MS = 5;

/**
 * Calls `act` once the time is over and the sockets have been polled since. The runtime runs timers before sockets: after a stall,
 * data that arrived in time may not have been delivered yet. Returns the function that cancels it.
 */
export function afterSockets(ms: number, act: () => void): () => void {
  let timer = setTimeout(() => timer = setTimeout(act, SOCKETS_TURN_MS), ms);
  return () => clearTimeout(timer);
}
