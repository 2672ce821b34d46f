/**
 * `balancer`: the daemon in the foreground. Makes a balancer with its engine and its control server from the command line, and runs
 * it until it is told to stop.
 */

// deno-lint-ignore-file no-console -- a program speaks to its user; the rest of the code logs

import deno from "./deno.json" with { type: "json" };
import { type Address, formatAddress, parseHost, parsePort } from "./lib/values/address.ts";
import { Balancer } from "./lib/balancer/balancer.ts";
import { type CommandInput, parseCommandLine } from "./lib/values/command_line.ts";
import {
  checkDaemonTexts,
  checkServiceTexts,
  DETACHED,
  isDaemonSetting,
  NO_STATE,
  parseDaemonConfig,
  parseServiceConfig,
  SETTINGS,
  type SettingTexts,
} from "./lib/values/config.ts";
import { formatDuration } from "./lib/values/duration.ts";
import { plural } from "./lib/values/count.ts";
import { DEFAULT_SERVICE, type SavedListener, type SavedState } from "./lib/values/saved_state.ts";
import { parseChoice } from "./lib/values/choice.ts";
import { withLeftovers } from "./lib/balancer/carried_state.ts";
import { ControlClient } from "./lib/control/client.ts";
import { Giving } from "./lib/control/giving.ts";
import { type StartedAs, TAKE_OVER, type TakeOver } from "./lib/control/handover_wire.ts";
import { type CarriedOver, TakingOver } from "./lib/control/taking.ts";
import { refuseClientsAddress } from "./lib/balancer/daemon_settings.ts";
import { withDeclaration } from "./lib/balancer/declared_change.ts";
import { withStart } from "./lib/balancer/state_changes.ts";
import type { DeclaredState } from "./lib/values/declared_state.ts";
import { formatFaults } from "./lib/values/yaml_tree.ts";
import { DAEMON_PROGRAM, FORCED, TAKE_OVER_OPTION } from "./lib/control/daemon_program.ts";
import { Guard } from "./lib/control/guard.ts";
import { type DaemonFacts, serveControl } from "./lib/control/server.ts";
import { claimSocket, makePrivateFolder } from "./lib/control/socket.ts";
import { checksUnder, connectionsUnder, readSystemLimits } from "./lib/balancer/descriptors.ts";
import { type GivenSocket, requireDeclared, withGivenSockets } from "./lib/balancer/given_sockets.ts";
import { GivenListeners } from "./lib/control/given_listeners.ts";
import { ServiceManager, type Supervised } from "./lib/control/service_manager.ts";
import { parseSupervision, type Supervision, SUPERVISION_VARIABLES, whyIrreplaceable } from "./lib/values/supervision.ts";
import type { Listener, ListenerConfig } from "./lib/engine/engine.ts";
import { warnOfSettings } from "./lib/engine/abilities.ts";
import { chooseEngine } from "./lib/engine/mod.ts";
import { ERROR_KINDS, EXIT, messageOf, OperatorError } from "./lib/values/errors.ts";
import { answerMetrics } from "./lib/control/monitor.ts";
import { type Conditions, describeReadiness, whyNotReady } from "./lib/balancer/readiness.ts";
import { type DashboardConfig, LiveParts, type LivePlace } from "./lib/control/live_parts.ts";
import { Lock } from "./lib/control/lock.ts";
import { endLogging, logger, reopenLog } from "./lib/observe/log.ts";
import { DEFAULT_NAME, findLocks, findPaths, findSocket, folderOf, parseName, pathFrom, type Paths } from "./lib/values/paths.ts";
import { withWholePaths } from "./lib/values/path_settings.ts";
import { describeVersion } from "./lib/values/packaging.ts";
import { loadStandings, StandingsKeeper, standingsPath } from "./lib/balancer/standings.ts";
import { loadAuthorities } from "./lib/balancer/trust.ts";
import { Shutdown, type StopTimes } from "./lib/balancer/shutdown.ts";
import { tryToSave } from "./lib/balancer/state_file.ts";
import { StateStore } from "./lib/balancer/state_store.ts";
import { pageOf } from "./lib/values/terminal.ts";

