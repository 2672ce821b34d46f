/**
 * How a connection leaves its server: the one policy that every engine carries out. `redistribution.ts` says whether a connection may
 * leave; this says which servers are tried, what calls the departure off, when it is tried again, what it counts as, and the fate of a
 * client that no server takes. Pure: an engine asks and acts.
 */

import type { Fate } from "../values/fates.ts";
import type { ConnectionState, Loss } from "./redistribution.ts";
import type { Choice } from "./route.ts";

/** What can happen while another server is dialled: the client or the server sends bytes, or the operator cancels the drain. */
export const INTERRUPTIONS = ["client", "server", "undrain"] as const;
export type Interruption = typeof INTERRUPTIONS[number];

/** What a loss means for the departure that follows it. */
interface Rules {
  /** The servers that are tried. */
  readonly choice: Choice;
  /** The server may still be alive: its socket is kept until another server has accepted. */
  readonly keepsServer: boolean;
  /** What makes the connection stay with the server that it has. */
  readonly calledOffBy: readonly Interruption[];
}

/**
 * The rules of each loss. A server that serves (`drain`, `rebalance`) need not be left, so a client that speaks is answered by it at once.
 * A `silent` one may not hear its client, so only its own bytes prove that it is alive. At the end of the drain time nothing counts any more.
 */
export const DEPARTURES: Readonly<Record<Loss, Rules>> = {
  reset: { choice: "any", keepsServer: false, calledOffBy: [] },
  end: { choice: "any", keepsServer: false, calledOffBy: [] },
  silent: { choice: "serving", keepsServer: true, calledOffBy: ["server"] },
  drain: { choice: "serving", keepsServer: true, calledOffBy: ["client", "server", "undrain"] },
  expired: { choice: "any", keepsServer: true, calledOffBy: [] },
  rebalance: { choice: "owner", keepsServer: true, calledOffBy: ["client", "server"] },
};

/** Whether the departure ends here, and the connection stays with its server. */
export function isCalledOff(loss: Loss, by: Interruption): boolean {
  return DEPARTURES[loss].calledOffBy.includes(by);
}

/** How long a connection that no other server took stays before others are tried again, in ms. */
const RETRY_MS = 1000;

/** When a connection that stays may depart again, in ms from now. One whose client or server spoke is quiet again after `quietMs`. */
export function retryAfterMs(why: "nobodyTookIt" | "calledOff", quietMs: number): number {
  return why === "calledOff" ? Math.min(quietMs, RETRY_MS) : RETRY_MS;
}

/**
 * Whether a departure goes on with the attempts and the time that the last one left. Servers that accept a connection and lose it soon,
 * without a byte, are tried as often as in one search; otherwise a client could go round a dying pool for ever.
 */
export function sharesBudget(loss: Loss, hasServed: boolean, connectedForMs: number, connectDeadlineMs: number): boolean {
  return loss === "reset" && !hasServed && connectedForMs <= connectDeadlineMs;
}

/** The fate of a client that never had a server. */
export function fateOfUnserved(attempts: number, serverCount: number): Fate {
  if (attempts > 0) return "connect_failed";
  return serverCount === 0 ? "no_server" : "refused_limit";
}

/** The fate of a departing connection that no server took; undefined: it stays, as it still has its server. */
export function fateOfUntaken(loss: Loss, state: ConnectionState, hasServer: boolean): Fate | undefined {
  if (loss === "expired") return "removed";
  if (hasServer) return undefined;
  return state === "unsent" ? "connect_failed" : "server_lost";
}

/** The fate of a connection both of whose directions have ended; a side has failed if it closed before it had taken everything. */
export function fateOfEnds({ clientFailed, serverFailed }: { clientFailed: boolean; serverFailed: boolean }): Fate {
  if (clientFailed) return "client_gone";
  return serverFailed ? "server_closed" : "done";
}

/** The counter of a connection that moved, by what it was doing. A busy one cannot move. */
export const MOVED_COUNTERS = {
  unsent: "movedUnsent",
  unanswered: "movedUnanswered",
  idle: "movedIdle",
} as const satisfies Record<Exclude<ConnectionState, "busy">, string>;

/** What came of probing a server that had sent its end: `unasked` where this machine could not dial, `gone` where it left the pool. */
export const PROBE_RESULTS = ["accepted", "unasked", "failed", "gone"] as const;
export type ProbeResult = typeof PROBE_RESULTS[number];

/** Whether the end was meant, and is passed on; if not, the server is lost. And whether the probe counts as the server's failure. */
export const PROBES: Readonly<Record<ProbeResult, { readonly endWasMeant: boolean; readonly countsAsFailure: boolean }>> = {
  accepted: { endWasMeant: true, countsAsFailure: false },
  unasked: { endWasMeant: true, countsAsFailure: false },
  failed: { endWasMeant: false, countsAsFailure: true },
  gone: { endWasMeant: false, countsAsFailure: false },
};
