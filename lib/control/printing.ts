/** The answers of the daemon as people read them: tables and sentences. Asks nothing and decides nothing. */

import { formatBytes } from "@std/fmt";
import { inColumns } from "../values/command_line.ts";
import { formatDuration } from "../values/duration.ts";
import type { Answers } from "./api.ts";

/** Lines that say why servers are not up, and lines of a plan's flows, at the most. */
const REASONS_MAX = 20;
const FLOWS_MAX = 12;

/** The servers, why those that are not up are not, and the ring. */
export function printList({ servers, ring }: Answers["servers"]): string {
  if (servers.length === 0) {
    return `No servers: clients are turned away. Add one with balancerctl add <inet_address> <inet_port>\nRing ${ring.fingerprint}: empty`;
  }
  const rows = servers.map((server) => [
    server.server,
    server.state,
    String(server.weight),
    server.connectionsMax === null ? String(server.open) : `${server.open}/${server.connectionsMax}`,
    String(server.connects),
    formatBytes(server.sentBytes),
    formatBytes(server.receivedBytes),
    server.share === 0 ? "-" : percent(server.share),
  ]);
  const table = alignRight([["SERVER", "STATE", "WEIGHT", "OPEN", "TOTAL", "SENT", "RECEIVED", "SHARE"], ...rows]);
  const summary = `${plural(servers.filter(({ share }) => share > 0).length, "server")}, ${ring.points} points`;
  return [
    table,
    `Ring ${ring.fingerprint}: ${summary}, greatest share ${ring.peakToMean.toFixed(2)} times the fair one`,
    ...servers.filter(({ reason }) => reason !== null).slice(0, REASONS_MAX).map(({ server, state, since, reason }) =>
      `${server} is ${state} since ${timeOf(since)}: ${reason}`
    ),
  ].join("\n");
}

/** A plan: which clients move, and what becomes of open connections. */
export function printPlan({ change, movedShare, flows, peakToMean, servers, connections }: Answers["plan"]): string {
  const verb = { add: "Adding", remove: "Removing", weight: "Changing the weight of" }[change.kind];
  const shown = flows.slice(0, FLOWS_MAX).map((
    { from, to, share },
  ) => [percent(share), from ?? "(no server)", "to", to ?? "(no server)"]);
  const more = flows.length - shown.length;
  const outcomes = connections.map(({ count, state, outcome }) => [String(count), state, outcome]);
  return [
    `${verb} ${change.server}${change.weight === undefined ? "" : ` (weight ${change.weight})`} moves ${
      percent(movedShare)
    } of all clients:`,
    ...shown.map((row) => `  ${alignColumns(shown, row)}`),
    ...(more > 0 ? [`  and ${more} more`] : []),
    `Greatest share: ${peakToMean.before.toFixed(2)} times the fair one now, ${peakToMean.after.toFixed(2)} afterwards (${
      plural(servers.before, "server")
    }, then ${servers.after})`,
    ...(outcomes.length === 0 ? ["No open connection is concerned"] : ["Open connections concerned:"]),
    ...outcomes.map((row) => `  ${alignColumns(outcomes, row)}`),
  ].join("\n");
}

/** Where a client is on the ring, and the servers that it is offered to. */
export function printExplanation({ client, hash, probe, point, distance, server, order }: Answers["explanation"]): string {
  const rows = order.map((
    { server, state, open, verdict, why },
  ) => [server, state, `${open} open`, why === null ? verdict : `${verdict}: ${why}`]);
  const place = distance === null
    ? "there are no servers"
    : `of its probes number ${probe} is nearest to a point: ${point}, ${(distance * 100).toPrecision(2)} % of the circle away`;
  return [
    `Client ${client} has the hash ${hash}; ${place}`,
    server === null ? "No server takes it just now" : `Server ${server} takes it; the servers in the order of the ring:`,
    ...rows.map((row) => `  ${alignColumns(rows, row)}`),
  ].join("\n");
}

/** Ended connections, a line each. */
export function printEnds({ ends, leftOut }: Answers["recent"]): string {
  if (ends.length === 0) return "No connection of that kind has ended lately";
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
  const table = [["AT", "CLIENT", "SERVER", "FATE", "LASTED", "SENT", "RECEIVED", "WHY"], ...rows];
  const lines = table.map((row) => alignColumns(table, row));
  return [...lines, ...(leftOut > 0 ? [`${leftOut} more ended in such numbers that they were not kept`] : [])].join("\n");
}

/** How bringing connections home went. */
export function printRebalance({ away, busy, moved }: Answers["rebalance"]): string {
  const left = busy === 0 ? "" : `; ${busy} more ${busy === 1 ? "was" : "were"} in the middle of something: run it again later`;
  if (away === 0) return `No connection that could go home is away from it${left}`;
  return `Of ${plural(away, "connection")} away from home ${moved} went there${left}`;
}

/** An ISO 8601 time without its fraction. */
function timeOf(iso: string): string {
  return iso.replace(/\.\d+Z$/, "Z");
}

/** A row of a table, all columns to the left. */
function alignColumns(table: readonly (readonly string[])[], row: readonly string[]): string {
  return row.map((cell, i) => cell.padEnd(Math.max(...table.map((other) => other[i].length)))).join("  ").trimEnd();
}

/** A table: the first two columns to the left, numbers to the right. */
function alignRight(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) => row.map((cell, i) => i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  ")).join("\n");
}

/** What runs, where, and how its connections fared. */
export function printStatus(status: Answers["status"]): string {
  const { connections, servers } = status;
  const fates = Object.entries(status.fates).filter(([, count]) => count > 0).map(([fate, count]) => `${fate} ${count}`);
  const rows = [
    ["Balancer", `${status.name}${status.stopping ? " (stopping)" : ""}, version ${status.version}, pid ${status.pid}`],
    ["Listens on", `${status.address}, engine ${status.engine}`],
    ["Running since", status.startedAt],
    [
      "Servers",
      Object.entries(servers).filter(([state, count]) => state === "up" || count > 0).map(([state, count]) => `${count} ${state}`)
        .join(", "),
    ],
    ["Connections", `${connections.open} open of at most ${connections.max}, ${connections.accepted} accepted`],
    ["Ended", fates.join(", ") || "none"],
    ["Settings", Object.entries(status.settings).map(([flag, value]) => `--${flag} ${quoted(value)}`).join(" ")],
    ["State", status.stateFile ?? "not kept (--no-state)"],
    ["Log", status.logFile ?? "standard error"],
    ...status.warnings.map((warning) => ["Warning", warning]),
  ];
  return inColumns(rows);
}

/** `1 server`, `2 servers`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** `12.5 %`. */
export function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** A word as a shell takes it. */
function quoted(word: string): string {
  return /^[\w:/.,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
