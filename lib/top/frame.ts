/**
 * A frame: what is known and what a person has chosen to see, as lines of a terminal of any size. No line is wider than the
 * terminal, and there are no more lines than it has rows. Pure.
 */

import { plural } from "../values/count.ts";
import { CUT_FATES, TURNED_AWAY_FATES } from "../observe/verdict.ts";
import { cutLine, fillLine, type Line, line, lineWidth, type Role, safe, type Span, span, widthOf, wrapText } from "./cells.ts";
import { ageText, bytesText, clockText, countText, rateText } from "./figures.ts";
import { bulletBar, type Glyphs, greatest, sparkline, stateSpan } from "./glyphs.ts";
import { bodyLines } from "./layout.ts";
import type { Moment, PoolRow } from "./moment.ts";
import type { Size } from "./screen.ts";
import { KEYS, type Question, type View } from "./view.ts";

/** What does not come from the daemon or the view. */
export interface FrameSetting {
  readonly glyphs: Glyphs;
  readonly size: Size;
  /** The time of the frame. */
  readonly nowMs: number;
  /** Why there is nothing new, as a sentence, and since when; undefined while there is. */
  readonly lost: { readonly sinceMs: number; readonly why: string } | undefined;
  readonly mayWrite: boolean;
  /** Whether somebody watches who has keys. */
  readonly isLive: boolean;
}

/** The smallest terminal that is of use. */
export const SIZE_MIN: Size = { columns: 40, rows: 10 };

/** How many rows the verdict may have. */
const VERDICT_ROWS_MAX = 5;
/** From this width on the line of totals has room for more. */
const ROOMY = 100;
/** A sparkline of totals is not full at its greatest value: a steady one is to look like one, too. */
const HEADROOM = 1.25;
/** How many rows a question may have. */
const FOOTER_ROWS_MAX = 3;

/** The frame. `rows` are the pool's rows as the view sorts and filters them. */
export function composeFrame(moment: Moment, rows: readonly PoolRow[], view: View, setting: FrameSetting): Line[] {
  const { size, glyphs } = setting;
  if (size.columns < SIZE_MIN.columns || size.rows < SIZE_MIN.rows) return tooSmall(size, glyphs);
  const head = [headline(moment, setting), ...verdictLines(moment, view, setting), totalsLine(moment, setting)];
  const foot = setting.isLive ? footer(view, moment.status.services.length > 1, setting) : [];
  const bodySize = { columns: size.columns, rows: size.rows - head.length - foot.length };
  const body = view.isHelp
    ? helpLines(setting)
    : bodyLines(moment, rows, view, { glyphs, nowMs: setting.nowMs, size: bodySize, isLive: setting.isLive });
  const filler = Array.from({ length: Math.max(0, bodySize.rows - body.length) }, () => line());
  const all = [...head, ...body.slice(0, bodySize.rows), ...filler, ...foot];
  return all.map((one) => cutLine(one, size.columns, glyphs.cut));
}

/** How many rows of the pool a page has, for the keys that turn pages. */
export function pageOf({ rows }: Size): number {
  return Math.max(1, rows - 10);
}

function tooSmall({ columns, rows }: Size, glyphs: Glyphs): Line[] {
  const times = glyphs.isAscii ? "x" : "×";
  const text = `Too small: ${columns}${times}${rows}; top needs ${SIZE_MIN.columns}${times}${SIZE_MIN.rows}`;
  return wrapText(text, columns, rows, "").slice(0, rows).map((words) => line(span(words)));
}

