/** Answers of the API as tests need them: a usual one, of which each test says what differs. */

import type { Answers } from "../lib/control/api.ts";
import { countFates } from "../lib/values/fates.ts";

/** When the daemon was started, and each server came up. */
export const STARTED_AT = "2026-11-22T08:30:00.000Z";

/** Nobody waits, and nobody may. */
export const NO_HOLD: Answers["servers"]["hold"] = { waiting: 0, timeMs: 0, pause: null };

/** A server that is up, and has served nobody yet. */
export function serverAnswer(rest: Partial<Answers["server"]> = {}): Answers["server"] {
  return {
    server: "10.0.0.1:80",
    state: "up",
    since: STARTED_AT,
    reason: null,
    weight: 1,
    tier: 0,
    connectionsMax: null,
    proxy: null,
    check: null,
    checkPort: null,
    checkHost: null,
    checkCa: null,
    checkStatus: null,
    nextCheckAt: null,
    open: 0,
    movedAway: 0,
    connects: 0,
    connectFailures: 0,
    sentBytes: 0,
    receivedBytes: 0,
    lastFailure: null,
    share: 1,
    fates: countFates(() => 0),
    ...rest,
  };
}

/** How many servers of a list are in each state. */
export function countStates(servers: readonly Pick<Answers["server"], "state">[]): Answers["status"]["servers"] {
  const counts = { up: 0, resting: 0, down: 0, draining: 0, removing: 0 };
  for (const { state } of servers) counts[state]++;
  return counts;
}

/** A service with nothing in it. */
export function serviceAnswer(rest: Partial<Answers["service"]> = {}): Answers["service"] {
  return {
    service: "default",
    listeners: [{ listener: "0.0.0.0:80", fault: null }],
    settings: {},
    servers: countStates([]),
    open: 0,
    accepted: 0,
    hold: NO_HOLD,
    fingerprint: "0a1b2c3d",
    removing: false,
    warnings: [],
    ...rest,
  };
}

/** The status of a daemon; servers and connections are those of `services`, unless `rest` says otherwise. */
export function statusAnswer(services: readonly Answers["service"][], rest: Partial<Answers["status"]> = {}): Answers["status"] {
  const sum = (count: (service: Answers["service"]) => number) => services.reduce((sum, service) => sum + count(service), 0);
  return {
    name: "default",
    version: "0.1.0",
    pid: 4711,
    engine: "epoll",
    address: "0.0.0.0:80",
    startedAt: STARTED_AT,
    stopping: false,
    lameDuck: false,
    generation: 12,
    services: [...services],
    declared: null,
    servers: {
      up: sum(({ servers }) => servers.up),
      resting: sum(({ servers }) => servers.resting),
      down: sum(({ servers }) => servers.down),
      draining: sum(({ servers }) => servers.draining),
      removing: sum(({ servers }) => servers.removing),
    },
    checkIntervalMs: 2000,
    connections: { accepted: sum(({ accepted }) => accepted), open: sum(({ open }) => open), waiting: 0, max: 1_000_000 },
    fates: countFates(() => 0),
    settings: {},
    stateFile: null,
    lockFile: "/run/balancer/default.lock",
    logFile: null,
    http: null,
    accessLog: null,
    warnings: [],
    carriedOver: null,
    ...rest,
  };
}
