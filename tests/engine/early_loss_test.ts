// A server that accepts a client and soon loses it without an answer has failed; one that has answered, or whose client has ended
// first, has not.

import { assertEquals, assertMatch } from "@std/assert";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import {
  connect,
  type Handler,
  hold,
  readBytes,
  type ServerFailure,
  soon,
  startEngine,
  startResettingServer,
  startServer,
  tableServer,
  type TestEngine,
  writeText,
} from "../helpers.ts";

/** A failure that no engine reports: what is reported before the end of a connection comes before it. */
const NONE: ServerFailure = { slot: -1, reason: "none", kind: "connect" };

/** The failure that was reported of a connection that has ended. */
async function failureOf(test: TestEngine): Promise<ServerFailure> {
  await test.ended.take();
  test.failed.put(NONE);
  return await test.failed.take();
}

/** The failure reported of a server that does this with a client that does that. */
async function play(kind: EngineKind, handle: Handler, act: (client: Deno.TcpConn) => Promise<void>): Promise<ServerFailure> {
  await using server = startServer(handle);
  await using test = startEngine(kind, [tableServer(server.address, 0)]);
  using client = await connect(test.address);
  await act(client);
  return await failureOf(test);
}

/** Reads to the end, and ends. */
async function toEnd(client: Deno.TcpConn): Promise<void> {
  await soon(hold(client, 0), "the end").catch(() => {});
  await client.closeWrite().catch(() => {});
}

const CLOSED = "it closed the connection before it answered";

const CASES: Readonly<Record<string, (kind: EngineKind) => Promise<void>>> = {
  async "a server that closes at once has failed"(kind) {
    assertEquals(await play(kind, () => Promise.resolve(), toEnd), { slot: 0, reason: CLOSED, kind: "answer" });
  },

  async "a server that closes when it is asked has failed"(kind) {
    const handle: Handler = async (socket) => void await socket.read(new Uint8Array(8));
    const failure = await play(kind, handle, async (client) => {
      await writeText(client, "question");
      await toEnd(client);
    });
    assertEquals(failure, { slot: 0, reason: CLOSED, kind: "answer" });
  },

  async "a server that resets when it is asked has failed"(kind) {
    await using server = await startResettingServer();
    await using test = startEngine(kind, [tableServer(server.address, 3)]);
    using client = await connect(test.address);
    await writeText(client, "question");
    await toEnd(client);
    assertEquals(await failureOf(test), { slot: 3, reason: "it reset the connection before it answered", kind: "answer" });
  },

  async "a server that speaks first and closes has not failed"(kind) {
    assertEquals(await play(kind, (socket) => writeText(socket, "hi"), toEnd), NONE);
  },

  async "a server that answers and closes has not failed"(kind) {
    const handle: Handler = async (socket) => {
      await socket.read(new Uint8Array(8));
      await writeText(socket, "answer");
    };
    const failure = await play(kind, handle, async (client) => {
      await writeText(client, "question");
      await readBytes(client, 6);
      await toEnd(client);
    });
    assertEquals(failure, NONE);
  },

  async "a server that closes after its client has not failed"(kind) {
    const failure = await play(kind, hold, async (client) => {
      await writeText(client, "question");
      await client.closeWrite();
      await toEnd(client);
    });
    assertEquals(failure, NONE);
  },

  async "a server that closes after more than a second has not failed"(kind) {
    const handle: Handler = () => new Promise((resolve) => setTimeout(resolve, 1200));
    assertEquals(await play(kind, handle, toEnd), NONE);
  },

  async "a server that did not accept has failed in the other way"(kind) {
    const address = { host: "127.0.0.1", port: 0 };
    {
      using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      address.port = listener.addr.port;
    }
    await using test = startEngine(kind, [tableServer(address, 0)]);
    using client = await connect(test.address);
    await toEnd(client);
    const { reason, kind: how } = await failureOf(test);
    assertMatch(reason, /refused/i);
    assertEquals(how, "connect");
  },
};

for (const [name, kind] of Object.entries(ENGINES)) {
  const ignore = kind.unsupported() !== undefined;
  for (const [title, run] of Object.entries(CASES)) Deno.test({ name: `[${name}] ${title}`, ignore, fn: () => run(kind) });
}
