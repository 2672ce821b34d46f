/**
 * HTTP on a Unix socket or a TCP port, with limits that Deno.serve does not have: the time in which a request must arrive, its
 * size, and the number of connections. Knows nothing of the API: the body of a request is text, an answer is a Response. hono's
 * `bodyLimit` and `timeout` cannot replace these limits: they see a request only after its head has arrived, and do not close a
 * slow connection.
 */

import { WHO_HEADER } from "./user_header.ts";
import { EVENT_STREAM } from "./event_stream_type.ts";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { deadline } from "@std/async";
import type { Address } from "../values/address.ts";
import { formatDuration } from "../values/duration.ts";
import { messageOf, OperatorError } from "../values/errors.ts";

/** A request that has arrived completely. */
export interface HttpRequest {
  readonly method: string;
  /** Path and query, as received. */
  readonly target: string;
  readonly host: string;
  /** The formats that the client takes (RFC 9110, section 12.5.1); empty if it does not say. */
  readonly accept: string;
  /** The last server-sent event that the client has (WHATWG HTML, section 9.2.4); empty if it does not say. */
  readonly lastEventId: string;
  /** Who made it, in his own words; empty if it does not say. */
  readonly who: string;
  /** Any line of its head by its name in lower case: empty without one, joined by commas if there are several, as fetch does. */
  readonly header: (name: string) => string;
  /** Empty without a body. */
  readonly body: string;
}

/** Handlers and limits of a server. */
interface HttpOptions {
  /** What people call what it listens on: `the control socket`. */
  readonly name: string;
  /** Answers a request. `fail` answers its errors. */
  readonly answer: (request: HttpRequest) => Promise<Response>;
  /** The answer for an error. Must not throw. */
  readonly fail: (error: unknown) => Response;
  /** How long a request may take to arrive, counted from its connection. */
  readonly requestTimeMaxMs: number;
  readonly requestBytesMax: (target: string) => number;
  /** Limit on lines in the head of a request. */
  readonly requestHeadersMax: number;
  /** Limit on connections. */
  readonly connectionsMax: number;
  /** Limit on connections that are not sending or waiting for an answer. */
  readonly waitingMax: number;
}

/** How long a connection is kept for the next request. */
const KEEP_ALIVE_MS = 60_000;
/** How long a client may stall while it reads an answer. */
const ANSWER_STALLED_MAX_MS = 30_000;
const HEAD_BYTES_MAX = 16 * 1024;
/** How many connections beyond the limit get an answer at a time; others are closed without one. */
const REFUSALS_MAX = 16;
/** The timeouts of node:http are off. Those of this file limit whole requests, answer slow ones, and do not limit answers. */
const NO_TIMES = { headersTimeout: 0, requestTimeout: 0, keepAliveTimeout: 0 };

