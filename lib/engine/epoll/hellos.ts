/**
 * The first messages of TLS of one worker's clients, where these say which service a client gets. Looks at the bytes without taking
 * them: the server gets them as they came. Returns the verdict; `Connections` decides what follows.
 */

import { ClientHelloReader, type HelloVerdict } from "../../values/client_hello.ts";
import { LIMITS } from "../../values/config.ts";
import { alertOf, ENDED_EARLY, type FinalVerdict, SAID_NOTHING } from "../names.ts";
import { ERRNO } from "../system/errno.ts";
import { SOCKET } from "../system/libc.ts";
import type { WorkerKit } from "./worker_kit.ts";

/** Bytes that are looked at: the last one of a hello is among them. */
const PEEK_SIZE = BigInt(LIMITS.helloBytesMax);

/** The client has sent FIN and nothing else, or its socket has failed. */
const GONE = { kind: "gone" } as const;
/** More of the hello must arrive. */
const MORE = { kind: "more" } as const;
/** Part of a hello has arrived, and its time is over. */
const LATE = { kind: "late" } as const;

/** The parts of the worker that hellos use. */
type HellosKit = Pick<WorkerKit, "libc" | "chunks">;

/** The hellos of one worker. */
export class Hellos {
  readonly #kit: HellosKit;
  /** By client; only of those whose hello comes in several pieces. */
  readonly #readers = new Map<number, ClientHelloReader>();
  /** The chunk that is read into; borrowed for good at the first hello. */
  #chunk = -1;

  constructor(kit: HellosKit) {
    this.#kit = kit;
  }

  /** Reads what has arrived. */
  receive(client: number): FinalVerdict | typeof GONE | typeof MORE {
    const got = this.#peek(client);
    if (got < 0) return this.#kit.libc.errno() === ERRNO.EAGAIN ? MORE : GONE;
    if (got === 0) return GONE;
    const verdict = this.#read(client, got);
    return verdict.kind === "more" ? MORE : verdict;
  }

  /** The same when the client has sent FIN: nothing more will arrive. */
  receiveLast(client: number): FinalVerdict | typeof GONE {
    const received = this.receive(client);
    if (received.kind !== "more") return received;
    return this.#peek(client) > 0 ? ENDED_EARLY : GONE;
  }

  /** The same when the time is over. */
  receiveLate(client: number): FinalVerdict | typeof GONE | typeof LATE {
    const received = this.receive(client);
    if (received.kind !== "more") return received;
    return this.#peek(client) > 0 ? LATE : SAID_NOTHING;
  }

  /** Tells a client that no service is for it, as far as its socket takes that at once. */
  refuse(client: number, verdict: FinalVerdict): void {
    const { libc, chunks } = this.#kit;
    const alert = alertOf(verdict);
    if (alert === undefined) return;
    chunks.views[this.#chunk].set(alert);
    libc.call.send(client, chunks.addresses[this.#chunk], BigInt(alert.length), SOCKET.MSG_NOSIGNAL);
  }

  /** Forgets a client whose verdict is final, or that has ended. */
  forget(client: number): void {
    if (this.#readers.size > 0) this.#readers.delete(client);
  }

  #peek(client: number): number {
    const { libc, chunks } = this.#kit;
    if (this.#chunk < 0) this.#chunk = chunks.take();
    return libc.call.recv(client, chunks.addresses[this.#chunk], PEEK_SIZE, SOCKET.MSG_PEEK);
  }

  #read(client: number, got: number): HelloVerdict {
    const reader = this.#readers.get(client) ?? new ClientHelloReader();
    const verdict = reader.read(this.#kit.chunks.views[this.#chunk].subarray(0, got));
    if (verdict.kind === "more") this.#readers.set(client, reader);
    return verdict;
  }
}
