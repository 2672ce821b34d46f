/** The workloads: one row each, from which the order of events and the tables are derived. */

import type { BackendName } from "./backends.ts";
import { abilitiesFor, type ContenderName, contendersWith } from "./contenders.ts";
import { driveByIdling, warmUpByIdling } from "./idle.ts";
import { driveByIperf3, type Iperf3Load, warmUpByIperf3 } from "./iperf3.ts";
import type { Figures, MetricName, Unit } from "./metrics.ts";
import type { Place } from "./place.ts";
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
  /** How often all contenders are started: two processes of the same program differ for as long as they live. */
  readonly starts: number;
  /** Rounds after each start. */
  readonly rounds: number;
  readonly sliceSeconds: number;
  readonly warmUpMs: number;
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
  warmUp(target: Target, pace: Pace): Promise<void>;
  drive(target: Target, pace: Pace): Promise<Figures>;
}

/** A workload. */
export interface Workload extends Driver {
  /** One sentence for the report. */
  readonly summary: string;
  readonly workers: 1 | 2;
  /** Direct connections have no part in it: what is measured is the proxy's process. */
  readonly isOfProcess?: boolean;
  /** Once after each start, whatever the number of rounds. */
  readonly once?: boolean;
  /** Left out by --quick. */
  readonly slow?: boolean;
}

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
    ...byWrk({ connections: 1 }, "request"),
    summary: "One connection with one request at a time: what waking up costs",
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
    warmUp: warmUpByIdling,
    drive: (target: Target, { idlePairs, sliceSeconds }: Pace) => driveByIdling(target, idlePairs, sliceSeconds),
    summary:
      "Thousands of connections on which one byte went there and back, and then nothing; memory is the proxy's, not the kernel's",
    workers: 1,
    isOfProcess: true,
    once: true,
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

function byWrk(load: WrkLoad, unit: Unit): Driver {
  return {
    tool: "wrk",
    backend: "web",
    unit,
    chief: "cpuSeconds",
    warmUp: (target, { warmUpMs }) => warmUpByWrk(target, load, warmUpMs),
    drive: (target, { sliceSeconds }) => driveByWrk(target, load, sliceSeconds),
  };
}

function byIperf3(load: Iperf3Load): Driver {
  return {
    tool: "iperf3",
    backend: "iperf3",
    unit: "GB",
    isBulk: true,
    chief: "cpuSeconds",
    warmUp: (target, { warmUpMs }) => warmUpByIperf3(target, load, warmUpMs),
    drive: (target, { sliceSeconds }) => driveByIperf3(target, load, sliceSeconds),
  };
}
