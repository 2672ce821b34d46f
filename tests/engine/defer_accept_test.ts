// With --defer-accept the kernel hands a client over when its first bytes arrive. An engine without the ability accepts it at once.

import { assertEquals } from "@std/assert";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { connect, echo, readBytes, startEngine, startServer, tableServer, writeText } from "../helpers.ts";
import { turn, until } from "../raw_socket.ts";

async function testDeferAccept(kind: EngineKind, deferAcceptMs: number): Promise<void> {
  await using server = startServer(echo);
  await using engine = startEngine(kind, [tableServer(server.address, 0)], { deferAcceptMs });
  using client = await connect(engine.address);
  const isDeferred = deferAcceptMs > 0 && !kind.cannot.includes("deferAccept");
  if (isDeferred) await turn(200);
  else await until(() => engine.counters.get("accepted") === 1, "the client to be accepted");
  assertEquals(engine.counters.get("accepted"), isDeferred ? 0 : 1);
  await writeText(client, "hello");
  assertEquals(new TextDecoder().decode(await readBytes(client, 5)), "hello");
  assertEquals(engine.counters.get("accepted"), 1);
}

for (const [name, kind] of Object.entries(ENGINES)) {
  const ignore = kind.unsupported() !== undefined;
  for (const deferAcceptMs of [0, 10_000]) {
    Deno.test({
      name: `[${name}] --defer-accept ${deferAcceptMs === 0 ? "off" : "10s"}: a client that has said nothing yet`,
      ignore,
      fn: () => testDeferAccept(kind, deferAcceptMs),
    });
  }
}
