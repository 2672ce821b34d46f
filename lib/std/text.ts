/** The typed door to `@std/text`: the edit distance between two words. */
// @ts-types="./text.d.ts"
export { levenshteinDistance } from "deno-std/text/levenshtein_distance.js";
