// Requests and answers on a Unix socket, against peers that say what they like, in whatever pieces.

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { exchange, type Question } from "../../lib/control/exchange.ts";
import { soon } from "../helpers.ts";

const QUESTION: Omit<Question, "signal"> = { method: "GET", target: "/v1/status", headers: { "x-who": "me" } };

interface Peer extends AsyncDisposable {
  readonly path: string;
  /** What was asked. */
  readonly asked: Promise<string>;
}

/** Takes one connection, reads to the end of the question's head, and writes the pieces one by one. `isOpen`: it goes on then. */
async function startPeer(pieces: readonly string[], { isOpen = false } = {}): Promise<Peer> {
  const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
  const path = `${folder}/peer.sock`;
  const listener = Deno.listen({ transport: "unix", path });
  const over = Promise.withResolvers<void>();
  const serving = (async () => {
    using connection = await listener.accept();
    let asked = "";
    for (const room = new Uint8Array(1024); !asked.includes("\r\n\r\n");) {
      const count = await connection.read(room);
      if (count === null) break;
      asked += new TextDecoder().decode(room.subarray(0, count));
    }
    for (const piece of pieces) {
      await connection.write(new TextEncoder().encode(piece));
      await new Promise((resolve) => setTimeout(resolve)); // so that they are read one by one
    }
    if (isOpen) await over.promise;
    return asked;
  })();
  return {
    path,
    asked: serving,
    async [Symbol.asyncDispose]() {
      over.resolve();
      await serving.catch(() => {}); // it was told elsewhere
      listener.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

async function ask(pieces: readonly string[]): Promise<{ status: number; text: string; type: string }> {
  await using peer = await startPeer(pieces);
  const { status, header, body } = await exchange(peer.path, { ...QUESTION, signal: AbortSignal.timeout(10_000) });
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of body) text += decoder.decode(bytes, { stream: true });
  return { status, text, type: header("content-type") };
}

const SAME = { status: 200, text: "hällo", type: "text/plain" };
const HEAD = "HTTP/1.1 200 OK\r\nContent-Type:  text/plain \r\n";
const CHUNKED = `${HEAD}transfer-encoding: chunked\r\n\r\n`;

/** Answers that say the same. */
const GOOD: readonly [what: string, pieces: readonly string[]][] = [
  ["a body with a length", [`${HEAD}content-length: 6\r\n\r\nhällo`]],
  ["more than the length says", [`${HEAD}content-length: 6\r\n\r\nhällo, and more`]],
  ["a body up to the end", [`${HEAD}\r\nh`, "ällo"]],
  ["lines that end in LF alone", [`${HEAD}content-length: 6\r\n\r\n`.replaceAll("\r", ""), "hällo"]],
  ["chunks", [`${CHUNKED}1\r\nh\r\n5;a=b\r\nällo\r\n0\r\n\r\n`]],
  ["chunks in pieces", [...CHUNKED, "1\r", "\nh\r", "\n", "0", "5\r\nä", "llo", "\r\n", "0\r\n\r\n"]],
  ["no reason", [`${HEAD.replace(" OK", "")}content-length: 6\r\n\r\n`, "hällo"]],
];

for (const [what, pieces] of GOOD) {
  Deno.test(`exchange() reads ${what}`, async () => assertEquals(await ask(pieces), SAME));
}

/** Answers that are none. */
const BAD: readonly [what: string, pieces: readonly string[], says: string][] = [
  ["nothing", [], "in the middle"],
  ["another protocol", ["220 smtp.example\r\n"], "does not speak HTTP"],
  ["a head without an end", [HEAD], "in the middle"],
  ["a line that never ends", ["HTTP/1.1 200 OK\r\n", "x".repeat(20_000)], "too long"],
  ["lines that never end", ["HTTP/1.1 200 OK\r\n", "a: b\r\n".repeat(5000)], "too long"],
  ["a body that is cut short", [`${HEAD}content-length: 6\r\n\r\nhä`], "in the middle"],
  ["a length that is none", [`${HEAD}content-length: -6\r\n\r\nhällo`], "no valid length"],
  ["a chunk that is cut short", [`${CHUNKED}6\r\nhä`], "in the middle"],
  ["chunks without the last", [`${CHUNKED}6\r\nhällo\r\n`], "in the middle"],
  ["a chunk whose length is none", [`${CHUNKED}six\r\nhällo\r\n`], "no valid length"],
  ["a chunk that is longer than it says", [`${CHUNKED}1\r\nhällo\r\n0\r\n\r\n`], "too long"],
];

for (const [what, pieces, says] of BAD) {
  Deno.test(`exchange() refuses ${what}`, async () => {
    assertStringIncludes((await assertRejects(() => ask(pieces), Error)).message, says);
  });
}

Deno.test("exchange() sends the question, and closes its connection", async () => {
  await using peer = await startPeer(["HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"]);
  const question = { ...QUESTION, method: "POST", body: '{"ä":1}', signal: AbortSignal.timeout(10_000) };
  const { status, body } = await exchange(peer.path, question);
  assertEquals([status, await Array.fromAsync(body)], [204, []]);
  const lines = (await peer.asked).split("\r\n");
  assertEquals(lines[0], "POST /v1/status HTTP/1.1");
  for (const line of ["host: 127.0.0.1", "content-type: application/json", "content-length: 8", "x-who: me", "connection: close"]) {
    assert(lines.includes(line), line);
  }
});

Deno.test("exchange() sends nothing that would be another line", async () => {
  for (const odd of [{ target: "/v1\r\nx: y" }, { headers: { a: "b\r\nc: d" } }, { target: "/ä" }]) {
    const question = { ...QUESTION, ...odd, signal: AbortSignal.timeout(10_000) };
    await assertRejects(() => exchange("/nowhere", question), Error, "not allow");
  }
});

Deno.test("a signal ends an exchange with its reason, before the answer and within it", async () => {
  await using silent = await startPeer([], { isOpen: true });
  const first = new AbortController();
  const asking = exchange(silent.path, { ...QUESTION, signal: first.signal });
  queueMicrotask(() => first.abort("enough"));
  assertEquals(await soon(asking.catch((reason) => reason), "the end"), "enough");

  await using slow = await startPeer([`${HEAD}content-length: 6\r\n\r\nhä`], { isOpen: true });
  const second = new AbortController();
  const { body } = await exchange(slow.path, { ...QUESTION, signal: second.signal });
  const read = async () => {
    for await (const _ of body) second.abort("enough");
  };
  assertEquals(await soon(read().catch((reason) => reason), "the end"), "enough");
  await assertRejects(() => exchange(slow.path, { ...QUESTION, signal: AbortSignal.abort(new Error("before")) }), Error, "before");
});
