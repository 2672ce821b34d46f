/**
 * The tables of the documents, made from the code they describe. `deno task tables` writes them into README.md and docs/*.md
 * between their marks; `tests/tidy_test.ts` fails where they differ.
 */

import type { OptionSpec } from "../lib/values/command_line.ts";
import { LIMITS, SETTINGS } from "../lib/values/config.ts";
import { COMMANDS } from "../lib/control/commands.ts";
import { demoCommand } from "../lib/demo/command.ts";
import { EMPTY_STAGE } from "../lib/demo/stage.ts";
import { ABILITIES, type Ability } from "../lib/engine/abilities.ts";
import { ENGINES } from "../lib/engine/mod.ts";
import { FATES } from "../lib/values/fates.ts";
import { DURATION_MAX_MS, formatDuration } from "../lib/values/duration.ts";
import { EXIT } from "../lib/values/errors.ts";
import { daemonEffects } from "../lib/values/setting_effects.ts";
import { formatSize } from "../lib/values/size.ts";
import { ACCESS_FIELDS } from "../lib/observe/access_line.ts";
import { FAMILIES } from "../lib/observe/metrics.ts";
import { ALERTS } from "./contrib/alerts.ts";
import { WORKLOADS } from "./bench/workloads.ts";

const ROOT = `${import.meta.dirname}/../`;

/** The rows of a table; those with the same group stand under a heading of their own. */
interface Row {
  readonly group?: string;
  readonly cells: readonly string[];
}

/** A table as it is written. */
export interface Table {
  readonly heading: readonly string[];
  readonly rows: readonly Row[];
}

/** Rows of another document's table, for a document that shows only the most important ones. */
interface Excerpt {
  readonly from: string;
  /** The mark in front of the table. */
  readonly mark: string;
  /** The columns that are taken, and what they are called here. */
  readonly columns: readonly (readonly [theirs: string, ours: string])[];
  /** Whether a row is taken, by the cells of the whole row. */
  readonly takes: (cells: readonly string[]) => boolean;
}

/** Documents by their path from the root. */
export type Documents = ReadonlyMap<string, string>;

const EXIT_MEANINGS: Record<keyof typeof EXIT, string> = {
  done: "done; `diff`: nothing differs",
  failed: "it failed; standard error says why. `diff`: something differs",
  usage: "the command line is wrong. `diff`: also if it failed",
  notRunning: "no balancer of that name is running",
};

const LIMIT_MEANINGS: Record<keyof typeof LIMITS, readonly [what: string, format: (limit: number) => string]> = {
  serversMax: ["Servers of all services", count],
  servicesMax: ["Services of a balancer", count],
  listenersMax: ["Listeners of all services, one for each port", count],
  declaredFileBytesMax: ["Declared file", formatSize],
  portRangeMax: ["Ports in one range", count],
  applyBytesMax: ["Request to apply a declared file", formatSize],
  weightMax: ["Weight of a server", count],
  tierMax: ["Tier of a server", count],
  weightTotalMax: ["Sum of the weights in a pool", count],
  serverConnectionsMax: ["Connection limit of a server", count],
  connectionsMax: ["Open connections of a balancer, if the limit on open files permits", count],
  clientConnectionsMax: ["`--client-connections`, and the number of `--client-rate`", count],
  clientsTrackedMax: ["Addresses or prefixes of clients that are counted at a time", count],
  listPrefixesMax: ["Prefixes in a list (`--allow`, `--deny`)", count],
  listFileBytesMax: ["File of a list", formatSize],
  clientsShownMax: ["Clients that `clients --top` shows", count],
  replayBytesMax: ["Bytes kept for replay, per client (the most that `--replay-buffer` takes)", formatSize],
  replayBytesTotalMax: ["Bytes kept for replay, all clients of a worker together", formatSize],
  lameDuckMaxMs: ["Time that a lame duck serves", formatDuration],
  restMaxMs: ["Time that a resting server is left alone", formatDuration],
  namesCachedMs: ["Time that the addresses of a server's name are cached", formatDuration],
  rebalanceRateMax: ["Connections per second that `rebalance` moves", count],
  successorsMax: ["Servers that `explain --successors` shows", count],
  recentMax: ["Ended connections in one answer", count],
  proxyHeaderBytesMax: ["PROXY protocol header", formatSize],
  helloBytesMax: ["First message of a TLS client (ClientHello) with its records", formatSize],
  requestBytesMax: ["Body of a request on the control socket", formatSize],
  requestTimeMaxMs: ["Time for a request to arrive on the control socket or on `--http`", formatDuration],
  controlConnectionsMax: ["Connections to the control socket", count],
  controlWaitingMax: ["Connections to the control socket that have sent no request", count],
  httpConnectionsMax: ["Connections to the address of `--http`", count],
  requestHeadersMax: ["Header lines of a request, on the control socket and on `--http`", count],
  stateFileBytesMax: ["State file", formatSize],
  caFileBytesMax: ["File of authorities for HTTPS checks", formatSize],
  acceptProxyMax: ["Prefixes of `--accept-proxy`", count],
  sourcesMax: ["Addresses of `--source`", count],
  workersMax: ["Workers (threads of engine `epoll`)", count],
  busyPollMaxMicros: ["`--busy-poll`", (limit) => `${count(limit)} µs`],
  batchMaxMicros: ["`--batch`", (limit) => `${count(limit)} µs`],
  deferAcceptMaxMs: ["`--defer-accept`", formatDuration],
  tcpTimeMaxMs: ["`--keep-alive`, `--user-timeout`, `--server-timeout`", formatDuration],
  acceptBacklog: ["Clients that wait to be accepted, if `net.core.somaxconn` permits", count],
};

