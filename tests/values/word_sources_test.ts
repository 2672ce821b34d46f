// What a word can be follows from the form that the help shows.

import { assertEquals } from "@std/assert";
import { FREE, type Words, wordsOfArgument, wordsOfValue } from "../../lib/values/word_sources.ts";

const FORMS: readonly (readonly [form: string, words: Words])[] = [
  ["TIME", { fixed: [] }],
  ["TIME|off", { fixed: ["off"] }],
  ["ip|ip:port|ip/24|ip/24,64", { fixed: ["ip", "ip:port", "ip/24", "ip/24,64"] }],
  ["tcp|http:/PATH|[send:TEXT ]expect:TEXT|off", { fixed: ["tcp", "http:/", "expect:", "off"] }],
  ["N[/24,64]|off", { fixed: ["off"] }],
  ["0|1|2", { fixed: ["0", "1", "2"] }],
  ["FILE", { fixed: [], filesAfter: "" }],
  ["PATH|-|off", { fixed: ["-", "off"], filesAfter: "" }],
  ["PREFIX,…|@FILE|off", { fixed: ["off"], filesAfter: "@" }],
  ["NAME", { fixed: [] }],
  ["ADDRESS:PORT|off", { fixed: ["off"] }],
];

for (const [form, words] of FORMS) {
  Deno.test(`a value ${form} can be ${JSON.stringify(words)}`, () => assertEquals(wordsOfValue(form), words));
}

Deno.test("an argument can be what its name says, and what its row says goes first", () => {
  assertEquals(wordsOfArgument("inet_address", undefined), { fixed: [], live: "serverHosts" });
  assertEquals(wordsOfArgument("inet_address", FREE), { fixed: [] });
  assertEquals(wordsOfArgument("add|remove", undefined), { fixed: ["add", "remove"] });
  assertEquals(wordsOfArgument("file", undefined), { fixed: [], filesAfter: "" });
  assertEquals(wordsOfArgument("client", undefined), { fixed: [] });
});
