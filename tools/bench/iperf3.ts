/** Streams of bytes: runs iperf3 and reads its JSON. Its control connection goes through the contender as well. */

import { metered } from "./measure.ts";
import { type Figures, usagePerUnit } from "./metrics.ts";
import type { Place } from "./place.ts";
import { runTool } from "./processes.ts";

/** What iperf3 reports. */
export interface Iperf3Report {
  readonly receivedBytes: number;
  readonly receivedBytesPerSecond: number;
}

/** How iperf3 is run. */
export interface Iperf3Load {
  readonly streams: number;
  /** From the server to the client. */
  readonly reverse?: boolean;
}

/** What iperf3 is pointed at. */
export interface Iperf3Target {
  readonly place: Place;
  readonly port: number;
  readonly pid?: number;
}

/** iperf3 stops by itself after its time; this is for one that does not. */
const OVERTIME_MS = 8000;
/**
 * Of what was sent, so much may be under way when the time is over: in buffers of the kernel and in pipes, or a fifth of it all.
 */
const UNDER_WAY_MAX = { bytesPerStream: 32 * 1024 ** 2, fraction: 0.2 };
/** What a warm-up moves for each 100 ms that it should take; iperf3's times are whole seconds. */
const WARM_UP_BYTES_PER_100_MS = 50_000_000;

/** Reads the report of `iperf3 -J`. Throws a sentence if it names an error, or if bytes are missing. */
export function parseIperf3(text: string, streams: number): Iperf3Report {
  const report = readJson(text);
  if (typeof report.error === "string") throw new Error(`iperf3 failed: ${report.error}`);
  const [sent, received] = [report.end?.sum_sent?.bytes, report.end?.sum_received?.bytes];
  const bitsPerSecond = report.end?.sum_received?.bits_per_second;
  if (sent === undefined || received === undefined || bitsPerSecond === undefined) {
    throw new Error("iperf3's report is not understood");
  }
  if (received === 0) throw new Error("iperf3 moved nothing");
  const underWayMax = Math.max(streams * UNDER_WAY_MAX.bytesPerStream, sent * UNDER_WAY_MAX.fraction);
  if (received > sent || sent - received > underWayMax) throw new Error(`Of ${sent} bytes that iperf3 sent, ${received} arrived`);
  return { receivedBytes: received, receivedBytesPerSecond: bitsPerSecond / 8 };
}

/** Moves some bytes, uncounted. */
export async function warmUpByIperf3({ place, port }: Iperf3Target, load: Iperf3Load, ms: number): Promise<void> {
  const bytes = Math.ceil(ms / 100) * WARM_UP_BYTES_PER_100_MS;
  const words = iperf3Command(place, port, load, ["-n", String(bytes)]);
  const options = { maxMs: ms + OVERTIME_MS, signal: place.signal, tellsFailure: true };
  parseIperf3(await runTool({ words }, options), load.streams);
}

/** Moves bytes for so many seconds. */
export async function driveByIperf3({ place, port, pid }: Iperf3Target, load: Iperf3Load, seconds: number): Promise<Figures> {
  const words = iperf3Command(place, port, load, ["-t", String(seconds)]);
  const options = { maxMs: seconds * 1000 + OVERTIME_MS, signal: place.signal, tellsFailure: true };
  const { result, usage } = await metered(pid, () => runTool({ words }, options));
  const { receivedBytes, receivedBytesPerSecond } = parseIperf3(result, load.streams);
  return { ...usagePerUnit(usage, receivedBytes / 1e9), throughput: receivedBytesPerSecond / 1e9 };
}

function iperf3Command({ tools }: Place, port: number, { streams, reverse }: Iperf3Load, amount: readonly string[]): string[] {
  const load = ["-P", String(streams), ...reverse ? ["-R"] : [], ...amount];
  return [tools.iperf3?.path ?? "iperf3", "-c", "127.0.0.1", "-p", String(port), "--connect-timeout", "3000", "-J", ...load];
}

/** The part of the report that is read. */
interface RawReport {
  readonly error?: unknown;
  readonly end?: {
    readonly sum_sent?: { readonly bytes?: number };
    readonly sum_received?: { readonly bytes?: number; readonly bits_per_second?: number };
  };
}

function readJson(text: string): RawReport {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("iperf3's report is no JSON");
  }
}
