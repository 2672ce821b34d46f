/**
 * A socket as two web streams that can end one at a time. `Deno.Conn` has `readable` and `writable` of its own, but piping to that
 * writable closes the whole socket at the peer's end-of-file and loses the answer that comes later; these shut down the write half
 * alone. Knows nothing of clients, servers or balancing.
 */

/** Where buffers start and how far they grow. An idle connection holds one small buffer each way, a busy one a large one. */
const BUFFER_BYTES_MIN = 4 * 1024;
const BUFFER_BYTES_MAX = 256 * 1024;

/** Tells one socket's failure from the other's when a pipe between them breaks. */
export class SocketError extends Error {
  override readonly name = "SocketError";

  constructor(readonly socket: Deno.Conn, override readonly cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause));
  }
}

/**
 * What arrives on the socket, until the peer's end-of-file. Errors with a SocketError. Nothing is read ahead: a chunk is read when
 * it is asked for, into the same memory as the last one, which `pipeTo` has written by then.
 */
export function readableOf(socket: Deno.Conn): ReadableStream<Uint8Array<ArrayBuffer>> {
  let buffer = new Uint8Array(BUFFER_BYTES_MIN);
  return new ReadableStream({
    async pull(controller) {
      const count = await socket.read(buffer).catch((error) => {
        throw new SocketError(socket, error);
      });
      if (count === null) return controller.close();
      controller.enqueue(buffer.subarray(0, count));
      if (count === buffer.length && count < BUFFER_BYTES_MAX) buffer = new Uint8Array(count * 4);
    },
  }, { highWaterMark: 0 });
}

/**
 * Where bytes for the socket go; closing it shuts down the write half (FIN), after what was written. Errors with a SocketError.
 * `onWritten` is told of the bytes the system took.
 */
export function writableOf(socket: Deno.Conn, onWritten: (bytes: number) => void): WritableStream<Uint8Array<ArrayBuffer>> {
  return new WritableStream({
    async write(chunk) {
      try {
        for (let sent = 0; sent < chunk.length;) {
          const count = await socket.write(sent === 0 ? chunk : chunk.subarray(sent));
          onWritten(count);
          sent += count;
        }
      } catch (error) {
        throw new SocketError(socket, error);
      }
    },
    async close() {
      await socket.closeWrite().catch((error) => {
        throw new SocketError(socket, error);
      });
    },
  });
}
