/**
 * From which address a worker dials: the one that the kernel chooses, the next of `--source`, or with `--transparent` the client's
 * own. Binds the socket and connects it; what follows from a failure is the dialer's.
 */

import { ERRNO } from "../system/errno.ts";
import { type Libc, SOCKADDR, SOCKET } from "../system/libc.ts";
import { encodeSockaddr } from "../system/sockaddr.ts";
import type { Sockets } from "../system/sockets.ts";
import { OperatorError } from "../../values/errors.ts";
import type { ServiceEngineConfig } from "../engine.ts";
import type { SourceAddresses } from "../../values/source_addresses.ts";
import { IP_LENGTH_MASK, rowOf, serviceOf, WORD } from "./descriptor_table.ts";
import { errnoText } from "../system/libc.ts";
import { REASON } from "./reasons.ts";
import type { WorkerKit } from "./worker_kit.ts";

/** The addresses tried for one dial while they have no free port: looking for one takes the kernel longer the fewer are left. */
const TRIED_MAX = 4;
/** A lack of local ports is said at most this often by a worker. */
const SAY_EVERY_MS = 10_000;

/** Addresses of one family, which take turns. */
class Turns {
  #next: number;

  constructor(readonly sockaddrs: readonly Uint8Array<ArrayBuffer>[], first: number) {
    this.#next = first % Math.max(1, sockaddrs.length);
  }

  take(): Uint8Array<ArrayBuffer> {
    const sockaddr = this.sockaddrs[this.#next];
    this.#next = (this.#next + 1) % this.sockaddrs.length;
    return sockaddr;
  }
}

/** The addresses of a service. */
interface ServiceTurns {
  readonly sources: SourceAddresses;
  readonly ipv4: Turns;
  readonly ipv6: Turns;
}

/** The parts of the worker that dialling from an address uses. */
type SourcesKit = Pick<WorkerKit, "libc" | "sockets" | "table" | "services" | "setup" | "clock" | "post">;

/** The source addresses of one worker. */
export class Sources {
  readonly #kit: SourcesKit;
  /** By service. */
  readonly #turns: ServiceTurns[] = [];
  /** Memory for the address that a socket is bound to. */
  readonly #bound = new Uint8Array(new ArrayBuffer(SOCKADDR.length6));
  readonly #boundAddress: bigint;
  #saidMs = -Infinity;

  constructor(kit: SourcesKit) {
    this.#kit = kit;
    this.#boundAddress = kit.libc.addressOf(this.#bound.buffer);
  }

  /**
   * connect(2) for this client to the sockaddr of `length` bytes at `address`. Returns 0 if the server has accepted or still may,
   * otherwise an errno or REASON.
   */
  connect(client: number, server: number, address: bigint, length: number): number {
    const { transparent, sources } = this.#kit.services.configOf(client);
    if (transparent) return this.#connectAs(client, server, address, length);
    const failure = sources === null
      ? this.#connect(server, address, length)
      : this.#connectInTurn(this.#turnsOf(client, sources), server, address, length);
    if (failure === ERRNO.EADDRNOTAVAIL) this.#sayShortage(client);
    return failure;
  }

  #connect(server: number, address: bigint, length: number): number {
    const { libc } = this.#kit;
    if (libc.call.connect(server, address, length) === 0) return 0;
    const errno = libc.errno();
    return errno === ERRNO.EINPROGRESS ? 0 : errno;
  }

