// Looking up names: one look-up for all who ask at the same time, few at a time.

import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { findIps, Lookups } from "../../lib/health/find_ips.ts";

/** Look-ups that the test answers. */
function playedLookups() {
  const asked = new Map<string, PromiseWithResolvers<readonly string[]>>();
  const lookups = new Lookups((host) => {
    asked.set(host, Promise.withResolvers());
    return asked.get(host)!.promise;
  });
  return { asked, lookups };
}

Deno.test("find() gives an IP address back as it is", async () => {
  const { asked, lookups } = playedLookups();
  assertEquals(await lookups.find("192.0.2.1"), ["192.0.2.1"]);
  assertEquals(await lookups.find("2001:db8::1"), ["2001:db8::1"]);
  assertEquals(asked.size, 0);
});

Deno.test("find() shares a look-up with all who ask while it runs, and asks again afterwards", async () => {
  const { asked, lookups } = playedLookups();
  const first = lookups.find("host");
  assertStrictEquals(lookups.find("host"), first);
  asked.get("host")!.resolve(["192.0.2.1"]);
  assertEquals(await first, ["192.0.2.1"]);
  const second = lookups.find("host");
  asked.get("host")!.resolve(["192.0.2.2"]);
  assertEquals(await second, ["192.0.2.2"]);
});

Deno.test("find() runs eight look-ups at a time, the others in turn, whether they fail or not", async () => {
  const { asked, lookups } = playedLookups();
  const found = Array.from({ length: 20 }, (_, i) => lookups.find(`host${i}`).catch(() => []));
  assertEquals(asked.size, 8);
  for (let i = 0; i < 20; i++) {
    assert(asked.size <= 8 + i);
    const answer = asked.get(`host${i}`)!;
    if (i % 2 === 0) answer.resolve([`192.0.2.${i}`]);
    else answer.reject(new Error("not found"));
    assertEquals(await found[i], i % 2 === 0 ? [`192.0.2.${i}`] : []);
  }
  assertEquals(asked.size, 20);
});

Deno.test("findIps() asks the system", async () => {
  const ips = await findIps("localhost");
  assert(ips.includes("127.0.0.1") || ips.includes("::1"), ips.join());
  await assertRejects(() => findIps("nobody.invalid"), Error);
});
