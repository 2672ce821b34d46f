/** The answers of the daemon as people read them: tables and sentences. Asks nothing and decides nothing. */

import { formatBytes } from "@std/fmt";
import type { OptionSpec } from "../values/command_line.ts";
import { isDaemonSetting, SETTINGS, STANDARD_OUTPUT } from "../values/config.ts";
import { plural } from "../values/count.ts";
import { formatDuration } from "../values/duration.ts";
import { PLAIN, type Style } from "../values/terminal.ts";
import { alignColumns, indent, type Side } from "../values/text_layout.ts";
import { EVENT_KINDS } from "../observe/events.ts";
import type { Flow } from "../routing/flows.ts";
import type { BoundHit, PlannedConnections } from "../routing/forecast.ts";
import type { TransitionPlan } from "../routing/plan.ts";
import type { ServiceChange, ServicePlan, StatePlan } from "../routing/state_plan.ts";
import type { Answers } from "./api.ts";

/** The most lines that say why servers are not up, and the most lines of a plan that say where clients move. */
const REASONS_MAX = 20;
const FLOWS_MAX = 12;
/** The most lines of a service in a plan of several: where clients move, and which bounds are hit. */
const SERVICE_FLOWS_MAX = 5;
const BOUNDS_MAX = 10;

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
export function printList({ servers, ring, hold }: Answers["servers"], style: Style = PLAIN): string {
  if (servers.length === 0) {
    const wayOut = "Add one with balancerctl add <inet_address> <inet_port>";
    const what = hold.timeMs > 0 || hold.pause !== null ? "wait" : "are turned away";
    return [`No servers: clients ${what}. ${wayOut}`, `Ring ${ring.fingerprint}: empty`, ...holdLines(hold, style)].join("\n");
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
    ...holdLines(hold, style),
  ].join("\n");
}

/** Who waits for a server, and why; nothing if nobody does. */
function holdLines({ waiting, timeMs, pause }: Answers["servers"]["hold"], style: Style): string[] {
  const limit = timeMs > 0 && pause === null ? `, each for ${formatDuration(timeMs)} at most` : "";
  return [
    ...(pause === null ? [] : [style.warning(pauseText(pause))]),
    ...(waiting === 0 ? [] : [style.warning(`Waiting ${waiting}`) + `: clients for whom there is no server${limit}`]),
  ];
}

function pauseText({ since, until, idle, who }: NonNullable<Answers["servers"]["hold"]["pause"]>): string {
  return `Paused since ${timeOf(since)} until ${timeOf(until)} by ${who}: new clients ${idle ? "and idle connections " : ""}wait`;
}

/** A pause that has begun, or has another end. */
export function printPaused({ service, open, hold: { waiting, pause } }: Answers["paused"]): string {
  const until = pause === null ? "" : ` until ${timeOf(pause.until)}`;
  const left = open - waiting;
  const going = pause?.idle === true
    ? "and open connections, too, each as soon as it is idle"
    : `its ${plural(left, "open connection")} ${left === 1 ? "goes" : "go"} on`;
  return `Service ${service} is paused${until}: new clients wait, ${going}\nEnd it with balancerctl resume`;
}

