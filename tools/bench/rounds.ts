/**
 * The order of events within a workload: all contenders start, warm up, and then take turns, slice by slice and round by round, so
 * that whatever slows the machine down for a while meets all of them. Every second round is in reverse order, so that no contender
 * profits from its place.
 */

import { BACKENDS } from "./backends.ts";
import { type ContenderName, CONTENDERS } from "./contenders.ts";
import type { Figures } from "./metrics.ts";
import type { Place } from "./place.ts";
import { contendersOf, type Pace, type Target, type WorkloadName, WORKLOADS } from "./workloads.ts";

/** What one contender did in one round: figures, or a sentence that says why there are none. */
export interface Slice {
  readonly workload: WorkloadName;
  readonly contender: ContenderName;
  /** From 1, counted on over all starts. */
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

/** After so many slices in a row without figures a contender has no more turns: each may have waited for its limit. */
const FAILURES_MAX = 2;

interface Entrant extends Target {
  readonly contender: ContenderName;
}

/** What is run: a workload, those of its contenders that are wanted, and how long it takes. */
export interface Plan {
  readonly name: WorkloadName;
  readonly wanted: readonly ContenderName[];
  readonly pace: Pace;
}

/** Runs one workload, with new processes for each start. Rejects only if the user wants an end. */
export async function runWorkload(plan: Plan, place: Place, listener: Listener): Promise<Outcome> {
  const outcomes: Outcome[] = [];
  for (let start = 1; start <= plan.pace.starts; start++) outcomes.push(await runStart(plan, start, place, listener));
  return { slices: outcomes.flatMap(({ slices }) => slices), absences: outcomes.flatMap(({ absences }) => absences) };
}

async function runStart({ name, wanted, pace }: Plan, start: number, place: Place, listener: Listener): Promise<Outcome> {
  const workload = WORKLOADS[name];
  const absences: Absence[] = [];
  const leaveOut = (reason: string, contender?: ContenderName) => {
    const absence = { workload: name, contender, reason };
    absences.push(absence);
    listener.onAbsence(absence);
  };
  const missing = [workload.tool, BACKENDS[workload.backend].tool].find((tool) => tool !== undefined && !(tool in place.tools));
  if (missing !== undefined) {
    leaveOut(`${missing} is not there`);
    return { slices: [], absences };
  }
  await using stack = new AsyncDisposableStack();
  const contenders = contendersOf(name).filter((contender) => wanted.includes(contender));
  const started = await Promise.allSettled(contenders.map((contender) => enter(name, contender, start, place, stack)));
  const entrants: Entrant[] = [];
  for (const [i, result] of started.entries()) {
    place.signal.throwIfAborted();
    const contender = contenders[i];
    const failed = result.status === "rejected" ? result.reason : await attempt(() => workload.warmUp(result.value, pace), place);
    if (failed !== undefined) leaveOut(sentenceOf(failed), contender);
    else if (result.status === "fulfilled") entrants.push(result.value);
  }
  return { slices: await takeTurns({ name, wanted, pace }, start, entrants, listener), absences };
}

async function takeTurns(
  { name, pace }: Plan,
  start: number,
  entrants: readonly Entrant[],
  listener: Listener,
): Promise<Slice[]> {
  const rounds = WORKLOADS[name].once ? 1 : pace.rounds;
  const last = start * rounds;
  const failures = new Map<ContenderName, number>();
  const slices: Slice[] = [];
  for (let round = last - rounds + 1; round <= last; round++) {
    for (const entrant of round % 2 === 0 ? entrants.toReversed() : entrants) {
      const failed = failures.get(entrant.contender) ?? 0;
      if (failed >= FAILURES_MAX) continue;
      const slice = await takeTurn(name, entrant, pace, round);
      failures.set(entrant.contender, slice.error === undefined ? 0 : failed + 1);
      slices.push(slice);
      listener.onSlice(slice, rounds * pace.starts);
    }
  }
  return slices;
}

async function takeTurn(workload: WorkloadName, entrant: Entrant, pace: Pace, round: number): Promise<Slice> {
  const slice = { workload, contender: entrant.contender, round };
  try {
    return { ...slice, figures: await WORKLOADS[workload].drive(entrant, pace) };
  } catch (error) {
    entrant.place.signal.throwIfAborted();
    return { ...slice, error: sentenceOf(error) };
  }
}

/** Starts a contender with a server behind it; the stack takes both, or neither if one of them fails. */
async function enter(
  name: WorkloadName,
  contender: ContenderName,
  startNumber: number,
  place: Place,
  stack: AsyncDisposableStack,
): Promise<Entrant> {
  const { backend, workers, isBulk = false } = WORKLOADS[name];
  const { tool, start } = CONTENDERS[contender];
  if (tool !== undefined && !(tool in place.tools)) throw new Error(`${tool} is not there`);
  await using own = new AsyncDisposableStack();
  const process = `${name}-${contender}-${startNumber}`;
  const { port: backendPort } = own.use(await BACKENDS[backend].start(place, process, workers));
  const { port, pid } = own.use(await start({ place, name: process, backendPort, workers, isBulk }));
  stack.use(own.move());
  return { place, contender, port, pid };
}

/** What went wrong, or undefined. Throws only if the user wants an end. */
async function attempt(act: () => Promise<void>, { signal }: Place): Promise<unknown> {
  try {
    await act();
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    return error;
  }
}

function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
