/**
 * The contenders: how each is started in front of the servers, how its pool is changed and its process replaced where they can be,
 * and how it is ended.
 */

import { type Address, parseAddress } from "../../lib/values/address.ts";
import { listening, nginxCommand } from "../bench/backends.ts";
import { processTree } from "../bench/measure.ts";
import type { Place } from "../bench/place.ts";
import { freePort, runTool, Service } from "../bench/processes.ts";
import type { ToolName } from "../bench/tools.ts";
import {
  type Addition,
  balancerArguments,
  type Checks,
  ENGINE_NAMES,
  type EngineName,
  flagsOf,
  haproxyConfiguration,
  type Level,
  LEVELS,
  nginxConfiguration,
} from "./configurations.ts";
import { type Balancer, LOSS_NAMES, type LossName } from "./losses.ts";
import { replaceable } from "./reload.ts";

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
  readonly checks: Checks;
}

/** A balancer that runs. Disposing of it ends it. */
export interface RunningBalancer extends Balancer, AsyncDisposable {}

/** Who is measured. */
export interface Contender {
  /** For tables. */
  readonly title: string;
  readonly level: Level | "–";
  readonly tool?: ToolName;
  /** What is measured: not what it cannot do, nor what another contender does in the same way. */
  readonly losses: readonly LossName[];
  /** Whether what it does may deliver a request twice. */
  readonly mayRepeat: boolean;
  start(setting: Setting): Promise<RunningBalancer>;
}

/** The contenders that a user may name: ours stands for one for each engine and level. */
export const FAMILY_NAMES = [
  "balancer",
  "haproxy",
  "haproxy-shutdown",
  "haproxy-hard-stop",
  "nginx",
  "nginx-shutdown",
] as const;
/** One of FAMILY_NAMES. */
export type FamilyName = typeof FAMILY_NAMES[number];

/** Which of ours are wanted. */
export interface OurChoice {
  readonly engines: readonly EngineName[];
  readonly levels: readonly Level[];
}

/** Every engine and level. */
export const ALL_OURS: OurChoice = { engines: ENGINE_NAMES, levels: LEVELS };

/** What a process that was told to reload gives its old self's connections, where its operator bounds that. */
const OLD_MAX = "1s";

const rival = { level: "–", mayRepeat: false } as const;
const haproxy = { ...rival, tool: "haproxy" } as const;
const nginx = { ...rival, tool: "nginx" } as const;

const RIVALS: Readonly<Record<Exclude<FamilyName, "balancer">, Contender>> = {
  "haproxy": {
    ...haproxy,
    title: "HAProxy",
    losses: ["kill", "stop", "pause", "reload"],
    start: (setting) => startHaproxy(setting, {}),
  },
  "haproxy-shutdown": {
    ...haproxy,
    title: "HAProxy, shutdown-sessions",
    losses: ["kill", "stop", "pause"],
    start: (setting) => startHaproxy(setting, { server: "on-marked-down shutdown-sessions" }),
  },
  "haproxy-hard-stop": {
    ...haproxy,
    title: `HAProxy, hard-stop-after ${OLD_MAX}`,
    losses: ["reload"],
    start: (setting) => startHaproxy(setting, { program: `hard-stop-after ${OLD_MAX}` }),
  },
  "nginx": {
    ...nginx,
    title: "nginx",
    losses: ["kill", "stop", "pause", "reload"],
    start: (setting) => startNginx(setting, {}),
  },
  "nginx-shutdown": {
    ...nginx,
    title: `nginx, worker_shutdown_timeout ${OLD_MAX}`,
    losses: ["reload"],
    start: (setting) => startNginx(setting, { program: `worker_shutdown_timeout ${OLD_MAX};` }),
  },
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
    losses: LOSS_NAMES.filter((loss) => loss !== "reload" || engine === "epoll"), // streams says that it cannot
    mayRepeat: level === "unanswered" || level === "idle",
    start: (setting) => startOurs(setting, balancerArguments(engine, level, setting.checks, known)),
  };
}

/** Ours prints its address when clients can connect; its servers are added over its control socket, as an operator does it. */
async function startOurs({ place, name, servers }: Setting, args: readonly string[]): Promise<RunningBalancer> {
  const { programs, env, signal, folder } = place;
  await using stack = new AsyncDisposableStack();
  const service = stack.use(new Service({ words: [...programs.balancer, ...args, "--name", name], env, cwd: folder }));
  const address = parseAddress((await service.line(1, signal)).trim());
  const command = (words: string[]) => ({ words: [...programs.balancerctl, ...words, "--name", name], env, cwd: folder });
  const ctl = async (...words: string[]) => await runTool(command(words), { maxMs: COMMAND_MAX_MS, signal });
  const add = async ({ host, port }: Address) => void await ctl("add", host, String(port));
  for (const server of servers) await add(server);
  const status = async () => JSON.parse(await ctl("status", "--json"));
  const reloading = replaceable({
    port: address.port,
    processes: async () => [(await status()).pid],
    replace: async () => void await ctl("upgrade"),
    endsOld: true,
    signal,
  });
  // Whoever has taken over is no child of this process, and must end also when the user wants an end.
  const { signal: never } = new AbortController();
  stack.defer(async () => {
    await runTool(command(["stop", "--grace", "0s"]), { maxMs: COMMAND_MAX_MS, signal: never }).catch(() => {});
  });
  const kept = stack.move();
  return {
    ...reloading,
    address,
    add,
    remove: async ({ host, port }) => void await ctl("remove", host, String(port), "--drain", DRAIN),
    status,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** With a master process, as its packages run it: so it can be reloaded. */
async function startHaproxy({ place, name, servers, checks }: Setting, addition: Addition): Promise<RunningBalancer> {
  const port = freePort();
  const path = `${await place.subfolder(name)}/haproxy.cfg`;
  await Deno.writeTextFile(path, haproxyConfiguration({ port, servers, checks }, addition));
  const service = new Service({ words: [place.tools.haproxy?.path ?? "haproxy", "-W", "-db", "-f", path] });
  return await serving(service, { port, reload: "SIGUSR2", endsOld: addition.program !== undefined }, place);
}

async function startNginx({ place, name, servers, checks }: Setting, addition: Addition): Promise<RunningBalancer> {
  const port = freePort();
  const text = nginxConfiguration({ port, servers, checks }, await place.streamModule(), addition);
  const service = new Service({ words: await nginxCommand(place, name, text) });
  return await serving(service, { port, reload: "SIGHUP", endsOld: addition.program !== undefined }, place);
}

/** A master process whose children serve. */
interface Master {
  readonly port: number;
  /** What makes it replace its children. */
  readonly reload: Deno.Signal;
  /** See reload.ts. */
  readonly endsOld: boolean;
}

async function serving(service: Service, { port, reload, endsOld }: Master, { signal }: Place): Promise<RunningBalancer> {
  const running = await listening(service, port, signal);
  const reloading = replaceable({
    port,
    processes: async () => (await processTree(service.pid)).slice(1),
    replace: () => Promise.resolve(Deno.kill(service.pid, reload)),
    endsOld,
    signal,
  });
  return { ...reloading, address: { host: "127.0.0.1", port }, [Symbol.asyncDispose]: () => running[Symbol.asyncDispose]() };
}
