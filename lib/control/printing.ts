/** The answers of the daemon as people read them: tables and sentences. Asks nothing and decides nothing. */

import { formatBytes } from "@std/fmt";
import type { OptionSpec } from "../values/command_line.ts";
import { isDaemonSetting, SETTINGS, STANDARD_OUTPUT } from "../values/config.ts";
import { formatDuration } from "../values/duration.ts";
import { PLAIN, type Style } from "../values/terminal.ts";
import { alignColumns, indent, type Side } from "../values/text_layout.ts";
import type { Answers } from "./api.ts";

/** The most lines that say why servers are not up, and the most lines of a plan that say where clients move. */
const REASONS_MAX = 20;
const FLOWS_MAX = 12;

/** Columns of the list of servers: numbers stand on the right. */
const LIST_SIDES: readonly Side[] = ["left", "left", "right", "right", "right", "right", "right", "right", "right"];

/** The colours of states; one that is missing has none. */
const STATE_PAINTS: Readonly<Record<string, "good" | "warning" | "bad">> = {
  up: "good",
  down: "bad",
  resting: "warning",
  draining: "warning",
  removing: "warning",
};

/** The servers, why some of them are not up, and the ring. */
export function printList({ servers, ring }: Answers["servers"], style: Style = PLAIN): string {
  if (servers.length === 0) {
    const wayOut = "Add one with balancerctl add <inet_address> <inet_port>";
    return `No servers: clients are turned away. ${wayOut}\nRing ${ring.fingerprint}: empty`;
  }
  const hasTiers = servers.some(({ tier }) => tier > 0);
  const names = ["SERVER", "STATE", ...(hasTiers ? ["TIER"] : []), "WEIGHT", "OPEN", "TOTAL", "SENT", "RECEIVED", "SHARE"];
  const heading = names.map(style.heading);
  const rows = servers.map((server) => [
    server.server,
    paintState(server.state, style),
    ...(hasTiers ? [String(server.tier)] : []),
    String(server.weight),
    server.connectionsMax === null ? String(server.open) : `${server.open}/${server.connectionsMax}`,
    String(server.connects),
    formatBytes(server.sentBytes),
    formatBytes(server.receivedBytes),
    server.share === 0 ? "-" : percent(server.share),
  ]);
  const summary = `${plural(servers.filter(({ share }) => share > 0).length, "server")}, ${ring.points} points`;
  return [
    ...alignColumns([heading, ...rows], LIST_SIDES),
    `Ring ${ring.fingerprint}: ${summary}, largest share ${ring.peakToMean.toFixed(2)} times the fair share`,
    ...servers.filter(({ reason }) => reason !== null).slice(0, REASONS_MAX).map(({ server, state, since, reason }) =>
      `${server}: ${paintState(state, style)} since ${timeOf(since)}: ${reason}`
    ),
  ].join("\n");
}

function paintState(state: string, style: Style): string {
  const role = STATE_PAINTS[state];
  return role === undefined ? state : style[role](state);
}

/** A check: its steps, each with its time, and what it has found. */
export function printCheck(
  { server, check, asked, steps, verdict, reason, durationMs }: Answers["check"],
  style: Style = PLAIN,
): string {
  const rows = steps.map(({ step, detail, atMs }) => [`${atMs.toFixed(1)} ms`, step, detail]);
  const found = verdict === "passed" ? style.good("passed") : style[verdict === "failed" ? "bad" : "warning"](verdict);
  const why = reason === null ? "" : `: ${reason}`;
  return [
    `Check ${check} of server ${server}${asked === server ? "" : `, on ${asked}`}`,
    ...indent(alignColumns(rows, ["right", "left", "left"])),
    `${found} after ${durationMs.toFixed(1)} ms${why}`,
  ].join("\n");
}

/** A plan: which clients would move, and what would happen to open connections. */
export function printPlan(plan: Answers["plan"]): string {
  const { change, flows, peakToMean, servers, connections } = plan;
  const verb = { add: "Adding", remove: "Removing", weight: "Changing the weight of" }[change.kind];
  const weight = change.weight === undefined ? "" : ` (weight ${change.weight})`;
  const shown = flows.slice(0, FLOWS_MAX).map(({ from, to, share }) => [
    percent(share),
    from ?? "(no server)",
    "to",
    to ?? "(no server)",
  ]);
  const more = flows.length - shown.length;
  const outcomes = connections.map(({ count, state, outcome }) => [String(count), state, outcome]);
  const [before, after] = [peakToMean.before, peakToMean.after].map((ratio) => ratio.toFixed(2));
  const pools = `${plural(servers.before, "server")} now, ${servers.after} afterwards`;
  return [
    `${verb} ${change.server}${weight} ${effectOf(plan)}`,
    ...indent(alignColumns(shown)),
    ...(more > 0 ? [`  and ${more} more`] : []),
    `Largest share: ${before} times the fair share now, ${after} afterwards (${pools})`,
    outcomes.length === 0 ? "No open connection is affected" : "Affected open connections:",
    ...indent(alignColumns(outcomes)),
  ].join("\n");
}