/** An HTTP server. Its connections stay open when a listening socket is closed. */
export class HttpServer {
  readonly #options: HttpOptions;
  readonly #visits = new Map<Socket, Visit>();
  readonly #idle = Promise.withResolvers<void>();
  #isClosing = false;

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  /**
   * Accepts connections on a new socket: at a path, where nothing may exist, or on a TCP address. Rejects with the system's error.
   */
  async listen(where: string | Address): Promise<Server> {
    const { createServer } = await import("node:http"); // 30 ms, which a program that serves nothing need not take
    const server = createServer({ ...NO_TIMES, maxHeaderSize: HEAD_BYTES_MAX }, (request, response) => {
      this.#serve(request, response).catch(() => request.socket.destroy()); // the client has gone
    });
    server.maxConnections = this.#options.connectionsMax + REFUSALS_MAX;
    server.on("connection", (socket) => this.#accept(socket));
    server.on("connect", (request: IncomingMessage, socket: Socket) => void this.#answerByHand(request, socket));
    server.on("clientError", (error, socket: Socket) => void this.#refuse(socket, clientFault(error)));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject).listen(typeof where === "string" ? { path: where } : where, () => resolve());
    await promise;
    server.on("error", () => {}); // accepting failed without descriptors, and is retried
    return server;
  }

  /** Ends every connection, after at most `maxMs` for the requests that are being answered. */
  async close(maxMs: number): Promise<void> {
    this.#isClosing = true;
    this.#closeIfIdle();
    await deadline(this.#idle.promise, maxMs).catch(() => {}); // rejects only if it is late
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

  /** Why another connection is refused; undefined if it is not. Long removals do not use up the places of waiting connections. */
  #busyReason(): string | undefined {
    const { name, connectionsMax, waitingMax } = this.#options;
    const waiting = this.#visits.values().reduce((sum, { requests }) => sum + (requests === 0 ? 1 : 0), 0);
    if (waiting >= waitingMax) {
      return `${waitingMax} connections to ${name} are idle, which is the limit; try again later`;
    }
    if (this.#visits.size < connectionsMax) return undefined;
    return `${connectionsMax} connections to ${name} are open, which is the limit; try again later`;
  }

  /** Answers CONNECT, for which node:http makes no response object. */
  async #answerByHand(request: IncomingMessage, socket: Socket): Promise<void> {
    const { answer, fail } = this.#options;
    await endWith(socket, await answer(requestOf(request, "")).catch(fail));
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
    const made = await this.#read(request).then((body) => answer(requestOf(request, body))).catch(fail);
    if (made.headers.get("content-type") === EVENT_STREAM) return await this.#stream(made, socket, response);
    const bytes = new Uint8Array(await made.arrayBuffer());
    response.statusCode = made.status;
    for (const [name, value] of made.headers) response.setHeader(name, value);
    response.setHeader("content-length", bytes.length);
    const isLast = made.status === TOO_SLOW;
    if (isLast) response.setHeader("connection", "close");
    socket.setTimeout(ANSWER_STALLED_MAX_MS);
    response.end(request.method === "HEAD" ? undefined : bytes, () => isLast ? socket.destroy() : socket.setTimeout(0));
    request.resume(); // drain the rest of a request that is too large, within its time
  }

  /** Sends an answer that may never end, as fast as the client reads it. An error of its body closes the connection. */
  async #stream({ status, headers, body }: Response, socket: Socket, response: ServerResponse): Promise<void> {
    const reader = body!.getReader();
    const gone = Promise.withResolvers<void>();
    response.on("close", () => {
      gone.resolve();
      reader.cancel().catch(() => {}); // it has failed
    });
    reader.closed.catch(() => socket.destroy()); // also while the client does not read
    response.writeHead(status, Object.fromEntries(headers)).flushHeaders();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (response.write(part.value)) continue;
      const drained = Promise.withResolvers<void>();
      response.once("drain", () => drained.resolve());
      await Promise.race([drained.promise, gone.promise]);
    }
    response.end();
  }

  async #read(request: IncomingMessage): Promise<string> {
    const { requestHeadersMax, requestTimeMaxMs } = this.#options;
    const { socket, rawHeaders } = request;
    const requestBytesMax = this.#options.requestBytesMax(request.url ?? "");
    if (rawHeaders.length > 2 * requestHeadersMax) {
      throw new OperatorError("tooLarge", `The request has more than ${requestHeadersMax} header lines, which is the limit`);
    }
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
      else reject(new OperatorError("tooLarge", `The request is larger than the limit of ${requestBytesMax} bytes`));
    });
    request.on("end", () => {
      clearTimeout(late);
      resolve(new Blob(chunks).text());
    });
    request.on("error", () => {}).on("close", () => {
      clearTimeout(late);
      reject(new OperatorError("usage", "The request ended early")); // has no effect once it was read
    });
    return await promise;
  }

  #refuse(socket: Socket, error: unknown): Promise<void> {
    return endWith(socket, this.#options.fail(error));
  }
}

/** A connection, with the timeout for its next request. */
class Visit {
  requests = 0;
  #isFirst = true;
  #isClosed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly onLate: (isFirst: boolean) => void) {}

  /** Starts the timeout for the head of the next request. */
  expect(ms: number): void {
    clearTimeout(this.#timer);
    if (!this.#isClosed) this.#timer = setTimeout(() => this.onLate(this.#isFirst), ms);
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
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }
}

function requestOf({ method = "", url = "", headers, rawHeaders }: IncomingMessage, body: string): HttpRequest {
  const { host = "", accept = "" } = headers;
  const header = (name: string) => rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1].toLowerCase() === name).join(", ");
  return { method, target: url, host, accept, lastEventId: header("last-event-id"), who: header(WHO_HEADER), header, body };
}

const TOO_SLOW = 408;

function tooSlow(ms: number): OperatorError {
  return new OperatorError("tooSlow", `The request did not arrive completely within ${formatDuration(ms)}`);
}

function clientFault({ code, message }: Error & { code?: string }): OperatorError {
  if (code === "HPE_HEADER_OVERFLOW") {
    return new OperatorError("tooLarge", `The head of the request is larger than the limit of ${HEAD_BYTES_MAX} bytes`);
  }
  return new OperatorError("usage", `The request is not valid HTTP: ${message}`);
}

/** Writes an answer directly to the socket, and closes it. */
async function endWith(socket: Socket, answer: Response): Promise<void> {
  if (!socket.writable) return void socket.destroy();
  const body = await answer.text().catch(messageOf);
  const { STATUS_CODES } = await import("node:http");
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
