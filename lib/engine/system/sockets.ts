/**
 * The socket calls of libc that need memory for their arguments: options, addresses, listening. Knows nothing about connections.
 */

import { type Address, ipBytes } from "../../values/address.ts";
import type { Endpoint } from "../../values/proxy_header.ts";
import { ERRNO } from "./errno.ts";
import { ADDRESS_LENGTH_AT, encodeSockaddr, ipLength, ipStart, portOf } from "./sockaddr.ts";
import { FILE, IOCTL, type Libc, RLIMIT_NOFILE, SOCKADDR, SOCKET, TCP_INFO, TCP_STATE } from "./libc.ts";

const { SOL_SOCKET, IPPROTO_TCP } = SOCKET;

/** Unanswered keep-alive probes after which the peer is dead. Together they take as long as the idle time before the first one. */
const KEEP_ALIVE_PROBES = 3;

/**
 * Retransmissions and window probes are sent at least this many times within the time that a peer may be silent, within the bounds
 * of TCP_RTO_MAX_MS (tcp(7)).
 */
const PROBES_PER_TIMEOUT = 4;
const RTO_MAX_MIN_MS = 1000;
const RTO_MAX_MAX_MS = 120_000;

/** The states of sockets whose peer has sent FIN. */
const FIN_HAS_COME: readonly number[] = Object.values(TCP_STATE);

/** How often the counts of a socket are read at most, until nothing arrives meanwhile. */
const READINGS_MAX = 16;

/** The timeouts by which a vanished peer is noticed, in ms; 0: off. */
interface Liveness {
  readonly keepAliveMs: number;
  /** How long a peer that owes an acknowledgement may be silent: see `silence.ts`. */
  readonly userTimeoutMs: number;
}

/** Options of a listening socket. */
interface ListenOptions extends Liveness {
  /** How long the kernel waits for a client's first bytes before it hands the client over, in ms; 0: not at all. */
  readonly deferAcceptMs: number;
}

/** What the kernel knows about a socket's peer. */
export interface PeerFacts {
  /** Sent bytes are not acknowledged, or wait because of the peer's window. */
  isOwing: boolean;
  /** Consecutive retransmissions and window probes without an answer. */
  unanswered: number;
  /** How long ago its last segment arrived, in ms. */
  heardAgoMs: number;
}

