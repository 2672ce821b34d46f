/** The command line of the tool. */

import { parseArgs } from "@std/cli";
import type { Manner } from "./client.ts";
import { ENGINE_NAMES, LEVELS } from "./configurations.ts";
import { FAMILY_NAMES, type FamilyName, type OurChoice } from "./contenders.ts";
import { LOSS_NAMES, LOSSES, type LossName } from "./losses.ts";
import type { ServerTraits } from "./server_process.ts";

/** How clients and servers behave, by a name. Quiet is as long as ours takes it to be. */
export const MODES: Readonly<Record<"calm" | "busy", { readonly manner: Manner; readonly traits: ServerTraits }>> = {
  /** Most are idle. Thinking is longer than quiet, so that every exchange stands alone. */
  calm: {
    manner: { thinkMs: [300, 1000], quietMs: 250, patienceMs: 5000, paddingMax: 1000 },
    traits: { serviceMs: 40, splitMs: 40 },
  },
  /** Most are waiting. */
  busy: {
    manner: { thinkMs: [0, 0], quietMs: 250, patienceMs: 5000, paddingMax: 1000 },
    traits: { serviceMs: 100, splitMs: 40 },
  },
};

/** A key of MODES. */
export type ModeName = keyof typeof MODES;

/** What the user wants. */
export interface Options {
  readonly families: readonly FamilyName[];
  readonly ours: OurChoice;
  readonly losses: readonly LossName[];
  readonly rounds: number;
  readonly clients: number;
  readonly servers: number;
  readonly mode: ModeName;
  readonly seed: number;
  readonly out: string;
  /** Run `dist/balancer` and not the checkout. */
  readonly isCompiled: boolean;
  /** Run ours without the flags that are about lost servers. */
  readonly isPlain: boolean;
  readonly wantsHelp: boolean;
}

/** Numbers beyond these are mistakes of typing. */
const MAX = { rounds: 10_000, clients: 5000, servers: 20, seed: 999_999 } as const;
const FULL = { rounds: 20, clients: 500, servers: 5, seed: 1 } as const;
/** Half a minute for a contender and a loss that only hang, seconds for others: does it work at all? */
const QUICK = { rounds: 3, clients: 200 } as const;
const MODE_NAMES = Object.keys(MODES) as ModeName[];

/** The help. */
export const HELP =
  `Count what becomes of clients when one of the servers behind a balancer is lost, or the balancer itself is replaced, over
loopback.

Usage: deno task lost [options]

  --rounds N         rounds for each contender and loss (${FULL.rounds})
  --clients N        clients, each with a connection of its own (${FULL.clients})
  --servers N        servers (${FULL.servers})
  --mode MODE        calm: clients think between requests; busy: they do not (calm)
  --only NAME,NAME   these contenders alone: ${FAMILY_NAMES.join(", ")}
  --engine NAME      of ours, these engines alone: ${ENGINE_NAMES.join(", ")}
  --level NAME       of ours, these levels alone: ${LEVELS.join(", ")}
  --loss NAME,NAME   these losses alone:
${LOSS_NAMES.map((name) => `                       ${name.padEnd(8)}${LOSSES[name].summary}`).join("\n")}
  --plain            ours without the flags that are about lost servers
  --checkout         ours by this checkout, and not dist/balancer
  --seed N           for other chances (${FULL.seed})
  --out FOLDER       where lost.md and lost.json go (dist/lost)
  --quick            ${QUICK.rounds} rounds and ${QUICK.clients} clients`;

const FLAGS = ["quick", "plain", "checkout", "help"] as const;
const VALUES = ["rounds", "clients", "servers", "mode", "only", "engine", "level", "loss", "seed", "out"] as const;

/** Reads the command line. Throws a sentence for the first mistake. */
export function parseOptions(argv: readonly string[], defaultOut: string): Options {
  const parsed = parseArgs([...argv], { boolean: FLAGS, string: VALUES, unknown: refuse });
  const text = (name: typeof VALUES[number]) => parsed[name] as string | undefined;
  const pace = parsed.quick ? { ...FULL, ...QUICK } : FULL;
  const number = (name: keyof typeof MAX) => parseNumber(name, text(name)) ?? pace[name];
  return {
    families: parseNames("Contender", FAMILY_NAMES, text("only")),
    ours: {
      engines: parseNames("Engine", ENGINE_NAMES, text("engine")),
      levels: parseNames("Level", LEVELS, text("level")),
    },
    losses: parseNames("Loss", LOSS_NAMES, text("loss")),
    rounds: number("rounds"),
    clients: number("clients"),
    servers: number("servers"),
    mode: parseNames("Mode", MODE_NAMES, text("mode") ?? "calm")[0],
    seed: number("seed"),
    out: text("out") ?? defaultOut,
    isCompiled: parsed.checkout !== true,
    isPlain: parsed.plain === true,
    wantsHelp: parsed.help === true,
  };
}

function refuse(arg: string): never {
  throw new Error(`${JSON.stringify(arg)} is no option of the tool; see --help`);
}

function parseNumber(name: keyof typeof MAX, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const number = /^[0-9]{1,6}$/.test(text) ? Number(text) : NaN;
  const min = name === "servers" ? 2 : 1;
  if (number >= min && number <= MAX[name]) return number;
  throw new Error(`--${name} ${JSON.stringify(text)} is not a whole number from ${min} to ${MAX[name]}`);
}

/** The names of a list, in the order of all; all if there is no list. */
function parseNames<T extends string>(what: string, all: readonly T[], text: string | undefined): readonly T[] {
  if (text === undefined) return all;
  const wanted = text.split(",");
  const stranger = wanted.find((name) => !all.some((known) => known === name));
  if (stranger !== undefined) throw new Error(`${what} ${JSON.stringify(stranger)} is not one of ${all.join(", ")}`);
  return all.filter((name) => wanted.includes(name));
}
