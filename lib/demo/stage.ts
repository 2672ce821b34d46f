/** What the demo shows: sentences, and bars, which are animated on a terminal. */

import { delay } from "@std/async";
import type { Style } from "../values/terminal.ts";

/** Where the demo shows what happens. */
export interface Stage {
  /** A new scene. */
  scene(title: string): void;
  /** A line about what happened. */
  say(line: string): void;
  /** A bar per server, followed by a note. A terminal draws every frame over the one before; elsewhere only the last is shown. */
  bars(counts: ReadonlyMap<string, number>, frame: Frame, note: (letter: string) => string): void;
  /** Time to look, on a terminal. */
  pause(ms: number): Promise<void>;
}

/** One of several drawings of the same bars. */
interface Frame {
  readonly isFirst: boolean;
  readonly isLast: boolean;
}

/** A colour for each server (SGR of ECMA-48). */
const COLOURS = [36, 33, 35, 32, 34];

/** A stage that shows nothing, for `--json`. */
export const EMPTY_STAGE: Stage = { scene: () => {}, say: () => {}, bars: () => {}, pause: () => Promise.resolve() };

/** What a text stage is written to. */
interface TextMedium {
  /** A terminal can move its cursor up, and a person watches it. */
  readonly isTerminal: boolean;
  readonly style: Style;
  readonly columns: number;
}

/** Columns of a row beside the bar: the letter, a count, a note. */
const COLUMNS_BESIDE_BAR = 16;

/** A stage made of text. */
export function textStage(write: (text: string) => void, { isTerminal, style, columns }: TextMedium): Stage {
  const room = Math.max(1, columns - COLUMNS_BESIDE_BAR);
  return {
    scene: (title) => write(`\n${style.heading(title)}\n`),
    say: (line) => write(`  ${line}\n`),
    bars(counts, { isFirst, isLast }, note) {
      if (!isTerminal && !isLast) return;
      if (isTerminal && !isFirst) write(`\x1b[${counts.size}A`);
      const scale = Math.min(1, room / Math.max(1, ...counts.values()));
      for (const [i, [letter, count]] of [...counts].entries()) {
        const plain = (isTerminal ? "█" : "#").repeat(Math.round(count * scale));
        const bar = style.hasColours ? `\x1b[${COLOURS[i % COLOURS.length]}m${plain}\x1b[0m` : plain;
        write(`${isTerminal ? "\x1b[2K" : ""}  ${letter}  ${bar} ${count} ${style.faint(note(letter))}`.trimEnd() + "\n");
      }
    },
    pause: (ms) => isTerminal ? delay(ms) : Promise.resolve(),
  };
}
