/**
 * The shapes of the answers that the client accepts, as a table, and the function that compares. The schemas of `api.ts` are
 * stricter, but loading them would take longer than most commands.
 */

import type { Answers } from "./api.ts";

/** The shape of a value of type T. A shape that lacks a field of T does not compile. */
type Shape<T> = undefined extends T ? { readonly orNone: Shape<Exclude<T, undefined>> }
  : null extends T ? { readonly orNull: Shape<NonNullable<T>> }
  : [T] extends [string] ? "text" | { readonly oneOf: readonly T[] }
  : [T] extends [number] ? "number"
  : [T] extends [boolean] ? "boolean"
  : T extends readonly [infer First, infer Second] ? { readonly pair: readonly [Shape<First>, Shape<Second>] }
  : T extends readonly (infer Element)[] ? { readonly listOf: Shape<Element> }
  :
    | { readonly anyOf: readonly AnyShape[] }
    | { readonly every: Shape<T[keyof T]> }
    | { readonly fields: { readonly [Name in keyof T]-?: Shape<T[Name]> } };

const SERVER: Shape<Answers["server"]> = {
  fields: {
    server: "text",
    state: "text",
    since: "text",
    reason: { orNull: "text" },
    weight: "number",
    tier: "number",
    connectionsMax: { orNull: "number" },
    proxy: { orNull: "text" },
    check: { orNull: "text" },
    checkPort: { orNull: "number" },
    checkHost: { orNull: "text" },
    checkCa: { orNull: "text" },
    checkStatus: { orNull: "text" },
    nextCheckAt: { orNull: "text" },
    open: "number",
    movedAway: "number",
    connects: "number",
    connectFailures: "number",
    sentBytes: "number",
    receivedBytes: "number",
    lastFailure: { orNull: { fields: { at: "text", reason: "text" } } },
    share: "number",
    fates: { every: "number" },
  },
};

const HOLD: Shape<Answers["paused"]["hold"]> = {
  fields: {
    waiting: "number",
    timeMs: "number",
    pause: { orNull: { fields: { since: "text", until: "text", idle: "boolean", who: "text" } } },
  },
};

const SERVICE: Shape<Answers["service"]> = {
  fields: {
    service: "text",
    listeners: { listOf: { fields: { listener: "text", fault: { orNull: "text" } } } },
    settings: { every: "text" },
    servers: { every: "number" },
    open: "number",
    accepted: "number",
    hold: HOLD,
    fingerprint: "text",
    removing: "boolean",
    warnings: { listOf: "text" },
  },
};

const CONNECTION = { id: "text", service: { orNull: "text" }, client: "text", server: { orNull: "text" } } as const;

const BEFORE_AND_AFTER = { fields: { before: "number", after: "number" } } as const;

const BINNED = { fields: { servers: { listOf: "text" }, owners: { listOf: "number" } } } as const;

const TIERS = { fields: { low: "number", high: "number" } } as const;

const CONNECTIONS = { listOf: { fields: { state: "text", count: "number", outcome: "text" } } } as const;

const FORESEEN_CLIENTS = {
  fields: {
    movedShare: "number",
    flows: { listOf: { fields: { from: { orNull: "text" }, to: { orNull: "text" }, share: "number" } } },
    flowsLeftOut: { fields: { count: "number", share: "number" } },
    peakToMean: BEFORE_AND_AFTER,
    greatestShare: BEFORE_AND_AFTER,
  },
} as const;

/** A plan is what the daemon has made of the declared state; its clients are told in one of two ways. */
const STATE_PLAN: Shape<Answers["applied"]["plan"]> = {
  fields: {
    services: {
      listOf: {
        fields: {
          service: "text",
          change: "text",
          lines: { listOf: "text" },
          plan: {
            orNull: {
              fields: {
                clients: { anyOf: [FORESEEN_CLIENTS, { fields: { movedShare: { orNull: "number" }, why: "text" } }] },
                servers: {
                  fields: {
                    before: "number",
                    after: "number",
                    added: { listOf: "text" },
                    removed: { listOf: "text" },
                    changed: { listOf: "text" },
                  },
                },
                connections: CONNECTIONS,
                boundsHit: { listOf: { fields: { server: "text", bound: "text", allowed: "number", open: BEFORE_AND_AFTER } } },
              },
            },
          },
        },
      },
    },
    daemon: { listOf: "text" },
    totals: {
      fields: {
        services: { every: "number" },
        servers: { fields: { added: "number", removed: "number", changed: "number" } },
        connections: CONNECTIONS,
      },
    },
  },
};

