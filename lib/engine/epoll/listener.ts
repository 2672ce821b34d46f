/** A listening socket of the epoll engine: opened on the main thread, accepted from by the workers. */

import { type Address, isIp } from "../../values/address.ts";
import { LIMITS } from "../../values/config.ts";
import { LISTEN_REASONS, listenError } from "../../values/listen_error.ts";
import type { Listener, ListenerConfig } from "../engine.ts";
import { findListenIp } from "../listen.ts";
import { ERRNO } from "../system/errno.ts";
import { errnoText, type Libc, openLibc } from "../system/libc.ts";
import { Sockets } from "../system/sockets.ts";

/** The libc of all listeners, while there are any: opening it takes longer than opening a socket. */
const shared = { libc: undefined as Libc | undefined, users: 0 };

function borrowLibc(): Libc {
  shared.users++;
  return shared.libc ??= openLibc();
}

function returnLibc(): void {
  if (--shared.users > 0) return;
  shared.libc?.[Symbol.dispose]();
  shared.libc = undefined;
}

/** A listener and its descriptor. */
export class EpollListener implements Listener {
  readonly address: Address;
  readonly descriptor: number;
  readonly #libc: Libc = borrowLibc();
  #isOpen = true;

  /** Takes over a listening socket that another program has opened for this address. */
  static adopt(address: Address, descriptor: number, config: ListenerConfig): EpollListener {
    return new EpollListener(address, config, descriptor);
  }

  /** Opens the socket, or takes it over. Throws `listenError`. */
  constructor(wanted: Address, config: ListenerConfig, adopted = -1) {
    const sockets = new Sockets(this.#libc);
    if (adopted >= 0) {
      sockets.adoptListening(adopted, LIMITS.acceptBacklog, config);
      this.descriptor = adopted;
      this.address = wanted;
      return;
    }
    try {
      const address = isIp(wanted.host) ? wanted : { host: findListenIp(wanted), port: wanted.port };
      this.descriptor = sockets.listen(address, LIMITS.acceptBacklog, config);
      if (this.descriptor < 0) throw listenError(wanted, reasonOf(-this.descriptor));
    } catch (error) {
      returnLibc();
      throw error;
    }
    this.address = { host: wanted.host, port: sockets.ownPortOf(this.descriptor) };
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#libc.call.close(this.descriptor);
    returnLibc();
  }
}

function reasonOf(errno: number): Parameters<typeof listenError>[1] {
  return LISTEN_REASONS.find((name) => ERRNO[name] === errno) ?? { words: errnoText(errno) };
}
