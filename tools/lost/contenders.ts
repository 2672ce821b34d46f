/** The contenders: how each is started in front of the servers, how its pool is changed where it can be, and how it is ended. */

import { type Address, parseAddress } from "../../lib/values/address.ts";
import { listening, nginxCommand } from "../bench/backends.ts";
import type { Place } from "../bench/place.ts";
import { freePort, runTool, Service } from "../bench/processes.ts";
import type { ToolName } from "../bench/tools.ts";
import {
  balancerArguments,
  ENGINE_NAMES,
  type EngineName,
  flagsOf,
  haproxyConfiguration,
  type Level,
  LEVELS,
  nginxConfiguration,
} from "./configurations.ts";
import type { Balancer } from "./losses.ts";

/** How long a command of `balancerctl` may take, unpacking and draining included. */
const COMMAND_MAX_MS = 20_000;
/** What a removed server's connections are given. */
const DRAIN = "1s";

/** What a contender is started with. */
export interface Setting {
  readonly place: Place;
  /** Unlike that of any other process of the run: for files, and as a balancer's `--name`. */
  readonly name: string;
  readonly servers: readonly Address[];
}

/** A balancer that runs. Disposing of it ends it. */
export interface RunningBalancer extends Balancer, AsyncDisposable {}

/** Who is measured. */
export interface Contender {
  /** For tables. */
  readonly title: string;
  readonly level: Level | "–";
  readonly tool?: ToolName;
  /** Whether its pool can be changed by a command, for the loss `remove`. */
  readonly changesPool: boolean;
  /** Whether what it does may deliver a request twice. */
  readonly mayRepeat: boolean;
  start(setting: Setting): Promise<RunningBalancer>;
}

/** The contenders that a user may name: ours stands for one for each engine and level. */
export const FAMILY_NAMES = ["balancer", "haproxy", "haproxy-shutdown", "nginx"] as const;
/** One of FAMILY_NAMES. */
export type FamilyName = typeof FAMILY_NAMES[number];

/** Which of ours are wanted. */
export interface OurChoice {
  readonly engines: readonly EngineName[];
  readonly levels: readonly Level[];
}

/** Every engine and level. */
export const ALL_OURS: OurChoice = { engines: ENGINE_NAMES, levels: LEVELS };

const rival = { level: "–", changesPool: false, mayRepeat: false } as const;

const RIVALS: Readonly<Record<Exclude<FamilyName, "balancer">, Contender>> = {
  "haproxy": { ...rival, title: "HAProxy", tool: "haproxy", start: (setting) => startHaproxy(setting, false) },
  "haproxy-shutdown": {
    ...rival,
    title: "HAProxy, shutdown-sessions",
    tool: "haproxy",
    start: (setting) => startHaproxy(setting, true),
  },
  "nginx": { ...rival, title: "nginx", tool: "nginx", start: startNginx },
};

/** The contenders of these families. `known` are the flags of our `balancer`: without `--redistribute` it has no levels. */
export function contendersOf(
  families: readonly FamilyName[],
  { engines, levels }: OurChoice,
  known: ReadonlySet<string>,
): Contender[] {
  const all: readonly Level[] = known.has("redistribute") ? levels : ["none"];
  const ours = engines.flatMap((engine) => all.map((level) => ourContender(engine, level, known)));
  return families.flatMap((family) => family === "balancer" ? ours : [RIVALS[family]]);
}

/** The flags that our `balancer` has. */
export async function knownFlags({ programs, env, folder, signal }: Place): Promise<Set<string>> {
  const words = [...programs.balancer, "run", "--help"];
  return flagsOf(await runTool({ words, env, cwd: folder }, { maxMs: COMMAND_MAX_MS, signal }));
}

function ourContender(engine: EngineName, level: Level, known: ReadonlySet<string>): Contender {
  return {
    title: `balancer, ${engine}`,
    level,
    changesPool: true,
    mayRepeat: level === "unanswered" || level === "idle",
    start: (setting) => startOurs(setting, balancerArguments(engine, level, known)),
  };
}

/** Ours prints its address when clients can connect; its servers are added over its control socket, as an operator does it. */
async function startOurs({ place, name, servers }: Setting, args: readonly string[]): Promise<RunningBalancer> {
  const { programs, env, signal, folder } = place;
  await using stack = new AsyncDisposableStack();
  const service = stack.use(new Service({ words: [...programs.balancer, ...args, "--name", name], env, cwd: folder }));
  const address = parseAddress((await service.line(1, signal)).trim());
  const ctl = async (...words: string[]) =>
    await runTool({ words: [...programs.balancerctl, ...words, "--name", name], env, cwd: folder }, {
      maxMs: COMMAND_MAX_MS,
      signal,
    });
  const add = async ({ host, port }: Address) => void await ctl("add", host, String(port));
  for (const server of servers) await add(server);
  const kept = stack.move();
  return {
    address,
    add,
    remove: async ({ host, port }) => void await ctl("remove", host, String(port), "--drain", DRAIN),
    status: async () => JSON.parse(await ctl("status", "--json")),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function startHaproxy({ place, name, servers }: Setting, shutsSessions: boolean): Promise<RunningBalancer> {
  const port = freePort();
  const path = `${await place.subfolder(name)}/haproxy.cfg`;
  await Deno.writeTextFile(path, haproxyConfiguration({ port, servers }, shutsSessions));
  return await serving(new Service({ words: [place.tools.haproxy?.path ?? "haproxy", "-db", "-f", path] }), port, place);
}

async function startNginx({ place, name, servers }: Setting): Promise<RunningBalancer> {
  const port = freePort();
  const text = nginxConfiguration({ port, servers }, await place.streamModule());
  return await serving(new Service({ words: await nginxCommand(place, name, text) }), port, place);
}

async function serving(service: Service, port: number, { signal }: Place): Promise<RunningBalancer> {
  const running = await listening(service, port, signal);
  return { address: { host: "127.0.0.1", port }, [Symbol.asyncDispose]: () => running[Symbol.asyncDispose]() };
}
