/**
 * A request to a Unix socket and its answer, by HTTP/1.1 (RFC 9112) as far as our own daemon speaks it, on a connection of its own.
 * `fetch` would do, but loading it takes a quarter of the time of a short command. Trusts nothing that arrives.
 */

/** What is asked. Target, names and values are visible ASCII. */
export interface Question {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  /** Beside those that the exchange needs itself. */
  readonly headers: Readonly<Record<string, string>>;
  /** JSON; undefined: the request has no body. */
  readonly body?: string;
  /** Ends the exchange, also while its body is read: its reason is what is thrown. */
  readonly signal: AbortSignal;
}

/** An answer whose head has arrived. */
export interface Answer {
  readonly status: number;
  /** The value of a header by its name in lower case; empty without it. */
  readonly header: (name: string) => string;
  /** The body as it arrives, to be read once. The connection is closed when it ends or is left. */
  readonly body: AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined>;
}

const READ_BYTES = 64 * 1024;
const HEAD_BYTES_MAX = 16 * 1024;
/** A line that says how long a chunk is. */
const CHUNK_LINE_BYTES_MAX = 256;
const [CR, LF] = [13, 10];

/** Asks, and resolves when the head of the answer has arrived. Rejects with the system's error, or one that says what is wrong. */
export async function exchange(path: string, question: Question): Promise<Answer> {
  const [{ signal }, bytes] = [question, bytesOf(question)];
  signal.throwIfAborted();
  const connection = await Deno.connect({ transport: "unix", path });
  const end = () => {
    signal.removeEventListener("abort", end);
    close(connection);
  };
  signal.addEventListener("abort", end);
  try {
    signal.throwIfAborted();
    const arriving = new Arriving(connection);
    const failure = await write(connection, bytes).then(() => undefined, (error) => error);
    const head = await arriving.head().catch((error) => { // it may have answered before it had the whole question
      throw failure ?? error;
    });
    return { ...head, body: bodyOf(head, arriving, signal, end) };
  } catch (error) {
    end();
    throw signal.aborted ? signal.reason : error;
  }
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch { /* it is closed */ }
}

/** Visible ASCII and, within values, spaces. */
const SAFE = /^[ -~]*$/;

/** The question as it is sent. Throws for a character that would make another question of it. */
function bytesOf({ method, target, headers, body }: Question): Uint8Array {
  const encoder = new TextEncoder();
  const length = body === undefined
    ? {}
    : { "content-type": "application/json", "content-length": String(encoder.encode(body).length) };
  const lines = [
    `${method} ${target} HTTP/1.1`,
    ...Object.entries({ host: "127.0.0.1", connection: "close", ...length, ...headers }).map((pair) => pair.join(": ")),
  ];
  if (!lines.every((line) => SAFE.test(line))) throw new Error("the request has a character that HTTP does not allow");
  return encoder.encode(`${lines.join("\r\n")}\r\n\r\n${body ?? ""}`);
}

async function write(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await connection.write(bytes.subarray(sent));
}

async function* bodyOf(
  { header }: Pick<Answer, "header">,
  arriving: Arriving,
  signal: AbortSignal,
  end: () => void,
): Answer["body"] {
  try {
    if (header("transfer-encoding") !== "") yield* arriving.chunks();
    else yield* arriving.bytes(header("content-length") === "" ? Infinity : lengthOf(header("content-length"), 10));
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    end();
  }
}

/** What arrives on a connection, in the parts that HTTP has. */
class Arriving {
  readonly #connection: Deno.Conn;
  /** What has arrived and was not taken. */
  #rest: Uint8Array<ArrayBuffer> = new Uint8Array();

  constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  async head(): Promise<Pick<Answer, "status" | "header">> {
    const [, status] = (await this.#line(HEAD_BYTES_MAX)).match(/^HTTP\/1\.[01] ([1-5][0-9]{2})( |$)/) ?? [];
    if (status === undefined) throw new Error("it does not speak HTTP");
    const headers = new Map<string, string>();
    for (let line = await this.#line(HEAD_BYTES_MAX), bytes = 0; line !== ""; line = await this.#line(HEAD_BYTES_MAX - bytes)) {
      const [, name, value] = line.match(/^([^:]*):[ \t]*(.*?)[ \t]*$/) ?? [];
      if (name !== undefined) headers.set(name.toLowerCase(), value);
      bytes += line.length;
    }
    return { status: Number(status), header: (name) => headers.get(name) ?? "" };
  }

  /** This many bytes; Infinity: all. */
  async *bytes(count: number): Answer["body"] {
    for (let left = count; left > 0;) {
      if (this.#rest.length === 0 && !await this.#read()) {
        if (count === Infinity) return;
        throw new Error("it ended in the middle of its answer");
      }
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }

  /** Chunks up to the last one (RFC 9112, section 7.1). */
  async *chunks(): Answer["body"] {
    for (;;) {
      const length = lengthOf((await this.#line(CHUNK_LINE_BYTES_MAX)).split(";")[0].trim(), 16);
      if (length === 0) return;
      yield* this.bytes(length);
      await this.#line(0);
    }
  }

  /** A line without its end. Throws if it is longer. */
  async #line(bytesMax: number): Promise<string> {
    for (;;) {
      const end = this.#rest.indexOf(LF);
      const length = end > 0 && this.#rest[end - 1] === CR ? end - 1 : end;
      if (length > bytesMax || end < 0 && this.#rest.length > bytesMax + 1) {
        throw new Error("its answer has a line that is too long");
      }
      if (end >= 0) {
        const line = String.fromCharCode(...this.#rest.subarray(0, length));
        this.#rest = this.#rest.subarray(end + 1);
        return line;
      }
      if (!await this.#read()) throw new Error("it ended in the middle of its answer");
    }
  }

  /** Takes what arrives next. False at the end. */
  async #read(): Promise<boolean> {
    const room = new Uint8Array(READ_BYTES);
    const count = await this.#connection.read(room);
    if (count === null) return false;
    const arrived = room.subarray(0, count);
    if (this.#rest.length === 0) this.#rest = arrived;
    else {
      const both = new Uint8Array(this.#rest.length + count);
      both.set(this.#rest);
      both.set(arrived, this.#rest.length);
      this.#rest = both;
    }
    return true;
  }
}

function lengthOf(text: string, radix: 10 | 16): number {
  if (!(radix === 10 ? /^[0-9]{1,15}$/ : /^[0-9a-f]{1,12}$/i).test(text)) throw new Error("its answer has no valid length");
  return parseInt(text, radix);
}
