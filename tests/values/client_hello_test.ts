// ClientHellos: what clients send is read as they mean it, in whatever pieces and records it comes; what is wrong is told at its
// first wrong byte, or when the hello is there; reading takes time in proportion to the bytes.

import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { ClientHelloReader, type HelloVerdict } from "../../lib/values/client_hello.ts";
import { LIMITS } from "../../lib/values/config.ts";
import { fuzzClientHellos, readGuarded, readInPieces } from "../../tools/fuzz/client_hello.ts";
import { type Extension, inRecords, messageOf, namesExtension, protocolsExtension } from "../../tools/fuzz/hellos.ts";
import { GOLDEN_HELLOS } from "./hello_golden.ts";

const SUITES = [0x13, 0x01];
const RECORD_HEAD_BYTES = 5;
/** The head of a record with the longest hello that is read, and of its message. */
const LONGEST_MESSAGE_BYTES = LIMITS.helloBytesMax - RECORD_HEAD_BYTES;

/** The verdict on a hello with these extensions. */
function verdictOf(...extensions: readonly Extension[]): HelloVerdict {
  return readGuarded(Uint8Array.from(inRecords(messageOf({ sessionId: [], suites: SUITES, extensions }))));
}

function reasonOf(verdict: HelloVerdict): string {
  assert(verdict.kind === "malformed", JSON.stringify(verdict));
  return verdict.reason;
}

/** The message in these records. */
function messageIn(records: Uint8Array): number[] {
  const message: number[] = [];
  for (let at = 0; at < records.length;) {
    const end = at + RECORD_HEAD_BYTES + (records[at + 3] << 8 | records[at + 4]);
    message.push(...records.subarray(at + RECORD_HEAD_BYTES, end));
    at = end;
  }
  return message;
}

function countRecords(bytes: Uint8Array): number {
  let count = 0;
  for (let at = 0; at < bytes.length; at += RECORD_HEAD_BYTES + (bytes[at + 3] << 8 | bytes[at + 4])) count++;
  return count;
}

for (const { client, bytes, records, name, alpn } of GOLDEN_HELLOS) {
  const verdict: HelloVerdict = { kind: "hello", hello: { name, alpn } };

  Deno.test(`the hello of ${client} is read, and what follows it is not`, () => {
    assertEquals(countRecords(bytes), records);
    assertEquals(readGuarded(bytes), verdict);
    assertEquals(readGuarded(Uint8Array.of(...bytes, 0xff, 0, 0xff)), verdict);
  });

  Deno.test(`the hello of ${client} is waited for up to its last byte, however it comes`, () => {
    for (let length = 0; length < bytes.length; length++) {
      const so = readGuarded(bytes.subarray(0, length));
      assert(so.kind === "more" && so.needed > length && so.needed <= bytes.length, `${length} bytes: ${JSON.stringify(so)}`);
      assertEquals(readInPieces(bytes, [length]), verdict);
    }
    assertEquals(readInPieces(bytes, bytes.keys()), verdict);
  });

  Deno.test(`the hello of ${client} is read from two records, divided anywhere`, () => {
    const message = messageIn(bytes);
    for (let at = 1; at < message.length; at++) assertEquals(readGuarded(Uint8Array.from(inRecords(message, [at]))), verdict);
    assertEquals(readGuarded(Uint8Array.from(inRecords(message, message.map(() => 1)))), verdict);
  });

  Deno.test(`the reader survives every changed bit of the hello of ${client}`, () => {
    for (let at = 0; at < bytes.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const changed = bytes.slice();
        changed[at] ^= 1 << bit;
        const { kind } = readGuarded(changed);
        assert(at > 1 ? kind !== "notTls" : kind === "notTls", `bit ${bit} of byte ${at}: ${kind}`);
      }
    }
  });
}

