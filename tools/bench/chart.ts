/**
 * The chart: for each workload a bar for each proxy, whose length is what it needs relative to HAProxy. Plain SVG that brings its
 * own colours for light and dark pages and takes whatever sans-serif font is there.
 */

import { CONTENDER_NAMES, type ContenderName, CONTENDERS } from "./contenders.ts";
import { chiefRatio, type WorkloadSummary } from "./summary.ts";
import { contendersOf, WORKLOADS } from "./workloads.ts";

/** A contender that has a bar in each group, and the colours of its bars. */
interface Series {
  readonly contender: ContenderName;
  readonly label: string;
  readonly light: string;
  readonly dark: string;
}

/** The bars of a group, from the top. */
const SERIES: readonly Series[] = CONTENDER_NAMES.flatMap((contender) => {
  const { title: label, bar } = CONTENDERS[contender];
  return bar === undefined ? [] : [{ contender, label, ...bar }];
});

/** A bar that would be longer is cut here, and its figure says so. */
const RATIO_MAX = 2;

/** Sizes in pixels. */
const SIZE = { width: 760, margin: 16, left: 150, right: 60, top: 116, bar: 13, gap: 3, between: 20, bottom: 8 } as const;
const PLOT_WIDTH = SIZE.width - SIZE.left - SIZE.right;
/** From one entry of the legend to the next. */
const LEGEND_STEP = (SIZE.width - 2 * SIZE.margin) / SERIES.length;

/** Colours of what is not a bar. */
const INKS = {
  light: { back: "#ffffff", text: "#1f2328", soft: "#59636e", rule: "#d1d9e0", one: "#59636e" },
  dark: { back: "#0d1117", text: "#f0f6fc", soft: "#9198a1", rule: "#3d444d", one: "#9198a1" },
} as const;

