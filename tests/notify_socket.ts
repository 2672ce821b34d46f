/** The socket of a service manager (sd_notify(3)), played by a test: it hears what a daemon tells, from whichever process. */

import { openLibc, SOCKADDR_UN, SOCKET } from "../lib/engine/system/libc.ts";
import { poll } from "./helpers.ts";

const NOTICE_MAX = 4096;

/** A socket that listens, and what it has heard. Disposing of it closes it. */
export class NotifySocket implements Disposable {
  readonly #libc = openLibc();
  readonly #socket: number;
  readonly #buffer = new Uint8Array(new ArrayBuffer(NOTICE_MAX));
  readonly #heard: string[] = [];

  /** Binds to a path, or to `@` and an abstract name. */
  constructor(readonly name: string) {
    const { call } = this.#libc;
    this.#socket = call.socket(SOCKET.AF_UNIX, SOCKET.SOCK_DGRAM | SOCKET.SOCK_NONBLOCK | SOCKET.SOCK_CLOEXEC, 0);
    const text = new TextEncoder().encode(name.startsWith("@") ? `\0${name.slice(1)}` : `${name}\0`);
    const address = new Uint8Array(new ArrayBuffer(SOCKADDR_UN.path + text.length));
    address[0] = SOCKET.AF_UNIX;
    address.set(text, SOCKADDR_UN.path);
    const bound = call.bind(this.#socket, this.#libc.addressOf(address.buffer), address.length);
    if (bound !== 0) throw new Error(`cannot bind ${name}: errno ${this.#libc.errno()}`);
  }

  /** All notices so far, the oldest first. */
  heard(): string[] {
    const address = this.#libc.addressOf(this.#buffer.buffer);
    for (;;) {
      const bytes = this.#libc.call.recv(this.#socket, address, BigInt(NOTICE_MAX), SOCKET.MSG_DONTWAIT);
      if (bytes < 0) return [...this.#heard];
      this.#heard.push(new TextDecoder().decode(this.#buffer.subarray(0, bytes)));
    }
  }

  /** Waits for a notice with lines that begin so, after this many earlier ones. Returns the number of notices up to it. */
  async until(line: string, after = 0): Promise<number> {
    const at = () => this.heard().findIndex((notice, i) => i >= after && `\n${notice}`.includes(`\n${line}`));
    return await poll(() => Promise.resolve(at()), (at) => at >= 0, line) + 1;
  }

  [Symbol.dispose](): void {
    this.#libc.call.close(this.#socket);
    this.#libc[Symbol.dispose]();
  }
}
