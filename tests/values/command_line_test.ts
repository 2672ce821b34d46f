// A command line is understood as it was meant, or refused with a sentence that names the word.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  commandHelp,
  type CommandSpec,
  inColumns,
  parseCommandLine,
  programHelp,
  type ProgramSpec,
} from "../../lib/values/command_line.ts";
import { OperatorError } from "../../lib/values/errors.ts";

const NAME = { flag: "name", value: "NAME", default: "default", summary: "which one" };
const ADD = {
  summary: "Add a server",
  arguments: ["inet_address", "inet_port"],
  options: [{ flag: "weight", value: "N", summary: "its weight" }, { flag: "now", summary: "do not wait" }, NAME],
};
const LIST = { summary: "List the servers", arguments: [], options: [{ flag: "json", summary: "print JSON" }, NAME] };
const PROGRAM: ProgramSpec<CommandSpec> = {
  name: "toolctl",
  summary: "toolctl controls tool.",
  version: "1.2.3",
  commands: { add: ADD, list: LIST },
};

interface Understood {
  readonly command: CommandSpec;
  readonly arguments: readonly string[];
  readonly options: Readonly<Record<string, string>>;
}

/** What a command line means, with the options that were given only. */
function understand(argv: readonly string[]): Understood {
  const parsed = parseCommandLine(PROGRAM, argv);
  assert("command" in parsed, "a text was printed");
  const options = Object.entries(parsed.input.options).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return { command: parsed.command, arguments: parsed.input.arguments, options: Object.fromEntries(options) };
}

function textOf(argv: readonly string[]): string {
  const parsed = parseCommandLine(PROGRAM, argv);
  assert("text" in parsed, "a command was understood");
  return parsed.text;
}

const UNDERSTOOD: [string[], Understood][] = [
  [["list"], { command: LIST, arguments: [], options: {} }],
  [["list", "--json"], { command: LIST, arguments: [], options: { json: "" } }],
  [["--json", "list"], { command: LIST, arguments: [], options: { json: "" } }],
  [["list", "--name", "a"], { command: LIST, arguments: [], options: { name: "a" } }],
  [["list", "--name=a"], { command: LIST, arguments: [], options: { name: "a" } }],
  [["list", "--name=a=b"], { command: LIST, arguments: [], options: { name: "a=b" } }],
  [["--name", "a", "list"], { command: LIST, arguments: [], options: { name: "a" } }],
  [["--name=a", "list"], { command: LIST, arguments: [], options: { name: "a" } }],
  [["--name", "add", "list"], { command: LIST, arguments: [], options: { name: "add" } }],
  [["list", "--name", "add"], { command: LIST, arguments: [], options: { name: "add" } }],
  [["list", "--name", "a", "--name", "b"], { command: LIST, arguments: [], options: { name: "b" } }],
  [["list", "--"], { command: LIST, arguments: [], options: {} }],
  [["add", "10.0.0.1", "80"], { command: ADD, arguments: ["10.0.0.1", "80"], options: {} }],
  [["add", "::1", "080"], { command: ADD, arguments: ["::1", "080"], options: {} }],
  [["add", "1e3", "0x50"], { command: ADD, arguments: ["1e3", "0x50"], options: {} }],
  [["add", "", "80"], { command: ADD, arguments: ["", "80"], options: {} }],
  [["add", "10.0.0.1", "-1"], { command: ADD, arguments: ["10.0.0.1", "-1"], options: {} }],
  [["add", "-1", "-2.5"], { command: ADD, arguments: ["-1", "-2.5"], options: {} }],
  [["add", "list", "add"], { command: ADD, arguments: ["list", "add"], options: {} }],
  [["add", "true", "false"], { command: ADD, arguments: ["true", "false"], options: {} }],
  [["add", "--weight", "3", "a", "80"], { command: ADD, arguments: ["a", "80"], options: { weight: "3" } }],
  [["add", "a", "--weight=3", "80"], { command: ADD, arguments: ["a", "80"], options: { weight: "3" } }],
  [["add", "a", "80", "--weight", "-1"], { command: ADD, arguments: ["a", "80"], options: { weight: "-1" } }],
  [["add", "a", "80", "--weight=-1"], { command: ADD, arguments: ["a", "80"], options: { weight: "-1" } }],
  [["add", "a", "80", "--weight", "007"], { command: ADD, arguments: ["a", "80"], options: { weight: "007" } }],
  [["add", "--now", "a", "80"], { command: ADD, arguments: ["a", "80"], options: { now: "" } }],
  [["add", "--now", "true", "80"], { command: ADD, arguments: ["true", "80"], options: { now: "" } }],
  [["add", "--", "a", "80"], { command: ADD, arguments: ["a", "80"], options: {} }],
  [["--", "add", "a", "80"], { command: ADD, arguments: ["a", "80"], options: {} }],
  [["add", "--", "--now", "--weight"], { command: ADD, arguments: ["--now", "--weight"], options: {} }],
  [["add", "--", "-1", "-x"], { command: ADD, arguments: ["-1", "-x"], options: {} }],
  [["add", "constructor", "__proto__"], { command: ADD, arguments: ["constructor", "__proto__"], options: {} }],
  [["add", "a", "80", "--name", "__proto__"], { command: ADD, arguments: ["a", "80"], options: { name: "__proto__" } }],
];