const PROGRAM = { ...DAEMON_PROGRAM, version: describeVersion(deno.version) };

/** How long a stopped daemon may take to clean up. */
const CLEANUP_MAX_MS = 2000;

/** How long a service manager waits beyond the times of a stop: to clean up, on a machine that is busy. */
const STOP_MARGIN_MS = CLEANUP_MAX_MS + 8000;

/** How a balancer is stopped by whoever cannot wait. */
const AT_ONCE: StopTimes = { lameDuckMs: 0, graceMs: 0 };

const log = logger("daemon");

async function main(argv: readonly string[]): Promise<number> {
  const [out, errors] = [Deno.stdout, Deno.stderr].map((stream) => pageOf(stream, argv));
  try {
    const parsed = parseCommandLine(PROGRAM, argv, out);
    if ("text" in parsed) {
      console.log(parsed.text);
      return EXIT.done;
    }
    return await run(parsed.input);
  } catch (error) {
    const isOperators = error instanceof OperatorError;
    const sentence = isOperators ? error.message : `Internal error: ${messageOf(error)}`;
    console.error(`${errors.style.bad(`${PROGRAM.name}:`)} ${sentence}`);
    return isOperators ? ERROR_KINDS[error.kind].exit : EXIT.failed;
  } finally {
    await endLogging();
  }
}

function run(input: CommandInput): Promise<number> {
  return input.options[TAKE_OVER_OPTION.flag] === undefined ? runAlone(input) : runInPlace(input);
}

/** What a daemon begins with. */
interface Beginning {
  readonly name: string;
  readonly paths: Paths;
  readonly lock: Lock;
  readonly store: StateStore;
  readonly state: SavedState;
  readonly startedAs: StartedAs;
  readonly limits: Awaited<ReturnType<typeof readSystemLimits>>;
  readonly engine: ReturnType<typeof chooseEngine>;
  /** Settings of a service that were typed. */
  readonly texts: SettingTexts;
  readonly stopsAtEof: boolean;
  readonly declaration: Declaration | undefined;
  /** What has led to the state, if that is not the one that was saved. */
  readonly what: string | undefined;
  /** The service that must be able to listen. */
  readonly required: string | undefined;
  /** Whom to tell how it is. */
  readonly manager: ServiceManager;
  /** Listening sockets that there are already. */
  readonly inherited: (address: Address, config: ListenerConfig) => Listener | undefined;
  /** Why no other process can take the place of this one; undefined: one can. */
  readonly irreplaceable: string | undefined;
  /** Undefined: no other process runs. */
  readonly taking: TakingOver | undefined;
}

/** Runs a balancer of which no other process runs. */
async function runAlone({ arguments: given, options }: CommandInput): Promise<number> {
  const [texts, daemon] = [textsOf(options, false), withWholePaths(textsOf(options, true), Deno.cwd())];
  const declaration = options.config === undefined ? undefined : await readDeclaration(options.config, given, daemon);
  const listen = given.length === 0 ? undefined : { address: parseHost(given[0]), port: parsePort(given[1], 0) };
  checkServiceTexts(texts);
  checkDaemonTexts(daemon);
  requireAddress(listen, texts, declaration);
  const name = parseName(options.name ?? DEFAULT_NAME);
  const paths = findPaths(name, { keepsState: options[NO_STATE.flag] === undefined });
  await makePrivateFolder(folderOf(paths.socket));
  const supervision = takeSupervision();
  using manager = ServiceManager.open(supervision);
  const inherited = GivenListeners.take(supervision.descriptors);
  const lock = await makePrivateFolder(folderOf(paths.lock)).then(() => takeLock(name, paths)).catch(orWithoutState(paths));
  if (paths.state !== null) await tryToSave(paths.state);
  const store = await StateStore.open(paths.state);
  const { sockets } = inherited;
  if (listen !== undefined) refuseSockets(sockets);
  const state = declaration === undefined
    ? withStart(withGivenSockets(store.state, sockets), listen, texts, daemon)
    : withDeclaration(store.state, declaration.declared, declaration.file);
  if (declaration !== undefined) requireDeclared(state, sockets, declaration.file);
  const config = parseDaemonConfig(state.daemon);
  if (listen !== undefined) refuseClientsAddress(config, [{ host: listen.address, port: listen.port }]);
  refuseClientsAddress(config, sockets.map(({ address }) => address));
  const engine = chooseEngine(config.engine);
  inherited.requireEngine(engine.name, engine.kind);
  return await serve({
    name,
    paths,
    lock,
    store,
    state,
    startedAs: {
      logFile: options["log-file"] ?? null,
      keepsState: paths.state !== null,
      isDetached: options[DETACHED.flag] !== undefined,
      configFile: declaration?.file ?? null,
      typed: daemon,
      notifySocket: supervision.notifySocket ?? null,
      watchdogMs: supervision.watchdogMs ?? null,
    },
    manager,
    inherited: (address, config) => inherited.inherit(engine.kind, address, config),
    engine,
    limits: await readSystemLimits(),
    texts,
    stopsAtEof: options["stop-at-eof"] !== undefined,
    declaration,
    what: state === store.state ? undefined : whatStarts(given, declaration),
    required: listen === undefined ? undefined : DEFAULT_SERVICE,
    irreplaceable: whyIrreplaceable({ pid: Deno.pid, stopsAtEof: options["stop-at-eof"] !== undefined, ...supervision }),
    taking: undefined,
  });
}

