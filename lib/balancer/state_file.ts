/**
 * The state that survives a restart: the pool, in one file. It is replaced atomically, and written to disk before a command
 * answers. A file that is invalid or written by another program is renamed, never overwritten.
 */

import { timingSafeEqual } from "@std/crypto";
import { formatAddress, parseAddress } from "../values/address.ts";
import { LIMITS } from "../values/config.ts";
import { failWith, messageOf, OperatorError } from "../values/errors.ts";
import { folderOf } from "../values/paths.ts";
import { ifMissing, readPlain } from "../values/plain_file.ts";
import {
  DEFAULT_SERVER_SETTINGS,
  faultOfSettings,
  type ServerSettingName,
  type ServerSettings,
} from "../values/server_settings.ts";
import { formatSize } from "../values/size.ts";

/** Settings that every saved server has. The others were added later, and are saved where a server has them. */
const ALWAYS_SAVED = ["weight", "connectionsMax"] as const;

/** A saved server, and whether it is draining. */
export type SavedServer =
  & Partial<ServerSettings>
  & Pick<ServerSettings, typeof ALWAYS_SAVED[number]>
  & { readonly server: string; readonly draining?: boolean };

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

const FORMAT = "balancer-state";
const VERSION = 1;

/** About the size of a state with a hundred servers. */
const PROBE_BYTES = 8192;

/** How many characters of an invalid value a warning shows. */
const SHOWN_MAX = 80;

/**
 * Reads the state. A file that cannot be used is renamed, and a warning says why. Throws an operator error if the file cannot be
 * read or renamed, or is not a plain file.
 */
export async function loadState(path: string): Promise<LoadedState> {
  const cannot = `Cannot read the state file ${JSON.stringify(path)}`;
  const bytes = await readPlain(path, LIMITS.stateFileBytesMax, cannot).catch(ifMissing(undefined)).catch(failWith(cannot));
  if (bytes === undefined) return { servers: [] };
  const parsed = bytes === null
    ? `it is larger than the limit of ${formatSize(LIMITS.stateFileBytesMax)}`
    : await parseState(new TextDecoder().decode(bytes));
  return typeof parsed === "string" ? await keepAside(path, parsed) : { servers: parsed };
}

/** Replaces the state, and resolves once it is on disk. Throws an operator error; the old state is then intact. */
export async function saveState(path: string, servers: readonly SavedServer[]): Promise<void> {
  const temporary = `${path}.new`;
  try {
    await removeLeftover(temporary);
    await writeDurably(temporary, await formatState(servers));
    await Deno.rename(temporary, path);
    await syncFolder(path);
  } catch (error) {
    throw new OperatorError("failed", `Cannot save the state to ${JSON.stringify(path)}: ${messageOf(error)}`);
  }
}

/** Checks that the state can be saved: writes a file beside it to disk and removes it. Throws an operator error. */
export async function tryToSave(path: string): Promise<void> {
  const probe = `${path}.probe`;
  try {
    await removeLeftover(probe);
    await writeDurably(probe, " ".repeat(PROBE_BYTES));
    await Deno.remove(probe);
    await syncFolder(path);
  } catch (error) {
    await Deno.remove(probe).catch(() => {});
    const wayOut = "free some space there, or start with --no-state";
    throw new OperatorError("failed", `Cannot keep the state in ${JSON.stringify(path)}: ${messageOf(error)}; ${wayOut}`);
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  const bytes = new TextEncoder().encode(text);
  for (let written = 0; written < bytes.length;) written += await file.write(bytes.subarray(written));
  await file.sync();
}

/** Removes what a killed daemon may have left; it may have another mode or be a link. */
async function removeLeftover(path: string): Promise<void> {
  await Deno.remove(path).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

/** Writes a rename to disk by syncing the folder (fsync(2)). Windows has no such call and does not need it. */
async function syncFolder(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  using folder = await Deno.open(folderOf(path));
  await folder.sync();
}

async function formatState(servers: readonly SavedServer[]): Promise<string> {
  const sha256 = (await digest(servers)).toHex();
  return JSON.stringify({ format: FORMAT, version: VERSION, sha256, servers }, null, 1) + "\n";
}

/** The servers, or the reason why the text cannot be used, as a clause. */
async function parseState(text: string): Promise<readonly SavedServer[] | string> {
  if (text.trim() === "") return "it is empty";
  let state: unknown;
  try {
    state = JSON.parse(text);
  } catch {
    return "it is incomplete or not JSON";
  }
  if (!isRecord(state) || state.format !== FORMAT) return "another program wrote it";
  if (state.version !== VERSION) {
    return `it has version ${JSON.stringify(state.version)}, and this program reads version ${VERSION}`;
  }
  const { servers, sha256 } = state;
  const fault = faultOf(servers);
  if (fault !== undefined) return `its list of servers is not valid: ${fault}`;
  const isWhole = typeof sha256 === "string" && isDigest(sha256, await digest(servers as SavedServer[]));
  return isWhole ? servers as SavedServer[] : "its checksum is wrong";
}

async function digest(servers: readonly SavedServer[]): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(servers))));
}

function isDigest(text: string, expected: Uint8Array): boolean {
  return /^[0-9a-f]{64}$/.test(text) && timingSafeEqual(Uint8Array.fromHex(text), expected);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
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

async function keepAside(path: string, why: string): Promise<LoadedState> {
  const aside = `${path}.aside-${new Date().toISOString().replaceAll(":", "")}`;
  try {
    await Deno.rename(path, aside);
  } catch (error) {
    const both = `it cannot be used (${why}) and cannot be renamed: ${messageOf(error)}`;
    throw new OperatorError("failed", `Cannot start with the state file ${JSON.stringify(path)}: ${both}`);
  }
  const kept = JSON.stringify(aside);
  return {
    servers: [],
    warning: `The state file ${JSON.stringify(path)} cannot be used: ${why}; it was renamed to ${kept}, and the pool is empty`,
  };
}
