/** The typed door to `@std/cli`: parsing of command lines. */
// @ts-types="./cli.d.ts"
export { parseArgs } from "deno-std/cli/parse_args.js";
