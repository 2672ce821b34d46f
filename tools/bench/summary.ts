/** From slices to what is reported: medians of each contender, and medians of the ratios of two contenders, paired by round. */

import { COMPARISONS, type ContenderName, CONTENDERS, type Pair } from "./contenders.ts";
import { METRIC_NAMES, type MetricName, METRICS } from "./metrics.ts";
import type { Absence, Slice } from "./rounds.ts";
import { pairedRatios, type Spread, spreadOf } from "./statistics.ts";
import { contendersOf, WORKLOAD_NAMES, type WorkloadName, WORKLOADS } from "./workloads.ts";

/** Spreads of the metrics that there are figures of. */
export type Spreads = { readonly [Name in MetricName]?: Spread };

/** A row of ratios. */
export interface Comparison extends Pair {
  readonly ratios: Spreads;
}

/** All that is said about a workload. */
export interface WorkloadSummary {
  readonly name: WorkloadName;
  readonly absolutes: readonly { readonly contender: ContenderName; readonly spreads: Spreads }[];
  readonly comparisons: readonly Comparison[];
}

/** Summaries of the workloads that have figures, in order. */
export function summarize(slices: readonly Slice[]): WorkloadSummary[] {
  return WORKLOAD_NAMES.map((name) => summarizeOne(name, slices.filter(({ workload }) => workload === name)))
    .filter(({ absolutes }) => absolutes.length > 0);
}

/** The ratio of two contenders in what the workload is chiefly about. */
export function chiefRatio(summary: WorkloadSummary, of: ContenderName, against: ContenderName): Spread | undefined {
  return ratioOf(summary, WORKLOADS[summary.name].chief, of, against);
}

/** The ratio of two contenders in a metric. */
export function ratioOf(
  { comparisons }: WorkloadSummary,
  metric: MetricName,
  of: ContenderName,
  against: ContenderName,
): Spread | undefined {
  return comparisons.find((row) => row.of === of && row.against === against)?.ratios[metric];
}

/** What did not go as it should, a sentence each; the same trouble in several places is told once. */
export function notesOf(slices: readonly Slice[], absences: readonly Absence[]): string[] {
  const places = new Map<string, Set<string>>();
  const tell = (sentence: string, place: string) => places.set(sentence, new Set([...places.get(sentence) ?? [], place]));
  for (const { workload, contender, reason } of absences) {
    tell(contender === undefined ? `Not measured: ${reason}` : `${CONTENDERS[contender].title} is left out: ${reason}`, workload);
  }
  for (const { workload, contender, round, error } of slices) {
    if (error !== undefined) tell(`${CONTENDERS[contender].title} has no figure: ${error}`, `${workload} round ${round}`);
  }
  return [...places].map(([sentence, where]) => `${sentence} (${[...where].join(", ")})`);
}

function summarizeOne(name: WorkloadName, slices: readonly Slice[]): WorkloadSummary {
  const absolutes = contendersOf(name).map((contender) => ({ contender, spreads: absolutesOf(slices, contender) }));
  const comparisons = COMPARISONS.map(({ of, against }) => ({ of, against, ratios: ratiosOf(slices, of, against) }));
  return {
    name,
    absolutes: absolutes.filter(({ spreads }) => Object.keys(spreads).length > 0),
    comparisons: comparisons.filter(({ ratios }) => Object.keys(ratios).length > 0),
  };
}

function absolutesOf(slices: readonly Slice[], contender: ContenderName): Spreads {
  return spreads((metric) => spreadOf([...byRound(slices, contender, metric).values()]));
}

function ratiosOf(slices: readonly Slice[], of: ContenderName, against: ContenderName): Spreads {
  return spreads((metric) => {
    if (!METRICS[metric].compared) return undefined;
    return spreadOf(pairedRatios(byRound(slices, of, metric), byRound(slices, against, metric)));
  });
}

function spreads(spreadOfMetric: (metric: MetricName) => Spread | undefined): Spreads {
  const entries = METRIC_NAMES.map((metric) => [metric, spreadOfMetric(metric)] as const);
  return Object.fromEntries(entries.filter(([, spread]) => spread !== undefined));
}

/** One contender's values of one metric by round. */
function byRound(slices: readonly Slice[], contender: ContenderName, metric: MetricName): Map<number, number> {
  const own = slices.filter((slice) => slice.contender === contender);
  return new Map(own.flatMap(({ round, figures }) => {
    const value = figures?.[metric];
    return value === undefined ? [] : [[round, value]];
  }));
}
