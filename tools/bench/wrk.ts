/** Requests of a web client: runs wrk and reads what it prints. Bytes are counted too: an answer cut short is no answer. */

import { WEB_BODY } from "./configurations.ts";
import { metered } from "./measure.ts";
import { type Figures, usagePerUnit } from "./metrics.ts";
import type { Place } from "./place.ts";
import { runTool } from "./processes.ts";

/** What wrk reports. */
export interface WrkReport {
  readonly requests: number;
  readonly requestsPerSecond: number;
  /** Rounded by wrk to three or more digits. */
  readonly bytes: number;
  readonly p50Seconds: number;
  readonly p99Seconds: number;
}

/** How wrk is run. */
export interface WrkLoad {
  readonly connections: number;
  /** A connection for each request. */
  readonly closes?: boolean;
}

/** wrk stops by itself after its time; this is for one that does not. */
const OVERTIME_MS = 5000;
/**
 * The bytes that were read may differ so much from what the requests should have brought: wrk rounds, and counts answers half read.
 */
const BYTES_TOLERANCE = 0.02;
/** Before a slice one request is sent by hand; it may take so long. */
const PROBE_MAX_MS = 3000;

const TIME_UNITS: Readonly<Record<string, number>> = { us: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 };
const BYTE_UNITS: Readonly<Record<string, number>> = { "": 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };

/** Reads the report of `wrk --latency`. Throws a sentence if it names errors or has nothing to report. */
export function parseWrk(text: string): WrkReport {
  const [, socketErrors] = text.match(/^ *Socket errors: (.+)$/m) ?? [];
  if (socketErrors !== undefined) throw new Error(`wrk met socket errors: ${socketErrors.trim()}`);
  const [, refusals] = text.match(/^ *Non-2xx or 3xx responses: (\d+)$/m) ?? [];
  if (refusals !== undefined) throw new Error(`wrk got ${refusals} answers that were no success`);
  const [, requests, amount, unit] = text.match(/^ *(\d+) requests in [\d.]+\w+, ([\d.]+)([KMGT]?)B read$/m) ?? [];
  const [, rate] = text.match(/^Requests\/sec: +([\d.]+)$/m) ?? [];
  if (requests === undefined || rate === undefined) throw new Error("wrk's report is not understood");
  if (Number(requests) === 0) throw new Error("wrk got no answer");
  return {
    requests: Number(requests),
    requestsPerSecond: Number(rate),
    bytes: Number(amount) * BYTE_UNITS[unit],
    p50Seconds: percentile(text, 50),
    p99Seconds: percentile(text, 99),
  };
}

/** Throws a sentence if the bytes are not those of so many answers. */
export function checkBytes({ requests, bytes }: WrkReport, bytesPerAnswer: number): void {
  const expected = requests * bytesPerAnswer;
  if (Math.abs(bytes - expected) <= expected * BYTES_TOLERANCE) return;
  throw new Error(`${requests} answers of ${bytesPerAnswer} bytes should be ${expected} bytes, but wrk read ${bytes}`);
}

/** Sends requests for a while, uncounted. */
export async function warmUpByWrk({ place, port }: WrkTarget, load: WrkLoad, ms: number): Promise<void> {
  const seconds = Math.ceil(ms / 1000) + 1;
  const options = { maxMs: ms + OVERTIME_MS, signal: place.signal, interruptAfterMs: ms };
  await runTool({ words: wrkCommand(place, port, load, seconds) }, options);
}

/** Sends requests for so many seconds. */
export async function driveByWrk({ place, port, pid }: WrkTarget, load: WrkLoad, seconds: number): Promise<Figures> {
  const bytesPerAnswer = await probe(port, load);
  const options = { maxMs: seconds * 1000 + OVERTIME_MS, signal: place.signal };
  const words = wrkCommand(place, port, load, seconds);
  const { result, usage } = await metered(pid, () => runTool({ words }, options));
  const report = parseWrk(result);
  checkBytes(report, bytesPerAnswer);
  return {
    ...usagePerUnit(usage, report.requests),
    throughput: report.requestsPerSecond,
    p50Seconds: report.p50Seconds,
    p99Seconds: report.p99Seconds,
  };
}

/** What wrk is pointed at. */
export interface WrkTarget {
  readonly place: Place;
  readonly port: number;
  readonly pid?: number;
}

function wrkCommand({ tools }: Place, port: number, { connections, closes }: WrkLoad, seconds: number): string[] {
  const header = closes ? ["-H", "Connection: close"] : [];
  const load = ["-t1", `-c${connections}`, `-d${seconds}s`, "--latency", ...header];
  return [tools.wrk?.path ?? "wrk", ...load, `http://127.0.0.1:${port}/`];
}

function percentile(text: string, percent: number): number {
  const [, amount, unit] = text.match(new RegExp(`^ *${percent}% +([\\d.]+)(us|ms|s|m|h)$`, "m")) ?? [];
  if (unit === undefined) throw new Error(`wrk's report has no ${percent} % latency`);
  return Number(amount) * TIME_UNITS[unit];
}

/** Asks once as wrk does, and gives the length of the answer, head included. Throws a sentence if it is not the web server's. */
async function probe(port: number, { closes }: WrkLoad): Promise<number> {
  const signal = AbortSignal.timeout(PROBE_MAX_MS);
  using socket = await Deno.connect({ hostname: "127.0.0.1", port, signal });
  const cut = () => socket[Symbol.dispose]();
  signal.addEventListener("abort", cut);
  try {
    const head = `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${closes ? "Connection: close\r\n" : ""}\r\n`;
    await socket.write(new TextEncoder().encode(head));
    return (await readAnswer(socket)).length;
  } finally {
    signal.removeEventListener("abort", cut);
  }
}

async function readAnswer(socket: Deno.TcpConn): Promise<string> {
  const buffer = new Uint8Array(4096);
  let answer = "";
  while (!answer.endsWith(`\r\n\r\n${WEB_BODY}`)) {
    const count = await socket.read(buffer);
    if (count === null) throw new Error(`A request got ${JSON.stringify(answer.split("\r\n", 1)[0])} and then the end`);
    answer += new TextDecoder().decode(buffer.subarray(0, count));
  }
  return answer;
}
