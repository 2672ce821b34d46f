/**
 * `contrib/grafana/dashboard.json`. The first rows answer the operator's questions in order: is anything wrong, are clients hurt,
 * which server. Every other metric gets a panel by itself, in rows that are closed, so that a new row of COUNTERS is on the
 * dashboard.
 */

import { allocateCounters, Counters } from "../../lib/observe/counters.ts";
import { label } from "../../lib/observe/exposition.ts";
import { FAMILIES, type Family, type Measured } from "../../lib/observe/metrics.ts";
import { SERVER_STATES, type ServerState } from "../../lib/routing/availability.ts";
import { DATASOURCE, layOut, type Panel, type Query, type Row } from "./panels.ts";
import { IS_BAD, select } from "./queries.ts";

const HERE = 'instance=~"$instance"';
const SERVER = `${HERE},server=~"$server"`;
const RATE = "[$__rate_interval]";

const STATE_COLORS: Readonly<Record<ServerState, string>> = {
  up: "green",
  resting: "yellow",
  down: "red",
  draining: "blue",
  removing: "purple",
};

function here(metric: string, matchers = "", suffix?: "_bucket"): string {
  return select(metric, matchers === "" ? HERE : `${HERE},${matchers}`, suffix);
}

/** The time that so much of the connections of each (`by`) were faster than. */
function quantile(part: number, metric: string, by: string, matchers = HERE): string {
  const labels = by === "" ? "le" : `${by}, le`;
  return `histogram_quantile(${part}, sum by (${labels}) (rate(${select(metric, matchers, "_bucket")}${RATE})))`;
}

const P50_P99: readonly Query[] = [0.5, 0.99].map((part) => ({
  expr: quantile(part, "balancer_connect_seconds", ""),
  legend: `p${part * 100}`,
}));

/** Colours a series or a column by the state that it is named after. */
const BY_STATE = SERVER_STATES.map((state) => ({
  matcher: { id: "byName", options: state },
  properties: [{ id: "color", value: { mode: "fixed", fixedColor: STATE_COLORS[state] } }],
}));

const NOW: readonly Panel[] = [
  {
    type: "stat",
    title: "Servers by state",
    description: "Servers of the pool. Down and resting servers get no new clients, draining ones were taken out on purpose.",
    width: 8,
    height: 5,
    queries: [{ expr: `sum by (state) (${here("balancer_servers")})`, legend: "{{state}}" }],
    overrides: BY_STATE,
    options: { graphMode: "none", textMode: "value_and_name" },
  },
  {
    type: "bargauge",
    title: "Open connections, of the limit",
    description: "Open connections of clients as a share of --max-connections. At 100 % new clients are refused.",
    width: 4,
    height: 5,
    queries: [{
      expr: `${here("balancer_open_connections")} / ${here("balancer_open_connections_max")}`,
      legend: "{{instance}}",
    }],
    unit: "percentunit",
    thresholds: [0.8, 0.95],
    options: { displayMode: "lcd" },
  },
  {
    type: "stat",
    title: "New connections",
    description: "Clients accepted per second, including those refused at once.",
    width: 4,
    height: 5,
    queries: [{ expr: `sum(rate(${here("balancer_accepted_connections_total")}${RATE}))`, legend: "a second" }],
    unit: "cps",
  },
  {
    type: "stat",
    title: "Bad ends",
    description: "Connections per second that ended with a fate that is the client's loss.",
    width: 4,
    height: 5,
    queries: [{ expr: `sum(rate(${here("balancer_connection_fates_total", IS_BAD)}${RATE}))`, legend: "a second" }],
    unit: "cps",
    thresholds: [0.1, 1],
  },
  {
    type: "stat",
    title: "Time to connect to a server",
    description: "Half of the connections were accepted by a server faster than p50, 99 % faster than p99.",
    width: 4,
    height: 5,
    queries: P50_P99,
    unit: "s",
    thresholds: [0.1, 1],
  },
  {
    type: "timeseries",
    title: "Connections",
    description: "New and open connections of each balancer.",
    width: 8,
    height: 8,
    queries: [
      {
        expr: `sum by (instance) (rate(${here("balancer_accepted_connections_total")}${RATE}))`,
        legend: "new a second, {{instance}}",
      },
      { expr: `sum by (instance) (${here("balancer_open_connections")})`, legend: "open, {{instance}}" },
    ],
    overrides: [{
      matcher: { id: "byFrameRefID", options: "B" },
      properties: [{ id: "custom.axisPlacement", value: "right" }],
    }],
  },
  {
    type: "timeseries",
    title: "Ends, by fate",
    description: "How connections ended. Everything but done deserves a look.",
    width: 8,
    height: 8,
    queries: [{ expr: `sum by (fate) (rate(${here("balancer_connection_fates_total")}${RATE})) > 0`, legend: "{{fate}}" }],
    unit: "cps",
    custom: { fillOpacity: 30, stacking: { mode: "normal" } },
  },
  {
    type: "timeseries",
    title: "Time to connect to a server",
    description: "A rise of p99 alone is one slow server; 1 s and 3 s are lost SYN segments.",
    width: 8,
    height: 8,
    queries: P50_P99,
    unit: "s",
  },
];

