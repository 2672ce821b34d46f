/** Reads the PROXY header that a client of the `streams` engine must begin with. */

import { afterSockets } from "../../health/socket_timer.ts";
import type { Fate } from "../../values/fates.ts";
import { messageOf } from "../../values/errors.ts";
import { LIMITS } from "../../values/config.ts";
import { closeSocket } from "./conn_streams.ts";
import { parseProxyHeader, type ProxyHeader } from "../../values/proxy_header.ts";

/** A header, and the client's bytes that were read behind it. */
export interface ReceivedHeader extends ProxyHeader {
  readonly rest: Uint8Array<ArrayBuffer>;
}

/** Why there is no header: the fate of the connection, and the reason as a clause. */
export interface MissingHeader {
  readonly fate: Fate;
  readonly reason?: string;
}

/** Reads a header, which has `timeoutMs` to arrive. Never rejects. */
export async function receiveHeader(client: Deno.TcpConn, timeoutMs: number): Promise<ReceivedHeader | MissingHeader> {
  let isLate = false;
  const cancel = afterSockets(timeoutMs, () => {
    isLate = true;
    closeSocket(client); // ends the read; the connection may have ended a moment ago, which the read has not noticed yet
  });
  try {
    return await readHeader(client);
  } catch (error) {
    return isLate ? { fate: "proxy_timeout" } : { fate: "client_gone", reason: messageOf(error) };
  } finally {
    cancel();
  }
}

async function readHeader(client: Deno.TcpConn): Promise<ReceivedHeader | MissingHeader> {
  const buffer = new Uint8Array(LIMITS.proxyHeaderBytesMax);
  let received = 0;
  for (;;) {
    // A header that needs more than the buffer is malformed before the buffer is full.
    const count = await client.read(buffer.subarray(received));
    if (count === null && received === 0) return { fate: "client_gone" };
    if (count === null) return { fate: "proxy_malformed", reason: "the client closed the connection before its end" };
    received += count;
    const parsed = parseProxyHeader(buffer.subarray(0, received));
    if (parsed.kind === "malformed") return { fate: "proxy_malformed", reason: parsed.reason };
    if (parsed.kind === "complete") return { ...parsed.header, rest: buffer.slice(parsed.length, received) };
  }
}
