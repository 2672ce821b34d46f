/**
 * What `balancerctl` can do: one row per command. A row says its arguments, its options, what it does and how the result reads;
 * help, `--json`, usage errors and the table of commands are derived.
 */

import { abortable, deadline, delay } from "@std/async";
import { formatAddress, parseAddress, parseHost, parsePort } from "../values/address.ts";
import { closedText, movedText } from "../routing/parted_text.ts";
import { PLANNED_STATES } from "../routing/redistribution.ts";
import { listOr, parseChoice } from "../values/choice.ts";
import type { CommandInput, CommandSpec, OptionSpec } from "../values/command_line.ts";
import { parseCidrs } from "../values/cidr_list.ts";
import { formatConnectionId, parseConnectionId } from "../values/connection_id.ts";
import { CONNECTION_ORDERS, parseConnectionOrder } from "../values/connection_order.ts";
import { parseCount, plural } from "../values/count.ts";
import {
  checkDaemonTexts,
  checkServiceTexts,
  DEFAULT_DRAIN_MS,
  DEFAULT_PAUSE_MS,
  DEFAULT_REBALANCE_RATE,
  DEFAULT_TEXT,
  DETACHED,
  isDaemonSetting,
  LIMITS,
  NO_STATE,
  parseWeight,
  PAUSE_MIN_MS,
  SETTINGS,
} from "../values/config.ts";
import { EVENT_KINDS } from "../observe/events.ts";
import { formatDuration, parseDuration } from "../values/duration.ts";
import { EXIT, OperatorError } from "../values/errors.ts";
import { FATE_NAMES, parseFate } from "../values/fates.ts";
import { parseListener } from "../values/listener_text.ts";
import { withWholePaths } from "../values/path_settings.ts";
import { DEFAULT_NAME, findLocks, findPaths, findSocket, parseName, parseServiceName, pathFrom } from "../values/paths.ts";
import { printableIn, toJson, toJsonLine } from "../values/printable.ts";
import { effectOf } from "../values/setting_effects.ts";
import { formatServerSettings, parseServerSettings, SERVER_SETTINGS } from "../values/server_settings.ts";
import { PLAIN, type Style } from "../values/terminal.ts";
import { FREE, OWN_ADDRESSES } from "../values/word_sources.ts";
import type { DeclaredState } from "../values/declared_state.ts";
import { formatFaults, nameOfFile, type Place, STANDARD_INPUT } from "../values/yaml_tree.ts";
import type { Answers } from "./api.ts";
import { ControlClient } from "./client.ts";
import { COMPLETION_SCRIPTS, type Shell, SHELLS } from "./completion_scripts.ts";
import type { Report } from "./doctor.ts";
import { followEvents, type ToldEvent } from "./follow.ts";
import { awaitEnd, launchDaemon, versionOf } from "./launch.ts";
import {
  describeSettings,
  isEmptyPlan,
  listenerFaults,
  percent,
  printCheck,
  printClients,
  printConnections,
  printDifference,
  printEvent,
  printEvents,
  printExplanation,
  printHistory,
  printList,
  printListening,
  printPaused,
  printPlan,
  printRebalance,
  printRecent,
  printResumed,
  printServices,
  printStatePlan,
  printStatus,
} from "./printing.ts";

/** What a command acts on: the balancer of the name given, and the person who waits. */
export interface CommandContext {
  readonly client: ControlClient;
  /** A client whose requests concern another service. */
  readonly clientOf: (service: string) => ControlClient;
  readonly name: string;
  /** How the result looks; plain if undefined. */
  readonly style?: Style;
  /** Says something on standard error now, before the result. */
  readonly say: (sentence: string) => void;
  /** Prints a line of a result that goes on, on standard output. */
  readonly printLine: (line: string) => void;
  /** Shows progress in one line of a terminal, in place of the line before; "" clears it. Undefined where nobody watches. */
  readonly show: ((line: string) => void) | undefined;
  /** Prints a result of a command that goes on: on a terminal in place of the one before. */
  readonly print: (text: string) => void;
  /** Asks a question that is answered by yes or no. Undefined where nobody can be asked. */
  readonly confirm: ((question: string) => boolean) | undefined;
  /** Takes over Ctrl-C: from now on it aborts this signal and does not end the program. */
  readonly takeInterrupts: () => AbortSignal;
}

/** A command of `balancerctl`. */
export interface Command extends CommandSpec {
  /** The exit code of the program where the command fails. */
  readonly failure: typeof EXIT.failed | typeof EXIT.usage;
  run(input: CommandInput, context: CommandContext): Promise<CommandResult>;
}

/** What a command prints, and the exit code of the program. */
export interface CommandResult {
  readonly text: string;
  readonly exit: typeof EXIT.done | typeof EXIT.failed;
}

const NAME: OptionSpec = {
  flag: "name",
  value: "NAME",
  default: DEFAULT_NAME,
  summary: "name of the balancer",
  completes: "balancers",
};
const SERVICE: OptionSpec = {
  flag: "service",
  value: "NAME",
  summary: "service that is meant; needed only where there are several",
  completes: "services",
};
const YES: OptionSpec = { flag: "yes", summary: "do not ask" };
const IF_GENERATION: OptionSpec = {
  flag: "if-generation",
  value: "N",
  summary: "only if the balancer is still at this generation (balancerctl history)",
  completes: "generations",
};
const FOLLOW: OptionSpec = { flag: "follow", summary: "print it again every second until Ctrl-C; with --json, a line each time" };
const JSON_OUTPUT: OptionSpec = { flag: "json", summary: "print JSON, stable between versions" };
const SERVER = ["inet_address", "inet_port"];
/** What completes the address and the port of something new. */
const NEW_LISTENER = { inet_address: OWN_ADDRESSES, inet_port: FREE };
const NEW_SERVER = { inet_address: FREE, inet_port: FREE };
/** What completes those of a listener. */
const KNOWN_LISTENER = { inet_address: "listenerHosts", inet_port: "listenerPorts" } as const;
/** The settings that each service has. */
const SERVICE_OPTIONS: readonly OptionSpec[] = Object.values(SETTINGS).filter(({ flag }) => isDaemonSetting(flag) === false);
/** The settings of the daemon. */
const DAEMON_OPTIONS: readonly OptionSpec[] = Object.values(SETTINGS).filter(({ flag }) => isDaemonSetting(flag) === true);
/** The one of these that a restart changes while connections stay. */
const WORKERS: OptionSpec = { ...SETTINGS.workers, default: undefined };
/** The greatest number of a generation that can be typed. */
const GENERATION_MAX = 999_999_999;
const CHANGES = ["add", "remove", "weight"] as const;

/** What is said where the command goes on after an open connection's server is gone. */
const CONNECTIONS_MOVE = "Open connections move to other servers as soon as each reaches a point where moving is safe";

/** Time after which a person at a terminal is told what the command waits for. */
const PATIENCE_MS = 300;
/** Time between two results of a command that goes on. */
const FOLLOW_MS = 1000;
/** Time between two lines of progress. */
const PROGRESS_MS = 200;
/** Time that a process may take to take another one's place. */
const TAKE_OVER_MAX_MS = 150_000;
/** Time that a daemon may take to end after its grace time. */
const END_MAX_MS = 10_000;

