/** Which panes stand where, and how many rows each gets. Pure. */

import { plural } from "../values/count.ts";
import { cutLine, fillLine, type Line, line, safe, span } from "./cells.ts";
import type { Glyphs } from "./glyphs.ts";
import { connectionLines, connectionsTitle, eventLines, flowLines, type ListSetting } from "./list_panes.ts";
import type { Moment, PoolRow } from "./moment.ts";
import { mostOf, poolTable, serverDetail } from "./pool_pane.ts";
import type { Size } from "./screen.ts";
import { type Pane, PANES, selectedIndex, type View } from "./view.ts";

/** The place that the panes have together. */
export interface LayoutSetting {
  readonly glyphs: Glyphs;
  readonly nowMs: number;
  readonly size: Size;
  /** Whether a server can be selected. */
  readonly isLive: boolean;
}

/** A pane: what its title says, how many rows it wants below that, and its lines for the rows that it gets. */
interface Panel {
  readonly title: string;
  readonly wanted: number;
  readonly lines: (rows: number) => Line[];
}

/** All that panes are made of. */
interface Material {
  readonly moment: Moment;
  readonly rows: readonly PoolRow[];
  readonly view: View;
  readonly setting: LayoutSetting;
}

/** From this width on flows and events stand side by side. */
const SIDE_BY_SIDE = 120;
/** The least rows of a pane with its title; the pool's least. */
const PANE_LEAST = 3;
const POOL_LEAST = 5;
/** The part of all rows that the pool gets before the others. */
const POOL_PART = 0.5;
/** How many lines an event may take where events have a pane to themselves, and where they share the screen. */
const EVENT_LINES_ALONE = 6;
const EVENT_LINES_SHARED = 2;

/** Every pane, and how it is made for so many columns. */
const PANELS: Readonly<Record<Exclude<Pane, "overview">, (material: Material, columns: number) => Panel>> = {
  pool: poolPanel,
  flows: ({ moment, view, setting }, columns) => {
    const lines = flowLines(moment, listSetting(moment, view, setting, columns));
    return listPanel("Flows between servers, last minute", lines, "nothing moved", view, setting.glyphs);
  },
  events: ({ moment, view, setting }, columns) => {
    const linesMax = view.pane === "events" ? EVENT_LINES_ALONE : EVENT_LINES_SHARED;
    const lines = eventLines(moment, listSetting(moment, view, setting, columns), linesMax);
    return listPanel("Events, newest first", lines, "nothing happened in the last 15 minutes", view, setting.glyphs);
  },
  connections: ({ moment, view, setting }, columns) => {
    const [head, ...lines] = connectionLines(moment, listSetting(moment, view, setting, columns));
    const title = `Connections${moment.connections === null ? "" : `: ${connectionsTitle(moment)}, by ${view.connectionSort}`}`;
    const nothing = moment.connections === null
      ? `4 lists the ${plural(moment.status.connections.open, "open one")}`
      : "none is open";
    const panel = listPanel(title, lines, nothing, view, setting.glyphs);
    if (head === undefined || lines.length === 0) return panel;
    return { ...panel, wanted: panel.wanted + 1, lines: (rows) => [head, ...panel.lines(rows - 1)] };
  },
};

/** The panes that the view shows, in the place they have. */
export function bodyLines(moment: Moment, rows: readonly PoolRow[], view: View, setting: LayoutSetting): Line[] {
  const material = { moment, rows, view, setting };
  const { size } = setting;
  if (view.pane === "overview") return overview(material);
  return titled(view.pane, PANELS[view.pane](material, size.columns), size.rows, size.columns, setting.glyphs);
}

/** All panes. On a wide terminal flows stand beside events. */
function overview(material: Material): Line[] {
  const { size: { columns, rows }, glyphs } = material.setting;
  const isWide = columns >= SIDE_BY_SIDE;
  const half = Math.floor((columns - 1) / 2);
  const widths = {
    pool: columns,
    flows: isWide ? half : columns,
    events: isWide ? columns - half - 1 : columns,
    connections: columns,
  };
  const panel = (pane: keyof typeof PANELS) => PANELS[pane](material, widths[pane]);
  const [pool, flows, events, connections] = [panel("pool"), panel("flows"), panel("events"), panel("connections")];
  const linesOf = (pane: keyof typeof PANELS, panel: Panel, given: number) => titled(pane, panel, given, widths[pane], glyphs);
  if (!isWide) {
    const given = shareRows(rows, [pool, flows, events, connections].map(({ wanted }) => wanted + 1));
    return [
      ...linesOf("pool", pool, given[0]),
      ...linesOf("flows", flows, given[1]),
      ...linesOf("events", events, given[2]),
      ...linesOf("connections", connections, given[3]),
    ];
  }
  const given = shareRows(
    rows,
    [pool.wanted, Math.max(flows.wanted, events.wanted), connections.wanted].map((wanted) => wanted + 1),
  );
  const [left, right] = [linesOf("flows", flows, given[1]), linesOf("events", events, given[1])];
  const beside = Array.from({ length: Math.max(left.length, right.length) }, (_, i) => {
    const { spans } = fillLine(left[i] ?? line(), half, glyphs.cut);
    return line(...spans, span(" "), ...(right[i] ?? line()).spans);
  });
  return [...linesOf("pool", pool, given[0]), ...beside, ...linesOf("connections", connections, given[2])];
}

