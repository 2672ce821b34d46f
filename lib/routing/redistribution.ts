/**
 * Decides what happens to a connection whose server is lost or should be left. Pure: the facts about the connection, the kind of
 * loss and the operator's policy come in; one verdict comes out, and the engines carry it out. The history of a connection is kept
 * as bits (FACT), which change only when the client or the server sends bytes.
 *
 * TCP lets a connection move to another server in three states: while no byte of the client has reached a server (`unsent`); while
 * no answer has begun, by replaying the client's bytes (`unanswered`); and between two independent exchanges (`idle`). It cannot
 * move in the middle of an answer (`busy`).
 */

import type { Level } from "../values/config.ts";
import type { Fate } from "../values/fates.ts";
import { UPGRADE } from "./http_answer.ts";

/** What the operator allows. */
export interface RedistributionPolicy {
  readonly redistribute: Level;
  /** Both sides must have been silent for this long before an exchange counts as over, in ms. */
  readonly quietMs: number;
  /** How often the same bytes may be replayed, so that one poisonous request cannot take down every server. */
  readonly replaysMax: number;
  /** Bytes recorded for replay, per connection. */
  readonly replayBytesMax: number;
}

/** The history of a connection, as bits. */
export const FACT = {
  /** Bytes of the client have been sent to a server. */
  sent: 1 << 0,
  /** A server has sent bytes. */
  answered: 1 << 1,
  /** The client was the last side to send. */
  awaitingAnswer: 1 << 2,
  /** All bytes that the client has sent since the last answer, or since the start, are recorded and can be replayed. */
  recorded: 1 << 3,
  /** The client's bytes look like TLS. */
  tls: 1 << 4,
  /** Never moves: the server sent first, has answered in TLS, or has switched protocols. */
  pinned: 1 << 5,
  /** Bytes are in transit through the engine. */
  moving: 1 << 6,
  /** The client has sent FIN. */
  clientEnded: 1 << 7,
  /** The server's last bytes were an interim answer: the client may be in the middle of its request. */
  interim: 1 << 8,
  /** How far that answer has been parsed: see `http_answer.ts`. */
  progress: 31 << 9,
} as const;

/** Whether the client or a server has sent a byte. A FIN is none. */
export function hasBegun(facts: number): boolean {
  return (facts & (FACT.sent | FACT.answered | FACT.awaitingAnswer | FACT.moving)) !== 0;
}

const PROGRESS_SHIFT = 9;

/** S0 to S3: nothing sent; sent but not answered; between two exchanges; in the middle of one. */
export const STATES = ["unsent", "unanswered", "idle", "busy"] as const;
export type ConnectionState = typeof STATES[number];

/** States of a connection, in the order in which a plan lists them: it has no server yet, or one of STATES. */
export const PLANNED_STATES = ["dialling", ...STATES] as const;
/** A state of a connection in a plan. */
export type PlannedState = typeof PLANNED_STATES[number];

/** The kinds of loss, explained at Loss. */
export const LOSSES = ["reset", "end", "silent", "drain", "expired", "rebalance", "command"] as const;
/**
 * How a server is lost, or why a connection should leave it:
 * - `reset`: it reset the connection, stopped acknowledging, or did not accept a probe;
 * - `end`: it sent FIN, which the kernel also does for a killed process;
 * - `silent`: its checks get no answer; the server itself may still believe that the connection is alive;
 * - `drain`: the operator drains it, and there is time left;
 * - `expired`: the drain time is over;
 * - `rebalance`: it serves, but the ring assigns this client to another server;
 * - `command`: it serves, but a person moves this connection away (balancerctl move).
 */
export type Loss = typeof LOSSES[number];

/**
 * What to do with the connection. `move`: connect it to another server. `replay`: the same, and send the recorded bytes again.
 * `probe`: dial the server again, to learn whether it meant its FIN. `wait`: keep the server for now and decide again later.
 * `stay`: keep the server. `passOn`: pass the FIN on. `cut`: reset the connection.
 */
export type Verdict = "move" | "replay" | "probe" | "wait" | "stay" | "passOn" | "cut";

/** The verdict for a connection that may leave its server. */
const VERDICTS: Readonly<Record<Loss, Readonly<Record<Exclude<ConnectionState, "busy">, Verdict>>>> = {
  reset: { unsent: "move", unanswered: "replay", idle: "move" },
  end: { unsent: "probe", unanswered: "probe", idle: "probe" },
  silent: { unsent: "move", unanswered: "replay", idle: "move" },
  drain: { unsent: "move", unanswered: "replay", idle: "move" },
  expired: { unsent: "move", unanswered: "replay", idle: "move" },
  rebalance: { unsent: "move", unanswered: "stay", idle: "move" },
  command: { unsent: "move", unanswered: "replay", idle: "move" },
};

