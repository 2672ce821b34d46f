/** The objects that the parts of one worker share: libc, the rows, the clock, counters, timers. Knows nothing about connections. */

import { Counters } from "../../observe/counters.ts";
import { AvailabilityTable } from "../../routing/availability.ts";
import { Gate } from "../gate.ts";
import type { Libc } from "../system/libc.ts";
import { Sleep } from "../system/sleep.ts";
import { Sockets } from "../system/sockets.ts";
import { DescriptorTable } from "./descriptor_table.ts";
import { Descriptors } from "./descriptors.ts";
import { Hellos } from "./hellos.ts";
import { LogColumns } from "./log_columns.ts";
import { ChunkPool, PipePool } from "./pools.ts";
import { Recorder } from "./recorder.ts";
import { ProxyHeaders } from "./proxy_headers.ts";
import { ReportWriter } from "./reports.ts";
import { Services } from "./services.ts";
import { SilenceWatch } from "./silence.ts";
import { TimerWheel } from "./timer_wheel.ts";
import type { FromWorker, WorkerSetup } from "./worker_setup.ts";
import { WorkerTable } from "./worker_table.ts";

/** Main's clock, for all workers, because performance.now() starts at 0 in each thread. Read once per turn. */
class Clock {
  readonly #offsetMs: number;
  /** The time of the current turn. */
  nowMs: number;

  constructor(mainsTimeOrigin: number) {
    this.#offsetMs = performance.timeOrigin - mainsTimeOrigin;
    this.nowMs = this.read();
  }

  /** The current time. */
  read(): number {
    return performance.now() + this.#offsetMs;
  }

  tick(): void {
    this.nowMs = this.read();
  }

  /** The time of day, in ms since 1970. For logs alone: it may be set, and go back. */
  wallMs(): number {
    return Date.now();
  }
}

/** The shared objects of a worker. Each part takes those that it uses. */
export interface WorkerKit {
  readonly setup: WorkerSetup;
  readonly services: Services;
  readonly post: (message: FromWorker) => void;
  readonly clock: Clock;
  readonly libc: Libc;
  readonly sockets: Sockets;
  readonly sleep: Sleep;
  readonly table: DescriptorTable;
  /** Written and read only while there is an access log. */
  readonly logColumns: LogColumns;
  readonly descriptors: Descriptors;
  readonly chunks: ChunkPool;
  readonly pipes: PipePool;
  readonly counters: Counters;
  readonly gate: Gate;
  readonly availabilities: AvailabilityTable;
  readonly workerTable: WorkerTable;
  readonly wheel: TimerWheel;
  readonly reports: ReportWriter;
  readonly recorder: Recorder;
  readonly headers: ProxyHeaders;
  readonly hellos: Hellos;
  readonly silence: SilenceWatch;
}

/** Makes the shared objects of a worker from its setup. */
export function makeWorkerKit(libc: Libc, setup: WorkerSetup, post: (message: FromWorker) => void): WorkerKit {
  const clock = new Clock(setup.timeOrigin);
  const sockets = new Sockets(libc);
  const table = new DescriptorTable(setup.descriptors);
  const services = new Services(table, setup.config);
  const chunks = new ChunkPool(libc);
  const pipes = new PipePool(libc, table, setup.epoch, setup.pipesMax);
  const counters = new Counters(setup.counters, setup.index + 1);
  const wheel = new TimerWheel(table.capacity, clock.nowMs);
  const logColumns = new LogColumns(setup.logColumns, table);
  const reports = new ReportWriter(setup.reports, () => post({ kind: "news" }));
  return {
    setup,
    services,
    post,
    clock,
    libc,
    sockets,
    sleep: new Sleep(libc),
    table,
    logColumns,
    descriptors: new Descriptors({ libc, sockets, table, chunks, pipes, clock, epoll: setup.epoll, epoch: setup.epoch }),
    chunks,
    pipes,
    counters,
    gate: new Gate(counters, setup.clients),
    availabilities: new AvailabilityTable(setup.availabilities),
    workerTable: new WorkerTable(setup.workerTable),
    wheel,
    reports,
    recorder: new Recorder(libc),
    headers: new ProxyHeaders({ libc, sockets, table, chunks, reports, services, setup, clock, post }),
    hellos: new Hellos({ libc, chunks }),
    silence: new SilenceWatch(sockets, table, wheel, services),
  };
}