for (const [argv, expected] of UNDERSTOOD) {
  Deno.test(`parseCommandLine() understands ${JSON.stringify(argv)}`, () => assertEquals(understand(argv), expected));
}

/** A command line, and what the sentence must say. */
const REFUSED: [string[], string][] = [
  [[], "Missing command: toolctl has add and list"],
  [["--name", "a"], "Missing command"],
  [["--name=a"], "Missing command"],
  [["--"], "Missing command"],
  [["frob"], 'Unknown command "frob": toolctl has add and list'],
  [[""], 'Unknown command ""'],
  [["Add"], 'Unknown command "Add"'],
  [["constructor"], 'Unknown command "constructor"'],
  [["__proto__"], 'Unknown command "__proto__"'],
  [["toString", "--help"], 'Unknown command "toString"'],
  [["--frob"], 'Unknown option "--frob"'],
  [["--frob", "list"], 'Unknown option "--frob"'],
  [["list", "--frob"], 'Unknown option "--frob": see toolctl list --help'],
  [["list", "--frob=1"], "--frob"],
  [["list", "--weight", "3"], 'Unknown option "--weight"'],
  [["list", "--Json"], 'Unknown option "--Json"'],
  [["list", "--js"], 'Unknown option "--js"'],
  [["list", "--no-json"], 'Unknown option "--no-json"'],
  [["list", "-j"], 'Unknown option "-j"'],
  [["list", "-json"], "Unknown option"],
  [["list", "--version"], 'Unknown option "--version"'],
  [["list", "--constructor"], 'Unknown option "--constructor"'],
  [["list", "--__proto__"], 'Unknown option "--__proto__"'],
  [["list", "--__proto__=1"], "Unknown option"],
  [["list", "--__proto__.json=1"], "Unknown option"],
  [["list", "--constructor.prototype.json", "1"], "Unknown option"],
  [["list", "--name.a=1"], "Unknown option"],
  [["list", "--_", "x"], 'Unknown option "--_"'],
  [["list", "--_=x"], "Unknown option"],
  [["list", "--hasOwnProperty"], 'Unknown option "--hasOwnProperty"'],
  [["list", "--name"], "Option --name needs a value: --name NAME"],
  [["list", "--name="], "Option --name needs a value"],
  [["list", "--name", ""], "Option --name needs a value"],
  [["list", "--name", "--json"], "Option --name needs a value"],
  [["add", "a", "80", "--weight"], "Option --weight needs a value: --weight N"],
  [["add"], "Missing <inet_address>: the form is toolctl add <inet_address> <inet_port>"],
  [["add", "a"], "Missing <inet_port>: the form is toolctl add <inet_address> <inet_port>"],
  [["add", "--weight", "3", "a"], "Missing <inet_port>"],
  [["add", "a", "80", "90"], 'Unexpected argument "90": the form is toolctl add <inet_address> <inet_port>'],
  [["add", "a", "80", "-1"], 'Unexpected argument "-1"'],
  [["list", "a"], 'Unexpected argument "a": the form is toolctl list'],
  [["list", "list"], 'Unexpected argument "list"'],
  [["list", ""], 'Unexpected argument ""'],
  [["list", "--json", "true"], 'Unexpected argument "true"'],
  [["list", "--json", "false"], 'Unexpected argument "false"'],
  [["list", "--json=false"], "--json"],
  [["list", "--json=yes"], "--json"],
  [["-1", "add", "80"], '"-1"'],
  [["-", "add", "80"], '"-"'],
  [["-1", "list"], '"-1"'],
];