/** The chart of all workloads that HAProxy has a figure in. */
export function chart(summaries: readonly WorkloadSummary[]): string {
  const groups = summaries.filter(hasHaproxy);
  const series = SERIES.filter(({ contender }) => groups.some((summary) => ratioOf(summary, contender) !== undefined));
  const rows = groups.map(({ name }) => series.filter(({ contender }) => contendersOf(name).includes(contender)));
  const heights = rows.map(({ length }) => length * (SIZE.bar + SIZE.gap) + SIZE.between);
  const topOf = (i: number) => SIZE.top + heights.slice(0, i).reduce((sum, one) => sum + one, 0);
  const height = topOf(groups.length) + SIZE.bottom;
  const { width, margin } = SIZE;
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escape(`What each proxy needs relative to HAProxy. ${groups.map(describe).join(" ")}`)}</title>`,
    `<style>${style()}</style>`,
    `<rect class="back" width="${width}" height="${height}" rx="6"/>`,
    text(margin, 28, "CPU time per unit of work, HAProxy = 1", "heading"),
    text(margin, 48, "Medians of paired rounds; for idle connections it is resident memory. Shorter is better.", "soft"),
    ...legend(series),
    ...axis(height),
    ...groups.flatMap((summary, i) => group(summary, rows[i], topOf(i))),
    "</svg>",
  ];
  return `${lines.join("\n")}\n`;
}

function hasHaproxy({ name, absolutes }: WorkloadSummary): boolean {
  return absolutes.some(({ contender, spreads }) => contender === "haproxy" && WORKLOADS[name].chief in spreads);
}

function ratioOf(summary: WorkloadSummary, contender: ContenderName): number | undefined {
  return contender === "haproxy" ? 1 : chiefRatio(summary, contender, "haproxy")?.median;
}

/** The bars of one workload, those of contenders that take part in it. */
function group(summary: WorkloadSummary, rows: readonly Series[], top: number): string[] {
  const workload = WORKLOADS[summary.name];
  const middle = top + rows.length * (SIZE.bar + SIZE.gap) / 2;
  return [
    text(SIZE.left - 12, middle - 2, summary.name, "name"),
    text(SIZE.left - 12, middle + 12, workload.chief === "residentKb" ? "memory" : `CPU per ${workload.unit}`, "unit"),
    ...rows.flatMap(({ contender }, i) => bar(contender, ratioOf(summary, contender), top + i * (SIZE.bar + SIZE.gap))),
  ];
}

function bar(contender: ContenderName, ratio: number | undefined, top: number): string[] {
  const baseline = top + SIZE.bar - 3;
  if (ratio === undefined) return [text(SIZE.left + 6, baseline, "no figure", "soft small")];
  const length = Math.max(1, Math.min(ratio, RATIO_MAX) / RATIO_MAX * PLOT_WIDTH);
  const end = SIZE.left + length;
  const rect = `<rect class="${contender}" x="${SIZE.left}" y="${top}" width="${length.toFixed(1)}" height="${SIZE.bar}"/>`;
  return [rect, ...ratio > RATIO_MAX ? [cut(end, top)] : [], text(end + 6, baseline, ratio.toFixed(2), "figure")];
}

/** Two slanting gaps near the end of a bar that goes on. */
function cut(end: number, top: number): string {
  const gap = (x: number) => `M${x.toFixed(1)} ${top + SIZE.bar + 1}l5 -${SIZE.bar + 2}h3l-5 ${SIZE.bar + 2}z`;
  return `<path class="back" d="${gap(end - 22)}${gap(end - 15)}"/>`;
}

function legend(series: readonly Series[]): string[] {
  return series.flatMap(({ contender, label }, i) => {
    const x = SIZE.margin + i * LEGEND_STEP;
    return [
      `<rect class="${contender}" x="${x}" y="66" width="${SIZE.bar}" height="${SIZE.bar}"/>`,
      text(x + 19, 77, label, "small"),
    ];
  });
}

/** Lines at 0, half, HAProxy's 1, and so on. */
function axis(height: number): string[] {
  return [0, 0.5, 1, 1.5, 2].flatMap((ratio) => {
    const x = SIZE.left + ratio / RATIO_MAX * PLOT_WIDTH;
    const line = `<path class="${ratio === 1 ? "one" : "rule"}" d="M${x} ${SIZE.top - 6}V${height - SIZE.bottom - 6}"/>`;
    return [line, text(x, SIZE.top - 11, String(ratio), "tick")];
  });
}

/** The group in words, for those who do not see it. */
function describe(summary: WorkloadSummary): string {
  const figures = SERIES.flatMap(({ contender, label }) => {
    const ratio = ratioOf(summary, contender);
    return ratio === undefined ? [] : [`${label} ${ratio.toFixed(2)}`];
  });
  return `${summary.name}: ${figures.join("; ")}.`;
}

function style(): string {
  const rules = (mode: "light" | "dark") => {
    const { back, text, soft, rule, one } = INKS[mode];
    const bars = SERIES.map((one) => `.${one.contender}{fill:${one[mode]}}`).join("");
    const inks = `.back{fill:${back}}text{fill:${text}}.soft,.unit,.tick{fill:${soft}}.rule{stroke:${rule}}.one{stroke:${one}}`;
    return `${inks}.figure{stroke:${back}}${bars}`; // with an edge in the background's colour a figure can stand on a line
  };
  const fonts = 'text{font:12px system-ui,-apple-system,"Segoe UI","Helvetica Neue",Arial,sans-serif}' +
    ".heading{font-size:15px;font-weight:600}.name{font-weight:600}.name,.unit{text-anchor:end}.tick{text-anchor:middle}" +
    ".small,.figure,.unit,.tick{font-size:11px}.one{stroke-dasharray:3 3}" +
    ".figure{paint-order:stroke;stroke-width:4px}";
  return `${fonts}${rules("light")}@media (prefers-color-scheme:dark){${rules("dark")}}`;
}

function text(x: number, y: number, said: string, kind: string): string {
  return `<text class="${kind}" x="${x.toFixed(1)}" y="${y.toFixed(1)}">${escape(said)}</text>`;
}

function escape(said: string): string {
  return said.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
