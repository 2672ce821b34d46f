// A balancer is upgraded again and again while clients of every kind are connected, and killed on either side meanwhile.
// BALANCER_TEST_LONG=1 has 20 upgrades in a row, with 2,000 connections.

import { assert, assertEquals, assertGreater, assertGreaterOrEqual, assertMatch, assertStringIncludes } from "@std/assert";
import { type Address, formatAddress } from "../../lib/values/address.ts";
import { epoll } from "../../lib/engine/epoll/engine.ts";
import { CA, SERVER } from "../certificates.ts";
import { makePlace, type Outcome, outcomeOf, type Place, runForeground } from "../programs.ts";
import {
  connect,
  echo,
  poll,
  readBytes,
  readChunks,
  readText,
  sha256,
  someBytes,
  soon,
  startServer,
  type TestServer,
  unusedAddress,
  writeAll,
  writeText,
} from "../helpers.ts";

const ignore = epoll.unsupported() !== undefined;
const UPGRADE_MAX_MS = 60_000;

const IS_LONG = Deno.env.get("BALANCER_TEST_LONG") !== undefined;
/** How often the balancer is upgraded under load, and who is connected then. */
const LOAD = IS_LONG
  ? { rounds: 20, keptAlive: 300, dribbling: 200, bulk: 2, connecting: 2, idle: 1477, ending: 21 }
  : { rounds: 4, keptAlive: 10, dribbling: 10, bulk: 2, connecting: 2, idle: 50, ending: 5 };

/** The figures of `balancerctl status --json`. */
interface Status {
  readonly pid: number;
  readonly generation: number;
  readonly address: string;
  readonly connections: { readonly accepted: number; readonly open: number };
  readonly fates: Readonly<Record<string, number>>;
  readonly carriedOver: { readonly connections: number; readonly lost: number } | null;
}

/** The sockets on which two processes meet for a hand-over. */
function meetings(place: Place): string[] {
  const entries = Deno.readDirSync(`${place.env.XDG_RUNTIME_DIR}/balancer`);
  return Array.from(entries, ({ name }) => name).filter((name) => name.startsWith("."));
}

async function statusOf(place: Place): Promise<Status> {
  return JSON.parse(await place.do("status", "--json"));
}

async function upgrade(place: Place, ...args: string[]): Promise<Outcome> {
  const command = new Deno.Command(place.program("balancerctl"), {
    args: ["upgrade", ...args],
    env: place.env,
    cwd: place.folder,
    stdin: "null",
  });
  return await outcomeOf(command, UPGRADE_MAX_MS);
}

/** The status, whose fates must be all the accepted connections that are not open. */
async function addedUp(place: Place): Promise<Status> {
  const status = await statusOf(place);
  const fates = Object.values(status.fates).reduce((sum, count) => sum + count, 0);
  assertEquals(fates, status.connections.accepted - status.connections.open, JSON.stringify(status));
  return status;
}

/** Waits until so many connections are open. */
async function untilOpen(place: Place, open: number): Promise<Status> {
  for (let tries = 0; tries < 200; tries++) {
    // A process that was killed may have had the control socket: the other one restores it within a second.
    const isThere = (await place.ctl("status")).code === 0;
    const status = isThere ? await addedUp(place) : undefined;
    if (status?.connections.open === open) return status;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`there are never ${open} open connections`);
}

/** Speaks first, and then echoes. */
function startGreeter(): TestServer {
  return startServer(async (socket) => {
    await writeText(socket, "hello");
    for await (const chunk of readChunks(socket)) await writeAll(socket, chunk);
  });
}

/** Clients that talk until they are told to finish, and then know that every byte was right. */
class Talkers {
  #isOver = false;
  readonly #talks: Promise<void>[] = [];
  #fault: unknown;
  requests = 0;
  opened = 0;

  constructor(readonly address: Address) {}

