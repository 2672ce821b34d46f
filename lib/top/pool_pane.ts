/** The pool as a table: as many columns as fit, the most important ones first. Pure. */

import { column, type Line, line, safe, type Span, span } from "./cells.ts";
import { ageText, bytesText, clockText, countText, msText, NOTHING, rateText } from "./figures.ts";
import { bulletBar, type Glyphs, greatest, sparkline, stateRole, stateSpan } from "./glyphs.ts";
import { type PoolRow, scaleOf } from "./moment.ts";

/** What all rows share. */
export interface PoolSetting {
  readonly glyphs: Glyphs;
  readonly columns: number;
  readonly nowMs: number;
  readonly hasServices: boolean;
  /** The greatest values of a minute, for which a sparkline is full. */
  readonly most: { readonly open: number; readonly opened: number; readonly bytes: number };
}

/** A column: where it stands, how wide it is, and when it is left out. */
interface ColumnRow {
  readonly title: string;
  readonly side: "left" | "right";
  /** Columns of a lower number are left out last. */
  readonly order: number;
  readonly width: (rows: readonly PoolRow[], setting: PoolSetting) => number;
  readonly cells: (row: PoolRow, width: number, setting: PoolSetting) => Span[];
}

/** A column with the width that it has in a table. */
type FittedColumn = Omit<ColumnRow, "width"> & { width: number };

const SERVER_MIN = 12;
const SERVER_MAX = 40;
const SERVICE_MAX = 16;
const BAR = 10;
const BAR_WIDE = 16;
const SPARK = 10;
/** From this width on bars are wide and a minute is a cell per two seconds; below the other, sparklines are short. */
const WIDE = 150;
const NARROW = 70;
const SPARK_NARROW = 8;
/** What stands for a check that begins about now: what is known of it may be a few seconds old. */
const NOW = "now";
/** A server that is up again says for how long, until then. */
const NEWS_MS = 60_000;

/** Every column from left to right. */
const COLUMNS: readonly ColumnRow[] = [
  {
    title: "",
    side: "left",
    order: 0,
    width: () => 1,
    cells: ({ server }, _, { glyphs }) => [stateSpan(server.state, glyphs)],
  },
  {
    title: "SERVER",
    side: "left",
    order: 0,
    width: (rows) => within(SERVER_MIN, SERVER_MAX, rows.map(({ server }) => server.server.length)),
    cells: ({ server }, width, { glyphs }) => [span(column(safe(server.server, glyphs.isAscii), width, glyphs.cut), "strong")],
  },
  {
    title: "SERVICE",
    side: "left",
    order: 3,
    width: (rows, { hasServices }) => hasServices ? within(7, SERVICE_MAX, rows.map(({ service }) => service.length)) : 0,
    cells: ({ service }, width, { glyphs }) => [span(column(service, width, glyphs.cut))],
  },
  {
    title: "STATE",
    side: "left",
    order: 1,
    width: (rows, setting) => within(5, 15, rows.map((row) => stateText(row, setting).length)),
    cells: (row, width, setting) => {
      const text = stateText(row, setting);
      return [span(column(text, width, setting.glyphs.cut), text === "up" ? "plain" : stateRole(row.server.state))];
    },
  },
  {
    title: "LOAD",
    side: "left",
    order: 1,
    width: (_, { columns }) => barWidth(columns),
    cells: (row, width, { glyphs }) => bulletBar(row.open, { scale: scaleOf(row), bound: row.bound, cells: width, glyphs }),
  },
  {
    title: "OPEN",
    side: "right",
    order: 1,
    width: (rows) => within(5, 11, rows.map((row) => openText(row).length)),
    cells: (row, width, { glyphs }) => [span(column(openText(row), width, glyphs.cut, "right"), isFull(row) ? "warning" : "plain")],
  },
  {
    title: "1 MIN",
    side: "left",
    order: 2,
    width: (_, { columns }) => sparkWidth(columns),
    cells: (row, width, { glyphs, most }) => [span(sparkline(row.columns?.open ?? [], width, most.open, glyphs), "accent")],
  },
  figures("NEW/s", 2, ({ newRate }) => orNothing(newRate, rateText)),
  {
    title: "1 MIN",
    side: "left",
    order: 10,
    width: (_, { columns }) => sparkWidth(columns),
    cells: (row, width, { glyphs, most }) => [span(sparkline(row.columns?.opened ?? [], width, most.opened, glyphs), "accent")],
  },
  figures("SENT/s", 7, ({ sentRate }) => orNothing(sentRate, bytesText)),
  figures("RECV/s", 6, ({ receivedRate }) => orNothing(receivedRate, bytesText)),
  {
    title: "1 MIN",
    side: "left",
    order: 12,
    width: (_, { columns }) => sparkWidth(columns),
    cells: ({ columns }, width, { glyphs, most }) => [span(sparkline(bytesOf(columns), width, most.bytes, glyphs), "accent")],
  },
  figures("P99ms", 5, ({ connectP99Ms }) => orNothing(connectP99Ms, msText)),
  {
    title: "MOVED",
    side: "right",
    order: 4,
    width: (rows) => within(5, 11, rows.map((row) => movedText(row).length)),
    cells: (row, width, { glyphs }) => [
      span(
        column(movedText(row), width, glyphs.cut, "right"),
        row.movedAway > 0 ? "warning" : row.movedIn > 0 ? "accent" : "plain",
      ),
    ],
  },
  figures("FAIL", 3, ({ failures }) => countText(failures), ({ failures }) => failures > 0 ? "bad" : "plain"),
  {
    title: "CHECK",
    side: "right",
    order: 13,
    width: () => 5,
    cells: (row, width, { glyphs, nowMs }) => [span(column(nextCheckText(row, nowMs) ?? NOTHING, width, glyphs.cut, "right"))],
  },
  figures("SHARE", 9, ({ server }) => server.share === 0 ? NOTHING : `${(server.share * 100).toFixed(1)}%`),
  {
    title: "WHY",
    side: "left",
    order: 11,
    width: (rows) => rows.some(({ server }) => server.reason !== null) ? 20 : 0,
    cells: ({ server }, width, { glyphs }) => [
      span(column(safe(server.reason ?? "", glyphs.isAscii), width, glyphs.cut), stateRole(server.state)),
    ],
  },
];

