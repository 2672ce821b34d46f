/** What the API shows of services, servers and checks. Types only. */

import type { ServerState } from "../routing/availability.ts";
import type { CheckStep } from "../health/check_steps.ts";
import type { SettingTexts } from "../values/config.ts";
import type { Fate } from "../values/fates.ts";
import type { ServerSettings } from "../values/server_settings.ts";
import type { PauseView } from "./pause.ts";

/** A connection that a server did not accept, or lost before it answered. */
export interface ConnectFailure {
  readonly at: Date;
  readonly reason: string;
}

/** A server as the API shows it. */
export interface ServerView extends ServerSettings {
  /** `address:port`. */
  readonly server: string;
  readonly slot: number;
  readonly state: ServerState;
  /** When this state began. */
  readonly since: Date;
  /** The reason of the state, as a clause; null while the server is up. */
  readonly reason: string | null;
  /** When it is checked next; null if it is not checked. */
  readonly nextCheckAt: Date | null;
  readonly open: number;
  /** Connections that moved to another server. */
  readonly movedAway: number;
  readonly connects: number;
  readonly connectFailures: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** The last connection that it did not accept, or lost before it answered; null for none. */
  readonly lastFailure: ConnectFailure | null;
  /** Its share of all keys, from 0 to 1. */
  readonly share: number;
  readonly fates: Readonly<Record<Fate, number>>;
}

/** The ring as the API shows it. */
export interface RingView {
  readonly fingerprint: string;
  readonly points: number;
  readonly peakToMean: number;
}

/** A listener as the API shows it. */
export interface ListenerView {
  /** `address:port`, or `address:port-port`. */
  readonly listener: string;
  /** Why it is not open, as a sentence; null: it is. */
  readonly fault: string | null;
}

/** The clients of a service who wait for a server. */
export interface HoldView {
  readonly waiting: number;
  /** How long each may wait (`--hold`); 0: not at all. */
  readonly timeMs: number;
  /** Null: there is none. */
  readonly pause: PauseView | null;
}

/** A service as the API shows it. */
export interface ServiceView {
  readonly service: string;
  readonly listeners: readonly ListenerView[];
  /** The settings that were given, by flag. */
  readonly settings: SettingTexts;
  readonly servers: Readonly<Record<ServerState, number>>;
  readonly open: number;
  readonly accepted: number;
  readonly hold: HoldView;
  readonly fingerprint: string;
  /** Whether it has left the state and only waits for its last connections. */
  readonly removing: boolean;
}

/** A check that was made when somebody asked for it. */
export interface CheckReport {
  readonly server: string;
  /** The check in the form of `--check`, and the `address:port` that it asked. */
  readonly check: string;
  readonly asked: string;
  readonly steps: readonly CheckStep[];
  readonly verdict: "passed" | "asks to be drained" | "failed";
  /** Why it failed, as a clause; null if it did not. */
  readonly reason: string | null;
  readonly durationMs: number;
}
