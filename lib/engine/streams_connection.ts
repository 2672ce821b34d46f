/**
 * One client's connection in the `streams` engine, from the first dial to its one fate. Three states: dialling, open, ended; every
 * change goes through `#open` and `end`. Each direction is a pipe that ends by itself; the connection ends when both have.
 */

import { type Address, clientKey, formatAddress, ipBytes } from "../address.ts";
import type { Counters, Fate } from "../counters.ts";
import { messageOf } from "../errors.ts";
import { type Load, route } from "../route.ts";
import type { RoutingTable, TableServer } from "../routing_table.ts";
import { readableOf, SocketError, writableOf } from "./conn_streams.ts";
import type { EndedConnection, EngineConfig } from "./engine.ts";
import type { NameLookup } from "./name_lookup.ts";

/** What a connection needs of the engine that it belongs to. */
export interface Surroundings {
  readonly config: EngineConfig;
  readonly counters: Counters;
  readonly load: Load;
  readonly names: NameLookup;
  /** The table of the moment. */
  readonly table: () => RoutingTable;
  readonly onEnded: (connection: StreamsConnection, ended: EndedConnection) => void;
  readonly onConnectFailed: (slot: number, reason: string) => void;
  /** Called when a server has lost its last connection. */
  readonly onServerLeft: () => void;
}

/** The buffer for bytes that nobody wants any more. */
const DISCARD_BYTES = 64 * 1024;

/** Why dialling stopped without a server. */
type NoServer = Extract<Fate, "no_server" | "refused_limit" | "connect_failed">;

/** How one direction ended: the sender's end-of-file was passed on, or one of the sockets failed. */
type PipeEnd = "finished" | "receiver failed" | "sender failed";

/** A client's connection. `run` once; `end` at any time. */
export class StreamsConnection {
  #state: "dialling" | "open" | "ended" = "dialling";
  readonly #startedMs = performance.now();
  #lastMovedMs = this.#startedMs;
  /** The server dialled or connected to; it counts as one of the server's open connections while this is set. */
  #server: TableServer | undefined;
  #serverSocket: Deno.TcpConn | undefined;
  #dial: AbortController | undefined;
  #attempts = 0;
  #sentBytes = 0;
  #receivedBytes = 0;
  #reason: string | undefined;

  constructor(readonly client: Deno.TcpConn, readonly around: Surroundings) {}

  /** The slot of the server dialled or connected to. */
  get slot(): number | undefined {
    return this.#server?.slot;
  }

  /** Whether nothing has moved since `beforeMs` (by performance.now). A connection that is dialling has its own deadline. */
  isIdle(beforeMs: number): boolean {
    return this.#state === "open" && this.#lastMovedMs < beforeMs;
  }

