// The hash is XXH64, on every machine and in every version.

import { assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { hash64 } from "../../lib/routing/hash.ts";

const encoder = new TextEncoder();

function hexOf(bytes: Uint8Array): string {
  const { high, low } = hash64(bytes);
  return high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
}

/** Published XXH64 values, seed 0. They must never change: every client's server depends on them. */
const TEXT_VECTORS = [
  ["", "ef46db3751d8e999"],
  ["a", "d24ec4f1a98c6e5b"],
  ["abc", "44bc2cf5ad770999"],
  ["xxhash", "32dd38952c4bc720"],
  ["The quick brown fox jumps over the lazy dog", "0b242d361fda71bc"],
  ["Nobody inspects the spammish repetition", "fbcea83c8a378bf1"],
];

for (const [text, hex] of TEXT_VECTORS) {
  Deno.test(`hash64() of ${JSON.stringify(text)} is ${hex}`, () => assertEquals(hexOf(encoder.encode(text)), hex));
}

/** Keys of clients: IPv4, IPv4 with port, IPv6, IPv6 with port. They must never change. */
const KEY_VECTORS = [
  ["c0000201", "9c3163f48c1ed6ff"],
  ["c00002010050", "25f2abd768c41e22"],
  ["20010db8000000000000000000000001", "97f11e0685f67ae8"],
  ["20010db80000000000000000000000010050", "d3f11a284bf5c222"],
];

for (const [key, hex] of KEY_VECTORS) {
  Deno.test(`hash64() of the ${key.length / 2} bytes ${key} is ${hex}`, () => assertEquals(hexOf(Uint8Array.fromHex(key)), hex));
}

const MASK = 2n ** 64n - 1n;
const PRIMES = [0x9E3779B185EBCA87n, 0xC2B2AE3D27D4EB4Fn, 0x165667B19E3779F9n, 0x85EBCA77C2B2AE63n, 0x27D4EB2F165667C5n];

const rotate = (x: bigint, bits: bigint) => ((x << bits) | (x >> (64n - bits))) & MASK;
const round = (accumulator: bigint, lane: bigint) => rotate((accumulator + lane * PRIMES[1]) & MASK, 31n) * PRIMES[0] & MASK;

/** The specification, word for word and slowly. */
function referenceHash(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  let hash = PRIMES[4];
  if (bytes.length >= 32) {
    const accumulators = [(PRIMES[0] + PRIMES[1]) & MASK, PRIMES[1], 0n, MASK + 1n - PRIMES[0]];
    for (; at + 32 <= bytes.length; at += 32) {
      for (let i = 0; i < 4; i++) accumulators[i] = round(accumulators[i], view.getBigUint64(at + 8 * i, true));
    }
    const [a, b, c, d] = accumulators;
    hash = rotate(a, 1n) + rotate(b, 7n) + rotate(c, 12n) + rotate(d, 18n) & MASK;
    for (const each of accumulators) hash = ((hash ^ round(0n, each)) * PRIMES[0] + PRIMES[3]) & MASK;
  }
  hash = (hash + BigInt(bytes.length)) & MASK;
  for (; at + 8 <= bytes.length; at += 8) {
    hash = (rotate(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * PRIMES[0] + PRIMES[3]) & MASK;
  }
  for (; at + 4 <= bytes.length; at += 4) {
    hash = (rotate(hash ^ (BigInt(view.getUint32(at, true)) * PRIMES[0] & MASK), 23n) * PRIMES[1] + PRIMES[2]) & MASK;
  }
  for (; at < bytes.length; at++) {
    hash = rotate(hash ^ (BigInt(bytes[at]) * PRIMES[4] & MASK), 11n) * PRIMES[0] & MASK;
  }
  hash = (hash ^ (hash >> 33n)) * PRIMES[1] & MASK;
  hash = (hash ^ (hash >> 29n)) * PRIMES[2] & MASK;
  return hash ^ (hash >> 32n);
}

Deno.test("hash64() agrees with the specification for any bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
    assertEquals(hexOf(bytes), referenceHash(bytes).toString(16).padStart(16, "0"));
  }));
});

Deno.test("hash64() gives the upper half as high and the lower as low, both without sign", () => {
  assertEquals(hash64(encoder.encode("a")), { high: 0xd24ec4f1, low: 0xa98c6e5b });
});

Deno.test("hash64() reads a part of a buffer, and not what lies beside it", () => {
  const buffer = encoder.encode("xxabcxx");
  assertEquals(hash64(buffer.subarray(2, 5)), hash64(encoder.encode("abc")));
});

Deno.test("hash64() has no memory of a longer call before", () => {
  const before = hash64(encoder.encode("abc"));
  assertNotEquals(hash64(new Uint8Array(8 * 1024 ** 2)), before);
  assertEquals(hash64(encoder.encode("abc")), before);
});
