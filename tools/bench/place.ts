/**
 * The private folder in which everything runs, and what all contenders and backends are given: programs, limits, the stop signal.
 */

import type { Workshop } from "./compile.ts";
import { isFile, nginxStreamModule, type Tools, versionText } from "./tools.ts";
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
  /** Those of the version that `programs` are compared with. */
  readonly programsBefore?: Programs;
  /** Settings of the contender `variant`. */
  readonly variant?: readonly string[];
  /** The environment of our programs: all that they write goes into the folder. */
  readonly env: Readonly<Record<string, string>>;
  readonly openFiles: number;
  /** Aborted when the user wants an end. */
  readonly signal: AbortSignal;
  /** Where programs in C are compiled. */
  readonly workshop: Workshop;
  /** The path of a new folder for one service. */
  subfolder(name: string): Promise<string>;
  /** See nginxStreamModule. */
  streamModule(): Promise<string>;
}

/** What a place is made of. */
export interface PlaceOptions {
  /** Run the compiled programs, not the checkout. */
  readonly isCompiled: boolean;
  /** The folder of another version: see programsOf. */
  readonly against?: string;
  readonly variant?: readonly string[];
}

/** Makes the place. Throws a sentence if the other version is not there. */
export async function makePlace(tools: Tools, { isCompiled, against, variant }: PlaceOptions, signal: AbortSignal): Promise<Place> {
  const programsBefore = against === undefined ? undefined : await programsOf(against, isCompiled);
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
    programs: isCompiled ? compiledPrograms(`${ROOT}dist`) : checkoutPrograms(ROOT),
    programsBefore,
    variant,
    env: { ...env, XDG_RUNTIME_DIR: `${folder}/run`, XDG_STATE_HOME: `${folder}/state`, XDG_CACHE_HOME: `${folder}/cache` },
    openFiles,
    signal,
    workshop: { cc: tools.cc, folder: `${ROOT}dist/c`, signal },
    subfolder,
    streamModule: async () => await nginxStreamModule(await versionText(tools.nginx?.path ?? "nginx", ["-V"])),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/**
 * The programs of a folder that has a checkout, or compiled programs alone. They run as the product does, compiled or not: else the
 * ratio would tell that difference as well. Throws a sentence if the folder has no such programs.
 */
export async function programsOf(folder: string, isCompiled: boolean): Promise<Programs> {
  const path = (await Deno.realPath(folder).catch(() => {
    throw new Error(
      `--against ${JSON.stringify(folder)} does not exist: name a folder with another checkout, or with its compiled programs`,
    );
  })).replace(/\/$/, "");
  if (!isCompiled) {
    if (await isFile(`${path}/main.ts`)) return checkoutPrograms(`${path}/`);
    throw new Error(
      `--against ${JSON.stringify(folder)} has no main.ts: name a checkout, or add --compiled to compare compiled programs`,
    );
  }
  for (const dist of [path, `${path}/dist`]) if (await isFile(`${dist}/balancer`)) return compiledPrograms(dist);
  throw new Error(
    `--against ${JSON.stringify(folder)} has no compiled balancer: run "deno task compile" there, or omit --compiled`,
  );
}

function checkoutPrograms(root: string): Programs {
  const run = (set: string, script: string) => [Deno.execPath(), "run", "-q", "--no-prompt", `-P=${set}`, `${root}${script}`];
  return { balancer: run("balancer", "main.ts"), balancerctl: run("balancerctl", "ctl.ts") };
}

function compiledPrograms(dist: string): Programs {
  return { balancer: [`${dist}/balancer`], balancerctl: [`${dist}/balancerctl`] };
}

/** Where Deno keeps its packages. By default it is under XDG_CACHE_HOME, which our programs have for themselves. */
async function denoFolder(): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"], cwd: ROOT, stdin: "null" }).output();
  return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
}
