/**
 * PROXY protocol headers (HAProxy, doc/proxy-protocol.txt, edition of 2026-04-27), both versions: parses what a client's balancer
 * sent, and writes what a server is told. Knows no socket and no clock: who may send a header, and how long it may take, is decided
 * elsewhere.
 */

import { type Announcement, beginsWith, INCOMPLETE, malformed, type ParsedHeader, type ProxyVersion } from "./proxy_parts.ts";
import { parseV1, V1_SIGNATURE, writeUnknownV1, writeV1 } from "./proxy_v1.ts";
import { parseV2, V2_SIGNATURE, writeLocalV2, writeV2 } from "./proxy_v2.ts";

/** What headers say, in both directions. */
export type { Announcement, Endpoint, ParsedHeader, ProxyHeader, ProxyVersion } from "./proxy_parts.ts";
/** The TLVs of a header, as the access log shows them, and how more of them are said. */
export { addMissing, listTlvs, SAID_TLV, takeFitting, type Tlv } from "./proxy_tlvs.ts";

/**
 * Parses the header at the start of the bytes received so far, and copies what it says. "Incomplete" while more bytes could still
 * make it valid.
 */
export function parseProxyHeader(bytes: Uint8Array): ParsedHeader {
  const [v1, v2] = [beginsWith(bytes, V1_SIGNATURE), beginsWith(bytes, V2_SIGNATURE)];
  if (v1 === "yes") return parseV1(bytes);
  if (v2 === "yes") return parseV2(bytes);
  return v1 === "no" && v2 === "no" ? malformed("it begins like neither version") : INCOMPLETE;
}

/**
 * Whether these first bytes of a connection begin a header: "perhaps" while they are a prefix of the signature of either version.
 */
export function looksLikeHeader(bytes: Uint8Array): "yes" | "no" | "perhaps" {
  const answers = [beginsWith(bytes, V1_SIGNATURE), beginsWith(bytes, V2_SIGNATURE)];
  return answers.find((answer) => answer !== "no") ?? "no";
}

/**
 * The header for a server. v2 carries the unique id (0x05), the given TLVs and a CRC32C (0x03), and leaves out what would exceed
 * LIMITS.proxyHeaderBytesMax; v1 carries the addresses alone. Families that differ are written as IPv6, IPv4 mapped.
 */
export function writeProxyHeader(version: ProxyVersion, announcement: Announcement): Uint8Array {
  return version === "v1" ? writeV1(announcement) : writeV2(announcement);
}

/** The header of the balancer's own connection, such as a health check: LOCAL for v2, UNKNOWN for v1. */
export function writeLocalHeader(version: ProxyVersion): Uint8Array {
  return version === "v1" ? writeUnknownV1() : writeLocalV2();
}
