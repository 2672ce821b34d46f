/**
 * Run by silent_hosts_test.ts in two network namespaces: as `near`, the epoll engine with one end of ten connections, as `far`, a
 * host with the other ends, which vanishes: from one moment on everything sent to it goes to a hardware address that nobody has.
 * `near` starts `far`, and says for each connection, as a line of JSON, how long after that moment the engine had lost it. Both end
 * by themselves.
 */

import { epoll } from "../../../lib/engine/epoll/engine.ts";
import { connect, type Handler, hold, startEngine, startServer, tableServer, writeAll } from "../../helpers.ts";

/** The time limits of the test; README's promises are in multiples of them. */
export const TIMEOUT_MS = 4000;
/** See TIMEOUT_MS. */
export const KEEP_ALIVE_MS = 1000;
/** Longer than the time limit: who only reads nothing must not be lost in that time. */
const BEFORE_MS = 6000;
const AFTER_MS = 15_000;
const LIFETIME_MS = 60_000;

/** The near host's address, and the far one's (TEST-NET-1, RFC 5737, in namespaces of the test's own). */
export const NEAR = "192.0.2.1";
/** See NEAR. */
export const FAR = "192.0.2.2";
/** A hardware address that nobody has. */
const NOBODY = "02:00:00:00:00:99";

const CHUNK = new Uint8Array(64 * 1024);

/** Sends for ever. */
const flood: Handler = async (socket) => {
  while (true) await writeAll(socket, CHUNK);
};

/** Reads nothing, for longer than the test takes. */
const stall: Handler = () => new Promise((resolve) => Deno.unrefTimer(setTimeout(resolve, LIFETIME_MS)));

/**
 * What a connection is in the middle of when the far host vanishes: what its far and its near end do all the time; what `near` does
 * then.
 */
export const DOINGS: Readonly<Record<string, { far: Handler; near: Handler; nearThen?: (socket: Deno.TcpConn) => Promise<void> }>> =
  {
    "nothing": { far: hold, near: hold },
    "a message that is sent afterwards": { far: hold, near: hold, nearThen: (socket) => writeAll(socket, CHUNK.subarray(0, 10)) },
    "bytes towards the far host": { far: hold, near: flood },
    "bytes from the far host": { far: flood, near: hold },
    "bytes for which the far host has no room": { far: stall, near: flood },
  };

/** What `near` says of a connection. `aliveMs`: how long it had lived by then. */
export interface Lost {
  readonly side: "server" | "client";
  readonly doing: string;
  readonly wasOpen: boolean;
  readonly lostAfterMs: number;
  readonly fate: string;
  readonly reason: string;
}

function say(line: unknown): void {
  // deno-lint-ignore no-console -- a program speaks to whoever started it
  console.log(JSON.stringify(line));
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>)) {
    const lines = (text + chunk).split("\n");
    text = lines.pop()!;
    yield* lines;
  }
}

/** Servers for each doing; and clients, when it is told the ports. */
async function beFar(): Promise<void> {
  say(Object.values(DOINGS).map(({ far }) => startServer(far, { host: FAR }).address.port));
  const { value } = await linesOf(Deno.stdin.readable).next();
  for (const [i, { far }] of Object.values(DOINGS).entries()) {
    connect({ host: NEAR, port: JSON.parse(value!)[i] }).then((socket) => far(socket, 0)).catch(() => {});
  }
}

async function beNear(farNamespace: string, device: string): Promise<void> {
  const far = new Deno.Command("ip", {
    args: ["netns", "exec", farNamespace, Deno.execPath(), "run", "-q", "-A", import.meta.filename!, "far"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const ports: number[] = JSON.parse((await linesOf(far.stdout).next()).value!);
  const settings = {
    userTimeoutMs: TIMEOUT_MS,
    serverTimeoutMs: TIMEOUT_MS,
    keepAliveMs: KEEP_ALIVE_MS,
    workers: 1,
    host: "0.0.0.0",
  };
  const sockets = new Map<string, Deno.TcpConn>();
  const play = (key: string, { near }: typeof DOINGS[string]): Handler => (socket) => {
    sockets.set(key, socket);
    return near(socket, 0);
  };
  const engines = Object.entries(DOINGS).flatMap(([doing, does], i) => {
    const toFar = startEngine(epoll, [tableServer({ host: FAR, port: ports[i] }, 0)], settings);
    connect({ host: "127.0.0.1", port: toFar.address.port }).then((socket) => play(`server ${doing}`, does)(socket, 0)).catch(
      () => {},
    );
    const server = startServer(play(`client ${doing}`, does));
    const toNear = startEngine(epoll, [tableServer(server.address, 0)], settings);
    return [{ side: "server", doing, engine: toFar } as const, { side: "client", doing, engine: toNear } as const];
  });
  const fromFar = engines.filter(({ side }) => side === "client").map(({ engine }) => engine.address.port);
  const orders = far.stdin.getWriter();
  await orders.write(new TextEncoder().encode(`${JSON.stringify(fromFar)}\n`));
  await new Promise((resolve) => setTimeout(resolve, BEFORE_MS));
  const wereOpen = engines.map(({ engine }) => engine.counters.get("open") === 1);
  const args = ["neigh", "replace", FAR, "lladdr", NOBODY, "dev", device, "nud", "permanent"];
  if (!(await new Deno.Command("ip", { args }).output()).success) throw new Error("the link cannot be cut");
  const cutMs = performance.now();
  for (const [key, socket] of sockets) DOINGS[key.slice(7)].nearThen?.(socket).catch(() => {});
  Deno.unrefTimer(setTimeout(() => Deno.exit(0), AFTER_MS));
  await Promise.all(engines.map(async ({ side, doing, engine }, i) => {
    const { fate, reason } = await engine.ended.take();
    say(
      { side, doing, wasOpen: wereOpen[i], lostAfterMs: Math.round(performance.now() - cutMs), fate, reason } satisfies Partial<
        Lost
      >,
    );
  }));
  far.kill("SIGKILL");
  Deno.exit(0);
}

if (import.meta.main) {
  Deno.unrefTimer(setTimeout(() => Deno.exit(1), LIFETIME_MS));
  if (Deno.args[0] === "far") await beFar();
  else await beNear(Deno.args[1], Deno.args[2]);
}
