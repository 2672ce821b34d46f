// Where a service listens, as text: read, written, and compared.

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { OperatorError } from "../../lib/values/errors.ts";
import { addressesOf, formatListener, overlap, parseListener, parseListenerText } from "../../lib/values/listener_text.ts";
import type { SavedListener } from "../../lib/values/saved_state.ts";

const READ: readonly [host: string, ports: string, listener: SavedListener, text: string][] = [
  ["0.0.0.0", "80", { address: "0.0.0.0", port: 80 }, "0.0.0.0:80"],
  ["::", "0", { address: "::", port: 0 }, "[::]:0"],
  ["::1", "8000-8009", { address: "::1", port: 8000, lastPort: 8009 }, "[::1]:8000-8009"],
  ["localhost", "8000-8000", { address: "localhost", port: 8000 }, "localhost:8000"],
];
for (const [host, ports, listener, text] of READ) {
  Deno.test(`a listener on ${host} ${ports} is ${text}`, () => {
    assertEquals(parseListener(host, ports), listener);
    assertEquals(formatListener(listener), text);
    assertEquals(parseListenerText(text), listener);
  });
}

const REFUSED: readonly [ports: string, says: string][] = [
  ["8009-8000", "ends before it begins; write 8000-8009"],
  ["0-10", 'Port "0"'],
  ["1-65535", "the limit is 1024"],
  ["80-", 'Port "80-"'],
  ["", 'Port ""'],
  ["65536", "65536"],
];
for (const [ports, says] of REFUSED) {
  Deno.test(`a listener on the ports ${JSON.stringify(ports)} is refused`, () => {
    const error = assertThrows(() => parseListener("127.0.0.1", ports), OperatorError, says);
    assertEquals(error.kind, "usage");
  });
}

Deno.test("a text without a port is refused, with its form", () => {
  assertThrows(() => parseListenerText("localhost"), OperatorError, "write it as 0.0.0.0:80");
});

const OVERLAPS: readonly [a: string, b: string, doOverlap: boolean][] = [
  ["127.0.0.1:80", "127.0.0.1:80", true],
  ["127.0.0.1:80", "127.0.0.2:80", false],
  ["0.0.0.0:80", "127.0.0.1:80", true],
  ["[::]:80", "127.0.0.1:80", true],
  ["0.0.0.0:80", "[::1]:80", false],
  ["0.0.0.0:80", "[::]:80", true],
  ["127.0.0.1:8000-8009", "127.0.0.1:8009-8010", true],
  ["127.0.0.1:8000-8009", "127.0.0.1:8010", false],
  ["127.0.0.1:0", "127.0.0.1:0", false],
];
for (const [a, b, doOverlap] of OVERLAPS) {
  Deno.test(`${a} and ${b} ${doOverlap ? "have a port in common" : "do not meet"}`, () => {
    const [one, other] = [a, b].map((text) => parseListenerText(text));
    assertEquals([overlap(one, other), overlap(other, one)], [doOverlap, doOverlap]);
  });
}

Deno.test("two listeners of one address overlap exactly if they have an address in common", () => {
  const listener = fc.tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 0, max: 10 })).map(([port, more]): SavedListener =>
    more === 0 ? { address: "127.0.0.1", port } : { address: "127.0.0.1", port, lastPort: port + more }
  );
  fc.assert(fc.property(listener, listener, (a, b) => {
    const ports = addressesOf(a).map(({ port }) => port);
    assertEquals(overlap(a, b), addressesOf(b).some(({ port }) => ports.includes(port)));
    assertEquals(parseListenerText(formatListener(a)), a);
  }));
});
