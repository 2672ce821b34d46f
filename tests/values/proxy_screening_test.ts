import { assertEquals } from "@std/assert";
import { screen, SCREENED } from "../../lib/values/proxy_screening.ts";

const V1 = "PROXY ";
const V2 = "\r\n\r\n\0\r\nQUIT\n";

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** What a client's bytes are found to be, in pieces that end at these places. */
function screenIn(text: string, ends: readonly number[]): number {
  let screened: number = SCREENED.any;
  let before = 0;
  for (const end of [...ends, text.length]) {
    if (screened === SCREENED.none || screened === SCREENED.header) break;
    screened = screen(screened, bytesOf(text.slice(before, end)), before);
    before = end;
  }
  return screened;
}

for (const signature of [V1, V2]) {
  Deno.test(`a header that begins with ${JSON.stringify(signature)} is found in one piece, in two and byte by byte`, () => {
    const whole = `${signature}and more`;
    assertEquals(screenIn(whole, []), SCREENED.header);
    for (let cut = 1; cut < whole.length; cut++) assertEquals(screenIn(whole, [cut]), SCREENED.header, `cut at ${cut}`);
    assertEquals(screenIn(whole, Array.from({ length: whole.length }, (_, i) => i)), SCREENED.header);
  });

  Deno.test(`what ends before ${JSON.stringify(signature)} is complete may still become one`, () => {
    for (let end = 1; end < signature.length; end++) {
      assertEquals([SCREENED.none, SCREENED.header].includes(screenIn(signature.slice(0, end), []) as 0), false);
    }
  });

  Deno.test(`what differs from ${JSON.stringify(signature)} in any byte is none`, () => {
    for (let at = 0; at < signature.length; at++) {
      const text = `${signature.slice(0, at)}!${signature.slice(at + 1)}`;
      for (let cut = 0; cut <= at; cut++) assertEquals(screenIn(text, [cut]), SCREENED.none, `byte ${at}, cut at ${cut}`);
    }
  });
}

Deno.test("a beginning of one signature does not go on as the other", () => {
  assertEquals(screenIn(`P${V2.slice(1)}`, [1]), SCREENED.none);
  assertEquals(screenIn(`\r${V1.slice(1)}`, [1]), SCREENED.none);
});
