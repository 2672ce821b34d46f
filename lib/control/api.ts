/**
 * The control API: every route with the schemas of its requests and responses. One schema validates, types both sides and generates
 * the OpenAPI document (`openapi.ts`). `balancerctl` imports only the types, so it never loads the library.
 *
 * The schemas are those of zod's small variant. The usual one, with all methods on every schema, takes 9 MB more.
 */

import * as z from "zod/mini";
import en from "zod/v4/locales/en.js";
import { formatAddress, parseAddress, parseHost } from "../values/address.ts";
import { parseCidrs } from "../values/cidr_list.ts";
import { parseConnectionId } from "../values/connection_id.ts";
import { parseListener, parseListenerText } from "../values/listener_text.ts";
import { parseServiceName } from "../values/paths.ts";
import { listOr, parseChoice } from "../values/choice.ts";
import { CHECK_STEPS } from "../health/check_steps.ts";
import { EVENT_KINDS, EVENT_LEVELS } from "../observe/events.ts";
import { CUT_FATES } from "../observe/verdict.ts";
import { SERIES_FIELDS, SERIES_STEP_MAX } from "../observe/series_answer.ts";
import { SERVER_STATES } from "../routing/availability.ts";
import { PLANNED_STATES } from "../routing/redistribution.ts";
import {
  DEFAULT_DRAIN_MS,
  DEFAULT_PAUSE_MS,
  DEFAULT_REBALANCE_RATE,
  LIMITS,
  parseWeight,
  PAUSE_MIN_MS,
  POLICIES,
  PROXY_CHOICES,
  SETTINGS,
} from "../values/config.ts";
import { parseCount, parseNumber } from "../values/count.ts";
import { FATE_NAMES, parseFate } from "../values/fates.ts";
import { DURATION_MAX_MS, formatDuration, parseDuration } from "../values/duration.ts";
import { ERROR_KINDS, type ErrorKind, messageOf } from "../values/errors.ts";
import { MOVABLE_STATES } from "../observe/counters.ts";
import { CONNECTION_ORDERS } from "../values/connection_order.ts";
import { BOUNDS, OUTCOMES } from "../routing/forecast.ts";
import { SERVICE_CHANGES } from "../routing/state_plan.ts";
import { SERVER_SETTINGS, type ServerSettingName } from "../values/server_settings.ts";

z.config(en()); // the sentences for values that do not fit; the small variant has none by itself

/** The longest text that is taken for a name, an address or a time. */
const text = z.string().check(z.maxLength(300));

/** The longest text of a check. */
const LONG_TEXT_MAX = 9000;

/** A string that our parser accepts, transformed to the result of the parser. */
function parsed<T>(parse: (text: string) => T, description: string, example: string) {
  const transform = z.transform((text: string, context): T => {
    try {
      return parse(text);
    } catch (error) {
      context.issues.push({ code: "custom", message: messageOf(error), input: text });
      return z.NEVER;
    }
  });
  return z.pipe(text, transform).check(z.meta({ description, example }));
}

/** A string that `parse` reads and gives back as it is. Others are refused, with the sentence of `parse` or the right form. */
function canonical(parse: (text: string) => string | null, description: string, example: string) {
  const check = z.superRefine((text: string, context) => {
    const fault = faultOfText(parse, text);
    if (fault !== undefined) context.addIssue({ code: "custom", message: fault, input: text });
  });
  return z.string().check(z.maxLength(LONG_TEXT_MAX), check, z.meta({ description, example }));
}

function faultOfText(parse: (text: string) => string | null, text: string): string | undefined {
  try {
    const form = parse(text);
    return form === text ? undefined : `Value ${JSON.stringify(text)} must be written as ${JSON.stringify(form)}`;
  } catch (error) {
    return messageOf(error);
  }
}

function duration(what: string, defaultMs: number) {
  const parse = (text: string) => parseDuration(text, what);
  return z.optional(
    parsed(parse, `A time such as 250ms, 30s or 5m; at most ${formatDuration(DURATION_MAX_MS)}`, formatDuration(defaultMs)),
  );
}

function whole(least: number, most?: number) {
  const atLeast = z.number().check(z.int(), z.minimum(least));
  return most === undefined ? atLeast : atLeast.check(z.maximum(most));
}

const count = whole(0);
const weight = whole(1, LIMITS.weightMax).check(z.describe("Share of the clients relative to the other servers"));
const connectionsMax = z.nullable(whole(1, LIMITS.serverConnectionsMax)).check(
  z.describe("Limit on open connections to the server; null for no limit"),
);
/** The settings of a server: a schema for each row of SERVER_SETTINGS. */
const serverSettings = {
  weight,
  tier: whole(0, LIMITS.tierMax).check(z.describe("The tier: the lowest one with enough usable servers gets the clients")),
  connectionsMax,
  proxy: z.nullable(z.enum(PROXY_CHOICES)).check(
    z.describe("Version of the PROXY header that connections to the server begin with; null for the daemon's setting"),
  ),
  check: z.nullable(
    canonical(SERVER_SETTINGS.check.parse, "How the server is checked; null for the daemon's setting", "http:/primary"),
  ),
  checkPort: z.nullable(whole(1, 65535)).check(z.describe("The port that checks connect to; null for the daemon's setting")),
  checkHost: z.nullable(
    canonical(SERVER_SETTINGS.checkHost.parse, "The name in HTTP checks; null for the daemon's setting", "db.example"),
  ),
  checkCa: z.nullable(
    canonical(
      SERVER_SETTINGS.checkCa.parse,
      "The authorities that HTTPS checks trust: system, none or the absolute path of a file; null for the daemon's setting",
      "/etc/balancer/ca.pem",
    ),
  ),
  checkStatus: z.nullable(
    canonical(SERVER_SETTINGS.checkStatus.parse, "The statuses that pass HTTP checks; null for the daemon's setting", "200-399"),
  ),
} satisfies Record<ServerSettingName, Schema>;
const serverName = z.string().check(z.meta({ description: "address:port", example: "10.0.0.1:8001" }));
const serviceName = z.string().check(z.meta({ description: "Name of the service", example: "web" }));
/** Which service a request concerns. */
const ofService = {
  service: z.optional(parsed(parseServiceName, "Name of the service; may be left out where there is only one", "web")),
};
const ServiceQuery = z.strictObject(ofService);
const serviceParameters = z.object({ service: parsed(parseServiceName, "Name of the service", "web") });
const pathParameters = z.object({
  server: parsed(parseAddress, "address:port, percent-encoded; an IPv6 address is in brackets", "10.0.0.1:8001"),
});

const timestamp = z.string().check(z.meta({ description: "ISO 8601, UTC", example: "2026-11-22T08:30:00.000Z" }));
const share = z.number().check(z.minimum(0), z.maximum(1));

