/**
 * A socket as web streams whose directions end separately. `Deno.Conn` has `readable` and `writable` of its own, but piping to that
 * writable closes the whole socket at the end of the pipe and loses the answer that comes later. These streams shut down only the
 * write half, and bytes that were read for an abandoned stream go to the next one. Knows nothing about clients, servers or
 * balancing.
 */

/**
 * The first and the largest size of a buffer. An idle connection holds a small buffer for each direction, a busy one a large
 * buffer.
 */
const BUFFER_BYTES_MIN = 4 * 1024;
const BUFFER_BYTES_MAX = 256 * 1024;

const NOTHING = new Uint8Array(0);

/** The failure of a socket. It names the socket, because an error of a pipe does not say which side failed. */
export class SocketError extends Error {
  override readonly name = "SocketError";

  constructor(readonly socket: Deno.Conn, override readonly cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause));
  }
}

/** A read under way. */
export interface PendingRead {
  readonly buffer: Uint8Array<ArrayBuffer>;
  /** The bytes read into it, or null at the peer's FIN. */
  readonly reading: Promise<number | null>;
}

/** Callbacks of a Source, called at the moment of each read. */
export interface Observer {
  onRead(chunk: Uint8Array): void;
  onEnd(): void;
}

/**
 * The bytes that arrive on a socket, for one stream after another. Nothing is read ahead: each chunk is read on demand, into the
 * memory of the previous one. A chunk stays with the source until `take` confirms that it was written. So a stream can be abandoned
 * at any moment, even during a read or a write, and the next stream misses nothing and repeats nothing.
 */
export class Source {
  #buffer = new Uint8Array(BUFFER_BYTES_MIN);
  #untaken: Uint8Array<ArrayBuffer> = NOTHING;
  #reading: Promise<void> | undefined;
  #ended = false;
  #failure: SocketError | undefined;

  constructor(readonly socket: Deno.Conn, readonly observer: Observer) {}

  /** Bytes that were read and not yet written. */
  get untakenBytes(): number {
    return this.#untaken.length;
  }

  /** A stream of all bytes not yet taken, up to the peer's FIN. Errors with a SocketError. */
  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return new ReadableStream({
      pull: async (controller) => {
        if (this.#untaken.length === 0 && !this.#ended) await (this.#reading ??= this.#read());
        if (this.#untaken.length > 0) controller.enqueue(this.#untaken);
        else controller.close();
      },
    }, { highWaterMark: 0 });
  }

  /**
   * Reads ahead while `goesOn` and nobody takes it, until so many bytes wait: only a read notices the peer's end. The next stream
   * goes on with a read under way. Never rejects.
   */
  async readAhead(bytesMax: number, goesOn: () => boolean): Promise<"stopped" | "ended" | "failed"> {
    try {
      while (goesOn() && !this.#ended && this.#untaken.length < bytesMax) await (this.#reading ??= this.#read());
      return this.#ended ? "ended" : "stopped";
    } catch {
      return "failed";
    }
  }

  /** What was read from the socket before any stream: the first one begins with these bytes, and goes on with a read under way. */
  begin(bytes: Uint8Array<ArrayBuffer>, pending?: PendingRead): void {
    if (pending !== undefined) {
      this.#reading = this.#settle(pending);
      this.#reading.catch(() => {}); // the next read fails alike
    }
    if (bytes.length === 0) return;
    this.#untaken = bytes;
    this.observer.onRead(bytes);
  }

  /** Confirms that this many bytes were written. */
  take(bytes: number): void {
    this.#untaken = bytes === this.#untaken.length ? NOTHING : this.#untaken.subarray(bytes);
  }

  async #read(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure; // the system reports an error once, and a FIN from then on
    const buffer = this.#untaken.length === 0 ? this.#buffer : new Uint8Array(BUFFER_BYTES_MIN);
    await this.#settle({ buffer, reading: this.socket.read(buffer) });
  }

  async #settle({ buffer, reading }: PendingRead): Promise<void> {
    try {
      const count = await reading.catch((error) => {
        throw this.#failure = new SocketError(this.socket, error);
      });
      this.#keep(buffer, count);
    } finally {
      this.#reading = undefined; // in the same tick as the data is set, or a second stream would read twice
    }
  }

  #keep(buffer: Uint8Array<ArrayBuffer>, count: number | null): void {
    if (count === null) {
      this.#ended = true;
      return this.observer.onEnd();
    }
    const chunk = buffer.subarray(0, count);
    this.#untaken = this.#untaken.length === 0 ? chunk : joined(this.#untaken, chunk);
    if (count === buffer.length && count < BUFFER_BYTES_MAX) this.#buffer = new Uint8Array(count * 4);
    this.observer.onRead(chunk);
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/** A destination of bytes: a socket, or a wrapper around one. `write` returns how many bytes the system accepted. */
export interface Receiver {
  readonly socket: Deno.Conn;
  write(bytes: Uint8Array): Promise<number>;
  closeWrite(): Promise<void>;
}

/** The receiver as a stream. Closing it sends FIN after the written bytes. Errors with a SocketError. */
export function writableOf(receiver: Receiver): WritableStream<Uint8Array<ArrayBuffer>> {
  return new WritableStream({
    write: (chunk) => writeAll(receiver, chunk),
    close: () =>
      receiver.closeWrite().catch((error) => {
        throw new SocketError(receiver.socket, error);
      }),
  });
}

/** Writes all bytes. Throws a SocketError. */
export async function writeAll(receiver: Receiver, bytes: Uint8Array): Promise<void> {
  try {
    for (let sent = 0; sent < bytes.length;) sent += await receiver.write(sent === 0 ? bytes : bytes.subarray(sent));
  } catch (error) {
    throw new SocketError(receiver.socket, error);
  }
}

/** Closes a socket that may be closed already. */
export function closeSocket(socket: Deno.Conn): void {
  try {
    socket.close();
  } catch { /* closed already */ }
}

/**
 * Closes the socket so that its peer can tell that its data is incomplete, as far as Deno allows: Deno.Conn has no SO_LINGER, so
 * the system sends a reset only if unread bytes are left, and otherwise a FIN.
 */
export function abortSocket(socket: Deno.Conn): void {
  closeSocket(socket);
}
