/** A picture of a terminal: text with control sequences becomes an SVG that looks the same with any font, on any page. */

import { type Line, screenOf, type Style } from "./screen.ts";

/** What is drawn. */
export interface Picture {
  /** What the program wrote. */
  readonly text: string;
  /** How wide its terminal was. */
  readonly columns: number;
  /** What a screen reader says. */
  readonly title: string;
}

/** Pixels. */
const CELL = { width: 8.4, height: 19 };
const FONT_SIZE = 14;
/** From the top of a line to the foot of its letters. */
const BASELINE = 14;
const MARGIN = 16;
/** A bar leaves room above and below, so that bars of neighbouring lines can be told apart. */
const BAR = { top: 3, height: 13 };

const BACKGROUND = "#0d1117";
const BORDER = "#30363d";
const FOREGROUND = "#e6edf3";
/** Black, red, green, yellow, blue, magenta, cyan, white; then the bright ones. */
const COLOURS = [
  ...["#6e7681", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#b1bac4"],
  ...["#8b949e", "#ffa198", "#56d364", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#ffffff"],
];

/** A block that fills its cell: drawn, because fonts leave gaps between two of them. */
const BLOCK = "█";

/** Neighbouring cells that look the same: text, or a bar of blocks. */
interface Run {
  readonly column: number;
  readonly text: string;
  readonly style: Style;
}

/** What stands before and behind the rows of a picture. */
export interface Frame {
  readonly head: string;
  readonly foot: string;
}

/** The picture as an SVG document. Throws for control sequences that it cannot show. */
export function drawTerminal({ text, columns, title }: Picture): string {
  const lines = screenOf(text, columns);
  const { head, foot } = frameOf({ columns, rows: lines.length, title });
  return [head, ...lines.map(drawRow).filter((drawn) => drawn !== ""), foot].join("\n");
}

/** The frame of a picture of a terminal with so many rows. */
export function frameOf({ columns, rows, title }: { readonly rows: number } & Omit<Picture, "text">): Frame {
  const [width, height] = [2 * MARGIN + columns * CELL.width, 2 * MARGIN + rows * CELL.height].map(Math.ceil);
  const fonts = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace";
  const head = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8" fill="${BACKGROUND}" stroke="${BORDER}"/>`,
    `<g font-family="${fonts}" font-size="${FONT_SIZE}" fill="${FOREGROUND}" xml:space="preserve">`,
  ];
  return { head: head.join("\n"), foot: `</g>\n</svg>\n` };
}

/** A row of the picture; "" if nothing is in it. */
export function drawRow(line: Line, row: number): string {
  return runsOf(line).map((run) => drawRun(run, MARGIN + row * CELL.height)).join("\n");
}

/** The visible runs of a line: blanks between them are not drawn. */
function runsOf(line: Line): Run[] {
  const runs: Run[] = [];
  for (let column = 0; column < line.length; column++) {
    const cell = line[column];
    if (cell === undefined || cell.character === " ") continue;
    const last = runs.at(-1);
    const gap = last === undefined ? Infinity : column - last.column - last.text.length;
    if (gap <= 1 && joins(last!, cell.character, cell.style)) {
      runs[runs.length - 1] = { ...last!, text: last!.text + " ".repeat(gap) + cell.character };
    } else runs.push({ column, text: cell.character, style: cell.style });
  }
  return runs;
}

function joins(run: Run, character: string, style: Style): boolean {
  return isBar(run) === (character === BLOCK) && JSON.stringify(run.style) === JSON.stringify(style);
}

function isBar({ text }: Run): boolean {
  return text.startsWith(BLOCK);
}

/** The text's length is given, so that columns stand under each other whatever the font. */
function drawRun(run: Run, top: number): string {
  const { column, text, style } = run;
  const x = rounded(MARGIN + column * CELL.width);
  const length = rounded(text.length * CELL.width);
  if (isBar(run)) return `<rect x="${x}" y="${top + BAR.top}" width="${length}" height="${BAR.height}"${looks(style)}/>`;
  const place = `x="${x}" y="${top + BASELINE}" textLength="${length}" lengthAdjust="spacingAndGlyphs"`;
  return `<text ${place}${looks(style)}>${escaped(text)}</text>`;
}

function looks({ colour, isBold, isFaint, isItalic, isUnderlined }: Style): string {
  return [
    colour === undefined ? "" : ` fill="${COLOURS[colour]}"`,
    isBold ? ` font-weight="bold"` : "",
    isFaint ? ` fill-opacity="0.65"` : "",
    isItalic ? ` font-style="italic"` : "",
    isUnderlined ? ` text-decoration="underline"` : "",
  ].join("");
}

function rounded(pixels: number): number {
  return Math.round(pixels * 10) / 10;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
