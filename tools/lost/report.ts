/** What was found, as tables for people and as JSON for programs. Pure: it is given all that it says. */

import { filled, markdownTable } from "../bench/report.ts";
import { type State, STATES } from "./client.ts";
import type { Contender } from "./contenders.ts";
import { LOSSES, type LossName } from "./losses.ts";
import type { Options } from "./options.ts";
import { countLost, type Outcomes, type Round, sumOutcomes, sumRounds } from "./rounds.ts";

/** All rounds of one contender and one loss, or a sentence that says why there are none. */
export interface Row {
  readonly contender: Pick<Contender, "title" | "level">;
  readonly loss: LossName;
  readonly rounds: readonly Round[];
  readonly error?: string;
}

/** All that was done. */
export interface Run {
  readonly date: string;
  readonly options: Options;
  readonly versions: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
}

interface Sums {
  readonly row: Row;
  readonly round: Round;
  /** Of those whom losses concerned, whatever they were doing. */
  readonly all: Outcomes;
  readonly clients: number;
}

/** The columns of the table: a heading, and the cell of a row. */
const COLUMNS: readonly (readonly [heading: string, cell: (sums: Sums) => string])[] = [
  ["Contender", ({ row }) => row.contender.title],
  ["Level", ({ row }) => row.contender.level],
  ["Loss", ({ row }) => row.loss],
  ["Rounds", ({ row }) => String(row.rounds.length)],
  ["Clients concerned", ({ clients }) => String(clients)],
  ["Noticed nothing", ({ all, clients }) => formatShare(all.kept + all.moved, clients)],
  ["Stayed", ({ all }) => String(all.kept)],
  ["Moved", ({ all }) => String(all.moved)],
  ["Reset", ({ all }) => String(all.reset)],
  ["Ended", ({ all }) => String(all.ended)],
  ["Wrong", ({ all }) => String(all.wrong)],
  ["Missing", ({ all }) => String(all.missing)],
  ["Asked twice", ({ round }) => String(round.repeated)],
  ["Others lost", ({ round }) => String(countLost(round.others) + round.strays)],
  ["With the old process", ({ row, round }) => LOSSES[row.loss].what === "balancer" ? String(round.withOld) : "–"],
  ["Newcomers turned away", ({ round: { newcomers: { served, turnedAway } } }) => formatPart(turnedAway, served + turnedAway)],
  ["Slowest move", ({ all, round }) => all.moved === 0 ? "–" : `${(round.slowestMs / 1000).toFixed(2)} s`],
];

const STATE_NAMES = Object.keys(STATES) as State[];

/** The table: a line for each contender and loss. */
export function lossTable(rows: readonly Row[]): string {
  const lines = rows.filter(({ error }) => error === undefined).map(sumsOf).map((sums) => COLUMNS.map(([, cell]) => cell(sums)));
  return markdownTable(COLUMNS.map(([heading]) => heading), lines);
}

/** Of those whom losses concerned, how many noticed nothing, by what they were doing. */
export function stateTable(rows: readonly Row[]): string {
  const lines = rows.filter(({ error }) => error === undefined).map(sumsOf).map(({ row, round }) => {
    const cells = STATE_NAMES.map((state) => {
      const outcomes = round.lost[state];
      return formatPart(outcomes.kept + outcomes.moved, sizeOf(outcomes));
    });
    return [row.contender.title, row.contender.level, row.loss, ...cells];
  });
  return markdownTable(["Contender", "Level", "Loss", ...STATE_NAMES], lines);
}

/** All of it, for people. */
export function reportMarkdown(run: Run): string {
  const { options: { clients, servers, rounds, mode, seed }, versions, date } = run;
  const about = `${date}, Linux ${Deno.osRelease()}, ${navigator.hardwareConcurrency} cores, over loopback: ${clients} clients, each
    with a connection from an address of its own (${mode}), ${servers} servers, ${rounds} rounds, seed ${seed};
    ${Object.entries(versions).map((words) => words.join(" ")).join(", ")}. In each round one loss:`;
  const losses = [...new Set(run.rows.map(({ loss }) => loss))];
  const sections = [
    `# Clients of lost servers and of replaced balancers`,
    filled(about.trim()),
    losses.map((name) => filled(`- ${name}: ${LOSSES[name].summary}`, "  ")).join("\n"),
    lossTable(run.rows),
    `How many noticed nothing, by what they were doing just before:`,
    stateTable(run.rows),
    STATE_NAMES.map((name) => filled(`- ${name}: ${STATES[name]}`, "  ")).join("\n"),
    notesOf(run.rows).map((note) => filled(`- ${note}`, "  ")).join("\n"),
  ];
  return `${sections.filter((section) => section !== "").join("\n\n")}\n`;
}

/** All of it, for programs. */
export function reportJson(run: Run): string {
  return `${JSON.stringify({ format: 1, ...run }, null, 2)}\n`;
}

/** What must not be, and who could not be measured, in sentences. */
export function notesOf(rows: readonly Row[]): string[] {
  return rows.flatMap((row) => {
    const faults = row.error === undefined ? sumRounds(row.rounds).faults : [row.error];
    return faults.map((fault) => `${nameOf(row)}: ${fault}`);
  });
}

/** One line about a row, for whoever waits. */
export function describeRow(row: Row, tookMs: number): string {
  if (row.error !== undefined) return `${nameOf(row)}: ${row.error}`;
  const { clients, all } = sumsOf(row);
  const took = `${row.rounds.length} rounds in ${(tookMs / 1000).toFixed(0)} s`;
  return `${nameOf(row)}: ${took}; of ${clients} clients ${all.kept + all.moved} noticed nothing`;
}

function nameOf({ contender: { title, level }, loss }: Row): string {
  return `${title}${level === "–" ? "" : `, ${level}`}, ${loss}`;
}

function sumsOf(row: Row): Sums {
  const round = sumRounds(row.rounds);
  const all = sumOutcomes(Object.values(round.lost));
  return { row, round, all, clients: sizeOf(all) };
}

function sizeOf(outcomes: Outcomes): number {
  return Object.values(outcomes).reduce((sum, count) => sum + count, 0);
}

/** All but one of many are not 100 %. */
function formatShare(part: number, whole: number): string {
  return whole === 0 ? "–" : `${(Math.floor(part / whole * 1000) / 10).toFixed(1)} %`;
}

function formatPart(part: number, whole: number): string {
  return whole === 0 ? "–" : `${part} of ${whole}`;
}
