/**
 * `balancer`: the daemon in the foreground. Flags become a Config, a Config becomes a balancer with its engine and control server;
 * then it waits for a reason to stop.
 */

// deno-lint-ignore-file no-console -- a program speaks to its user; the rest of the code logs

import deno from "./deno.json" with { type: "json" };
import { formatAddress, parseHost, parsePort } from "./lib/values/address.ts";
import { Balancer } from "./lib/balancer/balancer.ts";
import { type CommandInput, type CommandSpec, parseCommandLine, type ProgramSpec } from "./lib/values/command_line.ts";
import { DEFAULT_GRACE_MS, NO_STATE, parseConfig, SETTINGS } from "./lib/values/config.ts";
import { Guard } from "./lib/control/guard.ts";
import { type DaemonFacts, serveControl } from "./lib/control/server.ts";
import { claimSocket, makePrivateFolder } from "./lib/control/socket.ts";
import { checksUnder, connectionsUnder, readDescriptorLimit } from "./lib/balancer/descriptors.ts";
import { warnOfSettings } from "./lib/engine/abilities.ts";
import { chooseEngine } from "./lib/engine/mod.ts";
import { ERROR_KINDS, EXIT, messageOf, OperatorError } from "./lib/values/errors.ts";
import { Lock } from "./lib/control/lock.ts";
import { endLogging, logger, reopenLog, setUpLogging } from "./lib/observe/log.ts";
import { DEFAULT_NAME, findPaths, folderOf, parseName, type Paths } from "./lib/values/paths.ts";
import { describeVersion } from "./lib/values/packaging.ts";
import { loadState, saveState, tryToSave } from "./lib/balancer/state_file.ts";

const PROGRAM: ProgramSpec<CommandSpec> = {
  name: "balancer",
  summary: "balancer spreads TCP clients over servers by consistent hashing; balancerctl controls it.",
  version: describeVersion(deno.version),
  commands: {
    run: {
      summary: "Run in the foreground; print the address on standard output when clients can connect, and log to standard error",
      arguments: ["inet_address", "inet_port"],
      options: [
        ...Object.values(SETTINGS),
        { flag: "name", value: "NAME", default: DEFAULT_NAME, summary: "its name, where there are several" },
        NO_STATE,
        { flag: "stop-at-eof", summary: "stop at once when standard input ends, for a program that runs it as its child" },
        { flag: "log-file", value: "PATH", summary: "log there, in files that rotate, and not to standard error" },
      ],
    },
  },
};

/** How long a daemon that has stopped may take to put its things away. */
const CLEANUP_MAX_MS = 2000;

const log = logger("daemon");

async function main(argv: readonly string[]): Promise<number> {
  try {
    const parsed = parseCommandLine(PROGRAM, argv);
    if ("text" in parsed) {
      console.log(parsed.text);
      return EXIT.done;
    }
    return await run(parsed.input);
  } catch (error) {
    const isOperators = error instanceof OperatorError;
    console.error(`${PROGRAM.name}: ${isOperators ? error.message : `A fault of its own: ${messageOf(error)}`}`);
    return isOperators ? ERROR_KINDS[error.kind].exit : EXIT.failed;
  } finally {
    await endLogging();
  }
}

async function run({ arguments: [host, port], options }: CommandInput): Promise<number> {
  const listen = { host: parseHost(host), port: parsePort(port, 0) };
  const config = parseConfig(options);
  const name = parseName(options.name ?? DEFAULT_NAME);
  const paths = findPaths(name, { keepsState: options[NO_STATE.flag] === undefined });
  const engine = chooseEngine(config.engine);
  const descriptors = await readDescriptorLimit();
  const limit = connectionsUnder(descriptors, engine.kind.threads(config));
  const connectionsMax = config.connectionsMax === "auto" ? limit : config.connectionsMax;

  await makePrivateFolder(folderOf(paths.socket));
  const lock = await makePrivateFolder(folderOf(paths.lock)).then(() => takeLock(name, paths.lock)).catch(orWithoutState(paths));
  await setUpLogging(config.logLevel, options["log-file"]);
  endOnFault();
  mindSignals();
  const { state } = paths;
  if (state !== null) await tryToSave(state);
  const { servers, warning } = state === null ? { servers: [], warning: undefined } : await loadState(state);
  const warnings = [warning, engine.passedOver].filter((warning) => warning !== undefined);
  warnings.push(...warnOfSettings(engine.name, engine.kind, options));
  if (connectionsMax > limit) {
    warnings.push(`--connections ${connectionsMax} is more than the limit on open files allows, ${limit}`);
  }
  for (const warning of warnings) log.warn(warning);

  await claimSocket(paths.socket); // before clients can connect, who would lose their connections if it failed
  await using balancer = new Balancer({
    engine: engine.kind,
    listener: engine.kind.listen(listen, config),
    config,
    connectionsMax,
    checksMax: checksUnder(descriptors),
    servers,
    ownIps: () => Deno.networkInterfaces().map(({ address }) => address),
    save: (servers) => state === null ? Promise.resolve() : saveState(state, servers),
  });
  const stopping = stopWhenAsked(balancer);
  await using control = await serveControl({
    path: paths.socket,
    balancer,
    facts: describe(name, engine.name, options, paths, warnings),
    stop: stopping.stop,
  });
  await using _guard = new Guard(control.door, lock);
  const address = formatAddress(balancer.address);
  log.info("Listening on {address} with {servers} servers, engine {engine}", {
    address,
    servers: servers.length,
    engine: engine.name,
  });
  console.log(address);
  if (options["stop-at-eof"] !== undefined) awaitEof().then(() => stopping.stop(0));
  await stopping.stopped;
  log.info("Stopped");
  setTimeout(() => Deno.exit(EXIT.done), CLEANUP_MAX_MS); // a look-up or a disk that hangs must not keep a stopped daemon alive
  return EXIT.done;
}

