/** Connecting that can be abandoned without losing a descriptor. Knows no server and no client. */

import { abortable } from "@std/async";

/** How long an abandoned connect may still take before it is aborted. */
export const LATE_MS = 1000;

/**
 * Connects, or rejects as soon as `signal` is aborted. `Deno.connect` leaks the descriptor of a connection that is established at
 * the moment of the abort (2.9.6). So an abandoned connect gets a little more time, and the connection that it makes is closed.
 */
export async function connectTo(hostname: string, port: number, signal: AbortSignal): Promise<Deno.TcpConn> {
  signal.throwIfAborted();
  const late = new AbortController();
  const connecting = Deno.connect({ hostname, port, signal: late.signal });
  try {
    return await abortable(connecting, signal);
  } catch (error) {
    const timer = setTimeout(() => late.abort(), LATE_MS);
    Deno.unrefTimer(timer);
    void connecting.then((socket) => socket.close(), () => {}).finally(() => clearTimeout(timer));
    throw error;
  }
}
