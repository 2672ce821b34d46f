// What contrib/ has is what the code makes, Grafana and Prometheus can read it, and each alert fires when it should and not before.

import { assert, assertEquals } from "@std/assert";
import { ALERTS } from "../tools/contrib/alerts.ts";
import { FILES, INSTALLED } from "../tools/contrib/contrib.ts";
import { writeDashboard } from "../tools/contrib/dashboard.ts";
import { writeControlManual, writeDaemonManual } from "../tools/contrib/manual.ts";
import { COMMANDS } from "../lib/control/commands.ts";
import { DAEMON_PROGRAM } from "../lib/control/daemon_program.ts";
import { BAD_FATES } from "../tools/contrib/queries.ts";
import { allocateCounters, Counters } from "../lib/observe/counters.ts";
import { FAMILIES, type Measured, writeMetrics } from "../lib/observe/metrics.ts";
import { SERVER_STATES } from "../lib/routing/availability.ts";
import { FATE_NAMES } from "../lib/values/fates.ts";
import { outcomeOf } from "./programs.ts";
import { needing } from "./tools.ts";

const ROOT = `${import.meta.dirname}/../`;
const PROMTOOL_MAX_MS = 20_000;
const RENDER_MAX_MS = 20_000;

interface Place {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly collapsed?: boolean;
  readonly gridPos: Place;
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly { readonly refId: string; readonly expr: string }[];
  readonly panels?: readonly Panel[];
}

const dashboard: { panels: Panel[]; templating: { list: { name: string; definition: string }[] }; __inputs: { name: string }[] } =
  JSON
    .parse(writeDashboard());
/** Every panel, those of closed rows, too. */
const all = dashboard.panels.flatMap((panel) => [panel, ...panel.panels ?? []]);
const shown = all.filter(({ type }) => type !== "row");
const expressions = shown.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

/** The names of metrics in an expression: those of the balancer's own. */
function metricsIn(expr: string): string[] {
  return [...expr.matchAll(/\b(balancer_[a-z_]+|process_[a-z_]+)\b/g)].map(([, name]) => name);
}

/** Every name under which Prometheus knows a metric. */
const NAMES = new Set(
  FAMILIES.flatMap(({ name, type }) =>
    type === "histogram" ? ["_bucket", "_sum", "_count"].map((suffix) => name + suffix) : [name]
  ),
);

for (const [path, write] of Object.entries(FILES)) {
  Deno.test(`${path} is what the code makes: else run deno task contrib`, async () => {
    assertEquals(await Deno.readTextFile(ROOT + path), write());
  });
}

/** Programs that render a manual page, each so that it tells of everything that is wrong, on standard output or standard error. */
const RENDERERS = {
  groff: ["-ww", "-man", "-Tutf8", "-z"],
  man: ["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"],
  mandoc: ["-Tlint", "-Wwarning"],
} as const;

const MANUALS = { balancer: writeDaemonManual, balancerctl: writeControlManual };

for (const [renderer, args] of Object.entries(RENDERERS) as [keyof typeof RENDERERS, readonly string[]][]) {
  Deno.test({
    ...await needing(`${renderer} renders the manual pages without a warning`, renderer),
    async fn() {
      for (const name of Object.keys(MANUALS)) {
        const env = { LC_ALL: "C.UTF-8", MANWIDTH: "80" };
        const page = `${ROOT}${INSTALLED}/man/man1/${name}.1`;
        const { code, stdout, stderr } = await outcomeOf(new Deno.Command(renderer, { args: [...args, page], env }), RENDER_MAX_MS);
        assertEquals([code, stderr, renderer === "mandoc" ? stdout : ""], [0, "", ""]);
      }
    },
  });
}

Deno.test("the manual pages name every command and every option, and are ASCII", () => {
  const manual = writeControlManual() + writeDaemonManual();
  const said = manual.replaceAll("\\-", "-").replace(/\\f[BIR]/g, "");
  for (const [name, { options }] of Object.entries(COMMANDS)) {
    assert(new RegExp(`\n${name}\\b`).test(said), name);
    for (const { flag } of options) assert(said.includes(`--${flag}`), flag);
  }
  for (const { flag } of DAEMON_PROGRAM.commands.run.options) assert(new RegExp(`\n--${flag}\\b`).test(said), flag);
  assert([...manual].every((character) => character <= "~"));
});

Deno.test("install.sh installs the files that are in contrib/share", async () => {
  const [, list] = (await Deno.readTextFile(`${ROOT}install.sh`)).match(/^shared='([^']*)'$/m) ?? [];
  const paths = Object.keys(FILES).filter((path) => path.startsWith(`${INSTALLED}/`));
  assertEquals(list.split(/\s+/).toSorted(), paths.map((path) => path.slice(INSTALLED.length + 1)).toSorted());
});

