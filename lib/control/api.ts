/**
 * The control API: every route with the schemas of what it takes and gives. One schema validates, types both sides and makes the
 * OpenAPI document. `balancerctl` imports the types alone, so it never loads the libraries.
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

/** A text that a parser of ours accepts, turned into what the parser gives. */
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
  return parsed(parse, `A time such as 250ms, 30s or 5m; ${formatDuration(DURATION_MAX_MS)} at the most`, formatDuration(defaultMs))
    .optional();
}

const count = z.number().int().min(0);
const weight = z.number().int().min(1).max(LIMITS.weightMax).openapi({
  description: "Its share of the clients, relative to others'",
});
const connectionsMax = z.number().int().min(1).max(LIMITS.serverConnectionsMax).nullable()
  .openapi({ description: "Open connections it may have; null for no limit" });
const serverName = z.string().openapi({ description: "address:port", example: "10.0.0.1:8001" });
const pathParameters = z.object({
  server: parsed(parseAddress, "address:port, an IPv6 address in brackets, percent-encoded", "10.0.0.1:8001"),
});

const timestamp = z.string().openapi({ description: "ISO 8601, UTC", example: "2026-11-22T08:30:00.000Z" });
const share = z.number().min(0).max(1);

const Server = z.object({
  server: serverName,
  state: z.enum(SERVER_STATES).openapi({
    description: "up gets its clients; resting and down get none while there are others; draining is to be left",
  }),
  since: timestamp.openapi({ description: "Since when it is in this state" }),
  reason: z.string().nullable().openapi({ description: "Why, in a clause; null while it is up" }),
  weight,
  connectionsMax,
  open: count,
  movedAway: count.openapi({ description: "Connections that left it for another server" }),
  connects: count,
  connectFailures: count,
  sentBytes: count.openapi({ description: "Bytes sent to the server" }),
  receivedBytes: count.openapi({ description: "Bytes of the server's passed on to clients" }),
  lastFailure: z.object({ at: timestamp, reason: z.string() }).nullable()
    .openapi({ description: "When it last did not take a connection, and why; null for never" }),
  share: share.openapi({ description: "Its part of all possible clients, exact" }),
  fates: z.record(z.enum(FATE_NAMES), count),
}).openapi("Server");

const Ring = z.object({
  fingerprint: z.string().openapi({ description: "Equal for two balancers that send every client to the same server" }),
  points: count,
  peakToMean: z.number().openapi({ description: "The greatest share over its fair share; 1 is perfect, 0 without servers" }),
}).openapi("Ring");

const ServerList = z.object({ servers: z.array(Server), ring: Ring }).openapi("ServerList");

const Status = z.object({
  name: z.string(),
  version: z.string(),
  pid: count,
  engine: z.string(),
  address: z.string().openapi({ description: "Where clients connect: address:port" }),
  startedAt: z.string().openapi({ description: "ISO 8601, UTC" }),
  stopping: z.boolean(),
  generation: count.openapi({ description: "Counts the changes of the routing table" }),
  servers: z.record(z.enum(SERVER_STATES), count),
  checkIntervalMs: count.openapi({ description: "How often each server is checked" }),
  connections: z.object({ accepted: count, open: count, max: count }),
  fates: z.record(z.enum(FATE_NAMES), count),
  settings: z.record(z.string(), z.string()),
  stateFile: z.string().nullable().openapi({ description: "null where nothing is kept (--no-state)" }),
  lockFile: z.string(),
  logFile: z.string().nullable().openapi({ description: "null where the log goes to standard error" }),
  warnings: z.array(z.string()).openapi({ description: "What was amiss at the start" }),
}).openapi("Status");

const NewServer = z.strictObject({
  address: parsed(parseHost, "An IPv4 address, an IPv6 address or a host name", "10.0.0.1"),
  port: z.number().int().min(1).max(65535),
  weight: weight.default(1),
  connectionsMax: connectionsMax.default(null),
}).openapi("NewServer");

const draining = z.boolean().openapi({
  description: "Whether it is taken out for a while: no new clients, and those it has leave",
});
const Change = z.strictObject({ weight, connectionsMax, draining }).partial()
  .refine((change) => Object.keys(change).length > 0, "Nothing to change: give weight, connectionsMax or draining")
  .openapi("Change");

