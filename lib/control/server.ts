/**
 * The server of the control API: HTTP over a Unix socket that only its owner can open. One handler per route; an error of a handler
 * becomes an answer with a sentence. Decides nothing about balancing.
 */

import type { Context } from "hono";
import { Hono } from "hono/tiny";
import { type Address, formatAddress } from "../values/address.ts";
import type { Shutdown, StopTimes } from "../balancer/shutdown.ts";
import type { Balancer } from "../balancer/balancer.ts";
import { commandEvent, refusedEvent } from "../balancer/pool_events.ts";
import type { Service } from "../balancer/service.ts";
import type { CheckReport, HoldView, ServerView, ServiceView } from "../balancer/views.ts";
import type { OptionSpec } from "../values/command_line.ts";
import {
  DAEMON_FLAGS,
  DEFAULT_DRAIN_MS,
  DEFAULT_PAUSE_MS,
  isDaemonSetting,
  LIMITS,
  SERVICE_FLAGS,
  SETTINGS,
  type SettingTexts,
} from "../values/config.ts";
import { plural } from "../values/count.ts";
import { formatDuration } from "../values/duration.ts";
import { didYouMean } from "../values/did_you_mean.ts";
import type { SavedState } from "../values/saved_state.ts";
import { planState, type StatePlan } from "../routing/state_plan.ts";
import { countFates, type Fate } from "../values/fates.ts";
import type { Plan, PoolChange } from "../routing/plan.ts";
import type { BinnedCircle, RingPicture } from "../routing/ring_picture.ts";
import { ERROR_KINDS, messageOf, OperatorError } from "../values/errors.ts";
import { printable } from "../values/printable.ts";
import type { EventList } from "../observe/events.ts";
import { logger } from "../observe/log.ts";
import { type Answers, type InputOf, type OutputOf, ROUTES } from "./api.ts";
import { EventStreams } from "./event_streams.ts";
import { type HttpRequest, HttpServer } from "./http.ts";
import { WHO_HEADER } from "./user_header.ts";
import { EVENT_STREAM } from "./event_stream_type.ts";
import { parseInput, type RawInput, statusOf } from "./input.ts";
import { answerMetrics } from "./monitor.ts";
import { describeApi } from "./openapi.ts";
import { urlOf } from "./request_url.ts";
import type { CarriedOver } from "./taking.ts";
import { Door } from "./socket.ts";

/** Facts about the daemon, for `status` and the metrics. */
export interface DaemonFacts {
  readonly name: string;
  readonly version: string;
  readonly engine: string;
  readonly startedAt: Date;
  /** Null with --no-state. */
  readonly stateFile: string | null;
  /** Locked until the process has ended. */
  readonly lockFile: string;
  readonly logFile: string | null;
  /** Where --http serves now; null: nowhere. */
  readonly http: () => string | null;
  /** Warnings for settings, of a service or of the daemon, that engine and system cannot honour. */
  readonly warnOf: (settings: SettingTexts) => string[];
  /** For the metrics alone. */
  readonly localPorts: number | null;
  /** Of the start. */
  readonly warnings: readonly string[];
  /** What this process took over; null: nothing. */
  readonly carriedOver: CarriedOver | null;
}

/** Options of `serveControl`. */
interface ControlOptions {
  readonly path: string;
  readonly balancer: Balancer;
  readonly facts: DaemonFacts;
  readonly shutdown: Pick<Shutdown, "ask" | "done" | "isLameDuck">;
  /** Lets another process in that takes this one's place; returns the path. Throws an operator error. */
  readonly upgrade: () => string;
  /** How long a request may take to arrive. */
  readonly requestTimeMaxMs?: number;
}

/** A control server. Disposing of it removes the socket. */
interface ControlServer extends AsyncDisposable {
  readonly door: Door;
}

/** How long running requests may still take when the control server is disposed of. */
const SHUTDOWN_MAX_MS = 500;

/** Defaults of the queries: parts of the ring; servers after the chosen one; ended connections, and clients; open connections. */
const DEFAULT_BINS = 720;
const DEFAULT_SUCCESSORS = 3;
const DEFAULT_LIMIT = 20;
/** The same: events, and seconds of the series without `after`. */
const DEFAULT_EVENTS = 1000;
const DEFAULT_SERIES_SECONDS = 60;
const DEFAULT_CONNECTIONS = 100;
/** Seconds of the series in the first look of who watches. */
const LOOK_SECONDS = 2;