/** A pause that has ended. */
export function printResumed({ service, wasPaused, hold: { waiting } }: Answers["paused"]): string {
  if (!wasPaused) return `Service ${service} was not paused`;
  return `Service ${service} takes clients again${waiting === 0 ? "" : `; ${plural(waiting, "client")} who waited come first`}`;
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
  const [before, after] = [peakToMean.before, peakToMean.after].map((ratio) => ratio.toFixed(2));
  const pools = `${plural(servers.before, "server")} now, ${servers.after} afterwards`;
  return [
    `${verb} ${change.server}${weight} ${effectOf(plan)}`,
    ...indent(flowLines(flows.slice(0, FLOWS_MAX), flows.length - FLOWS_MAX)),
    `Largest share: ${before} times the fair share now, ${after} afterwards (${pools})`,
    ...connectionLines(connections),
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

/** Where clients move, and how many flows are left out. */
function flowLines(flows: readonly Flow[], more: number): string[] {
  const rows = flows.map(({ from, to, share }) => [percent(share), from ?? "(no server)", "to", to ?? "(no server)"]);
  return [...alignColumns(rows), ...(more > 0 ? [`and ${more} more`] : [])];
}

/** What becomes of open connections. */
function connectionLines(connections: Answers["plan"]["connections"] | readonly PlannedConnections[]): string[] {
  if (connections.length === 0) return ["No open connection is affected"];
  const rows = connections.map(({ count, state, outcome }) => [String(count), state, outcome]);
  return ["Affected open connections:", ...indent(alignColumns(rows))];
}

/** How a change of a service is marked, and its colour. Unchanged services are only counted. */
const CHANGE_MARKS: Readonly<
  Record<ServiceChange, { readonly mark: string; readonly paint: keyof Omit<Style, "hasColours" | "marks"> }>
> = {
  added: { mark: "+", paint: "good" },
  removed: { mark: "-", paint: "bad" },
  changed: { mark: "~", paint: "warning" },
  unchanged: { mark: "=", paint: "faint" },
};

/** Whether nothing would change. */
export function isEmptyPlan({ services, daemon }: Pick<StatePlan, "services" | "daemon">): boolean {
  return services.length + daemon.length === 0;
}

/** The plan of several services: what changes in each, what that does to clients and connections, and a line of totals. */
export function printStatePlan({ services, daemon, totals }: StatePlan, style: Style = PLAIN): string {
  const changed = services.filter(({ change }) => change !== "unchanged");
  const counts = Object.entries(totals.services).filter(([, count]) => count > 0).map(([change, count]) => `${count} ${change}`);
  const servers = Object.entries(totals.servers).filter(([, count]) => count > 0).map(([change, count]) => `${count} ${change}`);
  if (isEmptyPlan({ services, daemon })) return "Nothing changes";
  const summary = `Services: ${counts.join(", ") || "none"}; servers: ${servers.join(", ") || "none differs"}`;
  if (changed.length + daemon.length === 0) return `Nothing changes\n${summary}`;
  const affected = totals.connections.reduce((sum, { count }) => sum + count, 0);
  return [
    ...changed.flatMap((service) => [...servicePlanLines(service, style), ""]),
    ...(daemon.length === 0 ? [] : [...daemonPlanLines(daemon, style), ""]),
    `${services.length === 0 ? "No service changes" : summary}; ${
      affected === 0 ? "no open connection is affected" : `${plural(affected, "open connection")} affected`
    }`,
  ].join("\n");
}

/** What differs, without its effect. */
export function printDifference({ services, daemon }: StatePlan, style: Style = PLAIN): string {
  const lines = services.flatMap(({ service, change, lines }) => {
    const { mark, paint } = CHANGE_MARKS[change];
    return [style[paint](`${mark} service ${service}`), ...indent(lines, 4)];
  });
  return [...lines, ...(daemon.length === 0 ? [] : daemonPlanLines(daemon, style))].join("\n");
}

/** What changes in the settings of the daemon. */
function daemonPlanLines(lines: readonly string[], style: Style): string[] {
  const { mark, paint } = CHANGE_MARKS.changed;
  return [style[paint](`${mark} daemon`), ...indent(lines, 4)];
}

function servicePlanLines({ service, change, lines, plan }: ServicePlan, style: Style): string[] {
  const { mark, paint } = CHANGE_MARKS[change];
  return [
    style[paint](`${mark} service ${service}`),
    ...indent(lines, 4),
    ...indent(plan === null ? ["No client and no open connection is affected"] : transitionLines(plan, change, style)),
  ];
}

/** A service that comes or goes has all its clients or none: only a changed one moves them between servers. */
function transitionLines(
  { clients, servers, connections, boundsHit }: TransitionPlan,
  change: ServiceChange,
  style: Style,
): string[] {
  return [
    ...(change === "changed" ? movedLines(clients) : []),
    ...(clients.movedShare === null ? [] : [shareLine(clients, servers)]),
    ...(change === "added" ? [] : connectionLines(connections)),
    ...boundLines(boundsHit).map(style.warning),
  ];
}

function movedLines(clients: TransitionPlan["clients"]): string[] {
  if (clients.movedShare === null) return [`Which clients move cannot be foreseen: ${clients.why}`];
  if (clients.movedShare === 0) return ["No client gets another server"];
  const { movedShare, flows, flowsLeftOut } = clients;
  const more = flows.length + flowsLeftOut.count - SERVICE_FLOWS_MAX;
  return [
    `Moves ${percent(movedShare)} of all clients:`,
    ...indent(flowLines(flows.slice(0, SERVICE_FLOWS_MAX), more)),
  ];
}

function shareLine(
  { greatestShare, peakToMean }: Extract<TransitionPlan["clients"], { movedShare: number }>,
  servers: TransitionPlan["servers"],
): string {
  const [before, after] = (["before", "after"] as const).map((when) =>
    greatestShare[when] === 0 ? "none" : `${percent(greatestShare[when])} (${peakToMean[when].toFixed(2)} times fair)`
  );
  return `Largest share: ${before} now, ${after} afterwards; ${plural(servers.before, "server")} now, ${servers.after} afterwards`;
}

function boundLines(boundsHit: readonly BoundHit[]): string[] {
  const more = boundsHit.length - BOUNDS_MAX;
  return [
    ...boundsHit.slice(0, BOUNDS_MAX).map(({ server, bound, allowed, open }) =>
      `${server} would have ${plural(open.after, "connection")} (now ${open.before}); its ${bound} is ${allowed}`
    ),
    ...(more > 0 ? [`and ${plural(more, "more bound")} hit`] : []),
  ];
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

/** Columns of the list of open connections. */
const CONNECTION_SIDES: readonly Side[] = ["left", "left", "left", "left", "right", "right", "right", "right", "right", "left"];

/** Open connections, a line each, and how many there are. */
export function printConnections({ total, connections }: Answers["connections"], style: Style = PLAIN): string {
  if (total === 0) return "No such connection is open";
  const isOne = new Set(connections.map(({ service }) => service)).size === 1;
  const heading = ["ID", "CLIENT", "SERVER", "STATE", "AGE", "IDLE", "SENT", "RECEIVED", "MOVES", ...(isOne ? [] : ["SERVICE"])];
  const rows = connections.map((connection) => [
    connection.id,
    connection.client,
    connection.server ?? "-",
    connection.state,
    shortTime(connection.ageMs),
    shortTime(connection.idleMs),
    formatBytes(connection.sentBytes),
    formatBytes(connection.receivedBytes),
    String(connection.moves),
    ...(isOne ? [] : [connection.service ?? "-"]),
  ]);
  const left = total - connections.length;
  const shown = left <= 0 ? plural(total, "open connection") : `${connections.length} of ${plural(total, "open connection")}`;
  return [...alignColumns([heading.map(style.heading), ...rows], CONNECTION_SIDES), shown].join("\n");
}

/** The steps by which times are shortened: from this many ms on, in units of so many. */
const SHORT_TIMES = [
  { fromMs: 48 * 3_600_000, unitMs: 3_600_000 },
  { fromMs: 2 * 3_600_000, unitMs: 60_000 },
  { fromMs: 10_000, unitMs: 1000 },
  { fromMs: 1000, unitMs: 100 },
];

/** A time with as many digits as people read. */
function shortTime(ms: number): string {
  const { unitMs } = SHORT_TIMES.find(({ fromMs }) => ms >= fromMs) ?? { unitMs: 1 };
  return formatDuration(Math.floor(ms / unitMs) * unitMs);
}

/** Columns of the list of clients. */
const CLIENT_SIDES: readonly Side[] = ["left", "right", "right", "right", "right", "right", "left", "left"];

/** The clients that have most, a line each. */
export function printClients(answer: Answers["clients"], style: Style = PLAIN): string {
  const { counted, dryRun, windowMs, tracked, untracked, clients } = answer;
  if (!counted) {
    return "Clients are not counted: balancerctl service set with --client-connections or --client-rate counts them; " +
      "with --limits-dry-run as well, nobody is refused";
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

function describePhase({ stopping, lameDuck }: Answers["status"]): string {
  if (stopping) return " (stopping)";
  return lameDuck ? " (lame duck: it is about to stop)" : "";
}

/** What runs, where it listens, and how its connections ended. */
export function printStatus(status: Answers["status"], style: Style = PLAIN): string {
  const { connections, servers, services } = status;
  const isOne = services.length === 1;
  const fates = Object.entries(status.fates).filter(([, count]) => count > 0).map(([fate, count]) => `${fate} ${count}`);
  const rows = [
    ["Balancer", `${status.name}${describePhase(status)}, version ${status.version}, pid ${status.pid}`],
    [
      "Listens on",
      `${
        (isOne ? services[0].listeners : []).map(({ listener }) => listener).join(", ") || plural(services.length, "service")
      }, engine ${status.engine}`,
    ],
    ["Running since", status.startedAt],
    ["Servers", describeStates(servers)],
    ["Connections", connectionsText(connections)],
    ...services.flatMap(({ service, hold: { pause } }) => pause === null ? [] : [[`Service ${service}`, pauseText(pause)]]),
    ["Ended", fates.join(", ") || "none"],
    ["Settings", describeSettings(isOne ? status.settings : daemonSettings(status))],
    ...(isOne ? [] : services.map(serviceRow)),
    ...declarationRows(status),
    ["State", status.stateFile ?? "not kept (--no-state)"],
    ["Log", status.logFile ?? "standard error"],
    ["Access log", status.accessLog === STANDARD_OUTPUT ? "standard output" : status.accessLog ?? "off"],
    ...(status.http === null ? [] : [["HTTP", `http://${status.http}/metrics, /live and /ready`]]),
    ...[...status.warnings, ...services.flatMap(listenerFaults)].map((warning) => ["Warning", warning]),
  ];
  return indent(alignColumns(rows.map(([name, text]) => [style.heading(name), text]))).join("\n");
}

function connectionsText({ open, waiting, max, accepted }: Answers["status"]["connections"]): string {
  return `${open} open of at most ${max}${waiting === 0 ? "" : `, waiting ${waiting}`}, ${accepted} accepted`;
}

/** The services, a line each, and what is wrong with them. */
export function printServices({ services }: Answers["services"], style: Style = PLAIN): string {
  const heading = ["SERVICE", "LISTENS ON", "SERVERS", "OPEN", "WAITING", "ACCEPTED", "RING"].map(style.heading);
  const rows = services.map(({ service, listeners, servers, open, accepted, hold, fingerprint, removing }) => [
    removing ? `${service} (removing)` : hold.pause === null ? service : `${service} (paused)`,
    listeners.map(({ listener }) => listener).join(", ") || "-",
    describeStates(servers),
    String(open),
    String(hold.waiting),
    String(accepted),
    fingerprint,
  ]);
  return [
    ...alignColumns([heading, ...rows], ["left", "left", "left", "right", "right", "right", "left"]),
    ...services.flatMap(listenerFaults).map((fault) => style.bad(fault)),
  ].join("\n");
}

/** Where a service should listen and does not, in sentences. */
export function listenerFaults({ service, listeners }: Answers["service"]): string[] {
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

/** The file that says what should be, and what differs from it. */
function declarationRows({ declared }: Answers["status"]): string[][] {
  if (declared === null) return [];
  const { file, generation, differences } = declared;
  if (differences === null) {
    return [["Declared in", `${file} (generation ${generation}); changed since, and that generation is not kept`]];
  }
  if (differences.length === 0) return [["Declared in", file]];
  return [["Declared in", `${file}; changed since:`], ...differences.map((line) => ["", line])];
}

/** The generations, a line each. */
export function printHistory({ generations }: Answers["history"], style: Style = PLAIN): string {
  if (generations.length === 0) return "No generation is kept";
  const heading = ["GENERATION", "AT", "WHO", "MOVED", "WHAT"].map(style.heading);
  const rows = generations.map(({ generation, at, who, moved, what }) => [
    String(generation),
    timeOf(at),
    who,
    moved === null ? "-" : String(moved),
    what,
  ]);
  return alignColumns([heading, ...rows], ["right", "left", "left", "right", "left"]).join("\n");
}

/** How bad an event is, for who sees no colours, and its colour. */
const LEVEL_MARKS: Readonly<Record<string, { readonly mark: string; readonly paint: "warning" | "bad" }>> = {
  warning: { mark: "!", paint: "warning" },
  error: { mark: "X", paint: "bad" },
};

/** The longest kind of an event. */
const KIND_COLUMNS = Math.max(...EVENT_KINDS.map((kind) => kind.length));

/** An event, in a line. */
export function printEvent(
  { at, kind, level, service, who, text }: Answers["events"]["events"][number],
  style: Style = PLAIN,
): string {
  const { mark, paint } = LEVEL_MARKS[level] ?? { mark: " ", paint: undefined };
  const said = paint === undefined ? text : style[paint](text);
  const head = [style.faint(timeOf(at)), paint === undefined ? mark : style[paint](mark), kind.padEnd(KIND_COLUMNS)];
  return [...head, ...(service === null ? [] : [`[${service}]`]), said, ...(who === null ? [] : [style.faint(`(${who})`)])].join(
    " ",
  );
}

/** Events, a line for each. */
export function printEvents({ events }: Answers["events"], style: Style = PLAIN): string {
  return events.length === 0 ? "No events" : events.map((event) => printEvent(event, style)).join("\n");
}

/** The settings that are no service's. */
function daemonSettings({ settings }: Answers["status"]): Record<string, string> {
  return Object.fromEntries(Object.entries(settings).filter(([flag]) => isDaemonSetting(flag) === true));
}

/** A service in the status, where there are several. */
function serviceRow({ service, listeners, servers, open, hold, settings, removing }: Answers["service"]): [string, string] {
  const where = listeners.map(({ listener }) => listener).join(", ") || "no address";
  const waiting = hold.waiting === 0 ? "" : `, waiting ${hold.waiting}`;
  return [
    `Service ${service}${removing ? " (removing)" : ""}`,
    `${where}; ${describeStates(servers)}; ${open} open${waiting}; ${describeSettings(settings)}`,
  ];
}

/** `12.5 %`. */
export function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** A word quoted for a shell. */
function quoted(word: string): string {
  return /^[\w:/.,%-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
