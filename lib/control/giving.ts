/**
 * The old process of an upgrade: lets a new one in, refuses it while nothing has changed, and then hands over the lock, the
 * listeners, every connection and what was counted. Whatever fails, it goes on by itself: it makes sure that the new process has
 * ended, takes back what that has not touched, and accepts again. Only the new one's last word makes it leave.
 */

import type { Balancer } from "../balancer/balancer.ts";
import { errnoText, type Libc, openLibc, SIGKILL } from "../engine/system/libc.ts";
import { descriptorOf } from "../engine/system/open_files.ts";
import { connectTo, makePair, PASSED_MAX, Passing, peerOf } from "../engine/system/passing.ts";
import { logger } from "../observe/log.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import type { StopTimes } from "../balancer/shutdown.ts";
import { folderOf } from "../values/paths.ts";
import {
  Channel,
  type FromNew,
  type FromOld,
  type Given,
  type Hello,
  refusalOf,
  sayKnown,
  type StartedAs,
} from "./handover_wire.ts";

/** Options of Giving. */
interface GivingOptions {
  readonly balancer: Balancer;
  /** Of this process. */
  readonly pid: number;
  readonly version: string;
  readonly socketPath: string;
  readonly lockPath: string;
  readonly startedAs: StartedAs;
  /** Gives up what only one process can have; what it returns takes that back. */
  readonly standAside: () => Promise<() => Promise<void>>;
  /** Ends this process: the one with this number has everything. */
  readonly leave: (pid: number) => Promise<void>;
  /** Somebody has asked to stop during an upgrade that has failed. */
  readonly stop: (times: StopTimes) => void;
  /** Whether the balancer stops, or was asked to. */
  readonly isStopping: () => boolean;
}

/** How long the new process may take for each step, in ms. */
const STEPS = { connect: 10_000, hello: 10_000, ready: 60_000, running: 60_000, accepting: 10_000, done: 120_000 } as const;
/** How long it may take to end when it is told to, before it is killed. */
const END_MAX_MS = 1000;
/** Descriptors that a process needs beside those of its connections. */
const DESCRIPTORS_RESERVED = 160;

/** Why nothing can be changed meanwhile. */
const UNDER_WAY = "an upgrade is under way; try again in a moment";

const log = logger("daemon");

type OldChannel = Channel<FromNew, FromOld>;

/** Hands a balancer over to other processes, one at a time. */
export class Giving {
  readonly #options: GivingOptions;
  #isBusy = false;
  #isGiving = false;
  #stop: StopTimes | null = null;

  constructor(options: GivingOptions) {
    this.#options = options;
  }

