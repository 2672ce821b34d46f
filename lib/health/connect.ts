/** Connecting that can be given up without losing a descriptor. Knows no server and no client. */

/** How long a connect that was given up may still take before it is aborted. */
export const LATE_MS = 1000;

/**
 * Connects, or rejects as soon as it is aborted. Deno.connect loses the descriptor of a connection that was made at the very moment
 * of the abort (2.9.6): so it is given a little longer, and what it then makes is closed.
 */
export async function connectTo(hostname: string, port: number, signal: AbortSignal): Promise<Deno.TcpConn> {
  signal.throwIfAborted();
  const late = new AbortController();
  const connecting = Deno.connect({ hostname, port, signal: late.signal });
  try {
    return await untilAborted(connecting, signal);
  } catch (error) {
    const timer = setTimeout(() => late.abort(), LATE_MS);
    Deno.unrefTimer(timer);
    void connecting.then((socket) => socket.close(), () => {}).finally(() => clearTimeout(timer));
    throw error;
  }
}

/** The promise's value, or the abort's rejection if it comes first. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  return Promise.race([promise, aborted.promise]).finally(() => signal.removeEventListener("abort", onAbort));
}
