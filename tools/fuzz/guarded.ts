/** Shows reading beyond the bytes that a parser is given, by what surrounds them. */

import { assert } from "@std/assert";

/** More than any attempt of a fuzzer. */
const GUARDED_BYTES_MAX = 32 * 1024;
const GUARD_BYTES = 64;
/** What surrounds the bytes: a digit, which would make a number longer, and the end of a line. Lengths and types differ, too. */
const POISONS = [0x31, 0x0a];
const GUARDED = POISONS.map((poison) => new Uint8Array(GUARDED_BYTES_MAX + 2 * GUARD_BYTES).fill(poison));

/**
 * Parses the bytes amid others that are none of the parser's business, more than once. Throws if the results are not alike, which
 * is how reading beyond the bytes shows.
 */
export function parseAmidOthers<T>(bytes: Uint8Array, parse: (bytes: Uint8Array) => T, areAlike: (one: T, other: T) => boolean): T {
  const results = GUARDED.map((buffer, i) => {
    buffer.set(bytes, GUARD_BYTES);
    const parsed = parse(buffer.subarray(GUARD_BYTES, GUARD_BYTES + bytes.length));
    buffer.fill(POISONS[i], GUARD_BYTES, GUARD_BYTES + bytes.length);
    return parsed;
  });
  for (const other of results) assert(areAlike(results[0], other), "the parser read beyond its bytes");
  return results[0];
}
