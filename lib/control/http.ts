/**
 * HTTP on a Unix socket, with limits on what Deno.serve leaves open: how long a request may take to arrive, how large it may be,
 * and how many connections there may be. Knows nothing of the API: a request becomes a text, an answer is a Response.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { formatDuration } from "../values/duration.ts";
import { messageOf, OperatorError } from "../values/errors.ts";

/** A request that has arrived whole. */
export interface HttpRequest {
  readonly method: string;
  /** Path and query, as they came. */
  readonly target: string;
  readonly host: string;
  /** Empty where there is none. */
  readonly body: string;
}

/** What a server does with requests, and its limits. */
export interface HttpOptions {
  /** Answers a request. What it throws is answered by `fail`. */
  readonly answer: (request: HttpRequest) => Promise<Response>;
  /** The answer for what went wrong. Must not throw. */
  readonly fail: (error: unknown) => Response;
  /** How long a request may take to arrive, from its connection on. */
  readonly requestTimeMaxMs: number;
  readonly requestBytesMax: number;
  /** Connections, and those of them whose next request has not begun to arrive. */
  readonly connectionsMax: number;
  readonly waitingMax: number;
}

/** How long a connection is kept for a next request. A client of ours never waits so long between two. */
const KEEP_ALIVE_MS = 60_000;
/** How long the other side may take to read some more of an answer. */
const ANSWER_STALLED_MAX_MS = 30_000;
const HEAD_BYTES_MAX = 16 * 1024;
/** Connections beyond the limit that are told so at a time; more are closed without a word. */
const REFUSALS_MAX = 16;
/** The times of node:http are off: those here limit a request as a whole, say who was late, and leave an answer its time. */
const NO_TIMES = { headersTimeout: 0, requestTimeout: 0, keepAliveTimeout: 0 };

