/** The report as Markdown and as JSON, and the short table that goes into the README. Pure: it is given all that it says. */

import deno from "../../deno.json" with { type: "json" };
import { COMPARISONS, CONTENDER_NAMES, CONTENDERS, pairHeading, RIVALS } from "./contenders.ts";
import { METRIC_NAMES, type MetricName, METRICS } from "./metrics.ts";
import type { Absence, Slice } from "./rounds.ts";
import type { Spread } from "./statistics.ts";
import { chiefRatio, notesOf, ratioOf, type Spreads, summarize, type WorkloadSummary } from "./summary.ts";
import { type Pace, type WorkloadName, WORKLOADS } from "./workloads.ts";

/** The machine and the programs that ran on it. */
export interface Machine {
  readonly cores: number;
  readonly cpu: string;
  readonly kernel: string;
  readonly congestionControl: string;
  readonly openFiles: number;
  /** Versions by the program's name. */
  readonly versions: Readonly<Record<string, string>>;
}

/** A run of the benchmark. */
export interface Run {
  readonly date: string;
  readonly machine: Machine;
  readonly pace: Pace;
  /** What the order of turns was made of. */
  readonly seed: number;
  readonly slices: readonly Slice[];
  readonly absences: readonly Absence[];
  /** Texts by the names of files. */
  readonly configurations: Readonly<Record<string, string>>;
}

/** A column of the short table: a heading, and the figure of a workload. */
type ShortColumn = readonly [heading: string, cell: (summary: WorkloadSummary) => string];

/** The columns of the short table. A column of ratios that no workload has is left out. */
const SHORT_COLUMNS: readonly ShortColumn[] = [
  ["Workload", ({ name }) => name],
  ["Compared", ({ name }) => METRICS[WORKLOADS[name].chief].heading(WORKLOADS[name].unit)],
  ...COMPARISONS.filter(({ isShort }) => isShort).map((pair): ShortColumn => [
    pairHeading(pair),
    (summary) => formatRatio(chiefRatio(summary, pair.of, pair.against)),
  ]),
  // What a proxy saves it may cost the kernel, the client and the server.
  ["Whole system's CPU, epoll / HAProxy", (summary) => formatRatio(ratioOf(summary, "systemCpuSeconds", "epoll", "haproxy"))],
  // Little CPU per unit is no merit in a proxy that waits.
  ["Throughput, epoll / HAProxy", (summary) => formatRatio(ratioOf(summary, "throughput", "epoll", "haproxy"))],
];

/** What stands where there is no ratio. */
const NO_RATIO = "–";

/** In these columns of tables stand texts and not figures. */
const TEXT_COLUMNS = ["Workload", "Compared", "Contender", "Ratio of", "Program", "Version"];

/** All that was measured, for programs: raw slices, the figures made of them, machine and configurations. */
export function reportJson(run: Run): string {
  const workloads = summarize(run.slices).map((summary) => {
    const { summary: about, unit, workers, chief } = WORKLOADS[summary.name];
    return { ...summary, about, unit, workers, chief };
  });
  return `${JSON.stringify({ format: 1, ...run, notes: notesOf(run.slices, run.absences), workloads }, null, 2)}\n`;
}

/** All that was measured, for people. */
export function reportMarkdown(run: Run): string {
  const summaries = summarize(run.slices);
  const sections = [
    `# The benchmark of ${run.date}`,
    methodOf(run),
    versionsTable(run),
    `## In short`,
    shortTable(run),
    notesSection(run),
    ...summaries.map(workloadSection),
    `## Configurations`,
    `Ports 8080 (the contender) and 8000 (the server behind it) stand for those of the run.`,
    ...Object.entries(run.configurations).map(([name, text]) => `### ${name}\n\n\`\`\`text\n${text.trimEnd()}\n\`\`\``),
  ];
  return `${sections.filter((section) => section !== "").join("\n\n")}\n`;
}

/** The short table with a line about where it comes from. */
export function shortTable(run: Run): string {
  const summaries = summarize(run.slices);
  const columns = SHORT_COLUMNS.filter(([, cell]) => summaries.some((summary) => cell(summary) !== NO_RATIO));
  const rows = summaries.map((summary) => columns.map(([, cell]) => cell(summary)));
  const { versions } = run.machine;
  const rivals = RIVALS.filter((name) => versions[name] !== undefined);
  const against = rivals.map((name) => `${CONTENDERS[name].title} ${versions[name]}`).join(" and ");
  const from = `Below 1 is less than the other needs, and for throughput less than it moves. ${describeMachine(run)}${
    against === "" ? "" : `; ${against}`
  }.`;
  return `${markdownTable(columns.map(([heading]) => heading), rows)}\n\n${filled(from)}`;
}

/** The text with `table` between the marks `bench` and `end bench`; undefined if it has no such marks. */
export function withBench(text: string, table: string): string | undefined {
  const marks = /(<!-- bench -->)[^]*?(<!-- end bench -->)/;
  return marks.test(text) ? text.replace(marks, (_, start, end) => `${start}\n\n${table}\n\n${end}`) : undefined;
}

/** A Markdown table in the form that `deno fmt` gives it. */
export function markdownTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const escaped = [heading, ...rows].map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = heading.map((_, i) => Math.max(3, ...escaped.map((row) => row[i].length)));
  const isText = heading.map((cell) => TEXT_COLUMNS.includes(cell));
  const pad = (cell: string, i: number) => isText[i] ? cell.padEnd(widths[i]) : cell.padStart(widths[i]);
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const rule = widths.map((width, i) => isText[i] ? "-".repeat(width) : `${"-".repeat(width - 1)}:`);
  const [first, ...others] = escaped.map((row) => line(row.map(pad)));
  return [first, line(rule), ...others].join("\n");
}