const STATE: Shape<Answers["state"]> = {
  fields: {
    generation: "number",
    services: {
      listOf: {
        fields: {
          name: "text",
          listeners: { listOf: { fields: { address: "text", port: "number", lastPort: { orNone: "number" } } } },
          settings: { every: "text" },
          servers: {
            listOf: {
              fields: {
                server: "text",
                draining: { orNone: "boolean" },
                weight: { orNone: "number" },
                tier: { orNone: "number" },
                connectionsMax: { orNone: { orNull: "number" } },
                proxy: { orNone: { orNull: "text" } },
                check: { orNone: { orNull: "text" } },
                checkPort: { orNone: { orNull: "number" } },
                checkHost: { orNone: { orNull: "text" } },
                checkCa: { orNone: { orNull: "text" } },
                checkStatus: { orNone: { orNull: "text" } },
              },
            },
          },
        },
      },
    },
    daemon: { every: "text" },
  },
};

const EVENT: Shape<Answers["events"]["events"][number]> = {
  fields: {
    number: "number",
    at: "text",
    kind: "text",
    level: "text",
    service: { orNull: "text" },
    server: { orNull: "text" },
    who: { orNull: "text" },
    text: "text",
  },
};

const NUMBERS = { listOf: "number" } as const;
const STEPS = { listOf: { orNull: "number" } } as const;
const MOVES = { orNone: { fields: { unsent: STEPS, unanswered: STEPS, idle: STEPS } } } as const;

const SERVER_SERIES: Shape<Answers["series"]["servers"][number]> = {
  fields: {
    service: "text",
    server: "text",
    states: { orNone: { listOf: { pair: ["number", { orNull: "text" }] } } },
    open: { orNone: STEPS },
    opened: { orNone: STEPS },
    sentBytes: { orNone: STEPS },
    receivedBytes: { orNone: STEPS },
    failures: { orNone: STEPS },
    connectP50Ms: { orNone: STEPS },
    connectP99Ms: { orNone: STEPS },
    movedIn: MOVES,
    movedAway: MOVES,
    cut: { orNone: { listOf: { pair: ["number", "number"] } } },
  },
};

const RING = { fields: { fingerprint: "text", points: "number", peakToMean: "number" } } as const;

const STATUS: Shape<Answers["status"]> = {
  fields: {
    name: "text",
    version: "text",
    pid: "number",
    engine: "text",
    address: "text",
    startedAt: "text",
    stopping: "boolean",
    lameDuck: "boolean",
    generation: "number",
    services: { listOf: SERVICE },
    declared: {
      orNull: { fields: { file: "text", generation: "number", differences: { orNull: { listOf: "text" } } } },
    },
    servers: { every: "number" },
    checkIntervalMs: "number",
    connections: { fields: { accepted: "number", open: "number", waiting: "number", max: "number" } },
    fates: { every: "number" },
    settings: { every: "text" },
    stateFile: { orNull: "text" },
    lockFile: "text",
    logFile: { orNull: "text" },
    http: { orNull: "text" },
    accessLog: { orNull: "text" },
    warnings: { listOf: "text" },
    carriedOver: {
      orNull: {
        fields: {
          at: "text",
          from: "text",
          connections: "number",
          lost: "number",
          durationMs: "number",
          pauseP99Ms: "number",
          pauseMaxMs: "number",
        },
      },
    },
  },
};

/** What is said of the servers of one service. */
const SERVERS = { servers: { listOf: SERVER }, ring: RING, hold: HOLD } as const;

const EVENTS: Shape<Answers["events"]> = {
  fields: { startId: "text", first: "number", last: "number", events: { listOf: EVENT } },
};

