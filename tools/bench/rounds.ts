/**
 * The order of events within a workload: in each round every contender has a turn. For a turn a contender and a server behind it
 * are started, warmed up, measured and ended: two processes of the same program differ by a few percent for as long as they live,
 * so one of each would tell little. The order is shuffled anew for each round, so that no contender profits from its place.
 */

import { Random } from "../random.ts";
import { BACKENDS } from "./backends.ts";
import { type ContenderName, CONTENDERS } from "./contenders.ts";
import type { Figures } from "./metrics.ts";
import type { Place } from "./place.ts";
import type { ToolName } from "./tools.ts";
import { contendersOf, type Pace, roundsOf, type Target, WORKLOAD_NAMES, type WorkloadName, WORKLOADS } from "./workloads.ts";

/** What one contender did in one round: figures, or a sentence that says why there are none. */
export interface Slice {
  readonly workload: WorkloadName;
  readonly contender: ContenderName;
  /** From 1. */
  readonly round: number;
  readonly figures?: Figures;
  readonly error?: string;
}

/** A contender that has no part in a workload, and why; without a contender: nobody has. */
export interface Absence {
  readonly workload: WorkloadName;
  readonly contender?: ContenderName;
  readonly reason: string;
}

/** All that came of a workload, or of several. */
export interface Outcome {
  readonly slices: readonly Slice[];
  readonly absences: readonly Absence[];
}

/** Called with each thing as it happens. */
export interface Listener {
  onSlice(slice: Slice, rounds: number): void;
  onAbsence(absence: Absence): void;
}

/** After so many turns in a row without figures a contender has no more: each may have waited for its limit. */
const FAILURES_MAX = 2;

/** What is run: a workload, those of its contenders that are wanted, how long it takes, and what the order of turns is made of. */
export interface Plan {
  readonly name: WorkloadName;
  readonly wanted: readonly ContenderName[];
  readonly pace: Pace;
  readonly seed: number;
}

/** One contender's part in one round. */
export type Turn = Pick<Slice, "workload" | "contender" | "round">;

/** What came of a turn. */
type Result = { readonly figures: Figures } | { readonly error: string; readonly isReady: boolean };

/** The turns of a workload, in order. The same seed gives the same order, whatever the number of rounds. */
export function turnsOf({ name: workload, wanted, pace, seed }: Plan): Turn[] {
  const contenders = contendersOf(workload).filter((contender) => wanted.includes(contender));
  const random = new Random(seed * WORKLOAD_NAMES.length + WORKLOAD_NAMES.indexOf(workload)); // another order for each workload
  const rounds = Array.from({ length: roundsOf(workload, pace) }, (_, i) => i + 1);
  return rounds.flatMap((round) => {
    const present = contenders.filter((contender) => (round - 1) % (CONTENDERS[contender].onceIn ?? 1) === 0);
    return random.shuffled(present).map((contender) => ({ workload, contender, round }));
  });
}

/** Runs one workload. Rejects only if the user wants an end. */
export async function runWorkload(plan: Plan, place: Place, listener: Listener): Promise<Outcome> {
  const { name, pace } = plan;
  const slices: Slice[] = [];
  const absences: Absence[] = [];
  const leaveOut = (absence: Absence) => {
    absences.push(absence);
    listener.onAbsence(absence);
  };
  const missing = missingTool(name, place);
  if (missing !== undefined) leaveOut({ workload: name, reason: `${missing} is not there` });
  for (const turn of missing === undefined ? turnsOf(plan) : []) {
    const isAbsent = absences.some(({ contender }) => contender === turn.contender);
    const earlier = slices.filter(({ contender }) => contender === turn.contender);
    if (isAbsent || hasFailed(earlier)) continue;
    const result = await takeTurn(turn, pace, place);
    if ("error" in result && !result.isReady && earlier.length === 0) {
      leaveOut({ workload: name, contender: turn.contender, reason: result.error });
      continue;
    }
    const slice = { ...turn, ..."error" in result ? { error: result.error } : result };
    slices.push(slice);
    listener.onSlice(slice, roundsOf(name, pace));
  }
  return { slices, absences };
}

/** The first program without which nobody can take part. */
function missingTool(name: WorkloadName, { tools }: Place): ToolName | undefined {
  const { tool, backend } = WORKLOADS[name];
  return [tool, BACKENDS[backend].tool].find((one) => one !== undefined && !(one in tools));
}

function hasFailed(slices: readonly Slice[]): boolean {
  return slices.length >= FAILURES_MAX && slices.slice(-FAILURES_MAX).every(({ error }) => error !== undefined);
}

/** Rejects only if the user wants an end. */
async function takeTurn(turn: Turn, pace: Pace, place: Place): Promise<Result> {
  const workload = WORKLOADS[turn.workload];
  let isReady = false;
  try {
    await using stack = new AsyncDisposableStack();
    const target = await enter(turn, place, stack);
    await workload.warmUp(target, Math.min(workload.warmUpMs, pace.warmUpMaxMs));
    isReady = true;
    return { figures: await workload.drive(target, pace) };
  } catch (error) {
    place.signal.throwIfAborted();
    return { error: error instanceof Error ? error.message : String(error), isReady };
  }
}

/** Starts a contender with a server behind it; the stack takes both. */
async function enter({ workload, contender, round }: Turn, place: Place, stack: AsyncDisposableStack): Promise<Target> {
  const { backend, workers, isBulk = false } = WORKLOADS[workload];
  const { tool, start } = CONTENDERS[contender];
  if (tool !== undefined && !(tool in place.tools)) throw new Error(`${tool} is not there`);
  const name = `${workload}-${contender}-${round}`;
  const { port: backendPort, proxyPort: backendProxyPort } = stack.use(await BACKENDS[backend].start(place, name, workers));
  const { port, pid } = stack.use(await start({ place, name, backendPort, backendProxyPort, workers, isBulk }));
  return { place, port, pid };
}
