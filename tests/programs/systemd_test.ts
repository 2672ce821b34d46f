// The daemon under a service manager that the test plays: what it tells, when it is silent, and the sockets that it is given.

import { assertEquals, assertGreaterOrEqual, assertMatch, assertStringIncludes } from "@std/assert";
import type { ServiceView } from "../../lib/balancer/views.ts";
import { parseAddress } from "../../lib/values/address.ts";
import { ask, connect, echo, poll, soon, startServer } from "../helpers.ts";
import { NotifySocket } from "../notify_socket.ts";
import { makePlace, outcomeOf, type Place, runForeground } from "../programs.ts";
import { needing } from "../tools.ts";

const SCRIPTS = import.meta.dirname;

/** So short that a test need not wait, so long that a busy machine turns its loops in time. */
const WATCHDOG_MS = 2000;

/** The place as a service manager would have it, which wants to be told on this socket. */
function under(socket: NotifySocket, place: Place): Place {
  return { ...place, env: { ...place.env, NOTIFY_SOCKET: socket.name, WATCHDOG_USEC: String(WATCHDOG_MS * 1000) } };
}

const textOf = (stream: ReadableStream<Uint8Array>) => new Response(stream).text();

Deno.test({
  ...await needing("the daemon tells that it serves, how it is, that it lives, reads anew and stops", "Linux"),
  async fn() {
    await using place = await makePlace();
    await using server = startServer(echo);
    for (const name of [`${place.folder}/notify`, `@balancer-test-${crypto.randomUUID()}`]) {
      using manager = new NotifySocket(name);
      const args = ["--check", "off", "--lame-duck", "1h", "--grace", "1h", "--no-state"];
      const daemon = await runForeground(under(manager, place), args);
      const log = textOf(daemon.process.stderr);
      let at = await manager.until("READY=1");
      assertMatch(manager.heard()[0], /^READY=1\nSTATUS=The pool is empty; /);
      await place.do("add", "127.0.0.1", String(server.address.port));
      at = await manager.until("STATUS=Ready: 1 of 1 server up in 1 service", at);
      await manager.until("WATCHDOG=1");
      daemon.process.kill("SIGHUP");
      at = await manager.until("RELOADING=1\nMONOTONIC_USEC=", at);
      at = await manager.until("READY=1\nSTATUS=Ready: 1 of 1", at);
      daemon.process.kill("SIGTERM");
      at = await manager.until("STOPPING=1\nSTATUS=The balancer is about to stop\nEXTEND_TIMEOUT_USEC=", at);
      assertGreaterOrEqual(Number(manager.heard()[at - 1].match(/USEC=(\d+)$/)![1]), 3_600_000_000);
      assertEquals(await ask(daemon.address, "still there"), "still there");
      daemon.process.kill("SIGTERM");
      await manager.until("STOPPING=1\nSTATUS=The balancer is stopping\nEXTEND_TIMEOUT_USEC=", at);
      assertEquals(await daemon.ended(), 0);
      assertEquals((await log).match(/Cannot tell/), null);
    }
  },
});

Deno.test({
  ...await needing("the watchdog is fed only while every worker turns its loop", "Linux", "python3", "root"),
  async fn() {
    await using place = await makePlace();
    using manager = new NotifySocket(`${place.folder}/notify`);
    const daemon = await runForeground(under(manager, place), ["--check", "off", "--workers", "2"]);
    let log = "";
    const reading = daemon.process.stderr.pipeThrough(new TextDecoderStream()).pipeTo(
      new WritableStream({ write: (text) => void (log += text) }),
    );
    await manager.until("WATCHDOG=1");
    const args = [`${SCRIPTS}/freeze_thread.py`, String(await place.pid()), "worker-2"];
    const freezer = new Deno.Command("python3", { args, stdin: "piped", stdout: "piped" }).spawn();
    const said = freezer.stdout.getReader();
    assertMatch(new TextDecoder().decode((await soon(said.read(), "the thread to stand")).value), /^frozen/);
    await poll(() => Promise.resolve(log), (log) => log.includes("A worker has not turned its loop for 1500 ms"), "the log line");
    const { length } = manager.heard();
    await place.do("status"); // main goes on, and still says nothing
    assertEquals(manager.heard().slice(length), []);
    await freezer.stdin.close();
    await said.cancel();
    await freezer.status;
    await manager.until("WATCHDOG=1", length);
    daemon.process.kill("SIGTERM");
    assertEquals(await daemon.ended(), 0);
    await reading;
  },
});

Deno.test({
  ...await needing("a service manager that is not there is told of in the log, and stops nobody", "Linux"),
  async fn() {
    await using place = await makePlace();
    const env = { ...place.env, NOTIFY_SOCKET: `${place.folder}/nowhere` };
    const daemon = await runForeground({ ...place, env }, ["--check", "off"]);
    const log = textOf(daemon.process.stderr);
    daemon.process.kill("SIGTERM");
    assertEquals(await daemon.ended(), 0);
    assertStringIncludes((await log).replaceAll("\\", ""), 'Cannot tell the service manager "READY=1": "no such file (ENOENT)"');
  },
});

