import { assert, assertEquals, assertGreater } from "@std/assert";
import { parseAddress } from "../../../lib/values/address.ts";
import { ERRNO } from "../../../lib/engine/system/errno.ts";
import { openLibc, SOCKET } from "../../../lib/engine/system/libc.ts";
import { encodeSockaddr } from "../../../lib/engine/system/sockaddr.ts";
import { descriptorLimit, Sockets } from "../../../lib/engine/system/sockets.ts";
import { ipLength, ipStart } from "../../../lib/engine/system/sockaddr.ts";
import { close, connect, unusedAddress } from "../../helpers.ts";
import { until } from "../../raw_socket.ts";
import { needing } from "../../tools.ts";

const ignore = Deno.build.os !== "linux";
const LOOPBACK = { host: "127.0.0.1", port: 0 };
const NO_OPTIONS = { keepAliveMs: 0, userTimeoutMs: 0, deferAcceptMs: 0 };
const { SOL_SOCKET, IPPROTO_TCP } = SOCKET;

/** Sockets, and descriptors that are closed with them. */
class Bench implements Disposable {
  readonly libc = openLibc();
  readonly sockets = new Sockets(this.libc);
  readonly #own: number[] = [];
  readonly #words = new Int32Array(new ArrayBuffer(8));

  own(descriptor: number): number {
    assert(descriptor >= 0, `errno ${-descriptor}`);
    this.#own.push(descriptor);
    return descriptor;
  }

  /** Gives a descriptor back before the end. */
  close(descriptor: number): void {
    this.#own.splice(this.#own.indexOf(descriptor), 1);
    this.libc.call.close(descriptor);
  }

