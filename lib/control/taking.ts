/**
 * The new process of an upgrade: takes the place of the one that runs. Until it says that it accepts, nothing has changed, and any
 * failure is a sentence. From then on its sockets are also the other process's, so it never closes what it has in an orderly way:
 * if it fails it ends at once, and the other one takes back what it can. If the other one dies, it goes on with what it has.
 */

import type { Balancer } from "../balancer/balancer.ts";
import type { Leftover } from "../balancer/carried_state.ts";
import type { StopTimes } from "../balancer/shutdown.ts";
import { faultOfState } from "../balancer/state_faults.ts";
import type { EngineKind, Listener, ListenerConfig } from "../engine/engine.ts";
import { errnoText, type Libc, openLibc } from "../engine/system/libc.ts";
import { acceptAt, listenAt, Passing } from "../engine/system/passing.ts";
import { logger } from "../observe/log.ts";
import { type Address, formatAddress } from "../values/address.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { folderOf } from "../values/paths.ts";
import {
  Channel,
  DESCRIPTORS_MAX,
  type FromNew,
  type FromOld,
  type Given,
  Gone,
  hearKnown,
  type Offer,
  SPOKEN,
  type TakeOver,
} from "./handover_wire.ts";

/** What was carried over, for the operator. */
export interface CarriedOver {
  /** When, ISO 8601, UTC. */
  readonly at: string;
  /** The version that ran before. */
  readonly from: string;
  readonly connections: number;
  /** Those that were lost with the other process. */
  readonly lost: number;
  /** How long it took from the first connection to the last, and how long connections stood still, in ms. */
  readonly durationMs: number;
  readonly pauseP99Ms: number;
  readonly pauseMaxMs: number;
}

/** Options of TakingOver.begin. */
interface TakingOptions {
  /** Where the old process lets this one in. */
  readonly path: string;
  readonly how: TakeOver;
  readonly isForced: boolean;
  readonly version: string;
  /** How many descriptors this process may open. */
  readonly descriptors: number;
}

/** How long the old process may take for each step, in ms. */
const STEPS = { offer: 10_000, given: 60_000, begin: 60_000, end: 120_000, gone: 40_000 } as const;

/** The descriptors of the standard streams that are handed over. */
const STREAMS = { output: 1, error: 2 } as const;

const log = logger("daemon");

/** The taking over of one process's place. */
export class TakingOver {
  readonly offer: Offer;
  readonly #channel: Channel<FromOld, FromNew>;
  readonly #libc: Libc;
  readonly #listener: number;
  #given: Given | undefined;
  #adopted = new Map<string, number>();
  #sockets: readonly number[] = [];
  /** Standard output and standard error of the old process, which ran in the foreground. */
  #outputs: readonly number[] = [];
  #carried: CarriedOver | undefined;
  #stop: StopTimes | null = null;
  #isAlone = false;
  #gone: Promise<void> = Promise.resolve();

  readonly #path: string;

  private constructor(offer: Offer, channel: Channel<FromOld, FromNew>, libc: Libc, listener: number, path: string) {
    this.#path = path;
    this.offer = offer;
    this.#channel = channel;
    this.#libc = libc;
    this.#listener = listener;
  }

  /** Introduces this process. Throws an operator error with the reason why it may not take over, or cannot. */
  static async begin({ path, how, isForced, version, descriptors }: TakingOptions): Promise<TakingOver> {
    const libc = openLibc();
    const own = `${folderOf(path)}/.${crypto.randomUUID().slice(0, 8)}`;
    const listener = listenAt(libc, own);
    if (listener < 0) throw new OperatorError("failed", `Cannot listen at ${JSON.stringify(own)}: ${errnoText(-listener)}`);
    try {
      await Deno.chmod(own, 0o600);
      const channel = new Channel<FromOld, FromNew>(await Deno.connect({ transport: "unix", path }));
      await Deno.remove(path).catch(() => {}); // nobody else is let in
      const most = Math.min(descriptors, DESCRIPTORS_MAX);
      await channel.send({ kind: "hello", version, spoken: SPOKEN, how, isForced, descriptors: most, path: own });
      const offer = await channel.expect("offer", STEPS.offer);
      const fault = faultOfState(offer.state);
      if (fault !== undefined) {
        throw new OperatorError("failed", `Cannot take over the state of version ${offer.version}: ${fault.why}`);
      }
      return new TakingOver(offer, channel, libc, listener, own);
    } catch (error) {
      await Deno.remove(own).catch(() => {});
      throw error;
    }
  }

  /** Says that everything is checked, and gets what the balancer is to begin with. */
  async take(): Promise<Given> {
    await this.#channel.send({ kind: "ready" });
    const given = this.#given = await this.#channel.expect("given", STEPS.given);
    const all = this.#receive(1 + (given.hasOutputs ? 2 : 0) + given.listeners.length + given.sockets);
    all.shift(); // the lock, which this process has as long as it runs
    if (given.hasOutputs) this.#outputs = all.splice(0, 2);
    for (const address of given.listeners) this.#adopted.set(formatAddress(address), all.shift()!);
    this.#sockets = all;
    return given;
  }

  /** The servers that were being removed: they are in the state until `finish`. */
  get leftovers(): readonly Leftover[] {
    return this.#given!.leftovers;
  }

  /** The pauses of services. */
  get pauses(): Given["pauses"] {
    return this.#given!.pauses;
  }

