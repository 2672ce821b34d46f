/**
 * Dialling in the `streams` engine: the addresses of one server, one server after another until one accepts, and the probe of a
 * server that has sent FIN. Counts a connection for its server from the moment the server is dialled. Knows nothing about bytes.
 */

import type { Address } from "../../values/address.ts";
import { abortable } from "@std/async";
import { connectTo } from "../../health/connect.ts";
import { isNoLocalPort, isOwnShortage, noLocalPort } from "../../health/shortage.ts";
import { afterSockets } from "../../health/socket_timer.ts";
import type { Counters } from "../../observe/counters.ts";
import { messageOf } from "../../values/errors.ts";
import type { TrafficFailure } from "../../routing/early_loss.ts";
import type { ProbeResult } from "../../routing/departure.ts";
import { probedUntilMs } from "../../routing/redistribution.ts";
import { takeTurn } from "../../routing/candidates.ts";
import { type Choice, type Load, nextServer } from "../../routing/route.ts";
import type { RoutingTable, TableServer } from "../../routing/routing_table.ts";
import { closeSocket } from "./conn_streams.ts";
import type { EngineService } from "../engine.ts";
import type { NameCache } from "./name_cache.ts";

/** The parts of the engine that dialling uses. */
export interface DialContext {
  readonly counters: Counters;
  /** The load of a service. */
  readonly load: (service: number) => Load;
  readonly names: NameCache;
  /** The current table and settings of a service. */
  readonly service: (index: number) => EngineService;
  /** By slot: when the server last ended a connection that was waiting or quiet, by performance.now. */
  readonly lastEndsMs: Map<number, number>;
  readonly onServerFailed: (slot: number, reason: string, kind: TrafficFailure) => void;
  /** Called when a server has lost its last connection. */
  readonly onServerLeft: () => void;
}

/** The totals of all searches of one connection. */
export interface Tally {
  attempts: number;
  /** The last error, in the system's words. */
  reason: string | undefined;
}

/** What a search may spend. Several searches can share one budget. */
export interface Budget {
  attempts: number;
  /** By performance.now. */
  readonly deadlineMs: number;
}

interface SearchOptions {
  /** The client's service and key. */
  readonly service: number;
  readonly key: Uint8Array;
  /** What is added to the ports of servers. */
  readonly portOffset: number;
  readonly choice: Choice;
  /** Names of servers that must not be tried. */
  readonly except: readonly string[];
  /** The slot of the only server to try; -1: all are. */
  readonly only: number;
  readonly budget: Budget;
  readonly tally: Tally;
}

interface Dialled {
  readonly server: TableServer;
  readonly abort: AbortController;
  /** The dial was given up for no fault of the server. */
  isSkipped: boolean;
}

/** One search for a server. Call `run` once; `skip` and `cancel` may be called at any time. */
export class Search {
  readonly #tried: Set<string>;
  #dialled: Dialled | undefined;
  #cancelled = false;

  constructor(readonly context: DialContext, readonly options: SearchOptions) {
    this.#tried = new Set(options.except);
  }

  /** The server being dialled, which already counts the connection. */
  get server(): TableServer | undefined {
    return this.#dialled?.server;
  }

  /** The next server to try; undefined if there is none. */
  next(choice: Choice = this.options.choice): TableServer | undefined {
    const { table } = this.context.service(this.options.service);
    return table.servers[this.#indexOfNext(table, choice)];
  }

  #indexOfNext(table: RoutingTable, choice: Choice): number {
    const { context, options: { key, service, only } } = this;
    const takes = (index: number) => !this.#tried.has(table.servers[index].name) && (only < 0 || table.slots[index] === only);
    return nextServer(table, context.load(service), key, choice, takes);
  }

