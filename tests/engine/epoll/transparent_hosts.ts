/**
 * Run by transparent_test.ts in three network namespaces: a client, the balancer's host between two networks, and a server that
 * tells each client the address it sees. Each role says one line of JSON; `server` and `balancer` end with their standard input.
 */

import { epoll } from "../../../lib/engine/epoll/engine.ts";
import { ask, type Handler, startEngine, startServer, tableServer, writeText } from "../../helpers.ts";

/** The hosts' addresses in documentation networks (RFC 5737, RFC 3849). */
export const HOSTS = {
  client: { ipv4: "198.51.100.2", ipv6: "2001:db8:1::2" },
  /** Of the balancer, towards the client and towards the server. */
  near: { ipv4: "198.51.100.1", ipv6: "2001:db8:1::1" },
  far: { ipv4: "192.0.2.1", ipv6: "2001:db8:2::1" },
  server: { ipv4: "192.0.2.2", ipv6: "2001:db8:2::2" },
} as const;

/** Of the server. */
export const PORT = 8000;

/** What the balancer says: its ports by the families of client and server. */
export interface Ports {
  readonly ipv4: number;
  readonly ipv6: number;
  readonly mixed: number;
}

/** What the client says: what the server saw, by the same. */
export interface Seen {
  readonly ipv4: string;
  readonly ipv6: string;
  readonly mixed: string;
}

/** What the balancer says at its end of the connection whose families differ. */
export interface Refused {
  readonly fate: string;
  readonly reason: string | undefined;
  readonly connectFailures: number;
}

const tellSource: Handler = async (socket) => await writeText(socket, (socket.remoteAddr as Deno.NetAddr).hostname);

function say(line: unknown): void {
  // deno-lint-ignore no-console -- its output is its result
  console.log(JSON.stringify(line));
}

async function untilEof(): Promise<void> {
  while (await Deno.stdin.read(new Uint8Array(64)) !== null);
}

const ROLES: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = {
  async server() {
    await using _ipv4 = startServer(tellSource, { host: HOSTS.server.ipv4, port: PORT });
    await using _ipv6 = startServer(tellSource, { host: HOSTS.server.ipv6, port: PORT });
    say("ready");
    await untilEof();
  },

  async balancer() {
    const [ipv4, ipv6] = (["ipv4", "ipv6"] as const).map((family) => tableServer({ host: HOSTS.server[family], port: PORT }, 0));
    const options = { transparent: true, workers: 1 };
    epoll.checkConfig({ sources: null, transparent: true });
    await using ofIpv4 = startEngine(epoll, [ipv4], { ...options, host: HOSTS.near.ipv4 });
    await using ofIpv6 = startEngine(epoll, [ipv6], { ...options, host: HOSTS.near.ipv6 });
    await using mixed = startEngine(epoll, [ipv6], { ...options, host: HOSTS.near.ipv4 });
    say({ ipv4: ofIpv4.address.port, ipv6: ofIpv6.address.port, mixed: mixed.address.port });
    const { fate, reason } = await mixed.ended.take();
    say({ fate, reason, connectFailures: mixed.counters.getOf(0, "connectFailures") });
    await untilEof();
  },

  async client([ports]) {
    const { ipv4, ipv6, mixed }: Ports = JSON.parse(ports);
    say({
      ipv4: await ask({ host: HOSTS.near.ipv4, port: ipv4 }),
      ipv6: await ask({ host: HOSTS.near.ipv6, port: ipv6 }),
      mixed: await ask({ host: HOSTS.near.ipv4, port: mixed }).catch(() => ""),
    });
  },
};

if (import.meta.main) {
  const [role, ...args] = Deno.args;
  await ROLES[role](args);
  Deno.exit();
}
