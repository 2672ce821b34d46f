/** Types for the part of prom-client that is used: the registry, which writes metrics as text. */

/** A metric as the registry reads it. */
interface ReadMetric {
  readonly name: string;
  get(): { name: string; type: string; help: string; values: readonly unknown[] };
}

export default class Registry {
  readonly contentType: string;
  registerMetric(metric: ReadMetric): void;
  metrics(): Promise<string>;
}
