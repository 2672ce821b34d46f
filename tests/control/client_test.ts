// A client of the control socket that asks again and again: what it costs the daemon, and what it says when the daemon has gone.

import { assert, assertEquals, assertRejects } from "@std/assert";
import { ControlClient } from "../../lib/control/client.ts";
import { OperatorError } from "../../lib/values/errors.ts";

/** Something that answers every request with `{}` on connections that stay, and counts both. */
function listenAt(path: string) {
  const listener = Deno.listen({ transport: "unix", path });
  const open = new Set<Deno.Conn>();
  const counts = { connections: 0, asked: 0 };
  const answer = new TextEncoder().encode("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
  const talk = async (socket: Deno.Conn) => {
    open.add(socket);
    counts.connections++;
    for (const buffer = new Uint8Array(65_536); await socket.read(buffer) !== null; await socket.write(answer)) counts.asked++;
  };
  const serving = (async () => {
    for await (const socket of listener) void talk(socket).catch(() => {});
  })();
  return {
    counts,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const socket of open) socket.close();
      await serving;
    },
  };
}

Deno.test("clients of one socket look whose it is once for requests that follow each other", async () => {
  const folder = await Deno.makeTempDir({ prefix: "balancer_client_" });
  const path = `${folder}/default.sock`;
  try {
    using client = new ControlClient("default", path);
    {
      await using daemon = await listenAt(path);
      for (let round = 0; round < 5; round++) {
        for (const one of [client, client.ofService("a"), client.ofService("b")]) await one.forward("GET", "/v1/status");
      }
      const { connections, asked } = daemon.counts;
      assertEquals(asked, 15);
      const looks = connections - asked;
      assert(looks >= 1 && looks <= 5, `looked ${looks} times: once would do, or some more on a busy machine`);
    }
    await Deno.remove(path).catch(() => {});
    await assertRejects(() => client.forward("GET", "/v1/status"), OperatorError, 'No balancer "default" is running');
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
