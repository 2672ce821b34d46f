/** Any text: half of it of ordinary characters, the rest of any code point, surrogates included. */

import fc from "fast-check";

/** Texts of up to so many characters. (fast-check's own unit `binary` takes seconds to be made.) */
export function anyText(maxLength: number): fc.Arbitrary<string> {
  const any = fc.integer({ min: 0, max: 0x10ffff });
  const likely = fc.constantFrom(..."ab1 .:é服한ｆ\u0301\u200d\u202e🔥\u{1f1e9}\x1b[m\n\t\x9b\ud800").map((character) =>
    character.codePointAt(0)!
  );
  return fc.array(fc.oneof(likely, any), { maxLength }).map((points) =>
    points.map((point) => String.fromCodePoint(point)).join("")
  );
}