  /** What getsockopt(2) says. */
  get(socket: number, level: number, option: number): number {
    const at = this.libc.addressOf(this.#words.buffer);
    this.#words[1] = 4;
    assertEquals(this.libc.call.getsockopt(socket, level, option, at, at + 4n), 0);
    return this.#words[0];
  }

  /** The client that waits in a listener's queue. */
  async accept(listener: number): Promise<number> {
    let socket = -1;
    await until(() => (socket = this.libc.call.accept4(listener, 0n, 0n, SOCKET.SOCK_NONBLOCK)) >= 0, "a client");
    return this.own(socket);
  }

  [Symbol.dispose](): void {
    for (const descriptor of this.#own) this.libc.call.close(descriptor);
    this.libc[Symbol.dispose]();
  }
}

for (const [host, ...needs] of [["127.0.0.1", "Linux"], ["::1", "Linux", "IPv6 on loopback"]] as const) {
  Deno.test({
    ...await needing(`listen() gives a socket on a free port of ${host}, with a client on each side of it`, ...needs),
    async fn() {
      using bench = new Bench();
      const listener = bench.own(bench.sockets.listen({ host, port: 0 }, 8, NO_OPTIONS));
      using client = await connect({ host, port: bench.sockets.ownPortOf(listener) });
      assert(!bench.sockets.isItsOwnPeer(await bench.accept(listener)));
      assertGreater(client.localAddr.port, 0);
    },
  });
}

Deno.test({
  name: "listen() gives a negative errno where it cannot",
  ignore,
  fn() {
    using bench = new Bench();
    const listener = bench.own(bench.sockets.listen(LOOPBACK, 8, NO_OPTIONS));
    const taken = { ...LOOPBACK, port: bench.sockets.ownPortOf(listener) };
    assertEquals(bench.sockets.listen(taken, 8, NO_OPTIONS), -ERRNO.EADDRINUSE);
    // TEST-NET-1 (RFC 5737).
    assertEquals(bench.sockets.listen({ host: "192.0.2.1", port: 0 }, 8, NO_OPTIONS), -ERRNO.EADDRNOTAVAIL);
  },
});

Deno.test({
  name: "accepted sockets inherit what listen() sets",
  ignore,
  async fn() {
    using bench = new Bench();
    const listener = bench.own(bench.sockets.listen(LOOPBACK, 8, { keepAliveMs: 30_000, userTimeoutMs: 20_000, deferAcceptMs: 0 }));
    using _client = await connect({ ...LOOPBACK, port: bench.sockets.ownPortOf(listener) });
    const socket = await bench.accept(listener);
    const { SO_KEEPALIVE, SO_OOBINLINE, TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT } = SOCKET;
    assertEquals([SO_KEEPALIVE, SO_OOBINLINE].map((option) => bench.get(socket, SOL_SOCKET, option)), [1, 1]);
    const times = [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT].map((option) => bench.get(socket, IPPROTO_TCP, option));
    assertEquals(times, [30, 10, 3]);
    assertEquals(bench.get(socket, IPPROTO_TCP, TCP_NODELAY), 1);
  },
});

Deno.test({
  name: "setLiveness() sets nothing for 0",
  ignore,
  fn() {
    using bench = new Bench();
    const socket = bench.own(bench.sockets.listen(LOOPBACK, 1, NO_OPTIONS));
    assertEquals(bench.get(socket, SOL_SOCKET, SOCKET.SO_KEEPALIVE), 0);
  },
});

Deno.test({
  name: "takeError() gives a socket's error once",
  ignore,
  async fn() {
    using bench = new Bench();
    const socket = bench.own(bench.libc.call.socket(SOCKET.AF_INET, SOCKET.SOCK_STREAM | SOCKET.SOCK_NONBLOCK, 0));
    const sockaddr = encodeSockaddr(unusedAddress());
    bench.libc.call.connect(socket, bench.libc.addressOf(sockaddr.buffer), 16);
    let error = 0;
    await until(() => (error = bench.sockets.takeError(socket)) !== 0, "the refusal");
    assertEquals(error, ERRNO.ECONNREFUSED);
    assertEquals(bench.sockets.takeError(socket), 0);
    assertEquals(bench.sockets.takeError(-1), ERRNO.EBADF);
  },
});

Deno.test({
  name: "resetOnClose() makes a reset of the end",
  ignore,
  async fn() {
    using bench = new Bench();
    const listener = bench.own(bench.sockets.listen(LOOPBACK, 8, NO_OPTIONS));
    const client = await connect({ ...LOOPBACK, port: bench.sockets.ownPortOf(listener) });
    const socket = await bench.accept(listener);
    bench.sockets.resetOnClose(socket);
    bench.close(socket);
    const read = await client.read(new Uint8Array(1)).then(() => "an end", (error) => error.name);
    assertEquals(read, "ConnectionReset");
    close(client);
  },
});

Deno.test({
  name: "isItsOwnPeer() knows a socket that has met itself",
  ignore,
  fn() {
    using bench = new Bench();
    const { call } = bench.libc;
    const socket = bench.own(call.socket(SOCKET.AF_INET, SOCKET.SOCK_STREAM, 0));
    const name = encodeSockaddr({ host: "127.0.0.1", port: 0 });
    const at = bench.libc.addressOf(name.buffer);
    assertEquals(call.bind(socket, at, 16), 0);
    name.set(encodeSockaddr({ host: "127.0.0.1", port: bench.sockets.ownPortOf(socket) }));
    assertEquals(call.connect(socket, at, 16), 0);
    assert(bench.sockets.isItsOwnPeer(socket));
  },
});

Deno.test("an IPv4 address mapped into IPv6 is taken as the IPv4 address it is", () => {
  const mapped = encodeSockaddr(parseAddress("[2001:db8::1]:80"));
  assertEquals([ipStart(mapped), ipLength(mapped)], [8, 16]);
  mapped.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1], 8);
  assertEquals([...mapped.subarray(ipStart(mapped), ipStart(mapped) + ipLength(mapped))], [192, 0, 2, 1]);
});

Deno.test({
  name: "descriptorLimit() is as many as this process may have",
  ignore,
  fn() {
    using bench = new Bench();
    assertGreater(descriptorLimit(bench.libc), bench.own(bench.sockets.listen(LOOPBACK, 1, NO_OPTIONS)));
  },
});