const Server = z.object({
  server: serverName,
  state: z.enum(SERVER_STATES).check(
    z.describe(
      "up: gets its clients. resting (after failed connections), down (by health checks): gets clients only if no other " +
        "server can take them. draining (out for maintenance, or because its check asks for it), removing (on its way out of the " +
        "pool): gets no new clients",
    ),
  ),
  since: timestamp.check(z.describe("When this state began")),
  reason: z.nullable(z.string()).check(z.describe("Reason of the state; null while the server is up")),
  ...serverSettings,
  nextCheckAt: z.nullable(timestamp).check(
    z.describe("About when the server is checked next; past if the check is late; null if it is not checked"),
  ),
  open: count,
  movedAway: count.check(z.describe("Connections that moved to another server")),
  connects: count,
  connectFailures: count,
  sentBytes: count.check(z.describe("Bytes sent to the server")),
  receivedBytes: count.check(z.describe("Bytes received from the server and passed on to clients")),
  lastFailure: z.nullable(z.object({ at: timestamp, reason: z.string() }))
    .check(z.describe("The last connection that the server did not accept, or lost early; null for none")),
  share: share.check(z.describe("Share of the clients of its tier: exact with the policy ring, else by weight")),
  fates: z.record(z.enum(FATE_NAMES), count),
}).check(z.meta({ id: "Server" }));

const Ring = z.object({
  fingerprint: z.string().check(z.describe("Equal for two balancers exactly if both send every client to the same server")),
  points: count,
  peakToMean: z.number().check(z.describe("Greatest ratio of a share to the fair share; 1 is perfect, 0 without servers")),
}).check(z.meta({ id: "Ring" }));

const Hold = z.object({
  waiting: count.check(z.describe("Clients that wait for a server")),
  timeMs: count.check(z.describe("How long each may wait (--hold); 0: not at all")),
  pause: z.nullable(z.object({
    since: timestamp,
    until: timestamp.check(z.describe("When it ends by itself")),
    idle: z.boolean().check(z.describe("Whether open connections wait, too, as soon as they are between two exchanges")),
    who: z.string(),
  })).check(z.describe("What keeps new clients waiting; null: there is no pause")),
}).check(z.meta({ id: "Hold" }));

const ServerList = z.object({ servers: z.array(Server), ring: Ring, hold: Hold }).check(z.meta({ id: "ServerList" }));

const listener = z.strictObject({
  address: parsed(parseHost, "An IP address or a host name; 0.0.0.0 or :: for all addresses", "0.0.0.0"),
  port: whole(0, 65535).check(z.describe("0 for any free port")),
  lastPort: z.optional(whole(1, 65535).check(z.describe("Last port of a range that begins with port"))),
}).check(z.superRefine(({ address, port, lastPort }, context) => {
  if (lastPort === undefined) return;
  const ports = `${port}-${lastPort}`;
  const fault = faultOfText((text) => (parseListener(address, text), text), ports);
  if (fault !== undefined) context.addIssue({ code: "custom", message: fault, input: ports });
}));
const settingTexts = z.record(z.string().check(z.maxLength(100)), z.string().check(z.maxLength(LONG_TEXT_MAX)))
  .check(
    z.meta({ description: "Settings by the names of their flags, as on the command line", example: { redistribute: "idle" } }),
  );

const NewService = z.strictObject({
  service: parsed(parseServiceName, "Name of the service", "web"),
  listeners: z.array(listener).check(z.minLength(1), z.maxLength(LIMITS.listenersMax)),
  settings: z._default(settingTexts, {}),
}).check(z.meta({ id: "NewService" }));
const ServiceChange = z.strictObject({ settings: settingTexts }).check(z.meta({ id: "ServiceChange" }));

const Service = z.object({
  service: serviceName,
  listeners: z.array(z.object({
    listener: z.string().check(z.meta({ description: "address:port, or address:port-port for a range", example: "0.0.0.0:80" })),
    fault: z.nullable(z.string()).check(z.describe("Why it could not be opened; null: it is open")),
  })),
  settings: settingTexts,
  servers: z.record(z.enum(SERVER_STATES), count),
  open: count.check(z.describe("Open connections")),
  accepted: count,
  hold: Hold,
  fingerprint: z.string(),
  removing: z.boolean().check(z.describe("Whether it was removed and waits for its last connections")),
  warnings: z.array(z.string()).check(z.describe("Settings that the engine cannot honour")),
}).check(z.meta({ id: "Service" }));
const ServiceList = z.object({ services: z.array(Service) }).check(z.meta({ id: "ServiceList" }));
const ServiceRemoval = z.object({ service: serviceName, open: count.check(z.describe("Connections open when the removal began")) })
  .check(z.meta({ id: "ServiceRemoval" }));

const DaemonChange = z.strictObject({ settings: settingTexts }).check(z.meta({ id: "DaemonChange" }));
const Daemon = z.object({
  settings: settingTexts.check(z.describe("Settings of the daemon that were given; the others have their defaults")),
  connectionsMax: count.check(z.describe("The most open connections")),
  http: z.nullable(z.string()).check(z.describe("Address of --http, with the real port: address:port; null if it is off")),
  accessLog: z.nullable(z.string()).check(z.describe("Path of the access log; - for standard output, null if there is none")),
  warnings: z.array(z.string()).check(z.describe("Settings that engine and system cannot honour")),
}).check(z.meta({ id: "Daemon" }));

const Status = z.object({
  name: z.string(),
  version: z.string(),
  pid: count,
  engine: z.string(),
  address: z.string().check(z.describe("Address that clients connect to: address:port")),
  startedAt: z.string().check(z.describe("ISO 8601, UTC")),
  stopping: z.boolean().check(z.describe("Whether it takes no more clients")),
  lameDuck: z.boolean().check(z.describe("Whether it was told to stop, and still takes clients")),
  generation: count.check(z.describe("Number of the last change; each change of a service or a pool increments it")),
  services: z.array(Service),
  declared: z.nullable(z.object({
    file: z.string(),
    generation: count.check(z.describe("The generation that applying it made")),
    differences: z.nullable(z.array(z.string())).check(z.describe("Changes since then, a line for each; null where nobody knows")),
  })).check(z.describe("The file that was applied with --prune or --config; null: none was")),
  servers: z.record(z.enum(SERVER_STATES), count),
  checkIntervalMs: count.check(z.describe("Interval between two health checks of a server")),
  connections: z.object({
    accepted: count,
    open: count,
    waiting: count.check(z.describe("Open connections whose clients wait for a server")),
    max: count,
  }),
  fates: z.record(z.enum(FATE_NAMES), count),
  settings: z.record(z.string(), z.string()),
  stateFile: z.nullable(z.string()).check(z.describe("null with --no-state")),
  lockFile: z.string(),
  logFile: z.nullable(z.string()).check(z.describe("null if the log goes to standard error")),
  http: z.nullable(z.string()).check(z.describe("Address of --http, with the real port: address:port; null if it is off")),
  accessLog: z.nullable(z.string()).check(z.describe("Path of the access log; - for standard output, null if there is none")),
  warnings: z.array(z.string()).check(z.describe("Problems found at start-up")),
  carriedOver: z.nullable(z.object({
    at: z.string().check(z.describe("ISO 8601, UTC")),
    from: z.string().check(z.describe("The version that ran before")),
    connections: count,
    lost: count.check(z.describe("Connections that were lost because the earlier process died meanwhile")),
    durationMs: z.number(),
    pauseP99Ms: z.number().check(z.describe("How long connections stood still: the 99th percentile")),
    pauseMaxMs: z.number(),
  })).check(z.describe("What this process took over in an upgrade or restart; null: it was started anew")),
}).check(z.meta({ id: "Status" }));

