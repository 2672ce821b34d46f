// PROXY headers: what others send is read as they mean it, whatever its segmentation; what is wrong is told at its first wrong
// byte; what the writer makes, the parser reads.

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { LIMITS } from "../../lib/values/config.ts";
import {
  type Announcement,
  type Endpoint,
  listTlvs,
  looksLikeHeader,
  type ParsedHeader,
  parseProxyHeader,
  writeLocalHeader,
  writeProxyHeader,
} from "../../lib/values/proxy_header.ts";
import { fuzzProxyHeaders, parseGuarded } from "../../tools/fuzz/proxy.ts";
import { GOLDEN_HEADERS } from "./proxy_golden.ts";

const V2 = "0d0a0d0a000d0a515549540a";
const CLIENT_BYTES = latin1("\r\nGET / HTTP/1.1\r\n\r\n");

function latin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** As the golden rows write it: IPv4 with dots, IPv6 in hexadecimal. */
function show(endpoint: Endpoint | undefined): string | undefined {
  return endpoint && `${endpoint.ip.length === 4 ? endpoint.ip.join(".") : endpoint.ip.toHex()} ${endpoint.port}`;
}

function showTlv({ type, value }: { type: number; value: Uint8Array }): string {
  return `${type.toString(16).padStart(2, "0")} ${value.toHex()}`;
}

function headerOf(parsed: ParsedHeader) {
  assert(parsed.kind === "complete", `${parsed.kind}${parsed.kind === "malformed" ? `: ${parsed.reason}` : ""}`);
  return parsed.header;
}

for (const { name, bytes, source, destination, tlvs, uniqueId } of GOLDEN_HEADERS) {
  Deno.test(`parseProxyHeader() reads ${name}`, () => {
    const parsed = parseProxyHeader(joined(bytes, CLIENT_BYTES));
    const header = headerOf(parsed);
    assertEquals(parsed, { kind: "complete", length: bytes.length, header });
    assertEquals([show(header.source), show(header.destination)], [source, destination]);
    assertEquals(listTlvs(header.tlvs).map(showTlv), tlvs.map((tlv) => tlv.split(" ", 2).join(" ")));
    assertEquals(header.uniqueId && new TextDecoder().decode(header.uniqueId), uniqueId);
    assertEquals(looksLikeHeader(bytes), "yes");
  });

  Deno.test(`parseProxyHeader() waits for the end of ${name}, and never longer`, () => {
    for (let length = 0; length < bytes.length; length++) {
      assertEquals(parseGuarded(bytes.subarray(0, length)), { kind: "incomplete" }, `${length} bytes`);
      assert(looksLikeHeader(bytes.subarray(0, length)) !== "no");
    }
    assertEquals(parseGuarded(bytes).kind, "complete");
  });

  Deno.test(`parseProxyHeader() survives every change of a byte of ${name}`, () => {
    for (let at = 0; at < bytes.length; at++) {
      for (let change = 1; change < 256; change++) {
        const changed = bytes.slice();
        changed[at] ^= change;
        const parsed = parseGuarded(changed);
        assert(parsed.kind !== "complete" || parsed.length <= changed.length);
      }
    }
  });
}

Deno.test("parseProxyHeader() gives copies: the buffer may be used again", () => {
  for (const { bytes } of GOLDEN_HEADERS) {
    const buffer = bytes.slice();
    const header = headerOf(parseProxyHeader(buffer));
    const before = JSON.stringify(header);
    buffer.fill(0xff);
    assertEquals(JSON.stringify(header), before);
  }
});