  /** What is known of the servers of a service. */
  known(service: string): ReturnType<Balancer["known"]> extends ReadonlyMap<string, infer Known> ? Known : never {
    return hearKnown(this.#given!.known).get(service) ?? new Map();
  }

  /** The listening socket for this address, as this engine has it; undefined: the other process had none. */
  inherit(engine: EngineKind, address: Address, config: ListenerConfig): Listener | undefined {
    const name = formatAddress(address);
    const descriptor = this.#adopted.get(name);
    if (descriptor === undefined) return undefined;
    this.#adopted.delete(name);
    return engine.adopt!(address, descriptor, config);
  }

  /** What was carried over; undefined: not yet. */
  get carried(): CarriedOver | undefined {
    return this.#carried;
  }

  /** How this process is to stop at once; null: it is not. */
  get stop(): StopTimes | null {
    return this.#stop;
  }

  /** Accepts, takes every connection, and adds what was counted. Ends this process if it cannot. */
  async takeConnections(balancer: Balancer): Promise<void> {
    const handover = balancer.handover!;
    await handover.ready;
    await this.#channel.send({ kind: "running" });
    const { figures } = await this.#channel.expect("begin", STEPS.begin);
    handover.take(this.#sockets, balancer.indexesOf(this.#given!.places));
    handover.listen();
    const startedMs = performance.now();
    await this.#channel.send({ kind: "accepting" });
    let lost = 0;
    try {
      const end = await Promise.race([this.#channel.expect("end", STEPS.end), handover.failed]);
      await Promise.race([handover.hasTaken(end.connections), handover.failed]);
      balancer.takeLastWords(end.words);
      this.#stop = end.stop;
    } catch (error) {
      if (!(error instanceof Gone)) throw error;
      this.#isAlone = true;
      await handover.alone();
      lost = balancer.loseRest(figures, handover.taken.reduce((sum, { count }) => sum + count, 0));
    }
    await balancer.dropLeftovers(this.#given!.leftovers);
    for (const descriptor of this.#adopted.values()) this.#libc.call.close(descriptor); // of a listener that could not be used
    this.#carried = { ...this.#summary(handover.taken, performance.now() - startedMs), lost };
  }

  /** This process has everything: the old one may leave. `onStop`: somebody has told that one to stop, at the last moment. */
  async finish(balancer: Balancer, onStop: (times: StopTimes) => void): Promise<void> {
    const { connections, lost, durationMs, pauseP99Ms, from } = this.#carried!;
    this.#takeOutput(STREAMS.error); // whoever has started this process reads it only for why that has failed
    const facts = { from, connections, ms: Math.round(durationMs), pause: pauseP99Ms.toFixed(1) };
    log.info(
      "Took over from version {from}: {connections} connections in {ms} ms, each stood still for at most {pause} ms (p99)",
      facts,
    );
    if (this.#isAlone) {
      return log.error("The process that ran before has ended during the upgrade: {lost} connections are lost with it", { lost });
    }
    await this.#channel.send({ kind: "done" }).catch(() => {}); // it has gone already
    this.#gone = this.#awaitGone(onStop);
    void this.#gone.then(() => balancer.handover!.alone());
  }

  /** Resolves when the old process has ended. It has little to do, so this one goes on with its own affairs soon. */
  async #awaitGone(onStop: (times: StopTimes) => void): Promise<void> {
    try {
      const { stop } = await this.#channel.expect("stop", STEPS.gone);
      onStop(stop);
      await this.#channel.expect("stop", STEPS.gone);
    } catch (error) {
      if (!(error instanceof Gone)) log.warn("The process that ran before has not ended yet: {why}", { why: messageOf(error) });
    }
  }

  /** Resolves when the old process has ended, or soon: it has nothing more to do. */
  get gone(): Promise<void> {
    return this.#gone;
  }

  /** What this process writes from now on goes to where the old one wrote, if that ran in the foreground. */
  takeOutput(): void {
    this.#takeOutput(STREAMS.output);
  }

  #takeOutput(stream: number): void {
    const descriptor = this.#outputs[stream - STREAMS.output];
    if (descriptor !== undefined) this.#libc.call.dup3(descriptor, stream, 0);
  }

  /** Nothing is taken over, for this reason. */
  async fail(reason: string): Promise<void> {
    await this.#channel.send({ kind: "failed", reason }).catch(() => {});
    await Deno.remove(this.#path).catch(() => {});
  }

  #summary(
    batches: readonly { readonly count: number; readonly pauseMs: number }[],
    durationMs: number,
  ): Omit<CarriedOver, "lost"> {
    const sorted = batches.toSorted((a, b) => a.pauseMs - b.pauseMs);
    const connections = sorted.reduce((sum, { count }) => sum + count, 0);
    let before = 0;
    const p99 = sorted.find(({ count }) => (before += count) >= connections * 0.99)?.pauseMs ?? 0;
    const [at, from] = [new Date().toISOString(), this.offer.version];
    return { at, from, connections, durationMs, pauseP99Ms: p99, pauseMaxMs: sorted.at(-1)?.pauseMs ?? 0 };
  }

  /** So many descriptors: they have been sent. */
  #receive(count: number): number[] {
    const socket = acceptAt(this.#libc, this.#listener);
    if (socket < 0) throw new OperatorError("failed", `Cannot receive descriptors: ${errnoText(-socket)}`);
    const passing = new Passing(this.#libc);
    const byte = this.#libc.addressOf(new ArrayBuffer(1));
    const all: number[] = [];
    while (all.length < count) {
      const { bytes, descriptors, isCut } = passing.receive(socket, byte, 1);
      all.push(...descriptors);
      if (bytes > 0 && !isCut) continue;
      const why = bytes < 0 ? errnoText(-bytes) : "some were lost; raise the limit on open files (ulimit -n)";
      throw new OperatorError("failed", `Cannot receive ${count} descriptors: ${why}`);
    }
    return all; // `socket` stays open: the other process learns from its end that this one has ended
  }
}