/** What a command is made of. */
interface CommandRow<T> extends Partial<CommandSpec> {
  readonly summary: string;
  /** A reading command has `--json`, which prints the result as it is. */
  readonly reads?: boolean;
  /** Whether it has `--follow`, which prints the result again and again. */
  readonly follows?: boolean;
  /** Whether it is about one service: it has `--service`. */
  readonly ofService?: boolean;
  /** Whether it is about one of several balancers, as almost every command is: it has `--name`. */
  readonly isNamed?: boolean;
  readonly act: (input: CommandInput, context: CommandContext) => Promise<T>;
  readonly print: (result: T, style: Style) => string;
  /** What `--json` prints; default: the result. */
  readonly json?: (result: T) => unknown;
  /** Whether the result is bad news, for scripts: the program then ends with EXIT.failed. */
  readonly isBad?: (result: T) => boolean;
  /** The exit code where it fails; default: EXIT.failed. Another one where scripts must tell a failure from bad news. */
  readonly failure?: Command["failure"];
}

/** A row of a table of commands. */
export function command<T>(row: CommandRow<T>): Command {
  const { reads = false, follows = false, isNamed = true, ofService = false, arguments: args = [], options = [], ...spec } = row;
  const { act, print, isBad = () => false, json = (result) => result, failure = EXIT.failed, ...shown } = spec;
  const common = [...(follows ? [FOLLOW] : []), ...(reads ? [JSON_OUTPUT] : []), ...(ofService ? [SERVICE] : [])];
  return {
    ...shown,
    failure,
    arguments: args,
    options: [...options, ...common, ...(isNamed ? [NAME] : [])],
    async run(input, context) {
      const textOf = (result: T, toText: (value: unknown) => string) =>
        input.options.json === undefined ? print(printableIn(result), context.style ?? PLAIN) : toText(json(result));
      if (follows && input.options[FOLLOW.flag] !== undefined) { // events has a --follow of its own, which Ctrl-C ends
        return await follow(async () => textOf(await act(input, context), toJsonLine), context);
      }
      const result = await act(input, context);
      return { text: textOf(result, toJson), exit: isBad(result) ? EXIT.failed : EXIT.done };
    },
  };
}

/** Prints again and again what `tell` returns, until an interruption or an error. */
async function follow(
  tell: () => Promise<string>,
  { print, takeInterrupts }: Pick<CommandContext, "print" | "takeInterrupts">,
): Promise<CommandResult> {
  const interrupted = takeInterrupts();
  while (!interrupted.aborted) {
    print(await tell());
    await delay(FOLLOW_MS, { signal: interrupted }).catch(() => {}); // an interruption ends it
  }
  return { text: "", exit: EXIT.done };
}

/** What `validate` found. */
interface Validation {
  readonly file: string;
  readonly valid: boolean;
  readonly services: number;
  readonly servers: number;
  readonly faults: readonly (Place & { readonly sentence: string })[];
  /** Faults beyond those. */
  readonly more: number;
}

