// With --transparent a server sees the client's own address, by the routing that docs/operating.md describes. Network namespaces
// play the hosts.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { epoll } from "../../../lib/engine/epoll/engine.ts";
import { needing } from "../../tools.ts";
import { soon } from "../../helpers.ts";
import { HOSTS, type Ports, type Refused, type Seen } from "./transparent_hosts.ts";

const DOCUMENT = new URL("../../../docs/operating.md", import.meta.url);
const SCRIPT = new URL("transparent_hosts.ts", import.meta.url).pathname;

async function ip(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("ip", { args, stdin: "null" }).output();
  assert(success, `ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

type Host = "client" | "balancer" | "server";

/** Three hosts in a row; the outer ones send what is not for their own network to the balancer's host. */
async function makeHosts(): Promise<Record<Host, string> & AsyncDisposable> {
  const [client, balancer, server] = ["client", "balancer", "server"].map((name) => `balancer_test_${Deno.pid}_${name}`);
  await using stack = new AsyncDisposableStack();
  for (const host of [client, balancer, server]) {
    await ip("netns", "add", host);
    stack.defer(() => ip("netns", "del", host));
    await ip("-n", host, "link", "set", "lo", "up");
  }
  for (
    const [host, device, own, gateway] of [[client, "eth0", HOSTS.client, HOSTS.near], [
      server,
      "eth1",
      HOSTS.server,
      HOSTS.far,
    ]] as const
  ) {
    await ip("-n", balancer, "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", host);
    await setUp(balancer, device, gateway);
    await setUp(host, "eth0", own);
    await ip("-n", host, "route", "add", "default", "via", gateway.ipv4);
    await ip("-n", host, "-6", "route", "add", "default", "via", gateway.ipv6);
  }
  const owned = stack.move();
  return { client, balancer, server, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function setUp(host: string, device: string, { ipv4, ipv6 }: { ipv4: string; ipv6: string }): Promise<void> {
  await ip("-n", host, "addr", "add", `${ipv4}/24`, "dev", device);
  await ip("-n", host, "addr", "add", `${ipv6}/64`, "dev", device, "nodad");
  await ip("-n", host, "link", "set", device, "up");
}

/** The commands of the document that make a host give the servers' answers to the balancer. */
async function recipe(): Promise<string[][]> {
  const [, commands] = (await Deno.readTextFile(DOCUMENT)).match(/<!-- transparent -->\s*```sh\n([^]*?)```/) ?? [];
  return commands.trim().split("\n").map((line) => {
    assertMatch(line, /^ip /);
    return line.split(" ").slice(1);
  });
}

/** A role of the script in a host. Disposing of it ends it. */
class Role implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  #text = "";

  constructor(host: string, ...args: string[]) {
    const all = ["netns", "exec", host, Deno.execPath(), "run", "-q", "-A", SCRIPT, ...args];
    this.#process = new Deno.Command("ip", { args: all, stdin: "piped", stdout: "piped", stderr: "inherit" }).spawn();
    this.#lines = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** What it says next. */
  async next<T>(): Promise<T> {
    while (!this.#text.includes("\n")) {
      const { value, done } = await soon(this.#lines.read(), "a line");
      assert(!done, "the role has ended");
      this.#text += value;
    }
    const [line, ...rest] = this.#text.split("\n");
    this.#text = rest.join("\n");
    return JSON.parse(line);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stdin.close();
    await this.#lines.cancel();
    await soon(this.#process.status, "the end of a role");
  }
}

Deno.test({
  ...await needing("[epoll] --transparent: the server sees the client's address, by the documented routes", "network namespaces"),
  async fn() {
    await using hosts = await makeHosts();
    for (const command of await recipe()) await ip("-n", hosts.balancer, ...command);
    await using server = new Role(hosts.server, "server");
    await using balancer = new Role(hosts.balancer, "balancer");
    assertEquals(await server.next(), "ready");
    const ports = await balancer.next<Ports>();
    await using client = new Role(hosts.client, "client", JSON.stringify(ports));
    assertEquals(await client.next<Seen>(), { ipv4: HOSTS.client.ipv4, ipv6: HOSTS.client.ipv6, mixed: "" });
    const { fate, reason, connectFailures } = await balancer.next<Refused>();
    assertEquals([fate, connectFailures], ["connect_failed", 0]);
    assertMatch(reason!, /no address of the client's family, which --transparent needs/);
  },
  ...(epoll.unsupported() === undefined ? {} : { ignore: true }),
});
