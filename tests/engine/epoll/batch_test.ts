// With --batch a saturated worker pauses between its turns; nothing else changes for clients.

import { assertEquals } from "@std/assert";
import { epoll } from "../../../lib/engine/epoll/engine.ts";
import { connect, echo, readBytes, startEngine, startServer, tableServer } from "../../helpers.ts";

const CLIENTS = 32;
const EXCHANGES = 100;

Deno.test({
  name: "[epoll] --batch: every client of a saturated worker gets its own bytes back",
  ignore: epoll.unsupported() !== undefined,
  async fn() {
    await using server = startServer(echo);
    await using engine = startEngine(epoll, [tableServer(server.address, 0)], { workers: 1, batchMicros: 50 });
    await Promise.all(Array.from({ length: CLIENTS }, async (_, number) => {
      using client = await connect(engine.address);
      const bytes = new Uint8Array(100).fill(number);
      for (let i = 0; i < EXCHANGES; i++) {
        await client.write(bytes);
        assertEquals(await readBytes(client, bytes.length), bytes);
      }
    }));
  },
});
