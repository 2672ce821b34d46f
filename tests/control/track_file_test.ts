// The track file says 0 while the balancer is ready and 1 while it is not, and is whole at any moment.

import { assertEquals, assertRejects } from "@std/assert";
import { TrackFile } from "../../lib/control/track_file.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { poll } from "../helpers.ts";

async function makeFolder() {
  const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
  return { path: `${folder}/balancer.track`, folder, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

Deno.test("the file follows readiness, and says 1 before it is known and after the end", async () => {
  await using place = await makeFolder();
  const read = () => Deno.readTextFile(place.path);
  let isReady = true;
  {
    await using track = await TrackFile.open(place.path);
    assertEquals(await read(), "1\n");
    track.show(() => isReady);
    await poll(read, (text) => text === "0\n", "the file to say 0");
    isReady = false;
    await poll(read, (text) => text === "1\n", "the file to say 1");
    isReady = true;
    await poll(read, (text) => text === "0\n", "the file to say 0 again");
  }
  assertEquals(await read(), "1\n");
  assertEquals(await Array.fromAsync(Deno.readDir(place.folder), ({ name }) => name), ["balancer.track"]);
});

Deno.test("a file that cannot be written is refused by its name", async () => {
  await using place = await makeFolder();
  const path = `${place.folder}/missing/balancer.track`;
  await assertRejects(() => TrackFile.open(path), OperatorError, `Cannot write track file ${JSON.stringify(path)}: `);
});

Deno.test("a file that cannot be written for a while is written when it can be", async () => {
  await using place = await makeFolder();
  await using track = await TrackFile.open(place.path);
  await Deno.mkdir(`${place.path}.new/full`, { recursive: true }); // in the way of the next write
  track.show(() => true);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assertEquals(await Deno.readTextFile(place.path), "1\n");
  await Deno.remove(`${place.path}.new`, { recursive: true });
  await poll(() => Deno.readTextFile(place.path), (text) => text === "0\n", "the file to say 0");
});
