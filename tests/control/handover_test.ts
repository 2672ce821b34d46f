// Each of the two processes of an upgrade ends at each step; the other one goes on. One of them is played by the test.

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { StopTimes } from "../../lib/balancer/shutdown.ts";
import { Giving } from "../../lib/control/giving.ts";
import { Channel, type FromNew, type FromOld, type Given, SPOKEN } from "../../lib/control/handover_wire.ts";
import { isLocked, Lock } from "../../lib/control/lock.ts";
import { TakingOver } from "../../lib/control/taking.ts";
import { ANSWER_BYTES, HANDOVER_VERSION, HEAD_BYTES, readHead, writeAnswer } from "../../lib/engine/epoll/carried.ts";
import { epoll } from "../../lib/engine/epoll/engine.ts";
import { type Libc, openLibc } from "../../lib/engine/system/libc.ts";
import { acceptAt, connectTo, listenAt, makePair, Passing } from "../../lib/engine/system/passing.ts";
import { FATE_NAMES } from "../../lib/values/fates.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { connect, echo, readBytes, readText, soon, startServer, writeText } from "../helpers.ts";
import { type OneService, startBalancer } from "../one_service.ts";
import { until } from "../raw_socket.ts";

const ignore = epoll.unsupported() !== undefined;
const STARTED_AS = {
  logFile: null,
  keepsState: false,
  isDetached: true,
  configFile: null,
  typed: {},
  notifySocket: null,
  watchdogMs: null,
};
const WAIT_MS = 20_000;

/** Where the played new process ends: after it has said or got this. */
const STEPS = ["hello", "offer", "ready", "given", "running", "begin", "accepting", "batch", "acknowledged", "end"] as const;
type Step = typeof STEPS[number] | "done";

/** What happens while the played process plays. */
interface Meanwhile {
  /** It has a batch, and has not acknowledged it. */
  readonly onBatch?: (descriptors: readonly number[], libc: Libc) => Promise<void>;
  /** It has every connection. */
  readonly onEnd?: () => Promise<void>;
  /** Where it says that it listens. */
  readonly path?: string;
}

/** The new process, as far as the test plays it. */
class PlayedNew {
  readonly #libc: Libc = openLibc();
  readonly #open: number[] = [];
  #channel: Channel<FromOld, FromNew> | undefined;
  /** How the balancer is to stop, as the old one says after everything. */
  stop: StopTimes | undefined;

  constructor(readonly folder: string, readonly last: Step, readonly meanwhile: Meanwhile = {}) {}

  /** Talks as far as that, and then is gone with everything that it has. */
  async play(path: string): Promise<void> {
    try {
      await this.#talk(path);
    } finally {
      for (const descriptor of this.#open) this.#libc.call.close(descriptor);
      this.#channel?.[Symbol.dispose]();
    }
  }

  async #talk(path: string): Promise<void> {
    const own = `${this.folder}/new`;
    const listener = this.#keep(listenAt(this.#libc, own));
    const channel = this.#channel = new Channel<FromOld, FromNew>(await Deno.connect({ transport: "unix", path }));
    const is = (step: Step) => this.last === step;
    await channel.send({
      kind: "hello",
      version: "9.9.9",
      spoken: SPOKEN,
      how: "now",
      isForced: false,
      descriptors: 9999,
      path: this.meanwhile.path ?? own,
    });
    if (is("hello")) return;
    await channel.expect("offer", WAIT_MS);
    if (is("offer")) return;
    await channel.send({ kind: "ready" });
    if (is("ready")) return;
    const given = await channel.expect("given", WAIT_MS);
    const descriptors = this.#receive(listener, 1 + given.listeners.length + given.sockets);
    if (is("given")) return;
    await channel.send({ kind: "running" });
    if (is("running")) return;
    await channel.expect("begin", WAIT_MS);
    if (is("begin")) return;
    await channel.send({ kind: "accepting" });
    if (is("accepting")) return;
    await this.#takeBatches(descriptors.slice(-given.sockets));
    if (!is("end") && !is("done")) return;
    await channel.expect("end", WAIT_MS);
    await this.meanwhile.onEnd?.();
    if (is("end")) return;
    await channel.send({ kind: "done" });
    this.stop = (await channel.expect("stop", WAIT_MS)).stop;
  }

