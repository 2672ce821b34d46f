/**
 * What headers of both versions of the PROXY protocol have in common: the types of what they say, and how their first bytes are
 * told. `proxy_header.ts` is the door; nobody else imports this file.
 */

import { assert } from "./errors.ts";

/** The versions that the specification defines: a line of text, and binary. */
export type ProxyVersion = "v1" | "v2";

/** An IP address as 4 or 16 bytes in network order, and a port from 0 to 65535. */
export interface Endpoint {
  readonly ip: Uint8Array;
  readonly port: number;
}

/**
 * What a received header says. Without source and destination (LOCAL, UNKNOWN, or a family without IP addresses), the socket's
 * addresses hold. An IPv4 address mapped into IPv6 has 16 bytes, as it was sent. Nothing here shares memory with the received
 * bytes.
 */
export interface ProxyHeader {
  readonly source: Endpoint | undefined;
  readonly destination: Endpoint | undefined;
  /** v2: the TLVs as they came, checked, without those that hold for one hop alone (CRC32C, NOOP, UNIQUE_ID); empty for v1. */
  readonly tlvs: Uint8Array;
  /** v2: the id that the sender gave the connection, at most 128 bytes. */
  readonly uniqueId: Uint8Array | undefined;
}

/** What the bytes received so far amount to. */
export type ParsedHeader =
  | { readonly kind: "complete"; /** Bytes of the header. */ readonly length: number; readonly header: ProxyHeader }
  | { readonly kind: "incomplete" }
  | { readonly kind: "malformed"; /** A clause: what is wrong with the header. */ readonly reason: string };

/** What a header tells a server. */
export interface Announcement {
  /** The client. */
  readonly source: Endpoint;
  /** Where the client connected to. */
  readonly destination: Endpoint;
  /** v2: TLVs to pass on, one after another, as `ProxyHeader` has them. */
  readonly tlvs: Uint8Array;
  /** v2: the id of the connection, at most 128 bytes; none if it is empty. */
  readonly uniqueId: Uint8Array;
}

/** More bytes may make it a header. */
export const INCOMPLETE: ParsedHeader = { kind: "incomplete" };

/** No bytes. */
export const NO_BYTES: Uint8Array = new Uint8Array(0);

/** A header that leaves the socket's addresses as they are. */
export const NOTHING_SAID: ProxyHeader = { source: undefined, destination: undefined, tlvs: NO_BYTES, uniqueId: undefined };

/** A header that no more bytes can make valid. */
export function malformed(reason: string): ParsedHeader {
  return { kind: "malformed", reason };
}

/** A header of so many bytes. */
export function complete(length: number, header: ProxyHeader): ParsedHeader {
  return { kind: "complete", length, header };
}

/** Whether the bytes begin with the signature; "perhaps" while they are fewer and all alike. */
export function beginsWith(bytes: Uint8Array, signature: Uint8Array): "yes" | "no" | "perhaps" {
  const there = Math.min(bytes.length, signature.length);
  for (let i = 0; i < there; i++) if (bytes[i] !== signature[i]) return "no";
  return there === signature.length ? "yes" : "perhaps";
}

/** The characters as bytes. */
export function ascii(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Both addresses in one family: as they are where they agree, else as IPv6, the IPv4 address mapped (RFC 4291, 2.5.5.2). */
export function ofOneFamily({ source, destination }: Announcement): readonly [source: Uint8Array, destination: Uint8Array] {
  const ips = [source.ip, destination.ip] as const;
  assert(ips.every((ip) => ip.length === 4 || ip.length === 16), "an IP address has 4 or 16 bytes");
  return ips[0].length === ips[1].length ? ips : [mapped(ips[0]), mapped(ips[1])];
}

function mapped(ip: Uint8Array): Uint8Array {
  return ip.length === 16 ? ip : Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...ip);
}
