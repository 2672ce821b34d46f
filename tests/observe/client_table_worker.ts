/** A thread that counts clients in a table that others count in, too, and checks what it can see of them. */

/// <reference lib="deno.worker" />

import { assert, assertEquals } from "@std/assert";
import { ClientTable, UNTRACKED } from "../../lib/observe/client_table.ts";

/** What to do. */
interface Task {
  readonly shared: SharedArrayBuffer;
  /** Counts the threads that are ready: all begin at once. */
  readonly go: SharedArrayBuffer;
  readonly thread: number;
  readonly threads: number;
  readonly rounds: number;
  readonly clients: number;
  readonly mode: Mode;
}

/**
 * `random`: clients come at random, all within one window. `changing`: the same, but each round is a window of its own, so that
 * entries are soon free for others. `together`: every thread has the same clients in the same order.
 */
export type Mode = "random" | "changing" | "together";

/** Connections that a thread has at a time. */
const HELD_MAX = 3;

self.onmessage = ({ data }: MessageEvent<Task>) => self.postMessage(work(data));
self.postMessage("here");

function work({ shared, go, thread, threads, rounds, clients, mode }: Task) {
  const table = new ClientTable(shared);
  table.idleMs = 2000;
  const key = new Int32Array(5);
  const held: { client: number; entry: number }[] = [];
  const found = { acquired: 0, untracked: 0 };
  const ready = new Int32Array(go);
  Atomics.add(ready, 0, 1);
  while (Atomics.load(ready, 0) < threads);
  const point = (client: number) => key.set([client, client ^ -1, 7, 7, 1]);
  const letGo = () => {
    const { client, entry } = held.shift()!;
    point(client);
    assertEquals(table.find(key), entry, "an entry that somebody is counted in stays the client's");
    table.addBytes(entry, 2 ** 31 + 1, 7);
    table.release(entry);
  };
  let state = thread * 2_654_435_761 + 1 | 0;
  for (let round = 0; round < rounds; round++) {
    state ^= state << 13; // xorshift32 (Marsaglia, 2003)
    state ^= state >>> 17;
    state ^= state << 5;
    const client = (mode === "together" ? round : state >>> 0) % clients + 1;
    const number = mode === "changing" ? round : 0;
    const window = { number, lengthMs: 1000, nowMs: number * 1000 };
    point(client);
    const entry = table.acquire(key, window.nowMs);
    if (entry === UNTRACKED) found.untracked++;
    else {
      found.acquired++;
      assert(table.open >= 1 && table.open <= threads * (HELD_MAX + 2), `${table.open} connections of one client`);
      table.arrive(entry, window);
      held.push({ client, entry });
    }
    if (held.length > HELD_MAX) letGo();
  }
  while (held.length > 0) letGo();
  return found;
}
