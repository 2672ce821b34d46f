/**
 * Addresses: of servers and listeners as people write them, in one canonical form, so that equal addresses are equal strings; and
 * of clients as the bytes that the ring hashes. Looks nothing up: a host name stays a name until the engine dials it.
 */

import ipaddr from "ipaddr.js";
import { OperatorError } from "./errors.ts";

/** Where to listen or connect: `host` is a canonical IP address or host name, `port` is from 0 (any free one) to 65535. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Limits on a host name and on one label of it, in octets (RFC 1035, section 2.3.4). */
const NAME_MAX = 253;
const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** The canonical form of an IPv4 address, an IPv6 address (RFC 5952) or a host name. Throws a `usage` error naming the text. */
export function parseHost(text: string): string {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return text;
  const undotted = withoutDots(text);
  if (ipaddr.IPv6.isValid(undotted) && !/[%.]/.test(undotted)) return ipaddr.process(undotted).toString();
  const name = text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()).replace(/\.$/, ""); // ASCII alone: U+212A is no k
  const labels = name.split(".");
  // A name whose last part is a number is a mistyped IPv4 address (WHATWG URL, "ends in a number checker").
  const isNumber = /^([0-9]+|0x[0-9a-f]*)$/.test(labels.at(-1)!);
  if (name.length <= NAME_MAX && labels.every((label) => LABEL.test(label)) && !isNumber) return name;
  throw new OperatorError("usage", `Address ${JSON.stringify(text)} is not an IPv4 address, IPv6 address or host name`);
}

