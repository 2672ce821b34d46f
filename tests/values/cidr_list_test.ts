// Lists of prefixes: what is taken and what is refused, and that a look-up says what a search through all prefixes would say.

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ipBytes } from "../../lib/values/address.ts";
import { CidrListBuilder, includesIp, parseCidrs } from "../../lib/values/cidr_list.ts";
import { OperatorError } from "../../lib/values/errors.ts";

function includes(list: string, ip: string): boolean {
  const bytes = ipBytes(ip);
  return includesIp(parseCidrs(list, 100), bytes, 0, bytes.length);
}

const INSIDE: readonly [list: string, ip: string][] = [
  ["10.0.0.0/8", "10.0.0.0"],
  ["10.0.0.0/8", "10.255.255.255"],
  ["192.0.2.7", "192.0.2.7"],
  ["192.0.2.7/32", "192.0.2.7"],
  ["0.0.0.0/0", "255.255.255.255"],
  ["1.0.0.0/8, 10.0.0.0/8,172.16.0.0/12", "172.31.255.255"],
  ["10.0.0.0/8,10.1.0.0/16", "10.200.0.1"],
  ["2001:db8::/32", "2001:db8::"],
  ["2001:db8::/32", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"],
  ["::1", "::1"],
  ["::/0", "fe80::1"],
  ["fd00::/8,10.0.0.0/8", "fd12::1"],
  ["::ffff:10.0.0.0/104", "10.1.2.3"],
  ["::ffff:192.0.2.7", "192.0.2.7"],
  ["::ffff:0:0/96", "203.0.113.9"],
];

const OUTSIDE: readonly [list: string, ip: string][] = [
  ["10.0.0.0/8", "9.255.255.255"],
  ["10.0.0.0/8", "11.0.0.0"],
  ["0.0.0.0/0", "::1"],
  ["::/0", "192.0.2.7"],
  ["2001:db8::/32", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"],
  ["2001:db8::/32", "2001:db9::"],
  ["10.0.0.0/8,10.1.0.0/16", "11.0.0.1"],
];

for (const [list, ip] of INSIDE) Deno.test(`${list} includes ${ip}`, () => assert(includes(list, ip)));
for (const [list, ip] of OUTSIDE) Deno.test(`${list} does not include ${ip}`, () => assert(!includes(list, ip)));

Deno.test("includesIp() takes an IPv4 address that is mapped into IPv6 for an IPv4 address", () => {
  const mapped = Uint8Array.of(9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3);
  assert(includesIp(parseCidrs("10.0.0.0/8", 1), mapped, 2, 16));
  assert(!includesIp(parseCidrs("::/0", 1), mapped, 2, 16));
});

for (
  const text of [
    "",
    "10.0.0",
    "10.0.0.0/33",
    "10.0.0.256",
    "010.0.0.0",
    "10.0.0.0/",
    "10.0.0.0/8/8",
    "10.0.0.0/-1",
    "10.0.0.0/8 ,",
    "::/129",
    ":::",
    "1::2::3",
    "fe80::1%eth0",
    "example.com",
    "::ffff:0:0/90",
    "10.0.0.0 10.0.0.1",
    "::1\0",
  ]
) {
  Deno.test(`parseCidrs() refuses ${JSON.stringify(text)} in a sentence`, () => {
    assertEquals(assertThrows(() => parseCidrs(text, 10), OperatorError, "is not an IP address or a prefix").kind, "usage");
  });
}

for (const text of ["10.0.0.1/8", "192.0.2.7/31", "2001:db8::1/64", "8000::/0", "::ffff:10.0.0.1/104"]) {
  Deno.test(`parseCidrs() refuses ${text}, which is no first address`, () => {
    assertThrows(() => parseCidrs(text, 10), OperatorError, `Prefix ${JSON.stringify(text)} has bits set beyond its length`);
  });
}

Deno.test("A list takes no more prefixes than it may, and stays what it was", () => {
  const builder = new CidrListBuilder(2);
  builder.add("10.0.0.0/8");
  builder.add("::1");
  assertThrows(() => builder.add("::2"), OperatorError, "The list has more than 2 prefixes");
  const list = builder.build();
  assertEquals([list.entries, list.ipv4.length, list.ipv6.length], [2, 2, 8]);
});

Deno.test("A prefix that another one contains makes no range of its own", () => {
  const { entries, ipv4, ipv6 } = parseCidrs("10.1.0.0/16,10.0.0.0/8,10.0.0.0/9,2001:db8:1::/48,2001:db8::/32", 10);
  assertEquals([entries, [...ipv4], ipv6.length], [5, [0x0a000000, 0x0affffff], 8]);
});

/** Few values per byte, so that prefixes contain addresses and each other. */
const byte = fc.constantFrom(0, 1, 127, 128, 255);
const address = fc.oneof(
  fc.array(byte, { minLength: 4, maxLength: 4 }),
  fc.array(byte, { minLength: 16, maxLength: 16 }).filter((bytes) => bytes.slice(0, 10).some((byte) => byte > 0)),
);
const prefix = fc.tuple(address, fc.nat(128)).map(([bytes, bits]) => ({ bytes, bits: Math.min(bits, bytes.length * 8) }));

function isWithin(bytes: readonly number[], other: { bytes: readonly number[]; bits: number }): boolean {
  if (bytes.length !== other.bytes.length) return false;
  return firstBits(bytes, other.bits) === firstBits(other.bytes, other.bits);
}

function firstBits(bytes: readonly number[], bits: number): string {
  return bytes.map((byte) => byte.toString(2).padStart(8, "0")).join("").slice(0, bits);
}

function textOf({ bytes, bits }: { bytes: readonly number[]; bits: number }): string {
  const masked = bytes.map((byte, i) => byte & 0xff << Math.min(Math.max(8 * (i + 1) - bits, 0), 8));
  if (bytes.length === 4) return `${masked.join(".")}/${bits}`;
  const groups = Array.from({ length: 8 }, (_, i) => (masked[2 * i] * 256 + masked[2 * i + 1]).toString(16));
  return `${groups.join(":")}/${bits}`;
}

Deno.test("includesIp() agrees with a search through all prefixes", () => {
  fc.assert(
    fc.property(fc.array(prefix, { minLength: 1, maxLength: 12 }), fc.array(address, { maxLength: 20 }), (prefixes, ips) => {
      const list = parseCidrs(prefixes.map(textOf).join(","), 12);
      for (const ip of [...ips, ...prefixes.map(({ bytes }) => bytes)]) {
        const isThere = prefixes.some((prefix) => isWithin(ip, prefix));
        assertEquals(includesIp(list, Uint8Array.from(ip), 0, ip.length), isThere, `${ip} in ${prefixes.map(textOf)}`);
      }
    }),
  );
});