  /** Connects from the next address of the server's family, or from one after it while they have no free port. */
  #connectInTurn({ ipv4, ipv6 }: ServiceTurns, server: number, address: bigint, length: number): number {
    const turns = length === SOCKADDR.length4 ? ipv4 : ipv6;
    const count = Math.min(turns.sockaddrs.length, TRIED_MAX);
    if (count === 0) return this.#connect(server, address, length);
    let failure = 0;
    for (let tried = 0; tried < count; tried++) {
      this.#bound.set(turns.take().subarray(0, length));
      failure = this.#connectFrom(server, address, length);
      if (failure !== ERRNO.EADDRNOTAVAIL && failure !== REASON.sourceGone) break;
    }
    return failure;
  }

  /** The turns of the client's service, made when they are first needed and when the addresses have changed. */
  #turnsOf(client: number, sources: SourceAddresses): ServiceTurns {
    const service = serviceOf(this.#kit.table.words, client);
    if (this.#turns[service]?.sources === sources) return this.#turns[service];
    const turns = (ips: readonly string[]) =>
      new Turns(ips.map((host) => encodeSockaddr({ host, port: 0 })), this.#kit.setup.index);
    return this.#turns[service] = { sources, ipv4: turns(sources.ipv4), ipv6: turns(sources.ipv6) };
  }

  /** Connects from the client's address. */
  #connectAs(client: number, server: number, address: bigint, length: number): number {
    const { table, sockets } = this.#kit;
    const ipLength = table.words[rowOf(client) + WORD.ipLength] & IP_LENGTH_MASK;
    const isIpv4 = length === SOCKADDR.length4;
    if (ipLength !== (isIpv4 ? 4 : 16)) return REASON.otherFamily;
    if (!allowTransparent(sockets, server, isIpv4)) return this.#kit.libc.errno();
    const ipAt = (rowOf(client) + WORD.ip) * 4;
    this.#bound.fill(0)[SOCKADDR.family] = isIpv4 ? SOCKET.AF_INET : SOCKET.AF_INET6;
    for (let i = 0; i < ipLength; i++) this.#bound[(isIpv4 ? SOCKADDR.address4 : SOCKADDR.address6) + i] = table.bytes[ipAt + i];
    return this.#connectFrom(server, address, length);
  }

  /** Connects from the address in `#bound`. */
  #connectFrom(server: number, address: bigint, length: number): number {
    const failure = bind(this.#kit, server, this.#boundAddress, length) || this.#connect(server, address, length);
    return failure === ERRNO.EINVAL ? REASON.badSource : failure;
  }

  #sayShortage(client: number): void {
    const { clock, post, table } = this.#kit;
    if (clock.nowMs < this.#saidMs + SAY_EVERY_MS) return;
    this.#saidMs = clock.nowMs;
    post({ kind: "noLocalPort", slot: table.words[rowOf(client) + WORD.slot] });
  }
}

/**
 * Binds a socket to an address, and leaves the port to connect(2): chosen here, it would be taken for every destination. Returns 0,
 * an errno or REASON.
 */
function bind({ libc, sockets }: { libc: Libc; sockets: Sockets }, socket: number, address: bigint, length: number): number {
  sockets.set(socket, SOCKET.IPPROTO_IP, SOCKET.IP_BIND_ADDRESS_NO_PORT, 1);
  if (libc.call.bind(socket, address, length) === 0) return 0;
  const errno = libc.errno();
  return errno === ERRNO.EADDRNOTAVAIL ? REASON.sourceGone : errno;
}

/** Allows a socket to be bound to an address of another machine. */
function allowTransparent(sockets: Sockets, socket: number, isIpv4: boolean): boolean {
  if (isIpv4) return sockets.set(socket, SOCKET.IPPROTO_IP, SOCKET.IP_TRANSPARENT, 1);
  return sockets.set(socket, SOCKET.IPPROTO_IPV6, SOCKET.IPV6_TRANSPARENT, 1);
}

/** Tries what the settings ask for. Throws an operator error if this machine does not allow it. */
export function checkSources(
  sockets: Sockets,
  { sources, transparent }: Pick<ServiceEngineConfig, "sources" | "transparent">,
): void {
  for (const ip of [...sources?.ipv4 ?? [], ...sources?.ipv6 ?? []]) checkSource(sockets, ip);
  if (!transparent) return;
  const errno = withSocket(sockets.libc, "0.0.0.0", (socket) => allowTransparent(sockets, socket, true) ? 0 : sockets.libc.errno());
  if (errno === 0) return;
  const wayOut = "give it that (systemd: AmbientCapabilities=CAP_NET_ADMIN), or tell servers the client by --proxy v2";
  const why = errno === ERRNO.EPERM ? `the process lacks the capability CAP_NET_ADMIN; ${wayOut}` : errnoText(errno);
  throw new OperatorError("failed", `Cannot use --transparent: ${why}`);
}

function checkSource(sockets: Sockets, ip: string): void {
  const { libc } = sockets;
  const sockaddr = encodeSockaddr({ host: ip, port: 0 });
  const length = ip.includes(":") ? SOCKADDR.length6 : SOCKADDR.length4;
  const failure = withSocket(libc, ip, (socket) => bind({ libc, sockets }, socket, libc.addressOf(sockaddr.buffer), length));
  if (failure === 0) return;
  const why = failure === REASON.sourceGone ? "it is not an address of this machine" : errnoText(failure);
  throw new OperatorError("failed", `Cannot connect from --source ${ip}: ${why}`);
}

/** What the function makes of a TCP socket of the address's family. */
function withSocket(libc: Libc, ip: string, use: (socket: number) => number): number {
  const family = ip.includes(":") ? SOCKET.AF_INET6 : SOCKET.AF_INET;
  const socket = libc.call.socket(family, SOCKET.SOCK_STREAM | SOCKET.SOCK_CLOEXEC, 0);
  if (socket < 0) return libc.errno();
  try {
    return use(socket);
  } finally {
    libc.call.close(socket);
  }
}
