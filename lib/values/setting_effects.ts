/** What a change of a setting means while the balancer runs, for `service set`, `daemon set` and the docs. */

import { DAEMON_FLAGS, type DaemonConfig, type ServiceConfig, SETTINGS } from "./config.ts";

/** For whom a changed setting holds, and from when on. */
export const EFFECTS = {
  open: "holds for open connections, too, at once",
  soon: "holds for open connections, too, within a second",
  new: "holds for new connections; open ones keep what they began with",
  clients: "holds for new clients; open connections stay",
  owners: "may give clients another server; open connections stay, and balancerctl rebalance moves them",
  checks: "holds from the next check on",
  limit: "holds for new connections at once; open ones stay, even if they are more",
  workers: "holds for open connections, too, from the next turn of each worker on",
  address: "holds at once, and the earlier address is closed; no connection is affected",
  log: "holds at once; no connection is affected",
  lines: "holds for lines from now on, those of open connections, too",
  starts: "holds for connections that begin from now on",
  file: "holds at once; an earlier file says 1 from then on",
  stop: "holds when the balancer is told to stop",
} as const;
type Effect = keyof typeof EFFECTS;

/** Every setting but those that take a restart. */
type LiveSetting = keyof ServiceConfig | Exclude<keyof DaemonConfig, "engine" | "workers">;

const EFFECT_OF: Readonly<Record<LiveSetting, Effect>> = {
  key: "owners",
  loadBound: "clients",
  policy: "owners",
  serverNames: "clients",
  protocols: "clients",
  helloTimeoutMs: "new",
  tierMin: "clients",
  failBack: "open",
  maxAgeMs: "open",
  ageJitter: "open",
  connectTimeoutMs: "new",
  connectAttemptsMax: "new",
  connectDeadlineMs: "new",
  sources: "new",
  redistribute: "open",
  replayBytesMax: "open",
  replaysMax: "open",
  quietMs: "open",
  check: "checks",
  checkPort: "checks",
  checkHost: "checks",
  checkCa: "checks",
  checkStatus: "checks",
  checkIntervalMs: "checks",
  checkTimeoutMs: "checks",
  rise: "checks",
  fall: "checks",
  restMs: "checks",
  restShare: "checks",
  slowStartMs: "checks",
  proxy: "new",
  acceptProxy: "new",
  proxyTimeoutMs: "new",
  transparent: "new",
  clientConnections: "clients",
  clientRate: "clients",
  allow: "clients",
  deny: "clients",
  limitsDryRun: "clients",
  firstByteTimeoutMs: "open",
  idleTimeoutMs: "open",
  keepAliveMs: "soon",
  userTimeoutMs: "soon",
  serverTimeoutMs: "soon",
  deferAcceptMs: "new",
  connectionsMax: "limit",
  busyPollMicros: "workers",
  batchMicros: "workers",
  http: "address",
  logLevel: "log",
  accessLog: "lines",
  accessLogStart: "starts",
  accessLogSample: "lines",
  trackFile: "file",
  lameDuckMs: "stop",
  graceMs: "stop",
};

/** The settings of the daemon that can change while it runs, grouped by what a change means. */
export function daemonEffects(): { readonly flags: readonly string[]; readonly effect: string }[] {
  const flags = DAEMON_FLAGS.filter((flag) => effectOf(flag) !== undefined);
  return [...Map.groupBy(flags, (flag) => effectOf(flag)!)].map(([effect, flags]) => ({ flags, effect }));
}

/** What a change of the setting with this flag means, as a clause; undefined if there is none that can change while it runs. */
export function effectOf(flag: string): string | undefined {
  const name = Object.entries(SETTINGS).find(([, row]) => row.flag === flag)?.[0];
  return name !== undefined && name in EFFECT_OF ? EFFECTS[EFFECT_OF[name as LiveSetting]] : undefined;
}
