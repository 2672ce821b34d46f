/**
 * Lists of address prefixes (CIDR notation, RFC 4632), as people write them and compiled for look-ups: sorted ranges that do not
 * overlap, in typed arrays, so that a look-up is a binary search and allocates nothing. An IPv4 address mapped into IPv6 is an IPv4
 * address, in a list and in a look-up. Reads no file.
 */

import { ipBytes, ipv4Start, parseHost, wordAt } from "./address.ts";
import { OperatorError } from "./errors.ts";

/** A compiled list. Plain data; made by `CidrListBuilder`. */
export interface CidrList {
  /** Prefixes that were added, those that others contain included. */
  readonly entries: number;
  /** The first and the last address of each range, in ascending order. */
  readonly ipv4: Uint32Array;
  /** The same for IPv6: four words for the first address of a range, four for the last. */
  readonly ipv6: Uint32Array;
}

/** Words of an IPv6 address, and of a range. */
const ADDRESS_WORDS = 4;
const RANGE_WORDS = 2 * ADDRESS_WORDS;

/** An IPv4 address, and perhaps the length of a prefix. */
const IPV4_PREFIX = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})(?:\/(\d{1,2}))?$/;
const IPV6_PREFIX = /^([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(?:\/(\d{1,3}))?$/;

/** Collects prefixes and compiles them. */
export class CidrListBuilder {
  /** Each IPv4 prefix as its first address times 64 plus its length: a number that sorts by both. */
  readonly #ipv4: number[] = [];
  readonly #ipv6: number[] = [];

  /** It takes at most this many prefixes. */
  constructor(readonly entriesMax: number) {}

  /** Prefixes added so far. */
  get entries(): number {
    return this.#ipv4.length + this.#ipv6.length / RANGE_WORDS;
  }

  /** Adds `10.0.0.0/8`, `2001:db8::/32` or a single address. Throws a `usage` error that names the text. */
  add(text: string): void {
    if (this.entries >= this.entriesMax) throw new OperatorError("usage", `The list has more than ${this.entriesMax} prefixes`);
    const [, a, b, c, d, bits = "32"] = text.match(IPV4_PREFIX) ?? [];
    if (a === undefined) return this.#addIpv6(text);
    const bytes = [a, b, c, d].map(Number);
    if (bytes.some((byte) => byte > 255) || Number(bits) > 32) throw noPrefix(text);
    this.#addIpv4(text, ((bytes[0] * 256 + bytes[1]) * 256 + bytes[2]) * 256 + bytes[3], Number(bits));
  }

  /** The list of all prefixes that were added. */
  build(): CidrList {
    return { entries: this.entries, ipv4: this.#buildIpv4(), ipv6: this.#buildIpv6() };
  }

  #addIpv4(text: string, address: number, bits: number): void {
    if (address % 2 ** (32 - bits) !== 0) throw tooManyBits(text);
    this.#ipv4.push(address * 64 + bits);
  }

  #addIpv6(text: string): void {
    const [, address, length = "128"] = text.match(IPV6_PREFIX) ?? [];
    const bytes = address === undefined ? undefined : bytesOf(address);
    const bits = Number(length);
    if (bytes === undefined || bits > 128) throw noPrefix(text);
    if (bytes.length === 4 && bits < 96) throw noPrefix(text); // more than the mapped addresses, which are IPv4 addresses
    if (bytes.length === 4) return this.#addIpv4(text, wordAt(bytes, 0), bits - 96);
    const [first, last]: number[][] = [[], []];
    for (let i = 0; i < ADDRESS_WORDS; i++) {
      const word = wordAt(bytes, 4 * i);
      const free = Math.min(Math.max(32 * (i + 1) - bits, 0), 32); // bits of this word beyond the prefix
      if (word % 2 ** free !== 0) throw tooManyBits(text);
      first.push(word);
      last.push(word + 2 ** free - 1);
    }
    this.#ipv6.push(...first, ...last);
  }

  #buildIpv4(): Uint32Array {
    const ranges: number[] = [];
    let last = -1;
    for (const prefix of Float64Array.from(this.#ipv4).sort()) {
      const first = Math.floor(prefix / 64);
      if (first <= last) continue; // prefixes never overlap in part: a wider one contains it
      last = first + 2 ** (32 - prefix % 64) - 1;
      ranges.push(first, last);
    }
    return Uint32Array.from(ranges);
  }

  #buildIpv6(): Uint32Array {
    const words = Uint32Array.from(this.#ipv6);
    const order = Uint32Array.from({ length: words.length / RANGE_WORDS }, (_, i) => i * RANGE_WORDS);
    // Of two prefixes that begin alike, the wider one comes first: its last address is the higher one.
    order.sort((one, other) =>
      compare(words, one, words, other) || compare(words, other + ADDRESS_WORDS, words, one + ADDRESS_WORDS)
    );
    const ranges = new Uint32Array(words.length);
    let end = 0;
    for (const at of order) {
      if (end > 0 && compare(words, at, ranges, end - ADDRESS_WORDS) <= 0) continue;
      ranges.set(words.subarray(at, at + RANGE_WORDS), end);
      end += RANGE_WORDS;
    }
    return ranges.slice(0, end);
  }
}

/** The list of these prefixes, separated by commas. Throws a `usage` error. */
export function parseCidrs(text: string, entriesMax: number): CidrList {
  const builder = new CidrListBuilder(entriesMax);
  for (const prefix of text.split(",")) builder.add(prefix.trim());
  return builder.build();
}

/** Whether the list contains the IP address of `length` bytes (4 or 16) at `bytes[at]`. */
export function includesIp(list: CidrList, bytes: Uint8Array, at: number, length: number): boolean {
  const start = ipv4Start(bytes, at, length);
  return start < 0 ? includesIpv6(list.ipv6, bytes, at) : includesIpv4(list.ipv4, wordAt(bytes, start));
}

function includesIpv4(ranges: Uint32Array, address: number): boolean {
  let low = 0;
  let high = ranges.length >> 1; // the ranges below `low` begin at or before the address, those from `high` on after it
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[2 * middle] <= address) low = middle + 1;
    else high = middle;
  }
  return low > 0 && address <= ranges[2 * low - 1];
}

