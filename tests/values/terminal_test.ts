// When there are colours, and how wide a page is.

import { assertEquals } from "@std/assert";
import { COLOURED, inLocale, type Page, pageOf, PLAIN, PLAIN_PAGE, printableOn, wantsColours } from "../../lib/values/terminal.ts";

const TERMINAL = { isTerminal: true, noColor: false, term: "xterm" };

const CASES: readonly [choice: "auto" | "always" | "never", facts: Partial<typeof TERMINAL>, wants: boolean][] = [
  ["auto", {}, true],
  ["auto", { isTerminal: false }, false],
  ["auto", { noColor: true }, false],
  ["auto", { term: "dumb" }, false],
  ["always", { isTerminal: false }, true],
  ["always", { noColor: true }, true],
  ["always", { term: "dumb" }, true],
  ["never", {}, false],
];

for (const [choice, facts, wants] of CASES) {
  Deno.test(`wantsColours() of ${choice} with ${JSON.stringify(facts)}`, () => {
    assertEquals(wantsColours(choice, { ...TERMINAL, ...facts }), wants);
  });
}

const PIPE = { isTerminal: () => false };

const ARGUMENTS: readonly [argv: readonly string[], page: Page][] = [
  [[], PLAIN_PAGE],
  [["--color", "always"], { style: COLOURED, columns: 80 }],
  [["list", "--color=always"], { style: COLOURED, columns: 80 }],
  [["--color=always", "--color", "never"], PLAIN_PAGE],
  [["--color", "sometimes"], PLAIN_PAGE],
  [["--color"], PLAIN_PAGE],
  [["explain", "--", "--color=always"], PLAIN_PAGE],
];

for (const [argv, page] of ARGUMENTS) {
  Deno.test(`pageOf() a pipe with ${JSON.stringify(argv)}`, () => assertEquals(pageOf(PIPE, argv), page));
}

Deno.test("a plain style changes nothing, a coloured one sets and resets", () => {
  assertEquals([PLAIN.bad("x"), COLOURED.bad("x"), COLOURED.heading("x"), COLOURED.faint("")], [
    "x",
    "\x1b[31mx\x1b[0m",
    "\x1b[1mx\x1b[0m",
    "",
  ]);
});

Deno.test("printableOn() lets through the codes of colours and nothing else, where there are colours", () => {
  const text = "\x1b[31mdown\x1b[0m \x1b[2J\x07";
  assertEquals(printableOn({ style: COLOURED, columns: 80 }, text), "\x1b[31mdown\x1b[0m \\x1b[2J\\x07");
  assertEquals(printableOn(PLAIN_PAGE, text), "\\x1b[31mdown\\x1b[0m \\x1b[2J\\x07");
});

Deno.test("marks are ASCII where the locale is not one of UTF-8", () => {
  const marksIn = (locale: Record<string, string>) => inLocale(PLAIN_PAGE, (name) => locale[name]).style.marks.good;
  assertEquals(marksIn({ LANG: "en_US.UTF-8" }), "✔");
  assertEquals(marksIn({ LC_CTYPE: "C.utf8", LANG: "C" }), "✔");
  assertEquals(marksIn({ LC_ALL: "C", LANG: "en_US.UTF-8" }), "+");
  assertEquals(marksIn({ LC_ALL: "", LANG: "de_DE.ISO-8859-1" }), "+");
  assertEquals(marksIn({}), "+");
});
