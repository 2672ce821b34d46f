/**
 * The workers of an epoll engine as the system shows them: a worker is an epoll set that has the listener, the worker's mailbox and
 * its sockets in it (proc(5), fdinfo). It is made to die by a command that nobody would send.
 */

import { assertEquals } from "@std/assert";
import { epoll } from "../../../lib/engine/epoll/engine.ts";
import { openLibc, SOCKET } from "../../../lib/engine/system/libc.ts";
import { Sockets } from "../../../lib/engine/system/sockets.ts";
import { soon, type TestEngine } from "../../helpers.ts";
import { turn } from "../../raw_socket.ts";

// Opened once and never closed, since every test that uses it would have to be the last.
const libc = epoll.unsupported() === undefined ? openLibc() : undefined;
const sockets = libc && new Sockets(libc);
const words = new Int32Array(new ArrayBuffer(16));
const wordsAddress = libc?.addressOf(words.buffer) ?? 0n;

/** A worker. `mailbox` is the writing end, which is the same for all that take its place. */
export interface Seen {
  readonly mailbox: number;
  readonly sockets: readonly number[];
}

/** The workers that serve. */
export function look({ address }: TestEngine): Seen[] {
  const links = readLinks();
  const descriptors = [...links.keys()];
  const listener = descriptors.find((descriptor) => isListener(descriptor, address.port));
  const seen: Seen[] = [];
  for (const [descriptor, link] of links) {
    if (link !== "anon_inode:[eventpoll]") continue;
    const watched = readWatched(descriptor);
    const own = watched.filter(({ generation }) => generation === 0).map(({ descriptor }) => descriptor);
    const reader = own.find((descriptor) => descriptor !== listener);
    if (listener === undefined || !own.includes(listener) || reader === undefined) continue;
    const mailbox = descriptors.find((other) => other !== reader && links.get(other) === links.get(reader));
    const sockets = watched.filter(({ generation }) => generation !== 0).map(({ descriptor }) => descriptor);
    if (mailbox !== undefined) seen.push({ mailbox, sockets });
  }
  return seen.sort((a, b) => a.mailbox - b.mailbox);
}

/** What the process's descriptors are. */
export function readLinks(): Map<number, string> {
  const links = new Map<number, string>();
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      links.set(Number(name), Deno.readLinkSync(`/proc/self/fd/${name}`));
    } catch { /* closed meanwhile */ }
  }
  return links;
}

/** What is in an epoll set; the upper half of its data is a socket's generation. */
function readWatched(set: number): { descriptor: number; generation: number }[] {
  try {
    const lines = Deno.readTextFileSync(`/proc/self/fdinfo/${set}`).matchAll(/tfd: *(\d+) events: *\w+ data: *(\w+)/g);
    return [...lines].map(([, tfd, data]) => ({ descriptor: Number(tfd), generation: Number(BigInt(`0x${data}`) >> 32n) }));
  } catch {
    return []; // closed meanwhile
  }
}

function isListener(descriptor: number, port: number): boolean {
  return getOption(descriptor, SOCKET.SOL_SOCKET, SOCKET.SO_ACCEPTCONN) === 1 && sockets!.ownPortOf(descriptor) === port;
}

/** An option of a socket that is a number. */
export function getOption(socket: number, level: number, option: number): number | undefined {
  words[1] = 4;
  return libc!.call.getsockopt(socket, level, option, wordsAddress, wordsAddress + 4n) === 0 ? words[0] : undefined;
}

/** Makes a worker die of a fault. */
export function kill({ mailbox }: Seen): void {
  words.set([0, 0, 0, 0]); // of no kind, for no worker
  assertEquals(libc!.call.write(mailbox, wordsAddress, 16n), 16);
}

/** Waits until so many workers serve. */
export async function workersOf(engine: TestEngine, count: number): Promise<Seen[]> {
  let seen = look(engine);
  for (; seen.length !== count; seen = look(engine)) await soon(turn(10));
  return seen;
}
