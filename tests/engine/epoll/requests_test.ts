import { assertEquals } from "@std/assert";
import { Requests } from "../../../lib/engine/epoll/requests.ts";
import { soon } from "../../helpers.ts";

const LONG_MS = 60_000;

Deno.test("a request resolves with what becomes of its connection, as do all others for it, and no other connection's", async () => {
  const requests = new Requests();
  const [one, same, other] = [requests.wait(7, LONG_MS), requests.wait(7, LONG_MS), requests.wait(8, LONG_MS)];
  requests.settle(9, { kind: "ended", fate: "done" });
  requests.settle(7, { kind: "stays", reason: "recent" });
  assertEquals([await one, await same], [{ kind: "stays", reason: "recent" }, { kind: "stays", reason: "recent" }]);
  requests.settle(7, { kind: "ended", fate: "done" }); // nobody waits any more
  requests.settle(8, { kind: "ended", fate: "closed" });
  assertEquals(await other, { kind: "ended", fate: "closed" });
});

Deno.test("a request ends by itself, and the others for its connection go on", async () => {
  const requests = new Requests();
  const patient = requests.wait(7, LONG_MS);
  assertEquals(await soon(requests.wait(7, 1), "the end of the wait"), undefined);
  assertEquals(await soon(requests.wait(8, 1), "the end of the wait"), undefined);
  requests.settle(7, { kind: "unheard" });
  assertEquals(await patient, { kind: "unheard" });
});

Deno.test("end() ends every wait", async () => {
  const requests = new Requests();
  const waits = [requests.wait(7, LONG_MS), requests.wait(8, LONG_MS)];
  requests.end();
  assertEquals(await Promise.all(waits), [undefined, undefined]);
});