/** The verdict for a connection that may not. */
const OTHERWISE: Readonly<Record<Loss, Verdict>> = {
  reset: "cut",
  end: "passOn",
  silent: "cut",
  drain: "wait",
  expired: "cut",
  rebalance: "stay",
  command: "stay",
};

/**
 * Why a connection may not leave its server now: those that nothing but another setting ends come first.
 * - `pinned`: the server spoke first, has answered in TLS, or has switched protocols;
 * - `level`: `--redistribute` allows no move in this state;
 * - `replays`: its request was replayed as often as allowed;
 * - `unrecorded`: it awaits an answer, and not all that the client has said is recorded;
 * - `ending`: the client has sent FIN and may still get the rest of an answer;
 * - `transit`: bytes are on their way through the engine;
 * - `recent`: bytes have just passed, and more may follow;
 * - `awaited`: its request was sent a moment ago, and the answer may be on its way.
 */
export const HINDRANCES = ["pinned", "level", "replays", "unrecorded", "ending", "transit", "recent", "awaited"] as const;
export type Hindrance = typeof HINDRANCES[number];

/**
 * How long a probe watches the server after it has accepted. The kernel closes the descriptors of a killed process one by one, on
 * Linux the newest first. So the connections end before the listener does; until then the listener still accepts, and afterwards
 * the kernel resets what the process never accepted. This takes 40 ms for 2,000 connections, and 650 ms when four other processes
 * want the same core, with FINs arriving one after another all the while. So the time is measured from the last of them.
 */
const PROBE_MS = 200;
/** The longest watch: a server that keeps ending idle connections is not dying. */
const PROBE_MAX_MS = 2000;

/**
 * When a probe that was accepted at `acceptedMs` may conclude that the server is alive. `lastEndMs` is when the server last ended a
 * connection that was waiting or quiet.
 */
export function probedUntilMs(acceptedMs: number, lastEndMs: number): number {
  return Math.min(Math.max(acceptedMs, lastEndMs) + PROBE_MS, acceptedMs + PROBE_MAX_MS);
}

/** The first bytes of a TLS record that carries a handshake, whatever its version (RFC 8446, section 5.1): type 22, then 3. */
const TLS_HANDSHAKE = 22;
const TLS_MAJOR = 3;

/** Whether bytes that begin with these two look like TLS; `second` is undefined if there is only one. */
export function looksLikeTls(first: number, second: number | undefined): boolean {
  return first === TLS_HANDSHAKE && (second === undefined || second === TLS_MAJOR);
}

/**
 * The facts after bytes of the client were read. `quietForMs` is how long the connection had been quiet. The first request is
 * recorded; later ones are recorded only if they seem to begin an independent exchange, that is, after a pause.
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

/** The progress from which `classifyAnswer` continues. */
export function progressOf(facts: number): number {
  return (facts & FACT.progress) >>> PROGRESS_SHIFT;
}

/**
 * The facts after bytes of the server were read; `answer` is the result of `classifyAnswer`. From now on the request is never
 * replayed. After an interim answer the exchange continues, however long both sides are quiet: the client may still send the rest
 * of its request, and another server could not understand the rest without the beginning.
 */
export function onServerBytes(facts: number, answer: number): number {
  // A server that was sent nothing greets: what the client may have said already is still to be answered.
  if ((facts & (FACT.sent | FACT.answered)) === 0) return facts & ~FACT.recorded | FACT.answered | FACT.pinned;
  const pins = (facts & FACT.tls) !== 0 || answer === UPGRADE;
  const goesOn = answer >= 0 ? FACT.interim | FACT.awaitingAnswer | answer << PROGRESS_SHIFT : 0;
  return facts & ~(FACT.awaitingAnswer | FACT.recorded | FACT.interim | FACT.progress) | FACT.answered | (pins ? FACT.pinned : 0) |
    goesOn;
}

/** The facts that hold only at the moment of the decision. */
interface Momentary {
  /** Bytes can be read from one side, or were read and not yet written to the other. */
  readonly isInTransit: boolean;
  readonly hasClientEnded: boolean;
  /** The server's FIN was passed on: the client would not accept bytes from another server. */
  readonly hasServerEnded: boolean;
}

/** The facts of a connection whose server's FIN was passed on. They make it busy for ever, so it never moves. */
const NEVER_MOVED = FACT.sent | FACT.answered | FACT.awaitingAnswer;