/** A column of figures, right aligned, five cells wide. */
function figures(
  title: string,
  order: number,
  text: (row: PoolRow) => string,
  role: (row: PoolRow) => Span["role"] = () => "plain",
): ColumnRow {
  return {
    title,
    side: "right",
    order,
    width: () => Math.max(5, title.length),
    cells: (row, width, { glyphs }) => [span(column(text(row), width, glyphs.cut, "right"), role(row))],
  };
}

/** The head of the table and one line for each of `shown`; `rows` are all of them, which decide how wide columns are. */
export function poolTable(
  rows: readonly PoolRow[],
  shown: readonly PoolRow[],
  selected: string | undefined,
  setting: PoolSetting,
): Line[] {
  const fitting = fittingColumns(rows, setting);
  const head = fitting.flatMap(({ title, side, width }, i) => [
    span(`${i === 0 ? "" : " "}${column(title, width, "", side)}`, "faint"),
  ]);
  const lines = shown.map((row) => ({
    spans: fitting.flatMap(({ cells, width }, i) => [...(i === 0 ? [] : [span(" ")]), ...cells(row, width, setting)]),
    isSelected: row.key === selected,
  }));
  return [line(...head), ...lines];
}

/** What there is to say of one server, in a line: why it is in its state, and what the table may have no room for. */
export function serverDetail(row: PoolRow, { glyphs, nowMs }: PoolSetting): Line {
  const { server } = row;
  const why = server.reason === null ? "" : `: ${safe(server.reason, glyphs.isAscii)}`;
  const nextCheck = nextCheckText(row, nowMs);
  const failure = server.lastFailure === null || server.lastFailure.reason === server.reason ? null : server.lastFailure;
  const facts = [
    ...(failure === null
      ? []
      : [`last failure ${clockText(Date.parse(failure.at), nowMs)}: ${safe(failure.reason, glyphs.isAscii)}`]),
    ...(nextCheck === undefined ? [] : [`next check ${nextCheck === NOW ? "" : "in "}${nextCheck}`]),
    `share ${(server.share * 100).toFixed(1)}%`,
    ...(row.bound === undefined ? [] : [`bound ${countText(row.bound)}`]),
    ...(server.weight === 1 ? [] : [`weight ${server.weight}`]),
    ...(server.tier > 0 ? [`tier ${server.tier}`] : []),
  ];
  return line(
    span(` ${safe(server.server, glyphs.isAscii)}`, "strong"),
    span(` ${server.state} since ${clockText(Date.parse(server.since), nowMs)}${why}`, stateRole(server.state)),
    span(` ${glyphs.dot} ${facts.join(` ${glyphs.dot} `)}`, "faint"),
  );
}