/** Every command that controls a daemon, in the order of the help. */
export const COMMANDS = {
  start: command({
    group: "Daemon",
    summary: "Start a balancer in the background",
    description: "Listens on this address and port (port 0: any free port), with the servers and settings that it had when it " +
      "stopped; a setting that is given replaces the earlier one. Without an address it starts the services that it had.",
    examples: [
      "balancerctl start 127.0.0.1 8080",
      "balancerctl start :: 80 --redistribute idle --check http:/health",
    ],
    arguments: SERVER,
    completes: NEW_LISTENER,
    optionalArguments: SERVER.length,
    options: [...Object.values(SETTINGS), NO_STATE],
    act: start,
    print: ({ name, address, pid, warnings, servers, stateFile, services }) => {
      const count = Object.values(servers).reduce((sum, count) => sum + count, 0); // a restored server may be draining
      return [
        ...warnings,
        ...services.flatMap(listenerFaults),
        `Balancer ${JSON.stringify(name)} listens on ${address} (pid ${pid}) with ${plural(count, "server")}`,
        ...(stateFile === null ? ["Its pool is not kept (--no-state): after a restart it is empty"] : []),
        ...(count === 0 ? ["Add one with balancerctl add <inet_address> <inet_port>"] : []),
      ].join("\n");
    },
  }),
  stop: command({
    group: "Daemon",
    summary: "Stop a balancer",
    description: "Takes no more clients, lets open connections finish, and ends those that are still open after the grace time. " +
      "Says how many those were. Times that are not given are the daemon's settings.",
    examples: ["balancerctl stop --lame-duck 5s --grace 1m"],
    options: [
      { flag: "grace", value: "TIME", summary: SETTINGS.graceMs.summary },
      { flag: "lame-duck", value: "TIME|off", summary: SETTINGS.lameDuckMs.summary },
    ],
    act: stop,
    print: ({ name, grace, cut }) => {
      const stopped = `Balancer ${JSON.stringify(name)} has stopped`;
      if (cut === null) return stopped;
      if (cut === 0) return `${stopped}; no connection was cut`;
      return `${stopped}; ${plural(cut, "connection")} ${
        cut === 1 ? "was" : "were"
      } cut because the grace time of ${grace} was over`;
    },
  }),
  upgrade: command({
    group: "Daemon",
    summary: "Put a new program in place",
    description: "Keeps every connection. Starts the installed program, or that at --to. It checks versions, state and settings " +
      "first; while anything is wrong, nothing changes. Then it takes over the listeners, which are never closed, and every " +
      "open connection in the middle of what it does. If it fails, the running program goes on. Engine epoll only.",
    examples: ["balancerctl upgrade --dry-run", "balancerctl upgrade --to ./balancer-0.2.0/balancer"],
    options: [
      { flag: "to", value: "PATH", summary: "the program to change to; default: the installed one" },
      { flag: "dry-run", summary: "only check whether it is possible" },
      { flag: "force", summary: "even to an older version, and with a lower limit on open files" },
    ],
    act: ({ options }, context) => upgrade(options, context),
    print: printUpgrade,
  }),
  restart: command({
    group: "Daemon",
    summary: "Put a new process in place",
    description:
      "Keeps every connection, like balancerctl upgrade, but with the same program: for settings that only a start can " +
      "change, such as --workers. With engine streams it stops the balancer, which lets open connections finish within the " +
      "grace time, and starts it again: clients are refused meanwhile.",
    examples: ["balancerctl restart", "balancerctl restart --workers 4"],
    options: [
      WORKERS,
      { flag: "grace", value: "TIME", summary: "engine streams: how long open connections have to finish" },
    ],
    act: restart,
    print: printUpgrade,
  }),
  "daemon set": command({
    group: "Daemon",
    summary: "Change settings of the running daemon",
    description:
      `"${DEFAULT_TEXT}" takes a setting back to its default. Open connections stay. The number of workers takes a restart ` +
      "(balancerctl restart --workers N); another engine takes balancerctl stop, then balancerctl start.",
    examples: ["balancerctl daemon set --log-level debug --max-connections 5000"],
    options: DAEMON_OPTIONS.map(({ default: _, value = "on|off", ...option }) => ({ ...option, value })),
    act: ({ options }, { client }) => setDaemon(options, client),
    print: ({ settings, http, warnings, changed }) =>
      [
        ...warnings,
        `Daemon: ${describeSettings(settings)}`,
        ...(changed.includes(SETTINGS.http.flag) && http !== null ? [`HTTP on http://${http}/metrics, /live and /ready`] : []),
        ...changed.map((flag) => `--${flag} ${effectOf(flag)}`),
      ].join("\n"),
  }),
  add: command({
    group: "Pool",
    summary: "Add a server to the pool",
    ofService: true,
    examples: ["balancerctl add 10.0.0.1 8001 --weight 2"],
    arguments: SERVER,
    completes: NEW_SERVER,
    options: Object.values(SERVER_SETTINGS),
    act: ({ arguments: [host, port], options }, { client }) =>
      client.add({ address: parseHost(host), port: parsePort(port), ...parseServerSettings(withPaths(options)) }),
    print: ({ server, share }) => `Added server ${server}: it gets ${percent(share)} of all clients`,
  }),
  remove: command({
    group: "Pool",
    summary: "Remove a server from the pool",
    ofService: true,
    description:
      `The server gets no new clients. ${CONNECTIONS_MOVE}; the others have until the end of the drain time to finish, and ` +
      "are then reset. Ctrl-C ends the command, not the removal.",
    examples: ["balancerctl remove 10.0.0.1 8001 --drain 1m"],
    arguments: SERVER,
    options: [
      {
        flag: "drain",
        value: "TIME",
        default: formatDuration(DEFAULT_DRAIN_MS),
        summary: "how long open connections that cannot move have to finish",
      },
      { flag: "now", summary: "do not wait: reset connections that cannot move" },
    ],
    act: remove,
    print: ({ server, open, moved, ended }) => {
      if (open === 0) return `Removed server ${server}: it had no open connections`;
      const others = `${moved} moved, ${open - moved - ended} finished and ${ended} ${ended === 1 ? "was" : "were"} reset`;
      return `Removed server ${server}: of ${plural(open, "open connection")} ${others}`;
    },
  }),
  drain: command({
    group: "Pool",
    summary: "Take a server out for maintenance",
    ofService: true,
    description: `The server gets no new clients, and stays in the pool until balancerctl undrain. ${CONNECTIONS_MOVE}.`,
    arguments: SERVER,
    act: (input, { client }) => client.change(serverOf(input), { draining: true }),
    print: ({ server, open }) => `Server ${server} gets no more clients; it has ${plural(open, "open connection")}`,
  }),
  undrain: command({
    group: "Pool",
    summary: "Put a drained server back into service",
    ofService: true,
    arguments: SERVER,
    act: (input, { client }) => client.change(serverOf(input), { draining: false }),
    print: ({ server, state, reason, share }) =>
      state === "draining"
        ? `Server ${server} is no longer drained by hand, and still draining: ${reason}`
        : `Server ${server} gets clients again: its share is ${percent(share)}`,
  }),
  set: command({
    group: "Pool",
    summary: "Change the settings of a server",
    ofService: true,
    examples: ["balancerctl set 10.0.0.1 8001 --max-connections 500"],
    arguments: SERVER,
    options: Object.values(SERVER_SETTINGS).map(({ flag, value, summary }) => ({ flag, value, summary })),
    act: setServer,
    print: ({ server, share, ...settings }) => {
      const { weight, connectionsMax } = settings;
      const limit = connectionsMax === null ? "no limit of connections" : `at most ${plural(connectionsMax, "connection")}`;
      const others = formatServerSettings({ ...settings, weight: 1, connectionsMax: null }).map((words) => words.join(" "));
      return `Server ${server} has weight ${weight} (${percent(share)} of all clients) and ${[limit, ...others].join(", ")}`;
    },
  }),
  "service add": command({
    group: "Services",
    summary: "Add a service with a pool of its own",
    description: "Ports may be a range such as 8000-8009: clients of the second port get the second port of a server, and so on.",
    examples: ["balancerctl service add web 0.0.0.0 80 --redistribute idle --check http:/up"],
    arguments: ["name", ...SERVER],
    completes: { name: FREE, ...NEW_LISTENER },
    options: SERVICE_OPTIONS,
    act: ({ arguments: [service, host, ports], options }, { client }) =>
      client.addService({
        service: parseServiceName(service),
        listeners: [parseListener(host, ports)],
        settings: serviceSettings(options),
      }),
    print: ({ service, listeners, warnings }) =>
      [
        ...warnings,
        `Service ${service} listens on ${listeners.map(({ listener }) => listener).join(" and ")}`,
        `Add a server to it with balancerctl add <inet_address> <inet_port> --service ${service}`,
      ].join("\n"),
  }),
  "service remove": command({
    group: "Services",
    summary: "Remove a service with its pool",
    description: "Its addresses take no more clients at once. Open connections have until the end of the drain time to finish; " +
      "given again meanwhile, it sets another drain time.",
    arguments: ["name"],
    options: [{
      flag: "drain",
      value: "TIME",
      default: formatDuration(DEFAULT_DRAIN_MS),
      summary: "how long open connections have to finish",
    }],
    act: ({ arguments: [service], options: { drain = formatDuration(DEFAULT_DRAIN_MS) } }, { client }) => {
      parseDuration(drain, "Drain time");
      return client.removeService(parseServiceName(service), drain);
    },
    print: ({ service, open }) => `Removed service ${service}; it has ${plural(open, "open connection")}`,
  }),
  "service list": command({
    group: "Services",
    summary: "List the services",
    reads: true,
    act: (_, { client }) => client.services(),
    print: printServices,
  }),
  "service set": command({
    group: "Services",
    summary: "Change settings of a running service",
    description: `"${DEFAULT_TEXT}" takes a setting back to its default. Open connections stay where they are.`,
    examples: ["balancerctl service set web --redistribute idle --idle-timeout 1h"],
    arguments: ["name"],
    options: SERVICE_OPTIONS.map(({ default: _, value = "on|off", ...option }) => ({ ...option, value })),
    act: ({ arguments: [service], options }, { client }) => setService(parseServiceName(service), serviceSettings(options), client),
    print: ({ service, settings, warnings, changed }) =>
      [
        ...warnings,
        `Service ${service}: ${describeSettings(settings)}`,
        ...changed.map((flag) => `--${flag} ${effectOf(flag)}`),
      ].join("\n"),
  }),
  "service listen": command({
    group: "Services",
    summary: "Add an address to a service",
    examples: ["balancerctl service listen web 0.0.0.0 8080"],
    arguments: ["name", ...SERVER],
    completes: NEW_LISTENER,
    act: ({ arguments: [service, host, ports] }, { client }) =>
      client.listen(parseServiceName(service), parseListener(host, ports)),
    print: printListening,
  }),
  "service unlisten": command({
    group: "Services",
    summary: "Remove an address from a service",
    description: "Open connections that came through it stay.",
    arguments: ["name", ...SERVER],
    completes: KNOWN_LISTENER,
    act: ({ arguments: [service, host, ports] }, { client }) =>
      client.unlisten(parseServiceName(service), parseListener(host, ports)),
    print: printListening,
  }),
  rebalance: command({
    group: "Pool",
    summary: "Move connections back to their owners",
    ofService: true,
    description:
      "The owner of a client is the server that the ring assigns to it. Connections are elsewhere after a server was added or " +
      "has recovered. Only idle connections move, and only with --redistribute idle. Ctrl-C stops it.",
    options: [{ flag: "rate", value: "N/s", default: `${DEFAULT_REBALANCE_RATE}/s`, summary: "connections moved per second" }],
    act: rebalance,
    print: printRebalance,
  }),
  pause: command({
    group: "Services",
    summary: "Stop dialling: new clients wait",
    ofService: true,
    description:
      "For a failover, or a restart of the only server: nobody is dialled until balancerctl resume, or until the time is over. " +
      "Open connections go on; one that loses its server waits as well, if --redistribute lets it move. With --idle they leave " +
      "their servers and wait as soon as they are between two requests, so that a server can be restarted and nobody is reset. " +
      "Given again, it sets another time. A pause ends when the daemon stops, and outlasts an upgrade.",
    examples: ["balancerctl pause --for 2m", "balancerctl pause --idle", "balancerctl resume"],
    options: [{
      flag: "for",
      value: "TIME",
      default: formatDuration(DEFAULT_PAUSE_MS),
      summary: `when it ends by itself, at most ${formatDuration(LIMITS.pauseMaxMs)}`,
    }, {
      flag: "idle",
      summary: "have open connections wait, too, between two requests (needs --redistribute idle)",
    }],
    act: ({ options: { for: time, idle } }, { client }) => {
      if (time !== undefined) parseDuration(time, "Pause", PAUSE_MIN_MS, LIMITS.pauseMaxMs);
      return client.pause(time, idle !== undefined);
    },
    print: printPaused,
  }),
  resume: command({
    group: "Services",
    summary: "Start dialling again after a pause",
    ofService: true,
    description: "Those who wait are dialled in the order in which they came, slowly at first (see docs/redistribution.md).",
    act: (_, { client }) => client.resume(),
    print: printResumed,
  }),
  status: command({
    group: "Observe",
    summary: "Show the balancer's state and settings",
    reads: true,
    act: (_, { client }) => client.status(),
    print: printStatus,
  }),
  list: command({
    group: "Observe",
    summary: "List the servers and their load",
    ofService: true,
    description:
      "Below the servers stands the fingerprint of the ring: balancers with the same one send each client to the same server.",
    reads: true,
    act: list,
    print: (lists, style) =>
      "servers" in lists
        ? printList(lists, style)
        : lists.services.map((list) => `${style.heading(`Service ${list.service}`)}\n${printList(list, style)}`).join("\n\n"),
  }),
  recent: command({
    group: "Observe",
    aliases: ["last"],
    summary: "List recently ended connections",
    description: `The fate of a connection is the one cause that ended it: ${FATE_NAMES.join(", ")}.`,
    examples: ["balancerctl recent --fate server_lost --limit 50"],
    reads: true,
    options: [
      { flag: "server", value: "ADDRESS:PORT", summary: "only connections of this server", completes: "servers" },
      { flag: "fate", value: "FATE", summary: "only connections with this fate", completes: FATE_NAMES },
      { flag: "limit", value: "N", default: "20", summary: "maximum number of connections" },
    ],
    act: ({ options: { server, fate, limit } }, { client }) => {
      if (server !== undefined) parseAddress(server);
      if (fate !== undefined) parseFate(fate);
      if (limit !== undefined) parseCount(limit, "Limit", LIMITS.recentMax);
      return client.recent({ server, fate, limit });
    },
    print: printRecent,
  }),
  connections: command({
    group: "Observe",
    summary: "List open connections",
    description:
      "The oldest come first, or by --sort those with most bytes, or those that have been quiet longest. The state says " +
      "where a connection is in its exchange: " +
      "dialling (no server yet), unsent (its client has sent nothing), unanswered, idle (between two exchanges) or busy.",
    examples: [
      "balancerctl connections --server 10.0.0.1:8001 --sort bytes --limit 10",
      "balancerctl connections --client 192.0.2.0/24 --state idle",
    ],
    reads: true,
    follows: true,
    options: [
      { ...SERVICE, summary: "only connections of this service" },
      { flag: "server", value: "ADDRESS:PORT", summary: "only connections of this server" },
      { flag: "client", value: "ADDRESS|CIDR", summary: "only clients with this address, or in this prefix" },
      { flag: "state", value: PLANNED_STATES.join("|"), summary: "only connections in this state" },
      {
        flag: "sort",
        value: CONNECTION_ORDERS.join("|"),
        default: "age",
        summary: "what comes first: oldest, busiest, longest quiet",
      },
      { flag: "limit", value: "N", default: "100", summary: "maximum number of connections" },
    ],
    act: ({ options: { server, client: clients, state, sort, limit } }, { client }) => {
      if (server !== undefined) parseAddress(server);
      if (clients !== undefined) parseCidrs(clients, 1);
      if (state !== undefined) parseChoice(state, { what: "state", choices: PLANNED_STATES, help: "balancerctl connections" });
      if (sort !== undefined) parseConnectionOrder(sort);
      if (limit !== undefined) parseCount(limit, "Limit", LIMITS.connectionsShownMax);
      return client.connections({ server, client: clients, state, sort, limit });
    },
    print: printConnections,
  }),
  close: command({
    group: "Connections",
    summary: "End an open connection",
    description:
      "Resets both sides. Its fate is closed, and it does not count against its server. The log and the access log have " +
      "the same id.",
    examples: ["balancerctl close 0123456789abcdef-1f"],
    arguments: ["id"],
    act: ({ arguments: [id] }, { client }) => client.closeConnection(idOf(id)),
    print: (closed) => closedText(closed),
  }),
  move: command({
    group: "Connections",
    summary: "Move a connection to another server",
    description: "To this server, or to the next that its client would get. Nothing is lost: it moves only where its state and " +
      "--redistribute allow it, as it would from a drained server; otherwise the command says why it stays. With --force it is " +
      "then reset: its client has to connect again, and gets the server that the ring assigns, which may be the same one.",
    examples: ["balancerctl move 0123456789abcdef-1f", "balancerctl move 0123456789abcdef-1f 10.0.0.2 8001"],
    arguments: ["id", ...SERVER],
    optionalArguments: SERVER.length,
    options: [{ flag: "force", summary: "reset the connection if it cannot move" }],
    act: ({ arguments: [id, host, port], options: { force } }, { client }) => {
      const server = host === undefined ? undefined : formatAddress({ host: parseHost(host), port: parsePort(port) });
      return client.moveConnection(idOf(id), { server, force: force !== undefined });
    },
    print: (moved) => movedText(moved),
  }),
  events: command({
    group: "Observe",
    summary: "List what has happened, or follow it",
    description: "Changes of servers, commands and what they did, drains, limits, lost workers: the last " +
      `${LIMITS.eventsMax} are kept. With --follow it goes on until Ctrl-C, also over a restart of the balancer, and --json ` +
      "prints an object per line.",
    examples: ["balancerctl events --since 5m", "balancerctl events --follow --kind server,drain"],
    reads: true,
    options: [
      { flag: "follow", summary: "print events as they come" },
      { flag: "since", value: "TIME", summary: "only events of the last so long" },
      { flag: "kind", value: "KIND", summary: `only these kinds: ${EVENT_KINDS.join(", ")}; a list has commas` },
      { flag: "server", value: "ADDRESS:PORT", summary: "only events of this server" },
      { flag: "limit", value: "N", default: "1000", summary: "maximum number of events: the last ones" },
      { ...SERVICE, summary: "only events of this service, and those of none" },
    ],
    act: events,
    print: printEvents,
  }),
  check: command({
    group: "Explain",
    summary: "Run a server's check now, step by step",
    ofService: true,
    description:
      "Makes the check that the server has, and shows what came of it: addresses, connection, TLS, status line, verdict. Changes " +
      "nothing: only the checks at their interval decide the state of the server. Exit code 1 if it fails.",
    examples: ["balancerctl check 10.0.0.1 8001"],
    reads: true,
    arguments: SERVER,
    act: (input, { client }) => client.check(serverOf(input)),
    print: printCheck,
    isBad: ({ verdict }) => verdict === "failed",
  }),
  doctor: command<{ report: Report; draw: (style: Style) => string }>({
    group: "Explain",
    summary: "Check machine, programs and balancer",
    description:
      "One line per fact, and what to type: limits of the system, engine, memory, loops, names, a check of each server " +
      "now, clock, state, versions. Changes nothing. Exit code 1 if something is wrong. Without a balancer, the machine alone.",
    reads: true,
    act: async (_, context) => {
      const { examine, printReport } = await import("./doctor.ts"); // a fifth of what all commands would load
      const report = await examine(context);
      return { report, draw: (style) => printReport(printableIn(report), style) };
    },
    print: ({ draw }, style) => draw(style),
    json: ({ report }) => report,
    isBad: ({ report: { verdict } }) => verdict === "bad",
  }),
  clients: command({
    group: "Observe",
    summary: "List clients by their connections",
    ofService: true,
    description:
      "Clients are counted with --client-connections or --client-rate; with --limits-dry-run as well, nobody is refused. " +
      "What stands under NEXT would refuse the client's next connection.",
    examples: ["balancerctl clients --top 50"],
    reads: true,
    options: [{ flag: "top", value: "N", default: "20", summary: "maximum number of clients" }],
    act: ({ options: { top } }, { client }) => {
      if (top !== undefined) parseCount(top, "Number of clients", LIMITS.clientsShownMax);
      return client.clients({ top });
    },
    print: printClients,
  }),
  plan: command({
    group: "Explain",
    summary: "Show what a change of the pool would do",
    ofService: true,
    description:
      "Shows how many clients would move, between which servers, and what would happen to open connections. Changes nothing.",
    examples: ["balancerctl plan remove 10.0.0.1 8001", "balancerctl plan weight 10.0.0.1 8001 --weight 3"],
    reads: true,
    arguments: [CHANGES.join("|"), ...SERVER],
    options: [{ flag: "weight", value: "N", default: "1", summary: "weight that the server would have" }],
    act: plan,
    print: printPlan,
  }),
  explain: command({
    group: "Explain",
    summary: "Explain which server a client gets",
    ofService: true,
    description:
      "Shows the client's place on the ring, the servers that are passed over and why, and the servers that would be next.",
    examples: ["balancerctl explain 192.0.2.7"],
    reads: true,
    arguments: ["client"],
    options: [{ flag: "successors", value: "N", default: "3", summary: "number of servers shown after the chosen one" }],
    act: ({ arguments: [client], options }, { client: daemon }) => {
      if (options.successors !== undefined) parseCount(options.successors, "Number of successors", LIMITS.successorsMax);
      return daemon.explain({ client, successors: options.successors });
    },
    print: printExplanation,
  }),
  validate: command({
    group: "Declared file",
    summary: "Check a declared file",
    description:
      "Tells every fault with its line and column. Needs no balancer. FILE - is standard input. Exit code 1 if there are faults.",
    examples: ["balancerctl validate balancer.yaml"],
    reads: true,
    isNamed: false,
    arguments: ["file"],
    act: ({ arguments: [file] }) => validate(file),
    print: ({ file, valid, services, servers, faults, more }) => {
      if (valid) return `${nameOfFile(file)} is valid: ${plural(services, "service")} with ${plural(servers, "server")}`;
      return formatFaults(file, { faults: faults.map(({ sentence, ...place }) => ({ place, sentence })), more }).join("\n");
    },
    isBad: ({ valid }) => !valid,
  }),
  apply: command({
    group: "Declared file",
    summary: "Change to what a declared file says",
    description:
      "Shows what would change, and what that does to clients and open connections, asks, and changes everything as one " +
      "generation or nothing. What the file does not mention stays, unless --prune is given. FILE - is standard input.",
    examples: ["balancerctl apply balancer.yaml --plan", "balancerctl apply balancer.yaml --prune --yes"],
    reads: true,
    arguments: ["file"],
    options: [
      { flag: "plan", summary: "show what would change, and change nothing" },
      { flag: "prune", summary: "remove what the file does not mention, and reset settings that it does not mention" },
      YES,
      IF_GENERATION,
    ],
    act: apply,
    print: printApplied,
    json: ({ answer }) => answer,
  }),
  diff: command({
    group: "Declared file",
    summary: "Show what a declared file would change",
    description:
      "Exit code 0 if the balancer is as the file says, 1 if it differs, 2 if nobody can tell (as of a file with faults), " +
      "3 if no balancer runs. FILE - is standard input.",
    examples: ["balancerctl diff balancer.yaml"],
    failure: EXIT.usage, // as diff(1): 1 always means that it differs
    reads: true,
    arguments: ["file"],
    act: async ({ arguments: [file] }, { client }) => {
      const declared = await declaredIn(file);
      return { file, ...await client.apply({ declared, prune: true, plan: true, file: fileOf(file) }) };
    },
    print: ({ file, plan }, style) =>
      isEmptyPlan(plan) ? `The balancer is as ${nameOfFile(file)} says` : printDifference(plan, style),
    isBad: ({ plan }) => !isEmptyPlan(plan),
  }),
  export: command({
    group: "Declared file",
    summary: "Print this state as a declared file",
    examples: ["balancerctl export > balancer.yaml"],
    act: async (_, { client }) => {
      const { services, daemon } = await client.state();
      return (await import("../values/declared_text.ts")).formatDeclared({ services, daemon }).trimEnd().split("\n");
    },
    print: (lines) => lines.join("\n"),
  }),
  history: command({
    group: "Declared file",
    summary: "List the last changes",
    description: "Each change makes a generation, whatever command made it; the last 20 are kept.",
    reads: true,
    act: (_, { client }) => client.history(),
    print: printHistory,
  }),
  undo: command({
    group: "Declared file",
    summary: "Return to an earlier generation",
    description: "Returns to the generation before, or to another one that balancerctl history lists, as a new generation.",
    examples: ["balancerctl undo", "balancerctl undo --to 41 --plan"],
    reads: true,
    options: [
      { flag: "to", value: "N", summary: "the generation to return to; default: the one before", completes: "generations" },
      { flag: "plan", summary: "show what would change, and change nothing" },
      YES,
      IF_GENERATION,
    ],
    act: undo,
    print: printApplied,
    json: ({ answer }) => answer,
  }),
  schema: command({
    group: "Declared file",
    summary: "Print the JSON Schema of declared files",
    description: "With it, an editor completes and checks a declared file while you write it.",
    examples: ["balancerctl schema > balancer.schema.json"],
    isNamed: false,
    act: async () => (await import("../values/declared_schema.ts")).declaredSchema(),
    print: toJson,
  }),
  completion: command({
    group: "Shell",
    summary: "Print a shell's completion script",
    description: "install.sh puts it where the shell looks for it. Completes commands, options and values, and the names of " +
      "balancers, services and servers that there are.",
    examples: ["source <(balancerctl completion bash)", "balancerctl completion fish | source"],
    isNamed: false,
    arguments: [SHELLS.join("|")],
    act: ({ arguments: [shell] }) =>
      Promise.resolve(parseChoice<Shell>(shell, { what: "shell", choices: SHELLS, help: "balancerctl completion" })),
    print: (shell) => COMPLETION_SCRIPTS[shell].trimEnd(),
  }),
} as const satisfies Record<string, Command>;