/** Which balancer this is, and what time it is. */
function headline({ status, only }: Moment, { glyphs, size, nowMs }: FrameSetting): Line {
  const services = status.services.filter(({ removing }) => !removing);
  const one = services.length === 1 ? services[0] : services.find(({ service }) => service === only);
  const listeners = one?.listeners.map(({ listener }) => listener) ?? [];
  const where = listeners.length > 1 ? `${listeners[0]} +${listeners.length - 1}` : listeners[0] ?? "";
  const parts = [
    one === undefined ? plural(services.length, "service") : `${one.service === status.name ? "" : `${one.service} `}${where}`,
    `up ${ageText(nowMs - Date.parse(status.startedAt))}`,
    status.engine,
    `generation ${status.generation}`,
  ];
  const time = `${clockText(nowMs, nowMs)} UTC `;
  const room = size.columns - time.length;
  let text = "";
  const name = ` balancer ${safe(status.name, glyphs.isAscii)}`;
  for (const part of parts) {
    const more = ` ${glyphs.dot} ${safe(part, glyphs.isAscii)}`;
    if (widthOf(name + text + more) < room) text += more;
  }
  return line(...fillLine(line(span(name, "strong"), span(text)), room, glyphs.cut).spans, span(time));
}

/** The verdict; where the daemon is lost that comes first, and the verdict is what was true then. */
function verdictLines({ verdict, atMs }: Moment, view: View, { glyphs, size, lost, nowMs }: FrameSetting): Line[] {
  const rowsMax = Math.max(1, Math.min(VERDICT_ROWS_MAX, Math.floor(size.rows / 4)));
  const sentence = (text: string, role: "good" | "warning" | "bad", rows: number) => {
    const [first, ...more] = wrapText(safe(text, glyphs.isAscii), size.columns - 4, rows, glyphs.cut);
    return [
      line(span(` ${glyphs.levels[role]} `, role), span(first, role === "good" ? "plain" : role)),
      ...more.map((rest) => line(span("   "), span(rest, role === "good" ? "plain" : role))),
    ];
  };
  if (lost !== undefined) {
    const text = `No news since ${clockText(lost.sinceMs, nowMs)}: ${lost.why}; trying again`;
    return [...sentence(text, "bad", 2), line(span(`   Then: ${safe(verdict.sentence, glyphs.isAscii)}`, "faint"))];
  }
  const paused = view.isPaused ? [line(span(` Paused at ${clockText(atMs, nowMs)}: p goes on`, "warning"))] : [];
  return [...paused, ...sentence(verdict.sentence, verdict.level, rowsMax)];
}

