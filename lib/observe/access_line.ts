/**
 * A line of the access log: its fields, as a table that the docs show, and the functions that write it. The text is put together
 * by hand: `JSON.stringify` takes 3 µs more for each line, which is 5 % of all that a connection costs. Decides nothing.
 */

import type { Fate } from "../values/fates.ts";
import type { EndedConnection, LoggedHello, MovedConnection, StartedConnection } from "./connections.ts";

interface Field {
  /** Whether a line about the beginning of a connection has it, too. */
  readonly atStart?: true;
  readonly type: string;
  readonly help: string;
}

/** The fields of a line, in their order. */
export const ACCESS_FIELDS = {
  event: { atStart: true, type: "text", help: "`start` or `end`" },
  id: { atStart: true, type: "text", help: "id of the connection, also in `recent --json` and in the log" },
  time: { atStart: true, type: "time", help: "when the balancer accepted the client" },
  end: { type: "time", help: "when the connection ended" },
  client: { atStart: true, type: "text", help: "address and port of the client" },
  listener: { atStart: true, type: "text", help: "address and port that the client connected to" },
  service: { atStart: true, type: "text", help: "name of the service" },
  server: { type: "text or null", help: "its last server, or the one being dialled; null: none" },
  sentBytes: { type: "number", help: "bytes of the client passed on to servers, without replays" },
  receivedBytes: { type: "number", help: "bytes of servers passed on to the client" },
  connectMs: { type: "number or null", help: "time until a first server had accepted; null: none did" },
  durationMs: { type: "number", help: "how long the connection lasted, by a clock that is never set" },
  fate: { type: "text", help: "what ended it, see [Fates](#fates)" },
  endedBy: {
    type: "text",
    help: "whose FIN or reset came first: `client` or `server`; `balancer` if the balancer refused or cut the connection",
  },
  attempts: { type: "number", help: "servers dialled" },
  moves: {
    type: "list",
    help: "its moves to other servers, in order: `at` (time), `from`, `to`, `state` (`unsent`, `unanswered` or `idle`), `loss`",
  },
  movesOmitted: { type: "number", help: "moves that are not in the list, because there were too many" },
  replayedBytes: { type: "number", help: "bytes sent again to other servers" },
  reason: { type: "text or null", help: "the last error, in the system's words" },
  proxy: { type: "object or null", help: "the PROXY header it began with: `peer` (who sent it) and `tlvs`; null: none" },
  hello: {
    atStart: true,
    type: "object or null",
    help: "what its ClientHello asked for: `authority` (SNI, or null) and `alpn` (list); null: none was read",
  },
} as const satisfies Record<string, Field>;

/** What all lines of a listener say. */
export interface AccessPlace {
  /** `address:port`. */
  readonly listener: string;
  readonly service: string;
}

/** The moves of one connection, and what of them is no longer kept. */
export interface AccessMoves {
  /** Moves as JSON, joined by commas. */
  readonly list: string;
  readonly listed: number;
  readonly replayedBytes: number;
}

/** Numbers below 1000 as three digits. */
const DIGITS = Array.from({ length: 1000 }, (_, number) => String(number).padStart(3, "0"));

/** Servers whose part of the line is remembered, for each listener. */
const ROUTES_MAX = 4096;

/**
 * Writes lines. Remembers the parts that most lines have in common, such as the last second as text: a line of few parts is written
 * twice as fast.
 */
export class AccessLines {
  #second = NaN;
  #secondText = "";
  /** By listener and server: what stands between the client's address and the bytes. */
  readonly #routes = new Map<AccessPlace, Map<string | undefined, string>>();

  /** The line about a beginning. Addresses and ids need no escapes (`address.ts`). */
  start(id: string, { client, acceptedAt, hello }: StartedConnection, { listener, service }: AccessPlace): string {
    return `{"event":"start","id":"${id}","time":"${this.#time(acceptedAt)}","client":"${client}","listener":"${listener}"` +
      `,"service":"${service}"${helloText(hello)}`;
  }

