/**
 * The clients of the live demo: each connects from its own address, asks, waits, asks again, leaves after a while and comes back.
 * At any time most of them are idle, a few wait for a slow answer, a few are in the middle of a long one, and a few have not said
 * anything yet, so that the loss of a server shows all that can become of a connection.
 */

import { delay } from "@std/async";
import type { Address } from "../values/address.ts";
import { DemoConnection } from "./cast.ts";

/** All times in milliseconds, from and to. */
type Span = readonly [from: number, to: number];

const ARRIVAL: Span = [0, 6000];
const VISIT: Span = [12_000, 70_000];
const ABSENCE: Span = [100, 2500];
const SILENCE: Span = [800, 2500];
const THOUGHT: Span = [500, 4000];
const LONG_ANSWER: Span = [1000, 3000];
/** Time between two parts of a long answer: shorter than the time after which a connection counts as idle. */
const PART_MS = 75;
/** Of a hundred visits so many begin in silence; of a hundred requests so many have a slow answer, and so many a long one. */
const SILENT_PERCENT = 25;
const SLOW_PERCENT = 12;
const LONG_PERCENT = 14;

/** Lets clients visit until the signal. Resolves when all have left. */
export async function gatherCrowd(clients: readonly string[], address: Address, over: AbortSignal): Promise<void> {
  await Promise.all(clients.map((client) => live(client, address, over)));
}

async function live(client: string, address: Address, over: AbortSignal): Promise<void> {
  let wait = ARRIVAL;
  while (!over.aborted) {
    try {
      await pause(wait, over);
      await visit(client, address, over);
    } catch {
      // Its connection was reset, or the demo is over: it comes back, or it does not.
    }
    wait = ABSENCE;
  }
}

async function visit(client: string, address: Address, over: AbortSignal): Promise<void> {
  const endsMs = performance.now() + chosen(VISIT);
  using connection = await DemoConnection.open(client, address, happens(SILENT_PERCENT) ? chosen(SILENCE) : 0);
  const leave = () => connection[Symbol.dispose]();
  over.addEventListener("abort", leave);
  try {
    while (performance.now() < endsMs) {
      await pause(THOUGHT, over);
      if (happens(LONG_PERCENT)) await readLongAnswer(connection, over);
      else await (happens(SLOW_PERCENT) ? connection.askSlowly() : connection.ask());
    }
  } finally {
    over.removeEventListener("abort", leave);
  }
}

async function readLongAnswer(connection: DemoConnection, over: AbortSignal): Promise<void> {
  const endsMs = performance.now() + chosen(LONG_ANSWER);
  while (performance.now() < endsMs) {
    await connection.begin();
    await delay(PART_MS, { signal: over });
  }
  await connection.end();
}

async function pause(span: Span, over: AbortSignal): Promise<void> {
  await delay(chosen(span), { signal: over });
}

function chosen([from, to]: Span): number {
  return from + Math.random() * (to - from);
}

function happens(percent: number): boolean {
  return Math.random() * 100 < percent;
}
