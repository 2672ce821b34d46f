import { assert, assertEquals } from "@std/assert";
import {
  allocateDescriptorTable,
  DescriptorTable,
  FLAG,
  FLOAT,
  ROLE,
  ROW_SHIFT,
  SERVER_FLOAT,
  WORD,
} from "../../../lib/engine/epoll/descriptor_table.ts";

Deno.test("every field of a row has a place of its own within it", () => {
  const ipWords = [1, 2, 3].map((word) => WORD.ip + word);
  const places = [...Object.values(WORD), ...ipWords, ...Object.values(FLOAT).flatMap((float) => [2 * float, 2 * float + 1])];
  assertEquals(new Set(places).size, places.length);
  assert(Math.max(...places) < 1 << ROW_SHIFT);
  const serverPlaces = Object.values(SERVER_FLOAT).flatMap((float) => [2 * float, 2 * float + 1]);
  const clientPlaces: number[] = [WORD.ip, ...ipWords, WORD.facts, WORD.moves]; // which a server's row does not use
  assertEquals(new Set(serverPlaces).size, serverPlaces.length);
  assert(serverPlaces.every((place) => clientPlaces.includes(place)));
});

Deno.test("every flag is one bit, every role a number other than none", () => {
  const flags: number[] = Object.values(FLAG);
  assertEquals(flags.reduce((a, b) => a | b), flags.reduce((a, b) => a + b));
  for (const flag of flags) assertEquals(flag & (flag - 1), 0);
  assertEquals(new Set<number>([0, ...Object.values(ROLE)]).size, 1 + Object.values(ROLE).length);
});

Deno.test("a row's words, floats and bytes are the same memory, and no other row's", () => {
  const table = new DescriptorTable(allocateDescriptorTable(3));
  assertEquals(table.capacity, 3);
  table.words.fill(-1, 1 << ROW_SHIFT, 2 << ROW_SHIFT);
  assert([0, 2].every((row) => table.words.subarray(row << ROW_SHIFT, (row + 1) << ROW_SHIFT).every((word) => word === 0)));
  table.floats[(1 << (ROW_SHIFT - 1)) + FLOAT.bytes] = 1;
  assertEquals(table.words[(1 << ROW_SHIFT) + 2 * FLOAT.bytes + 1], 0x3ff00000); // 1.0, its upper half (IEEE 754)
});

Deno.test("ipOf() is a copy of as many bytes as the address has", () => {
  const table = new DescriptorTable(allocateDescriptorTable(2));
  const row = 1 << ROW_SHIFT;
  const address = [192, 0, 2, 1];
  table.bytes.set(address, (row + WORD.ip) * 4);
  table.words[row + WORD.ipLength] = 4;
  const ip = table.ipOf(1);
  table.bytes.fill(0);
  assertEquals([...ip], address);
  assertEquals(table.ipOf(0).length, 0);
});