Deno.test("a verdict says how many bytes are needed at least: heads, then what they announce, then another record's head", () => {
  const [bytes] = GOLDEN_HELLOS.filter(({ records }) => records === 3).map(({ bytes }) => bytes);
  const needed = [0, 4, 5, 8, 9, 516, 517, 520, 522, 1033, 1305].map((length) => {
    const verdict = new ClientHelloReader().read(bytes.subarray(0, length));
    assert(verdict.kind === "more");
    return verdict.needed;
  });
  const whole = bytes.length;
  assertEquals(needed, [9, 9, 9, 5 + 4 + 0x500 + 5, whole - 5, whole - 5, whole - 5, whole - 5, whole, whole, whole]);
});

/** First bytes of clients that do not speak TLS, the last of which shows it. */
const OTHERS: readonly (readonly [name: string, bytes: string])[] = [
  ["HTTP", "47"], // G
  ["SSH", "53"], // S
  ["SSL 2.0", "80"],
  ["SSL 2.0 with three bytes of length", "00"],
  ["an alert", "15"],
  ["application data", "17"],
  ["a PROXY header of version 2", "0d"],
  ["a handshake of version 2", "1602"],
  ["a handshake of DTLS", "16fe"],
  ["text behind a control character", "1647"],
];

for (const [name, hex] of OTHERS) {
  Deno.test(`${name} is not TLS, which byte ${hex.length / 2} shows`, () => {
    const bytes = Uint8Array.fromHex(hex);
    assertEquals(readGuarded(bytes.subarray(0, -1)).kind, "more");
    assertEquals(readGuarded(bytes), { kind: "notTls" });
  });
}

/** Heads (the last byte shows what is wrong), and the reason. */
const BAD_HEADS: readonly (readonly [hex: string, reason: RegExp])[] = [
  ["160301" + "0000", /^a record of it is empty$/],
  ["160301" + "41", /^a record of it has more than 16384 bytes$/],
  ["160301" + "4001", /^a record of it has more than 16384 bytes$/],
  ["160301" + "0100" + "02", /^it begins with a handshake message of type 2, not 1$/],
  ["160301" + "0100" + "00", /^it begins with a handshake message of type 0, not 1$/],
  ["160301" + "0100" + "01" + "01", /^it has more than 16384 bytes$/],
  ["160301" + "0100" + "01" + "0040", /^it has more than 16384 bytes$/],
  ["160301" + "4000" + "01" + "003ff8", /^it has more than 16384 bytes$/],
  ["160301" + "0001" + "01" + "15", /^a record of type 21 interrupts it$/],
  ["160301" + "0001" + "01" + "14", /^a record of type 20 interrupts it$/],
  ["160301" + "0001" + "01" + "1602", /^a record of it has the version 2, not 3$/],
  ["160301" + "0001" + "01" + "1603030000", /^a record of it is empty$/],
  ["160301" + "0001" + "01" + "160303" + "0001" + "01", /^it has more than 16384 bytes$/],
];

for (const [hex, reason] of BAD_HEADS) {
  Deno.test(`a hello that begins with ${hex} is malformed, which its last byte shows`, () => {
    const bytes = Uint8Array.fromHex(hex);
    assertEquals(readGuarded(bytes.subarray(0, -1)).kind, "more");
    assertMatch(reasonOf(readGuarded(bytes)), reason);
    assertMatch(reasonOf(readGuarded(Uint8Array.of(...bytes, ...new Uint8Array(50)))), reason);
  });
}

Deno.test("the longest hello is read, and one that is a byte longer is not waited for", () => {
  const paddedTo = (length: number) => {
    const bare = messageOf({ sessionId: [], suites: SUITES, extensions: [[21, []]] });
    return messageOf({ sessionId: [], suites: SUITES, extensions: [[21, Array(length - bare.length).fill(0)]] });
  };
  const longest = paddedTo(LONGEST_MESSAGE_BYTES);
  assertEquals(longest.length, LONGEST_MESSAGE_BYTES);
  assertEquals(readGuarded(Uint8Array.from(inRecords(longest))).kind, "hello");
  const tooLong = Uint8Array.from(inRecords(paddedTo(LONGEST_MESSAGE_BYTES + 1)));
  assertEquals(reasonOf(readGuarded(tooLong.subarray(0, 9))), "it has more than 16384 bytes");
  // The head of a second record takes five bytes more.
  const divided = Uint8Array.from(inRecords(longest, [100]));
  assertEquals(readGuarded(divided.subarray(0, 8)).kind, "more");
  assertEquals(reasonOf(readGuarded(divided.subarray(0, 9))), "it has more than 16384 bytes");
});

