/** The typed door to `assert` of `@std/assert` alone: the rest, which only tests need, would slow every start of a program. */
// @ts-types="./assert.d.ts"
export { assert } from "deno-std/assert/assert.js";