function includesIpv6(ranges: Uint32Array, bytes: Uint8Array, at: number): boolean {
  let low = 0;
  let high = ranges.length / RANGE_WORDS;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareTo(ranges, middle * RANGE_WORDS, bytes, at) <= 0) low = middle + 1;
    else high = middle;
  }
  return low > 0 && compareTo(ranges, low * RANGE_WORDS - ADDRESS_WORDS, bytes, at) >= 0;
}

/** Compares the address at `words[word]` with the one at `bytes[at]`. */
function compareTo(words: Uint32Array, word: number, bytes: Uint8Array, at: number): number {
  for (let i = 0; i < ADDRESS_WORDS; i++) {
    const difference = words[word + i] - wordAt(bytes, at + 4 * i);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Compares two addresses. */
function compare(words: Uint32Array, at: number, others: Uint32Array, other: number): number {
  for (let i = 0; i < ADDRESS_WORDS; i++) {
    const difference = words[at + i] - others[other + i];
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The bytes of an IPv6 address, four if it is a mapped IPv4 address; undefined if it is none. */
function bytesOf(address: string): Uint8Array | undefined {
  try {
    return ipBytes(parseHost(address));
  } catch {
    return undefined;
  }
}

function noPrefix(text: string): OperatorError {
  return new OperatorError("usage", `${JSON.stringify(text)} is not an IP address or a prefix such as 10.0.0.0/8 or 2001:db8::/32`);
}

function tooManyBits(text: string): OperatorError {
  return new OperatorError("usage", `Prefix ${JSON.stringify(text)} has bits set beyond its length: write its first address`);
}
