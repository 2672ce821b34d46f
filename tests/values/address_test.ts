// Addresses have one canonical form, whatever way they are written, and a client's key holds what its rule says.

import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  type Address,
  clientKey as keyOfBytes,
  formatAddress,
  ipBytes,
  type KeyRule,
  parseAddress,
  parseHost,
  parseKeyRule,
  parsePort,
  reaches,
} from "../../lib/values/address.ts";
import { OperatorError } from "../../lib/values/errors.ts";

const clientKey = (rule: KeyRule, ip: string, port: number) => keyOfBytes(rule, ipBytes(ip), port);

/** The message names the text as it was typed, and the kind is `usage`. */
function assertUsageError(act: () => unknown, text: string): void {
  assertEquals(assertThrows(act, OperatorError, JSON.stringify(text)).kind, "usage");
}

const label63 = "a".repeat(63);
const name253 = `${`${label63}.`.repeat(3)}${"b".repeat(61)}`;

const GOOD_HOSTS = [
  ["10.0.0.1", "10.0.0.1"],
  ["0.0.0.0", "0.0.0.0"],
  ["255.255.255.255", "255.255.255.255"],
  ["::", "::"],
  ["::1", "::1"],
  ["0:0:0:0:0:0:0:1", "::1"],
  ["2001:DB8::1", "2001:db8::1"],
  ["2001:0db8:0000:0000:0001:0000:0000:0001", "2001:db8::1:0:0:1"],
  ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
  ["::ffff:10.0.0.1", "10.0.0.1"],
  ["::FFFF:a00:1", "10.0.0.1"],
  ["64:ff9b::1.2.3.4", "64:ff9b::102:304"],
  ["::102:304", "::102:304"],
  ["::1.2.3.4", "::102:304"], // the same address: RFC 4291, section 2.2; mapped it is only behind ::ffff
  ["::0.0.0.1", "::1"],
  ["localhost", "localhost"],
  ["DB.Example", "db.example"],
  ["db.example.", "db.example"],
  ["_tcp.db-1.example", "_tcp.db-1.example"],
  ["my_server", "my_server"],
  ["3com.example", "3com.example"],
  ["1.2.3.example", "1.2.3.example"],
  [label63, label63],
  [name253, name253],
  [`${name253}.`, name253],
];

for (const [text, host] of GOOD_HOSTS) {
  const short = text.length > 60 ? `a name of ${text.length} characters` : JSON.stringify(text);
  Deno.test(`parseHost() takes ${short}`, () => assertEquals(parseHost(text), host));
}

const BAD_HOSTS = [
  "",
  ".",
  "..",
  " ",
  "300.1.1.1",
  "256.0.0.1",
  "1.2.3",
  "1.2.3.4.5",
  "1.2.3.4.",
  "010.0.0.1",
  "10.0.0.08",
  "12345",
  "0x7f.0.0.1",
  "127.0.0.0x1",
  "0x7f000001",
  "a..b",
  ".a",
  "a..",
  "-a",
  "a-",
  "a.-b.example",
  "a b",
  "a/b",
  "a:b",
  "10.0.0.1:80",
  "10.0.0.1\n",
  "a\n",
  "a\0b",
  "bücher.example",
  "\u212Aelvin.example",
  "*",
  "[::1]",
  ":::",
  "1::2::3",
  "1:2:3:4:5:6:7",
  "1:2:3:4:5:6:7:8:9",
  "::12345",
  "::ffff:300.1.1.1",
  "::ffff:010.0.0.1",
  "::ffff:0177.0.0.1",
  "::ffff:0x7f.0.0.1",
  "fe80::1%eth0",
  "fe80::1%2",
  "::1%",
  `a${label63}`,
  `${name253}b`,
  `${name253}b.`,
];

for (const text of BAD_HOSTS) {
  const short = text.length > 60 ? `a name of ${text.length} characters` : JSON.stringify(text);
  Deno.test(`parseHost() refuses ${short}`, () => assertUsageError(() => parseHost(text), text));
}

