/**
 * Main's handle of one worker: the thread, its mailbox, its epoll descriptor and its reports. The mailbox outlives the thread, so
 * the other workers always write to the same descriptor; everything else is made anew for each thread.
 */

import { OperatorError } from "../../values/errors.ts";
import { EPOLL, errnoText, FILE, type Libc } from "../system/libc.ts";
import { COMMAND, COMMAND_BYTES } from "./mailbox.ts";
import { allocateReports, ReportReader } from "./reports.ts";
import type { FromWorker, ToWorker, WorkerSetup } from "./worker_setup.ts";

/** Pause before writing to a full mailbox again. */
const PAUSE_MS = 10;

const COMMAND_SIZE = BigInt(COMMAND_BYTES);

/** The epoch of a new thread, and main's callbacks for it. */
interface WorkerStart {
  readonly epoch: number;
  /** Called when the thread can receive its setup, so that the setup has the latest tables. */
  readonly setUp: () => CommonSetup;
  readonly onMessage: (message: FromWorker) => void;
  readonly onDeath: (reason: string) => void;
}

/** The part of the setup that is the same for all workers. */
export type CommonSetup = Omit<WorkerSetup, "index" | "epoch" | "timeOrigin" | "epoll" | "mailbox" | "reports">;

/** A worker: `start` it, `tell` it commands, `send` it messages, `close` it. */
export class WorkerHandle {
  readonly mailbox: { readonly reader: number; readonly writer: number };
  reports = new ReportReader(allocateReports());
  /** Whether its last batch of reports was large. */
  wasBusy = false;
  #worker: Worker | undefined;
  #isSetUp = false;
  #epoch = 0;
  #epoll = -1;
  #gone = Promise.withResolvers<void>();
  /** Commands that did not fit into the mailbox. */
  readonly #unsent: (readonly [kind: number, a: number, b: number, c: number, d: number])[] = [];
  #unsentTimer: ReturnType<typeof setTimeout> | undefined;
  #laterTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #command = new Int32Array(new ArrayBuffer(COMMAND_BYTES));
  readonly #commandAddress: bigint;

  constructor(readonly libc: Libc, readonly index: number) {
    this.#commandAddress = libc.addressOf(this.#command.buffer);
    if (libc.call.pipe2(this.#commandAddress, FILE.O_NONBLOCK | FILE.O_CLOEXEC) < 0) {
      throw new OperatorError(
        "failed",
        `Cannot start worker ${index + 1}: ${errnoText(libc.errno())}; raise the limit on open files`,
      );
    }
    this.mailbox = { reader: this.#command[0], writer: this.#command[1] };
  }

  /** Whether there is a thread, running or starting. */
  get exists(): boolean {
    return this.#worker !== undefined;
  }

  /** Starts a thread. */
  start({ epoch, setUp, onMessage, onDeath }: WorkerStart): void {
    const reports = allocateReports();
    this.reports = new ReportReader(reports);
    this.#epoch = epoch;
    this.#gone = Promise.withResolvers();
    this.#epoll = this.libc.call.epoll_create1(EPOLL.CLOEXEC);
    const worker = new Worker(new URL("./worker.ts", import.meta.url), {
      type: "module",
      name: `balancer-${this.index + 1}`,
    });
    this.#worker = worker;
    this.#isSetUp = false;
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if (data.kind === "here") this.#setUp(worker, reports, setUp());
      if (data.kind === "gone") this.#gone.resolve();
      else onMessage(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#bury();
      onDeath(event.message);
    };
  }

  /** Sends the setup. Must wait for "here": a message that arrives while the worker's modules load is lost. */
  #setUp(worker: Worker, reports: SharedArrayBuffer, common: CommonSetup): void {
    this.#isSetUp = true;
    worker.postMessage(
      {
        ...common,
        index: this.index,
        epoch: this.#epoch,
        timeOrigin: performance.timeOrigin,
        epoll: this.#epoll,
        mailbox: this.mailbox.reader,
        reports,
      } satisfies WorkerSetup,
    );
  }

  /** Puts a command into the mailbox. */
  tell(kind: number, a = 0, b = 0, c = 0, d = 0): void {
    if (this.#worker === undefined) return;
    this.#unsent.push([kind, a, b, c, d]);
    this.#sendCommands();
  }

  /** Sends a message, and a command that announces it. A worker without setup needs none: its setup will have the latest tables. */
  send(message: ToWorker): void {
    if (!this.#isSetUp) return;
    this.#worker?.postMessage(message);
    this.tell(COMMAND.message);
  }

  /** Calls back after `ms`, unless a call is pending already. */
  later(ms: number, callback: () => void): void {
    this.#laterTimer ??= setTimeout(() => {
      this.#laterTimer = undefined;
      callback();
    }, ms);
  }

  /** Ends the thread and closes the worker's descriptors. */
  async close(): Promise<void> {
    if (this.#worker !== undefined) {
      this.tell(COMMAND.exit);
      await this.#gone.promise; // terminate it only now: a worker that ends itself leaks descriptors of Deno
      this.#bury();
    }
    clearTimeout(this.#laterTimer);
    this.libc.call.close(this.mailbox.reader);
    this.libc.call.close(this.mailbox.writer);
  }

  #bury(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#isSetUp = false;
    this.#unsent.length = 0;
    clearTimeout(this.#unsentTimer);
    if (this.#epoll >= 0) this.libc.call.close(this.#epoll);
    this.#epoll = -1;
    this.#gone.resolve();
  }

  #sendCommands(): void {
    clearTimeout(this.#unsentTimer);
    while (this.#unsent.length > 0) {
      const [kind, ...words] = this.#unsent[0];
      this.#command.set([kind, this.#epoch, ...words]);
      if (this.libc.call.write(this.mailbox.writer, this.#commandAddress, COMMAND_SIZE) !== COMMAND_BYTES) {
        this.#unsentTimer = setTimeout(() => this.#sendCommands(), PAUSE_MS);
        return;
      }
      this.#unsent.shift();
    }
  }
}