const Entrance = z.object({
  path: z.string().check(z.describe("Path of a Unix socket")),
}).check(z.meta({ id: "Entrance" }));

const NewServer = z.strictObject({
  address: parsed(parseHost, "An IPv4 address, an IPv6 address or a host name", "10.0.0.1"),
  port: whole(1, 65535),
  ...z.partial(z.strictObject(serverSettings)).shape,
}).check(z.meta({ id: "NewServer" }));

const draining = z.boolean().check(
  z.describe("Out for maintenance: no new clients, and open connections move to other servers where that is safe"),
);
const changeable = { ...serverSettings, draining };
const Change = z.partial(z.strictObject(changeable))
  .check(z.refine((change) => Object.keys(change).length > 0, `Nothing to change: give ${listOr(Object.keys(changeable))}`))
  .check(z.meta({ id: "Change" }));

const CheckReport = z.object({
  server: serverName,
  check: z.string().check(z.describe("The check in the form of --check")),
  asked: z.string().check(z.describe("The address:port that was asked")),
  steps: z.array(z.object({
    step: z.enum(CHECK_STEPS),
    detail: z.string().check(z.describe("What came of the step: addresses, a TLS version, a status line")),
    atMs: z.number().check(z.describe("When, in ms from the start of the check")),
  })),
  verdict: z.enum(["passed", "asks to be drained", "failed"]),
  reason: z.nullable(z.string()).check(z.describe("Why it failed; null if it did not")),
  durationMs: z.number(),
}).check(z.meta({ id: "CheckReport" }));

const Removal = z.object({
  server: serverName,
  open: count.check(z.describe("Connections open when the removal began")),
  moved: count.check(z.describe("Those of them that moved to other servers")),
  ended: count.check(z.describe("Those of them that were cut at the end of the drain time")),
}).check(z.meta({ id: "Removal" }));

const Pausing = z.strictObject({
  for: z.optional(
    parsed(
      (text) => parseDuration(text, "Pause", PAUSE_MIN_MS, LIMITS.pauseMaxMs),
      "When it ends by itself, as a time from now",
      formatDuration(DEFAULT_PAUSE_MS),
    ),
  ),
  idle: z._default(z.boolean(), false).check(
    z.describe("Whether open connections wait, too, as soon as they are between two exchanges; needs --redistribute idle"),
  ),
}).check(z.meta({ id: "Pausing" }));
const Paused = z.object({
  service: serviceName,
  open: count,
  wasPaused: z.boolean().check(z.describe("Whether there was a pause before")),
  hold: Hold,
}).check(z.meta({ id: "Paused" }));

const Rebalancing = z.strictObject({
  rate: z._default(whole(1, LIMITS.rebalanceRateMax), DEFAULT_REBALANCE_RATE)
    .check(z.describe("Connections per second")),
}).check(z.meta({ id: "Rebalancing" }));
const Rebalance = z.object({
  running: z.boolean(),
  away: count.check(
    z.describe("Connections that were not with their owner, the server that the ring assigns, and could move there"),
  ),
  busy: count.check(
    z.describe("Connections that were not with their owner and could not move: they were in the middle of an exchange"),
  ),
  moved: count,
  rate: count,
}).check(z.meta({ id: "Rebalance" }));

const PlanQuery = z.strictObject({
  ...ofService,
  change: z.enum(["add", "remove", "weight"]),
  server: pathParameters.shape.server,
  weight: z.optional(parsed(parseWeight, `A weight from 1 to ${LIMITS.weightMax}; ignored for remove`, "2")),
});
const RingQuery = z.strictObject({
  ...ofService,
  bins: z.optional(
    parsed((text) => parseCount(text, "Number of bins", LIMITS.ringBinsMax), "In how many parts to draw the ring", "720"),
  ),
  change: z.optional(PlanQuery.shape.change),
  server: z.optional(pathParameters.shape.server),
  weight: PlanQuery.shape.weight,
}).check(z.refine(({ change, server }) => (change === undefined) === (server === undefined), "Give change and server together"));
const flows = z.array(z.object({ from: z.nullable(serverName), to: z.nullable(serverName), share }));
const binned = z.object({
  servers: z.array(serverName),
  owners: z.array(z.number().check(z.int(), z.minimum(-1)))
    .check(z.describe("For each bin the index in servers of the owner of most of it; -1 without servers")),
});
const RingPicture = z.object({
  policy: z.enum(POLICIES),
  points: count,
  circle: binned.check(z.describe("The ring of the tiers in use; empty unless the policy is ring")),
  takenOver: flows.check(z.describe("Clients whose owner gets no clients now, as fractions of all clients, and who takes them")),
  after: z.nullable(binned).check(z.describe("The ring after the change; null if none was asked for")),
}).check(z.meta({ id: "RingPicture" }));

const beforeAndAfter = z.object({ before: z.number(), after: z.number() });
const tierRange = z.object({ low: count, high: count });
const Plan = z.object({
  change: z.object({ kind: z.enum(["add", "remove", "weight"]), server: serverName, weight: z.optional(count) }),
  policy: z.enum(POLICIES),
  tiers: z.object({ before: tierRange, after: tierRange }).check(z.describe("The tiers that new clients use")),
  movedShare: z.nullable(share)
    .check(z.describe("Fraction of all possible clients that get another server; null unless the policy is ring")),
  share: z.nullable(z.object({ before: share, after: share }))
    .check(z.describe("The changed server's part of the new clients; by weight unless the policy is ring, null if it is first")),
  flows: z.array(z.object({ from: z.nullable(serverName), to: z.nullable(serverName), share })),
  peakToMean: beforeAndAfter,
  servers: beforeAndAfter,
  connections: z.array(z.object({ state: z.enum(PLANNED_STATES), count, outcome: z.string() })),
}).check(z.meta({ id: "Plan" }));

