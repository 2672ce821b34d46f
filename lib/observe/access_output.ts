/** Where the access log goes: a log file of its own, or standard output. */

import { STANDARD_OUTPUT } from "../values/config.ts";
import { OperatorError } from "../values/errors.ts";
import { type LineOutput, streamOutput } from "./line_buffer.ts";
import { logStuck } from "./log.ts";
import { LogFile, ROTATION } from "./log_file.ts";

/** An output of the access log. Disposing of it closes its file. */
export interface AccessOutput extends LineOutput, AsyncDisposable {
  /** Opens the file again after it was moved away. Returns false if there is none. Throws an operator error. */
  reopen(): Promise<boolean>;
}

/** Options of `openAccessOutput`. */
interface AccessOutputOptions {
  /** The log file, which must be another one. */
  readonly logFile?: string;
  /** Whether standard output is read beyond its first line. */
  readonly hasOutput: boolean;
  /** Nothing is written to standard output before: its first line is the daemon's address. */
  readonly ready: Promise<void>;
}

/** Opens the file with this path, or standard output for STANDARD_OUTPUT. Throws an operator error. */
export async function openAccessOutput(path: string, { logFile, hasOutput, ready }: AccessOutputOptions): Promise<AccessOutput> {
  if (path === STANDARD_OUTPUT) {
    if (hasOutput) return standardOutput(ready);
    const wayOut = "give it a path, or run the daemon in the foreground with balancer run";
    throw new OperatorError("usage", `Access log - is standard output, which a daemon in the background does not have; ${wayOut}`);
  }
  const file = await LogFile.open(path, { ...ROTATION, onStuck: (why) => logStuck(path, why) });
  if (logFile !== undefined && await Deno.realPath(path) === await Deno.realPath(logFile)) {
    await file.close();
    throw new OperatorError("usage", `Access log ${JSON.stringify(path)} is the log file; choose another path for one of them`);
  }
  return {
    append: (lines) => file.append(lines),
    reopen: () => file.reopen().then(() => true),
    [Symbol.asyncDispose]: () => file.close(),
  };
}

function standardOutput(ready: Promise<void>): AccessOutput {
  const output = streamOutput(Deno.stdout);
  return {
    append: (lines) => ready.then(() => output.append(lines)),
    reopen: () => Promise.resolve(false),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
