/** A listening socket of the `streams` engine, opened by Deno. */

import type { Address } from "../../values/address.ts";
import type { Listener } from "../engine.ts";
import { listenByDeno } from "../listen.ts";

/** A listener and Deno's socket. */
export class StreamsListener implements Listener {
  readonly address: Address;
  readonly socket: Deno.TcpListener;
  #isOpen = true;

  /** Opens the socket. Throws `listenError`. */
  constructor(wanted: Address) {
    this.socket = listenByDeno(wanted);
    this.address = { host: wanted.host, port: this.socket.addr.port };
  }

  [Symbol.dispose](): void {
    if (this.#isOpen) this.socket.close();
    this.#isOpen = false;
  }
}
