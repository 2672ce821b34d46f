/** What the audience of the demo sees: sentences, and bars that grow on a terminal and stand still elsewhere. */

/** Where the demo shows what happens. */
export interface Stage {
  /** A new scene. */
  scene(title: string): void;
  /** A line about what happened. */
  say(line: string): void;
  /** A bar per server, with a note behind it. A terminal draws every frame over the one before; text has the last alone. */
  bars(counts: ReadonlyMap<string, number>, frame: Frame, note: (letter: string) => string): void;
  /** Time to look, on a terminal. */
  pause(ms: number): Promise<void>;
}

/** One of several drawings of the same bars. */
export interface Frame {
  readonly isFirst: boolean;
  readonly isLast: boolean;
}

const BOLD = "\x1b[1m";
const FAINT = "\x1b[2m";
const PLAIN = "\x1b[0m";
/** A colour of its own for each server (SGR 36, 33, …). */
const COLOURS = [36, 33, 35, 32, 34];

/** A stage that nobody watches, for `--json`. */
export const EMPTY_STAGE: Stage = { scene: () => {}, say: () => {}, bars: () => {}, pause: () => Promise.resolve() };

/** What a text stage is written to. A terminal can go back up, and people watch it. */
export interface TextMedium {
  readonly isTerminal: boolean;
  readonly hasColours: boolean;
  readonly columns: number;
}

/** Columns of a row that are not bar: the letter, a count, a note. */
const COLUMNS_BESIDE_BAR = 16;

/** A stage made of text. */
export function textStage(write: (text: string) => void, { isTerminal, hasColours, columns }: TextMedium): Stage {
  const paint = (code: string, text: string) => hasColours ? `${code}${text}${PLAIN}` : text;
  const room = Math.max(1, columns - COLUMNS_BESIDE_BAR);
  return {
    scene: (title) => write(`\n${paint(BOLD, title)}\n`),
    say: (line) => write(`  ${line}\n`),
    bars(counts, { isFirst, isLast }, note) {
      if (!isTerminal && !isLast) return;
      if (isTerminal && !isFirst) write(`\x1b[${counts.size}A`);
      const scale = Math.min(1, room / Math.max(1, ...counts.values()));
      for (const [i, [letter, count]] of [...counts].entries()) {
        const bar = paint(`\x1b[${COLOURS[i % COLOURS.length]}m`, (isTerminal ? "█" : "#").repeat(Math.round(count * scale)));
        write(`${isTerminal ? "\x1b[2K" : ""}  ${letter}  ${bar} ${count} ${paint(FAINT, note(letter))}`.trimEnd() + "\n");
      }
    },
    pause: (ms) => isTerminal ? new Promise((resolve) => setTimeout(resolve, ms)) : Promise.resolve(),
  };
}
