// What clients have, in memory that threads share: one thread's view, and several threads that hammer the same few clients.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { allocateClients, ClientTable, UNTRACKED, type Window } from "../../lib/observe/client_table.ts";
import { soon } from "../helpers.ts";
import type { Mode } from "./client_table_worker.ts";

const SEED = 4711;

function keyOf(number: number): Int32Array {
  return Int32Array.of(number, 0, 0, 0, 1);
}

function makeTable(entries = 64): ClientTable {
  const table = new ClientTable(allocateClients(SEED, entries));
  table.idleMs = 2000;
  return table;
}

/** The beginning of the window with this number, which takes a second. */
function at(number: number): Window {
  return { number, lengthMs: 1000, nowMs: number * 1000 };
}

Deno.test("acquire() counts a client's connections, release() counts them back", () => {
  const table = makeTable();
  const entry = table.acquire(keyOf(1), 0);
  assertEquals(table.open, 1);
  assertEquals(table.acquire(keyOf(1), 0), entry);
  assertEquals(table.open, 2);
  assert(table.acquire(keyOf(2), 0) !== entry);
  assertEquals(table.open, 1);
  table.release(entry);
  assertEquals(table.acquire(keyOf(1), 0), entry);
  assertEquals([table.open, table.find(keyOf(1)), table.find(keyOf(3)), table.used], [2, entry, UNTRACKED, 2]);
});

Deno.test("Every word of a key counts", () => {
  const table = makeTable(256);
  const keys = [0, 1, 2, 3, 4].map((word) => keyOf(9).fill(7, word, word + 1));
  assertEquals(new Set(keys.map((key) => table.acquire(key, 0))).size, keys.length);
});

Deno.test("Arrivals are counted by window, and a window that is over for long counts for nothing", () => {
  const table = makeTable();
  const entry = table.acquire(keyOf(1), 100000);
  assertEquals([table.arrive(entry, at(100)), table.arrive(entry, at(100)), table.arrivalsBefore(entry, at(100))], [1, 2, 0]);
  assertEquals([table.arrive(entry, at(101)), table.arrivalsBefore(entry, at(101))], [1, 2]);
  assertEquals(table.arrivalsBefore(entry, at(103)), 0);
  assertEquals([table.arrive(entry, at(103)), table.arrivalsBefore(entry, at(103))], [1, 0]);
  // The window's number comes round in the cell, and the window of the last arrival tells.
  assertEquals([table.arrive(entry, at(103 + 4096)), table.arrivalsBefore(entry, at(103 + 4096))], [1, 0]);
  assertEquals(table.arrivalsBefore(entry, at(103 + 2 * 4096 + 1)), 0);
});

Deno.test("withdraw() takes back an arrival of this window, and of no other", () => {
  const table = makeTable();
  const entry = table.acquire(keyOf(1), 5000);
  table.arrive(entry, at(5));
  table.arrive(entry, at(5));
  table.withdraw(entry, at(5));
  assertEquals(table.arrive(entry, at(5)), 2);
  table.withdraw(entry, at(7));
  assertEquals(table.arrivalsBefore(entry, at(6)), 2);
});

Deno.test("Bytes are counted beyond 32 bits", () => {
  const table = makeTable();
  const entry = table.acquire(keyOf(1), 0);
  for (let i = 0; i < 3; i++) table.addBytes(entry, 2 ** 32 - 1, 2 ** 40 + 2 ** 31);
  table.addBytes(entry, 3, 0);
  const [{ sentBytes, receivedBytes }] = table.top(1, () => at(0));
  assertEquals([sentBytes, receivedBytes], [3 * 2 ** 32, 3 * (2 ** 40 + 2 ** 31)]);
});

Deno.test("An entry is given to another client only when nobody is counted in it and its arrivals are over", () => {
  const table = makeTable(16); // two buckets of 15 places: 16 entries
  const entries = Array.from({ length: 16 }, (_, i) => table.acquire(keyOf(i), 0));
  assertEquals(new Set(entries).size, 16);
  for (const entry of entries) table.arrive(entry, at(0));
  assertEquals(table.acquire(keyOf(100), 0), UNTRACKED);
  table.addBytes(entries[3], 5, 5);
  table.refuse(entries[3], at(0));
  table.release(entries[3]);
  assertEquals(table.acquire(keyOf(100), 1000), UNTRACKED, "its arrivals still count");
  const newcomers = Array.from({ length: 100 }, (_, i) => keyOf(100 + i));
  const placed = newcomers.filter((key) => table.acquire(key, 2000) !== UNTRACKED);
  assertEquals(placed.length, 1);
  assertEquals(table.find(placed[0]), entries[3]);
  assertEquals(table.find(keyOf(3)), UNTRACKED);
  const { open, refusals, sentBytes, arrivals } = table.top(16, () => at(2)).find(({ key }) => key[0] === placed[0][0])!;
  assertEquals([open, refusals, sentBytes, arrivals], [1, 0, 0, [0, 0]]);
});

