/**
 * What may happen to a connection whose server is lost or should be left. Pure: what is known of the connection, how the loss was
 * noticed and what the operator allows come in, one verdict comes out; the engines carry it out. What a connection has been through is
 * kept as bits (FACT), which change when the client or the server has spoken, and in no other way.
 *
 * TCP permits this: a connection can go to another server as long as nothing of its client's reached one (`unsent`), by saying
 * again what the client said while no answer had begun (`unanswered`), and between two exchanges that stand alone (`idle`). In the
 * middle of an answer (`busy`) it cannot.
 */

import type { Level } from "../values/config.ts";
import type { Fate } from "../values/fates.ts";
import { UPGRADE } from "./http_answer.ts";

/** What the operator allows. */
export interface RedistributionPolicy {
  readonly redistribute: Level;
  /** How long both sides have said nothing when an exchange counts as over, in ms. */
  readonly quietMs: number;
  /** How often the same bytes may be sent again: those that kill a server must not kill them all. */
  readonly replaysMax: number;
  /** Bytes kept for that, per connection. */
  readonly replayBytesMax: number;
}

/** What is known of a connection, as bits. */
export const FACT = {
  /** Bytes of the client's went to a server. */
  sent: 1 << 0,
  /** A server has said something. */
  answered: 1 << 1,
  /** The client was the last to speak. */
  awaitingAnswer: 1 << 2,
  /** All that it said since then, or since the beginning, is kept and can be said again. */
  recorded: 1 << 3,
  /** What the client said looks like TLS. */
  tls: 1 << 4,
  /** Never to be moved: the server spoke first, has answered in TLS, or has changed to another protocol. */
  pinned: 1 << 5,
  /** Bytes are on their way through the engine. */
  moving: 1 << 6,
  /** The client has sent its end. */
  clientEnded: 1 << 7,
  /** What the server said last was an interim answer: its client may be in the middle of its request. */
  interim: 1 << 8,
  /** How far that has come: see `http_answer.ts`. */
  progress: 31 << 9,
} as const;

const PROGRESS_SHIFT = 9;

/** S0 to S3: nothing sent; sent and not answered; between two exchanges; in the middle of one. */
export const STATES = ["unsent", "unanswered", "idle", "busy"] as const;
/** One of STATES. */
export type ConnectionState = typeof STATES[number];

/** All of Loss. */
export const LOSSES = ["reset", "end", "silent", "drain", "expired", "rebalance"] as const;
/**
 * How a server is lost, or why it should be left:
 * - `reset`: it reset the connection, acknowledges nothing any more, or does not accept when asked again;
 * - `end`: it sent its end, which a killed process does as well as one that has finished;
 * - `silent`: its checks fail because nothing answers; it may not know that it is lost;
 * - `drain`: the operator wants it empty, and there is time;
 * - `expired`: there is no time left;
 * - `rebalance`: it serves, but the ring gives this client to another.
 */
export type Loss = typeof LOSSES[number];

/**
 * What is to be done: go to another server; do so and say again what the client said; dial the server again, to learn whether its end
 * was meant; leave it for now and look again later; stay; pass the end on; or end the connection with a reset.
 */
export type Verdict = "move" | "replay" | "probe" | "wait" | "stay" | "passOn" | "cut";

/** Where the connection may leave its server, what it does. */
const VERDICTS: Readonly<Record<Loss, Readonly<Record<Exclude<ConnectionState, "busy">, Verdict>>>> = {
  reset: { unsent: "move", unanswered: "replay", idle: "move" },
  end: { unsent: "probe", unanswered: "probe", idle: "probe" },
  silent: { unsent: "move", unanswered: "replay", idle: "move" },
  drain: { unsent: "move", unanswered: "replay", idle: "move" },
  expired: { unsent: "move", unanswered: "replay", idle: "move" },
  rebalance: { unsent: "move", unanswered: "stay", idle: "move" },
};

