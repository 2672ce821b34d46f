/**
 * Why a connection that a person wants to move (`balancerctl move`) stays where it is, and what would help: the reasons of
 * `redistribution.ts`, and those that only the moment of the move shows. Pure.
 */

import { formatDuration } from "../values/duration.ts";
import { HINDRANCES, type RedistributionPolicy } from "./redistribution.ts";

/**
 * Every reason.
 * - `dialling`: it has no server yet;
 * - `leaving`: it is on its way to another server, or its server's FIN is being checked;
 * - `elsewhere`: it has moved while the wish was on its way;
 * - `paused`: clients of its service wait, so that nobody may be dialled before them;
 * - `nowhere`: no other server may take it, or not the one that was named;
 * - `refused`: what was dialled did not accept;
 * - `calledOff`: client or server have sent bytes while another server was dialled;
 * - `unheard`: the thread that serves it has not answered.
 */
export const STAY_REASONS = [
  ...HINDRANCES,
  "dialling",
  "leaving",
  "elsewhere",
  "paused",
  "nowhere",
  "refused",
  "calledOff",
  "unheard",
] as const;
export type StayReason = typeof STAY_REASONS[number];

/** What a connection that stays is explained by. */
interface Stay {
  readonly policy: Pick<RedistributionPolicy, "redistribute" | "quietMs" | "replaysMax">;
  /** The service of the connection. */
  readonly service: string;
  /** The server that was named; undefined: any other. */
  readonly to: string | undefined;
}

const AGAIN = "try again";

/** Why it stays and what would help, as clauses. */
const EXPLANATIONS: Readonly<Record<StayReason, (stay: Stay) => readonly [why: string, help: string]>> = {
  pinned: () => [
    "its server spoke first, has answered in TLS or has switched protocols, so that no other can go on",
    "wait until it ends",
  ],
  level: ({ policy: { redistribute }, service }) => [
    `--redistribute ${redistribute} does not let it move after ${redistribute === "new" ? "its first byte" : "its first answer"}`,
    `change it with balancerctl service set ${service} --redistribute idle`,
  ],
  replays: ({ policy: { replaysMax } }) => [
    `its request was replayed ${replaysMax} times, which is the limit`,
    `${AGAIN} once it is answered`,
  ],
  unrecorded: () => [
    "it is in the middle of an exchange, and what the client has said cannot be said again to another server",
    "try again once it is idle (balancerctl connections --state idle)",
  ],
  ending: () => ["its client has finished and may still be answered", "wait until it ends"],
  transit: () => ["bytes are on their way from one side to the other", AGAIN],
  recent: ({ policy: { quietMs } }) => [
    `bytes have passed within the last ${formatDuration(quietMs)} (--quiet)`,
    `${AGAIN} once it is quiet`,
  ],
  awaited: ({ policy: { quietMs } }) => [
    "its request was sent a moment ago, and the answer may be on its way",
    `${AGAIN} after ${formatDuration(quietMs)}`,
  ],
  dialling: () => ["it has no server yet", `${AGAIN} once it has one`],
  leaving: () => ["it is on its way to another server already", "balancerctl connections shows where it is"],
  elsewhere: () => ["it has moved to another server meanwhile", "balancerctl connections shows where it is"],
  paused: ({ service }) => [
    `clients of service ${service} wait for a server (balancerctl pause, or --hold), and nobody is dialled before them`,
    `${AGAIN} once nobody waits`,
  ],
  nowhere: ({ to }) =>
    to === undefined
      ? ["no other server may take it: all are down, drained, or at their limit", "balancerctl list shows them"]
      : [`server ${to} may not take it: it is down, drained, or at its limit`, "balancerctl list shows it"],
  refused: ({ to }) => [
    to === undefined ? "none of the servers tried accepted it" : `server ${to} did not accept it`,
    "balancerctl list shows the servers",
  ],
  calledOff: () => ["its client or its server has sent bytes while another server was dialled", AGAIN],
  unheard: () => ["the thread that serves it does not answer", "balancerctl connections shows where it is"],
};

/** Reasons for which a connection is not reset, although it did not do as it was told: it leaves its server, or has left it. */
const LEAVES_ANYWAY: readonly StayReason[] = ["leaving", "elsewhere"];

/** Whether `--force` resets a connection that stays for this reason. */
export function yieldsToForce(reason: StayReason): boolean {
  return !LEAVES_ANYWAY.includes(reason);
}

/** Why a connection stays and what would help, as clauses. */
export function explainStay(reason: StayReason, stay: Stay): readonly [why: string, wayOut: string] {
  const [why, help] = EXPLANATIONS[reason](stay);
  return [why, yieldsToForce(reason) ? `${help}, or reset it with --force` : help];
}