/** Lines (v1): a beginning that may still become valid, what follows, and what is wrong at the first byte of that. */
const BAD_LINES: readonly (readonly [good: string, rest: string, reason: RegExp])[] = [
  ["", "GET / HTTP/1.1\r\n", /begins like neither version/],
  ["", "proxy TCP4 ", /begins like neither/],
  ["PROXY", "\r\n", /begins like neither/],
  ["PROXY", "\tTCP4", /begins like neither/],
  ["PROXY ", " TCP4", /protocol is not one of TCP4, TCP6, UNKNOWN/],
  ["PROXY ", "\r\n", /protocol is not one of/],
  ["PROXY TCP", "5 ", /protocol is not one of/],
  ["PROXY TCP", " 1.2.3.4", /protocol is not one of/],
  ["PROXY ", "tcp4", /protocol is not one of/],
  ["PROXY ", "constructor ", /protocol is not one of/],
  ["PROXY UNKNOWN", "X\r\n", /protocol is not one of/],
  ["PROXY UNKNOWN", "\n", /does not end in CRLF/],
  ["PROXY UNKNOWN a", "\nb\r\n", /does not end in CRLF/],
  ["PROXY UNKNOWN\r", "\r\n", /does not end in CRLF/],
  ["PROXY UNKNOWN\r", "x", /does not end in CRLF/],
  ["PROXY TCP4", "\r\n", /0 fields behind its protocol, not 4/],
  ["PROXY TCP4 ", " 1.2.3.4", /source address is not an IPv4 address/],
  ["PROXY TCP4 0", "1.2.3.4", /source address is not an IPv4/],
  ["PROXY TCP4 25", "6.1.1.1", /source address is not an IPv4/],
  ["PROXY TCP4 1.2.3", " ", /source address is not an IPv4/],
  ["PROXY TCP4 1.2.3.4", ".5", /source address is not an IPv4/],
  ["PROXY TCP4 1.", ".2.3", /source address is not an IPv4/],
  ["PROXY TCP4 ", ":", /source address is not an IPv4/],
  ["PROXY TCP4 ", "-1.2.3.4", /source address is not an IPv4/],
  ["PROXY TCP4 1", "e2.1.1.1", /source address is not an IPv4/],
  ["PROXY TCP4 1.2.3.4", "\xa05.6.7.8 1 2\r\n", /source address is not an IPv4/],
  ["PROXY TCP4 1.2.3.4 ", "::1 1 2\r\n", /destination address is not an IPv4/],
  ["PROXY TCP4 1.2.3.4", "\r\n", /1 fields behind its protocol, not 4/],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1", "\r\n", /3 fields behind its protocol/],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 0", "1 2\r\n", /source port is not a number from 0 to 65535/],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 ", "+1 2\r\n", /source port is not a number/],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1", ".0 2\r\n", /source port is not a number/],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1 6553", "6\r\n", /destination port is not a number/],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1 10000", "0\r\n", /destination port is not a number/],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1 ", "\r\n", /destination port is not a number/],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1 2", " \r\n", /more than 4 fields/],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1 2", "\n", /does not end in CRLF/],
  ["PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r", "GET", /does not end in CRLF/],
  ["PROXY TCP6 ", "g::", /source address is not an IPv6 address/],
  ["PROXY TCP6 1", ".2.3.4", /source address is not an IPv6/],
  ["PROXY TCP6 :", "1", /source address is not an IPv6/],
  ["PROXY TCP6 ::", ":", /source address is not an IPv6/],
  ["PROXY TCP6 1::2:", ":", /source address is not an IPv6/],
  ["PROXY TCP6 1234", "5::", /source address is not an IPv6/],
  ["PROXY TCP6 1:2:3:4:5:6:7:", " ", /source address is not an IPv6/],
  ["PROXY TCP6 1:2:3:4:5:6:7:8", ":", /source address is not an IPv6/],
  ["PROXY TCP6 1::2:3:4:5:6:7", ":8", /source address is not an IPv6/],
  ["PROXY TCP6 ::1", "%eth0", /source address is not an IPv6/],
  ["PROXY TCP6 ", "[::1]", /source address is not an IPv6/],
  ["PROXY TCP6 ::ffff:1.2.3.4", ":5", /source address is not an IPv6/],
  ["PROXY TCP6 ::ffff:1.2.3.25", "6 ", /source address is not an IPv6/],
  ["PROXY TCP6 ::1:1", ".2.3.4 ", /source address is not an IPv6/],
  ["PROXY UNKNOWN ".padEnd(105, "x"), "x", /no CRLF within 107 bytes/],
  ["PROXY UNKNOWN ".padEnd(105, "x") + "\r", "x", /does not end in CRLF/],
];

