/**
 * The server of the control API: HTTP over a Unix socket that only its owner can open. One handler per route; an error of a handler
 * becomes an answer with a sentence. Decides nothing about balancing.
 */

import { OpenAPIHono, type RouteHandler } from "@hono/zod-openapi";
import { type Address, formatAddress } from "../values/address.ts";
import type { Balancer, ServerView } from "../balancer/balancer.ts";
import { DEFAULT_DRAIN_MS, DEFAULT_GRACE_MS, LIMITS } from "../values/config.ts";
import { countFates, type Fate } from "../values/fates.ts";
import type { Plan } from "../routing/plan.ts";
import { ERROR_KINDS, messageOf, OperatorError } from "../values/errors.ts";
import { logger } from "../observe/log.ts";
import { writeMetrics } from "../observe/metrics.ts";
import { type Answers, ROUTES } from "./api.ts";
import { type HttpRequest, HttpServer } from "./http.ts";
import { Door } from "./socket.ts";

/** Facts about the daemon, for `status` and the metrics. */
export interface DaemonFacts {
  readonly name: string;
  readonly version: string;
  readonly engine: string;
  readonly startedAt: Date;
  readonly settings: Readonly<Record<string, string>>;
  /** Null with --no-state. */
  readonly stateFile: string | null;
  /** Locked until the process has ended. */
  readonly lockFile: string;
  readonly logFile: string | null;
  readonly warnings: readonly string[];
}

/** Options of `serveControl`. `stop` must return at once and stop the daemon in the background. */
interface ControlOptions {
  readonly path: string;
  readonly balancer: Balancer;
  readonly facts: DaemonFacts;
  readonly stop: (graceMs: number) => void;
  /** How long a request may take to arrive. */
  readonly requestTimeMaxMs?: number;
}

/** A control server. Disposing of it removes the socket. */
interface ControlServer extends AsyncDisposable {
  readonly door: Door;
}

/** How long running requests may still take when the control server is disposed of. */
const SHUTDOWN_MAX_MS = 500;

/** Defaults of the queries: servers after the chosen one, ended connections. */
const DEFAULT_SUCCESSORS = 3;
const DEFAULT_LIMIT = 20;

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

type Handlers = { [Name in keyof typeof ROUTES]: RouteHandler<(typeof ROUTES)[Name]> };

/** Serves the API on the Unix socket at `path` (mode 0600), which `claimSocket` has made free. */
export async function serveControl(options: ControlOptions): Promise<ControlServer> {
  const { requestTimeMaxMs = LIMITS.requestTimeMaxMs } = options;
  const { requestBytesMax, controlConnectionsMax: connectionsMax, controlWaitingMax: waitingMax } = LIMITS;
  const api = createApi(options);
  const answer = (request: HttpRequest) => answerBy(api, request);
  const http = new HttpServer({ answer, fail: failure, requestTimeMaxMs, requestBytesMax, connectionsMax, waitingMax });
  const door = await Door.open(options.path, (path) => http.listen(path));
  return {
    door,
    async [Symbol.asyncDispose]() {
      await door[Symbol.asyncDispose]();
      await http.close(SHUTDOWN_MAX_MS);
    },
  };
}

/** Answers a request. Its body is JSON, whatever its content type says. */
async function answerBy(api: OpenAPIHono, { method, target, host, body }: HttpRequest): Promise<Response> {
  if (NEVER_ALLOWED.has(method)) return notAllowed(method);
  const url = urlOf(target, host);
  if (method === "GET" || method === "HEAD") return await api.fetch(new Request(url, { method }));
  const json = body || "{}";
  requireJson(json);
  return await api.fetch(new Request(url, { method, headers: { "content-type": "application/json" }, body: json }));
}

/** Does not name the target, because that of CONNECT is not a path. */
function notAllowed(method: string): Response {
  const answer = failure(new OperatorError("notAllowed", `Method ${method} is not allowed; the API has ${ALLOWED}`));
  answer.headers.set("allow", ALLOWED);
  return answer;
}

/** The URL of a request, from its target and its Host header. */
function urlOf(target: string, host: string): string {
  const url = URL.parse(target.startsWith("/") ? `http://${host}${target}` : target);
  if (url !== null) return url.href;
  throw new OperatorError("usage", "Invalid request: its target or its Host header is not a valid URL");
}

function requireJson(body: string): void {
  try {
    JSON.parse(body);
  } catch (error) {
    throw new OperatorError("usage", `The request is not JSON: ${messageOf(error)}`);
  }
}

