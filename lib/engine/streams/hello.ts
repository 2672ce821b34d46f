/** Reads the first message of TLS of a client of the `streams` engine, where it says which service the client gets. */

import { afterSockets } from "../../health/socket_timer.ts";
import { ClientHelloReader } from "../../values/client_hello.ts";
import { LIMITS } from "../../values/config.ts";
import { messageOf } from "../../values/errors.ts";
import { ENDED_EARLY, type FinalVerdict, SAID_NOTHING } from "../names.ts";
import type { PendingRead } from "./conn_streams.ts";
import type { MissingHeader } from "./proxy_header.ts";

/** The client's first bytes. */
export interface FirstBytes {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** A read under way for those behind them. */
  readonly pending?: PendingRead;
}

/** The verdict on a client's first bytes, and these. */
export interface ReceivedHello extends FirstBytes {
  readonly verdict: FinalVerdict;
}

/** What `Promise.race` gives when the time is over. */
const LATE = Symbol("late");

/** Reads a hello, of which these bytes are there and which has `timeoutMs` to arrive. Never rejects. */
export async function receiveHello(
  client: Deno.TcpConn,
  first: Uint8Array,
  timeoutMs: number,
): Promise<ReceivedHello | MissingHeader> {
  const late = Promise.withResolvers<typeof LATE>();
  const cancel = afterSockets(timeoutMs, () => late.resolve(LATE));
  try {
    return await readHello(client, first, late.promise);
  } catch (error) {
    return { fate: "client_gone", reason: messageOf(error) };
  } finally {
    cancel();
  }
}

async function readHello(
  client: Deno.TcpConn,
  first: Uint8Array,
  late: Promise<typeof LATE>,
): Promise<ReceivedHello | MissingHeader> {
  // A hello that needs more than the buffer is malformed before the buffer is full.
  const buffer = new Uint8Array(Math.max(first.length, LIMITS.helloBytesMax));
  buffer.set(first);
  const reader = new ClientHelloReader();
  for (let received = first.length;;) {
    const verdict = reader.read(buffer.subarray(0, received));
    if (verdict.kind !== "more") return { verdict, bytes: buffer.slice(0, received) };
    const rest = buffer.subarray(received);
    const reading = client.read(rest);
    const count = await Promise.race([reading, late]);
    if (count === LATE) {
      reading.catch(() => {}); // if the client ends now, nobody waits for it
      return received > 0
        ? { fate: "hello_timeout" }
        : { verdict: SAID_NOTHING, bytes: rest.slice(0, 0), pending: { buffer: rest, reading } };
    }
    if (count === null) return received > 0 ? { verdict: ENDED_EARLY, bytes: buffer.slice(0, received) } : { fate: "client_gone" };
    received += count;
  }
}