const ExplainQuery = z.strictObject({
  ...ofService,
  client: text.check(z.meta({ example: "192.0.2.1" })),
  successors: z.optional(parsed(
    (text) => parseCount(text, "Number of successors", LIMITS.successorsMax),
    "How many servers to list after the chosen one",
    "3",
  )),
});
const Explanation = z.object({
  client: z.string(),
  policy: z.enum(POLICIES),
  tiers: z.nullable(tierRange).check(z.describe("The tiers that new clients use; null if the pool has one tier")),
  hash: z.string(),
  probe: z.nullable(count).check(z.describe("Number of the probe that is nearest to a point; null without servers or ring")),
  point: z.nullable(z.string()),
  distance: z.nullable(z.number()).check(z.describe("Distance from the probe to the point, as a fraction of the circle")),
  server: z.nullable(serverName),
  reason: z.nullable(z.string()).check(z.describe("By what another policy than ring chose it")),
  order: z.array(z.object({
    server: serverName,
    state: z.enum(SERVER_STATES),
    open: count,
    verdict: z.enum(["chosen", "next", "passed over"]),
    why: z.nullable(z.string()),
  })),
}).check(z.meta({ id: "Explanation" }));

const RecentQuery = z.strictObject({
  server: z.optional(pathParameters.shape.server),
  fate: z.optional(parsed(parseFate, "Fate of the connections", "server_lost")),
  limit: z.optional(parsed((text) => parseCount(text, "Limit", LIMITS.recentMax), "The most connections to list", "20")),
});
const Recent = z.object({
  ends: z.array(z.object({
    id: z.string().check(z.describe("Id of the connection, also in the log and the access log")),
    at: timestamp,
    fate: z.enum(FATE_NAMES),
    client: z.string(),
    server: z.nullable(serverName),
    attempts: count,
    moves: count,
    sentBytes: count,
    receivedBytes: count,
    durationMs: z.number(),
    reason: z.nullable(z.string()),
  })),
  leftOut: count.check(z.describe("Connections that were not recorded because too many ended in the same second")),
}).check(z.meta({ id: "Recent" }));

const ClientsQuery = z.strictObject({
  ...ofService,
  top: z.optional(
    parsed((text) => parseCount(text, "Number of clients", LIMITS.clientsShownMax), "The most clients to list", "20"),
  ),
});
const Clients = z.object({
  counted: z.boolean().check(z.describe("Whether clients are counted: only with --client-connections or --client-rate")),
  dryRun: z.boolean().check(z.describe("Whether nobody is refused (--limits-dry-run)")),
  windowMs: count.check(z.describe("The time in which arrivals are counted")),
  tracked: count.check(z.describe("Addresses or prefixes that the table of clients holds")),
  untracked: count.check(z.describe("Connections that were not counted, because the table was full")),
  clients: z.array(z.object({
    client: z.string().check(z.meta({ description: "An address, or a prefix", example: "192.0.2.0/24" })),
    limit: z.enum(["connections", "rate", "both"]).check(z.describe("The limit that counts this prefix")),
    open: count,
    arrivals: count.check(z.describe("New connections within that time until now, refused ones included; an estimate")),
    refused: count.check(z.describe("Connections that were refused, or would have been without the dry run")),
    sentBytes: count.check(z.describe("Bytes sent to servers by connections that have ended")),
    receivedBytes: count.check(z.describe("Bytes received from servers by connections that have ended")),
    next: z.nullable(z.enum(FATE_NAMES)).check(z.describe("The fate of the next connection, if it would be refused now")),
  })),
}).check(z.meta({ id: "Clients" }));

const ConnectionsQuery = z.strictObject({
  service: z.optional(parsed(parseServiceName, "Only connections of this service", "web")),
  server: z.optional(parsed(parseAddress, "Only connections of this server: address:port", "10.0.0.1:8001")),
  client: z.optional(parsed((text) => parseCidrs(text, 1), "Only clients with this address or prefix", "192.0.2.0/24")),
  state: z.optional(z.enum(PLANNED_STATES).check(z.describe("Only connections in this state"))),
  sort: z._default(z.enum(CONNECTION_ORDERS), "age").check(z.describe("The oldest first, the most bytes, or the longest quiet")),
  limit: z.optional(
    parsed((text) => parseCount(text, "Limit", LIMITS.connectionsShownMax), "The most connections to list", "100"),
  ),
});
const connectionId = z.string().check(
  z.meta({ description: "Id of the connection, also in the log and the access log", example: "0123456789abcdef-1f" }),
);
const connectionParameters = z.object({
  id: parsed(parseConnectionId, "Id of the connection, as the list, the log and the access log have it", "0123456789abcdef-1f"),
});
const connectionService = z.nullable(z.string()).check(z.describe("null while the client is yet to say which one it wants"));
const connectionState = z.enum(PLANNED_STATES).check(
  z.describe("dialling: it has no server yet; the others: where it is in its exchange, which decides whether it can move"),
);
const Connections = z.object({
  total: count.check(z.describe("Open connections that match, listed or not")),
  connections: z.array(z.object({
    id: connectionId,
    service: connectionService,
    listener: z.string().check(z.describe("Where the client connected: address:port")),
    client: z.string(),
    server: z.nullable(serverName).check(z.describe("The server that it has, or that is being dialled; null for none")),
    state: connectionState,
    ageMs: count,
    idleMs: count.check(z.describe("How long no byte has passed")),
    sentBytes: count.check(z.describe("Bytes of the client that were sent to servers")),
    receivedBytes: count.check(z.describe("Bytes of servers that were sent to the client")),
    moves: count,
  })),
}).check(z.meta({ id: "Connections" }));
const closedConnection = { id: connectionId, service: connectionService, client: z.string(), server: z.nullable(serverName) };
const ClosedConnection = z.object(closedConnection).check(z.meta({ id: "ClosedConnection" }));
const ConnectionMove = z.strictObject({
  server: z.optional(
    parsed(parseAddress, "address:port of the server that it is to have; any other server if it is left out", "10.0.0.1:8001"),
  ),
  force: z._default(z.boolean(), false).check(z.describe("Whether to reset it if it cannot move")),
}).check(z.meta({ id: "ConnectionMove" }));
const MovedConnection = z.object({
  ...closedConnection,
  outcome: z.enum(["moved", "reset"]),
  from: z.nullable(serverName),
  to: z.nullable(serverName).check(z.describe("null: it was reset")),
  state: connectionState,
  replayedBytes: count.check(z.describe("Bytes of the client that were sent again to the new server")),
  reason: z.nullable(z.string()).check(z.describe("Why it could not move; null: it has moved")),
  next: z.nullable(serverName).check(
    z.describe("The server that a new connection of a client that was reset gets now; null where nobody can tell"),
  ),
}).check(z.meta({ id: "MovedConnection" }));