  /**
   * Whether a stop is put off: an upgrade is under way that cannot be broken off. The new process stops then,
   * or this one if the upgrade fails.
   */
  putsOff(times: StopTimes): boolean {
    if (this.#isGiving) this.#stop = times;
    return this.#isGiving;
  }

  /** Whether a new process is let in, or is there. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** Lets a new process in at the path that it returns. Throws an operator error if that cannot be now. */
  open(): string {
    const { balancer, socketPath } = this.#options;
    if (balancer.handover === undefined) {
      const why = "its engine, streams, cannot hand listeners over; balancerctl restart stops it and starts it again";
      throw new OperatorError("conflict", `Cannot upgrade this balancer: ${why}`);
    }
    if (this.#options.isStopping()) throw new OperatorError("conflict", "Cannot upgrade this balancer: it is stopping");
    if (this.#options.pid === 1) {
      const why = "it is process 1, as in a container, which ends with it; start a new container instead";
      throw new OperatorError("conflict", `Cannot upgrade this balancer: ${why}`);
    }
    if (this.#isBusy) throw new OperatorError("conflict", `Cannot upgrade this balancer: ${UNDER_WAY}`);
    const path = `${folderOf(socketPath)}/.${crypto.randomUUID().slice(0, 8)}`;
    const listener = Deno.listen({ transport: "unix", path });
    this.#isBusy = true;
    const timer = setTimeout(() => listener.close(), STEPS.connect);
    const meet = async () => {
      const conn = await listener.accept();
      clearTimeout(timer);
      listener.close(); // there is one
      await this.#meet(conn);
    };
    void meet().catch((error) => {
      if (!(error instanceof Deno.errors.BadResource)) throw error; // nobody has come in time
    }).finally(() => this.#isBusy = false);
    return path;
  }

  async #meet(conn: Deno.Conn): Promise<void> {
    using channel: OldChannel = new Channel<FromNew, FromOld>(conn);
    try {
      await this.#talk(channel);
    } catch (error) {
      // Whatever it is, this process goes on.
      const text = `Nothing was upgraded: ${messageOf(error)}`;
      this.#options.balancer.events.add({ kind: "daemon", level: error instanceof OperatorError ? "warning" : "error", text });
      if (error instanceof OperatorError) log.warn("Nothing was upgraded: {why}", { why: messageOf(error) });
      else log.error("Nothing was upgraded: {fault}", { fault: error instanceof Error ? error.stack : error });
    } finally {
      const stop = this.#stop;
      this.#stop = null;
      if (stop !== null) this.#options.stop(stop);
    }
  }

  async #talk(channel: OldChannel): Promise<void> {
    const { balancer, version, startedAs } = this.#options;
    const hello = await channel.expect("hello", STEPS.hello);
    const { counters } = balancer;
    const refusal = refusalOf(hello, {
      version,
      descriptorsNeeded: 2 * counters.get("open") + DESCRIPTORS_RESERVED,
      leavingServices: balancer.leavingServices(),
    });
    if (refusal !== undefined) return await channel.send({ kind: "failed", reason: `Cannot upgrade: ${refusal}` });
    await channel.send({ kind: "offer", version, state: balancer.state, startedAs, open: counters.get("open") });
    if (hello.how === "check") return await channel.ended();
    await channel.expect("ready", STEPS.ready);
    log.info("Upgrading from {version} to {next}: {open} open connections", {
      version,
      next: hello.version,
      open: counters.get("open"),
    });
    using libc = openLibc();
    await this.#giveAll(channel, hello, libc);
  }

  /** Gives everything, or takes everything back and throws. */
  async #giveAll(channel: OldChannel, hello: Hello, libc: Libc): Promise<void> {
    const { balancer, leave } = this.#options;
    await using undo = new AsyncDisposableStack();
    undo.defer(await balancer.freeze(UNDER_WAY));
    if (this.#options.isStopping()) throw new OperatorError("conflict", "Cannot upgrade this balancer: it is stopping");
    this.#isGiving = true;
    undo.defer(() => void (this.#isGiving = false));
    const socket = connectTo(libc, hello.path);
    if (socket < 0) throw new OperatorError("failed", `it cannot be given descriptors: ${errnoText(-socket)}`);
    undo.defer(() => void libc.call.close(socket));
    const pid = peerOf(libc, socket);
    await Deno.remove(hello.path).catch(() => {}); // it needs nobody else's
    try {
      await this.#giveInSteps(channel, libc, socket, undo);
    } catch (error) {
      await channel.send({ kind: "failed", reason: `Cannot upgrade: ${messageOf(error)}` }).catch(() => {});
      await awaitEnd(channel, libc, pid); // before anything is taken back: two must not serve the same connection
      balancer.handover!.takeBack();
      throw error;
    }
    undo.move();
    await leave(pid);
  }

  async #giveInSteps(channel: OldChannel, libc: Libc, socket: number, undo: AsyncDisposableStack): Promise<void> {
    const { balancer, standAside } = this.#options;
    const sockets = await this.#giveDescriptors(channel, libc, socket, undo);
    await channel.expect("running", STEPS.running);
    await channel.send({ kind: "begin", figures: balancer.figures() });
    await channel.expect("accepting", STEPS.accepting);
    const done = channel.expect("done", STEPS.done);
    const early = done.then((): never => {
      throw new OperatorError("failed", "it says that it has everything before it was given all");
    });
    early.catch(() => {}); // `done` is awaited below, or another failure comes first
    const connections = await Promise.race([balancer.handover!.give(sockets), early]);
    undo.defer(await standAside());
    await channel.send({ kind: "end", connections, words: balancer.lastWords(), stop: this.#stop });
    await done;
  }

  /** Gives the lock, the listeners and sockets for the connections. Returns this side's ends of these. */
  async #giveDescriptors(channel: OldChannel, libc: Libc, socket: number, undo: AsyncDisposableStack): Promise<number[]> {
    const { balancer, lockPath, startedAs } = this.#options;
    const lock = descriptorOf(libc, await Deno.realPath(lockPath));
    if (lock < 0) {
      throw new OperatorError("failed", `lock file ${JSON.stringify(lockPath)} was replaced; the guard restores it in a second`);
    }
    const pairs = Array.from({ length: balancer.handover!.sockets }, () => {
      const pair = makePair(libc);
      if (pair === undefined) throw new OperatorError("failed", "this process has no descriptor left");
      return pair;
    });
    for (const [here] of pairs) undo.defer(() => void libc.call.close(here));
    const listeners = balancer.listenerDescriptors();
    const outputs = startedAs.isDetached ? [] : [1, 2];
    const all = [lock, ...outputs, ...listeners.map(({ descriptor }) => descriptor), ...pairs.map(([, there]) => there)];
    try {
      sendAll(libc, socket, all);
    } finally {
      for (const [, there] of pairs) libc.call.close(there);
    }
    await channel.send(
      {
        kind: "given",
        state: balancer.state,
        leftovers: balancer.leftovers(),
        places: balancer.places(),
        known: sayKnown(balancer.known()),
        pauses: balancer.pauses(),
        listeners: listeners.map(({ address }) => address),
        sockets: pairs.length,
        hasOutputs: outputs.length > 0,
      } satisfies Given,
    );
    return pairs.map(([here]) => here);
  }
}

/** Sends descriptors, a byte with each message. */
function sendAll(libc: Libc, socket: number, descriptors: readonly number[]): void {
  const passing = new Passing(libc);
  const byte = libc.addressOf(new ArrayBuffer(1));
  for (let at = 0; at < descriptors.length; at += PASSED_MAX) {
    const sent = passing.send(socket, byte, 1, descriptors.slice(at, at + PASSED_MAX));
    if (sent < 0) throw new OperatorError("failed", `it cannot be given descriptors: ${errnoText(-sent)}`);
  }
}

/** Resolves when the other process has ended. One that does not end by itself is killed. */
async function awaitEnd(channel: OldChannel, libc: Libc, pid: number): Promise<void> {
  const timer = setTimeout(() => pid > 0 && libc.call.kill(pid, SIGKILL), END_MAX_MS);
  await channel.ended();
  clearTimeout(timer);
}
