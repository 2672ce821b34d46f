/**
 * The control API: every route with the schemas of what it takes and gives. One schema validates, types both sides and makes the
 * OpenAPI document. `balancerctl` imports the types alone, so it never loads the libraries.
 */

import { createRoute, z } from "@hono/zod-openapi";
import { parseAddress, parseHost } from "../address.ts";
import { DEFAULT_DRAIN_MS, DEFAULT_GRACE_MS, LIMITS } from "../config.ts";
import { FATE_NAMES } from "../counters.ts";
import { DURATION_MAX_MS, formatDuration, parseDuration } from "../duration.ts";
import { ERROR_KINDS, type ErrorKind, messageOf } from "../errors.ts";

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

const Server = z.object({
  server: serverName,
  state: z.enum(["up", "draining"]),
  weight,
  connectionsMax,
  open: count,
  connects: count,
  connectFailures: count,
  sentBytes: count.openapi({ description: "Bytes sent to the server" }),
  receivedBytes: count.openapi({ description: "Bytes of the server's passed on to clients" }),
  lastFailure: z.object({ at: z.string().openapi({ description: "ISO 8601, UTC" }), reason: z.string() }).nullable()
    .openapi({ description: "When it last did not take a connection, and why; null for never" }),
  share: z.number().min(0).max(1).openapi({ description: "Its part of all possible clients, exact" }),
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
  servers: z.object({ up: count, draining: count }),
  connections: z.object({ accepted: count, open: count, max: count }),
  fates: z.record(z.enum(FATE_NAMES), count),
  settings: z.record(z.string(), z.string()),
  stateFile: z.string(),
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

const Change = z.strictObject({ weight, connectionsMax }).partial()
  .refine((change) => Object.keys(change).length > 0, "Nothing to change: give weight or connectionsMax").openapi("Change");

const Removal = z.object({
  server: serverName,
  open: count.openapi({ description: "Connections open when the removal began" }),
  ended: count.openapi({ description: "Those of them that the end of the drain time cut" }),
}).openapi("Removal");

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
  changeServer: createRoute({
    method: "patch",
    path: "/v1/servers/{server}",
    summary: "Change a server's weight or limit; its open connections stay",
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