  /** One request after another on one connection. */
  keepAlive(): void {
    this.#add(this.#with(async (socket) => {
      for (let i = 0; !this.#isOver; i++) {
        await this.#exchange(socket, someBytes(700, i + 1));
        this.requests++;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }));
  }

  /** A byte now and then. */
  dribble(): void {
    this.#add(this.#with(async (socket) => {
      for (let i = 0; !this.#isOver; i++) {
        await this.#exchange(socket, Uint8Array.of(i & 255));
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
    }));
  }

  /** Both ways at once, as fast as it goes. */
  bulk(): void {
    const piece = someBytes(1024 * 1024, 99);
    this.#add(this.#with(async (socket) => {
      let [sent, received] = [0, 0];
      const reading = (async () => {
        for await (const chunk of readChunks(socket)) {
          for (let i = 0; i < chunk.length; i += 509) assertEquals(chunk[i], piece[(received + i) % piece.length]);
          received += chunk.length;
        }
      })();
      reading.catch(() => {}); // writing fails, too
      while (!this.#isOver) {
        await writeAll(socket, piece);
        sent += piece.length;
      }
      await socket.closeWrite();
      await reading;
      assertEquals(received, sent);
    }));
  }

  /** A connection for each request. */
  connectAgain(): void {
    const again = async () => {
      while (!this.#isOver) {
        await this.#with((socket) => this.#exchange(socket, Uint8Array.of(1, 2, 3)));
        this.opened++;
      }
    };
    this.#add(again());
  }

  /** Lets everybody finish. Throws what has gone wrong. */
  async finish(): Promise<void> {
    this.#isOver = true;
    await soon(Promise.all(this.#talks), "the talkers", UPGRADE_MAX_MS);
    this.check();
  }

  /** Throws what has gone wrong so far. */
  check(): void {
    if (this.#fault !== undefined) throw this.#fault;
  }

  #add(talk: Promise<void>): void {
    this.#talks.push(talk.catch((fault) => void (this.#fault ??= fault)));
  }

  async #exchange(socket: Deno.Conn, bytes: Uint8Array): Promise<void> {
    await writeAll(socket, bytes);
    assertEquals(await readBytes(socket, bytes.length), bytes);
  }

  async #with(talk: (socket: Deno.TcpConn) => Promise<void>): Promise<void> {
    using socket = await connect(this.address);
    await talk(socket);
  }
}

Deno.test({ name: "upgraded again and again under load, no byte is lost and nobody is refused", ignore }, async () => {
  await using server = startServer(echo);
  await using place = await makePlace();
  const address = await place.start("--workers", "2");
  await place.do("add", server.address.host, String(server.address.port));
  const talkers = new Talkers(address);
  for (let i = 0; i < LOAD.keptAlive; i++) talkers.keepAlive();
  for (let i = 0; i < LOAD.dribbling; i++) talkers.dribble();
  for (let i = 0; i < LOAD.bulk; i++) talkers.bulk();
  for (let i = 0; i < LOAD.connecting; i++) talkers.connectAgain();
  const idle = await Promise.all(Array.from({ length: LOAD.idle }, () => connect(address)));
  const ending = await Promise.all(Array.from({ length: LOAD.ending }, () => connect(address)));
  const lasting = LOAD.keptAlive + LOAD.dribbling + LOAD.bulk + LOAD.idle + LOAD.ending;
  for (const socket of ending) await writeText(socket, "half");
  for (const socket of ending) await readBytes(socket, 4);
  const before = await addedUp(place);
  const pids = new Set([before.pid]);
  for (let round = 0; round < LOAD.rounds; round++) {
    const { code, stdout, stderr } = await upgrade(place);
    assertEquals(code, 0, stderr);
    assertStringIncludes(stdout, "came along");
    talkers.check();
    const status = await addedUp(place);
    assertGreaterOrEqual(status.carriedOver!.connections, lasting - round);
    assertEquals(status.generation, before.generation);
    pids.add(status.pid);
    const socket = ending[round];
    await socket.closeWrite();
    assertEquals(await soon(readText(socket), "the end of a half"), "");
  }
  assertEquals(pids.size, LOAD.rounds + 1);
  await talkers.finish();
  for (const socket of idle) {
    await writeText(socket, "still here");
    assertEquals(new TextDecoder().decode(await readBytes(socket, 10)), "still here");
    socket.close();
  }
  for (const socket of ending) socket.close();
  assertGreater(talkers.requests, 50);
  const after = await untilOpen(place, 0);
  assertEquals(after.connections.accepted, lasting + talkers.opened);
  assertEquals(after.fates, { ...after.fates, done: after.connections.accepted }, "every connection ended by itself");
});

