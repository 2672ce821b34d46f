/**
 * The contenders: one row each. How a contender is started between a port and the server behind it, what it is told, where it takes
 * part, and how reports and the chart show it. Everything else that names contenders reads this table and COMPARISONS.
 */

import { type Backend, listening, nginxCommand } from "./backends.ts";
import {
  balancerArguments,
  type EngineName,
  haproxyConfiguration,
  nginxConfiguration,
  webConfiguration,
  type Wiring,
} from "./configurations.ts";
import { compileProgram } from "./compile.ts";
import { floorCommand } from "./floor.ts";
import type { Place, Programs } from "./place.ts";
import { freePort, runTool, Service } from "./processes.ts";
import { type ToolName, TOOLS } from "./tools.ts";
import { startViewers } from "./viewers.ts";

/** How long `balancerctl add` may take, unpacking included. */
const ADD_MAX_MS = 20_000;

/** Who watches the contender `watched`. */
const VIEWERS = 2;

/** What a contender is started with. */
export interface Setting {
  readonly place: Place;
  /** Unlike that of any other process of the run: for files, and as a balancer's `--name`. */
  readonly name: string;
  readonly backendPort: number;
  /** Where the same server expects a PROXY header, if it can. */
  readonly backendProxyPort?: number;
  readonly workers: number;
  readonly isBulk: boolean;
}

/** A contender that runs: where clients connect, and whose CPU counts. */
export interface Running extends Backend {
  readonly pid?: number;
}

/** What a workload may ask of a contender: two workers, long streams of bytes, a process to look at. */
export type Ability = "workers" | "bulk" | "process";

interface Contender {
  /** For tables. */
  readonly title: string;
  /** For ratios: `epoll / HAProxy`. */
  readonly short: string;
  /** The program without which it cannot run. */
  readonly tool?: ToolName;
  /** It has no part in workloads that ask for one of these. */
  readonly lacks: readonly Ability[];
  /** It has a turn in the first of so many rounds (1): where a figure need not be exact, time is saved. */
  readonly onceIn?: number;
  /** It takes part only where it is named: it answers a question of its own. */
  readonly isOnDemand?: true;
  /** What it is told, for the report, and the ending of that file's name. */
  readonly told?: { readonly ending: string; text(wiring: Wiring, loadModule: string): string };
  /** Its bar in the chart: the colours stand out from both backgrounds, and from each other in lightness too. */
  readonly bar?: { readonly light: string; readonly dark: string };
  start(setting: Setting): Promise<Running>;
}

const ROWS = {
  direct: { title: "direct (no proxy)", short: "direct", lacks: ["process"], onceIn: 4, start: startDirect },
  epoll: {
    title: "balancer, epoll",
    short: "epoll",
    lacks: [],
    told: toldOurs("epoll"),
    bar: { light: "#0b5cad", dark: "#6cb2ff" },
    start: (setting: Setting) => startOurs("epoll", setting.place.programs, setting),
  },
  again: {
    title: "balancer, epoll (once more)",
    short: "again",
    lacks: [],
    start: (setting: Setting) => startOurs("epoll", setting.place.programs, setting),
  },
  before: {
    title: "balancer, epoll (--against)",
    short: "before",
    lacks: [],
    start: startBefore,
  },
  variant: {
    title: "balancer, epoll (--variant)",
    short: "variant",
    lacks: [],
    start: startVariant,
  },
  watched: {
    title: "balancer, epoll (two viewers)",
    short: "watched",
    lacks: [],
    isOnDemand: true,
    start: startWatched,
  },
  floor: {
    title: "floor (C)",
    short: "floor",
    tool: "cc",
    lacks: ["bulk"], // it has no splice(2), without which it is no floor there
    told: { ending: "txt", text: (wiring: Wiring) => `${floorCommand("floor", wiring).join(" ")}\n` },
    bar: { light: "#7b4fc9", dark: "#b594f5" },
    start: startFloor,
  },
  streams: {
    title: "balancer, streams",
    short: "streams",
    lacks: ["workers"],
    onceIn: 2,
    told: toldOurs("streams"),
    bar: { light: "#2f8f83", dark: "#3fa99b" },
    start: (setting: Setting) => startOurs("streams", setting.place.programs, setting),
  },
  haproxy: {
    title: "HAProxy",
    short: "HAProxy",
    tool: "haproxy",
    lacks: [],
    told: { ending: "cfg", text: haproxyConfiguration },
    bar: { light: "#8c8f94", dark: "#7d838b" },
    start: startHaproxy,
  },
  nginx: {
    title: "nginx",
    short: "nginx",
    tool: "nginx",
    lacks: [],
    told: { ending: "conf", text: nginxConfiguration },
    bar: { light: "#c2741d", dark: "#e0a050" },
    start: startNginx,
  },
} satisfies Record<string, Contender>;

