/** The help of a program and of its commands, laid out for the page it is shown on. */

import type { CommandSpec, OptionSpec, ProgramSpec } from "./command_line.ts";
import type { Page } from "./terminal.ts";
import { indent, pad, widthOf, wrap } from "./text_layout.ts";

/** The left column of a table is no wider; what is wider has a line of its own. */
const COMMAND_COLUMNS_MAX = 34;
const OPTION_COLUMNS_MAX = 28;
/** On a narrower page a table has no columns: each row is followed by its text. */
const TABLE_COLUMNS_MIN = 60;
/** What stands before a text that follows its row. */
const TEXT_INDENT = 6;

/** A row of a table of commands or options. */
interface Row {
  readonly name: string;
  /** What follows the name: arguments, or the value of an option. */
  readonly rest: string;
  readonly default?: string;
  readonly summary: string;
}

/** A table with its heading. */
interface Section {
  readonly heading: string;
  readonly rows: readonly Row[];
}

/** The columns of all tables of a help. */
interface Columns {
  readonly left: number;
  /** 0 where there are no defaults. */
  readonly defaults: number;
}

/** The commands that people are shown. */
export function shownCommands<C extends CommandSpec>({ commands }: ProgramSpec<C>): [string, C][] {
  return Object.entries(commands).filter(([, { isHidden }]) => isHidden !== true);
}

/** How a command is called. */
export function usageOf(program: string, name: string, { arguments: args, optionalArguments = 0 }: CommandSpec): string {
  const shown = args.map((argument) => `<${argument}>`);
  const needed = shown.slice(0, args.length - optionalArguments);
  const others = shown.slice(needed.length);
  return [program, name, ...needed, ...(others.length === 0 ? [] : [`[${others.join(" ")}]`])].join(" ");
}

/** The help of a program: its commands in groups, a line each, and the options that it has without a command. */
export function programHelp(program: ProgramSpec, options: readonly OptionSpec[], page: Page): string {
  const rows = shownCommands(program).map(([name, command]) => ({
    name,
    rest: usageOf("", "", command).trim(),
    summary: command.summary,
    group: command.group ?? "Commands",
  }));
  return [
    wrap(program.summary, page.columns).join("\n"),
    usage(`${program.name} <command> [options]`, page),
    layOut(grouped(rows), COMMAND_COLUMNS_MAX, page),
    layOut([{ heading: "Options", rows: options.map(rowOf) }], OPTION_COLUMNS_MAX, page),
    wrap(`See ${program.name} <command> --help for the options of a command.`, page.columns).join("\n"),
  ].join("\n\n");
}

/** The help of one command; `common` are the options that every command has. */
export function commandHelp(program: ProgramSpec, name: string, common: readonly OptionSpec[], page: Page): string {
  const command = program.commands[name];
  const rows = [...command.options, ...common].map((option) => ({ ...rowOf(option), group: option.group ?? "Options" }));
  return [
    wrap(command.summary, page.columns).join("\n"),
    usage(`${usageOf(program.name, name, command)} [options]`, page),
    ...(command.description === undefined ? [] : [wrap(command.description, page.columns).join("\n")]),
    layOut(grouped(rows), OPTION_COLUMNS_MAX, page),
    ...(command.examples === undefined ? [] : [[headingOf("Examples", page), ...indent(command.examples)].join("\n")]),
  ].join("\n\n");
}

function rowOf({ flag, value = "", default: usual, summary }: OptionSpec): Row {
  return { name: `--${flag}`, rest: value, default: usual, summary };
}

function usage(form: string, page: Page): string {
  const [first, ...more] = wrap(form, page.columns - TEXT_INDENT);
  return [headingOf("Usage", page), ...indent([first]), ...indent(more, TEXT_INDENT)].join("\n");
}

function headingOf(heading: string, { style }: Page): string {
  return style.heading(`${heading}:`);
}

/** A section for each group, in the order in which they first come. */
function grouped(rows: readonly (Row & { readonly group: string })[]): Section[] {
  return [...Map.groupBy(rows, ({ group }) => group)].map(([heading, rows]) => ({ heading, rows }));
}

/** Sections whose columns line up with each other's. */
function layOut(sections: readonly Section[], leftMax: number, page: Page): string {
  const rows = sections.flatMap(({ rows }) => rows);
  const lefts = rows.map((row) => widthOf(leftOf(row))).filter((width) => width <= leftMax);
  const defaults = rows.some((row) => row.default !== undefined) ? ["Default", ...rows.map((row) => row.default ?? "")] : [];
  const columns = { left: Math.max(0, ...lefts), defaults: Math.max(0, ...defaults.map(widthOf)) };
  const isTable = page.columns >= TABLE_COLUMNS_MIN;
  return sections.map(({ heading, rows }) => {
    const lines = rows.flatMap((row) => isTable ? tableRow(row, columns, page) : listedRow(row, page));
    return [isTable ? tableHeading(heading, rows, columns, page) : headingOf(heading, page), ...lines].join("\n");
  }).join("\n\n");
}

function leftOf({ name, rest }: Row): string {
  return rest === "" ? name : `${name} ${rest}`;
}

function tableHeading(heading: string, rows: readonly Row[], { left }: Columns, page: Page): string {
  if (!rows.some((row) => row.default !== undefined)) return headingOf(heading, page);
  return `${pad(headingOf(heading, page), left + 4)}${page.style.faint("Default")}`;
}

function tableRow(row: Row, { left, defaults }: Columns, page: Page): string[] {
  const name = leftOf({ ...row, name: page.style.name(row.name) });
  const usual = defaults === 0 ? [] : [pad(page.style.faint(row.default ?? ""), defaults)];
  const margin = 4 + left + (defaults === 0 ? 0 : defaults + 2);
  const texts = wrap(row.summary, page.columns - margin);
  const hasRoom = widthOf(name) <= left;
  const first = `  ${[pad(hasRoom ? name : "", left), ...usual, texts[0]].join("  ")}`;
  return [...(hasRoom ? [] : indent([name])), first, ...indent(texts.slice(1), margin)];
}

function listedRow(row: Row, page: Page): string[] {
  const name = leftOf({ ...row, name: page.style.name(row.name) });
  const usual = row.default === undefined ? "" : ` (default ${row.default})`;
  return [...indent([name]), ...indent(wrap(row.summary + usual, page.columns - TEXT_INDENT), TEXT_INDENT)];
}
