import { assertEquals, assertThrows } from "@std/assert";
import { clientKey, ipBytes, parseKeyRule } from "../../lib/values/address.ts";
import { parseClient } from "../../lib/values/client_name.ts";
import { OperatorError } from "../../lib/values/errors.ts";

const CLIENTS: [text: string, rule: string, ip: string, port: number, client: string][] = [
  ["192.0.2.1", "ip", "192.0.2.1", 0, "192.0.2.1"],
  ["192.0.2.1:5000", "ip", "192.0.2.1", 0, "192.0.2.1:5000"],
  ["192.0.2.1:5000", "ip:port", "192.0.2.1", 5000, "192.0.2.1:5000"],
  ["192.0.2.77", "ip/24", "192.0.2.0", 0, "192.0.2.77"],
  ["2001:DB8::1", "ip", "2001:db8::1", 0, "2001:db8::1"],
  ["::1", "ip", "::1", 0, "::1"],
  ["[2001:db8:0::1]:443", "ip:port", "2001:db8::1", 443, "[2001:db8::1]:443"],
  ["::ffff:192.0.2.1", "ip", "192.0.2.1", 0, "192.0.2.1"],
];

for (const [text, rule, ip, port, client] of CLIENTS) {
  Deno.test(`parseClient() of ${text} with the key ${rule} is ${client}`, () => {
    const parsed = parseClient(text, parseKeyRule(rule));
    assertEquals(parsed.client, client);
    assertEquals(parsed.key, clientKey(parseKeyRule(rule === "ip:port" ? rule : "ip"), ipBytes(ip), port));
  });
}

const NO_CLIENTS = [
  "",
  "foo",
  "db.example",
  "db.example:80",
  "192.0.2",
  "192.0.2.1:",
  "192.0.2.1:99999",
  "[::1]",
  "::1%eth0",
  "1:2",
];

for (const text of NO_CLIENTS) {
  Deno.test(`parseClient() of ${JSON.stringify(text)} says what a client is`, () => {
    const error = assertThrows(() => parseClient(text, parseKeyRule("ip")), OperatorError);
    assertEquals(error.kind, "usage");
    assertEquals(
      error.message,
      `Cannot explain ${JSON.stringify(text)}: give an IP address such as 192.0.2.1, or 192.0.2.1:5000 with a port`,
    );
  });
}

Deno.test("parseClient() asks for the port where it is part of the key", () => {
  for (const text of ["192.0.2.1", "2001:db8::1"]) {
    const error = assertThrows(() => parseClient(text, parseKeyRule("ip:port")), OperatorError);
    assertEquals(error.kind, "usage");
    assertEquals(
      error.message,
      `Cannot explain ${JSON.stringify(text)}: the key is ip:port; give the port as well, as in 192.0.2.1:5000`,
    );
  }
});
