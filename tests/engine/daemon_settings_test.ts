// Settings of the daemon change while an engine runs, over every row of ENGINES: the limit of connections, how workers wait, and
// what is noted for the access log.

import { assert, assertEquals, assertGreaterOrEqual, assertLessOrEqual } from "@std/assert";
import { AccessLog } from "../../lib/observe/access_log.ts";
import type { EngineKind } from "../../lib/engine/engine.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { STANDARD_OUTPUT } from "../../lib/values/config.ts";
import {
  ask,
  close,
  connect,
  echo,
  readBytes,
  soon,
  startEngine,
  startServer,
  tableServer,
  type TestEngine,
  writeText,
} from "../helpers.ts";

type Case = (kind: EngineKind) => Promise<void>;

/** A client whose server has answered it. */
async function open(test: TestEngine): Promise<Deno.TcpConn> {
  const client = await connect(test.address);
  await exchange(client);
  return client;
}

async function exchange(client: Deno.TcpConn): Promise<void> {
  await writeText(client, "x");
  await soon(readBytes(client, 1), "the answer");
}

/** A line of the access log, as far as these cases look at it. */
interface Line {
  readonly event: string;
  readonly id: string;
  readonly time: string;
  readonly end: string;
  readonly connectMs: number | null;
}

const ON = { accessLog: STANDARD_OUTPUT, accessLogStart: true };
const OFF = { accessLog: null, accessLogStart: false };

const CASES: Record<string, Case> = {
  async "the limit of connections is raised and lowered at once, and open ones stay"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)], { connectionsMax: 1, connectionsLimit: 5 });
    const refuse = async () => {
      assertEquals(await ask(test.address), "");
      assertEquals((await test.ended.take()).fate, "refused_limit");
    };
    const clients = [await open(test)];
    await refuse();
    await test.changeDaemon({ connectionsMax: 3 });
    clients.push(await open(test), await open(test));
    await refuse();
    await test.changeDaemon({ connectionsMax: 2 });
    for (const client of clients) await exchange(client);
    clients.pop()!.close();
    await test.ended.take();
    await refuse();
    clients.pop()!.close();
    await test.ended.take();
    assertEquals(await ask(test.address, "room"), "room");
    assertEquals((await test.ended.take()).fate, "done");
    close(clients[0]);
  },

  async "how workers wait changes while they serve"(kind) {
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)]);
    const clients = [await open(test), await open(test), await open(test)];
    for (const [batchMicros, busyPollMicros] of [[50, 0], [0, 200], [1000, 50], [0, 0]]) {
      await test.changeDaemon({ batchMicros, busyPollMicros });
      for (let round = 0; round < 20; round++) await Promise.all(clients.map(exchange));
      assertEquals(await ask(test.address, "hello"), "hello");
    }
    for (const client of clients) client.close();
  },

  async "the access log is off and on while connections are open, and says nothing of one that belongs to another"(kind) {
    let text = "";
    const log = new AccessLog({
      startId: "00000000000000ff",
      placeOf: () => ({ listener: "l", service: "s" }),
      counters: { add: () => {} },
    });
    const output = {
      append(lines: Uint8Array) {
        text += new TextDecoder().decode(lines);
        return Promise.resolve({ bytes: lines.length, fault: undefined });
      },
    };
    await log.aim({ output, sample: 1 }, 1000);
    await using server = startServer(echo);
    await using test = startEngine(kind, [tableServer(server.address, 0)], { accessLog: { log, starts: true }, workers: 1 });
    const end = async (client: Deno.TcpConn) => {
      client.close();
      return await test.ended.take();
    };
    const first = await open(test);
    await test.changeDaemon(OFF);
    await end(first); // its descriptor is the next one's
    const before = Date.now();
    const old = await open(test);
    const opened = Date.now();
    await test.changeDaemon(ON);
    const young = await open(test);
    const ends = [await end(old), await end(young)];
    await log.flush();
    const lines: Line[] = text.trimEnd().split("\n").map((line) => JSON.parse(line));
    const events = (id: number) => lines.filter((line) => line.id.endsWith(`-${id.toString(16)}`));
    const [[oldEnd, ...others], [start, youngEnd]] = ends.map(({ id }) => events(id));
    assertEquals([oldEnd.event, others, start.event, youngEnd.event], ["end", [], "start", "end"]);
    assertEquals(start.time, youngEnd.time);
    assert(youngEnd.connectMs !== null);
    const SLACK_MS = 50; // the time is told from the age, by clocks that are read one after the other
    assertGreaterOrEqual(Date.parse(oldEnd.time), before - SLACK_MS);
    assertLessOrEqual(Date.parse(oldEnd.time), opened + SLACK_MS);
    assertGreaterOrEqual(Date.parse(oldEnd.end), Date.parse(oldEnd.time));
    if (kind === ENGINES.epoll) assertEquals(oldEnd.connectMs, null, "nobody has noted it");

    await test.changeDaemon(OFF);
    const { endedAt } = await end(await open(test));
    if (kind === ENGINES.epoll) assertEquals(endedAt, undefined, "nobody wants to know");
  },
};

for (const [name, kind] of Object.entries(ENGINES)) {
  const ignore = kind.unsupported() !== undefined;
  for (const [title, run] of Object.entries(CASES)) Deno.test({ name: `[${name}] ${title}`, ignore, fn: () => run(kind) });
}
