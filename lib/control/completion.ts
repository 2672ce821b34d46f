/**
 * What may stand at the end of an unfinished command line, for the completion of shells. Derived from the rows of commands and
 * settings, as parsing and help are; which live names there are is asked by `live_names.ts`.
 */

import {
  COMMAND_OPTIONS,
  type CommandSpec,
  findCommand,
  type OptionSpec,
  PROGRAM_OPTIONS,
  type ProgramSpec,
} from "../values/command_line.ts";
import { shownCommands } from "../values/help.ts";
import { type LiveName, type Words, wordsOfArgument, wordsOfValue } from "../values/word_sources.ts";

/** A word that is offered, and what it means, in a line. */
export interface Offered {
  readonly word: string;
  readonly summary?: string;
}

/** Live names that are wanted, and what the line says of them so far. */
export interface LiveQuestion {
  readonly kind: LiveName;
  /** The options `--name` and `--service`, if they were typed. */
  readonly name?: string;
  readonly service?: string;
  /** The arguments before this one. */
  readonly before: readonly string[];
}

/** What can be put in place of the last word. */
export interface Offer {
  readonly words: readonly Offered[];
  readonly live?: LiveQuestion;
  /** What stands before the path of a file in the word; undefined where no file is meant. */
  readonly filesAfter?: string;
  /** What stands before each word, such as `--name=`. */
  readonly prefix: string;
}

/** The line as far as it says something. */
interface Typed {
  /** Words that are no options. */
  readonly words: readonly string[];
  /** Values of options by their proper flags; a switch has "". */
  readonly options: ReadonlyMap<string, string>;
  /** The option whose value is the word to complete. */
  readonly pending?: OptionSpec;
  /** Whether `--` stood before: nothing after it is an option. */
  readonly hasEnded: boolean;
}

/** What can be put in place of the last of these words, which follow the program's name. */
export function offerFor(program: ProgramSpec, line: readonly string[]): Offer {
  const current = line.at(-1) ?? "";
  const options = optionsOf(program, line);
  const others = Object.values(program.commands).flatMap(({ options }) => options); // they may stand before the command
  const typed = readLine(line.slice(0, -1), [...options, ...others]);
  const command = findCommand(program, typed.words);
  if (typed.pending !== undefined) return offerValue(typed.pending, typed, "");
  const [, flag] = typed.hasEnded ? [] : current.match(/^--([^=]+)=/) ?? [];
  if (flag !== undefined) {
    const option = optionWith(options, flag);
    return option?.value === undefined ? NOTHING : offerValue(option, typed, `--${flag}=`);
  }
  if (current.startsWith("-") && !typed.hasEnded) return offerOptions(options, typed);
  if (command === undefined) return offerCommands(program, typed.words);
  const spec = program.commands[command.name];
  const given = typed.words.slice(command.words);
  if (given.length < spec.arguments.length) return offerArgument(spec, given, typed);
  return typed.hasEnded ? NOTHING : offerOptions(options, typed);
}

/** The offer as the scripts of the shells read it: first `files` or `words` with what stands before a path, then a word a line. */
export function printOffer({ words, filesAfter, prefix }: Offer): string {
  const head = filesAfter === undefined ? "words" : `files ${prefix}${filesAfter}`;
  return [head, ...words.map(({ word, summary = "" }) => `${prefix}${word} ${summary}`)].map((line) => line.trimEnd()).join("\n");
}

const NOTHING: Offer = { words: [], prefix: "" };

/** The options of the command that the line names; of no command: those of the program. */
function optionsOf(program: ProgramSpec, line: readonly string[]): readonly OptionSpec[] {
  const [found] = line.slice(0, -1).map((_, i, words) => findCommand(program, words.slice(i))).filter((found) =>
    found !== undefined
  );
  return found === undefined ? PROGRAM_OPTIONS : [...program.commands[found.name].options, ...COMMAND_OPTIONS];
}

function optionWith(options: readonly OptionSpec[], flag: string): OptionSpec | undefined {
  return options.find(({ flag: own, aliases = [] }) => [own, ...aliases].includes(flag));
}

function readLine(line: readonly string[], known: readonly OptionSpec[]): Typed {
  const [words, options]: [string[], Map<string, string>] = [[], new Map()];
  let pending: OptionSpec | undefined;
  for (const [i, word] of line.entries()) {
    const [, flag, value] = word.match(/^--([^=]+)(?:=(.*))?$/s) ?? [];
    const option = flag === undefined ? undefined : optionWith(known, flag);
    if (pending !== undefined) {
      options.set(pending.flag, word);
      pending = undefined;
    } else if (word === "--") return { words: [...words, ...line.slice(i + 1)], options, hasEnded: true };
    else if (flag === undefined) words.push(word);
    else if (option !== undefined) {
      if (option.value !== undefined && value === undefined) pending = option;
      else options.set(option.flag, value ?? "");
    }
  }
  return { words, options, pending, hasEnded: false };
}

function offerValue({ value = "", completes }: OptionSpec, typed: Typed, prefix: string): Offer {
  return offerOf(wordsOfValue(value, completes), typed, [], prefix);
}

function offerArgument({ arguments: names, completes = {} }: CommandSpec, given: readonly string[], typed: Typed): Offer {
  const name = names[given.length];
  return offerOf(wordsOfArgument(name, completes[name]), typed, given, "");
}

function offerOf({ fixed, live: kind, filesAfter }: Words, { options }: Typed, before: readonly string[], prefix: string): Offer {
  const live = kind === undefined ? undefined : { kind, name: options.get("name"), service: options.get("service"), before };
  return { words: fixed.map((word) => ({ word })), live, filesAfter, prefix };
}

/** The options that are not given yet. */
function offerOptions(options: readonly OptionSpec[], typed: Typed): Offer {
  const left = options.filter(({ flag }) => !typed.options.has(flag));
  return { words: left.map(({ flag, summary }) => ({ word: `--${flag}`, summary })), prefix: "" };
}

/** The next word of a command's name. Several commands with the same first word are one offer. */
function offerCommands(program: ProgramSpec, words: readonly string[]): Offer {
  if (words.length > 1) return NOTHING;
  const [group] = words;
  const shown = shownCommands(program);
  const inGroup = group === undefined ? shown : shown.filter(([name]) => name.startsWith(`${group} `));
  const nexts = Map.groupBy(inGroup, ([name]) => name.split(" ")[words.length]);
  return { words: [...nexts].map(([word, commands]) => ({ word, summary: summaryOf(commands) })), prefix: "" };
}

/** Of several commands with the same first word: their second words. */
function summaryOf(commands: readonly [string, CommandSpec][]): string {
  const [[, { summary }], ...more] = commands;
  return more.length === 0 ? summary : commands.map(([name]) => name.slice(name.indexOf(" ") + 1)).join(", ");
}
