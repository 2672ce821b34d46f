/**
 * Text in cells of a terminal: spans of text with a role each, made printable, measured and cut to a width. A character takes one
 * cell or two; one of which terminals disagree is not let through.
 */

import { printableIn } from "../values/printable.ts";

/** What a text is, which decides its colour. */
export type Role = "plain" | "faint" | "strong" | "good" | "warning" | "bad" | "accent";

/** A text in one role. */
export interface Span {
  readonly text: string;
  readonly role: Role;
}

/** A line from left to right. */
export interface Line {
  readonly spans: readonly Span[];
  /** Whether it is shown in reverse, over the whole width. */
  readonly isSelected?: boolean;
  /** Whether its text goes on in the next line. */
  readonly goesOn?: boolean;
}

/** Scripts whose letters take two cells (East Asian Width W and F, of Unicode 16), without pictures. */
const WIDE = new RegExp(
  "[\\u2e80-\\u303e\\u3041-\\u33ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\ua000-\\ua4cf\\uac00-\\ud7a3" +
    "\\uf900-\\ufaff\\ufe30-\\ufe6f\\uff01-\\uff60\\uffe0-\\uffe6\\u{20000}-\\u{3fffd}]",
  "u",
);
/** Marks that stand above others, invisible signs, halves of pairs, what no character is, and letters that join. */
const UNSAFE = /[\p{M}\p{C}\p{Zl}\p{Zp}\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]/u;
const PICTURE = /\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}/u;
/** What the program draws by itself; these are pictures for Unicode, and one cell for terminals. */
const OWN_PICTURES = "↔↕▪▫◀▶";
/** Spaces other than the plain one differ in width. */
const SPACE = /\s/u;
const ASCII_ONLY = /^[ -~]*$/;
const UNKNOWN = "?";

/** A span. */
export function span(text: string, role: Role = "plain"): Span {
  return { text, role };
}

/** A line of spans. */
export function line(...spans: readonly Span[]): Line {
  return { spans };
}

/**
 * Text from elsewhere with each character taking the cells that `widthOf` says: control characters as `\x1b`, others of which
 * terminals disagree (pictures, joined marks, signs of direction) as `?`. `isAscii`: everything beyond ASCII as well.
 */
export function safe(text: string, isAscii: boolean): string {
  if (ASCII_ONLY.test(text)) return text;
  const escaped = printableIn(text);
  return Array.from(escaped, (character) => isAscii && character > "~" ? UNKNOWN : safeCharacter(character)).join("");
}

function safeCharacter(character: string): string {
  if (character <= "~") return character;
  if (SPACE.test(character)) return " ";
  return UNSAFE.test(character) || PICTURE.test(character) && !OWN_PICTURES.includes(character) ? UNKNOWN : character;
}

/** Cells that a safe text takes. */
export function widthOf(text: string): number {
  if (ASCII_ONLY.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += cellsOf(character);
  return width;
}

function cellsOf(character: string): number {
  return WIDE.test(character) ? 2 : 1;
}

/** Cells that a line takes. */
export function lineWidth({ spans }: Line): number {
  return spans.reduce((sum, { text }) => sum + widthOf(text), 0);
}

/** The longest beginning of a text that takes at most `cells`. */
function beginning(text: string, cells: number): string {
  if (ASCII_ONLY.test(text)) return text.slice(0, cells);
  let [taken, width] = ["", 0];
  for (const character of text) {
    width += cellsOf(character);
    if (width > cells) break;
    taken += character;
  }
  return taken;
}

/** A text of at most `cells`; one that is cut ends in `mark`, a character of one cell. */
export function cut(text: string, cells: number, mark: string): string {
  if (widthOf(text) <= cells) return text;
  return cells <= 0 ? "" : beginning(text, cells - 1) + mark;
}

/** A text that takes exactly `cells`, cut or with spaces on its other side. */
export function column(text: string, cells: number, mark: string, side: "left" | "right" = "left"): string {
  const shown = cut(text, cells, mark);
  const spaces = " ".repeat(Math.max(0, cells - widthOf(shown)));
  return side === "left" ? shown + spaces : spaces + shown;
}

/** The line cut to `cells`. */
export function cutLine({ spans, ...rest }: Line, cells: number, mark: string): Line {
  const shown: Span[] = [];
  let left = cells;
  for (const { text, role } of spans) {
    const width = widthOf(text);
    if (width > left) {
      shown.push({ text: cut(text, left, mark), role });
      break;
    }
    shown.push({ text, role });
    left -= width;
  }
  return { spans: shown, ...rest };
}

/** The line with spaces behind it, so that it takes exactly `cells`. */
export function fillLine(given: Line, cells: number, mark: string): Line {
  const shown = cutLine(given, cells, mark);
  const missing = cells - lineWidth(shown);
  return missing > 0 ? { ...shown, spans: [...shown.spans, span(" ".repeat(missing))] } : shown;
}

/** The text in lines of at most `cells`, broken at spaces; a longer word is broken anywhere. The last of `linesMax` is cut. */
export function wrapText(text: string, cells: number, linesMax: number, mark: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && widthOf(last) + 1 + widthOf(word) <= cells) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(...pieces(word, cells));
  }
  if (lines.length <= linesMax) return lines;
  return [...lines.slice(0, linesMax - 1), cut(lines.slice(linesMax - 1).join(" "), cells, mark)];
}

function pieces(word: string, cells: number): string[] {
  const parts: string[] = [];
  for (let rest = word; rest !== "";) {
    const part = beginning(rest, cells);
    if (part === "") return parts; // not one character fits
    parts.push(part);
    rest = rest.slice(part.length);
  }
  return parts.length === 0 ? [""] : parts;
}