const Removal = z.object({
  server: serverName,
  open: count.openapi({ description: "Connections open when the removal began" }),
  moved: count.openapi({ description: "Those of them that went to other servers" }),
  ended: count.openapi({ description: "Those of them that the end of the drain time cut" }),
}).openapi("Removal");

const Rebalancing = z.strictObject({
  rate: z.number().int().min(1).max(LIMITS.rebalanceRateMax).default(DEFAULT_REBALANCE_RATE)
    .openapi({ description: "Connections a second" }),
}).openapi("Rebalancing");
const Rebalance = z.object({
  running: z.boolean(),
  away: count.openapi({ description: "Connections that were not with the server the ring gives them to, and could go there" }),
  busy: count.openapi({ description: "Those that could not: they were in the middle of something" }),
  moved: count,
  rate: count,
}).openapi("Rebalance");

const PlanQuery = z.strictObject({
  change: z.enum(["add", "remove", "weight"]),
  server: pathParameters.shape.server,
  weight: parsed(parseWeight, `A weight from 1 to ${LIMITS.weightMax}; for remove it means nothing`, "2").optional(),
});
const beforeAndAfter = z.object({ before: z.number(), after: z.number() });
const Plan = z.object({
  change: z.object({ kind: z.enum(["add", "remove", "weight"]), server: serverName, weight: count.optional() }),
  movedShare: share.openapi({ description: "The part of all possible clients that get another server" }),
  flows: z.array(z.object({ from: serverName.nullable(), to: serverName.nullable(), share })),
  peakToMean: beforeAndAfter,
  servers: beforeAndAfter,
  connections: z.array(z.object({ state: z.enum(PLANNED_STATES), count, outcome: z.string() })),
}).openapi("Plan");

const ExplainQuery = z.strictObject({
  client: z.string().max(300).openapi({ example: "192.0.2.1" }),
  successors: parsed((text) => parseCount(text, "Number of successors", LIMITS.successorsMax), "Servers after the chosen one", "3")
    .optional(),
});
const Explanation = z.object({
  client: z.string(),
  hash: z.string(),
  probe: count.nullable().openapi({ description: "Which of the client's probes is nearest to a point; null without servers" }),
  point: z.string().nullable(),
  distance: z.number().nullable().openapi({ description: "From the probe to the point, as a part of the circle" }),
  server: serverName.nullable(),
  order: z.array(z.object({
    server: serverName,
    state: z.enum(SERVER_STATES),
    open: count,
    verdict: z.enum(["chosen", "next", "passed over"]),
    why: z.string().nullable(),
  })),
}).openapi("Explanation");

const EndsQuery = z.strictObject({
  server: pathParameters.shape.server.optional(),
  fate: parsed(parseFate, "A fate", "server_lost").optional(),
  limit: parsed((text) => parseCount(text, "Limit", LIMITS.recentMax), "Connections at the most", "20").optional(),
});
const Ends = z.object({
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
  leftOut: count.openapi({ description: "Connections that ended in such numbers that they were not kept" }),
}).openapi("Ends");

const Stop = z.strictObject({ grace: duration("Grace time", DEFAULT_GRACE_MS) }).openapi("Stop");
const Stopping = z.object({
  open: count,
  graceMs: count,
  lockFile: z.string().openapi({ description: "Locked (flock) until the process has ended" }),
}).openapi("Stopping");

const Failure = z.object({
  error: z.object({ kind: z.enum(Object.keys(ERROR_KINDS) as [ErrorKind, ...ErrorKind[]]), message: z.string() }),
}).openapi("Error");

/** What the routes answer, for the client: types only. */
export type Answers = {
  status: z.output<typeof Status>;
  servers: z.output<typeof ServerList>;
  server: z.output<typeof Server>;
  removal: z.output<typeof Removal>;
  rebalance: z.output<typeof Rebalance>;
  plan: z.output<typeof Plan>;
  explanation: z.output<typeof Explanation>;
  ends: z.output<typeof Ends>;
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
  408: json(Failure, "The request did not end in time"),
  409: json(Failure, "The state does not allow it"),
  413: json(Failure, "The request is too large"),
  500: json(Failure, "It could not be done"),
  503: json(Failure, "The control socket has as many connections as it may have"),
};
const unknown = { 404: json(Failure, "There is no such server") };