/** Every table, by its mark: `<!-- table: name -->`. */
export const TABLES: Readonly<Record<string, Table>> = {
  commands: {
    heading: ["Command", "What it does", "Options"],
    rows: Object.entries({ ...COMMANDS, demo: demoCommand(() => EMPTY_STAGE) }).map(([name, command]) => ({
      ...groupOf(command),
      cells: [
        code([name, ...command.arguments.map((argument) => `<${argument}>`)].join(" ")),
        command.summary,
        (settingsOf(name) === undefined ? codes(command.options) : [settingsOf(name), ...codes(beyondSettings(command.options))])
          .join(", "),
      ],
    })),
  },
  settings: {
    heading: ["Setting", "Default", "Meaning"],
    rows: Object.values(SETTINGS).map((setting) => ({
      ...groupOf(setting),
      cells: [
        code(["--" + setting.flag, "value" in setting ? setting.value : ""].join(" ").trim()),
        code(setting.default),
        setting.summary,
      ],
    })),
  },
  daemon_effects: {
    heading: ["A change of", "Holds"],
    rows: daemonEffects().map(({ flags, effect }) => ({
      cells: [flags.map((flag) => code(`--${flag}`)).join(", "), effect.replace(/^holds /, "")],
    })),
  },
  engines: {
    heading: ["What", ...Object.keys(ENGINES).map(code)],
    rows: Object.entries(ABILITIES).map(([ability, { what, can, cannot }]) => ({
      cells: [what, ...Object.values(ENGINES).map((kind) => kind.cannot.includes(ability as Ability) ? cannot : can)],
    })),
  },
  fates: {
    heading: ["Fate", "What ended the connection", "Log level"],
    rows: Object.entries(FATES).map(([fate, { help, level }]) => ({ cells: [code(fate), help, level] })),
  },
  metrics: {
    heading: ["Metric", "Type", "Meaning"],
    rows: FAMILIES.map(({ name, type, help }) => ({ cells: [code(name), type, help] })),
  },
  alerts: {
    heading: ["Alert", "Fires when", "For", "Severity"],
    rows: Object.entries(ALERTS).map(([name, { when, for: wait, severity }]) => ({ cells: [code(name), when, wait, severity] })),
  },
  access: {
    heading: ["Field", "Lines", "Type", "Meaning"],
    rows: Object.entries(ACCESS_FIELDS).map(([name, field]) => ({
      cells: [code(name), "atStart" in field ? "start, end" : "end", field.type, field.help],
    })),
  },
  exits: {
    heading: ["Exit code", "Meaning"],
    rows: Object.entries(EXIT).map(([name, number]) => ({ cells: [String(number), EXIT_MEANINGS[name as keyof typeof EXIT]] })),
  },
  limits: {
    heading: ["What", "At most"],
    rows: [
      ...Object.entries(LIMITS).map(([name, limit]) => {
        const [what, format] = LIMIT_MEANINGS[name as keyof typeof LIMITS];
        return { cells: [what, format(limit)] };
      }),
      { cells: ["Any other time", formatDuration(DURATION_MAX_MS)] },
    ],
  },
  workloads: {
    heading: ["Workload", "What it does", "Threads"],
    rows: Object.entries(WORKLOADS).map(([name, { summary, workers }]) => ({ cells: [name, summary, String(workers)] })),
  },
};

