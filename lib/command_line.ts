/**
 * Command lines of both programs: a command is a row that says its arguments and options, and from the rows come parsing, usage
 * errors and help. Knows no command.
 */

import { parseArgs } from "@std/cli";
import { OperatorError } from "./errors.ts";

/** An option. Without `value` it is a switch. */
export interface OptionSpec {
  readonly flag: string;
  readonly value?: string;
  readonly default?: string;
  readonly summary: string;
}

/** What there is to know of a command line before it is run. */
export interface CommandSpec {
  readonly summary: string;
  readonly arguments: readonly string[];
  readonly options: readonly OptionSpec[];
}

/** A program: its name, and its commands by name. */
export interface ProgramSpec<C extends CommandSpec = CommandSpec> {
  readonly name: string;
  readonly summary: string;
  readonly version: string;
  readonly commands: Readonly<Record<string, C>>;
}

/** What the user typed after a command. An option that was not given is undefined; a switch that was given is "". */
export interface CommandInput {
  readonly arguments: readonly string[];
  readonly options: Readonly<Record<string, string | undefined>>;
}

/** A command line understood: run this, or print this text and be done. */
export type Parsed<C> = { readonly command: C; readonly input: CommandInput } | { readonly text: string };

const HELP: OptionSpec = { flag: "help", summary: "print this help" };
const VERSION: OptionSpec = { flag: "version", summary: "print the version" };

/** Marks words such as `-1`, which are values and no options; no command line can hold it. */
const VALUE_MARK = "\0";

/** Understands a program's arguments. Throws `usage` errors. */
export function parseCommandLine<C extends CommandSpec>(program: ProgramSpec<C>, argv: readonly string[]): Parsed<C> {
  const name = commandIn(argv, program);
  if (name === undefined) return parseWithoutCommand(program, argv);
  const command = program.commands[name];
  const usage = usageOf(program.name, name, command);
  const known = [...command.options, HELP];
  const { words, options } = splitWords(argv, known, `${program.name} ${name}`);
  if (options.help !== undefined) return { text: commandHelp(program, name) };
  const given = words.slice(1);
  const missing = command.arguments[given.length];
  if (missing !== undefined) throw new OperatorError("usage", `Missing <${missing}>: the form is ${usage}`);
  if (given.length > command.arguments.length) {
    throw new OperatorError(
      "usage",
      `Unexpected argument ${JSON.stringify(given[command.arguments.length])}: the form is ${usage}`,
    );
  }
  return { command, input: { arguments: given, options } };
}

/** The first word that is neither an option nor its value, checked to be a command. */
function commandIn(argv: readonly string[], program: ProgramSpec): string | undefined {
  const withValue = new Set(
    Object.values(program.commands).flatMap(({ options }) => options).flatMap(({ flag, value }) => value ? [`--${flag}`] : []),
  );
  const word = argv.find((word, i) => !word.startsWith("-") && !withValue.has(argv[i - 1]));
  if (word === undefined || Object.hasOwn(program.commands, word)) return word;
  throw new OperatorError("usage", `Unknown command ${JSON.stringify(word)}: ${program.name} has ${listCommands(program)}`);
}

function parseWithoutCommand(program: ProgramSpec, argv: readonly string[]): { text: string } {
  const { options } = splitWords(argv, [HELP, VERSION], program.name);
  if (options.help !== undefined) return { text: programHelp(program) };
  if (options.version !== undefined) return { text: `${program.name} ${program.version}` };
  throw new OperatorError("usage", `Missing command: ${program.name} has ${listCommands(program)}; try ${program.name} --help`);
}

function listCommands({ commands }: ProgramSpec): string {
  return new Intl.ListFormat("en").format(Object.keys(commands));
}

function splitWords(argv: readonly string[], known: readonly OptionSpec[], what: string) {
  const parsed = parseArgs(argv.map((word) => /^-[0-9]/.test(word) ? VALUE_MARK + word : word), {
    string: ["_", ...known.filter(({ value }) => value !== undefined).map(({ flag }) => flag)],
    boolean: known.filter(({ value }) => value === undefined).map(({ flag }) => flag),
    unknown: (word, key) => {
      if (key === undefined) return true;
      throw new OperatorError("usage", `Unknown option ${JSON.stringify(word)}: see ${what} --help`);
    },
  });
  const options: Record<string, string | undefined> = {};
  for (const { flag, value } of known) {
    const given = parsed[flag];
    if (value === undefined) options[flag] = given === true ? "" : undefined;
    else if (given === "") throw new OperatorError("usage", `Option --${flag} needs a value: --${flag} ${value}`);
    else options[flag] = (given as string | undefined)?.replace(VALUE_MARK, "");
  }
  return { words: parsed._.map((word) => word.replace(VALUE_MARK, "")), options };
}

function usageOf(program: string, name: string, command: CommandSpec): string {
  return [program, name, ...command.arguments.map((argument) => `<${argument}>`)].join(" ");
}

/** The help of a program: its commands, a line each. */
export function programHelp(program: ProgramSpec): string {
  const rows = Object.entries(program.commands).map(([name, command]) => [usageOf(program.name, name, command), command.summary]);
  const options = [HELP, VERSION].map(({ flag, summary }) => [`--${flag}`, summary]);
  return `${program.summary}\n\nCommands:\n${inColumns(rows)}\n\nOptions:\n${inColumns(options)}\n\nEvery command has --help.`;
}

/** The help of one command. */
export function commandHelp(program: ProgramSpec, name: string): string {
  const command = program.commands[name];
  const rows = [...command.options, HELP].map((option) => [
    `--${option.flag}${option.value ? ` ${option.value}` : ""}`,
    option.summary + (option.default === undefined ? "" : ` (default ${option.default})`),
  ]);
  return `${command.summary}\n\n  ${usageOf(program.name, name, command)} [options]\n\nOptions:\n${inColumns(rows)}`;
}

/** Rows in columns that line up, two spaces before each and no space at the end of a line. */
export function inColumns(rows: readonly (readonly string[])[]): string {
  const widths = rows.reduce((widths: number[], row) => row.map((cell, i) => Math.max(widths[i] ?? 0, cell.length)), []);
  return rows.map((row) => row.map((cell, i) => `  ${cell.padEnd(widths[i])}`).join("").trimEnd()).join("\n");
}
