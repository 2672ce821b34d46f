/**
 * Accepts the clients of one worker, from every listener, up to the limit on connections. Hands a client over to another worker
 * that has far fewer connections. Writes the client's address into its row. Returns the outcome; `EpollLoop` acts on it.
 */

import { AcceptBackoff } from "../accept_backoff.ts";
import { enqueue, lacksPlace } from "../places.ts";
import { ERRNO } from "../system/errno.ts";
import { EPOLL, SOCKADDR, SOCKET } from "../system/libc.ts";
import { ipLength, ipStart, portOf } from "../system/sockaddr.ts";
import { FLOAT, floatsOf, LISTENER_SHIFT, NO_PLACE, ROLE, rowOf, SERVICE_SHIFT, WORD } from "./descriptor_table.ts";
import { COMMAND, COMMAND_BYTES, COMMAND_SIZE } from "./mailbox.ts";
import type { WorkerKit } from "./worker_kit.ts";
import type { WorkerListener, WorkerPublication } from "./worker_setup.ts";

/** The outcome of accepting one client; the client is then in the acceptor's `client`. */
export const ACCEPT = {
  /** No client waits, or accepting failed. */
  nobody: 0,
  /** The client was handed to another worker, or is gone; more may be waiting. */
  elsewhere: 1,
  /** The client stays with this worker. */
  kept: 2,
  /** The client exceeds the limit on connections. */
  refused: 3,
  /** The client was handed to a worker that has died. */
  lost: 4,
} as const;
export type Accept = typeof ACCEPT[keyof typeof ACCEPT];

/** Errors of accept(2) that concern one client, which was gone before it was accepted (accept(2), "Error handling"). */
const CLIENT_ERRORS: readonly number[] = [
  ERRNO.ECONNABORTED,
  ERRNO.EPROTO,
  ERRNO.EPERM,
  ERRNO.ENETDOWN,
  ERRNO.EHOSTDOWN,
  ERRNO.EHOSTUNREACH,
  ERRNO.ENETUNREACH,
];

/** The parts of the worker that accepting uses. */
type AcceptorKit = Pick<
  WorkerKit,
  "setup" | "libc" | "table" | "logColumns" | "descriptors" | "counters" | "services" | "workerTable" | "clock" | "post"
>;

/** Accepts the clients of a worker. */
export class Acceptor {
  readonly #kit: AcceptorKit;
  readonly #words: Int32Array;
  /** By descriptor, and by index. */
  readonly #listeners = new Map<number, WorkerListener>();
  readonly #byIndex = new Map<number, WorkerListener>();
  readonly #backoff = new AcceptBackoff();
  /** The sockaddr of the last accepted client, and its length. */
  readonly #name = new Uint8Array(new ArrayBuffer(SOCKADDR.length6 + 4));
  readonly #nameAddress: bigint;
  readonly #nameLength = new Int32Array(new ArrayBuffer(4));
  readonly #nameLengthAddress: bigint;
  readonly #command = new Int32Array(new ArrayBuffer(COMMAND_BYTES));
  readonly #commandAddress: bigint;
  #listens = false;
  #isStopping = false;
  #resumeMs = Infinity;
  #client = -1;

  constructor(kit: AcceptorKit) {
    this.#kit = kit;
    this.#words = kit.table.words;
    this.#nameAddress = kit.libc.addressOf(this.#name.buffer);
    this.#nameLengthAddress = kit.libc.addressOf(this.#nameLength.buffer);
    this.#commandAddress = kit.libc.addressOf(this.#command.buffer);
    if (!kit.setup.isWaiting) this.listen();
  }

  /** The last accepted client. */
  get client(): number {
    return this.#client;
  }