/** The columns that fit, each with its width; what is left over widens the last one, if it is a text. */
function fittingColumns(rows: readonly PoolRow[], setting: PoolSetting): FittedColumn[] {
  const all = COLUMNS.map((spec) => ({ ...spec, width: spec.width(rows, setting) })).filter(({ width }) => width > 0);
  let left = setting.columns + 1;
  const taken = new Set<FittedColumn>();
  for (const spec of all.toSorted((one, other) => one.order - other.order)) {
    if (spec.width + 1 > left) break;
    left -= spec.width + 1;
    taken.add(spec);
  }
  const fitting = all.filter((spec) => taken.has(spec));
  const last = fitting.at(-1);
  if (last?.title === "WHY") last.width += left;
  return fitting;
}

function stateText({ server }: PoolRow, { nowMs }: PoolSetting): string {
  const ageMs = nowMs - Date.parse(server.since);
  return server.state === "up" && ageMs > NEWS_MS ? "up" : `${server.state} ${ageText(ageMs)}`;
}

/** Connections that moved here and away in the last minute: `+120 -4`. */
function movedText({ movedIn, movedAway }: PoolRow): string {
  const parts = [...(movedIn > 0 ? [`+${countText(movedIn)}`] : []), ...(movedAway > 0 ? [`-${countText(movedAway)}`] : [])];
  return parts.length === 0 ? "0" : parts.join(" ");
}

/** How long it is until the next check; undefined if there is none. */
function nextCheckText({ server: { nextCheckAt } }: PoolRow, nowMs: number): string | undefined {
  if (nextCheckAt === null) return undefined;
  const leftMs = Date.parse(nextCheckAt) - nowMs;
  return leftMs > 0 ? ageText(1000 * Math.ceil(leftMs / 1000)) : NOW;
}

function openText({ open, server: { connectionsMax } }: PoolRow): string {
  return connectionsMax === null ? countText(open) : `${countText(open)}/${countText(connectionsMax)}`;
}

function isFull({ open, server: { connectionsMax } }: PoolRow): boolean {
  return connectionsMax !== null && open >= connectionsMax;
}

function bytesOf(columns: PoolRow["columns"]): (number | null)[] {
  return columns === undefined ? [] : columns.sentBytes.map((sent, i) => (sent ?? 0) + (columns.receivedBytes[i] ?? 0));
}

/** The greatest values of the rows' last minute. */
export function mostOf(rows: readonly PoolRow[]): PoolSetting["most"] {
  const most = { open: 0, opened: 0, bytes: 0 };
  for (const { columns } of rows) {
    if (columns === undefined) continue;
    most.open = Math.max(most.open, greatest(columns.open));
    most.opened = Math.max(most.opened, greatest(columns.opened));
    most.bytes = Math.max(most.bytes, greatest(bytesOf(columns)));
  }
  return most;
}

function barWidth(columns: number): number {
  return columns >= WIDE ? BAR_WIDE : BAR;
}

function sparkWidth(columns: number): number {
  return columns >= WIDE ? 2 * SPARK : columns < NARROW ? SPARK_NARROW : SPARK;
}

function orNothing(value: number | null, text: (value: number) => string): string {
  return value === null ? NOTHING : text(value);
}

function within(least: number, most: number, widths: readonly number[]): number {
  return widths.reduce((width, one) => Math.max(width, Math.min(most, one)), least);
}