Deno.test({ name: "servers are killed while the process changes: their idle clients go on with the others", ignore }, async () => {
  await using stack = new AsyncDisposableStack();
  const servers = Array.from({ length: 4 }, () => stack.use(startServer(echo)));
  await using place = await makePlace();
  const address = await place.start(
    "--key",
    "ip:port",
    "--redistribute",
    "idle",
    "--quiet",
    "100ms",
    "--check-interval",
    "200ms",
    "--check-timeout",
    "200ms",
  );
  for (const { address: { host, port } } of servers) await place.do("add", host, String(port));
  const clients = await Promise.all(Array.from({ length: 200 }, () => connect(address)));
  const askAll = async (text: string) => {
    for (const client of clients) await writeText(client, text);
    for (const client of clients) assertEquals(new TextDecoder().decode(await readBytes(client, text.length)), text);
  };
  await askAll("before");
  await new Promise((resolve) => setTimeout(resolve, 200)); // quiet for long enough
  // A new process needs about 700 ms until it takes connections: one server is lost before, one about then, one after.
  const upgrading = upgrade(place);
  for (const server of servers.slice(1)) {
    await new Promise((resolve) => setTimeout(resolve, 350));
    await server[Symbol.asyncDispose]();
  }
  const { code, stderr } = await upgrading;
  assertEquals(code, 0, stderr);
  await askAll("afterwards");
  const { servers: now } = JSON.parse(await place.do("list", "--json"));
  assertEquals(now.find(({ server }: { server: string }) => server === servers[0].name).open, 200);
  for (const client of clients) client.close();
  const { connections, fates } = await untilOpen(place, 0);
  assertEquals([connections.accepted, fates.server_lost, fates.upgrade_lost], [200, 0, 0]);
});

Deno.test({ name: "sessions of TLS go on: one in use, and one that says hello afterwards", ignore }, async () => {
  using listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...SERVER });
  const serving = (async () => {
    for await (const socket of listener) void socket.readable.pipeTo(socket.writable).catch(() => {});
  })();
  await using place = await makePlace();
  const { host, port } = await place.start("--check", "off");
  await place.do("add", "127.0.0.1", String((listener.addr as Deno.NetAddr).port));
  const shaken = await Deno.connectTls({ hostname: host, port, caCerts: [CA] });
  const plain = await Deno.connect({ hostname: host, port }); // it says hello afterwards
  const say = async (socket: Deno.TlsConn, text: string) => {
    await writeText(socket, text);
    assertEquals(new TextDecoder().decode(await soon(readBytes(socket, text.length), text)), text);
  };
  await say(shaken, "before");
  const upgrading = upgrade(place);
  while (await Promise.race([upgrading.then(() => false), say(shaken, "meanwhile").then(() => true)]));
  assertEquals((await upgrading).code, 0);
  const late = await Deno.startTls(plain, { hostname: host, caCerts: [CA] });
  for (const socket of [shaken, late]) await say(socket, "afterwards");
  for (const socket of [shaken, late]) socket.close();
  assertEquals((await untilOpen(place, 0)).connections.accepted, 2);
  listener.close();
  await serving.catch(() => {});
});

Deno.test({ name: "what is changed while the process changes holds afterwards, or was refused", ignore }, async () => {
  await using place = await makePlace();
  await place.start("--check", "off");
  const said = new Map<string, boolean>();
  let isOver = false;
  const change = async () => {
    for (let port = 1; !isOver; port++) {
      const { code, stderr } = await place.ctl("add", "192.0.2.1", String(port));
      said.set(`192.0.2.1:${port}`, code === 0);
      if (code !== 0) assertMatch(stderr, /^balancerctl: [^\n]+\n$/);
    }
  };
  const changing = change();
  for (let round = 0; round < 2; round++) assertEquals((await upgrade(place)).code, 0);
  isOver = true;
  await changing;
  const { servers } = JSON.parse(await place.do("list", "--json"));
  const there = new Set(servers.map(({ server }: { server: string }) => server));
  for (const [server, isSaid] of said) if (isSaid) assert(there.has(server), `${server} was added and is lost`);
  assertGreater(there.size, 5);
});