Deno.test("A table of a million entries tracks almost a million clients, and refuses nobody when it is full", () => {
  const entries = 2 ** 16; // the shape is the same at every size
  const table = new ClientTable(allocateClients(SEED, entries));
  let untracked = 0;
  for (let i = 0; i < entries; i++) if (table.acquire(keyOf(i * 0x01000193), 0) === UNTRACKED) untracked++;
  assert(untracked < entries / 200, `${untracked} of ${entries} were not tracked`);
  assertEquals(table.used, entries - untracked);
});

Deno.test("top() gives the clients with most connections, then arrivals, then refusals", () => {
  const table = makeTable();
  const has = (number: number, open: number, arrivals: number, refusals: number) => {
    let entry = table.acquire(keyOf(number), 9000);
    for (let i = 1; i < open; i++) entry = table.acquire(keyOf(number), 9000);
    if (open === 0) table.release(entry);
    for (let i = 0; i < arrivals; i++) table.arrive(entry, at(9));
    for (let i = 0; i < refusals; i++) table.refuse(entry, at(9));
  };
  has(1, 0, 0, 0);
  has(2, 2, 1, 0);
  has(3, 1, 5, 0);
  has(4, 3, 0, 0);
  has(5, 0, 0, 2);
  has(6, 1, 0, 9);
  assertEquals(table.top(4, () => at(9)).map(({ key }) => key[0]), [4, 2, 6, 3]);
  assertEquals(table.top(100, () => at(9)).map(({ key }) => key[0]), [4, 2, 6, 3, 5, 1]);
  assertEquals(table.top(1, () => at(11)).map(({ key, arrivals, refusedArrivals }) => [key[0], arrivals, refusedArrivals]), [
    [4, [0, 0], [0, 0]],
  ]);
});

/** What the threads have done, as they see it. */
interface Hammered {
  readonly acquired: number;
  readonly untracked: number;
}

const THREADS = 4;
const ROUNDS = 20_000;

/** Runs the threads on so many clients, and gives what each has done. */
async function hammer(shared: SharedArrayBuffer, clients: number, mode: Mode): Promise<Hammered[]> {
  const go = new SharedArrayBuffer(4);
  const threads = Array.from({ length: THREADS }, (_, thread) => {
    const worker = new Worker(new URL("./client_table_worker.ts", import.meta.url), { type: "module" });
    const { promise, resolve, reject } = Promise.withResolvers<Hammered>();
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(event.message));
    };
    worker.onmessage = ({ data }) => {
      if (data === "here") worker.postMessage({ shared, go, thread, threads: THREADS, rounds: ROUNDS, clients, mode });
      else resolve(data);
    };
    return { worker, done: promise };
  });
  try {
    return await soon(Promise.all(threads.map(({ done }) => done)), "the threads");
  } finally {
    for (const { worker } of threads) worker.terminate();
  }
}

Deno.test("Threads that hammer a few clients count every connection, arrival and byte once", async () => {
  const shared = allocateClients(SEED, 64);
  const clients = 6;
  const done = await hammer(shared, clients, "random");
  const table = new ClientTable(shared);
  const top = table.top(100, () => at(0));
  assertEquals(top.length, clients, "no client has two entries");
  assertEquals(top.map(({ open }) => open), Array(clients).fill(0));
  const sum = (read: (count: typeof top[number]) => number) => top.reduce((sum, count) => sum + read(count), 0);
  const acquired = done.reduce((sum, { acquired }) => sum + acquired, 0);
  assertGreater(acquired, 0.99 * THREADS * ROUNDS);
  assertEquals(sum(({ arrivals: [current] }) => current), acquired);
  assertEquals(sum(({ sentBytes }) => sentBytes), acquired * (2 ** 31 + 1));
  assertEquals(sum(({ receivedBytes }) => receivedBytes), acquired * 7);
});

Deno.test("Threads that take each other's entries away never count for the wrong client", async () => {
  // Far more clients than entries, and every window is a new one: entries change hands all the time.
  const shared = allocateClients(SEED, 16);
  const clients = 400;
  const done = await hammer(shared, clients, "changing");
  const table = new ClientTable(shared);
  const top = table.top(100, () => at(ROUNDS));
  assertEquals(top.map(({ open }) => open), Array(top.length).fill(0), "all that was acquired was released");
  assertEquals(new Set(top.map(({ key }) => key[0])).size, top.length, "no client has two entries");
  for (const { acquired, untracked } of done) {
    assertEquals(acquired + untracked, ROUNDS);
    assertGreater(acquired, ROUNDS / 100);
  }
});

Deno.test("Threads that see a new client at the same moment give it one entry", async () => {
  const shared = allocateClients(SEED, 2 ** 15);
  const done = await hammer(shared, ROUNDS, "together");
  const top = new ClientTable(shared).top(THREADS * ROUNDS, () => at(0));
  assertEquals(new Set(top.map(({ key }) => key[0])).size, top.length);
  // A thread that was interrupted while it added a client makes others give up on clients of that bucket.
  const acquired = done.reduce((sum, { acquired }) => sum + acquired, 0);
  assertGreater(acquired, 0.99 * THREADS * ROUNDS);
  assertEquals(top.reduce((sum, { arrivals: [current] }) => sum + current, 0), acquired);
});