  /** Finds a server and moves bytes until the connection has ended. Never rejects. */
  async run(): Promise<void> {
    try {
      const refused = await this.#findServer();
      if (refused !== undefined) return this.end(refused);
      if (this.#state === "open") await this.#pipeBothWays();
    } catch (error) {
      this.#reason = error instanceof Error ? error.stack : messageOf(error);
      this.end("failed");
    }
  }

  /** Ends the connection with this fate, closing both sockets; does nothing if it has ended. */
  end(fate: Fate): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#dial?.abort();
    closeSocket(this.client);
    if (this.#serverSocket !== undefined) closeSocket(this.#serverSocket);
    this.around.counters.addFate(fate, this.slot);
    const server = this.#server;
    this.#releaseServer();
    this.around.onEnded(this, {
      fate,
      client: formatAddress(addressOf(this.client)),
      server: server?.name,
      attempts: this.#attempts,
      sentBytes: this.#sentBytes,
      receivedBytes: this.#receivedBytes,
      durationMs: performance.now() - this.#startedMs,
      reason: this.#reason,
    });
  }

  /** Its server is gone: an open connection ends, one that still dials goes on to the next server. */
  loseServer(fate: Fate): void {
    if (this.#state === "dialling") this.#dial?.abort("it was removed");
    else this.end(fate);
  }

  /** Dials servers in the order of `route()`, by the table of the moment and never one twice, until one accepts. */
  async #findServer(): Promise<NoServer | undefined> {
    const { table, config, load } = this.around;
    const { host, port } = addressOf(this.client);
    const key = clientKey(table().key, ipBytes(host), port);
    const deadlineMs = this.#startedMs + config.connectDeadlineMs;
    const tried = new Set<string>();
    while (this.#state === "dialling" && tried.size < config.connectAttemptsMax && performance.now() < deadlineMs) {
      const server = firstUntried(table(), route(table(), load, key), tried);
      if (server === undefined) break;
      tried.add(server.name);
      if (await this.#connect(server, deadlineMs)) return undefined;
    }
    if (this.#state === "ended") return undefined;
    if (tried.size > 0) return "connect_failed";
    return table().servers.length === 0 ? "no_server" : "refused_limit";
  }

  /** Tries one server. It counts the connection from now on, not from its answer, so that clients who come meanwhile see its load. */
  async #connect(server: TableServer, deadlineMs: number): Promise<boolean> {
    const { config, counters } = this.around;
    const startedMs = performance.now();
    this.#attempts++;
    this.#server = server;
    counters.raiseOf(server.slot, "serverOpen"); // no thread counts beside this one: route() has just seen that there is room
    const dial = this.#dial = new AbortController();
    const timer = setTimeout(
      () => dial.abort("it did not accept in time"),
      Math.min(config.connectTimeoutMs, deadlineMs - startedMs),
    );
    try {
      this.#open(await this.#dialServer(server, dial.signal));
      counters.addConnectSeconds((performance.now() - startedMs) / 1000);
      return true;
    } catch (error) {
      if (this.#state === "ended") return false;
      const reason = `${dial.signal.reason ?? messageOf(error)}`;
      this.#reason = `${server.name}: ${reason}`;
      counters.addTo(server.slot, "connectFailures");
      this.#releaseServer();
      this.around.onConnectFailed(server.slot, reason);
      return false;
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Connects to the first of the server's IP addresses that accepts; all but the last have their part of the connect timeout each.
   * Rejects with the last one's error, or when the signal says so.
   */
  async #dialServer({ address: { host, port } }: TableServer, signal: AbortSignal): Promise<Deno.TcpConn> {
    const ips = await untilAborted(this.around.names.find(host), signal);
    for (const ip of ips.slice(0, -1)) {
      const part = AbortSignal.timeout(this.around.config.connectTimeoutMs / ips.length);
      const socket = await Deno.connect({ hostname: ip, port, signal: AbortSignal.any([signal, part]) }).catch(() => undefined);
      if (socket !== undefined) return socket;
    }
    return await Deno.connect({ hostname: ips.at(-1)!, port, signal });
  }

  /** From dialling to open; if the connection has ended while the server was accepting, the server is let go. */
  #open(socket: Deno.TcpConn): void {
    if (this.#server === undefined) return closeSocket(socket);
    this.#state = "open";
    this.#serverSocket = socket;
    this.around.counters.addTo(this.#server.slot, "connects");
    this.#lastMovedMs = performance.now();
    for (const end of [this.client, socket]) {
      try {
        end.setNoDelay();
        end.setKeepAlive();
      } catch { /* the socket was reset already; reading will say so */ }
    }
  }

  #releaseServer(): void {
    if (this.#server === undefined) return;
    const { slot } = this.#server;
    this.#server = undefined;
    if (this.around.counters.raiseOf(slot, "serverOpen", -1) === 0) this.around.onServerLeft();
  }

  async #pipeBothWays(): Promise<void> {
    const server = this.#serverSocket!;
    const sending = this.#pipe(this.client, server, this.#countSent);
    const receiving = await this.#pipe(server, this.client, this.#countReceived);
    if (receiving === "receiver failed") void discard(server); // or the server may never read what the client sent before it went
    const sent = await sending;
    if (receiving === "receiver failed") this.end("client_gone");
    else if (sent === "receiver failed") this.end("server_closed");
    else this.end("done");
  }

  /**
   * Moves bytes one way to the end. A socket that was reset has ended the connection: the call that is told so is the only one, and
   * what is read afterwards would look like an end. One that cannot be written for another reason (it had sent its end before) may
   * still have bytes to read: the other direction goes on to its end-of-file.
   */
  async #pipe(from: Deno.TcpConn, to: Deno.TcpConn, onWritten: (bytes: number) => void): Promise<PipeEnd> {
    try {
      await readableOf(from).pipeTo(writableOf(to, onWritten));
      return "finished";
    } catch (error) {
      if (!(error instanceof SocketError)) throw error;
      if (this.#state === "ended") return "sender failed";
      this.#reason = error.message;
      if (error.socket === to && !(error.cause instanceof Deno.errors.ConnectionReset)) return "receiver failed";
      this.end(error.socket === this.client ? "client_gone" : "server_lost");
      return "sender failed";
    }
  }

  #countSent = (bytes: number): void => {
    if (this.#moved("sentBytes", bytes)) this.#sentBytes += bytes;
  };

  #countReceived = (bytes: number): void => {
    if (this.#moved("receivedBytes", bytes)) this.#receivedBytes += bytes;
  };

  /** False once the connection has ended: the server's cells may be another's by then. */
  #moved(counter: "sentBytes" | "receivedBytes", bytes: number): boolean {
    if (this.#server === undefined) return false;
    this.#lastMovedMs = performance.now();
    this.around.counters.addTo(this.#server.slot, counter, bytes);
    return true;
  }
}

function firstUntried({ servers }: RoutingTable, order: Iterable<number>, tried: ReadonlySet<string>): TableServer | undefined {
  for (const index of order) if (!tried.has(servers[index].name)) return servers[index];
}

/** Reads to the end, or until the socket is closed, and keeps nothing. */
async function discard(socket: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(DISCARD_BYTES);
  try {
    while (await socket.read(buffer) !== null);
  } catch { /* closed or reset: there is no more */ }
}

/** The promise's value, or the abort's rejection if it comes first. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  return Promise.race([promise, aborted.promise]).finally(() => signal.removeEventListener("abort", onAbort));
}

function addressOf(socket: Deno.TcpConn): Address {
  const { hostname, port } = socket.remoteAddr as Deno.NetAddr;
  return { host: hostname, port };
}

function closeSocket(socket: Deno.Conn): void {
  try {
    socket.close();
  } catch { /* closed already */ }
}
