// The addresses of servers' names, kept for clients that come in a burst.

import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { NameCache } from "../../../lib/engine/streams/name_cache.ts";
import { turn } from "../../raw_socket.ts";

Deno.test("find() asks once for a burst of clients, and again when the answer is old", async () => {
  let asked = 0;
  const names = new NameCache(() => Promise.resolve([`192.0.2.${++asked}`]), 50);
  const first = names.find("host");
  assertStrictEquals(names.find("host"), first);
  assertEquals(await first, ["192.0.2.1"]);
  assertStrictEquals(names.find("host"), first);
  await turn(100);
  assertEquals(await names.find("host"), ["192.0.2.2"]);
  await turn(100);
});

Deno.test("find() caches a failure, too", async () => {
  let asked = 0;
  const names = new NameCache(() => Promise.reject(new Error(`failure ${++asked}`)), 50);
  for (let i = 0; i < 3; i++) await assertRejects(() => names.find("host"), Error, "failure 1");
  await turn(100);
  await assertRejects(() => names.find("host"), Error, "failure 2");
  await turn(100);
});
