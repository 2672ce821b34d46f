/**
 * `balancer`: the daemon in the foreground. Flags become a Config, a Config becomes a balancer with its engine and control server;
 * then it waits for a reason to stop.
 */

// deno-lint-ignore-file no-console -- a program speaks to its user; the rest of the code logs

import deno from "./deno.json" with { type: "json" };
import { formatAddress, parseHost, parsePort } from "./lib/address.ts";
import { Balancer } from "./lib/balancer.ts";
import { type CommandInput, type CommandSpec, parseCommandLine, type ProgramSpec } from "./lib/command_line.ts";
import { DEFAULT_GRACE_MS, parseConfig, SETTINGS } from "./lib/config.ts";
import { type DaemonFacts, serveControl } from "./lib/control/server.ts";
import { claimSocket, makePrivateFolder } from "./lib/control/socket.ts";
import { checksUnder, connectionsUnder, readDescriptorLimit } from "./lib/descriptors.ts";
import { warnOfSettings } from "./lib/engine/abilities.ts";
import { chooseEngine } from "./lib/engine/mod.ts";
import { ERROR_KINDS, EXIT, messageOf, OperatorError } from "./lib/errors.ts";
import { endLogging, logger, setUpLogging } from "./lib/log.ts";
import { DEFAULT_NAME, findPaths, folderOf, parseName, type Paths } from "./lib/paths.ts";
import { describeVersion } from "./lib/packaging.ts";
import { loadState, saveState } from "./lib/state_file.ts";

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
        { flag: "stop-at-eof", summary: "stop at once when standard input ends, for a program that runs it as its child" },
        { flag: "log-file", value: "PATH", summary: "log there, in files that rotate, and not to standard error" },
      ],
    },
  },
};

/** How long a daemon that has stopped may take to put its things away. */
const CLEANUP_MAX_MS = 2000;

const log = logger("daemon");

/** Locks that are held until the process ends; kept here so that nothing may take them for unused and close them. */
const heldLocks: Deno.FsFile[] = [];

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
  const paths = findPaths(name);
  const engine = chooseEngine(config.engine);
  const descriptors = await readDescriptorLimit();
  const limit = connectionsUnder(descriptors, engine.kind.threads(config));
  const connectionsMax = config.connectionsMax === "auto" ? limit : config.connectionsMax;

  await makeFolders(paths);
  await takeLock(name, paths.lock);
  await setUpLogging(config.logLevel, options["log-file"]);
  endOnFault();
  const { servers, warning } = await loadState(paths.state);
  const warnings = [warning, engine.passedOver].filter((warning) => warning !== undefined);
  warnings.push(...warnOfSettings(engine.name, engine.kind, options));
  if (connectionsMax > limit) {
    warnings.push(`--connections ${connectionsMax} is more than the limit on open files allows, ${limit}`);
  }
  for (const warning of warnings) log.warn(warning);

  await claimSocket(paths.socket); // before clients can connect, who would lose their connections if it failed
  await using balancer = new Balancer({
    engine: engine.kind,
    listen,
    config,
    connectionsMax,
    checksMax: checksUnder(descriptors),
    servers,
    ownIps: () => Deno.networkInterfaces().map(({ address }) => address),
    save: (servers) => saveState(paths.state, servers),
  });
  const stopping = stopWhenAsked(balancer);
  await using _control = await serveControl({
    path: paths.socket,
    balancer,
    facts: describe(name, engine.name, options, paths, warnings),
    stop: stopping.stop,
  });
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

async function makeFolders({ socket, state, lock }: Paths): Promise<void> {
  for (const path of [socket, state, lock]) await makePrivateFolder(folderOf(path));
}

/**
 * Holds the lock for as long as the process lives: two daemons of one name would overwrite each other's state. So the file is never
 * closed; the system releases the lock with the process, and whoever waits for it knows that the process is gone.
 */
async function takeLock(name: string, path: string): Promise<void> {
  const file = await Deno.open(path, { write: true, create: true, mode: 0o600 }).catch((error) => {
    throw new OperatorError("failed", `Cannot open lock file ${JSON.stringify(path)}: ${messageOf(error)}`);
  });
  heldLocks.push(file);
  if (await file.tryLock(true)) return;
  throw new OperatorError(
    "conflict",
    `Cannot start balancer ${JSON.stringify(name)}: it is running already; stop it first or choose another --name`,
  );
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
