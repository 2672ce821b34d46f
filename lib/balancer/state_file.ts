/**
 * The state that survives a restart: the services, in one file. It is replaced atomically, and written to disk before a command
 * answers. A file that is invalid or written by another program is renamed, never overwritten; one of a newer version is refused.
 */

import { LIMITS } from "../values/config.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { DEFAULT_SERVICE, EMPTY_STATE, type SavedServer, type SavedState } from "../values/saved_state.ts";
import {
  DEFAULT_SERVER_SETTINGS,
  SERVER_SETTINGS,
  type ServerSettingName,
  type ServerSettings,
} from "../values/server_settings.ts";
import { formatSize } from "../values/size.ts";
import { formatSealed, readSealed, removeLeftover, replaceFile, type SealedFormat, syncFolder, writeNew } from "./sealed_file.ts";
import { faultOfServers, faultOfState, isAlwaysSaved } from "./state_faults.ts";
import { stateJson } from "./state_json.ts";

/** A server as it is saved. */
export function toSaved(server: string, settings: ServerSettings, isDraining: boolean): SavedServer {
  const names = Object.keys(settings) as ServerSettingName[];
  const own = names.filter((name) => isAlwaysSaved(name) || settings[name] !== DEFAULT_SERVER_SETTINGS[name]);
  const saved = Object.fromEntries(own.map((name) => [name, settings[name]])) as unknown as ServerSettings;
  return { server, ...saved, ...(isDraining ? { draining: true } : {}) };
}

/** The state that was found. */
interface LoadedState {
  /** EMPTY_STATE if there was no file, or if it could not be used. */
  readonly state: SavedState;
  /** A sentence for the operator if a file existed but could not be used. */
  readonly warning?: string;
  /** The version of a file that is not of the one that is written now, and the path of a copy of it. */
  readonly migrated?: { readonly version: number; readonly copy: string };
}

const STATE: SealedFormat = {
  what: "state file",
  format: "balancer-state",
  version: 2,
  bytesMax: LIMITS.stateFileBytesMax,
  field: "state",
  faultOf: faultOfState,
  earlier: {
    // One pool: its servers, without settings and listeners, which were given at each start.
    1: {
      field: "servers",
      faultOf: (servers) => {
        const fault = faultOfServers(servers, false);
        return fault && { why: `its list of servers is not valid: ${fault.why}` };
      },
      migrate: (servers) => migrateServers(servers as readonly SavedServer[]),
    },
  },
};

/** About the size of a state with a hundred servers. */
const PROBE_BYTES = 8192;

/**
 * Reads the state. A file that cannot be used is renamed, and a warning says why. One of an earlier version is copied, and stays
 * until the state is saved; its state has generation 0. Throws an operator error if the file cannot be read, copied or renamed, is
 * not a plain file, or is newer than this program.
 */
export async function loadState(path: string): Promise<LoadedState> {
  const found = await readSealed(path, STATE);
  if (found === undefined) return { state: EMPTY_STATE };
  if (!("content" in found)) {
    const kept = `it was renamed to ${JSON.stringify(found.aside)}, and the pool is empty`;
    return { state: EMPTY_STATE, warning: `The state file ${JSON.stringify(path)} cannot be used: ${found.why}; ${kept}` };
  }
  const state = found.content as SavedState;
  if (found.version === STATE.version) return { state };
  const copy = `${path}.v${found.version}`;
  await keepCopy(copy, found.bytes);
  return { state, migrated: { version: found.version, copy } };
}

/** Replaces the state, and resolves once it is on disk. Throws an operator error; the old state is then intact. */
export async function saveState(path: string, state: SavedState): Promise<void> {
  const cannot = `Cannot save the state to ${JSON.stringify(path)}`;
  const parts = await formatSealed(STATE, stateJson(state));
  if (parts.reduce((sum, { length }) => sum + length, 0) > STATE.bytesMax) { // it could not be read again
    const why = `it would be larger than the limit of ${formatSize(STATE.bytesMax)}; use fewer servers or shorter settings`;
    throw new OperatorError("tooLarge", `${cannot}: ${why}`);
  }
  try {
    await replaceFile(path, parts, "synced");
  } catch (error) {
    throw new OperatorError("failed", `${cannot}: ${messageOf(error)}`);
  }
}

/** Checks that the state can be saved: writes a file beside it to disk and removes it. Throws an operator error. */
export async function tryToSave(path: string): Promise<void> {
  const probe = `${path}.probe`;
  try {
    await removeLeftover(probe);
    await writeNew(probe, [new Uint8Array(PROBE_BYTES).fill(0x20)], "synced");
    await Deno.remove(probe);
    await syncFolder(path);
  } catch (error) {
    await Deno.remove(probe).catch(() => {});
    const wayOut = "free some space there, or start with --no-state";
    throw new OperatorError("failed", `Cannot keep the state in ${JSON.stringify(path)}: ${messageOf(error)}; ${wayOut}`);
  }
}

/** The only service of a balancer that had none, and no setting that this version does not know. */
function migrateServers(servers: readonly SavedServer[]): SavedState {
  const isKnown = (field: string) => field === "server" || field === "draining" || field in SERVER_SETTINGS;
  const known = servers.map((server) => Object.fromEntries(Object.entries(server).filter(([field]) => isKnown(field))));
  const sorted = (known as unknown as SavedServer[]).toSorted((a, b) => a.server < b.server ? -1 : 1);
  return { generation: 0, services: [{ name: DEFAULT_SERVICE, listeners: [], settings: {}, servers: sorted }] };
}

/** Writes a file of an earlier version to disk once more, for those who go back to the program that wrote it. */
async function keepCopy(copy: string, bytes: Uint8Array): Promise<void> {
  try {
    await replaceFile(copy, [bytes], "synced");
  } catch (error) {
    const wayOut = "free some space there, or start with --no-state";
    throw new OperatorError(
      "failed",
      `Cannot keep a copy of the old state file in ${JSON.stringify(copy)}: ${messageOf(error)}; ${wayOut}`,
    );
  }
}
