// What differs between two publications is what is another object, at its index.

import { assertEquals, assertThrows } from "@std/assert";
import type { EngineService, ServiceListener } from "../../lib/engine/engine.ts";
import { changesOf, leavingBy, NOTHING_PUBLISHED } from "../../lib/engine/publications.ts";
import { emptyTable } from "../../lib/routing/routing_table.ts";
import { parseKeyRule } from "../../lib/values/address.ts";
import { LIMITS, parseConfig } from "../../lib/values/config.ts";

function service(): EngineService {
  return { table: emptyTable(parseKeyRule("ip"), Infinity), config: parseConfig() };
}

function listener(port: number, service = 0): ServiceListener {
  return { listener: { address: { host: "127.0.0.1", port }, [Symbol.dispose]() {} }, service, portOffset: 0 };
}

Deno.test("changesOf() has everything at first, and nothing of what stays", () => {
  const [web, mail] = [service(), service()];
  const first = { services: [web, undefined, mail], listeners: [listener(1)] };
  const { services, listeners } = changesOf(NOTHING_PUBLISHED, first);
  assertEquals(services.map(({ index, before, now }) => [index, before, now === first.services[index]]), [
    [0, undefined, true],
    [2, undefined, true],
  ]);
  assertEquals(listeners.length, 1);
  assertEquals(changesOf(first, { services: [...first.services], listeners: [...first.listeners] }), {
    services: [],
    listeners: [],
  });
});

Deno.test("changesOf() has what is another object, what has come and what has gone, by index", () => {
  const [web, mail, news] = [service(), service(), service()];
  const before = { services: [web, mail], listeners: [] };
  const { services } = changesOf(before, { services: [{ ...web }, undefined, news], listeners: [] });
  assertEquals(services.map(({ index, before, now }) => [index, before !== undefined, now !== undefined]), [
    [0, true, true],
    [1, true, false],
    [2, false, true],
  ]);
  assertEquals(changesOf(before, { services: [web], listeners: [] }).services, [{ index: 1, before: mail, now: undefined }]);
});

Deno.test("leavingBy() gives the listeners that nobody has any more, with the index that they had", () => {
  const [one, two, three] = [listener(1), listener(2), listener(3)];
  const now = { services: [], listeners: [{ ...one, service: 1 }, undefined, undefined, two] };
  const { listeners } = changesOf({ services: [], listeners: [one, two, three] }, now);
  assertEquals(leavingBy(listeners), [{ ...three, index: 2 }]);
});

Deno.test("changesOf() takes no more than there can be", () => {
  const tooMany = Array.from<undefined>({ length: LIMITS.listenersMax + 1 });
  assertThrows(() => changesOf(NOTHING_PUBLISHED, { services: tooMany, listeners: [] }), Error, "too many services");
  assertThrows(() => changesOf(NOTHING_PUBLISHED, { services: [], listeners: tooMany }), Error, "too many listeners");
});
