/** Where the state of a balancer is kept: its file and its history, or nowhere. */

import { OperatorError } from "../values/errors.ts";
import { EMPTY_STATE, type SavedState } from "../values/saved_state.ts";
import { logger } from "../observe/log.ts";
import { type Generation, History, historyPath } from "./history.ts";
import { loadState, saveState } from "./state_file.ts";

/** What a change was, in a line, and who made it. */
export interface ChangeNote {
  readonly what: string;
  /** Undefined: the balancer itself. */
  readonly who?: string;
  /** Open connections that it was to move; undefined where nobody knows. */
  readonly moved?: number;
}

/** The version of a state file that was not of the one that is written now, and the path of a copy of it. */
type Migrated = NonNullable<Awaited<ReturnType<typeof loadState>>["migrated"]>;

const log = logger("daemon");

/** A place for states. */
export class StateStore {
  readonly #path: string | null;
  readonly #history: History | undefined;
  readonly #migrated: Migrated | undefined;

  private constructor(
    path: string | null,
    history: History | undefined,
    readonly state: SavedState,
    readonly warnings: string[],
    migrated?: Migrated,
  ) {
    this.#path = path;
    this.#history = history;
    this.#migrated = migrated;
  }

  /** Opens the store at `path`; null: nothing is kept. Throws an operator error if the state cannot be read. */
  static async open(path: string | null): Promise<StateStore> {
    if (path === null) return new StateStore(null, undefined, EMPTY_STATE, []);
    const { state, warning, migrated } = await loadState(path);
    const warnings = warning === undefined ? [] : [warning];
    let warn = (sentence: string): void => void warnings.push(sentence);
    const history = await History.open(historyPath(path), state.generation, (sentence) => warn(sentence));
    const begun = await history.begin(state, new Date());
    warn = (sentence) => log.warn(sentence);
    return new StateStore(path, history, begun, warnings, migrated);
  }

  /** Logs that the file was of another version, if it was: it is read before it is known where to log. */
  logMigration(): void {
    if (this.#migrated !== undefined) log.info("Read a state file of version {version}; a copy of it is {copy}", this.#migrated);
  }

  /** Saves a state. Resolves when it is on disk. Throws an operator error; the old state is then intact. */
  async save(state: SavedState, { what, who = "balancer", moved }: ChangeNote): Promise<void> {
    if (this.#path === null) return;
    const saving = saveState(this.#path, state);
    const recorded = this.#history!.record({ at: new Date(), who, what, moved, state }, saving);
    await saving.finally(() => recorded);
  }

  /** The generations that can be restored, the last one first. */
  async list(): Promise<Generation[]> {
    return await this.#history?.list() ?? [];
  }

  /** The state of a generation. Throws an operator error if it cannot be restored. */
  async load(generation: number): Promise<SavedState> {
    if (this.#history !== undefined) return await this.#history.load(generation);
    throw new OperatorError("conflict", `Cannot restore generation ${generation}: with --no-state there is no history`);
  }
}
