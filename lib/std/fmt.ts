/** The typed door to `@std/fmt`: amounts of bytes for people. */
// @ts-types="./fmt.d.ts"
export { format as formatBytes } from "deno-std/fmt/bytes.js";
