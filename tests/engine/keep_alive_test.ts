// Both sides of a connection have TCP keep-alive as the operator wants it, in every engine.

import { assertEquals } from "@std/assert";
import { warnOfSettings } from "../../lib/engine/abilities.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { openLibc, SOCKADDR, SOCKET } from "../../lib/engine/system/libc.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { connect, echo, readBytes, startEngine, startServer, tableServer, writeText } from "../helpers.ts";
import { until } from "../raw_socket.ts";

const IS_LINUX = Deno.build.os === "linux";
const libc = IS_LINUX ? openLibc() : undefined;
const words = new Int32Array(new ArrayBuffer(48));
const address = libc?.addressOf(words.buffer) ?? 0n;
const bytes = new Uint8Array(words.buffer);
const SO_ACCEPTCONN = 30;

function getOption(socket: number, level: number, option: number): number | undefined {
  words[1] = 4;
  return libc!.call.getsockopt(socket, level, option, address, address + 4n) === 0 ? words[0] : undefined;
}

function portBy(call: "getsockname" | "getpeername", socket: number): number | undefined {
  words[8] = SOCKADDR.length6;
  if (libc!.call[call](socket, address, address + 32n) < 0) return undefined;
  return bytes[SOCKADDR.port] << 8 | bytes[SOCKADDR.port + 1];
}

/**
 * The balancer's sockets of a connection: towards the client, who knows it by `own`, and towards the server, which has port
 * `server`.
 */
function socketsOf(own: number, server: number): number[] {
  const all = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => Number(name));
  const { SOL_SOCKET } = SOCKET;
  const connected = all.filter((socket) => getOption(socket, SOL_SOCKET, SO_ACCEPTCONN) === 0);
  const towards = [
    connected.find((socket) => portBy("getsockname", socket) === own),
    connected.find((socket) => portBy("getpeername", socket) === server),
  ];
  return towards.filter((socket) => socket !== undefined);
}

/** The socket that listens on this port. */
function listenerOn(port: number): number | undefined {
  const all = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => Number(name));
  const { SOL_SOCKET } = SOCKET;
  return all.find((socket) => getOption(socket, SOL_SOCKET, SO_ACCEPTCONN) === 1 && portBy("getsockname", socket) === port);
}

function keepAliveOf(own: number, server: number): (number | undefined)[] {
  return socketsOf(own, server).map((socket) => getOption(socket, SOCKET.SOL_SOCKET, SOCKET.SO_KEEPALIVE));
}

async function testKeepAlive(kind: EngineKind, keepAliveMs: number): Promise<void> {
  await using server = startServer(echo);
  await using engine = startEngine(kind, [tableServer(server.address, 0)], { keepAliveMs, idleTimeoutMs: 60_000 });
  using client = await connect(engine.address);
  await writeText(client, "x");
  await readBytes(client, 1);
  const both = () => keepAliveOf(engine.address.port, server.address.port);
  await until(() => both().length === 2, "both sockets");
  const expected = keepAliveMs > 0 ? 1 : 0;
  // Epoll's comes after a second.
  await until(() => both().every((keepAlive) => keepAlive === expected), `keep-alive ${expected}: ${both()}`);
  if (kind.cannot.includes("keepAliveTime") || keepAliveMs === 0) return;
  const times = socketsOf(engine.address.port, server.address.port).map((socket) =>
    getOption(socket, SOCKET.IPPROTO_TCP, SOCKET.TCP_KEEPIDLE)
  );
  assertEquals(times, [keepAliveMs / 1000, keepAliveMs / 1000]);
}

/** Keep-alive is turned on, given another time and turned off, while the connection is open. */
async function testChanges(kind: EngineKind): Promise<void> {
  await using server = startServer(echo);
  await using engine = startEngine(kind, [tableServer(server.address, 0)], { keepAliveMs: 0, idleTimeoutMs: 60_000 });
  using client = await connect(engine.address);
  await writeText(client, "x");
  await readBytes(client, 1);
  const options = () =>
    socketsOf(engine.address.port, server.address.port).map((socket) => [
      getOption(socket, SOCKET.SOL_SOCKET, SOCKET.SO_KEEPALIVE),
      getOption(socket, SOCKET.IPPROTO_TCP, SOCKET.TCP_KEEPIDLE),
    ]);
  for (const keepAliveMs of [7000, 9000, 0]) {
    await engine.change({ keepAliveMs });
    const isSo = ([isOn, seconds]: (number | undefined)[]) =>
      isOn === (keepAliveMs > 0 ? 1 : 0) &&
      (keepAliveMs === 0 || kind.cannot.includes("keepAliveTime") || seconds === keepAliveMs / 1000);
    await until(() => options().length === 2 && options().every(isSo), `keep-alive ${keepAliveMs}: ${options()}`);
  }
  await writeText(client, "x");
  await readBytes(client, 1);
}

/** What the listener waits for is what the settings say now. */
async function testListening(kind: EngineKind): Promise<void> {
  await using engine = startEngine(kind, [], { deferAcceptMs: 0, keepAliveMs: 0 });
  const listener = listenerOn(engine.address.port)!;
  const read = () => [
    getOption(listener, SOCKET.IPPROTO_TCP, SOCKET.TCP_DEFER_ACCEPT)! > 0,
    getOption(listener, SOCKET.SOL_SOCKET, SOCKET.SO_KEEPALIVE),
  ];
  await engine.change({ deferAcceptMs: 10_000, keepAliveMs: 5000 });
  assertEquals(read(), [true, 1]);
  await engine.change({ deferAcceptMs: 0, keepAliveMs: 0 });
  assertEquals(read(), [false, 0]);
}

for (const [name, kind] of Object.entries(ENGINES)) {
  const ignore = !IS_LINUX || kind.unsupported() !== undefined;
  Deno.test({ name: `[${name}] keep-alive can be changed while a connection is open`, ignore, fn: () => testChanges(kind) });
  Deno.test({
    name: `[${name}] --defer-accept and --keep-alive can be changed while the engine listens`,
    ignore: ignore || kind.cannot.includes("deferAccept"),
    fn: () => testListening(kind),
  });
  for (const keepAliveMs of [0, 7000]) {
    Deno.test({
      name: `[${name}] keep-alive ${keepAliveMs === 0 ? "off" : `${keepAliveMs} ms`} holds for both sides of a connection`,
      ignore,
      fn: () => testKeepAlive(kind, keepAliveMs),
    });
  }
}

Deno.test("warnOfSettings() names settings that were given and that the engine cannot honour, and no others", () => {
  const given = { "keep-alive": "10s", "user-timeout": "off", "busy-poll": undefined, "workers": "2", "key": "ip" };
  assertEquals(warnOfSettings("epoll", ENGINES.epoll, given), []);
  assertEquals(warnOfSettings("streams", ENGINES.streams, given), [
    "Engine streams cannot fully honour --keep-alive 10s: keep-alive is on with the system's times (Linux: 2 hours), or off",
    "Engine streams cannot fully honour --workers 2: everything runs on one thread",
  ]);
});
