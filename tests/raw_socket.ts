/**
 * TCP sockets by the system's own calls, for what Deno.Conn cannot do: resets, urgent data, small buffers, reading when one
 * chooses. No call waits in the system: what must wait asks again every millisecond. IPv4 and Linux only; tests that use it are
 * ignored elsewhere.
 */

import { assert } from "@std/assert";
import type { Address } from "../lib/values/address.ts";
import { epoll } from "../lib/engine/epoll/engine.ts";
import { ERRNO, type ErrnoName } from "../lib/engine/system/errno.ts";
import { openLibc, SOCKADDR, SOCKET } from "../lib/engine/system/libc.ts";
import { soon } from "./helpers.ts";

/** Whether there are raw sockets here: they need what the epoll engine needs. */
export const HAS_RAW_SOCKETS = epoll.unsupported() === undefined;

/** Options for `send`, of <sys/socket.h>. */
export const { MSG_OOB, MSG_MORE } = SOCKET;

const {
  AF_INET,
  SOCK_STREAM,
  SOCK_NONBLOCK,
  SOCK_CLOEXEC,
  SOL_SOCKET,
  SO_LINGER,
  IPPROTO_TCP,
  TCP_NODELAY,
  MSG_NOSIGNAL,
  SHUT_WR,
} = SOCKET;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const TCP_MAXSEG = 2;
/**
 * No error of connect(2) on an Internet socket: the runtime, which does something of its own now and then, has put it in the place
 * of one.
 */
const ENOENT = 2;
const EISCONN = 106;
const EALREADY = 114;

/** Bytes moved by one call at the most. */
const SCRATCH_BYTES = 64 * 1024;
const BACKLOG = 4096;

const scratch = new Uint8Array(new ArrayBuffer(SCRATCH_BYTES));
/** For arguments by address: a struct sockaddr_in, its length after it; an int; a struct linger { int l_onoff; int l_linger; }. */
const argument = new DataView(new ArrayBuffer(32));
const LENGTH_AT = 16;

// Opened once and never closed, since every test that uses it would have to be the last.
const libc = HAS_RAW_SOCKETS ? openLibc() : undefined;
const call = libc?.call!;
const scratchAddress = libc?.addressOf(scratch.buffer) ?? 0n;
const argumentAddress = libc?.addressOf(argument.buffer) ?? 0n;

/** The name of an error, or its number where it is none of ERRNO. */
export type Errno = ErrnoName | `error ${number}`;

/** What a test may choose of a socket before it is connected. */
export interface RawOptions {
  /** SO_RCVBUF, which the system doubles: how much is taken in that nobody reads. */
  readonly receiveBufferBytes?: number;
  /** SO_SNDBUF, which the system doubles too: how much `send` takes that the peer has not. */
  readonly sendBufferBytes?: number;
  /**
   * TCP_MAXSEG. Loopback's segments of 64 KiB make the system give each socket megabytes of buffer; with an Ethernet's 1,460 bytes
   * it gives kilobytes, on both ends of the connection.
   */
  readonly segmentBytesMax?: number;
}

/** Asks every millisecond until it is so. */
export async function until(condition: () => boolean, what: string, maxMs?: number): Promise<void> {
  let waiting = true;
  const asking = (async () => {
    while (waiting && !condition()) await turn();
  })();
  await soon(asking, what, maxMs).finally(() => waiting = false);
}

/** Lets everybody else have a turn. */
export function turn(ms = 1): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** One end of a TCP connection. */
export class RawSocket implements Disposable {
  #descriptor: number;
  /** The system tells a socket's error once: reading gives an end after a `send` that was told. */
  #failed: Errno | undefined;

