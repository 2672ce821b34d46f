/**
 * Logging: what the daemon writes, where and in which form. The only file in `lib` that configures LogTape. On a terminal lines
 * are for people; elsewhere, and in the log file, each line is one JSON object. Writing never holds up a connection: both sinks
 * buffer and write aside.
 */

import { getRotatingFileSink } from "@logtape/file";
import { configure, dispose, getLogger, getStreamSink, jsonLinesFormatter, type Logger, type Sink } from "@logtape/logtape";
import { getPrettyFormatter } from "@logtape/pretty";
import type { LogLevel } from "./config.ts";

/** What `logger` gives. */
export type { Logger };

/** The log file is cut at this size, and this many old ones are kept: 60 MiB at the most. */
const LOG_FILE_BYTES_MAX = 10 * 1024 ** 2;
const LOG_FILES_MAX = 5;

/** The logger of one part of the program. */
export function logger(part: string): Logger {
  return getLogger(["balancer", part]);
}

/** Sends the log from `level` up to `file` (rotating), or to standard error where there is none. */
export async function setUpLogging(level: LogLevel, file?: string): Promise<void> {
  const out = file === undefined ? standardErrorSink() : getRotatingFileSink(file, {
    maxSize: LOG_FILE_BYTES_MAX,
    maxFiles: LOG_FILES_MAX,
    formatter: jsonLinesFormatter,
    flushInterval: 200,
    nonBlocking: true,
  });
  await configure({
    sinks: { out },
    loggers: [
      { category: ["balancer"], lowestLevel: level, sinks: ["out"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["out"] },
    ],
    reset: true,
  });
}

/** Writes out what is buffered. Nothing can be logged afterwards. */
export async function endLogging(): Promise<void> {
  await dispose();
}

function standardErrorSink(): Sink {
  const isTerminal = Deno.stderr.isTerminal();
  const colors = isTerminal && Deno.env.get("NO_COLOR") === undefined;
  const formatter = isTerminal ? getPrettyFormatter({ colors, timestamp: "date-time", align: false }) : jsonLinesFormatter;
  return getStreamSink(Deno.stderr.writable, { formatter });
}
