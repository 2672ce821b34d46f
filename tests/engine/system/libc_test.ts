import { assert, assertEquals, assertThrows } from "@std/assert";
import { ERRNO, ERRNO_WORDS } from "../../../lib/engine/system/errno.ts";
import { EPOLL, EPOLL_EVENT, errnoText, FILE, openLibc, RLIMIT_NOFILE, SOCKADDR, SOCKET } from "../../../lib/engine/system/libc.ts";
import { type Need, needing } from "../../tools.ts";

const ignore = Deno.build.os !== "linux";
const NO_DESCRIPTOR = -1;

Deno.test({
  name: "libc: addressOf() is where read(2) and write(2) find a buffer, shared or not",
  ignore,
  fn() {
    using libc = openLibc();
    const [from, to, ends] = [new SharedArrayBuffer(8), new ArrayBuffer(8), new Int32Array(new ArrayBuffer(8))];
    new Uint8Array(from).set([1, 2, 3, 4, 5, 6, 7, 8]);
    assertEquals(libc.call.pipe2(libc.addressOf(ends.buffer), FILE.O_NONBLOCK | FILE.O_CLOEXEC), 0);
    const [reader, writer] = ends;
    assertEquals(libc.call.write(writer, libc.addressOf(from) + 2n, 4n), 4);
    assertEquals(libc.call.read(reader, libc.addressOf(to) + 1n, 8n), 4);
    assertEquals([...new Uint8Array(to)], [0, 3, 4, 5, 6, 0, 0, 0]);
    assertEquals(libc.call.read(reader, libc.addressOf(to), 8n), -1);
    assertEquals(libc.errno(), ERRNO.EAGAIN);
    for (const end of ends) libc.call.close(end);
  },
});

Deno.test({
  name: "libc: epoll hands back both halves of an event's data",
  ignore,
  fn() {
    using libc = openLibc();
    const ends = new Int32Array(new ArrayBuffer(8));
    libc.call.pipe2(libc.addressOf(ends.buffer), FILE.O_NONBLOCK | FILE.O_CLOEXEC);
    const epoll = libc.call.epoll_create1(EPOLL.CLOEXEC);
    const events = new Int32Array(new ArrayBuffer(2 * EPOLL_EVENT.words * 4));
    const at = libc.addressOf(events.buffer);
    const wanted = [{ events: EPOLL.IN, low: 7, high: -5 }, { events: EPOLL.OUT, low: -1, high: 2 ** 31 - 1 }];
    for (const [i, { events: mask, low, high }] of wanted.entries()) {
      events[0] = mask;
      events[EPOLL_EVENT.dataLow] = low;
      events[EPOLL_EVENT.dataHigh] = high;
      assertEquals(libc.call.epoll_ctl(epoll, EPOLL.CTL_ADD, ends[i], at), 0);
    }
    libc.call.write(ends[1], at, 1n);
    events.fill(0);
    assertEquals(libc.call.epoll_wait(epoll, at, 2, 0), 2);
    const got = [0, EPOLL_EVENT.words].map((word) => ({
      events: events[word],
      low: events[word + EPOLL_EVENT.dataLow],
      high: events[word + EPOLL_EVENT.dataHigh],
    }));
    assertEquals(got.sort((a, b) => a.events - b.events), wanted);
    for (const descriptor of [epoll, ...ends]) libc.call.close(descriptor);
  },
});

for (
  const [host, family, length] of [["127.0.0.1", SOCKET.AF_INET, SOCKADDR.length4], [
    "::1",
    SOCKET.AF_INET6,
    SOCKADDR.length6,
  ]] as const
) {
  const needs: readonly Need[] = host === "::1" ? ["Linux", "IPv6 on loopback"] : ["Linux"];
  Deno.test({
    ...await needing(`libc: a sockaddr from the system has family, port and address of ${host} in their places`, ...needs),
    fn() {
      using libc = openLibc();
      const socket = libc.call.socket(family, SOCKET.SOCK_STREAM | SOCKET.SOCK_CLOEXEC, 0);
      const name = new Uint8Array(new ArrayBuffer(32));
      const [view, at] = [new DataView(name.buffer), libc.addressOf(name.buffer)];
      view.setUint16(SOCKADDR.family, family, true);
      const address = host === "::1" ? SOCKADDR.address6 + 15 : SOCKADDR.address4 + 3;
      name[address] = 1;
      if (host === "127.0.0.1") name[SOCKADDR.address4] = 127;
      const wanted = name.slice(SOCKADDR.address4, length);
      assertEquals(libc.call.bind(socket, at, length), 0);
      assertEquals(libc.call.listen(socket, 1), 0);
      name.fill(0);
      const size = new Int32Array(new ArrayBuffer(4)).fill(32);
      assertEquals(libc.call.getsockname(socket, at, libc.addressOf(size.buffer)), 0);
      assertEquals([size[0], view.getUint16(SOCKADDR.family, true)], [length, family]);
      assertEquals(name.slice(SOCKADDR.address4, length), wanted);
      assertThrows(() => Deno.listen({ hostname: host, port: view.getUint16(SOCKADDR.port) }), Deno.errors.AddrInUse);
      libc.call.close(socket);
    },
  });
}

Deno.test({
  name: "libc: getrlimit(2) gives the limit that the shell gives",
  ignore,
  async fn() {
    using libc = openLibc();
    const limits = new BigUint64Array(new ArrayBuffer(16));
    assertEquals(libc.call.getrlimit(RLIMIT_NOFILE, libc.addressOf(limits.buffer)), 0);
    const { stdout } = await new Deno.Command("sh", { args: ["-c", "ulimit -Sn; ulimit -Hn"] }).output();
    const shown = new TextDecoder().decode(stdout).trim().split("\n");
    assertEquals([...limits].map((limit) => limit === 2n ** 64n - 1n ? "unlimited" : `${limit}`), shown);
  },
});

Deno.test({
  name: "libc: errno() is the last failure's, whatever succeeded since",
  ignore,
  fn() {
    using libc = openLibc();
    assertEquals(libc.call.close(NO_DESCRIPTOR), -1);
    assertEquals(libc.errno(), ERRNO.EBADF);
    assertEquals(libc.call.socket(SOCKET.AF_INET, -1, 0), -1);
    assertEquals(libc.errno(), ERRNO.EINVAL);
  },
});

Deno.test({
  name: "openLibc() passes over paths where nothing is, and says why there is none",
  ignore,
  fn() {
    assertThrows(() => openLibc(["/nowhere/libc.so", "/nowhere/else.so"]), Error, "libc cannot be loaded: ");
    assertThrows(() => openLibc([`${import.meta.dirname}/libc_test.ts`, "/nowhere/libc.so"]), Error, "libc_test.ts");
  },
});

Deno.test("errnoText() has a name and words, or the number", () => {
  assertEquals(errnoText(ERRNO.ECONNREFUSED), "connection refused (ECONNREFUSED)");
  assertEquals(errnoText(4095), "error 4095");
  for (const [name, number] of Object.entries(ERRNO)) assert(errnoText(number).endsWith(` (${name})`));
  assertEquals(Object.keys(ERRNO_WORDS), Object.keys(ERRNO));
});
