/** The kinds of figures a slice may have: one row each, from which the columns of the reports are derived. */

import type { Usage } from "./measure.ts";

/** What one unit of work is, in the singular. */
export type Unit = "request" | "connection" | "GB" | "pair";

interface Metric {
  /** The heading of its column. */
  heading(unit: Unit): string;
  /** A figure with its unit of measurement. */
  format(value: number): string;
  /** False where a ratio of two contenders says nothing. */
  readonly compared: boolean;
}

/** Every metric, in the order of the columns. Times are in seconds, memory is in kB (1,024 bytes). */
export const METRICS = {
  cpuSeconds: { heading: (unit: Unit): string => `CPU per ${unit}`, format: formatSeconds, compared: true },
  systemCpuSeconds: { heading: (unit: Unit): string => `Whole system's CPU per ${unit}`, format: formatSeconds, compared: true },
  throughput: { heading: (unit: Unit): string => `${plural(unit)} per second`, format: formatNumber, compared: true },
  p50Seconds: { heading: (): string => "p50", format: formatSeconds, compared: true },
  p99Seconds: { heading: (): string => "p99", format: formatSeconds, compared: true },
  switches: { heading: (unit: Unit): string => `Context switches per ${unit}`, format: formatNumber, compared: true },
  systemSwitches: {
    heading: (unit: Unit): string => `Whole system's context switches per ${unit}`,
    format: formatNumber,
    compared: true,
  },
  segments: { heading: (unit: Unit): string => `TCP segments per ${unit}`, format: formatNumber, compared: true },
  residentKb: { heading: (unit: Unit): string => `Resident kB per ${unit}`, format: formatNumber, compared: true },
  idleCpuPercent: { heading: (): string => "CPU while idle, % of a core", format: formatNumber, compared: false },
} as const satisfies Record<string, Metric>;

/** A row of METRICS. */
export type MetricName = keyof typeof METRICS;

/** The figures of one slice; a workload has those that make sense for it. */
export type Figures = { readonly [Name in MetricName]?: number };

/** The metrics in order. */
export const METRIC_NAMES: readonly MetricName[] = Object.keys(METRICS) as MetricName[];

/** What was used for each of so many units. Where there is no process, as without a proxy, the machine's figures are left. */
export function usagePerUnit({ process, system }: Usage, units: number): Figures {
  return {
    ...process === undefined ? {} : { cpuSeconds: process.cpuSeconds / units, switches: process.switches / units },
    systemCpuSeconds: system.cpuSeconds / units,
    systemSwitches: system.switches / units,
    segments: system.segments / units,
  };
}

/** Requests, connections, GB, pairs. */
export function plural(unit: Unit): string {
  return unit === "GB" ? unit : `${unit}s`;
}

/** Three figures that count, in the unit of time that suits: `28.1 µs`, `412 ms`, `1.25 s`. */
export function formatSeconds(seconds: number): string {
  if (seconds >= 1) return `${formatNumber(seconds)} s`;
  return seconds >= 1e-3 ? `${formatNumber(seconds * 1e3)} ms` : `${formatNumber(seconds * 1e6)} µs`;
}

/** Three figures that count, thousands set apart: `0.912`, `28.1`, `31,244`. */
export function formatNumber(value: number): string {
  const decimals = value === 0 ? 0 : Math.max(0, Math.min(3, 2 - Math.floor(Math.log10(Math.abs(value)))));
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}
