// From which address servers are dialled: the kernel's choice, or those of --source in turn; what happens when there is no port.

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { OperatorError } from "../../lib/values/errors.ts";
import { ENGINES } from "../../lib/engine/mod.ts";
import { ask, type Handler, soon, startEngine, startServer, tableServer, writeText } from "../helpers.ts";
import { outcomeOf } from "../programs.ts";
import { needing } from "../tools.ts";
import type { Exhausted } from "./local_ports.ts";

const CANNOT = { sources: null, transparent: false };

/** Tells each client from where its server was dialled. */
const tellSource: Handler = async (socket) => await writeText(socket, (socket.remoteAddr as Deno.NetAddr).hostname);

async function askTimes(count: number, address: { host: string; port: number }): Promise<string[]> {
  const answers: string[] = [];
  for (let i = 0; i < count; i++) answers.push(await ask(address));
  return answers;
}

for (const [name, kind] of Object.entries(ENGINES)) {
  const ignore = kind.unsupported() !== undefined;
  const can = !kind.cannot.some((ability) => ability === "sources");

  Deno.test({
    name: `[${name}] --source: server connections come from these addresses in turn${can ? "" : " (it cannot)"}`,
    ignore,
    async fn() {
      await using server = startServer(tellSource);
      const sources = { ipv4: ["127.0.0.2", "127.0.0.3"], ipv6: [] };
      await using engine = startEngine(kind, [tableServer(server.address, 0)], { sources, workers: 1 });
      const answers = await askTimes(6, engine.address);
      if (can) assertEquals(answers, ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"]);
      else assertEquals(new Set(answers), new Set(["127.0.0.1"]));
    },
  });

  Deno.test({
    name: `[${name}] --source: a server known by name is dialled from its family's addresses`,
    ignore: ignore || !can,
    async fn() {
      await using server = startServer(tellSource);
      const sources = { ipv4: ["127.0.0.4"], ipv6: [] };
      const named = tableServer({ host: "localhost", port: server.address.port }, 0);
      await using engine = startEngine(kind, [named], { sources });
      assertEquals(await ask(engine.address), "127.0.0.4");
    },
  });

  Deno.test({
    ...await needing(
      `[${name}] --source: a server of a family without an address is dialled from the kernel's choice`,
      "IPv6 on loopback",
    ),
    ...(ignore ? { ignore } : {}),
    async fn() {
      await using server = startServer(tellSource, { host: "::1" });
      await using engine = startEngine(kind, [tableServer(server.address, 0)], { sources: { ipv4: ["127.0.0.2"], ipv6: [] } });
      assertEquals(await ask(engine.address), "::1");
    },
  });

  Deno.test({
    name: `[${name}] --source: an address that is gone is no fault of the server, and the next one is used`,
    ignore: ignore || !can,
    async fn() {
      await using server = startServer(tellSource);
      const gone = { sources: { ipv4: ["192.0.2.77", "127.0.0.2"], ipv6: [] }, workers: 1 };
      await using engine = startEngine(kind, [tableServer(server.address, 0)], gone);
      assertEquals(await askTimes(2, engine.address), ["127.0.0.2", "127.0.0.2"]);

      await using other = startEngine(kind, [tableServer(server.address, 0)], { sources: { ipv4: ["192.0.2.77"], ipv6: [] } });
      assertEquals(await ask(other.address).catch(() => ""), "");
      const { fate, reason } = await other.ended.take();
      assertEquals(fate, "connect_failed");
      assertMatch(reason!, /--source address is no longer an address of this machine/);
      assertEquals(other.counters.getOf(0, "connectFailures"), 0);
    },
  });

  Deno.test({
    ...await needing(
      `[${name}] no free local port: said in words, no fault of the server, and another server is tried`,
      "network namespaces",
    ),
    ...(ignore ? { ignore } : {}),
    async fn() {
      const { exhausted, log } = await runInNamespace(name);
      assertEquals(exhausted.served, 4); // as many as the namespace has ports
      assertEquals(exhausted.fate, "connect_failed");
      assertMatch(
        exhausted.reason,
        /no free local address and port.*; add --source addresses or widen net\.ipv4\.ip_local_port_range/,
      );
      assertEquals([exhausted.connectFailures, exhausted.failures], [0, 0]);
      assertEquals(exhausted.servedByOther, 4);
      if (can) assertEquals(exhausted.servedFromTwo, 8); // twice the ports
      if (can) assertMatch(log, /no free local address and port towards [^:]*127\.0\.0\.1:\d+: [45] in use/);
    },
  });
}

/** Runs `local_ports.ts` in a namespace of its own. Returns what it found, and its log. */
async function runInNamespace(engine: string): Promise<{ exhausted: Exhausted; log: string }> {
  const namespace = `balancer_test_${Deno.pid}_ports_${engine}`;
  const ip = async (...args: string[]) => assert((await new Deno.Command("ip", { args }).output()).success, `ip ${args.join(" ")}`);
  await ip("netns", "add", namespace);
  try {
    await ip("-n", namespace, "link", "set", "lo", "up");
    const script = new URL("local_ports.ts", import.meta.url).pathname;
    const args = ["netns", "exec", namespace, Deno.execPath(), "run", "-q", "-A", script, engine];
    const { stdout, stderr, success } = await soon(new Deno.Command("ip", { args, stdin: "null" }).output(), "the clients", 30_000);
    const [said, log] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    assert(success, log);
    return { exhausted: JSON.parse(said), log };
  } finally {
    await ip("netns", "del", namespace);
  }
}

Deno.test({
  name: "[epoll] checkConfig() allows addresses of this machine, and refuses others in a sentence",
  ignore: ENGINES.epoll.unsupported() !== undefined,
  fn() {
    const { epoll } = ENGINES;
    epoll.checkConfig(CANNOT);
    epoll.checkConfig({ ...CANNOT, sources: { ipv4: ["127.0.0.1", "127.9.9.9"], ipv6: [] } });
    const check = () => epoll.checkConfig({ ...CANNOT, sources: { ipv4: ["127.0.0.1", "192.0.2.77"], ipv6: [] } });
    const error = assertThrows(
      check,
      OperatorError,
      "Cannot connect from --source 192.0.2.77: it is not an address of this machine",
    );
    assertEquals(error.kind, "failed");
  },
});

Deno.test({
  ...await needing("balancer --transparent without CAP_NET_ADMIN is refused at start in a sentence", "setpriv as root"),
  async fn() {
    const root = new URL("../../", import.meta.url).pathname;
    const run = ["run", "-q", "--no-prompt", "-P=balancer", "main.ts", "run", "127.0.0.1", "0", "--no-state", "--name", "unable"];
    const args = ["--bounding-set=-net_admin,-net_raw", Deno.execPath(), ...run, "--engine", "epoll", "--transparent", "on"];
    const { code, stdout, stderr } = await outcomeOf(
      new Deno.Command("setpriv", { args, cwd: root, env: { NO_COLOR: "1" } }),
      20_000,
    );
    assertEquals([code, stdout], [1, ""]);
    assertMatch(
      stderr,
      /^balancer: Cannot use --transparent: the process lacks the capability CAP_NET_ADMIN; give it that .*--proxy v2\n$/,
    );
  },
  ...(ENGINES.epoll.unsupported() === undefined ? {} : { ignore: true }),
});
