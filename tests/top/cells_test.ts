// Text in cells: widths, cuts, what terminals disagree about.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { column, cut, cutLine, fillLine, line, lineWidth, safe, span, widthOf, wrapText } from "../../lib/top/cells.ts";
import { anyText } from "./any_text.ts";

const text40 = anyText(40);

Deno.test("safe() lets through no character of which terminals disagree", () => {
  const cases: readonly [text: string, shown: string][] = [
    ["connection refused", "connection refused"],
    ["a\x1b[31mb\x9bc\nd", "a\\x1b[31mb\\x9bc\\x0ad"],
    ["zażółć", "zażółć"],
    ["服务器", "服务器"],
    ["fire 🔥 family 👨‍👩‍👧", "fire ? family ?????"],
    ["e\u0301", "e?"],
    ["right\u202eleft\u200b", "right?left?"],
    ["no\u00a0break\u3000wide", "no break wide"],
    ["\ud800 half", "? half"],
    ["→ ┃ █ ✗", "→ ┃ █ ✗"],
  ];
  for (const [text, shown] of cases) assertEquals(safe(text, false), shown);
});

Deno.test("safe() in ASCII leaves nothing but ASCII", () => {
  assertEquals(safe("zażółć 服务器\x1b", true), "za???? ???\\x1b");
  fc.assert(fc.property(text40, (text) => assert(/^[ -~]*$/.test(safe(text, true)))));
});

Deno.test("safe() is done after one pass, and every character takes one cell or two", () => {
  fc.assert(fc.property(text40, (text) => {
    const shown = safe(text, false);
    assertEquals(safe(shown, false), shown);
    assert(!/[\p{C}\p{M}\p{Extended_Pictographic}]/u.test(shown.replace(/[↔↕▪▫◀▶©®™]/gu, "")), shown);
    const count = Array.from(shown).length;
    assert(widthOf(shown) >= count && widthOf(shown) <= 2 * count);
  }));
});

Deno.test("widthOf() counts two cells for East Asian letters", () => {
  assertEquals([widthOf(""), widthOf("abc"), widthOf("服务器"), widthOf("한글"), widthOf("ｆ"), widthOf("é→█")], [
    0,
    3,
    6,
    4,
    2,
    3,
  ]);
});

Deno.test("cut() and column() never split a wide character", () => {
  assertEquals(cut("服务器", 6, "…"), "服务器");
  assertEquals(cut("服务器", 5, "…"), "服务…");
  assertEquals(cut("服务器", 4, "…"), "服…");
  assertEquals(column("服务器", 4, "…"), "服… ");
  assertEquals(column("ab", 4, "…", "right"), "  ab");
  assertEquals([cut("abc", 1, "…"), cut("abc", 0, "…")], ["…", ""]);
});

Deno.test("column(), fillLine() and wrapText() keep to their widths", () => {
  fc.assert(fc.property(text40, fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 5 }), (given, cells, rows) => {
    const text = safe(given, false);
    assertEquals(widthOf(column(text, cells, "…")), cells);
    assertEquals(lineWidth(fillLine(line(span(text), span(text, "bad")), cells, "…")), cells);
    assert(lineWidth(cutLine(line(span(text), span(text)), cells, "…")) <= cells);
    const lines = wrapText(text, cells, rows, "…");
    assert(lines.length <= rows);
    for (const one of lines) assert(widthOf(one) <= cells, JSON.stringify([one, cells]));
  }));
});

Deno.test("wrapText() breaks at spaces, and long words anywhere", () => {
  assertEquals(wrapText("one two three", 7, 9, "…"), ["one two", "three"]);
  assertEquals(wrapText("abcdefghij", 4, 9, "…"), ["abcd", "efgh", "ij"]);
  assertEquals(wrapText("one two three four", 7, 2, "…"), ["one two", "three …"]);
});
