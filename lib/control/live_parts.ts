/**
 * The parts of the daemon that follow its settings beside the balancer: what `--http` serves, the log and its level, the output of
 * the access log, and the track file. What is new is opened before what is old is closed, so that a change that cannot be made
 * changes nothing.
 */

import type { DaemonParts, PartsStep } from "../balancer/daemon_parts.ts";
import { type AccessOutput, openAccessOutput } from "../observe/access_output.ts";
import { logger, setLogLevel, setUpLogging } from "../observe/log.ts";
import { type Address, formatAddress } from "../values/address.ts";
import type { DaemonConfig } from "../values/config.ts";
import { messageOf } from "../values/errors.ts";
import { Monitor, type Monitored } from "./monitor.ts";
import { TrackFile } from "./track_file.ts";

/** The settings that have parts here. */
type PartsConfig = Pick<DaemonConfig, "http" | "logLevel" | "accessLog" | "trackFile">;

/** Options of `LiveParts.open`. */
interface PartsOptions {
  /** Undefined: the log goes to standard error. */
  readonly logFile?: string;
  /** Whether somebody may read standard output beyond the address. */
  readonly hasOutput: boolean;
  /** The address is on standard output. */
  readonly listening: Promise<void>;
}

/** Everything that settings open. */
interface Opened {
  readonly config: PartsConfig;
  readonly monitor: Monitor | undefined;
  readonly output: AccessOutput | undefined;
  readonly track: TrackFile | undefined;
}

const log = logger("daemon");

/** The parts of one daemon. Disposing of it closes them, but for the log. */
export class LiveParts implements DaemonParts, AsyncDisposable {
  readonly #options: PartsOptions;
  #now: Opened;
  #monitored: Monitored | undefined;

  private constructor(options: PartsOptions, opened: Opened) {
    this.#options = options;
    this.#now = opened;
  }

  /** Opens what these settings ask for. Throws an operator error. */
  static async open(config: PartsConfig, options: PartsOptions): Promise<LiveParts> {
    await using opened = new AsyncDisposableStack();
    // Before there are log files: a taken port leaves none behind.
    const monitor = config.http === null ? undefined : opened.use(await Monitor.open(config.http));
    await setUpLogging(config.logLevel, options.logFile);
    const output = await openOutput(config, options);
    if (output !== undefined) opened.use(output);
    const track = await openTrack(config);
    opened.move();
    return new LiveParts(options, { config, monitor, output, track });
  }

  /** Where lines of the access log go; undefined: nowhere. */
  get accessOutput(): AccessOutput | undefined {
    return this.#now.output;
  }

  /** Where `--http` is served, with the real port; null: nowhere. */
  get http(): string | null {
    const { monitor } = this.#now;
    return monitor === undefined ? null : formatAddress(monitor.address);
  }

  /** From now on `--http` tells about this. */
  show(monitored: Monitored): void {
    this.#monitored = monitored;
    this.#now.monitor?.show(monitored);
    this.#now.track?.show(isReadyBy(monitored));
    this.#sayServing();
  }

  /** Serves `--http` here from now on; null: nowhere, because another process does. Throws an operator error. */
  async serveOn(http: Address | null): Promise<void> {
    const step = await this.prepare({ ...this.#now.config, http });
    await step.adopt();
    await step.finish();
  }

  /** Takes what only one process can have from the one that had it: `--http`, if it can, and the track file. */
  async takeOver({ http, trackFile }: Pick<PartsConfig, "http" | "trackFile">): Promise<void> {
    const track = trackFile === null ? undefined : TrackFile.takeOver(trackFile);
    this.#now = { ...this.#now, config: { ...this.#now.config, trackFile }, track };
    if (http !== null) await this.serveOn(http).catch((error) => log.error("{why}; it is not served", { why: messageOf(error) }));
  }

  async prepare(config: PartsConfig): Promise<PartsStep> {
    const before = this.#now;
    const undo = new AsyncDisposableStack();
    try {
      const monitor = isSameAddress(before.config.http, config.http) ? before.monitor : await this.#openMonitor(config.http, undo);
      const isSameOutput = before.config.accessLog === config.accessLog;
      const output = isSameOutput ? before.output : await openOutput(config, this.#options);
      if (!isSameOutput && output !== undefined) undo.use(output);
      const isSameTrack = before.config.trackFile === config.trackFile;
      const track = isSameTrack ? before.track : await openTrack(config);
      if (!isSameTrack && track !== undefined) undo.use(track);
      return this.#stepTo({ config, monitor, output, track }, undo);
    } catch (error) {
      await undo.disposeAsync();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#now.monitor?.[Symbol.asyncDispose]();
    await this.#now.output?.[Symbol.asyncDispose]();
    await this.#now.track?.[Symbol.asyncDispose]();
  }

  #stepTo(next: Opened, undo: AsyncDisposableStack): PartsStep {
    const before = this.#now;
    return {
      accessOutput: next.output,
      adopt: async () => {
        undo.move();
        this.#now = next;
        if (next.config.logLevel !== before.config.logLevel) await setLogLevel(next.config.logLevel);
        if (next.monitor !== before.monitor) this.#sayServing();
        if (next.track !== before.track && this.#monitored !== undefined) next.track?.show(isReadyBy(this.#monitored));
      },
      finish: async () => {
        if (next.monitor !== before.monitor) await before.monitor?.[Symbol.asyncDispose]();
        if (next.output !== before.output) await before.output?.[Symbol.asyncDispose]();
        if (next.track !== before.track) await before.track?.[Symbol.asyncDispose]();
      },
      abandon: () => undo.disposeAsync(),
    };
  }

  /** Serves on another address. One with the same port may be in the way of the earlier one, which is then closed first. */
  async #openMonitor(address: Address | null, undo: AsyncDisposableStack): Promise<Monitor | undefined> {
    if (address === null) return undefined;
    const { monitor: before } = this.#now;
    if (before?.address.port === address.port) {
      const { address: earlier } = before;
      this.#now = { ...this.#now, monitor: undefined };
      await before[Symbol.asyncDispose]();
      undo.defer(() => this.#reopen(earlier));
    }
    const monitor = undo.use(await Monitor.open(address));
    if (this.#monitored !== undefined) monitor.show(this.#monitored);
    return monitor;
  }

  async #reopen(address: Address): Promise<void> {
    try {
      const monitor = await Monitor.open(address);
      if (this.#monitored !== undefined) monitor.show(this.#monitored);
      this.#now = { ...this.#now, monitor };
    } catch (error) {
      log.error("{why}; it is served no longer", { why: messageOf(error) }); // somebody has taken it meanwhile
    }
  }

  #sayServing(): void {
    if (this.http !== null) log.info("Serving metrics and readiness by HTTP on {http}", { http: this.http });
    else if (this.#monitored !== undefined) log.info("Serving nothing by HTTP any more");
  }
}

async function openOutput({ accessLog }: PartsConfig, options: PartsOptions): Promise<AccessOutput | undefined> {
  const { logFile, hasOutput, listening: ready } = options;
  return accessLog === null ? undefined : await openAccessOutput(accessLog, { logFile, hasOutput, ready });
}

async function openTrack({ trackFile }: PartsConfig): Promise<TrackFile | undefined> {
  return trackFile === null ? undefined : await TrackFile.open(trackFile);
}

function isReadyBy(monitored: Monitored): () => boolean {
  return () => monitored.whyNotReady() === undefined;
}

function isSameAddress(one: Address | null, other: Address | null): boolean {
  if (one === null || other === null) return one === other;
  return formatAddress(one) === formatAddress(other);
}
