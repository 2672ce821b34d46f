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

/** Marks words that are values, so that `-1`, `-` and `true` stay what they are. No command line can hold it. */
const VALUE_MARK = "\0";

/** Understands a program's arguments. Options may stand before or behind the command. Throws `usage` errors. */
export function parseCommandLine<C extends CommandSpec>(program: ProgramSpec<C>, argv: readonly string[]): Parsed<C> {
  const every = [HELP, VERSION, ...Object.values(program.commands).flatMap(({ options }) => options)];
  const helper = [program.name, ...argv.filter((word) => Object.hasOwn(program.commands, word)).slice(0, 1)].join(" ");
  const { words: [name, ...given], options } = splitWords(argv, every, helper);
  if (name === undefined) return answerWithoutCommand(program, options);
  if (!Object.hasOwn(program.commands, name)) {
    throw new OperatorError("usage", `Unknown command ${JSON.stringify(name)}: ${program.name} has ${listCommands(program)}`);
  }
  const command = program.commands[name];
  const foreign = Object.keys(options).find((flag) => ![HELP, ...command.options].some((option) => option.flag === flag));
  if (foreign !== undefined) throw unknownOption(`--${foreign}`, helper);
  if (options.help !== undefined) return { text: commandHelp(program, name) };
  checkCount(given, command, usageOf(program.name, name, command));
  return { command, input: { arguments: given, options } };
}

function answerWithoutCommand(program: ProgramSpec, options: CommandInput["options"]): { text: string } {
  if (options.help !== undefined) return { text: programHelp(program) };
  if (options.version !== undefined) return { text: `${program.name} ${program.version}` };
  throw new OperatorError("usage", `Missing command: ${program.name} has ${listCommands(program)}; try ${program.name} --help`);
}

function checkCount(given: readonly string[], { arguments: wanted }: CommandSpec, usage: string): void {
  if (given.length < wanted.length) throw new OperatorError("usage", `Missing <${wanted[given.length]}>: the form is ${usage}`);
  if (given.length === wanted.length) return;
  throw new OperatorError("usage", `Unexpected argument ${JSON.stringify(given[wanted.length])}: the form is ${usage}`);
}

/** `helper` is the program, or the command of it, whose help shows the options there are. */
function unknownOption(word: string, helper: string): OperatorError {
  return new OperatorError("usage", `Unknown option ${JSON.stringify(word)}: see ${helper} --help`);
}

function listCommands({ commands }: ProgramSpec): string {
  return new Intl.ListFormat("en").format(Object.keys(commands));
}

/** The words that are no options, and the options that were given; a switch as "". */
function splitWords(argv: readonly string[], known: readonly OptionSpec[], helper: string) {
  const specs = new Map(known.map((option) => [option.flag, option]));
  const end = argv.includes("--") ? argv.indexOf("--") : argv.length;
  for (const word of argv.slice(0, end)) checkOption(word, specs, helper);
  const marked = argv.map((word, i) => i < end && /^([^-]|-[0-9]|-?$)/.test(word) ? VALUE_MARK + word : word);
  const parsed = parseArgs(marked, {
    string: ["_", ...known.filter(({ value }) => value !== undefined).map(({ flag }) => flag)],
    boolean: known.filter(({ value }) => value === undefined).map(({ flag }) => flag),
  });
  const options: Record<string, string> = {};
  for (const { flag, value } of specs.values()) {
    const given = parsed[flag];
    if (given === true) options[flag] = "";
    if (typeof given !== "string") continue;
    options[flag] = unmark(given);
    if (options[flag] === "") throw new OperatorError("usage", `Option --${flag} needs a value: --${flag} ${value}`);
  }
  return { words: parsed._.map(unmark), options };
}

/** Throws for an option that there is not, and for a switch with a value. */
function checkOption(word: string, known: ReadonlyMap<string, OptionSpec>, helper: string): void {
  if (!/^-[^0-9]/.test(word)) return;
  const [, flag, value] = word.match(/^--([^=]+)(=.*)?$/s) ?? [];
  const option = known.get(flag);
  if (option === undefined) throw unknownOption(word, helper);
  if (option.value === undefined && value !== undefined) {
    throw new OperatorError("usage", `Option --${flag} takes no value: leave out ${JSON.stringify(value)}`);
  }
}

function unmark(word: string): string {
  return word.replace(VALUE_MARK, "");
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
