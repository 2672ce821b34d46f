/**
 * The parts of the daemon that follow its settings beside the balancer: what `--http` serves, the dashboard, the log and its level,
 * the output of the access log, and the track file. What is new is opened before what is old is closed, so that a change that
 * cannot be made changes nothing.
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
type PartsConfig = Pick<DaemonConfig, "http" | "logLevel" | "accessLog" | "trackFile" | keyof DashboardConfig>;

/** The settings of the dashboard. */
export type DashboardConfig = Pick<DaemonConfig, "dashboard" | "dashboardToken" | "dashboardHosts">;

/** Something that is served on an address, with its real port. Disposing of it closes the port. */
export interface LivePlace extends AsyncDisposable {
  readonly address: Address;
}

/** Options of `LiveParts.open`. */
interface PartsOptions {
  /** Undefined: the log goes to standard error. */
  readonly logFile?: string;
  /** Whether somebody may read standard output beyond the address. */
  readonly hasOutput: boolean;
  /** The address is on standard output. */
  readonly listening: Promise<void>;
  /** Serves the dashboard, whose address is not null. Rejects with an operator error. */
  readonly openDashboard: (config: DashboardConfig) => Promise<LivePlace>;
}

/** Everything that settings open. */
interface Opened {
  readonly config: PartsConfig;
  readonly monitor: Monitor | undefined;
  readonly dashboard: LivePlace | undefined;
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
    const dashboard = config.dashboard === null ? undefined : opened.use(await options.openDashboard(config));
    await setUpLogging(config.logLevel, options.logFile);
    const output = await openOutput(config, options);
    if (output !== undefined) opened.use(output);
    const track = await openTrack(config);
    opened.move();
    return new LiveParts(options, { config, monitor, dashboard, output, track });
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
    if (this.http !== null) this.#sayServing();
    if (this.#now.dashboard !== undefined) this.#sayDashboard();
  }

  /** Closes the ports that only one process can have: another one opens them. Returns what opens them here again. */
  async standAside(): Promise<() => Promise<void>> {
    const { http, dashboard } = this.#now.config;
    await this.#change({ http: null, dashboard: null });
    return () => this.#change({ http, dashboard });
  }

  /** Takes what only one process can have from the one that had it: the track file, and `--http` and the dashboard, if it can. */
  async takeOver({ http, dashboard, trackFile }: Pick<PartsConfig, "http" | "dashboard" | "trackFile">): Promise<void> {
    const track = trackFile === null ? undefined : TrackFile.takeOver(trackFile);
    this.#now = { ...this.#now, config: { ...this.#now.config, trackFile }, track };
    for (const place of [{ http }, { dashboard }]) {
      await this.#change(place).catch((error) => log.error("{why}; it is not served", { why: messageOf(error) }));
    }
  }

  async prepare(config: PartsConfig): Promise<PartsStep> {
    const before = this.#now;
    const undo = new AsyncDisposableStack();
    try {
      const monitor = isSameAddress(before.config.http, config.http) ? before.monitor : await this.#openMonitor(config.http, undo);
      const dashboard = isSameDashboard(before.config, config) ? before.dashboard : await this.#openDashboard(config, undo);
      const isSameOutput = before.config.accessLog === config.accessLog;
      const output = isSameOutput ? before.output : await openOutput(config, this.#options);
      if (!isSameOutput && output !== undefined) undo.use(output);
      const isSameTrack = before.config.trackFile === config.trackFile;
      const track = isSameTrack ? before.track : await openTrack(config);
      if (!isSameTrack && track !== undefined) undo.use(track);
      return this.#stepTo({ config, monitor, dashboard, output, track }, undo);
    } catch (error) {
      await undo.disposeAsync();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#now.monitor?.[Symbol.asyncDispose]();
    await this.#now.dashboard?.[Symbol.asyncDispose]();
    await this.#now.output?.[Symbol.asyncDispose]();
    await this.#now.track?.[Symbol.asyncDispose]();
  }

  async #change(change: Partial<Pick<PartsConfig, "http" | "dashboard">>): Promise<void> {
    const step = await this.prepare({ ...this.#now.config, ...change });
    await step.adopt();
    await step.finish();
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
        if (next.dashboard !== before.dashboard) this.#sayDashboard();
        if (next.track !== before.track && this.#monitored !== undefined) next.track?.show(isReadyBy(this.#monitored));
      },
      finish: async () => {
        if (next.monitor !== before.monitor) await before.monitor?.[Symbol.asyncDispose]();
        if (next.dashboard !== before.dashboard) await before.dashboard?.[Symbol.asyncDispose]();
        if (next.output !== before.output) await before.output?.[Symbol.asyncDispose]();
        if (next.track !== before.track) await before.track?.[Symbol.asyncDispose]();
      },
      abandon: () => undo.disposeAsync(),
    };
  }

  async #openMonitor(address: Address | null, undo: AsyncDisposableStack): Promise<Monitor | undefined> {
    if (address === null) return undefined;
    const open = async (address: Address) => {
      const monitor = await Monitor.open(address);
      if (this.#monitored !== undefined) monitor.show(this.#monitored);
      return monitor;
    };
    const { monitor: before } = this.#now;
    const earlier = before?.address; // what is closed has none
    const reopen = earlier && (() => open(earlier));
    await this.#makeRoom(address, before, reopen, (monitor) => this.#now = { ...this.#now, monitor }, undo);
    return undo.use(await open(address));
  }

  async #openDashboard(config: DashboardConfig, undo: AsyncDisposableStack): Promise<LivePlace | undefined> {
    if (config.dashboard === null) return undefined;
    const { dashboard: before } = this.#now;
    const earlier = before && { ...this.#now.config, dashboard: before.address };
    const reopen = earlier && (() => this.#options.openDashboard(earlier));
    await this.#makeRoom(config.dashboard, before, reopen, (dashboard) => this.#now = { ...this.#now, dashboard }, undo);
    return undo.use(await this.#options.openDashboard(config));
  }

  /** Closes what is served on the same port, which may be in the way. `put` says what is served there from now on. */
  async #makeRoom<Place extends LivePlace>(
    address: Address,
    before: Place | undefined,
    reopen: (() => Promise<Place>) | undefined,
    put: (place: Place | undefined) => void,
    undo: AsyncDisposableStack,
  ): Promise<void> {
    if (before === undefined || reopen === undefined || before.address.port !== address.port) return;
    put(undefined);
    await before[Symbol.asyncDispose]();
    undo.defer(async () => {
      try {
        put(await reopen());
      } catch (error) {
        log.error("{why}; it is served no longer", { why: messageOf(error) }); // somebody has taken it meanwhile
      }
    });
  }

  #sayServing(): void {
    if (this.http !== null) log.info("Serving metrics and readiness by HTTP on {http}", { http: this.http });
    else log.info("Serving nothing by HTTP any more");
  }

  #sayDashboard(): void {
    const { dashboard } = this.#now;
    if (dashboard !== undefined) log.info("Serving the dashboard on {dashboard}", { dashboard: formatAddress(dashboard.address) });
    else log.info("Serving the dashboard no longer");
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

function isSameDashboard(one: DashboardConfig, other: DashboardConfig): boolean {
  const [a, b] = [one, other].map(({ dashboard, dashboardToken, dashboardHosts }) => [dashboard, dashboardToken, dashboardHosts]);
  return JSON.stringify(a) === JSON.stringify(b);
}