/** The API as one function from request to answer. */
function createApi({ balancer, facts, stop }: ControlOptions): OpenAPIHono {
  const handlers: Handlers = {
    status: (c) => c.json(viewStatus(balancer, facts), 200),
    listServers: (c) => c.json({ servers: balancer.list().map(viewServer), ring: balancer.ring() }, 200),
    addServer: async (c) => {
      const { address, port, weight, connectionsMax } = c.req.valid("json");
      return c.json(viewServer(await balancer.add({ host: address, port }, { weight, connectionsMax })), 201);
    },
    getServer: (c) => c.json(viewServer(balancer.get(formatAddress(c.req.valid("param").server))), 200),
    changeServer: async (c) => {
      const name = formatAddress(c.req.valid("param").server);
      return c.json(viewServer(await balancer.change(name, c.req.valid("json"))), 200);
    },
    removeServer: async (c) => {
      const name = formatAddress(c.req.valid("param").server);
      return c.json(await balancer.remove(name, c.req.valid("query").drain ?? DEFAULT_DRAIN_MS), 200);
    },
    startRebalance: (c) => c.json(balancer.rebalancer.start(c.req.valid("json").rate), 202),
    showRebalance: (c) => c.json(balancer.rebalancer.state, 200),
    stopRebalance: (c) => c.json(balancer.rebalancer.stop(), 200),
    plan: (c) => {
      const { change, server, weight = 1 } = c.req.valid("query");
      const name = formatAddress(server);
      return c.json(
        viewPlan(balancer.plan(change === "remove" ? { kind: change, server: name } : { kind: change, server: name, weight })),
        200,
      );
    },
    explain: (c) => {
      const { client, successors = DEFAULT_SUCCESSORS } = c.req.valid("query");
      return c.json(viewExplanation(balancer.explain(client, successors)), 200);
    },
    listRecent: (c) => c.json(viewRecent(balancer, c.req.valid("query")), 200),
    listEnds: (c) => c.json(viewRecent(balancer, c.req.valid("query")), 200),
    stop: (c) => {
      const graceMs = c.req.valid("json").grace ?? DEFAULT_GRACE_MS;
      stop(graceMs);
      return c.json({ open: balancer.counters.get("open"), graceMs, lockFile: facts.lockFile }, 202);
    },
    openapi: (c) => c.json(app.getOpenAPI31Document(describeApi(facts.version)) as unknown as Record<string, unknown>, 200),
    metrics: async (c) => {
      const { text, contentType } = await writeMetrics(balancer.counters, {
        version: facts.version,
        engine: facts.engine,
        startedAtSeconds: facts.startedAt.getTime() / 1000,
        connectionsMax: balancer.connectionsMax,
        servers: balancer.list().map(({ server, slot, state, weight }) => ({ name: server, slot, state, weight })),
      });
      return c.text(text, 200, { "content-type": contentType });
    },
  };
  const app = new OpenAPIHono({
    defaultHook: (result) => result.success ? undefined : failure(new OperatorError("usage", explain(result.error.issues[0]))),
  });
  for (const name of Object.keys(ROUTES) as (keyof typeof ROUTES)[]) {
    app.openapi({ ...ROUTES[name], operationId: name }, handlers[name] as never);
  }
  app.onError((error) => failure(error));
  app.notFound((c) =>
    failure(new OperatorError("unknown", `There is no ${c.req.method} ${c.req.path}; GET /openapi.json lists all routes`))
  );
  return app;
}

function describeApi(version: string) {
  return { openapi: "3.1.0", info: { title: "balancer", version, license: { name: "MIT" } } };
}

function viewServer({ slot: _, since, lastFailure, ...view }: ServerView): Answers["server"] {
  return {
    ...view,
    since: since.toISOString(),
    lastFailure: lastFailure && { at: lastFailure.at.toISOString(), reason: lastFailure.reason },
  };
}

function viewPlan(plan: Plan): Answers["plan"] {
  return { ...plan, flows: [...plan.flows], connections: [...plan.connections] };
}

function viewExplanation({ order, ...explanation }: ReturnType<Balancer["explain"]>): Answers["explanation"] {
  return { ...explanation, order: [...order] };
}

function viewRecent(balancer: Balancer, { server, fate, limit = DEFAULT_LIMIT }: RecentQuery): Answers["recent"] {
  const { ends, leftOut } = balancer.recent({ server: server && formatAddress(server), fate, limit });
  return { ends: ends.map((end) => ({ ...end, at: end.at.toISOString() })), leftOut };
}

function viewStatus(balancer: Balancer, facts: DaemonFacts): Answers["status"] {
  const { counters, connectionsMax } = balancer;
  return {
    ...facts,
    warnings: [...facts.warnings],
    pid: Deno.pid,
    address: formatAddress(balancer.address),
    startedAt: facts.startedAt.toISOString(),
    stopping: balancer.stopping,
    generation: balancer.generation,
    servers: balancer.countServers(),
    checkIntervalMs: balancer.checkIntervalMs,
    connections: { accepted: counters.get("accepted"), open: counters.get("open"), max: connectionsMax },
    fates: countFates((fate) => counters.get(fate)),
  };
}

/** The sentence for a value that a schema refused. The sentences of our own parsers already name the value. */
function explain({ code, path, message }: { code?: string; path: PropertyKey[]; message: string }): string {
  return code === "custom" || path.length === 0 ? message : `Cannot use ${path.join(".")}: ${message}`;
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