/** Two daemons of one name would overwrite each other's state. */
async function takeLock(name: string, path: string): Promise<Lock> {
  const lock = await Lock.take(path);
  if (lock !== undefined) return lock;
  const why = "it is running already; stop it first or choose another --name";
  throw new OperatorError("conflict", `Cannot start balancer ${JSON.stringify(name)}: ${why}`);
}

/** The state and the lock are in a folder that a daemon without a state can do without. */
function orWithoutState({ state }: Paths): (error: unknown) => never {
  return (error) => {
    if (state === null || !(error instanceof OperatorError) || error.kind !== "failed") throw error;
    throw new OperatorError("failed", `${error.message}; or start with --no-state to keep nothing`);
  };
}

/** A fault that nothing caught ends the daemon, as it should, but not before the log has it. */
function endOnFault(): void {
  const end = (event: Event, fault: unknown) => {
    event.preventDefault();
    log.fatal("A fault of the balancer's own: {fault}", { fault: fault instanceof Error ? fault.stack : fault });
    endLogging().finally(() => Deno.exit(EXIT.failed));
  };
  globalThis.addEventListener("unhandledrejection", (event) => end(event, event.reason));
  globalThis.addEventListener("error", (event) => end(event, event.error));
}

/** Stops the balancer at a signal or on request: the first lets connections finish, the second ends them. */
function stopWhenAsked(balancer: Balancer): { stop: (graceMs: number) => void; stopped: Promise<void> } {
  const stopped = Promise.withResolvers<void>();
  const stop = (graceMs: number) => balancer.stop(graceMs).then(stopped.resolve, stopped.reject);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => stop(balancer.stopping ? 0 : DEFAULT_GRACE_MS));
  }
  return { stop, stopped: stopped.promise };
}

/** Signals that would end the program without grace. Windows has none of them. */
function mindSignals(): void {
  if (Deno.build.os === "windows") return;
  Deno.addSignalListener("SIGHUP", () => void reopen());
  for (const signal of ["SIGUSR1", "SIGUSR2"] as const) {
    Deno.addSignalListener(signal, () => log.warn("Signal {signal} means nothing here and is ignored", { signal }));
  }
}

/** The log file was moved away to be kept (logrotate(8)). */
async function reopen(): Promise<void> {
  try {
    const isFile = await reopenLog();
    log.info(
      isFile ? "SIGHUP: the log file is opened anew" : "SIGHUP: the log goes to standard error; there is no file to open anew",
    );
  } catch (error) {
    log.error("SIGHUP: {why}; the log goes on in the old file", { why: messageOf(error) });
  }
}

/** Resolves when standard input has ended: the program at its other end is gone. */
async function awaitEof(): Promise<void> {
  const buffer = new Uint8Array(64);
  while (await Deno.stdin.read(buffer).catch(() => null) !== null);
}

function describe(
  name: string,
  engine: string,
  options: CommandInput["options"],
  paths: Paths,
  warnings: readonly string[],
): DaemonFacts {
  const settings = Object.values(SETTINGS).map((setting) => [setting.flag, options[setting.flag] ?? setting.default]);
  return {
    name,
    version: deno.version,
    engine,
    startedAt: new Date(),
    settings: Object.fromEntries(settings),
    stateFile: paths.state,
    lockFile: paths.lock,
    logFile: options["log-file"] ?? null,
    warnings,
  };
}

if (import.meta.main) Deno.exit(await main(Deno.args));