/** Takes the place of the balancer of this name that runs: see docs/upgrade.md. */
async function runInPlace({ arguments: given, options }: CommandInput): Promise<number> {
  const how = parseChoice(options[TAKE_OVER_OPTION.flag]!, { what: "way", choices: TAKE_OVER, help: "balancerctl upgrade" });
  if (given.length > 0) throw new OperatorError("usage", "A balancer that takes another one's place listens where that does");
  const daemon = withWholePaths(textsOf(options, true), Deno.cwd());
  checkDaemonTexts(daemon);
  const name = parseName(options.name ?? DEFAULT_NAME);
  using client = new ControlClient(name, findSocket(name), { locks: findLocks(name), who: PROGRAM.name });
  const limits = await readSystemLimits();
  const { notifySocket } = takeSupervision();
  const { path } = await client.upgrade();
  const [version, isForced] = [deno.version, options[FORCED.flag] !== undefined];
  const taking = await TakingOver.begin({ path, how, isForced, version, descriptors: limits.descriptors });
  try {
    return await runFrom(taking, { how, name, daemon, limits, notifySocket });
  } catch (error) {
    await taking.fail(messageOf(error));
    throw error;
  }
}

/** What is known of a balancer whose place is to be taken. */
interface InPlace extends Pick<Beginning, "name" | "limits"> {
  readonly how: TakeOver;
  /** Where the service manager that has led to this process wants to be told; undefined: it was none. */
  readonly notifySocket: string | undefined;
  /** Settings of the daemon that replace the present ones. */
  readonly daemon: SettingTexts;
}

async function runFrom(taking: TakingOver, { how, name, daemon, limits, notifySocket }: InPlace): Promise<number> {
  const { startedAs, open, version, state: offered } = taking.offer;
  requireSupervision(startedAs, notifySocket, name);
  const paths = findPaths(name, { keepsState: startedAs.keepsState });
  const engine = chooseEngine(parseDaemonConfig(withTexts(offered, daemon).daemon).engine);
  if (engine.kind.adopt === undefined) {
    throw new OperatorError(
      "conflict",
      `Cannot take over: engine ${engine.name} cannot be given listeners; stop and start instead`,
    );
  }
  for (const { settings } of offered.services) parseServiceConfig(settings);
  if (paths.state !== null) await tryToSave(paths.state);
  if (how === "check") {
    console.log(`Version ${deno.version} can take over from version ${version}: ${open} open connections`);
    await taking.fail("it was only to check");
    return EXIT.done;
  }
  using manager = ServiceManager.open({
    notifySocket,
    watchdogMs: startedAs.watchdogMs ?? undefined,
    descriptors: [],
    isStarted: false,
  });
  const given = await taking.take();
  const typed = { ...startedAs.typed, ...daemon };
  const isOther = Object.keys(daemon).length > 0;
  return await serve({
    name,
    paths,
    lock: await Lock.takeOver(paths.lock),
    store: await StateStore.open(paths.state),
    state: withLeftovers(withTexts(given.state, daemon), given.leftovers),
    startedAs: { ...startedAs, typed },
    manager,
    inherited: (address, config) => taking.inherit(engine.kind, address, config),
    engine,
    limits,
    texts: {},
    stopsAtEof: false,
    declaration: startedAs.configFile === null ? undefined : declarationIn(startedAs.configFile, typed),
    what: isOther ? "restart with other settings" : undefined,
    required: undefined,
    irreplaceable: undefined,
    taking,
  });
}

