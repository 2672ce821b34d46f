// Connections that the page closes and moves: requests that the dashboard passes on with --write, and the words around them.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { findAllowed } from "../../lib/dashboard/allowed.ts";
import {
  connectionCommandOf,
  connectionDeedOf,
  connectionDoneText,
  connectionQuestionOf,
  type ConnectionWish,
  describeConnection,
  targetsOf,
} from "../../lib/page/model/connection_deeds.ts";
import type { OpenConnection } from "../../lib/page/model/contract.ts";

const CONNECTION: OpenConnection = {
  id: "0123456789abcdef-1f",
  service: "web",
  listener: "0.0.0.0:80",
  client: "192.0.2.7:41000",
  server: "10.0.0.1:80",
  state: "idle",
  ageMs: 190_000,
  idleMs: 4000,
  sentBytes: 1,
  receivedBytes: 2,
  moves: 0,
};
const CLOSE: ConnectionWish = { change: "close", connection: CONNECTION, server: "", isForced: false };
const MOVE: ConnectionWish = { ...CLOSE, change: "move" };
const MOVE_THERE: ConnectionWish = { ...MOVE, server: "[2001:db8::1]:443" };
const FORCE: ConnectionWish = { ...MOVE_THERE, isForced: true };

Deno.test("what the page does to a connection is passed on by a row that needs --write, with the body that the API takes", () => {
  const wanted: [ConnectionWish, unknown][] = [
    [CLOSE, {}],
    [MOVE, {}],
    [MOVE_THERE, { server: "[2001:db8::1]:443" }],
    [FORCE, { server: "[2001:db8::1]:443", force: true }],
    [{ ...MOVE, isForced: true }, { force: true }],
  ];
  for (const [wish, body] of wanted) {
    const deed = connectionDeedOf(wish);
    assertEquals(deed, { method: "POST", path: `/v1/connections/${CONNECTION.id}/${wish.change}`, query: {}, body: deed.body });
    assertEquals(deed.body, body as Record<string, unknown>);
    assert(findAllowed(deed.method, deed.path.slice(1).split("/")).writes);
  }
});

Deno.test("the question says what the client will notice, and the command that does the same", () => {
  assertEquals(describeConnection(CONNECTION), "192.0.2.7:41000, with 10.0.0.1:80: idle, open for 3 min, 0123456789abcdef-1f");
  assertStringIncludes(describeConnection({ ...CONNECTION, server: null }), "without a server yet");
  assertStringIncludes(connectionQuestionOf(CLOSE).notice, "Both sides are reset");
  assertStringIncludes(connectionQuestionOf(MOVE).notice, "notices nothing");
  assertStringIncludes(connectionQuestionOf(FORCE).notice, "has to connect again");
  assertEquals([CLOSE, MOVE, FORCE].map((wish) => connectionQuestionOf(wish).verb), ["Close it", "Move it", "Reset it"]);
  assertEquals(connectionCommandOf(CLOSE, "default"), "balancerctl close 0123456789abcdef-1f");
  assertEquals(connectionCommandOf(MOVE_THERE, "eu"), "balancerctl move 0123456789abcdef-1f 2001:db8::1 443 --name eu");
  assertEquals(connectionCommandOf(FORCE, "default"), "balancerctl move 0123456789abcdef-1f 2001:db8::1 443 --force");
});

Deno.test("what has come of it is said as balancerctl says it", () => {
  const { id, service, client, server } = CONNECTION;
  assertEquals(
    connectionDoneText(CLOSE, { id, service, client, server }),
    `Closed connection ${id} of client ${client} with server ${server}.`,
  );
  const moved = {
    id,
    service,
    client,
    server,
    from: server,
    to: "b:1",
    state: "unanswered",
    replayedBytes: 73,
    reason: null,
    next: null,
  };
  assertEquals(
    connectionDoneText(MOVE, moved),
    `Moved connection ${id} of client ${client} (unanswered) from ${server} to b:1; 73 bytes of its client were sent again.`,
  );
  assertStringIncludes(
    connectionDoneText(FORCE, { ...moved, to: null, reason: "it is busy", next: "b:1" }),
    "it is busy. Its client",
  );
});

Deno.test("it can move to the other servers of its service that stay", () => {
  const servers = [["a:1", "up"], ["b:1", "down"], ["c:1", "removing"], ["d:1", "up"]].map(([server, state]) => ({
    server,
    state,
  }));
  assertEquals(targetsOf(servers, "a:1"), [["", "the next for its client"], ["b:1", "b:1 (down)"], ["d:1", "d:1"]]);
});
