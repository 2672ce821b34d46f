/** The typed door to `@std/crypto`: comparison of digests. */
// @ts-types="./crypto.d.ts"
export { timingSafeEqual } from "deno-std/crypto/timing_safe_equal.js";