/** Bodies that are wrong, by the parts of a body behind version and random bytes. */
const BAD_BODIES: readonly (readonly [parts: string, reason: RegExp])[] = [
  ["", /^its session id is too long$/],
  ["21" + "00".repeat(33) + "00021301" + "0100", /^its session id is too long$/],
  ["05" + "0000", /^its session id is too long$/],
  ["00", /^its cipher suites are not a list/],
  ["00" + "0000" + "0100", /^its cipher suites are not a list/],
  ["00" + "0003130113" + "0100", /^its cipher suites are not a list/],
  ["00" + "00041301", /^its cipher suites are not a list/],
  ["00" + "00021301", /^its compression methods are not a list$/],
  ["00" + "00021301" + "00", /^its compression methods are not a list$/],
  ["00" + "00021301" + "0200", /^its compression methods are not a list$/],
  ["00" + "00021301" + "0100" + "00", /^its extensions run over its end$/],
  ["00" + "00021301" + "0100" + "0001", /^its extensions run over its end$/],
  ["00" + "00021301" + "0100" + "000000", /^it has bytes behind its extensions$/],
  ["00" + "00021301" + "0100" + "0003" + "000000", /^an extension runs over its end$/],
  ["00" + "00021301" + "0100" + "0004" + "000a0001", /^an extension runs over its end$/],
  ["00" + "00021301" + "0100" + "0005" + "000a0002" + "00", /^an extension runs over its end$/],
];

function helloOfBody(hex: string): Uint8Array<ArrayBuffer> {
  const body = Uint8Array.fromHex("0303" + "00".repeat(32) + hex);
  return Uint8Array.from(inRecords([1, 0, body.length >> 8, body.length & 0xff, ...body]));
}

for (const [hex, reason] of BAD_BODIES) {
  Deno.test(`a body that goes on with ${JSON.stringify(hex)} is malformed`, () => {
    assertMatch(reasonOf(readGuarded(helloOfBody(hex))), reason);
  });
}

Deno.test("a body may end before its random bytes do, or without extensions", () => {
  assertEquals(reasonOf(readGuarded(Uint8Array.from(inRecords([1, 0, 0, 0])))), "it ends in its random bytes");
  assertEquals(
    reasonOf(readGuarded(Uint8Array.from(inRecords([1, 0, 0, 33, ...Array(33).fill(3)])))),
    "it ends in its random bytes",
  );
  const nameless: HelloVerdict = { kind: "hello", hello: { name: undefined, alpn: [] } };
  assertEquals(readGuarded(helloOfBody("00" + "00021301" + "0100")), nameless);
  assertEquals(readGuarded(helloOfBody("00" + "00021301" + "0100" + "0000")), nameless);
});

/** Names as a client sends them, and what is read. */
const NAMES: readonly (readonly [sent: string, name: string | undefined])[] = [
  ["api.example.com", "api.example.com"],
  ["API.Example.COM", "api.example.com"],
  ["localhost", "localhost"],
  ["xn--bcher-kva.example", "xn--bcher-kva.example"],
  ["_sip._tcp.example.com", "_sip._tcp.example.com"],
  ["-a-.example", "-a-.example"],
  ["1.2.3.com", "1.2.3.com"],
  [`${"x".repeat(63)}.example`, `${"x".repeat(63)}.example`],
  [Array(127).fill("a").join("."), Array(127).fill("a").join(".")],
  ["192.0.2.7", undefined],
  ["2001:db8::7", undefined],
  ["::ffff:192.0.2.7", undefined],
];

for (const [sent, name] of NAMES) {
  Deno.test(`the host name ${sent} is ${name === undefined ? "no name" : "read"}`, () => {
    assertEquals(verdictOf(namesExtension([0, sent])), { kind: "hello", hello: { name, alpn: [] } });
  });
}

