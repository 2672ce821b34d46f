/**
 * Who plays in the demo: small servers that say their letter when they are asked, and clients that come from loopback addresses of
 * their own. On node:net, for `Deno.connect` cannot choose the address it comes from and `Deno.Conn` cannot be reset.
 */

import { type AddressInfo, createConnection, createServer, type Server, type Socket } from "node:net";
import type { Address } from "../values/address.ts";
import { OperatorError } from "../values/errors.ts";

/** No client waits longer for anything. */
const PATIENCE_MS = 5000;

/** What clients say: who are you; begin a long answer; end it. */
const SAYINGS = { who: "?", begin: "!", end: "." } as const;
/** The parts of a long answer. */
const PARTS = { begin: "Once upon a time ", end: "happily ever after." } as const;

/** A server of the demo. */
export class DemoServer implements AsyncDisposable {
  readonly #sockets = new Set<Socket>();

  private constructor(readonly letter: string, readonly address: Address, readonly listener: Server) {
    listener.on("connection", (socket) => this.#serve(socket));
  }

  /** Listens on a free port of loopback. */
  static async start(letter: string): Promise<DemoServer> {
    const listener = createServer();
    await new Promise<void>((resolve, reject) => listener.once("error", reject).listen(0, "127.0.0.1", resolve));
    const { port } = listener.address() as AddressInfo;
    return new DemoServer(letter, { host: "127.0.0.1", port }, listener);
  }

  /** Ends as a killed process does: nobody listens any more, and every connection is reset. */
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
        if (saying === SAYINGS.begin) socket.write(PARTS.begin);
        if (saying === SAYINGS.end) socket.write(PARTS.end);
      }
    });
  }
}

/** A client's connection through the balancer. */
export class DemoConnection implements Disposable {
  private constructor(readonly letter: string, readonly socket: Socket) {}

  /** Connects from the client's own address and learns who serves it. Rejects if nobody does. */
  static async open(ip: string, { host, port }: Address): Promise<DemoConnection> {
    const socket = createConnection({ host, port, localAddress: ip });
    socket.write(SAYINGS.who);
    return new DemoConnection(await nextText(socket), socket);
  }

  /** Asks who serves it now. Rejects if the connection is lost. */
  async ask(): Promise<string> {
    return await this.#say(SAYINGS.who);
  }

  /** Has a long answer begin. */
  async begin(): Promise<void> {
    await this.#say(SAYINGS.begin);
  }

  /** Has the long answer end. Rejects if it does not come whole. */
  async end(): Promise<void> {
    const text = await this.#say(SAYINGS.end);
    if (text !== PARTS.end) throw new Error(`the answer went on with ${text}`);
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

/** The addresses of so many clients. Throws an operator error where the system does not have all of 127/8 for loopback. */
export async function clientAddresses(count: number): Promise<string[]> {
  const addresses = Array.from({ length: count }, (_, i) => `127.0.1.${i + 1}`);
  const probe = createServer();
  try {
    await new Promise<void>((resolve, reject) => probe.once("error", reject).listen(0, addresses[count - 1], resolve));
  } catch {
    const why = `its clients come from ${addresses[0]} to ${
      addresses[count - 1]
    }, which this system does not have; add them to its loopback (macOS: sudo ifconfig lo0 alias 127.0.1.1, and so on)`;
    throw new OperatorError("failed", `Cannot play the demo: ${why}`);
  } finally {
    probe.close();
  }
  return addresses;
}

/** The next thing that arrives. Rejects if the connection ends or fails first, or nothing comes for PATIENCE_MS. */
function nextText(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    const settle = (done: () => void) => {
      clearTimeout(timer);
      socket.off("data", onData).off("close", onClose);
      done();
    };
    const onData = (data: Uint8Array) => settle(() => resolve(new TextDecoder().decode(data)));
    const onClose = () => settle(() => reject(new Error("the connection ended")));
    const timer = setTimeout(() => settle(() => reject(new Error("no answer came"))), PATIENCE_MS);
    socket.on("data", onData).on("close", onClose).on("error", () => {});
  });
}