for (const [argv, message] of REFUSED) {
  Deno.test(`parseCommandLine() refuses ${JSON.stringify(argv)}`, () => {
    assertEquals(assertThrows(() => parseCommandLine(PROGRAM, argv), OperatorError, message).kind, "usage");
  });
}

Deno.test("parseCommandLine() gives --help of the program", () => {
  assertEquals(textOf(["--help"]), programHelp(PROGRAM));
});

for (const argv of [["list", "--help"], ["--help", "list"], ["list", "--help", "too", "many"], ["--name", "a", "list", "--help"]]) {
  Deno.test(`parseCommandLine() gives help of the command for ${JSON.stringify(argv)}`, () => {
    assertEquals(textOf(argv), commandHelp(PROGRAM, "list"));
  });
}

Deno.test("parseCommandLine() gives help of a command whose arguments are missing", () => {
  assertEquals(textOf(["add", "--help"]), commandHelp(PROGRAM, "add"));
});

for (const argv of [["--name", "a", "--help"], ["--help", "--name", "a"]]) {
  Deno.test(`parseCommandLine() gives help of the program for ${JSON.stringify(argv)}`, () => {
    assertEquals(textOf(argv), programHelp(PROGRAM));
  });
}

Deno.test("parseCommandLine() gives the version", () => assertEquals(textOf(["--version"]), "toolctl 1.2.3"));

Deno.test("parseCommandLine() answers any words with a command, a text or a usage error", () => {
  const word = fc.oneof(
    fc.constantFrom(
      "add",
      "list",
      "--name",
      "--now",
      "--help",
      "--json",
      "--",
      "-",
      "-1",
      "--name=",
      "--weight=2",
      "__proto__",
      "true",
    ),
    fc.string({ maxLength: 6 }),
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 6 }), (argv) => {
      try {
        const parsed = parseCommandLine(PROGRAM, argv);
        if ("text" in parsed) return;
        assertEquals(parsed.input.arguments.length, parsed.command.arguments.length);
        for (const value of Object.values(parsed.input.options)) assert(value === undefined || typeof value === "string");
      } catch (error) {
        assert(error instanceof OperatorError && error.kind === "usage", String(error));
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("parseCommandLine() takes any words behind -- as arguments, as they are", () => {
  fc.assert(fc.property(fc.string(), fc.string(), (host, port) => {
    assertEquals(understand(["add", "--", host, port]).arguments, [host, port]);
  }));
});

Deno.test("parseCommandLine() does not change the words it is given", () => {
  const argv = ["add", "--weight", "-1", "a", "80"];
  understand(argv);
  assertEquals(argv, ["add", "--weight", "-1", "a", "80"]);
});

Deno.test("programHelp() has the form and the summary of every command, and how to get more", () => {
  assertEquals(
    programHelp(PROGRAM),
    [
      "toolctl controls tool.",
      "",
      "Commands:",
      "  toolctl add <inet_address> <inet_port>  Add a server",
      "  toolctl list                            List the servers",
      "",
      "Options:",
      "  --help     print this help",
      "  --version  print the version",
      "",
      "Every command has --help.",
    ].join("\n"),
  );
});

Deno.test("commandHelp() has the form, every option with its value and default, and --help", () => {
  const help = commandHelp(PROGRAM, "add");
  assertStringIncludes(help, "Add a server\n\n  toolctl add <inet_address> <inet_port> [options]\n");
  assertStringIncludes(help, "\n  --weight N   its weight\n");
  assertStringIncludes(help, "\n  --now        do not wait\n");
  assertStringIncludes(help, "\n  --name NAME  which one (default default)\n");
  assertStringIncludes(help, "\n  --help       print this help");
});

Deno.test("inColumns() lines columns up and leaves no space at the end of a line", () => {
  assertEquals(inColumns([["a", "bb", "c"], ["dddd", "e", ""]]), "  a     bb  c\n  dddd  e");
  assertEquals(inColumns([]), "");
});
