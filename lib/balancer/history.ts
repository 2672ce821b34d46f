/**
 * The last generations of a state, each in a file of its own in a folder beside the state file, for `history` and `undo`. An entry
 * is in its place once the state itself is on disk, so the history has no generation that the state never had. A fault of the
 * history is told of, and keeps neither a change nor a start from being made.
 */

import { LIMITS } from "../values/config.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { ifMissing, kindOf } from "../values/plain_file.ts";
import type { SavedState } from "../values/saved_state.ts";
import {
  type Fault,
  formatSealed,
  inspectSealed,
  isRecord,
  joinBytes,
  putInPlace,
  removeLeftover,
  type SealedFormat,
  syncFolder,
  writeBeside,
} from "./sealed_file.ts";
import { faultOfState } from "./state_faults.ts";
import { stateJson } from "./state_json.ts";

/** A generation as `history` lists it. */
export interface Generation {
  readonly generation: number;
  /** When it began. */
  readonly at: Date;
  /** Who made it, and by which change: one line, such as `add server 10.0.0.1:80 to web`. */
  readonly who: string;
  readonly what: string;
  /** Open connections that the change moved to another server; undefined where it was not counted. */
  readonly moved?: number;
}

/** A generation and its state, which has the number. */
export interface HistoryEntry extends Omit<Generation, "generation"> {
  readonly state: SavedState;
}

/** Generations that are kept. */
export const GENERATIONS_MAX = 20;

/** An entry in its file. The time is ISO 8601, UTC. */
type SavedEntry = Omit<HistoryEntry, "at"> & { readonly at: string };

const ENTRY: SealedFormat = {
  what: "history file",
  format: "balancer-history",
  version: 1,
  bytesMax: LIMITS.stateFileBytesMax + 64 * 1024, // a state, and who made it
  field: "entry",
  faultOf: faultOfEntry,
};

const ENTRY_FIELDS: readonly string[] = ["at", "who", "what", "moved", "state"] satisfies (keyof SavedEntry)[];

/** The folder of the history that belongs to a state file. */
export function historyPath(statePath: string): string {
  return `${statePath.replace(/\.json$/, "")}.history`;
}

/** The history of one state. One process at a time uses a folder. */
export class History {
  readonly #folder: string;
  readonly #warn: (sentence: string) => void;
  /** What is in the folder, in ascending order. */
  #generations: number[];
  /** What was read or written, by generation; undefined where the file cannot be used. */
  readonly #known = new Map<number, Generation | undefined>();
  #lastWrite: Promise<void> = Promise.resolve();
  #isFailing = false;

  private constructor(folder: string, generations: number[], warn: (sentence: string) => void) {
    this.#folder = folder;
    this.#generations = generations;
    this.#warn = warn;
  }

  /**
   * Opens the history of a state with this generation; 0 for a state that has none: there was no file that could be used, or an old
   * one. Later generations than the state's are of another past, as where a backup of the state was restored: they are moved to a
   * folder beside this one. `warn` gets a sentence for everything that is wrong. Never rejects.
   */
  static async open(folder: string, generation: number, warn: (sentence: string) => void): Promise<History> {
    try {
      const generations = await findGenerations(folder);
      const later = generation === 0 ? [] : generations.filter((one) => one > generation);
      if (later.length > 0) warn(await keepLaterAside(folder, generation, later));
      return new History(folder, generations.slice(0, generations.length - later.length), warn);
    } catch (error) {
      warn(`Cannot read the history in ${JSON.stringify(folder)}: ${messageOf(error)}; earlier generations cannot be restored`);
      return new History(folder, [], warn);
    }
  }

  /** The last generation that there is an entry of; 0 if there is none. */
  get last(): number {
    return this.#generations.at(-1) ?? 0;
  }

