/** The command line of the benchmark. */

import { parseArgs } from "@std/cli";
import { CONTENDER_NAMES, type ContenderName, CONTENDERS } from "./contenders.ts";
import { type Pace, WORKLOAD_NAMES, type WorkloadName, WORKLOADS } from "./workloads.ts";

/** What the user wants. */
export interface Options {
  readonly pace: Pace;
  /** The order of turns is made from it. */
  readonly seed: number;
  readonly workloads: readonly WorkloadName[];
  readonly contenders: readonly ContenderName[];
  /** The folder that the reports go to. */
  readonly out: string;
  /** Also into docs/. */
  readonly publishes: boolean;
  /** Run `dist/balancer` and not the checkout. */
  readonly isCompiled: boolean;
  readonly printsConfigurations: boolean;
  /** The folder of another version of the product, which takes part as `before`. */
  readonly against?: string;
  /** Settings of the balancer that takes part as `variant`. */
  readonly variant?: readonly string[];
  readonly wantsHelp: boolean;
}

/** The help. */
export const HELP = `Measure the balancer against HAProxy and nginx, on this machine, over loopback.

Usage: deno task bench [options]

  --quick                     two rounds and fewer idle connections: does it work at all? Its warm-ups are too short for figures
  --rounds N                  rounds of each workload (8); each starts new processes
  --slice SECONDS             how long each turn of a contender is measured (1)
  --seed N                    shuffle the turns as a run with this seed did (at random, and printed)
  --only WORKLOAD,WORKLOAD    these alone:
                              ${WORKLOAD_NAMES.join(", ")}
  --among NAME,NAME           these contenders alone:
                              ${CONTENDER_NAMES.join(", ")}
  --against FOLDER            also measure another version of the product, as contender "before"
  --variant="SETTINGS"        also measure the balancer with these settings, as contender "variant"
  --out FOLDER                where bench.md, bench.json and bench.svg go (dist/bench)
  --publish                   also write the short table into docs/performance.md and the chart to docs/bench.svg
  --compiled                  run dist/balancer, not the checkout
  --print-configs             print what the contenders are told, and measure nothing

A turn starts a contender and a server, warms them up (3 s where connections come and go, else 1 s: the product is compiled while it
runs), measures and ends them. Their order is shuffled for each round. "direct" has a turn in every fourth round, "streams" in every
second.

Contenders: "epoll" and "streams" are the engines of this checkout. "again" is a second process with the engine epoll: the ratio
"epoll / again" shows how much of every other ratio is noise. "floor" is the least that an epoll proxy can do, a C program without
timers, counters, limits or policy: "epoll / floor" shows what is left to gain. It needs cc, and takes no part in bulk workloads.

Before and after a change, measured in the same rounds:
  git worktree add ../old main
  deno task bench --against ../old --among epoll,again --only keepalive,connections,idle --rounds 20
"epoll / before" below 1 is a gain, if "epoll / again" is closer to 1. Two processes of the same program differ by a few percent for
as long as they live, so a small difference needs many rounds. FOLDER is a checkout. With --compiled it is a checkout with
dist/balancer, or the folder of the compiled programs.

What a setting costs ("variant / epoll"):
  deno task bench --variant="--proxy v2" --among epoll,again --only connections,keepalive --rounds 20

What it costs to be watched ("watched / epoll"): two dashboards, and a browser on each. It takes part only where it is named:
  deno task bench --among epoll,again,watched --only idle --slice 15 --rounds 24`;

/** Two minutes in all are worth more here than figures. */
const QUICK: Pace = { rounds: 2, sliceSeconds: 1, warmUpMaxMs: 300, idlePairs: 2000 };
/** Fewer rounds do not tell a difference of 6 points from noise. More new processes tell more than longer turns. */
const FULL: Pace = { rounds: 8, sliceSeconds: 1, warmUpMaxMs: Infinity, idlePairs: 8000 };
/** Rounds and seconds beyond these are mistakes of typing. */
const ROUNDS_MAX = 1000;
/** See ROUNDS_MAX. */
const SLICE_MAX_SECONDS = 60;
/** Seeds that a person can type: enough to have another order each time. */
const SEED_MAX = 9999;

