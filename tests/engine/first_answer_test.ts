// A server that writes its answer in two pieces, with Nagle's algorithm on: the second piece waits until the first is acknowledged,
// which a delayed acknowledgement makes 40 ms. The first answer of a connection must not wait for it.

import { assertLess } from "@std/assert";
import { createServer } from "node:net";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { connect, readBytes, startEngine, tableServer, writeText } from "../helpers.ts";

/** More than one, because a busy machine may delay any of them. */
const CONNECTIONS = 15;
/** Less than the kernel's shortest delay of an acknowledgement, 40 ms. */
const WAIT_MAX_MS = 30;

/** A server that answers every piece with two, like one that writes a header and a body. */
async function startTwoWriteServer(): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer((socket) => {
    socket.setNoDelay(false);
    socket.on("error", () => {});
    socket.on("data", () => {
      socket.write("head");
      setTimeout(() => socket.write("body"), 1); // later than the first write, or Node would join them
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return { port, [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) };
}

async function testFirstAnswer(kind: EngineKind): Promise<void> {
  await using server = await startTwoWriteServer();
  // So that the question is there when the server is dialled, whatever the machine is busy with.
  const options = { deferAcceptMs: 1000 };
  await using engine = startEngine(kind, [tableServer({ host: "127.0.0.1", port: server.port }, 0)], options);
  const waits: number[] = [];
  for (let i = 0; i < CONNECTIONS; i++) {
    using client = await connect(engine.address);
    const startMs = performance.now();
    await writeText(client, "question");
    await readBytes(client, 8);
    waits.push(performance.now() - startMs);
  }
  assertLess(waits.sort((a, b) => a - b)[CONNECTIONS >> 1], WAIT_MAX_MS, "the median wait for the first answer, in ms");
}

for (const [name, kind] of Object.entries(ENGINES)) {
  Deno.test({
    name: `[${name}] the first answer does not wait for a delayed acknowledgement`,
    ignore: kind.unsupported() !== undefined,
    fn: () => testFirstAnswer(kind),
  });
}