/** The longest name of a user. */
const WHO_MAX = 100;

const log = logger("control");

/** Methods that a `Request` cannot have (Fetch Standard, forbidden methods). */
const NEVER_ALLOWED: ReadonlySet<string> = new Set(["CONNECT", "TRACE", "TRACK"]);
const ALLOWED = [...new Set(["HEAD", ...Object.values(ROUTES).map(({ method }) => method.toUpperCase())])].toSorted().join(", ");

/** The query of recent ends, parsed. */
interface RecentQuery {
  readonly server?: Address;
  readonly fate?: Fate;
  readonly limit?: number;
}

/** What status shows. */
type ViewedStatus = Pick<ControlOptions, "balancer" | "facts" | "shutdown">;

type RouteName = keyof typeof ROUTES;

/** What answers each route: the value of its answer, or the whole answer where that is no JSON. */
type Handlers = {
  [Name in RouteName]: (
    input: InputOf<Name>,
    who: string,
    headers: Headers,
  ) => OutputOf<Name> | Response | Promise<OutputOf<Name> | Response>;
};

/** Serves the API on the Unix socket at `path` (mode 0600), which `claimSocket` has made free. */
export async function serveControl(options: ControlOptions): Promise<ControlServer> {
  const { requestTimeMaxMs = LIMITS.requestTimeMaxMs } = options;
  const { requestHeadersMax, controlConnectionsMax: connectionsMax, controlWaitingMax: waitingMax } = LIMITS;
  const streams = new EventStreams(options.balancer);
  const api = createApi(options, streams);
  const answer = (request: HttpRequest) => answerBy(api, request);
  const requestBytesMax = (target: string) => target === ROUTES.apply.path ? LIMITS.applyBytesMax : LIMITS.requestBytesMax;
  const limits = { requestTimeMaxMs, requestBytesMax, requestHeadersMax, connectionsMax, waitingMax };
  const http = new HttpServer({ name: "the control socket", answer, fail: failure, ...limits });
  const door = await Door.open(options.path, (path) => http.listen(path));
  return {
    door,
    async [Symbol.asyncDispose]() {
      await door[Symbol.asyncDispose]();
      streams[Symbol.dispose](); // before the requests that may take a while
      await http.close(SHUTDOWN_MAX_MS);
    },
  };
}

/** Answers a request. Its body is JSON, whatever its content type says. */
async function answerBy(api: Hono, request: HttpRequest): Promise<Response> {
  const { method, body } = request;
  if (NEVER_ALLOWED.has(method)) return notAllowed(method);
  const url = urlOf(request);
  if (method === "GET") {
    return await api.fetch(new Request(url, { headers: { accept: request.accept, "last-event-id": request.lastEventId } }));
  }
  if (method === "HEAD") return await api.fetch(new Request(url, { method })); // of the plain answer, never of a stream
  const json = body || "{}";
  requireJson(json);
  const headers = { "content-type": "application/json", [WHO_HEADER]: nameOfUser(request) };
  return await api.fetch(new Request(url, { method, headers, body: json }));
}

/** Who changes something, for the history. The socket is its owner's alone, so what he says of himself is believed. */
function nameOfUser({ who }: HttpRequest): string {
  return printable(who).slice(0, WHO_MAX) || "a client of the API";
}

/** Does not name the target, because that of CONNECT is not a path. */
function notAllowed(method: string): Response {
  const answer = failure(new OperatorError("notAllowed", `Method ${method} is not allowed; the API has ${ALLOWED}`));
  answer.headers.set("allow", ALLOWED);
  return answer;
}

function requireJson(body: string): void {
  try {
    JSON.parse(body);
  } catch (error) {
    throw new OperatorError("usage", `The request is not JSON: ${messageOf(error)}`);
  }
}