/**
 * A service manager believes nobody outside of the unit, would neither limit nor restart what runs there, and ends what was its
 * process: throws `conflict` unless the one of the earlier process has led to this one, too.
 */
function requireSupervision({ notifySocket: before }: StartedAs, now: string | undefined, name: string): void {
  if (before === null || before === now) return;
  const why = `its service manager would not know the new process; use systemctl reload, as in systemctl reload balancer@${name}`;
  throw new OperatorError("conflict", `Cannot take over: ${why}`);
}

/** The state with these settings of the daemon in place of the present ones. */
function withTexts(state: SavedState, daemon: SettingTexts): SavedState {
  return Object.keys(daemon).length === 0
    ? state
    : { ...state, generation: state.generation + 1, daemon: { ...state.daemon, ...daemon } };
}

/** Serves until it is told to stop. */
async function serve(beginning: Beginning): Promise<number> {
  const { name, paths, lock, store, state, startedAs, limits, engine, texts, manager, taking } = beginning;
  const { descriptors, localPorts } = limits;
  const config = parseDaemonConfig(state.daemon);
  const connectionsMax = connectionsUnder(descriptors, engine.kind.threads(config));
  const listening = Promise.withResolvers<void>();
  // The ports beside the clients' and the track file are still the other process's.
  await using parts = await LiveParts.open(
    taking === undefined ? config : { ...config, http: null, dashboard: null, trackFile: null },
    {
      logFile: startedAs.logFile ?? undefined,
      hasOutput: !startedAs.isDetached,
      listening: listening.promise,
      openDashboard: (config) => openDashboard(config, { name, socket: paths.socket }),
    },
  );
  endOnFault();
  if (taking === undefined) mindSignals(parts);
  store.logMigration();
  const standings = paths.state === null ? undefined : standingsPath(paths.state);
  const configs = new Map(state.services.map(({ name, settings }) => [name, parseServiceConfig(settings)]));
  const before = standings === undefined || taking !== undefined
    ? undefined
    : await loadStandings(standings, (name) => configs.get(name), new Date());
  const trust = await loadAuthorities(
    state.services.map(({ name, servers }) => ({ name, config: configs.get(name)!, servers, isGiven: name === DEFAULT_SERVICE })),
  );
  const warnOf = (settings: SettingTexts) => [
    ...warnOfSettings(engine.name, engine.kind, settings),
    ...warnOfConnections(settings, connectionsMax),
  ];
  const warnings = [...store.warnings, before?.warning, engine.passedOver].filter((warning) => warning !== undefined);
  warnings.push(...trust.warnings, ...warnOf(texts));
  for (const warning of [...warnings, ...warnOf(state.daemon ?? {})]) log.warn(warning);

  // Before clients can connect: if it fails, they would lose their connections.
  if (taking === undefined) await claimSocket(paths.socket);
  await using balancer = await Balancer.start({
    engine: engine.kind,
    config,
    connectionsMax,
    checksMax: checksUnder(descriptors),
    state,
    required: beginning.required,
    inherited: beginning.inherited,
    isWaiting: taking !== undefined,
    pauses: taking?.pauses,
    known: (service) => taking?.known(service) ?? before?.known.get(service) ?? new Map(),
    authorities: trust.authorities,
    accessOutput: parts.accessOutput,
    parts,
    ownIps: () => Deno.networkInterfaces().map(({ address }) => address),
    store,
  });
  await orEnd(taking, () => takeConnections(balancer, parts, taking));
  if (beginning.what !== undefined) await orEnd(taking, () => store.save(balancer.state, { what: beginning.what! }));
  const keep = () => standings === undefined ? undefined : new StandingsKeeper(standings, () => balancer.known());
  let keeper = keep();
  const facts: DaemonFacts = {
    ...describe(name, engine.name, startedAs, paths),
    warnings,
    warnOf,
    http: () => parts.http,
    localPorts,
    carriedOver: taking?.carried ?? null,
  };
  const shutdown = new Shutdown({
    stop: async (graceMs) => {
      const saved = keeper?.[Symbol.asyncDispose](); // a balancer that stops checks the servers no more
      const stopped = balancer.stop(graceMs);
      manager.stopping(graceMs + STOP_MARGIN_MS);
      await Promise.all([stopped, saved]);
    },
    onLameDuck(lameDuckMs) {
      manager.stopping(lameDuckMs + STOP_MARGIN_MS);
      const text = `Stopping in ${formatDuration(lameDuckMs)}: clients are still served, and readiness says no`;
      balancer.events.add({ kind: "daemon", text });
    },
    cut: () => balancer.counters.get("stopped"),
    putsOff: (times) => giving.putsOff(times),
  });
  if (taking !== undefined) mindSignals(parts);
  stopAtSignals(shutdown, balancer);
  reloadWhenAsked(balancer, beginning.declaration, manager);
  const entrance = { path: paths.socket, balancer, facts, shutdown, upgrade: () => giving.open() };
  await using control = await orEnd(taking, () => serveControl(entrance));
  let guard = new Guard(control.door, lock);
  const giving: Giving = new Giving({
    balancer,
    irreplaceable: beginning.irreplaceable,
    version: deno.version,
    descriptors,
    socketPath: paths.socket,
    lockPath: paths.lock,
    startedAs,
    stop: (times) => shutdown.ask(times),
    isStopping: () => shutdown.isAsked,
    async standAside() {
      const undo = await parts.standAside(); // first: the others cannot fail
      await guard[Symbol.asyncDispose]();
      await keeper?.[Symbol.asyncDispose]();
      return async () => {
        guard = new Guard(control.door, lock);
        keeper = keep();
        await undo();
      };
    },
    async leave(pid) {
      log.info("Left the place to process {pid}", { pid });
      await Promise.all([manager.handOver(pid), balancer.leave()]);
      await endLogging();
    },
    exit: () => Deno.exit(EXIT.done), // nothing is closed in an orderly way: the other process has it
  });
  await taking?.finish(balancer, (times) => shutdown.ask(times));
  sayListening(balancer, engine.name, taking?.carried);
  taking?.takeOutput();
  const conditions = (): Conditions => {
    const { stopping } = balancer;
    return { stopping, isLameDuck: shutdown.isLameDuck, servers: balancer.countServers() };
  };
  parts.show({ metrics: (format) => answerMetrics(balancer, facts, format), whyNotReady: () => whyNotReady(conditions()) });
  const supervised: Supervised = {
    status: () => describeReadiness(conditions(), balancer.services().length),
    hasTurned: () => balancer.hasTurned(),
  };
  if (taking === undefined) manager.serve(supervised);
  else {
    void taking.gone.then(() => manager.serve(supervised)); // the service manager believes the process that it knows
    if (beginning.declaration !== undefined) await applyAgain(balancer, beginning.declaration, "Upgrade");
  }
  listening.resolve();
  if (beginning.stopsAtEof) awaitEof().then(() => shutdown.ask(AT_ONCE));
  if (taking?.stop != null) shutdown.ask(taking.stop);
  await shutdown.done;
  await guard[Symbol.asyncDispose]();
  log.info("Stopped");
  setTimeout(() => Deno.exit(EXIT.done), CLEANUP_MAX_MS); // a hanging look-up or disk must not keep a stopped daemon alive
  return EXIT.done;
}