  /** The line about an end. */
  end(id: string, ended: EndedConnection, place: AccessPlace, moves: AccessMoves): string {
    const { connectMs, acceptedAt = 0, endedAt = 0 } = ended;
    return `{"event":"end","id":"${id}","time":"${this.#time(acceptedAt)}","end":"${
      this.#time(endedAt)
    }","client":"${ended.client}${
      this.#routeText(place, ended.server)
    }${ended.sentBytes},"receivedBytes":${ended.receivedBytes},"connectMs":${
      connectMs === undefined ? "null" : millis(connectMs)
    },"durationMs":${millis(ended.durationMs)}${isPlain(ended, moves) ? plainEnding(ended) : ending(ended, moves)}${
      helloText(ended.hello)
    }`;
  }

  /** What stands between the client's address and the bytes. */
  #routeText(place: AccessPlace, server: string | undefined): string {
    const routes = this.#routesOf(place);
    const known = routes.get(server);
    if (known !== undefined) return known;
    const shown = server === undefined ? "null" : `"${server}"`;
    const text = flat(`","listener":"${place.listener}","service":"${place.service}","server":${shown},"sentBytes":`);
    if (routes.size >= ROUTES_MAX) routes.clear();
    routes.set(server, text);
    return text;
  }

  #routesOf(place: AccessPlace): Map<string | undefined, string> {
    const known = this.#routes.get(place);
    if (known !== undefined) return known;
    const routes = new Map<string | undefined, string>();
    this.#routes.set(place, routes);
    return routes;
  }

  /** A move, as an element of the list. */
  move({ movedAt = 0, from, to, state, loss, replayedBytes }: MovedConnection): string {
    return JSON.stringify({ at: this.#time(movedAt), from: from ?? null, to: to ?? null, state, loss, replayedBytes });
  }

  /** ISO 8601 with milliseconds, for ms since 1970. */
  #time(ms: number): string {
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#secondText = new Date(second * 1000).toISOString().slice(0, -4);
    }
    return `${this.#secondText}${DIGITS[Math.floor(ms) - second * 1000]}Z`;
  }
}

/** Whether the line can have one of PLAIN_ENDINGS. */
function isPlain({ attempts, moves, reason, proxy }: EndedConnection, kept: AccessMoves): boolean {
  return attempts === 1 && moves === 0 && reason === undefined && proxy === undefined && kept.listed === 0;
}

/** What `ending` gives for connections to which nothing happened, by fate and by who ended them. */
const PLAIN_ENDINGS = { client: new Map<Fate, string>(), server: new Map<Fate, string>(), balancer: new Map<Fate, string>() };

function plainEnding(ended: EndedConnection): string {
  const endings = PLAIN_ENDINGS[ended.endedBy];
  const known = endings.get(ended.fate);
  if (known !== undefined) return known;
  const text = flat(ending(ended, { list: "", listed: 0, replayedBytes: 0 }));
  endings.set(ended.fate, text);
  return text;
}

/** From the fate on to the PROXY header. */
function ending({ fate, endedBy, attempts, moves, reason, proxy }: EndedConnection, kept: AccessMoves): string {
  return `,"fate":"${fate}","endedBy":"${endedBy}","attempts":${attempts},"moves":[${kept.list}]` +
    `,"movesOmitted":${Math.max(0, moves - kept.listed)},"replayedBytes":${kept.replayedBytes}` +
    `,"reason":${reason === undefined ? "null" : JSON.stringify(reason)}` +
    `,"proxy":${proxy === undefined ? "null" : JSON.stringify(proxy)}`;
}

/** The last field, and the end of the line. */
function helloText(hello: LoggedHello | undefined): string {
  return hello === undefined ? NO_HELLO : `,"hello":${JSON.stringify(hello)}}\n`;
}

const NO_HELLO = ',"hello":null}\n';

/** The same text in one piece, which is copied faster than one that V8 keeps as a tree of its parts. */
function flat(text: string): string {
  return JSON.parse(JSON.stringify(text));
}

/** Milliseconds with three decimals. */
function millis(ms: number): string {
  const micros = Math.round(ms * 1000);
  const whole = Math.floor(micros / 1000);
  return `${whole}.${DIGITS[micros - whole * 1000]}`;
}