const plannedConnections = z.array(z.object({ state: z.enum(PLANNED_STATES), count, outcome: z.enum(OUTCOMES) }));
const TransitionPlan = z.object({
  clients: z.union([
    z.object({
      movedShare: share.check(z.describe("Fraction of all possible clients that get another server")),
      flows: z.array(z.object({ from: z.nullable(serverName), to: z.nullable(serverName), share })),
      flowsLeftOut: z.object({ count, share }).check(z.describe("Further flows")),
      peakToMean: beforeAndAfter,
      greatestShare: beforeAndAfter,
    }),
    z.object({ movedShare: z.null(), why: z.string().check(z.describe("Why nobody can say which clients move")) }),
  ]),
  servers: z.object({
    before: count,
    after: count,
    added: z.array(serverName),
    removed: z.array(serverName),
    changed: z.array(serverName),
  }),
  connections: plannedConnections,
  boundsHit: z.array(z.object({ server: serverName, bound: z.enum(BOUNDS), allowed: z.number(), open: beforeAndAfter })),
}).check(z.meta({ id: "TransitionPlan" }));
const StatePlan = z.object({
  services: z.array(z.object({
    service: serviceName,
    change: z.enum(SERVICE_CHANGES),
    lines: z.array(z.string()).check(z.describe("What differs, a line for each")),
    plan: z.nullable(TransitionPlan).check(z.describe("null if neither clients nor connections are affected")),
  })),
  daemon: z.array(z.string()).check(z.describe("What differs in the settings of the daemon, a line for each")),
  totals: z.object({
    services: z.record(z.enum(SERVICE_CHANGES), count),
    servers: z.object({ added: count, removed: count, changed: count }),
    connections: plannedConnections,
  }),
}).check(z.meta({ id: "StatePlan" }));

const savedListener = z.object({ address: z.string(), port: count, lastPort: z.optional(count) });
const State = z.object({
  generation: count,
  services: z.array(z.object({
    name: serviceName,
    listeners: z.array(savedListener),
    settings: settingTexts,
    servers: z.array(
      z.object({ server: serverName, draining: z.optional(z.boolean()), ...z.partial(z.object(serverSettings)).shape }),
    ),
  })),
  daemon: settingTexts.check(z.describe("Settings of the daemon that were given")),
}).check(z.meta({ id: "State" }));

const declaredServer = z.strictObject({
  server: canonical((text) => formatAddress(parseAddress(text)), "address:port", "10.0.0.1:8001"),
  draining: z.optional(z.boolean()),
  ...z.partial(z.strictObject(serverSettings)).shape,
});
const Declared = z.strictObject({
  services: z.array(z.strictObject({
    name: parsed(parseServiceName, "Name of the service", "web"),
    listeners: z.array(listener).check(z.minLength(1), z.maxLength(LIMITS.listenersMax)),
    settings: settingTexts,
    servers: z.array(declaredServer).check(z.maxLength(LIMITS.serversMax)),
  })).check(z.maxLength(LIMITS.servicesMax)),
  daemon: z._default(settingTexts, {}),
}).check(z.meta({ id: "Declared" }));
const Application = z.strictObject({
  declared: Declared,
  prune: z._default(z.boolean(), false).check(z.describe("Whether what is not declared is removed, or reset to its default")),
  plan: z._default(z.boolean(), false).check(z.describe("Whether to say what would change, and change nothing")),
  ifGeneration: z.optional(count.check(z.describe("Refuse if another change was made after this generation"))),
  file: z.optional(z.string().check(z.maxLength(4096), z.describe("Path of the declared file, for status"))),
}).check(z.meta({ id: "Application" }));
const Undoing = z.strictObject({
  to: z.optional(count.check(z.describe("The generation to return to; the one before if it is left out"))),
  plan: z._default(z.boolean(), false).check(z.describe("Whether to say what would change, and change nothing")),
  ifGeneration: z.optional(count),
}).check(z.meta({ id: "Undoing" }));
const Applied = z.object({
  generation: count.check(z.describe("The generation that is in force")),
  applied: z.boolean().check(z.describe("Whether something has changed")),
  plan: StatePlan,
}).check(z.meta({ id: "Applied" }));
const History = z.object({
  generations: z.array(z.object({
    generation: count,
    at: timestamp,
    who: z.string(),
    what: z.string(),
    moved: z.nullable(count).check(z.describe("Open connections that were to move; null where nobody knows")),
  })),
}).check(z.meta({ id: "History" }));

/** A query parameter that may be given several times, or as a list with commas. */
function several<T>(parse: (text: string) => T, description: string, example: string) {
  const parts = (texts: string | readonly string[]) => [texts].flat().flatMap((text) => text.split(","));
  const transform = z.transform((texts: string | string[], context): T[] => {
    try {
      return parts(texts).map(parse);
    } catch (error) {
      context.issues.push({ code: "custom", message: messageOf(error), input: texts });
      return z.NEVER;
    }
  });
  const given = z.union([z.string().check(z.maxLength(LONG_TEXT_MAX)), z.array(text).check(z.maxLength(LIMITS.serversMax))]);
  return z.pipe(given, transform).check(z.meta({ description, example }));
}

function parseUpTo(what: string, max: number) {
  return (text: string) => parseCount(text, what, max);
}

const EventsQuery = z.strictObject({
  after: z.optional(parsed((text) => parseNumber(text, "Number of an event"), "Only events with a greater number", "41")),
  since: z.optional(parsed((text) => parseDuration(text, "Time"), "Only events of the last so long", "5m")),
  kind: z.optional(several(
    (text) => parseChoice(text, { what: "kind", choices: EVENT_KINDS, help: "balancerctl events" }),
    `Kinds of events: ${EVENT_KINDS.join(", ")}`,
    "server",
  )),
  service: z.optional(parsed(parseServiceName, "Only events of this service, and those of none", "web")),
  server: z.optional(pathParameters.shape.server),
  limit: z.optional(parsed(parseUpTo("Limit", LIMITS.eventsMax), "The most events to list: the last ones", "1000")),
});
const Event = z.object({
  number: count.check(z.describe("From 1, of this start of the daemon")),
  at: timestamp,
  kind: z.enum(EVENT_KINDS),
  level: z.enum(EVENT_LEVELS),
  service: z.nullable(serviceName),
  server: z.nullable(serverName),
  who: z.nullable(z.string()).check(z.describe("Who caused it; null: nobody")),
  text: z.string().check(z.describe("What has happened, in one sentence without control characters")),
}).check(z.meta({ id: "Event" }));
const EventList = z.object({
  startId: z.string().check(z.describe("Of this start of the daemon: numbers of another one mean other events")),
  first: count.check(z.describe("Number of the oldest event that is kept; 0: there was none")),
  last: count.check(z.describe("Number of the last event; 0: there was none")),
  events: z.array(Event),
}).check(z.meta({ id: "EventList" }));