Deno.test({
  ...await needing("after an upgrade the new process is the service, and tells how it is; others may not upgrade it", "Linux"),
  async fn() {
    await using place = await makePlace();
    using manager = new NotifySocket(`${place.folder}/notify`);
    const unit = under(manager, place);
    const daemon = await runForeground(unit, ["--check", "off", "--engine", "epoll"]);
    const log = textOf(daemon.process.stderr);
    await manager.until("READY=1");
    const upgrade = (env: Place["env"]) =>
      outcomeOf(new Deno.Command(place.program("balancerctl"), { args: ["upgrade"], env, stdin: "null" }), 60_000);
    const outside = await upgrade(place.env);
    assertEquals(outside.code, 1);
    assertStringIncludes(outside.stderr, "its service manager would not know the new process; use systemctl reload");
    const at = manager.heard().length;
    const { WATCHDOG_USEC: _, ...control } = unit.env; // as ExecReload= has it
    const inside = await upgrade(control);
    assertEquals(inside.code, 0, inside.stderr);
    const pid = await place.pid();
    const mainPid = await manager.until(`MAINPID=${pid}`, at);
    await manager.until("READY=1\nSTATUS=", mainPid);
    await manager.until("WATCHDOG=1", mainPid); // the new process knows from the old one how often
    assertEquals(await daemon.ended(), 0);
    const again = manager.heard().length;
    assertEquals((await upgrade(control)).code, 0);
    await manager.until(`MAINPID=${await place.pid()}`, again);
    await place.do("stop");
    await manager.until("STOPPING=1", again);
    await log;
  },
});

/** `balancer run` with sockets that are called like this, by a program that keeps them when it ends. */
function withSockets(
  place: Place,
  names: string,
  sockets: readonly string[],
  { args = [], stdin = "null" }: { readonly args?: readonly string[]; readonly stdin?: "piped" | "null" } = {},
): Deno.Command {
  const words = [`${SCRIPTS}/with_sockets.py`, names, ...sockets, "--", place.program("balancer"), "run", ...args];
  return new Deno.Command("python3", {
    args: words,
    env: place.env,
    cwd: place.folder,
    stdin,
    stdout: "piped",
    stderr: "piped",
  });
}

Deno.test({
  ...await needing("services listen on the sockets with their names, and a restart refuses no client", "Linux", "python3"),
  async fn() {
    await using place = await makePlace();
    await using server = startServer(echo);
    const names = "default:balancer@x.socket:api";
    const holder = withSockets(place, names, ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"], { stdin: "piped" }).spawn();
    const log = textOf(holder.stderr);
    const lines = holder.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const [api, first, second] = (await soon(lines.read(), "the addresses")).value!.trim().split("\n");
    const listens = async () => {
      const { services }: { services: ServiceView[] } = JSON.parse(await place.do("service", "list", "--json"));
      return services.map(({ service, listeners }) => [service, ...listeners.map(({ listener }) => listener)]);
    };
    assertEquals(await listens(), [["api", api], ["default", first, second]]);
    for (const service of ["api", "default"]) {
      await place.do("add", "127.0.0.1", String(server.address.port), "--service", service);
    }
    for (const address of [api, first, second]) assertEquals(await ask(parseAddress(address), "hello"), "hello");
    await place.do("stop");
    using waiting = await connect(parseAddress(first)); // nobody serves it yet
    await waiting.write(new TextEncoder().encode("patience"));
    await waiting.closeWrite();
    const input = holder.stdin.getWriter();
    await input.write(new TextEncoder().encode("\n"));
    assertEquals(await soon(textOf(waiting.readable), "the answer"), "patience");
    assertEquals(await listens(), [["api", api], ["default", first, second]]);
    await place.do("stop");
    await input.close();
    await lines.cancel();
    assertEquals((await holder.status).code, 0);
    await log;
  },
});

Deno.test({
  ...await needing("sockets that nobody can use are refused in a sentence", "Linux", "python3"),
  async fn() {
    await using place = await makePlace();
    const file = `${place.folder}/b.yaml`;
    await Deno.writeTextFile(file, "services:\n  web:\n    listen: 127.0.0.1:1\n");
    const refused: readonly [socket: string, args: readonly string[], code: number, says: string][] = [
      ["127.0.0.1:0", ["--engine", "streams"], 1, "Engine streams cannot take sockets from the service manager: use engine epoll"],
      ["udp", [], 1, 'Descriptor 3 ("web") from the service manager is no TCP socket that listens: its unit needs ListenStream='],
      ["127.0.0.1:0", ["--config", file], 1, 'from the service manager: not service "web" of '],
    ];
    for (const [socket, args, code, says] of refused) {
      const outcome = await outcomeOf(withSockets(place, "web", [socket], { args: [...args, "--no-state"] }));
      assertEquals([outcome.code, outcome.stdout], [code, ""], outcome.stderr);
      assertStringIncludes(outcome.stderr, says);
    }
    const both = await outcomeOf(withSockets(place, "default", ["127.0.0.1:0"], { args: ["127.0.0.1", "0"] }));
    assertEquals(both.code, 2);
    assertStringIncludes(both.stderr, "Cannot start with an address: the service manager has opened 127.0.0.1:");
  },
});
