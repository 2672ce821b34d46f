/** What the access log shows of a ClientHello: the name and the protocols, under the names that they have in PROXY headers. */

import { listTlvs, SAID_TLV } from "../values/proxy_header.ts";
import type { LoggedHello } from "./connections.ts";
import { textOf } from "./received_proxy.ts";

/** What a hello said, as TLVs of a PROXY header would say it, but with each protocol that the client offers. */
export function describeHello(tlvs: Uint8Array): LoggedHello {
  const textsOf = (wanted: number) => listTlvs(tlvs).filter(({ type }) => type === wanted).map(({ value }) => textOf(value));
  return { authority: textsOf(SAID_TLV.AUTHORITY)[0] ?? null, alpn: textsOf(SAID_TLV.ALPN) };
}