Deno.test("BAD_FATES are fates, and those of a finished or a deliberate end are none of them", () => {
  assert(BAD_FATES.every((fate) => FATE_NAMES.includes(fate)));
  for (const fate of ["connect_failed", "no_server", "refused_limit", "server_lost", "worker_lost"] as const) {
    assert(BAD_FATES.includes(fate), fate);
  }
  for (const fate of ["done", "client_gone", "removed", "closed", "stopped"] as const) assert(!BAD_FATES.includes(fate), fate);
});

Deno.test("the dashboard's panels have numbers all different, known types, a title and a description", () => {
  assertEquals(new Set(all.map(({ id }) => id)).size, all.length);
  for (const { type, title, description } of shown) {
    assert(["timeseries", "stat", "table", "bargauge", "heatmap"].includes(type), `${title} is a ${type}`);
    assert(title !== "" && description !== undefined && description !== "", title);
  }
});

Deno.test("the dashboard's panels do not overlap, and stay within 24 columns", () => {
  const placed = new Map<string, string>();
  for (const { title, gridPos: { x, y, w, h } } of all) {
    assert(x >= 0 && x + w <= 24 && w > 0 && h > 0, title);
    for (let column = x; column < x + w; column++) {
      for (let line = y; line < y + h; line++) {
        const other = placed.get(`${column},${line}`);
        assertEquals(other, undefined, `${title} is on top of ${other}`);
        placed.set(`${column},${line}`, title);
      }
    }
  }
});

Deno.test("the dashboard opens with what is needed first, and keeps the rest closed", () => {
  const rows = all.filter(({ type }) => type === "row");
  assertEquals(rows.filter(({ collapsed }) => !collapsed).map(({ title }) => title), ["Now", "Servers"]);
  for (const { collapsed, panels = [] } of rows) assertEquals(panels.length > 0, collapsed);
});

Deno.test("every query of the dashboard asks the chosen datasource for metrics that there are", () => {
  assertEquals(dashboard.__inputs.map(({ name }) => name), ["DS_PROMETHEUS"]);
  for (const { title, datasource, targets = [] } of shown) {
    assertEquals(datasource?.uid, "${DS_PROMETHEUS}", title);
    assertEquals(new Set(targets.map(({ refId }) => refId)).size, targets.length, title);
    assert(targets.length > 0, title);
  }
  for (const expr of [...expressions, ...dashboard.templating.list.map(({ definition }) => definition)]) {
    assert(metricsIn(expr).length > 0, expr);
    for (const name of metricsIn(expr)) assert(NAMES.has(name), `${expr} asks for ${name}`);
    assertEquals(expr.includes("server=~"), /balancer_server_/.test(expr) && !expr.startsWith("label_values"), expr);
  }
  assertEquals(dashboard.templating.list.map(({ name }) => name), ["instance", "server"]);
});

Deno.test("every metric is on the dashboard", () => {
  const asked = new Set(expressions.flatMap(metricsIn));
  for (const { name, type } of FAMILIES) assert(asked.has(type === "histogram" ? `${name}_bucket` : name), name);
});

Deno.test("every state of a server has a colour of its own in the table of servers", () => {
  const table = shown.find(({ title, type }) => title === "Servers" && type === "table") as unknown as {
    fieldConfig: { overrides: { properties: { id: string; value: { options: Record<string, { color: string }> }[] }[] }[] };
  };
  const [{ options }] = table.fieldConfig.overrides[0].properties[0].value;
  assertEquals(Object.keys(options), [...SERVER_STATES]);
  assertEquals(new Set(Object.values(options).map(({ color }) => color)).size, SERVER_STATES.length);
});

Deno.test("every alert asks for metrics that there are, and says what to do", () => {
  for (const [name, { expr, summary, description }] of Object.entries(ALERTS)) {
    for (const metric of metricsIn(expr)) assert(NAMES.has(metric), `${name} asks for ${metric}`);
    assert(!summary.endsWith(".") && description.endsWith("."), name);
  }
});

const FATE = 'balancer_connection_fates_total{job="balancer",instance="a",fate=';
const CHECK = 'balancer_server_checks_total{job="balancer",instance="a",service="default",server="s",outcome=';
const STATE = 'balancer_server_state{job="balancer",instance="a",service="default",server="s",state="down"}';