/** The socket calls of one thread. */
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

  /** Sets an option to a number. Callers may ignore the result: a failed socket reports its error elsewhere. */
  set(socket: number, level: number, option: number, value: number): boolean {
    this.#words[0] = value;
    return this.libc.call.setsockopt(socket, level, option, this.#wordsAddress, 4) === 0;
  }

  /** Whether another process may have the same sockets open: then closing one here sends nothing, and `resetOnClose` resets now. */
  isShared = false;

  /** Makes close(2) send a reset and drop unsent bytes (struct linger { int l_onoff; int l_linger; }: 1, 0). */
  resetOnClose(socket: number): void {
    this.#words[0] = 1;
    this.#words[1] = 0;
    this.libc.call.setsockopt(socket, SOL_SOCKET, SOCKET.SO_LINGER, this.#wordsAddress, 8);
    if (this.isShared) this.resetNow(socket);
  }

  /** Returns and clears the pending error of the socket; 0: none. */
  takeError(socket: number): number {
    this.#words[0] = 0;
    this.#words[2] = 4;
    const failed = this.libc.call.getsockopt(socket, SOL_SOCKET, SOCKET.SO_ERROR, this.#wordsAddress, this.#lengthAddress) < 0;
    return failed ? this.libc.errno() : this.#words[0];
  }

  /** Sets the socket options that notice a vanished peer (tcp(7)). */
  setLiveness(socket: number, { keepAliveMs, userTimeoutMs }: Liveness): void {
    if (keepAliveMs > 0) {
      const seconds = Math.max(1, Math.round(keepAliveMs / 1000));
      this.set(socket, SOL_SOCKET, SOCKET.SO_KEEPALIVE, 1);
      this.set(socket, IPPROTO_TCP, SOCKET.TCP_KEEPIDLE, seconds);
      this.set(socket, IPPROTO_TCP, SOCKET.TCP_KEEPINTVL, Math.max(1, Math.round(seconds / KEEP_ALIVE_PROBES)));
      this.set(socket, IPPROTO_TCP, SOCKET.TCP_KEEPCNT, KEEP_ALIVE_PROBES);
    }
    if (userTimeoutMs > 0) {
      // A kernel without this option doubles the time between window probes, so a vanished peer is noticed later.
      const rtoMaxMs = Math.min(Math.max(RTO_MAX_MIN_MS, userTimeoutMs / PROBES_PER_TIMEOUT), RTO_MAX_MAX_MS);
      this.set(socket, IPPROTO_TCP, SOCKET.TCP_RTO_MAX_MS, rtoMaxMs);
    }
  }

  /** Turns off what `setLiveness` has set. */
  resetLiveness(socket: number): void {
    this.set(socket, SOL_SOCKET, SOCKET.SO_KEEPALIVE, 0);
    this.set(socket, IPPROTO_TCP, SOCKET.TCP_RTO_MAX_MS, RTO_MAX_MAX_MS);
  }

  /** Changes the options of a listening socket, for clients that connect from now on. */
  changeListening(socket: number, options: ListenOptions): void {
    this.resetLiveness(socket);
    this.setLiveness(socket, options);
    this.set(socket, IPPROTO_TCP, SOCKET.TCP_DEFER_ACCEPT, Math.round(options.deferAcceptMs / 1000));
  }

  /** Reads what the kernel knows about the socket's peer into `facts`. */
  readPeerFacts(socket: number, facts: PeerFacts): void {
    const info = this.#info.fill(0);
    const words = this.#infoWords;
    this.#words[2] = TCP_INFO.length;
    const failed = this.libc.call.getsockopt(socket, IPPROTO_TCP, SOCKET.TCP_INFO, this.#infoAddress, this.#lengthAddress) < 0;
    facts.unanswered = info[TCP_INFO.retransmits] + info[TCP_INFO.probes];
    facts.isOwing = !failed && (facts.unanswered > 0 || words[TCP_INFO.unacked >> 2] > 0 || words[TCP_INFO.unsentBytes >> 2] > 0);
    facts.heardAgoMs = Math.min(words[TCP_INFO.lastDataReceived >> 2], words[TCP_INFO.lastAckReceived >> 2]);
  }

  /**
   * What has passed through a TCP socket so far: the sum of the bytes read from it and of those written to it. It is another number
   * if any process has read, written or ended anything meanwhile. A FIN of the peer makes no difference: the kernel counts it as a
   * byte received, and not as one that can be read.
   */
  passedBytes(socket: number): number {
    const { call } = this.libc;
    for (let tries = 1;; tries++) {
      const moved = this.#movedBytes(socket);
      this.#words[0] = this.#words[1] = 0;
      call.ioctl(socket, BigInt(IOCTL.SIOCINQ), this.#wordsAddress);
      call.ioctl(socket, BigInt(IOCTL.SIOCOUTQ), this.#wordsAddress + 4n);
      const queued = this.#words[1] - this.#words[0];
      // What arrives between the calls is counted by one of them only.
      if (this.#movedBytes(socket) === moved || tries === READINGS_MAX) return moved + queued;
    }
  }

  /** The sum of the bytes that have come from the peer and those that it has acknowledged. */
  #movedBytes(socket: number): number {
    this.#info.fill(0);
    this.#words[2] = TCP_INFO.length;
    this.libc.call.getsockopt(socket, IPPROTO_TCP, SOCKET.TCP_INFO, this.#infoAddress, this.#lengthAddress);
    const words = this.#infoWords;
    const at = (offset: number) => words[offset >> 2] + words[(offset >> 2) + 1] * 2 ** 32;
    const fin = FIN_HAS_COME.includes(this.#info[TCP_INFO.state]) ? 1 : 0;
    return at(TCP_INFO.receivedBytes) - fin + at(TCP_INFO.ackedBytes);
  }

  /** Resets a connection now, even if another process has its socket, too: to AF_UNSPEC, connect(2) disconnects (tcp(7)). */
  resetNow(socket: number): void {
    this.#name.fill(0);
    this.libc.call.connect(socket, this.#nameAddress, 16);
  }

  /** The port that a socket is bound to. */
  ownPortOf(socket: number): number {
    this.#words[2] = this.#name.length;
    this.libc.call.getsockname(socket, this.#nameAddress, this.#lengthAddress);
    return portOf(this.#name);
  }

  /** The address that a socket is bound to. An IPv4 address mapped into IPv6 is given as IPv4. */
  ownEndpoint(socket: number): Endpoint {
    const port = this.ownPortOf(socket);
    const start = ipStart(this.#name);
    return { ip: this.#name.slice(start, start + ipLength(this.#name)), port };
  }

  /** Whether connect(2), which does not wait here, has already succeeded: as a rule on loopback, never over a network. */
  isConnected(socket: number): boolean {
    this.#words[2] = this.#name.length;
    return this.libc.call.getpeername(socket, this.#nameAddress, this.#lengthAddress) === 0;
  }

  /**
   * Whether the socket is connected to itself. This can happen when the dialled port of this machine has no listener and the kernel
   * chooses the same port for the local side (simultaneous open, RFC 9293, section 3.5).
   */
  isItsOwnPeer(socket: number): boolean {
    this.#words[2] = this.#name.length;
    if (this.libc.call.getsockname(socket, this.#nameAddress, this.#lengthAddress) < 0) return false;
    const own = this.#name.slice(0, this.#words[2]);
    this.#words[2] = this.#name.length;
    if (this.libc.call.getpeername(socket, this.#nameAddress, this.#lengthAddress) < 0) return false;
    return own.every((byte, i) => byte === this.#name[i]);
  }

  /** Sets the options that accepted sockets inherit. */
  prepareListening(socket: number, options: ListenOptions): void {
    this.set(socket, IPPROTO_TCP, SOCKET.TCP_NODELAY, 1);
    this.set(socket, SOL_SOCKET, SOCKET.SO_OOBINLINE, 1);
    this.setLiveness(socket, options);
    if (options.deferAcceptMs > 0) {
      this.set(socket, IPPROTO_TCP, SOCKET.TCP_DEFER_ACCEPT, Math.round(options.deferAcceptMs / 1000));
    }
  }

  /**
   * Takes over a listening socket that another program has opened, as if `listen` had: its queue, its options, and that neither a
   * call on it waits nor a child gets it.
   */
  adoptListening(socket: number, backlog: number, options: ListenOptions): void {
    const { call } = this.libc;
    call.fcntl(socket, FILE.F_SETFD, FILE.FD_CLOEXEC);
    call.fcntl(socket, FILE.F_SETFL, call.fcntl(socket, FILE.F_GETFL, 0) | FILE.O_NONBLOCK);
    this.prepareListening(socket, options);
    call.listen(socket, backlog);
  }

  /** An option that is a number; undefined: the descriptor is no socket, or has no such option. */
  get(socket: number, level: number, option: number): number | undefined {
    this.#words[0] = 0;
    this.#words[2] = 4;
    const { call } = this.libc;
    return call.getsockopt(socket, level, option, this.#wordsAddress, this.#lengthAddress) < 0 ? undefined : this.#words[0];
  }

  /** Whether a descriptor is a socket that listens for TCP connections. */
  isListening(descriptor: number): boolean {
    this.#words[2] = this.#name.length;
    if (this.libc.call.getsockname(descriptor, this.#nameAddress, this.#lengthAddress) < 0) return false;
    const family = this.#name[SOCKADDR.family];
    if (family !== SOCKET.AF_INET && family !== SOCKET.AF_INET6) return false;
    const isStream = this.get(descriptor, SOL_SOCKET, SOCKET.SO_TYPE) === SOCKET.SOCK_STREAM;
    return isStream && this.get(descriptor, SOL_SOCKET, SOCKET.SO_ACCEPTCONN) === 1;
  }

  /** Opens a listening socket on an IP address. On failure, returns the errno as a negative number. */
  listen(address: Address, backlog: number, options: ListenOptions): number {
    const { call } = this.libc;
    const sockaddr = encodeSockaddr(address);
    const family = ipBytes(address.host).length === 4 ? SOCKET.AF_INET : SOCKET.AF_INET6;
    const socket = call.socket(family, SOCKET.SOCK_STREAM | SOCKET.SOCK_NONBLOCK | SOCKET.SOCK_CLOEXEC, 0);
    if (socket < 0) return -this.libc.errno();
    this.set(socket, SOL_SOCKET, SOCKET.SO_REUSEADDR, 1);
    this.prepareListening(socket, options);
    const failed = call.bind(socket, this.libc.addressOf(sockaddr.buffer), sockaddr[ADDRESS_LENGTH_AT]) < 0 ||
      call.listen(socket, backlog) < 0;
    if (!failed) return socket;
    const errno = this.libc.errno();
    call.close(socket);
    return -(errno === 0 ? ERRNO.EINVAL : errno);
  }
}

/** How many descriptors this process may open (the soft limit); Infinity if it is unknown. */
export function descriptorLimit(libc: Libc): number {
  const limits = new BigUint64Array(new ArrayBuffer(16));
  return libc.call.getrlimit(RLIMIT_NOFILE, libc.addressOf(limits.buffer)) === 0 ? Number(limits[0]) : Infinity;
}
