/**
 * One of the servers that a connection of the `streams` engine has over time: its socket, and what may still be done with it. A leg
 * is up until it is lost (its socket has failed) or left (another server has the connection, or it has ended); what the client says
 * can be held back from it. Decides nothing.
 */

import type { TableServer } from "../../routing/routing_table.ts";
import { closeSocket, type Observer, Source } from "./conn_streams.ts";

/** A server and its socket. */
export class Leg {
  #state: "up" | "lost" | "left" = "up";
  readonly source: Source;
  readonly startedMs: number = performance.now();
  /** When it was there, said something or could say more last, by performance.now. */
  heardMs: number = this.startedMs;
  /** Whether it still counts as one of its server's connections. */
  isCounted = true;
  /** It has sent its end, and is asked whether it meant that. */
  isProbed = false;
  /** Its end was passed on to the client. */
  endPassed = false;
  /** How sending to it has ended: all was said, or it takes no more. */
  sending: "under way" | "finished" | "failed" = "under way";
  readonly #gone = new AbortController();
  #held: PromiseWithResolvers<void> | undefined;
  #writing: Promise<number> | undefined;

  constructor(readonly server: TableServer, readonly socket: Deno.TcpConn, observer: Observer) {
    this.source = new Source(socket, observer);
  }

  get isUp(): boolean {
    return this.#state === "up";
  }

  /** Bytes are on their way to it, and nobody knows how many of them it has. */
  get isWriting(): boolean {
    return this.#writing !== undefined;
  }

  /** Aborted when the leg is lost or left: what pipes to and from it ends with that. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** Says something to the server, as soon as nothing is held back from it. `onTaken` hears at once how many bytes it took. */
  async write(bytes: Uint8Array, onTaken: (bytes: number) => void): Promise<number> {
    await this.#clearance();
    try {
      const count = await (this.#writing = this.socket.write(bytes));
      if (this.#state === "left") throw new Error("it was left"); // the next server is told what this one may have got
      onTaken(count);
      return count;
    } finally {
      this.#writing = undefined;
    }
  }

  async closeWrite(): Promise<void> {
    await this.#clearance();
    await this.socket.closeWrite();
  }

  /** When it is known what it took of the last write. */
  async written(): Promise<void> {
    await this.#writing?.catch(() => {}); // whoever wrote hears of it first
  }

  /** Nothing more is said to it until `release`. */
  hold(): void {
    this.#held ??= Promise.withResolvers();
  }

  release(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }

  /** Its socket has failed. */
  fail(): void {
    if (this.#state === "up") this.#end("lost");
  }

  /** The connection does not need it any more. */
  leave(): void {
    if (this.#state !== "left") this.#end("left");
  }

  #end(state: "lost" | "left"): void {
    this.#state = state;
    closeSocket(this.socket);
    this.#gone.abort();
    this.release();
  }

  async #clearance(): Promise<void> {
    while (this.#held !== undefined) await this.#held.promise;
    if (this.#state !== "up") throw new Error("it is not there any more");
  }
}
