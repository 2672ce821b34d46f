import { assertEquals, assertThrows } from "@std/assert";
import { Datagrams } from "../../../lib/engine/system/datagrams.ts";
import { ERRNO } from "../../../lib/engine/system/errno.ts";
import { openLibc } from "../../../lib/engine/system/libc.ts";
import { NotifySocket } from "../../notify_socket.ts";

const isLinux = Deno.build.os === "linux";

Deno.test({
  name: "Datagrams.send() reaches a path and an abstract name, each text by itself",
  ignore: !isLinux,
  async fn() {
    const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
    try {
      for (const name of [`${folder}/notify`, `@balancer-test-${crypto.randomUUID()}`]) {
        using receiver = new NotifySocket(name);
        using libc = openLibc();
        using datagrams = new Datagrams(libc, name);
        assertEquals([datagrams.send("READY=1"), datagrams.send("STATUS=gut ✔")], [0, 0]);
        assertEquals(receiver.heard(), ["READY=1", "STATUS=gut ✔"]);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "Datagrams.send() returns why it cannot, and does not wait for room",
  ignore: !isLinux,
  fn() {
    using libc = openLibc();
    using nowhere = new Datagrams(libc, "/nowhere/notify");
    assertEquals(nowhere.send("READY=1"), ERRNO.ENOENT);
    const name = `@balancer-test-${crypto.randomUUID()}`;
    using _receiver = new NotifySocket(name);
    using datagrams = new Datagrams(libc, name);
    let errno = 0;
    for (let i = 0; i < 100_000 && errno === 0; i++) errno = datagrams.send("WATCHDOG=1");
    assertEquals(errno, ERRNO.EAGAIN);
  },
});

Deno.test({
  name: "Datagrams refuses a target that is too long",
  ignore: !isLinux,
  fn() {
    using libc = openLibc();
    assertThrows(() => new Datagrams(libc, `/${"x".repeat(107)}`), RangeError, "it is longer than 107 bytes");
  },
});