const SeriesQuery = z.strictObject({
  after: z.optional(parsed(
    (text) => parseNumber(text, "Second"),
    "Only steps after the one that begins at this second since 1970",
    "1795336200",
  )),
  seconds: z.optional(parsed(parseUpTo("Number of seconds", LIMITS.seriesSeconds), "How many seconds, up to now", "60")),
  step: z.optional(parsed(parseUpTo("Step", SERIES_STEP_MAX), "Seconds per step; the answer's may be more", "1")),
  service: z.optional(parsed(parseServiceName, "Only this service", "web")),
  server: z.optional(several((text) => formatAddress(parseAddress(text)), "Only these servers", "10.0.0.1:8001")),
  fields: z.optional(several(
    (text) => parseChoice(text, { what: "field", choices: SERIES_FIELDS, help: "GET /openapi.json" }),
    `Only these fields of servers: ${SERIES_FIELDS.join(", ")}`,
    "open,opened",
  )),
});
const steps = z.array(count);
const stepsOrNull = z.array(z.nullable(z.number().check(z.minimum(0))));
const movedSteps = z.object({ unsent: stepsOrNull, unanswered: stepsOrNull, idle: stepsOrNull });
const Series = z.object({
  startId: z.string(),
  from: count.check(z.describe("First second of the first step, since 1970; a multiple of step")),
  step: count.check(z.describe("Seconds per step: more than asked for where there are too many servers")),
  steps: count.check(z.describe("Number of steps; all of them are over")),
  services: z.array(z.object({
    service: serviceName,
    accepted: steps,
    open: steps.check(z.describe("At the end of the step")),
    fates: z.partialRecord(z.enum(FATE_NAMES), steps).check(z.describe("Those that occur")),
  })),
  servers: z.array(z.object({
    service: serviceName,
    server: serverName,
    states: z.optional(z.array(z.tuple([count, z.nullable(z.enum(SERVER_STATES))]))).check(
      z.describe("Each change: number of the step, and the state from then on; null: there was no such server"),
    ),
    open: z.optional(stepsOrNull),
    opened: z.optional(stepsOrNull).check(z.describe("Connections that the server accepted")),
    sentBytes: z.optional(stepsOrNull),
    receivedBytes: z.optional(stepsOrNull),
    failures: z.optional(stepsOrNull).check(z.describe("Connections that it did not accept")),
    connectP50Ms: z.optional(stepsOrNull).check(z.describe("Time in which it accepted half of them, within 9 %; null: none")),
    connectP99Ms: z.optional(stepsOrNull).check(z.describe("Time in which it accepted 99 of 100; of several seconds the greatest")),
    movedIn: z.optional(movedSteps),
    movedAway: z.optional(movedSteps),
    cut: z.optional(z.array(z.tuple([count, count]))).check(
      z.describe(
        `Each step in which connections of it were cut: its number, and how many; those with the fates ${CUT_FATES.join(", ")}`,
      ),
    ),
  })).check(z.describe("null: there was no such server in the step")),
  flows: z.array(z.object({
    at: count.check(z.describe("Number of the step")),
    service: serviceName,
    from: serverName,
    to: serverName,
    state: z.enum(MOVABLE_STATES),
    count,
  })).check(z.describe("Connections that moved; a few may lack where thousands move at once, but not in movedIn and movedAway")),
}).check(z.meta({ id: "Series" }));

const Stop = z.strictObject({
  grace: z.optional(
    parsed(SETTINGS.graceMs.parse, "How long open connections have to finish; left out: the daemon's setting", "10s"),
  ),
  lameDuck: z.optional(
    parsed(SETTINGS.lameDuckMs.parse, "How long clients are still taken, not ready; left out: the daemon's setting", "5s"),
  ),
  wait: z.optional(z.boolean().check(z.describe("Whether the answer waits until the last connection has ended"))),
}).check(z.meta({ id: "Stop" }));
const Stopping = z.object({
  open: count,
  graceMs: count,
  lameDuckMs: count,
  cut: z.nullable(count).check(z.describe("Connections that were ended because the grace time was over; null: nobody waited")),
  lockFile: z.string().check(z.describe("Locked (flock) until the daemon process has ended")),
}).check(z.meta({ id: "Stopping" }));

const LookQuery = z.strictObject({
  event: z.optional(
    parsed((text) => parseNumber(text, "Number of an event"), "Only events with a greater number; left out: the last one", "41"),
  ),
  second: z.optional(parsed(
    (text) => parseNumber(text, "Second"),
    "Only steps of the series after the one of this second since 1970; left out: the last two",
    "1795336200",
  )),
});
const Look = z.object({
  status: Status,
  servers: z.array(z.object({ service: serviceName, servers: z.array(Server), ring: Ring, hold: Hold })).check(
    z.describe("Of each service, as /v1/servers has them"),
  ),
  events: EventList,
  series: Series,
}).check(z.meta({ id: "Look" }));

const Failure = z.object({
  error: z.object({ kind: z.enum(Object.keys(ERROR_KINDS) as [ErrorKind, ...ErrorKind[]]), message: z.string() }),
}).check(z.meta({ id: "Error" }));

/** The types of the answers, for the client. */
export type Answers = {
  status: z.output<typeof Status>;
  servers: z.output<typeof ServerList>;
  server: z.output<typeof Server>;
  state: z.output<typeof State>;
  applied: z.output<typeof Applied>;
  history: z.output<typeof History>;
  services: z.output<typeof ServiceList>;
  service: z.output<typeof Service>;
  daemon: z.output<typeof Daemon>;
  serviceRemoval: z.output<typeof ServiceRemoval>;
  removal: z.output<typeof Removal>;
  check: z.output<typeof CheckReport>;
  rebalance: z.output<typeof Rebalance>;
  paused: z.output<typeof Paused>;
  plan: z.output<typeof Plan>;
  ring: z.output<typeof RingPicture>;
  explanation: z.output<typeof Explanation>;
  recent: z.output<typeof Recent>;
  clients: z.output<typeof Clients>;
  connections: z.output<typeof Connections>;
  closedConnection: z.output<typeof ClosedConnection>;
  movedConnection: z.output<typeof MovedConnection>;
  stopping: z.output<typeof Stopping>;
  events: z.output<typeof EventList>;
  series: z.output<typeof Series>;
  entrance: z.output<typeof Entrance>;
  look: z.output<typeof Look>;
  failure: z.output<typeof Failure>;
};

