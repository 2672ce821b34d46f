/**
 * Logging: where the daemon logs, and in which format. The only file in `lib` that configures LogTape. On a terminal, lines are
 * formatted for people; elsewhere, and in the log file, each line is a JSON object. Logging never delays a connection: the sinks
 * buffer, within limits, and write in the background.
 */

import {
  configure,
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
import { LineBuffer, type LineOutput, streamOutput } from "./line_buffer.ts";
import { LogFile, ROTATION } from "./log_file.ts";

/** A logger, as `logger` makes it. */
export type { Logger };

/** Limit on log lines that wait to be written, in characters. */
const WAITING_MAX = 1024 ** 2;
/** How long the program waits at its end for buffered lines to be written. */
const LAST_WORDS_MAX_MS = 1000;

/** The logger of one part of the program. */
export function logger(part: string): Logger {
  return getLogger(["balancer", part]);
}

/** The open log file; undefined if the log goes to standard error. */
let logFile: LogFile | undefined;
/** Where lines go. */
let out: (Sink & AsyncDisposable) | undefined;

/** Logs from `level` up to `file`, with rotation, or to standard error without one. Throws an operator error. */
export async function setUpLogging(level: LogLevel, file?: string): Promise<void> {
  logFile = file === undefined ? undefined : await LogFile.open(file, { ...ROTATION, onStuck: (why) => logStuck(file, why) });
  out = logFile === undefined ? standardErrorSink() : boundedSink(logFile, jsonLinesFormatter);
  await setLogLevel(level);
}

/** Logs from `level` up from now on, to where the log goes already. */
export async function setLogLevel(level: LogLevel): Promise<void> {
  if (out === undefined) return; // nothing is logged
  const sink: Sink = (record) => out?.(record); // a sink that the configuration does not dispose of: it stays the same
  await configure({
    sinks: { out: sink },
    loggers: [
      { category: ["balancer"], lowestLevel: level, sinks: ["out"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["out"] },
    ],
    reset: true,
  });
}

/** Logs that a log file could not be rotated. */
export function logStuck(path: string, why: string): void {
  logger("log").error("Cannot rotate {path}, which goes on growing: {why}", { path, why });
}

/** Reopens the log file after it was moved away. Returns false if the log goes to standard error. Throws an operator error. */
export async function reopenLog(): Promise<boolean> {
  await logFile?.reopen();
  return logFile !== undefined;
}

/** Writes the buffered lines, for at most LAST_WORDS_MAX_MS. Nothing can be logged afterwards. */
export async function endLogging(): Promise<void> {
  const written = Promise.resolve(out?.[Symbol.asyncDispose]()).then(() => logFile?.close()).finally(() =>
    logFile = out = undefined
  );
  await deadline(written, LAST_WORDS_MAX_MS).catch((error) => {
    if (!(error instanceof DOMException && error.name === "TimeoutError")) throw error;
  });
}

function standardErrorSink(): Sink & AsyncDisposable {
  const isTerminal = Deno.stderr.isTerminal();
  const colors = isTerminal && !Deno.noColor;
  const pretty = getPrettyFormatter({ colors, timestamp: "date-time", align: false, wordWrap: false });
  return boundedSink(streamOutput(Deno.stderr), isTerminal ? pretty : jsonLinesFormatter);
}

/** A sink that never blocks or fails. It keeps a limited amount, drops lines beyond that, and logs how many it dropped. */
export function boundedSink(output: LineOutput, format: TextFormatter): Sink & AsyncDisposable {
  const lines = new LineBuffer({ output, keptMax: WAITING_MAX, noticeOf });
  return Object.assign((record: LogRecord) => lines.write(format(record)), { [Symbol.asyncDispose]: () => lines.flush() });
}

/** The line that stands for dropped ones. */
function noticeOf(count: number, why: string): string {
  return `${JSON.stringify({ level: "WARN", message: `${count} log lines were dropped: ${why}` })}\n`;
}
