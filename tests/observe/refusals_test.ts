// Refusals are told without a line for each.

import { assertEquals } from "@std/assert";
import { Refusals } from "../../lib/observe/refusals.ts";
import { Queue } from "../helpers.ts";

function makeRefusals(pauseMs: number) {
  const told = new Queue<unknown>();
  const refusals = new Refusals({
    tellOne: (client, cause) => told.put([client, cause]),
    tellMany: (counts, withinMs) => told.put([...counts, withinMs]),
  }, pauseMs);
  return { told, refusals };
}

Deno.test("The first refusal is told at once, those of the pause after it by their number, and the pauses go on", async () => {
  const { told, refusals } = makeRefusals(30);
  refusals.add(() => "a", "denied");
  assertEquals(await told.take(), ["a", "denied"]);
  for (const cause of ["denied", "client_rate", "denied"]) refusals.add(() => "no address is needed", cause);
  assertEquals(await told.take(), [["denied", 2], ["client_rate", 1], 30]);
  refusals.add(() => "b", "denied");
  assertEquals(await told.take(), [["denied", 1], 30]);
  refusals[Symbol.dispose]();
});

Deno.test("After a pause without refusals the next one is told by its client again", async () => {
  const { told, refusals } = makeRefusals(5);
  refusals.add(() => "a", "denied");
  await new Promise((resolve) => setTimeout(resolve, 50));
  refusals.add(() => "b", "client_limit");
  assertEquals([await told.take(), await told.take()], [["a", "denied"], ["b", "client_limit"]]);
  refusals[Symbol.dispose]();
});

Deno.test("What is left is told at the end", async () => {
  const { told, refusals } = makeRefusals(60_000);
  for (let i = 0; i < 4; i++) refusals.add(() => "a", "denied");
  refusals[Symbol.dispose]();
  assertEquals([await told.take(), await told.take()], [["a", "denied"], [["denied", 3], 60_000]]);
});
