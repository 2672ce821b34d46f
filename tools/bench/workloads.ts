/** The workloads: one row each, from which the order of events and the tables are derived. */

import type { BackendName } from "./backends.ts";
import { abilitiesFor, type ContenderName, contendersWith } from "./contenders.ts";
import { driveByIdling, warmUpByIdling } from "./idle.ts";
import { driveByIperf3, type Iperf3Load, warmUpByIperf3 } from "./iperf3.ts";
import type { Figures, MetricName, Unit } from "./metrics.ts";
import type { Place } from "./place.ts";
import { driveByTalk, type TalkLoad, warmUpByTalk } from "./talk.ts";
import type { ToolName } from "./tools.ts";
import { driveByWrk, warmUpByWrk, type WrkLoad } from "./wrk.ts";

/** A contender at work. */
export interface Target {
  readonly place: Place;
  readonly port: number;
  readonly pid?: number;
}

/** How long things take. */
export interface Pace {
  /** In each round every contender has a turn, with new processes. */
  readonly rounds: number;
  /** How long a turn is measured. */
  readonly sliceSeconds: number;
  /** Workloads that would warm up for longer do not. */
  readonly warmUpMaxMs: number;
  readonly idlePairs: number;
}

/** Who drives a workload, and how. */
interface Driver {
  readonly tool?: ToolName;
  readonly backend: BackendName;
  readonly unit: Unit;
  /** Long streams of bytes: some contenders have settings for them. */
  readonly isBulk?: boolean;
  /** What is compared in the short table and in the chart. */
  readonly chief: MetricName;
  /**
   * How long new processes work before they are measured: our code is compiled while it runs. The same for all, because the
   * kernel's share of a connection also grows while the first thousands come and go.
   */
  readonly warmUpMs: number;
  warmUp(target: Target, ms: number): Promise<void>;
  drive(target: Target, pace: Pace): Promise<Figures>;
}

/** A workload. */
export interface Workload extends Driver {
  /** One sentence for the report. */
  readonly summary: string;
  readonly workers: 1 | 2;
  /** Direct connections have no part in it: what is measured is the proxy's process. */
  readonly isOfProcess?: boolean;
  /** It has one round where others have so many (1): it takes long. */
  readonly onceIn?: number;
  /** Left out by --quick. */
  readonly slow?: boolean;
}

/** In milliseconds. A connection costs us a third more at first; it takes about 40,000 of them until all is compiled. */
const WARM_UP = { connections: 3000, requests: 1000, bulk: 500 };

const ROWS = {
  keepalive: {
    ...byWrk({ connections: 64 }, "request"),
    summary: "64 connections that are kept; on each a small request follows the last answer",
    workers: 1,
  },
  connections: {
    ...byWrk({ connections: 64, closes: true }, "connection"),
    summary: "A connection for each request, 64 at a time; latency is counted from the request, not from the connection's start",
    workers: 1,
  },
  "bulk-1": {
    ...byIperf3({ streams: 1 }),
    summary: "One stream of bytes from the client to the server, as fast as it goes",
    workers: 1,
  },
  "bulk-1-reverse": {
    ...byIperf3({ streams: 1, reverse: true }),
    summary: "One stream of bytes from the server to the client",
    workers: 1,
    slow: true,
  },
  "bulk-8": {
    ...byIperf3({ streams: 8 }),
    summary: "Eight streams of bytes from the client to the server",
    workers: 1,
  },
  lone: {
    ...byTalk({ does: "ask", clients: 1 }, "request"),
    summary: "One connection with one request at a time: what waking up costs",
    workers: 1,
  },
  "server-first": {
    ...byTalk({ does: "visit", clients: 1 }, "connection"),
    summary: "One client at a time connects, reads a banner of 50 bytes and leaves; latency is from connecting to the banner",
    workers: 1,
  },
  sparse: {
    ...byTalk({ does: "ask", clients: 1000, everyMs: 1000, stretch: 3 }, "request"),
    summary: "1,000 connections that are kept and mostly wait: each asks once a second",
    workers: 1,
  },
  "keepalive-2": {
    ...byWrk({ connections: 64 }, "request"),
    summary: "The first workload with two workers, HAProxy threads or nginx processes",
    workers: 2,
  },
  "connections-2": {
    ...byWrk({ connections: 64, closes: true }, "connection"),
    summary: "A connection for each request, with two workers",
    workers: 2,
  },
  idle: {
    backend: "holder",
    unit: "pair",
    chief: "residentKb",
    warmUpMs: 0, // it is not time that counts: see warmUpByIdling
    warmUp: warmUpByIdling,
    drive: (target: Target, { idlePairs, sliceSeconds }: Pace) => driveByIdling(target, idlePairs, sliceSeconds),
    summary:
      "Thousands of connections on which one byte went there and back, and then nothing; memory is the proxy's, not the kernel's",
    workers: 1,
    isOfProcess: true,
    onceIn: 8,
  },
} satisfies Record<string, Workload>;

/** A row of WORKLOADS. */
export type WorkloadName = keyof typeof ROWS;

/** Every workload, in the order of the run. */
export const WORKLOADS: Readonly<Record<WorkloadName, Workload>> = ROWS;

/** The names of the workloads, in order. */
export const WORKLOAD_NAMES: readonly WorkloadName[] = Object.keys(WORKLOADS) as WorkloadName[];

/** The contenders of a workload, in the order of their turns. */
export function contendersOf(name: WorkloadName): ContenderName[] {
  const { workers, isBulk = false, isOfProcess = false } = WORKLOADS[name];
  return contendersWith([...abilitiesFor({ workers, isBulk }), ...isOfProcess ? ["process" as const] : []]);
}

/** How many rounds a workload has. */
export function roundsOf(name: WorkloadName, { rounds }: Pace): number {
  return Math.ceil(rounds / (WORKLOADS[name].onceIn ?? 1));
}

function byWrk(load: WrkLoad, unit: Unit): Driver {
  return {
    tool: "wrk",
    backend: "web",
    unit,
    chief: "cpuSeconds",
    warmUpMs: load.closes ? WARM_UP.connections : WARM_UP.requests,
    warmUp: (target, ms) => warmUpByWrk(target, load, ms),
    drive: (target, { sliceSeconds }) => driveByWrk(target, load, sliceSeconds),
  };
}

function byTalk(load: TalkLoad, unit: Unit): Driver {
  return {
    tool: "cc",
    backend: load.does === "visit" ? "greeter" : "answerer",
    unit,
    chief: "cpuSeconds",
    warmUpMs: load.does === "visit" ? WARM_UP.connections : WARM_UP.requests,
    warmUp: (target, ms) => warmUpByTalk(target, load, ms),
    drive: (target, { sliceSeconds }) => driveByTalk(target, load, sliceSeconds),
  };
}

function byIperf3(load: Iperf3Load): Driver {
  return {
    tool: "iperf3",
    backend: "iperf3",
    unit: "GB",
    isBulk: true,
    chief: "cpuSeconds",
    warmUpMs: WARM_UP.bulk,
    warmUp: (target, ms) => warmUpByIperf3(target, load, ms),
    drive: (target, { sliceSeconds }) => driveByIperf3(target, load, sliceSeconds),
  };
}