/** Takes the connections of the process whose place this one takes, if there is one. */
async function takeConnections(balancer: Balancer, parts: LiveParts, taking: TakingOver | undefined): Promise<void> {
  if (taking === undefined) return;
  await taking.takeConnections(balancer);
  await parts.takeOver(parseDaemonConfig(balancer.state.daemon));
}

/**
 * A step of a process that takes another one's place, and has or gets its connections. If it fails, this process ends at once and
 * closes nothing in an orderly way: its sockets are the other one's, too, which goes on with what this one has not touched.
 */
async function orEnd<Result>(taking: TakingOver | undefined, step: () => Promise<Result>): Promise<Result> {
  try {
    return await step();
  } catch (error) {
    if (taking === undefined) throw error;
    const reason = error instanceof OperatorError ? error.message : `Cannot take over: ${messageOf(error)}`;
    log.error("Nothing is taken over: {reason}", { reason });
    console.error(`${PROGRAM.name}: ${reason}`);
    await taking.fail(reason);
    await endLogging().finally(() => Deno.exit(EXIT.failed));
    throw error;
  }
}

/** The settings of the daemon, or of a service, among the options. */
function textsOf(options: CommandInput["options"], isDaemons: boolean): Record<string, string> {
  const given = Object.entries(options).flatMap(([flag, text]) =>
    text === undefined || isDaemonSetting(flag) !== isDaemons ? [] : [[flag, text === "" ? "on" : text]]
  );
  return Object.fromEntries(given);
}