/** A column of the table of servers. */
interface Column {
  readonly title: string;
  readonly expr: string;
  readonly unit?: string;
}

function rateOf(metric: string, matchers = ""): string {
  const all = matchers === "" ? SERVER : `${SERVER},${matchers}`;
  return `sum by (instance, server) (rate(${select(metric, all)}${RATE}))`;
}

function valueOf(metric: string): string {
  return `sum by (instance, server) (${select(metric, SERVER)})`;
}

const COLUMNS: readonly Column[] = [
  { title: "Weight", expr: valueOf("balancer_server_weight") },
  { title: "Open", expr: valueOf("balancer_server_open_connections") },
  { title: "New/s", expr: rateOf("balancer_server_connects_total"), unit: "cps" },
  { title: "Refused/s", expr: rateOf("balancer_server_connect_failures_total"), unit: "cps" },
  { title: "Bad ends/s", expr: rateOf("balancer_server_fates_total", IS_BAD), unit: "cps" },
  { title: "Moved away/s", expr: rateOf("balancer_server_moved_away_connections_total"), unit: "cps" },
  { title: "Connect p99", expr: quantile(0.99, "balancer_server_connect_seconds", "instance, server", SERVER), unit: "s" },
  { title: "To server", expr: rateOf("balancer_server_sent_bytes_total"), unit: "Bps" },
  { title: "From server", expr: rateOf("balancer_server_received_bytes_total"), unit: "Bps" },
  { title: "Failed checks/s", expr: rateOf("balancer_server_checks_total", 'outcome!~"passed|asks_to_drain"'), unit: "cps" },
  { title: "Local ports", expr: valueOf("balancer_server_local_ports_ratio"), unit: "percentunit" },
];

/** The column of the query with this place: the first one is that of the state. */
function fieldOf(index: number): string {
  return `Value #${String.fromCharCode(66 + index)}`;
}

const SERVERS: Panel = {
  type: "table",
  title: "Servers",
  description: "One line per server and balancer. balancerctl list says why a server is down.",
  width: 24,
  height: 10,
  queries: [
    { expr: `max by (instance, server, state) (${select("balancer_server_state", SERVER)} == 1)`, format: "table" },
    ...COLUMNS.map(({ expr }): Query => ({ expr, format: "table" })),
  ],
  overrides: [
    {
      matcher: { id: "byName", options: "State" },
      properties: [
        { id: "mappings", value: [{ type: "value", options: mappingsOf(SERVER_STATES) }] },
        { id: "custom.cellOptions", value: { type: "color-background", mode: "basic" } },
      ],
    },
    ...COLUMNS.flatMap(({ title, unit }) =>
      unit === undefined ? [] : [{ matcher: { id: "byName", options: title }, properties: [{ id: "unit", value: unit }] }]
    ),
  ],
  transformations: [
    { id: "merge", options: {} },
    {
      id: "organize",
      options: {
        excludeByName: { Time: true, "Value #A": true },
        indexByName: Object.fromEntries(
          ["server", "state", "instance", ...COLUMNS.map((_, i) => fieldOf(i))].map((name, i) => [name, i]),
        ),
        renameByName: {
          server: "Server",
          state: "State",
          instance: "Balancer",
          ...Object.fromEntries(COLUMNS.map(({ title }, i) => [fieldOf(i), title])),
        },
      },
    },
  ],
};

function mappingsOf(states: readonly ServerState[]): Record<string, unknown> {
  return Object.fromEntries(states.map((state, index) => [state, { text: state, color: STATE_COLORS[state], index }]));
}

const BALANCERS: Panel = {
  type: "table",
  title: "Balancers",
  description:
    "Version, engine and fingerprint of the ring. Equal fingerprints: every client gets the same server on each of them.",
  width: 24,
  height: 5,
  queries: [
    { expr: `max by (instance, version, engine) (${here("balancer_info")})`, format: "table" },
    { expr: `max by (instance, fingerprint) (${here("balancer_ring_info")})`, format: "table" },
    { expr: `time() - max by (instance) (${here("process_start_time_seconds")})`, format: "table" },
  ],
  overrides: [{ matcher: { id: "byName", options: "Runs for" }, properties: [{ id: "unit", value: "dtdurations" }] }],
  transformations: [
    { id: "merge", options: {} },
    {
      id: "organize",
      options: {
        excludeByName: { Time: true, "Value #A": true, "Value #B": true },
        indexByName: {},
        renameByName: {
          instance: "Balancer",
          version: "Version",
          engine: "Engine",
          fingerprint: "Fingerprint",
          "Value #C": "Runs for",
        },
      },
    },
  ],
};

/** Shown in the first rows, or of no use over time. */
const IN_TABLES: readonly string[] = ["balancer_info", "balancer_ring_info", "process_start_time_seconds"];