/** The API as one function from request to answer. */
function createApi(options: ControlOptions, streams: EventStreams): Hono {
  const handlers = handlersOf(options, streams);
  const app = new Hono();
  for (const name of Object.keys(ROUTES) as RouteName[]) {
    const { method, path } = ROUTES[name];
    // Each takes what its own route's schemas give.
    const handle = handlers[name] as (input: unknown, who: string, headers: Headers) => unknown;
    app.on(method.toUpperCase(), path.replaceAll(/\{(\w+)\}/g, ":$1"), async (c) => {
      const { headers } = c.req.raw;
      const answer = await handle(parseInput(ROUTES[name], await readParts(c)), headers.get(WHO_HEADER) ?? "", headers);
      return answer instanceof Response ? answer : Response.json(answer, { status: statusOf(ROUTES[name]) });
    });
  }
  app.onError((error) => failure(error));
  app.notFound((c) =>
    failure(new OperatorError("unknown", `There is no ${c.req.method} ${c.req.path}; GET /openapi.json lists all routes`))
  );
  return app;
}

/** The parts of a request as they came. A query parameter that is given twice is a list. */
async function readParts({ req }: Context): Promise<RawInput> {
  const query = Object.entries(req.queries()).map(([name, values]) => [name, values.length === 1 ? values[0] : values]);
  const hasBody = req.method !== "GET" && req.method !== "HEAD";
  return { query: Object.fromEntries(query), params: req.param(), body: hasBody ? await req.json() : undefined };
}