/** Names that are none. */
const BAD_NAMES: readonly (readonly [sent: string, reason: RegExp])[] = [
  ["", /^its host name is empty$/],
  ["example.com.", /^its host name ends with a dot$/],
  [".", /^its host name ends with a dot$/],
  [".example.com", /^its host name is not made of labels/],
  ["a..b", /^its host name is not made of labels/],
  ["*.example.com", /^its host name is not made of labels/],
  ["example.com\0", /^its host name is not made of labels/],
  ["example.com\n", /^its host name is not made of labels/],
  ["exa mple.com", /^its host name is not made of labels/],
  ["b\xfccher.example", /^its host name is not made of labels/],
  ["[::1]", /^its host name is not made of labels/],
  [`${"x".repeat(64)}.example`, /^its host name is not made of labels/],
  ["example.com:443", /^its host name is not made of labels/],
  [Array(128).fill("a").join("."), /^its host name has 255 bytes, more than 253$/],
];

for (const [sent, reason] of BAD_NAMES) {
  Deno.test(`the host name ${JSON.stringify(sent)} is malformed`, () => {
    assertMatch(reasonOf(verdictOf(namesExtension([0, sent]))), reason);
  });
}

Deno.test("a hello has one host name; names of other types are passed over", () => {
  const said = (name: string | undefined): HelloVerdict => ({ kind: "hello", hello: { name, alpn: [] } });
  assertEquals(verdictOf(namesExtension([7, "\0\xff"], [0, "a.example"], [255, ""])), said("a.example"));
  assertEquals(verdictOf(namesExtension([7, "a.example"])), said(undefined));
  assertEquals(reasonOf(verdictOf(namesExtension([0, "a.example"], [0, "b.example"]))), "it has two host names");
  assertEquals(reasonOf(verdictOf(namesExtension([0, "a.example"], [0, "a.example"]))), "it has two host names");
  const one = namesExtension([0, "a.example"]);
  assertEquals(reasonOf(verdictOf(one, [10, []], one)), "it has two extensions for the server's name");
});

/** Contents of the extension with names, in hexadecimal. */
const BAD_NAME_LISTS: readonly (readonly [content: string, reason: RegExp])[] = [
  ["", /^its names are not a list$/],
  ["00", /^its names are not a list$/],
  ["0000", /^its names are not a list$/],
  ["0005" + "00000161", /^its names are not a list$/],
  ["0004" + "00000161" + "00", /^its names are not a list$/],
  ["0001" + "00", /^a name runs over/],
  ["0003" + "000001", /^a name runs over/],
];

for (const [content, reason] of BAD_NAME_LISTS) {
  Deno.test(`the list of names ${JSON.stringify(content)} is malformed`, () => {
    assertMatch(reasonOf(verdictOf([0, [...Uint8Array.fromHex(content)]])), reason);
  });
}

Deno.test("protocols are read in the client's order, without the invented ones", () => {
  const offered = ["\x0a\x0a", "h2", "\xfa\xfa", "http/1.1", "\x0a\x1a", "\xff", "\0"];
  assertEquals(verdictOf(protocolsExtension(...offered)), {
    kind: "hello",
    hello: { name: undefined, alpn: ["h2", "http/1.1", "\x0a\x1a", "\xff", "\0"] },
  });
  const one = protocolsExtension("h2");
  assertEquals(reasonOf(verdictOf(one, one)), "it has two extensions for ALPN");
});

/** Contents of the extension with protocols, in hexadecimal. */
const BAD_PROTOCOLS: readonly (readonly [content: string, reason: RegExp])[] = [
  ["", /^its protocols \(ALPN\) are not a list$/],
  ["0000", /^its protocols \(ALPN\) are not a list$/],
  ["0004026832", /^its protocols \(ALPN\) are not a list$/],
  ["000302683200", /^its protocols \(ALPN\) are not a list$/],
  ["0003036832", /^a protocol \(ALPN\) runs over/],
  ["0004" + "00026832", /^a protocol \(ALPN\) is empty$/],
];