Deno.test({ name: "a server that speaks first, a drained server and a removed one go on as they were", ignore }, async () => {
  await using first = startGreeter();
  await using second = startGreeter();
  await using place = await makePlace();
  const address = await place.start();
  for (const { address: { host, port } } of [first, second]) await place.do("add", host, String(port));
  const clients = await Promise.all(Array.from({ length: 20 }, () => connect(address)));
  for (const client of clients) await readBytes(client, 5);
  await place.do("drain", first.address.host, String(first.address.port));
  const removing = place.ctl("remove", second.address.host, String(second.address.port), "--drain", "1h");
  await untilRemoving(place);
  assertEquals((await upgrade(place)).code, 0);
  assertEquals((await removing).code, 1); // whoever waits for the removal waits for the old process
  const { servers } = JSON.parse(await place.do("list", "--json"));
  const states = Object.fromEntries(servers.map(({ server, state }: Record<string, string>) => [server, state]));
  assertEquals(states, { [first.name]: "draining", [second.name]: "removing" });
  for (const client of clients) {
    await writeText(client, "on");
    assertEquals(new TextDecoder().decode(await readBytes(client, 2)), "on");
    client.close();
  }
  await untilOpen(place, 0);
  const left = JSON.parse(await place.do("list", "--json")).servers;
  assertEquals(left.map(({ server }: Record<string, string>) => server), [first.name]);
});

async function untilRemoving(place: Place): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const { servers } = JSON.parse(await place.do("list", "--json"));
    if (servers.some(({ state }: Record<string, string>) => state === "removing")) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the server is never removed");
}

Deno.test(
  { name: "clients who wait, and a pause, are the new process's: served in their order when the pause ends", ignore },
  async () => {
    const said: string[] = [];
    await using server = startServer(async (socket) => {
      const name = new TextDecoder().decode(await readBytes(socket, 1));
      said.push(name);
      await writeText(socket, name);
      for await (const _ of readChunks(socket));
    });
    await using place = await makePlace();
    const address = await place.start("--hold", "10m", "--workers", "1"); // each worker has a line of its own
    await place.do("pause", "--for", "10m");
    const clients: Deno.TcpConn[] = [];
    for (const name of "abcde") {
      const client = await connect(address);
      await writeText(client, name);
      clients.push(client);
      await untilWaiting(place, clients.length);
    }
    assertEquals((await upgrade(place)).code, 0);
    const { waiting, pause } = await untilWaiting(place, 5);
    assertEquals([waiting, pause?.idle], [5, false]);
    await place.do("add", server.address.host, String(server.address.port));
    assertStringIncludes(await place.do("resume"), "takes clients again");
    for (const [i, client] of clients.entries()) {
      assertEquals(new TextDecoder().decode(await soon(readBytes(client, 1))), "abcde"[i]);
      client.close();
    }
    assertEquals(said.join(""), "abcde");
    const { fates } = await untilOpen(place, 0);
    assertEquals(fates.done, 5);
  },
);

interface Hold {
  readonly waiting: number;
  readonly pause: { readonly idle: boolean } | null;
}

async function untilWaiting(place: Place, count: number): Promise<Hold> {
  const holdOf = async (): Promise<Hold> => JSON.parse(await place.do("list", "--json")).hold;
  return await poll(holdOf, ({ waiting }) => waiting === count, `${count} who wait`);
}

Deno.test(
  { name: "a limit on open files that is too low is told in a sentence, and the old process goes on", ignore },
  async () => {
    await using server = startServer(echo);
    await using place = await makePlace();
    const address = await place.start();
    await place.do("add", server.address.host, String(server.address.port));
    const clients = await Promise.all(Array.from({ length: 60 }, () => connect(address)));
    const { pid } = await untilOpen(place, 60);
    const command = new Deno.Command("sh", {
      args: ["-c", 'ulimit -n 256; exec "$@"', "sh", place.program("balancerctl"), "upgrade"],
      env: place.env,
      stdin: "null",
    });
    const { code, stderr } = await outcomeOf(command, UPGRADE_MAX_MS);
    assertEquals(code, 1);
    assertMatch(stderr, /^balancerctl: Cannot upgrade: [^\n]*256[^\n]*ulimit -n[^\n]*\n$/);
    assertEquals((await addedUp(place)).pid, pid);
    for (const client of clients) {
      await writeText(client, "x");
      await readBytes(client, 1);
      client.close();
    }
  },
);