  /**
   * Makes sure that the history has the state that the balancer begins with, so that the first change can be undone. Gives the
   * state with its generation: one that had none continues the history. Never rejects.
   */
  async begin(state: SavedState, at: Date): Promise<SavedState> {
    const generation = state.generation === 0 ? this.last : state.generation;
    const before = this.#generations.includes(generation) ? await this.#read(generation) : undefined;
    if (before !== undefined && "entry" in before && isSame(before.entry.state, state)) return { ...state, generation };
    const begun = state.generation === 0 ? { ...state, generation: this.last + 1 } : state;
    await this.record({ at, who: "balancer", what: "found at the start", state: begun });
    return begun;
  }

  /**
   * Adds the generation that a change has made, and drops the oldest. `saving`: the state is being saved; the entry goes to disk at
   * the same time, and to its place once the state is saved. Resolves when it is on disk, or when a warning said why it is not, or
   * when the state could not be saved; never rejects. One write after another.
   */
  record(entry: HistoryEntry, saving: Promise<void> = Promise.resolve()): Promise<void> {
    const saved = saving.then(() => true, () => false);
    return this.#lastWrite = this.#lastWrite.then(() => this.#write(entry, saved)).then(() => {
      this.#isFailing = false;
    }, (error) => {
      const where = JSON.stringify(this.#folder);
      if (!this.#isFailing) this.#warn(`Cannot keep the history in ${where}: ${messageOf(error)}; new changes cannot be undone`);
      this.#isFailing = true; // said once, until it succeeds again
    });
  }