/** What the service manager says in the environment, which is not for the programs that this one starts. */
function takeSupervision(): Supervision {
  const environment = Object.fromEntries(SUPERVISION_VARIABLES.map((name) => [name, Deno.env.get(name)]));
  for (const name of SUPERVISION_VARIABLES) Deno.env.delete(name);
  return parseSupervision(environment, Deno.pid);
}

/** A start with an address says where the service `default` listens; a socket unit must not say something else. */
function refuseSockets(sockets: readonly GivenSocket[]): void {
  const socket = sockets.find(({ service }) => service === undefined || service === DEFAULT_SERVICE);
  if (socket === undefined) return;
  const why = `the service manager has opened ${formatAddress(socket.address)} for the same service; leave out the address`;
  throw new OperatorError("usage", `Cannot start with an address: ${why}, or stop the socket unit`);
}

/** A warning if a limit on connections is more than the system allows, with those who wait for a place. */
function warnOfConnections(settings: SettingTexts, limit: number): string[] {
  const { connectionsMax: { flag, parse }, queueMax } = SETTINGS;
  const connections = parse(settings[flag] ?? "auto");
  const queued = queueMax.parse(settings[queueMax.flag] ?? "off");
  if (connections === "auto" || connections + Math.ceil(queued / 2) <= limit) return []; // who waits has no server's socket
  const beside = queued === 0 ? "" : ` with --${queueMax.flag} ${queued}`;
  return [`--${flag} ${connections}${beside} is more than the limit on open files allows, ${limit}`];
}

/** A declared file. */
interface Declaration {
  /** Its absolute path. */
  readonly file: string;
  /** Reads it again. */
  readonly read: () => Promise<DeclaredState>;
}

/**
 * Reads the file of --config. Settings of the daemon that the command line gives hold in place of the file's. Throws an operator
 * error with every fault.
 */
async function readDeclaration(
  path: string,
  given: readonly string[],
  typed: SettingTexts,
): Promise<Declaration & { readonly declared: DeclaredState }> {
  if (given.length > 0) {
    throw new OperatorError("usage", "--config says where to listen: leave out the address, or --config");
  }
  const declaration = declarationIn(pathFrom(Deno.cwd(), path), typed);
  return { ...declaration, declared: await declaration.read() };
}

/** The file with this absolute path, which is read when it is needed. */
function declarationIn(file: string, typed: SettingTexts): Declaration {
  const read = async () => {
    const { services, daemon } = await declaredIn(file);
    return { services, daemon: { ...daemon, ...typed } };
  };
  return { file, read };
}

async function declaredIn(file: string): Promise<DeclaredState> {
  const { parseDeclared, readDeclared } = await import("./lib/values/declared_file.ts");
  const result = await parseDeclared(await readDeclared(file));
  if ("state" in result) return result.state;
  throw new OperatorError("failed", formatFaults(file, result).join("\n"));
}

/** What has led to the first state of a run. */
function whatStarts(given: readonly string[], declaration: Declaration | undefined): string {
  return declaration === undefined ? ["start", ...given].join(" ") : `start with ${declaration.file}`;
}

