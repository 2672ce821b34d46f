/**
 * The private folder in which everything runs, and what all contenders and backends are given: programs, limits, the stop signal.
 */

import { nginxStreamModule, type Tools, versionText } from "./tools.ts";
import { openFilesLimit } from "./measure.ts";

/** The checkout. */
export const ROOT = `${import.meta.dirname}/../../`;

/** How our programs are run. */
export interface Programs {
  readonly balancer: readonly string[];
  readonly balancerctl: readonly string[];
}

/** What a benchmark runs in. Disposing of it removes its folder. */
export interface Place extends AsyncDisposable {
  readonly folder: string;
  readonly tools: Tools;
  readonly programs: Programs;
  /** The environment of our programs: all that they write goes into the folder. */
  readonly env: Readonly<Record<string, string>>;
  readonly openFiles: number;
  /** Aborted when the user wants an end. */
  readonly signal: AbortSignal;
  /** The path of a new folder for one service. */
  subfolder(name: string): Promise<string>;
  /** See nginxStreamModule. */
  streamModule(): Promise<string>;
}

/** Makes the place. */
export async function makePlace(tools: Tools, isCompiled: boolean, signal: AbortSignal): Promise<Place> {
  const env = { NO_COLOR: "1", DENO_DIR: await denoFolder() };
  const openFiles = await openFilesLimit();
  const folder = await Deno.makeTempDir({ prefix: "balancer_bench_" });
  const subfolder = async (name: string) => {
    await Deno.mkdir(`${folder}/${name}`, { mode: 0o700 });
    return `${folder}/${name}`;
  };
  for (const name of ["run", "state", "cache"]) await subfolder(name);
  return {
    folder,
    tools,
    programs: isCompiled ? compiledPrograms() : checkoutPrograms(),
    env: { ...env, XDG_RUNTIME_DIR: `${folder}/run`, XDG_STATE_HOME: `${folder}/state`, XDG_CACHE_HOME: `${folder}/cache` },
    openFiles,
    signal,
    subfolder,
    streamModule: async () => await nginxStreamModule(await versionText(tools.nginx?.path ?? "nginx", ["-V"])),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

function checkoutPrograms(): Programs {
  const run = (set: string, script: string) => [Deno.execPath(), "run", "-q", "--no-prompt", `-P=${set}`, `${ROOT}${script}`];
  return { balancer: run("balancer", "main.ts"), balancerctl: run("balancerctl", "ctl.ts") };
}

function compiledPrograms(): Programs {
  return { balancer: [`${ROOT}dist/balancer`], balancerctl: [`${ROOT}dist/balancerctl`] };
}

/** Where Deno keeps its packages. By default it is under XDG_CACHE_HOME, which our programs have for themselves. */
async function denoFolder(): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"], cwd: ROOT, stdin: "null" }).output();
  return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
}
