/**
 * `deno task lost`: counts what becomes of request-and-answer clients when one of the servers behind a balancer is lost, or the
 * balancer itself is replaced, for ours at every level, for HAProxy and for nginx. Here is the order of events; who takes part
 * stands in contenders.ts, what happens to servers and balancers in losses.ts, and what a round is in rounds.ts.
 */

// deno-lint-ignore-file no-console -- a tool speaks to its user

import deno from "../../deno.json" with { type: "json" };
import { makePlace, type Place, ROOT } from "../bench/place.ts";
import { findTools, type Tools } from "../bench/tools.ts";
import { CHECKS, type Checks } from "./configurations.ts";
import { type Contender, contendersOf, knownFlags } from "./contenders.ts";
import type { LossName } from "./losses.ts";
import { HELP, MODES, type Options, parseOptions } from "./options.ts";
import { Random } from "../random.ts";
import { describeRow, lossTable, notesOf, reportJson, reportMarkdown, type Row, type Run, stateTable } from "./report.ts";
import { type Round, runRounds } from "./rounds.ts";
import { startServers } from "./server_process.ts";

/** The exit code of a program that was interrupted, by custom 128 + SIGINT. */
const EXIT_INTERRUPTED = 130;

/** What a balancer needs for a client; the tool itself needs one. Each process has the limit for itself. */
const DESCRIPTORS_PER_CLIENT = 2;

async function main(argv: readonly string[]): Promise<number> {
  if (Deno.build.os !== "linux") throw new Error("The tool reads /proc, which is Linux's");
  const options = parseOptions(argv, `${ROOT}dist/lost`);
  if (options.wantsHelp) {
    console.log(HELP);
    return 0;
  }
  const tools = await findTools();
  const { signal } = stopWhenAsked();
  try {
    const rows = await measure(options, tools, signal);
    await report({ date: new Date().toISOString().slice(0, 10), options, versions: versionsOf(tools), rows });
    return notesOf(rows).length === 0 ? 0 : 1;
  } catch (error) {
    if (!signal.aborted) throw error;
    console.error("Interrupted: nothing is written");
    return EXIT_INTERRUPTED;
  }
}

/** All contenders with all losses, one after the other. Rejects only if nothing can be measured or the user wants an end. */
async function measure(options: Options, tools: Tools, signal: AbortSignal): Promise<Row[]> {
  await using place = await makePlace(tools, options, signal);
  if (place.openFiles < options.clients * DESCRIPTORS_PER_CLIENT) throw new Error("The limit on open files is too low: ulimit -n");
  const known = options.isPlain || !options.families.includes("balancer") ? new Set<string>() : await knownFlags(place);
  const rows: Row[] = [];
  for (const contender of contendersOf(options.families, options.ours, known)) {
    for (const loss of options.losses) {
      if (!contender.losses.includes(loss)) continue;
      const startedMs = performance.now();
      const row = await measureRow(contender, loss, rows.length, place, options);
      rows.push(row);
      console.error(describeRow(row, performance.now() - startedMs));
    }
  }
  return rows;
}

/** One contender and one loss, with servers of its own. What stops it is its error, unless the user wants an end. */
async function measureRow(contender: Contender, loss: LossName, index: number, place: Place, options: Options): Promise<Row> {
  const done: Round[] = [];
  try {
    if (contender.tool !== undefined && !(contender.tool in place.tools)) throw new Error(`${contender.tool} is not there`);
    await playRow({ contender, loss, name: `lost-${index}`, checks: CHECKS }, place, options, done);
    return { contender: named(contender), loss, rounds: done };
  } catch (error) {
    place.signal.throwIfAborted();
    const why = error instanceof Error ? error.message : String(error);
    return { contender: named(contender), loss, rounds: done, error: `after ${done.length} rounds: ${why}` };
  }
}

/** A contender that is met by this loss, under a name of its own. */
export interface Play {
  readonly contender: Contender;
  readonly loss: LossName;
  readonly name: string;
  readonly checks: Checks;
}

/** Plays the rounds of a row with the options' servers and clients, and adds each to `done`. Rejects as runRounds() does. */
export async function playRow(
  { contender, loss, name, checks }: Play,
  place: Place,
  { clients, rounds, seed, mode, servers: count }: Options,
  done: Round[],
): Promise<void> {
  const { signal } = place;
  const { manner, traits } = MODES[mode];
  const folder = await place.subfolder(`${name}-servers`);
  await using servers = await startServers({ count, folder, traits, random: new Random(seed), signal });
  await using balancer = await contender.start({ place, name, servers: servers.list.map(({ address }) => address), checks });
  const { mayRepeat } = contender;
  const onRound = (round: Round) => void done.push(round);
  await runRounds({ balancer, servers: servers.list, loss, rounds, clients, manner, seed, mayRepeat, signal, onRound });
}

async function report(run: Run): Promise<void> {
  const { rows, options: { out } } = run;
  await Deno.mkdir(out, { recursive: true });
  await Deno.writeTextFile(`${out}/lost.md`, reportMarkdown(run));
  await Deno.writeTextFile(`${out}/lost.json`, reportJson(run));
  console.log(`${lossTable(rows)}\n\n${stateTable(rows)}`);
  for (const note of notesOf(rows)) console.error(note);
  console.error(`Wrote lost.md and lost.json to ${out}`);
}

function named({ title, level }: Contender): Row["contender"] {
  return { title, level };
}

function versionsOf({ haproxy, nginx }: Tools): Record<string, string> {
  const rivals = Object.entries({ HAProxy: haproxy, nginx }).flatMap(([name, tool]) =>
    tool === undefined ? [] : [[name, tool.version]]
  );
  return { balancer: deno.version, Deno: Deno.version.deno, ...Object.fromEntries(rivals) };
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
