/** The panes below the pool: flows between servers, events, connections; each as lines, the most important first. Pure. */

import { plural } from "../values/count.ts";
import { CUT_FATES, TURNED_AWAY_FATES } from "../observe/verdict.ts";
import type { Answers } from "../control/api.ts";
import { column, type Line, line, type Role, safe, span, wrapText } from "./cells.ts";
import { ageText, bytesText, clockText, countText, NOTHING } from "./figures.ts";
import type { Glyphs } from "./glyphs.ts";
import { matches, type Moment } from "./moment.ts";
import { MINUTE_S, type TimedFlow, type Window } from "./window.ts";

/** What the panes need to draw. */
export interface ListSetting {
  readonly glyphs: Glyphs;
  readonly columns: number;
  readonly nowMs: number;
  readonly filter: string;
  readonly hasServices: boolean;
}

const FLOW_BAR = 12;
/** Narrower lists have no room for bars. */
const FLOW_BAR_FROM = 76;
const NAME_MAX = 40;
const CONNECTION_WIDTH_MIN = 5;

/** A flow of the last minute: all connections that moved from one server to another. */
interface Flow {
  readonly service: string;
  readonly from: string | null;
  readonly to: string | null;
  count: number;
  readonly states: Map<string, number>;
}

/** What was nobody's wish in the last minute, then where connections moved, the greatest flow first. */
export function flowLines({ window }: Moment, setting: ListSetting): Line[] {
  const flows = gather(window.flowsFrom(window.endS - MINUTE_S))
    .filter(({ service, from, to }) => matches(setting.filter, service, from, to))
    .sort((one, other) => other.count - one.count || nameOf(one.from).localeCompare(nameOf(other.from)));
  const widths = (["from", "to"] as const).map((end) => widest(flows.map((flow) => nameOf(flow[end]))));
  const most = flows.reduce((most, { count }) => Math.max(most, count), 1);
  return [...harmLines(window, setting), ...flows.map((flow) => flowLine(flow, most, widths, setting))];
}

/** The fates of connections that were cut and of clients that were turned away. */
function harmLines(window: Window, { glyphs }: ListSetting): Line[] {
  const counts = [...CUT_FATES, ...TURNED_AWAY_FATES].map((fate) => ({
    fate,
    count: window.minute(({ fates }) => fates[fate]).reduce((sum, count) => sum + count, 0),
  })).filter(({ count }) => count > 0);
  if (counts.length === 0) return [];
  const text = counts.map(({ fate, count }) => `${countText(count)} ${fate}`).join(", ");
  return [line(span(` ${glyphs.levels.bad} ended: `, "bad"), span(text, "bad"))];
}

function flowLine({ service, from, to, count, states }: Flow, most: number, widths: readonly number[], setting: ListSetting): Line {
  const { glyphs, columns, hasServices } = setting;
  const filled = Math.max(1, Math.round(count / most * FLOW_BAR));
  const name = (server: string | null, width: number) => span(column(safe(nameOf(server), glyphs.isAscii), width, glyphs.cut));
  return line(
    span(` ${column(countText(count), 5, glyphs.cut, "right")} `, "strong"),
    name(from, widths[0]),
    span(` ${glyphs.arrow} `, "faint"),
    name(to, widths[1]),
    ...(columns < FLOW_BAR_FROM ? [] : [span(` ${column(glyphs.barFull.repeat(filled), FLOW_BAR, glyphs.cut)}`, "accent")]),
    span(` ${states.entries().map(([state, count]) => `${countText(count)} ${state}`).toArray().join(", ")}`),
    ...(hasServices ? [span(` (${service})`, "faint")] : []),
  );
}

function gather(flows: readonly TimedFlow[]): Flow[] {
  const sums = new Map<string, Flow>();
  for (const { service, from, to, state, count } of flows) {
    const key = JSON.stringify([service, from, to]);
    const sum = sums.get(key) ?? { service, from, to, count: 0, states: new Map() };
    sum.count += count;
    sum.states.set(state, (sum.states.get(state) ?? 0) + count);
    sums.set(key, sum);
  }
  return [...sums.values()];
}

function nameOf(server: string | null): string {
  return server ?? "(no server)";
}

