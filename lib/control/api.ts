/**
 * The control API: every route with the schemas of its requests and responses. One schema validates, types both sides and generates
 * the OpenAPI document. `balancerctl` imports only the types, so it never loads the libraries.
 */

import { createRoute, z } from "@hono/zod-openapi";
import { parseAddress, parseHost } from "../values/address.ts";
import { SERVER_STATES } from "../routing/availability.ts";
import { DEFAULT_DRAIN_MS, DEFAULT_GRACE_MS, DEFAULT_REBALANCE_RATE, LIMITS, parseWeight } from "../values/config.ts";
import { parseCount } from "../values/count.ts";
import { FATE_NAMES, parseFate } from "../values/fates.ts";
import { DURATION_MAX_MS, formatDuration, parseDuration } from "../values/duration.ts";
import { ERROR_KINDS, type ErrorKind, messageOf } from "../values/errors.ts";
import { PLANNED_STATES } from "../routing/plan.ts";

/** A string that our parser accepts, transformed to the result of the parser. */
function parsed<T>(parse: (text: string) => T, description: string, example: string) {
  return z.string().max(300).transform((text, context): T => {
    try {
      return parse(text);
    } catch (error) {
      context.addIssue({ code: "custom", message: messageOf(error) });
      return z.NEVER;
    }
  }).openapi({ type: "string", description, example });
}

function duration(what: string, defaultMs: number) {
  const parse = (text: string) => parseDuration(text, what);
  return parsed(parse, `A time such as 250ms, 30s or 5m; at most ${formatDuration(DURATION_MAX_MS)}`, formatDuration(defaultMs))
    .optional();
}

const count = z.number().int().min(0);
const weight = z.number().int().min(1).max(LIMITS.weightMax).openapi({
  description: "Share of the clients relative to the other servers",
});
const connectionsMax = z.number().int().min(1).max(LIMITS.serverConnectionsMax).nullable()
  .openapi({ description: "Limit on open connections to the server; null for no limit" });
const serverName = z.string().openapi({ description: "address:port", example: "10.0.0.1:8001" });
const pathParameters = z.object({
  server: parsed(parseAddress, "address:port, percent-encoded; an IPv6 address is in brackets", "10.0.0.1:8001"),
});

const timestamp = z.string().openapi({ description: "ISO 8601, UTC", example: "2026-11-22T08:30:00.000Z" });
const share = z.number().min(0).max(1);

const Server = z.object({
  server: serverName,
  state: z.enum(SERVER_STATES).openapi({
    description:
      "up: gets its clients. resting (after failed connections), down (by health checks): gets clients only if no other " +
      "server can take them. draining (out for maintenance), removing (on its way out of the pool): gets no new clients",
  }),
  since: timestamp.openapi({ description: "When this state began" }),
  reason: z.string().nullable().openapi({ description: "Reason of the state; null while the server is up" }),
  weight,
  connectionsMax,
  open: count,
  movedAway: count.openapi({ description: "Connections that moved to another server" }),
  connects: count,
  connectFailures: count,
  sentBytes: count.openapi({ description: "Bytes sent to the server" }),
  receivedBytes: count.openapi({ description: "Bytes received from the server and passed on to clients" }),
  lastFailure: z.object({ at: timestamp, reason: z.string() }).nullable()
    .openapi({ description: "The last connection that the server did not accept; null for none" }),
  share: share.openapi({ description: "Share of all possible clients, exact" }),
  fates: z.record(z.enum(FATE_NAMES), count),
}).openapi("Server");

const Ring = z.object({
  fingerprint: z.string().openapi({ description: "Equal for two balancers exactly if both send every client to the same server" }),
  points: count,
  peakToMean: z.number().openapi({ description: "Greatest ratio of a share to the fair share; 1 is perfect, 0 without servers" }),
}).openapi("Ring");

const ServerList = z.object({ servers: z.array(Server), ring: Ring }).openapi("ServerList");

const Status = z.object({
  name: z.string(),
  version: z.string(),
  pid: count,
  engine: z.string(),
  address: z.string().openapi({ description: "Address that clients connect to: address:port" }),
  startedAt: z.string().openapi({ description: "ISO 8601, UTC" }),
  stopping: z.boolean(),
  generation: count.openapi({ description: "Number of the current routing table; each change of the pool increments it" }),
  servers: z.record(z.enum(SERVER_STATES), count),
  checkIntervalMs: count.openapi({ description: "Interval between two health checks of a server" }),
  connections: z.object({ accepted: count, open: count, max: count }),
  fates: z.record(z.enum(FATE_NAMES), count),
  settings: z.record(z.string(), z.string()),
  stateFile: z.string().nullable().openapi({ description: "null with --no-state" }),
  lockFile: z.string(),
  logFile: z.string().nullable().openapi({ description: "null if the log goes to standard error" }),
  warnings: z.array(z.string()).openapi({ description: "Problems found at start-up" }),
}).openapi("Status");

