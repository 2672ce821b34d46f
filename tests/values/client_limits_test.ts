// Limits of clients as people write them.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { formatPrefix, parseClientConnections, parseClientRate, parseListSource } from "../../lib/values/client_limits.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { ipBytes } from "../../lib/values/address.ts";

const CONNECTIONS: readonly [text: string, max: number, ipv4Bits: number, ipv6Bits: number][] = [
  ["20", 20, 32, 64],
  ["1", 1, 32, 64],
  ["1000", 1000, 32, 64],
  ["20/24", 20, 24, 64],
  ["20/56", 20, 32, 56],
  ["20/24,48", 20, 24, 48],
  ["20/32,128", 20, 32, 128],
];

for (const [text, max, ipv4Bits, ipv6Bits] of CONNECTIONS) {
  Deno.test(`parseClientConnections() takes ${text}, and parseClientRate() the same with a time`, () => {
    const lengths = { ipv4Bits, ipv6Bits };
    assertEquals(parseClientConnections(text, 1000), { max, lengths });
    const [count, ...bits] = text.split("/");
    assertEquals(parseClientRate([count, "10s", ...bits].join("/"), 1000), { max, windowMs: 10_000, lengths });
  });
}

Deno.test("off is no limit and no list", () => {
  assertEquals([parseClientConnections("off", 9), parseClientRate("off", 9), parseListSource("off", "deny", 9)], [
    null,
    null,
    null,
  ]);
});

for (
  const text of ["", "0", "1001", "-1", "x", "20/", "20/0", "20/129", "20/33,129", "20/24,64,1", "20/24/64", "20 ", "OFF", "2e1"]
) {
  Deno.test(`parseClientConnections() refuses ${JSON.stringify(text)}`, () => {
    const { kind, message } = assertThrows(() => parseClientConnections(text, 1000), OperatorError);
    assertEquals(kind, "usage");
    assert(message.startsWith(`Client connections ${JSON.stringify(text)} is not off or a number from 1 to 1000`), message);
  });
}

for (
  const text of ["", "100", "100/", "100/10", "100/s", "0/10s", "1001/10s", "9/999ms", "9/2h", "9/10s/", "9/10s/200", "9/10s/24/64"]
) {
  Deno.test(`parseClientRate() refuses ${JSON.stringify(text)}`, () => {
    const { kind, message } = assertThrows(() => parseClientRate(text, 1000), OperatorError);
    assertEquals(kind, "usage");
    assert(
      message.startsWith(`Client rate ${JSON.stringify(text)} is not off or a number from 1 to 1000 per time (1s to 1h)`),
      message,
    );
  });
}

Deno.test("parseListSource() tells prefixes from a file by the @ alone", () => {
  assertEquals(parseListSource("@/etc/list.txt", "deny", 9), { kind: "file", path: "/etc/list.txt" });
  assertEquals(parseListSource("@C:\\list.txt", "deny", 9), { kind: "file", path: "C:\\list.txt" });
  const source = parseListSource("10.0.0.0/8, fd00::/8", "deny", 9);
  assertEquals(source?.kind === "given" && source.list.entries, 2);
});

const BAD_LISTS: readonly [text: string, wayOut: string][] = [
  ["@list.txt", "a file is @ and its absolute path, such as @/etc/balancer/deny.txt"],
  ["@", "a file is @ and its absolute path"],
  ["@/", "a file is @ and its absolute path"],
  ["/etc/list.txt", "a file is written with @ before its absolute path"],
  ["lists/deny.txt", "a file is written with @ before its absolute path"],
  ["10.0.0.1/8", "has bits set beyond its length"],
  ["10.0.0.0/8;11.0.0.0/8", "is not an IP address or a prefix"],
  ["localhost", "is not an IP address or a prefix"],
  ["", "is not an IP address or a prefix"],
];

for (const [text, wayOut] of BAD_LISTS) {
  Deno.test(`parseListSource() of ${JSON.stringify(text)} names the flag and the way out`, () => {
    const { kind, message } = assertThrows(() => parseListSource(text, "deny", 9), OperatorError, wayOut);
    assertEquals(kind, "usage");
    assert(message.startsWith(`Option --deny cannot take ${JSON.stringify(text)}: `), message);
  });
}

Deno.test("formatPrefix() writes a length where it is not the whole address", () => {
  assertEquals(formatPrefix(ipBytes("192.0.2.7"), 32), "192.0.2.7");
  assertEquals(formatPrefix(ipBytes("192.0.2.0"), 24), "192.0.2.0/24");
  assertEquals(formatPrefix(ipBytes("2001:db8::"), 64), "2001:db8::/64");
  assertEquals(formatPrefix(ipBytes("::1"), 128), "::1");
});