/** The context of a command: the balancer that `--name` names, and the person. Throws a `usage` error for a bad name. */
export function contextOf(
  input: CommandInput,
  person: Pick<CommandContext, "style" | "say" | "show" | "print" | "printLine" | "confirm" | "takeInterrupts">,
): CommandContext & Disposable {
  const name = parseName(input.options.name ?? DEFAULT_NAME);
  const service = input.options[SERVICE.flag];
  if (service !== undefined) parseServiceName(service);
  let first: ControlClient | undefined;
  const clientOf = (service: string | undefined) => {
    first ??= new ControlClient(name, findSocket(name), { locks: findLocks(name) });
    return first.ofService(service);
  };
  return {
    ...person,
    name,
    get client() {
      return clientOf(service); // the demo needs none
    },
    clientOf,
    [Symbol.dispose]: () => first?.[Symbol.dispose](),
  };
}

/** Lists events, or prints them as they come and never returns. */
async function events({ options }: CommandInput, { client, say, printLine, style }: CommandContext): Promise<Answers["events"]> {
  const { since, kind, server, limit, follow, json } = options;
  if (since !== undefined) parseDuration(since, "Time");
  if (server !== undefined) parseAddress(server);
  if (limit !== undefined) parseCount(limit, "Limit", LIMITS.eventsMax);
  for (const text of kind?.split(",") ?? []) parseChoice(text, { what: "kind", choices: EVENT_KINDS, help: "balancerctl events" });
  const query = { since, kind, server };
  if (follow === undefined) return await client.events({ ...query, limit });
  const lineOf = (event: ToldEvent) => json === undefined ? printEvent(printableIn(event), style) : JSON.stringify(event);
  return await followEvents({ client, query, say, onEvent: (event) => printLine(lineOf(event)) });
}

