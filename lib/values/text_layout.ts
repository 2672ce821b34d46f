/** Text in a font of one width, laid out in lines and columns. Escape codes that set colours take no room. */

/** A code that sets a colour or a weight (SGR of ECMA-48). */
// deno-lint-ignore no-control-regex
const SGR = /\x1b\[[0-9;]*m/g;

/** Which side of its column a cell stands on. */
export type Side = "left" | "right";

/** Columns that a text takes on a terminal. */
export function widthOf(text: string): number {
  return text.replace(SGR, "").length;
}

/** The text with spaces around it, so that it takes `width` columns. */
export function pad(text: string, width: number, side: Side = "left"): string {
  const spaces = " ".repeat(Math.max(0, width - widthOf(text)));
  return side === "left" ? text + spaces : spaces + text;
}

/** The text in lines of at most `columns`, broken at spaces. A longer word has a line of its own. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line !== undefined && widthOf(line) + 1 + widthOf(word) <= columns) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** Rows as lines whose cells line up, two spaces apart. `sides` says where the cells of each column stand; left if it does not. */
export function alignColumns(rows: readonly (readonly string[])[], sides: readonly Side[] = []): string[] {
  const widths: number[] = [];
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, widthOf(cell));
  return rows.map((row) => row.map((cell, i) => pad(cell, widths[i], sides[i])).join("  ").trimEnd());
}

/** Lines, each with `columns` spaces before it. */
export function indent(lines: readonly string[], columns = 2): string[] {
  return lines.map((line) => " ".repeat(columns) + line);
}