/** A row of CONTENDERS. */
export type ContenderName = keyof typeof ROWS;

/** Every contender, in the order of their turns. Neighbours are compared best: little time passes between their turns. */
export const CONTENDERS: Readonly<Record<ContenderName, Contender>> = ROWS;

/** The names of the contenders, in order. */
export const CONTENDER_NAMES: readonly ContenderName[] = Object.keys(CONTENDERS) as ContenderName[];

/** Two contenders, one of which is divided by the other. */
export interface Pair {
  readonly of: ContenderName;
  readonly against: ContenderName;
  /** In the short table as well. */
  readonly isShort?: boolean;
}

/** Who is divided by whom, in the order of rows and columns. */
export const COMPARISONS: readonly Pair[] = [
  { of: "epoll", against: "haproxy", isShort: true },
  { of: "epoll", against: "nginx", isShort: true },
  { of: "epoll", against: "floor", isShort: true },
  { of: "epoll", against: "before", isShort: true },
  { of: "epoll", against: "again", isShort: true },
  { of: "variant", against: "epoll", isShort: true },
  { of: "watched", against: "epoll", isShort: true },
  { of: "streams", against: "haproxy", isShort: true },
  { of: "nginx", against: "haproxy" },
  { of: "floor", against: "haproxy" },
  { of: "haproxy", against: "floor" },
];

/** Those that are programs of others, under their own names: their versions are told. */
export const RIVALS: readonly ContenderName[] = CONTENDER_NAMES.filter((name) => name in TOOLS);

/** The contenders that can do what a workload asks for, in order. */
export function contendersWith(abilities: readonly Ability[]): ContenderName[] {
  return CONTENDER_NAMES.filter((name) => !CONTENDERS[name].lacks.some((ability) => abilities.includes(ability)));
}

/** A pair as it heads a row or a column. */
export function pairHeading({ of, against }: Pair): string {
  return `${CONTENDERS[of].short} / ${CONTENDERS[against].short}`;
}

/** What all are told, by the name of a file, for the report: with ports 8080 and 8000 in place of those of a run. */
export function exampleConfigurations(openFiles: number, loadModule: string): Record<string, string> {
  const wiring = { port: 8080, backendPort: 8000, workers: 1, openFiles, isBulk: false };
  const texts = [1, 2].flatMap((workers) => [
    ...toldTexts({ ...wiring, workers }, loadModule, String(workers)),
    [`web-${workers}.conf`, webConfiguration({ ...wiring, port: 8000, proxyPort: 8001, workers })],
  ]);
  const known = new Set(texts.map(([, text]) => text));
  const bulk = toldTexts({ ...wiring, isBulk: true }, loadModule, "1-bulk").filter(([, text]) => !known.has(text));
  return Object.fromEntries([...texts, ...bulk]);
}

function toldTexts(wiring: Wiring, loadModule: string, suffix: string): [file: string, text: string][] {
  return contendersWith(abilitiesFor(wiring)).flatMap((name) => {
    const { told } = CONTENDERS[name];
    return told === undefined ? [] : [[`${name}-${suffix}.${told.ending}`, told.text(wiring, loadModule)]];
  });
}

