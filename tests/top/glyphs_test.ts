// What is drawn with signs: sparklines, bars with a bound, states.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { widthOf } from "../../lib/top/cells.ts";
import { ASCII, bulletBar, type Glyphs, isUtf8, sparkline, stateSpan, UNICODE } from "../../lib/top/glyphs.ts";

function bar(value: number, bound: number | undefined, glyphs: Glyphs = UNICODE): string {
  return bulletBar(value, { scale: 20, bound, cells: 10, glyphs }).map(({ text }) => text).join("");
}

function signsOf(glyphs: Glyphs): string[] {
  const { isAscii: _, spark, barParts, levels, states, ...single } = glyphs;
  return [...spark, ...barParts, ...Object.values(levels), ...Object.values(states), ...Object.values(single)];
}

Deno.test("every sign takes one cell, and the ASCII ones are ASCII", () => {
  for (const sign of [...signsOf(UNICODE), ...signsOf(ASCII)]) assertEquals([widthOf(sign), Array.from(sign).length], [1, 1], sign);
  for (const sign of signsOf(ASCII)) assert(/^[ -~]$/.test(sign), sign);
});

Deno.test("states have signs of their own in both sets, for those who see no colours", () => {
  for (const { states } of [UNICODE, ASCII]) assertEquals(new Set(Object.values(states)).size, Object.keys(states).length);
  assertEquals(stateSpan("a new state", UNICODE), { text: "?", role: "warning" });
  assertEquals(stateSpan("constructor", UNICODE), { text: "?", role: "warning" });
});

Deno.test("sparkline() shows the newest at the right, and anything as more than nothing", () => {
  assertEquals(sparkline([0, 1, 2, 3, 4, 5, 6, 7, 8], 9, 8, UNICODE), " ▁▂▃▄▅▆▇█");
  assertEquals(sparkline([8, 8], 4, 8, UNICODE), "  ██");
  assertEquals(sparkline([null, 1, 1000, 1000], 4, 1000, UNICODE), " ▁██");
  assertEquals(sparkline([0, 8, 8, 8, 8, 8], 3, 8, UNICODE), "▄██");
  assertEquals(sparkline([], 3, 0, UNICODE), "   ");
  assertEquals(sparkline([1, 8], 2, 8, ASCII), "_#");
});

Deno.test("a sparkline has the width it is given", () => {
  const values = fc.array(fc.option(fc.nat(1000)), { maxLength: 900 });
  fc.assert(fc.property(values, fc.integer({ min: 1, max: 100 }), fc.nat(1000), (values, cells, most) => {
    assertEquals(widthOf(sparkline(values, cells, most, UNICODE)), cells);
  }));
});

Deno.test("bulletBar() draws the load with the bound as a tick", () => {
  assertEquals(bar(0, 12), "······┃···");
  assertEquals(bar(10, 12), "█████·┃···");
  assertEquals(bar(9.5, 12), "████▊·┃···");
  assertEquals(bar(16, 12), "██████┃█··");
  assertEquals(bar(100, 12), "██████┃███");
  assertEquals(bar(10, undefined), "█████·····");
  assertEquals(bar(10, 400), "█████·····"); // the bound is beyond the scale
  assertEquals(bar(9, 12, ASCII), "#####.|...");
});

Deno.test("what is over the bound is marked by colour, too", () => {
  const over = bulletBar(16, { scale: 20, bound: 12, cells: 10, glyphs: UNICODE });
  assertEquals(over.map(({ role }) => role), ["accent", "warning", "faint"]);
  const under = bulletBar(10, { scale: 20, bound: 12, cells: 10, glyphs: UNICODE });
  assert(under.every(({ role }) => role !== "warning"));
});

Deno.test("a bar has the width it is given", () => {
  fc.assert(fc.property(fc.nat(1000), fc.nat(1000), fc.option(fc.nat(1000), { nil: undefined }), (value, scale, bound) => {
    const spans = bulletBar(value, { scale, bound, cells: 10, glyphs: UNICODE });
    assertEquals(spans.reduce((sum, { text }) => sum + widthOf(text), 0), 10);
  }));
});

Deno.test("isUtf8() goes by the first variable that says anything", () => {
  assertEquals(isUtf8({ LANG: "en_US.UTF-8" }), true);
  assertEquals(isUtf8({ LANG: "C.utf8" }), true);
  assertEquals(isUtf8({ LC_ALL: "C", LANG: "en_US.UTF-8" }), false);
  assertEquals(isUtf8({ LC_ALL: "", LC_CTYPE: "de_DE.UTF-8", LANG: "C" }), true);
  assertEquals(isUtf8({ LANG: "de_DE" }), false);
  assertEquals(isUtf8({}), false);
});
