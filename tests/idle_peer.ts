/**
 * Run by engine_stress_test.ts as a process with descriptors of its own: both ends of many connections that do nothing. It says the
 * port of its echoing server; is told the engine's port and how many connections to open, and says "open" when its server has them
 * all; told to go on, has every one echo a byte of its own and says "echoed"; then it closes them. It ends with its standard input.
 */

import { assertEquals } from "@std/assert";
import { close, connect, Queue, readBytes, readChunks, startServer, writeAll } from "./helpers.ts";

/**
 * Connections that are being opened, or that echo, at a time. Fewer than the server's backlog: under a burst of connections Linux
 * answers with SYN cookies, and if the accept queue is full when a handshake ends, it forgets that connection without a word. The
 * engine then has a connection that the server never gets, and on an idle connection nothing shows it before the first keep-alive.
 */
const AT_A_TIME = 100;
/** Nobody needs it for longer, and whoever started it may have been killed. */
const LIFETIME_MS = 60_000;

Deno.unrefTimer(setTimeout(() => Deno.exit(1), LIFETIME_MS));
const orders = readLines(Deno.stdin.readable);

const accepted = new Queue<number>();
await using server = startServer(async (socket, index) => {
  accepted.put(index);
  for await (const chunk of readChunks(socket, 16)) await writeAll(socket, chunk);
});
say(`${server.address.port}`);

const [port, connections] = (await nextOrder()).split(" ").map(Number);
const clients: Deno.TcpConn[] = [];
await eachAtATime(connections, async () => {
  clients.push(await connect({ host: "127.0.0.1", port }));
  await accepted.take(); // the system connects clients sooner than the engine dials and the server accepts
});
say("open");

await nextOrder();
await eachAtATime(connections, async (i) => {
  await writeAll(clients[i], Uint8Array.of(i));
  assertEquals((await readBytes(clients[i], 1))[0], i % 256);
});
say("echoed");

await nextOrder();
for (const client of clients) close(client);

/** Ends the process where the orders end. */
async function nextOrder(): Promise<string> {
  const { value, done } = await orders.next();
  if (done) Deno.exit(0);
  return value;
}

async function eachAtATime(count: number, run: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    while (next < count) await run(next++);
  }));
}

async function* readLines(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string, undefined> {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (text + chunk).split("\n");
    text = lines.pop()!;
    yield* lines;
  }
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}
