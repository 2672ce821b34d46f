/**
 * What `balancerctl` can do: one row per command. A row says its arguments, its options, what it does and how the result reads;
 * help, `--json`, usage errors and the README's table are derived.
 */

import { formatAddress, parseAddress, parseHost, parsePort } from "../values/address.ts";
import { parseFate } from "../values/fates.ts";
import type { CommandInput, CommandSpec, OptionSpec } from "../values/command_line.ts";
import { parseCount } from "../values/count.ts";
import {
  DEFAULT_DRAIN_MS,
  DEFAULT_GRACE_MS,
  DEFAULT_REBALANCE_RATE,
  LIMITS,
  NO_STATE,
  parseConfig,
  parseServerConnections,
  parseWeight,
  SETTINGS,
} from "../values/config.ts";
import { formatDuration, parseDuration } from "../values/duration.ts";
import { OperatorError } from "../values/errors.ts";
import { DEFAULT_NAME, findLocks, findPaths, findSocket, parseName } from "../values/paths.ts";
import { printableIn, toJson } from "../values/printable.ts";
import type { Answers } from "./api.ts";
import { ControlClient } from "./client.ts";
import { awaitEnd, launchDaemon } from "./launch.ts";
import { percent, plural, printEnds, printExplanation, printList, printPlan, printRebalance, printStatus } from "./printing.ts";

/** What a command acts on: the balancer of the name given, and the person who waits. */
export interface CommandContext {
  readonly client: ControlClient;
  readonly name: string;
  /** Says something on standard error now, before the result. */
  readonly say: (sentence: string) => void;
  /** Shows how it goes: one line of a terminal, each in the place of the last; "" wipes it. Undefined where nobody watches. */
  readonly show: ((line: string) => void) | undefined;
  /** Takes Ctrl-C over: from now on it aborts this signal and does not end the program. */
  readonly takeInterrupts: () => AbortSignal;
}

/** A command of `balancerctl`. */
export interface Command extends CommandSpec {
  run(input: CommandInput, context: CommandContext): Promise<string>;
}

const NAME: OptionSpec = { flag: "name", value: "NAME", default: DEFAULT_NAME, summary: "which balancer, where there are several" };
const JSON_OUTPUT: OptionSpec = { flag: "json", summary: "print JSON; its form is stable between versions" };
const SERVER = ["inet_address", "inet_port"];

/** Silence after which a person at a terminal is told what is being waited for. */
const PATIENCE_MS = 300;
/** How often it is shown how things go. */
const PROGRESS_MS = 200;
/** How long a daemon may take to end once its grace time is over. */
const END_MAX_MS = 10_000;

/** What a command is made of. */
export interface CommandRow<T> {
  readonly summary: string;
  /** A reading command has `--json`, which prints the result as it is. */
  readonly reads?: boolean;
  /** Whether it is about one of several balancers, as almost every command is: it has `--name`. */
  readonly isNamed?: boolean;
  readonly arguments?: readonly string[];
  readonly options?: readonly OptionSpec[];
  readonly act: (input: CommandInput, context: CommandContext) => Promise<T>;
  readonly print: (result: T, input: CommandInput) => string;
}

/** A row of a table of commands. */
export function command<T>(
  { summary, reads = false, isNamed = true, arguments: args = [], options = [], act, print }: CommandRow<T>,
): Command {
  return {
    summary,
    arguments: args,
    options: [...options, ...(reads ? [JSON_OUTPUT] : []), ...(isNamed ? [NAME] : [])],
    async run(input, context) {
      const result = await act(input, context);
      return input.options.json === undefined ? print(printableIn(result), input) : toJson(result);
    },
  };
}

