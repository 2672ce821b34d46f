/**
 * Logging: what the daemon writes, where and in which form. The only file in `lib` that configures LogTape. On a terminal lines
 * are for people; elsewhere, and in the log file, each line is one JSON object. Writing never holds up a connection: both sinks
 * buffer, within limits, and write aside.
 */

import {
  configure,
  dispose,
  getLogger,
  jsonLinesFormatter,
  type Logger,
  type LogRecord,
  type Sink,
  type TextFormatter,
} from "@logtape/logtape";
import { getPrettyFormatter } from "@logtape/pretty";
import type { LogLevel } from "../values/config.ts";
import { LogFile } from "./log_file.ts";

/** What `logger` gives. */
export type { Logger };

/** The log file is cut at this size, and this many old ones are kept: 60 MiB at the most. */
const LOG_FILE_BYTES_MAX = 10 * 1024 ** 2;
const LOG_FILES_MAX = 5;

/** What may wait for standard error to be read. */
const WAITING_BYTES_MAX = 1024 ** 2;
/** How long the end of the program waits for that. */
const LAST_WORDS_MAX_MS = 1000;

/** The logger of one part of the program. */
export function logger(part: string): Logger {
  return getLogger(["balancer", part]);
}

/** The file that is logged to, if there is one. */
let logFile: LogFile | undefined;

/** Sends the log from `level` up to `file` (rotating), or to standard error where there is none. Throws an operator error. */
export async function setUpLogging(level: LogLevel, file?: string): Promise<void> {
  logFile = file === undefined ? undefined : await LogFile.open(file, { bytesMax: LOG_FILE_BYTES_MAX, oldFilesMax: LOG_FILES_MAX });
  const out = logFile === undefined ? standardErrorSink() : boundedSink(logFile, jsonLinesFormatter);
  await configure({
    sinks: { out },
    loggers: [
      { category: ["balancer"], lowestLevel: level, sinks: ["out"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["out"] },
    ],
    reset: true,
  });
}

/** Opens the log file anew: it was moved away to be kept. False where standard error is logged to. Throws an operator error. */
export async function reopenLog(): Promise<boolean> {
  await logFile?.reopen();
  return logFile !== undefined;
}

/** Writes out what is buffered, if whoever reads it lets us. Nothing can be logged afterwards. */
export async function endLogging(): Promise<void> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<void>((resolve) => timer = setTimeout(resolve, LAST_WORDS_MAX_MS));
  const written = dispose().then(() => logFile?.close()).finally(() => logFile = undefined);
  await Promise.race([written, late]).finally(() => clearTimeout(timer));
}

function standardErrorSink(): Sink & AsyncDisposable {
  const isTerminal = Deno.stderr.isTerminal();
  const colors = isTerminal && !Deno.noColor;
  const pretty = getPrettyFormatter({ colors, timestamp: "date-time", align: false, wordWrap: false });
  return boundedSink(Deno.stderr, isTerminal ? pretty : jsonLinesFormatter);
}

/** A sink that never holds anybody up, never fails, and holds a limited amount: what is too much is left out, and said. */
export function boundedSink(output: { write(bytes: Uint8Array): Promise<number> }, format: TextFormatter): Sink & AsyncDisposable {
  const encoder = new TextEncoder();
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let leftOut = 0;
  let writing: Promise<void> | undefined;
  let isBroken = false;

  const writeAll = async () => {
    while (waiting.length > 0) {
      const bytes = encoder.encode(leftOut > 0 ? `{"level":"WARN","message":"${leftOut} lines of the log were left out"}\n` : "");
      const chunks = [concat(waiting), bytes];
      [waiting, waitingBytes, leftOut] = [[], 0, 0];
      for (const chunk of chunks) for (let sent = 0; sent < chunk.length;) sent += await output.write(chunk.subarray(sent));
    }
  };
  const sink = (record: LogRecord) => {
    if (isBroken) return;
    const line = encoder.encode(format(record));
    if (waitingBytes + line.length > WAITING_BYTES_MAX) return void leftOut++;
    waiting.push(line);
    waitingBytes += line.length;
    writing ??= writeAll().catch(() => void (isBroken = true)).finally(() => writing = undefined);
  };
  return Object.assign(sink, { [Symbol.asyncDispose]: async () => await writing });
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
