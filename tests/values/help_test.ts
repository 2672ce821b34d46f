// Help: groups, a column of defaults, no line too long, and colours only where the page has them.

import { assert, assertEquals } from "@std/assert";
import { type CommandSpec, parseCommandLine, type ProgramSpec } from "../../lib/values/command_line.ts";
import { COLOURED, type Page, PLAIN, PLAIN_PAGE } from "../../lib/values/terminal.ts";
import { widthOf } from "../../lib/values/text_layout.ts";

const PROGRAM: ProgramSpec<CommandSpec> = {
  name: "toolctl",
  summary: "toolctl controls tool, which is a program with a summary that does not fit into one line of eighty columns.",
  version: "1.2.3",
  commands: {
    start: {
      group: "Daemon",
      summary: "Start a tool",
      description: "Listens on this address, and describes what it does in so many words that they take two lines.",
      examples: ["toolctl start ::1"],
      arguments: ["inet_address"],
      options: [
        { flag: "key", value: "ip|port", default: "ip", summary: "what selects a server", group: "Routing" },
        {
          flag: "bound",
          value: "FACTOR|off",
          default: "1.25",
          summary: "highest load of a server above the mean, or off, to be so",
          group: "Routing",
        },
        { flag: "check", value: "tcp|http:/PATH|expect:TEXT", default: "tcp", summary: "how servers are checked", group: "Checks" },
        { flag: "now", summary: "do not wait" },
      ],
    },
    add: { group: "Pool", summary: "Add a server", arguments: ["one|two|three", "inet_address", "inet_port"], options: [] },
    stop: { group: "Daemon", summary: "Stop it", arguments: [], options: [] },
  },
};

function helpOn(page: Page, ...argv: string[]): string {
  const parsed = parseCommandLine(PROGRAM, [...argv, "--help"], page);
  assert("text" in parsed);
  return parsed.text;
}

Deno.test("the help of a program has its commands in groups", () => {
  assertEquals(
    helpOn(PLAIN_PAGE),
    [
      "toolctl controls tool, which is a program with a summary that does not fit into",
      "one line of eighty columns.",
      "",
      "Usage:",
      "  toolctl <command> [options]",
      "",
      "Daemon:",
      "  start <inet_address>  Start a tool",
      "  stop                  Stop it",
      "",
      "Pool:",
      "  add <one|two|three> <inet_address> <inet_port>",
      "                        Add a server",
      "",
      "Options:                     Default",
      "  --color auto|always|never  auto     use colours (auto: on a terminal)",
      "  --help                              print this help",
      "  --version                           print the version",
      "",
      "See toolctl <command> --help for the options of a command.",
    ].join("\n"),
  );
});

Deno.test("the help of a command has its options in groups, defaults in a column, and examples", () => {
  assertEquals(
    helpOn(PLAIN_PAGE, "start"),
    [
      "Start a tool",
      "",
      "Usage:",
      "  toolctl start <inet_address> [options]",
      "",
      "Listens on this address, and describes what it does in so many words that they",
      "take two lines.",
      "",
      "Routing:                     Default",
      "  --key ip|port              ip       what selects a server",
      "  --bound FACTOR|off         1.25     highest load of a server above the mean,",
      "                                      or off, to be so",
      "",
      "Checks:                      Default",
      "  --check tcp|http:/PATH|expect:TEXT",
      "                             tcp      how servers are checked",
      "",
      "Options:                     Default",
      "  --now                               do not wait",
      "  --color auto|always|never  auto     use colours (auto: on a terminal)",
      "  --help                              print this help",
      "",
      "Examples:",
      "  toolctl start ::1",
    ].join("\n"),
  );
});

Deno.test("on a narrow page each option is followed by its text", () => {
  const lines = helpOn({ style: PLAIN, columns: 40 }, "start").split("\n");
  const at = lines.indexOf("  --bound FACTOR|off");
  assertEquals(lines.slice(at, at + 3), [
    "  --bound FACTOR|off",
    "      highest load of a server above the",
    "      mean, or off, to be so (default",
  ]);
});

for (const columns of [80, 72, 60, 59, 40]) {
  Deno.test(`no line of help is longer than a page of ${columns} columns`, () => {
    for (const argv of [[], ["start"], ["add"]]) {
      for (const line of helpOn({ style: PLAIN, columns }, ...argv).split("\n")) {
        assert(line.length <= columns || /^ {2}\S+( \S+)*$/.test(line) && columns < 60, line);
        assertEquals(line, line.trimEnd());
      }
    }
  });
}

for (const columns of [80, 40]) {
  Deno.test(`help in colours on ${columns} columns is the same help`, () => {
    for (const argv of [[], ["start"], ["add"]]) {
      const coloured = helpOn({ style: COLOURED, columns }, ...argv);
      const plain = helpOn({ style: PLAIN, columns }, ...argv);
      assert(coloured.includes("\x1b[1m") && coloured.includes("\x1b[36m"), "headings are bold, names have a colour");
      assertEquals(coloured.split("\n").map(widthOf), plain.split("\n").map(widthOf));
      // deno-lint-ignore no-control-regex
      assertEquals(coloured.replace(/\x1b\[[0-9;]*m/g, ""), plain);
    }
    assert(helpOn({ style: COLOURED, columns: 80 }, "start").includes("\x1b[2m1.25\x1b[0m"), "defaults are faint");
  });
}
