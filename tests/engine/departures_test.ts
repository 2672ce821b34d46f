// The departure policy as a table that every engine runs: an idle connection is to leave its server, another one is being dialled
// and does not accept yet, and then something happens.

import { assertEquals, assertLess } from "@std/assert";
import { ENGINES } from "../../lib/engine/mod.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { AVAILABILITY } from "../../lib/routing/availability.ts";
import { INTERRUPTIONS, isCalledOff } from "../../lib/routing/departure.ts";
import type { Loss } from "../../lib/routing/redistribution.ts";
import { type SilentListener, soon, tableServer, unusedAddress, writeText } from "../helpers.ts";
import { turn, until } from "../raw_socket.ts";
import { exchange, hear, HEAVY, IDLE, open, type Pair, silentOwner, startPair } from "./played.ts";

/** Longer than the test. */
const PATIENT = { ...IDLE, connectTimeoutMs: 60_000, connectDeadlineMs: 60_000 };

/** What makes an engine look for another server while the connection's own is kept. */
const CAUSES: Partial<Record<Loss, (both: Pair) => void>> = {
  drain: ({ test }) => test.leave(0, "draining"),
  expired: ({ test }) => test.leave(0, "expired"),
  silent: ({ test }) => test.engine.lose(0, 1, 0),
  rebalance({ test }) {
    const [id] = Array.from(test.engine.connections(), ({ id }) => id);
    test.engine.sendToOwner(id);
  },
  command({ test }) {
    const [id] = Array.from(test.engine.connections(), ({ id }) => id);
    void test.engine.moveConnection(id, { from: 0, to: -1 });
  },
};

/** What happens while the other server is dialled; an end of the own server calls nothing off. */
const HAPPENINGS = [...INTERRUPTIONS, "server ends"] as const;
type Happening = typeof HAPPENINGS[number];

const ACTS: Record<Happening, (both: Pair) => unknown> = {
  client: ({ client }) => writeText(client, "ping"),
  server: ({ first }) => first.say("psst"),
  undrain: ({ test }) => test.availabilities.set(0, AVAILABILITY.full),
  "server ends": ({ first }) => first.end(),
};

/** The connection has stayed with its server, which answers it. */
async function assertStayed({ test, client, first }: Pair, happening: Happening, late: SilentListener): Promise<void> {
  test.availabilities.set(0, AVAILABILITY.full); // or it would leave again as soon as it is quiet
  if (happening === "undrain") late.accept(); // seen when the other one accepts
  await until(() => test.counters.getOf(2, "serverOpen") === 0, "the server to be let go");
  assertEquals([open(test), test.counters.getOf(0, "movedAway")], [[1, 0], 0]);
  if (happening === "server") assertEquals(await hear(client, 4), "psst");
  if (happening !== "client") await writeText(client, "ping");
  await first.heard("firstping");
  first.say("pong");
  assertEquals(await hear(client, 4), "pong");
}

/** The connection goes on to the other server when that accepts. */
async function assertMoved({ test }: Pair, loss: Loss, late: SilentListener): Promise<void> {
  assertEquals(test.counters.getOf(2, "serverOpen"), 1, "it is still being dialled");
  late.accept();
  const { to, state } = await soon(test.moved.take(), "the move");
  assertEquals([to, state], [`127.0.0.1:${late.address.port}`, "idle"], loss);
}

async function runRow(kind: EngineKind, loss: Loss, happening: Happening): Promise<void> {
  await using both = await startPair(kind, PATIENT);
  const { test, client, first, a } = both;
  using late = await silentOwner([a.at(0)]);
  await exchange(client, first);
  await test.publish([a.at(0), tableServer(late.address, 2, { weight: HEAVY })]);
  CAUSES[loss]!(both);
  await until(() => test.counters.getOf(2, "serverOpen") > 0, `the server to be dialled after ${loss}`);
  await ACTS[happening](both);
  const stays = happening !== "server ends" && isCalledOff(loss, happening);
  if (stays) await assertStayed(both, happening, late);
  else await assertMoved(both, loss, late);
}

/** Causes that wait for no pause: the time is over, or a person waits. */
const AT_ONCE: readonly Loss[] = ["expired", "command"];

/** However often the connection is told to leave, servers that do not accept are dialled once a second. */
async function testPause(kind: EngineKind): Promise<void> {
  await using both = await startPair(kind, IDLE);
  const { a, test, client, first } = both;
  await exchange(client, first);
  await test.publish([a.at(0), tableServer(unusedAddress(), 2, { weight: HEAVY })]);
  test.leave(0, "draining");
  await soon(test.failed.take(), "the first attempt");
  for (let i = 0; i < 10; i++) {
    for (const cause of Object.keys(CAUSES) as Loss[]) if (!AT_ONCE.includes(cause)) CAUSES[cause]!(both);
    await turn(IDLE.quietMs);
  }
  assertLess(test.counters.getOf(2, "connectFailures"), 5);
  await writeText(client, "again");
  await first.heard("firstagain");
}

for (const [name, kind] of Object.entries(ENGINES)) {
  const ignore = kind.unsupported() !== undefined;
  Deno.test({
    name: `[${name}] a connection that nobody takes tries other servers once a second`,
    ignore,
    fn: () => testPause(kind),
  });
  for (const happening of HAPPENINGS) {
    const losses = Object.keys(CAUSES) as Loss[];
    Deno.test({
      name: `[${name}] ${happening}, while a connection leaves its server after ${losses.join(", ")}`,
      ignore,
      fn: async () => void await Promise.all(losses.map((loss) => runRow(kind, loss, happening))),
    });
  }
}
