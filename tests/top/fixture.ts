/** A balancer of whose six servers one has died a few seconds ago: what its daemon would answer, at a fixed time. */

import { judge } from "../../lib/observe/verdict.ts";
import type { Answers } from "../../lib/control/api.ts";
import { clockText } from "../../lib/top/figures.ts";
import type { Moment, Pool } from "../../lib/top/moment.ts";
import { Window } from "../../lib/top/window.ts";
import { countStates, serverAnswer, serviceAnswer, statusAnswer } from "../answers.ts";

/** The time of the fixture: 2026-11-24 14:02:41 UTC. */
export const NOW_MS = Date.UTC(2026, 10, 24, 14, 2, 41);
const NOW_S = NOW_MS / 1000;
const KILLED_S = NOW_S - 31;
const STEPS = 900;

/** How the parts of a fixture differ from the usual. */
export interface FixtureOptions {
  readonly servers?: number;
  readonly service?: string;
  /** Whether one server has died. */
  readonly isHurt?: boolean;
  /** Clients that wait for a server. */
  readonly waiting?: number;
  readonly reason?: string;
  readonly eventText?: string;
}

/** A server as it is listed. */
export function listedServer(server: string, rest: Partial<Answers["server"]> = {}): Answers["server"] {
  const since = new Date(NOW_MS - 11_520_000).toISOString();
  const nextCheckAt = new Date(NOW_MS + 1200).toISOString();
  const fates = {} as Answers["server"]["fates"];
  return serverAnswer({ server, since, nextCheckAt, connects: 1000, share: 1 / 6, fates, ...rest });
}

function nameOf(index: number): string {
  return `10.0.${Math.floor(index / 200)}.${index % 200 + 1}:8001`;
}

/** The third server is the one that has died; the fifth is drained. */
function pool({ servers = 6, service = "default", isHurt = true, reason = "connection refused" }: FixtureOptions): Pool {
  const since = (s: number) => new Date((NOW_S - s) * 1000).toISOString();
  const fates = (lost: number) => ({ server_lost: lost }) as Answers["server"]["fates"];
  return {
    service,
    servers: Array.from({ length: servers }, (_, i) => {
      if (i === 2 && isHurt) {
        const lastFailure = { at: since(12), reason };
        return listedServer(nameOf(i), { state: "down", since: since(28), reason, lastFailure, fates: fates(14) });
      }
      if (i === 4 && isHurt) {
        return listedServer(nameOf(i), { state: "draining", since: since(400), reason: "drained by hand", open: 37, share: 0 });
      }
      return listedServer(nameOf(i), { open: openAt(i, STEPS - 1, isHurt), share: 1 / servers, fates: fates(0) });
    }),
  };
}

/** Open connections of a server at a step. */
function openAt(server: number, step: number, isHurt: boolean): number {
  const usual = 380 + 37 * (server % 5) + Math.round(20 * Math.sin(step / 9 + server));
  if (!isHurt) return usual;
  const isOver = NOW_S - STEPS + step >= KILLED_S;
  if (server === 2) return isOver ? 0 : 412;
  if (server === 4) return Math.max(37, 400 - Math.max(0, step - 500));
  return isOver ? usual + 100 : usual;
}

/** The last 15 minutes. */
export function series({ servers = 6, service = "default", isHurt = true }: FixtureOptions = {}): Answers["series"] {
  const steps = Array.from({ length: STEPS }, (_, step) => step);
  const killed = STEPS - 31;
  const isGone = (server: number, step: number) => isHurt && (server === 2 && step >= killed || server === 4 && step >= 500);
  return {
    startId: "a1b2c3",
    from: NOW_S - STEPS,
    step: 1,
    steps: STEPS,
    services: [{
      service,
      accepted: steps.map((step) => 180 + Math.round(30 * Math.sin(step / 7))),
      open: steps.map((step) =>
        Array.from({ length: servers }, (_, i) => openAt(i, step, isHurt)).reduce((sum, one) => sum + one, 0)
      ),
      fates: {
        done: steps.map(() => 178),
        ...(isHurt ? { server_lost: steps.map((step) => step === killed ? 14 : 0) } : {}),
      },
    }],
    servers: Array.from({ length: servers }, (_, i) => ({
      service,
      server: nameOf(i),
      open: steps.map((step) => openAt(i, step, isHurt)),
      opened: steps.map((step) => isGone(i, step) ? 0 : 30 + (i + step) % 7),
      sentBytes: steps.map((step) => isGone(i, step) ? 0 : 210_000 + 1000 * ((i * 7 + step) % 40)),
      receivedBytes: steps.map((step) => isGone(i, step) ? 0 : 7_400_000 + 100_000 * ((i * 5 + step) % 30)),
      failures: steps.map((step) => isHurt && i === 2 && step >= killed && step < killed + 3 ? 5 : 0),
      states: i === 2 && isHurt ? [[0, "up"], [killed + 3, "down"]] : [[0, "up"]],
      cut: i === 2 && isHurt ? [[killed, 14]] : [],
      connectP99Ms: steps.map((step) => isGone(i, step) ? null : 0.4 + (i % 3) * 1.1),
    })),
    flows: isHurt
      ? [[0, 112, "unanswered"], [1, 96, "unanswered"], [3, 101, "unanswered"], [5, 77, "unanswered"], [0, 8, "unsent"], [
        5,
        4,
        "idle",
      ]]
        .map(([to, count, state]) => ({
          at: killed,
          service,
          from: nameOf(2),
          to: nameOf(to as number),
          state: state as Answers["series"]["flows"][number]["state"],
          count: count as number,
        }))
      : [],
  };
}

