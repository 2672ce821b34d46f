/**
 * What a terminal shows after a program has written to it: text with control sequences becomes lines of styled cells. Knows the
 * sequences that this project's programs use (ECMA-48), and refuses others, so that no picture is wrong without notice.
 */

/** How a cell looks. `colour` is an index of the 16 ANSI colours; undefined is the terminal's own. */
export interface Style {
  readonly colour?: number;
  readonly isBold?: boolean;
  readonly isFaint?: boolean;
  readonly isItalic?: boolean;
  readonly isUnderlined?: boolean;
}

/** A character in its place. */
export interface Cell {
  readonly character: string;
  readonly style: Style;
}

/** A line of the screen; a hole is a blank. */
export type Line = readonly (Cell | undefined)[];

const PLAIN: Style = {};

/** Control sequences, operating-system commands (titles, links) and single characters, in this order. */
// deno-lint-ignore no-control-regex -- they are what is read
const TOKENS = /\x1b\[([?0-9;]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|(\x1b)|([^])/gu;

/** What each SGR parameter changes; 30 to 37 and 90 to 97 are colours. */
const SGR: Readonly<Record<number, Style>> = {
  1: { isBold: true },
  2: { isFaint: true },
  3: { isItalic: true },
  4: { isUnderlined: true },
  22: { isBold: false, isFaint: false },
  23: { isItalic: false },
  24: { isUnderlined: false },
  39: { colour: undefined },
};

/** The lines that a terminal of so many columns shows, all that scrolled out included, without empty ones at the end. Throws. */
export function screenOf(text: string, columns: number): Line[] {
  const screen = new Screen(columns);
  for (const [sequence, parameters, command, escape, character] of text.matchAll(TOKENS)) {
    if (escape !== undefined) throw new Error("The output has an escape sequence that no picture can show");
    if (command !== undefined) screen.obey(command, parameters, sequence);
    else if (character !== undefined) screen.put(character);
  }
  return screen.lines();
}

class Screen {
  readonly #lines: (Cell | undefined)[][] = [[]];
  #row = 0;
  #column = 0;
  #style = PLAIN;

  constructor(readonly columns: number) {}

  put(character: string): void {
    if (character === "\r") this.#column = 0;
    else if (character === "\n") this.#moveTo(this.#row + 1, 0);
    else {
      if (this.#column === this.columns) this.#moveTo(this.#row + 1, 0);
      this.#lines[this.#row][this.#column++] = { character, style: this.#style };
    }
  }

  obey(command: string, parameters: string, sequence: string): void {
    const count = Number(parameters) || 1;
    if (parameters.startsWith("?")) return; // private modes: the cursor hidden or shown, the whole frame at once
    if (command === "m") this.#style = parameters.split(";").map(Number).reduce(restyle, this.#style);
    else if (command === "A") this.#moveTo(Math.max(0, this.#row - count), this.#column);
    else if (command === "B") this.#moveTo(this.#row + count, this.#column);
    else if (command === "G") this.#moveTo(this.#row, count - 1);
    else if (command === "K") this.#erase(parameters, sequence);
    else throw new Error(`The output has a control sequence that no picture can show: ${JSON.stringify(sequence)}`);
  }

  lines(): Line[] {
    const last = this.#lines.findLastIndex((line) => line.some((cell) => cell !== undefined && cell.character !== " "));
    return this.#lines.slice(0, last + 1);
  }

  #erase(parameters: string, sequence: string): void {
    if (parameters === "2") this.#lines[this.#row] = [];
    else if (Number(parameters) === 0) this.#lines[this.#row].length = Math.min(this.#lines[this.#row].length, this.#column);
    else throw new Error(`The output has a control sequence that no picture can show: ${JSON.stringify(sequence)}`);
  }

  #moveTo(row: number, column: number): void {
    while (this.#lines.length <= row) this.#lines.push([]);
    [this.#row, this.#column] = [row, column];
  }
}

function restyle(style: Style, parameter: number): Style {
  if (parameter === 0) return PLAIN;
  if (parameter >= 30 && parameter <= 37) return { ...style, colour: parameter - 30 };
  if (parameter >= 90 && parameter <= 97) return { ...style, colour: parameter - 90 + 8 };
  const change = SGR[parameter];
  if (change === undefined) throw new Error(`The output has a style that no picture can show: SGR ${parameter}`);
  return { ...style, ...change };
}