/** Settings of a service need the address of that service. */
function requireAddress(listen: SavedListener | undefined, texts: SettingTexts, declaration: Declaration | undefined): void {
  const [flag] = Object.keys(texts);
  if (listen !== undefined || flag === undefined) return;
  if (declaration !== undefined) {
    throw new OperatorError("usage", `--${flag} is a setting of a service: write it into ${declaration.file}`);
  }
  const wayOut = "give an address and a port as well, or use balancerctl service set once it runs";
  throw new OperatorError("usage", `--${flag} is a setting of the service that an address starts: ${wayOut}`);
}

/** Serves the dashboard as settings say; loaded by a daemon that has one. */
async function openDashboard(config: DashboardConfig, daemon: { name: string; socket: string }): Promise<LivePlace> {
  const { openFixedPlace } = await import("./lib/dashboard/fixed_place.ts");
  return await openFixedPlace(config, {
    ...daemon,
    onDrop: () => log.warn("A viewer of the dashboard did not read what it was sent, and was dropped"),
    onFault: (error) => log.error("The dashboard failed: {why}", { why: error instanceof Error ? error.stack : messageOf(error) }),
  });
}

/** Says on standard output where clients can connect: a line for each address. */
function sayListening(balancer: Balancer, engine: string, carried: CarriedOver | undefined): void {
  const services = balancer.listServices();
  const lines = services.flatMap(({ service, listeners, servers }) =>
    listeners.filter(({ fault }) => fault === null).map(({ listener: address }) => {
      const count = Object.values(servers).reduce((sum, count) => sum + count, 0);
      log.info("Listening on {address} with {servers} servers, engine {engine}", { address, servers: count, engine, service });
      return address;
    })
  );
  const count = Object.values(balancer.countServers()).reduce((sum, count) => sum + count, 0);
  const what = `version ${deno.version} with ${plural(count, "server")}, engine ${engine}, on ${lines.join(", ")}`;
  const text = carried === undefined ? `Started ${what}` : `Upgraded to ${what}: ${describeCarried(carried)}`;
  balancer.events.add({ kind: "daemon", level: carried !== undefined && carried.lost > 0 ? "warning" : "info", text });
  console.log(lines.join("\n"));
}

function describeCarried({ from, connections, lost, durationMs }: CarriedOver): string {
  const came = `${plural(connections, "connection")} came from version ${from} in ${Math.round(durationMs)} ms`;
  return lost === 0 ? came : `${came}, and ${lost} were lost with it`;
}

/** Two daemons of one name would overwrite each other's state. */
async function takeLock(name: string, paths: Paths): Promise<Lock> {
  const lock = await Lock.take(paths.lock, paths.state);
  if (lock !== undefined) return lock;
  const why = "it is already running; stop it first or choose another --name";
  throw new OperatorError("conflict", `Cannot start balancer ${JSON.stringify(name)}: ${why}`);
}

/** Adds a way out to an error about the folder of state and lock, which a daemon without state does not need. */
function orWithoutState({ state }: Paths): (error: unknown) => never {
  return (error) => {
    if (state === null || !(error instanceof OperatorError) || error.kind !== "failed") throw error;
    throw new OperatorError("failed", `${error.message}; or start with --no-state to keep nothing`);
  };
}

/** Logs an error that nothing caught before it ends the daemon. */
function endOnFault(): void {
  const end = (event: Event, fault: unknown) => {
    event.preventDefault();
    log.fatal("Internal error: {fault}", { fault: fault instanceof Error ? fault.stack : fault });
    endLogging().finally(() => Deno.exit(EXIT.failed));
  };
  globalThis.addEventListener("unhandledrejection", (event) => end(event, event.reason));
  globalThis.addEventListener("error", (event) => end(event, event.error));
}

/** Stops the balancer at a signal: the first lets connections finish, the second ends them. */
function stopAtSignals(shutdown: Shutdown, balancer: Balancer): void {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => shutdown.ask(shutdown.isAsked ? AT_ONCE : balancer.stopTimes));
  }
}

