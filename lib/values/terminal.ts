/** How text looks where it is shown: colours, and the width of a line. Terminals are asked here, and nowhere else. */

import { parseChoice } from "./choice.ts";
import type { OptionSpec } from "./command_line.ts";
import { printable } from "./printable.ts";

/** Gives a text its colour. */
type Paint = (text: string) => string;

/** A colour for each role that text has. */
export interface Style {
  readonly hasColours: boolean;
  readonly heading: Paint;
  /** A command or a flag. */
  readonly name: Paint;
  readonly faint: Paint;
  readonly good: Paint;
  readonly warning: Paint;
  readonly bad: Paint;
  /** What stands before a line that says something good or bad: not by colour alone, which not everybody sees. */
  readonly marks: Readonly<Record<"good" | "warning" | "bad", string>>;
}

/** A place for text. */
export interface Page {
  readonly style: Style;
  readonly columns: number;
}

/** What decides whether there are colours. */
interface TerminalFacts {
  readonly isTerminal: boolean;
  /** NO_COLOR is set (https://no-color.org). */
  readonly noColor: boolean;
  /** TERM; a `dumb` one knows no codes. */
  readonly term: string | undefined;
}

/** The widest help there is; lines of text read badly beyond it. */
const COLUMNS_MAX = 80;

/** A code of `paint`; in parentheses, so that `split` keeps it. */
// deno-lint-ignore no-control-regex
const COLOUR_CODE = /(\x1b\[[0-9]+m)/;

const COLOR_CHOICES = ["auto", "always", "never"] as const;

/** The option that every command has. */
export const COLOR: OptionSpec = {
  flag: "color",
  value: COLOR_CHOICES.join("|"),
  default: "auto",
  summary: "use colours (auto: on a terminal)",
};

const MARKS: Style["marks"] = { good: "✔", warning: "!", bad: "✖" };
/** For terminals of another encoding; of the same width, so that lines stay in columns. */
const ASCII_MARKS: Style["marks"] = { good: "+", warning: "!", bad: "X" };

/** Text as it is. */
export const PLAIN: Style = makeStyle(false);
/** Text in colours. */
export const COLOURED: Style = makeStyle(true);
/** Where nothing is known of the terminal, or there is none. */
export const PLAIN_PAGE: Page = { style: PLAIN, columns: COLUMNS_MAX };

function makeStyle(hasColours: boolean): Style {
  const paint = (code: number): Paint => (text) => hasColours && text !== "" ? `\x1b[${code}m${text}\x1b[0m` : text;
  const paints = { heading: paint(1), name: paint(36), faint: paint(2), good: paint(32), warning: paint(33), bad: paint(31) };
  return { hasColours, ...paints, marks: MARKS };
}

/** The page with marks that the locale has: the first of its variables that is set counts (locale(7)). */
export function inLocale(page: Page, env: (name: string) => string | undefined): Page {
  const locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(env).find((value) => value !== undefined && value !== "");
  return /utf-?8/i.test(locale ?? "") ? page : { ...page, style: { ...page.style, marks: ASCII_MARKS } };
}

/** Throws a `usage` error for a value that `--color` does not have. */
export function requireColorChoice(text: string): void {
  parseChoice(text, { what: "color choice", choices: COLOR_CHOICES, help: "balancerctl" });
}

/** Whether text gets colours. */
export function wantsColours(choice: typeof COLOR_CHOICES[number], { isTerminal, noColor, term }: TerminalFacts): boolean {
  return choice === "always" || choice === "auto" && isTerminal && !noColor && term !== "dumb";
}

/**
 * The page of standard output or standard error. Reads `--color` by itself, because errors of the command line have colours, too;
 * `parseCommandLine` reports a bad value.
 */
export function pageOf(stream: { isTerminal(): boolean }, argv: readonly string[]): Page {
  const choice = COLOR_CHOICES.find((choice) => choice === givenColor(argv)) ?? "auto";
  const isTerminal = stream.isTerminal();
  const term = isTerminal ? Deno.env.get("TERM") : undefined;
  const style = wantsColours(choice, { isTerminal, noColor: Deno.noColor, term }) ? COLOURED : PLAIN;
  return { style, columns: isTerminal ? columnsUpTo(Deno.consoleSize().columns) : COLUMNS_MAX };
}

/** A terminal that does not know its width says 0. */
function columnsUpTo(columns: number): number {
  return columns === 0 ? COLUMNS_MAX : Math.min(columns, COLUMNS_MAX);
}

function givenColor(argv: readonly string[]): string | undefined {
  const words = argv.slice(0, argv.includes("--") ? argv.indexOf("--") : undefined);
  const given = words.flatMap((word, i) => {
    if (word === `--${COLOR.flag}`) return words.slice(i + 1, i + 2);
    return word.startsWith(`--${COLOR.flag}=`) ? [word.slice(COLOR.flag.length + 3)] : [];
  });
  return given.at(-1);
}

/** The text with its control characters shown, but for the codes of a style that has colours. */
export function printableOn({ style }: Page, text: string): string {
  if (!style.hasColours) return printable(text);
  return text.split(COLOUR_CODE).map((part, i) => i % 2 === 0 ? printable(part) : part).join("");
}