/** The same of v2, behind the signature. */
const BAD_BINARIES: readonly (readonly [good: string, rest: string, reason: RegExp])[] = [
  ["", "11110000", /version is 1, not 2/],
  ["", "22110000", /command 2 is neither LOCAL nor PROXY/],
  ["21", "410000", /address family 4 is unknown/],
  ["21", "130000", /transport 3 is unknown/],
  ["2111", "4000", /at least 16400 bytes, more than 16384/],
  ["2111", "ffff", /at least 65296 bytes, more than 16384/],
  ["20ff", "ffff", /more than 16384/],
  ["21113f", "f1", /16385 bytes, more than 16384/],
  ["211100", "0b", /11 bytes are too few for its addresses \(12\)/],
  ["212100", "23", /35 bytes are too few for its addresses \(36\)/],
  ["213100", "d7", /215 bytes are too few for its addresses \(216\)/],
  ["211000", "00", /too few for its addresses/],
  ["2111000f" + "0".repeat(24) + "0100", "01", /a TLV runs over its end/],
  ["21110016" + "0".repeat(24) + "010001aa" + "0200", "05", /a TLV runs over its end/],
  ["21110011" + "0".repeat(24) + "0300", "020000", /CRC32C has 2 bytes, not 4/],
  ["2111001a" + "0".repeat(24) + "03000400000000" + "0300", "0400000000", /more than one CRC32C/],
  ["21110092" + "0".repeat(24) + "0500", "83", /unique id has more than 128 bytes/],
  ["211100137f0000017f000001d110d1c3030004604556", "68", /CRC32C is not that of its bytes/],
  ["211100137f0000017f000001d110d1c4030004604556", "69", /CRC32C is not that of its bytes/],
];

for (
  const [good, rest, reason] of [
    ...BAD_LINES.map(([good, rest, reason]) => [latin1(good), latin1(rest), reason] as const),
    ...BAD_BINARIES.map(([good, rest, reason]) => [Uint8Array.fromHex(V2 + good), Uint8Array.fromHex(rest), reason] as const),
  ]
) {
  const whole = joined(good, rest);
  const name = good[0] === 0x0d ? whole.toHex() : JSON.stringify(new TextDecoder("latin1").decode(whole));
  Deno.test(`parseProxyHeader() refuses ${name} at its first wrong byte`, () => {
    for (let length = 0; length <= good.length; length++) {
      assertEquals(parseGuarded(whole.subarray(0, length)).kind, "incomplete", `${length} bytes`);
    }
    for (let length = good.length + 1; length <= whole.length; length++) {
      assertEquals(parseGuarded(whole.subarray(0, length)).kind, "malformed", `${length} bytes`);
    }
    const parsed = parseGuarded(whole.subarray(0, good.length + 1));
    assert(parsed.kind === "malformed");
    assertMatch(parsed.reason, reason);
  });
}

Deno.test("parseProxyHeader() refuses TLVs of which one or two bytes are left over, before these come", () => {
  for (const left of [1, 2]) {
    const length = (12 + 4 + left).toString(16).padStart(4, "0");
    const beginning = Uint8Array.fromHex(`${V2}2111${length}${"0".repeat(24)}010001aa`);
    assertEquals(parseGuarded(beginning), { kind: "malformed", reason: "a TLV runs over its end" });
  }
});

Deno.test("parseProxyHeader() takes the longest header, and no longer one", () => {
  const tlvBytes = LIMITS.proxyHeaderBytesMax - 16 - 12;
  const head = `${V2}2111${(12 + tlvBytes).toString(16)}${"0".repeat(24)}e0${(tlvBytes - 3).toString(16)}`;
  const parsed = parseProxyHeader(joined(Uint8Array.fromHex(head), new Uint8Array(tlvBytes - 3)));
  assertEquals(headerOf(parsed).tlvs.length, tlvBytes);
  assertEquals(parsed.kind === "complete" && parsed.length, LIMITS.proxyHeaderBytesMax);
});

