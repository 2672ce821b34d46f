/**
 * The command lines of both programs: a command is a row with its arguments and options; parsing, usage errors and help are derived
 * from the rows. Knows no command.
 */

import { parseArgs } from "@std/cli";
import { didYouMean } from "./did_you_mean.ts";
import { OperatorError } from "./errors.ts";
import { commandHelp, programHelp, shownCommands, usageOf } from "./help.ts";
import { COLOR, type Page, PLAIN_PAGE, requireColorChoice } from "./terminal.ts";
import type { WordSource } from "./word_sources.ts";

/** An option. Without `value` it is a switch. */
export interface OptionSpec {
  readonly flag: string;
  /** Earlier spellings of the flag. They work, and no help shows them. */
  readonly aliases?: readonly string[];
  readonly value?: string;
  readonly default?: string;
  readonly summary: string;
  /** The heading it stands under in the help. */
  readonly group?: string;
  /** Which words its value can be, where `value` does not say that. */
  readonly completes?: WordSource;
}

/** What is known of a command before it runs. */
export interface CommandSpec {
  /** One line that begins with a verb. */
  readonly summary: string;
  /** What its own help says beyond the summary. */
  readonly description?: string;
  /** Whole command lines. */
  readonly examples?: readonly string[];
  /** Earlier names of the command. They work, and no help shows them. */
  readonly aliases?: readonly string[];
  /** The heading it stands under in the help. */
  readonly group?: string;
  readonly arguments: readonly string[];
  /** How many of the last arguments may be left out together; default: none. */
  readonly optionalArguments?: number;
  /** Whether any number of further arguments may follow. */
  readonly takesMore?: boolean;
  /** Whether it is for scripts of ours alone: it works, and nothing that people read shows it. */
  readonly isHidden?: boolean;
  /** Which words an argument can be, by its name, where that differs from what arguments of this name are (`word_sources.ts`). */
  readonly completes?: Readonly<Record<string, WordSource>>;
  readonly options: readonly OptionSpec[];
}

/** A program: its name, and its commands by name. A name has one word, or two: `service add`. */
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

/** The meaning of a command line: run this command, or print this text. */
type Parsed<C> = { readonly command: C; readonly input: CommandInput } | { readonly text: string };

const HELP: OptionSpec = { flag: "help", summary: "print this help" };
const VERSION: OptionSpec = { flag: "version", summary: "print the version" };

/** Options of every command. */
export const COMMAND_OPTIONS: readonly OptionSpec[] = [COLOR, HELP];
/** Options of a program without a command. */
export const PROGRAM_OPTIONS: readonly OptionSpec[] = [COLOR, HELP, VERSION];

/** Marks words that are values, so that `-1`, `-` and `true` stay what they are. No command line can hold it. */
const VALUE_MARK = "\0";

/** Where an unknown option is looked for, and the words whose `--help` shows the options there are. */
interface Scope {
  readonly options: readonly OptionSpec[];
  readonly helper: string;
}

/** Parses a program's arguments. Options may stand before or behind the command. Throws `usage` errors. */
export function parseCommandLine<C extends CommandSpec>(
  program: ProgramSpec<C>,
  argv: readonly string[],
  page: Page = PLAIN_PAGE,
): Parsed<C> {
  const scope = scopeOf(program, argv);
  const every = [...PROGRAM_OPTIONS, ...Object.values(program.commands).flatMap(({ options }) => options)];
  const { words, options: typed } = splitWords(argv, every, scope);
  if (words.length === 0) return answerWithoutCommand(program, resolveAliases(typed, scope), page);
  const found = findCommand(program, words);
  if (found === undefined) return answerGroup(program, words, typed, page);
  const command = program.commands[found.name];
  const options = resolveAliases(typed, scopeOfCommand(program, found.name));
  if (options.help !== undefined) return { text: commandHelp(program, found.name, COMMAND_OPTIONS, page) };
  const given = words.slice(found.words);
  requireCount(given, command, usageOf(program.name, found.name, command));
  return { command, input: { arguments: given, options } };
}

function answerWithoutCommand(program: ProgramSpec, options: CommandInput["options"], page: Page): { text: string } {
  if (options.help !== undefined) return { text: programHelp(program, PROGRAM_OPTIONS, page) };
  if (options.version !== undefined) return { text: `${program.name} ${program.version}` };
  throw new OperatorError("usage", `Missing command: see ${program.name} --help`);
}

/** The command that the first words name, by its own name or an alias, and how many words that takes. */
export function findCommand({ commands }: ProgramSpec, words: readonly string[]): { name: string; words: number } | undefined {
  for (const count of [2, 1]) {
    const called = words.slice(0, count).join(" ");
    if (Object.hasOwn(commands, called)) return { name: called, words: count };
    const aliased = Object.entries(commands).find(([, { aliases = [] }]) => aliases.includes(called));
    if (aliased !== undefined) return { name: aliased[0], words: count };
  }
}

/** The commands whose names begin with this word, and have another. */
function groupOf({ commands }: ProgramSpec, word: string): [string, CommandSpec][] {
  return Object.entries(commands).filter(([name]) => name.startsWith(`${word} `));
}

/** What follows where no command is named: the help of a group of commands, or an error. */
function answerGroup(
  program: ProgramSpec,
  [word, second]: readonly string[],
  typed: Readonly<Record<string, string>>,
  page: Page,
): { text: string } {
  const group = groupOf(program, word);
  if (group.length === 0) throw unknownCommand(program, word);
  if (typed.help !== undefined) {
    return { text: programHelp({ ...program, commands: Object.fromEntries(group) }, COMMAND_OPTIONS, page) };
  }
  const seconds = group.map(([name]) => name.slice(word.length + 1));
  const helper = `${program.name} ${word}`;
  if (second === undefined) throw new OperatorError("usage", `Missing word: ${helper} has ${seconds.join(", ")}`);
  const wayOut = didYouMean(second, seconds) ?? `${helper} has ${seconds.join(", ")}`;
  throw new OperatorError("usage", `Unknown command ${JSON.stringify(`${word} ${second}`)}: ${wayOut}`);
}