Deno.test({ name: "a declared file is read anew, and what was typed beside it goes on to hold", ignore }, async () => {
  await using place = await makePlace();
  const file = `${await Deno.realPath(place.folder)}/balancer.yaml`;
  const address = formatAddress(unusedAddress());
  const declare = (server: string) =>
    Deno.writeTextFile(file, `services:\n  web:\n    listen: ${address}\n    check: off\n    servers: ["${server}"]\n`);
  await declare("192.0.2.1:80");
  const args = ["run", "--config", file, "--max-connections", "77"];
  const options = { args, env: place.env, stdin: "null", stdout: "piped", stderr: "null" } as const;
  await using daemon = new Deno.Command(place.program("balancer"), options).spawn();
  const lines = daemon.stdout.getReader();
  await soon(lines.read(), "the address");
  await declare("192.0.2.2:80");
  const { code, stderr } = await upgrade(place);
  assertEquals(code, 0, stderr);
  const servers = async (): Promise<string> =>
    JSON.parse(await place.do("list", "--json")).servers.map(({ server }: Record<string, string>) => server).join();
  await poll(servers, (names) => names === "192.0.2.2:80", "the server of the file");
  assertEquals(JSON.parse(await place.do("status", "--json")).settings["max-connections"], "77");
  await place.do("stop");
  await lines.cancel();
});

Deno.test(
  { name: "the log of a daemon in the foreground goes on where it was, also with what was taken over", ignore },
  async () => {
    await using place = await makePlace();
    const log = `${place.folder}/log`;
    const daemon = await runForeground(place, [], `exec "$@" 2>'${log}'`);
    assertEquals((await upgrade(place)).code, 0);
    await daemon.ended();
    await place.do("stop");
    const text = await Deno.readTextFile(log);
    for (const part of ["Left the place to process", "Took over from version", "Stopped"]) assertStringIncludes(text, part);
  },
);

Deno.test({ name: "a dry run changes nothing, and what cannot be says why", ignore }, async () => {
  await using place = await makePlace();
  await place.start();
  const before = await statusOf(place);
  const dry = await upgrade(place, "--dry-run");
  assertEquals(dry.code, 0, dry.stderr);
  assertStringIncludes(dry.stdout, "can take over from version");
  for (
    const [to, sentence] of [
      [`${place.folder}/nothing`, "it does not exist"],
      ["/bin/echo", "it is not balancer"],
      [place.folder, "Cannot use the program"],
    ]
  ) {
    const { code, stderr } = await upgrade(place, "--to", to);
    assertEquals(code, 1);
    assertStringIncludes(stderr, sentence);
  }
  assertEquals((await statusOf(place)).pid, before.pid);
  assertEquals((await upgrade(place, "--to", place.program("balancer"))).code, 0);
  assert((await statusOf(place)).pid !== before.pid);
});

Deno.test({ name: "engine streams is not upgraded, and restart stops and starts it", ignore }, async () => {
  await using place = await makePlace();
  await place.start("--engine", "streams");
  const { code, stderr } = await upgrade(place);
  assertEquals(code, 1);
  assertStringIncludes(stderr, "cannot hand listeners over");
  const before = await statusOf(place);
  assertStringIncludes(await place.do("restart"), "it was stopped and started");
  const after = await statusOf(place);
  assert(after.pid !== before.pid);
  assertEquals(after.address, before.address);
});

Deno.test({ name: "restart changes the number of workers and keeps connections", ignore }, async () => {
  await using server = startServer(echo);
  await using place = await makePlace();
  const address = await place.start("--workers", "1");
  await place.do("add", server.address.host, String(server.address.port));
  using client = await connect(address);
  await writeText(client, "a");
  await readBytes(client, 1);
  assertStringIncludes(await place.do("restart", "--workers", "3"), "1 open connection came along");
  await writeText(client, "b");
  await readBytes(client, 1);
  const { settings } = JSON.parse(await place.do("status", "--json"));
  assertEquals(settings.workers, "3");
  assertStringIncludes(await place.do("restart"), "1 open connection came along");
});