/** Where it may not. */
const OTHERWISE: Readonly<Record<Loss, Verdict>> = {
  reset: "cut",
  end: "passOn",
  silent: "cut",
  drain: "wait",
  expired: "cut",
  rebalance: "stay",
};

/**
 * How long a server that accepts when it is asked again must leave that connection alone. The system closes a killed process's
 * descriptors one by one, on Linux the newest first: its connections end before its listener does, which still accepts meanwhile and
 * then resets what nobody took. That takes 40 ms for 2,000 connections, and 650 ms where four other processes want the same core; but
 * the ends come one after another until then. So the time counts from the last of them.
 */
const PROBE_MS = 200;
/** It is no longer than this: a server that ends idle connections all the time is not dying. */
const PROBE_MAX_MS = 2000;

/**
 * When a server that accepted at `acceptedMs`, being asked whether its end was meant, is known to be there; `lastEndMs` is when it last ended
 * a connection that was waiting or quiet.
 */
export function probedUntilMs(acceptedMs: number, lastEndMs: number): number {
  return Math.min(Math.max(acceptedMs, lastEndMs) + PROBE_MS, acceptedMs + PROBE_MAX_MS);
}

/** The first bytes of a TLS record that carries a handshake, whatever its version (RFC 8446, section 5.1): type 22, then 3. */
const TLS_HANDSHAKE = 22;
const TLS_MAJOR = 3;

/** Whether what begins with these two bytes looks like TLS; `second` is undefined if only one is there. */
export function looksLikeTls(first: number, second: number | undefined): boolean {
  return first === TLS_HANDSHAKE && (second === undefined || second === TLS_MAJOR);
}

/**
 * The facts when bytes of the client's have been read. `quietForMs` is how long nothing had moved. What is said first is kept; later
 * only what begins an exchange that stands alone, so far as one can see: after silence.
 */
export function onClientBytes(
  { redistribute, quietMs }: RedistributionPolicy,
  facts: number,
  quietForMs: number,
  isTls: boolean,
): number {
  if ((facts & FACT.awaitingAnswer) !== 0) return facts;
  const begins = (facts & FACT.answered) === 0
    ? redistribute !== "new"
    : redistribute === "idle" && (facts & FACT.pinned) === 0 && quietForMs >= quietMs;
  return facts | FACT.awaitingAnswer | (begins ? FACT.recorded : 0) | (isTls ? FACT.tls : 0);
}

/** From where `classifyAnswer` is to read on. */
export function progressOf(facts: number): number {
  return (facts & FACT.progress) >>> PROGRESS_SHIFT;
}

/**
 * The facts when bytes of the server's have been read, which `classifyAnswer` has judged: from now on what the client said is never said again. After an interim answer the
 * exchange goes on, however long both are quiet: the client may send the rest of its request, which is none without its beginning.
 */
export function onServerBytes(facts: number, answer: number): number {
  const spokeFirst = (facts & (FACT.awaitingAnswer | FACT.sent | FACT.answered)) === 0;
  const pins = spokeFirst || (facts & FACT.tls) !== 0 || answer === UPGRADE;
  const goesOn = answer >= 0 ? FACT.interim | FACT.awaitingAnswer | answer << PROGRESS_SHIFT : 0;
  return facts & ~(FACT.awaitingAnswer | FACT.recorded | FACT.interim | FACT.progress) | FACT.answered | (pins ? FACT.pinned : 0) |
    goesOn;
}

/** What is so of a connection only at the moment of asking. */
export interface Momentary {
  /** Bytes were read from one side and not yet taken by the other, or can be read. */
  readonly isInTransit: boolean;
  readonly hasClientEnded: boolean;
  /** The server's end was passed on: the client would hear no other server. */
  readonly hasServerEnded: boolean;
}

/** A connection whose server's end was passed on never moves. */
const NEVER_MOVED = FACT.sent | FACT.answered | FACT.awaitingAnswer;

