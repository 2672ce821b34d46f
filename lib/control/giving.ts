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
  DESCRIPTORS_MAX,
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
  /** Why no process can take the place of this one, a clause; undefined: one can. */
  readonly irreplaceable: string | undefined;
  readonly version: string;
  /** How many descriptors this process may open. */
  readonly descriptors: number;
  readonly socketPath: string;
  readonly lockPath: string;
  readonly startedAs: StartedAs;
  /** Gives up what only one process can have; what it returns takes that back. */
  readonly standAside: () => Promise<() => Promise<void>>;
  /** The process with this number has everything: does what is left to be done here. */
  readonly leave: (pid: number) => Promise<void>;
  /** Ends this process at once. */
  readonly exit: () => void;
  /** Somebody has asked to stop during an upgrade that has failed. */
  readonly stop: (times: StopTimes) => void;
  /** Whether the balancer stops, or was asked to. */
  readonly isStopping: () => boolean;
}

/** How long the new process may take for each step, in ms. */
const STEPS = { connect: 3_000, hello: 10_000, ready: 60_000, running: 60_000, accepting: 10_000, done: 120_000 } as const;
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
    const { balancer, socketPath, irreplaceable } = this.#options;
    if (balancer.handover === undefined) {
      const why = "its engine, streams, cannot hand listeners over; balancerctl restart stops it and starts it again";
      throw new OperatorError("conflict", `Cannot upgrade this balancer: ${why}`);
    }
    if (this.#options.isStopping()) throw new OperatorError("conflict", "Cannot upgrade this balancer: it is stopping");
    if (irreplaceable !== undefined) throw new OperatorError("conflict", `Cannot upgrade this balancer: ${irreplaceable}`);
    if (this.#isBusy) throw new OperatorError("conflict", `Cannot upgrade this balancer: ${UNDER_WAY}`);
    const path = `${folderOf(socketPath)}/.${crypto.randomUUID().slice(0, 8)}`;
    const listener = Deno.listen({ transport: "unix", path });
    Deno.chmodSync(path, 0o600);
    this.#isBusy = true;
    void this.#letIn(listener).finally(() => this.#isBusy = false);
    return path;
  }

  /** Lets one process in, and talks with it. Nobody may come in time, and this process may have no descriptor for whoever comes. */
  async #letIn(listener: Deno.Listener): Promise<void> {
    let isOpen = true;
    const close = () => {
      if (isOpen) listener.close();
      isOpen = false;
    };
    const timer = setTimeout(close, STEPS.connect);
    try {
      const conn = await listener.accept().finally(() => clearTimeout(timer));
      close();
      await this.#meet(conn);
    } catch (error) {
      if (isOpen) this.#sayNothingWas(error);
      close();
    }
  }

  async #meet(conn: Deno.Conn): Promise<void> {
    using channel: OldChannel = new Channel<FromNew, FromOld>(conn);
    try {
      await this.#talk(channel);
    } catch (error) {
      this.#sayNothingWas(error);
    } finally {
      const stop = this.#stop;
      this.#stop = null;
      if (stop !== null) this.#options.stop(stop);
    }
  }

  /** Whatever has failed, this process goes on. */
  #sayNothingWas(error: unknown): void {
    const text = `Nothing was upgraded: ${messageOf(error)}`;
    this.#options.balancer.events.add({ kind: "daemon", level: error instanceof OperatorError ? "warning" : "error", text });
    if (error instanceof OperatorError) log.warn("Nothing was upgraded: {why}", { why: messageOf(error) });
    else log.error("Nothing was upgraded: {fault}", { fault: error instanceof Error ? error.stack : error });
  }

  async #talk(channel: OldChannel): Promise<void> {
    const { balancer, version, startedAs } = this.#options;
    const hello = await channel.expect("hello", STEPS.hello);
    await using _left = { [Symbol.asyncDispose]: () => this.#removeSocketOf(hello) };
    const { counters } = balancer;
    const refusal = refusalOf(hello, {
      version,
      descriptors: Math.min(this.#options.descriptors, DESCRIPTORS_MAX),
      descriptorsNeeded: 2 * counters.get("open") + DESCRIPTORS_RESERVED,
      leavingServices: balancer.leavingServices(),
      leavingListeners: balancer.leavingListeners(),
    });
    if (refusal !== undefined) return await channel.send({ kind: "failed", reason: `Cannot upgrade: ${refusal}` });
    await channel.send({ kind: "offer", version, state: balancer.state, startedAs, open: counters.get("open") });
    if (hello.how === "check") return void await channel.expect("failed", STEPS.ready).catch(() => {}); // it says why it ends
    await channel.expect("ready", STEPS.ready);
    log.info("Upgrading from {version} to {next}: {open} open connections", {
      version,
      next: hello.version,
      open: counters.get("open"),
    });
    using libc = openLibc();
    await this.#giveAll(channel, hello, libc);
  }

  /** The socket of the new process: it ends with it, and its file does not. */
  async #removeSocketOf({ path }: Hello): Promise<void> {
    if (folderOf(path) === folderOf(this.#options.socketPath)) await Deno.remove(path).catch(() => {});
  }

  /** Gives everything, or takes everything back and throws. */
  async #giveAll(channel: OldChannel, hello: Hello, libc: Libc): Promise<void> {
    const { balancer } = this.#options;
    await using undo = new AsyncDisposableStack();
    let pid: number | undefined;
    try {
      undo.defer(await balancer.freeze(UNDER_WAY));
      if (this.#options.isStopping()) throw new OperatorError("conflict", "it is stopping");
      this.#isGiving = true;
      undo.defer(() => void (this.#isGiving = false));
      const socket = connectTo(libc, hello.path);
      if (socket < 0) throw new OperatorError("failed", `it cannot be given descriptors: ${errnoText(-socket)}`);
      undo.defer(() => void libc.call.close(socket));
      pid = peerOf(libc, socket);
      await this.#removeSocketOf(hello); // it needs nobody else's
      await this.#giveInSteps(channel, libc, socket, undo);
    } catch (error) {
      await channel.send({ kind: "failed", reason: `Cannot upgrade: ${messageOf(error)}` }).catch(() => {});
      if (pid !== undefined) {
        await awaitEnd(channel, libc, pid); // before anything is taken back: two must not serve the same connection
        balancer.handover!.takeBack();
      }
      throw error;
    }
    undo.move();
    await this.#leave(channel, pid);
  }

  /** The new process has everything. Whatever happens, this one ends: its descriptors keep sockets open that are not its own. */
  async #leave(channel: OldChannel, pid: number): Promise<void> {
    const { leave, exit } = this.#options;
    await leave(pid).catch((error) => log.error("Left in disorder: {why}", { why: messageOf(error) }));
    const stop = this.#stop;
    this.#stop = null;
    if (stop !== null) await channel.send({ kind: "stop", stop }).catch(() => {}); // somebody has wanted it since `end`
    exit();
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
    const stop = this.#stop;
    await channel.send({ kind: "end", connections, words: balancer.lastWords(), stop });
    await done;
    if (this.#stop === stop) this.#stop = null; // the new process has been told
  }

  /** Gives the lock, the listeners and sockets for the connections. Returns this side's ends of these. */
  async #giveDescriptors(channel: OldChannel, libc: Libc, socket: number, undo: AsyncDisposableStack): Promise<number[]> {
    const { balancer, lockPath, startedAs } = this.#options;
    const lock = descriptorOf(libc, await Deno.realPath(lockPath));
    if (lock < 0) {
      throw new OperatorError("failed", `lock file ${JSON.stringify(lockPath)} was replaced; the guard restores it in a second`);
    }
    using theirs = new DisposableStack();
    const pairs = Array.from({ length: balancer.handover!.sockets }, () => {
      const pair = makePair(libc);
      if (pair === undefined) throw new OperatorError("failed", "the process that runs has no descriptor left; try again later");
      undo.defer(() => void libc.call.close(pair[0]));
      theirs.defer(() => void libc.call.close(pair[1]));
      return pair;
    });
    const listeners = balancer.listenerDescriptors();
    const outputs = startedAs.isDetached ? [] : [1, 2];
    sendAll(libc, socket, [
      lock,
      ...outputs,
      ...listeners.map(({ descriptor }) => descriptor),
      ...pairs.map(([, there]) => there),
    ]);
    theirs.dispose();
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