/** Handles signals that would otherwise end the program at once. Windows has none of them. */
function mindSignals(parts: LiveParts): void {
  if (Deno.build.os === "windows") return;
  Deno.addSignalListener("SIGHUP", () => void reopen(parts));
  for (const signal of ["SIGUSR1", "SIGUSR2"] as const) {
    Deno.addSignalListener(signal, () => log.warn("Signal {signal} is ignored: it has no meaning here", { signal }));
  }
}

/** Applies the declared file again at SIGHUP, and reads the files of the lists again; one time after another. */
function reloadWhenAsked(balancer: Balancer, declaration: Declaration | undefined, manager: ServiceManager): void {
  if (Deno.build.os === "windows") return;
  let last = Promise.resolve();
  const reload = async () => {
    if (declaration !== undefined) await applyAgain(balancer, declaration, "SIGHUP");
    await reloadLists(balancer);
  };
  Deno.addSignalListener("SIGHUP", () => {
    last = last.then(() => manager.reload(reload));
  });
}

/** Applies the declared file again, because of this. */
async function applyAgain(balancer: Balancer, { file, read }: Declaration, cause: "SIGHUP" | "Upgrade"): Promise<void> {
  try {
    const plan = await balancer.apply(await read(), { file, prune: true });
    balancer.events.add({ kind: "daemon", text: `${cause}: read ${file} again` });
    if (plan === undefined) log.info(`${cause}: the balancer is as {file} says`, { file });
    else log.info(`${cause}: applied {file}, generation {generation}`, { file, generation: balancer.generation });
  } catch (error) {
    const why = messageOf(error);
    log.error(`${cause}: {why}; nothing was changed`, { why });
    balancer.events.add({ kind: "daemon", level: "error", text: `${cause}: ${why}; nothing was changed` });
  }
}

async function reloadLists(balancer: Balancer): Promise<void> {
  if (balancer.stopping) return;
  const reloaded = await balancer.reloadLists().catch((error) => {
    log.warn("SIGHUP: {why}", { why: messageOf(error) });
    return [];
  });
  for (const { path, entries, fault } of reloaded) {
    const [level, text] = fault === undefined
      ? ["info" as const, `SIGHUP: read list ${path} again; it has ${entries} prefixes`]
      : ["error" as const, `SIGHUP: ${fault}; the old list stays in force`];
    balancer.events.add({ kind: "daemon", level, text });
  }
  for (const { path, entries, fault } of reloaded) {
    if (fault === undefined) log.info("SIGHUP: read list {path} again; its number of prefixes is {entries}", { path, entries });
    else log.error("SIGHUP: {fault}; the old list stays in force; its number of prefixes is {entries}", { fault, entries });
  }
}

/** Opens the log files again, after logrotate(8) has moved them away. */
async function reopen(parts: LiveParts): Promise<void> {
  const hasAccessLog = await tryToReopen("the access log", () => parts.accessOutput?.reopen() ?? Promise.resolve(false));
  const hasLogFile = await tryToReopen("the log file", reopenLog);
  if (hasAccessLog || hasLogFile) return;
  log.info("SIGHUP: nothing to reopen, the log goes to standard error");
}

/** Returns false if there was nothing to reopen. */
async function tryToReopen(what: string, open: () => Promise<boolean>): Promise<boolean> {
  try {
    const isFile = await open();
    if (isFile) log.info(`SIGHUP: opened ${what} again`);
    return isFile;
  } catch (error) {
    log.error(`SIGHUP: {why}; ${what} continues in the old file`, { why: messageOf(error) });
    return true;
  }
}

/** Resolves when standard input has ended: the parent process is gone. */
async function awaitEof(): Promise<void> {
  const buffer = new Uint8Array(64);
  while (await Deno.stdin.read(buffer).catch(() => null) !== null);
}

function describe(
  name: string,
  engine: string,
  { logFile }: StartedAs,
  paths: Paths,
): Omit<DaemonFacts, "http" | "localPorts" | "warnOf" | "warnings" | "carriedOver"> {
  return {
    name,
    version: deno.version,
    engine,
    startedAt: new Date(),
    stateFile: paths.state,
    lockFile: paths.lock,
    logFile,
  };
}

if (import.meta.main) Deno.exit(await main(Deno.args));
