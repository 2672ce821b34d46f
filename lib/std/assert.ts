/** The typed door to `@std/assert`. `lib/values/errors.ts` is what the programs import; the tests come here. */
// @ts-types="./assert.d.ts"
export {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "deno-std/assert/mod.js";