const anyIpv4 = fc.ipV4();
const anyIpv6 = fc.ipV6();
const anyHost = fc.oneof(anyIpv4, anyIpv6, fc.domain());

Deno.test("parseHost() takes any IPv4 address, IPv6 address and domain, and its own results unchanged", () => {
  fc.assert(fc.property(anyHost, (text) => {
    const host = parseHost(text);
    assertEquals(parseHost(host), host);
  }));
});

Deno.test("parseHost() gives equal addresses equal strings", () => {
  fc.assert(fc.property(anyHost, (text) => assertEquals(parseHost(text.toUpperCase()), parseHost(text.toLowerCase()))));
  fc.assert(fc.property(anyIpv4, (text) => assertEquals(parseHost(`::ffff:${text}`), text)));
});

Deno.test("parseHost() refuses any text that it does not take with a usage error", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 20 }), (text) => {
    try {
      parseHost(text);
    } catch (error) {
      assert(error instanceof OperatorError && error.kind === "usage");
    }
  }));
});

for (const [text, port] of [["1", 1], ["80", 80], ["080", 80], ["65535", 65535]] as const) {
  Deno.test(`parsePort() takes ${text}`, () => assertEquals(parsePort(text), port));
}

for (
  const text of ["-1", "0", "65536", "99999", "100000", "http", "", " ", " 80", "80 ", "80\n", "8e1", "0x50", "80.0", "+80", "٨٠"]
) {
  Deno.test(`parsePort() refuses ${JSON.stringify(text)}`, () => assertUsageError(() => parsePort(text), text));
}

Deno.test("parsePort() takes 0 for a listener and refuses it for a server", () => {
  assertEquals(parsePort("0", 0), 0);
  assertUsageError(() => parsePort("0", 1), "0");
  assertThrows(() => parsePort("x", 0), OperatorError, "from 0 to 65535");
  assertThrows(() => parsePort("x", 1), OperatorError, "from 1 to 65535");
});

const anyAddress = fc.record({ host: anyHost.map(parseHost), port: fc.integer({ min: 1, max: 65535 }) }, { noNullPrototype: true });

Deno.test("parseAddress() reads back what formatAddress() writes", () => {
  fc.assert(fc.property(anyAddress, (address) => assertEquals(parseAddress(formatAddress(address)), address)));
});

for (
  const [text, host, port] of [
    ["10.0.0.1:80", "10.0.0.1", 80],
    ["[::1]:80", "::1", 80],
    ["[2001:DB8:0::1]:443", "2001:db8::1", 443],
    ["DB.example:5432", "db.example", 5432],
  ] as const
) {
  Deno.test(`parseAddress() takes ${text}`, () => assertEquals(parseAddress(text), { host, port }));
}

for (
  const text of [
    "",
    ":",
    "10.0.0.1",
    "10.0.0.1:80:90",
    "::1:80",
    "2001:db8::1",
    "[::1]",
    "[::1]80",
    "[::1:80",
    "[[::1]]:80",
    "a:b:80",
  ]
) {
  Deno.test(`parseAddress() refuses ${JSON.stringify(text)}`, () => {
    assertEquals(assertThrows(() => parseAddress(text), OperatorError).kind, "usage");
  });
}

for (
  const text of ["10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", ":80", "[]:80", "[fe80::1%eth0]:80", "300.1.1.1:80", "10.0.0.1:80\n"]
) {
  Deno.test(`parseAddress() refuses ${JSON.stringify(text)} for its host or port`, () => {
    assertEquals(assertThrows(() => parseAddress(text), OperatorError).kind, "usage");
  });
}

Deno.test("formatAddress() puts an IPv6 address in brackets", () => {
  assertEquals(formatAddress({ host: "::1", port: 80 }), "[::1]:80");
  assertEquals(formatAddress({ host: "10.0.0.1", port: 80 }), "10.0.0.1:80");
  assertEquals(formatAddress({ host: "db.example", port: 80 }), "db.example:80");
});

