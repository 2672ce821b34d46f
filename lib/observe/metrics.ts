/**
 * The metrics: what is measured, under which name, and how it is read. They are derived from the rows of COUNTERS, HISTOGRAMS and
 * FATES, except for a few that describe the balancer itself. `exposition.ts` knows how they are written.
 */

import { COUNTERS, type Counters, type HistogramName, HISTOGRAMS } from "./counters.ts";
import type {
  ListenerCounter,
  ListenerGauge,
  ProcessCounter,
  ProcessGauge,
  ServerCounter,
  ServerGauge,
  ServiceCounter,
  ServiceGauge,
} from "./counters.ts";
import {
  type FamilyHead,
  type Format,
  FORMATS,
  histogramSamples,
  label,
  labels,
  type Sample,
  writeHead,
  writeSample,
} from "./exposition.ts";
import { FATE_NAMES } from "../values/fates.ts";
import { localPortsRatio } from "../values/source_addresses.ts";
import { SERVER_STATES, type ServerState } from "../routing/availability.ts";

/** A server: its label, the slot of its counters, and its gauges. */
interface MeasuredServer {
  readonly name: string;
  readonly slot: number;
  readonly state: ServerState;
  readonly weight: number;
  /** From how many local addresses it can be dialled. */
  readonly sources: number;
}

/** A service: its name, and the index of its counters. */
interface MeasuredService {
  readonly name: string;
  readonly index: number;
}

/** A listener: the index of its counters, its address, and the name of its service. */
interface MeasuredListener {
  readonly index: number;
  readonly address: string;
  readonly service: string;
}

/** The facts that metrics show beside the counters. */
export interface Measured {
  readonly version: string;
  readonly engine: string;
  readonly startedAtSeconds: number;
  readonly connectionsMax: number;
  readonly fingerprint: string;
  /** How many ports this machine has for connections from one address to one server; null: unknown. */
  readonly localPorts: number | null;
  readonly services: readonly MeasuredService[];
  readonly listeners: readonly MeasuredListener[];
  readonly servers: readonly MeasuredServer[];
}

/** A server with its label as it is written. */
interface LabelledServer extends MeasuredServer {
  readonly label: string;
}

/** A metric of the process or of its listeners. */
interface ProcessFamily extends FamilyHead {
  readonly samples: (counters: Counters, measured: Measured) => readonly Sample[];
}

/** A metric that every server has. */
interface ServerFamily extends FamilyHead {
  readonly samplesOf: (counters: Counters, server: LabelledServer, measured: Measured) => readonly Sample[];
}

/** A metric, and how its samples are read. */
export type Family = ProcessFamily | ServerFamily;

type CounterName = keyof typeof COUNTERS;
type Row = (typeof COUNTERS)[CounterName] & { readonly labels?: Readonly<Record<string, string>> };

const STATE_LABELS = SERVER_STATES.map((state): [ServerState, string] => [state, label("state", state)]);
const FATE_LABELS = FATE_NAMES.map((fate) => [fate, label("fate", fate)] as const);

type Cells = readonly (readonly [CounterName, labels: string])[];

type Reader = Pick<ProcessFamily, "samples"> | Pick<ServerFamily, "samplesOf">;

/** How the rows of a family are read, by scope. */
const READERS: { readonly [S in Row["scope"]]: (cells: Cells) => Reader } = {
  process: (cells) => ({
    samples: (counters) => cells.map(([name, own]) => [own, counters.get(name as ProcessCounter | ProcessGauge)]),
  }),
  service: (cells) => ({
    samples: (counters, { services }) =>
      services.flatMap(({ index, name: service }) =>
        cells.map(([name, own]): Sample => [
          joined(labels({ service }), own),
          counters.getOfService(index, name as ServiceCounter | ServiceGauge),
        ])
      ),
  }),
  listener: (cells) => ({
    samples: (counters, { listeners }) =>
      listeners.flatMap(({ index, address, service }) =>
        cells.map(([name, own]): Sample => [
          joined(labels({ listener: address, service }), own),
          counters.getOfListener(index, name as ListenerCounter | ListenerGauge),
        ])
      ),
  }),
  server: (cells) => ({
    samplesOf: (counters, { slot, label }) =>
      cells.map(([name, own]) => [joined(label, own), counters.getOf(slot, name as ServerCounter | ServerGauge)]),
  }),
};