const SERIES: Shape<Answers["series"]> = {
  fields: {
    startId: "text",
    from: "number",
    step: "number",
    steps: "number",
    services: {
      listOf: { fields: { service: "text", accepted: NUMBERS, open: NUMBERS, fates: { every: { orNone: NUMBERS } } } },
    },
    servers: { listOf: SERVER_SERIES },
    flows: {
      listOf: { fields: { at: "number", service: "text", from: "text", to: "text", state: "text", count: "number" } },
    },
  },
};

/** The shape of every answer. Enumerations, such as states, are plain text: a newer daemon may have more values. */
const SHAPES: { readonly [Name in keyof Answers]: Shape<Answers[Name]> } = {
  status: STATUS,
  servers: { fields: SERVERS },
  server: SERVER,
  check: {
    fields: {
      server: "text",
      check: "text",
      asked: "text",
      steps: { listOf: { fields: { step: "text", detail: "text", atMs: "number" } } },
      verdict: "text",
      reason: { orNull: "text" },
      durationMs: "number",
    },
  },
  state: STATE,
  applied: { fields: { generation: "number", applied: "boolean", plan: STATE_PLAN } },
  history: {
    fields: {
      generations: {
        listOf: { fields: { generation: "number", at: "text", who: "text", what: "text", moved: { orNull: "number" } } },
      },
    },
  },
  services: { fields: { services: { listOf: SERVICE } } },
  service: SERVICE,
  daemon: {
    fields: {
      settings: { every: "text" },
      connectionsMax: "number",
      http: { orNull: "text" },
      accessLog: { orNull: "text" },
      warnings: { listOf: "text" },
    },
  },
  serviceRemoval: { fields: { service: "text", open: "number" } },
  removal: { fields: { server: "text", open: "number", moved: "number", ended: "number" } },
  rebalance: { fields: { running: "boolean", away: "number", busy: "number", moved: "number", rate: "number" } },
  paused: { fields: { service: "text", open: "number", wasPaused: "boolean", hold: HOLD } },
  plan: {
    fields: {
      change: { fields: { kind: { oneOf: ["add", "remove", "weight"] }, server: "text", weight: { orNone: "number" } } },
      policy: "text",
      tiers: { fields: { before: TIERS, after: TIERS } },
      movedShare: { orNull: "number" },
      share: { orNull: BEFORE_AND_AFTER },
      flows: { listOf: { fields: { from: { orNull: "text" }, to: { orNull: "text" }, share: "number" } } },
      peakToMean: BEFORE_AND_AFTER,
      servers: BEFORE_AND_AFTER,
      connections: { listOf: { fields: { state: "text", count: "number", outcome: "text" } } },
    },
  },
  ring: {
    fields: {
      policy: "text",
      points: "number",
      circle: BINNED,
      takenOver: { listOf: { fields: { from: { orNull: "text" }, to: { orNull: "text" }, share: "number" } } },
      after: { orNull: BINNED },
    },
  },
  explanation: {
    fields: {
      client: "text",
      policy: "text",
      tiers: { orNull: TIERS },
      hash: "text",
      probe: { orNull: "number" },
      point: { orNull: "text" },
      distance: { orNull: "number" },
      server: { orNull: "text" },
      reason: { orNull: "text" },
      order: {
        listOf: { fields: { server: "text", state: "text", open: "number", verdict: "text", why: { orNull: "text" } } },
      },
    },
  },
  recent: {
    fields: {
      ends: {
        listOf: {
          fields: {
            id: "text",
            at: "text",
            fate: "text",
            client: "text",
            server: { orNull: "text" },
            attempts: "number",
            moves: "number",
            sentBytes: "number",
            receivedBytes: "number",
            durationMs: "number",
            reason: { orNull: "text" },
          },
        },
      },
      leftOut: "number",
    },
  },
  clients: {
    fields: {
      counted: "boolean",
      dryRun: "boolean",
      windowMs: "number",
      tracked: "number",
      untracked: "number",
      clients: {
        listOf: {
          fields: {
            client: "text",
            limit: "text",
            open: "number",
            arrivals: "number",
            refused: "number",
            sentBytes: "number",
            receivedBytes: "number",
            next: { orNull: "text" },
          },
        },
      },
    },
  },
  events: EVENTS,
  series: SERIES,
  look: {
    fields: {
      status: STATUS,
      servers: { listOf: { fields: { service: "text", ...SERVERS } } },
      events: EVENTS,
      series: SERIES,
    },
  },
  connections: {
    fields: {
      total: "number",
      connections: {
        listOf: {
          fields: {
            ...CONNECTION,
            listener: "text",
            state: "text",
            ageMs: "number",
            idleMs: "number",
            sentBytes: "number",
            receivedBytes: "number",
            moves: "number",
          },
        },
      },
    },
  },
  closedConnection: { fields: CONNECTION },
  movedConnection: {
    fields: {
      ...CONNECTION,
      outcome: { oneOf: ["moved", "reset"] },
      from: { orNull: "text" },
      to: { orNull: "text" },
      state: "text",
      replayedBytes: "number",
      reason: { orNull: "text" },
      next: { orNull: "text" },
    },
  },
  entrance: { fields: { path: "text" } },
  stopping: { fields: { open: "number", graceMs: "number", lameDuckMs: "number", cut: { orNull: "number" }, lockFile: "text" } },
  failure: { fields: { error: { fields: { kind: "text", message: "text" } } } },
};

