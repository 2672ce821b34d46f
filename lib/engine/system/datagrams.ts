/** Datagrams to a Unix socket of another program (unix(7)), which Deno itself sends behind an unstable flag only. */

import { type Libc, SOCKADDR_UN, SOCKET } from "./libc.ts";

const encoder = new TextEncoder();

/** Sends datagrams to one socket. Disposing of it closes its own. */
export class Datagrams implements Disposable {
  readonly #libc: Libc;
  readonly #address: Uint8Array<ArrayBuffer>;
  readonly #socket: number;

  /** The target is an absolute path, or `@` and an abstract name. Throws a RangeError if it is too long. */
  constructor(libc: Libc, target: string) {
    this.#libc = libc;
    this.#address = encodeTarget(target);
    this.#socket = libc.call.socket(SOCKET.AF_UNIX, SOCKET.SOCK_DGRAM | SOCKET.SOCK_CLOEXEC, 0);
  }

  /** Sends a text without waiting. Returns 0, or the errno: EAGAIN if the receiver's queue is full. */
  send(text: string): number {
    const bytes = encoder.encode(text);
    const { call } = this.#libc;
    const [from, to] = [bytes, this.#address].map(({ buffer }) => this.#libc.addressOf(buffer as ArrayBuffer));
    const flags = SOCKET.MSG_NOSIGNAL | SOCKET.MSG_DONTWAIT;
    const sent = call.sendto(this.#socket, from, BigInt(bytes.length), flags, to, this.#address.length);
    return sent < 0 ? this.#libc.errno() : 0;
  }

  [Symbol.dispose](): void {
    if (this.#socket >= 0) this.#libc.call.close(this.#socket);
  }
}

/** A path ends with a zero; an abstract name begins with one, and ends where the address does. */
function encodeTarget(target: string): Uint8Array<ArrayBuffer> {
  const isAbstract = target.startsWith("@");
  const name = encoder.encode(isAbstract ? `\0${target.slice(1)}` : `${target}\0`);
  if (name.length > SOCKADDR_UN.pathBytes) {
    throw new RangeError(`it is longer than ${SOCKADDR_UN.pathBytes - 1} bytes`);
  }
  const address = new Uint8Array(SOCKADDR_UN.path + name.length);
  new Uint16Array(address.buffer, 0, 1)[0] = SOCKET.AF_UNIX;
  address.set(name, SOCKADDR_UN.path);
  return address;
}
