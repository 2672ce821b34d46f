// Servers' names: one look-up for all who ask.

import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { NameLookup } from "../../lib/engine/name_lookup.ts";

Deno.test("find() gives an IP address back as it is", async () => {
  assertEquals(await new NameLookup().find("192.0.2.1"), ["192.0.2.1"]);
  assertEquals(await new NameLookup().find("2001:db8::1"), ["2001:db8::1"]);
});

Deno.test("find() asks once for everybody who waits, and uses the answer again", async () => {
  const names = new NameLookup();
  const first = names.find("localhost");
  assertStrictEquals(names.find("localhost"), first);
  const ips = await first;
  assert(ips.includes("127.0.0.1") || ips.includes("::1"), ips.join());
  assertStrictEquals(names.find("localhost"), first);
});

Deno.test("find() rejects for a name that nobody has", async () => {
  await assertRejects(() => new NameLookup().find("nobody.invalid"), Error);
});

Deno.test("find() looks up a limited number of names at a time", async () => {
  const names = new NameLookup();
  const asked = Array.from({ length: 20 }, (_, i) => names.find(`nobody${i}.invalid`));
  const reasons = (await Promise.allSettled(asked)).map((result) => result.status === "rejected" ? String(result.reason) : "");
  assertEquals(reasons.filter((reason) => reason.includes("too many names")).length, 12);
});
