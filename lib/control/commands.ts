/**
 * What `balancerctl` can do: one row per command. A row says its arguments, its options, what it does and how the result reads;
 * help, `--json`, usage errors and the README's table are derived.
 */

import { formatBytes } from "@std/fmt";
import { formatAddress, parseHost, parsePort } from "../address.ts";
import { type CommandInput, type CommandSpec, inColumns, type OptionSpec } from "../command_line.ts";
import { DEFAULT_DRAIN_MS, DEFAULT_GRACE_MS, parseConfig, parseServerConnections, parseWeight, SETTINGS } from "../config.ts";
import { formatDuration, parseDuration } from "../duration.ts";
import { OperatorError } from "../errors.ts";
import { playDemo } from "../demo/demo.ts";
import { EMPTY_STAGE, type Stage } from "../demo/stage.ts";
import { DEFAULT_NAME, findPaths, parseName } from "../paths.ts";
import type { Answers } from "./api.ts";
import { ControlClient } from "./client.ts";
import { awaitEnd, launchDaemon } from "./launch.ts";

/** What a command acts on: the balancer of the name given, and the person who waits. */
export interface Situation {
  readonly client: ControlClient;
  readonly name: string;
  /** Says something on standard error now, before the result. */
  readonly say: (sentence: string) => void;
  /** Shows on standard output what happens while it happens. */
  readonly stage: Stage;
  /** Takes Ctrl-C over: from now on it aborts this signal and does not end the program. */
  readonly takeInterrupts: () => AbortSignal;
}

/** A command of `balancerctl`. */
export interface Command extends CommandSpec {
  run(input: CommandInput, situation: Situation): Promise<string>;
}

const NAME: OptionSpec = { flag: "name", value: "NAME", default: DEFAULT_NAME, summary: "which balancer, where there are several" };
const JSON_OUTPUT: OptionSpec = { flag: "json", summary: "print JSON; its form is stable between versions" };
const SERVER = ["inet_address", "inet_port"];

/** Silence after which a person at a terminal is told what is being waited for. */
const PATIENCE_MS = 300;
/** How long a daemon may take to end once its grace time is over. */
const END_MAX_MS = 10_000;

interface Row<T> {
  readonly summary: string;
  /** A reading command has `--json`, which prints the result as it is. */
  readonly reads?: boolean;
  /** Whether it is about one of several balancers, as almost every command is: it has `--name`. */
  readonly isNamed?: boolean;
  readonly arguments?: readonly string[];
  readonly options?: readonly OptionSpec[];
  readonly act: (input: CommandInput, situation: Situation) => Promise<T>;
  readonly print: (result: T, input: CommandInput) => string;
}

function command<T>({ summary, reads = false, isNamed = true, arguments: args = [], options = [], act, print }: Row<T>): Command {
  return {
    summary,
    arguments: args,
    options: [...options, ...(reads ? [JSON_OUTPUT] : []), ...(isNamed ? [NAME] : [])],
    async run(input, situation) {
      const result = await act(input, situation);
      return input.options.json === undefined ? print(result, input) : JSON.stringify(result, null, 2);
    },
  };
}

/** Every command, in the order of the help. */
export const COMMANDS = {
  start: command({
    summary: "Start a balancer in the background, listening on this address and port (0: any free port)",
    arguments: SERVER,
    options: Object.values(SETTINGS),
    act: start,
    print: ({ name, address, pid, warnings, servers }) =>
      [
        ...warnings,
        `Balancer ${JSON.stringify(name)} listens on ${address} (pid ${pid}) with ${plural(servers.up, "server")}`,
        ...(servers.up === 0 ? ["Add one with balancerctl add <inet_address> <inet_port>"] : []),
      ].join("\n"),
  }),
  stop: command({
    summary: "Stop: take no more clients, let open connections finish, end the rest",
    options: [{
      flag: "grace",
      value: "TIME",
      default: formatDuration(DEFAULT_GRACE_MS),
      summary: "how long open connections have to finish",
    }],
    act: stop,
    print: ({ name }) => `Balancer ${JSON.stringify(name)} has stopped`,
  }),
  add: command({
    summary: "Add a server to the pool",
    arguments: SERVER,
    options: [
      { flag: "weight", value: "N", default: "1", summary: "its share of the clients, relative to others'" },
      { flag: "max-connections", value: "N", summary: "open connections it may have; the next server takes what comes then" },
    ],
    act: ({ arguments: [host, port], options }, { client }) =>
      client.add({
        address: parseHost(host),
        port: parsePort(port),
        weight: options.weight === undefined ? undefined : parseWeight(options.weight),
        connectionsMax: options["max-connections"] === undefined ? undefined : parseServerConnections(options["max-connections"]),
      }),
    print: ({ server, share }) => `Added server ${server}: it takes ${percent(share)} of all clients`,
  }),
  remove: command({
    summary: "Remove a server: no new clients at once, time for open connections, then their end",
    arguments: SERVER,
    options: [{
      flag: "drain",
      value: "TIME",
      default: formatDuration(DEFAULT_DRAIN_MS),
      summary: "how long open connections have to finish",
    }],
    act: remove,
    print: ({ server, open, ended }) => {
      if (open === 0) return `Removed server ${server}: it had no open connections`;
      return `Removed server ${server}: of ${plural(open, "open connection")} ${open - ended} finished and ${ended} were ended`;
    },
  }),
  list: command({
    summary: "List the servers, and the ring's fingerprint",
    reads: true,
    act: (_, { client }) => client.list(),
    print: printList,
  }),
  status: command({
    summary: "Say what runs, where, and how its connections fared",
    reads: true,
    act: (_, { client }) => client.status(),
    print: printStatus,
  }),
  demo: command({
    summary: "Watch a balancer of its own, five servers and 100 clients, for a few seconds; touches nothing else",
    reads: true,
    isNamed: false,
    act: ({ options }, { stage, takeInterrupts }) => playDemo(options.json === undefined ? stage : EMPTY_STAGE, takeInterrupts()),
    print: () => "",
  }),
} as const satisfies Record<string, Command>;