/** The words in lines as long as `deno fmt` makes them; the second and later ones begin with the indent. */
export function filled(text: string, indent = ""): string {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const longer = `${lines.at(-1)} ${word}`;
    if (lines.length > 0 && longer.length <= deno.fmt.lineWidth) lines[lines.length - 1] = longer;
    else lines.push(lines.length === 0 ? word : indent + word);
  }
  return lines.join("\n");
}

/** A ratio with its quartiles: `0.92 (0.90–0.95)`. A single one has no quartiles. */
export function formatRatio(ratio: Spread | undefined): string {
  if (ratio === undefined) return NO_RATIO;
  const median = ratio.median.toFixed(2);
  return ratio.count === 1 ? median : `${median} (${ratio.low.toFixed(2)}–${ratio.high.toFixed(2)})`;
}

function methodOf({ pace, ...run }: Run): string {
  const text = `${describeMachine({ pace, ...run })}. All over loopback, with clients, contenders and servers on the same cores.

In each of ${count(pace.rounds, "round")} every contender has a turn of ${count(pace.sliceSeconds, "second")}, one after the other
in an order that is shuffled for each round (--seed ${run.seed}). ${rareContenders()} Each turn has new processes of the
contender and of the server behind it, which are warmed up before they are measured. A ratio is that of two turns in the same
round. The tables show the median of the ratios with the quartiles around it, and the median of absolute figures. A turn with
socket errors, with refused requests or with missing bytes has no figure.

CPU and context switches, voluntary or not, are those of all threads and child processes of the contender. The whole system's are
those of the kernel, the client and the server as well; its CPU is counted in hundredths of a second. TCP segments are all that the
machine sent: those of both connections, to the proxy and on to the server, in both directions, pure acknowledgements included.

"again" is a second process of the product: "epoll / again" differs from 1 by noise alone, and so may every other ratio. "floor"
is the least that an epoll proxy can do: a C program that makes the same system calls and has no timers, counters, limits or
policy. "before" is the version that --against names: "epoll / before" below 1 is a gain.`;
  return text.split("\n\n").map((paragraph) => filled(paragraph)).join("\n\n");
}

/** Who does not have a turn in every round, a sentence each. */
function rareContenders(): string {
  return CONTENDER_NAMES.flatMap((name) => {
    const { short, onceIn } = CONTENDERS[name];
    return onceIn === undefined ? [] : [`"${short}" has one in the first of every ${onceIn} rounds.`];
  }).join(" ");
}

function describeMachine({ machine, date, pace }: Run): string {
  const { cores, cpu, kernel } = machine;
  const rounds = `${count(pace.rounds, "round")} of ${pace.sliceSeconds} s`;
  return `${date}, ${cpu}, ${count(cores, "core")}, Linux ${kernel}, ${rounds}`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function versionsTable({ machine: { versions, congestionControl, openFiles } }: Run): string {
  const table = markdownTable(["Program", "Version"], Object.entries(versions).map((row) => [...row]));
  return `${table}\n\nTCP congestion control: ${congestionControl}. Limit on open files: ${openFiles}.`;
}

function notesSection({ slices, absences }: Run): string {
  return notesOf(slices, absences).map((note) => filled(`- ${note}`, "  ")).join("\n");
}

function workloadSection({ name, absolutes, comparisons }: WorkloadSummary): string {
  const medians = absolutes.map(({ contender, spreads }) => ({ label: CONTENDERS[contender].title, spreads }));
  const ratios = comparisons.map(({ of, against, ratios }) => ({ label: pairHeading({ of, against }), spreads: ratios }));
  return [
    `## ${name}`,
    filled(`${WORKLOADS[name].summary}.`),
    metricsTable(
      name,
      "Contender",
      medians,
      (metric, spread) => spread === undefined ? "–" : METRICS[metric].format(spread.median),
    ),
    ratios.length === 0 ? "" : metricsTable(name, "Ratio of", ratios, (_, spread) => formatRatio(spread)),
  ].filter((part) => part !== "").join("\n\n");
}

/** A table with a column for each metric that any row has. */
function metricsTable(
  name: WorkloadName,
  corner: string,
  rows: readonly { label: string; spreads: Spreads }[],
  cell: (metric: MetricName, spread: Spread | undefined) => string,
): string {
  const metrics = METRIC_NAMES.filter((metric) => rows.some(({ spreads }) => metric in spreads));
  const heading = metrics.map((metric) => METRICS[metric].heading(WORKLOADS[name].unit));
  const cells = rows.map(({ label, spreads }) => [label, ...metrics.map((metric) => cell(metric, spreads[metric]))]);
  return markdownTable([corner, ...heading], cells);
}

/** One line about a slice, for whoever waits. */
export function describeSlice({ workload, contender, round, figures, error }: Slice, rounds: number): string {
  const { unit } = WORKLOADS[workload];
  const all = METRIC_NAMES.filter((metric) =>
    ["throughput", "cpuSeconds", "p50Seconds", "residentKb", "idleCpuPercent"].includes(metric)
  );
  const said = all.flatMap((metric) => {
    const value = figures?.[metric];
    return value === undefined ? [] : [`${METRICS[metric].heading(unit)} ${METRICS[metric].format(value)}`];
  });
  return `${workload.padEnd(14)} ${round}/${rounds} ${contender.padEnd(8)} ${error ?? said.join(", ")}`;
}

/** One line about who is not there. */
export function describeAbsence({ workload, contender, reason }: Absence): string {
  return `${workload}: ${contender === undefined ? "not measured" : `${contender} is left out`}: ${reason}`;
}