/** Every metric: those of the process first. */
export const FAMILIES: readonly Family[] = [
  ...familiesOf("process"),
  ...familiesOf("service"),
  {
    name: "balancer_connection_fates_total",
    type: "counter",
    help: "Ended connections, by fate; the sum is accepted minus open",
    samples: (counters) => FATE_LABELS.map(([fate, label]) => [label, counters.get(fate)]),
  },
  ...histogramsOf("process"),
  {
    name: "balancer_servers",
    type: "gauge",
    help: "Servers, by state",
    samples: (_, { servers }) =>
      STATE_LABELS.map(([state, label]) => [label, servers.filter((server) => server.state === state).length]),
  },
  {
    name: "balancer_open_connections_max",
    type: "gauge",
    help: "Limit on open connections of clients",
    samples: (_, { connectionsMax }) => [["", connectionsMax]],
  },
  {
    name: "balancer_info",
    type: "gauge",
    help: "Always 1; the labels show the version and the engine",
    samples: (_, { version, engine }) => [[labels({ version, engine }), 1]],
  },
  {
    name: "balancer_ring_info",
    type: "gauge",
    help: "Always 1; balancers whose rings have the same fingerprint send every client to the same server",
    samples: (_, { fingerprint }) => [[label("fingerprint", fingerprint), 1]],
  },
  {
    name: "process_start_time_seconds",
    type: "gauge",
    help: "Start time of the balancer, in seconds since 1970",
    samples: (_, { startedAtSeconds }) => [["", startedAtSeconds]],
  },
  ...familiesOf("listener"),
  ...familiesOf("server"),
  {
    name: "balancer_server_fates_total",
    type: "counter",
    help: "Ended connections of the server, by fate",
    samplesOf: (counters, { slot, label }) => FATE_LABELS.map(([fate, own]) => [`${label},${own}`, counters.getOf(slot, fate)]),
  },
  ...histogramsOf("server"),
  {
    name: "balancer_server_state",
    type: "gauge",
    help: "1 for the state that the server is in, 0 for the others",
    samplesOf: (_, { state, label }) => STATE_LABELS.map(([other, own]) => [`${label},${own}`, other === state ? 1 : 0]),
  },
  {
    name: "balancer_server_weight",
    type: "gauge",
    help: "Weight of the server",
    samplesOf: (_, { label, weight }) => [[label, weight]],
  },
  {
    name: "balancer_server_local_ports_ratio",
    type: "gauge",
    help: "Open connections of the server, as a share of the local ports that connections to it can have (Linux only)",
    samplesOf: (counters, { label, slot, sources }, { localPorts }) =>
      localPorts === null ? [] : [[label, localPortsRatio(counters.getOf(slot, "serverOpen"), localPorts, sources)]],
  },
];

/** How long main writes metrics before it does something else. */
const TURN_MS = 4;
/** So many servers between two looks at the clock. */
const SERVERS_PER_LOOK = 32;

/** The text of all metrics, and its content type. With very many servers it lets other work through meanwhile. */
export async function writeMetrics(
  counters: Counters,
  measured: Measured,
  format: Format = "prometheus",
): Promise<{ text: string; contentType: string }> {
  const servers = measured.servers.map((server): LabelledServer => ({ ...server, label: label("server", server.name) }));
  const { contentType, end } = FORMATS[format];
  let text = "";
  let turnMs = performance.now();
  for (const family of FAMILIES) {
    text += writeHead(family, format);
    if ("samples" in family) {
      for (const sample of family.samples(counters, measured)) text += writeSample(family.name, sample);
      continue;
    }
    for (const [i, server] of servers.entries()) {
      for (const sample of family.samplesOf(counters, server, measured)) text += writeSample(family.name, sample);
      if (i % SERVERS_PER_LOOK !== 0 || performance.now() - turnMs < TURN_MS) continue;
      await new Promise((resolve) => setTimeout(resolve, 0));
      turnMs = performance.now();
    }
  }
  return { text: text + end, contentType };
}

/** The families of COUNTERS with this scope. Rows of one metric are one family. */
function familiesOf(scope: Row["scope"]): Family[] {
  const rows = (Object.entries(COUNTERS) as [CounterName, Row][]).filter(([, row]) => row.scope === scope);
  return [...Map.groupBy(rows, ([, { metric }]) => metric).values()].map((group) => {
    const [[, { metric: name, kind: type, help }]] = group;
    const cells = group.map(([counter, row]) => [counter, labels(row.labels ?? {})] as const);
    return { name, type, help, ...READERS[scope](cells) };
  });
}

function histogramsOf(scope: "process" | "server"): Family[] {
  const names = (Object.keys(HISTOGRAMS) as HistogramName[]).filter((name) => HISTOGRAMS[name].scope === scope);
  return names.map((histogram) => {
    const { metric: name, help, bounds } = HISTOGRAMS[histogram];
    const head = { name, type: "histogram", help } as const;
    if (scope === "process") return { ...head, samples: (counters) => histogramSamples(bounds, counters.histogram(histogram)) };
    return {
      ...head,
      samplesOf: (counters, { slot, label }) => histogramSamples(bounds, counters.histogram(histogram, slot), label),
    };
  });
}

function joined(first: string, second: string): string {
  return second === "" ? first : `${first},${second}`;
}
