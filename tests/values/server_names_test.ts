// Names and protocols of a service: what they may be, and sentences that say how to write them.

import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { OperatorError } from "../../lib/values/errors.ts";
import { parseProtocols, parseServerNames } from "../../lib/values/server_names.ts";

const LONG_NAME = Array(127).fill("a").join("."); // 253 characters

Deno.test("parseServerNames() takes names and wildcards in lower case, in their order", () => {
  assertEquals(parseServerNames("api.example.com"), ["api.example.com"]);
  assertEquals(parseServerNames("*.Example.COM, api.example.com,localhost"), ["*.example.com", "api.example.com", "localhost"]);
  assertEquals(parseServerNames("xn--bcher-kva.example,_sip.example,*.local"), [
    "xn--bcher-kva.example",
    "_sip.example",
    "*.local",
  ]);
  assertEquals(parseServerNames(LONG_NAME), [LONG_NAME]);
  assertEquals(parseServerNames(Array.from({ length: 1000 }, (_, i) => `n${i}.example`).join()).length, 1000);
});

/** Texts, and the sentence that refuses each. */
const BAD_NAMES: readonly (readonly [text: string, sentence: RegExp])[] = [
  ["", /^Name "" is not a host name such as api.example.com or \*.example.com$/],
  ["a.example,", /^Name "" is not a host name/],
  ["a b.example", /^Name "a b.example" is not a host name/],
  ["a..example", /is not a host name/],
  [".example", /is not a host name/],
  ["-a.example", /is not a host name/],
  [`${"x".repeat(64)}.example`, /is not a host name/],
  ["192.0.2.7", /^Name "192.0.2.7" is an IP address, which clients send no name for; write a host name$/],
  ["::1", /^Name "::1" is an IP address/],
  ["[::1]:443", /is not a host name/],
  ["1.2.3", /is an IP address/],
  ["a.1", /is not a host name/],
  ["https://api.example.com", /is not a host name/],
  ["*", /^Name "\*" names nothing; leave the names out, and the service gets every name that no other one has$/],
  ["*.", /is not a host name/],
  ["*.*.example", /^Name "\*.\*.example" has a \* that is not its whole first label; write a wildcard like \*.example.com$/],
  ["a.*.example", /has a \* that is not its whole first label/],
  ["w*.example", /has a \* that is not its whole first label/],
  ["*example.com", /has a \* that is not its whole first label/],
  ["*.192.0.2.7", /is an IP address/],
  ["api.example.com.", /^Name "api.example.com." ends with a dot, which TLS does not send; write api.example.com$/],
  ["*.example.", /write \*.example$/],
  ["api.example.com:443", /^Name "api.example.com:443" has a port, which is the listener's; leave it out$/],
  ["bücher.example", /^Name "bücher.example" has characters beyond ASCII, which TLS does not send; write xn--bcher-kva.example$/],
  ["*.BÜCHER.example", /; write \*.xn--bcher-kva.example$/],
  ["bücher.example/weg", /; write it with xn-- labels \(Punycode\)$/],
  ["ü ü.example", /; write it with xn-- labels \(Punycode\)$/],
  ["\u212a.example", /; write k.example$/], // the Kelvin sign
  ["a.example,b.example,A.example", /^"a.example" is twice in the list of names$/],
  [`a.${LONG_NAME}`, /is not a host name/],
  [`*.${LONG_NAME}`, /has 255 characters, more than 253$/],
  [Array.from({ length: 1001 }, (_, i) => `n${i}.example`).join(), /^A service can have at most 1000 names, and 1001 are given$/],
];

for (const [text, sentence] of BAD_NAMES) {
  Deno.test(`parseServerNames() refuses ${JSON.stringify(text.slice(0, 80))} in a sentence`, () => {
    const error = assertThrows(() => parseServerNames(text), OperatorError);
    assertEquals(error.kind, "usage");
    assertMatch(error.message, sentence);
  });
}

Deno.test("parseProtocols() takes protocols as they are written, in their order", () => {
  assertEquals(parseProtocols("h2, http/1.1,MyProtocol"), ["h2", "http/1.1", "MyProtocol"]);
  assertEquals(parseProtocols("p".repeat(255)), ["p".repeat(255)]);
});

for (
  const [text, sentence] of [
    ["", /^Protocol "" is not one of 1 to 255 visible characters such as h2 or http\/1.1$/],
    ["h2,", /^Protocol "" is not/],
    ["h2,http 1.1", /^Protocol "http 1.1" is not/],
    ["h2\0", /is not one of/],
    ["hü", /is not one of/],
    ["p".repeat(256), /is not one of/],
    ["h2,http/1.1,h2", /^"h2" is twice in the list of protocols$/],
    [Array.from({ length: 101 }, (_, i) => `p${i}`).join(), /^A service can have at most 100 protocols, and 101 are given$/],
  ] as const
) {
  Deno.test(`parseProtocols() refuses ${JSON.stringify(text.slice(0, 80))} in a sentence`, () => {
    const error = assertThrows(() => parseProtocols(text), OperatorError);
    assertEquals(error.kind, "usage");
    assertMatch(error.message, sentence);
  });
}