/**
 * How many of `rows` each pane gets, the pool first. Each gets its least or nothing; then each in turn gets what it wants, so that
 * only the last ones are short.
 */
export function shareRows(rows: number, wants: readonly number[]): number[] {
  const given = wants.map(() => 0);
  let left = rows;
  const give = (pane: number, upTo: number) => {
    const more = Math.max(0, Math.min(left, Math.min(wants[pane], upTo) - given[pane]));
    given[pane] += more;
    left -= more;
  };
  give(0, Math.max(POOL_LEAST, Math.floor(POOL_PART * rows)));
  for (let pane = 1; pane < wants.length; pane++) if (left >= Math.min(PANE_LEAST, wants[pane])) give(pane, PANE_LEAST + 1);
  for (let pane = 0; pane < wants.length; pane++) if (given[pane] > 0) give(pane, Infinity);
  return given;
}

function titled(pane: Pane, { title, lines }: Panel, rows: number, columns: number, glyphs: Glyphs): Line[] {
  if (rows <= 0) return [];
  const text = ` ${PANES.indexOf(pane)} ${title} `;
  const rule = glyphs.rule.repeat(Math.max(0, columns - text.length - 1));
  const head = line(span(glyphs.rule, "faint"), span(text, "strong"), span(rule, "faint"));
  return [head, ...ending(lines(rows - 1).slice(0, rows - 1), glyphs)].map((one) => cutLine(one, columns, glyphs.cut));
}

/** Lines whose last one says so if its text goes on below, where there is no room. */
function ending(lines: readonly Line[], { cut }: Glyphs): Line[] {
  return lines.map((one, i) => i === lines.length - 1 && one.goesOn === true ? line(...one.spans, span(` ${cut}`)) : one);
}

function listSetting({ status }: Moment, { filter }: View, { glyphs, nowMs }: LayoutSetting, columns: number): ListSetting {
  return { glyphs, nowMs, columns, filter, hasServices: status.services.length > 1 };
}

/** A pane of lines that may be scrolled where it is alone. */
function listPanel(
  title: string,
  lines: readonly Line[],
  nothing: string,
  { offset, pane, filter }: View,
  { isAscii }: Glyphs,
): Panel {
  const isAlone = pane !== "overview" && pane !== "pool";
  const first = (rows: number) => isAlone ? Math.max(0, Math.min(offset, lines.length - rows)) : 0;
  const text = filter === "" ? nothing : `nothing contains ${filter}`;
  return {
    title,
    wanted: Math.max(1, lines.length),
    lines: (rows) =>
      lines.length === 0 ? [line(span(` ${safe(text, isAscii)}`, "faint"))] : lines.slice(first(rows), first(rows) + rows),
  };
}

/** The pool's table; the selected server is always in sight, and what there is to say of it stands below. */
function poolPanel({ moment, rows, view, setting: { glyphs, nowMs, isLive } }: Material, columns: number): Panel {
  const setting = { glyphs, nowMs, columns, hasServices: moment.status.services.length > 1, most: mostOf(rows) };
  const selected = selectedIndex(view, rows);
  const of = moment.pools.reduce((sum, { servers }) => sum + servers.length, 0);
  const count = rows.length === of ? plural(of, "server") : `${rows.length} of ${plural(of, "server")}`;
  const more = moment.servicesLeftOut === 0 ? "" : `, ${plural(moment.servicesLeftOut, "service")} left out (--service)`;
  const title = `Pool: ${count} by ${view.sort}${more}`;
  if (rows.length === 0) {
    const why = view.filter === "" ? "no servers: balancerctl add <inet_address> <inet_port>" : `no server contains ${view.filter}`;
    return { title, wanted: 1, lines: () => [line(span(` ${safe(why, glyphs.isAscii)}`, "faint"))] };
  }
  return {
    title,
    wanted: rows.length + 2,
    lines: (height) => {
      const shown = Math.max(1, Math.min(rows.length, height - 2));
      const first = Math.max(0, Math.min(selected - Math.floor(shown / 2), rows.length - shown));
      const table = poolTable(rows, rows.slice(first, first + shown), isLive ? rows[selected].key : undefined, setting);
      return [...table, serverDetail(rows[selected], setting)];
    },
  };
}