/** Every excerpt, by its mark: `<!-- excerpt: name -->`. Its figures stand once, in the document that they come from. */
const EXCERPTS: Readonly<Record<string, Excerpt>> = {
  speed: {
    from: "docs/performance.md",
    mark: "<!-- bench -->",
    columns: [
      ["Workload", "Workload"],
      ["Compared", "Compared"],
      ["epoll / HAProxy", "balancer / HAProxy"],
      ["epoll / nginx", "balancer / nginx"],
    ],
    takes: ([workload]) => ["keepalive", "connections", "idle"].includes(workload),
  },
  lost: {
    from: "docs/redistribution.md",
    mark: "<!-- lost -->",
    columns: [
      ["Balancer", "Balancer"],
      ["Level", "Level"],
      ["of them idle", "Idle clients that kept their connection"],
      ["waiting", "Clients waiting for an answer that kept it"],
    ],
    takes: ([balancer, level, loss]) =>
      loss === "killed" && ((balancer.includes("`epoll`") && level === "`idle`") || ["HAProxy", "nginx"].includes(balancer)),
  },
};

/** README.md and every document in docs/. */
export async function readDocuments(): Promise<Documents> {
  const paths = ["README.md"];
  for await (const { name } of Deno.readDir(`${ROOT}docs`)) if (name.endsWith(".md")) paths.push(`docs/${name}`);
  return new Map(await Promise.all(paths.toSorted().map(async (path) => [path, await Deno.readTextFile(ROOT + path)] as const)));
}

/** The document with every marked table made anew. Throws for a mark that no table has. */
export function withTables(text: string, documents: Documents): string {
  return text.replace(/(<!-- (table|excerpt): (\w+) -->)[^]*?(<!-- end -->)/g, (_, start, kind, name, end) => {
    const table = kind === "table" ? TABLES[name] : name in EXCERPTS ? takeExcerpt(EXCERPTS[name], documents) : undefined;
    if (table === undefined) throw new Error(`There is no ${kind} ${name}`);
    return `${start}\n\n${sectionsOf(table)}\n\n${end}`;
  });
}

/** A table for each group, with a heading; one table where there are no groups. */
export function sectionsOf({ heading, rows }: Table): string {
  const groups = Map.groupBy(rows, ({ group }) => group ?? "");
  return [...groups].map(([group, rows]) => {
    const table = markdown([heading, ...rows.map(({ cells }) => cells)]);
    return group === "" ? table : `### ${group[0].toUpperCase()}${group.slice(1)}\n\n${table}`;
  }).join("\n\n");
}

function takeExcerpt({ from, mark, columns, takes }: Excerpt, documents: Documents): Table {
  const [, behind = ""] = documents.get(from)?.split(mark) ?? [];
  const [table] = behind.trimStart().split("\n\n");
  const [heading, , ...rows] = [...table.matchAll(/^\| (.*) \|$/gm)].map(([, line]) => line.split("|").map((cell) => cell.trim()));
  const indexes = columns.map(([theirs]) => {
    const index = heading?.indexOf(theirs) ?? -1;
    if (index < 0) throw new Error(`${from} has no column ${theirs} behind ${mark}`);
    return index;
  });
  const taken = rows.filter(takes).map((row) => ({ cells: indexes.map((index) => row[index]) }));
  return { heading: columns.map(([, ours]) => ours), rows: taken };
}

/** A Markdown table in the form that `deno fmt` gives it. */
function markdown([heading, ...rows]: readonly (readonly string[])[]): string {
  const escaped = [heading, ...rows].map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = heading.map((_, i) => Math.max(3, ...escaped.map((row) => row[i].length)));
  const line = (cells: readonly string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`;
  return [line(escaped[0]), line(widths.map((width) => "-".repeat(width))), ...escaped.slice(1).map(line)].join("\n");
}

/** The heading that a row of the code stands under, where it says one. */
function groupOf(row: object): { group?: string } {
  return "group" in row && typeof row.group === "string" ? { group: row.group } : {};
}

function codes(options: readonly OptionSpec[]): string[] {
  return options.map(({ flag }) => code(`--${flag}`));
}

/** What is said in place of the options of a command that has very many. */
function settingsOf(command: string): string | undefined {
  if (command === "start") return "every setting";
  if (command === "daemon set") return "every setting of the daemon";
  return ["service add", "service set"].includes(command) ? "every setting of a service" : undefined;
}

function beyondSettings(options: readonly OptionSpec[]): OptionSpec[] {
  return options.filter(({ flag }) => !Object.values(SETTINGS).some((setting) => setting.flag === flag));
}

function code(text: string): string {
  return `\`${text}\``;
}

function count(number: number): string {
  return number.toLocaleString("en-US");
}

if (import.meta.main) {
  const documents = await readDocuments();
  for (const [path, text] of documents) await Deno.writeTextFile(ROOT + path, withTables(text, documents));
}