for (
  const [text, answer] of [
    ["", "perhaps"],
    ["P", "perhaps"],
    ["PROXY", "perhaps"],
    ["PROXY ", "yes"],
    ["PROXY nonsense", "yes"],
    ["PROXYING", "no"],
    ["PUT /", "no"],
    ["\r", "perhaps"],
    ["\r\n\r\n", "perhaps"],
    ["\r\n\r\n\0\r\nQUIT", "perhaps"],
    ["\r\n\r\n\0\r\nQUIT\n", "yes"],
    ["\r\n\r\n\0\r\nQUIT\r", "no"],
    ["\r\nEHLO", "no"],
  ] as const
) {
  Deno.test(`looksLikeHeader() of ${JSON.stringify(text)} is ${answer}`, () => assertEquals(looksLikeHeader(latin1(text)), answer));
}

Deno.test("looksLikeHeader() changes its mind only from perhaps", () => {
  for (const { bytes } of GOLDEN_HEADERS) {
    const answers = Array.from(bytes, (_, length) => looksLikeHeader(bytes.subarray(0, length)));
    assertEquals(new Set(answers.slice(answers.indexOf("yes"))), new Set(["yes"]));
  }
});

const V4 = { ip: Uint8Array.of(192, 0, 2, 1), port: 5000 };
const V6 = { ip: Uint8Array.fromHex("20010db8000000000000000000000001"), port: 443 };
const NO_BYTES = new Uint8Array(0);

for (
  const [what, source, destination, line] of [
    ["IPv4", V4, { ...V4, port: 80 }, "PROXY TCP4 192.0.2.1 192.0.2.1 5000 80\r\n"],
    ["IPv6", V6, V6, "PROXY TCP6 2001:db8::1 2001:db8::1 443 443\r\n"],
    ["an IPv4 client of an IPv6 address", V4, V6, "PROXY TCP6 ::ffff:c000:201 2001:db8::1 5000 443\r\n"],
    ["an IPv6 client of an IPv4 address", V6, V4, "PROXY TCP6 2001:db8::1 ::ffff:c000:201 443 5000\r\n"],
  ] as const
) {
  Deno.test(`writeProxyHeader() writes ${what} as v1 without TLVs`, () => {
    const tlvs = Uint8Array.fromHex("0100026832");
    const written = writeProxyHeader("v1", { source, destination, tlvs, uniqueId: latin1("id") });
    assertEquals(new TextDecoder().decode(written), line);
  });
}

Deno.test("writeProxyHeader() writes v2 byte for byte as HAProxy does, but for the order of its TLVs", () => {
  const announcement = {
    source: { ip: Uint8Array.of(127, 0, 0, 1), port: 53520 },
    destination: { ip: Uint8Array.of(127, 0, 0, 1), port: 53699 },
  };
  const written = writeProxyHeader("v2", { ...announcement, tlvs: NO_BYTES, uniqueId: NO_BYTES });
  assertEquals(written.toHex(), `${V2}211100137f0000017f000001d110d1c303000460455669`);
});

Deno.test("writeProxyHeader() puts id, TLVs and checksum behind the addresses, in this order", () => {
  const written = writeProxyHeader("v2", {
    source: V4,
    destination: V4,
    tlvs: Uint8Array.fromHex("0100026832"),
    uniqueId: latin1("abc"),
  });
  assertMatch(
    written.toHex(),
    new RegExp(`^${V2}2111001e` + "c0000201c000020113881388" + "050003616263" + "0100026832" + "030004.{8}$"),
  );
});

Deno.test("writeLocalHeader() writes LOCAL and UNKNOWN", () => {
  assertEquals(writeLocalHeader("v2").toHex(), `${V2}20000000`);
  assertEquals(writeLocalHeader("v1"), latin1("PROXY UNKNOWN\r\n"));
});

const endpoint = fc.record({
  ip: fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 })),
  port: fc.nat(65_535),
});
/** Any type but those of one hop. */
const tlv = fc.record({ type: fc.nat(255).filter((type) => type < 3 || type > 5), value: fc.uint8Array({ maxLength: 300 }) });
const announcement: fc.Arbitrary<Announcement> = fc.record({
  source: endpoint,
  destination: endpoint,
  tlvs: fc.array(tlv, { maxLength: 6 }).map((list) => joined(...list.map(tlvBytes))),
  uniqueId: fc.uint8Array({ maxLength: 128 }),
});

function tlvBytes({ type, value }: { type: number; value: Uint8Array }): Uint8Array {
  return joined(Uint8Array.of(type, value.length >> 8, value.length), value);
}

