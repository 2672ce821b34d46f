// Only plain files are opened, and no more of them is read than was asked for.

import { assertEquals, assertRejects } from "@std/assert";
import { OperatorError } from "../../lib/values/errors.ts";
import { ifMissing, openPlain, readPlain } from "../../lib/values/plain_file.ts";
import { soon } from "../helpers.ts";
import { needing } from "../tools.ts";

async function makeFolder(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "balancer_file_" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

const open = (path: string) => soon(openPlain(path, { read: true }, "Cannot open it"), "the file to be opened");

Deno.test({
  ...await needing("openPlain() of a FIFO does not wait for its other end", "mkfifo"),
  async fn() {
    await using folder = await makeFolder();
    await new Deno.Command("mkfifo", { args: [`${folder.path}/fifo`] }).output();
    const says = "Cannot open it: it is a FIFO and must be a plain file; move it away or choose another path";
    await assertRejects(() => open(`${folder.path}/fifo`), OperatorError, says);
    await Deno.symlink("fifo", `${folder.path}/link`);
    await assertRejects(() => open(`${folder.path}/link`), OperatorError, says);
  },
});

Deno.test({
  ...await needing("openPlain() refuses a device, a socket and a folder", "Linux"),
  async fn() {
    await using folder = await makeFolder();
    using _socket = Deno.listen({ transport: "unix", path: `${folder.path}/socket` });
    await Deno.symlink("/dev/zero", `${folder.path}/link`);
    await assertRejects(() => open(`${folder.path}/link`), OperatorError, "it is a character device");
    await assertRejects(() => open(`${folder.path}/socket`), OperatorError, "it is a socket");
    await assertRejects(() => open(folder.path), OperatorError, "it is a folder");
  },
});

Deno.test("openPlain() tells a file that is not there by its class", async () => {
  await using folder = await makeFolder();
  await assertRejects(() => open(`${folder.path}/none`), Deno.errors.NotFound);
  assertEquals(await open(`${folder.path}/none`).catch(ifMissing("none")), "none");
});

Deno.test("readPlain() gives a file of as many bytes as may be, and null for one more", async () => {
  await using folder = await makeFolder();
  const bytes = crypto.getRandomValues(new Uint8Array(10_000));
  await Deno.writeFile(`${folder.path}/a`, bytes);
  assertEquals(await readPlain(`${folder.path}/a`, 10_000, ""), bytes);
  assertEquals(await readPlain(`${folder.path}/a`, 9999, ""), null);
  await Deno.writeFile(`${folder.path}/empty`, new Uint8Array());
  assertEquals(await readPlain(`${folder.path}/empty`, 10, ""), new Uint8Array());
});

Deno.test({
  // The files of /proc have a size of 0.
  ...await needing("readPlain() reads no more than was asked for of a file that has more than its size said", "Linux"),
  fn: async () => assertEquals(await readPlain("/proc/self/status", 100, ""), null),
});