for (const [content, reason] of BAD_PROTOCOLS) {
  Deno.test(`the list of protocols ${JSON.stringify(content)} is malformed`, () => {
    assertMatch(reasonOf(verdictOf([16, [...Uint8Array.fromHex(content)]])), reason);
  });
}

const LABEL = fc.stringMatching(/^[a-z0-9_]{0,10}[a-z]$/);
const OTHER_EXTENSION = fc.tuple(
  fc.integer({ min: 0, max: 0xffff }).filter((type) => type !== 0 && type !== 16),
  fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 100 }),
);

Deno.test("any hello is read as it was made, in any records and pieces, at its last byte", () => {
  const made = fc.record({
    sessionId: fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 32 }),
    name: fc.option(fc.array(LABEL, { minLength: 1, maxLength: 5 }).map((labels) => labels.join(".")), { nil: undefined }),
    alpn: fc.array(fc.stringMatching(/^[!-~]{1,20}$/), { maxLength: 5 }),
    before: fc.array(OTHER_EXTENSION, { maxLength: 8 }),
    behind: fc.array(OTHER_EXTENSION, { maxLength: 8 }),
    sizes: fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 20 }),
    cuts: fc.array(fc.nat(4000), { maxLength: 10 }),
  });
  fc.assert(fc.property(made, ({ sessionId, name, alpn, before, behind, sizes, cuts }) => {
    const extensions: Extension[] = [...before, ...behind];
    if (name !== undefined) extensions.splice(before.length, 0, namesExtension([0, name]));
    if (alpn.length > 0) extensions.push(protocolsExtension(...alpn));
    const bytes = Uint8Array.from(inRecords(messageOf({ sessionId, suites: SUITES, extensions }), sizes));
    const verdict = readInPieces(bytes, cuts.filter((cut) => cut < bytes.length).toSorted((a, b) => a - b));
    assertEquals(verdict, { kind: "hello", hello: { name, alpn } });
    assertEquals(readGuarded(bytes.subarray(0, -1)).kind, "more");
  }));
});

/** The bytes, which count how often they are looked at. */
function countingLooks(bytes: Uint8Array, onLook: () => void): Uint8Array {
  return new Proxy(bytes, {
    get: (target, key) => {
      if (typeof key === "string" && /^[0-9]+$/.test(key)) onLook();
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

Deno.test("bytes that come one by one, each in a record of its own, are looked at a fixed number of times each", () => {
  const looksAt = (extensionBytes: number) => {
    const message = messageOf({ sessionId: [], suites: SUITES, extensions: [[21, Array(extensionBytes).fill(0)]] });
    const bytes = Uint8Array.from(inRecords(message, message.map(() => 1)));
    const reader = new ClientHelloReader();
    let looks = 0;
    for (let end = 1; end < bytes.length; end++) {
      assertEquals(reader.read(countingLooks(bytes.subarray(0, end), () => looks++)).kind, "more");
    }
    assertEquals(reader.read(countingLooks(bytes, () => looks++)).kind, "hello");
    return looks / bytes.length;
  };
  const [few, many] = [looksAt(100), looksAt(2500)];
  assert(few < 8 && Math.abs(few - many) < 1, `${few} looks at each of few bytes, ${many} at each of many`);
});

Deno.test("what is read shares no memory with the bytes", () => {
  for (const { bytes } of GOLDEN_HELLOS) {
    const buffer = bytes.slice();
    const verdict = readGuarded(buffer);
    const before = JSON.stringify(verdict);
    buffer.fill(0xff);
    assertEquals(JSON.stringify(verdict), before);
  }
});

Deno.test("random and changed hellos never break the reader", () => {
  const outcomes = fuzzClientHellos({ seed: 13, count: 10_000 });
  assert(outcomes.hello > 2_500 && outcomes.more > 1_000, JSON.stringify(outcomes));
  assert(outcomes.notTls > 500 && outcomes.malformed > 2_500, JSON.stringify(outcomes));
});
