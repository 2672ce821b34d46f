/** What the access log shows of a PROXY header: who sent it, and its TLVs by name, as text where they are text. */

import { type Address, formatAddress } from "../values/address.ts";
import { listTlvs } from "../values/proxy_header.ts";
import type { ReceivedProxy } from "./connections.ts";

/** The names of types that the specification defines (HAProxy, doc/proxy-protocol.txt, section 2.2). */
const TLV_NAMES: Readonly<Record<number, string>> = { 0x01: "alpn", 0x02: "authority", 0x20: "ssl", 0x30: "netns" };

/** A header that this peer has sent, with these TLVs. Of several with the same type, the last one is shown. */
export function describeProxy(peer: Address, tlvs: Uint8Array): ReceivedProxy {
  const shown = listTlvs(tlvs).map(({ type, value }) => [TLV_NAMES[type] ?? `0x${hex(Uint8Array.of(type))}`, textOf(value)]);
  return { peer: formatAddress(peer), tlvs: Object.fromEntries(shown) };
}

/** Printable ASCII as it is, anything else in hexadecimal. */
export function textOf(value: Uint8Array): string {
  const isText = value.every((byte) => byte >= 0x20 && byte < 0x7f);
  return isText ? String.fromCharCode(...value) : `0x${hex(value)}`;
}

function hex(bytes: Uint8Array): string {
  return bytes.toHex();
}
