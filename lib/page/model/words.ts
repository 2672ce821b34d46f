/** The words, signs and colours of what is shown. A sign stands beside every colour that means something. */

import type { BalancerEvent, MovedState, ServerState } from "./contract.ts";

/** How a thing looks: a class of the style sheet with this name gives it a colour. */
export type Tone = "good" | "warn" | "bad" | "calm" | "plain";

/** The sign, word and tone of a server's state, and its place in the order of trouble. */
export const STATES: Readonly<Record<ServerState, { sign: string; word: string; tone: Tone; rank: number }>> = {
  down: { sign: "✖", word: "down", tone: "bad", rank: 0 },
  resting: { sign: "◐", word: "resting", tone: "warn", rank: 1 },
  removing: { sign: "⊖", word: "being removed", tone: "calm", rank: 2 },
  draining: { sign: "▽", word: "draining", tone: "calm", rank: 3 },
  up: { sign: "●", word: "up", tone: "good", rank: 5 },
};

/** What moves in each state means. */
export const MOVES: Readonly<Record<MovedState, { word: string; help: string; colour: string }>> = {
  unsent: { word: "not begun", help: "nothing was sent yet", colour: "unsent" },
  unanswered: { word: "replayed", help: "the request was sent again to the new server", colour: "unanswered" },
  idle: { word: "idle", help: "between two exchanges", colour: "idle" },
};

/** Classes of fates, the harmless ones first: as they are stacked. */
export const FATE_CLASSES = {
  finished: { word: "finished", tone: "good" },
  left: { word: "client left", tone: "good" },
  closed: { word: "server closed", tone: "calm" },
  timed: { word: "timed out", tone: "calm" },
  refused: { word: "refused by a rule", tone: "warn" },
  reset: { word: "reset: server lost", tone: "bad" },
  unserved: { word: "no server for it", tone: "bad" },
  fault: { word: "stopped or failed", tone: "bad" },
} as const satisfies Record<string, { word: string; tone: Tone }>;
/** The name of a class of fates. */
export type FateClass = keyof typeof FATE_CLASSES;
/** The names of the classes, in the order in which they are stacked. */
export const FATE_CLASS_NAMES = Object.keys(FATE_CLASSES) as FateClass[];

const CLASS_OF: Readonly<Record<string, FateClass>> = {
  done: "finished",
  client_gone: "left",
  server_closed: "closed",
  server_lost: "reset",
  redistribute_refused: "reset",
  removed: "reset",
  connect_failed: "unserved",
  no_server: "unserved",
  refused_limit: "unserved",
  hold_timeout: "unserved",
  queue_timeout: "unserved",
  worker_lost: "fault",
  failed: "fault",
  stopped: "fault",
};

/** The class of a fate. One that is not named ends at a time limit if its name says so, else by a rule about clients. */
export function classOfFate(fate: string): FateClass {
  if (Object.hasOwn(CLASS_OF, fate)) return CLASS_OF[fate];
  return fate.endsWith("_timeout") ? "timed" : "refused";
}

/** The sign and the row of an event in the timeline. */
export const EVENT_KINDS: Readonly<Record<BalancerEvent["kind"], { sign: string; word: string; row: number }>> = {
  command: { sign: "◆", word: "change", row: 0 },
  drain: { sign: "▽", word: "drain", row: 0 },
  server: { sign: "●", word: "server", row: 1 },
  limit: { sign: "▲", word: "limit", row: 2 },
  worker: { sign: "■", word: "worker", row: 2 },
  listener: { sign: "■", word: "listener", row: 2 },
  daemon: { sign: "■", word: "balancer", row: 2 },
};
/** The rows of the timeline. */
export const EVENT_ROWS: readonly string[] = ["changes", "servers", "balancer"];

/** The tone of an event. */
export function toneOfEvent({ level, kind, text }: BalancerEvent): Tone {
  if (level === "error") return "bad";
  if (level === "warning") return kind === "server" && /\bdown\b/.test(text) ? "bad" : "warn";
  return kind === "server" && /\bis up\b/.test(text) ? "good" : "calm";
}

/** How many colours of servers there are; no red among them, which means harm. */
export const SERVER_COLOURS = 10;

/** Gives servers their colours: in the order of names at first, then in the order in which they come. A server keeps its own. */
export class Colours {
  readonly #numbers = new Map<string, number>();

  /** Makes sure that these servers have their colours. */
  name(servers: Iterable<string>): void {
    for (const server of [...servers].filter((server) => !this.#numbers.has(server)).sort(byName)) {
      this.#numbers.set(server, this.#numbers.size % SERVER_COLOURS);
    }
  }

  /** The number of the server's colour. */
  of(server: string): number {
    if (!this.#numbers.has(server)) this.name([server]);
    return this.#numbers.get(server)!;
  }
}

const COLLATOR = new Intl.Collator("en", { numeric: true });

/** Orders names as people count: `10.0.0.9:80` before `10.0.0.10:80`. */
export function byName(one: string, other: string): number {
  return COLLATOR.compare(one, other);
}
