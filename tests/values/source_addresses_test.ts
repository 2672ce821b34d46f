// Lists of source addresses: what they hold, what they refuse, and how many local ports they have.

import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { countSources, localPortsRatio, parseSources } from "../../lib/values/source_addresses.ts";
import { OperatorError } from "../../lib/values/errors.ts";

Deno.test("parseSources() sorts addresses by family and keeps their order", () => {
  assertEquals(parseSources("10.0.0.6, 2001:DB8::5,10.0.0.5,::ffff:10.0.0.7", 4), {
    ipv4: ["10.0.0.6", "10.0.0.5", "10.0.0.7"],
    ipv6: ["2001:db8::5"],
  });
});

for (
  const [text, sentence] of [
    ["", /^Source address "" is not an IP address such as 10.0.0.5$/],
    ["db.example", /^Source address "db.example" is not an IP address/],
    ["10.0.0.5:80", /^Source address "10.0.0.5:80" is not an IP address/],
    ["10.0.0.0/8", /^Source address "10.0.0.0\/8" is not an IP address/],
    ["10.0.0.5,", /^Source address "" is not an IP address/],
    ["10.0.0.5,::ffff:10.0.0.5", /^Source address "10.0.0.5" is listed twice$/],
    ["0.0.0.0", /^Source address "0.0.0.0" is unspecified/],
    ["::", /^Source address "::" is unspecified/],
    ["224.0.0.1", /is multicast/],
    ["255.255.255.255", /is broadcast/],
    ["fe80::1", /is link-local/],
    ["10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5", /^There are 5 source addresses; at most 4 are possible$/],
  ] as const
) {
  Deno.test(`parseSources() refuses ${JSON.stringify(text)} in a sentence`, () => {
    const error = assertThrows(() => parseSources(text, 4), OperatorError);
    assertEquals(error.kind, "usage");
    assertMatch(error.message, sentence);
  });
}

Deno.test("countSources() counts the addresses of the server's family, or one where the kernel chooses", () => {
  const sources = { ipv4: ["10.0.0.5", "10.0.0.6", "10.0.0.7"], ipv6: ["2001:db8::5", "2001:db8::6"] };
  assertEquals(["10.0.0.1", "2001:db8::1", "db.example"].map((host) => countSources(sources, host)), [3, 2, 2]);
  assertEquals(countSources({ ...sources, ipv6: [] }, "2001:db8::1"), 1);
  assertEquals(countSources({ ...sources, ipv6: [] }, "db.example"), 1);
  assertEquals(countSources(null, "10.0.0.1"), 1);
});

Deno.test("localPortsRatio() is open connections by ports and addresses, and never above 1", () => {
  assertEquals(localPortsRatio(0, 28_232, 1), 0);
  assertEquals(localPortsRatio(14_116, 28_232, 1), 0.5);
  assertEquals(localPortsRatio(14_116, 28_232, 2), 0.25);
  assertEquals(localPortsRatio(28_240, 28_232, 1), 1); // the count is a moment ahead of the kernel's
});
