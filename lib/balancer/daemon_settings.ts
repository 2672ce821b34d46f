/**
 * The settings of the daemon while it runs: what engines know of them, and how a change is prepared and taken over by the engine,
 * by the access log, and by the parts of the daemon that are outside of the balancer. Decides nothing about the state.
 */

import type { EngineConfig } from "../engine/engine.ts";
import type { AccessLog, AccessLogTarget } from "../observe/access_log.ts";
import type { LineOutput } from "../observe/line_buffer.ts";
import { type Address, formatAddress, reaches } from "../values/address.ts";
import { type DaemonConfig, parseDaemonConfig, SETTINGS, type SettingTexts } from "../values/config.ts";
import { OperatorError } from "../values/errors.ts";
import { isRelativePath, PATH_SETTINGS } from "../values/path_settings.ts";
import type { StopTimes } from "./shutdown.ts";
import type { DaemonParts, PartsStep } from "./daemon_parts.ts";

/** A prepared change of the settings: `adopt`, then `finish` once the engine has them; or `abandon`. */
export interface DaemonStep {
  adopt(): Promise<void>;
  finish(): Promise<void>;
  abandon(): Promise<void>;
}

/** Options of DaemonSettings. */
interface DaemonOptions {
  /** At the beginning. */
  readonly config: DaemonConfig;
  /** What `--max-connections auto` means. */
  readonly connectionsAuto: number;
  readonly accessLog: AccessLog;
  /** Where clients connect. */
  readonly addresses: () => readonly Address[];
  /** Where lines of the access log go at first; undefined: nowhere. */
  readonly accessOutput: LineOutput | undefined;
  /** Undefined: there are none. */
  readonly parts: DaemonParts | undefined;
}

/** How long lines of the access log may take to be written to an output that is left. */
const OLD_LINES_MAX_MS = 1000;

/** The settings of one daemon. */
export class DaemonSettings {
  readonly #options: DaemonOptions;
  #engineConfig: EngineConfig;
  #stopTimes: StopTimes;

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.#engineConfig = this.#engineConfigOf(options.config);
    this.#stopTimes = stopTimesOf(options.config);
    void this.#aim(options.accessOutput, options.config);
  }

  /** The settings as engines know them: another object after each change. */
  get engineConfig(): EngineConfig {
    return this.#engineConfig;
  }

  /** How the balancer stops unless somebody says otherwise. */
  get stopTimes(): StopTimes {
    return this.#stopTimes;
  }

  /** Prepares a change to these settings. Throws an operator error; everything is then as it was. */
  async prepare(texts: SettingTexts): Promise<DaemonStep> {
    const config = parseDaemonConfig(texts);
    requireWholePaths(texts);
    refuseClientsAddress(config, this.#options.addresses());
    const parts = await this.#options.parts?.prepare(config);
    return this.#stepTo(config, parts);
  }

  #stepTo(config: DaemonConfig, parts: PartsStep | undefined): DaemonStep {
    let written = Promise.resolve();
    return {
      adopt: async () => {
        await parts?.adopt();
        this.#engineConfig = this.#engineConfigOf(config);
        this.#stopTimes = stopTimesOf(config);
        if (parts?.accessOutput !== undefined) written = this.#aim(parts.accessOutput, config);
      },
      finish: async () => {
        // Only now: ends that the engine reported before it knew are still written.
        if (parts !== undefined && parts.accessOutput === undefined) written = this.#aim(undefined, config);
        await written;
        await parts?.finish();
      },
      abandon: async () => await parts?.abandon(),
    };
  }

  #aim(output: LineOutput | undefined, { accessLogSample: sample }: DaemonConfig): Promise<void> {
    const target: AccessLogTarget | undefined = output && { output, sample };
    return this.#options.accessLog.aim(target, OLD_LINES_MAX_MS);
  }

  #engineConfigOf({ busyPollMicros, batchMicros, accessLog, accessLogStart, connectionsMax }: DaemonConfig): EngineConfig {
    const { config: { workers }, connectionsAuto } = this.#options;
    const most = connectionsMax === "auto" ? connectionsAuto : connectionsMax;
    return { workers, busyPollMicros, batchMicros, accessLog, accessLogStart, connectionsMax: most };
  }
}

/** Throws a `usage` error if `--http` would be served where clients connect: that port is relayed whole. */
export function refuseClientsAddress({ http }: Pick<DaemonConfig, "http">, addresses: readonly Address[]): void {
  if (http === null || http.port === 0 || !addresses.some((address) => reaches(http, address))) return;
  const why = "clients connect there; choose another port for one of them";
  throw new OperatorError("usage", `Cannot serve --${SETTINGS.http.flag} on ${formatAddress(http)}: ${why}`);
}

function stopTimesOf({ lameDuckMs, graceMs }: DaemonConfig): StopTimes {
  return { lameDuckMs, graceMs };
}

/** The daemon has another working directory than who gives a path. */
function requireWholePaths(texts: SettingTexts): void {
  for (const flag of Object.keys(PATH_SETTINGS)) {
    const text = texts[flag];
    if (text === undefined || !isRelativePath(flag, text)) continue;
    throw new OperatorError("usage", `--${flag} ${JSON.stringify(text)} is not an absolute path: give the whole path`);
  }
}
