// Keys: what terminals send for them.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { keysIn } from "../../lib/top/keys.ts";
import { anyText } from "./any_text.ts";

Deno.test("keysIn() knows characters, named keys and the codes of terminals", () => {
  const cases: readonly [sent: string, keys: string[]][] = [
    ["q", ["q"]],
    ["/ab\r", ["/", "a", "b", "enter"]],
    ["\x1b[A\x1b[B", ["up", "down"]],
    ["\x1bOA\x1bOB", ["up", "down"]],
    ["\x1b[1;5A", ["up"]],
    ["\x1b[5~\x1b[6~", ["page up", "page down"]],
    ["\x1b[H\x1b[4~\x1b[7~", ["home", "end", "home"]],
    ["\x1b", ["escape"]],
    ["\x1bq", ["escape", "q"]],
    ["\x03\x1a\x0c\x1c\x15", ["ctrl-c", "ctrl-z", "ctrl-l", "ctrl-\\", "ctrl-u"]],
    ["\x7f\b\t", ["backspace", "backspace", "tab"]],
    ["é服🔥", ["é", "服", "🔥"]],
    ["\x1b[200~\x1b[99;1R\x01", []], // a paste, a report, a key without a use
  ];
  for (const [sent, keys] of cases) assertEquals(keysIn(sent), keys, JSON.stringify(sent));
});

Deno.test("keysIn() ends, whatever a terminal sends", () => {
  fc.assert(fc.property(anyText(40), (sent) => assert(keysIn(sent).length <= sent.length)));
});
