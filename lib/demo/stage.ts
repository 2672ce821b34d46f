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

/** A stage made of text. `terminal`: it can go back up, and people watch; `colours`: it can show them. */
export function textStage(write: (text: string) => void, terminal: boolean, colours: boolean): Stage {
  const paint = (code: string, text: string) => colours ? `${code}${text}${PLAIN}` : text;
  return {
    scene: (title) => write(`\n${paint(BOLD, title)}\n`),
    say: (line) => write(`  ${line}\n`),
    bars(counts, { isFirst, isLast }, note) {
      if (!terminal && !isLast) return;
      if (terminal && !isFirst) write(`\x1b[${counts.size}A`);
      for (const [i, [letter, count]] of [...counts].entries()) {
        const bar = paint(`\x1b[${COLOURS[i % COLOURS.length]}m`, (terminal ? "█" : "#").repeat(count));
        write(`${terminal ? "\x1b[2K" : ""}  ${letter}  ${bar} ${count} ${paint(FAINT, note(letter))}`.trimEnd() + "\n");
      }
    },
    pause: (ms) => terminal ? new Promise((resolve) => setTimeout(resolve, ms)) : Promise.resolve(),
  };
}
