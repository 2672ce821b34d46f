// What a service manager is told when it is slow, and in which order. tests/programs/systemd_test.ts has the daemon's own notices.

import { assertEquals } from "@std/assert";
import { ServiceManager } from "../../lib/control/service_manager.ts";
import { epoll } from "../../lib/engine/epoll/engine.ts";
import { Datagrams } from "../../lib/engine/system/datagrams.ts";
import { openLibc } from "../../lib/engine/system/libc.ts";
import { soon } from "../helpers.ts";
import { NotifySocket } from "../notify_socket.ts";

const ignore = epoll.unsupported() !== undefined;
const SUPERVISED = { status: () => "1 server is up", hasTurned: () => true };

function nameOf(): string {
  return `@balancer-test-${crypto.randomUUID()}`;
}

Deno.test({ name: "who leaves the place to another process ends only when the service manager knows", ignore }, async () => {
  using libc = openLibc();
  using socket = new NotifySocket(nameOf());
  using others = new Datagrams(libc, socket.name);
  using manager = ServiceManager.open({ notifySocket: socket.name, watchdogMs: undefined, descriptors: [], isStarted: false });
  while (others.send("X=1") === 0); // until there is no room
  for (let i = 0; i < 20; i++) manager.stopping(i);
  let isTold = false;
  const telling = manager.handOver(4711).then(() => isTold = true);
  await new Promise((resolve) => setTimeout(resolve, 200));
  assertEquals(isTold, false);
  socket.heard();
  await soon(telling, "the number of the process");
  assertEquals(socket.heard().at(-1), "MAINPID=4711");
});

Deno.test({ name: "who is to stop before anybody believes him says so when he is believed", ignore }, () => {
  using socket = new NotifySocket(nameOf());
  using manager = ServiceManager.open({ notifySocket: socket.name, watchdogMs: undefined, descriptors: [], isStarted: false });
  manager.stopping(60_000); // the service manager knows the earlier process only
  socket.heard();
  manager.serve(SUPERVISED);
  const [, last] = socket.heard();
  assertEquals(last.split("\n").slice(0, 2), ["STOPPING=1", "STATUS=1 server is up"]);
  assertEquals(/EXTEND_TIMEOUT_USEC=(59|60)[0-9]{6}$/.test(last), true, last);
});