  /** The row that describes that client. A client beyond the table is written to the last row, which no descriptor uses. */
  get noted(): number {
    return Math.min(this.#client, this.#kit.table.capacity - 1);
  }

  get isListening(): boolean {
    return this.#listens;
  }

  /** When to resume accepting after a pause; Infinity: accepting is not paused. */
  get resumeMs(): number {
    return this.#resumeMs;
  }

  /** The listener with this descriptor, if it is one. */
  listenerOf(descriptor: number): WorkerListener | undefined {
    return this.#listeners.get(descriptor);
  }

  /** Every listener. */
  listeners(): Iterable<WorkerListener> {
    return this.#byIndex.values();
  }

  /** Accepts from these listeners, too, or from those with these indexes no longer. */
  setListeners(changes: WorkerPublication["listeners"]): void {
    const gone = new Set<number>();
    for (const [index] of changes) {
      const old = this.#byIndex.get(index);
      if (old === undefined) continue;
      this.#byIndex.delete(index);
      this.#listeners.delete(old.descriptor);
      gone.add(old.descriptor);
    }
    const added: number[] = [];
    for (const [index, listener] of changes) {
      if (listener === undefined) continue;
      this.#byIndex.set(index, listener);
      this.#listeners.set(listener.descriptor, listener);
      if (!gone.delete(listener.descriptor)) added.push(listener.descriptor);
    }
    if (!this.#listens) return;
    for (const descriptor of gone) this.#kit.descriptors.unwatch(descriptor);
    this.#watch(added);
  }

  /** Starts or resumes accepting. */
  listen(): void {
    this.#isStopping = false;
    this.#listens = true;
    this.#resumeMs = Infinity;
    this.#watch([...this.#listeners.keys()]);
  }

  #watch(listeners: readonly number[]): void {
    const { clock, descriptors } = this.#kit;
    if (listeners.every((listener) => descriptors.watch(listener, EPOLL.IN | EPOLL.EXCLUSIVE))) return;
    this.#unlisten(); // the system lacks memory
    this.#resumeMs = clock.nowMs + this.#backoff.fail(clock.nowMs).pauseMs;
  }

  /** Pauses accepting: the system has run out of a resource. */
  pause(errno: number): void {
    if (!this.#listens) return;
    const { clock, post } = this.#kit;
    const { pauseMs, isNew } = this.#backoff.fail(clock.nowMs);
    if (isNew) post({ kind: "acceptFailed", errno });
    this.#unlisten();
    this.#resumeMs = clock.nowMs + pauseMs;
  }

  /** Keeps every further client here: the other workers are stopping, too. */
  beginStop(): void {
    this.#isStopping = true;
  }

  /** Stops accepting. */
  stop(): void {
    this.#unlisten();
  }

  /** Accepts one client. */
  accept(listener: WorkerListener): Accept {
    const { libc, counters, services, table, workerTable, setup } = this.#kit;
    this.#nameLength[0] = this.#name.length;
    const flags = SOCKET.SOCK_NONBLOCK | SOCKET.SOCK_CLOEXEC;
    this.#client = libc.call.accept4(listener.descriptor, this.#nameAddress, this.#nameLengthAddress, flags);
    if (this.#client < 0) return this.#onError(libc.errno());
    const open = counters.addAccepted(listener.service, listener.index);
    const { daemon } = services;
    this.#note(this.noted, listener);
    if (this.#client >= table.capacity - 1) return ACCEPT.refused;
    if (lacksPlace(counters, open, daemon)) {
      if (!enqueue(counters, daemon)) return ACCEPT.refused;
      this.#words[rowOf(this.#client) + WORD.slot] = NO_PLACE;
    }
    if (this.#handOver(this.#client)) return ACCEPT.elsewhere;
    workerTable.addOpen(setup.index, 1);
    return ACCEPT.kept;
  }

  /** Receives a client that another worker has accepted for the worker with this epoch. */
  takeOver(client: number, epoch: number): Accept {
    this.#client = client;
    const owner = rowOf(client) + WORD.owner;
    if (epoch === this.#kit.setup.epoch) return Atomics.load(this.#words, owner) === epoch ? ACCEPT.kept : ACCEPT.nobody;
    // It was handed to this worker's predecessor. If main has not closed it by now, main never will.
    return Atomics.compareExchange(this.#words, owner, epoch, 0) === epoch ? ACCEPT.lost : ACCEPT.nobody;
  }

  #unlisten(): void {
    if (this.#listens) {
      for (const descriptor of this.#listeners.keys()) this.#kit.descriptors.unwatch(descriptor);
    }
    this.#listens = false;
    this.#resumeMs = Infinity;
  }

  #onError(errno: number): Accept {
    if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return ACCEPT.nobody;
    if (CLIENT_ERRORS.includes(errno)) {
      this.#kit.counters.add("gone");
      return ACCEPT.elsewhere;
    }
    this.#kit.counters.add("acceptErrors");
    this.pause(errno);
    return ACCEPT.nobody;
  }

  /**
   * Hands the client to the worker with the fewest connections, if that has far fewer than this one and knows every service that
   * this one knows. False: the client stays here.
   */
  #handOver(client: number): boolean {
    const { setup, workerTable, libc } = this.#kit;
    if (workerTable.size === 1 || this.#isStopping) return false;
    const other = workerTable.leastBusy();
    const own = workerTable.open(setup.index);
    if (other === setup.index || own <= workerTable.open(other) + 1 + (own >> 3)) return false;
    const epoch = workerTable.epoch(other);
    if (epoch === 0 || workerTable.generation(other) < workerTable.generation(setup.index)) return false;
    Atomics.store(this.#words, rowOf(client) + WORD.owner, epoch);
    workerTable.addOpen(other, 1);
    this.#command[0] = COMMAND.client;
    this.#command[1] = epoch;
    this.#command[2] = client;
    if (libc.call.write(setup.mailboxes[other], this.#commandAddress, COMMAND_SIZE) === COMMAND_BYTES) return true;
    workerTable.addOpen(other, -1);
    // The mailbox is full. If the other worker has died in the meantime, main may have closed the client with its connections.
    const owner = rowOf(client) + WORD.owner;
    return Atomics.compareExchange(this.#words, owner, epoch, setup.epoch) !== epoch;
  }

  /** Writes the address and the listener of the last accepted client into its row. */
  #note(client: number, { index, service }: WorkerListener): void {
    const { table, clock, logColumns, services } = this.#kit;
    const words = this.#words;
    const row = rowOf(client);
    const name = this.#name;
    table.floats[floatsOf(client) + FLOAT.bytes] = 0;
    table.floats[floatsOf(client) + FLOAT.startedMs] = clock.nowMs;
    table.floats[floatsOf(client) + FLOAT.earlierBytes] = 0;
    words[row + WORD.role] = ROLE.client;
    words[row + WORD.state] = 0;
    words[row + WORD.peer] = -1;
    words[row + WORD.slot] = -1;
    words[row + WORD.attempts] = 0;
    words[row + WORD.facts] = 0;
    words[row + WORD.moves] = 0;
    words[row + WORD.ipLength] = ipLength(name) | service << SERVICE_SHIFT;
    words[row + WORD.port] = portOf(name) | index << LISTENER_SHIFT;
    if (services.isLogging) logColumns.begin(client, clock.wallMs());
    const start = ipStart(name);
    for (let i = 0; i < ipLength(name); i++) table.bytes[(row + WORD.ip) * 4 + i] = name[start + i];
  }
}
