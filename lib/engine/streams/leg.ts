/**
 * One of the servers that a connection of the `streams` engine has over time: its socket and its state. A leg is up until it is
 * lost (its socket has failed) or left (the connection has moved or ended). Writes to it can be held. Decides nothing.
 */

import type { TableServer } from "../../routing/routing_table.ts";
import { closeSocket, type Observer, Source } from "./conn_streams.ts";

/** A server and its socket. */
export class Leg {
  #state: "up" | "lost" | "left" = "up";
  readonly source: Source;
  readonly startedMs: number = performance.now();
  /** When the server last showed signs of life or could not send for lack of room, by performance.now. */
  heardMs: number = this.startedMs;
  /** Whether it has sent bytes. */
  hasAnswered = false;
  /** Whether it still counts as one of its server's connections. */
  isCounted = true;
  /** It has sent FIN and is being probed. */
  isProbed = false;
  /** Its FIN was passed on to the client. */
  endPassed = false;
  /** Whether sending to it goes on, has finished with a FIN, or has failed. */
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

  /** A write is under way, and it is not known how many bytes the server has received. */
  get isWriting(): boolean {
    return this.#writing !== undefined;
  }

  /** Aborted when the leg is lost or left, which ends the pipes to and from it. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** Writes to the server once writes are not held. Calls `onTaken` with the number of written bytes, in the same tick. */
  async write(bytes: Uint8Array, onTaken: (bytes: number) => void): Promise<number> {
    await this.#clearance();
    try {
      const count = await (this.#writing = this.socket.write(bytes));
      if (this.#state === "left") throw new Error("it was left"); // the next server gets these bytes
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

  /** Resolves when the write under way has finished. */
  async written(): Promise<void> {
    await this.#writing?.catch(() => {}); // the writer handles the error, and does so first
  }

  /** Holds further writes until `release`. */
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

  /** The connection no longer needs it. */
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
