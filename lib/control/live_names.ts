/**
 * The names that a running balancer knows, for the completion of shells: services, servers, listeners, generations, connections,
 * and the balancers themselves. What cannot be asked is not offered, and nothing is said of it: the person only pressed a key.
 */

import { deadline } from "@std/async";
import { DEFAULT_NAME, findLocks, findPaths, findSocket, folderOf, parseName, parseServiceName } from "../values/paths.ts";
import type { LiveName } from "../values/word_sources.ts";
import { ControlClient } from "./client.ts";
import type { LiveQuestion, Offered } from "./completion.ts";
import { isLocked } from "./lock.ts";

/** A person who waits for an offer does not wait longer. */
const ASK_MAX_MS = 1000;

type Ask = (client: ControlClient, question: LiveQuestion) => Promise<Offered[]>;

/** Nobody reads more than these. */
const CONNECTIONS_MAX = "100";

/** How each kind of name is asked for. */
const ASKS: Readonly<Record<Exclude<LiveName, "balancers">, Ask>> = {
  services: async (client) =>
    (await client.services()).services.map(({ service, listeners }) => ({
      word: service,
      summary: listeners.map(({ listener }) => listener).join(" "),
    })),
  servers: async (client) =>
    (await client.list()).servers.map(({ server, state, open }) => ({ word: server, summary: `${state}, ${open} open` })),
  serverHosts: async (client) => hostsOf((await client.list()).servers.map(({ server, state }) => [server, state])),
  serverPorts: async (client, { before }) =>
    portsOf((await client.list()).servers.map(({ server, state }) => [server, state]), before.at(-1)),
  listenerHosts: async (client, { before }) => hostsOf((await listenersOf(client, before)).map((listener) => [listener, ""])),
  listenerPorts: async (client, { before }) =>
    portsOf((await listenersOf(client, before)).map((listener) => [listener, ""]), before.at(-1)),
  generations: async (client) =>
    (await client.history()).generations.map(({ generation, what }) => ({ word: String(generation), summary: what })),
  connections: async (client) =>
    (await client.connections({ sort: "bytes", limit: CONNECTIONS_MAX })).connections.map(({ id, client, server, state }) => ({
      word: id,
      summary: `${client} on ${server ?? "no server"}, ${state}`,
    })),
};

/** The names that are asked for; none where nobody answers in time. */
export async function liveNames(question: LiveQuestion): Promise<Offered[]> {
  try {
    if (question.kind === "balancers") return await balancers();
    const name = parseName(question.name || DEFAULT_NAME);
    const service = question.service ? parseServiceName(question.service) : undefined;
    using client = new ControlClient(name, findSocket(name), { locks: findLocks(name), service });
    return await deadline(ASKS[question.kind](client, question), ASK_MAX_MS);
  } catch {
    return [];
  }
}

/** Balancers that run or have run: those with a lock, wherever it is. */
async function balancers(): Promise<Offered[]> {
  const folders = [true, false].flatMap((keepsState) => {
    try {
      return [folderOf(findPaths(DEFAULT_NAME, { keepsState }).lock)];
    } catch {
      return []; // there is no folder for the state
    }
  });
  const files = await Promise.all(folders.map((folder) => Array.fromAsync(Deno.readDir(folder)).catch(() => [])));
  const names = files.flat().flatMap(({ name }) => name.match(/^(.+)\.lock$/)?.slice(1) ?? []);
  return await Promise.all(
    [...new Set(names)].toSorted().map(async (word) => {
      const locked = await Promise.all(findLocks(word).map(isLocked));
      return { word, summary: locked.includes(true) ? "running" : "stopped" };
    }),
  );
}

async function listenersOf(client: ControlClient, [service]: readonly string[]): Promise<string[]> {
  const { services } = await client.services();
  return services.filter((row) => row.service === service).flatMap(({ listeners }) => listeners.map(({ listener }) => listener));
}

type Named = readonly (readonly [address: string, summary: string])[];

/** Each host once; of one with several ports, how many. */
function hostsOf(named: Named): Offered[] {
  const hosts = Map.groupBy(named, ([address]) => hostAndPort(address)[0]);
  return [...hosts].map(([word, rows]) => ({ word, summary: rows.length === 1 ? rows[0][1] : `${rows.length} ports` }));
}

function portsOf(named: Named, host: string | undefined): Offered[] {
  return named.flatMap(([address, summary]) => {
    const [own, word] = hostAndPort(address);
    return own === host ? [{ word, summary }] : [];
  });
}

/** `[::1]:80` as `::1` and `80`; the port of a listener may be a range. */
function hostAndPort(address: string): readonly [host: string, port: string] {
  const colon = address.lastIndexOf(":");
  return [address.slice(0, colon).replace(/^\[(.*)\]$/, "$1"), address.slice(colon + 1)];
}