/** What a plan says of new clients. */
function effectOf({ policy, movedShare, share, tiers: { before, after } }: Answers["plan"]): string {
  const isOther = before.low !== after.low || before.high !== after.high;
  const use = isOther ? `; new clients use ${tiersText(before)} now and ${tiersText(after)} afterwards` : "";
  if (movedShare !== null) return `moves ${percent(movedShare)} of all clients${use}:`;
  const part = share === null
    ? ""
    : `: ${percent(share.before)} of the new clients now and ${percent(share.after)} afterwards, by weight`;
  return `moves no client that is known beforehand: the policy ${policy} chooses when a client comes${part}${use}`;
}

function tiersText({ low, high }: { readonly low: number; readonly high: number }): string {
  return low === high ? `tier ${low}` : `tiers ${low} to ${high}`;
}

/** Where a client is on the ring, and the servers that it is offered to. */
export function printExplanation(explanation: Answers["explanation"]): string {
  const { client, hash, server, reason, tiers, order } = explanation;
  const rows = order.map(({ server, state, open, verdict, why }) => [
    server,
    state,
    `${open} open`,
    why === null ? verdict : `${verdict}: ${why}`,
  ]);
  const inTiers = tiers === null ? "" : ` (new clients use ${tiersText(tiers)})`;
  const chosen = reason === null
    ? `It gets server ${server}; the servers in the order of the ring${inTiers}:`
    : `It would get server ${server}, ${reason}; the servers in the order of the policy${inTiers}:`;
  return [
    `Client ${client} has the hash ${hash}; ${placeText(explanation)}`,
    server === null ? "No server can take it now" : chosen,
    ...indent(alignColumns(rows)),
  ].join("\n");
}

function placeText({ policy, probe, point, distance }: Answers["explanation"]): string {
  if (policy !== "ring") return `the policy ${policy} does not go by it`;
  if (distance === null) return "the ring is empty";
  const part = (distance * 100).toPrecision(2);
  return `its probe ${probe} is the nearest to a point of the ring (${point}), ${part} % of the circle away`;
}

/** Recently ended connections, a line each. */
export function printRecent({ ends, leftOut }: Answers["recent"], style: Style = PLAIN): string {
  if (ends.length === 0) return "No such connection has ended recently";
  const heading = ["AT", "CLIENT", "SERVER", "FATE", "LASTED", "SENT", "RECEIVED", "WHY"].map(style.heading);
  const rows = ends.map((end) => [
    timeOf(end.at),
    end.client,
    end.server ?? "-",
    end.fate,
    formatDuration(Math.max(1, Math.round(end.durationMs))),
    formatBytes(end.sentBytes),
    formatBytes(end.receivedBytes),
    [end.moves > 0 ? `moved ${plural(end.moves, "time")}` : "", end.reason ?? ""].filter((part) => part !== "").join("; "),
  ]);
  const more = leftOut > 0 ? [`${leftOut} more were not recorded: too many ended in one second`] : [];
  return [...alignColumns([heading, ...rows]), ...more].join("\n");
}

/** Columns of the list of clients. */
const CLIENT_SIDES: readonly Side[] = ["left", "right", "right", "right", "right", "right", "left", "left"];

/** The clients that have most, a line each. */
export function printClients(answer: Answers["clients"], style: Style = PLAIN): string {
  const { counted, dryRun, windowMs, tracked, untracked, clients } = answer;
  if (!counted) {
    return "Clients are not counted: start the balancer with --client-connections or --client-rate; " +
      "with --limits-dry-run it counts and refuses nobody";
  }
  const isMixed = new Set(clients.map(({ limit }) => limit)).size > 1;
  const arrived = `NEW/${formatDuration(windowMs)}`;
  const heading = ["CLIENT", "OPEN", arrived, dryRun ? "WOULD REFUSE" : "REFUSED", "SENT", "RECEIVED", "NEXT"];
  const rows = clients.map((client) => [
    client.client,
    String(client.open),
    String(client.arrivals),
    String(client.refused),
    formatBytes(client.sentBytes),
    formatBytes(client.receivedBytes),
    client.next ?? "-",
    ...(isMixed ? [client.limit] : []),
  ]);
  const table = alignColumns([[...heading, ...(isMixed ? ["LIMIT"] : [])].map(style.heading), ...rows], CLIENT_SIDES);
  const missed = untracked > 0 ? `; ${plural(untracked, "connection")} could not be counted: the table was full` : "";
  return [
    ...(clients.length > 0 ? table : ["No client has connected yet"]),
    `${plural(clients.length, "client")} of ${tracked} known${missed}`,
    ...(dryRun ? ["Dry run: nobody is refused"] : []),
  ].join("\n");
}

/** The result of moving connections to their owners. */
export function printRebalance({ away, busy, moved }: Answers["rebalance"]): string {
  const left = busy === 0 ? "" : `; ${busy} more ${busy === 1 ? "was" : "were"} busy and stayed: run it again later`;
  if (away === 0) return `No idle connection is away from its owner${left}`;
  return `Moved ${moved} of ${plural(away, "connection")} to ${away === 1 ? "its owner" : "their owners"}${left}`;
}