function handlersOf({ balancer, facts, shutdown, upgrade }: ControlOptions, streams: EventStreams): Handlers {
  const of = ({ query: { service } }: { readonly query: { readonly service?: string } }): Service => balancer.service(service);
  const view = (service: ServiceView): Answers["service"] => viewService(service, facts);
  return {
    status: () => viewStatus({ balancer, facts, shutdown }),
    listServers: (input) => viewServers(of(input)),
    addServer: async (input, who) => {
      const { address, port, ...settings } = input.body;
      return viewServer(await balancer.addServer(of(input), { host: address, port }, settings, who));
    },
    getServer: (input) => viewServer(of(input).get(formatAddress(input.params.server))),
    changeServer: async (input, who) =>
      viewServer(await balancer.changeServer(of(input), formatAddress(input.params.server), input.body, who)),
    removeServer: async (input, who) => {
      const { drain = DEFAULT_DRAIN_MS } = input.query;
      return await balancer.removeServer(of(input), formatAddress(input.params.server), drain, who);
    },
    checkServer: async (input) => viewCheck(await of(input).check(formatAddress(input.params.server))),
    startRebalance: (input, who) => startRebalance(balancer, of(input), input.body.rate, who),
    showRebalance: (input) => of(input).rebalancer.state,
    stopRebalance: (input, who) => {
      const { rebalancer, name: service } = of(input);
      if (rebalancer.state.running) {
        balancer.events.add({ kind: "command", who, service, text: `Stop the rebalance of ${service}` });
      }
      return rebalancer.stop();
    },
    pauseService: async (input, who) => {
      const service = of(input);
      const wasPaused = service.pause.view !== undefined;
      const { for: forMs = DEFAULT_PAUSE_MS, idle } = input.body;
      await balancer.pauseService(service, { forMs, idle, who });
      return viewPaused(service, wasPaused);
    },
    resumeService: async (input, who) => viewPaused(of(input), await balancer.resumeService(of(input), who)),
    listServices: () => ({ services: balancer.listServices().map(view) }),
    addService: async ({ body: { service: name, listeners, settings } }, who) =>
      view(await balancer.addService({ name, listeners, settings: requireServiceSettings(settings), servers: [] }, who)),
    getService: ({ params: { service } }) => view(balancer.service(service).view()),
    changeService: async ({ params: { service }, body: { settings } }, who) =>
      view(await balancer.setService(service, requireServiceSettings(settings), who)),
    removeService: async ({ params: { service }, query: { drain = DEFAULT_DRAIN_MS } }, who) => ({
      service,
      open: await balancer.removeService(service, drain, who),
    }),
    addListener: async ({ params: { service }, body }, who) => view(await balancer.listen(service, body, who)),
    removeListener: async ({ params: { service, listener } }, who) => view(await balancer.unlisten(service, listener, who)),
    getDaemon: () => viewDaemon(balancer, facts),
    changeDaemon: async ({ body: { settings } }, who) => {
      await balancer.setDaemon(requireDaemonSettings(settings), who);
      return viewDaemon(balancer, facts);
    },
    getState: () => viewState(balancer.state),
    apply: async ({ body: { declared, prune, plan: isPlan, ifGeneration, file } }, who) => {
      const options = { prune, ifGeneration, file, who };
      balancer.requireGeneration(ifGeneration);
      const plan = isPlan ? balancer.planDeclared(declared, options) : await balancer.apply(declared, options);
      return viewApplied(balancer, plan, !isPlan);
    },
    listHistory: async () => ({
      generations: (await balancer.history()).map(({ at, moved = null, ...rest }) => ({ ...rest, at: at.toISOString(), moved })),
    }),
    undo: async ({ body: { to, plan: isPlan, ifGeneration } }, who) => {
      balancer.requireGeneration(ifGeneration);
      const plan = isPlan ? await balancer.planUndo(to) : await balancer.undo(to, { ifGeneration, who });
      return viewApplied(balancer, plan, !isPlan);
    },
    plan: (input) => {
      const { change, server, weight = 1 } = input.query;
      return viewPlan(of(input).plan(poolChangeOf(change, formatAddress(server), weight)));
    },
    ring: (input) => {
      const { bins = DEFAULT_BINS, change: kind, server, weight = 1 } = input.query;
      return viewRing(of(input).picture(bins, kind && server && poolChangeOf(kind, formatAddress(server), weight)));
    },
    explain: (input) => viewExplanation(of(input).explain(input.query.client, input.query.successors ?? DEFAULT_SUCCESSORS)),
    listRecent: ({ query }) => viewRecent(balancer, query),
    listEnds: ({ query }) => viewRecent(balancer, query),
    listClients: (input) => {
      const { clients, ...view } = balancer.clients(of(input), input.query.top ?? DEFAULT_LIMIT);
      return { ...view, clients: [...clients] };
    },
    listEvents: ({ query: { since, kind: kinds, server, limit = DEFAULT_EVENTS, ...rest } }, _who, headers) => {
      const filter = { ...rest, kinds, server: server && formatAddress(server) };
      const sinceMs = since === undefined ? undefined : Date.now() - since;
      if (!headers.get("accept")?.includes(EVENT_STREAM)) return viewEvents(balancer.events.list({ ...filter, sinceMs, limit }));
      return streams.open({ ...filter, sinceMs, lastId: headers.get("last-event-id") || undefined });
    },
    getSeries: ({ query: { after, seconds, step = 1, server: servers, ...rest } }) => {
      const { service } = rest;
      if (service !== undefined && !balancer.series.hasService(service)) balancer.service(service); // throws
      const last = after === undefined ? DEFAULT_SERIES_SECONDS : LIMITS.seriesSeconds;
      return balancer.series.read({ ...rest, after, seconds: seconds ?? last, step, servers });
    },
    look: async ({ query: { event, second } }) => ({
      status: await viewStatus({ balancer, facts, shutdown }),
      servers: balancer.listServices().map(({ service }) => ({ service, ...viewServers(balancer.service(service)) })),
      events: viewEvents(balancer.events.list({ after: event, limit: event === undefined ? 1 : DEFAULT_EVENTS })),
      series: balancer.series.read({ after: second, seconds: second === undefined ? LOOK_SECONDS : LIMITS.seriesSeconds, step: 1 }),
    }),
    listConnections: async ({ query: { server, limit = DEFAULT_CONNECTIONS, ...filter } }) => {
      const { total, connections } = await balancer.connections.list({ ...filter, server: server && formatAddress(server), limit });
      return { total, connections: [...connections] };
    },
    closeConnection: ({ params: { id } }, who) => balancer.connections.close(id, who),
    moveConnection: ({ params: { id }, body: { server, force } }, who) =>
      balancer.connections.move(id, { server: server && formatAddress(server), force }, who),
    stop: async ({ body: { grace, lameDuck, wait } }, who) => {
      const { graceMs, lameDuckMs } = balancer.stopTimes;
      const times = { graceMs: grace ?? graceMs, lameDuckMs: lameDuck ?? lameDuckMs };
      const open = balancer.counters.get("open");
      balancer.events.add({ kind: "command", who, text: describeStop(times, open) });
      shutdown.ask(times);
      return { ...times, open, cut: wait ? await shutdown.done : null, lockFile: facts.lockFile };
    },
    upgrade: (_input, who) => {
      const path = upgrade();
      balancer.events.add({ kind: "command", who, text: "Upgrade: another process is let in to take the place of this one" });
      return { path };
    },
    openapi: () => describeApi(facts.version),
    metrics: () => answerMetrics(balancer, facts),
  };
}