/** An IPv6 address with dotted last 32 bits rewritten in hexadecimal: ipaddr.js reads `::1.2.3.4` as `::ffff:1.2.3.4`. */
function withoutDots(text: string): string {
  const [, head, tail] = text.match(/^(.*:)([0-9.]+)$/s) ?? [];
  if (tail === undefined || !ipaddr.IPv4.isValidFourPartDecimal(tail)) return text;
  const [a, b, c, d] = tail.split(".").map(Number);
  return `${head}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
}

/** A port from `min` (1 for a server, 0 for a listener that takes any free one) to 65535. Throws a `usage` error. */
export function parsePort(text: string, min: 0 | 1 = 1): number {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : NaN;
  if (port >= min && port <= 65535) return port;
  throw new OperatorError("usage", `Port ${JSON.stringify(text)} is not a whole number from ${min} to 65535`);
}

/**
 * Reads what `formatAddress` writes: `10.0.0.1:80`, `[::1]:80`, `db.example:80`. `what` it is the address of, and the least port as
 * `parsePort` has it. Throws a `usage` error.
 */
export function parseAddress(text: string, what = "Server", portMin: 0 | 1 = 1): Address {
  const [, bracketed, bare, port] = text.match(/^(?:\[(.*)\]|([^:]*)):([^:]*)$/) ?? [];
  if (port === undefined) throw new OperatorError("usage", `${what} ${JSON.stringify(text)} is not of the form address:port`);
  return { host: parseHost(bracketed ?? bare), port: parsePort(port, portMin) };
}

/** `host:port`, an IPv6 address in brackets. A server's name, and so its place on the ring. */
export function formatAddress({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Whether a connection to `target` from this machine, which has the addresses `ownIps`, arrives at a listener on `listener`. No
 * name except `localhost` is resolved.
 */
export function reaches(target: Address, listener: Address, ownIps: readonly string[] = []): boolean {
  if (target.port !== listener.port) return false;
  if (target.host === listener.host) return true;
  return arrivals(target.host).some((ip) => arrivals(listener.host).includes(ip) || listensOnAll(listener.host, ip, ownIps));
}

/** Where a connection to this host goes. The unspecified address and `localhost` both mean this machine (ip(7)). */
function arrivals(host: string): readonly string[] {
  if (host === "localhost") return ["127.0.0.1", "::1"];
  if (host === "0.0.0.0") return ["127.0.0.1"];
  return host === "::" ? ["::1"] : [host];
}

/** Whether a listener on `host` accepts connections to every address of the machine, and `ip` is one of them. */
function listensOnAll(host: string, ip: string, ownIps: readonly string[]): boolean {
  if (!ipaddr.isValid(ip) || !(ownIps.includes(ip) || ipaddr.parse(ip).range() === "loopback")) return false;
  return host === "::" || host === "0.0.0.0" && !ip.includes(":");
}

/** How many leading bits of an address count: for IPv4 from 1 to 32, for IPv6 from 1 to 128. */
export interface PrefixLengths {
  readonly ipv4Bits: number;
  readonly ipv6Bits: number;
}

/**
 * Reads `24` (IPv4 addresses), `64` (above 32: IPv6 addresses) or `24,64` (both). What is not given is taken from `others`.
 * Undefined: the text is nothing of the kind.
 */
export function parsePrefixLengths(text: string, others: PrefixLengths): PrefixLengths | undefined {
  const [, first, second] = text.match(/^([0-9]{1,3})(?:,([0-9]{1,3}))?$/) ?? [];
  const isForIpv6 = second === undefined && Number(first) > 32;
  const ipv4Bits = isForIpv6 ? others.ipv4Bits : Number(first);
  const ipv6Bits = isForIpv6 ? Number(first) : Number(second ?? others.ipv6Bits);
  return ipv4Bits >= 1 && ipv4Bits <= 32 && ipv6Bits >= 1 && ipv6Bits <= 128 ? { ipv4Bits, ipv6Bits } : undefined;
}

/**
 * Which part of a client's address is its key: the prefix lengths for IPv4 and IPv6, and whether the port is included. Clients with
 * equal keys get the same server.
 */
export interface KeyRule extends PrefixLengths {
  readonly withPort: boolean;
}

const WHOLE: PrefixLengths = { ipv4Bits: 32, ipv6Bits: 128 };

/**
 * Reads `ip`, `ip:port`, `ip/24` (the first 24 bits of IPv4 addresses, whole IPv6 addresses), `ip/64` (above 32: the prefix of IPv6
 * addresses, whole IPv4 addresses) or `ip/24,64` (both). Throws a `usage` error.
 */
export function parseKeyRule(text: string): KeyRule {
  if (text === "ip") return { ...WHOLE, withPort: false };
  if (text === "ip:port") return { ...WHOLE, withPort: true };
  const lengths = text.startsWith("ip/") ? parsePrefixLengths(text.slice("ip/".length), WHOLE) : undefined;
  if (lengths !== undefined) return { ...lengths, withPort: false };
  throw new OperatorError("usage", `Key ${JSON.stringify(text)} is not ip, ip:port or a prefix such as ip/24, ip/64 or ip/24,64`);
}

/** Whether the host is an IP address and not a name. */
export function isIp(host: string): boolean {
  return ipaddr.isValid(host);
}

/** The 4 or 16 bytes of an IP address in network order. An IPv4 address mapped into IPv6 (`::ffff:192.0.2.1`) has 4. */
export function ipBytes(ip: string): Uint8Array {
  return Uint8Array.from(ipaddr.process(ip).toByteArray());
}

/** The canonical form of an IP address of 4 or 16 bytes. An IPv4 address mapped into IPv6 is written as IPv4. */
export function formatIp(bytes: Uint8Array): string {
  // ipaddr.js takes 2 µs, and the access log writes thousands of addresses a second.
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  return ipaddr.process(ipaddr.fromByteArray([...bytes]).toString()).toString();
}

/**
 * Where the IPv4 address begins in the address of `length` bytes (4 or 16) at `bytes[at]`; -1 if it is an IPv6 address. An IPv4
 * address mapped into IPv6 (::ffff:0:0/96, RFC 4291) is an IPv4 address.
 */
export function ipv4Start(bytes: Uint8Array, at: number, length: number): number {
  if (length === 4) return at;
  for (let i = 0; i < 10; i++) if (bytes[at + i] !== 0) return -1;
  return bytes[at + 10] === 0xff && bytes[at + 11] === 0xff ? at + 12 : -1;
}

/** The four bytes at `bytes[at]` as a number, the first one the highest. */
export function wordAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3]) >>> 0;
}

/**
 * The key of a client with this IP address (4 or 16 bytes, not a mapped one): the address with the bits beyond the prefix cleared,
 * then the two bytes of the port if it is included. An IPv4 address mapped into IPv6 (RFC 4291) has the key of the IPv4 address, so
 * a client keeps its server whether the listener is IPv4 or dual-stack.
 */
export function clientKey(rule: KeyRule, ip: Uint8Array, port: number): Uint8Array {
  const key = new Uint8Array(clientKeyLength(rule, ip));
  writeClientKey(rule, ip, port, key);
  return key;
}

/** The length of that key in bytes. */
export function clientKeyLength(rule: KeyRule, ip: Uint8Array): number {
  return ip.length + (rule.withPort ? 2 : 0);
}

/** Writes that key into `key`, which has its length. */
export function writeClientKey(rule: KeyRule, ip: Uint8Array, port: number, key: Uint8Array): void {
  key.set(ip);
  const bits = ip.length === 4 ? rule.ipv4Bits : rule.ipv6Bits;
  for (let i = bits >> 3; i < ip.length; i++) key[i] &= i * 8 < bits ? 0xff << (8 - bits % 8) : 0;
  if (rule.withPort) {
    key[ip.length] = port >> 8;
    key[ip.length + 1] = port;
  }
}
