/** Connections on which nothing moves: what memory each takes in the proxy, and what CPU time all of them take. */

import { holderCommand } from "./backends.ts";
import { metered, residentKb } from "./measure.ts";
import type { Figures } from "./metrics.ts";
import type { Place } from "./place.ts";
import { delay, Service } from "./processes.ts";

/** What the connections go through. */
export interface IdleTarget {
  readonly place: Place;
  readonly port: number;
  readonly pid?: number;
}

/** Connections that come and go before memory is first read: what a process allocates once belongs to no connection. */
const WARM_UP_PAIRS = 100;
/** The share of the pairs that are held before memory is first read. */
const FIRST_SHARE = 0.25;
/**
 * After connections came or went, and before memory is read: what proxies do for a connection that is a second old is done by then.
 */
const SETTLE_MS = 2000;
/** Descriptors of the proxy that are left for other purposes, HAProxy's pipes among them. */
const DESCRIPTORS_RESERVED = 2000;

/** So many pairs fit under a limit on open files: the proxy needs two descriptors for each. */
export function pairsUnder(openFiles: number, wanted: number): number {
  return Math.max(1, Math.min(wanted, Math.floor((openFiles - DESCRIPTORS_RESERVED) / 2)));
}

/** Opens and closes some connections. */
export async function warmUpByIdling({ place, port }: IdleTarget): Promise<void> {
  {
    await using _held = await hold(place, port, WARM_UP_PAIRS);
  }
  await delay(SETTLE_MS);
}

/**
 * Holds idle pairs for so many seconds. The first share of them is not counted: while they are opened, V8 compiles the code of
 * connections. A process that has held some before would show less growth: each is asked once.
 */
export async function driveByIdling({ place, port, pid }: IdleTarget, wanted: number, seconds: number): Promise<Figures> {
  if (pid === undefined) throw new Error("Where no proxy is there is nothing to measure");
  const pairs = pairsUnder(place.openFiles, wanted);
  const first = Math.floor(pairs * FIRST_SHARE);
  await using _first = await hold(place, port, first);
  await delay(SETTLE_MS);
  const beforeKb = await residentKb(pid);
  await using _others = await hold(place, port, pairs - first);
  await delay(SETTLE_MS);
  const afterKb = await residentKb(pid);
  const { usage } = await metered(pid, () => delay(seconds * 1000));
  return { residentKb: (afterKb - beforeKb) / (pairs - first), idleCpuPercent: (usage.process?.cpuSeconds ?? 0) / seconds * 100 };
}

async function hold({ signal }: Place, port: number, pairs: number): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const service = stack.use(new Service(holderCommand("client", String(port), String(pairs))));
  await service.line(1, signal);
  const kept = stack.move();
  return { [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
