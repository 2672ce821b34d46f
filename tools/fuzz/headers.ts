/**
 * PROXY headers by chance, for the fuzzer: valid ones of both versions, made without the product's writer, and what becomes of them
 * by errors and malice.
 */

import type { Random } from "../random.ts";

const SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
/** Bytes that parsers stumble over. */
const SHARP_BYTES = [
  0,
  1,
  0x0a,
  0x0d,
  0x20,
  0x2e,
  0x30,
  0x31,
  0x39,
  0x3a,
  0x46,
  0x66,
  0x7f,
  0x80,
  0xff,
  0x20,
  0x21,
  0x11,
  0x03,
  0x05,
];
/** Bytes of the address block of each family; the last one does not exist. */
const BLOCK_BYTES = [0, 12, 36, 216, 4];

/** The bytes of one attempt: a header, one that was changed, or noise; often with more behind it. */
export function anyHeader(random: Random): Uint8Array {
  const [valid, changed] = [0.25, 0.92];
  const chance = random.below(1000) / 1000;
  if (chance >= changed) return Uint8Array.from(noise(random));
  const header = validHeader(random);
  if (chance >= valid) {
    for (let changes = random.between([1, 3]); changes > 0; changes--) CHANGES[random.below(CHANGES.length)](header, random);
  }
  if (random.below(3) === 0) header.push(...someBytes(random, random.below(40)));
  return Uint8Array.from(header);
}

/** Changes of a header in place. */
const CHANGES: readonly ((header: number[], random: Random) => void)[] = [
  (header, random) => header[random.below(header.length)] = random.below(256),
  (header, random) => header[random.below(header.length)] = random.pick(SHARP_BYTES),
  (header, random) => header[random.below(header.length)] ^= 1 << random.below(8),
  (header, random) => header.splice(random.below(header.length), random.between([1, 4])),
  (header, random) => header.splice(random.below(header.length), 0, ...someBytes(random, random.between([1, 4]))),
  (header, random) => header.length = random.below(header.length + 1),
  (header, random) => header.splice(14, 2, random.below(3) === 0 ? random.below(256) : 0, random.below(256)), // the length of v2
  (header, random) => header.splice(random.below(header.length), Infinity, ...validHeader(random)),
];

/** Noise, most of it behind a signature. */
function noise(random: Random): number[] {
  const beginning = random.pick([
    SIGNATURE,
    [...SIGNATURE, 0x21],
    bytesOf("PROXY "),
    bytesOf("PROXY TCP4 "),
    bytesOf("PROXY TCP6 "),
    [],
  ]);
  return [...beginning, ...someBytes(random, random.below(120))];
}

function someBytes(random: Random, count: number): number[] {
  return Array.from({ length: count }, () => random.below(2) === 0 ? random.pick(SHARP_BYTES) : random.below(256));
}

function validHeader(random: Random): number[] {
  return random.below(2) === 0 ? validLine(random) : validBinary(random);
}

function validLine(random: Random): number[] {
  const address = random.pick([() => ipv4Text(random), () => ipv6Text(random), undefined]);
  if (address === undefined) {
    return bytesOf(random.pick(["PROXY UNKNOWN\r\n", "PROXY UNKNOWN a b 1 2\r\n", "PROXY UNKNOWN ::1 ::1 1 2\r\n"]));
  }
  const [source, destination] = [address(), address()];
  const protocol = source.includes(":") ? "TCP6" : "TCP4";
  return bytesOf(`PROXY ${protocol} ${source} ${destination} ${random.below(65_536)} ${random.below(65_536)}\r\n`);
}

function ipv4Text(random: Random): string {
  return Array.from({ length: 4 }, () => random.below(256)).join(".");
}

function ipv6Text(random: Random): string {
  const group = () => random.below(0x10000).toString(16).padStart(random.below(5), "0").slice(-4);
  const groups = (count: number) => Array.from({ length: count }, group).join(":");
  const before = random.below(8);
  const text = random.pick([
    () => groups(8),
    () => `${groups(before)}::${groups(random.below(8 - before))}`,
    () => `::ffff:${ipv4Text(random)}`,
    () => `::${ipv4Text(random)}`,
  ])();
  return random.below(4) === 0 ? text.toUpperCase() : text;
}

function validBinary(random: Random): number[] {
  const command = random.below(8) === 0 ? 0 : 1;
  const family = random.pick([0, 1, 1, 1, 2, 2, 3]);
  const tlvs = Array.from({ length: random.below(4) }, () => tlvBytes(random)).flat();
  const body = [...someBytes(random, BLOCK_BYTES[family]), ...(family === 0 ? [] : tlvs)];
  const withChecksum = family !== 0 && random.below(3) === 0;
  const length = body.length + (withChecksum ? 7 : 0);
  const header = [...SIGNATURE, 0x20 | command, family << 4 | random.below(3), length >> 8, length & 0xff, ...body];
  if (!withChecksum) return header;
  header.push(3, 0, 4, 0, 0, 0, 0);
  const sum = slowCrc32c(header);
  return header.toSpliced(-4, 4, sum >>> 24, sum >>> 16 & 0xff, sum >>> 8 & 0xff, sum & 0xff);
}

function tlvBytes(random: Random): number[] {
  const type = random.pick([1, 2, 4, 5, 0x20, 0x30, 0xe0, 0xef]);
  const value = someBytes(random, random.below(random.below(10) === 0 ? 300 : 20)).slice(0, type === 5 ? 128 : undefined);
  return [type, value.length >> 8, value.length & 0xff, ...value];
}

/** Bit by bit, so that the product's table is not checked against itself. */
function slowCrc32c(bytes: readonly number[]): number {
  let register = 0xffffffff;
  for (const byte of bytes) {
    register ^= byte;
    for (let bit = 0; bit < 8; bit++) register = register & 1 ? register >>> 1 ^ 0x82f63b78 : register >>> 1;
  }
  return ~register;
}

function bytesOf(text: string): number[] {
  return Array.from(text, (character) => character.charCodeAt(0));
}
