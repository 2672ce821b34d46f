// A command line is understood as it was meant, or refused with a sentence that names the word.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type CommandSpec, parseCommandLine, type ProgramSpec } from "../../lib/values/command_line.ts";
import { OperatorError } from "../../lib/values/errors.ts";

const NAME = { flag: "name", value: "NAME", default: "default", summary: "which one" };
const ADD = {
  summary: "Add a server",
  arguments: ["inet_address", "inet_port"],
  options: [
    { flag: "weight", aliases: ["share"], value: "N", summary: "its weight" },
    { flag: "now", summary: "do not wait" },
    NAME,
  ],
};
const LIST = {
  summary: "List the servers",
  aliases: ["ls"],
  arguments: [],
  options: [{ flag: "json", summary: "print JSON" }, NAME],
};
/** Has a flag that is an alias of another one's, and its own meaning of another flag. */
const SET = {
  summary: "Change a server",
  arguments: [],
  options: [{ flag: "share", value: "PERCENT", summary: "its share" }, { flag: "weight", value: "N|off", summary: "its weight" }],
};
const PROGRAM: ProgramSpec<CommandSpec> = {
  name: "toolctl",
  summary: "toolctl controls tool.",
  version: "1.2.3",
  commands: { add: ADD, list: LIST, set: SET },
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
  [["ls"], { command: LIST, arguments: [], options: {} }],
  [["--json", "ls"], { command: LIST, arguments: [], options: { json: "" } }],
  [["add", "a", "80", "--share", "3"], { command: ADD, arguments: ["a", "80"], options: { weight: "3" } }],
  [["--share=3", "add", "a", "80"], { command: ADD, arguments: ["a", "80"], options: { weight: "3" } }],
  [["set", "--share", "3", "--weight", "4"], { command: SET, arguments: [], options: { share: "3", weight: "4" } }],
  [["list", "--color", "never"], { command: LIST, arguments: [], options: { color: "never" } }],
];

for (const [argv, expected] of UNDERSTOOD) {
  Deno.test(`parseCommandLine() understands ${JSON.stringify(argv)}`, () => assertEquals(understand(argv), expected));
}

/** A command line, and what the sentence must say. */
const REFUSED: [string[], string][] = [
  [[], "Missing command: see toolctl --help"],
  [["--name", "a"], "Missing command"],
  [["--name=a"], "Missing command"],
  [["--"], "Missing command"],
  [["frob"], 'Unknown command "frob": see toolctl --help'],
  [["lsit"], 'Unknown command "lsit": did you mean "list"?'],
  [["lst"], 'Unknown command "lst": did you mean "list"?'],
  [["ad"], 'Unknown command "ad": did you mean "add"?'],
  [["lss"], 'Unknown command "lss": see toolctl --help'],
  [[""], 'Unknown command ""'],
  [["Add"], 'Unknown command "Add": did you mean "add"?'],
  [["constructor"], 'Unknown command "constructor"'],
  [["__proto__"], 'Unknown command "__proto__"'],
  [["toString", "--help"], 'Unknown command "toString"'],
  [["--frob"], 'Unknown option "--frob"'],
  [["--frob", "list"], 'Unknown option "--frob"'],
  [["list", "--frob"], 'Unknown option "--frob": see toolctl list --help'],
  [["list", "--frob=1"], "--frob"],
  [["list", "--weight", "3"], 'Unknown option "--weight"'],
  [["list", "--Json"], 'Unknown option "--Json"'],
  [["list", "--js"], 'Unknown option "--js": see toolctl list --help'],
  [["list", "--nope"], 'Unknown option "--nope": see toolctl list --help'],
  [["list", "--jso"], 'Unknown option "--jso": did you mean "--json"?'],
  [["list", "--jsno"], 'Unknown option "--jsno": did you mean "--json"?'],
  [["list", "--jsn=1"], 'Unknown option "--jsn=1": did you mean "--json"?'],
  [["ls", "--frob"], 'Unknown option "--frob": see toolctl list --help'],
  [["add", "--sharee", "1"], 'Unknown option "--sharee": see toolctl add --help'],
  [["list", "--share", "1"], 'Unknown option "--share": see toolctl list --help'],
  [["--wieght", "3"], 'Unknown option "--wieght": did you mean "--weight"?'],
  [["add", "a", "80", "--weight", "1", "--share", "2"], "Options --weight and --share are the same: give one of them"],
  [["add", "a", "80", "--share"], "Option --share needs a value: --share N"],
  [["list", "--color", "alwys"], 'Unknown color choice "alwys": did you mean "always"?'],
  [["--color=blue"], 'Unknown color choice "blue": use auto, always or never'],
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
  [["set", "--weight"], "Option --weight needs a value: --weight N|off"],
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

for (const argv of [["--help"], ["--name", "a", "--help"], ["--help", "--name", "a"], ["--color", "never", "--help"]]) {
  Deno.test(`parseCommandLine() gives help of the program for ${JSON.stringify(argv)}`, () => {
    assert(textOf(argv).startsWith("toolctl controls tool.\n"));
  });
}

for (
  const argv of [["list", "--help"], ["--help", "list"], ["list", "--help", "too", "many"], ["--name", "a", "list", "--help"], [
    "ls",
    "--help",
  ]]
) {
  Deno.test(`parseCommandLine() gives help of the command for ${JSON.stringify(argv)}`, () => {
    assert(textOf(argv).startsWith("List the servers\n\nUsage:\n  toolctl list [options]\n"));
  });
}

Deno.test("parseCommandLine() gives help of a command whose arguments are missing", () => {
  assertStringIncludes(textOf(["add", "--help"]), "toolctl add <inet_address> <inet_port> [options]");
});

Deno.test("no help shows an alias", () => {
  for (const argv of [["--help"], ["list", "--help"], ["add", "--help"]]) {
    assert(!/\bls\b|--share/.test(textOf(argv)), textOf(argv));
  }
});

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
