// What a terminal is told: only what has changed, and all at once.

import { assert, assertEquals } from "@std/assert";
import { line, span } from "../../lib/top/cells.ts";
import { COLOURS, encode, ENTER, LEAVE, NO_COLOURS, plainText, Screen } from "../../lib/top/screen.ts";
import { COLOURED, PLAIN_PAGE, printableOn } from "../../lib/values/terminal.ts";

const SIZE = { columns: 10, rows: 3 };
const BEGIN = "\x1b[?2026h";
const END = "\x1b[?2026l";

Deno.test("a screen is drawn whole once, and then only where it changes", () => {
  const screen = new Screen(COLOURS);
  const frame = (middle: string) => [line(span("one")), line(span(middle, "bad"))];
  assertEquals(
    screen.update(frame("two"), SIZE),
    `${BEGIN}\x1b[0m\x1b[2J\x1b[1;1Hone\x1b[K\x1b[2;1H\x1b[1m\x1b[31mtwo\x1b[0m\x1b[K\x1b[3;1H\x1b[K${END}`,
  );
  assertEquals(screen.update(frame("two"), SIZE), "");
  assertEquals(screen.update(frame("2"), SIZE), `${BEGIN}\x1b[2;1H\x1b[1m\x1b[31m2\x1b[0m\x1b[K${END}`);
  assertEquals(screen.update([], SIZE), `${BEGIN}\x1b[1;1H\x1b[K\x1b[2;1H\x1b[K${END}`);
});

Deno.test("another size, or a screen that was forgotten, is drawn whole", () => {
  const screen = new Screen(COLOURS);
  const frame = [line(span("one"))];
  const first = screen.update(frame, SIZE);
  assertEquals(screen.update(frame, { columns: 11, rows: 3 }), first);
  screen.forget();
  assertEquals(screen.update(frame, { columns: 11, rows: 3 }), first);
});

Deno.test("a full line is not cleared behind: the cursor still stands on its last cell", () => {
  const text = new Screen(COLOURS).update([line(span("0123456789"))], { columns: 10, rows: 1 });
  assertEquals(text, `${BEGIN}\x1b[0m\x1b[2J\x1b[1;1H0123456789${END}`);
});

Deno.test("a selected line is shown in reverse over the whole width, also without colours", () => {
  assertEquals(
    new Screen(NO_COLOURS).update([{ spans: [span("one", "good")], isSelected: true }], { columns: 5, rows: 1 }),
    `${BEGIN}\x1b[0m\x1b[2J\x1b[1;1H\x1b[7mone  \x1b[0m${END}`,
  );
});

Deno.test("without colours no code sets one", () => {
  for (const [role, codes] of Object.entries(NO_COLOURS)) assert(/^(\[[127]m)*$/.test(codes.replaceAll("\x1b", "")), role);
});

Deno.test("spans of one role share their code", () => {
  assertEquals(encode(line(span("a", "bad"), span("b", "bad"), span("c"), span("d")), COLOURS), "\x1b[1m\x1b[31mab\x1b[0mcd");
  assertEquals(plainText(line(span("a", "bad"), span("  "))), "a");
});

Deno.test("a frame in colours passes for a result of a command", () => {
  const text = Object.keys(COLOURS).map((role) => encode(line(span("x", role as keyof typeof COLOURS)), COLOURS)).join("\n");
  assertEquals(printableOn({ ...PLAIN_PAGE, style: COLOURED }, text), text);
});

Deno.test("LEAVE undoes what ENTER and an update do", () => {
  const set = [...`${ENTER}${BEGIN}`.matchAll(/\[\?([0-9]+)([hl])/g)];
  assertEquals(set.length, 4);
  for (const [, mode, value] of set) assert(LEAVE.includes(`\x1b[?${mode}${value === "h" ? "l" : "h"}`), mode);
  assert(LEAVE.includes("\x1b[0m"));
});