/** Every route of the API. `server.ts` has a handler for each. */
export const ROUTES = {
  status: createRoute({
    method: "get",
    path: "/v1/status",
    summary: "What runs, where, and how it fares",
    responses: { 200: json(Status, "The state of the balancer") },
  }),
  listServers: createRoute({
    method: "get",
    path: "/v1/servers",
    summary: "The servers and the ring",
    responses: { 200: json(ServerList, "Servers of the pool by name, then those that are draining") },
  }),
  addServer: createRoute({
    method: "post",
    path: "/v1/servers",
    summary: "Add a server to the pool",
    request: { body: body(NewServer) },
    responses: { 201: json(Server, "Added, and saved"), ...failures },
  }),
  getServer: createRoute({
    method: "get",
    path: "/v1/servers/{server}",
    summary: "One server",
    request: { params: pathParameters },
    responses: { 200: json(Server, "A server of the pool, or one that is draining"), ...failures, ...unknown },
  }),
  changeServer: createRoute({
    method: "patch",
    path: "/v1/servers/{server}",
    summary: "Change a server's weight or limit, take it out for a while, or bring it back",
    request: { params: pathParameters, body: body(Change) },
    responses: { 200: json(Server, "Changed, and saved"), ...failures, ...unknown },
  }),
  removeServer: createRoute({
    method: "delete",
    path: "/v1/servers/{server}",
    summary: "Remove a server: no new clients at once, the drain time for open connections",
    request: { params: pathParameters, query: z.strictObject({ drain: duration("Drain time", DEFAULT_DRAIN_MS) }) },
    responses: { 200: json(Removal, "The last connection is gone"), ...failures, ...unknown },
  }),
  startRebalance: createRoute({
    method: "post",
    path: "/v1/rebalance",
    summary: "Send connections that are between two exchanges to the servers that the ring gives them to",
    request: { body: body(Rebalancing) },
    responses: { 202: json(Rebalance, "It goes on"), ...failures },
  }),
  showRebalance: createRoute({
    method: "get",
    path: "/v1/rebalance",
    summary: "How the last rebalance goes, or went",
    responses: { 200: json(Rebalance, "The figures") },
  }),
  stopRebalance: createRoute({
    method: "delete",
    path: "/v1/rebalance",
    summary: "Send nobody home any more",
    responses: { 200: json(Rebalance, "The figures") },
  }),
  plan: createRoute({
    method: "get",
    path: "/v1/plan",
    summary: "What a change of the pool would do",
    request: { query: PlanQuery },
    responses: { 200: json(Plan, "Clients that would move, and open connections"), ...failures, ...unknown },
  }),
  explain: createRoute({
    method: "get",
    path: "/v1/explain",
    summary: "Whose a client is, and why",
    request: { query: ExplainQuery },
    responses: {
      200: json(Explanation, "Its place on the ring, and the servers in the order in which they are tried"),
      ...failures,
    },
  }),
  listEnds: createRoute({
    method: "get",
    path: "/v1/ends",
    summary: "Connections that ended lately, the last first",
    request: { query: EndsQuery },
    responses: { 200: json(Ends, "What became of them, and why"), ...failures },
  }),
  stop: createRoute({
    method: "post",
    path: "/v1/stop",
    summary: "Stop: no new clients at once, the grace time for open connections",
    request: { body: body(Stop) },
    responses: { 202: json(Stopping, "Stopping"), ...failures },
  }),
  openapi: createRoute({
    method: "get",
    path: "/openapi.json",
    summary: "This document",
    responses: { 200: json(z.record(z.string(), z.unknown()), "OpenAPI 3.1") },
  }),
  metrics: createRoute({
    method: "get",
    path: "/metrics",
    summary: "Counters for Prometheus",
    responses: { 200: { description: "Text format 0.0.4", content: { "text/plain": { schema: z.string() } } } },
  }),
} as const;
