import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Observer, SocketError, Source, writableOf } from "../../../lib/engine/streams/conn_streams.ts";
import { close, connect, connectNode, readBytes, someBytes, soon, writeAll, writeText } from "../../helpers.ts";

const DEAF: Observer = { onRead: () => {}, onEnd: () => {} };
const KEPT = { preventCancel: true, preventAbort: true } as const;

/** Both ends of a connection. */
async function openPair(): Promise<[near: Deno.TcpConn, far: Deno.TcpConn]> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return await Promise.all([listener.accept(), connect({ host: "127.0.0.1", port: listener.addr.port })]);
}

/** A stream that takes what it is given in pieces of this many bytes, and fails after so many pieces. */
function piecewise(source: Source, taken: number[], pieceBytes: number, piecesMax: number) {
  let pieces = 0;
  return writableOf({
    socket: source.socket,
    write: async (bytes) => {
      await Promise.resolve();
      if (pieces++ === piecesMax) throw new Error("no more");
      const piece = bytes.subarray(0, pieceBytes);
      taken.push(...piece);
      source.take(piece.length);
      return piece.length;
    },
    closeWrite: () => Promise.resolve(),
  });
}

Deno.test("a Source gives one stream after another every byte once", async () => {
  const [near, far] = await openPair();
  const bytes = someBytes(300_000);
  const writing = writeAll(far, bytes).then(() => far.closeWrite());
  const source = new Source(near, DEAF);
  const taken: number[] = [];
  for (let stream = 0, ended = false; !ended; stream++) {
    const sink = piecewise(source, taken, 1 + stream * 37 % 1000, 1 + stream % 7);
    ended = await source.stream().pipeTo(sink, KEPT).then(() => true, () => false);
  }
  await soon(writing);
  assertEquals(Uint8Array.from(taken), bytes);
  close(near);
  close(far);
});

Deno.test("a Source keeps what arrives between two streams for the second", async () => {
  for (const arrival of ["before", "after"] as const) {
    const [near, far] = await openPair();
    const source = new Source(near, DEAF);
    const taken: number[] = [];
    const first = new AbortController();
    const piping = source.stream().pipeTo(piecewise(source, taken, 10, Infinity), { ...KEPT, signal: first.signal });
    await new Promise((resolve) => setTimeout(resolve)); // it waits for something to read
    if (arrival === "after") first.abort();
    await writeText(far, "hello");
    if (arrival === "before") first.abort();
    await assertRejects(() => soon(piping), DOMException);
    await far.closeWrite();
    await soon(source.stream().pipeTo(piecewise(source, taken, 10, Infinity), KEPT));
    assertEquals(new TextDecoder().decode(Uint8Array.from(taken)), "hello");
    await soon(source.stream().pipeTo(piecewise(source, taken, 10, Infinity), KEPT)); // the end is for every stream
    close(near);
    close(far);
  }
});

Deno.test("a Source tells every stream of its failure, not of an end", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [near, far] = await Promise.all([listener.accept(), connectNode({ host: "127.0.0.1", port: listener.addr.port })]);
  const source = new Source(near, DEAF);
  const reading = source.stream().getReader().read();
  far.resetAndDestroy();
  for (const failed of [reading, source.stream().getReader().read()]) {
    const error = await assertRejects(() => soon(failed), SocketError);
    assertEquals(error.socket, near);
    assert(error.cause instanceof Deno.errors.ConnectionReset);
  }
  close(near);
});

Deno.test("a Source tells of what it reads when it reads it", async () => {
  const [near, far] = await openPair();
  const heard: (string | number)[] = [];
  const source = new Source(near, { onRead: ({ length }) => heard.push(length), onEnd: () => heard.push("end") });
  await writeText(far, "ab");
  await soon(source.stream().getReader().read());
  assertEquals([heard, source.untakenBytes], [[2], 2]);
  source.take(2);
  await far.closeWrite();
  await soon(source.stream().getReader().read());
  assertEquals([heard, source.untakenBytes], [[2, "end"], 0]);
  await writeText(near, "x");
  await soon(readBytes(far, 1));
  close(near);
  close(far);
});
