/**
 * Logging: where the daemon logs, and in which format. The only file in `lib` that configures LogTape. On a terminal, lines are
 * formatted for people; elsewhere, and in the log file, each line is a JSON object. Logging never delays a connection: the sinks
 * buffer, within limits, and write in the background.
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
import { deadline } from "@std/async";
import { getPrettyFormatter } from "@logtape/pretty";
import type { LogLevel } from "../values/config.ts";
import { LogFile } from "./log_file.ts";

/** A logger, as `logger` makes it. */
export type { Logger };

/** The log file is rotated at this size, and this many old files are kept: at most 60 MiB in all. */
const LOG_FILE_BYTES_MAX = 10 * 1024 ** 2;
const LOG_FILES_MAX = 5;

/** Limit on buffered log lines. */
const WAITING_BYTES_MAX = 1024 ** 2;
/** How long the program waits at its end for buffered lines to be written. */
const LAST_WORDS_MAX_MS = 1000;

/** The logger of one part of the program. */
export function logger(part: string): Logger {
  return getLogger(["balancer", part]);
}

/** The open log file; undefined if the log goes to standard error. */
let logFile: LogFile | undefined;

/** Logs from `level` up to `file`, with rotation, or to standard error without one. Throws an operator error. */
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

/** Reopens the log file after it was moved away. Returns false if the log goes to standard error. Throws an operator error. */
export async function reopenLog(): Promise<boolean> {
  await logFile?.reopen();
  return logFile !== undefined;
}

/** Writes the buffered lines, for at most LAST_WORDS_MAX_MS. Nothing can be logged afterwards. */
export async function endLogging(): Promise<void> {
  const written = dispose().then(() => logFile?.close()).finally(() => logFile = undefined);
  await deadline(written, LAST_WORDS_MAX_MS).catch((error) => {
    if (!(error instanceof DOMException && error.name === "TimeoutError")) throw error;
  });
}

function standardErrorSink(): Sink & AsyncDisposable {
  const isTerminal = Deno.stderr.isTerminal();
  const colors = isTerminal && !Deno.noColor;
  const pretty = getPrettyFormatter({ colors, timestamp: "date-time", align: false, wordWrap: false });
  return boundedSink(Deno.stderr, isTerminal ? pretty : jsonLinesFormatter);
}

/** A sink that never blocks or fails. It buffers a limited amount, drops lines beyond that, and logs how many it dropped. */
export function boundedSink(output: { write(bytes: Uint8Array): Promise<number> }, format: TextFormatter): Sink & AsyncDisposable {
  const encoder = new TextEncoder();
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let leftOut = 0;
  let writing: Promise<void> | undefined;
  let isBroken = false;

  const writeAll = async () => {
    while (waiting.length > 0) {
      const bytes = encoder.encode(leftOut > 0 ? `{"level":"WARN","message":"${leftOut} log lines were dropped"}\n` : "");
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
