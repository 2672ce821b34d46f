import { crc32, deflateSync, inflateSync } from "node:zlib";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { drawFilm } from "../tools/picture/film.ts";
import { screenOf } from "../tools/picture/screen.ts";
import { shrinkPng } from "../tools/picture/png.ts";
import { drawTerminal } from "../tools/picture/svg.ts";
import { record } from "../tools/picture/terminal.ts";
import { needing } from "./tools.ts";

const GREEN = "\x1b[32m";
const BOLD = "\x1b[1m";
const PLAIN = "\x1b[0m";

function textsOf(output: string, columns = 80): string[] {
  return screenOf(output, columns).map((line) => Array.from(line, (cell) => cell?.character ?? " ").join(""));
}

function draw(text: string, columns = 10): string {
  return drawTerminal({ text, columns, title: "a & b" });
}

Deno.test("screenOf() keeps lines, and wraps those that are wider than the terminal", () => {
  assertEquals(textsOf("one\r\ntwo\nabcdef\n\n", 4), ["one", "two", "abcd", "ef"]);
  assertEquals(textsOf("abcd\nx", 4), ["abcd", "x"], "a line that is as wide as the terminal does not wrap");
});

Deno.test("screenOf() shows what was drawn last", () => {
  assertEquals(textsOf("a 1\nb 1\n\x1b[2A\x1b[2Ka 20\n\x1b[2Kb\n"), ["a 20", "b"]);
  assertEquals(textsOf("waiting\r\x1b[Kdone\x1b[?25h"), ["done"]);
  assertEquals(textsOf("abc\x1b[1Gx\x1b]0;a title\x07"), ["xbc"]);
});

Deno.test("screenOf() gives each character its style", () => {
  const [line] = screenOf(`a${BOLD}${GREEN}b${PLAIN}c`, 80);
  assertEquals(line.map((cell) => cell?.style), [{}, { isBold: true, colour: 2 }, {}]);
});

Deno.test("screenOf() refuses what it cannot show", () => {
  for (const sequence of ["\x1b[2J", "\x1b[48;5;1m", "\x1b(B", "\x1b[1K"]) {
    assertThrows(() => screenOf(sequence, 80), Error, "no picture can show");
  }
});

Deno.test("drawTerminal() draws text in its place, with its style, escaped", () => {
  const svg = draw(`a\n  ${BOLD}${GREEN}<b>${PLAIN}  d`);
  assertStringIncludes(svg, `<title>a &amp; b</title>`);
  assertStringIncludes(svg, `<text x="16" y="30" textLength="8.4" lengthAdjust="spacingAndGlyphs">a</text>`);
  assertStringIncludes(
    svg,
    `<text x="32.8" y="49" textLength="25.2" lengthAdjust="spacingAndGlyphs" fill="#3fb950" font-weight="bold">&lt;b&gt;</text>`,
  );
  assertEquals(svg.match(/<text/g)?.length, 3);
});

Deno.test("drawTerminal() draws blocks as one bar", () => {
  const svg = draw(`${GREEN}███${PLAIN} 3`);
  assertStringIncludes(svg, `<rect x="16" y="19" width="25.2" height="13" fill="#3fb950"/>`);
  assertStringIncludes(svg, `>3</text>`);
  assert(!svg.includes("█"));
});

Deno.test("drawTerminal() has a background of its own, as large as the terminal is wide and the output is high", () => {
  const svg = draw("1\n2", 80);
  assertStringIncludes(svg, `width="704" height="70" viewBox="0 0 704 70"`);
  assertStringIncludes(svg, `<rect x="0.5" y="0.5" width="703" height="69" rx="8" fill="#0d1117"`);
});

Deno.test("drawFilm() draws a row once for as long as it stays, and one frame for who wants no motion", () => {
  const svg = drawFilm({ frames: ["a\n1", "a\n2", "a\n3\n4"], columns: 10, frameS: 2, still: 1, title: "film" });
  assertEquals(svg.match(/<text/g)?.length, 5);
  assertStringIncludes(svg, `height="89"`);
  assertStringIncludes(svg, "animation:6s step-end infinite");
  assertStringIncludes(svg, "@keyframes f0_3{0%{visibility:visible}}");
  assertStringIncludes(svg, "@keyframes f1_2{0%{visibility:hidden}33.33%{visibility:visible}66.67%{visibility:hidden}}");
  assertStringIncludes(svg, "@keyframes f2_3{0%{visibility:hidden}66.67%{visibility:visible}}");
  const [, still] = svg.match(/reduced-motion:reduce\)([^]*)<\/style>/)!;
  assertEquals(still.match(/\.f[0-9_]+/g), [".f0_3", ".f1_2"]);
});

/** A PNG of two columns in true colour, of rows that begin with their filter. */
function pngOf(rows: readonly (readonly number[])[], depth = 8): Uint8Array {
  const chunk = (type: string, data: Uint8Array) => {
    const named = Uint8Array.from([...new TextEncoder().encode(type), ...data]);
    const number = (value: number) => [24, 16, 8, 0].map((bits) => (value >>> bits) & 255);
    return [...number(data.length), ...named, ...number(crc32(named))];
  };
  const header = Uint8Array.from([0, 0, 0, 2, 0, 0, 0, rows.length, depth, 2, 0, 0, 0]);
  const data = deflateSync(Uint8Array.from(rows.flat()));
  const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
  return Uint8Array.from([...signature, ...chunk("IHDR", header), ...chunk("IDAT", data), ...chunk("IEND", new Uint8Array())]);
}

Deno.test("shrinkPng() undoes every filter and keeps the pixels", () => {
  const filtered = [
    [0, 10, 20, 30, 40, 50, 60],
    [1, 1, 2, 3, 250, 0, 7], // left
    [2, 5, 5, 5, 5, 5, 255], // above
    [3, 1, 1, 1, 1, 1, 1], // mean of left and above
    [4, 2, 2, 2, 2, 2, 2], // Paeth
  ];
  const plain = [
    [0, 10, 20, 30, 40, 50, 60],
    [0, 1, 2, 3, 251, 2, 10],
    [0, 6, 7, 8, 0, 7, 9],
    [0, 4, 4, 5, 3, 6, 8],
    [0, 6, 6, 7, 8, 8, 10],
  ];
  const png = shrinkPng(pngOf(filtered));
  const data = png.subarray(8 + 25 + 8, png.length - 12 - 4);
  assertEquals([...inflateSync(data)], plain.flat());
  assertEquals(shrinkPng(png), png, "it is as small as it gets");
  assertThrows(() => shrinkPng(pngOf(filtered, 16)), Error, "this kind of PNG");
});

Deno.test({
  ...await needing("record() gives a program a terminal of the size asked for", "Linux", "pseudo-terminals"),
  async fn() {
    const output = await record(["sh", "-c", 'test -t 1 && test -z "$NO_COLOR" && stty size'], { columns: 80, rows: 50 });
    assertEquals(output, "50 80\r\n");
  },
});