/** An ISO 8601 time without its fraction. */
function timeOf(iso: string): string {
  return iso.replace(/\.\d+Z$/, "Z");
}

/** What runs, where it listens, and how its connections ended. */
export function printStatus(status: Answers["status"], style: Style = PLAIN): string {
  const { connections, servers, services } = status;
  const isOne = services.length === 1;
  const fates = Object.entries(status.fates).filter(([, count]) => count > 0).map(([fate, count]) => `${fate} ${count}`);
  const rows = [
    ["Balancer", `${status.name}${status.stopping ? " (stopping)" : ""}, version ${status.version}, pid ${status.pid}`],
    [
      "Listens on",
      `${
        (isOne ? services[0].listeners : []).map(({ listener }) => listener).join(", ") || plural(services.length, "service")
      }, engine ${status.engine}`,
    ],
    ["Running since", status.startedAt],
    ["Servers", describeStates(servers)],
    ["Connections", `${connections.open} open of at most ${connections.max}, ${connections.accepted} accepted`],
    ["Ended", fates.join(", ") || "none"],
    ["Settings", describeSettings(isOne ? status.settings : daemonSettings(status))],
    ...(isOne ? [] : services.map(serviceRow)),
    ["State", status.stateFile ?? "not kept (--no-state)"],
    ["Log", status.logFile ?? "standard error"],
    ["Access log", status.accessLog === STANDARD_OUTPUT ? "standard output" : status.accessLog ?? "off"],
    ...(status.http === null ? [] : [["HTTP", `http://${status.http}/metrics, /live and /ready`]]),
    ...status.warnings.map((warning) => ["Warning", warning]),
  ];
  return indent(alignColumns(rows.map(([name, text]) => [style.heading(name), text]))).join("\n");
}

/** The services, a line each, and what is wrong with them. */
export function printServices({ services }: Answers["services"], style: Style = PLAIN): string {
  const heading = ["SERVICE", "LISTENS ON", "SERVERS", "OPEN", "ACCEPTED", "RING"].map(style.heading);
  const rows = services.map(({ service, listeners, servers, open, accepted, fingerprint, removing }) => [
    removing ? `${service} (removing)` : service,
    listeners.map(({ listener }) => listener).join(", ") || "-",
    describeStates(servers),
    String(open),
    String(accepted),
    fingerprint,
  ]);
  return [
    ...alignColumns([heading, ...rows], ["left", "left", "left", "right", "right", "left"]),
    ...services.flatMap(faultsOf).map((fault) => style.bad(fault)),
  ].join("\n");
}

function faultsOf({ service, listeners }: Answers["service"]): string[] {
  return listeners.flatMap(({ fault }) => fault === null ? [] : [`Service ${service}: ${fault}; it is tried again`]);
}

/** `2 up, 1 down`. */
function describeStates(servers: Readonly<Record<string, number>>): string {
  const shown = Object.entries(servers).filter(([state, count]) => state === "up" || count > 0);
  return shown.map(([state, count]) => `${count} ${state}`).join(", ");
}

/** Where a service listens. */
export function printListening({ service, listeners }: Answers["service"]): string {
  return `Service ${service} listens on ${listeners.map(({ listener }) => listener).join(", ")}`;
}

/** The settings that differ from the default, by their proper flags alone: an answer has those with an alias twice. */
export function describeSettings(settings: Readonly<Record<string, string>>): string {
  const rows: readonly OptionSpec[] = Object.values(SETTINGS);
  const aliases = new Set(rows.flatMap(({ aliases = [] }) => aliases));
  const known = new Map(rows.map((row) => [row.flag, row]));
  const changed = Object.entries(settings).filter(([flag]) => !aliases.has(flag)).flatMap(([flag, value]) => {
    const row = known.get(flag);
    if (row !== undefined && row.value === undefined) return value === "on" ? [`--${flag}`] : [];
    return value === row?.default ? [] : [`--${flag} ${quoted(value)}`];
  });
  return changed.length === 0 ? "all have their defaults" : `${changed.join(" ")}; the others have their defaults`;
}

/** The settings that are no service's. */
function daemonSettings({ settings }: Answers["status"]): Record<string, string> {
  return Object.fromEntries(Object.entries(settings).filter(([flag]) => isDaemonSetting(flag) === true));
}

/** A service in the status, where there are several. */
function serviceRow({ service, listeners, servers, open, settings }: Answers["service"]): [string, string] {
  const where = listeners.map(({ listener }) => listener).join(", ") || "no address";
  return [`Service ${service}`, `${where}; ${describeStates(servers)}; ${open} open; ${describeSettings(settings)}`];
}

/** `1 server`, `2 servers`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** `12.5 %`. */
export function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** A word quoted for a shell. */
function quoted(word: string): string {
  return /^[\w:/.,%-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