/** The servers of a service; where there are several and none is named, those of each. */
async function list(
  { options }: CommandInput,
  { client, clientOf }: CommandContext,
): Promise<Answers["servers"] | { services: (Answers["servers"] & { service: string })[] }> {
  try {
    return await client.list();
  } catch (error) {
    const isAmbiguous = error instanceof OperatorError && error.kind === "usage" && options[SERVICE.flag] === undefined;
    if (!isAmbiguous) throw error;
  }
  const { services } = await client.services();
  const lists = [];
  for (const { service } of services.filter(({ removing }) => !removing)) {
    lists.push({ service, ...await clientOf(service).list() });
  }
  return { services: lists };
}

/** Changes settings of a service. Returns the service and the flags of what was given. */
async function setService(
  service: string,
  settings: Record<string, string>,
  client: ControlClient,
): Promise<Answers["service"] & { changed: string[] }> {
  const changed = Object.keys(settings);
  if (changed.length > 0) return { ...await client.setService(service, settings), changed };
  throw new OperatorError("usage", "Nothing to change: give a setting; balancerctl service set --help lists them");
}

/** Changes settings of the daemon. Returns what they come to and the flags of what was given. */
async function setDaemon(
  options: CommandInput["options"],
  client: ControlClient,
): Promise<Answers["daemon"] & { changed: string[] }> {
  const given = Object.entries(withPaths(options)).flatMap(([flag, text]) =>
    isDaemonSetting(flag) !== true || text === undefined ? [] : [[flag, text]]
  );
  const settings: Record<string, string> = Object.fromEntries(given);
  checkDaemonTexts(Object.fromEntries(Object.entries(settings).filter(([, text]) => text !== DEFAULT_TEXT)));
  const changed = Object.keys(settings).filter((flag) => effectOf(flag) !== undefined);
  if (given.length > 0) return { ...await client.setDaemon(settings), changed };
  throw new OperatorError("usage", "Nothing to change: give a setting; balancerctl daemon set --help lists them");
}