  /** The generations that can be restored, the last one first. A warning tells of each file that cannot be used, once. */
  async list(): Promise<Generation[]> {
    await this.#lastWrite;
    const found: Generation[] = [];
    for (const generation of this.#generations.toReversed()) {
      if (!this.#known.has(generation)) await this.#learn(generation);
      const known = this.#known.get(generation);
      if (known !== undefined) found.push(known);
    }
    return found;
  }

  /** The state of a generation. Throws an operator error if there is no such entry, or if its file cannot be used. */
  async load(generation: number): Promise<SavedState> {
    await this.#lastWrite;
    const cannot = `Cannot restore generation ${generation}`;
    const wayOut = "balancerctl history lists those that there are";
    if (!this.#generations.includes(generation)) {
      throw new OperatorError("unknown", `${cannot}: it is not in the history; ${wayOut}`);
    }
    const read = await this.#read(generation);
    const fault = "entry" in read ? faultOfState(read.entry.state) : read;
    if ("entry" in read && fault === undefined) return read.entry.state;
    throw new OperatorError("failed", `${cannot}: its file cannot be used: ${fault!.why}; ${wayOut}`);
  }

  async #learn(generation: number): Promise<void> {
    const read = await this.#read(generation);
    if (!this.#generations.includes(generation)) return; // it was dropped meanwhile
    this.#known.set(generation, "entry" in read ? toGeneration(read.entry) : undefined);
    if ("entry" in read) return;
    const path = JSON.stringify(this.#pathOf(generation));
    this.#warn(`The history file ${path} cannot be used: ${read.why}; generation ${generation} cannot be restored`);
  }

  async #read(generation: number): Promise<{ readonly entry: HistoryEntry } | Fault> {
    const found = await inspectSealed(this.#pathOf(generation), ENTRY).catch((error) => ({ why: messageOf(error) }));
    if (found === undefined) return { why: "it does not exist" };
    if (!("content" in found)) return found;
    const { at, ...rest } = found.content as SavedEntry;
    if (rest.state.generation !== generation) return { why: `it has generation ${rest.state.generation}` };
    return { entry: { at: new Date(at), ...rest } };
  }

  async #write(entry: HistoryEntry, saved: Promise<boolean>): Promise<void> {
    const { generation } = entry.state;
    const written = await this.#writeBeside(entry).then(() => undefined, (error) => ({ error }));
    if (!await saved) return; // the next entry has the same number, and is written over this one
    if (written !== undefined) throw written.error;
    await putInPlace(this.#pathOf(generation), "synced");
    this.#known.set(generation, toGeneration(entry));
    const all = [...new Set([...this.#generations, generation])].toSorted((a, b) => a - b);
    this.#generations = all.slice(-GENERATIONS_MAX);
    for (const dropped of all.slice(0, -GENERATIONS_MAX)) {
      this.#known.delete(dropped);
      await removeLeftover(this.#pathOf(dropped));
    }
  }

  async #writeBeside(entry: HistoryEntry): Promise<void> {
    if (await makeFolder(this.#folder)) await syncFolder(this.#folder); // the folder that it is in
    await writeBeside(this.#pathOf(entry.state.generation), await formatSealed(ENTRY, entryJson(entry)), "synced");
  }

  #pathOf(generation: number): string {
    return pathOf(this.#folder, generation);
  }
}

function pathOf(folder: string, generation: number): string {
  return `${folder}/${generation}.json`;
}

/** The generations in a folder, in ascending order. Removes what a killed balancer did not finish. */
async function findGenerations(folder: string): Promise<number[]> {
  const info = await Deno.stat(folder).catch(ifMissing(undefined));
  if (info === undefined) return [];
  if (!info.isDirectory) throw new Error(`it is ${kindOf(info)} and must be a folder`);
  const generations: number[] = [];
  for (const { name } of await Array.fromAsync(Deno.readDir(folder))) {
    const [, digits, rest] = /^([1-9][0-9]{0,14})\.json(.*)$/.exec(name) ?? [];
    if (rest === "") generations.push(Number(digits));
    if (rest === ".new") await removeLeftover(`${folder}/${name}`);
  }
  return generations.toSorted((a, b) => a - b);
}

/** Gives a warning that says where they are now. */
async function keepLaterAside(folder: string, generation: number, later: readonly number[]): Promise<string> {
  const aside = `${folder}.aside-${new Date().toISOString().replaceAll(":", "")}`;
  await makeFolder(aside);
  for (const one of later) await Deno.rename(pathOf(folder, one), pathOf(aside, one));
  return `The state file has generation ${generation}, and the history has later ones, up to ${later.at(-1)}: ` +
    `they are of another past, and were moved to ${JSON.stringify(aside)}`;
}

/** Returns false if the folder existed. */
async function makeFolder(path: string): Promise<boolean> {
  try {
    await Deno.mkdir(path, { mode: 0o700 });
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw error;
  }
}

function toGeneration({ state: { generation }, at, who, what, moved }: HistoryEntry): Generation {
  return { generation, at, who, what, ...(moved === undefined ? {} : { moved }) };
}

/** An entry as JSON. The state has been put into words for its own file. */
function entryJson({ state, ...note }: HistoryEntry): Uint8Array {
  const head = JSON.stringify({ ...note, at: note.at.toISOString() }).slice(0, -"}".length);
  return joinBytes([new TextEncoder().encode(`${head},"state":`), stateJson(state), new TextEncoder().encode("}")]);
}

/** Whether two states are the same but for their numbers. */
function isSame(one: SavedState, other: SavedState): boolean {
  return JSON.stringify([one.services, one.daemon ?? {}]) === JSON.stringify([other.services, other.daemon ?? {}]);
}

function faultOfEntry(entry: unknown): Fault | undefined {
  if (!isRecord(entry)) return { why: "its entry is not an object" };
  const stranger = Object.keys(entry).find((field) => !ENTRY_FIELDS.includes(field));
  if (stranger !== undefined) {
    return { why: `it has the field ${JSON.stringify(stranger)}, which this program does not know`, isNewer: true };
  }
  const { at, who, what, moved, state } = entry;
  const isTime = typeof at === "string" && !Number.isNaN(Date.parse(at));
  if (!isTime || typeof who !== "string" || typeof what !== "string" || !["number", "undefined"].includes(typeof moved)) {
    return { why: "it does not say when, by whom and how the generation was made" };
  }
  return isRecord(state) ? undefined : { why: "it has no state" }; // only a state that is restored must be right
}
