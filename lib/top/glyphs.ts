/** The signs that `top` draws with: in Unicode, and in ASCII where the terminal has nothing else; and what is drawn with them. */

import { type Role, type Span, span } from "./cells.ts";

/** A set of signs, each of one cell. */
export interface Glyphs {
  readonly isAscii: boolean;
  /** From nothing to full. */
  readonly spark: readonly string[];
  readonly barFull: string;
  /** A part of a cell, from 1/8 to 7/8; empty if there are none. */
  readonly barParts: readonly string[];
  readonly barEmpty: string;
  /** The load bound. */
  readonly tick: string;
  readonly rule: string;
  readonly arrow: string;
  readonly cut: string;
  readonly dot: string;
  readonly levels: Readonly<Record<"good" | "warning" | "bad", string>>;
  /** By state of a server; others have `unknown`. */
  readonly states: Readonly<Record<string, string>>;
  readonly unknown: string;
}

/** Signs of Unicode that take one cell in every common terminal. */
export const UNICODE: Glyphs = {
  isAscii: false,
  spark: [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
  barFull: "█",
  barParts: ["▏", "▎", "▍", "▌", "▋", "▊", "▉"],
  barEmpty: "·",
  tick: "┃",
  rule: "─",
  arrow: "→",
  cut: "…",
  dot: "·",
  levels: { good: "●", warning: "▲", bad: "✗" },
  states: { up: "●", down: "✗", resting: "◐", draining: "▼", removing: "◌" },
  unknown: "?",
};

/** ASCII. */
export const ASCII: Glyphs = {
  isAscii: true,
  spark: [" ", "_", ".", ":", "-", "=", "+", "*", "#"],
  barFull: "#",
  barParts: [],
  barEmpty: ".",
  tick: "|",
  rule: "-",
  arrow: ">",
  cut: "~",
  dot: "-",
  levels: { good: "o", warning: "!", bad: "X" },
  states: { up: "o", down: "X", resting: "z", draining: "v", removing: "-" },
  unknown: "?",
};

/** Whether the terminal shows UTF-8, by the first of these variables that says anything (locale(7)). */
export function isUtf8({ LC_ALL, LC_CTYPE, LANG }: Readonly<Partial<Record<"LC_ALL" | "LC_CTYPE" | "LANG", string>>>): boolean {
  const locale = [LC_ALL, LC_CTYPE, LANG].find((value) => value !== undefined && value !== "");
  return locale !== undefined && /utf-?8/i.test(locale);
}

/** The roles of states: each also has a sign and a word, for those who see no colours. */
const STATE_ROLES: Readonly<Record<string, Role>> = {
  up: "good",
  down: "bad",
  resting: "warning",
  draining: "warning",
  removing: "warning",
};

/** The sign of a server's state. */
export function stateSpan(state: string, { states, unknown }: Glyphs): Span {
  return span(Object.hasOwn(states, state) ? states[state] : unknown, stateRole(state));
}

/** The role of a server's state. */
export function stateRole(state: string): Role {
  return Object.hasOwn(STATE_ROLES, state) ? STATE_ROLES[state] : "warning";
}

/**
 * Values of the last seconds as a sparkline of `cells`, the newest at the right; each cell is the mean of its seconds. `null`: not
 * there. `most` is the value of a full cell; what is more than nothing is at least the lowest sign.
 */
export function sparkline(values: readonly (number | null)[], cells: number, most: number, { spark }: Glyphs): string {
  const per = Math.max(1, Math.floor(values.length / cells));
  let text = "";
  for (let cell = 0; cell < cells; cell++) {
    const end = values.length - (cells - 1 - cell) * per;
    text += spark[levelOf(meanOf(values, end - per, end), most, spark.length - 1)];
  }
  return text;
}

function levelOf(value: number, most: number, levels: number): number {
  if (value <= 0 || most <= 0) return 0;
  return Math.max(1, Math.min(levels, Math.round(value / most * levels)));
}

function meanOf(values: readonly (number | null)[], from: number, to: number): number {
  let [sum, count] = [0, 0];
  for (let i = Math.max(0, from); i < to; i++) {
    sum += values[i] ?? 0;
    count += 1;
  }
  return count === 0 ? 0 : sum / count;
}

/** The greatest value; 0 if there is none. */
export function greatest(values: readonly (number | null)[]): number {
  return values.reduce<number>((most, value) => Math.max(most, value ?? 0), 0);
}

/**
 * A bar of `cells` for a value from 0 to `scale`, with a tick at the bound (undefined: none, or it is beyond the scale). The part
 * of the bar beyond the bound is a warning.
 */
export function bulletBar(
  value: number,
  { scale, bound, cells, glyphs }: { scale: number; bound: number | undefined; cells: number; glyphs: Glyphs },
): Span[] {
  const filled = scale > 0 ? Math.min(1, value / scale) * cells : 0;
  const tick = bound === undefined || scale <= 0 || bound > scale ? -1 : Math.min(cells - 1, Math.floor(bound / scale * cells));
  const isOver = bound !== undefined && value > bound;
  const spans: Span[] = [];
  const put = (text: string, role: Role) => {
    const last = spans.at(-1);
    if (last?.role === role) spans[spans.length - 1] = span(last.text + text, role);
    else spans.push(span(text, role));
  };
  for (let cell = 0; cell < cells; cell++) {
    const part = filled - cell;
    if (cell === tick) put(glyphs.tick, isOver ? "warning" : "strong");
    else if (part >= 1) put(glyphs.barFull, cell > tick && tick >= 0 ? "warning" : "accent");
    else if (part > 0 && partOf(part, glyphs) !== "") put(partOf(part, glyphs), "accent");
    else put(glyphs.barEmpty, "faint");
  }
  return spans;
}

function partOf(part: number, { barParts, barFull }: Glyphs): string {
  if (barParts.length === 0) return part >= 0.5 ? barFull : "";
  const eighths = Math.round(part * (barParts.length + 1));
  return eighths === 0 ? "" : eighths > barParts.length ? barFull : barParts[eighths - 1];
}