const NewServer = z.strictObject({
  address: parsed(parseHost, "An IPv4 address, an IPv6 address or a host name", "10.0.0.1"),
  port: z.number().int().min(1).max(65535),
  weight: weight.default(1),
  connectionsMax: connectionsMax.default(null),
}).openapi("NewServer");

const draining = z.boolean().openapi({
  description: "Out for maintenance: no new clients, and open connections move to other servers where that is safe",
});
const Change = z.strictObject({ weight, connectionsMax, draining }).partial()
  .refine((change) => Object.keys(change).length > 0, "Nothing to change: give weight, connectionsMax or draining")
  .openapi("Change");

const Removal = z.object({
  server: serverName,
  open: count.openapi({ description: "Connections open when the removal began" }),
  moved: count.openapi({ description: "Those of them that moved to other servers" }),
  ended: count.openapi({ description: "Those of them that were cut at the end of the drain time" }),
}).openapi("Removal");

const Rebalancing = z.strictObject({
  rate: z.number().int().min(1).max(LIMITS.rebalanceRateMax).default(DEFAULT_REBALANCE_RATE)
    .openapi({ description: "Connections per second" }),
}).openapi("Rebalancing");
const Rebalance = z.object({
  running: z.boolean(),
  away: count.openapi({
    description: "Connections that were not with their owner, the server that the ring assigns, and could move there",
  }),
  busy: count.openapi({
    description: "Connections that were not with their owner and could not move: they were in the middle of an exchange",
  }),
  moved: count,
  rate: count,
}).openapi("Rebalance");

const PlanQuery = z.strictObject({
  change: z.enum(["add", "remove", "weight"]),
  server: pathParameters.shape.server,
  weight: parsed(parseWeight, `A weight from 1 to ${LIMITS.weightMax}; ignored for remove`, "2").optional(),
});
const beforeAndAfter = z.object({ before: z.number(), after: z.number() });
const Plan = z.object({
  change: z.object({ kind: z.enum(["add", "remove", "weight"]), server: serverName, weight: count.optional() }),
  movedShare: share.openapi({ description: "Fraction of all possible clients that get another server" }),
  flows: z.array(z.object({ from: serverName.nullable(), to: serverName.nullable(), share })),
  peakToMean: beforeAndAfter,
  servers: beforeAndAfter,
  connections: z.array(z.object({ state: z.enum(PLANNED_STATES), count, outcome: z.string() })),
}).openapi("Plan");

const ExplainQuery = z.strictObject({
  client: z.string().max(300).openapi({ example: "192.0.2.1" }),
  successors: parsed(
    (text) => parseCount(text, "Number of successors", LIMITS.successorsMax),
    "How many servers to list after the chosen one",
    "3",
  )
    .optional(),
});
const Explanation = z.object({
  client: z.string(),
  hash: z.string(),
  probe: count.nullable().openapi({ description: "Number of the probe that is nearest to a point; null without servers" }),
  point: z.string().nullable(),
  distance: z.number().nullable().openapi({ description: "Distance from the probe to the point, as a fraction of the circle" }),
  server: serverName.nullable(),
  order: z.array(z.object({
    server: serverName,
    state: z.enum(SERVER_STATES),
    open: count,
    verdict: z.enum(["chosen", "next", "passed over"]),
    why: z.string().nullable(),
  })),
}).openapi("Explanation");

const RecentQuery = z.strictObject({
  server: pathParameters.shape.server.optional(),
  fate: parsed(parseFate, "Fate of the connections", "server_lost").optional(),
  limit: parsed((text) => parseCount(text, "Limit", LIMITS.recentMax), "The most connections to list", "20").optional(),
});
const Recent = z.object({
  ends: z.array(z.object({
    at: timestamp,
    fate: z.enum(FATE_NAMES),
    client: z.string(),
    server: serverName.nullable(),
    attempts: count,
    moves: count,
    sentBytes: count,
    receivedBytes: count,
    durationMs: z.number(),
    reason: z.string().nullable(),
  })),
  leftOut: count.openapi({ description: "Connections that were not recorded because too many ended in the same second" }),
}).openapi("Recent");

const Stop = z.strictObject({ grace: duration("Grace time", DEFAULT_GRACE_MS) }).openapi("Stop");
const Stopping = z.object({
  open: count,
  graceMs: count,
  lockFile: z.string().openapi({ description: "Locked (flock) until the daemon process has ended" }),
}).openapi("Stopping");

const Failure = z.object({
  error: z.object({ kind: z.enum(Object.keys(ERROR_KINDS) as [ErrorKind, ...ErrorKind[]]), message: z.string() }),
}).openapi("Error");

/** The types of the answers, for the client. */
export type Answers = {
  status: z.output<typeof Status>;
  servers: z.output<typeof ServerList>;
  server: z.output<typeof Server>;
  removal: z.output<typeof Removal>;
  rebalance: z.output<typeof Rebalance>;
  plan: z.output<typeof Plan>;
  explanation: z.output<typeof Explanation>;
  recent: z.output<typeof Recent>;
  stopping: z.output<typeof Stopping>;
  failure: z.output<typeof Failure>;
};

