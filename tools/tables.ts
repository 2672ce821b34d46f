/**
 * The README's tables, made from the code they describe. `deno task tables` writes them into the README between their marks;
 * `tests/tidy_test.ts` fails where they differ.
 */

import type { OptionSpec } from "../lib/values/command_line.ts";
import { SETTINGS } from "../lib/values/config.ts";
import { COMMANDS } from "../lib/control/commands.ts";
import { demoCommand } from "../lib/demo/command.ts";
import { EMPTY_STAGE } from "../lib/demo/stage.ts";
import { ABILITIES, type Ability } from "../lib/engine/abilities.ts";
import { ENGINES } from "../lib/engine/mod.ts";
import { FATES } from "../lib/values/fates.ts";
import { EXIT } from "../lib/values/errors.ts";
import { FAMILIES } from "../lib/observe/metrics.ts";

const EXIT_MEANINGS: Record<keyof typeof EXIT, string> = {
  done: "done",
  failed: "it could not be done; standard error says why",
  usage: "the command line is wrong",
  notRunning: "no balancer of that name is running",
};

/** Every table: its mark in the README, and its rows under a heading. */
export const TABLES: Readonly<Record<string, readonly (readonly string[])[]>> = {
  commands: [
    ["Command", "What it does", "Options"],
    ...Object.entries({ ...COMMANDS, demo: demoCommand(() => EMPTY_STAGE) }).map(([name, command]) => [
      code([name, ...command.arguments.map((argument) => `<${argument}>`)].join(" ")),
      command.summary,
      (name === "start" ? ["all settings below", ...codes(beyondSettings(command.options))] : codes(command.options)).join(", "),
    ]),
  ],
  settings: [
    ["Setting", "Default", "What it says"],
    ...Object.values(SETTINGS).map((
      { flag, value, default: usual, summary },
    ) => [code(`--${flag} ${value}`), code(usual), summary]),
  ],
  engines: [
    ["What", ...Object.keys(ENGINES).map(code)],
    ...Object.entries(ABILITIES).map(([ability, { what, can, cannot }]) => [
      what,
      ...Object.values(ENGINES).map((kind) => kind.cannot.includes(ability as Ability) ? cannot : can),
    ]),
  ],
  fates: [
    ["Fate", "What ended the connection", "Logged as"],
    ...Object.entries(FATES).map(([fate, { help, level }]) => [code(fate), help, level]),
  ],
  metrics: [["Metric", "Type", "What it counts"], ...FAMILIES.map(({ name, type, help }) => [code(name), type, help])],
  exits: [
    ["Exit code", "Meaning"],
    ...Object.entries(EXIT).map(([name, number]) => [String(number), EXIT_MEANINGS[name as keyof typeof EXIT]]),
  ],
};

/** The text with every marked table made anew. Throws for a mark that no table has. */
export function withTables(text: string): string {
  return text.replace(/(<!-- table: (\w+) -->)[^]*?(<!-- end -->)/g, (_, start, name, end) => {
    const rows = TABLES[name];
    if (rows === undefined) throw new Error(`There is no table ${name}`);
    return `${start}\n\n${markdown(rows)}\n\n${end}`;
  });
}

/** A Markdown table in the form that `deno fmt` gives it. */
function markdown([heading, ...rows]: readonly (readonly string[])[]): string {
  const escaped = [heading, ...rows].map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = heading.map((_, i) => Math.max(...escaped.map((row) => row[i].length)));
  const line = (cells: readonly string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`;
  return [line(escaped[0]), line(widths.map((width) => "-".repeat(width))), ...escaped.slice(1).map(line)].join("\n");
}

function codes(options: readonly OptionSpec[]): string[] {
  return options.map(({ flag }) => code(`--${flag}`));
}

function beyondSettings(options: readonly OptionSpec[]): OptionSpec[] {
  return options.filter(({ flag }) => !Object.values(SETTINGS).some((setting) => setting.flag === flag));
}

function code(text: string): string {
  return `\`${text}\``;
}

if (import.meta.main) {
  const readme = new URL("../README.md", import.meta.url);
  await Deno.writeTextFile(readme, withTables(await Deno.readTextFile(readme)));
}