/** The whole balancer in a line: figures, each with its last minute. What has no room is left out from the right. */
function totalsLine({ status, window }: Moment, { glyphs, size }: FrameSetting): Line {
  const accepted = window.minute(({ accepted }) => accepted);
  const open = window.minute(({ open }) => open);
  const moved = window.flowsFrom(window.endS - 60).reduce((sum, { count }) => sum + count, 0);
  const fates = (names: readonly string[]) =>
    names.reduce((sum, name) => sum + sumOf(window.minute(({ fates }) => fates[name])), 0);
  const [reset, refused] = [fates(CUT_FATES), fates(TURNED_AWAY_FATES)];
  const cells = size.columns < ROOMY ? 8 : 12;
  const spark = (values: readonly number[]) => span(` ${sparkline(values, cells, HEADROOM * greatest(values), glyphs)}`, "accent");
  const rate = (values: readonly number[]) => (values.at(-1) ?? 0) / window.step;
  const counted = (name: string, count: number, role: Role) => [
    span(`${name} `, "faint"),
    span(countText(count), count > 0 ? role : "plain"),
  ];
  const parts = [
    [span("Open ", "faint"), span(countText(status.connections.open), "strong"), spark(open)],
    ...(status.connections.waiting === 0 ? [] : [counted("waiting", status.connections.waiting, "warning")]),
    [span("new ", "faint"), span(`${rateText(rate(accepted))}/s`, "strong"), spark(accepted)],
    ...(size.columns < ROOMY ? [] : [[span("1 min:", "faint")]]),
    counted("moved", moved, "warning"),
    counted("reset", reset, "bad"),
    counted("refused", refused, "bad"),
    [span("sent ", "faint"), span(`${bytesText(rate(window.serversMinute("sentBytes")))}B/s`)],
    [span("received ", "faint"), span(`${bytesText(rate(window.serversMinute("receivedBytes")))}B/s`)],
  ];
  let shown = line(span(" "));
  for (const part of parts) {
    const gap = lineWidth(shown) > 1 ? [span("  ")] : [];
    const next = line(...shown.spans, ...gap, ...part);
    if (lineWidth(next) <= size.columns) shown = next;
  }
  return shown;
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** The last lines: a question, a filter that is typed, what the last key led to; else the keys. */
function footer(view: View, hasServices: boolean, { glyphs, size, mayWrite }: FrameSetting): Line[] {
  if (view.question !== undefined) {
    const lines = wrapText(
      safe(questionText(view.question, hasServices), glyphs.isAscii),
      size.columns - 2,
      FOOTER_ROWS_MAX,
      glyphs.cut,
    );
    return lines.map((text) => line(span(` ${text}`, "warning")));
  }
  const filter = safe(view.filter, glyphs.isAscii);
  if (view.isTyping) {
    return [line(span(` /${filter}`, "strong"), span(glyphs.barFull), span("  Enter keeps it, Esc ends it", "faint"))];
  }
  if (view.notice !== undefined) return [line(span(` ${safe(view.notice, glyphs.isAscii)}`, "warning"))];
  const only = filter === "" ? [] : [span(` only /${filter} (Esc)`, "warning")];
  return [line(...only, ...keySpans(view, mayWrite, size.columns - lineWidth(line(...only))))];
}

function questionText({ server, service, draining, effect }: Question, hasServices: boolean): string {
  const whose = hasServices ? ` of ${service}` : "";
  if (!draining) return `Put ${server}${whose} back into service? y or n`;
  return `Drain ${server}${whose}?${effect === undefined ? "" : ` ${effect}.`} y or n`;
}

/** As many keys as fit; the first to stay are those that lead on. */
function keySpans(view: View, mayWrite: boolean, columns: number): Span[] {
  const all = KEYS.filter(({ name, shown }) => shown !== undefined && (name !== "d" || mayWrite))
    .map(({ name, shown }) => ({ name, text: name === "s" ? `${shown}: ${sortedBy(view)}` : shown! }));
  let left = columns;
  const taken = new Set<string>();
  for (const { name, text } of all.toSorted((one, other) => rankOfKey(one.name) - rankOfKey(other.name))) {
    const width = name.length + text.length + 3;
    if (width > left) continue;
    left -= width;
    taken.add(name);
  }
  return all.filter(({ name }) => taken.has(name)).flatMap((
    { name, text },
  ) => [span(` ${name}`, "strong"), span(` ${text} `, "faint")]);
}

function rankOfKey(name: string): number {
  const rank = ["?", "q", "d"].indexOf(name);
  return rank < 0 ? Infinity : rank;
}

function sortedBy({ pane, sort, connectionSort }: View): string {
  return pane === "connections" ? connectionSort : sort;
}

/** The keys, and what the signs mean. */
function helpLines({ glyphs, mayWrite, size }: FrameSetting): Line[] {
  const states = Object.entries(glyphs.states).flatMap(([state]) => [stateSpan(state, glyphs), span(` ${state}   `)]);
  return [
    line(),
    ...KEYS.map(({ name, help }) => line(span(`  ${name.padEnd(8)}`, "strong"), span(help))),
    line(),
    line(span("  "), ...states),
    line(
      span("  LOAD    ", "strong"),
      ...bulletBar(8, { scale: 16, bound: 10, cells: 10, glyphs }),
      span(`  open connections; the middle is fair, ${glyphs.tick} is the load bound`),
    ),
    line(
      span("  1 MIN   ", "strong"),
      span(sparkline(Array.from({ length: 60 }, (_, i) => i), 10, 60, glyphs), "accent"),
      span("  the last minute of the column before it"),
    ),
    line(span("  MOVED   ", "strong"), span("connections that came (+) and left (-) in the last minute; FAIL: failures")),
    line(span(mayWrite ? "  Servers may be drained here (--write)" : "  Read-only: --write lets d drain servers", "faint")),
    line(span("  Any key leads back", "faint")),
  ].slice(0, size.rows);
}
