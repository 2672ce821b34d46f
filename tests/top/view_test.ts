// What keys make of a view.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Deed, FIRST_VIEW, KEYS, press, type Surroundings, type View } from "../../lib/top/view.ts";

const ROWS = ["a", "b", "c"].map((server, i) => ({
  key: `web ${server}`,
  service: "web",
  server: { server, state: ["up", "draining", "removing"][i] },
}));
const AROUND: Surroundings = { rows: ROWS, mayWrite: true, page: 2 };

/** What several keys lead to, and the last deed. */
function pressAll(keys: readonly string[], around: Surroundings = AROUND, first: View = FIRST_VIEW): { view: View; deed?: Deed } {
  return keys.reduce<{ view: View; deed?: Deed }>(({ view }, key) => press(view, key, around), { view: first });
}

Deno.test("digits show a pane, and Esc shows all of them", () => {
  assertEquals(["0", "1", "2", "3", "4"].map((key) => pressAll([key]).view.pane), [
    "overview",
    "pool",
    "flows",
    "events",
    "connections",
  ]);
  assertEquals(pressAll(["3", "escape"]).view.pane, "overview");
});

Deno.test("a filter is typed, corrected, kept or ended", () => {
  assertEquals(pressAll(["/", "1", "q", "backspace", "0"]).view.filter, "10");
  assertEquals(pressAll(["/", "1", "0", "enter"]).view, { ...FIRST_VIEW, filter: "10" });
  assertEquals(pressAll(["/", "1", "enter", "escape"]).view.filter, "");
  assertEquals(pressAll(["/", "1", "escape"]).view, FIRST_VIEW);
  assertEquals(pressAll(["/", "1", "2", "ctrl-u", "3"]).view.filter, "3");
  assertEquals(pressAll(["/", "up", "x"]).view.filter, "x"); // named keys type nothing
  const { view } = pressAll(["/", ...new Array(200).fill("x")]);
  assertEquals(view.filter.length, 64);
});

Deno.test("s sorts the pool by the next column, and the connections in their pane", () => {
  const sorts = [0, 1, 2, 3, 4, 5, 6].map((times) => pressAll(new Array(times).fill("s")).view.sort);
  assertEquals(sorts, ["trouble", "name", "open", "new", "bytes", "p99", "trouble"]);
  const { view } = pressAll(["4", "s"]);
  assertEquals([view.sort, view.connectionSort], ["trouble", "bytes"]);
});

Deno.test("arrows select a server, and stop at the ends", () => {
  const selected = (...keys: string[]) => pressAll(keys).view.selected;
  assertEquals(selected("down"), "web b");
  assertEquals(selected("down", "down", "down", "down"), "web c");
  assertEquals(selected("down", "up", "up"), "web a");
  assertEquals(selected("end"), "web c");
  assertEquals(selected("end", "home"), "web a");
  assertEquals(selected("page down"), "web c");
  assertEquals(pressAll(["down"], { ...AROUND, rows: [] }).view, FIRST_VIEW);
  assertEquals(pressAll(["3", "down", "down", "page up", "down"]).view.offset, 1); // other panes scroll
});

Deno.test("d asks first, and only with --write", () => {
  const { view, deed } = pressAll(["d"]);
  const question = { service: "web", server: "a", draining: true };
  assertEquals([view.question, deed], [question, { kind: "foresee", question }]);
  assertEquals(pressAll(["d", "y"]).deed, { kind: "drain", question });
  assertEquals(pressAll(["d", "y"]).view.question, undefined);
  for (const key of ["n", "q", "d", "escape", "enter"]) {
    const { view, deed } = pressAll(["d", key]);
    assertEquals([view.question, view.notice, deed], [undefined, "Nothing was changed", undefined], key);
  }
  const readOnly = pressAll(["d"], { ...AROUND, mayWrite: false });
  assertEquals([readOnly.view.question, readOnly.deed], [undefined, undefined]);
  assertEquals(readOnly.view.notice, "Read-only: start top with --write to drain servers");
});

Deno.test("d puts a drained server back, and leaves one alone that is being removed", () => {
  const back = { service: "web", server: "b", draining: false };
  assertEquals(pressAll(["down", "d", "y"]).deed, { kind: "drain", question: back });
  const { view, deed } = pressAll(["end", "d"]);
  assertEquals([view.question, deed], [undefined, undefined]);
});

Deno.test("p pauses and goes on, ? helps until the next key", () => {
  assertEquals(pressAll(["p"]).view.isPaused, true);
  assertEquals(pressAll(["p", "p"]).view.isPaused, false);
  assertEquals(pressAll(["?"]).view.isHelp, true);
  assertEquals(pressAll(["?", "s"]).view, FIRST_VIEW);
});

Deno.test("q quits, but not while a filter is typed; Ctrl-C always does", () => {
  assertEquals(pressAll(["q"]).deed, { kind: "quit" });
  assertEquals(pressAll(["?", "q"]).deed, { kind: "quit" });
  assertEquals(pressAll(["/", "q"]).deed, undefined);
  for (const before of [[], ["/"], ["?"], ["d"], ["p"]]) assertEquals(pressAll([...before, "ctrl-c"]).deed, { kind: "quit" });
});

Deno.test("no key is given twice, and each one that is shown is explained", () => {
  const keys = KEYS.flatMap(({ keys }) => keys);
  assertEquals(new Set(keys).size, keys.length);
  for (const { help } of KEYS) assert(help.length > 0 && help.length <= 72, help);
});

Deno.test("nothing is changed without the keys d and y, one after the other", () => {
  const any = fc.constantFrom(...KEYS.flatMap(({ keys }) => keys), "y", "n", "x", "enter", "escape", "backspace", "ctrl-l");
  fc.assert(fc.property(fc.array(any, { maxLength: 30 }), (keys) => {
    let view = FIRST_VIEW;
    for (const [i, key] of keys.entries()) {
      const next = press(view, key, AROUND);
      if (next.deed?.kind === "drain") {
        assertEquals([keys[i - 1], key], ["d", "y"]);
        assertEquals(next.deed.question, view.question);
      }
      view = next.view;
    }
  }));
});
