// A peer that stops reading is not dead, however long it pauses: its system answers every window probe. Over every row of ENGINES.

import { assertEquals } from "@std/assert";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import {
  connect,
  readBytes,
  readChunks,
  sha256,
  someBytes,
  soon,
  startEngine,
  startServer,
  tableServer,
  type TestEngine,
  writeAll,
} from "../helpers.ts";

/** The time limits that a silent peer is lost by, much shorter than in production. */
const TIMEOUT_MS = 300;
/** So long nothing is read: many times the limit. */
const PAUSE_MS = 2000;
const LIMITS_SHORT = { userTimeoutMs: TIMEOUT_MS, serverTimeoutMs: TIMEOUT_MS } as const;
/** More than all buffers on the way hold. */
const MUCH = 12 * 1024 * 1024;
/** So little that the balancer has sent all of it on when the peer pauses: its own system holds it. */
const LITTLE = 1024 * 1024;

type Case = (kind: EngineKind) => Promise<void>;

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}

/** All bytes until the end, after the pause; what was read is added up in pieces. */
async function readLate(socket: Deno.Conn): Promise<string> {
  await pause();
  const chunks: Uint8Array[] = [];
  for await (const chunk of readChunks(socket)) chunks.push(chunk.slice());
  return await sha256(await new Blob(chunks as Uint8Array<ArrayBuffer>[]).bytes());
}

/** Both a server and a client that send much and read nothing at first. */
async function converse(test: TestEngine, heard: Promise<string>, down: Uint8Array, up: Uint8Array): Promise<void> {
  using client = await connect(test.address);
  const [, got] = await soon(
    Promise.all([writeAll(client, up).then(() => client.closeWrite()), readLate(client)]),
    "both directions",
  );
  assertEquals(await soon(heard, "what the server read"), await sha256(up as Uint8Array<ArrayBuffer>));
  assertEquals(got, await sha256(down as Uint8Array<ArrayBuffer>));
}

const CASES: Record<string, Case> = {
  async "a server that stops reading in the middle of an upload gets all of it, and nobody else does"(kind) {
    await Promise.all([LITTLE, MUCH].map(async (size) => {
      const up = someBytes(size);
      let others = 0;
      const heard = Promise.withResolvers<string>();
      const accepted = Promise.withResolvers<void>();
      await using slow = startServer(async (socket) => {
        accepted.resolve();
        heard.resolve(readLate(socket));
        await heard.promise;
        await writeAll(socket, someBytes(10));
      });
      await using other = startServer(() => Promise.resolve(void others++));
      const replay = { redistribute: "unanswered", replayBytesMax: 16 * 1024 * 1024 } as const;
      await using test = startEngine(kind, [tableServer(slow.address, 0)], { ...LIMITS_SHORT, ...replay });
      using client = await connect(test.address);
      await soon(accepted.promise, "the server's client"); // it has its server before there is another
      await test.publish([tableServer(slow.address, 0), tableServer(other.address, 1)]);
      await soon(writeAll(client, up), "the upload");
      await client.closeWrite();
      assertEquals(await soon(readBytes(client, 10), "the answer"), someBytes(10));
      assertEquals(await heard.promise, await sha256(up));
      assertEquals([(await test.ended.take()).fate, others], ["done", 0]);
    }));
  },

  async "a client that stops reading in the middle of a download gets all of it"(kind) {
    await Promise.all([LITTLE, MUCH].map(async (size) => {
      const down = someBytes(size);
      await using server = startServer(async (socket) => {
        await readBytes(socket, 1);
        await writeAll(socket, down);
      });
      await using test = startEngine(kind, [tableServer(server.address, 0)], LIMITS_SHORT);
      using client = await connect(test.address);
      await writeAll(client, someBytes(1));
      assertEquals(await soon(readLate(client), "the download"), await sha256(down));
      await client.closeWrite();
      assertEquals((await test.ended.take()).fate, "done");
    }));
  },

  async "both at once"(kind) {
    const [down, up] = [someBytes(MUCH, 2), someBytes(MUCH, 3)];
    const heard = Promise.withResolvers<string>();
    await using server = startServer(async (socket) => {
      heard.resolve(readLate(socket));
      await writeAll(socket, down);
      await socket.closeWrite();
      await heard.promise;
    });
    await using test = startEngine(kind, [tableServer(server.address, 0)], LIMITS_SHORT);
    await converse(test, heard.promise, down, up);
    assertEquals((await test.ended.take()).fate, "done");
  },
};

for (const [engine, kind] of Object.entries(ENGINES)) {
  for (const [name, run] of Object.entries(CASES)) {
    Deno.test({ name: `[${engine}] ${name}`, ignore: kind.unsupported() !== undefined, fn: () => run(kind) });
  }
}
