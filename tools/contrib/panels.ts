/** Panels of a Grafana dashboard as data, and where they stand. Knows Grafana's JSON and no metric. */

/** Who answers the queries: whoever imports the dashboard chooses it. */
export const DATASOURCE = { type: "prometheus", uid: "${DS_PROMETHEUS}" } as const;

/** One query of a panel. */
export interface Query {
  readonly expr: string;
  /** The name of its series, with labels in double braces. */
  readonly legend?: string;
  readonly format?: "table" | "heatmap";
}

/** A panel without its place and number. */
export interface Panel {
  readonly type: "timeseries" | "stat" | "table" | "bargauge" | "heatmap";
  readonly title: string;
  readonly description: string;
  /** Of 24 columns. */
  readonly width: number;
  readonly height: number;
  readonly queries: readonly Query[];
  /** Grafana's name for the unit: `s`, `cps`, `Bps`, `percentunit`, `short`. */
  readonly unit?: string;
  /** From these values on it is yellow and red. */
  readonly thresholds?: readonly [yellow: number, red: number];
  readonly overrides?: readonly unknown[];
  readonly options?: Readonly<Record<string, unknown>>;
  readonly custom?: Readonly<Record<string, unknown>>;
  readonly transformations?: readonly unknown[];
}

/** A row with its panels; collapsed, it loads them when somebody opens it. */
export interface Row {
  readonly title: string;
  readonly collapsed: boolean;
  readonly panels: readonly Panel[];
}

const COLUMNS = 24;

/** The panels of these rows as Grafana has them: numbered, and placed from left to right and from top to bottom. */
export function layOut(rows: readonly Row[]): unknown[] {
  let id = 0;
  let y = 0;
  return rows.flatMap(({ title, collapsed, panels }) => {
    const row = { id: ++id, type: "row", title, collapsed, gridPos: { h: 1, w: COLUMNS, x: 0, y: y++ } };
    let [x, height] = [0, 0];
    const placed = panels.map((panel) => {
      if (x + panel.width > COLUMNS) [x, y, height] = [0, y + height, 0];
      const gridPos = { h: panel.height, w: panel.width, x, y };
      x += panel.width;
      height = Math.max(height, panel.height);
      return { id: ++id, ...render(panel), gridPos };
    });
    y += height;
    return collapsed ? [{ ...row, panels: placed }] : [{ ...row, panels: [] }, ...placed];
  });
}

function render(panel: Panel): Record<string, unknown> {
  const { type, title, description, queries, unit = "short", thresholds, overrides = [], options, custom = {} } = panel;
  const steps = [{ color: "green", value: null as number | null }];
  if (thresholds !== undefined) steps.push({ color: "yellow", value: thresholds[0] }, { color: "red", value: thresholds[1] });
  return {
    type,
    title,
    description,
    datasource: DATASOURCE,
    targets: queries.map(({ expr, legend = "", format }, i) => ({
      refId: String.fromCharCode(65 + i),
      datasource: DATASOURCE,
      editorMode: "code",
      expr,
      legendFormat: legend,
      range: format !== "table",
      instant: format === "table",
      format: format ?? "time_series",
    })),
    fieldConfig: {
      defaults: { unit, min: 0, thresholds: { mode: "absolute", steps }, custom, ...colorOf(type, thresholds) },
      overrides,
    },
    options: { ...OPTIONS[type], ...options },
    ...(panel.transformations === undefined ? {} : { transformations: panel.transformations }),
  };
}

function colorOf(type: Panel["type"], thresholds: Panel["thresholds"]): Record<string, unknown> {
  if (type === "timeseries") return { color: { mode: "palette-classic" } };
  return { color: thresholds === undefined ? { mode: "fixed", fixedColor: "text" } : { mode: "thresholds" } };
}

const LAST = { reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false } };

/** What Grafana's editor would set in each kind of panel. */
const OPTIONS: { readonly [Type in Panel["type"]]: Readonly<Record<string, unknown>> } = {
  timeseries: {
    legend: { displayMode: "table", placement: "bottom", showLegend: true, calcs: ["lastNotNull", "max"] },
    tooltip: { mode: "multi", sort: "desc" },
  },
  stat: { ...LAST, colorMode: "value", graphMode: "area", justifyMode: "auto", textMode: "auto", orientation: "auto" },
  bargauge: { ...LAST, displayMode: "basic", orientation: "horizontal", showUnfilled: true, valueMode: "color" },
  table: { showHeader: true, cellHeight: "sm", footer: { show: false } },
  heatmap: {
    calculate: false,
    color: { mode: "scheme", scheme: "Oranges", steps: 64 },
    cellGap: 1,
    yAxis: { unit: "s" },
    tooltip: { mode: "single", yHistogram: false },
    legend: { show: true },
  },
};
