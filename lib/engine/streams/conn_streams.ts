/**
 * A socket as web streams that can end one at a time. `Deno.Conn` has `readable` and `writable` of its own, but piping to that
 * writable closes the whole socket at the peer's end-of-file and loses the answer that comes later; these shut down the write half
 * alone, and what was read for a stream that is given up is there for the next one. Knows nothing of clients, servers or balancing.
 */

/** Where buffers start and how far they grow. An idle connection holds one small buffer each way, a busy one a large one. */
const BUFFER_BYTES_MIN = 4 * 1024;
const BUFFER_BYTES_MAX = 256 * 1024;

const NOTHING = new Uint8Array(0);

/** Tells one socket's failure from the other's when a pipe between them breaks. */
export class SocketError extends Error {
  override readonly name = "SocketError";

  constructor(readonly socket: Deno.Conn, override readonly cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause));
  }
}

/** Who is told of what a Source reads, at the moment it is read. */
export interface Observer {
  onRead(chunk: Uint8Array): void;
  onEnd(): void;
}

/**
 * What arrives on a socket, for one stream after another. Nothing is read ahead: a chunk is read when it is asked for, into the
 * same memory as the last one. It belongs to whichever stream is the last until `take` says that it was written; so a stream can
 * be given up at any moment, in the middle of a read or of a write, and the next one misses nothing and repeats nothing.
 */
export class Source {
  #buffer = new Uint8Array(BUFFER_BYTES_MIN);
  #untaken: Uint8Array<ArrayBuffer> = NOTHING;
  #reading: Promise<void> | undefined;
  #ended = false;
  #failure: SocketError | undefined;

  constructor(readonly socket: Deno.Conn, readonly observer: Observer) {}

  /** Bytes that were read and not written yet. */
  get untakenBytes(): number {
    return this.#untaken.length;
  }

  /** All that is not taken yet, until the peer's end-of-file. Errors with a SocketError. */
  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return new ReadableStream({
      pull: async (controller) => {
        if (this.#untaken.length === 0 && !this.#ended) await (this.#reading ??= this.#read());
        if (this.#untaken.length > 0) controller.enqueue(this.#untaken);
        else controller.close();
      },
    }, { highWaterMark: 0 });
  }

  /** So many bytes were written. */
  take(bytes: number): void {
    this.#untaken = bytes === this.#untaken.length ? NOTHING : this.#untaken.subarray(bytes);
  }

  async #read(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure; // the system tells it once, and an end afterwards
    const buffer = this.#buffer;
    try {
      const count = await this.socket.read(buffer).catch((error) => {
        throw this.#failure = new SocketError(this.socket, error);
      });
      this.#keep(buffer, count);
    } finally {
      this.#reading = undefined; // at the same moment as there is something to take: whoever comes between would read once more
    }
  }

  #keep(buffer: Uint8Array<ArrayBuffer>, count: number | null): void {
    if (count === null) {
      this.#ended = true;
      return this.observer.onEnd();
    }
    this.#untaken = buffer.subarray(0, count);
    if (count === buffer.length && count < BUFFER_BYTES_MAX) this.#buffer = new Uint8Array(count * 4);
    this.observer.onRead(this.#untaken);
  }
}

/** Where bytes go: a socket, or whoever stands before it. `write` says how many the system took. */
export interface Receiver {
  readonly socket: Deno.Conn;
  write(bytes: Uint8Array): Promise<number>;
  closeWrite(): Promise<void>;
}

/** The receiver as a stream; closing it shuts down the write half (FIN), after what was written. Errors with a SocketError. */
export function writableOf(receiver: Receiver): WritableStream<Uint8Array<ArrayBuffer>> {
  return new WritableStream({
    write: (chunk) => writeAll(receiver, chunk),
    close: () =>
      receiver.closeWrite().catch((error) => {
        throw new SocketError(receiver.socket, error);
      }),
  });
}

/** Writes all of it. Throws a SocketError. */
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
 * Closes the socket; its peer is to take what it got for cut off, not for whole. But Deno.Conn has no SO_LINGER: if something was
 * left unread the system sends a reset, otherwise an end.
 */
export function abortSocket(socket: Deno.Conn): void {
  closeSocket(socket);
}