/** What makes each alert fire, minute by minute, and when; and what does not. */
const PLAYED: Readonly<Record<keyof typeof ALERTS, { fires: readonly string[]; at: string; not: readonly string[] }>> = {
  BalancerUnreachable: { fires: ['up{job="balancer",instance="a"} 0x20'], at: "2m", not: ['up{job="balancer",instance="a"} 1x20'] },
  BalancerServerDown: { fires: [`${STATE} 1x20`], at: "3m", not: [`${STATE} 1 1 0 1 1 0 1 1 0`] },
  BalancerPoolSmall: {
    fires: ['balancer_servers{instance="a",state="up"} 1x20', 'balancer_servers{instance="a",state="down"} 2x20'],
    at: "2m",
    not: ['balancer_servers{instance="a",state="up"} 1x20', 'balancer_servers{instance="a",state="draining"} 2x20'],
  },
  BalancerConnectionsFail: {
    fires: [`${FATE}"done"} 0+90x20`, `${FATE}"connect_failed"} 0+10x20`],
    at: "12m",
    not: [`${FATE}"done"} 0+90x20`, `${FATE}"client_gone"} 0+10x20`, `${FATE}"connect_failed"} 0+1x20`],
  },
  BalancerNearConnectionLimit: {
    fires: ['balancer_open_connections{instance="a"} 81x20', 'balancer_open_connections_max{instance="a"} 100x20'],
    at: "6m",
    not: ['balancer_open_connections{instance="a"} 79x20', 'balancer_open_connections_max{instance="a"} 100x20'],
  },
  BalancerLocalPortsRunOut: {
    fires: ['balancer_server_local_ports_ratio{instance="a",service="default",server="s"} 0.81x20'],
    at: "6m",
    not: ['balancer_server_local_ports_ratio{instance="a",service="default",server="s"} 0.79x20'],
  },
  BalancerRingsDiffer: {
    fires: ["a", "b"].map((it) => `balancer_ring_info{job="balancer",instance="${it}",service="default",fingerprint="${it}"} 1x20`),
    at: "6m",
    // The services of a balancer have rings of their own.
    not: ["a", "b"].flatMap((instance) =>
      ["web", "db"].map((service) =>
        `balancer_ring_info{job="balancer",instance="${instance}",service="${service}",fingerprint="${service}"} 1x20`
      )
    ),
  },
  BalancerNoClients: {
    fires: ['balancer_accepted_connections_total{instance="a"} 0+10x60 600x20'],
    at: "1h8m",
    not: ['balancer_accepted_connections_total{instance="a"} 0+10x80'],
  },
  BalancerChecksFail: {
    fires: [`${CHECK}"passed"} 0+24x40`, `${CHECK}"no_answer"} 0+6x40`, `${STATE} 0x40`],
    at: "25m",
    not: [`${CHECK}"passed"} 0+24x40`, `${CHECK}"no_answer"} 0+6x40`, `${STATE} 1x40`],
  },
};

/** The input of `promtool test rules`: each alert with what makes it fire, and with what does not. */
function rulesTest(): string {
  const cases = Object.entries(PLAYED).flatMap(([alertname, { fires, at, not }]) =>
    [{ series: fires, fires: true }, { series: not, fires: false }].map(({ series, fires }) => ({
      interval: "1m",
      name: `${alertname} ${fires ? "fires" : "does not fire"}`,
      input_series: series.map((line) => {
        const end = line.lastIndexOf("}") + 1;
        return { series: line.slice(0, end), values: line.slice(end + 1) };
      }),
      // Whether it fires, and not with which texts: those are templates, which `check rules` reads.
      promql_expr_test: [{
        expr: `count(ALERTS{alertname="${alertname}",alertstate="firing"}) or vector(0)`,
        eval_time: at,
        exp_samples: [{ labels: "{}", value: fires ? 1 : 0 }],
      }],
    }))
  );
  return JSON.stringify({ rule_files: [`${ROOT}contrib/prometheus/alerts.yaml`], evaluation_interval: "1m", tests: cases });
}

async function promtool(input: string, ...args: string[]): Promise<void> {
  const path = await Deno.makeTempFile({ prefix: "balancer_test_", suffix: ".yaml" });
  try {
    await Deno.writeTextFile(path, input);
    const command = new Deno.Command("sh", { args: ["-c", `promtool ${args.join(" ")}`, path] });
    const { code, stdout, stderr } = await outcomeOf(command, PROMTOOL_MAX_MS);
    assertEquals(code, 0, stdout + stderr);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test(await needing("promtool reads the alerts", "promtool", "sh"), async () => {
  await promtool(FILES["contrib/prometheus/alerts.yaml"](), "check rules", '"$0"');
});

Deno.test(await needing("each alert fires when it should, and not when it should not", "promtool", "sh"), async () => {
  assertEquals(Object.keys(PLAYED), Object.keys(ALERTS));
  await promtool(rulesTest(), "test rules", '"$0"');
});

Deno.test(await needing("promtool finds no fault with the metrics", "promtool", "sh"), async () => {
  const measured: Measured = {
    version: "1.2.3",
    engine: "streams",
    startedAtSeconds: 1_700_000_000.5,
    connectionsMax: 1000,
    localPorts: 28_232,
    services: [{
      name: "default",
      index: 0,
      fingerprint: "0a1b2c3d",
      servers: [{ name: "10.0.0.1:80", slot: 0, state: "up", weight: 1, sources: 1 }, {
        name: "[::1]:80",
        slot: 1,
        state: "down",
        weight: 2,
        sources: 1,
      }],
    }],
    listeners: [{ index: 0, address: "[::1]:8080", service: "default" }],
  };
  const counters = new Counters(allocateCounters(0, 2));
  counters.addConnect(1, 0.02);
  counters.addFate("done", 0, 1, 12.5);
  await promtool((await writeMetrics(counters, measured)).text, "check metrics", '< "$0"');
});