function startRebalance({ events }: Balancer, { rebalancer, name: service }: Service, rate: number, who: string) {
  const what = { what: `rebalance ${service}`, who, service };
  try {
    const rebalance = rebalancer.start(rate);
    const { away, busy } = rebalance;
    events.add(commandEvent(what, [`${plural(away, "connection")} to move, ${rate} per second`, `${busy} more are busy`]));
    return rebalance;
  } catch (error) {
    events.add(refusedEvent(what, messageOf(error)));
    throw error;
  }
}

/** A stop that somebody asks for, as an event. */
function describeStop({ graceMs, lameDuckMs }: StopTimes, open: number): string {
  const first = lameDuckMs === 0 ? "" : `clients are served for ${formatDuration(lameDuckMs)} more, and then `;
  return `Stop: ${first}${plural(open, "open connection")} have ${formatDuration(graceMs)} to finish`;
}

/** Settings that a service can have; throws a `usage` error for others. */
function requireServiceSettings(settings: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  for (const flag of Object.keys(settings)) {
    const isDaemons = isDaemonSetting(flag);
    if (isDaemons === false) continue;
    const why = isDaemons === true
      ? "it is the daemon's: change it with balancerctl daemon set"
      : didYouMean(flag, SERVICE_FLAGS) ?? "balancerctl service set --help lists the settings";
    throw new OperatorError("usage", `A service has no setting ${JSON.stringify(flag)}: ${why}`);
  }
  return settings;
}

/** Settings that the daemon can have; throws a `usage` error for others. */
function requireDaemonSettings(settings: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  for (const flag of Object.keys(settings)) {
    const isDaemons = isDaemonSetting(flag);
    if (isDaemons === true) continue;
    const why = isDaemons === false
      ? "each service has its own: change it with balancerctl service set"
      : didYouMean(flag, DAEMON_FLAGS) ?? "balancerctl daemon set --help lists the settings";
    throw new OperatorError("usage", `The daemon has no setting ${JSON.stringify(flag)}: ${why}`);
  }
  return settings;
}

/** Settings as text that was given. */
function textsOf(settings: SettingTexts): Record<string, string> {
  return Object.fromEntries(Object.entries(settings).map(([flag, text]) => [flag, text === "" ? "on" : text ?? ""]));
}

function viewState({ generation, services, daemon = {} }: SavedState): Answers["state"] {
  return {
    generation,
    daemon: textsOf(daemon),
    services: services.map(({ listeners, servers, settings, ...service }) => ({
      ...service,
      listeners: [...listeners],
      settings: textsOf(settings),
      servers: [...servers],
    })),
  };
}

const NOTHING: StatePlan = planState([]);

/** `plan` is undefined if nothing differs. */
function viewApplied(balancer: Balancer, plan: StatePlan | undefined, isDone: boolean): Answers["applied"] {
  return {
    generation: balancer.generation,
    applied: isDone && plan !== undefined,
    plan: (plan ?? NOTHING) as Answers["applied"]["plan"],
  };
}

function viewService(view: ServiceView, { warnOf }: Pick<DaemonFacts, "warnOf">): Answers["service"] {
  return {
    ...view,
    listeners: [...view.listeners],
    hold: viewHold(view.hold),
    settings: textsOf(view.settings),
    warnings: warnOf(view.settings),
  };
}

function viewHold({ pause, ...hold }: HoldView): Answers["paused"]["hold"] {
  return { ...hold, pause: pause && { ...pause, since: pause.since.toISOString(), until: pause.until.toISOString() } };
}

function viewPaused(service: Service, wasPaused: boolean): Answers["paused"] {
  const { service: name, open, hold } = service.view();
  return { service: name, open, wasPaused, hold: viewHold(hold) };
}

function viewDaemon({ state: { daemon = {} }, connectionsMax }: Balancer, { http, warnOf }: DaemonFacts): Answers["daemon"] {
  return { settings: textsOf(daemon), connectionsMax, http: http(), accessLog: accessLogOf(daemon), warnings: warnOf(daemon) };
}

function accessLogOf(daemon: SettingTexts): string | null {
  return SETTINGS.accessLog.parse(daemon[SETTINGS.accessLog.flag] ?? SETTINGS.accessLog.default);
}

