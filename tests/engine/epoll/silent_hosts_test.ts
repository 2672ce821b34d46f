// A host that vanishes is lost in time, whatever its connection is in the middle of; one whose program reads nothing is not. Two
// network namespaces play the hosts.

import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { epoll } from "../../../lib/engine/epoll/engine.ts";
import { soon } from "../../helpers.ts";
import { DOINGS, FAR, KEEP_ALIVE_MS, type Lost, NEAR, TIMEOUT_MS } from "./silent_hosts.ts";
import { needing } from "../../tools.ts";

/** For the machine to be slow in. */
const SLACK_MS = 3000;
/** Until then probes of the time limit are too few to tell (see silence.ts), and keep-alive has not asked often enough. */
const EARLY_MS = 1000;

/** What is noticed by keep-alive alone, since nothing that was sent is unacknowledged. */
const BY_KEEP_ALIVE = ["nothing", "bytes from the far host"];

async function ip(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("ip", { args, stdin: "null" }).output();
  assert(success, `ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

/** Two hosts with one link between them. */
async function makeHosts(): Promise<{ near: string; far: string; device: string } & AsyncDisposable> {
  const [near, far] = ["near", "far"].map((name) => `balancer_test_${Deno.pid}_${name}`);
  const device = "wire";
  await using stack = new AsyncDisposableStack();
  for (const host of [near, far]) {
    await ip("netns", "add", host);
    stack.defer(() => ip("netns", "del", host));
  }
  await ip("-n", near, "link", "add", device, "type", "veth", "peer", "name", device, "netns", far);
  for (const [host, address] of [[near, NEAR], [far, FAR]]) {
    await ip("-n", host, "addr", "add", `${address}/24`, "dev", device);
    for (const up of ["lo", device]) await ip("-n", host, "link", "set", up, "up");
  }
  const owned = stack.move();
  return { near, far, device, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

Deno.test({
  ...await needing("[epoll] the link to a host is cut: each of its connections is lost in time", "network namespaces"),
  async fn(t) {
    await using hosts = await makeHosts();
    const script = new URL("silent_hosts.ts", import.meta.url).pathname;
    const near = new Deno.Command("ip", {
      args: ["netns", "exec", hosts.near, Deno.execPath(), "run", "-q", "-A", script, "near", hosts.far, hosts.device],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    });
    const { stdout } = await soon(near.output(), "the connections to be lost", 60_000);
    const lost: Lost[] = new TextDecoder().decode(stdout).trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(lost.length, 2 * Object.keys(DOINGS).length);
    for (const { side, doing, wasOpen, lostAfterMs, fate } of lost) {
      await t.step(`${side}: ${doing}: lost after ${lostAfterMs} ms`, () => {
        assert(wasOpen, "it was lost before, while its host was there");
        // With probes unanswered after a time, or kept-alive for as long again as until the first one (README, settings).
        const limitMs = BY_KEEP_ALIVE.includes(doing) ? Math.max(2 * KEEP_ALIVE_MS, TIMEOUT_MS) : TIMEOUT_MS;
        assertGreater(lostAfterMs, EARLY_MS);
        assertLess(lostAfterMs, limitMs + SLACK_MS);
        assert(side === "client" ? fate === "client_gone" : ["server_lost", "connect_failed"].includes(fate), fate);
      });
    }
  },
  ...(epoll.unsupported() === undefined ? {} : { ignore: true }),
});
