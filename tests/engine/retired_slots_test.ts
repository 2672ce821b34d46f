import { assertEquals } from "@std/assert";
import { parseAddress, parseKeyRule } from "../../lib/values/address.ts";
import { RetiredSlots } from "../../lib/engine/retired_slots.ts";
import { emptyTable, nextTable } from "../../lib/routing/routing_table.ts";
import { tableServer } from "../helpers.ts";

const EMPTY = emptyTable(parseKeyRule("ip"), Infinity);

function tableOf(...slots: number[]) {
  return nextTable(EMPTY, slots.map((slot) => tableServer(parseAddress(`192.0.2.${slot}:80`), slot)));
}

Deno.test("takeEmpty() gives a slot that has left the table and is empty, once", () => {
  const retired = new RetiredSlots();
  retired.update([tableOf(1, 2, 3)], [tableOf(2)]);
  assertEquals(retired.takeEmpty(() => false), []);
  assertEquals(retired.takeEmpty((slot) => slot === 3), [3]);
  assertEquals(retired.takeEmpty(() => true), [1]);
  assertEquals(retired.takeEmpty(() => true), []);
});

Deno.test("takeEmpty() never gives a slot that has come back", () => {
  const retired = new RetiredSlots();
  retired.update([tableOf(1, 2)], [tableOf()]);
  retired.update([tableOf()], [tableOf(2)]);
  assertEquals(retired.takeEmpty(() => true), [1]);
});

Deno.test("takeEmpty() asks of slots that left several tables ago", () => {
  const retired = new RetiredSlots();
  retired.update([tableOf(1, 2)], [tableOf(2)]);
  retired.update([tableOf(2)], [tableOf(3)]);
  assertEquals(retired.takeEmpty(() => true), [1, 2]);
});

Deno.test("takeEmpty() gives what has left one of several tables, and nothing of the others", () => {
  const retired = new RetiredSlots();
  retired.update([tableOf(1, 2), tableOf(3)], [tableOf(1), tableOf(3)]);
  assertEquals(retired.takeEmpty(() => true), [2]);
});