/** A request: each part has a schema, and the body is JSON. */
export interface RouteRequest {
  readonly query?: Schema;
  readonly params?: Schema;
  readonly body?: Schema;
}

/** An answer: its content is JSON unless its type says something else. */
interface RouteResponse {
  readonly description: string;
  readonly schema: Schema;
  readonly type?: string;
}

/** A route. The names in braces in its path are parameters. The first of its responses is that of a request that succeeds. */
export interface Route {
  readonly method: "get" | "post" | "patch" | "delete";
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  readonly deprecated?: true;
  readonly request?: RouteRequest;
  readonly responses: Readonly<Record<number, RouteResponse>>;
}

/** A schema of the API. */
export type Schema = z.ZodMiniType;

function json<T extends Schema>(schema: T, description: string) {
  return { description, schema };
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
const unknownConnection = { 404: json(Failure, "The connection is not open") };
const unknownService = { 404: json(Failure, "The service does not exist") };

/** Recent ends of connections, under the path of this version and the one that older clients know. */
const listRecent = {
  method: "get",
  summary: "List connections that ended recently, newest first",
  request: { query: RecentQuery },
  responses: { 200: json(Recent, "Ended connections with their fates"), ...failures },
} as const;

/** Every route of the API, by its operation id. `server.ts` has a handler for each. */
export const ROUTES = {
  status: {
    method: "get",
    path: "/v1/status",
    summary: "Show what runs, where, and how its connections ended",
    responses: { 200: json(Status, "The state of the balancer") },
  },
  listServers: {
    method: "get",
    path: "/v1/servers",
    summary: "List the servers of a service and describe its ring",
    request: { query: ServiceQuery },
    responses: { 200: json(ServerList, "Servers of the pool by name, then those being removed"), ...failures },
  },
  addServer: {
    method: "post",
    path: "/v1/servers",
    summary: "Add a server to the pool",
    request: { query: ServiceQuery, body: NewServer },
    responses: { 201: json(Server, "The server is added and saved"), ...failures },
  },
  getServer: {
    method: "get",
    path: "/v1/servers/{server}",
    summary: "Show one server",
    request: { query: ServiceQuery, params: pathParameters },
    responses: { 200: json(Server, "A server of the pool, or one being removed"), ...failures, ...unknown },
  },
  changeServer: {
    method: "patch",
    path: "/v1/servers/{server}",
    summary: "Change the weight or limit of a server, drain it, or bring it back",
    request: { query: ServiceQuery, params: pathParameters, body: Change },
    responses: { 200: json(Server, "The change is made and saved"), ...failures, ...unknown },
  },
  removeServer: {
    method: "delete",
    path: "/v1/servers/{server}",
    summary: "Remove a server: no new clients, and the drain time for its open connections",
    request: { params: pathParameters, query: z.strictObject({ drain: duration("Drain time", DEFAULT_DRAIN_MS), ...ofService }) },
    responses: { 200: json(Removal, "The last connection has ended"), ...failures, ...unknown },
  },
  checkServer: {
    method: "post",
    path: "/v1/servers/{server}/check",
    summary: "Check a server now, and show each step",
    description: "Changes nothing: only the checks at their interval decide the state of the server",
    request: { query: ServiceQuery, params: pathParameters },
    responses: { 200: json(CheckReport, "What the check has found"), ...failures, ...unknown },
  },
  startRebalance: {
    method: "post",
    path: "/v1/rebalance",
    summary: "Start moving idle connections to their owners, the servers that the ring assigns",
    request: { query: ServiceQuery, body: Rebalancing },
    responses: { 202: json(Rebalance, "The rebalance has started"), ...failures },
  },
  showRebalance: {
    method: "get",
    path: "/v1/rebalance",
    summary: "Show the progress of the last rebalance",
    request: { query: ServiceQuery },
    responses: { 200: json(Rebalance, "The progress of the rebalance"), ...failures },
  },
  stopRebalance: {
    method: "delete",
    path: "/v1/rebalance",
    summary: "Stop the rebalance",
    request: { query: ServiceQuery },
    responses: { 200: json(Rebalance, "The progress of the rebalance"), ...failures },
  },
  pauseService: {
    method: "post",
    path: "/v1/pause",
    summary: "Have new clients of a service wait; open connections go on",
    description: "Given again, it sets another time",
    request: { query: ServiceQuery, body: Pausing },
    responses: { 200: json(Paused, "New clients wait"), ...failures },
  },
  resumeService: {
    method: "delete",
    path: "/v1/pause",
    summary: "End the pause of a service: those who wait are dialled",
    request: { query: ServiceQuery },
    responses: { 200: json(Paused, "There is no pause"), ...failures },
  },
  listServices: {
    method: "get",
    path: "/v1/services",
    summary: "List the services",
    responses: { 200: json(ServiceList, "The services by name, then those that wait for their last connections") },
  },
  addService: {
    method: "post",
    path: "/v1/services",
    summary: "Add a service with its listeners",
    request: { body: NewService },
    responses: { 201: json(Service, "The service listens and is saved"), ...failures },
  },
  getService: {
    method: "get",
    path: "/v1/services/{service}",
    summary: "Show one service",
    request: { params: serviceParameters },
    responses: { 200: json(Service, "The service"), ...failures, ...unknownService },
  },
  changeService: {
    method: "patch",
    path: "/v1/services/{service}",
    summary: "Change settings of a service while it runs",
    description: "The text default takes a setting back to its default",
    request: { params: serviceParameters, body: ServiceChange },
    responses: { 200: json(Service, "The change is made and saved"), ...failures, ...unknownService },
  },
  removeService: {
    method: "delete",
    path: "/v1/services/{service}",
    summary: "Remove a service: no new clients, and the drain time for its open connections",
    request: {
      params: serviceParameters,
      query: z.strictObject({ drain: duration("Drain time", DEFAULT_DRAIN_MS) }),
    },
    responses: {
      200: json(ServiceRemoval, "The service takes no new clients; its connections end"),
      ...failures,
      ...unknownService,
    },
  },
  addListener: {
    method: "post",
    path: "/v1/services/{service}/listeners",
    summary: "Have a service listen on one more address",
    request: { params: serviceParameters, body: listener },
    responses: { 201: json(Service, "The service listens there, too"), ...failures, ...unknownService },
  },
  removeListener: {
    method: "delete",
    path: "/v1/services/{service}/listeners/{listener}",
    summary: "Close a listener of a service; its open connections stay",
    request: {
      params: z.object({
        ...serviceParameters.shape,
        listener: parsed(parseListenerText, "address:port or address:port-port, percent-encoded", "0.0.0.0:80"),
      }),
    },
    responses: { 200: json(Service, "The listener takes no new clients"), ...failures, ...unknownService },
  },
  getDaemon: {
    method: "get",
    path: "/v1/daemon",
    summary: "Show the settings of the daemon, which hold for all services",
    responses: { 200: json(Daemon, "The settings, and what they come to") },
  },
  changeDaemon: {
    method: "patch",
    path: "/v1/daemon",
    summary: "Change settings of the daemon while it runs",
    description: "The text default takes a setting back to its default. The engine and its workers take a restart",
    request: { body: DaemonChange },
    responses: { 200: json(Daemon, "The change is made and saved"), ...failures },
  },
  getState: {
    method: "get",
    path: "/v1/state",
    summary: "Get the services with their listeners, settings and servers",
    responses: { 200: json(State, "What a declared file would say") },
  },
  apply: {
    method: "post",
    path: "/v1/apply",
    summary: "Change to a declared state, whole or not at all; or say what that would do",
    request: { body: Application },
    responses: { 200: json(Applied, "What has changed, or would change"), ...failures },
  },
  listHistory: {
    method: "get",
    path: "/v1/history",
    summary: "List the last generations, newest first",
    responses: { 200: json(History, "The generations that can be restored") },
  },
  undo: {
    method: "post",
    path: "/v1/undo",
    summary: "Return to an earlier generation, as a new one",
    request: { body: Undoing },
    responses: { 200: json(Applied, "What has changed, or would change"), ...failures },
  },
  plan: {
    method: "get",
    path: "/v1/plan",
    summary: "Predict a change of the pool",
    request: { query: PlanQuery },
    responses: {
      200: json(Plan, "Clients that would get another server, and outcomes of open connections"),
      ...failures,
      ...unknown,
    },
  },
  ring: {
    method: "get",
    path: "/v1/ring",
    summary: "Draw the ring of a service, and what a change of the pool would make of it",
    request: { query: RingQuery },
    responses: { 200: json(RingPicture, "The circle in equal bins, by owner"), ...failures, ...unknown },
  },
  explain: {
    method: "get",
    path: "/v1/explain",
    summary: "Explain which server a client gets",
    request: { query: ExplainQuery },
    responses: {
      200: json(Explanation, "The client's position on the ring, and the servers in ring order"),
      ...failures,
    },
  },
  listRecent: { ...listRecent, path: "/v1/recent" },
  listEnds: { ...listRecent, path: "/v1/ends", deprecated: true, description: "Use /v1/recent" },
  listClients: {
    method: "get",
    path: "/v1/clients",
    summary: "List the clients that have most: connections, arrivals, refusals",
    request: { query: ClientsQuery },
    responses: { 200: json(Clients, "The clients, the one with most connections first"), ...failures },
  },
  listEvents: {
    method: "get",
    path: "/v1/events",
    summary: "List the last events, the oldest first; or follow them",
    description: "With Accept: text/event-stream it is a stream of server-sent events: id is startId-number, event is event, and " +
      "data an Event. It goes on after Last-Event-ID, after or since, else with what comes. If events lack before it goes on, as " +
      "after a restart of the daemon, the first one is a gap, whose data has startId, first and last.",
    request: { query: EventsQuery },
    responses: { 200: json(EventList, "The events that are kept"), ...failures },
  },
  getSeries: {
    method: "get",
    path: "/v1/series",
    summary: "Get what was counted in each second of the last 15 minutes",
    description: "Steps begin at multiples of their length, and only those that are over are given. To go on, give as after the " +
      "first second of the last step that you have",
    request: { query: SeriesQuery },
    responses: { 200: json(Series, "Services, servers and moves, step by step"), ...failures, ...unknownService },
  },
  look: {
    method: "get",
    path: "/v1/look",
    summary: "Get all that changes from second to second, for who watches",
    description:
      "One answer in place of those of /v1/status, /v1/servers of each service, /v1/events and /v1/series: who asks once " +
      "a second asks for less",
    request: { query: LookQuery },
    responses: { 200: json(Look, "Everything, and what is new since the event and the second"), ...failures },
  },
  listConnections: {
    method: "get",
    path: "/v1/connections",
    summary: "List open connections: the first of those that match, and how many match",
    request: { query: ConnectionsQuery },
    responses: {
      200: json(Connections, "The connections in the order wanted"),
      ...failures,
      404: json(Failure, "The service or the server does not exist"),
    },
  },
  closeConnection: {
    method: "post",
    path: "/v1/connections/{id}/close",
    summary: "End a connection: both sides are reset",
    request: { params: connectionParameters, body: z.strictObject({}) },
    responses: { 200: json(ClosedConnection, "It has ended with the fate closed"), ...failures, ...unknownConnection },
  },
  moveConnection: {
    method: "post",
    path: "/v1/connections/{id}/move",
    summary: "Move a connection to another server, as far as its state permits",
    request: { params: connectionParameters, body: ConnectionMove },
    responses: { 200: json(MovedConnection, "It has moved, or was reset by force"), ...failures, ...unknownConnection },
  },
  stop: {
    method: "post",
    path: "/v1/stop",
    summary: "Stop the balancer: no new clients, and the grace time for open connections",
    request: { body: Stop },
    responses: { 202: json(Stopping, "The balancer is stopping"), ...failures },
  },
  upgrade: {
    method: "post",
    path: "/v1/upgrade",
    summary: "Let another process take this one's place: the first step of balancerctl upgrade",
    request: {},
    responses: { 200: json(Entrance, "Where the other process is let in, for ten seconds"), ...failures },
  },
  openapi: {
    method: "get",
    path: "/openapi.json",
    summary: "Get this document",
    responses: { 200: json(z.record(z.string(), z.unknown()), "OpenAPI 3.1") },
  },
  metrics: {
    method: "get",
    path: "/metrics",
    summary: "Get the metrics for Prometheus",
    responses: { 200: { description: "Text format 0.0.4", schema: z.string(), type: "text/plain" } },
  },
} as const satisfies Readonly<Record<string, Route>>;

type RouteName = keyof typeof ROUTES;
type PartOf<Name extends RouteName, Part extends keyof RouteRequest> = (typeof ROUTES)[Name] extends
  { request: { [P in Part]: infer S extends Schema } } ? z.output<S> : undefined;

/** What a route's handler is given: the parts of the request that the route names, parsed. */
export type InputOf<Name extends RouteName> = { readonly [Part in keyof RouteRequest]-?: PartOf<Name, Part> };

/** What a route answers when it succeeds. */
export type OutputOf<Name extends RouteName> = {
  [Status in keyof (typeof ROUTES)[Name]["responses"]]: Status extends 200 | 201 | 202
    ? (typeof ROUTES)[Name]["responses"][Status] extends { schema: infer S extends Schema } ? z.output<S> : never
    : never;
}[keyof (typeof ROUTES)[Name]["responses"]];
