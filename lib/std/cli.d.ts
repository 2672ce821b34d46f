/** Types for the part of `@std/cli/parse-args` that the programs use. */
export interface ParseArgsOptions {
  boolean?: readonly string[];
  string?: readonly string[];
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}
export function parseArgs(args: string[], options?: ParseArgsOptions): { _: string[]; [option: string]: unknown };
