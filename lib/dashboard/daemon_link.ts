/** How the dashboard asks the daemon: over its control socket, as every client does. The daemon opens nothing for it. */

import type { Answers } from "../control/api.ts";
import type { ControlClient, Forwarded } from "../control/client.ts";
import { DURATION_MAX_MS } from "../values/duration.ts";

/** What is known: the last event's number, and the first second of the last step of the series, since 1970. */
export interface Known {
  readonly event: number;
  readonly second: number | undefined;
}

/** What the dashboard asks. Every call throws an operator error if it fails. */
export interface DaemonLink {
  /** How it is now, and what has happened since; undefined: the last event and the last steps alone. */
  look(since: Known | undefined): Promise<Answers["look"]>;
  /** Passes a request on. */
  forward(method: string, path: string, body: unknown): Promise<Forwarded>;
}

/** Asks by a client of the control socket. */
export function linkTo(client: ControlClient): DaemonLink {
  return {
    look: (since) => client.look(since === undefined ? {} : { event: String(since.event), second: textOf(since.second) }),
    // A removal is answered when its last connection has ended.
    forward: (method, path, body) => client.forward(method, path, { body, waitMs: method === "GET" ? 0 : DURATION_MAX_MS }),
  };
}

function textOf(second: number | undefined): string | undefined {
  return second === undefined ? undefined : String(second);
}
