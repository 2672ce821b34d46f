/** Both ends of the workloads that talk.c drives: its command lines, what it prints, and the figures made of that. */

import { compileProgram } from "./compile.ts";
import { metered } from "./measure.ts";
import { type Figures, usagePerUnit } from "./metrics.ts";
import type { Place } from "./place.ts";
import { Service } from "./processes.ts";

/** What the clients report. */
export interface TalkReport {
  /** Banners or answers. */
  readonly count: number;
  readonly perSecond: number;
  readonly p50Seconds: number;
  readonly p99Seconds: number;
}

/** How the clients are run. */
export interface TalkLoad {
  /** To visit: connect, read the banner, leave. To ask: stay connected and send requests. */
  readonly does: "visit" | "ask";
  readonly clients: number;
  /** How often each of them does it; without: as soon as the last time is over. */
  readonly everyMs?: number;
  /** How many times as long as others a turn is: where little happens in a second. */
  readonly stretch?: number;
}

/** What the clients are pointed at. */
export interface TalkTarget {
  readonly place: Place;
  readonly port: number;
  readonly pid?: number;
}

/** The clients stop by themselves after their time; this is for some that do not. */
const OVERTIME_MS = 8000;
/** Clients of a warm-up: few are enough to keep a balancer busy. */
const WARM_UP_CLIENTS = 64;

/** Reads the line that the clients print at their end. */
export function parseTalk(text: string): TalkReport {
  const found = text.match(/^count (\d+) seconds ([\d.]+) p50 (\d+) p99 (\d+)$/);
  if (found === null) throw new Error("talk's report is not understood");
  const [count, seconds, p50Ns, p99Ns] = found.slice(1).map(Number);
  return { count, perSecond: count / seconds, p50Seconds: p50Ns / 1e9, p99Seconds: p99Ns / 1e9 };
}

/** Works without a pause, uncounted: what the balancer does under this load it learns sooner like this. */
export async function warmUpByTalk(target: TalkTarget, { does }: TalkLoad, ms: number): Promise<void> {
  await using clients = await startClients(target, { does, clients: WARM_UP_CLIENTS }, ms);
  await clients.work();
}

/** Works for so many seconds. Neither opening the connections nor closing them is counted. */
export async function driveByTalk(target: TalkTarget, load: TalkLoad, seconds: number): Promise<Figures> {
  await using clients = await startClients(target, load, seconds * 1000 * (load.stretch ?? 1));
  const { result, usage } = await metered(target.pid, () => clients.work());
  const { count, perSecond, p50Seconds, p99Seconds } = parseTalk(result);
  return { ...usagePerUnit(usage, count), throughput: perSecond, p50Seconds, p99Seconds };
}

/** The command line of a server. */
export async function serverCommand(place: Place, kind: "greet" | "answer"): Promise<readonly string[]> {
  return [await compileProgram("talk", place.workshop), kind];
}

/** Clients that are ready to work. */
interface Clients extends AsyncDisposable {
  /** Lets them work, and gives what they report. */
  work(): Promise<string>;
}

async function startClients({ place, port }: TalkTarget, load: TalkLoad, ms: number): Promise<Clients> {
  const { does, clients, everyMs = 0 } = load;
  const program = await compileProgram("talk", place.workshop);
  await using stack = new AsyncDisposableStack();
  const service = stack.use(new Service({ words: [program, does, ...[port, clients, everyMs, ms].map(String)] }));
  await service.line(1, place.signal);
  const kept = stack.move();
  const work = async () => {
    await service.tell("\n");
    return await service.line(2, place.signal, ms + OVERTIME_MS);
  };
  return { work, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
