/**
 * How a connection leaves its server: one policy for every engine. `redistribution.ts` decides whether a connection may leave. This
 * module decides which servers are tried, what calls the departure off, when it is retried, which counter it raises, and the fate
 * of a client that no server accepts. Pure: the engine calls it and acts.
 */

import type { Fate } from "../values/fates.ts";
import type { ConnectionState, Loss } from "./redistribution.ts";
import type { Choice } from "./route.ts";

/** What can happen while another server is dialled: the client or the server sends bytes, or the operator cancels the drain. */
export const INTERRUPTIONS = ["client", "server", "undrain"] as const;
type Interruption = typeof INTERRUPTIONS[number];

/** What a loss means for the departure that follows it. */
interface Rules {
  /** The servers to try. */
  readonly choice: Choice;
  /** The server may still be alive: its socket is kept until another server has accepted. */
  readonly keepsServer: boolean;
  /** What makes the connection stay with its server. */
  readonly calledOffBy: readonly Interruption[];
}

/**
 * The rules of each loss. A server that still serves (`drain`, `rebalance`, `command`) can answer at once, so bytes of the client
 * call the departure off. A `silent` server may not receive the client's bytes, so only its own bytes prove that it is alive.
 * After the drain time (`expired`) nothing calls the departure off.
 */
export const DEPARTURES: Readonly<Record<Loss, Rules>> = {
  reset: { choice: "any", keepsServer: false, calledOffBy: [] },
  end: { choice: "any", keepsServer: false, calledOffBy: [] },
  silent: { choice: "serving", keepsServer: true, calledOffBy: ["server"] },
  drain: { choice: "serving", keepsServer: true, calledOffBy: ["client", "server", "undrain"] },
  expired: { choice: "any", keepsServer: true, calledOffBy: [] },
  rebalance: { choice: "owner", keepsServer: true, calledOffBy: ["client", "server"] },
  command: { choice: "serving", keepsServer: true, calledOffBy: ["client", "server"] },
};

/** Whether this interruption calls the departure off, so that the connection stays with its server. */
export function isCalledOff(loss: Loss, by: Interruption): boolean {
  return DEPARTURES[loss].calledOffBy.includes(by);
}

/** Pause before other servers are tried again, after none has accepted the connection, in ms. */
const RETRY_MS = 1000;

/**
 * Whether a departure waits for the end of the pause after nobody took the connection. `expired` waits for nothing, and neither
 * does a person (`command`).
 */
export function isPausing(loss: Loss, nowMs: number, retryAtMs: number): boolean {
  return loss !== "expired" && loss !== "command" && DEPARTURES[loss].keepsServer && nowMs < retryAtMs;
}

/** When a connection that stays may depart again, in ms from now. After either side has sent, it can be quiet after `quietMs`. */
export function retryAfterMs(why: "nobodyTookIt" | "calledOff", quietMs: number): number {
  return why === "calledOff" ? Math.min(quietMs, RETRY_MS) : RETRY_MS;
}

/**
 * Whether a departure continues with the attempts and the time that the previous one left. Servers that accept a connection and
 * soon lose it without sending a byte share one budget; otherwise a client could go round a dying pool for ever.
 */
export function sharesBudget(loss: Loss, hasServed: boolean, connectedForMs: number, connectDeadlineMs: number): boolean {
  return loss === "reset" && !hasServed && connectedForMs <= connectDeadlineMs;
}

/** The fate of a client that never had a server. */
export function fateOfUnserved(attempts: number, serverCount: number): Fate {
  if (attempts > 0) return "connect_failed";
  return serverCount === 0 ? "no_server" : "refused_limit";
}

/** The fate of a departing connection that no server accepted; undefined: it still has its server and stays there. */
export function fateOfUntaken(loss: Loss, state: ConnectionState, hasServer: boolean): Fate | undefined {
  if (loss === "expired") return "removed";
  if (hasServer) return undefined;
  return state === "unsent" ? "connect_failed" : "server_lost";
}

/** The fate of a connection whose two directions have ended. A side has failed if it closed before it had received everything. */
export function fateOfEnds({ clientFailed, serverFailed }: { clientFailed: boolean; serverFailed: boolean }): Fate {
  if (clientFailed) return "client_gone";
  return serverFailed ? "server_closed" : "done";
}

/** The counter to raise for a moved connection, by its state. A busy connection cannot move. */
export const MOVED_COUNTERS = {
  unsent: "movedUnsent",
  unanswered: "movedUnanswered",
  idle: "movedIdle",
} as const satisfies Record<Exclude<ConnectionState, "busy">, string>;

/** The states in which connections move. */
export type MovableState = keyof typeof MOVED_COUNTERS;

/** Results of probing a server that has sent FIN. `unasked`: this machine could not dial. `gone`: the server has left the pool. */
export const PROBE_RESULTS = ["accepted", "unasked", "failed", "gone"] as const;
export type ProbeResult = typeof PROBE_RESULTS[number];

/**
 * Whether the FIN was meant and is passed on (otherwise the server is lost), and whether the result counts as the server's failure.
 */
export const PROBES: Readonly<Record<ProbeResult, { readonly endWasMeant: boolean; readonly countsAsFailure: boolean }>> = {
  accepted: { endWasMeant: true, countsAsFailure: false },
  unasked: { endWasMeant: true, countsAsFailure: false },
  failed: { endWasMeant: false, countsAsFailure: true },
  gone: { endWasMeant: false, countsAsFailure: false },
};