const address = (text: string): Address => {
  const at = text.lastIndexOf(" ");
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
};

const REACHES = [
  ["10.0.0.1 80", "10.0.0.1 80", true],
  ["10.0.0.1 80", "10.0.0.1 81", false],
  ["10.0.0.1 80", "10.0.0.2 80", false],
  ["::1 80", "::1 80", true],
  ["localhost 80", "localhost 80", true],
  ["127.0.0.1 80", "0.0.0.0 80", true],
  ["127.9.9.9 80", "0.0.0.0 80", true],
  ["localhost 80", "0.0.0.0 80", true],
  ["localhost 80", ":: 80", true],
  ["127.0.0.1 80", ":: 80", true],
  ["::1 80", ":: 80", true],
  ["::1 80", "0.0.0.0 80", false], // a listener on 0.0.0.0 takes IPv4 only
  ["127.0.0.1 80", "0.0.0.0 81", false],
  ["10.0.0.1 80", "0.0.0.0 80", false], // may be another machine: the address alone does not tell
  ["db.example 80", "0.0.0.0 80", false],
  ["127.0.0.1 80", "127.0.0.2 80", false],
  ["0.0.0.0 80", "0.0.0.0 80", true],
  ["0.0.0.0 80", "127.0.0.1 80", true], // to connect to 0.0.0.0 is to connect to this machine
  ["0.0.0.0 80", ":: 80", true],
  ["localhost 80", "127.0.0.1 80", true],
] as const;

for (const [target, listener, expected] of REACHES) {
  Deno.test(`reaches() says that ${target} ${expected ? "arrives" : "does not arrive"} at ${listener}`, () => {
    assertEquals(reaches(address(target), address(listener)), expected);
  });
}

const KEY_RULES: [string, KeyRule][] = [
  ["ip", { ipv4Bits: 32, ipv6Bits: 128, withPort: false }],
  ["ip:port", { ipv4Bits: 32, ipv6Bits: 128, withPort: true }],
  ["ip/24", { ipv4Bits: 24, ipv6Bits: 128, withPort: false }],
  ["ip/1", { ipv4Bits: 1, ipv6Bits: 128, withPort: false }],
  ["ip/32", { ipv4Bits: 32, ipv6Bits: 128, withPort: false }],
  ["ip/33", { ipv4Bits: 32, ipv6Bits: 33, withPort: false }],
  ["ip/64", { ipv4Bits: 32, ipv6Bits: 64, withPort: false }],
  ["ip/24,64", { ipv4Bits: 24, ipv6Bits: 64, withPort: false }],
  ["ip/32,16", { ipv4Bits: 32, ipv6Bits: 16, withPort: false }],
];

for (const [text, rule] of KEY_RULES) {
  Deno.test(`parseKeyRule() takes ${text}`, () => assertEquals(parseKeyRule(text), rule));
}

for (
  const text of [
    "",
    "IP",
    "port",
    "ip/",
    "ip/0",
    "ip/129",
    "ip/-1",
    "ip/24,",
    "ip/24,0",
    "ip/24,129",
    "ip/64,24",
    "ip/2.5",
    "ip/24:port",
    "ip ",
    "ip\n",
    "ip/24,64,1",
  ]
) {
  Deno.test(`parseKeyRule() refuses ${JSON.stringify(text)}`, () => assertUsageError(() => parseKeyRule(text), text));
}

Deno.test("parseKeyRule() reads every pair of prefix lengths", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 32 }), fc.integer({ min: 1, max: 128 }), (ipv4Bits, ipv6Bits) => {
    assertEquals(parseKeyRule(`ip/${ipv4Bits},${ipv6Bits}`), { ipv4Bits, ipv6Bits, withPort: false });
  }));
});

