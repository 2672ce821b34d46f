/**
 * The state that survives a restart: the pool, in one file. It is replaced atomically, and written to disk before a command
 * answers. A file that is invalid or written by another program is renamed, never overwritten.
 */

import { formatAddress, parseAddress } from "../values/address.ts";
import { LIMITS } from "../values/config.ts";
import { messageOf, OperatorError } from "../values/errors.ts";
import { ALWAYS_SAVED, type SavedServer } from "../values/saved_state.ts";
import {
  DEFAULT_SERVER_SETTINGS,
  faultOfSettings,
  type ServerSettingName,
  type ServerSettings,
} from "../values/server_settings.ts";
import {
  formatSealed,
  isRecord,
  readSealed,
  removeLeftover,
  replaceFile,
  type SealedFormat,
  syncFolder,
  writeNew,
} from "./sealed_file.ts";

/** A server as it is saved. */
export function toSaved(server: string, settings: ServerSettings, isDraining: boolean): SavedServer {
  const names = Object.keys(settings) as ServerSettingName[];
  const own = names.filter((name) => isAlwaysSaved(name) || settings[name] !== DEFAULT_SERVER_SETTINGS[name]);
  const saved = Object.fromEntries(own.map((name) => [name, settings[name]])) as unknown as ServerSettings;
  return { server, ...saved, ...(isDraining ? { draining: true } : {}) };
}

/** The state that was found. `warning` is a sentence for the operator if a file existed but could not be used. */
interface LoadedState {
  readonly servers: readonly SavedServer[];
  readonly warning?: string;
}

const STATE: SealedFormat = {
  what: "state file",
  format: "balancer-state",
  version: 1,
  bytesMax: LIMITS.stateFileBytesMax,
  field: "servers",
  faultOf: (servers) => {
    const fault = faultOf(servers);
    return fault && `its list of servers is not valid: ${fault}`;
  },
};

/** About the size of a state with a hundred servers. */
const PROBE_BYTES = 8192;

/** How many characters of an invalid value a warning shows. */
const SHOWN_MAX = 80;

/**
 * Reads the state. A file that cannot be used is renamed, and a warning says why. Throws an operator error if the file cannot be
 * read or renamed, or is not a plain file.
 */
export async function loadState(path: string): Promise<LoadedState> {
  const found = await readSealed(path, STATE);
  if (found === undefined) return { servers: [] };
  if ("content" in found) return { servers: found.content as readonly SavedServer[] };
  const kept = `it was renamed to ${JSON.stringify(found.aside)}, and the pool is empty`;
  return { servers: [], warning: `The state file ${JSON.stringify(path)} cannot be used: ${found.why}; ${kept}` };
}

/** Replaces the state, and resolves once it is on disk. Throws an operator error; the old state is then intact. */
export async function saveState(path: string, servers: readonly SavedServer[]): Promise<void> {
  try {
    await replaceFile(path, await formatSealed(STATE, servers), "synced");
  } catch (error) {
    throw new OperatorError("failed", `Cannot save the state to ${JSON.stringify(path)}: ${messageOf(error)}`);
  }
}

/** Checks that the state can be saved: writes a file beside it to disk and removes it. Throws an operator error. */
export async function tryToSave(path: string): Promise<void> {
  const probe = `${path}.probe`;
  try {
    await removeLeftover(probe);
    await writeNew(probe, " ".repeat(PROBE_BYTES), "synced");
    await Deno.remove(probe);
    await syncFolder(path);
  } catch (error) {
    await Deno.remove(probe).catch(() => {});
    const wayOut = "free some space there, or start with --no-state";
    throw new OperatorError("failed", `Cannot keep the state in ${JSON.stringify(path)}: ${messageOf(error)}; ${wayOut}`);
  }
}

/** Why these servers are not a valid pool, as a clause: what `add` and `set` would refuse. */
function faultOf(servers: unknown): string | undefined {
  if (!Array.isArray(servers)) return "it is not a list";
  if (servers.length > LIMITS.serversMax) {
    return `it has ${servers.length} servers, and the limit is ${LIMITS.serversMax}`;
  }
  for (const [index, server] of servers.entries()) {
    const fault = serverFault(server);
    if (fault !== undefined) return `server number ${index + 1} ${fault}`;
  }
  return poolFault(servers);
}

function poolFault(servers: readonly SavedServer[]): string | undefined {
  const names = new Set<string>();
  const twice = servers.find(({ server }) => names.size === names.add(server).size);
  if (twice !== undefined) return `server ${JSON.stringify(twice.server)} is in it more than once`;
  const weightTotal = servers.reduce((sum, { weight }) => sum + weight, 0);
  if (weightTotal <= LIMITS.weightTotalMax) return undefined;
  return `its weights add up to ${weightTotal}, and the limit is ${LIMITS.weightTotalMax}`;
}

/** What is invalid about a server, as a clause. */
function serverFault(value: unknown): string | undefined {
  if (!isRecord(value)) return "is not an object";
  const { server, draining } = value;
  if (!isCanonical(server)) return `has the name ${shortened(server)}, which is not an address:port as the daemon writes it`;
  const wrong = faultOfSettings(value, isAlwaysSaved);
  if (wrong !== undefined) return `has the ${wrong.what} ${shortened(wrong.value)}, which is ${wrong.fault}`;
  if (draining !== undefined && typeof draining !== "boolean") {
    return `has ${shortened(draining)} for draining, which is neither true nor false`;
  }
}

function isAlwaysSaved(name: ServerSettingName): boolean {
  return (ALWAYS_SAVED as readonly ServerSettingName[]).includes(name);
}

function isCanonical(name: unknown): boolean {
  try {
    return typeof name === "string" && formatAddress(parseAddress(name)) === name;
  } catch {
    return false;
  }
}

/** A value as text, shortened for a sentence. */
function shortened(value: unknown): string {
  const text = JSON.stringify(value) ?? "none";
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}
