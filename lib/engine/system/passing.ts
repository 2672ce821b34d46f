/**
 * Descriptors on their way to another process: Unix sockets over which bytes go together with descriptors (unix(7), SCM_RIGHTS).
 * Both ends are this program's. Knows nothing of what the bytes mean; framing and limits are the caller's.
 */

import { ERRNO } from "./errno.ts";
import { CMSGHDR, type Libc, MSGHDR, SOCKADDR_UN, SOCKET } from "./libc.ts";

/** The most descriptors in one message (SCM_MAX_FD of the kernel). */
export const PASSED_MAX = 253;

const CONTROL_BYTES = CMSGHDR.data * 4 + PASSED_MAX * 4;
/** cmsg_len counts the header without padding. */
const CONTROL_HEAD = CMSGHDR.data * 4;

const { MSG_NOSIGNAL, MSG_CMSG_CLOEXEC, MSG_CTRUNC, SOL_SOCKET, SCM_RIGHTS } = SOCKET;

/** What one call has received. */
export interface Received {
  /** Bytes; 0: the other side has gone; negative: an errno. */
  readonly bytes: number;
  /** Open in this process now: whoever calls must use or close them. */
  readonly descriptors: readonly number[];
  /** Whether descriptors were lost, because this process may open no more of them. */
  readonly isCut: boolean;
}

const NO_DESCRIPTORS: readonly number[] = [];

/** The calls of one thread that send and receive descriptors. */
export class Passing {
  readonly #message = new BigUint64Array(new ArrayBuffer(MSGHDR.words * 8));
  readonly #vector = new BigUint64Array(new ArrayBuffer(16));
  readonly #control = new Int32Array(new ArrayBuffer(CONTROL_BYTES + 8));
  readonly #messageAddress: bigint;
  readonly #controlAddress: bigint;

  constructor(readonly libc: Libc) {
    this.#messageAddress = libc.addressOf(this.#message.buffer);
    this.#controlAddress = libc.addressOf(this.#control.buffer);
    this.#message[MSGHDR.vectors] = libc.addressOf(this.#vector.buffer);
    this.#message[MSGHDR.vectorCount] = 1n;
  }

