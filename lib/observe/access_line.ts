/**
 * A line of the access log: its fields, as a table that the docs show, and the functions that write it. The text is put together
 * by hand: `JSON.stringify` takes 3 µs more for each line, which is 5 % of all that a connection costs. Decides nothing.
 */

import type { EndedConnection, MovedConnection, StartedConnection } from "./connections.ts";

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

/** Writes lines. Remembers the last second as text, since most lines are about the same one. */
export class AccessLines {
  #second = NaN;
  #secondText = "";

  /** The line about a beginning. Addresses and ids need no escapes (`address.ts`). */
  start(id: string, { client, acceptedAt }: StartedConnection, { listener, service }: AccessPlace): string {
    return `{"event":"start","id":"${id}","time":"${this.#time(acceptedAt)}","client":"${client}","listener":"${listener}"` +
      `,"service":"${service}"}\n`;
  }

  /** The line about an end. */
  end(id: string, ended: EndedConnection, { listener, service }: AccessPlace, moves: AccessMoves): string {
    const { server, connectMs, reason, proxy, acceptedAt = 0, endedAt = 0 } = ended;
    return `{"event":"end","id":"${id}","time":"${this.#time(acceptedAt)}","end":"${
      this.#time(endedAt)
    }","client":"${ended.client}"` +
      `,"listener":"${listener}","service":"${service}","server":${server === undefined ? "null" : `"${server}"`}` +
      `,"sentBytes":${ended.sentBytes},"receivedBytes":${ended.receivedBytes}` +
      `,"connectMs":${connectMs === undefined ? "null" : millis(connectMs)},"durationMs":${millis(ended.durationMs)}` +
      `,"fate":"${ended.fate}","endedBy":"${ended.endedBy}","attempts":${ended.attempts},"moves":[${moves.list}]` +
      `,"movesOmitted":${Math.max(0, ended.moves - moves.listed)},"replayedBytes":${moves.replayedBytes}` +
      `,"reason":${reason === undefined ? "null" : JSON.stringify(reason)}` +
      `,"proxy":${proxy === undefined ? "null" : JSON.stringify(proxy)}}\n`;
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

/** Milliseconds with three decimals. */
function millis(ms: number): string {
  const micros = Math.round(ms * 1000);
  const whole = Math.floor(micros / 1000);
  return `${whole}.${DIGITS[micros - whole * 1000]}`;
}
