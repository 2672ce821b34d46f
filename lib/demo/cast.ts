/**
 * The servers and clients of the demo: a server answers with its letter, and each client has its own loopback address. Uses
 * node:net, because `Deno.connect` cannot choose its source address and a `Deno.Conn` cannot be reset.
 */

import { type AddressInfo, createConnection, createServer, type Server, type Socket } from "node:net";
import { delay } from "@std/async";
import type { Address } from "../values/address.ts";
import { OperatorError } from "../values/errors.ts";

/** The longest that a client waits for an answer. */
const PATIENCE_MS = 5000;

/** How long a server takes for a slow answer. */
const SLOW_MS = 1500;

/** The requests of clients: which server is it; the same, with a slow answer; begin a long answer, or go on with it; end it. */
const SAYINGS = { who: "?", slow: "~", begin: "!", end: "." } as const;
/** The parts of a long answer. */
const PARTS = { begin: "Once upon a time ", end: "happily ever after." } as const;

/** A server of the demo. */
export class DemoServer implements AsyncDisposable {
  readonly #sockets = new Set<Socket>();

  private constructor(readonly letter: string, readonly address: Address, readonly listener: Server) {
    listener.on("connection", (socket) => this.#serve(socket));
  }

  /** Listens on this port of loopback; 0: on a free one. Rejects if it cannot. */
  static async start(letter: string, port = 0): Promise<DemoServer> {
    const listener = createServer();
    await new Promise<void>((resolve, reject) => listener.once("error", reject).listen(port, "127.0.0.1", resolve));
    return new DemoServer(letter, { host: "127.0.0.1", port: (listener.address() as AddressInfo).port }, listener);
  }

  /** Ends as a killed process does: stops listening and resets every connection. */
  async kill(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.listener.close(() => resolve()));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.listener.listening) await this.kill();
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket)).on("error", () => {});
    socket.on("data", (data: Uint8Array) => {
      for (const saying of new TextDecoder().decode(data)) {
        if (saying === SAYINGS.who) socket.write(this.letter);
        if (saying === SAYINGS.slow) setTimeout(() => socket.write(this.letter), SLOW_MS);
        if (saying === SAYINGS.begin) socket.write(PARTS.begin);
        if (saying === SAYINGS.end) socket.write(PARTS.end);
      }
    });
  }
}

/** A client's connection through the balancer. */
export class DemoConnection implements Disposable {
  private constructor(readonly letter: string, readonly socket: Socket) {}

  /** Connects from the client's own address and asks, after a silence, which server it got. Rejects if it gets none. */
  static async open(ip: string, { host, port }: Address, silenceMs = 0): Promise<DemoConnection> {
    const socket = createConnection({ host, port, localAddress: ip }).on("error", () => {});
    if (silenceMs > 0) await delay(silenceMs);
    socket.write(SAYINGS.who);
    return new DemoConnection(await nextText(socket), socket);
  }

  /** Asks which server it has now. Rejects if the connection is lost. */
  async ask(): Promise<string> {
    return await this.#say(SAYINGS.who);
  }

  /** As `ask`; the server takes its time. */
  async askSlowly(): Promise<string> {
    return await this.#say(SAYINGS.slow);
  }

  /** Requests the beginning of a long answer, or the next part of it. */
  async begin(): Promise<void> {
    await this.#say(SAYINGS.begin);
  }

  /** Requests the end of the long answer. Rejects if anything else arrives. */
  async end(): Promise<void> {
    const text = await this.#say(SAYINGS.end);
    if (text !== PARTS.end) throw new Error(`the answer ended with ${text}`);
  }

  async #say(saying: string): Promise<string> {
    if (this.socket.destroyed) throw new Error("the connection is lost");
    this.socket.write(saying);
    return await nextText(this.socket);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** The addresses of `count` clients. Throws an operator error where loopback does not have all of 127/8. */
export async function clientAddresses(count: number): Promise<string[]> {
  const addresses = Array.from({ length: count }, (_, i) => `127.0.1.${i + 1}`);
  const probe = createServer();
  try {
    await new Promise<void>((resolve, reject) => probe.once("error", reject).listen(0, addresses[count - 1], resolve));
  } catch {
    const range = `${addresses[0]} to ${addresses[count - 1]}`;
    const wayOut = "add them to its loopback interface (macOS: sudo ifconfig lo0 alias 127.0.1.1, and so on)";
    throw new OperatorError("failed", `Cannot run the demo: its clients need the addresses ${range}, which are missing; ${wayOut}`);
  } finally {
    probe.close();
  }
  return addresses;
}

/** The next data. Rejects if the connection ends or fails, or if nothing arrives for PATIENCE_MS. */
function nextText(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    const settle = (done: () => void) => {
      clearTimeout(timer);
      socket.off("data", onData).off("close", onClose);
      done();
    };
    const onData = (data: Uint8Array) => settle(() => resolve(new TextDecoder().decode(data)));
    const onClose = () => settle(() => reject(new Error("the connection ended")));
    const timer = setTimeout(() => settle(() => reject(new Error("no answer arrived"))), PATIENCE_MS);
    socket.on("data", onData).on("close", onClose); // `open` hears errors; they end in a close
  });
}
