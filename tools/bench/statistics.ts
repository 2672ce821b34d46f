/** Medians, quartiles and paired ratios: what turns slices into figures. Knows nothing of what was measured. */

/** The middle of some values: their median, and the quartiles below and above it. */
export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
  /** How many values there were. */
  readonly count: number;
}

/** The value below which this fraction of the values lies, between two values by linear interpolation. There must be a value. */
export function quantile(values: readonly number[], fraction: number): number {
  if (values.length === 0) throw new Error("There is no quantile of no values");
  const sorted = values.toSorted((a, b) => a - b);
  const place = (sorted.length - 1) * fraction;
  const [below, above] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return below + (above - below) * (place - Math.floor(place));
}

/** Median and quartiles; undefined where there are no values. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  return { median: quantile(values, 0.5), low: quantile(values, 0.25), high: quantile(values, 0.75), count: values.length };
}

/**
 * The ratios of values that belong to the same round. A round that lacks either has none: what drifts from round to round (other
 * guests of the machine, its clock) is in both and so drops out, which is the point of pairing.
 */
export function pairedRatios(of: ReadonlyMap<number, number>, against: ReadonlyMap<number, number>): number[] {
  return [...of].flatMap(([round, value]) => {
    const other = against.get(round);
    return other === undefined || other === 0 ? [] : [value / other];
  });
}