function events(
  { service = "default", reason = "connection refused", eventText, isHurt = true }: FixtureOptions,
): Answers["events"]["events"] {
  const at = (s: number) => new Date((NOW_S - s) * 1000).toISOString();
  const server = nameOf(2);
  const all: Answers["events"]["events"] = [
    {
      number: 1,
      at: at(11_520),
      kind: "daemon",
      level: "info" as const,
      service: null,
      server: null,
      who: null,
      text: "The balancer has started",
    },
    ...(isHurt
      ? [
        {
          number: 2,
          at: at(400),
          kind: "command" as const,
          level: "info" as const,
          service,
          server: nameOf(4),
          who: "anna",
          text: `drain ${nameOf(4)}: 363 of 400 open connections moved`,
        },
        {
          number: 3,
          at: at(31),
          kind: "server" as const,
          level: "warning" as const,
          service,
          server,
          who: null,
          text: `Server ${server} fails connections: ${reason}`,
        },
        {
          number: 4,
          at: at(28),
          kind: "server" as const,
          level: "error" as const,
          service,
          server,
          who: null,
          text: `Server ${server} is down: ${reason}; 398 of its connections moved, 14 were reset`,
        },
      ]
      : []),
    ...(eventText === undefined
      ? []
      : [{ number: 5, at: at(5), kind: "server" as const, level: "info" as const, service, server, who: null, text: eventText }]),
  ];
  return all;
}

/** Open connections, the oldest first. */
export function connections(service = "default"): Answers["connections"] {
  return {
    total: 1980,
    connections: Array.from({ length: 40 }, (_, i) => ({
      id: `${(i * 7919 + 40_000).toString(16)}-${i}`,
      service,
      listener: "0.0.0.0:80",
      client: `192.0.2.${i + 1}:${50_000 + i}`,
      server: nameOf([0, 1, 3, 5][i % 4]),
      state: (["idle", "busy", "unanswered"] as const)[i % 3],
      ageMs: 9_000_000 - i * 100_000,
      idleMs: i * 750,
      sentBytes: 1200 * i * i,
      receivedBytes: 340_000 * i,
      moves: i % 4 === 0 ? 1 : 0,
    })),
  };
}

/** The status of the daemon. */
export function status(options: FixtureOptions = {}): Answers["status"] {
  const { service = "default", isHurt = true, waiting = 0 } = options;
  const { servers } = pool(options);
  const open = servers.reduce((sum, { open }) => sum + open, 0);
  const accepted = 123_456;
  const fates = { done: 121_462, server_lost: isHurt ? 14 : 0 } as Answers["status"]["fates"];
  return statusAnswer([serviceAnswer({ service, servers: countStates(servers), open, accepted })], {
    startedAt: new Date(NOW_MS - 11_520_000).toISOString(),
    generation: 42,
    connections: { accepted, open, waiting, max: 50_000 },
    fates,
    stateFile: "/var/lib/balancer/default.json",
  });
}

/** The moment. */
export function moment(options: FixtureOptions = {}): Moment {
  const window = new Window();
  window.add(series(options));
  const [facts, pools] = [status(options), [pool(options)]];
  const servers = pools.flatMap(({ service, servers }) => servers.map((server) => ({ ...server, service })));
  return {
    atMs: NOW_MS,
    status: facts,
    only: undefined,
    pools,
    servicesLeftOut: 0,
    isListFresh: true,
    window,
    events: events(options),
    connections: connections(options.service),
    verdict: judge({ status: facts, servers, series: window.judged() }, (ms) => clockText(ms, NOW_MS)),
  };
}
