/**
 * Metrics as text, in the two formats that Prometheus reads: its own (0.0.4) and OpenMetrics (1.0.0). Knows the rules of the
 * formats and no metric. A writer of ours and not a library's, because a library makes an object of every sample: that took four
 * times as long, and with a thousand servers it stalled the main thread, where the streams engine relays, for 70 ms.
 */

/** A metric without its samples. */
export interface FamilyHead {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  /** A sentence without double quotes, backslashes and line feeds, so that no format needs to escape it. */
  readonly help: string;
}

/** One number: its labels as `label` writes them, joined by commas, and what its name has behind the family's. */
export type Sample = readonly [labels: string, value: number, suffix?: string];

/** The formats, by what they are called here. */
export const FORMATS = {
  prometheus: { contentType: "text/plain; version=0.0.4; charset=utf-8", end: "" },
  openMetrics: { contentType: "application/openmetrics-text; version=1.0.0; charset=utf-8", end: "# EOF\n" },
} as const;

/** A row of FORMATS. */
export type Format = keyof typeof FORMATS;

/** The lines before a family's samples. OpenMetrics names a counter's family without the `_total` of its samples. */
export function writeHead({ name, type, help }: FamilyHead, format: Format): string {
  const family = format === "openMetrics" && type === "counter" ? name.replace(/_total$/, "") : name;
  return `# HELP ${family} ${help}\n# TYPE ${family} ${type}\n`;
}

/** The line of a sample. */
export function writeSample(name: string, [labels, value, suffix = ""]: Sample): string {
  return labels === "" ? `${name}${suffix} ${value}\n` : `${name}${suffix}{${labels}} ${value}\n`;
}

/** `name="value"`, with what both formats escape. */
export function label(name: string, value: string): string {
  const escaped = value.replace(/[\\"\n]/g, (character) => character === "\n" ? "\\n" : `\\${character}`);
  return `${name}="${escaped}"`;
}

/** These labels, joined. */
export function labels(values: Readonly<Record<string, string>>): string {
  return Object.entries(values).map(([name, value]) => label(name, value)).join(",");
}

/**
 * The samples of a histogram with these labels, from the counts of its buckets (not cumulative) and the sum of its values. Samples
 * are cumulative; the last bucket, `+Inf`, equals the count.
 */
export function histogramSamples(
  bounds: readonly number[],
  { counts, sum }: { readonly counts: readonly number[]; readonly sum: number },
  own = "",
): Sample[] {
  const before = own === "" ? "" : `${own},`;
  let cumulative = 0;
  const buckets = counts.map((count, i): Sample => {
    cumulative += count;
    return [`${before}le="${i < bounds.length ? asFloat(bounds[i]) : "+Inf"}"`, cumulative, "_bucket"];
  });
  return [...buckets, [own, sum, "_sum"], [own, cumulative, "_count"]];
}

/** A bound as both formats write it best: `1.0`, so that the same bucket is the same series however it was scraped. */
function asFloat(bound: number): string {
  return Number.isInteger(bound) ? `${bound}.0` : `${bound}`;
}

/**
 * The format that a scraper's Accept header (RFC 9110, section 12.5.1) asks for: OpenMetrics if it takes version 1.0.0 and likes it
 * at least as much as the other, else Prometheus's own.
 */
export function chooseFormat(accept: string): Format {
  const wishes = accept.toLowerCase().split(",").map((wish) => wish.split(";").map((part) => part.trim()));
  const openMetrics = weightOf(wishes, "application/openmetrics-text", "1.0.0");
  return openMetrics > 0 && openMetrics >= weightOf(wishes, "text/plain", "0.0.4") ? "openMetrics" : "prometheus";
}

/** The greatest weight (`q`) that the header gives this type, in this version or in any. 0: it does not name it. */
function weightOf(wishes: readonly (readonly string[])[], type: string, version: string): number {
  const weights = wishes.filter(([named]) => named === type).map(([, ...parameters]) => {
    const read = new Map(parameters.map((parameter) => parameter.split("=", 2).map((part) => part.trim()) as [string, string]));
    const weight = Number(read.get("q") ?? 1);
    return (read.get("version") ?? version).replaceAll('"', "") === version && weight >= 0 && weight <= 1 ? weight : 0;
  });
  return Math.max(0, ...weights);
}