Deno.test(
  { name: "the new process is killed at any moment: the old one goes on, and idle clients notice nothing", ignore },
  async () => {
    await using server = startServer(echo);
    await using place = await makePlace();
    const address = await place.start();
    await place.do("add", server.address.host, String(server.address.port));
    const idle = await Promise.all(Array.from({ length: 300 }, () => connect(address)));
    await untilOpen(place, 300);
    let killed = 0;
    for (const afterMs of [0, 150, 300, 450, 600, 750, 900, 1050, 1200, 1350]) {
      const { pid } = await statusOf(place);
      const taker = new Deno.Command(place.program("balancer"), {
        args: ["run", "--take-over=now"],
        env: place.env,
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).spawn();
      await new Promise((resolve) => setTimeout(resolve, afterMs));
      const status = await statusOf(place).catch(() => undefined); // it may just be changing hands
      if (status?.pid === pid) {
        try {
          taker.kill("SIGKILL");
          killed++;
        } catch { /* refused: the one before was killed when it was let in and had not come, which is waited for */ }
        await taker.status;
      } else taker.unref();
      const now = await untilOpen(place, 300);
      assert(now.pid === pid || now.pid === taker.pid);
    }
    assertGreater(killed, 0);
    for (const client of idle) {
      await writeText(client, "x");
      await readBytes(client, 1);
      client.close();
    }
    const { fates } = await untilOpen(place, 0);
    assertEquals(fates.upgrade_lost, 0);
  },
);

Deno.test(
  { name: "a new process that has the connections and cannot go on ends at once: the old one's clients notice nothing", ignore },
  async () => {
    await using server = startServer(echo);
    await using place = await makePlace();
    const address = await place.start();
    await place.do("add", server.address.host, String(server.address.port));
    const clients = await Promise.all(Array.from({ length: 20 }, () => connect(address)));
    const { pid } = await untilOpen(place, 20);
    const folder = `${place.env.XDG_RUNTIME_DIR}/balancer`;
    const taker = new Deno.Command(place.program("balancer"), {
      args: ["run", "--take-over=now"],
      env: place.env,
      stdin: "null",
      stderr: "piped",
    }).spawn();
    await poll(() => Promise.resolve(meetings(place).length), (count) => count > 0, "the meeting");
    await poll(() => Promise.resolve(meetings(place).length), (count) => count === 0, "what is given");
    // The new process has no connection yet. When it has them all, it cannot take the control socket.
    await Deno.rename(`${folder}/default.sock`, `${place.folder}/away`);
    await Deno.mkdir(`${folder}/default.sock`);
    assertMatch(await new Response(taker.stderr).text(), /^balancer: Cannot take over: Is a directory\n$/m);
    assertEquals((await taker.status).code, 1);
    await Deno.remove(`${folder}/default.sock`);
    const status = await untilOpen(place, 20);
    assertEquals([status.pid, status.fates.upgrade_lost], [pid, 0]);
    for (const client of clients) {
      await writeText(client, "x");
      await soon(readBytes(client, 1), "an echo");
      client.close();
    }
  },
);

Deno.test({ name: "a stop during an upgrade is the new process's", ignore }, async () => {
  await using place = await makePlace();
  const daemon = await runForeground(place);
  const upgrading = upgrade(place);
  await poll(() => Promise.resolve(meetings(place).length), (count) => count > 0, "the meeting");
  daemon.process.kill("SIGTERM");
  await daemon.ended();
  await upgrading;
  for (let tries = 0; (await place.ctl("status")).code === 0; tries++) {
    assert(tries < 100, "the new process goes on although it was to stop");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});

Deno.test({ name: "two bulk streams arrive whole although the process changes in the middle", ignore }, async () => {
  const bytes = someBytes(200 * 1024 ** 2, 3);
  await using server = startServer(async (socket) => await writeAll(socket, bytes));
  await using place = await makePlace();
  const address = await place.start();
  await place.do("add", server.address.host, String(server.address.port));
  using socket = await connect(address);
  const all = new Uint8Array(bytes.length);
  let at = 0;
  const reading = (async () => {
    while (at < all.length) {
      const count = await socket.read(all.subarray(at, at + 262_144));
      assert(count !== null, `the stream ended after ${at} bytes`);
      at += count;
      if (at < all.length / 2) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  assertEquals((await upgrade(place)).code, 0);
  await soon(reading, "the stream", UPGRADE_MAX_MS);
  assertEquals(await sha256(all), await sha256(bytes));
});