/** As 16 bytes, so that both forms of an IPv4 address are alike. */
function asIpv6({ ip, port }: Endpoint): string {
  return `${ip.length === 16 ? ip.toHex() : `00000000000000000000ffff${ip.toHex()}`} ${port}`;
}

Deno.test("what writeProxyHeader() writes, parseProxyHeader() reads", () => {
  fc.assert(fc.property(fc.constantFrom("v1", "v2"), announcement, (version, announced) => {
    const written = writeProxyHeader(version, announced);
    const parsed = parseGuarded(written);
    const { source, destination, tlvs, uniqueId } = headerOf(parsed);
    assertEquals(parsed.kind === "complete" && parsed.length, written.length);
    const areAlike = announced.source.ip.length === announced.destination.ip.length;
    const read = areAlike ? [show(source), show(destination)] : [asIpv6(source!), asIpv6(destination!)];
    const put = [announced.source, announced.destination].map(areAlike ? show : asIpv6);
    assertEquals(read, put);
    assertEquals(tlvs, version === "v2" ? announced.tlvs : NO_BYTES);
    assertEquals(uniqueId, version === "v2" && announced.uniqueId.length > 0 ? announced.uniqueId : undefined);
  }));
});

Deno.test("what parseProxyHeader() reads of others, writeProxyHeader() writes so that it reads the same", () => {
  for (const { bytes } of GOLDEN_HEADERS) {
    const { source, destination, tlvs, uniqueId } = headerOf(parseProxyHeader(bytes));
    if (source === undefined || destination === undefined) continue;
    const written = writeProxyHeader("v2", { source, destination, tlvs, uniqueId: uniqueId ?? NO_BYTES });
    assertEquals(headerOf(parseGuarded(written)), { source, destination, tlvs, uniqueId });
  }
});

Deno.test("writeProxyHeader() leaves out the TLV that would exceed the limit, and keeps those that fit", () => {
  const [small, large, other] = [{ type: 1, value: latin1("h2") }, { type: 0xe0, value: new Uint8Array(16_300) }, {
    type: 2,
    value: latin1("a"),
  }];
  const tlvs = joined(...[small, large, large, other].map(tlvBytes));
  const written = writeProxyHeader("v2", { source: V6, destination: V6, tlvs, uniqueId: latin1("x") });
  assert(written.length <= LIMITS.proxyHeaderBytesMax);
  assertEquals(listTlvs(headerOf(parseGuarded(written)).tlvs), [small, large, other]);
  const full = tlvBytes({ type: 0xe0, value: new Uint8Array(LIMITS.proxyHeaderBytesMax - 16 - 36 - 7 - 3) });
  assertEquals(
    writeProxyHeader("v2", { source: V6, destination: V6, tlvs: full, uniqueId: NO_BYTES }).length,
    LIMITS.proxyHeaderBytesMax,
  );
});

Deno.test("writeProxyHeader() takes no address and no id of another length", () => {
  const bad = { source: { ip: new Uint8Array(5), port: 1 }, destination: V4, tlvs: NO_BYTES, uniqueId: NO_BYTES };
  assertThrows(() => writeProxyHeader("v1", bad), Error, "4 or 16 bytes");
  assertThrows(() => writeProxyHeader("v2", bad), Error, "4 or 16 bytes");
  assertThrows(() => writeProxyHeader("v2", { ...bad, source: V4, uniqueId: new Uint8Array(129) }), Error, "128 bytes");
});

Deno.test("listTlvs() lists types and values, and refuses a TLV that runs over the end", () => {
  assertEquals(listTlvs(NO_BYTES), []);
  assertEquals(listTlvs(Uint8Array.fromHex("0100026832" + "e00000")), [{ type: 1, value: latin1("h2") }, {
    type: 0xe0,
    value: NO_BYTES,
  }]);
  assertThrows(() => listTlvs(Uint8Array.fromHex("01000268")), Error, "runs over the end");
});

Deno.test("random and changed headers never break the parser", () => {
  const outcomes = fuzzProxyHeaders({ seed: 13, count: 10_000 });
  assert(outcomes.complete > 2_000 && outcomes.incomplete > 500 && outcomes.malformed > 4_000, JSON.stringify(outcomes));
});