/** The settings of a service that options give; a switch as "on". */
function serviceSettings(options: CommandInput["options"]): Record<string, string> {
  const given = Object.entries(withPaths(options)).filter(([flag, text]) => isDaemonSetting(flag) === false && text !== undefined);
  const settings = Object.fromEntries(given.map(([flag, text]) => [flag, text === "" ? "on" : text!]));
  checkServiceTexts(Object.fromEntries(Object.entries(settings).filter(([, text]) => text !== DEFAULT_TEXT)));
  return settings;
}

async function start(
  { arguments: [host, port], options: typed }: CommandInput,
  { client, name }: CommandContext,
): Promise<Answers["status"]> {
  const options = withPaths(typed);
  const address = host === undefined ? [] : [parseHost(host), String(parsePort(port, 0))];
  checkServiceTexts(options);
  checkDaemonTexts(options);
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
  const flags = Object.values(SETTINGS).flatMap(({ flag }) => {
    if (options[flag] === undefined) return [];
    return options[flag] === "" ? [`--${flag}`] : [`--${flag}=${options[flag]}`]; // "": a switch
  });
  const keepsState = options[NO_STATE.flag] === undefined;
  const { log } = findPaths(name, { keepsState });
  const switches = keepsState ? [] : [`--${NO_STATE.flag}`];
  const args = ["run", ...address, `--name=${name}`, `--log-file=${log}`, `--${DETACHED.flag}`, ...switches, ...flags];
  const { daemon } = await launchDaemon(args, { detached: true });
  return await client.status().catch((error) => {
    daemon.kill("SIGTERM"); // a daemon that cannot be controlled must not stay
    throw error;
  });
}

