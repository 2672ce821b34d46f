/** The panes below the pool: flows between servers, events, connections; each as lines, the most important first. Pure. */

import { plural } from "../control/printing.ts";
import type { Answers } from "../control/api.ts";
import { column, type Line, line, type Role, safe, type Span, span, wrapText } from "./cells.ts";
import { ageText, bytesText, clockText, countText, NOTHING } from "./figures.ts";
import type { Glyphs } from "./glyphs.ts";
import { matches, type Moment } from "./moment.ts";
import { MINUTE_S, type TimedFlow } from "./window.ts";

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

/** A flow of the last minute: all connections that moved from one server to another. */
interface Flow {
  readonly service: string;
  readonly from: string | null;
  readonly to: string | null;
  count: number;
  readonly states: Map<string, number>;
}

/** Where connections moved in the last minute, the greatest flow first; then the fates that were nobody's wish. */
export function flowLines({ window }: Moment, setting: ListSetting): Line[] {
  const flows = gather(window.flowsFrom(window.endS - MINUTE_S))
    .filter(({ service, from, to }) => matches(setting.filter, service, from, to))
    .sort((one, other) => other.count - one.count || nameOf(one.from).localeCompare(nameOf(other.from)));
  const { glyphs } = setting;
  const text = (server: string | null) => safe(nameOf(server), glyphs.isAscii);
  const [from, to] = (["from", "to"] as const).map((end) => widest(flows.map((flow) => text(flow[end]))));
  const most = flows.reduce((most, { count }) => Math.max(most, count), 1);
  return flows.map((flow) => {
    const filled = Math.max(1, Math.round(flow.count / most * FLOW_BAR));
    return line(
      span(` ${column(countText(flow.count), 5, glyphs.cut, "right")} `, "strong"),
      span(column(text(flow.from), from, glyphs.cut)),
      span(` ${glyphs.arrow} `, "faint"),
      span(column(text(flow.to), to, glyphs.cut)),
      ...(setting.columns < FLOW_BAR_FROM
        ? []
        : [span(` ${glyphs.barFull.repeat(filled)}${" ".repeat(FLOW_BAR - filled)}`, "accent")]),
      span(` ${flow.states.entries().map(([state, count]) => `${countText(count)} ${state}`).toArray().join(", ")}`),
      ...(setting.hasServices ? [span(` (${flow.service})`, "faint")] : []),
    );
  });
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
  return [
    line(span(time, "faint"), span(`${sign} `, role), span(first, role)),
    ...more.map((rest) => line(span(" ".repeat(time.length + 2)), span(rest, role))),
  ];
}

/** Connections as a table with its head, in the order of the answer. */
export function connectionLines({ connections }: Moment, setting: ListSetting): Line[] {
  if (connections === null) return [];
  const { glyphs } = setting;
  const rows = connections.connections.filter(({ id, client, server, service, state }) =>
    matches(setting.filter, id, client, server, service, state)
  );
  const names = rows.map(({ client, server, id }) => [id, client, nameOf(server)].map((text) => safe(text, glyphs.isAscii)));
  const widths = ["ID", "CLIENT", "SERVER"].map((title, i) => Math.max(title.length, widest(names.map((row) => row[i]))));
  const cell = (text: string, width: number, side: "left" | "right" = "left"): Span =>
    span(` ${column(text, width, glyphs.cut, side)}`);
  const head = [
    ...["ID", "CLIENT", "SERVER"].map((title, i) => cell(title, widths[i])),
    cell("STATE", 10),
    ...["AGE", "IDLE", "SENT", "RECV", "MOVES"].map((title) => cell(title, 6, "right")),
  ];
  const lines = rows.map(({ state, ageMs, idleMs, sentBytes, receivedBytes, moves }, row) =>
    line(
      ...names[row].map((name, i) => cell(name, widths[i])),
      cell(safe(state, glyphs.isAscii), 10),
      ...[ageText(ageMs), ageText(idleMs), bytesText(sentBytes), bytesText(receivedBytes), moves === 0 ? NOTHING : countText(moves)]
        .map((text) => cell(text, 6, "right")),
    )
  );
  return [line(...head.map(({ text }) => span(text, "faint"))), ...lines];
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