/** Every command that controls a daemon, in the order of the help. */
export const COMMANDS = {
  start: command({
    summary: "Start a balancer in the background, listening on this address and port (0: any free port)",
    arguments: SERVER,
    options: [...Object.values(SETTINGS), NO_STATE],
    act: start,
    print: ({ name, address, pid, warnings, servers, stateFile }) => {
      const count = Object.values(servers).reduce((sum, count) => sum + count, 0); // one that was drained is there, too
      return [
        ...warnings,
        `Balancer ${JSON.stringify(name)} listens on ${address} (pid ${pid}) with ${plural(count, "server")}`,
        ...(stateFile === null ? ["Its pool is not kept (--no-state): after a restart it is empty"] : []),
        ...(count === 0 ? ["Add one with balancerctl add <inet_address> <inet_port>"] : []),
      ].join("\n");
    },
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
    summary:
      "Remove a server: no new clients at once; open connections go to other servers or have time to finish, then they are cut",
    arguments: SERVER,
    options: [
      {
        flag: "drain",
        value: "TIME",
        default: formatDuration(DEFAULT_DRAIN_MS),
        summary: "how long open connections that cannot go to another server have to finish",
      },
      { flag: "now", summary: "no time: those that cannot go to another server at once are reset" },
    ],
    act: remove,
    print: ({ server, open, moved, ended }) => {
      if (open === 0) return `Removed server ${server}: it had no open connections`;
      const others = `${moved} moved, ${open - moved - ended} finished and ${ended} ${ended === 1 ? "was" : "were"} reset`;
      return `Removed server ${server}: of ${plural(open, "open connection")} ${others}`;
    },
  }),
  drain: command({
    summary: "Take a server out for a while: no new clients, and those it has go elsewhere as they may; it stays in the pool",
    arguments: SERVER,
    act: (input, { client }) => client.change(serverOf(input), { draining: true }),
    print: ({ server, open }) => `Server ${server} gets no more clients; it has ${plural(open, "open connection")}`,
  }),
  undrain: command({
    summary: "Bring back a server that was drained",
    arguments: SERVER,
    act: (input, { client }) => client.change(serverOf(input), { draining: false }),
    print: ({ server, share }) => `Server ${server} gets clients again: its share is ${percent(share)}`,
  }),
  set: command({
    summary: "Change a server's weight or limit",
    arguments: SERVER,
    options: [
      { flag: "weight", value: "N", summary: "its share of the clients, relative to others'" },
      { flag: "max-connections", value: "N|off", summary: "open connections it may have" },
    ],
    act: setServer,
    print: ({ server, weight, connectionsMax, share }) => {
      const limit = connectionsMax === null ? "any number of connections" : `at most ${plural(connectionsMax, "connection")}`;
      return `Server ${server} has weight ${weight}, which is ${percent(share)} of all clients, and ${limit}`;
    },
  }),
  rebalance: command({
    summary: "Send connections that are between two exchanges to the servers that the ring gives them to (--redistribute idle)",
    options: [{ flag: "rate", value: "N/s", default: `${DEFAULT_REBALANCE_RATE}/s`, summary: "connections a second" }],
    act: rebalance,
    print: printRebalance,
  }),
  plan: command({
    summary: "Say what add, remove or weight would do: clients that move, open connections and what would become of them",
    reads: true,
    arguments: ["add|remove|weight", ...SERVER],
    options: [{ flag: "weight", value: "N", default: "1", summary: "the weight that the server would have" }],
    act: plan,
    print: printPlan,
  }),
  explain: command({
    summary: "Say whose a client is and why: its hash, its point, the servers passed over, the successors",
    reads: true,
    arguments: ["client"],
    options: [{ flag: "successors", value: "N", default: "3", summary: "how many servers after the chosen one are shown" }],
    act: ({ arguments: [client], options }, { client: daemon }) => {
      if (options.successors !== undefined) parseCount(options.successors, "Number of successors", LIMITS.successorsMax);
      return daemon.explain({ client, successors: options.successors });
    },
    print: printExplanation,
  }),
  last: command({
    summary: "List connections that ended lately, and what ended each",
    reads: true,
    options: [
      { flag: "server", value: "ADDRESS:PORT", summary: "those of this server" },
      { flag: "fate", value: "FATE", summary: "those with this fate" },
      { flag: "limit", value: "N", default: "20", summary: "how many" },
    ],
    act: ({ options: { server, fate, limit } }, { client }) => {
      if (server !== undefined) parseAddress(server);
      if (fate !== undefined) parseFate(fate);
      if (limit !== undefined) parseCount(limit, "Limit", LIMITS.recentMax);
      return client.recent({ server, fate, limit });
    },
    print: printEnds,
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
} as const satisfies Record<string, Command>;

/** The context of a command: the balancer that its `--name` says, and the person. Throws a `usage` error for a bad name. */
export function contextOf(
  input: CommandInput,
  person: Pick<CommandContext, "say" | "show" | "takeInterrupts">,
): CommandContext & Disposable {
  const name = parseName(input.options.name ?? DEFAULT_NAME);
  let client: ControlClient | undefined;
  return {
    ...person,
    name,
    get client() {
      return client ??= new ControlClient(name, findSocket(name), findLocks(name)); // the demo needs none
    },
    [Symbol.dispose]: () => client?.[Symbol.dispose](),
  };
}

async function start(
  { arguments: [host, port], options }: CommandInput,
  { client, name }: CommandContext,
): Promise<Answers["status"]> {
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
  const keepsState = options[NO_STATE.flag] === undefined;
  const { log } = findPaths(name, { keepsState });
  const switches = keepsState ? [] : [`--${NO_STATE.flag}`];
  const args = ["run", address.host, String(address.port), `--name=${name}`, `--log-file=${log}`, ...switches, ...flags];
  const { daemon } = await launchDaemon(args, { detached: true });
  return await client.status().catch((error) => {
    daemon.kill("SIGTERM"); // what cannot be controlled is not left running
    throw error;
  });
}

async function stop({ options }: CommandInput, { client, name, say }: CommandContext): Promise<{ name: string }> {
  const grace = options.grace ?? formatDuration(DEFAULT_GRACE_MS);
  const graceMs = parseDuration(grace, "Grace time");
  const { open, lockFile } = await client.stop(grace);
  const waiting = `Waiting up to ${grace} for ${plural(open, "open connection")} to finish`;
  await patiently(within(awaitEnd(lockFile), graceMs + END_MAX_MS, name), say, waiting);
  return { name };
}

function serverOf({ arguments: [host, port] }: CommandInput): string {
  return formatAddress({ host: parseHost(host), port: parsePort(port) });
}

async function remove(input: CommandInput, { client, say, show, takeInterrupts }: CommandContext): Promise<Answers["removal"]> {
  const server = serverOf(input);
  if (input.options.now !== undefined && input.options.drain !== undefined) {
    throw new OperatorError("usage", "Cannot take both --now and --drain: --now leaves no time");
  }
  const drain = input.options.now !== undefined ? "0" : input.options.drain ?? formatDuration(DEFAULT_DRAIN_MS);
  const drainMs = parseDuration(drain, "Drain time");
  const endMs = performance.now() + drainMs;
  const movedBefore = show === undefined ? 0 : (await client.server(server)).movedAway;
  const describe = async () => {
    const { movedAway, open } = await client.server(server);
    const leftMs = Math.max(0, endMs - performance.now());
    return `Server ${server}: ${movedAway - movedBefore} moved, ${open} left, ${
      Math.ceil(leftMs / 1000)
    } s to go (Ctrl-C leaves it draining)`;
  };
  const why = `server ${server} goes on draining for up to ${drain}; balancerctl list shows it`;
  const waiting = `Server ${server} takes no more clients; waiting up to ${drain} for its open connections`;
  return await watched(client.remove(server, drain, drainMs), { show, say, describe, waiting, interrupted: takeInterrupts(), why });
}

function setServer(input: CommandInput, { client }: CommandContext): Promise<Answers["server"]> {
  const { weight, "max-connections": max } = input.options;
  if (weight === undefined && max === undefined) {
    throw new OperatorError("usage", "Nothing to change: give --weight or --max-connections");
  }
  return client.change(serverOf(input), {
    ...(weight === undefined ? {} : { weight: parseWeight(weight) }),
    ...(max === undefined ? {} : { connectionsMax: max === "off" ? null : parseServerConnections(max) }),
  });
}

function plan({ arguments: [change, host, port], options }: CommandInput, { client }: CommandContext): Promise<Answers["plan"]> {
  if (!["add", "remove", "weight"].includes(change)) {
    throw new OperatorError("usage", `Cannot plan ${JSON.stringify(change)}: what can be planned is add, remove or weight`);
  }
  if (change === "weight" && options.weight === undefined) {
    throw new OperatorError("usage", "Missing --weight: which would it have?");
  }
  if (options.weight !== undefined) parseWeight(options.weight);
  const server = formatAddress({ host: parseHost(host), port: parsePort(port) });
  return client.plan({ change, server, weight: options.weight });
}

async function rebalance(
  { options }: CommandInput,
  { client, say, show, takeInterrupts }: CommandContext,
): Promise<Answers["rebalance"]> {
  const rate = options.rate === undefined
    ? undefined
    : parseCount(options.rate.replace(/\/s$/, ""), "Rate", LIMITS.rebalanceRateMax);
  const interrupted = takeInterrupts();
  const started = await client.startRebalance(rate);
  const waiting = `${plural(started.away, "connection")} to send home, ${started.rate} a second`;
  const describe = async () => {
    const { moved, away } = await client.showRebalance();
    return `${moved} of ${plural(away, "connection")} went home (Ctrl-C stops it)`;
  };
  interrupted.addEventListener("abort", () => void client.stopRebalance().catch(() => {}));
  const end = async () => {
    for (let now = started;; now = await client.showRebalance()) {
      if (!now.running) return now;
      await new Promise((resolve) => setTimeout(resolve, PROGRESS_MS));
    }
  };
  return await watched(end(), { show, say, describe, waiting, interrupted: undefined, why: "" });
}

/** How a wait is shown. */
interface Watch extends Pick<CommandContext, "say" | "show"> {
  /** How it goes, in a line. */
  readonly describe: () => Promise<string>;
  /** What is said once where nobody watches. */
  readonly waiting: string;
  readonly interrupted: AbortSignal | undefined;
  /** What goes on after an interruption. */
  readonly why: string;
}

/** Waits, and shows how it goes on a terminal; an interruption ends the wait and not what is waited for. */
async function watched<T>(result: Promise<T>, { show, say, describe, waiting, interrupted, why }: Watch): Promise<T> {
  const stopped = Promise.withResolvers<never>();
  interrupted?.addEventListener("abort", () => stopped.reject(new OperatorError("failed", `Interrupted: ${why}`)));
  if (show === undefined) return await patiently(Promise.race([result, stopped.promise]), say, waiting);
  let isOver = false;
  const timer = setInterval(async () => {
    const line = await describe().catch(() => undefined); // the server may be gone between two looks
    if (line !== undefined && !isOver) show(line);
  }, PROGRESS_MS);
  return await Promise.race([result, stopped.promise]).finally(() => {
    isOver = true;
    clearInterval(timer);
    show("");
  });
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