function unknownCommand(program: ProgramSpec, word: string): OperatorError {
  const known = new Set(shownCommands(program).flatMap(([name]) => name.split(" ", 1)));
  const wayOut = didYouMean(word, known) ?? `see ${program.name} --help`;
  return new OperatorError("usage", `Unknown command ${JSON.stringify(word)}: ${wayOut}`);
}

/** The scope of the command that the words name; where they name none, that of the program and all of its commands. */
function scopeOf(program: ProgramSpec, argv: readonly string[]): Scope {
  const [found] = argv.map((_, i) => findCommand(program, argv.slice(i))).filter((found) => found !== undefined);
  if (found !== undefined) return scopeOfCommand(program, found.name);
  const options = Object.values(program.commands).flatMap(({ options }) => options);
  return { options: [...PROGRAM_OPTIONS, ...options], helper: program.name };
}

function scopeOfCommand({ name: program, commands }: ProgramSpec, name: string): Scope {
  return { options: [...COMMAND_OPTIONS, ...commands[name].options], helper: `${program} ${name}` };
}

function requireCount(given: readonly string[], command: CommandSpec, usage: string): void {
  const { arguments: wanted, optionalArguments = 0, takesMore = false } = command;
  if (given.length === wanted.length - optionalArguments) return;
  if (given.length < wanted.length) throw new OperatorError("usage", `Missing <${wanted[given.length]}>: the form is ${usage}`);
  if (given.length === wanted.length || takesMore) return;
  throw new OperatorError("usage", `Unexpected argument ${JSON.stringify(given[wanted.length])}: the form is ${usage}`);
}

function unknownOption(word: string, { options, helper }: Scope): OperatorError {
  const [flag] = word.replace(/^-+/, "").split("=", 1);
  const wayOut = didYouMean(flag, options.map(({ flag }) => flag), "--") ?? `see ${helper} --help`;
  return new OperatorError("usage", `Unknown option ${JSON.stringify(word)}: ${wayOut}`);
}

/** The typed options by their proper flags. Throws for one that the scope does not have, and for two spellings of one. */
function resolveAliases(typed: Readonly<Record<string, string>>, scope: Scope): Record<string, string> {
  const options: Record<string, string> = {};
  for (const [spelling, value] of Object.entries(typed)) {
    const option = scope.options.find(({ flag, aliases = [] }) => [flag, ...aliases].includes(spelling));
    if (option === undefined) throw unknownOption(`--${spelling}`, scope);
    if (Object.hasOwn(options, option.flag)) {
      const both = [option.flag, ...option.aliases ?? []].filter((flag) => Object.hasOwn(typed, flag)).map((flag) => `--${flag}`);
      throw new OperatorError("usage", `Options ${both.join(" and ")} are the same: give one of them`);
    }
    options[option.flag] = value;
  }
  return options;
}

/** The words that are no options, and the options as they were spelled; a switch as "". */
function splitWords(argv: readonly string[], known: readonly OptionSpec[], scope: Scope) {
  const all = [...known, ...scope.options]; // where two commands share a flag, the scope's own comes last and is taken
  const typed = new Set(argv.map((word) => word.match(/^--([^=]+)/)?.[1]));
  const specs = new Map<string, OptionSpec>(); // of what is typed alone: there are hundreds
  for (const option of all) {
    for (const flag of [option.flag, ...option.aliases ?? []]) if (typed.has(flag)) specs.set(flag, option);
  }
  const end = argv.includes("--") ? argv.indexOf("--") : argv.length;
  for (const word of argv.slice(0, end)) requireOption(word, specs, scope);
  const marked = argv.map((word, i) => i < end && /^([^-]|-[0-9]|-?$)/.test(word) ? VALUE_MARK + word : word);
  const flags = [...specs.keys()];
  const parsed = parseArgs(marked, {
    string: ["_", ...flags.filter((flag) => specs.get(flag)!.value !== undefined)],
    boolean: flags.filter((flag) => specs.get(flag)!.value === undefined),
  });
  const options: Record<string, string> = {};
  for (const flag of flags) {
    const given = parsed[flag];
    if (given === true) options[flag] = "";
    if (typeof given !== "string") continue;
    options[flag] = unmark(given);
    if (options[flag] === "") {
      throw new OperatorError("usage", `Option --${flag} needs a value: --${flag} ${specs.get(flag)!.value}`);
    }
  }
  if (options[COLOR.flag] !== undefined) requireColorChoice(options[COLOR.flag]);
  return { words: parsed._.map(unmark), options };
}

/** Throws for an option that does not exist, and for a switch with a value. */
function requireOption(word: string, known: ReadonlyMap<string, OptionSpec>, scope: Scope): void {
  if (!/^-[^0-9]/.test(word)) return;
  const [, flag, value] = word.match(/^--([^=]+)(=.*)?$/s) ?? [];
  const option = known.get(flag);
  if (option === undefined) throw unknownOption(word, scope);
  if (option.value === undefined && value !== undefined) {
    throw new OperatorError("usage", `Option --${flag} takes no value: leave out ${JSON.stringify(value)}`);
  }
}

function unmark(word: string): string {
  return word.replace(VALUE_MARK, "");
}