/** An HTTP server. Its connections outlive the sockets that they came by. */
export class HttpServer {
  readonly #options: HttpOptions;
  readonly #visits = new Map<Socket, Visit>();
  readonly #idle = Promise.withResolvers<void>();
  #isClosing = false;

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  /** Accepts connections on a new socket at the path, where nothing must be. */
  async listen(path: string): Promise<Server> {
    const server = createServer({ ...NO_TIMES, maxHeaderSize: HEAD_BYTES_MAX }, (request, response) => {
      this.#serve(request, response).catch(() => request.socket.destroy()); // the client is gone
    });
    server.maxConnections = this.#options.connectionsMax + REFUSALS_MAX;
    server.on("connection", (socket) => this.#accept(socket));
    server.on("connect", (request: IncomingMessage, socket: Socket) => void this.#answerByHand(request, socket));
    server.on("clientError", (error, socket: Socket) => void this.#refuse(socket, clientFault(error)));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject).listen(path, () => resolve());
    await promise;
    server.on("error", () => {}); // to accept failed for want of descriptors, and is tried again
    return server;
  }

  /** Ends every connection; requests that are being answered have so long. */
  async close(maxMs: number): Promise<void> {
    const timer = setTimeout(() => this.#idle.resolve(), maxMs);
    this.#isClosing = true;
    this.#closeIfIdle();
    await this.#idle.promise;
    clearTimeout(timer);
    for (const socket of this.#visits.keys()) socket.destroy();
  }

  #closeIfIdle(): void {
    if (this.#isClosing && this.#visits.values().every(({ requests }) => requests === 0)) this.#idle.resolve();
  }

  #accept(socket: Socket): void {
    socket.on("error", () => socket.destroy()).on("timeout", () => socket.destroy());
    const { requestTimeMaxMs } = this.#options;
    const why = this.#busyReason();
    if (why !== undefined) return void this.#refuse(socket, new OperatorError("busy", `Cannot take the request: ${why}`));
    const visit = new Visit((isFirst) => isFirst ? void this.#refuse(socket, tooSlow(requestTimeMaxMs)) : socket.destroy());
    this.#visits.set(socket, visit);
    socket.on("close", () => {
      visit.close();
      this.#visits.delete(socket);
    });
    visit.expect(requestTimeMaxMs);
  }

  /** Why there may be no more connections. A removal that lasts for hours takes no place from those who have yet to ask. */
  #busyReason(): string | undefined {
    const { connectionsMax, waitingMax } = this.#options;
    const waiting = this.#visits.values().reduce((sum, { requests }) => sum + (requests === 0 ? 1 : 0), 0);
    if (waiting >= waitingMax) return `${waitingMax} connections to the control socket wait for a request; try again later`;
    if (this.#visits.size < connectionsMax) return undefined;
    return `${connectionsMax} connections to the control socket are open, as many as may be; try again later`;
  }

  /** What a method is answered for which there is no response to write to. */
  async #answerByHand({ method = "", url = "", headers }: IncomingMessage, socket: Socket): Promise<void> {
    const { answer, fail } = this.#options;
    await endWith(socket, await answer({ method, target: url, host: headers.host ?? "", body: "" }).catch(fail));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { answer, fail } = this.#options;
    const { socket } = request;
    const visit = this.#visits.get(socket);
    if (visit === undefined) return; // it was refused
    visit.begin();
    response.on("error", () => {}).on("close", () => {
      visit.end();
      this.#closeIfIdle();
    });
    const { method = "", url = "", headers } = request;
    const made = await this.#read(request).then((body) => answer({ method, target: url, host: headers.host ?? "", body })).catch(
      fail,
    );
    const bytes = new Uint8Array(await made.arrayBuffer());
    response.statusCode = made.status;
    for (const [name, value] of made.headers) response.setHeader(name, value);
    response.setHeader("content-length", bytes.length);
    const isLast = made.status === TOO_SLOW;
    if (isLast) response.setHeader("connection", "close");
    socket.setTimeout(ANSWER_STALLED_MAX_MS);
    response.end(method === "HEAD" ? undefined : bytes, () => isLast ? socket.destroy() : socket.setTimeout(0));
    request.resume(); // what is left of a request that was too large; its time goes on
  }

  async #read(request: IncomingMessage): Promise<string> {
    const { requestBytesMax, requestTimeMaxMs } = this.#options;
    const { socket } = request;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    let bytes = 0;
    const late = setTimeout(() => {
      if (bytes > requestBytesMax) socket.destroy();
      else reject(tooSlow(requestTimeMaxMs));
    }, requestTimeMaxMs);
    request.on("data", (chunk: Uint8Array<ArrayBuffer>) => {
      bytes += chunk.length;
      if (bytes <= requestBytesMax) chunks.push(chunk);
      else reject(new OperatorError("tooLarge", `The request has more than ${requestBytesMax} bytes; send less`));
    });
    request.on("end", () => {
      clearTimeout(late);
      resolve(new Blob(chunks).text());
    });
    request.on("error", () => {}).on("close", () => {
      clearTimeout(late);
      reject(new OperatorError("usage", "The request broke off before its end")); // unless it is read
    });
    return await promise;
  }

  #refuse(socket: Socket, error: unknown): Promise<void> {
    return endWith(socket, this.#options.fail(error));
  }
}

/** One connection, and how long its next request is waited for. */
class Visit {
  requests = 0;
  #isFirst = true;
  #isOver = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly onLate: (isFirst: boolean) => void) {}

  /** The head of the next request must be there in so long. */
  expect(ms: number): void {
    clearTimeout(this.#timer);
    if (!this.#isOver) this.#timer = setTimeout(() => this.onLate(this.#isFirst), ms);
  }

  begin(): void {
    this.requests++;
    this.#isFirst = false;
    clearTimeout(this.#timer);
  }

  end(): void {
    if (--this.requests === 0) this.expect(KEEP_ALIVE_MS);
  }

  close(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }
}

const TOO_SLOW = 408;

function tooSlow(ms: number): OperatorError {
  return new OperatorError("tooSlow", `The request did not end within ${formatDuration(ms)}; send it whole`);
}

function clientFault({ code, message }: Error & { code?: string }): OperatorError {
  if (code === "HPE_HEADER_OVERFLOW") {
    return new OperatorError("tooLarge", `The request's head has more than ${HEAD_BYTES_MAX} bytes; send less`);
  }
  return new OperatorError("usage", `The request is not HTTP: ${message}`);
}

/** Answers by hand where there is no request to answer, and closes. */
async function endWith(socket: Socket, answer: Response): Promise<void> {
  if (!socket.writable) return void socket.destroy();
  const body = await answer.text().catch(messageOf);
  const length = new TextEncoder().encode(body).length;
  const lines = [
    `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status]}`,
    ...[...answer.headers].map(([name, value]) => `${name}: ${value}`),
    `content-length: ${length}`,
    "connection: close",
  ];
  socket.setTimeout(ANSWER_STALLED_MAX_MS);
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}