/** The situation of a command: the balancer that its `--name` says, and the person. Throws a `usage` error for a bad name. */
export function situationOf(
  input: CommandInput,
  person: Pick<Situation, "say" | "stage" | "takeInterrupts">,
): Situation & Disposable {
  const name = parseName(input.options.name ?? DEFAULT_NAME);
  let client: ControlClient | undefined;
  return {
    ...person,
    name,
    get client() {
      return client ??= new ControlClient(name, findPaths(name).socket); // the demo needs none
    },
    [Symbol.dispose]: () => client?.[Symbol.dispose](),
  };
}

async function start({ arguments: [host, port], options }: CommandInput, { client, name }: Situation): Promise<Answers["status"]> {
  const address = { host: parseHost(host), port: parsePort(port, 0) };
  parseConfig(options);
  const running = await client.status().catch((error) => {
    if (error instanceof OperatorError && error.kind === "notRunning") return undefined;
    throw error;
  });
  if (running !== undefined) {
    const where = `it is running on ${running.address} (pid ${running.pid})`;
    throw new OperatorError(
      "conflict",
      `Cannot start balancer ${JSON.stringify(name)}: ${where}; stop it first or choose another --name`,
    );
  }
  const flags = Object.values(SETTINGS).flatMap(({ flag }) => options[flag] === undefined ? [] : [`--${flag}=${options[flag]}`]);
  const args = ["run", address.host, String(address.port), `--name=${name}`, `--log-file=${findPaths(name).log}`, ...flags];
  const { daemon } = await launchDaemon(args, { detached: true });
  return await client.status().catch((error) => {
    daemon.kill("SIGTERM"); // what cannot be controlled is not left running
    throw error;
  });
}

async function stop({ options }: CommandInput, { client, name, say }: Situation): Promise<{ name: string }> {
  const grace = options.grace ?? formatDuration(DEFAULT_GRACE_MS);
  const graceMs = parseDuration(grace, "Grace time");
  const { open, lockFile } = await client.stop(grace);
  const waiting = `Waiting up to ${grace} for ${plural(open, "open connection")} to finish`;
  await patiently(within(awaitEnd(lockFile), graceMs + END_MAX_MS, name), say, waiting);
  return { name };
}

function remove({ arguments: [host, port], options }: CommandInput, { client, say }: Situation): Promise<Answers["removal"]> {
  const server = formatAddress({ host: parseHost(host), port: parsePort(port) });
  const drain = options.drain ?? formatDuration(DEFAULT_DRAIN_MS);
  const drainMs = parseDuration(drain, "Drain time");
  const waiting = `Server ${server} takes no more clients; waiting up to ${drain} for its open connections to finish`;
  return patiently(client.remove(server, drain, drainMs), say, waiting);
}

/** Waits, and says for what if it takes a while. */
async function patiently<T>(result: Promise<T>, say: (sentence: string) => void, waiting: string): Promise<T> {
  const timer = setTimeout(() => say(waiting), PATIENCE_MS);
  return await result.finally(() => clearTimeout(timer));
}

async function within(ended: Promise<void>, ms: number, name: string): Promise<void> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    const why = "it was asked to stop and still runs; see its log, and end it by its pid (balancerctl status)";
    timer = setTimeout(() => reject(new OperatorError("failed", `Cannot stop balancer ${JSON.stringify(name)}: ${why}`)), ms);
  });
  await Promise.race([ended, late]).finally(() => clearTimeout(timer));
}

function printList({ servers, ring }: Answers["servers"]): string {
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
    server.state === "up" ? percent(server.share) : "-",
  ]);
  const table = alignRight([["SERVER", "STATE", "WEIGHT", "OPEN", "TOTAL", "SENT", "RECEIVED", "SHARE"], ...rows]);
  const summary = `${plural(servers.filter(({ state }) => state === "up").length, "server")}, ${ring.points} points`;
  return `${table}\nRing ${ring.fingerprint}: ${summary}, greatest share ${ring.peakToMean.toFixed(2)} times the fair one`;
}

/** A table: the first two columns to the left, numbers to the right. */
function alignRight(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) => row.map((cell, i) => i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  ")).join("\n");
}

function printStatus(status: Answers["status"]): string {
  const { connections, servers } = status;
  const fates = Object.entries(status.fates).filter(([, count]) => count > 0).map(([fate, count]) => `${fate} ${count}`);
  const rows = [
    ["Balancer", `${status.name}${status.stopping ? " (stopping)" : ""}, version ${status.version}, pid ${status.pid}`],
    ["Listens on", `${status.address}, engine ${status.engine}`],
    ["Running since", status.startedAt],
    ["Servers", `${servers.up} up, ${servers.draining} draining`],
    ["Connections", `${connections.open} open of at most ${connections.max}, ${connections.accepted} accepted`],
    ["Ended", fates.join(", ") || "none"],
    ["Settings", Object.entries(status.settings).map(([flag, value]) => `--${flag} ${value}`).join(" ")],
    ["State", status.stateFile],
    ["Log", status.logFile ?? "standard error"],
    ...status.warnings.map((warning) => ["Warning", warning]),
  ];
  return inColumns(rows);
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