/** All FACT bits of a connection: those that it has been through, and those of the moment. */
export function factsNow(facts: number, { isInTransit, hasClientEnded, hasServerEnded }: Momentary): number {
  if (hasServerEnded) return NEVER_MOVED;
  return facts | (isInTransit ? FACT.moving : 0) | (hasClientEnded ? FACT.clientEnded : 0);
}

/** The facts when there is no room to keep what the client says. */
export function forgetRecording(facts: number): number {
  return facts & ~FACT.recorded;
}

/** Where a connection is in its exchange. `quietForMs` is how long nothing has moved. */
export function stateOf(quietMs: number, facts: number, quietForMs: number): ConnectionState {
  if ((facts & (FACT.sent | FACT.answered)) === 0) return "unsent";
  if ((facts & FACT.awaitingAnswer) !== 0) {
    return (facts & FACT.recorded) !== 0 || (facts & FACT.answered) === 0 ? "unanswered" : "busy";
  }
  if ((facts & (FACT.moving | FACT.clientEnded)) !== 0 || quietForMs < quietMs) return "busy";
  return "idle";
}

/**
 * What is to be done with a connection; `replays` counts how often what its client asks has been sent again. For a server that is
 * `silent`, `quietForMs` is how long the connection had been quiet when the server was last known to be well: what is silent because
 * it is dead has not come to the end of an answer by that.
 */
export function decide(policy: RedistributionPolicy, loss: Loss, facts: number, quietForMs: number, replays: number): Verdict {
  const state = stateOf(policy.quietMs, facts, quietForMs);
  if (loss === "end" && state === "unsent" && (facts & FACT.clientEnded) !== 0) return "passOn"; // neither has a word to say
  if (state === "busy" || !isAllowed(policy, state, facts, replays)) return OTHERWISE[loss];
  if (loss === "drain" && state === "unanswered" && quietForMs < policy.quietMs) return "wait"; // the answer may be coming
  return VERDICTS[loss][state];
}

/**
 * The fate of a connection that is cut: `redistribute_refused` where the operator's level covers what it was doing and something else
 * stood in the way.
 */
export function fateOfCut({ redistribute, quietMs }: RedistributionPolicy, loss: Loss, facts: number, quietForMs: number): Fate {
  if (loss === "expired") return "removed";
  const state = stateOf(quietMs, facts, quietForMs);
  const isFirst = (facts & FACT.answered) === 0;
  const isCovered = state === "idle" || (state === "unanswered" && !isFirst)
    ? redistribute === "idle"
    : state === "unanswered" && redistribute !== "new";
  return isCovered ? "redistribute_refused" : "server_lost";
}

/**
 * How long a client may say nothing whose answer a silent server may have cut. If it speaks, its answer was whole, and it can go to
 * another server; if not, it may be waiting for the rest, which will never come.
 */
const DOUBT_MS = 2500;

/**
 * Whether a connection that may not leave a silent server is cut: the server has said nothing on it for `heardForMs`, its checks have
 * failed for `silentMs`. Where it could leave if the client spoke there is time for that.
 */
export function isCutBySilence(
  { redistribute }: RedistributionPolicy,
  facts: number,
  heardForMs: number,
  silentMs: number,
): boolean {
  const isInDoubt = redistribute === "idle" && (facts & (FACT.awaitingAnswer | FACT.pinned | FACT.clientEnded)) === 0;
  return heardForMs >= silentMs + (isInDoubt ? DOUBT_MS : 0);
}

/** Whether the operator lets a connection in this state leave its server. */
function isAllowed(
  { redistribute, replaysMax }: RedistributionPolicy,
  state: ConnectionState,
  facts: number,
  replays: number,
): boolean {
  if (state === "unsent") return true;
  if ((facts & FACT.pinned) !== 0) return false;
  if (state === "idle") return redistribute === "idle";
  return (facts & FACT.recorded) !== 0 && replays < replaysMax;
}