function json<T extends z.ZodType>(schema: T, description: string) {
  return { description, content: { "application/json": { schema } } };
}

function body<T extends z.ZodType>(schema: T) {
  return { required: true, content: { "application/json": { schema } } };
}

const failures = {
  400: json(Failure, "The request is not valid"),
  408: json(Failure, "The request did not arrive in time"),
  409: json(Failure, "The current state does not allow it"),
  413: json(Failure, "The request is too large"),
  500: json(Failure, "The request failed"),
  503: json(Failure, "The control socket is at its connection limit"),
};
const unknown = { 404: json(Failure, "The server does not exist") };

/** Recent ends of connections, under the path of this version and the one that older clients know. */
const listRecent = {
  method: "get",
  summary: "List connections that ended recently, newest first",
  request: { query: RecentQuery },
  responses: { 200: json(Recent, "Ended connections with their fates"), ...failures },
} as const;

/** Every route of the API, by its operation id. `server.ts` has a handler for each. */
export const ROUTES = {
  status: createRoute({
    method: "get",
    path: "/v1/status",
    summary: "Show what runs, where, and how its connections ended",
    responses: { 200: json(Status, "The state of the balancer") },
  }),
  listServers: createRoute({
    method: "get",
    path: "/v1/servers",
    summary: "List the servers and describe the ring",
    responses: { 200: json(ServerList, "Servers of the pool by name, then those being removed") },
  }),
  addServer: createRoute({
    method: "post",
    path: "/v1/servers",
    summary: "Add a server to the pool",
    request: { body: body(NewServer) },
    responses: { 201: json(Server, "The server is added and saved"), ...failures },
  }),
  getServer: createRoute({
    method: "get",
    path: "/v1/servers/{server}",
    summary: "Show one server",
    request: { params: pathParameters },
    responses: { 200: json(Server, "A server of the pool, or one being removed"), ...failures, ...unknown },
  }),
  changeServer: createRoute({
    method: "patch",
    path: "/v1/servers/{server}",
    summary: "Change the weight or limit of a server, drain it, or bring it back",
    request: { params: pathParameters, body: body(Change) },
    responses: { 200: json(Server, "The change is made and saved"), ...failures, ...unknown },
  }),
  removeServer: createRoute({
    method: "delete",
    path: "/v1/servers/{server}",
    summary: "Remove a server: no new clients, and the drain time for its open connections",
    request: { params: pathParameters, query: z.strictObject({ drain: duration("Drain time", DEFAULT_DRAIN_MS) }) },
    responses: { 200: json(Removal, "The last connection has ended"), ...failures, ...unknown },
  }),
  startRebalance: createRoute({
    method: "post",
    path: "/v1/rebalance",
    summary: "Start moving idle connections to their owners, the servers that the ring assigns",
    request: { body: body(Rebalancing) },
    responses: { 202: json(Rebalance, "The rebalance has started"), ...failures },
  }),
  showRebalance: createRoute({
    method: "get",
    path: "/v1/rebalance",
    summary: "Show the progress of the last rebalance",
    responses: { 200: json(Rebalance, "The progress of the rebalance") },
  }),
  stopRebalance: createRoute({
    method: "delete",
    path: "/v1/rebalance",
    summary: "Stop the rebalance",
    responses: { 200: json(Rebalance, "The progress of the rebalance") },
  }),
  plan: createRoute({
    method: "get",
    path: "/v1/plan",
    summary: "Predict a change of the pool",
    request: { query: PlanQuery },
    responses: {
      200: json(Plan, "Clients that would get another server, and outcomes of open connections"),
      ...failures,
      ...unknown,
    },
  }),
  explain: createRoute({
    method: "get",
    path: "/v1/explain",
    summary: "Explain which server a client gets",
    request: { query: ExplainQuery },
    responses: {
      200: json(Explanation, "The client's position on the ring, and the servers in ring order"),
      ...failures,
    },
  }),
  listRecent: createRoute({ ...listRecent, path: "/v1/recent" }),
  listEnds: createRoute({ ...listRecent, path: "/v1/ends", deprecated: true, description: "Use /v1/recent" }),
  stop: createRoute({
    method: "post",
    path: "/v1/stop",
    summary: "Stop the balancer: no new clients, and the grace time for open connections",
    request: { body: body(Stop) },
    responses: { 202: json(Stopping, "The balancer is stopping"), ...failures },
  }),
  openapi: createRoute({
    method: "get",
    path: "/openapi.json",
    summary: "Get this document",
    responses: { 200: json(z.record(z.string(), z.unknown()), "OpenAPI 3.1") },
  }),
  metrics: createRoute({
    method: "get",
    path: "/metrics",
    summary: "Get the metrics for Prometheus",
    responses: { 200: { description: "Text format 0.0.4", content: { "text/plain": { schema: z.string() } } } },
  }),
} as const;