/** Every setting by its flag and its aliases: of the daemon as it is, of a service as it is by default. */
function everySetting(daemon: SettingTexts): Record<string, string> {
  const rows: readonly OptionSpec[] = Object.values(SETTINGS);
  return Object.fromEntries(rows.flatMap(({ flag, aliases = [], default: usual = "" }) =>
    // an alias that was a key stays one
    [flag, ...aliases].map((key) => [key, isDaemonSetting(flag) === true ? daemon[flag] ?? usual : usual])
  ));
}

function viewServers(service: Service): Answers["servers"] {
  return { servers: service.list().map(viewServer), ring: service.ring(), hold: viewHold(service.hold) };
}

function viewServer({ slot: _, since, nextCheckAt, lastFailure, ...view }: ServerView): Answers["server"] {
  return {
    ...view,
    since: since.toISOString(),
    nextCheckAt: nextCheckAt && nextCheckAt.toISOString(),
    lastFailure: lastFailure && { at: lastFailure.at.toISOString(), reason: lastFailure.reason },
  };
}

function viewCheck(report: CheckReport): Answers["check"] {
  return { ...report, steps: [...report.steps] };
}

function viewPlan(plan: Plan): Answers["plan"] {
  return { ...plan, flows: [...plan.flows], connections: [...plan.connections] };
}

function poolChangeOf(kind: PoolChange["kind"], server: string, weight: number): PoolChange {
  return kind === "remove" ? { kind, server } : { kind, server, weight };
}

function viewRing({ circle, takenOver, after, ...view }: RingPicture): Answers["ring"] {
  const lists = ({ servers, owners }: BinnedCircle) => ({ servers: [...servers], owners: [...owners] });
  return { ...view, circle: lists(circle), takenOver: [...takenOver], after: after && lists(after) };
}

function viewExplanation({ order, ...explanation }: ReturnType<Service["explain"]>): Answers["explanation"] {
  return { ...explanation, order: [...order] };
}

function viewRecent(balancer: Balancer, { server, fate, limit = DEFAULT_LIMIT }: RecentQuery): Answers["recent"] {
  const { ends, leftOut } = balancer.recent({ server: server && formatAddress(server), fate, limit });
  return { ends: ends.map((end) => ({ ...end, at: end.at.toISOString() })), leftOut };
}

function viewEvents({ events, ...list }: EventList): Answers["events"] {
  return { ...list, events: [...events] };
}

async function viewDeclaration(balancer: Balancer): Promise<Answers["status"]["declared"]> {
  const declaration = await balancer.declaration();
  return declaration && { ...declaration, differences: declaration.differences && [...declaration.differences] };
}

async function viewStatus({ balancer, facts, shutdown }: ViewedStatus): Promise<Answers["status"]> {
  const { counters, connectionsMax } = balancer;
  const { localPorts: _, warnOf, http, ...shown } = facts;
  const { daemon = {} } = balancer.state;
  const services = balancer.listServices().map((service) => viewService(service, facts));
  return {
    ...shown,
    services,
    declared: await viewDeclaration(balancer),
    // A client of this version shows the settings of each service; an earlier one knows only these.
    settings: { ...everySetting(daemon), ...services[0].settings },
    http: http(),
    accessLog: accessLogOf(daemon),
    warnings: [...facts.warnings, ...warnOf(daemon)],
    pid: Deno.pid,
    address: services[0].listeners[0].listener,
    startedAt: facts.startedAt.toISOString(),
    stopping: balancer.stopping,
    lameDuck: shutdown.isLameDuck,
    generation: balancer.generation,
    servers: balancer.countServers(),
    checkIntervalMs: Math.min(...balancer.services().map(({ checkIntervalMs }) => checkIntervalMs)),
    connections: {
      accepted: counters.get("accepted"),
      open: counters.get("open"),
      waiting: balancer.waiting,
      max: connectionsMax,
    },
    fates: countFates((fate) => counters.get(fate)),
  };
}

/** The answer for an error. Any error but an operator error is internal and is logged with its stack. */
function failure(error: unknown): Response {
  const { kind, message } = error instanceof OperatorError
    ? error
    : { kind: "failed" as const, message: `Internal error: ${messageOf(error)}` };
  if (!(error instanceof OperatorError)) {
    log.error("Request failed with an internal error: {error}", { error: error instanceof Error ? error.stack : error });
  }
  return Response.json({ error: { kind, message } } satisfies Answers["failure"], { status: ERROR_KINDS[kind].status });
}