/** How a balancer was stopped. */
interface Stopped {
  readonly name: string;
  /** The times that held. */
  readonly grace: string;
  readonly lameDuck: string;
  /** How many connections were ended because the grace time was over. */
  readonly cut: number | null;
}

async function stop({ options }: CommandInput, { client, name, say }: CommandContext): Promise<Stopped> {
  const rows = [SETTINGS.graceMs, SETTINGS.lameDuckMs];
  const given = rows.map(({ flag, parse }) => options[flag] === undefined ? undefined : parse(options[flag]));
  const { connections: { open }, settings, lockFile } = await client.status();
  const [graceMs, lameDuckMs] = rows.map(({ flag, parse }, i) => given[i] ?? parse(settings[flag]));
  const [grace, lameDuck] = [graceMs, lameDuckMs].map(formatDuration);
  const mostMs = lameDuckMs + graceMs + END_MAX_MS;
  const stopping = client.stop({ grace, lameDuck }, mostMs);
  const ended = deadline(stopping.then(() => awaitEnd(client.lockOf(lockFile))), mostMs).catch((error) => {
    if (!(error instanceof DOMException && error.name === "TimeoutError")) throw error;
    const why = "it still runs after its grace time; see its log, and end it by its pid (balancerctl status)";
    throw new OperatorError("failed", `Cannot stop balancer ${JSON.stringify(name)}: ${why}`);
  });
  const first = lameDuckMs > 0 ? `Serving for another ${lameDuck} as a lame duck, then waiting` : "Waiting";
  await patiently(ended, say, `${first} up to ${grace} for ${plural(open, "open connection")} to finish`);
  return { name, grace, lameDuck, cut: (await stopping).cut };
}

/** How a process took another one's place, or could. */
interface Upgraded {
  readonly name: string;
  /** What the new process says of a dry run; undefined: it runs. */
  readonly check: string | undefined;
  readonly status: Answers["status"];
  /** Whether clients were refused meanwhile. */
  readonly hasStopped: boolean;
}

async function upgrade(options: CommandInput["options"], { client, name }: CommandContext): Promise<Upgraded> {
  const program = options.to === undefined ? undefined : pathFrom(Deno.cwd(), options.to);
  const status = await client.status();
  client.requireOwn(`Cannot upgrade balancer ${JSON.stringify(name)}`);
  if (status.engine !== "epoll") {
    const why = `engine ${status.engine} cannot hand listeners over, so clients would be refused for a moment`;
    throw new OperatorError("conflict", `Cannot upgrade balancer ${JSON.stringify(name)}: ${why}; use balancerctl restart`);
  }
  if (program !== undefined) await versionOf(program);
  const isDry = options["dry-run"] !== undefined;
  const switches = options.force === undefined ? [] : ["--force"];
  return await takeOver({ client, name }, [`--take-over=${isDry ? "check" : "now"}`, ...switches], { program, status, isDry });
}

async function restart(input: CommandInput, context: CommandContext): Promise<Upgraded> {
  const { client, name } = context;
  const { workers } = input.options;
  if (workers !== undefined) SETTINGS.workers.parse(workers);
  const setting = workers === undefined ? [] : [`--workers=${workers}`];
  const status = await client.status();
  client.requireOwn(`Cannot restart balancer ${JSON.stringify(name)}`);
  if (status.engine === "epoll") return await takeOver(context, ["--take-over=now", ...setting], { status, isDry: false });
  if (status.stateFile === null) {
    const why = `engine ${status.engine} stops first, and without a state file (--no-state) its servers would be lost`;
    throw new OperatorError("conflict", `Cannot restart balancer ${JSON.stringify(name)}: ${why}`);
  }
  await stop(input, context);
  const log = status.logFile ?? findPaths(name, { keepsState: true }).log;
  await launchDaemon(["run", `--name=${name}`, `--log-file=${log}`, `--${DETACHED.flag}`, ...setting], { detached: true });
  client.reconnect();
  return { name, check: undefined, status: await client.status(), hasStopped: true };
}

/** Starts a process that takes the place of the one that runs, and that must have it when it says that it serves. */
async function takeOver(
  { client, name }: Pick<CommandContext, "client" | "name">,
  args: readonly string[],
  { program, status, isDry }: { readonly program?: string; readonly status: Answers["status"]; readonly isDry: boolean },
): Promise<Upgraded> {
  const options = { detached: true, program, maxMs: TAKE_OVER_MAX_MS };
  const { daemon, address: said } = await launchDaemon(["run", `--name=${name}`, ...args], options);
  if (isDry) return { name, check: said, status, hasStopped: false };
  client.reconnect();
  const now = await client.status();
  if (now.pid === daemon.pid) return { name, check: undefined, status: now, hasStopped: false };
  throw new OperatorError("failed", `Cannot upgrade balancer ${JSON.stringify(name)}: process ${now.pid} still runs; see its log`);
}

function printUpgrade({ name, check, status, hasStopped }: Upgraded): string {
  if (check !== undefined) return check;
  const { version, pid, carriedOver } = status;
  const now = `Balancer ${JSON.stringify(name)} is version ${version} now (pid ${pid})`;
  if (carriedOver === null) return hasStopped ? `${now}; it was stopped and started` : now;
  const { connections, durationMs, pauseP99Ms, lost } = carriedOver;
  const carried = `${plural(connections, "open connection")} came along in ${(durationMs / 1000).toFixed(2)} s`;
  const losses = lost === 0 ? [] : [`${plural(lost, "connection")} were lost with the earlier process`];
  return [now, `${carried}, each stood still for at most ${pauseP99Ms.toFixed(1)} ms (p99)`, ...losses].join("\n");
}

/** The options with whole paths: the daemon has another working directory. */
function withPaths(options: CommandInput["options"]): CommandInput["options"] {
  return withWholePaths(options, Deno.cwd());
}

/** The id of a connection as the API takes it. */
function idOf(text: string): string {
  const { startId, number } = parseConnectionId(text);
  return formatConnectionId(startId, number);
}

function serverOf({ arguments: [host, port] }: CommandInput): string {
  return formatAddress({ host: parseHost(host), port: parsePort(port) });
}

async function remove(input: CommandInput, { client, say, show, takeInterrupts }: CommandContext): Promise<Answers["removal"]> {
  const server = serverOf(input);
  if (input.options.now !== undefined && input.options.drain !== undefined) {
    throw new OperatorError("usage", "Cannot use --now and --drain together: give one of them");
  }
  const drain = input.options.now !== undefined ? "0" : input.options.drain ?? formatDuration(DEFAULT_DRAIN_MS);
  const drainMs = parseDuration(drain, "Drain time");
  const endMs = performance.now() + drainMs;
  const movedBefore = show === undefined ? 0 : (await client.server(server)).movedAway;
  const describe = async () => {
    const { movedAway, open } = await client.server(server);
    const leftS = Math.ceil(Math.max(0, endMs - performance.now()) / 1000);
    return `Server ${server}: ${movedAway - movedBefore} moved, ${open} left, ${leftS} s to go (Ctrl-C stops watching)`;
  };
  const why = `server ${server} has up to ${drain} for its open connections; balancerctl list shows it`;
  const waiting = drainMs === 0
    ? `Server ${server} gets no more clients; resetting those of its open connections that cannot move`
    : `Server ${server} gets no more clients; waiting up to ${drain} for its open connections`;
  return await watched(client.remove(server, drain, drainMs), { show, say, describe, waiting, interrupted: takeInterrupts(), why });
}

