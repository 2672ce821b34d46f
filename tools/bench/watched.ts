/**
 * `deno task bench:viewers`: what it costs a balancer under full load that two people watch it. One process, measured in turns:
 * with nobody, with nobody once more (A/A), and with two dashboards that have a viewer each, shuffled anew for each round. Two
 * processes of the same program differ by some percent, which is more than viewers cost; one process differs less from itself.
 */

// deno-lint-ignore-file no-console -- a tool speaks to its user

import { parseArgs } from "@std/cli";
import { Random } from "../random.ts";
import { BACKENDS } from "./backends.ts";
import { CONTENDERS } from "./contenders.ts";
import { makePlace, type Place } from "./place.ts";
import { delay } from "./processes.ts";
import { quantile } from "./statistics.ts";
import { findTools } from "./tools.ts";
import { type Dashboard, startDashboards } from "./viewers.ts";
import { driveByWrk, warmUpByWrk, type WrkLoad } from "./wrk.ts";

const LOADS: Readonly<Record<string, WrkLoad>> = {
  connections: { connections: 64, closes: true },
  keepalive: { connections: 64 },
};
const TURNS = ["nobody", "again", "viewers"] as const;
type Turn = typeof TURNS[number];

const VIEWERS = 2;
const WARM_UP_MS = 5000;
/** A stream that begins costs more than one that goes on. */
const SETTLE_MS = 1500;
const SEED = 1;

/** What came of a turn: CPU seconds of the balancer per request, and per second. */
interface Outcome {
  readonly perRequest: number;
  readonly perSecond: number;
}

async function main({ rounds, seconds }: { readonly rounds: number; readonly seconds: number }): Promise<void> {
  const tools = await findTools();
  if (tools.wrk === undefined || tools.nginx === undefined) throw new Error("Needs wrk and nginx");
  await using place = await makePlace(tools, { isCompiled: true }, new AbortController().signal);
  await using stack = new AsyncDisposableStack();
  const setting = { place, name: "watched", workers: 1, isBulk: false };
  const { port: backendPort } = stack.use(await BACKENDS.web.start(place, "watched", 1));
  const balancer = stack.use(await CONTENDERS.epoll.start({ ...setting, backendPort }));
  const dashboards = await startDashboards(setting, VIEWERS, stack);
  for (const [name, load] of Object.entries(LOADS)) {
    const target = { place, port: balancer.port, pid: balancer.pid };
    await warmUpByWrk(target, load, WARM_UP_MS);
    const outcomes: Record<Turn, Outcome[]> = { nobody: [], again: [], viewers: [] };
    const random = new Random(SEED);
    for (let round = 0; round < rounds; round++) {
      for (const turn of random.shuffled(TURNS)) {
        outcomes[turn].push(await take(target, load, seconds, turn === "viewers" ? dashboards : []));
      }
    }
    console.log(`${name}: ${describe(outcomes)}`);
  }
}

async function take(
  target: { readonly place: Place; readonly port: number; readonly pid?: number },
  load: WrkLoad,
  seconds: number,
  dashboards: readonly Dashboard[],
): Promise<Outcome> {
  await using stack = new AsyncDisposableStack();
  for (const dashboard of dashboards) stack.use(await dashboard.watch());
  await delay(SETTLE_MS);
  const { cpuSeconds = NaN, throughput = NaN } = await driveByWrk(target, load, seconds);
  return { perRequest: cpuSeconds, perSecond: cpuSeconds * throughput };
}

function describe(outcomes: Readonly<Record<Turn, readonly Outcome[]>>): string {
  const ratios = (turn: Turn) => outcomes[turn].map(({ perRequest }, i) => perRequest / outcomes.nobody[i].perRequest);
  const text = (turn: Turn) => {
    const [low, middle, high] = [0.25, 0.5, 0.75].map((fraction) => quantile(ratios(turn), fraction).toFixed(3));
    return `${middle} (${low} to ${high})`;
  };
  const busy = quantile(outcomes.nobody.map(({ perSecond }) => perSecond), 0.5);
  return `CPU per request with ${VIEWERS} viewers ${text("viewers")}, A/A ${text("again")}, of ${
    (1000 * busy).toFixed(0)
  } ms a second, ${outcomes.nobody.length} rounds`;
}

function numberOf(text: string | undefined, otherwise: number): number {
  const number = Number(text ?? otherwise);
  if (Number.isInteger(number) && number > 0 && number < 1000) return number;
  throw new Error(`${JSON.stringify(text)} is not a whole number from 1 to 999`);
}

if (import.meta.main) {
  const { rounds, slice } = parseArgs(Deno.args, { string: ["rounds", "slice"] }) as Record<string, string | undefined>;
  await main({ rounds: numberOf(rounds, 20), seconds: numberOf(slice, 3) }).catch((error) => {
    console.error(`bench:viewers: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  });
}
