/**
 * One side of many idle connections, as a process of its own: both sides and the proxy together would need more descriptors than
 * one process may have. `server` prints its port and holds what comes; `client PORT COUNT` opens so many connections, prints how
 * many it holds, and keeps them. A byte goes there and back on each, which proves that both sides are the same connection. It ends
 * when its standard input does, and so with whoever started it.
 */

// deno-lint-ignore-file no-console -- a tool speaks to the one that runs it

/** Connections that are opened at the same time; a listener's queue is longer. */
const OPENED_AT_ONCE = 64;

async function serve(): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 4096 });
  console.log(listener.addr.port);
  for await (const socket of listener) hold(socket);
}

/** Answers each byte with itself. What goes wrong with a connection is the client's to notice. */
async function hold(socket: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(1);
  try {
    while (await socket.read(buffer) !== null) await socket.write(buffer);
    socket.close();
  } catch { /* the client is gone */ }
}

async function open(port: number, count: number): Promise<void> {
  const held: Deno.TcpConn[] = [];
  while (held.length < count) {
    const more = Math.min(OPENED_AT_ONCE, count - held.length);
    held.push(...await Promise.all(Array.from({ length: more }, () => openOne(port))));
  }
  console.log(held.length);
}

async function openOne(port: number): Promise<Deno.TcpConn> {
  const socket = await Deno.connect({ hostname: "127.0.0.1", port });
  await socket.write(new Uint8Array([1]));
  const answer = await socket.read(new Uint8Array(1));
  if (answer !== 1) throw new Error("A connection was closed that should have been held");
  return socket;
}

async function awaitEof(): Promise<void> {
  const buffer = new Uint8Array(64);
  while (await Deno.stdin.read(buffer).catch(() => null) !== null);
}

if (import.meta.main) {
  const [mode, port, count] = Deno.args;
  const done = mode === "server" ? serve() : open(Number(port), Number(count));
  done.catch((error) => {
    console.error(`error: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  });
  await awaitEof();
  Deno.exit(0);
}
