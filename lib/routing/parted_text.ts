/** What became of an open connection that a person closed or moved, as a sentence: for a terminal and for the page. Pure. */

import { plural } from "../values/plural.ts";

/** A connection that was closed. */
export interface ClosedConnection {
  readonly id: string;
  readonly client: string;
  /** Null: it had none. */
  readonly server: string | null;
}

/** A connection that was to move, and did or was reset. */
export interface MovedConnection extends Omit<ClosedConnection, "server"> {
  readonly from: string | null;
  /** Null: it was reset. */
  readonly to: string | null;
  readonly state: string;
  /** Bytes of the client that were sent again to the new server. */
  readonly replayedBytes: number;
  /** Why it could not move; null: it has moved. */
  readonly reason: string | null;
  /** The server that a new connection of its client gets now; null where nobody can tell. */
  readonly next: string | null;
}

/** What became of a connection that was closed. */
export function closedText({ id, client, server }: ClosedConnection): string {
  return `Closed connection ${id} of client ${client}${server === null ? "" : ` with server ${server}`}`;
}

/** What became of a connection that was to move. */
export function movedText({ id, client, from, to, state, replayedBytes, reason, next }: MovedConnection): string {
  if (to !== null) {
    const again = replayedBytes === 0 ? "" : `; ${plural(replayedBytes, "byte")} of its client were sent again`;
    return `Moved connection ${id} of client ${client} (${state}) from ${from} to ${to}${again}`;
  }
  return `Reset connection ${id} of client ${client}, which could not move: ${reason}. ${nextText(from, next)}`;
}

/** Where a client that was reset connects next. */
function nextText(from: string | null, next: string | null): string {
  if (next === null) return "Its client has to connect again, and gets the server that is next for it then";
  if (next !== from) return `Its client has to connect again, and gets server ${next}`;
  return `Its client has to connect again, and gets server ${from} again; balancerctl drain takes that server out first`;
}
