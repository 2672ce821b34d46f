/** How the dashboard asks the daemon: over its control socket, as every client does. The daemon opens nothing for it. */

import type { Answers } from "../control/api.ts";
import type { ControlClient, Forwarded } from "../control/client.ts";
import { DURATION_MAX_MS } from "../values/duration.ts";
import type { ServiceServers } from "./live_messages.ts";

/** The last step of a series that is known: its first second, since 1970. */
export type SeriesPlace = number | undefined;

/** What the dashboard asks. Every call throws an operator error if it fails. */
export interface DaemonLink {
  status(): Promise<Answers["status"]>;
  servers(service: string): Promise<ServiceServers>;
  /** Events after this number; undefined: the last one alone. */
  events(after: number | undefined): Promise<Answers["events"]>;
  /** Steps after this place; undefined: the last ones. */
  series(after: SeriesPlace): Promise<Answers["series"]>;
  /** Passes a request on. */
  forward(method: string, path: string, body: unknown): Promise<Forwarded>;
}

/** Seconds of the series in the first look. */
const FIRST_SECONDS = "2";

/** Asks by clients of the control socket; `clientOf` gives the one whose requests concern a service. */
export function linkTo(client: ControlClient, clientOf: (service: string) => ControlClient): DaemonLink {
  return {
    status: () => client.status(),
    servers: async (service) => ({ service, ...await clientOf(service).list() }),
    events: (after) => client.events(after === undefined ? { limit: "1" } : { after: String(after) }),
    series: (after) => client.series(after === undefined ? { seconds: FIRST_SECONDS } : { after: String(after) }),
    // A removal is answered when its last connection has ended.
    forward: (method, path, body) => client.forward(method, path, { body, waitMs: method === "GET" ? 0 : DURATION_MAX_MS }),
  };
}