function setServer(input: CommandInput, { client }: CommandContext): Promise<Answers["server"]> {
  const settings = parseServerSettings(withPaths(input.options));
  if (Object.keys(settings).length === 0) {
    const flags = Object.values(SERVER_SETTINGS).map(({ flag }) => `--${flag}`);
    throw new OperatorError("usage", `Nothing to change: give ${listOr(flags)}`);
  }
  return client.change(serverOf(input), settings);
}

/** What `apply` and `undo` have done or would do. */
interface Change {
  /** What was done, in a line. */
  readonly done: string;
  readonly answer: Answers["applied"];
  /** Whether the person has seen the plan already. */
  readonly isShown: boolean;
}

async function apply(input: CommandInput, context: CommandContext): Promise<Change> {
  const { arguments: [file], options: { prune } } = input;
  const declared = await declaredIn(file);
  const application = { declared, prune: prune !== undefined, file: fileOf(file) };
  return await change(
    input,
    context,
    `Applied ${nameOfFile(file)}`,
    (undoing) => context.client.apply({ ...application, ...undoing }),
  );
}

async function undo(input: CommandInput, context: CommandContext): Promise<Change> {
  const { to: text } = input.options;
  const to = text === undefined ? undefined : parseCount(text, "Generation", GENERATION_MAX);
  const done = to === undefined ? "Returned to the generation before" : `Returned to generation ${to}`;
  return await change(input, context, done, (undoing) => context.client.undo({ to, ...undoing }));
}

/** Asks for the plan, shows it to the person who is to agree, and makes the change as it was shown. */
async function change(
  { options }: CommandInput,
  { say, confirm, style }: CommandContext,
  done: string,
  ask: (undoing: { plan: boolean; ifGeneration?: number }) => Promise<Answers["applied"]>,
): Promise<Change> {
  const given = options["if-generation"];
  const ifGeneration = given === undefined ? undefined : parseCount(given, "Generation", GENERATION_MAX, 0);
  const planned = await ask({ plan: true, ifGeneration });
  if (options.plan !== undefined || isEmptyPlan(planned.plan)) return { done, answer: planned, isShown: false };
  if (options.yes === undefined) {
    if (confirm === undefined) {
      const wayOut = "give --yes to make the change, or --plan to look only";
      throw new OperatorError("usage", `Cannot ask whether to change this: standard input is no terminal; ${wayOut}`);
    }
    say(printStatePlan(planned.plan, style));
    if (!confirm("Make this change?")) throw new OperatorError("failed", "Nothing was changed");
  }
  const answer = await ask({ plan: false, ifGeneration: ifGeneration ?? planned.generation });
  return { done, answer, isShown: options.yes === undefined };
}

function printApplied({ done, answer: { generation, applied, plan }, isShown }: Change, style: Style): string {
  const shown = isShown ? [] : [printStatePlan(plan, style)];
  return [...shown, ...(applied ? [`${done}: generation ${generation}`] : [])].join("\n");
}

/** What a declared file says. Throws an operator error with every fault. */
async function declaredIn(file: string): Promise<DeclaredState> {
  const { parseDeclared, readDeclared } = await import("../values/declared_file.ts");
  const result = await parseDeclared(await readDeclared(file));
  if ("state" in result) return result.state;
  throw new OperatorError("failed", formatFaults(file, result).join("\n"));
}

/** The path of a declared file as the daemon can name it; undefined for standard input. */
function fileOf(file: string): string | undefined {
  return file === STANDARD_INPUT ? undefined : pathFrom(Deno.cwd(), file);
}

/** What a declared file has, or its faults. Its parser is loaded here, so that other commands need not. */
async function validate(file: string): Promise<Validation> {
  const { parseDeclared, readDeclared } = await import("../values/declared_file.ts");
  const result = await parseDeclared(await readDeclared(file));
  if ("faults" in result) {
    const faults = result.faults.map(({ place, sentence }) => ({ ...place, sentence }));
    return { file, valid: false, services: 0, servers: 0, faults, more: result.more };
  }
  const { services } = result.state;
  const servers = services.reduce((sum, { servers }) => sum + servers.length, 0);
  return { file, valid: true, services: services.length, servers, faults: [], more: 0 };
}

function plan({ arguments: [text, host, port], options }: CommandInput, { client }: CommandContext): Promise<Answers["plan"]> {
  const change = parseChoice(text, { what: "change", choices: CHANGES, help: "balancerctl plan" });
  if (change === "weight" && options.weight === undefined) {
    throw new OperatorError("usage", "Missing --weight: give the weight that the server would have");
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
  const waiting = `${plural(started.away, "connection")} to move, ${started.rate} per second`;
  const describe = async () => {
    const { moved, away } = await client.showRebalance();
    return `Moved ${moved} of ${plural(away, "connection")} (Ctrl-C stops it)`;
  };
  interrupted.addEventListener("abort", () => void client.stopRebalance().catch(() => {}));
  const end = async () => {
    for (let now = started;; now = await client.showRebalance()) {
      if (!now.running) return now;
      await delay(PROGRESS_MS);
    }
  };
  return await watched(end(), { show, say, describe, waiting, interrupted: undefined, why: "" });
}

/** How a wait is shown. */
interface Watch extends Pick<CommandContext, "say" | "show"> {
  /** The progress, in a line. */
  readonly describe: () => Promise<string>;
  /** What is said once where nobody watches. */
  readonly waiting: string;
  readonly interrupted: AbortSignal | undefined;
  /** What goes on after an interruption. */
  readonly why: string;
}

/** Waits, and shows the progress on a terminal. An interruption ends the wait, not the work. */
async function watched<T>(result: Promise<T>, { show, say, describe, waiting, interrupted, why }: Watch): Promise<T> {
  const wait = interrupted === undefined ? result : abortable(result, interrupted).catch((error) => {
    throw error === interrupted.reason ? new OperatorError("failed", `Interrupted: ${why}`) : error;
  });
  if (show === undefined) return await patiently(wait, say, waiting);
  let isWaiting = true;
  const timer = setInterval(async () => {
    const line = await describe().catch(() => undefined); // the server may have been removed since the last look
    if (line !== undefined && isWaiting) show(line);
  }, PROGRESS_MS);
  return await wait.finally(() => {
    isWaiting = false;
    clearInterval(timer);
    show("");
  });
}

/** Waits, and says for what if it takes long. */
async function patiently<T>(result: Promise<T>, say: (sentence: string) => void, waiting: string): Promise<T> {
  const timer = setTimeout(() => say(waiting), PATIENCE_MS);
  return await result.finally(() => clearTimeout(timer));
}
