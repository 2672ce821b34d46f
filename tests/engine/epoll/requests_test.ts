import { assertEquals } from "@std/assert";
import { Requests } from "../../../lib/engine/epoll/requests.ts";
import { soon } from "../../helpers.ts";

const LONG_MS = 60_000;
const STAYS = { kind: "stays", reason: "recent" } as const;
const CLOSED = { kind: "ended", fate: "closed" } as const;

Deno.test("an end is the outcome of everything that is awaited of its connection, and of no other", async () => {
  const requests = new Requests();
  const [one, same, moving, other] = [
    requests.awaitEnd(7, LONG_MS),
    requests.awaitEnd(7, LONG_MS),
    requests.awaitMove(7, LONG_MS),
    requests.awaitEnd(8, LONG_MS),
  ];
  requests.settle(9, CLOSED);
  requests.settle(7, CLOSED);
  assertEquals(await Promise.all([one, same, moving]), [CLOSED, CLOSED, CLOSED]);
  requests.settle(7, { kind: "ended", fate: "done" }); // nobody waits any more
  requests.settle(8, { kind: "ended", fate: "done" });
  assertEquals(await other, { kind: "ended", fate: "done" });
});

Deno.test("a connection that stays has not moved, and has not ended", async () => {
  const requests = new Requests();
  const [closing, moving] = [requests.awaitEnd(7, LONG_MS), requests.awaitMove(7, LONG_MS)];
  assertEquals([requests.isMoving(7), requests.isMoving(8)], [true, false]);
  requests.settle(7, STAYS);
  assertEquals(await moving, STAYS);
  assertEquals(requests.isMoving(7), false);
  requests.settle(7, CLOSED);
  assertEquals(await closing, CLOSED);
});

Deno.test("a wait ends by itself, and the others for its connection go on", async () => {
  const requests = new Requests();
  const patient = requests.awaitEnd(7, LONG_MS);
  assertEquals(await soon(requests.awaitMove(7, 1), "the end of the wait"), undefined);
  assertEquals(await soon(requests.awaitEnd(8, 1), "the end of the wait"), undefined);
  requests.settle(7, CLOSED);
  assertEquals(await patient, CLOSED);
});

Deno.test("end() ends every wait", async () => {
  const requests = new Requests();
  const waits = [requests.awaitEnd(7, LONG_MS), requests.awaitMove(8, LONG_MS)];
  requests.end();
  assertEquals(await Promise.all(waits), [undefined, undefined]);
});