const EVENT_ROLES: Readonly<Record<string, Role>> = { info: "plain", warning: "warning", error: "bad" };
const EVENT_SIGNS: Readonly<Record<string, keyof Glyphs["levels"] | undefined>> = { warning: "warning", error: "bad" };

/** Events, the newest first; each in as many lines as it takes, at most `linesMax`. */
export function eventLines({ events }: Moment, setting: ListSetting, linesMax: number): Line[] {
  return events.filter(({ text, kind, server, service, who }) => matches(setting.filter, text, kind, server, service, who))
    .toReversed().flatMap((event) => oneEvent(event, setting, linesMax));
}

function oneEvent({ at, level, text, who }: Answers["events"]["events"][number], setting: ListSetting, linesMax: number): Line[] {
  const { glyphs, columns, nowMs } = setting;
  const time = ` ${clockText(Date.parse(at), nowMs)} `;
  const sign = EVENT_SIGNS[level] === undefined ? glyphs.dot : glyphs.levels[EVENT_SIGNS[level]];
  const role = Object.hasOwn(EVENT_ROLES, level) ? EVENT_ROLES[level] : "plain";
  const said = who === null || text.includes(who) ? text : `${text} (${who})`;
  const [first, ...more] = wrapText(safe(said, glyphs.isAscii), Math.max(1, columns - time.length - 2), linesMax, glyphs.cut);
  const lines = [
    line(span(time, "faint"), span(`${sign} `, role), span(first, role)),
    ...more.map((rest) => line(span(" ".repeat(time.length + 2)), span(rest, role))),
  ];
  return lines.map((one, i) => i < lines.length - 1 ? { ...one, goesOn: true } : one);
}

type Connection = Answers["connections"]["connections"][number];

/** Columns of connections, the first ones to stay where there is little room. */
const CONNECTION_COLUMNS: readonly { title: string; side: "left" | "right"; text: (connection: Connection) => string }[] = [
  { title: "CLIENT", side: "left", text: ({ client }) => client },
  { title: "SERVER", side: "left", text: ({ server }) => nameOf(server) },
  { title: "STATE", side: "left", text: ({ state }) => state },
  { title: "AGE", side: "right", text: ({ ageMs }) => ageText(ageMs) },
  { title: "IDLE", side: "right", text: ({ idleMs }) => ageText(idleMs) },
  { title: "SENT", side: "right", text: ({ sentBytes }) => bytesText(sentBytes) },
  { title: "RECV", side: "right", text: ({ receivedBytes }) => bytesText(receivedBytes) },
  { title: "MOVES", side: "right", text: ({ moves }) => moves === 0 ? NOTHING : countText(moves) },
  { title: "ID", side: "left", text: ({ id }) => id },
];

/** Connections as a table with its head, in the order of the answer; only the columns that fit. */
export function connectionLines({ connections }: Moment, { glyphs, columns, filter }: ListSetting): Line[] {
  if (connections === null) return [];
  const rows = connections.connections.filter(({ id, client, server, service, state }) =>
    matches(filter, id, client, server, service, state)
  );
  let left = columns;
  const fitting: { title: string; side: "left" | "right"; texts: string[]; width: number }[] = [];
  for (const { title, side, text } of CONNECTION_COLUMNS) {
    const texts = rows.map((row) => safe(text(row), glyphs.isAscii));
    const width = Math.max(title.length, CONNECTION_WIDTH_MIN, widest(texts));
    left -= width + 1;
    if (left < 0) break;
    fitting.push({ title, side, texts, width });
  }
  const lineOf = (text: (column: typeof fitting[number]) => string, role: Role) =>
    line(span(fitting.map((one) => ` ${column(text(one), one.width, glyphs.cut, one.side)}`).join(""), role));
  return [lineOf(({ title }) => title, "faint"), ...rows.map((_, row) => lineOf(({ texts }) => texts[row], "plain"))];
}

/** What the title of the connections' pane says. */
export function connectionsTitle({ connections }: Moment): string {
  if (connections === null) return "";
  const { total, connections: { length } } = connections;
  return length < total ? `${countText(length)} of ${plural(total, "connection")}` : plural(total, "connection");
}

function widest(texts: readonly string[]): number {
  return texts.reduce((width, text) => Math.max(width, Math.min(NAME_MAX, text.length)), 0);
}