function panelsOf(families: readonly Family[], owner: string): Panel[] {
  return families.filter(({ name }) => !IN_TABLES.includes(name)).map((family) => panelOf(family, owner));
}

/** The panel that a metric gets by itself. */
function panelOf(family: Family, owner: string): Panel {
  const { name, type, help } = family;
  const matchers = owner === "server" ? SERVER : HERE;
  const common = { title: help, description: name, width: 12, height: 8 };
  if (type === "histogram") {
    const expr = `sum by (le) (increase(${select(name, matchers, "_bucket")}${RATE}))`;
    return { ...common, type: "heatmap", queries: [{ expr, legend: "{{le}}", format: "heatmap" }], unit: "short" };
  }
  const value = type === "counter" ? `rate(${select(name, matchers)}${RATE})` : select(name, matchers);
  const legend = ["instance", ...labelsOf(family)].map((label) => `{{${label}}}`).join(" ");
  return { ...common, type: "timeseries", queries: [{ expr: value, legend }], unit: unitOf(name) };
}

const EXAMPLE: Measured = {
  version: "",
  engine: "",
  startedAtSeconds: 0,
  connectionsMax: 1,
  fingerprint: "",
  localPorts: 1,
  services: [{ name: "", index: 0 }],
  listeners: [{ index: 0, address: "", service: "" }],
  servers: [{ name: "", slot: 0, state: "up", weight: 1, sources: 1 }],
};

/** The labels of a metric, read from an example of it. */
function labelsOf(family: Family): string[] {
  const counters = new Counters(allocateCounters(0, 1));
  const server = { ...EXAMPLE.servers[0], label: label("server", "") };
  const [[labels]] = "samples" in family ? family.samples(counters, EXAMPLE) : family.samplesOf(counters, server, EXAMPLE);
  return [...labels.matchAll(/([a-z]+)="/g)].map(([, name]) => name);
}

function unitOf(name: string): string {
  if (name.endsWith("_bytes_total")) return "Bps";
  if (name.endsWith("_total")) return "cps";
  return name.endsWith("_ratio") ? "percentunit" : "short";
}

function isOf(owner: "service" | "listener" | "server"): (family: Family) => boolean {
  return ({ name }) => name.startsWith(`balancer_${owner}_`);
}

/** What has counters of its own, beside the process. */
const OWNERS = ["service", "listener", "server"] as const;

const ROWS: readonly Row[] = [
  { title: "Now", collapsed: false, panels: NOW },
  { title: "Servers", collapsed: false, panels: [SERVERS] },
  { title: "Balancers", collapsed: true, panels: [BALANCERS] },
  {
    title: "Everything that a balancer counts",
    collapsed: true,
    panels: panelsOf(FAMILIES.filter((family) => !OWNERS.some((owner) => isOf(owner)(family))), ""),
  },
  {
    title: "Everything that is counted by service",
    collapsed: true,
    panels: panelsOf(FAMILIES.filter(isOf("service")), "service"),
  },
  {
    title: "Everything that is counted by listener",
    collapsed: true,
    panels: panelsOf(FAMILIES.filter(isOf("listener")), "listener"),
  },
  { title: "Everything that is counted by server", collapsed: true, panels: panelsOf(FAMILIES.filter(isOf("server")), "server") },
];

/** A variable that selects some or all values of a label. */
function variable(name: string, label: string, query: string): unknown {
  return {
    type: "query",
    name,
    label,
    datasource: DATASOURCE,
    definition: query,
    query: { query, refId: `variable-${name}` },
    refresh: 2, // when the time range changes, too: servers come and go
    sort: 7, // natural, ascending
    multi: true,
    includeAll: true,
    allValue: ".*",
    current: { selected: true, text: ["All"], value: ["$__all"] },
    options: [],
    hide: 0,
  };
}

/** The text of `contrib/grafana/dashboard.json`. */
export function writeDashboard(): string {
  const dashboard = {
    __inputs: [{
      name: "DS_PROMETHEUS",
      label: "Prometheus",
      description: "The Prometheus that reads the balancers",
      type: "datasource",
      pluginId: "prometheus",
      pluginName: "Prometheus",
    }],
    __requires: [
      { type: "grafana", id: "grafana", name: "Grafana", version: "10.0.0" },
      { type: "datasource", id: "prometheus", name: "Prometheus", version: "1.0.0" },
    ],
    uid: "balancer",
    title: "balancer",
    description: 'TCP clients, servers and balancers. Made by "deno task contrib" from the metrics that there are.',
    tags: ["balancer"],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: "30s",
    time: { from: "now-1h", to: "now" },
    timezone: "",
    annotations: { list: [] },
    links: [],
    templating: {
      list: [
        variable("instance", "Balancer", `label_values(${select("balancer_info")}, instance)`),
        variable("server", "Server", `label_values(${select("balancer_server_weight", HERE)}, server)`),
      ],
    },
    panels: layOut(ROWS),
  };
  return `${JSON.stringify(dashboard, null, 2)}\n`;
}
