/**
 * Socket addresses (struct sockaddr_in, sockaddr_in6) as bytes: encodes them for connect(2) and bind(2), and reads those of
 * accept(2).
 */

import { type Address, ipBytes, isIp } from "../../values/address.ts";
import { SOCKADDR, SOCKET } from "./libc.ts";

/** Bytes from one encoded address to the next: a sockaddr, and after it its length (0: the server is known by name). */
export const ADDRESS_STRIDE = 32;
/** The offset of that length. */
export const ADDRESS_LENGTH_AT = 28;

/** Encodes an address as a sockaddr in `ADDRESS_STRIDE` bytes. A host name gets the length 0. */
export function encodeSockaddr({ host, port }: Address): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(ADDRESS_STRIDE);
  if (!isIp(host)) return bytes;
  const view = new DataView(bytes.buffer);
  const ip = ipBytes(host);
  const isIpv4 = ip.length === 4;
  view.setUint16(SOCKADDR.family, isIpv4 ? SOCKET.AF_INET : SOCKET.AF_INET6, true);
  view.setUint16(SOCKADDR.port, port);
  bytes.set(ip, isIpv4 ? SOCKADDR.address4 : SOCKADDR.address6);
  bytes[ADDRESS_LENGTH_AT] = isIpv4 ? SOCKADDR.length4 : SOCKADDR.length6;
  return bytes;
}

/** The port in a sockaddr. */
export function portOf(sockaddr: Uint8Array): number {
  return sockaddr[SOCKADDR.port] << 8 | sockaddr[SOCKADDR.port + 1];
}

/**
 * The offset of the IP address in a sockaddr. For an IPv4-mapped IPv6 address (::ffff:0:0/96, RFC 4291), that of the IPv4 address.
 */
export function ipStart(sockaddr: Uint8Array): number {
  if (sockaddr[SOCKADDR.family] === SOCKET.AF_INET) return SOCKADDR.address4;
  return isMapped(sockaddr) ? SOCKADDR.address6 + 12 : SOCKADDR.address6;
}

/** The length of that IP address in bytes. */
export function ipLength(sockaddr: Uint8Array): number {
  return sockaddr[SOCKADDR.family] === SOCKET.AF_INET || isMapped(sockaddr) ? 4 : 16;
}

function isMapped(sockaddr: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (sockaddr[SOCKADDR.address6 + i] !== 0) return false;
  return sockaddr[SOCKADDR.address6 + 10] === 0xff && sockaddr[SOCKADDR.address6 + 11] === 0xff;
}