  private constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** Begins to connect to an IPv4 address. On loopback it is done when this returns, unless the listener's queue is full. */
  static begin(address: Address, options: RawOptions = {}): RawSocket {
    const socket = new RawSocket(openSocket(options));
    writeAddress(address);
    if (call.connect(socket.#descriptor, argumentAddress, SOCKADDR.length4) === 0) return socket;
    const errno = libc!.errno();
    if (errno === ERRNO.EINPROGRESS || errno === ENOENT) return socket;
    socket.close();
    throw new Error(`connect: ${errnoName(errno)}`);
  }

  /** Connects to an IPv4 address. */
  static async connect(address: Address, options: RawOptions = {}): Promise<RawSocket> {
    const socket = RawSocket.begin(address, options);
    let errno = 0;
    await until(() => {
      writeAddress(address);
      errno = call.connect(socket.#descriptor, argumentAddress, SOCKADDR.length4) === 0 ? 0 : libc!.errno();
      return errno !== EALREADY;
    }, "the connection");
    if (errno === 0 || errno === EISCONN) return socket;
    socket.close();
    throw new Error(`connect: ${errnoName(errno)}`);
  }

  /** A connection that the descriptor of a listener holds; undefined if there is none. */
  static accept(listener: number): RawSocket | undefined {
    const descriptor = call.accept4(listener, 0n, 0n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor >= 0) return new RawSocket(descriptor);
    const errno = libc!.errno();
    if (errno === ERRNO.EAGAIN || errno === ERRNO.ECONNABORTED) return undefined;
    throw new Error(`accept4: ${errnoName(errno)}`);
  }

  /** What the system takes of the bytes, at most 64 KiB: how many, or why none. */
  send(bytes: Uint8Array, flags = 0): number | "full" | Errno {
    const count = Math.min(bytes.length, SCRATCH_BYTES);
    scratch.set(count === bytes.length ? bytes : bytes.subarray(0, count));
    const sent = call.send(this.#descriptor, scratchAddress, BigInt(count), flags | MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    const errno = libc!.errno();
    return errno === ERRNO.EAGAIN ? "full" : this.#failed = errnoName(errno);
  }

  /** Sends all of it, waiting for room; the error if there is one. */
  async sendAll(bytes: Uint8Array, flags = 0): Promise<Errno | undefined> {
    for (let sent = 0; sent < bytes.length;) {
      const count = this.send(bytes.subarray(sent), flags);
      if (count === "full") await turn();
      else if (typeof count === "string") return count;
      else sent += count;
    }
  }

  /** What has arrived, in memory that the next call of anybody's uses again; "empty": nothing yet; "end": the peer's FIN. */
  recv(maxBytes = SCRATCH_BYTES): Uint8Array | "empty" | "end" | Errno {
    const count = call.recv(this.#descriptor, scratchAddress, BigInt(maxBytes), 0);
    if (count > 0) return scratch.subarray(0, count);
    if (count === 0) return this.#failed ?? "end";
    const errno = libc!.errno();
    return errno === ERRNO.EAGAIN ? "empty" : errnoName(errno);
  }

  /** Reads until the end or an error, and says which. `onChunk` must be done with the chunk when it returns. */
  async drain(onChunk: (chunk: Uint8Array) => void = () => {}): Promise<"end" | Errno> {
    while (true) {
      const got = this.recv();
      if (got === "empty") await turn();
      else if (typeof got === "string") return got;
      else onChunk(got);
    }
  }

  /** Sends small pieces at once. */
  setNoDelay(): void {
    setOption(this.#descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
  }

  /** Ends its own half: a FIN after what was sent. */
  closeWrite(): void {
    call.shutdown(this.#descriptor, SHUT_WR);
  }

  /** Sends a reset in place of a FIN, and forgets what was not sent yet (socket(7), SO_LINGER with no time). */
  reset(): void {
    if (this.#descriptor < 0) return;
    argument.setInt32(0, 1, true);
    argument.setInt32(4, 0, true);
    call.setsockopt(this.#descriptor, SOL_SOCKET, SO_LINGER, argumentAddress, 8);
    this.close();
  }

  /** Once or more often. */
  close(): void {
    if (this.#descriptor >= 0) call.close(this.#descriptor);
    this.#descriptor = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A server whose sockets are raw. */
export interface RawServer extends AsyncDisposable {
  readonly address: Address;
}

/** Serves every connection by `handle`, and closes it afterwards. What `handle` throws is thrown at disposal. */
export function startRawServer(handle: (socket: RawSocket) => Promise<void>, options: RawOptions = {}): RawServer {
  const listener = openSocket(options);
  writeAddress({ host: "127.0.0.1", port: 0 });
  check(call.bind(listener, argumentAddress, SOCKADDR.length4), "bind");
  check(call.listen(listener, BACKLOG), "listen");
  argument.setInt32(LENGTH_AT, SOCKADDR.length4, true);
  check(call.getsockname(listener, argumentAddress, argumentAddress + BigInt(LENGTH_AT)), "getsockname");
  const address = { host: "127.0.0.1", port: argument.getUint16(SOCKADDR.port) };
  const sockets = new Set<RawSocket>();
  const errors: unknown[] = [];
  let serving = true;
  const accepting = (async () => {
    for (; serving; await turn()) {
      for (let socket = RawSocket.accept(listener); socket !== undefined; socket = RawSocket.accept(listener)) {
        const accepted = socket;
        sockets.add(accepted);
        handle(accepted).catch((error) => serving && errors.push(error)).finally(() => {
          sockets.delete(accepted);
          accepted.close();
        });
      }
    }
  })();
  return {
    address,
    async [Symbol.asyncDispose]() {
      serving = false;
      await accepting;
      call.close(listener);
      for (const socket of sockets) socket.close();
      if (errors.length > 0) throw errors[0];
    },
  };
}

function openSocket({ receiveBufferBytes, sendBufferBytes, segmentBytesMax }: RawOptions): number {
  const descriptor = check(call.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  if (receiveBufferBytes !== undefined) setOption(descriptor, SOL_SOCKET, SO_RCVBUF, receiveBufferBytes);
  if (sendBufferBytes !== undefined) setOption(descriptor, SOL_SOCKET, SO_SNDBUF, sendBufferBytes);
  if (segmentBytesMax !== undefined) setOption(descriptor, IPPROTO_TCP, TCP_MAXSEG, segmentBytesMax);
  return descriptor;
}

function setOption(descriptor: number, level: number, name: number, value: number): void {
  argument.setInt32(0, value, true);
  check(call.setsockopt(descriptor, level, name, argumentAddress, 4), "setsockopt");
}

function writeAddress({ host, port }: Address): void {
  argument.setUint16(SOCKADDR.family, AF_INET, true);
  argument.setUint16(SOCKADDR.port, port);
  for (const [i, byte] of host.split(".").entries()) argument.setUint8(SOCKADDR.address4 + i, Number(byte));
}

function check(result: number, what: string): number {
  if (result < 0) throw new Error(`${what}: ${errnoName(libc!.errno())}`);
  return result;
}

function errnoName(errno: number): Errno {
  return Object.entries(ERRNO).find(([, number]) => number === errno)?.[0] as ErrnoName | undefined ?? `error ${errno}`;
}

/** What arrives, compared with what was sent as it comes. */
export class Arrivals {
  count = 0;

  constructor(readonly sent: Uint8Array) {}

  take(chunk: Uint8Array): void {
    const { sent, count } = this;
    assert(count + chunk.length <= sent.length, `${count + chunk.length} bytes of ${sent.length} arrived`);
    for (let i = 0; i < chunk.length; i++) {
      if (chunk[i] !== sent[count + i]) throw new Error(`byte ${count + i} of ${sent.length} is not the one that was sent`);
    }
    this.count += chunk.length;
  }

  /** Takes all until the end or an error, and says which. */
  drain(socket: RawSocket): Promise<"end" | Errno> {
    return soon(socket.drain((chunk) => this.take(chunk)), `the end of ${this.sent.length} bytes`);
  }

  assertWhole(what = "the transfer"): void {
    assert(this.count === this.sent.length, `${this.count} of ${this.sent.length} bytes arrived before the end of ${what}`);
  }
}