/** What a workload that is wired like this asks of a contender. */
export function abilitiesFor({ workers, isBulk }: Pick<Wiring, "workers" | "isBulk">): Ability[] {
  return [...workers > 1 ? ["workers" as const] : [], ...isBulk ? ["bulk" as const] : []];
}

function toldOurs(engine: EngineName): Contender["told"] {
  return { ending: "txt", text: (wiring: Wiring) => `balancer ${balancerArguments(engine, wiring).join(" ")}\n` };
}

function startDirect({ backendPort }: Setting): Promise<Running> {
  return Promise.resolve({ port: backendPort, [Symbol.asyncDispose]: () => Promise.resolve() });
}

/** Ours prints its address when clients can connect; its server is added over its control socket. */
async function startOurs(
  engine: EngineName,
  programs: Programs,
  { place, name, backendPort, workers }: Setting,
  flags: readonly string[] = [],
): Promise<Running> {
  const { env, signal, folder } = place;
  await using stack = new AsyncDisposableStack();
  const words = [...programs.balancer, ...balancerArguments(engine, { port: freePort(), workers }), "--name", name, ...flags];
  const service = stack.use(new Service({ words, env, cwd: folder }));
  const port = Number((await service.line(1, signal)).replace(/^.*:/, ""));
  const add = [...programs.balancerctl, "add", "127.0.0.1", String(backendPort), "--name", name];
  await runTool({ words: add, env, cwd: folder }, { maxMs: ADD_MAX_MS, signal });
  const kept = stack.move();
  return { port, pid: service.pid, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function startBefore(setting: Setting): Promise<Running> {
  const { programsBefore } = setting.place;
  if (programsBefore === undefined) throw new Error("--against does not name a folder");
  return await startOurs("epoll", programsBefore, setting);
}

/** Ours with the settings of --variant, in front of a server that expects a PROXY header if one of them is --proxy. */
async function startVariant(setting: Setting): Promise<Running> {
  const { variant = [], programs } = setting.place;
  const hasHeader = variant.includes("--proxy");
  if (hasHeader && setting.backendProxyPort === undefined) throw new Error("the server of this workload reads no PROXY header");
  const backendPort = hasHeader ? setting.backendProxyPort! : setting.backendPort;
  return await startOurs("epoll", programs, { ...setting, backendPort }, variant);
}

/** Ours while people watch it. Their dashboards are processes of their own, which do not count. */
async function startWatched(setting: Setting): Promise<Running> {
  await using stack = new AsyncDisposableStack();
  const { port, pid } = stack.use(await startOurs("epoll", setting.place.programs, setting));
  stack.use(await startViewers(setting, VIEWERS));
  const kept = stack.move();
  return { port, pid, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function startFloor({ place, ...wiring }: Setting): Promise<Running> {
  const port = freePort();
  const program = await compileProgram("floor", place.workshop);
  return await listening(new Service({ words: floorCommand(program, { ...wiring, port }) }), port, place.signal);
}

async function startHaproxy({ place, name, ...wiring }: Setting): Promise<Running> {
  const port = freePort();
  const path = `${await place.subfolder(name)}/haproxy.cfg`;
  await Deno.writeTextFile(path, haproxyConfiguration({ ...wiring, port, openFiles: place.openFiles }));
  const words = [place.tools.haproxy?.path ?? "haproxy", "-db", "-f", path];
  return await listening(new Service({ words }), port, place.signal);
}

async function startNginx({ place, name, ...wiring }: Setting): Promise<Running> {
  const port = freePort();
  const text = nginxConfiguration({ ...wiring, port, openFiles: place.openFiles }, await place.streamModule());
  return await listening(new Service({ words: await nginxCommand(place, name, text) }), port, place.signal);
}