  #keep(descriptor: number): number {
    assert(descriptor >= 0, `errno ${-descriptor}`);
    this.#open.push(descriptor);
    return descriptor;
  }

  #receive(listener: number, count: number): number[] {
    const socket = this.#keep(acceptAt(this.#libc, listener));
    const { descriptors } = new Passing(this.#libc).receive(socket, this.#libc.addressOf(new ArrayBuffer(1)), 1);
    assertEquals(descriptors.length, count);
    for (const one of descriptors) this.#keep(one);
    return [...descriptors];
  }

  /** Takes batches until there are none for a while, or until the first one. */
  async #takeBatches(sockets: readonly number[]): Promise<void> {
    const bytes = new Uint8Array(new ArrayBuffer(1024 * 1024));
    const address = this.#libc.addressOf(bytes.buffer);
    const passing = new Passing(this.#libc);
    let still = 0;
    while (still < 100) {
      let hasTaken = false;
      for (const socket of sockets) {
        const received = passing.receive(socket, address, HEAD_BYTES);
        if (received.bytes !== HEAD_BYTES) continue;
        for (const descriptor of received.descriptors) this.#keep(descriptor);
        const head = readHead(bytes.subarray(0, HEAD_BYTES));
        await until(() => this.#libc.call.recv(socket, address, BigInt(head.bytes), 0) > 0, "the batch");
        hasTaken = true;
        await this.meanwhile.onBatch?.(received.descriptors, this.#libc);
        if (this.last === "batch") return;
        const answer = new Int32Array(new ArrayBuffer(ANSWER_BYTES));
        writeAnswer(answer, head.number, true);
        this.#libc.call.write(socket, this.#libc.addressOf(answer.buffer), BigInt(ANSWER_BYTES));
        if (this.last === "acknowledged") return;
      }
      still = hasTaken ? 0 : still + 1;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** A balancer that can be taken over. */
async function withGiving(
  use: (balancer: OneService, giving: Giving, folder: string, left: () => boolean) => Promise<void>,
  irreplaceable?: string,
): Promise<void> {
  await using server = startServer(echo);
  const folder = await Deno.makeTempDir({ prefix: "balancer_handover_" });
  const lock = await Lock.take(`${folder}/lock`);
  assert(lock !== undefined);
  await using balancer = await startBalancer({ engine: epoll });
  await balancer.add(server.address);
  let hasLeft = false;
  const giving = new Giving({
    balancer: balancer.balancer,
    irreplaceable,
    version: "1.0.0",
    descriptors: 9999,
    socketPath: `${folder}/socket`,
    lockPath: `${folder}/lock`,
    startedAs: STARTED_AS,
    standAside: () => Promise.resolve(() => Promise.resolve()),
    leave: () => Promise.resolve(),
    exit: () => void (hasLeft = true),
    stop: () => {},
    isStopping: () => false,
  });
  await use(balancer, giving, folder, () => hasLeft);
  await Deno.remove(folder, { recursive: true });
}

Deno.test({
  name: "a process with which something ends is not upgraded",
  ignore: epoll.unsupported() !== undefined,
  fn: () =>
    withGiving((_, giving) => {
      assertThrows(() => giving.open(), OperatorError, "Cannot upgrade this balancer: it is process 1");
      return Promise.resolve();
    }, "it is process 1"),
});

async function says(client: Deno.TcpConn, text: string): Promise<void> {
  await writeText(client, text);
  assertEquals(new TextDecoder().decode(await soon(readBytes(client, text.length), text)), text);
}

function assertAddsUp({ counters }: OneService): void {
  const fates = FATE_NAMES.reduce((sum, fate) => sum + counters.get(fate), 0);
  assertEquals(fates, counters.get("accepted") - counters.get("open"));
}

for (const last of STEPS) {
  Deno.test({
    name: `the new process ends after "${last}": the old one goes on, and clients that were quiet notice nothing`,
    ignore,
  }, () =>
    withGiving(async (balancer, giving, folder, hasLeft) => {
      const clients = await Promise.all(Array.from({ length: 40 }, () => connect(balancer.address)));
      for (const client of clients) await says(client, "before");
      await new PlayedNew(folder, last).play(giving.open());
      await until(() => !giving.isBusy, "the old process to be alone");
      await balancer.add({ host: "127.0.0.1", port: 9 });
      await balancer.balancer.removeServer(balancer.service, "127.0.0.1:9", 0);
      for (const client of clients) await says(client, "after");
      using newcomer = await connect(balancer.address);
      await says(newcomer, "new");
      assertEquals([hasLeft(), balancer.counters.get("upgrade_lost"), balancer.counters.get("open")], [false, 0, 41]);
      assertAddsUp(balancer);
      assertEquals(namesIn(folder), ["lock"]);
      for (const client of clients) client.close();
    }));
}

function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name);
}

Deno.test(
  { name: "clients who end their half while the new process has them, and then dies, get their answers", ignore },
  () =>
    withGiving(async (balancer, giving, folder) => {
      const clients = await Promise.all(Array.from({ length: 10 }, () => connect(balancer.address)));
      for (const client of clients) await says(client, "before");
      const onEnd = async () => {
        for (const client of clients) await writeText(client, "last");
        for (const client of clients) await client.closeWrite();
      };
      await new PlayedNew(folder, "end", { onEnd }).play(giving.open());
      for (const client of clients) assertEquals(await soon(readText(client), "the rest"), "last");
      await until(() => balancer.counters.get("open") === 0, "the end");
      assertEquals([balancer.counters.get("upgrade_lost"), balancer.counters.get("done")], [0, 10]);
    }),
);

Deno.test(
  { name: "clients who wait while the new process has them, and then dies, wait on in their order", ignore },
  () =>
    withGiving(async (balancer, giving, folder) => {
      await balancer.balancer.pauseService(balancer.service, { forMs: 60_000, idle: false, who: "a test" });
      const waiting = () => balancer.service.hold.waiting;
      const clients: Deno.TcpConn[] = [];
      for (const text of "abcde") {
        const client = await connect(balancer.address);
        await writeText(client, text);
        clients.push(client);
        await until(() => waiting() === clients.length, "one more who waits");
      }
      const onEnd = async () => {
        assertEquals(waiting(), 0);
        clients[1].close(); // gone while nobody looks
        await new Promise((resolve) => setTimeout(resolve, 50));
      };
      await new PlayedNew(folder, "end", { onEnd }).play(giving.open());
      await until(() => !giving.isBusy && waiting() === 4, "those who wait");
      await balancer.balancer.resumeService(balancer.service, "a test");
      for (const [i, client] of clients.entries()) {
        if (i !== 1) assertEquals(new TextDecoder().decode(await soon(readBytes(client, 1), "an answer")), "abcde"[i]);
      }
      assertEquals([waiting(), balancer.counters.get("client_gone"), balancer.counters.get("open")], [0, 1, 4]);
      assertAddsUp(balancer);
      for (const [i, client] of clients.entries()) if (i !== 1) client.close();
    }),
);

Deno.test(
  { name: "bytes that the new process took before it acknowledged a batch are not lost in silence", ignore },
  () =>
    withGiving(async (balancer, giving, folder) => {
      const clients = await Promise.all(Array.from({ length: 2 }, () => connect(balancer.address)));
      for (const client of clients) await says(client, "before");
      let taken = 0;
      const onBatch = async (descriptors: readonly number[], libc: Libc) => {
        for (const client of clients) await writeText(client, "lost?");
        const buffer = libc.addressOf(new ArrayBuffer(5));
        await until(() => (taken = Math.max(taken, libc.call.recv(descriptors[0], buffer, 5n, 0))) > 0, "the bytes");
      };
      await new PlayedNew(folder, "batch", { onBatch }).play(giving.open());
      const answers = clients.map((client) => soon(readBytes(client, 5), "an answer").then(() => "answered", () => "reset"));
      assertEquals((await Promise.all(answers)).toSorted(), ["answered", "reset"]);
      assertEquals([taken, balancer.counters.get("upgrade_lost")], [5, 1]);
      for (const client of clients) client.close();
    }),
);

Deno.test(
  { name: "who wants the balancer to stop at the last moment is heard by the new process", ignore },
  () =>
    withGiving(async (_, giving, folder, hasLeft) => {
      const times = { lameDuckMs: 1, graceMs: 2 };
      const onEnd = () => Promise.resolve(void giving.putsOff(times));
      const played = new PlayedNew(folder, "done", { onEnd });
      await played.play(giving.open());
      assertEquals(played.stop, times);
      await until(hasLeft, "the old process to leave");
    }),
);

Deno.test(
  { name: "who cannot be given descriptors is told why, and nothing has changed", ignore },
  () =>
    withGiving(async (balancer, giving, folder) => {
      const played = new PlayedNew(folder, "given", { path: `${folder}/nowhere` });
      await assertRejects(() => played.play(giving.open()), OperatorError, "Cannot upgrade: it cannot be given descriptors");
      await until(() => !giving.isBusy, "the old process to be alone");
      await balancer.add({ host: "127.0.0.1", port: 9 });
    }),
);

Deno.test(
  { name: "a process that has no descriptor left for whoever comes goes on", ignore },
  () =>
    withGiving(async (balancer, giving, folder) => {
      const { listen } = Deno;
      const full = new Error("Too many open files (os error 24)");
      const poor = (options: Deno.UnixListenOptions & { transport: "unix" }) =>
        Object.assign(listen(options), { accept: () => Promise.reject(full) });
      Object.assign(Deno, { listen: poor });
      const path = giving.open();
      Object.assign(Deno, { listen });
      await until(() => !giving.isBusy, "nobody");
      assertEquals(namesIn(folder), ["lock"], path);
      const [last] = balancer.balancer.events.list({ limit: 1 }).events;
      assertEquals(last.text, "Nothing was upgraded: Too many open files");
      await new PlayedNew(folder, "hello").play(giving.open());
    }),
);

Deno.test({ name: "only its own user finds the entrance open", ignore }, () =>
  withGiving(async (_, giving, folder) => {
    const path = giving.open();
    assertEquals((await Deno.lstat(path)).mode! & 0o777, 0o600);
    await new PlayedNew(folder, "hello").play(path);
  }));

Deno.test(
  { name: "only one new process is let in at a time, and none while the balancer stops", ignore },
  () =>
    withGiving(async (_balancer, giving, folder) => {
      const path = giving.open();
      assertEquals(assertThrowsText(() => giving.open()).includes("an upgrade is under way"), true);
      await new PlayedNew(folder, "hello").play(path);
    }),
);

function assertThrowsText(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return String(error);
  }
  throw new Error("nothing was thrown");
}

/** Where the played old process ends: after it has said this. */
const OLD_STEPS = ["nothing", "offer", "given", "begin", "end"] as const;

/** The old process, as far as the test plays it: it has a listener and no connection, or says that it has. */
async function playOld(
  conn: Deno.Conn,
  last: typeof OLD_STEPS[number],
  address: { host: string; port: number },
  descriptor: number,
) {
  using libc = openLibc();
  using channel = new Channel<FromNew, FromOld>(conn);
  const hello = await channel.expect("hello", WAIT_MS);
  if (last === "nothing") return;
  const state = {
    generation: 4,
    services: [{
      name: "default",
      settings: { check: "off" },
      servers: [],
      listeners: [{ address: address.host, port: address.port }],
    }],
  };
  await channel.send({ kind: "offer", version: "0.0.1", state, startedAs: STARTED_AS, open: 3 });
  if (last === "offer") return;
  await channel.expect("ready", WAIT_MS);
  const socket = connectTo(libc, hello.path);
  const [here, there] = makePair(libc)!;
  new Passing(libc).send(socket, libc.addressOf(new ArrayBuffer(1)), 1, [descriptor, descriptor, there]);
  libc.call.close(there);
  const given: Given = {
    kind: "given",
    state,
    leftovers: [],
    pauses: [],
    places: { services: [[0, "default"]], listeners: [[0, `${address.host}:${address.port}`]], servers: [] },
    known: [],
    listeners: [address],
    sockets: 1,
    hasOutputs: false,
  };
  await channel.send(given);
  if (last !== "given") {
    await channel.expect("running", WAIT_MS);
    const none = { counters: {}, gauges: {}, histograms: {} };
    const figures = {
      process: { counters: { accepted: 10, done: 7 }, gauges: { open: 3 }, histograms: {} },
      services: [{
        service: "default",
        counted: { counters: { serviceAccepted: 10, done: 7 }, gauges: { serviceOpen: 3 }, histograms: {} },
      }],
      listeners: [{ listener: `${address.host}:${address.port}`, counted: none }],
      servers: [],
    };
    await channel.send({ kind: "begin", figures });
    await channel.expect("accepting", WAIT_MS);
    if (last === "end") {
      const ended = { ...figures, process: { ...figures.process, counters: { accepted: 10, done: 10 } } };
      const services = [{ ...figures.services[0], counted: { ...none, counters: { serviceAccepted: 10, done: 10 } } }];
      const ends = { ends: [], leftOut: { done: 4 } };
      await channel.send({
        kind: "end",
        connections: 0,
        words: { figures: { ...ended, services }, ends, rebalances: [] },
        stop: null,
      });
    }
  }
  libc.call.close(socket);
  libc.call.close(here);
}

for (const last of OLD_STEPS) {
  const goesOn = last === "begin" || last === "end";
  Deno.test({
    name: `the old process ends after "${last}": the new one ${goesOn ? "goes on with what it has" : "gives up"}`,
    ignore,
  }, async () => {
    const folder = await Deno.makeTempDir({ prefix: "balancer_handover_" });
    const path = `${folder}/old`;
    using entrance = Deno.listen({ transport: "unix", path });
    using listener = epoll.listen({ host: "127.0.0.1", port: 0 }, { keepAliveMs: 0, userTimeoutMs: 0, deferAcceptMs: 0 });
    const { address, descriptor } = listener;
    const playing = entrance.accept().then((conn) => playOld(conn, last, address, descriptor!));
    const run = async () => {
      const taking = await TakingOver.begin({ path, how: "now", isForced: false, version: "1.0.0", descriptors: 1000 });
      const { state } = await taking.take();
      await using balancer = await startBalancer({
        engine: epoll,
        listener: { address: address.host, port: address.port },
        inherited: (wanted, config) => taking.inherit(epoll, wanted, config),
        isWaiting: true,
      });
      assertEquals(state.generation, 4);
      await taking.takeConnections(balancer.balancer);
      await taking.finish(balancer.balancer, () => {});
      assertEquals(balancer.address, address);
      await until(() => balancer.counters.get("open") === 0, "nobody");
      assertAddsUp(balancer);
      assertEquals([balancer.counters.get("accepted"), balancer.counters.get("done")], [10, last === "end" ? 10 : 7]);
      assertEquals(balancer.counters.get("upgrade_lost"), last === "end" ? 0 : 3);
      assertEquals(taking.carried!.lost, last === "end" ? 0 : 3);
      using client = await connect(balancer.address);
      assertEquals(await soon(client.read(new Uint8Array(1)), "the end: there is no server"), null);
    };
    if (goesOn) await run();
    else await assertRejects(run, OperatorError, "the other process has ended");
    await playing;
    await Deno.remove(folder, { recursive: true });
  });
}

Deno.test("the main threads and the workers speak of the same version", () => assert(SPOKEN.includes(HANDOVER_VERSION)));

Deno.test("a lock file that was replaced while it was handed over is locked", async () => {
  const folder = await Deno.makeTempDir({ prefix: "balancer_handover_" });
  await Lock.takeOver(`${folder}/lock`);
  assertEquals(await isLocked(`${folder}/lock`), true);
  await Deno.remove(folder, { recursive: true });
});
