/**
 * What follows the settings of the daemon outside of the balancer: the log's level, the output of the access log, what `--http`
 * serves. The balancer changes it with everything else or not at all. Types only.
 */

import type { LineOutput } from "../observe/line_buffer.ts";
import type { DaemonConfig } from "../values/config.ts";

/** The parts of the daemon that settings change. */
export interface DaemonParts {
  /** Prepares a change to these settings. Throws an operator error; everything is then as it was. */
  prepare(config: DaemonConfig): Promise<PartsStep>;
}

/** A prepared change: either `adopt` and then `finish`, or `abandon`. */
export interface PartsStep {
  /** Where lines of the access log go afterwards: the same object if that does not change; undefined: nowhere. */
  readonly accessOutput: LineOutput | undefined;
  /** Makes the change. */
  adopt(): Promise<void>;
  /** Closes what is no longer used. Nothing is written to an earlier output any more. */
  finish(): Promise<void>;
  /** Leaves everything as it was. */
  abandon(): Promise<void>;
}
