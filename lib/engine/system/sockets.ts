/** Sockets through libc, where a call needs memory of its own: options, names, listening. Knows nothing of connections. */

import { type Address, ipBytes } from "../../values/address.ts";
import { ERRNO } from "./errno.ts";
import { ADDRESS_LENGTH_AT, encodeSockaddr, portOf } from "./sockaddr.ts";
import { type Libc, RLIMIT_NOFILE, SOCKADDR, SOCKET, TCP_INFO } from "./libc.ts";

const { SOL_SOCKET, IPPROTO_TCP } = SOCKET;

/** Probes of keep-alive that may stay unanswered, and how many of them fit into the time before the first one. */
const KEEP_ALIVE_PROBES = 3;

/**
 * Retransmissions and window probes come no less often than this many times within the time that a peer may be silent; within the bounds
 * of TCP_RTO_MAX_MS (tcp(7)).
 */
const PROBES_PER_TIMEOUT = 4;
const RTO_MAX_MIN_MS = 1000;
const RTO_MAX_MAX_MS = 120_000;

/** What notices a peer that has vanished. In milliseconds; 0: not looked for. */
export interface Liveness {
  readonly keepAliveMs: number;
  /** How long a peer that owes an acknowledgement may be silent: see `silence.ts`. */
  readonly userTimeoutMs: number;
}

/** What the system knows of a socket's peer. */
export interface PeerFacts {
  /** Something that was sent is not acknowledged, or has no room. */
  isOwing: boolean;
  /** Retransmissions and window probes in a row that nothing came back for. */
  unanswered: number;
  /** How long ago the last segment of it came, in ms. */
  heardAgoMs: number;
}

/** Calls of one thread. */
export class Sockets {
  /** One word for options and lengths, two for struct linger. */
  readonly #words = new Int32Array(new ArrayBuffer(16));
  readonly #name = new Uint8Array(new ArrayBuffer(SOCKADDR.length6 + 4));
  readonly #wordsAddress: bigint;
  readonly #lengthAddress: bigint;
  readonly #nameAddress: bigint;
  readonly #info = new Uint8Array(new ArrayBuffer(TCP_INFO.length));
  readonly #infoWords = new Uint32Array(this.#info.buffer);
  readonly #infoAddress: bigint;

  constructor(readonly libc: Libc) {
    this.#wordsAddress = libc.addressOf(this.#words.buffer);
    this.#lengthAddress = this.#wordsAddress + 8n;
    this.#nameAddress = libc.addressOf(this.#name.buffer as ArrayBuffer);
    this.#infoAddress = libc.addressOf(this.#info.buffer as ArrayBuffer);
  }

