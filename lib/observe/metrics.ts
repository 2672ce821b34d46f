/**
 * The counters as Prometheus text (exposition format 0.0.4). Metrics are derived from the rows of COUNTERS and FATES, except for a
 * few that describe the balancer itself. prom-client only formats the text: the numbers are read from the shared counters. So only
 * its registry is loaded: all of it takes 5 MB.
 */

// @ts-types="./prometheus_registry.d.ts"
import Registry from "prom-client/lib/registry.js";
import { CONNECT_SECONDS_BOUNDS, type ConnectSeconds, COUNTERS, type Counters } from "./counters.ts";
import { FATE_NAMES } from "../values/fates.ts";
import { SERVER_STATES } from "../routing/availability.ts";
import type { ProcessCounter, ProcessGauge, ServerCounter, ServerGauge } from "./counters.ts";

/** A server: its label, the slot of its counters, and its gauges. */
interface MeasuredServer {
  readonly name: string;
  readonly slot: number;
  readonly state: string;
  readonly weight: number;
}

/** The facts that metrics show beside the counters. */
export interface Measured {
  readonly version: string;
  readonly engine: string;
  readonly startedAtSeconds: number;
  readonly connectionsMax: number;
  readonly servers: readonly MeasuredServer[];
}

interface Sample {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly metricName?: string;
}

interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly samples: (counters: Counters, measured: Measured) => Sample[];
}

/** Every metric: its name, type and help text, and how its samples are read. */
export const FAMILIES: readonly Family[] = [
  ...Object.entries(COUNTERS).map(([name, row]): Family => ({
    name: row.metric,
    type: row.kind,
    help: row.help,
    samples: row.scope === "process"
      ? (counters) => [{ value: counters.get(name as ProcessCounter | ProcessGauge), labels: {} }]
      : (counters, { servers }) =>
        servers.map((server) => ({
          value: counters.getOf(server.slot, name as ServerCounter | ServerGauge),
          labels: { server: server.name },
        })),
  })),
  {
    name: "balancer_connection_fates_total",
    type: "counter",
    help: "Ended connections, by fate; the sum is accepted minus open",
    samples: (counters) => FATE_NAMES.map((fate) => ({ value: counters.get(fate), labels: { fate } })),
  },
  {
    name: "balancer_server_fates_total",
    type: "counter",
    help: "Ended connections of the server, by fate",
    samples: (counters, { servers }) =>
      servers.flatMap(({ name, slot }) =>
        FATE_NAMES.map((fate) => ({ value: counters.getOf(slot, fate), labels: { server: name, fate } }))
      ),
  },
  {
    name: "balancer_connect_seconds",
    type: "histogram",
    help: "Time that servers took to accept a connection",
    samples: (counters) => histogramSamples("balancer_connect_seconds", counters.connectSeconds()),
  },
  {
    name: "balancer_servers",
    type: "gauge",
    help: "Servers, by state",
    samples: (_, { servers }) =>
      SERVER_STATES.map((state) => ({ value: servers.filter((server) => server.state === state).length, labels: { state } })),
  },
  {
    name: "balancer_server_weight",
    type: "gauge",
    help: "Weight of the server",
    samples: (_, { servers }) => servers.map(({ name, weight }) => ({ value: weight, labels: { server: name } })),
  },
  {
    name: "balancer_open_connections_max",
    type: "gauge",
    help: "Limit on open connections of clients",
    samples: (_, { connectionsMax }) => [{ value: connectionsMax, labels: {} }],
  },
  {
    name: "balancer_info",
    type: "gauge",
    help: "Always 1; the labels show the version and the engine",
    samples: (_, { version, engine }) => [{ value: 1, labels: { version, engine } }],
  },
  {
    name: "process_start_time_seconds",
    type: "gauge",
    help: "Start time of the balancer, in seconds since 1970",
    samples: (_, { startedAtSeconds }) => [{ value: startedAtSeconds, labels: {} }],
  },
];

/** The text of all metrics, and its content type. */
export async function writeMetrics(counters: Counters, measured: Measured): Promise<{ text: string; contentType: string }> {
  const registry = new Registry();
  for (const { name, type, help, samples } of FAMILIES) {
    registry.registerMetric({ name, get: () => ({ name, type, help, values: samples(counters, measured) }) });
  }
  return { text: await registry.metrics(), contentType: registry.contentType };
}

/** The samples of a histogram. Buckets are cumulative; the last one, `+Inf`, equals the count. */
function histogramSamples(name: string, { counts, sum }: ConnectSeconds): Sample[] {
  let cumulative = 0;
  const buckets = counts.map((count, i) => {
    cumulative += count;
    return { metricName: `${name}_bucket`, value: cumulative, labels: { le: CONNECT_SECONDS_BOUNDS[i] ?? "+Inf" } };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, value: sum, labels: {} },
    { metricName: `${name}_count`, value: cumulative, labels: {} },
  ];
}
