/**
 * One client: a connection of its own from an address of its own, on which it asks, waits for the whole answer, checks it, thinks,
 * and asks again. It tells what it met and decides nothing: what a loss was to it is found out by whoever watches it. On node:net,
 * for `Deno.connect` cannot choose the address that it comes from.
 */

import { createConnection, type Socket } from "node:net";
import type { Address } from "../../lib/values/address.ts";
import { checksum, parseAnswer, requestLine } from "./protocol.ts";
import type { Random } from "../random.ts";

/** What a client may be doing, as far as it can know. */
export const STATES = {
  unsent: "connected, and has never sent anything",
  waiting: "has asked, and nothing of the answer has come",
  partial: "has part of an answer",
  answered: "has had its answer just now",
  idle: "has had its answer, and all has been quiet since",
} as const;

/** A row of STATES. */
export type State = keyof typeof STATES;

/** How a client's connection may end that should not. */
export type Ending = "reset" | "ended" | "wrong" | "missing";

/** How clients behave. */
export interface Manner {
  /** Between an answer and the next request. */
  readonly thinkMs: readonly [low: number, high: number];
  /** So long after an answer a client is idle. */
  readonly quietMs: number;
  /** How long it waits for an answer. */
  readonly patienceMs: number;
  /** The most that a request is padded by, in bytes. */
  readonly paddingMax: number;
}

/** What befalls a client. */
export interface ClientListener {
  /** A whole and right answer. Times are those of `performance.now()`. */
  onAnswer(client: Client, server: string, sentAtMs: number): void;
  /** `state` is what it was doing to the last. */
  onEnd(client: Client, ending: Ending, state: State): void;
}

/** A request on its way. */
interface Question {
  readonly number: number;
  readonly line: string;
  readonly sentAtMs: number;
}

const PADDING = "a client's words that mean nothing but must arrive ".repeat(1400);

/** A client. */
export class Client implements Disposable {
  #socket?: Socket;
  #opening?: PromiseWithResolvers<void>;
  #holds = false;
  #question?: Question;
  #text = "";
  #requests = 0;
  #answeredAtMs?: number;
  #timer?: ReturnType<typeof setTimeout>;
  #home?: string;
  #server?: string;

  constructor(
    readonly id: number,
    readonly balancer: Address,
    readonly manner: Manner,
    readonly random: Random,
    readonly listener: ClientListener,
  ) {}

  /** Its address: every client has one, of 250 in a row. */
  get ip(): string {
    return `127.0.${1 + Math.floor(this.id / 250)}.${1 + this.id % 250}`;
  }

  get isOpen(): boolean {
    return this.#socket !== undefined && this.#opening === undefined;
  }

  /** The server that answered last, or, with a connection that was never answered, the one that answered first on the last one. */
  get server(): string | undefined {
    return this.#server ?? this.#home;
  }

  get state(): State {
    if (this.#question !== undefined) return this.#text === "" ? "waiting" : "partial";
    if (this.#answeredAtMs === undefined) return "unsent";
    return performance.now() - this.#answeredAtMs < this.manner.quietMs ? "answered" : "idle";
  }

  /** Connects anew. Resolves at the first answer, or, if it `holds`, once it is connected; it says nothing then before `speak`. */
  open({ holds = false } = {}): Promise<void> {
    this.close();
    const opening = this.#opening = Promise.withResolvers<void>();
    this.#holds = holds;
    const { host, port } = this.balancer;
    const socket = this.#socket = createConnection({ host, port, localAddress: this.ip });
    const mine = (act: () => void) => () => socket === this.#socket && act();
    socket.setEncoding("latin1").setNoDelay(true);
    socket.on("connect", mine(() => holds ? this.#opened() : this.#ask()));
    socket.on("data", (text: string) => socket === this.#socket && this.#hear(text));
    socket.on("end", mine(() => this.#end("ended"))).on("close", mine(() => this.#end("ended")));
    socket.on("error", mine(() => this.#end("reset")));
    this.#wait(this.manner.patienceMs, () => this.#end("missing"));
    return opening.promise;
  }

  /** A client that was silent until now begins, after some thought. */
  speak(): void {
    if (!this.#holds || !this.isOpen) return;
    this.#holds = false;
    this.#think();
  }

  /** Ends its connection, which is no event. */
  close(): void {
    clearTimeout(this.#timer);
    this.#socket?.destroy();
    this.#socket = undefined;
    this.#opening?.reject(new Error("It was closed"));
    this.#opening =
      this.#question =
      this.#answeredAtMs =
      this.#server =
        undefined;
    this.#text = "";
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #opened(): void {
    clearTimeout(this.#timer);
    this.#opening?.resolve();
    this.#opening = undefined;
  }

  #think(): void {
    this.#wait(this.random.between(this.manner.thinkMs), () => this.#ask());
  }

  #ask(): void {
    const number = ++this.#requests;
    const line = requestLine(this.id, number, PADDING.slice(0, this.random.below(this.manner.paddingMax + 1)));
    this.#question = { number, line, sentAtMs: performance.now() };
    this.#socket!.write(`${line}\n`);
    this.#wait(this.manner.patienceMs, () => this.#end("missing"));
  }

  #hear(text: string): void {
    this.#text += text;
    const end = this.#text.indexOf("\n");
    // More than was asked for.
    if (this.#question === undefined || (end >= 0 && end < this.#text.length - 1)) return this.#end("wrong");
    if (end < 0) return;
    const { number, line, sentAtMs } = this.#question;
    const answer = parseAnswer(this.#text.slice(0, end));
    const fits = answer?.client === this.id && answer.request === number && answer.checksum === checksum(line);
    if (!fits) return this.#end("wrong");
    this.#text = "";
    this.#question = undefined;
    this.#answeredAtMs = performance.now();
    this.#server = answer.server;
    if (this.#opening !== undefined) this.#home = answer.server;
    this.#opened();
    this.#think();
    this.listener.onAnswer(this, answer.server, sentAtMs);
  }

  #end(ending: Ending): void {
    const wasOpen = this.isOpen;
    const { state } = this;
    this.close(); // whoever opens it learns by that
    if (wasOpen) this.listener.onEnd(this, ending, state);
  }

  #wait(ms: number, act: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(act, ms);
  }
}