/** A shape of any type. */
type AnyShape =
  | "text"
  | "number"
  | "boolean"
  | { readonly oneOf: readonly string[] }
  | { readonly orNull: AnyShape }
  | { readonly orNone: AnyShape }
  | { readonly listOf: AnyShape }
  | { readonly pair: readonly [AnyShape, AnyShape] }
  | { readonly anyOf: readonly AnyShape[] }
  | { readonly every: AnyShape }
  | { readonly fields: Readonly<Record<string, AnyShape>> };

/** How an answer deviates from its shape, as a clause; undefined if it does not. */
export function misfitOf(name: keyof Answers, answer: unknown): string | undefined {
  return misfit(SHAPES[name] as AnyShape, answer, "it");
}

/** Numbers must not be negative, since all of them are counts or measurements. */
const WORDS = {
  text: { is: (value: unknown) => typeof value === "string", what: "not text" },
  number: { is: (value: unknown) => Number.isFinite(value) && (value as number) >= 0, what: "not a number from 0" },
  boolean: { is: (value: unknown) => typeof value === "boolean", what: "neither true nor false" },
} as const;

function misfit(shape: AnyShape, value: unknown, where: string): string | undefined {
  if (typeof shape === "string") return WORDS[shape].is(value) ? undefined : `${where} is ${WORDS[shape].what}`;
  if ("oneOf" in shape) {
    return shape.oneOf.includes(value as string) ? undefined : `${where} is not one of ${shape.oneOf.join(", ")}`;
  }
  if ("orNull" in shape) return value === null ? undefined : misfit(shape.orNull, value, where);
  if ("orNone" in shape) return value === undefined ? undefined : misfit(shape.orNone, value, where);
  if ("anyOf" in shape) {
    const misfits = shape.anyOf.map((one) => misfit(one, value, where));
    return misfits.includes(undefined) ? undefined : misfits[0];
  }
  if ("pair" in shape) return misfitOfPair(shape.pair, value, where);
  if ("listOf" in shape) return misfitOfList(shape.listOf, value, where);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return `${where} is not an object`;
  if ("every" in shape) return first(Object.entries(value), ([name, part]) => misfit(shape.every, part, `${where}.${name}`));
  return first(Object.entries(shape.fields), ([name, part]) => misfit(part, ownOf(value, name), `${where}.${name}`));
}

function misfitOfList(shape: AnyShape, value: unknown, where: string): string | undefined {
  if (!Array.isArray(value)) return `${where} is not a list`;
  return first(value.entries(), ([index, element]) => misfit(shape, element, `${where}[${index}]`));
}

function misfitOfPair(shapes: readonly [AnyShape, AnyShape], value: unknown, where: string): string | undefined {
  if (!Array.isArray(value) || value.length !== shapes.length) return `${where} is not a pair`;
  return first(shapes.entries(), ([index, shape]) => misfit(shape, value[index], `${where}[${index}]`));
}

function ownOf(value: object, name: string): unknown {
  return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

function first<T>(parts: Iterable<T>, find: (part: T) => string | undefined): string | undefined {
  for (const part of parts) {
    const found = find(part);
    if (found !== undefined) return found;
  }
}