  /** Sets an option to a number; a socket that has failed meanwhile says so elsewhere. */
  set(socket: number, level: number, option: number, value: number): boolean {
    this.#words[0] = value;
    return this.libc.call.setsockopt(socket, level, option, this.#wordsAddress, 4) === 0;
  }

  /** Makes close(2) send a reset and drop what was not sent (struct linger { int l_onoff; int l_linger; }: 1, 0). */
  resetOnClose(socket: number): void {
    this.#words[0] = 1;
    this.#words[1] = 0;
    this.libc.call.setsockopt(socket, SOL_SOCKET, SOCKET.SO_LINGER, this.#wordsAddress, 8);
  }

  /** The error the socket has met, which is cleared; 0: none. */
  takeError(socket: number): number {
    this.#words[0] = 0;
    this.#words[2] = 4;
    const failed = this.libc.call.getsockopt(socket, SOL_SOCKET, SOCKET.SO_ERROR, this.#wordsAddress, this.#lengthAddress) < 0;
    return failed ? this.libc.errno() : this.#words[0];
  }

  /** Has the system look whether the other side is there (tcp(7)). */
  setLiveness(socket: number, { keepAliveMs, userTimeoutMs }: Liveness): void {
    if (keepAliveMs > 0) {
      const seconds = Math.max(1, Math.round(keepAliveMs / 1000));
      this.set(socket, SOL_SOCKET, SOCKET.SO_KEEPALIVE, 1);
      this.set(socket, IPPROTO_TCP, SOCKET.TCP_KEEPIDLE, seconds);
      this.set(socket, IPPROTO_TCP, SOCKET.TCP_KEEPINTVL, Math.max(1, Math.round(seconds / KEEP_ALIVE_PROBES)));
      this.set(socket, IPPROTO_TCP, SOCKET.TCP_KEEPCNT, KEEP_ALIVE_PROBES);
    }
    if (userTimeoutMs > 0) {
      // A kernel that does not know it probes a peer without room ever more seldom, and its end is noticed later.
      const rtoMaxMs = Math.min(Math.max(RTO_MAX_MIN_MS, userTimeoutMs / PROBES_PER_TIMEOUT), RTO_MAX_MAX_MS);
      this.set(socket, IPPROTO_TCP, SOCKET.TCP_RTO_MAX_MS, rtoMaxMs);
    }
  }

  /** What the system knows of the socket's peer. */
  readPeerFacts(socket: number, facts: PeerFacts): void {
    const info = this.#info.fill(0);
    const words = this.#infoWords;
    this.#words[2] = TCP_INFO.length;
    const failed = this.libc.call.getsockopt(socket, IPPROTO_TCP, SOCKET.TCP_INFO, this.#infoAddress, this.#lengthAddress) < 0;
    facts.unanswered = info[TCP_INFO.retransmits] + info[TCP_INFO.probes];
    facts.isOwing = !failed && (facts.unanswered > 0 || words[TCP_INFO.unacked >> 2] > 0 || words[TCP_INFO.unsentBytes >> 2] > 0);
    facts.heardAgoMs = Math.min(words[TCP_INFO.lastDataReceived >> 2], words[TCP_INFO.lastAckReceived >> 2]);
  }

  /** The port a socket is bound to. */
  ownPortOf(socket: number): number {
    this.#words[2] = this.#name.length;
    this.libc.call.getsockname(socket, this.#nameAddress, this.#lengthAddress);
    return portOf(this.#name);
  }

  /**
   * Whether the socket is connected to itself: dialling a port of this machine on which nobody listens can, if the system happens to
   * choose that port for our side, meet itself (simultaneous open, RFC 9293 section 3.5).
   */
  isItsOwnPeer(socket: number): boolean {
    this.#words[2] = this.#name.length;
    if (this.libc.call.getsockname(socket, this.#nameAddress, this.#lengthAddress) < 0) return false;
    const own = this.#name.slice(0, this.#words[2]);
    this.#words[2] = this.#name.length;
    if (this.libc.call.getpeername(socket, this.#nameAddress, this.#lengthAddress) < 0) return false;
    return own.every((byte, i) => byte === this.#name[i]);
  }

  /** A listening socket for an IP address. Gives the errno instead, as a negative number. */
  listen(address: Address, backlog: number, liveness: Liveness): number {
    const { call } = this.libc;
    const sockaddr = encodeSockaddr(address);
    const family = ipBytes(address.host).length === 4 ? SOCKET.AF_INET : SOCKET.AF_INET6;
    const socket = call.socket(family, SOCKET.SOCK_STREAM | SOCKET.SOCK_NONBLOCK | SOCKET.SOCK_CLOEXEC, 0);
    if (socket < 0) return -this.libc.errno();
    this.set(socket, SOL_SOCKET, SOCKET.SO_REUSEADDR, 1);
    // Accepted sockets inherit these.
    this.set(socket, IPPROTO_TCP, SOCKET.TCP_NODELAY, 1);
    this.set(socket, SOL_SOCKET, SOCKET.SO_OOBINLINE, 1);
    this.setLiveness(socket, liveness);
    const failed = call.bind(socket, this.libc.addressOf(sockaddr.buffer), sockaddr[ADDRESS_LENGTH_AT]) < 0 ||
      call.listen(socket, backlog) < 0;
    if (!failed) return socket;
    const errno = this.libc.errno();
    call.close(socket);
    return -(errno === 0 ? ERRNO.EINVAL : errno);
  }
}

/** Descriptors this process may have open (the soft limit); Infinity if that cannot be learnt. */
export function descriptorLimit(libc: Libc): number {
  const limits = new BigUint64Array(new ArrayBuffer(16));
  return libc.call.getrlimit(RLIMIT_NOFILE, libc.addressOf(limits.buffer)) === 0 ? Number(limits[0]) : Infinity;
}
