/**
 * What a terminal is told: lines as text with codes of ECMA-48, and only those lines that have changed, as one update that the
 * terminal shows at once (DEC private mode 2026; terminals that do not know it ignore it). Pure: nothing is written here.
 */

import { fillLine, type Line, lineWidth, type Role } from "./cells.ts";

/** Codes of SGR by role, each by itself (`printableOn` knows no others). */
type Palette = Readonly<Record<Role, string>>;

/** Colours that people who confuse red and green tell apart; and each thing has a sign or a word, too. */
export const COLOURS: Palette = {
  plain: "",
  faint: sgr(2),
  strong: sgr(1),
  good: sgr(36),
  warning: sgr(33),
  bad: sgr(1, 31),
  accent: sgr(34),
};

/** Without colours (NO_COLOR) there still is bold and faint. */
export const NO_COLOURS: Palette = {
  plain: "",
  faint: sgr(2),
  strong: sgr(1),
  good: "",
  warning: sgr(1),
  bad: sgr(1),
  accent: "",
};

const CSI = "\x1b[";
const REVERSE = sgr(7);
const RESET = sgr(0);
/** Clears the rest of a row. */
const CLEAR = `${CSI}K`;

/** Enters the other screen, hides the cursor and lets no line run over into the next. */
export const ENTER = `${CSI}?1049h${CSI}?25l${CSI}?7l${CSI}2J`;
/** Undoes all of it, and ends an update that was cut off. */
export const LEAVE = `${CSI}?2026l${CSI}0m${CSI}?7h${CSI}?25h${CSI}?1049l`;

function sgr(...codes: readonly number[]): string {
  return codes.map((code) => `\x1b[${code}m`).join("");
}

/** A line as text without codes. */
export function plainText({ spans }: Line): string {
  return spans.map(({ text }) => text).join("").trimEnd();
}

/** A line with its codes; it ends in the terminal's own look. */
export function encode({ spans, isSelected = false }: Line, palette: Palette): string {
  let text = "";
  let current = "";
  for (const span of spans) {
    const codes = `${palette[span.role]}${isSelected ? REVERSE : ""}`;
    if (codes !== current) text += `${current === "" ? "" : RESET}${codes}`;
    current = codes;
    text += span.text;
  }
  return current === "" ? text : text + RESET;
}

/** A terminal's size in cells. */
export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** What a terminal shows, and what it must be told to show something else. */
export class Screen {
  #shown: string[] = [];
  #size: Size = { columns: 0, rows: 0 };

  constructor(readonly palette: Palette) {}

  /** The codes that make the terminal show these lines; "" if it does. Another size, or `forget`, has everything drawn anew. */
  update(lines: readonly Line[], size: Size): string {
    const isNew = size.columns !== this.#size.columns || size.rows !== this.#size.rows;
    const next = Array.from({ length: size.rows }, (_, row) => this.#encode(lines[row], size.columns));
    const changed = next.flatMap((text, row) => isNew || text !== this.#shown[row] ? [`${CSI}${row + 1};1H${text}`] : []);
    this.#shown = next;
    this.#size = size;
    return changed.length === 0 ? "" : `${CSI}?2026h${isNew ? `${CSI}0m${CSI}2J` : ""}${changed.join("")}${CSI}?2026l`;
  }

  /** The terminal may show anything now. */
  forget(): void {
    this.#size = { columns: 0, rows: 0 };
  }

  /**
   * A selected line is filled; the others end where their text ends, and the rest of the row is cleared. Not behind a full one: the
   * cursor then still stands on its last cell.
   */
  #encode(line: Line | undefined, columns: number): string {
    if (line === undefined) return CLEAR;
    const shown = line.isSelected ? fillLine(line, columns, "") : line;
    return encode(shown, this.palette) + (lineWidth(shown) < columns ? CLEAR : "");
  }
}
