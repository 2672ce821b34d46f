/**
 * `deno task bench`: measures our engines against HAProxy and nginx on this machine and writes a report. Here is the order of
 * events; what a workload is and who takes part stands in the tables of workloads.ts and contenders.ts.
 *
 * How far the product is from what any epoll proxy could reach, beside HAProxy and with the noise of the run ("epoll / again"):
 *
 *     deno task bench --among epoll,again,floor,haproxy --only keepalive,connections
 *
 * What a change has cost or gained, old and new version side by side in the same rounds ("epoll / before"):
 *
 *     git worktree add ../old main
 *     deno task bench --against ../old --among epoll,again --only keepalive,connections,idle --rounds 20
 */

// deno-lint-ignore-file no-console -- a tool speaks to its user

import deno from "../../deno.json" with { type: "json" };
import { chart } from "./chart.ts";
import { exampleConfigurations } from "./contenders.ts";
import { openFilesLimit } from "./measure.ts";
import { HELP, type Options, parseOptions } from "./options.ts";
import { makePlace, type Place, ROOT } from "./place.ts";
import {
  describeAbsence,
  describeSlice,
  type Machine,
  reportJson,
  reportMarkdown,
  type Run,
  shortTable,
  withBench,
} from "./report.ts";
import { type Outcome, runWorkload } from "./rounds.ts";
import { summarize } from "./summary.ts";
import { findTools, missingTools, nginxStreamModule, type Tools, versionText } from "./tools.ts";

/** The exit code of a program that was interrupted, by custom 128 + SIGINT. */
const EXIT_INTERRUPTED = 130;

async function main(argv: readonly string[]): Promise<number> {
  if (Deno.build.os !== "linux") throw new Error("The benchmark reads /proc, which is Linux's");
  const options = parseOptions(argv, `${ROOT}dist/bench`);
  if (options.wantsHelp) {
    console.log(HELP);
    return 0;
  }
  const tools = await findTools();
  const configurations = exampleConfigurations(await openFilesLimit(), await loadModuleLine(tools));
  if (options.printsConfigurations) {
    for (const [name, text] of Object.entries(configurations)) console.log(`# ${name}\n${text}`);
    return 0;
  }
  for (const sentence of missingTools(tools)) console.error(sentence);
  console.error(`The order of turns is that of --seed ${options.seed}`);
  const { signal } = stopWhenAsked();
  try {
    const { slices, absences } = await measure(options, tools, signal);
    const date = new Date().toISOString().slice(0, 10);
    const run = {
      date,
      machine: await describeMachine(tools),
      pace: options.pace,
      seed: options.seed,
      slices,
      absences,
      configurations,
    };
    await writeReports(run, options.out);
    if (options.publishes) await publish(run, `${ROOT}docs/performance.md`, `${ROOT}docs/bench.svg`);
    return 0;
  } catch (error) {
    if (!signal.aborted) throw error;
    console.error("Interrupted: nothing is written");
    return EXIT_INTERRUPTED;
  }
}

/** All workloads, one after the other. */
async function measure(options: Options, tools: Tools, signal: AbortSignal): Promise<Outcome> {
  const { workloads, contenders, pace, seed } = options;
  await using place: Place = await makePlace(tools, options, signal);
  const outcomes: Outcome[] = [];
  for (const name of workloads) {
    outcomes.push(
      await runWorkload({ name, wanted: contenders, pace, seed }, place, {
        onSlice: (slice, rounds) => console.error(describeSlice(slice, rounds)),
        onAbsence: (absence) => console.error(describeAbsence(absence)),
      }),
    );
  }
  return { slices: outcomes.flatMap(({ slices }) => slices), absences: outcomes.flatMap(({ absences }) => absences) };
}

async function writeReports(run: Run, folder: string): Promise<void> {
  await Deno.mkdir(`${folder}/configurations`, { recursive: true });
  const files = {
    "bench.json": reportJson(run),
    "bench.md": reportMarkdown(run),
    "bench.svg": chart(summarize(run.slices)),
    ...Object.fromEntries(Object.entries(run.configurations).map(([name, text]) => [`configurations/${name}`, text])),
  };
  for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${folder}/${name}`, text);
  console.error(`Wrote bench.md, bench.json, bench.svg and the configurations to ${folder}`);
}

/** Puts the short table between the document's marks and the chart beside it. Without the marks the document stays as it is. */
export async function publish(run: Run, path: string, chartPath: string): Promise<void> {
  await Deno.mkdir(chartPath.replace(/\/[^/]*$/, ""), { recursive: true });
  await Deno.writeTextFile(chartPath, chart(summarize(run.slices)));
  const text = withBench(await Deno.readTextFile(path), shortTable(run));
  if (text === undefined) console.error(`${path} has no marks <!-- bench --> and <!-- end bench -->: it stays as it is`);
  else await Deno.writeTextFile(path, text);
}

async function loadModuleLine({ nginx }: Tools): Promise<string> {
  if (nginx === undefined) return "";
  return await nginxStreamModule(await versionText(nginx.path, ["-V"])).catch(() => "");
}

async function describeMachine(tools: Tools): Promise<Machine> {
  const cpuinfo = await Deno.readTextFile("/proc/cpuinfo");
  const [, cpu = "a CPU without a name"] = cpuinfo.match(/^model name\s*: (.+)$/m) ?? [];
  const congestionControl = await Deno.readTextFile("/proc/sys/net/ipv4/tcp_congestion_control");
  const others = Object.entries(tools).map(([name, { version }]) => [name, version]);
  return {
    cores: navigator.hardwareConcurrency,
    cpu,
    kernel: Deno.osRelease(),
    congestionControl: congestionControl.trim(),
    openFiles: await openFilesLimit(),
    versions: { balancer: deno.version, deno: Deno.version.deno, ...Object.fromEntries(others) },
  };
}

/** A signal that Ctrl-C aborts: everything that was started is ended, and its folder removed, on the way out. */
function stopWhenAsked(): AbortController {
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) Deno.addSignalListener(signal, () => controller.abort());
  return controller;
}

if (import.meta.main) {
  const code = await main(Deno.args).catch((error) => {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  });
  Deno.exit(code);
}