/** All FACT bits of a connection: its history, and the facts of the moment. */
export function factsNow(facts: number, { isInTransit, hasClientEnded, hasServerEnded }: Momentary): number {
  if (hasServerEnded) return NEVER_MOVED;
  return facts | (isInTransit ? FACT.moving : 0) | (hasClientEnded ? FACT.clientEnded : 0);
}

/** The facts after recording had to stop for lack of room. */
export function forgetRecording(facts: number): number {
  return facts & ~FACT.recorded;
}

/** Where a connection is in its exchange. `quietForMs` is how long no byte has been relayed. */
export function stateOf(quietMs: number, facts: number, quietForMs: number): ConnectionState {
  if ((facts & (FACT.sent | FACT.answered)) === 0) return "unsent";
  if ((facts & FACT.awaitingAnswer) !== 0) {
    return (facts & FACT.recorded) !== 0 || (facts & FACT.answered) === 0 ? "unanswered" : "busy";
  }
  if ((facts & (FACT.moving | FACT.clientEnded)) !== 0 || quietForMs < quietMs) return "busy";
  return "idle";
}

/** Losses of a server that serves, and whose answer may be on its way. */
const MAY_BE_ANSWERED: readonly Loss[] = ["drain", "command"];

/**
 * Decides what to do with a connection. `replays` counts how often its request has been replayed. For a `silent` server,
 * `quietForMs` is how long the connection had been quiet at the server's last successful check: silence after that may be the death
 * of the server and not the end of an answer.
 */
export function decide(policy: RedistributionPolicy, loss: Loss, facts: number, quietForMs: number, replays: number): Verdict {
  const state = stateOf(policy.quietMs, facts, quietForMs);
  if (loss === "end" && state === "unsent" && (facts & FACT.clientEnded) !== 0) return "passOn"; // both finished without sending
  if (state === "busy" || hindranceIn(state, policy, facts, replays) !== undefined) return OTHERWISE[loss];
  if (MAY_BE_ANSWERED.includes(loss) && isAwaited(state, policy, quietForMs)) return OTHERWISE[loss];
  return VERDICTS[loss][state];
}

function isAwaited(state: ConnectionState, { quietMs }: RedistributionPolicy, quietForMs: number): boolean {
  return state === "unanswered" && quietForMs < quietMs;
}

/** Why a connection may not leave a server that serves; undefined: it may. Arguments as for `decide`. */
export function hindranceOf(
  policy: RedistributionPolicy,
  facts: number,
  quietForMs: number,
  replays: number,
): Hindrance | undefined {
  const state = stateOf(policy.quietMs, facts, quietForMs);
  const lasting = hindranceIn(state, policy, facts, replays);
  if (lasting !== undefined) return lasting;
  if (state === "busy") return hindranceOfBusy(facts);
  return isAwaited(state, policy, quietForMs) ? "awaited" : undefined;
}

/** Of a connection in the middle of an exchange that it may leave afterwards. */
function hindranceOfBusy(facts: number): Hindrance {
  if ((facts & FACT.awaitingAnswer) !== 0) return "unrecorded";
  if ((facts & FACT.clientEnded) !== 0) return "ending";
  return (facts & FACT.moving) !== 0 ? "transit" : "recent";
}

/**
 * The fate of a connection that is cut: `redistribute_refused` if the operator's level allows moving in its state and something
 * else prevented it.
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
 * How long to wait for a client whose last answer may be incomplete, because its server went silent. If the client sends its next
 * request, the answer was complete and the connection can move. Otherwise it may be waiting for a rest that will never come.
 */
const DOUBT_MS = 2500;

/**
 * Whether to cut a connection that may not leave a silent server. The server has sent nothing on it for `heardForMs`; its checks
 * have failed for `silentMs`. If the client's next request would allow the connection to move, it gets DOUBT_MS more for that.
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

/** What hinders a connection in this state from leaving its server, however long one waits; undefined: nothing. */
function hindranceIn(
  state: ConnectionState,
  { redistribute, replaysMax }: RedistributionPolicy,
  facts: number,
  replays: number,
): Hindrance | undefined {
  if (state === "unsent") return undefined;
  if ((facts & FACT.pinned) !== 0) return "pinned";
  if (state !== "unanswered") return redistribute === "idle" ? undefined : "level";
  if (redistribute === "new") return "level"; // it was another level when the request was recorded
  if ((facts & FACT.recorded) === 0) return "unrecorded";
  return replays < replaysMax ? undefined : "replays";
}