  /**
   * Sends `size` bytes from `address` on, and with the first of them at most PASSED_MAX descriptors, which stay open here. Returns
   * how many bytes were taken (then the descriptors were, too), or a negative errno.
   */
  send(socket: number, address: bigint, size: number, descriptors: readonly number[]): number {
    this.#aim(address, size);
    const length = CONTROL_HEAD + descriptors.length * 4;
    const control = this.#control;
    control[CMSGHDR.length] = length;
    control[CMSGHDR.length + 1] = 0;
    control[CMSGHDR.level] = SOL_SOCKET;
    control[CMSGHDR.type] = SCM_RIGHTS;
    for (let i = 0; i < descriptors.length; i++) control[CMSGHDR.data + i] = descriptors[i];
    this.#message[MSGHDR.control] = descriptors.length === 0 ? 0n : this.#controlAddress;
    this.#message[MSGHDR.controlLength] = descriptors.length === 0 ? 0n : BigInt(length);
    const sent = this.libc.call.sendmsg(socket, this.#messageAddress, MSG_NOSIGNAL);
    return sent < 0 ? -this.libc.errno() : sent;
  }

  /** Receives at most `size` bytes into `address`, and the descriptors that came with them. */
  receive(socket: number, address: bigint, size: number): Received {
    this.#aim(address, size);
    this.#message[MSGHDR.control] = this.#controlAddress;
    this.#message[MSGHDR.controlLength] = BigInt(CONTROL_BYTES);
    const bytes = this.libc.call.recvmsg(socket, this.#messageAddress, MSG_CMSG_CLOEXEC);
    if (bytes < 0) return { bytes: -this.libc.errno(), descriptors: NO_DESCRIPTORS, isCut: false };
    const isCut = (Number(this.#message[MSGHDR.flags] & 0xffff_ffffn) & MSG_CTRUNC) !== 0;
    return { bytes, descriptors: this.#descriptors(), isCut };
  }

  #aim(address: bigint, size: number): void {
    this.#vector[0] = address;
    this.#vector[1] = BigInt(size);
    this.#message[MSGHDR.name] = 0n;
    this.#message[MSGHDR.nameLength] = 0n;
    this.#message[MSGHDR.flags] = 0n;
  }

  /** The kernel delivers one control message here: both ends send no other kind. */
  #descriptors(): readonly number[] {
    const control = this.#control;
    const given = Number(this.#message[MSGHDR.controlLength]);
    if (given < CONTROL_HEAD || control[CMSGHDR.level] !== SOL_SOCKET || control[CMSGHDR.type] !== SCM_RIGHTS) {
      return NO_DESCRIPTORS;
    }
    const count = Math.floor((Math.min(control[CMSGHDR.length], given) - CONTROL_HEAD) / 4);
    return [...control.subarray(CMSGHDR.data, CMSGHDR.data + count)];
  }
}

/** Two connected sockets that do not wait; undefined if there are no descriptors left. */
export function makePair(libc: Libc): readonly [number, number] | undefined {
  const pair = new Int32Array(new ArrayBuffer(8));
  const kind = SOCKET.SOCK_STREAM | SOCKET.SOCK_NONBLOCK | SOCKET.SOCK_CLOEXEC;
  if (libc.call.socketpair(SOCKET.AF_UNIX, kind, 0, libc.addressOf(pair.buffer)) < 0) return undefined;
  return [pair[0], pair[1]];
}

/** A socket that listens at this path, which must be free and in a private folder; a negative errno. It does not wait. */
export function listenAt(libc: Libc, path: string): number {
  return withAddress(
    libc,
    path,
    (socket, address, length) =>
      libc.call.bind(socket, address, length) < 0 || libc.call.listen(socket, 1) < 0 ? -libc.errno() : socket,
  );
}

/** A socket that is connected to the one that listens at this path; a negative errno. It does not wait. */
export function connectTo(libc: Libc, path: string): number {
  return withAddress(
    libc,
    path,
    (socket, address, length) => libc.call.connect(socket, address, length) < 0 ? -libc.errno() : socket,
  );
}

/** The socket of who has connected; a negative errno: nobody has. */
export function acceptAt(libc: Libc, listener: number): number {
  const socket = libc.call.accept4(listener, 0n, 0n, SOCKET.SOCK_NONBLOCK | SOCKET.SOCK_CLOEXEC);
  return socket < 0 ? -libc.errno() : socket;
}

/** The process at the other end of a connected Unix socket; 0 if the kernel cannot say. */
export function peerOf(libc: Libc, socket: number): number {
  const words = new Int32Array(new ArrayBuffer(16)); // struct ucred { pid_t pid; uid_t uid; gid_t gid; }, and its length
  words[3] = 12;
  const address = libc.addressOf(words.buffer);
  return libc.call.getsockopt(socket, SOL_SOCKET, SOCKET.SO_PEERCRED, address, address + 12n) < 0 ? 0 : words[0];
}

/** Calls `use` with a new socket and a struct sockaddr_un. */
function withAddress(
  libc: Libc,
  path: string,
  use: (socket: number, address: bigint, length: number) => number,
): number {
  const name = new TextEncoder().encode(path);
  const sockaddr = new Uint8Array(new ArrayBuffer(SOCKADDR_UN.path + SOCKADDR_UN.pathBytes));
  if (name.length >= SOCKADDR_UN.pathBytes) return -ERRNO.EINVAL;
  sockaddr[0] = SOCKET.AF_UNIX;
  sockaddr.set(name, SOCKADDR_UN.path);
  const socket = libc.call.socket(SOCKET.AF_UNIX, SOCKET.SOCK_STREAM | SOCKET.SOCK_NONBLOCK | SOCKET.SOCK_CLOEXEC, 0);
  if (socket < 0) return -libc.errno();
  const result = use(socket, libc.addressOf(sockaddr.buffer), SOCKADDR_UN.path + name.length + 1);
  if (result < 0) libc.call.close(socket);
  return result;
}
