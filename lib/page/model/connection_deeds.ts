/**
 * An open connection that is closed or moved, where the page may: the request, how it is asked, and what its client notices. Pure.
 */

import { closedText, movedText } from "../../routing/parted_text.ts";
import type { ClosedConnection, MovedConnection, OpenConnection } from "./contract.ts";
import type { Deed } from "./deeds.ts";
import { formatSpan } from "./format.ts";
import { splitServer } from "./what_if.ts";

/** What can be done to a connection. */
export type ConnectionChange = "close" | "move";

/** What a person wants of a connection. */
export interface ConnectionWish {
  readonly change: ConnectionChange;
  readonly connection: OpenConnection;
  /** Where it is to move; empty: to any other server. */
  readonly server: string;
  /** Whether it is reset if it cannot move. */
  readonly isForced: boolean;
}

interface ConnectionDeedRow {
  readonly title: string;
  /** On the button that does it. */
  readonly verb: string;
  /** What its client notices. */
  readonly notice: string;
  readonly body: (wish: ConnectionWish) => Record<string, unknown>;
  readonly words: (wish: ConnectionWish) => string[];
}

/** A row for each change; `reset` is a move that the balancer has refused, by force. */
const DEEDS: Readonly<Record<ConnectionChange | "reset", ConnectionDeedRow>> = {
  close: {
    title: "Close this connection?",
    verb: "Close it",
    notice: "Both sides are reset. Its client notices, and has to connect again.",
    body: () => ({}),
    words: () => [],
  },
  move: {
    title: "Move this connection?",
    verb: "Move it",
    notice: "Its client keeps its connection and notices nothing; what no server has answered yet is sent again to the new one. " +
      "If it cannot move without a loss, it stays, and the balancer says why.",
    body: ({ server }) => server === "" ? {} : { server },
    words: ({ server }) => splitServer(server) ?? [],
  },
  reset: {
    title: "Reset this connection?",
    verb: "Reset it",
    notice:
      "By force it is reset: its client notices, and has to connect again. It gets the server that the ring assigns, which may " +
      "be the same one.",
    body: ({ server }) => server === "" ? { force: true } : { server, force: true },
    words: ({ server }) => [...splitServer(server) ?? [], "--force"],
  },
};

function rowOf({ change, isForced }: ConnectionWish): ConnectionDeedRow {
  return DEEDS[change === "move" && isForced ? "reset" : change];
}

/** The request that does it. */
export function connectionDeedOf(wish: ConnectionWish): Deed {
  const path = `/v1/connections/${encodeURIComponent(wish.connection.id)}/${wish.change}`;
  return { method: "POST", path, query: {}, body: rowOf(wish).body(wish) };
}

/** How it is asked: a title, what its client notices, and the word on the button that does it. */
export function connectionQuestionOf(wish: ConnectionWish): { title: string; notice: string; verb: string } {
  const { title, notice, verb } = rowOf(wish);
  return { title, notice, verb };
}

/** Which connection it is. */
export function describeConnection({ client, server, state, ageMs, id }: OpenConnection): string {
  const place = server === null ? "without a server yet" : `with ${server}`;
  return `${client}, ${place}: ${state}, open for ${formatSpan(ageMs / 1000)}, ${id}`;
}

/** The command that does the same. */
export function connectionCommandOf(wish: ConnectionWish, name: string): string {
  const words = ["balancerctl", wish.change, wish.connection.id, ...rowOf(wish).words(wish)];
  return [...words, ...name === "default" ? [] : ["--name", name]].join(" ");
}

/** What has come of it, as `balancerctl` says it. */
export function connectionDoneText({ change }: ConnectionWish, answer: unknown): string {
  return `${change === "close" ? closedText(answer as ClosedConnection) : movedText(answer as MovedConnection)}.`;
}

/** Where it can move: the servers of the pool that it does not have, as values and words. */
export function targetsOf(
  servers: readonly { readonly server: string; readonly state: string }[],
  own: string | null,
): (readonly [server: string, text: string])[] {
  const others = servers.filter(({ server, state }) => server !== own && state !== "removing");
  return [
    ["", "the next for its client"],
    ...others.map(({ server, state }) => [server, state === "up" ? server : `${server} (${state})`] as const),
  ];
}