const FLAGS = ["quick", "publish", "compiled", "print-configs", "help"] as const;
const VALUES = ["rounds", "slice", "seed", "only", "among", "out", "against", "variant"] as const;

/** Reads the command line. Throws a sentence for the first mistake. */
export function parseOptions(argv: readonly string[], defaultOut: string): Options {
  const parsed = parseArgs([...argv], { boolean: FLAGS, string: VALUES, unknown: refuse });
  const text = (name: typeof VALUES[number]) => parsed[name] as string | undefined;
  const pace = parsed.quick ? QUICK : FULL;
  return {
    pace: {
      ...pace,
      rounds: wholeNumber("--rounds", text("rounds"), ROUNDS_MAX) ?? pace.rounds,
      sliceSeconds: wholeNumber("--slice", text("slice"), SLICE_MAX_SECONDS) ?? pace.sliceSeconds,
    },
    seed: wholeNumber("--seed", text("seed"), SEED_MAX) ?? randomSeed(),
    contenders: parseContenders(text("among"), { before: text("against"), variant: text("variant") }),
    workloads: parseNames("Workload", WORKLOAD_NAMES, text("only")) ??
      (parsed.quick ? WORKLOAD_NAMES.filter((name) => !isSlow(name)) : WORKLOAD_NAMES),
    out: text("out") ?? defaultOut,
    against: text("against"),
    variant: text("variant")?.split(" ").filter((word) => word !== ""),
    publishes: parsed.publish === true,
    isCompiled: parsed.compiled === true,
    printsConfigurations: parsed["print-configs"] === true,
    wantsHelp: parsed.help === true,
  };
}

function randomSeed(): number {
  return 1 + Math.floor(Math.random() * SEED_MAX);
}

function refuse(arg: string): never {
  throw new Error(`${JSON.stringify(arg)} is no option of the benchmark; see --help`);
}

function wholeNumber(flag: string, text: string | undefined, max: number): number | undefined {
  if (text === undefined) return undefined;
  const number = /^[0-9]{1,4}$/.test(text) ? Number(text) : NaN;
  if (number >= 1 && number <= max) return number;
  throw new Error(`${flag} ${JSON.stringify(text)} is not a whole number from 1 to ${max}`);
}

/** The names of a list, in the order of all; undefined if there is no list. */
function parseNames<T extends string>(what: string, all: readonly T[], text: string | undefined): T[] | undefined {
  if (text === undefined) return undefined;
  const wanted = text.split(",");
  const stranger = wanted.find((name) => !all.some((known) => known === name));
  if (stranger !== undefined) throw new Error(`${what} ${JSON.stringify(stranger)} is not one of ${all.join(", ")}`);
  return all.filter((name) => wanted.includes(name));
}

/** Contenders that take part exactly if their option is given. */
const OPTIONAL = {
  before: { option: "--against", value: "FOLDER", what: "a folder" },
  variant: { option: "--variant", value: "SETTINGS", what: "settings" },
} as const;

/** The contenders. `given` has the values of the options of OPTIONAL. */
function parseContenders(
  among: string | undefined,
  given: Readonly<Record<keyof typeof OPTIONAL, string | undefined>>,
): ContenderName[] {
  const named = parseNames("Contender", CONTENDER_NAMES, among);
  for (const name of Object.keys(OPTIONAL) as (keyof typeof OPTIONAL)[]) {
    const { option, value, what } = OPTIONAL[name];
    if (given[name] === "") throw new Error(`${option} does not name ${what}`);
    if (given[name] === undefined && named?.includes(name)) throw new Error(`Contender "${name}" needs ${option} ${value}`);
  }
  const wanted = named ?? CONTENDER_NAMES.filter((name) => CONTENDERS[name].isOnDemand !== true);
  return CONTENDER_NAMES.filter((name) =>
    name in OPTIONAL ? given[name as keyof typeof OPTIONAL] !== undefined : wanted.includes(name)
  );
}

function isSlow(name: WorkloadName): boolean {
  return WORKLOADS[name].slow === true;
}
