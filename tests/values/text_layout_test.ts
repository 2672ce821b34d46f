// Lines that fit, and columns that line up whatever the colours.

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { COLOURED } from "../../lib/values/terminal.ts";
import { alignColumns, indent, pad, widthOf, wrap } from "../../lib/values/text_layout.ts";

const RED = COLOURED.bad("down");

Deno.test("widthOf() leaves out codes that set colours", () => {
  assertEquals([widthOf("down"), widthOf(RED), widthOf(`a${RED}b`), widthOf("")], [4, 4, 6, 0]);
});

Deno.test("pad() fills on either side, and cuts nothing", () => {
  assertEquals([pad("a", 3), pad("a", 3, "right"), pad("abcd", 3)], ["a  ", "  a", "abcd"]);
  assertEquals(pad(RED, 6), `${RED}  `);
});

Deno.test("wrap() breaks at spaces and gives a longer word a line of its own", () => {
  assertEquals(wrap("one two three", 7), ["one two", "three"]);
  assertEquals(wrap("one twothree four", 5), ["one", "twothree", "four"]);
  assertEquals(wrap("", 5), [""]);
});

Deno.test("wrap() loses no word and fits", () => {
  const words = fc.array(fc.stringMatching(/^[a-z]{1,9}$/), { minLength: 1 });
  fc.assert(fc.property(words, fc.integer({ min: 9, max: 40 }), (words, columns) => {
    const lines = wrap(words.join(" "), columns);
    assertEquals(lines.join(" "), words.join(" "));
    assertEquals(lines.filter((line) => line.length > columns), []);
  }));
});

Deno.test("alignColumns() lines columns up and leaves no space at the end of a line", () => {
  assertEquals(alignColumns([["a", "bb", "c"], ["dddd", "e", ""]]), ["a     bb  c", "dddd  e"]);
  assertEquals(alignColumns([["a", "1"], ["b", "100"]], ["left", "right"]), ["a    1", "b  100"]);
  assertEquals(alignColumns([]), []);
});

Deno.test("alignColumns() measures cells without their colours", () => {
  assertEquals(alignColumns([["up", "x"], [RED, "x"]]), ["up    x", `${RED}  x`]);
});

Deno.test("indent() puts spaces before every line", () => assertEquals(indent(["a", "b"], 3), ["   a", "   b"]));
