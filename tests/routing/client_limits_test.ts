// Who may connect: lists, rules of counting, and the keys by which clients are counted.

import { assertEquals } from "@std/assert";
import { ipBytes } from "../../lib/values/address.ts";
import { parseCidrs } from "../../lib/values/cidr_list.ts";
import { formatPrefix, parseClientConnections, parseClientRate } from "../../lib/values/client_limits.ts";
import { LIMITS } from "../../lib/values/config.ts";
import { FATE_NAMES } from "../../lib/values/fates.ts";
import {
  type ClientAddress,
  COUNT_KEY_WORDS,
  countRulesOf,
  isPermitted,
  isRefusal,
  type NO_LISTS,
  readCountKey,
  recentArrivals,
  refusalBy,
  serviceOfKey,
  windowMsOf,
  writeCountKey,
} from "../../lib/routing/client_limits.ts";

function addressOf(ip: string): ClientAddress {
  const bytes = ipBytes(ip);
  return { bytes: Uint8Array.of(1, 2, 3, ...bytes, 4), at: 3, length: bytes.length };
}

const list = (text: string) => parseCidrs(text, 10);

const LISTS: readonly [allow: string | undefined, deny: string | undefined, ip: string, isPermitted: boolean][] = [
  [undefined, undefined, "192.0.2.1", true],
  ["192.0.2.0/24", undefined, "192.0.2.1", true],
  ["192.0.2.0/24", undefined, "198.51.100.1", false],
  ["192.0.2.0/24", undefined, "2001:db8::1", false],
  [undefined, "192.0.2.0/24", "192.0.2.1", false],
  [undefined, "192.0.2.0/24", "198.51.100.1", true],
  ["192.0.2.0/24", "192.0.2.1", "192.0.2.1", false],
  ["192.0.2.0/24", "192.0.2.1", "192.0.2.2", true],
  ["192.0.2.1", "192.0.2.0/24", "192.0.2.1", false],
];

for (const [allow, deny, ip, expected] of LISTS) {
  Deno.test(`With --allow ${allow ?? "off"} and --deny ${deny ?? "off"}, ${ip} is ${expected ? "let in" : "refused"}`, () => {
    const lists = { allow: allow && list(allow), deny: deny && list(deny) } as typeof NO_LISTS;
    assertEquals(isPermitted(lists, addressOf(ip)), expected);
  });
}

const limits = (connections: string, rate: string) => ({
  clientConnections: parseClientConnections(connections, 1000),
  clientRate: parseClientRate(rate, 1000),
});

Deno.test("countRulesOf() makes one rule of limits with the same prefix lengths, and two of others", () => {
  const both = limits("20/24", "100/5s/24");
  assertEquals(countRulesOf(both), [{ lengths: { ipv4Bits: 24, ipv6Bits: 64 }, connectionsMax: 20, arrivalsMax: 100 }]);
  assertEquals(windowMsOf(both), 5000);
  assertEquals(countRulesOf(limits("20", "100/5s/24")), [
    { lengths: { ipv4Bits: 32, ipv6Bits: 64 }, connectionsMax: 20, arrivalsMax: Infinity },
    { lengths: { ipv4Bits: 24, ipv6Bits: 64 }, connectionsMax: Infinity, arrivalsMax: 100 },
  ]);
  assertEquals(countRulesOf(limits("off", "100/5s")).length, 1);
  assertEquals(countRulesOf(limits("20", "off")).length, 1);
  assertEquals(windowMsOf(limits("20", "off")), 10_000);
  assertEquals(countRulesOf(limits("off", "off")), []);
});

Deno.test("refusalBy() refuses what exceeds a limit, and not what reaches it", () => {
  const [rule] = countRulesOf(limits("20", "100/5s"));
  assertEquals([refusalBy(rule, 20, 100), refusalBy(rule, 21, 0), refusalBy(rule, 1, 100.5)], [
    undefined,
    "client_limit",
    "client_rate",
  ]);
});

Deno.test("recentArrivals() lets the window before fade away", () => {
  assertEquals([0, 0.25, 0.5, 1].map((share) => recentArrivals(10, 40, share)), [50, 40, 30, 10]);
});

const KEYS: readonly [ip: string, connections: string, prefix: string][] = [
  ["192.0.2.77", "1", "192.0.2.77"],
  ["192.0.2.77", "1/24", "192.0.2.0/24"],
  ["192.0.2.77", "1/26", "192.0.2.64/26"],
  ["255.255.255.255", "1/1", "128.0.0.0/1"],
  ["2001:db8:1:2:3:4:5:6", "1", "2001:db8:1:2::/64"],
  ["2001:db8:1:2:3:4:5:6", "1/48", "2001:db8:1::/48"],
  ["2001:db8:1:fff2:3:4:5:6", "1/60", "2001:db8:1:fff0::/60"],
  ["2001:db8:1:2:3:4:5:6", "1/128", "2001:db8:1:2:3:4:5:6"],
  ["::1", "1/24,128", "::1"],
];

for (const [ip, connections, prefix] of KEYS) {
  Deno.test(`${ip} is counted as ${prefix} by --client-connections ${connections}`, () => {
    const rules = countRulesOf(limits(connections, "off"));
    const key = new Int32Array(COUNT_KEY_WORDS).fill(-1);
    writeCountKey(LIMITS.servicesMax - 1, rules, 0, addressOf(ip), key);
    assertEquals(serviceOfKey(key[COUNT_KEY_WORDS - 1]), LIMITS.servicesMax - 1);
    const { rule, address, bits } = readCountKey(rules, key)!;
    assertEquals([formatPrefix(address, bits), rule], [prefix, rules[0]]);
  });
}

Deno.test("An IPv4 address mapped into IPv6 has the key of that address; other addresses, rules and services have others", () => {
  const rules = countRulesOf(limits("1/32,128", "1/1s/24,128"));
  const keyOf = (address: ClientAddress, rule = 0, service = 0) => {
    const key = new Int32Array(COUNT_KEY_WORDS);
    writeCountKey(service, rules, rule, address, key);
    return [...key];
  };
  const mapped = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1);
  const plain = keyOf(addressOf("192.0.2.1"));
  assertEquals(keyOf({ bytes: mapped, at: 0, length: 16 }), plain);
  assertEquals(plain.at(-1) === keyOf(addressOf("192.0.2.1"), 1).at(-1), false);
  assertEquals(plain.at(-1) === keyOf(addressOf("c000:201::")).at(-1), false);
  assertEquals(plain.at(-1) === keyOf(addressOf("192.0.2.1"), 0, 1).at(-1), false);
  const second = Int32Array.from(keyOf(addressOf("192.0.2.1"), 1));
  assertEquals(readCountKey(countRulesOf(limits("1", "off")), second), undefined, "there is no such rule any more");
});

Deno.test("isRefusal() knows the fates of refused clients", () => {
  assertEquals(FATE_NAMES.filter(isRefusal), ["denied", "client_limit", "client_rate"]);
});