  /** The next server to try, whose turn is taken. */
  #take(): TableServer | undefined {
    const { service } = this.options;
    const { table } = this.context.service(service);
    const index = this.#indexOfNext(table, this.options.choice);
    if (index >= 0) takeTurn(table, this.context.load(service).turns, index);
    return table.servers[index];
  }

  /**
   * Dials servers in the order of `route()`, by the current table and each once, until one accepts. Then `onFound` gets its socket,
   * and the server counts the connection until `releaseServer`. False: no server accepted, or the search was cancelled.
   */
  async run(onFound: (server: TableServer, socket: Deno.TcpConn) => void): Promise<boolean> {
    const { budget } = this.options;
    while (!this.#cancelled && budget.attempts > 0 && performance.now() < budget.deadlineMs) {
      const server = this.#take();
      if (server === undefined) return false;
      this.#tried.add(server.name);
      budget.attempts--;
      const socket = await this.#dial(server);
      if (socket === undefined) continue;
      if (this.#cancelled) { // `cancel` has released the server already
        closeSocket(socket);
        return false;
      }
      this.#dialled = undefined;
      onFound(server, socket);
      return true;
    }
    return false;
  }

  /** If the server with this slot is being dialled, goes on to the next one. */
  skip(slot: number, reason: string): void {
    if (this.#dialled?.server.slot !== slot) return;
    this.#dialled.isSkipped = true;
    this.#dialled.abort.abort(reason);
  }

  /** Stops the search and releases the server being dialled at once. */
  cancel(): void {
    this.#cancelled = true;
    const dialled = this.#dialled;
    if (dialled === undefined) return;
    this.#dialled = undefined;
    dialled.abort.abort();
    releaseServer(this.context, dialled.server);
  }

  /** Dials a server. It counts the connection from now on and not from its answer, so that new clients see its load. */
  async #dial(server: TableServer): Promise<Deno.TcpConn | undefined> {
    const { context, options: { tally, budget, service, portOffset } } = this;
    const { connectTimeoutMs } = context.service(service).config;
    const { counters } = context;
    const startedMs = performance.now();
    tally.attempts++;
    counters.raiseOf(server.slot, "serverOpen"); // no other thread counts, and route() has just seen that there is room
    const abort = new AbortController();
    const dialled = this.#dialled = { server, abort, isSkipped: false };
    const timeoutMs = Math.min(connectTimeoutMs, budget.deadlineMs - startedMs);
    try {
      const socket = await dialServer(context.names, portAdded(server.address, portOffset), { timeoutMs, connectTimeoutMs }, abort);
      if (this.#dialled !== dialled) return void closeSocket(socket);
      counters.addConnect(server.slot, (performance.now() - startedMs) / 1000);
      return socket;
    } catch (error) {
      if (this.#dialled !== dialled) return undefined;
      this.#dialled = undefined;
      const inUse = counters.getOf(server.slot, "serverOpen") - 1; // without this one
      const noPort = isNoLocalPort(error) ? noLocalPort(server.name, inUse) : undefined;
      const reason = `${abort.signal.reason ?? messageOf(error)}`;
      tally.reason = noPort ?? `${server.name}: ${reason}`;
      const isItsFault = !dialled.isSkipped && !isOwnShortage(error);
      if (isItsFault) counters.addTo(server.slot, "connectFailures");
      releaseServer(context, server);
      if (isItsFault) context.onServerFailed(server.slot, reason, "connect");
    }
  }
}

function portAdded({ host, port }: Address, offset: number): Address {
  return { host, port: port + offset };
}

/** Counts one connection less for the server. */
export function releaseServer({ counters, onServerLeft }: DialContext, { slot }: TableServer): void {
  if (counters.raiseOf(slot, "serverOpen", -1) === 0) onServerLeft();
}

/** The result of a probe, and its reason in words. */
export interface Probed {
  readonly result: ProbeResult;
  readonly reason: string;
}

/**
 * Dials a server that has sent FIN again, at the same IP address. It is alive if it accepts and does not reset the new connection.
 */
export async function probeServer(
  { service, lastEndsMs }: Pick<DialContext, "service" | "lastEndsMs">,
  { service: index, slot }: { readonly service: number; readonly slot: number },
  { hostname, port }: Deno.NetAddr,
  signal: AbortSignal,
): Promise<Probed> {
  const late = new AbortController();
  const cancel = afterSockets(service(index).config.connectTimeoutMs, () => late.abort());
  try {
    const socket = await connectTo(hostname, port, AbortSignal.any([signal, late.signal]));
    const acceptedMs = performance.now();
    const reset = await findReset(socket, signal, () => probedUntilMs(acceptedMs, lastEndsMs.get(slot) ?? -Infinity));
    return reset === undefined ? { result: "accepted", reason: "" } : { result: "failed", reason: reset };
  } catch (error) {
    if (isOwnShortage(error)) return { result: "unasked", reason: messageOf(error) };
    return { result: "failed", reason: late.signal.aborted ? "it does not accept any more" : messageOf(error) };
  } finally {
    cancel();
  }
}

/**
 * Watches an accepted connection until `untilMs` and closes it. Returns the reason if the server resets it, otherwise undefined.
 */
async function findReset(socket: Deno.TcpConn, signal: AbortSignal, untilMs: () => number): Promise<string | undefined> {
  const close = () => closeSocket(socket); // wakes the reader
  const wait = () => afterSockets(untilMs() - performance.now(), () => performance.now() < untilMs() ? cancel = wait() : close());
  let cancel = wait();
  signal.addEventListener("abort", close);
  try {
    await socket.read(new Uint8Array(1));
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return messageOf(error);
  } finally {
    cancel();
    signal.removeEventListener("abort", close);
    close();
  }
}

/**
 * Connects to the first of the server's IP addresses that accepts. Each but the last gets an equal part of the connect timeout.
 * Rejects with the error of the last address, or when aborted, which also happens at the timeout.
 */
async function dialServer(
  names: NameCache,
  { host, port }: Address,
  { timeoutMs, connectTimeoutMs }: { readonly timeoutMs: number; readonly connectTimeoutMs: number },
  abort: AbortController,
): Promise<Deno.TcpConn> {
  const { signal } = abort;
  const cancel = afterSockets(timeoutMs, () => abort.abort("it did not accept in time"));
  try {
    const ips = await abortable(names.find(host), signal);
    for (const ip of ips.slice(0, -1)) {
      const part = AbortSignal.timeout(connectTimeoutMs / ips.length);
      const socket = await connectTo(ip, port, AbortSignal.any([signal, part])).catch(() => undefined);
      if (socket !== undefined) return socket;
    }
    return await connectTo(ips.at(-1)!, port, signal);
  } finally {
    cancel();
  }
}