const CLIENT_KEYS = [
  ["ip", "192.0.2.1", "c0000201"],
  ["ip", "::ffff:192.0.2.1", "c0000201"],
  ["ip", "2001:db8::1", "20010db8000000000000000000000001"],
  ["ip:port", "192.0.2.1", "c000020101bb"],
  ["ip:port", "::ffff:192.0.2.1", "c000020101bb"],
  ["ip:port", "2001:db8::1", "20010db800000000000000000000000101bb"],
  ["ip/24", "192.0.2.255", "c0000200"],
  ["ip/24", "::ffff:192.0.2.255", "c0000200"],
  ["ip/24", "2001:db8::1", "20010db8000000000000000000000001"],
  ["ip/20", "192.0.255.255", "c000f000"],
  ["ip/1", "255.255.255.255", "80000000"],
  ["ip/31", "255.255.255.255", "fffffffe"],
  ["ip/64", "192.0.2.1", "c0000201"],
  ["ip/64", "2001:db8:1:2:3:4:5:6", "20010db8000100020000000000000000"],
  ["ip/61", "2001:db8:1:ffff:3:4:5:6", "20010db80001fff80000000000000000"],
  ["ip/16,48", "192.0.2.1", "c0000000"],
  ["ip/16,48", "2001:db8:1:2::1", "20010db8000100000000000000000000"],
];

for (const [rule, ip, key] of CLIENT_KEYS) {
  Deno.test(`clientKey() of ${ip} by ${rule} is ${key}`, () => {
    assertEquals(clientKey(parseKeyRule(rule), ip, 443).toHex(), key);
  });
}

Deno.test("clientKey() takes the port, in network order, only by ip:port", () => {
  assertEquals(clientKey(parseKeyRule("ip"), "192.0.2.1", 1), clientKey(parseKeyRule("ip"), "192.0.2.1", 2));
  assertNotEquals(clientKey(parseKeyRule("ip:port"), "192.0.2.1", 1), clientKey(parseKeyRule("ip:port"), "192.0.2.1", 2));
  assertEquals(clientKey(parseKeyRule("ip:port"), "0.0.0.0", 65535).toHex(), "00000000ffff");
  assertEquals(clientKey(parseKeyRule("ip:port"), "0.0.0.0", 0x0102).toHex(), "000000000102");
});

Deno.test("clientKey() keeps exactly the bits of the prefix", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 32 }), fc.nat(2 ** 32 - 1), (bits, number) => {
    const ip = [24, 16, 8, 0].map((shift) => (number >>> shift) & 0xff).join(".");
    const kept = Number(BigInt(number) >> BigInt(32 - bits) << BigInt(32 - bits));
    assertEquals(clientKey(parseKeyRule(`ip/${bits},128`), ip, 1).toHex(), kept.toString(16).padStart(8, "0"));
  }));
});

Deno.test("clientKey() is the same for an IPv4 address and the same mapped into IPv6, by any rule", () => {
  fc.assert(fc.property(anyIpv4, fc.constantFrom(...KEY_RULES.map(([, rule]) => rule)), (ip, rule) => {
    assertEquals(clientKey(rule, `::ffff:${ip}`, 443), clientKey(rule, ip, 443));
  }));
});

Deno.test("reaches() knows the machine's own addresses where the listener hears all", () => {
  const ownIps = ["192.0.2.7", "2001:db8::7"];
  const at = (host: string) => ({ host, port: 80 });
  assertEquals(reaches(at("192.0.2.7"), at("0.0.0.0"), ownIps), true);
  assertEquals(reaches(at("192.0.2.7"), at("::"), ownIps), true);
  assertEquals(reaches(at("2001:db8::7"), at("::"), ownIps), true);
  assertEquals(reaches(at("2001:db8::7"), at("0.0.0.0"), ownIps), false);
  assertEquals(reaches(at("192.0.2.8"), at("0.0.0.0"), ownIps), false);
  assertEquals(reaches(at("192.0.2.7"), at("192.0.2.1"), ownIps), false);
});
